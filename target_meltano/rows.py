"""What the rows of a stream look like, and the slow path from a line to one of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from . import kinds, values
from .columns import way_of
from .errors import RecordError, json_path
from .logbased import DELETED, NewFields, fields_of
from .schema import Leaf, Node, Path
from .values import Notes, Rules, shown_value, type_name

ABSENT = "\0absent"  # column of a batch with the fields that a record does not have, as `mask` writes them
EXTRA = Leaf(("__extra",), kinds.JSON, frozenset({"any"}))

# What to make of a property that was only null so far, by the type of its first other value.
NULL_BECOMES = {"string": "string", "boolean": "boolean", "integer": "number", "number": "number"}


@dataclass(frozen=True)
class Layout:
    """What the rows of a stream look like: a column per leaf, in this order.

    After them the unknown fields, if these are kept, and where it is *versioned* the record's
    version and an empty time of deletion; if it is not, records with a version are refused. Last, if
    absent fields keep the values of the row that is there, the column `ABSENT`: *keeps* says for
    which records, "all" or those that are "deleted".
    """

    stream: str
    node: Node
    leaves: tuple[Leaf, ...]
    arrow: pa.Schema
    keys: tuple[int, ...]
    rules: Rules = Rules()
    validate: Callable[[bytes], None] | None = None  # `validation: schema`
    versioned: bool | None = None  # None: the version of a record does not matter
    keeps: str = ""
    known: frozenset[str] = frozenset()  # fields of `logbased.KINDS` that would be columns, if they came

    @property
    def deleted(self) -> int | None:
        """The position of the column with the time at which a row was deleted, where there is one."""
        return next((i for i, leaf in enumerate(self.leaves) if leaf.path == (DELETED,)), None)


def mask(positions: Sequence[int], columns: int) -> bytes | None:
    """Return a set of so many *columns* as bytes, a bit each, the lowest of the first is column 0; None for none."""
    bits = sum(1 << position for position in positions)
    return bits.to_bytes(-(-columns // 8), "little") if bits else None


def masks(gone: Any) -> pa.Array:
    """Return the `mask` of each row of an array of booleans, rows x columns."""
    packed = np.packbits(gone, axis=1, bitorder="little")
    valid = np.packbits(gone.any(axis=1), bitorder="little")
    offsets = np.arange(len(packed) + 1, dtype=np.int32) * packed.shape[1]
    buffers = [pa.py_buffer(valid.tobytes()), pa.py_buffer(offsets), pa.py_buffer(packed.tobytes())]
    return pa.Array.from_buffers(pa.binary(), len(packed), buffers)


def unmasked(mask: bytes | None) -> list[int]:
    """Return the positions of the columns of a `mask`."""
    bits = int.from_bytes(mask or b"", "little")
    return [i for i in range(bits.bit_length()) if bits >> i & 1]


def slow_row(layout: Layout, line: bytes, number: int, notes: Notes) -> list[Any]:
    """Return the row of a line that the fast path refused.

    Raises:
        RecordError: with the fault.
        NewFields: it has some of the fields that are *known*.
    """
    try:
        message = values.parse(line, layout.rules, not_finite=True)
        if "record" not in message:
            raise ValueError('a RECORD has a "record"')
        version = values.version_of(message) if layout.versioned is not None else None
    except ValueError as error:
        raise RecordError(str(error), line=number, stream=layout.stream) from None
    if isinstance(message["record"], dict) and not layout.known.isdisjoint(message["record"]):
        raise NewFields(fields_of(message["record"], layout.known))
    ours = Notes(at=number)
    row = read_row(message["record"], layout.node, layout.rules, ours, line=number, stream=layout.stream)
    notes.add(ours)
    for key in layout.keys:
        if row[key] is None:
            path = json_path(layout.leaves[key].path)
            raise RecordError("a key must not be absent or null", line=number, stream=layout.stream, path=path)
    absent = mask(_absent(layout, row, ours), len(row))
    if layout.versioned:
        row += [version, None]
    return [*row, absent] if layout.keeps else row


def _absent(layout: Layout, row: Sequence[Any], notes: Notes) -> list[int]:
    """Return the columns whose values the row that is there keeps."""
    deleted = layout.deleted
    if not layout.keeps or (layout.keeps == "deleted" and (deleted is None or row[deleted] is None)):
        return []
    # A property may be called `*`, as the path of such a column ends.
    gone = ((notes.restless if leaf.is_rest else notes.absent) for leaf in layout.leaves)
    found = [i for i, (leaf, its) in enumerate(zip(layout.leaves, gone, strict=True)) if leaf.path in its and i != deleted]
    return found + [i for i in range(len(layout.leaves), len(row)) if row[i] is None]


def batch_of_rows(layout: Layout, rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    """Return rows of the slow path as a batch."""
    arrays = [pa.array([row[i] for row in rows], field.type) for i, field in enumerate(layout.arrow)]
    return pa.RecordBatch.from_arrays(arrays, schema=layout.arrow)


def read_row(record: object, node: Node, rules: Rules, notes: Notes, *, line: int, stream: str) -> list[Any]:
    """Return the row that *record* makes: a value per leaf, in the order of the schema.

    With `unknown_fields: keep` one more: the JSON of the unknown fields, None for none. What is
    only odd is counted in *notes*.

    Raises:
        RecordError: with line, stream, path and fault.
    """
    reader = _RowReader(rules, notes, line, stream)
    if not isinstance(record, dict):
        raise reader.error((), f"a record is an object, not {type_name(record)}")
    extra: dict[str, Any] = {}
    reader.object(record, node, extra)
    if rules.unknown_fields == "keep":
        reader.row.append(reader.value(EXTRA, extra or None))
    return reader.row


@dataclass
class _RowReader:
    rules: Rules
    notes: Notes
    line: int
    stream: str
    row: list[Any] = field(default_factory=list)

    def error(self, path: Path, fault: str) -> RecordError:
        text = fault.replace('"STREAM.', f'"{self.stream}.')  # what tells the fault does not know whose it is
        return RecordError(text, line=self.line, stream=self.stream, path=json_path(path))

    def object(self, found: Mapping[str, Any], node: Node, extra: dict[str, Any]) -> None:
        """Append the values of the node's leaves; what it does not name goes into *extra*."""
        for name, child in node.properties.items():
            value = found.get(name)
            if isinstance(child, Leaf):
                self.row.append(self.value(child, value))
                self.notes.absent.update([child.path] * (name not in found))
            elif isinstance(value, dict):
                below: dict[str, Any] = {}
                self.object(value, child, below)
                if below:
                    extra[name] = below
            elif value is None:
                leaves = list(child.leaves())
                self.row += [None] * len(leaves)
                if name not in found:
                    self.notes.absent.update(leaf.path for leaf in leaves if not leaf.is_rest)
                    self.notes.restless.update(leaf.path for leaf in leaves if leaf.is_rest)
            else:
                raise self.error(child.path, f"{shown_value(value)} is {type_name(value)}, wanted an object{values.remedy(child.path, 'json')}")
        rest: dict[str, Any] = {}
        for name in found:
            if name not in node.properties:
                if node.rest and name not in node.nulls:
                    rest[name] = found[name]
                    self.notes.members.add((*node.path, name))
                else:
                    self.unknown(name, found[name], node, extra)
        if node.rest:
            self.row.append(self.value(node.rest, dict(sorted(rest.items())) or None))
            if not rest:
                self.notes.restless.add(node.rest.path)

    def unknown(self, name: str, value: Any, node: Node, extra: dict[str, Any]) -> None:
        path = (*node.path, name)
        if name in node.nulls:
            if value is not None:
                remedy = values.remedy(path, NULL_BECOMES.get(values.json_type(value), "json"))
                raise self.error(path, f"{shown_value(value)} is {type_name(value)}, and the schema allows only null{remedy}")
            return
        if self.rules.unknown_fields == "fail":
            raise self.error(path, "the schema does not name this field (setting unknown_fields: warn or keep)")
        self.notes.see_unknown(path)
        extra[name] = value

    def value(self, leaf: Leaf, value: Any) -> Any:
        try:
            return values.convert(leaf, value, self.rules, self.notes)
        except ValueError as error:
            raise self.error(leaf.path, str(error)) from None


def odd_leaves(layout: Layout, line: bytes, notes: Notes) -> frozenset[Path]:
    """Return the leaves of an accepted record whose values are not written as declared."""
    found = {*notes.coerced, *notes.replaced, *notes.zero}
    if re.search(rb"\.0+\s*[,}]", line):
        record = values.parse(line, layout.rules, not_finite=True)["record"]
        integers = [leaf.path for leaf in layout.leaves if way_of(leaf) in (int, "raw whole number")]
        found.update(path for path in integers if "." in str(_at(record, path)))
    return frozenset(found)


def _at(record: Any, path: Path) -> Any:
    for name in path:
        record = record.get(name) if isinstance(record, dict) else None
    return record
