"""The kinds of columns: what a JSON Schema property can become, before any database's own types.

A kind knows how its values travel (the Arrow type of a batch's column) and which kinds it may
become when a stream's schema changes. What a database calls it is the dialect's business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Kind:
    """A kind of column. *precision* and *scale* are decimal digits and only DECIMAL has them."""

    name: str
    precision: int | None = None
    scale: int | None = None

    def __str__(self) -> str:
        if self.precision is None:
            return self.name
        return f"{self.name}({self.precision},{self.scale})"


BOOLEAN = Kind("boolean")
INTEGER = Kind("integer")  # 64 bits, signed
NUMBER = Kind("number")  # exact, with its own digits
DOUBLE = Kind("double")  # IEEE 754 binary64, asked for by a setting
STRING = Kind("string")
DATE = Kind("date")
TIME = Kind("time")  # UTC, microseconds
TIMESTAMP = Kind("timestamp")  # UTC, microseconds
BINARY = Kind("binary")
JSON = Kind("json")

SIMPLE = (BOOLEAN, INTEGER, NUMBER, DOUBLE, STRING, DATE, TIME, TIMESTAMP, BINARY, JSON)
INTEGER_DIGITS = 19  # of the largest 64-bit integer


def decimal(precision: int = 38, scale: int = 0) -> Kind:
    """Return the kind of exact numbers with *precision* digits, *scale* of them fractional."""
    if not 0 <= scale <= precision or precision < 1:
        raise ValueError(f"decimal({precision},{scale}): wanted 1 <= precision, 0 <= scale <= precision")
    return Kind("decimal", precision, scale)


def parse(text: str) -> Kind:
    """Return the kind called *text*, as in the setting `column_types`: `string`, `decimal(38,9)`.

    Raises:
        ValueError: naming the kinds there are.
    """
    found = re.fullmatch(r"decimal\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)", text.strip().lower())
    if found:
        return decimal(int(found[1]), int(found[2] or 0))
    for kind in SIMPLE:
        if kind.name == text.strip().lower():
            return kind
    names = ", ".join(kind.name for kind in SIMPLE)
    raise ValueError(f"{text!r} is no kind of column, wanted one of {names}, decimal(p,s)")


# What each kind may become, losing nothing; DECIMAL is compared by its digits as well.
_UP: dict[str, frozenset[str]] = {
    "boolean": frozenset({"string", "json"}),
    "integer": frozenset({"decimal", "number", "double", "string", "json"}),
    "decimal": frozenset({"decimal", "number", "double", "string", "json"}),
    "number": frozenset({"double", "string", "json"}),
    "double": frozenset({"string", "json"}),
    "date": frozenset({"timestamp", "string", "json"}),
    "time": frozenset({"string", "json"}),
    "timestamp": frozenset({"string", "json"}),
    "string": frozenset({"json"}),
    "binary": frozenset(),
    "json": frozenset(),
}


def can_become(found: Kind, wanted: Kind) -> bool:
    """Tell whether values of *found* are also values of *wanted*: all, or those that are (`may_lose`)."""
    if wanted.name not in _UP[found.name]:
        return False
    if wanted.precision is None or wanted.scale is None:
        return True
    digits = INTEGER_DIGITS if found.precision is None else found.precision - (found.scale or 0)
    return wanted.scale >= (found.scale or 0) and wanted.precision - wanted.scale >= digits


def has_more_places(found: Kind, wanted: Kind) -> bool:
    """Tell whether *wanted* has more digits behind the point, so that it may have fewer before it: the data decides."""
    return wanted.scale is not None and found.name in ("integer", "decimal") and wanted.scale > (found.scale or 0)


def may_lose(found: Kind, wanted: Kind) -> bool:
    """Tell whether the change is allowed only after the data was checked: exact to binary."""
    return wanted == DOUBLE and found.name in {"integer", "decimal", "number"}


def arrow_type(kind: Kind) -> pa.DataType:
    """Return the Arrow type in which values of *kind* travel.

    Exact numbers travel as text, in the JSON grammar of numbers and with their own digits: no
    Arrow decimal has a scale per value. JSON travels as JSON text.
    """
    import pyarrow as pa  # slow to import, and the command line needs only the names above

    types: dict[str, pa.DataType] = {
        "boolean": pa.bool_(),
        "integer": pa.int64(),
        "double": pa.float64(),
        "date": pa.date32(),
        "time": pa.time64("us"),
        "timestamp": pa.timestamp("us", "UTC"),
        "binary": pa.binary(),
    }
    return types.get(kind.name, pa.string())
