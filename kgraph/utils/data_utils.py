"""Batches prepared in the background, and data sets fetched over the network.

`Sequence` is what users write; `OrderedEnqueuer` (for a `Sequence`) and `GeneratorEnqueuer` (for a generator) prepare
its batches in threads or processes of `worker_pools.py`, and `engine/training_generator.py` consumes them. `get_file`
keeps downloaded files in a cache folder; `archives.py` unpacks them.
"""

from __future__ import annotations

import hashlib
import os
import types
import uuid
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

import numpy as np

from kgraph.utils.archives import extract_archive
from kgraph.utils.generic_utils import Progbar
from kgraph.utils.worker_pools import ProcessPool, ThreadPool, can_fork

__all__ = [
    "GeneratorEnqueuer",
    "OrderedEnqueuer",
    "Progbar",
    "Sequence",
    "SequenceEnqueuer",
    "get_file",
    "get_index",
    "init_pool",
    "init_pool_generator",
    "next_sample",
    "validate_file",
]


class Sequence:
    """Base class of data sets that give a batch for a number: safe to read from several workers at once.

    Subclasses implement `__getitem__(index)`, which returns a batch, and `__len__`, the number of batches.
    """

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must implement `__getitem__(index)`, which returns a batch")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must implement `__len__`, the number of batches")

    def on_epoch_end(self) -> None:
        """Called after all batches of an epoch were used."""

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))


# In a worker process: what it takes batches from, by uid. Nothing else writes it.
_SERVED: dict[int, Any] = {}


def init_pool(seqs: dict[int, Any]) -> None:
    """Prepare a worker process for `get_index`."""
    _SERVED.update(seqs)


def get_index(uid: int, i: int) -> Any:
    """Batch `i` of the sequence known as `uid` in this process."""
    return _SERVED[uid][i]


def init_pool_generator(gens: dict[int, Any], random_seed: int | None = None) -> None:
    """Prepare a worker process for `next_sample`; with a seed, each process draws other random numbers."""
    import multiprocessing

    _SERVED.update(gens)
    if random_seed is not None:
        number = multiprocessing.current_process()._identity
        np.random.seed(random_seed + (number[0] if number else 0))


def next_sample(uid: int) -> Any:
    """The next batch of the generator known as `uid` in this process."""
    return next(_SERVED[uid])


class SequenceEnqueuer:
    """Prepares batches in the background, a bounded number ahead of the consumer. Base class of the two below.

    `start` begins, `get` gives an iterator over the batches, `stop` ends the workers. Nothing but the consumer moves
    the queue: it submits new work whenever it takes a batch. So there is no thread that could wait for it.

    # Arguments
        sequence: a `Sequence` or generator.
        use_multiprocessing: whether the workers are processes instead of threads.
    """

    def __init__(self, sequence: Any, use_multiprocessing: bool = False) -> None:
        self.sequence = sequence
        self.use_multiprocessing = use_multiprocessing
        self.uid = id(self)
        self.workers = 0
        self.max_queue_size = 0
        self.limit: int | None = None  # batches to prepare at most; None: as long as they are asked for
        self._running = False
        self._pool: ThreadPool | ProcessPool | None = None
        self._pending: deque[Future[Any]] = deque()

    def is_running(self) -> bool:
        return self._running

    def start(self, workers: int = 1, max_queue_size: int = 10) -> None:
        """Begin to prepare batches.

        # Arguments
            workers: number of threads or processes.
            max_queue_size: batches that may be prepared or under way before they are asked for.
        """
        self.stop()
        self.workers = max(1, workers)
        self.max_queue_size = max(1, max_queue_size)
        self._running = True
        self._begin()
        self._fill()

    def stop(self, timeout: float | None = None) -> None:
        """Drop prepared batches and wait until the workers have ended.

        After `timeout` seconds worker processes are killed; threads cannot be, and end with the batch they are at.
        """
        self._running = False
        for future in self._pending:
            future.cancel()
        self._pending.clear()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
            pool.join(timeout)

    def get(self) -> Iterator[Any]:
        """An iterator over the batches, in order. It raises what the user's code raised."""
        return _Batches(self)

    def end_epoch(self) -> None:
        """Where all batches of an epoch were taken, tell the data so and go on to the next one."""

    def _begin(self) -> None:
        """Prepare for the first batch."""

    def _submit(self) -> Future[Any] | None:
        """Have a worker prepare the next batch; None where there is none for now."""
        return None

    def _fill(self) -> None:
        while len(self._pending) < self.max_queue_size and self.limit != 0:
            future = self._submit()
            if future is None:
                return
            self._pending.append(future)
            if self.limit is not None:
                self.limit -= 1

    def _next(self) -> Any:
        while self._running:
            if not self._pending:
                self.end_epoch()
            if not self._pending:
                break
            future = self._pending.popleft()
            self._fill()
            try:
                batch = future.result()
            except CancelledError:  # another thread stopped the enqueuer
                break
            except StopIteration as end:
                self._exhausted(end)
                continue
            if batch is not None:
                return batch
        raise StopIteration

    def _exhausted(self, end: StopIteration) -> None:
        """The user's code raised StopIteration."""
        raise end

    def _threads(self) -> ThreadPool:
        pool = ThreadPool(self.workers)
        weakref.finalize(self, pool.close)  # for those who forget `stop`
        return pool


