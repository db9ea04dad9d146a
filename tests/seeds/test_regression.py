"""The notes' first example: a line through points."""

from __future__ import annotations

import numpy as np
import pytest

from tests.seeds.conftest import Play
from tests.seeds.snippets import plays


@plays("notes 6")
def test_a_line(name: str, play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    drawn: list[str] = []
    names = ("show", "scatter", "plot")
    play.module("matplotlib.pyplot", **{x: lambda *args, x=x: drawn.append(x) for x in names})
    with pytest.warns(UserWarning, match="Update your `Dense` call to the Keras 2 API: `Dense.input_dim=1, units=1.`"):
        made = play(name)
    assert made["W"].item() == pytest.approx(0.5, abs=0.25) and made["b"].item() == pytest.approx(2, abs=0.03)
    out = capsys.readouterr().out
    assert out.count("train cost:  ") == 4
    assert float(out.split("test cost: ")[1].split()[0]) == made["cost"] < 0.02
    assert drawn == ["show", "scatter", "plot", "show"] and made["Y_pred"].shape == (40, 1)
    assert np.isfinite(made["Y_pred"]).all()
