"""Binding sizes: from the shapes that a user feeds to the value of each symbol of a graph.

Before it comes an extracted graph; after it the interpreter or a compiled program runs with every dim known. All
checks on what a user feeds are here, so that bad input gets one kind of error whatever runs the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ir import dims
from ir.dims import Dim, SymDim
from ir.graph import Graph, Value

_Source = tuple[int, int]  # the input and axis that gave a symbol its size


class SizeError(ValueError):
    """Fed arrays do not fit the graph: a wrong number, dtype, rank or size. The message names the inputs."""


class NeedsSpecialization(Exception):
    """Guarded axes have size 1 where the graph assumed another size: specialise the graph for 1 there and bind again.

    Not an error for users. `inputs_axes` lists (input number, axis) pairs.
    """

    def __init__(self, inputs_axes: Sequence[tuple[int, int]]) -> None:
        self.inputs_axes = tuple(inputs_axes)
        super().__init__(f"axes of size 1 that need another graph: {self.inputs_axes}")


def bind_inputs(graph: Graph, arrays: Sequence[np.ndarray]) -> dict[SymDim, int]:
    """`check_dtypes`, then `bind_sizes` for the shapes of `arrays`."""
    check_count(graph, len(arrays))
    check_dtypes(graph, arrays)
    return bind_sizes(graph, [a.shape for a in arrays])


def check_count(graph: Graph, count: int) -> None:
    """Raises SizeError unless `count` arrays are fed for as many inputs."""
    if count != len(graph.inputs):
        raise SizeError(f"graph '{graph.name}' takes {len(graph.inputs)} inputs, got {count}")


def check_dtypes(graph: Graph, arrays: Sequence[np.ndarray]) -> None:
    """Raises SizeError where an array's dtype is not its input's."""
    for i, (v, a) in enumerate(zip(graph.inputs, arrays, strict=True)):
        if a.dtype != v.type.dtype.numpy:
            raise SizeError(f"{input_name(v, i)} takes dtype {v.type.dtype.name}, got {a.dtype.name}")


def bind_sizes(graph: Graph, shapes: Sequence[tuple[int, ...]]) -> dict[SymDim, int]:
    """The size of each symbol, given the shape fed to each input.

    A symbol takes its size from the first axis that is just that symbol; an axis under a guard decides only where no
    other does, since it may also be 1. Every other axis, guard and check is then verified.
    Raises SizeError, or NeedsSpecialization where a guarded axis is 1 and the graph assumed otherwise.
    """
    check_count(graph, len(shapes))
    _check_ranks(graph, shapes)
    sources = _sources(graph, shapes)
    env = {s: shapes[i][axis] for s, (i, axis) in sources.items()}
    _check_known(graph, env)
    guards = {(g.input, g.axis): g.dim for g in graph.guards}
    ones = []
    for i, axis, dim in _axes(graph):
        guarded = (i, axis) in guards
        expected = dims.bind(guards.get((i, axis), dim), env)
        size = shapes[i][axis]
        if size != expected:
            if not (guarded and size == 1):
                raise SizeError(_disagreement(graph, shapes, sources, (i, axis), dim, expected))
            ones.append((i, axis))
    for check in graph.checks:
        left, right = dims.bind(check.left, env), dims.bind(check.right, env)
        if left != right:
            where = _where(graph, env, sources, (check.left, check.right))
            raise SizeError(f"{check.what}: sizes {left} and {right} must agree{where}")
    if ones:
        raise NeedsSpecialization(ones)
    return env


def input_name(v: Value, number: int) -> str:
    """How messages call input number `number`."""
    return f"input '{v.name}'" if v.name else f"input number {number}"


def _axes(graph: Graph) -> Iterator[tuple[int, int, Dim]]:
    for i, v in enumerate(graph.inputs):
        for axis, dim in enumerate(v.shape):
            yield i, axis, dim


def _check_ranks(graph: Graph, shapes: Sequence[tuple[int, ...]]) -> None:
    for i, (v, shape) in enumerate(zip(graph.inputs, shapes, strict=True)):
        if len(shape) != v.rank:
            raise SizeError(
                f"{input_name(v, i)} takes {v.rank} dimensions, shape {_format_shape(v.shape)}; "
                f"got {len(shape)}, shape {tuple(shape)}"
            )


def _format_shape(shape: tuple[Dim, ...]) -> str:
    return "(" + ", ".join(dims.format_dim(d) for d in shape) + ("," if len(shape) == 1 else "") + ")"


def _sources(graph: Graph, shapes: Sequence[tuple[int, ...]]) -> dict[SymDim, _Source]:
    guarded = {(g.input, g.axis) for g in graph.guards}
    plain = [(i, axis, d) for i, axis, d in _axes(graph) if isinstance(d, SymDim)]
    # Later groups decide only where earlier ones are silent: guarded axes last, and among those the ones of size 1.
    groups = sorted(plain, key=lambda p: 0 if p[:2] not in guarded else 1 if shapes[p[0]][p[1]] != 1 else 2)
    sources: dict[SymDim, _Source] = {}
    for i, axis, symbol in groups:
        sources.setdefault(symbol, (i, axis))
    return sources


def _check_known(graph: Graph, env: dict[SymDim, int]) -> None:
    for symbol in graph.symbols:
        if symbol not in env:
            raise SizeError(f"graph '{graph.name}': no input has an axis of size {symbol}, so it cannot be determined")


def _disagreement(
    graph: Graph,
    shapes: Sequence[tuple[int, ...]],
    sources: dict[SymDim, _Source],
    at: _Source,
    dim: Dim,
    expected: int,
) -> str:
    i, axis = at
    text = f"{input_name(graph.inputs[i], i)} has size {shapes[i][axis]} along axis {axis}"
    if isinstance(dim, SymDim):
        j, other = sources[dim]
        there = "there" if other == axis else f"along axis {other}"
        return f"{text}, but {input_name(graph.inputs[j], j)} has size {expected} {there}: they must agree"
    if isinstance(dim, int):
        return f"{text}, expected {dim}"
    env = {s: shapes[j][a] for s, (j, a) in sources.items()}
    return f"{text}, expected {dim} = {expected}{_where(graph, env, sources, (dim,))}"


def _where(graph: Graph, env: dict[SymDim, int], sources: dict[SymDim, _Source], of: Sequence[Dim]) -> str:
    """` (B is 4: axis 0 of input 'a')` for the symbols of some dims."""
    found = sorted({s for d in of for s in dims.symbols(d)}, key=lambda s: s.name)
    parts = []
    for s in found:
        i, axis = sources[s]
        parts.append(f"{s} is {env[s]}: axis {axis} of {input_name(graph.inputs[i], i)}")
    return f" ({'; '.join(parts)})" if parts else ""
