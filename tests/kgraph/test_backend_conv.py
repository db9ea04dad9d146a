"""Convolutions, pooling and biases of the backend: against sums written out, in both data formats and on both targets,
with sizes known only when they run; gradients against differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from kgraph import backend as K
from kgraph.backend import session
from kgraph.backend.config import Config
from tests.kgraph.layer_checks import FIRST, LAST
from tests.kgraph.windows import check_slopes, convolved, depthwise, local, pooled, transposed, volumes

Arrays = list[np.ndarray]


@pytest.fixture(params=["reference", "cpu"])
def target(request: pytest.FixtureRequest) -> Iterator[str]:
    """A session of its own for each target."""
    before = session.current()
    fresh = session.Session(Config())
    fresh.target = request.param
    session.set_session(fresh)
    yield request.param
    session.set_session(before)


@dataclass(frozen=True)
class Row:
    """`build(x, *kernels, order)` on samples of these `sizes` (channels last) and random kernels of these shapes must
    give `wanted(x, *kernels, order)`. `fixed` keeps the spatial sizes of the placeholder known."""

    name: str
    sizes: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...]
    build: Callable[..., Any]
    wanted: Callable[..., Any]
    fixed: bool = False


def _dense(function: str, *geometry: Any) -> dict[str, Any]:
    """A convolution and its meaning."""
    strides, padding, dilation = geometry
    return {
        "build": lambda x, w, order: getattr(K, function)(x, w, strides, padding, order, dilation),
        "wanted": lambda x, w, order: convolved(x, w, strides, padding, dilation, order),
    }


def _sequence(build: Callable[..., Any], wanted: Callable[..., Any], *geometry: Any) -> dict[str, Any]:
    step, padding, dilation = geometry
    return {
        "build": lambda x, *w, order: build(x, *w, step, padding, order, dilation),
        "wanted": lambda x, *w, order: wanted(x, *w, (step,), padding, (dilation,), order),
    }


def _separable(x: np.ndarray, depth: np.ndarray, point: np.ndarray, *geometry: Any) -> np.ndarray:
    ones = (1,) * (depth.ndim - 2)
    return convolved(depthwise(x, depth, *geometry), point, ones, "valid", ones, geometry[-1])


def _two(build: Callable[..., Any], wanted: Callable[..., Any], *geometry: Any) -> dict[str, Any]:
    strides, padding, dilation = geometry
    return {
        "build": lambda x, *w, order: build(x, *w, strides, padding, order, dilation),
        "wanted": lambda x, *w, order: wanted(x, *w, strides, padding, dilation, order),
    }


def _up(
    function: str, sizes: tuple[int, ...], filters: int, strides: tuple[int, ...], padding: str, dilation: Any = None
) -> dict[str, Any]:
    def build(x: Any, w: Any, order: str) -> Any:
        shape = (K.shape(x)[0], *sizes, filters) if order == LAST else (None, filters, *sizes)
        more = {} if dilation is None else {"dilation_rate": dilation}
        return getattr(K, function)(x, w, shape, strides, padding, order, **more)

    def wanted(x: np.ndarray, w: np.ndarray, order: str) -> np.ndarray:
        return transposed(x, w, sizes, strides, padding, dilation or (1,) * len(sizes), order)

    return {"build": build, "wanted": wanted}


def _pool(function: str, size: Any, strides: Any, padding: str, mode: str) -> dict[str, Any]:
    return {
        "build": lambda x, order: getattr(K, function)(x, size, strides, padding, order, mode),
        "wanted": lambda x, order: pooled(x, size, strides, padding, order, mode),
    }


def _bias(x: np.ndarray, bias: np.ndarray, order: str) -> np.ndarray:
    if order == LAST:
        return x + bias
    return x + bias.reshape(bias.shape[-1], *(bias.shape[:-1] if bias.ndim > 1 else (1,) * (x.ndim - 2)))


def _padded(function: str, pads: Any) -> dict[str, Any]:
    around = {LAST: ((0, 0), *pads, (0, 0)), FIRST: ((0, 0), (0, 0), *pads)}
    return {
        "build": lambda x, order: getattr(K, function)(x, pads, order),
        "wanted": lambda x, order: np.pad(x, around[order]),
    }


def _repeated(x: np.ndarray, factors: tuple[int, ...], order: str) -> np.ndarray:
    for axis, factor in enumerate(factors, 2 if order == FIRST else 1):
        x = x.repeat(factor, axis)
    return x


ROWS: list[Row] = [
    Row("conv1d", (2, 9, 3), ((3, 3, 4),), **_sequence(K.conv1d, convolved, 1, "valid", 1)),
    Row("conv1d strided", (2, 9, 3), ((4, 3, 4),), **_sequence(K.conv1d, convolved, 2, "same", 1)),
    Row("conv1d dilated", (2, 9, 3), ((3, 3, 4),), **_sequence(K.conv1d, convolved, 1, "same", 3)),
    Row("conv2d", (2, 6, 7, 3), ((3, 2, 3, 4),), **_dense("conv2d", (2, 1), "same", (1, 1))),
    Row("conv2d dilated", (2, 6, 7, 3), ((3, 2, 3, 4),), **_dense("conv2d", (1, 1), "valid", (2, 3))),
    Row("conv3d", (2, 4, 5, 6, 3), ((2, 3, 2, 3, 4),), **_dense("conv3d", (1, 1, 1), "valid", (1, 1, 1))),
    Row("conv3d same", (2, 4, 5, 6, 3), ((2, 3, 3, 3, 4),), **_dense("conv3d", (2, 1, 2), "same", (1, 1, 1))),
    Row("conv3d dilated", (1, 5, 5, 6, 2), ((3, 2, 2, 2, 3),), **_dense("conv3d", (1, 1, 1), "same", (2, 1, 3))),
    Row("conv2d_transpose", (2, 3, 4, 3), ((3, 2, 4, 3),), **_up("conv2d_transpose", (6, 8), 4, (2, 2), "same")),
    Row("conv2d_transpose valid", (2, 3, 4, 3), ((3, 2, 4, 3),),
        **_up("conv2d_transpose", (7, 11), 4, (1, 3), "valid", (2, 1))),
    Row("conv3d_transpose", (1, 2, 3, 2, 3), ((3, 2, 3, 2, 3),),
        **_up("conv3d_transpose", (4, 3, 6), 2, (2, 1, 3), "same")),
    Row("conv3d_transpose valid", (1, 2, 3, 2, 3), ((3, 2, 3, 2, 3),),
        **_up("conv3d_transpose", (5, 4, 6), 2, (2, 1, 3), "valid")),
    Row("depthwise_conv2d", (2, 6, 7, 5), ((3, 3, 5, 1),),
        **_two(K.depthwise_conv2d, depthwise, (1, 1), "same", (1, 1))),
    Row("depthwise_conv2d strided", (2, 6, 7, 3), ((3, 2, 3, 2),),
        **_two(K.depthwise_conv2d, depthwise, (2, 3), "valid", (1, 1))),
    Row("depthwise_conv2d dilated", (1, 8, 7, 18), ((3, 2, 18, 1),),
        **_two(K.depthwise_conv2d, depthwise, (1, 1), "same", (2, 3))),
    Row("separable_conv2d", (2, 6, 7, 3), ((3, 2, 3, 2), (1, 1, 6, 4)),
        **_two(K.separable_conv2d, _separable, (2, 2), "same", (1, 1))),
    Row("separable_conv2d dilated", (2, 6, 7, 3), ((2, 2, 3, 1), (1, 1, 3, 4)),
        **_two(K.separable_conv2d, _separable, (1, 1), "valid", (1, 2))),
    Row("separable_conv1d", (2, 9, 3), ((3, 3, 2), (1, 6, 4)),
        **_sequence(K.separable_conv1d, _separable, 2, "same", 1)),
    Row("separable_conv1d dilated", (2, 9, 3), ((3, 3, 1), (1, 3, 4)),
        **_sequence(K.separable_conv1d, _separable, 1, "valid", 2)),
    Row("pool2d max", (2, 6, 7, 3), (), **_pool("pool2d", (3, 2), (2, 1), "same", "max")),
    Row("pool2d avg", (2, 6, 7, 3), (), **_pool("pool2d", (3, 2), (2, 3), "same", "avg")),
    Row("pool3d max", (2, 4, 6, 5, 3), (), **_pool("pool3d", (2, 3, 2), (2, 2, 1), "same", "max")),
    Row("pool3d max valid", (2, 4, 6, 5, 3), (), **_pool("pool3d", (2, 2, 2), (2, 2, 2), "valid", "max")),
    Row("pool3d avg", (2, 5, 6, 4, 3), (), **_pool("pool3d", (3, 2, 3), (1, 2, 2), "same", "avg")),
    Row("pool3d avg valid", (2, 4, 6, 5, 3), (), **_pool("pool3d", (2, 3, 1), (2, 1, 2), "valid", "avg")),
    *(
        Row(f"bias_add {len(sizes)} {len(bias)}", sizes, (bias,), lambda x, b, order: K.bias_add(x, b, order), _bias)
        for sizes in ((2, 5), (2, 4, 5), (2, 3, 4, 5), (2, 3, 2, 4, 5))
        for bias in sorted({(5,), sizes[1:]})
    ),
    Row("local_conv2d", (2, 5, 6, 3), ((8, 18, 4),),
        lambda x, w, order: K.local_conv2d(x, w, (2, 3), (1, 2), (4, 2), order),
        partial(local, size=(2, 3), strides=(1, 2))),
    Row("spatial_2d_padding", (2, 3, 4, 2), (), **_padded("spatial_2d_padding", ((1, 0), (2, 3)))),
    Row("spatial_3d_padding", (2, 3, 2, 4, 2), (), **_padded("spatial_3d_padding", ((1, 0), (2, 3), (0, 1)))),
    Row("resize_images", (2, 3, 4, 2), (), lambda x, order: K.resize_images(x, 2, 3, order),
        lambda x, order: _repeated(x, (2, 3), order)),
    Row("resize_volumes", (2, 3, 2, 4, 2), (), lambda x, order: K.resize_volumes(x, 2, 1, 3, order),
        lambda x, order: _repeated(x, (2, 1, 3), order)),
]  # fmt: skip


def kernels_of(row: Row) -> Arrays:
    rng = np.random.default_rng(1)
    return [(rng.standard_normal(shape) / 2).astype(np.float32) for shape in row.kernels]


def placeholder(x: np.ndarray, order: str, known: bool) -> Any:
    """With an unknown number of samples, and unknown spatial sizes unless `known`."""
    channels = 1 if order == FIRST else x.ndim - 1
    return K.placeholder([None if a == 0 or not known and a != channels else d for a, d in enumerate(x.shape)])


@pytest.mark.parametrize("order", (LAST, FIRST))
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_values(row: Row, order: str, target: str) -> None:
    x, kernels = volumes(order, *row.sizes), kernels_of(row)
    wanted = row.wanted(x, *kernels, order=order)
    for known in (True, False):
        inputs = [placeholder(x, order, known), *(K.placeholder(k.shape) for k in kernels)]
        run = K.function(inputs, [row.build(*inputs, order=order)])
        assert_allclose(run([x, *kernels])[0], wanted, rtol=1e-4, atol=1e-5)
        assert_allclose(run([x[:1], *kernels])[0], wanted[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("order", (LAST, FIRST))
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_gradients(row: Row, order: str) -> None:
    x, kernels = volumes(order, *row.sizes), kernels_of(row)
    if "max" in row.name:  # no two elements closer than the step
        x = (np.random.default_rng(0).permutation(x.size).reshape(x.shape) / 10 - 3).astype(np.float32)
    inputs = [placeholder(x, order, False), *(K.placeholder(k.shape) for k in kernels)]
    y = row.build(*inputs, order=order)
    factor = np.random.default_rng(2).standard_normal(row.wanted(x, *kernels, order=order).shape)
    total = K.sum(y * K.constant(factor))
    check_slopes(K.function(inputs, [total, *K.gradients(total, inputs)]), [x, *kernels])


@pytest.mark.parametrize("order", (LAST, FIRST))
def test_conv1d_causal(order: str, target: str) -> None:
    x, kernel = volumes(order, 2, 9, 3), np.random.default_rng(1).standard_normal((3, 3, 4)).astype(np.float32)
    steps = 2 if order == FIRST else 1
    before = np.pad(x, [(4, 0) if a == steps else (0, 0) for a in range(3)])
    wanted = convolved(before, kernel, (1,), "valid", (2,), order)
    found = K.eval(K.conv1d(K.constant(x), K.constant(kernel), 1, "causal", order, 2))
    assert found.shape[steps] == 9
    assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("order", (LAST, FIRST))
def test_local_conv1d(order: str, target: str) -> None:
    """Channels are last whatever the data format says."""
    x, kernel = volumes(LAST, 3, 9, 2), np.random.default_rng(1).standard_normal((4, 6, 5)).astype(np.float32)
    inputs = K.placeholder((None, 9, 2)), K.placeholder(kernel.shape)
    total = K.local_conv1d(*inputs, (3,), (2,), order)
    run = K.function(list(inputs), [total])
    assert_allclose(run([x, kernel])[0], local(x, kernel, (3,), (2,), LAST), rtol=1e-4, atol=1e-5)
    sum_of = K.sum(K.square(total))
    check_slopes(K.function(list(inputs), [sum_of, *K.gradients(sum_of, list(inputs))]), [x, kernel], 1e-3)


def test_temporal_padding(target: str) -> None:
    x = volumes(LAST, 2, 3, 4)
    assert_allclose(K.eval(K.temporal_padding(K.constant(x))), np.pad(x, ((0, 0), (1, 1), (0, 0))))
    assert_allclose(K.eval(K.temporal_padding(K.constant(x), (2, 0))), np.pad(x, ((0, 0), (2, 0), (0, 0))))


@pytest.mark.parametrize("order", (LAST, FIRST))
def test_resize_bilinear_gradient(order: str) -> None:
    x = volumes(order, 2, 3, 4, 2)
    inputs = placeholder(x, order, False)
    y = K.resize_images(inputs, 3, 2, order, "bilinear")
    total = K.sum(K.square(y))
    check_slopes(K.function([inputs], [total, *K.gradients(total, [inputs])]), [x], 1e-3)


@pytest.mark.parametrize("name", ["conv3d", "depthwise_conv2d", "conv2d_transpose", "pool3d avg", "local_conv2d"])
@pytest.mark.parametrize("order", (LAST, FIRST))
def test_gradients_of_gradients(name: str, order: str) -> None:
    """Of the squared length of the gradient, as a gradient penalty asks for."""
    row = next(row for row in ROWS if row.name == name)
    x, kernels = volumes(order, *row.sizes), kernels_of(row)
    inputs = [placeholder(x, order, False), *(K.placeholder(k.shape) for k in kernels)]
    first = K.gradients(K.sum(K.square(row.build(*inputs, order=order))), inputs[:1])[0]
    penalty = K.mean(K.square(first))
    check_slopes(K.function(inputs, [penalty, *K.gradients(penalty, inputs)]), [x, *kernels], 1e-3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: K.conv3d(K.zeros((1, 4, 4, 4, 2)), K.zeros((2, 2, 2, 3, 1))), "2 channels .* takes 3"),
        (lambda: K.conv3d(K.zeros((1, 4, 4, 2)), K.zeros((2, 2, 2, 2, 1))), "x must have 5 dimensions"),
        (lambda: K.conv3d(K.zeros((1, 4, 4, 4, 2)), K.zeros((2, 2, 2, 2, 1)), (1, 2)), "strides takes three numbers"),
        (lambda: K.depthwise_conv2d(K.zeros((1, 4, 4, 2)), K.zeros((2, 2, 3, 1))), "2 channels .* takes 3"),
        (lambda: K.depthwise_conv2d(K.zeros((1, 4, 4, 2)), K.zeros((5, 2, 2, 1))), "window of 5 does not fit into 4"),
        (lambda: K.separable_conv1d(K.zeros((1, 4, 2)), K.zeros((2, 2, 1)), K.zeros((1, 2, 3)), padding="causal"),
         "Invalid padding: causal"),
        (lambda: K.separable_conv1d(K.zeros((1, 4, 2)), K.zeros((2, 1)), K.zeros((1, 2, 3))), "got ranks 3, 2 and 3"),
        (lambda: K.conv1d(K.zeros((1, 4, 2)), K.zeros((2, 2, 1)), (1, 2)), "strides takes one number, got"),
        (lambda: K.pool3d(K.zeros((1, 4, 4, 4, 2)), (2, 2, 2), pool_mode="sum"), "Invalid pooling mode: sum"),
        (lambda: K.pool3d(K.zeros((1, 4, 4, 4, 2)), (2, 5, 2)), "max_pool3d, axis 2: a window of 5"),
        (lambda: K.conv3d_transpose(K.zeros((1, 2, 2, 2, 1)), K.zeros((1, 1, 1, 3, 1)), (1, 2, 2, 3, 3)),
         "axis 3 of dy .* sizes 2 and 3 differ"),
        (lambda: K.local_conv2d(K.zeros((1, 4, 4, 1)), K.zeros((5, 4, 1)), (2, 2), (1, 1), (3, 3)),
         "must have 9 matrices"),
        (lambda: K.local_conv1d(K.zeros((1, 4, 4, 1)), K.zeros((5, 4, 1)), (2,), (1,)), "tensor of rank 3"),
    ],
)  # fmt: skip
def test_bad_arguments(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
