"""The slow, obvious path from a line to a row. It defines what every value means.

`decode.py` is only ever a shortcut to what these functions return: a record that it refuses comes
here, and is either accepted exactly or refused with the reason in words. Values come out as Arrow
takes them: integers for times (microseconds) and dates (days), text for exact numbers and JSON.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import kinds, times
from .deep import MAX_DEPTH as MAX_DEPTH
from .digits import NOT_FINITE, exact, shortest
from .errors import shown
from .notes import Notes as Notes
from .schema import INT64, Leaf, Path

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_BAD_TEXT = re.compile("[\0\ud800-\udfff]")


class Number(str):
    """A JSON number as it was written, so that no digit is lost on the way."""

    __slots__ = ()


class TooDeep(ValueError, RecursionError):
    """JSON is nested deeper than it can be parsed here, or written."""


class NotJson(ValueError):
    """A line is no JSON."""


@dataclass(frozen=True)
class Rules:
    """The settings that decide what becomes of a doubtful value."""

    replace_bad_text: bool = False
    unknown_fields: str = "warn"  # or "fail" or "keep"
    excess_digits: str = "cut"  # or "fail"
    zero_dates: str = "fail"  # or "null"
    shows_lines: bool = True  # that are no JSON; not where there are rules for personal data


def parse(line: bytes, rules: Rules = Rules(), not_finite: bool = False) -> Any:
    """Parse one line of JSON; numbers come as `Number`, the last of equal keys wins.

    Where bad text is to be replaced, bytes that are not UTF-8 come as lone surrogates: bad text, too.
    With *not_finite* the words of `NOT_FINITE` are numbers; JSON does not know them.

    Raises:
        ValueError: with the fault in words.
    """
    try:
        return (_WITH_NAN if not_finite else _DECODER).decode(line.decode("utf-8", "surrogateescape" if rules.replace_bad_text else "strict"))
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is not valid UTF-8") from None
    except json.JSONDecodeError as error:
        raise NotJson(f"not JSON: {error.msg.removesuffix(' at')} at character {error.pos + 1}") from None
    except RecursionError:
        raise TooDeep(f"nested deeper than {MAX_DEPTH} levels") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(parse_float=Number, parse_int=Number, parse_constant=_refuse_constant)
_WITH_NAN = json.JSONDecoder(parse_float=Number, parse_int=Number, parse_constant=Number)


def convert(leaf: Leaf, value: Any, rules: Rules, notes: Notes) -> Any:
    """Return *value* as a column of the leaf's kind holds it.

    Raises:
        ValueError: with the fault in words.
    """
    if value is None:
        return None
    if not _is_of_types(value, leaf):
        if not leaf.coerce:
            wanted = " or ".join(sorted(leaf.types))
            also = ", or the setting coerce: lossless" if _may_be_coerced(value, leaf) else _remedy_for(value, leaf)
            raise ValueError(f"{shown_value(value)} is {type_name(value)}, wanted {wanted}{also}")
        notes.coerced[leaf.path] += 1
    return _CONVERTERS[leaf.kind.name](value, leaf, rules, notes)


def _is_of_types(value: Any, leaf: Leaf) -> bool:
    types = leaf.types
    if "any" in types:
        return True
    if isinstance(value, Number):
        return "number" in types or ("integer" in types and is_integral(value))
    return json_type(value) in types


def json_type(value: Any) -> str:
    """Return the JSON Schema type of a parsed value: 1.0 is an integer, too."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, Number):
        return "integer" if is_integral(value) else "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def is_integral(number: Number) -> bool:
    """Tell whether the number has no fraction: 5, 5.0 and 5e3, but not 5e-1."""
    if number.isdigit():
        return True
    if "e" in number or "E" in number:
        return exact(number)[1] >= 0
    return number not in NOT_FINITE and not number.partition(".")[2].strip("0")


def _may_be_coerced(value: Any, leaf: Leaf) -> bool:
    try:
        _CONVERTERS[leaf.kind.name](value, leaf, Rules(), Notes())
    except ValueError:
        return False
    return True


def _boolean(value: Any, leaf: Leaf, rules: Rules, notes: Notes) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in ("true", "false", "0", "1"):
        return value in ("true", "1")
    raise ValueError(f"{shown_value(value)} is no boolean")


def _integer(value: Any, leaf: Leaf, rules: Rules, notes: Notes) -> int:
    token = _number(value, leaf, rules, notes)
    if len(token) < kinds.INTEGER_DIGITS and token.lstrip("-").isdigit():
        return int(token)
    digits, power = exact(token)
    if power < 0:
        raise ValueError(f"{shown_value(value)} is no integer{_remedy(leaf)}")
    is_long = len(digits) + power > kinds.INTEGER_DIGITS  # 1e999999999 would fill the memory
    found = 0 if is_long else int(digits or "0") * 10**power * (-1 if token.startswith("-") else 1)
    if is_long or found not in INT64:
        raise ValueError(f"{shown_value(value)} is beyond the 64 bits of an integer column{_remedy(leaf)}")
    return found


