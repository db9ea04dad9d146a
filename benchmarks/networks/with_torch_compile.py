"""The workloads on PyTorch with `torch.compile`, otherwise as in `with_torch.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.networks import with_torch

load = with_torch.load


def prepare(name: str, threads: int) -> Callable[[], Any]:
    import torch

    return with_torch.prepare_with(name, torch.compile)
