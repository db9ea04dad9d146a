"""What stands in for `tensorflow` while `kgraph run` runs a script: what Keras scripts take from it, and no more.

Sessions and their settings, seeds and logging, and the functions that the Keras backend offers under another name.
Anything else raises an error that names the backend's function where there is one. `kgraph/cli/run.py` supplies it.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

from kgraph import backend as K
from kgraph.backend.static import DType

__all__ = ["make_tensorflow", "supplied"]

_VERSION = "1.12.0"  # the last that Keras 2.2.4 was made for

# TensorFlow's functions that take the arguments of the backend's function, in its order.
_SAME = (
    "abs", "cast", "cos", "cumprod", "cumsum", "equal", "exp", "expand_dims", "foldl", "foldr", "gather", "gradients",
    "greater", "greater_equal", "identity", "less", "less_equal", "log", "map_fn", "maximum", "minimum", "name_scope",
    "not_equal", "one_hot", "ones", "ones_like", "pow", "random_normal", "random_uniform", "reshape", "reverse",
    "round", "shape", "sigmoid", "sign", "sin", "slice", "sqrt", "square", "squeeze", "stack", "stop_gradient", "tanh",
    "tile", "truncated_normal", "zeros", "zeros_like",
)  # fmt: skip
_RENAMED = {
    "clip_by_value": "clip", "concat": "concatenate", "reduce_all": "all", "reduce_any": "any",
    "reduce_logsumexp": "logsumexp", "reduce_max": "max", "reduce_mean": "mean", "reduce_min": "min",
    "reduce_prod": "prod", "reduce_sum": "sum", "where": "switch",
}  # fmt: skip
_SAME_IN_NN = (
    "bias_add", "elu", "in_top_k", "l2_normalize", "relu", "sigmoid", "softmax", "softplus", "softsign", "tanh",
)  # fmt: skip
_DTYPES = (
    "bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
)  # fmt: skip
# What to write in place of things that the backend says otherwise.
_INSTEAD = {
    "Variable": "K.variable(value)",
    "add": "x + y",
    "assign": "K.update(x, new_x)",
    "assign_add": "K.update_add(x, increment)",
    "assign_sub": "K.update_sub(x, decrement)",
    "cond": "K.switch(condition, then_expression, else_expression)",
    "constant": "K.constant(value, dtype)",
    "contrib": "keras.layers and keras.backend",
    "convert_to_tensor": "K.constant(value, dtype)",
    "div": "x / y",
    "divide": "x / y",
    "image.resize_bilinear": "K.resize_images(x, height_factor, width_factor, data_format, interpolation='bilinear')",
    "image.resize_images": "K.resize_images(x, height_factor, width_factor, data_format)",
    "image.resize_nearest_neighbor": "K.resize_images(x, height_factor, width_factor, data_format)",
    "keras": "import keras",
    "layers": "keras.layers",
    "losses": "keras.losses",
    "matmul": "K.dot(x, y) for matrices, K.batch_dot(x, y) for batches of them",
    "multiply": "x * y",
    "negative": "-x",
    "nn.avg_pool": "K.pool2d(x, pool_size, strides, padding, pool_mode='avg')",
    "nn.conv1d": "K.conv1d(x, kernel, strides, padding)",
    "nn.conv2d": "K.conv2d(x, kernel, strides, padding)",
    "nn.conv2d_transpose": "K.conv2d_transpose(x, kernel, output_shape, strides, padding)",
    "nn.conv3d": "K.conv3d(x, kernel, strides, padding)",
    "nn.depthwise_conv2d": "K.depthwise_conv2d(x, depthwise_kernel, strides, padding)",
    "nn.dropout": "K.dropout(x, level), whose level is the share to drop",
    "nn.leaky_relu": "K.relu(x, alpha=0.2)",
    "nn.max_pool": "K.pool2d(x, pool_size, strides, padding, pool_mode='max')",
    "nn.moments": "K.mean(x, axis) and K.var(x, axis)",
    "nn.relu6": "K.relu(x, max_value=6)",
    "nn.sigmoid_cross_entropy_with_logits": "K.binary_crossentropy(target, output, from_logits=True)",
    "nn.softmax_cross_entropy_with_logits": "K.categorical_crossentropy(target, output, from_logits=True)",
    "nn.softmax_cross_entropy_with_logits_v2": "K.categorical_crossentropy(target, output, from_logits=True)",
    "nn.sparse_softmax_cross_entropy_with_logits":
        "K.sparse_categorical_crossentropy(target, output, from_logits=True)",
    "nn.top_k": "K.max(x, axis) and K.argmax(x, axis)",
    "norm": "K.sqrt(K.sum(K.square(x), axis))",
    "ones_initializer": "keras.initializers.Ones()",
    "pad": "K.spatial_2d_padding(x, padding) or K.temporal_padding(x, padding)",
    "placeholder": "K.placeholder(shape, dtype=dtype)",
    "random.normal": "K.random_normal(shape)",
    "random.uniform": "K.random_uniform(shape)",
    "realdiv": "x / y",
    "scan": "K.rnn(step_function, inputs, initial_states) or K.map_fn(fn, elems)",
    "split": "slices such as x[:, :n]",
    "subtract": "x - y",
    "summary": "keras.callbacks.TensorBoard(log_dir)",
    "train": "keras.optimizers and keras.callbacks.ModelCheckpoint(filepath)",
    "truediv": "x / y",
    "unstack": "slices such as x[:, i]",
    "while_loop": "K.rnn(step_function, inputs, initial_states) or K.map_fn(fn, elems)",
}  # fmt: skip


def _absent(name: str) -> str:
    """What to tell someone who asked for `tensorflow.NAME`."""
    short = name.rsplit(".", 1)[-1]
    inside = [f"{ours} for tf.{theirs}" for theirs, ours in _INSTEAD.items() if theirs.startswith(f"{name}.")]
    text = _INSTEAD.get(name) or _INSTEAD.get(name.split(".")[0]) or ", ".join(inside) or None
    if text is None and short in K.__all__:
        text = f"K.{short}"
    advice = f"write {text} instead" if text else "write it with the functions of keras.backend"
    return f"kgraph stands in for tensorflow here, and has no tensorflow.{name}; {advice}."


class _Namespace(ModuleType):
    """A module whose missing names tell what to use instead."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        path = f"{self.__name__}.{name}".removeprefix("tensorflow.").removeprefix("compat.v1.")
        raise AttributeError(_absent(path))


