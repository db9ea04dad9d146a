"""Extracting a graph from free-floating outputs and updates.

Here the symbols that met while the values were built are unified, dims are substituted and type rules run again;
several updates of one variable are composed. Before it come the Keras backend and `autodiff.py`, after it the passes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from ir import dims
from ir.dims import Dim, SymDim
from ir.graph import Check, Constraint, Graph, Guard, Node, Update, Value, Variable
from ir.opdef import TypeRuleError
from ir.rewrite import assemble, retype
from ir.types import symbols
from ir.walk import leaves_of, nodes_of


@dataclass(frozen=True, eq=False)
class Assign:
    """The variable takes `value`, whatever it held."""

    variable: Variable
    value: Value


@dataclass(frozen=True, eq=False)
class Increment:
    """The variable takes `step(old)`; several increments of one variable compose in order."""

    variable: Variable
    step: Callable[[Value], Value]


class ExtractError(ValueError):
    """The outputs cannot be computed from the inputs, or the updates contradict each other."""


def compose_updates(updates: Sequence[Assign | Increment]) -> list[Update]:
    """One update per variable, in order of first appearance."""
    assigned: set[Variable] = set()
    current: dict[Variable, Value] = {}
    for u in updates:
        if isinstance(u, Assign) and current.get(u.variable) is u.value:
            continue
        if u.variable in assigned or (isinstance(u, Assign) and u.variable in current):
            raise ExtractError(
                f"variable {u.variable.path} is assigned twice in one run; use K.update_add for updates that accumulate"
            )
        if isinstance(u, Assign):
            assigned.add(u.variable)
            current[u.variable] = u.value
        else:
            current[u.variable] = u.step(current.get(u.variable, u.variable.value))
    return [Update(v, x) for v, x in current.items()]


def extract(
    name: str,
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    updates: Sequence[Assign | Increment] = (),
    when_read: Iterable[Assign] = (),
    ones: Collection[SymDim] = (),
) -> Graph:
    """The graph that computes `outputs` and `updates` from `inputs`.

    `when_read` are updates that happen only if the graph reads their variable (random state). `ones` are symbols of
    `inputs` to take as 1 (see `Guard`). Raises ExtractError where a needed input is missing, where updates contradict
    each other, or where sizes that met cannot agree.
    """
    composed = compose_updates(updates)
    results = [*outputs, *(u.value for u in composed)]
    nodes = nodes_of(results)
    free, read = leaves_of(results, nodes)
    updated = {u.variable for u in composed}
    for a in when_read:
        # A state that the caller writes itself is not advanced on top of that.
        if a.variable in read and a.variable not in updated:
            composed.append(Update(a.variable, a.value))
            results.append(a.value)
    nodes = nodes_of(results)
    known = set(inputs)
    missing = [v for v in free if v not in known]
    if missing:
        needed = ", ".join(repr(v.name or str(v.type)) for v in missing)
        raise ExtractError(f"{name}: the outputs depend on {needed}, which was not given as an input")

    unifier = _Unifier(inputs, ones)
    for node in nodes:
        for c in node.constraints:
            unifier.add(c, node)
    env = unifier.solution()
    new: dict[Value, Value] = {v: Value(v.type.substitute(env), None, 0, v.name) for v in inputs}
    checks: dict[Check, None] = {}
    widened: set[SymDim] = set()
    for node in nodes:
        fresh = _retype(node, tuple(new.get(v, v) for v in node.inputs), env, widened)
        for c in fresh.constraints:
            checks.setdefault(Check(c.left, c.right, c.what))
        new.update(zip(node.outputs, fresh.outputs, strict=True))
        widened |= _widened(node, fresh, env)
    return assemble(
        name,
        [new[v] for v in inputs],
        [new.get(v, v) for v in outputs],
        [Update(u.variable, new.get(u.value, u.value)) for u in composed],
        unifier.guards(env),
        list(checks),
    )


def _retype(node: Node, inputs: tuple[Value, ...], env: dict[SymDim, Dim], widened: Collection[SymDim]) -> Node:
    """`node` over the graph's own values. `widened` are symbols that stand for 1 in the inputs, yet for another size in
    results that were broadcast since."""
    where = f" in {'/'.join(node.origin)}" if node.origin else ""
    if any(s in widened for s in _symbols_of(node.attrs.values())):
        # In an attribute such a symbol could mean either size.
        raise ExtractError(
            f"{node.op.name}{where}: a size that is 1 in one input and broadcasts against another is needed as a "
            "number here; give that input the size of the other"
        )
    try:
        return retype(node, inputs, env)
    except TypeRuleError as e:
        raise ExtractError(f"{e}{where}") from e


def _widened(node: Node, fresh: Node, env: dict[SymDim, Dim]) -> set[SymDim]:
    """The symbols of dims of `node`'s results that did not become what `env` says."""
    found: set[SymDim] = set()
    for old, new in zip(node.outputs, fresh.outputs, strict=True):
        for d, size in zip(old.shape, new.shape, strict=True):
            if dims.substitute(d, env) == 1 != size:
                found |= dims.symbols(d)
    return found


