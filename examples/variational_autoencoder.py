"""A variational autoencoder (Kingma and Welling, 2014): `add_loss` and a sampling Lambda with `K.random_normal`."""

import numpy as np

from kgraph import backend as K
from kgraph.datasets import digits
from kgraph.layers import Dense, Input, Lambda
from kgraph.losses import binary_crossentropy
from kgraph.models import Model

LATENT = 4


def sample(arguments):
    """z = mean + exp(log_variance / 2) * noise, so that gradients reach mean and log_variance."""
    mean, log_variance = arguments
    noise = K.random_normal(shape=(K.shape(mean)[0], K.int_shape(mean)[1]))
    return mean + K.exp(0.5 * log_variance) * noise


def build():
    image = Input(shape=(64,), name="image")
    hidden = Dense(64, activation="relu")(image)
    mean = Dense(LATENT, name="mean")(hidden)
    log_variance = Dense(LATENT, name="log_variance")(hidden)
    z = Lambda(sample, output_shape=(LATENT,), name="z")([mean, log_variance])
    encoder = Model(image, [mean, log_variance, z], name="encoder")

    code = Input(shape=(LATENT,), name="code")
    decoder = Model(code, Dense(64, activation="sigmoid")(Dense(64, activation="relu")(code)), name="decoder")

    output = decoder(encoder(image)[2])
    vae = Model(image, output, name="vae")
    reconstruction = 64 * binary_crossentropy(image, output)
    divergence = -0.5 * K.sum(1 + log_variance - K.square(mean) - K.exp(log_variance), axis=-1)
    vae.add_loss(K.mean(reconstruction + divergence))
    vae.compile(optimizer="adam")
    return encoder, decoder, vae


def main(epochs=15):
    np.random.seed(0)
    (x_train, _), (x_test, _) = digits.load_data()
    x_train, x_test = (x.reshape(-1, 64).astype("float32") / 16 for x in (x_train, x_test))
    encoder, decoder, vae = build()
    history = vae.fit(x_train, epochs=epochs, batch_size=32, verbose=2, validation_data=(x_test, None))
    samples = decoder.predict(np.random.normal(size=(8, LATENT)))
    print(f"generated images between {samples.min():.2f} and {samples.max():.2f}")
    return history.history["loss"], history.history["val_loss"]


if __name__ == "__main__":
    main()
