"""Reuters: 11,228 news texts of 1987 as word numbers, in 46 topics."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from kgraph.datasets.files import read_npz
from kgraph.datasets.words import as_array, filtered, renamed_argument, shuffled
from kgraph.utils.data_utils import get_file

__all__ = ["get_file", "get_word_index", "load_data"]


def load_data(
    path: str = "reuters.npz",
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
    test_split: float = 0.2,
    seed: int = 113,
    start_char: int | None = 1,
    oov_char: int | None = 2,
    index_from: int = 3,
    **kwargs: Any,
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """`(x_train, y_train), (x_test, y_test)`: arrays of lists of word numbers, and of topics from 0 to 45.

    # Arguments
        test_split: part of the data to test with.
        others: see `imdb.load_data`.
    """
    num_words = renamed_argument(num_words, kwargs)
    path = get_file(
        path,
        origin="https://s3.amazonaws.com/text-datasets/reuters.npz",
        file_hash="87aedbeb0cb229e378797a632c1997b6",
    )
    x, y = read_npz(path, "x", "y")
    np.random.seed(seed)
    x, y = shuffled(x, y)
    texts, labels = filtered(list(x), y, num_words, skip_top, maxlen, start_char, oov_char, index_from)
    train = int(len(texts) * (1 - test_split))
    return (
        (as_array(texts[:train]), np.array(labels[:train])),
        (as_array(texts[train:]), np.array(labels[train:])),
    )


def get_word_index(path: str = "reuters_word_index.json") -> dict[str, int]:
    """The number of each word, without `index_from`.

    # Arguments
        path: name of the file in `~/.keras/datasets`, or its absolute path.
    """
    path = get_file(
        path,
        origin="https://s3.amazonaws.com/text-datasets/reuters_word_index.json",
        file_hash="4d44cc38712099c9e383dc6e5f11a921",
    )
    with open(path, encoding="utf-8") as file:
        return json.load(file)
