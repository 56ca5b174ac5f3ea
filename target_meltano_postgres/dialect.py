"""PostgreSQL, as the core needs to know it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar

import backoff
import psycopg2
import pyarrow as pa
import sqlalchemy as sa
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
    Kind,
    Settings,
    Table,
    TargetError,
    setting,
)

from . import embedded
from .copy import Reader, encode

CONNECT_SECONDS = 30  # of trying to connect, with growing pauses
LOCK_TIMEOUT = "10s"  # for DDL; after it, others come first and we try again
SESSION = {
    "client_encoding": "UTF8",
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "search_path": "",
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
    # A paramstyle without % leaves % in names alone.
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
    same_kinds: ClassVar[Mapping[str, Kind]] = {"decimal": NUMBER}  # plain numeric holds every scale
    default_schema = "raw"  # of the embedded server; elsewhere the setting is required
    reserved = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
    driver_errors = (psycopg2.Error,)

    def __init__(self, settings: PostgresSettings):
        super().__init__(settings)
        self._conflicts: set[str] = set()  # tables for which a plain COPY met a key that was there
        self._url = settings.url
        self._lease = ExitStack()  # of our own server, for as long as we are connected

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
        def on_backoff(details: Any) -> None:
            pass

        @backoff.on_exception(backoff.expo, psycopg2.OperationalError, max_time=CONNECT_SECONDS, giveup=_is_final)
        def connected() -> Any:
            return psycopg2.connect(**self.parameters())

        try:
            engine = sa.create_engine("postgresql+psycopg2://", creator=connected, poolclass=sa.NullPool)
            connection = engine.connect()
        except sa.exc.DBAPIError as error:
            raise self.error(error, "cannot connect") from error
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
        if encoding != "UTF8":
            connection.close()
            raise DatabaseError(
                f"the database's encoding is {encoding}, wanted UTF8: others cannot hold every text; "
                "create one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
            )
        for name, value in SESSION.items():
            connection.exec_driver_sql(f"SET SESSION {name} TO {self.literal(value)}")
        if connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "off":
            connection.exec_driver_sql("SET SESSION synchronous_commit TO on")
        connection.commit()
        return connection

    def parameters(self) -> dict[str, Any]:
        """Return what libpq is to be told."""
        names = ("host", "port", "user", "password", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey")
        given = {name: getattr(self.settings, name) for name in names}
        given["dsn"] = self._url
        known = {name: value for name, value in given.items() if value is not None}
        return {"application_name": "target-meltano-postgres", "keepalives_idle": 30, "connect_timeout": 10, **known}

    def error(self, error: Exception, where: str) -> TargetError:
        """The primary message only: DETAIL prints whole rows."""
        cause = getattr(error, "orig", None) or error
        diagnosis = getattr(cause, "diag", None)
        primary = getattr(diagnosis, "message_primary", None) or str(cause).strip().splitlines()[0]
        return DatabaseError(f"{where}: {primary}")

    def begin(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout TO '{LOCK_TIMEOUT}'")

    # --- types

    def read_back(self, column_type: TypeEngine[Any]) -> tuple[Kind | None, bool]:
        """The types that others made, too: narrow ones are widened, json and varchar are kept."""
        found: Any = column_type
        if isinstance(found, postgresql.DOMAIN):
            return None, False
        if isinstance(found, postgresql.TIMESTAMP):
            if not found.timezone and self.settings.naive_timestamps != "utc":
                return None, False
            return TIMESTAMP, found.precision not in (None, 6)
        if isinstance(found, postgresql.TIME):
            return (None, False) if found.timezone else (TIME, found.precision not in (None, 6))
        if isinstance(found, sa.Float):
            return DOUBLE, isinstance(found, sa.REAL)
        if isinstance(found, sa.Numeric):
            return _numeric(found)
        if isinstance(found, sa.Integer):
            return INTEGER, not isinstance(found, sa.BigInteger)
        if isinstance(found, (postgresql.UUID, postgresql.ENUM, postgresql.CITEXT)):
            return None, False
        if isinstance(found, sa.String):
            return STRING, found.length is not None or isinstance(found, sa.CHAR)
        return _SIMPLE.get(type(found)), False

    def change_type(self, change: ChangeType) -> Sequence[str]:
        name, column = self.full_name(change.table), self.quote(change.column.name)
        kind = change.column.kind
        wanted = self.column_type(kind).compile(dialect=self.sql)
        using = _conversion(column, change.found.kind, kind)
        return [f"ALTER TABLE {name} ALTER COLUMN {column} TYPE {wanted} USING {using}"]

    def loses_by(self, change: ChangeType) -> str | None:
        if change.column.kind != DOUBLE or change.found.kind == DOUBLE:
            return None
        column = self.quote(change.column.name)
        same = f"({column}::double precision)::text::numeric = {column}::numeric"
        return f"SELECT 1 FROM {self.full_name(change.table)} WHERE NOT ({same}) LIMIT 1"

    def rewrites(self, change: ChangeType) -> bool:
        """varchar(n) to text and numeric(p,s) to numeric only change the catalogue."""
        catalogue_only = change.found.type.startswith(("varchar", "numeric"))
        return not (catalogue_only and change.found.kind == self.kind(change.column.kind) or change.found.type.startswith("numeric(") and change.column.kind == NUMBER)

    def obstacles(self, connection: sa.Connection, change: ChangeType) -> Sequence[str]:
        rows = connection.execute(_DEPENDENTS, {"table": self.full_name(change.table), "column": change.column.name})
        return [f"view {schema}.{view}" for schema, view in rows]

    # --- rows

    def write(self, connection: sa.Connection, table: Table, batch: pa.RecordBatch) -> None:
        """COPY straight into the table, 2.6 times faster, until a key was there already; then upsert."""
        cursor = connection.connection.cursor()
        buffers = encode(batch, [column.kind for column in table.columns])
        if table.full_name not in self._conflicts:
            cursor.execute("SAVEPOINT before_copy")
            try:
                self._copy(cursor, self.full_name(table), table, buffers)
                cursor.execute("RELEASE SAVEPOINT before_copy")
                return
            except psycopg2.errors.UniqueViolation:
                cursor.execute("ROLLBACK TO SAVEPOINT before_copy")
                self._conflicts.add(table.full_name)
        stage = self._stage(cursor, table)
        self._copy(cursor, stage, table, buffers)
        cursor.execute(self._upsert(stage, table))

    def _copy(self, cursor: Any, into: str, table: Table, buffers: list[bytes]) -> None:
        statement = f"COPY {into} ({self._names(table)}) FROM STDIN (FORMAT binary)"
        cursor.copy_expert(statement, Reader(buffers), size=1 << 20)

    def _stage(self, cursor: Any, table: Table) -> str:
        """Return an empty temporary table with the columns of *table*; it is empty again after COMMIT."""
        stage = f"pg_temp.{self.quote('stage')}"
        cursor.execute("DROP TABLE IF EXISTS pg_temp.stage")
        cursor.execute(f"CREATE TEMPORARY TABLE stage ON COMMIT DROP AS SELECT {self._names(table)} FROM {self.full_name(table)} WITH NO DATA")
        return stage

    def _upsert(self, stage: str, table: Table) -> str:
        others = [self.quote(column.name) for column in table.columns if column.name not in table.keys]
        changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in others)
        keys = ", ".join(map(self.quote, table.keys))
        action = f"UPDATE SET {changes}" if changes else "NOTHING"
        names = self._names(table)
        return f"INSERT INTO {self.full_name(table)} ({names}) SELECT {names} FROM {stage} ON CONFLICT ({keys}) DO {action}"

    def _names(self, table: Table) -> str:
        return ", ".join(self.quote(column.name) for column in table.columns)


def _is_final(error: Exception) -> bool:
    """Wrong passwords and missing databases do not mend themselves; a starting server does."""
    text = str(error)
    return not any(words in text for words in ("refused", "starting up", "timeout", "timed out", "closed the connection", "too many", "could not translate", "unreachable"))


def _numeric(found: Any) -> tuple[Kind, bool]:
    if found.precision is None:
        return NUMBER, False
    return Kind("decimal", found.precision, max(0, found.scale or 0)), False


_SIMPLE: dict[type, Kind] = {
    sa.BOOLEAN: BOOLEAN,
    sa.DATE: DATE,
    postgresql.BYTEA: BINARY,
    postgresql.JSONB: JSON,
    postgresql.JSON: JSON,
}

_DEPENDENTS = sa.text(
    """
    SELECT DISTINCT n.nspname, v.relname
    FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
    JOIN pg_catalog.pg_class v ON v.oid = r.ev_class
    JOIN pg_catalog.pg_namespace n ON n.oid = v.relnamespace
    JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.refobjid = CAST(:table AS pg_catalog.regclass) AND a.attname = :column
    ORDER BY 1, 2
    """
)


def _conversion(column: str, found: Kind | None, wanted: Kind) -> str:
    """Return the expression that converts a column's values, each to the same value."""
    if wanted in (STRING, JSON):
        text = _TEXTS.get(found.name if found else "", "{0}::text").format(column)
        if wanted == STRING:
            return text
        return f"to_jsonb({text if found and found.name in _TEXTS else column})"
    return f"{column}::{_CASTS[wanted.name]}"


_CASTS = {
    "integer": "bigint",
    "number": "numeric",
    "double": "double precision",
    "timestamp": "timestamptz",
    "time": "time",
}
_TEXTS = {
    "timestamp": """to_char({0}, CASE WHEN date_trunc('second', {0}) = {0} THEN 'YYYY-MM-DD"T"HH24:MI:SS"Z"' ELSE 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"' END)""",
    "time": """to_char({0}, CASE WHEN extract(microseconds FROM {0})::bigint % 1000000 = 0 THEN 'HH24:MI:SS' ELSE 'HH24:MI:SS.US' END)""",
    "date": "to_char({0}, 'YYYY-MM-DD')",
}
