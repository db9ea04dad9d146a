"""Configs of layers are those that Keras 2.2.4 gives, and layers are made again from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kgraph import backend as K
from kgraph import layers

DATA = Path(__file__).parents[1] / "data" / "api" / "layer_configs.json"
CASES = json.loads(DATA.read_text(encoding="utf-8"))


def plain(value: Any) -> Any:
    """What JSON makes of a config."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return value.item() if isinstance(value, (np.ndarray, np.generic)) else value


@pytest.fixture(autouse=True)
def fresh_session() -> None:
    K.clear_session()


@pytest.mark.parametrize("case", CASES, ids=[case["call"] for case in CASES])
def test_config(case: dict[str, Any]) -> None:
    layer = eval(case["call"], {"layers": layers})
    config = layer.get_config()
    assert type(layer).__name__ == case["class_name"]
    assert plain(config) == case["config"]
    assert list(config) == list(case["config"])
    for place in case.get("tuples_at", []):
        if "[" not in place:
            assert isinstance(config[place], tuple), place
    again = layers.deserialize(json.loads(json.dumps(plain(layers.serialize(layer)))))
    assert plain(again.get_config()) == case["config"]
