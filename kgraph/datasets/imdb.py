"""IMDB: 50,000 film reviews as word numbers, half of them good ones."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from kgraph.datasets.files import read_npz
from kgraph.datasets.words import as_array, filtered, renamed_argument, shuffled
from kgraph.utils.data_utils import get_file

__all__ = ["get_file", "get_word_index", "load_data"]


def load_data(
    path: str = "imdb.npz",
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
    seed: int = 113,
    start_char: int | None = 1,
    oov_char: int | None = 2,
    index_from: int = 3,
    **kwargs: Any,
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """`(x_train, y_train), (x_test, y_test)`: arrays of 25,000 lists of word numbers, and of 1 for good, 0 for bad.

    Words are numbered by frequency, from 1 + `index_from` on.

    # Arguments
        path: name of the file in `~/.keras/datasets`, or its absolute path.
        num_words: only numbers below it stay; None for all but the highest.
        skip_top: only numbers from it on stay.
        maxlen: reviews that are not shorter are left out; the first 25,000 of the others become the training set.
        seed: of numpy's global generator, by which the reviews are shuffled.
        start_char: number before each review; None for none.
        oov_char: number for words that do not stay; None to leave them out.
        index_from: added to the numbers of words.
    """
    num_words = renamed_argument(num_words, kwargs)
    path = get_file(
        path,
        origin="https://s3.amazonaws.com/text-datasets/imdb.npz",
        file_hash="599dadb1135973df5b59232a0e9a887c",
    )
    x_train, y_train, x_test, y_test = read_npz(path, "x_train", "y_train", "x_test", "y_test")
    np.random.seed(seed)
    x_train, y_train = shuffled(x_train, y_train)
    x_test, y_test = shuffled(x_test, y_test)
    texts, labels = filtered(
        [*x_train, *x_test],
        np.concatenate([y_train, y_test]),
        num_words,
        skip_top,
        maxlen,
        start_char,
        oov_char,
        index_from,
    )
    train = len(x_train)
    return (
        (as_array(texts[:train]), np.array(labels[:train])),
        (as_array(texts[train:]), np.array(labels[train:])),
    )


def get_word_index(path: str = "imdb_word_index.json") -> dict[str, int]:
    """The number of each word, without `index_from`.

    # Arguments
        path: name of the file in `~/.keras/datasets`, or its absolute path.
    """
    path = get_file(
        path,
        origin="https://s3.amazonaws.com/text-datasets/imdb_word_index.json",
        file_hash="bfafd718b763782e994055a2d397834f",
    )
    with open(path, encoding="utf-8") as file:
        return json.load(file)
