"""Programs from graph to result: what comes out is what the interpreter says, whatever is alias, update or prologue."""

from __future__ import annotations

import gc
import re
import threading
from collections.abc import Iterator, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from codegen import targets
from codegen.cpu.program import CpuProgram
from codegen.cpu.target import CpuTarget
from codegen.launch import BufferKind
from codegen.program import Executable, compile_graph
from codegen.reference.target import ReferenceTarget
from codegen.storage import StoredVariable
from ir import builder as b
from ir import interpreter
from ir.autodiff import gradients
from ir.binding import NeedsSpecialization, SizeError
from ir.dims import SymDim
from ir.extract import Assign, Increment, extract
from ir.graph import Graph, Value, Variable
from ir.types import tensor

RNG = np.random.default_rng(5)
TARGETS = ("cpu", "reference")
both = pytest.mark.parametrize("target", TARGETS)


def numbers(*shape: int, dtype: str = "f4") -> np.ndarray:
    return np.asarray(RNG.standard_normal(shape)).astype(dtype)


def stored(name: str, content: Any, dtype: str = "f32") -> StoredVariable:
    array = np.asarray(content)
    return StoredVariable(array, tensor(dtype, *array.shape), name)


def placeholder(name: str, *shape: Any, dtype: str = "f32") -> Value:
    return b.input_value(tensor(dtype, *shape), name)


def batch() -> SymDim:
    return SymDim.fresh("B")


def compiled(
    inputs: Sequence[Value], outputs: Sequence[Value], updates: Sequence[Assign | Increment] = (), target: str = "cpu"
) -> Executable:
    return compile_graph(extract("g", inputs, outputs, updates), 0, target)


def cpu(executable: Executable) -> CpuProgram:
    assert isinstance(executable.program, CpuProgram)
    return executable.program


def kernel_names(executable: Executable) -> list[str]:
    return [x.kernel.name for x in cpu(executable).schedule.launches]


@pytest.fixture
def kernels() -> Iterator[Any]:
    """`kernels()` is how often the CPU target has compiled a kernel since the test began."""
    target = targets.get("cpu")
    assert isinstance(target, CpuTarget)
    before = target.cache.compiled
    yield lambda: target.cache.compiled - before


# Outputs


@both
def test_outputs_that_are_something_else(target: str) -> None:
    x, w = placeholder("x", batch(), 6), stored("w", [1.0, 2.0, 3.0])
    k = b.constant(np.arange(4, dtype=np.float32))
    y = b.unary("exp", x)
    n = x.shape[0]
    outputs = [x, w.value, k, y, y, b.reshape(y, (n, 2, 3)), b.reshape(x, (6 * n,)), b.reshape(k, (2, 2)),
               b.reshape(w.value, (3, 1))]  # fmt: skip
    a = numbers(5, 6)
    for size in (5, 0, 1):
        fed = a[:size]
        found = compiled([x], outputs, target=target).run([fed])
        e = np.exp(fed)
        expected = [fed, [1, 2, 3], np.arange(4), e, e, e.reshape(size, 2, 3), fed.ravel(), [[0, 1], [2, 3]],
                    [[1], [2], [3]]]  # fmt: skip
        for y_found, y_expected in zip(found, expected, strict=True):
            np.testing.assert_allclose(y_found, y_expected, rtol=1e-6)


@both
def test_outputs_are_fresh_arrays(target: str) -> None:
    """They are views of nothing: what is done to them, or run later, changes nothing else."""
    x, w = placeholder("x", batch(), 3), stored("w", [1.0, 2.0, 3.0])
    run = compiled([x], [x, w.value, b.mul(x, 2.0), b.reshape(b.mul(x, 2.0), (x.shape[0] * 3,))], target=target).run
    a = numbers(4, 3)
    first = run([a])
    for i, y in enumerate(first):
        assert y.flags.owndata and y.flags.writeable and y.flags.c_contiguous
        assert not any(np.shares_memory(y, z) for z in (a, w.array, *first[:i]))
    kept = [y.copy() for y in first]
    second = run([a + 1])
    for y, z, k in zip(first, second, kept, strict=True):
        np.testing.assert_array_equal(y, k)
        assert not np.shares_memory(y, z)
        y[...] = np.nan
    np.testing.assert_array_equal(run([a])[1], [1, 2, 3])


