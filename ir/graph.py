"""Values, nodes, variables and graphs.

Keras builds tensors before any model exists, so values and nodes float freely: a value links to its producer and
nothing links forward. A `Graph` is extracted from outputs and updates (`extract.py`); it is what Keras calls
`K.function(inputs, outputs, updates)`: pure, topological by construction, state entering as variables and leaving as
updates. Everything here is immutable; passes build new graphs (`rewrite.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ir import dims
from ir.dims import Dim, Env
from ir.types import TensorType

if TYPE_CHECKING:
    from ir.opdef import Op

_serial = itertools.count()


class Attrs(Mapping[str, Any]):
    """A frozen, hashable mapping of attribute names to bool, int, float, str, DType, dim, Graph or tuples of these."""

    __slots__ = ("_items", "_hash")

    def __init__(self, items: Mapping[str, Any] | None = None) -> None:
        self._items = {k: freeze(v) for k, v in sorted((items or {}).items())}
        self._hash: int | None = None

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    # What `Mapping` would do through the three above, in a hot path of building and verifying.

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def keys(self) -> KeysView[str]:
        return self._items.keys()

    def values(self) -> ValuesView[Any]:
        return self._items.values()

    def items(self) -> ItemsView[str, Any]:
        return self._items.items()

    def signature(self) -> tuple[Any, ...]:
        """A key that tells 0 from 0.0 and from False, and treats NaN as equal to itself."""
        return tuple((k, _exact(v)) for k, v in self._items.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Attrs) and self.signature() == other.signature()

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(self.signature())
        return self._hash

    def substitute(self, env: Env) -> Attrs:
        """These attributes with symbols in dims replaced."""
        return Attrs({k: _substitute(v, env) for k, v in self._items.items()}) if env else self

    def updated(self, **changes: Any) -> Attrs:
        return Attrs({**self._items, **changes})

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{k}={v!r}" for k, v in self._items.items()) + "}"


def freeze(v: Any) -> Any:
    return tuple(freeze(x) for x in v) if isinstance(v, (list, tuple)) else v


def _exact(v: Any) -> Any:
    if isinstance(v, tuple):
        return tuple(_exact(x) for x in v)
    if isinstance(v, float):
        return ("float", v.hex() if v == v else "nan")
    return (type(v).__name__, v)


def _substitute(v: Any, env: Env) -> Any:
    if isinstance(v, tuple):
        return tuple(_substitute(x, env) for x in v)
    if isinstance(v, (dims.SymDim, dims.DimExpr)):
        return dims.substitute(v, env)
    if isinstance(v, Graph):
        return v.substitute(env)
    return v


class Value:
    """One tensor: the output `index` of `producer`, a variable's content, or (producer None) an input.

    Values compare by identity. `node` is the node that computes the value, None for inputs and variables. `name` is a
    hint for the text form.
    """

    __slots__ = ("type", "producer", "node", "index", "name", "__weakref__")

    def __init__(
        self, type: TensorType, producer: Node | Variable | None = None, index: int = 0, name: str | None = None
    ) -> None:
        self.type = type
        self.producer = producer
        self.node = producer if isinstance(producer, Node) else None
        self.index = index
        self.name = name

    @property
    def shape(self) -> tuple[Dim, ...]:
        return self.type.shape

    @property
    def rank(self) -> int:
        return len(self.type.shape)

    def __repr__(self) -> str:
        return f"<{self.name or 'value'} : {self.type}>"


@dataclass(frozen=True)
class Constraint:
    """Two dims that a type rule had to take as equal; with `broadcast`, either may also be 1."""

    left: Dim
    right: Dim
    broadcast: bool
    what: str


class Node:
    """An application of an op. `origin` names the Keras layers it came from, outermost first.

    `serial` grows with every node made, so sorting by it is a topological order, the one in which the graph was
    written.
    """

    __slots__ = ("op", "inputs", "attrs", "outputs", "origin", "constraints", "serial", "__weakref__")

    def __init__(
        self,
        op: Op,
        inputs: tuple[Value, ...],
        attrs: Attrs,
        types: tuple[TensorType, ...],
        origin: tuple[str, ...] = (),
        constraints: tuple[Constraint, ...] = (),
    ) -> None:
        self.op = op
        self.inputs = inputs
        self.attrs = attrs
        self.origin = origin
        self.constraints = constraints
        self.serial = next(_serial)
        self.outputs = tuple(Value(t, self, i) for i, t in enumerate(types))

    @property
    def output(self) -> Value:
        """The only output; most ops have one."""
        (out,) = self.outputs
        return out

    def __repr__(self) -> str:
        return f"<{self.op.name} -> {', '.join(str(o.type) for o in self.outputs)}>"


class Variable:
    """State that outlives a run: a weight, a moving average, an optimizer slot, random state. Compared by identity.

    `value` is what reads of the variable see; its shape is always concrete. `path` is Keras' weight name.
    """

    __slots__ = ("value", "path", "trainable", "__weakref__")

    def __init__(self, type: TensorType, path: str, trainable: bool = False) -> None:
        self.value = Value(type, self, 0, path.rsplit("/", 1)[-1].split(":")[0] or None)
        self.path = path
        self.trainable = trainable

    @property
    def type(self) -> TensorType:
        return self.value.type

    def __repr__(self) -> str:
        return f"<variable {self.path} : {self.type}>"


@dataclass(frozen=True)
class Guard:
    """Axis `axis` of input number `input` was taken as `dim`; a size of 1 there needs the graph specialised again."""

    input: int
    axis: int
    dim: Dim


@dataclass(frozen=True)
class Check:
    """Two dims that must be equal when sizes are bound; `what` says where they met."""

    left: Dim
    right: Dim
    what: str


@dataclass(frozen=True)
class Update:
    """At the end of a run `variable` takes the content of `value`."""

    variable: Variable
    value: Value


@dataclass(frozen=True, eq=False)
class Graph:
    """A pure function with state: inputs and variables in, outputs and updates out.

    `nodes` are in topological order. Two graphs are equal when their text forms are (structure, names, types).
    """

    name: str
    inputs: tuple[Value, ...]
    variables: tuple[Variable, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]
    updates: tuple[Update, ...] = ()
    guards: tuple[Guard, ...] = ()
    checks: tuple[Check, ...] = field(default=())

    @cached_property
    def symbols(self) -> tuple[dims.SymDim, ...]:
        """The symbols of the inputs' types, in order of first appearance."""
        from ir import types

        return tuple(types.symbols(v.type for v in self.inputs))

    @cached_property
    def users(self) -> Mapping[Value, tuple[Node, ...]]:
        """The nodes that read each value; computed, never stored on values."""
        out: dict[Value, list[Node]] = {}
        for n in self.nodes:
            for v in dict.fromkeys(n.inputs):
                out.setdefault(v, []).append(n)
        return {v: tuple(ns) for v, ns in out.items()}

    @cached_property
    def results(self) -> frozenset[Value]:
        """Values that leave the graph, as outputs or as updates."""
        return frozenset(self.outputs) | frozenset(u.value for u in self.updates)

    @cached_property
    def unwritten(self) -> frozenset[Value]:
        """The content of variables that the graph reads and does not update."""
        written = {u.variable for u in self.updates}
        return frozenset(x.value for x in self.variables if x not in written)

    def substitute(self, env: Env) -> Graph:
        """This graph with symbols replaced in every type and attribute."""
        from ir.rewrite import substitute

        return substitute(self, env)

    @cached_property
    def signature(self) -> tuple[Any, ...]:
        """A hashable description of structure, types, names and origins; equal for equal graphs."""
        number: dict[Value, int] = {}
        for v in (*self.inputs, *(x.value for x in self.variables), *(o for n in self.nodes for o in n.outputs)):
            number[v] = len(number)
        return (
            self.name,
            tuple((v.name, v.type) for v in self.inputs),
            tuple((x.path, x.type, x.trainable) for x in self.variables),
            tuple(
                (n.op.name, tuple(number[i] for i in n.inputs), n.attrs, tuple(o.type for o in n.outputs), n.origin)
                for n in self.nodes
            ),
            tuple(number[v] for v in self.outputs),
            tuple((number[u.variable.value], number[u.value]) for u in self.updates),
            self.guards,
            self.checks,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self.signature == other.signature

    def __hash__(self) -> int:
        return hash(self.signature)

    def __str__(self) -> str:
        from ir.printer import print_graph

        return print_graph(self)

    def __repr__(self) -> str:
        return f"<graph {self.name}: {len(self.nodes)} nodes>"
