"""What was written since the last COMMIT, kept so that it can be written again."""

from __future__ import annotations

import tempfile
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc

from .diff import Policy, Table
from .errors import MessageError, SpoolError, TargetError
from .rows import ABSENT

LINE = "\0line"  # column of a batch with the number of each row's line
SOURCE = "\0source"  # and with the line itself, where invalid records are kept
HIDDEN = (ABSENT, LINE, SOURCE)  # no table has columns of such names
IN_MEMORY = 64 << 20  # bytes; the rest waits in a file that has no name


@dataclass(frozen=True)
class _Records:
    """The *count* records of a BATCH behind its number, *start*; *shift* records of others came before."""

    start: int
    count: int
    shift: int


class Lines:
    """Which line a record came in. Records are numbered by their lines, but those of a BATCH count, too.

    The main thread adds and the database's thread reads: entries are appended, or one takes the place
    of the last one in a single step, and an entry never changes.
    """

    def __init__(self) -> None:
        self._batches: list[_Records] = []
        self._places: list[tuple[int, str]] = []  # with the number of the first record in each

    def add(self, number: int, count: int, place: str = "") -> None:
        """Note that the BATCH of this *number* has *count* records so far, those since the last call in *place*."""
        last = self._batches[-1] if self._batches else _Records(0, 0, 0)
        first = number + 1
        if last.start == number:
            first += last.count
            self._batches[-1] = _Records(number, count, last.shift)
        else:
            self._batches.append(_Records(number, count, last.shift + last.count))
        if first <= number + count and (not self._places or self._places[-1][1] != place or first == number + 1):
            self._places.append((first, place))

    def of(self, number: int) -> tuple[int, int]:
        """Return the line of a record's number, and its place in the BATCH, 0 if it is not in one."""
        at = bisect_left(self._batches, number, key=lambda one: one.start)
        if not at:
            return number, 0
        batch = self._batches[at - 1]
        if number <= batch.start + batch.count:
            return batch.start - batch.shift, number - batch.start
        return number - batch.shift - batch.count, 0

    def place(self, number: int) -> str:
        """Return the file of a record of a BATCH, and which record or row of it, empty for other records."""
        if not self.of(number)[1]:
            return ""
        first, place = self._places[bisect_right(self._places, number, key=lambda one: one[0]) - 1]
        return f"{place}, {'row' if ', row group ' in place else 'record'} {number - first + 1}"

    def placed(self, error: TargetError) -> TargetError:
        """Return *error* with the line for the number that it has."""
        if isinstance(error, MessageError):
            number = error.line
            error.line, record = self.of(number)
            error.place = f"line {error.line}, record {record} of the BATCH" if record else ""
            error.file = self.place(number)
        return error


@dataclass(frozen=True)
class Ready:
    """The last of the rows of each key, and what `Dialect.encode` has made of them."""

    rows: pa.RecordBatch
    encoded: Any


@dataclass(frozen=True)
class Written:
    """Rows of a stream for a table, in the order in which they came; *bytes* of input.

    They may be *ready* to be written, all of them.
    """

    stream: str
    table: Table
    batch: pa.RecordBatch
    bytes: int
    ready: Ready | None = None

    @property
    def first(self) -> int:
        """The line of the first of the rows."""
        line: int = self.batch.column(LINE)[0].as_py() if self.batch.num_rows else 0
        return line

    def rows(self, before: int | None, without: Collection[int]) -> pa.RecordBatch:
        """Return the rows of lines before *before* (None: all), and not of the lines *without*."""
        batch = self.batch
        if before is not None:
            batch = batch.filter(pc.less(batch.column(LINE), before))
        if without:
            refused = pa.array(sorted(without), pa.int64())
            batch = batch.filter(pc.invert(pc.is_in(batch.column(LINE), value_set=refused)))
        return batch


@dataclass(frozen=True)
class Followed:
    """DDL that was done within the transaction, for the SCHEMA of line *line*."""

    stream: str
    table: Table
    policy: Policy
    line: int


@dataclass(frozen=True)
class Activated:
    """Rows of versions older than *version* are not current any more, since line *line*."""

    stream: str
    table: Table
    version: int
    line: int


Step = Written | Followed | Activated


@dataclass(frozen=True)
class _Spooled:
    """Where in the file a `Written` is: from *start* on, *size* bytes."""

    stream: str
    table: Table
    bytes: int
    first: int
    start: int
    size: int


@dataclass
class Kept:
    """The steps of a transaction, their batches: the first ones in memory, the others in an unlinked file."""

    size: int = 0
    _items: list[Step | _Spooled] = field(default_factory=list)
    _file: IO[bytes] | None = None

    def __bool__(self) -> bool:
        return bool(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def first(self, position: int) -> int:
        """Return the line at which the step at *position* begins; it need not be read for that."""
        item = self._items[position]
        return item.first if isinstance(item, (Written, _Spooled)) else item.line

    def stream(self, position: int) -> str | None:
        """Return the stream whose rows the step at *position* has, None where it has none."""
        item = self._items[position]
        return item.stream if isinstance(item, (Written, _Spooled)) else None

    def __getitem__(self, position: int) -> Step:
        item = self._items[position]
        if isinstance(item, _Spooled):
            return Written(item.stream, item.table, self._read(item.start, item.size), item.bytes)
        return item

    def add(self, step: Step) -> None:
        """Keep *step*, too."""
        if isinstance(step, Written):
            self.size += step.batch.nbytes
            if self.size > IN_MEMORY:
                self._items.append(_Spooled(step.stream, step.table, step.bytes, step.first, *self._spool(step.batch)))
                return
        self._items.append(step)

    def clear(self) -> None:
        """Forget everything: it is committed."""
        self.size = 0
        self._items.clear()
        if self._file:
            self._file.close()
            self._file = None

    def __iter__(self) -> Iterator[Step]:
        for position in range(len(self)):
            yield self[position]

    def _spool(self, batch: pa.RecordBatch) -> tuple[int, int]:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        with _spooling():
            self._file = self._file or tempfile.TemporaryFile(prefix="target-meltano-", buffering=0)  # noqa: SIM115
            start = self._file.seek(0, 2)
            rest = memoryview(sink.getvalue())
            while rest:
                rest = rest[self._file.write(rest) :]
        return start, self._file.tell() - start

    def _read(self, start: int, size: int) -> pa.RecordBatch:
        assert self._file
        with _spooling():
            self._file.seek(start)
            return pa.ipc.open_stream(self._file.read(size)).read_next_batch()


@contextmanager
def _spooling() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolError(
            f"the rows since the last COMMIT are kept in a file in {tempfile.tempdir or 'TMPDIR'}, and that fails: "
            f"{error.strerror or error}; make room, let TMPDIR name a folder that has it, or commit more often (setting batch_bytes)"
        ) from None
