"""The second thread, which alone talks to the database, in order; and how a signal reaches the first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
WAITING_BYTES = 32 << 20  # of batches; with less, a flush of many small ones stops the decoding


class Worker:
    """Runs functions in one thread, in order, and none after one has failed."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="database")
        self._changed = threading.Condition()
        self._waiting = 0  # bytes
        self._failed: Exception | None = None

    def submit(self, function: Callable[..., Any], *arguments: Any, size: int = 0) -> None:
        """Let *function* run when its turn comes; wait here while too many bytes wait already.

        *size* is how many bytes it works on.

        Raises:
            Exception: that of a function that came before and failed.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting or self._waiting + size <= WAITING_BYTES)
            self._waiting += size
        self.check()
        self._pool.submit(self._run, function, arguments, size)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run *function* after all that was submitted; return what it returns, or raise what it raises."""
        future: Future[T] = self._pool.submit(self._checked, function, arguments)
        return future.result()

    def check(self) -> None:
        """Raise what has failed so far, if anything has."""
        if self._failed:
            raise self._failed

    def stop(self) -> None:
        """Let the thread end; what still waits is not run."""
        self._failed = self._failed or RuntimeError("the worker was stopped")
        self._pool.shutdown()

    def _run(self, function: Callable[..., Any], arguments: tuple[Any, ...], size: int) -> None:
        try:
            self._checked(function, arguments)
        except Exception as error:
            self._failed = error
        finally:
            with self._changed:
                self._waiting -= size
                self._changed.notify_all()

    def _checked(self, function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        self.check()
        return function(*arguments)


@dataclass
class Signals:
    """How a signal reaches the loop: its number, and a descriptor that ends the waiting."""

    received: int | None = None
    is_under_way: bool = False  # before that there is nothing to be committed, and a signal ends the process at once
    wakeup: int = -1
