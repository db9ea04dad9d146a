"""The meaning of the IR: runs graphs and free-floating values by the ops' numpy references, slowly.

Everything else (passes, compiled programs) is tested against it. Before it comes `binding.py`, which finds the sizes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from ir import dims
from ir.binding import SizeError, bind_inputs
from ir.dims import SymDim
from ir.graph import Graph, Node, Value, Variable
from ir.opdef import Array
from ir.walk import leaves_of, nodes_of


class EvaluationError(RuntimeError):
    """An op's reference failed, or gave another type than its type rule said; the message names the node."""


def run(
    graph: Graph, inputs: Sequence[Array], variables: Mapping[Variable, Array]
) -> tuple[list[Array], dict[Variable, Array]]:
    """One run of `graph`: its outputs, and the new values of the variables that it updates.

    Every read of a variable sees its old value; updates come together at the end. Results are fresh arrays.
    Raises SizeError where inputs do not fit, NeedsSpecialization (see `binding.py`) and EvaluationError.
    """
    table, env = _bind(graph, inputs, variables)
    _run_nodes(graph.nodes, table, env, keep=graph.results, check=True)
    outputs = [np.array(table[v]) for v in graph.outputs]
    return outputs, {u.variable: np.array(table[u.value]) for u in graph.updates}


def trace(graph: Graph, inputs: Sequence[Array], variables: Mapping[Variable, Array]) -> dict[Value, Array]:
    """Every value of a run, intermediate ones included."""
    table, env = _bind(graph, inputs, variables)
    _run_nodes(graph.nodes, table, env, keep=None, check=True)
    return table


def evaluate(values: Sequence[Value], feeds: Mapping[Value, Array]) -> list[Array]:
    """Evaluates free-floating values. `feeds` gives the content of the inputs and of the variables' values (any other
    value may be fed too, and then replaces what computes it).

    Symbols are bound from the feeds' shapes. Raises SizeError where these disagree or something needed is not fed.
    """
    table = {v: np.asarray(a) for v, a in feeds.items()}
    env = _bind_feeds(table)
    nodes = nodes_of(values, table)
    free, read = leaves_of(values, nodes)
    for v in (*free, *(x.value for x in read)):
        if v not in table:
            raise SizeError(f"{_name(v)} ({v.type}) is needed but was not fed")
    _run_nodes(nodes, table, env, keep=frozenset(values), check=False)
    return [np.array(table[v]) for v in values]


def _bind(
    graph: Graph, inputs: Sequence[Array], variables: Mapping[Variable, Array]
) -> tuple[dict[Value, Array], dict[SymDim, int]]:
    """The content of inputs and variables, and the sizes of the symbols."""
    arrays = [np.asarray(a) for a in inputs]
    env = bind_inputs(graph, arrays)
    table: dict[Value, Array] = dict(zip(graph.inputs, arrays, strict=True))
    for variable in graph.variables:
        table[variable.value] = _variable_content(variable, variables)
    return table, env


def _name(v: Value) -> str:
    return f"variable '{v.producer.path}'" if isinstance(v.producer, Variable) else f"input '{v.name}'"


def _variable_content(variable: Variable, variables: Mapping[Variable, Array]) -> Array:
    if variable not in variables:
        raise SizeError(f"variable '{variable.path}' ({variable.type}) is needed but was not fed")
    array = np.asarray(variables[variable])
    if array.shape != variable.type.shape or array.dtype != variable.type.dtype.numpy:
        raise SizeError(f"variable '{variable.path}' is {variable.type}, got {array.dtype.name} of shape {array.shape}")
    return array


def _bind_feeds(feeds: Mapping[Value, Array]) -> dict[SymDim, int]:
    env: dict[SymDim, int] = {}
    first: dict[SymDim, Value] = {}
    for v, a in feeds.items():
        if a.dtype != v.type.dtype.numpy:
            raise SizeError(f"{_name(v)} takes dtype {v.type.dtype.name}, got {a.dtype.name}")
        if a.ndim != v.rank:
            raise SizeError(f"{_name(v)} takes {v.rank} dimensions ({v.type}), got shape {a.shape}")
        for axis, (dim, size) in enumerate(zip(v.shape, a.shape, strict=True)):
            if isinstance(dim, SymDim) and env.setdefault(dim, size) != size:
                raise SizeError(
                    f"{_name(v)} has size {size} along axis {axis}, but {_name(first[dim])} has size "
                    f"{env[dim]} for the same dimension {dim}: they must agree"
                )
            if isinstance(dim, SymDim):
                first.setdefault(dim, v)
            elif isinstance(dim, int) and dim != size:
                raise SizeError(f"{_name(v)} has size {size} along axis {axis}, expected {dim}")
    return env


def _run_nodes(
    nodes: Sequence[Node],
    table: dict[Value, Array],
    env: Mapping[SymDim, int],
    keep: frozenset[Value] | None,
    check: bool,
) -> None:
    """Runs `nodes` in order, filling `table`. Values outside `keep` are dropped after their last use (None: kept)."""
    left = Counter(v for n in nodes for v in n.inputs)
    for node in nodes:
        results = _run_node(node, [table[v] for v in node.inputs], env)
        if node.op.host:
            env = {**env, **_sizes_told(node, results)}
        if check:
            _check_results(node, results, env)
        for out, result in zip(node.outputs, results, strict=True):
            table.setdefault(out, result)  # a value that was fed stays as fed
        if keep is None:
            continue
        for v in node.inputs:
            left[v] -= 1
            if not left[v] and v not in keep:
                del table[v]


def _run_node(node: Node, inputs: list[Array], env: Mapping[SymDim, int]) -> tuple[Array, ...]:
    try:
        return tuple(np.asarray(r) for r in node.op.reference(inputs, node.attrs.substitute(env)))
    except Exception as e:
        shapes = ", ".join(f"{a.dtype.name}{a.shape}" for a in inputs)
        raise EvaluationError(f"{describe(node)} failed on {shapes}: {type(e).__name__}: {e}") from e


def _sizes_told(node: Node, results: tuple[Array, ...]) -> dict[SymDim, int]:
    """The sizes of the symbols that only the content of operands decides."""
    pairs = [p for v, a in zip(node.outputs, results, strict=True) for p in zip(v.shape, a.shape, strict=True)]
    return {d: size for d, size in pairs if d in node.attrs["sizes"] and isinstance(d, SymDim)}


def _check_results(node: Node, results: tuple[Array, ...], env: Mapping[SymDim, int]) -> None:
    for out, array in zip(node.outputs, results, strict=True):
        shape = tuple(dims.bind(d, env) for d in out.shape)
        if array.shape != shape or array.dtype != out.type.dtype.numpy:
            raise EvaluationError(
                f"{describe(node)} gave {array.dtype.name}{array.shape}, but its type is {out.type}, here {shape}"
            )


def describe(node: Node) -> str:
    """How messages call a node: its op and the layers it comes from."""
    return f"op {node.op.name}" + (f" of {', '.join(node.origin)}" if node.origin else "")