def test_outputs_outlive_their_program() -> None:
    x = placeholder("x", batch(), 3)
    executable = compiled([x], [b.unary("tanh", b.mul(x, 2.0))])
    a = numbers(1000, 3)
    y = executable.run([a])[0]
    del executable
    gc.collect()
    np.testing.assert_allclose(y, np.tanh(2 * a), rtol=1e-5, atol=1e-6)


@both
def test_inputs_are_not_changed(target: str) -> None:
    """Not even where a result could be computed in their place."""
    x = placeholder("x", batch(), 3)
    a = numbers(4, 3)
    before = a.copy()
    executable = compiled([x], [b.unary("exp", b.reduce_sum(b.neg(x), [1], True)), b.neg(x)], target=target)
    executable.run([a])
    np.testing.assert_array_equal(a, before)
    read_only = a.copy()
    read_only.setflags(write=False)
    np.testing.assert_array_equal(executable.run([read_only])[1], -a)


@both
def test_scalars_and_empty_batches(target: str) -> None:
    x, s = placeholder("x", batch(), 3), placeholder("s")
    executable = compiled([x, s], [b.mul(x, s), b.mul(s, s), b.reduce_sum(x, [0])], target=target)
    for size in (4, 0, 1):
        a = numbers(size, 3)
        found = executable.run([a, np.array(3, np.float32)])
        np.testing.assert_allclose(found[0], 3 * a)
        assert found[1].shape == () and found[1] == 9
        np.testing.assert_allclose(found[2], a.sum(0), rtol=1e-5, atol=1e-6)


def test_a_graph_without_inputs_or_nodes() -> None:
    assert compiled([], []).run([]) == []
    np.testing.assert_array_equal(compiled([], [b.constant([1.5, 2.5])]).run([])[0], [1.5, 2.5])


# Updates


def run_updates(target: str, *runs: Sequence[np.ndarray], inputs: Sequence[Value] = (), **options: Any) -> Executable:
    executable = compiled(list(inputs), options.get("outputs", []), options["updates"], target)
    for fed in runs or [[]]:
        executable.run(list(fed))
    return executable


@both
def test_updates_accumulate_over_runs(target: str) -> None:
    w, x = stored("w", [1.0, 2.0]), placeholder("x", 2)
    address = w.address
    executable = run_updates(target, [numbers(2) * 0 + 1], [np.float32([10, 20])], inputs=[x],
                             updates=[Increment(w, lambda old: b.add(old, x))])  # fmt: skip
    assert w.get().tolist() == [12, 23] and w.address == address == w.array.ctypes.data and w.version == 2
    if target == "cpu":
        assert kernel_names(executable) == ["add"], "in place, without a copy"


@both
def test_swapped_variables(target: str) -> None:
    v, w = stored("v", [1.0, 2.0]), stored("w", [3.0, 4.0])
    run_updates(target, [], [], [], updates=[Assign(v, w.value), Assign(w, v.value)])
    assert v.get().tolist() == [3, 4] and w.get().tolist() == [1, 2]


@both
def test_rotated_variables(target: str) -> None:
    vs = [stored(f"v{i}", np.full(5, i)) for i in range(4)]
    run_updates(target, updates=[Assign(v, vs[(i + 1) % 4].value) for i, v in enumerate(vs)])
    assert [float(v.get()[0]) for v in vs] == [1, 2, 3, 0]


@both
def test_variables_computed_from_each_other(target: str) -> None:
    """Both see the old values, whether they are computed in one loop or in two."""
    for shape in ((4,), (3, 2)):
        v, w = stored("v", np.full(4, 2.0)), stored("w", np.full(shape, 5.0))
        total = b.reduce_sum(v.value)
        updates = [Assign(v, b.mul(v.value, b.reduce_sum(w.value))), Assign(w, b.add(w.value, total))]
        run_updates(target, updates=updates)
        assert v.get()[0] == 2 * 5 * np.prod(shape) and w.get().ravel()[0] == 13


@both
def test_outputs_show_old_and_new_values(target: str) -> None:
    w = stored("w", [1.0, -2.0])
    new = b.mul(w.value, 3.0)
    executable = compiled([], [w.value, new, b.unary("abs", w.value)], [Assign(w, new)], target)
    for expected in ([1, -2], [3, -6], [9, -18]):
        old, fresh, size = (y.tolist() for y in executable.run([]))
        assert old == expected and fresh == [3 * x for x in expected] and size == [abs(x) for x in expected]
        assert w.get().tolist() == fresh


