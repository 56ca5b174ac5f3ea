"""What fits into Snowflake's types goes into files as it is; what does not is refused with its row."""

from __future__ import annotations

import datetime as dt
from decimal import Context, Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_meltano import Column, Kind, RowError, Table
from target_meltano.kinds import BINARY, DATE, INTEGER, JSON, NUMBER, STRING, TIME, TIMESTAMP, arrow_type
from target_meltano_snowflake.encode import encode, expression
from target_meltano_snowflake.upgrades import conversion, is_in_place, loses

TYPES = {"number": "FLOAT", "json": "VARIANT", "string": "VARCHAR", "integer": "NUMBER(38,0)", "date": "DATE", "time": "TIME", "timestamp": "TIMESTAMP_TZ", "binary": "BINARY"}


def encoded(kind: Kind, cells: list[Any], spelt: str | None = None) -> list[Any]:
    table = Table("S", "T", (Column("A", kind),))
    batch = pa.RecordBatch.from_arrays([pa.array(cells, arrow_type(kind))], ["A"])
    found = encode(table, batch, lambda column: spelt or TYPES[column.kind.name], 7)
    assert found.schema.names == ["C0", "N"]
    assert found.column(1).to_pylist() == list(range(7, 7 + len(cells)))
    return list(found.column(0).to_pylist())


@pytest.mark.parametrize(
    ("kind", "cell", "wanted"),
    [
        (INTEGER, -(2**63), -(2**63)),
        (DATE, dt.date(44, 3, 15), "0044-03-15"),
        (TIME, dt.time(23, 59, 59, 999_999), "23:59:59.999999"),
        (TIMESTAMP, dt.datetime(1969, 12, 31, 23, 59, 59, tzinfo=dt.timezone.utc), -1_000_000),
        (BINARY, b"\0\xff", "00ff"),
        (STRING, "é\n", "é\n"),
        (JSON, '{"a":1.10}', '{"a":1.10}'),
    ],
)
def test_cells_as_they_are_in_files(kind: Kind, cell: Any, wanted: Any) -> None:
    assert encoded(kind, [cell, None]) == [wanted, None]


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_number_is_a_float_that_is_equal_to_it_or_is_refused(number: Decimal) -> None:
    text = str(number)
    try:
        (value,) = encoded(NUMBER, [text])
    except RowError:
        assert Decimal(repr(float(text))) != number
    else:
        assert Decimal(repr(value)) == number


@given(st.integers(1, 38), st.data())
def test_a_number_fits_a_decimal_exactly_or_is_refused(precision: int, data: st.DataObject) -> None:
    scale = data.draw(st.integers(0, min(precision, 37)))
    number = data.draw(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40))
    whole = abs(number).scaleb(scale, context=Context(prec=1000))
    fits = whole == whole.to_integral_value() and whole < 10**precision
    try:
        (text,) = encoded(Kind("decimal", precision, scale), [str(number)], f"NUMBER({precision},{scale})")
    except RowError:
        assert not fits
    else:
        assert fits
        assert Decimal(text) == number
        assert "E" not in text.upper()


@pytest.mark.parametrize("text", ["[1e400]", "[12345678901234567.5e0]", "[" + "7" * 5000 + "]",  '{"a":[12345678901234567890.12345678901234567890]}', "1e-400", "[1" + "0" * 38 + "1]"])
def test_json_with_a_number_that_variant_would_change_is_refused(text: str) -> None:
    with pytest.raises(RowError, match="VARIANT would change") as told:
        encoded(JSON, ["[1]", text])
    assert told.value.row == 1


@pytest.mark.parametrize("text", ['"12345678901234567890123456789012345678901e5"', "[1e5]", "1.5e-3", "[" + "9" * 38 + "]", "null"])
def test_other_json_is_not(text: str) -> None:
    assert encoded(JSON, [text]) == [text]


@pytest.mark.parametrize(("text", "spelt", "wanted"), [("1e3", "decfloat(38)", "1E+3"), ("1.50", "DECFLOAT", "1.5"), ("1e3", "NUMBER(38,0)", "1000"), ("0.00", "NUMBER(2,1)", "0")])
def test_numbers_as_text(text: str, spelt: str, wanted: str) -> None:
    assert encoded(NUMBER, [text], spelt) == [wanted]


def test_decfloat_has_38_digits() -> None:
    assert encoded(NUMBER, ["9" * 38], "DECFLOAT") == ["9" * 38]
    with pytest.raises(RowError, match="more than 38 digits"):
        encoded(NUMBER, ["0.1", "9" * 39], "DECFLOAT")


