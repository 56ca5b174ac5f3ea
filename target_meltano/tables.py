"""Tables in the database: what they lack, and how they come to have it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import backoff
import sqlalchemy as sa

from . import diff, rights
from .dialect import Dialect
from .diff import Change, Found, FoundColumn, Policy, Table
from .errors import MAX_SHOWN, DatabaseError, TargetError, UpgradeError
from .settings import Settings

DDL_TRIES = 5  # each waits for locks as long as the dialect says, then we pause and let others in


def policy(stream: str, settings: Settings, dialect: Dialect[Any]) -> Policy:
    """Return how far the table of *stream* may follow."""
    schema_changes, narrowing, narrow = (
        settings.for_stream(name, stream) for name in ("schema_changes", "narrowing", "narrow_columns")
    )
    return Policy(schema_changes, narrowing, narrow, dialect.max_columns)


def found(dialect: Dialect[Any], connection: sa.Connection, table: Table) -> Found | None:
    """Return *table* as the database has it, None where there is none."""
    with our_errors(dialect, f"table {table.full_name}"), left_as_found(connection):
        return dialect.found(connection, table.schema, table.name)


def lacking(dialect: Dialect[Any], connection: sa.Connection, table: Table) -> Sequence[str]:
    """Return the statements for the indexes and readers that *table* wants and does not have."""
    with our_errors(dialect, f"table {table.full_name}"), left_as_found(connection):
        return dialect.lacking(connection, table)


def follow(
    dialect: Dialect[Any],
    connection: sa.Connection,
    table: Table,
    policy: Policy,
    done: Callable[[str], None],
    ours: Sequence[Table] = (),
    changed: Callable[[Change], None] = lambda change: None,
) -> Table:
    """Make the database have *table*, and return it as it is kept there.

    What our role may do with it, and with *ours*, which come next, is looked up before. *done* is told
    of each statement afterwards, *changed* of what they change.

    In a transaction of its own, or in the one that is open, which stays open.

    What others do to the table at the same time makes it start again, some times.

    Raises:
        SchemaError, UpgradeError: before anything is changed.
        DatabaseError: the database refuses.
    """

    @backoff.on_exception(
        backoff.expo,
        (sa.exc.SQLAlchemyError, *dialect.driver_errors),
        factor=0.2,  # seconds, doubled each time
        max_tries=DDL_TRIES,
        giveup=lambda error: was_open or not dialect.is_transient(error),  # open: rows would be lost
        on_backoff=lambda _: connection.rollback(),
        logger=None,  # it would log the driver's errors as they are
    )
    def followed() -> tuple[Table, list[str], list[Change]]:
        found = dialect.found(connection, table.schema, table.name)
        kept = diff.kept_kinds(table, found, policy)
        changes = diff.diff(kept, found, policy)
        rights.refuse_lacking(dialect, connection, kept, changes, ours)
        types = [change for change in changes if isinstance(change, diff.ChangeType)]
        statements = []
        if changes:
            dialect.begin(connection, changes)
            views = dialect.view_types(connection, types) if types else {}
            statements = ddl(dialect, connection, kept, changes)
            with _once(dialect, statements, tried):
                _execute(dialect, connection, table, statements, types)
            statements += _notes(views, dialect.view_types(connection, types) if types else {})
        statements += _supplied(dialect, connection, table)
        last = dialect.after_changes(types) if types and found and not found.empty else ()
        if statements and not was_open:
            connection.commit()
        if dialect.has_leftovers(table, types):
            statements += _removed(dialect, connection, table)
        _execute(dialect, connection, table, last)
        if last and not was_open:
            connection.commit()
        return kept, statements, changes

    tried: list[str] = []
    was_open = connection.in_transaction()
    with our_errors(dialect, f"table {table.full_name}"), left_as_found(connection):
        kept, statements, changes = followed()
    for change in changes:
        changed(change)
    for statement in statements:
        done(statement)
    return kept


def _supplied(dialect: Dialect[Any], connection: sa.Connection, table: Table) -> Sequence[str]:
    """Do what gives *table* its indexes and readers, and return it.

    A database may only warn, where our role may not grant or another table's index has the name.
    """
    statements = dialect.lacking(connection, table)
    if statements:
        dialect.begin(connection, ())
        _execute(dialect, connection, table, statements)
        undone = dialect.lacking(connection, table)
        if undone:
            raise DatabaseError(f"table {table.full_name}: our role may not, or the name is taken: {'; '.join(undone)}")
    return statements


def _removed(dialect: Dialect[Any], connection: sa.Connection, table: Table) -> list[str]:
    """Remove what changes of types have left, as far as the database lets us, and return what did."""
    theirs: tuple[type[Exception], ...] = (sa.exc.SQLAlchemyError, *dialect.driver_errors)
    done = []
    for statement in dialect.leftovers(connection, table):
        try:
            connection.exec_driver_sql(statement)
        except theirs as error:
            if dialect.is_transient(error):
                raise
            dialect.tell(f"table {table.full_name}: {dialect.words(error)}, in: {statement}; nothing needs it, and each run will try again")
        else:
            done.append(statement)
    return done


@contextmanager
def _once(dialect: Dialect[Any], statements: Sequence[str], tried: list[str]) -> Iterator[None]:
    """Let what is there already pass once, if the catalogue shows it from then on; else it is in the way.

    Raises:
        DatabaseError: the same *statements* met it before.
    """
    theirs: tuple[type[Exception], ...] = (sa.exc.SQLAlchemyError, *dialect.driver_errors)
    try:
        yield
    except theirs as error:
        if dialect.is_duplicate(error) and tried == statements:
            raise dialect.error(error, "something else has that name (settings table_names, column_names)") from None
        tried[:] = statements
        raise


def _notes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return what became of views, as comments of SQL."""
    return [
        f"-- {name} was {spelt} and is {after[name]}: rows that nobody touched may read otherwise there"
        for name, spelt in before.items()
        if after.get(name, spelt) != spelt
    ]


