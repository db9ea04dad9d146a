import numpy as np
import keras
from keras import backend as K
from keras import initializers, regularizers, constraints
from keras.engine.topology import Layer, InputSpec
from keras.layers import Dense, Input, LSTM, GRU, Embedding, Dropout, Bidirectional, TimeDistributed, Activation, \
    Flatten, RepeatVector, Permute, Lambda, multiply, merge
from keras.models import Model, load_model
from keras.callbacks import EarlyStopping, ModelCheckpoint
import os, tempfile
np.random.seed(0)


def dot_product(x, kernel):
    if K.backend() == 'tensorflow':
        return K.squeeze(K.dot(x, K.expand_dims(kernel)), axis=-1)
    else:
        return K.dot(x, kernel)


class Attention(Layer):
    def __init__(self, step_dim, W_regularizer=None, b_regularizer=None, W_constraint=None, b_constraint=None,
                 bias=True, **kwargs):
        self.supports_masking = True
        self.init = initializers.get('glorot_uniform')
        self.W_regularizer = regularizers.get(W_regularizer)
        self.b_regularizer = regularizers.get(b_regularizer)
        self.W_constraint = constraints.get(W_constraint)
        self.b_constraint = constraints.get(b_constraint)
        self.bias = bias
        self.step_dim = step_dim
        self.features_dim = 0
        super(Attention, self).__init__(**kwargs)

    def build(self, input_shape):
        assert len(input_shape) == 3
        self.W = self.add_weight((input_shape[-1],), initializer=self.init, name='{}_W'.format(self.name),
                                 regularizer=self.W_regularizer, constraint=self.W_constraint)
        self.features_dim = input_shape[-1]
        if self.bias:
            self.b = self.add_weight((input_shape[1],), initializer='zero', name='{}_b'.format(self.name),
                                     regularizer=self.b_regularizer, constraint=self.b_constraint)
        else:
            self.b = None
        self.built = True

    def compute_mask(self, input, input_mask=None):
        return None

    def call(self, x, mask=None):
        features_dim = self.features_dim
        step_dim = self.step_dim
        eij = K.reshape(K.dot(K.reshape(x, (-1, features_dim)), K.reshape(self.W, (features_dim, 1))), (-1, step_dim))
        if self.bias:
            eij += self.b
        eij = K.tanh(eij)
        a = K.exp(eij)
        if mask is not None:
            a *= K.cast(mask, K.floatx())
        a /= K.cast(K.sum(a, axis=1, keepdims=True) + K.epsilon(), K.floatx())
        a = K.expand_dims(a)
        weighted_input = x * a
        return K.sum(weighted_input, axis=1)

    def compute_output_shape(self, input_shape):
        return input_shape[0], self.features_dim

    def get_config(self):
        c = super(Attention, self).get_config()
        c.update({'step_dim': self.step_dim, 'bias': self.bias})
        return c


class AttentionWithContext(Layer):
    def __init__(self, **kwargs):
        self.supports_masking = True
        super(AttentionWithContext, self).__init__(**kwargs)

    def build(self, input_shape):
        self.W = self.add_weight(shape=(input_shape[-1], input_shape[-1],), initializer='glorot_uniform', name='W')
        self.b = self.add_weight(shape=(input_shape[-1],), initializer='zero', name='b')
        self.u = self.add_weight(shape=(input_shape[-1],), initializer='glorot_uniform', name='u')
        super(AttentionWithContext, self).build(input_shape)

    def compute_mask(self, input, input_mask=None):
        return None

    def call(self, x, mask=None):
        uit = K.dot(x, self.W)
        uit += self.b
        uit = K.tanh(uit)
        ait = dot_product(uit, self.u)
        a = K.exp(ait)
        if mask is not None:
            a *= K.cast(mask, K.floatx())
        a /= K.cast(K.sum(a, axis=1, keepdims=True) + K.epsilon(), K.floatx())
        a = K.expand_dims(a)
        return K.sum(x * a, axis=1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[-1])


maxlen, vocab = 12, 40
y = np.random.randint(0, 2, 200)
x = np.random.randint(5, vocab, (200, maxlen))
x[np.arange(200), np.random.randint(4, maxlen, 200)] = 1 + y
x[:, :3] = 0
inp = Input(shape=(maxlen,), dtype='int32')
e = Embedding(vocab, 12, mask_zero=True)(inp)
h = Bidirectional(LSTM(6, return_sequences=True, dropout=0.1, recurrent_dropout=0.1))(e)
h = Attention(maxlen)(h)
h = Dense(8, activation='relu')(h)
out = Dense(1, activation='sigmoid')(h)
model = Model(inputs=inp, outputs=out)
model.compile(loss='binary_crossentropy', optimizer='adam', metrics=['accuracy'])
path = os.path.join(tempfile.mkdtemp(), 'att.h5')
history = model.fit(x, y, epochs=6, batch_size=32, validation_split=0.1, verbose=2,
          callbacks=[EarlyStopping(monitor='val_loss', patience=5), ModelCheckpoint(path, save_best_only=False)])
m2 = load_model(path, custom_objects={'Attention': Attention})
before, after = model.predict(x), m2.predict(x)

inp = Input(shape=(maxlen,), dtype='int32')
e = Embedding(vocab, 12, mask_zero=True)(inp)
h = GRU(8, return_sequences=True)(e)
out = Dense(1, activation='sigmoid')(AttentionWithContext()(h))
model = Model(inp, out)
model.compile(loss='binary_crossentropy', optimizer='adam', metrics=['accuracy'])
hist = model.fit(x, y, epochs=3, verbose=0)

# attention from ready layers
inp = Input(shape=(maxlen, 4))
lstm_out = LSTM(8, return_sequences=True)(inp)
a = TimeDistributed(Dense(1, activation='tanh'))(lstm_out)
a = Flatten()(a)
a = Activation('softmax')(a)
a = RepeatVector(8)(a)
a = Permute([2, 1])(a)
sent = multiply([lstm_out, a])
sent = Lambda(lambda xin: K.sum(xin, axis=-2), output_shape=(8,))(sent)
out = Dense(1, activation='sigmoid')(sent)
m = Model(inputs=[inp], outputs=out)
m.compile('rmsprop', 'binary_crossentropy')
print(m.train_on_batch(np.random.rand(8, maxlen, 4), y[:8]))
a_probs = Model(m.input, m.get_layer('activation_1').output).predict(np.random.rand(2, maxlen, 4))
