"""Keras 1's arguments, as `tests/data/api/legacy_arguments.json` lists what Keras 2.2.4 takes of them."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from kgraph import backend as K
from kgraph import layers as all_layers
from kgraph.engine import training_generator
from kgraph.layers import Dense, Input, Layer
from kgraph.models import Model, Sequential

pytestmark = pytest.mark.usefixtures("reference_session")

DATA = json.loads((Path(__file__).parents[1] / "data" / "api" / "legacy_arguments.json").read_text())
INTERFACES = DATA["interfaces"]
NEEDED: dict[str, dict[str, Any]] = {  # arguments without which a layer cannot be made
    "Dense": {"units": 3},
    "Embedding": {"input_dim": 5, "output_dim": 3},
    "GaussianDropout": {"rate": 0.5},
    "GaussianNoise": {"stddev": 0.5},
    "Lambda": {"function": abs},
    **{name: {"rate": 0.5} for name in ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D")},
    **{name: {"units": 3} for name in ("SimpleRNN", "GRU", "LSTM")},
    **{
        name: {"filters": 3, "kernel_size": 2}
        for name in ("Conv1D", "Conv2D", "Conv3D", "SeparableConv2D", "Conv2DTranspose", "ConvLSTM2D")
    },
    **{name: {"filters": 3, "kernel_size": 2} for name in ("LocallyConnected1D", "LocallyConnected2D")},
}
VALUES: dict[str, Any] = {  # a value, other than the default, for each argument of Keras 2
    **{f"{part}_initializer": "ones" for part in ("alpha", "beta", "gamma", "kernel", "recurrent", "embeddings")},
    **{f"{part}_regularizer": "l2" for part in ("kernel", "recurrent", "bias", "embeddings")},
    **{f"{part}_constraint": "non_neg" for part in ("kernel", "bias", "embeddings")},
    "gamma_initializer": "zeros",
    "units": 3,
    "filters": 3,
    "kernel_size": 2,
    "pool_size": 3,
    "size": 3,
    "strides": 2,
    "padding": "same",
    "rate": 0.5,
    "stddev": 0.5,
    "dropout": 0.25,
    "recurrent_dropout": 0.25,
    "recurrent_activation": "tanh",
    "implementation": 1,
    "use_bias": False,
    "data_format": "channels_first",
}


def classes(interface: str) -> list[Any]:
    """The layers whose constructors have this interface; the exported ones of a base class."""
    found = []
    for path in INTERFACES[interface]["applies_to"]:
        module, name, method = path.removeprefix("keras.").rsplit(".", 2)
        if method != "__init__" or interface in ("input", "model_constructor"):
            continue
        owner = getattr(importlib.import_module(f"kgraph.{module}"), name)
        if name.startswith("_"):
            found += [c for c in vars(all_layers).values() if inspect.isclass(c) and issubclass(c, owner)]
        else:
            found.append(owner)
    return found


def made(layer: Any, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], list[str]]:
    """The config of a layer of that class, and what making it warned of."""
    needed = {k: v for k, v in NEEDED.get(layer.__name__, {}).items() if k not in kwargs}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        config = layer(*args, **(kwargs if args else {**needed, **kwargs}), name="a").get_config()
    return config, [str(w.message) for w in caught]


CASES = [(layer, name) for name in INTERFACES for layer in classes(name)]
RENAMES = [
    (layer, old, new)
    for layer, name in CASES
    for old, new in INTERFACES[name]["renames"]
    if new in inspect.signature(layer.__init__).parameters  # a simple RNN has no recurrent activation
]


@pytest.mark.parametrize(("layer", "old", "new"), RENAMES, ids=[f"{c.__name__}-{old}" for c, old, _ in RENAMES])
def test_renamed(layer: Any, old: str, new: str) -> None:
    value = "valid" if new == "padding" and "Locally" in layer.__name__ else VALUES[new]
    expected, silence = made(layer, **{new: value})
    assert silence == [] or new == "implementation"
    if old == "dim_ordering":
        value = "th"
    elif old == "consume_less":
        value = "mem"
    needed = {k: v for k, v in NEEDED.get(layer.__name__, {}).items() if k != new}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        config = layer(**needed, **{old: value}, name="a").get_config()
    assert config == expected
    message = next(text for w in caught if (text := str(w.message)).startswith("Update"))
    assert message.startswith(f"Update your `{layer.__name__}` call to the Keras 2 API: `{layer.__name__}(")
    assert f"{new}=" in message and f" {old}=" not in message and f"({old}=" not in message
    with pytest.raises(TypeError, match=f"`{old}`.*`{new}`"):
        layer(**{**needed, new: value, old: value})


CONVERSIONS = [
    (layer, old, before, after)
    for layer, name in CASES
    for old, table in INTERFACES[name].get("value_conversions", {}).items()
    for before, after in table.items()
]


@pytest.mark.parametrize(
    ("layer", "old", "before", "after"), CONVERSIONS, ids=[f"{c.__name__}-{b}" for c, _, b, _ in CONVERSIONS]
)
def test_converted_values(layer: Any, old: str, before: str, after: Any) -> None:
    new = {"dim_ordering": "data_format", "consume_less": "implementation"}[old]
    needed = NEEDED.get(layer.__name__, {})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = getattr(layer(**needed, **{old: before}), new, None)
    assert any(str(w.message).startswith("Update your") for w in caught)
    if new == "implementation":  # 0 is no longer there, and a simple RNN has no choice
        assert found == (None if layer.__name__ == "SimpleRNN" else max(after, 1))
    else:
        assert found == (K.image_data_format() if after is None else after)


LIMITS = [(c, INTERFACES[n]["positional_arguments_allowed"]) for c, n in CASES]
LIMITS = [(c, names) for c, names in LIMITS if names != "any"]


@pytest.mark.parametrize(("layer", "names"), LIMITS, ids=[c.__name__ for c, _ in LIMITS])
def test_positional_arguments(layer: Any, names: list[str]) -> None:
    with pytest.raises(TypeError) as caught:
        layer(*[2] * len(names), "more")
    assert str(caught.value).startswith(
        f"`{layer.__name__}` can accept only {len(names)} positional arguments {tuple(names)}, but you passed"
    )


# Special cases


def same(layer: Any, old: Any, new: dict[str, Any], *says: str) -> None:
    """`layer(*args, **kwargs)` of `old` makes what `layer(**new)` does, and warns so."""
    args, kwargs = old
    config, warned = made(layer, *args, **kwargs)
    assert config == made(layer, **new)[0]
    assert len(warned) == len(says)
    for text, wanted in zip(warned, says, strict=True):
        assert wanted in text


TWO = {"filters": 3, "kernel_size": (2, 4)}
THREE = {"filters": 3, "kernel_size": (2, 4, 5)}
CALL = "call to the Keras 2 API"


@pytest.mark.parametrize("name", ["Conv2D", "SeparableConv2D", "Conv2DTranspose", "ConvLSTM2D", "LocallyConnected2D"])
@pytest.mark.parametrize(
    "old",
    [
        ((3, 2, 4), {}),
        ((3, 2), {"nb_col": 4}),
        ((3,), {"nb_row": 2, "nb_col": 4}),
        ((), {"filters": 3, "nb_row": 2, "nb_col": 4}),
    ],
)
def test_rows_and_columns(name: str, old: Any) -> None:
    layer = getattr(all_layers, name)
    if old[0]:
        same(layer, old, TWO, CALL)
    else:
        with pytest.warns(UserWarning, match=CALL):
            assert layer(**old[1], name="a").get_config() == made(layer, **TWO)[0]


def test_ambiguous_integers() -> None:
    with pytest.raises(ValueError, match="`strides`"):
        all_layers.Conv2D(3, 2, 4, strides=2)
    with pytest.raises(ValueError, match="`padding`"):
        all_layers.Conv3D(3, 2, 4, padding="same")
    with pytest.raises(TypeError, match="at most 3 positional"):
        all_layers.Conv2D(3, 2, 4, 5)
    with pytest.raises(TypeError, match="at most 4 positional"):
        all_layers.Conv3D(3, 2, 4, 5, 6)


@pytest.mark.parametrize(
    "old",
    [
        ((3, 2, 4, 5), {}),
        ((3, 2), {"kernel_dim2": 4, "kernel_dim3": 5}),
        ((3,), {"kernel_dim1": 2, "kernel_dim2": 4, "kernel_dim3": 5}),
    ],
)
def test_three_dimensions(old: Any) -> None:
    same(all_layers.Conv3D, old, THREE, CALL)


def test_shapes_of_sequences() -> None:
    new = {"filters": 3, "kernel_size": 2, "input_shape": (None, 4)}
    same(all_layers.Conv1D, ((3, 2), {"input_dim": 4}), new, CALL)
    known = {**new, "input_shape": (7, 4)}
    same(all_layers.LocallyConnected1D, ((3, 2), {"input_dim": 4, "input_length": 7}), known, CALL)
    recurrent = {"units": 3, "input_shape": (7, 4)}
    says = ("`input_dim` and `input_length` arguments in recurrent layers are deprecated", CALL)
    same(all_layers.LSTM, ((3,), {"input_dim": 4, "input_length": 7}), recurrent, *says)


def test_dropped_arguments() -> None:
    same(all_layers.Conv2DTranspose, ((3, 2, 4), {"output_shape": (None, 9, 9, 3)}), TWO, CALL)
    same(all_layers.Conv2DTranspose, ((3, 2, 4, (None, 9, 9, 3)), {}), TWO, CALL)
    same(all_layers.BatchNormalization, ((), {"mode": 0}), {}, CALL)
    same(all_layers.Embedding, ((5, 3), {"dropout": 0.2}), {}, "SpatialDropout1D")
    with pytest.raises(TypeError, match="`mode`"):
        all_layers.BatchNormalization(mode=1)


def test_values_that_became_others() -> None:
    both = {"depthwise_initializer": "zeros", "pointwise_initializer": "zeros"}
    same(all_layers.SeparableConv2D, ((3, (2, 4)), {"init": "zeros"}), {**TWO, **both}, CALL)
    same(all_layers.LSTM, ((3,), {"forget_bias_init": "one"}), {"units": 3, "unit_forget_bias": True}, CALL)
    same(all_layers.LSTM, ((3,), {"forget_bias_init": "zero"}), {"units": 3}, "has been ignored")
    pads = {"top_pad": 1, "bottom_pad": 2, "right_pad": 3}
    new = {"padding": ((1, 2), (0, 3))}
    same(all_layers.ZeroPadding2D, ((pads,), {}), new, "no longer accepts dict")
    same(all_layers.ZeroPadding2D, ((), {"padding": pads}), new, "no longer accepts dict")


def test_long_values_are_cut_in_the_warning() -> None:
    with pytest.warns(UserWarning) as caught:
        all_layers.Conv2D(3, 2, 2, border_mode="same", subsample=(1000, 1000), name="c")
    assert str(caught[0].message) == (
        "Update your `Conv2D` call to the Keras 2 API: "
        '`Conv2D(3, (2, 2), name="c", strides=(1000, 100..., padding="same")`'
    )


# Other than layers' constructors


def test_weights() -> None:
    class Own(Layer):
        def build(self, input_shape: Any) -> None:
            self.first = self.add_weight((2, 3), "first", initializer="ones")
            self.second = self.add_weight([4], name="second")
            super().build(input_shape)

    layer = Own()
    layer(Input((2,)))
    assert [K.int_shape(w) for w in layer.weights] == [(2, 3), (4,)]
    assert [w.name.split("/")[-1] for w in layer.weights] == ["first:0", "second:0"]


def test_models_and_inputs() -> None:
    x = Input((3,))
    y = Dense(2)(x)
    with pytest.warns(UserWarning, match=r"Update your `Model` call to the Keras 2 API: `Model\(inputs=.*outputs="):
        model = Model(input=x, output=y)
    assert model.inputs == [x] and model.outputs == [y]
    layer: Any = all_layers.InputLayer
    with pytest.warns(UserWarning, match="Update your `InputLayer` call"):
        assert layer(input_shape=(3,), input_dtype="int32").get_config()["dtype"] == "int32"


SIGNATURES = {"fit_generator": "epochs", "evaluate_generator": "steps", "predict_generator": "steps"}


@pytest.mark.parametrize("method", SIGNATURES)
def test_methods_for_generators(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    ours = inspect.signature(getattr(training_generator, method))
    monkeypatch.setattr(
        training_generator, method, lambda *args, **kwargs: given.update(ours.bind(*args, **kwargs).arguments)
    )
    model = Sequential([Dense(2, input_dim=3)])
    for old, new in INTERFACES["generator_methods"]["renames"]:
        if new not in ours.parameters:
            continue
        given.clear()
        value = False if old == "pickle_safe" else 4
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            getattr(model, method)(iter([]), **{old: value})
        assert re.search(f"Update your `{method}` call to the Keras 2 API: .*{new}=", str(caught[-1].message))
        assert given[new] == value


def test_samples_become_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    class Batches:
        batch_size = 5

    given: dict[str, Any] = {}
    monkeypatch.setattr(training_generator, "fit_generator", lambda *args, **kwargs: given.update(kwargs))
    model: Any = Sequential([Dense(2, input_dim=3)])
    for generator, samples, steps, count in ((Batches(), 33, 6, 1), (iter([]), 33, 33, 1)):
        with pytest.warns(UserWarning) as caught:
            model.fit_generator(generator, samples_per_epoch=samples)
        assert given["steps_per_epoch"] == steps and len(caught) == count
    with pytest.warns(UserWarning) as caught:
        model.fit_generator(iter([]), samples_per_epoch=3, nb_val_samples=2)
    assert "The semantics of the Keras 2 argument" in str(caught[0].message) and len(caught) == 2


def test_names_of_classes() -> None:
    for old, new in DATA["legacy_class_names"].items():
        found = getattr(all_layers, old, None)
        if new.startswith("function"):
            with pytest.warns(UserWarning, match="dilation_rate"):
                dim = 1 if "1D" in old else 2
                layer = found(*[3] + [2] * dim, atrous_rate=2)
            assert layer.dilation_rate == (2,) * dim
        elif new in ("AtrousConvolution1D", "AtrousConvolution2D"):
            assert found is getattr(all_layers, new)
        else:
            assert found is getattr(all_layers, new), old
    with pytest.raises(TypeError) as caught:
        Dense(3, shape=(2,))
    assert caught.value.args == ("Keyword argument not understood:", "shape")


def test_decorated_functions_show_what_they_are() -> None:
    assert list(inspect.signature(Dense.__init__).parameters)[:2] == ["self", "units"]
    assert Dense.__init__._original_function.__name__ == "__init__"  # type: ignore[attr-defined]
