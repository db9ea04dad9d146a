"""Optimizers: each turns the gradients of a loss into updates of the weights, written in the backend's operations.

A user's own optimizer subclasses `Optimizer` and defines `get_updates(loss, params)` in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph.legacy.interfaces import legacy_get_updates_support
from kgraph.utils.generic_utils import deserialize_keras_object, serialize_keras_object


def clip_norm(g: Any, c: float, n: Any) -> Any:
    """The gradient `g` scaled so that the norm `n` becomes `c` where it is larger."""
    if c <= 0:
        return g
    return K.switch(n >= c, g * c / n, g)


class Optimizer:
    """Base class. `clipnorm` limits the norm of all gradients together, `clipvalue` each of their elements."""

    iterations: Any
    lr: Any
    decay: Any

    def __init__(self, **kwargs: Any) -> None:
        for name in kwargs:
            if name not in ("clipnorm", "clipvalue"):
                raise TypeError(f"Unexpected keyword argument passed to optimizer: {name}")
        self.__dict__.update(kwargs)
        self.updates: list[Any] = []
        self.weights: list[Any] = []

    @legacy_get_updates_support
    def get_updates(self, loss: Any, params: Sequence[Any]) -> list[Any]:
        """The updates of one step that lowers `loss` by changing `params`."""
        raise TypeError(f"{type(self).__name__} does not define get_updates(loss, params)")

    def get_gradients(self, loss: Any, params: Sequence[Any]) -> list[Any]:
        """The gradients of `loss`, clipped. Raises ValueError where the loss does not depend on one of `params`."""
        grads: list[Any] = K.gradients(loss, params)
        if any(g is None for g in grads):
            raise ValueError(
                "An operation has `None` for gradient. Please make sure that all of your ops have a gradient defined "
                "(i.e. are differentiable). Common ops without gradient: K.argmax, K.round, K.eval."
            )
        if getattr(self, "clipnorm", 0) > 0:
            norm = K.sqrt(sum(K.sum(K.square(g)) for g in grads))
            grads = [clip_norm(g, self.clipnorm, norm) for g in grads]  # type: ignore[attr-defined]
        if getattr(self, "clipvalue", 0) > 0:
            limit = self.clipvalue  # type: ignore[attr-defined]
            grads = [K.clip(g, -limit, limit) for g in grads]
        return grads

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Sets the optimizer's own state. Raises ValueError for a wrong number or shape of arrays."""
        if len(self.weights) != len(weights):
            raise ValueError(
                f"Length of the specified weight list ({len(weights)}) does not match the number of weights of the "
                f"optimizer ({len(self.weights)})"
            )
        pairs = []
        for variable, weight in zip(self.weights, weights, strict=True):
            shape = K.get_variable_shape(variable)
            if shape != np.shape(weight):
                raise ValueError(
                    f"Optimizer weight shape {shape} not compatible with provided weight shape {np.shape(weight)}"
                )
            pairs.append((variable, weight))
        K.batch_set_value(pairs)

    def get_weights(self) -> list[Any]:
        """The optimizer's own state as arrays."""
        return K.batch_get_value(self.weights)

    def get_config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("clipnorm", "clipvalue") if hasattr(self, name)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Optimizer:
        return cls(**config)

    def _make_variables(self, **values: float) -> None:
        """Makes a variable of each of these numbers; `iterations` counts updates."""
        with K.name_scope(type(self).__name__):
            for name, value in values.items():
                setattr(self, name, K.variable(value, dtype="int64" if name == "iterations" else None, name=name))
        self.initial_decay = values.get("decay", 0.0)

    def _numbers(self, *names: str) -> dict[str, float]:
        """The contents of these variables, for a config."""
        return {name: float(K.get_value(getattr(self, name))) for name in names}

    def _decayed(self, lr: Any) -> Any:
        """`lr`, lowered with the number of updates so far where `decay` is set."""
        if self.initial_decay > 0:
            steps = K.cast(self.iterations, K.dtype(self.decay))
            lr = lr * (1.0 / (1.0 + self.decay * steps))
        return lr

    def _update(self, p: Any, new_p: Any) -> None:
        """Adds the update of `p`, after its constraint."""
        if getattr(p, "constraint", None) is not None:
            new_p = p.constraint(new_p)
        self.updates.append(K.update(p, new_p))


