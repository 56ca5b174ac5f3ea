"""How tests use a PostgreSQL: a target into the schema of `db`, and databases and roles for a while."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from psycopg2.extensions import make_dsn

from target_meltano import Result, load, make
from target_meltano_postgres import PostgresDialect, PostgresSettings


@dataclass(frozen=True)
class Watched:
    """Where a target or a tap connects to, by *url*; the *connection* looks there as who may see all, and commits each statement."""

    url: str
    connection: Any

    def query(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """Return the rows of a statement, none where it has no result."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall()) if cursor.description else []


def dialect(db: Any, url: str | None = None, **settings: Any) -> PostgresDialect:
    return PostgresDialect(make(PostgresSettings, url=url or db.url, schema=db.schema, **settings))


def run(db: Any, *lines: Any, **settings: Any) -> Result:
    return load(dialect(db, **settings), lines)


@contextmanager
def database(db: Any, options: str = "", **settings: str) -> Iterator[str]:
    """Yield the URL of a database of its own, with these settings."""
    name = f"test_{secrets.token_hex(4)}"
    db.query(f"CREATE DATABASE {name} TEMPLATE template0 {options}")
    for setting, value in settings.items():
        db.query(f"ALTER DATABASE {name} SET {setting} TO {value}")
    try:
        yield make_dsn(db.url, dbname=name)
    finally:
        db.query(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def role(db: Any) -> Iterator[tuple[str, str]]:
    """Yield the name of a role that may do nothing, and the URL to sign in as it."""
    name = f"test_{secrets.token_hex(4)}"
    db.query(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
    try:
        yield name, make_dsn(db.url, user=name, password="secret")
    finally:
        db.query(f"DROP OWNED BY {name}; DROP ROLE {name}")


def needs(db: Any, major: int, what: str) -> None:
    """Skip the test on a server that is older than *what* it needs."""
    if db.connection.server_version < major * 10_000:
        pytest.skip(f"{what}: since PostgreSQL {major}")


def needs_infinities(db: Any) -> None:
    needs(db, 14, "numeric holds the infinities")


def rows(db: Any, columns: str = "*", table: str = "t") -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = db.query(f'SELECT {columns} FROM "{db.schema}"."{table}" ORDER BY 1')
    return found


def make_table(db: Any, columns: str, table: str = "t") -> None:
    db.query(f'CREATE SCHEMA IF NOT EXISTS "{db.schema}"; CREATE TABLE "{db.schema}".{table} ({columns})')
