"""load_method overwrite: rows are loaded beside the old ones, and take their place at the end.

The table beside has a name of the run and a mark of ours, its comment, which tells whose rows it
has. Nothing without that mark is ever dropped. Where a run that is alive has one for the same table,
another run is refused; what a dead run has left is dropped by the next one. So each run's rows are
its own, and a run that lost its table beside cannot swap.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from . import deletes, swap, tables, writing
from .dialect import Dialect
from .diff import Policy, Table
from .errors import DatabaseError, IncompleteError
from .ledger import Ledger
from .naming import BESIDE
from .session import Session

MARK = "target-meltano: rows of run "
PATIENCE, PAUSE = 2.0, 0.1  # seconds in which the server may see that a run is gone, and between two looks


@dataclass(frozen=True)
class Left:
    """A table beside of another run, for the rows of table *of*."""

    name: str
    run_id: str
    of: str


def incomplete(streams: Iterable[str]) -> IncompleteError:
    """Return the error of an input of which it cannot be known that it is whole."""
    return IncompleteError(
        f"the input ended without a STATE after its last record, so the old rows of {', '.join(map(repr, streams))} stay as they are: "
        "a tap shows by a STATE message at its end that all rows came; for one that sends none, "
        "--tap-status-fd N takes its exit status (target-meltano run does so)"
    )


class Overwrite:
    """The tables whose rows are to be replaced, each with one beside it for the new rows. *warn* is told of leftovers."""

    def __init__(self, dialect: Dialect[Any], session: Session, ledger: Ledger, warn: Callable[[str], None]):
        self.dialect = dialect
        self.session = session
        self.ledger = ledger
        self.warn = warn
        self.tables: dict[str, Table] = {}
        self._made: set[str] = set()  # of them, those whose table beside is committed

    def beside(self, table: Table) -> Table:
        """Return where rows for *table* go until the swap."""
        name = self.ledger.naming.shortened(f"{BESIDE}{table.name}_{self.ledger.run_id.rpartition('-')[2]}")
        columns = tuple(replace(column, source="") for column in table.columns)
        return replace(table, name=name, columns=columns, indexes=(), readers=())

    def follow(self, table: Table, was_open: bool) -> None:
        """Make the table beside *table*, or let it follow; in the open transaction, if it *was open*, for it has rows.

        Raises:
            SchemaError: rows of the table cannot be replaced without doing more than that.
            DatabaseError: another run replaces them, or has begun to.
        """
        beside, connection = self.beside(table), self.session.connection
        if not was_open:
            connection.rollback()
        with tables.our_errors(self.dialect, f"table {table.full_name}"), tables.left_as_found(connection):
            deletes.check(self.dialect, connection, table, deletes=True)
            is_there = self.dialect.found(connection, beside.schema, beside.name) is not None
            if not is_there:
                self._check_kept(table)
                self._make(table, beside, was_open)
            elif table.full_name not in self.tables:
                raise DatabaseError(f"the table {beside.full_name} is there already, and it is not ours; load again")
        if is_there:
            tables.follow(self.dialect, connection, beside, Policy(), lambda statement: None)
        self.tables[table.full_name] = self._with_earlier(table)
        if not was_open:
            self.committed()

    def _with_earlier(self, table: Table) -> Table:
        """Return *table* with the columns that an earlier SCHEMA of the run named, too: they have values of its records."""
        names = {column.name for column in table.columns}
        earlier = self.tables.get(table.full_name, table).columns
        return replace(table, columns=(*table.columns, *(column for column in earlier if column.name not in names)))

    def committed(self) -> None:
        """Take note that all tables beside are committed."""
        self._made.update(self.tables)

    def _check_kept(self, table: Table) -> None:
        if table.full_name in self._made:
            raise DatabaseError(
                f"another run replaces the rows of {table.full_name} now, or the table beside it was dropped; "
                "nothing of this run is committed there"
            )

    def _make(self, table: Table, beside: Table, was_open: bool) -> None:
        connection = self.session.connection
        left = self._wait_for_others(table, was_open)
        self.dialect.begin(connection, ())
        for one in left:
            self._drop_left(one, table.schema)
        mark = f"{MARK}{self.ledger.run_id} that are to replace those of {table.name}; the next run drops what a dead one left"
        others = list(self.tables.values())
        released = self.dialect.released(connection, table, [self.beside(other) for other in others])
        for statement in [*self.dialect.create_beside(connection, table, beside, mark, others), *released]:
            connection.exec_driver_sql(statement)
        if not was_open:
            connection.commit()

    def _wait_for_others(self, table: Table, was_open: bool) -> list[Left]:
        """Return what dead runs have left, once no other run replaces the rows of *table*; none can begin before COMMIT.

        Raises:
            DatabaseError: another run is under way.
        """
        connection, until = self.session.connection, time.monotonic() + PATIENCE
        while True:
            is_free = self.dialect.try_lock(connection, f"{table.schema}/overwrite/{table.name}")
            left = list(self._left(table.schema))
            states = {one.name: self._is_alive(one, table) for one in left}
            rivals = [one.run_id for one in left if one.of == table.name and states[one.name]]
            if is_free and not rivals:
                return [one for one in left if states[one.name] is False or one.of == table.name]
            if not was_open:
                connection.rollback()
            if time.monotonic() >= until:
                which = f" (run {rivals[0]})" if rivals else ""
                raise DatabaseError(f"another run{which} is replacing the rows of {table.full_name}; wait for it, or end it")
            time.sleep(PAUSE)

    def _left(self, schema: str) -> Iterator[Left]:
        for name, comment in self.dialect.marked(self.session.connection, schema, MARK).items():
            found = _MARKED.fullmatch(comment)
            if found and found["run"] != self.ledger.run_id:
                yield Left(name, found["run"], found["of"])

    def _is_alive(self, left: Left, like: Table) -> bool | None:
        """Tell whether the run is alive, None where that cannot be known."""
        connection = self.session.connection
        is_used = self.dialect.is_used(connection, replace(like, name=left.name))
        return True if is_used else self.dialect.is_connected(connection, left.run_id)

    def _drop_left(self, left: Left, schema: str) -> None:
        """Drop what a dead run has left, if our role may."""
        connection = self.session.connection
        savepoint = connection.begin_nested()
        name = f"{self.dialect.quote(schema)}.{self.dialect.quote(left.name)}"
        try:
            connection.exec_driver_sql(f"DROP TABLE {name}")
            savepoint.commit()
        except self.session.errors as error:
            savepoint.rollback()
            self.warn(f"the table {schema}.{left.name}, which run {left.run_id} has left, is not dropped: {self.dialect.words(error)}")
        else:
            self.warn(f"run {left.run_id} ended before it replaced the rows of {left.of}; what it has left is dropped")

    def swap(self) -> dict[str, int]:
        """Let the new rows take the place of the old ones: readers see these until COMMIT.

        Return how many rows of each stream the database did not store, by its own count.

        Raises:
            DatabaseError: the database refuses some of them, or they would change other rows.
        """
        with tables.our_errors(self.dialect, "the new rows cannot take the place of the old ones"):
            connection, old = self.session.begun(), list(self.tables.values())
            for table in old:
                if self.dialect.found(connection, table.schema, self.beside(table).name) is None:
                    self._check_kept(table)
            self.dialect.lock_writers(connection, old, [self.beside(table) for table in old])
            writing.refuse_changed(self.dialect, self.session, old, {})
            return swap.swap(self.dialect, self.session, [(table, self.beside(table)) for table in old])

    def clean(self) -> None:
        """Drop the tables beside; their rows are where they belong."""
        for table in list(self.tables.values()):
            with tables.our_errors(self.dialect, f"table {table.full_name}"):
                self._drop(self.beside(table))
            del self.tables[table.full_name]

    def abandon(self) -> None:
        """Drop the tables beside of a run that has failed, if the database lets us; else the next run does."""
        connection = self.session.connection
        if self.tables and not (connection.closed or connection.invalidated):
            with suppress(Exception):
                connection.rollback()
                self.dialect.begin(connection, ())
                self.clean()

    def _drop(self, table: Table) -> None:
        self.session.begun().exec_driver_sql(f"DROP TABLE IF EXISTS {self.dialect.full_name(table)}")
        self.session.connection.commit()


_MARKED = re.compile(re.escape(MARK) + r"(?P<run>\S+) that are to replace those of (?P<of>.*); [^;]*", re.DOTALL)
