"""Gradients of gradients: a Wasserstein GAN's critic with gradient penalty (Gulrajani et al., 2017), as Keras users
write it.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.testing import assert_allclose

from kgraph import backend as K
from kgraph.layers import Conv2D, Dense, Flatten, Input, LeakyReLU
from kgraph.layers.merge import _Merge
from kgraph.models import Model, Sequential
from kgraph.optimizers import Adam


class RandomWeightedAverage(_Merge):
    def _merge_function(self, inputs: Any) -> Any:
        weights = K.random_uniform((K.shape(inputs[0])[0], 1, 1, 1))
        return weights * inputs[0] + (1 - weights) * inputs[1]


def wasserstein_loss(y_true: Any, y_pred: Any) -> Any:
    return K.mean(y_true * y_pred)


def gradient_penalty_loss(y_true: Any, y_pred: Any, averaged_samples: Any, gradient_penalty_weight: float) -> Any:
    gradients = K.gradients(y_pred, averaged_samples)[0]
    gradients_sqr_sum = K.sum(K.square(gradients), axis=np.arange(1, len(gradients.shape)))
    gradient_penalty = gradient_penalty_weight * K.square(1 - K.sqrt(gradients_sqr_sum))
    return K.mean(gradient_penalty)


def critic() -> Sequential:
    model = Sequential()
    model.add(Conv2D(6, (3, 3), padding="same", input_shape=(6, 6, 1)))
    model.add(LeakyReLU())
    model.add(Conv2D(5, (3, 3), kernel_initializer="he_normal", strides=[2, 2], activation="tanh"))
    model.add(Flatten())
    model.add(Dense(1, kernel_initializer="he_normal"))
    return model


def train(target: str) -> tuple[list[Any], list[np.ndarray]]:
    K.clear_session()
    K.get_session().target = target
    np.random.seed(5)
    discriminator = critic()
    real, fake = Input((6, 6, 1)), Input((6, 6, 1))
    averaged = RandomWeightedAverage()([real, fake])
    partial_gp_loss = functools.partial(
        gradient_penalty_loss, averaged_samples=averaged, gradient_penalty_weight=10
    )
    partial_gp_loss.__name__ = "gradient_penalty"  # type: ignore[attr-defined]
    model = Model([real, fake], [discriminator(real), discriminator(fake), discriminator(averaged)])
    model.compile(
        optimizer=Adam(0.001, beta_1=0.5, beta_2=0.9),
        loss=[wasserstein_loss, wasserstein_loss, partial_gp_loss],
    )
    rng = np.random.default_rng(6)
    ones = np.ones((7, 1), np.float32)
    losses = [
        model.train_on_batch([rng.normal(size=(7, 6, 6, 1)), rng.uniform(size=(7, 6, 6, 1))], [ones, -ones, 0 * ones])
        for _ in range(3)
    ]
    return losses, discriminator.get_weights()


def test_gradient_penalty() -> None:
    (losses, weights), (expected_losses, expected_weights) = train("cpu"), train("reference")
    assert_allclose(losses, expected_losses, rtol=1e-3, atol=1e-4)
    assert all(loss[3] > 0.01 for loss in losses)
    for actual, expected in zip(weights, expected_weights, strict=True):
        assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)


def test_penalty_against_differences() -> None:
    """The derivative of the penalty along a direction of the weights, and what finite differences say."""
    model = critic()
    x = K.variable(np.random.default_rng(1).normal(size=(3, 6, 6, 1)))
    kernel = model.layers[2].kernel
    penalty = gradient_penalty_loss(None, model(x), x, 1.0)
    f = K.function([], [penalty, *K.gradients(penalty, [kernel])])
    start = K.get_value(kernel)
    direction = np.random.default_rng(2).normal(size=start.shape).astype(np.float32)
    slope = float(np.sum(f([])[1] * direction))
    step = 1e-2
    around = []
    for sign in (1, -1):
        K.set_value(kernel, start + sign * step * direction)
        around.append(float(f([])[0]))
    assert abs(slope) > 1e-3
    assert_allclose((around[0] - around[1]) / (2 * step), slope, rtol=0.02)
