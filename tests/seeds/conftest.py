"""Snippets of Chinese notes on Keras 2, played as their readers would: `snippets/DOCUMENT.txt` holds them.

The documents: `faq_cn` and `faq_tw`, Keras' questions and answers in simplified and traditional Chinese; `notes`, a
learner's notes; `guide`, a first network step by step; `tutorial`, a short course. Slips of typing are corrected; what
is prose, shell or printed output is left out. `test_coverage.py` names the snippets that are not played, and why.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from kgraph import backend as K
from tests.as_keras import as_keras
from tests.seeds.snippets import snippet


class Play:
    """Runs snippets in one namespace after another, with `keras` being kgraph."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, name: str, replace: Mapping[str, str] | None = None, **names: Any) -> dict[str, Any]:
        """Run the snippet `name` ("notes 12") with some names known, and return the names that are known then.

        `replace` makes data and epochs small, and puts what a test has in place of what only the author had.
        """
        text = snippet(name)
        for old, new in (replace or {}).items():
            assert old in text, f"snippet {name} does not contain {old!r}"
            text = text.replace(old, new)
        known = {"__name__": "__main__", **names}
        exec(compile(text, f"<{name}>", "exec"), known)
        return known

    def module(self, name: str, **contents: Any) -> None:
        """Make a module that is not installed, or is the author's own, importable."""
        package, _, last = name.rpartition(".")
        if package:
            self.module(package, **{last: None})
        made = ModuleType(name)
        made.__dict__.update(contents)
        self._monkeypatch.setitem(sys.modules, name, made)
        if package:
            setattr(sys.modules[package], last, made)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Play]:
    """An empty folder as working directory and home, a session of its own, and `keras` and `tensorflow` for import."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    K.clear_session()
    np.random.seed(0)
    with as_keras():
        yield Play(monkeypatch)
