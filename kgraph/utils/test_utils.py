"""Helpers for tests of layers, for this project's and for users' own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.testing import assert_allclose

from kgraph import backend as K
from kgraph.engine.input_layer import Input
from kgraph.engine.sequential import Sequential
from kgraph.engine.training import Model
from kgraph.utils.generic_utils import has_arg

__all__ = ["Input", "Model", "get_test_data", "has_arg", "layer_test"]

_RTOL = 1e-3


def get_test_data(
    num_train: int = 1000,
    num_test: int = 500,
    input_shape: Any = (10,),
    output_shape: Any = (2,),
    classification: bool = True,
    num_classes: int = 2,
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Random inputs whose mean tells the target: a class number, or an array scattered about the same mean.

    # Returns
        `(x_train, y_train), (x_test, y_test)`; `x` of shape `(n, *input_shape)`, `y` of shape `(n,)` for classes, else
        `(n, *output_shape)`.
    """
    samples = num_train + num_test
    if classification:
        means: np.ndarray = np.random.randint(0, num_classes, size=(samples,))
        y = means
    else:
        means = np.random.random(samples)
        y = _scattered(means, tuple(output_shape))
    x = _scattered(means, tuple(input_shape))
    return (x[:num_train], y[:num_train]), (x[num_train:], y[num_train:])


def _scattered(means: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    centres = means.reshape(-1, *(1,) * len(shape))
    return np.random.normal(centres, 0.7, size=(len(means), *shape)).astype(np.float32)


def layer_test(
    layer_cls: Any,
    kwargs: dict[str, Any] = {},  # noqa: B006 - Keras' signature; it is only read
    input_shape: Any = None,
    input_dtype: Any = None,
    input_data: Any = None,
    expected_output: Any = None,
    expected_output_dtype: Any = None,
    fixed_batch_size: bool = False,
) -> np.ndarray:
    """Check what every layer must do: in a functional and a Sequential model, through its config and its weights.

    # Arguments
        layer_cls: the class; `kwargs`: arguments for it.
        input_shape: with the batch axis; None is replaced by a random small size. Needed unless there is `input_data`.
        input_dtype: dtype of the input; by default that of `input_data`, or the default float type.
        input_data: the input, or None for random numbers in [0, 10).
        expected_output: compared with the predictions (relative tolerance 1e-3), if given.
        expected_output_dtype: by default the dtype of the input.
        fixed_batch_size: whether the model is built for the batch size of `input_shape`.

    # Returns
        The predictions of the Sequential model, for further checks. Raises AssertionError where a check fails.
    """
    if input_data is None:
        assert input_shape, "give `input_shape` or `input_data`"
        input_dtype = input_dtype or K.floatx()
        sizes = [np.random.randint(1, 4) if size is None else size for size in input_shape]
        input_data = (10 * np.random.random(sizes)).astype(input_dtype)
    else:
        input_shape = input_data.shape if input_shape is None else input_shape
        input_dtype = input_dtype or str(input_data.dtype)
    expected_output_dtype = expected_output_dtype or input_dtype

    layer = layer_cls(**kwargs)
    layer.set_weights(layer.get_weights())
    expected_shape = layer.compute_output_shape(input_shape)

    model, output = _check_functional(layer, input_data, input_shape, input_dtype, fixed_batch_size)
    assert model.output.dtype == expected_output_dtype, f"dtype {model.output.dtype}, not {expected_output_dtype}"
    _check_output(output, expected_shape, expected_output)
    if has_arg(layer.call, "training"):
        model.compile("rmsprop", "mse")
        model.train_on_batch(input_data, output)
    return _check_sequential(layer, input_data, input_shape, expected_shape, expected_output)


def _check_functional(
    layer: Any, input_data: Any, input_shape: Any, input_dtype: Any, fixed_batch_size: bool
) -> tuple[Any, np.ndarray]:
    if fixed_batch_size:
        x = Input(batch_shape=tuple(input_shape), dtype=input_dtype)
    else:
        x = Input(shape=tuple(input_shape[1:]), dtype=input_dtype)
    model = Model(x, layer(x))
    output = model.predict(input_data)
    custom_objects = {type(layer).__name__: type(layer)}
    again = type(model).from_config(model.get_config(), custom_objects)
    if model.weights:
        again.set_weights(model.get_weights())
        assert_allclose(again.predict(input_data), output, rtol=_RTOL)
    return model, output


def _check_sequential(
    layer: Any, input_data: Any, input_shape: Any, expected_shape: Any, expected_output: Any
) -> np.ndarray:
    from kgraph.engine.saving import model_from_json

    custom_objects = {type(layer).__name__: type(layer)}
    config = layer.get_config()
    config["batch_input_shape"] = tuple(input_shape)
    model = Sequential([type(layer).from_config(config)])
    output = model.predict(input_data)
    # Fresh weights need not give the expected output.
    _check_output(output, expected_shape, None if model.weights else expected_output)
    again = model_from_json(model.to_json(), custom_objects)
    if model.weights:
        again.set_weights(model.get_weights())
        assert_allclose(again.predict(input_data), output, rtol=_RTOL)
    model.compile("rmsprop", "mse")
    model.train_on_batch(input_data, output)
    return output


def _check_output(output: np.ndarray, expected_shape: Any, expected_output: Any) -> None:
    assert len(output.shape) == len(expected_shape), f"the output has shape {output.shape}, not {expected_shape}"
    for size, expected in zip(output.shape, expected_shape, strict=True):
        assert expected in (None, size), f"the output has shape {output.shape}, not {expected_shape}"
    if expected_output is not None:
        assert_allclose(output, expected_output, rtol=_RTOL)
