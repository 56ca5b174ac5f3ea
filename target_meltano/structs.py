"""The fast path with msgspec, where there is no compiled one: lines to generated Structs, these to cells.

msgspec parses a line straight into Structs, which checks types and names in one pass in C; times,
numbers with all their digits and JSON stay text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import islice
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from . import values
from .cells import Cells, Flags, Runs, Taken
from .columns import is_raw, is_text
from .messages import REFUSED
from .rows import Layout
from .schema import INT64, Node, Path

# What a field that is absent has in place of a value; NaN is no JSON, and null to Arrow's from_pandas.
ABSENT = float("nan")
ABSENT_JSON = msgspec.Raw(b"n")
NULL = msgspec.Raw(b"null")


class Plan:
    """How the records of a stream are decoded; *ways* are those of its leaves, *unknown* the fields that may come, too."""

    def __init__(self, layout: Layout, ways: Sequence[Any], unknown: Sequence[Path]):
        self.ways = ways
        self.versioned = layout.versioned
        try:
            self.root = _Object(layout.node, iter(ways), unknown)
            fields: list[tuple[Any, ...]] = [
                ("type", Literal["RECORD"]),
                ("stream", Literal[layout.stream]),
                ("record", self.root.struct()),
            ]
            if layout.versioned is not None:
                fields.append(("version", _VERSION if layout.versioned else None, None))
            self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(msgspec.defstruct("Message", fields, gc=False)).decode
        except (ValueError, RecursionError):  # a name that msgspec cannot spell, hundreds of levels
            self.decode = _refuse

    def records(self) -> Records:
        return Records(self)


class Records:
    """Decoded messages; see `cells.Records`."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.are_utf8 = True
        self._lines: list[bytes] = []
        self.messages: list[Any] = []
        self._numbers: list[int] = []
        self._taken: Taken | None = None
        self._has_stand_ins = False

    def extend(self, lines: Sequence[bytes], start: int, stop: int, number: int, are_utf8: bool) -> int:
        """Decode lines until another one comes, and return how many."""
        before = len(self.messages)
        at = start
        while at < stop:
            with suppress(*REFUSED):  # the list has what came before
                self.messages.extend(map(self.plan.decode, islice(_from(lines, at), stop - at)))
            refused = at = start + len(self.messages) - before
            while at < stop and self._decoded_as_json(lines[at]):
                at += 1
            if at == refused:
                break
        count = at - start
        self._lines += islice(_from(lines, start), count)
        self._numbers += range(number, number + count)
        self.are_utf8 = self.are_utf8 and are_utf8
        return count

    def _decoded_as_json(self, line: bytes) -> bool:
        """Decode a line with NaN or infinities, and tell whether that went well: with numbers in their place."""
        if not (b"NaN" in line or b"Infinity" in line) or b"1e9999" in line:
            return False
        try:
            self.messages.append(self.plan.decode(_as_json(line)))
        except REFUSED:
            return False
        self._has_stand_ins = True
        return True

    @property
    def rows(self) -> int:
        return len(self.messages)

    @property
    def size(self) -> int:
        return sum(map(len, self._lines))

    def lines(self, count: int | None = None) -> list[bytes]:
        return self._lines[:count]

    def numbers(self) -> np.ndarray[Any, Any]:
        return np.array(self._numbers, np.int64)

    def taken(self) -> Taken:
        if self._taken is None:
            self._taken = self._take()
        return self._taken

    def _take(self) -> Taken:
        if not self.messages:
            return Taken([], [])
        found, unknown = self.plan.root.cells([message.record for message in self.messages])
        cells = [_CELLS[_type(way)](column) for column, way in zip(found, self.plan.ways, strict=True)]
        if self._has_stand_ins:
            cells = [_with_words(its, way) if is_raw(way) else its for its, way in zip(cells, self.plan.ways, strict=True)]
        versions = None
        if self.plan.versioned:
            versions = pa.array([message.version for message in self.messages], pa.int64())
        return Taken(cells, unknown, versions)


# JSON has no NaN and no infinities, and msgspec knows JSON only. So it gets numbers instead that no float and no integer
# is large enough for: where they are taken, they are kept as text.
_STAND_INS = {b"NaN": b"1e99991", b"Infinity": b"1e99992", b"-Infinity": b"-1e99992"}
_WORD = rb"(?<=[:,\[ \t\r])(?:NaN|-?Infinity)(?=[,\]} \t\r])"
_find_word = re.compile(_WORD)
_find_strings_and_words = re.compile(rb'"(?:[^"\\]|\\.)*"|' + _WORD)


def _as_json(line: bytes) -> bytes:
    """Return a line with stand-ins for its words, but for those in strings."""
    if b"\\" in line:
        return _find_strings_and_words.sub(lambda found: _STAND_INS.get(found[0], found[0]), line)

    def stand_in(found: re.Match[bytes]) -> bytes:
        is_in_string = line.count(b'"', 0, found.start()) % 2
        return found[0] if is_in_string else _STAND_INS[found[0]]

    return _find_word.sub(stand_in, line)


def _with_words(cells: Cells, way: Any) -> Cells:
    """Return JSON texts with words for their stand-ins, if they are numbers; others with such are refused."""
    texts = cells.values
    if way != "raw number":
        there = pc.match_substring(texts, "1e9999").fill_null(False).to_numpy(zero_copy_only=False)
        return Cells(texts, cells.absent, bad=there if cells.bad is None else cells.bad | there)
    for word, stand_in in _STAND_INS.items():
        texts = pc.replace_substring_regex(texts, f"^{stand_in.decode()}$", word.decode())
    return Cells(texts, cells.absent, bad=cells.bad)


