"""Loss functions: from targets and predictions to one number per sample, by name for `compile`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kgraph import backend as K
from kgraph.utils.generic_utils import deserialize_keras_object, serialize_keras_object


def mean_squared_error(y_true: Any, y_pred: Any) -> Any:
    return K.mean(K.square(y_pred - y_true), axis=-1)


def mean_absolute_error(y_true: Any, y_pred: Any) -> Any:
    return K.mean(K.abs(y_pred - y_true), axis=-1)


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Any:
    share = K.abs((y_true - y_pred) / K.clip(K.abs(y_true), K.epsilon(), None))
    return 100.0 * K.mean(share, axis=-1)


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Any:
    predicted = K.log(K.clip(y_pred, K.epsilon(), None) + 1.0)
    wanted = K.log(K.clip(y_true, K.epsilon(), None) + 1.0)
    return K.mean(K.square(predicted - wanted), axis=-1)


def squared_hinge(y_true: Any, y_pred: Any) -> Any:
    return K.mean(K.square(K.maximum(1.0 - y_true * y_pred, 0.0)), axis=-1)


def hinge(y_true: Any, y_pred: Any) -> Any:
    return K.mean(K.maximum(1.0 - y_true * y_pred, 0.0), axis=-1)


def categorical_hinge(y_true: Any, y_pred: Any) -> Any:
    right = K.sum(y_true * y_pred, axis=-1)
    wrong = K.max((1.0 - y_true) * y_pred, axis=-1)
    return K.maximum(0.0, wrong - right + 1.0)


def logcosh(y_true: Any, y_pred: Any) -> Any:
    """The mean of log(cosh(error)), without overflow: log(cosh(x)) = x + softplus(-2x) - log(2)."""
    error = y_pred - y_true
    return K.mean(error + K.softplus(-2.0 * error) - 0.6931471805599453, axis=-1)


def categorical_crossentropy(y_true: Any, y_pred: Any) -> Any:
    return K.categorical_crossentropy(y_true, y_pred)


def sparse_categorical_crossentropy(y_true: Any, y_pred: Any) -> Any:
    return K.sparse_categorical_crossentropy(y_true, y_pred)


def binary_crossentropy(y_true: Any, y_pred: Any) -> Any:
    return K.mean(K.binary_crossentropy(y_true, y_pred), axis=-1)


def kullback_leibler_divergence(y_true: Any, y_pred: Any) -> Any:
    wanted = K.clip(y_true, K.epsilon(), 1)
    predicted = K.clip(y_pred, K.epsilon(), 1)
    return K.sum(wanted * K.log(wanted / predicted), axis=-1)


def poisson(y_true: Any, y_pred: Any) -> Any:
    return K.mean(y_pred - y_true * K.log(y_pred + K.epsilon()), axis=-1)


def cosine_proximity(y_true: Any, y_pred: Any) -> Any:
    """Minus the cosine of the angle between target and prediction."""
    return -K.sum(K.l2_normalize(y_true, axis=-1) * K.l2_normalize(y_pred, axis=-1), axis=-1)


# Short names.
mse = MSE = mean_squared_error
mae = MAE = mean_absolute_error
mape = MAPE = mean_absolute_percentage_error
msle = MSLE = mean_squared_logarithmic_error
kld = KLD = kullback_leibler_divergence
cosine = cosine_proximity

Loss = Callable[[Any, Any], Any]

_FULL_NAMES: tuple[Loss, ...] = (
    mean_squared_error, mean_absolute_error, mean_absolute_percentage_error, mean_squared_logarithmic_error,
    squared_hinge, hinge, categorical_hinge, logcosh, categorical_crossentropy, sparse_categorical_crossentropy,
    binary_crossentropy, kullback_leibler_divergence, poisson, cosine_proximity,
)  # fmt: skip
_BY_NAME: dict[str, Loss] = {
    **{f.__name__: f for f in _FULL_NAMES},
    "mse": mse, "MSE": mse, "mae": mae, "MAE": mae, "mape": mape, "MAPE": mape, "msle": msle, "MSLE": msle,
    "kld": kld, "KLD": kld, "cosine": cosine,
}  # fmt: skip


def serialize(loss: Any) -> Any:
    """What stands for a loss in a config: its name."""
    return serialize_keras_object(loss)


def deserialize(name: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The loss called `name`. Raises ValueError where there is none."""
    return deserialize_keras_object(name, _BY_NAME, custom_objects, "loss function")


def get(identifier: Any) -> Any:
    """The loss that an argument of `compile` means: None, a name, a config or a function."""
    if identifier is None:
        return None
    if isinstance(identifier, (str, dict)):
        return deserialize(identifier)
    if callable(identifier):
        return identifier
    raise ValueError("Could not interpret loss function identifier:", identifier)
