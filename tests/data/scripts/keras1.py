'''Written for Keras 1, as far as Keras 2 took it.'''
import numpy as np
np.random.seed(1337)
from keras.models import Sequential, Model
from keras.layers.core import Dense, Dropout, Activation, Flatten, Reshape
from keras.layers import Input, Embedding, LSTM, GRU, SimpleRNN, Bidirectional, GaussianNoise, GaussianDropout
from keras.layers.convolutional import Convolution2D, MaxPooling2D, ZeroPadding2D, Convolution1D, AveragePooling2D, Deconvolution2D, AtrousConvolution2D, SeparableConvolution2D, UpSampling2D, Convolution3D
from keras.layers.convolutional import MaxPooling1D
from keras.layers.pooling import GlobalMaxPooling1D
from keras.layers.normalization import BatchNormalization
from keras.layers.advanced_activations import PReLU, LeakyReLU, ELU, ThresholdedReLU
from keras.regularizers import l2, l1_l2
from keras.constraints import maxnorm, nonneg, unitnorm
from keras.utils import np_utils
import warnings
model = Sequential()
model.add(Convolution2D(8, 3, 3, border_mode='same', input_shape=(12, 12, 1), init='he_normal', W_regularizer=l2(0.01), subsample=(1, 1), dim_ordering='tf'))
model.add(BatchNormalization(mode=0, axis=-1))
model.add(PReLU())
model.add(Convolution2D(8, 3, 3, border_mode='valid', activation='relu', bias=True))
model.add(MaxPooling2D(pool_size=(2, 2), strides=(2, 2), border_mode='same', dim_ordering='tf'))
model.add(AtrousConvolution2D(4, 3, 3, atrous_rate=(2, 2), border_mode='same'))
model.add(SeparableConvolution2D(4, 3, 3, border_mode='same'))
model.add(Dropout(p=0.25))
model.add(Flatten())
model.add(Dense(output_dim=16, init='glorot_normal', activation='tanh', W_constraint=maxnorm(2), b_regularizer=l2(0.1)))
model.add(GaussianNoise(sigma=0.1))
model.add(GaussianDropout(p=0.1))
model.add(Dense(3, init='uniform'))
model.add(Activation('softmax'))
model.compile(loss='categorical_crossentropy', optimizer='adadelta', metrics=['accuracy'])
model.summary()
x = np.random.rand(60, 12, 12, 1)
y = np_utils.to_categorical(np.random.randint(0, 3, 60), 3)
h = model.fit(x, y, batch_size=20, nb_epoch=2, verbose=1, validation_data=(x, y))
score = model.evaluate(x, y, verbose=0)

m = Sequential()
m.add(Embedding(50, 8, input_length=10, dropout=0.2))
m.add(Convolution1D(nb_filter=8, filter_length=3, border_mode='valid', activation='relu', subsample_length=1))
m.add(MaxPooling1D(pool_length=2))
m.add(LSTM(output_dim=6, dropout_W=0.2, dropout_U=0.2, init='glorot_uniform', inner_init='orthogonal', inner_activation='hard_sigmoid', return_sequences=True, consume_less='gpu'))
m.add(GRU(4, inner_activation='sigmoid'))
m.add(Dense(1, activation='sigmoid'))
m.compile('rmsprop', 'binary_crossentropy')


def g():
    while 1:
        yield np.random.randint(0, 50, (8, 10)), np.random.randint(0, 2, 8)


m.fit_generator(g(), samples_per_epoch=5, nb_epoch=2, nb_val_samples=2, validation_data=g(), max_q_size=3, verbose=2)
m.evaluate_generator(g(), val_samples=2)
p = m.predict_generator(g(), val_samples=2)
inp = Input(shape=(6, 6, 2))
d = Deconvolution2D(3, 3, 3, output_shape=(None, 12, 12, 3), subsample=(2, 2), border_mode='same')(inp)
d = ZeroPadding2D((1, 1))(d)
fm = Model(input=inp, output=d)
f = fm.predict(np.ones((2, 6, 6, 2)))
