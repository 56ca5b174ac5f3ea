"""How every transaction of ours begins: with settings that take and give all values as they are, for itself alone.

Nothing of ours outlives a transaction, for a pooler may give the session to others then. What is set
is set in the round trip that asks for the transaction's number.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg2
import sqlalchemy as sa
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

from . import faults

SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",  # else the catalogue spells types otherwise
    # The same the other way round: else the locks of a machine that is gone stay for two hours.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "6",
    "tcp_user_timeout": "60000",
}


@dataclass(frozen=True)
class Begun:
    """By what the server knows an open transaction: numbers of its own and of its process, and when it began."""

    xid: int
    pid: int
    at: float  # seconds since 1970

    def __str__(self) -> str:
        return f"{self.xid} {self.pid} {self.at!r}"

    @classmethod
    def parse(cls, text: str) -> Begun:
        xid, pid, at = text.split()
        return cls(int(xid), int(pid), float(at))


class Driver(PGDialect_psycopg2):
    """psycopg2 as SQLAlchemy has it; it asks the server nothing of its own accord, and begins all transactions as we do.

    All of them: those that SQLAlchemy begins by itself, too. So nothing of ours outlives one, in a
    session that a pooler may give to others.
    """

    supports_statement_cache = True
    lock: str | None = None
    """The name of the lock that each transaction shares with others."""
    begun: Begun | None = None
    """The last one."""

    def initialize(self, connection: sa.Connection) -> None:
        """Say nothing: what SQLAlchemy would ask is the same for all servers, or ours to set."""

    def do_begin(self, dbapi_connection: Any) -> None:
        try:
            with dbapi_connection.cursor() as cursor:  # BEGIN goes before its first statement
                if self.lock:
                    cursor.execute(f"{_BEGIN}, {_SHARE}", (self.lock,))
                else:
                    cursor.execute(_BEGIN)
                self.begun = Begun(*cursor.fetchone()[:3])
        except BaseException:
            with suppress(psycopg2.Error):
                dbapi_connection.rollback()
            raise


registry.register("postgresql.ours", __name__, Driver.__name__)


def engine(session: Any) -> sa.Engine:
    """Return the engine whose only connection is the driver's *session*."""
    return sa.create_engine(
        "postgresql+ours://",
        creator=lambda: session,
        poolclass=sa.NullPool,
        use_native_hstore=False,
        executemany_mode="values_plus_batch",  # a round trip for many rows
        # Without it a % in a name or comment would be read as a placeholder.
        execution_options={"no_parameters": True},
    )


@contextmanager
def full_names(connection: sa.Connection) -> Iterator[None]:
    """Let the database write every name with its schema, because nothing is found without."""
    query = "SELECT pg_catalog.current_setting('search_path'), pg_catalog.set_config('search_path', '', true)"
    before = connection.exec_driver_sql(query).scalar_one()
    yield
    connection.exec_driver_sql("SELECT pg_catalog.set_config('search_path', %s, true)", (before,))


# The role's own search_path stays, for triggers, checks and defaults are written for it; what is
# built in comes first in it, unless it says otherwise, and it is not to say so.
_SET = ", ".join(f"pg_catalog.set_config('{name}', '{value}', true)" for name, value in SETTINGS.items())
_BEGIN = f"""
SELECT pg_catalog.txid_current(), pg_catalog.pg_backend_pid(), pg_catalog.date_part('epoch', pg_catalog.now()), {_SET},
  CASE WHEN pg_catalog.current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')
    THEN pg_catalog.set_config('synchronous_commit', 'on', true) END,
  CASE WHEN pg_catalog.strpos(pg_catalog.current_setting('search_path'), 'pg_catalog') > 0
    THEN pg_catalog.set_config('search_path', pg_catalog.array_to_string(ARRAY(
      SELECT one FROM pg_catalog.unnest(pg_catalog.string_to_array(pg_catalog.current_setting('search_path'), ',')) one
      WHERE pg_catalog.btrim(one, ' "') <> 'pg_catalog'), ','), true) END
"""
_SHARE = f"pg_catalog.pg_advisory_xact_lock_shared({faults.LOCK})"
