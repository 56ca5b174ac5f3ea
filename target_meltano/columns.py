"""From cells to Arrow: what the values of a column mean, once they have come out of a fast decoder.

A cell that a column refuses is not wrong yet: its record takes the slow path, which decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from . import kinds, times, values
from .cells import Cells
from .schema import Leaf, Path
from .values import Notes, Rules

Refused = Sequence[int]  # positions in a column, or in a batch
Converter = Callable[[Cells, Notes], tuple[pa.Array, Refused]]
"""Makes the array of a column and tells what it refuses; what is odd is counted in the notes."""

_LONG = pa.scalar(2 * values.MAX_DEPTH)  # bytes; shorter JSON cannot be nested too deeply


def way_of(leaf: Leaf, loose: frozenset[Path] = frozenset()) -> Any:
    """Return how the values of a leaf come out of the decoder, and so how they are converted.

    bool, int, float, str: as these. "timestamp", "date", "time", "decimal": a str to be parsed.
    "raw …": raw JSON text, for a whole column at once. "cell": raw JSON text, converted one by one
    as the slow path does.
    """
    kind, types = leaf.kind, leaf.types
    way: Any = "cell"
    if kind.name in {"number", "decimal"} and types <= {"integer", "number"}:
        way = "raw number" if "number" in types else "raw whole number"
    elif kind == kinds.DOUBLE and types <= {"integer", "number"} and "number" in types:
        way = float
    elif kind == kinds.JSON and ("number" in types or "integer" not in types):
        way = "raw json"
    elif types == {"string"}:
        ways = {"string": str, "timestamp": "timestamp", "date": "date", "time": "time"}
        way = {**ways, "number": "decimal", "decimal": "decimal"}.get(kind.name, "cell")
    elif types == {kind.name} and kind in (kinds.BOOLEAN, kinds.INTEGER):
        way = bool if kind == kinds.BOOLEAN else int
    if leaf.path in loose:
        return "raw integer" if way is int and not leaf.coerce else "cell"
    return way


def is_raw(way: Any) -> bool:
    """Tell whether values of this way come as JSON, as it was written."""
    return way == "cell" or str(way).startswith("raw ")


def converter(leaf: Leaf, way: Any, rules: Rules) -> Converter:
    if way in TEXTS:
        return _parsed(leaf, TEXTS[way])
    if way == "raw json":
        return _json(leaf.types)
    return _cells(leaf, rules) if way == "cell" else _CONVERTERS.get(way, _plain)


def positions(mask: pa.BooleanArray) -> list[int]:
    found: list[int] = pc.indices_nonzero(mask).to_pylist()
    return found


def _plain(cells: Cells, notes: Notes) -> tuple[pa.Array, Refused]:
    return cells.values, ()


def _strings(cells: Cells, notes: Notes) -> tuple[pa.Array, Refused]:
    texts = cells.values
    data = texts.buffers()[2]
    if data is None or np.frombuffer(data, np.uint8).all():
        return texts, ()
    return texts, positions(pc.match_substring(texts, "\0"))


def _parsed(leaf: Leaf, parse: Callable[[pa.Array], times.Parsed]) -> Converter:
    def convert(cells: Cells, notes: Notes) -> tuple[pa.Array, Refused]:
        if not pa.types.is_string(cells.values.type):  # parsed already
            if cells.cut is not None and (count := int(cells.cut.sum())):
                notes.cut[leaf.path] += count
            return cells.values, ()
        parsed = parse(cells.values)
        if parsed.cut:
            notes.cut[leaf.path] += parsed.cut
        return parsed.values, list(parsed.refused)

    return convert


def _decimals(texts: pa.Array) -> times.Parsed:
    """Numbers in strings: singer.decimal."""
    fine = pc.match_substring_regex(texts, f"^(?:{values.NUMBER.pattern})$")
    return times.Parsed(texts, 0, dict.fromkeys(positions(pc.invert(fine)), "is no number"))


def _starts(texts: pa.Array) -> np.ndarray[Any, Any]:
    """Return the first byte of each JSON text, that of null where there is none."""
    _, offsets, data = texts.buffers()
    begin = np.frombuffer(offsets, np.int32, len(texts), 4 * texts.offset)
    first = np.full(len(texts), ord("n"), np.uint8)
    valid = texts.is_valid().to_numpy(zero_copy_only=False)
    first[valid] = np.frombuffer(data or b"", np.uint8)[begin[valid]]
    return first


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
_NUMBER_STARTS = _starting(_STARTS["number"] + "n")


def _numbers(cells: Cells, notes: Notes) -> tuple[pa.Array, Refused]:
    """Numbers with all their digits; the parser has checked their grammar."""
    texts = cells.values
    fine = _NUMBER_STARTS[_starts(texts)]
    return texts, () if fine.all() else np.flatnonzero(~fine).tolist()


def _whole_numbers(cells: Cells, notes: Notes) -> tuple[pa.Array, Refused]:
    texts, bad = _numbers(cells, notes)
    return texts, [*bad, *positions(pc.match_substring_regex(texts, "[^-0-9]"))]


def _loose_integers(cells: Cells, notes: Notes) -> tuple[pa.Array, Refused]:
    """Integers of which some are written with a fraction of zeros: 1.0."""
    texts = pc.replace_substring_regex(cells.values, r"\.0+$", "")
    try:
        return pc.cast(texts, pa.int64()), ()
    except pa.ArrowInvalid:
        fits = pc.match_substring_regex(texts, r"^-?\d{1,18}$").fill_null(True)
        # An array of nulls, as with a single one if_else spoils strings (apache/arrow#49410).
        fitting = pc.if_else(fits, texts, pa.nulls(len(texts), texts.type))
        return pc.cast(fitting, pa.int64()), positions(pc.invert(fits))


def _json(types: frozenset[str]) -> Converter:
    """JSON texts; the parser has checked their grammar, but neither type nor depth."""
    starts = _starting("n" + "".join(_STARTS[name] for name in types))

    def convert(cells: Cells, notes: Notes) -> tuple[pa.Array, Refused]:
        texts = cells.values
        refused = np.flatnonzero(~starts[_starts(texts)]).tolist()
        refused += positions(pc.match_substring(texts, r"\u0000"))
        for i in positions(pc.greater(pc.binary_length(texts), _LONG)):
            if _may_be_deep(texts[i].as_buffer().to_pybytes()):
                refused.append(i)
        return texts, refused

    return convert


def _may_be_deep(text: bytes) -> bool:
    """Tell whether JSON may be nested too deeply; the slow path counts exactly."""
    return text.count(b"[") + text.count(b"{") > values.MAX_DEPTH


def _cells(leaf: Leaf, rules: Rules) -> Converter:
    """Convert one by one, as the slow path does: for mixed types, encodings, values to be coerced."""

    def convert(cells: Cells, notes: Notes) -> tuple[pa.Array, Refused]:
        found, bad = [], []
        for position, cell in enumerate(cells.values.cast(pa.binary()).to_pylist()):
            try:
                value = None if cell is None else values.parse(cell)
                found.append(values.convert(leaf, value, rules, notes))
            except ValueError:
                found.append(None)
                bad.append(position)
        return pa.array(found, kinds.arrow_type(leaf.kind)), bad

    return convert


TEXTS: dict[Any, Callable[[pa.Array], times.Parsed]] = {
    "timestamp": times.timestamps,
    "date": times.dates,
    "time": times.times,
    "decimal": _decimals,
}
_CONVERTERS: dict[Any, Converter] = {
    str: _strings,
    "raw number": _numbers,
    "raw whole number": _whole_numbers,
    "raw integer": _loose_integers,
}
