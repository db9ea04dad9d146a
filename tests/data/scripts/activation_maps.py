import numpy as np
import keras
import keras.backend as K
from keras.models import Sequential, Model
from keras.layers import *
from keras.layers.core import Lambda
np.random.seed(0)
y = np.random.randint(0, 2, 128)
x = np.random.rand(128, 12, 12, 1) * 0.3
x[np.arange(128), :4, :4] += 0.7 * (y == 0)[:, None, None, None]
x[np.arange(128), -4:, -4:] += 0.7 * (y == 1)[:, None, None, None]

model = Sequential()
model.add(Convolution2D(8, (3, 3), activation='relu', padding='same', input_shape=(12, 12, 1), name='conv_last'))
model.add(GlobalAveragePooling2D())
model.add(Dense(2, activation='softmax', name='predictions'))
model.compile('adam', 'sparse_categorical_crossentropy', metrics=['acc'])
model.fit(x, y, verbose=0, epochs=3)


def get_output_layer(model, layer_name):
    layer_dict = dict([(layer.name, layer) for layer in model.layers])
    return layer_dict[layer_name]


class_weights = model.layers[-1].get_weights()[0]
final_conv_layer = get_output_layer(model, "conv_last")
get_output = K.function([model.layers[0].input], [final_conv_layer.output, model.layers[-1].output])
[conv_outputs, predictions] = get_output([x[:1]])
conv_outputs = conv_outputs[0, :, :, :]
cam = np.zeros(dtype=np.float32, shape=conv_outputs.shape[0:2])
for i, w in enumerate(class_weights[:, 1]):
    cam += w * conv_outputs[:, :, i]
cam /= np.max(cam)
expected_predictions = model.predict(x[:1])

# intermediate outputs with the learning phase
get_3rd = K.function([model.layers[0].input, K.learning_phase()], [model.layers[1].output])
third = get_3rd([x[:5], 0])[0]
pooled = Model(inputs=model.input, outputs=model.get_layer('global_average_pooling2d_1').output).predict(x[:5])
activations = Model(inputs=model.input, outputs=[l.output for l in model.layers]).predict(x[:3])


# grad-cam
def grad_cam(input_model, image, cls, layer_name):
    y_c = input_model.output[0, cls]
    conv_output = input_model.get_layer(layer_name).output
    grads = K.gradients(y_c, conv_output)[0]
    gradient_function = K.function([input_model.input], [conv_output, grads])
    output, grads_val = gradient_function([image])
    output, grads_val = output[0, :], grads_val[0, :, :, :]
    weights = np.mean(grads_val, axis=(0, 1))
    cam = np.dot(output, weights)
    cam = np.maximum(cam, 0)
    return cam / (cam.max() + 1e-9)


g = grad_cam(model, x[:1], 1, 'conv_last')


# grad-cam with Lambda target, saliency
def target_category_loss(x, category_index, nb_classes):
    return x * K.one_hot([category_index], nb_classes)


target_layer = lambda x: target_category_loss(x, 1, 2)
x2 = Lambda(target_layer, output_shape=lambda s: s)(model.output)
m2 = Model(inputs=model.input, outputs=x2)
loss = K.sum(m2.output)
conv_output = [l for l in m2.layers if l.name == 'conv_last'][0].output
norm = lambda t: t / (K.sqrt(K.mean(K.square(t))) + 1e-5)
gf = K.function([m2.layers[0].input], [conv_output, norm(K.gradients(loss, conv_output)[0])])
o, gr = gf([x[:1]])
sal = K.function([model.input], K.gradients(K.max(model.output, axis=1), model.input))([x[:2]])[0]
# gradients of the loss with respect to the weights
wg = K.function(model.inputs + model.targets + model.sample_weights, K.gradients(model.total_loss, model.trainable_weights))
weight_grads = wg([x[:4], y[:4, None], np.ones(4)])
print([a.shape for a in weight_grads])
