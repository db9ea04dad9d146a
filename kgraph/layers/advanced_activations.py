"""Activations with parameters, as layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from kgraph import activations
from kgraph import backend as K
from kgraph.engine.base_layer import InputSpec, Layer
from kgraph.layers import weight_settings
from kgraph.legacy import interfaces
from kgraph.utils.generic_utils import to_list

__all__ = ["ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax", "ThresholdedReLU", "to_list"]


class LeakyReLU(Layer):
    """`x` where it is positive, else `alpha * x`."""

    def __init__(self, alpha: float = 0.3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.alpha = K.cast_to_floatx(alpha)

    def call(self, inputs: Any) -> Any:
        return K.relu(inputs, alpha=float(self.alpha))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": float(self.alpha)}


class PReLU(Layer):
    """`x` where it is positive, else a learned `alpha * x`.

    # Arguments
        alpha_initializer, alpha_regularizer, alpha_constraint: of the weights.
        shared_axes: axes along which all elements share one alpha.
    """

    @interfaces.legacy_prelu_support
    def __init__(
        self,
        alpha_initializer: Any = "zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        weight_settings.keep(self, "alpha", alpha_initializer, alpha_regularizer, alpha_constraint)
        if shared_axes is None:
            self.shared_axes = None
        else:
            self.shared_axes = list(shared_axes) if isinstance(shared_axes, (list, tuple)) else [shared_axes]

    def build(self, input_shape: Any) -> None:
        shared = set(self.shared_axes or ())
        shape = tuple(1 if i in shared else size for i, size in enumerate(input_shape) if i)
        self.alpha = weight_settings.add(self, "alpha", shape)
        axes = {i: size for i, size in enumerate(input_shape) if i and i not in shared} if shared else {}
        self.input_spec = InputSpec(ndim=len(input_shape), axes=axes)
        self.built = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        return K.relu(inputs) - self.alpha * K.relu(-inputs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **weight_settings.config(self, "alpha", activity=False),
            "shared_axes": self.shared_axes,
        }


class ELU(Layer):
    """`x` where it is positive, else `alpha * (exp(x) - 1)`."""

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.alpha = K.cast_to_floatx(alpha)

    def call(self, inputs: Any) -> Any:
        return K.elu(inputs, float(self.alpha))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": float(self.alpha)}


class ThresholdedReLU(Layer):
    """`x` where it is above `theta`, else 0."""

    def __init__(self, theta: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.theta = K.cast_to_floatx(theta)

    def call(self, inputs: Any, mask: Any = None) -> Any:
        return inputs * K.cast(K.greater(inputs, float(self.theta)), K.floatx())

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "theta": float(self.theta)}


class Softmax(Layer):
    """`exp(x)` divided by its sum along `axis`."""

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.axis = axis

    def call(self, inputs: Any) -> Any:
        return activations.softmax(inputs, axis=self.axis)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class ReLU(Layer):
    """`x` above `threshold`, `negative_slope * (x - threshold)` below it, at most `max_value`."""

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if max_value is not None and max_value < 0.0:
            raise ValueError(f"max_value of ReLU layer cannot be negative value: {max_value}")
        if negative_slope < 0.0:
            raise ValueError(f"negative_slope of ReLU layer cannot be negative value: {negative_slope}")
        self.supports_masking = True
        self.max_value = None if max_value is None else K.cast_to_floatx(max_value)
        self.negative_slope = K.cast_to_floatx(negative_slope)
        self.threshold = K.cast_to_floatx(threshold)

    def call(self, inputs: Any) -> Any:
        return activations.relu(
            inputs,
            alpha=float(self.negative_slope),
            max_value=None if self.max_value is None else float(self.max_value),
            threshold=float(self.threshold),
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_value": _scalar(self.max_value),
            "negative_slope": _scalar(self.negative_slope),
            "threshold": _scalar(self.threshold),
        }


def _scalar(x: np.ndarray | None) -> float | None:
    return None if x is None else float(x)
