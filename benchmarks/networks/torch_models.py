"""The networks of `models.py` in PyTorch. They end in logits, as PyTorch's loss wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from benchmarks.networks import torch_applications
from benchmarks.networks.workloads import WORDS


def mnist_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 10))


def cifar_mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(3072, 512),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(512, 120),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(120, 10),
    )


def mnist_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(3136, 1024),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(1024, 10),
    )


def _normalised(inputs: int, filters: int, size: int, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """Convolution, batch normalisation, and mostly a relu."""
    parts: list[nn.Module] = [
        nn.Conv2d(inputs, filters, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(filters),
    ]
    return nn.Sequential(*parts, *([nn.ReLU(inplace=True)] if relu else []))


class _Residual(nn.Module):
    """relu(body(x) + shortcut(x))"""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.relu(self.body(x) + self.shortcut(x), inplace=True)


def resnet20() -> nn.Module:
    def blocks() -> Iterator[nn.Module]:
        inputs = 16
        for stage, filters in enumerate((16, 32, 64)):
            for block in range(3):
                stride = 2 if stage and not block else 1
                body = nn.Sequential(
                    _normalised(inputs, filters, 3, stride), _normalised(filters, filters, 3, relu=False)
                )
                shortcut = nn.Identity() if stride == 1 else _normalised(inputs, filters, 1, stride, relu=False)
                yield _Residual(body, shortcut)
                inputs = filters

    return nn.Sequential(_normalised(3, 16, 3), *blocks(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def resnet50() -> nn.Module:
    def blocks() -> Iterator[nn.Module]:
        inputs = 64
        for stage, (filters, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
            for block in range(count):
                stride = 2 if stage and not block else 1
                body = nn.Sequential(
                    _normalised(inputs, filters, 1, stride),
                    _normalised(filters, filters, 3),
                    _normalised(filters, 4 * filters, 1, relu=False),
                )
                shortcut = nn.Identity() if block else _normalised(inputs, 4 * filters, 1, stride, relu=False)
                yield _Residual(body, shortcut)
                inputs = 4 * filters

    return nn.Sequential(
        _normalised(3, 64, 7, 2),
        nn.MaxPool2d(3, 2, 1),
        *blocks(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2048, 1000),
    )


def vgg16() -> nn.Module:
    def convolutions() -> Iterator[nn.Module]:
        inputs = 3
        for filters, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(count):
                yield nn.Conv2d(inputs, filters, 3, padding=1)
                yield nn.ReLU(inplace=True)
                inputs = filters
            yield nn.MaxPool2d(2)

    dense = [nn.Linear(25088, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000)]
    return nn.Sequential(*convolutions(), nn.Flatten(), *dense)


class _Last(nn.Module):
    """What a recurrent layer gives at the last step: (batch, steps, features) to (batch, units)."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        last: torch.Tensor = self.layer(x)[0][:, -1]
        return last


class _Transposed(nn.Module):
    """(batch, a, b) to (batch, b, a)"""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2)


def mnist_lstm() -> nn.Module:
    return nn.Sequential(_Last(nn.LSTM(28, 128, batch_first=True)), nn.Linear(128, 10))


def text_gru() -> nn.Module:
    convolution = (nn.Conv1d(128, 64, 5), nn.ReLU(), nn.MaxPool1d(4))
    gru = _Last(nn.GRU(64, 128, batch_first=True))
    return nn.Sequential(
        nn.Embedding(WORDS, 128), _Transposed(), *convolution, _Transposed(), gru, nn.Linear(128, 2)
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mnist_mlp": mnist_mlp,
    "cifar_mlp": cifar_mlp,
    "mnist_cnn": mnist_cnn,
    "resnet20": resnet20,
    "resnet50": resnet50,
    "vgg16": vgg16,
    "mnist_lstm": mnist_lstm,
    "text_gru": text_gru,
    **torch_applications.NETWORKS,
}

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "mnist_mlp": lambda weights: torch.optim.RMSprop(weights, lr=0.001, alpha=0.9, eps=1e-7),
    "cifar_mlp": lambda weights: torch.optim.Adam(weights, fused=True),
    "mnist_cnn": lambda weights: torch.optim.Adam(weights, fused=True),
    "resnet20": lambda weights: torch.optim.Adam(weights, fused=True),
    "resnet50": lambda weights: torch.optim.SGD(weights, lr=0.01, momentum=0.9, fused=True),
    "mnist_lstm": lambda weights: torch.optim.Adam(weights, fused=True),
    "text_gru": lambda weights: torch.optim.Adam(weights, fused=True),
}