def _execute(
    dialect: Dialect[Any],
    connection: sa.Connection,
    table: Table,
    statements: Sequence[str],
    types: Sequence[diff.ChangeType] = (),
) -> None:
    theirs: tuple[type[Exception], ...] = (sa.exc.SQLAlchemyError, *dialect.driver_errors)
    for statement in statements:
        try:
            connection.exec_driver_sql(statement)
        except theirs as error:
            if dialect.is_transient(error):
                raise
            found = dialect.error(error, f"table {table.full_name}")
            keep = next(filter(None, (diff.or_keep(change.found) for change in types)), "")
            raise type(found)(f"{found}, in: {' '.join(statement.split())[:MAX_SHOWN]}{keep}") from error


@contextmanager
def left_as_found(connection: sa.Connection) -> Iterator[None]:
    """Hold no transaction open afterwards, but for one that is open already: it has rows."""
    was_open = connection.in_transaction()
    try:
        yield
    finally:
        if not was_open and connection.in_transaction():
            connection.rollback()


def ddl(
    dialect: Dialect[Any], connection: sa.Connection, table: Table, changes: list[Change], is_there: bool = True
) -> list[str]:
    """Return the statements of all *changes*, the missing schema first.

    Where the table *is_there*, its data and what depends on it are looked at.

    Raises:
        UpgradeError: the data, its size, or something that depends on it forbids a change.
    """
    statements = []
    creates = any(isinstance(change, diff.CreateTable) for change in changes)
    if creates and not dialect.has_schema(connection, table.schema):
        statements.append(dialect.create_schema(table.schema))
    types = [change for change in changes if isinstance(change, diff.ChangeType)] if is_there else []
    before, after = dialect.set_aside(connection, types) if types else ((), ())
    for change in types:
        _refuse_unsafe(dialect, connection, change, [*before, *dialect.statements(change), *after])
    return [*statements, *before, *(text for change in changes for text in dialect.statements(change)), *after]


def _refuse_unsafe(
    dialect: Dialect[Any], connection: sa.Connection, change: diff.ChangeType, statements: Sequence[str]
) -> None:
    what = f"{change.table.full_name}: column {change.column.name!r} cannot change from {change.found.type} to {change.becomes}"
    remedy = diff.or_stay(change)
    reasons = dialect.immovable(connection, change)
    if reasons:
        raise UpgradeError(f"{what}: {', '.join(reasons)}{remedy}")
    obstacles = dialect.obstacles(connection, change)
    if obstacles:
        raise UpgradeError(f"{what} while {', '.join(obstacles)} depends on it; drop that, load, and create it again{remedy}")
    query = dialect.loses_by(change)
    if query and connection.exec_driver_sql(query).first():
        raise UpgradeError(f"{what}: a value in it would change{remedy}")
    most = dialect.settings.max_rewrite_rows
    if dialect.rewrites(change) and _has_more_rows(dialect, connection, change.table, most):
        raise UpgradeError(
            f"{what}: the table has more than {most:,} rows (setting max_rewrite_rows) and would be locked "
            f"while it is written anew; run by hand when that suits: {'; '.join(statements)}"
        )


def _has_more_rows(dialect: Dialect[Any], connection: sa.Connection, table: Table, most: int) -> bool:
    some = f"SELECT 1 FROM {dialect.full_name(table)} LIMIT {most + 1}"
    return bool(connection.exec_driver_sql(f"SELECT count(*) FROM ({some}) AS rows_found").scalar_one() > most)


class Plan:
    """Shows the statements that `follow` would run; what they would make is remembered here."""

    def __init__(self, show: Callable[[str], None]):
        self.show = show
        self.made: dict[str, Found] = {}

    def follow(self, dialect: Dialect[Any], connection: sa.Connection, table: Table, policy: Policy) -> Table:
        """Return the table that `follow` would return."""
        with our_errors(dialect, f"table {table.full_name}"), left_as_found(connection):
            found = self.made.get(table.full_name) or dialect.found(connection, table.schema, table.name)
            kept = diff.kept_kinds(table, found, policy)
            is_there = table.full_name not in self.made
            for statement in ddl(dialect, connection, kept, diff.diff(kept, found, policy), is_there):
                self.show(statement)
            for statement in dialect.lacking(connection, kept) if is_there else ():
                self.show(statement)
        columns = {column.name: FoundColumn(column.name, column.kind, str(column.kind)) for column in kept.columns}
        self.made[table.full_name] = Found({**(found.columns if found else {}), **columns}, kept.keys)
        return kept


@contextmanager
def our_errors(dialect: Dialect[Any], where: str) -> Iterator[None]:
    """Turn the errors of the database and its driver into ours, with the place in front."""
    theirs: tuple[type[Exception], ...] = (sa.exc.SQLAlchemyError, *dialect.driver_errors)
    try:
        yield
    except TargetError:
        raise
    except theirs as error:
        raise dialect.error(error, where) from error
