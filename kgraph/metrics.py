"""Metric functions: like losses, but only reported. All losses are metrics too, except `categorical_hinge`'s name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kgraph import backend as K
from kgraph.losses import (
    MAE,
    MAPE,
    MSE,
    MSLE,
    binary_crossentropy,
    categorical_crossentropy,
    cosine,
    cosine_proximity,
    hinge,
    kullback_leibler_divergence,
    logcosh,
    mae,
    mape,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    mse,
    msle,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from kgraph.utils.generic_utils import deserialize_keras_object, serialize_keras_object

__all__ = [
    "MAE", "MAPE", "MSE", "MSLE", "binary_accuracy", "binary_crossentropy", "categorical_accuracy",
    "categorical_crossentropy", "cosine", "cosine_proximity", "deserialize", "get", "hinge",
    "kullback_leibler_divergence", "logcosh", "mae", "mape", "mean_absolute_error",
    "mean_absolute_percentage_error", "mean_squared_error", "mean_squared_logarithmic_error", "mse", "msle",
    "poisson", "serialize", "sparse_categorical_accuracy", "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy", "squared_hinge", "top_k_categorical_accuracy",
]  # fmt: skip


def binary_accuracy(y_true: Any, y_pred: Any) -> Any:
    """The share of elements that round to the target."""
    return K.mean(K.equal(y_true, K.round(y_pred)), axis=-1)


def categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 where the largest prediction is that of the class (one-hot targets), else 0."""
    return K.cast(K.equal(K.argmax(y_true, axis=-1), K.argmax(y_pred, axis=-1)), K.floatx())


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 where the largest prediction is that of the class (class numbers as targets), else 0."""
    if K.ndim(y_true) == K.ndim(y_pred):
        y_true = K.squeeze(y_true, -1)
    predicted = K.cast(K.argmax(y_pred, axis=-1), K.dtype(y_true))
    return K.cast(K.equal(y_true, predicted), K.floatx())


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Any:
    """The share of samples whose class (one-hot targets) is among the `k` largest predictions."""
    return K.mean(K.in_top_k(y_pred, K.argmax(y_true, axis=-1), k), axis=-1)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Any:
    """The share of samples whose class (class numbers as targets) is among the `k` largest predictions."""
    return K.mean(K.in_top_k(y_pred, K.cast(K.flatten(y_true), "int32"), k), axis=-1)


Metric = Callable[..., Any]

_FULL_NAMES: tuple[Metric, ...] = (
    binary_accuracy, categorical_accuracy, sparse_categorical_accuracy, top_k_categorical_accuracy,
    sparse_top_k_categorical_accuracy, mean_squared_error, mean_absolute_error, mean_absolute_percentage_error,
    mean_squared_logarithmic_error, hinge, squared_hinge, logcosh, categorical_crossentropy,
    sparse_categorical_crossentropy, binary_crossentropy, kullback_leibler_divergence, poisson, cosine_proximity,
)  # fmt: skip
_BY_NAME: dict[str, Metric] = {
    **{f.__name__: f for f in _FULL_NAMES},
    "mse": mse, "MSE": MSE, "mae": mae, "MAE": MAE, "mape": mape, "MAPE": MAPE, "msle": msle, "MSLE": MSLE,
    "cosine": cosine,
}  # fmt: skip


def serialize(metric: Any) -> Any:
    """What stands for a metric in a config: its name."""
    return serialize_keras_object(metric)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The metric of a name or config. Raises ValueError where there is none."""
    return deserialize_keras_object(config, _BY_NAME, custom_objects, "metric function")


def get(identifier: Any) -> Any:
    """The metric that an argument of `compile` means: a name, a config or a function."""
    if isinstance(identifier, (str, dict)):
        return deserialize(identifier)
    if callable(identifier):
        return identifier
    raise ValueError(f"Could not interpret metric function identifier: {identifier}")
