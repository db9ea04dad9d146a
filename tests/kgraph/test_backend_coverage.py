"""Every public function of the backend has a row in a table of tests; of those that compute nothing from tensors, a
test of its own."""

from __future__ import annotations

import ast
import json
import types
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from kgraph import backend as K
from tests.kgraph import test_backend_conv, test_backend_ops, test_backend_random

HERE = Path(__file__).parent
KERAS = json.loads((HERE.parent / "data" / "api" / "keras_api.json").read_text(encoding="utf-8"))["keras.backend"]
NAMES = sorted(set(KERAS["names"]) | set(K.__all__))

# What no row of "inputs, function, expected result" can say, by the reason; each has tests in the file named.
NO_ROW = {
    "settings": (
        "test_backend_session.py",
        "backend cast_to_floatx clear_session epsilon floatx get_session get_uid image_data_format image_dim_ordering "
        "learning_phase manual_variable_initialization name_scope normalize_data_format reset_uids set_epsilon "
        "set_floatx set_image_data_format set_image_dim_ordering set_learning_phase set_session",
    ),
    "questions about a tensor, and contents of variables": (
        "test_backend_tensor.py",
        "batch_get_value batch_set_value count_params dtype get_value get_variable_shape int_shape is_keras_tensor "
        "is_placeholder is_tensor is_variable ndim set_value",
    ),
    "functions, updates and derivatives": (
        "test_backend_function.py",
        "eval function gradients moving_average_update placeholder update update_add update_sub",
    ),
    "sparse tensors": ("test_backend_sparse.py", "ctc_label_dense_to_sparse is_sparse"),
    "several results, whose sizes depend on data": ("test_backend_host.py", "ctc_decode"),
    "random results": ("test_backend_random.py", "dropout"),
    "channels last whatever the data format says": ("test_backend_conv.py", "local_conv1d"),
    "Python's own, under another name": ("test_keras_api.py", "py_all py_any py_slice py_sum"),
    "classes of what functions make": ("", "Function Session SparseTensor Tensor Update Variable"),
}


def names_in(thing: Any) -> set[str]:
    """The names that a function mentions, those in functions and texts that it closes over included."""
    if isinstance(thing, str):
        return {thing}
    if isinstance(thing, partial):
        return names_in(thing.func)
    if isinstance(thing, types.FunctionType) and thing.__module__.startswith("kgraph."):
        return {thing.__name__}
    if not isinstance(thing, types.FunctionType):
        return set()
    found: set[str] = set()
    codes = [thing.__code__]
    for code in codes:
        found.update(code.co_names)
        codes.extend(c for c in code.co_consts if isinstance(c, types.CodeType))
    for cell in thing.__closure__ or ():
        found |= names_in(cell.cell_contents)
    return found


@cache
def rows() -> frozenset[str]:
    builds: Iterable[Callable[..., Any]] = (
        *(row[1] for row in test_backend_ops.CASES),
        *(row.build for row in test_backend_conv.ROWS),
        *(row[1] for row in test_backend_random.ROWS),
    )
    return frozenset(name for build in builds for name in names_in(build))


@cache
def mentioned(file: str) -> frozenset[str]:
    """The names of the backend that a test file uses."""
    tree = ast.parse((HERE / file).read_text(encoding="utf-8"))
    return frozenset(
        node.attr for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "K"
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_has_a_row(name: str) -> None:
    if name in rows():
        return
    for file, names in NO_ROW.values():
        if name in names.split():
            assert not file or name in mentioned(file), f"{file} has no test of K.{name}"
            return
    raise AssertionError(f"K.{name} has no row in test_backend_ops.py, test_backend_conv.py or test_backend_random.py")


def test_spatial_rows_know_both_data_formats() -> None:
    """`test_backend_conv.py` runs each of its rows in both; everything with a `data_format` is there or in the ops."""
    formatted = {n for n, entry in KERAS["names"].items() if "data_format" in entry.get("signature", "")}
    spatial = {name for row in test_backend_conv.ROWS for name in names_in(row.build)}
    assert formatted - spatial <= {"local_conv1d", "normalize_data_format", "set_image_data_format"}
