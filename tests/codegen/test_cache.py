"""The kernel cache on disk: what a second process needs, and what damaged, foreign or missing entries do."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from codegen.cache import KernelCache, cache_directory
from codegen.loader import load_object
from codegen.source import Kernel, KernelError, fingerprint, generator_version

ROOT = Path(__file__).parents[2]


def kernel(number: int = 7, comment: str = "%0 = number()") -> Kernel:
    return Kernel(f"number_{number}", f"def kernel(args, lo, hi, worker):\n    slots(args)[0] = {number}\n", comment)


def run(code: str, home: Path) -> list[str]:
    """Lines that a fresh process prints."""
    env = os.environ | {"KGRAPH_HOME": str(home), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
    ).stdout.split()


SCRIPT = """
import ctypes, sys
import numpy as np
from codegen.cache import KernelCache
from codegen.source import Kernel
from codegen.cpu.call import c_function
cache = KernelCache()
source = '''
def kernel(args, lo, hi, worker):
    a = slots(args)
    x, y = f32p(a[0]), f64p(a[1])
    for i in range(lo, hi):
        store(x, i, exp(load(x, i)) + maximum(load(x, i), f32(0)))
        y[i] = tanh(erf(y[i])) + power(y[i], y[i])
'''
function = c_function(cache.get(Kernel("mixed", source)))
x, y = np.ones(5, "f"), np.ones(5)
row = np.array([x.ctypes.data, y.ctypes.data], "i8")
function(row.ctypes.data, 0, 5, 0)
print(cache.compiled, cache.loaded, "numba" in sys.modules, round(float(x[4]), 4), round(float(y[4]), 4))
"""


def test_second_process_compiles_nothing_and_needs_no_numba(tmp_path: Path) -> None:
    assert run(SCRIPT, tmp_path) == ["1", "0", "True", "3.7183", "1.6872"]
    assert run(SCRIPT, tmp_path) == ["0", "1", "False", "3.7183", "1.6872"]


def test_entry_is_source_object_and_manifest(tmp_path: Path) -> None:
    cache = KernelCache(tmp_path / "cache")
    k = kernel()
    cache.get(k)
    assert sorted(f.name for f in (tmp_path / "cache").iterdir()) == sorted(k.key + s for s in (".py", ".o", ".json"))
    text = (tmp_path / "cache" / f"{k.key}.py").read_text()
    assert text.startswith("# kernel number_7\n# %0 = number()\n") and text.endswith(k.source)
    manifest = json.loads((tmp_path / "cache" / f"{k.key}.json").read_text())
    assert manifest["symbol"] == k.symbol and manifest["name"] == "number_7" and manifest["made_by"] == fingerprint()
    assert (cache.compiled, cache.loaded) == (1, 0) and 0 < cache.compile_seconds < 60


def test_same_kernel_is_compiled_once(tmp_path: Path) -> None:
    cache = KernelCache(tmp_path)
    assert cache.get(kernel()) == cache.get(kernel(comment="another layer"))
    again = KernelCache(tmp_path)
    again.get(kernel())
    assert (cache.compiled, again.compiled, again.loaded) == (1, 0, 1)


def test_key_covers_what_the_code_depends_on() -> None:
    k = kernel()
    others = [
        kernel(8),
        Kernel(k.name, k.source, fastmath=True),
        Kernel(k.name, k.source, params=5),
        Kernel(k.name, k.source, namespace=(("ukr", ("microkernel", 6)),)),
    ]
    assert len({o.key for o in [k, *others]}) == 5
    assert k.key == Kernel("other_name", k.source, comment="other").key
    assert generator_version() in fingerprint() and "numba=" in fingerprint() and "cpu=" in fingerprint()


@pytest.mark.parametrize("suffix", [".o", ".json"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "empty"])
def test_damaged_entry_is_compiled_again(tmp_path: Path, suffix: str, damage: str) -> None:
    k = kernel()
    KernelCache(tmp_path).get(k)
    file = tmp_path / f"{k.key}{suffix}"
    content = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    else:
        if damage == "flipped":
            content[len(content) // 2] ^= 255
        file.write_bytes({"truncated": content[: len(content) // 2], "flipped": content, "empty": b""}[damage])
    cache = KernelCache(tmp_path)
    cache.get(k)
    if (suffix, damage) == (".json", "flipped"):  # may hit a part that does not matter
        assert cache.compiled + cache.loaded == 1
        return
    assert (cache.compiled, cache.loaded) == (1, 0)
    healed = KernelCache(tmp_path)
    healed.get(k)
    assert (healed.compiled, healed.loaded) == (0, 1)


def test_directory_is_private(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    os.chmod(tmp_path / "open", 0o777)
    for name in ("new", "open"):
        cache = KernelCache(tmp_path / name)
        cache.get(kernel())
        assert cache.directory == tmp_path / name
        assert stat.S_IMODE(os.stat(cache.directory).st_mode) == 0o700


def test_unusable_directory_gives_a_private_temporary_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = KernelCache(tmp_path / "file")
    cache.get(kernel())
    assert tmp_path not in cache.directory.parents
    assert stat.S_IMODE(os.stat(cache.directory).st_mode) == 0o700


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away")
def test_what_others_own_is_not_loaded(tmp_path: Path) -> None:
    k = kernel()
    KernelCache(tmp_path / "cache").get(k)
    os.chown(tmp_path / "cache" / f"{k.key}.o", 12345, 12345)
    cache = KernelCache(tmp_path / "cache")
    cache.get(k)
    assert (cache.compiled, cache.loaded) == (1, 0)
    os.chown(tmp_path / "cache", 12345, 12345)
    assert KernelCache(tmp_path / "cache").directory != tmp_path / "cache"


def test_links_are_not_followed(tmp_path: Path) -> None:
    k = kernel()
    KernelCache(tmp_path / "cache").get(k)
    file = tmp_path / "cache" / f"{k.key}.o"
    file.rename(tmp_path / "elsewhere.o")
    file.symlink_to(tmp_path / "elsewhere.o")
    cache = KernelCache(tmp_path / "cache")
    cache.get(k)
    assert (cache.compiled, cache.loaded) == (1, 0)


def test_no_temporary_files_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    cache = KernelCache(tmp_path)
    assert cache.get(kernel())  # works without the disk
    assert list(tmp_path.iterdir()) == []


def test_oldest_entries_go_first(tmp_path: Path) -> None:
    cache = KernelCache(tmp_path)
    for number in (1, 2):
        cache.get(kernel(number))
        for file in tmp_path.glob(f"{kernel(number).key}.*"):
            os.utime(file, (number, number))
    used = sum(f.stat().st_size for f in tmp_path.iterdir())
    cache.capacity = used + 10
    cache.get(kernel(3))
    assert not list(tmp_path.glob(f"{kernel(1).key}.*"))
    assert all(len(list(tmp_path.glob(f"{kernel(n).key}.*"))) == 3 for n in (2, 3))


def test_home_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KGRAPH_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "cache"
    monkeypatch.delenv("KGRAPH_HOME")
    assert cache_directory() == Path.home() / ".kgraph" / "cache"


def test_unknown_symbols_are_refused_before_llvm_ends_the_process() -> None:
    with pytest.raises(KernelError, match="no_such_function"):
        load_object(b"", "kgraph_test_symbol", ("no_such_function",))
