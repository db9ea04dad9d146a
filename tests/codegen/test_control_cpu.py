"""Loops and branches on the CPU: against the interpreter, states in place, memory, one program for any length."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from codegen.cpu.program import CpuProgram
from codegen.launch import Branch, Buffer, BufferKind, Launch, Loop, LoopId, Part, Read, Step, Write, launches_of
from codegen.memory import Lifetime, lifetimes
from codegen.program import Executable, compile_graph
from codegen.source import Kernel
from codegen.storage import StoredVariable
from ir import builder as b
from ir import dtypes
from ir.autodiff import gradients
from ir.closure import close
from ir.dims import SymDim
from ir.extract import Assign, extract
from ir.graph import Graph, Value
from ir.interpreter import run
from ir.types import tensor
from tests.ir.test_scan import Network, looped, marks

Array = np.ndarray  # type: ignore[type-arg]


def check(graph: Graph, inputs: Sequence[Array], executable: Executable | None = None) -> Executable:
    executable = executable or compile_graph(graph)
    want, _ = run(graph, inputs, {v: v.array for v in graph.variables if isinstance(v, StoredVariable)})
    for got, expected in zip(executable.run(list(inputs)), want, strict=True):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    return executable


def program(executable: Executable) -> CpuProgram:
    assert isinstance(executable.program, CpuProgram)
    return executable.program


def steps(executable: Executable) -> list[str]:
    """The kernels in the bodies of loops."""
    found = []
    for step in program(executable).schedule.launches:
        if isinstance(step, Loop):
            found += [launch.kernel.name for launch in launches_of(step.body)]
    return found


def test_what_stays_is_computed_before_the_loop() -> None:
    """A factor is packed once; what reads a part of a sequence stays, and so does a new state, though it is constant:
    the first step reads another one."""
    batch = SymDim.fresh("B")
    x, w = b.input_value(tensor("f32", 5, batch, 96)), b.input_value(tensor("f32", 96, 64))
    start, end = b.input_value(tensor("f32", batch, 64)), b.input_value(tensor("f32", batch, 64))
    types = (tensor("f32", batch, 96), start.type, w.type, end.type)
    element, state, factor, next_state = (b.input_value(t) for t in types)
    result = b.mul(element, b.matmul(state, factor, False, True))
    body = close("body", [element, state, factor, next_state], [result, b.apply1("tanh", next_state)])
    outputs = b.apply("scan", x, start, w, end, body=body, n_seq=1, n_state=1, length=5, reverse=False)
    executable = compile_graph(extract("f", [x, start, w, end], outputs))
    random = np.random.RandomState(0)
    check(executable.graph, [random.standard_normal(s).astype("f4") for s in ((5, 3, 96), (3, 64), (96, 64), (3, 64))],
          executable)  # fmt: skip
    before = [s.kernel.name for s in program(executable).schedule.launches if isinstance(s, Launch)]
    assert any(name.startswith("pack") for name in before) and "tanh" not in before
    assert not any(name.startswith("pack") for name in steps(executable)) and "tanh" in steps(executable)


@pytest.mark.parametrize("reverse", [False, True])
def test_one_program_serves_any_length(reverse: bool) -> None:
    net = Network(SymDim.fresh("T"), SymDim.fresh("B"), "f32")
    outputs = net.outputs(looped, reverse)
    loss = b.add(b.reduce_sum(outputs[0]), b.reduce_sum(outputs[1]))
    grads = [g for g in gradients([loss], net.inputs) if g is not None]
    graph = extract("train", [*net.inputs, net.mask], [*outputs, *grads])
    executable = None
    compiled = 0
    for length, batch in ((4, 3), (1, 1), (7, 33), (0, 2), (1, 5), (13, 2)):
        executable = check(graph, [*net.arrays(length, batch, "f4"), marks(length, batch)], executable)
        cache = program(executable).cache
        assert compiled in (0, cache.compiled), "a new length compiles nothing"
        compiled = cache.compiled


def test_second_derivatives() -> None:
    net = Network(3, 2, "f32")
    loss = b.reduce_sum(b.unary("square", net.outputs(looped)[0]))
    total = b.constant(0.0, dtypes.f32)
    for g in gradients([loss], net.inputs):
        assert g is not None
        total = b.add(total, b.reduce_sum(b.unary("square", g)))
    found = [g for g in gradients([total], net.inputs) if g is not None]
    arrays = [0.3 * a for a in net.arrays(3, 2, "f4")]
    check(extract("second", [*net.inputs, net.mask], found), [*arrays, marks(3, 2)])


def sequence(*shape: int) -> tuple[Value, Array]:
    array = np.random.default_rng(len(shape)).normal(size=shape).astype("f4")
    return b.input_value(tensor("f32", *shape)), array


Body = Callable[[Sequence[Value], Sequence[Value]], tuple[list[Value], list[Value]]]

BODIES: dict[str, Body] = {
    "states exchanged": lambda xs, s: ([s[0]], [s[1], b.add(s[0], xs[0])]),
    "states exchanged alone": lambda xs, s: ([xs[0]], [s[1], s[0]]),
    "a state kept": lambda xs, s: ([b.mul(s[0], xs[0])], [s[0], b.add(s[1], xs[0])]),
    "a state from a sequence": lambda xs, s: ([s[0], s[1]], [xs[0], s[0]]),
    "a state twice": lambda xs, s: (lambda y: ([y, y], [y, y]))(b.unary("tanh", b.add(s[0], xs[0]))),
    "an output that is a constant": lambda xs, s: ([b.full((3,), 2, dtypes.f32)], [b.full((3,), 1, dtypes.f32), s[0]]),
    "a state read after the new one": lambda xs, s: (
        lambda y: ([b.reshape(b.matmul(b.reshape(y, (3, 1)), b.reshape(s[0], (1, 3))), (9,))], [y, s[1]])
    )(b.add(b.unary("exp", xs[0]), b.reduce_sum(s[0]))),
    "no output": lambda xs, s: ([], [b.add(s[0], xs[0]), s[1]]),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("reverse", [False, True])
def test_bodies(name: str, reverse: bool) -> None:
    x, xs = sequence(5, 3)
    h, hs = sequence(3)
    g = b.input_value(tensor("f32", 3))
    outputs = looped(BODIES[name], [x], [h, g], reverse)
    check(extract("f", [x, h, g], outputs), [xs, hs, hs + 1])


def test_a_state_is_computed_in_place() -> None:
    x, xs = sequence(5, 3)
    h, hs = sequence(3)
    _, last = looped(lambda xs, s: ([b.unary("exp", s[0])], [b.add(b.unary("tanh", s[0]), xs[0])]), [x], [h])
    assert "copy" not in steps(check(extract("f", [x, h], [last]), [xs, hs]))


def test_nested_loops() -> None:
    x, xs = sequence(3, 4, 2)
    w, ws = sequence(2)

    def inner(ys: Sequence[Value], t: Sequence[Value]) -> tuple[list[Value], list[Value]]:
        new = b.unary("tanh", b.add(b.mul(t[0], w), ys[0]))
        return [b.add(new, t[0])], [new]

    def outer(xs: Sequence[Value], s: Sequence[Value]) -> tuple[list[Value], list[Value]]:
        stacked, last = looped(inner, [xs[0]], [s[0]], True)
        return [stacked, b.mul(xs[0], 2.0)], [last]

    outputs = looped(outer, [x], [b.full((2,), 0.5, dtypes.f32)])
    loss = b.reduce_sum(b.unary("square", outputs[0]))
    grads = [g for g in gradients([loss], [x, w]) if g is not None]
    check(extract("f", [x, w], [*outputs, *grads]), [xs, ws])


def test_a_state_that_is_a_variable() -> None:
    """Stateful layers: the final state is the new content of the variable that held the first one."""
    x, xs = sequence(5, 3)
    state = StoredVariable(np.zeros(3, "f4"), tensor("f32", 3), "state")
    out, last = looped(lambda xs, s: ([s[0]], [b.add(s[0], xs[0])]), [x], [state.value])
    executable = compile_graph(extract("f", [x], [out], [Assign(state, last)]))
    (first,), (second,) = executable.run([xs]), executable.run([xs])
    np.testing.assert_allclose(state.get(), 2 * xs.sum(0), rtol=1e-5)
    np.testing.assert_allclose(first, np.cumsum(xs, 0) - xs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(second, np.cumsum(xs, 0) - xs + xs.sum(0), rtol=1e-4, atol=1e-5)


def test_loops_over_variables_see_their_content() -> None:
    table = StoredVariable(np.arange(6, dtype="f4").reshape(3, 2), tensor("f32", 3, 2), "table")
    x, xs = sequence(2)
    (last,) = looped(lambda xs, s: ([], [b.add(s[0], xs[0])]), [table.value], [b.full((2,), 0, dtypes.f32)])
    executable = compile_graph(extract("f", [x], [b.add(last, x)]))
    for factor in (1, 2):
        table.set(factor * np.arange(6).reshape(3, 2))
        np.testing.assert_allclose(executable.run([xs])[0], factor * np.array([6, 9]) + xs, rtol=1e-5)


@pytest.mark.parametrize("inside_loop", [False, True])
def test_branches(inside_loop: bool) -> None:
    x, xs = sequence(4, 3)

    def chosen(v: Value) -> Value:
        condition = b.compare("greater", b.reduce_sum(v), 0.0)
        then = close("then", [v], [b.mul(b.unary("exp", v), 2.0)])
        return b.apply1("cond", condition, v, then=then, otherwise=close("otherwise", [v], [v]))

    if inside_loop:
        (out,) = looped(lambda xs, s: ([chosen(xs[0])], []), [x], [])
    else:
        out = chosen(x)
    grads = [g for g in gradients([b.reduce_sum(b.unary("square", out))], [x]) if g is not None]
    graph = extract("f", [x], [out, *grads])
    executable = check(graph, [xs])
    check(graph, [-xs], executable)
    check(graph, [np.abs(xs)], executable)


def test_only_the_branch_that_is_taken_runs() -> None:
    """The other one would index out of range in the interpreter, and would take long here."""
    x = b.input_value(tensor("i32"))
    table = b.input_value(tensor("f32", 3))
    condition = b.compare("less", x, 3)
    then = close("then", [x, table], [b.apply1("gather", table, x, axis=0)])
    otherwise = close("otherwise", [x, table], [b.reduce_sum(table)])
    graph = extract("f", [x, table], [b.apply1("cond", condition, x, table, then=then, otherwise=otherwise)])
    for index in (1, 7):
        check(graph, [np.array(index, "i4"), np.arange(3, dtype="f4")])
    (branch,) = [s for s in program(compile_graph(graph)).schedule.launches if isinstance(s, Branch)]
    assert branch.then and branch.otherwise


# Memory


KERNEL = Kernel("nothing", "def kernel(args, lo, hi, worker):\n    pass\n")


def temp(name: str) -> Buffer:
    return Buffer(BufferKind.TEMP, 64, None, name)


def launch(reads: Sequence[Buffer], writes: Sequence[Buffer]) -> Launch:
    return Launch(KERNEL, (*map(Read, reads), *map(Write, writes)), 1)


def test_what_a_loop_shares_with_the_outside_lives_in_every_iteration() -> None:
    before, state, own, whole, after = (temp(n) for n in ("before", "state", "own", "whole", "after"))
    loop = LoopId()
    part = Buffer(BufferKind.MOVING, 8, None, "part", Part(whole, 0, 8, loop))
    body: tuple[Step, ...] = (launch([before], [own]), launch([own, state], [part]), launch([], [state]))
    plan = [launch([], [before, state]), Loop(body, 3, loop), launch([whole], [after]), launch([after], [])]
    lives = lifetimes(plan, {}).blocks
    assert lives[before] == Lifetime(0, 3), "read in every iteration"
    assert lives[state] == Lifetime(0, 3), "carried to the next iteration"
    assert lives[own] == Lifetime(1, 2), "of one iteration"
    assert lives[whole] == Lifetime(1, 4), "filled by all iterations"
    assert lives[after] == Lifetime(4, 5)
    assert part not in lives


def test_nested_loops_extend_lifetimes_level_by_level() -> None:
    outer_only, both = temp("outer"), temp("both")
    inner = Loop((launch([both], [temp("x")]), launch([], [temp("y")])), 2, LoopId())
    plan = [Loop((launch([], [both]), launch([], [outer_only]), inner, launch([outer_only], [])), 2, LoopId())]
    lives = lifetimes(plan, {}).blocks
    assert lives[both] == Lifetime(0, 3), "to the end of the inner loop, not of the outer one"
    assert lives[outer_only] == Lifetime(1, 4)
