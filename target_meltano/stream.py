"""One stream on its way: lines that wait to become a batch, batches that wait to be written."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from . import kinds, members, rows
from .cells import Records
from .decode import Decoder
from .deep import deeply
from .diff import Table
from .errors import RecordError
from .kept import LINE, SOURCE, Written
from .ledger import Rejected
from .notes import MOST_NAMES, OTHERS, Notes
from .wanting import Wanted

RECOMPILES = 50  # a map whose keys are data would make the decoder anew for ever


@dataclass
class Rows:
    """Rows of the slow path; beside `cells.Records`."""

    values: list[list[Any]] = field(default_factory=list)
    sources: list[bytes] = field(default_factory=list)
    places: list[int] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(self.values)

    @property
    def size(self) -> int:
        return sum(map(len, self.sources))

    def lines(self, count: int | None = None) -> list[bytes]:
        return self.sources[:count]

    def numbers(self) -> np.ndarray[Any, Any]:
        return np.array(self.places, np.int64)


@dataclass(frozen=True)
class Segment:
    """Consecutive records of a stream, of one path."""

    decoder: Decoder
    records: Records | Rows


@dataclass
class Settled:
    """Rows in parts, in their order; what was noticed; faults of invalid records, with their lines."""

    parts: list[pa.RecordBatch] = field(default_factory=list)
    size: int = 0  # bytes of input
    notes: Notes = field(default_factory=Notes)
    faults: list[tuple[RecordError, bytes]] = field(default_factory=list)


@dataclass
class Stream:
    """What is known of a stream since its SCHEMA, and what of it is under way.

    *stamp* is the last `__loaded_at` given, microseconds since 1970, UTC.
    """

    name: str
    wanted: Wanted = field(init=False)
    table: Table = field(init=False)
    decoder: Decoder = field(init=False)
    pending: list[Segment] = field(default_factory=list)
    batches: list[pa.RecordBatch] = field(default_factory=list)
    buffered: int = 0  # bytes of Arrow data
    size: int = 0  # bytes of input, for them
    stamp: int = 0
    notes: Notes = field(default_factory=Notes)
    recompiles: int = 0
    is_deep: bool = False  # what is done with its records may go deep

    @cached_property
    def key(self) -> bytes:
        """The name as a reader knows it; half a surrogate pair is in no line that it takes."""
        return self.name.encode("utf-8", "surrogatepass")

    def follow(self, wanted: Wanted, table: Table, decoder: Decoder) -> None:
        """Take the records to come as a new SCHEMA describes them."""
        self.wanted, self.table, self.decoder = wanted, table, decoder
        self.recompiles = 0
        self.is_deep = wanted.is_deep

    def take_notes(self) -> Notes:
        """Return what was noticed since the last call."""
        notes, self.notes = self.notes, Notes()
        return notes

    def fast(self) -> Records:
        """Return what is to take the records that come next."""
        last = self.pending[-1] if self.pending else None
        if last is None or isinstance(last.records, Rows) or last.decoder is not self.decoder:
            last = Segment(self.decoder, self.decoder.records())
            self.pending.append(last)
        assert not isinstance(last.records, Rows)
        return last.records

    def add_slow(self, line: bytes, number: int) -> None:
        """Take a record that the reader refused.

        Raises:
            RecordError: with the fault.
            NewFields: its table needs more columns first; the record is not taken.
        """
        notes = Notes()
        row = rows.slow_row(self.decoder.layout, line, number, notes)
        self.notes.add(notes)
        taken = self._slow()
        taken.values.append(row)
        taken.places.append(number)
        taken.sources.append(line)
        self._expect(line, notes)

    def _slow(self) -> Rows:
        if self.pending and not self.pending[-1].records.rows:
            self.pending.pop()
        if self.pending and isinstance(self.pending[-1].records, Rows):
            return self.pending[-1].records
        taken = Rows()
        self.pending.append(Segment(self.decoder, taken))
        return taken

    def _expect(self, line: bytes, notes: Notes) -> None:
        """Make the decoder anew so that it knows the next record with the same oddities."""
        decoder = self.decoder
        keeps = decoder.layout.rules.unknown_fields == "keep"
        expected = decoder.expected if keeps else decoder.expected.union(notes.unknown) - {OTHERS}
        expected = expected if len(expected) <= MOST_NAMES else decoder.expected
        loose = decoder.loose.union(rows.odd_leaves(decoder.layout, line, notes))
        come = decoder.members.union(filter(members.is_expectable, notes.members))
        if (expected, loose, come) != (decoder.expected, decoder.loose, decoder.members) and self.recompiles < RECOMPILES:
            self.recompiles += 1
            if len(come) > members.MOST or (come and self.recompiles == RECOMPILES):
                come, self.recompiles = frozenset(), RECOMPILES  # the keys are data: short runs of many columns cost most
            self.decoder = Decoder(decoder.layout, expected, loose, come)

    def settle(self, before: int | None, keep: bool) -> Settled:
        """Return what is pending, or only what came before line *before*; change nothing.

        With *keep* invalid records are left out of the batch and returned beside it, and the lines
        of the others go along with their rows.

        Raises:
            RecordError: of the first record that is invalid, without *keep*.
        """
        settled = Settled()
        for segment in self.pending:
            records = segment.records
            count = records.rows
            if before is not None:
                count = int(np.searchsorted(records.numbers(), before))
            if count:
                self._settle(segment, count, keep, settled)
                settled.size += records.size if count == records.rows else sum(map(len, records.lines(count)))
        return settled

    def _settle(self, segment: Segment, count: int, keep: bool, settled: Settled) -> None:
        layout, records = segment.decoder.layout, segment.records
        numbers = pa.array(records.numbers()[:count])
        sources = pa.array(records.lines(count), pa.binary()) if keep else None

        def take(batch: pa.RecordBatch, start: int, stop: int) -> None:
            batch = batch.append_column(LINE, numbers.slice(start, stop - start))
            if sources is not None:
                batch = batch.append_column(SOURCE, sources.slice(start, stop - start))
            settled.parts.append(batch)

        if isinstance(records, Rows):
            batch, refused = rows.batch_of_rows(layout, records.values[:count]), set()
        else:
            batch, positions, notes = segment.decoder.batch(records, count)
            refused = set(positions)
            settled.notes.add(notes)
        invalid = self._invalid(layout.validate, segment, count) if layout.validate else {}
        done = 0
        lines = records.lines(count) if refused or invalid else []
        for position in sorted(refused.union(invalid)):
            take(batch.slice(done, position - done), done, position)
            line, number = lines[position], numbers[position].as_py()
            try:
                if position in invalid:
                    raise invalid[position]
                call = deeply if self.is_deep else _call
                row = call(self._slow_row, segment.decoder, line, number, settled.notes)
            except RecordError as fault:
                if not keep:
                    raise
                settled.faults.append((fault, line))
            else:
                take(rows.batch_of_rows(layout, [row]), position, position + 1)
            done = position + 1
        take(batch.slice(done), done, count)

    def _slow_row(self, decoder: Decoder, line: bytes, number: int, notes: Notes) -> list[Any]:
        ours = Notes()
        row = rows.slow_row(decoder.layout, line, number, ours)
        notes.add(ours)
        self._expect(line, ours)
        return row

    def _invalid(self, validate: Callable[[bytes], None], segment: Segment, count: int) -> dict[int, RecordError]:
        """Return the faults of records that break a keyword of the schema, by position."""
        found = {}
        numbers = segment.records.numbers()
        for position, line in enumerate(segment.records.lines(count)):
            try:
                validate(line)
            except ValueError as error:
                path, _, fault = str(error).partition(": ")
                found[position] = RecordError(fault, line=int(numbers[position]), stream=self.name, path=path)
        return found

    def buffer(self, settled: Settled) -> None:
        """Stamp rows and keep them until they are worth a statement."""
        batch = together(settled.parts)
        if self.wanted.stamped:
            batch = self._stamp(batch)
        self.batches.append(batch)
        self.buffered += batch.nbytes
        self.size += settled.size

    def _stamp(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Add the time of receipt; never twice the same within a stream, and never backwards."""
        start = max(time.time_ns() // 1000, self.stamp + 1)
        self.stamp = start + batch.num_rows - 1
        stamps = pa.array(np.arange(start, self.stamp + 1), kinds.arrow_type(kinds.TIMESTAMP))
        return batch.add_column(len(self.table.columns) - 1, self.table.columns[-1].name, stamps)

    def received(self, line: int) -> int:
        """Return the stamp of what came in *line* and makes no row: rows of later lines have later ones."""
        if self.batches and self.wanted.stamped:
            batch = self.batches[-1]
            later = int(np.searchsorted(batch.column(LINE).to_numpy(), line))
            if later < batch.num_rows:
                stamp: int = batch.column(self.wanted.table.columns[-1].name)[later].value
                return stamp - 1
        self.stamp = max(time.time_ns() // 1000, self.stamp)
        return self.stamp

    def take(self) -> Written:
        """Return what is buffered as one batch, and forget it."""
        taken = Written(self.name, self.table, together(self.batches), self.size)
        self.batches, self.buffered, self.size = [], 0, 0
        return taken


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def stamped(rejected: Rejected, streams: Mapping[str, Stream]) -> Rejected:
    """Return an invalid record with the time of its receipt, on the clock of its stream."""
    stream = streams.get(rejected.stream or "")
    if stream is None:
        return rejected
    at = pa.scalar(stream.received(rejected.line), kinds.arrow_type(kinds.TIMESTAMP))
    return replace(rejected, at=at.as_py())


def together(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Return the rows of one or several batches as one."""
    batches = [batch for batch in batches if batch.num_rows] or batches[:1]  # a table without rows has no batch
    return batches[0] if len(batches) == 1 else pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
