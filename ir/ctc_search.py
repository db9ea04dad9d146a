"""Decoding what a network trained with connectionist temporal classification says: the most likely label sequences.

Sequences of scores are arrays (steps, classes) whose last class is the blank. A path names a class for each step; the
labels that it spells are its classes with repetitions merged and blanks dropped. Used by `ir/ops/host.py`.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def best_path(scores: Array) -> tuple[list[int], float]:
    """The labels of the path that is best at each step, and minus the sum of its scores."""
    classes = scores.argmax(1)
    blank = scores.shape[1] - 1
    fresh = np.ones(len(classes), bool)
    fresh[1:] = classes[1:] != classes[:-1]
    labels = classes[fresh & (classes != blank)].tolist()
    return labels, -float(scores.max(1).sum())


def beam_search(scores: Array, width: int, count: int) -> tuple[list[list[int]], list[float]]:
    """The `count` most likely label sequences and their log probabilities, most likely first.

    `width` prefixes are kept after each step (Graves, Sequence Transduction with Recurrent Neural Networks, 2012, with
    prefix probabilities split by whether their paths end in the blank). Scores are normalised to probabilities.
    Raises ValueError where fewer than `count` sequences were found.
    """
    search = _Beams(width)
    peak = scores.max(1, keepdims=True) if scores.size else scores
    with np.errstate(divide="ignore"):
        for log_p in scores - peak - np.log(np.exp(scores - peak).sum(1, keepdims=True)):
            search.advance(log_p)
    if len(search.nodes) < count:
        raise ValueError(f"{count} paths were asked for, but only {len(search.nodes)} were found")
    return [search.labels(i) for i in range(count)], search.total[:count].tolist()


class _Beams:
    """The prefixes kept so far, best first. Prefixes are nodes of a tree; node 0 is the empty one.

    `blank` and `label` are the log probabilities of a prefix over paths that end in the blank, or in its last label;
    `total` those over both.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.parent, self.last = [-1], [-1]
        self.children: dict[tuple[int, int], int] = {}
        self.nodes = [0]
        self.blank, self.label = np.zeros(1), np.full(1, -np.inf)

    @property
    def total(self) -> Array:
        return np.asarray(np.logaddexp(self.blank, self.label))

    def advance(self, log_p: Array) -> None:
        """One step, with the log probabilities of its classes."""
        total, n = self.total, len(self.nodes)
        last = np.array([self.last[node] for node in self.nodes])
        longer = total[:, None] + log_p[:-1]  # each prefix with one more label
        ended = np.flatnonzero(last >= 0)
        longer[ended, last[ended]] = self.blank[ended] + log_p[last[ended]]  # a repeated label needs a blank between
        label = np.where(last >= 0, self.label + log_p[last], -np.inf)
        place = {node: i for i, node in enumerate(self.nodes)}
        for i in ended:
            shorter = place.get(self.parent[self.nodes[i]])
            if shorter is not None:  # the longer form of that one is this prefix
                label[i] = np.logaddexp(label[i], longer[shorter, last[i]])
                longer[shorter, last[i]] = -np.inf
        blank = total + log_p[-1]
        self._keep(np.concatenate([np.logaddexp(blank, label), longer.ravel()]), blank, label, n, longer.shape[1])

    def _keep(self, totals: Array, blank: Array, label: Array, n: int, classes: int) -> None:
        """Keeps the best of the `n` prefixes and of their longer forms, which follow them in `totals`."""
        if len(totals) > self.width:
            kept = np.sort(np.argpartition(-totals, self.width - 1)[: self.width])
        else:
            kept = np.arange(len(totals))
        kept = kept[np.argsort(-totals[kept], kind="stable")]
        kept = kept[totals[kept] > -np.inf]
        old = kept < n
        self.blank = np.where(old, blank[np.where(old, kept, 0)], -np.inf)
        self.label = np.where(old, label[np.where(old, kept, 0)], totals[kept])
        self.nodes = [
            self.nodes[k] if k < n else self._child(self.nodes[(k - n) // classes], (k - n) % classes)
            for k in kept.tolist()
        ]

    def _child(self, node: int, label: int) -> int:
        found = self.children.setdefault((node, label), len(self.parent))
        if found == len(self.parent):
            self.parent.append(node)
            self.last.append(label)
        return found

    def labels(self, i: int) -> list[int]:
        """The labels of prefix number `i`."""
        node, found = self.nodes[i], []
        while node:
            found.append(self.last[node])
            node = self.parent[node]
        return found[::-1]
