"""Libraries that compute in the place of NumPy, and where: what settings call them, and what is missing here.

torch and jax are extras. They are imported only when a run asks for them.
"""

import importlib
import os
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from admmctl.errors import MissingExtra, UserError

Name = Literal["numpy", "torch", "jax"]


def _is_device(given: str) -> str:
    if re.fullmatch(r"cpu|cuda(:\d{1,3})?", given) is None:
        raise ValueError("expected cpu, cuda or cuda:N")
    return given


Device = Annotated[str, AfterValidator(_is_device)]  # 'cpu', 'cuda', or 'cuda:1' for the second one


def library(name: str, needed_by: str) -> Any:
    """The module of that name. Raises MissingExtra, which says that ``needed_by`` needs it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtra(
            f"{needed_by} needs the package {name}, which is not installed; run: pip install 'admmctl[{name}]'"
        ) from None


def number(device: str) -> int:
    """N of cuda:N, 0 of others."""
    return int(device.partition(":")[2] or 0)


def torch_for(device: str, needed_by: str = "backend: torch") -> Any:
    """The torch module. Raises MissingExtra where it, or the device, is not here."""
    torch = library("torch", needed_by)
    if device == "cpu":
        return torch
    if not torch.cuda.is_available():
        raise MissingExtra(f"device: {device}, but PyTorch sees no CUDA device here; use device: cpu")
    if number(device) and number(device) >= torch.cuda.device_count():
        valid = ", ".join(f"cuda:{other}" for other in range(torch.cuda.device_count()))
        raise MissingExtra(f"device: {device}, but PyTorch sees no such device here; valid: cpu, {valid}")
    return torch


def of_rank(device: str, rank: int, ranks: int, count: int) -> str:
    """Which of ``count`` devices a rank computes on: with 'cuda' that of its number among ``ranks`` of its host.

    Raises UserError where there are fewer devices than ranks.
    """
    if device != "cuda":
        return device
    if "SLURM_GPUS_PER_TASK" in os.environ and ranks > count:
        return "cuda:0"  # every rank is shown its own
    if ranks > count:
        raise UserError(
            f"device: cuda: {ranks} ranks on a host with {count} CUDA device{'s' * (count != 1)}, and each needs "
            f"one; use --cores {count}, or let all share the first, device: cuda:0"
        )
    return f"cuda:{rank}"


def allow_tf32(torch: Any, allowed: bool) -> None:
    """Whether products of float32 on a GPU may round their factors to 10 bits."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
