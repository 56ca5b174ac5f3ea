"""Rows into tables, all of them or none; and whether the tables are still what the rows were made for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from . import deletes
from .dialect import Dialect, RowCounts
from .diff import Found, Table
from .errors import Again, DatabaseError, RowError
from .kept import HIDDEN, LINE, Ready, Written
from .keyed import last_by_key
from .kinds import arrow_type
from .replay import Refusal
from .rows import ABSENT, unmasked
from .session import Session

DELETED_AT_ONCE = 1000  # keys in a statement


@dataclass(frozen=True)
class Tried:
    """What became of so many rows *sent*, by the database's own count."""

    sent: int = 0
    written: int = 0
    inserted: int | None = 0


Rows = tuple[Table, pa.RecordBatch, Any]  # for a table, and as they were encoded for it, or None


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
) -> Tried | Refusal:
    """Write *rows*, which may be *encoded* already, into the open transaction; or nothing, where one of them is refused."""
    found = try_parts(dialect, session, [(table, rows, encoded)])
    return found if isinstance(found, Refusal) else found[0]


def try_parts(
    dialect: Dialect[Any], session: Session, parts: Sequence[Rows], *, together: bool = False
) -> list[Tried] | Refusal:
    """Write rows into several tables, one after the other, in the open transaction; or nothing.

    *together*: constraints that can wait are checked when all of them are written.

    Raises:
        Exception: the driver's, where it is no fault of a row.
    """
    savepoint = session.begun().begin_nested()
    tried: list[Tried] = []
    try:
        if together:
            dialect.defer_constraints(session.connection)
        for table, rows, encoded in parts:
            tried.append(_write(dialect, session, table, rows, encoded))
        if together:
            dialect.check_constraints(session.connection)
        savepoint.commit()
    except Again:
        savepoint.rollback()
        return try_parts(dialect, session, parts, together=together)
    except Exception as error:
        is_of_data = isinstance(error, session.errors) and dialect.is_of_data(error)
        if not is_of_data and not isinstance(error, RowError):
            raise
        savepoint.rollback()
        if len(tried) == len(parts):
            return Refusal(error)
        table, rows, _ = parts[len(tried)]
        return Refusal(error, len(tried), _refused_line(dialect, table, rows, error))
    return tried


def _refused_line(dialect: Dialect[Any], table: Table, rows: pa.RecordBatch, error: Exception) -> int | None:
    """Return the line of the row that *error* names, where it names one; it is a hint."""
    position = error.row if isinstance(error, RowError) else dialect.refused_row(error)
    if position is None or position >= rows.num_rows or LINE not in rows.schema.names or _is_split(rows) or table.deletes:
        return None  # or it is a position among some of the rows
    line: int = rows.column(LINE)[position].as_py()
    return line


def refuse_others(dialect: Dialect[Any], session: Session, table: Table, error: Exception) -> None:
    """Check that *error* is the fault of a row: without any row nothing is refused.

    Raises:
        DatabaseError: what it is instead, like a privilege that is missing.
    """
    if isinstance(error, RowError):
        return
    savepoint = session.begun().begin_nested()
    try:
        none = pa.RecordBatch.from_pydict({column.name: pa.array([], arrow_type(column.kind)) for column in table.columns})
        dialect.write(session.connection, table, dialect.encode(table, none))
    except (Again, RowError):
        pass
    except session.errors as other:
        raise dialect.error(other, f"table {table.full_name}") from other
    savepoint.rollback()


def refuse_changed(
    dialect: Dialect[Any], session: Session, tables: Sequence[Table], before: Mapping[str, tuple[Any, Any]]
) -> Mapping[str, tuple[Any, Any]]:
    """Check that *tables* have the columns, types and keys for which their rows were made.

    The open transaction has written to them, so they stay like this until COMMIT. What is returned is
    to be *before* when they are checked again: then one query is enough for all of them.

    Raises:
        DatabaseError: naming the column.
    """
    if not dialect.compares_shapes:
        return before
    shapes = dialect.shapes(session.connection, tables)
    for table in tables:
        shape, known = shapes.get(table.full_name), before.get(table.full_name)
        if shape is None or shape != known:
            is_other = known is not None and shape is not None and known[0] != shape[0]
            found = None if is_other else dialect.found(session.connection, table.schema, table.name)
            fault = "another table took its name" if is_other else _changed(dialect, table, found)
            if fault:
                raise DatabaseError(f"table {table.full_name}: {fault} while it was loaded; nothing of it is committed, load again")
    return {**before, **shapes}


def _changed(dialect: Dialect[Any], table: Table, found: Found | None) -> str | None:
    """Return in words what *found* has otherwise than *table*, None for nothing."""
    if found is None:
        return "it was dropped or renamed"
    for column in table.columns:
        there = found.columns.get(column.name)
        if there is None:
            return f"its column {column.name!r} was dropped or renamed"
        if not dialect.is_as_made(column, there):
            return f"its column {column.name!r} became {there.type}"
    ours = {column.name for column in table.columns}
    required = [there.name for there in found.columns.values() if not there.optional and there.name not in ours]
    if required:
        return f"its column {required[0]!r} became NOT NULL without a default"
    if set(found.keys) != set(table.keys):
        return f"its primary key became ({', '.join(found.keys) or 'none'})"
    return None


def words(dialect: Dialect[Any], error: Exception) -> str:
    """Return what *error* says of a row."""
    return str(error) if isinstance(error, RowError) else dialect.words(error)


def _write(dialect: Dialect[Any], session: Session, table: Table, rows: pa.RecordBatch, encoded: Any = None) -> Tried:
    """Delete what is to be deleted, and write the others, in a statement for each set of columns."""
    if not rows.num_rows:
        return Tried()
    if encoded is not None:
        return _counted(rows.num_rows, [dialect.write(session.connection, table, encoded)])
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
    keys = list(zip(*(rows.column(key).to_pylist() for key in table.keys), strict=True))
    for start in range(0, len(keys), DELETED_AT_ONCE):
        deletes.delete(dialect, session.begun(), table, partial(_are, table.keys, keys[start : start + DELETED_AT_ONCE]))


def _are(names: Sequence[str], keys: Sequence[tuple[Any, ...]], there: Any) -> Any:
    """Return the condition that a row of a table has one of *keys*."""
    columns = [there.c[name] for name in names]
    return columns[0].in_([key for (key,) in keys]) if len(columns) == 1 else sa.tuple_(*columns).in_(keys)
