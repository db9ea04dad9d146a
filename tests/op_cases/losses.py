"""Rows for `ir/ops/losses.py`: labels at the edges, large logits, extra axes, batches of 0 and 1."""

from __future__ import annotations

import numpy as np

from tests.op_case import Case


def _data(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(sum(shape)).standard_normal(shape) * scale).astype(np.float32)


def _probabilities(*shape: int) -> np.ndarray:
    p = np.random.default_rng(sum(shape) + 1).uniform(0.1, 1.0, shape)
    return (p / p.sum(-1, keepdims=True)).astype(np.float32)


def _unit(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape) + 2).uniform(0.0, 1.0, shape).astype(np.float32)


def _classes(shape: tuple[int, ...], n: int, dtype: str = "int32") -> np.ndarray:
    return np.random.default_rng(n).integers(0, n, shape).astype(dtype)


_SOFT, _SPARSE, _SIGMOID = "softmax_crossentropy", "sparse_softmax_crossentropy", "sigmoid_crossentropy"

CASES: list[Case] = [
    Case(_SOFT, (_probabilities(4, 7), _data(4, 7)), batch=(0, 0)),
    Case(_SOFT, (np.eye(5, dtype=np.float32)[[0, 4, 2]], _data(3, 5, scale=40.0)), id="one_hot_large", batch=(0, 0)),
    Case(_SOFT, (2 * _probabilities(2, 3), _data(2, 3)), id="weights_not_summing_to_1", batch=(0, 0)),
    Case(_SOFT, (_probabilities(2, 3, 5), _data(2, 3, 5)), id="sequence", batch=(0, 0)),
    Case(_SOFT, (_probabilities(11), _data(11)), id="vector"),
    Case(_SOFT, (_probabilities(3, 1), _data(3, 1)), id="one_class", batch=(0, 0)),
    Case(_SOFT, (_probabilities(1, 13), _data(1, 13)), id="one_row", batch=(0, 0)),
    Case(_SOFT, (_data(0, 3), _data(0, 3)), id="empty_batch", batch=(0, 0)),
    Case(_SPARSE, (_classes((4,), 7), _data(4, 7)), batch=(0, 0)),
    Case(_SPARSE, (_classes((2, 3), 5, "int64"), _data(2, 3, 5)), id="sequence", batch=(0, 0)),
    Case(_SPARSE, (_classes((3,), 200, "uint8"), _data(3, 200, scale=20.0)), id="narrow_labels", batch=(0, 0)),
    Case(_SPARSE, (np.array(2, np.int32), _data(11)), id="vector"),
    Case(_SPARSE, (np.zeros(3, np.int32), _data(3, 1)), id="one_class", batch=(0, 0)),
    Case(_SPARSE, (np.zeros(0, np.int32), _data(0, 3)), id="empty_batch", batch=(0, 0)),
    Case(
        _SPARSE,
        (np.array([-1, 0, 3, 2], np.int32), _data(4, 3)),
        id="no_such_class",
        batch=(0, 0),
        differentiable=(),
    ),
    Case(_SIGMOID, (_unit(4, 7), _data(4, 7)), batch=(0, 0)),
    Case(_SIGMOID, (_unit(5), _data(5, scale=100.0)), id="large", batch=(0, 0)),
    Case(_SIGMOID, (_unit(1, 3), _data(4, 3)), id="broadcast", batch=(None, 0)),
    Case(_SIGMOID, (_unit(0, 3), _data(0, 3)), id="empty_batch", batch=(0, 0)),
]
