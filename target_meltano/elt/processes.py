"""Processes that we start: their output kept without secrets, and their end whatever happens to us.

Each is the leader of a process group of its own, so that Ctrl-C reaches only us, and we end them in
order. What each writes to stderr goes to a log, line by line.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from . import gate
from .guard import GRACE_SECONDS, POLL_SECONDS, guard, send
from .redaction import Lines, Redactor

CHUNK = 1 << 20  # bytes; the most that Linux lets a user's pipe hold
STOPPED = 143  # exit status of what we have ended, whatever it says itself
LAST_LINES = 50  # of stderr, that are looked at for why it failed
SHOWN_LINES = 3
ONE_SIGNAL_SECONDS = 1.0  # `timeout` signals its child and then its group, which is one request to end
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ERROR = re.compile(r"\b(error|critical|fatal|exception)\b|Error\b|Exception\b", re.I)


class Cut(Exception):
    """The output of a process is not whole: we are asked to end, or who takes it has gone."""


class Stop:
    """Ends what runs when we are asked to end. All pipelines of a run share one."""

    def __init__(self) -> None:
        self.signal = 0
        self.told, self._tells = os.pipe()  # the first can be read from when we are asked
        self._at = 0.0
        self._running: set[Process] = set()

    @contextmanager
    def ends(self, process: Process) -> Iterator[Process]:
        """Let *process* be ended with us, and at the latest now."""
        self._running.add(process)
        if self.signal:
            process.end()
        try:
            yield process
        finally:
            self._running.discard(process)
            process.end()
            process.wait()

    def __call__(self, number: int, _: object = None) -> None:
        if not self.signal:
            self.signal, self._at = number, time.monotonic()
            os.write(self._tells, b"!")
            for process in list(self._running):
                process.end()
        elif time.monotonic() - self._at > ONE_SIGNAL_SECONDS:  # asked twice: the guard does the rest
            os._exit(128 + number)

    def close(self) -> None:
        os.close(self.told)
        os.close(self._tells)


class _Log:
    """A file of lines. Where it cannot be written we go on reading, else the process would wait for us for ever."""

    def __init__(self, path: Path | None):
        self.fault = ""
        self._path, self._file = path, None
        try:
            self._file = open(path, "a", encoding="utf-8", opener=private) if path else None  # noqa: SIM115 (it stays open)
        except OSError as error:
            self._fail(error)

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._tried("close")

    def write(self, line: str) -> None:
        self._tried("write", line)
        self._tried("flush")

    def _tried(self, does: str, *arguments: str) -> None:
        if self._file and not self.fault:
            try:
                getattr(self._file, does)(*arguments)
            except OSError as error:
                self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.fault = f"{self._path}: {error.strerror}; what is told from there on is not kept"


class Process:
    """One process. *redact* hides secrets in what it tells; *pass_fds* are descriptors that it inherits.

    What it tells goes to *log*, if there is one, and each line of it to *on_line*: its stderr, with *joined* also its
    stdout, which else goes to *stdout*. With *feeds* we write its stdin; then it ends by the end of that, and not with its group.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        log: Path | None,
        redact: Redactor,
        pass_fds: Sequence[int] = (),
        feeds: bool = False,
        stdout: int | None = subprocess.DEVNULL,
        joined: bool = False,
        on_line: Callable[[str], None] | None = None,
    ):
        self.last: deque[str] = deque(maxlen=LAST_LINES)
        self._log, self._redact, self._on_line, self._feeds = _Log(log), redact, on_line, feeds
        self._is_asked, self._is_over = False, False
        self._lock = threading.RLock()  # a signal may come while we hold it
        self.popen = subprocess.Popen(
            command if feeds else gate.command(command, environment),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if joined else stdout,
            stderr=subprocess.STDOUT if joined else subprocess.PIPE,
            pass_fds=pass_fds,
            start_new_session=True,
            bufsize=0,
        )
        lines = self.popen.stdout if joined else self.popen.stderr
        assert lines
        self._reader = threading.Thread(target=self._read, args=[os.dup(lines.fileno())], daemon=True)
        lines.close()
        self._reader.start()
        if not feeds:
            self._open_gate()

    def _open_gate(self) -> None:
        assert self.popen.stdin
        guard().begins(-self.popen.pid)
        with suppress(BrokenPipeError), self.popen.stdin:
            self.popen.stdin.write(b"\n")

    def _read(self, told: int) -> None:
        shown = Lines(self._redact)
        with open(told, "rb") as lines, self._log:
            for line in lines:
                self._tell(shown.more(plain(line.decode("utf-8", "replace").rstrip("\r\n"))))
            self._tell(shown.rest())

    def _tell(self, lines: Iterable[str]) -> None:
        for text in lines:
            self._log.write(f"{text}\n")
            if text.strip():
                self.last.append(text)
            if self._on_line:
                self._on_line(text)

    @property
    def log_fault(self) -> str:
        """Say why its log is not whole, nothing where it is."""
        return self._log.fault

    def has_ended(self) -> bool:
        """Tell whether it has ended; others of its group may go on."""
        return self._is_over or self._waited(os.WNOHANG)

    def _waited(self, options: int) -> bool:
        """Wait for its end, and leave it to be reaped: until then no other group has its number."""
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return (self.popen.wait() if not options else self.popen.poll()) is not None
        try:
            return os.waitid(os.P_PID, self.popen.pid, os.WEXITED | os.WNOWAIT | options) is not None
        except ChildProcessError:
            return True

    def wait(self) -> int:
        """Return the exit status, 128+n for signal n, when the process and its group have ended, and its log is whole."""
        if not self._feeds:  # else an embedded server may be among its children
            self._waited(0)
            with self._lock:
                self._end_group()
        code = self.popen.wait()
        self._reader.join(GRACE_SECONDS)  # what has left the group may still hold stderr
        return code if code >= 0 else 128 - code

    def _end_group(self) -> None:
        """End what the process has left running."""
        if self._is_over:
            return
        send(-self.popen.pid, signal.SIGTERM)
        self.popen.wait()
        until = time.monotonic() + GRACE_SECONDS
        while send(-self.popen.pid, 0):
            with suppress(ChildProcessError):  # as PID 1 of a container we get those whose parent has ended
                os.waitpid(-self.popen.pid, os.WNOHANG)
            if time.monotonic() > until:
                send(-self.popen.pid, signal.SIGKILL)
                break
            time.sleep(POLL_SECONDS)
        self._is_over = True
        guard().has_ended(-self.popen.pid)

    def end(self) -> None:
        """Ask the process and its children to end, and see to it."""
        if not self._is_asked:
            self._is_asked = True
            self._kill(signal.SIGTERM)
            killer = threading.Timer(GRACE_SECONDS, self._kill, [signal.SIGKILL])
            killer.daemon = True
            killer.start()

    def _kill(self, number: int) -> None:
        if self._lock.acquire(blocking=False):  # else it is being ended
            try:
                if not self._is_over:
                    send(-self.popen.pid, number)
            finally:
                self._lock.release()


