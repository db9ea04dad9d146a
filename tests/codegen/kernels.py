"""Compiling and calling one kernel on numpy arrays, for the tests of the code generator's lowest layer."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from codegen.cache import KernelCache
from codegen.cpu.call import c_function
from codegen.source import Kernel
from ir import dtypes

Array = np.ndarray  # type: ignore[type-arg]


def slots_of(*values: Any) -> Array:
    """A row of slots: addresses of arrays, integers, bits of float32 scalars."""
    row = []
    for value in values:
        if isinstance(value, np.ndarray):
            row.append(value.ctypes.data)
        elif isinstance(value, np.float32):
            row.append(int(value.view(np.int32)))
        elif isinstance(value, float):
            row.append(int(np.float64(value).view(np.int64)))
        else:
            row.append(int(value))
    return np.array(row, np.int64)


def run(cache: KernelCache, kernel: Kernel, values: tuple[Any, ...], tiles: tuple[int, int]) -> None:
    row = slots_of(*values)
    c_function(cache.get(kernel))(row.ctypes.data, *tiles, 0)


def elementwise(expression: str, inputs: str, output: str, fastmath: bool = False) -> Kernel:
    """One loop: operands `x0`, `x1`, ... of the dtypes listed in `inputs` ("f32 i32"), result of dtype `output`."""
    shorts = inputs.split()
    lines = ["def kernel(args, lo, hi, worker):", "    a = slots(args)"]
    lines += [f"    p{i} = {dtype}p(a[{i}])" for i, dtype in enumerate(shorts)]
    lines += [f"    out = {output}p(a[{len(shorts)}])", "    for i in range(lo, hi):"]
    lines += [f"        x{i} = load(p{i}, i)" for i in range(len(shorts))]
    lines += [f"        store(out, i, {expression})"]
    return Kernel("elementwise", "\n".join(lines) + "\n", expression, fastmath=fastmath)


def apply(cache: KernelCache, expression: str, output: str, *arrays: Array) -> Array:
    """The elementwise kernel of an expression over `x0`, `x1`, ..., run on arrays."""
    inputs = " ".join(dtypes.of(array.dtype).short for array in arrays)
    out = np.empty(arrays[0].size, dtypes.of(output).numpy)
    run(cache, elementwise(expression, inputs, output), (*map(np.ascontiguousarray, arrays), out), (0, out.size))
    return out


def vector_instructions(text: str, operation: str) -> list[str]:
    """The lines of an assembly text that do an operation on whole vector registers (xmm registers do not count)."""
    return [line for line in text.splitlines() if re.search(rf"\s{operation}\b.*%[yz]mm", line)]
