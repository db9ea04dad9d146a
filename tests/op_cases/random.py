"""Rows for `ir/ops/random.py`: sizes that are no multiples of a block, all dtypes, states at the ends of words."""

from __future__ import annotations

import numpy as np

from ir import dtypes
from tests.op_case import Case

_STATE = np.array([0x0123456789ABCDEF, 7], np.uint64)
_LAST = np.array([2**64 - 1, 2**64 - 1], np.uint64)
_TOLERANCE = {dtypes.f16: 2e-3, dtypes.f32: 5e-7, dtypes.f64: 1e-15}  # 4 ulp

CASES: list[Case] = [
    *(
        Case(
            op,
            (state,),
            {"seed": seed, "shape": shape, "dtype": dtype},
            id=f"{dtype}-{'x'.join(map(str, shape)) or 'scalar'}-{seed}",
            rtol=0.0 if op == "random_uniform" else _TOLERANCE[dtype],
            atol=0.0,
        )
        for op in ("random_uniform", "random_normal", "random_truncated_normal")
        for state, seed, shape, dtype in (
            (_STATE, 0, (), dtypes.f32),
            (_STATE, 1, (0,), dtypes.f32),
            (_STATE, 2, (1,), dtypes.f32),
            (_STATE, 1337, (3, 37), dtypes.f32),
            (_LAST, 2**32 - 1, (2, 4, 8), dtypes.f32),
            (_STATE, 42, (7,), dtypes.f64),
            (_LAST, 42, (5, 13), dtypes.f64),
            (_STATE, 42, (5, 7), dtypes.f16),
        )
    ),
    Case("random_advance", (_STATE,)),
    Case("random_advance", (_LAST,), id="wraps"),
]
