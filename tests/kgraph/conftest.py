"""Fixtures for tests of the Keras interface."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kgraph.backend import session
from kgraph.backend.config import Config


@pytest.fixture
def reference_session() -> Iterator[session.Session]:
    """A session of its own with default settings, whose functions run by the ops' definitions, compiling nothing."""
    before = session.current()
    fresh = session.Session(Config())
    fresh.target = "reference"
    session.set_session(fresh)
    yield fresh
    session.set_session(before)