class _Batches(Iterator[Any]):
    """What `get` returns. (A generator could not pass on a StopIteration of the user's.)"""

    def __init__(self, enqueuer: SequenceEnqueuer) -> None:
        self._enqueuer = enqueuer

    def __next__(self) -> Any:
        try:
            return self._enqueuer._next()
        except Exception:
            self._enqueuer.stop(timeout=1.0)
            raise


class OrderedEnqueuer(SequenceEnqueuer):
    """Prepares the batches of a `Sequence`, each once per epoch, in order; epochs follow each other without end.

    Processes are forked anew for each epoch, so that they see what `on_epoch_end` changed.

    # Arguments
        sequence: a `Sequence`.
        use_multiprocessing: whether the workers are processes instead of threads.
        shuffle: whether to take the batches of each epoch in another order.
    """

    def __init__(self, sequence: Any, use_multiprocessing: bool = False, shuffle: bool = False) -> None:
        super().__init__(sequence, use_multiprocessing)
        self.shuffle = shuffle
        self._order: deque[int] = deque()

    def _begin(self) -> None:
        order = np.arange(len(self.sequence))
        if self.shuffle:
            np.random.shuffle(order)
        self._order = deque(order.tolist())

    def _submit(self) -> Future[Any] | None:
        if not self._order:
            return None
        if self._pool is None:
            if self.use_multiprocessing:
                self._pool = ProcessPool(self.workers, init_pool, {self.uid: self.sequence})
            else:
                self._pool = self._threads()
        i = self._order.popleft()
        if self.use_multiprocessing:
            return self._pool.submit(get_index, self.uid, i)
        return self._pool.submit(self.sequence.__getitem__, i)

    def end_epoch(self) -> None:
        if not self._running or self._pending or self._order:
            return
        if self.use_multiprocessing and self._pool is not None:
            self._pool.close()
            self._pool.join()
            self._pool = None
        self.sequence.on_epoch_end()
        self._begin()
        self._fill()


class GeneratorEnqueuer(SequenceEnqueuer):
    """Prepares batches of a generator or another iterator.

    A Python generator runs in one thread, whatever the number of workers, because it cannot run in two at once; other
    iterators must be ready to be called from several threads. Each worker process has a copy of the generator, so
    with several of them every batch may come several times.

    # Arguments
        sequence: a generator.
        use_multiprocessing: whether the workers are processes instead of threads.
        wait_time: has no effect any more.
        random_seed: seeds numpy's random numbers in worker processes, in each differently.
    """

    def __init__(
        self,
        sequence: Any,
        use_multiprocessing: bool = False,
        wait_time: float | None = None,
        random_seed: int | None = None,
    ) -> None:
        super().__init__(sequence, use_multiprocessing)
        self.random_seed = random_seed
        self._ended = False
        if wait_time is not None:
            warnings.warn("`wait_time` is not used anymore.", DeprecationWarning, stacklevel=2)

    def _begin(self) -> None:
        self._ended = False
        if not self.use_multiprocessing:
            if isinstance(self.sequence, types.GeneratorType):
                self.workers = 1
            self._pool = self._threads()
        elif can_fork():
            self._pool = ProcessPool(self.workers, init_pool_generator, {self.uid: self.sequence}, self.random_seed)
        else:
            raise ValueError(
                "Using a generator with `use_multiprocessing=True` is not supported where processes cannot be forked. "
                "Instead, use a single thread or process, or several threads."
            )

    def _submit(self) -> Future[Any] | None:
        if self._ended or self._pool is None:
            return None
        if self.use_multiprocessing:
            return self._pool.submit(next_sample, self.uid)
        return self._pool.submit(next, self.sequence)

    def _exhausted(self, end: StopIteration) -> None:
        self._ended = True  # what other workers have under way is still taken


# Files


