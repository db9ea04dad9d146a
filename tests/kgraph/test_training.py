"""Compiling, fitting, evaluating and predicting."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import kgraph
from kgraph import backend as K
from kgraph import callbacks, losses, metrics, optimizers
from kgraph.layers import BatchNormalization, Dense, Dropout, Input, Lambda, Layer, Reshape, concatenate
from kgraph.models import Model, Sequential


@pytest.fixture(autouse=True)
def fresh_session() -> None:
    K.clear_session()
    np.random.seed(2)


def data(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def labels(n: int, k: int) -> np.ndarray:
    return np.arange(n) * 7 % k


def mlp(loss: Any = "mse", out: int = 2, activation: str | None = None, **kwargs: Any) -> Sequential:
    model = Sequential([Dense(5, activation="tanh", input_shape=(4,)), Dense(out, activation=activation)])
    model.compile(kwargs.pop("optimizer", "sgd"), loss, **kwargs)
    return model


def two_outputs(**kwargs: Any) -> Model:
    p, q = Input((4,), name="p"), Input((2,), name="q")
    both = concatenate([p, q])
    model = Model([p, q], [Dense(2, name="u")(both), Dense(3, activation="softmax", name="v")(both)])
    model.compile("sgd", kwargs.pop("loss", {"u": "mse", "v": "categorical_crossentropy"}), **kwargs)
    return model


def two_data(n: int = 6) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [data(n, 4), data(n, 2)], [data(n, 2) * 2, np.eye(3, dtype=np.float32)[labels(n, 3)]]


# Weighted losses


def test_weighted_loss_is_sum_over_count_of_nonzero() -> None:
    model = mlp(metrics=["mae"], weighted_metrics=["mae"])
    x, y, w = data(5, 4), data(5, 2), np.array([0.0, 2.0, 1.0, 0.0, 0.5])
    error = model.predict(x) - y
    loss, plain, weighted = model.evaluate(x, y, sample_weight=w, verbose=0)
    assert model.metrics_names == ["loss", "mean_absolute_error", "weighted_mean_absolute_error"]
    assert_allclose(loss, ((error**2).mean(1) * w).sum() / 3, rtol=1e-5)
    assert_allclose(plain, abs(error).mean(), rtol=1e-5)
    assert_allclose(weighted, (abs(error).mean(1) * w).sum() / 3, rtol=1e-5)


def test_weights_of_one_change_nothing() -> None:
    x, y = data(7, 4), data(7, 2)
    first, second = mlp(optimizer="adam"), mlp(optimizer="adam")
    second.set_weights(first.get_weights())
    a = [first.train_on_batch(x, y) for _ in range(3)]
    b = [second.train_on_batch(x, y, sample_weight=np.ones(7)) for _ in range(3)]
    assert_allclose(a, b, rtol=1e-6)
    c = first.train_on_batch(x, y, sample_weight=np.ones(7))  # both functions share the optimizer's state
    assert_allclose(c, second.train_on_batch(x, y), rtol=1e-6)
    assert K.get_value(first.optimizer.iterations) == 4


def test_class_weight() -> None:
    model = mlp("categorical_crossentropy", 3, "softmax")
    x, y = data(6, 4), np.eye(3)[labels(6, 3)]
    weight = {0: 1.0, 1: 3.0, 2: 0.0}
    w = np.array([weight[i] for i in labels(6, 3)])
    other = mlp("categorical_crossentropy", 3, "softmax")
    other.set_weights(model.get_weights())
    history = model.fit(x, y, batch_size=6, class_weight=weight, validation_data=(x, y), verbose=0, shuffle=False)
    before = other.evaluate(x, y, sample_weight=w, verbose=0)
    assert_allclose(history.history["loss"][0], before, rtol=1e-5)
    assert_allclose(history.history["val_loss"][0], model.evaluate(x, y, verbose=0), rtol=1e-5)
    sparse = mlp("sparse_categorical_crossentropy", 3, "softmax")
    sparse.set_weights(other.get_weights())
    assert_allclose(sparse.train_on_batch(x, labels(6, 3), class_weight=weight), before, rtol=1e-5)


def test_temporal_weights() -> None:
    model = Sequential([Dense(2, input_shape=(3, 4))])
    model.compile("sgd", "mse", sample_weight_mode="temporal")
    x, y, w = data(5, 3, 4), data(5, 3, 2), np.random.rand(5, 3)
    error = ((model.predict(x) - y) ** 2).mean(-1)
    assert_allclose(model.evaluate(x, y, verbose=0), error.mean(), rtol=1e-5)
    assert_allclose(model.evaluate(x, y, sample_weight=w, batch_size=5, verbose=0), (error * w).mean(), rtol=1e-5)


# Several outputs


def test_losses_and_weights_of_outputs() -> None:
    model = two_outputs(loss_weights={"u": 0.5, "v": 2.0}, metrics={"u": "mae", "v": ["acc"]})
    x, y = two_data()
    total, u, v, mae, acc = model.evaluate(x, y, verbose=0)
    assert model.metrics_names == ["loss", "u_loss", "v_loss", "u_mean_absolute_error", "v_acc"]
    assert_allclose(total, 0.5 * u + 2 * v, rtol=1e-5)
    pu, pv = model.predict(x)
    assert_allclose(mae, abs(pu - y[0]).mean(), rtol=1e-5)
    assert_allclose(acc, (pv.argmax(1) == y[1].argmax(1)).mean(), rtol=1e-5)


@pytest.mark.parametrize("form", ["lists", "dictionaries"])
def test_forms_of_data(form: str) -> None:
    model = two_outputs()
    x, y = two_data()
    w = [np.ones(6), np.arange(6.0)]
    if form == "dictionaries":
        given = ({"q": x[1], "p": x[0]}, {"v": y[1], "u": y[0]}, {"v": w[1]})
    else:
        given = (x, y, w)  # type: ignore[assignment]
    result = model.evaluate(given[0], given[1], sample_weight=given[2], verbose=0)
    pu, pv = model.predict(x)
    expected = ((pu - y[0]) ** 2).mean()
    crossentropy = -(y[1] * np.log(pv)).sum(1)
    assert_allclose(result[1], expected, rtol=1e-5)
    assert_allclose(result[2], (crossentropy * w[1]).sum() / 5, rtol=1e-5)


def test_output_without_loss_takes_no_target() -> None:
    with pytest.warns(UserWarning, match='Output "v" missing from loss dictionary'):
        model = two_outputs(loss={"u": "mse"})
    model.get_layer("v").trainable = False  # the loss does not reach its weights
    model.compile("sgd", {"u": "mse", "v": None})
    x, y = two_data()
    assert model.metrics_names == ["loss", "u_loss"]
    loss, u = model.train_on_batch(x, y[0])
    assert loss == u
    assert len(model.predict(x)) == 2


def test_model_with_only_its_own_loss() -> None:
    x = Input((4,))
    h = Dense(3)(x)
    model = Model(x, h)
    model.add_loss(K.mean(K.square(h)))
    model.compile("sgd", None)
    values = data(6, 4)
    before = model.evaluate(values, verbose=0)
    assert_allclose(before, (model.predict(values) ** 2).mean(), rtol=1e-5)
    model.fit(values, epochs=3, verbose=0)
    assert model.evaluate(values, verbose=0) < before


# Metrics

ACCURACIES = [
    ("binary_crossentropy", 2, "sigmoid", "binary_accuracy"),
    ("mse", 1, None, "binary_accuracy"),
    ("mse", 3, None, "categorical_accuracy"),
    ("categorical_crossentropy", 3, "softmax", "categorical_accuracy"),
    ("sparse_categorical_crossentropy", 3, "softmax", "sparse_categorical_accuracy"),
]


@pytest.mark.parametrize("loss, out, activation, meaning", ACCURACIES)
def test_accuracy_fits_loss_and_shape(loss: str, out: int, activation: Any, meaning: str) -> None:
    model = mlp(loss, out, activation, metrics=["accuracy", meaning])
    x = data(9, 4)
    y = labels(9, 3) if loss.startswith("sparse") else (data(9, out) > 0).astype("float32")
    _, acc, same = model.evaluate(x, y, verbose=0)
    assert model.metrics_names == ["loss", "acc", meaning]
    assert acc == same


def test_own_losses_and_metrics() -> None:
    def half(y_true: Any, y_pred: Any) -> Any:
        return K.mean(K.abs(y_true - y_pred), axis=-1) / 2

    def bias(y_true: Any, y_pred: Any) -> Any:
        return K.mean(y_pred - y_true)

    model = mlp(half, metrics=[bias, bias, "mse"])
    x, y = data(5, 4), data(5, 2)
    error = model.predict(x) - y
    assert_allclose(
        model.evaluate(x, y, verbose=0),
        [abs(error).mean() / 2, error.mean(), error.mean(), (error**2).mean()],
        rtol=1e-4,
    )
    assert model.metrics_names == ["loss", "bias", "bias_1", "mean_squared_error"]


def test_own_loss_may_take_targets_of_another_shape() -> None:
    def distance(y_true: Any, y_pred: Any) -> Any:
        return K.sum(K.square(y_pred - y_true), axis=-1)

    model = mlp(distance, 3)
    x, y = data(5, 4), data(5, 1)
    assert_allclose(model.evaluate(x, y, verbose=0), ((model.predict(x) - y) ** 2).sum(1).mean(), rtol=1e-5)
    one = ((model.predict(x[:1]) - y[:1]) ** 2).sum()
    assert_allclose(model.train_on_batch(x[:1], y[:1]), one, rtol=1e-5)


# Loops


def test_fit_learns_and_reports() -> None:
    model = mlp(optimizer=optimizers.SGD(0.1), metrics=["mae"])
    x, y = data(10, 4), data(10, 2)
    history = model.fit(x, y, batch_size=4, epochs=3, verbose=0, validation_split=0.3)
    assert history.epoch == [0, 1, 2]
    assert list(history.history) == ["val_loss", "val_mean_absolute_error", "loss", "mean_absolute_error"]
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert model.history is history and kgraph.last_compiled_model() is model
    assert_allclose(history.history["val_loss"][-1], model.evaluate(x[7:], y[7:], verbose=0)[0], rtol=1e-5)


def test_steps_match_single_batches() -> None:
    x, y = data(10, 4), data(10, 2)
    fitted, stepped = mlp(), mlp()
    stepped.set_weights(fitted.get_weights())
    fitted.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    for _ in range(2):
        for rows in (slice(0, 4), slice(4, 8), slice(8, 10)):
            stepped.train_on_batch(x[rows], y[rows])
    for a, b in zip(fitted.get_weights(), stepped.get_weights(), strict=True):
        assert_allclose(a, b, rtol=1e-6)


def test_partial_batches_count_by_their_size() -> None:
    model = mlp()
    x, y = data(7, 4), data(7, 2)
    whole = ((model.predict(x, batch_size=3) - y) ** 2).mean()
    assert_allclose(model.evaluate(x, y, batch_size=3, verbose=0), whole, rtol=1e-5)
    assert_allclose(model.predict(x, batch_size=3), model.predict_on_batch(x), rtol=1e-6)


@pytest.mark.parametrize("shuffle", [True, "batch"])
def test_shuffling_uses_each_sample_once(shuffle: Any) -> None:
    seen: list[np.ndarray] = []
    model = mlp()
    train = model._function("train")
    model._functions["train", False] = lambda ins: (seen.append(ins[0][:, 0]), train(ins))[1]
    x = data(40, 4)
    model.fit(x, data(40, 2), batch_size=3, verbose=0, shuffle=shuffle)
    flat = np.concatenate(seen)
    assert sorted(flat) == sorted(x[:, 0]) and (flat != x[:, 0]).any()


def test_seed_fixes_everything() -> None:
    def run() -> list[np.ndarray]:
        K.clear_session()
        np.random.seed(11)
        model = Sequential([Dense(6, activation="relu", input_shape=(4,)), Dropout(0.4), Dense(2)])
        model.compile("adam", "mse")
        model.fit(data(12, 4), data(12, 2), batch_size=5, epochs=3, verbose=0)
        return model.get_weights()

    for a, b in zip(run(), run(), strict=True):
        assert (a == b).all()


def test_callbacks_see_everything() -> None:
    class Spy(callbacks.Callback):
        batches: list[Any] = []

        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            self.batches.append((batch, logs["size"], "loss" in logs))
            if len(self.batches) == 4:
                self.model.stop_training = True

    spy = Spy()
    model = mlp()
    x, y = data(5, 4), data(5, 2)
    history = model.fit(x, y, batch_size=2, epochs=9, verbose=0, callbacks=[spy], validation_data=(x, y))
    assert spy.batches == [(0, 2, True), (1, 2, True), (2, 1, True), (0, 2, True)]
    assert len(history.history["loss"]) == 2 and len(history.history["val_loss"]) == 1
    assert (spy.validation_data[0] == x).all() and (spy.validation_data[1] == y).all()
    assert (spy.validation_data[2] == 1).all()


def test_steps_per_epoch() -> None:
    model = mlp()
    x, y = data(6, 4), data(6, 2)
    before = [w.copy() for w in model.get_weights()]
    model.fit(x, y, steps_per_epoch=2, epochs=2, verbose=0)
    assert K.get_value(model.optimizer.iterations) == 4
    other = mlp()
    other.set_weights(before)
    for _ in range(4):
        other.train_on_batch(x, y)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        assert_allclose(a, b, rtol=1e-6)
    with pytest.raises(ValueError, match="If steps_per_epoch is set, the `batch_size` must be None"):
        model.fit(x, y, batch_size=2, steps_per_epoch=2, verbose=0)


def test_data_other_than_float_arrays() -> None:
    model = mlp()
    x, y = data(5, 4), data(5, 2)
    expected = model.evaluate(x, y, verbose=0)
    assert_allclose(model.evaluate(x.astype(np.float64), np.asarray(y.tolist()), verbose=0), expected)
    assert_allclose(model.evaluate(np.asfortranarray(x), y[::1], verbose=0), expected)
    one = Sequential([Dense(1, input_shape=(1,))])
    one.compile("sgd", "mse")
    assert one.predict([1.0, 2.0, 3.0]).shape == (3, 1)
    assert one.fit(np.arange(4), np.arange(4), verbose=0).history["loss"]


def test_predict_classes() -> None:
    model = mlp("categorical_crossentropy", 3, "softmax")
    x = data(5, 4)
    assert (model.predict_classes(x) == model.predict(x).argmax(-1)).all()
    one = mlp("mse", 1, "sigmoid")
    assert one.predict_classes(x).shape == (5, 1) and one.predict_classes(x).dtype == np.int32
    with pytest.warns(UserWarning, match="invalid probability values"):
        mlp("mse", 2).predict_proba(x * 100)


def test_changing_trainable_warns_and_changes_nothing() -> None:
    model = mlp()
    model.layers[0].trainable = False
    before = model.get_weights()[0]
    with pytest.warns(UserWarning, match="Discrepancy between trainable weights"):
        model.fit(data(4, 4), data(4, 2), verbose=0)
    assert (model.get_weights()[0] != before).any()


def test_fixed_learning_phase() -> None:
    K.set_learning_phase(1)
    model = Sequential([BatchNormalization(input_shape=(3,))])
    model.compile("sgd", "mse")
    x = data(6, 3) + 4
    assert_allclose(model.predict(x), (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3), rtol=1e-4, atol=1e-5)
    model.fit(x, x, verbose=0)


def test_functions_as_recipes_use_them() -> None:
    model = mlp()
    gradients = K.gradients(model.total_loss, model.trainable_weights)
    f = K.function([model.inputs[0], model.sample_weights[0], model.targets[0], K.learning_phase()], gradients)
    x, y = data(4, 4), data(4, 2)
    found = f([x, np.ones(4), y, 0])
    before = model.get_weights()
    model.train_on_batch(x, y)
    for g, a, b in zip(found, before, model.get_weights(), strict=True):
        assert_allclose(a - 0.01 * g, b, rtol=1e-4, atol=1e-6)
    ins = [x, y, np.ones(4), 1.0]
    assert_allclose(model.train_function(ins), model.test_function(ins), rtol=1)
    layer = K.function([model.layers[0].input], [model.layers[0].output])
    assert layer([x])[0].shape == (4, 5)


def test_target_tensors() -> None:
    x = Input((4,))
    model = Model(x, Dense(2)(x))
    target = K.placeholder((None, 2))
    model.compile("sgd", "mse", target_tensors=target)
    assert model.targets == [target]


# Bad input: one clear error, before anything runs

BAD: list[tuple[Any, type[Exception], str]] = [
    (lambda m: m.fit("data", data(4, 2)), TypeError, "should be a Numpy array"),
    (lambda m: m.fit(np.array([["a"] * 4] * 3), data(3, 2)), TypeError, "hold numbers"),
    (lambda m: m.train_on_batch(data(4, 4), None), ValueError, "no data was provided"),
    (lambda m: m.fit(data(0, 4), data(0, 2)), ValueError, "no samples to train on"),
    (lambda m: m.fit(data(1, 4), data(1, 2), validation_split=0.5, verbose=0), ValueError, "no samples to train on"),
    (lambda m: m.evaluate(data(0, 4), data(0, 2)), ValueError, "no samples to evaluate"),
    (lambda m: m.fit(data(4, 4), data(4, 2), batch_size=0), ValueError, "`batch_size` must be a positive integer"),
    (lambda m: m.predict(data(4, 4), batch_size=2.0), ValueError, "`batch_size` must be a positive integer"),
    (lambda m: m.fit(data(4, 4)), ValueError, "no data was provided"),
    (lambda m: m.fit(data(4, 4), None), ValueError, "no data was provided"),
    (lambda m: m.evaluate(data(4, 4), data(3, 2)), ValueError, "4 input samples and 3 target samples"),
    (lambda m: m.predict(data(4, 3)), ValueError, r"expected dense_1_input to have shape \(4,\) but got .*\(3,\)"),
    (lambda m: m.fit(data(4, 4), data(4, 2), validation_split=0.5, steps_per_epoch=2), ValueError, "validation_steps"),
    (lambda m: m.fit(data(4, 4), data(4, 2), validation_steps=2), ValueError, "Can only use `validation_steps`"),
    (lambda m: m.fit(data(4, 4), data(4, 2), sample_weight=np.ones(3)), ValueError, "cannot be broadcast"),
    (lambda m: m.fit(data(4, 4), data(4, 2), class_weight={0: 1.0}), ValueError, "must contain all classes"),
    (lambda m: m.compile("sgd", ["mse", "mse"]), ValueError, "one entry per model outputs"),
    (lambda m: m.compile("sgd", "mse", loss_weights=[1, 2]), ValueError, "one entry per model output"),
    (lambda m: m.compile("sgd", "mse", loss_weights=3), TypeError, "Could not interpret loss_weights"),
    (lambda m: m.compile("sgd", "mse", metrics="mae"), TypeError, "`metrics` argument not understood"),
    (lambda m: m.compile("sgd", "mse", colour=1), TypeError, "unexpected keyword"),
    (lambda m: m.compile("sgd", "mse", sample_weight_mode="temporal"), ValueError, "at least 3"),
]


@pytest.mark.parametrize("call, kind, message", BAD)
def test_bad_input(call: Any, kind: type[Exception], message: str) -> None:
    model = mlp()
    before = model.get_weights()
    with pytest.raises(kind, match=message):
        call(model)
    for a, b in zip(before, model.get_weights(), strict=True):
        assert (a == b).all()


@pytest.mark.parametrize("bad", [3, -1, np.nan])
def test_labels_out_of_range(bad: float) -> None:
    model = mlp("sparse_categorical_crossentropy", 3, "softmax")
    y = np.array([0, 1, 2, bad])
    with pytest.raises(ValueError, match='output "dense_2" has 3 classes.*from 0 to 2'):
        model.fit(data(4, 4), y, verbose=0)
    model.fit(data(3, 4), np.array([0, 1, 2]), verbose=0)


def test_fixed_batch_size() -> None:
    model = Sequential([Dense(3, batch_input_shape=(4, 2))])
    model.compile("sgd", "mse")
    model.fit(data(8, 2), data(8, 3), batch_size=4, verbose=0)
    assert model.train_on_batch(data(4, 2), data(4, 3)) > 0
    for samples, size in ((6, 4), (8, 2), (32, 32)):
        with pytest.raises(ValueError, match="dense_1_input takes batches of exactly 4 samples"):
            model.fit(data(samples, 2), data(samples, 3), batch_size=size, verbose=0)


def test_stateful_metric() -> None:
    class Positives(Layer):
        def __init__(self, name: str = "positives", **kwargs: Any) -> None:
            super().__init__(name=name, **kwargs)
            self.stateful = True
            self.count = K.variable(0, dtype="int32")

        def reset_states(self) -> None:
            K.set_value(self.count, 0)

        def __call__(self, y_true: Any, y_pred: Any) -> Any:
            found = K.cast(K.sum(K.cast(y_true > 0, "int32")), "int32")
            before = self.count * 1
            self.add_update(K.update_add(self.count, found), inputs=[y_true, y_pred])
            return before + found

    model = mlp(metrics=["mae", Positives()])
    x, y = data(7, 4), data(7, 2)
    history = model.fit(x, y, batch_size=3, epochs=2, verbose=0, validation_data=(x[:5], y[:5]))
    assert [int(v) for v in history.history["positives"]] == [(y > 0).sum()] * 2
    assert [int(v) for v in history.history["val_positives"]] == [(y[:5] > 0).sum()] * 2
    assert int(model.evaluate(x, y, batch_size=2, verbose=0)[2]) == (y > 0).sum()


def test_arrays_in_files(tmp_path: Any) -> None:
    import h5py

    x, y = data(7, 4), data(7, 2)
    model = mlp()
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"], file["y"] = x, y
        assert_allclose(model.evaluate(file["x"], file["y"], batch_size=3, verbose=0), model.evaluate(x, y, verbose=0))
        model.fit(file["x"], file["y"], batch_size=3, verbose=0, shuffle="batch")
        assert_allclose(model.predict(file["x"], batch_size=2), model.predict(x))
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=(7, 4))
    mapped[:] = x
    assert_allclose(model.predict(mapped, batch_size=2), model.predict(x))


def test_weight_that_the_loss_does_not_reach() -> None:
    x = Input((4,))
    model = Model(x, [Dense(2, name="a")(x), Dense(2, name="b")(x)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.compile("sgd", {"a": "mse"})
    with pytest.raises(ValueError):
        model.fit(data(4, 4), data(4, 2), verbose=0)


def test_inside() -> None:
    model = mlp("mse", 2, metrics=["mae"])
    source = model.ir("train", "source")
    assert len(source.outputs) == 2 and not source.updates
    assert len(model.ir("train", "differentiated").updates) > 4
    assert len(model.ir("test", "source").outputs) == 1
    assert "relu" not in str(model.ir()) and "dense_1" in str(model.ir())
    assert str(model.ir("train", "specialize")).startswith("graph @train_function")
    report = model.compile_report()
    assert "simplify" in str(report) and report.programs[0].passes[0][0] == "specialize"
    assert [p.name for p in report.programs] == ["train", "test"] and "planned peak memory of train" in str(report)
    assert isinstance(model.kernels(), tuple)
    with pytest.raises(ValueError, match="Unknown stage"):
        model.ir("train", "nonsense")
    with pytest.raises(ValueError, match="Unknown phase"):
        model.ir("both")


def test_shapes_beyond_the_batch_may_vary() -> None:
    x = Input((None, 4))
    model = Model(x, Dense(2)(x))
    model.compile("sgd", "mse")
    for steps in (1, 3, 7):
        assert np.isfinite(model.train_on_batch(data(5, steps, 4), data(5, steps, 2)))
        assert model.predict(data(2, steps, 4)).shape == (2, steps, 2)


def test_sparse_targets_of_sequences() -> None:
    model = Sequential([Dense(6, input_shape=(4,)), Reshape((2, 3)), Lambda(K.softmax)])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["acc"])
    y = labels(10, 3).reshape(5, 2, 1)
    p = model.predict(data(5, 4))
    loss, acc = model.evaluate(data(5, 4), y, verbose=0)
    assert_allclose(loss, -np.log(np.take_along_axis(p, y, -1)).mean(), rtol=1e-5)
    assert_allclose(acc, (p.argmax(-1) == y[..., 0]).mean(), rtol=1e-6)


def test_names_are_modules() -> None:
    assert kgraph.losses is losses and kgraph.metrics is metrics
