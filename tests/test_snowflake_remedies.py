"""Numbers and columns: a type has room for what its schema allows, and beside each column of numbers each number
is loaded, or refused with remedies that load it.

Without a server: what becomes of a column is decided before one is asked, and what a column holds is known when
rows are encoded. tests/test_snowflake_numbers.py does some of it on the stand-in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_meltano import DOUBLE, INTEGER, INTEGER_DIGITS, STRING, Column, RowError, Table, UpgradeError, make
from target_meltano.diff import ChangeType, Found, diff, kept_kinds
from target_meltano.kinds import arrow_type
from target_meltano.messages import Schema
from target_meltano.samples import INT, NUM
from target_meltano.tables import policy
from target_meltano.wanting import wanted
from target_meltano_snowflake import SnowflakeDialect, SnowflakeSettings
from target_meltano_snowflake.encode import encode

WHERE = {"schema": "S", "account": "a", "user": "u", "password": "p", "database": "D", "timestamp_column": "id"}
FOUND = ["NUMBER(5,2)", "NUMBER(10,2)", "NUMBER(38,2)", "NUMBER(38,20)", "NUMBER(10,0)", "NUMBER(19,0)", "NUMBER(30,0)", "NUMBER(38,0)", "FLOAT", "DECFLOAT(38)"]


def decimal(precision: int, scale: int) -> dict[str, Any]:
    return {"type": ["string", "null"], "format": "x-singer.decimal", "precision": precision, "scale": scale}


# A property, and values that its schema allows.
WANTED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "integer": (INT, ["7", str(2**63 - 1)]),
    "large integer": ({"type": "integer", "maximum": 10**30}, ["7", str(10**30)]),
    "number": (NUM, ["7", "0.125", "123456789.5", "12345678901234567.5", "1e40", "0.1234567890123456789012345678901234567891"]),
    "thousandths": ({"type": "number", "multipleOf": Decimal("0.001")}, ["1.125", "123456789012.345"]),
    "numeric without precision": ({"type": "number", "multipleOf": Decimal("1e-38"), "minimum": -(10**62), "maximum": 10**62}, ["0.125", "123456789.5", "1e40"]),
    "decimal(12,4)": (decimal(12, 4), ["12345678.1234"]),
    "decimal(10,0)": (decimal(10, 0), ["1234567890"]),
    "decimal(45,5)": (decimal(45, 5), ["1.12345", "123456789012345678.5"]),
}
NUMBERS = ["exact", "double", "decfloat", "decimal(38,9)", "decimal(20,4)"]
KEEPS = ["widen", "keep"]  # narrow_columns


def table_of(here: SnowflakeDialect, property_: dict[str, Any]) -> Table:
    message = Schema("t", {"type": "object", "properties": {"id": INT, "v": property_}}, ("id",))
    return wanted(message, here.settings, here).table


def made(property_: dict[str, Any], **settings: Any) -> Column:
    """Return the column of a new table."""
    here = SnowflakeDialect(make(SnowflakeSettings, **WHERE, **settings))
    kind = table_of(here, property_).column("V").kind
    return Column("V", kind, "v", here.type_name(kind))


def followed(spelt: str, property_: dict[str, Any], **settings: Any) -> Column:
    """Return the column *spelt* as it is once the SCHEMA was followed."""
    here = SnowflakeDialect(make(SnowflakeSettings, **WHERE, **settings))
    found = Found({"ID": here.found_column("ID", "NUMBER(38,0)"), "V": here.found_column("V", spelt)}, ("ID",))
    how = policy("t", here.settings, here)
    kept = kept_kinds(table_of(here, property_), found, how)
    changes = diff(kept, found, how)
    assert all(isinstance(change, ChangeType) for change in changes)
    column = kept.column("V")
    return Column("V", column.kind, "v", column.type if not changes else here.type_name(column.kind))


def take(column: Column, value: str) -> None:
    """Check that *column* takes *value*; a text takes any, and a double its nearest."""
    if column.kind in (DOUBLE, STRING):
        return
    cell = int(Decimal(value)) if column.kind == INTEGER else value
    if column.kind == INTEGER and not (-(2**63) <= cell < 2**63 and Decimal(value) == cell):
        raise RowError("no integer of 64 bits", row=0)
    batch = pa.RecordBatch.from_arrays([pa.array([cell], arrow_type(column.kind))], ["V"])
    encode(Table("S", "T", (column,), (), "t"), batch, lambda one: one.type, 0)


def advised(message: str) -> Iterator[dict[str, Any]]:
    """Yield the settings of each way out that a message names."""
    for name, value in re.findall(r"`(\w+): (\w+)`", message):
        yield {name: value}
    for text in re.findall(r"`column_types: (\{[^`]*\})`", message):
        yield {"column_types": json.loads(text)}
    if also := re.search(r'double of each number, with ("\w+") all digits', message):
        yield {"column_types": {"t.v": json.loads(also[1])}}
    widen = {"narrow_columns": "widen"} if "(narrow_columns: widen)" in message else {}
    if found := re.search(r'column_types: ("t\.v": )("[^"]+") (?:holds it|keeps)', message):
        yield {"column_types": json.loads("{" + found[1] + found[2] + "}"), **widen}
    if '"double" its nearest double' in message:
        yield {"column_types": {"t.v": "double"}, **widen}
    if '"number" with the setting number: decfloat' in message:
        yield {"column_types": {"t.v": "number"}, "number": "decfloat", **widen}
    if "the setting number: decfloat keeps 38 digits, " in message:
        yield {"number": "decfloat"}


@pytest.mark.parametrize("narrow", KEEPS)
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("spelt", FOUND)
def test_a_refused_number_is_told_with_remedies_that_load_it(spelt: str, number: str, narrow: str) -> None:
    for property_, values in WANTED.values():
        for value in values:
            _try(spelt, property_, value, {"number": number, "narrow_columns": narrow})


def _try(spelt: str, property_: dict[str, Any], value: str, settings: dict[str, str]) -> None:
    try:
        take(followed(spelt, property_, **settings), value)
    except (UpgradeError, RowError) as refused:
        message = str(refused)
        ways = list(advised(message))
        assert ways, message
        for way in ways:
            try:
                take(followed(spelt, property_, **{**settings, **way}), value)
            except RowError as error:  # only where the column stays as it is: told by the record, with its own ways
                assert "the column stays" in message, (value, message, way)
                for other in advised(str(error)):
                    take(followed(spelt, property_, **{**settings, **way, **other}), value)


@given(st.data(), st.integers(0, 45), st.integers(0, 70), st.sampled_from(["both", "maximum", "minimum", "none"]), st.booleans(), st.sampled_from(NUMBERS))
def test_a_type_has_room_for_what_its_schema_allows(data: Any, scale: int, whole: int, bounds: str, is_open: bool, number: str) -> None:
    """All of it where 38 digits are enough; else what a column of numbers without precision holds.

    Where a bound is missing, up to the largest integer of 64 bits.
    """
    words: dict[str, Any] = {"type": "number", "multipleOf": Decimal(f"1e-{scale}")}
    for bound, sign in (("maximum", 1), ("minimum", -1)):
        if bounds in ("both", bound):  # all numbers with so many digits before the point, and no more
            last = Decimal(sign * 10**whole) if is_open else Decimal(sign * (10**whole - 1))
            words[f"exclusive{bound.capitalize()}" if is_open else bound] = last
    column = made(words, number=number)
    room = whole if bounds == "both" else max(whole, INTEGER_DIGITS) if bounds != "none" else INTEGER_DIGITS
    is_enough = room + scale <= 38 and scale < 38
    if is_enough:
        assert (column.kind.precision, column.kind.scale) == (38, scale)
    most = 38 if is_enough or number == "decfloat" else 15
    reach = room if bounds == "both" else min(room, INTEGER_DIGITS)
    size = data.draw(st.integers(1, most))
    text = str(data.draw(st.integers(10 ** (size - 1), 10**size - 1)))
    power = data.draw(st.integers(-scale, max(-scale, reach - size)))
    if size + power > reach or (size == reach == 0):
        return
    sign = {"maximum": "", "minimum": "-"}.get(bounds, data.draw(st.sampled_from(["", "-"])))
    if is_enough or not number.startswith("decimal"):
        take(column, f"{sign}{text}e{power}")


@given(st.integers(1, 80), st.integers(0, 80), st.sampled_from(NUMBERS))
def test_a_decimal_of_more_than_38_digits_keeps_its_places_or_is_a_number(precision: int, scale: int, number: str) -> None:
    scale = min(scale, precision)
    column = made(decimal(precision, scale), number=number)
    if precision <= 38 and scale < 38:
        assert column.type == f"NUMBER({precision},{scale})"
    elif number == "decfloat":
        assert column.type == "DECFLOAT"
    elif column.type != made(NUM, number=number).type:
        assert (column.kind.precision, column.kind.scale) == (38, scale)
        assert 38 - scale >= min(precision - scale, 16)  # INTEGER_DIGITS, and those of decimal(20,4)
    else:  # no NUMBER with its places holds more of them
        other = column.kind
        assert scale > 37 or other.precision is None or other.precision - (other.scale or 0) >= 38 - scale
