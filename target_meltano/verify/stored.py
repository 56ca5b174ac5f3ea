"""The rows of a table, as cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from .. import kinds, tables
from ..dialect import Dialect
from ..diff import Column, Table
from ..kinds import Kind
from .cells import LONG, Cell, short, stored
from .layout import Facts
from .records import digest, digest_of, row_class

# A row that is stored: the digest of its key, its number, its cells, and whether it is marked as deleted.
Stored = tuple[bytes, int, list[Any], bool]


def rows(
    dialect: Dialect[Any], connection: sa.Connection, facts: Facts, table: tuple[str, str], keys: tuple[int, ...], others: frozenset[int]
) -> Iterator[tuple[Stored, int]]:
    """Yield the rows of a table, and about how many bytes each takes; the columns of *others* as if they were NULL.

    Raises:
        DatabaseError: the table cannot be read.
    """
    columns = [(column.name, column.kind) for column in facts.columns]
    makers: list[Callable[[Any], Cell]] = [stored(column.kind) for column in facts.columns]
    deleted_at = facts.deleted_at
    unseen = [*others, *(at for at in (facts.stamp, deleted_at) if at is not None)]
    where = f"table {table[0]}.{table[1]}"
    with tables.our_errors(dialect, where), tables.left_as_found(connection):
        for number, row in enumerate(read(dialect, connection, table, columns)):
            cells = [None if value is None else make(value) for make, value in zip(makers, row, strict=True)]
            is_deleted = deleted_at is not None and cells[deleted_at] is not None
            for at in unseen:
                cells[at] = None
            size = sum([len(cell) for cell in cells if type(cell) is str or type(cell) is bytes])
            if size >= LONG:
                cells = list(map(short, cells))
                size = min(size, LONG * len(cells))
            yield (digest(row_class(facts, keys, cells)), number, cells, is_deleted), size


def read(dialect: Dialect[Any], connection: sa.Connection, table: tuple[str, str], columns: Sequence[tuple[str, Kind | None]]) -> Iterator[Sequence[Any]]:
    """Yield the values of some columns, a few rows in memory at once."""
    its = Table(table[0], table[1], tuple(Column(name, kind or kinds.STRING) for name, kind in columns))
    made = dialect.as_sqlalchemy(its)
    wanted = [dialect.reading(made.c[name], kind) for name, kind in columns]
    query = sa.select(*wanted).select_from(made)
    if dialect.ties(connection, its).has_heirs:  # whose rows are of other tables
        query = query.with_hint(made, "ONLY")
    yield from connection.execution_options(yield_per=1000).execute(query)


def rejected(dialect: Dialect[Any], connection: sa.Connection, schema: str, runs: Sequence[str]) -> Iterator[bytes]:
    """Yield the digest of each line in __rejected of some *runs*, or of the last run of all."""
    names = [dialect.fold(name) for name in ("run_id", "source")]
    kinds_of = (kinds.STRING, kinds.BINARY)
    place = (schema, dialect.fold("__rejected"))
    with tables.our_errors(dialect, f"table {place[0]}.{place[1]}"), tables.left_as_found(connection):
        if dialect.found(connection, *place) is None:
            return
        wanted = set(runs) or _last_run(dialect, connection, schema)
        for run_id, source in read(dialect, connection, place, list(zip(names, kinds_of, strict=True))):
            if run_id in wanted:
                yield digest_of(bytes(source))


def _last_run(dialect: Dialect[Any], connection: sa.Connection, schema: str) -> set[str]:
    place = (schema, dialect.fold("__loads"))
    if dialect.found(connection, *place) is None:
        return set()
    found = (row[0] for row in read(dialect, connection, place, [(dialect.fold("run_id"), kinds.STRING)]))
    last = max(found, default=None)
    return {last} if last else set()
