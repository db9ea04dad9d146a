"""The pass manager and the basic passes: golden text, same bits before and after, refusals, linear time."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ir import builder as b
from ir.dims import SymDim
from ir.graph import Graph, Guard, Update, Variable
from ir.parser import parse
from ir.passes import PREDICT, TEST, TRAIN, PassRecord, Pipeline, run_passes
from ir.passes.check import CheckError, check_pass, choose_sizes
from ir.passes.cse import cse
from ir.passes.dce import dce
from ir.passes.simplify import simplify
from ir.passes.specialize import specialize
from ir.printer import print_graph
from ir.rewrite import assemble, rebuild
from ir.types import tensor
from ir.verify import VerifyError, verify
from tests.golden_text import Golden
from tests.ir.random_graphs import assert_same_bits, random_graph

B, H = SymDim("B"), SymDim("H")

SPECIALIZE = """
graph @batch_norm(B) {
  input    %x     : f32[B, 4]
  input    %phase : bool[]
  input    %y     : f32[B, 4]
  variable %mean  : f32[4]  "bn/moving_mean"
  variable %rate  : f32[]  "dropout/rate"
  guard %y[0] in {1, B}
  %m : f32[4] = reduce_mean(%x) {axes=(0,), keepdims=false}   # bn
  %train : f32[B, 4] = sub(%x, %m)   # bn
  %test : f32[B, 4] = sub(%x, %mean)   # bn
  %out : f32[B, 4] = select(%phase, %train, %test)   # bn
  %narrow : f32[B, 4] = select(%phase, %rate, %out)   # dropout
  %sum : f32[B, 4] = add(%narrow, %y)   # add
  %new : f32[4] = select(%phase, %m, %mean)   # bn
  output %sum, %phase
  update %mean = %new
}
"""

SIMPLIFY = """
graph @simplify(B, T) {
  input    %x    : f32[B, 4]
  input    %s    : f32[B, T, 4]
  input    %i    : i32[B]
  input    %p    : bool[B]
  variable %w    : f32[4]  "w"
  %nought : f32[] = constant() {dtype=f32, shape=(), value=(0.0,)}
  %minus : f32[4] = constant() {dtype=f32, shape=(4,), value=(-0.0, -0.0, -0.0, -0.0)}
  %one : f32[] = constant() {dtype=f32, shape=(), value=(1.0,)}
  %ones : f32[B, 4] = broadcast_to(%one) {shape=(B, 4)}
  %zero : i32[] = constant() {dtype=i32, shape=(), value=(0,)}
  %two : f32[] = constant() {dtype=f32, shape=(), value=(2.0,)}
  %true : bool[] = constant() {dtype=bool, shape=(), value=(true,)}
  %a0 : f32[B, 4] = add(%x, %nought)   # kept
  %a1 : f32[B, 4] = add(%minus, %x)   # gone
  %a2 : f32[B, 4] = sub(%x, %nought)   # gone
  %a3 : f32[B, 4] = sub(%nought, %x)   # kept
  %a4 : f32[B, 4] = mul(%x, %ones)   # gone
  %a5 : f32[B, 4] = mul(%x, %nought)   # kept
  %a6 : i32[B] = mul(%i, %zero)   # zeros
  %a7 : i32[B] = add(%zero, %i)   # gone
  %a8 : f32[B, 4] = div(%x, %one)   # gone
  %a9 : f32[B, 4] = pow(%x, %two)   # square
  %wide : f32[B, 4] = mul(%w, %ones)   # kept_for_its_shape
  %n1 : f32[B, 4] = neg(%x)
  %n2 : f32[B, 4] = neg(%n1)   # gone
  %n3 : f32[B, 4] = add(%n1, %a0)   # sub
  %n4 : f32[B, 4] = sub(%a0, %n1)   # add
  %id : f32[B, 4] = identity(%x)   # gone
  %stop : f32[B, 4] = stop_gradient(%id)   # gone
  %t1 : f32[4, T, B] = transpose(%s) {perm=(2, 1, 0)}
  %t2 : f32[B, T, 4] = transpose(%t1) {perm=(2, 1, 0)}   # gone
  %t3 : f32[4, B, T] = transpose(%t1) {perm=(0, 2, 1)}   # one_transpose
  %r1 : f32[4*B] = reshape(%x) {shape=(4*B,)}
  %r2 : f32[2*B, 2] = reshape(%r1) {shape=(2*B, 2)}   # one_reshape
  %r3 : f32[B, 4] = reshape(%r2) {shape=(B, 4)}   # gone
  %b1 : f32[1, 4] = broadcast_to(%w) {shape=(1, 4)}
  %b2 : f32[B, 4] = broadcast_to(%b1) {shape=(B, 4)}   # one_broadcast
  %c1 : f64[B, 4] = cast(%x) {dtype=f64}
  %c2 : f32[B, 4] = cast(%c1) {dtype=f32}   # gone
  %c3 : f16[B, 4] = cast(%x) {dtype=f16}
  %c4 : f32[B, 4] = cast(%c3) {dtype=f32}   # kept
  %c5 : f32[B] = cast(%p) {dtype=f32}
  %c6 : bool[B] = cast(%c5) {dtype=bool}   # gone
  %s1 : f32[4] = sum_to(%s) {shape=(4,)}   # reduce_sum
  %s2 : f32[T, 1] = sum_to(%s) {shape=(T, 1)}   # reduce_sum_and_reshape
  %s3 : f32[B, T, 4] = sum_to(%s) {shape=(B, T, 4)}   # gone
  %k1 : f32[] = mul(%two, %two)
  %k2 : f32[] = sqrt(%k1)   # folded
  %e1 : f32[B, 4] = reduce_max(%x) {axes=(), keepdims=false}   # gone
  %e2 : f32[B, 4] = pad(%x) {pads=((0, 0), (0, 0)), value=1.0}   # gone
  %e3 : f32[B, 4] = slice(%x) {starts=(0, 0), stops=(B, 4), steps=(1, 1)}   # gone
  %e4 : f32[B, 4] = slice(%x) {starts=(B - 1, 0), stops=(-1, 4), steps=(-1, 1)}   # kept
  %e5 : f32[B, 4] = concatenate(%x) {axis=0}   # gone
  %q1 : f32[B, 4] = select(%true, %w, %x)   # broadcast
  %col : bool[B, 1] = reshape(%p) {shape=(B, 1)}
  %q2 : f32[B, 4] = select(%col, %x, %x)   # gone
  %l1 : bool[B] = logical_not(%p)
  %l2 : bool[B] = logical_not(%l1)   # gone
  output %a0, %a1, %a2, %a3, %a4, %a5, %a6, %a7, %a8, %a9, %wide, %n2, %n3, %n4, %stop, %t2, %t3, %r2, %r3, %b2, %c2
  output %c4, %c6, %s1, %s2, %s3, %k2, %e1, %e2, %e3, %e4, %e5, %q1, %q2, %l2
}
"""

CSE = """
graph @cse(B) {
  input    %x     : f32[B, 4]
  variable %state : u64[2]  "random/state"
  %c1 : f32[] = constant() {dtype=f32, shape=(), value=(0.0,)}   # dense_1
  %c2 : f32[] = constant() {dtype=f32, shape=(), value=(0.0,)}   # dense_2
  %c3 : f32[] = constant() {dtype=f32, shape=(), value=(-0.0,)}   # dense_3
  %a : f32[B, 4] = add(%x, %c1)   # dense_1
  %b : f32[B, 4] = add(%x, %c2)   # model, dense_2
  %c : f32[B, 4] = add(%x, %c3)   # dense_3
  %d : f32[B, 4] = mul(%a, %b)
  %u1 : f32[B, 4] = random_uniform(%state) {dtype=f32, seed=1, shape=(B, 4)}   # dropout_1
  %u2 : f32[B, 4] = random_uniform(%state) {dtype=f32, seed=2, shape=(B, 4)}   # dropout_2
  %u3 : f32[B, 4] = random_uniform(%state) {dtype=f32, seed=1, shape=(B, 4)}   # dropout_3
  %s1 : f32[4] = reduce_sum(%x) {axes=(0,), keepdims=false}
  %s2 : f32[1, 4] = reduce_sum(%x) {axes=(0,), keepdims=true}
  %adv : u64[2] = random_advance(%state)
  output %a, %b, %c, %d, %u1, %u2, %u3, %s1, %s2
  update %state = %adv
}
"""

DCE = """
graph @dce(B) {
  input    %x      : f32[B, 4]
  input    %unused : f32[B]
  variable %read   : f32[4]  "read"
  variable %idle   : f32[4]  "idle"
  variable %unread : f32[4]  "unread" trainable
  variable %gone   : f32[4]  "gone"
  %dead1 : f32[B, 4] = add(%x, %gone)
  %dead2 : f32[B, 4] = neg(%dead1)
  %y, %mean, %variance : f32[B, 4], f32[4], f32[4] = batch_norm_train(%x, %read, %read) {axis=1, epsilon=0.001}   # bn
  output %mean
  update %idle = %idle
  update %unread = %variance
}
"""


def basic(phase: int) -> Pipeline:
    return ("specialize", partial(specialize, phase=phase)), ("simplify", simplify), ("cse", cse), ("dce", dce)


@pytest.mark.parametrize(
    "name, text, run",
    [
        ("specialize_0", SPECIALIZE, partial(specialize, phase=0)),
        ("specialize_1", SPECIALIZE, partial(specialize, phase=1)),
        ("simplify", SIMPLIFY, simplify),
        ("cse", CSE, cse),
        ("dce", DCE, dce),
    ],
)
def test_pass(name: str, text: str, run: Callable[[Graph], Graph], golden: Golden) -> None:
    before = parse(text)
    after = run(before)
    verify(after)
    check_pass(name, run, before, after)
    golden(f"passes/{name}", print_graph(after))
    assert print_graph(before) == print_graph(parse(text)), "a pass must not change its operand"
    assert run(after) == after


@pytest.mark.parametrize("run", [simplify, cse, dce, partial(specialize, phase=0), partial(specialize, phase=1)])
@pytest.mark.parametrize("seed", range(25))
def test_same_bits_on_random_graphs(run: Callable[[Graph], Graph], seed: int) -> None:
    before = random_graph(seed, size=30)
    after = run(before)
    verify(after)
    phase = bool(getattr(run, "keywords", {}).get("phase", seed % 2))
    assert_same_bits(before, after, seed, phase)


@pytest.mark.parametrize("phase", [0, 1])
@pytest.mark.parametrize("seed", range(15))
def test_basic_passes_in_a_row_on_random_graphs(phase: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KGRAPH_CHECK", "1")
    before = random_graph(seed + 100, size=30)
    after = run_passes(before, basic(phase))
    assert_same_bits(before, after, seed, bool(phase))
    assert not any(v.name == "phase" for v in after.inputs)


@pytest.mark.parametrize("pipeline", [PREDICT, TEST, TRAIN], ids=["predict", "test", "train"])
@pytest.mark.parametrize("seed", range(8))
def test_whole_pipelines_pass_checking_mode(pipeline: Pipeline, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KGRAPH_CHECK", "1")
    run_passes(random_graph(seed + 200, size=30), pipeline)


def test_specialize_moves_guards_with_their_inputs() -> None:
    after = specialize(parse(SPECIALIZE), 1)
    assert after.guards == (Guard(1, 0, B),) and after.inputs[1].name == "y"


def test_specialize_leaves_other_graphs_alone() -> None:
    x = b.input_value(tensor("f32", B), "phase")
    g = assemble("g", [x], [b.neg(x)])
    assert specialize(g, 0) is g
    with pytest.raises(ValueError, match="0 or 1, got 2"):
        specialize(g, 2)


def test_simplify_keeps_a_sum_to_whose_axes_are_unknown() -> None:
    text = """
    graph @g(B, T) {
      input %x : f32[B, 4]
      input %y : f32[T, 4]
      check B == T "add"
      %0 : f32[T, 4] = sum_to(%x) {shape=(T, 4)}
      output %0
    }
    """
    assert [n.op.name for n in simplify(parse(text)).nodes] == ["sum_to"]


def test_simplify_folds_only_small_constants_and_no_filled_tensors() -> None:
    big, small = b.constant(np.ones(65, np.float32)), b.constant(np.ones(64, np.float32))
    filled = b.broadcast_to(b.constant(1, small.type.dtype), (8, 8))
    after = simplify(assemble("g", [], [b.unary("exp", big), b.unary("exp", small), filled]))
    assert [v.node.op.name for v in after.outputs if v.node] == ["exp", "constant", "broadcast_to"]


def test_passes_take_linear_time() -> None:
    def chain(length: int) -> Graph:
        x = b.input_value(tensor("f32", B, 4), "x")
        y = x
        for i in range(length):
            w = Variable(tensor("f32", 4), f"dense_{i}/bias")
            with b.origin((f"dense_{i}",)):
                y = b.mul(b.add(b.neg(b.unary("identity", y)), w.value), 1.0)
        return assemble("chain", [x], [y])

    small, large = chain(200), chain(2000)
    start = time.perf_counter()
    run_passes(small, basic(0))
    middle = time.perf_counter()
    run_passes(large, basic(0))
    assert time.perf_counter() - middle < 60 * (middle - start) + 1.0


def test_manager_records_and_observes() -> None:
    seen: list[tuple[int, str, int]] = []
    records: list[PassRecord] = []
    g = parse(DCE)
    after = run_passes(
        g, (("cse", cse), ("dce", dce)), lambda i, name, graph: seen.append((i, name, len(graph.nodes))), records
    )
    assert seen == [(0, "input", 3), (1, "cse", 1), (2, "dce", 1)]
    assert [(r.name, r.nodes_before) for r in records] == [("cse", 3), ("dce", 1)]
    assert all(r.seconds >= 0 for r in records) and len(after.nodes) == records[-1].nodes_after == 1


def test_dumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KGRAPH_DUMP_IR", str(tmp_path))
    run_passes(parse(DCE), (("dce", dce),))
    run_passes(parse(CSE.replace("@cse", '@"../a model"')), (("cse", cse),))
    files = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.glob("**/*.txt"))
    assert files == ["__a_model/00_input.txt", "__a_model/01_cse.txt", "dce/00_input.txt", "dce/01_dce.txt"]
    assert parse((tmp_path / "dce" / "00_input.txt").read_text()) == parse(DCE)


def test_manager_names_the_pass_that_breaks_a_graph() -> None:
    def broken(graph: Graph) -> Graph:
        return Graph(graph.name, graph.inputs, (), graph.nodes[1:], graph.outputs)

    with pytest.raises(VerifyError, match="after pass 'broken': graph 'cse': "):
        run_passes(parse(CSE), (("broken", broken),))


def wrong(graph: Graph) -> Graph:
    """A pass that turns tanh into sigmoid."""
    return rebuild(graph, lambda n, ins: (b.unary("sigmoid", *ins),) if n.op.name == "tanh" else None)


def nearly_wrong(graph: Graph) -> Graph:
    """A pass that loses two of `mul`'s digits."""
    return rebuild(graph, lambda n, ins: (b.mul(b.mul(*ins), 1.01),) if n.op.name == "mul" else None)


