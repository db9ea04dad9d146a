"""Models as estimators: by themselves, and in scikit-learn's hands."""

from __future__ import annotations

import functools
import pickle
from typing import Any

import numpy as np
import pytest

from kgraph.layers import Dense
from kgraph.models import Sequential
from kgraph.optimizers import Adam
from kgraph.wrappers.scikit_learn import BaseWrapper, KerasClassifier, KerasRegressor

RNG = np.random.RandomState(0)
X = np.concatenate([RNG.randn(30, 4) + 2, RNG.randn(30, 4) - 2]).astype("float32")
ORDER = RNG.permutation(60)
X, CLASSES = X[ORDER], np.repeat([0, 1], 30)[ORDER]
Y = X @ np.array([1.0, -1, 2, 0.5]) + 3


def classifier(units: int = 4, outputs: int = 2, loss: str | None = None) -> Sequential:
    loss = loss or ("binary_crossentropy" if outputs == 1 else "sparse_categorical_crossentropy")
    layers = [Dense(units, activation="tanh", input_shape=(4,))]
    model = Sequential([*layers, Dense(outputs, activation="sigmoid" if outputs == 1 else "softmax")])
    model.compile(Adam(0.03), loss, metrics=["accuracy"])
    return model


def regressor(units: int = 4, metrics: Any = None) -> Sequential:
    model = Sequential([Dense(units, input_shape=(4,)), Dense(1)])
    model.compile(Adam(0.03), "mse", metrics=metrics)
    return model


FAST: dict[str, Any] = {"epochs": 6, "batch_size": 10, "verbose": 0}


