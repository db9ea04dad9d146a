"""`fit_generator`, `evaluate_generator` and `predict_generator`, against the methods for arrays."""

from __future__ import annotations

import inspect
import multiprocessing
import pkgutil
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from kgraph import backend as K
from kgraph import callbacks, utils
from kgraph.layers import Dense, Input, Layer
from kgraph.models import Model, Sequential
from kgraph.utils import Sequence

N, BATCH = 14, 4  # the last batch is smaller
X = np.sin(np.arange(N * 4.0)).reshape(N, 4)
Y = np.cos(np.arange(N * 2.0)).reshape(N, 2)
W = np.linspace(0, 1, N)
forks = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """A fresh session; half a minute for each test; no worker left over."""

    def late(*args: Any) -> None:
        raise TimeoutError("a worker hangs")

    K.clear_session()
    np.random.seed(2)
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    assert not [t for t in threading.enumerate() if t.name.startswith("batches_")]
    assert not multiprocessing.active_children()


def mlp(**kwargs: Any) -> Sequential:
    model = Sequential([Dense(5, activation="tanh", input_shape=(4,)), Dense(2)])
    model.compile("sgd", "mse", **kwargs)
    model.set_weights([0.5 * np.sin(np.arange(w.size) + i).reshape(w.shape) for i, w in enumerate(model.get_weights())])
    return model


