"""From an optimised graph to launches in order. Before it come the passes; after it `memory.py` places the buffers and
`program.py` binds sizes.

Reshapes and identities cost nothing: their result is the same buffer. Launches that depend on variables alone form the
prologue, whose results persist. A new value of a variable is written in place where no later launch reads the old one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from codegen.launch import Branch, Buffer, BufferKind, Launch, Loop, Order, Read, Step, Write, launches_of
from codegen.order import mark_independent, order_nodes
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
    prologue: tuple[Step, ...]
    launches: tuple[Step, ...]
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    variables: dict[Variable, Buffer]
    constants: dict[Buffer, bytes]
    alias: dict[Buffer, Buffer]


Lower = Callable[[Node, "Scheduler"], Sequence[Step]]


def schedule(graph: Graph, lower: Lower) -> Schedule:
    """Lowers every node of `graph` with `lower` and orders the launches."""
    return Scheduler(graph).run(lower)


class Scheduler:
    """The context of lowerings (`LowerContext`): hands out buffers, one per value."""

    _lower: Lower

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.fixed = graph.unwritten
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

    def run(self, lower: Lower) -> Schedule:
        self._lower = lower
        outputs = [Buffer(BufferKind.OUTPUT, v.type.nbytes, v.type, v.name or "") for v in self.graph.outputs]
        copied = self._place(self.graph.outputs, outputs)
        launches = self._lower_nodes()
        launches += _copies(copied, "output")
        staged, final = self._stage_updates()
        launches += [copy_launch(src, dst, "old value of") for src, dst in staged]
        alias = _updates_in_place(launches, final)
        launches += _copies([(src, dst) for src, dst in final if src not in alias], "update")
        early, late = self._split_prologue(launches, alias)
        prologue, rest = mark_independent(early, alias), mark_independent(late, alias)
        variables = self.variables
        return Schedule(self.graph, prologue, rest, self.inputs, tuple(outputs), variables, self.constants, alias)

    def body(
        self,
        graph: Graph,
        inputs: Sequence[Buffer],
        outputs: Sequence[Buffer],
        states: Sequence[Buffer] = (),
        fixed: Sequence[Value] = (),
    ) -> list[Step]:
        """See `LowerContext`."""
        inner = Scheduler(graph)
        inner.fixed = frozenset(fixed)
        inner.constants = self.constants
        inner._lower = self._lower
        inner._buffers = dict(zip(graph.inputs, inputs, strict=True))
        copied = inner._place(graph.outputs[: len(outputs)], outputs)
        final = [(inner.buffer(v), s) for v, s in zip(graph.outputs[len(outputs) :], states, strict=True)]
        final = [(new, state) for new, state in final if new is not state]
        steps = inner._lower_nodes()
        steps += _copies(copied, "output")
        # A new state that is the old content of another one is copied aside, since all states change at once.
        aside = {b: self.temp(b.nbytes, b.name) for b, _ in final if b in states}
        steps += [copy_launch(source, target, "old state") for source, target in aside.items()]
        final = [(aside.get(new, new), state) for new, state in final]
        nested = {b for step in steps if not isinstance(step, Launch) for b in step.writes}
        in_place = _updates_in_place(steps, [pair for pair in final if pair[0] not in nested])
        steps = [_with_buffers(step, in_place) for step in steps]
        return steps + _copies([(new, state) for new, state in final if new not in in_place], "state")

    def _lower_nodes(self) -> list[Step]:
        steps: list[Step] = []
        names = value_names(self.graph)
        for node in order_nodes(self.graph, ALIASES):
            if node.op.name in ALIASES or node.op.name == "constant":
                continue
            comment = format_node(node, names)
            for step in self._lower(node, self):
                steps.append(replace(step, origin=step.origin or node.origin, comment=step.comment or comment))
        return steps

    def _root(self, value: Value) -> Value:
        while value.node is not None and value.node.op.name in ALIASES:
            value = value.node.inputs[0]
        return value

    def _place(self, values: Sequence[Value], places: Sequence[Buffer]) -> list[tuple[Buffer, Buffer]]:
        """Lets results be computed in their places, unless they are something else already; gives those, which are to
        be copied."""
        copied: list[tuple[Buffer, Buffer]] = []
        for v, place in zip(values, places, strict=True):
            root = self._root(v)
            if root not in self._buffers and root.node is not None and root.node.op.name != "constant":
                self._buffers[root] = place
            else:
                copied.append((self.buffer(root), place))
        return copied

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

    def _split_prologue(
        self, launches: Sequence[Step], alias: Mapping[Buffer, Buffer]
    ) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
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
            # written in every run; and it has no effect beside what it writes.
            if any(nested.effect is not None for nested in launches_of((launch,))):
                continue
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


def _with_buffers(step: Step, new: Mapping[Buffer, Buffer]) -> Step:
    """`step` on other buffers."""
    if isinstance(step, Loop):
        return replace(step, body=tuple(_with_buffers(s, new) for s in step.body))
    if isinstance(step, Branch):
        then, otherwise = (tuple(_with_buffers(s, new) for s in body) for body in step.bodies)
        return replace(step, condition=new.get(step.condition, step.condition), then=then, otherwise=otherwise)
    slots = [replace(s, buffer=new.get(s.buffer, s.buffer)) if isinstance(s, (Read, Write)) else s for s in step.slots]
    inplace = tuple((new.get(w, w), new.get(r, r)) for w, r in step.inplace)
    return replace(step, slots=tuple(slots), inplace=inplace)


def _updates_in_place(
    launches: Sequence[Step], final: Sequence[tuple[Buffer, Buffer]]
) -> dict[Buffer, Buffer]:
    first_write: dict[Buffer, int] = {}
    last_read: dict[Buffer, int] = {}
    for i, launch in enumerate(launches):
        for b in launch.writes:
            first_write.setdefault(b, i)
        for b in launch.reads:
            last_read[b] = i
    uses = Counter(s for s, _ in final)
    alias: dict[Buffer, Buffer] = {}
    for source, target in final:
        # A new value that the user also gets, a constant, or one that goes to two variables needs a copy.
        if source.kind is not BufferKind.TEMP or uses[source] > 1 or source not in first_write:
            continue
        written = first_write[source]
        read = last_read.get(target, -1)
        # No later launch may read the old value; the launch that writes may, if it does so element by element.
        if read > written or (read == written and (source, target) not in launches[written].inplace):
            continue
        alias[source] = target
    return alias


def _copies(pairs: Sequence[tuple[Buffer, Buffer]], what: str) -> list[Step]:
    """Copies that come after everything before them, in any order among themselves."""
    copies = [copy_launch(source, target, what) for source, target in pairs]
    return [replace(c, order=Order.INDEPENDENT) if i else c for i, c in enumerate(copies)]


def copy_launch(source: Buffer, target: Buffer, what: str) -> Launch:
    return Launch(
        _COPY,
        (Read(source), Write(target), source.nbytes),
        ceildiv(source.nbytes, _COPY_TILE),
        work=source.nbytes,
        inplace=((target, source),),
        comment=f"copy to {what} {target.name}".rstrip(),
    )