@pytest.mark.parametrize(
    ("build", "labels"),
    [
        ({}, CLASSES),
        ({}, np.array(["no", "yes"])[CLASSES]),
        ({"loss": "categorical_crossentropy"}, np.array(["no", "yes"])[CLASSES]),
        ({"loss": "categorical_crossentropy"}, np.eye(2)[CLASSES]),
        ({"outputs": 1}, np.array([3, 8])[CLASSES]),
        ({}, CLASSES[:, None]),
    ],
)
def test_classifier(reference_session: Any, build: dict[str, Any], labels: np.ndarray) -> None:
    np.random.seed(1)
    estimator = KerasClassifier(classifier, **build, **FAST)
    history = estimator.fit(X, labels)
    assert len(history.history["loss"]) == 6 and "acc" in history.history
    names = np.arange(2) if labels.ndim == 2 and labels.shape[1] == 2 else np.unique(labels)
    assert estimator.classes_.tolist() == names.tolist() and estimator.n_classes_ == 2
    probabilities = estimator.predict_proba(X)
    assert probabilities.shape == (60, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    found = estimator.predict(X)
    assert found.shape == ((60, 1) if build.get("outputs") == 1 else (60,))
    assert found.ravel().tolist() == names[(probabilities[:, 1] > 0.5).astype(int)].tolist()
    expected = (found.ravel() == names[CLASSES]).mean()
    assert estimator.score(X, labels, batch_size=7) == pytest.approx(expected) and expected > 0.8


def test_regressor(reference_session: Any) -> None:
    np.random.seed(1)
    for metrics in (None, ["mae"]):
        estimator = KerasRegressor(regressor, metrics=metrics, units=3, **FAST)
        estimator.fit(X, Y)
        found = estimator.predict(X, batch_size=7)
        assert found.shape == (60,)
        assert estimator.score(X, Y) == pytest.approx(-np.mean((found - Y) ** 2), rel=1e-4)


def test_arguments_of_fit_come_before_those_of_the_constructor(reference_session: Any) -> None:
    estimator = KerasClassifier(classifier, **FAST)
    assert len(estimator.fit(X, CLASSES, epochs=2).history["loss"]) == 2
    losses = []
    for weight in (1.0, 3.0):
        np.random.seed(1)
        history = estimator.fit(X, CLASSES, sample_weight=np.full(60, weight), epochs=1, batch_size=60)
        losses += history.history["loss"]
    assert losses[1] == pytest.approx(3 * losses[0])


def test_parameters() -> None:
    estimator = KerasClassifier(classifier, units=3, epochs=2)
    assert estimator.get_params() == {"build_fn": classifier, "units": 3, "epochs": 2}
    assert estimator.set_params(units=5, batch_size=9) is estimator
    assert estimator.get_params(deep=True) == {"build_fn": classifier, "units": 5, "epochs": 2, "batch_size": 9}
    assert estimator.filter_sk_params(classifier, {"loss": "x"}) == {"units": 5, "loss": "x"}
    assert estimator.filter_sk_params(Sequential.fit) == {"epochs": 2, "batch_size": 9}
    assert estimator.set_params(build_fn=regressor).build_fn is regressor
    KerasClassifier(classifier, nb_epoch=3)
    for wrong in (lambda: KerasClassifier(classifier, nonsense=1), lambda: estimator.set_params(nonsense=1)):
        with pytest.raises(ValueError, match="nonsense is not a legal parameter"):
            wrong()


def test_kinds_of_builders(reference_session: Any) -> None:
    class Builder:
        def __call__(self, units: int = 2) -> Sequential:
            return classifier(units)

        def build(self, units: int = 2) -> Sequential:
            return classifier(units)

    class Own(KerasClassifier):
        def __call__(self, units: int = 2) -> Sequential:
            return classifier(units)

    for estimator in (
        KerasClassifier(Builder(), units=3),
        KerasClassifier(Builder().build, units=3),
        KerasClassifier(functools.partial(classifier, outputs=2), units=3),
        Own(units=3),
    ):
        estimator.fit(X, CLASSES, epochs=1, verbose=0)
        assert estimator.model.layers[0].units == 3
    with pytest.raises(ValueError, match="BaseWrapper needs `build_fn`"):
        BaseWrapper().fit(X, CLASSES)


def test_mistakes(reference_session: Any) -> None:
    estimator = KerasClassifier(classifier, **FAST)
    with pytest.raises(ValueError, match="Invalid shape for y: \\(2, 2, 2\\)"):
        estimator.fit(X, np.zeros((2, 2, 2)))
    plain = KerasClassifier(regressor, epochs=1, verbose=0)
    plain.fit(X, CLASSES)
    with pytest.raises(ValueError, match="not configured to compute accuracy"):
        plain.score(X, CLASSES, verbose=0)


# In scikit-learn's hands


def test_kinds_clones_and_pickles(reference_session: Any) -> None:
    base = pytest.importorskip("sklearn.base")
    validation = pytest.importorskip("sklearn.utils.validation")
    one = KerasClassifier(classifier, units=3, callbacks=[])
    assert base.is_classifier(one) and not base.is_regressor(one)
    assert base.is_regressor(KerasRegressor(regressor))
    copy = base.clone(one)
    assert copy is not one and copy.get_params() == one.get_params() and not hasattr(copy, "model")
    assert pickle.loads(pickle.dumps(one)).get_params() == one.get_params()
    with pytest.raises(Exception, match="not fitted"):
        validation.check_is_fitted(one)
    one.fit(X, CLASSES, epochs=1, verbose=0)
    validation.check_is_fitted(one)


def test_cross_validation_and_search(reference_session: Any) -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    np.random.seed(2)
    estimator = KerasClassifier(classifier, **FAST)
    scores = selection.cross_val_score(estimator, X, np.array(["a", "b"])[CLASSES], cv=3)
    assert scores.shape == (3,) and scores.mean() > 0.8
    search = selection.GridSearchCV(estimator, {"units": [1, 4], "epochs": [1, 6]}, cv=2)
    search.fit(X, CLASSES)
    assert set(search.best_params_) == {"units", "epochs"} and search.best_score_ > 0.8
    assert search.best_estimator_.model.layers[0].units == search.best_params_["units"]
    assert search.predict(X).shape == (60,)
    errors = selection.cross_val_score(KerasRegressor(regressor, **FAST), X, Y, cv=2, scoring="neg_mean_squared_error")
    assert (errors < 0).all()


def test_pipeline(reference_session: Any) -> None:
    pipeline = pytest.importorskip("sklearn.pipeline")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    np.random.seed(3)
    steps = [("scale", preprocessing.StandardScaler()), ("model", KerasClassifier(classifier, **FAST))]
    model = pipeline.Pipeline(steps).set_params(model__units=5)
    model.fit(X * 100, CLASSES)
    assert model.named_steps["model"].model.layers[0].units == 5
    assert model.score(X * 100, CLASSES) > 0.8 and model.predict_proba(X).shape == (60, 2)
