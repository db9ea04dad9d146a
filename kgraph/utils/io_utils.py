"""Asking before a file is overwritten, HDF5 files as dictionaries, and HDF5 datasets as arrays.

`engine/saving.py` asks; scripts of users use all of them.
"""

from __future__ import annotations

import operator
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

HDF5_OBJECT_HEADER_LIMIT = 64512  # bytes that the attributes of one object may take


class HDF5Matrix:
    """Rows of a dataset in an HDF5 file, to train on without reading all of them into memory.

    `fit` wants `shuffle="batch"` or `shuffle=False`, because rows can be read in increasing order only.

    # Arguments
        datapath: path of the file.
        dataset: name of the dataset in it.
        start: number of the first row.
        end: number of the row after the last one; None for all.
        normalizer: a function applied to all rows that are read.

    # Attributes
        refs: the files that are open, by the paths they were given by; shared by all instances.
    """

    refs: ClassVar[defaultdict[Any, Any]] = defaultdict(int)

    def __init__(
        self,
        datapath: Any,
        dataset: str,
        start: int = 0,
        end: int | None = None,
        normalizer: Callable[[Any], Any] | None = None,
    ) -> None:
        self._file = _opened(self.refs, datapath)
        found = self._file.get(dataset)
        if not hasattr(found, "shape"):
            raise KeyError(f"{os.fspath(datapath)!r} has no dataset {dataset!r}")
        self.data = found
        rows = found.shape[0]
        self.start = start
        self.end = rows if end is None else end
        if not 0 <= self.start <= self.end <= rows:
            raise ValueError(f"Dataset {dataset!r} has rows 0 to {rows}, not {start} to {end}")
        self.normalizer = normalizer
        first = self._normalized(found[0:1])
        self._base_shape = first.shape[1:]
        self._base_dtype = first.dtype

    def _normalized(self, rows: Any) -> Any:
        return rows if self.normalizer is None else self.normalizer(rows)

    def __len__(self) -> int:
        return self.end - self.start

    def __getitem__(self, key: Any) -> Any:
        """Rows by number, slice, or list of increasing numbers. Raises IndexError for rows past the end."""
        if isinstance(key, slice):
            if key.stop is not None and key.stop > len(self):
                raise IndexError(f"rows up to {key.stop} were asked for, but there are {len(self)}")
            start, stop, step = key.indices(len(self))
            where: Any = slice(start + self.start, max(start, stop) + self.start, step)
        elif isinstance(key, (int, np.integer)):
            where = self._row(key)
        else:
            mask = isinstance(key, np.ndarray) and key.dtype == bool
            where = [self._row(i) for i in (np.flatnonzero(key) if mask else key)]
        return self._normalized(self.data[where])

    def _row(self, number: Any) -> int:
        row = operator.index(number)
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} was asked for, but there are {len(self)}")
        return (self.start if row >= 0 else self.end) + row

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, as a numpy array would have it."""
        return (len(self), *self._base_shape)

    @property
    def dtype(self) -> Any:
        """The type of the numbers, as the normalizer gives them."""
        return self._base_dtype

    @property
    def ndim(self) -> int:
        """The number of axes, as a numpy array would have it."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of numbers."""
        return int(np.prod(self.shape))


def _opened(refs: defaultdict[Any, Any], datapath: Any) -> Any:
    """The file at this path, from `refs` if it is still that file; a path may have got another one since."""
    import h5py

    file = refs.get(datapath)
    if file and os.path.samestat(os.fstat(file.id.get_vfd_handle()), os.stat(datapath)):
        return file
    refs[datapath] = h5py.File(datapath, "r")
    return refs[datapath]


def ask_to_proceed_with_overwrite(filepath: Any) -> bool:
    """Ask on the terminal whether to overwrite a file; returns the answer."""
    answer = input(f"[WARNING] {filepath} already exists - overwrite? [y/n]").strip().lower()
    while answer not in ("y", "n"):
        answer = input('Enter "y" (overwrite) or "n" (cancel).').strip().lower()
    if answer == "n":
        return False
    print("[TIP] Next time specify overwrite=True!")
    return True


class H5Dict:
    """An HDF5 file or group, or a dictionary, behind one interface.

    Arrays are datasets; numbers, texts and lists of texts are attributes; a missing key is a new group. Each group is
    an `H5Dict` in turn.

    # Arguments
        path: path of a file, an open `h5py.Group`, or a dictionary.
        mode: how to open the file: "r", "w" or "a".
    """

    def __init__(self, path: Any, mode: str = "a") -> None:
        import h5py

        if isinstance(path, (h5py.Group, dict)):
            self.data: Any = path
        elif isinstance(path, (str, os.PathLike)):
            self.data = h5py.File(path, mode)
        else:
            raise TypeError(f"Required Group, str or dict. Received: {type(path)}.")
        self._opened = not isinstance(path, (h5py.Group, dict))
        self.read_only = mode == "r"

    def __setitem__(self, attr: str, val: Any) -> None:
        from kgraph.engine.weights_file import save_attributes_to_hdf5_group

        if self.read_only:
            raise ValueError("Cannot set item in read only mode.")
        if isinstance(self.data, dict):
            self.data[attr] = val
        elif attr in self.data:
            raise KeyError(f'Cannot set attribute. Group with name "{attr}" exists.')
        elif isinstance(val, (np.ndarray, np.generic)):
            self.data.create_dataset(attr, data=val)
        elif isinstance(val, (list, tuple)) and all(isinstance(x, (str, bytes)) for x in val):
            save_attributes_to_hdf5_group(self.data, attr, val)
        else:
            self.data.attrs[attr] = val

    def __getitem__(self, attr: str) -> Any:
        import h5py

        if isinstance(self.data, dict):
            if attr not in self.data and self.read_only:
                raise ValueError("Cannot create group in read only mode.")
            val = self.data.setdefault(attr, {})
            return self._inner(val) if isinstance(val, dict) else val
        if attr in self.data.attrs:
            return _bytes(self.data.attrs[attr])
        if attr in self.data:
            val = self.data[attr]
            return val[()] if isinstance(val, h5py.Dataset) else self._inner(val)
        if f"{attr}0" in self.data.attrs:
            count = next(i for i in range(len(self.data.attrs) + 1) if f"{attr}{i}" not in self.data.attrs)
            return np.concatenate([_bytes(self.data.attrs[f"{attr}{i}"]) for i in range(count)])
        if self.read_only:
            raise ValueError("Cannot create group in read only mode.")
        return self._inner(self.data.create_group(attr))

    def _inner(self, data: Any) -> H5Dict:
        return H5Dict(data, "r" if self.read_only else "a")

    def __contains__(self, key: str) -> bool:
        if key in self.data or isinstance(self.data, dict):
            return key in self.data
        return key in self.data.attrs or f"{key}0" in self.data.attrs

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def iter(self) -> Iterator[str]:
        return iter(self.data)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self else default

    def update(self, *args: Any) -> None:
        """Set the items of a dictionary, or of the iterable of pairs."""
        for key, value in dict(*args).items():
            self[key] = value

    def close(self) -> None:
        """Close the file, if it was opened here."""
        if self._opened:
            self.data.close()


h5dict = H5Dict


def _bytes(value: Any) -> Any:
    """Texts in attributes as bytes, however HDF5 keeps them."""
    if isinstance(value, str):
        return value.encode("utf-8")
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        return np.array([x.encode("utf-8") if isinstance(x, str) else x for x in value])
    return value
