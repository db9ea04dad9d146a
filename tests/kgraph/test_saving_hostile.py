"""Files that bring code, lead elsewhere, or claim to be huge; and functions of Lambda layers, which are code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose

from kgraph import backend as K
from kgraph.layers import Lambda
from kgraph.models import Sequential, load_model, model_from_json, model_from_yaml
from tests.kgraph.saved_models import equal_weights, mlp

pytestmark = pytest.mark.usefixtures("reference_session")


# Lambda


def half(x: Any) -> Any:
    return x / 2.0


def lambdas() -> Any:
    def times(k: float) -> Any:
        return Lambda(lambda x: x * k, name=f"times_{k}")

    return Sequential([Lambda(half, input_shape=(3,), name="half"), times(2.0), times(3.0)])


def test_lambdas_find_their_functions_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kgraph.utils.generic_utils.func_load", lambda *_: pytest.fail("bytecode was read"))
    x = np.arange(6.0).reshape(2, 3)
    model = lambdas()
    model.save(tmp_path / "m.h5", include_optimizer=False)
    text = model.to_json()
    K.clear_session()
    for again in (load_model(tmp_path / "m.h5", compile=False), model_from_json(text)):
        assert_allclose(again.predict(x), x * 3)


def test_lambdas_of_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kgraph.utils.generic_utils.func_load", lambda *_: pytest.fail("bytecode was read"))
    model = Sequential([Lambda(half, input_shape=(3,), output_shape=lambda s: s, name="layer_1")])
    model.save(tmp_path / "m.h5")
    K.get_session().functions.clear()
    with pytest.raises(ValueError, match="'layer_1' is a Lambda whose function is stored as bytecode.*custom_objects="):
        load_model(tmp_path / "m.h5", compile=False)
    for known in ({"layer_1": half}, {"half": half}):
        again = load_model(tmp_path / "m.h5", known, compile=False)
        assert_allclose(again.predict(np.ones((1, 3))), np.full((1, 3), 0.5))


# Files that mean harm


def bomb(f: Any) -> None:
    f["model_weights/first/first"].create_dataset("big", (1 << 40,), "f4", chunks=(1 << 16,), compression="gzip")


def chunk_bomb(f: Any) -> None:
    group = f["model_weights/first/first"]
    group.create_dataset("big", (4,), "f4", maxshape=(None,), chunks=(1 << 28,), compression="gzip")


def virtual(f: Any) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(4,))
    f["model_weights/first/first"].create_virtual_dataset("big", layout)


def assign(value: Any) -> Callable[[Any], None]:
    def change(f: Any) -> None:
        f["model_weights/first/first/big"] = value

    return change


def external(f: Any) -> None:
    f["model_weights/first/first"].create_dataset("big", (4,), "u1", external=[("/etc/passwd", 0, 4)])


def renamed(name: bytes) -> Callable[[Any], None]:
    def change(f: Any) -> None:
        f["model_weights/first"].attrs["weight_names"] = np.array([name, name])

    return change


def no_texts(f: Any) -> None:
    f["model_weights/first"].attrs["weight_names"] = np.arange(3)


def too_many_texts(f: Any) -> None:
    del f["model_weights"]
    f.create_group("model_weights").attrs.create("layer_names", np.zeros(1 << 17, "S1"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (bomb, "declares 4398046511104 bytes"),
        (chunk_bomb, "declares 1073741824 bytes"),
        (virtual, "made of parts of other datasets"),
        (external, "lies in another file"),
        (assign(h5py.SoftLink("/model_weights/last/last/bias:0")), "SoftLink"),
        (assign(h5py.ExternalLink("/etc/other.h5", "/x")), "ExternalLink"),
        (assign("some text"), "not an array of numbers"),
        (assign(np.zeros(2, [("a", "f4"), ("b", "i4")])), "not an array of numbers"),
        (assign(np.zeros(2, np.complex64)), "not an array of numbers"),
        (assign(h5py.Empty("f4")), "not an array of numbers"),
        (renamed(b"first"), "a dataset was expected"),
        (renamed(b"first/nothing"), "holds no 'first/nothing'"),
        (renamed(b"/model_weights/last/last/bias:0"), "absolute path"),
        (renamed(b"../last/last/bias:0"), "holds no"),
        (no_texts, "not text"),
        (too_many_texts, "declares 131072 texts"),
    ],
)
def test_hostile_files(change: Callable[[Any], None], message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    mlp().save(path)
    with h5py.File(path, "r+", libver="latest") as f:
        f["model_weights/first"].attrs["weight_names"] = np.array([b"first/kernel:0", b"first/big"])
        change(f)
    with pytest.raises(ValueError, match=message):
        load_model(path)
    with pytest.raises(ValueError, match=message):
        mlp().load_weights(path)


def test_files_with_circles(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    model = mlp()
    model.save(path)
    with h5py.File(path, "r+") as f:
        f["model_weights/loop"] = f["/"]
        f["model_weights"].attrs["layer_names"] = np.array([b"loop/model_weights/first", b"last"])
    equal_weights(load_model(path).get_weights(), model.get_weights())


def edited(path: Path, change: Callable[[Any], Any], what: str = "model_config") -> None:
    with h5py.File(path, "r+") as f:
        config = json.loads(f.attrs[what])
        f.attrs[what] = json.dumps(change(config) or config).encode()


def layer(config: Any, **change: Any) -> None:
    config["config"]["layers"][0]["config"].update(change)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda c: layer(c, units=10**12), ValueError, "Layer first: weight 'kernel'.*does not fit the file"),
        (lambda c: layer(c, units=-(10**12)), ValueError, "Layer first: weight 'kernel'"),
        (lambda c: layer(c, batch_input_shape=[None, 10**9]), ValueError, "does not fit the file"),
        (lambda c: layer(c, activation="exec"), ValueError, "Unknown activation function:exec"),
        (lambda c: layer(c, kernel_initializer={"class_name": "os.system", "config": {}}), ValueError, "Unknown init"),
        (lambda c: layer(c, colour="red"), TypeError, "Keyword argument not understood"),
        (lambda c: {"class_name": "deserialize", "config": c}, ValueError, "Unknown layer: deserialize"),
        (lambda c: {"class_name": "Model", "config": {"name": "m"}}, ValueError, "lacks 'layers'"),
        (lambda c: [c], ValueError, "must have a 'class_name'"),
    ],
)
def test_hostile_configs(change: Callable[[Any], Any], error: type[Exception], message: str, tmp_path: Path) -> None:
    mlp().save(tmp_path / "m.h5")
    edited(tmp_path / "m.h5", change)
    with pytest.raises(error, match=message):
        load_model(tmp_path / "m.h5")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested deeper"),
        ("[" * 300 + "]" * 300, "nested deeper"),
        ("{", "not valid JSON"),
        ('{"class_name": "Sequential", "config": ' + '{"a": ' * 150 + "1" + "}" * 150 + "}", "lacks"),
    ],
)
def test_hostile_json(text: str, message: str, tmp_path: Path) -> None:
    mlp().save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as f:
        f.attrs["model_config"] = text.encode()
    for read in (lambda: load_model(tmp_path / "m.h5"), lambda: model_from_json(text)):
        with pytest.raises(ValueError, match=message):
            read()


def test_training_configuration_without_optimizer(tmp_path: Path) -> None:
    mlp().save(tmp_path / "m.h5")
    edited(tmp_path / "m.h5", lambda c: c.pop("optimizer_config") and None, "training_config")
    with pytest.raises(ValueError, match="names no optimizer"):
        load_model(tmp_path / "m.h5")


def test_yaml() -> None:
    model = mlp(None)
    assert model_from_yaml(model.to_yaml()).get_config() == model.get_config()
    tuples = model.to_yaml().replace("batch_input_shape:", "batch_input_shape: !!python/tuple")
    assert model_from_yaml(tuples).get_config() == model.get_config()
    bombs = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "\n".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]" for i in range(8)
    )
    for text, message in (
        ("!!python/object/apply:os.system ['echo']", "not plain YAML"),
        ("class_name: !!python/name:os.system", "not plain YAML"),
        (bombs, "references unfold"),
        ("a: &a [*a]", "nested deeper"),
        ("[" * 3000, "nested too deep|not plain YAML"),
        ("just text", "must have a 'class_name'"),
    ):
        with pytest.raises(ValueError, match=message):
            model_from_yaml(text)
