"""Asking before a file is overwritten, and HDF5 files as dictionaries.

`engine/saving.py` asks; scripts of users use both.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np


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
