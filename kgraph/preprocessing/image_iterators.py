"""Batches of images: what all iterators share, and the one over arrays.

An iterator may be read by several threads, as an iterator and as a `Sequence`. Random numbers come from numpy's global
generator in the order of the images; all those of a batch are drawn at once, under one lock, unless the user's own
function draws some in between. The images themselves are made without the lock.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Iterator as PythonIterator
from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph.preprocessing.image_files import FORMATS, array_to_img, chosen_data_format, write_image
from kgraph.utils.data_utils import Sequence as KerasSequence

# numpy's global generator is one for all iterators: setting its seed and drawing must not be interleaved.
_RANDOM = threading.RLock()


class Iterator(KerasSequence):
    """Batches without end, by number or one after the other. Subclasses implement
    `_get_batches_of_transformed_samples(index_array)`, which returns the batch of the samples with these numbers.

    # Arguments
        n: number of samples.
        batch_size: samples in a batch; the last of an epoch may have fewer.
        shuffle: whether to take the samples in another order each epoch.
        seed: of numpy's global generator, which is set before each batch to this and the number of batches so far.
    """

    white_list_formats = FORMATS

    def __init__(self, n: int, batch_size: int, shuffle: bool, seed: int | None) -> None:
        self.n = n
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.batch_index = 0
        self.total_batches_seen = 0
        self.lock = threading.Lock()
        self.index_array: Any = None  # the order of the samples in this epoch
        self.index_generator = self._flow_index()

    def _set_index_array(self) -> None:
        self.index_array = np.random.permutation(self.n) if self.shuffle else np.arange(self.n)

    def _set_seed(self) -> None:
        if self.seed is not None:
            np.random.seed(self.seed + self.total_batches_seen)

    def __getitem__(self, idx: int) -> Any:
        if idx >= len(self):
            raise ValueError(f"Asked to retrieve element {idx}, but the Sequence has length {len(self)}")

        def take() -> np.ndarray:
            self._set_seed()
            self.total_batches_seen += 1
            if self.index_array is None:
                self._set_index_array()
            return self.index_array[self.batch_size * idx : self.batch_size * (idx + 1)]

        return self._batch(take)

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)

    def on_epoch_end(self) -> None:
        with _RANDOM:
            self._set_index_array()

    def reset(self) -> None:
        """Begin an epoch with the next batch."""
        self.batch_index = 0

    def _flow_index(self) -> PythonIterator[np.ndarray]:
        self.reset()
        while True:
            self._set_seed()
            if self.batch_index == 0:
                self._set_index_array()
            start = self.batch_index * self.batch_size % self.n if self.n else 0
            self.batch_index = self.batch_index + 1 if self.n > start + self.batch_size else 0
            self.total_batches_seen += 1
            yield self.index_array[start : start + self.batch_size]

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self) -> Any:
        """The next batch."""

        def take() -> np.ndarray:
            with self.lock:
                return next(self.index_generator)

        return self._batch(take)

    def _batch(self, take: Callable[[], np.ndarray]) -> Any:
        with _RANDOM:
            indices = take()
        return self._get_batches_of_transformed_samples(indices)

    def _get_batches_of_transformed_samples(self, index_array: np.ndarray) -> Any:
        raise NotImplementedError(
            f"{type(self).__name__} must implement `_get_batches_of_transformed_samples(index_array)`"
        )


class ImageIterator(Iterator):
    """An iterator over images that an `ImageDataGenerator` changes. Subclasses give the images by `_image(j)` and the
    batch by `_finish(batch, indices)`, and have `image_shape`, `image_data_generator` and `dtype`."""

    image_shape: tuple[int, ...]
    image_data_generator: Any
    data_format: str
    dtype: Any
    save_to_dir: str | None
    save_prefix: str
    save_format: str
    _name_range = 10000  # numbers in the names of saved images
    _name_by_place = False  # whether these names count within the batch instead of within the data

    def _image(self, index: int) -> np.ndarray:
        """The image with this number, a fresh array."""
        raise NotImplementedError(f"{type(self).__name__} must implement `_image(index)`")

    def _finish(self, images: np.ndarray, indices: np.ndarray) -> Any:
        """The batch with its targets and weights."""
        raise NotImplementedError(f"{type(self).__name__} must implement `_finish(images, indices)`")

    def _batch(self, take: Callable[[], np.ndarray]) -> Any:
        own = type(self)._get_batches_of_transformed_samples is ImageIterator._get_batches_of_transformed_samples
        if not own or getattr(self.image_data_generator, "preprocessing_function", None):
            return super()._batch(take)
        with _RANDOM:
            indices = take()
            draws = list(self._draws(indices))
        return self._make(indices, draws)

    def _get_batches_of_transformed_samples(self, index_array: np.ndarray) -> Any:
        return self._make(index_array, self._draws(index_array))

    def _draws(self, indices: np.ndarray) -> PythonIterator[Any]:
        """What chance decides about a batch: the changes of each image, then the number in the name of each file."""
        if self.image_data_generator is not None:
            for _ in indices:
                yield self.image_data_generator.get_random_transform(self.image_shape)
        if self.save_to_dir:
            for _ in indices:
                yield np.random.randint(self._name_range)

    def _make(self, indices: np.ndarray, draws: Iterable[Any]) -> Any:
        drawn = iter(draws)
        images = np.zeros((len(indices), *self.image_shape), dtype=self.dtype)
        for i, j in enumerate(indices):
            x = self._image(j)
            if self.image_data_generator is not None:
                x = _prepared(self.image_data_generator, x, next(drawn))
            images[i] = x
        if self.save_to_dir:
            for i, j in enumerate(indices):
                number = i if self._name_by_place else j
                name = f"{self.save_prefix}_{number}_{next(drawn)}.{self.save_format}"
                image = array_to_img(images[i], self.data_format, scale=True)
                write_image(image, os.path.join(self.save_to_dir, name), None)
        return self._finish(images, indices)


def _prepared(generator: Any, x: np.ndarray, parameters: dict[str, Any]) -> np.ndarray:
    """The changed and normalised image. (A generator of the user's own may have but Keras' two methods.)"""
    if hasattr(generator, "prepare"):
        return generator.prepare(x, parameters)
    return generator.standardize(generator.apply_transform(x, parameters))


def subset_range(subset: str | None, split: float) -> tuple[float, float]:
    """Which part of the data a subset is, as (start, end) fractions. Raises ValueError for an unknown subset."""
    if subset is None:
        return 0.0, 1.0
    if subset == "validation":
        return 0.0, split
    if subset == "training":
        return split, 1.0
    raise ValueError(f'Invalid subset name: {subset}; expected "training" or "validation".')


class NumpyArrayIterator(ImageIterator):
    """Batches of the images of an array.

    # Arguments
        x: array of shape `(n, height, width, channels)` (or channels first), or a tuple of such an array and an array
            or list of arrays of length n, which come along unchanged.
        y: targets, or None.
        image_data_generator: the `ImageDataGenerator` that changes the images.
        subset: "training", "validation" or None for all.
        others: see `ImageDataGenerator.flow`.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        image_data_generator: Any,
        batch_size: int = 32,
        shuffle: bool = False,
        sample_weight: Any = None,
        seed: int | None = None,
        data_format: str | None = None,
        save_to_dir: str | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.dtype = K.floatx() if dtype is None else dtype
        x, misc = _with_companions(x)
        for name, other in (("y", y), ("sample_weight", sample_weight)):
            if other is not None and len(other) != len(x):
                what = "`y` (labels)" if name == "y" else f"`{name}`"
                raise ValueError(
                    f"`x` (images tensor) and {what} should have the same length. "
                    f"Found: x.shape = {np.shape(x)}, {name}.shape = {np.shape(other)}"
                )
        parts = [x, y, sample_weight, *misc]
        if subset is not None:
            parts = _part(parts, subset, image_data_generator._validation_split)
        x, y, sample_weight, *misc = parts
        self.x = np.asarray(x, dtype=self.dtype)
        self.x_misc = [np.asarray(part) for part in misc]
        self.y = None if y is None else np.asarray(y)
        self.sample_weight = None if sample_weight is None else np.asarray(sample_weight)
        self.data_format = chosen_data_format(data_format)
        _check_images(self.x, self.data_format)
        self.image_shape = self.x.shape[1:]
        self.image_data_generator = image_data_generator
        self.save_to_dir = save_to_dir
        self.save_prefix = save_prefix
        self.save_format = save_format
        super().__init__(len(self.x), batch_size, shuffle, seed)

    def _image(self, index: int) -> np.ndarray:
        return np.array(self.x[index], dtype=self.dtype)

    def _finish(self, images: np.ndarray, indices: np.ndarray) -> Any:
        first = [images, *(part[indices] for part in self.x_misc)] if self.x_misc else images
        if self.y is None:
            return first
        if self.sample_weight is None:
            return first, self.y[indices]
        return first, self.y[indices], self.sample_weight[indices]


