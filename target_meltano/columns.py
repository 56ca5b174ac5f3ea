"""From cells to Arrow: what the values of a column mean, once they have come out of a fast decoder.

A cell that a column refuses is not wrong yet: its record takes the slow path, which decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from . import kinds, times, times_columns, values
from .cells import Cells
from .digits import MAX_SCALE, NOT_FINITE, SAFE, shortest
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
    as the slow path does. "text timestamp": as "timestamp", but always a str.
    """
    kind, types = leaf.kind, leaf.types
    way: Any = "cell"
    if kind.name in {"number", "decimal"} and types <= {"integer", "number"}:
        way = "raw number" if "number" in types else "raw whole number"
    elif kind == kinds.DOUBLE and types <= {"integer", "number"} and "number" in types and not leaf.is_key:
        way = float
    elif kind == kinds.JSON and ("number" in types or "integer" not in types):
        way = "raw json"
    elif types == {"string"}:
        ways = {"string": str, "timestamp": "timestamp", "date": "date", "time": "time"}
        way = {**ways, "number": "decimal", "decimal": "decimal"}.get(kind.name, "cell")
    elif types == {kind.name} and kind in (kinds.BOOLEAN, kinds.INTEGER):
        way = bool if kind == kinds.BOOLEAN else int
    if leaf.path in loose:
        if way in TEXTS:  # a zero date
            return "text timestamp" if way == "timestamp" else way
        return "raw integer" if way is int and not leaf.coerce else "cell"
    return way


def is_text(way: Any) -> bool:
    """Tell whether values of this way come as text that is to be parsed."""
    return way in TEXTS or way == "decimal"


def is_raw(way: Any) -> bool:
    """Tell whether values of this way come as JSON, as it was written."""
    return way == "cell" or str(way).startswith("raw ")


def converter(leaf: Leaf, way: Any, rules: Rules) -> Converter:
    if way in TEXTS:
        return _parsed(leaf, rules, TEXTS[way])
    if way == "decimal":
        return _decimals(leaf)
    if way == "raw json":
        return _json(leaf.types)
    if way is float:
        return _plain if leaf.holds >= NOT_FINITE else _finite
    if way in ("raw number", "raw whole number"):
        return _numbers(leaf, way == "raw whole number")
    return _cells(leaf, rules) if way == "cell" else _CONVERTERS.get(way, _plain)


def positions(mask: pa.BooleanArray) -> list[int]:
    found: list[int] = pc.indices_nonzero(mask).to_pylist()
    return found


def _plain(cells: Cells, notes: Notes) -> tuple[pa.Array, Refused]:
    return cells.values, ()


def _finite(cells: Cells, notes: Notes) -> tuple[pa.Array, Refused]:
    return cells.values, positions(pc.invert(pc.is_finite(cells.values)))


def _strings(cells: Cells, notes: Notes) -> tuple[pa.Array, Refused]:
    texts = cells.values
    data = texts.buffers()[2]
    if data is None or np.frombuffer(data, np.uint8).all():
        return texts, ()
    return texts, positions(pc.match_substring(texts, "\0"))


def _parsed(leaf: Leaf, rules: Rules, parse: Callable[[pa.Array], times_columns.Parsed]) -> Converter:
    zero_is_null = rules.zero_dates == "null" and values.has_zero_dates(leaf)

    def convert(cells: Cells, notes: Notes) -> tuple[pa.Array, Refused]:
        found, cut = cells.values, cells.cut
        refused: list[int] = []
        if pa.types.is_string(found.type):  # else it is parsed already
            parsed = parse(_without_zero(leaf, found, notes) if zero_is_null else found)
            found, cut, refused = parsed.values, parsed.cut, list(parsed.refused)
            if leaf.kind == kinds.TIMESTAMP:  # a leap second is told, or refused
                refused = sorted({*refused, *positions(pc.match_substring(cells.values, times.LEAP))})
        if cut is None or not cut.any():
            return found, refused
        rows = np.flatnonzero(cut).tolist()
        if values.refuses_cut(leaf, rules):
            return found, sorted({*refused, *rows})
        notes.changed("cut", leaf.path, rows[0], len(rows))
        return found, refused

    return convert


