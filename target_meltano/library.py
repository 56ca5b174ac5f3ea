"""A target from Python, without a pipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .dialect import Dialect
from .errors import SettingsError
from .lines import Source
from .report import Report, Result
from .target import Target


def load(
    dialect: Dialect[Any],
    source: Source | str | Path,
    *,
    on_state: Callable[[str], None] | None = None,
    report: Report | None = None,
) -> Result:
    """Load *source* and return what was done.

    *source* is a binary file or the path of one, or an iterable of lines (bytes or str) or of messages
    (dicts, or singer-python's message objects). *on_state* is called with the JSON of each STATE once its
    rows are committed, in the thread that talks to the database.

    Raises:
        TargetError: after all that came before the fault was committed.
    """
    target = Target(dialect, on_state or (lambda text: None), report or Report(quiet=True))
    if not isinstance(source, (str, Path)):
        return target.run(source)
    try:
        file = open(source, "rb")  # noqa: SIM115 (only this may fail so)
    except OSError as error:
        raise SettingsError(f"{source}: {error.strerror}; wanted the path of a file with Singer messages") from None
    with file:
        return target.run(file)
