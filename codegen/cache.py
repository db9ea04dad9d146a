"""The kernel cache: from a `Kernel` to the address of its C function, compiling it at most once per machine.

Three layers: a dictionary in memory, entries on disk under `$KGRAPH_HOME/cache`, the compiler. An entry is `<key>.py`
(the generated source with its head comment), `<key>.o` (relocatable object) and `<key>.json` (manifest). Files are
written under temporary names and renamed, the manifest last; an entry that is incomplete or does not match its
checksum is compiled again. Loading needs neither Numba nor pickle. Before it come the kernel printers; after it comes
`program`, which puts the addresses into a table.
"""

from __future__ import annotations

import atexit
import dataclasses
import hashlib
import json
import os
import shutil
import stat
import tempfile
import threading
from pathlib import Path

from codegen.loader import load_object
from codegen.progress import Progress
from codegen.source import Kernel, KernelError, fingerprint

CAPACITY = 512 << 20
"""Default limit of the cache on disk, bytes."""

_SUFFIXES = (".py", ".o", ".json")


def cache_directory() -> Path:
    """`$KGRAPH_HOME/cache`, by default `~/.kgraph/cache`."""
    home = os.environ.get("KGRAPH_HOME")
    return (Path(home) if home else Path.home() / ".kgraph") / "cache"


class KernelCache:
    """Compiled kernels in memory and on disk; may be used from several threads and processes.

    `compiled`, `loaded` and `compile_seconds` count what happened on misses of the memory layer.
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self.compiled = 0
        self.loaded = 0
        self.compile_seconds = 0.0
        self.progress = Progress()
        self._wanted = Path(directory) if directory is not None else None
        self._directory: Path | None = None
        self._addresses: dict[str, int] = {}
        self._lock = threading.RLock()

    @property
    def directory(self) -> Path:
        """Where entries are kept: the wanted directory, or a temporary one where that cannot be used safely."""
        if self._directory is None:
            self._directory = _private_directory(self._wanted or cache_directory())
        return self._directory

    def get(self, kernel: Kernel, comment: str = "") -> int:
        """Address of the C function `void(int64, ...)` that the kernel compiles to.

        `comment` says what it is wanted for (the IR line and its layers); it heads the stored source and the message of
        the KernelError that a faulty kernel raises.
        """
        address = self._addresses.get(kernel.key)
        if address is not None:
            return address
        with self._lock:
            address = self._addresses.get(kernel.key)
            if address is None:
                address = self._load(kernel)
                if address is None:
                    address = self._compile(dataclasses.replace(kernel, comment=comment) if comment else kernel)
                self._addresses[kernel.key] = address
        return address

    def _load(self, kernel: Kernel) -> int | None:
        entry = self._read(kernel)
        if entry is None:
            return None
        code, undefined = entry
        try:
            address = load_object(code, kernel.symbol, undefined)
        except KernelError:
            return None
        self.loaded += 1
        return address

    def _read(self, kernel: Kernel) -> tuple[bytes, tuple[str, ...]] | None:
        """Object and external symbols of the entry on disk, or None where it is missing, foreign or damaged."""
        manifest_file = self.directory / f"{kernel.key}.json"
        try:
            manifest = json.loads(_read_own(manifest_file))
            code = _read_own(self.directory / f"{kernel.key}.o")
            os.utime(manifest_file)  # the age that `_trim` goes by
            intact = manifest["key"] == kernel.key and manifest["sha256"] == hashlib.sha256(code).hexdigest()
            return (code, tuple(manifest["undefined"])) if intact else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _compile(self, kernel: Kernel) -> int:
        from codegen.compiler import compile_kernel

        self.progress.compiling(kernel.name)
        compiled = compile_kernel(kernel)
        self.compiled += 1
        self.compile_seconds += compiled.seconds
        address = load_object(compiled.object, compiled.symbol, compiled.undefined)
        manifest = {
            "key": kernel.key,
            "name": kernel.name,
            "symbol": compiled.symbol,
            "params": kernel.params,
            "undefined": compiled.undefined,
            "sha256": hashlib.sha256(compiled.object).hexdigest(),
            "object_bytes": len(compiled.object),
            "compile_seconds": round(compiled.seconds, 4),
            "made_by": fingerprint(),
        }
        contents = (kernel.text().encode(), compiled.object, json.dumps(manifest, indent=1).encode())
        try:
            for suffix, content in zip(_SUFFIXES, contents, strict=True):
                _write_atomically(self.directory / f"{kernel.key}{suffix}", content)
            self._trim()
        except OSError:
            pass  # a full or vanished disk costs a compilation next time, no more
        return address

    def _trim(self) -> None:
        """Removes the entries that were not used for longest until the rest fits the capacity."""
        sizes: dict[str, int] = {}
        ages: dict[str, float] = {}
        for item in os.scandir(self.directory):
            key = item.name.partition(".")[0]
            info = item.stat()
            sizes[key] = sizes.get(key, 0) + info.st_size
            ages[key] = max(ages.get(key, 0.0), info.st_mtime)
        total = sum(sizes.values())
        for key in sorted(sizes, key=ages.__getitem__):
            if total <= self.capacity:
                break
            total -= sizes[key]
            for suffix in reversed(_SUFFIXES):
                (self.directory / f"{key}{suffix}").unlink(missing_ok=True)


def _private_directory(wanted: Path) -> Path:
    """The wanted directory with access for its owner only; a temporary one where it cannot be made or belongs to
    someone else.
    """
    try:
        wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_own(os.lstat(wanted)) and os.access(wanted, os.W_OK | os.X_OK):
            if stat.S_IMODE(os.stat(wanted).st_mode) & 0o077:
                wanted.chmod(0o700)
            return wanted
    except OSError:
        pass
    temporary = Path(tempfile.mkdtemp(prefix="kgraph-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return temporary


def _is_own(info: os.stat_result) -> bool:
    """Whether a file or directory belongs to this user; symbolic links never do. (Windows keeps files apart by
    itself.)
    """
    return not stat.S_ISLNK(info.st_mode) and (not hasattr(os, "getuid") or info.st_uid == os.getuid())


def _read_own(file: Path) -> bytes:
    """Content of a file that belongs to this user; OSError for any other."""
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as stream:
        if not _is_own(os.fstat(descriptor)):
            raise PermissionError(f"{file} belongs to another user")
        return stream.read()


def _write_atomically(file: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f"{file.stem}.", suffix=".tmp")
    try:
        with open(descriptor, "wb") as stream:
            stream.write(content)
        os.replace(name, file)
    except BaseException:
        os.unlink(name)
        raise
