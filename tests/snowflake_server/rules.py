"""What Snowflake says no to, and what it makes of JSON: pure functions, without a database."""

from __future__ import annotations

import decimal
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

FAMILIES = {
    "NUMBER": ("NUMBER", "DECIMAL", "NUMERIC", "INT", "INTEGER", "BIGINT", "SMALLINT", "TINYINT"),
    "VARCHAR": ("VARCHAR", "TEXT", "STRING", "CHAR"),
    "FLOAT": ("FLOAT", "DOUBLE", "REAL"),
    "BINARY": ("BINARY", "VARBINARY"),
}
FAMILY = {name: family for family, names in FAMILIES.items() for name in names}
DEFAULT_SIZES = {"NUMBER": (38, 0), "VARCHAR": (16777216,), "BINARY": (8388608,)}
PARQUET_OPTIONS = {"TYPE", "COMPRESSION", "BINARY_AS_TEXT", "USE_LOGICAL_TYPE", "USE_VECTORIZED_SCANNER", "TRIM_SPACE", "NULL_IF"}
COPY_OPTIONS = {"FILE_FORMAT", "ON_ERROR", "PURGE", "FORCE", "MATCH_BY_COLUMN_NAME"}
MAX_DIGITS = 38  # of a number in a VARIANT; others become binary
_EXACT = decimal.Context(prec=10_000, Emax=10_000_000, Emin=-10_000_000)


def type_of(spelt: str) -> tuple[str, tuple[int, ...]]:
    """Return ("NUMBER", (38, 0)) for `INTEGER`, ("VARCHAR", (10,)) for `TEXT(10)`."""
    found = re.match(r"([A-Z_]+)\s*(?:\(([\d,\s]+)\))?", spelt.strip().upper())
    assert found, spelt
    family = FAMILY.get(found[1], found[1])
    sizes = tuple(map(int, found[2].split(","))) if found[2] else DEFAULT_SIZES.get(family, ())
    return family, sizes if family != "NUMBER" or len(sizes) == 2 else (*sizes, 0)


def refuses_change(found: str, wanted: str) -> str | None:
    """Return why ALTER COLUMN does not change a type into another one, None where it does."""
    (old, old_sizes), (new, new_sizes) = type_of(found), type_of(wanted)
    if old != new:
        return ""
    if old in ("VARCHAR", "BINARY") and new_sizes < old_sizes:
        return f" because reducing the byte-length of a {old.lower()} is not supported"
    if old == "NUMBER" and new_sizes[1] != old_sizes[1]:
        return " because changing the scale is not supported"
    if old not in ("VARCHAR", "BINARY", "NUMBER") and new_sizes != old_sizes:
        return ""
    return None


def variant(text: str, duplicates: str) -> str:
    """Return what PARSE_JSON keeps of a text: numbers beyond 38 digits become binary, zeros at the end go.

    Raises:
        ValueError: it is no JSON, or has a name twice and *duplicates* is not `d`.
    """
    return _text(json.loads(text, parse_float=Decimal, object_pairs_hook=_object(duplicates)))


def _object(duplicates: str) -> Any:
    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs) and duplicates != "d":
            raise ValueError("duplicate object attribute")
        return dict(sorted(found.items()))

    return made


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{_text(name)}:{_text(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        return json.dumps(value, ensure_ascii=False)
    sign, digits, exponent = Decimal(value).normalize(_EXACT).as_tuple()
    assert isinstance(exponent, int)
    whole, fraction = max(len(digits) + exponent, 0), max(-exponent, 0)
    if whole + fraction > MAX_DIGITS or fraction > MAX_DIGITS - 1:
        return repr(float(value))
    return f"{Decimal((sign, digits, exponent)):f}"


def copy_faults(options: dict[str, Any]) -> list[str]:
    """Return the options of a COPY that Snowflake does not know for Parquet, and the one whose default changes a text."""
    faults = [name for name in options if name not in COPY_OPTIONS]
    given = options.get("FILE_FORMAT", ())
    return [*faults, *(name for name in given if name not in PARQUET_OPTIONS), *({"NULL_IF"} - set(given))]



def refused_text(file: Path, refused: Mapping[str, bool]) -> str | None:
    """Return what COPY says of the first text in a file that tests want *refused*; whether it says where is theirs to say."""
    rows = pq.read_table(file)
    for position, name in enumerate(rows.schema.names, 1):
        for row, text in enumerate(rows.column(name).to_pylist(), 1):
            if text in refused:
                where = f"  File '{file.parent.name}/{file.name}', row {row}\n  Row {row}, column \"STAGED\"[\"{name}\":{position}]\n"
                advice = "  If you would like to continue loading when an error is encountered, use other values such as 'SKIP_FILE'"
                return f'Failed to cast variant value "{text}" to FIXED\n{where + advice if refused[text] else ""}'
    return None
