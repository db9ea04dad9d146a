"""The kernels that are measured: what they compute, on which sizes, and how much work that is.

All arrays are float32, images have channels last. Every library makes its inputs with `arrays` and writes results to
memory that it already has, where it can.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

FMA_FLOPS = 786432 * 1280  # of one thread in one step; a multiple of what any micro-kernel does in one call


@dataclass(frozen=True)
class Case:
    """`kind` names the computation (each library has a function for it), `shapes` its inputs, `options` the rest.
    `unit` is "GFLOP/s" or "GB/s", `amount` the floating-point operations or the bytes that must be read and written."""

    name: str
    kind: str
    shapes: tuple[tuple[int, ...], ...]
    unit: str
    amount: int
    options: tuple[Any, ...] = ()

    def work(self, threads: int) -> int:
        """The amount of one step. Multiply-adds without memory are done by every thread alike."""
        return self.amount * threads if self.kind == "fma" else self.amount


def arrays(case: Case) -> list[Any]:
    """The inputs: positive, around 1, the same for every library."""
    import numpy as np

    rng = np.random.default_rng(0)
    return [rng.random(shape, dtype=np.float32) + np.float32(0.5) for shape in case.shapes]


def _bytes(*shapes: tuple[int, ...]) -> int:
    return 4 * sum(math.prod(s) for s in shapes)


def _matmul(kind: str, m: int, k: int, n: int) -> Case:
    shapes = {"matmul": ((m, k), (k, n)), "matmul_nt": ((m, k), (n, k)), "matmul_tn": ((k, m), (k, n))}[kind]
    return Case(f"{kind}/{m}x{k}x{n}", kind, shapes, "GFLOP/s", 2 * m * k * n)


def _conv(kind: str, n: int, size: int, channels: int, window: int, filters: int, stride: int = 1) -> Case:
    out = -(-size // stride)
    x, w, y = (n, size, size, channels), (window, window, channels, filters), (n, out, out, filters)
    shapes = {"conv": (x, w), "conv_dgrad": (y, w), "conv_wgrad": (x, y)}[kind]
    name = f"{kind}/{n}x{size}x{size}x{channels}/{window}x{window}x{filters}" + (f"/{stride}" if stride > 1 else "")
    flops = 2 * math.prod(y) * window * window * channels
    return Case(name, kind, shapes, "GFLOP/s", flops, (stride, x, w))


def _convs() -> list[Case]:
    images = [
        (64, 28, 1, 5, 32),
        (64, 14, 32, 5, 64),
        (8, 224, 3, 7, 64, 2),
        (8, 56, 64, 3, 64),
        (8, 56, 256, 1, 64),
        (8, 28, 128, 3, 128),
        (8, 28, 512, 1, 1024, 2),
        (8, 14, 256, 3, 256),
        (8, 7, 512, 3, 512),
    ]
    found = [_conv(kind, *i) for kind in ("conv", "conv_dgrad", "conv_wgrad") for i in images]
    found += [_conv("conv", 1, *i[1:]) for i in images[3:]]
    return [c for c in found if not (c.kind == "conv_dgrad" and c.shapes[1][2] <= 3)]  # nobody needs those of images


def _elementwise(kind: str, size: int) -> Case:
    inputs = {"add": 2, "multiply_add": 3}.get(kind, 1)
    shapes = ((size,),) * inputs
    return Case(f"{kind}/{size}", kind, shapes, "GB/s", _bytes(*shapes, (size,)))


def _reduce(kind: str, shape: tuple[int, int], axis: int | None) -> Case:
    out = () if axis is None else (shape[1 - axis],)
    name = f"{kind}/{shape[0]}x{shape[1]}/{'all' if axis is None else axis}"
    return Case(name, kind, (shape,), "GB/s", _bytes(shape, out), (axis,))


def _softmax(rows: int, columns: int) -> Case:
    shape = (rows, columns)
    return Case(f"softmax/{rows}x{columns}", "softmax", (shape,), "GB/s", _bytes(shape, shape))


def _pool(kind: str, n: int, size: int, channels: int, window: int, stride: int) -> Case:
    out = -(-size // stride)
    x, y = (n, size, size, channels), (n, out, out, channels)
    shapes = {"max_pool": (x,), "avg_pool": (x,), "max_pool_grad": (x, y, y)}[kind]
    written = x if kind == "max_pool_grad" else y
    name = f"{kind}/{n}x{size}x{size}x{channels}/{window}x{window}/{stride}"
    return Case(name, kind, shapes, "GB/s", _bytes(*shapes, written), (window, stride))


def _batch_norm(kind: str, n: int, size: int, channels: int) -> Case:
    x, c = (n, size, size, channels), (channels,)
    shapes = {"batch_norm": (x, c, c, c, c), "batch_norm_train": (x, c, c), "batch_norm_grad": (x, x, c, c, c)}[kind]
    return Case(f"{kind}/{n}x{size}x{size}x{channels}", kind, shapes, "GB/s", _bytes(*shapes, x))


def _warp(size: int, boundary: str) -> Case:
    shape = (size, size, 3)
    return Case(f"warp/{size}x{size}x3/{boundary}", "warp", (shape,), "GB/s", _bytes(shape, shape), (boundary,))


def turned(size: int) -> tuple[Any, Any]:
    """Matrix and offset of a warp: a turn of 20 degrees around the centre of an image."""
    import numpy as np

    angle, centre = math.radians(20), np.full(2, (size - 1) / 2)
    matrix = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return matrix, centre - matrix @ centre


def _all() -> list[Case]:
    large, small = 1 << 24, 1 << 16  # beyond all caches, and within
    batch_norms = ("batch_norm", "batch_norm_train", "batch_norm_grad")
    return [
        Case("limit/fma", "fma", (), "GFLOP/s", FMA_FLOPS),
        Case("limit/copy", "copy", ((4 * large,),), "GB/s", _bytes((8 * large,))),
        *(
            _matmul(kind, *size)
            for kind in ("matmul", "matmul_nt", "matmul_tn")
            for size in ((32, 784, 400), (512, 512, 512), (1000, 3072, 512), (1009, 127, 251))
        ),
        *_convs(),
        *(
            _elementwise(kind, size)
            for kind in ("relu", "add", "multiply_add", "exp", "log", "tanh", "sigmoid")
            for size in (small, large)
        ),
        *(_reduce(kind, (4096, 4096), axis) for kind in ("sum", "max") for axis in (None, 0, 1)),
        *(_softmax(*size) for size in ((1000, 10), (128, 1000), (4096, 4096))),
        *(_pool(kind, 64, 28, 32, 2, 2) for kind in ("max_pool", "max_pool_grad", "avg_pool")),
        *(_pool(kind, 8, 112, 64, 3, 2) for kind in ("max_pool", "max_pool_grad")),
        *(_batch_norm(kind, *size) for kind in batch_norms for size in ((32, 32, 16), (8, 56, 256))),
        *(_warp(*image) for image in ((32, "nearest"), (224, "nearest"), (224, "reflect"))),
    ]


CASES: dict[str, Case] = {c.name: c for c in _all()}
