"""stdout and stderr of the wrapper, either of which may be closed or full.

That something cannot be written to stdout is told in a line, whoever writes there. What cannot be told
on stderr is lost: it changes nothing of what is told, so that a load goes on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from target_meltano import OutputError
from target_meltano.standard import occupy


def watch() -> None:
    """Let stdout and stderr be as above for the rest of the process."""
    occupy()
    sys.stdout = _Stdout(sys.stdout)
    sys.stderr = _Stderr(sys.stderr)


def abandon() -> None:
    """Write no more to stdout: what its buffer holds would fail once more at exit."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (it stays)


def _tried(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        raise OutputError(f"stdout: {getattr(error, 'strerror', None) or error}") from None


class _Buffer:
    """The bytes of a file, of the same kind."""

    def __init__(self, out: Any):
        self._out = out

    def write(self, data: bytes) -> Any:
        return _tried(self._out.write, data)

    def writelines(self, lines: Iterable[bytes]) -> None:
        for line in lines:  # to make one may fail, too, and is no fault of stdout
            _tried(self._out.write, line)

    def flush(self) -> None:
        _tried(self._out.flush)


class _Stdout:
    """A file whose faults are OutputErrors: argparse would pass over others."""

    def __init__(self, out: TextIO):
        self._out = out
        self.buffer = _Buffer(out.buffer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)

    def write(self, text: str) -> Any:
        return _tried(self._out.write, text)

    def flush(self) -> None:
        _tried(self._out.flush)


class _Stderr(_Stdout):
    """A file that loses what cannot be written now."""

    def write(self, text: str) -> Any:
        try:
            return self._out.write(text)
        except (OSError, ValueError):
            return len(text)

    def flush(self) -> None:
        try:
            self._out.flush()
        except (OSError, ValueError):
            pass
