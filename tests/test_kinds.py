"""What a kind is called, how it travels, and what it may become without losing anything."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pytest

from target_meltano import kinds
from target_meltano.kinds import (
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    JSON,
    NUMBER,
    SIMPLE,
    STRING,
    TIME,
    TIMESTAMP,
    Kind,
    decimal,
)

KINDS = (*SIMPLE, decimal(38, 0), decimal(10, 2))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        *((kind.name, kind) for kind in SIMPLE),
        ("Decimal( 38 , 9 )", decimal(38, 9)),
        ("decimal(5)", decimal(5, 0)),
        (" STRING ", STRING),
    ],
)
def test_parse(text: str, wanted: Kind) -> None:
    assert kinds.parse(text) == wanted


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_kind_reads_as_it_is_written(kind: Kind) -> None:
    assert kinds.parse(str(kind)) == kind


@pytest.mark.parametrize(
    "text", ["", "text", "decimal", "decimal()", "decimal(2,3)", "decimal(0,0)", "decimal(-1,0)", "integer(3)"]
)
def test_what_is_no_kind_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="wanted"):
        kinds.parse(text)


# Row: what a column is. Mark: what it may become; "?" only after a look at the data.
UP = """
              boolean integer number double string date time timestamp binary json (38,0) (10,2)
boolean          .       .      .      .      x     .    .       .        .     x     .      .
integer          .       .      x      ?      x     .    .       .        .     x     x      .
number           .       .      .      ?      x     .    .       .        .     x     .      .
double           .       .      .      .      x     .    .       .        .     x     .      .
string           .       .      .      .      .     .    .       .        .     x     .      .
date             .       .      .      .      x     .    .       x        .     x     .      .
time             .       .      .      .      x     .    .       .        .     x     .      .
timestamp        .       .      .      .      x     .    .       .        .     x     .      .
binary           .       .      .      .      .     .    .       .        .     .     .      .
json             .       .      .      .      .     .    .       .        .     .     .      .
decimal(38,0)    .       .      x      ?      x     .    .       .        .     x     x      .
decimal(10,2)    .       .      x      ?      x     .    .       .        .     x     .      x
"""
ORDER = (BOOLEAN, INTEGER, NUMBER, DOUBLE, STRING, DATE, TIME, TIMESTAMP, BINARY, JSON, decimal(38, 0), decimal(10, 2))
MARKS = [line.split()[1:] for line in UP.strip().splitlines()[1:]]
CASES = [(ORDER[i], ORDER[j], MARKS[i][j]) for i, j in itertools.product(range(len(ORDER)), repeat=2)]


@pytest.mark.parametrize(("found", "wanted", "mark"), CASES, ids=[f"{found}-{wanted}" for found, wanted, _ in CASES])
def test_what_may_become_what(found: Kind, wanted: Kind, mark: str) -> None:
    assert (kinds.can_become(found, wanted), kinds.may_lose(found, wanted)) == (mark != ".", mark == "?")


@pytest.mark.parametrize(
    ("found", "wanted", "may"),
    [
        (decimal(10, 2), decimal(11, 2), True),
        (decimal(10, 2), decimal(11, 3), True),
        (decimal(10, 2), decimal(10, 3), False),
        (decimal(10, 2), decimal(38, 1), False),
        (INTEGER, decimal(19, 0), True),
        (INTEGER, decimal(18, 0), False),
        (INTEGER, decimal(38, 19), True),
        (INTEGER, decimal(38, 20), False),
    ],
    ids=str,
)
def test_a_decimal_needs_as_many_digits_on_both_sides(found: Kind, wanted: Kind, may: bool) -> None:
    assert kinds.can_become(found, wanted) is may


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_exact_numbers_and_json_travel_as_text(kind: Kind) -> None:
    is_text = kind.name in {"number", "decimal", "string", "json"}
    assert (kinds.arrow_type(kind) == pa.string()) is is_text


def test_times_travel_in_utc_to_the_microsecond() -> None:
    wanted = [pa.timestamp("us", "UTC"), pa.time64("us"), pa.date32()]
    assert [kinds.arrow_type(kind) for kind in (TIMESTAMP, TIME, DATE)] == wanted