def output_of(process: Process, stop: Stop, taker: int | None = None, say: Callable[[str], None] | None = None) -> Iterator[bytes]:
    """Yield what *process* writes to its stdout, to the end of that.

    What it has started may hold its stdout open, and goes on then; *say* is called once with that it is waited for.

    Raises:
        Cut: we are asked to end, and it has ended or had the time to; or nobody reads from the pipe *taker* any more.
    """
    assert process.popen.stdout
    source = process.popen.stdout.fileno()
    poll = select.poll()
    poll.register(source, select.POLLIN)
    poll.register(stop.told, select.POLLIN)
    if taker is not None:
        poll.register(taker, 0)  # tells of its end only
    until = 0.0
    while True:
        told = dict(poll.poll(1000 * (POLL_SECONDS if until else GRACE_SECONDS)))
        if taker in told:
            raise Cut
        if stop.told in told:
            poll.unregister(stop.told)
            until = time.monotonic() + GRACE_SECONDS + 1  # it is killed before
        if source in told:
            chunk = os.read(source, CHUNK)
            if not chunk:
                return
            yield chunk
        elif until and process.has_ended():
            raise Cut
        elif not told and say and process.has_ended():
            say("it has ended, and a process that it has started holds its output open; waiting for that")
            say = None
        if until and time.monotonic() > until:
            raise Cut


