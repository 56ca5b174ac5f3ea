"""What a value is as a cell of a row, sent or stored: equal cells are equal values.

Cells are what `marshal` writes: None, bool, int (also days and microseconds), float, str (also the digits of
exact numbers, and JSON), bytes. A tuple has several cells, each of which would be right: a value that came
before its column became a text, or JSON, is spelt otherwise there.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import Any

from .. import kinds, times, values
from ..digits import NOT_FINITE, exact
from ..kinds import Kind
from ..schema import Leaf
from ..values import Notes, Number, Rules

Cell = Any
Cells = list[Cell]
ABSENT = ()  # the record has no such field, and the row keeps what it has
EITHER = frozenset[Any]()  # as ABSENT, or null
FORMATS: dict[str, tuple[Callable[[str], Any], Callable[[int], str]]] = {
    "date-time": (times.timestamp, times.timestamp_text),
    "date": (times.date, times.date_text),
    "time": (times.time, times.time_text),
}
_LONGEST = 400  # zeros that are written out
LONG = 1 << 16  # characters, or bytes, of a cell: of longer ones the beginning and a digest are compared, since many wait at once
_BEGINNING = 60


# --- one spelling for equal values


def number(text: str) -> str:
    """Return the digits of a number, the same for all that are equal: 1.50, 15e-1 and 1.5 are 1.5."""
    is_plain = ("." not in text or text[-1] != "0") and "e" not in text and "E" not in text and text != "-0"
    if is_plain and (len(text) < _LONGEST or text in NOT_FINITE):
        return str(text)  # a whole number, or one without zeros at the end
    digits, power = exact(text)
    if not digits:
        return "0"
    sign = "-" if text.startswith("-") else ""
    if power >= 0:
        return f"{sign}{digits}{'0' * power}" if power < _LONGEST else f"{sign}{digits}e{power}"
    if -power > _LONGEST:
        return f"{sign}{digits}e{power}"
    digits = digits.rjust(1 - power, "0")
    return f"{sign}{digits[:power]}.{digits[power:]}"


def json_cell(value: Any) -> str:
    """Return one JSON text for all that are equal as values."""
    if isinstance(value, Number):
        if value in NOT_FINITE:
            raise ValueError(f"it holds {value}, and JSON has no such number")
        return number(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list):
        items = []
        for item in value:
            items.append(json_cell(item))
        return f"[{','.join(items)}]"
    if isinstance(value, dict):
        members = []
        for name in sorted(value):
            members.append(f"{_quoted(name)}:{json_cell(value[name])}")
        return f"{{{','.join(members)}}}"
    return "null" if value is None else "true" if value else "false"


_quoted = json.JSONEncoder(ensure_ascii=False).encode


# --- a value that is sent


def sent(leaf: Leaf, formats: frozenset[str], was_double: bool, rules: Rules, notes: Notes) -> Callable[[Any], Cell]:
    """Return the function that makes a cell of a value other than null, for a column of the kind of *leaf*.

    *formats* are what the SCHEMA says of texts there. *was_double*: numbers were doubles before they became texts.
    The function raises ValueError for what is invalid, with the fault in words.
    """
    convert = partial(values.convert, leaf)
    name = leaf.kind.name
    if name in ("number", "decimal"):
        return lambda value: number(convert(value, rules, notes))
    if name == "double":
        return lambda value: _double(convert(value, rules, notes))
    if name not in ("string", "json"):
        return lambda value: convert(value, rules, notes)
    known = [FORMATS[one] for one in sorted(formats & FORMATS.keys())]
    was_text = not leaf.types & {"any", "array", "object"}  # then the column may have been one of texts before

    def as_json(value: Any) -> Cell:
        spelt = convert(value, rules, notes)
        cell = json_cell(value) if not values.is_bad_text(spelt) and not rules.replace_bad_text else json_cell(values.parse(spelt.encode()))
        others = [_quoted(text) for text in _respelt(value, known)] if known else []
        others += [number(repr(float(value)))] if was_double and isinstance(value, Number) else []
        if was_text and (isinstance(value, (bool, Number))):
            others += [_quoted(one) for one in (cell, *others)]
        return (cell, *others) if others else cell

    def as_text(value: Any) -> Cell:
        cell = convert(value, rules, notes)
        if isinstance(value, Number):
            others = {number(value)} | ({number(repr(float(value)))} if was_double else set())
        else:
            others = set(_respelt(value, known)) if known else set()
        others.discard(cell)
        return (cell, *sorted(others)) if others else cell

    return as_json if name == "json" else as_text


def _double(value: float) -> Cell:
    return value if value - value == 0 else {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[repr(value)]


def _respelt(value: Any, known: list[Any]) -> list[str]:
    """Return how a date or time is spelt that was in a column of its own kind before."""
    return [text for text in _spellings(value, known) if text != value] if type(value) is str else []


def _spellings(text: str, known: Iterable[Any]) -> Iterator[str]:
    for read, write in known:
        try:
            moment = read(text)
            yield write(moment[0] if isinstance(moment, tuple) else moment)
        except ValueError:
            continue


# --- a value that is stored


def stored(kind: Kind | None) -> Callable[[Any], Cell]:
    """Return the function that makes a cell of a value other than NULL, as a driver gives it.

    What it cannot make out is a text, which no cell that is sent equals.
    """
    how = _STORED.get(kind.name if kind else "string", str)

    def cell(value: Any) -> Cell:
        try:
            return how(value)
        except (ValueError, TypeError, ArithmeticError):
            return f"{value}"

    return cell if how is not str else str


def _moment(value: Any, read: Callable[[str], Any], of: Callable[[Any], int]) -> int:
    if not isinstance(value, str):
        return of(value)
    found = read(value)
    return found[0] if isinstance(found, tuple) else found  # type: ignore[no-any-return]


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_SECOND = dt.timedelta(microseconds=1)


def _timestamp_text(text: str) -> int:
    """Read a text as PostgreSQL writes it, 2024-01-31 12:00:00.5+00, in a third of the time that the grammar of times takes."""
    if text[10:11] != " " or text[-3:] != "+00" or len(text) > 29:
        return times.timestamp(text)[0]
    fraction = text[20:-3]
    seconds = (int(text[11:13]) * 60 + int(text[14:16])) * 60 + int(text[17:19])
    return _day(text[:10]) + seconds * 1_000_000 + (int(fraction.ljust(6, "0")) if fraction else 0)


@lru_cache(4096)
def _day(text: str) -> int:
    return times.date(text) * 86_400_000_000


def _digits(value: Any) -> str:
    return str(_double(value)) if isinstance(value, float) else str(value)


def _timestamp(value: dt.datetime) -> int:
    return (value - _EPOCH) // _SECOND


def _date(value: dt.date) -> int:
    return value.toordinal() - 719163


def _time(value: dt.time) -> int:
    return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond


_STORED: dict[str, Callable[[Any], Cell]] = {
    "boolean": bool,
    "integer": int,
    "number": lambda value: number(_digits(value)),
    "decimal": lambda value: number(_digits(value)),
    "double": lambda value: _double(float(value)),
    "string": str,
    "timestamp": lambda value: _moment(value, _timestamp_text, _timestamp),
    "date": lambda value: _moment(value, times.date, _date),
    "time": lambda value: _moment(value, times.time, _time),
    "binary": bytes,
    "json": lambda value: json_cell(values.parse(value.encode())),
}


# --- both


def short(cell: Cell) -> Cell:
    """Return a cell that takes little memory, the same for all that are equal; no value that can be stored has a NUL."""
    if type(cell) is tuple and cell:
        return tuple(map(short, cell))
    if not isinstance(cell, (str, bytes)) or len(cell) < LONG:
        return cell
    content = cell.encode("utf-8", "surrogatepass") if isinstance(cell, str) else cell
    begin = cell[:_BEGINNING] if isinstance(cell, str) else ""
    return f"{begin}\0{hashlib.blake2b(content, digest_size=16).hexdigest()} {len(cell)}"


def is_same(wanted: Cell, found: Cell, kind: Kind | None) -> bool:
    """Tell whether what is stored is what was sent, by one of its spellings."""
    if wanted == found:
        return True
    if not isinstance(wanted, tuple):
        return False
    if found in wanted:
        return True
    if not isinstance(found, str):
        return False
    if kind == kinds.STRING and values.NUMBER.fullmatch(found):
        return number(found) in wanted  # 19.90 in a column of numbers that became one of texts
    if kind == kinds.JSON and values.NUMBER.fullmatch(found[1:-1]):
        return _quoted(number(found[1:-1])) in wanted  # and then one of JSON
    return False


def class_of(cell: Cell, kind: Kind | None) -> Cell:
    """Return one cell for all spellings of a value that `is_same` takes, and a few more."""
    if isinstance(cell, tuple):
        cell = cell[0]
    if kind == kinds.JSON and isinstance(cell, str) and cell[:1] == '"':
        cell = json.loads(cell)
    if kind in (kinds.STRING, kinds.JSON) and isinstance(cell, str) and cell and cell[0] in "-0123456789":
        if values.NUMBER.fullmatch(cell):
            return number(cell)
        return next(_spellings(cell, FORMATS.values()), cell)
    return cell


def packed(cells: list[tuple[int, Cell]]) -> bytes:
    """Return bytes that are equal for equal cells only, with the numbers of their columns."""
    parts = []
    for column, cell in cells:
        if isinstance(cell, bytes):
            body = b"b" + cell
        elif isinstance(cell, float):
            body = b"f" + struct.pack("<d", cell + 0.0)
        else:
            body = f"{cell!s}".encode("utf-8", "surrogatepass")
        parts.append(b"%d:%d:%b" % (column, len(body), body))
    return b"".join(parts)


def shown(cell: Cell, kind: Kind | None) -> str:
    """Return at most 80 characters that show a cell."""
    if isinstance(cell, tuple):
        cell = cell[0]
    if cell is None:
        return "NULL"
    if isinstance(cell, int) and not isinstance(cell, bool) and kind is not None:
        return {"timestamp": times.timestamp_text, "date": times.date_text, "time": times.time_text}.get(kind.name, str)(cell)
    text = str(cell)
    if isinstance(cell, str) and "\0" in cell:  # made `short`
        text, size = cell.partition("\0")[0], cell.rpartition(" ")[2]
        return f"{_quoted(text)[:_BEGINNING]}… ({size} characters)" if kind in (kinds.STRING, None) else f"{text}… ({size} characters)"
    text = _quoted(cell) if isinstance(cell, str) and kind in (kinds.STRING, None) else text
    return text if len(text) <= 80 else f"{text[:_BEGINNING]}… ({len(text)} characters)"
