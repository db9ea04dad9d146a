from __future__ import print_function
import numpy as np
from scipy.optimize import fmin_l_bfgs_b
import time
from keras.applications import vgg16
from keras import backend as K
from keras.layers import Conv2D, MaxPooling2D, Input
from keras.models import Model

np.random.seed(0)
img_nrows, img_ncols = 32, 24
total_variation_weight, style_weight, content_weight = 1e-5, 1.0, 0.025


def preprocess_image(img):
    img = np.expand_dims(img, axis=0)
    img = vgg16.preprocess_input(img)
    return img


def deprocess_image(x):
    x = x.reshape((img_nrows, img_ncols, 3))
    x[:, :, 0] += 103.939
    x = x[:, :, ::-1]
    return np.clip(x, 0, 255).astype('uint8')


base_image = K.variable(preprocess_image(np.random.rand(img_nrows, img_ncols, 3) * 255))
style_reference_image = K.variable(preprocess_image(np.random.rand(img_nrows, img_ncols, 3) * 255))
if K.image_data_format() == 'channels_first':
    combination_image = K.placeholder((1, 3, img_nrows, img_ncols))
else:
    combination_image = K.placeholder((1, img_nrows, img_ncols, 3))
input_tensor = K.concatenate([base_image, style_reference_image, combination_image], axis=0)
inp = Input(tensor=input_tensor, shape=(img_nrows, img_ncols, 3))
h = Conv2D(8, 3, padding='same', activation='relu', name='block1_conv1')(inp)
h = MaxPooling2D()(h)
h = Conv2D(8, 3, padding='same', activation='relu', name='block2_conv1')(h)
h = MaxPooling2D()(h)
h = Conv2D(16, 3, padding='same', activation='relu', name='block5_conv2')(h)
model = Model(inp, h)
print('Model loaded.')
outputs_dict = dict([(layer.name, layer.output) for layer in model.layers])


def gram_matrix(x):
    assert K.ndim(x) == 3
    if K.image_data_format() == 'channels_first':
        features = K.batch_flatten(x)
    else:
        features = K.batch_flatten(K.permute_dimensions(x, (2, 0, 1)))
    gram = K.dot(features, K.transpose(features))
    return gram


def style_loss(style, combination):
    S, C = gram_matrix(style), gram_matrix(combination)
    channels, size = 3, img_nrows * img_ncols
    return K.sum(K.square(S - C)) / (4. * (channels ** 2) * (size ** 2))


def content_loss(base, combination):
    return K.sum(K.square(combination - base))


def total_variation_loss(x):
    assert K.ndim(x) == 4
    a = K.square(x[:, :img_nrows - 1, :img_ncols - 1, :] - x[:, 1:, :img_ncols - 1, :])
    b = K.square(x[:, :img_nrows - 1, :img_ncols - 1, :] - x[:, :img_nrows - 1, 1:, :])
    return K.sum(K.pow(a + b, 1.25))


loss = K.variable(0.)
layer_features = outputs_dict['block5_conv2']
base_image_features = layer_features[0, :, :, :]
combination_features = layer_features[2, :, :, :]
loss += content_weight * content_loss(base_image_features, combination_features)
feature_layers = ['block1_conv1', 'block2_conv1']
for layer_name in feature_layers:
    layer_features = outputs_dict[layer_name]
    sl = style_loss(layer_features[1, :, :, :], layer_features[2, :, :, :])
    loss += (style_weight / len(feature_layers)) * sl
loss += total_variation_weight * total_variation_loss(combination_image)
grads = K.gradients(loss, combination_image)
outputs = [loss]
if isinstance(grads, (list, tuple)):
    outputs += grads
else:
    outputs.append(grads)
f_outputs = K.function([combination_image], outputs)


def eval_loss_and_grads(x):
    x = x.reshape((1, img_nrows, img_ncols, 3))
    outs = f_outputs([x])
    loss_value = outs[0]
    if len(outs[1:]) == 1:
        grad_values = outs[1].flatten().astype('float64')
    else:
        grad_values = np.array(outs[1:]).flatten().astype('float64')
    return loss_value, grad_values


class Evaluator(object):
    def __init__(self):
        self.loss_value = None
        self.grad_values = None

    def loss(self, x):
        assert self.loss_value is None
        loss_value, grad_values = eval_loss_and_grads(x)
        self.loss_value = loss_value
        self.grad_values = grad_values
        return self.loss_value

    def grads(self, x):
        assert self.loss_value is not None
        grad_values = np.copy(self.grad_values)
        self.loss_value = None
        self.grad_values = None
        return grad_values


evaluator = Evaluator()
x = K.get_value(base_image)
first = evaluator.loss(x)
first_grads = evaluator.grads(x)
for i in range(2):
    start_time = time.time()
    x, min_val, info = fmin_l_bfgs_b(evaluator.loss, x.flatten(), fprime=evaluator.grads, maxfun=20)
    print('Current loss value:', min_val)
    img = deprocess_image(x.copy())
    print('Iteration %d completed in %ds' % (i, time.time() - start_time))
