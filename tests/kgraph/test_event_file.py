"""The bytes of event files: checksums, histograms, images."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from kgraph.utils import event_file
from tests.kgraph import event_reader as reader


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)],
)
def test_checksums_are_those_of_the_standard(data: bytes, expected: int) -> None:
    assert event_file.crc32c(data) == expected


def test_the_first_event_tells_the_version(tmp_path: Path) -> None:
    writer = event_file.EventFileWriter(tmp_path / "new" / "logs")
    writer.close()
    (first,) = reader.events(Path(writer.path))
    assert first[3] == [b"brain.Event:2"] and first[1][0] > 1e9
    assert "tfevents" in Path(writer.path).name


@pytest.mark.parametrize("value", [0.25, np.float32(0.25), np.array(0.25), np.array([0.25]), 3, np.int64(3)])
def test_scalars(tmp_path: Path, value: object) -> None:
    writer = event_file.EventFileWriter(tmp_path)
    writer.add_summary([event_file.scalar("größe", value)], 1 << 40)
    writer.close()
    assert reader.scalars(reader.the_file(tmp_path)) == [(1 << 40, "größe", 3.0 if np.max(value) == 3 else 0.25)]


@pytest.mark.parametrize(
    "x", [np.array([0.0]), np.linspace(-3, 5, 17), np.array([1e-13, -1e25, 1e25]), np.zeros((2, 0))]
)
def test_histograms(x: np.ndarray) -> None:
    fields = reader.message(reader.message(event_file.histogram("t", x))[5][0])
    limits, counts = reader.doubles(fields[6][0]), reader.doubles(fields[7][0])
    assert len(limits) == len(counts) and limits == sorted(limits)
    assert fields[3] == [x.size] and sum(counts) == x.size
    if x.size:
        assert (fields[1], fields[2]) == ([x.min()], [x.max()])
        assert fields[4][0] == pytest.approx(x.sum()) and fields[5][0] == pytest.approx((x * x).sum())
    below = 0.0
    for limit, count in zip(limits, counts, strict=True):
        below += count
        assert below == (x < limit).sum() or limit > 1e300
    empty = [c == 0 for c in counts]
    assert not any(a and b for a, b in zip(empty, empty[1:], strict=False)), "runs of empty buckets are one"


def test_histograms_refuse_what_is_not_finite() -> None:
    with pytest.raises(ValueError, match="'w' include NaN or infinity"):
        event_file.histogram("w", np.array([1.0, np.nan]))


def _pixels(png: bytes) -> np.ndarray:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, chunks = 8, {}
    while at < len(png):
        (size,) = struct.unpack_from(">I", png, at)
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", png, at + 8 + size)[0] == zlib.crc32(kind + content)
        chunks[kind], at = content, at + 12 + size
    width, height, depth, colour = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    assert (depth, colour) == (8, 0) and b"IEND" in chunks
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ([[0.0, 1.0, 2.0]], [[0, 127, 255]]),
        ([[-1.0], [0.0], [0.5]], [[1], [128], [191]]),
        ([[0.0]], [[0]]),
        ([[np.nan, 1.0], [np.inf, 0.0]], [[255, 255], [255, 0]]),
    ],
)
def test_images(image: list[list[float]], expected: list[list[int]]) -> None:
    batch = np.stack([np.array(image, np.float32)] * 5)
    made = [reader.message(x) for x in event_file.images("w", batch)]
    assert [x[1][0] for x in made] == [b"w/image/0", b"w/image/1", b"w/image/2"]
    fields = reader.message(made[0][4][0])
    assert (fields[1], fields[2], fields[3]) == ([len(image)], [len(image[0])], [1])
    assert _pixels(fields[4][0]).tolist() == expected


def test_graphs() -> None:
    node = event_file.graph_node("a/b", "add", ["x", "y:1"], [("float32", (None, 3)), ("int64", ())])
    fields = reader.message(reader.message(event_file.graph_def([node]))[1][0])
    assert (fields[1], fields[2], fields[3]) == ([b"a/b"], [b"add"], [b"x", b"y:1"])
    attrs = {reader.message(x)[1][0]: reader.message(reader.message(x)[2][0]) for x in fields[5]}
    assert attrs[b"dtype"] == {6: [1]}
    shapes = [reader.message(x) for x in reader.message(attrs[b"_output_shapes"][1][0])[7]]
    sizes = [[reader.message(d)[1][0] for d in shape.get(2, [])] for shape in shapes]
    assert sizes == [[(1 << 64) - 1, 3], []]
