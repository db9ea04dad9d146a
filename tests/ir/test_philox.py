"""Philox against the known answers that its authors publish with Random123, and the layout of the streams."""

from __future__ import annotations

import numpy as np
import pytest

from ir.philox import bits, blocks

KNOWN = [  # counter, key, result
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def _words(text: str) -> list[int]:
    return [int(w, 16) for w in text.split()]


@pytest.mark.parametrize("counter, key, result", KNOWN)
def test_known_answers(counter: str, key: str, result: str) -> None:
    k0, k1 = _words(key)
    out = blocks([np.array([w]) for w in _words(counter)], (k0, k1))
    assert out.dtype == np.uint32 and out.tolist() == [_words(result)]


def test_stream_layout() -> None:
    key, run, seed = 0x1111222233334444, 0x5555666677778888, 99
    stream = bits(key, run, seed, 10)
    for block in range(3):
        counter = [np.array([w]) for w in (block, 0, 0x77778888, seed)]
        (expected,) = blocks(counter, (0x33334444, 0x11112222 ^ 0x55556666))
        np.testing.assert_array_equal(stream[4 * block : 4 * block + 4], expected[: 10 - 4 * block])


def test_block_index_uses_two_words() -> None:
    counter = [np.array([w]) for w in (3, 1, 8, 9)]
    (expected,) = blocks(counter, (5, 0))
    np.testing.assert_array_equal(bits(5, 8, 9, 4, start=4 * (2**32 + 3)), expected)


@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 4096])
@pytest.mark.parametrize("start", [0, 1, 2, 3, 4, 7, 1021])
def test_any_part_of_a_stream_alone(n: int, start: int) -> None:
    part = bits(1, 2, 3, n, start)
    assert part.dtype == np.uint32
    np.testing.assert_array_equal(part, bits(1, 2, 3, start + n)[start:])


def test_seeds_are_taken_modulo_a_word() -> None:
    np.testing.assert_array_equal(bits(1, 2, -1, 8), bits(1, 2, 2**32 - 1, 8))
    np.testing.assert_array_equal(bits(1, 2, 2**32 + 5, 8), bits(1, 2, 5, 8))


def test_streams_differ() -> None:
    streams = [bits(*args, 64) for args in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 2**32, 0), (2**63, 0, 0))]
    assert len({s.tobytes() for s in streams}) == len(streams)


def test_words_look_uniform() -> None:
    words = bits(2024, 1, 7, 1 << 16)
    ones = np.unpackbits(words.view(np.uint8)).mean()
    assert abs(ones - 0.5) < 0.002
    assert abs(np.corrcoef(words[:-1], words[1:])[0, 1]) < 0.02
