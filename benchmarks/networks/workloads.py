"""The workloads: which network, what to do with it, how many samples at a time. Read by every library's process."""

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

SEQUENCES: dict[str, tuple[tuple[int, ...], int]] = {
    "mnist_lstm": ((28, 28), 10),
    "text_gru": ((100,), 2),
}
"""The same for networks that read sequences: steps and features, or steps, each of them a word."""

WORDS = 20000


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
        Workload("train", "mnist_lstm", 64),
        Workload("train", "text_gru", 30),
        *(Workload("predict", network, batch) for network in SHAPES for batch in (1, 8)),
        Workload("predict", "mnist_lstm", 64),
    )
}


def data(workload: Workload) -> tuple[Any, Any]:
    """Made-up samples (batch, ...), float32 or int32 words, and one-hot labels (batch, classes), float32, the same for
    every library."""
    import numpy as np

    shape, classes = {**SHAPES, **SEQUENCES}[workload.network]
    rng = np.random.default_rng(0)
    size = (workload.batch, *shape)
    words = workload.network == "text_gru"
    x = rng.integers(0, WORDS, size, dtype=np.int32) if words else rng.random(size, dtype=np.float32)
    return x, np.eye(classes, dtype=np.float32)[rng.integers(0, classes, workload.batch)]
