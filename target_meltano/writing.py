"""Rows into a table, and which of them it was that the database refused."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from .dialect import Dialect
from .diff import Table
from .errors import DatabaseError, RowError
from .kept import HIDDEN, LINE
from .kinds import BINARY, JSON, STRING
from .session import Session


def try_rows(dialect: Dialect[Any], session: Session, table: Table, rows: pa.RecordBatch) -> Exception | None:
    """Write *rows* into the open transaction, or nothing and return the error, if it is one of their values."""
    savepoint = session.begun().begin_nested()
    try:
        dialect.write(session.connection, table, _visible(rows))
        savepoint.commit()
    except Exception as error:
        is_of_data = isinstance(error, session.errors) and dialect.is_of_data(error)
        if not is_of_data and not isinstance(error, RowError):
            raise
        savepoint.rollback()
        return error
    return None


def refused_line(
    dialect: Dialect[Any], session: Session, table: Table, rows: pa.RecordBatch, error: Exception
) -> int:
    """Return the line of the first of *rows* that the database refuses, by halving where it says nothing.

    What the database says is a hint: of a row too big for a page COPY names one that comes later.
    """

    def is_refused(some: pa.RecordBatch) -> bool:
        if not some.num_rows:
            return False
        whole = session.begun().begin_nested()
        failed = try_rows(dialect, session, table, some)
        whole.rollback()
        return failed is not None

    position = error.row if isinstance(error, RowError) else dialect.refused_row(error)
    if position is None or not is_refused(rows.slice(position, 1)):
        position, bad = 0, rows.num_rows  # so many are fine, so many are not
        while bad - position > 1:
            middle = (position + bad) // 2
            position, bad = (position, middle) if is_refused(rows.slice(0, middle)) else (middle, bad)
    line: int = rows.column(LINE)[position].as_py()
    return line


def refuse_changed(dialect: Dialect[Any], session: Session, table: Table) -> None:
    """Check that no column has become, since it was followed, one to which the bytes of any value are fine.

    The open transaction has written rows, so it stays like this until COMMIT.

    Raises:
        DatabaseError: naming the column.
    """
    found = dialect.found(session.connection, table.schema, table.name)
    for column in table.columns if found else ():
        known = found.columns.get(column.name) if found else None
        if known and known.kind != column.kind and known.kind in (STRING, BINARY, JSON):
            raise DatabaseError(
                f"table {table.full_name}: column {column.name!r} became {known.type} while it was loaded; load again"
            )


def words(dialect: Dialect[Any], error: Exception) -> str:
    """Return what *error* says of a row."""
    return str(error) if isinstance(error, RowError) else dialect.words(error)


def _visible(rows: pa.RecordBatch) -> pa.RecordBatch:
    return rows.select([name for name in rows.schema.names if name not in HIDDEN])
