"""Objects whose properties would be more columns than a row can fill are kept together, for good."""

from __future__ import annotations

from hashlib import sha1
from typing import Any

import pytest
from on_postgres import dialect, rows, run

from target_meltano import RecordError
from target_meltano.report import Report
from target_meltano.samples import INT, STR, record, schema
from target_meltano.tables import Plan
from target_meltano.target import Target


def an_object(count: int, name: str = "c", **more: Any) -> dict[str, Any]:
    return {"type": ["null", "object"], "properties": {**{f"{name}{i}": STR for i in range(count)}, **more}}


def filled(count: int, name: str = "c", **more: Any) -> dict[str, Any]:
    return {**{f"{name}{i}": sha1(str(i).encode()).hexdigest() for i in range(count)}, **more}


def names(db: Any) -> list[str]:
    query = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum"
    return [name for (name,) in db.query(query, (f'"{db.schema}".t',))]


def told(result: Any) -> list[str]:
    return [words for words in result.summary["warnings"] if "kept together" in words]


def test_an_object_of_too_many_properties_is_one_column(db: Any) -> None:
    result = run(db, schema("t", id=INT, o=an_object(470), p=an_object(1)), record("t", id=1, o=filled(470), p=filled(1)))
    assert names(db) == ["id", "o", "p", "__loaded_at"]
    assert rows(db, "o, p") == [(filled(470), filled(1))]
    (words,) = told(result)
    assert "stream 't': with a column for each property a filled row would not fit, so objects are kept together: 'o' in 'o', 'p' in 'p'" in words


def test_the_deepest_objects_are_the_first(db: Any) -> None:
    """And others keep their columns, if that is enough."""
    message = schema("t", id=INT, o=an_object(200, q=an_object(300)), p=an_object(2))
    result = run(db, message, record("t", id=1, o=filled(200, q=filled(300)), p=filled(2)))
    assert names(db) == ["id", *(f"o__c{i}" for i in range(200)), "o__q", "p__c0", "p__c1", "__loaded_at"]
    assert rows(db, "o__c7, o__q, p__c1") == [(filled(8)["c7"], filled(300), filled(2)["c1"])]
    assert ["'o.q' in 'o__q'" in words for words in told(result)] == [True]


def test_more_columns_than_the_database_takes_are_too_many(db: Any) -> None:
    flags = {f"c{i}": {"type": "boolean"} for i in range(1700)}
    run(db, schema("t", id=INT, o={"type": "object", "properties": flags}), record("t", id=1, o=dict.fromkeys(flags, True)))
    assert rows(db, "o") == [(dict.fromkeys(flags, True),)]


def test_what_is_together_stays_so_whatever_the_schema_becomes(db: Any) -> None:
    runs = (470, 3, 480)
    for at, count in enumerate(runs):
        run(db, schema("t", id=INT, o=an_object(count)), record("t", id=at, o=filled(count)))
    assert names(db) == ["id", "o", "__loaded_at"]
    assert rows(db, "id, o") == [(at, filled(count)) for at, count in enumerate(runs)]


def test_what_has_columns_keeps_them_and_a_new_object_is_together(db: Any) -> None:
    run(db, schema("t", id=INT, o=an_object(300)), record("t", id=1, o=filled(300)))
    result = run(db, schema("t", id=INT, o=an_object(470), p=an_object(2)), record("t", id=2, o=filled(9), p=filled(2)))
    assert names(db)[-3:] == ["o__c468", "o__c469", "p"]
    assert rows(db, "id, o__c8, p") == [(1, filled(9)["c8"], None), (2, filled(9)["c8"], filled(2))]
    assert ["'p' in 'p'" in words for words in told(result)] == [True]
    with pytest.raises(RecordError, match="row is too big"):
        run(db, schema("t", id=INT, o=an_object(470)), record("t", id=3, o=filled(470)))


