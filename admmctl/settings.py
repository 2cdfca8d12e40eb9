"""The base of every block of an experiment file: strict types, unknown keys forbidden, never changed."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """A block of settings. Subclasses declare keys, types, bounds and defaults; pydantic checks them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def plain(self) -> dict[str, Any]:
        """The settings as YAML-able values, defaults filled in, but for ``usual`` ones."""
        usual = self.usual()
        values = self.model_dump(mode="json")
        return {key: value for key, value in values.items() if key not in usual or value != usual[key]}

    def usual(self) -> dict[str, Any]:
        """Keys that came later, with what changes nothing: older runs have names without them, and keep these."""
        return {}


Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=10**12)]
