"""Batches of images: from arrays, folders and tables; targets, subsets, saved files, threads."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kgraph.layers import Dense, Flatten
from kgraph.models import Sequential
from kgraph.preprocessing import image
from kgraph.utils import OrderedEnqueuer, Sequence

Image = pytest.importorskip("PIL.Image")
pandas = pytest.importorskip("pandas")

X = np.random.RandomState(1).rand(20, 3, 4, 3) * 255
PLAIN = image.ImageDataGenerator()
SPLIT = image.ImageDataGenerator(validation_split=0.4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes with four images each, one deeper down, and files that are none."""
    rng = np.random.RandomState(0)
    for name in ("b", "a", "c"):
        (tmp_path / name / "sub").mkdir(parents=True)
        for i, file in enumerate(("im0.png", "im1.png", "im2.png", "sub/deep.PNG")):
            pixels = rng.randint(0, 256, (5 + i % 3, 6, 3)).astype("uint8")
            Image.fromarray(pixels).save(tmp_path / name / file, format="png")
        (tmp_path / name / "note.txt").write_text("x")
    (tmp_path / "top.txt").write_text("x")
    return tmp_path


# Arrays


def test_what_a_batch_holds() -> None:
    y, w = np.arange(20), np.arange(20) / 2
    assert isinstance(PLAIN.flow(X), Sequence)
    assert PLAIN.flow(X, batch_size=8)[2].shape == (4, 3, 4, 3)
    assert len(PLAIN.flow(X, batch_size=8)) == 3
    x_batch, y_batch = next(PLAIN.flow(X, y, batch_size=5, shuffle=False))
    np.testing.assert_array_equal(x_batch, X[:5].astype("float32"))
    assert y_batch.tolist() == [0, 1, 2, 3, 4] and x_batch.dtype == np.float32
    _, _, w_batch = PLAIN.flow(X, y, sample_weight=w, shuffle=False, batch_size=4)[1]
    assert w_batch.tolist() == [2, 2.5, 3, 3.5]
    (x_batch, one, two), y_batch = next(PLAIN.flow((X, [y, 2 * y]), y, batch_size=4, shuffle=False))
    assert x_batch.shape == (4, 3, 4, 3) and one.tolist() == y_batch.tolist() == [0, 1, 2, 3] and two[3] == 6
    assert isinstance(next(PLAIN.flow((X, y), batch_size=4)), list)


def test_order_of_epochs_by_number_and_by_next() -> None:
    y = np.arange(7)
    np.random.seed(2)
    orders = [np.random.permutation(7)]
    np.random.random(2 * 7)  # whether to flip, for each image
    orders.append(np.random.permutation(7))
    np.random.seed(2)
    batches = PLAIN.flow(X[:7], y, batch_size=3)
    found = [next(batches)[1] for _ in range(6)]
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate(orders))
    np.random.seed(2)
    batches = PLAIN.flow(X[:7], y, batch_size=3)
    found = [batches[i][1] for i in range(3)]
    batches.on_epoch_end()
    found += [batches[i][1] for i in range(3)]
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate(orders))
    batches.reset()
    assert sorted(np.concatenate([next(batches)[1] for _ in range(3)])) == list(range(7))


