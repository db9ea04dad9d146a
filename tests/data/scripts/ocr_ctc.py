'''Image OCR with convolutions, bidirectional GRUs and CTC in a Lambda.'''
import numpy as np
import itertools
from keras import backend as K
from keras.layers.convolutional import Conv2D, MaxPooling2D
from keras.layers import Input, Dense, Activation, Reshape, Lambda
from keras.layers.merge import add, concatenate
from keras.models import Model
from keras.layers.recurrent import GRU
from keras.optimizers import SGD
import keras.callbacks

np.random.seed(55)
img_w, img_h, absolute_max_string_len, classes = 32, 16, 4, 6
pool_size, time_dense_size, rnn_size, minibatch = 2, 16, 16, 8


def ctc_lambda_func(args):
    y_pred, labels, input_length, label_length = args
    y_pred = y_pred[:, 2:, :]
    return K.ctc_batch_cost(labels, y_pred, input_length, label_length)


def decode_batch(test_func, word_batch):
    out = test_func([word_batch])[0]
    ret = []
    for j in range(out.shape[0]):
        out_best = list(np.argmax(out[j, 2:], 1))
        ret.append([k for k, g in itertools.groupby(out_best)])
    return ret


class TextImageGenerator(keras.callbacks.Callback):
    def paint(self, labels):
        X = np.random.rand(len(labels), img_w, img_h, 1) * 0.2
        for i, l in enumerate(labels):
            for j, c in enumerate(l):
                X[i, 4 + j * 7:9 + j * 7, 2 * c:2 * c + 4] += 0.8
        return X

    def next_train(self):
        while 1:
            labels = np.random.randint(0, classes, (minibatch, absolute_max_string_len))
            inputs = {'the_input': self.paint(labels), 'the_labels': labels.astype(float),
                      'input_length': np.ones((minibatch, 1)) * (img_w // 4 - 2 + 4),
                      'label_length': np.ones((minibatch, 1)) * absolute_max_string_len,
                      'source_str': ['x'] * minibatch}
            del inputs['source_str']
            outputs = {'ctc': np.zeros([minibatch])}
            yield (inputs, outputs)

    def on_epoch_begin(self, epoch, logs={}):
        self.epoch = epoch


act = 'relu'
input_data = Input(name='the_input', shape=(img_w, img_h, 1), dtype='float32')
inner = Conv2D(8, (3, 3), padding='same', activation=act, kernel_initializer='he_normal', name='conv1')(input_data)
inner = MaxPooling2D(pool_size=(pool_size, pool_size), name='max1')(inner)
inner = Conv2D(8, (3, 3), padding='same', activation=act, kernel_initializer='he_normal', name='conv2')(inner)
inner = MaxPooling2D(pool_size=(1, pool_size), name='max2')(inner)
conv_to_rnn_dims = (img_w // pool_size, (img_h // (pool_size ** 2)) * 8)
inner = Reshape(target_shape=conv_to_rnn_dims, name='reshape')(inner)
inner = Dense(time_dense_size, activation=act, name='dense1')(inner)
gru_1 = GRU(rnn_size, return_sequences=True, kernel_initializer='he_normal', name='gru1')(inner)
gru_1b = GRU(rnn_size, return_sequences=True, go_backwards=True, kernel_initializer='he_normal', name='gru1_b')(inner)
gru1_merged = add([gru_1, gru_1b])
gru_2 = GRU(rnn_size, return_sequences=True, kernel_initializer='he_normal', name='gru2')(gru1_merged)
gru_2b = GRU(rnn_size, return_sequences=True, go_backwards=True, name='gru2_b')(gru1_merged)
inner = Dense(classes + 1, kernel_initializer='he_normal', name='dense2')(concatenate([gru_2, gru_2b]))
y_pred = Activation('softmax', name='softmax')(inner)
Model(inputs=input_data, outputs=y_pred).summary()
labels = Input(name='the_labels', shape=[absolute_max_string_len], dtype='float32')
input_length = Input(name='input_length', shape=[1], dtype='int64')
label_length = Input(name='label_length', shape=[1], dtype='int64')
loss_out = Lambda(ctc_lambda_func, output_shape=(1,), name='ctc')([y_pred, labels, input_length, label_length])
sgd = SGD(lr=0.02, decay=1e-6, momentum=0.9, nesterov=True, clipnorm=5)
model = Model(inputs=[input_data, labels, input_length, label_length], outputs=loss_out)
model.compile(loss={'ctc': lambda y_true, y_pred: y_pred}, optimizer=sgd)
test_func = K.function([input_data], [y_pred])
img_gen = TextImageGenerator()
h = model.fit_generator(generator=img_gen.next_train(), steps_per_epoch=15, epochs=4, verbose=2,
                        validation_data=img_gen.next_train(), validation_steps=2, callbacks=[img_gen],
                        initial_epoch=0)
X = img_gen.paint(np.array([[0, 1, 2, 3], [5, 4, 3, 2]]))
decoded_batch = decode_batch(test_func, X)
print(decoded_batch)
probs = test_func([X])[0]
decoded, logp = K.ctc_decode(K.variable(probs[:, 2:]), K.variable(np.array([14, 14]), dtype='int32'), greedy=True)
best_paths = K.get_value(decoded[0])
beam, _ = K.ctc_decode(K.variable(probs[:, 2:]), K.variable(np.array([14, 14]), dtype='int32'), greedy=False,
                       beam_width=5)
beam = K.get_value(beam[0])
print(best_paths, beam)
