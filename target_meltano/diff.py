"""The table that a stream wants against the table that the database has: what has to change.

Tables follow their streams by additions and by upgrades that lose nothing; every other difference
is refused here, before any DDL, with the setting that would accept it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from . import kinds
from .errors import SchemaError, UpgradeError
from .kinds import BINARY, DOUBLE, JSON, NUMBER, STRING, Kind
from .limits import Limit


@dataclass(frozen=True)
class Column:
    """A column of a table. *source* is the path of its property, for the column's comment.

    *type* is the database's spelling of it, where the column was there before and stays as it is.
    *limit*: it holds only some of the kind's values, those that do not fit are invalid.
    """

    name: str
    kind: Kind
    source: str = ""
    type: str = ""
    limit: Limit | None = None


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
    be widened in place, to the type *wide*. *limit*: what it holds, where that is known and others
    are never rounded, cut or padded before they can be refused. *optional*: a row may leave it out,
    it is nullable or has a default. *also*: other kinds whose values the type holds; a stream that
    wants one of them has its column. *remedy*: by what an unknown type is read all the same, or a known one stays.
    *no_update*: why an upsert cannot set it, and what to do. *source*: its comment, the path of the
    property that it was made for, empty where it has none or the database does not tell. *converts*:
    narrower kinds whose values the dialect converts as it writes them, since the column had them a moment ago.
    *widens*: kinds that it becomes in place beyond those that any column may become. *rescales*: it becomes a
    decimal of more places, too, where none of its values has too many digits before the point. *stays*: a stream
    of these kinds has the column as it is, for the values that fit.
    """

    name: str
    kind: Kind | None
    type: str
    narrow: bool = False
    optional: bool = True
    also: tuple[Kind, ...] = ()
    wide: str = ""
    limit: Limit | None = None
    remedy: str = ""
    no_update: str = ""
    source: str = field(default="", compare=False)  # whoever comments on a column changes no shape
    converts: tuple[Kind, ...] = ()
    widens: tuple[Kind, ...] = ()
    rescales: bool = False
    stays: tuple[Kind, ...] = ()

    @property
    def can_stay(self) -> bool:
        """Tell whether it can stay narrower than its stream: what does not fit is known beforehand."""
        return self.limit is not None or (self.kind is not None and self.kind.precision is not None)

    def holds(self, kind: Kind) -> bool:
        return kind == self.kind or kind in self.also

    def becomes(self, kind: Kind) -> bool:
        """Tell whether the column's type changes with its stream's, for all its values or for those that are there."""
        if self.kind is None:
            return False
        is_known = self.holds(kind) or kind in self.widens or kinds.can_become(self.kind, kind)
        return is_known or (self.rescales and kinds.has_more_places(self.kind, kind))


@dataclass(frozen=True)
class Found:
    """A table as the database has it. *no_upsert*: why rows cannot be upserted by its key, and what to do."""

    columns: Mapping[str, FoundColumn]
    keys: tuple[str, ...] = ()
    empty: bool = False
    key_name: str = ""  # of the constraint
    no_upsert: str = ""


@dataclass(frozen=True)
class Need:
    """What a run has to be able to do with a table.

    *rows*: SELECT, INSERT, UPDATE, DELETE. *all_rows*: find rows by more than their keys, so that none
    may be hidden. *temporary*: have temporary tables. *creates*: make another table beside it.
    *changes*: statements that only its owner may run.
    """

    table: Table
    rows: tuple[str, ...]
    all_rows: bool = False
    temporary: bool = False
    creates: bool = False
    changes: tuple[str, ...] = ()


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

    @property
    def becomes(self) -> str:
        """What it becomes, in words: of one kind are `integer` and `bigint`."""
        return self.found.wide if self.found.wide and self.found.holds(self.column.kind) else str(self.column.kind)


@dataclass(frozen=True)
class ReplaceKey:
    """Give an empty table the keys that its stream has."""

    table: Table
    found: Found


Change = CreateTable | AddColumn | ChangeType | ReplaceKey


@dataclass(frozen=True)
class Policy:
    """How far a table may follow: the settings `schema_changes`, `narrowing`, `narrow_columns`, `max_columns`."""

    schema_changes: str = "upgrade"  # or "add" or "fail"
    narrowing: str = "error"  # or "keep"
    narrow_columns: str = "widen"  # or "keep"
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
        _refuse_upserts(wanted, found)
    if changes and policy.schema_changes == "fail":
        keep = or_keep(changes[0].found) if isinstance(changes[0], ChangeType) else ""
        raise SchemaError(f"{wanted.full_name}: {_worded(changes[0])}, and the setting schema_changes is fail{keep}")
    return changes


