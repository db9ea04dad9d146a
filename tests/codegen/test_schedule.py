"""The schedule: where outputs and updates are written, what is copied, what moves into the prologue.

Nothing is compiled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from codegen.launch import Buffer, BufferKind, Launch, Order, Read, Write
from codegen.schedule import Schedule, Scheduler, schedule
from codegen.source import Kernel
from ir import builder as b
from ir.dims import SymDim
from ir.graph import Node, Update, Value, Variable
from ir.opdef import Elementwise
from ir.rewrite import assemble
from ir.types import tensor

B = SymDim("B")


def lower(node: Node, ctx: Scheduler) -> list[Launch]:
    """One launch per node; elementwise ones may replace operands of their shape. A matmul needs a packed copy of its
    second operand and a workspace."""
    kernel = Kernel(node.op.name, f"def kernel(args, lo, hi, worker):\n    '{node.op.name}'\n")
    reads, writes = [ctx.buffer(v) for v in node.inputs], [ctx.buffer(v) for v in node.outputs]
    before: list[Launch] = []
    if node.op.name == "matmul":
        packed = ctx.temp(reads[1].nbytes, "packed")
        before = [Launch(Kernel("pack", kernel.source), (Read(reads[1]), Write(packed)), 1)]
        reads = [reads[0], packed, ctx.constant(b"\0" * 8, "table")]
    pairs = tuple(
        (w, r)
        for o, w in zip(node.outputs, writes, strict=True)
        for v, r in zip(node.inputs, reads, strict=False)
        if isinstance(node.op, Elementwise) and v.shape == o.shape
    )
    return [*before, Launch(kernel, (*map(Read, reads), *map(Write, writes)), 1, inplace=pairs)]


def scheduled(
    inputs: Sequence[Value], outputs: Sequence[Value], updates: Sequence[tuple[Variable, Value]] = ()
) -> Schedule:
    return schedule(assemble("g", inputs, outputs, [Update(v, x) for v, x in updates]), lower)


def names(launches: Sequence[Launch]) -> list[str]:
    return [x.kernel.name for x in launches]


def copies(plan: Schedule) -> list[tuple[Buffer, Buffer]]:
    return [(x.reads[0], x.writes[0]) for x in plan.launches if x.kernel.name == "copy"]


def placeholder(name: str = "x", *shape: int) -> Value:
    return b.input_value(tensor("f32", B, *shape), name)


def variable(name: str, *shape: int) -> Variable:
    return Variable(tensor("f32", *shape), name)


# Outputs


def test_an_output_is_written_where_the_user_sees_it() -> None:
    x = placeholder()
    y = b.unary("exp", b.neg(x))
    plan = scheduled([x], [y])
    assert names(plan.launches) == ["neg", "exp"]
    first, second = plan.launches
    assert first.writes[0].kind is BufferKind.TEMP and second.writes == plan.outputs
    assert plan.outputs[0].kind is BufferKind.OUTPUT and plan.outputs[0].nbytes == 4 * B
    assert second.inplace == ((plan.outputs[0], first.writes[0]),)


def test_an_output_that_is_read_again_is_read_where_it_is() -> None:
    x = placeholder()
    y = b.neg(x)
    plan = scheduled([x], [y, b.unary("exp", y)])
    assert plan.launches[1].reads == (plan.outputs[0],)


def test_outputs_that_are_something_else_are_copied() -> None:
    x, w = placeholder(), variable("w", 3)
    y = b.neg(x)
    k = b.constant(np.arange(3, dtype=np.float32))
    plan = scheduled([x], [x, w.value, k, y, y, b.reshape(y, (B, 1)), b.unary("identity", x)])
    constant = next(iter(plan.constants))
    assert plan.constants[constant] == np.arange(3, dtype=np.float32).tobytes()
    o = plan.outputs
    variable_buffer = plan.variables[w]
    assert copies(plan) == [
        (plan.inputs[0], o[0]), (variable_buffer, o[1]), (constant, o[2]), (o[3], o[4]), (o[3], o[5]),
        (plan.inputs[0], o[6]),
    ]  # fmt: skip
    assert names(plan.launches) == ["neg"] + ["copy"] * 6 and len(set(o)) == 7
    assert [x.comment for x in plan.launches[1:3]] == ["copy to output x", "copy to output w"]


def test_the_first_copy_waits_for_what_comes_before() -> None:
    x = placeholder()
    v, w = variable("v", 3), variable("w", 3)
    plan = scheduled([x], [x, x], [(v, w.value), (w, v.value)])
    wait, go = Order.BARRIER, Order.INDEPENDENT
    plan = scheduled([x], [x, x, x])
    assert [c.order for c in plan.launches] == [wait, go, go]
    y = b.input_value(tensor("f32", 3), "y")
    plan = scheduled([y], [y, y], [(v, y), (w, y)])
    assert [c.order for c in plan.launches] == [wait, go, go, go], "outputs and variables are different memory"
    plan = scheduled([], [], [(v, w.value), (w, v.value)])
    assert [c.order for c in plan.launches] == [wait, wait, wait], "the second writes what the first reads"


# Aliases


def test_reshapes_cost_nothing() -> None:
    x = placeholder("x", 6)
    y = b.reshape(b.unary("exp", b.reshape(x, (6 * B,))), (B, 2, 3))
    plan = scheduled([x], [y])
    assert names(plan.launches) == ["exp"]
    assert plan.launches[0].reads == plan.inputs and plan.launches[0].writes == plan.outputs
    assert plan.outputs[0].type == y.type


def test_a_reshaped_constant_is_one_constant() -> None:
    x = placeholder("x", 2, 2)
    k = b.constant(np.arange(4, dtype=np.float32))
    plan = scheduled([x], [b.add(b.add(x, b.reshape(k, (2, 2))), b.reshape(k, (2, 2)))])
    assert len(plan.constants) == 1


# Updates


def test_an_update_is_written_in_place() -> None:
    w, x = variable("w", 3), b.input_value(tensor("f32", 3), "x")
    new = b.sub(w.value, x)
    plan = scheduled([x], [], [(w, new)])
    assert names(plan.launches) == ["sub"]
    assert plan.alias == {plan.launches[0].writes[0]: plan.variables[w]}


def in_place(outputs: Sequence[Value], updates: Sequence[tuple[Variable, Value]], *inputs: Value) -> list[str]:
    """The variables that are written in place."""
    plan = scheduled(inputs, outputs, updates)
    assert {target for _, target in copies(plan) if target.kind is BufferKind.VARIABLE} == {
        plan.variables[v] for v, _ in updates
    } - set(plan.alias.values())
    return sorted(buffer.name for buffer in plan.alias.values())


def test_not_in_place_where_a_later_launch_reads_the_old_value() -> None:
    w = variable("w", 3)
    new = b.neg(w.value)
    assert in_place([], [(w, new)]) == ["w"]
    assert in_place([b.matmul(b.reshape(w.value, (1, 3)), b.reshape(new, (3, 1)))], [(w, new)]) == [], "after neg"
    assert in_place([b.unary("exp", w.value)], [(w, new)]) == ["w"], "exp is made to come before neg"
    assert in_place([b.unary("exp", new)], [(w, new)]) == ["w"], "reading the new value is no obstacle"


def test_not_in_place_where_the_old_value_is_an_output() -> None:
    w = variable("w", 3)
    assert in_place([w.value], [(w, b.neg(w.value))]) == []


def test_not_in_place_where_the_new_value_is_an_output() -> None:
    w = variable("w", 3)
    new = b.neg(w.value)
    assert in_place([new], [(w, new)]) == []


def test_not_in_place_where_two_variables_take_the_same_value() -> None:
    v, w = variable("v", 3), variable("w", 3)
    new = b.neg(w.value)
    assert in_place([], [(v, new), (w, new)]) == []


def test_not_in_place_where_the_kernel_reads_the_old_value_in_another_order() -> None:
    w = variable("w", 3, 3)
    assert in_place([], [(w, b.matmul(w.value, w.value))]) == []
    assert in_place([], [(w, b.transpose(w.value, (1, 0)))]) == []
    x = b.input_value(tensor("f32", 3, 3), "x")
    assert in_place([], [(w, b.matmul(x, x))], x) == ["w"], "it does not read the old value at all"


@pytest.mark.parametrize("kind", ["input", "constant", "variable"])
def test_updates_with_values_that_nothing_computes_are_copied(kind: str) -> None:
    w, v, x = variable("w", 3), variable("v", 3), b.input_value(tensor("f32", 3), "x")
    new = {"input": x, "constant": b.constant(np.ones(3, np.float32)), "variable": v.value}[kind]
    plan = scheduled([x], [], [(w, new)])
    (launch,) = plan.launches
    (target,) = launch.writes
    assert launch.kernel.name == "copy" and plan.alias.get(target, target) is plan.variables[w]
    assert launch.reads[0].kind.value == kind


def test_a_variable_that_takes_its_own_value_needs_nothing() -> None:
    w = variable("w", 3)
    assert scheduled([], [], [(w, b.unary("identity", w.value))]).launches == ()


def test_a_swap_goes_through_copies() -> None:
    v, w = variable("v", 3), variable("w", 3)
    plan = scheduled([], [], [(v, w.value), (w, v.value)])
    buffers = [(source, plan.alias.get(target, target)) for source, target in copies(plan)]
    (_, aside), (source, target), last = buffers
    assert buffers[0][0] is plan.variables[w] and aside.kind is BufferKind.TEMP
    assert (source, target) == (plan.variables[v], plan.variables[w]) and last == (aside, plan.variables[v])


def test_a_variable_that_another_one_takes_over_is_not_overwritten_before() -> None:
    """w = -w; v = the old w."""
    v, w = variable("v", 3), variable("w", 3)
    plan = scheduled([], [], [(w, b.neg(w.value)), (v, w.value)])
    assert names(plan.launches) == ["neg", "copy", "copy"] and plan.variables[w] not in plan.alias.values()


def test_two_variables_computed_from_each_other() -> None:
    """v = w + 1; w = v * 2: the first writes too early to do it in place."""
    v, w = variable("v", 3), variable("w", 3)
    assert in_place([], [(v, b.add(w.value, 1.0)), (w, b.mul(v.value, 2.0))]) == ["w"]


# The prologue


def prologue(
    outputs: Sequence[Value], updates: Sequence[tuple[Variable, Value]] = (), inputs: Sequence[Value] = ()
) -> list[str]:
    plan = scheduled(inputs, outputs, updates)
    for x in plan.prologue:
        assert all(w.kind is BufferKind.PERSISTENT for w in x.writes)
    for x in plan.launches:
        assert all(w.kind is not BufferKind.PERSISTENT for w in x.writes)
    return names(plan.prologue)


def test_what_depends_on_variables_alone_is_computed_before() -> None:
    x, w = placeholder("x", 3), variable("w", 3)
    scaled = b.mul(b.unary("exp", w.value), 2.0)
    assert prologue([b.add(x, scaled)], inputs=[x]) == ["exp", "mul"]


def test_packed_weights_are_kept() -> None:
    x, w = placeholder("x", 3), variable("w", 3, 3)
    assert prologue([b.matmul(x, w.value)], inputs=[x]) == ["pack"]
    packed_twice = b.matmul(x, b.unary("exp", w.value))
    assert prologue([packed_twice], inputs=[x]) == ["exp", "pack"]


def test_what_depends_on_a_variable_that_the_graph_updates_is_not() -> None:
    x, w, v = placeholder("x", 3), variable("w", 3, 3), variable("v", 3, 3)
    y = b.matmul(x, b.add(w.value, v.value))
    assert prologue([y], [(w, b.neg(w.value))], [x]) == []
    assert prologue([b.matmul(x, v.value)], [(w, b.neg(w.value))], [x]) == ["pack"]


def test_outputs_and_new_values_are_computed_in_every_run() -> None:
    """Someone may have written the variable in between."""
    w, v = variable("w", 3), variable("v", 3)
    assert prologue([b.unary("exp", w.value)]) == []
    assert prologue([], [(v, b.unary("exp", w.value))]) == []
    assert prologue([], [(v, b.unary("exp", b.neg(w.value)))]) == ["neg"]
    plan = scheduled([], [], [(v, b.unary("exp", w.value))])
    assert names(plan.launches) == ["exp"] and list(plan.alias.values()) == [plan.variables[v]]


def test_a_new_value_that_is_also_kept() -> None:
    """Two variables take what depends on a third one alone: computed before, copied in every run."""
    w, v, u = variable("w", 3), variable("v", 3), variable("u", 3)
    new = b.unary("exp", w.value)
    plan = scheduled([], [], [(v, new), (u, new)])
    assert names(plan.prologue) == ["exp"] and names(plan.launches) == ["copy", "copy"]


def test_filled_tensors_are_kept() -> None:
    x = placeholder("x", 3)
    zeros = b.broadcast_to(b.constant(np.zeros(3, np.float32)), (B, 3))
    assert prologue([b.concatenate([x, zeros], 0)], inputs=[x]) == ["broadcast_to"]


def test_a_result_that_later_launches_finish_is_not_split() -> None:
    """A buffer with a writer outside the prologue stays outside with all its writers."""
    x, w = placeholder("x", 3), variable("w", 3)
    y = b.unary("exp", w.value)

    def two_steps(node: Node, ctx: Scheduler) -> list[Launch]:
        (launch,) = lower(node, ctx)
        if node.op.name != "exp":
            return [launch]
        finish = Launch(
            Kernel("finish", launch.kernel.source),
            (Read(ctx.buffer(x)), *(Write(w, reads=True) for w in launch.writes)), 1,
        )  # fmt: skip
        return [launch, finish]

    plan = schedule(assemble("g", [x], [b.add(x, y)]), two_steps)
    assert plan.prologue == () and names(plan.launches) == ["exp", "finish", "add"]


# Comments


def test_launches_say_what_they_implement() -> None:
    x = placeholder("x", 3)
    with b.origin(("model_1", "dense_1")):
        y = b.neg(x)
    (launch,) = scheduled([x], [y]).launches
    assert launch.origin == ("model_1", "dense_1")
    assert launch.comment == "%0 : f32[B, 3] = neg(%x)   # model_1, dense_1"
