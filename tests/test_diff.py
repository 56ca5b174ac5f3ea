"""A table follows its stream by additions and by changes that lose nothing; all else is refused in words."""

from __future__ import annotations

from typing import Any

import pytest

from target_meltano.diff import (
    AddColumn,
    ChangeType,
    Column,
    CreateTable,
    Found,
    FoundColumn,
    Policy,
    ReplaceKey,
    Table,
    diff,
    kept_kinds,
)
from target_meltano.errors import SchemaError, UpgradeError
from target_meltano.kinds import BOOLEAN, DATE, DOUBLE, INTEGER, JSON, NUMBER, STRING, TIMESTAMP, Kind, decimal

SQL = {
    BOOLEAN: "boolean",
    INTEGER: "bigint",
    NUMBER: "numeric",
    DOUBLE: "double precision",
    STRING: "text",
    JSON: "jsonb",
}


def wanted(*, keys: tuple[str, ...] = (), **columns: Kind) -> Table:
    return Table("raw", "orders", tuple(Column(name, kind, name) for name, kind in columns.items()), keys, "orders")


def found(*, keys: tuple[str, ...] = (), empty: bool = False, **columns: Kind) -> Found:
    return Found({name: column(name, kind) for name, kind in columns.items()}, keys, empty, "orders_pkey")


def column(name: str, kind: Kind | None, **facts: Any) -> FoundColumn:
    return FoundColumn(name, kind, SQL.get(kind, "uuid") if kind else "uuid", **facts)


def refusal(table: Table, there: Found | None, **policy: Any) -> str:
    with pytest.raises(SchemaError) as caught:
        diff(table, there, Policy(**policy))
    return str(caught.value)


def test_a_missing_table_is_created() -> None:
    table = wanted(id=INTEGER)
    assert diff(table, None) == [CreateTable(table)]


def test_an_equal_table_needs_nothing() -> None:
    assert diff(wanted(id=INTEGER, a=STRING, keys=("id",)), found(a=STRING, id=INTEGER, keys=("id",))) == []


def test_missing_columns_are_added_and_those_of_others_stay() -> None:
    table = wanted(id=INTEGER, a=STRING)
    assert diff(table, found(id=INTEGER, theirs=DATE)) == [AddColumn(table, table.column("a"))]


def test_a_type_may_hold_other_kinds_as_well_and_is_kept_for_them() -> None:
    table, large = wanted(a=decimal(38)), column("a", INTEGER, also=(decimal(38),))
    there = Found({"a": large})
    assert diff(table, there) == []
    assert kept_kinds(table, there, Policy()).column("a") == Column("a", decimal(38), "a", "bigint")
    assert diff(wanted(a=STRING), there) == [ChangeType(wanted(a=STRING), Column("a", STRING, "a"), large)]


def test_a_column_moves_up() -> None:
    table, there = wanted(a=STRING), found(a=INTEGER)
    assert diff(table, there) == [ChangeType(table, table.column("a"), there.columns["a"])]


def test_a_narrow_column_is_widened_to_its_own_kind() -> None:
    table, there = wanted(a=STRING), Found({"a": column("a", STRING, narrow=True)})
    assert diff(table, there) == [ChangeType(table, table.column("a"), there.columns["a"])]


@pytest.mark.parametrize(
    ("kind", "there", "message"),
    [
        (
            INTEGER,
            STRING,
            "raw.orders: column 'a' is text and cannot become integer without losing something; "
            "with `narrowing: keep` the column stays and takes the values",
        ),
        (
            BOOLEAN,
            INTEGER,
            "raw.orders: column 'a' is bigint and cannot become boolean without losing something; "
            """with `column_types: {"orders.a": "string"}` it becomes string, which takes both""",
        ),
        (
            NUMBER,
            DOUBLE,
            "raw.orders: column 'a' is double precision and cannot become number without losing something; "
            """with `column_types: {"orders.a": "double"}` it takes the nearest double of each number, with "string" all digits""",
        ),
        (
            STRING,
            None,
            "raw.orders: column 'a' is uuid and cannot become string without losing something; "
            "change the column's type, or load the stream into another table (setting table_names)",
        ),
    ],
    ids=["keep", "convert", "double", "foreign"],
)
def test_a_refused_change_names_table_column_both_types_and_the_way_out(
    kind: Kind, there: Kind | None, message: str
) -> None:
    with pytest.raises(UpgradeError) as caught:
        diff(wanted(a=kind), Found({"a": column("a", there)}))
    assert str(caught.value) == message


def test_a_column_of_ours_has_no_property_to_override() -> None:
    table = Table("raw", "orders", (Column("__loaded_at", TIMESTAMP),), (), "orders")
    assert "rename that column" in refusal(table, found(__loaded_at=STRING))


