"""What a SCHEMA and the rules name in the records of a stream: the rest of a record is nobody's, and is not kept.

A place keeps its value whole where neither names anything in it. Where the SCHEMA names members, an object keeps
these; so do the items of an array, and what is in JSON that is kept as a string.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from . import kinds, times, values
from .logbased import KINDS, LSN
from .pii import Node
from .plain_schema import Walker, items, members, types
from .values import Number

_ANY = frozenset({"any"})
_POSITION = re.compile("(?=.*[0-9])[0-9A-Fa-f]{1,20}(?:[/:][0-9A-Fa-f]{1,20}){0,2}")  # in a log: 16/B374D848
_COUNT = re.compile("-?[0-9]{1,40}")


@dataclass(eq=False)
class Shape:
    """One place in a record. *types* are those of its values; *node* is what the rules say of it.

    *is_closed*: what is not named in an object is not kept, as the SCHEMA names members. *is_whole*: no rule goes into it, and no members are named in it.
    *check* raises ValueError for a value that has not the form that this place wants.
    """

    node: Node | None = None
    types: frozenset[str] = _ANY
    members: dict[str, Shape] = field(default_factory=dict)
    items: Shape | None = None
    is_closed: bool = False
    is_whole: bool = True
    check: Callable[[Any], None] | None = None

    @property
    def drops(self) -> bool:
        return self.node is not None and self.node.drops

    def takes(self, value: Any) -> bool:
        """Tell whether a value that has no members of its own, or none that are named, may stand here."""
        found = values.json_type(value)
        return "any" in self.types or found in self.types or (found == "integer" and "number" in self.types)


def shape_of(schema: Any, tree: Node, keys: Iterable[str]) -> Shape:
    """Return the shape of records. Also *keys* are named, and what log-based taps add.

    Raises:
        ValueError: the schema has too many alternatives, or a $ref leads nowhere or in a circle.
    """
    try:
        builder = _Builder(schema)
        root = builder.place([schema], tree, is_closed=True)
        builder.settle()
    except RecursionError:
        raise ValueError("the schema is nested too deeply, or a $ref leads in a circle") from None
    added = {name: Shape(check=_CHECKS[kind.name] if name != LSN else _position, is_whole=False) for name, kind in KINDS.items()}
    named = {**root.members}
    for name, shape in {**{key: Shape() for key in keys}, **added}.items():
        named.setdefault(name, shape)
    return Shape(tree, frozenset({"object"}), named, is_closed=True, is_whole=False)


class _Builder(Walker):
    """Builds each place once, also where references lead in a circle."""

    def __init__(self, root: Any):
        super().__init__(root)
        self.known: dict[Any, Shape] = {}

    def place(self, schemas: list[Any], node: Node | None, is_closed: bool = False) -> Shape:
        """Return the shape of what all of *schemas* may describe; *is_closed*: what they do not name is not kept."""
        key = (frozenset(map(id, schemas)), id(node))
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = Shape(node, is_closed=is_closed)
            self.fill(found, [part for schema in schemas for part in self.alternatives(schema)], node)
        return found

    def fill(self, shape: Shape, parts: list[dict[str, Any]], node: Node | None) -> None:
        shape.types = frozenset().union(*map(types, parts)) if parts else _ANY
        if node and node.rule:
            return
        inside: dict[str, list[Any]] = {}
        for part in parts:
            for name, child in members(part).items():
                inside.setdefault(name, []).append(child)
                shape.is_closed = True
        for name in node.members if node else ():
            inside.setdefault(name, [])
        for name, its in inside.items():
            # What a rule alone names is named by it, but not what else is in there.
            shape.members[name] = self.place(its, node.members.get(name) if node else None, shape.is_closed and not its)
        of_items = [one for part in parts for one in items(part)]
        if of_items or (node and node.items):
            shape.items = self.place(of_items, node.items if node else None, shape.is_closed and not of_items and not parts)

    def settle(self) -> None:
        """Find out which places are whole: those are not in which any place is that is not."""
        for shape in self.known.values():
            shape.is_whole = shape.node is None and not shape.is_closed
        changes = True
        while changes:
            changes = False
            for shape in self.known.values():
                if shape.is_whole and shape.items and not shape.items.is_whole:
                    shape.is_whole, changes = False, True


# --- what log-based taps add


def _time(value: Any) -> None:
    if not isinstance(value, str) or isinstance(value, Number):
        raise ValueError("it is no time")
    if not times.is_zero(value):
        times.timestamp(value)


def _number(value: Any) -> None:
    if not isinstance(value, str) or not (isinstance(value, Number) or _COUNT.fullmatch(value)):
        raise ValueError("it is no integer")


def _position(value: Any) -> None:
    if not isinstance(value, str) or not (isinstance(value, Number) or _POSITION.fullmatch(value)):
        raise ValueError("it is no position in a log")


_CHECKS = {kinds.TIMESTAMP.name: _time, kinds.INTEGER.name: _number}
