"""Layers that add noise in training."""

from __future__ import annotations

from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph.engine.base_layer import Layer
from kgraph.legacy import interfaces

__all__ = ["AlphaDropout", "GaussianDropout", "GaussianNoise"]


class GaussianNoise(Layer):
    """Adds normal noise of mean 0 in training.

    # Arguments
        stddev: standard deviation of the noise.
    """

    @interfaces.legacy_gaussiannoise_support
    def __init__(self, stddev: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.stddev = stddev

    def call(self, inputs: Any, training: Any = None) -> Any:
        def noised() -> Any:
            return inputs + K.random_normal(shape=K.shape(inputs), mean=0.0, stddev=self.stddev)

        return K.in_train_phase(noised, inputs, training=training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stddev": self.stddev}


class GaussianDropout(Layer):
    """Multiplies by normal noise of mean 1 in training.

    # Arguments
        rate: the noise has standard deviation `sqrt(rate / (1 - rate))`, as dropout of that rate.
    """

    @interfaces.legacy_gaussiandropout_support
    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.rate = rate

    def call(self, inputs: Any, training: Any = None) -> Any:
        if not 0 < self.rate < 1:
            return inputs

        def noised() -> Any:
            stddev = float(np.sqrt(self.rate / (1.0 - self.rate)))
            return inputs * K.random_normal(shape=K.shape(inputs), mean=1.0, stddev=stddev)

        return K.in_train_phase(noised, inputs, training=training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


class AlphaDropout(Layer):
    """Dropout that keeps mean and variance of `selu` activations (Klambauer et al., 2017).

    # Arguments
        rate: the fraction to drop, between 0 and 1.
        noise_shape: shape of the mask.
        seed: seed of the mask.
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = rate
        self.noise_shape = noise_shape
        self.seed = seed
        self.supports_masking = True

    def _get_noise_shape(self, inputs: Any) -> Any:
        return self.noise_shape if self.noise_shape else K.shape(inputs)

    def call(self, inputs: Any, training: Any = None) -> Any:
        if not 0.0 < self.rate < 1.0:
            return inputs

        def dropped() -> Any:
            low = -1.6732632423543772848170429916717 * 1.0507009873554804934193349852946  # what selu falls to
            kept = K.greater_equal(K.random_uniform(self._get_noise_shape(inputs), seed=self.seed), self.rate)
            kept = K.cast(kept, K.floatx())
            scale = float(((1 - self.rate) * (1 + self.rate * low**2)) ** -0.5)
            shift = -scale * low * self.rate
            return scale * (inputs * kept + low * (1 - kept)) + shift

        return K.in_train_phase(dropped, inputs, training=training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}
