"""Initial values of weights. Called with a shape, an initializer gives a tensor or array; `K.variable` evaluates it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph.utils.generic_utils import deserialize_keras_object, serialize_keras_object

# The standard deviation of a normal distribution after values beyond two of them are cut off.
_TRUNCATED_STDDEV = 0.87962566103423978


class Initializer:
    """Base class: subclasses define `__call__(shape, dtype=None)` and `get_config`."""

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        raise TypeError(f"{type(self).__name__} does not define __call__(shape, dtype=None)")

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        """The initializer with this config; a `dtype` in it, as other versions write, has no effect."""
        return cls(**{key: value for key, value in config.items() if key != "dtype"})


class Zeros(Initializer):
    """All 0."""

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        return K.constant(0, shape=shape, dtype=dtype)


class Ones(Initializer):
    """All 1."""

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        return K.constant(1, shape=shape, dtype=dtype)


class Constant(Initializer):
    """All `value`."""

    def __init__(self, value: Any = 0) -> None:
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        return K.constant(self.value, shape=shape, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        return {"value": self.value}


class RandomNormal(Initializer):
    """Normally distributed numbers."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean = mean
        self.stddev = stddev
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        return K.random_normal(shape, self.mean, self.stddev, dtype=dtype, seed=self.seed)

    def get_config(self) -> dict[str, Any]:
        return {"mean": self.mean, "stddev": self.stddev, "seed": self.seed}


class RandomUniform(Initializer):
    """Numbers spread evenly over [minval, maxval)."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None) -> None:
        self.minval = minval
        self.maxval = maxval
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        return K.random_uniform(shape, self.minval, self.maxval, dtype=dtype, seed=self.seed)

    def get_config(self) -> dict[str, Any]:
        return {"minval": self.minval, "maxval": self.maxval, "seed": self.seed}


class TruncatedNormal(Initializer):
    """Normally distributed numbers, those beyond two standard deviations drawn again."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean = mean
        self.stddev = stddev
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        return K.truncated_normal(shape, self.mean, self.stddev, dtype=dtype, seed=self.seed)

    def get_config(self) -> dict[str, Any]:
        return {"mean": self.mean, "stddev": self.stddev, "seed": self.seed}


class VarianceScaling(Initializer):
    """Random numbers of variance `scale / n`, n the number of inputs ('fan_in'), outputs ('fan_out') or their mean
    ('fan_avg'); truncated normal ('normal') or evenly spread ('uniform').
    """

    def __init__(
        self, scale: float = 1.0, mode: str = "fan_in", distribution: str = "normal", seed: int | None = None
    ) -> None:
        if scale <= 0.0:
            raise ValueError("`scale` must be a positive float. Got:", scale)
        mode = mode.lower()
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError('Invalid `mode` argument: expected on of {"fan_in", "fan_out", "fan_avg"} but got', mode)
        distribution = distribution.lower()
        if distribution not in ("normal", "uniform"):
            raise ValueError(
                'Invalid `distribution` argument: expected one of {"normal", "uniform"} but got', distribution
            )
        self.scale = scale
        self.mode = mode
        self.distribution = distribution
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        fan_in, fan_out = _compute_fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2.0}[self.mode]
        variance = self.scale / max(1.0, fan)
        if self.distribution == "normal":
            stddev = np.sqrt(variance) / _TRUNCATED_STDDEV
            return K.truncated_normal(shape, 0.0, stddev, dtype=dtype, seed=self.seed)
        limit = np.sqrt(3.0 * variance)
        return K.random_uniform(shape, -limit, limit, dtype=dtype, seed=self.seed)

    def get_config(self) -> dict[str, Any]:
        return {"scale": self.scale, "mode": self.mode, "distribution": self.distribution, "seed": self.seed}


class Orthogonal(Initializer):
    """A random matrix with orthonormal rows or columns, times `gain` (Saxe et al., 2013)."""

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        self.gain = gain
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        if len(shape) < 2:
            raise ValueError(f"an orthogonal initializer needs a shape of rank 2 or more, got {tuple(shape)}")
        flat = (int(np.prod(shape[:-1])), int(shape[-1]))
        source = np.random if self.seed is None else np.random.RandomState(seed=self.seed)
        u, _, v = np.linalg.svd(source.normal(0.0, 1.0, flat), full_matrices=False)
        q = u if u.shape == flat else v
        return self.gain * q.reshape(tuple(shape))

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain, "seed": self.seed}


