"""layout: channels-first graphs computed channels last, with transposes only where data enters, leaves or needs its
order."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from ir import builder as b
from ir.autodiff import gradients
from ir.dims import SymDim
from ir.extract import extract
from ir.graph import Graph, Value, Variable
from ir.parser import parse
from ir.passes import PREDICT, TRAIN, run_passes
from ir.passes.cse import cse
from ir.passes.layout import layout
from ir.passes.simplify import simplify
from ir.printer import print_graph
from ir.types import tensor
from tests.golden_text import Golden
from tests.ir.pass_checks import apply, apply_text, ops

CONV = 'conv2d(%{x}, %{k}) {{data_format="channels_first", dilation=(1, 1), padding="same", strides=(1, 1)}}'
POOL = '{op}(%{x}) {{data_format="channels_first", padding="valid", pool_size=(2, 2), strides=(2, 2)}}'

NETWORK = f"""
graph @network(B) {{
  input    %x : f32[B, 3, 7, 9]
  variable %k : f32[3, 3, 3, 4]  "a/kernel"
  variable %l : f32[3, 3, 4, 4]  "b/kernel"
  variable %v : f32[4]  "a/bias"
  variable %g : f32[4]  "bn/gamma"
  variable %d : f32[48, 2]  "dense/kernel"
  %c : f32[B, 4, 7, 9] = {CONV.format(x="x", k="k")}   # a
  %r : f32[4, 1, 1] = reshape(%v) {{shape=(4, 1, 1)}}   # a
  %h : f32[B, 4, 7, 9] = add(%c, %r)   # a
  %n, %m, %s : f32[B, 4, 7, 9], f32[4], f32[4] = batch_norm_train(%h, %g, %g) {{axis=1, epsilon=0.001}}   # bn
  %a : f32[B, 4, 7, 9] = relu(%n)   # relu
  %e : f32[B, 4, 7, 9] = {CONV.format(x="a", k="l")}   # b
  %z : f32[B, 4, 7, 9] = add(%e, %a)   # add
  %p : f32[B, 4, 3, 4] = {POOL.format(op="max_pool2d", x="z")}   # pool
  %f : f32[B, 48] = reshape(%p) {{shape=(B, 48)}}   # flatten
  %y : f32[B, 2] = matmul(%f, %d) {{transpose_a=false, transpose_b=false}}   # dense
  %w : f32[B, 4] = reduce_mean(%z) {{axes=(2, 3), keepdims=false}}   # global_pool
  output %y, %w, %m
}}
"""


def transposes(graph: Graph) -> list[tuple[int, ...]]:
    return [n.attrs["perm"] for n in graph.nodes if n.op.name == "transpose"]


def formats(graph: Graph) -> set[str]:
    return {n.attrs["data_format"] for n in graph.nodes if "data_format" in n.attrs}


def test_a_network(golden: Golden) -> None:
    after = apply_text(layout, NETWORK)
    golden("passes/layout_network", print_graph(after))
    assert formats(after) == {"channels_last"}
    assert transposes(after) == [(0, 2, 3, 1), (0, 3, 1, 2)], "one where images enter, one before the Flatten"


def test_channels_last_graphs_stay_as_they_are() -> None:
    g = parse(NETWORK.replace("channels_first", "channels_last").replace("B, 3, 7, 9", "B, 7, 9, 3").split("%c :")[0]
              + "output %x\n}")  # fmt: skip
    assert layout(g) is g


def image(*shape: int, name: str = "x") -> Value:
    return b.input_value(tensor("f32", SymDim("B"), *shape), name)


def conv(x: Value, kernel: Value) -> Value:
    return b.apply1(
        "conv2d", x, kernel, strides=(1, 1), padding="same", dilation=(1, 1), data_format="channels_first"
    )


def kernel(inputs: int, outputs: int, name: str = "k") -> Value:
    return Variable(tensor("f32", 3, 3, inputs, outputs), name).value


def vector(*shape: int) -> Value:
    return Variable(tensor("f32", *shape), "v").value


def numbered(*shape: int) -> Value:
    return b.constant(np.arange(np.prod(shape)).reshape(shape).astype("f4"))


BETWEEN = {
    "unary": (lambda c: b.unary("tanh", c), 2),
    "scalar": (lambda c: b.mul(c, 0.5), 2),
    "scalar variable": (lambda c: b.mul(c, vector()), 2),
    "bias": (lambda c: b.add(c, vector(4, 1, 1)), 2),
    "bias of full rank": (lambda c: b.add(vector(1, 4, 1, 1), c), 2),
    "row": (lambda c: b.add(c, numbered(5)), 2),
    "column": (lambda c: b.add(c, numbered(6, 1)), 2),
    "plane": (lambda c: b.add(c, numbered(6, 5)), 3),
    "whole constant": (lambda c: b.add(c, numbered(4, 6, 5)), 3),
    "one pixel of each": (lambda c: b.mul(c, numbered(1, 1, 1, 1)), 2),
    "slope": (lambda c: b.apply1("leaky_relu", c, b.lift(0.3, c)), 2),
    "itself": (lambda c: b.mul(c, b.unary("sigmoid", c)), 2),
    "comparison": (lambda c: b.select(b.compare("greater", c, 0.0), c, b.mul(c, 0.1)), 2),
    "cast": (lambda c: b.cast(b.compare("greater", c, 0.0), c.type.dtype), 2),
    "batch_norm": (
        lambda c: b.apply1("batch_norm", c, *(vector(4) for _ in range(4)), axis=1, epsilon=1e-2), 2
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BETWEEN)
def test_between_two_convolutions(name: str) -> None:
    """What lies between keeps no transpose of images; another one is for operands that need it."""
    build, expected = BETWEEN[name]
    x = image(3, 6, 5)
    before = extract("g", [x], [conv(build(conv(x, kernel(3, 4))), kernel(4, 2, "l"))])
    after = apply(layout, before)
    assert formats(after) == {"channels_last"} and len(transposes(after)) == expected


MIXED = {
    "an image that did not pass a convolution": (lambda c, x: conv(b.add(c, x), kernel(4, 2, "l")), 3),
    "two outputs": (lambda c, x: b.neg(c), 2),
    "normalised along another axis": (
        lambda c, x: b.apply1("batch_norm", c, *(vector(6) for _ in range(4)), axis=2, epsilon=1e-2), 2
    ),
    "five axes": (lambda c, x: b.add(c, vector(2, 1, 1, 1, 1)), 2),
    "concatenated": (lambda c, x: conv(b.concatenate([c, x], 1), kernel(8, 2, "l")), 4),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXED)
def test_mixtures(name: str) -> None:
    build, expected = MIXED[name]
    x, other = image(3, 6, 5), image(4, 6, 5, name="other")
    after = apply(layout, extract("g", [x, other], [build(conv(x, kernel(3, 4)), other)]))
    assert formats(after) == {"channels_last"} and len(transposes(after)) == expected


@pytest.mark.parametrize(
    "axes, keepdims, moved",
    [((2, 3), False, True), ((0, 2, 3), False, True), ((1,), False, True), ((0, 1, 2, 3), False, True),
     ((2,), False, False), ((0,), False, False), ((2, 3), True, False)],
)  # fmt: skip
def test_reductions(axes: tuple[int, ...], keepdims: bool, moved: bool) -> None:
    """They move where the axes that remain keep their order."""
    x = image(3, 6, 5)
    after = apply(layout, extract("g", [x], [b.reduce_sum(conv(x, kernel(3, 4)), axes, keepdims)]))
    assert len(transposes(after)) == (1 if moved else 2)
    (reduced,) = (n for n in after.nodes if n.op.name == "reduce_sum")
    assert reduced.inputs[0].node is not None
    assert reduced.inputs[0].node.op.name == ("conv2d" if moved else "transpose")


@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_gradients_of_pooled_convolutions(op: str, padding: str) -> None:
    x, k, bias = image(2, 7, 5), kernel(2, 3), vector(3, 1, 1)
    y = b.unary("relu", b.add(conv(x, k), bias))
    y = b.apply1(op, y, pool_size=(2, 3), strides=(2, 1), padding=padding, data_format="channels_first")
    loss = b.reduce_mean(b.unary("square", y))
    found = gradients([loss], [x, k, bias])
    before = extract("g", [x], [loss, *(g for g in found if g is not None)])
    after = apply(layout, cse(simplify(before)))
    assert formats(after) == {"channels_last"}
    kinds = Counter(ops(after))
    assert kinds["conv2d"] == kinds["conv2d_input_grad"] == kinds["conv2d_kernel_grad"] == 1


def test_second_derivatives_of_a_pooled_convolution() -> None:
    x, k = image(2, 5, 5), kernel(2, 2)
    y = b.apply1("max_pool2d", conv(x, k), pool_size=(2, 2), strides=(2, 2), padding="valid",
                 data_format="channels_first")  # fmt: skip
    (slope,) = gradients([b.unary("square", y)], [x])
    assert slope is not None
    (second,) = gradients([b.unary("square", slope)], [k])
    assert second is not None
    after = apply(layout, extract("g", [x], [second]))
    assert formats(after) == {"channels_last"} and "max_pool2d_grad_grad" in ops(after)


def test_strided_and_dilated_convolutions_and_their_gradients() -> None:
    x = image(2, 9, 8)
    for strides, dilation in (((2, 1), (1, 1)), ((1, 1), (2, 3))):
        k = kernel(2, 3)
        y = b.apply1("conv2d", x, k, strides=strides, padding="same", dilation=dilation, data_format="channels_first")
        found = [g for g in gradients([b.unary("square", y)], [x, k]) if g is not None]
        assert formats(apply(layout, extract("g", [x], [y, *found]))) == {"channels_last"}


def test_volumes_and_their_gradients() -> None:
    """Volumes enter once and their gradient leaves once; nothing between them is transposed."""
    x = b.input_value(tensor("f32", SymDim("B"), 3, 5, 6, 4), "x")
    k, bias, gamma = (Variable(tensor("f32", *s), "w").value for s in ((2, 3, 2, 3, 4), (4, 1, 1, 1), (4,)))
    attrs = {"strides": (1, 2, 1), "padding": "same", "data_format": "channels_first"}
    y = b.add(b.apply1("conv3d", x, k, dilation=(1, 1, 1), **attrs), bias)
    y = b.unary("relu", b.apply("batch_norm_train", y, gamma, gamma, axis=1, epsilon=1e-3)[0])
    y = b.apply1("max_pool3d", y, pool_size=(2, 1, 2), **attrs)
    y = b.apply1("avg_pool3d", y, pool_size=(1, 2, 2), **attrs)
    found = gradients([b.unary("square", y)], [x, k, bias, gamma])
    before = extract("g", [x], [b.reduce_mean(y, (2, 3, 4)), *(g for g in found if g is not None)])
    after = apply(layout, cse(simplify(before)))
    assert formats(after) == {"channels_last"}
    images = [perm for perm in transposes(after) if len(perm) == 5]
    assert sorted(images) == [(0, 2, 3, 4, 1), (0, 4, 1, 2, 3)]


def test_depthwise_convolutions_and_their_gradients() -> None:
    x, k = image(3, 7, 5), Variable(tensor("f32", 3, 2, 3, 2), "k").value
    attrs = {"strides": (2, 1), "padding": "same", "dilation": (1, 1), "data_format": "channels_first"}
    y = conv(b.unary("relu", b.apply1("depthwise_conv2d", x, k, **attrs)), kernel(6, 2))
    found = gradients([b.unary("square", y)], [x, k])
    after = apply(layout, cse(simplify(extract("g", [x], [g for g in found if g is not None]))))
    assert formats(after) == {"channels_last"}
    assert sorted(transposes(after)) == [(0, 2, 3, 1), (0, 3, 1, 2)]
    kinds = Counter(ops(after))
    assert kinds["depthwise_conv2d_input_grad"] == kinds["depthwise_conv2d_kernel_grad"] == 1


@pytest.mark.parametrize("pipeline", [PREDICT, TRAIN], ids=["predict", "train"])
def test_whole_pipelines(pipeline: object) -> None:
    after = apply(lambda g: run_passes(g, pipeline), parse(NETWORK))  # type: ignore[arg-type]
    assert formats(after) == {"channels_last"} and len(transposes(after)) == 2
