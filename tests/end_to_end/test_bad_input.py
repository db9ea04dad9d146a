"""Mistakes of users: each gets an error, before anything runs, that names the layer or the argument."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kgraph import backend as K
from kgraph.callbacks import EarlyStopping
from kgraph.layers import Concatenate, Conv2D, Dense, Flatten, Input, Lambda, MaxPooling2D, Reshape, add
from kgraph.models import Model, Sequential

IMAGES, LABELS = np.zeros((6, 5, 5, 2), np.float32), np.zeros((6, 3), np.float32)


def model(loss: Any = "categorical_crossentropy", **options: Any) -> Sequential:
    made = Sequential(name="net")
    made.add(Conv2D(4, 3, input_shape=(5, 5, 2), name="conv"))
    made.add(Flatten(name="flat"))
    made.add(Dense(3, activation="softmax", name="out"))
    made.compile("sgd", loss, **options)
    return made


def two() -> Model:
    a, b = Input((4,), name="a"), Input((3,), name="b")
    made = Model([a, b], [Dense(2, name="left")(a), Dense(1, name="right")(b)])
    made.compile("sgd", "mse")
    return made


def lookup() -> Model:
    words = Input((2,), dtype="int32", name="words")
    return Model(words, Lambda(lambda x: K.gather(K.ones((7, 3)), x), output_shape=(2, 3), name="rows")(words))


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


DATA: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "rank of an input": (
        lambda: model().fit(zeros(6, 5, 5), LABELS),
        ValueError,
        "Error when checking input: expected conv_input to have 4 dimensions, but got array with shape (6, 5, 5)",
    ),
    "shape of an input": (
        lambda: model().predict(zeros(6, 5, 4, 2)),
        ValueError,
        "Error when checking input: expected conv_input to have shape (5, 5, 2) but got array with shape (5, 4, 2)",
    ),
    "shape of a target": (
        lambda: model().fit(IMAGES, zeros(6, 4)),
        ValueError,
        "Error when checking target: expected out to have shape (3,) but got array with shape (4,)",
    ),
    "integers for a one-hot loss": (
        lambda: model().train_on_batch(IMAGES, zeros(6)),
        ValueError,
        "expected out to have shape (3,) but got array with shape (1,)",
    ),
    "different numbers of samples": (
        lambda: model().fit(IMAGES, LABELS[:5]),
        ValueError,
        "Input arrays should have the same number of samples as target arrays. "
        "Found 6 input samples and 5 target samples.",
    ),
    "inputs that disagree": (
        lambda: two().predict([zeros(4, 4), zeros(5, 3)]),
        ValueError,
        "All input arrays (x) should have the same number of samples. Got array shapes: [(4, 4), (5, 3)]",
    ),
    "one array for two inputs": (
        lambda: two().predict(zeros(4, 4)),
        ValueError,
        "Expected to see 2 array(s), but instead got the following list of 1 arrays",
    ),
    "three arrays for two outputs": (
        lambda: two().fit([zeros(4, 4), zeros(4, 3)], [zeros(4, 2), zeros(4, 1), zeros(4, 1)]),
        ValueError,
        "Error when checking model target: the list of Numpy arrays that you are passing to your model is not the "
        "size the model expected. Expected to see 2 array(s), but instead got the following list of 3 arrays",
    ),
    "a missing name": (
        lambda: two().predict({"a": zeros(4, 4), "c": zeros(4, 3)}),
        ValueError,
        "No data provided for \"b\". Need data for each key in: ['a', 'b']",
    ),
    "no target": (
        lambda: two().fit([zeros(4, 4), zeros(4, 3)]),
        ValueError,
        "no data was provided for the outputs ['left', 'right']",
    ),
    "strings": (
        lambda: model().predict(np.full((6, 5, 5, 2), "dog")),
        TypeError,
        "Error when checking input: expected conv_input to hold numbers, but got an array of dtype <U3",
    ),
    "a string": (
        lambda: model().predict("images.npy"),
        TypeError,
        "Error when checking model input: data should be a Numpy array, or list/dict of Numpy arrays. "
        "Found: 'images.npy'",
    ),
    "strings as labels": (
        lambda: model("sparse_categorical_crossentropy").fit(IMAGES, np.array(["cat"] * 6)),
        TypeError,
        "expected out to hold numbers, but got an array of dtype <U3",
    ),
    "objects": (
        lambda: model().predict(np.array([[1, 2], [3]], dtype=object)),
        TypeError,
        "expected conv_input to hold numbers, but got an array of dtype object",
    ),
    "a generator for arrays": (
        lambda: model().fit(x for x in [(IMAGES, LABELS)]),
        TypeError,
        "but got generator. Generators and `keras.utils.Sequence` go to `fit_generator`",
    ),
    "validation data without targets": (
        lambda: model().fit(IMAGES, LABELS, validation_data=IMAGES),
        ValueError,
        "`validation_data` should be a tuple (x_val, y_val) or (x_val, y_val, val_sample_weights). "
        "Found an object of type ndarray",
    ),
    "epochs that are no integer": (
        lambda: model().fit(IMAGES, LABELS, epochs="2"),
        TypeError,
        "`epochs` must be an integer. Received: '2'",
    ),
    "one callback for a list": (
        lambda: model().fit(IMAGES, LABELS, callbacks=EarlyStopping()),
        TypeError,
        "`callbacks` must be a list of callbacks. Received: <kgraph.callbacks_monitor.EarlyStopping object",
    ),
    "a callback's class": (
        lambda: model().fit(IMAGES, LABELS, callbacks=[EarlyStopping]),
        TypeError,
        "`callbacks` holds the class EarlyStopping, where an object of it, EarlyStopping(...), is meant",
    ),
    "a generator that ends early": (
        lambda: model().fit_generator(((IMAGES, LABELS) for _ in range(2)), 3, verbose=0),
        StopIteration,
        "The generator ended after 2 batches, before the run did",
    ),
    "a label too large": (
        lambda: model("sparse_categorical_crossentropy").fit(IMAGES, np.array([0, 1, 2, 3, 0, 1])),
        ValueError,
        'output "out" has 3 classes, so its labels must be integers from 0 to 2, but got the label 3',
    ),
    "a negative label": (
        lambda: model("sparse_categorical_crossentropy").evaluate(IMAGES, np.array([[0], [1], [-1], [0], [0], [0]])),
        ValueError,
        'output "out" has 3 classes, so its labels must be integers from 0 to 2, but got the label -1',
    ),
    "a sample weight too few": (
        lambda: model().fit(IMAGES, LABELS, sample_weight=np.ones(5)),
        ValueError,
        "Found a sample_weight array with shape (5,) for an input with shape (6, 3)",
    ),
    "a class without a weight": (
        lambda: model().fit(IMAGES, np.eye(3)[[0, 1, 2, 0, 1, 2]], class_weight={0: 1.0, 1: 2.0}),
        ValueError,
        "The classes {2} exist in the data but not in `class_weight`",
    ),
    "an index that is no row": (
        lambda: lookup().predict(np.array([[1, 2], [3, 7]])),
        ValueError,
        "rows: index 7 is out of range, there are 7 rows (0 to 6); it comes from input 'words'",
    ),
    "training without compiling": (
        lambda: Sequential([Dense(1, input_shape=(2,))]).fit(zeros(4, 2), zeros(4, 1)),
        RuntimeError,
        "You must compile a model before training/testing. Use `model.compile(optimizer, loss)`.",
    ),
}

CODE: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "an unknown loss": (lambda: model("mean_sqared_error"), ValueError, "Unknown loss function:mean_sqared_error"),
    "an unknown optimizer": (
        lambda: Sequential([Dense(1, input_shape=(2,))]).compile("adamm", "mse"),
        ValueError,
        "Unknown optimizer: adamm",
    ),
    "an unknown metric": (lambda: model(metrics=["accurracy"]), ValueError, "Unknown metric function:accurracy"),
    "an unknown activation": (lambda: Dense(3, activation="rellu"), ValueError, "Unknown activation function:rellu"),
    "a loss for no output": (
        lambda: two().compile("sgd", {"left": "mse", "rihgt": "mse"}),
        ValueError,
        "rihgt",
    ),
    "losses too few": (lambda: two().compile("sgd", ["mse"]), ValueError, "2 outputs"),
    "an image for a dense stack of the wrong rank": (
        lambda: Conv2D(4, 3, name="second")(Dense(3)(Input((7,)))),
        ValueError,
        "Input 0 is incompatible with layer second: expected ndim=4, found ndim=2",
    ),
    "weights shared by unlike inputs": (
        lambda: [layer(Input((n,))) for layer in [Dense(2, name="shared")] for n in (3, 4)],
        ValueError,
        "Input 0 is incompatible with layer shared: expected axis -1 of input shape to have value 3 but got shape "
        "(None, 4)",
    ),
    "an array for a tensor": (
        lambda: Dense(3, name="dense")(zeros(4, 3)),
        ValueError,
        "Layer dense was called with an input that isn't a symbolic tensor.",
    ),
    "addition of unlike shapes": (
        lambda: add([Input((3,)), Input((4,))]),
        ValueError,
        "Operands could not be broadcast together with shapes (3,) (4,)",
    ),
    "joining unlike shapes": (
        lambda: Concatenate(axis=1, name="join")([Input((3, 2)), Input((3, 5))]),
        ValueError,
        "`Concatenate` layer requires inputs with matching shapes except for the concat axis. "
        "Got inputs shapes: [(None, 3, 2), (None, 3, 5)]",
    ),
    "a reshape that loses elements": (
        lambda: Reshape((4, 2), name="fold")(Input((9,))),
        ValueError,
        "total size of new array must be unchanged",
    ),
    "a window larger than its image": (
        lambda: MaxPooling2D(7, name="pool")(Conv2D(2, 3, name="conv")(Input((5, 5, 1)))),
        ValueError,
        "pool",
    ),
    "a convolution larger than its image": (
        lambda: Conv2D(2, 9, name="large")(Input((5, 5, 1))),
        ValueError,
        "large",
    ),
    "no shape yet": (lambda: Sequential([Dense(3)]).summary(), ValueError, "This model has not yet been built."),
    "a graph in two pieces": (
        lambda: Model(Input((3,), name="here"), Dense(2, name="dense")(Input((3,), name="there"))),
        ValueError,
        'Graph disconnected: cannot obtain value for tensor',
    ),
    "an operation that is no layer": (
        lambda: (lambda x: Model(x, K.square(x)))(Input((3,))),
        ValueError,
        "Output tensors to a Model must be the output of a Keras `Layer`",
    ),
    "shapes that do not multiply": (
        lambda: Lambda(lambda x: K.dot(x, K.ones((4, 2))), name="product")(Input((3,))),
        ValueError,
        "product",
    ),
    "dtypes that do not mix": (
        lambda: Lambda(lambda x: x + K.constant([1, 2, 3], dtype="int32"), name="mix")(Input((3,))),
        (TypeError, ValueError),
        "K.cast",
    ),
    "the truth of a tensor": (
        lambda: Lambda(lambda x: x if K.sum(x) > 0 else -x, name="branch")(Input((3,))),
        TypeError,
        "K.switch",
    ),
    "weights of another shape": (
        lambda: model().get_layer("out").set_weights([zeros(36, 3), zeros(4)]),
        ValueError,
        "shape (3,)",
    ),
}


@pytest.mark.parametrize("what", [*DATA, *CODE])
def test_message(what: str) -> None:
    run, kind, message = {**DATA, **CODE}[what]
    with pytest.raises(kind, match=re.escape(message)) as caught:
        run()
    text = str(caught.value)
    assert "numba" not in text.lower() and "ir." not in text.lower()


def test_nothing_is_lost() -> None:
    """A model goes on working after a mistake."""
    made = two()
    x, y, before = [zeros(4, 4), zeros(4, 3)], [zeros(4, 2), zeros(4, 1) + 1], made.get_weights()
    with pytest.raises(ValueError):
        made.fit(x, [zeros(4, 3), zeros(4, 1)], verbose=0)
    with pytest.raises(TypeError):
        made.train_on_batch(x, [zeros(4, 2), np.full((4, 1), "one")])
    assert all(np.array_equal(a, b) for a, b in zip(before, made.get_weights(), strict=True))
    made.fit(x, y, verbose=0)
    assert not np.array_equal(before[3], made.get_weights()[3])


def test_a_function_names_its_inputs() -> None:
    x, y = K.placeholder((None, 4), name="x"), K.placeholder((None, 4), name="y")
    f = K.function([x, y], [x * y])
    with pytest.raises(ValueError, match=r"input 'y' has size 3 along axis 1, expected 4"):
        f([zeros(2, 4), zeros(2, 3)])
    with pytest.raises(ValueError, match="'x' takes 2 dimensions"):
        f([zeros(2), zeros(2, 4)])
    with pytest.raises(ValueError, match="input 'y' has size 3 along axis 0, but input 'x' has size 2 there"):
        f([zeros(2, 4), zeros(3, 4)])
    with pytest.raises(ValueError, match="takes 2 inputs, got 1"):
        f([zeros(2, 4)])
    assert f([zeros(2, 4), zeros(1, 4)])[0].shape == (2, 4)
