"""Fed indices out of range are refused, by the name of the layer that reads them, on every target."""

from __future__ import annotations

import re

import numpy as np
import pytest

from codegen.program import Executable, compile_graph
from codegen.storage import StoredVariable
from ir import builder as b
from ir import dtypes
from ir.dims import SymDim
from ir.dtypes import DType
from ir.extract import extract
from ir.types import TensorType


def lookup(dtype: DType, target: str) -> Executable:
    """Rows of a table of 10, at indices that come from input `x` through a cast and a reshape."""
    table = StoredVariable(np.arange(20, dtype=np.float32).reshape(10, 2), TensorType(dtypes.f32, (10, 2)), "table")
    batch = SymDim("B")
    x = b.input_value(TensorType(dtype, (batch, 3)), "x")
    with b.origin(("model", "embedding_1")):
        rows = b.apply1("gather", table.value, b.reshape(b.cast(x, dtypes.i32), (3 * batch,)), axis=0)
    return compile_graph(extract("lookup", [x], [rows]), target=target)


@pytest.mark.parametrize("target", ["reference", "cpu"])
@pytest.mark.parametrize("dtype", [dtypes.i32, dtypes.i64, dtypes.f32], ids=lambda d: d.name)
def test_limits(dtype: DType, target: str, cache: object) -> None:
    run = lookup(dtype, target).run
    whole = np.array([[0, 1, 9]], dtype.numpy)
    assert run([whole])[0].tolist() == [[0, 1], [2, 3], [18, 19]]
    assert run([np.zeros((0, 3), dtype.numpy)])[0].shape == (0, 2)
    for bad in (10, -1):
        message = f"embedding_1: index {bad} is out of range, there are 10 rows (0 to 9); it comes "
        with pytest.raises(ValueError, match=re.escape(message + "from input 'x'")):
            run([np.array([[0, bad, 1]], dtype.numpy)])


def test_fractions_and_nan(cache: object) -> None:
    run = lookup(dtypes.f32, "cpu").run
    assert run([np.array([[0.9, 9.5, -0.9]], np.float32)])[0].tolist() == [[0, 1], [18, 19], [0, 1]]
    with pytest.raises(ValueError, match="index nan is out of range"):
        run([np.array([[0, np.nan, 1]], np.float32)])
