"""`np.random.seed(s)` fixes everything: the same script gives the same bits, in one process and in another, whatever
the number of threads.
"""

from __future__ import annotations

from tests.end_to_end.processes import script

SCRIPT = """\
import hashlib
import numpy as np
from kgraph import backend as K
from kgraph.layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from kgraph.models import Sequential

def digest(arrays):
    return hashlib.sha256(b''.join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()[:16]

def life(seed):
    K.clear_session()
    np.random.seed(seed)
    model = Sequential()
    model.add(Conv2D(8, (3, 3), activation='relu', input_shape=(20, 20, 1)))
    model.add(MaxPooling2D())
    model.add(BatchNormalization())
    model.add(Flatten())
    model.add(Dropout(0.5))
    model.add(Dense(3, activation='softmax', kernel_initializer='truncated_normal'))
    model.compile('adam', 'categorical_crossentropy', metrics=['accuracy'])
    start = digest(model.get_weights())
    x, y = np.random.rand(75, 20, 20, 1), np.eye(3)[np.random.randint(3, size=75)]
    history = model.fit(x, y, batch_size=32, epochs=2, validation_split=0.1, verbose=0).history
    drop = K.function([model.layers[4].input, K.learning_phase()], [model.layers[4].output])
    mask = drop([np.ones((5, 648), np.float32), 1])
    return start, digest(model.get_weights()), digest(mask), digest([model.predict(x)]), sorted(history.items())

first = life(1)
assert first == life(1), 'the second time differs'
other = life(2)
assert all(a != b for a, b in zip(first, other)), 'the seed changes nothing'
print(first)
"""


def test_same_seed_same_bits() -> None:
    one, two = script(SCRIPT, KGRAPH_NUM_THREADS="1"), script(SCRIPT, KGRAPH_NUM_THREADS="3")
    assert one == two and one.startswith("('")
