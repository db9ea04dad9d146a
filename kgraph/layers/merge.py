"""Layers that join several tensors: sums, products, maxima, concatenation, dot products."""

from __future__ import annotations

from functools import reduce
from typing import Any

from kgraph import backend as K
from kgraph.engine.base_layer import Layer

__all__ = [
    "Add",
    "Average",
    "Concatenate",
    "Dot",
    "Maximum",
    "Minimum",
    "Multiply",
    "Subtract",
    "add",
    "average",
    "concatenate",
    "dot",
    "maximum",
    "minimum",
    "multiply",
    "subtract",
]

Shape = tuple[Any, ...]
_ON_A_LIST = "A merge layer should be called on a list of inputs."


class _Merge(Layer):
    """What elementwise merges share: inputs of different rank or size broadcast, from the axis after the batch on."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def _merge_function(self, inputs: list[Any]) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not say how it merges.")

    def _compute_elemwise_op_output_shape(self, shape1: Any, shape2: Any) -> Any:
        """The shape of an operation on two tensors, without their batch axes."""
        if None in (shape1, shape2):
            return None
        if len(shape1) < len(shape2):
            return self._compute_elemwise_op_output_shape(shape2, shape1)
        if not shape2:
            return shape1
        output = list(shape1[: -len(shape2)])
        for i, j in zip(shape1[-len(shape2) :], shape2, strict=True):
            if i is None or j is None:
                output.append(None)
            elif i == 1:
                output.append(j)
            elif j == 1:
                output.append(i)
            elif i != j:
                raise ValueError(f"Operands could not be broadcast together with shapes {shape1} {shape2}")
            else:
                output.append(i)
        return tuple(output)

    def build(self, input_shape: Any) -> None:
        if not isinstance(input_shape, list):
            raise ValueError(_ON_A_LIST)
        if len(input_shape) < 2:
            raise ValueError(
                f"A merge layer should be called on a list of at least 2 inputs. Got {len(input_shape)} inputs."
            )
        batch_sizes = {s[0] for s in input_shape if s is not None} - {None}
        if len(batch_sizes) > 1:
            raise ValueError(
                f"Can not merge tensors with different batch sizes. Got tensors with shapes : {input_shape}"
            )
        self.compute_output_shape(input_shape)
        self.built = True

    def call(self, inputs: Any) -> Any:
        if not isinstance(inputs, list):
            raise ValueError(_ON_A_LIST)
        rank = max(K.ndim(x) for x in inputs)
        return self._merge_function([_with_rank(x, rank) for x in inputs])

    def compute_output_shape(self, input_shape: Any) -> Any:
        output: Any = None if input_shape[0] is None else tuple(input_shape[0][1:])
        for shape in input_shape[1:]:
            output = self._compute_elemwise_op_output_shape(output, None if shape is None else tuple(shape[1:]))
        batch_sizes = {s[0] for s in input_shape if s is not None} - {None}
        batch = batch_sizes.pop() if len(batch_sizes) == 1 else None
        return (batch, *output)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if mask is None:
            return None
        if not isinstance(mask, list):
            raise ValueError("`mask` should be a list.")
        if not isinstance(inputs, list):
            raise ValueError("`inputs` should be a list.")
        if len(mask) != len(inputs):
            raise ValueError("The lists `inputs` and `mask` should have the same length.")
        masks = [K.expand_dims(m, 0) for m in mask if m is not None]
        return K.all(K.concatenate(masks, axis=0), axis=0) if masks else None


def _with_rank(x: Any, rank: int) -> Any:
    """`x` with axes of size one after the batch axis, up to `rank` axes."""
    for _ in range(rank - K.ndim(x)):
        x = K.expand_dims(x, axis=1)
    return x


class Add(_Merge):
    """The sum of the inputs."""

    def _merge_function(self, inputs: list[Any]) -> Any:
        return reduce(lambda a, b: a + b, inputs)


class Subtract(_Merge):
    """The first input minus the second."""

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        if len(input_shape) != 2:
            raise ValueError("A `Subtract` layer should be called on exactly 2 inputs")

    def _merge_function(self, inputs: list[Any]) -> Any:
        if len(inputs) != 2:
            raise ValueError("A `Subtract` layer should be called on exactly 2 inputs")
        return inputs[0] - inputs[1]


class Multiply(_Merge):
    """The product of the inputs, element by element."""

    def _merge_function(self, inputs: list[Any]) -> Any:
        return reduce(lambda a, b: a * b, inputs)


class Average(_Merge):
    """The mean of the inputs."""

    def _merge_function(self, inputs: list[Any]) -> Any:
        return reduce(lambda a, b: a + b, inputs) / len(inputs)


class Maximum(_Merge):
    """The largest of the inputs, element by element."""

    def _merge_function(self, inputs: list[Any]) -> Any:
        return reduce(K.maximum, inputs)


class Minimum(_Merge):
    """The smallest of the inputs, element by element."""

    def _merge_function(self, inputs: list[Any]) -> Any:
        return reduce(K.minimum, inputs)


class Concatenate(_Merge):
    """The inputs side by side.

    # Arguments
        axis: the axis along which they are put.
    """

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def build(self, input_shape: Any) -> None:
        if not isinstance(input_shape, list) or len(input_shape) < 2:
            raise ValueError("A `Concatenate` layer should be called on a list of at least 2 inputs")
        if all(shape is None for shape in input_shape):
            return
        rest = []
        for shape in input_shape:
            others = list(shape)
            del others[self.axis]
            rest.append(others)
        for other in rest[1:]:
            fits = len(other) == len(rest[0]) and all(
                i == j or i is None or j is None for i, j in zip(other, rest[0], strict=True)
            )
            if not fits:
                raise ValueError(
                    "A `Concatenate` layer requires inputs with matching shapes except for the concat axis. "
                    f"Got inputs shapes: {input_shape}"
                )
        self.built = True

    def call(self, inputs: Any) -> Any:
        if not isinstance(inputs, list):
            raise ValueError("A `Concatenate` layer should be called on a list of inputs.")
        return K.concatenate(inputs, axis=self.axis)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        if not isinstance(input_shape, list):
            raise ValueError("A `Concatenate` layer should be called on a list of inputs.")
        output = list(input_shape[0])
        for shape in input_shape[1:]:
            if output[self.axis] is None or shape[self.axis] is None:
                output[self.axis] = None
                break
            output[self.axis] += shape[self.axis]
        return tuple(output)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if mask is None or all(m is None for m in mask):
            return None
        masks = []
        for x, m in zip(inputs, mask, strict=True):
            if m is None:
                masks.append(K.cast(K.ones_like(x), "bool"))
            elif K.ndim(m) < K.ndim(x):
                masks.append(K.cast(K.expand_dims(K.cast(m, K.dtype(x))) * K.ones_like(x), "bool"))
            else:
                masks.append(m)
        return K.all(K.concatenate(masks, axis=self.axis), axis=-1, keepdims=False)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class Dot(_Merge):
    """Dot products of two tensors' samples.

    # Arguments
        axes: the axis of both, or one of each, along which products are summed.
        normalize: whether to make vectors along these axes of length one before: cosine proximity.
    """

    def __init__(self, axes: Any, normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(axes, int):
            if not isinstance(axes, (list, tuple)):
                raise TypeError("Invalid type for `axes` - should be a list or an int.")
            if len(axes) != 2:
                raise ValueError("Invalid format for `axes` - should contain two elements.")
            if not isinstance(axes[0], int) or not isinstance(axes[1], int):
                raise ValueError("Invalid format for `axes` - list elements should be \"int\".")
        self.axes = axes
        self.normalize = normalize

    def _axes_of(self, rank1: int, rank2: int) -> list[int]:
        if isinstance(self.axes, int):
            return [self.axes % rank1, self.axes % rank2] if self.axes < 0 else [self.axes, self.axes]
        return [self.axes[0] % rank1, self.axes[1] % rank2]

    def build(self, input_shape: Any) -> None:
        if not isinstance(input_shape, list) or len(input_shape) != 2:
            raise ValueError("A `Dot` layer should be called on a list of 2 inputs.")
        shape1, shape2 = input_shape
        axes = self._axes_of(len(shape1), len(shape2))
        if shape1[axes[0]] != shape2[axes[1]]:
            raise ValueError(
                f"Dimension incompatibility {shape1[axes[0]]} != {shape2[axes[1]]}. Layer shapes: {shape1}, {shape2}"
            )
        self.built = True

    def call(self, inputs: Any) -> Any:
        if not isinstance(inputs, list) or len(inputs) != 2:
            raise ValueError("A `Dot` layer should be called on exactly 2 inputs")
        x1, x2 = inputs
        axes = self._axes_of(K.ndim(x1), K.ndim(x2))
        if self.normalize:
            x1 = K.l2_normalize(x1, axis=axes[0])
            x2 = K.l2_normalize(x2, axis=axes[1])
        return K.batch_dot(x1, x2, axes)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        if not isinstance(input_shape, list) or len(input_shape) != 2:
            raise ValueError("A `Dot` layer should be called on a list of 2 inputs.")
        shape1, shape2 = list(input_shape[0]), list(input_shape[1])
        axes = self._axes_of(len(shape1), len(shape2))
        shape1.pop(axes[0])
        shape2.pop(axes[1])
        shape2.pop(0)
        output = shape1 + shape2
        return tuple(output if len(output) > 1 else [*output, 1])

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axes": self.axes, "normalize": self.normalize}


def add(inputs: list[Any], **kwargs: Any) -> Any:
    """The sum of these tensors; `kwargs` go to the layer."""
    return Add(**kwargs)(inputs)


def subtract(inputs: list[Any], **kwargs: Any) -> Any:
    """The first tensor minus the second."""
    return Subtract(**kwargs)(inputs)


def multiply(inputs: list[Any], **kwargs: Any) -> Any:
    """The product of these tensors, element by element."""
    return Multiply(**kwargs)(inputs)


def average(inputs: list[Any], **kwargs: Any) -> Any:
    """The mean of these tensors."""
    return Average(**kwargs)(inputs)


def maximum(inputs: list[Any], **kwargs: Any) -> Any:
    """The largest of these tensors, element by element."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: list[Any], **kwargs: Any) -> Any:
    """The smallest of these tensors, element by element."""
    return Minimum(**kwargs)(inputs)


def concatenate(inputs: list[Any], axis: int = -1, **kwargs: Any) -> Any:
    """These tensors side by side."""
    return Concatenate(axis=axis, **kwargs)(inputs)


def dot(inputs: list[Any], axes: Any, normalize: bool = False, **kwargs: Any) -> Any:
    """Dot products of two tensors' samples."""
    return Dot(axes=axes, normalize=normalize, **kwargs)(inputs)
