"""The snippets: `DOCUMENT.txt` holds each behind a line `@@ NUMBER`."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


@functools.cache
def _document(name: str) -> dict[str, str]:
    parts = re.split(r"(?m)^@@ (\d+)\n", (FOLDER / f"{name}.txt").read_text(encoding="utf-8"))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def snippet(name: str) -> str:
    """The text of the snippet `name`, as in "notes 12"."""
    document, number = name.split()
    return _document(document)[number]


def all_names() -> list[str]:
    """The names of all snippets."""
    return [f"{path.stem} {number}" for path in sorted(FOLDER.glob("*.txt")) for number in _document(path.stem)]


def plays(*names: str) -> pytest.MarkDecorator:
    """Runs a test for each of these snippets, which several documents have."""
    return pytest.mark.parametrize("name", names)
