"""Images: reading and writing files, random changes, batches of changed images while a model trains.

The parts are in `image_files.py` (Pillow), `image_affine.py` (one image), `image_generator.py` (what to change),
`image_iterators.py` and `image_folders.py` (batches from arrays, folders and tables).
"""

from __future__ import annotations

from kgraph import backend, utils
from kgraph.preprocessing.image_affine import (
    apply_affine_transform,
    apply_brightness_shift,
    apply_channel_shift,
    flip_axis,
    random_brightness,
    random_channel_shift,
    random_rotation,
    random_shear,
    random_shift,
    random_zoom,
    transform_matrix_offset_center,
)
from kgraph.preprocessing.image_files import array_to_img, img_to_array, list_pictures, load_img, save_img
from kgraph.preprocessing.image_folders import DirectoryIterator
from kgraph.preprocessing.image_generator import ImageDataGenerator
from kgraph.preprocessing.image_iterators import Iterator, NumpyArrayIterator
from kgraph.preprocessing.image_tables import DataFrameIterator

__all__ = [
    "DataFrameIterator",
    "DirectoryIterator",
    "ImageDataGenerator",
    "Iterator",
    "NumpyArrayIterator",
    "apply_affine_transform",
    "apply_brightness_shift",
    "apply_channel_shift",
    "array_to_img",
    "backend",
    "flip_axis",
    "img_to_array",
    "list_pictures",
    "load_img",
    "random_brightness",
    "random_channel_shift",
    "random_rotation",
    "random_shear",
    "random_shift",
    "random_zoom",
    "save_img",
    "transform_matrix_offset_center",
    "utils",
]
