"""Event files that TensorBoard reads: records of protocol buffers, written by hand with the standard library.

`callbacks_tensorboard.py` decides what to write; this file knows the bytes. A file is a sequence of records (length,
its checksum, message, its checksum), each message an `Event` that holds a summary or a graph. The field numbers are
those of `event.proto`, `summary.proto`, `graph.proto` and what they import in tensorflow/core.
"""

from __future__ import annotations

import functools
import itertools
import os
import socket
import struct
import time
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

__all__ = ["EventFileWriter", "crc32c", "graph_def", "graph_node", "histogram", "images", "masked_crc32c", "scalar"]

_MAX_IMAGES = 3  # of one weight, as tf.summary.image has it
_DATA_TYPES = {
    "float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int16": 5, "int8": 6, "int64": 9, "bool": 10, "uint16": 17,
    "float16": 19, "uint32": 22, "uint64": 23,
}  # fmt: skip
_serial = itertools.count()  # tells apart the files that one process begins within a second


# Records


@functools.cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ 0x82F63B78 if byte & 1 else byte >> 1
        table.append(byte)
    return tuple(table)


def crc32c(data: bytes) -> int:
    """The CRC-32C (Castagnoli) checksum."""
    table = _crc_table()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def masked_crc32c(data: bytes) -> int:
    """The checksum as records hold it: rotated and shifted, so that data may hold checksums itself."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


class EventFileWriter:
    """Appends events to a new file in `log_dir`, which is made where it is missing.

    Raises OSError where the file cannot be written.
    """

    def __init__(self, log_dir: Any) -> None:
        log_dir = os.fspath(log_dir)
        os.makedirs(log_dir, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}.{next(_serial)}"
        self.path = os.path.join(log_dir, name)
        self._file = open(self.path, "wb")
        self._write(_text(3, "brain.Event:2"))
        self.flush()

    def add_summary(self, values: Iterable[bytes], step: int) -> None:
        """Append values that `scalar`, `histogram` and `images` made, at a step."""
        summary = b"".join(_message(1, value) for value in values)
        self._write(_integer(2, int(step)) + _message(5, summary))

    def add_graph(self, graph: bytes) -> None:
        """Append a graph that `graph_def` made."""
        self._write(_message(4, graph))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _write(self, event: bytes) -> None:
        event = _double(1, time.time()) + event
        length = struct.pack("<Q", len(event))
        self._file.write(length + struct.pack("<I", masked_crc32c(length)))
        self._file.write(event + struct.pack("<I", masked_crc32c(event)))


# Fields of messages


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1  # negative numbers stand as their two's complement
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + np.float32(value).tobytes()


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode("utf-8"))


def _doubles(field: int, values: Any) -> bytes:
    return _message(field, np.asarray(values, "<f8").tobytes())


# Summaries


def scalar(tag: str, value: Any) -> bytes:
    """A number under a tag; `value` is a Python or numpy number, or an array with one element."""
    return _text(1, tag) + _float(2, float(np.asarray(value).reshape(())))


@functools.cache
def _bucket_limits() -> np.ndarray:
    """Upper limits of a histogram's buckets: steps of a tenth from 1e-12 to 1e20, on both sides of 0."""
    steps = []
    limit = 1e-12
    while limit < 1e20:
        steps.append(limit)
        limit *= 1.1
    largest = float(np.finfo(np.float64).max)
    return np.array([-largest, *(-x for x in reversed(steps)), 0.0, *steps, largest])


def histogram(tag: str, values: Any) -> bytes:
    """How the elements of an array are spread. Raises ValueError where one of them is NaN or infinite."""
    x = np.asarray(values, np.float64).ravel()
    if not np.isfinite(x).all():
        raise ValueError(f"The values of {tag!r} include NaN or infinity, which no histogram can hold.")
    limits = _bucket_limits()
    counts = np.bincount(np.searchsorted(limits, x, side="right"), minlength=len(limits)).astype(np.float64)
    # Of a run of empty buckets only the last limit is written.
    kept = np.flatnonzero((counts > 0) | np.append(counts[1:] > 0, True))
    low, high = (x.min(), x.max()) if x.size else (0.0, 0.0)
    content = _double(1, low) + _double(2, high) + _double(3, float(x.size))
    content += _double(4, float(x.sum())) + _double(5, float(x @ x))
    return _text(1, tag) + _message(5, content + _doubles(6, limits[kept]) + _doubles(7, counts[kept]))


def images(tag: str, batch: np.ndarray) -> list[bytes]:
    """The first three images of `batch`, of shape (images, height, width), in shades of grey.

    An image without negative values is scaled so that its largest is white. Any other is scaled to both sides of a
    middle grey, which is 0. What is not finite is white.
    """
    return [
        _text(1, f"{tag}/image/{i}")
        + _message(4, _integer(1, x.shape[0]) + _integer(2, x.shape[1]) + _integer(3, 1) + _message(4, _png(_grey(x))))
        for i, x in enumerate(batch[:_MAX_IMAGES])
    ]


def _grey(image: np.ndarray) -> np.ndarray:
    finite = np.isfinite(image)
    x = np.where(finite, image, 0).astype(np.float64)
    top = float(np.abs(x).max(initial=0.0))
    signed = bool((x < 0).any())
    scale = (127.0 if signed else 255.0) / top if top else 0.0
    return np.where(finite, x * scale + (128.0 if signed else 0.0), 255).astype(np.uint8)


def _png(pixels: np.ndarray) -> bytes:
    """A PNG file of 8-bit grey pixels of shape (height, width)."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = pixels.shape
    rows = np.pad(pixels, ((0, 0), (1, 0)))  # each row begins with its filter: none
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(rows.tobytes())
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


# Graphs


def graph_node(name: str, op: str, inputs: Sequence[str], outputs: Sequence[tuple[str, Sequence[int | None]]]) -> bytes:
    """A node of a graph.

    # Arguments
        name: its name; slashes make the groups that TensorBoard shows.
        op: what it does.
        inputs: names of the nodes that it reads, with `:1` and so on behind for an output other than the first.
        outputs: dtype and shape of each output; None where a size is not known.
    """
    shapes = b"".join(
        _message(7, b"".join(_message(2, _integer(1, -1 if n is None else n)) for n in s)) for _, s in outputs
    )
    attrs = {"_output_shapes": _message(1, shapes)}
    if outputs and outputs[0][0] in _DATA_TYPES:
        attrs["dtype"] = _integer(6, _DATA_TYPES[outputs[0][0]])
    content = _text(1, name) + _text(2, op) + b"".join(_text(3, x) for x in inputs)
    return content + b"".join(_message(5, _text(1, key) + _message(2, value)) for key, value in attrs.items())


def graph_def(nodes: Iterable[bytes]) -> bytes:
    """A graph of nodes that `graph_node` made."""
    producer = _integer(1, 22)  # the version of graphs as of TensorFlow 1
    return b"".join(_message(1, node) for node in nodes) + _message(4, producer)
