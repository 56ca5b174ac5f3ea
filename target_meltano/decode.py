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
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from . import kinds, times, values
from .errors import RecordError
from .schema import Leaf, Node, Path
from .values import Notes, Number, Rules

Refused = Sequence[int]  # positions in a column, or in a batch
NULL = msgspec.Raw(b"null")
_LONG = 2 * values.MAX_DEPTH  # JSON shorter than this cannot be nested too deeply


@dataclass(frozen=True)
class Layout:
    """What the rows of a stream look like: a column per leaf, in this order."""

    stream: str
    node: Node
    leaves: tuple[Leaf, ...]
    arrow: pa.Schema
    keys: tuple[int, ...]
    rules: Rules = Rules()
    validate: Callable[[bytes], None] | None = None  # `validation: schema`


class Decoder:
    """Decodes the records of one stream as one SCHEMA describes them.

    *expected* are fields that the schema does not name but that came before: without them here,
    each of their records would take the slow path. *loose* are integers that come as 1.0.
    """

    def __init__(self, layout: Layout, expected: frozenset[Path] = frozenset(), loose: frozenset[Path] = frozenset()):
        self.layout = layout
        self.expected = expected
        self.loose = loose
        self.decode = self._compiled()

    def _compiled(self) -> Callable[[bytes], Any]:
        self._plan = _Plan(self.layout.node, self.expected, self.loose)
        try:
            envelope = msgspec.defstruct(
                "Message",
                [
                    ("type", Literal["RECORD"]),
                    ("stream", Literal[self.layout.stream]),  # type: ignore[valid-type]
                    ("record", self._plan.struct()),
                ],
                gc=False,
            )
        except ValueError:  # a property's name that msgspec cannot spell: quotes, control characters
            return _refuse
        return msgspec.json.Decoder(envelope).decode

    def batch(self, messages: list[Any]) -> tuple[pa.RecordBatch, Refused, Notes]:
        """Return the rows of decoded *messages*, and the positions of those that it refuses."""
        notes, refused = Notes(), set()
        arrays = []
        for leaf, cells in zip(self.layout.leaves, self._plan.cells([m.record for m in messages], notes), strict=True):
            array, bad, cut = self._converter(leaf)(cells)
            arrays.append(array)
            refused.update(bad)
            if cut:
                notes.cut[leaf.path] += cut
        for key in self.layout.keys:
            if arrays[key].null_count:
                refused.update(np.flatnonzero(arrays[key].is_null()).tolist())
        if self.layout.rules.unknown_fields == "keep":
            arrays.append(pa.nulls(len(messages), pa.string()))  # else the decoder had refused them
        return pa.RecordBatch.from_arrays(arrays, schema=self.layout.arrow), sorted(refused), notes

    def _converter(self, leaf: Leaf) -> _Converter:
        way = way_of(leaf)
        if way is int and leaf.path in self.loose:
            return _loose_integers
        if way == "json":
            return _json(leaf.types)
        return _CONVERTERS[way] if way != "cell" else _cells(leaf, self.layout.rules)


def _refuse(line: bytes) -> Any:
    raise msgspec.ValidationError("has no fast path")


def way_of(leaf: Leaf) -> Any:
    """Return how the values of a leaf come out of the decoder, and so how they are converted.

    bool, int, float, str: as these. A name of _TEXTS: a str to be parsed. "raw …" and
    "json": raw text, for a whole column at once. "cell": raw text, converted one by one as the
    slow path does.
    """
    kind, types = leaf.kind, leaf.types
    if leaf.coerce:
        return "cell"
    if kind.name in {"number", "decimal"} and types <= {"integer", "number"}:
        return "raw number" if "number" in types else "raw whole number"
    if kind == kinds.DOUBLE and types <= {"integer", "number"}:
        return float
    if kind == kinds.JSON:
        return "cell" if "integer" in types and "number" not in types else "json"
    if types == {"string"} and kind.name in _TEXTS:
        return kind.name
    simple = {"boolean": ("boolean", bool), "integer": ("integer", int), "string": ("string", str)}
    json_type, way = simple.get(kind.name, ("", "cell"))
    return way if types == {json_type} else "cell"


class _Plan:
    """An object's fields in the decoder: attributes f0, f1, … for the properties, by their order."""

    def __init__(self, node: Node, expected: frozenset[Path], loose: frozenset[Path]):
        self.node = node
        self.loose = loose
        self.children = [
            _Plan(child, expected, loose) if isinstance(child, Node) else child for child in node.properties.values()
        ]
        names = set(node.properties) | node.nulls
        self.unknown = sorted(path for path in expected if path[:-1] == node.path and path[-1] not in names)

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
        way = way_of(child)
        if way in (bool, float, str) or way in _TEXTS or (way is int and child.path not in self.loose):
            return name, (str if way in _TEXTS else way) | None, None
        return name, msgspec.Raw, NULL

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


