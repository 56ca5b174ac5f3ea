"""What PostgreSQL can take: binary COPY of the same rows, ready-made, into tables of the same definition.

The rows are those that the target has loaded, so types, columns and values are the target's own.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from psycopg2 import sql

from .database import SCHEMA, Database
from .measure import Cost, server_seconds

READ_BYTES = 1 << 20


def save(database: Database, schema: str, folder: Path) -> list[Path]:
    """Write the rows of each table of *schema* into a file of its own, named like the table."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_saved(database, schema, name, folder / name) for name in database.tables(schema)]


def _saved(database: Database, schema: str, name: str, path: Path) -> Path:
    copy = sql.SQL("COPY {} TO STDOUT (FORMAT binary)").format(sql.Identifier(schema, name))
    with path.open("wb") as file, database.connection.cursor() as cursor:
        cursor.copy_expert(copy, file)
    return path


def load(database: Database, files: list[Path], *, upsert: bool, schema: str = SCHEMA) -> Cost:
    """Load the files into the tables of their names, all in one transaction.

    With *upsert* by way of a temporary table and ON CONFLICT, the one way that never fails.
    """
    before = server_seconds(database.postmaster)
    started, cpu = time.perf_counter(), time.process_time()
    database.connection.autocommit = False
    try:
        with database.connection, database.connection.cursor() as cursor:
            for file in files:
                (_upsert if upsert else _copy)(cursor, file, sql.Identifier(schema, file.name))
    finally:
        database.connection.autocommit = True
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    after = server_seconds(database.postmaster)
    return Cost(wall, cpu, None if before is None or after is None else after - before, 0)


def _copy(cursor: Any, path: Path, table: sql.Composable) -> None:
    with path.open("rb") as file:
        cursor.copy_expert(sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(table), file, size=READ_BYTES)


def _upsert(cursor: Any, path: Path, table: sql.Composable) -> None:
    stage = sql.Identifier("pg_temp", "stage")
    cursor.execute(sql.SQL("CREATE TEMPORARY TABLE stage (LIKE {}) ON COMMIT DROP").format(table))
    _copy(cursor, path, stage)
    cursor.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(table))
    names = [sql.Identifier(column.name) for column in cursor.description]
    cursor.execute("SELECT attname FROM pg_index, pg_attribute WHERE indisprimary AND indrelid = %s::regclass"
                   " AND attrelid = indrelid AND attnum = ANY (indkey)", [table.as_string(cursor)])
    keys = [sql.Identifier(name) for (name,) in cursor.fetchall()]
    changes = sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(name) for name in names if name not in keys)
    comma = sql.SQL(", ")
    cursor.execute(
        sql.SQL("INSERT INTO {} SELECT * FROM {} ON CONFLICT ({}) DO UPDATE SET {}").format(table, stage, comma.join(keys), changes)
    )
    cursor.execute(sql.SQL("DROP TABLE {}").format(stage))
