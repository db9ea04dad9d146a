"""Variables: tensors with content that outlives a run, and reading and writing that content.

`codegen.storage.StoredVariable` holds the memory. Random operations each keep their state in a `RandomState`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from codegen.storage import StoredVariable
from ir import builder as b
from ir import dtypes
from ir.extract import Assign, Increment
from ir.graph import Value
from ir.ops.random import STATE
from ir.types import TensorType
from kgraph.backend import session
from kgraph.backend.sparse import from_scipy
from kgraph.backend.tensor import Tensor, as_value

_WORD = 0xFFFFFFFF


class RandomState(StoredVariable):
    """The state of one random operation: a key, which its seed and the session's make up, and the number of runs so
    far. It advances whenever it is read. All that fixes the numbers lies in it, so it can be saved and restored."""

    def __init__(self, seed: int) -> None:
        path = session.current().unique_name(session.scope() + "random_state")
        key = ((session.current().seed & _WORD) << 32) | (seed & _WORD)
        super().__init__(np.array([key, 0], np.uint64), STATE, path)

    def advance(self) -> Assign:
        """The update that moves it on."""
        return Assign(self, b.apply1("random_advance", self.value))


class Variable(Tensor):
    """A tensor whose content is set by `K.set_value` and updates. `constraint` is applied by optimizers."""

    def __init__(self, stored: StoredVariable, constraint: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__(stored.value, stored.path + ":0")
        self.stored = stored
        self.constraint = constraint
        self._keras_shape = stored.type.bind({})

    @property
    def trainable(self) -> bool:
        """Whether it is a trained weight; only printed graphs show it."""
        return self.stored.trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self.stored.trainable = bool(value)

    def read_value(self) -> Tensor:
        """The content as a tensor."""
        return Tensor(b.unary("identity", self.value))

    def assign(self, value: Any) -> Update:
        """The update that sets it to `value`."""
        return update(self, value)

    def assign_add(self, delta: Any) -> Update:
        return update_add(self, delta)

    def assign_sub(self, delta: Any) -> Update:
        return update_sub(self, delta)


class Update(Tensor):
    """What `K.update` and its like give: the new content of `variable`, stored when a function runs that has this
    update among its `updates`."""

    def __init__(self, variable: Variable, change: Assign | Increment) -> None:
        new = change.value if isinstance(change, Assign) else change.step(variable.value)
        super().__init__(new)
        if new.type != variable.value.type:
            raise ValueError(
                f"variable {variable.name} holds {_words(variable.value)}; cannot update it to {_words(new)}"
            )
        self.variable = variable
        self.change = change

    def to_ir(self) -> Assign | Increment:
        return self.change


def _words(value: Value) -> str:
    shape = ", ".join(str(d) for d in value.shape)
    return f"{value.type.dtype.name} of shape ({shape})"


def variable(
    value: Any, dtype: Any = None, name: str | None = None, constraint: Callable[[Tensor], Tensor] | None = None
) -> Any:
    """A `Variable` that starts with `value`: a number, array, or a tensor, which is evaluated now.

    A scipy sparse matrix becomes a constant `SparseTensor`.
    """
    from kgraph.backend.function import Function, eval, evaluates_directly

    kind = dtypes.of(dtype or session.current().config.floatx)
    path = session.current().unique_name(session.scope() + (name or "Variable"))
    if hasattr(value, "tocoo"):
        return from_scipy(value, kind, path)
    if isinstance(value, Tensor) and _known(value.value.type, kind) and not evaluates_directly(value):
        # Computed in place: a copy of a large value would take as much memory again.
        empty = np.broadcast_to(np.zeros((), kind.numpy), value.value.type.bind({}))
        made = Variable(StoredVariable(empty, value.value.type, path), constraint)
        Function([], [], [(made, value)], name="eval")([])
        return made
    if isinstance(value, Tensor):
        value = eval(value)
    content = np.asarray(value)
    if content.dtype.kind not in "biuf":
        raise TypeError(f"a variable holds numbers, got {type(value).__name__}")
    stored = StoredVariable(content.astype(kind.numpy, copy=False), TensorType(kind, content.shape), path)
    return Variable(stored, constraint)


def _known(type: TensorType, dtype: dtypes.DType) -> bool:
    """Whether values of a type are of `dtype` and their sizes are numbers."""
    return type.dtype == dtype and all(isinstance(d, int) for d in type.shape)


def get_value(x: Any) -> Any:
    """The content of a variable (or the value of a tensor) as a numpy array, a numpy number for a scalar."""
    if isinstance(x, Variable):
        return x.stored.get()[()]
    from kgraph.backend.function import eval

    return eval(x)


def batch_get_value(ops: Sequence[Any]) -> list[Any]:
    """The contents of several variables."""
    return [get_value(x) for x in ops]


def set_value(x: Variable, value: Any) -> None:
    """Replaces the content of a variable. Raises ValueError where the shape differs."""
    _check_variable(x, "K.set_value")
    x.stored.set(np.asarray(value, dtype=x.stored.array.dtype))


def batch_set_value(tuples: Iterable[tuple[Variable, Any]]) -> None:
    """Replaces the contents of several variables, given as (variable, value) pairs."""
    for x, value in tuples:
        set_value(x, value)


def _check_variable(x: Any, what: str) -> None:
    if not isinstance(x, Variable):
        raise TypeError(f"{what} changes variables (K.variable), got {x!r}")


def update(x: Variable, new_x: Any) -> Update:
    """The update that sets `x` to `new_x`."""
    _check_variable(x, "K.update")
    return Update(x, Assign(x.stored, _fitted(x, as_value(new_x, x.value.type.dtype))))


def update_add(x: Variable, increment: Any) -> Update:
    """The update that adds `increment` to `x`; several such updates of one variable add up."""
    _check_variable(x, "K.update_add")
    step = as_value(increment, x.value.type.dtype)
    return Update(x, Increment(x.stored, lambda old: b.add(old, step)))


def update_sub(x: Variable, decrement: Any) -> Update:
    """The update that subtracts `decrement` from `x`."""
    _check_variable(x, "K.update_sub")
    step = as_value(decrement, x.value.type.dtype)
    return Update(x, Increment(x.stored, lambda old: b.sub(old, step)))


def moving_average_update(x: Variable, value: Any, momentum: Any) -> Update:
    """The update of `x` to `x * momentum + value * (1 - momentum)`; several of one variable apply in order."""
    _check_variable(x, "K.moving_average_update")
    dtype = x.value.type.dtype
    new, keep, take = as_value(value, dtype), as_value(momentum, dtype), as_value(1.0 - momentum, dtype)
    return Update(x, Increment(x.stored, lambda old: b.add(b.mul(old, keep), b.mul(new, take))))


def _fitted(x: Variable, new: Value) -> Value:
    """`new` in the shape of `x`, where its unknown sizes can still turn out to agree."""
    if new.type.dtype == x.value.type.dtype and new.shape != x.value.shape and new.rank == x.value.rank:
        if not all(isinstance(d, int) for d in new.shape):
            return b.reshape(new, x.value.shape)
    return new


def get_variable_shape(x: Variable) -> tuple[int, ...]:
    """The shape of a variable."""
    return x.stored.type.bind({})
