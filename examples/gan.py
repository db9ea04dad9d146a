"""A small GAN: two compiled models that share the generator's and discriminator's weights, trained in turn.

The discriminator is compiled on its own; then it is frozen and compiled again inside the combined model, so that
training the combined model moves the generator only.
"""

import numpy as np

from kgraph.datasets import digits
from kgraph.layers import Dense, Input, LeakyReLU
from kgraph.models import Model, Sequential
from kgraph.optimizers import Adam

LATENT = 16


def build():
    generator = Sequential()
    generator.add(Dense(64, activation="relu", input_dim=LATENT))
    generator.add(Dense(64, activation="sigmoid"))

    discriminator = Sequential()
    discriminator.add(Dense(64, input_dim=64))
    discriminator.add(LeakyReLU(0.2))
    discriminator.add(Dense(1, activation="sigmoid"))
    discriminator.compile(optimizer=Adam(0.001, 0.5), loss="binary_crossentropy", metrics=["accuracy"])

    discriminator.trainable = False
    noise = Input(shape=(LATENT,))
    combined = Model(noise, discriminator(generator(noise)))
    combined.compile(optimizer=Adam(0.001, 0.5), loss="binary_crossentropy")
    return generator, discriminator, combined


def main(steps=400, batch=32):
    np.random.seed(0)
    (x_train, _), _ = digits.load_data()
    x_train = x_train.reshape(-1, 64).astype("float32") / 16
    generator, discriminator, combined = build()
    real, fake = np.ones((batch, 1)), np.zeros((batch, 1))

    for step in range(steps):
        images = x_train[np.random.randint(0, len(x_train), batch)]
        noise = np.random.normal(size=(batch, LATENT))
        d_real = discriminator.train_on_batch(images, real)
        d_fake = discriminator.train_on_batch(generator.predict_on_batch(noise), fake)
        g_loss = combined.train_on_batch(np.random.normal(size=(batch, LATENT)), real)
        if step % 100 == 0:
            accuracy = 0.5 * (d_real[1] + d_fake[1])
            print(f"step {step:3d}: discriminator accuracy {accuracy:.2f}, generator loss {g_loss:.3f}")

    samples = generator.predict(np.random.normal(size=(200, LATENT)))
    distance = float(np.abs(samples.mean(axis=0) - x_train.mean(axis=0)).mean())
    print(f"mean distance of the mean image to the real one: {distance:.3f}")
    return distance


if __name__ == "__main__":
    main()
