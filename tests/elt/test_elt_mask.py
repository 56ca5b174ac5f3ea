"""`mask` reads an elt.yml as `run` does: the same rules and the same key, or the same fault."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from elt_project import ROOT, WRAPPER, TestProject
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from target_meltano import SettingsError
from target_meltano.elt import mask, project, settings, warehouse

SECRET = "0123456789abcdef"
HEAD = "version: 1\nwarehouse: {type: embedded}\n"
TAPS = "taps: {crm: {executable: x}, shop: {executable: x}}\n"


@pytest.fixture(autouse=True)
def given_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "about", lambda command, folder, redact: {})
    for name, value in {"A": f"1:{SECRET}", "B": SECRET, "C": json.dumps(f"2:{SECRET}"), "EMPTY": ""}.items():
        monkeypatch.setenv(name, value)


def both(folder: Path, text: str, tap: str) -> tuple[Any, Any]:
    """Return what `run` gives to the target for *tap*, and what `mask` takes; of what is refused the fault."""
    (folder / "elt.yml").write_text(text, "utf-8")
    found: list[Any] = []
    for read in (_by_run, _by_mask):
        try:
            found.append(read(folder, tap))
        except SettingsError as error:
            found.append(str(error))
    return found[0], found[1]


def _by_run(folder: Path, tap: str) -> Mapping[str, Any]:
    made = project.read(folder)
    return warehouse.pii_of(made, made.taps[tap])


def _by_mask(folder: Path, tap: str) -> Any:
    return mask.rules(mask.read(folder / "elt.yml"), tap)[0]


PARTS = ["1:", "v2", ":", "${A}", "${B}", "${B:-x}", "${EMPTY:-}", "${NOT_SET}", "${NOT_SET:-3}", "$$", "${json:C}", "${file:key.txt}", "${no good}", SECRET, "é "]


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.lists(st.sampled_from(PARTS), min_size=1, max_size=3).map("".join))
def test_a_key_of_any_shape_is_the_same(tmp_path: Path, key: str) -> None:
    (tmp_path / "key.txt").write_text(f"9:{SECRET}\n")
    run, masks = both(tmp_path, f"{HEAD}{TAPS}pii: {json.dumps({'key': key, 'rules': [{'tap': 'crm', 'stream': 's', 'columns': ['c'], 'method': 'hash'}]})}\n", "crm")
    assert run == masks
    assert isinstance(run, str) or "${" not in run["key"].replace("$$", "")


@pytest.mark.parametrize("key", ["1:${B}", "${A}", "${json:C}", "${file:key.txt}"])
def test_some_of_them_are_taken(tmp_path: Path, key: str) -> None:
    (tmp_path / "key.txt").write_text(f"9:{SECRET}\n")
    run, masks = both(tmp_path, f"{HEAD}{TAPS}pii: {{key: '{key}', rules: [{{tap: crm, stream: s, columns: [c], method: hash}}]}}\n", "crm")
    assert run["key"] == masks["key"]
    assert run["key"].endswith(f":{SECRET}")


@pytest.mark.parametrize(
    "text",
    [
        "pii: {rules: [{tap: crm, stream: s, columns: [a], method: drop}]}\npii: {rules: [{tap: crm, stream: s, columns: [b], method: drop}]}\n",
        "pii:\n  rules: [{tap: crm, stream: s, columns: [a], method: drop}]\n  rules: [{tap: crm, stream: s, columns: [b], method: drop}]\n",
        "pii: {rules: [{tap: cmr, stream: s, columns: [a], method: drop}]}\n",
        "pii: {rules: [{stream: s, columns: [a], method: drop}]}\n",
        "pii: {rules: [{tap: crm, stream: s, colums: [a], method: drop}]}\n",
        "pii: {rules: [{tap: crm, stream: s, columns: [no, 2026-01-31, 1.0.0], method: drop}]}\n",
        "pii: {rules: [{tap: crm, stream: s, columns: [a], method: drop}, {tap: shop, stream: s, columns: [b], method: drop}]}\n",
        "pii: {rules: [{stream: s, columns: [a], method: drop, optional: true}], plain: [t]}\n",
        "pii: {transformations: [{tap: crm, tap_stream_name: s, field_id: a, type: HASH}, {tap: shop, tap_stream_name: s, field_id: b, type: HASH}]}\n",
        "pii: {rules: [{tap: shop, stream: s, columns: [a], method: drop}]}\n",
        "pii: {key_env: B, plain: ['*'], rules: []}\n",
        "pii: {key: !vault x, plain: ['*']}\n",
        "pii: {rules: [{tap: crm, stream: '${NOT_SET:-s}', columns: ['${B}'], method: drop}]}\n",
        "pii: &all {plain: ['*']}\n",
    ],
)
def test_rules_of_any_shape_are_the_same(tmp_path: Path, text: str) -> None:
    for tap in ("crm", "shop"):
        run, masks = both(tmp_path, HEAD + TAPS + text, tap)
        assert run == masks or (not run and not _rules_of(masks))


def _rules_of(found: Any) -> Any:
    return found.get("rules") or found.get("transformations")


def test_the_rules_of_the_only_tap_need_no_name(tmp_path: Path) -> None:
    (tmp_path / "elt.yml").write_text(f"{HEAD}taps: {{crm: {{executable: x}}}}\npii: {{rules: [{{tap: crm, stream: s, columns: [a], method: drop}}]}}\n")
    source = mask.read(tmp_path / "elt.yml")
    assert mask.rules(source, None) == mask.rules(source, "crm") != ({}, "alike")
    with pytest.raises(SettingsError, match="there is no tap 'shop'; there is: crm"):
        mask.rules(source, "shop")


@pytest.mark.parametrize("key", ["1:${ELT_PII_SECRET}", "${WHOLE_KEY}", "${file:key.txt}"])
def test_a_hash_of_the_filter_is_the_one_in_the_warehouse(project: TestProject, key: str) -> None:
    given = {"ELT_PII_SECRET": "a secret of enough characters", "WHOLE_KEY": "v7:another secret of enough characters"}
    (project.folder / "key.txt").write_text("f1:a third secret of enough characters\n")
    schema = {"type": "SCHEMA", "stream": "users", "key_properties": ["id"], "schema": {"properties": {"id": {"type": "integer"}, "email": {"type": "string"}}}}
    sent = [schema, {"type": "RECORD", "stream": "users", "record": {"id": 1, "email": "ada@example.com"}}]
    messages = project.folder / "messages"
    messages.write_text("".join(json.dumps(one) + "\n" for one in sent))
    rules = [{"tap": "a", "stream": "users", "columns": ["email"], "method": "hash"}]
    taken = project.folder / "cat"
    taken.write_text(f"#!/bin/sh\nexec cat {messages}\n")
    taken.chmod(0o755)
    project.write({"a": {"executable": "./cat", "catalog": "none"}}, pii={"key": key, "rules": rules})
    done = project.run("extract-load", **given)
    assert done.returncode == 0, done.stdout
    ((stored,),) = project.query(f'SELECT email FROM "{project.schema()}".users')
    environment = project.environment(given)
    filtered = subprocess.run(
        [*WRAPPER, "mask", "--config", str(project.folder / "elt.yml")], input=messages.read_text(), env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(filtered.stdout.splitlines()[1])["record"]["email"] == stored
    assert stored.partition(":")[0] in ("1", "v7", "f1")
