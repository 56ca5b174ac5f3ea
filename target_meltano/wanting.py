"""From a SCHEMA message to the table that its stream wants, and to the layout of its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pyarrow as pa

from . import kinds, logbased, messages, naming, schema, validating, values
from .deep import STEEP, recursive
from .dialect import Dialect
from .diff import Column, Index, Table
from .errors import SchemaError
from .kinds import Kind
from .logbased import DELETED
from .rows import ABSENT, Layout
from .schema import Leaf, Node, Path
from .settings import Settings

EXTRA_COLUMN = "__extra"  # with `unknown_fields: keep`, or where the schema of records allows more than it names
VERSION_COLUMNS = {"__version": kinds.INTEGER, "__deleted_at": kinds.TIMESTAMP}


@dataclass(frozen=True)
class Wanted:
    """What a SCHEMA asks for: a table, and the tree of properties that fills its columns in order.

    *more* are fields of `logbased.KINDS` that the SCHEMA does not name and records have all the same:
    the last of the leaves. *known* are those that would be columns, too, if they came. *texts* are
    columns of keys that the SCHEMA does not name. *whole* are objects that have one column, and *again*
    makes the same of the SCHEMA with other ones.
    """

    table: Table
    node: Node
    leaves: tuple[Leaf, ...]
    schema: str  # as JSON, for `validation: schema`
    stamped: bool
    again: Callable[[frozenset[Path]], Wanted] = field(compare=False)
    versioned: bool = False
    more: Mapping[str, Kind] = field(default_factory=dict)
    known: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()
    told: Mapping[str, str] = field(default_factory=dict)  # what users are to know of its names, by column
    whole: frozenset[Path] = frozenset()

    @property
    def is_deep(self) -> bool:
        """Tell whether what is done with the tree of properties needs `deep.deeply`."""
        return any(len(leaf.path) > STEEP for leaf in self.leaves)

    def with_versions(self, dialect: Dialect[Any]) -> Wanted:
        """Return the same with the columns that ACTIVATE_VERSION needs, before the stamp.

        Raises:
            SchemaError: a property has such a column, and its values would be taken for versions.
        """
        taken = self.takes(dialect)
        if taken:
            raise SchemaError(
                f"property {taken.source!r} has the column {taken.name!r}, which the versions of its records need "
                "(setting column_names for another name, or activate_version: ignore)"
            )
        last = len(self.table.columns) - self.stamped
        columns = self.table.columns
        more = tuple(Column(dialect.fold(name), kind) for name, kind in VERSION_COLUMNS.items())
        table = replace(self.table, columns=(*columns[:last], *more, *columns[last:]))
        return replace(self, table=table, versioned=True)


    def takes(self, dialect: Dialect[Any]) -> Column | None:
        """Return the first column of a property that has a name which versions need."""
        names = set(map(dialect.fold, VERSION_COLUMNS)) if not self.versioned else set()
        return next((column for column in self.table.columns if column.name in names), None)


@dataclass
class Names:
    """Which stream has which table, and which index: a database may have one set of names for both."""

    taken: dict[str, str] = field(default_factory=dict)

    def claim(self, stream: str, table: Table) -> None:
        """Note that *stream* loads *table*.

        Raises:
            SchemaError: another stream does, or an index has that name, or it is for tables of our own.
        """
        naming.refuse_ours(table.name)
        names = [table.name, *(index.name for index in table.indexes)]
        pairs = [*((other, name) for name, other in self.taken.items()), *((stream, name) for name in names)]
        naming.refuse_collisions(pairs, what="the tables or indexes of streams", setting="table_names")
        self.taken.update(dict.fromkeys(names, stream))


class NoProperties(Exception):
    """A SCHEMA names no property, so that there is no column for its records, until another SCHEMA names some."""


def wanted(message: messages.Schema, settings: Settings, dialect: Dialect[Any], opened: bool = False) -> Wanted:
    """Return the table that a SCHEMA message asks for.

    *opened*: a SCHEMA of the stream named no property, so this one need not name all.

    Raises:
        NoProperties: it names none, and unknown fields are not kept.
        SchemaError: naming the stream and what is wrong with its schema, keys or names.
    """
    try:
        return recursive(_wanted, message, settings, dialect, opened)
    except RecursionError:
        raise SchemaError(schema.TOO_DEEP) from None


def _wanted(
    message: messages.Schema, settings: Settings, dialect: Dialect[Any], opened: bool, whole: frozenset[Path] = frozenset()
) -> Wanted:
    again = partial(recursive, _wanted, message, settings, dialect, opened)
    stream, settings = message.stream, _for_rules(message.stream, settings)
    validating.check(message.schema, patterns=settings.validation == "schema")
    types = {name: kinds.parse(text) for name, text in settings.column_types.items()}
    depth, double = settings.flatten_depth, settings.number == "double"
    rest = settings.additional_properties == "keep"
    all_kept = settings.unknown_fields == "keep"  # at the root, in one column with others
    options = schema.Options(depth, double, settings.decode_binary, settings.coerce == "lossless", types, rest, not all_kept, whole)
    is_open = schema.is_open(message.schema)
    node = schema.read(stream, message.schema, options, message.keys if is_open or opened else None)
    if is_open and settings.unknown_fields != "keep":
        raise NoProperties
    leaves = tuple(node.leaves())
    names = naming_of(settings, dialect)
    columns = [
        Column(column_name(stream, leaf.path, settings, names, leaf.is_rest), dialect.kind(leaf.kind), leaf.source)
        for leaf in leaves
    ]
    if settings.unknown_fields == "keep":
        columns.append(Column(dialect.fold(EXTRA_COLUMN), kinds.JSON, ""))
    told = _set_apart(stream, leaves, columns, settings, names) | _kept_whole(leaves, columns)
    _refuse_collisions(leaves, columns)
    stamp = names.given(dialect.fold(settings.timestamp_column))
    stamped = stamp not in {column.name for column in columns}
    if stamp in map(dialect.fold, (EXTRA_COLUMN, *VERSION_COLUMNS)):
        raise SchemaError(f"the column {stamp!r} is for something else than times of receipt (setting timestamp_column)")
    if stamped:
        columns.append(Column(stamp, kinds.TIMESTAMP, ""))
    keys = () if settings.load_method == "append" else _keys(message, node, leaves, columns)
    given = settings.table_names.get(stream)
    name = names.given(given) if given else names.of([stream])
    place = settings.schema or dialect.default_schema or ""
    indexes = _indexes(stream, name, columns, settings, names, is_open or opened)
    readers = tuple(settings.grants.get("select", ()))
    deletes = dict(zip((leaf.path for leaf in leaves), columns, strict=False)).get((DELETED,))
    goes = deletes.name if deletes and keys and settings.hard_delete else None
    table = Table(place, name, tuple(columns), keys, stream, indexes, readers, stamp if stamped else None, goes)
    text = messages.json_of(message.schema) if settings.validation == "schema" else ""
    taken = {column.name for column in columns}
    others = (field for field in logbased.KINDS if field not in node.properties and field not in node.nulls)
    known = frozenset(field for field in others if column_name(stream, (field,), settings, names) not in taken)
    named = message.schema.get("properties") or ()
    texts = {key for key in message.keys if key not in named} if is_open or opened else set()
    return Wanted(table, node, leaves, text, stamped, again, known=known, texts=frozenset(texts), told=told, whole=whole)


def _for_rules(stream: str, settings: Settings) -> Settings:
    """Return the settings for a stream: where it has rules for personal data, nothing is kept that no SCHEMA and no rule names."""
    if not settings.pii:
        return settings
    from . import pii  # only where it is needed: it takes 50 ms

    if stream not in pii.streams_of(settings.pii):
        return settings
    unknown = "warn" if settings.unknown_fields == "keep" else settings.unknown_fields
    return replace(settings, unknown_fields=unknown, additional_properties="unknown")


def naming_of(settings: Settings, dialect: Dialect[Any]) -> naming.Naming:
    return naming.Naming(settings.naming, dialect.fold, dialect.name_size, dialect.name_length, dialect.reserved)


def column_name(stream: str, path: Path, settings: Settings, names: naming.Naming, is_rest: bool = False) -> str:
    given = settings.column_names.get(f"{stream}.{'.'.join(path)}")
    return names.given(given) if given else plain_name(path, names, is_rest)


def plain_name(path: Sequence[str], names: naming.Naming, is_rest: bool = False) -> str:
    """Return the column's name where no setting gives one, and no other property has it."""
    if not is_rest:
        return names.of(path)
    return names.of([*path[:-1], "extra"]) if path[:-1] else names.fold(EXTRA_COLUMN)


