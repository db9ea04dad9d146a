"""Starting a library's process (`worker.py`) and talking to it, one line of JSON each way."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "KGRAPH_NUM_THREADS")
_PREFIXES_LEFT_OUT = ("OPENBLAS_", "NVPL_", "KGRAPH_")  # some environments pin BLAS to the kernels of an older CPU

# In a folder of its own, so that Python finds installed packages; this tree comes first only if it is to be measured.
_START = """
import sys
root, first, module, arguments = sys.argv[1], sys.argv[2] == "first", sys.argv[3], sys.argv[4:]
sys.path.insert(0 if first else len(sys.path), root)
import importlib
importlib.import_module(module).main(*arguments)
"""


class WorkerError(Exception):
    """A library's process said that something went wrong, stopped, or took too long."""


def environment(extra: dict[str, str], threads: int) -> dict[str, str]:
    """This process' environment without settings that would favour or handicap a library."""
    kept = {k: v for k, v in os.environ.items() if k == "KGRAPH_HOME" or not k.startswith(_PREFIXES_LEFT_OUT)}
    return {**kept, **dict.fromkeys(_THREADS, str(threads)), "PYTHONWARNINGS": "ignore", **extra}


def command(python: str, module: str, *arguments: str) -> list[str]:
    """What runs `module.main(*arguments)` of this tree. kgraph is the installed one where `KGRAPH_BENCH_KGRAPH` names
    an interpreter, else this tree's."""
    first = "last" if os.environ.get("KGRAPH_BENCH_KGRAPH") == python else "first"
    return [python, "-c", _START, str(ROOT), first, module, *arguments]


class Process:
    """A library's process. `timeout` (seconds) is for each answer. A `pinned` one runs on as many cores as threads."""

    def __init__(
        self, python: str, adapter: str, threads: int, extra: dict[str, str], timeout: float, pinned: bool = True
    ) -> None:
        self._timeout = timeout
        self._errors = tempfile.TemporaryFile("w+", errors="replace")
        self._folder = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            command(python, "benchmarks.worker", adapter, str(threads), *([] if pinned else ["free"])),
            cwd=self._folder.name,
            env=environment(extra, threads),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    def ask(self, **question: Any) -> dict[str, Any]:
        """The answer to a question. Raises WorkerError."""
        assert self._process.stdin is not None and self._process.stdout is not None
        timer = threading.Timer(self._timeout, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            late = not timer.is_alive()
            timer.cancel()
        if not line:
            raise WorkerError(f"no answer within {self._timeout:g} s" if late else self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return f"stopped with exit code {code}: {lines[-1] if lines else 'no message'}"

    def close(self) -> None:
        """Ends the process; may be called again."""
        if self._errors.closed:
            return
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()
        self._folder.cleanup()
