"""Elementwise nodes and fused regions of them: one loop nest per region.

Axes along which every operand behaves alike (all full, or broadcast) are collapsed, so a bias add over any rank is two
loops and most regions are one. The innermost loop reads each operand either element by element or not at all; what it
computes is `codegen/expression.py`'s text. Short rows, such as the channels of an image, are taken in groups: vectors
that repeat with every row are written out for a group of rows first, so that the innermost loop is long. A region over
one loop may draw uniform random numbers, the same that `random_uniform` makes. Parts of wider rows (`slice`s of
operands, results that are `concatenate`d) are read and written where they lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codegen.cpu.random import LOW, WORDS, block_lines, key_lines, uniform_of
from codegen.expression import COPIES, Body, body, is_literal
from codegen.launch import Buffer, Choose, Launch, LowerContext, Lowering, Read, Size, Slot, Write
from codegen.source import Kernel
from ir import dims
from ir.dims import Dim
from ir.dtypes import DType
from ir.graph import Graph, Node, Value
from ir.opdef import Elementwise
from ir.ops import OPS

_TILE = 16384  # elements; a few operands of a tile stay in the second-level cache
_GROUP = 512  # elements of a group of rows


def lower_elementwise(node: Node, ctx: LowerContext) -> list[Launch]:
    """One elementwise node."""
    operands = [_Place(v, v) for v in dict.fromkeys(node.inputs) if not is_literal(v)]
    return [_launch(node, operands, (node,), [_Place(v, v) for v in node.outputs], ctx)]


def lower_fused(node: Node, ctx: LowerContext) -> list[Launch]:
    """A `fused` node: its body is elementwise over one shape, but for slices and concatenations of rows."""
    graph: Graph = node.attrs["body"]
    outside = dict(zip(graph.inputs, node.inputs, strict=True))
    slices = [n for n in graph.nodes if n.op.name == "slice"]
    joins = {v: v.node for v in graph.outputs if v.node is not None and v.node.op.name == "concatenate"}
    inner = [n for n in graph.nodes if n not in slices and n not in joins.values()]
    read = {v for n in inner for v in n.inputs}
    operands = [_Place(outside[v], v) for v in graph.inputs if v in read or v in graph.outputs]
    operands += [_Place(outside[n.inputs[0]], n.output, n.attrs["starts"][-1]) for n in slices]
    results: list[_Place] = []
    for value, v in zip(node.outputs, graph.outputs, strict=True):
        start: Dim = 0
        for part in joins[v].inputs if v in joins else (v,):
            results.append(_Place(value, part, start))
            start = start + part.shape[-1] if v in joins else start
    return [_launch(node, operands, inner, results, ctx)]


@dataclass(frozen=True)
class _Place:
    """Where what a body calls `name` lies: it is `value`, or the part of its rows from element `start` on."""

    value: Value
    name: Value
    start: Dim = 0

    @property
    def is_part(self) -> bool:
        return self.value.shape != self.name.shape


@dataclass(frozen=True)
class _Nest:
    """The collapsed loops: sizes from the outermost, and for each operand whether it runs along each of them."""

    sizes: tuple[Dim, ...]
    along: tuple[tuple[bool, ...], ...]

    def strides(self, operand: int, row: Dim | None = None) -> tuple[Dim, ...]:
        """Elements between steps of each loop; meaningful only along the loops that the operand runs along. `row`: the
        elements between rows, where the operand is a part of wider ones."""
        out: list[Dim] = []
        step: Dim = 1
        for size, full in zip(reversed(self.sizes), reversed(self.along[operand]), strict=True):
            out.append(step)
            if full:
                step = row if row is not None and len(out) == 1 else step * size
        return tuple(reversed(out))


def collapse(shape: Sequence[Dim], operands: Sequence[Sequence[Dim]], rows: bool = False) -> _Nest:
    """The loop nest over `shape` with operands that broadcast to it; `rows`: the last axis keeps a loop to itself."""
    padded = [(1,) * (len(shape) - len(o)) + tuple(o) for o in operands]
    sizes: list[Dim] = []
    flags: list[tuple[bool, ...]] = []
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        full = tuple(o[axis] != 1 for o in padded)
        if flags and flags[-1] == full and not (rows and axis == len(shape) - 1):
            sizes[-1] = sizes[-1] * size
        else:
            sizes.append(size)
            flags.append(full)
    if not sizes:
        sizes, flags = [1], [(False,) * len(padded)]
    return _Nest(tuple(sizes), tuple(zip(*flags, strict=True)) if padded else ())


def _launch(
    node: Node,
    operands: Sequence[_Place],
    nodes: Sequence[Node],
    results: Sequence[_Place],
    ctx: LowerContext,
) -> Launch:
    """The launch that computes `results` from `operands` by `nodes`."""
    shape = results[0].name.shape
    draw = next((n for n in nodes if n.op.name == "random_uniform"), None)
    known = {}
    if draw is not None:  # the state is no operand of the loop
        state = ctx.buffer(next(o.value for o in operands if o.name is draw.inputs[0]))
        operands = [o for o in operands if o.name is not draw.inputs[0]]
        nodes = [n for n in nodes if n is not draw]
        known = {draw.output: "u"}
    nest = collapse(shape, [o.name.shape for o in operands], any(p.is_part for p in (*operands, *results)))
    text = body(nodes, {**known, **{o.name: f"e{i}" for i, o in enumerate(operands)}}, [r.name for r in results])
    slots: list[Slot] = [*(Read(ctx.buffer(o.value)) for o in operands), *(Write(ctx.buffer(r.value)) for r in results)]
    slots += [c.slot() for c in text.literals]
    printer = _Printer(operands, results, nest, text, len(slots))
    if draw is not None:
        printer.draw = _Draw(draw.output.type.dtype, state, draw.attrs["seed"] & LOW)
    return Launch(
        Kernel("fused" if len(nodes) > 1 else node.op.name, printer.text()),
        (*slots, *printer.sizes),
        printer.tiles,
        work=dims.product((*shape, max(1, len(text.lines)))),
        scratch=printer.scratch,
        inplace=_inplace(operands, results, ctx),
    )


def _inplace(
    operands: Sequence[_Place], results: Sequence[_Place], ctx: LowerContext
) -> tuple[tuple[Buffer, Buffer], ...]:
    """A result may replace an operand of the same element size that is not broadcast: element i is read before it is
    written, by the same iteration. Parts of rows lie elsewhere."""
    return tuple(
        (ctx.buffer(r.value), ctx.buffer(o.value))
        for r in results
        for o in operands
        if o.value.shape == r.value.shape and o.value.type.dtype.itemsize == r.value.type.dtype.itemsize
        and not any(p.is_part for p in (*operands, *results) if p.value in (o.value, r.value))
    )


@dataclass(frozen=True)
class _Draw:
    """Uniform random numbers that are made in the loop: their type, the buffer of their state, and their seed."""

    dtype: DType
    state: Buffer
    seed: int


class _Printer:
    """The kernel text of one nest. `sizes` are the slots after `base`, in the order in which the text reads them."""

    def __init__(
        self, operands: Sequence[_Place], results: Sequence[_Place], nest: _Nest, text: Body, base: int
    ) -> None:
        self.nest = nest
        self.body = text
        self.operands = operands
        self.values = [o.value for o in operands]
        self.outputs = results
        self.base = base
        self.sizes: list[Slot] = []
        self.tiles: Size = 0
        self.scratch = 0
        self.draw: _Draw | None = None

    def slot(self, value: Slot) -> str:
        self.sizes.append(value)
        return f"a[{self.base + len(self.sizes) - 1}]"

    def text(self) -> str:
        n_in = len(self.values)
        head = [self._pointer(f"x{i}", o, i) for i, o in enumerate(self.operands)]
        head += [self._pointer(f"y{i}", r, n_in + i) for i, r in enumerate(self.outputs)]
        first = n_in + len(self.outputs)
        head += [f"{c.name} = {c.load(first + i)}" for i, c in enumerate(self.body.literals)]
        head += [f"e{i} = x{i}[0]" for i in range(n_in) if not any(self.nest.along[i])]
        loops = self._flat() if len(self.nest.sizes) == 1 else self._groups() if self._short() else self._rows()
        lines = ["a = slots(args)", *head, *loops]
        return "def kernel(args, lo, hi, worker):\n" + "".join(f"    {line}\n" for line in lines)

    def _pointer(self, name: str, place: _Place, index: int) -> str:
        pointer = f"{place.value.type.dtype.short}p(a[{index}])"
        return f"{name} = offset({pointer}, {self.slot(place.start)})" if place.is_part else f"{name} = {pointer}"

    def _flat(self) -> list[str]:
        n = self.nest.sizes[0]
        self.tiles = dims.ceildiv(n, _TILE)
        if self.draw is not None:
            return self._random(self.draw, n)
        return [
            f"n = {self.slot(n)}",
            "for t in range(lo, hi):",
            f"    for i in range(t * {_TILE}, min(n, t * {_TILE} + {_TILE})):",
            *self._inner({i: f"x{i}" for i in range(len(self.values))}, "y", 8),
        ]

    def _random(self, draw: _Draw, n: Dim) -> list[str]:
        """One loop with random numbers: their words are made for a part of it at a time."""
        self.scratch = 4 * WORDS
        whole = [i for i, along in enumerate(self.nest.along) if along[-1]]
        parts = [f"p{i} = offset(x{i}, b)" for i in whole]
        parts += [f"z{i} = offset(y{i}, b)" for i in range(len(self.outputs))]
        return [
            f"n = {self.slot(n)}",
            f"state = i64p({self.slot(Read(draw.state))})",
            f"seed = {self.slot(draw.seed)}",
            "words = i32p(worker)",
            *key_lines(),
            "for t in range(lo, hi):",
            f"    for b in range(t * {_TILE}, min(n, t * {_TILE} + {_TILE}), {WORDS}):",
            f"        count = min({WORDS}, n - b)",
            "        for j in range((count + 3) // 4):",
            *(f"            {line}" for line in block_lines("(b >> 2) + j")),
            *(f"        {line}" for line in parts),
            "        for i in range(count):",
            f"            u = {uniform_of('load(words, i)', draw.dtype)}",
            *self._inner({i: f"p{i}" for i in range(len(self.values))}, "z", 12),
        ]

    def _short(self) -> bool:
        """Whether to take rows in groups: known to be short, and each operand a tensor, a vector or a number."""
        if any(p.is_part for p in (*self.operands, *self.outputs)):
            return False
        inner = self.nest.sizes[-1]
        kinds = set(self.nest.along)
        return isinstance(inner, int) and 2 * inner <= _GROUP and kinds <= {(True, True), (False, True), (False, False)}

    def _groups(self) -> list[str]:
        rows, inner = self.nest.sizes
        self.tiles = Choose(_tiles, (rows, inner))
        lines = [f"rows = {self.slot(rows)}", f"inner = {self.slot(inner)}"]
        lines.append(f"step = {self.slot(Choose(_rows_per_tile, (inner,)))}")
        lines.append(f"group = {self.slot(Choose(_group, (inner,)))}")
        pointers: dict[int, str] = {}
        repeated = []
        for i, along in enumerate(self.nest.along):
            pointers[i] = f"p{i}"
            if along == (False, True):
                lines.append(f"p{i} = {self.values[i].type.dtype.short}p(worker + {self.scratch})")
                repeated.append(f"store(p{i}, g * inner + i, load(x{i}, i))")
                self.scratch += _GROUP * self.values[i].type.dtype.itemsize
        if repeated:
            lines += ["for g in range(group):", "    for i in range(inner):", *(f"        {line}" for line in repeated)]
        each = [(f"p{i}", f"x{i}") for i, along in enumerate(self.nest.along) if along == (True, True)]
        each += [(f"z{i}", f"y{i}") for i in range(len(self.outputs))]
        return [
            *lines,
            "for t in range(lo, hi):",
            "    end = min(rows, t * step + step)",
            "    for r in range(t * step, end, group):",
            *(f"        {p} = offset({x}, r * inner)" for p, x in each),
            "        for i in range(min(group, end - r) * inner):",
            *self._inner(pointers, "z", 12),
        ]

    def _rows(self) -> list[str]:
        *outer, inner = self.nest.sizes
        rows = dims.product(outer)
        self.tiles = Choose(_tiles, (rows, inner))
        lines = [
            f"rows = {self.slot(rows)}",
            f"inner = {self.slot(inner)}",
            f"step = {self.slot(Choose(_rows_per_tile, (inner,)))}",
        ]
        lines += [f"n{k} = {self.slot(size)}" for k, size in enumerate(outer) if k]
        starts: list[str] = []
        pointers: dict[int, str] = {}
        for i, place in enumerate(self.operands):
            terms = []
            strides = self.nest.strides(i, place.value.shape[-1] if place.is_part else None)
            for k, (full, stride) in enumerate(zip(self.nest.along[i][:-1], strides[:-1], strict=True)):
                if full:
                    lines.append(f"s{i}_{k} = {self.slot(stride)}")
                    terms.append(f"r{k} * s{i}_{k}")
            if terms:
                starts.append(f"p{i} = offset(x{i}, {' + '.join(terms)})")
            pointers[i] = f"p{i}" if terms else f"x{i}"
        last = len(outer) - 1
        split = ["q = t * step"]
        for k in range(last, 0, -1):
            split += [f"r{k} = q % n{k}", f"q = q // n{k}"]
        split.append("r0 = q")
        # The digits of a row's number are counted on, since divisions would take longer than a short row.
        count = [f"r{last} += 1"]
        for k in range(last, 0, -1):
            depth = "    " * (last - k)
            count += [f"{depth}if r{k} == n{k}:", f"{depth}    r{k} = 0", f"{depth}    r{k - 1} += 1"]
        outs = []
        for i, place in enumerate(self.outputs):
            row = "inner"
            if place.is_part:
                row = f"w{i}"
                lines.append(f"{row} = {self.slot(place.value.shape[-1])}")
            outs.append(f"z{i} = offset(y{i}, r * {row})")
        fixed = [
            f"e{i} = {pointers[i]}[0]"
            for i in range(len(self.values))
            if any(self.nest.along[i]) and not self.nest.along[i][-1]
        ]
        return [
            *lines,
            "for t in range(lo, hi):",
            *(f"    {line}" for line in split),
            "    for r in range(t * step, min(rows, t * step + step)):",
            *(f"        {line}" for line in (*starts, *outs, *fixed)),
            "        for i in range(inner):",
            *self._inner(pointers, "z", 12),
            *(f"        {line}" for line in count),
        ]

    def _inner(self, pointers: dict[int, str], out: str, indent: int) -> list[str]:
        loads = [f"e{i} = load({p}, i)" for i, p in pointers.items() if self.nest.along[i][-1]]
        stores = [f"store({out}{i}, i, {r})" for i, r in enumerate(self.body.results)]
        return [" " * indent + line for line in (*loads, *self.body.lines, *stores)]


def _rows_per_tile(inner: int) -> int:
    return max(1, _TILE // max(1, inner))


def _group(inner: int) -> int:
    return max(1, _GROUP // max(1, inner))


def _tiles(rows: int, inner: int) -> int:
    return -(-rows // _rows_per_tile(inner)) if inner else 0


LOWERINGS: dict[str, Lowering] = {
    **{name: lower_elementwise for name, op in OPS.items() if isinstance(op, Elementwise) and name not in COPIES},
    "broadcast_to": lower_elementwise,
    "fused": lower_fused,
}
