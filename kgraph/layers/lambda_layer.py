"""`Lambda`: a function as a layer, and how it is kept in configs.

`kgraph.layers.core` offers it to users. A config holds the function's bytecode, but bytecode is never run:
`stored_function.py` finds the function again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph.engine.base_layer import Layer
from kgraph.layers import stored_function
from kgraph.legacy import interfaces
from kgraph.utils.generic_utils import get_custom_objects, has_arg


class Lambda(Layer):
    """Applies a function of tensors.

    # Arguments
        function: takes the input tensor, or the list of them; and `mask` if it has such an argument.
        output_shape: the output's shape without the batch axis, or a function of the input's shape; found out from the
            function's result if not given.
        mask: the output's mask, or a function `(inputs, mask)` for it.
        arguments: further keyword arguments of the function.
    """

    @interfaces.legacy_lambda_support
    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: Any = None,
        mask: Any = None,
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.function = function
        self.arguments = arguments or {}
        if mask is not None:
            self.supports_masking = True
        self.mask = mask
        if output_shape is None or callable(output_shape):
            self._output_shape = output_shape
        elif isinstance(output_shape, (tuple, list)):
            self._output_shape = tuple(output_shape)
        else:
            raise TypeError("In Lambda, `output_shape` must be a list, a tuple, or a function.")

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self._output_shape is None:
            several = isinstance(input_shape, list)
            inputs = [K.placeholder(shape=shape) for shape in (input_shape if several else [input_shape])]
            result = self.call(inputs if several else inputs[0])
            return [K.int_shape(x) for x in result] if isinstance(result, list) else K.int_shape(result)
        if isinstance(self._output_shape, tuple):
            batch = input_shape[0][0] if isinstance(input_shape, list) else input_shape[0]
            return (batch, *self._output_shape)
        shape = self._output_shape(input_shape)
        if not isinstance(shape, (list, tuple)):
            raise ValueError(f"Layer {self.name}: `output_shape` must return a tuple or a list. Received: {shape!r}")
        return tuple(shape)

    def call(self, inputs: Any, mask: Any = None) -> Any:
        arguments = dict(self.arguments)
        if has_arg(self.function, "mask"):
            arguments["mask"] = mask
        return self.function(inputs, **arguments)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return self.mask(inputs, mask) if callable(self.mask) else self.mask

    def get_config(self) -> dict[str, Any]:
        if callable(self._output_shape):
            output_shape, output_shape_type = _dumped(self._output_shape), _kind(self._output_shape)
        else:
            output_shape, output_shape_type = self._output_shape, "raw"
        return {
            **super().get_config(),
            "function": _dumped(self.function),
            "function_type": _kind(self.function),
            "output_shape": output_shape,
            "output_shape_type": output_shape_type,
            "arguments": self.arguments,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Lambda:
        """The layer of a config. Raises ValueError, naming the layer, where its function is not known here."""
        config = dict(config)
        name, known = str(config.get("name")), {**get_custom_objects(), **(custom_objects or {})}
        function = _loaded(config["function"], config.pop("function_type", "lambda"), name, known)
        if function is None:
            raise ValueError(
                f"Layer '{name}' is a Lambda whose function is stored as bytecode. Bytecode is not run: it could do "
                "anything, and it fits only the version of Python that wrote it. Pass the function under the layer's "
                f"name: custom_objects={{'{name}': function}}."
            )
        kind = config.pop("output_shape_type", "raw")
        output_shape = config.get("output_shape")
        if kind != "raw":  # where it is not known, the function's result tells it
            output_shape = _loaded(output_shape, kind, f"{name}_output_shape", known)
        arguments = {key: _array(value) for key, value in (config.get("arguments") or {}).items()}
        return cls(**{**config, "function": function, "output_shape": output_shape, "arguments": arguments})


def _kind(function: Any) -> str:
    return "lambda" if hasattr(function, "__code__") else "function"


def _dumped(function: Any) -> Any:
    return stored_function.dump(function) if hasattr(function, "__code__") else function.__name__


def _loaded(stored: Any, kind: str, name: str, known: dict[str, Any]) -> Any:
    if callable(stored):
        return stored
    if kind != "function" and not isinstance(stored, str):
        return stored_function.find(stored, name, known)
    if not callable(known.get(stored)):
        raise ValueError(f"Unknown function: {stored}. Pass it as `custom_objects={{'{stored}': {stored}}}`.")
    return known[stored]


def _array(value: Any) -> Any:
    """An argument of the function; configs hold arrays as `{"type": "ndarray", "value": list}`."""
    if isinstance(value, dict) and value.get("type") == "ndarray":
        return np.array(value["value"])
    return value
