"""Configs that later versions of Keras wrote (Keras 2.3, tf.keras, tf_keras), as Keras 2.2.4 would have written them.

What later versions only renamed or added with its old meaning is translated; anything else raises ValueError and names
the layer. `engine/saving.py` asks `is_later` about the version that a file states, and translates before it builds.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection
from typing import Any

_VARIANCE_SCALING = {
    "GlorotUniform": (1.0, "fan_avg", "uniform"),
    "GlorotNormal": (1.0, "fan_avg", "normal"),
    "HeUniform": (2.0, "fan_in", "uniform"),
    "HeNormal": (2.0, "fan_in", "normal"),
    "LecunUniform": (1.0, "fan_in", "uniform"),
    "LecunNormal": (1.0, "fan_in", "normal"),
}
_CLASSES = {
    "Functional": "Model",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
}
_REGULARIZERS = {"L1": {"l1": 0.01, "l2": 0.0}, "L2": {"l1": 0.0, "l2": 0.01}}  # defaults of what they leave out
_DISTRIBUTIONS = {"truncated_normal": "normal", "untruncated_normal": "normal"}
_ACTIVATIONS = {"softmax_v2": "softmax", "relu_v2": "relu"}

# Arguments that Keras 2.2.4's layers lack, with the values that mean what they do without it.
_ADDED: dict[str, tuple[Any, ...]] = {
    "adjustment": (None,),
    "autocast": (True,),
    "fused": (None, True, False),
    "groups": (1,),
    "keepdims": (False,),
    "optional": (False,),
    "ragged": (False,),
    "renorm": (False,),
    "renorm_clipping": (None,),
    "renorm_momentum": (0.99,),
    "synchronized": (False,),
    "time_major": (False,),
    "use_legacy_config": (True, False),
    "virtual_batch_size": (None,),
    "zero_output_for_mask": (False,),
}
_ADDED_TO_OPTIMIZERS: dict[str, tuple[Any, ...]] = {
    "centered": (False,),
    "clipnorm": (None,),
    "clipvalue": (None,),
    "ema_momentum": (0.99,),
    "ema_overwrite_frequency": (None,),
    "global_clipnorm": (None,),
    "is_legacy_optimizer": (True, False),
    "jit_compile": (True, False),
    "use_ema": (False,),
    "weight_decay": (None, 0.0),
}
_OPTIMIZERS = {"SGD", "RMSprop", "Adagrad", "Adadelta", "Adam", "Adamax", "Nadam"}


def is_later(version: str | None) -> bool:
    """Whether a version of Keras, as a file states it, is later than 2.2: '2.3.1', '2.2.4-tf', '2.19.0'."""
    if version is None:
        return False
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return "-tf" in version or (numbers is not None and (int(numbers[1]), int(numbers[2])) > (2, 2))


# Models


def model_config(config: Any, version: str, custom_objects: Collection[str] = ()) -> Any:
    """The config of a model or layer (`{"class_name": ..., "config": ...}`) that a later version wrote.

    Classes named in `custom_objects` are the user's, and get their configs as they are.
    """
    if re.match(r"[3-9]", version):
        raise ValueError(
            f"The model was saved by Keras {version}, whose layers differ from those of Keras 2. Build the model in "
            "code and load its weights with `load_weights`."
        )
    return _layer(config, custom_objects)


def _layer(entry: Any, custom: Collection[str]) -> Any:
    if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
        return entry
    kept = {key: value for key, value in entry.items() if key not in ("module", "registered_name", "build_config")}
    name = str(entry.get("class_name")).split(">")[-1]  # users' classes may be called "package>Class"
    kept["class_name"] = _CLASSES.get(name, name)
    if name in custom:
        return kept
    config = dict(entry["config"])
    where = f"layer '{config.get('name', entry.get('name'))}' ({name})"
    if name in ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"):
        raise ValueError(
            f"The {where} of this file is a TensorFlow operation, not a layer, and cannot be loaded. Build the model "
            "in code, with a Lambda layer in its place, and load its weights with `load_weights`."
        )
    if "layers" in config:
        config["layers"] = [_layer(x, custom) for x in config["layers"]]
        config.pop("trainable", None)
    else:
        config = _layer_arguments(kept["class_name"], config, where, custom)
    kept["config"] = config
    if "inbound_nodes" in kept:
        kept["inbound_nodes"] = [_call(x, where) for x in kept["inbound_nodes"]]
    return kept


def _layer_arguments(kind: str, config: dict[str, Any], where: str, custom: Collection[str]) -> dict[str, Any]:
    config = _without(config, _ADDED, where)
    if kind == "InputLayer":
        if "batch_shape" in config:
            config["batch_input_shape"] = config.pop("batch_shape")
        return config
    if "dtype" in config:
        config["dtype"] = _dtype(config["dtype"], where)
        if "batch_input_shape" not in config:
            del config["dtype"]
    if kind == "BatchNormalization" and isinstance(config.get("axis"), (list, tuple)):
        if len(config["axis"]) != 1:
            raise ValueError(f"The {where} normalises over several axes {config['axis']}; only one is possible.")
        (config["axis"],) = config["axis"]
    if kind in ("GaussianNoise", "GaussianDropout"):
        config.pop("seed", None)
    if kind == "Lambda":
        for key in ("module", "output_shape_module"):
            config.pop(key, None)
        for key in ("function", "output_shape"):
            if isinstance(config.get(key), dict):  # {"class_name": "__lambda__", "config": {"code": ...}}
                stored = config[key].get("config") or {}
                config[key] = [stored.get(part) for part in ("code", "defaults", "closure")]
    return {key: _argument(value, custom) for key, value in config.items()}


def _dtype(dtype: Any, where: str) -> str:
    """The dtype of a layer's input. Mixed precision computes in float32 here."""
    from kgraph import backend as K

    if isinstance(dtype, dict):
        dtype = dtype.get("config", {}).get("name")
    if dtype in ("mixed_float16", "mixed_bfloat16"):
        return "float32"
    if dtype in ("float16", "float64", "bfloat16") and dtype != K.floatx():
        raise ValueError(
            f"The {where} computes in {dtype}, but floatx is {K.floatx()}. Call `K.set_floatx('{dtype}')` before "
            "loading."
        )
    return dtype


