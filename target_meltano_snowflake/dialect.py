"""Snowflake, as the core needs to know it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, ClassVar

import backoff
import pyarrow as pa
import sqlalchemy as sa
from snowflake import connector
from sqlalchemy.types import TypeEngine

from target_meltano import (
    DOUBLE,
    NOT_FINITE,
    NUMBER,
    TIMESTAMP,
    AddColumn,
    ChangeType,
    Column,
    Copies,
    DatabaseError,
    Dialect,
    Found,
    FoundColumn,
    Kind,
    Need,
    ReplaceKey,
    RowCounts,
    SchemaError,
    Table,
    UpgradeError,
    upper,
)

from . import faults, policies, rights, session, upgrades
from .encode import encode
from .loading import NO_COLLATION
from .review import SnowflakeCopies
from .session import SnowflakeSettings
from .sql import SnowflakeSQL, Timestamp, Type
from .types import READS, column_kind, found_column
from .upgrades import LONGEST_ENDING, base_of
from .work import Work

TABLES = ("TABLE", "TRANSIENT")  # kinds: SHOW TABLES tells transient ones apart, SHOW OBJECTS of our version did not


class SnowflakeDialect(Dialect[SnowflakeSettings]):
    name = "snowflake"
    settings_type = SnowflakeSettings
    sql: ClassVar[sa.Dialect] = SnowflakeSQL()
    types: ClassVar[Mapping[str, TypeEngine[Any]]] = {
        "boolean": Type("BOOLEAN"),
        "integer": Type("NUMBER(38,0)"),
        "double": Type("FLOAT"),
        "string": Type("VARCHAR"),
        "date": Type("DATE"),
        "time": Type("TIME"),
        "binary": Type("BINARY"),
        "json": Type("VARIANT"),
    }
    reads: ClassVar[Mapping[str, Kind]] = READS
    compares_shapes = False
    ddl_commits = True
    max_columns = 2000
    name_size = 255 - LONGEST_ENDING  # a column that is to change its type needs room behind its name
    fold = staticmethod(upper)
    driver_errors = faults.DRIVER_ERRORS

    @staticmethod
    def name_length(name: str) -> int:
        return len(name)

    def __init__(self, settings: SnowflakeSettings):
        folds = upper if settings.naming != "preserve" else str
        super().__init__(replace(settings, schema=session.place(settings.schema or "", folds)))
        self._work: Work | None = None
        self._transaction: str | None = None  # that was open when the connection was lost
        self._left: dict[str, upgrades.Left] = {}  # by table: what a change of type has left
        self._seen: dict[str, policies.Seen] = {}  # by table that is there
        self._guard: policies.Guard | None = None
        self._database = ""  # by the name that the server has for it
        self._look: rights.Look | None = None

    # --- the session

    def connect(self) -> sa.Connection:
        raw = self._connected()
        engine = sa.create_engine(
            "snowflake+target_meltano://",
            creator=lambda: raw,
            poolclass=sa.NullPool,
            paramstyle="qmark",
            execution_options={"no_parameters": True},
        )
        work = Work(raw, self.run_id, self.settings.schema or "", self.quote, self._types_now, self._note_transaction)
        engine.dialect.work = self._work = work  # type: ignore[attr-defined]
        self._database = raw.database or self.settings.database or ""
        exempt = frozenset(self.settings.exempt_policies)
        self._guard = policies.Guard(work.rows, raw.role or "", exempt, lambda text: self.tell(text), faults.DRIVER_ERRORS)
        self._look = rights.once(work.rows)
        return engine.connect()

    @contextmanager
    def copies(self) -> Iterator[Copies]:
        raw = self._connected()
        try:
            yield SnowflakeCopies(raw, self.quote, self.literal)
        except faults.DRIVER_ERRORS as error:
            raise self.error(error, "review") from error
        finally:
            raw.close()

    def _connected(self) -> Any:
        try:
            raw = self._signed_in()
            try:
                if self._transaction:
                    faults.end_transaction(raw.cursor(), self._transaction)
                    self._transaction = None
            except BaseException:
                raw.close()
                raise
        except faults.DRIVER_ERRORS as error:
            raise self.error(error, "cannot connect") from error
        return raw

    def _signed_in(self) -> Any:
        def tell(tried: Any) -> None:
            if tried["tries"] == 1:
                self.tell(f"cannot connect: {self.words(tried['exception'])}; trying again for {session.CONNECT_SECONDS:.0f} s")

        @backoff.on_exception(
            backoff.expo,
            faults.DRIVER_ERRORS,
            max_time=lambda: session.CONNECT_SECONDS,
            max_value=10,
            giveup=lambda error: not faults.may_come(error),
            on_backoff=tell,
            logger=None,
        )
        def signed_in() -> Any:
            return connector.connect(**session.parameters(self.settings, self.run_id))

        return signed_in()

    def _note_transaction(self, transaction: str | None) -> None:
        self._transaction = transaction

    def close(self, connection: sa.Connection) -> None:
        if self._work:
            self._work.close()
            self._work = None
        super().close(connection)

    # --- what its errors mean

    def words(self, error: Exception) -> str:
        return faults.words(error)

    def is_transient(self, error: Exception) -> bool:
        return faults.is_transient(error)

    def is_of_data(self, error: Exception) -> bool:
        return faults.is_of_data(error)

    def is_answer(self, error: Exception) -> bool:
        return isinstance(faults.cause_of(error), faults.Ended) or super().is_answer(error)

    def confirm_commit(self, connection: sa.Connection, is_there: Callable[[sa.Connection], bool]) -> None:
        """COMMIT does nothing, and says so to nobody, where the server has just ended the transaction."""
        if not is_there(connection):
            raise faults.Ended
        connection.rollback()

    def was_committed(self, connection: sa.Connection, transaction: str | None) -> bool:
        """The transaction is over since we connected: what it wrote is there, or will never be."""
        return True

    # --- the catalogue

    def has_schema(self, connection: sa.Connection, schema: str) -> bool:
        return self._rows(connection, f"SHOW OBJECTS IN SCHEMA {self.quote(schema)} LIMIT 1") is not None

    def reading(self, column: sa.ColumnElement[Any], kind: Kind | None) -> sa.ColumnElement[Any]:
        """The connector gives numbers exactly, and VARIANT as text; a FLOAT as text would lose digits."""
        return column

    def found(self, connection: sa.Connection, schema: str, name: str) -> Found | None:
        """Neither statement needs a warehouse."""
        like = self.literal(name.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%"))
        show = f"SHOW OBJECTS LIKE {like} IN SCHEMA {self.quote(schema)}"
        objects = [row for row in self._rows(connection, show) or [] if row["name"] == name]
        full_name, full = f"{schema}.{name}", f"{self.quote(schema)}.{self.quote(name)}"
        if not objects:
            self._seen.pop(full_name, None)
            return None
        if objects[0]["kind"] not in TABLES:
            raise DatabaseError(f"{schema}.{name} is a {objects[0]['kind'].lower()}, wanted a table (setting table_names)")
        rows = self._rows(connection, f"DESCRIBE TABLE {full}") or []
        columns = {row["name"]: self._described(row) for row in rows}
        keys = tuple(row["name"] for row in rows if row["primary key"] == "Y")
        asks = policies.query(self._database, full, self.quote, self.literal)
        its = str(objects[0]["owner"] or ""), objects[0]["cluster_by"] or "", _masks(rows)
        self._seen[full_name] = policies.Seen(name, full, show, asks, frozenset(columns), *its)
        found, left = upgrades.tidied(Found(columns, keys, empty=str(objects[0]["rows"]) == "0"))
        self._left[full_name] = left
        found = replace(found, columns={name: self._converting(column, left.was.get(name, ())) for name, column in found.columns.items()})
        collated = {row["name"]: spelt for row in rows if (spelt := upgrades.collation(row["type"]))}
        return replace(found, no_upsert=_collated(collated, keys))

    def _described(self, row: Mapping[str, Any]) -> FoundColumn:
        """Return a column of DESCRIBE TABLE; its comment tells which property it was made for."""
        found = self.found_column(row["name"], upgrades.without_collation(row["type"]), optional=row["null?"] == "Y" or row["default"] is not None)
        return replace(found, source=row["comment"] or "")

    def _converting(self, column: FoundColumn, was: Sequence[str]) -> FoundColumn:
        """Return a column that takes what it was made for before a change behind which nothing is committed."""
        kinds = {kind for spelt in was for kind in self._kinds_of(spelt) if not column.holds(kind)}
        return replace(column, converts=tuple(kinds)) if kinds else column

    def _kinds_of(self, spelt: str) -> Iterator[Kind]:
        found = self.found_column("", spelt)
        yield from (kind for kind in (found.kind, *found.also) if kind)

    def _rows(self, connection: sa.Connection, statement: str) -> list[Any] | None:
        """Return the rows of a look into the catalogue, None where what it looks into is missing."""
        try:
            return list(connection.exec_driver_sql(statement).mappings())
        except sa.exc.DBAPIError as error:
            if faults.number_of(error) in faults.MISSING:
                return None
            raise

    def _types_now(self, table: Table) -> Mapping[str, str]:
        assert self._work
        assert self._guard
        rows = self._work.rows(f"DESCRIBE TABLE {self.full_name(table)}")
        refusal = self._guard.masked(_masks(rows), table.keys)
        if refusal:
            raise DatabaseError(f"table {table.full_name}: {refusal}")
        return {row["name"]: upgrades.without_collation(row["type"]) for row in rows}

    # --- types

    def kind(self, kind: Kind) -> Kind:
        return column_kind(kind, self.settings.number)

    def column_type(self, kind: Kind) -> TypeEngine[Any]:
        if kind.precision is not None:
            return Type(f"NUMBER({kind.precision},{kind.scale})")
        if kind == NUMBER:
            return Type("DECFLOAT" if self.settings.number == "decfloat" else "FLOAT")
        if kind == TIMESTAMP:
            return Timestamp("TIMESTAMP_NTZ" if self.settings.timestamps == "ntz" else "TIMESTAMP_TZ")
        return self.types[kind.name]

    def holds(self, column: Column) -> frozenset[str]:
        """No NUMBER and no DECFLOAT holds NaN or an infinity."""
        is_float = column.kind in (NUMBER, DOUBLE) and base_of(self._type_of(column))[0] == "FLOAT"
        return NOT_FINITE if is_float else frozenset()

    def is_as_made(self, column: Column, found: FoundColumn) -> bool:
        """A FLOAT is narrow for numbers where they are DECFLOAT, but not for doubles."""
        return super().is_as_made(column, found) or (column.kind == DOUBLE and base_of(found.type)[0] == "FLOAT")

    def _type_of(self, column: Column) -> str:
        return column.type or self.type_name(column.kind)

    def found_column(self, name: str, spelt: str, *, optional: bool = True) -> FoundColumn:
        number, reads_naive = self.settings.number, self.settings.timestamps == "ntz" or self.settings.naive_timestamps == "utc"
        found = found_column(name, spelt, number, reads_naive)
        wide = self.type_name(found.kind).lower() if found.kind and found.narrow else ""
        return replace(found, type=spelt.lower(), optional=optional, wide=wide)

    # --- DDL

    def create_table(self, table: Table) -> str:
        parts = [self._definition(column, table) for column in table.columns]
        if table.keys:
            parts.append(f"PRIMARY KEY ({self.names(table.keys)})")
        return f"CREATE TABLE IF NOT EXISTS {self.full_name(table)} ({', '.join(parts)}) {NO_COLLATION}"

    def create_beside(
        self, connection: sa.Connection, table: Table, beside: Table, mark: str, others: Sequence[Table] = ()
    ) -> Sequence[str]:
        """With the mark at once: DDL commits. No constraint is enforced here but NOT NULL, and that is the key's."""
        made = self.create_table(beside).replace("CREATE TABLE IF NOT EXISTS", "CREATE TABLE", 1)
        return [f"{made} COMMENT = {self.literal(mark)}"]

    def marked(self, connection: sa.Connection, schema: str, start: str) -> Mapping[str, str]:
        rows = self._rows(connection, f"SHOW OBJECTS IN SCHEMA {self.quote(schema)}") or []
        return {row["name"]: row["comment"] for row in rows if row["kind"] in TABLES and (row["comment"] or "").startswith(start)}

    def is_connected(self, connection: sa.Connection, run_id: str) -> bool | None:
        """A role sees its own sessions only."""
        return None

    def add_column(self, change: AddColumn) -> str:
        return f"ALTER TABLE {self.full_name(change.table)} ADD COLUMN {self._definition(change.column, change.table, new=True)}"

    def _definition(self, column: Column, table: Table, new: bool = False) -> str:
        """With its comment: a statement for each would take longer than the load."""
        null = " NOT NULL" if column.name in table.keys and not new else ""
        return f"{self.quote(column.name)} {self.type_name(column.kind)}{null}{self._comment(column)}"

    def _comment(self, column: Column) -> str:
        return f" COMMENT {self.literal(column.source)}" if column.source else ""

    def comments(self, table: Table, columns: Sequence[Column]) -> Sequence[str]:
        return ()

    def literal(self, text: str) -> str:
        """In Snowflake's literals a backslash escapes."""
        return super().literal(text).replace("\\", "\\\\")

    def replace_key(self, change: ReplaceKey) -> list[str]:
        name, keys = self.full_name(change.table), change.table.keys
        others = [key for key in change.found.keys if key not in keys]
        optional = [f"ALTER TABLE {name} ALTER COLUMN {self.quote(key)} DROP NOT NULL" for key in others]
        return [*upgrades.moved_key(name, change.found.keys, keys, self.quote), *optional]

    def change_type(self, change: ChangeType) -> Sequence[str]:
        table, column, found = change.table, change.column, change.found.type
        wanted = self.type_name(column.kind)
        keys = table.keys if column.name in table.keys else ()
        if keys and wanted == "VARIANT":
            raise UpgradeError(
                f"{table.full_name}: column {column.name!r} is {found} and would become {wanted}, and it belongs to the "
                "key, whose values Snowflake would compare in another way; load the stream into another table (setting table_names)"
            )
        left = self._left.get(table.full_name, upgrades.Left())
        return upgrades.statements(self._names(table), column.name, found, wanted, column.source, left, keys)

    def _names(self, table: Table) -> upgrades.Names:
        there = self._seen.get(table.full_name)
        taken = (there.columns if there else frozenset()) | {column.name for column in table.columns}
        marks = bool(self.settings.state_id)  # else a change is behind what is committed
        return upgrades.Names(self.full_name(table), self.quote, self.literal, self.run_id or "00000000", taken, marks)

    def settle(self, connection: sa.Connection, table: Table) -> None:
        """Forget what columns were: only who loads the rows in front of the change again needs to know."""
        left = self._left.get(table.full_name, upgrades.Left())
        wanted = {column.name: column.kind for column in table.columns}
        for name, comment in list(left.settled.items()):
            is_wide = name in wanted and not any(wanted[name] in self._kinds_of(spelt) for spelt in left.was[name])
            if is_wide:
                left = self._left[table.full_name] = left.without(name)
                assert self._work
                with suppress(*faults.DRIVER_ERRORS):  # the next run tries again
                    self._work.rows(self._names(table).comment(name, comment))

    def lacking_rights(self, connection: sa.Connection, needs: Sequence[Need]) -> Sequence[str]:
        """Raises SchemaError where a policy may hide what rows are found by."""
        assert self._guard
        assert self._look
        for need in needs:
            there = self._seen.get(need.table.full_name)
            refusal = self._guard.refusal(need, there, self.fold("__version")) if there else None
            if refusal:
                raise SchemaError(f"{need.table.full_name}: {refusal}")

        def owner_of(table: Table) -> str | None:
            if table.full_name not in self._seen:
                self.found(connection, table.schema, table.name)
            return self._seen[table.full_name].owner if table.full_name in self._seen else None

        return rights.lacking(self._look, needs, owner_of, self.settings.warehouse, self.quote)

    def immovable(self, connection: sa.Connection, change: ChangeType) -> Sequence[str]:
        assert self._guard
        return self._guard.immovable(self._seen[change.table.full_name], change.column.name) if self.rewrites(change) else ()

    def obstacles(self, connection: sa.Connection, change: ChangeType) -> Sequence[str]:
        """Foreign keys of others would go with the key."""
        assert self._guard
        if not self.rewrites(change):
            return ()
        found = self._guard.obstacles(self._seen[change.table.full_name], change.column.name)
        if change.column.name not in change.table.keys:
            return found
        rows = self._rows(connection, f"SHOW EXPORTED KEYS IN TABLE {self.full_name(change.table)}") or []
        return [*found, *sorted({f"a foreign key of {row['fk_schema_name']}.{row['fk_table_name']}" for row in rows})]

    def loses_by(self, change: ChangeType) -> str | None:
        column = self.quote(change.column.name)
        condition = upgrades.loses(column, change.found.type, self.type_name(change.column.kind))
        return f"SELECT 1 FROM {self.full_name(change.table)} WHERE {condition} LIMIT 1" if condition else None

    def rewrites(self, change: ChangeType) -> bool:
        return not upgrades.is_in_place(change.found.type, self.type_name(change.column.kind))

    def lacking(self, connection: sa.Connection, table: Table) -> Sequence[str]:
        """Readers get their GRANTs."""
        return self._grants(connection, table) if table.readers else ()

    def leftovers(self, connection: sa.Connection, table: Table) -> Sequence[str]:
        self.found(connection, table.schema, table.name)
        return self._left.get(table.full_name, upgrades.Left()).removal(self._names(table), table.keys)

    def has_leftovers(self, table: Table, changes: Sequence[ChangeType]) -> bool:
        left = self._left.get(table.full_name, upgrades.Left())
        return bool(left.columns or left.marked) or any(map(self.rewrites, changes))

    def _grants(self, connection: sa.Connection, table: Table) -> list[str]:
        rows = self._rows(connection, f"SHOW GRANTS ON TABLE {self.full_name(table)}") or []
        may = {row["grantee_name"] for row in rows if row["privilege"] in ("SELECT", "OWNERSHIP")}
        statements = []
        for role in (self.fold(reader) for reader in table.readers):
            if role not in may:
                statements.append(f"GRANT USAGE ON SCHEMA {self.quote(table.schema)} TO ROLE {self.quote(role)}")
                statements.append(f"GRANT SELECT ON TABLE {self.full_name(table)} TO ROLE {self.quote(role)}")
        return statements

    # --- rows

    def write(self, connection: sa.Connection, table: Table, rows: pa.RecordBatch) -> RowCounts:
        assert self._work
        if not rows.num_rows:
            return RowCounts()
        types = tuple(map(self._type_of, table.columns))
        self._work.write((table, types), encode(table, rows, self._type_of, self._work.arrival))
        return RowCounts()  # it is known when they are loaded


def _masks(described: Sequence[Mapping[str, Any]]) -> tuple[policies.Policy, ...]:
    return tuple(policies.Policy(row["policy name"], row["name"]) for row in described if row.get("policy name"))


def _collated(collations: Mapping[str, str], keys: Sequence[str]) -> str:
    """Return why rows cannot be upserted by a key with a collation, and what to do."""
    found = [f"{key!r} has the collation {collations[key]!r}" for key in keys if key in collations]
    if not found:
        return ""
    return (
        f"key column {', '.join(found)}, by which keys that differ may be equal; make the table anew with COLLATE '' there, "
        "or load the stream into another one (setting table_names)"
    )
