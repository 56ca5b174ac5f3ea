"""Settings from files and variables: nothing that is meant for one is passed over, and who wins is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from on_postgres import dialect

from target_meltano import SettingsError, TargetError, load
from target_meltano.report import Report
from target_meltano.samples import INT, STR, record, schema, state
from target_meltano.settings import read
from target_meltano_postgres import PostgresSettings

PREFIX = "target_meltano_postgres"
ROOT = Path(__file__).parent.parent


def found(tmp_path: Path, content: Any = None, **variables: str) -> tuple[PostgresSettings, list[str]]:
    """Return settings of a file with this *content*, and of variables; and what is told of them."""
    path, told = tmp_path / "c.json", []
    path.write_text(content if isinstance(content, str) else json.dumps(content or {}))
    environment = {f"TARGET_MELTANO_POSTGRES_{name}": value for name, value in {"SCHEMA": "s", **variables}.items()}
    return read(PostgresSettings, [path], environment, PREFIX, told.append), told


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("BATCH_ROW", r"batch_row: unknown, did you mean batch_rows\? \(variable TARGET_MELTANO_POSTGRES_BATCH_ROW\)"),
        ("PPI", r"ppi: unknown, did you mean pii\?"),
        ("PII_RULES", r"pii_rules: unknown, did you mean pii, a JSON object\?"),
        ("PII_UNLISTD", r"pii_unlistd: unknown, did you mean pii_unlisted\?"),
        ("SCHEMA_MAPPING", r"schema_mapping: unknown, here it is schema: a schema per tap, and table_names"),
        ("VALIDATE_RECORDS", r"validate_records: unknown, here it is validation \("),
        ("QQQ", r"qqq: unknown \("),
    ],
)
def test_a_variable_that_is_no_setting_is_refused(tmp_path: Path, name: str, words: str) -> None:
    """As in a file; and its value is never shown."""
    with pytest.raises(SettingsError, match=words) as refused:
        found(tmp_path, **{name: "[1, 'hunter2']"})
    assert "hunter2" not in str(refused.value)
    with pytest.raises(SettingsError, match=words.partition(r" \(")[0]):
        found(tmp_path, {name.lower(): 1})


def test_variables_may_have_the_names_that_other_targets_have(tmp_path: Path) -> None:
    assert found(tmp_path, DATABASE="d", USERNAME="u")[0].dbname == "d"


def test_meltano_sends_the_parts_of_an_object_beside_the_file(tmp_path: Path) -> None:
    """And some variables of its own, with two `_`; a part that the file does not have is one that nobody reads."""
    config = {"column_types": {"orders.item-id": "number"}, "pii": {"plain": ["orders"]}}
    parts = {"COLUMN_TYPES_ORDERS_ITEM_ID": "number", "PII_PLAIN": '["orders"]', "_LOAD_SCHEMA": "raw", "_DIALECT": ""}
    settings, told = found(tmp_path, config, **parts, COLUMN_TYPES=json.dumps(config["column_types"]))
    assert (settings.column_types, told) == (config["column_types"], [])
    with pytest.raises(SettingsError, match="pii_rules: unknown"):
        found(tmp_path, config, **parts, PII_RULES="[]")


def test_a_variable_that_a_file_overrules_is_told(tmp_path: Path) -> None:
    """By its name, once; not where both have the same value in another spelling."""
    same = {"HARD_DELETE": "True", "PORT": "5432", "BATCH_SECONDS": "60", "USER": "u"}
    config = {"dbname": "production", "hard_delete": True, "port": 5432, "batch_seconds": 60.0, "user": "u", "password": "secret-1"}
    settings, told = found(tmp_path, config, **same, DBNAME="staging", PASSWORD="secret-2")
    assert settings.dbname == "production"
    path = tmp_path / "c.json"
    assert told == [
        "settings of files win over variables, and have other values: overruled is "
        f"variable TARGET_MELTANO_POSTGRES_DBNAME by {path}, variable TARGET_MELTANO_POSTGRES_PASSWORD by {path}"
    ]


def test_a_key_that_comes_twice_in_a_file_is_refused(tmp_path: Path) -> None:
    for text, key in (('{"schema": "a", "schema": "b"}', "schema"), ('{"schema": "a", "table_names": {"t": "x", "t": "y"}}', "t")):
        with pytest.raises(SettingsError, match=rf"c\.json: {key}: it is there twice"):
            found(tmp_path, text)


def test_the_command_tells_of_overruled_variables(db: Any, tmp_path: Path) -> None:
    """In its log and in the summary; a command on stderr."""
    (tmp_path / "c.json").write_text(json.dumps({"url": db.url, "schema": db.schema}))
    command = [sys.executable, "-c", "from target_meltano_postgres import main; main()"]

    def told(*arguments: str) -> str:
        environment = {**os.environ, "TARGET_MELTANO_POSTGRES_SCHEMA": "other", "TARGET_MELTANO_POSTGRES_STATE_ID": "x", "PYTHONPATH": str(ROOT)}
        done = subprocess.run([*command, *arguments, "--config", str(tmp_path / "c.json")], env=environment, input="", capture_output=True, text=True, check=True)
        assert "other" not in done.stdout
        return done.stderr

    assert "overruled is variable TARGET_MELTANO_POSTGRES_SCHEMA" in told("--summary", str(tmp_path / "s.json"))
    assert len(json.loads((tmp_path / "s.json").read_text())["warnings"]) == 1
    assert told("state", "get").startswith("WARNING settings of files win over variables")


# --- names in settings that nothing has had


def warnings(db: Any, *lines: Any, **settings: Any) -> list[str]:
    report = Report(StringIO())
    load(dialect(db, **settings), lines, report=report)
    return report.warnings


NESTED = schema("orders", id=INT, address={"type": "object", "properties": {"zip": STR}})


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"table_names": {"order": "o", "orders": "p"}}, ["table_names: no such stream came: 'order' (did you mean 'orders'?)"]),
        ({"column_names": {"orders.adress.zip": "z", "orders.address.zip": "y"}}, ["column_names: no such property of a stream came: 'orders.adress.zip' (did you mean 'orders.address.zip'?)"]),
        ({"column_types": {"users.qqqqqqqq": "string"}}, ["column_types: no such property of a stream came: 'users.qqqqqqqq'"]),
        ({"narrowing": {"qqq": "keep", "*": "error"}, "indexes": {"xxx": [["id"]]}}, ["indexes: no such stream came: 'xxx'", "narrowing: no such stream came: 'qqq'"]),
        ({"table_names": {"orders": "p"}, "column_names": {"orders.id": "n", "orders.address.zip": "z"}, "narrowing": {"orders": "keep", "*": "error"}}, []),
    ],
    ids=["stream", "property", "property of no stream", "several", "all known"],
)
def test_names_that_met_nothing_are_told(db: Any, settings: Any, expected: list[str]) -> None:
    assert warnings(db, NESTED, record("orders", id=1), state(1), **settings) == expected


def test_nothing_is_told_where_nothing_came(db: Any) -> None:
    """Nor of a stream whose SCHEMA is refused."""
    assert warnings(db, state(1), table_names={"order": "o"}) == []
    refused = schema("orders", ("no",), id=INT)
    with pytest.raises(TargetError):
        load(dialect(db, column_names={"orders.x": "y"}, invalid_schemas="quarantine"), [refused, state(1)], report=(report := Report(StringIO())))
    assert not [text for text in report.warnings if "column_names" in text]