def plain(text: str) -> str:
    """Return *text* without what a terminal obeys, as colours."""
    return "".join(char for char in _ESCAPE.sub("", text) if char.isprintable() or char in "\t\n")


def telling(lines: Iterable[str]) -> list[str]:
    """Return those of a process's last *lines* that tell why it failed: errors where there are any."""
    lines = list(lines)
    flush = [line for line in lines if line.strip() and not line[0].isspace()]  # no code, no frames
    errors = [line for line in flush if _ERROR.search(line)]
    return list(dict.fromkeys(errors or flush or lines))[-SHOWN_LINES:]


def output(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    redact: Redactor,
    say: Callable[[str], None] | None = None,
    stop: Stop | None = None,
) -> tuple[int, str, str]:
    """Run a short command as `captured` does, and return its stdout as text."""
    code, printed, told = captured(command, folder, environment, redact, say, stop)
    return code, printed.decode("utf-8", "replace"), told


def captured(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    redact: Redactor,
    say: Callable[[str], None] | None = None,
    stop: Stop | None = None,
    most: int | None = None,
) -> tuple[int, bytes, str]:
    """Run a short command and return its exit code, its stdout, and the lines of its stderr that tell why it failed.

    *say* is called at once with what it waits for. *stop* ends it; without one it ends with us. It is ended when it has
    written more than *most* bytes; then there are more.
    """
    waited: list[str] = []

    def told(line: str) -> None:
        if say and (waits := waits_for(line)):
            waited.append(line)
            say(waits)

    printed: list[bytes] = []
    size = 0
    ours = stop or Stop()
    try:
        with ours.ends(Process(command, folder, environment, None, redact, stdout=subprocess.PIPE, on_line=told)) as process:
            code = 0
            try:
                for chunk in output_of(process, ours, say=say):
                    printed.append(chunk)
                    size += len(chunk)
                    if most is not None and size > most:
                        process.end()
                        break
            except Cut:
                code = STOPPED
            code = process.wait() or code
    finally:
        if stop is None:
            ours.close()
    lines = [line for line in process.last if line not in waited]
    return code, b"".join(printed), "\n".join(telling(lines))


def relayed(command: Sequence[str], environment: Mapping[str, str], redact: Redactor, stdout: int | None = None) -> tuple[int, str]:
    """Run a command that has our stdin, and our stdout or *stdout*; its stderr comes to ours line by line, without secrets.

    Return its exit code, and what it printed where *stdout* is a pipe.
    """
    with subprocess.Popen(command, env=dict(environment), stdout=stdout, stderr=subprocess.PIPE) as process, ThreadPoolExecutor(1) as thread:
        assert process.stderr
        guard().begins(process.pid)
        printed = thread.submit(process.stdout.read) if process.stdout else None
        shown = Lines(redact)
        try:
            for line in process.stderr:
                _say_all(shown.more(plain(line.decode("utf-8", "replace").rstrip("\r\n"))))
            _say_all(shown.rest())
            code = process.wait()
        except BaseException:
            process.kill()
            raise
        finally:
            guard().has_ended(process.pid)
    return code if code >= 0 else 128 - code, printed.result().decode("utf-8", "replace") if printed else ""


def _say_all(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr, flush=True)


def waits_for(line: str) -> str:
    """Return what a target tells in *line* that it waits for, nothing where it tells something else."""
    return line.removeprefix("WARNING ") if line.startswith("WARNING ") and "; trying again" in line else ""


def private(path: str, flags: int) -> int:
    """Open a file, for `open`, that nobody else may read."""
    return os.open(path, flags, 0o600)