@pytest.mark.parametrize("spelt", ["FLOAT", "DECFLOAT", "NUMBER(38,9)", "NUMBER(38,0)", "VARIANT"])
@pytest.mark.parametrize("power", ["9" * 20, "-" + "9" * 20, "1" + "0" * 40])
def test_an_exponent_of_any_length_is_judged(spelt: str, power: str) -> None:
    kind = JSON if spelt == "VARIANT" else NUMBER
    with pytest.raises(RowError) as told:
        encoded(kind, ["1", f"1e{power}"], spelt)
    assert told.value.row == 1
    (zero,) = encoded(kind, [f"0e{power}"], spelt)
    assert spelt == "VARIANT" or float(zero) == 0


def test_no_number_is_too_long_to_be_looked_at_whole() -> None:
    with pytest.raises(RowError, match="more than 38 digits"):
        encoded(NUMBER, ["1" + "0" * 12_000 + "1"], "DECFLOAT")


def test_text_longer_than_a_varchar_is_refused() -> None:
    assert encoded(STRING, ["x" * (16 << 20)])
    with pytest.raises(RowError, match="16,777,217") as told:
        encoded(STRING, ["", "é" * (8 << 20) + "x"])
    assert told.value.row == 1


def test_the_first_row_counts_whatever_its_column() -> None:
    table = Table("S", "T", (Column("A", NUMBER), Column("B", NUMBER)))
    bad = "0.1234567890123456789"
    batch = pa.RecordBatch.from_pydict({"A": ["1", "2", bad], "B": ["1", bad, "3"]})
    with pytest.raises(RowError, match="column 'B'") as told:
        encode(table, batch, lambda column: "FLOAT", 0)
    assert told.value.row == 1


@pytest.mark.parametrize(
    ("spelt", "wanted"),
    [
        ("timestamp_ntz(9)", 'TO_TIMESTAMP_NTZ($1:"C3"::NUMBER(38,0), 6)'),
        ("TIMESTAMP_LTZ(9)", 'TO_TIMESTAMP_NTZ($1:"C3"::NUMBER(38,0), 6)::TIMESTAMP_LTZ'),
        ("varchar(16777216)", '$1:"C3"::VARCHAR'),
        ("number(38,9)", '$1:"C3"::VARCHAR::NUMBER(38,9)'),
        ("number(38,0)", '$1:"C3"::NUMBER(38,0)'),
        ("time(9)", '$1:"C3"::VARCHAR::TIME'),
    ],
)
def test_cells_as_they_come_out_of_files(spelt: str, wanted: str) -> None:
    assert expression(3, spelt) == wanted


# --- changes of types: what Snowflake's documentation says it does in place, and nothing else


@pytest.mark.parametrize(
    ("found", "wanted", "in_place"),
    [
        ("VARCHAR(10)", "VARCHAR", True),
        ("NUMBER(10,2)", "NUMBER(38,2)", True),
        ("NUMBER(38,0)", "NUMBER(38,9)", False),
        ("NUMBER(38,2)", "NUMBER(10,2)", False),
        ("NUMBER(38,0)", "FLOAT", False),
        ("FLOAT", "VARCHAR", False),
        ("DATE", "TIMESTAMP_TZ", False),
        ("TIMESTAMP_NTZ(9)", "TIMESTAMP_TZ", False),
        ("VARCHAR(16777216)", "VARIANT", False),
    ],
)
def test_what_is_changed_in_place(found: str, wanted: str, in_place: bool) -> None:
    assert is_in_place(found, wanted) is in_place


def test_conversions_that_may_lose_are_checked() -> None:
    assert conversion('"C"', "NUMBER(38,0)", "FLOAT") == '"C"::FLOAT'
    assert loses('"C"', "NUMBER(38,0)", "FLOAT")
    assert loses('"C"', "NUMBER(38,0)", "NUMBER(38,9)") == 'ABS("C") >= 1' + "0" * 29
    assert loses('"C"', "FLOAT", "VARCHAR") == 'TO_VARCHAR("C")::FLOAT <> "C"'
    assert loses('"C"', "TIME(9)", "VARCHAR") == '"C"::TIME(6) <> "C"'
    assert loses('"C"', "TIME(6)", "VARCHAR") is None
    assert loses('"C"', "BOOLEAN", "VARCHAR") is None
    assert conversion('"C"', "FLOAT", "DECFLOAT") == 'TO_VARCHAR("C")::DECFLOAT'
    assert loses('"C"', "FLOAT", "DECFLOAT")
