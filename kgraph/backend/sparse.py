"""Sparse tensors: `is_sparse`, `to_dense`, and what `K.dot` and `K.concatenate` make of them.

A sparse tensor that is fed is dense inside a program, batch by batch. One made from a scipy matrix (`K.variable`) keeps
only the elements that the matrix stores, and `K.dot` with it costs as much as there are of these.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np

from codegen.storage import StoredVariable
from ir import builder as b
from ir import dtypes
from ir.dims import SymDim
from ir.dtypes import DType
from ir.graph import Value
from ir.types import TensorType
from kgraph.backend.tensor import Tensor


class SparseTensor(Tensor):
    """A tensor of which few elements are stored. `value` is the dense content; `parts` are the positions of the stored
    elements (count, rank) and these elements, where they are known before anything runs; else those are stored where
    the bool `mask` holds, by default the elements that are not 0."""

    def __init__(
        self,
        value: Value,
        name: str | None = None,
        mask: Value | None = None,
        parts: tuple[Value, Value] | None = None,
    ) -> None:
        super().__init__(value, name)
        self._mask = mask
        self.parts = parts

    def _stored(self) -> tuple[Value, Value]:
        if self.parts is None:
            mask = b.compare("not_equal", self.value, 0) if self._mask is None else self._mask
            positions, elements = b.apply("stored", self.value, mask, sizes=(SymDim.fresh("N"),))
            self.parts = positions, elements
        return self.parts

    @property
    def indices(self) -> Tensor:
        """The positions of the stored elements, an integer matrix (count, rank)."""
        return Tensor(self._stored()[0])

    @property
    def values(self) -> Tensor:
        """The stored elements."""
        return Tensor(self._stored()[1])

    @property
    def dense_shape(self) -> Tensor:
        """The sizes of the axes as an integer vector."""
        return Tensor(b.sizes(self.value.shape, dtypes.i64))


def is_sparse(tensor: Any) -> TypeGuard[SparseTensor]:
    """Whether `tensor` is sparse."""
    return isinstance(tensor, SparseTensor)


def to_dense(tensor: Tensor) -> Tensor:
    """The dense tensor of the same content; a dense tensor as it is."""
    return Tensor(tensor.value) if is_sparse(tensor) else tensor


def from_scipy(matrix: Any, dtype: DType, name: str) -> SparseTensor:
    """The constant sparse tensor that holds a scipy matrix."""
    found = matrix.tocoo()
    rows, columns = found.shape
    positions = np.stack([found.row, found.col], 1).astype(np.int64)
    flat = found.row.astype(np.int64) * columns + found.col
    where, at, elements = (
        StoredVariable(array, TensorType(kind, array.shape), f"{name}/{part}").value
        for part, array, kind in (
            ("indices", positions, dtypes.i64),
            ("places", flat, dtypes.i64),
            ("values", found.data.astype(dtype.numpy), dtype),
        )
    )
    dense = b.apply1("scatter_add", elements, at, size=rows * columns, axis=0)
    x = SparseTensor(b.reshape(dense, (rows, columns)), name + ":0", parts=(where, elements))
    x._keras_shape = (rows, columns)
    return x


def product(x: SparseTensor, y: Value) -> Value:
    """The matrix product of a sparse matrix whose stored elements are known with a dense one: each stored element
    times a row of `y`, added to its row of the result."""
    where, elements = x._stored()
    count = elements.shape[0]
    rows, columns = (b.reshape(b.slice(where, (0, i), (count, i + 1)), (count,)) for i in range(2))
    weighted = b.mul(b.apply1("gather", y, columns, axis=0), b.reshape(elements, (count, 1)))
    return b.apply1("scatter_add", weighted, rows, size=x.value.shape[0], axis=0)
