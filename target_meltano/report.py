"""What a run tells people and programs: log lines, metrics, progress, counts. Never a value."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import IO, TYPE_CHECKING, Any

from . import notices
from .errors import json_path
from .notes import MOST_NAMES, OTHERS, Notes
from .notices import CHANGED, DROPPED, OTHER, REJECTED, Notice, What
from .schema import Path
from .standard import Log

if TYPE_CHECKING:
    from .ledger import Load, Rejected

EVERY = 10.0  # seconds between lines of progress in a log
EVERY_ON_TERMINAL = 0.2
MOST_WARNINGS = 1000  # of a run
MOST_PATHS = 10  # in one warning
MOST_SHOWN = 20  # notices in the last lines

_MORE = ("", (OTHER, "what is odd with more fields and streams"))
_KEPT = notices.KEPT, "the schema does not name this field, it is kept in the JSON column __extra (setting unknown_fields)"
_ODDITIES = {
    "unknown": (DROPPED, "the schema does not name this field, it is not stored (setting unknown_fields)"),
    "cut": (CHANGED, "digits beyond microseconds are cut (setting excess_digits)"),
    "zero": (CHANGED, "MySQL's zero date became null (setting zero_dates)"),
    "leap": (CHANGED, "a leap second became the second after it"),
    "shortened": (CHANGED, "all binary digits of a float became the shortest number for it, as its schema has fewer places"),
    "coerced": (CHANGED, "values of another type than the schema's were converted"),
    "replaced": (CHANGED, "characters that a database cannot store became U+FFFD"),
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
    """Counts of a run, told on *out*: in lines of text or JSON, or in colour on a terminal.

    Two threads tell and count: the loop's, and the database's.
    """

    def __init__(self, out: IO[str] | None = None, *, as_json: bool = False, quiet: bool = False):
        self.log = Log(out, as_json=as_json, quiet=quiet)
        self.log.begin("waiting for the database")
        self.streams: dict[str, Counts] = {}
        self.warnings: list[str] = []
        self.bytes = 0
        self.run_id = ""
        self.state: str | None = None  # the last one that was emitted
        self.awaits_swap = False  # rows are beside their tables, and count once they take the place of the old ones
        self.refused: dict[str, str] = {}  # why, by stream: those that `invalid_schemas` put aside
        self._lock = threading.Lock()
        self._unlisted = 0  # warnings
        self._nulling: set[str] = set()  # streams where fields that a record does not have become null
        self._noticed: Counter[tuple[str, What]] = Counter()  # on the way to the database
        self._committed: dict[str, notices.Counted] = {}  # in it
        self._firsts: dict[tuple[str, What], str] = {}  # where it was first, for people
        self._keyed: dict[tuple[str, Path], Counter[str]] = {}  # what keys of more than one type were, by stream and field
        self._unknown: dict[str, set[Path]] = {}  # fields that are named in warnings, by stream
        self._started = self._told = time.monotonic()

    def of(self, stream: str) -> Counts:
        """Return the counts of *stream*."""
        found = self.streams.get(stream)
        if found is None:
            with self._lock:
                found = self.streams.setdefault(stream, Counts())
        return found

    def counted(self) -> dict[str, Counts]:
        """Return the streams as they are now: another thread may add one meanwhile."""
        with self._lock:
            return dict(self.streams)

    def committed(self, stream: str, load: Load) -> None:
        """Take note of what is committed of *stream* by now."""
        counts = self.of(stream)
        counts.written = load.rows_read - load.rows_rejected - load.rows_left_out
        counts.rejected = load.rows_rejected
        counts.inserted = load.rows_inserted
        counts.updated = None if load.rows_inserted is None else load.rows_written - load.rows_inserted
        counts.bytes = load.bytes
        counts.seconds = round(load.seconds, 3)
        for kind, what in load.notices.keys() - self._committed.get(stream, {}).keys():
            if kind in (REJECTED, DROPPED):
                self.warn(f"{notices.of(stream, what)}{self._firsts.get((stream, (kind, what)), '')}")
        with self._lock:
            self._committed[stream] = load.notices

    def rejected(self, rejected: Iterable[Rejected], line_of: Callable[[int], int]) -> None:
        """Remember, of records whose rejection is committed, the first of each path."""
        for one in rejected:
            at = one.stream or "", one.what()
            if one.counts and at not in self._firsts and len(self._firsts) < MOST_WARNINGS:
                self._firsts[at] = f", first in line {line_of(one.line)}: {one.reason}"

    def connected(self, notice: str | None) -> None:
        """Tell that the database is there, and what it says of itself."""
        self.log.status("waiting for the tap")
        if notice:
            self.info(notice)

    def info(self, text: str) -> None:
        self._say("info", text)

    def warn(self, text: str) -> None:
        """Warn, but not without end: what a hostile input can cause again and again is counted only."""
        with self._lock:
            is_listed = len(self.warnings) < MOST_WARNINGS
            self._unlisted += not is_listed
            if is_listed:
                self.warnings.append(text)
            elif self._unlisted > 1:
                return
        self._say("warning", text if is_listed else f"more than {MOST_WARNINGS:,} warnings; from here on they are counted only")

    def _say(self, level: str, text: str) -> None:
        self.log.say(level, text)

    def ddl(self, stream: str, statement: str) -> None:
        """Tell of a statement that changed the database."""
        self.of(stream).ddl.append(statement)
        if statement.startswith("-- "):
            self.warn(f"stream {stream!r}: {statement[3:]}")
        elif not statement.startswith("COMMENT "):
            self.info(f"stream {stream!r}: {' '.join(statement.split())}")

    def notes(self, stream: str, notes: Notes, line_of: Callable[[int], int] = int, *, keeps: bool = False) -> None:
        """Warn of each oddity of a field once, and count the others.

        *line_of* gives the line of a record's number. *keeps*: fields that the schema does not name are stored.
        """
        absent = self.of(stream).absent
        for path, count in notes.absent.items():
            absent[json_path(path)] = absent.get(json_path(path), 0) + count
        self._alike(stream, notes)
        for name, oddity in _ODDITIES.items():
            for path, count in getattr(notes, name).items():
                where = self._named(stream, path) if name == "unknown" else _shown(path)
                first = notes.first.get((name, path))
                kind, words = _KEPT if keeps and name == "unknown" else oddity
                self.odd(stream, f"{where}: {words}", count, f", first in line {line_of(first)}" if first else "", kind)

    def _alike(self, stream: str, notes: Notes) -> None:
        """Warn of keys of which some are texts and some are not: 5 and "5" are one."""
        for name in ("texts", "as_texts"):
            for path, count in getattr(notes, name).items():
                self._keyed.setdefault((stream, path), Counter())[name] += count
        for path in {*notes.texts, *notes.as_texts}:
            if len(self._keyed[stream, path]) > 1:
                self.odd(stream, f'{_shown(path)}: keys are texts and others, and such as 5 and "5" are one', 1)

    def _named(self, stream: str, path: Path) -> str:
        """Return a field that the schema does not name; all after the first ones are one."""
        named = self._unknown.setdefault(stream, set())
        if path != OTHERS and (path in named or len(named) < MOST_NAMES):
            named.add(path)
            return _shown(path)
        return f"fields after the first {MOST_NAMES}"

    def odd(self, stream: str, what: str, count: int, first: str = "", kind: str = OTHER) -> None:
        """Warn of *what* is odd with a stream, and where it was *first*, once, and count it from then on."""
        at = stream, (kind, what)
        if at not in self._noticed:
            if len(self._noticed) >= MOST_WARNINGS:
                at = _MORE
            else:
                self._firsts[at] = first
                self.warn(f"{notices.of(stream, what)}{first}")
        with self._lock:
            self._noticed[at] += count

    def left_out(self, stream: str, what: str, count: int) -> None:
        """Warn of *what* of a stream does not go on, once, and count it."""
        self.odd(stream, what, count, kind=DROPPED)

    def noticed(self, stream: str, load: Load) -> notices.Counted:
        """Return all that is to be noticed of a stream, with what its *load* adds."""
        with self._lock:
            return notices.plus({what: count for (of, what), count in self._noticed.items() if of == stream}, load.notices)

    def told(self) -> list[Notice]:
        """Return all that is to be noticed: what is lost first."""
        with self._lock:
            found = [(*at, count) for at, count in self._noticed.items()]
            found += [(of, what, count) for of, counted in self._committed.items() for what, count in counted.items()]
            told = [Notice(of, kind, what, count, self._firsts.get((of, (kind, what)), "")) for of, (kind, what), count in found]
        return sorted(told, key=lambda one: notices.ORDER.index(one.kind))

    def note_absent(self, stream: str, *, is_null: bool) -> None:
        """Take note of whether fields that a record does not have become null in the row that is there."""
        (self._nulling.add if is_null else self._nulling.discard)(stream)

    def _tell_absent(self) -> None:
        """Warn of fields that only some records have, where rows may have been updated."""
        for stream in sorted(self._nulling & set(self.streams)):
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
        if now - self._told < (EVERY_ON_TERMINAL if self.log.is_on_terminal else EVERY):
            return
        self._told = now
        streams = self.counted()
        rows = sum(counts.read for counts in streams.values())
        speed = rows / (now - self._started)
        line = f"{rows:,} rows, {speed:,.0f} rows/s, {self.bytes / 1e6:,.0f} MB, {len(streams)} streams"
        if self.log.is_on_terminal:
            self.log.status(line)
        else:
            self.info(line)

    def finish(self) -> None:
        """Tell the counts of the run, for people, and as Singer metrics for programs; what is lost, last."""
        self.log.status(None)
        self._tell_absent()
        if self._unlisted:
            self.info(f"{self._unlisted:,} more warnings")
        streams = self.counted()
        for stream, counts in streams.items():
            if self.awaits_swap:
                counts.written = counts.inserted = counts.updated = 0
            metric = {"type": "counter", "metric": "record_count", "value": counts.written, "tags": {"stream": stream}}
            self.info(f"METRIC: {json.dumps(metric)}")
        if self.log.is_on_terminal and streams:
            self.log.show(_table(streams))
        rows = sum(counts.written for counts in streams.values())
        seconds = time.monotonic() - self._started
        told = self.told()
        for one in told[:MOST_SHOWN]:
            self._say("warning" if one.is_loss else "info", str(one))
        if len(told) > MOST_SHOWN:
            self.info(f"{len(told) - MOST_SHOWN:,} more of this kind (--summary has all)")
        lost = notices.totals(told)
        self._say("warning" if lost else "info", f"{rows:,} rows of {len(streams)} streams committed in {seconds:.1f} s{lost and f'; {lost}'}")

    def result(self) -> Result:
        return Result(self.summary(), self.state)

    def summary(self) -> dict[str, Any]:
        """Return the counts as a program wants them; the last STATE is text, so that it keeps its digits."""
        told = self.told()
        return {
            "run_id": self.run_id,
            "state": self.state,
            "seconds": round(time.monotonic() - self._started, 3),
            "bytes": self.bytes,
            "streams": {name: asdict(counts) for name, counts in self.counted().items()},
            "refused": self.refused,
            "notices": [one.as_json() for one in told],
            "lost": notices.totals(told),
            "warnings": self.warnings,
            "more_warnings": self._unlisted,
        }


def _shown(path: Path) -> str:
    return notices.short(json_path(path))


def _table(streams: dict[str, Counts]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table("stream", "rows read", "rows committed", "rejected", "changes of the table")
    for stream, counts in streams.items():
        ddl = sum(not statement.startswith("COMMENT ") for statement in counts.ddl)
        rejected = f"[yellow]{counts.rejected:,}[/yellow]" if counts.rejected else "0"
        table.add_row(escape(stream) or "(no stream)", f"{counts.read:,}", f"{counts.written:,}", rejected, str(ddl))
    return table
