"""invalid_schemas: quarantine: one SCHEMA that is refused does not end the tap, and nothing of it is lost or silent."""

from __future__ import annotations

import json
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from on_postgres import dialect, rows, run

from target_meltano import SchemaError, commands, load, main
from target_meltano.report import Report
from target_meltano.samples import INT, STR, record, schema, state
from target_meltano.tables import Plan
from target_meltano.target import Target

ASIDE = {"invalid_schemas": "quarantine"}
BAD = schema("bad", id=INT, name__x=STR, name={"type": "object", "properties": {"x": STR}})
GOOD = schema("good", id=INT)


def aside(db: Any, *lines: Any, match: str | None = None, **settings: Any) -> list[str]:
    """Load lines of which some SCHEMA is refused; return the STATEs."""
    states: list[str] = []
    with pytest.raises(SchemaError, match=match):
        load(dialect(db, **ASIDE, **settings), lines, on_state=states.append)
    return states


def rejected(db: Any) -> list[Any]:
    found: list[Any] = db.query(f"SELECT message -> 'record', stream, line, reason FROM \"{db.schema}\".__rejected ORDER BY line, record")
    return found


@pytest.mark.parametrize("state_id", [None, "p"], ids=["", "state_id"])
@pytest.mark.parametrize("invalid_records", ["fail", "quarantine"])
def test_the_rest_is_loaded_and_the_records_are_kept(db: Any, invalid_records: str, state_id: str | None) -> None:
    lines = [GOOD, BAD, record("good", id=1), record("bad", id=1, name__x="a"), BAD, state(1), record("bad", id=2), record("good", id=2), state(2)]
    states = aside(
        db, *lines, match=r"^1 of the streams .* in __rejected; .*stream 'bad': line 2: properties 'name__x' and 'name.x'.*column_names",
        invalid_records=invalid_records, state_id=state_id, batch_rows=1,
    )  # fmt: skip
    assert states[-1] == "2"
    assert rows(db, "id", "good") == [(1,), (2,)]
    assert [(found["id"], stream, line) for found, stream, line, _ in rejected(db)] == [(1, "bad", 4), (2, "bad", 7)]
    assert "its SCHEMA is refused: line 2: properties 'name__x' and 'name.x'" in rejected(db)[0][3]
    assert db.query(f'SELECT stream, rows_read, rows_rejected FROM "{db.schema}".__loads ORDER BY 1') == [("bad", 2, 2), ("good", 2, 0)]


def test_without_the_setting_the_first_one_ends_the_run_and_the_setting_is_named(db: Any) -> None:
    with pytest.raises(SchemaError, match=r"^line 2: stream 'bad': \$\.v: .*setting invalid_schemas: quarantine"):
        run(db, GOOD, schema("bad", v={"$ref": "#/none"}), record("good", id=1))


def test_max_rejected_counts_no_record_of_a_stream_that_is_put_aside(db: Any) -> None:
    records = [record("bad", id=i) for i in range(20)]
    lines = [BAD, GOOD, record("good", id="x"), *records, record("good", id=1), state(1)]
    assert aside(db, *lines, invalid_records="quarantine", max_rejected=1, batch_rows=5) == ["1"]
    assert len(rejected(db)) == 21
    assert rows(db, "id", "good") == [(1,)]


REFUSED: dict[str, Any] = {
    "names": BAD,
    "no schema": {"type": "SCHEMA", "stream": "bad", "schema": 5, "key_properties": []},
    "no keys": {"type": "SCHEMA", "stream": "bad", "schema": {"type": "object", "properties": {"id": INT}}},
    "column_types": schema("bad", id={"type": "object", "properties": {"a": {"type": "null"}}}),
    "type": schema("bad", id={"type": "whole"}),
    "root": {**BAD, "schema": {"type": "array"}},
    "our own": {**GOOD, "stream": "__state"},
    "table of another": {**GOOD, "stream": "GOOD"},
}


