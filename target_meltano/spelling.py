"""How a database spells what is asked of it: names, types and DDL, by default as SQLAlchemy does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn, CreateTable
from sqlalchemy.sql.elements import quoted_name
from sqlalchemy.types import TypeEngine

from . import diff
from .diff import AddColumn, Change, ChangeType, ReplaceKey, Table
from .errors import UpgradeError
from .kinds import Kind


class Spelt(sa.types.UserDefinedType[Any]):
    """A type by the database's own spelling."""

    cache_ok = True

    def __init__(self, spelt: str):
        self.spelt = spelt

    def get_col_spec(self, **_: Any) -> str:
        return self.spelt


class Spelling:
    """The part of a `Dialect` that asks the database nothing."""

    name: ClassVar[str]
    """As in `target-meltano-NAME`."""

    sql: ClassVar[sa.Dialect]
    """SQLAlchemy's dialect, which quotes names and spells DDL; its paramstyle is one without %."""

    types: ClassVar[Mapping[str, TypeEngine[Any]]]
    """The column type of each kind, by the kind's name."""

    same_kinds: ClassVar[Mapping[str, Kind]] = {}
    """Kinds that are stored as another one, by name: no column tells them apart."""

    def change_type(self, change: ChangeType) -> Sequence[str]:
        """Return the statements that convert a column and keep its data, each value the same.

        Only changes that `kinds.can_become` allows come here, and a narrow type to its own kind.

        Raises:
            UpgradeError: the database has no way to do that.
        """
        raise UpgradeError(
            f"{change.table.full_name}: column {change.column.name!r} is {change.found.type} and "
            f"would become {change.becomes}, for which {self.name} has no statement"
        )

    def create_schema(self, schema: str) -> str:
        """Return the statement that makes sure that *schema* is there."""
        return f"CREATE SCHEMA IF NOT EXISTS {self.quote(schema)}"

    def create_table(self, table: Table) -> str:
        """Return the CREATE TABLE, with the primary key constraint."""
        made = self.as_sqlalchemy(table)
        for column in table.columns:
            if column.type:  # of a table beside another one, whose columns stay as they are
                made.c[column.name].type = Spelt(column.type)
        return str(CreateTable(made).compile(dialect=self.sql)).strip()

    def add_column(self, change: AddColumn) -> str:
        column = CreateColumn(self._column(change.column, change.table)).compile(dialect=self.sql)
        return f"ALTER TABLE {self.full_name(change.table)} ADD COLUMN {column}"

    def replace_key(self, change: ReplaceKey) -> list[str]:
        """Return the statements that give an empty table its stream's keys."""
        name = self.full_name(change.table)
        statements = []
        if change.found.keys:
            statements.append(f"ALTER TABLE {name} DROP CONSTRAINT {self.quote(change.found.key_name)}")
            others = [key for key in change.found.keys if key not in change.table.keys]
            statements += [f"ALTER TABLE {name} ALTER COLUMN {self.quote(key)} DROP NOT NULL" for key in others]
        if change.table.keys:
            statements.append(f"ALTER TABLE {name} ADD PRIMARY KEY ({self.names(change.table.keys)})")
        return statements

    def comments(self, table: Table, columns: Sequence[diff.Column]) -> Sequence[str]:
        """Return the statements that note the original paths, none where comments are unknown."""
        return [
            f"COMMENT ON COLUMN {self.full_name(table)}.{self.quote(column.name)} IS {self.literal(column.source)}"
            for column in columns
            if column.source
        ]

    def literal(self, text: str) -> str:
        """Return *text* as a literal of SQL; what no text of SQL can hold is escaped."""
        text = text.encode("utf-8", "backslashreplace").decode().replace("\0", r"\u0000")
        return "'" + text.replace("'", "''") + "'"

    def kind(self, kind: Kind) -> Kind:
        """Return the kind as which *kind* is stored."""
        return self.same_kinds.get(kind.name, kind)

    def column_type(self, kind: Kind) -> TypeEngine[Any]:
        return self.types[self.same_kinds.get(kind.name, kind).name]

    def type_name(self, kind: Kind) -> str:
        """Return the column type of *kind* as SQL spells it."""
        return self.column_type(kind).compile(dialect=self.sql)

    def quote(self, name: str) -> str:
        """Return *name* quoted, always."""
        return self.sql.identifier_preparer.quote_identifier(name)

    def full_name(self, table: Table) -> str:
        return f"{self.quote(table.schema)}.{self.quote(table.name)}"

    def names(self, columns: Sequence[str]) -> str:
        """Return names of columns for SQL, with commas."""
        return ", ".join(map(self.quote, columns))

    def statements(self, change: Change) -> list[str]:
        """Return the DDL for *change*, in order."""
        table = change.table
        if isinstance(change, AddColumn):
            return [self.add_column(change), *self.comments(table, [change.column])]
        if isinstance(change, ChangeType):
            return list(self.change_type(change))
        if isinstance(change, ReplaceKey):
            return self.replace_key(change)
        return [self.create_table(table), *self.comments(table, table.columns)]

    def as_sqlalchemy(self, table: Table) -> sa.Table:
        columns = [self._column(column, table) for column in table.columns]
        keys = [quoted_name(key, quote=True) for key in table.keys]
        constraints = [sa.PrimaryKeyConstraint(*keys)] if keys else []
        name, schema = quoted_name(table.name, quote=True), quoted_name(table.schema, quote=True)
        return sa.Table(name, sa.MetaData(), *columns, *constraints, schema=schema)

    def _column(self, column: diff.Column, table: Table) -> sa.Column[Any]:
        name = quoted_name(column.name, quote=True)
        nullable = column.name not in table.keys
        return sa.Column(name, self.column_type(column.kind), nullable=nullable, autoincrement=False)
