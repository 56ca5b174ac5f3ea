"""What a refused change of a column's type advises is done as it says, and then the stream loads."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from on_postgres import rows, run

from target_meltano import STRING, RecordError, UpgradeError
from target_meltano.samples import INT, PAIRS, Sample, is_up, pair_id, record, schema, settings_of

BOOL = {"type": "boolean"}
ADVICE = re.compile(r'`(\w+): (keep|\{"t\.v": "\w+(?:\(\d+,\d+\))?"\})`(?:[^`]*, with ("\w+"))?')


def advised(error: Exception) -> list[dict[str, Any]]:
    """Return the settings that a message names, each a way out."""
    (found,) = ADVICE.findall(str(error))
    name, value, also = found
    if value == "keep":
        return [{name: value}]
    return [{name: json.loads(value)}, *([{name: {"t.v": json.loads(also)}}] if also else [])]


@pytest.mark.parametrize(("found", "wanted"), [pair for pair in PAIRS if not is_up(*pair)], ids=pair_id)
def test_the_setting_that_is_named_lets_the_stream_load(db: Any, found: Sample, wanted: Sample) -> None:
    first = [schema("t", id=INT, v=found.schema), record("t", id=1, v=found.one[0])]
    second = [schema("t", id=INT, v=wanted.schema), record("t", id=2, v=wanted.one[0])]
    more = settings_of(found, wanted)
    run(db, *first, **settings_of(found))
    with pytest.raises(UpgradeError) as caught:
        run(db, *second, **more)
    ways = advised(caught.value)
    for way in ways:
        db.query(f'DROP SCHEMA "{db.schema}" CASCADE')
        run(db, *first, **settings_of(found))
        before = rows(db, "v::text")
        run(db, *second, **more, **way)
        name = way.get("column_names", {}).get("t.v", "v")
        after = dict(rows(db, f"id, {name}::text"))
        assert after[2] is not None
        assert name == "v_2" or (after[1],) in (*before, (found.text,))


@pytest.mark.parametrize(
    ("before", "one", "after", "value", "expected"),
    [
        (BOOL, True, INT, 3, ["true", "3"]),
        (INT, 3, BOOL, True, ["3", "true"]),
        ({"type": "string", "format": "date"}, "2026-01-02", INT, 3, ["2026-01-02", "3"]),
    ],
    ids=["boolean to integer", "integer to boolean", "date to integer"],
)
def test_a_text_takes_both_where_neither_type_does(db: Any, before: Any, one: Any, after: Any, value: Any, expected: list[str]) -> None:
    run(db, schema("t", id=INT, v=before), record("t", id=1, v=one))
    with pytest.raises(UpgradeError, match=r'with `column_types: {"t.v": "string"}` it becomes string, which takes both') as caught:
        run(db, schema("t", id=INT, v=after), record("t", id=2, v=value), narrowing="keep")
    (way,) = advised(caught.value)
    for _ in range(2):
        run(db, schema("t", id=INT, v=after), record("t", id=2, v=value), **way)
    assert [text for (_, text) in rows(db, "id, v")] == expected


def test_decimals_of_other_digits_become_numbers(db: Any) -> None:
    wanted = schema("t", id=INT, v={"type": "number"})
    run(db, wanted, record("t", id=1, v=Decimal("1.50")), column_types={"t.v": "decimal(10,2)"})
    db.query(f'ALTER TABLE "{db.schema}".t ALTER v TYPE numeric(10,2)')
    with pytest.raises(UpgradeError, match="it becomes number, which takes both") as caught:
        run(db, schema("t", id=INT, v=INT), record("t", id=2, v=2**40))
    (way,) = advised(caught.value)
    run(db, schema("t", id=INT, v=INT), record("t", id=2, v=2**40), **way)
    assert rows(db, "id, v") == [(1, Decimal("1.50")), (2, 2**40)]
    assert STRING not in way.values()


@pytest.mark.parametrize(
    ("first", "stored", "then", "value", "settings"),
    [
        (INT, 2**53 + 1, {"type": "number"}, 2, {"number": "double"}),
        ({"type": "string", "format": "date-time"}, "infinity", {"type": "string"}, "2026-01-02T00:00:00Z", {}),
    ],
    ids=["no double", "no text"],
)
def test_a_column_with_a_value_that_would_change_stays_by_the_remedy(db: Any, first: Any, stored: Any, then: Any, value: Any, settings: Any) -> None:
    run(db, schema("t", id=INT, v=first))
    db.query(f'INSERT INTO "{db.schema}".t (id, v) VALUES (1, %s)', (stored,))
    second = schema("t", id=INT, v=then), record("t", id=2, v=value)
    with pytest.raises(UpgradeError, match="a value in it would change; with `column_types: .* it takes the values that convert exactly") as caught:
        run(db, *second, **settings)
    before = dict(rows(db, "id, v::text"))
    (way,) = advised(caught.value)
    run(db, *second, **settings, **way)
    after = dict(rows(db, "id, v::text"))
    assert set(after) == {1, 2}
    assert after[1] == before[1]


HOLDS = re.compile(r'; setting column_types: ("t\.v": "\w+") holds it$')
SOME: dict[str, Any] = {
    "integer": INT,
    "number": {"type": "number"},
    "boolean": BOOL,
    "string": {"type": "string"},
    "date": {"type": "string", "format": "date"},
    "moment": {"type": "string", "format": "date-time"},
    "time": {"type": "string", "format": "time"},
    "array": {"type": "array"},
    "any object": {"type": "object"},
    "object": {"type": "object", "properties": {"a": INT, "b": INT}},
    "null": {"type": "null"},
    "integer or string": {"type": ["integer", "string"]},
}
OTHERS: list[Any] = [7, Decimal("1.5"), True, "x", [1, "x"], {"c": 1}]


@pytest.mark.parametrize("inferred", SOME)
@pytest.mark.parametrize("value", OTHERS, ids=str)
def test_a_value_of_another_type_names_the_setting_that_holds_it(db: Any, inferred: str, value: Any) -> None:
    """Taps that infer a SCHEMA from the first records send others later on (tap-rest-api-msdk, tap-jsonl)."""
    lines = [schema("t", id=INT, v=SOME[inferred]), record("t", id=1, v=value)]
    try:
        run(db, *lines)
    except RecordError as error:
        message = str(error).removesuffix("; the setting invalid_records: quarantine loads the others")
    else:
        return
    if message.endswith(", or the setting coerce: lossless"):
        way: Any = {"coerce": "lossless"}
    else:
        (found,) = HOLDS.findall(message)
        way = {"column_types": json.loads("{" + found + "}")}
    run(db, *lines, **way)
    ((stored,),) = db.query(f'SELECT to_jsonb(v) FROM "{db.schema}".t')
    assert stored == (float(value) if isinstance(value, Decimal) else value) or json.loads(stored) == value or Decimal(stored) == value
