"""fuse_conv: what an epilogue takes, where it stops, and whole residual blocks through the pipeline."""

from __future__ import annotations

import numpy as np
import pytest

from ir import builder as b
from ir.dims import SymDim
from ir.graph import Graph, Node, Value, Variable
from ir.interpreter import run
from ir.parser import parse
from ir.passes import PREDICT, TRAIN, run_passes
from ir.passes.fuse_conv import fuse_conv
from ir.printer import print_graph
from ir.rewrite import assemble
from ir.types import tensor
from tests.golden_text import Golden
from tests.ir.pass_checks import apply, apply_text, ops

CONV = 'conv2d(%x, %k) {data_format="channels_last", dilation=(1, 1), padding="same", strides=(1, 1)}'
HEAD = """
graph @fuse(B) {{
  input    %x : f32[B, 6, 7, 3]
  input    %r : f32[B, 6, 7, 5]
  input    %p : bool[B, 6, 7, 5]
  input    %s : f32[]
  variable %k : f32[3, 3, 3, 5]  "conv/kernel"
  variable %v : f32[5]  "conv/bias"
  variable %w : f32[7, 5]  "w"
  variable %one : f32[1]  "one"
  %half : f32[] = constant() {{dtype=f32, shape=(), value=(0.5,)}}
  %c : f32[B, 6, 7, 5] = {conv}   # conv
{nodes}
  {results}
}}
"""


def graph(*nodes: str, results: str = "output %y", conv: str = CONV) -> str:
    """A convolution %c and the definitions `nodes`; those without a type have that of %c."""
    full = (n if " : " in n else n.replace(" = ", " : f32[B, 6, 7, 5] = ", 1) for n in nodes)
    return HEAD.format(conv=conv, nodes="\n".join(f"  {n}" for n in full), results=results)


DENSE = """
graph @dense(B) {
  input    %x : f32[B, 4, 3]
  variable %w : f32[3, 5]  "dense/kernel"
  variable %v : f32[5]  "dense/bias"
  %m : f32[B, 4, 5] = matmul(%x, %w) {transpose_a=false, transpose_b=false}   # dense
  %d : f32[B, 4, 5] = add(%m, %v)   # dense
  %y : f32[B, 4, 5] = tanh(%d)   # activation
  output %y
}
"""
GOLDEN = {
    "bias_relu": graph("%d = add(%c, %v)   # conv", "%y = relu(%d)   # activation"),
    "residual": graph("%d = add(%v, %c)   # conv", "%e = add(%r, %d)   # add", "%y = relu(%e)   # activation"),
    "dense": DENSE,
}


@pytest.mark.parametrize("name", GOLDEN)
def test_fuses(name: str, golden: Golden) -> None:
    after = apply_text(fuse_conv, GOLDEN[name])
    golden(f"passes/fuse_conv_{name}", print_graph(after))
    assert ops(after) == ["fused_matmul" if name == "dense" else "fused_conv2d"]


