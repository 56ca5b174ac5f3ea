"""What a run shows: a line per tap while it goes on, and a table of how all of it ended."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .pipeline import Outcome, Progress

EVERY = 30.0  # seconds between lines of progress in a log


class Display:
    """Lines on stderr; on a terminal one that moves for each tap."""

    def __init__(self) -> None:
        self._bars = _bars() if sys.stderr.isatty() else None
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """Show a line."""
        with self._lock:
            if self._bars:
                self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
            else:
                print(text, file=sys.stderr, flush=True)

    def say_of(self, name: str, text: str) -> None:
        """Show a line of a tap."""
        self.say(f"{name}: {text}")

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Let the lines of taps move, on a terminal."""
        if not self._bars:
            yield
            return
        with self._bars:
            yield

    def follow(self, name: str) -> Progress:
        """Return what is called with the messages and bytes of the tap *name* that have passed."""
        if self._bars:
            bars, task = self._bars, self._bars.add_task(name, total=None, did="")
            return lambda messages, size: bars.update(task, did=_passed(messages, size))
        last = time.monotonic()

        def progress(messages: int, size: int) -> None:
            nonlocal last
            if time.monotonic() - last >= EVERY:
                last = time.monotonic()
                self.say(f"{name}: {_passed(messages, size)} so far")

        return progress

    def ended(self, outcome: Outcome) -> None:
        """Show how a step ended."""
        if self._bars:
            for task in self._bars.tasks:
                if task.description == outcome.name:
                    self._bars.update(task.id, total=1, completed=1, did=f"{outcome.status}  {outcome.did}")
        else:
            self.say(f"{outcome.name}: {outcome.status}{', ' if outcome.did else ''}{outcome.did}")


def _passed(messages: int, size: int) -> str:
    return f"{messages:,} messages, {size / 1e6:,.1f} MB"


def _bars() -> Any:
    from rich.console import Console  # only on a terminal: it takes its time to import
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), TextColumn("{task.fields[did]}"))
    return Progress(*columns, console=Console(stderr=True))


def table(outcomes: Sequence[Outcome], *, in_colour: bool = False) -> str:
    """Return how all steps ended: a line for each, and below it why, where it failed, and what to look at."""
    amber, off = ("\x1b[33m", "\x1b[0m") if in_colour else ("", "")
    rows = [(one.name, one.status, f"{one.seconds:.1f} s" if one.seconds else "", one.did) for one in outcomes]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for one, row in zip(outcomes, rows, strict=True):
        cells = (row[0].ljust(widths[0]), row[1].ljust(widths[1]), row[2].rjust(widths[2]), row[3])
        line, below = "  ".join(cells).rstrip(), " " * (widths[0] + 2)
        lines.append(f"{amber}{line}{off}" if one.notices else line)
        lines += [f"{below}{why}" for why in one.why]
        lines += [f"{below}{amber}{notice}{off}" for notice in one.notices]
    return "\n".join(lines)
