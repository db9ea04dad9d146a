"""The networks of the benchmarks, written once against whichever Keras is given (kgraph, tf_keras, Keras 3)."""

from __future__ import annotations

from typing import Any


def mnist_mlp(keras: Any) -> Any:
    """784-400-10, RMSprop."""
    layers = keras.layers
    model = keras.models.Sequential(
        [layers.Dense(400, activation="relu", input_shape=(784,)), layers.Dense(10, activation="softmax")]
    )
    model.compile(optimizer=keras.optimizers.RMSprop(), loss="categorical_crossentropy")
    return model


def cifar_mlp(keras: Any) -> Any:
    """3072-512-120-10 with dropout, Adam."""
    layers = keras.layers
    model = keras.models.Sequential(
        [
            layers.Dense(512, activation="relu", input_shape=(3072,)),
            layers.Dropout(0.2),
            layers.Dense(120, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(), loss="categorical_crossentropy")
    return model


def mnist_cnn(keras: Any) -> Any:
    """Two 5x5 convolutions of 32 and 64 with pooling, dense 1024, dropout 0.5; Adam."""
    layers = keras.layers
    model = keras.models.Sequential(
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
    model.compile(optimizer=keras.optimizers.Adam(), loss="categorical_crossentropy")
    return model