def test_another_property_of_its_name_has_a_column_of_its_own(db: Any) -> None:
    run(db, schema("t", id=INT, o=an_object(470)), record("t", id=1, o=filled(470)))
    for _ in range(2):
        run(db, schema("t", id=INT, O={"type": "object"}), record("t", id=2, O={"a": 1}))
    (_, had, _, other), row = names(db), rows(db, "id, o")
    assert (had, row) == ("o", [(1, filled(470)), (2, None)])
    assert rows(db, f'"{other}"', "t") == [({"a": 1},), (None,)]


def test_an_object_that_was_open_gets_columns(db: Any) -> None:
    """Its column has whatever came, but nobody decided to keep it together."""
    run(db, schema("t", id=INT, o={"type": "object"}), record("t", id=1, o={"c0": "x"}))
    run(db, schema("t", id=INT, o=an_object(2)), record("t", id=2, o=filled(2)))
    assert rows(db, "id, o, o__c1") == [(1, {"c0": "x"}, None), (2, None, filled(2)["c1"])]


@pytest.mark.parametrize(
    ("settings", "column"),
    [
        ({"flatten_depth": 9}, "o__c7"),
        ({"column_types": {"t.o.c7": "string"}}, "o__c7"),
        ({"column_names": {"t.o.c7": "seven"}}, "seven"),
        ({"indexes": {"t": [["o.c7"]]}}, "o__c7"),
        ({"indexes": {"t": [["o__c7"]]}}, "o__c7"),
    ],
    ids=str,
)
def test_settings_decide_otherwise(db: Any, settings: dict[str, Any], column: str) -> None:
    """A depth that is given is that; a property that a setting names has its column."""
    result = run(db, schema("t", id=INT, o=an_object(470), p=an_object(1)), record("t", id=1, o=filled(8)), **settings)
    assert rows(db, column) == [(filled(8)["c7"],)]
    assert ("p" in names(db)) == ("flatten_depth" not in settings)
    assert any("a page holds 8,160" in words for words in result.summary["warnings"])


def test_a_run_goes_on_as_it_began(db: Any) -> None:
    """Versions, fields of a log and another SCHEMA change no more than that."""
    lines = [
        schema("t", id=INT, o=an_object(470)),
        record("t", id=1, o=filled(470)),
        record("t", id=2, o=filled(470), _sdc_deleted_at="2026-01-01T00:00:00Z"),
        {"type": "ACTIVATE_VERSION", "stream": "t", "version": 1},
        schema("t", id=INT, o=an_object(3), v=INT),
        {**record("t", id=3, o=filled(3), v=4), "version": 1},
    ]
    run(db, *lines)
    assert set(names(db)) == {"id", "o", "v", "_sdc_deleted_at", "__version", "__deleted_at", "__loaded_at"}
    assert rows(db, "id, o, v") == [(1, filled(470), None), (2, filled(470), None), (3, filled(3), 4)]


def test_a_plan_shows_what_a_run_makes(db: Any) -> None:
    shown: list[str] = []
    lines = [schema("t", id=INT, o=an_object(count)) for count in (470, 3)]
    Target(dialect(db), print, Report(quiet=True), plan=Plan(shown.append)).run(lines)
    run(db, *lines)
    assert [text.partition("(")[0] for text in shown if not text.startswith("COMMENT ")] == [
        f'CREATE SCHEMA IF NOT EXISTS "{db.schema}"',
        f'CREATE TABLE "{db.schema}"."t" ',
    ]
    assert f"""COMMENT ON COLUMN "{db.schema}"."t"."o" IS 'o.**'""" in shown
    assert names(db) == ["id", "o", "__loaded_at"]


def test_a_property_called_as_the_comment_of_such_a_column_is_none(db: Any) -> None:
    """In a second run, too, which goes by the comments."""
    message = schema("t", id=INT, o={"type": "object", "properties": {"**": {"type": "array"}, "c": INT}})
    for value in (1, 2):
        run(db, message, record("t", id=1, o={"**": [value], "c": value}))
    assert names(db) == ["id", "o____", "o__c", "__loaded_at"]
    assert rows(db, "o____, o__c") == [([2], 2)]
