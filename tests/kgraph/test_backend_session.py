"""State: names, counters, settings, `keras.json`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from kgraph import backend as K
from kgraph.backend import config, session

pytestmark = pytest.mark.usefixtures("reference_session")


def test_uids() -> None:
    assert [K.get_uid("dense"), K.get_uid("dense"), K.get_uid()] == [1, 2, 1]
    K.reset_uids()
    assert K.get_uid("dense") == 1


def test_clear_session_keeps_settings() -> None:
    K.set_floatx("float64")
    K.set_learning_phase(1)
    phase_before = K.get_session()
    K.get_uid("dense")
    K.clear_session()
    assert K.get_session() is not phase_before
    assert K.floatx() == "float64" and K.get_uid("dense") == 1 and K.learning_phase() is not None
    assert K.is_placeholder(K.learning_phase())
    K.set_floatx("float32")


def test_names_are_unique() -> None:
    with K.name_scope("a"):
        assert K.variable(1, name="w").name == "a/w:0"
        assert K.variable(1, name="w").name == "a/w_1:0"
    with K.name_scope("a") as path:
        assert path == "a_1/"
    assert [session.current().unique_name("q") for _ in range(3)] == ["q", "q_1", "q_2"]


def test_settings() -> None:
    assert (K.backend(), K.floatx(), K.epsilon(), K.image_data_format()) == (
        "tensorflow", "float32", 1e-7, "channels_last",
    )  # fmt: skip
    K.set_epsilon(1e-3)
    K.set_image_data_format("channels_first")
    assert K.epsilon() == 1e-3 and K.image_dim_ordering() == "th"
    K.set_image_dim_ordering("tf")
    assert K.image_data_format() == "channels_last"
    K.set_floatx("float16")
    assert K.dtype(K.zeros((2,))) == "float16" and K.cast_to_floatx(1.5).dtype == "float16"


@pytest.mark.parametrize(
    ("call", "value", "message"),
    [
        (K.set_floatx, "float8", "Unknown floatx type: float8"),
        (K.set_image_data_format, "hwc", "Unknown data_format: hwc"),
        (K.set_image_dim_ordering, "x", "Unknown dim_ordering: x"),
        (K.normalize_data_format, "x", "Received: x"),
    ],
)
def test_bad_settings(call: Any, value: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(value)


FILES: list[tuple[str, config.Config]] = [
    ('{"floatx": "float64", "epsilon": 1e-5, "image_data_format": "channels_first", "backend": "theano"}',
     config.Config("float64", 1e-5, "channels_first")),
    ('{"floatx": "float8", "epsilon": "small", "image_data_format": 3}', config.Config()),
    ("{broken", config.Config()),
    ("[1]", config.Config()),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), FILES)
def test_keras_json(text: str, expected: config.Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keras.json").write_text(text, encoding="utf-8")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert config.load_config() == expected


def test_no_keras_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "none"))
    assert config.load_config() == config.Config()
    written = json.loads((tmp_path / "none" / "keras.json").read_text())
    assert written == {
        "floatx": "float32", "epsilon": 1e-7, "backend": "tensorflow", "image_data_format": "channels_last",
    }  # fmt: skip
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))  # no folder, and none can be made there
    assert config.load_config() == config.Config()


def test_folder_of_keras_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config.keras_folder() == tmp_path / ".keras"
    monkeypatch.setattr(config.os, "access", lambda path, mode: False)
    assert config.keras_folder() == Path(tempfile.gettempdir()) / ".keras"


def test_manual_variable_initialization() -> None:
    K.manual_variable_initialization(True)
    assert K.get_session().manual_initialization and K.get_value(K.variable(3.0)) == 3
    K.manual_variable_initialization(False)
    assert not K.get_session().manual_initialization


def test_set_session_takes_sessions() -> None:
    with pytest.raises(TypeError, match="K.get_session"):
        K.set_session(object())  # type: ignore[arg-type]
    K.set_session(K.get_session())


def test_other_names_of_the_backend() -> None:
    from kgraph.backend import common, tensorflow_backend

    assert tensorflow_backend.set_session is K.set_session and K.tensorflow_backend is tensorflow_backend
    assert common.floatx is K.floatx and tensorflow_backend.dot is K.dot
    assert callable(K.shape) and callable(K.function) and callable(K.variable)
    with pytest.raises(AttributeError, match="nope"):
        K.nope  # noqa: B018
