from __future__ import print_function
import numpy as np
from keras.preprocessing import sequence
from keras.models import Sequential
from keras.layers import Dense, Dropout, Activation, Embedding, LSTM, GRU, Bidirectional, SpatialDropout1D
from keras.layers import Conv1D, MaxPooling1D, GlobalMaxPooling1D, GlobalAveragePooling1D

np.random.seed(7)
max_features = 200
maxlen = 20


def load_data(n):
    seqs, labels = [], []
    for i in range(n):
        label = np.random.randint(2)
        length = np.random.randint(4, 30)
        words = np.random.randint(4, max_features, length)
        words[np.random.rand(length) < 0.5] = 10 + label
        seqs.append([1] + words.tolist())
        labels.append(label)
    return np.array(seqs, dtype=object), np.array(labels)


(x_train, y_train), (x_test, y_test) = load_data(320), load_data(100)
print(len(x_train), 'train sequences')
x_train = sequence.pad_sequences(x_train, maxlen=maxlen)
x_test = sequence.pad_sequences(x_test, maxlen=maxlen)
print('x_train shape:', x_train.shape)


def lstm():
    model = Sequential()
    model.add(Embedding(max_features, 16))
    model.add(LSTM(16, dropout=0.2, recurrent_dropout=0.2))
    model.add(Dense(1, activation='sigmoid'))
    return model


def bilstm():
    model = Sequential()
    model.add(Embedding(max_features, 16, input_length=maxlen, mask_zero=True))
    model.add(Bidirectional(LSTM(8)))
    model.add(Dropout(0.5))
    model.add(Dense(1, activation='sigmoid'))
    return model


def cnn_lstm():
    model = Sequential()
    model.add(Embedding(max_features, 16, input_length=maxlen))
    model.add(Dropout(0.25))
    model.add(Conv1D(16, 5, padding='valid', activation='relu', strides=1))
    model.add(MaxPooling1D(pool_size=4))
    model.add(GRU(8))
    model.add(Dense(1))
    model.add(Activation('sigmoid'))
    return model


def cnn():
    model = Sequential()
    model.add(Embedding(max_features, 16, input_length=maxlen))
    model.add(SpatialDropout1D(0.2))
    model.add(Conv1D(32, 3, padding='valid', activation='relu', strides=1))
    model.add(GlobalMaxPooling1D())
    model.add(Dense(1))
    model.add(Activation('sigmoid'))
    return model


def fasttext():
    model = Sequential()
    model.add(Embedding(max_features, 16, input_length=maxlen))
    model.add(GlobalAveragePooling1D())
    model.add(Dense(1, activation='sigmoid'))
    return model


results = {}
for build in (lstm, bilstm, cnn_lstm, cnn, fasttext):
    model = build()
    model.compile('adam', 'binary_crossentropy', metrics=['accuracy'])
    model.optimizer.lr = 0.01
    model.fit(x_train, y_train, batch_size=32, epochs=4, validation_data=[x_test, y_test], verbose=0)
    score, acc = model.evaluate(x_test, y_test, batch_size=32, verbose=0)
    results[build.__name__] = acc
    print(build.__name__, 'Test score:', score, 'Test accuracy:', acc)
