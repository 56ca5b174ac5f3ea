"""The JSON column for members that a schema allows without naming them never meets the column of a property."""

from __future__ import annotations

from typing import Any

import pytest
from on_postgres import rows, run

from target_meltano.samples import INT, STR, record, schema


def an_open(**properties: Any) -> dict[str, Any]:
    return {"type": ["object", "null"], "properties": properties, "additionalProperties": True}


def by_source(db: Any) -> dict[str, str]:
    """Return the columns of the table, by what their comments say they are of."""
    query = "SELECT col_description(attrelid, attnum), attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
    return dict(db.query(query, (f'"{db.schema}".t',)))


def opened(**properties: Any) -> dict[str, Any]:
    """Return a SCHEMA of records that may have more than these."""
    message = schema("t", **properties)
    message["schema"]["additionalProperties"] = True
    return message


CLASHES = {
    "a member": (schema("t", id=INT, o=an_open(extra=STR)), {"o": {"extra": "mine", "b": 1}}, "o.extra", "o.*"),
    "beside its object": (schema("t", id=INT, o=an_open(a=STR), o__extra=STR), {"o": {"b": 1}, "o__extra": "mine"}, "o__extra", "o.*"),
    "a field": (opened(id=INT, __extra=STR), {"__extra": "mine", "b": 1}, "__extra", "*"),
    "a star": (schema("t", id=INT, o=an_open(**{"*": STR})), {"o": {"*": "mine", "b": 1}}, None, None),
}


@pytest.mark.parametrize("clash", CLASHES)
def test_a_property_of_its_name_keeps_that(db: Any, clash: str) -> None:
    """And what the schema only allows has a column with a hash, which is told."""
    message, fields, source, rest = CLASHES[clash]
    summary = run(db, message, record("t", id=1, **fields)).summary
    row = dict(zip((name for (name,) in db.query(NAMES, (db.schema,))), rows(db)[0], strict=True))
    assert sorted(str(value) for name, value in row.items() if name not in ("id", "__loaded_at") and value is not None) == ["mine", "{'b': 1}"]
    told = [words for words in summary["warnings"] if source and repr(source) in words and repr(rest) in words]
    assert len(told) == len(summary["warnings"]) == bool(source)


NAMES = "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = 't' ORDER BY ordinal_position"


@pytest.mark.parametrize("first", ["rest", "property"])
def test_neither_gets_into_the_column_that_an_earlier_run_made_for_the_other(db: Any, first: str) -> None:
    """Whichever came first, and in whatever run both are there."""
    runs = {
        "rest": (schema("t", id=INT, o=an_open(a=STR)), {"a": "x", "z": 1}),
        "property": (schema("t", id=INT, o={"type": "object", "properties": {"extra": STR}}), {"extra": "mine"}),
    }
    order = [first, *(name for name in runs if name != first)]
    for number, name in enumerate(order):
        message, fields = runs[name]
        run(db, message, record("t", id=number, o=fields))
    run(db, schema("t", id=INT, o=an_open(a=STR, extra=STR)), record("t", id=2, o={"a": "y", "extra": "ours", "z": 3}))
    names = by_source(db)
    assert names["o.*" if first == "rest" else "o.extra"] == "o__extra"
    expected = {"rest": ({"z": 1}, None), "property": (None, "mine")}
    assert rows(db, f'id, "{names["o.*"]}", "{names["o.extra"]}"') == [
        (0, *expected[order[0]]),
        (1, *expected[order[1]]),
        (2, {"z": 3}, "ours"),
    ]


def test_nor_do_fields_and_what_a_record_may_have_besides(db: Any) -> None:
    run(db, schema("t", id=INT, __extra=STR), record("t", id=1, __extra="mine"))
    run(db, opened(id=INT), record("t", id=2, b=1))
    names = by_source(db)
    assert rows(db, f'id, "__extra", "{names["*"]}"') == [(1, "mine", None), (2, None, {"b": 1})]


def test_a_comment_of_somebody_else_moves_nothing(db: Any) -> None:
    message = schema("t", id=INT, o=an_open(a=STR))
    run(db, message, record("t", id=1, o={"b": 1}))
    db.query(f'COMMENT ON COLUMN "{db.schema}".t.o__extra IS %s', ("what the others have",))
    assert run(db, message, record("t", id=2, o={"b": 2})).summary["warnings"] == []
    assert rows(db, "id, o__extra") == [(1, {"b": 1}), (2, {"b": 2})]


def test_two_objects_whose_columns_have_one_name(db: Any) -> None:
    run(db, schema("t", id=INT, Box=an_open(a=STR), box=an_open(b=STR)), record("t", id=1, Box={"z": 1}, box={"z": 2}))
    names = by_source(db)
    assert rows(db, f'"{names["Box.*"]}", "{names["box.*"]}"') == [({"z": 1}, {"z": 2})]


def test_a_property_called_star_is_one_like_any_other(db: Any) -> None:
    """Also where rows keep what a record does not have: it is absent, and the rest is not."""
    message = schema("t", id=INT, o=an_open(**{"*": STR}))
    run(db, message, record("t", id=1, o={"*": "a", "b": 1}), absent_fields="keep")
    run(db, message, record("t", id=1, o={"b": 2}), absent_fields="keep")
    run(db, message, record("t", id=1, o={"*": "c"}), absent_fields="keep")
    assert rows(db, "o___, o__extra") == [("c", {"b": 2})]


def test_a_name_that_a_setting_gives_is_used_when_the_columns_are_there(db: Any) -> None:
    """It is the remedy that the warning names."""
    both = schema("t", id=INT, Sum=INT, sum=INT)
    run(db, both, record("t", id=1, Sum=1, sum=2))
    summary = run(db, both, record("t", id=2, Sum=3, sum=4), column_names={"t.Sum": "grand", "t.sum": "small"}).summary
    assert rows(db, "id, grand, small") == [(1, None, None), (2, 3, 4)]
    assert not [words for words in summary["warnings"] if "column_names" in words]


@pytest.mark.parametrize("how", ["keep", "warn"])
def test_what_is_kept_is_not_told_to_be_left_out(db: Any, how: str) -> None:
    summary = run(db, schema("t", id=INT), record("t", id=1, odd=1), unknown_fields=how).summary
    (words,) = summary["warnings"]
    assert ("not stored" in words) is (how == "warn")
    assert ("__extra" in words) is (how == "keep")
