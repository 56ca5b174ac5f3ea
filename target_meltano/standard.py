"""What a process was given as stdin, stdout and stderr: each of them may be closed, full, or have nobody at its end."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import IO, Any

from .errors import OutputError


def occupy() -> None:
    """Let nothing else take the place of a stream that is closed: a socket would get what is printed.

    Python has None for such a stream. What is written to stdout then fails, as it has to; what is
    told on stderr goes nowhere.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if descriptor < 2 else os.O_WRONLY)  # the lowest one that is free
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (it stays)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (it stays)


def write(data: str | bytes, *, more: bool = False) -> None:
    """Write to stdout, whole, and at once unless there is *more* to come.

    Raises:
        OutputError: it is closed or full, or nobody reads it any more.
    """
    try:
        if data:  # nothing is refused, too, where nothing can be written
            sys.stdout.buffer.write(data) if isinstance(data, bytes) else sys.stdout.write(data)
        if not more:
            sys.stdout.flush()
    except (ValueError, OSError) as error:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (python would complain at exit)
        raise OutputError(f"stdout is gone ({error})") from error


@contextmanager
def ends_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process with 130, and no word: what it would interrupt are imports, which undo nothing."""
    with _on(signal.SIGINT, lambda number, frame: os._exit(128 + number)):
        yield


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C be a KeyboardInterrupt, as it is by default, and SIGTERM the end of the program: there is something to be undone."""
    with _on(signal.SIGINT, signal.default_int_handler), _on(signal.SIGTERM, ends):
        yield


def ends(number: int, _: object = None) -> None:
    """End the program on a signal: a server that we have started stops, and our files go.

    Raises:
        SystemExit: always.
    """
    sys.exit(128 + number)


@contextmanager
def _on(number: signal.Signals, does: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(number) is signal.SIG_IGN:
        yield  # a program's own thread; or a job of a shell in the background, which Ctrl-C is not for
        return
    before = signal.signal(number, does)
    try:
        yield
    finally:
        signal.signal(number, before)


class Log:
    """Lines on *out*, from any thread; that they cannot be written is no fault of what they tell of."""

    def __init__(self, out: IO[str] | None = None, *, as_json: bool = False, quiet: bool = False):
        self.out: Any = out or sys.stderr
        self.as_json = as_json
        self.quiet = quiet
        self._lock = threading.Lock()
        self._console: Any = None
        self._status: Any = None

    def begin(self, status: str) -> None:
        """Be live from now on, where there is a terminal."""
        if not (self.as_json or self.quiet) and self.out.isatty():
            self._console = _console(self.out)
            self._status = self._console.status(status)
            self._status.start()

    @property
    def is_on_terminal(self) -> bool:
        return self._console is not None

    def say(self, level: str, text: str) -> None:
        """Write a line."""
        if self.quiet:
            return
        if self._console:
            self.show(text, style="yellow" if level == "warning" else "dim", markup=False, highlight=False, soft_wrap=True)
        else:
            self._write((json.dumps({"level": level, "message": text}) if self.as_json else f"{level.upper():7} {text}") + "\n")

    def show(self, what: Any, **how: Any) -> None:
        """Show a table, or text in colour, on a terminal."""
        if self._console:
            try:
                self._console.print(what, **how)
            except (OSError, ValueError):
                self._console = self._status = None

    def status(self, text: str | None) -> None:
        """Show what is going on, at the end of a terminal; None: nothing any more."""
        if self._status:
            self._status.stop() if text is None else self._status.update(text)

    def _write(self, line: str) -> None:
        with self._lock:
            try:
                self.out.write(line)
                self.out.flush()
            except (OSError, ValueError):
                self._replace()

    def _replace(self) -> None:
        """Write by the descriptor from now on: what a buffer holds would come twice, and fail again at exit."""
        try:
            raw = _Raw(self.out.fileno())
        except (OSError, ValueError):
            raw = _Raw(-1)
        if self.out is sys.stderr:
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (python would exit with 120)
        self.out = raw


class _Raw:
    """A file that loses what cannot be written now; there may be room again later."""

    def __init__(self, descriptor: int):
        self.descriptor = descriptor

    def write(self, text: str) -> None:
        try:
            os.write(self.descriptor, text.encode("utf-8", "backslashreplace"))
        except OSError:
            pass

    def flush(self) -> None:
        pass

    def fileno(self) -> int:
        return self.descriptor


def _console(out: IO[str]) -> Any:
    from rich.console import Console  # only on a terminal: it takes its time to import

    return Console(file=out)