def test_subsets() -> None:
    labels = np.tile([0, 1], 10)
    parts = {s: SPLIT.flow(X, labels, subset=s, shuffle=False) for s in ("training", "validation")}
    assert {s: part.n for s, part in parts.items()} == {"training": 12, "validation": 8}
    np.testing.assert_array_equal(parts["validation"][0][0], X[:8].astype("float32"))
    with pytest.raises(ValueError, match="different number of classes after the split"):
        SPLIT.flow(X, np.array([0] * 5 + [1] * 15), subset="training")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X[0],), "should have rank 4. You passed an array with shape \\(3, 4, 3\\)"),
        (
            (X, np.arange(3)),
            "`y` \\(labels\\) should have the same length. Found: x.shape = \\(20, 3, 4, 3\\), y.shape",
        ),
        (((X, np.arange(3)),), "All of the arrays in `x` should have the same length"),
    ],
)
def test_bad_arrays(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PLAIN.flow(*arguments)


def test_other_mistakes() -> None:
    with pytest.raises(ValueError, match="retrieve element 9, but the Sequence has length 1"):
        PLAIN.flow(X)[9]
    with pytest.raises(ValueError, match="`sample_weight` should have the same length"):
        PLAIN.flow(X, sample_weight=np.arange(3))
    with pytest.raises(ValueError, match='Invalid subset name: foo; expected "training" or "validation"'):
        PLAIN.flow(X, subset="foo")
    with pytest.warns(UserWarning, match="expected either 1, 3, or 4 channels on axis 3. .*2 channels"):
        PLAIN.flow(X[..., :2])
    assert len(PLAIN.flow(X[:0])) == 0


def test_subclass_of_iterator() -> None:
    class Squares(image.Iterator):
        def _get_batches_of_transformed_samples(self, index_array: np.ndarray) -> np.ndarray:
            return index_array**2

    squares = Squares(5, 2, False, None)
    assert [next(squares).tolist() for _ in range(4)] == [[0, 1], [4, 9], [16], [0, 1]]
    assert squares[1].tolist() == [4, 9] and len(squares) == 3


def test_threads_take_each_sample_once_and_seeded_batches_whole() -> None:
    generator = image.ImageDataGenerator(rotation_range=40, brightness_range=(0.5, 2))
    big = np.random.RandomState(0).rand(24, 16, 16, 3) * 255

    def all_batches(threads: int) -> list[Any]:
        np.random.seed(1)
        batches = generator.flow(big, np.arange(24), batch_size=2, seed=3)
        found: list[Any] = []

        def take() -> None:
            for _ in range(12 // threads):
                found.append(next(batches))

        workers = [threading.Thread(target=take) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return found

    alone = {tuple(y): x for x, y in all_batches(1)}
    together = all_batches(4)
    assert sorted(i for _, y in together for i in y) == list(range(24))
    for x, y in together:  # the random numbers of a batch belong together, whoever makes it
        np.testing.assert_array_equal(x, alone[tuple(y)])


def test_feeds_an_enqueuer_and_a_model(reference_session: Any) -> None:
    batches = image.ImageDataGenerator(horizontal_flip=True).flow(X / 255, np.tile([0.0, 1.0], 10), batch_size=6)
    feeder = OrderedEnqueuer(batches)
    feeder.start(workers=2)
    found = [next(it) for it in [feeder.get()] for _ in range(4)]
    feeder.stop()
    assert [len(y) for _, y in found] == [6, 6, 6, 2]
    model = Sequential([Flatten(input_shape=(3, 4, 3)), Dense(1)])
    model.compile("sgd", "mse")
    history = model.fit_generator(batches, epochs=2, verbose=0, workers=2)
    assert len(history.history["loss"]) == 2 and np.isfinite(history.history["loss"]).all()
    assert model.predict_generator(PLAIN.flow(X, shuffle=False, batch_size=6)).shape == (20, 1)


# Folders


def test_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    batches = PLAIN.flow_from_directory(folder, target_size=(5, 5), batch_size=4, seed=1)
    assert capsys.readouterr().out == "Found 12 images belonging to 3 classes.\n"
    files = ("im0.png", "im1.png", "im2.png", "sub/deep.PNG")
    assert batches.filenames == [f"{c}/{f}" for c in "abc" for f in files]
    assert batches.classes.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert batches.class_indices == {"a": 0, "b": 1, "c": 2}
    assert (batches.samples, batches.n, batches.num_classes, batches.image_shape) == (12, 12, 3, (5, 5, 3))
    x, y = next(batches)
    order = np.random.RandomState(1).permutation(12)[:4]
    np.testing.assert_array_equal(y, np.eye(3, dtype="float32")[batches.classes[order]])
    for got, i in zip(x, order, strict=True):
        expected = image.load_img(folder / batches.filenames[i], target_size=(5, 5))
        np.testing.assert_array_equal(got, np.asarray(expected, "float32"))


@pytest.mark.parametrize("mode", ["binary", "sparse", "input", None])
def test_targets_of_folders(folder: Path, mode: str | None) -> None:
    arguments = {"target_size": (5, 6), "color_mode": "grayscale", "batch_size": 12, "shuffle": False}
    batch = PLAIN.flow_from_directory(folder, class_mode=mode, **arguments)[0]
    if mode is None:
        assert batch.shape == (12, 5, 6, 1)
    elif mode == "input":
        np.testing.assert_array_equal(batch[0], batch[1])
    else:
        assert batch[1].tolist() == [0.0] * 4 + [1.0] * 4 + [2.0] * 4 and batch[1].dtype == np.float32


def test_choice_of_classes_and_subsets(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = PLAIN.flow_from_directory(folder, classes=["c", "none"])
    assert chosen.class_indices == {"c": 0, "none": 1} and chosen.samples == 4
    training = SPLIT.flow_from_directory(folder, subset="training")
    validation = SPLIT.flow_from_directory(folder, subset="validation")
    assert validation.filenames == ["a/im0.png", "b/im0.png", "c/im0.png"]
    assert len(training.filenames) == 9 and not set(training.filenames) & set(validation.filenames)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "Found 9 images belonging to 3 classes.",
        "Found 3 images belonging to 3 classes.",
    ]


def test_channels_first_folder(folder: Path) -> None:
    first = image.ImageDataGenerator(data_format="channels_first").flow_from_directory(
        folder, target_size=(5, 6), color_mode="rgba", shuffle=False
    )
    last = PLAIN.flow_from_directory(folder, target_size=(5, 6), color_mode="rgba", shuffle=False)
    np.testing.assert_array_equal(first[0][0], last[0][0].transpose(0, 3, 1, 2))


def test_random_numbers_of_users_functions_come_in_keras_order(folder: Path) -> None:
    """Image by image: its changes, then what the function draws."""
    generator = image.ImageDataGenerator(rotation_range=20, preprocessing_function=lambda x: x * 0 + np.random.rand())
    batches = generator.flow_from_directory(folder, target_size=(5, 5), batch_size=3, shuffle=False, seed=1)
    x, _ = next(batches)
    np.random.seed(1)
    expected = []
    for _ in range(3):
        np.random.uniform(-20, 20)
        np.random.random(2)  # the flips
        expected.append(np.random.rand())
    np.testing.assert_allclose(x[:, 0, 0, 0], expected, rtol=1e-6)


def test_saved_images(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    saving = {"save_to_dir": str(out), "save_prefix": "p", "save_format": "jpeg"}
    classes = ["a", "b", "c"]
    next(PLAIN.flow_from_directory(folder, (5, 5), classes=classes, batch_size=4, seed=1, **saving))
    next(PLAIN.flow(np.ones((3, 4, 4, 3)), seed=2, save_to_dir=str(out), save_prefix="q"))
    expected = (
        "p_10_6991326.jpeg p_2_745431.jpeg p_3_412649.jpeg p_4_4342513.jpeg q_0_2778.png q_1_5167.png q_2_2773.png"
    )
    assert sorted(file.name for file in out.iterdir()) == expected.split()
    assert Image.open(out / "p_10_6991326.jpeg").size == (5, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_mode": "foo"}, "Invalid class_mode: foo; expected one of: 'binary', 'categorical', 'input', 'sparse'"),
        ({"color_mode": "x"}, 'Invalid color mode: x; expected "rgb", "rgba", or "grayscale"'),
        ({"subset": "x"}, "Invalid subset name: x"),
        ({"data_format": "x"}, "Unknown data_format: x"),
    ],
)
def test_bad_options_of_folders(folder: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        image.DirectoryIterator(folder, PLAIN, **arguments)


# Tables


@pytest.fixture
def table() -> Any:
    return pandas.DataFrame(
        {
            "filename": ["b/im0.png", "a/im1.png", "c/im2.png", "nope.png", "a/note.txt", "b/im1.png"],
            "class": ["x", "y", "z", "x", "x", "y"],
            "v": [1.0, 2, 3, 4, 5, 6],
            "w": [1, 2, 3, 4, 5, 6],
            "multi": [["x", "y"], ["y"], ("z",), ["x"], "x", ["z", "x"]],
        }
    )


LEFT = ["b/im0.png", "a/im1.png", "c/im2.png", "b/im1.png"]  # rows 0, 1, 2 and 5


def flow(table: Any, folder: Path, **arguments: Any) -> Any:
    with pytest.warns(UserWarning, match='Found 2 invalid image filename\\(s\\) in x_col="filename". These'):
        return PLAIN.flow_from_dataframe(table, folder, target_size=(4, 4), shuffle=False, **arguments)


@pytest.mark.parametrize(
    ("arguments", "targets"),
    [
        ({}, [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0]]),
        ({"y_col": "multi"}, [[1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1]]),
        ({"class_mode": "sparse"}, [0, 1, 2, 1]),
        ({"class_mode": "raw", "y_col": "v"}, [1, 2, 3, 6]),
        ({"class_mode": "raw", "y_col": ["v", "w"]}, [[1, 1], [2, 2], [3, 3], [6, 6]]),
        ({"class_mode": "multi_output", "y_col": ["v", "w"]}, [[1, 2, 3, 6], [1, 2, 3, 6]]),
        ({"weight_col": "w", "class_mode": "sparse"}, [0, 1, 2, 1]),
    ],
)
def test_targets_of_tables(
    table: Any, folder: Path, arguments: dict[str, Any], targets: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    batches = flow(table, folder, **arguments)
    batch = batches[0]
    assert batches.filenames == LEFT
    np.testing.assert_array_equal(batch[1], targets)
    if "weight_col" in arguments:
        assert batch[2].tolist() == [1, 2, 3, 6]
    classes = "" if "class_mode" in arguments and arguments["class_mode"] != "sparse" else " belonging to 3 classes"
    assert capsys.readouterr().out == f"Found 4 validated image filenames{classes}.\n"
    for got, name in zip(batch[0], LEFT, strict=True):
        np.testing.assert_array_equal(got, np.asarray(image.load_img(folder / name, target_size=(4, 4)), "float32"))


def test_other_tables(table: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert flow(table, folder, class_mode=None)[0].shape == (4, 4, 4, 3)
    x, y = flow(table, folder, class_mode="input")[0]
    np.testing.assert_array_equal(x, y)
    some = flow(table, folder, classes=["z", "x"], y_col="multi")
    assert some.class_indices == {"x": 0, "z": 1} and some.labels == some.classes == [[0], [1], [1, 0]]
    assert flow(table, folder, classes=["y", "x"], class_mode="binary")[0][1].tolist() == [0, 1, 1]
    with pytest.warns(UserWarning, match='please use `class_mode` "raw"'):
        assert flow(table, folder, class_mode="other", y_col="v")[0][1].tolist() == [1, 2, 3, 6]
    with pytest.warns(DeprecationWarning, match="`sort` has no effect"):
        flow(table, folder, sort=True)
    with pytest.warns(UserWarning, match='`classes` will be ignored given the class_mode="raw"'):
        flow(table, folder, class_mode="raw", y_col="v", classes=["x"])
    paths = table.assign(filename=[str(folder / name) for name in table.filename])
    with pytest.warns(UserWarning, match="invalid"):
        assert PLAIN.flow_from_dataframe(paths).filepaths == [str(folder / name) for name in LEFT]
    capsys.readouterr()
    assert PLAIN.flow_from_dataframe(table, folder, validate_filenames=False).n == 6
    assert capsys.readouterr().out == "Found 6 non-validated image filenames belonging to 3 classes.\n"
    bare = table.assign(filename=[name.rsplit(".", 1)[0] for name in table.filename])
    assert flow(bare, folder, has_ext=False).filenames == LEFT


def test_subsets_of_tables(table: Any, folder: Path) -> None:
    for subset, names in (("validation", LEFT[:1]), ("training", LEFT[1:])):
        with pytest.warns(UserWarning, match="invalid"):
            assert SPLIT.flow_from_dataframe(table, folder, subset=subset).filenames == names
    with pytest.raises(ValueError, match="`subset` needs an `image_data_generator`"):
        image.DataFrameIterator(table, folder, subset="training")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"class_mode": "binary"}, ValueError, 'If class_mode="binary" there must be 2 classes. Found 3 classes.'),
        ({"class_mode": "binary", "classes": ["z"]}, ValueError, "there must be 2 classes. 1 class/es were given."),
        ({"weight_col": "class"}, TypeError, "Column weight_col=class must be numeric."),
        ({"x_col": "v"}, TypeError, "All values in column x_col=v must be strings."),
        ({"y_col": "v"}, TypeError, "column values must be type string, list or tuple."),
        ({"y_col": "v", "class_mode": "sparse"}, TypeError, "column values must be strings."),
        ({"x_col": "no"}, KeyError, "x_col='no' is no column of the dataframe; it has 'filename', 'class'"),
        ({"class_mode": "foo"}, ValueError, "Invalid class_mode: foo"),
        ({"nonsense": 1}, TypeError, "unexpected keyword argument 'nonsense'"),
    ],
)
def test_bad_tables(table: Any, folder: Path, arguments: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        PLAIN.flow_from_dataframe(table, folder, **arguments)