def _remedy(leaf: Leaf, kind: str = "number") -> str:
    return remedy(leaf.path, kind)


def remedy(path: Path, kind: str) -> str:
    return f'; setting column_types: "STREAM.{".".join(path)}": "{kind}" holds it'


def _remedy_for(value: Any, leaf: Leaf) -> str:
    """Taps that infer a SCHEMA from their first records send others, too: a wider kind takes both."""
    if isinstance(value, (dict, list)) or leaf.kind == kinds.JSON:
        return _remedy(leaf, "json")
    if isinstance(value, Number) and leaf.kind == kinds.INTEGER:
        return _remedy(leaf)
    return "" if isinstance(value, Number) and value in NOT_FINITE else _remedy(leaf, "string")


def _number(value: Any, leaf: Leaf, rules: Rules, notes: Notes) -> str:
    """Return the digits of a number, or of a string that is spelt like one; the words of `NOT_FINITE` are, too."""
    if isinstance(value, str) and NUMBER.fullmatch(value):
        if leaf.scale is None or (short := shortest(value, leaf.scale)) == value:
            return str(value)
        notes.changed("shortened", leaf.path)
        return short
    if isinstance(value, str) and value in NOT_FINITE:
        return _not_finite(value, leaf)
    raise ValueError(f"{shown_value(value)} is no {'integer' if leaf.kind == kinds.INTEGER else 'number'}")


def _not_finite(value: str, leaf: Leaf) -> str:
    """Return NaN or an infinity, where the column can hold it."""
    if value in leaf.holds:
        return str(value)
    remedy = "" if leaf.kind == kinds.DOUBLE else _remedy(leaf, "double")
    raise ValueError(f"{value} is no value that the column, of kind {leaf.kind}, can hold{remedy}")


def _double(value: Any, leaf: Leaf, rules: Rules, notes: Notes) -> float:
    token = _number(value, leaf, rules, notes)
    found = float(token)
    if token in NOT_FINITE:
        return found
    if math.isinf(found):
        raise ValueError(f"{shown_value(value)} is beyond a double precision column{_remedy(leaf)}")
    # A string has to convert back, and two keys must not become one.
    if (leaf.is_key or not isinstance(value, Number)) and exact(repr(found)) != exact(token):
        where = ", in a key" if leaf.is_key else ""
        raise ValueError(f"{shown_value(value)} would change in a double precision column{where}{_remedy(leaf)}")
    return found


def _string(value: Any, leaf: Leaf, rules: Rules, notes: Notes) -> str:
    if leaf.is_key and "string" in leaf.types and len(leaf.types) > 1:
        is_text = isinstance(value, str) and not isinstance(value, Number)
        notes.changed("texts" if is_text else "as_texts", leaf.path)
    if isinstance(value, str) and not (isinstance(value, Number) and value in NOT_FINITE):
        return _text(value, leaf, rules, notes)
    return _json(value, leaf, rules, notes)


def _text(value: str, leaf: Leaf, rules: Rules, notes: Notes) -> str:
    """Return text that a database can hold: no NUL, no half of a surrogate pair."""
    bad = _BAD_TEXT.search(value)
    if not bad:
        return str(value)
    if leaf.is_key or not rules.replace_bad_text:
        name = "NUL (U+0000)" if bad[0] == "\0" else f"the lone surrogate U+{ord(bad[0]):04X}"
        remedy = ", and in a key nothing is replaced" if leaf.is_key else " (setting on_bad_text: replace)"
        raise ValueError(f"text holds {name}, which a database cannot store{remedy}")
    notes.replaced[leaf.path] += 1
    return _BAD_TEXT.sub(REPLACEMENT, value)


def _moment(value: Any, leaf: Leaf, rules: Rules, notes: Notes) -> int | None:
    """Return a date or time; MySQL's zero date is null where the rules say so."""
    text = _is_text(value)
    if rules.zero_dates == "null" and has_zero_dates(leaf) and times.is_zero(text):
        notes.changed("zero", leaf.path)
        return None
    try:
        found, cut = _MOMENTS[leaf.kind.name](text)
    except ValueError as fault:
        what = "MySQL's zero date (setting zero_dates: null)" if has_zero_dates(leaf) and times.is_zero(text) else fault
        raise ValueError(f"{shown(text)}: {what}{_remedy(leaf, 'string')}") from None
    if cut and refuses_cut(leaf, rules):
        only = "" if leaf.is_key else " (setting excess_digits: cut)"
        where = "in a key" if leaf.is_key else "that the column does not have"
        raise ValueError(f"{shown(text)} has digits beyond microseconds, {where}{only}{_remedy(leaf, 'string')}")
    if cut:
        notes.changed("cut", leaf.path)
    if leaf.kind == kinds.TIMESTAMP and times.is_leap(text):
        if leaf.is_key:
            raise ValueError(f"{shown(text)} is a leap second, which would become the second after it, in a key{_remedy(leaf, 'string')}")
        notes.changed("leap", leaf.path)
    return found


