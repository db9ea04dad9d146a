"""A session of its own for every test, with the default target and nothing counted yet."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from kgraph import backend as K
from kgraph.backend.config import Config
from kgraph.backend.session import Session


@pytest.fixture(autouse=True)
def fresh_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Default settings, whatever the user's `keras.json`, other tests or the environment say."""
    for name in ("KGRAPH_TARGET", "KGRAPH_CHECK", "KGRAPH_DUMP_IR"):
        monkeypatch.delenv(name, raising=False)
    before = K.get_session()
    K.set_session(Session(Config()))
    np.random.seed(0)
    yield
    K.set_session(before)