@cache
def attribute(position: int) -> Callable[[list[Any]], list[Any]]:
    """Return a function that reads one attribute of many Structs: half the time of attrgetter."""
    reader: Callable[[list[Any]], list[Any]] = eval(f"lambda objects: [o.f{position} for o in objects]")
    return reader


# --- columns: cells -> (array, positions refused, how many had digits cut)

_Converter = Callable[[list[Any]], tuple[pa.Array, Refused, int]]


def _plain(kind: kinds.Kind) -> _Converter:
    arrow = kinds.arrow_type(kind)

    def convert(cells: list[Any]) -> tuple[pa.Array, Refused, int]:
        return pa.array(cells, arrow), (), 0

    return convert


def _strings(cells: list[Any]) -> tuple[pa.Array, Refused, int]:
    texts = pa.array(cells, pa.string())
    data = texts.buffers()[2]
    if data is None or not _has_nul(data):
        return texts, (), 0
    return texts, np.flatnonzero(pc.match_substring(texts, "\0").fill_null(False)).tolist(), 0


def _has_nul(data: pa.Buffer) -> bool:
    return not np.frombuffer(data, np.uint8).all()


def _integers(cells: list[Any]) -> tuple[pa.Array, Refused, int]:
    try:
        return pa.array(cells, pa.int64()), (), 0
    except OverflowError:
        bad = [i for i, cell in enumerate(cells) if cell is not None and cell not in values.INT64]
        return _without(cells, bad, pa.int64()), bad, 0


def _without(cells: list[Any], bad: Refused, arrow: pa.DataType) -> pa.Array:
    cells = list(cells)
    for position in bad:
        cells[position] = None
    return pa.array(cells, arrow)


def _loose_integers(cells: list[Any]) -> tuple[pa.Array, Refused, int]:
    """Integers of which some are written with a fraction of zeros: 1.0."""
    texts, bad, _ = _numbers(cells)
    texts = pc.replace_substring_regex(texts, r"\.0+$", "")
    try:
        return pc.cast(texts, pa.int64()), bad, 0
    except pa.ArrowInvalid:
        fits = pc.match_substring_regex(texts, r"^-?\d{1,18}$").fill_null(True)
        bad = sorted({*bad, *np.flatnonzero(~fits.to_numpy(zero_copy_only=False)).tolist()})
        # An array of nulls, as with a single one if_else spoils strings (apache/arrow#49410).
        return pc.cast(pc.if_else(fits, texts, pa.nulls(len(texts), texts.type)), pa.int64()), bad, 0


def _parsed(parse: Callable[[pa.Array], times.Parsed]) -> _Converter:
    def convert(cells: list[Any]) -> tuple[pa.Array, Refused, int]:
        parsed = parse(pa.array(cells, pa.string()))
        return parsed.values, list(parsed.refused), parsed.cut

    return convert


def _raw_texts(cells: list[Any]) -> tuple[pa.Array, np.ndarray[Any, Any]]:
    """Return raw JSON texts as a string array, null for the JSON null, and their first bytes.

    Joined with a byte that cannot be within a line, so that nothing is done per cell in Python.
    """
    if not cells:
        return pa.array([], pa.string()), np.array([], np.uint8)
    joined = b"\n".join(cells) + b"\n"
    ends = np.flatnonzero(np.frombuffer(joined, np.uint8) == 10) - np.arange(len(cells))
    offsets = np.concatenate(([0], ends)).astype(np.int32)
    data = joined.replace(b"\n", b"")
    first = np.frombuffer(data, np.uint8)[offsets[:-1]]
    valid = first != ord("n")
    bitmap = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())
    buffers = [bitmap, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(cells), buffers), first


def _starting(first: str) -> np.ndarray[Any, Any]:
    """Return a table of bytes: may a JSON text start with this one?"""
    return np.isin(np.arange(256), np.frombuffer(first.encode(), np.uint8))


_STARTS = {
    "boolean": "tf",
    "integer": "-0123456789",
    "number": "-0123456789",
    "string": '"',
    "array": "[",
    "object": "{",
    "any": 'tf-0123456789"[{',
}


