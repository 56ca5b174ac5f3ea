"""The server under test, and its tables in the state that each run starts from."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql

from target_meltano_postgres import embedded

from .measure import parent_of

GIVEN = "BENCH_POSTGRES_URL"
SCHEMA = "bench"  # which every run finds as if nothing had been there
SHOWN = ("shared_buffers", "max_wal_size", "wal_level", "synchronous_commit", "fsync", "autovacuum", "full_page_writes")
SERVER_SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",  # a CHECKPOINT comes before each run, and none within
    "wal_level": "replica",  # as most servers have it: no COPY may skip the WAL
    "autovacuum": "off",  # it would start within some runs and not within others
}


@dataclass(frozen=True)
class Database:
    """Where the server is, a *connection* that commits each statement, and its main process if that is here."""

    url: str
    connection: Any
    postmaster: int | None

    def run(self, statement: str | sql.Composable, *values: Any) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall()) if cursor.description else []

    def tables(self, schema: str) -> list[str]:
        """Return the tables of streams: those of the programs themselves begin with _."""
        found = self.run("SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1", schema)
        return [name for (name,) in found if not name.startswith("_")]

    def count(self, schema: str) -> int:
        return sum(self.run(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, name)))[0][0] for name in self.tables(schema))

    def drop(self, schema: str) -> None:
        """Drop a schema, some tables at a time: each takes a lock of which there are not that many."""
        while tables := self.run("SELECT tablename FROM pg_tables WHERE schemaname = %s LIMIT 500", schema):
            names = sql.SQL(", ").join(sql.Identifier(schema, name) for (name,) in tables)
            self.run(sql.SQL("DROP TABLE {} CASCADE").format(names))
        self.run(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))

    def keep(self, schema: str, name: str) -> None:
        """Put a schema aside under another name."""
        self.drop(name)
        self.run(sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(*map(sql.Identifier, (schema, name))))

    def fresh(self, filled: str | None = None, empty: str | None = None) -> None:
        """Make SCHEMA anew: not there at all, or with tables like another schema's, *filled* or *empty*."""
        self.drop(SCHEMA)
        if like := filled or empty:
            self.run(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(SCHEMA)))
            for (name,) in self.run("SELECT tablename FROM pg_tables WHERE schemaname = %s", like):
                new, old = sql.Identifier(SCHEMA, name), sql.Identifier(like, name)
                self.run(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(new, old))
                if filled:
                    self.run(sql.SQL("INSERT INTO {} SELECT * FROM {}").format(new, old))
                    self.run(sql.SQL("VACUUM ANALYZE {}").format(new))
        self.run("CHECKPOINT")

    def description(self) -> str:
        """Say which server it is, with which settings."""
        version = self.run("SHOW server_version")[0][0].split()[0]
        shown = ", ".join(f"{name} {self.run(f'SHOW {name}')[0][0]}" for name in SHOWN)
        return f"PostgreSQL {version} ({shown})"


@contextmanager
def database() -> Iterator[Database]:
    """Lend the server that BENCH_POSTGRES_URL names, else one of our own, which is gone afterwards."""
    if given := os.environ.get(GIVEN):
        with _connected(given) as found:
            yield found
        return
    folder = tempfile.mkdtemp(prefix="target-meltano-bench-")
    os.chmod(folder, 0o755)  # root's server runs as another user
    embedded.SERVER_SETTINGS.update(SERVER_SETTINGS)
    try:
        with embedded.running(Path(folder, "home")) as server, _connected(server.url) as made:
            yield made
    finally:
        shutil.rmtree(folder)


@contextmanager
def _connected(url: str) -> Iterator[Database]:
    connection = psycopg2.connect(url, options="-c timezone=UTC -c client_min_messages=warning")
    connection.autocommit = True
    try:
        yield Database(url, connection, _postmaster(connection.info.backend_pid))
    finally:
        connection.close()


def _postmaster(backend: int) -> int | None:
    with suppress(FileNotFoundError):
        if "postgres" in Path(f"/proc/{backend}/comm").read_text():
            return parent_of(backend)
    return None
