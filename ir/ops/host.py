"""Ops whose results have as many elements as their operands' content says. They run in numpy, between two parts of a
program: `kgraph/backend/host.py` cuts a function at them, so that neither part has one.

The attribute `sizes` holds the dims that only a run tells, fresh symbols; with numbers in their place the content must
agree with them.
"""

from __future__ import annotations

import numpy as np

from ir import dtypes
from ir.ctc_search import beam_search, best_path
from ir.graph import Attrs
from ir.opdef import Array, Arrays, Meet, Op, TypeRuleError
from ir.ops.base import of_kind, operands
from ir.types import TensorType


class HostOp(Op):
    """An op that runs on the host and fixes the dims in its attribute `sizes`."""

    host = True


class CtcDecode(HostOp):
    """ctc_decode(scores, lengths): label sequences of scores (samples, steps, classes), the last class being the blank,
    of which the first `lengths` steps count.

    With `greedy` the best path, and minus the sum of its scores; else the `top_paths` best sequences that a search
    with `beam_width` prefixes finds, and their log probabilities. One matrix of labels for each path, filled up with
    -1, then the numbers (samples, paths).
    """

    name = "ctc_decode"
    schema = {"greedy": "bool", "beam_width": "int", "top_paths": "int", "sizes": "dims"}
    no_gradient = "labels are integers"

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 2)
        scores, lengths = types
        of_kind(self.name, scores, "f", "scores")
        of_kind(self.name, lengths, "iu", "lengths")
        if scores.rank != 3 or lengths.rank != 1:
            raise TypeRuleError(f"ctc_decode takes scores of rank 3 and lengths of rank 1, got {scores} and {lengths}")
        width, paths = attrs["beam_width"], attrs["top_paths"]
        if not attrs["greedy"] and not 1 <= paths <= width:
            raise TypeRuleError(f"ctc_decode: top_paths must be from 1 to beam_width ({width}), got {paths}")
        batch = meet.same(scores.shape[0], lengths.shape[0], "ctc_decode: samples of scores and lengths")
        decoded = [TensorType(dtypes.i64, (batch, size)) for size in attrs["sizes"]]
        return (*decoded, TensorType(scores.dtype, (batch, len(decoded))))

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        scores, lengths = inputs
        paths = len(attrs["sizes"])
        labels: list[list[list[int]]] = [[] for _ in range(paths)]
        numbers = np.empty((len(scores), paths), scores.dtype)
        for i, (sample, length) in enumerate(zip(scores.astype(np.float64), lengths, strict=True)):
            if attrs["greedy"]:
                found, value = best_path(sample[:length])
                sequences, values = [found], [value]
            else:
                sequences, values = beam_search(sample[:length], attrs["beam_width"], paths)
            numbers[i] = values
            for path, sequence in zip(labels, sequences, strict=True):
                path.append(sequence)
        return (*(_padded(path) for path in labels), numbers)


def _padded(rows: list[list[int]]) -> Array:
    """Rows of different lengths as a matrix, filled up with -1."""
    matrix = np.full((len(rows), max(map(len, rows), default=0)), -1, np.int64)
    for target, row in zip(matrix, rows, strict=True):
        target[: len(row)] = row
    return matrix


class Stored(HostOp):
    """stored(x, mask): the positions where the bool `mask` holds, row by row (count, rank), and the elements of x
    there: the parts of a sparse tensor."""

    name = "stored"
    schema = {"sizes": "dims"}
    no_gradient = "which elements are stored depends on data"

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 2)
        x, mask = types
        of_kind(self.name, mask, "b", "mask")
        if len(attrs["sizes"]) != 1 or x.rank != mask.rank:
            raise TypeRuleError(f"stored takes a mask of the rank of {x} and one size, got {mask} and {attrs['sizes']}")
        for axis, (d, e) in enumerate(zip(x.shape, mask.shape, strict=True)):
            meet.same(d, e, f"stored: axis {axis} of elements and mask")
        (count,) = attrs["sizes"]
        return TensorType(dtypes.i64, (count, x.rank)), TensorType(x.dtype, (count,))

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        x, mask = inputs
        return np.argwhere(mask).astype(np.int64), x[mask]


OPS: tuple[Op, ...] = (CtcDecode(), Stored())
