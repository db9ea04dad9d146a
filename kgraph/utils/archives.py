"""Unpacking of downloaded archives that can write nowhere but into their folder.

`data_utils.get_file` uses it. Everything is unpacked into a temporary folder beside the target and then moved, so that
an interrupted run leaves no half of a data set.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, Any

# An entry: its name, and a function that opens it; None for a folder.
Entry = tuple[str, "Callable[[], IO[bytes]] | None"]


def extract_archive(file_path: str, path: str = ".", archive_format: Any = "auto") -> bool:
    """Unpack a tar (compressed or not) or zip file into folder `path`.

    `archive_format` is "tar", "zip", a list of these, "auto" for both, or None for none. Returns whether the file was
    such an archive. Raises ValueError, having written nothing, for an entry that points out of the folder or is no
    plain file or folder. A link becomes a copy of the entry that it names.
    """
    if archive_format is None:
        return False
    if archive_format == "auto":
        archive_format = ["tar", "zip"]
    formats = [archive_format] if isinstance(archive_format, str) else list(archive_format)
    unknown = sorted(set(formats) - {"tar", "zip"})
    if unknown:
        raise ValueError(f"`archive_format` must be 'auto', 'tar', 'zip' or None. Received: {unknown[0]!r}")
    for name in formats:
        if name == "tar" and tarfile.is_tarfile(file_path):
            with tarfile.open(file_path) as tar:
                _unpack(_tar_entries(tar), file_path, path)
            return True
        if name == "zip" and zipfile.is_zipfile(file_path):
            with zipfile.ZipFile(file_path) as archive:
                _unpack(_zip_entries(archive), file_path, path)
            return True
    return False


def _tar_entries(tar: tarfile.TarFile) -> Iterator[Entry]:
    for member in tar:
        if member.isdir():
            yield member.name, None
        elif member.isfile() or member.islnk() or member.issym():
            yield member.name, lambda m=member: _opened(tar, m)  # type: ignore[misc]
        else:
            raise ValueError(f"{tar.name!r} holds {member.name!r}, which is neither a file nor a folder")


def _opened(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    try:
        file = tar.extractfile(member)
    except (KeyError, RecursionError):
        file = None
    if file is None:
        raise ValueError(f"{tar.name!r} holds {member.name!r}, a link to no file of the archive: {member.linkname!r}")
    return file


def _zip_entries(archive: zipfile.ZipFile) -> Iterator[Entry]:
    for info in archive.infolist():
        if info.is_dir():
            yield info.filename, None
        else:
            yield info.filename, lambda i=info: archive.open(i)  # type: ignore[misc]


def _unpack(entries: Iterator[Entry], source: str, path: str) -> None:
    os.makedirs(path, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=path) as folder:
        for name, opener in entries:
            target = _inside(folder, name, source)
            if opener is None:
                os.makedirs(target, exist_ok=True)
                continue
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with opener() as content, open(target, "wb") as file:
                shutil.copyfileobj(content, file)
        _move_into(folder, path)


def _inside(folder: str, name: str, source: str) -> str:
    """The path of an entry, if it lies in the folder."""
    target = os.path.normpath(os.path.join(folder, name))
    if "\0" in name or os.path.isabs(name) or not (target + os.sep).startswith(folder + os.sep):
        raise ValueError(f"{source!r} holds {name!r}, which would be written outside of its folder")
    return target


def _move_into(folder: str, path: str) -> None:
    """Move what a folder holds; a folder that exists already is filled up."""
    for name in sorted(os.listdir(folder)):
        new, old = os.path.join(folder, name), os.path.join(path, name)
        if os.path.isdir(new) and os.path.isdir(old):
            _move_into(new, old)
        else:
            os.replace(new, old)