def activation_graph() -> Graph:
    x = b.input_value(tensor("f32", B, H), "x")
    w = Variable(tensor("f32"), "w")
    with b.origin(("activation_1",)):
        y = b.mul(b.unary("tanh", b.mul(x, w.value)), 2.0)
        y.name = "scaled"
    return assemble("g", [x], [y], [Update(w, b.reduce_sum(y))])


def test_checking_mode_names_the_pass_and_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KGRAPH_CHECK", "1")
    passes = (("cse", cse), ("wrong", wrong), ("dce", dce))
    with pytest.raises(CheckError) as e:
        run_passes(activation_graph(), passes)
    text = str(e.value)
    assert "pass 'wrong' changed what graph 'g' computes: output 0 differs by up to" in text
    assert "first node that differs: " in text and "%scaled : f32[B, H] = mul(" in text and "# activation_1" in text
    with pytest.raises(CheckError, match="pass 'nearly_wrong'"):
        run_passes(activation_graph(), (("nearly_wrong", nearly_wrong),))
    monkeypatch.setenv("KGRAPH_CHECK", "0")
    run_passes(activation_graph(), passes)


def test_checking_mode_compares_updates() -> None:
    before = activation_graph()
    with pytest.raises(CheckError, match="the update of 'w' differs"):
        check_pass("p", cse, before, assemble("g", before.inputs, before.outputs))


def test_sizes_for_checking_hold_the_checks() -> None:
    x, y = b.input_value(tensor("f32", H), "x"), b.input_value(tensor("f32", B), "y")
    small = b.slice(x, (2,), (H - 5,))
    text = print_graph(assemble("g", [x, y], [small, y])).replace("output", 'check (H - 1)//2 == B "w"\n  output')
    env = choose_sizes(parse(text))
    assert env is not None and (env[H] - 1) // 2 == env[B] and env[H] >= 8
    impossible = parse(text.replace("== B", "== B + H"))
    assert choose_sizes(impossible) is None
    check_pass("p", dce, impossible, impossible)


def test_integers_out_of_range_are_fed_as_zeros() -> None:
    x, i = b.input_value(tensor("f32", 1), "x"), b.input_value(tensor("i32", B), "i")
    g = assemble("g", [x, i], [b.apply1("gather", x, i, axis=0)])
    check_pass("p", cse, g, cse(g))
