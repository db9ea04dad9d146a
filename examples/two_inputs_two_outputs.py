"""Two inputs and two outputs: an image and a number go in, the digit and whether it is even come out."""

import numpy as np

from kgraph.datasets import digits
from kgraph.layers import Concatenate, Conv2D, Dense, Flatten, Input
from kgraph.models import Model


def main(epochs=6):
    np.random.seed(0)
    (x_train, y_train), (x_test, y_test) = digits.load_data()

    def inputs(x):
        images = x.reshape(-1, 8, 8, 1).astype("float32") / 16
        return {"image": images, "ink": images.mean(axis=(1, 2))}

    def targets(y):
        return {"digit": y.reshape(-1, 1), "even": (y % 2 == 0).astype("float32").reshape(-1, 1)}

    image = Input(shape=(8, 8, 1), name="image")
    ink = Input(shape=(1,), name="ink")  # the mean darkness of the image
    features = Flatten()(Conv2D(16, (3, 3), activation="relu")(image))
    features = Dense(64, activation="relu")(Concatenate()([features, ink]))
    digit = Dense(10, activation="softmax", name="digit")(features)
    even = Dense(1, activation="sigmoid", name="even")(features)

    model = Model(inputs=[image, ink], outputs=[digit, even])
    model.compile(
        optimizer="rmsprop",
        loss={"digit": "sparse_categorical_crossentropy", "even": "binary_crossentropy"},
        loss_weights={"digit": 1.0, "even": 0.5},
        metrics={"digit": "accuracy", "even": "accuracy"},
    )
    model.fit(inputs(x_train), targets(y_train), batch_size=32, epochs=epochs, verbose=2, validation_split=0.1)
    results = dict(zip(model.metrics_names, model.evaluate(inputs(x_test), targets(y_test), verbose=0), strict=True))
    print(f"digit accuracy {results['digit_acc']:.3f}, even accuracy {results['even_acc']:.3f}")
    return results


if __name__ == "__main__":
    main()
