"""Every snippet is played by a test, or listed here with the reason why not."""

from __future__ import annotations

import importlib
from pathlib import Path

from tests.seeds.snippets import all_names

NOT_PLAYED = {
    "faq_cn 2": "configures Theano",
    "faq_tw 2": "configures Theano",
    "notes 20": "the source of a backend function, with TensorFlow's sparse tensors",
    "notes 33": "TensorFlow: transposed convolution with tf.nn and tf.Variable",
    "notes 37": "TensorFlow: tf.layers",
    "notes 39": "TensorFlow: the signature of tf.image.resize_images",
    "notes 41": "TensorFlow: reads a picture with tf.gfile and tf.image",
    "notes 44": "TensorFlow: tf.keras",
    "notes 46": "TensorFlow: tf.keras",
    "notes 47": "numbers for the call of tf.keras before it",
}


def played() -> list[str]:
    """The snippets that tests of this folder name."""
    found: list[str] = []
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module = importlib.import_module(f"tests.seeds.{path.stem}")
        for thing in vars(module).values():
            for mark in getattr(thing, "pytestmark", []):
                if mark.name == "parametrize" and mark.args[0] == "name":
                    found += mark.args[1]
    return found


def test_each_snippet_is_played_or_listed() -> None:
    names = played()
    assert len(names) == len(set(names)), "a snippet is played twice"
    assert sorted([*names, *NOT_PLAYED]) == sorted(all_names())
