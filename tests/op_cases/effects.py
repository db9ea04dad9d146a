"""Rows for `ir/ops/effects.py` and `ir/ops/host.py`. What these print and decode is tested in
`tests/ir/test_ctc_search.py` and `tests/kgraph/test_backend_host.py`. Host ops have no symbolic batch here, since their
sizes stand for what a run tells."""

from __future__ import annotations

import numpy as np

from tests.op_case import Case

_rng = np.random.default_rng(3)


def _scores(*shape: int) -> np.ndarray:
    return _rng.normal(size=shape).astype(np.float32)


_BEST = np.array([[0, 2, 1, 2], [0, 0, 2, 0]])  # the classes of the best paths; 2 is the blank
_SAID = np.where(_BEST[..., None] == np.arange(3), 3.0, 0.0).astype(np.float32)
_LENGTHS = np.array([4, 4], np.int32)
_MASK = np.array([[True, False, True], [False, False, True]])

CASES: list[Case] = [
    Case("print", (_scores(3, 5),), {"message": "x ", "number": 1}, batch=(0,)),
    Case("print", (np.arange(7),), {"message": "", "number": 2}, batch=(0,)),
    Case("print", (np.float16(0.5),), {"message": "half ", "number": 3}, id="half"),
    Case("print", (np.zeros((0, 3), np.bool_),), {"message": "none ", "number": 4}, id="empty", batch=(0,)),
    Case(
        "ctc_decode", (_SAID, _LENGTHS), {"greedy": True, "beam_width": 1, "top_paths": 1, "sizes": (2,)}, id="greedy"
    ),
    Case(
        "ctc_decode", (_SAID, _LENGTHS), {"greedy": False, "beam_width": 9, "top_paths": 2, "sizes": (2, 1)}, id="beam"
    ),
    Case("stored", (_scores(2, 3), _MASK), {"sizes": (3,)}),
    Case("stored", (_scores(2, 3), ~_MASK & _MASK), {"sizes": (0,)}, id="none"),
]
