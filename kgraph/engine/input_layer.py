"""Where a model's tensors begin: `Input` and the layer behind it."""

from __future__ import annotations

from typing import Any

from kgraph import backend as K
from kgraph.engine.base_layer import Layer, Node
from kgraph.legacy import interfaces
from kgraph.utils.generic_utils import unpack_singleton


class InputLayer(Layer):
    """A layer that holds one input tensor of a model.

    # Arguments
        input_shape: sizes without the batch axis.
        batch_size: size of the batch axis, None for any.
        batch_input_shape: sizes with the batch axis, in place of the two above.
        dtype: dtype of the input.
        input_tensor: an existing tensor to use; then nothing is fed.
        sparse: whether the input is sparse.
        name: name of the layer.
    """

    @interfaces.legacy_input_support
    def __init__(
        self,
        input_shape: Any = None,
        batch_size: int | None = None,
        batch_input_shape: Any = None,
        dtype: str | None = None,
        input_tensor: Any = None,
        sparse: bool = False,
        name: str | None = None,
    ) -> None:
        if not name:
            name = f"input_{K.get_uid('input')}"
        super().__init__(dtype=dtype, name=name)
        self.trainable = False
        self.built = True
        self.sparse = sparse
        self.supports_masking = True
        if input_shape and batch_input_shape:
            raise ValueError("Only provide the input_shape OR batch_input_shape argument to InputLayer, not both.")
        batch_input_shape = _full_shape(input_shape, batch_size, batch_input_shape, input_tensor)
        if not dtype:
            dtype = K.floatx() if input_tensor is None else K.dtype(input_tensor)
        self.batch_input_shape = tuple(batch_input_shape)
        self.dtype = dtype

        self.is_placeholder = input_tensor is None
        if input_tensor is None:
            input_tensor = K.placeholder(
                shape=self.batch_input_shape, dtype=dtype, sparse=self.sparse, name=self.name
            )
        else:
            self.is_placeholder = K.is_placeholder(input_tensor)
            input_tensor._keras_shape = self.batch_input_shape
        input_tensor._uses_learning_phase = False
        input_tensor._keras_history = (self, 0, 0)
        Node(
            self,
            inbound_layers=[],
            node_indices=[],
            tensor_indices=[],
            input_tensors=[input_tensor],
            output_tensors=[input_tensor],
            input_masks=[None],
            output_masks=[None],
            input_shapes=[self.batch_input_shape],
            output_shapes=[self.batch_input_shape],
        )

    def get_config(self) -> dict[str, Any]:
        return {
            "batch_input_shape": self.batch_input_shape,
            "dtype": self.dtype,
            "sparse": self.sparse,
            "name": self.name,
        }


def _full_shape(input_shape: Any, batch_size: int | None, batch_input_shape: Any, input_tensor: Any) -> Any:
    if batch_input_shape is not None:
        return batch_input_shape
    if input_shape is not None:
        return (batch_size, *input_shape)
    if input_tensor is None:
        raise ValueError("An Input layer should be passed either a `batch_input_shape` or an `input_shape`.")
    return K.int_shape(input_tensor)


def Input(
    shape: Any = None,
    batch_shape: Any = None,
    name: str | None = None,
    dtype: str | None = None,
    sparse: bool = False,
    tensor: Any = None,
) -> Any:
    """An input tensor of a model.

    # Arguments
        shape: sizes without the batch axis; None for a size that may vary.
        batch_shape: sizes with the batch axis, in place of `shape`.
        name: name of the input; unique in the model.
        dtype: dtype of the data, "float32" by default.
        sparse: whether the data is sparse.
        tensor: an existing tensor to use; then nothing is fed.
    """
    if batch_shape is None and tensor is None and shape is None:
        raise ValueError(
            "Please provide to Input either a `shape` or a `batch_shape` argument. "
            "Note that `shape` does not include the batch dimension."
        )
    if isinstance(shape, (int, float)):
        raise TypeError(f"`shape` must be a tuple of sizes, as in `shape=({shape},)`. Received: {shape}")
    if shape is not None and not batch_shape:
        batch_shape = (None, *shape)
    layer = InputLayer(
        batch_input_shape=batch_shape, name=name, dtype=dtype or K.floatx(), sparse=sparse, input_tensor=tensor
    )
    return unpack_singleton(layer._inbound_nodes[0].output_tensors)
