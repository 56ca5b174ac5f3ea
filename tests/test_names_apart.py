"""Properties whose names differ only in what names of columns do not have, each in a column of its own."""

from __future__ import annotations

from typing import Any

import pytest
from on_postgres import rows, run

from target_meltano import SchemaError
from target_meltano.samples import INT, STR, record, schema


def columns(db: Any) -> dict[str, str]:
    """Return the columns of the table, by what their comments say they are of."""
    query = "SELECT col_description(attrelid, attnum), attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
    return dict(db.query(query, (f'"{db.schema}".t',)))


BOTH = {"id": INT, "Total": INT, "total": INT, "+1": INT, "-1": INT, "o": {"type": "object", "properties": {"A": STR, "a": STR}}}


def test_each_has_a_column_and_they_are_told(db: Any) -> None:
    one = record("t", **{"id": 1, "Total": 2, "total": 3, "+1": 4, "-1": 5, "o": {"A": "6", "a": "7"}})
    summary = run(db, schema("t", **BOTH), one).summary
    names = columns(db)
    assert len({names[path] for path in ("Total", "total", "+1", "-1", "o.A", "o.a")}) == 6
    assert rows(db, ", ".join(f'"{names[path]}"' for path in ("Total", "total", "+1", "-1", "o.A", "o.a"))) == [(2, 3, 4, 5, "6", "7")]
    assert [words for words in summary["warnings"] if "kept apart" in words and "'Total' in 'total_" in words]
    assert len(summary["warnings"]) == 3


def test_names_do_not_depend_on_order_or_run(db: Any) -> None:
    turned = dict(reversed(BOTH.items()))
    run(db, schema("t", **BOTH), record("t", id=1, Total=2, total=3))
    before = columns(db)
    run(db, schema("t", **turned), record("t", id=2, Total=4, total=5))
    assert columns(db) == before
    assert rows(db, f'id, "{before["Total"]}", "{before["total"]}"') == [(1, 2, 3), (2, 4, 5)]


@pytest.mark.parametrize("first", ["Total", "total"])
@pytest.mark.parametrize("other", ["Total", "total"])
def test_no_value_gets_into_the_column_of_another_one(db: Any, first: str, other: str) -> None:
    """Whichever of both the runs before and behind know."""
    both = schema("t", id=INT, Total=INT, total=INT)
    run(db, schema("t", id=INT, **{first: INT}), record("t", id=1, **{first: 1}))
    run(db, both, record("t", id=2, Total=2, total=-2))
    run(db, schema("t", id=INT, **{other: INT}), record("t", id=3, **{other: 3}))
    found = rows(db, f'id, total, "{APART["Total"]}", "{APART["total"]}"')
    assert found == [(1, 1, None, None), (2, None, 2, -2), (3, None, *((3, None) if other == "Total" else (None, 3)))]


APART = {"Total": "total_8b1be9fc", "total": "total_e0d922eb"}  # the same for ever: tables have these columns


def test_keys_are_kept_apart_like_others(db: Any) -> None:
    run(db, schema("t", keys=("ID",), ID=INT, id=STR), record("t", ID=1, id="a"), record("t", ID=1, id="b"), record("t", ID=2, id="a"))
    names = columns(db)
    assert rows(db, f'"{names["ID"]}", "{names["id"]}"') == [(1, "b"), (2, "a")]


def test_other_collisions_are_refused(db: Any) -> None:
    """Names that a setting gives, and objects beside what looks like one of their members."""
    nested = {"type": "object", "properties": {"b": INT}}
    with pytest.raises(SchemaError, match=r"'a__b'.*'a\.b'.*column_names|'a\.b'.*'a__b'.*column_names"):
        run(db, schema("t", id=INT, a__b=INT, a=nested))
    with pytest.raises(SchemaError, match="column_names"):
        run(db, schema("t", id=INT, x=INT, y=INT), column_names={"t.x": "y"})


@pytest.mark.parametrize("is_one_run", [True, False])
def test_a_property_does_not_get_into_the_column_that_was_made_for_another(db: Any, is_one_run: bool) -> None:
    """Though no run knew both: the column's comment tells which it is of."""
    before = [schema("t", id=INT, Total=INT), record("t", id=1, Total=1)]
    after = [schema("t", id=INT, total=INT), record("t", id=2, total=2)]
    runs = [before + after] if is_one_run else [before, after]
    warnings = [words for lines in runs for words in run(db, *lines).summary["warnings"]]
    assert rows(db, f'id, total, "{APART["total"]}"') == [(1, 1, None), (2, None, 2)]
    assert len(warnings) == 1
    assert "'total' is of the property 'Total'" in warnings[0]
    run(db, schema("t", id=INT, Total=INT), record("t", id=3, Total=3))
    assert rows(db, f'total, "{APART["total"]}"')[-2:] == [(3, None), (None, 2)]


@pytest.mark.parametrize("is_one_run", [True, False])
@pytest.mark.parametrize("is_turned", [True, False])
def test_nor_does_one_within_an_object(db: Any, is_turned: bool, is_one_run: bool) -> None:
    """`a__b` and the b of an object a, which no SCHEMA has beside each other."""
    flat = [schema("t", id=INT, a__b=STR), record("t", id=1, a__b="flat")]
    within = [schema("t", id=INT, a={"type": "object", "properties": {"b": STR}}), record("t", id=1, a={"b": "within"})]
    before, after = (within, flat) if is_turned else (flat, within)
    warnings = [words for lines in ([before + after] if is_one_run else [before, after]) for words in run(db, *lines).summary["warnings"]]
    (apart,) = {name for path, name in columns(db).items() if path in ("a.b", "a__b")} - {"a__b"}
    assert rows(db, f'id, a__b, "{apart}"') == [(1, *(("within", "flat") if is_turned else ("flat", "within")))]
    assert len([words for words in warnings if "is of the property" in words]) == 1
    run(db, *before, *after)
    assert set(columns(db).values()) >= {"id", "a__b", apart}
    assert len(columns(db)) == 4


def test_a_comment_of_somebody_else_changes_nothing(db: Any) -> None:
    run(db, schema("t", id=INT, total=INT), record("t", id=1, total=1))
    db.query(f'COMMENT ON COLUMN "{db.schema}".t.total IS %s', ("all of it",))
    assert run(db, schema("t", id=INT, total=INT), record("t", id=2, total=2)).summary["warnings"] == []
    assert rows(db, "id, total") == [(1, 1), (2, 2)]
