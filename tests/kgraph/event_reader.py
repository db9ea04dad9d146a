"""Event files read back: a small reader of records and protocol buffers, written apart from the writer."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

Message = dict[int, list[Any]]


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> int:
    crc = _crc32c(data)
    return ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) % (1 << 32)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def message(data: bytes) -> Message:
    """The fields of a message by number: integers, floats, doubles, and bytes for what has a length."""
    fields: Message = {}
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        value: Any
        if kind == 0:
            value, at = _varint(data, at)
        elif kind == 1:
            value, at = struct.unpack_from("<d", data, at)[0], at + 8
        elif kind == 5:
            value, at = struct.unpack_from("<f", data, at)[0], at + 4
        else:
            assert kind == 2, kind
            size, at = _varint(data, at)
            assert at + size <= len(data), "a field reaches beyond its message"
            value, at = data[at : at + size], at + size
        fields.setdefault(number, []).append(value)
    return fields


def events(path: Path) -> list[Message]:
    """The events in a file, whose checksums must be right."""
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        length = data[at : at + 8]
        (size,) = struct.unpack("<Q", length)
        content = data[at + 12 : at + 12 + size]
        assert len(content) == size
        assert struct.unpack_from("<I", data, at + 8)[0] == _masked(length)
        assert struct.unpack_from("<I", data, at + 12 + size)[0] == _masked(content)
        found.append(message(content))
        at += 16 + size
    return found


def the_file(folder: Path) -> Path:
    """The only event file that lies directly in `folder`."""
    (path,) = folder.glob("*tfevents*")
    return path


def summaries(path: Path) -> list[tuple[int, str, Message]]:
    """Step, tag and value of every summary."""
    found = []
    for event in events(path):
        for summary in event.get(5, []):
            for value in message(summary).get(1, []):
                fields = message(value)
                found.append((event.get(2, [0])[0], fields[1][0].decode(), fields))
    return found


def scalars(path: Path) -> list[tuple[int, str, float]]:
    """Step, tag and number of every scalar."""
    return [(step, tag, fields[2][0]) for step, tag, fields in summaries(path) if 2 in fields]


def doubles(data: bytes) -> list[float]:
    """The numbers of a packed field."""
    return list(struct.unpack(f"<{len(data) // 8}d", data))


def graph(path: Path) -> dict[str, tuple[str, list[str]]]:
    """The only graph of a file: op and inputs by name."""
    (data,) = [g for event in events(path) for g in event.get(4, [])]
    nodes = [message(node) for node in message(data)[1]]
    return {n[1][0].decode(): (n[2][0].decode(), [x.decode() for x in n.get(3, [])]) for n in nodes}
