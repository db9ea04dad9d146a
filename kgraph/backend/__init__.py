"""The backend: symbolic tensors, variables and functions, as in `from kgraph import backend as K`.

Names, arguments and defaults are those of Keras 2.2.4 with its TensorFlow backend. Every operation adds to the IR;
nothing runs before `eval`, `get_value` or a `function` asks for it.
"""

from __future__ import annotations

import importlib
import sys
from builtins import all as py_all
from builtins import any as py_any
from builtins import slice as py_slice
from builtins import sum as py_sum
from types import ModuleType

from kgraph.backend.config import (
    backend,
    cast_to_floatx,
    epsilon,
    floatx,
    image_data_format,
    image_dim_ordering,
    normalize_data_format,
    set_epsilon,
    set_floatx,
    set_image_data_format,
    set_image_dim_ordering,
)
from kgraph.backend.control import (
    in_test_phase,
    in_train_phase,
    learning_phase,
    print_tensor,
    set_learning_phase,
    switch,
)
from kgraph.backend.conv import (
    bias_add,
    conv1d,
    conv2d,
    conv2d_transpose,
    conv3d,
    conv3d_transpose,
    depthwise_conv2d,
    pool2d,
    pool3d,
    separable_conv1d,
    separable_conv2d,
)
from kgraph.backend.creation import (
    arange,
    constant,
    count_params,
    dtype,
    eye,
    identity,
    int_shape,
    is_keras_tensor,
    is_placeholder,
    is_tensor,
    is_variable,
    ndim,
    ones,
    ones_like,
    placeholder,
    shape,
    zeros,
    zeros_like,
)
from kgraph.backend.ctc import ctc_batch_cost, ctc_decode, ctc_label_dense_to_sparse
from kgraph.backend.function import Function, eval, function, gradients, stop_gradient
from kgraph.backend.local import local_conv1d, local_conv2d
from kgraph.backend.loops import cumprod, cumsum, foldl, foldr, map_fn, rnn
from kgraph.backend.math import (
    abs,
    all,
    any,
    argmax,
    argmin,
    batch_dot,
    cast,
    clip,
    cos,
    dot,
    equal,
    exp,
    greater,
    greater_equal,
    l2_normalize,
    less,
    less_equal,
    log,
    logsumexp,
    max,
    maximum,
    mean,
    min,
    minimum,
    not_equal,
    pow,
    prod,
    round,
    sign,
    sin,
    sqrt,
    square,
    std,
    sum,
    var,
)
from kgraph.backend.nn import (
    batch_normalization,
    binary_crossentropy,
    categorical_crossentropy,
    dropout,
    elu,
    hard_sigmoid,
    in_top_k,
    normalize_batch_in_training,
    relu,
    sigmoid,
    softmax,
    softplus,
    softsign,
    sparse_categorical_crossentropy,
    tanh,
)
from kgraph.backend.random import (
    random_binomial,
    random_normal,
    random_normal_variable,
    random_uniform,
    random_uniform_variable,
    truncated_normal,
)
from kgraph.backend.session import (
    Session,
    clear_session,
    get_session,
    get_uid,
    manual_variable_initialization,
    name_scope,
    reset_uids,
    set_session,
)
from kgraph.backend.shaping import (
    batch_flatten,
    concatenate,
    expand_dims,
    flatten,
    gather,
    one_hot,
    permute_dimensions,
    repeat,
    repeat_elements,
    reshape,
    resize_images,
    resize_volumes,
    reverse,
    slice,
    spatial_2d_padding,
    spatial_3d_padding,
    squeeze,
    stack,
    temporal_padding,
    tile,
    transpose,
)
from kgraph.backend.sparse import SparseTensor, is_sparse, to_dense
from kgraph.backend.tensor import Tensor
from kgraph.backend.variable import (
    Update,
    Variable,
    batch_get_value,
    batch_set_value,
    get_value,
    get_variable_shape,
    moving_average_update,
    set_value,
    update,
    update_add,
    update_sub,
    variable,
)

__all__ = [
    "Function", "Session", "SparseTensor", "Tensor", "Update", "Variable", "abs", "all", "any", "arange", "argmax",
    "argmin", "backend", "batch_dot", "batch_flatten", "batch_get_value", "batch_normalization", "batch_set_value",
    "bias_add", "binary_crossentropy", "cast", "cast_to_floatx", "categorical_crossentropy", "clear_session",
    "clip", "concatenate", "constant", "conv1d", "conv2d", "conv2d_transpose", "conv3d", "conv3d_transpose", "cos",
    "count_params", "ctc_batch_cost", "ctc_decode", "ctc_label_dense_to_sparse", "cumprod", "cumsum",
    "depthwise_conv2d", "dot", "dropout", "dtype", "elu", "epsilon", "equal", "eval", "exp", "expand_dims", "eye",
    "flatten", "floatx", "foldl", "foldr", "function", "gather", "get_session", "get_uid", "get_value",
    "get_variable_shape", "gradients", "greater", "greater_equal", "hard_sigmoid", "identity", "image_data_format",
    "image_dim_ordering", "in_test_phase", "in_top_k", "in_train_phase", "int_shape", "is_keras_tensor",
    "is_placeholder", "is_sparse", "is_tensor", "is_variable", "l2_normalize", "learning_phase", "less",
    "less_equal", "local_conv1d", "local_conv2d", "log", "logsumexp", "manual_variable_initialization", "map_fn",
    "max", "maximum", "mean", "min", "minimum", "moving_average_update", "name_scope", "ndim",
    "normalize_batch_in_training", "normalize_data_format", "not_equal", "one_hot", "ones", "ones_like",
    "permute_dimensions", "placeholder", "pool2d", "pool3d", "pow", "print_tensor", "prod", "py_all", "py_any",
    "py_slice", "py_sum", "random_binomial", "random_normal", "random_normal_variable", "random_uniform",
    "random_uniform_variable", "relu", "repeat", "repeat_elements", "reset_uids", "reshape", "resize_images",
    "resize_volumes", "reverse", "rnn", "round", "separable_conv1d", "separable_conv2d", "set_epsilon",
    "set_floatx", "set_image_data_format", "set_image_dim_ordering", "set_learning_phase", "set_session",
    "set_value", "shape", "sigmoid", "sign", "sin", "slice", "softmax", "softplus", "softsign",
    "sparse_categorical_crossentropy", "spatial_2d_padding", "spatial_3d_padding", "sqrt", "square", "squeeze",
    "stack", "std", "stop_gradient", "sum", "switch", "tanh", "temporal_padding", "tile", "to_dense", "transpose",
    "truncated_normal", "update", "update_add", "update_sub", "var", "variable", "zeros", "zeros_like",
]  # fmt: skip


def __getattr__(name: str) -> ModuleType:
    if name in ("common", "tensorflow_backend"):
        return importlib.import_module(f"{__name__}.{name}")
    if name == "tf" and "tensorflow" in sys.modules:  # Keras' backend showed the tensorflow that it had imported
        return sys.modules["tensorflow"]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
