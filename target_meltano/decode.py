"""The fast path from lines to Arrow: a decoder compiled once per SCHEMA.

msgspec parses a line straight into generated Structs, which checks types and names in one pass in
C; what it cannot know (times, numbers with all their digits, JSON) stays text and is converted by
the column. A line or a value that this path refuses is not wrong yet: it goes through `values.py`,
which decides. So this file may refuse too much, but must never accept something differently.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import pyarrow as pa

from . import columns, values
from .columns import ABSENT, ABSENT_JSON, Refused, way_of
from .lines import is_utf8
from .rows import Layout, masks
from .schema import Leaf, Node, Path
from .values import Notes

NULL = msgspec.Raw(b"null")


class Decoder:
    """Decodes the records of one stream as one SCHEMA describes them.

    *expected* are fields that the schema does not name but that came before: without them here,
    each of their records would take the slow path. *loose* are leaves with values that came
    otherwise than declared: integers written as 1.0, values to be coerced, text to be replaced.
    """

    def __init__(self, layout: Layout, expected: frozenset[Path] = frozenset(), loose: frozenset[Path] = frozenset()):
        self.layout = layout
        self.expected = expected
        self.loose = loose
        self.converters = [columns.converter(leaf, way_of(leaf, loose), layout.rules) for leaf in layout.leaves]
        self.decode = self._compiled()

    def _compiled(self) -> Callable[[bytes], Any]:
        try:
            self._plan = _Plan(self.layout.node, self.expected, self.loose)
            self._nothings = list(self._plan.nothings())
            fields: list[tuple[Any, ...]] = [
                ("type", Literal["RECORD"]),
                ("stream", Literal[self.layout.stream]),
                ("record", self._plan.struct()),
            ]
            if self.layout.versioned is not None:
                fields.append(("version", _VERSION if self.layout.versioned else None, None))
            return msgspec.json.Decoder(msgspec.defstruct("Message", fields, gc=False)).decode
        except (ValueError, RecursionError):  # a name that msgspec cannot spell, hundreds of levels
            return _refuse

    def batch(
        self, messages: list[Any], lines: Sequence[bytes], are_utf8: bool = False
    ) -> tuple[pa.RecordBatch, Refused, Notes]:
        """Return the rows of decoded *messages*, and the positions of those that it refuses.

        *lines* are where they came from; are they UTF-8 for sure? The notes are of the rows that are
        not refused.
        """
        notes = Notes()
        cells = self._plan.cells([message.record for message in messages], notes)
        arrays, refused = self._columns(cells, notes)
        if not are_utf8:
            refused.update(i for i, line in enumerate(lines) if not is_utf8(line))
        if refused and notes:
            notes = Notes()
            fine = [message.record for i, message in enumerate(messages) if i not in refused]
            self._columns(self._plan.cells(fine, notes), notes)
        absent = self._absent(cells, arrays, refused, notes)
        if self.layout.rules.unknown_fields == "keep":
            arrays.append(pa.nulls(len(messages), pa.string()))  # else the decoder had refused them
        if self.layout.versioned:
            arrays.append(pa.array([message.version for message in messages], pa.int64()))
            arrays.append(pa.nulls(len(messages), self.layout.arrow[len(arrays)].type))
        if self.layout.keeps:
            arrays.append(absent)
        return pa.RecordBatch.from_arrays(arrays, schema=self.layout.arrow), sorted(refused), notes

    def _columns(self, cells: list[list[Any]], notes: Notes) -> tuple[list[pa.Array], set[int]]:
        arrays: list[pa.Array] = []
        refused: set[int] = set()
        for convert, column in zip(self.converters, cells, strict=True):
            array, bad = convert(column, notes)
            arrays.append(array)
            refused.update(bad)
        for key in self.layout.keys:
            if arrays[key].null_count:
                refused.update(columns.positions(arrays[key].is_null()))
        return arrays, refused


    def _absent(
        self, cells: list[list[Any]], arrays: list[pa.Array], refused: Collection[int], notes: Notes
    ) -> pa.Array:
        """Count the fields that are absent, and return the column `rows.ABSENT`; only nulls may be absent."""
        layout, count = self.layout, len(arrays[0]) if arrays else 0
        extra = layout.rules.unknown_fields == "keep"  # never there on this path
        gone = np.zeros((count, len(cells) + extra), bool) if layout.keeps else None
        if gone is not None and extra:
            gone[:, -1] = True
        for i, (column, array, nothing) in enumerate(zip(cells, arrays, self._nothings, strict=True)):
            came = column.count(nothing) if array.null_count else 0
            if came:
                notes.absent[layout.leaves[i].path] += came - sum(column[row] is nothing for row in refused)
                if gone is not None and i != layout.deleted:
                    gone[:, i] = [cell is nothing for cell in column]
        if gone is not None and layout.keeps == "deleted" and layout.deleted is not None:
            gone &= arrays[layout.deleted].is_valid().to_numpy(zero_copy_only=False)[:, None]
        return pa.nulls(count, pa.binary()) if gone is None else masks(gone)


_VERSION = Annotated[int, msgspec.Meta(ge=values.INT64[0], le=values.INT64[-1])] | None


def _refuse(line: bytes) -> Any:
    raise msgspec.ValidationError("has no fast path")


class _Plan:
    """An object's fields in the decoder: attributes f0, f1, … for the properties, by their order."""

    def __init__(self, node: Node, expected: frozenset[Path], loose: frozenset[Path]):
        self.node = node
        self.loose = loose
        self.children = [
            _Plan(child, expected, loose) if isinstance(child, Node) else child for child in node.properties.values()
        ]
        self.unknown = sorted(path for path in expected if path[:-1] == node.path and not _UNSPEAKABLE.search(path[-1]))

    def struct(self) -> type[msgspec.Struct]:
        """Return the Struct to decode into."""
        fields = [self._field(i, child) for i, child in enumerate(self.children)]
        nulls = {name: NULL if kind is msgspec.Raw else None for name, kind, _ in fields}
        names = list(self.node.properties)
        for path in self.unknown:
            fields.append((f"f{len(fields)}", msgspec.Raw | msgspec.UnsetType, msgspec.UNSET))
            names.append(path[-1])
        for name in sorted(self.node.nulls):
            fields.append((f"f{len(fields)}", None, None))
            names.append(name)
        rename = {field[0]: name for field, name in zip(fields, names, strict=True)}
        struct = msgspec.defstruct("Object", fields, rename=rename, forbid_unknown_fields=True, gc=False, frozen=True)
        self.empty = struct()
        self.nulls = struct(**nulls)
        return struct

    def _field(self, position: int, child: Leaf | _Plan) -> tuple[str, Any, Any]:
        name = f"f{position}"
        if isinstance(child, _Plan):
            return name, child.struct() | None, child.empty
        nothing = self._nothing(child)
        if nothing is ABSENT_JSON:
            return name, msgspec.Raw, nothing
        way = way_of(child, self.loose)
        return name, (str if way in columns.TEXTS else way) | None, nothing

    def _nothing(self, leaf: Leaf) -> Any:
        """Return what an absent field has in place of a value."""
        way = way_of(leaf, self.loose)
        return ABSENT if way in (bool, int, float, str) or way in columns.TEXTS else ABSENT_JSON

    def nothings(self) -> Iterator[Any]:
        """Yield `_nothing` of all leaves below."""
        for child in self.children:
            if isinstance(child, _Plan):
                yield from child.nothings()
            else:
                yield self._nothing(child)

    def cells(self, objects: list[Any], notes: Notes) -> list[list[Any]]:
        """Return the values of each leaf below *objects*, in the order of the schema."""
        found: list[list[Any]] = []
        for position, child in enumerate(self.children):
            below = attribute(position)(objects)
            if isinstance(child, _Plan):
                nulls = child.nulls
                found.extend(child.cells([nulls if item is None else item for item in below], notes))
            else:
                found.append(below)
        for position, path in enumerate(self.unknown, len(self.children)):
            came = sum(cell is not msgspec.UNSET for cell in attribute(position)(objects))
            if came:
                notes.unknown[path] += came
        return found


_UNSPEAKABLE = re.compile(r'[\0-\x1f"\\\ud800-\udfff]')  # msgspec takes no such name for a field


@cache
def attribute(position: int) -> Callable[[list[Any]], list[Any]]:
    """Return a function that reads one attribute of many Structs: half the time of attrgetter."""
    reader: Callable[[list[Any]], list[Any]] = eval(f"lambda objects: [o.f{position} for o in objects]")
    return reader
