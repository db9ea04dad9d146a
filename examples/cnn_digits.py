"""A convolutional network on handwritten digits: build, train, save, load, predict."""

import os
import tempfile

import numpy as np

from kgraph.datasets import digits
from kgraph.layers import Activation, BatchNormalization, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from kgraph.models import Sequential, load_model
from kgraph.utils import to_categorical


def main(epochs=4):
    np.random.seed(0)
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    x_train = x_train.reshape(-1, 8, 8, 1).astype("float32") / 16
    x_test = x_test.reshape(-1, 8, 8, 1).astype("float32") / 16

    model = Sequential()
    model.add(Conv2D(16, (3, 3), padding="same", input_shape=(8, 8, 1)))
    model.add(BatchNormalization())
    model.add(Activation("relu"))
    model.add(MaxPooling2D((2, 2)))
    model.add(Conv2D(32, (3, 3), activation="relu"))
    model.add(Flatten())
    model.add(Dropout(0.25))
    model.add(Dense(10, activation="softmax"))
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    model.summary()

    model.fit(
        x_train,
        to_categorical(y_train, 10),
        batch_size=32,
        epochs=epochs,
        verbose=2,
        validation_data=(x_test, to_categorical(y_test, 10)),
    )
    loss, accuracy = model.evaluate(x_test, to_categorical(y_test, 10), verbose=0)

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "digits.h5")
        model.save(path)
        again = load_model(path)
    same = np.array_equal(model.predict(x_test), again.predict(x_test))
    print(f"test loss {loss:.3f}, test accuracy {accuracy:.3f}")
    print(f"the loaded model predicts the same: {same}")
    return accuracy, same


if __name__ == "__main__":
    main()
