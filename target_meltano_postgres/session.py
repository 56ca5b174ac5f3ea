"""Where PostgreSQL is, and a session there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import backoff
import psycopg2

from target_meltano import DatabaseError, Settings, SettingsError, setting

from . import faults, refusal

CONNECT_SECONDS = 30  # of trying to connect, with growing pauses
# A network that swallows everything ends a session after one to two minutes, instead of never.
_OURS = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 6,
    "tcp_user_timeout": 60_000,  # milliseconds; where the system knows it, it counts for keepalives, too
}
NAME = "target-meltano-postgres"


@dataclass(frozen=True)
class PostgresSettings(Settings):
    """How to reach PostgreSQL; what is missing comes from libpq's own PG* variables and files."""

    url: str | None = setting(None, "Where the database is: postgresql://user:password@host:port/dbname.", secret=True)
    host: str | None = setting(None, "Host name, address or folder of the socket.")
    port: int | None = setting(None, "Port.", least=1)
    user: str | None = setting(None, "Role to sign in as.", aliases=("username",))
    password: str | None = setting(None, "Its password.", secret=True)
    dbname: str | None = setting(None, "Database.", aliases=("database",))
    sslmode: str | None = setting(
        None,
        "TLS, as libpq names it: `require`, `verify-full`, …",
        choices=("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    )
    sslrootcert: str | None = setting(None, "File with the certificates of the authorities to trust.")
    sslcert: str | None = setting(None, "File with the client's certificate.")
    sslkey: str | None = setting(None, "File with the client's key.")

    def faults(self) -> Iterable[str]:
        yield from super().faults()
        if self.url and any((self.host, self.port, self.user, self.password, self.dbname)):
            yield "url: give either url, or host, port, user, password, dbname"
        if not self.schema and not self.is_embedded():
            yield "schema: missing; name the schema that the tables go into, like the tap"

    def is_embedded(self) -> bool:
        """Tell whether nothing says where a database is, so that our own one is meant."""
        given = (self.url, self.host, self.port, self.user, self.password, self.dbname)
        return not any(given) and not any(
            os.environ.get(name) for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE", "PGPORT", "PGUSER")
        )


def parameters(settings: PostgresSettings, url: str | None) -> dict[str, Any]:
    """Return what libpq is to be told.

    Raises:
        SettingsError: for a url that libpq reads in another way than it was meant.
    """
    names = ("host", "port", "user", "password", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey")
    given = {name: getattr(settings, name) for name in names}
    known = {name: value for name, value in given.items() if value is not None}
    ours = {**_OURS, "fallback_application_name": NAME}
    return {**ours, **_parts(url), **known, "client_encoding": "UTF8"}


def _parts(url: str | None) -> Mapping[str, Any]:
    """Return the parts of *url*; the driver's own errors would show a password with odd characters."""
    try:
        parts = psycopg2.extensions.parse_dsn(url) if url else {}
    except (psycopg2.Error, UnicodeError):
        parts = {"port": "none"}
    ports, hosts = parts.get("port", ""), parts.get("host", "")
    if not all(port.isdigit() or not port for port in ports.split(",")) or "@" in hosts:
        raise SettingsError(
            "settings: url: wanted postgresql://user:password@host:port/dbname, with %40 for @, %2F for /, "
            "%3A for : and %3F for ? in the password"
        )
    return dict(parts)


def start(parameters: Mapping[str, Any], name: str = NAME, tell: Callable[[str], None] = lambda text: None) -> tuple[Any, bool]:
    """Return the driver's connection to a server that takes writes, and whether the server shows it by *name*.

    It does not where somebody gave it another name, and where a pooler is in between: the session is
    shared with others then, and nothing may be left in it. *tell* is called where it is tried again.

    Raises:
        psycopg2.Error: it cannot be reached, now or for CONNECT_SECONDS.
        DatabaseError: its encoding is not UTF8.
    """
    try:
        return _start(parameters, name, tell)
    except faults.NoTransactions:
        return _start(parameters, name, tell)  # it may have been ended by chance


@backoff.on_exception(
    backoff.expo,
    psycopg2.Error,
    max_time=lambda: CONNECT_SECONDS,
    giveup=lambda error: not _may_pass(error),
    on_backoff=lambda tried: _tell(tried["args"][2], tried["exception"]) if tried["tries"] == 1 else None,
    logger=None,
)
def _start(parameters: Mapping[str, Any], name: str, tell: Callable[[str], None]) -> tuple[Any, bool]:
    try:
        session = psycopg2.connect(**parameters)
    except psycopg2.OperationalError as error:
        if not _may_pass(error) and refusal.passes(error, parameters):
            raise refusal.Passing(str(error)) from error
        raise
    try:
        encoding = session.get_parameter_status("server_encoding")
        if encoding != "UTF8":
            raise DatabaseError(
                f"the database's encoding is {encoding}, wanted UTF8: others cannot hold every text; "
                "create one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
            )
        session.autocommit = True
        with session.cursor() as cursor:
            cursor.execute(_FIRST, (session.info.backend_pid, NAME, name))
            is_standby, pid, shown = cursor.fetchone()
            if is_standby:
                raise faults.Standby
            if pid != session.info.backend_pid:
                _check_pooler(cursor)
        session.autocommit = False
        session.set_session(isolation_level="READ COMMITTED")  # said with BEGIN; it asks nothing now
    except BaseException:
        session.close()
        raise
    return session, shown == name


def _tell(tell: Callable[[str], None], error: Exception) -> None:
    tell(f"cannot connect: {faults.words(error)}; trying again for {CONNECT_SECONDS} s")


def _check_pooler(cursor: Any) -> None:
    try:
        cursor.execute("BEGIN")
        cursor.execute("ROLLBACK")
    except psycopg2.OperationalError as error:
        raise faults.NoTransactions from error


def _may_pass(error: Exception) -> bool:
    """A starting server passes; wrong passwords and missing databases do not mend themselves."""
    is_of_query = getattr(error, "cursor", None) is not None
    text = str(error)
    is_known = isinstance(error, refusal.Passing) or any(words in text for words in _PASSING)
    return is_known or (is_of_query and faults.is_transient(error))


# A pooler gives each of its clients a number of its own, so that it knows whose statement is to be cancelled.
_FIRST = """
SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_backend_pid(), CASE
  WHEN pg_catalog.pg_backend_pid() = %s AND pg_catalog.current_setting('application_name') = %s
  THEN pg_catalog.set_config('application_name', %s, false) END
"""


_PASSING = (
    "refused",
    "starting up",
    "shutting down",
    "in recovery mode",
    "not yet accepting",
    "timeout",
    "timed out",
    "closed the connection",
    "reset by peer",
    "too many",
    "connection slots",
    "could not translate",
    "unreachable",
    "terminating connection",
    "closed unexpectedly",
    "has been closed",
)
