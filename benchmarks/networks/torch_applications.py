"""Networks of `keras.applications` in PyTorch, for images of their usual size. They end in logits.

Layers are lazy: they take their numbers of channels from a first image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn

from benchmarks.networks.workloads import SHAPES


class _Joined(nn.Module):
    """The outputs of branches, joined along the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class _Sum(nn.Module):
    """body(x) + shortcut(x)"""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + self.shortcut(x)


def _network(name: str, *parts: nn.Module) -> nn.Module:
    """The parts, followed by the classifier, ready for images."""
    (height, width, channels), classes = SHAPES[name]
    model = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(classes))
    with torch.no_grad():
        model.eval()(torch.zeros(1, channels, height, width))
    return model


def _conv(
    filters: int,
    rows: int = 1,
    columns: int | None = None,
    stride: int = 1,
    same: bool | None = None,
    activation: type[nn.Module] | None = nn.ReLU,
    groups: int = 1,
) -> nn.Sequential:
    """A convolution without bias, batch normalisation, and mostly an activation. Padded where it does not stride."""
    columns = rows if columns is None else columns
    padding = (rows // 2, columns // 2) if (stride == 1 if same is None else same) else 0
    return nn.Sequential(
        nn.LazyConv2d(filters, (rows, columns), stride, padding, groups=groups, bias=False),
        nn.LazyBatchNorm2d(),
        *([activation(inplace=True)] if activation else []),
    )


def _depthwise(channels: int, stride: int) -> Iterator[nn.Module]:
    if stride == 2:
        yield nn.ZeroPad2d((0, 1, 0, 1))
    yield _conv(channels, 3, stride=stride, activation=nn.ReLU6, groups=channels)


def mobilenet() -> nn.Module:
    def blocks() -> Iterator[nn.Module]:
        channels = 32
        strided = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
        for filters, stride in strided:
            yield from _depthwise(channels, stride)
            yield _conv(filters, activation=nn.ReLU6)
            channels = filters

    stem = (nn.ZeroPad2d((0, 1, 0, 1)), _conv(32, 3, stride=2, activation=nn.ReLU6))
    return _network("mobilenet", *stem, *blocks())


def mobilenet_v2() -> nn.Module:
    def blocks() -> Iterator[nn.Module]:
        channels = 16
        for filters, count, first in ((24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1)):
            for i in range(count):
                stride, wide = 1 if i else first, 6 * channels
                narrow = _conv(filters, activation=None)
                body = nn.Sequential(_conv(wide, activation=nn.ReLU6), *_depthwise(wide, stride), narrow)
                yield _Sum(body, nn.Identity()) if stride == 1 and filters == channels else body
                channels = filters

    stem = (nn.ZeroPad2d((0, 1, 0, 1)), _conv(32, 3, stride=2, activation=nn.ReLU6))
    first = (*_depthwise(32, 1), _conv(16, activation=None))
    return _network("mobilenet_v2", *stem, *first, *blocks(), _conv(1280, activation=nn.ReLU6))


def inception_v3() -> nn.Module:
    def branch(*parts: nn.Module) -> nn.Module:
        return nn.Sequential(*parts)

    def average(filters: int) -> nn.Module:
        return branch(nn.AvgPool2d(3, 1, 1, count_include_pad=False), _conv(filters))

    def small(pooled: int) -> nn.Module:
        third = branch(_conv(64), _conv(96, 3), _conv(96, 3))
        return _Joined(_conv(64), branch(_conv(48), _conv(64, 5)), third, average(pooled))

    def middle(inner: int) -> nn.Module:
        second = branch(_conv(inner), _conv(inner, 1, 7), _conv(192, 7, 1))
        crossed = (_conv(inner, 7, 1), _conv(inner, 1, 7), _conv(inner, 7, 1), _conv(192, 1, 7))
        return _Joined(_conv(192), second, branch(_conv(inner), *crossed), average(192))

    def wide() -> nn.Module:
        second = branch(_conv(384), _Joined(_conv(384, 1, 3), _conv(384, 3, 1)))
        third = branch(_conv(448), _conv(384, 3), _Joined(_conv(384, 1, 3), _conv(384, 3, 1)))
        return _Joined(_conv(320), second, third, average(192))

    first = branch(_conv(64), _conv(96, 3), _conv(96, 3, stride=2))
    reduced = _Joined(_conv(384, 3, stride=2), first, nn.MaxPool2d(3, 2))
    crossed = branch(_conv(192), _conv(192, 1, 7), _conv(192, 7, 1), _conv(192, 3, stride=2))
    reduced_again = _Joined(branch(_conv(192), _conv(320, 3, stride=2)), crossed, nn.MaxPool2d(3, 2))
    return _network(
        "inception_v3",
        _conv(32, 3, stride=2),
        _conv(32, 3, same=False),
        _conv(64, 3),
        nn.MaxPool2d(3, 2),
        _conv(80),
        _conv(192, 3, same=False),
        nn.MaxPool2d(3, 2),
        *(small(pooled) for pooled in (32, 64, 64)),
        reduced,
        *(middle(inner) for inner in (128, 160, 160, 192)),
        reduced_again,
        wide(),
        wide(),
    )


def xception() -> nn.Module:
    def separable(channels: int, filters: int) -> Iterator[nn.Module]:
        yield nn.LazyConv2d(channels, 3, padding=1, groups=channels, bias=False)
        yield _conv(filters, activation=None)

    def narrowed(channels: int, first: int, second: int, relu_first: bool = True) -> nn.Module:
        start = [nn.ReLU()] if relu_first else []
        body = (*start, *separable(channels, first), nn.ReLU(), *separable(first, second), nn.MaxPool2d(3, 2, 1))
        return _Sum(nn.Sequential(*body), _conv(second, stride=2, activation=None))

    def block() -> nn.Module:
        parts = (part for _ in range(3) for part in (nn.ReLU(), *separable(728, 728)))
        return _Sum(nn.Sequential(*parts), nn.Identity())

    return _network(
        "xception",
        _conv(32, 3, stride=2),
        _conv(64, 3, same=False),
        narrowed(64, 128, 128, relu_first=False),
        narrowed(128, 256, 256),
        narrowed(256, 728, 728),
        *(block() for _ in range(8)),
        narrowed(728, 728, 1024),
        *separable(1024, 1536),
        nn.ReLU(),
        *separable(1536, 2048),
        nn.ReLU(),
    )


def densenet121() -> nn.Module:
    def normalised() -> Iterator[nn.Module]:
        yield nn.LazyBatchNorm2d()
        yield nn.ReLU(inplace=True)

    def block() -> nn.Module:
        new = nn.LazyConv2d(32, 3, padding=1, bias=False)
        return _Joined(nn.Identity(), nn.Sequential(*normalised(), _conv(128), new))

    def stages() -> Iterator[nn.Module]:
        channels = 64
        for blocks in (6, 12, 24, 16):
            if channels > 64:
                channels //= 2
                yield from (*normalised(), nn.LazyConv2d(channels, 1, bias=False), nn.AvgPool2d(2))
            yield from (block() for _ in range(blocks))
            channels += 32 * blocks
        yield from normalised()

    stem = (nn.LazyConv2d(64, 7, 2, 3, bias=False), *normalised(), nn.MaxPool2d(3, 2, 1))
    return _network("densenet121", *stem, *stages())


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mobilenet": mobilenet,
    "mobilenet_v2": mobilenet_v2,
    "inception_v3": inception_v3,
    "xception": xception,
    "densenet121": densenet121,
}
