"""The `kgraph` command in a process of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kgraph.version import __version__
from tests.end_to_end.processes import kgraph

SCRIPT = """\
import sys
import keras
import kgraph
from keras import backend as K
from keras.layers.core import Dense
from keras.models import Sequential
import keras.utils.np_utils
import kgraph.layers.core

assert keras.__version__ == '2.2.4' and keras.layers is kgraph.layers and keras.backend is kgraph.backend
assert sys.modules['keras.layers.core'] is kgraph.layers.core and Dense is kgraph.layers.Dense
assert keras.models.Model is kgraph.Model and K.backend() == 'tensorflow'

model = Sequential([Dense(4, activation='relu', input_shape=(3,)), Dense(1)])
model.compile('sgd', 'mse')
print('compiled', __name__, sys.argv[1:])
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return str(path)


def test_version() -> None:
    assert kgraph("--version") == f"kgraph {__version__}\n"


def test_demo() -> None:
    lines = kgraph("demo", "--epochs", "2").replace("\r", "\n").replace("\b", "").splitlines()
    text = "\n".join(lines)
    assert lines[:2] == ["Train on 1437 samples, validate on 360 samples", "Epoch 1/2"]
    assert re.search(
        r"^1437/1437 \[={30}\] - \d+s \d+[mu]s/step - loss: \d\.\d{4} - acc: 0\.\d{4} "
        r"- val_loss: \d\.\d{4} - val_acc: 0\.\d{4}$",
        text,
        re.M,
    )
    accuracy = re.search(r"^Test accuracy: (0\.\d{4})$", text, re.M)
    assert accuracy and float(accuracy.group(1)) > 0.85
    for line in (
        r"sequential_1\b.*\bcpu\b.*",
        r"pass\b.*\bms",
        r"specialize +\d+.* \d+\.\d+",
        r"fuse_elementwise +\d+.* \d+\.\d+",
        r"kernels\b.* \d+",
        r"compile time\b.* \d+\.\d+ s",
        r"planned peak memory\b.*\d+\*B.*",
        r"Training speed: [\d,]+ images per second",
    ):
        assert re.search(f"^{line}$", text, re.M), f"no line {line!r} in\n{text}"


def test_run(file: str) -> None:
    assert kgraph("run", file, "--deep", "7") == "compiled __main__ ['--deep', '7']\n"


@pytest.mark.parametrize(("phase", "function"), [("train", "train_function"), ("test", "predict_function")])
def test_ir(file: str, phase: str, function: str) -> None:
    text = kgraph("ir", file, "--phase", phase, "--stage", "fused")
    assert text.startswith(f"graph @{function}(B) {{\n  input    %dense_1_input") and text.rstrip().endswith("}")
    assert "= fused_matmul(" in text and "%phase" not in text
    assert ("update %kernel = " in text) == (phase == "train")