@both
def test_an_old_value_that_is_read_after_the_new_one_was_computed(target: str) -> None:
    w, x = stored("w", [[1.0, 2.0], [3.0, 4.0]]), placeholder("x", batch(), 2)
    new = b.mul(w.value, 10.0)
    late = b.matmul(b.matmul(x, new), w.value)
    a = np.float32([[1, 1]])
    old = w.get()
    (found,) = compiled([x], [late], [Assign(w, new)], target).run([a])
    np.testing.assert_allclose(found, a @ (10 * old) @ old)
    np.testing.assert_array_equal(w.get(), 10 * old)


@both
def test_updates_with_inputs_constants_and_shared_values(target: str) -> None:
    names = ["input", "constant", "first", "second", "reshaped"]
    vs = {n: stored(n, np.zeros((3, 2) if n == "reshaped" else 6)) for n in names}
    x = placeholder("x", 6)
    doubled = b.mul(x, 2.0)
    values = {"input": x, "constant": b.constant(np.full(6, 7.0, np.float32)), "first": doubled, "second": doubled,
              "reshaped": b.reshape(x, (3, 2))}  # fmt: skip
    a = numbers(6)
    run_updates(target, [a], inputs=[x], updates=[Assign(vs[n], values[n]) for n in names])
    for n, expected in zip(names, (a, np.full(6, 7), 2 * a, 2 * a, a.reshape(3, 2)), strict=True):
        np.testing.assert_array_equal(vs[n].get(), expected, err_msg=n)


@both
def test_a_new_value_that_depends_on_another_variable_alone(target: str) -> None:
    """It is written in every run: someone may have set the variable in between."""
    w, v = stored("w", [1.0, 2.0]), stored("v", [0.0, 0.0])
    executable = run_updates(target, updates=[Assign(v, b.mul(w.value, 2.0))])
    assert v.get().tolist() == [2, 4]
    v.set([9, 9])
    executable.run([])
    assert v.get().tolist() == [2, 4]
    w.set([5, 5])
    executable.run([])
    assert v.get().tolist() == [10, 10]


@both
def test_an_integer_counter(target: str) -> None:
    steps = StoredVariable(np.array(0), tensor("i64"), "iterations")
    executable = compiled([], [steps.value], [Increment(steps, lambda old: b.add(old, 1))], target)
    assert [int(executable.run([])[0]) for _ in range(3)] == [0, 1, 2] and int(steps.get()) == 3


# The prologue


def folded(w: StoredVariable) -> Executable:
    """x @ (w * 2): the scaled, packed weights are the prologue's."""
    x = placeholder("x", batch(), 3)
    executable = compiled([x], [b.matmul(x, b.mul(w.value, 2.0))])
    plan = cpu(executable).schedule
    assert plan.prologue and all(x.kind is not BufferKind.VARIABLE for launch in plan.launches for x in launch.reads)
    return executable


def test_the_prologue_is_redone_when_a_variable_was_set() -> None:
    w = stored("w", np.eye(3))
    executable = folded(w)
    a = numbers(4, 3)
    for scale in (1.0, 5.0, -3.0):
        w.set(np.eye(3) * scale)
        for size in (4, 2):
            np.testing.assert_allclose(executable.run([a[:size]])[0], 2 * scale * a[:size], rtol=1e-5)


def test_the_prologue_is_not_redone_otherwise() -> None:
    w = stored("w", np.eye(3))
    executable = folded(w)
    a = numbers(4, 3)
    executable.run([a])
    w.array[...] = 100 * np.eye(3)  # behind the program's back: the version says that nothing changed
    np.testing.assert_allclose(executable.run([a])[0], 2 * a, rtol=1e-5)


def test_the_prologue_is_redone_when_another_program_updated_the_variable() -> None:
    w = stored("w", np.eye(3))
    predict = folded(w)
    a = numbers(4, 3)
    for target, expected in (("cpu", 4), ("reference", 8), ("cpu", 16)):
        predict.run([a])
        compiled([], [], [Assign(w, b.mul(w.value, 2.0))], target).run([])
        np.testing.assert_allclose(predict.run([a])[0], expected * a, rtol=1e-5)


