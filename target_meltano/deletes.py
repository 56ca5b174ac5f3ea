"""Every DELETE of ours, and what it would do beyond the rows that it names: known before it runs.

A foreign key may delete or change rows of other tables (ON DELETE CASCADE, SET NULL, SET DEFAULT), a
rule may do anything. That is refused by name, unless the setting `delete_actions` allows it. Tables
that inherit from ours keep their rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import quoted_name

from .dialect import Dialect
from .diff import Table
from .errors import RowError, SchemaError
from .ties import Link, Ties

Condition = Callable[[Any], Any]  # of a table or an alias of it: which of its rows are meant
REMEDY = "with the setting `delete_actions: allow` it may do that"


def check(dialect: Dialect[Any], connection: sa.Connection, table: Table, *, deletes: bool) -> None:
    """Check, before any row of *table* is written, that its rows can be updated, and with *deletes* be deleted.

    Raises:
        SchemaError: they cannot be done, or do more than they say, with the remedy.
    """
    ties = dialect.ties(connection, table, publications=True)
    if ties.publications:
        raise SchemaError(
            f"{table.full_name}: rows cannot be updated or deleted, for {' and '.join(ties.publications)} needs to know by what "
            f"a row is found, and the table has no key for that; run: {ties.remedy}"
        )
    if deletes and not _allows(dialect):
        blind = [str(link) for link in ties.links if link.action and not link.is_visible]
        if ties.rules or blind:
            raise SchemaError(
                f"{table.full_name}: a DELETE would do more than it says, by {' and '.join([*ties.rules, *blind])}; {REMEDY}"
            )


def check_stream(dialect: Dialect[Any], connection: sa.Connection, table: Table) -> None:
    """Check *table*, which its stream follows, for what the stream may do to it.

    Raises:
        SchemaError: as `check` does.
    """
    names = {column.name for column in table.columns}
    ends = dialect.settings.activate_version if dialect.fold("__version") in names else "ignore"
    deletes = bool(table.deletes) or ends == "hard"
    if deletes or ends != "ignore":
        check(dialect, connection, table, deletes=deletes)


def delete(dialect: Dialect[Any], connection: sa.Connection, table: Table, doomed: Condition) -> int:
    """Delete the rows of *table* that are *doomed*, and return how many.

    Raises:
        RowError: other rows would be deleted or changed; nothing is done.
    """
    ties = dialect.ties(connection, table)
    reached = beyond(dialect, connection, table, ties, doomed)
    if reached:
        raise RowError(f"the DELETE would reach other rows by {reached}; {REMEDY}", row=0)
    there = dialect.as_sqlalchemy(table)
    return int(connection.execute(alone(sa.delete(there), there, ties).where(doomed(there))).rowcount)


def alone(statement: Any, table: sa.Table, ties: Ties) -> Any:
    """Return *statement* on the table's own rows, not on those of tables that inherit from it."""
    if not ties.has_heirs:
        return statement
    return statement.with_hint(table, "ONLY") if isinstance(statement, sa.Select) else statement.with_hint("ONLY")


def beyond(
    dialect: Dialect[Any],
    connection: sa.Connection,
    table: Table,
    ties: Ties,
    doomed: Condition,
    among: Collection[tuple[str, str]] = (),
) -> str | None:
    """Return by what a DELETE of the *doomed* rows would reach other rows, in words; None for nothing, or nothing refused.

    Rows of tables *among* these, by schema and name, are never to be reached.
    """
    if ties.rules and not _allows(dialect):
        return " and ".join(ties.rules)
    for link in ties.links:
        is_refused = link.action and (not _allows(dialect) or (link.schema, link.table) in among)
        if is_refused and (not link.is_visible or connection.execute(_reached(dialect, table, ties, link, doomed)).first()):
            return str(link)
    return None


def _reached(dialect: Dialect[Any], table: Table, ties: Ties, link: Link, doomed: Condition) -> Any:
    """Return the query for a row that a link would change: one that refers to a doomed row and is not doomed itself."""
    there = dialect.as_sqlalchemy(table)
    for name in link.referenced:
        if name not in there.c:
            there.append_column(sa.Column(quoted_name(name, quote=True)))
    is_own = (link.schema, link.table) == (table.schema, table.name)
    if is_own:
        own = dialect.as_sqlalchemy(table)
        for name in link.columns:
            if name not in own.c:
                own.append_column(sa.Column(quoted_name(name, quote=True)))
        others: Any = own.alias("others")
    else:
        columns: list[Any] = [sa.column(quoted_name(name, quote=True)) for name in link.columns]
        schema = quoted_name(link.schema, quote=True)
        others = sa.table(quoted_name(link.table, quote=True), *columns, schema=schema).alias("others")
    on = [others.c[mine] == there.c[theirs] for mine, theirs in zip(link.columns, link.referenced, strict=True)]
    if is_own:
        on.append(sa.not_(sa.func.coalesce(doomed(others), sa.false())))
    refers = sa.exists().select_from(others).where(*on)
    return alone(sa.select(sa.literal(1)).select_from(there), there, ties).where(doomed(there), refers).limit(1)


def _allows(dialect: Dialect[Any]) -> bool:
    return bool(dialect.settings.delete_actions == "allow")
