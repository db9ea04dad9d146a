"""fold_batch_norm: what folds, what it folds to, and each case that must not fold."""

from __future__ import annotations

import numpy as np
import pytest

from ir.graph import Graph
from ir.interpreter import run
from ir.parser import parse
from ir.passes.fold_batch_norm import constant_values, fold_batch_norm
from ir.printer import print_graph
from tests.golden_text import Golden
from tests.ir.pass_checks import apply_text, ops

CONV = 'conv2d(%x, %k) {data_format="channels_last", dilation=(1, 1), padding="same", strides=(1, 1)}'
FIRST = CONV.replace("channels_last", "channels_first")
STATISTICS = """
  variable %mean  : f32[5]  "bn/moving_mean"
  variable %var   : f32[5]  "bn/moving_variance"
  variable %gamma : f32[5]  "bn/gamma" trainable
  variable %beta  : f32[5]  "bn/beta" trainable
"""
NORM = "batch_norm(%{x}, %mean, %var, %gamma, %beta) {{axis={axis}, epsilon=0.001}}   # bn"


def conv_graph(nodes: str, results: str = "output %y", inputs: str = "", image: str = "B, 6, 7, 3") -> str:
    """A convolution of an image batch, then `nodes`."""
    return f"""
graph @fold(B) {{
  input    %x     : f32[{image}]
  {inputs}
  variable %k     : f32[3, 3, 3, 5]  "conv/kernel" trainable
  variable %bias  : f32[5]  "conv/bias" trainable
  {STATISTICS}
  {nodes}
  {results}
}}
"""


def norm(x: str, axis: int = 3) -> str:
    return NORM.format(x=x, axis=axis)


CONVOLVED = f"%c : f32[B, 6, 7, 5] = {CONV}   # conv"
BIASED = CONVOLVED + "\n  %d : f32[B, 6, 7, 5] = add(%c, %bias)   # conv"
DENSE = """
graph @dense(B) {{
  input    %x     : f32[B, 3]
  variable %w     : f32[{weights}]  "dense/kernel" trainable
  variable %bias  : f32[5]  "dense/bias" trainable
  {statistics}
  %m : f32[B, 5] = matmul(%x, %w) {{{{transpose_a=false, transpose_b={transpose}}}}}   # dense
  %d : f32[B, 5] = add(%m, %bias)   # dense
  %y : f32[B, 5] = {norm}
  output %y
}}
"""


def dense_graph(weights: str = "3, 5", transpose: str = "false") -> str:
    text = DENSE.format(weights=weights, transpose=transpose, statistics=STATISTICS, norm=norm("d", 1))
    return text.replace("{{", "{").replace("}}", "}")


FOLDED = {
    "conv": conv_graph(f"{CONVOLVED}\n  %y : f32[B, 6, 7, 5] = {norm('c')}"),
    "conv_bias": conv_graph(f"{BIASED}\n  %y : f32[B, 6, 7, 5] = {norm('d')}"),
    "dense": dense_graph(),
    "channels_first": conv_graph(
        f"""%c : f32[B, 5, 6, 7] = {FIRST}   # conv
  %r : f32[1, 5, 1, 1] = reshape(%bias) {{shape=(1, 5, 1, 1)}}   # conv
  %d : f32[B, 5, 6, 7] = add(%c, %r)   # conv
  %y : f32[B, 5, 6, 7] = {norm("d", 1)}""",
        image="B, 3, 6, 7",
    ),
}


@pytest.mark.parametrize("name", FOLDED)
def test_folds(name: str, golden: Golden) -> None:
    after = apply_text(fold_batch_norm, FOLDED[name])
    golden(f"passes/fold_batch_norm_{name}", print_graph(after))
    product = next(n for n in after.nodes if n.op.name in ("conv2d", "matmul"))
    assert product.inputs[1] in constant_values(after), "the scaled weights are computed once"
    (last,) = after.users[product.output]
    assert last.op.name == "add" and last.output in after.outputs and last.inputs[1] in constant_values(after)


OTHERS = {
    "depthwise": CONV.replace("conv2d", "depthwise_conv2d"),
    "volumes": CONV.replace("conv2d", "conv3d").replace("(1, 1)", "(1, 1, 1)"),
}


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("name", OTHERS)
def test_other_convolutions_fold(name: str, data_format: str) -> None:
    """A depthwise kernel makes channels with its last two axes."""
    op = OTHERS[name].replace("channels_last", data_format)
    spatial, kernel = ("6, 7", "3, 3, 5, 1") if name == "depthwise" else ("4, 6, 7", "2, 3, 3, 3, 5")
    first = data_format == "channels_first"
    channels = 5 if name == "depthwise" else 3
    image, result = (f"B, {c}, {spatial}" if first else f"B, {spatial}, {c}" for c in (channels, 5))
    axis = 1 if first else result.count(",")
    nodes = f"%c : f32[{result}] = {op}   # conv\n  %y : f32[{result}] = {norm('c', axis)}"
    after = apply_text(fold_batch_norm, conv_graph(nodes, image=image).replace("f32[3, 3, 3, 5]", f"f32[{kernel}]"))
    product = next(n for n in after.nodes if n.op.name in ("depthwise_conv2d", "conv3d"))
    assert product.inputs[1] in constant_values(after)
    (last,) = after.users[product.output]
    assert last.op.name == "add" and last.output in after.outputs