def _alias(name: str) -> Callable[..., Any]:
    """The backend's function, which also takes TensorFlow's `name` and `keep_dims`."""
    function = getattr(K, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        if name not in ("name_scope", "map_fn", "foldl", "foldr"):
            kwargs.pop("name", None)
        if "keep_dims" in kwargs:
            kwargs["keepdims"] = kwargs.pop("keep_dims")
        return function(*args, **kwargs)

    call.__name__ = name
    call.__doc__ = f"The same as `keras.backend.{name}`."
    return call


def _argmax(input: Any, axis: int = 0, name: str | None = None) -> Any:
    """`keras.backend.argmax`, along the first axis where none is given."""
    return K.argmax(input, axis=axis)


def _argmin(input: Any, axis: int = 0, name: str | None = None) -> Any:
    """`keras.backend.argmin`, along the first axis where none is given."""
    return K.argmin(input, axis=axis)


def _transpose(a: Any, perm: Any = None, name: str | None = None) -> Any:
    """`keras.backend.permute_dimensions`, with the axes reversed where `perm` is None."""
    return K.transpose(a) if perm is None else K.permute_dimensions(a, perm)


# Sessions


class _Options:
    """Settings by name. Those that are never set read as further settings."""

    def __init__(self, **settings: Any) -> None:
        self.__dict__.update(settings)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.__dict__[name] = _Options()
        return self.__dict__[name]


class ConfigProto(_Options):
    """Settings of a session. Only `intra_op_parallelism_threads` has an effect: the number of threads."""

    def __init__(self, **settings: Any) -> None:
        defaults: dict[str, Any] = {"intra_op_parallelism_threads": 0, "inter_op_parallelism_threads": 0}
        defaults |= {"allow_soft_placement": False, "log_device_placement": False, "device_count": {}}
        super().__init__(**{**defaults, **settings})


class GPUOptions(_Options):
    """Settings of GPUs, which have no effect."""


class Graph:
    """The default graph. There is only one, so entering it changes nothing."""

    @contextlib.contextmanager
    def as_default(self) -> Iterator[Graph]:
        yield self

    def finalize(self) -> None:
        """Nothing is left to finish."""


_GRAPH = Graph()
_INITIALIZED = object()  # what the initializers give: variables have their values from the beginning


class Session(K.Session):
    """The backend's session under TensorFlow's name; all share the one state.

    # Arguments
        target, graph: not used.
        config: a `ConfigProto`.
    """

    def __init__(self, target: Any = "", graph: Any = None, config: Any = None) -> None:
        self.__dict__ = K.get_session().__dict__
        threads = 0 if config is None else config.intra_op_parallelism_threads
        if threads:
            from codegen.cpu.threads import set_num_threads

            set_num_threads(threads)

    @property
    def graph(self) -> Graph:
        return _GRAPH

    def run(self, fetches: Any, feed_dict: dict[Any, Any] | None = None) -> Any:
        """The values of a tensor or a list of them; None for an initializer."""
        if fetches is _INITIALIZED:
            return None
        if not isinstance(fetches, (list, tuple)):
            return super().run(fetches, feed_dict)
        wanted = [x for x in fetches if x is not _INITIALIZED]
        results = iter(super().run(wanted, feed_dict) if wanted else [])
        return [None if x is _INITIALIZED else next(results) for x in fetches]

    def close(self) -> None:
        """Nothing needs closing."""

    @contextlib.contextmanager
    def as_default(self) -> Iterator[Session]:
        yield self

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def _set_random_seed(seed: int) -> None:
    """Sets the seed of the session's random operations made from now on."""
    K.get_session().seed = int(seed) % (1 << 64)


@contextlib.contextmanager
def _device(name: Any) -> Iterator[None]:
    """Operations are placed by the target that runs them; the name has no effect."""
    yield


# The module


def make_tensorflow() -> dict[str, ModuleType]:
    """New modules by name: `tensorflow` and what can be imported from inside it."""
    tf, nn, log, compat = (
        _Namespace(n) for n in ("tensorflow", "tensorflow.nn", "tensorflow.logging", "tensorflow.compat")
    )
    for name in _SAME:
        setattr(tf, name, _alias(name))
    for name, ours in _RENAMED.items():
        setattr(tf, name, _alias(ours))
    for name in _SAME_IN_NN:
        setattr(nn, name, _alias(name))
    for name in _DTYPES:
        setattr(tf, name, DType(name))
    tf.__dict__.update(
        __version__=_VERSION,
        VERSION=_VERSION,
        ConfigProto=ConfigProto,
        GPUOptions=GPUOptions,
        Graph=Graph,
        InteractiveSession=Session,
        Session=Session,
        argmax=_argmax,
        argmin=_argmin,
        device=_device,
        disable_eager_execution=lambda: None,
        disable_v2_behavior=lambda: None,
        get_default_graph=lambda: _GRAPH,
        get_default_session=K.get_session,
        global_variables_initializer=lambda: _INITIALIZED,
        initialize_all_variables=lambda: _INITIALIZED,
        local_variables_initializer=lambda: _INITIALIZED,
        reset_default_graph=K.clear_session,
        set_random_seed=_set_random_seed,
        transpose=_transpose,
        nn=nn,
        logging=log,
        compat=compat,
    )
    _fill_logging(log)
    compat.__dict__["v1"] = tf
    modules = {"tensorflow": tf, "tensorflow.nn": nn, "tensorflow.logging": log, "tensorflow.compat": compat}
    for name, module in modules.items():
        module.__path__ = []
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    return {**modules, "tensorflow.compat.v1": tf}


def _fill_logging(module: ModuleType) -> None:
    """`tf.logging` is Python's logger called tensorflow."""
    logger = logging.getLogger("tensorflow")
    names = ("debug", "info", "warning", "error", "fatal", "log")
    module.__dict__.update({name: getattr(logger, name) for name in names})
    module.__dict__.update(
        DEBUG=logging.DEBUG,
        ERROR=logging.ERROR,
        FATAL=logging.FATAL,
        INFO=logging.INFO,
        WARN=logging.WARNING,
        get_verbosity=logger.getEffectiveLevel,
        set_verbosity=logger.setLevel,
        warn=logger.warning,
    )


class _Refuse(importlib.abc.MetaPathFinder):
    """Tells what to use instead of the modules inside tensorflow that are not there."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname.startswith("tensorflow."):
            raise ModuleNotFoundError(_absent(fullname.removeprefix("tensorflow.")), name=fullname)


@contextlib.contextmanager
def supplied() -> Iterator[None]:
    """`import tensorflow` finds the stand-in inside this block, unless a tensorflow is imported already."""
    if "tensorflow" in sys.modules:
        yield
        return
    modules, refuse = make_tensorflow(), _Refuse()
    sys.modules.update(modules)
    sys.meta_path.insert(0, refuse)
    try:
        yield
    finally:
        sys.meta_path.remove(refuse)
        for name, module in modules.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
