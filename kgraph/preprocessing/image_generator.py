"""`ImageDataGenerator`: which random changes and which normalisation images get, and batches of such images."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph.preprocessing.image_affine import affine_matrix, augment_image
from kgraph.preprocessing.image_folders import DirectoryIterator
from kgraph.preprocessing.image_iterators import NumpyArrayIterator
from kgraph.preprocessing.image_tables import DataFrameIterator

_EPSILON = 1e-6


class ImageDataGenerator:
    """Batches of images that are changed at random each time, so that a model never sees the same image twice.

    First come the changes (rotation, shifts, shear and zoom as one warp; channel shift; flips; brightness), then
    `preprocessing_function`, `rescale`, and the normalisation: by image, by what `fit` found in a data set, whitening.

    # Arguments
        featurewise_center: subtract the mean of each channel over the data set given to `fit`.
        samplewise_center: subtract each image's mean.
        featurewise_std_normalization: divide by the standard deviation of each channel over the data set.
        samplewise_std_normalization: divide by each image's standard deviation.
        zca_whitening: decorrelate the pixels as they were correlated in the data set.
        zca_epsilon: added to the variances in that.
        rotation_range: degrees, in either direction.
        width_shift_range, height_shift_range: a float below 1 is a fraction of the size, one from 1 on pixels, both in
            either direction; an int `n` means whole pixels from `-n + 1` to `n - 1`; a list gives the sizes to choose
            from.
        brightness_range: (lowest, highest) factor.
        shear_range: degrees, in either direction.
        zoom_range: (lowest, highest), or a number `z` for (1 - z, 1 + z).
        channel_shift_range: what is added to all values at most, up or down.
        fill_mode: what lies beyond the border: "constant", "nearest", "reflect" or "wrap".
        cval: the value there, for "constant".
        horizontal_flip, vertical_flip: whether half of the images are flipped.
        rescale: factor of all values; None or 0 for none.
        preprocessing_function: called with each changed image, an array of rank 3; returns one of the same shape.
        data_format: where the channels are; by default as configured.
        validation_split: part of the data, between 0 and 1, that `subset="validation"` selects.
        dtype: of the batches; by default the configured float type.
    """

    def __init__(
        self,
        featurewise_center: bool = False,
        samplewise_center: bool = False,
        featurewise_std_normalization: bool = False,
        samplewise_std_normalization: bool = False,
        zca_whitening: bool = False,
        zca_epsilon: float = 1e-6,
        rotation_range: float = 0,
        width_shift_range: Any = 0.0,
        height_shift_range: Any = 0.0,
        brightness_range: Sequence[float] | None = None,
        shear_range: float = 0.0,
        zoom_range: Any = 0.0,
        channel_shift_range: float = 0.0,
        fill_mode: str = "nearest",
        cval: float = 0.0,
        horizontal_flip: bool = False,
        vertical_flip: bool = False,
        rescale: float | None = None,
        preprocessing_function: Callable[[np.ndarray], np.ndarray] | None = None,
        data_format: str | None = None,
        validation_split: float = 0.0,
        dtype: Any = None,
    ) -> None:
        self.featurewise_center = featurewise_center
        self.samplewise_center = samplewise_center
        self.featurewise_std_normalization = featurewise_std_normalization
        self.samplewise_std_normalization = samplewise_std_normalization
        self.zca_whitening = zca_whitening
        self.zca_epsilon = zca_epsilon
        self.rotation_range = rotation_range
        self.width_shift_range = width_shift_range
        self.height_shift_range = height_shift_range
        self.shear_range = shear_range
        self.zoom_range = _zoom_range(zoom_range)
        self.channel_shift_range = channel_shift_range
        self.fill_mode = fill_mode
        self.cval = cval
        self.horizontal_flip = horizontal_flip
        self.vertical_flip = vertical_flip
        self.rescale = rescale
        self.preprocessing_function = preprocessing_function
        self.dtype = K.floatx() if dtype is None else dtype
        self.interpolation_order = 1
        self.data_format = K.image_data_format() if data_format is None else data_format
        if self.data_format not in ("channels_last", "channels_first"):
            raise ValueError(
                '`data_format` should be `"channels_last"` (channel after row and column) or `"channels_first"` '
                f"(channel before row and column). Received: {data_format}"
            )
        first = self.data_format == "channels_first"
        self.channel_axis, self.row_axis, self.col_axis = (1, 2, 3) if first else (3, 1, 2)
        if validation_split and not 0 < validation_split < 1:
            raise ValueError(f"`validation_split` must be strictly between 0 and 1.  Received: {validation_split}")
        self._validation_split = validation_split
        self.brightness_range = brightness_range
        if brightness_range is not None:
            _two_numbers("brightness_range", brightness_range)
        self.mean: Any = None  # these three are found by `fit`
        self.std: Any = None
        self.principal_components: Any = None
        self._imply_centering()

    def _imply_centering(self) -> None:
        """Whitening and division by a deviation need centred values."""
        if self.zca_whitening:
            self._override(not self.featurewise_center, "zca_whitening", "featurewise_center", True)
            self._override(self.featurewise_std_normalization, "zca_whitening", "featurewise_std_normalization", False)
        for kind in ("featurewise", "samplewise"):
            wanted = getattr(self, f"{kind}_std_normalization") and not getattr(self, f"{kind}_center")
            self._override(wanted, f"{kind}_std_normalization", f"{kind}_center", True)

    def _override(self, wanted: bool, because: str, name: str, value: bool) -> None:
        if wanted:
            setattr(self, name, value)
            text = f"This ImageDataGenerator specifies `{because}`, which overrides setting of `{name}`."
            warnings.warn(text, stacklevel=4)

    # Batches

    def flow(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        shuffle: bool = True,
        sample_weight: Any = None,
        seed: int | None = None,
        save_to_dir: str | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: str | None = None,
    ) -> NumpyArrayIterator:
        """Batches of images of an array, without end.

        # Arguments
            x: array of shape `(n, height, width, channels)`, or as `data_format` says; or a tuple of such an array and
                an array or list of arrays of length n, which come along unchanged.
            y: targets; their first axis has length n.
            batch_size: images in a batch; the last of an epoch may have fewer.
            shuffle: take them in another order each epoch.
            sample_weight: n weights.
            seed: of numpy's global generator, which is set before each batch.
            save_to_dir: folder to write the changed images to, to look at.
            save_prefix: beginning of their names.
            save_format: ending of their names, and format.
            subset: "training" or "validation", as divided by `validation_split`.

        # Returns
            An iterator and `Sequence` of `x`, `(x, y)` or `(x, y, sample_weight)`.
        """
        return NumpyArrayIterator(
            x,
            y,
            self,
            batch_size=batch_size,
            shuffle=shuffle,
            sample_weight=sample_weight,
            seed=seed,
            data_format=self.data_format,
            save_to_dir=save_to_dir,
            save_prefix=save_prefix,
            save_format=save_format,
            subset=subset,
            dtype=self.dtype,
        )

    def flow_from_directory(
        self,
        directory: Any,
        target_size: tuple[int, int] = (256, 256),
        color_mode: str = "rgb",
        classes: Sequence[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: str | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        follow_links: bool = False,
        subset: str | None = None,
        interpolation: str = "nearest",
    ) -> DirectoryIterator:
        """Batches of images of a folder that has a folder for each class, without end.

        # Arguments
            directory: path of the folder.
            target_size: `(height, width)` that all images get.
            color_mode: "grayscale", "rgb" or "rgba".
            classes: names of the classes' folders in the order of their numbers; by default all, sorted.
            class_mode: what the targets are: "categorical" (one-hot rows), "binary" or "sparse" (numbers), "input" (the
                images themselves) or None for no targets.
            follow_links: also look into folders that links lead to.
            interpolation: how images get their size, see `load_img`.
            others: see `flow`.
        """
        return DirectoryIterator(
            directory,
            self,
            target_size=target_size,
            color_mode=color_mode,
            classes=classes,
            class_mode=class_mode,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            data_format=self.data_format,
            save_to_dir=save_to_dir,
            save_prefix=save_prefix,
            save_format=save_format,
            follow_links=follow_links,
            subset=subset,
            interpolation=interpolation,
            dtype=self.dtype,
        )

    def flow_from_dataframe(
        self,
        dataframe: Any,
        directory: Any = None,
        x_col: str = "filename",
        y_col: Any = "class",
        weight_col: str | None = None,
        target_size: tuple[int, int] = (256, 256),
        color_mode: str = "rgb",
        classes: Sequence[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: str | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: str | None = None,
        interpolation: str = "nearest",
        validate_filenames: bool = True,
        **kwargs: Any,
    ) -> DataFrameIterator:
        """Batches of the image files that a table of pandas names, without end.

        # Arguments
            dataframe: the table. It stays as it is.
            directory: folder of the files; None where the table has their paths.
            x_col: column of the files' names.
            y_col: column or columns of the targets.
            weight_col: column of the weights; None for no weights.
            classes: the classes to take, which are numbered in alphabetical order; by default all of the column.
            class_mode: "categorical" (one-hot rows; a cell may hold several classes), "binary" or "sparse" (numbers of
                the classes), "raw" (the columns' values as one array), "multi_output" (a list of the columns' values),
                "input" (the images themselves) or None for no targets.
            validate_filenames: look which files are there first; others are left out.
            has_ext: old argument: False where the names lack the files' endings.
            others: see `flow` and `flow_from_directory`.
        """
        has_ext = kwargs.pop("has_ext", True)
        for name in ("sort", "drop_duplicates"):
            if kwargs.pop(name, None) is not None:
                text = f"`{name}` has no effect any more: rows of the dataframe come as they are, in their order."
                warnings.warn(text, DeprecationWarning, stacklevel=2)
        if kwargs:
            raise TypeError(f"flow_from_dataframe() got an unexpected keyword argument '{next(iter(kwargs))}'")
        if class_mode == "other":
            warnings.warn('`class_mode` "other" is deprecated, please use `class_mode` "raw".', stacklevel=2)
            class_mode = "raw"
        return DataFrameIterator(
            dataframe,
            directory,
            self,
            x_col=x_col,
            y_col=y_col,
            weight_col=weight_col,
            target_size=target_size,
            color_mode=color_mode,
            classes=classes,
            class_mode=class_mode,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            data_format=self.data_format,
            save_to_dir=save_to_dir,
            save_prefix=save_prefix,
            save_format=save_format,
            subset=subset,
            interpolation=interpolation,
            dtype=self.dtype,
            validate_filenames=validate_filenames,
            has_ext=has_ext,
        )

    # One image

    def get_random_transform(self, img_shape: Sequence[int], seed: int | None = None) -> dict[str, Any]:
        """Draw the changes of one image.

        # Arguments
            img_shape: its shape, three numbers.
            seed: of numpy's global generator, which is set first.

        # Returns
            What `apply_transform` takes.
        """
        if seed is not None:
            np.random.seed(seed)
        uniform = np.random.uniform
        theta = uniform(-self.rotation_range, self.rotation_range) if self.rotation_range else 0
        tx = _shift(self.height_shift_range, img_shape[self.row_axis - 1])
        ty = _shift(self.width_shift_range, img_shape[self.col_axis - 1])
        shear = uniform(-self.shear_range, self.shear_range) if self.shear_range else 0
        low, high = self.zoom_range
        zx, zy = (1, 1) if low == high == 1 else uniform(low, high, 2)
        flip_horizontal = bool(np.random.random() < 0.5) * self.horizontal_flip
        flip_vertical = bool(np.random.random() < 0.5) * self.vertical_flip
        shift = self.channel_shift_range
        intensity = uniform(-shift, shift) if shift != 0 else None
        light = self.brightness_range
        brightness = None if light is None else uniform(light[0], light[1])
        return {
            "theta": theta,
            "tx": tx,
            "ty": ty,
            "shear": shear,
            "zx": zx,
            "zy": zy,
            "flip_horizontal": flip_horizontal,
            "flip_vertical": flip_vertical,
            "channel_shift_intensity": intensity,
            "brightness": brightness,
        }

    def apply_transform(self, x: np.ndarray, transform_parameters: dict[str, Any]) -> np.ndarray:
        """The image after given changes.

        # Arguments
            x: image, an array of rank 3.
            transform_parameters: any of "theta", "tx", "ty", "shear", "zx", "zy" (see `apply_affine_transform`),
                "flip_horizontal", "flip_vertical", "channel_shift_intensity" and "brightness".
        """
        return self._changed(x, transform_parameters, 1.0)

    def random_transform(self, x: np.ndarray, seed: int | None = None) -> np.ndarray:
        """The image after random changes; `seed` sets numpy's global generator first."""
        return self.apply_transform(x, self.get_random_transform(x.shape, seed))

    def standardize(self, x: np.ndarray) -> np.ndarray:
        """The image after `preprocessing_function`, `rescale` and normalisation. An array of floats is changed in
        place where it can be."""
        if self.preprocessing_function:
            x = self.preprocessing_function(x)
        if x.dtype.kind != "f":
            x = x.astype(self.dtype)
        if self.rescale:
            x *= self.rescale
        return self._normalized(x)

    def prepare(self, x: np.ndarray, transform_parameters: dict[str, Any]) -> np.ndarray:
        """`standardize(apply_transform(x))`, with the scale in the same pass as the changes."""
        own = all(
            getattr(getattr(self, name), "__func__", None) is getattr(ImageDataGenerator, name)
            for name in ("apply_transform", "standardize")
        )
        if not own or self.preprocessing_function or not self.rescale or np.dtype(x.dtype).kind != "f":
            return self.standardize(self.apply_transform(x, transform_parameters))
        return self._normalized(self._changed(x, transform_parameters, float(self.rescale)))

    def _changed(self, x: np.ndarray, parameters: dict[str, Any], scale: float) -> np.ndarray:
        if x.ndim != 3:
            raise ValueError(f"an image must be an array of rank 3. Received shape: {x.shape}")
        axes = (self.row_axis - 1, self.col_axis - 1, self.channel_axis - 1)
        get = parameters.get
        flips = [a for a, name in ((axes[1], "flip_horizontal"), (axes[0], "flip_vertical")) if get(name, False)]
        return augment_image(
            x,
            axes,
            affine_matrix(get("theta", 0), get("tx", 0), get("ty", 0), get("shear", 0), get("zx", 1), get("zy", 1)),
            self.interpolation_order,
            self.fill_mode,
            self.cval,
            get("channel_shift_intensity") or 0.0,
            flips,
            get("brightness"),
            scale,
        )

    def _normalized(self, x: np.ndarray) -> np.ndarray:
        if self.samplewise_center:
            x -= np.mean(x, keepdims=True)
        if self.samplewise_std_normalization:
            x /= np.std(x, keepdims=True) + _EPSILON
        if self.featurewise_center and self._is_fit("featurewise_center", self.mean):
            x -= self.mean
        if self.featurewise_std_normalization and self._is_fit("featurewise_std_normalization", self.std):
            x /= self.std + _EPSILON
        if self.zca_whitening and self._is_fit("zca_whitening", self.principal_components):
            x = (x.reshape(-1, self.principal_components.shape[0]) @ self.principal_components).reshape(x.shape)
        return x

    def _is_fit(self, option: str, found: np.ndarray | None) -> bool:
        if found is None:
            warnings.warn(
                f"This ImageDataGenerator specifies `{option}`, but it hasn't been fit on any training data. "
                "Fit it first by calling `.fit(numpy_data)`.",
                stacklevel=4,
            )
        return found is not None

    def fit(self, x: Any, augment: bool = False, rounds: int = 1, seed: int | None = None) -> None:
        """Find the mean, deviation and correlation of a data set, for the featurewise options and whitening.

        # Arguments
            x: array of rank 4.
            augment: find them in changed images.
            rounds: how often each image is changed, then.
            seed: of numpy's global generator, which is set first.
        """
        x = np.array(x, dtype=self.dtype)
        if x.ndim != 4:
            raise ValueError(f"Input to `.fit()` should have rank 4. Got array with shape: {x.shape}")
        channels = x.shape[self.channel_axis]
        if channels not in (1, 3, 4):
            warnings.warn(
                f'Expected input to be images (as Numpy array) following the data format convention "{self.data_format}'
                f'" (channels on axis {self.channel_axis}), i.e. expected either 1, 3 or 4 channels on axis '
                f"{self.channel_axis}. However, it was passed an array with shape {x.shape} ({channels} channels).",
                stacklevel=2,
            )
        if seed is not None:
            np.random.seed(seed)
        if self.rescale:
            x *= self.rescale
        if augment:
            changed = [self.random_transform(image) for _ in range(rounds) for image in x]
            x = np.stack(changed).astype(self.dtype, copy=False) if changed else x
        axes = (0, self.row_axis, self.col_axis)
        shape = [1, 1, 1]
        shape[self.channel_axis - 1] = channels
        if self.featurewise_center:
            self.mean = np.mean(x, axis=axes).reshape(shape)
            x -= self.mean
        if self.featurewise_std_normalization:
            self.std = np.std(x, axis=axes).reshape(shape)
            x /= self.std + _EPSILON
        if self.zca_whitening:
            flat = x.reshape(len(x), -1)
            u, s, _ = np.linalg.svd(flat.T @ flat / len(flat))
            self.principal_components = (u / np.sqrt(s + self.zca_epsilon)) @ u.T


def _two_numbers(name: str, value: Any) -> None:
    if not isinstance(value, (tuple, list, np.ndarray)) or len(value) != 2:
        raise ValueError(f"`{name}` should be tuple or list of two floats. Received: {value}")


def _zoom_range(value: Any) -> list[Any]:
    if isinstance(value, numbers.Real):
        return [1 - float(value), 1 + float(value)]
    if not isinstance(value, (tuple, list, np.ndarray)) or len(value) != 2:
        raise ValueError(f"`zoom_range` should be a float or a tuple or list of two floats. Received: {value}")
    return [value[0], value[1]]


def _shift(choices: Any, size: int) -> float:
    """A shift in pixels: an array or an int says which shifts to choose from, a float how far at most."""
    if np.ndim(choices) == 0 and not choices:
        return 0
    if np.ndim(choices) or isinstance(choices, (int, np.integer)):
        shift = np.random.choice(choices) * np.random.choice([-1, 1])
    else:
        shift = np.random.uniform(-choices, choices)
    return shift * size if np.max(choices) < 1 else shift