class Identity(Initializer):
    """The identity matrix times `gain`."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        if len(shape) != 2:
            raise ValueError("Identity matrix initializer can only be used for 2D matrices.")
        return self.gain * np.eye(shape[0], shape[1])

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain}


def lecun_uniform(seed: int | None = None) -> Initializer:
    """Evenly spread with variance 1 / inputs (LeCun et al., 1998)."""
    return VarianceScaling(scale=1.0, mode="fan_in", distribution="uniform", seed=seed)


def lecun_normal(seed: int | None = None) -> Initializer:
    """Truncated normal with variance 1 / inputs (LeCun et al., 1998)."""
    return VarianceScaling(scale=1.0, mode="fan_in", distribution="normal", seed=seed)


def glorot_normal(seed: int | None = None) -> Initializer:
    """Truncated normal with variance 2 / (inputs + outputs) (Glorot and Bengio, 2010)."""
    return VarianceScaling(scale=1.0, mode="fan_avg", distribution="normal", seed=seed)


def glorot_uniform(seed: int | None = None) -> Initializer:
    """Evenly spread with variance 2 / (inputs + outputs) (Glorot and Bengio, 2010)."""
    return VarianceScaling(scale=1.0, mode="fan_avg", distribution="uniform", seed=seed)


def he_normal(seed: int | None = None) -> Initializer:
    """Truncated normal with variance 2 / inputs (He et al., 2015)."""
    return VarianceScaling(scale=2.0, mode="fan_in", distribution="normal", seed=seed)


def he_uniform(seed: int | None = None) -> Initializer:
    """Evenly spread with variance 2 / inputs (He et al., 2015)."""
    return VarianceScaling(scale=2.0, mode="fan_in", distribution="uniform", seed=seed)


# Names that Keras knows besides those of the classes.
zero = zeros = Zeros
one = ones = Ones
constant = Constant
uniform = random_uniform = RandomUniform
normal = random_normal = RandomNormal
truncated_normal = TruncatedNormal
identity = Identity
orthogonal = Orthogonal

_BY_NAME: dict[str, Any] = {
    "Initializer": Initializer,
    **{
        c.__name__: c
        for c in (
            Zeros, Ones, Constant, RandomNormal, RandomUniform, TruncatedNormal, VarianceScaling, Orthogonal, Identity,
            lecun_uniform, lecun_normal, glorot_normal, glorot_uniform, he_normal, he_uniform,
        )
    },
    "zero": Zeros, "zeros": Zeros, "one": Ones, "ones": Ones, "constant": Constant,
    "uniform": RandomUniform, "random_uniform": RandomUniform, "normal": RandomNormal, "random_normal": RandomNormal,
    "truncated_normal": TruncatedNormal, "identity": Identity, "orthogonal": Orthogonal,
}  # fmt: skip


def _compute_fans(shape: Sequence[int], data_format: str = "channels_last") -> tuple[float, float]:
    """The numbers of inputs and outputs of one unit of a weight of this shape.

    Kernels of convolutions have channels in and out last ('channels_last') or first ('channels_first').
    """
    if len(shape) == 2:
        return shape[0], shape[1]
    if len(shape) in (3, 4, 5):
        if data_format == "channels_first":
            field = float(np.prod(shape[2:]))
            return shape[1] * field, shape[0] * field
        if data_format == "channels_last":
            field = float(np.prod(shape[:-2]))
            return shape[-2] * field, shape[-1] * field
        raise ValueError(f"Invalid data_format: {data_format}")
    root = float(np.sqrt(np.prod(shape)))
    return root, root


def serialize(initializer: Any) -> Any:
    """What stands for an initializer in a config."""
    return serialize_keras_object(initializer)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The initializer of a config or name. Raises ValueError where there is none."""
    return deserialize_keras_object(config, _BY_NAME, custom_objects, "initializer")


def get(identifier: Any) -> Any:
    """The initializer that an argument means: a config, a name, an initializer or function."""
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, str):
        return deserialize({"class_name": identifier, "config": {}})
    if callable(identifier):
        return identifier
    raise ValueError(f"Could not interpret initializer identifier: {identifier}")