def _without_zero(leaf: Leaf, texts: pa.Array, notes: Notes) -> pa.Array:
    """Return *texts* with null for each of MySQL's zero dates, which are counted."""
    if not pc.any(pc.starts_with(texts, "0000-00-00")).as_py():
        return texts
    zero = pc.match_substring_regex(texts, f"^(?:{times.ZERO})$")
    if rows := positions(zero):
        notes.changed("zero", leaf.path, rows[0], len(rows))
    return pc.if_else(zero, pa.nulls(len(texts), texts.type), texts)


def _decimals(leaf: Leaf) -> Converter:
    """Numbers in strings: singer.decimal."""
    spelt = "|".join([values.NUMBER.pattern, *sorted(leaf.holds)])

    def convert(cells: Cells, notes: Notes) -> tuple[pa.Array, Refused]:
        texts = cells.values
        refused = positions(pc.invert(pc.match_substring_regex(texts, f"^(?:{spelt})$")))
        return _shortened(leaf, texts, refused, notes), refused

    return convert


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


def _numbers(leaf: Leaf, is_whole: bool) -> Converter:
    """Numbers with all their digits; the parser has checked their grammar."""
    starts = _starting(_STARTS["number"] + "n" + "".join(word[0] for word in leaf.holds))
    has_all = leaf.holds >= NOT_FINITE

    def convert(cells: Cells, notes: Notes) -> tuple[pa.Array, Refused]:
        texts = cells.values
        fine = starts[_starts(texts)]
        refused: list[int] = [] if fine.all() else np.flatnonzero(~fine).tolist()
        if is_whole:
            refused += positions(pc.match_substring_regex(texts, "[^-0-9]"))
        elif not has_all and ord("I") in np.frombuffer(texts.buffers()[2] or b"", np.uint8):
            refused += positions(pc.starts_with(texts, "-I"))
        return _shortened(leaf, texts, refused, notes), refused

    return convert


def _shortened(leaf: Leaf, texts: pa.Array, refused: Refused, notes: Notes) -> pa.Array:
    """Return numbers with those in short that have all binary digits of a float; they are counted."""
    if leaf.scale is None or leaf.scale >= MAX_SCALE or not pc.any(pc.greater(pc.binary_length(texts), SAFE)).as_py():
        return texts
    beyond = pc.match_substring_regex(texts, rf"\.[0-9]{{{leaf.scale + 1}}}|[eE]")
    rows = sorted(set(positions(beyond)).difference(refused))
    found = {}
    for row, text in zip(rows, texts.take(pa.array(rows, pa.int64())).to_pylist(), strict=True):
        if (short := shortest(text, leaf.scale)) != text:
            found[row] = short
    if not found:
        return texts
    rows = list(found)
    notes.changed("shortened", leaf.path, rows[0], len(rows))
    mask = np.zeros(len(texts), bool)
    mask[rows] = True
    return pc.replace_with_mask(texts, pa.array(mask), pa.array(list(found.values()), texts.type))


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
            notes.at = position
            try:
                value = None if cell is None else values.parse(cell)
                found.append(values.convert(leaf, value, rules, notes))
            except ValueError:
                found.append(None)
                bad.append(position)
        return pa.array(found, kinds.arrow_type(leaf.kind)), bad

    return convert


TEXTS: dict[Any, Callable[[pa.Array], times_columns.Parsed]] = {
    "timestamp": times_columns.timestamps,
    "text timestamp": times_columns.timestamps,
    "date": times_columns.dates,
    "time": times_columns.times,
}
_CONVERTERS: dict[Any, Converter] = {str: _strings, "raw integer": _loose_integers}