def _zeros_like(params: Sequence[Any]) -> list[Any]:
    return [K.zeros(K.int_shape(p), dtype=K.dtype(p)) for p in params]


class SGD(Optimizer):
    """Gradient descent with momentum, also Nesterov's."""

    momentum: Any

    def __init__(
        self, lr: float = 0.01, momentum: float = 0.0, decay: float = 0.0, nesterov: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._make_variables(iterations=0, lr=lr, momentum=momentum, decay=decay)
        self.nesterov = nesterov

    @legacy_get_updates_support
    def get_updates(self, loss: Any, params: Sequence[Any]) -> list[Any]:
        grads = self.get_gradients(loss, params)
        self.updates = [K.update_add(self.iterations, 1)]
        lr = self._decayed(self.lr)
        moments = _zeros_like(params)
        self.weights = [self.iterations, *moments]
        for p, g, m in zip(params, grads, moments, strict=True):
            v = self.momentum * m - lr * g
            self.updates.append(K.update(m, v))
            self._update(p, p + self.momentum * v - lr * g if self.nesterov else p + v)
        return self.updates

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **self._numbers("lr", "momentum", "decay"),
            "nesterov": self.nesterov,
        }


class RMSprop(Optimizer):
    """Gradients divided by a running average of their magnitude."""

    rho: Any

    def __init__(
        self, lr: float = 0.001, rho: float = 0.9, epsilon: float | None = None, decay: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._make_variables(lr=lr, rho=rho, decay=decay, iterations=0)
        self.epsilon = K.epsilon() if epsilon is None else epsilon

    @legacy_get_updates_support
    def get_updates(self, loss: Any, params: Sequence[Any]) -> list[Any]:
        grads = self.get_gradients(loss, params)
        accumulators = _zeros_like(params)
        self.weights = accumulators
        self.updates = [K.update_add(self.iterations, 1)]
        lr = self._decayed(self.lr)
        for p, g, a in zip(params, grads, accumulators, strict=True):
            new_a = self.rho * a + (1.0 - self.rho) * K.square(g)
            self.updates.append(K.update(a, new_a))
            self._update(p, p - lr * g / (K.sqrt(new_a) + self.epsilon))
        return self.updates

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **self._numbers("lr", "rho", "decay"),
            "epsilon": self.epsilon,
        }


class Adagrad(Optimizer):
    """Gradients divided by the root of the sum of their squares so far (Duchi et al., 2011)."""

    def __init__(self, lr: float = 0.01, epsilon: float | None = None, decay: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._make_variables(lr=lr, decay=decay, iterations=0)
        self.epsilon = K.epsilon() if epsilon is None else epsilon

    @legacy_get_updates_support
    def get_updates(self, loss: Any, params: Sequence[Any]) -> list[Any]:
        grads = self.get_gradients(loss, params)
        accumulators = _zeros_like(params)
        self.weights = accumulators
        self.updates = [K.update_add(self.iterations, 1)]
        lr = self._decayed(self.lr)
        for p, g, a in zip(params, grads, accumulators, strict=True):
            new_a = a + K.square(g)
            self.updates.append(K.update(a, new_a))
            self._update(p, p - lr * g / (K.sqrt(new_a) + self.epsilon))
        return self.updates

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **self._numbers("lr", "decay"),
            "epsilon": self.epsilon,
        }


