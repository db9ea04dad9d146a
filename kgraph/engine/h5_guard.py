"""Checks an HDF5 file before anything of it is read.

A file can point outside itself (links, external storage, virtual datasets) and can declare sizes far beyond what it
holds. Weights need none of that, so all of it is refused. `saving.py` calls this first.
"""

from __future__ import annotations

from typing import Any

_SLACK = 64 << 20  # bytes that a small file may declare
_RATIO = 64  # how far stored data may be compressed


def check_group(group: Any, file_size: int | None) -> None:
    """Raises ValueError naming the first thing in `group` that a file of weights must not have.

    `file_size` is the size of the file in bytes, None where it is not known.
    """
    import h5py

    if not isinstance(group, h5py.Group):
        raise TypeError(f"Expected a path or an open HDF5 file, got {type(group).__name__}.")
    limit = None if file_size is None else _RATIO * file_size + _SLACK
    total = 0
    seen: set[Any] = set()
    stack = [(group, group.name.rstrip("/") + "/")]
    while stack:
        current, path = stack.pop()
        for key in current:
            name = path + key
            link = current.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ValueError(f"{name} in the HDF5 file is a {type(link).__name__}; files with links are not read.")
            item = current[key]
            if isinstance(item, h5py.Group):
                address = h5py.h5o.get_info(item.id).addr
                if address not in seen:  # groups may be linked in a circle
                    seen.add(address)
                    stack.append((item, name + "/"))
                continue
            total += _checked_size(h5py, item, name)
            if limit is not None and total > limit:
                raise ValueError(
                    f"The HDF5 file declares {total} bytes of data up to {name}, far more than its own size of "
                    f"{file_size} bytes; it is not read."
                )


def _checked_size(h5py: Any, item: Any, name: str) -> int:
    """The bytes that a dataset declares."""
    if not isinstance(item, h5py.Dataset):
        return 0
    if item.external:
        raise ValueError(f"{name} in the HDF5 file is stored in another file; such files are not read.")
    if item.is_virtual:
        raise ValueError(f"{name} in the HDF5 file is a virtual dataset; such files are not read.")
    if item.dtype.kind not in "fiubS" and not h5py.check_string_dtype(item.dtype):
        raise ValueError(f"{name} in the HDF5 file holds {item.dtype}, which is neither numbers nor text.")
    return int(item.size or 0) * int(item.dtype.itemsize)