@pytest.mark.parametrize(
    ("kind", "there", "kept"),
    [
        (INTEGER, STRING, STRING),
        (INTEGER, NUMBER, NUMBER),
        (INTEGER, decimal(38, 0), decimal(38, 0)),
        (INTEGER, decimal(5, 0), INTEGER),
        (DATE, TIMESTAMP, TIMESTAMP),
        (STRING, JSON, JSON),
        (NUMBER, DOUBLE, NUMBER),
        (INTEGER, DOUBLE, INTEGER),
        (STRING, INTEGER, STRING),
    ],
    ids=str,
)
def test_narrowing_keep_keeps_the_wider_column_unless_a_value_could_change(kind: Kind, there: Kind, kept: Kind) -> None:
    table = kept_kinds(wanted(a=kind), found(a=there), Policy(narrowing="keep"))
    assert table.columns[0].kind == kept


def test_without_narrowing_nothing_is_kept() -> None:
    assert kept_kinds(wanted(a=INTEGER), found(a=STRING), Policy()).columns[0].kind == INTEGER
    assert kept_kinds(wanted(a=INTEGER), None, Policy(narrowing="keep")) == wanted(a=INTEGER)


@pytest.mark.parametrize("keys", [("a", "b"), ("b", "a")], ids=["same", "other order"])
def test_keys_are_a_set(keys: tuple[str, ...]) -> None:
    assert diff(wanted(a=INTEGER, b=INTEGER, keys=keys), found(a=INTEGER, b=INTEGER, keys=("a", "b"))) == []


@pytest.mark.parametrize(
    ("have", "want"),
    [(("a",), ("b",)), ((), ("a",)), (("a",), ()), (("a",), ("a", "b"))],
    ids=["other", "new", "none", "more"],
)
def test_other_keys_replace_those_of_an_empty_table_only(have: tuple[str, ...], want: tuple[str, ...]) -> None:
    table = wanted(a=INTEGER, b=INTEGER, keys=want)
    empty = found(a=INTEGER, b=INTEGER, keys=have, empty=True)
    assert diff(table, empty) == [ReplaceKey(table, empty)]
    message = refusal(table, found(a=INTEGER, b=INTEGER, keys=have))
    assert f"primary key is ({', '.join(have) or 'none'})" in message
    assert f"key_properties are ({', '.join(want) or 'none'})" in message
    assert "table_names" in message


def test_a_column_of_others_that_rows_cannot_leave_out_is_refused() -> None:
    there = Found({"a": column("a", INTEGER), "theirs": column("theirs", STRING, optional=False)})
    assert "column 'theirs' of the table is NOT NULL without a default" in refusal(wanted(a=INTEGER), there)
    assert diff(wanted(a=INTEGER, theirs=STRING), there) == []


@pytest.mark.parametrize(
    ("policy", "table", "there", "message"),
    [
        ("fail", wanted(a=INTEGER), None, "the table is missing, and the setting schema_changes is fail"),
        (
            "fail",
            wanted(a=INTEGER, b=STRING),
            found(a=INTEGER),
            "column 'b' is missing, and the setting schema_changes is fail",
        ),
        (
            "fail",
            wanted(a=STRING),
            found(a=INTEGER),
            "column 'a' is bigint and would become string, and the setting schema_changes is fail",
        ),
        ("fail", wanted(a=INTEGER, keys=("a",)), found(a=INTEGER, empty=True), "the table's key is another one, and"),
        (
            "add",
            wanted(a=STRING),
            found(a=INTEGER),
            "column 'a' is bigint and would become string, and the setting schema_changes is add",
        ),
    ],
    ids=["create", "column", "type", "key", "add"],
)
def test_schema_changes_bound_what_a_table_follows(
    policy: str, table: Table, there: Found | None, message: str
) -> None:
    assert message in refusal(table, there, schema_changes=policy)


def test_add_still_creates_and_adds() -> None:
    table = wanted(a=INTEGER, b=STRING)
    assert diff(table, None, Policy("add")) == [CreateTable(table)]
    assert diff(table, found(a=INTEGER), Policy("add")) == [AddColumn(table, table.column("b"))]


def test_fail_lets_an_equal_table_be() -> None:
    assert diff(wanted(a=INTEGER), found(a=INTEGER), Policy("fail")) == []


@pytest.mark.parametrize("there", [None, found(a=INTEGER, theirs=STRING)], ids=["new", "with columns of others"])
def test_too_many_columns_are_refused_before_any_change(there: Found | None) -> None:
    table = wanted(a=INTEGER, b=INTEGER, **({} if there else {"c": INTEGER}))
    assert refusal(table, there, max_columns=2) == (
        "raw.orders: 3 columns, and the database takes 2; the setting flatten_depth keeps deeper objects together in JSON columns"
    )
    assert diff(table, there, Policy(max_columns=3))