@pytest.mark.parametrize("message", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("load_method", ["upsert", "append", "overwrite"])
def test_whatever_is_wrong_with_it(db: Any, message: Any, load_method: str) -> None:
    name = message["stream"]
    lines = [GOOD, record("good", id=1), message, record(name, id=5), record("good", id=2), record(name, id=6), state(1)]
    assert aside(db, *lines, match=f"stream '{name}': line 3: (?!.*stream '{name}')", load_method=load_method) == ["1"]
    assert rows(db, "id", "good") == [(1,), (2,)]
    assert [found["id"] for found, *_ in rejected(db)] == [5, 6]
    run(db, GOOD, record("good", id=2), state(2), load_method=load_method)


def test_a_table_that_cannot_follow_keeps_its_rows_and_those_before(db: Any) -> None:
    run(db, schema("bad", id=INT, v=STR), record("bad", id=1, v="a"), state(1))
    narrower = schema("bad", id=INT, v=INT)
    lines = [schema("bad", id=INT, v=STR), record("bad", id=2, v="b"), narrower, record("bad", id=3, v=3), GOOD, record("good", id=1), state(2)]
    assert aside(db, *lines, match="stream 'bad': line 3: .*narrowing") == ["2"]
    assert rows(db, "id, v", "bad") == [(1, "a"), (2, "b")]
    assert rows(db, "id", "good") == [(1,)]
    assert [found["id"] for found, *_ in rejected(db)] == [3]


def test_a_schema_that_is_right_again_ends_it(db: Any) -> None:
    good = schema("bad", id=INT)
    lines = [good, record("bad", id=1), BAD, record("bad", id=2), good, record("bad", id=3), BAD, record("bad", id=4), state(1)]
    assert aside(db, *lines, match="stream 'bad': line 3: ") == ["1"]
    assert rows(db, "id", "bad") == [(1,), (3,)]
    assert [found["id"] for found, *_ in rejected(db)] == [2, 4]


def test_an_overwrite_replaces_no_rows_by_a_part_of_them(db: Any) -> None:
    good = schema("bad", id=INT)
    run(db, good, record("bad", id=9), state(1), load_method="overwrite")
    assert aside(db, good, record("bad", id=1), BAD, record("bad", id=2), state(2), match="^line 3: stream 'bad'", load_method="overwrite") == []
    assert rows(db, "id", "bad") == [(9,)]
    assert aside(db, GOOD, BAD, record("bad", id=2), record("good", id=1), state(3), load_method="overwrite") == ["3"]
    assert rows(db, "id", "bad") == [(9,)]
    assert rows(db, "id", "good") == [(1,)]


def test_no_version_is_activated_of_a_stream_that_is_put_aside(db: Any) -> None:
    """The rows of the new version are not in the table."""
    activate = [{"type": "ACTIVATE_VERSION", "stream": "bad", "version": n} for n in (1, 2)]
    good = schema("bad", id=INT)
    run(db, good, {**record("bad", id=1), "version": 1}, activate[0], state(1), activate_version="hard")
    lines = [good, BAD, {**record("bad", id=2), "version": 2}, activate[1], state(2)]
    aside(db, *lines, activate_version="hard")
    assert rows(db, "id", "bad") == [(1,)]


def test_records_that_need_columns_which_cannot_be_are_put_aside(db: Any) -> None:
    lines = [schema("bad", id=INT, __version=INT), record("bad", id=1), {**record("bad", id=2), "version": 2}, GOOD, record("good", id=1), state(1)]
    assert aside(db, *lines, match=r"stream 'bad': line 3: property '__version'") == ["1"]
    assert rows(db, "id", "bad") == [(1,)]
    assert [found["id"] for found, *_ in rejected(db)] == [2]


def test_records_of_a_batch_are_kept_each_with_its_place(db: Any, tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"id": 1}\n{"id": 2}\n', "utf-8")
    batch = {"type": "BATCH", "stream": "bad", "encoding": {"format": "jsonl", "compression": "none"}, "manifest": ["file://" + str(tmp_path / "b.jsonl")]}
    assert aside(db, BAD, batch, GOOD, record("good", id=1), state(1), batch_root=str(tmp_path)) == ["1"]
    assert [(found["id"], line) for found, _, line, _ in rejected(db)] == [(1, 2), (2, 2)]
    assert rows(db, "id", "good") == [(1,)]


def test_replay_gives_the_schema_to_be_mended_and_the_records(db: Any) -> None:
    aside(db, BAD, record("bad", id=1, name__x="a"), state(1))
    warnings: list[str] = []
    lines = [json.loads(line) for line in commands.replay(dialect(db), None, None, warnings.append)]
    assert [line["type"] for line in lines] == ["SCHEMA", "RECORD"]
    assert "stream 'bad': its SCHEMA is refused, mend it" in warnings[0]
    run(db, *lines, column_names={"bad.name.x": "other_name"})
    assert rows(db, "id, name__x", "bad") == [(1, "a")]


def test_exit_code_warning_and_summary_tell_it(db: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = b"".join(json.dumps(line).encode() + b"\n" for line in (GOOD, BAD, record("good", id=1), record("bad", id=1), state(1)))
    (tmp_path / "config.json").write_text(json.dumps({"url": db.url, "schema": db.schema, **ASIDE}), "utf-8")
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(lines)))
    arguments = ["-c", str(tmp_path / "config.json"), "--summary", str(tmp_path / "summary.json")]
    code = main("postgres", "target_meltano_postgres.dialect:PostgresDialect", arguments)
    told = capsys.readouterr()
    assert (code, told.out) == (1, "1\n")
    assert told.err.count("properties 'name__x' and 'name.x' would both be named") == 2  # a warning, and the error at the end
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert list(summary["refused"]) == ["bad"]
    assert "would both be named" in summary["refused"]["bad"]
    assert summary["streams"]["bad"]["rejected"] == 1


def test_a_plan_shows_the_others(db: Any) -> None:
    shown: list[str] = []
    lines = [json.dumps(line).encode() + b"\n" for line in (BAD, record("bad", id=1), GOOD)]
    with pytest.raises(SchemaError, match="'bad': line 1"):
        Target(dialect(db, **ASIDE), print, Report(quiet=True), plan=Plan(shown.append)).run(lines)
    assert any("good" in text for text in shown)
    assert db.query("SELECT 1 FROM pg_namespace WHERE nspname = %s", (db.schema,)) == []
