"""The blocks of the Inception networks: branches beside each other, joined along the channels.

A block is a tuple of branches, a branch is a tuple of steps that follow each other, each one function of a tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kgraph.applications.request import channel_axis
from kgraph.layers import Activation, AveragePooling2D, BatchNormalization, Concatenate, Conv2D, MaxPooling2D

Step = Callable[[Any], Any]
Branches = tuple[tuple[Step, ...], ...]


def conv(filters: int, rows: int, columns: int, stride: int = 1, padding: str | None = None) -> Step:
    """A convolution without bias, batch normalisation, relu. Padding is "same", but "valid" for a stride of 2."""
    return lambda x: convolved(x, filters, (rows, columns), stride, padding or ("same" if stride == 1 else "valid"))


def convolved(
    x: Any, filters: int, size: tuple[int, int], stride: int = 1, padding: str = "same", name: str | None = None
) -> Any:
    """What `conv` does; with a name, the layers are called `name`, `name_bn` and `name_ac`."""
    x = Conv2D(filters, size, strides=(stride, stride), padding=padding, use_bias=False, name=name)(x)
    x = BatchNormalization(axis=channel_axis(), scale=False, name=name and f"{name}_bn")(x)
    return Activation("relu", name=name and f"{name}_ac")(x)


def average(x: Any) -> Any:
    """The average over 3x3 pixels, of the same size."""
    return AveragePooling2D((3, 3), strides=(1, 1), padding="same")(x)


def maximum(x: Any) -> Any:
    """The maximum over 3x3 pixels, of half the size."""
    return MaxPooling2D((3, 3), strides=(2, 2))(x)


def fork(branches: Branches, name: str | None = None) -> Step:
    """A block within a branch."""
    return lambda x: joined(x, branches, name)


def joined(x: Any, branches: Branches, name: str | None = None) -> Any:
    """The outputs of all branches for `x`, joined by a layer of this name."""
    outputs = [followed(x, branch) for branch in branches]
    return Concatenate(axis=channel_axis(), name=name)(outputs)


def followed(x: Any, steps: tuple[Step, ...]) -> Any:
    for step in steps:
        x = step(x)
    return x


STEM: tuple[Step, ...] = (
    conv(32, 3, 3, stride=2),
    conv(32, 3, 3, padding="valid"),
    conv(64, 3, 3),
    maximum,
    conv(80, 1, 1, padding="valid"),
    conv(192, 3, 3, padding="valid"),
    maximum,
)
"""How both networks begin: an eighth of the height and width, 192 channels."""