class Adadelta(Optimizer):
    """Steps scaled by running averages of past gradients and past steps (Zeiler, 2012)."""

    def __init__(
        self, lr: float = 1.0, rho: float = 0.95, epsilon: float | None = None, decay: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._make_variables(lr=lr, decay=decay, iterations=0)
        self.rho = rho
        self.epsilon = K.epsilon() if epsilon is None else epsilon

    @legacy_get_updates_support
    def get_updates(self, loss: Any, params: Sequence[Any]) -> list[Any]:
        grads = self.get_gradients(loss, params)
        accumulators, deltas = _zeros_like(params), _zeros_like(params)
        self.weights = accumulators + deltas
        self.updates = [K.update_add(self.iterations, 1)]
        lr = self._decayed(self.lr)
        for p, g, a, d in zip(params, grads, accumulators, deltas, strict=True):
            new_a = self.rho * a + (1.0 - self.rho) * K.square(g)
            self.updates.append(K.update(a, new_a))
            step = g * K.sqrt(d + self.epsilon) / K.sqrt(new_a + self.epsilon)
            self._update(p, p - lr * step)
            self.updates.append(K.update(d, self.rho * d + (1 - self.rho) * K.square(step)))
        return self.updates

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **self._numbers("lr"),
            "rho": self.rho,
            **self._numbers("decay"),
            "epsilon": self.epsilon,
        }


class Adam(Optimizer):
    """Running averages of gradients and of their squares, corrected for their start (Kingma and Ba, 2014); with
    `amsgrad`, the second never falls (Reddi et al., 2018)."""

    beta_1: Any
    beta_2: Any

    def __init__(
        self,
        lr: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float | None = None,
        decay: float = 0.0,
        amsgrad: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._make_variables(iterations=0, lr=lr, beta_1=beta_1, beta_2=beta_2, decay=decay)
        self.epsilon = K.epsilon() if epsilon is None else epsilon
        self.amsgrad = amsgrad

    @legacy_get_updates_support
    def get_updates(self, loss: Any, params: Sequence[Any]) -> list[Any]:
        grads = self.get_gradients(loss, params)
        self.updates = [K.update_add(self.iterations, 1)]
        lr = self._decayed(self.lr)
        t = K.cast(self.iterations, K.floatx()) + 1
        lr_t = lr * (K.sqrt(1.0 - K.pow(self.beta_2, t)) / (1.0 - K.pow(self.beta_1, t)))
        ms, vs = _zeros_like(params), _zeros_like(params)
        vhats = _zeros_like(params) if self.amsgrad else [K.zeros(1) for _ in params]
        self.weights = [self.iterations, *ms, *vs, *vhats]
        for p, g, m, v, vhat in zip(params, grads, ms, vs, vhats, strict=True):
            m_t = self.beta_1 * m + (1.0 - self.beta_1) * g
            v_t = self.beta_2 * v + (1.0 - self.beta_2) * K.square(g)
            if self.amsgrad:
                scale = K.maximum(vhat, v_t)
                self.updates.append(K.update(vhat, scale))
            else:
                scale = v_t
            self.updates.append(K.update(m, m_t))
            self.updates.append(K.update(v, v_t))
            self._update(p, p - lr_t * m_t / (K.sqrt(scale) + self.epsilon))
        return self.updates

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **self._numbers("lr", "beta_1", "beta_2", "decay"),
            "epsilon": self.epsilon,
            "amsgrad": self.amsgrad,
        }


class Adamax(Optimizer):
    """Adam with the largest recent gradient instead of the average of squares (Kingma and Ba, 2014)."""

    beta_1: Any
    beta_2: Any

    def __init__(
        self,
        lr: float = 0.002,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float | None = None,
        decay: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._make_variables(iterations=0, lr=lr, beta_1=beta_1, beta_2=beta_2, decay=decay)
        self.epsilon = K.epsilon() if epsilon is None else epsilon

    @legacy_get_updates_support
    def get_updates(self, loss: Any, params: Sequence[Any]) -> list[Any]:
        grads = self.get_gradients(loss, params)
        self.updates = [K.update_add(self.iterations, 1)]
        lr = self._decayed(self.lr)
        t = K.cast(self.iterations, K.floatx()) + 1
        lr_t = lr / (1.0 - K.pow(self.beta_1, t))
        ms, us = _zeros_like(params), _zeros_like(params)
        self.weights = [self.iterations, *ms, *us]
        for p, g, m, u in zip(params, grads, ms, us, strict=True):
            m_t = self.beta_1 * m + (1.0 - self.beta_1) * g
            u_t = K.maximum(self.beta_2 * u, K.abs(g))
            self.updates.append(K.update(m, m_t))
            self.updates.append(K.update(u, u_t))
            self._update(p, p - lr_t * m_t / (u_t + self.epsilon))
        return self.updates

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **self._numbers("lr", "beta_1", "beta_2", "decay"),
            "epsilon": self.epsilon,
        }


