"""Loops over the elements of tensors: `rnn`, `map_fn`, `foldl`, `foldr`, `cumsum`, `cumprod`.

Each traces a Python function once, on stand-ins for one step, and becomes a `scan` of the IR; no Python runs per step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ir import builder as b
from ir import dtypes
from ir.closure import captured, close
from ir.dims import Dim
from ir.graph import Node, Value
from ir.rewrite import retype
from ir.types import TensorType
from ir.walk import nodes_of
from kgraph.backend.math import axes_of
from kgraph.backend.tensor import Tensor, as_value

_STRIDE = 0x1E3779B97F4A7C15  # between the keys of random numbers of two steps; odd

Step = Callable[[list[Value], list[Value]], tuple[list[Value], list[Value]]]


def scan(
    step: Step,
    sequences: Sequence[Value],
    states: Sequence[Value],
    length: Dim,
    reverse: bool = False,
) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    """Stacked outputs and final states of `step(elements, states) -> (outputs, new states)`, called once to be traced.

    Random numbers that `step` asks for are others in each step.
    """
    elements = [b.input_value(TensorType(v.type.dtype, v.shape[1:])) for v in sequences]
    old = [b.input_value(v.type) for v in states]
    before = b.serial()
    outputs, new = step(elements, old)
    results = [*outputs, *new]
    extra = _RandomPerStep(results, before, length)
    results, keys, sequences = extra.results, extra.keys, [*sequences, *extra.sequences]
    bound = [*elements, *keys, *old]
    constants = captured(results, bound)
    found = b.apply(
        "scan", *sequences, *states, *constants,
        body=close("step", [*bound, *constants], results),
        n_seq=len(sequences), n_state=len(states), length=length, reverse=reverse,
    )  # fmt: skip
    return found[: len(outputs)], found[len(outputs) :]


class _RandomPerStep:
    """`results` with the random numbers made since `before` drawn from another state in each step."""

    def __init__(self, results: Sequence[Value], before: int, length: Dim) -> None:
        self.keys: list[Value] = []
        self.sequences: list[Value] = []
        new: dict[Value, Value] = {}
        key_of: dict[Value, Value] = {}
        for node in nodes_of(results):
            inputs = [new.get(v, v) for v in node.inputs]
            if node.serial > before and node.op.name.startswith("random_"):
                inputs = [self._key(v, key_of, length) for v in inputs]
            if tuple(inputs) != node.inputs:
                with b.origin(node.origin):
                    made: Node = retype(node, tuple(inputs), {})
                new.update(zip(node.outputs, made.outputs, strict=True))
        self.results = [new.get(v, v) for v in results]

    def _key(self, state: Value, known: dict[Value, Value], length: Dim) -> Value:
        if state not in known:
            steps = b.add(b.apply1("iota", size=length, dtype=dtypes.u64), 1)
            moved = b.reshape(b.mul(steps, _STRIDE), (length, 1))
            keys = b.concatenate([moved, b.full((length, 1), 0, dtypes.u64)], 1)
            self.sequences.append(b.add(b.reshape(state, (1, 2)), keys))
            known[state] = b.input_value(state.type)
            self.keys.append(known[state])
        return known[state]


# Recurrent networks


def rnn(
    step_function: Callable[[Tensor, list[Tensor]], tuple[Any, Any]],
    inputs: Any,
    initial_states: Sequence[Any],
    go_backwards: bool = False,
    mask: Any = None,
    constants: Sequence[Any] | None = None,
    unroll: bool = False,
    input_length: int | None = None,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Runs `step_function(input, states + constants) -> (output, new states)` over the time axis.

    # Arguments
        inputs: a tensor `(samples, time, ...)`.
        initial_states: tensors `(samples, ...)`, of the shapes of the new states.
        go_backwards: whether to go through time backwards; outputs come in the order in which they are computed.
        mask: a tensor `(samples, time)`; where it is 0, states stay and the output is that of the step before.
        constants: tensors handed to each step after the states.
        unroll: whether to write out all steps, of which there must be a known number.
        input_length: not needed; the length is that of `inputs`.

    # Returns
        The last output `(samples, ...)`, all outputs `(samples, time, ...)`, and the final states.
    """
    value = as_value(inputs)
    if value.rank < 3:
        raise ValueError("Input should be at least 3D.")
    if not isinstance(initial_states, (list, tuple)):
        raise TypeError(f"K.rnn takes a list of initial states, got {initial_states!r}")
    sequence = _time_first(value)
    marks = None if mask is None else _mask(mask, value)
    run = _Rnn(step_function, [as_value(s) for s in initial_states], list(constants or []))
    if unroll:
        last, outputs, states = run.unrolled(sequence, marks, go_backwards)
    else:
        last, outputs, states = run.scanned(sequence, marks, go_backwards)
    results = Tensor(last), Tensor(_time_first(outputs)), [Tensor(s) for s in states]
    results[0]._uses_learning_phase = run.uses_phase
    return results