# What an epilogue takes: (nodes, the ops of its body, the names of the operands after image and kernel)
TAKES: dict[str, tuple[tuple[str, ...], list[str], list[str | None]]] = {
    "a number": (("%y = mul(%c, %half)",), ["mul"], []),
    "a scalar input": (("%y = sub(%s, %c)",), ["sub"], ["s"]),
    "one element": (("%y = mul(%c, %one)",), ["mul"], ["one"]),
    "an operand twice": (("%d = add(%c, %v)", "%y = mul(%d, %v)"), ["add", "mul"], ["bias"]),
    "its own square": (("%y = mul(%c, %c)",), ["mul"], []),
    "a condition": (("%y = select(%p, %c, %r)",), ["select"], ["p", "r"]),
    "the image itself": (("%d = add(%c, %v)", "%y = add(%d, %r)"), ["add", "add"], ["bias", "r"]),
    "a long chain": (
        ("%d = add(%c, %v)", "%e = mul(%d, %v)", "%f = add(%e, %r)", "%g = clip(%f, %half, %s)", "%y = tanh(%g)"),
        ["add", "mul", "add", "clip", "tanh"], ["bias", "r", "s"],
    ),
    "what makes its operand": (("%t = tanh(%r)", "%y = add(%c, %t)"), ["tanh", "add"], ["r"]),
    "a mask that it alone reads": (
        ("%g : bool[B, 6, 7, 5] = greater(%r, %half)", "%y = select(%g, %c, %half)"), ["greater", "select"], ["r"],
    ),
    "producers of producers": (
        ("%t = tanh(%r)", "%u = mul(%t, %v)", "%y = sub(%u, %c)"), ["tanh", "mul", "sub"], ["r", "bias"],
    ),
    "a producer read twice by it": (
        ("%t = tanh(%r)", "%d = add(%c, %t)", "%y = mul(%d, %t)"), ["tanh", "add", "mul"], ["r"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKES)
def test_an_epilogue_takes(name: str) -> None:
    nodes, body, extras = TAKES[name]
    after = apply_text(fuse_conv, graph(*nodes))
    (fused,) = (n for n in after.nodes if n.op.name == "fused_conv2d")
    assert ops(fused.attrs["epilogue"]) == body
    assert [v.name for v in fused.inputs[2:]] == extras
    assert "conv2d" not in ops(after) and not set(body) & set(ops(after))


# Where an epilogue stops: (the graph, the ops that remain behind the convolution)
STOPS: dict[str, tuple[str, list[str]]] = {
    "a second reader": (graph("%a = tanh(%c)", "%b = exp(%c)", "%y = add(%a, %b)"), ["conv2d", "tanh", "exp", "add"]),
    "a second reader later": (
        graph("%d = add(%c, %v)", "%a = tanh(%d)", "%y = mul(%a, %d)"), ["fused_conv2d", "tanh", "mul"],
    ),
    "an output": (graph("%y = relu(%c)", results="output %y, %c"), ["conv2d", "relu"]),
    "an output later": (
        graph("%d = add(%c, %v)", "%y = relu(%d)", results="output %y, %d"), ["fused_conv2d", "relu"],
    ),
    "an update": (
        graph("%d = add(%c, %v)", "%y = relu(%d)", results="output %y\n  update %saved = %d")
        .replace("B, 6", "2, 6").replace("(B)", "()")
        .replace("variable %w ", 'variable %saved : f32[2, 6, 7, 5]  "saved"\n  variable %w '),
        ["fused_conv2d", "relu"],
    ),
    "a result of another shape": (
        graph("%q : f32[1, B, 6, 7, 5] = reshape(%r) {shape=(1, B, 6, 7, 5)}", "%y : f32[1, B, 6, 7, 5] = add(%c, %q)"),
        ["conv2d", "reshape", "add"],
    ),
    "a comparison": (graph("%y : bool[B, 6, 7, 5] = greater(%c, %half)"), ["conv2d", "greater"]),
    "a cast": (graph("%y : f16[B, 6, 7, 5] = cast(%c) {dtype=f16}"), ["conv2d", "cast"]),
    "a reduction": (graph("%y : f32[B] = reduce_sum(%c) {axes=(1, 2, 3), keepdims=false}"), ["conv2d", "reduce_sum"]),
    "an operand that varies otherwise": (graph("%y = add(%c, %w)"), ["conv2d", "add"]),
    "a column": (
        graph("%m : f32[B, 1, 1, 1] = reduce_max(%r) {axes=(1, 2, 3), keepdims=true}", "%y = sub(%c, %m)"),
        ["conv2d", "reduce_max", "sub"],
    ),
    "channels first": (
        graph("%y : f32[B, 5, 7, 3] = relu(%c)", conv=CONV.replace("last", "first"))
        .replace("%c : f32[B, 6, 7, 5]", "%c : f32[B, 5, 7, 3]")
        .replace("variable %k : f32[3, 3, 3, 5]", "variable %k : f32[3, 3, 6, 5]"),
        ["conv2d", "relu"],
    ),
    "a producer read by others": (
        graph("%t = tanh(%r)", "%y = add(%c, %t)", "%z = exp(%t)", results="output %y, %z"),
        ["fused_conv2d", "tanh", "exp"],
    ),
    "a producer that is an output": (
        graph("%t = tanh(%r)", "%y = add(%c, %t)", results="output %y, %t"), ["fused_conv2d", "tanh"],
    ),
    "a producer of two tensors": (
        graph("%t = select(%p, %r, %half)", "%y = add(%c, %t)"), ["fused_conv2d", "select"],
    ),
    "nothing behind it": (graph(results="output %c"), ["conv2d"]),
}  # fmt: skip


@pytest.mark.parametrize("name", STOPS)
def test_an_epilogue_stops_at(name: str) -> None:
    text, left = STOPS[name]
    assert sorted(ops(apply_text(fuse_conv, text))) == sorted(left)


def test_an_input_gradient_takes_the_other_gradient_and_the_mask() -> None:
    attrs = '{data_format="channels_last", dilation=(1, 1), padding="same", shape=(B, 6, 7, 5), strides=(2, 2)}'
    after = apply_text(fuse_conv, f"""
graph @backward(B) {{
  input    %dy : f32[B, 3, 4, 4]
  input    %relu : f32[B, 6, 7, 5]
  input    %other : f32[B, 6, 7, 5]
  variable %k : f32[3, 3, 5, 4]  "conv/kernel"
  %zero : f32[] = constant() {{dtype=f32, shape=(), value=(0.0,)}}
  %dx : f32[B, 6, 7, 5] = conv2d_input_grad(%dy, %k) {attrs}
  %sum : f32[B, 6, 7, 5] = add(%other, %dx)
  %positive : bool[B, 6, 7, 5] = greater(%relu, %zero)
  %y : f32[B, 6, 7, 5] = select(%positive, %sum, %zero)
  output %y
}}
""")  # fmt: skip
    (fused,) = (n for n in after.nodes if n.op.name != "constant")
    assert fused.op.name == "fused_conv2d_input_grad"
    assert sorted(ops(fused.attrs["epilogue"])) == ["add", "greater", "select"]
    assert sorted(v.name or "" for v in fused.inputs[2:]) == ["other", "relu"]


def test_integer_products_stay_alone() -> None:
    text = DENSE.replace("f32", "i32").replace("tanh", "neg")
    assert ops(apply_text(fuse_conv, text)) == ["matmul", "add", "neg"]


def test_of_two_products_added_the_first_takes_the_sum() -> None:
    """The other keeps its own epilogue, and its result is an operand."""
    text = graph(
        "%a = add(%c, %v)   # conv",
        f"%d = {CONV.replace('%x', '%z')}   # shortcut",
        "%e = mul(%d, %v)   # shortcut",
        "%f = add(%a, %e)   # add",
        "%y = relu(%f)   # relu",
    ).replace("input    %s", "input    %z : f32[B, 6, 7, 3]\n  input    %s")
    after = apply_text(fuse_conv, text)
    assert ops(after) == ["fused_conv2d", "fused_conv2d"]
    shortcut, main = after.nodes
    assert ops(shortcut.attrs["epilogue"]) == ["mul"] and ops(main.attrs["epilogue"]) == ["add", "add", "relu"]
    assert shortcut.output in main.inputs and main.origin == ("conv", "add", "relu")


def test_a_product_of_products() -> None:
    """Each is the operand of the next one, none takes another's chain."""
    text = DENSE.replace("[3, 5]", "[3, 3]").replace("B, 4, 5", "B, 4, 3").replace("[5]", "[3]").replace(
        "%y : f32[B, 4, 3] = tanh(%d)   # activation",
        """%t : f32[B, 4, 3] = tanh(%d)   # activation
  %n : f32[B, 4, 3] = matmul(%t, %w) {transpose_a=false, transpose_b=false}   # dense
  %y : f32[B, 4, 3] = add(%n, %v)   # dense""",
    )  # fmt: skip
    after = apply_text(fuse_conv, text)
    assert ops(after) == ["fused_matmul", "fused_matmul"] and after.nodes[1].inputs[0] is after.nodes[0].output


def test_fused_products_have_the_meaning_of_their_parts() -> None:
    fused = apply_text(fuse_conv, GOLDEN["residual"]).nodes[0]
    parts = fused.op.decompose(fused.inputs, fused.attrs)
    assert parts is not None and parts[0].type == fused.output.type
    again = assemble("g", [v for v in fused.inputs if v.producer is None], parts)
    assert ops(again) == ["conv2d", "add", "add", "relu"]


# Residual blocks through the whole pipeline


def conv_bn(x: Value, filters: int, name: str, activation: bool, variables: list[Variable]) -> Value:
    channels = x.shape[-1]
    assert isinstance(channels, int)

    def variable(what: str, *shape: int) -> Value:
        variables.append(Variable(tensor("f32", *shape), f"{name}/{what}"))
        return variables[-1].value

    with b.origin((name,)):
        y = b.apply1(
            "conv2d", x, variable("kernel", 3, 3, channels, filters), strides=(1, 1), padding="same", dilation=(1, 1),
            data_format="channels_last",
        )  # fmt: skip
        y = b.add(y, variable("bias", filters))
    with b.origin((f"{name}_bn",)):
        vectors = (variable(n, filters) for n in ("mean", "variance", "gamma", "beta"))
        y = b.apply1("batch_norm", y, *vectors, axis=3, epsilon=1e-3)
    return b.unary("relu", y) if activation else y


def residual_block(projection: bool) -> tuple[Graph, list[Variable]]:
    x = b.input_value(tensor("f32", SymDim("B"), 5, 5, 4), "x")
    variables: list[Variable] = []
    y = conv_bn(conv_bn(x, 4, "a", True, variables), 4, "b", False, variables)
    shortcut = conv_bn(x, 4, "shortcut", False, variables) if projection else x
    return assemble("block", [x], [b.unary("relu", b.add(y, shortcut))]), variables


def main_nodes(graph: Graph) -> list[Node]:
    """The nodes that depend on the batch."""
    return [n for n in graph.nodes if graph.inputs[0].shape[0] in n.outputs[0].shape]


@pytest.mark.parametrize("projection", [False, True])
def test_a_residual_block_becomes_fused_convolutions_alone(projection: bool) -> None:
    before, variables = residual_block(projection)
    after = run_passes(before, PREDICT)
    assert [n.op.name for n in main_nodes(after)] == ["fused_conv2d"] * (3 if projection else 2)
    for n in main_nodes(after):
        assert {"batch_norm", "mul"}.isdisjoint(ops(n.attrs["epilogue"]))
    rng = np.random.default_rng(0)
    content = {v: rng.uniform(0.2, 1.0, v.type.shape).astype("f4") for v in variables}
    x = rng.standard_normal((3, 5, 5, 4)).astype("f4")
    found, expected = run(after, [x], content)[0][0], run(before, [x], content)[0][0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_training_graphs_keep_their_statistics() -> None:
    """At phase 1 the same block, normalised by the batch, has no whole normalisation and no lonely relu either."""
    x = b.input_value(tensor("f32", SymDim("B"), 5, 5, 4), "x")
    k, g = Variable(tensor("f32", 3, 3, 4, 4), "k"), Variable(tensor("f32", 4), "gamma")
    y = b.apply1("conv2d", x, k.value, strides=(1, 1), padding="same", dilation=(1, 1), data_format="channels_last")
    y = b.apply("batch_norm_train", y, g.value, g.value, axis=3, epsilon=1e-3)[0]
    after = apply(lambda graph: run_passes(graph, TRAIN), assemble("train", [x], [b.unary("relu", y)]))
    assert [n.op.name for n in main_nodes(after)] == ["conv2d", "fused"]


def test_parsing_what_is_fused() -> None:
    after = apply_text(fuse_conv, GOLDEN["residual"])
    assert parse(print_graph(after)) == after
