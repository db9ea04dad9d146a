"""Functions: feeding, updates, the learning phase, gradients, evaluation."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from kgraph import backend as K
from kgraph.backend import session

pytestmark = pytest.mark.usefixtures("reference_session")


def test_feeds_are_converted() -> None:
    x = K.placeholder((None, 2), name="x")
    run = K.function([x], [x * 2, K.sum(x)])
    doubled, total = run([[[1, 2], [3, 4]]])
    assert doubled.dtype == np.float32 and doubled.tolist() == [[2, 4], [6, 8]]
    assert isinstance(total, np.float32) and total == 10
    transposed = np.arange(4.0).reshape(2, 2).T
    np.testing.assert_array_equal(run((transposed,))[0], transposed * 2)


FEEDS: list[tuple[Any, type[Exception], str]] = [
    (np.zeros((2, 2)), TypeError, "list or tuple"),
    ([], ValueError, "takes 1 inputs, got 0"),
    ([np.zeros((2, 3))], ValueError, "'x' has size 3 along axis 1, expected 2"),
    ([np.zeros(2)], ValueError, "'x' takes 2 dimensions"),
    ([None], ValueError, "'x' needs an array, got None"),
    ([[["a", "b"]]], TypeError, "'x' needs an array of float32"),
    ([[[1, 2], [3]]], ValueError, "'x' needs an array of float32"),
]


@pytest.mark.parametrize("row", FEEDS, ids=[r[2] for r in FEEDS])
def test_bad_feeds(row: tuple[Any, type[Exception], str]) -> None:
    feed, kind, message = row
    x = K.placeholder((None, 2), name="x")
    with pytest.raises(kind, match=message):
        K.function([x], [x])(feed)


def test_bad_arguments() -> None:
    x = K.placeholder((None, 2), name="x")
    with pytest.raises(TypeError, match="`outputs`"):
        K.function([x], x)
    with pytest.raises(TypeError, match="outputs of a function are tensors"):
        K.function([x], [1.0])
    with pytest.raises(ValueError, match='Invalid argument "givens"'):
        K.function([x], [x], givens=[])
    with pytest.raises(ValueError, match="'y', which was not given"):
        K.function([x], [x + K.placeholder((None, 2), name="y")])
    with pytest.raises(TypeError, match="an update is"):
        K.function([x], [x], updates=[3])


def test_updates_commit_together() -> None:
    a, b = K.variable(1.0), K.variable(2.0)
    run = K.function([], [a + b], updates=[(a, b), K.update(b, a), K.update(b, a)][:2])
    assert run([])[0] == 3
    assert (K.get_value(a), K.get_value(b)) == (2, 1)


def test_incremental_updates_compose() -> None:
    v, x = K.variable(8.0), K.placeholder(())
    run = K.function([x], [], updates=[K.update_add(v, x), K.update_sub(v, 1), K.moving_average_update(v, x, 0.5)])
    run([2])
    assert K.get_value(v) == (8 + 2 - 1) * 0.5 + 1
    twice = [K.update(v, x), K.update(v, x * 2)]
    with pytest.raises(ValueError, match="assigned twice"):
        K.function([x], [], updates=twice)
    with pytest.raises(ValueError, match="cannot update it"):
        K.update(v, K.zeros((2,)))


def test_update_is_the_new_value() -> None:
    v = K.variable(3.0)
    assert K.function([], [K.update_add(v, 1)])([]) == [4] and K.get_value(v) == 3


def test_learning_phase() -> None:
    x = K.placeholder((None,))
    y = K.in_train_phase(x + 1, lambda: x - 1)
    assert y._uses_learning_phase and not x._uses_learning_phase
    run = K.function([x, K.learning_phase()], [y])
    assert (
        run([[5], 1])[0] == 6 and run([[5], 0])[0] == 4 and run([[5], True])[0] == 6 and run([[5], np.array(0)])[0] == 4
    )
    assert K.function([x], [y])([[5]])[0] == 4
    assert K.in_train_phase(x, y, training=True) is x and K.in_test_phase(x, y, training=1) is y
    flag = K.placeholder((), dtype="float32")
    assert K.function([flag, x], [K.in_train_phase(x, -x, training=flag)])([1, [3]])[0] == 3


def test_fixed_learning_phase() -> None:
    x = K.placeholder((None,))
    K.set_learning_phase(1)
    assert K.learning_phase() == 1 and K.in_train_phase(x, -x) is x
    assert K.function([x, K.learning_phase()], [x])([[2], 0])[0] == 2
    with pytest.raises(ValueError, match="0 or 1"):
        K.set_learning_phase(2)


def test_intermediate_tensors_can_be_fed() -> None:
    x = K.placeholder((None, 2))
    hidden = x * 2
    out = K.sum(hidden + 1, axis=1)
    assert K.function([hidden], [out])([[[1, 1]]])[0].tolist() == [4]
    v = K.variable(3.0)
    assert K.function([v], [v * 2])([5]) == [10] and K.get_value(v) == 3


def test_unknown_size_of_one() -> None:
    prediction, target = K.placeholder((None, 3)), K.placeholder(ndim=2, name="target")
    run = K.function([prediction, target], [K.mean(prediction - target, axis=-1)])
    for _ in range(2):
        assert run([np.ones((4, 3)), np.zeros((4, 1))])[0].tolist() == [1] * 4
        assert run([np.ones((4, 3)), np.zeros((4, 3))])[0].tolist() == [1] * 4
    with pytest.raises(ValueError, match="target"):
        run([np.ones((4, 3)), np.zeros((4, 2))])


def test_gradients() -> None:
    x, w, other = K.placeholder((None, 3)), K.variable(np.ones((3, 2))), K.variable(1.0)
    loss = K.sum(K.square(K.dot(x, w)))
    found = K.gradients(loss, [w, other])
    assert found[1] is None
    data = np.arange(6.0).reshape(2, 3)
    (grad,) = K.function([x], [found[0]])([data])
    np.testing.assert_allclose(grad, 2 * data.T @ (data @ np.ones((3, 2))))
    (first,) = K.gradients(x**3, x)
    (second,) = K.gradients(first, x)
    np.testing.assert_allclose(K.function([x], [second])([data])[0], 6 * data)
    assert K.gradients(K.stop_gradient(w) * 2, [w]) == [None]
    assert len(K.gradients([loss, K.sum(w)], [w])) == 1
    with pytest.raises(TypeError, match="K.gradients takes tensors"):
        K.gradients(loss, [1.0])


def test_random_state_advances_and_repeats() -> None:
    def sample() -> list[np.ndarray]:
        np.random.seed(3)
        run = K.function([], [K.random_normal((4,))])
        return [run([])[0] for _ in range(2)]

    first, again = sample(), sample()
    assert not np.array_equal(first[0], first[1])
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    x = K.random_uniform((4,))
    assert not np.array_equal(K.eval(x), K.eval(x))


def test_eval() -> None:
    assert K.eval(K.constant([1.0, 2.0])).tolist() == [1, 2]
    assert K.get_value(K.constant(2.0) * 2) == 4
    big = K.zeros((2000, 2000)) + 1
    assert K.eval(K.sum(big)) == 4_000_000
    with pytest.raises(ValueError, match="K.function"):
        K.eval(K.placeholder((2,), name="x"))
    with pytest.raises(TypeError, match="takes a tensor"):
        K.eval(3)


def test_large_starting_values_are_computed_in_place() -> None:
    start = K.variable(np.arange(3, dtype=np.float32))
    big = K.variable(K.ones((2**21, 3)) + start, name="big")
    assert big.name.startswith("big") and K.get_variable_shape(big) == (2**21, 3)
    K.set_value(start, [7, 8, 9])
    np.testing.assert_array_equal(K.get_value(big), np.broadcast_to([1, 2, 3], (2**21, 3)))


def test_session_runs_tensors() -> None:
    x = K.placeholder((None,))
    assert K.get_session().run(x * 2, {x: [1, 2]}).tolist() == [2, 4]
    assert K.get_session().run([K.constant(1.0)]) == [1]
    v = K.variable(1.0)
    assert K.get_session().run(v.assign_add(2)) == 3 and K.get_value(v) == 3
    assert (x + 1).eval(feed_dict={x: [1]}).tolist() == [2]


def test_threads_share_a_function() -> None:
    x, v = K.placeholder((None,)), K.variable(0.0)
    run = K.function([x], [K.sum(x)], updates=[K.update_add(v, 1)])
    threads = [threading.Thread(target=lambda: [run([np.ones(n)]) for n in range(1, 9)]) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert K.get_value(v) == 32


def test_origin_names_layers() -> None:
    x = K.placeholder((None,))
    with K.name_scope("outer"), K.name_scope("inner"):
        y = K.square(x)
    assert y.name == "outer/inner/Square:0" and y.value.node.origin == ("outer", "inner")


def test_old_phases_still_work() -> None:
    x = K.placeholder((None,))
    y = K.in_train_phase(x, -x)
    before = session.current()
    K.clear_session()
    session.current().target = before.target
    z = K.in_train_phase(y + 1, y)
    run = K.function([x, K.learning_phase()], [z])
    assert run([[2], 1])[0] == 3 and run([[2], 0])[0] == -2


def test_updates_need_variables() -> None:
    for make in (K.update, K.update_add, K.update_sub, lambda x, y: K.moving_average_update(x, y, 0.9)):
        with pytest.raises(TypeError, match="changes variables"):
            make(K.constant(1.0), 2.0)
