"""The basic layers: Dense, activations, dropout, shapes, and functions as layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kgraph import activations, regularizers
from kgraph import backend as K
from kgraph.engine.base_layer import InputSpec, Layer
from kgraph.layers import weight_settings
from kgraph.layers.lambda_layer import Lambda
from kgraph.legacy import interfaces
from kgraph.utils.generic_utils import deserialize_keras_object, func_dump, func_load, has_arg

__all__ = [
    "Activation",
    "ActivityRegularization",
    "Dense",
    "Dropout",
    "Flatten",
    "Lambda",
    "Masking",
    "Permute",
    "RepeatVector",
    "Reshape",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "deserialize_keras_object",
    "func_dump",
    "func_load",
    "has_arg",
]

Shape = tuple[Any, ...]


class Dense(Layer):
    """`activation(inputs . kernel + bias)`, along the last axis.

    # Arguments
        units: size of the output's last axis.
        activation: function or its name.
        use_bias: whether to add a bias.
        kernel_initializer, bias_initializer: how weights start.
        kernel_regularizer, bias_regularizer, activity_regularizer: penalties on weights and on the output.
        kernel_constraint, bias_constraint: constraints that updates keep.
    """

    @interfaces.legacy_dense_support
    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        if "input_shape" not in kwargs and "input_dim" in kwargs:
            kwargs["input_shape"] = (kwargs.pop("input_dim"),)
        super().__init__(**kwargs)
        self.units = units
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        weight_settings.keep(self, "kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        weight_settings.keep(self, "bias", bias_initializer, bias_regularizer, bias_constraint)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.input_spec = InputSpec(min_ndim=2)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        size = input_shape[-1]
        if size is None:
            raise TypeError(
                f"Layer {self.name} (Dense) needs to know the size of its input's last axis; the input's shape is "
                f"{tuple(input_shape)}."
            )
        self.kernel = weight_settings.add(self, "kernel", (size, self.units))
        self.bias = None
        if self.use_bias:
            self.bias = weight_settings.add(self, "bias", (self.units,))
        self.input_spec = InputSpec(min_ndim=2, axes={-1: size})
        self.built = True

    def call(self, inputs: Any) -> Any:
        output = K.dot(inputs, self.kernel)
        if self.use_bias:
            output = K.bias_add(output, self.bias, data_format="channels_last")
        if self.activation is not None:
            output = self.activation(output)
        return output

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            **weight_settings.config(self, "kernel", "bias"),
        }


class Activation(Layer):
    """A function of each element, or along the last axis.

    # Arguments
        activation: function or its name.
    """

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.activation = activations.get(activation)

    def call(self, inputs: Any) -> Any:
        return self.activation(inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


class Dropout(Layer):
    """Sets a fraction of the elements to 0 in training, and scales the others to keep the mean.

    # Arguments
        rate: the fraction, between 0 and 1.
        noise_shape: shape of the mask; axes of size 1 drop together.
        seed: seed of the mask.
    """

    @interfaces.legacy_dropout_support
    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = min(1.0, max(0.0, rate))
        self.noise_shape = noise_shape
        self.seed = seed
        self.supports_masking = True

    def _get_noise_shape(self, inputs: Any) -> Any:
        if self.noise_shape is None:
            return None
        sizes = K.shape(inputs)
        return tuple(sizes[i] if size is None else size for i, size in enumerate(self.noise_shape))

    def call(self, inputs: Any, training: Any = None) -> Any:
        if not 0.0 < self.rate < 1.0:
            return inputs
        noise_shape = self._get_noise_shape(inputs)
        return K.in_train_phase(lambda: K.dropout(inputs, self.rate, noise_shape, self.seed), inputs, training=training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "noise_shape": self.noise_shape, "seed": self.seed}


class SpatialDropout1D(Dropout):
    """Dropout of whole channels of sequences, shape `(batch, steps, channels)`."""

    @interfaces.legacy_spatialdropout1d_support
    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(rate, **kwargs)
        self.input_spec = InputSpec(ndim=3)

    def _get_noise_shape(self, inputs: Any) -> Any:
        sizes = K.shape(inputs)
        return (sizes[0], 1, sizes[2])


class _SpatialDropoutNd(Dropout):
    _rank = 4

    def __init__(self, rate: float, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(rate, **kwargs)
        self.data_format = K.normalize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self._rank)

    def _get_noise_shape(self, inputs: Any) -> Any:
        sizes = K.shape(inputs)
        ones = (1,) * (self._rank - 2)
        if self.data_format == "channels_first":
            return (sizes[0], sizes[1], *ones)
        return (sizes[0], *ones, sizes[self._rank - 1])


class SpatialDropout2D(_SpatialDropoutNd):
    """Dropout of whole channels of images.

    # Arguments
        rate: the fraction, between 0 and 1.
        data_format: "channels_last" or "channels_first".
    """

    @interfaces.legacy_spatialdropoutNd_support
    def __init__(self, rate: float, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(rate, data_format, **kwargs)


class SpatialDropout3D(_SpatialDropoutNd):
    """Dropout of whole channels of volumes; see `SpatialDropout2D`."""

    _rank = 5

    @interfaces.legacy_spatialdropoutNd_support
    def __init__(self, rate: float, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(rate, data_format, **kwargs)


class Flatten(Layer):
    """All axes but the first as one.

    # Arguments
        data_format: "channels_first" moves the channels last before flattening, so that weights after it fit both.
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.input_spec = InputSpec(min_ndim=3)
        self.data_format = K.normalize_data_format(data_format)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        if None in input_shape[1:]:
            raise ValueError(
                f'The shape of the input to "Flatten" is not fully defined (got {input_shape[1:]}). Make sure to pass '
                'a complete "input_shape" or "batch_input_shape" argument to the first layer in your model.'
            )
        return (input_shape[0], int(np.prod(input_shape[1:])))

    def call(self, inputs: Any) -> Any:
        if self.data_format == "channels_first":
            rank = K.ndim(inputs)
            inputs = K.permute_dimensions(inputs, [0, *range(2, rank), 1])
        return K.batch_flatten(inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class Reshape(Layer):
    """Another shape for each sample.

    # Arguments
        target_shape: sizes without the batch axis; one of them may be -1, for what is left.
    """

    def __init__(self, target_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_shape = tuple(target_shape)

    def _resolved(self, sizes: Sequence[Any]) -> Shape:
        target = list(self.target_shape)
        message = "total size of new array must be unchanged"
        unknown = [i for i, size in enumerate(target) if size < 0]
        if len(unknown) > 1:
            raise ValueError("Can only specify one unknown dimension.")
        known = int(np.prod([size for size in target if size >= 0]))
        total = int(np.prod(sizes))
        if unknown:
            if known == 0 or total % known:
                raise ValueError(message)
            target[unknown[0]] = total // known
        elif total != known:
            raise ValueError(message)
        return tuple(target)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        if None in input_shape[1:]:
            return (input_shape[0], *(size if size != -1 else None for size in self.target_shape))
        return (input_shape[0], *self._resolved(input_shape[1:]))

    def call(self, inputs: Any) -> Any:
        shape = K.int_shape(inputs)[1:]
        target = self.target_shape if None in shape else self._resolved(shape)
        return K.reshape(inputs, (K.shape(inputs)[0], *target))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target_shape": self.target_shape}


class Permute(Layer):
    """The axes in another order.

    # Arguments
        dims: the old number of each axis, counted from 1 (the batch axis does not count).
    """

    def __init__(self, dims: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(
                f"Layer {self.name}: `dims` must hold each axis from 1 to {len(self.dims)} once. Received: {dims}"
            )
        self.input_spec = InputSpec(ndim=len(self.dims) + 1)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return (input_shape[0], *(input_shape[axis] for axis in self.dims))

    def call(self, inputs: Any) -> Any:
        return K.permute_dimensions(inputs, (0, *self.dims))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dims": self.dims}


class RepeatVector(Layer):
    """Repeats each sample `n` times: `(batch, features)` becomes `(batch, n, features)`."""

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = n
        self.input_spec = InputSpec(ndim=2)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return (input_shape[0], self.n, input_shape[1])

    def call(self, inputs: Any) -> Any:
        return K.repeat(inputs, self.n)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n}


class Masking(Layer):
    """Masks timesteps whose features all equal `mask_value`: later layers skip them."""

    def __init__(self, mask_value: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.mask_value = mask_value

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return K.any(K.not_equal(inputs, self.mask_value), axis=-1)

    def call(self, inputs: Any) -> Any:
        kept = K.any(K.not_equal(inputs, self.mask_value), axis=-1, keepdims=True)
        return inputs * K.cast(kept, K.dtype(inputs))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mask_value": self.mask_value}


class ActivityRegularization(Layer):
    """Leaves its input as it is and adds a penalty on it to the loss.

    # Arguments
        l1, l2: factors of the sum of absolute values and of squares.
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.l1 = l1
        self.l2 = l2
        self.activity_regularizer = regularizers.L1L2(l1=l1, l2=l2)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "l1": self.l1, "l2": self.l2}


