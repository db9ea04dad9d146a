"""`K.function`: inputs, outputs and updates as something to call; gradients; evaluation without a function.

A `Function` extracts a graph, has `codegen.program.compile_graph` make it runnable once for each learning phase, and
feeds it. Before it come the tensors and variables, after it training in `kgraph/engine`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from codegen.program import Executable, compile_graph
from codegen.storage import StoredVariable, access
from ir import autodiff, interpreter
from ir import builder as b
from ir.binding import NeedsSpecialization
from ir.dims import SymDim
from ir.extract import Assign, Increment, compose_updates, extract
from ir.graph import Graph, Value
from ir.graph import Update as VariableUpdate
from ir.ops.random import STATE
from ir.passes.specialize import is_phase
from ir.rewrite import retype
from ir.walk import leaves_of, nodes_of
from kgraph.backend import host, session
from kgraph.backend.tensor import Tensor
from kgraph.backend.variable import RandomState, Update, Variable, update

_EAGER_WORK = 1 << 22  # estimated element operations up to which evaluating directly beats compiling
_HEAVY = ("matmul", "conv2d", "conv2d_input_grad", "conv2d_kernel_grad")


class Function:
    """Call it with a list of arrays, one for each of `inputs`; it returns a list of arrays, one for each of `outputs`,
    and stores `updates`.

    `inputs` are placeholders, and any other tensors whose value shall be given instead of computed. The learning phase
    may be among them; where it is not, it is 0. `updates` are what `K.update` gives, or (variable, new value) pairs.
    Raises TypeError for arguments of the wrong kind, and ValueError where the outputs need an input that is not listed.
    """

    def __init__(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Tensor],
        updates: Sequence[Any] | None = None,
        name: str | None = None,
        **session_kwargs: Any,
    ) -> None:
        if session_kwargs:
            raise ValueError(f'Invalid argument "{next(iter(session_kwargs))}" passed to K.function')
        for role, given in (("inputs", inputs), ("outputs", outputs), ("updates", updates or [])):
            if not isinstance(given, (list, tuple)):
                raise TypeError(f"`{role}` to a function should be a list or tuple, got {type(given).__name__}")
        self.inputs = list(inputs)
        self.outputs = list(outputs)
        self.name = name or "function"
        self.target = session.current().target
        changes = compose_updates(_to_ir(updates or []))
        results = [*_values(self.outputs), *(u.value for u in changes)]
        self._parts = host.parts(self.inputs, results)
        given = [*self.inputs, *(x for part in self._parts for x in part.results)]
        self._slots = [_slot(x, i) for i, x in enumerate(given)]
        self._extractor = _Extractor(self.name, self._slots, results, changes)
        self.graph: Graph = self._extractor.extract(())
        self._scalars = [i for i, x in enumerate(self.outputs) if not x.value.rank]
        self._executables: dict[int, Executable] = {}
        self._special: dict[tuple[int, frozenset[SymDim]], Executable] = {}
        self._by_shapes: dict[tuple[Any, ...], Executable] = {}
        self._lock = threading.RLock()

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        if not isinstance(inputs, (list, tuple)):
            raise TypeError(f"`inputs` should be a list or tuple, got {type(inputs).__name__}")
        if len(inputs) != len(self.inputs):
            raise ValueError(f"function '{self.name}' takes {len(self.inputs)} inputs, got {len(inputs)}")
        if self._parts:
            inputs = host.run_parts(self._parts, inputs)
        phase = 0
        arrays = []
        for slot, x in zip(self._slots, inputs, strict=True):
            if slot.value is None:
                phase = slot.phase(x)
            elif type(x) is np.ndarray and x.dtype == slot.dtype and x.flags.c_contiguous:
                arrays.append(x)
            else:
                arrays.append(slot.convert(x))
        results: list[Any] = self._run(phase, arrays)
        for i in self._scalars:
            results[i] = results[i][()]
        return results

    def executable(self, phase: int = 0) -> Executable:
        """The compiled form for a learning phase, before any size is taken as 1."""
        made = self._executables.get(phase)
        if made is None:
            with self._lock:
                made = self._executables.get(phase)
                if made is None:
                    made = self._executables[phase] = compile_graph(self.graph, phase, self.target)
        return made

    def _run(self, phase: int, arrays: list[np.ndarray]) -> list[np.ndarray]:
        if self._by_shapes:
            known = self._by_shapes.get((phase, *[a.shape for a in arrays]))
            if known is not None:
                return known.run(arrays)
        try:
            return self.executable(phase).run(arrays)
        except NeedsSpecialization as need:
            return self._run_special(phase, arrays, need)

    def _run_special(self, phase: int, arrays: list[np.ndarray], need: NeedsSpecialization) -> list[np.ndarray]:
        """Runs with the sizes that `need` names taken as 1, and remembers that for these shapes."""
        fed = [s.value for s in self._slots if s.value is not None]
        ones: frozenset[SymDim] = frozenset()
        while True:
            for number, axis in need.inputs_axes:
                dim = fed[number].shape[axis]
                ones |= {dim} if isinstance(dim, SymDim) else frozenset()
            with self._lock:
                special = self._special.get((phase, ones))
                if special is None:
                    special = compile_graph(self._extractor.extract(ones), phase, self.target)
                    self._special[phase, ones] = special
            try:
                results = special.run(arrays)
            except NeedsSpecialization as more:
                need = more
                continue
            if len(self._by_shapes) > 256:
                self._by_shapes.clear()
            self._by_shapes[(phase, *[a.shape for a in arrays])] = special
            return results


class _Slot:
    """One input of a function. `value` is what stands for it in the graph; None for the learning phase."""

    def __init__(self, tensor: Any, value: Value | None, number: int) -> None:
        self.value = value
        self.tensor: Value | None = tensor.value if isinstance(tensor, Tensor) else None
        self.name = repr(tensor.name.split(":")[0]) if isinstance(tensor, Tensor) else f"number {number}"
        self.dtype = value.type.dtype.numpy if value is not None else np.dtype(bool)

    def phase(self, x: Any) -> int:
        """The learning phase that was fed."""
        if self.tensor is None:
            return 0
        if type(x) is float or type(x) is int:
            return int(x != 0)
        content = np.asarray(x)
        if content.size != 1 or content.dtype.kind not in "biuf":
            raise ValueError(f"the learning phase is 0 or 1, got {x!r}")
        return int(bool(content.reshape(())))

    def convert(self, x: Any) -> np.ndarray:
        """What was fed as a C-contiguous array of the input's dtype. Raises TypeError or ValueError naming it."""
        if x is None:
            raise ValueError(f"input {self.name} needs an array, got None")
        if isinstance(x, Tensor):
            raise TypeError(f"input {self.name} needs an array, got the symbolic tensor {x}")
        if hasattr(x, "tocoo"):
            x = x.toarray()
        try:
            array = np.asarray(x)
            if array.dtype.kind not in "biuf":
                raise TypeError(f"elements of type {array.dtype}")
            return np.require(array, self.dtype, "C").reshape(array.shape)
        except (TypeError, ValueError) as error:
            raise type(error)(f"input {self.name} needs an array of {self.dtype.name}: {error}") from error


