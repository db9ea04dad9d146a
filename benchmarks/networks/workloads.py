"""The workloads: which network, what to do with it, how many images at a time. Read by every library's process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SHAPES: dict[str, tuple[tuple[int, ...], int]] = {
    "mnist_mlp": ((784,), 10),
    "cifar_mlp": ((3072,), 10),
    "mnist_cnn": ((28, 28, 1), 10),
    "resnet20": ((32, 32, 3), 10),
    "resnet50": ((224, 224, 3), 1000),
    "vgg16": ((224, 224, 3), 1000),
    "mobilenet": ((224, 224, 3), 1000),
    "mobilenet_v2": ((224, 224, 3), 1000),
    "inception_v3": ((299, 299, 3), 1000),
    "xception": ((299, 299, 3), 1000),
    "densenet121": ((224, 224, 3), 1000),
}
"""Network -> shape of an image (height, width, channels), number of classes."""


@dataclass(frozen=True)
class Workload:
    """`task` is "train" (one step of the optimizer) or "predict"."""

    task: str
    network: str
    batch: int

    @property
    def name(self) -> str:
        return f"{self.task}/{self.network}/{self.batch}"


WORKLOADS: dict[str, Workload] = {
    w.name: w
    for w in (
        Workload("train", "mnist_mlp", 32),
        Workload("train", "cifar_mlp", 1000),
        Workload("train", "mnist_cnn", 64),
        Workload("train", "resnet20", 32),
        Workload("train", "resnet50", 8),
        *(Workload("predict", network, batch) for network in SHAPES for batch in (1, 8)),
    )
}


def data(workload: Workload) -> tuple[Any, Any]:
    """Made-up images (batch, ...) and one-hot labels (batch, classes), float32, the same for every library."""
    import numpy as np

    shape, classes = SHAPES[workload.network]
    rng = np.random.default_rng(0)
    x = rng.random((workload.batch, *shape), dtype=np.float32)
    return x, np.eye(classes, dtype=np.float32)[rng.integers(0, classes, workload.batch)]
