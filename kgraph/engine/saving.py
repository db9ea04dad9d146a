"""Models in files: HDF5 as Keras 2.2.4 lays it out, JSON and YAML.

`h5_guard.py` checks a file before anything of it is used, `weight_conversion.py` adapts weights of other versions and
backends, `foreign_config.py` configs of later ones. Files are written under a temporary name and renamed when complete.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph import optimizers
from kgraph.engine.foreign_config import is_foreign, native_config, native_training_config
from kgraph.engine.weight_conversion import preprocess_weights_for_loading
from kgraph.utils.generic_utils import get_custom_objects

__all__ = [
    "HDF5_OBJECT_HEADER_LIMIT",
    "KERAS_VERSION",
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

KERAS_VERSION = "2.2.4"
HDF5_OBJECT_HEADER_LIMIT = 64512  # bytes of an attribute; HDF5's own limit is 64 KiB with its header


# Whole models


def save_model(model: Any, filepath: Any, overwrite: bool = True, include_optimizer: bool = True) -> None:
    """Save architecture, weights, and (if compiled) training configuration and optimizer state.

    # Arguments
        model: the model.
        filepath: path of the HDF5 file, or an open `h5py.File` or group.
        overwrite: whether an existing file is replaced without asking.
        include_optimizer: whether to save the optimizer's state.
    """
    config = model.get_config()  # fails before a file is touched
    with _writing(filepath, overwrite) as group:
        if group is None:
            return
        group.attrs["keras_version"] = KERAS_VERSION.encode("utf8")
        group.attrs["backend"] = K.backend().encode("utf8")
        described = {"class_name": type(model).__name__, "config": config}
        group.attrs["model_config"] = json.dumps(described, default=json_default).encode("utf8")
        save_weights_to_hdf5_group(group.create_group("model_weights"), model.layers)
        if include_optimizer and model.optimizer is not None:
            _save_training(model, group)


def _save_training(model: Any, group: Any) -> None:
    training = {
        "optimizer_config": {
            "class_name": type(model.optimizer).__name__,
            "config": model.optimizer.get_config(),
        },
        "loss": model.loss,
        "metrics": model.metrics,
        "sample_weight_mode": model.sample_weight_mode,
        "loss_weights": model.loss_weights,
    }
    group.attrs["training_config"] = json.dumps(training, default=json_default).encode("utf8")
    weights = getattr(model.optimizer, "weights", None)
    if weights:
        target = group.create_group("optimizer_weights")
        values = K.batch_get_value(weights)
        names = _distinct([str(w.name) for w in weights])
        save_attributes_to_hdf5_group(target, "weight_names", [name.encode("utf8") for name in names])
        for name, value in zip(names, values, strict=True):
            _write_array(target, name, value)


def load_model(filepath: Any, custom_objects: dict[str, Any] | None = None, compile: bool = True) -> Any:
    """The model in a file of `save_model`, compiled as it was when saved.

    # Arguments
        filepath: path of the HDF5 file, or an open `h5py.File` or group.
        custom_objects: users' classes and functions by name; functions of Lambda layers by the layers' names.
        compile: whether to compile it and restore the optimizer's state.

    # Raises
        ValueError: for a file without a model, with unknown names, or with anything that could do harm.
    """
    custom_objects = custom_objects or {}
    with _reading(filepath) as group:
        text = _text(group.attrs.get("model_config"))
        if text is None:
            raise ValueError(
                "No model found in config file: it holds weights only. Make the model in code, then call "
                f"`load_weights`. File: {filepath}"
            )
        config = _parse_json(text, "model_config")
        foreign = is_foreign(_text(group.attrs.get("keras_version")), config)
        model = model_from_config(native_config(config) if foreign else config, custom_objects)
        load_weights_from_hdf5_group(group["model_weights"], model.layers)
        if compile:
            _restore_training(model, group, custom_objects, foreign)
    return model


def _restore_training(model: Any, group: Any, custom_objects: dict[str, Any], foreign: bool) -> None:
    text = _text(group.attrs.get("training_config"))
    if text is None:
        warnings.warn(
            "No training configuration found in save file: the model was *not* compiled. Compile it manually.",
            stacklevel=4,
        )
        return
    training = _parse_json(text, "training_config")
    if foreign:
        training = native_training_config(training)
    known = {**get_custom_objects(), **custom_objects}
    optimizer = optimizers.deserialize(training["optimizer_config"], custom_objects=custom_objects)
    model.compile(
        optimizer=optimizer,
        loss=_known_names(training["loss"], known),
        metrics=_known_names(training["metrics"], known),
        loss_weights=training.get("loss_weights"),
        sample_weight_mode=training.get("sample_weight_mode"),
    )
    if "optimizer_weights" in group and model.built:
        model._make_train_function()
        stored = group["optimizer_weights"]
        values = [np.asarray(stored[name]) for name in load_attributes_from_hdf5_group(stored, "weight_names")]
        if foreign:
            values = _matching(values, K.batch_get_value(model.optimizer.weights))
        try:
            model.optimizer.set_weights(values)
        except ValueError:
            warnings.warn(
                "Error in loading the saved optimizer state. As a result, your model is starting with a freshly "
                "initialized optimizer.",
                stacklevel=4,
            )


def _matching(values: list[Any], current: list[Any]) -> list[Any]:
    """State of another package's optimizer where it has the same shapes, else what is there."""
    same = len(values) == len(current) and all(np.shape(a) == np.shape(b) for a, b in zip(values, current, strict=True))
    return values if same else current


