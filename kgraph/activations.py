"""Activation functions by name. Layers look them up here; the functions themselves are operations of the backend."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from kgraph import backend as K
from kgraph.utils.generic_utils import deserialize_keras_object

_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805


def softmax(x: Any, axis: int = -1) -> Any:
    """exp(x) over its sum along `axis`. Raises ValueError for a tensor of rank 1."""
    if K.ndim(x) < 2:
        raise ValueError(f"Cannot apply softmax to a tensor that is 1D. Received input: {x}")
    return K.softmax(x, axis)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """`x` where it is positive, else `alpha * (exp(x) - 1)`."""
    return K.elu(x, alpha)


def selu(x: Any) -> Any:
    """Scaled exponential linear unit (Klambauer et al., 2017)."""
    return _SELU_SCALE * K.elu(x, _SELU_ALPHA)


def softplus(x: Any) -> Any:
    """log(exp(x) + 1)."""
    return K.softplus(x)


def softsign(x: Any) -> Any:
    """x / (1 + abs(x))."""
    return K.softsign(x)


def relu(x: Any, alpha: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Any:
    """`x` above `threshold`, `alpha * (x - threshold)` below, at most `max_value`."""
    return K.relu(x, alpha=alpha, max_value=max_value, threshold=threshold)


def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    return K.tanh(x)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return K.sigmoid(x)


def hard_sigmoid(x: Any) -> Any:
    """0.2 x + 0.5, limited to [0, 1]."""
    return K.hard_sigmoid(x)


def exponential(x: Any) -> Any:
    """exp(x)."""
    return K.exp(x)


def linear(x: Any) -> Any:
    """`x` itself."""
    return x


_BY_NAME: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        softmax,
        elu,
        selu,
        softplus,
        softsign,
        relu,
        tanh,
        sigmoid,
        hard_sigmoid,
        exponential,
        linear,
    )  # fmt: skip
}


def serialize(activation: Callable[..., Any]) -> str:
    """The name of an activation function."""
    return activation.__name__


def deserialize(name: Any, custom_objects: dict[str, Any] | None = None) -> Callable[..., Any]:
    """The activation function called `name`. Raises ValueError where there is none."""
    found: Callable[..., Any] = deserialize_keras_object(name, _BY_NAME, custom_objects, "activation function")
    return found


def get(identifier: Any) -> Callable[..., Any]:
    """The function that a layer's `activation` argument means: a name, a function, or None for `linear`."""
    if identifier is None:
        return linear
    if isinstance(identifier, str):
        return deserialize(identifier)
    if callable(identifier):
        from kgraph.engine.base_layer import Layer

        if isinstance(identifier, Layer):
            warnings.warn(
                f"Do not pass a layer instance (such as {identifier.__class__.__name__}) as the activation argument of "
                "another layer. Instead, advanced activation layers should be used just like any other layer in a "
                "model.",
                stacklevel=2,
            )
        return identifier
    raise ValueError("Could not interpret activation function identifier:", identifier)