def _symbols_of(attrs: Iterable[object]) -> set[SymDim]:
    found: set[SymDim] = set()
    for v in attrs:
        if isinstance(v, tuple):
            found |= _symbols_of(v)
        elif isinstance(v, (SymDim, dims.DimExpr)):
            found |= dims.symbols(v)
    return found


class _Unifier:
    """Solves the constraints between dims by substitution: an unknown dim that met another becomes that other."""

    def __init__(self, inputs: Sequence[Value], ones: Collection[SymDim]) -> None:
        self.inputs = inputs
        self.order = {s: i for i, s in enumerate(symbols(v.type for v in inputs))}
        self.env: dict[SymDim, Dim] = {s: 1 for s in ones}
        self.may_be_one: set[SymDim] = set()

    def resolve(self, d: Dim) -> Dim:
        while True:
            new = dims.substitute(d, self.env)
            if new == d:
                return d
            d = new

    def add(self, c: Constraint, node: Node) -> None:
        a, b = self.resolve(c.left), self.resolve(c.right)
        if a == b or (c.broadcast and (a == 1 or b == 1)):
            return
        if isinstance(a, int) and isinstance(b, int):
            where = f" in {'/'.join(node.origin)}" if node.origin else ""
            raise ExtractError(f"{c.what}{where}: sizes {a} and {b} must agree")
        if isinstance(a, SymDim) and isinstance(b, SymDim):
            old, rep = (a, b) if self.order.get(a, 0) > self.order.get(b, 0) else (b, a)
            self._bind(old, rep, c.broadcast)
            if c.broadcast:  # either of the two may be 1
                self.may_be_one.add(rep)
        elif isinstance(a, SymDim) and a not in dims.symbols(b):
            self._bind(a, b, c.broadcast)
        elif isinstance(b, SymDim) and b not in dims.symbols(a):
            self._bind(b, a, c.broadcast)

    def _bind(self, s: SymDim, d: Dim, broadcast: bool) -> None:
        self.env[s] = d
        if broadcast:
            self.may_be_one.add(s)

    def solution(self) -> dict[SymDim, Dim]:
        """A dim for every symbol of the inputs: symbols that remain get names of their own within the graph."""
        used: set[str] = set()
        named: dict[SymDim, Dim] = {}
        for s in self.order:
            if s not in self.env:
                name, n = s.name, 0
                while name in used:
                    n += 1
                    name = f"{s.name}_{n}"
                used.add(name)
                named[s] = SymDim(name)
        resolved = {s: dims.substitute(self.resolve(d), named) for s, d in self.env.items()}
        return {**named, **resolved}

    def guards(self, env: dict[SymDim, Dim]) -> list[Guard]:
        return [
            Guard(i, axis, env[d])
            for i, v in enumerate(self.inputs)
            for axis, d in enumerate(v.type.shape)
            if isinstance(d, SymDim) and d in self.may_be_one
        ]
