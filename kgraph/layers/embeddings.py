"""`Embedding`: a vector for each of a number of indices."""

from __future__ import annotations

from typing import Any

from kgraph import backend as K
from kgraph import regularizers
from kgraph.engine.base_layer import Layer
from kgraph.layers import weight_settings
from kgraph.legacy import interfaces
from kgraph.utils.generic_utils import to_list

__all__ = ["Embedding", "Layer", "to_list"]


class Embedding(Layer):
    """Turns positive integers into vectors: `(batch, length)` becomes `(batch, length, output_dim)`.

    # Arguments
        input_dim: how many indices there are: the largest one plus 1.
        output_dim: width of the vectors.
        embeddings_initializer, embeddings_regularizer, embeddings_constraint: of the table of vectors.
        mask_zero: whether 0 is padding that later layers skip.
        input_length: length of the sequences, where it is constant; a `Flatten` behind needs it.
    """

    @interfaces.legacy_embedding_support
    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        activity_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        input_length: Any = None,
        **kwargs: Any,
    ) -> None:
        if "input_shape" not in kwargs and "batch_input_shape" not in kwargs:
            kwargs["input_shape"] = tuple(to_list(input_length, allow_tuple=True)) if input_length else (None,)
        super().__init__(**kwargs)
        self.input_dim = input_dim
        self.output_dim = output_dim
        weight_settings.keep(self, "embeddings", embeddings_initializer, embeddings_regularizer, embeddings_constraint)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.mask_zero = mask_zero
        self.supports_masking = mask_zero
        self.input_length = input_length

    def build(self, input_shape: Any) -> None:
        self.embeddings = weight_settings.add(self, "embeddings", (self.input_dim, self.output_dim), dtype=self.dtype)
        self.built = True

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return K.not_equal(inputs, 0) if self.mask_zero else None

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self.input_length is None:
            return (*input_shape, self.output_dim)
        lengths = to_list(self.input_length, allow_tuple=True)
        expected = f'"input_length" is {self.input_length}, but received input has shape {input_shape}'
        if len(lengths) != len(input_shape) - 1:
            raise ValueError(expected)
        sizes = []
        for length, size in zip(lengths, input_shape[1:], strict=True):
            if length is not None and size is not None and length != size:
                raise ValueError(expected)
            sizes.append(size if length is None else length)
        return (input_shape[0], *sizes, self.output_dim)

    def call(self, inputs: Any) -> Any:
        if K.dtype(inputs) != "int32":
            inputs = K.cast(inputs, "int32")
        return K.gather(self.embeddings, inputs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            **weight_settings.config(self, "embeddings"),
            "mask_zero": self.mask_zero,
            "input_length": self.input_length,
        }
