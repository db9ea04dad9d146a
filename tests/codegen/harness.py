"""Runs the launches of one lowering on numpy buffers, without a program: for testing lowerings by themselves."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from codegen.cache import KernelCache
from codegen.cpu.call import c_function
from codegen.launch import F32, F64, Buffer, BufferKind, Choose, Entry, Launch, Read, Size, Slot, Write
from ir import dims
from ir.dims import Dim, SymDim
from ir.graph import Attrs, Node, Value
from ir.types import TensorType

Array = np.ndarray  # type: ignore[type-arg]
Env = Mapping[SymDim, int]

_GUARD = 64  # bytes checked on either side of every buffer
CACHE = KernelCache()


@dataclass
class Context:
    """A `LowerContext`: a buffer per value, workspaces and constants as they are asked for."""

    graph: Any = None
    fixed: frozenset[Value] = frozenset()
    buffers: dict[Value, Buffer] = field(default_factory=dict)
    workspaces: list[Buffer] = field(default_factory=list)
    contents: dict[Buffer, bytes] = field(default_factory=dict)

    def buffer(self, value: Value) -> Buffer:
        if value not in self.buffers:
            self.buffers[value] = Buffer(BufferKind.TEMP, value.type.nbytes, value.type, value.name or "")
        return self.buffers[value]

    def temp(self, nbytes: Dim, name: str) -> Buffer:
        self.workspaces.append(Buffer(BufferKind.TEMP, nbytes, None, name))
        return self.workspaces[-1]

    def constant(self, data: bytes, name: str) -> Buffer:
        buffer = Buffer(BufferKind.CONSTANT, len(data), None, name)
        self.contents[buffer] = data
        return buffer


def make_node(op: str, inputs: Sequence[Value], output: TensorType, **attrs: Any) -> Node:
    """A node with a given output type, whether or not the op is in the table."""
    from ir.ops import OPS

    return Node(OPS.get(op) or SimpleNamespace(name=op), tuple(inputs), Attrs(attrs), (output,))  # type: ignore[arg-type]


def bind(size: Size, env: Env) -> int:
    if isinstance(size, Choose):
        return int(size.function(*(dims.bind(d, env) for d in size.dims)))
    return dims.bind(size, env)


def slot_value(slot: Slot, addresses: Mapping[Buffer, int], env: Env) -> int:
    if isinstance(slot, (Read, Write)):
        return addresses[slot.buffer] + dims.bind(slot.offset, env)
    if isinstance(slot, F32):
        return int(struct.unpack("<i", struct.pack("<f", slot.value))[0])
    if isinstance(slot, F64):
        return int(struct.unpack("<q", struct.pack("<d", slot.value))[0])
    if isinstance(slot, Entry):
        return CACHE.get(slot.kernel)
    return bind(slot, env)


def aligned(nbytes: int, fill: int = 0xFF) -> Array:
    """A 64-byte aligned block whose content is NaN for every float type."""
    block = np.full(nbytes + 64, fill, np.uint8)
    start = -block.ctypes.data % 64
    return block[start : start + nbytes]


def prepare(
    launches: Sequence[Launch], buffers: Mapping[Buffer, Array], env: Env
) -> tuple[list[Callable[[int, int], None]], list[int], list[Any]]:
    """One function (lo, hi) per launch, the number of its tiles, and what must stay alive."""
    workspaces: list[Array] = []
    keep: list[Any] = [dict(buffers)]
    addresses = {b: a.ctypes.data for b, a in buffers.items()}
    for launch in launches:
        for b in (s.buffer for s in launch.slots if isinstance(s, (Read, Write))):
            if b not in addresses:
                workspaces.append(guarded(aligned(dims.bind(b.nbytes, env))))
                addresses[b] = workspaces[-1].ctypes.data
    calls: list[Callable[[int, int], None]] = []
    tiles = []
    for launch in launches:
        row = np.array([slot_value(s, addresses, env) for s in launch.slots], np.int64)
        scratch = aligned(bind(launch.scratch, env) + _GUARD)
        keep += [row, scratch]
        function = c_function(CACHE.get(launch.kernel))

        def call(lo: int, hi: int, f: Any = function, row: Array = row, scratch: Array = scratch) -> None:
            f(row.ctypes.data, lo, hi, scratch.ctypes.data)
            assert (scratch[-_GUARD:] == 0xFF).all(), "a kernel wrote past its scratch"
            for workspace in workspaces:
                check_guard(workspace)

        calls.append(call)
        tiles.append(bind(launch.tiles, env))
    return calls, tiles, [keep, workspaces]


def run_launches(
    launches: Sequence[Launch],
    buffers: Mapping[Buffer, Array],
    env: Env | None = None,
    tiles_at_once: int | None = None,
    reverse: bool = False,
) -> None:
    """Runs launches in order. `buffers` holds contiguous arrays (written in place); workspaces are made here, full of
    NaN.

    `tiles_at_once` cuts the tiles of each launch into calls of that many, `reverse` runs those in reverse: the results
    must not change.
    """
    calls, tiles, keep = prepare(launches, buffers, env or {})
    for call, count in zip(calls, tiles, strict=True):
        step = tiles_at_once or max(count, 1)
        starts = range(0, count, step)
        for lo in reversed(starts) if reverse else starts:
            call(lo, min(lo + step, count))
    del keep


def run_node(
    lower: Callable[..., list[Launch]], node: Node, arrays: Sequence[Array], env: Env | None = None, **options: Any
) -> list[Array]:
    """Lowers one node, runs it on arrays and returns its outputs. Checks that inputs keep their content and nothing
    else is written."""
    ctx = Context()
    run_options = {k: options.pop(k) for k in ("tiles_at_once", "reverse") if k in options}
    launches = lower(node, ctx, **options)
    buffers: dict[Buffer, Array] = {}
    for value, array in zip(node.inputs, arrays, strict=True):
        buffers[ctx.buffer(value)] = guarded(np.ascontiguousarray(array))
    outputs = []
    for value in node.outputs:
        dtype = value.type.dtype.numpy
        outputs.append(guarded(np.frombuffer(b"\xff" * dims.bind(value.type.nbytes, env or {}), dtype)))
        buffers[ctx.buffer(value)] = outputs[-1]
    for buffer, data in ctx.contents.items():
        buffers[buffer] = np.frombuffer(data, np.uint8)
    run_launches(launches, buffers, env, **run_options)
    for value, array in zip(node.inputs, arrays, strict=True):
        assert buffers[ctx.buffer(value)].tobytes() == np.ascontiguousarray(array).tobytes(), "an input was changed"
    for value in (*node.inputs, *node.outputs):
        check_guard(buffers[ctx.buffer(value)])
    return [a.reshape(v.type.bind(env or {})) for a, v in zip(outputs, node.outputs, strict=True)]


def guarded(array: Array) -> Array:
    """A copy with guard bytes on either side."""
    block = aligned(array.nbytes + 2 * _GUARD)
    inside = block[_GUARD : _GUARD + array.nbytes].view(array.dtype)
    inside[:] = array.ravel()
    return inside


def check_guard(array: Array) -> None:
    block = array.base
    start = array.ctypes.data - block.ctypes.data
    end = start + array.nbytes
    around = np.concatenate([block[start - _GUARD : start], block[end : end + _GUARD]])
    assert (around == 0xFF).all(), "a kernel wrote outside a buffer"

