"""The fast paths and the slow one over the same lines, as `Target` takes them, to be compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from target_meltano import compiled, decode, kinds, messages, schema, structs, wanting
from target_meltano.decode import Decoder
from target_meltano.errors import MessageError, RecordError
from target_meltano.lines import is_utf8
from target_meltano.rows import Layout, batch_of_rows, slow_row
from target_meltano.stream import Stream
from target_meltano.values import Notes, Rules

NAME = "s"
PATHS = [structs, *([compiled] if compiled.IS_THERE else [])]  # test_decode.py says loudly if one is not there


def layout(
    properties: object,
    rules: Rules = Rules(),
    keys: Sequence[int] = (),
    holds: frozenset[str] = frozenset(),
    as_stored: Callable[[kinds.Kind], kinds.Kind] = lambda kind: kind,
    is_open: bool = False,
    **options: Any,
) -> Layout:
    """Return the layout of a stream whose schema has *properties*; *keys* are positions of columns.

    *is_open*: the schema allows fields that it does not name.

    Columns of numbers hold what *holds* says; *as_stored* is what the database makes of a kind.
    """
    described = {"type": "object", "properties": properties, "additionalProperties": is_open}
    options["root_rest"] = rules.unknown_fields != "keep"
    node = schema.read(NAME, described, schema.Options(**options))
    leaves = []
    for at, leaf in enumerate(node.leaves()):
        its = holds if leaf.kind.name in ("number", "decimal", "double") else frozenset[str]()
        leaves.append(replace(leaf, kind=as_stored(leaf.kind), is_key=at in keys, holds=its))
    node, leaves = wanting.rebuilt(node, iter(leaves)), tuple(leaves)
    fields = [pa.field(f"c{i}", kinds.arrow_type(leaf.kind)) for i, leaf in enumerate(leaves)]
    if rules.unknown_fields == "keep":
        fields.append(pa.field("extra", pa.string()))
    return Layout(NAME, node, leaves, pa.schema(fields), tuple(k for k in keys if k < len(leaves)), rules)


def record(text: str | bytes, behind: str = "") -> bytes:
    """Return the line of a record; a str may hold halves of surrogate pairs, which are not UTF-8."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return b'{"type": "RECORD", "stream": "s", "record": ' + data + behind.encode() + b"}"


# --- both paths, as `Target` takes them


@dataclass
class Read:
    """What became of lines: rows in Python's terms, what was noticed, and the error that ended it."""

    rows: list[list[Any]]
    notes: Notes
    error: str | None = None


def is_record(line: bytes, rules: Rules) -> bool:
    """Tell what `Target._odd_line` does: whether the line is a record of the stream."""
    envelope = messages.envelope(line)
    if envelope.type == "RECORD" and envelope.stream == NAME:
        return True
    if not line.strip():
        return False
    found = messages.parse(line, 0, rules)
    return isinstance(found, messages.Record) and found.stream == NAME


def read_slow(layout: Layout, lines: Sequence[bytes]) -> Read:
    rows: list[list[Any]] = []
    notes = Notes()
    for number, line in enumerate(lines, 1):
        ours = Notes()
        try:
            if is_record(line, layout.rules):
                rows.append(slow_row(layout, line, number, ours))
        except RecordError as error:
            return Read(rows_of(batch_of_rows(layout, rows)), notes, str(error))
        except MessageError as error:
            return Read(rows_of(batch_of_rows(layout, rows)), notes, error.fault)
        notes.add(ours)
    return Read(rows_of(batch_of_rows(layout, rows)), notes)


def read_fast(layout: Layout, lines: Sequence[bytes], *, every: int = 1000, path: Any = structs) -> Read:
    """Read with decoders of *path*; settle after *every* lines."""
    read = Read([], Notes())
    with reading_with(path):
        stream = Stream(NAME)
        stream.decoder = Decoder(layout)
        for start in range(0, len(lines), every):
            try:
                take(stream, lines[start : start + every], start + 1, layout.rules)
            except RecordError as error:
                read.error = str(error)
            except MessageError as error:
                read.error = error.fault
            settle(stream, read)
            if read.error:
                break
    return read


@contextmanager
def reading_with(path: Any) -> Iterator[None]:
    """Let decoders be of the module *path*."""
    before, decode.path = decode.path, path
    try:
        yield
    finally:
        decode.path = before


def take(stream: Stream, lines: Sequence[bytes], number: int, rules: Rules) -> None:
    """Read lines as `Target` does, the first of which has this *number*."""
    reader, chunk, at = decode.reader(), list(lines), 0
    while at < len(chunk):
        reader.put(stream.key, stream.fast(), stream)
        at += sum(count for _, count in reader.read(chunk, at, len(chunk), number + at, all(map(is_utf8, chunk))))
        if at < len(chunk):
            if is_record(chunk[at], rules):
                stream.add_slow(chunk[at], number + at)
            at += 1


def settle(stream: Stream, read: Read, before: int | None = None) -> None:
    try:
        settled = stream.settle(before, keep=False)
    except RecordError as error:
        read.error = str(error)
        settle(stream, read, error.line)
        return
    stream.pending.clear()
    read.notes.add(settled.notes)
    read.notes.add(stream.take_notes())
    for part in settled.parts:
        batch = part.remove_column(part.num_columns - 1)  # the lines' numbers
        batch.validate(full=True)
        read.rows += rows_of(batch)


def rows_of(batch: pa.RecordBatch) -> list[list[Any]]:
    """Return rows whose values are equal where a database would store the same."""
    columns = []
    for column in batch.columns:
        is_exact = pa.types.is_timestamp(column.type) or pa.types.is_time(column.type)
        columns.append((column.cast(pa.int64()) if is_exact else column).to_pylist())
    return [[_NAN if isinstance(cell, float) and cell != cell else cell for cell in row] for row in zip(*columns, strict=True)]


_NAN = ("NaN",)  # equal to itself


def comparable(layout: Layout, rows: list[list[Any]]) -> list[list[Any]]:
    """Parse JSON, as its blanks and escapes mean nothing. That -0 is 0 in a column of doubles is no loss."""
    is_json = [leaf.kind == kinds.JSON for leaf in layout.leaves] + [True] * (layout.rules.unknown_fields == "keep")
    is_json += [False] * (2 * bool(layout.versioned) + bool(layout.keeps))

    def value(cell: Any, parse: bool) -> Any:
        if parse and cell is not None:
            return json.loads(cell, parse_int=lambda n: ("number", n), parse_float=lambda n: ("number", n))
        return cell

    return [[value(cell, parse) for cell, parse in zip(row, is_json, strict=True)] for row in rows]


def assert_same(layout: Layout, lines: Sequence[bytes], every: int = 1000) -> Read:
    """Read as all paths do, and return what the last of them gives."""
    slow = read_slow(layout, lines)
    for path in PATHS:
        fast = read_fast(layout, lines, every=every, path=path)
        assert_same_read(layout, fast, slow)
    return fast


def assert_same_read(layout: Layout, fast: Read, slow: Read) -> None:
    assert fast.error == slow.error
    assert comparable(layout, fast.rows) == comparable(layout, slow.rows)
    if slow.error is None:
        assert fast.notes == slow.notes


def read(properties: dict[str, Any], *records: str, rules: Rules = Rules(), **options: Any) -> Read:
    """Read records as both paths do, each twice."""
    return assert_same(layout(properties, rules, **options), [record(text) for text in records for _ in "12"])
