"""Batches of images in files: what is common, and those of a folder that has a folder for each class.

`image_tables.py` has the batches of files that a table names.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph.preprocessing.image_files import FORMATS, chosen_data_format, img_to_array, load_img
from kgraph.preprocessing.image_iterators import ImageIterator, subset_range

_CHANNELS = {"rgb": 3, "rgba": 4, "grayscale": 1}


class FileIterator(ImageIterator):
    """What both have in common: reading a file, and targets of every kind."""

    allowed_class_modes: frozenset[str | None]
    class_mode: str | None
    class_indices: dict[str, int]
    filenames: list[str]
    samples: int
    _filepaths: list[str]
    _name_range = 10**7

    def _configure(
        self,
        image_data_generator: Any,
        target_size: tuple[int, int],
        color_mode: str,
        data_format: str | None,
        save_to_dir: str | None,
        save_prefix: str,
        save_format: str,
        subset: str | None,
        interpolation: str,
        dtype: Any,
    ) -> None:
        if color_mode not in _CHANNELS:
            raise ValueError(f'Invalid color mode: {color_mode}; expected "rgb", "rgba", or "grayscale".')
        self.image_data_generator = image_data_generator
        self.target_size = (target_size[0], target_size[1])
        self.color_mode = color_mode
        self.data_format = chosen_data_format(data_format)
        channels = _CHANNELS[color_mode]
        last = self.data_format == "channels_last"
        self.image_shape = (*self.target_size, channels) if last else (channels, *self.target_size)
        self.save_to_dir = save_to_dir
        self.save_prefix = save_prefix
        self.save_format = save_format
        self.interpolation = interpolation
        self.subset = subset
        if subset is not None and image_data_generator is None:
            raise ValueError("`subset` needs an `image_data_generator`, whose `validation_split` says how to divide")
        self.split = None if subset is None else subset_range(subset, image_data_generator._validation_split)
        self.dtype = K.floatx() if dtype is None else dtype

    def _check_class_mode(self, class_mode: str | None) -> None:
        if class_mode not in self.allowed_class_modes:
            known = ", ".join(sorted(repr(mode) for mode in self.allowed_class_modes))
            raise ValueError(f"Invalid class_mode: {class_mode}; expected one of: {known}")
        self.class_mode = class_mode

    def _selected(self, items: list[Any]) -> list[Any]:
        """Those of the items that belong to the subset."""
        if self.split is None:
            return items
        return items[int(self.split[0] * len(items)) : int(self.split[1] * len(items))]

    @property
    def filepaths(self) -> list[str]:
        """Paths of all files."""
        return self._filepaths

    @property
    def labels(self) -> Any:
        """What the targets are made of, for all files."""
        raise NotImplementedError(f"{type(self).__name__} must implement `labels`")

    @property
    def sample_weight(self) -> np.ndarray | None:
        """Weights of all files; None where there are none."""
        return None

    def _image(self, index: int) -> np.ndarray:
        image = load_img(
            self.filepaths[index],
            color_mode=self.color_mode,
            target_size=self.target_size,
            interpolation=self.interpolation,
        )
        return img_to_array(image, self.data_format, np.float32)

    def _finish(self, images: np.ndarray, indices: np.ndarray) -> Any:
        if self.class_mode is None:
            return images
        targets = self._targets(images, indices)
        weights = self.sample_weight
        return (images, targets) if weights is None else (images, targets, weights[indices])

    def _targets(self, images: np.ndarray, indices: np.ndarray) -> Any:
        if self.class_mode == "input":
            return images.copy()
        if self.class_mode == "multi_output":
            return [values[indices] for values in self.labels]
        if self.class_mode == "raw":
            return self.labels[indices]
        if self.class_mode == "categorical":
            targets = np.zeros((len(images), len(self.class_indices)), dtype=self.dtype)
            for i, j in enumerate(indices):
                targets[i, self.labels[j]] = 1.0  # one class, or a list of them
            return targets
        return np.array([self.labels[j] for j in indices], dtype=self.dtype)


def is_image(name: str) -> bool:
    """Whether a file's name has an ending of images."""
    return name.lower().endswith(FORMATS)


class DirectoryIterator(FileIterator):
    """Batches of the images of a folder that has a folder for each class.

    # Arguments
        directory: path of the folder.
        image_data_generator: the `ImageDataGenerator` that changes the images.
        dtype: of the batches; by default the configured float type.
        others: see `ImageDataGenerator.flow_from_directory`.
    """

    allowed_class_modes = frozenset({"categorical", "binary", "sparse", "input", None})

    def __init__(
        self,
        directory: Any,
        image_data_generator: Any,
        target_size: tuple[int, int] = (256, 256),
        color_mode: str = "rgb",
        classes: Sequence[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        data_format: str | None = None,
        save_to_dir: str | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        follow_links: bool = False,
        subset: str | None = None,
        interpolation: str = "nearest",
        dtype: Any = None,
    ) -> None:
        self._configure(
            image_data_generator,
            target_size,
            color_mode,
            data_format,
            save_to_dir,
            save_prefix,
            save_format,
            subset,
            interpolation,
            dtype,
        )
        self._check_class_mode(class_mode)
        self.directory = directory
        if not classes:
            classes = sorted(n for n in os.listdir(directory) if os.path.isdir(os.path.join(directory, n)))
        self.num_classes = len(classes)
        self.class_indices = {name: i for i, name in enumerate(classes)}
        self.filenames = []
        numbers: list[int] = []
        for name in classes:
            found = self._selected(_files_of_class(os.fspath(directory), name, follow_links))
            self.filenames += found
            numbers += [self.class_indices[name]] * len(found)
        self.samples = len(self.filenames)
        self.classes = np.array(numbers, dtype="int32")
        self._filepaths = [os.path.join(directory, name) for name in self.filenames]
        print(f"Found {self.samples} images belonging to {self.num_classes} classes.")
        super().__init__(self.samples, batch_size, shuffle, seed)

    @property
    def labels(self) -> np.ndarray:
        """The number of each file's class."""
        return self.classes


def _files_of_class(directory: str, name: str, follow_links: bool) -> list[str]:
    """Paths of the image files of a class, in a fixed order, relative to the folder of all classes."""
    walk = sorted(os.walk(os.path.join(directory, name), followlinks=follow_links), key=lambda found: found[0])
    paths = [os.path.join(root, file) for root, _, files in walk for file in sorted(files) if is_image(file)]
    return [os.path.relpath(path, directory) for path in paths]
