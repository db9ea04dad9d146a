"""What stands in for `tensorflow` while `kgraph run` runs a script."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from codegen.cpu.threads import get_num_threads, set_num_threads
from kgraph import backend as K
from kgraph.backend import tensorflow_backend
from kgraph.layers import Dense, Input
from kgraph.legacy import tensorflow_stub
from kgraph.models import Sequential

pytestmark = pytest.mark.usefixtures("reference_session")


@pytest.fixture
def tf() -> Iterator[Any]:
    with tensorflow_stub.supplied():
        yield importlib.import_module("tensorflow")


def test_only_inside_the_block() -> None:
    before = list(sys.meta_path)
    with tensorflow_stub.supplied():
        assert {"tensorflow", "tensorflow.nn"} <= set(sys.modules)
    assert not any(name.split(".")[0] == "tensorflow" for name in sys.modules) and sys.meta_path == before


def test_the_backend_shows_it(tf: Any) -> None:
    assert K.tf is tf and tensorflow_backend.tf is tf
    assert K.tensorflow_backend._get_available_gpus() == []
    with pytest.raises(AttributeError, match="module 'kgraph.backend' has no attribute 'softplux'"):
        tensorflow_backend.softplux  # noqa: B018


def test_the_backend_shows_none_outside() -> None:
    assert "tensorflow" in sys.modules or not hasattr(K, "tf")


def test_another_tensorflow_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", logging)
    with tensorflow_stub.supplied():
        assert sys.modules["tensorflow"] is logging
    assert sys.modules["tensorflow"] is logging


def test_settings_and_sessions(tf: Any) -> None:
    Dense(2)(Input((3,)))
    threads = get_num_threads()
    try:
        config = tf.ConfigProto(allow_soft_placement=True, intra_op_parallelism_threads=1)
        config.gpu_options.allow_growth = True
        config.gpu_options.per_process_gpu_memory_fraction = 0.3
        config.graph_options.optimizer_options.global_jit_level = 1
        assert config.allow_soft_placement and config.gpu_options.allow_growth
        tf.ConfigProto(gpu_options=tf.GPUOptions(per_process_gpu_memory_fraction=0.3), device_count={"GPU": 0})
        session = tf.Session(config=config)
        assert get_num_threads() == 1
    finally:
        set_num_threads(threads)
    tensorflow_backend.set_session(session)
    assert K.get_session() is session
    assert Dense(2).name == "dense_2", "names go on"
    x = K.variable(np.arange(3.0))
    y = K.placeholder((3,))
    with tf.Session() as other, tf.get_default_graph().as_default(), tf.device("/gpu:0"):
        assert other.run(tf.global_variables_initializer()) is None
        assert_array_equal(other.run(x * y, feed_dict={y: np.ones(3)}), [0, 1, 2])
        first, nothing = other.run([x, tf.local_variables_initializer()])
        assert nothing is None and first.tolist() == [0, 1, 2]
        assert other.run([tf.global_variables_initializer()]) == [None]
    session.close()
    tf.reset_default_graph()
    assert Dense(2).name == "dense_1"


def test_seeds(tf: Any) -> None:
    drawn = []
    for seed in (7, 7, 8):
        tf.set_random_seed(seed)
        drawn.append(K.eval(K.random_uniform((4,), seed=1)))
    assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()


def test_logging(tf: Any, caplog: pytest.LogCaptureFixture) -> None:
    level = tf.logging.get_verbosity()
    tf.logging.set_verbosity(tf.logging.ERROR)
    tf.logging.warn("quiet")
    tf.logging.error("loud")
    logging.getLogger("tensorflow").setLevel(level)
    assert [record.getMessage() for record in caplog.records] == ["loud"]


X = np.array([[1.0, -2.0, 0.5], [3.0, 0.25, -1.0]], np.float32)


@pytest.mark.parametrize(
    ("name", "arguments", "options", "expected"),
    [
        ("abs", (), {}, np.abs(X)),
        ("argmax", (), {}, X.argmax(0)),
        ("argmax", (1,), {}, X.argmax(1)),
        ("argmin", (), {"axis": -1}, X.argmin(-1)),
        ("cast", ("int32",), {}, X.astype("int32")),
        ("clip_by_value", (-1.0, 1.0), {}, X.clip(-1, 1)),
        ("expand_dims", (1,), {"name": "more"}, X[:, None]),
        ("nn.l2_normalize", (1,), {}, X / np.linalg.norm(X, axis=1, keepdims=True)),
        ("nn.relu", (), {}, np.maximum(X, 0)),
        ("nn.softmax", (), {}, np.exp(X) / np.exp(X).sum(1, keepdims=True)),
        ("reduce_max", (0,), {}, X.max(0)),
        ("reduce_mean", (), {"axis": 1, "keep_dims": True}, X.mean(1, keepdims=True)),
        ("reduce_sum", (), {"name": "total"}, X.sum()),
        ("reshape", ([3, 2],), {}, X.reshape(3, 2)),
        ("tile", ([1, 2],), {}, np.tile(X, (1, 2))),
        ("transpose", (), {}, X.T),
        ("transpose", ([1, 0],), {}, X.T),
    ],
)
def test_functions(tf: Any, name: str, arguments: tuple[Any, ...], options: dict[str, Any], expected: Any) -> None:
    function: Any = tf
    for part in name.split("."):
        function = getattr(function, part)
    assert_allclose(K.eval(function(K.variable(X), *arguments, **options)), expected, rtol=1e-5)


def test_several_operands(tf: Any) -> None:
    x, y = K.variable(X), K.variable(-X)
    assert_array_equal(K.eval(tf.concat([x, y], 0)), np.concatenate([X, -X]))
    assert_array_equal(K.eval(tf.stack([x, y])), np.stack([X, -X]))
    assert_array_equal(K.eval(tf.where(x > y, x, y)), np.abs(X))
    assert_array_equal(K.eval(tf.gradients(tf.reduce_sum(tf.square(x)), [x])[0]), 2 * X)
    assert tf.float32 == "float32" == x.dtype and tf.float32 == x.dtype
    assert K.dtype(tf.cast(x, tf.int64)) == "int64"


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("matmul", r"tensorflow\.matmul; write K\.dot"),
        ("placeholder", r"write K\.placeholder"),
        ("nn.conv2d", r"tensorflow\.nn\.conv2d; write K\.conv2d"),
        ("nn.dropout", "share to drop"),
        ("var", r"write K\.var instead"),
        ("keras", "import keras"),
        ("data", "functions of keras.backend"),
        ("compat.v1.matmul", r"tensorflow\.matmul; write K\.dot"),
    ],
)
def test_what_is_missing(tf: Any, name: str, advice: str) -> None:
    value: Any = tf
    with pytest.raises(AttributeError, match=f"stands in for tensorflow.*{advice}"):
        for part in name.split("."):
            value = getattr(value, part)


def test_imports(tf: Any) -> None:
    assert importlib.import_module("tensorflow.nn") is tf.nn
    assert importlib.import_module("tensorflow.compat.v1") is tf is tf.compat.v1
    exec("from tensorflow import set_random_seed, logging")
    for name in ("tensorflow.keras", "tensorflow.python.client"):
        with pytest.raises(ModuleNotFoundError, match="stands in for tensorflow"):
            importlib.import_module(name)
    with pytest.raises(ImportError):
        exec("from tensorflow import contrib")


def test_a_loss_written_with_it(tf: Any) -> None:
    def loss(y_true: Any, y_pred: Any) -> Any:
        return tf.reduce_mean(tf.square(y_true - y_pred), axis=-1)

    model = Sequential([Dense(2, input_shape=(3,))])
    model.compile("sgd", loss)
    x, y = np.ones((4, 3)), np.ones((4, 2))
    expected = float(((1 - model.predict(x)) ** 2).mean())
    assert model.train_on_batch(x, y) == pytest.approx(expected, rel=1e-4)