def _known_names(stored: Any, known: dict[str, Any]) -> Any:
    """Losses or metrics from a file, with names of custom objects replaced by the objects."""
    if isinstance(stored, list):
        return [_known_names(entry, known) for entry in stored]
    if isinstance(stored, dict):
        return {name: _known_names(entry, known) for name, entry in stored.items()}
    return known.get(stored, stored) if isinstance(stored, str) else stored


# Architectures


def model_from_config(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
    """The model that a config with its class name describes. Raises ValueError for a Lambda's stored bytecode."""
    if isinstance(config, list):
        raise TypeError(
            "`model_from_config` expects a dictionary, not a list. Maybe you meant to use `Sequential.from_config(config)`?"
        )
    from kgraph.layers import deserialize

    custom_objects = custom_objects or {}
    return deserialize(_without_bytecode(config, custom_objects), custom_objects=custom_objects)


def _without_bytecode(config: Any, custom_objects: dict[str, Any]) -> Any:
    """A config with the functions of Lambda layers taken from `custom_objects`; bytecode in files is never run."""
    if isinstance(config, (list, tuple)):
        return [_without_bytecode(entry, custom_objects) for entry in config]
    if not isinstance(config, dict):
        return config
    inner = config.get("config")
    if config.get("class_name") == "Lambda" and isinstance(inner, dict):
        return {**config, "config": _lambda_config(inner, custom_objects)}
    return {key: _without_bytecode(value, custom_objects) for key, value in config.items()}


def _lambda_config(config: dict[str, Any], custom_objects: dict[str, Any]) -> dict[str, Any]:
    name = config.get("name", "lambda")
    config = dict(config)
    for part, kind in (("function", "function_type"), ("output_shape", "output_shape_type")):
        if callable(config.get(part)) or config.get(kind, "raw") != "lambda":
            continue
        key = name if part == "function" else f"{name}_output_shape"
        given = custom_objects.get(key, get_custom_objects().get(key))
        if given is not None:
            config[part] = given
        elif part == "function":
            raise ValueError(
                f"Layer '{name}' is a Lambda whose function is stored as bytecode. Bytecode from a file is not run: it "
                "could do anything, and it only fits the Python version that wrote it. Pass the function by the "
                f"layer's name: custom_objects={{'{name}': function}}."
            )
        else:
            config[part], config[kind] = None, "raw"  # found out from the function's result
    return config


def model_from_json(json_string: str, custom_objects: dict[str, Any] | None = None) -> Any:
    """The model that `to_json` described, with new weights."""
    config = _parse_json(json_string, "the JSON text")
    foreign = is_foreign(config.get("keras_version"), config)
    return model_from_config(native_config(config) if foreign else config, custom_objects)


def model_from_yaml(yaml_string: str, custom_objects: dict[str, Any] | None = None) -> Any:
    """The model that `to_yaml` described, with new weights. Only plain YAML is read: no tags, no aliases."""
    import yaml

    for token in yaml.scan(yaml_string):
        if isinstance(token, yaml.AliasToken):
            raise ValueError("The YAML text uses aliases (`*name`), which model configs never need.")
    config = yaml.safe_load(yaml_string)
    if not isinstance(config, dict):
        raise ValueError("The YAML text is no model config.")
    return model_from_config(config, custom_objects)


def json_default(obj: Any) -> Any:
    """What stands in JSON for numpy values, functions, classes and objects with configs."""
    if hasattr(obj, "get_config"):
        return {"class_name": type(obj).__name__, "config": obj.get_config()}
    if isinstance(obj, np.ndarray):
        return obj.tolist()
    if isinstance(obj, np.generic):
        return obj.item()
    if callable(obj):
        return obj.__name__
    raise TypeError("Not JSON Serializable:", obj)


def _parse_json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"Cannot read {what}: {error}") from None


