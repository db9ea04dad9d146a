"""Sequences of numbers and texts as numbers."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest

from kgraph.preprocessing import sequence, text
from kgraph.preprocessing.sequence import TimeseriesGenerator, _remove_long_seq, pad_sequences
from kgraph.utils import Sequence

LISTS = [[1, 2, 3], [4, 5], [], [6]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, [[1, 2, 3], [0, 4, 5], [0, 0, 0], [0, 0, 6]]),
        ({"maxlen": 2}, [[2, 3], [4, 5], [0, 0], [0, 6]]),
        ({"maxlen": 2, "truncating": "post", "padding": "post"}, [[1, 2], [4, 5], [0, 0], [6, 0]]),
        ({"maxlen": 4, "padding": "post", "value": 9}, [[1, 2, 3, 9], [4, 5, 9, 9], [9, 9, 9, 9], [6, 9, 9, 9]]),
        ({"maxlen": 0}, [[], [], [], []]),
    ],
)
def test_pad_sequences(arguments: dict[str, Any], expected: Any) -> None:
    got = pad_sequences(LISTS, **arguments)
    assert got.tolist() == expected and got.dtype == np.int32


def test_pad_other_sequences() -> None:
    got = pad_sequences([np.ones((2, 2)), np.zeros((1, 2))], maxlen=3, dtype="float32", value=7)
    assert got.tolist() == [[[7, 7], [1, 1], [1, 1]], [[7, 7], [7, 7], [0, 0]]] and got.dtype == np.float32
    assert pad_sequences([["a", "b"], ["c"]], dtype=object, value="").tolist() == [["a", "b"], ["", "c"]]
    assert pad_sequences([[1.7, 2.2]], maxlen=3).tolist() == [[0, 1, 2]]
    assert pad_sequences([]).shape == (0, 0)


@pytest.mark.parametrize(
    ("sequences", "arguments", "message"),
    [
        (LISTS, {"padding": "x"}, 'Padding type "x" not understood'),
        (LISTS, {"truncating": "x"}, 'Truncating type "x" not understood'),
        (LISTS, {"value": "pad"}, "should set `dtype=object` for variable length strings"),
        ([1, 2], {}, "must be a list of iterables. Found non-iterable: 1"),
        (iter(LISTS), {}, "`sequences` must be iterable"),
        ([np.ones((2, 2)), np.ones((1, 3))], {}, "position 1 is different from expected shape \\(2,\\)"),
    ],
)
def test_bad_sequences(sequences: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pad_sequences(sequences, **arguments)


def test_sampling_table() -> None:
    table = sequence.make_sampling_table(6)
    ranks = np.array([1, 1, 2, 3, 4, 5])
    inverse = ranks * (np.log(ranks) + 0.577) + 0.5 - 1 / (12 * ranks)
    np.testing.assert_allclose(table, np.sqrt(1e-5 * inverse))
    np.testing.assert_allclose(table[:3], [0.00315225, 0.00315225, 0.00547597], rtol=1e-5)
    assert sequence.make_sampling_table(3, 10.0).tolist() == [1, 1, 1]
    assert sequence.make_sampling_table(0).shape == (0,)


def test_skipgrams() -> None:
    couples, labels = sequence.skipgrams([1, 2, 0, 3], 5, window_size=1, negative_samples=0, shuffle=False)
    assert (couples, labels) == ([[1, 2], [2, 1]], [1, 1])
    random.seed(5)
    couples, labels = sequence.skipgrams([1, 2, 0, 3, 4], 5, window_size=2)
    words = [4, 2, 1, 3, 3, 1, 3, 2, 3, 2, 4, 2]  # as Keras 2.2.4 gives them
    assert couples == [list(pair) for pair in zip(words, [2, 1, 2, 3, 4, 2, 2, 3, 1, 1, 3, 4], strict=True)]
    assert labels == [0, 1, 1, 0, 1, 0, 1, 1, 0, 0, 1, 0]
    _, labels = sequence.skipgrams([1, 2, 3], 5, categorical=True, negative_samples=0.5, seed=1)
    assert sorted(labels) == [[0, 1]] * 6 + [[1, 0]] * 3
    rare = sequence.skipgrams([1, 2, 3], 5, sampling_table=np.zeros(5))
    assert rare == ([], []) == sequence.skipgrams([0, 0], 5)


def test_remove_long_seq() -> None:
    assert _remove_long_seq(3, [[1], [1, 2, 3], [1, 2]], [0, 1, 2]) == ([[1], [1, 2]], [0, 2])


# Windows of time series

DATA, TARGETS = np.arange(50).reshape(25, 2), np.arange(25) * 10


@pytest.mark.parametrize(
    ("arguments", "length", "first", "last_targets"),
    [
        ({"length": 5, "batch_size": 4}, 5, [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]], [210, 220, 230, 240]),
        ({"length": 5, "sampling_rate": 2, "stride": 3, "batch_size": 3}, 3, [[0, 1], [4, 5], [8, 9]], [230]),
        (
            {"length": 3, "start_index": 4, "end_index": 12, "reverse": True},
            1,
            [[12, 13], [10, 11], [8, 9]],
            [70, 80, 90, 100, 110, 120],
        ),
        ({"length": 24}, 1, DATA[:24].tolist(), [240]),
    ],
)
def test_timeseries(arguments: dict[str, Any], length: int, first: Any, last_targets: Any) -> None:
    windows = TimeseriesGenerator(DATA, TARGETS, **arguments)
    assert isinstance(windows, Sequence) and len(windows) == length
    assert windows[0][0][0].tolist() == first
    assert windows[length - 1][1].tolist() == last_targets
    assert len(windows[length - 1][0]) == len(last_targets)


def test_timeseries_of_lists_at_random_and_as_json() -> None:
    x, y = TimeseriesGenerator(DATA.tolist(), TARGETS.tolist(), 4, batch_size=2)[1]
    assert y.tolist() == [60, 70] and x[0].tolist() == DATA[2:6].tolist()
    np.random.seed(2)
    rows = np.random.randint(4, 25, size=3)
    np.random.seed(2)
    x, y = TimeseriesGenerator(DATA, TARGETS, 4, shuffle=True, batch_size=3)[0]
    assert y.tolist() == (rows * 10).tolist() and x[0].tolist() == DATA[rows[0] - 4 : rows[0]].tolist()
    windows = TimeseriesGenerator(DATA, TARGETS, 4, start_index=2, end_index=20, stride=2)
    again = sequence.timeseries_generator_from_json(windows.to_json())
    np.testing.assert_array_equal(again[0][0], windows[0][0])
    assert again.get_config() == windows.get_config()


def test_bad_timeseries() -> None:
    with pytest.raises(ValueError, match="same length. Data length is 25 while target length is 24"):
        TimeseriesGenerator(DATA, TARGETS[1:], 4)
    with pytest.raises(ValueError, match="`start_index\\+length=25 > end_index=24` is disallowed"):
        TimeseriesGenerator(DATA, TARGETS, 25)
    with pytest.raises(TypeError, match="must hold numbers and strings only"):
        TimeseriesGenerator([object()] * 5, [1] * 5, 2).to_json()


# Text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("Hello, World! it's a  test\tok\n",), ["hello", "world", "it's", "a", "test", "ok"]),
        (("a-b c_d", "-"), ["a", "b", "c_d"]),
        (("A B", " ", False), ["A", "B"]),
        (("aXXbXXXXc", "c", False, "XX"), ["a", "b"]),
        (("a,b;c", ",;", True, "##"), ["a", "b", "c"]),
        (("",), []),
    ],
)
def test_words_of_a_text(arguments: Any, words: list[str]) -> None:
    assert text.text_to_word_sequence(*arguments) == words


def test_hashing() -> None:
    assert text.hashing_trick("the cat sat on the mat", 10, hash_function="md5") == [6, 3, 1, 1, 6, 8]
    assert text.hashing_trick("abc de", 5, hash_function=len) == [4, 3]
    assert text.one_hot("a b a", 50)[::2] == [hash("a") % 49 + 1] * 2
    with pytest.raises(ValueError, match="`n` must be at least 2. Received: 1"):
        text.one_hot("a", 1)


TEXTS = ["The cat sat on the mat.", "The dog sat on the log!", "dogs and cats living together"]


def fitted(**arguments: Any) -> text.Tokenizer:
    tokenizer = text.Tokenizer(**arguments)
    tokenizer.fit_on_texts(TEXTS)
    return tokenizer


def test_tokenizer() -> None:
    tokenizer = fitted()
    names = "the sat on cat mat dog log dogs and cats living together".split()
    assert tokenizer.word_index == {word: i for i, word in enumerate(names, 1)}
    assert tokenizer.index_word == dict(enumerate(names, 1))
    assert tokenizer.document_count == 3
    assert tokenizer.word_counts["the"] == 4 and tokenizer.word_docs["the"] == tokenizer.index_docs[1] == 2
    sequences = tokenizer.texts_to_sequences([*TEXTS, "zebra the cat Log"])
    assert sequences == [[1, 4, 2, 3, 1, 5], [1, 6, 2, 3, 1, 7], [8, 9, 10, 11, 12], [1, 4, 7]]
    assert tokenizer.sequences_to_texts(sequences)[3] == "the cat log"
    assert next(tokenizer.texts_to_sequences_generator(iter(TEXTS))) == sequences[0]


def test_tokenizer_with_few_words_and_unknown_ones() -> None:
    few = fitted(num_words=4)
    assert len(few.word_index) == 12
    assert few.texts_to_sequences(TEXTS) == [[1, 2, 3, 1], [1, 2, 3, 1], []]
    known = fitted(num_words=4, oov_token="UNK")
    assert known.word_index["UNK"] == 1 and known.word_index["the"] == 2
    sequences = known.texts_to_sequences(["zebra the cat sat"])
    assert sequences == [[1, 2, 1, 3]]
    assert known.sequences_to_texts(sequences) == ["UNK the UNK sat"]


def test_tokenizer_of_characters_lists_and_generators() -> None:
    characters = fitted(char_level=True)
    assert characters.word_index[" "] == 1 and characters.word_index["t"] == 2
    assert characters.texts_to_sequences(["The"]) == [[2, 6, 3]]
    words = text.Tokenizer()
    words.fit_on_texts(x for x in [["A", "b"], ["b", "c"]])
    assert words.word_index == {"b": 1, "a": 2, "c": 3}
    assert words.texts_to_sequences([["a", "C", "d"]]) == [[2, 3]]
    assert fitted(lower=False, filters=".").word_index["log!"] == 8


def test_matrices() -> None:
    tokenizer = fitted(num_words=6)
    given = ["the the cat"]
    assert tokenizer.texts_to_matrix(given).tolist() == [[0, 1, 0, 0, 1, 0]]
    assert tokenizer.texts_to_matrix(given, "count").tolist() == [[0, 2, 0, 0, 1, 0]]
    np.testing.assert_allclose(tokenizer.texts_to_matrix(given, "freq"), [[0, 2 / 3, 0, 0, 1 / 3, 0]])
    tfidf = [[0, (1 + np.log(2)) * np.log(1 + 3 / 3), 0, 0, np.log(1 + 3 / 2), 0]]
    np.testing.assert_allclose(tokenizer.texts_to_matrix(given, "tfidf"), tfidf)
    numbers = text.Tokenizer(num_words=4)
    numbers.fit_on_sequences([[1, 2], [2]])
    got = numbers.sequences_to_matrix([[1, 1, 2, 7], []], "tfidf")
    np.testing.assert_allclose(got[0], [0, (1 + np.log(2)) * np.log(2), np.log(1 + 2 / 3), 0])
    assert got[1].tolist() == [0] * 4
    assert fitted().texts_to_matrix(given).shape == (1, 13)


def test_tokenizer_as_json() -> None:
    tokenizer = fitted(num_words=5, oov_token="u")
    again = text.tokenizer_from_json(tokenizer.to_json(indent=1))
    assert vars(again) == vars(tokenizer)
    assert json.loads(tokenizer.to_json())["class_name"] == "Tokenizer"
    assert again.texts_to_matrix(TEXTS, "tfidf").tolist() == tokenizer.texts_to_matrix(TEXTS, "tfidf").tolist()


def test_more_texts_later() -> None:
    tokenizer = text.Tokenizer(oov_token="u")
    tokenizer.fit_on_texts(["a b"])
    tokenizer.fit_on_texts(["b c c c"])
    assert tokenizer.word_index == {"u": 1, "c": 2, "b": 3, "a": 4} and tokenizer.document_count == 2


def test_tokenizer_mistakes() -> None:
    tokenizer = text.Tokenizer()
    with pytest.raises(ValueError, match="Specify a dimension"):
        tokenizer.sequences_to_matrix([[1]])
    with pytest.raises(ValueError, match="Fit the Tokenizer on some data before using tfidf mode"):
        text.Tokenizer(num_words=3).sequences_to_matrix([[1]], mode="tfidf")
    with pytest.raises(ValueError, match="Unknown vectorization mode: x"):
        fitted().texts_to_matrix(["the"], mode="x")
    with pytest.warns(UserWarning, match="has been renamed `num_words`"):
        assert text.Tokenizer(nb_words=3).num_words == 3
    with pytest.raises(TypeError, match="Unrecognized keyword arguments: {'foo': 3}"):
        text.Tokenizer(foo=3)
