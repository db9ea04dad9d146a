"""The tensors that users see: a value of the IR with TensorFlow 1's manners.

`Tensor` holds the value and offers operators; `as_value` and `operands` turn what users pass (tensors, numbers, arrays)
into values. Before it come `static.py` and `indexing.py`, after it the operations in `creation.py`,
`math.py`, `shaping.py`, `nn.py`, `random.py` and `control.py`.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from codegen.storage import StoredVariable
from ir import builder as b
from ir import dtypes
from ir.dims import SymDim
from ir.dtypes import DType as IrDType
from ir.graph import Value
from ir.types import TensorType
from kgraph.backend import indexing, session, static

_LARGEST_LITERAL = 256  # constants with more elements live in a variable, not in the graph's text


class Operation:
    """What computes a tensor: its name, type and operands."""

    def __init__(self, name: str, value: Value) -> None:
        self.name = name
        node = value.node
        self.type = _operation(node.op.name) if node else "Placeholder" if value.producer is None else "VariableV2"

    def __repr__(self) -> str:
        return f"<Operation {self.name!r} type={self.type}>"


def _operation(op: str) -> str:
    """The name of an IR op as TensorFlow writes names of operations."""
    return _OPERATIONS.get(op) or "".join(part.capitalize() for part in op.split("_"))


_OPERATIONS = {
    "matmul": "MatMul", "conv2d": "Conv2D", "conv3d": "Conv3D", "depthwise_conv2d": "DepthwiseConv2dNative",
    "max_pool2d": "MaxPool", "avg_pool2d": "AvgPool", "max_pool3d": "MaxPool3D", "avg_pool3d": "AvgPool3D",
}  # fmt: skip


class Tensor:
    """A symbolic tensor: hashable, equal only to itself. Arithmetic and `<`, `<=`, `>`, `>=` build new tensors.

    Keras keeps what it knows in attributes: `_keras_shape` (the shape that the user claims, None where unknown),
    `_keras_history` and `_uses_learning_phase`.
    """

    __array_ufunc__ = None
    _keras_shape: tuple[int | None, ...]  # set by placeholders, variables and layers only
    _keras_history: Any  # set by layers only
    _uses_learning_phase = False

    def __init__(self, value: Value, name: str | None = None) -> None:
        self.value = value
        self._name = name
        self._scope = session.scope()

    # What is known before anything runs

    @property
    def name(self) -> str:
        if self._name is None:
            kind = self.value.node.op.name if self.value.node else "placeholder"
            self._name = session.current().unique_name(self._scope + _operation(kind)) + ":0"
        return self._name

    @property
    def dtype(self) -> static.DType:
        return static.DType(self.value.type.dtype.name)

    @property
    def shape(self) -> static.TensorShape:
        return static.TensorShape(self.value.shape)

    def get_shape(self) -> static.TensorShape:
        return self.shape

    @property
    def op(self) -> Operation:
        return Operation(self.name.split(":")[0], self.value)

    def eval(self, feed_dict: dict[Tensor, Any] | None = None, session: Any = None) -> Any:
        """The content as a numpy array, with the placeholders in `feed_dict` fed."""
        from kgraph.backend.session import current

        return current().run(self, feed_dict)

    def __repr__(self) -> str:
        return f'<{type(self).__name__} "{self.name}" shape={self.shape} dtype={self.dtype.name}>'

    def __str__(self) -> str:
        return f'Tensor("{self.name}", shape={self.shape}, dtype={self.dtype.name})'

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    # Operators

    def __add__(self, other: Any) -> Tensor:
        return binary("add", self, other)

    def __radd__(self, other: Any) -> Tensor:
        return binary("add", other, self)

    def __sub__(self, other: Any) -> Tensor:
        return binary("sub", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return binary("sub", other, self)

    def __mul__(self, other: Any) -> Tensor:
        return binary("mul", self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return binary("mul", other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return divide(self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return divide(other, self)

    def __floordiv__(self, other: Any) -> Tensor:
        return binary("floordiv", self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return binary("floordiv", other, self)

    def __mod__(self, other: Any) -> Tensor:
        return binary("mod", self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return binary("mod", other, self)

    def __pow__(self, other: Any) -> Tensor:
        return power(self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return power(other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return binary_matmul(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return binary_matmul(other, self)

    def __neg__(self) -> Tensor:
        return Tensor(b.neg(self.value))

    def __abs__(self) -> Tensor:
        return Tensor(b.unary("abs", self.value))

    def __lt__(self, other: Any) -> Tensor:
        return binary("less", self, other)

    def __le__(self, other: Any) -> Tensor:
        return binary("less_equal", self, other)

    def __gt__(self, other: Any) -> Tensor:
        return binary("greater", self, other)

    def __ge__(self, other: Any) -> Tensor:
        return binary("greater_equal", self, other)

    def __and__(self, other: Any) -> Tensor:
        return binary("logical_and", self, other)

    def __rand__(self, other: Any) -> Tensor:
        return binary("logical_and", other, self)

    def __or__(self, other: Any) -> Tensor:
        return binary("logical_or", self, other)

    def __ror__(self, other: Any) -> Tensor:
        return binary("logical_or", other, self)

    def __xor__(self, other: Any) -> Tensor:
        return binary("logical_xor", self, other)

    def __rxor__(self, other: Any) -> Tensor:
        return binary("logical_xor", other, self)

    def __invert__(self) -> Tensor:
        return Tensor(b.unary("logical_not", self.value))

    def __getitem__(self, key: Any) -> Tensor:
        return Tensor(indexing.index(self.value, _unwrap_key(key)))

    # What a symbolic tensor cannot do

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"{self} has no value before the model runs, so it cannot decide an `if` or `while`; "
            "use K.switch(condition, then, else), or K.in_train_phase for the learning phase"
        )

    def __iter__(self) -> NoReturn:
        raise TypeError(f"{self} cannot be iterated over before the model runs; take parts by index, as in x[:, i]")

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            f"{self} has no value before the model runs, so numpy cannot use it; use the function of the same name in "
            "the backend (K.sum, K.exp, ...), or K.eval(x) or K.function for its value"
        )

    def __float__(self) -> NoReturn:
        self.__array__()

    def __int__(self) -> NoReturn:
        self.__array__()


def _unwrap_key(key: Any) -> Any:
    """An index with tensors replaced by their values."""
    if isinstance(key, tuple):
        return tuple(_unwrap_key(k) for k in key)
    if isinstance(key, Tensor):
        return key.value
    if isinstance(key, slice):
        return slice(_unwrap_key(key.start), _unwrap_key(key.stop), _unwrap_key(key.step))
    return key


# From what users pass to values


def as_value(x: Any, dtype: IrDType | None = None) -> Value:
    """The value of a tensor; a number, sequence or array becomes a constant of `dtype` (default: the float type).

    Raises TypeError for what is no tensor, and for fractions where `dtype` holds integers.
    """
    if isinstance(x, Tensor):
        return x.value
    return _constant(x, dtype or dtypes.of(session.current().config.floatx))


def _constant(x: Any, dtype: IrDType) -> Value:
    array = _array(x, dtype)
    if array.size <= _LARGEST_LITERAL:
        return b.constant(array, dtype)
    return StoredVariable(array, TensorType(dtype, array.shape), session.scope() + "Const").value


def _array(x: Any, dtype: IrDType) -> np.ndarray:
    if x is None:
        raise TypeError("None is not a tensor")
    if isinstance(x, static.Dimension):
        x = int(x)
    array = np.asarray(x)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"cannot make a tensor of {type(x).__name__} {x!r}")
    kind = array.dtype.kind
    if (kind == "f" and not dtype.is_float) or (dtype.is_bool and kind != "b") or (kind == "b" and not dtype.is_bool):
        raise TypeError(
            f"{x!r} does not fit a tensor of dtype {dtype.name}; cast the tensor first, as in K.cast(x, 'float32')"
        )
    return array.astype(dtype.numpy)


def operands(x: Any, y: Any) -> tuple[Value, Value]:
    """Both as values; what is not a tensor takes the dtype of the tensor beside it."""
    if isinstance(x, Tensor):
        return x.value, y.value if isinstance(y, Tensor) else as_value(y, x.value.type.dtype)
    if isinstance(y, Tensor):
        return as_value(x, y.value.type.dtype), y.value
    return as_value(x), as_value(y)


def binary(op: str, x: Any, y: Any) -> Tensor:
    """An elementwise op of two operands with numpy's broadcasting."""
    return Tensor(b.apply1(op, *operands(x, y)))


