"""What a run tells people and programs: log lines, metrics, progress, counts. Never a value."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import IO, Any

from .values import Notes, json_path

EVERY = 10.0  # seconds between log lines of progress


@dataclass
class Counts:
    """Of one stream: rows read, rows committed, DDL statements done."""

    read: int = 0
    written: int = 0
    ddl: list[str] = field(default_factory=list)


@dataclass
class Report:
    """Counts of a run; written to *out* as it goes, as text or as lines of JSON."""

    out: IO[str] = field(default_factory=lambda: sys.stderr)
    as_json: bool = False
    quiet: bool = False
    streams: dict[str, Counts] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    bytes: int = 0
    started: float = field(default_factory=time.monotonic)
    _told: float = field(default_factory=time.monotonic)
    _seen: Counter[tuple[str, str]] = field(default_factory=Counter)

    def of(self, stream: str) -> Counts:
        return self.streams.setdefault(stream, Counts())

    def log(self, level: str, text: str) -> None:
        if self.quiet:
            return
        line = json.dumps({"level": level, "message": text}) if self.as_json else f"{level.upper():8}{text}"
        print(line, file=self.out, flush=True)

    def info(self, text: str) -> None:
        self.log("info", text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self.log("warning", text)

    def ddl(self, stream: str, statement: str) -> None:
        self.of(stream).ddl.append(statement)
        self.info(f"stream {stream!r}: {statement}")

    def notes(self, stream: str, notes: Notes) -> None:
        """Warn once of each oddity of a field; the summary has the counts."""
        for name, words in _ODDITIES.items():
            for path, count in getattr(notes, name).items():
                where = json_path(path)
                key = (stream, f"{where}: {words}")
                if key not in self._seen:
                    self.warn(f"stream {stream!r}: {key[1]}")
                self._seen[key] += count

    def progress(self) -> None:
        """Log how far the run is, every few seconds."""
        now = time.monotonic()
        if now - self._told >= EVERY:
            self._told = now
            rows = sum(counts.read for counts in self.streams.values())
            seconds = now - self.started
            self.info(f"{rows:,} rows, {rows / seconds:,.0f} rows/s, {self.bytes / 1e6:,.0f} MB")

    def finish(self) -> None:
        """Log the metrics and the counts of every stream."""
        seconds = max(time.monotonic() - self.started, 1e-6)
        for stream, counts in self.streams.items():
            metric = {"type": "counter", "metric": "record_count", "value": counts.written, "tags": {"stream": stream}}
            self.info(f"METRIC: {json.dumps(metric)}")
        for (stream, what), count in self._seen.items():
            self.info(f"stream {stream!r}: {what}: {count:,} times")
        if not self.streams:
            return
        width = max(map(len, self.streams))
        for stream, counts in self.streams.items():
            self.info(f"{stream:{width}}  {counts.read:>12,} rows read  {counts.written:>12,} committed")
        rows = sum(counts.written for counts in self.streams.values())
        self.info(f"{rows:,} rows in {seconds:.1f} s, {rows / seconds:,.0f} rows/s")

    def summary(self) -> dict[str, Any]:
        """Return the counts as a program wants them."""
        return {
            "seconds": round(time.monotonic() - self.started, 3),
            "bytes": self.bytes,
            "streams": {name: asdict(counts) for name, counts in self.streams.items()},
            "warnings": self.warnings,
        }


_ODDITIES = {
    "unknown": "the schema does not name this field, it is not stored (setting unknown_fields)",
    "cut": "digits beyond microseconds are cut",
    "coerced": "values of another type than the schema's were converted",
    "replaced": "characters that a database cannot store became U+FFFD",
}
