"""A first SCHEMA that names no property, as tap-mongodb and tap-dynamodb send: what becomes of keys, records, later SCHEMAs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from on_postgres import dialect, rows, run

from target_meltano import RecordError, SchemaError, commands, load
from target_meltano.samples import INT, NUM, STR, record, state

KEEP = {"unknown_fields": "keep"}
ANY_TIME = {"anyOf": [{"type": "string", "format": "date-time"}, {}]}


def schema(stream: str = "t", keys: tuple[str, ...] = ("_id",), **properties: Any) -> dict[str, Any]:
    described = {"type": "object", **({"properties": properties} if properties else {})}
    return {"type": "SCHEMA", "stream": stream, "schema": described, "key_properties": list(keys)}


OPEN = schema()


def at(version: int) -> dict[str, Any]:
    return {"type": "ACTIVATE_VERSION", "stream": "t", "version": version}


def test_a_stream_waits_for_properties_and_its_key_comes_from_the_records(db: Any) -> None:
    lines = [OPEN, at(1), schema(seen=ANY_TIME), {**record("t", _id="a1", seen="2031-05-06T00:00:00Z"), "version": 1}, at(1), state(1)]
    for _ in range(2):
        assert run(db, *lines).state == "1"
    assert rows(db, "_id, seen") == [("a1", "2031-05-06T00:00:00Z")]
    types = db.query("SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = %s AND table_name = 't' AND column_name = '_id'", (db.schema,))
    assert types == [("_id", "text")]


@pytest.mark.parametrize("spelt", [{"type": "object"}, {}, {"type": ["null", "object"], "properties": {}}, {"type": "object", "additionalProperties": True}], ids=str)
def test_a_record_that_would_have_no_column_is_refused_with_the_setting(db: Any, spelt: Any) -> None:
    states: list[str] = []
    lines = [state(1), {**OPEN, "schema": spelt}, record("t", _id="a", n=1), state(2)]
    with pytest.raises(RecordError, match=r"^line 3: stream 't': .*SCHEMA of line 2 names no property.*setting unknown_fields: keep"):
        load(dialect(db), lines, on_state=states.append)
    assert states == ["1"]
    run(db, *lines, schema("other", ("id",), id=INT), record("other", id=1), invalid_records="quarantine")
    assert db.query(f'SELECT line, message -> \'record\' FROM "{db.schema}".__rejected') == [(3, {"_id": "a", "n": 1})]
    run(db, *lines, **KEEP)
    assert rows(db, "_id, __extra") == [("a", {"n": 1})]


def test_records_of_a_waiting_stream_alone_go_into_quarantine(db: Any) -> None:
    assert run(db, OPEN, record("t", _id="a", n=1), state(1), invalid_records="quarantine").state == "1"
    assert db.query(f'SELECT line FROM "{db.schema}".__rejected') == [(2,)]
    (found, *more) = [json.loads(line) for line in commands.replay(dialect(db, **KEEP), None, None, print)]
    run(db, found, *more, **KEEP)
    assert rows(db, "_id, __extra") == [("a", {"n": 1})]


def test_a_schema_that_forbids_all_properties_is_refused(db: Any) -> None:
    with pytest.raises(SchemaError, match="line 1: stream 't'.*no column to make"):
        run(db, {**OPEN, "schema": {"type": "object", "additionalProperties": False}}, **KEEP)


def test_fields_are_kept_as_json_until_a_schema_names_them(db: Any) -> None:
    lines = [OPEN, record("t", _id="a", n=1.5, tags=["x"]), schema(n=NUM), record("t", _id="b", n=2.5, tags=[]), OPEN, record("t", _id="c", n=3)]
    run(db, *lines, state(1), **KEEP)
    assert rows(db, "_id, n::text, __extra") == [("a", None, {"n": 1.5, "tags": ["x"]}), ("b", "2.5", {"tags": []}), ("c", "3", None)]


def test_keys_of_other_types_become_text_and_that_is_told(db: Any) -> None:
    lines = [OPEN, record("t", _id="x"), record("t", _id=12345678901234567890), record("t", _id={"region": "eu"}), record("t", _id=True), state(1)]
    result = run(db, *lines, **KEEP)
    assert rows(db, "_id") == [("12345678901234567890",), ("true",), ("x",), ('{"region":"eu"}',)]
    assert any("$._id: values of another type" in warning for warning in result.summary["warnings"])


def test_a_key_keeps_the_type_that_its_column_has(db: Any) -> None:
    run(db, schema(_id=INT, v=STR), record("t", _id=7, v="a"), state(1))
    run(db, OPEN, record("t", _id=7, w="b"), state(2), **KEEP)
    assert rows(db, "_id, __extra") == [(7, {"w": "b"})]


def test_the_type_of_a_key_may_be_set(db: Any) -> None:
    run(db, OPEN, record("t", _id=7), state(1), column_types={"t._id": "integer", "t.later": "number"}, indexes={"t": [["later"]]}, **KEEP)
    assert rows(db, "_id") == [(7,)]


@pytest.mark.parametrize("record_", [record("t", n=1), record("t", _id=None)], ids=["absent", "null"])
def test_a_key_that_a_record_lacks_is_an_invalid_record(db: Any, record_: Any) -> None:
    with pytest.raises(RecordError, match=r"line 2: stream 't': \$\._id: a key must not be absent or null"):
        run(db, OPEN, record_, **KEEP)


@pytest.mark.parametrize("method", ["upsert", "append", "overwrite"])
def test_a_stream_without_key(db: Any, method: str) -> None:
    run(db, schema(keys=()), record("t", n=1), record("t"), state(1), load_method=method, **KEEP)
    assert [extra for (extra,) in rows(db, "__extra")] == [{"n": 1}, None]


def test_a_key_that_is_missing_in_a_schema_is_refused_where_none_was_open(db: Any) -> None:
    with pytest.raises(SchemaError, match=r"^line 1: stream 't': key property '_id' is not in the schema"):
        run(db, schema(v=STR), record("t", _id="a", v="b"))


def test_a_version_that_came_before_the_properties_is_activated(db: Any) -> None:
    lines = [OPEN, schema(v=STR), {**record("t", _id="a", v="x"), "version": 1}, at(1), state(1)]
    run(db, *lines)
    run(db, OPEN, at(2), schema(v=STR), state(2), activate_version="hard")
    assert rows(db, "_id") == []


def test_records_of_a_batch_wait_too(db: Any, tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"_id": "a", "v": "x"}\n', "utf-8")
    batch = {"type": "BATCH", "stream": "t", "encoding": {"format": "jsonl"}, "manifest": [(tmp_path / "b.jsonl").as_uri()]}
    with pytest.raises(RecordError, match="names no property"):
        run(db, OPEN, batch, batch_root=str(tmp_path))
    run(db, OPEN, schema(v=STR), batch, batch_root=str(tmp_path))
    assert rows(db, "_id, v") == [("a", "x")]


def test_replay_gives_a_schema_that_names_nothing_before_one_without_the_key(db: Any) -> None:
    run(db, OPEN, schema(v=INT), record("t", _id="a", v=1), record("t", _id="b", v="x"), state(1), invalid_records="quarantine")
    lines = [json.loads(line) for line in commands.replay(dialect(db), None, None, print)]
    assert [line["type"] for line in lines] == ["SCHEMA", "SCHEMA", "RECORD"]
    lines[-1]["record"]["v"] = 2
    run(db, *lines)
    assert rows(db, "_id, v") == [("a", 1), ("b", 2)]