# Weights


def save_weights(model: Any, filepath: Any, overwrite: bool = True) -> None:
    """Save the weights of a model."""
    with _writing(filepath, overwrite) as group:
        if group is not None:
            save_weights_to_hdf5_group(group, model.layers)


def load_weights(
    model: Any, filepath: Any, by_name: bool = False, skip_mismatch: bool = False, reshape: bool = False
) -> None:
    """Load weights into a model; see `Network.load_weights`. Nothing changes where anything does not fit."""
    with _reading(filepath) as group:
        if "layer_names" not in group.attrs and "layer_names0" not in group.attrs and "model_weights" in group:
            group = group["model_weights"]
        if by_name:
            load_weights_from_hdf5_group_by_name(group, model.layers, skip_mismatch=skip_mismatch, reshape=reshape)
        else:
            load_weights_from_hdf5_group(group, model.layers, reshape=reshape)


def save_weights_to_hdf5_group(f: Any, layers: Sequence[Any]) -> None:
    """Write the weights of layers into a group: one group per layer, in order."""
    save_attributes_to_hdf5_group(f, "layer_names", [layer.name.encode("utf8") for layer in layers])
    f.attrs["backend"] = K.backend().encode("utf8")
    f.attrs["keras_version"] = KERAS_VERSION.encode("utf8")
    for layer in layers:
        group = f.create_group(layer.name)
        weights = layer.weights
        names = _distinct([str(w.name) for w in weights])
        save_attributes_to_hdf5_group(group, "weight_names", [name.encode("utf8") for name in names])
        for name, value in zip(names, K.batch_get_value(weights), strict=True):
            _write_array(group, name, value)


def load_weights_from_hdf5_group(f: Any, layers: Sequence[Any], reshape: bool = False) -> None:
    """Read the weights of layers, layer by layer in order; layers without weights do not count."""
    version, backend = _origin(f)
    takers = [layer for layer in layers if layer.weights]
    stored = []
    for name in load_attributes_from_hdf5_group(f, "layer_names"):
        if load_attributes_from_hdf5_group(f[name], "weight_names"):
            stored.append(name)
    if len(stored) != len(takers):
        raise ValueError(
            f"You are trying to load a weight file containing {len(stored)} layers into a model with "
            f"{len(takers)} layers."
        )
    pairs: list[tuple[Any, Any]] = []
    for number, (name, layer) in enumerate(zip(stored, takers, strict=True)):
        values = _read_weights(f[name])
        values = preprocess_weights_for_loading(layer, values, version, backend, reshape=reshape)
        if len(values) != len(layer.weights):
            raise ValueError(
                f'Layer #{number} (named "{layer.name}" in the current model) was found to correspond to layer {name} '
                f"in the save file. However the new layer {layer.name} expects {len(layer.weights)} weights, but the "
                f"saved weights have {len(values)} elements."
            )
        pairs += _fitting(f'Layer #{number} (named "{layer.name}")', layer, values)
    K.batch_set_value(pairs)


