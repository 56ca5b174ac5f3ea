"""What a schema allows without naming it is kept: in one JSON column beside the named properties of its object."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from on_postgres import rows, run

from target_meltano.samples import INT, STR, record, schema


def an_object(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": ["object", "null"], "properties": properties, **more}


OPEN = {"patterns": {"patternProperties": {"^cf_": STR}}, "any": {"additionalProperties": True}, "some": {"additionalProperties": {"type": "integer"}}}


@pytest.mark.parametrize("how", OPEN)
def test_what_an_object_may_have_besides_its_properties(db: Any, how: str) -> None:
    """Whatever type it has: validation is by types of columns."""
    issue = schema("t", id=INT, fields=an_object({"title": STR}, **OPEN[how]))
    records = [
        record("t", id=1, fields={"title": "a", "cf_2": [1.50, None], "cf_1": None, "other": "x"}),
        record("t", id=2, fields={"title": "b"}),
        record("t", id=3, fields=None),
        record("t", id=4),
        record("t", id=5, fields={"cf_9": {"a": {"b": "c"}}}),
    ]
    summary = run(db, issue, *records).summary
    assert rows(db, "id, fields__title, fields__extra") == [
        (1, "a", {"cf_2": [1.5, None], "cf_1": None, "other": "x"}),
        (2, "b", None),
        (3, None, None),
        (4, None, None),
        (5, None, {"cf_9": {"a": {"b": "c"}}}),
    ]
    assert summary["warnings"] == []


def test_records_may_have_more_fields_where_their_schema_says_so(db: Any) -> None:
    message = schema("t", id=INT)
    message["schema"]["patternProperties"] = {"^x_": STR}
    run(db, message, record("t", id=1, x_1="a"), record("t", id=2), record("t", id=3, y=[1]))
    assert rows(db, 'id, "__extra"') == [(1, {"x_1": "a"}), (2, None), (3, {"y": [1]})]


def test_a_schema_that_does_not_say_so_has_unknown_fields(db: Any) -> None:
    closed = schema("t", id=INT, o=an_object({"a": STR}, additionalProperties=False), p=an_object({"a": STR}, patternProperties={"^x": False}))
    summary = run(db, closed, record("t", id=1, o={"a": "b", "c": 1}, p={"xy": 2})).summary
    assert [column for (column,) in db.query("SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = 't' AND column_name LIKE '%%extra'", (db.schema,))] == []
    assert len(summary["notices"]) == 2


def test_a_setting_says_otherwise(db: Any) -> None:
    issue = schema("t", id=INT, o=an_object({"a": STR}, additionalProperties=True))
    summary = run(db, issue, record("t", id=1, o={"a": "b", "c": 1}), additional_properties="unknown").summary
    assert [odd["what"].partition(":")[0] for odd in summary["notices"]] == ["$.o.c"]
    assert rows(db, "id, o__a") == [(1, "b")]


def test_they_are_kept_beside_all_other_unknown_fields(db: Any) -> None:
    message = schema("t", id=INT, o=an_object({"a": STR}, additionalProperties=True))
    message["schema"]["additionalProperties"] = True
    run(db, message, record("t", id=1, o={"a": "b", "c": 1}, z=2), unknown_fields="keep")
    assert rows(db, 'id, o__extra, "__extra"') == [(1, {"c": 1}, {"z": 2})]


def test_a_property_of_the_columns_name_is_told(db: Any) -> None:
    issue = schema("t", id=INT, o=an_object({"extra": STR}, additionalProperties=True))
    (words,) = run(db, schema("other", **issue["schema"]["properties"])).summary["warnings"]
    assert "'o.extra'" in words
    assert "(setting column_names" in words
    run(db, issue, record("t", id=1, o={"extra": "a", "b": 1}), column_names={"t.o.*": "o_rest"})
    assert rows(db, "id, o__extra, o_rest") == [(1, "a", {"b": 1})]


def test_rows_keep_them_as_any_field(db: Any) -> None:
    """A record without any of them leaves them, one with some replaces all of them."""
    issue = schema("t", id=INT, o=an_object({"a": STR}, additionalProperties=True))
    first = [record("t", id=i, o={"a": "x", "b": i}) for i in range(4)]
    run(db, issue, *first, absent_fields="keep")
    second = [record("t", id=0, o={"a": "y"}), record("t", id=1, o={"c": 1}), record("t", id=2, o=None), record("t", id=3)]
    run(db, issue, *second, absent_fields="keep")
    assert rows(db, "id, o__a, o__extra") == [(0, "y", {"b": 0}), (1, "x", {"c": 1}), (2, None, None), (3, "x", {"b": 3})]


def test_log_based_fields_have_columns_of_their_own(db: Any) -> None:
    message = schema("t", id=INT)
    message["schema"]["additionalProperties"] = True
    deleted = "2024-05-06T07:08:09+00:00"
    run(db, message, record("t", id=1, x=1), record("t", id=2, x=2), record("t", id=1, _sdc_deleted_at=deleted))
    assert rows(db, 'id, "__extra", "_sdc_deleted_at" IS NULL') == [(1, {"x": 1}, False), (2, {"x": 2}, True)]


@pytest.mark.parametrize("names", [3, 5000], ids=["few names", "names without end"])
def test_they_take_the_fast_path(db: Any, names: int) -> None:
    """But where the keys are data and have no end."""
    issue = schema("t", keys=(), id=INT, o=an_object({"a": STR}, additionalProperties=True))
    count = 20_000 if names == 3 else 2_000

    def seconds(named: bool) -> float:
        members = ({f"m{i * 7 % names}": i, "n": None} if named else {"a": "x"} for i in range(count))
        text = [json.dumps(record("t", id=i, o={"a": "x", **its})).encode() for i, its in enumerate(members)]
        start = time.monotonic()
        run(db, json.dumps(issue).encode(), *text)
        return time.monotonic() - start

    without = seconds(False)
    assert seconds(True) < (5 if names == 3 else 60) * without + 1
    found = db.query(f"SELECT count(*), count(o__extra), sum((o__extra->>'m0')::bigint) FROM \"{db.schema}\".t")
    assert found[0][:2] == (2 * count, count)
    assert found[0][2] == sum(i for i in range(count) if i * 7 % names == 0)
