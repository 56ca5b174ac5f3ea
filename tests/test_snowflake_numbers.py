"""Numbers on Snowflake: types that have room for what the schema allows, columns of others that stay, and remedies that work."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from on_snowflake import Snowflake

from target_meltano import RecordError, SchemaError, UpgradeError
from target_meltano.samples import INT, NUM, record, schema

TIME = {"type": ["string", "null"], "format": "date-time"}


def number(**words: Any) -> dict[str, Any]:
    return {"type": ["number", "null"], **words}


def made(here: Snowflake, spelt: str, *values: str) -> None:
    here.query(f'CREATE SCHEMA "{here.schema}"')
    here.query(f'CREATE TABLE "{here.schema}"."ORDERS" ("ID" NUMBER(38,0) NOT NULL, "V" {spelt}, PRIMARY KEY ("ID"))')
    for at, value in enumerate(values, 1):
        here.query(f'INSERT INTO "{here.schema}"."ORDERS" VALUES ({at}, {value})')


def spelt_of(here: Snowflake, column: str = "V") -> str:
    return str({row[0]: row[1] for row in here.query(f'DESCRIBE TABLE "{here.schema}"."ORDERS"')}[column])


def values(here: Snowflake) -> list[Any]:
    return [row["V"] for row in sorted(here.rows("ORDERS"), key=lambda row: row["ID"])]


# --- what a schema's words ask for

UNBOUND = {"multipleOf": Decimal("1E-38"), "minimum": -(10**62), "maximum": 10**62}


@pytest.mark.parametrize(
    ("words", "spelt"),
    [
        (UNBOUND, "FLOAT"),  # numeric without precision, as taps of PostgreSQL write it
        ({"multipleOf": Decimal("1E-37")}, "FLOAT"),
        ({"multipleOf": Decimal("1E-20")}, "FLOAT"),
        ({"multipleOf": Decimal("1E-19")}, "NUMBER(38,19)"),
        ({"multipleOf": Decimal("0.01")}, "NUMBER(38,2)"),
        ({"multipleOf": Decimal("0.01"), "maximum": 10**35}, "NUMBER(38,2)"),
        ({"multipleOf": Decimal("0.01"), "maximum": 10**36}, "FLOAT"),
        ({"multipleOf": Decimal("0.01"), "exclusiveMaximum": 10**36}, "NUMBER(38,2)"),
        ({"multipleOf": Decimal("1E-30"), "minimum": -1, "maximum": 1}, "NUMBER(38,30)"),
        ({"multipleOf": Decimal("1E-30"), "maximum": 1}, "FLOAT"),
        ({"multipleOf": Decimal("1E-30"), "minimum": 0}, "FLOAT"),
    ],
)
def test_a_type_has_room_for_what_the_schema_allows(snowflake: Snowflake, words: dict[str, Any], spelt: str) -> None:
    value = Decimal("12.5") if words.get("maximum") != 1 else Decimal("0.5")
    snowflake.run(schema(id=INT, v=number(**words)), record(id=1, v=value))
    assert (spelt_of(snowflake), values(snowflake)) == (spelt, [value])


# --- columns of others


@pytest.mark.parametrize("spelt", ["NUMBER(10,2)", "NUMBER(38,2)", "NUMBER(5,4)"])
def test_money_stays_what_it_is(snowflake: Snowflake, spelt: str) -> None:
    made(snowflake, spelt, "1.25")
    snowflake.run(schema(id=INT, v=NUM), record(id=2, v=Decimal("2.5")), record(id=3, v=Decimal("-3.50")))
    assert (spelt_of(snowflake), values(snowflake)) == (spelt, [Decimal("1.25"), Decimal("2.5"), Decimal("-3.5")])


@pytest.mark.parametrize("value", ["0.125", "123456789.5", "1e9"])
def test_what_money_does_not_hold_is_refused_with_a_remedy_that_works(snowflake: Snowflake, value: str) -> None:
    made(snowflake, "NUMBER(10,2)", "1.25")
    lines = schema(id=INT, v=NUM), record(id=2, v=Decimal(value))
    with pytest.raises(RecordError, match="'V'|v:") as refused:
        snowflake.run(*lines)
    assert (spelt_of(snowflake), values(snowflake)) == ("NUMBER(10,2)", [Decimal("1.25")])
    remedy = re.search(r'column_types: \{?"(?P<name>[^"]+)": "(?P<kind>[^"]+)"', str(refused.value))
    assert remedy, str(refused.value)
    snowflake.run(*lines, column_types={remedy["name"]: remedy["kind"]})
    assert values(snowflake) == [Decimal("1.25"), Decimal(value)]


@pytest.mark.parametrize(("kind", "spelt"), [("double", "FLOAT"), ("decimal(38,9)", "NUMBER(38,9)")])
def test_who_asks_for_another_type_gets_it(snowflake: Snowflake, kind: str, spelt: str) -> None:
    made(snowflake, "NUMBER(10,2)", "1.25")
    snowflake.run(schema(id=INT, v=NUM), record(id=2, v=Decimal("0.125")), column_types={"orders.v": kind})
    assert (spelt_of(snowflake), values(snowflake)) == (spelt, [Decimal("1.25"), Decimal("0.125")])


@pytest.mark.parametrize(
    ("spelt", "value", "wanted", "settings", "becomes"),
    [
        ("NUMBER(10,2)", "12345678.90", NUM, {"column_types": {"orders.v": "double"}}, "FLOAT"),
        ("NUMBER(5,5)", "0.5", NUM, {"column_types": {"orders.v": "double"}}, "FLOAT"),
        ("NUMBER(10,0)", "1234567890", NUM, {}, "FLOAT"),
        ("NUMBER(38,2)", "1.25", number(multipleOf=Decimal("0.001")), {}, "NUMBER(38,3)"),
        ("NUMBER(38,2)", "1.25", NUM, {"number": "decimal(38,9)"}, "NUMBER(38,9)"),
        ("NUMBER(30,0)", "12", NUM, {"number": "decimal(20,4)"}, "NUMBER(20,4)"),
        ("DECFLOAT", "'0.125'::DECFLOAT", NUM, {"number": "double"}, "FLOAT"),
    ],
)
def test_a_column_whose_values_fit_becomes_what_is_asked_for(
    snowflake: Snowflake, spelt: str, value: str, wanted: Any, settings: dict[str, Any], becomes: str
) -> None:
    """Up to the last digit that the column has, and to more places with fewer digits before the point."""
    made(snowflake, spelt, value)
    snowflake.run(schema(id=INT, v=wanted), record(id=2, v=Decimal("1.125")), **settings)
    assert (spelt_of(snowflake), values(snowflake)) == (becomes, [Decimal(value.strip("'").partition("'")[0]), Decimal("1.125")])


LARGE = "123456789012345678901234567890123456.25"  # 36 digits before the point


@pytest.mark.parametrize(
    ("spelt", "value", "wanted", "settings", "remedy"),
    [
        ("NUMBER(38,2)", LARGE, number(multipleOf=Decimal("0.001")), {}, {"narrow_columns": "keep"}),
        ("NUMBER(19,0)", str(2**53 + 1), NUM, {}, {"narrow_columns": "keep"}),
        ("NUMBER(38,0)", str(2**53 + 1), NUM, {}, {"column_types": {"orders.v": "integer"}}),
        ("DECFLOAT", "'0.12345678901234567890123'::DECFLOAT", NUM, {"number": "double"}, {"number": "decfloat"}),
        ("DECFLOAT", "'0.12345678901234567890123'::DECFLOAT", NUM, {"column_types": {"orders.v": "double"}}, {"column_types": {"orders.v": "number"}}),
        ("NUMBER(10,2)", "1.25", INT, {}, {"column_types": {"orders.v": "decimal(38,2)"}}),
        ("NUMBER(38,20)", "1.25", INT, {}, {"narrow_columns": "keep"}),
        ("NUMBER(38,2)", "1.25", INT, {}, {"narrowing": "keep"}),
        ("FLOAT", "0.25", number(multipleOf=Decimal("0.01")), {}, {"narrowing": "keep"}),
    ],
)
def test_a_column_whose_values_would_change_stays_and_the_remedy_works(
    snowflake: Snowflake, spelt: str, value: str, wanted: Any, settings: dict[str, Any], remedy: dict[str, Any]
) -> None:
    made(snowflake, spelt, value)
    before, lines = values(snowflake), (schema(id=INT, v=wanted), record(id=2, v=5))
    with pytest.raises(UpgradeError) as refused:
        snowflake.run(*lines, **settings)
    ((name, setting),) = remedy.items()
    assert f"`{name}: {setting if isinstance(setting, str) else json.dumps(setting)}`" in str(refused.value)
    assert values(snowflake) == before
    snowflake.run(*lines, **{**settings, **remedy})
    assert [Decimal(found) for found in values(snowflake)] == [*map(Decimal, before), 5]


@pytest.mark.parametrize(("spelt", "becomes"), [("NUMBER(19,0)", "NUMBER(19,0)"), ("NUMBER(20,0)", "NUMBER(20,0)"), ("NUMBER(18,0)", "NUMBER(38,0)"), ("NUMBER(5,0)", "NUMBER(38,0)")])
@pytest.mark.parametrize("of", [INT, {"type": "integer", "minimum": 0}], ids=str)
def test_integers_of_others_are_integers(snowflake: Snowflake, spelt: str, becomes: str, of: Any) -> None:
    made(snowflake, spelt, "7")
    for schema_changes in ("upgrade", "add", "fail") if spelt == becomes else ("upgrade", "upgrade"):
        snowflake.run(schema(id=INT, v=of), record(id=2, v=2**63 - 1), record(id=3, v=0), schema_changes=schema_changes)
    assert (spelt_of(snowflake), values(snowflake)) == (becomes, [7, 2**63 - 1, 0])


@pytest.mark.parametrize("spelt", ["NUMBER(19,0)", "NUMBER(5,0)"])
def test_large_integers_widen_them_in_place(standin: Snowflake, spelt: str) -> None:
    made(standin, spelt, "7")
    assert standin.server
    standin.server.clear()
    standin.run(schema(id=INT, v={"type": "integer", "maximum": 10**30}), record(id=2, v=10**30))
    assert (spelt_of(standin), values(standin)) == ("NUMBER(38,0)", [7, 10**30])
    assert [sql for sql in standin.statements() if "ADD COLUMN \"V" in sql] == []


# --- times without a zone


@pytest.mark.parametrize("setting", [{"timestamps": "ntz"}, {"naive_timestamps": "utc"}], ids=str)
def test_a_time_without_a_zone_is_refused_with_two_remedies_that_work(snowflake: Snowflake, setting: dict[str, str]) -> None:
    made(snowflake, "TIMESTAMP_NTZ", "'2024-01-01 00:00:00'::TIMESTAMP_NTZ")
    lines = schema(id=INT, v=TIME), record(id=2, v="2024-06-01T12:00:00+02:00")
    ((name, value),) = setting.items()
    with pytest.raises(UpgradeError, match=f"`{name}: {value}`"):
        snowflake.run(*lines)
    snowflake.run(*lines, **setting)
    assert [found.isoformat() for found in values(snowflake)] == ["2024-01-01T00:00:00+00:00", "2024-06-01T10:00:00+00:00"]


# --- the other remedies


def test_a_narrower_stream_is_refused_with_a_remedy_that_works(snowflake: Snowflake) -> None:
    made(snowflake, "VARCHAR", "'a'")
    lines = schema(id=INT, v=INT), record(id=2, v=7)
    with pytest.raises(UpgradeError, match="with `narrowing: keep` the column stays and takes the values"):
        snowflake.run(*lines)
    snowflake.run(*lines, narrowing="keep")
    assert values(snowflake) == ["a", "7"]


def test_a_view_is_refused_with_a_remedy_that_works(snowflake: Snowflake) -> None:
    made(snowflake, "NUMBER(38,0)")
    snowflake.query(f'CREATE VIEW "{snowflake.schema}"."SEEN" AS SELECT 1 AS "ID"')
    with pytest.raises(Exception, match=r"SEEN is a view, wanted a table \(setting table_names\)"):
        snowflake.run(schema("seen", id=INT), record("seen", id=1))
    snowflake.run(schema("seen", id=INT), record("seen", id=1), table_names={"seen": "SEEN_ROWS"})
    assert [row["ID"] for row in snowflake.rows("SEEN_ROWS")] == [1]


def test_a_key_that_would_become_json_is_refused_with_a_remedy_that_works(snowflake: Snowflake) -> None:
    snowflake.run(schema(id=INT), record(id=1))
    lines = schema(id={"type": ["integer", "array"]}), record(id=1)
    with pytest.raises(UpgradeError, match=r"load the stream into another table \(setting table_names\)"):
        snowflake.run(*lines)
    snowflake.run(*lines, table_names={"orders": "OTHERS"})
    assert [row["ID"] for row in snowflake.rows("OTHERS")] == [1]


def test_a_json_that_variant_would_change_is_refused_with_a_remedy_that_works(snowflake: Snowflake) -> None:
    line = '{"type": "RECORD", "stream": "orders", "record": {"id": 2, "v": {"a": 1.5e400}}}'
    lines = schema(id=INT, v={"type": "object"}), record(id=1, v={"a": 1}), line
    with pytest.raises(RecordError, match=r'column_types: ("orders\.v": "string") keeps the text, .* \(column_names: ("orders\.v": "V_2")\)') as refused:
        snowflake.run(*lines)
    found = re.search(r'column_types: ("[^"]*": "[^"]*").*column_names: ("[^"]*": "[^"]*")', str(refused.value))
    assert found
    snowflake.run(*lines, column_types=json.loads("{" + found[1] + "}"), column_names=json.loads("{" + found[2] + "}"))
    rows = sorted(snowflake.rows("ORDERS"), key=lambda row: row["ID"])
    assert [(row["ID"], row["V_2"]) for row in rows] == [(1, '{"a":1}'), (2, '{"a":1.5e400}')]


def test_a_float_with_nan_does_not_become_decfloat_and_the_remedy_works(snowflake: Snowflake) -> None:
    line = '{"type": "RECORD", "stream": "orders", "record": {"id": 1, "v": -Infinity}}'
    snowflake.run(schema(id=INT, v=NUM), line)
    lines = schema(id=INT, v=NUM), record(id=2, v=1.5)
    with pytest.raises(UpgradeError, match="with the setting `number: exact` it stays"):
        snowflake.run(*lines, number="decfloat")
    snowflake.run(*lines, number="exact")
    assert [float(row["V"]) for row in sorted(snowflake.rows("ORDERS", exact=False), key=lambda row: row["ID"])] == [float("-inf"), 1.5]


def test_the_statements_to_run_by_hand_do_what_a_change_does(snowflake: Snowflake) -> None:
    snowflake.run(schema(id=INT, v=INT), record(id=1, v=1), record(id=2, v=2))
    lines = schema(id=INT, v={"type": "string"}), record(id=3, v="x")
    with pytest.raises(UpgradeError, match=r"more than 1 rows \(setting max_rewrite_rows\)") as refused:
        snowflake.run(*lines, max_rewrite_rows=1)
    by_hand = re.search(r"run by hand when that suits: (.*?)(?: \(setting invalid_schemas|$)", str(refused.value))
    assert by_hand
    for statement in by_hand[1].split("; "):
        snowflake.query(statement)
    snowflake.run(*lines, max_rewrite_rows=1)
    assert (spelt_of(snowflake).partition("(")[0], values(snowflake)) == ("VARCHAR", ["1", "2", "x"])
    assert {row[0] for row in snowflake.query(f'DESCRIBE TABLE "{snowflake.schema}"."ORDERS"')} == {"ID", "V", "__LOADED_AT"}


@pytest.mark.parametrize("how", ["add", "fail"])
def test_a_narrow_column_that_may_not_change_stays_by_the_remedy(snowflake: Snowflake, how: str) -> None:
    made(snowflake, "NUMBER(10,0)", "1")
    snowflake.query(f'ALTER TABLE "{snowflake.schema}"."ORDERS" ADD COLUMN "__LOADED_AT" TIMESTAMP_TZ')
    lines = schema(id=INT, v=INT), record(id=2, v=5)
    with pytest.raises(SchemaError, match="and would become integer.*with `narrow_columns: keep` the column stays as it is"):
        snowflake.run(*lines, schema_changes=how)
    snowflake.run(*lines, schema_changes=how, narrow_columns="keep")
    assert (spelt_of(snowflake), values(snowflake)) == ("NUMBER(10,0)", [1, 5])
