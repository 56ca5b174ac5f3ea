"""Processes that we start: their output kept without secrets, and their end whatever happens to us.

Each is the leader of a process group of its own, so that Ctrl-C reaches only us, and we end them in
order. What each writes to stderr goes to a log, line by line.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from .redaction import Lines, Redactor

LAST_LINES = 50  # of stderr, that are looked at for why it failed
SHOWN_LINES = 3
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ERROR = re.compile(r"\b(error|critical|fatal|exception)\b|Error\b|Exception\b", re.I)
GRACE_SECONDS = 10.0  # from SIGTERM to SIGKILL


class Process:
    """One process. *redact* hides secrets in its log; *pass_fds* are descriptors that it inherits.

    Its stdout goes to *stdout*, or with *joined* to the log, too. *on_line* is called with each line of that.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        log: Path,
        redact: Redactor,
        pass_fds: Sequence[int] = (),
        stdin: int | None = subprocess.DEVNULL,
        stdout: int | None = subprocess.DEVNULL,
        joined: bool = False,
        on_line: Callable[[str], None] | None = None,
    ):
        self.last: deque[str] = deque(maxlen=LAST_LINES)
        self._log, self._redact, self._on_line = log, redact, on_line
        self.popen = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=stdin,
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

    def _read(self, told: int) -> None:
        shown = Lines(self._redact)
        with open(self._log, "a", encoding="utf-8", opener=private) as log, open(told, "rb") as lines:
            for line in lines:
                self._tell(shown.more(plain(line.decode("utf-8", "replace").rstrip("\r\n"))), log)
            self._tell(shown.rest(), log)

    def _tell(self, lines: Iterable[str], log: TextIO) -> None:
        for text in lines:
            log.write(f"{text}\n")
            log.flush()
            if text.strip():
                self.last.append(text)
            if self._on_line:
                self._on_line(text)

    def wait(self) -> int:
        """Return the exit status, 128+n for signal n, when the process has ended and its log is whole."""
        code = self.popen.wait()
        self._reader.join(GRACE_SECONDS)  # a child of it may still hold stderr
        return code if code >= 0 else 128 - code

    def end(self) -> None:
        """Ask the process and its children to end, and see to it."""
        if self.popen.poll() is not None:
            return
        self._kill(signal.SIGTERM)
        killer = threading.Timer(GRACE_SECONDS, self._kill, [signal.SIGKILL])
        killer.daemon = True
        killer.start()

    def _kill(self, number: int) -> None:
        if self.popen.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.popen.pid, number)


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
    command: Sequence[str], folder: Path, environment: Mapping[str, str], redact: Redactor, say: Callable[[str], None] | None = None
) -> tuple[int, str, str]:
    """Run a short command and return its exit code, its stdout, and the lines of its stderr that tell why it failed.

    *say* is called at once with what it waits for.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=folder, env=dict(environment), stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL
    ) as process, ThreadPoolExecutor(1) as thread:
        assert process.stdout
        assert process.stderr
        try:
            printed = thread.submit(process.stdout.read)
            errors = []
            for line in process.stderr:
                if say and (waits := waits_for(redact(plain(line.decode("utf-8", "replace").rstrip())))):
                    say(waits)
                else:
                    errors.append(line)
            code = process.wait()
        except BaseException:
            process.kill()
            raise
    told = redact(plain(b"".join(errors).decode("utf-8", "replace"))).splitlines()[-LAST_LINES:]  # hidden first: a secret may go on in the next line
    return code if code >= 0 else 128 - code, printed.result().decode("utf-8", "replace"), "\n".join(telling(told))


def relayed(command: Sequence[str], environment: Mapping[str, str], redact: Redactor, stdout: int | None = None) -> tuple[int, str]:
    """Run a command that has our stdin, and our stdout or *stdout*; its stderr comes to ours line by line, without secrets.

    Return its exit code, and what it printed where *stdout* is a pipe.
    """
    with subprocess.Popen(command, env=dict(environment), stdout=stdout, stderr=subprocess.PIPE) as process, ThreadPoolExecutor(1) as thread:
        assert process.stderr
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
