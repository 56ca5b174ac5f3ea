"""What goes wrong in a project, as one line each."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from target_meltano import SettingsError, TargetError


class ProjectError(SettingsError):
    """The project's file is wrong; the message has a line per fault, each with file and line."""


class RunError(TargetError):
    """A tap, a target, dbt or an installation has failed."""


def of_system(error: OSError, at: object) -> str:
    """Return what the system refuses, as a full disk: the file, else where we were *at*, and why."""
    return f"{error.filename or at}: {error.strerror or error}"


def unexpected(error: Exception, log: Path, redact: Callable[[str], str]) -> str:
    """Return a line on an error that nobody has foreseen; its traceback goes to the file *log*, if that can be written."""
    told = " ".join(redact(str(error)).split())[:200]
    with suppress(OSError):
        log.write_text(redact("".join(traceback.format_exception(error))), "utf-8", "backslashreplace")
    return f"unexpected {type(error).__name__}{': ' if told else ''}{told}; a fault of target-meltano, please report it with {log}"
