"""The whole program in one file: lines come in, rows are committed, STATEs go out.

    bytes -> lines -> records of one stream -> batch -> table -> COMMIT -> STATE

`Target.run` reads chunks of lines. Each line is tried by the decoder of the stream that the line
before belonged to, in C and without a look at what the line is; what it refuses is looked at here
(`_odd_line`). At the end of a chunk what was decoded becomes Arrow batches (`_settle`), which a
second thread writes into the open transaction while the next chunk is decoded. A flush commits
that one transaction over all streams, and then writes the newest STATE that came before it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec

from . import messages, tables, values
from .decode import Decoder
from .dialect import Dialect
from .errors import DatabaseError, MessageError, OutputError, RecordError, SchemaError, Stopped, TargetError
from .ledger import Ledger, Rejected, new_run_id
from .loader import Loader
from .report import Report
from .stream import Stream

SETTLE_BYTES = 1 << 20  # of input, for each stream in it: a batch of a few rows costs as one of many
SETTLE_STREAMS = 8
SEND_BYTES = 2 << 20  # of Arrow data: enough for one COPY to be worth its round trips
BUFFER_BYTES = 32 << 20  # over all streams, before the small ones are sent, too
IDLE_SECONDS = 5.0  # no transaction stays open while the tap is silent for longer
REFUSED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Envelope(msgspec.Struct, gc=False):
    """What a line says of itself, if it says it; the rest is skipped."""

    type: str = ""
    stream: str = ""


@dataclass(frozen=True)
class Result:
    """What a run did: its report's summary, and the last STATE that was emitted, as JSON text."""

    summary: dict[str, Any]
    state: str | None


@dataclass
class Signals:
    """How a signal reaches the loop: its number, and a descriptor that ends the waiting."""

    received: int | None = None
    wakeup: int = -1