class Nadam(Optimizer):
    """Adam with Nesterov's momentum on a schedule (Dozat, 2016)."""

    beta_1: Any
    beta_2: Any
    m_schedule: Any

    def __init__(
        self,
        lr: float = 0.002,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float | None = None,
        schedule_decay: float = 0.004,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._make_variables(iterations=0, m_schedule=1.0, lr=lr, beta_1=beta_1, beta_2=beta_2)
        self.epsilon = K.epsilon() if epsilon is None else epsilon
        self.schedule_decay = schedule_decay

    @legacy_get_updates_support
    def get_updates(self, loss: Any, params: Sequence[Any]) -> list[Any]:
        grads = self.get_gradients(loss, params)
        self.updates = [K.update_add(self.iterations, 1)]
        t = K.cast(self.iterations, K.floatx()) + 1
        momentum = self.beta_1 * (1.0 - 0.5 * K.pow(K.cast_to_floatx(0.96), t * self.schedule_decay))
        momentum_next = self.beta_1 * (1.0 - 0.5 * K.pow(K.cast_to_floatx(0.96), (t + 1) * self.schedule_decay))
        schedule = self.m_schedule * momentum
        schedule_next = schedule * momentum_next
        self.updates.append(K.update(self.m_schedule, schedule))
        ms, vs = _zeros_like(params), _zeros_like(params)
        self.weights = [self.iterations, *ms, *vs]
        for p, g, m, v in zip(params, grads, ms, vs, strict=True):
            m_t = self.beta_1 * m + (1.0 - self.beta_1) * g
            v_t = self.beta_2 * v + (1.0 - self.beta_2) * K.square(g)
            self.updates.append(K.update(m, m_t))
            self.updates.append(K.update(v, v_t))
            average = (1.0 - momentum) * (g / (1.0 - schedule)) + momentum_next * (m_t / (1.0 - schedule_next))
            spread = v_t / (1.0 - K.pow(self.beta_2, t))
            self._update(p, p - self.lr * average / (K.sqrt(spread) + self.epsilon))
        return self.updates

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **self._numbers("lr", "beta_1", "beta_2"),
            "epsilon": self.epsilon,
            "schedule_decay": self.schedule_decay,
        }


# Names that Keras knows besides those of the classes.
sgd = SGD
rmsprop = RMSprop
adagrad = Adagrad
adadelta = Adadelta
adam = Adam
adamax = Adamax
nadam = Nadam

_BY_NAME: dict[str, Any] = {c.__name__.lower(): c for c in (SGD, RMSprop, Adagrad, Adadelta, Adam, Adamax, Nadam)}


def serialize(optimizer: Optimizer) -> Any:
    """What stands for an optimizer in a config."""
    return serialize_keras_object(optimizer)


def deserialize(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
    """The optimizer of a config; built-in names in any case. Raises ValueError where there is none."""
    if isinstance(config, dict) and str(config.get("class_name", "")).lower() in _BY_NAME:
        config = {**config, "class_name": config["class_name"].lower()}
    return deserialize_keras_object(config, _BY_NAME, custom_objects, "optimizer")


def get(identifier: Any) -> Any:
    """The optimizer that an argument of `compile` means: a config, a name or an optimizer."""
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, str):
        return deserialize({"class_name": identifier, "config": {}})
    if isinstance(identifier, Optimizer):
        return identifier
    raise ValueError(f"Could not interpret optimizer identifier: {identifier}")
