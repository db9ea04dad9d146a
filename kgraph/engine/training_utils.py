"""What a user feeds, checked and brought into one form: lists of arrays, one per input or output.

`training.py` calls these before anything runs, so that bad input gets its error first. `weighted_masked_objective`
makes the mean of a loss or metric over a batch.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph import losses
from kgraph.utils.data_utils import Sequence as BatchSequence
from kgraph.utils.generic_utils import to_list

__all__ = [
    "batch_shuffle",
    "check_array_length_consistency",
    "check_batch_size",
    "check_label_range",
    "check_loss_and_target_compatibility",
    "check_num_samples",
    "collect_metrics",
    "iter_sequence_infinite",
    "make_batches",
    "reduce_score",
    "standardize_class_weights",
    "standardize_input_data",
    "standardize_sample_or_class_weights",
    "standardize_sample_weights",
    "standardize_single_array",
    "standardize_weights",
    "to_list",
    "weighted_masked_objective",
]


def standardize_single_array(x: Any) -> Any:
    """`x` with an axis of size one added behind where it has only a batch axis."""
    if x is None or K.is_tensor(x):
        return x
    if not hasattr(x, "shape"):
        x = np.asarray(x)
    if len(x.shape) == 1:
        x = np.expand_dims(x, 1)
    return x


def standardize_input_data(
    data: Any,
    names: Sequence[str],
    shapes: Sequence[Any] | None = None,
    check_batch_axis: bool = True,
    exception_prefix: str = "",
) -> list[Any]:
    """What a user gave for inputs or targets, as one array per name.

    # Arguments
        data: an array, a list of arrays, or a dictionary from names to arrays.
        names: the expected names, in order.
        shapes: the expected shapes, None where anything goes; sizes None fit all.
        check_batch_axis: whether the first axis is checked too.
        exception_prefix: "input" or "target", for messages.

    # Raises
        ValueError: for a wrong number of arrays or wrong shapes.
        TypeError: for what is no array of numbers.
    """
    if not names:
        if data is not None and hasattr(data, "__len__") and len(data):
            raise ValueError(
                f"Error when checking model {exception_prefix}: expected no data, but got: {data}"
            )
        return []
    if data is None:
        return [None for _ in names]
    arrays = _as_list(data, names, exception_prefix)
    arrays = [_unboxed(standardize_single_array(x)) for x in arrays]
    for i, (x, name) in enumerate(zip(arrays, names, strict=True)):
        if x is None or K.is_tensor(x):
            continue
        _check_numeric(x, name, exception_prefix)
        if shapes and shapes[i] is not None:
            _check_shape(x, name, shapes[i], check_batch_axis, exception_prefix)
    return arrays


def kind_of_feed(lists: Iterable[Sequence[Any]]) -> tuple[Any, ...] | None:
    """What the checks of lists of arrays depend on, but for the labels; None where an item is no array that lies in
    order in memory, or an array of Python objects."""
    kind: list[Any] = []
    for arrays in lists:
        for x in arrays:
            if type(x) is not np.ndarray or x.dtype.hasobject or not x.flags.c_contiguous:
                return None
            kind += (x.shape, x.dtype)
        kind.append(None)
    return tuple(kind)


def _as_list(data: Any, names: Sequence[str], prefix: str) -> list[Any]:
    if isinstance(data, dict):
        try:
            return [_values(data[name]) for name in names]
        except KeyError as error:
            raise ValueError(
                f'No data provided for "{error.args[0]}". Need data for each key in: {list(names)}'
            ) from None
    if isinstance(data, str):
        raise TypeError(
            f"Error when checking model {prefix}: data should be a Numpy array, or list/dict of Numpy arrays. "
            f"Found: {data[:200]!r}"
        )
    refuse_batches(data, prefix)
    if isinstance(data, (list, tuple)):
        arrays = list(data)
        if arrays and isinstance(arrays[0], list):
            arrays = [np.asarray(d) for d in arrays]
        elif len(names) == 1 and arrays and isinstance(arrays[0], (float, int)):
            arrays = [np.asarray(arrays)]
        else:
            arrays = [_values(x) for x in arrays]
    else:
        arrays = [_values(data)]
    if len(arrays) == len(names):
        return arrays
    if arrays and hasattr(arrays[0], "shape"):
        raise ValueError(
            f"Error when checking model {prefix}: the list of Numpy arrays that you are passing to your model is not "
            f"the size the model expected. Expected to see {len(names)} array(s), but instead got the following list "
            f"of {len(arrays)} arrays: {str(arrays)[:200]}..."
        )
    if len(names) > 1:
        raise ValueError(
            f"Error when checking model {prefix}: you are passing a list as input to your model, but the model "
            f"expects a list of {len(names)} Numpy arrays instead. The list you passed was: {str(data)[:200]}"
        )
    if len(arrays) == 1:
        raise TypeError(
            f"Error when checking model {prefix}: data should be a Numpy array, or list/dict of Numpy arrays. "
            f"Found: {str(arrays)[:200]}..."
        )
    return [np.asarray(data)]


def refuse_batches(data: Any, prefix: str) -> None:
    """Raises TypeError where `data` gives batches and is no array."""
    if hasattr(data, "__next__") or isinstance(data, BatchSequence):
        raise TypeError(
            f"Error when checking model {prefix}: data should be a Numpy array, or list/dict of Numpy arrays, but got "
            f"{type(data).__name__}. Generators and `keras.utils.Sequence` go to `fit_generator`, "
            "`evaluate_generator` and `predict_generator`."
        )


def _values(x: Any) -> Any:
    """The array in a pandas object; anything else as it is."""
    return x.values if type(x).__name__ in ("DataFrame", "Series") else x


def _unboxed(x: Any) -> Any:
    """The numbers in an array of Python objects, such as a table of mixed columns gives; anything else as it is."""
    if not isinstance(x, np.ndarray) or x.dtype != object:
        return x
    try:
        return x.astype(np.float64)
    except (TypeError, ValueError):
        return x


def _check_numeric(x: Any, name: str, prefix: str) -> None:
    dtype = np.dtype(getattr(x, "dtype", float))
    if dtype.kind not in "fiub":
        raise TypeError(
            f"Error when checking {prefix}: expected {name} to hold numbers, but got an array of dtype {dtype}"
        )


def _check_shape(x: Any, name: str, shape: Any, check_batch_axis: bool, prefix: str) -> None:
    found = tuple(x.shape)
    if len(found) != len(shape):
        raise ValueError(
            f"Error when checking {prefix}: expected {name} to have {len(shape)} dimensions, "
            f"but got array with shape {found}"
        )
    wanted = tuple(shape)
    if not check_batch_axis:
        found, wanted = found[1:], wanted[1:]
    for size, expected in zip(found, wanted, strict=True):
        if size != expected and expected:
            raise ValueError(
                f"Error when checking {prefix}: expected {name} to have shape {wanted} but got array with shape {found}"
            )


def standardize_sample_or_class_weights(x_weight: Any, output_names: Sequence[str], weight_type: str) -> list[Any]:
    """Sample or class weights as one entry per output, None where there is none.

    `weight_type` is "sample_weight" or "class_weight", for messages.
    """
    if x_weight is None or (isinstance(x_weight, (list, tuple, dict)) and len(x_weight) == 0):
        return [None for _ in output_names]
    if len(output_names) == 1:
        if isinstance(x_weight, list) and len(x_weight) == 1:
            return x_weight
        if isinstance(x_weight, dict) and output_names[0] in x_weight:
            return [x_weight[output_names[0]]]
        return [x_weight]
    if isinstance(x_weight, (list, tuple)):
        if len(x_weight) != len(output_names):
            raise ValueError(
                f"Provided `{weight_type}` was a list of {len(x_weight)} elements, but the model has "
                f"{len(output_names)} outputs. You should provide one `{weight_type}` array per model output."
            )
        return list(x_weight)
    if isinstance(x_weight, dict):
        return [x_weight.get(name) for name in output_names]
    raise TypeError(
        f"The model has multiple outputs, so `{weight_type}` should be either a list or a dict. "
        f"Provided `{weight_type}` type not understood: {x_weight}"
    )


def standardize_class_weights(class_weight: Any, output_names: Sequence[str]) -> list[Any]:
    return standardize_sample_or_class_weights(class_weight, output_names, "class_weight")


def standardize_sample_weights(sample_weight: Any, output_names: Sequence[str]) -> list[Any]:
    return standardize_sample_or_class_weights(sample_weight, output_names, "sample_weight")


def standardize_weights(
    y: Any, sample_weight: Any = None, class_weight: Any = None, sample_weight_mode: str | None = None
) -> Any:
    """The weight of each sample of target `y` (of each timestep in mode "temporal"); ones where none is given."""
    if sample_weight_mode not in (None, "temporal"):
        raise ValueError(f'"sample_weight_mode should be None or "temporal". Found: {sample_weight_mode}')
    if sample_weight_mode == "temporal" and y.ndim < 3:
        raise ValueError(
            f"Found a sample_weight array for an input with shape {y.shape}. Timestep-wise sample weighting (use of "
            'sample_weight_mode="temporal") is restricted to outputs that are at least 3D, i.e. that have a time '
            "dimension."
        )
    if sample_weight is not None:
        if class_weight is not None:
            warnings.warn(
                "Found both `sample_weight` and `class_weight`: `class_weight` argument will be ignored.", stacklevel=4
            )
        return _checked_sample_weight(y, np.asarray(sample_weight), sample_weight_mode)
    if isinstance(class_weight, dict):
        return _weights_of_classes(y, class_weight)
    return np.ones(y.shape[: 1 if sample_weight_mode is None else 2], dtype=K.floatx())


def _checked_sample_weight(y: Any, weight: Any, mode: str | None) -> Any:
    if mode is None and weight.ndim != 1:
        raise ValueError(
            f"Found a sample_weight array with shape {weight.shape}. In order to use timestep-wise sample weights, you "
            'should specify sample_weight_mode="temporal" in compile(). If you just mean to use sample-wise weights, '
            "make sure your sample_weight array is 1D."
        )
    if mode == "temporal" and weight.ndim != 2:
        raise ValueError(
            f"Found a sample_weight array with shape {weight.shape}. In order to use timestep-wise sample weighting, "
            "you should pass a 2D sample_weight array."
        )
    if weight.ndim > y.ndim:
        raise ValueError(
            f"Found a sample_weight with shape {weight.shape}. Expected sample_weight with rank less than or equal to "
            f"{y.ndim}"
        )
    if y.shape[: weight.ndim] != weight.shape:
        raise ValueError(
            f"Found a sample_weight array with shape {weight.shape} for an input with shape {y.shape}. "
            "sample_weight cannot be broadcast."
        )
    return weight


def _weights_of_classes(y: Any, class_weight: dict[Any, float]) -> np.ndarray:
    y = np.asarray(y)
    if y.ndim > 2:
        raise ValueError("`class_weight` not supported for 3+ dimensional targets.")
    if y.ndim == 2 and y.shape[1] > 1:
        classes = np.argmax(y, axis=1)
    else:
        classes = y.reshape(-1)
    values, inverse = np.unique(classes, return_inverse=True)
    missing = {v.item() for v in values} - set(class_weight)
    if missing:
        as_ints = {int(v) if float(v).is_integer() else v for v in missing}
        raise ValueError(
            "`class_weight` must contain all classes in the data. "
            f"The classes {as_ints} exist in the data but not in `class_weight`."
        )
    return np.asarray([class_weight[v.item()] for v in values])[inverse.reshape(-1)]


def check_array_length_consistency(inputs: Any, targets: Any, weights: Any = None) -> None:
    """Raises ValueError unless inputs, targets and weights have the same number of samples."""

    def lengths(arrays: Any) -> set[int]:
        if arrays is None:
            return set()
        return {int(x.shape[0]) for x in arrays if x is not None and not K.is_tensor(x)}

    sizes_x, sizes_y, sizes_w = lengths(inputs), lengths(targets), lengths(weights)
    if len(sizes_x) > 1:
        raise ValueError(
            "All input arrays (x) should have the same number of samples. "
            f"Got array shapes: {[x.shape for x in inputs]}"
        )
    if len(sizes_y) > 1:
        raise ValueError(
            "All target arrays (y) should have the same number of samples. "
            f"Got array shapes: {[y.shape for y in targets]}"
        )
    if sizes_x and sizes_y and sizes_x != sizes_y:
        raise ValueError(
            "Input arrays should have the same number of samples as target arrays. "
            f"Found {min(sizes_x)} input samples and {min(sizes_y)} target samples."
        )
    if len(sizes_w) > 1:
        raise ValueError(
            "All sample_weight arrays should have the same number of samples. "
            f"Got array shapes: {[w.shape for w in weights]}"
        )
    if sizes_y and sizes_w and sizes_y != sizes_w:
        raise ValueError(
            "Sample_weight arrays should have the same number of samples as target arrays. "
            f"Got {min(sizes_y)} input samples and {min(sizes_w)} target samples."
        )


def check_batch_size(
    batch_size: Any, inputs: Sequence[Any] = (), names: Sequence[str] = (), shapes: Sequence[Any] = ()
) -> None:
    """Raises ValueError unless `batch_size` counts samples and fits inputs whose batch axis has a fixed size."""
    if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise ValueError(f"`batch_size` must be a positive integer. Received: {batch_size!r}")
    for x, name, shape in zip(inputs, names, shapes, strict=True):
        fixed = shape[0]
        if fixed is None or not hasattr(x, "shape") or K.is_tensor(x):
            continue
        samples = int(x.shape[0])
        if min(batch_size, samples) != fixed or samples % fixed:
            raise ValueError(
                f"Input {name} takes batches of exactly {fixed} samples (its `batch_input_shape`), which {samples} "
                f"samples in batches of {batch_size} do not give."
            )


def check_loss_and_target_compatibility(
    targets: Sequence[Any], loss_fns: Sequence[Any], output_shapes: Sequence[Any]
) -> None:
    """Raises ValueError where a loss cannot make sense of a target's shape."""
    same_shape = {losses.mean_squared_error, losses.binary_crossentropy, losses.categorical_crossentropy}
    for y, loss, shape in zip(targets, loss_fns, output_shapes, strict=True):
        if y is None or loss is None or K.is_tensor(y):
            continue
        if getattr(loss, "__name__", None) == "categorical_crossentropy" and y.shape[-1] == 1:
            raise ValueError(
                f"You are passing a target array of shape {y.shape} while using as loss `categorical_crossentropy`. "
                "`categorical_crossentropy` expects targets to be binary matrices (1s and 0s) of shape "
                "(samples, classes). If your targets are integer classes, you can convert them to the expected format "
                "via:\n```\nfrom keras.utils import to_categorical\ny_binary = to_categorical(y_int)\n```\n\n"
                "Alternatively, you can use the loss function `sparse_categorical_crossentropy` instead, which does "
                "expect integer targets."
            )
        if loss not in same_shape or shape is None:
            continue
        for size, expected in zip(y.shape[1:], shape[1:], strict=False):
            if expected is not None and size != expected:
                raise ValueError(
                    f"A target array with shape {y.shape} was passed for an output of shape {shape} while using as "
                    f"loss `{loss.__name__}`. This loss expects targets to have the same shape as the output."
                )


