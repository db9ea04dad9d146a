"""What the data sets of texts as word numbers have in common: filtering, and their old arguments."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from kgraph.preprocessing.sequence import _remove_long_seq


def renamed_argument(num_words: int | None, kwargs: dict[str, Any]) -> int | None:
    """`num_words`, or the old argument `nb_words`. Raises TypeError for any other argument."""
    if "nb_words" in kwargs:
        warnings.warn("The `nb_words` argument in `load_data` has been renamed `num_words`.", stacklevel=3)
        num_words = kwargs.pop("nb_words")
    if kwargs:
        raise TypeError(f"Unrecognized keyword arguments: {kwargs}")
    return num_words


def filtered(
    texts: Sequence[Sequence[int]],
    labels: Any,
    num_words: int | None,
    skip_top: int,
    maxlen: int | None,
    start_char: int | None,
    oov_char: int | None,
    index_from: int,
) -> tuple[list[list[int]], Any]:
    """Texts with the numbers moved up by `index_from`, `start_char` before each, those not shorter than `maxlen` left
    out, and `oov_char` for words below `skip_top` and from `num_words` on (None leaves these out).

    Without `num_words`, the highest number is the bound, so that its word is left out too.
    """
    if start_char is not None:
        xs = [[start_char, *(w + index_from for w in x)] for x in texts]
    else:
        xs = [[w + index_from for w in x] for x in texts]
    if maxlen:
        xs, labels = _remove_long_seq(maxlen, xs, labels)
        if not xs:
            raise ValueError(
                f"After filtering for sequences shorter than maxlen={maxlen}, no sequence was kept. Increase maxlen."
            )
    bound = num_words or max(max(x, default=0) for x in xs)
    if oov_char is not None:
        return [[w if skip_top <= w < bound else oov_char for w in x] for x in xs], labels
    return [[w for w in x if skip_top <= w < bound] for x in xs], labels


def as_array(texts: Sequence[list[int]]) -> np.ndarray:
    """An array of objects that holds the lists."""
    array = np.empty(len(texts), object)
    array[:] = texts
    return array


def shuffled(*arrays: np.ndarray) -> list[np.ndarray]:
    """The arrays, all in one random order from numpy's global generator."""
    order = np.arange(len(arrays[0]))
    np.random.shuffle(order)
    return [array[order] for array in arrays]
