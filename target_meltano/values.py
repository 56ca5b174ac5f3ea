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
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import kinds, times
from .errors import shown
from .schema import INT64, Leaf, Path

MAX_DEPTH = 500
MOST_NAMES = 100  # of fields that a stream's schema does not name: a map's keys may be data, and have no end
OTHERS: Path = ()  # stands for the rest of them
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_BAD_TEXT = re.compile("[\0\ud800-\udfff]")


class Number(str):
    """A JSON number as it was written, so that no digit is lost on the way."""

    __slots__ = ()


@dataclass
class Notes:
    """What was noticed on the way that is no fault, counted by path: for one warning each."""

    unknown: Counter[Path] = field(default_factory=Counter)
    cut: Counter[Path] = field(default_factory=Counter)
    coerced: Counter[Path] = field(default_factory=Counter)
    replaced: Counter[Path] = field(default_factory=Counter)
    absent: Counter[Path] = field(default_factory=Counter)  # so usual that nobody is warned

    def __bool__(self) -> bool:
        return any(vars(self).values())

    def see_unknown(self, path: Path, count: int = 1) -> None:
        """Count a field that the schema does not name; all after the first ones as one."""
        is_named = path in self.unknown or len(self.unknown) < MOST_NAMES
        self.unknown[path if is_named else OTHERS] += count

    def add(self, other: Notes) -> None:
        for name, counter in vars(other).items():
            if name != "unknown":
                getattr(self, name).update(counter)
        for path, count in other.unknown.items():
            self.see_unknown(path, count)


@dataclass(frozen=True)
class Rules:
    """The settings that decide what becomes of a doubtful value."""

    replace_bad_text: bool = False
    unknown_fields: str = "warn"  # or "fail" or "keep"


def parse(line: bytes, rules: Rules = Rules()) -> Any:
    """Parse one line of JSON; numbers come as `Number`, the last of equal keys wins.

    Where bad text is to be replaced, bytes that are not UTF-8 come as lone surrogates: bad text, too.

    Raises:
        ValueError: with the fault in words.
    """
    try:
        return _DECODER.decode(line.decode("utf-8", "surrogateescape" if rules.replace_bad_text else "strict"))
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is not valid UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(parse_float=Number, parse_int=Number, parse_constant=_refuse_constant)


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
            also = ", or the setting coerce: lossless" if _may_be_coerced(value, leaf) else ""
            raise ValueError(f"{shown_value(value)} is {type_name(value)}, wanted {wanted}{also}")
        notes.coerced[leaf.path] += 1
    return _CONVERTERS[leaf.kind.name](value, leaf, rules, notes)


def _is_of_types(value: Any, leaf: Leaf) -> bool:
    if "any" in leaf.types:
        return True
    found = json_type(value)
    return found in leaf.types or (found == "integer" and "number" in leaf.types)


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
    return number.isdigit() or exact(number)[1] >= 0


def exact(number: str) -> tuple[str, int]:
    """Return a number's digits, without zeros at either end, and the power of ten behind the last.

    Decimal is of no use: 1e999999999 fills its memory, and larger exponents it does not take. No
    digits: 0. Of the power, 20 digits count; no database comes near.
    """
    mantissa, _, power = number.lower().partition("e")
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    stripped = digits.rstrip("0")
    if not stripped:
        return "", 0
    sign = -1 if power.startswith("-") else 1
    power = power.lstrip("+-0")[:20] or "0"
    return stripped, sign * int(power) - len(fraction) + len(digits) - len(stripped)


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
    digits, power = exact(token)
    if power < 0:
        raise ValueError(f"{shown_value(value)} is no integer{_remedy(leaf)}")
    found = int(digits or "0") * 10**power if len(digits) + power < 20 else INT64.stop
    found = -found if token.startswith("-") else found
    if found not in INT64:
        raise ValueError(f"{shown_value(value)} is beyond the 64 bits of an integer column{_remedy(leaf)}")
    return found


def _remedy(leaf: Leaf) -> str:
    return f'; setting column_types: "STREAM.{".".join(leaf.path)}": "number" holds it'


def _number(value: Any, leaf: Leaf, rules: Rules, notes: Notes) -> str:
    """Return the digits of a number, or of a string that is spelt like a JSON number."""
    if isinstance(value, str) and NUMBER.fullmatch(value):
        return str(value)
    raise ValueError(f"{shown_value(value)} is no {'integer' if leaf.kind == kinds.INTEGER else 'number'}")


def _double(value: Any, leaf: Leaf, rules: Rules, notes: Notes) -> float:
    token = _number(value, leaf, rules, notes)
    found = float(token)
    if math.isinf(found):
        raise ValueError(f"{shown_value(value)} is beyond a double precision column{_remedy(leaf)}")
    if not isinstance(value, Number) and exact(repr(found)) != exact(token):  # a string has to convert back
        raise ValueError(f"{shown_value(value)} would change in a double precision column{_remedy(leaf)}")
    return found


def _string(value: Any, leaf: Leaf, rules: Rules, notes: Notes) -> str:
    if isinstance(value, str):
        return _text(value, leaf, rules, notes)
    return _json(value, leaf, rules, notes)


def _text(value: str, leaf: Leaf, rules: Rules, notes: Notes) -> str:
    """Return text that a database can hold: no NUL, no half of a surrogate pair."""
    bad = _BAD_TEXT.search(value)
    if not bad:
        return str(value)
    if not rules.replace_bad_text:
        name = "NUL (U+0000)" if bad[0] == "\0" else f"the lone surrogate U+{ord(bad[0]):04X}"
        raise ValueError(f"text holds {name}, which a database cannot store (setting on_bad_text: replace)")
    notes.replaced[leaf.path] += 1
    return _BAD_TEXT.sub(REPLACEMENT, value)


def _timestamp(value: Any, leaf: Leaf, rules: Rules, notes: Notes) -> int:
    found, cut = times.timestamp(_is_text(value))
    notes.cut.update([leaf.path] * cut)
    return found


def _time(value: Any, leaf: Leaf, rules: Rules, notes: Notes) -> int:
    found, cut = times.time(_is_text(value))
    notes.cut.update([leaf.path] * cut)
    return found


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
    return json_text(value, lambda text: _quoted(_text(text, leaf, rules, notes)))


_quoted = json.JSONEncoder(ensure_ascii=False).encode
_CONVERTERS: dict[str, Callable[[Any, Leaf, Rules, Notes], Any]] = {
    "boolean": _boolean,
    "integer": _integer,
    "decimal": _number,
    "number": _number,
    "double": _double,
    "string": _string,
    "timestamp": _timestamp,
    "date": lambda value, leaf, rules, notes: times.date(_is_text(value)),
    "time": _time,
    "binary": _binary,
    "json": _json,
}


def json_text(value: Any, quoted: Callable[[str], str] = json.dumps, depth: int = 0) -> str:
    """Write a parsed value as JSON; numbers as they were written, strings as *quoted* returns them.

    Raises:
        ValueError: nested deeper than MAX_DEPTH levels, or what *quoted* raises.
    """
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, str):
        return quoted(value)
    if not isinstance(value, (list, dict)):
        return {None: "null", True: "true", False: "false"}[value]
    if depth == MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
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