def test_a_depthwise_convolution_of_several_results_folds() -> None:
    op = OTHERS["depthwise"]
    nodes = f"%c : f32[B, 6, 7, 6] = {op}   # conv\n  %y : f32[B, 6, 7, 6] = {norm('c')}"
    text = conv_graph(nodes, image="B, 6, 7, 2").replace("f32[5]", "f32[6]")
    text = text.replace("f32[3, 3, 3, 5]", "f32[3, 3, 2, 3]")
    after = apply_text(fold_batch_norm, text)
    assert "batch_norm" not in ops(after) and ops(after)[-2:] == ["depthwise_conv2d", "add"]


def test_constants_serve_as_gamma_and_beta() -> None:
    """A normalisation without gamma and beta has ones and zeros in their place."""
    text = FOLDED["conv"].replace('variable %gamma : f32[5]  "bn/gamma" trainable\n', "")
    text = text.replace('variable %beta  : f32[5]  "bn/beta" trainable\n', "")
    filled = """%one : f32[] = constant() {dtype=f32, shape=(), value=(1.0,)}
  %gamma : f32[5] = broadcast_to(%one) {shape=(5,)}
  %beta : f32[5] = constant() {dtype=f32, shape=(5,), value=(0.0, 0.0, 0.0, 0.0, 0.0)}
  %c :"""
    after = apply_text(fold_batch_norm, text.replace("%c :", filled, 1))
    assert "batch_norm" not in ops(after) and ops(after)[-2:] == ["conv2d", "add"]


def test_one_after_another() -> None:
    """The second normalisation of a row has no product before it: it scales activations."""
    text = conv_graph(f"{CONVOLVED}\n  %e : f32[B, 6, 7, 5] = {norm('c')}\n  %y : f32[B, 6, 7, 5] = {norm('e')}")
    after = apply_text(fold_batch_norm, text)
    first, second = (n for n in after.nodes if n.output.type == after.outputs[0].type and n.op.name == "add")
    assert "batch_norm" not in ops(after) and second.inputs[0].node is not None
    assert second.inputs[0].node.op.name == "mul" and second.inputs[0].node.inputs[0] is first.output


def test_two_convolutions_with_the_same_weights_both_fold() -> None:
    """Weights may be shared: each convolution gets its own scaled copy."""
    text = conv_graph(
        f"""%c : f32[B, 6, 7, 5] = {CONV}   # conv
  %d : f32[B, 6, 7, 5] = {CONV.replace("%x", "%z")}   # conv
  %y : f32[B, 6, 7, 5] = {norm("c")}
  %v : f32[B, 6, 7, 5] = {norm("d")}""",
        "output %y, %v",
        "input %z : f32[B, 6, 7, 3]",
    )
    assert ops(apply_text(fold_batch_norm, text)).count("mul") == 2 * 3


# Refusals: the normalisation becomes a scale and a shift of the activations, which never changes a result.

