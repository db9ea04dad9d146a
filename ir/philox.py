"""Philox 4x32-10, the counter-based generator behind every random op, in numpy.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). A block of four 32-bit words is
a pure function of a 128-bit counter and a 64-bit key, so any element can be computed alone, on any target.
`ops/random.py` turns words into numbers; this layout is what every target must reproduce bit for bit.

Word i of a stream is lane i % 4 of block i // 4. The block's four counter words and two key words are

    counter[0]  block index, low half        key[0]  state key, low half
    counter[1]  block index, high half       key[1]  state key, high half, xor run counter, high half
    counter[2]  run counter, low half
    counter[3]  seed of the op (modulo 2**32)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ir.opdef import Array

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # what each round adds to the two key words
ROUNDS = 10

_MASK = 0xFFFFFFFF
_LOW = np.uint64(_MASK)
_HALF = np.uint64(32)


def blocks(counter: Sequence[Array], key: tuple[int, int]) -> Array:
    """uint32[n, 4]: the block of each of the n counters, given as four arrays of n words, under one key."""
    c0, c1, c2, c3 = (np.asarray(c, np.uint64) for c in counter)
    k0, k1 = key
    for _ in range(ROUNDS):
        p0, p1 = c0 * np.uint64(MULTIPLIERS[0]), c2 * np.uint64(MULTIPLIERS[1])
        c0, c2 = (p1 >> _HALF) ^ c1 ^ np.uint64(k0), (p0 >> _HALF) ^ c3 ^ np.uint64(k1)
        c1, c3 = p1 & _LOW, p0 & _LOW
        k0, k1 = (k0 + WEYL[0]) & _MASK, (k1 + WEYL[1]) & _MASK
    return np.stack(np.broadcast_arrays(c0, c1, c2, c3), axis=-1).astype(np.uint32)


def bits(key: int, counter: int, seed: int, n: int, start: int = 0) -> Array:
    """uint32[n]: words `start` to `start + n` of the stream of the op with `seed` in one run.

    `key` and `counter` are the two 64-bit words of the state; `seed` may be any integer.
    """
    first, last = start // 4, -(-(start + n) // 4)
    index = np.arange(first, max(first, last), dtype=np.uint64)
    run, op = np.uint64(counter & _MASK), np.uint64(seed & _MASK)
    words = blocks(
        (index & _LOW, index >> _HALF, np.broadcast_to(run, index.shape), np.broadcast_to(op, index.shape)),
        (key & _MASK, (key >> 32) ^ (counter >> 32)),
    )
    return np.asarray(words.reshape(-1)[start - 4 * first :][:n])
