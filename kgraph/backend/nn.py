"""Neural network operations: activations, cross entropies, dropout, normalisation. Convolutions are in `conv.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ir import builder as b
from ir import dtypes
from ir.graph import Value
from kgraph.backend import math as kmath
from kgraph.backend import session
from kgraph.backend.creation import as_shape
from kgraph.backend.random import uniform
from kgraph.backend.tensor import Tensor, as_value, operands

# Activations


def relu(x: Any, alpha: Any = 0.0, max_value: Any = None, threshold: Any = 0.0) -> Tensor:
    """`x` above `threshold`, `alpha * (x - threshold)` below, at most `max_value`."""
    value = as_value(x)
    plain = not isinstance(alpha, Tensor) and alpha == 0
    shifted = isinstance(threshold, Tensor) or threshold != 0
    if not plain and max_value is None and not shifted:
        return Tensor(b.apply1("leaky_relu", value, as_value(alpha, value.type.dtype)))
    if shifted:
        limit = as_value(threshold, value.type.dtype)
        result = b.mul(value, b.cast(b.compare("greater", value, limit), value.type.dtype))
    else:
        result = b.unary("relu", value)
    if max_value is not None:
        result = kmath.clip(Tensor(result), 0, max_value).value
    if not plain:
        below = b.unary("relu", b.sub(limit, value) if shifted else b.neg(value))
        result = b.sub(result, b.mul(as_value(alpha, value.type.dtype), below))
    return Tensor(result)


def elu(x: Any, alpha: Any = 1.0) -> Tensor:
    """`x` where it is positive, else `alpha * (exp(x) - 1)`."""
    value = as_value(x)
    return Tensor(b.apply1("elu", value, as_value(alpha, value.type.dtype)))


def softmax(x: Any, axis: int = -1) -> Tensor:
    """exp(x) over its sum along `axis`."""
    value = as_value(x)
    return Tensor(b.apply1("softmax", value, axis=kmath.axes_of(value, axis, "K.softmax")[0]))


def softplus(x: Any) -> Tensor:
    """log(exp(x) + 1)."""
    return Tensor(b.unary("softplus", as_value(x)))


def softsign(x: Any) -> Tensor:
    """x / (1 + abs(x))."""
    return Tensor(b.unary("softsign", as_value(x)))


def tanh(x: Any) -> Tensor:
    return Tensor(b.unary("tanh", as_value(x)))


def sigmoid(x: Any) -> Tensor:
    return Tensor(b.unary("sigmoid", as_value(x)))


def hard_sigmoid(x: Any) -> Tensor:
    """0.2 x + 0.5, limited to [0, 1]."""
    return Tensor(b.unary("hard_sigmoid", as_value(x)))


# Cross entropies


def _probabilities(x: Value) -> Value:
    """`x` kept away from 0 and 1 by the fuzz factor."""
    epsilon = session.current().config.epsilon
    dtype = x.type.dtype
    return b.apply1("clip", x, as_value(epsilon, dtype), as_value(1.0 - epsilon, dtype))


def _class_axis(output: Value, axis: int) -> int:
    if axis != -1 and axis not in range(output.rank):
        raise ValueError(
            f"Unexpected channels axis {axis}. Expected to be -1 or one of the axes of `output`, "
            f"which has {output.rank} dimensions."
        )
    return axis % output.rank


def _classes_last(x: Value, axis: int) -> Value:
    return b.transpose(x, [i for i in range(x.rank) if i != axis] + [axis])


def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Tensor:
    """The cross entropy of `output` (probabilities, or logits) and `target` (probabilities) along `axis`."""
    labels, predicted = operands(target, output)
    at = _class_axis(predicted, axis)
    if from_logits:
        last = (_classes_last(v, at) for v in (labels, predicted))
        return Tensor(b.apply1("softmax_crossentropy", *last))
    share = b.div(predicted, b.reduce_sum(predicted, (at,), keepdims=True))
    return Tensor(b.neg(b.reduce_sum(b.mul(labels, b.unary("log", _probabilities(share))), (at,))))


def sparse_categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Tensor:
    """The cross entropy of `output` (probabilities, or logits) and the class numbers `target`."""
    predicted = as_value(output)
    last = _classes_last(predicted, _class_axis(predicted, axis))
    logits = last if from_logits else b.unary("log", _probabilities(last))
    labels = b.cast(as_value(target, dtypes.i64), dtypes.i64)
    return Tensor(b.apply1("sparse_softmax_crossentropy", b.reshape(labels, logits.shape[:-1]), logits))


def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Tensor:
    """The cross entropy of each element of `output` (a probability, or logit) and of `target`."""
    labels, logits = operands(target, output)
    if not from_logits:
        chance = _probabilities(logits)
        logits = b.unary("log", b.div(chance, b.sub(1, chance)))
    return Tensor(b.apply1("sigmoid_crossentropy", labels, logits))


def in_top_k(predictions: Any, targets: Any, k: int) -> Tensor:
    """For each sample whether the class `targets` is among the `k` with the highest `predictions`; bool.

    Classes that tie with the last of the `k` all count.
    """
    scores, classes = as_value(predictions), as_value(targets, dtypes.i64)
    numbers = b.apply1("iota", size=scores.shape[1], dtype=dtypes.i64)
    column = b.reshape(b.cast(classes, dtypes.i64), (scores.shape[0], 1))
    chosen = b.compare("equal", numbers, column)
    score = b.reduce("reduce_sum", b.select(chosen, scores, 0), (1,), keepdims=True)
    better = b.reduce_sum(b.cast(b.compare("greater", scores, score), dtypes.i32), (1,))
    known = b.apply1(
        "logical_and",
        b.reduce("reduce_any", chosen, (1,)),
        b.reduce("reduce_all", b.compare("less", b.unary("abs", scores), float("inf")), (1,)),
    )
    return Tensor(b.apply1("logical_and", known, b.compare("less", better, int(k))))


# Dropout


def dropout(x: Any, level: float, noise_shape: Any = None, seed: int | None = None) -> Tensor:
    """`x` with a share `level` of its elements set to 0 and the others scaled to keep the mean.

    `noise_shape` is the shape of the mask, with 1 (or the size itself, or None) for each axis: an axis of size 1 drops
    together.
    """
    value = as_value(x)
    if not 0 <= level < 1:
        raise ValueError(f"K.dropout: `level` is a share in [0, 1), got {level}")
    shape: Any = value.shape
    if noise_shape is not None:
        given = noise_shape if isinstance(noise_shape, Tensor) else list(noise_shape)
        if isinstance(given, list) and len(given) == value.rank:
            given = [d if n is None else n for d, n in zip(value.shape, given, strict=True)]
        shape = as_shape(given)
    kept = b.compare("greater_equal", uniform(shape, value.type.dtype, seed), float(level))
    return Tensor(b.mul(value, b.select(kept, b.constant(1.0 / (1.0 - level), value.type.dtype), 0)))


# Normalisation


def batch_normalization(
    x: Any, mean: Any, var: Any, beta: Any, gamma: Any, axis: int = -1, epsilon: float = 1e-3
) -> Tensor:
    """`(x - mean) / sqrt(var + epsilon) * gamma + beta`; `beta` and `gamma` may be None.

    The parameters are vectors along `axis` (or reshaped to broadcast along it), or any shapes that broadcast.
    """
    value = as_value(x)
    dtype = value.type.dtype
    at = kmath.axes_of(value, axis, "K.batch_normalization")[0]
    given = [None if p is None else as_value(p, dtype) for p in (mean, var, gamma, beta)]
    vectors = [_vector(p, value, at) for p in given if p is not None]
    if all(v is not None for v in vectors):
        size = (value.shape[at],)
        ready = iter([v for v in vectors if v is not None])
        parameters = [
            b.full(size, default, dtype) if p is None else next(ready)
            for p, default in zip(given, (0, 1, 1, 0), strict=True)
        ]
        return Tensor(b.apply1("batch_norm", value, *parameters, axis=at, epsilon=float(epsilon)))
    means, variances, scale, shift = given
    return Tensor(_normalized(value, means, variances, scale, shift, epsilon))


def _vector(p: Value, x: Value, axis: int) -> Value | None:
    """`p` as a vector along `axis` of `x`; None where it broadcasts in another way."""
    size = x.shape[axis]
    if p.rank == 1 and (p.shape[0] == size or not isinstance(p.shape[0], int)):
        return b.reshape(p, (size,))
    broadcast = tuple(d if i == axis else 1 for i, d in enumerate(x.shape))
    return b.reshape(p, (size,)) if p.shape in (broadcast, broadcast[axis:]) else None


def _normalized(
    x: Value, mean: Value | None, var: Value | None, gamma: Value | None, beta: Value | None, epsilon: float
) -> Value:
    assert mean is not None and var is not None
    scale = b.unary("rsqrt", b.add(var, epsilon))
    if gamma is not None:
        scale = b.mul(scale, gamma)
    result = b.mul(b.sub(x, mean), scale)
    return result if beta is None else b.add(result, beta)


def normalize_batch_in_training(
    x: Any, gamma: Any, beta: Any, reduction_axes: Sequence[int], epsilon: float = 1e-3
) -> tuple[Tensor, Tensor, Tensor]:
    """`x` normalised by its own mean and variance over `reduction_axes`; then these two (the variance divides by n).

    `gamma` and `beta` are vectors along the axis that is left, or None.
    """
    value = as_value(x)
    dtype = value.type.dtype
    gone = kmath.axes_of(value, list(reduction_axes), "K.normalize_batch_in_training")
    left = [i for i in range(value.rank) if i not in gone]
    if len(left) == 1 and isinstance(value.shape[left[0]], int):
        size = (value.shape[left[0]],)
        scale = b.full(size, 1, dtype) if gamma is None else b.reshape(as_value(gamma, dtype), size)
        shift = b.full(size, 0, dtype) if beta is None else b.reshape(as_value(beta, dtype), size)
        found = b.apply("batch_norm_train", value, scale, shift, axis=left[0], epsilon=float(epsilon))
        normed, mean, var = (Tensor(v) for v in found)
        return normed, mean, var
    wide_mean = b.reduce_mean(value, gone, keepdims=True)
    wide_var = b.reduce_mean(b.unary("square", b.sub(value, wide_mean)), gone, keepdims=True)
    scale_, shift_ = (None if p is None else _spread(as_value(p, dtype), value, left) for p in (gamma, beta))
    result = _normalized(value, wide_mean, wide_var, scale_, shift_, epsilon)
    kept = [value.shape[i] for i in left]
    return Tensor(result), Tensor(b.reshape(wide_mean, kept)), Tensor(b.reshape(wide_var, kept))


def _spread(p: Value, x: Value, left: Sequence[int]) -> Value:
    """A parameter over the axes `left` shaped to broadcast against `x`."""
    if p.rank != len(left):
        return p
    return b.reshape(p, [x.shape[i] if i in left else 1 for i in range(x.rank)])
