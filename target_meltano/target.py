"""The whole program in one file: lines come in, rows are committed, STATEs go out.

    bytes -> lines -> records of one stream -> batch -> table -> COMMIT -> STATE

`Target.run` reads chunks of lines. Each line is tried by a reader that knows the streams under way,
in C and without the GIL; what it refuses is looked at here (`_odd_line`). After some chunks what was
decoded becomes Arrow batches (`_settle`), which a second thread writes into the open transaction
while the next chunk is decoded. A flush commits that one transaction over all streams, and then
writes the newest STATE that came before it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import batches, decode, deep, masking, messages, schema, tables, wanting, widening
from .decode import Decoder
from .dialect import Dialect
from .diff import diff, kept_kinds
from .errors import LOST, BatchError, MessageError, RecordError, SchemaError, Stopped, TapError, TargetError, shown
from .kept import Lines
from .ledger import Ledger, new_run_id
from .lines import Chunk, Source, of_tap
from .loader import Loader
from .logbased import NewFields
from .outbox import Flush, Outbox
from .overwrite import incomplete
from .refusals import Refusals, Refused, Waiting, placed, remedied
from .report import Report, Result
from .settings import Settings
from .stream import Stream
from .unmatched import unmatched
from .worker import Signals

Known = Stream | Refused | Waiting
SETTLE_BYTES = 4 << 20  # of input, for each share in it: a batch of a few rows costs as one of many
IDLE_SECONDS = 5.0  # no transaction stays open while the tap is silent for longer


class Target:
    """One run. All that changes while it runs is here, or in the streams that it holds.

    *emit* is called with each STATE's JSON after its COMMIT, in the thread of the database. With
    *plan* the DDL is shown and nothing is changed. *tap_status* waits for the tap's exit status at
    the end of the input, which a bare pipe cannot know.
    """

    def __init__(
        self,
        dialect: Dialect[Any],
        emit: Callable[[str], None],
        report: Report | None = None,
        signals: Signals | None = None,
        plan: tables.Plan | None = None,
        tap_status: Callable[[], int] | None = None,
    ):
        self.dialect = dialect
        self.settings: Settings = dialect.settings
        self.emit = emit
        self.report = report or Report()
        self.signals = signals or Signals()
        self.plan = plan
        self.tap_status = tap_status
        self.rules = wanting.rules_of(self.settings)
        self.masking = masking.stage(self.settings.pii, unlisted=self.settings.pii_unlisted, unknown=self.settings.unknown_fields)
        self.names = wanting.Names()
        self.refusals = Refusals()
        self.waiting: dict[str, Waiting] = {}  # for a SCHEMA that names properties
        self.opened: set[str] = set()  # streams of which some SCHEMA names none
        self.most_rows = sys.maxsize if self.settings.state_id else self.settings.batch_rows
        self.streams: dict[str, Stream] = {}
        self.current: Stream | None = None  # that is put into the reader first
        self.reader = decode.reader()
        self.schema_lines: dict[bytes, Stream] = {}  # the last SCHEMA of each stream
        self.is_covered = True  # by the newest STATE is every record before it
        self.is_whole = False  # a STATE has come, and no record or stream after it
        self.overwrites = self.report.awaits_swap = self.settings.load_method == "overwrite"
        self.lines = Lines()
        self.shift = 0  # from a line's number to that of its record: the records of each BATCH count
        self.are_utf8 = False  # the lines of this chunk, for sure
        self.is_resting = False  # nothing is to be done before the tap goes on
        self.unsettled = 0  # bytes of input since the last `_settle`
        self.flush = Flush(self.settings)

    # --- the loop

    def run(self, source: Source) -> Result:
        """Load *source* to its end.

        Raises:
            TargetError: after all that came before the fault is committed and its STATE emitted.
        """
        self.report.run_id = self.dialect.run_id = new_run_id()
        ledger = Ledger(self.dialect, self.settings.schema or self.dialect.default_schema or "", self.report.run_id)
        self.loader = Loader(self.dialect, self.emit, self.report, ledger, self.lines)
        keeps = self.settings.invalid_records == "quarantine"
        self.outbox = Outbox(self.loader, self.report, keeps, self.plan is not None, self.streams, lines=self.lines)
        self.loader.send_rest = self._send_all
        self.signals.is_under_way = True
        try:
            if not self.plan:
                self.loader.start()
            self._read(source)
            for waiting in self.waiting.values():
                self.report.info(f"stream {waiting.name!r}: no SCHEMA of it names a property, so its table stays as it is")
            for words in unmatched(self.settings, self.streams, {*self.waiting, *self.refusals.told}):
                self.report.warn(words)
            if error := self.refusals.error():
                raise error
        finally:
            self.loader.close()
            self.report.finish()
        return self.report.result()

    def _read(self, source: Source) -> None:
        try:
            for chunk in of_tap(source, self._wait, self.signals.wakeup, self.settings.max_message_bytes):
                self._take(chunk)
            self._end()
        except LOST:
            raise
        except TargetError as fault:
            raise remedied(self.lines.placed(self._finished(fault)), self.outbox.keeps) from None

    def _take(self, chunk: Chunk, stream: Known | None = None) -> None:
        """Take a chunk, and do what is due after each: of a BATCH, too, which may be longer than all the rest."""
        self._chunk(chunk, stream)
        if self.signals.received:
            raise Stopped(self.signals.received)
        self._end_of_chunk(is_idle=not chunk.lines)
        self.report.progress()

    def _end(self) -> None:
        """Commit the rest, if the tap has ended well as far as can be known.

        With `overwrite` let the new rows take the place of the old ones.
        """
        status = self.tap_status() if self.tap_status else None
        if status:
            raise TapError(f"the tap ended with exit status {status}: what came behind its last STATE may be incomplete")
        masking.finish(self.masking)
        self._flush()
        if self.overwrites and self.streams and not self.plan:
            if not (self.is_whole or status == 0):
                raise incomplete(self.streams)
            self.loader.swap()
        self.loader.wait()
        self.report.awaits_swap = False

    def _finished(self, fault: TargetError) -> TargetError:
        """Commit what came before *fault*; return it, or an earlier one that shows only now."""
        before = fault.line if isinstance(fault, MessageError) else None
        try:
            self._settle(before)
            if self.settings.state_id or self.overwrites:
                return self.outbox.salvage(fault, before)
            self._flush()
            self.loader.wait()
        except MessageError as earlier:
            return self.outbox.salvage(earlier, earlier.line)
        return fault

    def _wait(self) -> float | None:
        """Return for how long the tap may be silent: seconds, None for ever."""
        if self.is_resting or not self._has_uncommitted():
            return None
        return max(0.0, min(IDLE_SECONDS, self.flush.seconds_left()))

    def _has_uncommitted(self) -> bool:
        return bool(self.flush.rows or self.outbox.rejected or self.outbox.states)

    def _end_of_chunk(self, is_idle: bool) -> None:
        if self.loader.is_in_doubt and self.outbox.has_sent:
            self._send_all()
            self.loader.sort_out()
        if not self._has_uncommitted() or not (is_idle or self.flush.is_due()):
            return
        if not self.settings.state_id or self.is_covered:
            self._flush()
        elif is_idle:
            self._settle()
            self.loader.rest()
            self.is_resting = True

    # --- lines to records

    def _chunk(self, chunk: Chunk, stream: Known | None = None) -> None:
        """Take all lines of a chunk; those of a BATCH are records of its *stream* and nothing else."""
        self.is_resting = self.is_resting and not chunk.lines
        for part in masking.parts(self.masking, chunk, self.report.left_out):
            self._part(part, stream)
        self.flush.bytes += chunk.size
        self.report.bytes += chunk.size
        self.unsettled += chunk.size
        if self.unsettled >= SETTLE_BYTES and self.unsettled >= SETTLE_BYTES * self.outbox.shares():
            self._settle()

    def _part(self, chunk: Chunk, stream: Known | None) -> None:
        at = 0
        while at < len(chunk.lines):
            self.are_utf8 = chunk.are_utf8
            at += self._records(chunk, at)
            if self.flush.rows >= self.most_rows:
                self._flush()
            elif at < len(chunk.lines):
                self._odd_line(chunk.lines[at], chunk.first + at + self.shift, stream)
                at += 1

    def _records(self, chunk: Chunk, at: int) -> int:
        """Read records until another line comes, or the batch is full, and return how many."""
        if self.current and self.current.key not in self.reader:
            self._put(self.current)
        stop = min(len(chunk.lines), at + self.most_rows - self.flush.rows)
        return self._read_lines(chunk.lines, at, stop, chunk.first + at + self.shift)

    def _read_lines(self, lines: Sequence[bytes], start: int, stop: int, number: int) -> int:
        count = 0
        for stream, its in self.reader.read(lines, start, stop, number, self.are_utf8):
            self._count(stream, its)
            count += its
        return count

    def _put(self, stream: Stream) -> None:
        """Let the reader know a stream, until its records settle."""
        self.current = stream
        self.reader.put(stream.key, stream.fast(), stream)

    def _count(self, stream: Known, count: int) -> None:
        self.flush.add(stream.name, count)
        self.is_covered = self.is_covered and not count
        self.is_whole = self.is_whole and not count
        self.report.of(stream.name).read += count

    def _odd_line(self, line: bytes, number: int, stream: Known | None) -> None:
        """Take a line that is no plain record of a stream that the reader knows."""
        try:
            self._batch_line(line, number, stream) if stream else self._message(line, number)
        except MessageError as fault:
            # It may be that of a row before, known only now. A file is no row.
            if not self.outbox.keeps or fault.line != number or isinstance(fault, BatchError):
                raise
            self.is_covered = False
            self.outbox.reject(fault, line)

    def _message(self, line: bytes, number: int) -> None:
        known = self.schema_lines.get(line)
        if known:  # some taps repeat the SCHEMA every few records
            self.current = known
            return
        if not line.strip():
            return
        envelope = messages.envelope(line)
        stream = self._stream(envelope.stream) if envelope.type == "RECORD" else None
        if stream:
            self._record(line, number, stream, envelope.version)
            return
        try:
            masking.refuse_withheld(line, number, self.lines.of)
            message = messages.parse(line, number, self.rules)
        except (MessageError, masking.MaskedSchemaError) as fault:
            if envelope.type.upper() != "SCHEMA" or not envelope.stream or not self._put_aside(envelope.stream, fault.fault, number, line):
                raise
            return
        if isinstance(message, messages.Record):
            stream = self._stream(message.stream)
            if stream is None:
                raise MessageError(f"a RECORD of stream {message.stream!r} before its SCHEMA", line=number)
            self._record(line, number, stream, message.version)
        elif isinstance(message, messages.State):
            self._state(message, number)
        elif isinstance(message, messages.Schema):
            self._schema(message, line, number)
        elif isinstance(message, messages.Activate):
            self._activate(message, number)
        elif isinstance(message, messages.Batch):
            self._batch(message, number)
        else:
            self.report.odd(message.stream or "", f"a message of type {shown(message.type)} is skipped", 1)

    def _stream(self, name: str) -> Known | None:
        """Return what is known of a stream; where it is put aside, that."""
        return self.refusals.streams.get(name) or self.streams.get(name) or self.waiting.get(name)

    def _record(self, line: bytes, number: int, stream: Known, version: int | None = None) -> None:
        """Take one record, by the fast path if it has not been tried yet."""
        if isinstance(stream, Waiting):
            self._count(stream, 1)
            raise stream.fault(number)
        if isinstance(stream, Refused):
            self._reject(line, number, stream)
            return
        if stream.is_deep and not deep.is_here():
            deep.deeply(self._record, line, number, stream, version)
            return
        if version is not None and stream.decoder.layout.versioned is False and (refused := self._widen(stream, number)):
            self._reject(line, number, refused)
            return
        if self.flush.is_full(stream.name):
            self._flush()
        if stream.key not in self.reader:
            self._put(stream)
            if self._read_lines([line], 0, 1, number):
                return
        try:
            stream.add_slow(line, number)
        except NewFields as new:
            self._record(line, number, self._widen(stream, number, new.fields) or stream)
        except RecordError:
            self._count(stream, 1)
            raise
        else:
            self._count(stream, 1)
            self._put(stream)

    def _state(self, message: messages.State, number: int) -> None:
        self.outbox.states.append((number, message.text))
        self.is_covered = self.is_whole = True
        if not self.flush.rows or (self.settings.state_id and self.flush.is_due()):
            self._flush()

    def _activate(self, message: messages.Activate, number: int) -> None:
        """Let the older versions of a stream's rows not be current any more, after its rows are sent."""
        stream = self._stream(message.stream)
        if isinstance(stream, Refused):
            self.report.odd(stream.name, "its ACTIVATE_VERSION is skipped, since its SCHEMA is refused", 1)
        elif isinstance(stream, Waiting):
            stream.activate = message
        elif stream and stream.decoder.layout.versioned and not self.plan:
            self._settle()
            self.outbox.send(stream)
            self.outbox.has_sent = True
            self.loader.activate(stream.name, stream.table, message.version, number)
            self._count(stream, 0)
            self.flush.add(stream.name, 1)  # something to be committed
            self.is_covered = False

    def _batch(self, message: messages.Batch, number: int) -> None:
        """Take the records of a BATCH as if each were a line of its own, behind the BATCH's."""
        stream = self._stream(message.stream)
        if stream is None:
            raise BatchError(f"a BATCH of stream {message.stream!r} before its SCHEMA", line=number)
        before, self.shift = self.shift, number
        count = 0
        try:
            for part in batches.read_records(message, self.settings.batch_root, self.settings.max_message_bytes):
                chunk = part.chunk(count + 1)
                count += len(chunk.lines)
                self.lines.add(number, count, part.place)
                self._take(chunk, stream)
        except batches.Unreadable as error:
            raise BatchError(f"stream {message.stream!r}: {error}", line=number) from None
        finally:
            self.shift = before + count

    def _batch_line(self, line: bytes, number: int, stream: Known) -> None:
        """Take a record of a BATCH, whatever its line says; meanwhile its stream may have been put aside."""
        masking.refuse_withheld(line, number, self.lines.of)
        stream = self._stream(stream.name) or stream
        batches.refuse_invalid(line, number, stream.name)
        self._record(line, number, stream)

    # --- a SCHEMA

    def _schema(self, message: messages.Schema, line: bytes, number: int) -> None:
        """Let the stream's table follow a SCHEMA that is not the last one again."""
        refused = self.refusals.streams.get(message.stream)
        if refused and refused.schema == line:
            return
        if message.stream in self.streams and schema.is_open(message.schema):  # it says nothing new
            self.opened.add(message.stream)
            return
        try:
            wanted = wanting.wanted(message, self.settings, self.dialect, message.stream in self.opened)
            if wanted.is_deep and not deep.is_here():
                deep.deeply(self._schema, message, line, number)
                return
            self.names.claim(message.stream, wanted.table)
            stream = self.streams.get(message.stream)
            wanted = widening.like(wanted, stream.wanted, self.dialect) if stream else wanted
            if stream is None or stream.wanted != wanted:
                stream = self._followed(message.stream, wanted, stream, number, line.decode("utf-8", "replace"))
        except wanting.NoProperties:
            self._wait_for_properties(message.stream, line, number)
            return
        except SchemaError as error:
            if self._put_aside(message.stream, str(error), number, line):
                return
            raise placed(error, message.stream, self.lines.of(number)[0]) from None
        self.refusals.streams.pop(message.stream, None)
        self.opened.update([message.stream] if wanted.texts else [])
        waiting = self.waiting.pop(message.stream, None)
        if waiting and waiting.activate:
            self._activate(waiting.activate, number)
        self.schema_lines = {known: at for known, at in self.schema_lines.items() if at is not stream}
        self.schema_lines[line] = stream
        if self.flush.is_full(stream.name):
            self._flush()
        self.current = stream

    def _wait_for_properties(self, name: str, line: bytes, number: int) -> None:
        """Take a SCHEMA that names no property: records have to wait for another one."""
        self.opened.add(name)
        if name in self.waiting:
            return
        self.waiting[name] = Waiting(name, self.lines.of(number)[0])
        if self.outbox.keeps and not self.plan:
            self.loader.put_aside(name, line.decode("utf-8", "replace"))

    def _put_aside(self, name: str, why: str, number: int, line: bytes = b"") -> bool:
        """Put a stream aside whose SCHEMA is refused, if that is wanted; tell whether it is now.

        With `overwrite` not one that has rows already: they would take the place of all.
        """
        stream = self.streams.get(name)
        if self.settings.invalid_schemas == "fail" or (self.overwrites and stream):
            return False
        words = f"line {self.lines.of(number)[0]}: {why.removeprefix(f'stream {name!r}: ')}"
        if self.refusals.add(Refused(name, words, line)):
            self.report.warn(f"stream {name!r}: {words}; its records go into __rejected (setting invalid_schemas)")
        self.report.refused = self.refusals.told
        self.waiting.pop(name, None)
        self.reader.clear()  # it may know the stream
        self.current = None if self.current is stream else self.current
        self.schema_lines = {known: at for known, at in self.schema_lines.items() if at is not stream}
        if not self.plan:
            self.loader.put_aside(name, line.decode("utf-8", "replace"))
        return True

    def _reject(self, line: bytes, number: int, stream: Refused) -> None:
        """Keep a record of a stream that is put aside."""
        self.outbox.reject(stream.fault(number), line, counts=False)
        self._count(stream, 1)

    def _widen(self, stream: Stream, number: int, fields: Mapping[str, Any] | None = None) -> Refused | None:
        """Let the table have the columns that a record needs and the SCHEMA did not name: *fields*, or versions.

        Return the stream as it is put aside, if it cannot.
        """
        try:
            wanted = stream.wanted.with_versions(self.dialect) if fields is None else widening.with_fields(stream.wanted, fields, self.dialect)
            self._followed(stream.name, wanted, stream, number)
        except SchemaError as error:
            if self._put_aside(stream.name, str(error), number):
                return self.refusals.streams[stream.name]
            raise placed(error, stream.name, self.lines.of(number)[0]) from None
        return None

    def _followed(self, name: str, wanted: wanting.Wanted, stream: Stream | None, number: int, line: str | None = None) -> Stream:
        policy, found = tables.policy(name, self.settings, self.dialect), self.loader.found(wanted.table)
        wanted = widening.as_found(wanted, found, self.dialect)
        if self.plan:
            table, stamp = self.loader.plan(wanted.table, policy, self.plan), 0
        else:
            lacks = diff(kept_kinds(wanted.table, found, policy), found, policy) or self.loader.lacking(wanted.table)
            # A new table is in the way of no rows that only wait here: 20 new streams would be 20 COMMITs.
            if (lacks or (self.overwrites and not stream)) and (stream or self.outbox.has_sent):
                self._send_all() if self.settings.state_id and not self.is_covered else self._flush()
            table, stamp = self.loader.follow(name, wanted.table, policy, line, number)
            self.is_whole = False
        layout = wanting.layout(wanted, table, self.settings, self.dialect)
        for words in wanted.told.values() if stream is None or stream.wanted.told != wanted.told else ():
            self.report.warn(f"stream {name!r}: {words}")
        self.reader.clear()  # the decoder will be another one
        if stream is None:
            stream = self.streams[name] = Stream(name, stamp=stamp)
        elif stream.pending or stream.batches:
            self._settle()
            self.outbox.send(stream)
        self.report.note_absent(name, is_null=bool(table.keys) and layout.keeps != "all")
        stream.follow(wanted, table, Decoder(layout))
        return stream

    # --- records to rows

    def _settle(self, before: int | None = None) -> None:
        self.unsettled = 0
        self.reader.clear()
        self.outbox.settle(before)

    def _send_all(self) -> None:
        self.unsettled = 0
        self.reader.clear()
        self.outbox.send_all()

    def _flush(self) -> None:
        """Commit all that came, then emit its newest STATE; wait for neither."""
        self._send_all()
        if not self.plan:
            self.loader.commit()
        self.outbox.has_sent = False
        self.flush.clear()
