"""Types of Snowflake: what kinds of columns there are, and what a column that is there holds of them."""

from __future__ import annotations

from collections.abc import Mapping

from target_meltano import (
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    INTEGER_DIGITS,
    JSON,
    NUMBER,
    STRING,
    TIME,
    TIMESTAMP,
    FoundColumn,
    Kind,
    Limit,
)

from .encode import MAX_DIGITS, MAX_SCALE
from .session import number_kind
from .upgrades import base_of

READS: Mapping[str, Kind] = {
    "boolean": BOOLEAN,
    "float": NUMBER,
    "decfloat": NUMBER,
    "varchar": STRING,
    "date": DATE,
    "time": TIME,
    "timestamp_tz": TIMESTAMP,
    "timestamp_ltz": TIMESTAMP,
    "binary": BINARY,
    "variant": JSON,
}
WHOLE = tuple(Kind("decimal", digits, 0) for digits in range(1, MAX_DIGITS + 1))
MAX_SIZES = {"VARCHAR": 16777216, "BINARY": 8388608}
MICROSECONDS = 6  # digits that a time needs
_STAYS = {  # by the setting `number`: with which it need not change
    "DECFLOAT": {"double": "with the setting `number: decfloat` it stays, with all its digits"},
    "FLOAT": {"decfloat": "with the setting `number: exact` it stays, with NaN and infinities"},
}
_NAIVE = "with `naive_timestamps: utc` its times are UTC, with `timestamps: ntz` those of all columns that we make; else "


def column_kind(kind: Kind, number: str) -> Kind:
    """Return the kind that a column for *kind* has: numbers are what the setting *number* says, no type has more than 38 digits."""
    if kind in (NUMBER, DOUBLE):
        return DOUBLE if number == "double" or kind == DOUBLE else number_kind(number) or NUMBER
    if kind.precision is None or (kind.precision <= MAX_DIGITS and (kind.scale or 0) <= MAX_SCALE):
        return kind
    other, scale = column_kind(NUMBER, number), kind.scale or 0
    if scale > MAX_SCALE or number == "decfloat":  # which has 38 digits, too, wherever the point is
        return other
    whole = INTEGER_DIGITS if other.precision is None else min(INTEGER_DIGITS, other.precision - (other.scale or 0))
    has_room = MAX_DIGITS - scale >= min(kind.precision - scale, whole)
    return Kind("decimal", MAX_DIGITS, scale) if has_room else other


def found_column(name: str, spelt: str, number: str, reads_naive: bool) -> FoundColumn:
    """Return a column of the type *spelt*, where numbers are what the setting *number* says, and times without zone may be UTC."""
    base, sizes = base_of(spelt)
    kind = READS.get(base.lower())
    if base == "NUMBER" and len(sizes) == 2:
        return _number(name, spelt, *sizes, number)
    if base in _STAYS:  # a FLOAT holds numbers that it keeps, and rounded ones
        narrow, also = (number == "decfloat", (DOUBLE,)) if base == "FLOAT" else (False, ())
        return FoundColumn(name, kind, spelt, narrow=narrow, also=also, remedy=_STAYS[base].get(number, ""))
    if base == "TIMESTAMP_NTZ":
        if not reads_naive:
            return FoundColumn(name, None, spelt, remedy=_NAIVE)
        kind = TIMESTAMP
    limit = _limit(base, sizes)
    return FoundColumn(name, kind, spelt, narrow=limit is not None, limit=limit)


def _number(name: str, spelt: str, precision: int, scale: int, number: str) -> FoundColumn:
    """NUMBER(38,0) holds integers of 64 bits and larger ones."""
    if (precision, scale) == (MAX_DIGITS, 0):
        return FoundColumn(name, INTEGER, spelt, also=WHOLE, rescales=True)
    kind = Kind("decimal", precision, scale)
    if not scale:
        also = (INTEGER,) if precision >= INTEGER_DIGITS else ()
        return FoundColumn(name, kind, spelt, also=also, widens=(INTEGER,), rescales=True)
    # A FLOAT has other values than numbers with places behind the point: only who asks for it gets it.
    stays = () if number in ("double", "decfloat") else (NUMBER,)
    return FoundColumn(name, kind, spelt, rescales=True, stays=stays)


def _limit(base: str, sizes: tuple[int, ...]) -> Limit | None:
    """Return what a type with a length holds, None where that is all."""
    if base in MAX_SIZES and sizes and sizes[0] < MAX_SIZES[base]:
        return Limit("characters" if base == "VARCHAR" else "bytes", sizes[0])
    if base.startswith("TIME") and sizes and sizes[0] < MICROSECONDS:
        return Limit("digits of a second", sizes[0])
    return None
