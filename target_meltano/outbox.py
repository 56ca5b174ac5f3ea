"""What is on its way from the lines to the database: records that settle, batches that are sent."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from .errors import MessageError, RecordError, TargetError
from .kept import Lines
from .ledger import Rejected
from .loader import Loader
from .report import Report
from .settings import Settings
from .stream import Settled, Stream, stamped

SETTLE_COLUMNS = 50  # make a share, and so does a stream
SETTLE_SHARES = 8
SEND_BYTES = 2 << 20  # of Arrow data: enough for one COPY to be worth its round trips
MOST_STREAMS = 500  # in a transaction: each takes eight locks or so, and PostgreSQL has some 7,000 by default
BUFFER_BYTES = 32 << 20  # over all streams, before the small ones are sent, too


@dataclass
class Flush:
    """How much has come since the last COMMIT, and when the next one is due."""

    settings: Settings
    rows: int = 0
    bytes: int = 0  # of input
    streams: set[str] = field(default_factory=set)  # that have rows
    since: float = field(default_factory=time.monotonic)  # when the first of the rows came

    def add(self, stream: str, rows: int) -> None:
        """Count *rows* that came for *stream*."""
        if rows and not self.rows:
            self.since = time.monotonic()
        self.rows += rows
        if rows:
            self.streams.add(stream)

    def is_full(self, stream: str) -> bool:
        """Tell whether there are as many streams as may be, without this one: the locks of a server have an end."""
        return len(self.streams) >= MOST_STREAMS and stream not in self.streams and not self.settings.state_id

    def seconds_left(self) -> float:
        return self.since + self.settings.batch_seconds - time.monotonic()

    def is_due(self) -> bool:
        """Tell whether enough has come, or long enough ago."""
        settings = self.settings
        return self.rows >= settings.batch_rows or self.bytes >= settings.batch_bytes or self.seconds_left() <= 0

    def clear(self) -> None:
        """Begin anew, after a COMMIT."""
        self.rows = self.bytes = 0
        self.streams.clear()
        self.since = time.monotonic()


@dataclass
class Outbox:
    """The streams, and what goes with their rows in the order of lines.

    With *keeps* invalid records are kept for `__rejected`, else the first one ends the run. With
    *dry* nothing is sent.
    """

    loader: Loader
    report: Report
    keeps: bool = False
    dry: bool = False
    streams: dict[str, Stream] = field(default_factory=dict)
    states: list[tuple[int, str]] = field(default_factory=list)  # since the last `settle`, with their lines
    rejected: list[Rejected] = field(default_factory=list)  # since then
    lines: Lines = field(default_factory=Lines)
    has_sent: bool = False  # something to the database since the last COMMIT

    def reject(self, fault: MessageError, line: bytes, *, counts: bool = True) -> None:
        """Keep a line that is no message, or an invalid record; whether it *counts* to `max_rejected`."""
        self.rejected.append(replace(Rejected.of(fault, line), counts=counts))

    def shares(self) -> int:
        """Return how many batches' worth of work a `settle` is now: wide tables cost more."""
        return min(SETTLE_SHARES, sum(1 + len(stream.table.columns) // SETTLE_COLUMNS for stream in self.streams.values() if stream.pending))

    def settle(self, before: int | None = None) -> None:
        """Turn what is pending into batches; of lines from *before* on, nothing.

        Raises:
            RecordError: of the first invalid record; what came before it is settled.
        """
        done: list[tuple[Stream, Settled]] = []
        faults = []
        for stream in self.streams.values():
            if stream.pending:
                try:
                    done.append((stream, stream.settle(before, self.keeps)))
                except RecordError as fault:
                    faults.append(fault)
        if faults:
            first = min(faults, key=lambda fault: fault.line)
            self.settle(first.line)
            raise first
        for stream, settled in done:
            stream.pending.clear()
            settled.notes.add(stream.take_notes())
            keeps = stream.decoder.layout.rules.unknown_fields == "keep"
            self.report.notes(stream.name, settled.notes, lambda number: self.lines.of(number)[0], keeps=keeps)
            for invalid, line in settled.faults:
                self.reject(invalid, line)
            if settled.parts and not self.dry:
                stream.buffer(settled)
        self._tell(before)
        self._send_large()

    def _tell(self, before: int | None) -> None:
        """Hand over STATEs and invalid records; all rows before them are settled."""
        states, rejected = self.states, self.rejected
        self.states, self.rejected = [], []
        if self.dry:
            return
        for number, text in states:
            if before is None or number < before:
                self.loader.note_state(number, text)
        rejected = [one for one in rejected if before is None or one.line < before]
        if rejected:
            self.loader.reject([stamped(one, self.streams) for one in sorted(rejected, key=lambda one: one.line)])

    def _send_large(self) -> None:
        buffered = sum(stream.buffered for stream in self.streams.values())
        for stream in self.streams.values():
            if stream.buffered >= SEND_BYTES or buffered >= BUFFER_BYTES:
                self.send(stream)

    def send(self, stream: Stream) -> None:
        """Let the loader write what the stream has buffered into the open transaction."""
        if stream.batches:
            self.has_sent = True
            self.loader.write(stream.take())

    def send_all(self) -> None:
        """Settle, and send, whatever there is."""
        self.settle()
        for stream in self.streams.values():
            self.send(stream)

    def keep_all(self) -> None:
        """Give what is buffered to the loader for its `salvage`."""
        for stream in self.streams.values():
            if stream.batches:
                self.loader.keep(stream.take())

    def salvage(self, fault: TargetError, before: int | None) -> TargetError:
        """Commit what came before line *before*, though the transaction has more than that already.

        Return *fault*, or an earlier one that shows only now.
        """
        self.keep_all()
        try:
            self.loader.salvage(before)
        except MessageError as earlier:
            return self.salvage(earlier, earlier.line)
        return fault
