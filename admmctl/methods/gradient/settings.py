"""The settings of gradient descents: ``sgd``, ``adam`` and ``gd``, and what others share with them."""

import math
from typing import Any, Literal

from pydantic import Field

from admmctl.devices.settings import DeviceSettings
from admmctl.methods.average import AverageSettings
from admmctl.methods.regularise import RegulariserSettings
from admmctl.settings import Count, NonNegative, Positive, Settings


class DescentSettings(Settings):
    """What all gradient descents share."""

    weight_decay: NonNegative = Field(default=0.0, description="adds weight_decay / 2 ||W||^2 to the mean loss")


class GdSettings(DescentSettings, DeviceSettings):
    """The method block of ``gd``: full batches, one step an iteration."""

    learning_rate: Positive = 0.1


class ScheduleSettings(DescentSettings, AverageSettings, RegulariserSettings, DeviceSettings):
    """How the learning rate changes over time: times a factor from 0 to 1; and what else is usual today."""

    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="the learning rate falls to 0 in schedule_epochs epochs, or stays"
    )
    schedule_epochs: Positive | None = Field(
        default=None, description="epochs of the schedule; as many as stop has, or it ends early"
    )
    warm_up: NonNegative = Field(default=0.0, description="epochs in which the learning rate grows from 0")

    def usual(self) -> dict[str, Any]:
        late = {"schedule": "constant", "schedule_epochs": None, "warm_up": 0.0, "average": 0.0}
        return super().usual() | late

    def factor(self, epoch: float) -> float:
        """Of the learning rate, after so many epochs."""
        rising = min(1.0, epoch / self.warm_up) if self.warm_up else 1.0
        if self.schedule_epochs is None:
            return rising
        done = min(1.0, epoch / self.schedule_epochs)
        return rising * (1 - done if self.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2)

    def wrong(self) -> list[tuple[str, str]]:
        """What does not fit together: (key, message) each."""
        if self.schedule == "constant":
            if self.schedule_epochs is not None:
                return [("schedule_epochs", "is of a schedule; set schedule: linear or cosine")]
        elif self.schedule_epochs is None:
            return [("schedule", f"{self.schedule} needs schedule_epochs: in how many epochs the rate falls to 0")]
        elif self.warm_up >= self.schedule_epochs:
            return [("warm_up", f"expected fewer epochs than schedule_epochs, {self.schedule_epochs:g}")]
        return []


class SgdRule(DescentSettings):
    """SGD with momentum, here or in PyTorch."""

    learning_rate: Positive = 0.1
    batch: Count = Field(default=128, description="rows of a mini-batch, over all ranks")
    momentum: float = Field(default=0.0, ge=0, lt=1)
    nesterov: bool = False

    def wrong(self) -> list[tuple[str, str]]:
        """What does not fit together: (key, message) each."""
        return [("nesterov", "needs a momentum above 0")] if self.nesterov and self.momentum == 0 else []


class SgdSettings(SgdRule, ScheduleSettings):
    """The method block of ``sgd``."""

    def wrong(self) -> list[tuple[str, str]]:
        return SgdRule.wrong(self) + ScheduleSettings.wrong(self)


class AdamRule(DescentSettings):
    """Adam (Kingma and Ba, 2015), here or in PyTorch."""

    learning_rate: Positive = 1e-3
    batch: Count = Field(default=128, description="rows of a mini-batch, over all ranks")
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: Positive = 1e-8


class AdamSettings(AdamRule, ScheduleSettings):
    """The method block of ``adam``."""


class LbfgsRule(DescentSettings):
    """L-BFGS, by SciPy or in PyTorch."""

    memory: Count = Field(default=10, description="pairs of steps and gradients kept")
