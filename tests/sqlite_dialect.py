"""A dialect for SQLite: all that a new database takes, in a page.

SQLite has few types, so exact numbers, times and JSON are texts under names of their own, from
which `found` reads the kinds back. See docs/dialects.md; tests/test_conformance.py runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from target_meltano import (
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    JSON,
    NUMBER,
    STRING,
    TIME,
    TIMESTAMP,
    ChangeType,
    Dialect,
    Found,
    ReplaceKey,
    RowCounts,
    SchemaError,
    Settings,
    Table,
    setting,
)


@dataclass(frozen=True)
class SqliteSettings(Settings):
    path: str = setting("", "The file of the database.")


class Type(sa.types.UserDefinedType[Any]):
    """A type by its name; SQLite takes any, and one with TEXT in it keeps texts as they are."""

    cache_ok = True

    def __init__(self, name: str):
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        return self.name

    def bind_processor(self, dialect: sa.Dialect) -> Any:
        return _stored


class SqliteDialect(Dialect[SqliteSettings]):
    name = "sqlite"
    settings_type = SqliteSettings
    sql = sqlite.dialect()
    types: ClassVar = {
        "boolean": Type("BOOLEAN"),
        "integer": Type("BIGINT"),
        "number": Type("NUMBER_TEXT COLLATE by_value"),
        "double": Type("DOUBLE"),
        "string": Type("TEXT"),
        "date": Type("DATE_TEXT"),
        "time": Type("TIME_TEXT"),
        "timestamp": Type("TIMESTAMP_TEXT"),
        "binary": Type("BLOB"),
        "json": Type("JSON_TEXT"),
    }
    reads: ClassVar = {
        "boolean": BOOLEAN,
        "bigint": INTEGER,
        "number_text": NUMBER,
        "double": DOUBLE,
        "text": STRING,
        "date_text": DATE,
        "time_text": TIME,
        "timestamp_text": TIMESTAMP,
        "blob": BINARY,
        "json_text": JSON,
    }
    same_kinds: ClassVar = {"decimal": NUMBER}
    default_schema = "main"  # as SQLite calls the file itself
    max_columns = 2000
    name_size = 255

    def connect(self) -> sa.Connection:
        # The thread that closes the connection is not the one that works with it.
        url, options = f"sqlite:///{self.settings.path}", {"check_same_thread": False}
        engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=options)

        @sa.event.listens_for(engine, "connect")
        def prepare(connection: Any, _: Any) -> None:
            connection.isolation_level = None  # or the driver commits before DDL
            connection.create_collation("by_value", lambda a, b: int(Decimal(a).compare(Decimal(b))))

        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        return engine.connect()

    def has_schema(self, connection: sa.Connection, schema: str) -> bool:
        return True

    def found(self, connection: sa.Connection, schema: str, name: str) -> Found | None:
        query = f"SELECT type FROM {self.quote(schema)}.sqlite_master WHERE name = ?"
        what = connection.exec_driver_sql(query, (name,)).scalar()
        if what not in (None, "table"):
            raise SchemaError(f"{schema}.{name} is a {what}, wanted a table (setting table_names)")
        rows = connection.exec_driver_sql(f"PRAGMA {self.quote(schema)}.table_info({self.quote(name)})").all()
        if not rows:
            return None
        columns = {
            row.name: self.found_column(row.name, row.type, optional=not row.notnull or row.dflt_value is not None)
            for row in rows
        }
        keys = tuple(row.name for row in sorted(rows, key=lambda row: row.pk) if row.pk)
        first = connection.exec_driver_sql(f"SELECT 1 FROM {self.quote(schema)}.{self.quote(name)} LIMIT 1").first()
        return Found(columns, keys, empty=first is None)

    def write(self, connection: sa.Connection, table: Table, rows: pa.RecordBatch) -> RowCounts:
        names = [column.name for column in table.columns]
        statement = f"INSERT INTO {self.full_name(table)} ({self.names(names)}) VALUES ({', '.join('?' * len(names))})"
        others = [self.quote(name) for name in names if name not in table.keys]
        if table.keys:
            changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in others)
            statement += (
                f" ON CONFLICT ({self.names(table.keys)}) DO {f'UPDATE SET {changes}' if changes else 'NOTHING'}"
            )
        columns = [map(_stored, column.to_pylist()) for column in rows.columns]
        connection.exec_driver_sql(statement, list(zip(*columns, strict=True)))
        return RowCounts()

    def change_type(self, change: ChangeType) -> Sequence[str]:
        """A new column takes the values and then the name, which no column of a key can."""
        there, wanted = change.found, change.column.kind
        how = _CONVERSIONS.get((there.kind.name if there.kind else "", wanted.name))
        if how is None or there.name in change.table.keys:
            return super().change_type(change)
        table, old, new = self.full_name(change.table), self.quote(there.name), self.quote(f"{there.name}__new")
        return [
            f"ALTER TABLE {table} ADD COLUMN {new} {self.type_name(wanted)}",
            f"UPDATE {table} SET {new} = {how.format(old)}",
            f"ALTER TABLE {table} DROP COLUMN {old}",
            f"ALTER TABLE {table} RENAME COLUMN {new} TO {old}",
        ]

    def replace_key(self, change: ReplaceKey) -> list[str]:
        """The key of a table is for ever here, but the table is empty."""
        types = {name: column.type for name, column in change.found.columns.items()}
        types.update((column.name, self.type_name(column.kind)) for column in change.table.columns)
        definitions = [f"{self.quote(name)} {spelt}" for name, spelt in types.items()]
        if change.table.keys:
            definitions.append(f"PRIMARY KEY ({self.names(change.table.keys)})")
        table = self.full_name(change.table)
        return [f"DROP TABLE {table}", f"CREATE TABLE {table} ({', '.join(definitions)})"]

    def comments(self, *_: Any) -> Sequence[str]:
        return ()


def _stored(value: Any) -> Any:
    """Times are kept as the core writes them in text."""
    return value.isoformat().replace("+00:00", "Z") if hasattr(value, "isoformat") else value


# Those that SQLite cannot do exactly are missing, and so refused.
_CONVERSIONS = {
    ("boolean", "string"): "CASE {0} WHEN 1 THEN 'true' WHEN 0 THEN 'false' END",
    ("boolean", "json"): "CASE {0} WHEN 1 THEN 'true' WHEN 0 THEN 'false' END",
    ("integer", "number"): "CAST({0} AS TEXT)",
    ("integer", "string"): "CAST({0} AS TEXT)",
    ("integer", "json"): "CAST({0} AS TEXT)",
    ("number", "string"): "{0}",
    ("number", "json"): "{0}",
    ("string", "json"): "CASE WHEN {0} IS NOT NULL THEN json_quote({0}) END",
    ("date", "timestamp"): "{0} || 'T00:00:00Z'",
    **{(kind, "string"): "{0}" for kind in ("date", "time", "timestamp")},
    **{(kind, "json"): "CASE WHEN {0} IS NOT NULL THEN json_quote({0}) END" for kind in ("date", "time", "timestamp")},
}
