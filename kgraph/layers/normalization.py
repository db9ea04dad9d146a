"""Batch normalisation. The operations behind it are in `kgraph.backend.nn`."""

from __future__ import annotations

from typing import Any

from kgraph import backend as K
from kgraph import initializers
from kgraph.engine.base_layer import InputSpec, Layer
from kgraph.layers import weight_settings
from kgraph.legacy import interfaces

__all__ = ["BatchNormalization", "InputSpec", "Layer"]


class BatchNormalization(Layer):
    """Each channel scaled and shifted to mean 0 and variance 1, then by learned factors.

    In training mean and variance are those of the batch, and moving averages of them are kept; elsewhere they are the
    moving averages. Calling the layer with `training=False` always uses the moving averages. A layer with
    `trainable = False` still uses the batch's statistics in training, but does not update its averages.

    # Arguments
        axis: the axis of the channels.
        momentum: share of the old moving average that stays at each update.
        epsilon: added to the variance, so that it can be divided by.
        center, scale: whether there are learned shifts (beta) and factors (gamma).
        *_initializer, *_regularizer, *_constraint: of the weights of these names.

    # Input shape and output shape
        Any; the size of `axis` must be known.

    # References
        Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
        Shift", arXiv:1502.03167
    """

    @interfaces.legacy_batchnorm_support
    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.axis = axis
        self.momentum = momentum
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        weight_settings.keep(self, "beta", beta_initializer, beta_regularizer, beta_constraint)
        weight_settings.keep(self, "gamma", gamma_initializer, gamma_regularizer, gamma_constraint)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)

    def build(self, input_shape: Any) -> None:
        if not -len(input_shape) <= self.axis < len(input_shape):
            raise ValueError(
                f"Layer {self.name}: axis {self.axis} does not exist in an input of shape {tuple(input_shape)}."
            )
        size = input_shape[self.axis]
        if size is None:
            raise ValueError(
                f"Axis {self.axis} of input tensor should have a defined dimension but the layer received an input "
                f"with shape {tuple(input_shape)}."
            )
        self.gamma = self.beta = None
        if self.scale:
            self.gamma = weight_settings.add(self, "gamma", (size,))
        if self.center:
            self.beta = weight_settings.add(self, "beta", (size,))
        self.moving_mean = self.add_weight(
            name="moving_mean", shape=(size,), initializer=self.moving_mean_initializer, trainable=False
        )
        self.moving_variance = self.add_weight(
            name="moving_variance", shape=(size,), initializer=self.moving_variance_initializer, trainable=False
        )
        self.input_spec = InputSpec(ndim=len(input_shape), axes={self.axis: size})
        self.built = True

    def call(self, inputs: Any, training: Any = None) -> Any:
        # A number known now; a tensor, or the learning phase for None, is decided when the model runs.
        if not K.is_tensor(training) and training is not None and not training:
            return self._normalize_by_averages(inputs)
        axes = [axis for axis in range(K.ndim(inputs)) if axis != self.axis % K.ndim(inputs)]
        normed, mean, variance = K.normalize_batch_in_training(
            inputs, self.gamma, self.beta, axes, epsilon=self.epsilon
        )
        # The batch's variance divides by its size n, the averages' by n - 1 - epsilon.
        size: Any = 1
        for axis in axes:
            size = K.shape(inputs)[axis] * size
        size = K.cast(size, K.dtype(variance))
        variance = variance * (size / (size - (1.0 + self.epsilon)))
        self.add_update(
            [
                K.moving_average_update(self.moving_mean, mean, self.momentum),
                K.moving_average_update(self.moving_variance, variance, self.momentum),
            ],
            inputs,
        )
        return K.in_train_phase(normed, lambda: self._normalize_by_averages(inputs), training=training)

    def _normalize_by_averages(self, inputs: Any) -> Any:
        weights = [self.moving_mean, self.moving_variance, self.beta, self.gamma]
        rank = K.ndim(inputs)
        axis = self.axis % rank
        if axis != rank - 1:
            along = [-1 if i == axis else 1 for i in range(rank)]
            weights = [None if w is None else K.reshape(w, along) for w in weights]
        mean, variance, beta, gamma = weights
        return K.batch_normalization(inputs, mean, variance, beta, gamma, axis=self.axis, epsilon=self.epsilon)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            **weight_settings.config(self, "beta", "gamma", "moving_mean", "moving_variance", activity=False),
        }