def test_all_sizes_share_what_does_not_depend_on_them() -> None:
    """Folded and packed weights exist once, however many batch sizes a model sees."""
    w = stored("w", np.eye(3))
    program = cpu(folded(w))
    for size in (4, 2, 9):
        program.run([numbers(size, 3)])
    kept = [bound.kept for bound in program._bindings.values()]
    assert len(kept) == 3 and kept[0] == kept[1] == kept[2] and len(kept[0]) == 1


def test_what_only_the_prologue_reads_shares_memory() -> None:
    w, x = stored("w", numbers(64, 64) / 8), placeholder("x", batch(), 64)
    powers = [w.value]
    for _ in range(6):
        powers.append(b.matmul(powers[-1], powers[-1]))
    executable = compiled([x], [b.matmul(x, powers[-1])])
    program, a = cpu(executable), numbers(3, 64)
    for scale in (1.0, -0.5):
        w.set(w.get() * scale)
        expected = a @ np.linalg.matrix_power(w.get().astype(np.float64), 64)
        np.testing.assert_allclose(executable.run([a])[0], expected, rtol=1e-2, atol=1e-3 * abs(expected).max())
    kept = sum(array.nbytes for part in program._bind([a]).kept for array in part._arrays)
    assert kept <= 4 * w.type.nbytes


def test_what_is_kept_may_depend_on_sizes_and_on_what_all_sizes_share() -> None:
    w, x = stored("w", np.full(3, 2.0)), placeholder("x", batch(), 3)
    n = x.shape[0]
    column = b.reduce_sum(b.broadcast_to(b.unary("square", b.reduce_sum(w.value)), (n, 3)), [1], True)
    executable = compiled([x], [b.matmul(b.mul(x, column), b.constant(np.eye(3, dtype=np.float32)))])
    program = cpu(executable)
    a = numbers(5, 3)
    for scale in (2.0, 1.0, 3.0):
        w.set(np.full(3, scale))
        for size in (5, 2, 5):
            expected = a[:size] * 3 * (3 * scale) ** 2
            np.testing.assert_allclose(executable.run([a[:size]])[0], expected, rtol=1e-5)
    (shared, mine), (same, others) = (bound.kept for bound in program._bindings.values())
    assert shared is same and mine is not others


def test_the_prologue_of_a_program_that_updates_other_variables() -> None:
    w, v, x = stored("w", np.eye(3)), stored("v", np.zeros((3, 3))), placeholder("x", batch(), 3)
    executable = compiled([x], [b.matmul(x, b.mul(w.value, 2.0))], [Increment(v, lambda old: b.add(old, w.value))])
    a = numbers(4, 3)
    for scale in (1.0, 2.0):
        w.set(np.eye(3) * scale)
        np.testing.assert_allclose(executable.run([a])[0], 2 * scale * a, rtol=1e-5)
    np.testing.assert_array_equal(v.get(), 3 * np.eye(3))


# Sizes


def test_a_new_batch_size_compiles_nothing(kernels: Any) -> None:
    x, w, y = placeholder("x", batch(), 7), stored("w", numbers(7, 5)), placeholder("y", batch(), 5)
    p = b.unary("tanh", b.matmul(x, w.value))
    loss = b.reduce_mean(b.unary("square", b.sub(p, y)))
    (slope,) = gradients([loss], [w.value])
    assert slope is not None
    executable = compiled([x, y], [loss, p], [Assign(w, b.sub(w.value, b.mul(slope, 0.1)))])
    executable.run([numbers(4, 7), numbers(4, 5)])
    before = kernels()
    for size in (1, 3, 32, 129, 4, 1000, 0):
        loss_found, p_found = executable.run([numbers(size, 7), numbers(size, 5)])
        assert p_found.shape == (size, 5) and loss_found.shape == ()
        if size == 0:  # the mean of nothing
            assert np.isnan(loss_found)
    assert kernels() == before


def test_many_sizes_are_forgotten_and_bound_again() -> None:
    x = placeholder("x", batch(), 3)
    executable = compiled([x], [b.unary("exp", b.reduce_sum(b.neg(x), [1]))])
    for size in (*range(40), *range(40)):
        a = np.full((size, 3), 0.5, "f4")
        np.testing.assert_allclose(executable.run([a])[0], np.full(size, np.exp(-1.5)), rtol=1e-6)
    assert len(cpu(executable)._bindings) <= 16


