"""Paths and helpers that scripts reach into Keras for: where they are, and what they give."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from kgraph import backend as K
from kgraph import losses
from kgraph.engine import saving, training_utils
from kgraph.initializers import _compute_fans
from kgraph.layers import Conv2D, Dense, Input
from kgraph.models import Model
from kgraph.utils import conv_utils, generic_utils, io_utils

# Where a name is also found -> where it is defined.
SAME = {
    "callbacks.Progbar": "utils.generic_utils.Progbar",
    "callbacks.standardize_input_data": "engine.training_utils.standardize_input_data",
    "engine.Input": "engine.input_layer.Input",
    "engine.InputLayer": "engine.input_layer.InputLayer",
    "engine.InputSpec": "engine.base_layer.InputSpec",
    "engine.Layer": "engine.base_layer.Layer",
    "engine.Model": "engine.training.Model",
    "engine.get_source_inputs": "utils.layer_utils.get_source_inputs",
    "engine.network.get_source_inputs": "utils.layer_utils.get_source_inputs",
    "engine.network.object_list_uid": "utils.generic_utils.object_list_uid",
    "engine.saving.ask_to_proceed_with_overwrite": "utils.io_utils.ask_to_proceed_with_overwrite",
    "engine.saving.h5dict": "utils.io_utils.H5Dict",
    "engine.topology.InputSpec": "engine.base_layer.InputSpec",
    "engine.topology.Layer": "engine.base_layer.Layer",
    "engine.topology.Node": "engine.base_layer.Node",
    "engine.training.collect_metrics": "engine.training_utils.collect_metrics",
    "engine.training.slice_arrays": "utils.generic_utils.slice_arrays",
    "engine.training.standardize_input_data": "engine.training_utils.standardize_input_data",
    "engine.training.standardize_weights": "engine.training_utils.standardize_weights",
    "engine.training.weighted_masked_objective": "engine.training_utils.weighted_masked_objective",
    "engine.training_arrays.make_batches": "engine.training_utils.make_batches",
    "engine.training_arrays.to_list": "utils.generic_utils.to_list",
    "layers.Input": "engine.input_layer.Input",
    "models.Model": "engine.training.Model",
    "utils.CustomObjectScope": "utils.generic_utils.CustomObjectScope",
    "utils.HDF5Matrix": "utils.io_utils.HDF5Matrix",
    "utils.Progbar": "utils.generic_utils.Progbar",
    "utils.Sequence": "utils.data_utils.Sequence",
    "utils.convert_all_kernels_in_model": "utils.layer_utils.convert_all_kernels_in_model",
    "utils.custom_object_scope": "utils.generic_utils.custom_object_scope",
    "utils.deserialize_keras_object": "utils.generic_utils.deserialize_keras_object",
    "utils.get_custom_objects": "utils.generic_utils.get_custom_objects",
    "utils.get_file": "utils.data_utils.get_file",
    "utils.get_source_inputs": "utils.layer_utils.get_source_inputs",
    "utils.h5dict": "utils.io_utils.H5Dict",
    "utils.io_utils.h5dict": "utils.io_utils.H5Dict",
    "utils.layer_utils.convert_kernel": "utils.conv_utils.convert_kernel",
    "utils.multi_gpu_model": "utils.multi_gpu_utils.multi_gpu_model",
    "utils.multi_gpu_utils.Model": "engine.training.Model",
    "utils.multi_gpu_utils.clone_model": "models.clone_model",
    "utils.normalize": "utils.np_utils.normalize",
    "utils.plot_model": "utils.vis_utils.plot_model",
    "utils.print_summary": "utils.layer_utils.print_summary",
    "utils.serialize_keras_object": "utils.generic_utils.serialize_keras_object",
    "utils.to_categorical": "utils.np_utils.to_categorical",
}


def _object(path: str) -> Any:
    module, name = path.rsplit(".", 1)
    return getattr(importlib.import_module(f"kgraph.{module}"), name)


@pytest.mark.parametrize(("path", "home"), sorted(SAME.items()))
def test_the_same_object_under_both_names(path: str, home: str) -> None:
    assert _object(path) is _object(home)


def test_everything_of_utils_by_star_import() -> None:
    names: dict[str, Any] = {}
    exec("from kgraph.utils import *", names)
    assert {p.removeprefix("utils.") for p in SAME if p.count(".") == 1 and p.startswith("utils.")} <= set(names)


@pytest.mark.parametrize(
    ("size", "batch", "expected"),
    [(0, 3, []), (1, 3, [(0, 1)]), (7, 3, [(0, 3), (3, 6), (6, 7)]), (6, 3, [(0, 3), (3, 6)])],
)
def test_make_batches(size: int, batch: int, expected: list[tuple[int, int]]) -> None:
    assert training_utils.make_batches(size, batch) == expected


@pytest.mark.parametrize(
    ("inputs", "targets", "weights", "message"),
    [
        ([3, 3], [3], [3], None),
        ([3, 4], [3], None, "All input arrays"),
        ([3], [3, 4], None, "All target arrays"),
        ([3], [4], None, "Input arrays should have the same number of samples as target arrays"),
        ([3], [3], [4], "same number of samples as target arrays"),
    ],
)
def test_check_array_length_consistency(inputs: Any, targets: Any, weights: Any, message: str | None) -> None:
    given = [None if sizes is None else [np.zeros((n, 2)) for n in sizes] for sizes in (inputs, targets, weights)]
    if message is None:
        training_utils.check_array_length_consistency(*given)
    else:
        with pytest.raises(ValueError, match=message):
            training_utils.check_array_length_consistency(*given)


def test_check_loss_and_target_compatibility() -> None:
    check, crossentropy = training_utils.check_loss_and_target_compatibility, losses.categorical_crossentropy
    check([np.zeros((3, 4))], [losses.mean_squared_error], [(None, 4)])
    check([np.zeros((3, 1))], [None], [(None, 4)])
    with pytest.raises(ValueError, match="categorical_crossentropy"):
        check([np.zeros((3, 1))], [crossentropy], [(None, 1)])
    with pytest.raises(ValueError, match="same shape as the output"):
        check([np.zeros((3, 2))], [losses.mean_squared_error], [(None, 4)])


def test_weighted_masked_objective() -> None:
    weighted = training_utils.weighted_masked_objective(losses.mean_squared_error)
    y, p = np.array([[1.0], [2.0], [4.0]]), np.zeros((3, 1))
    loss = weighted(K.constant(y), K.constant(p), K.constant([1.0, 0.0, 2.0]))
    assert K.eval(loss) == pytest.approx((1 + 2 * 16) / 2)
    masked = weighted(K.constant(y), K.constant(p), None, K.constant([1.0, 1.0, 0.0]))
    assert K.eval(masked) == pytest.approx((1 + 4) / 2)
    assert training_utils.weighted_masked_objective(None) is None


def test_preprocess_weights_for_loading() -> None:
    layer = Conv2D(3, (2, 2), data_format="channels_first")
    layer(Input((1, 4, 4)))
    kernel, bias = layer.get_weights()
    old = np.transpose(kernel, (3, 2, 0, 1))
    assert_array_equal(saving.preprocess_weights_for_loading(layer, [old, bias], "1")[0], kernel)
    assert_array_equal(saving.preprocess_weights_for_loading(layer, [kernel, bias], "2.2.4", "tensorflow")[0], kernel)
    mirrored = saving.preprocess_weights_for_loading(layer, [kernel, bias], "2.2.4", "theano")[0]
    assert_array_equal(mirrored, kernel[::-1, ::-1])


def test_generic_utils() -> None:
    def function(a: int, b: int = 2, *, c: int = 3, **kwargs: int) -> int:
        return a + b + c

    assert generic_utils.has_arg(function, "b") and generic_utils.has_arg(function, "c")
    assert not generic_utils.has_arg(function, "d") and generic_utils.has_arg(function, "d", accept_all=True)
    assert generic_utils.to_list(1) == [1] and generic_utils.to_list((1, 2)) == [(1, 2)]
    assert generic_utils.to_list((1, 2), allow_tuple=True) == [1, 2]
    assert generic_utils.unpack_singleton([1]) == 1 and generic_utils.unpack_singleton([1, 2]) == [1, 2]
    x = np.arange(10).reshape(5, 2)
    assert_array_equal(generic_utils.slice_arrays([x, None], 1, 3)[0], x[1:3])
    assert_array_equal(generic_utils.slice_arrays(x, [4, 0]), x[[4, 0]])
    assert generic_utils.slice_arrays(None) == [None]
    a, b = object(), object()
    assert generic_utils.object_list_uid([a, b]) == f"{id(a)}, {id(b)}"
    assert generic_utils.object_list_uid(a) == str(id(a))
    offset = 5
    code, defaults, closure = generic_utils.func_dump(lambda v, w=2: v * w + offset)
    assert generic_utils.func_load(code, defaults, closure)(3) == 11
    assert generic_utils.func_load([code, list(defaults or ()), closure])(3, 3) == 14


def test_io_utils(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io_utils.h5dict(str(tmp_path / "x.h5"), "w")
    file["data"] = np.arange(3)
    file["group"]["inner"] = np.ones(2)
    file.close()
    file = io_utils.h5dict(str(tmp_path / "x.h5"), "r")
    assert_array_equal(file["data"], np.arange(3))
    assert_array_equal(file["group"]["inner"], np.ones(2))
    file.close()
    assert_array_equal(io_utils.HDF5Matrix(str(tmp_path / "x.h5"), "data")[1:], [1, 2])
    answers = iter(["perhaps", "y", "n"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(answers))
    assert io_utils.ask_to_proceed_with_overwrite("x.h5") and not io_utils.ask_to_proceed_with_overwrite("x.h5")


def test_conv_utils() -> None:
    kernel = np.arange(12.0).reshape(2, 3, 1, 2)
    assert_array_equal(conv_utils.convert_kernel(kernel), kernel[::-1, ::-1])
    assert conv_utils.deconv_length(4, 2, 3, "valid", None) == 9
    assert conv_utils.deconv_length(4, 2, 3, "same", None) == 8
    assert conv_utils.deconv_length(4, 2, 3, "same", 1) == 8
    assert conv_utils.deconv_length(None, 2, 3, "same", None) is None


@pytest.mark.parametrize(
    ("shape", "data_format", "expected"),
    [
        ((5, 7), "channels_last", (5, 7)),
        ((3, 3, 2, 4), "channels_last", (18, 36)),
        ((4, 2, 3, 3), "channels_first", (18, 36)),
        ((9,), "channels_last", (3.0, 3.0)),
    ],
)
def test_compute_fans(shape: tuple[int, ...], data_format: str, expected: tuple[float, float]) -> None:
    assert _compute_fans(shape, data_format) == expected


def test_attributes_of_tensors_and_layers() -> None:
    x = Input((3,))
    layer = Dense(2, activity_regularizer="l2")
    y = layer(x)
    assert x._keras_shape == (None, 3) and y._keras_shape == (None, 2)
    assert y._keras_history == (layer, 0, 0) and y._uses_learning_phase is False
    assert layer.updates == [] and layer.get_losses_for(None) == [] and len(layer.get_losses_for(x)) == 1
    assert Model(x, y).updates == []
