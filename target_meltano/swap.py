"""The swap of an overwrite: in one transaction the new rows take the place of the old ones, table by table.

Of a table with a key the rows of keys that come again are updated, so that what refers to them, and
columns of others, stay; only the others are deleted. Of a table without a key all rows are replaced,
and of one on which nothing hangs, for that is twice as fast and comes to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa

from . import deletes
from .dialect import Dialect
from .diff import Table
from .errors import DatabaseError
from .session import Session
from .ties import Ties

Pair = tuple[Table, Table]  # a table, and the one beside it with the new rows


def swap(dialect: Dialect[Any], session: Session, pairs: Sequence[Pair]) -> dict[str, int]:
    """Replace the rows of each pair's first table, and return how many rows of each stream were not stored.

    Unique values may move from row to row, and rows may refer to rows of the other tables: an order
    that the constraints allow is tried before the others.

    Raises:
        DatabaseError: the database refuses all of them, or other rows would be changed.
    """
    its = _Swap(dialect, session.begun(), pairs)
    first: Exception | None = None
    for way in its.ways():
        savepoint = session.connection.begin_nested()
        its.stored.clear()
        try:
            dialect.defer_constraints(session.connection)  # those that can wait
            way()
            dialect.check_constraints(session.connection)
            savepoint.commit()
            return its.left_out()
        except session.errors as error:
            if not dialect.is_of_data(error):
                raise
            savepoint.rollback()
            first = first or error
            if not isinstance(error, sa.exc.IntegrityError):  # a trigger, for one, that forbids it
                break
        except DatabaseError:
            if not first:
                raise
            break
    assert first
    # Without a cause: it is no use to try again.
    raise DatabaseError(f"the new rows cannot take the place of the old ones, which stay: {dialect.words(first)}") from None


class _Swap:
    """The statements of a swap; parents come before the tables that refer to them."""

    def __init__(self, dialect: Dialect[Any], connection: sa.Connection, pairs: Sequence[Pair]):
        self.dialect = dialect
        self.connection = connection
        self.ties = {table.full_name: dialect.ties(connection, table, publications=True) for table, _ in pairs}
        self.pairs = _parents_first(pairs, self.ties)
        self.among = {(table.schema, table.name) for table, _ in pairs}
        self.ours = {table.full_name for table, _ in pairs if self._is_ours(table)}
        self.whole = {table.full_name for table, _ in pairs if not table.keys or (table.full_name in self.ours and self._is_alone(table))}
        self.stored: dict[str, int | None] = {}  # rows, as the database counts them; None: it does not

    def ways(self) -> list[Callable[[], None]]:
        ways = [self._update_first, self._delete_first]
        return [*ways, self._anew] if len(self.ours) == len(self.pairs) else ways

    def _update_first(self) -> None:
        """Nothing refers to a row any more that is deleted last."""
        self._do(self._delete, [pair for pair in reversed(self.pairs) if pair[0].full_name in self.whole])
        self._do(self._put)
        self._do(self._delete, [pair for pair in reversed(self.pairs) if pair[0].full_name not in self.whole])

    def _delete_first(self) -> None:
        """A unique value is free for another key, once the row that had it is gone."""
        self._do(self._delete, list(reversed(self.pairs)))
        self._do(self._put)

    def _anew(self) -> None:
        """Unique values of rows that stay change places."""
        self._do(partial(self._delete, all_rows=True), list(reversed(self.pairs)))
        self._do(self._insert)

    def _do(self, action: Callable[[Table, Table], None], pairs: Sequence[Pair] | None = None) -> None:
        for table, new in self.pairs if pairs is None else pairs:
            action(table, new)

    def _is_ours(self, table: Table) -> bool:
        """Tell whether all rows of *table* can go and come again: nobody refers to them, and no column would lose its values."""
        found = self.dialect.found(self.connection, table.schema, table.name)
        others = [link for link in self.ties[table.full_name].links if (link.schema, link.table) not in self.among]
        return found is not None and not others and set(found.columns) == {column.name for column in table.columns}

    def _put(self, table: Table, new: Table) -> None:
        self._update(table, new)
        self._insert(table, new)

    def _is_alone(self, table: Table) -> bool:
        """Tell whether nothing shows that all rows of *table* go and come again."""
        ties = self.ties[table.full_name]
        return not (ties.links or ties.rules or ties.has_heirs or ties.is_watched)

    def _update(self, table: Table, new: Table) -> None:
        """Give the rows of keys that come again their new values."""
        others = [column.name for column in table.columns if column.name not in table.keys]
        if table.full_name in self.whole or not others:
            self.stored[table.full_name] = 0 if table.full_name in self.whole else None
            return
        old, rows = self.dialect.full_name(table), self.dialect.full_name(new)
        values = ", ".join(f"{name} = {rows}.{name}" for name in map(self.dialect.quote, others))
        found = self.connection.exec_driver_sql(f"UPDATE {self._only(table)}{old} SET {values} FROM {rows} WHERE {self._same_key(table, new)}")
        self.stored[table.full_name] = found.rowcount

    def _same_key(self, table: Table, new: Table) -> str:
        old, rows = self.dialect.full_name(table), self.dialect.full_name(new)
        return " AND ".join(f"{old}.{key} = {rows}.{key}" for key in map(self.dialect.quote, table.keys))

    def _only(self, table: Table) -> str:
        return "ONLY " if self._ties(table).has_heirs else ""

    def _insert(self, table: Table, new: Table) -> None:
        """Add the rows whose keys are not there."""
        names = self.dialect.names([column.name for column in table.columns])
        old, rows = self.dialect.full_name(table), self.dialect.full_name(new)
        missing = ""
        if table.full_name not in self.whole:
            missing = f" WHERE NOT EXISTS (SELECT 1 FROM {self._only(table)}{old} WHERE {self._same_key(table, new)})"
        clause = f"{self.dialect.insert_clause} " if self.dialect.insert_clause else ""
        found = self.connection.exec_driver_sql(f"INSERT INTO {old} ({names}) {clause}SELECT {names} FROM {rows}{missing}")
        updated = self.stored.get(table.full_name, 0)
        self.stored[table.full_name] = None if updated is None or found.rowcount < 0 else updated + found.rowcount

    def _delete(self, table: Table, new: Table, all_rows: bool = False) -> None:
        """Delete the rows that do not come again.

        Raises:
            DatabaseError: that would reach other rows.
        """
        rows = self.dialect.as_sqlalchemy(new)

        def doomed(old: Any) -> Any:
            return ~sa.exists().select_from(rows).where(*(old.c[key] == rows.c[key] for key in table.keys))

        where = None if all_rows or table.full_name in self.whole else doomed
        reached = deletes.beyond(self.dialect, self.connection, table, self._ties(table), where or _every, self.among)
        if reached:
            what = "rows whose keys do not come again" if table.keys else "the old rows"
            raise DatabaseError(
                f"table {table.full_name}: {what} are not deleted, and all old rows stay, for that would reach other rows by "
                f"{reached}; {deletes.REMEDY}, if those are not of a stream of this run"
            )
        old = self.dialect.as_sqlalchemy(table)
        statement = deletes.alone(sa.delete(old), old, self._ties(table))
        self.connection.execute(statement.where(where(old)) if where else statement)

    def _ties(self, table: Table) -> Ties:
        return self.ties[table.full_name]

    def left_out(self) -> dict[str, int]:
        """Return how many new rows of each stream were not stored; a trigger or a rule leaves them out."""
        missing = {}
        for table, new in self.pairs:
            stored = self.stored[table.full_name]
            count = self.connection.exec_driver_sql(f"SELECT count(*) FROM {self.dialect.full_name(new)}").scalar_one()
            missing[table.source] = count - min(count, stored) if stored is not None else 0
        return missing


def _every(_: Any) -> Any:
    return sa.true()


def _parents_first(pairs: Sequence[Pair], ties: dict[str, Ties]) -> list[Pair]:
    """Return *pairs* so that tables come before those that refer to them, as far as there is such an order."""
    by_name = {table.full_name: (table, new) for table, new in pairs}
    ordered: dict[str, Pair] = {}
    seen: set[str] = set()

    def visit(name: str) -> None:
        if name not in seen:
            seen.add(name)
            for link in ties[name].links:
                if f"{link.schema}.{link.table}" in by_name:
                    visit(f"{link.schema}.{link.table}")
            ordered[name] = by_name[name]

    for name in by_name:
        visit(name)
    return list(reversed(ordered.values()))
