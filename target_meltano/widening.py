"""What a stream's table has beside what its SCHEMA names: versions, and the fields of log-based taps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from . import logbased, together, wanting
from .dialect import Dialect
from .diff import Column, Found
from .kinds import Kind
from .logbased import DELETED
from .naming import Naming
from .schema import REST, WHOLE, Leaf
from .wanting import Wanted


def like(wanted: Wanted, other: Wanted, dialect: Dialect[Any]) -> Wanted:
    """Return *wanted* with what *other* has beside what its SCHEMA names."""
    return _with_more_of(other, wanted.again(other.whole) if wanted.whole != other.whole else wanted, dialect)


def _with_more_of(other: Wanted, wanted: Wanted, dialect: Dialect[Any]) -> Wanted:
    wanted = with_fields(wanted, other.more, dialect)
    return wanted.with_versions(dialect) if other.versioned else wanted


def as_found(wanted: Wanted, found: Found | None, dialect: Dialect[Any]) -> Wanted:
    """Return *wanted* with what its table has had before, and this run may have to change.

    That are objects kept together, keys that the SCHEMA does not name, versions, and what tells that a row
    is deleted, for it may come again. A field whose column is there takes its kind.
    """
    fitted = together.fitted(wanted, found, dialect)
    wanted = wanted if fitted is wanted else _with_more_of(wanted, fitted, dialect)
    if found is None:
        return wanted
    wanted = _with_names_as(found, wanted, dialect)
    wanted = _with_keys_as(found, wanted)
    has_versions = set(map(dialect.fold, wanting.VERSION_COLUMNS)) <= set(found.columns)
    is_ours = has_versions and not wanted.takes(dialect)  # and not of a property
    if is_ours and not wanted.versioned and dialect.settings.activate_version != "ignore":
        wanted = wanted.with_versions(dialect)
    kinds: dict[str, Kind] = {}
    for field in (*wanted.more, *(mark for mark in logbased.MARKS if mark in wanted.known)):
        there = found.columns.get(_name(wanted, field, dialect))
        if there and there.kind and logbased.is_held(field, there.kind) and wanted.more.get(field) != there.kind:
            kinds[field] = there.kind
    if kinds.keys() & wanted.more.keys():
        return with_fields(_without_fields(wanted), {**wanted.more, **kinds}, dialect)
    return with_fields(wanted, kinds, dialect)


def _with_names_as(found: Found, wanted: Wanted, dialect: Dialect[Any]) -> Wanted:
    """Return *wanted* with the columns that its properties had when another one had the same name.

    What a setting names stays as it is.
    """
    names, stream = wanting.naming_of(dialect.settings, dialect), wanted.table.source
    pairs = list(zip(wanted.leaves, wanted.table.columns, strict=False))
    given = {column.name for leaf, column in pairs if wanting.is_given(stream, leaf, dialect.settings)}
    had: dict[str, str] = {}
    told = dict(wanted.told)
    for leaf, column in pairs:
        if column.name in given:
            continue
        plain, apart = wanting.plain_name(leaf.path, names, leaf.is_rest), wanting.apart_name(leaf, names)
        there = found.columns.get(plain)
        if leaf.is_rest and there and there.source == column.source and plain not in given:
            had[column.name] = plain  # the property that has this name, too, makes way
            told.pop(column.name, None)
        elif apart in found.columns:
            had[column.name] = apart
        if column.name == plain and there and _is_of_another(there.source, leaf, plain, names):
            had[plain] = apart
            told[apart] = f"column {plain!r} is of the property {there.source!r}, so {column.source!r}, of nearly that name, goes into {apart!r}"
    if all(name == new for name, new in had.items()):
        return wanted
    table = wanted.table
    return replace(
        wanted,
        told=told,
        table=replace(
            table,
            columns=tuple(replace(column, name=had.get(column.name, column.name)) for column in table.columns),
            keys=tuple(had.get(key, key) for key in table.keys),
            indexes=tuple(replace(index, columns=tuple(had.get(name, name) for name in index.columns)) for index in table.indexes),
            deletes=had.get(table.deletes, table.deletes) if table.deletes else None,
        ),
    )


def _is_of_another(source: str, leaf: Leaf, plain: str, names: Naming) -> bool:
    """Tell whether a column's comment is the path of another property than *leaf*, which has the same name as a column."""
    source = source.removesuffix(WHOLE)
    if source in ("", ".".join(leaf.path)):
        return False
    path = source.split(".")
    return plain in (names.of(path), wanting.plain_name(path, names, path[-1] == REST))


def _with_keys_as(found: Found, wanted: Wanted) -> Wanted:
    """Return *wanted* with the keys that the SCHEMA does not name of the kinds that their columns have."""
    columns = []
    for column in wanted.table.columns:
        there = found.columns.get(column.name) if column.source in wanted.texts else None
        columns.append(replace(column, kind=there.kind) if there and there.kind else column)
    return replace(wanted, table=replace(wanted.table, columns=tuple(columns)))


def with_fields(wanted: Wanted, fields: Mapping[str, Kind], dialect: Dialect[Any]) -> Wanted:
    """Return *wanted* with columns for those of the *fields* that are known and not there yet."""
    more = {field: kind for field, kind in fields.items() if field in wanted.known}
    if not more:
        return wanted
    leaves = {field: logbased.leaf(field, kind) for field, kind in more.items()}
    new = {field: Column(_name(wanted, field, dialect), dialect.kind(kind), field) for field, kind in more.items()}
    at, columns, deletes = len(wanted.leaves) - bool(wanted.node.rest), wanted.table.columns, wanted.table.deletes
    if DELETED in new and dialect.settings.hard_delete and wanted.table.keys:
        deletes = new[DELETED].name
    return replace(
        wanted,
        table=replace(wanted.table, columns=(*columns[:at], *new.values(), *columns[at:]), deletes=deletes),
        node=replace(wanted.node, properties={**wanted.node.properties, **leaves}),
        leaves=(*wanted.leaves[:at], *leaves.values(), *wanted.leaves[at:]),
        more={**wanted.more, **more},
        known=wanted.known - more.keys(),
    )


def _without_fields(wanted: Wanted) -> Wanted:
    """Return *wanted* without the fields that its SCHEMA does not name."""
    behind, columns = len(wanted.leaves) - bool(wanted.node.rest), wanted.table.columns
    kept = behind - len(wanted.more)
    return replace(
        wanted,
        table=replace(wanted.table, columns=(*columns[:kept], *columns[behind:])),
        node=replace(wanted.node, properties={name: it for name, it in wanted.node.properties.items() if name not in wanted.more}),
        leaves=(*wanted.leaves[:kept], *wanted.leaves[behind:]),
        more={},
        known=wanted.known | wanted.more.keys(),
    )


def _name(wanted: Wanted, field: str, dialect: Dialect[Any]) -> str:
    names = wanting.naming_of(dialect.settings, dialect)
    return wanting.column_name(wanted.table.source, (field,), dialect.settings, names)
