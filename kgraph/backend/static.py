"""What a tensor knows of itself before anything runs, in the words of TensorFlow 1: `x.dtype`, `x.shape`.

`DType` is a string ('float32') with a few properties. `TensorShape` behaves as a sequence of `Dimension`s, whose
`value` is an int or None. A `Dimension` keeps the IR's dim, so sizes that are known only as expressions can be handed
on to `K.reshape` and the like.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ir import dims, dtypes
from ir.dims import Dim


class DType(str):
    """The name of an element type; equal to strings, numpy dtypes and numpy scalar types that mean the same."""

    __slots__ = ()

    @property
    def name(self) -> str:
        return str(self)

    @property
    def base_dtype(self) -> DType:
        return self

    @property
    def as_numpy_dtype(self) -> type:
        return np.dtype(str(self)).type

    @property
    def is_floating(self) -> bool:
        return dtypes.of(str(self)).is_float

    @property
    def is_integer(self) -> bool:
        return dtypes.of(str(self)).is_integer

    @property
    def is_bool(self) -> bool:
        return dtypes.of(str(self)).is_bool

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return str.__eq__(self, other)
        try:
            return np.dtype(str(self)) == np.dtype(other)  # type: ignore[call-overload]
        except TypeError:
            return False

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return str.__hash__(self)

    def __str__(self) -> str:
        return str.__str__(self)

    def __repr__(self) -> str:
        return f"<dtype: '{str(self)}'>"


class Dimension:
    """One size: `value` is an int, or None where it is not known yet."""

    __slots__ = ("dim",)

    def __init__(self, dim: Dim) -> None:
        self.dim = dim

    @property
    def value(self) -> int | None:
        return self.dim if isinstance(self.dim, int) else None

    def _known(self) -> int:
        if self.value is None:
            raise TypeError("this size is not known before the model runs; use K.shape(x) to compute with it")
        return self.value

    def __int__(self) -> int:
        return self._known()

    def __index__(self) -> int:
        return self._known()

    def __bool__(self) -> bool:
        return self.value is None or self.value != 0

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Dimension):
            return self.dim == other.dim
        return self.value == other

    def __hash__(self) -> int:
        return hash(self.value)

    def __lt__(self, other: Any) -> bool:
        return self._known() < int(other)

    def __le__(self, other: Any) -> bool:
        return self._known() <= int(other)

    def __gt__(self, other: Any) -> bool:
        return self._known() > int(other)

    def __ge__(self, other: Any) -> bool:
        return self._known() >= int(other)

    def __add__(self, other: Any) -> Dimension:
        return Dimension(self.dim + _dim(other))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Dimension:
        return Dimension(self.dim - _dim(other))

    def __rsub__(self, other: Any) -> Dimension:
        return Dimension(_dim(other) - self.dim)

    def __mul__(self, other: Any) -> Dimension:
        return Dimension(self.dim * _dim(other))

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Dimension:
        return Dimension(dims.floordiv(self.dim, _dim(other)))

    def __rfloordiv__(self, other: Any) -> Dimension:
        return Dimension(dims.floordiv(_dim(other), self.dim))

    def __truediv__(self, other: Any) -> float:
        return self._known() / int(other)

    def __mod__(self, other: Any) -> Dimension:
        return Dimension(dims.mod(self.dim, _dim(other)))

    def __str__(self) -> str:
        return "?" if self.value is None else str(self.value)

    def __repr__(self) -> str:
        return f"Dimension({self.value})"


def _dim(x: Any) -> Dim:
    return x.dim if isinstance(x, Dimension) else x if dims.is_dim(x) else int(x)


class TensorShape(Sequence[Dimension]):
    """A shape: a sequence of `Dimension`s that also compares with lists and tuples of ints and None."""

    __slots__ = ("_dims",)

    def __init__(self, shape: Sequence[Dim]) -> None:
        self._dims = tuple(shape)

    @property
    def ndims(self) -> int:
        return len(self._dims)

    @property
    def rank(self) -> int:
        return len(self._dims)

    @property
    def dims(self) -> list[Dimension]:
        return [Dimension(d) for d in self._dims]

    def as_list(self) -> list[int | None]:
        return [d.value for d in self.dims]

    def is_fully_defined(self) -> bool:
        return None not in self.as_list()

    def num_elements(self) -> int | None:
        size = dims.product(self._dims)
        return size if isinstance(size, int) else None

    def __len__(self) -> int:
        return len(self._dims)

    def __iter__(self) -> Iterator[Dimension]:
        return iter(self.dims)

    def __getitem__(self, key: Any) -> Any:
        return TensorShape(self._dims[key]) if isinstance(key, slice) else Dimension(self._dims[key])

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TensorShape):
            return self._dims == other._dims
        if isinstance(other, (list, tuple)):
            return self.as_list() == [x.value if isinstance(x, Dimension) else x for x in other]
        return False

    def __hash__(self) -> int:
        return hash(self._dims)

    def __str__(self) -> str:
        inner = ", ".join(str(d) for d in self.dims)
        return f"({inner},)" if len(self._dims) == 1 else f"({inner})"

    def __repr__(self) -> str:
        return f"TensorShape([{', '.join(repr(d) for d in self.dims)}])"
