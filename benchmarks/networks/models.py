"""The networks, written once against whichever Keras is given (kgraph, tf_keras, Keras 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.networks.workloads import SEQUENCES, SHAPES, WORDS


def network(keras: Any, name: str) -> Any:
    """The model called `name`, not compiled."""
    return _NETWORKS[name](keras)


def optimizer(keras: Any, name: str) -> Any:
    """The optimizer that a network is trained with."""
    return _OPTIMIZERS[name](keras.optimizers)


def compiled(keras: Any, name: str) -> Any:
    """The model called `name`, ready for training."""
    model = network(keras, name)
    model.compile(optimizer=optimizer(keras, name), loss="categorical_crossentropy")
    return model


def mnist_mlp(keras: Any) -> Any:
    """784-400-10."""
    layers = keras.layers
    return keras.models.Sequential(
        [layers.Dense(400, activation="relu", input_shape=(784,)), layers.Dense(10, activation="softmax")]
    )


def cifar_mlp(keras: Any) -> Any:
    """3072-512-120-10 with dropout."""
    layers = keras.layers
    return keras.models.Sequential(
        [
            layers.Dense(512, activation="relu", input_shape=(3072,)),
            layers.Dropout(0.2),
            layers.Dense(120, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(10, activation="softmax"),
        ]
    )


def mnist_cnn(keras: Any) -> Any:
    """Two 5x5 convolutions of 32 and 64 with pooling, dense 1024, dropout 0.5."""
    layers = keras.layers
    return keras.models.Sequential(
        [
            layers.Conv2D(32, (5, 5), padding="same", activation="relu", input_shape=(28, 28, 1)),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (5, 5), padding="same", activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Flatten(),
            layers.Dense(1024, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )


def _normalised(keras: Any, x: Any, filters: int, size: int, stride: int = 1, relu: bool = True) -> Any:
    """Convolution, batch normalisation, and mostly a relu."""
    layers = keras.layers
    x = layers.Conv2D(filters, (size, size), strides=(stride, stride), padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.Activation("relu")(x) if relu else x


def _add(keras: Any, x: Any, y: Any) -> Any:
    return keras.layers.Activation("relu")(keras.layers.add([x, y]))


def resnet20(keras: Any) -> Any:
    """Three stages of three blocks of two 3x3 convolutions: 16, 32 and 64 filters."""
    layers = keras.layers
    image = layers.Input(shape=SHAPES["resnet20"][0])
    x = _normalised(keras, image, 16, 3)
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(3):
            stride = 2 if stage and not block else 1
            y = _normalised(keras, x, filters, 3, stride)
            y = _normalised(keras, y, filters, 3, relu=False)
            shortcut = x if stride == 1 else _normalised(keras, x, filters, 1, stride, relu=False)
            x = _add(keras, y, shortcut)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.models.Model(image, layers.Dense(10, activation="softmax")(x))


def resnet50(keras: Any) -> Any:
    """Four stages of 3, 4, 6 and 3 bottleneck blocks; the first convolution of a block strides."""
    layers = keras.layers
    image = layers.Input(shape=SHAPES["resnet50"][0])
    x = _normalised(keras, image, 64, 7, 2)
    x = layers.MaxPooling2D((3, 3), strides=(2, 2), padding="same")(x)
    for stage, (filters, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            y = _normalised(keras, x, filters, 1, stride)
            y = _normalised(keras, y, filters, 3)
            y = _normalised(keras, y, 4 * filters, 1, relu=False)
            shortcut = x if block else _normalised(keras, x, 4 * filters, 1, stride, relu=False)
            x = _add(keras, y, shortcut)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.models.Model(image, layers.Dense(1000, activation="softmax")(x))


def vgg16(keras: Any) -> Any:
    """Thirteen 3x3 convolutions in five stages, two dense layers of 4096, one of 1000."""
    layers = keras.layers
    image = x = layers.Input(shape=SHAPES["vgg16"][0])
    for filters, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            x = layers.Conv2D(filters, (3, 3), padding="same", activation="relu")(x)
        x = layers.MaxPooling2D((2, 2))(x)
    x = layers.Flatten()(x)
    for _ in range(2):
        x = layers.Dense(4096, activation="relu")(x)
    return keras.models.Model(image, layers.Dense(1000, activation="softmax")(x))


def mnist_lstm(keras: Any) -> Any:
    """The rows of an image as a sequence: LSTM of 128, with the gates that all libraries have."""
    layers = keras.layers
    rows = layers.Input(shape=SEQUENCES["mnist_lstm"][0])
    x = layers.LSTM(128, recurrent_activation="sigmoid")(rows)
    return keras.models.Model(rows, layers.Dense(10, activation="softmax")(x))


def text_gru(keras: Any) -> Any:
    """Embedding of 128, convolution of 64 over five words, GRU of 128 in the form that all libraries have."""
    layers = keras.layers
    words = layers.Input(shape=SEQUENCES["text_gru"][0], dtype="int32")
    x = layers.Embedding(WORDS, 128)(words)
    x = layers.Conv1D(64, 5, activation="relu")(x)
    x = layers.MaxPooling1D(4)(x)
    x = layers.GRU(128, recurrent_activation="sigmoid", reset_after=True)(x)
    return keras.models.Model(words, layers.Dense(2, activation="softmax")(x))


def _application(name: str) -> Callable[[Any], Any]:
    """A network of `keras.applications`, with random weights."""
    return lambda keras: getattr(keras.applications, name)(weights=None)


_NETWORKS: dict[str, Callable[[Any], Any]] = {
    "mnist_mlp": mnist_mlp,
    "cifar_mlp": cifar_mlp,
    "mnist_cnn": mnist_cnn,
    "resnet20": resnet20,
    "resnet50": resnet50,
    "vgg16": vgg16,
    "mobilenet": _application("MobileNet"),
    "mobilenet_v2": _application("MobileNetV2"),
    "inception_v3": _application("InceptionV3"),
    "xception": _application("Xception"),
    "densenet121": _application("DenseNet121"),
    "mnist_lstm": mnist_lstm,
    "text_gru": text_gru,
}

_OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "mnist_mlp": lambda optimizers: optimizers.RMSprop(),
    "cifar_mlp": lambda optimizers: optimizers.Adam(),
    "mnist_cnn": lambda optimizers: optimizers.Adam(),
    "resnet20": lambda optimizers: optimizers.Adam(),
    "resnet50": lambda optimizers: optimizers.SGD(0.01, momentum=0.9),
    "mnist_lstm": lambda optimizers: optimizers.Adam(),
    "text_gru": lambda optimizers: optimizers.Adam(),
}
