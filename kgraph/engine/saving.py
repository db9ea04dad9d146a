"""Models in files: architecture, weights, training configuration and optimizer state, laid out as Keras 2.2.4 does.

`weights_file.py` holds the part for weights, `hdf5_guard.py` reads what may come from anybody, `preprocess_weights.py`
and `legacy/tf_keras.py` translate what other versions and backends wrote.

A file never brings code along: classes come from this library or from `custom_objects`, and so do functions.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import shutil
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph import optimizers
from kgraph.engine import resume, weight_budget
from kgraph.engine.hdf5_guard import Reader, check_size, opened, parse_json
from kgraph.engine.network_config import calls_ordered
from kgraph.engine.preprocess_weights import mirrored_variables, preprocess_weights_for_loading
from kgraph.engine.weights_file import (
    HDF5_OBJECT_HEADER_LIMIT,
    KERAS_VERSION,
    StoredWeights,
    load_attributes_from_hdf5_group,
    load_weights_from_hdf5_group,
    load_weights_from_hdf5_group_by_name,
    save_attributes_to_hdf5_group,
    save_variables,
    save_weights_to_hdf5_group,
)
from kgraph.legacy import tf_keras
from kgraph.utils.conv_utils import convert_kernel
from kgraph.utils.generic_utils import get_custom_objects
from kgraph.utils.io_utils import ask_to_proceed_with_overwrite, h5dict

__all__ = [
    "HDF5_OBJECT_HEADER_LIMIT",
    "KERAS_VERSION",
    "ask_to_proceed_with_overwrite",
    "h5dict",
    "json_default",
    "load_attributes_from_hdf5_group",
    "load_model",
    "load_weights",
    "load_weights_from_hdf5_group",
    "load_weights_from_hdf5_group_by_name",
    "model_from_config",
    "model_from_json",
    "model_from_yaml",
    "pickle_model",
    "preprocess_weights_for_loading",
    "save_attributes_to_hdf5_group",
    "save_model",
    "save_weights",
    "save_weights_to_hdf5_group",
    "unpickle_model",
]

_WEIGHTS_ROOM = 1 << 20  # numbers that a model may hold beyond twice those of its file
_PYTHON_TAG = "tag:yaml.org,2002:python/"


def json_default(value: Any) -> Any:
    """What stands in JSON for a value that JSON does not know: configs of objects, numbers and lists for numpy's, and
    names of functions and classes."""
    if hasattr(value, "get_config") and not isinstance(value, type):
        return {"class_name": type(value).__name__, "config": value.get_config()}
    if isinstance(value, np.ndarray):
        return {"type": "ndarray", "value": value.tolist()}
    if isinstance(value, np.generic):
        return value.item()
    if callable(value) and hasattr(value, "__name__"):
        return value.__name__
    raise TypeError("Not JSON Serializable:", value)


def _json(value: Any) -> bytes:
    return json.dumps(value, default=json_default).encode("utf-8")


# Saving


def save_model(model: Any, filepath: Any, overwrite: bool = True, include_optimizer: bool = True) -> None:
    """Save a model to an HDF5 file.

    # Arguments
        model: the model.
        filepath: path of the file, or an open `h5py.File` or group. A file at this path is replaced only once the new
            one is complete.
        overwrite: whether to replace a file without asking.
        include_optimizer: whether to save the training configuration and the optimizer's state too.
    """
    with _created(filepath, overwrite) as f:
        if f is not None:
            _write_model(f, model, include_optimizer)


def save_weights(model: Any, filepath: Any, overwrite: bool = True) -> None:
    """Save a model's weights to an HDF5 file; arguments as for `save_model`."""
    with _created(filepath, overwrite) as f:
        if f is not None:
            save_weights_to_hdf5_group(f, _stored(model).layers)


def _stored(model: Any) -> Any:
    """The model whose layers files hold: for one made of replicas, the model that was replicated."""
    return model.__dict__.get("_template") or model