def two_inputs() -> Graph:
    x, y = placeholder("x", batch(), 3), placeholder("y", batch(), SymDim.fresh("T"))
    return extract("model_1", [x, y], [b.add(x, y)])


MISFITS: list[tuple[str, list[np.ndarray]]] = [
    ("graph 'model_1' takes 2 inputs, got 1", [numbers(4, 3)]),
    ("graph 'model_1' takes 2 inputs, got 3", [numbers(4, 3)] * 3),
    ("input 'y' takes dtype float32, got float64", [numbers(4, 3), np.zeros((4, 3))]),
    ("input 'x' takes 2 dimensions, shape (B, 3); got 1, shape (3,)", [numbers(3), numbers(4, 3)]),
    ("input 'x' has size 4 along axis 1, expected 3", [numbers(4, 4), numbers(4, 3)]),
    ("input 'y' has size 5 along axis 0, but input 'x' has size 4 there", [numbers(4, 3), numbers(5, 3)]),
    ("input 'y' has size 2 along axis 1, expected 3", [numbers(4, 3), numbers(4, 2)]),
]


@both
@pytest.mark.parametrize("message, fed", MISFITS, ids=[m for m, _ in MISFITS])
def test_what_does_not_fit(target: str, message: str, fed: list[np.ndarray]) -> None:
    executable = compile_graph(two_inputs(), 0, target)
    with pytest.raises(SizeError, match=re.escape(message)):
        executable.run(fed)
    a, c = numbers(4, 3), numbers(4, 3)
    np.testing.assert_array_equal(executable.run([a, c])[0], a + c)


@both
def test_sizes_of_one_that_need_another_graph(target: str) -> None:
    executable = compile_graph(two_inputs(), 0, target)
    with pytest.raises(NeedsSpecialization) as need:
        executable.run([numbers(4, 3), numbers(4, 1)])
    assert need.value.inputs_axes == ((1, 1),)


def test_inputs_in_another_order_of_memory() -> None:
    executable = compile_graph(two_inputs(), 0, "cpu")
    with pytest.raises(ValueError, match="C-contiguous"):
        executable.run([np.asfortranarray(numbers(4, 3)), numbers(4, 3)])


def test_variables_without_content() -> None:
    v = Variable(tensor("f32", 3), "dense/kernel")
    with pytest.raises(TypeError, match="dense/kernel.*has no content; programs run on stored variables"):
        compiled([], [b.neg(v.value)]).run([])


# Threads


