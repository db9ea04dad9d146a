"""What a model's file holds beyond Keras' layout, so that training goes on with the same bits as if it had not stopped.

`saving.py` calls `write` and `read`; the loops of training call `end_epoch` and `go_on`. Keras ignores all of it: an
attribute with the states of random operations, the number of epochs done and numpy's random state then, the order of
the samples, which each epoch shuffles further, and groups with variables that training changes but Keras does not save
(the step count of RMSprop, the states of stateful layers).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ir.graph import Node, Value
from kgraph import backend as K
from kgraph.backend.variable import RandomState, Update, Variable
from kgraph.engine.hdf5_guard import Reader, parse_json
from kgraph.engine.network_config import call_orders
from kgraph.engine.weights_file import save_variables

_TEXT = "kgraph_state"  # the attribute
_GROUPS = {"training": "kgraph_training_state", "layers": "kgraph_layer_states"}
_ORDER = "kgraph_sample_order"  # a dataset


@dataclass(frozen=True)
class _Done:
    """How far a run had come after an epoch: the number of epochs done, numpy's random state and, where samples were
    shuffled, their order."""

    epochs: int
    numpy: Any
    order: np.ndarray | None


def end_epoch(model: Any, epoch: int, order: np.ndarray | None = None) -> None:
    """Note that `epoch` is over, and numpy's random state and the order of samples, from which the next one is
    shuffled."""
    model.__dict__["_epochs_done"] = _Done(epoch + 1, np.random.get_state(), None if order is None else order.copy())


def go_on(model: Any, initial_epoch: int) -> np.ndarray | None:
    """Where a loaded model is trained from the epoch after which it was saved, put back what only then applies.

    That is numpy's random state (the shuffles of a run that did not stop would follow from it) and the states of
    stateful layers. It happens once. Returns the order of samples that is to be shuffled next, if one was kept.
    """
    waiting = model.__dict__.pop("_to_go_on", None)
    if waiting is None or waiting.done.epochs != initial_epoch:
        return None
    np.random.set_state(waiting.done.numpy)
    K.batch_set_value(waiting.layers)
    return waiting.done.order


@dataclass(frozen=True)
class _Waiting:
    """What `go_on` puts back."""

    done: _Done
    layers: list[tuple[Variable, np.ndarray]]


# Files


def write(f: Any, model: Any) -> None:
    """Add to the file of a compiled model what `read` needs."""
    if model.__dict__.get("_training_updates") is None:
        return  # it was never trained
    states = [state.get().tolist() for state in _random_states(model)]
    text: dict[str, Any] = {"random_states": states, "calls": call_orders(model)}
    done = model.__dict__.get("_epochs_done")
    if done is not None:
        kind, keys, *rest = done.numpy
        text.update(epochs=done.epochs, numpy=[kind, keys.tolist(), *rest])
        if done.order is not None:
            f.create_dataset(_ORDER, data=done.order.astype(np.min_scalar_type(len(done.order))))
    f.attrs[_TEXT] = json.dumps(text).encode("utf-8")
    for part, variables in _unsaved(model).items():
        if variables:
            save_variables(f.create_group(_GROUPS[part]), variables)


def read_text(f: Any, reader: Reader) -> dict[str, Any]:
    """What the attribute that `write` wrote holds."""
    written = reader.text(f, _TEXT)
    text = None if written is None else parse_json(written, "state of the training")
    return text if isinstance(text, dict) else {}


def read(f: Any, reader: Reader, text: dict[str, Any], model: Any) -> None:
    """Restore what `write` wrote into a model just loaded and compiled; what does not fit it is left out."""
    if not text:
        return
    model._make_train_function()
    states = _random_states(model)
    found = text.get("random_states")
    if isinstance(found, list) and len(found) == len(states) and all(map(_is_state, found)):
        for state, value in zip(states, found, strict=True):
            state.set(np.array(value, np.uint64))
    stored = {part: _stored(f, reader, part, variables) for part, variables in _unsaved(model).items()}
    K.batch_set_value(stored["training"])
    epochs, numpy = text.get("epochs"), _numpy_state(text.get("numpy"))
    if isinstance(epochs, int) and numpy is not None:
        done = model.__dict__["_epochs_done"] = _Done(epochs, numpy, _order(f, reader))
        model.__dict__["_to_go_on"] = _Waiting(done, stored["layers"])


def _order(f: Any, reader: Reader) -> np.ndarray | None:
    """The order of samples in a file; None where it holds none."""
    if reader.find(f, _ORDER) is None:
        return None
    order = reader.array(f, _ORDER)
    whole = order.ndim == 1 and order.dtype.kind == "u" and np.array_equal(np.sort(order), np.arange(len(order)))
    return order.astype(np.intp) if whole else None


def _stored(f: Any, reader: Reader, part: str, variables: Sequence[Variable]) -> list[tuple[Variable, np.ndarray]]:
    """The variables with the values that the file holds for them; none where number or shapes differ."""
    group = reader.group(f, _GROUPS[part])
    names = [] if group is None else reader.texts(group, "weight_names")
    if len(names) != len(variables):
        return []
    values = [reader.array(group, name) for name in names]
    pairs = list(zip(variables, values, strict=True))
    return pairs if all(K.int_shape(x) == value.shape for x, value in pairs) else []


def _is_state(value: Any) -> bool:
    words = value if isinstance(value, list) else []
    return len(words) == 2 and all(type(x) is int and 0 <= x < 1 << 64 for x in words)


def _numpy_state(value: Any) -> Any:
    """A state that `np.random.set_state` takes; None where the file holds none."""
    if not isinstance(value, list) or len(value) != 5:
        return None
    try:
        state: Any = tuple(value)
        np.random.RandomState(np.random.MT19937(0)).set_state(state)
        return state
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


# What training changes


def _unsaved(model: Any) -> dict[str, list[Variable]]:
    """The variables that training changes and Keras does not save: of the optimizer and metrics, and of the layers."""
    saved = {id(x) for x in (*model.weights, *model.optimizer.weights)}
    layers = [x for x in _updated(model.state_updates) if id(x) not in saved]
    saved |= {id(x) for x in layers}
    return {"training": [x for x in _updated(model._train_updates()) if id(x) not in saved], "layers": layers}


def _updated(updates: Iterable[Any]) -> list[Variable]:
    """The variables of some updates, each once, in order."""
    found: dict[int, Variable] = {}
    for item in updates:
        variable = item.variable if isinstance(item, Update) else item[0] if isinstance(item, (list, tuple)) else None
        if isinstance(variable, Variable):
            found.setdefault(id(variable), variable)
    return list(found.values())


def _random_states(model: Any) -> list[RandomState]:
    """The states of the random operations behind a model's outputs, loss and updates.

    The order follows from how the tensors depend on each other, so that it is the same for a model and its copy.
    """
    changes = [x if isinstance(x, K.Tensor) else x[1] for x in model._train_updates()]
    made = [x.value for x in changes if isinstance(x, K.Tensor)]
    todo: list[Value] = [*(x.value for x in (*model.outputs, model.total_loss)), *made][::-1]
    seen: set[Node] = set()
    found: dict[RandomState, None] = {}
    while todo:
        value = todo.pop()
        if isinstance(value.producer, RandomState):
            found.setdefault(value.producer)
        if value.node is not None and value.node not in seen:
            seen.add(value.node)
            todo.extend(reversed(value.node.inputs))
    return list(found)
