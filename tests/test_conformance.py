"""Every dialect passes the same suite; `TestSqlite` is the smallest that can."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2.extras
import pytest
from sqlite_dialect import SqliteDialect, SqliteSettings

from target_meltano import Dialect, make
from target_meltano.testing import Conformance
from target_meltano_postgres.dialect import PostgresDialect
from target_meltano_postgres.session import PostgresSettings

exact = partial(json.loads, parse_float=Decimal)


class TestPostgres(Conformance):
    @pytest.fixture(autouse=True)
    def _database(self, db: Any) -> None:
        self.db = db
        psycopg2.extras.register_default_jsonb(db.connection, loads=exact)

    def make_dialect(self, **settings: Any) -> Dialect[Any]:
        return PostgresDialect(make(PostgresSettings, url=self.db.url, schema=self.db.schema, **settings))

    def rows(self, table: str) -> list[dict[str, Any]]:
        with self.db.connection.cursor() as cursor:
            cursor.execute(f'SELECT * FROM "{self.db.schema}"."{table}"')
            names = [column.name for column in cursor.description]
            return [dict(zip(names, map(_plain, row), strict=True)) for row in cursor]


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


class TestSqlite(Conformance):
    @pytest.fixture(autouse=True)
    def _database(self, tmp_path: Path) -> None:
        self.path = str(tmp_path / "test.db")

    def make_dialect(self, **settings: Any) -> Dialect[Any]:
        return SqliteDialect(make(SqliteSettings, path=self.path, **settings))

    def rows(self, table: str) -> list[dict[str, Any]]:
        connection = sqlite3.connect(self.path)
        connection.create_collation("by_value", lambda a, b: 0)
        cursor = connection.execute(f'SELECT * FROM "{table}"')
        names = [column[0] for column in cursor.description]
        types = dict(connection.execute("SELECT name, type FROM pragma_table_info(?)", (table,)).fetchall())
        found = [
            {name: None if value is None else _READ[types[name]](value) for name, value in zip(names, row, strict=True)}
            for row in cursor
        ]
        connection.close()
        return found


def _instant(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00"))


_READ: dict[str, Callable[[Any], Any]] = {
    "BOOLEAN": bool,
    "BIGINT": int,
    "NUMBER_TEXT": Decimal,
    "DOUBLE": float,
    "TEXT": str,
    "DATE_TEXT": dt.date.fromisoformat,
    "TIME_TEXT": dt.time.fromisoformat,
    "TIMESTAMP_TEXT": _instant,
    "BLOB": bytes,
    "JSON_TEXT": exact,
}