def _numbers(cells: list[Any]) -> tuple[pa.Array, Refused, int]:
    """Numbers with all their digits; the parser has checked their grammar."""
    texts, first = _raw_texts(cells)
    fine = _starting(_STARTS["number"] + "n")[first]
    return texts, () if fine.all() else np.flatnonzero(~fine).tolist(), 0


def _whole_numbers(cells: list[Any]) -> tuple[pa.Array, Refused, int]:
    texts, bad, _ = _numbers(cells)
    odd = np.flatnonzero(pc.match_substring_regex(texts, "[^-0-9]").fill_null(False))
    return texts, sorted({*bad, *odd.tolist()}), 0


def _decimals(cells: list[Any]) -> tuple[pa.Array, Refused, int]:
    """Numbers in strings: singer.decimal."""
    texts = pa.array(cells, pa.string())
    fine = pc.match_substring_regex(texts, f"^{values.NUMBER.pattern}$").fill_null(True)
    return texts, np.flatnonzero(pc.invert(fine)).tolist(), 0


def _json(types: frozenset[str]) -> _Converter:
    """JSON texts; the parser has checked their grammar, but not type, UTF-8 and depth."""
    starts = _starting("n" + "".join(_STARTS[name] for name in types))

    def convert(cells: list[Any]) -> tuple[pa.Array, Refused, int]:
        texts, first = _raw_texts(cells)
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid:
            bad = [i for i, cell in enumerate(cells) if not _is_utf8(bytes(cell))]
            return convert([NULL if i in set(bad) else cell for i, cell in enumerate(cells)])[0], bad, 0
        refused = np.flatnonzero(~starts[first]).tolist()
        if b"\\u0000" in texts.buffers()[2].to_pybytes():
            refused += np.flatnonzero(pc.match_substring(texts, r"\u0000").fill_null(False)).tolist()
        if (pc.max(pc.binary_length(texts)).as_py() or 0) > _LONG:
            refused += [i for i, cell in enumerate(cells) if _is_deep(bytes(cell))]
        return texts, refused, 0

    return convert


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_deep(text: bytes) -> bool:
    """Tell whether JSON may be nested too deeply; the slow path counts exactly."""
    return len(text) > _LONG and text.count(b"[") + text.count(b"{") > values.MAX_DEPTH


def _cells(leaf: Leaf, rules: Rules) -> _Converter:
    """Convert one by one, as the slow path does: for mixed types, encodings, overridden types."""

    def convert(cells: list[Any]) -> tuple[pa.Array, Refused, int]:
        found, bad, notes = [], [], Notes()
        for position, cell in enumerate(cells):
            try:
                found.append(values.convert(leaf, values.parse(bytes(cell)), rules, notes))
            except ValueError:
                found.append(None)
                bad.append(position)
        odd = notes.coerced or notes.replaced  # to be counted by the slow path, which warns of them
        return pa.array(found, kinds.arrow_type(leaf.kind)), range(len(cells)) if odd else bad, notes.cut.total()

    return convert


_TEXTS = {
    "timestamp": _parsed(times.timestamps),
    "date": _parsed(times.dates),
    "time": _parsed(times.times),
    "number": _decimals,
    "decimal": _decimals,
}
_CONVERTERS: dict[Any, _Converter] = {
    bool: _plain(kinds.BOOLEAN),
    int: _integers,
    float: _plain(kinds.DOUBLE),
    str: _strings,
    **_TEXTS,
    "raw number": _numbers,
    "raw whole number": _whole_numbers,
}


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
    except ValueError as error:
        raise RecordError(str(error), line=number, stream=layout.stream) from None
    row = values.read_row(message["record"], layout.node, layout.rules, notes, line=number, stream=layout.stream)
    for key in layout.keys:
        if row[key] is None:
            path = values.json_path(layout.leaves[key].path)
            raise RecordError("a key must not be absent or null", line=number, stream=layout.stream, path=path)
    return row


def batch_of_rows(layout: Layout, rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    """Return rows of the slow path as a batch."""
    arrays = [pa.array([row[i] for row in rows], field.type) for i, field in enumerate(layout.arrow)]
    return pa.RecordBatch.from_arrays(arrays, schema=layout.arrow)


def fractions_of_zero(layout: Layout, line: bytes) -> frozenset[Path]:
    """Return the integers of a record that are written with a fraction of zeros."""
    if not re.search(rb"\.0+\s*[,}]", line):
        return frozenset()
    record = values.parse(line)["record"]
    found = set()
    for leaf in layout.leaves:
        value = record
        for name in leaf.path:
            value = value.get(name) if isinstance(value, dict) else None
        if way_of(leaf) is int and isinstance(value, Number) and "." in value:
            found.add(leaf.path)
    return frozenset(found)
