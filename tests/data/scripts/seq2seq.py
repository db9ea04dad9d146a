from __future__ import print_function
from keras.models import Model, load_model
from keras.layers import Input, LSTM, Dense
import numpy as np
import os, tempfile

np.random.seed(5)
latent_dim, num_samples = 24, 64
pairs = [(''.join(np.random.choice(list('abcd'), np.random.randint(2, 5)))) for _ in range(num_samples)]
input_texts = pairs
target_texts = ['\t' + s.upper() + '\n' for s in pairs]
input_characters = sorted(set(''.join(input_texts)))
target_characters = sorted(set(''.join(target_texts)))
num_encoder_tokens, num_decoder_tokens = len(input_characters), len(target_characters)
max_enc = max(len(t) for t in input_texts)
max_dec = max(len(t) for t in target_texts)
input_token_index = dict([(char, i) for i, char in enumerate(input_characters)])
target_token_index = dict([(char, i) for i, char in enumerate(target_characters)])
encoder_input_data = np.zeros((num_samples, max_enc, num_encoder_tokens), dtype='float32')
decoder_input_data = np.zeros((num_samples, max_dec, num_decoder_tokens), dtype='float32')
decoder_target_data = np.zeros((num_samples, max_dec, num_decoder_tokens), dtype='float32')
for i, (a, b) in enumerate(zip(input_texts, target_texts)):
    for t, char in enumerate(a):
        encoder_input_data[i, t, input_token_index[char]] = 1.
    for t, char in enumerate(b):
        decoder_input_data[i, t, target_token_index[char]] = 1.
        if t > 0:
            decoder_target_data[i, t - 1, target_token_index[char]] = 1.

encoder_inputs = Input(shape=(None, num_encoder_tokens))
encoder = LSTM(latent_dim, return_state=True)
encoder_outputs, state_h, state_c = encoder(encoder_inputs)
encoder_states = [state_h, state_c]
decoder_inputs = Input(shape=(None, num_decoder_tokens))
decoder_lstm = LSTM(latent_dim, return_sequences=True, return_state=True)
decoder_outputs, _, _ = decoder_lstm(decoder_inputs, initial_state=encoder_states)
decoder_dense = Dense(num_decoder_tokens, activation='softmax')
decoder_outputs = decoder_dense(decoder_outputs)
model = Model([encoder_inputs, decoder_inputs], decoder_outputs)
model.compile(optimizer='rmsprop', loss='categorical_crossentropy')
h = model.fit([encoder_input_data, decoder_input_data], decoder_target_data, batch_size=16, epochs=10,
              validation_split=0.2, verbose=0)
print(h.history['loss'])
path = os.path.join(tempfile.mkdtemp(), 's2s.h5')
model.save(path)
model = load_model(path)

encoder_inputs = model.input[0]
encoder_outputs, state_h_enc, state_c_enc = model.layers[2].output
encoder_model = Model(encoder_inputs, [state_h_enc, state_c_enc])
decoder_inputs = model.input[1]
decoder_state_input_h = Input(shape=(latent_dim,), name='input_3')
decoder_state_input_c = Input(shape=(latent_dim,), name='input_4')
decoder_states_inputs = [decoder_state_input_h, decoder_state_input_c]
decoder_lstm = model.layers[3]
decoder_outputs, state_h_dec, state_c_dec = decoder_lstm(decoder_inputs, initial_state=decoder_states_inputs)
decoder_states = [state_h_dec, state_c_dec]
decoder_dense = model.layers[4]
decoder_outputs = decoder_dense(decoder_outputs)
decoder_model = Model([decoder_inputs] + decoder_states_inputs, [decoder_outputs] + decoder_states)
reverse_target = dict((i, c) for c, i in target_token_index.items())


def decode_sequence(input_seq):
    states_value = encoder_model.predict(input_seq)
    target_seq = np.zeros((1, 1, num_decoder_tokens))
    target_seq[0, 0, target_token_index['\t']] = 1.
    decoded = ''
    while True:
        output_tokens, hh, c = decoder_model.predict([target_seq] + states_value)
        k = np.argmax(output_tokens[0, -1, :])
        decoded += reverse_target[k]
        if reverse_target[k] == '\n' or len(decoded) > max_dec:
            return decoded
        target_seq = np.zeros((1, 1, num_decoder_tokens))
        target_seq[0, 0, k] = 1.
        states_value = [hh, c]


# stepping with states equals teacher forcing in one go
whole = model.predict([encoder_input_data[:1], decoder_input_data[:1]])
states = encoder_model.predict(encoder_input_data[:1])
stepped = []
for t in range(max_dec):
    out, hh, c = decoder_model.predict([decoder_input_data[:1, t:t + 1]] + states)
    states = [hh, c]
    stepped.append(out[0, 0])
for i in range(4):
    print(input_texts[i], repr(decode_sequence(encoder_input_data[i:i + 1])))
