"""What a run tells people and programs: log lines, metrics, progress, counts. Never a value."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import IO, TYPE_CHECKING, Any

from .errors import json_path
from .values import Notes

if TYPE_CHECKING:
    from .ledger import Load

EVERY = 10.0  # seconds between lines of progress in a log
EVERY_ON_TERMINAL = 0.2
MOST_PATHS = 10  # in one warning

_ODDITIES = {
    "unknown": "the schema does not name this field, it is not stored (setting unknown_fields)",
    "cut": "digits beyond microseconds are cut",
    "coerced": "values of another type than the schema's were converted",
    "replaced": "characters that a database cannot store became U+FFFD",
}


@dataclass
class Counts:
    """Of one stream, what is committed: rows, of those in tables inserted and updated ones, where the database tells.

    Invalid records kept, bytes of input, seconds of the database, DDL statements, absent fields by path.
    """

    read: int = 0
    written: int = 0
    inserted: int | None = 0
    updated: int | None = 0
    rejected: int = 0
    bytes: int = 0
    seconds: float = 0.0
    ddl: list[str] = field(default_factory=list)
    absent: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What a run did: its report's summary, and the last STATE that was emitted, as JSON text."""

    summary: dict[str, Any]
    state: str | None


class Report:
    """Counts of a run, told on *out*: in lines of text or JSON, or in colour on a terminal."""

    def __init__(self, out: IO[str] | None = None, *, as_json: bool = False, quiet: bool = False):
        self.out = out or sys.stderr
        self.as_json = as_json
        self.quiet = quiet
        self.streams: dict[str, Counts] = {}
        self.warnings: list[str] = []
        self.bytes = 0
        self.run_id = ""
        self.state: str | None = None  # the last one that was emitted
        self._nulling: set[str] = set()  # streams where fields that a record does not have become null
        self._oddities: Counter[tuple[str, str]] = Counter()
        self._started = self._told = time.monotonic()
        on_terminal = self.out.isatty() and not (as_json or quiet)
        self._console = _console(self.out) if on_terminal else None
        self._status = self._console.status("waiting for the tap") if self._console else None
        if self._status:
            self._status.start()

    def of(self, stream: str) -> Counts:
        """Return the counts of *stream*."""
        if stream not in self.streams:
            self.streams[stream] = Counts()
        return self.streams[stream]

    def committed(self, stream: str, load: Load) -> None:
        """Take note of what is committed of *stream* by now."""
        counts = self.of(stream)
        counts.written = load.rows_read - load.rows_rejected - load.rows_left_out
        counts.rejected = load.rows_rejected
        counts.inserted = load.rows_inserted
        counts.updated = None if load.rows_inserted is None else load.rows_written - load.rows_inserted
        counts.bytes = load.bytes
        counts.seconds = round(load.seconds, 3)

    def info(self, text: str) -> None:
        self._say("info", text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self._say("warning", text)

    def _say(self, level: str, text: str) -> None:
        if self.quiet:
            return
        if self._console:
            style = "yellow" if level == "warning" else "dim"
            self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
        elif self.as_json:
            print(json.dumps({"level": level, "message": text}), file=self.out, flush=True)
        else:
            print(f"{level.upper():8}{text}", file=self.out, flush=True)

    def ddl(self, stream: str, statement: str) -> None:
        """Tell of a statement that changed the database."""
        self.of(stream).ddl.append(statement)
        if statement.startswith("-- "):
            self.warn(f"stream {stream!r}: {statement[3:]}")
        elif not statement.startswith("COMMENT "):
            self.info(f"stream {stream!r}: {' '.join(statement.split())}")

    def notes(self, stream: str, notes: Notes) -> None:
        """Warn of each oddity of a field once, and count the others."""
        absent = self.of(stream).absent
        for path, count in notes.absent.items():
            absent[json_path(path)] = absent.get(json_path(path), 0) + count
        for name, words in _ODDITIES.items():
            for path, count in getattr(notes, name).items():
                self.odd(stream, f"{json_path(path)}: {words}", count)

    def odd(self, stream: str, what: str, count: int) -> None:
        """Warn of *what* is odd with a stream once, and count it from then on."""
        if (stream, what) not in self._oddities:
            self.warn(f"stream {stream!r}: {what}")
        self._oddities[stream, what] += count

    def note_absent(self, stream: str, *, is_null: bool) -> None:
        """Take note of whether fields that a record does not have become null in the row that is there."""
        (self._nulling.add if is_null else self._nulling.discard)(stream)

    def _tell_absent(self) -> None:
        """Warn of fields that only some records have, where rows may have been updated."""
        for stream in sorted(self._nulling):
            counts = self.of(stream)
            some = [path for path, count in counts.absent.items() if count < counts.read and path != "$._sdc_deleted_at"]
            if some and counts.inserted != counts.written:
                more = f" and {len(some) - MOST_PATHS:,} more" if len(some) > MOST_PATHS else ""
                self.warn(
                    f"stream {stream!r}: {', '.join(some[:MOST_PATHS])}{more}: some records have no such field, "
                    "which makes it null in rows that were there (setting absent_fields)"
                )

    def progress(self) -> None:
        """Tell how far the run is, if it is time to."""
        now = time.monotonic()
        if now - self._told < (EVERY_ON_TERMINAL if self._status else EVERY):
            return
        self._told = now
        rows = sum(counts.read for counts in self.streams.values())
        speed = rows / (now - self._started)
        line = f"{rows:,} rows, {speed:,.0f} rows/s, {self.bytes / 1e6:,.0f} MB, {len(self.streams)} streams"
        if self._status:
            self._status.update(line)
        else:
            self.info(line)

    def finish(self) -> None:
        """Tell the counts of the run, for people, and as Singer metrics for programs."""
        if self._status:
            self._status.stop()
        self._tell_absent()
        for (stream, what), count in self._oddities.items():
            self.info(f"stream {stream!r}: {what}: {count:,} times")
        for stream, counts in self.streams.items():
            metric = {"type": "counter", "metric": "record_count", "value": counts.written, "tags": {"stream": stream}}
            self.info(f"METRIC: {json.dumps(metric)}")
        if self._console and self.streams:
            self._console.print(_table(self.streams))
        rows = sum(counts.written for counts in self.streams.values())
        seconds = time.monotonic() - self._started
        self.info(f"{rows:,} rows of {len(self.streams)} streams committed in {seconds:.1f} s")

    def result(self) -> Result:
        return Result(self.summary(), self.state)

    def summary(self) -> dict[str, Any]:
        """Return the counts as a program wants them; the last STATE is text, so that it keeps its digits."""
        oddities = [{"stream": stream, "what": what, "count": count} for (stream, what), count in self._oddities.items()]
        return {
            "run_id": self.run_id,
            "state": self.state,
            "seconds": round(time.monotonic() - self._started, 3),
            "bytes": self.bytes,
            "streams": {name: asdict(counts) for name, counts in self.streams.items()},
            "oddities": oddities,
            "warnings": self.warnings,
        }


def _console(out: IO[str]) -> Any:
    from rich.console import Console  # only on a terminal: it takes its time to import

    return Console(file=out)


def _table(streams: dict[str, Counts]) -> Any:
    from rich.table import Table

    table = Table("stream", "rows read", "rows committed", "changes of the table")
    for stream, counts in streams.items():
        ddl = sum(not statement.startswith("COMMENT ") for statement in counts.ddl)
        table.add_row(stream, f"{counts.read:,}", f"{counts.written:,}", str(ddl))
    return table
