"""Models as users write them, with data: each function gives a compiled model, its inputs and its targets.

The tests run them on the cpu target and on the reference.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph import regularizers
from kgraph.constraints import max_norm
from kgraph.layers import (
    Activation,
    Add,
    AveragePooling2D,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GaussianNoise,
    GlobalAveragePooling2D,
    Input,
    Lambda,
    Layer,
    LeakyReLU,
    MaxPooling2D,
    Multiply,
    Permute,
    PReLU,
    Reshape,
    SpatialDropout2D,
    UpSampling2D,
    ZeroPadding2D,
)
from kgraph.models import Model, Sequential
from kgraph.optimizers import SGD, Adam, Optimizer, RMSprop

Case = tuple[Any, Any, Any]  # model, inputs, targets


def numbers(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def classes(count: int, of: int) -> np.ndarray:
    return np.eye(of, dtype=np.float32)[np.random.default_rng(2).integers(of, size=count)]


def resnet() -> Case:
    """Two residual blocks, the second with strides and a projection."""

    def unit(x: Any, filters: int, strides: int, name: str) -> Any:
        x = Conv2D(filters, 3, strides=strides, padding="same", use_bias=False, name=f"conv_{name}")(x)
        return BatchNormalization(name=f"norm_{name}")(x)

    def block(x: Any, filters: int, strides: int, name: str) -> Any:
        y = Activation("relu", name=f"relu_{name}a")(unit(x, filters, strides, f"{name}a"))
        y = unit(y, filters, 1, f"{name}b")
        if strides > 1:
            x = Conv2D(filters, 1, strides=strides, name=f"conv_{name}c")(x)
            x = BatchNormalization(name=f"norm_{name}c")(x)
        return Activation("relu", name=f"relu_{name}")(Add(name=f"add_{name}")([y, x]))

    image = Input((9, 7, 3), name="image")
    x = Activation("relu", name="relu_0")(unit(image, 8, 1, "0"))
    x = block(block(x, 8, 1, "1"), 12, 2, "2")
    output = Dense(5, activation="softmax", name="classes")(GlobalAveragePooling2D(name="pool")(x))
    model = Model(image, output, name="resnet")
    model.compile(SGD(0.1, momentum=0.9), "categorical_crossentropy", metrics=["accuracy"])
    return model, numbers(11, 9, 7, 3), classes(11, 5)


def mlp() -> Case:
    model = Sequential()
    model.add(Dense(33, activation="tanh", input_shape=(13,), kernel_regularizer=regularizers.l2(0.01)))
    model.add(Dropout(0.4))
    model.add(Dense(17, kernel_constraint=max_norm(0.7)))
    model.add(PReLU())
    model.add(GaussianNoise(0.1))
    model.add(Dense(1, activation="sigmoid", activity_regularizer=regularizers.l1(0.01)))
    model.compile(Adam(0.01, clipnorm=1.0), "binary_crossentropy", metrics=["accuracy", "mae"])
    return model, numbers(11, 13), classes(11, 2)[:, :1]


def shared_batch_norm() -> Case:
    """One normalisation in two branches: its averages move twice in a step."""
    left, right = Input((6,), name="left"), Input((6,), name="right")
    norm, dense = BatchNormalization(momentum=0.8, name="norm"), Dense(4, activation="elu", name="dense")
    x = Concatenate()([dense(norm(left)), dense(norm(right))])
    model = Model([left, right], Dense(2)(x))
    model.compile(RMSprop(0.01), "mse")
    return model, [numbers(11, 6), 3 * numbers(11, 6, seed=4) + 1], numbers(11, 2, seed=5)


def many_in_many_out() -> Case:
    image, number = Input((6, 5, 2), name="image"), Input((3,), name="number")
    x = MaxPooling2D(name="pool")(Conv2D(7, (2, 3), dilation_rate=(2, 1), activation="selu", name="conv")(image))
    x = Concatenate()([Flatten()(x), number])
    digit = Dense(4, activation="softmax", name="digit")(x)
    size = Dense(1, activation="softplus", name="size")(x)
    model = Model([image, number], [digit, size])
    model.compile(
        "adagrad",
        loss={"digit": "sparse_categorical_crossentropy", "size": "mean_squared_logarithmic_error"},
        loss_weights={"digit": 1.0, "size": 0.25},
        metrics={"digit": ["accuracy", "sparse_top_k_categorical_accuracy"]},
    )
    x_image, x_number = numbers(11, 6, 5, 2), numbers(11, 3, seed=4)
    return model, [x_image, x_number], [np.arange(11).reshape(11, 1) % 4, np.abs(numbers(11, 1, seed=5))]


def channels_first() -> Case:
    model = Sequential()
    model.add(ZeroPadding2D((1, 2), data_format="channels_first", input_shape=(3, 7, 6)))
    model.add(Conv2D(6, (3, 2), strides=(2, 1), data_format="channels_first"))
    model.add(BatchNormalization(axis=1))
    model.add(LeakyReLU(0.1))
    model.add(SpatialDropout2D(0.3, data_format="channels_first"))
    model.add(AveragePooling2D((2, 3), strides=1, padding="same", data_format="channels_first"))
    model.add(UpSampling2D(2, data_format="channels_first"))
    model.add(Conv2D(4, 3, padding="same", data_format="channels_first", activation="tanh"))
    model.add(Flatten(data_format="channels_first"))
    model.add(Dense(3, activation="softmax"))
    model.compile(SGD(0.05, nesterov=True, momentum=0.5), "kullback_leibler_divergence", metrics=["accuracy"])
    return model, numbers(11, 3, 7, 6), classes(11, 3) * 0.8 + 0.0666667


def nested() -> Case:
    """A model in a model in a model, used twice."""
    inner = Sequential([Dense(5, activation="relu", input_shape=(4,)), BatchNormalization(), Dense(4)], name="inner")
    x = Input((4,))
    middle = Model(x, Multiply()([inner(x), x]), name="middle")
    left, right = Input((4,)), Input((4,))
    model = Model([left, right], Dense(2, name="top")(Add()([middle(left), middle(right)])))
    model.compile(SGD(0.1), "mae")
    return model, [numbers(11, 4), numbers(11, 4, seed=4)], numbers(11, 2, seed=5)


def lambdas() -> Case:
    """Backend functions in Lambda layers, with shapes that are data."""

    def spread(x: Any) -> Any:
        return x - K.mean(x, axis=1, keepdims=True), K.std(x, axis=1, keepdims=True)

    def flat(x: Any) -> Any:
        return K.reshape(x, (K.shape(x)[0], 12))

    x = Input((4, 3))
    y = Lambda(lambda t: spread(t)[0] / (spread(t)[1] + 0.1), name="standardise")(Permute((2, 1))(x))
    y = Lambda(lambda t, power: K.pow(K.abs(t) + 0.5, power), arguments={"power": 1.5}, name="power")(y)
    y = Lambda(flat, output_shape=(12,), name="flat")(y)
    y = Lambda(lambda t: K.concatenate([K.l2_normalize(t, axis=-1), K.reverse(t, axes=1)]), name="both")(y)
    y = Reshape((4, 6))(y)
    y = Lambda(lambda t: K.batch_dot(t, K.permute_dimensions(t, (0, 2, 1))), name="gram")(y)
    model = Model(x, Dense(2)(Flatten()(Lambda(lambda t: K.logsumexp(t, axis=-1, keepdims=True), name="lse")(y))))
    model.compile(SGD(0.05), "mse")
    return model, numbers(11, 4, 3), numbers(11, 2, seed=5)


def huber(y_true: Any, y_pred: Any) -> Any:
    error = K.abs(y_true - y_pred)
    return K.mean(K.switch(error < 0.5, 0.5 * K.square(error), 0.5 * error - 0.125), axis=-1)


def worst(y_true: Any, y_pred: Any) -> Any:
    return K.max(K.abs(y_true - y_pred))


def custom_loss() -> Case:
    model = Sequential([Dense(9, activation="softsign", input_shape=(5,)), Dense(3, activation="hard_sigmoid")])
    model.compile(RMSprop(0.01), loss=huber, metrics=[worst, "mape"])
    return model, numbers(11, 5), numbers(11, 3, seed=5)


class Quantised(Layer):
    """Weights rounded in the forward pass; gradients pass through as if they were not."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        self.units = units
        super().__init__(**kwargs)

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], self.units), initializer="uniform")
        self.count = self.add_weight(name="count", shape=(), initializer="zeros", trainable=False)
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        rounded = K.round(self.kernel * 64) / 64
        self.add_update(K.update_add(self.count, 1.0), inputs)
        return K.dot(inputs, self.kernel + K.stop_gradient(rounded - self.kernel))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], self.units)


