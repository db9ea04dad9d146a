"""The order in which nodes run, and which launches need not wait for each other: pure functions that `schedule.py`
asks before and after it lowers nodes.

The order of a graph is the one in which it was written: all gradients, then all updates. Kept so, every gradient would
wait in memory for its update. Here a node runs as soon as it frees at least as much as it needs, and the new value of a
variable comes after everything that reads the old one, so that it can be written in place.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from codegen.launch import Buffer, Launch, Order, Step
from ir import dims
from ir.dims import Dim
from ir.graph import Graph, Node, Value

_NOMINAL = 64  # what a symbolic size counts where memory is weighed
_LITTLE = 1024  # bytes; results that are no burden
_SMALL = 65536  # bytes; updates up to this size wait for each other, to be one region


def order_nodes(graph: Graph, aliases: frozenset[str] = frozenset()) -> list[Node]:
    """The nodes of `graph` in the order in which they are to run. Results of the ops in `aliases` take no memory."""
    return list(_Ordering(graph, aliases).run())


class _Ordering:
    def __init__(self, graph: Graph, aliases: frozenset[str]) -> None:
        self.nodes = graph.nodes
        self.aliases = aliases
        self.number = {n: i for i, n in enumerate(graph.nodes)}
        self.left: dict[Value, set[Node]] = {}  # who has yet to read a value's bytes
        for n in graph.nodes:
            for v in n.inputs:
                self.left.setdefault(self.root(v), set()).add(n)
        self.kept = {self.root(v) for v in graph.outputs}
        self.updates = {self.root(u.value) for u in graph.updates}
        self.waits = {n: len({v.node for v in n.inputs if v.node is not None}) for n in graph.nodes}
        self.users: dict[Node, list[Node]] = {}
        for n in graph.nodes:
            for p in dict.fromkeys(v.node for v in n.inputs if v.node is not None):
                self.users.setdefault(p, []).append(n)
        self.overwrites: dict[Node, list[Value]] = {}
        for u in graph.updates:
            node = self.root(u.value).node
            if node is not None:
                self.overwrites.setdefault(node, []).append(u.variable.value)
        self.writers: dict[Value, list[Node]] = {}
        for node, values in self.overwrites.items():
            for v in values:
                self.writers.setdefault(v, []).append(node)

    def root(self, v: Value) -> Value:
        while v.node is not None and v.node.op.name in self.aliases:
            v = v.node.inputs[0]
        return v

    def run(self) -> Iterator[Node]:
        """Of the nodes that are ready: one that makes room, else the next one as written, else a small update, else
        one that overwrites what others still have to read (it gets a copy)."""
        queues: tuple[list[int], ...] = ([], [], [], [])
        done: set[Node] = set()

        def offer(n: Node) -> None:
            if not self.waits[n] and n not in done:
                heapq.heappush(queues[self.rank(n)], self.number[n])

        for n in self.nodes:
            offer(n)
        while True:
            rank = next((r for r, queue in enumerate(queues) if queue), None)
            if rank is None:
                return
            node = self.nodes[heapq.heappop(queues[rank])]
            if node in done:
                continue
            if self.rank(node) != rank:  # what made it wait or hurry has changed
                offer(node)
                continue
            done.add(node)
            yield node
            for v in dict.fromkeys(self.root(v) for v in node.inputs):
                self.left[v].discard(node)
                for other in (*self.left[v], *self.writers.get(v, ())) if len(self.left[v]) <= 1 else ():
                    offer(other)
            for user in self.users.get(node, ()):
                self.waits[user] -= 1
                offer(user)

    def rank(self, node: Node) -> int:
        if any(self.left.get(v, set()) - {node} for v in self.overwrites.get(node, ())):
            return 3
        if node.op.name in self.aliases:
            return 0
        new = [v for v in node.outputs if v not in self.updates]
        if not new and not any(self.left.get(v) for v in node.outputs) and self.is_small(node):
            return 2
        freed = [v for v in dict.fromkeys(self.root(v) for v in node.inputs) if self.ends(v, node)]
        return 0 if self.nbytes(new) <= self.nbytes(freed) + _LITTLE else 1

    def ends(self, v: Value, node: Node) -> bool:
        """Whether nobody needs the bytes of `v` after `node`."""
        return (
            v.node is not None
            and v.node.op.name != "constant"
            and v not in self.kept
            and v not in self.updates
            and self.left[v] <= {node}
        )

    def is_small(self, node: Node) -> bool:
        return self.nbytes([*node.outputs, *(v for v in node.inputs if v.node is not None)]) <= _SMALL

    def nbytes(self, values: Sequence[Value]) -> int:
        return sum(_nominal(v.type.nbytes) for v in values)


def _nominal(size: Dim) -> int:
    return size if isinstance(size, int) else dims.bind(size, dict.fromkeys(dims.symbols(size), _NOMINAL))


def mark_independent(steps: Sequence[Step], alias: Mapping[Buffer, Buffer]) -> tuple[Step, ...]:
    """The steps, those launches marked INDEPENDENT that use no buffer in conflict with the ones before them since the
    last BARRIER: updates of many variables, say, become rows that share one barrier.

    `alias` maps buffers to others that hold their bytes.
    """
    marked: list[Step] = []
    read: set[Buffer] = set()
    written: set[Buffer] = set()
    joins = False  # whether a launch may join the ones before it: a loop or branch stands alone
    for first, *others in _groups(steps):
        reads = {alias.get(b, b) for s in (first, *others) for b in s.reads}
        writes = {alias.get(b, b) for s in (first, *others) for b in s.writes}
        if isinstance(first, Launch) and joins and not (reads & written or writes & read or writes & written):
            first = replace(first, order=Order.INDEPENDENT)
        else:
            read, written = set(), set()
        joins = isinstance(first, Launch)
        read |= reads
        written |= writes
        marked += [first, *others]
    return tuple(marked)


def _groups(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Steps with the launches behind them that claim to be independent of them."""
    group: list[Step] = []
    for step in steps:
        if group and not (isinstance(step, Launch) and step.order is not Order.BARRIER):
            yield group
            group = []
        group.append(step)
    if group:
        yield group
