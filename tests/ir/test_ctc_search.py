"""Decoding: greedy, and by search against all paths."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ir.ctc_search import beam_search, best_path


def spelled(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(c for c, _ in itertools.groupby(path) if c != blank)


def probabilities(scores: np.ndarray) -> dict[tuple[int, ...], float]:
    """Of every label sequence, from all paths."""
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(scores.shape[1]), repeat=len(scores)):
        labels = spelled(path, scores.shape[1] - 1)
        found[labels] = found.get(labels, 0.0) + float(np.prod([p[t, c] for t, c in enumerate(path)]))
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shape", [(1, 2), (4, 3), (5, 4), (6, 2)])
def test_a_wide_search_finds_the_best(seed: int, shape: tuple[int, int]) -> None:
    scores = np.random.default_rng(seed).normal(size=shape) * 2
    known = sorted(probabilities(scores).items(), key=lambda item: -item[1])
    count = min(4, len(known))
    labels, logs = beam_search(scores, 500, count)
    assert [tuple(x) for x in labels] == [x for x, _ in known[:count]]
    np.testing.assert_allclose(np.exp(logs), [p for _, p in known[:count]], rtol=1e-9)


def test_a_narrow_search_keeps_few() -> None:
    scores = np.random.default_rng(1).normal(size=(40, 30))
    labels, logs = beam_search(scores, 3, 3)
    assert logs == sorted(logs, reverse=True) and len({tuple(x) for x in labels}) == 3
    assert beam_search(scores, 60, 1)[1][0] >= logs[0]
    with pytest.raises(ValueError, match="9 paths were asked for, but only 3 were found"):
        beam_search(scores, 3, 9)


def test_impossible_classes() -> None:
    """Scores of minus infinity: a class that never comes."""
    scores = np.log(np.array([[0.5, 0.0, 0.5], [0.5, 0.0, 0.5]]), where=np.array([[1, 0, 1]] * 2, bool),
                    out=np.full((2, 3), -np.inf))  # fmt: skip
    labels, logs = beam_search(scores, 10, 2)
    assert labels == [[0], []]
    np.testing.assert_allclose(np.exp(logs), [0.75, 0.25])


def test_best_path() -> None:
    said = [0, 0, 2, 0, 1, 1, 2, 2]
    scores = np.eye(3)[said] * 5
    assert best_path(scores) == ([0, 0, 1], -40.0)
    assert best_path(scores[:0].reshape(0, 3)) == ([], 0.0)
    assert beam_search(scores[:0].reshape(0, 3), 5, 1) == ([[]], [0.0])
