"""Checking mode: runs a graph before and after a pass on random inputs and names the first node that differs.

Used by the pass manager under `KGRAPH_CHECK=1`, and by tests. It is slow: graphs run in the interpreter.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from ir import dims
from ir.dims import SymDim
from ir.graph import Graph, Node, Value, Variable
from ir.interpreter import EvaluationError, trace
from ir.opdef import Array
from ir.passes.specialize import is_phase
from ir.printer import format_node, value_names

_TOLERANCE = {"float16": 1e-2, "float32": 1e-4, "float64": 1e-9}  # of the largest magnitude in the tensor
_TRIES = 300  # bindings of sizes tried until one suits the graph
_Table = Mapping[Value, Array]


class CheckError(AssertionError):
    """A pass changed what a graph computes; the message names the pass and the first node that differs."""


def check_pass(name: str, run: Callable[[Graph], Graph], before: Graph, after: Graph) -> None:
    """Raises CheckError if `after`, which pass `run` made of `before`, computes something else.

    Sizes are small and awkward, integers 0 or 1, and floats of both signs first and then positive. A pass that fixes
    the learning phase is a `partial` that says which: `partial(specialize, phase=1)`.
    """
    env = choose_sizes(before)
    if env is None:
        return
    phase = run.keywords.get("phase") if isinstance(run, partial) else None
    for seed, low in enumerate((-1.0, 0.1)):
        inputs, variables, old = _run_before(before, env, phase, np.random.default_rng(seed), low)
        kept = _inputs_after(before, after, inputs)
        new = {**{x.value: a for x, a in variables.items()}, **trace(after, kept, variables)}
        # The gradient of a branch that is not taken disappears when the phase is fixed, and with it what NaN it was.
        _compare(name, before, after, old, new, skip_nan=phase is not None)


def choose_sizes(graph: Graph) -> dict[SymDim, int] | None:
    """Sizes for the symbols: all checks hold and no dim is less than 1. None where no such sizes are found."""
    shapes = [v.shape for v in graph.inputs] + [o.shape for n in graph.nodes for o in n.outputs]
    needed = {d for shape in shapes for d in shape if not isinstance(d, int)}
    rng = np.random.default_rng(0)
    for candidate in itertools.islice(_candidates(len(graph.symbols), rng), _TRIES):
        env = dict(zip(graph.symbols, candidate, strict=True))
        try:
            sizes_fit = all(dims.bind(d, env) >= 1 for d in needed)
            checks_hold = all(dims.bind(c.left, env) == dims.bind(c.right, env) for c in graph.checks)
        except ZeroDivisionError:
            continue
        if sizes_fit and checks_hold:
            return env
    return None


def _candidates(count: int, rng: np.random.Generator) -> Iterator[tuple[int, ...]]:
    for primes in ((3, 5, 2, 7), (11, 13, 7, 17), (33, 37, 35, 41)):
        yield tuple(itertools.islice(itertools.cycle(primes), count))
    for size in (2, 3, 4, 8, 16, 32, 64):
        yield (size,) * count
    while True:
        yield tuple(int(x) for x in rng.integers(2, int(rng.choice((6, 12, 48))), size=count))


def _run_before(
    graph: Graph, env: Mapping[SymDim, int], phase: int | None, rng: np.random.Generator, low: float
) -> tuple[list[Array], dict[Variable, Array], _Table]:
    inputs = [_random(v.type.dtype.numpy, v.type.bind(env), rng, low) for v in graph.inputs]
    if phase is not None:
        inputs = [np.array(bool(phase)) if is_phase(v) else a for v, a in zip(graph.inputs, inputs, strict=True)]
    variables = {x: _random(x.type.dtype.numpy, x.type.bind({}), rng, low) for x in graph.variables}
    try:
        return inputs, variables, trace(graph, inputs, variables)
    except EvaluationError:  # an axis of size 1 may be indexed: only 0 is always in range
        inputs = [np.zeros_like(a) if a.dtype.kind in "iu" else a for a in inputs]
        return inputs, variables, trace(graph, inputs, variables)


def _random(dtype: np.dtype, shape: tuple[int, ...], rng: np.random.Generator, low: float) -> Array:
    if dtype.kind == "f":
        return np.asarray(rng.uniform(low, 1.0, shape)).astype(dtype)
    return np.asarray(rng.integers(0, 2, shape)).astype(dtype)


def _inputs_after(before: Graph, after: Graph, inputs: list[Array]) -> list[Array]:
    """The inputs that `after` still has: all but the phase, perhaps."""
    if len(after.inputs) == len(before.inputs):
        return inputs
    return [a for v, a in zip(before.inputs, inputs, strict=True) if not is_phase(v)]


def _compare(name: str, before: Graph, after: Graph, old: _Table, new: _Table, skip_nan: bool) -> None:
    changed = {u.variable: u.value for u in after.updates}
    pairs = [(f"output {i}", o, n) for i, (o, n) in enumerate(zip(before.outputs, after.outputs, strict=True))]
    for u in before.updates:
        if skip_nan and u.variable not in changed and u.value.node and u.value.node.op.name == "random_advance":
            continue  # a random state that is not read once the phase is fixed stays as it is
        # An update that is gone left its variable as it was.
        pairs.append((f"the update of '{u.variable.path}'", u.value, changed.get(u.variable, u.variable.value)))
    for what, o, n in pairs:
        if skip_nan and np.isnan(old[o]).any():
            continue
        if not agree(old[o], new[n]):
            raise CheckError(
                f"pass '{name}' changed what graph '{before.name}' computes: {what} differs by up to "
                f"{_difference(old[o], new[n])}{_first_difference(before, after, old, new)}"
            )


def agree(a: Array, b: Array) -> bool:
    """Equal, up to rounding for floats; NaN equals NaN."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    finite = np.abs(a[np.isfinite(a)].astype(np.float64))
    tolerance = _TOLERANCE[a.dtype.name] * float(finite.max(initial=1e-3))
    return bool(np.allclose(a.astype(np.float64), b.astype(np.float64), rtol=0.0, atol=tolerance, equal_nan=True))


def _difference(a: Array, b: Array) -> str:
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"its type: {a.dtype.name}{a.shape} became {b.dtype.name}{b.shape}"
    with np.errstate(all="ignore"):
        return str(np.nanmax(np.abs(a.astype(np.float64) - b.astype(np.float64)), initial=0.0))


def _first_difference(before: Graph, after: Graph, old: _Table, new: _Table) -> str:
    """The first node of `after` that stands for nodes of `before` and agrees with none of them."""
    counterparts: dict[object, list[Node]] = {}
    for node in before.nodes:
        counterparts.setdefault(_likeness(node), []).append(node)
    for node in after.nodes:
        alike = counterparts.get(_likeness(node), [])
        if alike and not any(_nodes_agree(node, other, old, new) for other in alike):
            return f"\n  first node that differs: {format_node(node, value_names(after))}"
    return ""


def _likeness(node: Node) -> object:
    return node.op.name, node.origin, tuple((o.name, o.type) for o in node.outputs)


def _nodes_agree(node: Node, other: Node, old: _Table, new: _Table) -> bool:
    return all(agree(old[o], new[n]) for o, n in zip(other.outputs, node.outputs, strict=True))
