"""What errors say: what was found, and a remedy that works. With each one the remedy is tried."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from on_postgres import dialect, rows, run

from target_meltano import IncompleteError, RecordError, SettingsError, TargetError, load
from target_meltano.samples import INT, STR, record, schema, state

ROOT = Path(__file__).parent.parent
PII = [{"stream": "users", "columns": ["email"], "method": "hash"}]
KEY = "v1:" + "k" * 32


# --- a line that is no JSON


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"starting up\n", "line 2: not JSON: Expecting value at character 1: 'starting up'"),
        (b'  {"type": "RECORD" oops\n', r"""line 2: not JSON: Expecting ',' delimiter at character 21: '{"type": "RECORD" oops'"""),
        (b'{"a": "b\x01"}\n', r"""line 2: not JSON: Invalid control character at character 9: '{"a": "b\x01"}'"""),
    ],
    ids=["text", "damaged", "control character"],
)
def test_a_line_that_is_no_json_is_shown(db: Any, line: bytes, words: str) -> None:
    with pytest.raises(TargetError) as fault:
        run(db, schema("t"), line)
    assert str(fault.value) == words


def test_80_characters_of_it(db: Any) -> None:
    with pytest.raises(TargetError, match="not JSON") as fault:
        run(db, schema("t"), "x" * 10_000)
    assert len(str(fault.value)) < 140
    assert str(fault.value).endswith("xx…")


def test_not_where_there_are_rules_for_personal_data(db: Any) -> None:
    """Whatever stream it may be of, in the error and in the quarantine."""
    for invalid in ("fail", "quarantine"):
        settings = {"pii": {"key": KEY, "rules": PII}, "invalid_records": invalid}
        lines = [schema("users", id=INT, email=STR), schema("t"), b"ada@example.com starts\n", record("users", id=1, email="ada@example.com"), state(1)]
        try:
            told = json.dumps(run(db, *lines, **settings).summary)
        except TargetError as fault:
            told = str(fault)
            assert "not JSON" in told
        assert "ada@" not in told
    assert "ada@" not in str(db.query(f'SELECT reason, convert_from(source, \'UTF8\'), message FROM "{db.schema}".__rejected'))


# --- a record that does not fit


def test_a_record_that_ends_a_run_names_the_quarantine(db: Any) -> None:
    lines = [schema("t", id=INT, age=INT), record("t", id=1, age="thirty"), record("t", id=2, age=30), state(1)]
    with pytest.raises(RecordError, match=r"\$\.age: 'thirty' is a string, wanted integer; .*; the setting invalid_records: quarantine loads the others$"):
        run(db, *lines)
    run(db, *lines, invalid_records="quarantine")
    assert rows(db, "id") == [(2,)]
    ((reason,),) = rows(db, "reason", "__rejected")
    assert reason.startswith("'thirty' is a string, wanted integer")
    assert "quarantine" not in reason


def test_one_that_would_convert_names_coerce_too(db: Any) -> None:
    lines = [schema("t", id=INT, age=INT), record("t", id=1, age="30"), state(1)]
    with pytest.raises(RecordError, match=r"wanted integer, or the setting coerce: lossless; the setting invalid_records: quarantine loads the others$"):
        run(db, *lines)
    run(db, *lines, coerce="lossless")
    assert rows(db, "age") == [(30,)]


def test_one_record_too_many_in_quarantine_names_what_it_met(db: Any) -> None:
    with pytest.raises(RecordError, match=r"\(setting max_rejected\)$"):
        run(db, schema("t"), record("t", id="x"), record("t", id="y"), invalid_records="quarantine", max_rejected=1)


# --- an overwrite that is not whole


def test_an_overwrite_without_a_state_says_what_makes_it_whole(db: Any, tmp_path: Path) -> None:
    lines = [schema("t"), record("t", id=1)]
    with pytest.raises(IncompleteError, match=r"STATE message at its end .* --tap-status-fd N"):
        run(db, *lines, load_method="overwrite")
    run(db, *lines, state(1), load_method="overwrite")
    assert rows(db, "id") == [(1,)]
    (tmp_path / "c.json").write_text(json.dumps({"url": db.url, "schema": db.schema, "load_method": "overwrite"}))
    command = f"exec 3<<<0; {sys.executable} -c 'from target_meltano_postgres import main; main()' --tap-status-fd 3 --config {tmp_path}/c.json"
    told = "".join(json.dumps(line) + "\n" for line in [schema("t"), record("t", id=2)])
    subprocess.run(["bash", "-c", command], input=told, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert rows(db, "id") == [(2,)]


# --- what is not installed


@pytest.mark.parametrize(
    ("name", "lacks", "arguments"),
    [
        ("postgres", "psycopg2", ["--about"]),
        ("postgres", "psycopg2", []),
        ("postgres", "psycopg2", ["state", "get"]),
        ("postgres", "psycopg2", ["rejected", "list"]),
        ("snowflake", "snowflake", ["--about"]),
        ("snowflake", "snowflake", []),
    ],
    ids=lambda value: " ".join(value) or "load" if isinstance(value, list) else value,
)
def test_a_driver_that_is_not_installed(name: str, lacks: str, arguments: list[str]) -> None:
    """One line, with what installs it; and what needs no driver works."""
    code = f"import sys; sys.modules['{lacks}'] = None; from target_meltano_{name} import main; main()"

    def done(*arguments: str) -> Any:
        return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}, input="")

    told = done(*arguments)
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr == f'CRITICAL {lacks} is not installed; run pip install "target-meltano[{name}]"\n'
    assert done("--version").returncode == 0


# --- from Python


def test_a_path_is_a_file(db: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.singer"
    path.write_text("".join(json.dumps(line) + "\n" for line in [schema("t"), record("t", id=1), state(7)]))
    for source in (path, str(path)):
        assert load(dialect(db), source).state == "7"
    with pytest.raises(SettingsError, match=r"b\.singer: No such file or directory; wanted the path of a file with Singer messages"):
        load(dialect(db), "b.singer")