def get_file(
    fname: str,
    origin: str,
    untar: bool = False,
    md5_hash: str | None = None,
    file_hash: str | None = None,
    cache_subdir: str = "datasets",
    hash_algorithm: str = "auto",
    extract: bool = False,
    archive_format: Any = "auto",
    cache_dir: str | None = None,
) -> str:
    """The path of a file in the cache; it is downloaded if it is not there.

    With the environment variable `KGRAPH_MIRROR`, the URL of a server or the path of a folder, nothing else is asked:
    `https://host/path/file` then comes from `$KGRAPH_MIRROR/host/path/file`.

    # Arguments
        fname: name of the file in the cache, or an absolute path.
        origin: URL of the file.
        untar: the file is `fname.tar.gz`; unpack it, and return the path of `fname`.
        md5_hash: old spelling of `file_hash` with MD5.
        file_hash: expected SHA-256 or MD5 hash, in hexadecimal digits. A cached file that differs is fetched again.
        cache_subdir: folder within the cache.
        hash_algorithm: "md5", "sha256", or "auto", which goes by the hash's length.
        extract: unpack the file, if it is a tar or zip archive, beside it.
        archive_format: "auto", "tar", "zip", a list of these, or None.
        cache_dir: the cache; by default `$KERAS_HOME` or `~/.keras`, and `/tmp/.keras` where that cannot be written.

    # Raises
        ValueError: for a download that does not have the expected hash, or an archive that would write elsewhere.
        Exception: for a download that failed; it names the URL, the file and the folder where to put it.
    """
    if md5_hash is not None and file_hash is None:
        file_hash, hash_algorithm = md5_hash, "md5"
    folder = _cache_folder(cache_dir, cache_subdir)
    unpacked = os.path.join(folder, fname)
    path = unpacked + ".tar.gz" if untar else unpacked
    wanted = not os.path.exists(path)
    if not wanted and file_hash is not None and not validate_file(path, file_hash, hash_algorithm):
        print(
            "A local file was found, but it seems to be incomplete or outdated because the "
            f"{hash_algorithm} file hash does not match the original value of {file_hash} so we will re-download the "
            "data."
        )
        wanted = True
    if wanted:
        print("Downloading data from", origin)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _download(_mirrored(origin), path, file_hash, hash_algorithm)
    if untar:
        if not os.path.exists(unpacked):
            extract_archive(path, folder, "tar")
        return unpacked
    if extract:
        extract_archive(path, folder, archive_format)
    return path


def _cache_folder(cache_dir: str | None, subdir: str) -> str:
    if cache_dir is None:
        cache_dir = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
    base = os.path.expanduser(cache_dir)
    try:
        os.makedirs(base, exist_ok=True)
    except OSError:
        pass
    if not os.access(base, os.W_OK):
        base = os.path.join("/tmp", ".keras")
    folder = os.path.join(base, subdir)
    os.makedirs(folder, exist_ok=True)
    return folder


def _mirrored(origin: str) -> str:
    """Where to fetch a URL from."""
    from urllib.parse import urlsplit
    from urllib.request import pathname2url

    mirror = os.environ.get("KGRAPH_MIRROR")
    if not mirror:
        return origin
    if "://" not in mirror:
        mirror = "file://" + pathname2url(os.path.abspath(os.path.expanduser(mirror)))
    parts = urlsplit(origin)
    host = parts.hostname or ""
    return f"{mirror.rstrip('/')}/{host}{parts.path}" + (f"?{parts.query}" if parts.query else "")


def _download(url: str, path: str, file_hash: str | None, algorithm: str) -> None:
    """Fetch into a temporary file that takes the path's name once it is whole and right."""
    temporary = os.path.join(os.path.dirname(path), f".downloading-{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as file:
            _fetch(url, path, file.write)
        if file_hash is not None and not validate_file(temporary, file_hash, algorithm):
            found = _hash_file(temporary, _algorithm(file_hash, algorithm))
            raise ValueError(f"The file at {url} does not have the expected hash {file_hash}: its hash is {found}")
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def _fetch(url: str, path: str, write: Callable[[bytes], Any]) -> None:
    from urllib.error import HTTPError, URLError
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=60) as response:
            length = response.headers.get("Content-Length")
            total = int(length) if length else None
            bar = Progbar(total)
            blocks = received = 0
            while block := response.read(8192):
                write(block)
                blocks += 1
                received += len(block)
                bar.update(blocks * 8192)
            if total is not None and received < total:
                raise URLError(f"the connection ended after {received} of {total} bytes")
    except HTTPError as error:
        raise Exception(f"URL fetch failure on {url} : {error.code} -- {error.msg}. {_by_hand(path)}") from error
    except (URLError, ConnectionError, TimeoutError) as error:
        reason = getattr(error, "reason", error)
        raise Exception(f"URL fetch failure on {url} : {error.errno} -- {reason}. {_by_hand(path)}") from error


def _by_hand(path: str) -> str:
    folder, name = os.path.split(path)
    return f"If there is no network, fetch the file elsewhere and put it as '{name}' into {folder}"


def _algorithm(file_hash: str, algorithm: str) -> str:
    if algorithm not in ("auto", "md5", "sha256"):
        raise ValueError(f"`hash_algorithm` must be 'auto', 'md5' or 'sha256'. Received: {algorithm!r}")
    if algorithm == "auto":
        return "sha256" if len(file_hash) == 64 else "md5"
    return algorithm


def _hash_file(fpath: str, algorithm: str = "sha256", chunk_size: int = 65535) -> str:
    hasher = hashlib.new(algorithm, usedforsecurity=algorithm != "md5")
    with open(fpath, "rb") as file:
        while chunk := file.read(chunk_size):
            hasher.update(chunk)
    return hasher.hexdigest()


def validate_file(fpath: str, file_hash: str, algorithm: str = "auto", chunk_size: int = 65535) -> bool:
    """Whether a file has this SHA-256 or MD5 hash; `algorithm` "auto" goes by the hash's length."""
    return _hash_file(fpath, _algorithm(file_hash, algorithm), chunk_size) == str(file_hash).lower()
