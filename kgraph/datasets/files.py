"""Reading data set files, which come from strangers: nothing in them is ever run.

Python objects in `.npz` and CIFAR files are pickles, which could call any function. Here a pickle may only hold plain
Python values and numpy arrays of numbers or objects, and arrays are rebuilt by this file's own code, never by numpy's,
which trusts what it reads.
"""

from __future__ import annotations

import math
import os
import pickle
import zipfile
import zlib
from typing import IO, Any

import numpy as np


def read_npz(path: str, *names: str) -> list[np.ndarray]:
    """Arrays of an `.npz` file. Raises ValueError, naming the file, where it is damaged, lacks one, or holds objects
    other than lists and numbers."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [_read_array(archive, name) for name in names]
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, zlib.error) as error:
        reason = error.args[0] if error.args else type(error).__name__
        raise ValueError(f"{path} is damaged or not the data set that its name says: {reason}") from error


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"the array {name!r} has the unknown format version {version}")
        if dtype.hasobject:
            return _as_array(unpickle(file), name)
    with archive.open(f"{name}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _as_array(value: Any, name: str) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise ValueError(f"the array {name!r} is a {type(value).__name__}")
    return value


def unpickle(file: IO[bytes]) -> Any:
    """The value in a pickle of plain Python values and numpy arrays; strings of Python 2 become bytes. Raises
    ValueError for a pickle that holds anything else."""
    try:
        return _finished(_Unpickler(file, encoding="bytes").load())
    except (pickle.UnpicklingError, EOFError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"its pickle cannot be read: {error}") from error


def read_pickle(path: str) -> Any:
    """`unpickle` of a file; its errors name the file."""
    with open(path, "rb") as file:
        try:
            return unpickle(file)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)} is damaged or no data set: {error}") from error


class _Dtype:
    """Stands for `numpy.dtype` in a pickle."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = name.decode("latin1") if isinstance(name, bytes) else str(name)
        self.order = ""

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        order = order.decode("latin1") if isinstance(order, bytes) else order
        self.order = order if order in ("<", ">") else ""

    def dtype(self) -> np.dtype:
        if self.name in ("O", "O4", "O8", "object"):
            return np.dtype(object)
        dtype = np.dtype(self.order + self.name)
        if dtype.kind not in "biuf":
            raise ValueError(f"it holds an array of dtype {dtype}")
        return dtype


class _Array:
    """Stands for `numpy.ndarray` in a pickle."""

    value: np.ndarray

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        size = math.prod(shape)
        kind = dtype.dtype()
        if kind.hasobject:
            if not isinstance(data, list) or len(data) != size:
                raise ValueError("it holds an array whose size is not that of its data")
            flat = np.empty(size, object)
            flat[:] = [_finished(item) for item in data]
        else:
            if not isinstance(data, bytes) or len(data) != size * kind.itemsize:
                raise ValueError("it holds an array whose size is not that of its data")
            flat = np.frombuffer(data, kind).copy()
        self.value = flat.reshape(shape, order="F" if fortran else "C")


def _new_array(*_: Any) -> _Array:
    return _Array()


def _new_scalar(dtype: _Dtype, data: bytes) -> Any:
    kind = dtype.dtype()
    if kind.hasobject or len(data) != kind.itemsize:
        raise ValueError("it holds a number whose size is not that of its data")
    return np.frombuffer(data, kind)[0]


def _to_bytes(text: str, *_: Any) -> bytes:
    """Stands for `_codecs.encode`, by which pickles of protocol 2 hold bytes."""
    return text.encode("latin1")


_ALLOWED = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _new_array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _new_scalar for core in ("core", "_core")},
    ("_codecs", "encode"): _to_bytes,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise ValueError(f"it refers to {module}.{name}, which no data set needs") from None


def _finished(value: Any) -> Any:
    """The value with arrays instead of what stands for them: itself, or what a dict or list holds."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {key: _finished(item) for key, item in value.items()}
    if isinstance(value, list) and any(isinstance(item, _Array) for item in value):
        return [_finished(item) for item in value]
    return value
