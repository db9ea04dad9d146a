"""`MaxoutDense` and `Highway`: dense layers of Keras 1, with its argument names. `layers.py` offers them."""

from __future__ import annotations

from typing import Any

from kgraph import activations, constraints, initializers, regularizers
from kgraph import backend as K
from kgraph.engine.base_layer import InputSpec, Layer


class _LegacyDense(Layer):
    """What both share: arguments, and weights over the features of samples of rank 2."""

    def __init__(
        self,
        init: Any,
        weights: Any,
        regularizer_of: dict[str, Any],
        constraint_of: dict[str, Any],
        activity_regularizer: Any,
        bias: bool,
        input_dim: int | None,
        kwargs: dict[str, Any],
    ) -> None:
        if input_dim:
            kwargs["input_shape"] = (input_dim,)
        super().__init__(weights=weights, **kwargs)
        self.init = initializers.get(init)
        self.W_regularizer = regularizers.get(regularizer_of["W"])
        self.b_regularizer = regularizers.get(regularizer_of["b"])
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.W_constraint = constraints.get(constraint_of["W"])
        self.b_constraint = constraints.get(constraint_of["b"])
        self.bias = bias
        self.input_dim = input_dim
        self.input_spec = InputSpec(ndim=2)

    def _features(self, input_shape: Any) -> int:
        size: int = input_shape[1]
        self.input_spec = InputSpec(dtype=K.floatx(), shape=(None, size))
        return size

    def _kernel(self, shape: tuple[int, ...]) -> Any:
        return self.add_weight(
            name="W",
            shape=shape,
            initializer=self.init,
            regularizer=self.W_regularizer,
            constraint=self.W_constraint,
        )

    def _bias(self, shape: tuple[int, ...]) -> Any:
        return self.add_weight(
            name="b", shape=shape, initializer="zero", regularizer=self.b_regularizer, constraint=self.b_constraint
        )

    def _config(self, first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
        return {
            **super().get_config(),
            **first,
            "init": initializers.serialize(self.init),
            **second,
            "W_regularizer": regularizers.serialize(self.W_regularizer),
            "b_regularizer": regularizers.serialize(self.b_regularizer),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "W_constraint": constraints.serialize(self.W_constraint),
            "b_constraint": constraints.serialize(self.b_constraint),
            "bias": self.bias,
            "input_dim": self.input_dim,
        }


class MaxoutDense(_LegacyDense):
    """The largest of `nb_feature` linear functions, for each of `output_dim` outputs (Goodfellow et al., Maxout
    Networks, 2013).

    # Arguments
        output_dim: number of outputs.
        nb_feature: number of linear functions.
        init, W_regularizer, b_regularizer, activity_regularizer, W_constraint, b_constraint, bias: as
            `kernel_initializer` and so on of `Dense`.
        weights: initial weights.
        input_dim: number of features.
    """

    def __init__(
        self,
        output_dim: int,
        nb_feature: int = 4,
        init: Any = "glorot_uniform",
        weights: Any = None,
        W_regularizer: Any = None,  # noqa: N803
        b_regularizer: Any = None,
        activity_regularizer: Any = None,
        W_constraint: Any = None,  # noqa: N803
        b_constraint: Any = None,
        bias: bool = True,
        input_dim: int | None = None,
        **kwargs: Any,
    ) -> None:
        regularizer_of = {"W": W_regularizer, "b": b_regularizer}
        constraint_of = {"W": W_constraint, "b": b_constraint}
        super().__init__(
            init, weights, regularizer_of, constraint_of, activity_regularizer, bias, input_dim, kwargs
        )
        self.output_dim = output_dim
        self.nb_feature = nb_feature

    def build(self, input_shape: Any) -> None:
        self.W = self._kernel((self.nb_feature, self._features(input_shape), self.output_dim))
        self.b = self._bias((self.nb_feature, self.output_dim)) if self.bias else None
        self.built = True

    def call(self, x: Any) -> Any:
        output = K.dot(x, self.W)
        return K.max(output + self.b if self.bias else output, axis=1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], self.output_dim)

    def get_config(self) -> dict[str, Any]:
        return self._config({"output_dim": self.output_dim}, {"nb_feature": self.nb_feature})


class Highway(_LegacyDense):
    """A dense layer that learns how much of its input to let through unchanged (Srivastava et al., Highway Networks,
    2015).

    # Arguments
        activation: function or its name.
        init, W_regularizer, b_regularizer, activity_regularizer, W_constraint, b_constraint, bias: as
            `kernel_initializer` and so on of `Dense`.
        weights: initial weights.
        input_dim: number of features.
    """

    def __init__(
        self,
        init: Any = "glorot_uniform",
        activation: Any = None,
        weights: Any = None,
        W_regularizer: Any = None,  # noqa: N803
        b_regularizer: Any = None,
        activity_regularizer: Any = None,
        W_constraint: Any = None,  # noqa: N803
        b_constraint: Any = None,
        bias: bool = True,
        input_dim: int | None = None,
        **kwargs: Any,
    ) -> None:
        regularizer_of = {"W": W_regularizer, "b": b_regularizer}
        constraint_of = {"W": W_constraint, "b": b_constraint}
        super().__init__(
            init, weights, regularizer_of, constraint_of, activity_regularizer, bias, input_dim, kwargs
        )
        self.activation = activations.get(activation)

    def build(self, input_shape: Any) -> None:
        size = self._features(input_shape)
        self.W = self._kernel((size, size))
        self.W_carry = self.add_weight(name="W_carry", shape=(size, size), initializer=self.init)
        self.b = self.b_carry = None
        if self.bias:
            self.b = self._bias((size,))
            self.b_carry = self.add_weight(name="b_carry", shape=(size,), initializer="one")
        self.built = True

    def call(self, x: Any) -> Any:
        gate, made = K.dot(x, self.W_carry), K.dot(x, self.W)
        if self.bias:
            gate, made = gate + self.b_carry, made + self.b
        share = activations.sigmoid(gate)
        return self.activation(made) * share + (1 - share) * x

    def get_config(self) -> dict[str, Any]:
        return self._config({}, {"activation": activations.serialize(self.activation)})
