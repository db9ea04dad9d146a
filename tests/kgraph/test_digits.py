"""The digits that come with the package."""

from __future__ import annotations

import numpy as np

from kgraph.datasets import digits


def test_sizes_types_and_range() -> None:
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    assert x_train.shape == (1437, 8, 8) and x_test.shape == (360, 8, 8)
    assert y_train.shape == (1437,) and y_test.shape == (360,)
    assert all(array.dtype == np.uint8 for array in (x_train, y_train, x_test, y_test))
    assert x_train.max() == x_test.max() == 16
    assert np.bincount(np.concatenate([y_train, y_test])).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(y_test).min() >= 20


def test_split_is_always_the_same_and_leaves_the_global_seed_alone() -> None:
    np.random.seed(5)
    expected = np.random.rand()
    np.random.seed(5)
    first = digits.load_data()
    assert np.random.rand() == expected
    for a, b in zip(sum(first, ()), sum(digits.load_data(), ()), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_nearest_neighbour_knows_the_digits() -> None:
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    a, b = (x.reshape(len(x), 64).astype(float) for x in (x_test, x_train))
    distance = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)
    assert (y_train[distance.argmin(1)] == y_test).mean() > 0.98