def _write_model(f: Any, model: Any, include_optimizer: bool) -> None:
    stored = _stored(model)
    config = _json({"class_name": type(stored).__name__, "config": stored.get_config()})
    optimizer: Any = model.optimizer if include_optimizer else None
    training = _json(_training_config(model)) if optimizer else None
    f.attrs["keras_version"] = KERAS_VERSION.encode("utf-8")
    f.attrs["backend"] = K.backend().encode("utf-8")
    f.attrs["model_config"] = config
    save_weights_to_hdf5_group(f.create_group("model_weights"), stored.layers)
    if training is not None:
        f.attrs["training_config"] = training
        if optimizer.weights:
            save_variables(f.create_group("optimizer_weights"), optimizer.weights)
        resume.write(f, model)


def _training_config(model: Any) -> dict[str, Any]:
    return {
        "optimizer_config": {"class_name": type(model.optimizer).__name__, "config": model.optimizer.get_config()},
        "loss": model.loss,
        "metrics": model.metrics,
        "sample_weight_mode": model.sample_weight_mode,
        "loss_weights": model.loss_weights,
    }


@contextlib.contextmanager
def _created(filepath: Any, overwrite: bool) -> Iterator[Any]:
    """The HDF5 group to write into; None where the user does not want the file replaced.

    A path's file appears when the block ends without an error; before that, a file of another name grows beside it.
    """
    import h5py

    if isinstance(filepath, h5dict):
        filepath = filepath.data
    if isinstance(filepath, h5py.Group):
        yield filepath
        return
    if hasattr(filepath, "write"):
        with h5py.File(filepath, "w") as f:
            yield f
        return
    path = os.path.realpath(os.fspath(filepath))
    if not overwrite and os.path.isfile(path) and not ask_to_proceed_with_overwrite(filepath):
        yield None
        return
    folder, name = os.path.split(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"Unable to create file {filepath}: there is no folder {folder}.")
    growing = os.path.join(folder, f".{name}.{secrets.token_hex(6)}.tmp")
    try:
        with h5py.File(growing, "x") as f:
            yield f
        if os.path.exists(path):
            shutil.copymode(path, growing)
        os.replace(growing, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(growing)
        raise


# Loading


def load_model(filepath: Any, custom_objects: dict[str, Any] | None = None, compile: bool = True) -> Any:
    """The model in an HDF5 file.

    # Arguments
        filepath: path of the file, or an open `h5py.File` or group.
        custom_objects: the user's classes and functions by the names that the file gives them; functions of Lambda
            layers also by the layer's name.
        compile: whether to compile the model as it was when saved, and to restore the optimizer's state.

    # Raises
        OSError: if the file cannot be read.
        ValueError: if it is no model, names classes or functions that are not known, or contradicts itself.
    """
    with opened(filepath.data if isinstance(filepath, h5dict) else filepath) as f:
        return _read_model(Reader(f), f, dict(custom_objects or {}), compile)


def load_weights(
    model: Any, filepath: Any, by_name: bool = False, skip_mismatch: bool = False, reshape: bool = False
) -> None:
    """Load weights into a model from a file that `save_weights` or `save_model` wrote; see `Network.load_weights`."""
    with opened(filepath) as f:
        reader = Reader(f)
        if not reader.texts(f, "layer_names"):
            f = reader.group(f, "model_weights") or f
        if by_name:
            load_weights_from_hdf5_group_by_name(f, _stored(model).layers, skip_mismatch=skip_mismatch, reshape=reshape)
        else:
            load_weights_from_hdf5_group(f, _stored(model).layers, reshape=reshape)


def _read_model(reader: Reader, f: Any, custom_objects: dict[str, Any], compile: bool) -> Any:
    text = reader.text(f, "model_config")
    weights = reader.group(f, "model_weights")
    if text is None or weights is None:
        raise ValueError(
            f"No model found in file {f.file.filename}. If `save_weights` wrote it, build the model in code and use "
            "`load_weights`."
        )
    version = reader.text(f, "keras_version")
    config = parse_json(text, "model's config")
    state = resume.read_text(f, reader) if version == KERAS_VERSION else {}
    room = 2 * StoredWeights(reader, weights).elements() + _WEIGHTS_ROOM
    with weight_budget.limited(room), calls_ordered(state.get("calls")):
        model = _model_from(config, version, custom_objects)
    load_weights_from_hdf5_group(weights, model.layers)
    if compile:
        text = reader.text(f, "training_config")
        if text is None:
            warnings.warn(
                "No training configuration found in save file: the model was *not* compiled. Compile it manually.",
                stacklevel=3,
            )
        else:
            _compile(model, parse_json(text, "training configuration"), version, custom_objects)
            _restore_optimizer(model, reader, f)
            resume.read(f, reader, state, model)
    return model


def _compile(model: Any, config: dict[str, Any], version: str | None, custom_objects: dict[str, Any]) -> None:
    if not isinstance(config, dict) or not isinstance(config.get("optimizer_config"), dict):
        raise ValueError("The file's training configuration names no optimizer. Load the model with `compile=False`.")
    start = None
    if version is not None and tf_keras.is_later(version):
        start = tf_keras.initial_state(config["optimizer_config"])
        config = tf_keras.training_config(config, {**get_custom_objects(), **custom_objects})
    model.compile(
        optimizer=optimizers.deserialize(config["optimizer_config"], custom_objects=custom_objects),
        loss=_custom(config.get("loss"), custom_objects),
        metrics=_custom(config.get("metrics"), custom_objects),
        loss_weights=config.get("loss_weights"),
        sample_weight_mode=config.get("sample_weight_mode"),
        weighted_metrics=_custom(config.get("weighted_metrics"), custom_objects) or None,
    )
    if start is not None:
        model._make_train_function()
        model.optimizer.set_weights([np.full_like(value, start) for value in model.optimizer.get_weights()])


def _custom(value: Any, custom_objects: dict[str, Any]) -> Any:
    """A loss or metrics of a training configuration, with the user's functions in place of their names."""
    if isinstance(value, list):
        return [_custom(x, custom_objects) for x in value]
    if isinstance(value, dict):
        return {key: _custom(x, custom_objects) for key, x in value.items()}
    return custom_objects.get(value, value) if isinstance(value, str) else value


def _restore_optimizer(model: Any, reader: Reader, f: Any) -> None:
    group = reader.group(f, "optimizer_weights")
    if group is None:
        return
    model._make_train_function()
    values = [reader.array(group, name) for name in reader.texts(group, "weight_names")]
    try:
        values = _fitted_state(model, values, reader.text(f, "keras_version"))
        if reader.text(f, "backend") == "theano":
            values = _mirrored_state(model, values)
        model.optimizer.set_weights(values)
    except ValueError:
        warnings.warn(
            "Error in loading the saved optimizer state. As a result, your model is starting with a freshly "
            "initialized optimizer.",
            stacklevel=4,
        )


def _fitted_state(model: Any, values: list[np.ndarray], version: str | None) -> list[np.ndarray]:
    """The state of an optimizer of a later version as ours: those count their steps first, and keep no slots that are
    never used."""
    own = model.optimizer.get_weights()
    if not tf_keras.is_later(version) or not values or not own:
        return values
    if values[0].ndim == 0 and np.ndim(own[0]) > 0:
        K.set_value(model.optimizer.iterations, values[0])
        values = values[1:]
    return values + own[len(values) :]


def _mirrored_state(model: Any, values: list[np.ndarray]) -> list[np.ndarray]:
    """The state with the slots of mirrored kernels mirrored: scalars, then for each kind of slot one per weight."""
    params = model._collected_trainable_weights
    mirrored = mirrored_variables(model.layers)
    scalars = sum(1 for value in values if value.ndim == 0)
    made = list(values)
    for i in range(scalars, len(values)):
        param = params[(i - scalars) % len(params)]
        if id(param) in mirrored and values[i].shape == K.int_shape(param):
            made[i] = convert_kernel(values[i])
    return made


# Architectures


def model_from_config(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
    """The model, with new weights and not compiled, of a config `{"class_name": ..., "config": ...}`.

    Raises TypeError for a list, which is a config of `Sequential` alone.
    """
    if isinstance(config, list):
        raise TypeError(
            "`model_from_config` expects a dictionary, not a list. "
            "Maybe you meant to use `Sequential.from_config(config)`?"
        )
    version = config.get("keras_version") if isinstance(config, dict) else None
    return _model_from(config, version, custom_objects)


def model_from_json(json_string: str, custom_objects: dict[str, Any] | None = None) -> Any:
    """The model of a JSON text that `model.to_json` wrote; see `model_from_config`."""
    return model_from_config(parse_json(json_string, "model's config"), custom_objects)


def model_from_yaml(yaml_string: str, custom_objects: dict[str, Any] | None = None) -> Any:
    """The model of a YAML text that `model.to_yaml` wrote; see `model_from_config`.

    Only plain data is read. Raises ValueError where the text is no YAML or names Python objects.
    """
    import yaml

    class PlainLoader(yaml.SafeLoader):
        """Data alone, and tuples, which Keras wrote with a tag of their own."""

    for kind, construct in (("tuple", "construct_yaml_seq"), ("unicode", "construct_yaml_str")):
        PlainLoader.add_constructor(_PYTHON_TAG + kind, getattr(PlainLoader, construct))
    try:
        config = yaml.load(yaml_string, Loader=PlainLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"Cannot read the model's config: it is not plain YAML ({error}).") from error
    except RecursionError:
        raise ValueError("Cannot read the model's config: it is nested too deep.") from None
    check_size(config, len(yaml_string), "model's config")
    return model_from_config(config, custom_objects)


def _model_from(config: Any, version: str | None, custom_objects: dict[str, Any] | None) -> Any:
    from kgraph.layers import deserialize

    if not isinstance(config, dict) or "class_name" not in config or "config" not in config:
        raise ValueError(f"A model's config must have a 'class_name' and a 'config'; found: {str(config)[:100]}")
    known = {**get_custom_objects(), **(custom_objects or {})}
    if version is not None and tf_keras.is_later(version):
        config = tf_keras.model_config(config, version, known)
    try:
        return deserialize(_with_arrays(config), custom_objects=custom_objects)
    except KeyError as error:
        raise ValueError(f"The model's config is not complete: it lacks {error}.") from error
    except RecursionError:
        raise ValueError("The model's config is nested too deep.") from None


def _with_arrays(value: Any) -> Any:
    """A config with arrays and numpy's numbers where `json_default` put what stands for them."""
    if isinstance(value, dict):
        if value.get("type") == "ndarray" and set(value) == {"type", "value"}:
            return np.array(value["value"])[()]
        return {key: _with_arrays(x) for key, x in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_with_arrays(x) for x in value)
    return value


# Pickling


def pickle_model(model: Any) -> dict[str, Any]:
    """A model as plain data: `{"hdf5": the bytes of its file}`."""
    buffer = io.BytesIO()
    save_model(model, buffer)
    return {"hdf5": buffer.getvalue()}


def unpickle_model(state: dict[str, Any]) -> Any:
    """The model that `pickle_model` described. The user's classes must be known through `CustomObjectScope`."""
    with warnings.catch_warnings():
        # A model that was never compiled is no surprise here.
        warnings.filterwarnings("ignore", message="No training configuration found")
        return load_model(io.BytesIO(state["hdf5"]))