class Target:
    """One run. All that changes while it runs is here, or in the streams that it holds.

    *emit* is called with each STATE's JSON after its COMMIT, in the thread of the database. With
    *plan* the DDL is shown and nothing is changed.
    """

    def __init__(
        self,
        dialect: Dialect[Any],
        emit: Callable[[str], None],
        report: Report | None = None,
        signals: Signals | None = None,
        plan: tables.Plan | None = None,
    ):
        self.dialect = dialect
        self.settings = dialect.settings
        self.emit = emit
        self.report = report or Report()
        self.signals = signals or Signals()
        self.plan = plan
        self.rules = values.Rules(self.settings.on_bad_text == "replace", self.settings.unknown_fields)
        self.names = tables.Names()
        self.most_rows = sys.maxsize if self.settings.state_id else self.settings.batch_rows
        self.keeps = self.settings.invalid_records == "quarantine"
        self.streams: dict[str, Stream] = {}
        self.current: Stream | None = None  # of the line before
        self.schema_lines: dict[bytes, Stream] = {}  # the last SCHEMA of each stream
        self.states: list[tuple[int, str]] = []  # since the last `_settle`, with their line numbers
        self.faults: list[Rejected] = []  # since then, that were found before it
        self.is_covered = True  # by the newest STATE is every record before it
        self.is_resting = False  # nothing is to be done before the tap goes on
        self.unsettled = 0  # bytes of input since the last `_settle`
        self.rows = 0  # since the last COMMIT
        self.bytes = 0  # of input since then
        self.since = time.monotonic()  # when the first of these rows came
        self.told_activate_version = False

    # --- the loop

    def run(self, source: messages.Source) -> Result:
        """Load *source* to its end.

        Raises:
            TargetError: after all that came before the fault is committed and its STATE emitted.
        """
        schema = self.settings.schema or self.dialect.default_schema or ""
        self.loader = Loader(self.dialect, self.emit, self.report, Ledger(self.dialect, schema, new_run_id()))
        try:
            if not self.plan:
                self.loader.start()
            self._read(source)
        finally:
            self.loader.close()
            self.report.finish()
        return Result(self.report.summary(), self.loader.emitted)

    def _read(self, source: messages.Source) -> None:
        try:
            for chunk in messages.read_chunks(source, self._wait, self.signals.wakeup, self.settings.max_message_bytes):
                self._chunk(chunk)
                if self.signals.received:
                    raise Stopped(self.signals.received)
                self._end_of_chunk(is_idle=not chunk.lines)
                self.report.progress()
            self._flush()
            self.loader.wait()
        except (DatabaseError, OutputError):
            raise
        except TargetError as fault:
            raise self._finished(fault) from None

    def _finished(self, fault: TargetError) -> TargetError:
        """Commit what came before *fault*; return it, or an earlier one that shows only now."""
        try:
            self._settle(fault.line if isinstance(fault, MessageError) else None)
            if self.settings.state_id:
                return self._salvaged(fault, None)
            self._flush()
            self.loader.wait()
        except RecordError as earlier:
            return self._salvaged(earlier, earlier.line)
        return fault

    def _salvaged(self, fault: TargetError, before: int | None) -> TargetError:
        """Commit what came before line *before*; the transaction has more than that already."""
        for stream in self.streams.values():
            if stream.batches:
                self.loader.keep(stream.name, stream.table, stream.take())
        try:
            self.loader.salvage(before)
        except RecordError as earlier:
            return self._salvaged(earlier, earlier.line)
        return fault

    def _wait(self) -> float | None:
        """Return for how long the tap may be silent: seconds, None for ever."""
        if self.is_resting or not self._has_uncommitted():
            return None
        return max(0.0, min(IDLE_SECONDS, self.since + self.settings.batch_seconds - time.monotonic()))

    def _has_uncommitted(self) -> bool:
        return bool(self.rows or self.faults or self.states)

    def _is_due(self) -> bool:
        """Tell whether enough has come, or long enough ago, for a COMMIT."""
        settings = self.settings
        is_old = time.monotonic() - self.since >= settings.batch_seconds
        return self.rows >= settings.batch_rows or self.bytes >= settings.batch_bytes or is_old

    def _end_of_chunk(self, is_idle: bool) -> None:
        if not self._has_uncommitted() or not (is_idle or self._is_due()):
            return
        if not self.settings.state_id or self.is_covered:
            self._flush()
        elif is_idle:
            self._settle()
            self.loader.rest()
            self.is_resting = True

    # --- lines to records

    def _chunk(self, chunk: messages.Chunk) -> None:
        """Take all lines of a chunk."""
        self.is_resting = self.is_resting and not chunk.lines
        lines: Iterator[bytes] = iter(chunk.lines)
        number = chunk.first
        end = chunk.first + len(chunk.lines)
        while number < end:
            number += self._records(chunk, lines, number)
            if self.rows >= self.most_rows:
                self._flush()
            elif number < end:
                self._odd_line(chunk.lines[number - chunk.first], number)
                number += 1
        self.bytes += chunk.size
        self.report.bytes += chunk.size
        self.unsettled += chunk.size
        waiting = sum(bool(stream.pending) for stream in self.streams.values())
        if self.unsettled >= SETTLE_BYTES * min(waiting, SETTLE_STREAMS):
            self._settle()

    def _records(self, chunk: messages.Chunk, lines: Iterator[bytes], number: int) -> int:
        """Decode records of the current stream until another line comes, and return how many.

        That other line is consumed. Fewer lines than there are, when the batch is full.
        """
        if self.current is None:
            next(lines)
            return 0
        room = self.most_rows - self.rows
        segment = self.current.fast()
        before = len(segment.messages)
        try:
            segment.messages.extend(map(self.current.decoder.decode, islice(lines, room)))
        except REFUSED:
            pass  # the list has what came before
        count = len(segment.messages) - before
        at = number - chunk.first
        segment.lines.extend(chunk.lines[at : at + count])
        segment.numbers.extend(range(number, number + count))
        self._count(self.current, count)
        return count

    def _count(self, stream: Stream, count: int) -> None:
        if not self.rows and count:
            self.since = time.monotonic()
        self.rows += count
        self.is_covered = self.is_covered and not count
        self.report.of(stream.name).read += count

    def _odd_line(self, line: bytes, number: int) -> None:
        """Take a line that is no plain record of the current stream."""
        try:
            self._message(line, number)
        except MessageError as fault:
            if not self.keeps:
                raise
            self.is_covered = False
            self.faults.append(Rejected.of(fault, line))

    def _message(self, line: bytes, number: int) -> None:
        known = self.schema_lines.get(line)
        if known:  # some taps repeat the SCHEMA every few records
            self.current = known
            return
        if not line.strip():
            return
        try:
            envelope = msgspec.json.decode(line, type=Envelope)
        except REFUSED:
            envelope = Envelope()
        if envelope.type == "RECORD" and envelope.stream in self.streams:
            self._record(line, number, self.streams[envelope.stream])
            return
        message = messages.parse(line, number, self.rules)
        if isinstance(message, messages.Record):
            if message.stream not in self.streams:
                raise MessageError(f"a RECORD of stream {message.stream!r} before its SCHEMA", line=number)
            self._record(line, number, self.streams[message.stream])
        elif isinstance(message, messages.State):
            self._state(message, number)
        elif isinstance(message, messages.Schema):
            self._schema(message, line, number)
        else:
            self._other(message)

    def _record(self, line: bytes, number: int, stream: Stream) -> None:
        """Take one record, by the fast path if it has not been tried yet."""
        self._count(stream, 1)
        if stream is not self.current:
            self.current = stream
            try:
                message = stream.decoder.decode(line)
            except REFUSED:
                pass
            else:
                segment = stream.fast()
                segment.messages.append(message)
                segment.lines.append(line)
                segment.numbers.append(number)
                return
        stream.add_slow(line, number)

    def _state(self, message: messages.State, number: int) -> None:
        self.states.append((number, message.text))
        self.is_covered = True
        if not self.rows or (self.settings.state_id and self._is_due()):
            self._flush()

    def _other(self, message: messages.Other) -> None:
        if message.type == "ACTIVATE_VERSION":
            if not self.told_activate_version and self.settings.activate_version != "ignore":
                self.report.warn("ACTIVATE_VERSION is not supported yet: rows of older versions stay as they are")
            self.told_activate_version = True
        else:
            self.report.warn(f"a message of type {message.type!r} is skipped")

    # --- a SCHEMA

    def _schema(self, message: messages.Schema, line: bytes, number: int) -> None:
        """Let the stream's table follow a SCHEMA that is not the last one again."""
        try:
            wanted = tables.wanted(message, self.settings, self.dialect)
            self.names.claim(message.stream, wanted.table.name)
            stream = self.streams.get(message.stream)
            if stream is None or stream.wanted != wanted:
                stream = self._followed(message.stream, wanted, stream)
        except SchemaError as error:
            raise type(error)(f"line {number}: stream {message.stream!r}: {error}") from None
        self.schema_lines = {known: at for known, at in self.schema_lines.items() if at is not stream}
        self.schema_lines[line] = stream
        self.current = stream

    def _followed(self, name: str, wanted: tables.Wanted, stream: Stream | None) -> Stream:
        policy = tables.policy(name, self.settings, self.dialect)
        if self.plan:
            table, stamp = self.loader.plan(wanted.table, policy, self.plan), 0
        else:
            if self.loader.needs_changes(wanted.table, policy):
                self._send_all() if self.settings.state_id and not self.is_covered else self._flush()
            table, stamp = self.loader.follow(name, wanted.table, policy)
        if stream is None:
            stream = self.streams[name] = Stream(name, stamp=stamp)
        elif stream.pending or stream.batches:
            self._settle()
            self._send(stream)
        stream.follow(wanted, table, Decoder(tables.layout(wanted, table, self.settings, self.rules)))
        return stream

    # --- records to rows

    def _settle(self, before: int | None = None) -> None:
        """Turn what is pending into batches; of lines from *before* on, nothing.

        Raises:
            RecordError: of the first invalid record; what came before it is settled.
        """
        self.unsettled = 0
        done, faults = [], []
        for stream in self.streams.values():
            if stream.pending:
                try:
                    done.append((stream, stream.settle(before, self.keeps)))
                except RecordError as fault:
                    faults.append(fault)
        if faults:
            first = min(faults, key=lambda fault: fault.line)
            self._settle(first.line)
            raise first
        for stream, settled in done:
            stream.pending.clear()
            settled.notes.add(stream.take_notes())
            self.report.notes(stream.name, settled.notes)
            self.faults += [Rejected.of(fault, line) for fault, line in settled.faults]
            if settled.parts and not self.plan:
                stream.buffer(settled.parts)
        self._tell(before)
        self._send_large()

    def _tell(self, before: int | None) -> None:
        """Hand over STATEs and invalid records; all rows before them are settled."""
        states = [one for one in self.states if before is None or one[0] < before]
        faults = sorted((one for one in self.faults if before is None or one.line < before), key=lambda one: one.line)
        self.states, self.faults = [], []
        if self.plan:
            return
        for number, text in states:
            self.loader.note_state(number, text)
        if faults:
            self.loader.reject(faults)

    def _send_large(self) -> None:
        buffered = sum(stream.buffered for stream in self.streams.values())
        for stream in self.streams.values():
            if stream.buffered >= SEND_BYTES or buffered >= BUFFER_BYTES:
                self._send(stream)

    def _send(self, stream: Stream) -> None:
        """Let the worker write what the stream has buffered into the open transaction."""
        if stream.batches:
            self.loader.write(stream.name, stream.table, stream.take())

    def _send_all(self) -> None:
        self._settle()
        for stream in self.streams.values():
            self._send(stream)

    def _flush(self) -> None:
        """Commit all that came, then emit its newest STATE; wait for neither."""
        self._send_all()
        if not self.plan:
            self.loader.commit()
        self.rows = self.bytes = 0
        self.since = time.monotonic()
