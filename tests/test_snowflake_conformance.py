"""Snowflake passes the suite of all dialects."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Context, Decimal
from typing import Any

import pytest
from on_snowflake import Snowflake

from target_meltano import JSON, NUMBER, Dialect, Kind
from target_meltano.testing import Conformance

WIDE = Context(prec=500)


def is_double(number: Decimal | int) -> bool:
    return Decimal(repr(float(number))) == number


def has_38_digits(number: Decimal | int) -> bool:
    _, digits, exponent = Decimal(number).normalize(WIDE).as_tuple()
    assert isinstance(exponent, int)
    return -exponent <= 37 and max(len(digits) + exponent, 0) + max(-exponent, 0) <= 38


def numbers(value: Any) -> Iterator[Decimal | int]:
    """Yield the numbers in a value of JSON."""
    if isinstance(value, (list, dict)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from numbers(one)
    elif isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        yield value


class TestSnowflake(Conformance):
    keeps_zeros = False

    @pytest.fixture(autouse=True)
    def _database(self, snowflake: Snowflake) -> None:
        self.snowflake = snowflake
        self.exact = True

    def make_dialect(self, **settings: Any) -> Dialect[Any]:
        if "number" in settings:
            self.exact = settings["number"] != "double"
        return self.snowflake.dialect(**settings)

    def holds(self, kind: Kind, value: Any) -> bool:
        """FLOAT holds what comes out of it again; a VARIANT numbers of 38 digits without an exponent, or such of FLOAT."""
        if kind == NUMBER:
            return is_double(value)
        return kind != JSON or all(is_double(number) or (has_38_digits(number) and "E" not in str(number)) for number in numbers(value))

    def rows(self, table: str) -> list[dict[str, Any]]:
        return self.snowflake.rows(table, self.exact)
