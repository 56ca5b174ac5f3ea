"""What we have started ends when we are killed: a process beside us that outlives us sees to it.

kill -9 leaves nobody who ends a tap that sends nothing, a discovery that waits, dbt or pip, and nobody who
removes their settings. The guard learns of them line by line, and sees the end of its stdin when we are gone.
A process starts behind a gate (gate.py): it runs when the guard knows it, and not at all if we are killed before.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

GRACE_SECONDS = 10.0  # from SIGTERM to SIGKILL
POLL_SECONDS = 0.02
# Without them a Python whose library is in a folder of its own does not start, as those of GitHub's runners.
_FOR_PYTHON = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")


class Guard:
    """The guard of this process, and what it is told."""

    def __init__(self) -> None:
        import subprocess  # the guard itself needs none of this

        self._lock = threading.Lock()
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        environment = {name: os.environ[name] for name in _FOR_PYTHON if name in os.environ}  # and no secret
        # Its own session: what ends us, as Ctrl-C or `timeout`, leaves it alone.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__], stdin=pipe, stdout=null, stderr=null, cwd="/", env=environment, start_new_session=True
        )

    def begins(self, number: int) -> None:
        """End the process *number* after us, or the process group -*number*."""
        self._tell("+", number)

    def has_ended(self, number: int) -> None:
        self._tell("-", number)

    def folder(self, path: str) -> None:
        """Remove the folder *path* after us."""
        self._tell("+", path)

    def folder_is_removed(self, path: str) -> None:
        self._tell("-", path)

    def _tell(self, does: str, what: int | str) -> None:
        with self._lock:
            assert self._process.stdin
            try:
                self._process.stdin.write(f"{json.dumps([does, what])}\n".encode())
                self._process.stdin.flush()
            except OSError:  # somebody has ended it; we go on as well without
                pass


_ours: list[Guard] = []
_starting = threading.Lock()  # two taps may ask at once, and a second guard would end what it knows when we forget it


def guard() -> Guard:
    """Return the guard of this process, which starts with the first call."""
    with _starting:
        if not _ours:
            _ours.append(Guard())
    return _ours[0]


def send(number: int, signal_number: int) -> bool:
    """Send a signal to a process, or to the group -*number*, and return whether it is there."""
    try:
        os.kill(number, signal_number)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user, or on macOS one that has ended
        return signal_number == 0
    return True


def main() -> None:
    """Be the guard: end and remove what is left at the end of stdin."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    left: dict[int | str, None] = {}
    for line in sys.stdin.buffer:
        if line.endswith(b"\n"):  # else we were killed in the middle of it
            does, what = json.loads(line)
            left.update({what: None}) if does == "+" else left.pop(what, None)
    _clean([one for one in left if isinstance(one, str)], [one for one in left if isinstance(one, int)])


def _clean(folders: list[str], numbers: list[int]) -> None:
    for folder in folders:  # first: they have secrets, and everybody has read them
        _remove(folder)
    numbers = [one for one in numbers if send(one, signal.SIGTERM)]
    until = time.monotonic() + GRACE_SECONDS
    while (numbers := [one for one in numbers if send(one, 0)]) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    for one in numbers:
        send(one, signal.SIGKILL)


def _remove(folder: str) -> None:
    """Remove a folder; the module shutil takes longer to import than all of this."""
    for place, folders, files in os.walk(folder, topdown=False):
        for path in [os.path.join(place, name) for name in files]:
            _try(os.unlink, path)
        for path in [os.path.join(place, name) for name in folders]:
            _try(os.unlink if os.path.islink(path) else os.rmdir, path)
    _try(os.rmdir, folder)


def _try(does: object, path: str) -> None:
    try:
        does(path)  # type: ignore[operator]
    except OSError:
        pass


if __name__ == "__main__":
    main()
