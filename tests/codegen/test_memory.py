"""The memory planner, by invariant: on random launch lists no two buffers that live at once overlap."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from codegen.cpu.planner import ALIGNMENT, Planner
from codegen.launch import Buffer, BufferKind, Launch, Read, Write
from codegen.memory import Lifetime, Lifetimes, lifetimes, peak
from codegen.source import Kernel
from ir import dims
from ir.dims import Dim, SymDim
from tests.codegen.harness import CACHE

B, T = SymDim("B"), SymDim("T")
KERNEL = Kernel("k", "def kernel(args, lo, hi, worker):\n    pass\n")


def temp(nbytes: Dim, name: str = "t") -> Buffer:
    return Buffer(BufferKind.TEMP, nbytes, None, name)


def launch(
    reads: Sequence[Buffer], writes: Sequence[Buffer], inplace: Sequence[tuple[Buffer, Buffer]] = ()
) -> Launch:
    return Launch(KERNEL, (*map(Read, reads), *map(Write, writes)), 1, inplace=tuple(inplace))


def random_launches(seed: int) -> list[Launch]:
    """Launches that read earlier results or fixed buffers, some several times; results are often offered in place."""
    rng = random.Random(seed)
    sizes: list[Dim] = [0, 1, 64, 100, 4096, B, 4 * B, 4 * B * T, 8 * T]
    fixed = [Buffer(kind, 64, None, kind.value) for kind in BufferKind if kind is not BufferKind.TEMP]
    pool: list[Buffer] = []
    launches = []
    for i in range(rng.randrange(1, 60)):
        near = pool[-5:] if rng.random() < 0.8 else pool
        reads = [rng.choice(near) for _ in range(rng.randrange(4))] if near else []
        if rng.random() < 0.3:
            reads.append(rng.choice(fixed))
        like = rng.choice(reads).nbytes if reads and rng.random() < 0.6 else rng.choice(sizes)
        writes = [temp(like, f"t{i}_{k}") for k in range(rng.randrange(1, 4))]
        if rng.random() < 0.2:
            writes[0] = rng.choice(fixed)
        pairs = [(w, r) for w in writes for r in reads] if rng.random() < 0.7 else []
        work = temp(rng.choice(sizes), f"work{i}")
        launches.append(launch(reads, [*writes, work], pairs))
        if rng.random() < 0.2:  # a second launch that finishes the first one's results
            launches.append(launch([work, *reads], writes))
        pool += [w for w in writes if w.kind is BufferKind.TEMP]
    return launches


def accesses(launches: Sequence[Launch]) -> dict[Buffer, tuple[int, int]]:
    """First and last launch that touches each temporary buffer."""
    found: dict[Buffer, tuple[int, int]] = {}
    for i, x in enumerate(launches):
        for b in (*x.reads, *x.writes):
            if b.kind is BufferKind.TEMP:
                found[b] = (found.get(b, (i, i))[0], i)
    return found


def shares_legally(launches: Sequence[Launch], a: Buffer, b: Buffer, spans: Mapping[Buffer, tuple[int, int]]) -> bool:
    """Whether `b` may stand where `a` stands although one launch touches both: it is computed from it in place."""
    at = spans[b][0]
    return spans[a][1] == at and (b, a) in launches[at].inplace


def plan(sizes: Mapping[Buffer, int], lives: Mapping[Buffer, Lifetime]) -> tuple[dict[Buffer, int], int]:
    """The offset of each block, and the size of the arena."""
    offsets, total = Planner(lives.values(), CACHE).plan(np.array([sizes[b] for b in lives], np.int64))
    return dict(zip(lives, offsets.tolist(), strict=True)), total


def assert_disjoint(launches: Sequence[Launch], lives: Lifetimes, sizes: Mapping[Buffer, int]) -> int:
    """No two buffers alive at once overlap, but for results in place. Returns the size of the arena."""
    offsets, total = plan({b: sizes[b] for b in lives.blocks}, lives.blocks)
    spans = accesses(launches)
    place = {b: (offsets[lives.block_of[b]], offsets[lives.block_of[b]] + sizes[b]) for b in spans}
    for b, (start, stop) in place.items():
        assert start % ALIGNMENT == 0 and 0 <= start and stop <= total, b.name
    ordered = list(spans)
    for i, a in enumerate(ordered):
        for b in ordered[i + 1 :]:
            alive = spans[a][0] <= spans[b][1] and spans[b][0] <= spans[a][1]
            overlap = max(place[a][0], place[b][0]) < min(place[a][1], place[b][1])
            if alive and overlap:
                assert place[a] == place[b]
                assert shares_legally(launches, a, b, spans) or shares_legally(launches, b, a, spans), (a.name, b.name)
    return total


def bound(launches: Sequence[Launch], env: Mapping[SymDim, int]) -> dict[Buffer, int]:
    return {b: dims.bind(b.nbytes, env) for b in accesses(launches)}


@pytest.mark.parametrize("seed", range(150))
def test_no_two_live_buffers_overlap(seed: int) -> None:
    launches = random_launches(seed)
    lives = lifetimes(launches, {})
    for env in ({B: 1, T: 1}, {B: 32, T: 7}, {B: 0, T: 100}):
        assert_disjoint(launches, lives, bound(launches, env))


@pytest.mark.parametrize("seed", range(40))
def test_the_peak_is_the_largest_live_sum(seed: int) -> None:
    lives = lifetimes(random_launches(seed), {}).blocks
    last = max((life.last for life in lives.values()), default=0)
    for env in ({B: 1, T: 1}, {B: 32, T: 7}, {B: 0, T: 100}, {B: 1000, T: 0}):
        sizes = {b: dims.bind(b.nbytes, env) for b in lives}
        live = [sum(sizes[b] for b, life in lives.items() if life.first <= i <= life.last) for i in range(last + 1)]
        assert max(dims.bind(d, env) for d in peak(lives)) == max(live)


@pytest.mark.parametrize("seed", range(40))
def test_the_arena_is_little_larger_than_the_peak(seed: int) -> None:
    launches = random_launches(seed)
    lives = lifetimes(launches, {})
    sizes = {b: -(-size // ALIGNMENT) * ALIGNMENT for b, size in bound(launches, {B: 32, T: 7}).items()}
    busiest = max(
        sum(sizes[b] for b, life in lives.blocks.items() if life.first <= i <= life.last) for i in range(len(launches))
    )
    total = assert_disjoint(launches, lives, sizes)
    assert busiest <= total <= 1.3 * busiest + 512


@pytest.mark.parametrize("seed", range(20))
def test_plans_are_deterministic(seed: int) -> None:
    """They depend on the launches alone, not on where objects lie in memory."""

    def offsets() -> list[int]:
        launches = random_launches(seed)
        lives = lifetimes(launches, {})
        found, total = plan({b: dims.bind(b.nbytes, {B: 5, T: 3}) for b in lives.blocks}, lives.blocks)
        return [found[lives.block_of[b]] for b in accesses(launches)] + [total]

    assert offsets() == offsets()


def test_lifetimes() -> None:
    a, b, c = temp(64, "a"), temp(64, "b"), temp(128, "c")
    fixed = Buffer(BufferKind.INPUT, 64)
    lives = lifetimes([launch([fixed], [a]), launch([a], [b]), launch([a, b], [c]), launch([c], [fixed])], {})
    assert lives.blocks == {a: Lifetime(0, 2), b: Lifetime(1, 2), c: Lifetime(2, 3)}
    assert lives.block_of == {a: a, b: b, c: c}
    assert Lifetime(0, 2).overlaps(Lifetime(2, 3)) and not Lifetime(0, 2).overlaps(Lifetime(3, 3))


def test_what_lives_in_a_variable_gets_no_place() -> None:
    a, b, variable = temp(64), temp(64), Buffer(BufferKind.VARIABLE, 64)
    lives = lifetimes([launch([], [a]), launch([a, variable], [b], [(b, variable), (b, a)])], {b: variable})
    assert set(lives.blocks) == set(lives.block_of) == {a}


# In place: (launches, the buffers that share one block)

X, Y, Z, W = (temp(4 * B, n) for n in "xyzw")
LONG, EQUAL = temp(8 * B, "long"), temp(B + 3 * B, "equal")
IN_PLACE: dict[str, tuple[list[Launch], set[tuple[Buffer, Buffer]]]] = {
    "a chain": (
        [launch([], [X]), launch([X], [Y], [(Y, X)]), launch([Y], [Z], [(Z, Y)]), launch([Z], [W])], {(Y, X), (Z, X)},
    ),
    "read again later": ([launch([], [X]), launch([X], [Y], [(Y, X)]), launch([X, Y], [Z])], set()),
    "read again by the same chain": (
        [launch([], [X]), launch([X], [Y], [(Y, X)]), launch([Y, X], [Z], [(Z, Y), (Z, X)]), launch([Z], [W])],
        {(Z, Y)},
    ),
    "not offered": ([launch([], [X]), launch([X], [Y])], set()),
    "another size": ([launch([], [X]), launch([X], [LONG], [(LONG, X)])], set()),
    "the same size in other words": ([launch([], [X]), launch([X], [EQUAL], [(EQUAL, X)])], {(EQUAL, X)}),
    "written before": ([launch([], [X]), launch([], [Y]), launch([X], [Y], [(Y, X)])], set()),
    "two results, one operand": (
        [launch([], [X]), launch([X], [Y, Z], [(Y, X), (Z, X)]), launch([Y, Z], [W])], {(Y, X)},
    ),
    "two results, one operand, neither read": ([launch([], [X]), launch([X], [Y, Z], [(Y, X), (Z, X)])], {(Y, X)}),
    "two operands": ([launch([], [X, Y]), launch([X, Y], [Z], [(Z, X), (Z, Y)])], {(Z, X)}),
    "two of each": (
        [launch([], [X, Y]), launch([X, Y], [Z, W], [(Z, X), (Z, Y), (W, X), (W, Y)])], {(Z, X), (W, Y)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place(name: str) -> None:
    launches, shared = IN_PLACE[name]
    lives = lifetimes(launches, {})
    assert {(b, root) for b, root in lives.block_of.items() if b is not root} == shared
    assert_disjoint(launches, lives, bound(launches, {B: 9}))


def test_a_block_lives_as_long_as_the_last_buffer_in_it() -> None:
    launches, _ = IN_PLACE["a chain"]
    assert lifetimes(launches, {}).blocks == {X: Lifetime(0, 3), W: Lifetime(3, 3)}


# Plans and peaks by hand


def test_memory_is_used_again() -> None:
    a, b, c = temp(100), temp(100), temp(100)
    offsets, total = plan({a: 100, b: 100, c: 100}, {a: Lifetime(0, 1), b: Lifetime(1, 2), c: Lifetime(2, 3)})
    assert total == 256 and offsets[a] == offsets[c] != offsets[b]


def test_a_gap_is_filled() -> None:
    a, b, c, d = temp(256), temp(192), temp(128), temp(64)
    lives = {a: Lifetime(0, 9), b: Lifetime(0, 1), c: Lifetime(2, 9), d: Lifetime(5, 6)}
    offsets, total = plan({a: 256, b: 192, c: 128, d: 64}, lives)
    assert total == 448 and offsets == {a: 0, b: 256, c: 256, d: 384}


def test_empty_plans() -> None:
    a = temp(0)
    assert plan({}, {}) == ({}, 0)
    assert plan({a: 0}, {a: Lifetime(0, 5)}) == ({a: 0}, 0)
    assert peak({}) == (0,)
    assert lifetimes([], {}).blocks == {}


@pytest.mark.parametrize(
    "lives, expected",
    [
        ([(4 * B, 0, 1), (4 * B, 1, 2)], {8 * B}),
        ([(4 * B, 0, 0), (4 * T, 1, 1)], {4 * B, 4 * T}),
        ([(4 * B, 0, 2), (4 * T, 1, 1), (4 * B, 2, 2)], {4 * B + 4 * T, 8 * B}),
        ([(B * T, 0, 0), (100, 1, 1)], {B * T, 100}),
        ([(0, 0, 3)], {0}),
        ([((B + 1) // 2, 0, 1), (B, 1, 1)], {(B + 1) // 2 + B}),
    ],
)
def test_peak_formulas(lives: list[tuple[Dim, int, int]], expected: set[Dim]) -> None:
    """Formulas that another one exceeds for all sizes are left out."""
    assert set(peak({temp(size): Lifetime(first, last) for size, first, last in lives})) == expected
