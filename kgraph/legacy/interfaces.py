"""Keras 1 spellings of constructors and methods, accepted with a warning that shows the Keras 2 call.

`generate_legacy_interface` makes a decorator from a table; the tables for the layers and models stand below, one per
constructor. They are applied where the constructors are defined (`kgraph.layers`, `kgraph.engine`).
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

Args = list[Any]
Kwargs = dict[str, Any]
# (positional arguments after self, keywords) -> the same, and the pairs of names that were converted
Preprocessor = Callable[[Args, Kwargs], tuple[Args, Kwargs, list[tuple[str, str]]]]


def generate_legacy_interface(
    allowed_positional_args: Sequence[str] | None = None,
    conversions: Sequence[tuple[str, str]] | None = None,
    preprocessor: Preprocessor | None = None,
    value_conversions: Mapping[str, Mapping[Any, Any]] | None = None,
    object_type: str = "class",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator for constructors (`object_type` "class") or methods.

    # Arguments
        allowed_positional_args: names of the arguments that may be positional, None for any.
        conversions: pairs of old and new keyword names.
        preprocessor: handles what renaming cannot.
        value_conversions: for old keyword names, old values and what they became.
    """

    def decorate(func: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(func)
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            name = type(self).__name__ if object_type == "class" else func.__name__
            rest: Args = list(args)
            converted: list[tuple[str, str]] = []
            if preprocessor is not None:
                rest, kwargs, converted = preprocessor(rest, kwargs)
            _check_positional(name, allowed_positional_args, rest)
            for key, table in (value_conversions or {}).items():
                if key in kwargs:
                    kwargs[key] = table.get(kwargs[key], kwargs[key])
            converted = converted + _rename(kwargs, conversions or ())
            if converted:
                call = _call_text(name, rest, kwargs)
                warnings.warn(f"Update your `{name}` call to the Keras 2 API: {call}", stacklevel=2)
            return func(self, *rest, **kwargs)

        wrapper._original_function = func  # type: ignore[attr-defined]
        return wrapper

    return decorate


def _check_positional(name: str, allowed: Sequence[str] | None, args: Args) -> None:
    if allowed is not None and len(args) > len(allowed):
        raise TypeError(
            f"`{name}` can accept only {len(allowed)} positional arguments {tuple(allowed)}, "
            f"but you passed the following positional arguments: {args}"
        )


def _rename(kwargs: Kwargs, conversions: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    done = []
    for old, new in conversions:
        if old not in kwargs:
            continue
        if new in kwargs:
            raise_duplicate_arg_error(old, new)
        kwargs[new] = kwargs.pop(old)
        done.append((old, new))
    return done


def raise_duplicate_arg_error(old_arg: str, new_arg: str) -> NoReturn:
    """Raises the TypeError for an argument that came in its old and its new spelling."""
    raise TypeError(
        f"For the `{new_arg}` argument, the layer received both the legacy keyword argument `{old_arg}` and the "
        f"Keras 2 keyword argument `{new_arg}`. Stick to the latter!"
    )


def _call_text(name: str, args: Args, kwargs: Kwargs) -> str:
    parts = [_value_text(value) for value in args]
    parts += [f"{key}={_value_text(value)}" for key, value in kwargs.items()]
    return f"`{name}({', '.join(parts)})`"


def _value_text(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, np.ndarray):
        return "array"
    text = str(value)
    return text[:10] + "..." if len(text) > 10 else text


generate_legacy_method_interface = functools.partial(generate_legacy_interface, object_type="method")


# Special cases: each takes the positional arguments (without the object) and the keywords, and gives these as Keras 2
# has them and the pairs of names that it converted.


def conv2d_args_preprocessor(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[tuple[str, str]]]:
    """`Conv2D(nb_filter, nb_row, nb_col)`, given by position or by name."""
    converted = [("nb_row/nb_col", "kernel_size")]
    if len(args) > 3:
        raise TypeError(f"Layer can receive at most 3 positional arguments, but was given {len(args)}: {args}")
    if len(args) == 3 and isinstance(args[1], int) and isinstance(args[2], int):
        clash = sorted({"padding", "strides", "data_format"} & set(kwargs))
        if clash:
            raise ValueError(
                f"`{clash[0]}` is given together with three integers, which Keras 1 read as (nb_filter, nb_row, "
                "nb_col) and Keras 2 reads as (filters, kernel_size, strides). Name `kernel_size` and `strides`."
            )
        return [args[0], (args[1], args[2])], kwargs, converted
    if len(args) == 2 and isinstance(args[1], int) and "nb_col" in kwargs:
        return [args[0], (args[1], kwargs.pop("nb_col"))], kwargs, converted
    if len(args) <= 1 and "nb_row" in kwargs and "nb_col" in kwargs:
        size = (kwargs.pop("nb_row"), kwargs.pop("nb_col"))
        if args:
            return [args[0], size], kwargs, converted
        kwargs["kernel_size"] = size
        return args, kwargs, converted
    return args, kwargs, []


def conv1d_args_preprocessor(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[tuple[str, str]]]:
    """`input_dim` and `input_length` for the shape of sequences."""
    if "input_dim" not in kwargs:
        return args, kwargs, []
    kwargs["input_shape"] = (kwargs.pop("input_length", None), kwargs.pop("input_dim"))
    return args, kwargs, [("input_dim", "input_shape")]


def conv3d_args_preprocessor(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[tuple[str, str]]]:
    """`Conv3D(nb_filter, kernel_dim1, kernel_dim2, kernel_dim3)`, given by position or by name."""
    if len(args) > 4:
        raise TypeError(f"Layer can receive at most 4 positional arguments, but was given {len(args)}: {args}")
    given, names = args[1:], ("kernel_dim1", "kernel_dim2", "kernel_dim3")
    if not all(isinstance(size, int) for size in given) or len(given) == 1 and not set(names) & set(kwargs):
        return args, kwargs, []
    clash = sorted({"padding", "strides", "data_format"} & set(kwargs))
    if len(given) == 2 and clash:
        raise ValueError(
            f"`{clash[0]}` is given together with three integers, which Keras 1 read as (nb_filter, kernel_dim1, "
            "kernel_dim2) and Keras 2 reads as (filters, kernel_size, strides). Name `kernel_size` and `strides`."
        )
    missing = names[len(given) :]
    if not all(name in kwargs for name in missing):
        return args, kwargs, []
    size = (*given, *(kwargs.pop(name) for name in missing))
    if args:
        return [args[0], size], kwargs, [("kernel_dim*", "kernel_size")]
    kwargs["kernel_size"] = size
    return args, kwargs, [("kernel_dim*", "kernel_size")]


def deconv2d_args_preprocessor(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[tuple[str, str]]]:
    """Keras 1 asked for `output_shape`, which is computed now."""
    converted = []
    if len(args) == 4 and isinstance(args[3], tuple):
        args = args[:3]
        converted.append(("output_shape", ""))
    if "output_shape" in kwargs:
        kwargs.pop("output_shape")
        converted.append(("output_shape", ""))
    args, kwargs, more = conv2d_args_preprocessor(args, kwargs)
    return args, kwargs, converted + more


def separable_conv2d_args_preprocessor(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[tuple[str, str]]]:
    converted = []
    if "init" in kwargs:
        kwargs["depthwise_initializer"] = kwargs["pointwise_initializer"] = kwargs.pop("init")
        converted.append(("init", "depthwise_initializer/pointwise_initializer"))
    args, kwargs, more = conv2d_args_preprocessor(args, kwargs)
    return args, kwargs, converted + more


def recurrent_args_preprocessor(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[tuple[str, str]]]:
    converted: list[tuple[str, str]] = []
    if "forget_bias_init" in kwargs:
        if kwargs.pop("forget_bias_init") == "one":
            kwargs["unit_forget_bias"] = True
            converted.append(("forget_bias_init", "unit_forget_bias"))
        else:
            warnings.warn(
                "The `forget_bias_init` argument has been ignored. Use `unit_forget_bias=True` instead to initialize "
                "with ones.",
                stacklevel=3,
            )
    if "input_dim" in kwargs:
        kwargs["input_shape"] = (kwargs.pop("input_length", None), kwargs.pop("input_dim"))
        converted.append(("input_dim", "input_shape"))
        warnings.warn(
            "The `input_dim` and `input_length` arguments in recurrent layers are deprecated. "
            "Use `input_shape` instead.",
            stacklevel=3,
        )
    return args, kwargs, converted


def convlstm2d_args_preprocessor(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[tuple[str, str]]]:
    args, kwargs, first = recurrent_args_preprocessor(args, kwargs)
    args, kwargs, second = conv2d_args_preprocessor(args, kwargs)
    return args, kwargs, first + second


def embedding_kwargs_preprocessor(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[tuple[str, str]]]:
    if "dropout" in kwargs:
        kwargs.pop("dropout")
        warnings.warn(
            "The `dropout` argument is no longer support in `Embedding`. You can apply a "
            "`keras.layers.SpatialDropout1D` layer right after the `Embedding` layer to get the same behavior.",
            stacklevel=3,
        )
    return args, kwargs, []


def batchnorm_args_preprocessor(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[tuple[str, str]]]:
    if "mode" not in kwargs:
        return args, kwargs, []
    if kwargs["mode"] != 0:
        raise TypeError(
            "The `mode` argument of `BatchNormalization` no longer exists. "
            "`mode=1` and `mode=2` are no longer supported."
        )
    kwargs.pop("mode")
    return args, kwargs, [("mode", "")]


def zeropadding2d_args_preprocessor(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[tuple[str, str]]]:
    def pairs(padding: dict[str, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        unknown = set(padding) - {"top_pad", "bottom_pad", "left_pad", "right_pad"}
        if unknown:
            raise ValueError(f"Unexpected key found in `padding` dictionary: {sorted(unknown)}")
        warnings.warn(
            "The `padding` argument in the Keras 2 API no longer accepts dict types. "
            "You can now use argument as: `padding=(top_pad, bottom_pad, left_pad, right_pad)`.",
            stacklevel=5,
        )
        top, bottom = padding.get("top_pad", 0), padding.get("bottom_pad", 0)
        return (top, bottom), (padding.get("left_pad", 0), padding.get("right_pad", 0))

    if isinstance(kwargs.get("padding"), dict):
        kwargs["padding"] = pairs(kwargs["padding"])
    elif len(args) == 1 and isinstance(args[0], dict):
        args = [pairs(args[0])]
    return args, kwargs, []


def add_weight_args_preprocessing(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[tuple[str, str]]]:
    """`add_weight(shape, name)`, the order of Keras 1."""
    if args and isinstance(args[0], (tuple, list)):
        kwargs["shape"] = args[0]
        if len(args) > 1 and isinstance(args[1], str):
            kwargs["name"] = args[1]
            args = args[2:]
        else:
            args = args[1:]
    return args, kwargs, []


def generator_methods_args_preprocessor(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[tuple[str, str]]]:
    """Keras 1 counted samples where Keras 2 counts batches."""
    converted = []
    if len(args) < 2 and "samples_per_epoch" in kwargs:
        samples = kwargs.pop("samples_per_epoch")
        generator: Any = args[0] if args else kwargs.get("generator")
        kwargs["steps_per_epoch"] = samples // generator.batch_size if hasattr(generator, "batch_size") else samples
        converted.append(("samples_per_epoch", "steps_per_epoch"))
    if {"samples_per_epoch", "val_samples", "nb_epoch", "nb_val_samples", "nb_worker"} & set(kwargs):
        warnings.warn(
            "The semantics of the Keras 2 argument `steps_per_epoch` is not the same as the Keras 1 argument "
            "`samples_per_epoch`. `steps_per_epoch` is the number of batches to draw from the generator at each epoch. "
            "Basically steps_per_epoch = samples_per_epoch/batch_size. Similarly `nb_val_samples`->`validation_steps` "
            "and `val_samples`->`steps` arguments have changed. Update your method calls accordingly.",
            stacklevel=3,
        )
    return args, kwargs, converted


def get_updates_arg_preprocessing(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs, list[tuple[str, str]]]:
    """`get_updates(params, constraints, loss)`, the order of Keras 1; the constraints are ignored."""
    if len(args) > 3:
        raise TypeError("`get_update` call received more arguments than expected.")
    if len(args) == 3:
        return [], {"params": args[0], "loss": args[2], **kwargs}, []
    if len(args) == 2 and "loss" in kwargs and isinstance(args[1], dict):
        return [], {"params": args[0], **kwargs}, []
    return args, kwargs, []


# Tables

_DIM_ORDERING = {"dim_ordering": {"tf": "channels_last", "th": "channels_first", "default": None}}
_KERNEL = (
    ("init", "kernel_initializer"),
    ("W_regularizer", "kernel_regularizer"),
    ("b_regularizer", "bias_regularizer"),
    ("W_constraint", "kernel_constraint"),
    ("b_constraint", "bias_constraint"),
    ("bias", "use_bias"),
)
_DATA_FORMAT = (("dim_ordering", "data_format"),)

legacy_dense_support = generate_legacy_interface(["units"], [("output_dim", "units"), *_KERNEL])
legacy_spatialdropout1d_support = generate_legacy_interface(["rate"], [("p", "rate")])
legacy_dropout_support = generate_legacy_interface(["rate", "noise_shape", "seed"], [("p", "rate")])
legacy_spatialdropoutNd_support = generate_legacy_interface(
    ["rate"], [("p", "rate"), *_DATA_FORMAT], value_conversions=_DIM_ORDERING
)
legacy_lambda_support = generate_legacy_interface(["function", "output_shape"])
legacy_conv1d_support = generate_legacy_interface(
    ["filters", "kernel_size"],
    [
        ("nb_filter", "filters"),
        ("filter_length", "kernel_size"),
        ("subsample_length", "strides"),
        ("border_mode", "padding"),
        *_KERNEL,
    ],
    conv1d_args_preprocessor,
)
_CONVOLUTION = (("nb_filter", "filters"), ("subsample", "strides"), ("border_mode", "padding"), *_DATA_FORMAT)
legacy_conv2d_support = generate_legacy_interface(
    ["filters", "kernel_size"], [*_CONVOLUTION, *_KERNEL], conv2d_args_preprocessor, _DIM_ORDERING
)
legacy_conv3d_support = generate_legacy_interface(
    ["filters", "kernel_size"], [*_CONVOLUTION, *_KERNEL], conv3d_args_preprocessor, _DIM_ORDERING
)
legacy_deconv2d_support = generate_legacy_interface(
    ["filters", "kernel_size"], [*_CONVOLUTION, *_KERNEL], deconv2d_args_preprocessor, _DIM_ORDERING
)
_BIAS = (("b_regularizer", "bias_regularizer"), ("b_constraint", "bias_constraint"), ("bias", "use_bias"))
legacy_separable_conv2d_support = generate_legacy_interface(
    ["filters", "kernel_size"], [*_CONVOLUTION, *_BIAS], separable_conv2d_args_preprocessor, _DIM_ORDERING
)
legacy_zeropadding2d_support = generate_legacy_interface(
    ["padding"], _DATA_FORMAT, zeropadding2d_args_preprocessor, _DIM_ORDERING
)
legacy_zeropadding3d_support = generate_legacy_interface(["padding"], _DATA_FORMAT, value_conversions=_DIM_ORDERING)
legacy_cropping2d_support = generate_legacy_interface(["cropping"], _DATA_FORMAT, value_conversions=_DIM_ORDERING)
legacy_cropping3d_support = legacy_cropping2d_support
legacy_upsampling1d_support = generate_legacy_interface(["size"], [("length", "size")])
legacy_upsampling2d_support = generate_legacy_interface(["size"], _DATA_FORMAT, value_conversions=_DIM_ORDERING)
legacy_upsampling3d_support = legacy_upsampling2d_support
legacy_pooling1d_support = generate_legacy_interface(
    ["pool_size", "strides", "padding"],
    [("pool_length", "pool_size"), ("stride", "strides"), ("border_mode", "padding")],
)
legacy_pooling2d_support = generate_legacy_interface(
    ["pool_size", "strides", "padding"], [("border_mode", "padding"), *_DATA_FORMAT], value_conversions=_DIM_ORDERING
)
legacy_pooling3d_support = legacy_pooling2d_support
legacy_global_pooling_support = generate_legacy_interface(None, _DATA_FORMAT, value_conversions=_DIM_ORDERING)
legacy_batchnorm_support = generate_legacy_interface(
    [], [("beta_init", "beta_initializer"), ("gamma_init", "gamma_initializer")], batchnorm_args_preprocessor
)
legacy_prelu_support = generate_legacy_interface(["alpha_initializer"], [("init", "alpha_initializer")])
legacy_gaussiannoise_support = generate_legacy_interface(["stddev"], [("sigma", "stddev")])
legacy_gaussiandropout_support = generate_legacy_interface(["rate"], [("p", "rate")])
legacy_generator_methods_support = generate_legacy_method_interface(
    ["generator", "steps_per_epoch", "epochs"],
    [
        ("samples_per_epoch", "steps_per_epoch"),
        ("val_samples", "steps"),
        ("nb_epoch", "epochs"),
        ("nb_val_samples", "validation_steps"),
        ("nb_worker", "workers"),
        ("pickle_safe", "use_multiprocessing"),
        ("max_q_size", "max_queue_size"),
    ],
    generator_methods_args_preprocessor,
)
_RECURRENT = (
    ("init", "kernel_initializer"),
    ("inner_init", "recurrent_initializer"),
    ("inner_activation", "recurrent_activation"),
    ("W_regularizer", "kernel_regularizer"),
    ("b_regularizer", "bias_regularizer"),
    ("U_regularizer", "recurrent_regularizer"),
    ("dropout_W", "dropout"),
    ("dropout_U", "recurrent_dropout"),
)
legacy_recurrent_support = generate_legacy_interface(
    ["units"],
    [("output_dim", "units"), *_RECURRENT, ("consume_less", "implementation")],
    recurrent_args_preprocessor,
    {"consume_less": {"cpu": 0, "mem": 1, "gpu": 2}},
)
legacy_convlstm2d_support = generate_legacy_interface(
    ["filters", "kernel_size"],
    [
        ("nb_filter", "filters"),
        ("subsample", "strides"),
        ("border_mode", "padding"),
        *_DATA_FORMAT,
        *_RECURRENT,
        ("bias", "use_bias"),
    ],
    convlstm2d_args_preprocessor,
    _DIM_ORDERING,
)
legacy_embedding_support = generate_legacy_interface(
    ["input_dim", "output_dim"],
    [
        ("init", "embeddings_initializer"),
        ("W_regularizer", "embeddings_regularizer"),
        ("W_constraint", "embeddings_constraint"),
    ],
    embedding_kwargs_preprocessor,
)
legacy_input_support = generate_legacy_interface(None, [("input_dtype", "dtype")])
legacy_model_constructor_support = generate_legacy_interface(None, [("input", "inputs"), ("output", "outputs")])
legacy_add_weight_support = generate_legacy_interface(["name", "shape"], preprocessor=add_weight_args_preprocessing)
legacy_get_updates_support = generate_legacy_method_interface(preprocessor=get_updates_arg_preprocessing)
