"""Operations of the backend against numpy, one row each: values with sizes known and open, and gradients against
differences. Convolutions and their like have rows in `test_backend_conv.py`, random tensors in
`test_backend_random.py`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kgraph import backend as K

pytestmark = pytest.mark.usefixtures("reference_session")

R = np.random.RandomState(0)
A = R.randn(3, 4).astype("float32")
B = R.randn(3, 4).astype("float32")
C = R.randn(2, 3, 4).astype("float32")
V = R.randn(4).astype("float32")
P = R.rand(3, 4).astype("float32") + 0.1
I = np.arange(12, dtype="int32").reshape(3, 4)  # noqa: E741
M = A > 0
IMG = R.randn(2, 4, 5, 3).astype("float32")
PROBS = P / P.sum(-1, keepdims=True)
CLASSES = np.array([3, 0, 2], "int32")
EPS = 1e-7


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def binary(t: np.ndarray, p: np.ndarray) -> np.ndarray:
    t, p = np.asarray(t, "float32"), np.clip(p, EPS, 1 - EPS)
    return -t * np.log(p) - (1 - t) * np.log(1 - p)


def recurrence(x: np.ndarray, h: np.ndarray, mask: np.ndarray | None = None, backwards: bool = False) -> np.ndarray:
    """All outputs of h = tanh(x + h / 2), in the order in which they are computed."""
    outputs = []
    output = np.zeros_like(h)
    for t in range(x.shape[1])[:: -1 if backwards else 1]:
        new = np.tanh(x[:, t] + h / 2)
        runs = np.ones((len(x), 1), bool) if mask is None else mask[:, t, None] > 0
        output, h = np.where(runs, new, output), np.where(runs, new, h)
        outputs.append(output)
    return np.stack(outputs, 1)


def step(x: Any, states: list[Any]) -> tuple[Any, list[Any]]:
    new = K.tanh(x + states[0] / 2)
    return new, [new]


def ctc_cost(labels: np.ndarray, y: np.ndarray, steps: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Minus the log of the summed probability of all paths that spell the labels, path by path."""
    costs = []
    for row, p, n, count in zip(labels.astype(int), (y + EPS) / (y + EPS).sum(-1, keepdims=True), steps[:, 0],
                                counts[:, 0], strict=True):
        total = 0.0
        for path in itertools.product(range(y.shape[2]), repeat=int(n)):
            spelled = [c for c, _ in itertools.groupby(path) if c != y.shape[2] - 1]
            if spelled == list(row[:count]):
                total += float(np.prod([p[t, c] for t, c in enumerate(path)]))
        costs.append(-np.log(total) if total else np.inf)
    return np.array(costs)[:, None]


STEPS = R.randn(2, 5, 3).astype("float32")
STATE = R.randn(2, 3).astype("float32")
MASK = np.array([[1, 0, 1, 1, 0], [0, 0, 1, 1, 1]], "float32")
LABELS = np.array([[0, 1], [1, 1], [0, 0], [1, 0]], "float32")  # repeated ones, none at all, steps left over
SAID = R.rand(4, 5, 3).astype("float32") + 0.1
SAID /= SAID.sum(-1, keepdims=True)
SAID_STEPS, LABEL_COUNTS = (np.array(x, "int32")[:, None] for x in ([5, 4, 5, 3], [2, 2, 0, 1]))

Row = tuple[str, Callable[..., Any], list[np.ndarray], Any]

