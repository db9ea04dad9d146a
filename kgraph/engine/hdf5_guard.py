"""Reading HDF5 files that anybody may have written: nothing in a file runs, opens other files or exhausts memory.

`saving.py` and `weights_file.py` read only through a `Reader`. Each step of a path must be an ordinary link, each
dataset must lie in the file itself, and every size is checked as declared, before memory is spent on it. What a file
claims beyond that (a config that does not fit its weights) is checked by those who use it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

# Weights hardly compress; a file that declares far more than it holds is not a model.
_EXPANSION = 16
_SLACK = 64 << 20  # bytes
_MAX_ATTRIBUTE_ITEMS = 1 << 16
_MAX_DEPTH = 200  # levels of lists and dictionaries; a model inside a model takes four
_NODES_PER_CHARACTER = 4
# Filters that HDF5 and h5py have built in: deflate, shuffle, fletcher32, szip, nbit, scaleoffset, lzf. Others: plugins.
_FILTERS = frozenset((1, 2, 3, 4, 5, 6, 32000))
_MASKED_NAMES = ("", ".")


@contextlib.contextmanager
def opened(filepath: Any) -> Iterator[Any]:
    """The HDF5 group to read: `filepath` is a path, a binary file object, or an open `h5py.Group`, which stays open.

    Raises OSError where there is no such file or it is no HDF5 file.
    """
    import h5py

    if isinstance(filepath, h5py.Group):
        yield filepath
        return
    source = filepath if hasattr(filepath, "read") else os.fspath(filepath)
    if isinstance(source, (str, bytes)) and os.path.isdir(source):
        raise IsADirectoryError(f"Unable to open {filepath}: it is a folder, and an HDF5 file was expected.")
    try:
        file = h5py.File(source, "r")
    except FileNotFoundError:
        raise FileNotFoundError(f"Unable to open file {filepath}: no such file.") from None
    except OSError as error:
        raise OSError(f"Unable to open file {filepath} as HDF5: {error}") from error
    with file:
        yield file


class Reader:
    """Reads groups, arrays and attributes below the group that it was made with.

    Raises ValueError, naming file and object, for whatever a file of weights has no use for. All arrays read through
    one reader together may not exceed a bound that follows from the file's size.
    """

    def __init__(self, group: Any) -> None:
        self.root = group
        self._stored = int(group.file.id.get_filesize())
        self._left = _EXPANSION * self._stored + _SLACK

    def _refuse(self, what: str, why: str) -> ValueError:
        return ValueError(f"Refusing to read {what} of file {self.root.file.filename}: {why}.")

    def find(self, parent: Any, path: str) -> Any | None:
        """The group or dataset at `path` below `parent`; None where there is none."""
        import h5py

        what = f"'{path}'"
        if path.startswith("/"):
            raise self._refuse(what, "it is named by an absolute path")
        found = parent
        for part in path.split("/"):
            if part in _MASKED_NAMES:
                continue
            link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
            if link is None:
                return None
            if not isinstance(link, h5py.HardLink):
                raise self._refuse(what, f"'{part}' is a {type(link).__name__}, which may lead anywhere")
            found = found[part]
        return found

    def group(self, parent: Any, path: str) -> Any | None:
        """The group at `path` below `parent`; None where there is none."""
        import h5py

        found = self.find(parent, path)
        if found is not None and not isinstance(found, h5py.Group):
            raise self._refuse(f"'{path}'", "a group was expected there")
        return found

    def dataset(self, parent: Any, path: str) -> Any:
        """The dataset at `path` below `parent`, after all checks but those of `array`. Raises ValueError if missing."""
        import h5py

        found = self.find(parent, path)
        what = f"'{path}'"
        if found is None:
            raise ValueError(f"File {self.root.file.filename} holds no {what}, which it lists among its weights.")
        if not isinstance(found, h5py.Dataset):
            raise self._refuse(what, "a dataset was expected there")
        if found.external:
            raise self._refuse(what, "its content lies in another file")
        if found.is_virtual:
            raise self._refuse(what, "it is made of parts of other datasets")
        if found.shape is None or found.dtype.kind not in "fiub" or found.dtype.itemsize > 16:
            raise self._refuse(what, f"it holds {found.dtype}, not an array of numbers")
        properties = found.id.get_create_plist()
        for i in range(properties.get_nfilters()):
            if properties.get_filter(i)[0] not in _FILTERS:
                raise self._refuse(what, "it is stored in a format that needs a plugin")
        # A chunk is unpacked whole, and may be larger than the dataset.
        items = max(math.prod(found.shape), math.prod(found.chunks or ()))
        if items * found.dtype.itemsize > self._left:
            raise self._refuse(what, f"it declares {items * found.dtype.itemsize} bytes, in a file of {self._stored}")
        return found

    def array(self, parent: Any, path: str) -> np.ndarray:
        """The numbers at `path` below `parent`."""
        found = self.dataset(parent, path)
        self._left -= math.prod(found.shape) * found.dtype.itemsize
        return np.asarray(found[()])

    def text(self, parent: Any, name: str) -> str | None:
        """The attribute `name` of `parent`, a text; None where there is none."""
        value = self._strings(parent, name)
        if value is None:
            return None
        if value.shape != ():
            raise self._refuse(f"attribute '{name}'", "one text was expected")
        return _decoded(value[()])

    def texts(self, parent: Any, name: str) -> list[str]:
        """The texts in attribute `name` of `parent`, or in `name0`, `name1`, ... which stand for a long list."""
        value = self._strings(parent, name)
        if value is not None:
            return [_decoded(x) for x in value.ravel()]
        found: list[str] = []
        for i in range(len(parent.attrs)):
            value = self._strings(parent, f"{name}{i}")
            if value is None:
                break
            found += [_decoded(x) for x in value.ravel()]
        return found

    def _strings(self, parent: Any, name: str) -> np.ndarray | None:
        import h5py

        if name not in parent.attrs:
            return None
        what = f"attribute '{name}'"
        declared = parent.attrs.get_id(name)
        items = 0 if declared.shape is None else math.prod(declared.shape)
        if items == 0:
            return np.array([], dtype=object)
        if h5py.check_string_dtype(declared.dtype) is None:
            raise self._refuse(what, f"it holds {declared.dtype}, not text")
        if items > _MAX_ATTRIBUTE_ITEMS or items * declared.dtype.itemsize > self._left:
            raise self._refuse(what, f"it declares {items} texts")
        return np.asarray(parent.attrs[name])


def _decoded(text: Any) -> str:
    return text.decode("utf-8") if isinstance(text, bytes) else str(text)


def parse_json(text: str, what: str) -> Any:
    """The value of a JSON text; ValueError, naming `what` it is, where it is none or is nested too deep."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise _too_deep(what) from None
    except ValueError as error:
        raise ValueError(f"Cannot read the {what}: it is not valid JSON ({error}).") from error
    check_size(value, len(text), what)
    return value


def check_size(value: Any, characters: int, what: str) -> None:
    """Raise ValueError where a value parsed from a text of so many characters is nested too deep, or contains itself,
    or unfolds to far more than the text (through references in YAML)."""
    limit = _NODES_PER_CHARACTER * characters + 1000
    seen = 0
    stack = [(value, 0)]
    while stack:
        item, depth = stack.pop()
        seen += 1
        if depth > _MAX_DEPTH:
            raise _too_deep(what)
        if seen > limit:
            raise ValueError(f"Cannot read the {what}: its references unfold to more than {limit} items.")
        if isinstance(item, dict):
            stack += [(x, depth + 1) for x in item.values()]
        elif isinstance(item, (list, tuple)):
            stack += [(x, depth + 1) for x in item]


def _too_deep(what: str) -> ValueError:
    return ValueError(f"Cannot read the {what}: it is nested deeper than {_MAX_DEPTH} levels.")
