"""Exact numbers arrive in PostgreSQL digit by digit, or are refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from on_copy import batch_of, cells, load, parts, plain, tokens

from target_meltano import kinds
from target_meltano.kinds import INTEGER, Kind, decimal
from target_meltano_postgres import copy
from target_meltano_postgres.copy import NumberError, encode, numeric

pytestmark = pytest.mark.usefixtures("way")
unshared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def load_numbers(connected: Any, tokens: Sequence[str | None], kind: Kind) -> list[Any]:
    return [text for (text,) in load(connected, batch_of((kind, tokens)), kind, select="c0::text")]


NUMBERS = {
    "0": "0",
    "-0": "0",
    "-0.0": "0.0",
    "0.00": "0.00",
    "0e5": "0",
    "0e-5": "0.00000",
    "0e999999999999999999999": "0",
    "19.90": "19.90",
    "-19.9": "-19.9",
    "0.1": "0.1",
    "0.0001": "0.0001",
    "0.00010": "0.00010",
    "10000": "10000",
    "10000.00001": "10000.00001",
    "9999.9999": "9999.9999",
    "1e2": "100",
    "1E+2": "100",
    "1.50e1": "15.0",
    "1e0000000000000000000002": "100",
    "-12.5e-3": "-0.0125",
    "5e-324": "0." + "0" * 323 + "5",
    "1.7976931348623157e308": "17976931348623157" + "0" * 292,
    "0.30000000000000004": "0.30000000000000004",
    "9999999999999999999": "9999999999999999999",
    "0.9999999999999999999": "0.9999999999999999999",
    "18446744073709551615": "18446744073709551615",
    "99999999999999999999": "99999999999999999999",
    "123456789012345678901234567890.5": "123456789012345678901234567890.5",
    "1e131071": "1" + "0" * 131071,
    "9" * 131072: "9" * 131072,
    "1e-16383": "0." + "0" * 16382 + "1",
    "0." + "9" * 16383: "0." + "9" * 16383,
    "10e-16384": "0." + "0" * 16382 + "1",
    "NaN": "NaN",
    "Infinity": "Infinity",
    "-Infinity": "-Infinity",
}


def test_numbers_keep_their_digits(connected: Any) -> None:
    assert load_numbers(connected, [None, *NUMBERS], kinds.NUMBER) == [None, *NUMBERS.values()]


@pytest.mark.parametrize("token", NUMBERS, ids=[token[:40] for token in NUMBERS])
def test_number_alone_in_its_batch(connected: Any, token: str) -> None:
    """The width that all numbers of a batch share suits each of them."""
    assert load_numbers(connected, [token], kinds.NUMBER) == [NUMBERS[token]]


@unshared
@given(st.lists(st.none() | tokens, max_size=50))
def test_any_numbers_keep_their_digits(connected: Any, values: list[str | None]) -> None:
    wanted = [None if token is None else plain(token) for token in values]
    assert load_numbers(connected, values, kinds.NUMBER) == wanted


@given(st.lists(st.none() | tokens), st.integers(0, 3))
def test_numbers_made_at_once_are_those_made_alone(values: list[str | None], skip: int) -> None:
    array = pa.array(values, pa.string()).slice(skip)
    alone = [t and parts(copy._alone(t.encode(), 0, 131072, 16383)) for t in values[skip:]]
    assert [x and parts(x) for x in numeric(array).to_pylist()] == alone


@pytest.mark.parametrize(
    "token",
    ["0", "19.90", "-999999999.99", "9223372036854775807", "0.30000000000000004", "0.0" + "9" * 18],
)
def test_common_numbers_are_not_made_alone(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "_alone", None)
    ((found,),) = cells(b"".join(encode(batch_of((kinds.NUMBER, [token])), [kinds.NUMBER])), [kinds.NUMBER])
    assert found[0] == Fraction(token)


NOT_NUMBERS = [
    "", " ", " 1", "1 ", "1\n", "+1", "-", "--1", "-+1", "1-", "1-2", ".", ".5", "5.", "-.5", "1..2",
    "1.2.3", "1.-2", "-1.2-", "00", "01", "-01", "01.5", "1_000", "1,5", "0x1", "0x10", "1e", "1e+",
    "e1", "1e1.5", "1e1e1", "NaNs", "nan", "-NaN", "+Infinity", "-inf", "null", "true", "١", "1١", "½", "1\x00",
    "9" * 30 + "x", "1e99999x",
]  # fmt: skip


@pytest.mark.parametrize("token", NOT_NUMBERS, ids=repr)
@pytest.mark.parametrize("last", [True, False], ids=["last", "followed"])
def test_what_is_no_number_is_refused(token: str, last: bool) -> None:
    values = ["1.5", None, token] if last else ["1.5", None, token, "-2.5"]
    batch = batch_of((INTEGER, range(len(values))), (kinds.NUMBER, values))
    with pytest.raises(NumberError, match="wanted a JSON number") as error:
        encode(batch, [INTEGER, kinds.NUMBER])
    assert (error.value.row, error.value.column) == (2, 1)


GRAMMAR = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


@given(st.text("0123456789.-+eE _x", max_size=12).filter(lambda text: not GRAMMAR.fullmatch(text)))
def test_no_other_text_is_taken_for_a_number(text: str) -> None:
    """What is between two numbers does not become one by what stands before and after it."""
    with pytest.raises(NumberError) as error:
        encode(batch_of((kinds.NUMBER, ["-1.5", text, "-2"])), [kinds.NUMBER])
    assert error.value.row == 1


@pytest.mark.parametrize(
    ("kind", "token"),
    [
        (kinds.NUMBER, "1e131072"),
        (kinds.NUMBER, "1" + "0" * 131072),
        (kinds.NUMBER, "1e-16384"),
        (kinds.NUMBER, "0." + "0" * 16383 + "1"),
        (kinds.NUMBER, "1e99999999999999999999999"),
        (kinds.NUMBER, "-1e-99999999999999999999999"),
        (decimal(5, 2), "1.005"),
        (decimal(5, 2), "1e-3"),
        (decimal(5, 2), "1000"),
        (decimal(5, 2), "-1e3"),
        (decimal(2, 2), "1.00"),
        (decimal(5, 0), "1.5"),
    ],
    ids=lambda x: str(x)[:30],
)
def test_what_its_column_cannot_hold_is_refused(kind: Kind, token: str) -> None:
    """PostgreSQL would round a number with too many places without a word."""
    with pytest.raises(NumberError, match="digits before the point") as error:
        encode(batch_of((kind, ["0", token])), [kind])
    assert error.value.row == 1


def test_the_first_row_that_is_refused_is_told() -> None:
    batch = batch_of((kinds.NUMBER, ["1", "1", "1e200000"]), (kinds.NUMBER, ["1e200000", "1", "1"]))
    with pytest.raises(NumberError) as error:
        encode(batch, [kinds.NUMBER] * 2)
    assert (error.value.row, error.value.column) == (0, 1)


def test_decimals_have_the_places_of_their_column(connected: Any) -> None:
    values = ["999.99", "-1", "1.500", "1.50000000000000000000", "1e-2", "0e-9", None]
    wanted = ["999.99", "-1.00", "1.50", "1.50", "0.01", "0.00", None]
    assert load_numbers(connected, values, decimal(5, 2)) == wanted
    assert load_numbers(connected, ["0.5", "-0.05"], decimal(2, 2)) == ["0.50", "-0.05"]


def test_numbers_take_no_more_room_than_their_own(connected: Any) -> None:
    """The zero groups that make all numbers as wide as the widest are not stored."""
    values = ["19.90", "0", "-0.00", "10000", "123456789012345.678", "1e20"]
    batch = batch_of((kinds.NUMBER, values), (kinds.STRING, values))
    select = "pg_column_size(c0 + 0), pg_column_size(c1::numeric)"
    rows = load(connected, batch, kinds.NUMBER, kinds.STRING, select=select)
    assert all(found == wanted for found, wanted in rows)
