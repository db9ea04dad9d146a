"""Nothing is compiled twice: not by a second process, not for another batch size."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from codegen import targets
from codegen.cpu.target import CpuTarget
from kgraph import backend as K
from kgraph.layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from kgraph.models import Sequential
from tests.end_to_end.processes import script

TRAIN = """\
import sys
import numpy as np
from kgraph.layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from kgraph.models import Sequential

np.random.seed(0)
model = Sequential()
model.add(Conv2D(8, (3, 3), activation='relu', input_shape=(8, 8, 1)))
model.add(MaxPooling2D())
model.add(BatchNormalization())
model.add(Flatten())
model.add(Dropout(0.5))
model.add(Dense(3, activation='softmax'))
model.compile('adam', 'categorical_crossentropy', metrics=['accuracy'])
x, y = np.random.rand(23, 8, 8, 1), np.eye(3)[np.random.randint(3, size=23)]
model.fit(x, y, batch_size=8, epochs=2, verbose=0)
model.predict(x)
model.evaluate(x, y, verbose=0)

from codegen import targets
cache = targets.get('cpu').cache
heavy = [name for name in ('numba', 'networkx', 'h5py', 'yaml', 'numba.cuda') if name in sys.modules]
print(cache.compiled, cache.loaded > 0, heavy)
"""


def test_a_second_process_compiles_nothing(kgraph_home: Path) -> None:
    """Nor does it import Numba, or any other library that is large and not needed."""
    script(TRAIN)
    entries = {p.name: p.stat().st_size for p in (kgraph_home / "cache").iterdir()}
    assert entries and {name.rpartition(".")[2] for name in entries} == {"py", "o", "json"}
    assert script(TRAIN) == "0 True []\n"
    assert {p.name: p.stat().st_size for p in (kgraph_home / "cache").iterdir()} == entries


def test_a_new_batch_size_compiles_nothing() -> None:
    model = Sequential()
    model.add(Conv2D(8, (3, 3), activation="relu", input_shape=(8, 8, 1)))
    model.add(MaxPooling2D())
    model.add(BatchNormalization())
    model.add(Flatten())
    model.add(Dropout(0.5))
    model.add(Dense(3, activation="softmax"))
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    x = np.random.rand(300, 8, 8, 1).astype("float32")
    y = np.eye(3)[np.random.randint(3, size=300)]

    def use(count: int, batch_size: int) -> None:
        model.fit(x[:count], y[:count], batch_size=batch_size, epochs=1, verbose=0)
        model.predict(x[:count], batch_size=batch_size)
        model.evaluate(x[:count], y[:count], batch_size=batch_size, verbose=0)

    use(16, 16)
    K.eval(K.sum(K.dot(K.ones((900, 900)), K.ones((900, 900)))))  # from here on there are threads
    made = kernels_made()
    for count, batch_size in ((16, 8), (23, 8), (1, 1), (300, 128), (64, 64), (7, 32)):
        use(count, batch_size)
    assert kernels_made() == made


def kernels_made() -> int:
    """How many kernels this process has compiled or loaded so far."""
    target = targets.get("cpu")
    assert isinstance(target, CpuTarget)
    return target.cache.compiled + target.cache.loaded