def _with_companions(x: Any) -> tuple[Any, list[Any]]:
    """The images, and the arrays that come along with them."""
    if not isinstance(x, (tuple, list)):
        return x, []
    if len(x) != 2 or np.ndim(x[0]) != 4:
        return np.asarray(x), []
    misc = list(x[1]) if isinstance(x[1], list) else [x[1]]
    for part in misc:
        if len(part) != len(x[0]):
            raise ValueError(
                "All of the arrays in `x` should have the same length. Found a pair with: "
                f"len(x[0]) = {len(x[0])}, len(x[?]) = {len(part)}"
            )
    return x[0], misc


def _part(parts: Sequence[Any], subset: str, split: float) -> list[Any]:
    """The images, targets, ... of a subset."""
    start, stop = (int(len(parts[0]) * fraction) for fraction in subset_range(subset, split))
    y = parts[1]
    if y is not None:
        cut = int(len(parts[0]) * split)
        one, other = (np.unique(np.asarray(part)) for part in (y[:cut], y[cut:]))
        if not np.array_equal(one, other):
            raise ValueError(
                "Training and validation subsets have different number of classes after the split. If your numpy "
                "arrays are sorted by the label, you might want to shuffle them."
            )
    return [None if part is None else part[start:stop] for part in parts]


def _check_images(x: np.ndarray, data_format: str) -> None:
    if x.ndim != 4:
        raise ValueError(
            f"Input data in `NumpyArrayIterator` should have rank 4. You passed an array with shape {x.shape}"
        )
    axis = 3 if data_format == "channels_last" else 1
    if x.shape[axis] not in (1, 3, 4):
        warnings.warn(
            f'NumpyArrayIterator is set to use the data format convention "{data_format}" (channels on axis {axis}), '
            f"i.e. expected either 1, 3, or 4 channels on axis {axis}. However, it was passed an array with shape "
            f"{x.shape} ({x.shape[axis]} channels).",
            stacklevel=4,
        )
