"""Parquet becomes lines of JSON, a few megabytes at once, however many rows a few bytes of a file hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .errors import MessageError
from .parquet_types import BAD, converter, has_length, is_list, quoted, refuse_twice, within

ROWS = 2_000  # at once, at most
BYTES = 4 << 20  # of values at once: what is compressed well would else take a thousand times its file


@dataclass(frozen=True)
class Refused:
    """A row with a value that cannot be written: its JSON with a text in place of it, and the fault."""

    text: str
    fault: str
    path: str


def read(file: IO[bytes], stream: str, longest: int) -> Iterator[tuple[int, list[bytes | Refused]]]:
    """Yield row groups, counted from 1, and RECORD messages for some of their rows.

    Raises:
        MessageError: a record, counted from 1, is longer than *longest* bytes.
        OSError: the file cannot be read, or has a column that is refused.
    """
    try:
        yield from _read(file, stream, longest)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise OSError(_worded(error)) from None


def _worded(error: Exception) -> str:
    text = "a name is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error).partition("\n")[0][:200]
    if isinstance(error, NotImplementedError):
        return f"a column has a type that Arrow does not read ({text}); write it as a number or text"
    return text


def _read(file: IO[bytes], stream: str, longest: int) -> Iterator[tuple[int, list[bytes | Refused]]]:
    plain = _opened(file)
    more = {"metadata": plain.metadata, "read_dictionary": _dictionaries(plain)}
    found = _opened(file, coerce_int96_timestamp_unit="us", **more)
    has_int96 = any(plain.schema.column(i).physical_type == "INT96" for i in range(len(plain.schema)))
    exact = _opened(file, coerce_int96_timestamp_unit="ns", **more) if has_int96 else None
    table = _Table(found, stream, longest)
    for group in range(found.metadata.num_row_groups):
        size = found.metadata.row_group(group)
        rows = max(1, min(ROWS, BYTES * size.num_rows // (size.total_byte_size or 1)))
        batches = found.iter_batches(rows, [group])
        twins = exact.iter_batches(rows, [group]) if exact else iter(())
        for batch in batches:
            for lines in table.lines(batch, next(twins, None)):
                yield group + 1, lines


def _opened(file: IO[bytes], **more: Any) -> pq.ParquetFile:
    """Open the file so that its pages are read one by one, and their checksums are looked at."""
    return pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True, **more)


def _dictionaries(file: pq.ParquetFile) -> list[str]:
    """Return the columns of texts or bytes that have each value once: they stay so, however often one comes.

    A row of each group is read first: what is damaged in a column's metadata is an error then. Asked for it
    without that, pyarrow (26) ends the process.
    """
    found = set()
    texts = [at for at in range(len(file.schema)) if file.schema.column(at).physical_type == "BYTE_ARRAY"]
    for group in range(file.metadata.num_row_groups if texts else 0):
        next(file.iter_batches(1, [group]), None)
        columns = (file.metadata.row_group(group).column(at) for at in texts)
        found |= {column.path_in_schema for column in columns if column.has_dictionary_page}
    return sorted(found)


class _Table:
    """Writes the rows of batches of one file."""

    def __init__(self, file: pq.ParquetFile, stream: str, longest: int):
        schema = file.schema_arrow
        refuse_twice([field.name for field in schema])
        leaves = iter(range(len(file.schema)))
        self.names = schema.names
        self.converters = [converter(field, [field.name], file.schema, leaves) for field in schema]
        self.longest = longest
        start = f'{{"type": "RECORD", "stream": {json.dumps(stream)}, "record": '
        members = ", ".join(f"{quoted(name)}: \0" for name in schema.names)
        self.record = f"{{{members}}}".replace("%", "%%").replace("\0", "%s")
        self.line = f"{start.replace('%', '%%')}{self.record}}}"
        self.rows = 0  # so far

    def lines(self, batch: pa.RecordBatch, twin: pa.RecordBatch | None) -> Iterator[list[bytes | Refused]]:
        """Yield the batch's rows as lines; not more at once than go into a few megabytes."""
        if batch.num_rows > 1 and sum(map(size, batch.columns)) > BYTES:
            half = batch.num_rows // 2
            yield from self.lines(batch.slice(0, half), twin and twin.slice(0, half))
            yield from self.lines(batch.slice(half), twin and twin.slice(half))
            return
        if batch.num_rows == 1 and sum(map(size, batch.columns)) > self.longest * 4:
            raise self._too_long()  # before there is a text of it; [1,1] is 16 bytes in Arrow
        twins = twin.columns if twin else [None] * batch.num_columns
        columns = [convert(*pair) for convert, *pair in zip(self.converters, batch.columns, twins, strict=True)]
        lines = []
        for row in zip(*columns, strict=True) if columns else [()] * batch.num_rows:
            text = self.line % row
            line = text.encode("utf-8", "surrogateescape")
            if len(line) > self.longest:
                raise self._too_long()
            lines.append(self._refused(row) if BAD in text else line)
            self.rows += 1
        yield lines

    def _too_long(self) -> MessageError:
        return MessageError(f"longer than {self.longest:,} bytes (setting max_message_bytes)", line=self.rows + 1)

    def _refused(self, row: Sequence[str]) -> Refused:
        fault = path = ""
        fine = []
        for name, text in zip(self.names, row, strict=True):
            while BAD in text:
                before, value, why, text = text.split(BAD, 3)
                fault, path = fault or why, path or name
                text = f"{before}{quoted(value)}{text}"
            fine.append(text)
        return Refused(self.record % tuple(fine), fault, path)


def size(array: pa.Array) -> int:
    """Return about how many bytes the texts of an array take, and not much less."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return size(array.storage)
    if pa.types.is_dictionary(kind):
        if not has_length(kind.value_type):
            return 32 * len(array)
        used = pc.value_counts(array.indices.drop_null())  # of a dictionary that may be much longer
        lengths = pc.binary_length(array.dictionary.take(used.field(0)))
        return int(pc.sum(pc.multiply(pc.cast(lengths, pa.int64()), used.field(1))).as_py() or 0) + 8 * len(array)
    if pa.types.is_struct(kind):
        return sum(size(array.field(i)) for i in range(kind.num_fields)) + len(array)
    if pa.types.is_map(kind):
        return sum(size(within(array, part)) for part in (array.keys, array.items)) + len(array)
    if is_list(kind):
        return size(array.flatten()) + len(array)
    return max(int(array.nbytes), 8 * len(array))
