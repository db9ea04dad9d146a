"""What Keras 2.2.4 printed, warned and raised, replayed: `tests/data/console` holds scripts and what they gave."""

from __future__ import annotations

import io
import json
import re
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from kgraph import backend as K
from tests.as_keras import as_keras

CONSOLE = Path(__file__).parent.parent / "data" / "console"
CASES = sorted(path.stem for path in CONSOLE.glob("*.json"))
# Text that is not Keras' own (reprs, other backends' names, accidents of file libraries): the type and start count.
ONLY_THE_START = {
    "error_call_on_non_tensor": 60,
    "error_number_of_inputs": 150,
    "error_number_of_inputs_array": 150,
    "error_too_many_inputs": 150,
    "error_set_weights_count": 100,
    "error_disconnected_graph": 30,
    "error_input_not_input_layer": 30,
    "error_dense_needs_last_dim": 0,
    "error_generator_exhausted": 13,
    "error_load_model_weights_file": 0,
    "legacy_model": 60,
}


class Stream(io.StringIO):
    def __init__(self, tty: bool) -> None:
        super().__init__()
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty


def mask(text: str) -> str:
    text = re.sub(r"ETA: [^ ]+", "ETA: T", text)
    text = re.sub(r" - \d+s \d+[mu]?s/step", " - T T/step", text)
    text = re.sub(r"(?m)^ - \d+s - ", " - T - ", text)
    text = re.sub("\b+", "\b", text)
    return re.sub(r" +(?=\n|\x08|$)", "", text)


def nearly(got: str, expected: str) -> bool:
    """Equal, but for one unit in the last place of numbers with decimals."""
    number = r"\d+\.\d+(?:e[+-]\d+)?"
    if re.sub(number, "#", got) != re.sub(number, "#", expected):
        return False
    for a, b in zip(re.findall(number, got), re.findall(number, expected), strict=True):
        places = len(b.split("e")[0].split(".")[1])
        scale = 10.0 ** int(b.split("e")[1]) if "e" in b else 1.0
        if abs(float(a) - float(b)) > 1.01 * 10.0**-places * scale:
            return False
    return True


def replay(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    """What the script gives of the kind that the case captures."""
    source = "\n".join(case["code"])
    if "prelude" in case:
        source = (CONSOLE / case["prelude"]).read_text() + "\n" + source
    out = Stream(case["stdout_is_tty"])
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(time, "time", time.time)  # some scripts replace the clock: put it back afterwards
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            exec(compile(source, "<script>", "exec"), {"__name__": "__main__"})
        except Exception as error:
            if case["captures"] != "exception":
                raise
            return f"{type(error).__name__}: {error}"
    if case["captures"] == "stdout":
        return out.getvalue()
    shown = [w for w in caught if w.category in (UserWarning, RuntimeWarning)]
    return "\n".join(f"{w.category.__name__}: {w.message}" for w in shown)


@pytest.fixture(autouse=True)
def keras(monkeypatch: pytest.MonkeyPatch) -> Any:
    """kgraph as `keras`, for these tests only."""
    K.clear_session()
    with as_keras():
        yield


@pytest.mark.parametrize("name", CASES)
def test_console(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    case = json.loads((CONSOLE / f"{name}.json").read_text())
    with open(CONSOLE / f"{name}.txt", newline="", encoding="utf-8") as file:
        expected = file.read()
    got = replay(case, monkeypatch, tmp_path)
    if case["masked"]:
        got, expected = mask(got), mask(expected)
    if name in ONLY_THE_START:
        count = ONLY_THE_START[name] or expected.index(":")
        assert got[:count] == expected[:count]
    elif case["captures"] == "stdout" and not name.startswith("summary"):
        assert nearly(got, expected), f"expected:\n{expected}\ngot:\n{got}"
    else:
        assert got.rstrip("\n") == expected.rstrip("\n")
