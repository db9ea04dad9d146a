"""The workloads on Keras 3 with JAX: a compiled step that carries the state, as Keras' guide to training loops in JAX
has it, which is faster than `train_on_batch`, since that stores the state into the model after each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.networks.workloads import WORKLOADS, data


def load(threads: int) -> str:
    import jax
    import keras

    if int(keras.__version__.split(".")[0]) < 3:
        raise ImportError(f"keras is {keras.__version__}, expected Keras 3")
    return f"{keras.__version__}, jax {jax.__version__}"


def prepare(name: str, threads: int) -> Callable[[], Any]:
    import keras

    from benchmarks.networks import models

    workload = WORKLOADS[name]
    x, y = data(workload)
    model = models.network(keras, workload.network)
    if workload.task == "predict":
        return _predict(model, x)
    return _train(model, models.optimizer(keras, workload.network), x, y)


def _values(variables: Any) -> list[Any]:
    return [v.value for v in variables]


def _predict(model: Any, x: Any) -> Callable[[], Any]:
    import jax
    import numpy as np

    @jax.jit
    def predict(trainable: Any, other: Any, images: Any) -> Any:
        return model.stateless_call(trainable, other, images, training=False)[0]

    trainable, other = _values(model.trainable_variables), _values(model.non_trainable_variables)
    return lambda: np.asarray(predict(trainable, other, x))


def _train(model: Any, optimizer: Any, x: Any, y: Any) -> Callable[[], Any]:
    import jax
    import keras

    def loss_of(trainable: Any, other: Any, images: Any, labels: Any) -> Any:
        predicted, other = model.stateless_call(trainable, other, images, training=True)
        return keras.ops.mean(keras.losses.categorical_crossentropy(labels, predicted)), other

    def train(state: Any, images: Any, labels: Any) -> Any:
        trainable, other, slots = state
        (loss, other), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable, other, images, labels)
        trainable, slots = optimizer.stateless_apply(slots, gradients, trainable)
        return loss, (trainable, other, slots)

    optimizer.build(model.trainable_variables)
    compiled = jax.jit(train, donate_argnums=0)
    variables = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
    state = tuple(_values(v) for v in variables)

    def step() -> float:
        nonlocal state
        loss, state = compiled(state, x, y)
        return float(loss)

    return step
