"""From an optimised graph to launches in order. Before it come the passes; after it `memory.py` places the buffers and
`program.py` binds sizes.

Reshapes and identities cost nothing: their result is the same buffer. Launches that depend on variables alone form the
prologue, whose results persist. A new value of a variable is written in place where no later launch reads the old one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from codegen.launch import Buffer, BufferKind, Launch, Order, Read, Write
from codegen.source import Kernel
from ir.dims import Dim, ceildiv
from ir.graph import Graph, Node, Value, Variable
from ir.printer import format_node, value_names

ALIASES = frozenset({"reshape", "identity", "stop_gradient"})
"""Ops whose result has the very bytes of their first operand."""

_COPY_TILE = 1 << 18  # bytes
_COPY = Kernel(
    "copy",
    f"""
def kernel(args, lo, hi, worker):
    a = slots(args)
    src, dst, n = a[0], a[1], a[2]
    for t in range(lo, hi):
        start = t * {_COPY_TILE}
        copy(dst + start, src + start, min(n - start, {_COPY_TILE}))
""",
)


@dataclass(frozen=True, eq=False)
class Schedule:
    """The launches of a graph. `alias` maps the buffers of updates written in place to their variables' buffers."""

    graph: Graph
    prologue: tuple[Launch, ...]
    launches: tuple[Launch, ...]
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    variables: dict[Variable, Buffer]
    constants: dict[Buffer, bytes]
    alias: dict[Buffer, Buffer]


def schedule(graph: Graph, lower: Callable[[Node, Scheduler], list[Launch]]) -> Schedule:
    """Lowers every node of `graph` with `lower` and orders the launches."""
    return Scheduler(graph).run(lower)


