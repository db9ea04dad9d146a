"""Workers that prepare batches; files that are downloaded, checked and unpacked."""

from __future__ import annotations

import gc
import hashlib
import io
import multiprocessing
import os
import signal
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kgraph.utils import GeneratorEnqueuer, OrderedEnqueuer, Sequence, get_file
from kgraph.utils.archives import extract_archive
from kgraph.utils.data_utils import validate_file
from kgraph.utils.worker_pools import ProcessPool, ThreadPool

forks = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
KINDS = [False, pytest.param(True, marks=forks)]


@pytest.fixture(autouse=True)
def nothing_hangs_or_stays() -> Iterator[None]:
    """Half a minute for each test, and no worker left over."""

    def late(*args: Any) -> None:
        raise TimeoutError("a worker hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    gc.collect()
    until(lambda: not workers())


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline, "waited for 5 seconds"
        time.sleep(0.01)


def workers() -> list[Any]:
    threads = [t for t in threading.enumerate() if t.name.startswith("batches_")]
    return [*threads, *multiprocessing.active_children()]


class Numbers(Sequence):
    """Batch `i` of epoch `e` is `i * factor` with factor `e + 1`; odd batches take longer."""

    def __init__(self, length: int, delay: float = 0.0) -> None:
        self.length = length
        self.delay = delay
        self.factor = 1
        self.started = 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> np.ndarray:
        self.started += 1
        time.sleep(self.delay * (index % 2))
        return np.full((3, 2), index * self.factor)

    def on_epoch_end(self) -> None:
        self.factor += 1


def take(batches: Iterator[Any], count: int) -> list[int]:
    return [int(next(batches).flat[0]) for _ in range(count)]


# Sequences


@pytest.mark.parametrize("processes", KINDS)
@pytest.mark.parametrize(("count", "ahead"), [(1, 1), (3, 10), (4, 2)])
def test_ordered(processes: bool, count: int, ahead: int) -> None:
    enqueuer = OrderedEnqueuer(Numbers(7, delay=0.005), use_multiprocessing=processes)
    assert not enqueuer.is_running()
    enqueuer.start(count, ahead)
    assert enqueuer.is_running()
    batches = enqueuer.get()
    assert take(batches, 7) == [0, 1, 2, 3, 4, 5, 6]
    assert take(batches, 9) == [0, 2, 4, 6, 8, 10, 12, 0, 3]  # `on_epoch_end` was seen
    enqueuer.stop()
    assert not enqueuer.is_running() and not workers()
    with pytest.raises(StopIteration):
        next(batches)


def test_shuffle_takes_each_batch_once_and_obeys_the_seed() -> None:
    def epochs(shuffle: bool) -> list[list[int]]:
        np.random.seed(4)
        enqueuer = OrderedEnqueuer(Numbers(20), shuffle=shuffle)
        enqueuer.start(2, 5)
        batches = enqueuer.get()
        found = [take(batches, 20) for _ in range(2)]
        enqueuer.stop()
        return found

    first, second = epochs(True)
    assert first != sorted(first) and sorted(first) == list(range(20))
    assert sorted(second) == list(range(0, 40, 2)) and [2 * i for i in first] != second
    assert epochs(True) == [first, second]


@pytest.mark.parametrize("count", [1, 4])
def test_queue_is_bounded(count: int) -> None:
    numbers = Numbers(100)
    enqueuer = OrderedEnqueuer(numbers)
    enqueuer.start(count, max_queue_size=3)
    batches = enqueuer.get()
    for taken in range(1, 6):
        next(batches)
        time.sleep(0.02)
        assert numbers.started <= taken + 3
    until(lambda: numbers.started == 8)
    enqueuer.stop()


@pytest.mark.parametrize("processes", KINDS)
def test_two_at_once(processes: bool) -> None:
    one, two = OrderedEnqueuer(Numbers(4), processes), OrderedEnqueuer(Numbers(9), processes)
    one.start(2, 3)
    two.start(2, 3)
    a, b = one.get(), two.get()
    assert [take(a, 1) + take(b, 1) for _ in range(4)] == [[i, i] for i in range(4)]
    two.stop()
    assert take(a, 2) == [0, 2]
    one.stop()


def test_a_forgotten_enqueuer_ends_its_workers() -> None:
    enqueuer = OrderedEnqueuer(Numbers(4))
    enqueuer.start(2, 3)
    take(enqueuer.get(), 2)
    del enqueuer


def test_sequence() -> None:
    assert [int(batch[0, 0]) for batch in Numbers(3)] == [0, 1, 2]
    with pytest.raises(NotImplementedError, match="__len__"):
        len(Sequence())
    with pytest.raises(NotImplementedError, match="__getitem__"):
        Sequence()[0]


# Errors


class NeedsTwo(Exception):
    """Cannot be unpickled."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


class Faulty(Numbers):
    def __init__(self, error: Exception) -> None:
        super().__init__(8)
        self.error = error

    def __getitem__(self, index: int) -> np.ndarray:
        if index == 3:
            raise self.error
        return super().__getitem__(index)


@pytest.mark.parametrize("processes", KINDS)
@pytest.mark.parametrize("error", [KeyError("x"), StopIteration(5), IndexError(3, "is not here"), ValueError()])
def test_error_in_sequence(processes: bool, error: Exception) -> None:
    enqueuer = OrderedEnqueuer(Faulty(error), processes)
    enqueuer.start(3, 10)
    batches = enqueuer.get()
    assert take(batches, 3) == [0, 1, 2]
    with pytest.raises(type(error)) as caught:
        next(batches)
    assert caught.value.args == error.args
    assert not enqueuer.is_running() and not workers()


@forks
def test_error_that_cannot_travel() -> None:
    enqueuer = OrderedEnqueuer(Faulty(NeedsTwo(1, 2)), True)
    enqueuer.start(1, 10)
    batches = enqueuer.get()
    take(batches, 3)
    with pytest.raises(RuntimeError, match="NeedsTwo in a worker process: 1 and 2(.|\n)*Traceback"):
        next(batches)


class Deadly(Numbers):
    def __getitem__(self, index: int) -> np.ndarray:
        if index == 2:
            os._exit(9)
        return super().__getitem__(index)


@forks
def test_process_that_dies_is_an_error() -> None:
    enqueuer = OrderedEnqueuer(Deadly(8), True)
    enqueuer.start(2, 4)
    with pytest.raises(RuntimeError, match="terminated abruptly"):
        take(enqueuer.get(), 8)


class Asleep:
    def wait(self) -> None:
        time.sleep(60)

    def set(self) -> None:
        """Nobody wakes it."""


class Stuck(Numbers):
    def __init__(self, release: Any) -> None:
        super().__init__(3)
        self.release = release

    def __getitem__(self, index: int) -> np.ndarray:
        batch = super().__getitem__(index)
        if index == 1:
            self.release.wait()
        return batch


@pytest.mark.parametrize("processes", KINDS)
def test_stop_does_not_wait_for_ever(processes: bool) -> None:
    release = Asleep() if processes else threading.Event()
    enqueuer = OrderedEnqueuer(Stuck(release), processes)
    enqueuer.start(2, 4)
    assert take(enqueuer.get(), 1) == [0]
    start = time.monotonic()
    enqueuer.stop(timeout=0.2)
    assert time.monotonic() - start < 3
    release.set()


def test_stop_from_another_thread_ends_the_iteration() -> None:
    release = threading.Event()
    numbers = Stuck(release)
    enqueuer = OrderedEnqueuer(numbers)
    enqueuer.start(1, 4)
    batches = enqueuer.get()
    next(batches)

    def stop() -> None:
        until(lambda: numbers.started == 2)
        time.sleep(0.05)
        enqueuer.stop(timeout=0.01)
        release.set()

    other = threading.Thread(target=stop)
    other.start()
    assert take(batches, 1) == [1]  # the one under way
    with pytest.raises(StopIteration):
        next(batches)
    other.join()


# Generators


def count_up(length: int | None = None, error: Exception | None = None) -> Iterator[np.ndarray]:
    i = 0
    while length is None or i < length:
        yield np.full((2, 2), i)
        i += 1
    if error is not None:
        raise error


@pytest.mark.parametrize("count", [1, 4])
def test_generator_in_threads(count: int) -> None:
    enqueuer = GeneratorEnqueuer(count_up())
    enqueuer.start(count, 10)
    assert take(enqueuer.get(), 50) == list(range(50))
    enqueuer.stop()


@pytest.mark.parametrize(("processes", "count"), [(False, 3), pytest.param(True, 1, marks=forks)])
def test_finite_generator(processes: bool, count: int) -> None:
    enqueuer = GeneratorEnqueuer(count_up(23), processes)
    enqueuer.start(count, 10)
    assert [int(batch[0, 0]) for batch in enqueuer.get()] == list(range(23))
    assert not enqueuer.is_running()


@forks
def test_generator_in_processes_comes_once_per_process() -> None:
    enqueuer = GeneratorEnqueuer(count_up(5), True)
    enqueuer.start(3, 4)
    found = [int(batch[0, 0]) for batch in enqueuer.get()]
    assert set(found) <= set(range(5)) and max(found.count(i) for i in found) <= 3


@pytest.mark.parametrize("processes", KINDS)
def test_error_in_generator(processes: bool) -> None:
    enqueuer = GeneratorEnqueuer(count_up(4, OSError(2, "no such image")), processes)
    enqueuer.start(1, 10)
    batches = enqueuer.get()
    assert take(batches, 4) == [0, 1, 2, 3]
    with pytest.raises(OSError, match="no such image"):
        next(batches)


class Locked:
    """An iterator that may be called from several threads."""

    def __init__(self) -> None:
        self.count = 0
        self.lock = threading.Lock()

    def __iter__(self) -> Locked:
        return self

    def __next__(self) -> np.ndarray | None:
        with self.lock:
            self.count += 1
            count = self.count
        time.sleep(0.002)
        return None if count % 5 == 0 else np.full((1,), count)


def test_iterator_in_several_threads() -> None:
    enqueuer = GeneratorEnqueuer(Locked())
    enqueuer.start(4, 8)
    found = take(enqueuer.get(), 40)
    assert len(set(found)) == 40 and not any(i % 5 == 0 for i in found)  # None is skipped
    enqueuer.stop()


@forks
def test_seeds_of_processes() -> None:
    def draws() -> Iterator[float]:
        while True:
            yield np.random.random(1)

    def first_of_each(seed: int | None) -> float:
        np.random.seed(0)
        enqueuer = GeneratorEnqueuer(draws(), True, random_seed=seed)
        enqueuer.start(1, 1)
        value = float(next(enqueuer.get())[0])
        enqueuer.stop()
        return value

    assert first_of_each(None) == first_of_each(None)
    assert first_of_each(1) != first_of_each(None)
    with pytest.warns(DeprecationWarning, match="wait_time"):
        GeneratorEnqueuer(count_up(), wait_time=0.1)


# Pools


def test_pools_run_calls_and_end() -> None:
    pools: list[Any] = [ThreadPool(2)]
    if "fork" in multiprocessing.get_all_start_methods():
        pools.append(ProcessPool(2, int))
    for pool in pools:
        futures = [pool.submit(pow, i, 2) for i in range(10)]
        assert [f.result() for f in futures] == [i * i for i in range(10)]
        with pytest.raises(ZeroDivisionError):
            pool.submit(divmod, 1, 0).result()
        pool.close()
        pool.join()
    assert not workers()


# Files

CONTENT = bytes(range(256)) * 100


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the network, and an empty cache."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KGRAPH_MIRROR", str(tmp_path / "web"))
    host = tmp_path / "web" / "data.example" / "sets"
    host.mkdir(parents=True)
    (host / "a.bin").write_bytes(CONTENT)
    return host


URL = "https://data.example/sets/"


def test_file_is_fetched_once(web: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = get_file("a.bin", URL + "a.bin")
    assert path == str(tmp_path / "cache" / "datasets" / "a.bin") and Path(path).read_bytes() == CONTENT
    printed = capsys.readouterr().out
    assert printed.startswith(f"Downloading data from {URL}a.bin\n") and "32768/25600 [====" in printed
    (web / "a.bin").unlink()
    assert get_file("a.bin", URL + "a.bin") == path and capsys.readouterr().out == ""
    assert os.listdir(os.path.dirname(path)) == ["a.bin"]


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_hashes(algorithm: str, web: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right = hashlib.new(algorithm, CONTENT).hexdigest()
    path = get_file("a.bin", URL + "a.bin", file_hash=right)
    assert validate_file(path, right) and validate_file(path, right.upper(), algorithm, chunk_size=7)
    assert not validate_file(path, "0" * len(right))
    Path(path).write_bytes(CONTENT[:-1])
    capsys.readouterr()
    if algorithm == "md5":
        get_file("a.bin", URL + "a.bin", md5_hash=right)
    else:
        get_file("a.bin", URL + "a.bin", file_hash=right, hash_algorithm="sha256")
    printed = capsys.readouterr().out
    assert printed.startswith(
        "A local file was found, but it seems to be incomplete or outdated because the "
        f"{algorithm} file hash does not match the original value of {right} so we will re-download the data.\n"
    )
    assert Path(path).read_bytes() == CONTENT


def test_wrong_download_leaves_what_was_there(web: Path) -> None:
    path = Path(get_file("a.bin", URL + "a.bin"))
    with pytest.raises(ValueError, match="does not have the expected hash"):
        get_file("a.bin", URL + "a.bin", file_hash="0" * 64)
    assert path.read_bytes() == CONTENT and os.listdir(path.parent) == ["a.bin"]
    with pytest.raises(ValueError, match="hash_algorithm"):
        get_file("a.bin", URL + "a.bin", file_hash="0", hash_algorithm="crc")


def test_failed_download(web: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="URL fetch failure on .*/missing.bin"):
        get_file("b.bin", URL + "missing.bin", cache_subdir="other")
    assert os.listdir(tmp_path / "cache" / "other") == []


def test_where_files_go(web: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_file("x", URL + "a.bin", cache_subdir="s", cache_dir=str(tmp_path / "c")) == str(tmp_path / "c/s/x")
    absolute = str(tmp_path / "elsewhere" / "y")
    assert get_file(absolute, URL + "a.bin") == absolute and Path(absolute).exists()
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert get_file("z", URL + "a.bin") == str(tmp_path / "home" / ".keras" / "datasets" / "z")


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_untar(web: Path) -> None:
    tar_of(
        web / "set.tar.gz",
        (member("set", tarfile.DIRTYPE), b""),
        (member("./set/one"), b"1"),
        (member("set/deep/two"), b"22"),
        (member("set/same", tarfile.SYMTYPE, "deep/two"), b""),
    )
    path = Path(get_file("set", URL + "set.tar.gz", untar=True))
    assert (path / "one").read_bytes() == b"1" and (path / "deep" / "two").read_bytes() == b"22"
    assert (path / "same").read_bytes() == b"22" and not (path / "same").is_symlink()
    assert sorted(os.listdir(path.parent)) == ["set", "set.tar.gz"]


def test_extract_fills_up_what_is_there(web: Path) -> None:
    with zipfile.ZipFile(web / "set.zip", "w") as archive:
        archive.writestr("set/one", "1")
        archive.writestr("set/empty/", "")
    path = get_file("set.zip", URL + "set.zip", extract=True)
    folder = Path(path).parent / "set"
    (folder / "mine").write_text("kept")
    (folder / "one").write_text("changed")
    assert get_file("set.zip", URL + "set.zip", extract=True) == path
    assert {p.name: p.read_text() for p in folder.iterdir() if p.is_file()} == {"one": "1", "mine": "kept"}
    assert (folder / "empty").is_dir()


EVIL = [
    member("../out"),
    member("a/../../out"),
    member("/tmp/kgraph_out"),
    member("set", tarfile.SYMTYPE, "/etc/passwd"),
    member("set", tarfile.SYMTYPE, "../../out"),
    member("set", tarfile.LNKTYPE, "/etc/passwd"),
    member("set", tarfile.SYMTYPE, "set"),
    member("set", tarfile.FIFOTYPE),
    member("set", tarfile.CHRTYPE),
    member(".."),
]


@pytest.mark.parametrize("info", EVIL, ids=lambda info: f"{info.name}-{info.type.decode()}")
def test_archives_stay_in_their_folder(info: tarfile.TarInfo, tmp_path: Path) -> None:
    target = tmp_path / "target"
    tar_of(tmp_path / "evil.tar.gz", (member("fine"), b"1"), (info, b""), (member("set/x"), b"2"))
    with pytest.raises(ValueError, match="evil.tar.gz' holds"):
        extract_archive(str(tmp_path / "evil.tar.gz"), str(target))
    assert os.listdir(target) == [] and sorted(os.listdir(tmp_path)) == ["evil.tar.gz", "target"]


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../../out"])
def test_zip_stays_in_its_folder(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(name, "x")
    with pytest.raises(ValueError, match="outside of its folder"):
        extract_archive(str(tmp_path / "evil.zip"), str(tmp_path / "target"), "zip")
    assert sorted(os.listdir(tmp_path)) == ["evil.zip", "target"]


def test_formats_of_archives(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"no archive")
    assert not extract_archive(str(plain), str(tmp_path)) and not extract_archive(str(plain), str(tmp_path), None)
    with pytest.raises(ValueError, match="archive_format"):
        extract_archive(str(plain), str(tmp_path), "rar")
