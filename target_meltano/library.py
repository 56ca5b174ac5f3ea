"""A target from Python, without a pipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .dialect import Dialect
from .lines import Source
from .report import Report, Result
from .target import Target


def load(
    dialect: Dialect[Any],
    source: Source,
    *,
    on_state: Callable[[str], None] | None = None,
    report: Report | None = None,
) -> Result:
    """Load *source* and return what was done.

    *source* is a binary file, or an iterable of lines (bytes or str) or of messages (dicts, or
    singer-python's message objects). *on_state* is called with the JSON of each STATE once its
    rows are committed, in the thread that talks to the database.

    Raises:
        TargetError: after all that came before the fault was committed.
    """
    return Target(dialect, on_state or (lambda text: None), report or Report(quiet=True)).run(source)