def _fitting(what: str, layer: Any, values: Sequence[Any]) -> list[tuple[Any, Any]]:
    for weight, value in zip(layer.weights, values, strict=True):
        if K.int_shape(weight) != np.shape(value):
            raise ValueError(
                f"{what}, weight {weight.name} has shape {K.int_shape(weight)}, but the saved weight has shape "
                f"{np.shape(value)}."
            )
    return list(zip(layer.weights, values, strict=True))


def load_weights_from_hdf5_group_by_name(
    f: Any, layers: Sequence[Any], skip_mismatch: bool = False, reshape: bool = False
) -> None:
    """Read the weights of layers that have the name of a stored layer; others stay as they are."""
    version, backend = _origin(f)
    by_name: dict[str, list[Any]] = {}
    for layer in layers:
        by_name.setdefault(layer.name, []).append(layer)
    pairs: list[tuple[Any, Any]] = []
    for number, name in enumerate(load_attributes_from_hdf5_group(f, "layer_names")):
        for layer in by_name.get(name, []):
            values = _read_weights(f[name])
            values = preprocess_weights_for_loading(layer, values, version, backend, reshape=reshape)
            weights = layer.weights
            if len(values) != len(weights):
                message = (
                    f'Layer #{number} (named "{layer.name}") expects {len(weights)} weight(s), but the saved weights '
                    f"have {len(values)} element(s)."
                )
                if not skip_mismatch:
                    raise ValueError(message)
                warnings.warn(f"Skipping loading of weights for layer {layer.name} due to mismatch in number of "
                              f"weights ({len(weights)} vs {len(values)}).", stacklevel=4)
                continue
            for weight, value in zip(weights, values, strict=True):
                if K.int_shape(weight) == np.shape(value):
                    pairs.append((weight, value))
                elif skip_mismatch:
                    warnings.warn(
                        f"Skipping loading of weights for layer {layer.name} due to mismatch in shape "
                        f"({K.int_shape(weight)} vs {np.shape(value)}).",
                        stacklevel=4,
                    )
                else:
                    raise ValueError(
                        f'Layer #{number} (named "{layer.name}"), weight {weight.name} has shape '
                        f"{K.int_shape(weight)}, but the saved weight has shape {np.shape(value)}."
                    )
    K.batch_set_value(pairs)


def _origin(f: Any) -> tuple[str, str | None]:
    """The Keras version and backend that wrote a group of weights."""
    return _text(f.attrs.get("keras_version")) or "1", _text(f.attrs.get("backend"))


def _read_weights(group: Any) -> list[np.ndarray]:
    return [np.asarray(group[name]) for name in load_attributes_from_hdf5_group(group, "weight_names")]


def _write_array(group: Any, name: str, value: Any) -> None:
    value = np.asarray(value)
    dataset = group.create_dataset(name, value.shape, dtype=value.dtype)
    dataset[...] = value


def _distinct(names: list[str]) -> list[str]:
    """The names, with repeated ones numbered."""
    seen: set[str] = set()
    result = []
    for name in names:
        unique, number = name, 1
        while unique in seen:
            unique, number = f"{name}_{number}", number + 1
        seen.add(unique)
        result.append(unique)
    return result


# Attributes