def refuses_cut(leaf: Leaf, rules: Rules) -> bool:
    """Tell whether a time must not lose digits: two keys could become one."""
    return leaf.is_key or rules.excess_digits == "fail"


def has_zero_dates(leaf: Leaf) -> bool:
    return leaf.kind in (kinds.TIMESTAMP, kinds.DATE)


_MOMENTS: dict[str, Callable[[str], tuple[int, bool]]] = {
    "timestamp": times.timestamp,
    "date": lambda text: (times.date(text), False),
    "time": times.time,
}


def _is_text(value: Any) -> str:
    if isinstance(value, str) and not isinstance(value, Number):
        return value
    raise ValueError(f"{shown_value(value)} is {type_name(value)}, wanted a string")


def _binary(value: Any, leaf: Leaf, rules: Rules, notes: Notes) -> bytes:
    text, encoding = _is_text(value), leaf.encoding or "base64"
    try:
        found = bytes.fromhex(text) if encoding == "base16" else base64.b64decode(text)
        back = found.hex() if encoding == "base16" else base64.b64encode(found).decode()
    except ValueError:
        back = None
    if back != (text.lower() if encoding == "base16" else text):  # both skip what they do not know
        raise ValueError(f"the string is not {encoding}")
    return found


def _json(value: Any, leaf: Leaf, rules: Rules, notes: Notes) -> str:
    text = json_text(value, lambda text: quoted(_text(text, leaf, rules, notes)))
    if ("NaN" in text or "Infinity" in text) and (found := next(_not_finite_in(value), None)):
        raise ValueError(f"it holds {found}, and JSON has no such number")
    return text


def _not_finite_in(value: Any) -> Iterator[str]:
    """Yield what of `NOT_FINITE` is in a parsed value."""
    if isinstance(value, Number) and value in NOT_FINITE:
        yield value
    if isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _not_finite_in(item)


quoted = json.JSONEncoder(ensure_ascii=False).encode


def is_bad_text(text: str) -> bool:
    """Tell whether a text holds what no database stores: NUL, or half of a surrogate pair."""
    return _BAD_TEXT.search(text) is not None


_CONVERTERS: dict[str, Callable[[Any, Leaf, Rules, Notes], Any]] = {
    "boolean": _boolean,
    "integer": _integer,
    "decimal": _number,
    "number": _number,
    "double": _double,
    "string": _string,
    "timestamp": _moment,
    "date": _moment,
    "time": _moment,
    "binary": _binary,
    "json": _json,
}


def json_text(value: Any, quoted: Callable[[str], str] = json.dumps, depth: int = 0) -> str:
    """Write a parsed value as JSON; numbers as they were written, strings as *quoted* returns them.

    Raises:
        TooDeep: nested deeper than MAX_DEPTH levels; or what *quoted* raises.
    """
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, str):
        return quoted(value)
    if not isinstance(value, (list, dict)):
        return {None: "null", True: "true", False: "false"}[value]
    if depth == MAX_DEPTH:
        raise TooDeep(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, list):  # loops, not comprehensions: those would take two frames a level
        items = []
        for item in value:
            items.append(json_text(item, quoted, depth + 1))
        return f"[{','.join(items)}]"
    members: dict[str, str] = {}
    for key, item in value.items():
        name = quoted(key)
        if name in members:
            raise ValueError("two names in an object would become one")  # by the replacement of bad text
        members[name] = f"{name}:{json_text(item, quoted, depth + 1)}"
    return f"{{{','.join(members.values())}}}"


def version_of(message: Mapping[str, Any]) -> int | None:
    """Return the version that a message names.

    Raises:
        ValueError: it is no integer of 64 bits.
    """
    found = message.get("version")
    if found is None:
        return None
    if isinstance(found, Number) and len(found) < 21 and found.lstrip("-").isdigit() and int(found) in INT64:
        return int(found)
    raise ValueError("a version is an integer of 64 bits")


def canonical(value: Any) -> str:
    """Return one JSON text for all that are equal as values: 1.0 is 1, the order of names is none."""
    if isinstance(value, Number):
        if value in NOT_FINITE:
            return str(value)
        digits, power = exact(value)
        return f"{'-' * value.startswith('-')}{digits}e{power}" if digits else "0"
    items = []
    if isinstance(value, list):
        for item in value:
            items.append(canonical(item))
        return f"[{','.join(items)}]"
    if isinstance(value, dict):
        for key in sorted(value):
            items.append(f"{json.dumps(key)}:{canonical(value[key])}")
        return f"{{{','.join(items)}}}"
    return json_text(value)


def type_name(value: Any) -> str:
    names = {"null": "null", "array": "an array", "object": "an object", "integer": "an integer"}
    found = json_type(value)
    return names.get(found, f"a {found}")


def shown_value(value: Any) -> str:
    """Return at most 80 characters of a value; of an array or object only what it is."""
    if isinstance(value, Number):
        return str(value) if len(value) <= 80 else f"{value[:60]}… ({len(value)} characters)"
    if isinstance(value, (list, dict)):
        return "it"
    return shown(value) if isinstance(value, str) else json_text(value)
