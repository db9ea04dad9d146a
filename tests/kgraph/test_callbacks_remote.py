"""The RemoteMonitor callback, with a stand-in for the library `requests`."""

from __future__ import annotations

import json
import sys
import types
from typing import Any

import numpy as np
import pytest

from kgraph.callbacks import RemoteMonitor

LOGS = {"loss": np.float32(0.5), "acc": np.array(0.25), "n": 3}


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []
    fake: Any = types.ModuleType("requests")
    fake.exceptions = types.SimpleNamespace(RequestException=ConnectionError)
    fake.post = lambda url, **kwargs: calls.append((url, kwargs))
    monkeypatch.setitem(sys.modules, "requests", fake)
    return calls


def test_a_form(posted: list[Any]) -> None:
    RemoteMonitor().on_epoch_end(2, LOGS)
    ((url, kwargs),) = posted
    assert url == "http://localhost:9000/publish/epoch/end/" and kwargs["headers"] is None
    assert json.loads(kwargs["data"]["data"]) == {"epoch": 2, "loss": 0.5, "acc": 0.25, "n": 3}


def test_json(posted: list[Any]) -> None:
    RemoteMonitor("http://there", "/here", headers={"a": "b"}, send_as_json=True).on_epoch_end(0, LOGS)
    sent = {"epoch": 0, "loss": 0.5, "acc": 0.25, "n": 3}
    assert posted == [("http://there/here", {"json": sent, "headers": {"a": "b"}})]


def test_no_server(posted: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, **kwargs: Any) -> None:
        raise ConnectionError(url)

    monkeypatch.setattr(sys.modules["requests"], "post", refuse)
    with pytest.warns(UserWarning, match="could not reach RemoteMonitor root server at http://localhost:9000"):
        RemoteMonitor().on_epoch_end(0)


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "requests", None)
    with pytest.raises(ImportError, match="RemoteMonitor requires the `requests` library"):
        RemoteMonitor().on_epoch_end(0, LOGS)
