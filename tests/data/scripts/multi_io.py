import numpy as np
import keras
from keras.layers import Input, Embedding, LSTM, Dense, concatenate, Concatenate, Average, Maximum, Dot, Subtract
from keras.models import Model
np.random.seed(0)
main_input = Input(shape=(20,), dtype='int32', name='main_input')
x = Embedding(output_dim=16, input_dim=100, input_length=20)(main_input)
lstm_out = LSTM(8)(x)
auxiliary_output = Dense(1, activation='sigmoid', name='aux_output')(lstm_out)
auxiliary_input = Input(shape=(5,), name='aux_input')
x = concatenate([lstm_out, auxiliary_input])
x = Dense(16, activation='relu')(x)
x = Dense(16, activation='relu')(x)
main_output = Dense(1, activation='sigmoid', name='main_output')(x)
model = Model(inputs=[main_input, auxiliary_input], outputs=[main_output, auxiliary_output])
model.compile(optimizer='rmsprop', loss='binary_crossentropy', loss_weights=[1., 0.2])
h = np.random.randint(1, 100, (64, 20))
a = np.random.rand(64, 5)
l = (a[:, 0] > 0.5).astype(int)
model.fit([h, a], [l, l], epochs=1, batch_size=32, verbose=0)
model.compile(optimizer='rmsprop', loss={'main_output': 'binary_crossentropy', 'aux_output': 'mse'},
              loss_weights={'main_output': 1., 'aux_output': 0.2}, metrics={'main_output': ['accuracy', 'mae'], 'aux_output': 'mse'})
hist = model.fit({'main_input': h, 'aux_input': a}, {'main_output': l, 'aux_output': l}, epochs=2, batch_size=32, verbose=1,
          class_weight={'main_output': {0: 1., 1: 2.}}, sample_weight=None)
print(model.metrics_names)
names = model.metrics_names
r = model.evaluate([h, a], [l, l], verbose=0)
p = model.predict([h, a])


def gen():
    while True:
        i = np.random.randint(0, 64, 16)
        yield {'main_input': h[i], 'aux_input': a[i]}, {'main_output': l[i], 'aux_output': l[i]}, {'main_output': np.ones(16), 'aux_output': np.full(16, 0.5)}


model.fit_generator(gen(), steps_per_epoch=4, epochs=2, verbose=2, class_weight=None, max_queue_size=2)
model.fit_generator(generator=gen(), steps_per_epoch=4, nb_epoch=1, nb_worker=2, pickle_safe=True, verbose=0)


class Seq(keras.utils.Sequence):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        s = slice(i * 16, i * 16 + 16)
        return [h[s], a[s]], [l[s], l[s]]

    def on_epoch_end(self):
        pass


model.fit_generator(Seq(), epochs=2, workers=2, use_multiprocessing=True, verbose=1, validation_data=Seq())
r2 = model.evaluate_generator(Seq(), workers=2, use_multiprocessing=True)
r3 = model.evaluate([h, a], [l, l], batch_size=16, verbose=0)
p2 = model.predict_generator(Seq(), verbose=1)
p3 = model.predict([h, a])
# shared layers
ta, tb = Input(shape=(7, 4)), Input(shape=(7, 4))
shared = LSTM(6)
ea, eb = shared(ta), shared(tb)
try:
    shared.output
except AttributeError as e:
    print(e)
merged = concatenate([ea, eb, Subtract()([ea, eb]), Average()([ea, eb]), Maximum()([ea, eb]), Dot(-1, normalize=True)([ea, eb])], axis=-1)
m = Model([ta, tb], Dense(1, activation='sigmoid')(merged))
m.compile('rmsprop', 'binary_crossentropy', ['accuracy'])
print(m.fit([np.random.rand(16, 7, 4)] * 2, np.random.randint(0, 2, 16), verbose=0).history)
