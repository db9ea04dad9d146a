"""The helpers of `kgraph.utils` that need no model."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pytest

from kgraph import utils
from kgraph.utils import conv_utils, generic_utils, np_utils
from kgraph.utils.layer_utils import convert_dense_weights_data_format, get_source_inputs


class Thing:
    def __init__(self, size: int = 1) -> None:
        self.size = size

    def get_config(self) -> dict[str, int]:
        return {"size": self.size}

    @classmethod
    def from_config(cls, config: dict[str, int]) -> Thing:
        return cls(**config)


def shout() -> str:
    return "!"


# Custom objects and names


def test_scope_restores_what_was_known() -> None:
    known = utils.get_custom_objects()
    before = dict(known)
    with utils.custom_object_scope({"thing": Thing}, {"shout": shout}):
        assert known["thing"] is Thing and known["shout"] is shout
        with utils.CustomObjectScope({"thing": None}):
            assert known["thing"] is None
        assert known["thing"] is Thing
    assert known == before and utils.get_custom_objects() is known


def test_serialize_and_back() -> None:
    config = utils.serialize_keras_object(Thing(3))
    assert config == {"class_name": "Thing", "config": {"size": 3}}
    assert utils.deserialize_keras_object(config, {"Thing": Thing}).size == 3
    assert utils.serialize_keras_object(shout) == "shout"
    assert utils.deserialize_keras_object("shout", custom_objects={"shout": shout}) is shout
    assert utils.serialize_keras_object(None) is None
    with pytest.raises(ValueError, match="Cannot serialize"):
        utils.serialize_keras_object(3)


def test_custom_objects_come_before_the_modules_own() -> None:
    with utils.custom_object_scope({"shout": 2}):
        assert utils.deserialize_keras_object("shout", {"shout": 1}) == 2
        assert utils.deserialize_keras_object("shout", {"shout": 1}, {"shout": 3}) == 3


def test_from_config_sees_custom_objects() -> None:
    seen: dict[str, Any] = {}

    class Outer:
        @classmethod
        def from_config(cls, config: Any, custom_objects: Any = None) -> None:
            seen.update(custom_objects)

    class Inner:
        @classmethod
        def from_config(cls, config: Any) -> None:
            seen.update(utils.get_custom_objects())

    for cls in (Outer, Inner):
        seen.clear()
        utils.deserialize_keras_object({"class_name": "C", "config": {}}, {"C": cls}, {"shout": shout})
        assert seen["shout"] is shout
    assert "shout" not in utils.get_custom_objects()


@pytest.mark.parametrize(
    ("identifier", "message"),
    [
        ("nope", "^Unknown loss function:nope$"),
        ({"class_name": "Nope", "config": {}}, "^Unknown loss function: Nope$"),
        ({"name": "Nope"}, "^Improper config format: {'name': 'Nope'}$"),
        (3, "^Could not interpret serialized loss function: 3$"),
    ],
)
def test_deserialize_errors(identifier: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        utils.deserialize_keras_object(identifier, {}, printable_module_name="loss function")


def test_has_arg() -> None:
    def f(a: int, /, b: int, *args: int, c: int, **kwargs: int) -> None:
        pass

    assert [generic_utils.has_arg(f, name) for name in ("a", "b", "args", "c", "kwargs", "d")] == [
        False,
        True,
        False,
        True,
        False,
        False,
    ]
    assert generic_utils.has_arg(f, "d", accept_all=True)
    assert not generic_utils.has_arg(shout, "d", accept_all=True)


def test_check_for_unexpected_keys() -> None:
    generic_utils.check_for_unexpected_keys("loss", {"u": 1}, ["u", "v"])
    message = r"Unknown entry in loss dictionary: \"w\". Only expected the following keys: \['u', 'v'\]"
    with pytest.raises(ValueError, match=message):
        generic_utils.check_for_unexpected_keys("loss", {"u": 1, "w": 2}, ["u", "v"])


# Lists


def test_lists() -> None:
    items = [1]
    assert generic_utils.to_list(items) is items
    assert generic_utils.to_list((1, 2)) == [(1, 2)]
    assert generic_utils.to_list((1, 2), allow_tuple=True) == [1, 2]
    assert generic_utils.unpack_singleton([5]) == 5
    assert generic_utils.unpack_singleton([5, 6]) == [5, 6]
    assert generic_utils.is_all_none([None, None]) and generic_utils.is_all_none(None)
    assert not generic_utils.is_all_none([None, 0])
    assert generic_utils.object_list_uid(items) == generic_utils.object_list_uid([items[0]])
    a, b = [1], [1]
    assert generic_utils.unique_by_identity([a, b, a]) == [a, b]


def test_slice_arrays() -> None:
    x = np.arange(10)
    assert generic_utils.slice_arrays(None) == [None]
    assert generic_utils.slice_arrays(x, 2, 4).tolist() == [2, 3]
    assert generic_utils.slice_arrays(x, np.array([7, 1])).tolist() == [7, 1]
    first, none = generic_utils.slice_arrays([x, None], [0, 9])
    assert first.tolist() == [0, 9] and none is None


def test_transpose_shape() -> None:
    assert generic_utils.transpose_shape((None, 3, 4, 5), "channels_first", (1, 2)) == (None, 5, 3, 4)
    assert generic_utils.transpose_shape([3, 4, 5], "channels_first", (0, 1)) == [5, 3, 4]
    assert generic_utils.transpose_shape((3, 4, 5), "channels_last", (0, 1)) == (3, 4, 5)
    with pytest.raises(ValueError, match="Received: nchw"):
        generic_utils.transpose_shape((3, 4, 5), "nchw", (0, 1))


def test_function_dump_and_load() -> None:
    factor = 3

    def f(x: int, y: int = 2) -> Any:
        return np.array(x * y * factor)

    dumped = generic_utils.func_dump(f)
    assert dumped[1:] == ((2,), (3,))
    assert generic_utils.func_load(dumped)(5) == 30
    assert generic_utils.func_load(dumped[0], [7], (1,))(5) == 35
    assert generic_utils.func_load(generic_utils.func_dump(shout), globs={})() == "!"
    with pytest.raises(ValueError, match="another version of Python"):
        generic_utils.func_load("AAAA", None, None)


# Arrays


@pytest.mark.parametrize(
    ("y", "classes", "shape"),
    [([0, 2], None, (2, 3)), ([[1], [0]], 4, (2, 4)), ([[1, 0]], None, (1, 2, 2)), (2, 3, (3,)), ([], 3, (0, 3))],
)
def test_to_categorical(y: Any, classes: int | None, shape: tuple[int, ...]) -> None:
    one_hot = utils.to_categorical(y, classes)
    assert one_hot.shape == shape and one_hot.dtype == np.float32
    np.testing.assert_array_equal(one_hot.argmax(-1).ravel(), np.array(y).ravel())
    np.testing.assert_array_equal(one_hot.sum(-1), 1)


def test_to_categorical_errors() -> None:
    with pytest.raises(IndexError, match="^index 3 is out of bounds for axis 1 with size 2$"):
        utils.to_categorical([0, 3], 2)
    with pytest.raises(ValueError, match="`num_classes` must be given"):
        utils.to_categorical([])


def test_normalize() -> None:
    np.testing.assert_allclose(utils.normalize([[3.0, 4.0], [0.0, 0.0]]), [[0.6, 0.8], [0, 0]])
    np.testing.assert_allclose(np_utils.normalize([[3.0, 4.0], [1.0, 0.0]], axis=0, order=1), [[0.75, 1], [0.25, 0]])


# Convolutions


def test_normalize_tuple() -> None:
    assert conv_utils.normalize_tuple(2, 3, "strides") == (2, 2, 2)
    assert conv_utils.normalize_tuple([2, 1], 2, "strides") == (2, 1)
    prefix = "The `kernel_size` argument must be a tuple of 2 integers. Received: "
    for value, rest in [
        ((3, 3, 3), "(3, 3, 3)"),
        (None, "None"),
        ((1, "b"), "(1, 'b') including element b of type <class 'str'>"),
    ]:
        with pytest.raises(ValueError) as caught:
            conv_utils.normalize_tuple(value, 2, "kernel_size")
        assert str(caught.value) == prefix + rest


def test_normalize_words() -> None:
    assert conv_utils.normalize_padding("SAME") == "same"
    assert conv_utils.normalize_data_format("Channels_Last") == "channels_last"
    with pytest.raises(ValueError, match=r'"valid", "same" \(or "causal" for Conv1D\). Received: half'):
        conv_utils.normalize_padding("half")
    with pytest.raises(ValueError, match='one of "channels_first", "channels_last". Received: nchw'):
        conv_utils.normalize_data_format("nchw")


@pytest.mark.parametrize("padding", ["valid", "same", "full", "causal"])
@pytest.mark.parametrize("size", [5, 7, 8, 13])
@pytest.mark.parametrize("dilation", [1, 2])
def test_lengths_count_the_windows(padding: str, size: int, dilation: int) -> None:
    for kernel in (1, 2, 3):
        reach = (kernel - 1) * dilation
        padded = {"valid": size, "same": size + reach, "causal": size + reach, "full": size + 2 * reach}[padding]
        for stride in (1, 2, 3):
            windows = len(range(0, padded - reach, stride))
            assert conv_utils.conv_output_length(size, kernel, padding, stride, dilation) == windows


def test_lengths_back() -> None:
    assert conv_utils.conv_input_length(5, 3, "valid", 2) == 11
    assert conv_utils.conv_input_length(5, 3, "same", 2) == 9
    assert conv_utils.conv_input_length(5, 3, "full", 1) == 3
    assert [conv_utils.deconv_length(5, 2, 3, p, None) for p in ("valid", "same", "full")] == [11, 10, 7]
    assert [conv_utils.deconv_length(5, 2, 3, p, 1) for p in ("valid", "same", "full")] == [12, 10, 8]
    assert conv_utils.deconv_length(5, 1, 3, "valid", None, dilation=2) == 9
    assert conv_utils.conv_output_length(None, 3, "same", 1) is None
    assert conv_utils.conv_input_length(None, 3, "same", 1) is None
    assert conv_utils.deconv_length(None, 1, 3, "same", None) is None
    with pytest.raises(ValueError, match="Received: half"):
        conv_utils.conv_output_length(5, 3, "half", 1)


def test_convert_kernel() -> None:
    kernel = np.arange(24).reshape(2, 3, 2, 2)
    flipped = conv_utils.convert_kernel(kernel)
    np.testing.assert_array_equal(flipped, kernel[::-1, ::-1])
    np.testing.assert_array_equal(conv_utils.convert_kernel(flipped), kernel)
    with pytest.raises(ValueError, match="Invalid kernel shape"):
        conv_utils.convert_kernel(np.zeros((2, 2)))


# Layers


def test_source_inputs() -> None:
    def call(*inputs: Any) -> Any:
        layer = types.SimpleNamespace(_inbound_nodes=[])
        tensor = types.SimpleNamespace(_keras_history=(layer, 0, 0))
        layer._inbound_nodes.append(
            types.SimpleNamespace(
                input_tensors=list(inputs) or [tensor],
                inbound_layers=[x._keras_history[0] for x in inputs],
                node_indices=[0 for _ in inputs],
            )
        )
        return tensor

    a, b = call(), call()
    joined = call(call(b), a, call(b))
    assert [id(x) for x in get_source_inputs(call(joined))] == [id(b), id(a)]
    assert get_source_inputs(5) == 5
    for _ in range(3000):  # deep models must not meet the recursion limit
        joined = call(joined)
    assert len(get_source_inputs(joined)) == 2


def test_convert_dense_weights() -> None:
    features = np.arange(24.0).reshape(2, 3, 4)  # channels last
    kernel, bias = np.random.RandomState(0).rand(24, 5), np.zeros(5)
    expected = features.ravel() @ kernel
    dense: Any = types.SimpleNamespace(name="dense_1", weights=[kernel, bias])
    dense.get_weights = lambda: dense.weights
    dense.set_weights = lambda weights: dense.__dict__.update(weights=weights)
    convert_dense_weights_data_format(dense, (4, 2, 3), "channels_first")
    np.testing.assert_allclose(np.moveaxis(features, -1, 0).ravel() @ dense.weights[0], expected)
    convert_dense_weights_data_format(dense, (2, 3, 4), "channels_last")
    np.testing.assert_allclose(dense.weights[0], kernel)
    with pytest.raises(ValueError, match="dense_1 takes 24 features"):
        convert_dense_weights_data_format(dense, (2, 2))


def test_unknown_name_of_the_package() -> None:
    assert utils.print_summary.__module__ == "kgraph.utils.layer_utils"
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = utils.nope