def save_attributes_to_hdf5_group(group: Any, name: str, data: Sequence[bytes]) -> None:
    """Write a list of names as an attribute, or as `name0`, `name1`, ... where it is too long for one."""
    long = [x for x in data if len(x) > HDF5_OBJECT_HEADER_LIMIT]
    if long:
        raise RuntimeError(
            f"The following attributes cannot be saved to HDF5 file because they are larger than "
            f"{HDF5_OBJECT_HEADER_LIMIT} bytes: {', '.join(str(x) for x in long)}"
        )
    array = np.asarray(data)
    parts = 1
    chunks = [array]
    while any(chunk.nbytes > HDF5_OBJECT_HEADER_LIMIT for chunk in chunks):
        parts += 1
        chunks = np.array_split(array, parts)
    if parts == 1:
        group.attrs[name] = array
    else:
        for i, chunk in enumerate(chunks):
            group.attrs[f"{name}{i}"] = chunk


def load_attributes_from_hdf5_group(group: Any, name: str) -> list[str]:
    """A list of names that `save_attributes_to_hdf5_group` wrote."""
    if name in group.attrs:
        return [_text(x) or "" for x in group.attrs[name]]
    names: list[str] = []
    number = 0
    while f"{name}{number}" in group.attrs:
        names += [_text(x) or "" for x in group.attrs[f"{name}{number}"]]
        number += 1
    return names


def _text(value: Any) -> str | None:
    """An attribute as text; h5py gives text as bytes or str, depending on who wrote it."""
    if value is None:
        return None
    return value.decode("utf8") if isinstance(value, bytes) else str(value)


# Files


@contextlib.contextmanager
def _writing(filepath: Any, overwrite: bool) -> Iterator[Any]:
    """A group to write to; None where the user does not want a file replaced. The file appears when complete."""
    if not isinstance(filepath, (str, os.PathLike)):
        yield filepath
        return
    import h5py

    path = os.fspath(filepath)
    if not overwrite and os.path.isfile(path):
        from kgraph.utils.io_utils import ask_to_proceed_with_overwrite

        if not ask_to_proceed_with_overwrite(path):
            yield None
            return
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise OSError(f"Cannot save to {path}: the folder {folder} does not exist.")
    handle, temporary = tempfile.mkstemp(prefix=os.path.basename(path) + ".", suffix=".tmp", dir=folder)
    os.close(handle)
    try:
        with h5py.File(temporary, "w") as file:
            yield file
        os.chmod(temporary, _mode(path))
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise


def _mode(path: str) -> int:
    """The permissions of an existing file, else those of a new one."""
    try:
        return os.stat(path).st_mode & 0o777
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


@contextlib.contextmanager
def _reading(filepath: Any) -> Iterator[Any]:
    """The checked content of a file, or of an open group."""
    from kgraph.engine.h5_guard import check_group

    if not isinstance(filepath, (str, os.PathLike)):
        check_group(filepath, None)
        yield filepath
        return
    import h5py

    path = os.fspath(filepath)
    if not os.path.isfile(path):
        raise OSError(f"Unable to open file: there is no file {path}")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise OSError(f"Unable to open file {path}: it is no HDF5 file ({error})") from None
    with file:
        check_group(file, os.path.getsize(path))
        yield file


# Pickles


def pickle_model(model: Any) -> dict[str, Any]:
    """The state of a model for `pickle` and `copy.deepcopy`: its file, as bytes."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        save_model(model, file)
    return {"hdf5": buffer.getvalue()}


def unpickle_model(state: dict[str, Any]) -> Any:
    """The model of a state that `pickle_model` made. As with any pickle, bytecode of Lambda layers is trusted."""
    import h5py

    with h5py.File(io.BytesIO(state["hdf5"]), "r") as file:
        from kgraph.layers import deserialize

        config = _parse_json(_text(file.attrs["model_config"]) or "", "model_config")
        model = deserialize(config)
        load_weights_from_hdf5_group(file["model_weights"], model.layers)
        if "training_config" in file.attrs:
            _restore_training(model, file, {}, False)
    return model