class Scheduler:
    """The context of lowerings (`LowerContext`): hands out buffers, one per value."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.constants: dict[Buffer, bytes] = {}
        self.inputs = tuple(Buffer(BufferKind.INPUT, v.type.nbytes, v.type, v.name or "") for v in graph.inputs)
        self.variables = {
            x: Buffer(BufferKind.VARIABLE, x.type.nbytes, x.type, x.path) for x in graph.variables
        }
        self._buffers: dict[Value, Buffer] = dict(zip(graph.inputs, self.inputs, strict=True))
        self._buffers.update((x.value, b) for x, b in self.variables.items())

    # What lowerings use

    def buffer(self, value: Value) -> Buffer:
        root = self._root(value)
        if root not in self._buffers:
            node = root.node
            kind = BufferKind.CONSTANT if node is not None and node.op.name == "constant" else BufferKind.TEMP
            self._buffers[root] = Buffer(kind, root.type.nbytes, root.type, root.name or "")
            if kind is BufferKind.CONSTANT and node is not None:
                data = np.array(node.attrs["value"], node.attrs["dtype"].numpy)
                self.constants[self._buffers[root]] = data.tobytes()
        return self._buffers[root]

    def temp(self, nbytes: Dim, name: str) -> Buffer:
        return Buffer(BufferKind.TEMP, nbytes, None, name)

    def constant(self, data: bytes, name: str) -> Buffer:
        buffer = Buffer(BufferKind.CONSTANT, len(data), None, name)
        self.constants[buffer] = data
        return buffer

    # The schedule

    def run(self, lower: Callable[[Node, Scheduler], list[Launch]]) -> Schedule:
        outputs, copied = self._place_outputs()
        launches: list[Launch] = []
        names = value_names(self.graph)
        for node in self.graph.nodes:
            if node.op.name in ALIASES or node.op.name == "constant":
                continue
            comment = format_node(node, names)
            for launch in lower(node, self):
                origin = launch.origin or node.origin
                launches.append(replace(launch, origin=origin, comment=launch.comment or comment))
        launches += _copies(copied, "output")
        staged, final = self._stage_updates()
        launches += [copy_launch(src, dst, "old value of") for src, dst in staged]
        alias = self._updates_in_place(launches, final)
        launches += _copies([(src, dst) for src, dst in final if src not in alias], "update")
        prologue, rest = self._split_prologue(launches, alias)
        return Schedule(self.graph, prologue, rest, self.inputs, outputs, self.variables, self.constants, alias)

    def _root(self, value: Value) -> Value:
        while value.node is not None and value.node.op.name in ALIASES:
            value = value.node.inputs[0]
        return value

    def _place_outputs(self) -> tuple[tuple[Buffer, ...], list[tuple[Buffer, Buffer]]]:
        """Outputs are computed where the user will see them, unless they are something else already; those are
        copied."""
        outputs: list[Buffer] = []
        copied: list[tuple[Buffer, Buffer]] = []
        for v in self.graph.outputs:
            root = self._root(v)
            buffer = Buffer(BufferKind.OUTPUT, v.type.nbytes, v.type, v.name or "")
            if root not in self._buffers and root.node is not None and root.node.op.name != "constant":
                self._buffers[root] = buffer
            else:
                copied.append((self.buffer(root), buffer))
            outputs.append(buffer)
        return tuple(outputs), copied

    def _stage_updates(self) -> tuple[list[tuple[Buffer, Buffer]], list[tuple[Buffer, Buffer]]]:
        """What to copy aside first, and pairs (new content, variable's buffer). A new content that is itself another
        variable's old content is copied aside, since all updates see old values."""
        staged: list[tuple[Buffer, Buffer]] = []
        final: list[tuple[Buffer, Buffer]] = []
        for u in self.graph.updates:
            source, target = self.buffer(u.value), self.variables[u.variable]
            if source is target:
                continue
            if source.kind is BufferKind.VARIABLE:
                aside = self.temp(source.nbytes, source.name)
                staged.append((source, aside))
                source = aside
            final.append((source, target))
        return staged, final

    def _updates_in_place(
        self, launches: Sequence[Launch], final: Sequence[tuple[Buffer, Buffer]]
    ) -> dict[Buffer, Buffer]:
        first_write: dict[Buffer, int] = {}
        last_read: dict[Buffer, int] = {}
        for i, launch in enumerate(launches):
            for b in launch.writes:
                first_write.setdefault(b, i)
            for b in launch.reads:
                last_read[b] = i
        sources = [s for s, _ in final]
        alias: dict[Buffer, Buffer] = {}
        for source, target in final:
            # A new value that the user also gets, a constant, or one that goes to two variables needs a copy.
            if source.kind is not BufferKind.TEMP or sources.count(source) > 1 or source not in first_write:
                continue
            written = first_write[source]
            read = last_read.get(target, -1)
            # No later launch may read the old value; the launch that writes may, if it does so element by element.
            if read > written or (read == written and (source, target) not in launches[written].inplace):
                continue
            alias[source] = target
        return alias

    def _split_prologue(
        self, launches: Sequence[Launch], alias: Mapping[Buffer, Buffer]
    ) -> tuple[tuple[Launch, ...], tuple[Launch, ...]]:
        updated = {self.variables[u.variable] for u in self.graph.updates}
        writers: dict[Buffer, list[int]] = {}
        for i, launch in enumerate(launches):
            for b in launch.writes:
                writers.setdefault(b, []).append(i)
        early: set[int] = set()

        def known(b: Buffer, i: int) -> bool:
            if b.kind is BufferKind.CONSTANT:
                return True
            if b.kind is BufferKind.VARIABLE:
                return b not in updated
            return b.kind is BufferKind.TEMP and b in writers and all(w in early or w == i for w in writers[b])

        for i, launch in enumerate(launches):
            # A prologue launch reads only constants, variables that this graph does not write, and results of the
            # prologue; nothing outside the prologue may write what it writes; and it writes no variable, which is
            # written in every run.
            if all(known(b, i) for b in launch.reads) and all(
                b.kind is BufferKind.TEMP and b not in alias and all(w in early or w == i for w in writers[b])
                for b in launch.writes
            ):
                early.add(i)
        for i in early:
            for b in launches[i].writes:
                b.kind = BufferKind.PERSISTENT
        return (
            tuple(launches[i] for i in sorted(early)),
            tuple(launch for i, launch in enumerate(launches) if i not in early),
        )


def _copies(pairs: Sequence[tuple[Buffer, Buffer]], what: str) -> list[Launch]:
    """Copies that come after everything before them, in any order among themselves."""
    copies = [copy_launch(source, target, what) for source, target in pairs]
    return [replace(c, order=Order.INDEPENDENT) if i else c for i, c in enumerate(copies)]


def copy_launch(source: Buffer, target: Buffer, what: str) -> Launch:
    return Launch(
        _COPY,
        (Read(source), Write(target), source.nbytes),
        ceildiv(source.nbytes, _COPY_TILE),
        work=source.nbytes,
        comment=f"copy to {what} {target.name}".rstrip(),
    )
