"""Penalties on weights and activities that layers add to the loss."""

from __future__ import annotations

from typing import Any

from kgraph import backend as K
from kgraph.utils.generic_utils import deserialize_keras_object, serialize_keras_object


class Regularizer:
    """Base class: subclasses define `__call__(x)`, which gives the penalty, and `get_config`."""

    def __call__(self, x: Any) -> Any:
        return 0.0

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Regularizer:
        return cls(**config)


class L1L2(Regularizer):
    """`l1` times the sum of magnitudes plus `l2` times the sum of squares."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = K.cast_to_floatx(l1)
        self.l2 = K.cast_to_floatx(l2)

    def __call__(self, x: Any) -> Any:
        penalty: Any = 0.0
        if self.l1:
            penalty += K.sum(self.l1 * K.abs(x))
        if self.l2:
            penalty += K.sum(self.l2 * K.square(x))
        return penalty

    def get_config(self) -> dict[str, Any]:
        return {"l1": float(self.l1), "l2": float(self.l2)}


def l1(l: float = 0.01) -> Regularizer:  # noqa: E741 - Keras' name
    """`l` times the sum of magnitudes."""
    return L1L2(l1=l)


def l2(l: float = 0.01) -> Regularizer:  # noqa: E741 - Keras' name
    """`l` times the sum of squares."""
    return L1L2(l2=l)


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> Regularizer:
    """`l1` times the sum of magnitudes plus `l2` times the sum of squares."""
    return L1L2(l1=l1, l2=l2)


_BY_NAME: dict[str, Any] = {"Regularizer": Regularizer, "L1L2": L1L2, "l1": l1, "l2": l2, "l1_l2": l1_l2}


def serialize(regularizer: Any) -> Any:
    """What stands for a regularizer in a config."""
    return serialize_keras_object(regularizer)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The regularizer of a config or name. Raises ValueError where there is none."""
    return deserialize_keras_object(config, _BY_NAME, custom_objects, "regularizer")


def get(identifier: Any) -> Any:
    """The regularizer that an argument means: None, a config, a name, a regularizer or function."""
    if identifier is None:
        return None
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, str):
        return deserialize({"class_name": identifier, "config": {}})
    if callable(identifier):
        return identifier
    raise ValueError(f"Could not interpret regularizer identifier: {identifier}")