def check_label_range(
    targets: Sequence[Any], loss_fns: Sequence[Any], names: Sequence[str], output_shapes: Sequence[Any]
) -> None:
    """Raises ValueError where a sparse loss would meet a label that is no class of its output."""
    for y, loss, name, shape in zip(targets, loss_fns, names, output_shapes, strict=True):
        if loss is not losses.sparse_categorical_crossentropy or not isinstance(y, np.ndarray) or not y.size:
            continue
        classes = shape[1] if K.image_data_format() == "channels_first" and len(shape) in (4, 5) else shape[-1]
        if classes is None:
            continue
        low, high = y.min(), y.max()
        if low < 0 or high >= classes or high != high:
            bad = low if low < 0 else high
            raise ValueError(
                f'Error when checking target: output "{name}" has {classes} classes, so its labels must be integers '
                f"from 0 to {classes - 1}, but got the label {bad}"
            )


def collect_metrics(metrics: Any, output_names: Sequence[str]) -> list[list[Any]]:
    """The metrics of each output, from one list for all or a dictionary by output."""
    if not metrics:
        return [[] for _ in output_names]
    if isinstance(metrics, (list, tuple)):
        return [copy.copy(list(metrics)) for _ in output_names]
    if isinstance(metrics, dict):
        return [to_list(metrics.get(name, []), allow_tuple=True) for name in output_names]
    raise TypeError(f"Type of `metrics` argument not understood. Expected a list or dictionary, found: {metrics}")