def _argument(value: Any, custom: Collection[str]) -> Any:
    """An argument of a layer: an initializer, regularizer, constraint, activation, inner layer or plain data."""
    if isinstance(value, list):
        return [_argument(x, custom) for x in value]
    if isinstance(value, str):
        return _ACTIVATIONS.get(value, value)
    if not isinstance(value, dict) or "class_name" not in value:
        return value
    name, config = str(value["class_name"]).split(">")[-1], value.get("config")
    if name == "function":
        return config
    if name in custom or not isinstance(config, dict):
        return {"class_name": name, "config": config}
    if name in _VARIANCE_SCALING:
        scale, mode, distribution = _VARIANCE_SCALING[name]
        made = {"scale": scale, "mode": mode, "distribution": distribution, "seed": config.get("seed")}
        return {"class_name": "VarianceScaling", "config": made}
    if name in _REGULARIZERS:
        return {"class_name": "L1L2", "config": {**_REGULARIZERS[name], **config}}
    if name == "VarianceScaling":
        distribution = config.get("distribution", "normal")
        config = {**config, "distribution": _DISTRIBUTIONS.get(distribution, distribution)}
    if "name" in config or "cells" in config:
        return _layer(value, custom)
    return {"class_name": name, "config": {key: x for key, x in config.items() if key != "dtype"}}


def _call(node: Any, where: str) -> Any:
    """One recorded call: a list of `[layer, call, output, keyword arguments]`."""
    if not isinstance(node, list):
        raise ValueError(f"The calls of the {where} are recorded in a form that is not known.")
    made = []
    for source in node:
        if isinstance(source, list) and len(source) == 4 and isinstance(source[3], dict):
            arguments = dict(source[3])
            if arguments.get("mask", 0) is None:
                del arguments["mask"]
            if not arguments.get("training", True):
                if arguments.pop("training") is not None:
                    warnings.warn(
                        f"The {where} was called with training=False, which is left out: it matters only when the "
                        "model is trained.",
                        stacklevel=2,
                    )
            source = [*source[:3], arguments]
        made.append(source)
    return made


def _without(config: dict[str, Any], added: dict[str, tuple[Any, ...]], where: str) -> dict[str, Any]:
    """The config without arguments that Keras 2.2.4 lacks; ValueError where one has a value that means something."""
    for key, harmless in added.items():
        if key in config and config[key] not in harmless:
            raise ValueError(f"The {where} has {key}={config[key]!r}, which Keras 2.2.4 cannot do.")
    return {key: value for key, value in config.items() if key not in added}