def in_threads(count: int, work: Any) -> None:
    """Runs `work(i)` in `count` threads at once and raises what one of them raised."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(count)

    def one(i: int) -> None:
        try:
            barrier.wait()
            work(i)
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    if errors:
        raise errors[0]


def test_eight_threads_predict_at_once() -> None:
    w = stored("w", numbers(16, 16))
    x = placeholder("x", batch(), 16)
    executable = compiled([x], [b.unary("tanh", b.matmul(b.unary("tanh", b.matmul(x, w.value)), w.value))])
    inputs = [numbers(1 + i % 3, 16) for i in range(8)]
    expected = [np.tanh(np.tanh(a @ w.array) @ w.array) for a in inputs]

    def predict(i: int) -> None:
        for _ in range(40):
            np.testing.assert_allclose(executable.run([inputs[i]])[0], expected[i], rtol=1e-4, atol=1e-5)

    in_threads(8, predict)


def test_threads_that_update_lose_nothing() -> None:
    w, x = stored("w", np.zeros(100)), placeholder("x", 100)
    executable = compiled([x], [w.value], [Increment(w, lambda old: b.add(old, x))])

    def add(i: int) -> None:
        for _ in range(50):
            (seen,) = executable.run([np.ones(100, np.float32)])
            assert (seen == seen[0]).all(), "no run sees half of another one's update"

    in_threads(6, add)
    assert (w.get() == 300).all() and w.version == 300


def test_predicting_while_another_thread_writes() -> None:
    """Each result is that of one version of the weights, prologue included."""
    w = stored("w", np.eye(3))
    executable = folded(w)
    a = np.ones((2, 3), np.float32)

    def work(i: int) -> None:
        for k in range(60):
            if i == 0:
                w.set(np.eye(3) * (k % 7))
            else:
                (y,) = executable.run([a])
                assert (y == y[0, 0]).all() and y[0, 0] in range(0, 14, 2)

    in_threads(4, work)
    w.set(np.eye(3) * 50)
    assert executable.run([a])[0][0, 0] == 100


# Storage


def test_stored_variables() -> None:
    v = stored("v", [[1.0, 2.0]])
    copy = v.get()
    copy[...] = 9
    assert v.get().tolist() == [[1, 2]] and v.array.ctypes.data % 64 == 0
    v.set([[3, 4.5]])
    assert v.get().tolist() == [[3, 4.5]] and v.version == 1 and v.array.dtype == np.float32
    message = "variable v has shape (1, 2); cannot set it to a value of shape (2,)"
    with pytest.raises(ValueError, match=re.escape(message)):
        v.set([1, 2])
    assert v.version == 1
    for shape in ((), (0,), (3, 0)):
        assert stored("s", np.zeros(shape)).get().shape == shape


# Targets


def test_target_names() -> None:
    assert targets.names()[:2] == ["reference", "cpu"]
    assert targets.get("cpu") is targets.get("cpu") and targets.get("cpu").name == "cpu"
    assert targets.get("reference").available() and targets.get("cpu").available()
    with pytest.raises(ValueError, match="unknown target 'gpu'; known targets: reference, cpu"):
        targets.get("gpu")
    with pytest.raises(ValueError, match="unknown target 'gpu'"):
        compile_graph(two_inputs(), 0, "gpu")


def test_a_third_party_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands in the entry points of another package, and is made when it is first asked for."""
    made: list[str] = []

    class Theirs(ReferenceTarget):
        name = "theirs"

        def __init__(self) -> None:
            made.append(self.name)

        def supports(self, op: str) -> bool:
            return op not in ("softmax", "fused")

    module = ModuleType("their_package")
    module.Theirs = Theirs  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "their_package", module)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [
        SimpleNamespace(name="theirs", value="their_package:Theirs"), SimpleNamespace(name="cpu", value="no:module"),
    ] if group == "kgraph.targets" else [])  # fmt: skip
    targets._third_party.cache_clear()
    targets.get.cache_clear()
    try:
        assert targets.names() == ["reference", "cpu", "theirs"] and not made
        assert targets.get("cpu").name == "cpu", "ours are not replaced"
        x = placeholder("x", batch(), 3)
        executable = compiled([x], [b.apply1("softmax", b.mul(b.neg(x), 2.0), axis=1)], target="theirs")
        assert {"softmax", "fused"}.isdisjoint(n.op.name for n in executable.graph.nodes)
        assert {"fused", "softmax"} <= {n.op.name for n in executable.stages["dce"].nodes}
        a = numbers(2, 3)
        e = np.exp(-2 * a)
        np.testing.assert_allclose(executable.run([a])[0], e / e.sum(1, keepdims=True), rtol=1e-5)
        assert made == ["theirs"] and targets.get("theirs") is targets.get("theirs")
    finally:
        targets._third_party.cache_clear()
        targets.get.cache_clear()


# Executables


def test_stages_and_records() -> None:
    x = placeholder("x", batch(), 3)
    phase = b.input_value(tensor("bool"), "phase")
    graph = extract("g", [x, phase], [b.select(phase, b.neg(x), b.unary("exp", b.mul(x, 2.0)))])
    test, train = (compile_graph(graph, p, "reference") for p in (0, 1))
    assert test.stages["source"] is graph and list(test.stages)[-1] == "decompose"
    assert [r.name for r in test.records] == list(test.stages)[2:] and test.pass_seconds > 0
    assert [n.op.name for n in test.graph.nodes] == ["fused"] and [n.op.name for n in train.graph.nodes] == ["neg"]
    a = numbers(2, 3)
    np.testing.assert_allclose(test.run([a])[0], np.exp(2 * a), rtol=1e-6)
    np.testing.assert_array_equal(train.run([a])[0], -a)
    assert test.kernels() == () and test.peak_memory() == (0,)


