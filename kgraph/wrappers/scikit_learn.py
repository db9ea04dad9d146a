"""Models as estimators of scikit-learn: for `cross_val_score`, `GridSearchCV`, pipelines and the like.

scikit-learn itself is imported only when it asks for an estimator's tags.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from kgraph.engine.sequential import Sequential
from kgraph.utils.generic_utils import has_arg, to_list
from kgraph.utils.np_utils import to_categorical

__all__ = ["BaseWrapper", "KerasClassifier", "KerasRegressor", "Sequential", "has_arg", "to_categorical", "to_list"]


class BaseWrapper:
    """What classifier and regressor have in common.

    # Arguments
        build_fn: function, or object with `__call__`, that returns a compiled model. A subclass may have a `__call__`
            instead.
        **sk_params: arguments of `build_fn`, and of `fit`, `predict`, `predict_classes` and `evaluate` of Sequential.
            They can be searched over.
    """

    _estimator_type: str | None = None  # how scikit-learn before 1.6 told the kinds apart

    def __init__(self, build_fn: Callable[..., Any] | None = None, **sk_params: Any) -> None:
        self.build_fn = build_fn
        self.sk_params = sk_params
        self.check_params(sk_params)

    def _builder(self) -> Callable[..., Any]:
        """The function that makes the model."""
        build: Any = self if self.build_fn is None else self.build_fn
        if not callable(build):
            raise ValueError(f"{type(self).__name__} needs `build_fn`, a function that returns a compiled model")
        return build

    def check_params(self, params: dict[str, Any]) -> None:
        """Raises ValueError for a name that is no argument of any function that gets some."""
        methods = (Sequential.fit, Sequential.predict, Sequential.predict_classes, Sequential.evaluate)
        for name in params:
            if name == "nb_epoch" or any(has_arg(method, name) for method in methods):
                continue
            if not has_arg(self._builder(), name):
                raise ValueError(f"{name} is not a legal parameter")

    def get_params(self, **params: Any) -> dict[str, Any]:
        """All arguments of the constructor. (`deep`, which scikit-learn passes, makes no difference.)"""
        return {**self.sk_params, "build_fn": self.build_fn}

    def set_params(self, **params: Any) -> BaseWrapper:
        """Change arguments of the constructor; returns the estimator."""
        params = dict(params)
        build_fn = params.pop("build_fn", self.build_fn)
        previous, self.build_fn = self.build_fn, build_fn
        try:
            self.check_params(params)
        except ValueError:
            self.build_fn = previous
            raise
        self.sk_params.update(params)
        return self

    def fit(self, x: Any, y: Any, **kwargs: Any) -> Any:
        """Make a new model and train it.

        # Arguments
            x: samples, an array of shape `(n, ...)`.
            y: targets, an array.
            **kwargs: arguments of `Sequential.fit`, before those of the constructor.

        # Returns
            The history of the training.
        """
        builder = self._builder()
        self.model = builder(**self.filter_sk_params(builder))
        y = np.asarray(y)
        if _wants_one_hot(self.model) and y.ndim != 2:
            y = to_categorical(y)
        arguments = copy.deepcopy(self.filter_sk_params(Sequential.fit))
        return self.model.fit(x, y, **{**arguments, **kwargs})

    def filter_sk_params(self, fn: Callable[..., Any], override: dict[str, Any] | None = None) -> dict[str, Any]:
        """Those of the constructor's arguments that `fn` has, and `override`."""
        return {**{name: value for name, value in self.sk_params.items() if has_arg(fn, name)}, **(override or {})}

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, RegressorTags, Tags, TargetTags

        kind = self._estimator_type
        return Tags(
            estimator_type=kind,
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags() if kind == "classifier" else None,
            regressor_tags=RegressorTags() if kind == "regressor" else None,
        )


def _wants_one_hot(model: Any) -> bool:
    return getattr(model.loss, "__name__", model.loss) == "categorical_crossentropy"


