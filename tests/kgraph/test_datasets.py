"""Data sets, from small files of the same formats. No test reaches for the network."""

from __future__ import annotations

import gzip
import importlib
import io
import json
import os
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kgraph import backend as K
from kgraph.datasets import (
    boston_housing,
    cifar,
    cifar10,
    cifar100,
    fashion_mnist,
    imdb,
    mnist,
    reuters,
)
from kgraph.datasets.files import read_npz, unpickle

RNG = np.random.RandomState(0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of its own, and a mirror that is an empty folder instead of the network."""
    (tmp_path / "mirror").mkdir()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("KGRAPH_MIRROR", str(tmp_path / "mirror"))
    (tmp_path / "keras" / "datasets").mkdir(parents=True)
    return tmp_path / "keras" / "datasets"


@pytest.fixture
def any_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small files stand in for the real ones."""
    monkeypatch.setattr("kgraph.utils.data_utils.validate_file", lambda *args, **kwargs: True)


def lists(*values: list[int]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = list(values)
    return array


# What is where


@pytest.mark.parametrize(
    ("load", "url", "file", "digest"),
    [
        (mnist.load_data, "https://s3.amazonaws.com/img-datasets/mnist.npz", "mnist.npz", "8a61469f"),
        (imdb.load_data, "https://s3.amazonaws.com/text-datasets/imdb.npz", "imdb.npz", "599dadb1"),
        (
            imdb.get_word_index,
            "https://s3.amazonaws.com/text-datasets/imdb_word_index.json",
            "imdb_word_index.json",
            "",
        ),
        (reuters.load_data, "https://s3.amazonaws.com/text-datasets/reuters.npz", "reuters.npz", "87aedbeb"),
        (
            reuters.get_word_index,
            "https://s3.amazonaws.com/text-datasets/reuters_word_index.json",
            "reuters_word_index.json",
            "4d44cc38",
        ),
        (
            boston_housing.load_data,
            "https://s3.amazonaws.com/keras-datasets/boston_housing.npz",
            "boston_housing.npz",
            "f553886a",
        ),
        (
            cifar10.load_data,
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "cifar-10-batches-py.tar.gz",
            "",
        ),
        (cifar100.load_data, "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz", "cifar-100-python.tar.gz", ""),
        (
            fashion_mnist.load_data,
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz",
            "fashion-mnist/train-labels-idx1-ubyte.gz",
            "",
        ),
    ],
)
def test_offline_the_error_names_file_and_folder(
    load: Any, url: str, file: str, digest: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exception, match="URL fetch failure") as caught:
        load()
    folder, name = os.path.split(cache / file)
    assert f"put it as '{name}' into {folder}" in str(caught.value)
    assert capsys.readouterr().out == f"Downloading data from {url}\n"
    if digest:
        (cache / file).write_bytes(b"something else")
        with pytest.raises(Exception, match="URL fetch failure"):
            load()
        assert f"does not match the original value of {digest}" in capsys.readouterr().out


# Arrays


def test_mnist(cache: Path, any_hash: None) -> None:
    arrays = {f"{a}_{p}": RNG.randint(0, 255, n).astype("uint8") for a in "xy" for p, n in (("train", 5), ("test", 2))}
    np.savez(cache / "mnist.npz", **arrays)
    (x_train, y_train), (x_test, y_test) = mnist.load_data()
    for name, found in {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}.items():
        np.testing.assert_array_equal(found, arrays[name])
        assert found.dtype == np.uint8


def test_fashion_mnist(cache: Path) -> None:
    folder = cache / "fashion-mnist"
    folder.mkdir()
    images = {part: RNG.randint(0, 255, (n, 28, 28)).astype("uint8") for part, n in (("train", 3), ("t10k", 2))}
    for part, pixels in images.items():
        with gzip.open(folder / f"{part}-images-idx3-ubyte.gz", "wb") as file:
            file.write(bytes(16) + pixels.tobytes())
        with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(bytes(8) + bytes(range(len(pixels))))
    (x_train, y_train), (x_test, y_test) = fashion_mnist.load_data()
    np.testing.assert_array_equal(x_train, images["train"])
    np.testing.assert_array_equal(x_test, images["t10k"])
    assert y_train.tolist() == [0, 1, 2] and y_test.tolist() == [0, 1]
    with gzip.open(folder / "t10k-labels-idx1-ubyte.gz", "wb") as file:
        file.write(bytes(8 + 7))
    with pytest.raises(ValueError, match="part 't10k' do not belong together: 7 labels, but 2 images"):
        fashion_mnist.load_data()
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(ValueError, match="t10k-labels-idx1-ubyte.gz is damaged"):
        fashion_mnist.load_data()


def test_boston_housing(cache: Path, any_hash: None) -> None:
    x, y = RNG.rand(10, 13), RNG.rand(10)
    np.savez(cache / "boston_housing.npz", x=x, y=y)
    (x_train, y_train), (x_test, y_test) = boston_housing.load_data()
    order = np.arange(10)
    np.random.RandomState(113).shuffle(order)
    np.testing.assert_array_equal(x_train, x[order[:8]])
    np.testing.assert_array_equal(y_test, y[order[8:]])
    assert boston_housing.load_data(test_split=0.5, seed=2)[1][0].shape == (5, 13)
    with pytest.raises(ValueError, match="`test_split` must be at least 0 and less than 1. Received: 1"):
        boston_housing.load_data(test_split=1)


# Texts

TRAIN = lists([1, 2, 3], [4, 5], [6, 7, 8, 9], [10])
TEST = lists([2, 2], [11, 12, 13])


@pytest.fixture
def reviews(cache: Path, any_hash: None) -> None:
    np.savez(cache / "imdb.npz", x_train=TRAIN, y_train=np.arange(4), x_test=TEST, y_test=np.arange(2))


def orders(seed: int = 113) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.RandomState(seed)
    train, test = np.arange(4), np.arange(2)
    rng.shuffle(train)
    rng.shuffle(test)
    return train, test


def test_imdb(reviews: None) -> None:
    (x_train, y_train), (x_test, y_test) = imdb.load_data()
    train, test = orders()
    assert y_train.tolist() == train.tolist() and y_test.tolist() == test.tolist()
    assert x_train.dtype == object and isinstance(x_train[0], list)
    top = 13 + 3  # without `num_words` the highest number is the bound, so its word becomes unknown
    expected = [[1, *(w + 3 if w + 3 < top else 2 for w in TEST[i])] for i in test]
    assert x_test.tolist() == expected
    assert x_train.tolist() == [[1, *(w + 3 for w in TRAIN[i])] for i in train]


def test_imdb_options(reviews: None) -> None:
    train, test = orders(7)
    (x_train, _), (x_test, _) = imdb.load_data(num_words=8, skip_top=2, seed=7, start_char=None, index_from=0)
    assert x_train.tolist() == [[w if 2 <= w < 8 else 2 for w in TRAIN[i]] for i in train]
    (x_train, _), _ = imdb.load_data(num_words=8, skip_top=2, seed=7, start_char=None, index_from=0, oov_char=None)
    assert x_train.tolist() == [[w for w in TRAIN[i] if 2 <= w < 8] for i in train]
    (x_train, y_train), (x_test, y_test) = imdb.load_data(maxlen=4, seed=7)  # the longer ones are gone, then four train
    kept = [*(TRAIN[i] for i in train if len(TRAIN[i]) < 3), *(TEST[i] for i in test if len(TEST[i]) < 3)]
    assert [len(x) - 1 for x in [*x_train, *x_test]] == [len(x) for x in kept]
    assert len(x_train) == len(y_train) == min(4, len(kept)) and len(x_test) == len(y_test)
    with pytest.raises(ValueError, match="shorter than maxlen=1, no sequence was kept. Increase maxlen"):
        imdb.load_data(maxlen=1)
    with pytest.warns(UserWarning, match="`nb_words` argument in `load_data` has been renamed `num_words`"):
        assert max(max(x) for x in imdb.load_data(nb_words=6)[0][0]) == 5
    with pytest.raises(TypeError, match="Unrecognized keyword arguments: {'foo': 1}"):
        imdb.load_data(foo=1)


def test_reuters_and_word_indexes(cache: Path, any_hash: None) -> None:
    np.savez(cache / "reuters.npz", x=TRAIN, y=np.arange(4))
    (x_train, y_train), (x_test, y_test) = reuters.load_data(num_words=100, test_split=0.5)
    order = np.arange(4)
    np.random.RandomState(113).shuffle(order)
    assert y_train.tolist() == order[:2].tolist() and y_test.tolist() == order[2:].tolist()
    assert x_test.tolist() == [[1, *(w + 3 for w in TRAIN[i])] for i in order[2:]]
    for module in (imdb, reuters):
        name = module.__name__.rsplit(".", 1)[1]
        (cache / f"{name}_word_index.json").write_text(json.dumps({"the": 1, "é": 2}), encoding="utf-8")
        assert module.get_word_index() == {"the": 1, "é": 2}


# CIFAR


def cifar_file(images: np.ndarray, **labels: list[int]) -> bytes:
    """As the original files are: a pickle of Python 2, whose strings are read as bytes."""
    content = {b"data": images.reshape(len(images), -1), b"filenames": [b"x.png"] * len(images)}
    content |= {name.encode(): values for name, values in labels.items()}
    return pickle.dumps(content, protocol=2)


def archive(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_cifar10(cache: Path) -> None:
    images = RNG.randint(0, 255, (12, 3, 32, 32)).astype("uint8")
    files = {
        f"cifar-10-batches-py/data_batch_{i + 1}": cifar_file(images[2 * i : 2 * i + 2], labels=[i, 9])
        for i in range(5)
    }
    files["cifar-10-batches-py/test_batch"] = cifar_file(images[10:], labels=[3, 4])
    archive(cache / "cifar-10-batches-py.tar.gz", files)
    (x_train, y_train), (x_test, y_test) = cifar10.load_data()
    np.testing.assert_array_equal(x_train, images[:10].transpose(0, 2, 3, 1))
    assert y_train.tolist() == [[n] for i in range(5) for n in (i, 9)] and y_train.dtype == np.uint8
    np.testing.assert_array_equal(x_test, images[10:].transpose(0, 2, 3, 1))
    assert y_test.tolist() == [[3], [4]]
    K.set_image_data_format("channels_first")
    try:
        np.testing.assert_array_equal(cifar10.load_data()[0][0], images[:10])
    finally:
        K.set_image_data_format("channels_last")


def test_cifar100(cache: Path) -> None:
    images = RNG.randint(0, 255, (3, 3, 32, 32)).astype("uint8")
    labels = {"fine_labels": [7, 8, 9], "coarse_labels": [1, 2, 3]}
    files = {f"cifar-100-python/{part}": cifar_file(images, **labels) for part in ("train", "test")}
    archive(cache / "cifar-100-python.tar.gz", files)
    (x_train, y_train), (x_test, y_test) = cifar100.load_data()
    np.testing.assert_array_equal(x_train, images.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(x_test, x_train)
    assert y_train.tolist() == [[7], [8], [9]] and cifar100.load_data("coarse")[1][1].tolist() == [[1], [2], [3]]
    with pytest.raises(ValueError, match="`label_mode` must be one of"):
        cifar100.load_data("x")


def test_bad_cifar_files(tmp_path: Path) -> None:
    path = tmp_path / "batch"
    path.write_bytes(cifar_file(np.zeros((2, 3, 32, 32), "uint8"), labels=[1, 2]))
    assert cifar.load_batch(str(path))[0].shape == (2, 3, 32, 32)
    with pytest.raises(ValueError, match="has no 'fine_labels'; it has 'data', 'filenames', 'labels'"):
        cifar.load_batch(str(path), "fine_labels")
    for content, message in (
        (pickle.dumps([1]), "is no CIFAR file: it holds a list"),
        (b"", "is damaged or no data set"),
        (path.read_bytes()[:-30], "is damaged or no data set"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            cifar.load_batch(str(path))


# Files from strangers


class Harmful:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


def object_npz(
    path: Path, value: Any, header: str = "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }"
) -> None:
    """An `.npz` whose array `x` is the pickle of any value."""
    text = header.ljust(117) + "\n"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(
            "x.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + pickle.dumps(value)
        )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Harmful(os.system, "touch harmed"), "refers to (posix|nt).system"),
        (Harmful(eval, "open('harmed', 'w')"), "refers to builtins.eval"),
        (Harmful(importlib.import_module, "os"), "refers to importlib.import_module"),
        ([1, 2], "the array 'x' is a list"),
        (np.array([1 + 2j]), "an array of dtype complex128"),
    ],
)
def test_pickles_run_nothing(value: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    object_npz(tmp_path / "bad.npz", value)
    with pytest.raises(ValueError, match=f"bad.npz is damaged or not the data set that its name says: .*{message}"):
        read_npz(str(tmp_path / "bad.npz"), "x")
    assert not (tmp_path / "harmed").exists()


def array_pickle(shape: tuple[int, ...], name: str, data: Any) -> bytes:
    """A pickle in which an array claims a shape."""

    class Dtype:
        def __reduce__(self) -> Any:
            return np.dtype, (name, False, True), (3, "<", None, None, None, -1, -1, 0)

    class Array:
        def __reduce__(self) -> Any:
            rebuild = np.zeros(1).__reduce__()[0]
            return rebuild, (np.ndarray, (0,), b"b"), (1, shape, Dtype(), False, data)

    return pickle.dumps(Array())


@pytest.mark.parametrize(("name", "data"), [("O8", [1, 2, 3]), ("i8", b"12345678"), ("O8", b"12345678"), ("i8", [1])])
def test_arrays_that_claim_another_size(name: str, data: Any) -> None:
    with pytest.raises(ValueError, match="size is not that of its data"):
        unpickle(io.BytesIO(array_pickle((1000,), name, data)))


@pytest.mark.parametrize("protocol", [0, 2, 3, 4])
def test_pickles_of_all_ages(protocol: int) -> None:
    objects = np.empty(3, object)
    objects[:] = [[1, 2], [np.int64(3)], np.arange(3)]
    found = unpickle(io.BytesIO(pickle.dumps({"a": objects, "b": np.asfortranarray(np.eye(2, 3))}, protocol=protocol)))
    assert found["a"][0] == [1, 2] and found["a"][1] == [3] and found["a"][2].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(found["b"], np.eye(2, 3))


def test_damaged_npz(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, x=np.arange(3), y=lists([1], [2, 3]))
    x, y = read_npz(str(path), "x", "y")
    assert x.tolist() == [0, 1, 2] and y.tolist() == [[1], [2, 3]]
    with pytest.raises(ValueError, match="x.npz is damaged .*no item named 'z.npy'"):
        read_npz(str(path), "z")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="x.npz is damaged .*not a zip file"):
        read_npz(str(path), "x")
