"""The TensorBoard callback: what it writes, read back by a reader of the tests' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from kgraph import backend as K
from kgraph.backend.session import Session
from kgraph.callbacks import Callback, TensorBoard
from kgraph.engine.training import Model
from kgraph.layers import Activation, BatchNormalization, Conv2D, Dense, Dropout, Flatten, Input, add
from kgraph.models import Sequential
from tests.kgraph import event_reader as reader

pytestmark = pytest.mark.usefixtures("reference_session")


def small(**compiled: Any) -> Sequential:
    model = Sequential([Dense(3, input_shape=(4,), activation="relu", name="one"), Dropout(0.5), Dense(2, name="two")])
    model.compile(**{"optimizer": "sgd", "loss": "mse", "metrics": ["mae"], **compiled})
    return model


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.normal(size=(10, 4)).astype("float32"), rng.normal(size=(10, 2)).astype("float32")


def test_scalars_by_epoch(tmp_path: Path, data: Any) -> None:
    board = TensorBoard(str(tmp_path), write_graph=False)
    history = small().fit(*data, epochs=3, validation_data=data, callbacks=[board], verbose=0)
    found = reader.scalars(reader.the_file(tmp_path))
    assert len(found) == 12
    for step, tag, value in found:
        assert value == pytest.approx(history.history[tag][step])
    assert {tag for _, tag, _ in found} == {"loss", "mean_absolute_error", "val_loss", "val_mean_absolute_error"}


@pytest.mark.parametrize(
    ("frequency", "steps"),
    [("batch", [3, 6, 9, 10, 10]), (6, [6, 10]), (4, [6, 10, 10]), (100, [10])],
)
def test_scalars_by_samples(tmp_path: Path, data: Any, frequency: Any, steps: list[int]) -> None:
    board = TensorBoard(tmp_path, write_graph=False, update_freq=frequency)
    small().fit(*data, batch_size=3, callbacks=[board], verbose=0)
    found = reader.scalars(reader.the_file(tmp_path))
    assert [step for step, tag, _ in found if tag == "loss"] == steps
    assert {tag for _, tag, _ in found} == {"loss", "mean_absolute_error"}, "neither batch nor size"


def test_values_that_other_callbacks_put_into_the_logs(tmp_path: Path, data: Any) -> None:
    class Extra(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            (logs or {})["extra"] = np.array([epoch * 2.0])

    small().fit(*data, epochs=2, callbacks=[Extra(), TensorBoard(tmp_path)], verbose=0)
    found = reader.scalars(reader.the_file(tmp_path))
    assert [(step, value) for step, tag, value in found if tag == "extra"] == [(0, 0.0), (1, 2.0)]


def test_histograms_of_weights_gradients_and_outputs(tmp_path: Path, data: Any) -> None:
    x, y = data
    model = small(optimizer="sgd")
    before = model.get_weights()[0]
    board = TensorBoard(tmp_path, histogram_freq=2, write_grads=True, write_images=True, batch_size=4)
    K.set_value(model.optimizer.lr, 0.0)
    model.fit(x, y, epochs=3, validation_data=(x[:6], y[:6]), callbacks=[board], verbose=0)
    found = [s for s in reader.summaries(reader.the_file(tmp_path)) if 5 in s[2]]
    tags = {tag for _, tag, _ in found}
    assert tags == {
        *(
            f"{layer}/{weight}_0{what}"
            for layer in ("one", "two")
            for weight in ("kernel", "bias")
            for what in ("", "_grad")
        ),
        *(f"{layer}_out" for layer in ("one", "two", "dropout_1")),
    }
    assert {step for step, _, _ in found} == {0, 2}
    kernels = [reader.message(f[5][0]) for step, tag, f in found if tag == "one/kernel_0" and step == 0]
    assert len(kernels) == 1 and kernels[0][3] == [12]
    assert kernels[0][4][0] == pytest.approx(before.astype("float64").sum())
    outputs = [reader.message(f[5][0]) for step, tag, f in found if tag == "two_out" and step == 0]
    assert [f[3][0] for f in outputs] == [8, 4], "a histogram for each batch of the validation data"
    assert sum(f[4][0] for f in outputs) == pytest.approx(float(model.predict(x[:6]).sum()), rel=1e-4)
    gradients = [reader.message(f[5][0]) for step, tag, f in found if tag == "two/bias_0_grad" and step == 0]
    error = model.predict(x[:4]) - y[:4]
    assert gradients[0][4][0] == pytest.approx(float(error.mean(axis=0).sum()), rel=1e-4)
    images = {tag for _, tag, f in reader.summaries(reader.the_file(tmp_path)) if 4 in f}
    assert images == {f"{layer}/{weight}_0/image/0" for layer in ("one", "two") for weight in ("kernel", "bias")}


def test_images_of_kernels(tmp_path: Path) -> None:
    model = Sequential(
        [Conv2D(5, (2, 3), input_shape=(4, 4, 1), name="c"), Conv2D(2, 2, name="d"), Flatten(), Dense(2, name="e")]
    )
    model.compile("sgd", "mse")
    x, y = np.ones((2, 4, 4, 1)), np.ones((2, 2))
    board = TensorBoard(tmp_path, histogram_freq=1, write_images=True)
    model.fit(x, y, validation_data=(x, y), callbacks=[board], verbose=0)
    sizes = {}
    for _, tag, fields in reader.summaries(reader.the_file(tmp_path)):
        if 4 in fields:
            image = reader.message(fields[4][0])
            sizes[tag] = (image[1][0], image[2][0])
    assert {tag: size for tag, size in sizes.items() if tag.startswith("c/kernel")} == {
        f"c/kernel_0/image/{i}": (2, 3) for i in range(3)
    }
    assert sizes["c/bias_0/image/0"] == (5, 1)
    assert not any(tag.startswith("d/kernel") for tag in sizes), "a stack of stacks is no image"
    assert sizes["e/kernel_0/image/0"] == (2, 4), "wider than high"


def test_histograms_leave_out_what_is_not_finite(tmp_path: Path, data: Any) -> None:
    x, y = data
    model = small()
    weights = model.get_weights()
    weights[1][:] = np.nan
    model.set_weights(weights)
    board = TensorBoard(tmp_path, histogram_freq=1)
    with pytest.warns(RuntimeWarning, match="one/bias_0 includes NaN or infinity"):
        model.fit(x, y, validation_data=(x, y), callbacks=[board], verbose=0)
    found = [f for _, tag, f in reader.summaries(reader.the_file(tmp_path)) if tag == "one/bias_0"]
    assert reader.message(found[0][5][0])[3] == [0]


def test_histograms_of_a_model_with_two_outputs_and_sample_weights(tmp_path: Path) -> None:
    a, b = Input((3,), name="a"), Input((3,), name="b")
    shared = Dense(4, name="shared")
    h = BatchNormalization(name="norm")(add([shared(a), shared(b)]))
    model = Model([a, b], [Dense(1, name="p")(h), Activation("tanh", name="q")(h)])
    model.compile("adam", "mse", loss_weights=[1.0, 0.5])
    x, y = [np.ones((5, 3)), np.zeros((5, 3))], [np.ones((5, 1)), np.ones((5, 4))]
    weights = [np.arange(5.0), np.ones(5)]
    board = TensorBoard(tmp_path, histogram_freq=1, write_grads=True)
    model.fit(x, y, validation_data=(x, y, weights), callbacks=[board], verbose=0)
    tags = {tag for _, tag, f in reader.summaries(reader.the_file(tmp_path)) if 5 in f}
    assert {"a_out", "b_out", "p_out", "q_out", "norm_out", "norm/moving_mean_0", "shared/kernel_0_grad"} <= tags
    assert "shared_out" not in tags, "it has two outputs"


def test_the_graph(tmp_path: Path, data: Any) -> None:
    small().fit(*data, callbacks=[TensorBoard(tmp_path)], verbose=0)
    nodes = reader.graph(reader.the_file(tmp_path))
    assert nodes["one/kernel"] == ("Variable", [])
    assert nodes["one/matmul"] == ("matmul", ["one_input", "one/kernel"])
    assert {"phase", "two/matmul"} <= set(nodes) and any(name.startswith("loss/") for name in nodes)
    for name, (_, inputs) in nodes.items():
        assert {x.split(":")[0] for x in inputs} <= set(nodes), name


def test_a_file_for_each_run(tmp_path: Path, data: Any) -> None:
    model, board = small(), TensorBoard(tmp_path)
    model.fit(*data, callbacks=[board], verbose=0)
    model.fit(*data, epochs=2, initial_epoch=1, callbacks=[board], verbose=0)
    first, second = sorted(tmp_path.glob("*tfevents*"), key=lambda path: int(path.name.rsplit(".", 1)[1]))
    assert [[s[0] for s in reader.scalars(path)] for path in (first, second)] == [[0, 0], [1, 1]]


def test_embeddings(tmp_path: Path, data: Any) -> None:
    x, y = data
    model = small()
    board = TensorBoard(
        tmp_path, embeddings_freq=2, embeddings_layer_names=["one"], embeddings_data=x, batch_size=3,
        embeddings_metadata="labels.tsv",
    )  # fmt: skip
    model.fit(x, y, epochs=3, callbacks=[board], verbose=0)
    rows = np.loadtxt(tmp_path / "keras_embedding_one.tsv", delimiter="\t")
    assert_allclose(rows, Model(model.inputs, model.layers[0].output).predict(x), rtol=1e-5)
    assert (tmp_path / "projector_config.pbtxt").read_text() == (
        'embeddings {\n  tensor_name: "one_embedding:0"\n  tensor_path: "keras_embedding_one.tsv"\n'
        '  metadata_path: "labels.tsv"\n}\n'
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"histogram_freq": 1}, "validation_data must be provided, and cannot be a generator"),
        ({"embeddings_freq": 1}, "embeddings_data must be provided"),
        (
            {"embeddings_freq": 1, "embeddings_data": np.ones((2, 4)), "embeddings_layer_names": ["no"]},
            r"lacks: \['no'\]",
        ),
    ],
)
def test_what_is_missing(tmp_path: Path, data: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small().fit(*data, callbacks=[TensorBoard(tmp_path, **arguments)], verbose=0)


@pytest.mark.parametrize(
    ("arguments", "message"), [({"update_freq": "hour"}, "Received: hour"), ({"batch_size": 0}, "at least 1")]
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TensorBoard(**arguments)


def test_fixed_phase(tmp_path: Path, data: Any, reference_session: Session) -> None:
    K.set_learning_phase(1)
    x, y = data
    small().fit(x, y, validation_data=(x, y), callbacks=[TensorBoard(tmp_path, histogram_freq=1)], verbose=0)
    assert "two_out" in {tag for _, tag, _ in reader.summaries(reader.the_file(tmp_path))}
