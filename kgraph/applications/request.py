"""What all networks do alike: check the user's arguments, make the input and the model, load published weights.

Each network's file holds its tables and its layers, and asks a `Request` for the rest.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from kgraph import backend as K
from kgraph.applications.imagenet_utils import _obtain_input_shape
from kgraph.engine.training import Model
from kgraph.layers import Dense, GlobalAveragePooling2D, GlobalMaxPooling2D, Input
from kgraph.utils.data_utils import get_file
from kgraph.utils.layer_utils import get_source_inputs


@dataclass(frozen=True)
class WeightFile:
    """A published file of weights: its name in the cache, its URL, its MD5 hash (None: not checked)."""

    name: str
    url: str
    md5: str | None


Files = dict[bool, WeightFile]
"""Whether with the classifier -> the file."""

RELEASES = "https://github.com/fchollet/deep-learning-models/releases/download/"
KERNELS = "_weights_tf_dim_ordering_tf_kernels"  # in the names of files whose kernels are as TensorFlow has them


def weight_files(folder: str, stem: str, top: str | None, no_top: str | None, end: str = "_notop") -> Files:
    """The files of a network with and without its classifier: they lie in `folder`, and have these MD5 hashes."""
    return {
        with_top: WeightFile(f"{name}.h5", f"{folder}{name}.h5", md5)
        for with_top, name, md5 in ((True, stem, top), (False, stem + end, no_top))
    }


@dataclass(frozen=True)
class Request:
    """The arguments that all networks take.

    # Arguments
        include_top: whether the network ends in its classifier.
        weights: None for random ones, "imagenet" for the published ones, or the path of a file.
        input_tensor: a tensor to use as the images, or None.
        input_shape: shape of the images without the batch axis, or None.
        pooling: without the classifier: "avg" or "max" over the image, or None for none.
        classes: number of classes.

    # Raises
        ValueError: for weights that are not there, or other classes than those of the published weights.
    """

    include_top: bool
    weights: Any
    input_tensor: Any
    input_shape: Any
    pooling: str | None
    classes: int

    def __post_init__(self) -> None:
        if not (self.weights in ("imagenet", None) or os.path.exists(self.weights)):
            raise ValueError(
                "The `weights` argument should be either `None` (random initialization), `imagenet` (pre-training on "
                "ImageNet), or the path to the weights file to be loaded."
            )
        if self.trained and self.include_top and self.classes != 1000:
            raise ValueError(
                'If using `weights` as `"imagenet"` with `include_top` as true, `classes` should be 1000'
            )

    @property
    def trained(self) -> bool:
        """Whether the published weights are wanted."""
        return bool(self.weights == "imagenet")

    def shape(self, default_size: int, min_size: int, one_size: bool | None = None) -> tuple[int | None, ...]:
        """The images' shape. `one_size`: whether sizes must be known; by default where there is a classifier."""
        one_size = self.include_top if one_size is None else one_size
        return _obtain_input_shape(
            self.input_shape, default_size, min_size, K.image_data_format(), one_size, self.weights
        )

    def image(self, shape: tuple[int | None, ...]) -> Any:
        """The tensor of images that the network begins with."""
        if self.input_tensor is None:
            return Input(shape=shape)
        if K.is_keras_tensor(self.input_tensor):
            return self.input_tensor
        return Input(tensor=self.input_tensor, shape=shape)

    def pooled(self, x: Any, average: str | None = None, maximum: str | None = None) -> Any:
        """The output of a network without classifier; `average` and `maximum` name the layer."""
        if self.pooling == "avg":
            return GlobalAveragePooling2D(name=average)(x)
        return GlobalMaxPooling2D(name=maximum)(x) if self.pooling == "max" else x

    def classified(self, x: Any, dense: str = "predictions", average: str | None = "avg_pool") -> Any:
        """The output of a network that averages over the image: with classifier (layers called so) or without."""
        if not self.include_top:
            return self.pooled(x)
        x = GlobalAveragePooling2D(name=average)(x)
        return Dense(self.classes, activation="softmax", name=dense)(x)

    def model(self, image: Any, x: Any, name: str, files: Files) -> Model:
        """The model from `image` to `x`, with the weights that were asked for."""
        inputs = image if self.input_tensor is None else get_source_inputs(self.input_tensor)
        model = Model(inputs, x, name=name)
        if self.trained:
            file = files[self.include_top]
            model.load_weights(get_file(file.name, file.url, cache_subdir="models", file_hash=file.md5))
        elif self.weights is not None:
            model.load_weights(self.weights)
        return model


def channel_axis() -> int:
    """The axis of channels in batches of images."""
    return 1 if K.image_data_format() == "channels_first" else 3


def channels_of(x: Any) -> int:
    """The number of channels of a batch of images."""
    return int(K.int_shape(x)[channel_axis()])  # type: ignore[arg-type]  # networks know it everywhere


def height_and_width(shape: Any) -> tuple[Any, Any]:
    """Of the shape of an image, without the batch axis."""
    height, width = shape[1:] if K.image_data_format() == "channels_first" else shape[:2]
    return height, width


def same_padding(x: Any, kernel_size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of zeros around images, for a kernel with stride 2 to lie as with TensorFlow's padding "same".

    Unknown sizes count as even.
    """
    after = kernel_size // 2
    height, width = (after - (size is None or size % 2 == 0) for size in height_and_width(K.int_shape(x)[1:]))
    return (height, after), (width, after)
