"""Choosing: by a condition, or by the learning phase."""

from __future__ import annotations

from typing import Any

from ir import builder as b
from ir import dtypes
from ir.closure import captured, close
from ir.graph import Value
from ir.passes.specialize import PHASE, is_phase
from ir.types import TensorType
from kgraph.backend import session
from kgraph.backend.tensor import Tensor, as_value, operands


def learning_phase() -> Any:
    """The learning phase: a bool tensor to feed 0 (test) or 1 (training), or the number that was set."""
    current = session.current()
    if current.phase is not None:
        return current.phase
    if current.phase_placeholder is None:
        value = b.input_value(TensorType(dtypes.bool_, ()), PHASE)
        current.phase_placeholder = Tensor(value, "keras_learning_phase:0")
    return current.phase_placeholder


def set_learning_phase(value: int) -> None:
    """Fixes the learning phase at 0 (test) or 1 (training) for everything that is built from now on."""
    if value not in (0, 1):
        raise ValueError("Expected learning phase to be 0 or 1.")
    session.current().phase = int(value)


def _result(x: Any) -> Any:
    return x() if callable(x) and not isinstance(x, Tensor) else x


def switch(condition: Any, then_expression: Any, else_expression: Any) -> Tensor:
    """`then_expression` where `condition` holds, else `else_expression`; both tensors or functions without arguments.

    Of functions, only the one that a scalar condition chooses runs. A condition of lower rank than the expressions
    chooses along their first axes.
    """
    chosen = b.cast(as_value(condition, dtypes.bool_), dtypes.bool_)
    functions = [x for x in (then_expression, else_expression) if callable(x) and not isinstance(x, Tensor)]
    if chosen.rank or not functions:
        return _choose(chosen, then_expression, else_expression)
    before = b.serial()
    then, other = operands(_result(then_expression), _result(else_expression))
    if then.type.dtype != other.type.dtype or then.rank != other.rank:
        return _choose(chosen, Tensor(then), Tensor(other))
    own = [captured([v], [], lambda node: node.serial > before) for v in (then, other)]
    read = list(dict.fromkeys(v for values in own for v in values))
    bodies = {"then": close("then", read, [then]), "otherwise": close("otherwise", read, [other])}
    return Tensor(b.apply1("cond", chosen, *read, **bodies))


def _choose(chosen: Value, then_expression: Any, else_expression: Any) -> Tensor:
    """Both are computed; elements are taken from one or the other."""
    then, other = operands(_result(then_expression), _result(else_expression))
    rank = max(then.rank, other.rank)
    if chosen.rank > rank:
        raise ValueError(
            "Rank of `condition` should be less than or equal to rank of `then_expression` and `else_expression`. "
            f"ndim(condition)={chosen.rank}, ndim(then_expression)={then.rank}"
        )
    if chosen.rank:
        chosen = b.reshape(chosen, chosen.shape + (1,) * (rank - chosen.rank))
    return Tensor(b.select(chosen, then, other))


def in_train_phase(x: Any, alt: Any, training: Any = None) -> Any:
    """`x` in training, else `alt`; both tensors or functions without arguments.

    `training` is the learning phase by default, or a number, bool or tensor.
    """
    follows_phase = training is None
    if training is None:
        training = learning_phase()
    if not isinstance(training, Tensor):
        return _result(x) if training else _result(alt)
    if isinstance(training, Tensor) and is_phase(training.value):
        result = _choose(training.value, x, alt)  # one of the two is left when the phase is fixed
    else:
        result = switch(training, x, alt)
    if follows_phase:
        result._uses_learning_phase = True
    return result


def print_tensor(x: Any, message: str = "") -> Tensor:
    """`x`; when it is computed, `message` and its first elements are written to standard error.

    Use the result in place of `x`: nothing is printed where it is not needed.
    """
    value = as_value(x)
    return Tensor(b.apply1("print", value, message=str(message), number=b.serial()))


def in_test_phase(x: Any, alt: Any, training: Any = None) -> Any:
    """`x` outside of training, else `alt`."""
    return in_train_phase(alt, x, training)
