"""No two keys become one: in a key a value is only taken if nothing of it changes, else its record is invalid."""

from __future__ import annotations

import re
from typing import Any

import pytest
from on_postgres import rows, run

from target_meltano.samples import INT, NUM, STR, schema, state

AT = {"type": "string", "format": "date-time"}


def lines(*keys: str) -> list[str]:
    """Return a record for each key, numbered from 1."""
    return [f'{{"type": "RECORD", "stream": "t", "record": {{"k": {key}, "n": {n}}}}}' for n, key in enumerate(keys, 1)]


def refused(db: Any) -> list[tuple[Any, ...]]:
    return rows(db, "line, path, reason", "__rejected")


@pytest.mark.parametrize("batch_rows", [1, 100])
@pytest.mark.parametrize(
    ("kind", "settings", "keys", "words"),
    [
        (STR, {"on_bad_text": "replace"}, ['"a\\ufffd"', '"a\\u0000"', '"a\\ud800"'], "in a key nothing is replaced"),
        ({}, {"on_bad_text": "replace"}, ['["\\ufffd"]', '["\\u0000"]', '{"\\ud800": 1}'], "in a key nothing is replaced"),
        (NUM, {"number": "double"}, ["9007199254740992", "9007199254740993", "0.10000000000000000001"], "would change .*, in a key"),
        (NUM, {"column_types": {"t.k": "double"}}, ["0.0", "1e-400", '"1e-400"'], "would change .*, in a key"),
        (AT, {}, ['"2017-01-01T00:00:00Z"', '"2016-12-31T23:59:60Z"', '"2017-01-01 00:59:60+01:00"'], "leap second"),
    ],
    ids=["text", "json", "double", "double by a setting", "leap second"],
)
def test_a_key_that_would_change_is_refused(db: Any, kind: Any, settings: Any, keys: list[str], words: str, batch_rows: int) -> None:
    sent = [schema("t", keys=("k",), k=kind, n=INT), *lines(*keys)]
    run(db, *sent, invalid_records="quarantine", batch_rows=batch_rows, **settings)
    assert rows(db, "n") == [(1,)]
    found = refused(db)
    assert [(line, path) for line, path, _ in found] == [(3, "$.k"), (4, "$.k")]
    assert all(re.search(words, reason) for _, _, reason in found)


@pytest.mark.parametrize("kind", [NUM, {}, INT, STR, AT], ids=["number", "json", "integer", "string", "timestamp"])
def test_a_flush_may_have_no_key_that_is_right(db: Any, kind: Any) -> None:
    """Nor any row."""
    run(db, schema("t", keys=("k",), k=kind, n=INT), *lines("null", '[NaN]'), state(1), invalid_records="quarantine")
    assert rows(db, "n") == []
    assert len(refused(db)) == 2


def test_a_double_that_does_not_change_is_a_key(db: Any) -> None:
    run(db, schema("t", keys=("k",), k=NUM, n=INT), *lines("0.1", "1e22", "-0.0", "5e-324", "1", "1.0"), number="double")
    assert sorted(rows(db, "n")) == [(1,), (2,), (3,), (4,), (6,)]


@pytest.mark.parametrize("many", [1, 300])
def test_elsewhere_a_leap_second_is_told(db: Any, many: int) -> None:
    """It is the second after it, as for PostgreSQL."""
    keyed = schema("t", keys=("n",), k=AT, n=INT)
    result = run(db, keyed, *lines(*['"2016-12-31T23:59:59.5Z"', '"2016-12-31T23:59:60.5Z"'] * many), state(1))
    assert rows(db, "n, to_char(k AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS')")[:2] == [
        (1, "2016-12-31 23:59:59.500"),
        (2, "2017-01-01 00:00:00.500"),
    ]
    (odd,) = result.summary["notices"]
    assert (odd["what"], odd["count"]) == ("$.k: a leap second became the second after it", many)
    assert "first in line 3" in result.summary["warnings"][0]


@pytest.mark.parametrize("batch_rows", [1, 100])
def test_keys_of_which_some_are_texts_are_told(db: Any, batch_rows: int) -> None:
    keyed = schema("t", keys=("k",), k={"type": ["integer", "string"]}, n=INT)
    for keys, warnings in ((["5", "6"], 0), (['"5"', '"x"'], 0), (["5", '"5"', "7"], 1)):
        found = run(db, keyed, *lines(*keys), batch_rows=batch_rows).summary["warnings"]
        assert len(found) == warnings
    assert found == ["stream 't': $.k: keys are texts and others, and such as 5 and \"5\" are one"]
    assert rows(db, "k") == [("5",), ("6",), ("7",), ("x",)]
