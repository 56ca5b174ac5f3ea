"""Where PostgreSQL is, and a session there that takes and gives all values as they are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import backoff
import psycopg2

from target_meltano import DatabaseError, Settings, SettingsError, setting

CONNECT_SECONDS = 30  # of trying to connect, with growing pauses
# A network that swallows everything ends a session after one to two minutes, instead of never.
_OURS = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 6,
    "tcp_user_timeout": 60_000,  # milliseconds; where the system knows it, it counts for keepalives, too
}
SESSION = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "search_path": "",
    "standard_conforming_strings": "on",
    "default_transaction_isolation": "read committed",
    # The same the other way round: else the locks of a machine that is gone stay for two hours.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "6",
    "tcp_user_timeout": "60000",
}


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


def parameters(settings: PostgresSettings, url: str | None, run_id: str) -> dict[str, Any]:
    """Return what libpq is to be told; the database shows the run as `application_name`, unless PGAPPNAME is set.

    Raises:
        SettingsError: for a url that libpq reads in another way than it was meant.
    """
    names = ("host", "port", "user", "password", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey")
    given = {name: getattr(settings, name) for name in names}
    known = {name: value for name, value in given.items() if value is not None}
    ours = {**_OURS, "fallback_application_name": f"target-meltano-postgres {run_id}".strip()}
    return {**ours, **_parts(url), **known, "client_encoding": "UTF8"}


def _parts(url: str | None) -> Mapping[str, Any]:
    """Return the parts of *url*; the driver's own errors would show a password with odd characters."""
    try:
        parts = psycopg2.extensions.parse_dsn(url) if url else {}
    except psycopg2.Error:
        parts = {"port": "none"}
    ports, hosts = parts.get("port", ""), parts.get("host", "")
    if not all(port.isdigit() or not port for port in ports.split(",")) or "@" in hosts:
        raise SettingsError(
            "settings: url: wanted postgresql://user:password@host:port/dbname, with %40 for @, %2F for /, "
            "%3A for : and %3F for ? in the password"
        )
    return dict(parts)


def start(parameters: Mapping[str, Any]) -> Any:
    """Return the driver's connection, its session set in one round trip, whatever others say.

    Raises:
        psycopg2.Error: it cannot be reached, now or for CONNECT_SECONDS.
        DatabaseError: its encoding is not UTF8.
    """
    session = _connected(parameters)
    encoding = session.get_parameter_status("server_encoding")
    if encoding != "UTF8":
        session.close()
        raise DatabaseError(
            f"the database's encoding is {encoding}, wanted UTF8: others cannot hold every text; "
            "create one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )
    session.autocommit = True  # a setting made in a transaction would end with a rollback
    session.cursor().execute(_set_session())
    session.autocommit = False
    return session


@backoff.on_exception(
    backoff.expo,
    psycopg2.OperationalError,
    max_time=lambda: CONNECT_SECONDS,
    giveup=lambda error: not _may_pass(error),
    logger=None,
)
def _connected(parameters: Mapping[str, Any]) -> Any:
    return psycopg2.connect(**parameters)


def _may_pass(error: Exception) -> bool:
    """A starting server passes; wrong passwords and missing databases do not mend themselves."""
    text = str(error)
    return any(words in text for words in _PASSING)


def _set_session() -> str:
    calls = [f"set_config('{name}', '{value}', false)" for name, value in SESSION.items()]
    at_least_on = (
        "CASE WHEN current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') "
        "THEN set_config('synchronous_commit', 'on', false) END"
    )
    return f"SELECT {', '.join([*calls, at_least_on])}"


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
)