# Training


def training_config(config: dict[str, Any], custom_objects: Collection[str] = ()) -> dict[str, Any]:
    """The training configuration that a later version wrote."""
    made = {"sample_weight_mode": None, "loss_weights": None, **config}
    optimizer = config.get("optimizer_config") or {}
    if optimizer.get("class_name") not in custom_objects:
        made["optimizer_config"] = _optimizer(optimizer)
    made["loss"] = _function(config.get("loss"))
    for key in ("metrics", "weighted_metrics"):
        made[key] = _metrics(config.get(key))
    return made


def _optimizer(entry: dict[str, Any]) -> dict[str, Any]:
    name, config = str(entry.get("class_name")).split(">")[-1], dict(entry.get("config") or {})
    where = f"optimizer {name}"
    if name not in _OPTIMIZERS:
        raise ValueError(f"The {where} of this file is not known. Load the model with `compile=False`.")
    rate = config.pop("learning_rate", config.pop("lr", None))
    if isinstance(rate, dict):
        raise ValueError(
            f"The {where} of this file has a learning rate schedule ({rate.get('class_name')}), which Keras 2.2.4 has "
            "not. Load the model with `compile=False` and use the callback LearningRateScheduler."
        )
    config["lr"] = rate
    config.pop("name", None)
    config.pop("initial_accumulator_value", None)  # see `initial_state`
    if config.get("global_clipnorm") is not None and config.get("clipnorm") is None:
        config["clipnorm"] = config["global_clipnorm"]  # here the norm of all gradients together
        added = {key: x for key, x in _ADDED_TO_OPTIMIZERS.items() if key not in ("clipnorm", "global_clipnorm")}
        config = _without({key: x for key, x in config.items() if key != "global_clipnorm"}, added, where)
    else:
        clipvalue = config.get("clipvalue")
        config = _without({key: x for key, x in config.items() if key != "clipvalue"}, _ADDED_TO_OPTIMIZERS, where)
        if clipvalue is not None:
            config["clipvalue"] = clipvalue
    if name != "SGD":
        config = _without(config, {"momentum": (0.0,)}, where)
    if name == "Nadam":
        config = _without(config, {"decay": (None, 0.0, 0.004)}, where)
    return {"class_name": name, "config": {key: x for key, x in config.items() if x is not None}}


def initial_state(entry: dict[str, Any]) -> float | None:
    """What the accumulators of this optimizer start with, where that is not 0: Adagrad's."""
    if entry.get("class_name") != "Adagrad":
        return None
    value = (entry.get("config") or {}).get("initial_accumulator_value", 0.1)
    return float(value)


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _function(entry: Any) -> Any:
    """A loss, by the name of its function."""
    if isinstance(entry, list):
        return [_function(x) for x in entry]
    if not isinstance(entry, dict):
        return entry
    if "class_name" not in entry:
        return {key: _function(x) for key, x in entry.items()}
    name, config = str(entry["class_name"]).split(">")[-1], entry.get("config")
    if name == "function":
        return config
    config = config if isinstance(config, dict) else {}
    if config.get("from_logits") or config.get("label_smoothing"):
        raise ValueError(
            f"The loss {name} of this file has from_logits={config.get('from_logits', False)} and "
            f"label_smoothing={config.get('label_smoothing', 0)}, which Keras 2.2.4 has not. Load the model with "
            "`compile=False` and compile it with a function of your own."
        )
    return _snake_case(config["fn"] if name == "LossFunctionWrapper" and "fn" in config else name)


def _metrics(entry: Any) -> Any:
    """Metrics by the names of their functions; in a list per output, where the file has several such lists."""
    if entry is None:
        return []
    if isinstance(entry, list):
        if len(entry) == 1 and isinstance(entry[0], list):
            entry = entry[0]
        return [_metrics(x) if isinstance(x, list) else _metric(x) for x in entry if x is not None]
    if isinstance(entry, dict) and "class_name" not in entry:
        return {key: _metrics(x) if isinstance(x, list) else _metric(x) for key, x in entry.items()}
    return [_metric(entry)]


def _metric(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    config = entry.get("config")
    if isinstance(config, dict) and isinstance(config.get("fn"), str):
        return config["fn"]
    return _snake_case(str(entry.get("class_name")).split(">")[-1])
