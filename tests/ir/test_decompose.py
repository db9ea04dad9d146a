"""decompose: composites become what the target has; what it does not have at all is an error that names the layer."""

from __future__ import annotations

from typing import Any

import pytest

from ir import builder as b
from ir.autodiff import gradients
from ir.dims import SymDim
from ir.graph import Graph
from ir.parser import parse
from ir.passes.decompose import decompose
from ir.passes.fuse_conv import FUSED, fuse_conv
from ir.passes.fuse_elementwise import fuse_elementwise
from ir.printer import print_graph
from ir.rewrite import assemble
from ir.types import tensor
from tests.golden_text import Golden
from tests.ir.pass_checks import Run, apply, apply_text, ops

TEXT = """
graph @classifier(B) {
  input    %x      : f32[B, 4]
  input    %labels : f32[B, 4]
  variable %gamma  : f32[4]  "bn/gamma" trainable
  %n, %mean, %var : f32[B, 4], f32[4], f32[4] = batch_norm_train(%x, %gamma, %gamma) {axis=1, epsilon=0.001}   # bn
  %p : f32[B, 4] = softmax(%n) {axis=1}   # probabilities
  %l : f32[B] = softmax_crossentropy(%labels, %n)   # loss
  output %p, %l, %mean
}
"""


def without(*names: str) -> Run:
    """The pass for a target that has every op but `names`."""

    def run(graph: Graph) -> Graph:
        return decompose(graph, lambda op: op not in names)

    return run


COMPOSITES = ("batch_norm_train", "batch_norm", "moments", "softmax", "log_softmax", "softmax_crossentropy")


def test_a_classifier(golden: Golden) -> None:
    after = apply_text(without(*COMPOSITES), TEXT)
    golden("passes/decompose", print_graph(after))
    assert set(ops(after)).isdisjoint(COMPOSITES)


@pytest.mark.parametrize("name", COMPOSITES)
def test_only_what_is_not_supported_is_replaced(name: str) -> None:
    after = apply_text(without(name), TEXT)
    assert name not in ops(after)
    unchanged = set(ops(parse(TEXT))) - {name}
    assert unchanged <= set(ops(after))


def test_decompositions_of_decompositions() -> None:
    """batch_norm_train becomes moments and batch_norm, and these become arithmetic."""
    after = apply_text(without("batch_norm_train", "batch_norm", "moments"), TEXT)
    assert {"reduce_mean", "rsqrt"} <= set(ops(after))


def test_nothing_to_do() -> None:
    g = parse(TEXT)
    assert decompose(g, lambda op: True) is g


def test_new_nodes_have_the_origin_of_the_old_one() -> None:
    after = apply_text(without("softmax"), TEXT)
    assert sum(n.origin == ("probabilities",) for n in after.nodes) >= 4


def test_outputs_keep_their_names() -> None:
    after = apply_text(without(*COMPOSITES), TEXT)
    assert [v.name for v in after.outputs] == ["p", "l", "mean"]


def test_an_op_without_decomposition_names_the_layer() -> None:
    with pytest.raises(ValueError, match=r"the target runs neither reduce_max \(probabilities\) nor a decomp"):
        decompose(parse(TEXT), lambda op: op not in ("softmax", "reduce_max"))
    x = b.input_value(tensor("f32", 3), "x")
    with pytest.raises(ValueError, match="the target runs neither exp nor a decomposition of it"):
        decompose(assemble("g", [x], [b.unary("exp", x)]), lambda op: op != "exp")


@pytest.mark.parametrize("name", [*FUSED.values()])
def test_fused_products_come_apart(name: str) -> None:
    rank = 3 if name == "fused_conv3d" else 2
    x = b.input_value(tensor("f32", SymDim("B"), *(4, 5, 6)[:rank], 3), "x")
    k = b.input_value(tensor("f32", 3, 2) if name == "fused_matmul" else tensor("f32", *(3,) * rank, 3, 3), "k")
    ones = (1,) * rank
    attrs: dict[str, Any] = {"strides": ones, "padding": "same", "dilation": ones, "data_format": "channels_last"}
    if name == "fused_matmul":
        y = b.matmul(x, k)
    elif name == "fused_conv2d_input_grad":
        y = b.apply1("conv2d_input_grad", x, k, shape=x.shape, **attrs)
    else:
        y = b.apply1(name.removeprefix("fused_"), x, k, **attrs)
    g = fuse_conv(assemble("g", [x, k], [b.unary("relu", b.add(y, 1.0))]))
    assert ops(g) == [name]
    assert ops(apply(without(name), g)) == [name.removeprefix("fused_"), "add", "relu"]


def test_fused_regions_come_apart() -> None:
    x = b.input_value(tensor("f32", SymDim("B"), 4), "x")
    g = fuse_elementwise(assemble("g", [x], [b.unary("tanh", b.add(b.unary("exp", x), 1.0))]))
    assert ops(g) == ["fused"]
    assert ops(apply(without("fused"), g)) == ["exp", "add", "tanh"]


def test_gradients_of_composites() -> None:
    x = b.input_value(tensor("f32", SymDim("B"), 4), "x")
    gamma = b.input_value(tensor("f32", 4), "gamma")
    y = b.apply("batch_norm_train", x, gamma, gamma, axis=1, epsilon=1e-2)[0]
    found = gradients([b.unary("square", b.apply1("softmax", y, axis=1))], [x, gamma])
    before = assemble("g", [x, gamma], [g for g in found if g is not None])
    assert "batch_norm_grad" in ops(before)
    after = apply(without("batch_norm_grad", "batch_norm_sums", *COMPOSITES), before)
    assert "batch_norm_grad" not in ops(after)
