"""PostgreSQL, as the core needs to know it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar

import backoff
import psycopg2
import pyarrow as pa
import sqlalchemy as sa
from psycopg2 import errors
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

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
    DatabaseError,
    Dialect,
    Found,
    Kind,
    Settings,
    SettingsError,
    Table,
    TargetError,
    setting,
)

from . import embedded, upgrades
from .copy import READ_BYTES, NumberError, Reader, encode

CONNECT_SECONDS = 30  # of trying to connect, with growing pauses
LOCK_TIMEOUT = "10s"  # for DDL; after it, others come first and we try again
SESSION = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "search_path": "",
    "standard_conforming_strings": "on",
    "default_transaction_isolation": "read committed",
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
    sslmode: str | None = setting(None, "TLS, as libpq names it: `require`, `verify-full`, …", choices=("disable", "allow", "prefer", "require", "verify-ca", "verify-full"))
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
        return not any(given) and not any(os.environ.get(name) for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE", "PGPORT", "PGUSER"))


class PostgresDialect(Dialect[PostgresSettings]):
    name = "postgres"
    settings_type = PostgresSettings
    sql: ClassVar[sa.Dialect] = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
    types: ClassVar[Mapping[str, TypeEngine[Any]]] = {
        "boolean": sa.Boolean(),
        "integer": sa.BigInteger(),
        "number": sa.Numeric(),
        "double": sa.Double(),
        "string": sa.Text(),
        "date": sa.Date(),
        "time": postgresql.TIME(),
        "timestamp": postgresql.TIMESTAMP(timezone=True),
        "binary": postgresql.BYTEA(),
        "json": postgresql.JSONB(),
    }
    # char(n) is not among them, it pads; nor citext and uuid, to which other texts are equal.
    reads: ClassVar[Mapping[str, Kind]] = {
        "boolean": BOOLEAN,
        "smallint": INTEGER,
        "integer": INTEGER,
        "bigint": INTEGER,
        "numeric": NUMBER,
        "real": DOUBLE,
        "double precision": DOUBLE,
        "text": STRING,
        "character varying": STRING,
        "date": DATE,
        "time without time zone": TIME,
        "timestamp with time zone": TIMESTAMP,
        "bytea": BINARY,
        "json": JSON,
        "jsonb": JSON,
    }
    narrow = frozenset({"smallint", "integer", "real"})
    same_kinds: ClassVar[Mapping[str, Kind]] = {"decimal": NUMBER}  # plain numeric holds every scale
    default_schema = "raw"  # of the embedded server; elsewhere the setting is required
    reserved = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
    driver_errors = (psycopg2.Error,)

    def __init__(self, settings: PostgresSettings):
        super().__init__(settings)
        self._conflicts: set[str] = set()  # tables for which a plain COPY met a key that was there
        self._url = settings.url
        self._lease = ExitStack()  # of our own server, for as long as we are connected

    # --- the session

    def connect(self) -> sa.Connection:
        with ExitStack() as lease:
            if self.settings.is_embedded():
                self._url = lease.enter_context(embedded.running()).url
                self.notice = "our own PostgreSQL is used; look into it with: target-meltano-postgres db psql"
            connection = self._connect()
            self._lease = lease.pop_all()
        return connection

    def close(self, connection: sa.Connection) -> None:
        """The last to leave our own server stops it."""
        with self._lease:
            super().close(connection)

    def _connect(self) -> sa.Connection:
        """One round trip sets the session, whatever server, database and role say."""
        parameters = self.parameters()
        try:
            session = _connected(parameters)
            session.autocommit = True
            self._check_encoding(session)
            session.cursor().execute(_set_session())
            session.autocommit = False
        except psycopg2.Error as error:
            raise self.error(error, "cannot connect") from error
        # Without no_parameters a % in a name or comment would be read as a placeholder.
        engine = sa.create_engine(
            "postgresql+psycopg2://",
            creator=lambda: session,
            poolclass=sa.NullPool,
            use_native_hstore=False,
            execution_options={"no_parameters": True},
        )
        return engine.connect()

    def parameters(self) -> dict[str, Any]:
        """Return what libpq is to be told.

        Raises:
            SettingsError: for a url that libpq reads in another way than it was meant.
        """
        names = ("host", "port", "user", "password", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey")
        given = {name: getattr(self.settings, name) for name in names}
        known = {name: value for name, value in given.items() if value is not None}
        ours = {"fallback_application_name": "target-meltano-postgres", "keepalives_idle": 30, "connect_timeout": 10}
        return {**ours, **_parts(self._url), **known, "client_encoding": "UTF8"}

    def _check_encoding(self, session: Any) -> None:
        encoding = session.get_parameter_status("server_encoding")
        if encoding != "UTF8":
            session.close()
            raise DatabaseError(
                f"the database's encoding is {encoding}, wanted UTF8: others cannot hold every text; "
                "create one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
            )

    def words(self, error: Exception) -> str:
        """The primary message only: DETAIL prints whole rows."""
        cause: Any = getattr(error, "orig", None) or error
        diagnosis = getattr(cause, "diag", None)
        primary = getattr(diagnosis, "message_primary", None) or " ".join(str(cause).split())
        column = _COPY_COLUMN.search(getattr(diagnosis, "context", None) or "")
        return f"{f'column {column[1]!r}: ' if column else ''}{primary}"

    def is_transient(self, error: Exception) -> bool:
        """Locks that others hold, what others made in between, and connections that are lost."""
        cause = getattr(error, "orig", None) or error
        is_lost = isinstance(cause, (psycopg2.OperationalError, psycopg2.InterfaceError)) and not cause.pgcode
        return is_lost or isinstance(cause, _TRANSIENT)

    def is_of_data(self, error: Exception) -> bool:
        """Values, keys and constraints, and what is too large for an index or a page."""
        cause = getattr(error, "orig", None) or error
        return (cause.pgcode or "")[:2] in ("22", "23", "54") if isinstance(cause, psycopg2.Error) else False

    def refused_row(self, error: Exception) -> int | None:
        """The context of a COPY names its line; after it comes a merge, which names none."""
        diagnosis = getattr(getattr(error, "orig", None) or error, "diag", None)
        line = _COPY_LINE.search(getattr(diagnosis, "context", None) or "")
        return int(line[1]) - 1 if line else None

    def try_lock(self, connection: sa.Connection, name: str) -> bool:
        """An advisory lock of the session; so a proxy that shares sessions must be kept out.

        Raises:
            DatabaseError: two statements met two sessions.
        """
        found = set()
        for _ in range(5):
            found.add(connection.exec_driver_sql("SELECT pg_catalog.pg_backend_pid()").scalar_one())
            connection.commit()
        if len(found) > 1:
            raise DatabaseError("a proxy in between shares sessions by transaction; state_id needs one of our own: connect to the database itself")
        query = "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended(%s, 0))"
        taken = bool(connection.exec_driver_sql(query, (f"target-meltano/{name}",)).scalar_one())
        connection.commit()
        return taken

    def transaction_id(self, connection: sa.Connection) -> str | None:
        return str(connection.exec_driver_sql("SELECT pg_catalog.txid_current()").scalar_one())

    def was_committed(self, connection: sa.Connection, transaction: str | None) -> bool:
        """PostgreSQL remembers; while the old session still works on it, wait."""
        for pause in (0.1, 0.2, 0.5, 1, 2, 5, 10, 10, 10, 10, 10):
            status = connection.exec_driver_sql("SELECT pg_catalog.txid_status(%s::bigint)", (transaction,)).scalar_one()
            connection.rollback()
            if status != "in progress":
                return bool(status == "committed")
            time.sleep(pause)
        raise DatabaseError("the connection was lost during COMMIT, and the database still works on it")

    # --- the catalogue

    def has_schema(self, connection: sa.Connection, schema: str) -> bool:
        query = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s"
        return connection.exec_driver_sql(query, (schema,)).first() is not None

    def found(self, connection: sa.Connection, schema: str, name: str) -> Found | None:
        rows = connection.exec_driver_sql(_TABLE, (schema, name)).all()
        if not rows:
            return None
        first = rows[0]
        if first.relkind not in ("r", "p"):
            what = _RELATIONS.get(first.relkind, "no table")
            raise DatabaseError(f"{schema}.{name} is {what}, wanted a table (setting table_names)")
        columns = [row for row in rows if row.attname is not None]
        keys = sorted((row.key_position, row.attname) for row in columns if row.key_position)
        full_name = f"{self.quote(schema)}.{self.quote(name)}"
        return Found(
            {row.attname: self.found_column(row.attname, row.type, optional=row.optional) for row in columns},
            tuple(key for _, key in keys),
            first.size == 0 or connection.exec_driver_sql(f"SELECT 1 FROM {full_name} LIMIT 1").first() is None,
            first.key_name or "",
        )

    def read_back(self, spelt: str) -> tuple[Kind | None, bool]:
        """numeric(p,s) is a kind of its own; naive times are read if the setting says so."""
        numeric = re.fullmatch(r"numeric\((\d+),(-?\d+)\)", spelt)
        if numeric:
            return Kind("decimal", int(numeric[1]), max(0, int(numeric[2]))), False
        if spelt == "timestamp without time zone" and self.settings.naive_timestamps == "utc":
            return TIMESTAMP, False
        return super().read_back(spelt)

    # --- DDL

    def begin(self, connection: sa.Connection, changes: Sequence[Any]) -> None:
        """Wait for locks not too long; what is checked before an ALTER is still so when it comes."""
        connection.exec_driver_sql(f"SET LOCAL lock_timeout TO '{LOCK_TIMEOUT}'")
        for change in changes:
            if isinstance(change, ChangeType):
                name = self.full_name(change.table)
                connection.exec_driver_sql(f"LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE")
                return

    def change_type(self, change: ChangeType) -> Sequence[str]:
        name, column = self.full_name(change.table), self.quote(change.column.name)
        kind = change.column.kind
        using = upgrades.conversion(column, change.found.kind, kind)
        return [f"ALTER TABLE {name} ALTER COLUMN {column} TYPE {self.type_name(kind)} USING {using}"]

    def loses_by(self, change: ChangeType) -> str | None:
        same = upgrades.unchanged(self.quote(change.column.name), change.found.kind, change.column.kind)
        return f"SELECT 1 FROM {self.full_name(change.table)} WHERE NOT ({same}) LIMIT 1" if same else None

    def rewrites(self, change: ChangeType) -> bool:
        return upgrades.rewrites(change.found, change.column.kind)

    def obstacles(self, connection: sa.Connection, change: ChangeType) -> Sequence[str]:
        names = (self.full_name(change.table), change.column.name)
        return list(connection.exec_driver_sql(upgrades.DEPENDENTS, names).scalars())

    # --- rows

    def write(self, connection: sa.Connection, table: Table, batch: pa.RecordBatch) -> None:
        """COPY straight into the table, 2.6 times faster, until a key was there already; then upsert."""
        cursor = connection.connection.cursor()
        buffers = _encoded(table, batch)
        if not table.keys:
            self._copy(cursor, self.full_name(table), table, buffers)
        elif table.full_name in self._conflicts or not self._copied(cursor, table, buffers):
            self._conflicts.add(table.full_name)
            self._upsert(cursor, table, buffers)

    def _copied(self, cursor: Any, table: Table, buffers: list[bytes]) -> bool:
        """Tell whether all rows could be copied; none is there if not."""
        cursor.execute("SAVEPOINT before_copy")
        try:
            self._copy(cursor, self.full_name(table), table, buffers)
        except errors.UniqueViolation:
            cursor.execute("ROLLBACK TO SAVEPOINT before_copy")
            return False
        cursor.execute("RELEASE SAVEPOINT before_copy")
        return True

    def _copy(self, cursor: Any, into: str, table: Table, buffers: list[bytes]) -> None:
        statement = f"COPY {into} ({_names(self, table)}) FROM STDIN (FORMAT binary)"
        cursor.copy_expert(statement, Reader(buffers), size=READ_BYTES)

    def _upsert(self, cursor: Any, table: Table, buffers: list[bytes]) -> None:
        """COPY into a temporary table, and from there over the rows of the same keys.

        In the order of the keys, so that two targets on one table seldom wait for each other.
        """
        name, names, keys = self.full_name(table), _names(self, table), self.names(table.keys)
        cursor.execute("DROP TABLE IF EXISTS pg_temp.stage")
        cursor.execute(f"CREATE TEMPORARY TABLE stage ON COMMIT DROP AS SELECT {names} FROM {name} WITH NO DATA")
        self._copy(cursor, "pg_temp.stage", table, buffers)
        others = [self.quote(column.name) for column in table.columns if column.name not in table.keys]
        action = f"UPDATE SET {', '.join(f'{name} = EXCLUDED.{name}' for name in others)}" if others else "NOTHING"
        cursor.execute(
            f"INSERT INTO {name} ({names}) OVERRIDING SYSTEM VALUE "
            f"SELECT {names} FROM pg_temp.stage ORDER BY {keys} ON CONFLICT ({keys}) DO {action}"
        )


@backoff.on_exception(
    backoff.expo, psycopg2.OperationalError, max_time=CONNECT_SECONDS, giveup=lambda error: not _may_pass(error)
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


def _encoded(table: Table, batch: pa.RecordBatch) -> list[bytes]:
    """The binary form of json is its text; that of jsonb has a version in front."""
    kinds = [STRING if column.type == "json" else column.kind for column in table.columns]
    try:
        return encode(batch, kinds)
    except NumberError as error:
        column = table.columns[error.column].name
        raise DatabaseError(f"table {table.full_name}: column {column!r}: {error.fault}") from None


def _names(dialect: PostgresDialect, table: Table) -> str:
    return dialect.names([column.name for column in table.columns])


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
_TRANSIENT = (
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.DuplicateSchema,
    errors.DuplicateTable,
    errors.DuplicateColumn,
    errors.DuplicateObject,
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.ConnectionException,
    errors.ConnectionFailure,
    errors.ConnectionDoesNotExist,
    errors.TooManyConnections,
    errors.IdleInTransactionSessionTimeout,
    errors.UniqueViolation,  # of the catalogue, where two make one thing at once
)
_COPY_LINE = re.compile(r"^COPY .*, line (\d+)", re.MULTILINE)
_COPY_COLUMN = re.compile(r"^COPY .*, line \d+, column (.*?)(?:: \".*)?$", re.MULTILINE)
_RELATIONS = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "S": "a sequence",
    "c": "a type",
    "i": "an index",
    "I": "an index",
}

# In one query, 1 ms, where SQLAlchemy's inspector takes five. A column that is generated or whose
# collation finds different texts equal is shown with that, so that no kind is read from its type.
_TABLE = """
SELECT c.relkind::text, a.attname::text, k.conname::text AS key_name,
  pg_catalog.array_position(k.conkey, a.attnum) AS key_position,
  NOT a.attnotnull OR a.atthasdef OR a.attidentity <> '' AS optional,
  pg_catalog.format_type(a.atttypid, a.atttypmod)
    || CASE WHEN a.attgenerated <> '' THEN ' GENERATED' ELSE '' END
    || COALESCE(' COLLATE ' || pg_catalog.quote_ident(l.collname), '') AS type,
  CASE c.relkind WHEN 'r' THEN pg_catalog.pg_relation_size(c.oid) END AS size
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation AND NOT l.collisdeterministic
WHERE n.nspname = %s AND c.relname = %s
ORDER BY a.attnum
"""
