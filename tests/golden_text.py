"""Golden texts, compared with files under `tests/golden` and rewritten by `pytest --update-golden`."""

from __future__ import annotations

from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"


class Golden:
    """`golden("passes/cse", text)` compares `text` with `tests/golden/passes/cse.txt`."""

    def __init__(self, update: bool) -> None:
        self.update = update

    def __call__(self, name: str, text: str) -> None:
        path = GOLDEN / f"{name}.txt"
        if self.update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing; run pytest --update-golden"
        assert text == path.read_text(encoding="utf-8"), f"{path} differs; see pytest --update-golden and git diff"
