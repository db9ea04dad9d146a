"""`Lambda`: a function as a layer, and how it is kept in configs.

`kgraph.layers.core` offers it to users. A config holds the function's bytecode; a file's bytecode is never run
(`engine/saving.py` refuses it), a config of this process is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kgraph import backend as K
from kgraph.engine.base_layer import Layer
from kgraph.legacy import interfaces
from kgraph.utils.generic_utils import func_dump, func_load, has_arg, unpack_singleton


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
            return unpack_singleton([K.int_shape(x) for x in result]) if isinstance(result, list) else K.int_shape(result)
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
        config = dict(config)
        function = _loaded(config["function"], config.pop("function_type", "lambda"), custom_objects or {})
        output_shape = config.get("output_shape")
        if config.pop("output_shape_type", "raw") != "raw":
            output_shape = _loaded(output_shape, "lambda", custom_objects or {})
        return cls(**{**config, "function": function, "output_shape": output_shape})


def _kind(function: Any) -> str:
    return "lambda" if hasattr(function, "__code__") else "function"


def _dumped(function: Any) -> Any:
    return func_dump(function) if hasattr(function, "__code__") else function.__name__


def _loaded(stored: Any, kind: str, custom_objects: dict[str, Any]) -> Any:
    if callable(stored):
        return stored
    if kind == "function" or isinstance(stored, str):
        known = {**vars(K), **custom_objects}
        if stored not in known:
            raise ValueError(
                f"Unknown function: {stored}. Pass it as `custom_objects={{'{stored}': {stored}}}`."
            )
        return known[stored]
    import numpy as np

    return func_load(stored, globs={"K": K, "np": np, **custom_objects})