def _slot(x: Any, number: int) -> _Slot:
    if isinstance(x, (int, np.integer)):  # the learning phase after K.set_learning_phase
        return _Slot(x, None, number)
    if not isinstance(x, Tensor):
        raise TypeError(f"inputs of a function are tensors, got {x!r} as input {number}")
    if is_phase(x.value):
        return _Slot(x, None, number)
    if x.value.producer is None:
        return _Slot(x, x.value, number)
    return _Slot(x, b.input_value(x.value.type, x.name.split(":")[0]), number)


def _to_ir(updates: Iterable[Any]) -> list[Assign | Increment]:
    found: list[Assign | Increment] = []
    for item in updates:
        if isinstance(item, Update):
            found.append(item.to_ir())
        elif isinstance(item, (list, tuple)) and len(item) == 2 and isinstance(item[0], Variable):
            found.append(update(item[0], item[1]).to_ir())
        elif not isinstance(item, Tensor):  # a plain tensor among updates has no effect
            raise TypeError(f"an update is K.update(x, new_x) or a pair (x, new_x), got {item!r}")
    return found


def _values(outputs: Sequence[Tensor]) -> list[Value]:
    for x in outputs:
        if not isinstance(x, Tensor):
            raise TypeError(f"outputs of a function are tensors, got {x!r}")
    return [x.value for x in outputs]


class _Extractor:
    """What a function computes, ready to be extracted, for any choice of sizes that are 1. The last of `results` are
    the new values of `updates`."""

    def __init__(
        self, name: str, slots: Sequence[_Slot], results: Sequence[Value], updates: Sequence[VariableUpdate]
    ) -> None:
        self.name = name
        given = {s.tensor: s.value for s in slots if s.tensor is not None and s.value is not None}
        given = {old: new for old, new in given.items() if old is not new}
        results = _replace(results, given)
        free, _ = leaves_of(results, nodes_of(results))
        phases = [v for v in free if is_phase(v)]
        results = _replace(results, dict.fromkeys(phases[1:], phases[0]) if phases else {})
        _, read = leaves_of(results, nodes_of(results))
        self.inputs = [s.value for s in slots if s.value is not None] + phases[:1]
        count = len(results) - len(updates)
        self.outputs = results[:count]
        self.updates = [Assign(u.variable, v) for u, v in zip(updates, results[count:], strict=True)]
        self.when_read = [v.advance() for v in read if isinstance(v, RandomState)]

    def extract(self, ones: Iterable[SymDim]) -> Graph:
        return extract(self.name, self.inputs, self.outputs, self.updates, self.when_read, frozenset(ones))


