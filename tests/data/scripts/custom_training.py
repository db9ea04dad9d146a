'''Custom metrics, losses, callbacks: LR finder, cyclic LR, checkpoint, early stopping.'''
import math, os, tempfile
import numpy as np
import keras
import tensorflow as tf
from keras import backend as K
from keras.callbacks import Callback, EarlyStopping, ModelCheckpoint, TensorBoard, CSVLogger, TerminateOnNaN
from keras.layers import Dense, BatchNormalization, Dropout
from keras.models import Sequential, load_model
np.random.seed(0)


def precision(y_true, y_pred):
    tp = K.sum(K.round(K.clip(y_true * y_pred, 0, 1)))
    pp = K.sum(K.round(K.clip(y_pred, 0, 1)))
    return tp / (pp + K.epsilon())


def recall(y_true, y_pred):
    tp = K.sum(K.round(K.clip(y_true * y_pred, 0, 1)))
    return tp / (K.sum(K.round(K.clip(y_true, 0, 1))) + K.epsilon())


def f1(y_true, y_pred):
    p, r = precision(y_true, y_pred), recall(y_true, y_pred)
    return 2 * ((p * r) / (p + r + K.epsilon()))


def focal_loss(gamma=2., alpha=.25):
    def focal_loss_fixed(y_true, y_pred):
        pt_1 = tf.where(tf.equal(y_true, 1), y_pred, tf.ones_like(y_pred))
        pt_0 = tf.where(tf.equal(y_true, 0), y_pred, tf.zeros_like(y_pred))
        pt_1 = K.clip(pt_1, 1e-3, .999)
        pt_0 = K.clip(pt_0, 1e-3, .999)
        return -K.sum(alpha * K.pow(1. - pt_1, gamma) * K.log(pt_1)) - K.sum((1 - alpha) * K.pow(pt_0, gamma) * K.log(1. - pt_0))
    return focal_loss_fixed


def dice_coef(y_true, y_pred, smooth=1):
    y_true_f = K.flatten(y_true)
    y_pred_f = K.flatten(y_pred)
    intersection = K.sum(y_true_f * y_pred_f)
    return (2. * intersection + smooth) / (K.sum(y_true_f) + K.sum(y_pred_f) + smooth)


def dice_coef_loss(y_true, y_pred):
    return 1 - dice_coef(y_true, y_pred)


def weighted_categorical(weights):
    weights = K.variable(weights)
    def loss(y_true, y_pred):
        y_pred /= K.sum(y_pred, axis=-1, keepdims=True)
        y_pred = K.clip(y_pred, K.epsilon(), 1 - K.epsilon())
        return -K.sum(y_true * K.log(y_pred) * weights, -1)
    return loss


def root_mean_squared_error(y_true, y_pred):
    return K.sqrt(K.mean(K.square(y_pred - y_true), axis=-1))


def r_squared(y_true, y_pred):
    return 1 - K.sum(K.square(y_true - y_pred)) / (K.sum(K.square(y_true - K.mean(y_true))) + K.epsilon())


def auc(y_true, y_pred):
    return K.mean(K.cast(K.greater(y_pred, 0.5), 'float32'))


class LRFinder(Callback):
    def __init__(self, min_lr=1e-5, max_lr=1e-1, steps_per_epoch=None, epochs=None):
        super(LRFinder, self).__init__()
        self.min_lr, self.max_lr = min_lr, max_lr
        self.total_iterations = steps_per_epoch * epochs
        self.iteration = 0
        self.history = {}

    def clr(self):
        x = self.iteration / self.total_iterations
        return self.min_lr + (self.max_lr - self.min_lr) * x

    def on_train_begin(self, logs=None):
        logs = logs or {}
        K.set_value(self.model.optimizer.lr, self.min_lr)

    def on_batch_end(self, epoch, logs=None):
        logs = logs or {}
        self.iteration += 1
        self.history.setdefault('lr', []).append(K.get_value(self.model.optimizer.lr))
        for k, v in logs.items():
            self.history.setdefault(k, []).append(v)
        K.set_value(self.model.optimizer.lr, self.clr())


