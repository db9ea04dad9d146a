"""Threads and processes that prepare batches, behind one small interface.

`data_utils.py` submits calls here and reads their `Future`s in order. Both kinds end when they are told to, and neither
keeps a program from ending: a worker may hang in a user's code.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class ThreadPool:
    """Daemon threads that take calls in order. (The standard pool's threads are waited for when Python exits.)"""

    def __init__(self, workers: int) -> None:
        self._calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=_serve, args=(self._calls,), name=f"batches_{i + 1}", daemon=True)
            for i in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, call: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._calls.put((future, call, args))
        return future

    def close(self) -> None:
        """Tell the threads to end after the calls that were submitted and not cancelled."""
        for _ in self._threads:
            self._calls.put(None)

    def join(self, timeout: float | None = None) -> None:
        """Wait until the threads have ended, or for `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(None if end is None else max(0.0, end - time.monotonic()))


def _serve(calls: queue.SimpleQueue[Any]) -> None:
    while (item := calls.get()) is not None:
        future, call, args = item
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(call(*args))
        except BaseException as error:  # whatever it is, it belongs to who waits for the result
            future.set_exception(error)
        del item, future, call, args  # a waiting thread keeps no batch alive


class ProcessPool:
    """Forked processes that take calls in order. A process that dies makes the waiting calls fail, not hang.

    Each runs `prepare(*args)` first. Where the system cannot fork, `prepare` and `args` are pickled.
    """

    def __init__(self, workers: int, prepare: Callable[..., Any], *args: Any) -> None:
        from concurrent.futures import ProcessPoolExecutor

        context = multiprocessing.get_context("fork" if can_fork() else None)
        self._executor = ProcessPoolExecutor(workers, context, _begin_process, (prepare, *args))
        self._processes: list[Any] = []
        self._closing: threading.Thread | None = None

    def submit(self, call: Callable[..., Any], *args: Any) -> Future[Any]:
        return self._executor.submit(_call, call, *args)

    def close(self) -> None:
        """Tell the processes to end after the calls that they are at."""
        self._processes = list((getattr(self._executor, "_processes", None) or {}).values())
        # Only waiting for `shutdown` tells when they have ended, and only a thread can wait for it for a limited time.
        self._closing = threading.Thread(target=self._executor.shutdown, args=(True,), kwargs={"cancel_futures": True})
        self._closing.daemon = True
        self._closing.start()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the processes have ended; end those that have not after `timeout` seconds."""
        if self._closing is None:
            return
        self._closing.join(timeout)
        if self._closing.is_alive():
            for process in self._processes:
                process.kill()
            self._closing.join()


def can_fork() -> bool:
    return "fork" in multiprocessing.get_all_start_methods()


def _begin_process(prepare: Callable[..., Any], *args: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare(*args)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(call: Callable[..., Any], *args: Any) -> Any:
    try:
        return call(*args)
    except Exception as error:
        if _survives_pickling(error):
            raise
        text = traceback.format_exc()
        raise RuntimeError(f"{type(error).__name__} in a worker process: {error}\n\n{text}") from None


def _survives_pickling(error: Exception) -> bool:
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:
        return False