def test_a_model_that_is_only_inspected_compiles_nothing(kernels: Any) -> None:
    x = placeholder("x", batch(), 3)
    executable = compiled([x], [b.unary("exp", b.mul(x, 123.0))])
    assert "program" not in executable.__dict__
    assert [k.name for k in executable.kernels()] == ["fused"] and executable.peak_memory() == (0,)
    assert kernels() == 0


def test_peak_memory_is_a_formula() -> None:
    """A reduction between two loops: its operand and its result wait in the arena."""
    x, w = placeholder("x", batch(), 64), stored("w", numbers(64, 64))
    hidden = b.matmul(x, w.value)
    executable = compiled([x], [b.matmul(hidden, w.value)])
    n = executable.graph.symbols[0]
    assert 256 * n in executable.peak_memory()
    executable.run([numbers(7, 64)])
    (bound,) = cpu(executable)._bindings.values()
    assert bound.arena_bytes == 256 * 7


def test_kernels_are_listed_once() -> None:
    x = placeholder("x", batch(), 3)
    executable = compiled([x], [b.reduce_sum(b.unary("exp", b.reduce_sum(b.unary("exp", x), [0], True)))])
    listed = executable.kernels()
    assert len(set(listed)) == len(listed)


# Whole graphs on both targets


def training_step(dtype: str = "f32") -> tuple[list[Value], list[Value], list[StoredVariable], list[Assign]]:
    """A small network with Adam-like updates."""
    n = batch()
    x, labels = placeholder("x", n, 5, 5, 2, dtype=dtype), placeholder("labels", n, 3, dtype=dtype)
    shapes = {"kernel": (3, 3, 2, 4), "gamma": (4,), "beta": (4,), "dense": (100, 3), "bias": (3,)}
    ws = {k: stored(k, RNG.standard_normal(s) * 0.3 + (k == "gamma"), dtype) for k, s in shapes.items()}
    y = b.apply1("conv2d", x, ws["kernel"].value, strides=(1, 1), padding="same", dilation=(1, 1),
                 data_format="channels_last")  # fmt: skip
    y, mean, _ = b.apply("batch_norm_train", y, ws["gamma"].value, ws["beta"].value, axis=3, epsilon=1e-3)
    y = b.reshape(b.unary("relu", y), (n, 100))
    logits = b.add(b.matmul(y, ws["dense"].value), ws["bias"].value)
    loss = b.reduce_mean(b.apply1("softmax_crossentropy", labels, logits))
    variables = list(ws.values())
    updates = []
    for v, g in zip(variables, gradients([loss], [v.value for v in variables]), strict=True):
        assert g is not None
        m = stored(f"m_{v.path}", np.zeros(v.array.shape), dtype)
        new_m = b.add(b.mul(m.value, 0.9), b.mul(g, 0.1))
        step = b.div(new_m, b.add(b.unary("sqrt", b.unary("square", new_m)), 0.1))
        updates += [Assign(m, new_m), Assign(v, b.sub(v.value, b.mul(step, 0.01)))]
        variables = [*variables, m]
    return [x, labels], [loss, mean, b.apply1("softmax", logits, axis=1)], variables, updates


def test_training_on_the_cpu_is_training_on_the_reference() -> None:
    inputs, outputs, variables, updates = training_step()
    start = [v.get() for v in variables]
    data = [[numbers(size, 5, 5, 2), np.eye(3, dtype="f4")[RNG.integers(0, 3, size)]] for size in (8, 8, 3)]
    results = {}
    for target in TARGETS:
        for v, a in zip(variables, start, strict=True):
            v.set(a)
        executable = compiled(inputs, outputs, updates, target)
        found = [y for fed in data for y in executable.run(fed)]
        results[target] = [*found, *(v.get() for v in variables)]
    for one, other in zip(results["cpu"], results["reference"], strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-4)


def test_the_reference_target_is_the_interpreter() -> None:
    inputs, outputs, variables, _ = training_step()
    graph = extract("g", inputs, outputs)
    fed = [numbers(4, 5, 5, 2), np.eye(3, dtype="f4")[[0, 1, 2, 2]]]
    content = {v: v.array for v in graph.variables if isinstance(v, StoredVariable)}
    expected = interpreter.run(graph, fed, content)[0]
    for y, z in zip(compile_graph(graph, 0, "reference").run(fed), expected, strict=True):
        np.testing.assert_allclose(y, z, rtol=1e-4, atol=1e-5)
