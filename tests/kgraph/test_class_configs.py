"""Configs of layers, initializers, optimizers, regularizers and constraints are those of Keras 2.2.4, key by key in its
order; from each the object is made again.

`tests/data/api/class_configs.json`: `tuples_at` and `zero_dim_arrays_at` name places where JSON shows less than there
was.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kgraph import backend as K
from kgraph import constraints, initializers, layers, optimizers, regularizers

pytestmark = pytest.mark.usefixtures("reference_session")

DATA = Path(__file__).parents[1] / "data" / "api" / "class_configs.json"
CASES = json.loads(DATA.read_text(encoding="utf-8"))
MODULES = {
    "constraints": constraints,
    "initializers": initializers,
    "layers": layers,
    "optimizers": optimizers,
    "regularizers": regularizers,
}
BYTECODE = ("function",)  # of a Lambda: of the Python that wrote the file
# The file was written with Theano, where Keras drops the dropout of recurrent layers.
KEPT_DROPOUT = {"dropout": 0.1, "recurrent_dropout": 0.2}


def named_fn(x: Any) -> Any:
    return x


def plain(value: Any) -> Any:
    """What JSON makes of a config."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return value.item() if isinstance(value, (np.ndarray, np.generic)) else value


def at(config: Any, place: str) -> Any:
    """The part of a config called `key` or `key[number]`."""
    key, _, number = place.rstrip("]").partition("[")
    return config[key][int(number)] if number else config[key]


def compare(config: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(config) == list(expected)
    for key, value in expected.items():
        if key not in BYTECODE or not isinstance(value, list):
            assert plain(config[key]) == (pytest.approx(value, rel=1e-7) if isinstance(value, float) else value), key


@pytest.mark.parametrize("case", CASES, ids=[case["call"] for case in CASES])
def test_config(case: dict[str, Any]) -> None:
    K.reset_uids()
    call, _, _ = case["call"].partition(" with ")
    made = eval(call, {**MODULES, "named_fn": named_fn})
    config = made.get_config()
    if "dropout=0.1, recurrent_dropout=0.2" in call:
        case = {**case, "config": {**case["config"], **KEPT_DROPOUT}}
    assert type(made).__name__ == case["class_name"]
    compare(config, case["config"])
    for place in case.get("tuples_at", []):
        assert isinstance(at(config, place), tuple), place
    for place in case.get("zero_dim_arrays_at", []):
        assert np.shape(config[place]) == (), place
    module: Any = MODULES[call.split(".")[0]]
    again = module.deserialize(json.loads(json.dumps(plain(module.serialize(made)))))
    assert type(again) is type(made)
    compare(again.get_config(), case["config"])
