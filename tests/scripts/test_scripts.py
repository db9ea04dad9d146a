"""Scripts as people wrote them for Keras 1 and 2, run unchanged: `tests/data/scripts` holds them.

Each learns something small; what it leaves behind is compared with theory and with numpy.
"""

from __future__ import annotations

import runpy
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from kgraph import backend as K
from tests.as_keras import as_keras

SCRIPTS = Path(__file__).parents[1] / "data" / "scripts"
Names = dict[str, Any]


def learned(history: dict[str, list[float]], factor: float = 1.0, name: str = "loss") -> None:
    """The loss fell to less than `factor` of what it was after the first epoch."""
    values = history[name]
    assert np.isfinite(values).all() and values[-1] < factor * values[0], values


def resnet(g: Names) -> None:
    for history in g["histories"]:
        learned(history, 0.7)
    assert g["model"].count_params() == 75988 and {f[:8] for f in g["files"]} == {"model_v1", "model_v2"}


def text_classifiers(g: Names) -> None:
    assert set(g["results"]) == {"lstm", "bilstm", "cnn_lstm", "cnn", "fasttext"}
    assert min(g["results"].values()) > 0.65


def seq2seq(g: Names) -> None:
    learned(g["h"].history)
    assert_allclose(g["stepped"], g["whole"][0], atol=1e-5)  # step by step with states as in one run


def variational_autoencoders(g: Names) -> None:
    learned(g["first"])
    learned(g["second"])
    assert g["codes"].shape == (200, 2) and g["picture"].shape == (1, 30)


def ocr_ctc(g: Names) -> None:
    learned(g["h"].history, 0.9)
    learned(g["h"].history, name="val_loss")
    for i, word in enumerate(g["decoded_batch"]):
        assert_array_equal(g["best_paths"][i][: len([c for c in word if c != 6])], [c for c in word if c != 6])


def dcgan(g: Names) -> None:
    assert g["generator_kept"] == g["discriminator_kept"] == [True] * 6
    assert g["out"].shape == (25, 8, 8, 1) and np.abs(g["out"]).max() <= 1


def attention(g: Names) -> None:
    learned(g["history"].history)
    learned(g["hist"].history)
    assert_allclose(g["after"], g["before"], atol=1e-6)
    assert_allclose(g["a_probs"].sum(1), 1, atol=1e-5)


def activation_maps(g: Names) -> None:
    assert_allclose(g["predictions"], g["expected_predictions"], atol=1e-5)
    assert_allclose(g["third"], g["pooled"], atol=1e-6)
    assert [a.shape for a in g["activations"]] == [(3, 12, 12, 8), (3, 8), (3, 2)]
    assert g["g"].shape == (12, 12) and g["gr"].shape == (1, 12, 12, 8) and g["sal"].shape == (2, 12, 12, 1)
    residual = g["model"].predict(g["x"][:4]) - np.eye(2)[g["y"][:4]]
    assert_allclose(g["weight_grads"][3], residual.mean(0), atol=1e-5)  # of the bias before softmax and cross-entropy


def custom_training(g: Names) -> None:
    rates = g["finder"].history["lr"]
    assert_allclose(rates, 1e-5 + (1e-1 - 1e-5) * np.arange(16) / 16, rtol=1e-5)
    assert g["h"].history["val_f1_sk"] == g["ms"].val_f1s and len(g["h"].epoch) == len(g["ms"].val_f1s)
    assert g["reloaded_score"][1] > 0.9
    assert len(g["results"]) == 8 and np.isfinite(g["results"]).all()
    classes = g["classes"]
    nll = -np.log(g["probabilities"][np.arange(256), classes]) * np.array([1.0, 2.0, 3.0])[classes]
    assert_allclose(g["weighted_loss"], nll.mean(), rtol=1e-4)


def multi_io(g: Names) -> None:
    assert g["names"] == [
        "loss", "main_output_loss", "aux_output_loss",
        "main_output_acc", "main_output_mean_absolute_error", "aux_output_mean_squared_error",
    ]  # fmt: skip
    assert_allclose(g["r"][0], g["r"][1] + 0.2 * g["r"][2], rtol=1e-5)
    assert_allclose(g["r"][2], np.mean((g["p"][1][:, 0] - g["l"]) ** 2), rtol=1e-4)
    assert_allclose(g["r2"], g["r3"], rtol=1e-4)  # in other processes as in this one
    assert_allclose(g["p2"][0], g["p3"][0], atol=1e-5)
    assert g["shared"].get_output_at(0) is g["ea"] and g["shared"].get_output_at(1) is g["eb"]


def keras1(g: Names) -> None:
    assert len(g["h"].history["val_acc"]) == 2 and g["p"].shape == (16, 1)
    assert g["fm"].output_shape == (None, 14, 14, 3) and g["f"].shape == (2, 14, 14, 3)
    norms = np.sqrt(np.square(g["model"].layers[9].get_weights()[0]).sum(0))
    assert norms.max() <= 2 + 1e-5


def neural_style(g: Names) -> None:
    assert g["min_val"] < 0.5 * g["first"]
    step = 1e-2 * g["first_grads"] / np.linalg.norm(g["first_grads"])
    x = K.get_value(g["base_image"]).ravel()
    change = g["eval_loss_and_grads"](x + step)[0] - g["eval_loss_and_grads"](x - step)[0]
    assert_allclose(change, 2 * step @ g["first_grads"], rtol=0.05)


CHECKS: Sequence[Callable[[Names], None]] = (
    resnet, text_classifiers, seq2seq, variational_autoencoders, ocr_ctc, dcgan, attention, activation_maps,
    custom_training, multi_io, keras1, neural_style,
)  # fmt: skip


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty folder for all that a script writes, and a session of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    K.clear_session()
    yield tmp_path
    K.clear_session()


def test_every_script_is_checked() -> None:
    assert sorted(path.stem for path in SCRIPTS.glob("*.py")) == sorted(check.__name__ for check in CHECKS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_script(check: Callable[[Names], None], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with as_keras():
        names = runpy.run_path(str(SCRIPTS / f"{check.__name__}.py"), run_name="__main__")
        check(names)
