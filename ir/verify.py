"""Checks that a graph is well formed: run before and after every pass, and on anything that comes from outside.

It re-runs every type rule, and checks definitions before uses, variables, updates and symbols.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ir import dims
from ir.graph import Graph, Node, Value, Variable
from ir.opdef import TypeRuleError, infer
from ir.ops import OPS
from ir.printer import format_node, value_names


class VerifyError(ValueError):
    """A graph that is not well formed: a mistake in a pass or in whatever built the graph. Names the node."""


def verify(graph: Graph, known: Known | None = None) -> None:
    """Raises VerifyError unless `graph` is well formed, bodies included. `known` remembers what was found well typed,
    for the graph after the next pass."""
    _verify(graph, frozenset(), Known() if known is None else known)


class Known:
    """Nodes that were found well typed, by what their check depends on. Types and attributes (bodies included) are
    immutable, and after a pass most are still the same objects, so they are compared by identity; they are kept, so
    that no other object can take the place of one.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[object, ...], object] = {}

    def __contains__(self, key: tuple[object, ...]) -> bool:
        return key in self._seen

    def add(self, key: tuple[object, ...], node: Node) -> None:
        self._seen[key] = (node.attrs, [v.type for v in (*node.inputs, *node.outputs)])


def _key(node: Node, symbols: frozenset[dims.SymDim]) -> tuple[object, ...]:
    types = [id(v.type) for v in node.inputs] + [id(v.type) for v in node.outputs]
    return (symbols, node.op, id(node.attrs), len(node.inputs), *types)


def _verify(graph: Graph, outer: frozenset[dims.SymDim], known: Known) -> None:
    symbols = outer | frozenset(graph.symbols)
    _check_symbol_names(graph, symbols)
    defined: set[Value] = set()
    for v in graph.inputs:
        if v.producer is not None or v in defined:
            raise _error(graph, f"input {v!r} is {'listed twice' if v in defined else 'computed by a node'}")
        defined.add(v)
    for x in graph.variables:
        if x.value in defined:
            raise _error(graph, f"variable '{x.path}' is listed twice")
        if _symbols_of(x.type.shape):
            raise _error(graph, f"variable '{x.path}' has a shape that is not concrete: {x.type}")
        defined.add(x.value)
    for node in graph.nodes:
        _check_node(graph, node, defined, symbols, known)
        defined.update(node.outputs)
    _check_results(graph, defined)
    _check_conditions(graph, symbols)


def _check_node(
    graph: Graph, node: Node, defined: set[Value], symbols: frozenset[dims.SymDim], known: Known
) -> None:
    if OPS.get(node.op.name) is not node.op:
        raise _error(graph, f"op '{node.op.name}' is not in the table of ops", node)
    for v in node.inputs:
        if v not in defined:
            raise _error(graph, f"operand {_describe(v)} is not defined before it is used", node)
    for i, out in enumerate(node.outputs):
        if out in defined:
            raise _error(graph, "the node stands in the graph twice", node)
        if out.producer is not node or out.index != i:
            raise _error(graph, f"output {i} does not link back to the node", node)
    key = _key(node, symbols)
    if key in known:
        return
    try:
        types, _ = infer(node.op, node.inputs, node.attrs)
    except TypeRuleError as e:
        raise _error(graph, str(e), node) from e
    declared = tuple(o.type for o in node.outputs)
    if types != declared:
        is_now, rule = (", ".join(map(str, ts)) for ts in (declared, types))
        raise _error(graph, f"its type is {is_now}, but the type rule gives {rule}", node)
    unknown = (_symbols_of(d for t in declared for d in t.shape) | _symbols_of(node.attrs.values())) - symbols
    if unknown:
        raise _error(graph, f"symbol {min(s.name for s in unknown)} is not a size of any input", node)
    for v in node.attrs.values():
        if isinstance(v, Graph):
            _verify(v, symbols, known)
    known.add(key, node)


def _check_results(graph: Graph, defined: set[Value]) -> None:
    for v in graph.outputs:
        if v not in defined:
            raise _error(graph, f"output {_describe(v)} is not defined in the graph")
    listed = set(graph.variables)
    updated: set[Variable] = set()
    for u in graph.updates:
        x = u.variable
        if x not in listed:
            raise _error(graph, f"variable '{x.path}' is updated but not listed")
        if x in updated:
            raise _error(graph, f"variable '{x.path}' is updated twice")
        if u.value not in defined:
            raise _error(graph, f"the update of '{x.path}', {_describe(u.value)}, is not defined in the graph")
        if u.value.type != x.type:
            problem = f"the update of '{x.path}' is {u.value.type}, but the variable is {x.type}"
            raise _error(graph, problem, u.value.node)
        updated.add(x)


def _check_conditions(graph: Graph, symbols: frozenset[dims.SymDim]) -> None:
    for g in graph.guards:
        if not (0 <= g.input < len(graph.inputs) and 0 <= g.axis < graph.inputs[g.input].rank):
            raise _error(graph, f"guard on axis {g.axis} of input number {g.input}, which does not exist")
    mentioned: list[Any] = [g.dim for g in graph.guards]
    mentioned += [d for c in graph.checks for d in (c.left, c.right)]
    unknown = _symbols_of(mentioned) - symbols
    if unknown:
        raise _error(graph, f"a guard or check mentions {min(s.name for s in unknown)}, not a size of any input")


def _check_symbol_names(graph: Graph, symbols: frozenset[dims.SymDim]) -> None:
    names = [s.name for s in symbols]
    for s in symbols:
        if not s.name.isidentifier() or names.count(s.name) > 1:
            raise _error(graph, f"{'two symbols are' if s.name.isidentifier() else 'a symbol is'} called {s.name!r}")


def _symbols_of(values: Iterable[Any]) -> set[dims.SymDim]:
    """The symbols in dims and in tuples of dims; other things have none."""
    out: set[dims.SymDim] = set()
    for v in values:
        if isinstance(v, tuple):
            out |= _symbols_of(v)
        elif isinstance(v, (dims.SymDim, dims.DimExpr)):
            out |= dims.symbols(v)
    return out


def _describe(v: Value) -> str:
    if isinstance(v.producer, Variable):
        return f"variable '{v.producer.path}'"
    return f"%{v.name} : {v.type}" if v.name else f"of type {v.type}"


def _error(graph: Graph, problem: str, node: Node | None = None) -> VerifyError:
    where = "" if node is None else f"\n  {node.op.name}: {format_node(node, value_names(graph))}"
    return VerifyError(f"graph '{graph.name}': {problem}{where}")
