"""PostgreSQL, as the core needs to know it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

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
    NOT_FINITE,
    NUMBER,
    STRING,
    TIME,
    TIMESTAMP,
    Again,
    ChangeType,
    Column,
    Copies,
    Found,
    FoundColumn,
    Kind,
    Limit,
    Need,
    RowCounts,
    RowError,
    Table,
)

from . import (
    begin,
    catalogue,
    embedded,
    extras,
    faults,
    merging,
    narrow,
    pages,
    privileges,
    review,
    session,
    upgrades,
    views,
)
from .besides import Neighbours
from .copy import READ_BYTES, NumberError, Reader, encode
from .narrow import LIMITS
from .session import PostgresSettings

INFINITIES = 140000  # the first version whose numeric holds them
LOCK_TIMEOUT = "10s"  # for DDL; after it, others come first and we try again


@dataclass(frozen=True)
class Encoded:
    """A whole COPY in *buffers*, sorted by the first column of the key or not.

    *absent* are the columns that some rows have no value for; then the last column of the COPY says which rows.
    """

    buffers: list[bytes]
    ascends: bool
    absent: frozenset[int] = frozenset()


class PostgresDialect(Neighbours):
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
    limits = LIMITS
    narrow = frozenset(LIMITS)
    same_kinds: ClassVar[Mapping[str, Kind]] = {"decimal": NUMBER}  # plain numeric holds every scale
    takes_absent = True
    default_schema = "raw"  # of the embedded server; elsewhere the setting is required
    reserved = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
    driver_errors = (psycopg2.Error,)

    def __init__(self, settings: PostgresSettings):
        super().__init__(settings)
        self._merges = 0  # of the same rows so far
        self._conflicts: set[str] = set()  # tables for which a plain COPY met a key that was there
        self._url = settings.url
        self.has_own_server = settings.is_embedded()
        self._lock: str | None = None  # that each transaction shares
        self._is_named = False  # whether the server shows our session by the name of the run
        self._has_infinities = True
        self._lease = ExitStack()  # of our own server, for as long as we are connected

    # --- the session

    def connect(self) -> sa.Connection:
        with ExitStack() as lease:
            if self.has_own_server:
                self._url = lease.enter_context(embedded.running()).url
                self.notice = "our own PostgreSQL is used; look into it with: target-meltano-postgres db psql"
            connection = self._connect()
            self._lease = lease.pop_all()
        return connection

    def close(self, connection: sa.Connection) -> None:
        """The last to leave our own server stops it."""
        with self._lease:
            super().close(connection)

    @contextmanager
    def copies(self) -> Iterator[Copies]:
        with ExitStack() as lease:
            if self.has_own_server:
                self._url = lease.enter_context(embedded.running()).url
            yield lease.enter_context(review.opened(session.parameters(self.settings, self._url)))

    def _connect(self) -> sa.Connection:
        parameters = session.parameters(self.settings, self._url)
        try:
            raw, self._is_named = session.start(parameters, _name(self.run_id), self.tell)
            self._has_infinities = raw.server_version >= INFINITIES
        except psycopg2.Error as error:
            raise self.error(error, "cannot connect") from error
        connection = begin.engine(raw).connect()
        self._driver(connection).lock = self._lock
        return connection

    @staticmethod
    def _driver(connection: sa.Connection) -> begin.Driver:
        assert isinstance(connection.dialect, begin.Driver)
        return connection.dialect

    # --- what its errors mean

    def words(self, error: Exception) -> str:
        return faults.words(error)

    def is_transient(self, error: Exception) -> bool:
        return faults.is_transient(error)

    def is_duplicate(self, error: Exception) -> bool:
        return faults.is_duplicate(error)

    def is_of_data(self, error: Exception) -> bool:
        return faults.is_of_data(error)

    def refused_row(self, error: Exception) -> int | None:
        return faults.refused_row(error)

    def is_answer(self, error: Exception) -> bool:
        return faults.is_answer(error)

    def try_lock(self, connection: sa.Connection, name: str) -> bool:
        return faults.try_lock(connection, name)

    def share_lock(self, connection: sa.Connection, name: str) -> None:
        self._lock = self._driver(connection).lock = f"target-meltano/{name}"

    def is_connected(self, connection: sa.Connection, run_id: str) -> bool | None:
        return faults.has_session(connection, _name(run_id)) if self._is_named else None

    def reading(self, column: sa.ColumnElement[Any], kind: Kind | None) -> sa.ColumnElement[Any]:
        """Python has neither infinity nor years before 1, nor 24:00:00: psycopg2 would change them, or fail."""
        return super().reading(column, None if kind in (DATE, TIME, TIMESTAMP) else kind)

    def transaction_id(self, connection: sa.Connection) -> str | None:
        return str(self._driver(connection).begun)

    def end_transaction(self, connection: sa.Connection, transaction: str) -> None:
        begun = begin.Begun.parse(transaction)
        faults.end_transaction(connection, begun.xid, begun.pid, begun.at)

    def was_committed(self, connection: sa.Connection, transaction: str | None) -> bool:
        return transaction is not None and faults.was_committed(connection, begin.Begun.parse(transaction).xid)

    # --- what columns hold

    def holds(self, column: Column) -> frozenset[str]:
        """A numeric holds NaN, and since PostgreSQL 14 infinities; one with a precision never does."""
        if column.kind == DOUBLE or (column.kind == NUMBER and self._has_infinities):
            return NOT_FINITE
        return frozenset({"NaN"}) if column.kind.name in ("number", "decimal") else frozenset()

    # --- the catalogue

    def has_schema(self, connection: sa.Connection, schema: str) -> bool:
        query = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s"
        return connection.exec_driver_sql(query, (schema,)).first() is not None

    def found(self, connection: sa.Connection, schema: str, name: str) -> Found | None:
        def column(name: str, spelt: str, optional: bool) -> FoundColumn:
            return self.found_column(name, spelt, optional=optional)

        return catalogue.find(connection, schema, name, self.quote, column)

    def found_column(self, name: str, spelt: str, *, optional: bool = True) -> FoundColumn:
        found = super().found_column(name, spelt, optional=optional)
        return narrow.naively(found) if narrow.naive(spelt) else found

    def shapes(self, connection: sa.Connection, tables: Sequence[Table]) -> Mapping[str, tuple[Any, Any]]:
        names = [table.schema for table in tables], [table.name for table in tables]
        rows = connection.exec_driver_sql(_SHAPES, names)
        return {f"{schema}.{name}": (oid, (columns, key)) for schema, name, oid, columns, key in rows}

    def is_as_made(self, column: Column, found: FoundColumn) -> bool:
        """A binary COPY takes the bytes of one type for those of another, so it has to be the very same.

        Times without time zone that are read at all are UTC, in the same bytes.
        """
        if found.kind == TIMESTAMP and found.type == "timestamp without time zone":
            return column.kind == TIMESTAMP
        return found.type == (column.type or self.type_name(column.kind).lower())

    def check_constraints(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")

    def defer_constraints(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("SET CONSTRAINTS ALL DEFERRED")

    def read_back(self, spelt: str) -> tuple[Kind | None, bool]:
        """numeric(p,s) is a kind of its own; naive times are read if the setting says so."""
        naive = narrow.naive(spelt) if self.settings.naive_timestamps == "utc" else None
        return narrow.numeric(spelt) or naive or super().read_back(spelt)

    def limit(self, spelt: str) -> Limit | None:
        return narrow.naive_limit(spelt) or super().limit(spelt)

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
        if narrow.naive(change.found.type) and kind == TIMESTAMP:
            return [f"ALTER TABLE {name} ALTER COLUMN {column} TYPE {change.found.wide}"]
        using = upgrades.conversion(column, change.found.kind, kind)
        return [f"ALTER TABLE {name} ALTER COLUMN {column} TYPE {self.type_name(kind)} USING {using}"]

    def after_changes(self, changes: Sequence[ChangeType]) -> Sequence[str]:
        """A type that is changed takes the column's statistics with it."""
        return [f"ANALYZE {self.full_name(changes[0].table)} ({self.names([change.column.name for change in changes])})"]

    def lacking_rights(self, connection: sa.Connection, needs: Sequence[Need]) -> Sequence[str]:
        return privileges.lacking(connection, needs, self.quote)

    def fits(self, columns: Sequence[Column]) -> bool:
        return super().fits(columns) and pages.size(columns) <= pages.PAGE

    def doubts(self, table: Table) -> Sequence[str]:
        return pages.doubts(table)

    def lacking(self, connection: sa.Connection, table: Table) -> Sequence[str]:
        return list(extras.lacking(connection, table, self.quote))

    def loses_by(self, change: ChangeType) -> str | None:
        same = upgrades.unchanged(self.quote(change.column.name), change.found.kind, change.column.kind)
        return f"SELECT 1 FROM {self.full_name(change.table)} WHERE NOT ({same}) LIMIT 1" if same else None

    def rewrites(self, change: ChangeType) -> bool:
        return upgrades.rewrites(change.found, change.column.kind)

    def immovable(self, connection: sa.Connection, change: ChangeType) -> Sequence[str]:
        looks = self.rewrites(change) or self.loses_by(change) is not None
        parameters = (self.full_name(change.table), change.column.name, looks)
        with begin.full_names(connection):
            return list(connection.exec_driver_sql(upgrades.IMMOVABLE, parameters).scalars())

    def view_types(self, connection: sa.Connection, changes: Sequence[ChangeType]) -> Mapping[str, str]:
        columns = [change.column.name for change in changes]
        with begin.full_names(connection):
            return views.types(connection, self.full_name(changes[0].table), columns)

    def obstacles(self, connection: sa.Connection, change: ChangeType) -> Sequence[str]:
        names = (self.full_name(change.table), change.column.name)
        with begin.full_names(connection):
            others = connection.exec_driver_sql(upgrades.DEPENDENTS, names).scalars().all()
        return [*others, *self._views(connection, [change]).obstacles()]

    def set_aside(self, connection: sa.Connection, changes: Sequence[ChangeType]) -> tuple[list[str], list[str]]:
        found = self._views(connection, changes)
        return found.drops(), found.makes()

    def _views(self, connection: sa.Connection, changes: Sequence[ChangeType]) -> views.Views:
        columns = [change.column.name for change in changes]
        with begin.full_names(connection):
            return views.find(connection, self.full_name(changes[0].table), columns, self.quote, self.literal)

    # --- rows

    def encode(self, table: Table, batch: pa.RecordBatch) -> Encoded:
        """The binary form of json is its text; that of jsonb has a version in front."""
        batch = narrow.sent(table, super().encode(table, batch))
        kinds = [STRING if column.type == "json" else column.kind for column in table.columns]
        absent = merging.absent_columns(batch.column(-1)) if batch.num_columns > len(kinds) else frozenset()
        kinds += [BINARY] * (batch.num_columns - len(kinds))
        try:
            buffers = encode(batch, kinds)
        except NumberError as error:
            column = table.columns[error.column].name
            raise RowError(f"column {column!r}: {error.fault}", row=error.row) from None
        return Encoded(buffers, bool(table.keys) and _ascends(batch.column(table.keys[0])), absent)

    def write(self, connection: sa.Connection, table: Table, rows: Encoded) -> RowCounts:
        """COPY straight into the table, 2.6 times faster, until a key was there already; then upsert.

        Where row-level security keeps COPY out, INSERT from the start.
        """
        cursor = connection.connection.cursor()
        if rows.absent:
            return self._merge(cursor, table, rows)
        if table.full_name in self._conflicts:
            return RowCounts(self._upsert(cursor, table, rows))
        try:
            copied = self._copy(cursor, self.full_name(table), _names(self, table), rows.buffers)
        except errors.FeatureNotSupported:
            self._conflicts.add(table.full_name)
            raise Again from None
        except (errors.UniqueViolation, errors.DeadlockDetected):  # of rows that others are writing
            if not table.keys:
                raise
            self._conflicts.add(table.full_name)
            raise Again from None
        return RowCounts(copied, copied)

    def _copy(self, cursor: Any, into: str, names: str, buffers: list[bytes]) -> int:
        """Return how many rows the server says it has stored."""
        statement = f"COPY {into} ({names}) FROM STDIN (FORMAT binary)"
        with faults.printed_by_no_driver():
            cursor.copy_expert(statement, Reader(buffers), size=READ_BYTES)
        return int(cursor.rowcount)

    def _upsert(self, cursor: Any, table: Table, rows: Encoded) -> int | None:
        """COPY into a temporary table, and from there over the rows of the same keys; return how many were stored.

        None where rows that are there stay as they are, which are not counted.

        In the order of the keys, so that two targets on one table seldom wait for each other. To sort
        what is sorted costs 5 % of an upsert.
        """
        name, names, keys = self.full_name(table), _names(self, table), self.names(table.keys)
        stage = merging.staging(cursor, self.run_id, table, name, names)
        self._copy(cursor, stage, names, rows.buffers)
        others = [self.quote(column.name) for column in table.columns if column.name not in table.keys]
        update = f"UPDATE SET {', '.join(f'{name} = EXCLUDED.{name}' for name in others)}" if others else "NOTHING"
        action = f"ON CONFLICT ({keys}) DO {update}" if keys else ""
        cursor.execute(
            f"INSERT INTO {name} ({names}) OVERRIDING SYSTEM VALUE "
            f"SELECT {names} FROM {stage} {'' if rows.ascends or not keys else f'ORDER BY {keys} '}{action}"
        )
        return int(cursor.rowcount) if others or not keys else None

    def _merge(self, cursor: Any, table: Table, rows: Encoded) -> RowCounts:
        """COPY into a temporary table, and from there over the rows of the same keys, which keep what is absent."""
        name, names, mask = self.full_name(table), _names(self, table), self.quote(merging.mask_column(table))
        stage = merging.staging(cursor, self.run_id, table, name, f"{names}, NULL::pg_catalog.bytea AS {mask}")
        sent = self._copy(cursor, stage, f"{names}, {mask}", rows.buffers)
        self._merges += 1
        counts = merging.Merge(table, name, stage, rows.absent, self.quote, self._merges < merging.TRIES).run(cursor, sent)
        self._merges = 0
        return counts


def _name(run_id: str) -> str:
    """Return what the server shows as `application_name` of a run's session."""
    return f"{session.NAME} {run_id}".strip()


def _ascends(keys: pa.Array) -> bool:
    """Tell whether the first key of each row is greater than that before, as the database sorts them, too."""
    if not (pa.types.is_integer(keys.type) or pa.types.is_timestamp(keys.type)):
        return False
    numbers = keys.to_numpy()
    return bool((numbers[1:] > numbers[:-1]).all())


def _names(dialect: PostgresDialect, table: Table) -> str:
    return dialect.names([column.name for column in table.columns])


_SHAPES = """
SELECT t.schema, t.name, c.oid, pg_catalog.md5(pg_catalog.string_agg(pg_catalog.concat_ws(
    ' ', a.attname, a.atttypid, a.atttypmod, a.attgenerated, a.attidentity, a.attcollation, a.attnotnull, a.atthasdef), ',' ORDER BY a.attnum)),
  (SELECT k.conkey::text FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p')
FROM ROWS FROM (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[])) t (schema, name)
JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
GROUP BY 1, 2, 3
"""