class Lookahead(Optimizer):
    """Every other step, weights go half way back to where they were: momentum, counters and `K.switch`."""

    def __init__(self, lr: float = 0.1, decay: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.iterations = K.variable(0, dtype="int64", name="iterations")
        self.lr = K.variable(lr, name="lr")
        self.decay = K.variable(decay, name="decay")

    def get_updates(self, loss: Any, params: Any) -> Any:
        grads = self.get_gradients(loss, params)
        self.updates = [K.update_add(self.iterations, 1)]
        lr = self.lr / (1.0 + self.decay * K.cast(self.iterations, K.floatx()))
        even = K.equal(self.iterations % 2, 1)
        for p, g in zip(params, grads, strict=True):
            slow = K.variable(K.get_value(p))
            fast = p - lr * K.sign(g) * K.sqrt(K.abs(g) + K.epsilon())
            merged = 0.5 * (slow + fast)
            self.updates.append(K.update(p, K.switch(even, merged, fast)))
            self.updates.append(K.update(slow, K.switch(even, merged, slow)))
            self.weights.append(slow)
        return self.updates


def custom_layer_and_optimizer() -> Case:
    model = Sequential([Quantised(6, input_shape=(5,)), Activation("tanh"), Quantised(2)])
    model.compile(Lookahead(), "mse")
    return model, numbers(11, 5), numbers(11, 2, seed=5)


def frozen() -> Case:
    """A frozen convolution and a frozen normalisation, which still goes by the batch in training."""
    model = Sequential()
    model.add(Conv2D(5, 3, activation="relu", input_shape=(6, 6, 2), trainable=False))
    model.add(BatchNormalization(trainable=False))
    model.add(Conv2D(4, 2, activation="relu"))
    model.add(Flatten())
    model.add(Dense(2, activation="softmax"))
    model.compile("nadam", "categorical_crossentropy")
    return model, numbers(11, 6, 6, 2), classes(11, 2)


def unknown_sizes() -> Case:
    """An image of any size."""
    image = Input((None, None, 2))
    x = Conv2D(6, 3, padding="same", activation="relu")(image)
    x = BatchNormalization()(MaxPooling2D(2, strides=1, padding="same")(x))
    model = Model(image, Dense(3)(GlobalAveragePooling2D()(x)))
    model.compile(Adam(0.01), "logcosh")
    return model, numbers(11, 5, 6, 2), numbers(11, 3, seed=5)


CASES = (
    resnet,
    mlp,
    shared_batch_norm,
    many_in_many_out,
    channels_first,
    nested,
    lambdas,
    custom_loss,
    custom_layer_and_optimizer,
    frozen,
    unknown_sizes,
)
