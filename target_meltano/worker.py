"""The second thread: it alone talks to the database, one thing after the other, in order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
AHEAD = 3  # batches that wait while one is written; more only costs memory


class Worker:
    """Runs functions in one thread, in order, and none after one has failed."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="database")
        self._places = threading.BoundedSemaphore(AHEAD)
        self._failed: Exception | None = None

    def submit(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Let *function* run when its turn comes; wait here while too much is waiting already.

        Raises:
            Exception: that of a function that came before and failed.
        """
        self._places.acquire()
        future = self._pool.submit(self._run, function, arguments)
        future.add_done_callback(lambda _: self._places.release())
        self.check()

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

    def _run(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        try:
            self._checked(function, arguments)
        except Exception as error:
            self._failed = error

    def _checked(self, function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        self.check()
        return function(*arguments)
