"""`kgraph run` of scripts that import `tensorflow` beside `keras`."""

from __future__ import annotations

from pathlib import Path

from tests.end_to_end.processes import kgraph

SCRIPT = """
import numpy as np
import tensorflow as tf
import keras
from keras import backend as K
from keras.backend.tensorflow_backend import set_session
from keras.callbacks import TensorBoard
from keras.layers import Dense
from keras.models import Sequential

tf.logging.set_verbosity(tf.logging.ERROR)
config = tf.ConfigProto()
config.gpu_options.allow_growth = True
set_session(tf.Session(config=config))
np.random.seed(1)
tf.set_random_seed(1)

def rmse(y_true, y_pred):
    return tf.sqrt(tf.reduce_mean(tf.square(y_pred - y_true)))

model = Sequential([Dense(1, input_dim=3)])
model.compile("sgd", "mse", metrics=[rmse])
x = np.random.rand(20, 3)
def batches():
    while True:
        yield x, x.sum(1, keepdims=True)
board = TensorBoard(log_dir="LOGS", histogram_freq=1, write_images=True)
history = model.fit_generator(
    batches(), 2, epochs=2, verbose=0, callbacks=[board], validation_data=(x, x.sum(1, keepdims=True)))
print(sorted(history.history))
print(isinstance(K.get_session(), tf.Session), K.get_session().run(tf.zeros((2,))))
try:
    tf.matmul
except AttributeError as error:
    print(error)
"""


def test_a_script(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("LOGS", str(tmp_path / "logs")))
    assert kgraph("run", str(script)).splitlines() == [
        "['loss', 'rmse', 'val_loss', 'val_rmse']",
        "True [0. 0.]",
        "kgraph stands in for tensorflow here, and has no tensorflow.matmul; write K.dot(x, y) for matrices, "
        "K.batch_dot(x, y) for batches of them instead.",
    ]
    assert len(list((tmp_path / "logs").glob("*tfevents*"))) == 1
