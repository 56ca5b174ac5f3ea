"""load_method overwrite: rows are loaded beside the old ones, and take their place at the end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from . import tables
from .dialect import Dialect
from .diff import Policy, Table
from .ledger import Ledger
from .session import Session


class Overwrite:
    """The tables whose rows are to be replaced, each with one beside it for the new rows."""

    def __init__(self, dialect: Dialect[Any], session: Session, ledger: Ledger):
        self.dialect = dialect
        self.session = session
        self.ledger = ledger
        self.tables: dict[str, Table] = {}

    def beside(self, table: Table) -> Table:
        """Return where rows for *table* go until the swap."""
        name = self.ledger.naming.of([f"__new_{table.name}"])
        columns = tuple(replace(column, source="") for column in table.columns)
        return replace(table, name=name, columns=columns, indexes=(), readers=())

    def follow(self, table: Table) -> None:
        """Make the table beside *table*; one that an earlier run has left is dropped first."""
        beside = self.beside(table)
        if table.full_name not in self.tables:
            self._drop(beside, "IF EXISTS ")
        tables.follow(self.dialect, self.session.connection, beside, Policy(), lambda statement: None)
        self.tables[table.full_name] = table

    def swap(self) -> None:
        """DELETE and INSERT: readers see the old rows until COMMIT, which TRUNCATE would not give them."""
        for table in self.tables.values():
            names = self.dialect.names([column.name for column in table.columns])
            old, new = self.dialect.full_name(table), self.dialect.full_name(self.beside(table))
            with tables.our_errors(self.dialect, f"table {table.full_name}"):
                self.session.begun().exec_driver_sql(f"DELETE FROM {old}")
                self.session.begun().exec_driver_sql(f"INSERT INTO {old} ({names}) SELECT {names} FROM {new}")

    def clean(self) -> None:
        """Drop the tables beside; their rows are where they belong."""
        for table in self.tables.values():
            self._drop(self.beside(table))

    def _drop(self, table: Table, if_exists: str = "") -> None:
        with tables.our_errors(self.dialect, f"table {table.full_name}"):
            self.session.begun().exec_driver_sql(f"DROP TABLE {if_exists}{self.dialect.full_name(table)}")
            self.session.connection.commit()
