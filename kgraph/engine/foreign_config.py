"""Configs that later packages wrote (tf.keras, tf_keras), in Keras 2.2.4's words.

Their files have the same layout, but layers with more settings, dtype policies, and optimizers' arguments renamed. What
has no counterpart and changes nothing is dropped; a setting that would change results raises ValueError.
"""

from __future__ import annotations

from typing import Any

# Settings that 2.2.4 does not know, with the value at which leaving them out changes nothing.
_HARMLESS: dict[str, Any] = {"groups": 1, "ragged": False, "keepdims": False, "batch_shape": None, "time_major": False}
_INITIALIZERS = {
    "GlorotUniform": {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform"},
    "GlorotNormal": {"scale": 1.0, "mode": "fan_avg", "distribution": "normal"},
    "HeUniform": {"scale": 2.0, "mode": "fan_in", "distribution": "uniform"},
    "HeNormal": {"scale": 2.0, "mode": "fan_in", "distribution": "normal"},
    "LecunUniform": {"scale": 1.0, "mode": "fan_in", "distribution": "uniform"},
    "LecunNormal": {"scale": 1.0, "mode": "fan_in", "distribution": "normal"},
}
_REGULARIZERS = {"L1": {"l1": 0.0}, "L2": {"l2": 0.0}}
_CLASSES = {"Functional": "Model", "BatchNormalizationV1": "BatchNormalization"}
_OPTIMIZER_SETTINGS = {
    "SGD": ("lr", "momentum", "decay", "nesterov"),
    "RMSprop": ("lr", "rho", "epsilon", "decay"),
    "Adagrad": ("lr", "epsilon", "decay", "initial_accumulator_value"),
    "Adadelta": ("lr", "rho", "epsilon", "decay"),
    "Adam": ("lr", "beta_1", "beta_2", "epsilon", "decay", "amsgrad"),
    "Adamax": ("lr", "beta_1", "beta_2", "epsilon", "decay"),
    "Nadam": ("lr", "beta_1", "beta_2", "epsilon", "schedule_decay"),
}


def is_foreign(keras_version: str | None, config: Any) -> bool:
    """Whether a later package than Keras 2.2 wrote a config."""
    if isinstance(config, dict) and config.get("class_name") == "Functional":
        return True
    parts = (keras_version or "").split(".")
    try:
        return (int(parts[0]), int(parts[1])) > (2, 3) or "tf" in (keras_version or "")
    except (ValueError, IndexError):
        return "tf" in (keras_version or "")


def native_config(config: Any) -> Any:
    """A config as Keras 2.2.4 would have written it."""
    if isinstance(config, list):
        return [native_config(entry) for entry in config]
    if not isinstance(config, dict):
        return config
    if "class_name" in config and isinstance(config.get("config"), dict):
        return _native_object(config)
    return {key: native_config(value) for key, value in config.items()}


def _native_object(entry: dict[str, Any]) -> dict[str, Any]:
    name = _CLASSES.get(entry["class_name"], entry["class_name"])
    config = dict(entry["config"])
    rest = {key: value for key, value in entry.items() if key not in ("module", "registered_name", "build_config")}
    if name in _INITIALIZERS:
        return {"class_name": "VarianceScaling", "config": {**_INITIALIZERS[name], "seed": config.get("seed")}}
    if name in _REGULARIZERS:
        return {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.0, **config}}
    if name == "VarianceScaling":
        config["distribution"] = {"truncated_normal": "normal"}.get(config["distribution"], config["distribution"])
    if name == "InputLayer":
        config = {k: v for k, v in config.items() if k in ("batch_input_shape", "dtype", "sparse", "name")}
    elif name in ("Model", "Sequential"):
        config.pop("trainable", None)
    else:
        config = _native_layer(name, config)
    return {**rest, "class_name": name, "config": {key: native_config(value) for key, value in config.items()}}


def _native_layer(name: str, config: dict[str, Any]) -> dict[str, Any]:
    if "batch_input_shape" not in config:
        config.pop("dtype", None)
    elif isinstance(config.get("dtype"), dict):  # a dtype policy
        config["dtype"] = config["dtype"].get("config", {}).get("name", "float32")
    for key, value in _HARMLESS.items():
        if key in config:
            if config[key] != value:
                raise ValueError(
                    f"Layer '{config.get('name')}' ({name}) has {key}={config[key]}, a setting of later versions that "
                    "Keras 2.2.4 does not have."
                )
            config.pop(key)
    if name == "BatchNormalization":
        axis = config.get("axis")
        if isinstance(axis, (list, tuple)):
            if len(axis) != 1:
                raise ValueError(f"Layer '{config.get('name')}' normalises several axes {axis}; one is supported.")
            config["axis"] = axis[0]
        for key in ("renorm", "virtual_batch_size", "fused", "synchronized", "adjustment"):
            config.pop(key, None)
    return config


def native_training_config(training: dict[str, Any]) -> dict[str, Any]:
    """A training configuration as Keras 2.2.4 would have written it."""
    optimizer = training["optimizer_config"]
    config = dict(optimizer["config"])
    if "learning_rate" in config:
        config["lr"] = config.pop("learning_rate")
    if isinstance(config.get("lr"), dict):
        raise ValueError("The file's optimizer has a learning rate schedule; load it with compile=False.")
    known = _OPTIMIZER_SETTINGS.get(optimizer["class_name"])
    if known is not None:
        config = {key: value for key, value in config.items() if key in (*known, "clipnorm", "clipvalue")}
        config = {key: value for key, value in config.items() if value is not None}
    return {
        "optimizer_config": {"class_name": optimizer["class_name"], "config": config},
        "loss": _names(training.get("loss")),
        "metrics": _names(training.get("metrics")) or [],
        "sample_weight_mode": training.get("sample_weight_mode"),
        "loss_weights": training.get("loss_weights"),
    }


def _names(stored: Any) -> Any:
    """Losses and metrics by name: later packages store them as objects with configs."""
    if isinstance(stored, list):
        return [_names(entry) for entry in stored]
    if isinstance(stored, dict):
        if "class_name" in stored and isinstance(stored.get("config"), dict):
            inner = stored["config"]
            return inner.get("fn") or inner.get("name") or stored["class_name"]
        return {key: _names(value) for key, value in stored.items()}
    return stored
