"""What the environment can ask for: dumps of every pass, and the check of every pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from ir import passes
from ir.parser import parse
from tests.end_to_end.models import CASES, many_in_many_out, mlp, resnet


def test_dumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KGRAPH_DUMP_IR", str(tmp_path))
    model, x, y = mlp()
    model.train_on_batch(x, y)
    model.predict(x)
    folders = sorted(p.name for p in tmp_path.iterdir())
    assert folders == ["predict_function", "train_function"]
    for folder, phase in (("predict_function", 0), ("train_function", 1)):
        names = sorted(p.name for p in (tmp_path / folder).iterdir())
        steps = ["input", *(name for name, _ in passes.pipeline(phase)), "decompose"]
        assert names == [f"{i:02}_{step}.txt" for i, step in enumerate(steps)]
        texts = [(tmp_path / folder / name).read_text() for name in names]
        assert all(text.startswith(f"graph @{folder}(") for text in texts)
        assert "%phase" in texts[0] and "%phase" not in texts[1]
        assert str(parse(texts[-1])) == texts[-1]
    assert str(model.ir("train", "fused")) == texts[-1]


@pytest.mark.parametrize("make", [many_in_many_out, resnet], ids=lambda make: make.__name__)
def test_checking_mode(make: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make in CASES
    monkeypatch.setenv("KGRAPH_CHECK", "1")
    model, x, y = make()  # type: ignore[operator]
    model.train_on_batch(x, y)
    model.predict(x)
    model.test_on_batch(x, y)