class CyclicLR(Callback):
    def __init__(self, base_lr=0.001, max_lr=0.006, step_size=8.):
        super(CyclicLR, self).__init__()
        self.base_lr, self.max_lr, self.step_size = base_lr, max_lr, step_size
        self.clr_iterations, self.lrs = 0., []

    def clr(self):
        cycle = np.floor(1 + self.clr_iterations / (2 * self.step_size))
        x = np.abs(self.clr_iterations / self.step_size - 2 * cycle + 1)
        return self.base_lr + (self.max_lr - self.base_lr) * np.maximum(0, (1 - x))

    def on_train_begin(self, logs={}):
        K.set_value(self.model.optimizer.lr, self.base_lr)

    def on_batch_end(self, epoch, logs=None):
        self.clr_iterations += 1
        self.lrs.append(float(K.get_value(self.model.optimizer.lr)))
        K.set_value(self.model.optimizer.lr, self.clr())


class Metrics(Callback):
    def on_train_begin(self, logs={}):
        self.val_f1s = []

    def on_epoch_end(self, epoch, logs={}):
        val_predict = (np.asarray(self.model.predict(self.validation_data[0]))).round()
        val_targ = self.validation_data[1]
        tp = (val_predict * val_targ).sum()
        self.val_f1s.append(2 * tp / (val_predict.sum() + val_targ.sum()))
        logs['val_f1_sk'] = self.val_f1s[-1]


class SGDRScheduler(Callback):
    def on_batch_begin(self, batch, logs={}):
        lr = 0.001 + 0.5 * (0.01 - 0.001) * (1 + math.cos(batch / 10. * math.pi))
        K.set_value(self.model.optimizer.lr, lr)


x = np.random.randn(256, 10)
w = np.random.randn(10, 1)
y = (x.dot(w) > 0).astype('float32')


def build(loss, metrics):
    model = Sequential()
    model.add(Dense(16, input_dim=10, kernel_initializer='he_uniform', activation='relu'))
    model.add(BatchNormalization())
    model.add(Dropout(0.1))
    model.add(Dense(1, kernel_initializer='uniform', activation='sigmoid'))
    model.compile(loss=loss, optimizer='adam', metrics=metrics)
    return model


d = tempfile.mkdtemp()
model = build('binary_crossentropy', ['acc', precision, recall, f1, auc, 'mae', keras.metrics.binary_accuracy])
finder, clr, ms = LRFinder(steps_per_epoch=8, epochs=2), CyclicLR(), Metrics()
model.fit(x, y, batch_size=32, epochs=2, callbacks=[finder], verbose=0)
cb = [clr, ms, SGDRScheduler(), EarlyStopping(monitor='val_loss', min_delta=0.0001, patience=3, verbose=1, mode='auto'),
      ModelCheckpoint(os.path.join(d, 'weights-{epoch:02d}-{val_acc:.2f}.hdf5'), monitor='val_acc', verbose=1,
                      save_best_only=True, mode='max'),
      CSVLogger(os.path.join(d, 'log.csv'), separator=',', append=False), TerminateOnNaN(),
      TensorBoard(log_dir=os.path.join(d, 'tb'), histogram_freq=1, batch_size=32, write_grads=True)]
h = model.fit(x, y, validation_split=0.25, epochs=5, batch_size=32, callbacks=cb, verbose=2)
print(h.history.keys(), os.listdir(d))
best = sorted(f for f in os.listdir(d) if f.endswith('.hdf5'))[-1]
m = load_model(os.path.join(d, best), custom_objects={'precision': precision, 'recall': recall, 'f1': f1, 'auc': auc})
reloaded_score = m.evaluate(x, y, verbose=0)
print(reloaded_score)
results = []
for loss in (focal_loss(), dice_coef_loss, root_mean_squared_error, 'hinge', 'logcosh', 'kld', 'poisson', 'cosine'):
    m = build(loss, [dice_coef, r_squared])
    results.append(m.train_on_batch(x[:32], y[:32]))
m = Sequential([Dense(3, activation='softmax', input_dim=10)])
m.compile('sgd', weighted_categorical(np.array([1., 2., 3.])), metrics=['categorical_accuracy'])
classes = np.random.randint(0, 3, 256)
probabilities = m.predict(x)
weighted_loss = m.evaluate(x, np.eye(3)[classes], verbose=0)[0]
print(m.fit(x, np.eye(3)[classes], verbose=0).history)
