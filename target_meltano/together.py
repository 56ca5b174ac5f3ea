"""Objects that are kept together in one JSON column, where with columns of their own a filled row would not fit.

A table that is there says which ones those are: the comment of their column has `schema.WHOLE` behind
the path. An object has either columns or one column for good, whatever later SCHEMAs make of its table's width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import kinds
from .dialect import Dialect
from .diff import Column, Found
from .schema import Leaf, Node, Path, whole
from .wanting import Wanted, naming_of, plain_name


def fitted(wanted: Wanted, found: Found | None, dialect: Dialect[Any]) -> Wanted:
    """Return *wanted* with as many objects kept together as its rows need to fit, the deepest first, level by level.

    Those that its table has so stay so. None is that has columns there, or in which a setting names a property;
    none at all where the setting flatten_depth has a number.
    """
    if dialect.settings.flatten_depth is not None:
        return wanted
    kept = {*wanted.whole, *_kept(wanted, found, dialect)}
    made, free = wanted.again(frozenset(kept)) if kept != wanted.whole else wanted, None
    while not dialect.fits(_filled(made, found)):
        free = _free(wanted, found, dialect) if free is None else free
        level = max(map(len, free - kept), default=0)
        if not level:
            break
        kept |= {path for path in free if len(path) == level}
        made = wanted.again(frozenset(kept))
    return made


def _kept(wanted: Wanted, found: Found | None, dialect: Dialect[Any]) -> Iterator[Path]:
    """Yield the objects that the table keeps together. A property called ** has such a comment, too, and a name of its own."""
    columns = {column.source: name for name, column in found.columns.items()} if found else {}
    names = naming_of(dialect.settings, dialect)
    for path in _objects(wanted.node):
        if columns.get(whole(path)) not in (None, plain_name((*path, "**"), names)):
            yield path


def _sources(found: Found | None) -> set[str]:
    """Return what the table's columns are of, by their comments."""
    return {column.source for column in found.columns.values()} if found else set()


def _objects(node: Node) -> Iterator[Path]:
    """Yield the paths of the objects that have columns."""
    for child in node.properties.values():
        if isinstance(child, Node):
            yield child.path
            yield from _objects(child)


def _filled(wanted: Wanted, found: Found | None) -> tuple[Column, ...]:
    """Return all columns that its table will have."""
    names = {column.name for column in wanted.table.columns}
    others = [there for name, there in found.columns.items() if name not in names] if found else []
    return (*wanted.table.columns, *(Column(there.name, there.kind or kinds.STRING, type=there.type) for there in others))


def _free(wanted: Wanted, found: Found | None, dialect: Dialect[Any]) -> set[Path]:
    """Return the objects that may be kept together."""
    stream, settings = wanted.table.source, dialect.settings
    named = {*settings.column_types, *settings.column_names, *(f"{stream}.{name}" for index in settings.indexes.get(stream, ()) for name in index)}
    taken, sources = set[Path](), _sources(found)
    for leaf, column in zip(wanted.leaves, wanted.table.columns, strict=False):
        if column.source in sources or (found and column.name in found.columns) or not named.isdisjoint(_names(stream, leaf, column)):
            taken.update(leaf.path[:at] for at in range(1, len(leaf.path)))
    return set(_objects(wanted.node)) - taken


def _names(stream: str, leaf: Leaf, column: Column) -> set[str]:
    """Return what settings may call a property: by its path, or by its column."""
    return {f"{stream}.{'.'.join(leaf.path)}", f"{stream}.{column.name}"}
