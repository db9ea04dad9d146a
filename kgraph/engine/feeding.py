"""What a user feeds to a model, brought into one form: checked arrays, one for each input, target and sample weight.

`training.py` calls these; `training_utils.py` has the checks of single arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph.engine import training_utils
from kgraph.engine.compiling import target_shape
from kgraph.engine.training_utils import refuse_batches
from kgraph.utils.generic_utils import slice_arrays, to_list, unpack_singleton

_FEEDS_KEPT = 256  # kinds of arrays; beyond that they are forgotten
Data = tuple[list[Any], list[Any], list[Any]]  # inputs, targets, sample weights (empty where none are given)


def set_inputs(model: Any, inputs: Any) -> None:
    """Make placeholders like these arrays and call the model on them; for models that compute outputs in `call`."""
    if model.inputs:
        raise ValueError("Model inputs are already set.")
    from kgraph.engine.input_layer import Input

    tensors = [
        x if K.is_tensor(x) else Input(batch_shape=(None, *x.shape[1:]), name=f"input_{i + 1}")
        for i, x in enumerate(to_list(inputs))
    ]
    outputs = model.call(unpack_singleton(tensors))
    model.inputs = tensors
    model.outputs = to_list(outputs, allow_tuple=True)
    model.input_names = [x._keras_history[0].name for x in tensors]
    model.output_names = [f"output_{i + 1}" for i in range(len(model.outputs))]
    model._feed_inputs, model._feed_input_names = tensors, model.input_names
    model._feed_input_shapes = [K.int_shape(x) for x in tensors]
    model._internal_output_shapes = [K.int_shape(x) for x in model.outputs]
    model._inbound_nodes = []
    model._add_inbound_node(
        tensors, model.outputs, [None] * len(model.outputs), model._feed_input_shapes, model._internal_output_shapes, {}
    )
    model.built = True


def standardize_user_data(
    model: Any,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    class_weight: Any = None,
    check_array_lengths: bool = True,
    batch_size: int | None = None,
) -> Data:
    """Check what a user feeds; see `training_utils`. Builds a model that waits for data. `y` None: predicting."""
    if not model.built:
        build_for(model, x)
    if y is not None:
        model._require_compiled()
    # Arrays of a kind that has gone through all checks as it is need only the check that looks at labels.
    given = [to_list(x, allow_tuple=True), [] if y is None else to_list(y, allow_tuple=True)]
    plain = sample_weight is None and class_weight is None and check_array_lengths
    kind = training_utils.kind_of_feed(given) if plain else None
    known = _known_feeds(model)
    if kind is not None and (kind, y is None, batch_size) in known:
        _check_labels(model, given[1])
        return list(given[0]), list(given[1]), []
    data = _standardize(model, x, y, sample_weight, class_weight, check_array_lengths, batch_size)
    if kind is not None and not data[2] and all(map(_same_arrays, given, data)):
        known.add((kind, y is None, batch_size))
    return data


def _known_feeds(model: Any) -> set[Any]:
    """The kinds of arrays that went through all checks as they were, with the present inputs and losses."""
    owners, known = model.__dict__.get("_feeds", ((), None))
    shapes, targets = model._feed_input_shapes, model.__dict__.get("_feed_targets")
    if known is None or len(known) > _FEEDS_KEPT or owners[0] is not shapes or owners[1] is not targets:
        known = set()
        model._feeds = ((shapes, targets), known)
    return known


def _same_arrays(given: list[Any], made: list[Any]) -> bool:
    return len(given) == len(made) and all(a is b for a, b in zip(given, made, strict=True))


def _check_labels(model: Any, targets: list[Any]) -> None:
    if targets:
        training_utils.check_label_range(
            targets, model._feed_loss_fns, model._feed_output_names, model._feed_output_shapes
        )


def _standardize(
    model: Any, x: Any, y: Any, sample_weight: Any, class_weight: Any, check_array_lengths: bool, batch_size: int | None
) -> Data:
    inputs = training_utils.standardize_input_data(
        x, model._feed_input_names, model._feed_input_shapes, check_batch_axis=False, exception_prefix="input"
    )
    targets: list[Any] = []
    weights: list[Any] = []
    if y is not None:
        targets, weights = _targets_and_weights(model, y, sample_weight, class_weight)
        if check_array_lengths:
            training_utils.check_array_length_consistency(inputs, targets, weights)
        if model._is_graph_network:
            shapes = [
                target_shape(shape, fn)
                for shape, fn in zip(model._feed_output_shapes, model._feed_loss_fns, strict=True)
            ]
            training_utils.check_loss_and_target_compatibility(targets, model._feed_loss_fns, shapes)
        _check_labels(model, targets)
    elif check_array_lengths:
        training_utils.check_array_length_consistency(inputs, None)
    if batch_size is not None:
        training_utils.check_batch_size(batch_size, inputs, model._feed_input_names, model._feed_input_shapes)
    if model.stateful and batch_size and inputs[0].shape[0] % batch_size:
        raise ValueError(
            "In a stateful network, you should only pass inputs with a number of samples that can be divided by "
            f"the batch size. Found: {inputs[0].shape[0]} samples"
        )
    inputs = [_converted(a, p) for a, p in zip(inputs, model._feed_inputs, strict=True)]
    if y is not None:
        targets = [_converted(a, p) for a, p in zip(targets, model._feed_targets, strict=True)]
        weights = [_converted(a, p) for a, p in zip(weights, model._feed_sample_weights, strict=False)]
    return inputs, targets, weights


def _targets_and_weights(model: Any, y: Any, sample_weight: Any, class_weight: Any) -> tuple[list[Any], list[Any]]:
    names = model._feed_output_names
    shapes = [
        target_shape(shape, fn) for shape, fn in zip(model._feed_output_shapes, model._feed_loss_fns, strict=True)
    ]
    targets = training_utils.standardize_input_data(
        y, names, shapes, check_batch_axis=False, exception_prefix="target"
    )
    for name, target in zip(names, targets, strict=True):
        if target is None:
            raise ValueError(f'Error when checking target: no data was provided for output "{name}"')
    given = training_utils.standardize_sample_weights(sample_weight, names)
    classes = training_utils.standardize_class_weights(class_weight, names)
    modes = model._feed_sample_weight_modes
    if all(w is None for w in given) and not any(classes):
        return targets, []  # every sample counts the same: the functions without weights do
    weights = [
        training_utils.standardize_weights(target, w, c, mode)
        for target, w, c, mode in zip(targets, given, classes, modes, strict=True)
    ]
    return targets, weights


def build_for(model: Any, x: Any) -> None:
    """Give a model that waits for data inputs like these arrays."""
    if isinstance(x, dict):
        raise ValueError(
            "Please do not pass a dictionary as model inputs: the model is not built yet, so its inputs have no "
            "names."
        )
    arrays = list(x) if isinstance(x, (list, tuple)) else [x]
    if not all(hasattr(a, "shape") for a in arrays):
        raise ValueError(
            f"Please provide as model inputs either a single array or a list of arrays. You passed: x={x}"
        )
    arrays = [training_utils.standardize_single_array(a) for a in arrays]
    model._set_inputs(arrays if isinstance(x, (list, tuple)) else arrays[0])


def shown_to_callbacks(model: Any, validation: Data) -> list[Any]:
    """What callbacks see as `validation_data`: inputs, targets, sample weights, learning phase."""
    x, y, weights = validation
    modes = model._feed_sample_weight_modes if y else []
    weights = weights or [
        training_utils.standardize_weights(target, sample_weight_mode=mode)
        for target, mode in zip(y, modes, strict=True)
    ]
    return [*x, *y, *weights, *model._phase(0)]


def no_targets(model: Any, x: Any) -> Any:
    """What `y=None` means: no targets, for a model that needs none; `x` are its inputs."""
    model._require_compiled()
    refuse_batches(x, "input")
    if model.built and model._feed_output_names:
        raise ValueError(
            f"Error when checking target: no data was provided for the outputs {model._feed_output_names}"
        )
    return []


def check_run(epochs: Any, callbacks: Any) -> None:
    """Raises TypeError unless `epochs` is an integer, and `callbacks` None or some callbacks."""
    if not isinstance(epochs, (int, np.integer)):
        raise TypeError(f"`epochs` must be an integer. Received: {epochs!r}")
    if callbacks is not None and not hasattr(callbacks, "__iter__"):
        raise TypeError(f"`callbacks` must be a list of callbacks. Received: {callbacks!r}")
    for callback in callbacks or []:
        if isinstance(callback, type):
            name = callback.__name__
            raise TypeError(f"`callbacks` holds the class {name}, where an object of it, {name}(...), is meant")


def is_given(data: Any) -> bool:
    """Whether a user gave validation data; None and what is empty are none."""
    return len(data) > 0 if hasattr(data, "__len__") else data is not None


def validation_data(model: Any, given: Any, batch_size: int | None) -> Data:
    """What a user gives as `validation_data`, checked."""
    if not isinstance(given, (list, tuple)):
        refuse_batches(given, "validation_data")
        raise ValueError(
            "`validation_data` should be a tuple (x_val, y_val) or (x_val, y_val, val_sample_weights). "
            f"Found an object of type {type(given).__name__}"
        )
    if len(given) not in (2, 3):
        raise ValueError(
            "When passing validation_data, it must contain 2 (x_val, y_val) or 3 (x_val, y_val, "
            f"val_sample_weights) items, however it contains {len(given)} items"
        )
    x, y, *rest = given
    return model._standardize_user_data(x, y, sample_weight=rest[0] if rest else None, batch_size=batch_size)


def _converted(array: Any, placeholder: Any) -> Any:
    """An array in the placeholder's dtype, contiguous; arrays in files are converted batch by batch later."""
    if isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        return np.ascontiguousarray(array, dtype=K.dtype(placeholder))
    return array


def split(data: Data, fraction: float) -> tuple[Data, Data]:
    """The data without the given fraction at its end, and that fraction."""
    x, y, weights = data
    if any(K.is_tensor(a) for a in x):
        raise ValueError("If your data is in the form of symbolic tensors, you cannot use `validation_split`.")
    at = int(x[0].shape[0] * (1.0 - fraction))
    first = (slice_arrays(x, 0, at), slice_arrays(y, 0, at), slice_arrays(weights, 0, at))
    return first, (slice_arrays(x, at), slice_arrays(y, at), slice_arrays(weights, at))