def kept_kinds(wanted: Table, found: Found | None, policy: Policy) -> Table:
    """Return *wanted* with the types that its columns have already.

    With the wider kinds, too, under `narrowing: keep`, and the narrower types under `narrow_columns: keep`.
    """
    if found is None:
        return wanted

    def kept(column: Column) -> Column:
        there = found.columns.get(column.name)
        if there is None or there.kind is None or column.kind in there.converts:
            return column
        stays = column.kind in there.stays or ((policy.narrow_columns == "keep" or column.limit is not None) and there.can_stay)
        is_wider = policy.narrowing == "keep" and _holds(there.kind, column.kind)
        if there.holds(column.kind):
            kind = column.kind
        elif is_wider or (stays and there.kind.name in _EXACT and column.kind.name in _NUMBERS):
            kind = there.kind
        else:
            return column
        if there.narrow and not stays:
            return replace(column, kind=kind, type="")
        return replace(column, kind=kind, type=there.type, limit=there.limit)

    return replace(wanted, columns=tuple(map(kept, wanted.columns)))


_EXACT = {"integer", "decimal"}
_NUMBERS = {*_EXACT, "number", "double"}


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
        elif column.kind in there.converts:
            continue
        elif not there.holds(column.kind) or (there.narrow and column.type != there.type):
            changes.append(_type_change(wanted, column, there, policy))
    return changes


def _type_change(table: Table, column: Column, there: FoundColumn, policy: Policy) -> ChangeType:
    change = ChangeType(table, column, there)
    if there.becomes(column.kind):
        if policy.schema_changes == "add":
            raise UpgradeError(f"{table.full_name}: {_worded(change)}, and the setting schema_changes is add{or_keep(there)}")
        return change
    raise UpgradeError(
        f"{table.full_name}: column {column.name!r} is {there.type} and cannot become {column.kind} without "
        f"losing something{_remedy(table, column, there)}"
    )


def _remedy(table: Table, column: Column, there: FoundColumn) -> str:
    """Return what takes the stream's values; tests/test_remedies.py does what it says, for each pair of kinds."""
    if there.kind is None:
        return f"; {there.remedy}change the column's type, or load the stream into another table (setting table_names)"
    if not column.source:  # ours, like the time of receipt
        return "; rename that column of the table, or load the stream into another one (setting table_names)"
    if _holds(there.kind, column.kind):
        return "; with `narrowing: keep` the column stays and takes the values"
    name, wide = f"{table.source}.{column.source}", _common(there, there.kind, column.kind)
    if there.kind == DOUBLE and column.kind.name in _NUMBERS:
        return f'; with `column_types: {{"{name}": "double"}}` it takes the nearest double of each number, with "{wide}" all digits'
    if wide == there.kind:
        return f'; with `column_types: {{"{name}": "{wide}"}}` it takes the values'
    if wide:
        return f'; with `column_types: {{"{name}": "{wide}"}}` it becomes {wide}, which takes both'
    if there.kind.name in _EXACT and column.kind.name in _EXACT:
        return or_keep(there)
    return f'; with `column_names: {{"{name}": "{column.name}_2"}}` the values go into a column of their own'


def _common(there: FoundColumn, found: Kind, wanted: Kind) -> Kind | None:
    """Return the narrowest kind that values of both become, losing nothing; any text is a text, whatever it encodes.

    Where a column of decimals stays beside numbers, it is a decimal with the places of both.
    """
    if wanted == BINARY and found in (STRING, JSON):
        return found

    def becomes(kind: Kind, wider: Kind) -> bool:
        return kind == wider or kinds.can_become(kind, wider)

    if NUMBER in there.stays and wanted.name in _EXACT:
        both = kinds.decimal(scale=max(found.scale or 0, wanted.scale or 0))
        return both if kinds.can_become(kinds.INTEGER, both) else None
    return next((kind for kind in (NUMBER, STRING, JSON) if becomes(found, kind) and becomes(wanted, kind)), None)


def _refuse_upserts(wanted: Table, found: Found) -> None:
    """The first load of a table would pass, and no other."""
    if wanted.keys and found.no_upsert:
        raise SchemaError(f"{wanted.full_name}: {found.no_upsert}")
    for column in wanted.columns:
        there = found.columns.get(column.name)
        if wanted.keys and column.name not in wanted.keys and there and there.no_update:
            raise SchemaError(f"{wanted.full_name}: column {column.name!r} {there.no_update}")


def or_keep(there: FoundColumn) -> str:
    """Return the remedy for a column that cannot be widened, as the end of a message."""
    if not there.can_stay:
        return ""
    return "; with `narrow_columns: keep` the column stays as it is, and values that do not fit are invalid records"


def or_stay(change: ChangeType) -> str:
    """Return the remedy for a type that cannot be changed, as the end of a message."""
    column, there = change.column, change.found
    if there.kind and there.remedy:
        return f"; {there.remedy}"
    if there.can_stay or not column.source or there.kind is None:
        return or_keep(there)
    return f"; {_exactly(change.table, column, there.kind)}"


def _exactly(table: Table, column: Column, kind: Kind) -> str:
    return f'with `column_types: {{"{table.source}.{column.source}": "{kind}"}}` it takes the values that convert exactly'


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
        return f"column {change.column.name!r} is {change.found.type} and would become {change.becomes}"
    return "the table's key is another one"
