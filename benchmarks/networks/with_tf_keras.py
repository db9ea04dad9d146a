"""The workloads on tf_keras: its own training step as one `tf.function`, which is faster than `train_on_batch`, since
that makes a dataset of each batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.networks.workloads import WORKLOADS, data


def load(threads: int) -> str:
    import tensorflow as tf
    import tf_keras

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return f"{tf_keras.__version__}, tensorflow {tf.__version__}"


def prepare(name: str, threads: int) -> Callable[[], Any]:
    import tensorflow as tf
    import tf_keras

    from benchmarks.networks import models

    workload = WORKLOADS[name]
    x, y = data(workload)
    if workload.task == "predict":
        model = models.network(tf_keras, workload.network)
        predict = tf.function(lambda images: model(images, training=False))
        return lambda: predict(tf.constant(x)).numpy()
    model = models.compiled(tf_keras, workload.network)
    train = tf.function(lambda images, labels: model.train_step((images, labels)))
    return lambda: float(train(tf.constant(x), tf.constant(y))["loss"])