def _time_first(x: Value) -> Value:
    """The first two axes exchanged."""
    return b.transpose(x, (1, 0, *range(2, x.rank)))


def _mask(mask: Any, inputs: Value) -> Value:
    value = b.cast(as_value(mask), dtypes.bool_)
    if value.rank == 3 and value.shape[2] == 1:
        value = b.reshape(value, value.shape[:2])
    if value.rank != 2:
        shape = ", ".join(str(d) for d in value.shape)
        raise ValueError(f"mask should have `shape=(samples, time)`, got ({shape})")
    return b.transpose(value, (1, 0))


def _where(mask: Value, x: Value, y: Value) -> Value:
    """`x` for the samples where `mask` holds, else `y`."""
    return b.select(b.reshape(mask, (*mask.shape, *(1,) * (x.rank - 1))), x, y)


class _Rnn:
    def __init__(self, step_function: Callable[..., Any], states: list[Value], constants: list[Any]) -> None:
        self.step_function = step_function
        self.states = states
        self.constants = constants
        self.uses_phase = False

    def step(self, x: Value, states: Sequence[Value]) -> tuple[Value, list[Value]]:
        output, new = self.step_function(Tensor(x), [*(Tensor(s) for s in states), *self.constants])
        self.uses_phase |= bool(getattr(output, "_uses_learning_phase", False))
        if len(new) != len(states):
            raise ValueError(f"K.rnn: the step function took {len(states)} states and returned {len(new)}")
        return as_value(output), [as_value(s) for s in new]

    def unrolled(self, x: Value, mask: Value | None, backwards: bool) -> tuple[Value, Value, list[Value]]:
        length = x.shape[0]
        if not isinstance(length, int) or not length:
            raise ValueError("Unrolling requires a fixed number of timesteps.")
        states = self.states
        outputs: list[Value] = []
        for t in reversed(range(length)) if backwards else range(length):
            output, new = self.step(_element(x, t), states)
            if mask is not None:
                mask_t = _element(mask, t)
                output = _where(mask_t, output, outputs[-1] if outputs else b.zeros_like(output))
                new = [_where(mask_t, s, old) for s, old in zip(new, states, strict=True)]
            states = new
            outputs.append(output)
        stacked = b.concatenate([b.reshape(y, (1, *y.shape)) for y in outputs], 0)
        return outputs[-1], stacked, states

    def scanned(self, x: Value, mask: Value | None, backwards: bool) -> tuple[Value, Value, list[Value]]:
        # A call outside of the loop: what a step function makes once and keeps (masks of dropout, say) is the same in
        # all steps. It also tells the shape of outputs.
        first, _ = self.step(_element(x, 0), self.states)
        last = len(self.states)  # the state that holds the last output

        def step(elements: list[Value], states: list[Value]) -> tuple[list[Value], list[Value]]:
            nonlocal last
            old = states[:-1]
            output, new = self.step(elements[0], old)
            if mask is not None:
                output = _where(elements[1], output, states[-1])
                new = [_where(elements[1], s, o) for s, o in zip(new, old, strict=True)]
            elif output in new:
                last = new.index(output)
            return [output], [*new, output]

        sequences = [x] if mask is None else [x, mask]
        (stacked,), final = scan(step, sequences, [*self.states, b.zeros_like(first)], x.shape[0], backwards)
        if backwards:
            stacked = _reversed(stacked)
        return final[last], stacked, list(final[:-1])


def _element(x: Value, t: int) -> Value:
    """Element number `t` along the first axis."""
    rest = x.shape[1:]
    return b.reshape(b.slice(x, (t, *(0 for _ in rest)), (t + 1, *rest)), rest)