def apart_name(leaf: Leaf, names: naming.Naming) -> str:
    """Return the column's name where the plain one is of another property, too."""
    return names.apart(leaf.path, plain_name(leaf.path, names, True) if leaf.is_rest else "")


def is_given(stream: str, leaf: Leaf, settings: Settings) -> bool:
    """Tell whether a setting gives the column's name."""
    return f"{stream}.{'.'.join(leaf.path)}" in settings.column_names


def _set_apart(
    stream: str, leaves: Sequence[Leaf], columns: list[Column], settings: Settings, names: naming.Naming
) -> dict[str, str]:
    """Give properties whose names differ only in what no column's name has names with a hash; tell of them.

    All of them: which one had the plain name in a run that knew one only is not known. The columns for
    members that no schema names make way for all others.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for at, leaf in enumerate(leaves):
        if not leaf.is_rest and not is_given(stream, leaf, settings):
            groups.setdefault(names.spelt(leaf.path), []).append(at)
    told = {}
    for group in groups.values():
        if len(group) > 1:
            for at in group:
                columns[at] = replace(columns[at], name=names.apart(leaves[at].path))
            pairs = ", ".join(f"{columns[at].source!r} in {columns[at].name!r}" for at in group)
            told[columns[group[0]].name] = f"properties whose names would be one as columns are kept apart: {pairs} (setting column_names for other names)"
    taken = Counter(column.name for column in columns)
    for at, leaf in enumerate(leaves):
        column = columns[at]
        if leaf.is_rest and taken[column.name] > 1 and not is_given(stream, leaf, settings):
            columns[at] = replace(column, name=apart_name(leaf, names))
            others = ", ".join(repr(other.source or other.name) for other in columns if other.name == column.name)
            why = f"column {column.name!r} is of {others}, so" if others else "to keep two objects apart,"
            told[columns[at].name] = f"{why} what the schema allows besides, {column.source!r}, goes into {columns[at].name!r} (setting column_names for other names)"
    return told


def _kept_whole(leaves: Sequence[Leaf], columns: Sequence[Column]) -> dict[str, str]:
    """Tell of objects that have one column where their properties would have too many."""
    found = [(leaf, column.name) for leaf, column in zip(leaves, columns, strict=False) if leaf.is_whole]
    if not found:
        return {}
    pairs = ", ".join(f"{'.'.join(leaf.path)!r} in {name!r}" for leaf, name in found)
    words = f"with a column for each property a filled row would not fit, so objects are kept together: {pairs} (a number as flatten_depth decides otherwise)"
    return {found[0][1]: words}


def _refuse_collisions(leaves: Sequence[Leaf], columns: Sequence[Column]) -> None:
    """Check that no two columns have one name; those behind the *leaves* are not of a property."""
    paths = [".".join(repr(part) if "." in part else part for part in leaf.path) for leaf in leaves]
    paths += [f"{column.name} (all unknown fields)" for column in columns[len(paths) :]]
    pairs = [(path, column.name) for path, column in zip(paths, columns, strict=True)]
    naming.refuse_collisions(pairs, what="properties", setting="column_names")


def _keys(message: messages.Schema, node: Node, leaves: Sequence[Leaf], columns: list[Column]) -> tuple[str, ...]:
    by_path = {leaf.path: column.name for leaf, column in zip(leaves, columns, strict=False) if not leaf.is_rest}
    keys = []
    for key in message.keys:
        child = node.properties.get(key)
        if isinstance(child, Leaf):
            keys.append(by_path[key,])
            continue
        fault = "is a nested object" if child else "can only be null" if key in node.nulls else "is not in the schema"
        raise SchemaError(f"key property {key!r} {fault}; a key needs a column of its own")
    return tuple(keys)


def _indexes(
    stream: str, table: str, columns: list[Column], settings: Settings, names: naming.Naming, opened: bool
) -> tuple[Index, ...]:
    """Return what the setting `indexes` asks for; it names paths of properties, or columns.

    *opened*: they may come with a later SCHEMA.
    """
    by_name = {column.name: column.name for column in columns}
    by_name.update({column.source: column.name for column in columns if column.source})
    found = []
    for wanted in settings.indexes.get(stream, ()):
        unknown = [name for name in wanted if name not in by_name]
        if unknown and opened:
            continue
        if unknown:
            raise SchemaError(f"the setting indexes names no property and no column of it: {', '.join(map(repr, unknown))}")
        parts = tuple(by_name[name] for name in wanted)
        found.append(Index(names.shortened(names.fold("__".join((table, *parts, "idx")))), parts))
    pairs = [(", ".join(index.columns), index.name) for index in found]
    naming.refuse_collisions(pairs, what="indexes on", setting="column_names")
    return tuple({index.name: index for index in found}.values())


def rules_of(settings: Settings) -> values.Rules:
    """Return the settings that decide what becomes of a doubtful value."""
    replaces = settings.on_bad_text == "replace"
    return values.Rules(replaces, settings.unknown_fields, settings.excess_digits, settings.zero_dates, not settings.pii)


def layout(wanted: Wanted, table: Table, settings: Settings, dialect: Dialect[Any]) -> Layout:
    """Return the layout of the rows that fill *table*, whose columns may be wider than wanted."""
    settings = _for_rules(table.source, settings)
    rules = rules_of(settings)
    columns = table.columns[: len(table.columns) - wanted.stamped]
    leaves = tuple(
        replace(leaf, kind=column.kind, is_key=column.name in table.keys, holds=dialect.holds(column))
        for leaf, column in zip(wanted.leaves, columns, strict=False)
    )
    fields = [pa.field(column.name, kinds.arrow_type(column.kind)) for column in columns]
    keeps = _keeps(wanted, settings)
    arrow = pa.schema([*fields, pa.field(ABSENT, pa.binary())] if keeps else fields)
    keys = tuple(i for i, column in enumerate(columns) if column.name in table.keys)
    validate = _validator(wanted) if wanted.schema else None
    tree = rebuilt(wanted.node, iter(leaves))
    versions = None if settings.activate_version == "ignore" else wanted.versioned
    return Layout(table.source, tree, leaves, arrow, keys, rules, validate, versions, keeps, wanted.known)


def _validator(wanted: Wanted) -> Callable[[bytes], None]:
    try:
        return recursive(validating.validator, wanted.schema, wanted.more)
    except RecursionError:
        raise SchemaError("the schema is nested too deeply to be checked (setting validation: types)") from None


def _keeps(wanted: Wanted, settings: Settings) -> str:
    """Return which records leave a row's values as they are where they have no field: `Layout.keeps`."""
    if not wanted.table.keys:
        return ""
    how = settings.for_stream("absent_fields", wanted.table.source)
    if how == "keep" or (how == "auto" and logbased.is_log_based(wanted.leaves)):
        return "all"
    return "deleted" if any(leaf.path == (DELETED,) for leaf in wanted.leaves) else ""


def rebuilt(node: Node, leaves: Iterator[Leaf]) -> Node:
    """Return *node* with other leaves, in the same order."""
    children: dict[str, Leaf | Node] = {}
    for name, child in node.properties.items():
        children[name] = next(leaves) if isinstance(child, Leaf) else rebuilt(child, leaves)
    return Node(node.path, children, node.nulls, next(leaves) if node.rest else None)
