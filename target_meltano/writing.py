"""Rows into a table, and which of them it was that the database refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from .dialect import Dialect, RowCounts
from .diff import Table
from .errors import Again, DatabaseError, RowError
from .kept import HIDDEN, LINE, Ready, Written
from .keyed import last_by_key
from .kinds import BINARY, JSON, STRING
from .rows import ABSENT, unmasked
from .session import Session

DELETED_AT_ONCE = 1000  # keys in a statement


@dataclass
class Tried:
    """What became of so many rows *sent*: what the database counted; or the error."""

    sent: int = 0
    written: int = 0
    inserted: int | None = 0
    error: Exception | None = None


def ready(dialect: Dialect[Any], written: Written) -> Written:
    """Return *written* ready to be written, unless that takes several statements or a row is refused."""
    rows = last_by_key(written.batch, written.table)
    if not rows.num_rows or written.table.deletes or (_is_split(rows) and not dialect.takes_absent):
        return written
    try:
        return replace(written, ready=Ready(rows, dialect.encode(*next(_parts(dialect, written.table, rows)))))
    except RowError:
        return written


def try_rows(
    dialect: Dialect[Any], session: Session, table: Table, rows: pa.RecordBatch, encoded: Any = None
) -> Tried:
    """Write *rows*, which may be *encoded* already, into the open transaction.

    Or nothing, and return the error, if it is one of their values.
    """
    if not rows.num_rows:
        return Tried()
    savepoint = session.begun().begin_nested()
    try:
        if encoded is None:
            tried = _write(dialect, session, table, rows)
        else:
            tried = _counted(rows.num_rows, [dialect.write(session.connection, table, encoded)])
        savepoint.commit()
    except Again:
        savepoint.rollback()
        return try_rows(dialect, session, table, rows, encoded)
    except Exception as error:
        is_of_data = isinstance(error, session.errors) and dialect.is_of_data(error)
        if not is_of_data and not isinstance(error, RowError):
            raise
        savepoint.rollback()
        return Tried(error=error)
    return tried


def refused_line(
    dialect: Dialect[Any], session: Session, table: Table, rows: pa.RecordBatch, error: Exception
) -> int:
    """Return the line of the first of *rows* that the database refuses, by halving where it says nothing.

    What the database says is a hint: of a row too big for a page COPY names one that comes later.
    """

    def is_refused(some: pa.RecordBatch) -> bool:
        whole = session.begun().begin_nested()
        error = try_rows(dialect, session, table, some).error
        whole.rollback()
        return error is not None

    position = error.row if isinstance(error, RowError) else dialect.refused_row(error)
    if _is_split(rows) or table.deletes:
        position = None  # of some of the rows
    if position is None or not is_refused(rows.slice(position, 1)):
        position, bad = 0, rows.num_rows  # so many are fine, so many are not
        while bad - position > 1:
            middle = (position + bad) // 2
            position, bad = (position, middle) if is_refused(rows.slice(0, middle)) else (middle, bad)
    line: int = rows.column(LINE)[position].as_py()
    return line


def refuse_changed(dialect: Dialect[Any], session: Session, table: Table, before: Any = None) -> Any:
    """Check that no column has become, since it was followed, one to which the bytes of any value are fine.

    The open transaction has written rows, so it stays like this until COMMIT. What is returned is to
    be *before* when it is checked again.

    Raises:
        DatabaseError: naming the column.
    """
    shape = dialect.shape(session.connection, table)
    if shape is not None and shape == before:
        return shape
    found = dialect.found(session.connection, table.schema, table.name)
    for column in table.columns if found else ():
        known = found.columns.get(column.name) if found else None
        if known and known.kind != column.kind and known.kind in (STRING, BINARY, JSON):
            raise DatabaseError(
                f"table {table.full_name}: column {column.name!r} became {known.type} while it was loaded; load again"
            )
    return shape


def words(dialect: Dialect[Any], error: Exception) -> str:
    """Return what *error* says of a row."""
    return str(error) if isinstance(error, RowError) else dialect.words(error)


def _write(dialect: Dialect[Any], session: Session, table: Table, rows: pa.RecordBatch) -> Tried:
    """Delete what is to be deleted, and write the others, in a statement for each set of columns."""
    if table.deletes and rows.column(table.deletes).null_count < rows.num_rows:
        deleted = rows.column(table.deletes)
        _delete(dialect, session, table, rows.filter(deleted.is_valid()))
        rows = rows.filter(deleted.is_null())
    parts = _parts(dialect, table, rows) if rows.num_rows else ()
    return _counted(rows.num_rows, [dialect.write(session.connection, part, dialect.encode(part, its)) for part, its in parts])


def _counted(sent: int, parts: Sequence[RowCounts]) -> Tried:
    """Return what the database counted over all *parts* of the rows; what it does not count is taken for written."""
    written = [part.written for part in parts if part.written is not None]
    inserted = [part.inserted for part in parts if part.inserted is not None]
    return Tried(
        sent,
        sum(written) if len(written) == len(parts) else sent,
        sum(inserted) if len(inserted) == len(parts) else None,
    )


def _parts(dialect: Dialect[Any], table: Table, rows: pa.RecordBatch) -> Iterator[tuple[Table, pa.RecordBatch]]:
    """Yield what `Dialect.encode` takes: all rows, or *table* with fewer columns and the rows that lack the others."""
    visible = _visible(rows)
    if not _is_split(rows):
        yield table, visible
        return
    if dialect.takes_absent:
        yield table, visible.append_column(ABSENT, rows.column(ABSENT))
        return
    absent = rows.column(ABSENT).dictionary_encode(null_encoding="encode")
    for code, mask in enumerate(absent.dictionary.to_pylist()):
        left_out = set(unmasked(mask))
        columns = tuple(column for i, column in enumerate(table.columns) if i not in left_out)
        its = visible.filter(pc.equal(absent.indices, code))
        yield replace(table, columns=columns), its.select([column.name for column in columns])


def _visible(rows: pa.RecordBatch) -> pa.RecordBatch:
    return rows.select([name for name in rows.schema.names if name not in HIDDEN])


def _is_split(rows: pa.RecordBatch) -> bool:
    """Tell whether some of *rows* keep values of the table."""
    return ABSENT in rows.schema.names and rows.column(ABSENT).null_count < rows.num_rows


def _delete(dialect: Dialect[Any], session: Session, table: Table, rows: pa.RecordBatch) -> None:
    """Delete the rows with the keys of *rows*."""
    there = dialect.as_sqlalchemy(table)
    columns = [there.c[key] for key in table.keys]
    keys = list(zip(*(rows.column(key).to_pylist() for key in table.keys), strict=True))
    for start in range(0, len(keys), DELETED_AT_ONCE):
        some = keys[start : start + DELETED_AT_ONCE]
        found = columns[0].in_([key for (key,) in some]) if len(columns) == 1 else sa.tuple_(*columns).in_(some)
        session.begun().execute(sa.delete(there).where(found))