def _replace(results: Sequence[Value], given: dict[Value, Value]) -> list[Value]:
    """`results` computed from the new values in `given` instead of the old ones."""
    if not given:
        return list(results)
    new = dict(given)
    for node in nodes_of(results, given):
        inputs = tuple(new.get(v, v) for v in node.inputs)
        if inputs != node.inputs:
            new.update(zip(node.outputs, retype(node, inputs, {}).outputs, strict=True))
    return [new.get(v, v) for v in results]


def function(inputs: Any, outputs: Any, updates: Any = None, **kwargs: Any) -> Function:
    """A `Function`: call it with a list of arrays to get a list of arrays."""
    return Function(inputs, outputs, updates=updates, **kwargs)


# Evaluation without a function


def evaluate(tensors: Sequence[Tensor]) -> list[np.ndarray]:
    """The values of tensors that need no input, computed directly by the ops' definitions, without compiling.

    The learning phase is 0. Random states that are read advance.
    """
    values = [x.value for x in tensors]
    free, read = leaves_of(values, nodes_of(values))
    open_inputs = [v for v in free if not is_phase(v)]
    if open_inputs:
        names = ", ".join(repr(v.name or str(v.type)) for v in open_inputs)
        raise ValueError(f"the value depends on {names}, which has none yet; use K.function and feed it")
    stored = [v for v in read if isinstance(v, StoredVariable)]
    states = [v for v in stored if isinstance(v, RandomState)]
    with access(stored, ()):
        feeds: dict[Value, np.ndarray] = {v.value: v.array for v in stored}
        feeds.update((v, np.asarray(False)) for v in free)
        results = interpreter.evaluate(values, feeds)
    for state in states:
        fed = b.input_value(STATE)
        (moved,) = interpreter.evaluate([b.apply1("random_advance", fed)], {fed: state.get()})
        state.set(moved)
    return results


def eval(x: Any) -> Any:
    """The value of a tensor or variable as a numpy array, a numpy number for a scalar."""
    if not isinstance(x, Tensor):
        raise TypeError(f"K.eval takes a tensor, got {x!r}")
    if evaluates_directly(x):
        return evaluate([x])[0][()]
    return Function([], [x], name="eval")([])[0]


def evaluates_directly(x: Tensor) -> bool:
    """Whether the value is evaluated by the ops' definitions: it is small, or lacks inputs, which is then reported."""
    return _work(x.value) <= _EAGER_WORK or _needs_inputs(x.value)


def _needs_inputs(value: Value) -> bool:
    """Whether the value depends on placeholders."""
    free, _ = leaves_of([value], nodes_of([value]))
    return any(not is_phase(v) for v in free)


def _work(value: Value) -> int:
    """A rough count of element operations; sizes that are not known count nothing."""
    total = 0
    for node in nodes_of([value]):
        sizes = [v.type.size for v in (*node.inputs, *node.outputs)]
        largest = max((s for s in sizes if isinstance(s, int)), default=0)
        total += largest * (64 if node.op.name in _HEAVY else 1)
    return total


# Derivatives


def gradients(loss: Any, variables: Any) -> list[Tensor | None]:
    """The derivatives of `loss` (a tensor of any shape, which is summed, or a list of them) with respect to each of
    `variables`; None where it does not depend on one."""
    losses = list(loss) if isinstance(loss, (list, tuple)) else [loss]
    wrt = list(variables) if isinstance(variables, (list, tuple)) else [variables]
    for x in (*losses, *wrt):
        if not isinstance(x, Tensor):
            raise TypeError(f"K.gradients takes tensors, got {x!r}")
    found = autodiff.gradients([x.value for x in losses], [x.value for x in wrt])
    return [None if g is None else Tensor(g) for g in found]


def stop_gradient(variables: Any) -> Any:
    """The same tensor, or list of tensors, taken as constant by `K.gradients`."""
    if isinstance(variables, (list, tuple)):
        return [Tensor(b.unary("stop_gradient", x.value)) for x in variables]
    return Tensor(b.unary("stop_gradient", variables.value))
