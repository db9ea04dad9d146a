"""Every script in `examples/` runs, and what it claims is true."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import numpy as np
import pytest

from tests.end_to_end.processes import ROOT

EXAMPLES = sorted(p.stem for p in (ROOT / "examples").glob("*.py"))


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_tested() -> None:
    here = globals()
    assert EXAMPLES and all(f"test_{name}" in here for name in EXAMPLES)


def test_cnn_digits(capsys: pytest.CaptureFixture[str]) -> None:
    accuracy, same = load("cnn_digits").main(epochs=2)
    assert accuracy > 0.85 and same
    output = capsys.readouterr().out
    assert "Total params: 6,154\nTrainable params: 6,122\nNon-trainable params: 32\n" in output
    assert re.search(r"Epoch 2/2\n - \ds - loss: \d\.\d{4} - acc: \d\.\d{4} - val_loss: \d\.\d{4} - val_acc:", output)


def test_custom_layer_and_loss() -> None:
    assert load("custom_layer_and_loss").main(epochs=4) > 0.85


def test_two_inputs_two_outputs() -> None:
    results = load("two_inputs_two_outputs").main(epochs=2)
    assert list(results) == ["loss", "digit_loss", "even_loss", "digit_acc", "even_acc"]
    assert results["digit_acc"] > 0.85 and results["even_acc"] > 0.8
    assert results["loss"] == pytest.approx(results["digit_loss"] + 0.5 * results["even_loss"], rel=1e-5)


def test_variational_autoencoder() -> None:
    losses, validation = load("variational_autoencoder").main(epochs=3)
    assert losses[0] > losses[1] > losses[2] and validation[0] > validation[1] > validation[2]
    assert losses[2] < 0.85 * losses[0]


@pytest.mark.filterwarnings("ignore:Discrepancy between trainable weights")
def test_gan() -> None:
    example = load("gan")
    generator, discriminator, combined = example.build()
    before = [model.get_weights() for model in (generator, discriminator)]
    combined.train_on_batch(np.random.normal(size=(8, example.LATENT)), np.ones((8, 1)))
    after = [model.get_weights() for model in (generator, discriminator)]
    assert all(not np.array_equal(a, b) for a, b in zip(before[0], after[0], strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(before[1], after[1], strict=True))
    discriminator.train_on_batch(np.random.rand(8, 64), np.ones((8, 1)))
    assert all(not np.array_equal(a, b) for a, b in zip(after[1], discriminator.get_weights(), strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(after[0], generator.get_weights(), strict=True))
    assert example.main(steps=300) < 0.18


def test_pass_by_pass(capsys: pytest.CaptureFixture[str]) -> None:
    load("pass_by_pass").main()
    output = capsys.readouterr().out
    source, predicting, differentiated, training = re.split(r"^(?=graph @)", output, flags=re.M)[1:]
    assert "batch_norm_train(" in source and "select(%phase" in source
    assert "batch_norm" not in predicting and "%phase" not in predicting
    assert predicting.count("= fused_conv2d(") == 1 and "= conv2d(" not in predicting
    assert "relu(" in predicting.partition("= fused_conv2d(")[2].partition("}, padding")[0]
    assert "batch_norm_grad(" in differentiated and "update %kernel = " in differentiated
    assert training.count("= moments(") == 1 and "batch_norm_train(" not in training and "%phase" not in training
    normalise = [body for body in training.split(" = fused(")[1:] if "= relu(" in body.partition("\n  }}")[0]]
    assert len(normalise) == 1 and "sub(" in normalise[0] and "# norm, relu" in normalise[0]
    assert "def kernel(args, lo, hi, worker):\n" in training
