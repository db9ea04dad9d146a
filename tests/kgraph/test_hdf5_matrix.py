"""HDF5 datasets as data for training: `HDF5Matrix`, `h5py` datasets; data frames too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from kgraph import backend as K
from kgraph.layers import Dense, Input
from kgraph.models import Model, Sequential
from kgraph.utils import HDF5Matrix

X = np.arange(52.0).reshape(13, 4) / 52
BYTES = np.arange(52, dtype=np.uint8).reshape(13, 4)
Y = np.sin(np.arange(26.0)).reshape(13, 2)


@pytest.fixture
def path(tmp_path: Path) -> str:
    K.clear_session()
    np.random.seed(3)
    file = tmp_path / "data.h5"
    with h5py.File(file, "w") as f:
        f["x"], f["y"], f["labels"], f["bytes"] = X, Y, np.arange(13) % 3, BYTES
        f.create_group("group")
    return str(file)


@pytest.mark.parametrize(
    "key",
    [
        slice(None), slice(2, 5), slice(3), slice(4, None), slice(-3, None), slice(0, 8, 3), slice(5, 2), slice(8, 8),
        0, 7, -1, np.int64(3), [0, 2, 5], (1, 2), np.array([3, 7]), range(2, 4), np.arange(8) > 5,
    ],
    ids=str,
)  # fmt: skip
def test_rows(path: str, key: Any) -> None:
    matrix = HDF5Matrix(path, "x", 3, 11)
    expected = X[3:11][list(key) if isinstance(key, (tuple, range)) else key]
    assert_array_equal(matrix[key], expected)


@pytest.mark.parametrize("key", [8, -9, slice(0, 9), slice(1000, 1001), [0, 8], (1000, 1001), np.array([8]), [-9]])
def test_rows_past_the_end(path: str, key: Any) -> None:
    with pytest.raises(IndexError, match="there are 8"):
        HDF5Matrix(path, "x", 3, 11)[key]


def test_properties(path: str) -> None:
    matrix = HDF5Matrix(path, "bytes", start=2, normalizer=lambda rows: rows[..., :3].astype("float32") / 2)
    assert (len(matrix), matrix.shape, matrix.ndim, matrix.size, matrix.dtype) == (11, (11, 3), 2, 33, np.float32)
    assert_array_equal(matrix[4], np.arange(24, 27) / 2)
    assert_array_equal(np.asarray(matrix), np.arange(52).reshape(13, 4)[2:, :3] / 2)
    assert_array_equal(np.stack(list(matrix)), np.asarray(matrix))
    assert HDF5Matrix(path, "x", 5, 5).shape == (0, 4)


def test_rows_stay_on_disk(path: str) -> None:
    read: list[int] = []

    def note(rows: Any) -> Any:
        read.append(len(rows))
        return rows

    matrix = HDF5Matrix(path, "x", normalizer=note)
    model = mlp()
    model.predict(matrix, batch_size=5)
    assert max(read) == 5 and sum(read) == 1 + 13


@pytest.mark.parametrize(("start", "end"), [(0, 14), (-1, 3), (5, 4)])
def test_bad_bounds(path: str, start: int, end: int) -> None:
    with pytest.raises(ValueError, match="has rows 0 to 13"):
        HDF5Matrix(path, "x", start, end)


def test_missing_names(path: str) -> None:
    for name in ("z", "group"):
        with pytest.raises(KeyError, match=f"has no dataset '{name}'"):
            HDF5Matrix(path, name)
    with pytest.raises(FileNotFoundError):
        HDF5Matrix(path + "x", "x")


def test_files_are_opened_once_but_a_new_file_is_read(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = HDF5Matrix(path, "x")
    assert HDF5Matrix(path, "y")._file is first._file is HDF5Matrix.refs[path]
    other = Path(path).parent / "other"
    other.mkdir()
    monkeypatch.chdir(other.parent)
    relative = HDF5Matrix("data.h5", "x")
    with h5py.File(other / "data.h5", "w") as f:
        f["x"] = X + 1
    monkeypatch.chdir(other)
    assert_array_equal(HDF5Matrix("data.h5", "x")[:], X + 1)
    assert_array_equal(relative[:], X)
    HDF5Matrix.refs[path].close()
    assert_array_equal(HDF5Matrix(path, "x")[:], X)


def mlp(loss: str = "mse", out: int = 2) -> Sequential:
    model = Sequential([Dense(5, activation="tanh", input_shape=(4,)), Dense(out, activation="softmax")])
    model.compile("sgd", loss)
    model.set_weights([0.5 * np.sin(np.arange(w.size) + i).reshape(w.shape) for i, w in enumerate(model.get_weights())])
    return model


def sources(kind: str, path: str) -> tuple[Any, Any, Any]:
    if kind == "matrix":
        return HDF5Matrix(path, "x"), HDF5Matrix(path, "y"), HDF5Matrix(path, "labels")
    file = h5py.File(path, "r")
    return file["x"], file["y"], file["labels"]


@pytest.mark.parametrize("kind", ["matrix", "dataset"])
@pytest.mark.parametrize("shuffle", [False, "batch"])
def test_same_as_arrays(kind: str, shuffle: Any, path: str) -> None:
    x, y, labels = sources(kind, path)
    results = []
    for a, b, c in ((X, Y, np.arange(13) % 3), (x, y, labels)):
        np.random.seed(1)
        model = mlp()
        fitted = model.fit(a, b, batch_size=5, epochs=2, shuffle=shuffle, validation_data=(a, b), verbose=0)
        sparse = mlp("sparse_categorical_crossentropy", 3)
        sparse.fit(a, c, batch_size=5, shuffle=shuffle, verbose=0)
        result = [fitted.history["loss"], fitted.history["val_loss"], model.predict(a, batch_size=4)]
        results.append([*result, model.evaluate(a, b, verbose=0), sparse.predict(a)])
    for expected, got in zip(*results, strict=True):
        assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["matrix", "dataset"])
def test_full_shuffle_says_what_to_do(kind: str, path: str) -> None:
    x, y, _ = sources(kind, path)
    with pytest.raises(TypeError, match='pass shuffle="batch"'):
        mlp().fit(x, y, batch_size=5, verbose=0)


def test_validation_split(path: str) -> None:
    losses = []
    for x, y in ((X, Y), sources("matrix", path)[:2]):
        history = mlp().fit(x, y, batch_size=4, shuffle=False, validation_split=0.3, verbose=0)
        losses.append([*history.history["loss"], *history.history["val_loss"]])
    assert_allclose(losses[1], losses[0], rtol=1e-6)


def test_integers_become_floats(path: str) -> None:
    raw = HDF5Matrix(path, "bytes")
    assert_allclose(mlp().predict(raw), mlp().predict(BYTES.astype(float)), rtol=1e-6)


def test_by_name_with_several_inputs(path: str) -> None:
    a, b = Input((4,), name="a"), Input((2,), name="b")
    model = Model([a, b], [Dense(2, name="u")(a), Dense(1, name="v")(b)])
    model.compile("sgd", "mse")
    x, y, labels = sources("matrix", path)
    given = model.evaluate({"b": y, "a": x}, {"v": labels, "u": y}, verbose=0)
    assert_allclose(given, model.evaluate([X, Y], [Y, np.arange(13) % 3], verbose=0), rtol=1e-6)


# Data frames: told by the names of their classes, so that pandas itself need not be there.


class Frame:
    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.shape = values.shape

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self.values, dtype)

    def __getitem__(self, key: Any) -> Any:
        raise KeyError(f"no column {key}")


class DataFrame(Frame):
    pass


class Series(Frame):
    pass


def test_data_frames(path: str) -> None:
    labels, weights = np.arange(13) % 3, np.linspace(0, 1, 13)
    results = []
    for x, y, w in ((X, labels, weights), (DataFrame(X), Series(labels), Series(weights))):
        np.random.seed(1)
        model = mlp("sparse_categorical_crossentropy", 3)
        history = model.fit(x, y, sample_weight=w, batch_size=5, validation_split=0.2, verbose=0)
        loss = model.evaluate(x, y, sample_weight=w, verbose=0)
        results.append([history.history["val_loss"], [loss], [model.train_on_batch(x, y, sample_weight=w)]])
        results[-1].append(model.predict(x))
    for expected, got in zip(*results, strict=True):
        assert_allclose(got, expected, rtol=1e-6)
