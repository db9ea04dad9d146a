"""What `Model.compile` works out: targets, losses and metrics of each output, as tensors.

`training.py` calls `compile_outputs` once per `compile`; the functions that train and test are made from its result.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

from kgraph import backend as K
from kgraph import losses
from kgraph import metrics as metrics_module
from kgraph.engine import training_utils
from kgraph.engine.base_layer import Layer
from kgraph.utils.generic_utils import check_for_unexpected_keys

_ACCURACY = ("accuracy", "acc")
_CROSSENTROPY = ("crossentropy", "ce")


@dataclass
class Compiled:
    """The tensors of a compiled model. Lists run over the outputs; entries are None for outputs without a loss."""

    loss_functions: list[Any]
    loss_weights: list[float]
    targets: list[Any]
    fed_targets: list[int]  # the outputs whose target is fed
    sample_weights: list[Any]
    sample_weight_modes: list[str | None]
    total_loss: Any = None
    metrics_names: list[str] = field(default_factory=lambda: ["loss"])
    metrics_tensors: list[Any] = field(default_factory=list)
    metrics_updates: list[Any] = field(default_factory=list)
    stateful_metric_names: list[str] = field(default_factory=list)
    stateful_metric_functions: list[Any] = field(default_factory=list)


def compile_outputs(
    model: Any,
    loss: Any,
    metrics: Any,
    loss_weights: Any,
    sample_weight_mode: Any,
    weighted_metrics: Any,
    target_tensors: Any,
) -> Compiled:
    """The losses and metrics of `model`. Raises ValueError or TypeError for what it cannot make sense of."""
    functions = _loss_functions(loss, model.output_names)
    given = _target_tensors(target_tensors, model.output_names)
    targets: list[Any] = []
    fed: list[int] = []
    for i, (output, name, function) in enumerate(zip(model.outputs, model.output_names, functions, strict=True)):
        if function is None:
            targets.append(None)
        else:
            target = _target(output, name, function) if given[i] is None else given[i]
            targets.append(target)
            if K.is_placeholder(target):
                fed.append(i)
    modes = _sample_weight_modes(sample_weight_mode, model.output_names)
    made = Compiled(
        loss_functions=functions,
        loss_weights=_loss_weights(loss_weights, model.output_names),
        targets=targets,
        fed_targets=fed,
        sample_weights=[
            None if function is None else _weights_tensor(output, name, mode)
            for output, name, function, mode in zip(model.outputs, model.output_names, functions, modes, strict=True)
        ],
        sample_weight_modes=modes,
    )
    masks = model._inbound_nodes[0].output_masks
    _add_losses(made, model, masks)
    _add_metrics(made, model, masks, metrics, weighted_metrics)
    return made


def _loss_functions(loss: Any, names: list[str]) -> list[Any]:
    if isinstance(loss, dict):
        check_for_unexpected_keys("loss", loss, names)
        for name in names:
            if name not in loss:
                warnings.warn(
                    f'Output "{name}" missing from loss dictionary. We assume this was done on purpose, and we will '
                    f'not be expecting any data to be passed to "{name}" during training.',
                    stacklevel=4,
                )
        return [losses.get(loss.get(name)) for name in names]
    if isinstance(loss, list):
        if len(loss) != len(names):
            raise ValueError(
                "When passing a list as loss, it should have one entry per model outputs. "
                f"The model has {len(names)} outputs, but you passed loss={loss}"
            )
        return [losses.get(entry) for entry in loss]
    return [losses.get(loss)] * len(names)


def _loss_weights(loss_weights: Any, names: list[str]) -> list[float]:
    if loss_weights is None:
        return [1.0] * len(names)
    if isinstance(loss_weights, dict):
        check_for_unexpected_keys("loss_weights", loss_weights, names)
        return [loss_weights.get(name, 1.0) for name in names]
    if isinstance(loss_weights, list):
        if len(loss_weights) != len(names):
            raise ValueError(
                "When passing a list as loss_weights, it should have one entry per model output. "
                f"The model has {len(names)} outputs, but you passed loss_weights={loss_weights}"
            )
        return loss_weights
    raise TypeError(f"Could not interpret loss_weights argument: {loss_weights} - expected a list of dicts.")


def _target_tensors(target_tensors: Any, names: list[str]) -> list[Any]:
    if target_tensors is None:
        return [None] * len(names)
    if isinstance(target_tensors, dict):
        check_for_unexpected_keys("target_tensors", target_tensors, names)
        return [target_tensors.get(name) for name in names]
    if isinstance(target_tensors, list):
        if len(target_tensors) != len(names):
            raise ValueError(
                "When passing a list as `target_tensors`, it should have one entry per model output. "
                f"The model has {len(names)} outputs, but you passed target_tensors={target_tensors}"
            )
        return target_tensors
    if K.is_tensor(target_tensors) and len(names) == 1:
        return [target_tensors]
    raise TypeError(f"Expected `target_tensors` to be a tensor, list or dict, but got: {target_tensors}")


def _sample_weight_modes(mode: Any, names: list[str]) -> list[str | None]:
    if isinstance(mode, dict):
        check_for_unexpected_keys("sample_weight_mode", mode, names)
        return [mode.get(name) for name in names]
    if isinstance(mode, list):
        if len(mode) != len(names):
            raise ValueError(
                "When passing a list as sample_weight_mode, it should have one entry per model output. "
                f"The model has {len(names)} outputs, but you passed sample_weight_mode={mode}"
            )
        return mode
    return ["temporal" if mode == "temporal" else None] * len(names)


def _is_known(function: Any) -> bool:
    """Whether a loss is one of the library's own, which are known to want targets of the output's shape."""
    return getattr(losses, getattr(function, "__name__", ""), None) is function


def target_shape(output_shape: Any, function: Any) -> Any:
    """The shape of the target that a loss compares with an output of `output_shape`; None where any may do."""
    if function is losses.sparse_categorical_crossentropy:
        if K.image_data_format() == "channels_first" and len(output_shape) in (4, 5):
            return (output_shape[0], 1, *output_shape[2:])
        return (*output_shape[:-1], 1)
    return tuple(output_shape) if _is_known(function) else None


def _target(output: Any, name: str, function: Any) -> Any:
    """The placeholder of a target. It shares its unknown sizes with the output where the loss compares them."""
    shape = target_shape(tuple(output.shape), function)
    if shape is None:
        shape = (None,) * K.ndim(output)
    return K.placeholder(shape=shape, name=name + "_target", dtype=K.dtype(output))


def _weights_tensor(output: Any, name: str, mode: str | None) -> Any:
    """The weight of each sample (each timestep in mode "temporal"): ones. Functions that take weights feed it."""
    if mode == "temporal" and K.ndim(output) < 3:
        raise ValueError(
            f'Output "{name}" has {K.ndim(output)} dimensions; sample_weight_mode="temporal" needs at least 3, '
            "(batch, time, ...)."
        )
    kept = 2 if mode == "temporal" else 1
    return K.ones_like(output[(slice(None),) * kept + (0,) * (K.ndim(output) - kept)], dtype=K.floatx())


def _add_losses(made: Compiled, model: Any, masks: Any) -> None:
    several = len(model.outputs) > 1
    total = None
    with K.name_scope("loss"):
        for i, function in enumerate(made.loss_functions):
            if function is None:
                continue
            name = model.output_names[i]
            with K.name_scope(name + "_loss"):
                score = function(made.targets[i], model.outputs[i])
                output_loss = training_utils.reduce_score(score, made.sample_weights[i], masks[i])
            if several:
                made.metrics_tensors.append(output_loss)
                made.metrics_names.append(name + "_loss")
            weighted = output_loss * made.loss_weights[i]
            total = weighted if total is None else total + weighted
        penalties = model.losses
        if total is None and not penalties:
            raise ValueError("The model cannot be compiled because it has no loss to optimize.")
        for penalty in penalties:
            total = penalty if total is None else total + penalty
    if not K.is_tensor(total):
        total = K.constant(total)
    made.total_loss = K.mean(total) if K.ndim(total) else total


def _add_metrics(made: Compiled, model: Any, masks: Any, metrics: Any, weighted_metrics: Any) -> None:
    plain = training_utils.collect_metrics(metrics, model.output_names)
    weighted = training_utils.collect_metrics(weighted_metrics, model.output_names)
    with K.name_scope("metrics"):
        for i, function in enumerate(made.loss_functions):
            if function is None:
                continue
            for group, weights in ((plain[i], None), (weighted[i], made.sample_weights[i])):
                for metric in group:
                    _add_metric(made, model, i, metric, weights, masks[i])


def _add_metric(made: Compiled, model: Any, i: int, metric: Any, weights: Any, mask: Any) -> None:
    output = model.outputs[i]
    if metric in _ACCURACY or metric in _CROSSENTROPY:
        function = _by_loss(metric, K.int_shape(output), made.loss_functions[i])
        name = "acc" if metric in _ACCURACY else "ce"
    else:
        function = metrics_module.get(metric)
        name = function.name if hasattr(function, "name") else function.__name__
    if weights is not None:
        name = "weighted_" + name
    with K.name_scope(name):
        result = training_utils.reduce_score(function(made.targets[i], output), weights, mask)
    if len(model.outputs) > 1:
        name = f"{model.output_names[i]}_{name}"
    base, number = name, 1
    while name in made.metrics_names:
        name = f"{base}_{number}"
        number += 1
    made.metrics_names.append(name)
    made.metrics_tensors.append(result)
    if isinstance(function, Layer) and function.stateful:
        made.stateful_metric_names.append(name)
        made.stateful_metric_functions.append(function)
        made.metrics_updates += function.updates


def _by_loss(metric: str, output_shape: Any, loss: Any) -> Any:
    """The accuracy or crossentropy that fits a loss and the shape of its output."""
    accuracy = metric in _ACCURACY
    if output_shape[-1] == 1 or loss is losses.binary_crossentropy:
        return metrics_module.binary_accuracy if accuracy else metrics_module.binary_crossentropy
    if loss is losses.sparse_categorical_crossentropy:
        if accuracy:
            return metrics_module.sparse_categorical_accuracy
        return metrics_module.sparse_categorical_crossentropy
    return metrics_module.categorical_accuracy if accuracy else metrics_module.categorical_crossentropy
