"""Convolution and pooling beyond the op table: TensorFlow's window arithmetic, sums written out, symbolic sizes,
second derivatives and errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ir import builder as b
from ir import dims
from ir.dims import SymDim
from ir.graph import Attrs
from ir.interpreter import evaluate
from ir.opdef import TypeRuleError
from ir.ops import OPS
from ir.ops.window import output_size, pads
from ir.types import tensor
from tests.ir.derivatives import check_second_derivatives

RNG = np.random.default_rng(0)


def _attrs(strides: Any = (1, 1), padding: str = "valid", **more: Any) -> dict[str, Any]:
    return {"strides": strides, "padding": padding, "data_format": "channels_last", **more}


@pytest.mark.parametrize(
    "size, window, stride, dilation, out, before, after",
    [
        (5, 3, 1, 1, 5, 1, 1),
        (6, 3, 2, 1, 3, 0, 1),  # even size, stride 2: the odd element goes after
        (7, 3, 2, 1, 4, 1, 1),
        (224, 7, 2, 1, 112, 2, 3),
        (225, 7, 2, 1, 113, 3, 3),
        (5, 2, 1, 1, 5, 0, 1),
        (5, 4, 1, 1, 5, 1, 2),
        (5, 4, 2, 1, 3, 1, 2),
        (6, 2, 2, 1, 3, 0, 0),
        (7, 2, 2, 1, 4, 0, 1),
        (8, 2, 3, 1, 3, 0, 0),
        (9, 1, 4, 1, 3, 0, 0),
        (7, 3, 1, 2, 7, 2, 2),
        (8, 2, 1, 3, 8, 1, 2),
        (8, 3, 2, 2, 4, 1, 2),
        (1, 3, 2, 1, 1, 1, 1),
    ],
)
def test_same_padding(size: int, window: int, stride: int, dilation: int, out: int, before: int, after: int) -> None:
    assert output_size(size, window, stride, "same", dilation) == out
    assert pads(size, window, stride, "same", dilation) == (before, after)
    symbol = SymDim("H")
    assert dims.bind(output_size(symbol, window, stride, "same", dilation), {symbol: size}) == out
    formulas = pads(symbol, window, stride, "same", dilation)
    assert tuple(dims.bind(d, {symbol: size}) for d in formulas) == (before, after)


@pytest.mark.parametrize(
    "size, window, stride, dilation, out",
    [
        (5, 3, 1, 1, 3),
        (6, 3, 2, 1, 2),
        (7, 3, 2, 1, 3),
        (3, 3, 2, 1, 1),
        (9, 3, 1, 2, 5),
        (9, 2, 5, 3, 2),
        (7, 1, 9, 1, 1),
    ],
)
def test_valid_padding(size: int, window: int, stride: int, dilation: int, out: int) -> None:
    assert output_size(size, window, stride, "valid", dilation) == out
    assert pads(size, window, stride, "valid", dilation) == (0, 0)


def _conv_by_hand(x: np.ndarray, kernel: np.ndarray, strides: Any, padding: str, dilation: Any) -> np.ndarray:
    n, height, width, _ = x.shape
    kh, kw, _, cout = kernel.shape
    axes = list(zip((height, width), (kh, kw), strides, (padding, padding), dilation, strict=True))
    rows, columns = (output_size(*a) for a in axes)
    top, left = (pads(*a)[0] for a in axes)
    out = np.zeros((n, rows, columns, cout))
    for p, q, i, j in np.ndindex(rows, columns, kh, kw):
        r, c = p * strides[0] + i * dilation[0] - top, q * strides[1] + j * dilation[1] - left
        if 0 <= r < height and 0 <= c < width:
            out[:, p, q] += x[:, r, c] @ kernel[i, j]
    return out


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 3)])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_conv2d_is_the_sum_it_says(padding: str, strides: Any, dilation: Any, data_format: str) -> None:
    x, kernel = RNG.standard_normal((2, 8, 7, 3)), RNG.standard_normal((3, 2, 3, 4))
    given = np.moveaxis(x, 3, 1) if data_format == "channels_first" else x
    attrs = Attrs({"strides": strides, "padding": padding, "dilation": dilation, "data_format": data_format})
    (y,) = OPS["conv2d"].reference([given, kernel], attrs)
    y = np.moveaxis(y, 1, 3) if data_format == "channels_first" else y
    np.testing.assert_allclose(y, _conv_by_hand(x, kernel, strides, padding, dilation), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides, dilation", [((1, 1), (1, 1)), ((2, 3), (1, 1)), ((2, 1), (1, 2))])
def test_convolution_gradients_are_transposes(padding: str, strides: Any, dilation: Any) -> None:
    x, kernel = RNG.standard_normal((2, 7, 6, 2)), RNG.standard_normal((3, 2, 2, 3))
    attrs = Attrs(_attrs(strides, padding, dilation=dilation))
    (y,) = OPS["conv2d"].reference([x, kernel], attrs)
    dy = RNG.standard_normal(y.shape)
    (dx,) = OPS["conv2d_input_grad"].reference([dy, kernel], attrs.updated(shape=x.shape))
    (dk,) = OPS["conv2d_kernel_grad"].reference([x, dy], attrs.updated(shape=kernel.shape))
    assert np.vdot(y, dy) == pytest.approx(np.vdot(x, dx)) == pytest.approx(np.vdot(kernel, dk))


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_symbolic_sizes(padding: str) -> None:
    n, h, w = SymDim("B"), SymDim("H"), SymDim("W")
    x = b.input_value(tensor("f32", n, h, w, 3), "x")
    kernel = b.input_value(tensor("f32", 3, 5, 3, 4), "kernel")
    y = b.apply1("conv2d", x, kernel, **_attrs((2, 3), padding, dilation=(1, 1)))
    z = b.apply1("max_pool2d", y, **_attrs((2, 2), "same", pool_size=(2, 2)))
    (dx,) = _gradients(z, x)
    assert dx.shape == x.shape
    for size in ((2, 11, 13, 3), (0, 12, 9, 3), (1, 5, 8, 3)):
        feeds = {x: RNG.standard_normal(size).astype("f4"), kernel: RNG.standard_normal((3, 5, 3, 4)).astype("f4")}
        env = dict(zip((n, h, w), size, strict=False))
        for value, array in zip((y, z, dx), evaluate([y, z, dx], feeds), strict=True):
            assert array.shape == value.type.bind(env)


def _gradients(y: Any, x: Any) -> Any:
    from ir.autodiff import gradients

    return gradients([y], [x])


@pytest.mark.parametrize("strides, padding, dilation", [((1, 1), "valid", (1, 1)), ((2, 1), "same", (1, 2))])
def test_conv2d_second_derivatives(strides: Any, padding: str, dilation: Any) -> None:
    attrs = _attrs(strides, padding, dilation=dilation)
    arrays = [RNG.standard_normal((1, 4, 5, 2)), RNG.standard_normal((2, 3, 2, 2))]
    check_second_derivatives(lambda x, kernel: b.apply1("conv2d", x, kernel, **attrs), arrays)


@pytest.mark.parametrize("strides, padding, dilation", [((1, 1), "valid", (1, 1)), ((2, 1), "same", (1, 2))])
def test_depthwise_second_derivatives(strides: Any, padding: str, dilation: Any) -> None:
    attrs = _attrs(strides, padding, dilation=dilation)
    arrays = [RNG.standard_normal((1, 4, 5, 2)), RNG.standard_normal((2, 3, 2, 3))]
    check_second_derivatives(lambda x, kernel: b.apply1("depthwise_conv2d", x, kernel, **attrs), arrays)


@pytest.mark.parametrize("strides, padding", [((1, 1, 1), "valid"), ((2, 1, 2), "same")])
def test_conv3d_second_derivatives(strides: Any, padding: str) -> None:
    attrs = _attrs(strides, padding, dilation=(1, 1, 1))
    arrays = [RNG.standard_normal((1, 3, 4, 3, 2)), RNG.standard_normal((2, 3, 2, 2, 2))]
    check_second_derivatives(lambda x, kernel: b.apply1("conv3d", x, kernel, **attrs), arrays)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_depthwise_is_a_convolution_for_each_channel(padding: str, data_format: str) -> None:
    x, kernel = RNG.standard_normal((2, 8, 7, 3)), RNG.standard_normal((3, 2, 3, 2))
    first = data_format == "channels_first"
    attrs = Attrs(_attrs((2, 1), padding, dilation=(1, 2))).updated(data_format=data_format)
    (y,) = OPS["depthwise_conv2d"].reference([np.moveaxis(x, 3, 1) if first else x, kernel], attrs)
    y = np.moveaxis(y, 1, 3) if first else y
    for c in range(3):
        alone = _conv_by_hand(x[..., c : c + 1], kernel[:, :, c : c + 1], (2, 1), padding, (1, 2))
        np.testing.assert_allclose(y[..., 2 * c : 2 * c + 2], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dilation", [(1, 1, 1), (2, 1, 2)])
def test_conv3d_is_the_sum_of_its_planes(dilation: Any) -> None:
    x, kernel = RNG.standard_normal((2, 5, 6, 7, 2)), RNG.standard_normal((2, 3, 2, 2, 3))
    attrs = _attrs((1, 2, 1), "same", dilation=dilation)
    (y,) = OPS["conv3d"].reference([x, kernel], Attrs(attrs))
    before, _ = pads(5, 2, 1, "same", dilation[0])
    for p in range(5):
        planes = [(p + i * dilation[0] - before, k) for i, k in enumerate(kernel)]
        wanted = sum(
            _conv_by_hand(x[:, at], k, (2, 1), "same", dilation[1:]) for at, k in planes if 0 <= at < 5
        )
        np.testing.assert_allclose(y[:, p], wanted, rtol=1e-12, atol=1e-12)


VOLUMES = [((2, 2, 2), (2, 2, 2), "valid"), ((3, 2, 3), (1, 2, 2), "same"), ((2, 5, 1), (3, 1, 2), "same")]


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("size, strides, padding", VOLUMES)
def test_pooling_of_volumes_decomposes(size: Any, strides: Any, padding: str, data_format: str) -> None:
    """Into pooling of images, with the same numbers; ties go to the same element."""
    attrs = Attrs(_attrs(strides, padding, pool_size=size)).updated(data_format=data_format)
    x = RNG.integers(0, 4, (2, 6, 5, 7, 3)).astype("f4")
    x[0, 1, 2, 3, 0] = np.nan
    x = np.moveaxis(x, -1, 1) if data_format == "channels_first" else x
    (y,) = OPS["max_pool3d"].reference([x], attrs)
    dy = RNG.standard_normal(y.shape).astype("f4")
    rows: list[tuple[str, list[np.ndarray], Any]] = [
        ("max_pool3d", [x], attrs),
        ("max_pool3d_grad", [x, y, dy], attrs),
        ("max_pool3d_grad_grad", [x, y, np.nan_to_num(x) + 1], attrs),
        ("avg_pool3d", [np.nan_to_num(x)], attrs),
        ("avg_pool3d_grad", [dy], attrs.updated(shape=x.shape)),
    ]
    for op, arrays, more in rows:
        inputs = tuple(b.input_value(tensor("f32", *a.shape)) for a in arrays)
        simpler = OPS[op].decompose(inputs, more)
        assert simpler is not None
        (found,) = evaluate(simpler, dict(zip(inputs, arrays, strict=True)))
        (expected,) = OPS[op].reference(arrays, more)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6, err_msg=op)


def test_pooling_of_volumes_of_sizes_to_come() -> None:
    n, d, h, w = (SymDim(name) for name in "BDHW")
    x = b.input_value(tensor("f32", n, d, h, w, 2), "x")
    attrs = Attrs(_attrs((2, 1, 2), "same", pool_size=(2, 3, 2)))
    (y,) = OPS["max_pool3d"].decompose((x,), attrs) or ()
    whole = b.apply1("max_pool3d", x, **attrs)
    env = dict(zip((n, d, h, w), (3, 5, 4, 7), strict=True))
    assert y.type.bind(env) == whole.type.bind(env)
    array = RNG.standard_normal((3, 5, 4, 7, 2)).astype("f4")
    found, expected = evaluate([y, whole], {x: array})
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_pool_second_derivatives(op: str, padding: str) -> None:
    attrs = _attrs((2, 1), padding, pool_size=(3, 2))
    x = RNG.permutation(40).reshape(1, 5, 4, 2) / 7
    check_second_derivatives(lambda v: b.apply1(op, v, **attrs), [x])


def test_avg_pool_counts_only_the_image() -> None:
    x = np.ones((1, 3, 5, 2), "f4")
    (y,) = OPS["avg_pool2d"].reference([x], Attrs(_attrs((2, 2), "same", pool_size=(3, 3))))
    np.testing.assert_array_equal(y, np.ones((1, 2, 3, 2)))
    (dx,) = OPS["avg_pool2d_grad"].reference([y], Attrs(_attrs((2, 2), "same", pool_size=(3, 3), shape=x.shape)))
    assert dx[0, 0, 0, 0] == np.float32(1 / 4)  # the corner is seen by one window, which holds 2x2 pixels
    assert dx.sum() == pytest.approx(y.size)


def test_padding_wins_no_maximum() -> None:
    x = np.full((1, 3, 3, 1), -5.0, "f4")
    (y,) = OPS["max_pool2d"].reference([x], Attrs(_attrs((1, 1), "same", pool_size=(3, 3))))
    np.testing.assert_array_equal(y, x)


def test_max_pool_gradient_goes_to_the_first_maximum() -> None:
    x = np.array([[1, 3, 3], [3, 2, 3]], "f4").reshape(1, 2, 3, 1)
    attrs = Attrs(_attrs((1, 1), "valid", pool_size=(2, 2)))
    (y,) = OPS["max_pool2d"].reference([x], attrs)
    dy = np.array([10, 20], "f4").reshape(1, 1, 2, 1)
    (dx,) = OPS["max_pool2d_grad"].reference([x, y, dy], attrs)
    np.testing.assert_array_equal(dx.reshape(2, 3), [[0, 30, 0], [0, 0, 0]])
    (back,) = OPS["max_pool2d_grad_grad"].reference([x, y, np.arange(6, dtype="f4").reshape(x.shape)], attrs)
    np.testing.assert_array_equal(back.ravel(), [1, 1])


def test_max_pool_of_nothing_but_minus_infinity() -> None:
    x = np.full((1, 2, 2, 1), -np.inf, "f4")
    attrs = Attrs(_attrs((2, 2), "same", pool_size=(3, 3)))
    (y,) = OPS["max_pool2d"].reference([x], attrs)
    (dx,) = OPS["max_pool2d_grad"].reference([x, y, np.ones_like(y)], attrs)
    np.testing.assert_array_equal(dx.ravel(), [1, 0, 0, 0])


@pytest.mark.parametrize(
    "x, kernel, attrs, message",
    [
        (("f32", 2, 5, 5, 3), ("f32", 3, 3, 4, 8), {}, r"3 channels .* takes 4"),
        (("f32", 2, 3, 5, 5), ("f32", 3, 3, 5, 8), {"data_format": "channels_first"}, r"3 channels .* takes 5"),
        (("f32", 2, 2, 5, 3), ("f32", 3, 3, 3, 8), {}, r"axis 1: a window of 3 does not fit into 2"),
        (("f32", 2, 5, 4, 3), ("f32", 3, 3, 3, 8), {"dilation": (2, 2)}, r"window of 5 \(size 3 with dilation 2\)"),
        (("f32", 5, 4, 3), ("f32", 3, 3, 3, 8), {}, r"x must have 4 dimensions"),
        (("f32", 2, 5, 4, 3), ("f32", 3, 3, 8), {}, r"kernel must have 4 dimensions"),
        (("f32", 2, 5, 4, 3), ("f64", 3, 3, 3, 8), {}, r"x is float32, kernel is float64; cast"),
        (("i32", 2, 5, 4, 3), ("i32", 3, 3, 3, 8), {}, r"float dtype, got int32"),
        (("f32", 2, 5, 4, 3), ("f32", 3, 3, 3, 8), {"padding": "full"}, r"padding must be .* got 'full'"),
        (("f32", 2, 5, 4, 3), ("f32", 3, 3, 3, 8), {"strides": (0, 1)}, r"strides must be 2 positive integers"),
        (("f32", 2, 5, 4, 3), ("f32", 3, 3, 3, 8), {"dilation": (1,)}, r"dilation must be 2 positive integers"),
        (("f32", 2, 5, 4, 3), ("f32", 3, 3, 3, 8), {"data_format": "NHWC"}, r"data_format must be .* got 'NHWC'"),
        (("f32", 2, 5, 4, 3), ("f32", SymDim("K"), 3, 3, 8), {}, r"kernel's sizes must be known"),
    ],
)
def test_conv2d_refuses(x: Any, kernel: Any, attrs: dict[str, Any], message: str) -> None:
    values = [b.input_value(tensor(*t)) for t in (x, kernel)]
    with pytest.raises(TypeRuleError, match=f"conv2d.*{message}"):
        b.apply("conv2d", *values, **{**_attrs(dilation=(1, 1)), **attrs})


def test_gradients_refuse_another_shape() -> None:
    dy, kernel = b.input_value(tensor("f32", 2, 3, 4, 8)), b.input_value(tensor("f32", 3, 3, 3, 8))
    with pytest.raises(TypeRuleError, match="axis 2 of dy .* sizes 4 and 3 differ"):
        b.apply("conv2d_input_grad", dy, kernel, **_attrs(dilation=(1, 1), shape=(2, 5, 5, 3)))


def test_pool_refuses_a_window_over_the_image() -> None:
    x = b.input_value(tensor("f32", SymDim("B"), 4, 3, 2))
    with pytest.raises(TypeRuleError, match="avg_pool2d, axis 2: a window of 4 does not fit into 3"):
        b.apply("avg_pool2d", x, **_attrs((1, 1), pool_size=(4, 4)))