Y = "%y : f32[B, 6, 7, 5] = "
REFUSED = {
    "shared": conv_graph(f"{CONVOLVED}\n  {Y}{norm('c')}\n  %z : f32[B, 6, 7, 5] = tanh(%c)", "output %y, %z"),
    "output": conv_graph(f"{CONVOLVED}\n  {Y}{norm('c')}", "output %y, %c"),
    "updates_something": conv_graph(
        f"{CONVOLVED}\n  {Y}{norm('c')}",
        "output %y\n  update %saved = %c",
        'variable %saved : f32[2, 6, 7, 5]  "saved"',
    ).replace("B, 6", "2, 6").replace("@fold(B)", "@fold()"),
    "biased_is_shared": conv_graph(f"{BIASED}\n  {Y}{norm('d')}\n  %z : f32[B, 6, 7, 5] = tanh(%d)", "output %y, %z"),
    "biased_is_output": conv_graph(f"{BIASED}\n  {Y}{norm('d')}", "output %y, %d"),
    "before_bias_is_output": conv_graph(f"{BIASED}\n  {Y}{norm('d')}", "output %y, %c"),
    "axis_is_not_the_channel": conv_graph(f"{CONVOLVED}\n  {Y}{norm('c', 1)}", image="B, 5, 7, 3").replace(
        "B, 6", "B, 5"
    ),
    "channels_first_axis_is_not_the_channel": conv_graph(
        f"%c : f32[B, 5, 6, 5] = {FIRST}   # conv\n  %y : f32[B, 5, 6, 5] = {norm('c', 3)}", image="B, 3, 6, 5"
    ),
    "bias_is_an_input": conv_graph(
        f"{CONVOLVED}\n  %d : f32[B, 6, 7, 5] = add(%c, %z)\n  {Y}{norm('d')}", inputs="input %z : f32[5]"
    ),
    "bias_is_no_vector": conv_graph(
        f"{CONVOLVED}\n  %d : f32[B, 6, 7, 5] = add(%c, %w)\n  {Y}{norm('d')}", inputs='variable %w : f32[7, 5]  "w"'
    ),
    "bias_widens_the_product": conv_graph(
        f"%s : f32[3, 3, 3, 1] = reduce_sum(%k) {{axes=(3,), keepdims=true}}\n"
        f"  %c : f32[B, 6, 7, 1] = {CONV.replace('%k', '%s')}\n"
        f"  %d : f32[B, 6, 7, 5] = add(%c, %bias)\n  {Y}{norm('d')}",
    ),
    "kernel_is_an_input": conv_graph(
        f"%c : f32[B, 6, 7, 5] = {CONV.replace('%k', '%z')}\n  {Y}{norm('c')}", inputs="input %z : f32[3, 3, 3, 5]"
    ),
    "kernel_is_updated": conv_graph(
        f"{CONVOLVED}\n  {Y}{norm('c')}\n  %n : f32[3, 3, 3, 5] = neg(%k)", "output %y\n  update %k = %n"
    ),
    "transposed_weights": dense_graph("5, 3", "true"),
    "batched_weights": dense_graph("1, 3, 5").replace("[B, 5]", "[1, B, 5]").replace("axis=1", "axis=2"),
    "no_product": conv_graph(f"%c : f32[B, 6, 7, 5] = tanh(%x)\n  {Y}{norm('c')}", image="B, 6, 7, 5"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str) -> None:
    before = parse(REFUSED[name])
    after = apply_text(fold_batch_norm, REFUSED[name])
    assert ops(after)[-1] in ("add", "tanh", "neg") and "batch_norm" not in ops(after)
    scaled = [n for n in after.nodes if n.op.name == "mul" and n.inputs[0] not in constant_values(after)]
    assert len(scaled) == 1, "the activations are scaled, not the weights"
    weights = [n.inputs[1] for n in before.nodes if n.op.name in ("conv2d", "matmul")]
    kept = [n.inputs[1] for n in after.nodes if n.op.name in ("conv2d", "matmul")]
    assert [v.type for v in kept] == [v.type for v in weights]
    assert all(v.node is None or v.node.op.name != "mul" for v in kept)


@pytest.mark.parametrize("changed", ["mean", "var", "gamma", "beta"])
def test_statistics_that_the_graph_updates_stay_whole(changed: str) -> None:
    text = conv_graph(
        f"{CONVOLVED}\n  {Y}{norm('c')}\n  %n : f32[5] = neg(%{changed})", f"output %y\n  update %{changed} = %n"
    )
    after = apply_text(fold_batch_norm, text)
    assert ops(after) == ["conv2d", "batch_norm", "neg"]


def test_statistics_of_the_batch_stay_whole() -> None:
    mean = "%m : f32[5] = reduce_mean(%c) {axes=(0, 1, 2), keepdims=false}"
    text = conv_graph(f"{CONVOLVED}\n  {mean}\n  {Y}{norm('c')}").replace("%mean, ", "%m, ")
    after = apply_text(fold_batch_norm, text)
    assert "batch_norm" in ops(after)


def test_updates_of_other_variables_do_not_matter() -> None:
    text = conv_graph(
        f"{CONVOLVED}\n  {Y}{norm('c')}\n  %n : f32[5] = neg(%other)", "output %y\n  update %other = %n",
        'variable %other : f32[5]  "other"',
    )  # fmt: skip
    assert "batch_norm" not in ops(apply_text(fold_batch_norm, text))


def test_folding_keeps_digits() -> None:
    """Statistics like those of a trained network: small variances, large means."""
    rng = np.random.default_rng(0)
    before = parse(FOLDED["conv_bias"])
    after = fold_batch_norm(before)
    feeds = {
        "conv/kernel": rng.normal(0, 0.1, (3, 3, 3, 5)), "conv/bias": rng.normal(0, 0.1, 5),
        "bn/moving_mean": rng.normal(0, 2, 5), "bn/moving_variance": np.array([1e-3, 0.1, 1, 4, 50]),
        "bn/gamma": rng.uniform(0.1, 2, 5), "bn/beta": rng.normal(0, 1, 5),
    }  # fmt: skip

    def result(g: Graph) -> np.ndarray:
        x = np.random.default_rng(1).standard_normal((2, 6, 7, 3)).astype("f4")
        return run(g, [x], {v: feeds[v.path].astype("f4") for v in g.variables})[0][0]

    np.testing.assert_allclose(result(after), result(before), rtol=1e-4, atol=1e-4)
