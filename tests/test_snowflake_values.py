"""Numbers that few columns of Snowflake hold."""

from __future__ import annotations

import math
from typing import Any

import pytest
from on_snowflake import Snowflake

from target_meltano import RecordError, UpgradeError
from target_meltano.samples import INT, NUM, schema

PRICE = {"type": ["null", "number"], "multipleOf": 1e-38, "minimum": -(10**50), "maximum": 10**50}


def raw(*values: str) -> list[str]:
    return [f'{{"type": "RECORD", "stream": "t", "record": {{"id": {i}, "v": {value}}}}}' for i, value in enumerate(values)]


def by_id(here: Snowflake, exact: bool = True) -> list[dict[str, Any]]:
    return sorted(here.rows("T", exact=exact), key=lambda row: row["ID"])


def test_a_float_may_be_nan_or_infinite(snowflake: Snowflake) -> None:
    snowflake.run(schema("t", id=INT, v=NUM), *raw("NaN", "Infinity", "-Infinity", "1.5"))
    found = [row["V"] for row in by_id(snowflake, exact=False)]
    assert math.isnan(found[0])
    assert found[1:] == [math.inf, -math.inf, 1.5]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [(NUM, {"number": "decfloat"}), (NUM, {"number": "decimal(20,4)"}), ({"type": "number", "multipleOf": 0.01}, {})],
    ids=["decfloat", "decimal", "multipleOf"],
)
def test_no_other_number_may(snowflake: Snowflake, kind: Any, settings: dict[str, str]) -> None:
    for word in ("NaN", "-Infinity"):
        with pytest.raises(RecordError, match=rf'\$\.v: {word} is no value .* "double" holds it'):
            snowflake.run(schema("t", id=INT, v=kind), *raw("1", word), **settings)
    snowflake.run(schema("t", id=INT, v=kind), *raw("1", "NaN"), **settings, column_types={"t.v": "double"})
    snowflake.run(schema("t", id=INT, v=kind), *raw("1", "NaN"), **settings, column_types={"t.v": "double"})
    assert math.isnan(by_id(snowflake, exact=False)[1]["V"])


@pytest.mark.parametrize(("kind", "settings"), [({}, {}), (NUM, {"number": "decfloat"})], ids=["VARIANT", "DECFLOAT"])
@pytest.mark.parametrize("word", ["NaN", "-Infinity"])
def test_what_has_no_digits_forbids_a_change_of_type(snowflake: Snowflake, kind: Any, settings: dict[str, str], word: str) -> None:
    snowflake.run(schema("t", id=INT, v=NUM), *raw("1.5", word))
    with pytest.raises(UpgradeError, match="a value in it would change"):
        snowflake.run(schema("t", id=INT, v=kind), **settings)


@pytest.mark.parametrize("value", ["19.90", "1234567.5", "1e20"])
def test_a_numeric_without_precision_is_a_number(snowflake: Snowflake, value: str) -> None:
    """As taps of PostgreSQL describe it: a NUMBER(38,37) would hold nothing from 10 on."""
    snowflake.run(schema("t", id=INT, v=PRICE), *raw(value, "0.5"))
    assert [row["V"] for row in by_id(snowflake, exact=False)] == [float(value), 0.5]


@pytest.mark.parametrize(
    ("kind", "spelt"),
    [
        ({"multipleOf": 0.01, "maximum": 10**36, "exclusiveMaximum": True}, "NUMBER(38,2)"),
        ({"multipleOf": 0.01, "exclusiveMaximum": 10**36}, "NUMBER(38,2)"),
        ({"multipleOf": 0.01, "maximum": 10**36}, "FLOAT"),
        ({"multipleOf": 0.01, "minimum": -(10**36) - 1}, "FLOAT"),
        ({"multipleOf": 1e-37, "minimum": 0, "maximum": 9}, "NUMBER(38,37)"),
        ({"multipleOf": 1e-37, "maximum": 9}, "FLOAT"),
        ({"multipleOf": 1e-38, "maximum": 0.5}, "FLOAT"),
        ({"multipleOf": 0.01}, "NUMBER(38,2)"),
    ],
    ids=["draft 4", "draft 7", "one digit more", "negative", "37", "one bound", "38", "no bounds"],
)
def test_the_bounds_count(snowflake: Snowflake, kind: Any, spelt: str) -> None:
    snowflake.run(schema("t", id=INT, v={"type": "number", **kind}), *raw("0.25"))
    (found,) = [row[1] for row in snowflake.query(f'DESCRIBE TABLE "{snowflake.schema}"."T"') if row[0] == "V"]
    assert found == spelt


REMEDIES = [
    (NUM, "0.12345678901234567891", {"number": "decfloat"}),
    (NUM, "0.12345678901234567891", {"column_types": {"t.v": "string"}}),
    (PRICE, "12345678901234567890.5", {"number": "decfloat"}),
    (PRICE, "12345678901234567890.5", {"column_types": {"t.v": "string"}}),
    ({"type": "number", "multipleOf": 0.01}, "0.125", {"column_types": {"t.v": "double"}}),
    ({"type": "number", "multipleOf": 0.01}, "0.125", {"column_types": {"t.v": "decimal(38,3)"}}),
    ({"type": "number", "multipleOf": 0.01}, "0.12345678901234567891", {"column_types": {"t.v": "string"}}),
    ({"type": "number", "multipleOf": 0.01}, "0.12345678901234567891", {"column_types": {"t.v": "number"}, "number": "decfloat"}),
    ({"type": "number", "multipleOf": 1e-20}, "1234567890123456789.5", {"column_types": {"t.v": "number"}, "number": "decfloat"}),
    (NUM, "1.00005", {"number": "decfloat"}, {"number": "decimal(20,4)"}),
    (NUM, "1.00005", {"column_types": {"t.v": "decimal(38,5)"}}, {"number": "decimal(20,4)"}),
]


@pytest.mark.parametrize("case", REMEDIES, ids=str)
def test_a_remedy_works_when_it_is_applied(snowflake: Snowflake, case: tuple[Any, ...]) -> None:
    """Also where rows are there already: the table is made before the first record fails."""
    (kind, value, remedy), before = case[:3], case[3] if case[3:] else {}
    with pytest.raises(RecordError, match="line 3") as error:
        snowflake.run(schema("t", id=INT, v=kind), *raw("0.5", value), **before)
    for name, setting in remedy.items():
        assert name in str(error.value)
        assert str(setting if isinstance(setting, str) else next(iter(setting.values()))) in str(error.value)
    snowflake.run(schema("t", id=INT, v=kind), *raw("0.5", value), **remedy)
    assert [str(row["V"]) for row in by_id(snowflake)][1] == value
