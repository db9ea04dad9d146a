"""Handwritten digits that come with the package, for demonstrations and tests without a network.

The 1,797 images of the test set of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (UCI
Machine Learning Repository, 1998, https://doi.org/10.24432/C50P49; licence CC BY 4.0). Each pixel counts the dark
points, from 0 to 16, in a 4x4 block of a 32x32 scan.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

_FILE = Path(__file__).with_name("digits.npz")
_TRAIN_SIZE = 1437


def load_data() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """`(x_train, y_train), (x_test, y_test)`: 1,437 images to train on and 360 to test with.

    Images are uint8 of shape `(n, 8, 8)` with values 0 to 16, labels uint8 of shape `(n,)` with values 0 to 9. In the
    original the writers come one after the other, so the images are shuffled before they are divided, always in the
    same way: both parts hold every writer's digits.
    """
    with np.load(_FILE, allow_pickle=False) as data:
        images, labels = data["images"], data["labels"]
    order = np.random.RandomState(0).permutation(len(images))
    train, test = order[:_TRAIN_SIZE], order[_TRAIN_SIZE:]
    return (images[train], labels[train]), (images[test], labels[test])
