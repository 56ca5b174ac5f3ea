"""The loader of `target-meltano ci meltano`: checked by Meltano's schema, and run by Meltano itself."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from elt_project import ROOT, TAP, TARGET, TestProject

KEY = "v1:0123456789abcdef0123456789abcdef"
PII = {"key": "${ELT_PII_KEY}", "rules": [{"stream": "events", "columns": ["text"], "method": "hash"}]}
SETTINGS = {"url": "${TEST_URL}", "batch_seconds": 12.5, "column_types": {"events.id": "decimal(38,0)"}, "narrowing": {"events": "keep"}}
FILE = "target-meltano-postgres.meltano.yml"


def written(project: TestProject, settings: dict[str, Any], **sections: Any) -> None:
    project.write({"a": {}}, **{"warehouse": {"type": "postgres", "executable": TARGET, "settings": settings}, **sections})
    done = project.run("ci", "meltano")
    assert done.returncode == 0, done.stderr


def test_the_loader_has_the_settings_of_the_target_and_what_elt_yml_sets(project: TestProject, check_jsonschema: Path) -> None:
    written(project, {**SETTINGS, "sslmode": "${MODE:-prefer}"}, pii=PII)
    file = project.folder / FILE
    subprocess.run([check_jsonschema, "--builtin-schema", "vendor.meltano", file], check=True)
    (loader,) = yaml.safe_load(file.read_text())["plugins"]["loaders"]
    found = {one["name"]: one for one in loader["settings"]}
    assert "state_id" not in found  # Meltano keeps the STATE, and two that do would differ
    assert [name for name, one in found.items() if one.get("sensitive")] == ["url", "password"]
    kinds = {name: found[name]["kind"] for name in ("schema", "batch_rows", "batch_seconds", "decode_binary", "naming", "indexes", "pii")}
    assert list(kinds.values()) == ["string", "integer", "decimal", "boolean", "options", "object", "object"]
    assert loader["config"] == {"schema": "$MELTANO_EXTRACT__LOAD_SCHEMA", **SETTINGS, "pii": PII}
    assert "set it there: sslmode" in file.read_text()
    assert project.run("ci", "meltano", "--check").returncode == 0


@pytest.mark.parametrize("pii", [{**PII, "key": "${file:key.txt}"}, {**PII, "rules": [{**PII["rules"][0], "tap": "a"}]}], ids=["file", "tap"])
def test_rules_for_personal_data_are_never_left_out(project: TestProject, pii: dict[str, Any]) -> None:
    project.write({"a": {}}, pii=pii)
    done = project.run("ci", "meltano")
    assert (done.returncode, "pii: a loader of Meltano is for all taps" in done.stderr) == (2, True)


def test_meltano_runs_it_and_keeps_the_state(project: TestProject, meltano: Path) -> None:
    """What `meltano install` would fetch is there already."""
    written(project, SETTINGS, pii=PII)
    for name, command in (("tap-x", TAP), (".meltano/loaders/target-meltano-postgres/venv/bin/target-meltano-postgres", TARGET)):
        program = project.folder / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\nPYTHONPATH={ROOT} exec {shlex.join(command)} \"$@\"\n")
        program.chmod(0o755)
    tap = {"name": "tap-x", "namespace": "tap_x", "executable": "./tap-x", "capabilities": ["discover", "catalog", "state"]}
    tap |= {"load_schema": project.schema(), "settings": [{"name": "ids", "kind": "integer"}, {"name": "every", "kind": "integer"}]}
    content = {"default_environment": "dev", "environments": [{"name": "dev"}], "include_paths": [f"./{FILE}"], "plugins": {"extractors": [{**tap, "config": {"ids": 25, "every": 5}}]}}
    (project.folder / "meltano.yml").write_text(json.dumps(content))
    ours = {"TEST_URL": project.url, "ELT_PII_KEY": KEY, "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false"}
    for ids in (25, 30):
        command = [meltano / "bin/meltano", "run", "--no-install", "tap-x", "target-meltano-postgres"]
        environment = {**os.environ, **ours, "TAP_X_IDS": str(ids)}
        done = subprocess.run(command, cwd=project.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert done.returncode == 0, done.stdout
        assert project.ids() == list(range(1, ids + 1))
    (types,) = project.query(f'SELECT array_agg(DISTINCT pg_typeof(id)::text), bool_or(text LIKE \'event%%\') FROM "{project.schema()}".events')
    assert types == (["numeric"], False)
    written_rows = project.query(f'SELECT rows_written FROM "{project.schema()}".__loads ORDER BY started_at')
    assert written_rows == [(25,), (5,)]