def reduce_score(score: Any, weights: Any = None, mask: Any = None) -> Any:
    """The mean over a batch of a loss or metric per sample.

    With weights: `sum(w * score) / number of weights that are not 0`.
    """
    if mask is not None:
        mask = K.cast(mask, K.floatx())
        score = score * mask
        score = score / K.mean(mask)
    if weights is not None:
        inner = list(range(K.ndim(weights), K.ndim(score)))
        if inner:
            score = K.mean(score, axis=inner)
        score = score * weights
        score = score / K.mean(K.cast(K.not_equal(weights, 0), K.floatx()))
    return K.mean(score)


def weighted_masked_objective(fn: Callable[[Any, Any], Any] | None) -> Any:
    """A function `(y_true, y_pred, weights, mask=None)` that gives the mean of `fn` over a batch."""
    if fn is None:
        return None

    def weighted(y_true: Any, y_pred: Any, weights: Any, mask: Any = None) -> Any:
        return reduce_score(fn(y_true, y_pred), weights, mask)

    return weighted


def make_batches(size: int, batch_size: int) -> list[tuple[int, int]]:
    """The bounds of batches over `size` samples; the last may be smaller."""
    return [(start, min(size, start + batch_size)) for start in range(0, size, batch_size)]


def batch_shuffle(index_array: np.ndarray, batch_size: int) -> np.ndarray:
    """Row numbers with whole batches shuffled; for data that is fast to read only in order."""
    count = len(index_array) // batch_size
    whole, rest = index_array[: count * batch_size], index_array[count * batch_size :]
    whole = whole.reshape((count, batch_size))
    np.random.shuffle(whole)
    return np.append(whole.ravel(), rest)


def check_num_samples(
    ins: Sequence[Any], batch_size: int | None = None, steps: int | None = None, steps_name: str = "steps"
) -> int | None:
    """The number of samples in these inputs; None where a number of steps is given in its place."""
    if steps is not None and batch_size is not None:
        raise ValueError(f"If {steps_name} is set, the `batch_size` must be None.")
    if steps is not None:
        return None
    if not ins or any(K.is_tensor(x) for x in ins):
        raise ValueError(
            "If your data is in the form of symbolic tensors, you should specify the "
            f"`{steps_name}` argument (instead of the `batch_size` argument, because symbolic tensors are expected to "
            "produce batches of input data)."
        )
    if hasattr(ins[0], "shape"):
        return int(ins[0].shape[0])
    raise ValueError(f"The input data should have shape, or please specify the `{steps_name}` argument.")


def iter_sequence_infinite(seq: Any) -> Iterator[Any]:
    """The batches of a `Sequence`, over and over."""
    while True:
        yield from (seq[i] for i in range(len(seq)))