def divide(x: Any, y: Any) -> Tensor:
    """True division; integers are converted to float64 first (small ones to float32), as TensorFlow does."""
    left, right = operands(x, y)
    dtype = left.type.dtype
    if dtype.is_integer and right.type.dtype == dtype:
        wide = dtypes.f32 if dtype.itemsize < 4 else dtypes.f64
        left, right = b.cast(left, wide), b.cast(right, wide)
    return Tensor(b.div(left, right))


def power(x: Any, y: Any) -> Tensor:
    """`x` to the power of `y`; the exponents 1, 2 and 0.5 have cheaper ops of the same meaning."""
    if isinstance(x, Tensor) and isinstance(y, (int, float)) and not isinstance(y, bool):
        if y == 2:
            return Tensor(b.unary("square", x.value))
        if y == 1:
            return Tensor(b.unary("identity", x.value))
        if y == 0.5 and x.value.type.dtype.is_float:
            return Tensor(b.unary("sqrt", x.value))
    return binary("pow", x, y)


def binary_matmul(x: Any, y: Any) -> Tensor:
    """Matrix product of the last two axes."""
    return Tensor(b.matmul(*operands(x, y)))


# Placeholders

_AXES = {1: "B", 2: "BD", 3: "BTD", 4: "BHWC", 5: "BDHWC"}


def placeholder_type(shape: Any, dtype: IrDType) -> TensorType:
    """The type of a placeholder; each unknown size (None) becomes a symbol of its own."""
    names = _AXES.get(len(shape)) or "B" + "N" * (len(shape) - 1)
    sizes = [
        SymDim.fresh(names[axis]) if size is None or size == -1 else indexing.as_dim(size)
        for axis, size in enumerate(shape)
    ]
    return TensorType(dtype, tuple(sizes))
