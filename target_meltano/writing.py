"""Rows into a table, and which of them it was that the database refused."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from .dialect import Dialect
from .diff import Table
from .errors import RowError
from .kept import HIDDEN, LINE
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
    """Return the line of the first of *rows* that the database refuses, by halving where it says nothing."""
    position = error.row if isinstance(error, RowError) else dialect.refused_row(error)
    if position is None:
        position, bad = 0, rows.num_rows  # so many are fine, so many are not
        while bad - position > 1:
            middle = (position + bad) // 2
            whole = session.begun().begin_nested()
            failed = try_rows(dialect, session, table, rows.slice(position, middle - position))
            whole.rollback()
            position, bad = (position, middle) if failed else (middle, bad)
    line: int = rows.column(LINE)[position].as_py()
    return line


def words(dialect: Dialect[Any], error: Exception) -> str:
    """Return what *error* says of a row."""
    return str(error) if isinstance(error, RowError) else dialect.words(error)


def _visible(rows: pa.RecordBatch) -> pa.RecordBatch:
    return rows.select([name for name in rows.schema.names if name not in HIDDEN])
