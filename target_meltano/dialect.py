"""What a database has to say of itself so that the core can load it: facts, and a few methods.

A dialect is a page: names and types as class attributes, `connect` and `write` as methods. The
rest has defaults through SQLAlchemy: quoting, DDL, reading the catalogue. A dialect never commits;
the core owns transactions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn, CreateTable
from sqlalchemy.types import TypeEngine

from . import diff, naming
from .diff import AddColumn, Change, ChangeType, Found, FoundColumn, ReplaceKey, Table
from .errors import DatabaseError, TargetError
from .kinds import Kind
from .settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

S = TypeVar("S", bound=Settings)


class Dialect(ABC, Generic[S]):
    """One database. Subclasses fill in the attributes without a default, `connect` and `write`."""

    name: ClassVar[str]
    """As in `target-meltano-NAME`."""

    settings_type: ClassVar[type[Settings]]

    sql: ClassVar[sa.Dialect]
    """SQLAlchemy's dialect: it quotes names and compiles DDL."""

    types: ClassVar[Mapping[str, TypeEngine[Any]]]
    """The column type of each kind, by the kind's name."""

    same_kinds: ClassVar[Mapping[str, Kind]] = {}
    """Kinds that are stored as another one, by name: no column tells them apart."""

    default_schema: ClassVar[str | None] = None
    """Used where the setting `schema` is missing; None: it is required."""

    max_columns: ClassVar[int] = 1600
    name_size: ClassVar[int] = 63
    name_length: ClassVar[Callable[[str], int]] = staticmethod(naming.in_bytes)
    fold: ClassVar[Callable[[str], str]] = staticmethod(naming.lower)
    driver_errors: ClassVar[tuple[type[Exception], ...]] = ()
    """What the driver raises where SQLAlchemy is not in between."""

    reserved: ClassVar[frozenset[str]] = frozenset()
    """Names that no column may have, folded."""

    notice: str | None = None
    """What the user is told once `connect` is done."""

    def __init__(self, settings: S):
        self.settings = settings

    # --- what every dialect says

    @abstractmethod
    def connect(self) -> sa.Connection:
        """Return a connection whose session is set as section "Types" of the docs promises.

        Raises:
            DatabaseError: the database cannot be reached, or must not be used.
        """

    @abstractmethod
    def write(self, connection: sa.Connection, table: Table, batch: pa.RecordBatch) -> None:
        """Write *batch* into *table*, in the open transaction.

        The columns of the batch are those of the table, in its order. With `table.keys`, rows
        replace those of the same key; no key comes twice in one batch.
        """

    @abstractmethod
    def read_back(self, column_type: TypeEngine[Any]) -> tuple[Kind | None, bool]:
        """Return the kind whose values a column of this type holds, and whether it is narrow."""

    @abstractmethod
    def change_type(self, change: ChangeType) -> Sequence[str]:
        """Return the statements that convert a column and keep its data."""

    # --- what may differ

    def close(self, connection: sa.Connection) -> None:
        """End what `connect` began."""
        connection.close()

    def error(self, error: Exception, where: str) -> TargetError:
        """Return our error for one of the driver, without the values that drivers like to print."""
        cause = getattr(error, "orig", None) or error
        return DatabaseError(f"{where}: {str(cause).splitlines()[0] if str(cause) else type(cause).__name__}")

    def has_schema(self, connection: sa.Connection, schema: str) -> bool:
        return schema in sa.inspect(connection).get_schema_names()

    def obstacles(self, connection: sa.Connection, change: ChangeType) -> Sequence[str]:
        """Return what depends on the column and forbids the change, in words: `view a.b`."""
        return ()

    def has_more_rows(self, connection: sa.Connection, table: Table, most: int) -> bool:
        """Tell whether *table* has more than *most* rows."""
        some = f"SELECT 1 FROM {self.full_name(table)} LIMIT {most + 1}"
        return bool(connection.exec_driver_sql(f"SELECT count(*) FROM ({some}) AS rows_found").scalar_one() > most)

    def loses_by(self, change: ChangeType) -> str | None:
        """Return a query that finds a value which the change would alter, None where none can be."""
        return None

    def rewrites(self, change: ChangeType) -> bool:
        """Tell whether the change writes the table anew."""
        return change.found.kind != change.column.kind

    def begin(self, connection: sa.Connection) -> None:
        """Prepare a transaction for DDL: timeouts for locks, for example."""

    def create_schema(self, schema: str) -> str:
        """Return the statement that makes sure that *schema* is there."""
        return f"CREATE SCHEMA IF NOT EXISTS {self.quote(schema)}"

    def comments(self, table: Table, columns: Sequence[diff.Column]) -> Sequence[str]:
        """Return the statements that note the original paths, none where comments are unknown."""
        return [
            f"COMMENT ON COLUMN {self.full_name(table)}.{self.quote(column.name)} IS {self.literal(column.source)}"
            for column in columns
            if column.source
        ]

    # --- what follows

    def kind(self, kind: Kind) -> Kind:
        """Return the kind as which *kind* is stored."""
        return self.same_kinds.get(kind.name, kind)

    def column_type(self, kind: Kind) -> TypeEngine[Any]:
        return self.types[kind.name]

    @cached_property
    def preparer(self) -> sa.sql.compiler.IdentifierPreparer:
        return self.sql.identifier_preparer

    def quote(self, name: str) -> str:
        """Return *name* quoted, always."""
        return self.preparer.quote_identifier(name)

    def literal(self, text: str) -> str:
        """Return *text* as a literal of SQL."""
        return str(sa.literal(text).compile(dialect=self.sql, compile_kwargs={"literal_binds": True}))

    def full_name(self, table: Table) -> str:
        return f"{self.quote(table.schema)}.{self.quote(table.name)}"

    def statements(self, change: Change) -> list[str]:
        """Return the DDL for *change*, in order."""
        table = change.table
        if isinstance(change, AddColumn):
            definition = CreateColumn(self._column(change.column, table)).compile(dialect=self.sql)
            return [f"ALTER TABLE {self.full_name(table)} ADD COLUMN {definition}", *self.comments(table, [change.column])]
        if isinstance(change, ChangeType):
            return list(self.change_type(change))
        if isinstance(change, ReplaceKey):
            return self.replace_key(change)
        return [self.create_table(table), *self.comments(table, table.columns)]

    def create_table(self, table: Table) -> str:
        """Return the CREATE TABLE, with the primary key constraint."""
        return str(CreateTable(self.as_sqlalchemy(table)).compile(dialect=self.sql)).strip()

    def replace_key(self, change: ReplaceKey) -> list[str]:
        """Return the statements that give an empty table its stream's keys."""
        name = self.full_name(change.table)
        statements = []
        if change.found.keys:
            statements.append(f"ALTER TABLE {name} DROP CONSTRAINT {self.quote(change.found.key_name)}")
        if change.table.keys:
            keys = ", ".join(map(self.quote, change.table.keys))
            statements.append(f"ALTER TABLE {name} ADD PRIMARY KEY ({keys})")
        return statements

    def as_sqlalchemy(self, table: Table) -> sa.Table:
        columns = [self._column(column, table) for column in table.columns]
        constraints = [sa.PrimaryKeyConstraint(*map(self.quoted, table.keys))] if table.keys else []
        return sa.Table(self.quoted(table.name), sa.MetaData(), *columns, *constraints, schema=self.quoted(table.schema))

    def _column(self, column: diff.Column, table: Table) -> sa.Column[Any]:
        is_key = column.name in table.keys
        return sa.Column(self.quoted(column.name), self.column_type(column.kind), nullable=not is_key, autoincrement=False)

    def quoted(self, name: str) -> sa.sql.elements.quoted_name:
        """Return *name* for SQLAlchemy, to be quoted always."""
        return sa.sql.elements.quoted_name(name, quote=True)

    def found(self, connection: sa.Connection, schema: str, name: str) -> Found | None:
        """Return the table as the catalogue has it, None where there is none."""
        inspector = sa.inspect(connection)
        try:
            columns = inspector.get_columns(self.quoted(name), schema=self.quoted(schema))
        except sa.exc.NoSuchTableError:
            return None
        if not columns and not inspector.has_table(name, schema=schema):
            return None
        if name in inspector.get_view_names(schema=schema):
            raise DatabaseError(f"{schema}.{name} is a view, wanted a table (setting table_names)")
        key = inspector.get_pk_constraint(name, schema=schema)
        first = connection.exec_driver_sql(f"SELECT 1 FROM {self.quote(schema)}.{self.quote(name)} LIMIT 1").first()
        return Found(
            {column["name"]: self._found_column(dict(column)) for column in columns},
            tuple(key["constrained_columns"]),
            first is None,
            key.get("name") or "",
        )

    def _found_column(self, column: Mapping[str, Any]) -> FoundColumn:
        kind, narrow = self.read_back(column["type"])
        has_value = column.get("default") is not None or column.get("identity") or column.get("computed")
        spelt = column["type"].compile(dialect=self.sql) if not isinstance(column["type"], sa.types.NullType) else "unknown"
        return FoundColumn(column["name"], kind, spelt.lower(), narrow, bool(column["nullable"] or has_value))


