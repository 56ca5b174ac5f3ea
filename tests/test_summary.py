"""What a run tells programs: the file of `--summary`, and the name of its sessions."""

from __future__ import annotations

import json
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from on_postgres import dialect

from target_meltano import load, main

SCHEMA = b"""{"type": "SCHEMA", "stream": "t", "key_properties": ["id"], "schema": {"properties": {"id": {"type": "integer"}}}}
"""


def record(text: str) -> bytes:
    return b'{"type": "RECORD", "stream": "t", "record": {"id": %s}}\n' % text.encode()


@pytest.fixture
def summary(db: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Loads lines and returns the exit code and the summary."""

    def run(*lines: bytes, **settings: Any) -> tuple[int, dict[str, Any]]:
        (tmp_path / "c.json").write_text(json.dumps({"url": db.url, "schema": db.schema, **settings}), "utf-8")
        monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(b"".join(lines))))
        arguments = ["--config", str(tmp_path / "c.json"), "--summary", str(tmp_path / "summary.json")]
        code = main("postgres", "target_meltano_postgres.dialect:PostgresDialect", arguments)
        return code, json.loads((tmp_path / "summary.json").read_text("utf-8"))

    return run


def test_summary_tells_what_was_done(db: Any, summary: Any) -> None:
    lines = [SCHEMA, record("1"), record('"x"'), record("2"), b'{"type": "STATE", "value": {"at": 1.10}}\n']
    code, found = summary(*lines, invalid_records="quarantine")
    stream = found["streams"]["t"]
    assert code == 0
    assert (stream["read"], stream["written"], stream["rejected"]) == (3, 2, 1)
    assert (stream["inserted"], stream["updated"], stream["absent"]) == (2, 0, {})
    assert stream["bytes"] == len(record("1") + record("2")) - 2  # without line ends
    assert stream["seconds"] > 0
    assert [statement.split()[0] for statement in stream["ddl"] if "COMMENT" not in statement][-1] == "CREATE"
    assert found["state"] == '{"at":1.10}'
    assert found["error"] is None
    assert found["bytes"] in range(len(b"".join(lines)) - len(lines), len(b"".join(lines)) + 1)
    assert found["seconds"] > 0
    assert db.query(f"SELECT run_id FROM {db.schema}.__loads WHERE stream = 't'") == [(found["run_id"],)]


def test_summary_tells_how_it_failed(summary: Any) -> None:
    """And what was committed before."""
    code, found = summary(SCHEMA, record("1"), b'{"type": "STATE", "value": 1}\n', record('"x"'))
    assert code == 1
    assert found["error"].startswith("line 4: stream 't': $.id: ")
    assert (found["streams"]["t"]["written"], found["state"]) == (1, "1")


def test_a_file_that_cannot_be_written_is_told_before_the_load(db: Any, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "c.json").write_text(json.dumps({"url": db.url, "schema": db.schema}), "utf-8")
    arguments = ["--config", str(tmp_path / "c.json"), "--summary", str(tmp_path / "none" / "s.json")]
    assert main("postgres", "target_meltano_postgres.dialect:PostgresDialect", arguments) == 2
    assert "none/s.json: No such file or directory" in capsys.readouterr().err


def test_sessions_are_named_by_their_run(db: Any) -> None:
    names: list[str] = []

    def look(_: str) -> None:
        names.extend(name for (name,) in db.query("SELECT application_name FROM pg_stat_activity"))

    result = load(dialect(db), [SCHEMA, record("1"), {"type": "STATE", "value": 1}], on_state=look)
    assert f"target-meltano-postgres {result.summary['run_id']}" in names
    assert len(result.summary["run_id"]) > 20
