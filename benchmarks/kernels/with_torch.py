"""The kernels on PyTorch, on images with channels last in memory. Where PyTorch takes no memory for the result, it
allocates some in every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.kernels.cases import CASES, Case, arrays
from benchmarks.networks.with_torch import load  # noqa: F401 - part of what an adapter offers


def prepare(name: str, threads: int) -> Callable[[], Any]:
    import torch

    case = CASES[name]
    torch.set_grad_enabled(False)
    run = _step(case, [torch.from_numpy(a) for a in arrays(case)])

    def step() -> None:
        run()

    return step


def _step(case: Case, x: list[Any]) -> Callable[[], Any]:
    import torch

    kind = case.kind
    if kind.startswith("conv"):
        return _conv(case, x)
    if "pool" in kind:
        return _pool(case, x)
    if kind.startswith("batch_norm"):
        return _batch_norm(kind, x)
    if kind in ("sum", "max"):
        (axis,) = case.options
        reduce = torch.sum if kind == "sum" else torch.amax
        return lambda: reduce(x[0], dim=(0, 1) if axis is None else axis)
    steps: dict[str, Callable[..., Any]] = {
        "copy": lambda x, out: out.copy_(x),
        "matmul": lambda x, y, out: torch.mm(x, y, out=out),
        "matmul_nt": lambda x, y, out: torch.mm(x, y.T, out=out),
        "matmul_tn": lambda x, y, out: torch.mm(x.T, y, out=out),
        "relu": lambda x, out: torch.clamp(x, min=0, out=out),
        "add": lambda x, y, out: torch.add(x, y, out=out),
        "multiply_add": lambda x, y, z, out: torch.addcmul(z, x, y, out=out),
        "exp": lambda x, out: torch.exp(x, out=out),
        "log": lambda x, out: torch.log(x, out=out),
        "tanh": lambda x, out: torch.tanh(x, out=out),
        "sigmoid": lambda x, out: torch.sigmoid(x, out=out),
        "softmax": lambda x, out: torch.softmax(x, 1, out=out),
    }
    run = steps[kind]
    rows = x[0].shape[1 if kind == "matmul_tn" else 0]
    columns = x[-1].shape[0 if kind == "matmul_nt" else 1] if kind.startswith("matmul") else None
    out = torch.empty(rows, columns) if columns else torch.empty_like(x[0])
    return lambda: run(*x, out)


def _channels_first(x: Any) -> Any:
    """Images as PyTorch numbers their axes; memory stays as it is."""
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


def _conv(case: Case, x: list[Any]) -> Callable[[], Any]:
    import torch

    stride, image, kernel = case.options
    window, _, channels, filters = kernel
    first = _channels_first(x[0])
    if case.kind == "conv_wgrad":
        second = _channels_first(x[1])
    else:
        second = x[1].permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
    if case.kind == "conv":
        return lambda: torch.nn.functional.conv2d(first, second, stride=stride, padding=window // 2)
    if case.kind == "conv_dgrad":
        n, height, width, _ = image
        images = torch.zeros(n, channels, height, width).to(memory_format=torch.channels_last)
        operands, mask = (first, images, second), (True, False, False)
    else:
        weights = torch.zeros(filters, channels, window, window).to(memory_format=torch.channels_last)
        operands, mask = (second, first, weights), (False, True, False)
    both = (1, 1)
    where = (None, (stride, stride), (window // 2, window // 2), both, False, (0, 0), 1, mask)
    return lambda: torch.ops.aten.convolution_backward(*operands, *where)


def _pool(case: Case, x: list[Any]) -> Callable[[], Any]:
    import torch

    window, stride = case.options
    images = _channels_first(x[0])
    padding = (window - 1) // 2
    if case.kind == "avg_pool":
        return lambda: torch.nn.functional.avg_pool2d(images, window, stride, padding)
    if case.kind == "max_pool":
        return lambda: torch.nn.functional.max_pool2d(images, window, stride, padding)
    pool, grad = torch.ops.aten.max_pool2d_with_indices, torch.ops.aten.max_pool2d_with_indices_backward
    where = ([window, window], [stride, stride], [padding, padding], [1, 1], False)
    _, indices = pool(images, *where)
    above = _channels_first(x[2])
    return lambda: grad(above, images, *where, indices)


def _batch_norm(kind: str, x: list[Any]) -> Callable[[], Any]:
    import torch

    x = [_channels_first(v) for v in x]
    if kind == "batch_norm":
        images, mean, variance, gamma, beta = x
        return lambda: torch.nn.functional.batch_norm(images, mean, variance, gamma, beta, eps=1e-3)
    if kind == "batch_norm_train":
        images, gamma, beta = x
        return lambda: torch.native_batch_norm(images, gamma, beta, None, None, True, 0.1, 1e-3)
    above, images, gamma, mean, variance = x
    scale = (variance + 1e-3).rsqrt()
    grad = torch.ops.aten.native_batch_norm_backward
    return lambda: grad(above, images, gamma, None, None, mean, scale, True, 1e-3, [True, True, True])