class KerasClassifier(BaseWrapper):
    """A model that tells classes apart, as a classifier of scikit-learn. Arguments are those of `BaseWrapper`."""

    _estimator_type = "classifier"

    def fit(self, x: Any, y: Any, sample_weight: Any = None, **kwargs: Any) -> Any:
        """Make a new model and train it.

        # Arguments
            x: samples, an array of shape `(n, ...)`.
            y: their classes, `(n,)` or `(n, 1)`, of any type that can be sorted; or one-hot rows.
            sample_weight: weights of the samples.
            **kwargs: arguments of `Sequential.fit`, before those of the constructor.

        # Returns
            The history of the training.
        """
        y = np.array(y)
        if y.ndim == 2 and y.shape[1] > 1:
            self.classes_ = np.arange(y.shape[1])
        elif y.ndim == 1 or (y.ndim == 2 and y.shape[1] == 1):
            self.classes_ = np.unique(y)
            y = np.searchsorted(self.classes_, y)
        else:
            raise ValueError(f"Invalid shape for y: {y.shape}; expected (n,), (n, 1) or one-hot rows")
        self.n_classes_ = len(self.classes_)
        if sample_weight is not None:
            kwargs["sample_weight"] = sample_weight
        return super().fit(x, y, **kwargs)

    def predict(self, x: Any, **kwargs: Any) -> np.ndarray:
        """The classes of samples; of shape `(n,)`, or `(n, 1)` for a model with one unit.

        # Arguments
            x: samples, an array of shape `(n, ...)`.
            **kwargs: arguments of `Sequential.predict_classes`.
        """
        numbers = self.model.predict_classes(x, **self.filter_sk_params(Sequential.predict_classes, kwargs))
        return self.classes_[numbers]

    def predict_proba(self, x: Any, **kwargs: Any) -> np.ndarray:
        """The probability of each class, of shape `(n, classes)`, also for a model with one unit.

        # Arguments
            x: samples, an array of shape `(n, ...)`.
            **kwargs: arguments of `Sequential.predict_proba`.
        """
        found = self.model.predict(x, **self.filter_sk_params(Sequential.predict_proba, kwargs))
        return np.hstack([1 - found, found]) if found.shape[1] == 1 else found

    def score(self, x: Any, y: Any, **kwargs: Any) -> float:
        """The mean accuracy.

        # Arguments
            x: samples, an array of shape `(n, ...)`.
            y: their classes.
            **kwargs: arguments of `Sequential.evaluate`.

        # Raises
            ValueError: for a model that was compiled without the metric "accuracy".
        """
        y = np.asarray(y)
        if y.ndim == 1 or y.shape[1] == 1:
            y = np.searchsorted(self.classes_, y)
        if _wants_one_hot(self.model) and y.ndim != 2:
            y = to_categorical(y, len(self.classes_))
        found = to_list(self.model.evaluate(x, y, **self.filter_sk_params(Sequential.evaluate, kwargs)))
        for name, value in zip(self.model.metrics_names, found, strict=True):
            if name == "acc":
                return value
        raise ValueError(
            "The model is not configured to compute accuracy. You should pass `metrics=['accuracy']` to the "
            "`model.compile()` method."
        )


class KerasRegressor(BaseWrapper):
    """A model that finds numbers, as a regressor of scikit-learn. Arguments are those of `BaseWrapper`."""

    _estimator_type = "regressor"

    def predict(self, x: Any, **kwargs: Any) -> np.ndarray:
        """The numbers that the model finds, of shape `(n,)` for a model with one unit.

        # Arguments
            x: samples, an array of shape `(n, ...)`.
            **kwargs: arguments of `Sequential.predict`.
        """
        found = self.model.predict(x, **self.filter_sk_params(Sequential.predict, kwargs))
        return np.squeeze(found, axis=-1) if found.shape[-1] == 1 else found

    def score(self, x: Any, y: Any, **kwargs: Any) -> float:
        """The loss, negative, so that more is better.

        # Arguments
            x: samples, an array of shape `(n, ...)`.
            y: their targets.
            **kwargs: arguments of `Sequential.evaluate`.
        """
        return -to_list(self.model.evaluate(x, y, **self.filter_sk_params(Sequential.evaluate, kwargs)))[0]
