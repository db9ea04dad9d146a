"""Batches of images in files that a table of pandas names. pandas itself is not needed: columns are read as lists."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from kgraph.preprocessing.image_files import FORMATS
from kgraph.preprocessing.image_folders import FileIterator, is_image

_WITH_CLASSES = ("binary", "categorical", "sparse")


class DataFrameIterator(FileIterator):
    """Batches of the image files that a table of pandas names.

    # Arguments
        dataframe: the table; it stays as it is.
        directory: folder of the files; None where the table has their paths.
        image_data_generator: the `ImageDataGenerator` that changes the images; None to leave them as they are.
        dtype: of the batches; by default the configured float type.
        has_ext: False where the names in the table lack the files' endings.
        others: see `ImageDataGenerator.flow_from_dataframe`.
    """

    allowed_class_modes = frozenset({"binary", "categorical", "input", "multi_output", "raw", "sparse", None})

    def __init__(
        self,
        dataframe: Any,
        directory: Any = None,
        image_data_generator: Any = None,
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
        data_format: str | None = None,
        save_to_dir: str | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: str | None = None,
        interpolation: str = "nearest",
        dtype: Any = None,
        validate_filenames: bool = True,
        has_ext: bool = True,
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
        self.directory = directory or ""
        names = _column(dataframe, "x_col", x_col)
        if not all(isinstance(name, str) for name in names):
            raise TypeError(f"All values in column x_col={x_col} must be strings.")
        weights = None if weight_col is None else _weights(dataframe, weight_col)
        targets = self._columns(dataframe, y_col, classes)
        if not has_ext:
            names = [_with_ending(self.directory, name) for name in names]
        rows = self._existing(names, x_col) if validate_filenames else list(range(len(names)))
        numbers: dict[int, Any] = {}
        if class_mode in _WITH_CLASSES:
            rows, numbers = self._classify(targets, rows, classes)
        rows = self._selected(rows)
        self._labels: Any = None
        if class_mode in _WITH_CLASSES:
            self.classes = self._labels = [numbers[row] for row in rows]
        elif class_mode == "multi_output":
            self._labels = [values[rows] for values in targets]
        elif targets is not None:
            self._labels = targets[rows]
        self._sample_weight = None if weights is None else weights[rows]
        self.filenames = [names[row] for row in rows]
        self._filepaths = [os.path.join(self.directory, name) for name in self.filenames]
        self.samples = len(rows)
        found = f"Found {self.samples} {'' if validate_filenames else 'non-'}validated image filenames"
        print(found + (f" belonging to {len(self.class_indices)} classes." if class_mode in _WITH_CLASSES else "."))
        super().__init__(self.samples, batch_size, shuffle, seed)

    @property
    def labels(self) -> Any:
        """What the targets are made of: class numbers, or values of the columns."""
        return self._labels

    @property
    def sample_weight(self) -> np.ndarray | None:
        """Weights of all files; None where there are none."""
        return self._sample_weight

    def _columns(self, dataframe: Any, y_col: Any, classes: Sequence[str] | None) -> Any:
        """The values of the target's column or columns, checked: a list, or arrays where they are used as they are."""
        mode = self.class_mode
        if mode not in _WITH_CLASSES:
            if classes:
                warnings.warn(f'`classes` will be ignored given the class_mode="{mode}"', stacklevel=4)
            if mode in (None, "input"):
                return None
            several = mode == "multi_output" or not isinstance(y_col, str)
            columns = [np.array(_column(dataframe, "y_col", name)) for name in (y_col if several else [y_col])]
            if mode == "multi_output":
                return columns
            return np.stack(columns, axis=1) if several else columns[0]
        values = _column(dataframe, "y_col", y_col)
        if mode == "categorical":
            if not all(isinstance(value, (str, list, tuple)) for value in values):
                raise TypeError(
                    f'If class_mode="{mode}", y_col="{y_col}" column values must be type string, list or tuple.'
                )
            return values
        if not all(isinstance(value, str) for value in values):
            raise TypeError(f'If class_mode="{mode}", y_col="{y_col}" column values must be strings.')
        if mode == "binary":
            given = f"{len(set(classes))} class/es were given." if classes else f"Found {len(set(values))} classes."
            if len(set(classes or values)) != 2:
                raise ValueError(f'If class_mode="binary" there must be 2 classes. {given}')
        return values

    def _existing(self, names: Sequence[str], x_col: str) -> list[int]:
        """The rows whose file is there and has an ending of images."""
        rows = [
            i for i, name in enumerate(names) if is_image(name) and os.path.isfile(os.path.join(self.directory, name))
        ]
        if len(rows) != len(names):
            warnings.warn(
                f'Found {len(names) - len(rows)} invalid image filename(s) in x_col="{x_col}". '
                "These filename(s) will be ignored.",
                stacklevel=4,
            )
        return rows

    def _classify(
        self, values: Sequence[Any], rows: Sequence[int], classes: Sequence[str] | None
    ) -> tuple[list[int], dict[int, Any]]:
        """Number the classes; returns the rows that have one of them and, by row, its number or their numbers."""
        cells = {row: [values[row]] if isinstance(values[row], str) else list(values[row]) for row in rows}
        known = sorted(set(classes) if classes else {name for cell in cells.values() for name in cell})
        self.class_indices = {name: i for i, name in enumerate(known)}
        labels: dict[int, Any] = {}
        for row, cell in cells.items():
            numbers = [self.class_indices[name] for name in cell if name in self.class_indices]
            if numbers:
                labels[row] = numbers[0] if isinstance(values[row], str) else numbers
        return list(labels), labels


def _column(dataframe: Any, argument: str, name: str) -> list[Any]:
    try:
        return dataframe[name].tolist()
    except KeyError:
        known = ", ".join(repr(column) for column in dataframe.columns)
        raise KeyError(f"{argument}={name!r} is no column of the dataframe; it has {known}") from None


def _weights(dataframe: Any, weight_col: str) -> np.ndarray:
    weights = np.array(_column(dataframe, "weight_col", weight_col))
    if weights.dtype.kind not in "iufb":
        raise TypeError(f"Column weight_col={weight_col} must be numeric.")
    return weights


def _with_ending(directory: str, name: str) -> str:
    """The name of the file that is called `name` but for its ending; `name` itself where there is none."""
    for ending in FORMATS:
        if os.path.isfile(os.path.join(directory, f"{name}.{ending}")):
            return f"{name}.{ending}"
    return name