def _from(lines: Sequence[bytes], start: int) -> Iterator[bytes]:
    """Return an iterator that need not walk to where it starts: a chunk may have many odd lines."""
    found = iter(lines)
    if start:
        found.__setstate__(start)  # type: ignore[attr-defined]
    return found


class Reader:
    """Knows one stream at a time; see `cells.Reader`."""

    def __init__(self) -> None:
        self._name: bytes | None = None

    def put(self, name: bytes, records: Records, owner: object) -> None:
        self._name, self._records, self._owner = name, records, owner

    def clear(self) -> None:
        self._name = None

    def __contains__(self, name: bytes) -> bool:
        return name == self._name

    def read(self, lines: Sequence[bytes], start: int, stop: int, number: int, are_utf8: bool) -> Runs:
        count = self._records.extend(lines, start, stop, number, are_utf8) if self._name is not None else 0
        return [(self._owner, count)] if count else []


_VERSION = Annotated[int, msgspec.Meta(ge=values.INT64[0], le=values.INT64[-1])] | None


def _refuse(line: bytes) -> Any:
    raise msgspec.ValidationError("has no fast path")


# --- objects


class _Object:
    """An object's fields in the decoder: attributes f0, f1, … for the properties, by their order."""

    def __init__(self, node: Node, ways: Iterator[Any], unknown: Sequence[Path]):
        self.node = node
        self.children = [
            _Object(child, ways, unknown) if isinstance(child, Node) else next(ways) for child in node.properties.values()
        ]
        self.unknown = [
            (at, path) for at, path in enumerate(unknown) if path[:-1] == node.path and not _UNSPEAKABLE.search(path[-1])
        ]
        self.all_unknown = len(unknown)

    def struct(self) -> type[msgspec.Struct]:
        """Return the Struct to decode into."""
        fields = [self._field(i, child) for i, child in enumerate(self.children)]
        nulls = {name: NULL if kind is msgspec.Raw else None for name, kind, _ in fields}
        names = list(self.node.properties)
        for _, path in self.unknown:
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

    @staticmethod
    def _field(position: int, child: Any) -> tuple[str, Any, Any]:
        name = f"f{position}"
        if isinstance(child, _Object):
            return name, child.struct() | None, child.empty
        if is_raw(child):
            return name, msgspec.Raw, ABSENT_JSON
        return name, _type(child) | None, ABSENT

    def cells(self, objects: list[Any]) -> tuple[list[list[Any]], list[Flags]]:
        """Return the values of each leaf below *objects*, in the order of the schema, and where unknown fields came."""
        found: list[list[Any]] = []
        unknown = [np.zeros(len(objects), bool)] * self.all_unknown
        for position, child in enumerate(self.children):
            below = attribute(position)(objects)
            if isinstance(child, _Object):
                nulls = child.nulls
                deeper, came = child.cells([nulls if item is None else item for item in below])
                found.extend(deeper)
                unknown = [one | other for one, other in zip(unknown, came, strict=True)]
            else:
                found.append(below)
        for position, (at, _) in enumerate(self.unknown, len(self.children)):
            unknown[at] = np.array([cell is not msgspec.UNSET for cell in attribute(position)(objects)], bool)
        return found, unknown


_UNSPEAKABLE = re.compile(r'[\0-\x1f"\\\ud800-\udfff]')  # msgspec takes no such name for a field


@cache
def attribute(position: int) -> Callable[[list[Any]], list[Any]]:
    """Return a function that reads one attribute of many Structs: half the time of attrgetter."""
    reader: Callable[[list[Any]], list[Any]] = eval(f"lambda objects: [o.f{position} for o in objects]")
    return reader


# --- cells


def _type(way: Any) -> Any:
    """Return as what a value of this way is decoded."""
    return str if is_text(way) else msgspec.Raw if is_raw(way) else way


def _with_absent(values: pa.Array, column: list[Any], nothing: Any, bad: Flags | None = None) -> Cells:
    """Return cells; only nulls may be absent."""
    if not values.null_count or not column.count(nothing):
        return Cells(values, bad=bad)
    return Cells(values, np.array([cell is nothing for cell in column], bool), bad=bad)


def _plain(kind: pa.DataType) -> Callable[[list[Any]], Cells]:
    return lambda column: _with_absent(pa.array(column, kind, from_pandas=True), column, ABSENT)


def _integers(column: list[Any]) -> Cells:
    try:
        return _with_absent(pa.array(column, pa.int64(), from_pandas=True), column, ABSENT)
    except OverflowError:
        bad = np.array([isinstance(cell, int) and cell not in INT64 for cell in column], bool)
        fitting = [cell if isinstance(cell, int) and cell in INT64 else None for cell in column]
        return _with_absent(pa.array(fitting, pa.int64()), column, ABSENT, bad)


def _raw_texts(column: list[Any]) -> Cells:
    """Return JSON texts as strings, null for the JSON null and where absent.

    Joined with a byte that cannot be within a line, so that nothing is done per cell in Python.
    """
    joined = b"\n".join(column) + b"\n"
    ends = np.flatnonzero(np.frombuffer(joined, np.uint8) == 10) - np.arange(len(column))
    offsets = np.concatenate(([0], ends)).astype(np.int32)
    data = joined.replace(b"\n", b"")
    valid = np.frombuffer(data, np.uint8)[offsets[:-1]] != ord("n")
    bitmap = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())
    buffers = [bitmap, pa.py_buffer(offsets), pa.py_buffer(data)]
    return _with_absent(pa.Array.from_buffers(pa.string(), len(column), buffers), column, ABSENT_JSON)


_CELLS: dict[Any, Callable[[list[Any]], Cells]] = {
    bool: _plain(pa.bool_()),
    int: _integers,
    float: _plain(pa.float64()),
    str: _plain(pa.string()),
    msgspec.Raw: _raw_texts,
}