def _reversed(x: Value) -> Value:
    """The first axis in reverse order."""
    rest = x.shape[1:]
    return b.slice(
        x, (x.shape[0] - 1, *(0 for _ in rest)), (-1, *rest), (-1, *(1 for _ in rest))
    )


# Maps and folds


def map_fn(fn: Callable[[Any], Any], elems: Any, name: str | None = None, dtype: Any = None) -> Any:
    """`fn` of each element along the first axis of `elems` (a tensor, or a list of them), stacked.

    `dtype` is that of the results, where they shall have another one than `fn` gives.
    """
    values, single = _elements(elems, "K.map_fn")
    several = False

    def step(elements: list[Value], states: list[Value]) -> tuple[list[Value], list[Value]]:
        nonlocal several
        result = fn(_given(elements, single))
        several = isinstance(result, (list, tuple))
        return [as_value(r) for r in (result if several else [result])], []

    outputs, _ = scan(step, values, [], values[0].shape[0])
    wanted = list(dtype) if isinstance(dtype, (list, tuple)) else [dtype] * len(outputs)
    results = [
        Tensor(y if kind is None else b.cast(y, dtypes.of(kind))) for y, kind in zip(outputs, wanted, strict=True)
    ]
    return results if several else results[0]


def foldl(fn: Callable[[Any, Any], Any], elems: Any, initializer: Any = None, name: str | None = None) -> Any:
    """`fn(total, element)` from the first element along the first axis to the last; `total` starts as `initializer`,
    or as the first element."""
    return _fold(fn, elems, initializer, False, "K.foldl")


def foldr(fn: Callable[[Any, Any], Any], elems: Any, initializer: Any = None, name: str | None = None) -> Any:
    """As `foldl`, from the last element to the first."""
    return _fold(fn, elems, initializer, True, "K.foldr")


def _fold(fn: Callable[[Any, Any], Any], elems: Any, initializer: Any, reverse: bool, what: str) -> Tensor:
    values, single = _elements(elems, what)
    length = values[0].shape[0]
    if initializer is None:
        if not single:
            raise ValueError(f"{what} of a list of tensors needs an initializer")
        (x,) = values
        rest = x.shape[1:]
        at: Dim = length - 1 if reverse else 0
        start = b.reshape(b.slice(x, (at, *(0 for _ in rest)), (at + 1, *rest)), rest)
        low, high = (0, length - 1) if reverse else (1, length)
        values = [b.slice(x, (low, *(0 for _ in rest)), (high, *rest))]
        length = length - 1
    else:
        start = as_value(initializer, values[0].type.dtype)

    def step(elements: list[Value], states: list[Value]) -> tuple[list[Value], list[Value]]:
        return [], [as_value(fn(Tensor(states[0]), _given(elements, single)), start.type.dtype)]

    _, (total,) = scan(step, values, [start], length, reverse)
    return Tensor(total)


def _elements(elems: Any, what: str) -> tuple[list[Value], bool]:
    """The tensors to go through, and whether there is just one."""
    single = not isinstance(elems, (list, tuple))
    values = [as_value(x) for x in ([elems] if single else elems)]
    if not values or any(v.rank < 1 for v in values):
        raise ValueError(f"{what} takes tensors of at least one axis, got {elems!r}")
    return values, single


def _given(elements: Sequence[Value], single: bool) -> Any:
    tensors = [Tensor(v) for v in elements]
    return tensors[0] if single else tensors


def cumsum(x: Any, axis: int = 0) -> Tensor:
    """The sums of all elements along `axis` up to each one."""
    return _cumulative(as_value(x), axis, 0, b.add, "K.cumsum")


def cumprod(x: Any, axis: int = 0) -> Tensor:
    """The products of all elements along `axis` up to each one."""
    return _cumulative(as_value(x), axis, 1, b.mul, "K.cumprod")


def _cumulative(x: Value, axis: int, start: int, combine: Callable[[Value, Value], Value], what: str) -> Tensor:
    (at,) = axes_of(x, axis, what)
    there = (at, *(i for i in range(x.rank) if i != at))
    back = tuple(there.index(i) for i in range(x.rank))
    moved = b.transpose(x, there)

    def step(elements: list[Value], states: list[Value]) -> tuple[list[Value], list[Value]]:
        total = combine(states[0], elements[0])
        return [total], [total]

    (result,), _ = scan(step, [moved], [b.full(moved.shape[1:], start, x.type.dtype)], moved.shape[0])
    return Tensor(b.transpose(result, back))
