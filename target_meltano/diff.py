"""The table that a stream wants against the table that the database has: what has to change.

Tables follow their streams by additions and by upgrades that lose nothing; every other difference
is refused here, before any DDL, with the setting that would accept it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from . import kinds
from .errors import SchemaError, UpgradeError
from .kinds import Kind


@dataclass(frozen=True)
class Column:
    """A column of a table. *source* is the path of its property, for the column's comment.

    *type* is the database's spelling of it, where the column was there before and stays as it is.
    """

    name: str
    kind: Kind
    source: str = ""
    type: str = ""


@dataclass(frozen=True)
class Index:
    """An index that the setting `indexes` asks for, by names of columns."""

    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table as its stream wants it. *keys* are names of columns, empty for append-only.

    *indexes* are those besides the key's, *readers* the roles that may read it. *stamp* is the column
    with the time of receipt, which we fill. A record with a value for *deletes* deletes its row.
    """

    schema: str
    name: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...] = ()
    source: str = ""
    indexes: tuple[Index, ...] = ()
    readers: tuple[str, ...] = ()
    stamp: str | None = None
    deletes: str | None = None

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


@dataclass(frozen=True)
class FoundColumn:
    """A column as the catalogue shows it.

    *kind* is None for a type that holds no kind's values. *type* is the database's spelling.
    *narrow*: the type holds fewer values than its kind (int4, varchar(10), timestamptz(3)), and can
    be widened in place. *optional*: a row may leave it out, it is nullable or has a default. *also*:
    other kinds whose values the type holds; a stream that wants one of them has its column.
    """

    name: str
    kind: Kind | None
    type: str
    narrow: bool = False
    optional: bool = True
    also: tuple[Kind, ...] = ()

    def holds(self, kind: Kind) -> bool:
        return kind == self.kind or kind in self.also


@dataclass(frozen=True)
class Found:
    """A table as the database has it."""

    columns: Mapping[str, FoundColumn]
    keys: tuple[str, ...] = ()
    empty: bool = False
    key_name: str = ""  # of the constraint


@dataclass(frozen=True)
class CreateTable:
    table: Table


@dataclass(frozen=True)
class AddColumn:
    table: Table
    column: Column


@dataclass(frozen=True)
class ChangeType:
    """*column* is as it is wanted, *found* as it is."""

    table: Table
    column: Column
    found: FoundColumn


@dataclass(frozen=True)
class ReplaceKey:
    """Give an empty table the keys that its stream has."""

    table: Table
    found: Found


Change = CreateTable | AddColumn | ChangeType | ReplaceKey


@dataclass(frozen=True)
class Policy:
    """How far a table may follow: the settings `schema_changes`, `narrowing`, `max_columns`."""

    schema_changes: str = "upgrade"  # or "add" or "fail"
    narrowing: str = "error"  # or "keep"
    max_columns: int = 1600


def diff(wanted: Table, found: Found | None, policy: Policy = Policy()) -> list[Change]:
    """Return what must be done so that *found* holds the rows of *wanted*.

    Raises:
        UpgradeError: a column would have to lose something.
        SchemaError: keys differ, too many columns, a column of others that rows cannot leave out.
    """
    names = {column.name for column in wanted.columns} | set(found.columns if found else ())
    if len(names) > policy.max_columns:
        raise SchemaError(
            f"{wanted.full_name}: {len(names)} columns, and the database takes {policy.max_columns}; "
            "the setting flatten_depth keeps deeper objects together in JSON columns"
        )
    if found is None:
        changes: list[Change] = [CreateTable(wanted)]
    else:
        key = _keys(wanted, found)
        changes = [*_columns(wanted, found, policy), *key]  # a new key may be a new column
        _refuse_required_columns(wanted, found)
    if changes and policy.schema_changes == "fail":
        raise SchemaError(f"{wanted.full_name}: {_worded(changes[0])}, and the setting schema_changes is fail")
    return changes


def kept_kinds(wanted: Table, found: Found | None, policy: Policy) -> Table:
    """Return *wanted* with the types that its columns have already.

    With the wider kinds, too, under `narrowing: keep`.
    """
    if found is None:
        return wanted

    def kept(column: Column) -> Column:
        there = found.columns.get(column.name)
        if there is None or there.kind is None:
            return column
        is_wider = policy.narrowing == "keep" and _holds(there.kind, column.kind)
        if not there.holds(column.kind) and not is_wider:
            return column
        return replace(column, kind=column.kind if there.holds(column.kind) else there.kind, type="" if there.narrow else there.type)

    return replace(wanted, columns=tuple(map(kept, wanted.columns)))


def _holds(kind: Kind, narrower: Kind) -> bool:
    return kinds.can_become(narrower, kind) and not kinds.may_lose(narrower, kind)


def _keys(wanted: Table, found: Found) -> list[Change]:
    if set(wanted.keys) == set(found.keys):
        return []
    if found.empty:
        return [ReplaceKey(wanted, found)]
    have, want = (", ".join(keys) or "none" for keys in (found.keys, wanted.keys))
    raise SchemaError(
        f"{wanted.full_name}: the table's primary key is ({have}), the stream's key_properties are ({want}); "
        "the key of a table with rows is not changed: change it by hand, empty the table, or load the stream "
        "into another one (setting table_names)"
    )


def _columns(wanted: Table, found: Found, policy: Policy) -> list[Change]:
    changes: list[Change] = []
    for column in wanted.columns:
        there = found.columns.get(column.name)
        if there is None:
            changes.append(AddColumn(wanted, column))
        elif not there.holds(column.kind) or there.narrow:
            changes.append(_type_change(wanted, column, there, policy))
    return changes


def _type_change(table: Table, column: Column, there: FoundColumn, policy: Policy) -> ChangeType:
    change = ChangeType(table, column, there)
    if there.kind and (there.holds(column.kind) or kinds.can_become(there.kind, column.kind)):
        if policy.schema_changes == "add":
            raise UpgradeError(f"{table.full_name}: {_worded(change)}, and the setting schema_changes is add")
        return change
    raise UpgradeError(
        f"{table.full_name}: column {column.name!r} is {there.type} and cannot become {column.kind} without "
        f"losing something{_remedy(table, column, there)}"
    )


def _remedy(table: Table, column: Column, there: FoundColumn) -> str:
    if there.kind is None:
        return "; change the column's type, or load the stream into another table (setting table_names)"
    if not column.source:  # ours, like the time of receipt
        return "; rename that column of the table, or load the stream into another one (setting table_names)"
    if _holds(there.kind, column.kind):
        return "; with `narrowing: keep` the column stays and takes the values"
    name = f"{table.source}.{column.source}"
    return f'; with `column_types: {{"{name}": "{there.kind}"}}` it takes the values that convert exactly'


def _refuse_required_columns(wanted: Table, found: Found) -> None:
    ours = {column.name for column in wanted.columns}
    for there in found.columns.values():
        if not there.optional and there.name not in ours and there.name not in wanted.keys:
            raise SchemaError(
                f"{wanted.full_name}: column {there.name!r} of the table is NOT NULL without a default, and the "
                "stream has no such property; drop the NOT NULL or give it a default"
            )


def _worded(change: Change) -> str:
    if isinstance(change, CreateTable):
        return "the table is missing"
    if isinstance(change, AddColumn):
        return f"column {change.column.name!r} is missing"
    if isinstance(change, ChangeType):
        return f"column {change.column.name!r} is {change.found.type} and would become {change.column.kind}"
    return "the table's key is another one"
