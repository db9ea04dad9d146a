"""Moving elements: reshaping, transposing, joining, repeating, padding, slicing and gathering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ir import builder as b
from ir import dtypes
from ir.dims import Dim, floordiv, product
from ir.graph import Value
from kgraph.backend.config import normalize_data_format
from kgraph.backend.creation import as_shape, float_type
from kgraph.backend.sparse import SparseTensor, is_sparse
from kgraph.backend.tensor import Tensor, as_value


def _axis(axis: Any, rank: int, what: str) -> int:
    if not -rank <= int(axis) < rank:
        raise ValueError(f"{what}: axis {axis} is out of range for a tensor of rank {rank}")
    return int(axis) % rank


def reshape(x: Any, shape: Any) -> Tensor:
    """The same elements in another shape; one size may be -1 (or None), which takes what the others leave."""
    value = as_value(x)
    if not isinstance(shape, Tensor):
        shape = [-1 if d is None else d for d in ([shape] if isinstance(shape, int) else shape)]
    return Tensor(b.reshape(value, _filled_in(value.shape, as_shape(shape))))


def _filled_in(old: tuple[Dim, ...], new: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """`new` with -1 replaced by the size that keeps the number of elements."""
    unknown = [i for i, d in enumerate(new) if d == -1]
    if not unknown:
        return new
    words = "(" + ", ".join(str(d) for d in new) + ")"
    if len(unknown) > 1:
        raise ValueError(f"K.reshape: only one size can be -1, got {words}")
    rest, total = product(d for d in new if d != -1), product(old)
    if rest == 0:
        raise ValueError(f"K.reshape to {words}: the size -1 cannot be told beside a size of 0")
    if isinstance(rest, int) and isinstance(total, int) and total % rest:
        raise ValueError(f"K.reshape: {total} elements do not fill the shape {words}")
    return tuple(floordiv(total, rest) if i == unknown[0] else d for i, d in enumerate(new))


def permute_dimensions(x: Any, pattern: Sequence[int]) -> Tensor:
    """Axis i of the result is axis `pattern[i]` of `x`."""
    value = as_value(x)
    perm = [_axis(a, value.rank, "K.permute_dimensions") for a in pattern]
    return Tensor(b.transpose(value, perm))


def transpose(x: Any) -> Tensor:
    """`x` with its axes in reverse order."""
    value = as_value(x)
    return Tensor(b.transpose(value, range(value.rank)[::-1]))


def flatten(x: Any) -> Tensor:
    """All elements in one axis."""
    value = as_value(x)
    return Tensor(b.reshape(value, (value.type.size,)))


def batch_flatten(x: Any) -> Tensor:
    """All axes but the first in one axis."""
    value = as_value(x)
    return Tensor(b.reshape(value, (value.shape[0], product(value.shape[1:]))))


def expand_dims(x: Any, axis: int = -1) -> Tensor:
    """`x` with a new axis of size 1 at `axis`."""
    value = as_value(x)
    at = _axis(axis, value.rank + 1, "K.expand_dims")
    return Tensor(b.reshape(value, (*value.shape[:at], 1, *value.shape[at:])))


def squeeze(x: Any, axis: Any) -> Tensor:
    """`x` without `axis` (an int or several), whose size must be 1."""
    value = as_value(x)
    gone = {_axis(a, value.rank, "K.squeeze") for a in (axis if isinstance(axis, (list, tuple)) else [axis])}
    for a in gone:
        if isinstance(value.shape[a], int) and value.shape[a] != 1:
            raise ValueError(f"K.squeeze: axis {a} has size {value.shape[a]}, not 1")
    return Tensor(b.reshape(value, [d for i, d in enumerate(value.shape) if i not in gone]))


def concatenate(tensors: Sequence[Any], axis: int = -1) -> Tensor:
    """Joins tensors along `axis`; the result is sparse where all of them are."""
    values = _values(tensors, "K.concatenate")
    joined = b.apply1("concatenate", *values, axis=_axis(axis, values[0].rank, "K.concatenate"))
    return SparseTensor(joined) if all(is_sparse(x) for x in tensors) else Tensor(joined)


def stack(x: Sequence[Any], axis: int = 0) -> Tensor:
    """Joins tensors of one shape along a new axis."""
    values = _values(x, "K.stack")
    at = _axis(axis, values[0].rank + 1, "K.stack")
    parts = [b.reshape(v, (*v.shape[:at], 1, *v.shape[at:])) for v in values]
    return Tensor(b.apply1("concatenate", *parts, axis=at))


def _values(tensors: Sequence[Any], what: str) -> list[Value]:
    """The values of a list of tensors; numbers and arrays among them take the dtype of the first tensor."""
    if not isinstance(tensors, (list, tuple)) or not tensors:
        raise ValueError(f"{what} takes a list of at least one tensor, got {tensors!r}")
    first = next((x for x in tensors if isinstance(x, Tensor)), None)
    dtype = first.value.type.dtype if first is not None else float_type()
    return [as_value(x, dtype) for x in tensors]


def repeat_elements(x: Any, rep: int, axis: int) -> Tensor:
    """Each element along `axis` repeated `rep` times."""
    value = as_value(x)
    at = _axis(axis, value.rank, "K.repeat_elements")
    return Tensor(_repeat(value, {at: int(rep)}))


def _repeat(x: Value, times: dict[int, int]) -> Value:
    """Each element of `x` repeated `times[axis]` times along each axis of `times`."""
    thin: list[Dim] = []
    wide: list[Dim] = []
    final: list[Dim] = []
    for axis, d in enumerate(x.shape):
        n = times.get(axis)
        thin += [d] if n is None else [d, 1]
        wide += [d] if n is None else [d, n]
        final.append(d if n is None else d * n)
    return b.reshape(b.broadcast_to(b.reshape(x, thin), wide), final)


def repeat(x: Any, n: Any) -> Tensor:
    """A tensor of shape (samples, features) as (samples, n, features)."""
    value = as_value(x)
    if value.rank != 2:
        raise ValueError(f"K.repeat takes a tensor of rank 2, got rank {value.rank}")
    (count,) = as_shape([n])
    thin = b.reshape(value, (value.shape[0], 1, value.shape[1]))
    return Tensor(b.broadcast_to(thin, (value.shape[0], count, value.shape[1])))


def tile(x: Any, n: Any) -> Tensor:
    """`x` laid side by side `n[axis]` times along each axis."""
    value = as_value(x)
    counts = as_shape([n] * value.rank if isinstance(n, int) else n)
    if len(counts) != value.rank:
        raise ValueError(f"K.tile needs one number for each of {value.rank} axes, got {len(counts)}")
    thin = [d for size in value.shape for d in (1, size)]
    wide = [d for pair in zip(counts, value.shape, strict=True) for d in pair]
    final = [k * d for k, d in zip(counts, value.shape, strict=True)]
    return Tensor(b.reshape(b.broadcast_to(b.reshape(value, thin), wide), final))


def reverse(x: Any, axes: Any) -> Tensor:
    """`x` with its elements in reverse order along `axes` (an int or several)."""
    value = as_value(x)
    back = {_axis(a, value.rank, "K.reverse") for a in (axes if isinstance(axes, (list, tuple)) else [axes])}
    sizes = list(enumerate(value.shape))
    starts = [d - 1 if i in back else 0 for i, d in sizes]
    stops = [-1 if i in back else d for i, d in sizes]
    return Tensor(b.slice(value, starts, stops, [-1 if i in back else 1 for i, _ in sizes]))


def slice(x: Any, start: Any, size: Any) -> Tensor:
    """The part of `x` that begins at `start` and has the sizes `size`, -1 for all the rest of an axis."""
    value = as_value(x)
    starts, sizes = as_shape(start), as_shape(size)
    if not len(starts) == len(sizes) == value.rank:
        raise ValueError(f"K.slice needs a start and a size for each of {value.rank} axes, got {start} and {size}")
    stops = [d if n == -1 else s + n for d, s, n in zip(value.shape, starts, sizes, strict=True)]
    return Tensor(b.slice(value, starts, stops))


def gather(reference: Any, indices: Any) -> Tensor:
    """The rows (elements along the first axis) of `reference` at `indices`, a tensor or array of integers."""
    return Tensor(b.apply1("gather", as_value(reference), as_value(indices, dtypes.i32), axis=0))


def one_hot(indices: Any, num_classes: int) -> Tensor:
    """A new last axis of `num_classes` that is 1 at the index and 0 elsewhere."""
    return Tensor(b.apply1("one_hot", as_value(indices, dtypes.i32), depth=int(num_classes), dtype=float_type()))


# Padding and resizing of images and sequences


def temporal_padding(x: Any, padding: Sequence[int] = (1, 1)) -> Tensor:
    """Zeros before and after the middle axis of (samples, steps, features)."""
    value = as_value(x)
    if len(padding) != 2:
        raise ValueError(f"K.temporal_padding takes two numbers, got {padding}")
    return Tensor(_pad(value, {1: padding}, 3, "K.temporal_padding"))


def spatial_2d_padding(x: Any, padding: Any = ((1, 1), (1, 1)), data_format: str | None = None) -> Tensor:
    """Zeros around the rows and columns of images: `((top, bottom), (left, right))`."""
    return _spatial(x, padding, data_format, 2, "K.spatial_2d_padding")


def spatial_3d_padding(x: Any, padding: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None) -> Tensor:
    """Zeros around the three spatial axes of volumes."""
    return _spatial(x, padding, data_format, 3, "K.spatial_3d_padding")


def _spatial(x: Any, padding: Any, data_format: str | None, count: int, what: str) -> Tensor:
    if len(padding) != count or any(len(pair) != 2 for pair in padding):
        raise ValueError(f"{what} takes {count} pairs of numbers, got {padding}")
    first = 2 if normalize_data_format(data_format) == "channels_first" else 1
    pads = {first + i: pair for i, pair in enumerate(padding)}
    return Tensor(_pad(as_value(x), pads, count + 2, what))


def _pad(x: Value, pads: dict[int, Any], rank: int, what: str) -> Value:
    if x.rank != rank:
        raise ValueError(f"{what} takes a tensor of rank {rank}, got rank {x.rank}")
    pairs = [tuple(as_shape(pads[i])) if i in pads else (0, 0) for i in range(rank)]
    return b.apply1("pad", x, pads=tuple(pairs), value=0)


def resize_images(
    x: Any, height_factor: int, width_factor: int, data_format: str, interpolation: str = "nearest"
) -> Tensor:
    """Images enlarged by whole factors, by repeating pixels ('nearest') or between them ('bilinear')."""
    value = as_value(x)
    if value.rank != 4:
        raise ValueError(f"K.resize_images takes images of rank 4, got rank {value.rank}")
    first = 2 if normalize_data_format(data_format) == "channels_first" else 1
    factors = {first: int(height_factor), first + 1: int(width_factor)}
    if interpolation == "nearest":
        return Tensor(_repeat(value, factors))
    if interpolation != "bilinear":
        raise ValueError(f'interpolation should be one of "nearest" or "bilinear", got {interpolation!r}')
    for axis, factor in factors.items():
        value = _interpolate(value, axis, factor)
    return Tensor(value)


def resize_volumes(x: Any, depth_factor: int, height_factor: int, width_factor: int, data_format: str) -> Tensor:
    """Volumes enlarged by whole factors by repeating elements."""
    value = as_value(x)
    if value.rank != 5:
        raise ValueError(f"K.resize_volumes takes volumes of rank 5, got rank {value.rank}")
    first = 2 if normalize_data_format(data_format) == "channels_first" else 1
    factors = (depth_factor, height_factor, width_factor)
    return Tensor(_repeat(value, {first + i: int(f) for i, f in enumerate(factors)}))


def _interpolate(x: Value, axis: int, factor: int) -> Value:
    """Linear interpolation along `axis`: element i of the result lies at i / factor of `x`, cut at its end."""
    size = x.shape[axis]
    at = b.apply1("iota", size=size * factor, dtype=dtypes.i32)
    low = b.floordiv(at, factor)
    high = b.minimum(b.add(low, 1), b.reshape(b.sizes((size - 1,)), ()))
    share = b.div(b.cast(b.mod(at, factor), x.type.dtype), factor)
    share = b.reshape(share, [share.shape[0] if i == axis else 1 for i in range(x.rank)])
    first, second = (b.apply1("gather", x, i, axis=axis) for i in (low, high))
    return b.add(first, b.mul(b.sub(second, first), share))