class Batches(Sequence):
    def __init__(self, *arrays: np.ndarray) -> None:
        self.arrays = arrays
        self.epochs = 0

    def __len__(self) -> int:
        return -(-N // BATCH)

    def __getitem__(self, index: int) -> Any:
        rows = tuple(a[index * BATCH : (index + 1) * BATCH] for a in self.arrays)
        return rows if len(rows) > 1 else rows[0]

    def on_epoch_end(self) -> None:
        self.epochs += 1


def endless(*arrays: np.ndarray) -> Iterator[Any]:
    while True:
        yield from Batches(*arrays)


def source(kind: str, *arrays: np.ndarray) -> tuple[Any, int | None]:
    """A generator or `Sequence`, and the number of steps that it wants to be told."""
    return (Batches(*arrays), None) if kind == "sequence" else (endless(*arrays), 4)


KINDS = pytest.mark.parametrize("kind", ["sequence", "generator"])
WAYS = pytest.mark.parametrize(
    ("workers", "processes"),
    [(0, False), (1, False), (3, False), pytest.param(1, True, marks=forks)],
)


@KINDS
@WAYS
@pytest.mark.parametrize("weighted", [False, True])
def test_same_as_arrays(kind: str, workers: int, processes: bool, weighted: bool) -> None:
    arrays = (X, Y, W) if weighted else (X, Y)
    how: dict[str, Any] = {"workers": workers, "use_multiprocessing": processes, "max_queue_size": 3}
    expected, model = mlp(metrics=["mae"]), mlp(metrics=["mae"])
    weights = W if weighted else None
    wanted = expected.fit(
        X, Y, BATCH, 2, 0, sample_weight=weights, shuffle=False, validation_data=(X, Y) if not weighted else (X, Y, W)
    )
    given, steps = source(kind, *arrays)
    validation, validation_steps = source(kind, *arrays)
    history = model.fit_generator(
        given,
        steps,
        2,
        verbose=0,
        shuffle=False,
        validation_data=validation,
        validation_steps=validation_steps,
        **how,
    )
    for name, values in wanted.history.items():
        if not (weighted and name == "val_loss"):  # a mean of means over batches, whose counts of weights differ
            assert_allclose(history.history[name], values, rtol=1e-5)
    for a, b in zip(model.get_weights(), expected.get_weights(), strict=True):
        assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    evaluated = model.evaluate_generator(source(kind, *arrays)[0], steps or 4, **how)
    assert_allclose(evaluated, expected.evaluate(X, Y, BATCH, 0, weights), rtol=1e-5)
    assert_allclose(model.predict_generator(source(kind, X)[0], 4, **how), expected.predict(X), rtol=1e-5, atol=1e-6)


def test_history_and_params() -> None:
    seen: list[Any] = []

    class Look(callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            seen.append(dict(self.params))

        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            seen.append((batch, logs["batch"], logs["size"]))

    model = mlp()
    history = model.fit_generator(
        Batches(X, Y), epochs=3, initial_epoch=1, verbose=0, callbacks=[Look()], shuffle=False
    )
    assert history.epoch == [1, 2] and list(history.history) == ["loss"] and model.history is history
    assert seen[0] == {"epochs": 3, "steps": 4, "verbose": 0, "do_validation": False, "metrics": ["loss", "val_loss"]}
    assert seen[1:] == [(0, 0, 4), (1, 1, 4), (2, 2, 4), (3, 3, 2)] * 2


def test_validation_on_arrays() -> None:
    shown: list[Any] = []

    class Look(callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            shown[:] = self.validation_data

    model = mlp()
    history = model.fit_generator(
        Batches(X, Y), epochs=2, verbose=0, validation_data=(X, Y, W), callbacks=[Look()], shuffle=False
    )
    assert list(history.history) == ["val_loss", "loss"]
    assert_allclose(history.history["val_loss"][-1], model.evaluate(X, Y, 2, 0, W), rtol=1e-5)
    for a, b in zip(shown, (X, Y, W), strict=False):
        assert_allclose(a, b, rtol=1e-6)
    with pytest.raises(ValueError, match=r"`validation_data` should be a tuple .* Found: \(1,"):
        model.fit_generator(Batches(X, Y), validation_data=(1, 2, 3, 4))


def test_class_weight() -> None:
    labels = np.arange(N) % 2
    model = Sequential([Dense(2, activation="softmax", input_shape=(4,))])
    model.compile("sgd", "sparse_categorical_crossentropy")
    start = model.get_weights()
    weight = {0: 1.0, 1: 4.0}
    losses = [model.fit_generator(Batches(X, labels), verbose=0, shuffle=False, class_weight=weight).history["loss"]]
    model.set_weights(start)
    losses.append(model.fit(X, labels, BATCH, verbose=0, shuffle=False, class_weight=weight).history["loss"])
    assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_shuffle_obeys_the_seed_and_keeps_batches() -> None:
    class Noted(Batches):
        def __getitem__(self, index: int) -> Any:
            order.append(index)
            return super().__getitem__(index)

    orders = []
    for _ in range(2):
        np.random.seed(8)
        order: list[int] = []
        mlp().fit_generator(Noted(X, Y), epochs=3, verbose=0)
        orders.append(order)
    assert orders[0] == orders[1] and orders[0] != [0, 1, 2, 3] * 3
    assert all(sorted(orders[0][i : i + 4]) == [0, 1, 2, 3] for i in (0, 4, 8))


@pytest.mark.parametrize("steps", [None, 2, 8])
def test_on_epoch_end_once_per_pass(steps: int | None) -> None:
    batches, validation = Batches(X, Y), Batches(X, Y)
    mlp().fit_generator(batches, steps, 4, verbose=0, validation_data=validation)
    assert batches.epochs == {None: 4, 2: 2, 8: 8}[steps] and validation.epochs == 4
    model = mlp()
    model.evaluate_generator(validation)
    model.predict_generator(validation)
    assert validation.epochs == 4  # whoever asks for predictions may want to compare them with the data as it was


def test_generators_are_read_no_further_than_needed() -> None:
    drawn = 0

    def counted() -> Iterator[Any]:
        nonlocal drawn
        for batch in endless(X, Y):
            drawn += 1
            yield batch

    model, batches = mlp(), counted()
    model.fit_generator(batches, 3, 2, verbose=0)
    assert drawn == 6
    model.evaluate_generator(batches, 2)
    model.predict_generator(batches, 1)
    assert drawn == 9


def test_steps_may_be_fractions() -> None:
    assert mlp().fit_generator(endless(X, Y), N / BATCH, verbose=0).params["steps"] == 3.5
    assert mlp().predict_generator(endless(X), N / BATCH).shape == (N, 2)


def test_stop_training() -> None:
    class Stop(callbacks.Callback):
        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_training = len(self.model.history.epoch) == 1 and batch == 1

    model = mlp()
    history = model.fit_generator(endless(X, Y), 4, 9, verbose=0, validation_data=Batches(X, Y), callbacks=[Stop()])
    assert history.epoch == [0, 1]
    assert len(history.history["loss"]) == 2 and history.history["val_loss"][0] == history.history["val_loss"][1]


def test_stateful_metric() -> None:
    class Count(Layer):
        def __init__(self) -> None:
            super().__init__(name="count")
            self.stateful = True
            self.total = K.variable(0.0)

        def reset_states(self) -> None:
            K.set_value(self.total, 0.0)

        def __call__(self, y_true: Any, y_pred: Any) -> Any:
            rows = K.cast(K.shape(y_true)[0], "float32")
            self.add_update(K.update_add(self.total, rows), inputs=[y_true, y_pred])
            return self.total + rows

    model = mlp(metrics=[Count()])
    history = model.fit_generator(Batches(X, Y), epochs=2, verbose=0, validation_data=Batches(X, Y))
    assert history.history["count"] == [N, N] and history.history["val_count"] == [N, N]
    assert model.evaluate_generator(Batches(X, Y))[1] == N


def test_several_inputs_and_outputs() -> None:
    a, b = Input((4,), name="a"), Input((2,), name="b")
    model = Model([a, b], [Dense(2, name="u")(a), Dense(1, name="v")(b)])
    model.compile("sgd", "mse")
    start = model.get_weights()
    rows = [slice(0, 4), slice(4, 8), slice(8, N)]
    forms: list[list[Any]] = [
        [({"b": Y[r], "a": X[r]}, {"v": W[r], "u": Y[r]}) for r in rows],
        [([X[r], Y[r]], [Y[r], W[r]]) for r in rows],
    ]
    losses = []
    for batches in forms:
        model.set_weights(start)
        losses.append(model.fit_generator(iter(batches), 3, verbose=0).history["loss"])
        found = model.predict_generator(iter(batches), 3)
        for got, expected in zip(found, model.predict([X, Y]), strict=True):
            assert_allclose(got, expected, rtol=1e-5, atol=1e-7)
        expected = model.evaluate([X, Y], [Y, W], verbose=0)
        assert_allclose(model.evaluate_generator(iter(batches), 3), expected, rtol=1e-5)
    assert_allclose(losses[0], losses[1])


def test_untouched_model_takes_its_shape_from_the_first_batch() -> None:
    for given in (Batches(X, Y), endless(X, Y)):
        model = Sequential([Dense(2)])
        model.compile("sgd", "mse")
        history = model.fit_generator(given, 4, verbose=0, shuffle=False)
        assert model.input_shape == (None, 4) and np.isfinite(history.history["loss"]).all()
    model = Sequential([Dense(2)])
    assert model.predict_generator(Batches(X)).shape == (N, 2)


def test_model_without_targets() -> None:
    x = Input((4,))
    model = Model(x, Dense(2)(x))
    model.add_loss(K.mean(model.outputs[0] ** 2))
    model.compile("sgd", None)
    history = model.fit_generator(((X, None) for _ in range(3)), 3, verbose=0)
    assert history.history["loss"][0] > 0


# Errors


@WAYS
@pytest.mark.parametrize("method", ["fit_generator", "evaluate_generator", "predict_generator"])
def test_users_errors_are_shown_as_they_are(method: str, workers: int, processes: bool) -> None:
    class Broken(Batches):
        def __getitem__(self, index: int) -> Any:
            if index == 2:
                raise OSError(5, "unreadable image")
            return super().__getitem__(index)

    def broken() -> Iterator[Any]:
        for i in range(3):
            yield Broken(X, Y)[i]

    model = mlp()
    for given in (Broken(X, Y), broken()):
        kwargs = {"verbose": 0, **({"shuffle": False} if method == "fit_generator" else {})}
        with pytest.raises(OSError, match="unreadable image"):
            getattr(model, method)(given, 4, workers=workers, use_multiprocessing=processes, **kwargs)
    assert model.evaluate(X, Y, verbose=0) > 0


@WAYS
def test_exhausted_generator(workers: int, processes: bool) -> None:
    model = mlp()
    with pytest.raises(StopIteration):
        model.fit_generator(((X, Y) for _ in range(2)), 3, verbose=0, workers=workers, use_multiprocessing=processes)
    model.fit_generator(((X, Y) for _ in range(3)), 3, verbose=0, workers=workers, use_multiprocessing=processes)


def test_error_in_training_ends_the_workers() -> None:
    with pytest.raises(ValueError, match="expected dense_1_input to have shape"):
        mlp().fit_generator(endless(X[:, :3], Y), 3, verbose=0)


@pytest.mark.parametrize(("batch", "what"), [(X, "Found: "), (3, "Found: 3"), ((X,), "Found: "), ((X, Y, W, W), "Fou")])
def test_bad_batches(batch: Any, what: str) -> None:
    model = mlp()
    message = r"Output of generator should be a tuple `\(x, y, sample_weight\)` or `\(x, y\)`. " + what
    for method in (model.fit_generator, model.evaluate_generator):
        with pytest.raises(ValueError, match=message):
            method(iter([batch] * 3), 1, verbose=0)
    with pytest.raises(ValueError, match="Received an empty batch"):
        model.evaluate_generator(iter([(X[:0], Y[:0])]), 1)


def test_bad_arguments() -> None:
    model = mlp()
    for method, name in (("fit", "steps_per_epoch"), ("evaluate", "steps"), ("predict", "steps")):
        call = getattr(model, f"{method}_generator")
        with pytest.raises(ValueError, match=f"`{name}=None` is only valid for a generator based on"):
            call(endless(X, Y))
        with pytest.raises(ValueError, match=f"`{name}` must be a positive number"):
            call(endless(X, Y), 0)
        with pytest.raises(TypeError, match="Expected a generator or a `keras.utils.Sequence`, got ndarray"):
            call(X, 3)
    with pytest.raises(ValueError, match="`validation_steps=None` is only valid"):
        model.fit_generator(Batches(X, Y), validation_data=endless(X, Y))
    with pytest.raises(RuntimeError, match="compile"):
        Sequential([Dense(2, input_shape=(4,))]).fit_generator(Batches(X, Y))
    for given in (Batches(X, Y), endless(X, Y)):
        with pytest.raises(TypeError, match="go to `fit_generator`"):
            model.fit(given, Y)


@forks
def test_copies_of_generators_are_warned_of() -> None:
    model = mlp()
    with pytest.warns(UserWarning, match="multiple workers may duplicate your data"):
        model.fit_generator(endless(X, Y), 3, verbose=0, workers=2, use_multiprocessing=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.fit_generator(Batches(X, Y), verbose=0, workers=2, use_multiprocessing=True)


def test_ctrl_c_leaves_a_model_that_works() -> None:
    class Interrupt(callbacks.Callback):
        def on_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 2:
                raise KeyboardInterrupt

    model = mlp()
    with pytest.raises(KeyboardInterrupt):
        model.fit_generator(endless(X, Y), 4, verbose=0, callbacks=[Interrupt()])
    assert np.isfinite(model.predict(X)).all()


def test_a_slow_generator_can_go_on_in_the_next_call() -> None:
    def slow() -> Iterator[Any]:
        while True:
            time.sleep(0.05)
            yield X, Y

    class Stop(callbacks.Callback):
        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_training = True

    model, batches = mlp(), slow()
    for _ in range(3):  # each call leaves a batch under way
        model.fit_generator(batches, 5, verbose=0, callbacks=[Stop()])


# Keras 1


@pytest.mark.parametrize(
    ("method", "old", "new"),
    [
        ("fit_generator", {"samples_per_epoch": 3, "nb_epoch": 2}, "verbose=0, steps_per_epoch=3, epochs=2"),
        ("fit_generator", {"steps_per_epoch": 2, "nb_worker": 1, "pickle_safe": False, "max_q_size": 2},
         "steps_per_epoch=2, verbose=0, workers=1, use_multiprocessing=False, max_queue_size=2"),
        ("evaluate_generator", {"val_samples": 2, "max_q_size": 2}, "verbose=0, steps=2, max_queue_size=2"),
        ("predict_generator", {"val_samples": 2, "nb_worker": 1}, "verbose=0, steps=2, workers=1"),
    ],
)  # fmt: skip
def test_legacy_arguments(method: str, old: dict[str, Any], new: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        getattr(mlp(), method)(endless(X, Y), **{**old, "verbose": 0})
    texts = [str(w.message) for w in caught if w.category is UserWarning]
    given = dict(item.split("=") for item in new.split(", "))
    call = texts[-1].removeprefix(f"Update your `{method}` call to the Keras 2 API: `{method}(<generator..., ")
    assert dict(item.split("=") for item in call.removesuffix(")`").split(", ")) == given
    assert len(texts) == 2 and texts[0].startswith("The semantics of the Keras 2 argument `steps_per_epoch` is not")
    assert all(w.filename == __file__ for w in caught if w.category is UserWarning)


def test_legacy_samples_are_divided_by_the_batch_size() -> None:
    class Sized:
        batch_size = 4

        def __next__(self) -> Any:
            return X[:4], Y[:4]

    with pytest.warns(UserWarning, match="steps_per_epoch=3"):
        history = mlp().fit_generator(Sized(), samples_per_epoch=N, verbose=0)
    assert history.params["steps"] == 3
    with pytest.warns(UserWarning), pytest.raises(TypeError, match="`epochs`.*`nb_epoch`"):
        mlp().fit_generator(endless(X, Y), 3, epochs=1, nb_epoch=2)
    with pytest.raises(TypeError, match="can accept only 3 positional arguments"):
        mlp().fit_generator(endless(X, Y), 3, 1, 0)


TAIL = "max_queue_size=10, workers=1, use_multiprocessing=False"
FIT = (
    "generator, steps_per_epoch=None, epochs=1, verbose=1, callbacks=None, validation_data=None, "
    f"validation_steps=None, class_weight=None, {TAIL}, shuffle=True, initial_epoch=0"
)
SIGNATURES = {
    "engine.training.Model.fit_generator": f"self, {FIT}",
    "engine.training.Model.evaluate_generator": f"self, generator, steps=None, {TAIL}, verbose=0",
    "engine.training.Model.predict_generator": f"self, generator, steps=None, {TAIL}, verbose=0",
    "engine.training_generator.fit_generator": f"model, {FIT}",
    "engine.training_generator.evaluate_generator": f"model, generator, steps=None, {TAIL}, verbose=0",
    "engine.training_generator.predict_generator": f"model, generator, steps=None, {TAIL}, verbose=0",
    "utils.data_utils.GeneratorEnqueuer": "sequence, use_multiprocessing=False, wait_time=None, random_seed=None",
    "utils.data_utils.OrderedEnqueuer": "sequence, use_multiprocessing=False, shuffle=False",
    "utils.data_utils.SequenceEnqueuer": "sequence, use_multiprocessing=False",
    "utils.data_utils.SequenceEnqueuer.start": "self, workers=1, max_queue_size=10",
    "utils.data_utils.SequenceEnqueuer.stop": "self, timeout=None",
    "utils.data_utils.get_file": (
        "fname, origin, untar=False, md5_hash=None, file_hash=None, cache_subdir='datasets', hash_algorithm='auto', "
        "extract=False, archive_format='auto', cache_dir=None"
    ),
    "utils.data_utils.get_index": "uid, i",
    "utils.data_utils.init_pool": "seqs",
    "utils.data_utils.init_pool_generator": "gens, random_seed=None",
    "utils.data_utils.next_sample": "uid",
    "utils.data_utils.validate_file": "fpath, file_hash, algorithm='auto', chunk_size=65535",
    "utils.io_utils.HDF5Matrix": "datapath, dataset, start=0, end=None, normalizer=None",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name: str) -> None:
    found = pkgutil.resolve_name(f"kgraph.{name.split('.')[0]}.{name.split('.')[1]}:{'.'.join(name.split('.')[2:])}")
    signature = inspect.signature(found)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == f"({SIGNATURES[name]})"


def test_names_in_utils() -> None:
    for name in ("GeneratorEnqueuer", "HDF5Matrix", "OrderedEnqueuer", "Sequence", "get_file", "h5dict"):
        assert getattr(utils, name).__module__ in ("kgraph.utils.data_utils", "kgraph.utils.io_utils")


# Steps over arrays


def test_steps_per_epoch_over_arrays() -> None:
    first, second = mlp(), mlp()
    history = first.fit(X, Y, epochs=2, steps_per_epoch=3, verbose=0, validation_data=(X, Y), validation_steps=2)
    second.fit(X, Y, N, 6, 0)
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        assert_allclose(a, b, rtol=1e-5)
    assert_allclose(history.history["val_loss"][-1], second.evaluate(X, Y, verbose=0), rtol=1e-5)
    assert_array_equal(first.predict(X, steps=2)[:N], first.predict(X, steps=1))
    for arguments in ({"batch_size": 3}, {"validation_data": (X, Y)}):
        with pytest.raises(ValueError):
            first.fit(X, Y, steps_per_epoch=2, verbose=0, **arguments)
    with pytest.raises(ValueError, match="Can only use `validation_steps`"):
        first.fit(X, Y, validation_steps=2, verbose=0)
