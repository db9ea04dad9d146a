"""The networks of `models.py` in PyTorch, channels last, with the same initialisation scheme left to PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def mnist_mlp() -> tuple[nn.Module, Any]:
    model = nn.Sequential(nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 10))
    return model, torch.optim.RMSprop(model.parameters(), lr=0.001, alpha=0.9, eps=1e-7)


def cifar_mlp() -> tuple[nn.Module, Any]:
    model = nn.Sequential(
        nn.Linear(3072, 512), nn.ReLU(), nn.Dropout(0.2), nn.Linear(512, 120), nn.ReLU(), nn.Dropout(0.2), nn.Linear(120, 10)
    )
    return model, torch.optim.Adam(model.parameters())


def mnist_cnn() -> tuple[nn.Module, Any]:
    model = nn.Sequential(
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
    ).to(memory_format=torch.channels_last)
    return model, torch.optim.Adam(model.parameters())
