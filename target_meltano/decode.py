"""The fast path from lines to Arrow: a decoder compiled once per SCHEMA.

msgspec parses a line straight into generated Structs, which checks types and names in one pass in
C; what it cannot know (times, numbers with all their digits, JSON) stays text and is converted by
the column. A line or a value that this path refuses is not wrong yet: it goes through `values.py`,
which decides. So this file may refuse too much, but must never accept something differently.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import pyarrow as pa

from . import columns, values
from .columns import Refused, way_of
from .errors import RecordError, json_path
from .schema import Leaf, Node, Path
from .values import Notes, Rules

NULL = msgspec.Raw(b"null")


@dataclass(frozen=True)
class Layout:
    """What the rows of a stream look like: a column per leaf, in this order.

    After them the unknown fields, if these are kept, and where it is *versioned* the record's
    version and an empty time of deletion. If it is not, records with a version are refused.
    """

    stream: str
    node: Node
    leaves: tuple[Leaf, ...]
    arrow: pa.Schema
    keys: tuple[int, ...]
    rules: Rules = Rules()
    validate: Callable[[bytes], None] | None = None  # `validation: schema`
    versioned: bool | None = None  # None: the version of a record does not matter


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

    def batch(self, messages: list[Any], lines: Sequence[bytes]) -> tuple[pa.RecordBatch, Refused, Notes]:
        """Return the rows of decoded *messages*, and the positions of those that it refuses.

        *lines* are where they came from. The notes are of the rows that are not refused.
        """
        notes = Notes()
        arrays, refused = self._columns(messages, notes)
        if not _is_utf8(b"\n".join(lines)):
            refused.update(i for i, line in enumerate(lines) if not _is_utf8(line))
        if refused and notes:
            notes = Notes()
            self._columns([message for i, message in enumerate(messages) if i not in refused], notes)
        if self.layout.rules.unknown_fields == "keep":
            arrays.append(pa.nulls(len(messages), pa.string()))  # else the decoder had refused them
        if self.layout.versioned:
            arrays.append(pa.array([message.version for message in messages], pa.int64()))
            arrays.append(pa.nulls(len(messages), self.layout.arrow[len(arrays)].type))
        return pa.RecordBatch.from_arrays(arrays, schema=self.layout.arrow), sorted(refused), notes

    def _columns(self, messages: list[Any], notes: Notes) -> tuple[list[pa.Array], set[int]]:
        arrays: list[pa.Array] = []
        refused: set[int] = set()
        below = self._plan.cells([message.record for message in messages], notes)
        for convert, cells in zip(self.converters, below, strict=True):
            array, bad = convert(cells, notes)
            arrays.append(array)
            refused.update(bad)
        for key in self.layout.keys:
            if arrays[key].null_count:
                refused.update(columns.positions(arrays[key].is_null()))
        return arrays, refused


_VERSION = Annotated[int, msgspec.Meta(ge=values.INT64[0], le=values.INT64[-1])] | None


def _refuse(line: bytes) -> Any:
    raise msgspec.ValidationError("has no fast path")


def _is_utf8(text: bytes) -> bool:
    """Tell what `decode` would, in a seventh of its time."""
    if text.isascii():
        return True
    ends = pa.py_buffer(np.array([0, len(text)], np.int64))
    try:
        pa.Array.from_buffers(pa.large_string(), 1, [None, ends, pa.py_buffer(text)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


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
        """Return the Struct to decode into; a field that is absent is as one that is null."""
        fields = [self._field(i, child) for i, child in enumerate(self.children)]
        names = list(self.node.properties)
        for path in self.unknown:
            fields.append((f"f{len(fields)}", msgspec.Raw | msgspec.UnsetType, msgspec.UNSET))
            names.append(path[-1])
        for name in sorted(self.node.nulls):
            fields.append((f"f{len(fields)}", None, None))
            names.append(name)
        rename = {field[0]: name for field, name in zip(fields, names, strict=True)}
        struct = msgspec.defstruct("Object", fields, rename=rename, forbid_unknown_fields=True, gc=False)
        self.empty = struct()
        return struct

    def _field(self, position: int, child: Leaf | _Plan) -> tuple[str, Any, Any]:
        name = f"f{position}"
        if isinstance(child, _Plan):
            return name, child.struct() | None, None
        way = way_of(child, self.loose)
        if way in (bool, int, float, str):
            return name, way | None, None
        return (name, str | None, None) if way in columns.TEXTS else (name, msgspec.Raw, NULL)

    def cells(self, objects: list[Any], notes: Notes) -> list[list[Any]]:
        """Return the values of each leaf below *objects*, in the order of the schema."""
        found: list[list[Any]] = []
        for position, child in enumerate(self.children):
            below = attribute(position)(objects)
            if isinstance(child, _Plan):
                empty = child.empty
                found.extend(child.cells([item or empty for item in below], notes))
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


# --- the slow path, in the same layout


def slow_row(layout: Layout, line: bytes, number: int, notes: Notes) -> list[Any]:
    """Return the row of a line that the fast path refused.

    Raises:
        RecordError: with the fault.
    """
    try:
        message = values.parse(line, layout.rules)
        if "record" not in message:
            raise ValueError('a RECORD has a "record"')
        version = values.version_of(message) if layout.versioned else None
    except ValueError as error:
        raise RecordError(str(error), line=number, stream=layout.stream) from None
    row = values.read_row(message["record"], layout.node, layout.rules, notes, line=number, stream=layout.stream)
    for key in layout.keys:
        if row[key] is None:
            path = json_path(layout.leaves[key].path)
            raise RecordError("a key must not be absent or null", line=number, stream=layout.stream, path=path)
    if layout.versioned:
        row += [version, None]
    return row


def batch_of_rows(layout: Layout, rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    """Return rows of the slow path as a batch."""
    arrays = [pa.array([row[i] for row in rows], field.type) for i, field in enumerate(layout.arrow)]
    return pa.RecordBatch.from_arrays(arrays, schema=layout.arrow)


def odd_leaves(layout: Layout, line: bytes, notes: Notes) -> frozenset[Path]:
    """Return the leaves of an accepted record whose values are not written as declared."""
    found = {*notes.coerced, *notes.replaced}
    if re.search(rb"\.0+\s*[,}]", line):
        record = values.parse(line, layout.rules)["record"]
        integers = [leaf.path for leaf in layout.leaves if way_of(leaf) in (int, "raw whole number")]
        found.update(path for path in integers if "." in str(_at(record, path)))
    return frozenset(found)


def _at(record: Any, path: Path) -> Any:
    for name in path:
        record = record.get(name) if isinstance(record, dict) else None
    return record