CASES: list[Row] = [
    # arithmetic
    ("square", K.square, [A], A**2),
    ("abs", K.abs, [A], abs(A)),
    ("sqrt of negatives is 0", K.sqrt, [A], np.sqrt(np.maximum(A, 0))),
    ("exp", K.exp, [A], np.exp(A)),
    ("log", K.log, [P], np.log(P)),
    ("log of a number", lambda x: x + K.log(2.0), [P], P + np.log(2)),
    ("round to even", K.round, [np.array([0.5, 1.5, -0.5, 2.4], "float32")], [0.0, 2.0, -0.0, 2.0]),
    ("sign", K.sign, [A], np.sign(A)),
    ("sin", K.sin, [A], np.sin(A)),
    ("cos", K.cos, [A], np.cos(A)),
    ("pow", lambda x: K.pow(x, 3), [A], A**3),
    ("pow 2", lambda x: K.pow(x, 2), [A], A**2),
    ("pow 1", lambda x: x**1, [A], A),
    ("pow 0.5", lambda x: x**0.5, [P], P**0.5),
    ("rpow", lambda x: 2**x, [A], 2.0**A),
    ("clip", lambda x: K.clip(x, -0.5, 0.5), [A], np.clip(A, -0.5, 0.5)),
    ("clip crossed", lambda x: K.clip(x, 0.5, 0.1), [A], np.full_like(A, 0.5)),
    ("clip below", lambda x: K.clip(x, 0.5, None), [A], np.maximum(A, 0.5)),
    ("clip above", lambda x: K.clip(x, None, 0.5), [A], np.minimum(A, 0.5)),
    ("maximum", K.maximum, [A, B], np.maximum(A, B)),
    ("minimum with a number", lambda x: K.minimum(x, 0.0), [A], np.minimum(A, 0)),
    ("equal", K.equal, [I, I % 3], np.equal(I, I % 3)),
    ("not_equal", K.not_equal, [I, I % 3], I != I % 3),
    ("greater", K.greater, [A, B], A > B),
    ("greater_equal", K.greater_equal, [I, I % 3], I >= I % 3),
    ("less", K.less, [A, B], A < B),
    ("less_equal", K.less_equal, [I, I % 3], I <= I % 3),
    ("smaller than a number", lambda x: (x < 0.1) | (x <= -3), [A], A < 0.1),
    ("cast", lambda x: K.cast(x, "int32"), [A * 10], (A * 10).astype("int32")),
    ("operators", lambda x, y: (1 - x) * y / 2 + x / y - (-x), [A, P], (1 - A) * P / 2 + A / P + A),
    ("int division", lambda x: x / 2, [I], I / 2),
    ("floor division and modulo", lambda x: (x - 5) // 3 + (x - 5) % 3, [I], (I - 5) // 3 + (I - 5) % 3),
    ("logic", lambda x: ~x | (x & x) ^ x, [M], ~M | (M & M) ^ M),
    ("numpy operand", lambda x: V * x + V, [A], V * A + V),
    ("large constant", lambda x: x + np.ones((100, 3, 4)), [A], A + np.ones((100, 3, 4))),
    # reductions
    ("sum", K.sum, [A], A.sum()),
    ("sum of axes", lambda x: K.sum(x, axis=(0, -1)), [C], C.sum((0, 2))),
    ("sum keepdims", lambda x: K.sum(x, axis=1, keepdims=True), [C], C.sum(1, keepdims=True)),
    ("prod", lambda x: K.prod(x, axis=[0]), [A], A.prod(0)),
    ("max", lambda x: K.max(x, axis=-1), [A], A.max(-1)),
    ("min", K.min, [A], A.min()),
    ("mean", lambda x: K.mean(x, axis=0), [A], A.mean(0)),
    ("mean of bools", K.mean, [M], M.astype("float32").mean()),
    ("mean of ints", lambda x: K.mean(x, axis=1), [I], I.mean(1)),
    ("var", lambda x: K.var(x, axis=1), [A], A.var(1)),
    ("std", lambda x: K.std(x, axis=1, keepdims=True), [A], A.std(1, keepdims=True)),
    ("any", lambda x: K.any(x, axis=1), [I % 4 == 5], [False] * 3),
    ("any of floats", K.any, [A], True),
    ("all", lambda x: K.all(x, axis=0), [I], (I != 0).all(0)),
    ("argmax", K.argmax, [A], A.argmax(-1)),
    ("argmin", lambda x: K.argmin(x, axis=0), [A], A.argmin(0)),
    ("logsumexp", lambda x: K.logsumexp(x, axis=1), [A * 100], (A * 100).max(1) + np.log(
        np.exp(A * 100 - (A * 100).max(1, keepdims=True)).sum(1))),
    ("l2_normalize", lambda x: K.l2_normalize(x, axis=1), [A], A / np.sqrt((A**2).sum(1, keepdims=True))),
    # products
    ("dot", K.dot, [A, B.T.copy()], A @ B.T),
    ("dot of rank 3", K.dot, [C, B.T.copy()], C @ B.T),
    ("dot of ranks 2 and 3", K.dot, [A, R.randn(2, 4, 5).astype("float32")], None),
    ("batch_dot of vectors", lambda x, y: K.batch_dot(x, y, axes=1), [A, B], (A * B).sum(1, keepdims=True)),
    ("batch_dot default", K.batch_dot, [C, np.ones((2, 4, 5), "float32")], C @ np.ones((2, 4, 5), "float32")),
    ("batch_dot 2 2", lambda x, y: K.batch_dot(x, y, axes=[2, 2]), [C, C], C @ C.swapaxes(1, 2)),
    ("batch_dot 1 1", lambda x, y: K.batch_dot(x, y, axes=(1, 1)), [C, C], C.swapaxes(1, 2) @ C),
    ("batch_dot ranks 3 2", lambda x, y: K.batch_dot(x, y, axes=(2, 1)), [C, A[:2]], (C @ A[:2, :, None])[..., 0]),
    ("batch_dot ranks 2 3", lambda x, y: K.batch_dot(x, y, axes=(1, 2)), [A[:2], C],
     (C @ A[:2, :, None])[..., 0]),
    ("matmul operator", lambda x, y: x @ y, [A, B.T.copy()], A @ B.T),
    # shapes
    ("reshape", lambda x: K.reshape(x, (-1, 2, 2)), [A], A.reshape(3, 2, 2)),
    ("reshape by K.shape", lambda x: K.reshape(x, (K.shape(x)[0] * 2, -1)), [A], A.reshape(6, 2)),
    ("reshape by a stack", lambda x: K.reshape(x, K.stack([K.shape(x)[1], K.shape(x)[0]])), [A], A.reshape(4, 3)),
    ("reshape by x.shape", lambda x: K.reshape(x, (-1, x.shape[1] // 2)), [A], A.reshape(6, 2)),
    ("permute_dimensions", lambda x: K.permute_dimensions(x, (2, 0, 1)), [C], C.transpose(2, 0, 1)),
    ("transpose", K.transpose, [C], C.T),
    ("flatten", K.flatten, [C], C.ravel()),
    ("batch_flatten", K.batch_flatten, [C], C.reshape(2, 12)),
    ("expand_dims", lambda x: K.expand_dims(x, 1), [A], A[:, None]),
    ("expand_dims at the end", K.expand_dims, [A], A[..., None]),
    ("squeeze", lambda x: K.squeeze(x, -1), [A[..., None]], A),
    ("concatenate", lambda x, y: K.concatenate([x, y]), [A, B], np.concatenate([A, B], -1)),
    ("concatenate one", lambda x: K.concatenate([x]), [A], A),
    ("stack", lambda x, y: K.stack([x, y], axis=1), [A, B], np.stack([A, B], 1)),
    ("repeat_elements", lambda x: K.repeat_elements(x, 3, axis=1), [C], C.repeat(3, 1)),
    ("repeat", lambda x: K.repeat(x, 2), [A], np.stack([A, A], 1)),
    ("tile", lambda x: K.tile(x, (2, 3)), [A], np.tile(A, (2, 3))),
    ("tile by a number", lambda x: K.tile(x, 2), [A], np.tile(A, (2, 2))),
    ("reverse", lambda x: K.reverse(x, [0, 2]), [C], C[::-1, :, ::-1]),
    ("slice", lambda x: K.slice(x, [1, 0], [2, -1]), [A], A[1:3]),
    ("gather", K.gather, [A, np.array([[2, 0], [1, 1]], "int32")], A[[[2, 0], [1, 1]]]),
    ("gather constant", lambda x: K.gather(x, [2, 2]), [A], A[[2, 2]]),
    ("one_hot", lambda x: K.one_hot(x, 4), [CLASSES], np.eye(4)[CLASSES]),
    ("temporal_padding", lambda x: K.temporal_padding(x, (1, 2)), [C], np.pad(C, ((0, 0), (1, 2), (0, 0)))),
    ("spatial_2d_padding", lambda x: K.spatial_2d_padding(x, ((1, 0), (2, 1))), [IMG],
     np.pad(IMG, ((0, 0), (1, 0), (2, 1), (0, 0)))),
    ("spatial_2d_padding first", lambda x: K.spatial_2d_padding(x, data_format="channels_first"), [IMG],
     np.pad(IMG, ((0, 0), (0, 0), (1, 1), (1, 1)))),
    ("resize nearest", lambda x: K.resize_images(x, 2, 3, "channels_last"), [IMG], IMG.repeat(2, 1).repeat(3, 2)),
    ("zeros_like", lambda x: K.zeros_like(x) + K.ones_like(x, "float32"), [A], np.ones_like(A)),
    ("zeros of a size to come", lambda x: K.zeros((K.shape(x)[0], 2)) + 1, [A], np.ones((3, 2))),
    ("arange over a size", lambda x: K.arange(K.shape(x)[0]) * 2, [A], [0, 2, 4]),
    ("arange from a size down", lambda x: K.arange(K.shape(x)[0], -1, -2), [A], [3, 1]),
    ("arange", lambda x: x + K.arange(1, 5, dtype="float32"), [A], A + np.arange(1, 5)),
    ("identity", K.identity, [A], A),
    # neural networks
    ("relu", K.relu, [A], np.maximum(A, 0)),
    ("relu leaky", lambda x: K.relu(x, alpha=0.3), [A], np.where(A > 0, A, 0.3 * A)),
    ("relu capped", lambda x: K.relu(x, max_value=0.5), [A], np.clip(A, 0, 0.5)),
    ("relu threshold", lambda x: K.relu(x, 0.2, 0.8, 0.3), [A],
     np.where(A >= 0.8, 0.8, np.where(A > 0.3, A, 0.2 * (A - 0.3)))),
    ("relu of tensor alpha", lambda x: K.relu(x, alpha=K.constant(0.3)), [A], np.where(A > 0, A, 0.3 * A)),
    ("elu", lambda x: K.elu(x, 0.7), [A], np.where(A > 0, A, 0.7 * np.expm1(A))),
    ("softmax", K.softmax, [A], softmax(A)),
    ("softmax axis", lambda x: K.softmax(x, axis=1), [C], softmax(C, 1)),
    ("softplus", K.softplus, [A], np.log1p(np.exp(A))),
    ("softsign", K.softsign, [A], A / (1 + abs(A))),
    ("sigmoid", K.sigmoid, [A], sigmoid(A)),
    ("hard_sigmoid", K.hard_sigmoid, [A * 5], np.clip(A + 0.5, 0, 1)),
    ("tanh", K.tanh, [A], np.tanh(A)),
    ("categorical_crossentropy", K.categorical_crossentropy, [PROBS[::-1].copy(), P],
     -(PROBS[::-1] * np.log(PROBS)).sum(-1)),
    ("categorical_crossentropy of logits", lambda t, x: K.categorical_crossentropy(t, x, from_logits=True), [PROBS, A],
     -(PROBS * np.log(softmax(A))).sum(-1)),
    ("categorical_crossentropy axis", lambda t, x: K.categorical_crossentropy(t, x, axis=1), [abs(C), abs(C)],
     -(abs(C) * np.log(abs(C) / abs(C).sum(1, keepdims=True))).sum(1)),
    ("categorical_crossentropy of logits, axis",
     lambda t, x: K.categorical_crossentropy(t, x, from_logits=True, axis=1), [abs(C), C],
     -(abs(C) * np.log(softmax(C, 1))).sum(1)),
    ("sparse_categorical_crossentropy", K.sparse_categorical_crossentropy, [CLASSES.astype("float32")[:, None], PROBS],
     -np.log(PROBS[np.arange(3), CLASSES])),
    ("sparse_categorical_crossentropy of logits",
     lambda t, x: K.sparse_categorical_crossentropy(t, x, from_logits=True), [CLASSES, A],
     -np.log(softmax(A)[np.arange(3), CLASSES])),
    ("binary_crossentropy", K.binary_crossentropy, [M.astype("float32"), sigmoid(A)], binary(M, sigmoid(A))),
    ("binary_crossentropy of logits", lambda t, x: K.binary_crossentropy(t, x, from_logits=True),
     [M.astype("float32"), A], binary(M, sigmoid(A))),
    ("in_top_k", lambda p, t: K.in_top_k(p, t, 2), [np.array([[1, 2, 3], [3, 2, 1], [1, 1, 1]], "float32"),
     np.array([0, 1, 2], "int32")], [False, True, True]),
    ("bias_add", K.bias_add, [A, V], A + V),
    ("bias_add first", lambda x, b: K.bias_add(x, b, "channels_first"), [C, V[:3]], C + V[:3, None]),
    ("bias_add of rank 3", lambda x, b: K.bias_add(x, b, "channels_first"), [IMG, IMG[0].transpose(1, 2, 0).copy()],
     IMG + IMG[0].transpose(1, 2, 0).reshape(IMG[0].shape)),
    ("conv1d causal", lambda x: K.conv1d(x, K.ones((2, 4, 1)), padding="causal"), [C],
     (C + np.pad(C, ((0, 0), (1, 0), (0, 0)))[:, :-1]).sum(-1, keepdims=True)),
    ("conv2d 1x1", lambda x: K.conv2d(x, K.ones((1, 1, 3, 2)), strides=2), [IMG],
     np.repeat(IMG[:, ::2, ::2].sum(-1, keepdims=True), 2, -1)),
    ("conv2d same", lambda x: K.conv2d(x, K.ones((3, 3, 3, 1)), padding="same"), [np.ones((1, 3, 3, 3), "float32")],
     np.array([[[12, 18, 12], [18, 27, 18], [12, 18, 12]]])[..., None]),
    ("conv2d_transpose", lambda x: K.conv2d_transpose(x, K.ones((2, 2, 1, 3)), (None, 8, 10, 1), (2, 2), "same"), [IMG],
     IMG.sum(-1, keepdims=True).repeat(2, 1).repeat(2, 2)),
    ("pool2d max", lambda x: K.pool2d(x, (2, 2), (2, 2)), [IMG[:, :, :4]],
     IMG[:, :, :4].reshape(2, 2, 2, 2, 2, 3).max((2, 4))),
    ("pool2d avg", lambda x: K.pool2d(x, (2, 2), (2, 2), pool_mode="avg"), [IMG[:, :, :4]],
     IMG[:, :, :4].reshape(2, 2, 2, 2, 2, 3).mean((2, 4))),
    ("batch_normalization", lambda x, m, v: K.batch_normalization(x, m, v, m, v, epsilon=0.01), [A, V, abs(V)],
     (A - V) / np.sqrt(abs(V) + 0.01) * abs(V) + V),
    ("batch_normalization without", lambda x, m, v: K.batch_normalization(x, m, v, None, None, axis=1),
     [C, V[:3], abs(V[:3])], (C - V[:3, None]) / np.sqrt(abs(V[:3, None]) + 0.001)),
    ("batch_normalization broadcast", lambda x, m: K.batch_normalization(x, m, m * m, None, m), [A, B],
     (A - B) / np.sqrt(B * B + 0.001) * B),
    ("normalize_batch_in_training", lambda x, g, b: K.normalize_batch_in_training(x, g, b, [0, 1], 0.01)[0], [C, V, V],
     (C - C.mean((0, 1))) / np.sqrt(C.var((0, 1)) + 0.01) * V + V),
    # loops
    ("cumsum", K.cumsum, [C], C.cumsum(0)),
    ("cumsum of the last axis", lambda x: K.cumsum(x, axis=-1), [C], C.cumsum(-1)),
    ("cumprod", lambda x: K.cumprod(x, axis=1), [C], C.cumprod(1)),
    ("map_fn", lambda x: K.map_fn(lambda e: K.sum(e) * e, x), [A], A.sum(1, keepdims=True) * A),
    ("map_fn of two", lambda x, y: K.map_fn(lambda e: K.sum(e[0] * e[1]), [x, y]), [A, B],
     (A * B).sum(1)),
    ("foldl", lambda x: K.foldl(lambda total, e: total / 2 + e, x), [A], (A[0] / 2 + A[1]) / 2 + A[2]),
    ("foldr", lambda x: K.foldr(lambda total, e: total / 2 + e, x, initializer=K.zeros_like(x[0])), [A],
     (A[2] / 2 + A[1]) / 2 + A[0]),
    ("rnn", lambda x, h: K.rnn(step, x, [h])[1], [STEPS, STATE], recurrence(STEPS, STATE)),
    ("rnn, last output", lambda x, h: K.rnn(step, x, [h])[0], [STEPS, STATE], recurrence(STEPS, STATE)[:, -1]),
    ("rnn backwards", lambda x, h: K.rnn(step, x, [h], go_backwards=True)[1], [STEPS, STATE],
     recurrence(STEPS, STATE, None, True)),
    ("rnn with a mask", lambda x, h, m: K.rnn(step, x, [h], mask=m)[1], [STEPS, STATE, MASK],
     recurrence(STEPS, STATE, MASK)),
    ("rnn with a mask, backwards", lambda x, h, m: K.rnn(step, x, [h], mask=m, go_backwards=True)[1],
     [STEPS, STATE, MASK], recurrence(STEPS, STATE, MASK, True)),
    ("rnn unrolled", lambda x, h, m: K.rnn(step, K.reshape(x, (-1, 5, 3)), [h], mask=m, unroll=True, input_length=5)[1],
     [STEPS, STATE, MASK], recurrence(STEPS, STATE, MASK)),
    ("rnn with constants", lambda x, h, c: K.rnn(lambda e, s: (e * s[1] + s[0], [s[0] + e]), x, [h], constants=[c])[1],
     [STEPS, STATE, STATE], STEPS * STATE[:, None] + STATE[:, None] + STEPS.cumsum(1) - STEPS),
    ("rnn, final state", lambda x, h, m: K.rnn(step, x, [h], mask=m)[2][0], [STEPS, STATE, MASK],
     recurrence(STEPS, STATE, MASK)[:, -1]),
    ("ctc_batch_cost", K.ctc_batch_cost, [LABELS, SAID, SAID_STEPS, LABEL_COUNTS],
     ctc_cost(LABELS, SAID, SAID_STEPS, LABEL_COUNTS)),
    # choices
    ("in_train_phase", lambda x, y: K.in_train_phase(x, y), [A, B], B),
    ("in_train_phase of functions", lambda x, y: K.in_train_phase(lambda: x, lambda: y, training=True), [A, B], A),
    ("in_test_phase", lambda x, y: K.in_test_phase(x, lambda: y), [A, B], A),
    ("print_tensor", lambda x: K.print_tensor(x, "x "), [A], A),
    ("stop_gradient", lambda x: x + K.stop_gradient(x), [A], 2 * A),
    ("variable", lambda x: x * K.variable(V) + K.variable(2.0), [A], A * V + 2),
    ("eye", lambda x: K.dot(x, K.eye(4)), [A], A),
    ("shape", K.shape, [A], [3, 4]),
    ("to_dense", lambda x: K.to_dense(K.concatenate([x, x])), [A], np.concatenate([A, A], -1)),
    ("switch scalar", lambda x, y: K.switch(K.constant(1) > 0, lambda: x, lambda: y), [A, B], A),
    ("switch rows", lambda x, y: K.switch(K.sum(x, axis=1) > 0, x, y), [A, B], np.where(A.sum(1)[:, None] > 0, A, B)),
    ("switch elements", lambda x, y: K.switch(x > y, x, y), [A, B], np.maximum(A, B)),
]  # fmt: skip


@pytest.mark.parametrize("sizes", ["known", "open"])
@pytest.mark.parametrize("row", CASES, ids=[r[0] for r in CASES])
def test_against_numpy(row: Row, sizes: str) -> None:
    name, build, inputs, expected = row
    if expected is None:
        expected = np.dot(*inputs)
    holders = [K.placeholder((None, *x.shape[1:]) if sizes == "open" else x.shape, dtype=x.dtype.name) for x in inputs]
    result = build(*holders)
    (found,) = K.function(holders, [result])(inputs)
    assert np.shape(found) == np.shape(expected)
    assert found.dtype == result.dtype
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


NO_SLOPE = {
    "stop_gradient": "not the derivative, on purpose",
    "sqrt of negatives is 0": "infinite times 0, as in TensorFlow",
    "round to even": "halves are where it jumps",
    "zeros_like": "float32 whatever the input is",
    "arange": "float32 whatever the input is",
    "zeros of a size to come": "depends on sizes alone",
}
SMOOTH = [r for r in CASES if r[0] not in NO_SLOPE and any(x.dtype.kind == "f" for x in r[2])]


@pytest.mark.parametrize("row", SMOOTH, ids=[r[0] for r in SMOOTH])
def test_gradient(row: Row) -> None:
    """In float64, along a random direction of all inputs that have a gradient (masks and labels have none)."""
    _, build, inputs, _ = row
    K.set_floatx("float64")
    arrays = [x.astype("float64") if x.dtype.kind == "f" else x for x in inputs]
    holders = [K.placeholder((None, *x.shape[1:]), dtype=x.dtype.name) for x in arrays]
    result = build(*holders)
    if not result.dtype.is_floating:
        assert K.gradients(result, holders) == [None] * len(holders)
        return
    rng = np.random.default_rng(0)
    total = K.sum(result * rng.standard_normal(np.shape(K.function(holders, [result])(arrays)[0])))
    found = {i: g for i, g in enumerate(K.gradients(total, holders)) if g is not None}
    assert found
    direction = {i: rng.standard_normal(arrays[i].shape) for i in found}
    slope = sum(np.vdot(d, g) for d, g in zip(direction.values(), K.function(holders, list(found.values()))(arrays),
                                              strict=True))  # fmt: skip
    run = K.function(holders, [total])
    ends = [run([x + s * 1e-6 * direction.get(i, 0) for i, x in enumerate(arrays)])[0] for s in (1, -1)]
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-5)


DTYPES: list[tuple[str, Callable[[], Any], str]] = [
    ("any", lambda: K.any(K.constant([1.0])), "bool"),
    ("equal", lambda: K.equal(K.constant(1.0), 1.0), "bool"),
    ("argmax", lambda: K.argmax(K.constant([1.0])), "int64"),
    ("shape", lambda: K.shape(K.constant([1.0])), "int32"),
    ("arange", lambda: K.arange(3), "int32"),
    ("mean of ints", lambda: K.mean(K.arange(3)), "float32"),
    ("sum of ints", lambda: K.sum(K.arange(3)), "int32"),
    ("int division", lambda: K.arange(3) / 2, "float64"),
    ("one_hot", lambda: K.one_hot(K.arange(3), 3), "float32"),
    ("in_top_k", lambda: K.in_top_k(K.constant([[1.0]]), [0], 1), "bool"),
    ("zeros", lambda: K.zeros((2,), "float64"), "float64"),
]


@pytest.mark.parametrize("row", DTYPES, ids=[r[0] for r in DTYPES])
def test_dtypes(row: tuple[str, Callable[[], Any], str]) -> None:
    assert K.dtype(row[1]()) == row[2]


def test_resize_bilinear() -> None:
    x = np.array([[0.0, 2.0], [4.0, 6.0]], "float32").reshape(1, 2, 2, 1)
    (found,) = K.function(
        [h := K.placeholder((None, None, 2, 1))], [K.resize_images(h, 2, 2, "channels_last", "bilinear")]
    )([x])
    expected = [[0, 1, 2, 2], [2, 3, 4, 4], [4, 5, 6, 6], [4, 5, 6, 6]]
    np.testing.assert_allclose(found[0, :, :, 0], expected)


def test_normalize_batch_in_training() -> None:
    x = R.randn(2, 3, 4).astype("float32")
    gamma, beta = K.constant(np.arange(1, 5)), K.constant(np.arange(4))
    for axes in ([0, 1], [0]):
        found = [K.eval(t) for t in K.normalize_batch_in_training(K.constant(x), gamma, beta, axes)]
        mean, var = x.mean(tuple(axes)), x.var(tuple(axes))
        normed = (x - mean) / np.sqrt(var + 0.001) * np.arange(1, 5) + np.arange(4)
        for a, b in zip(found, (normed, mean, var), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    (normed, _, _) = K.normalize_batch_in_training(K.constant(x), None, None, [0, 1])
    np.testing.assert_allclose(K.eval(normed).mean((0, 1)), 0, atol=1e-6)


ERRORS: list[tuple[str, Callable[[], Any], type[Exception], str]] = [
    ("dtypes", lambda: K.constant(1.0) + K.constant(1, "int32"), ValueError, "different dtypes float32, int32"),
    ("fraction beside ints", lambda: K.arange(3) * 0.5, TypeError, "K.cast"),
    ("shapes", lambda: K.zeros((2, 3)) + K.zeros((4,)), ValueError, "3 and 4 do not broadcast"),
    ("dot of a vector", lambda: K.dot(K.zeros((2, 3)), K.zeros((3,))), ValueError, "K.expand_dims"),
    ("batch_dot axes", lambda: K.batch_dot(K.zeros((2, 3)), K.zeros((2, 3)), [[1], [1]]), ValueError,
     "Multiple target"),
    ("reduction axis", lambda: K.sum(K.zeros((2, 3)), axis=2), ValueError, "axis 2 is out of range"),
    ("reshape", lambda: K.reshape(K.zeros((2, 3)), (4, -1)), ValueError, "6 elements do not fill"),
    ("two unknown sizes", lambda: K.reshape(K.zeros((2, 3)), (-1, -1)), ValueError, "only one size can be -1"),
    ("squeeze", lambda: K.squeeze(K.zeros((2, 3)), 0), ValueError, "axis 0 has size 2"),
    ("padding", lambda: K.conv2d(K.zeros((1, 3, 3, 1)), K.zeros((2, 2, 1, 1)), padding="full"), ValueError,
     "Invalid padding: full"),
    ("data_format", lambda: K.pool2d(K.zeros((1, 3, 3, 1)), 2, data_format="nhwc"), ValueError, "Received: nhwc"),
    ("pool mode", lambda: K.pool2d(K.zeros((1, 3, 3, 1)), 2, pool_mode="sum"), ValueError, "Invalid pooling mode"),
    ("channels", lambda: K.conv2d(K.zeros((1, 3, 3, 2)), K.zeros((2, 2, 1, 1))), ValueError, "2 channels"),
    ("bias", lambda: K.bias_add(K.zeros((2, 3, 4)), K.zeros((1, 3, 4))), ValueError, "Unexpected bias dimensions 3"),
    ("switch rank", lambda: K.switch(K.zeros((2, 3)), K.zeros((2,)), K.zeros((2,))), ValueError, "ndim(condition)=2"),
    ("crossentropy axis", lambda: K.categorical_crossentropy(K.zeros((2, 3)), K.zeros((2, 3)), axis=4), ValueError,
     "Unexpected channels axis 4"),
    ("concatenate", lambda: K.concatenate([]), ValueError, "at least one tensor"),
    ("dropout", lambda: K.dropout(K.zeros((2,)), 1.5), ValueError, "share in [0, 1)"),
    ("placeholder", lambda: K.placeholder(), ValueError, "`shape`, or `ndim`"),
    ("string", lambda: K.constant(1.0) + "a", TypeError, "cannot make a tensor of str"),
    ("none", lambda: K.square(None), TypeError, "None is not a tensor"),
    ("data as size", lambda: K.zeros((K.cast(K.placeholder(()), "int32"), 2)), TypeError, "depends on data"),
]  # fmt: skip


@pytest.mark.parametrize("row", ERRORS, ids=[r[0] for r in ERRORS])
def test_errors(row: tuple[str, Callable[[], Any], type[Exception], str]) -> None:
    _, build, kind, message = row
    with pytest.raises(kind) as error:
        build()
    assert message in str(error.value)
