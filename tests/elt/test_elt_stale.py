"""A column that changes its type below an incremental model or a snapshot is told: dbt keeps the old type there, and rounds."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from elt_project import TestProject

from target_meltano.elt import project as projects
from target_meltano.elt import stale
from target_meltano.elt.init import TEMPLATE
from target_meltano.elt.pipeline import Outcome
from target_meltano.elt.project import Project

TAP = [sys.executable, "-c", "print(open('in.singer').read())"]
MODELS = {
    "staging/stg_sales.sql": "select id, total from {{ source('a', 'sales') }}",
    "marts/kept.sql": "{{ config(materialized='incremental', unique_key='id') }} select id, total from {{ ref('stg_sales') }}",
    "marts/follows.sql": "{{ config(materialized='incremental', unique_key='id', on_schema_change='sync_all_columns') }} select id, total from {{ ref('stg_sales') }}",
    "marts/sums.sql": "select sum(total) as total from {{ ref('stg_sales') }}",
}
SNAPSHOT = "{% snapshot seen %}{{ config(target_schema=target.schema, unique_key='id', strategy='check', check_cols=['total']) }} select * from {{ ref('stg_sales') }}{% endsnapshot %}"


def send(project: TestProject, kind: str, number: int, total: Any) -> None:
    schema = {"type": "SCHEMA", "stream": "sales", "key_properties": ["id"], "schema": {"properties": {"id": {"type": "integer"}, "total": {"type": kind}}}}
    record = {"type": "RECORD", "stream": "sales", "record": {"id": number, "total": total}}
    (project.folder / "in.singer").write_text("\n".join(map(json.dumps, (schema, record))))


def test_models_that_keep_the_old_type_are_named_and_the_remedies_work(project: TestProject, dbt: Path) -> None:
    root = project.folder / "transform"
    files = {f"models/{path}": text for path, text in MODELS.items()} | {"snapshots/seen.sql": SNAPSHOT}
    files["models/sources.yml"] = f"version: 2\nsources:\n- name: a\n  schema: {project.schema()}\n  tables: [{{name: sales}}]\n"
    files |= {name: (TEMPLATE / "transform" / name).read_text() for name in ("dbt_project.yml", "profiles.yml")}
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    tap = {"executable": TAP, "catalog": "none"}
    project.write({"a": tap}, transform={"executable": str(dbt / "bin/dbt"), "schema": f"{project.name}_m"})
    send(project, "integer", 1, 3)
    done = project.run("run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning:" not in done.stderr
    send(project, "number", 2, 4.5)
    done = project.run("run")
    assert done.returncode == 0, done.stdout + done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("warning:")]
    assert [re.findall(r"in the (.*?), rounding", line)[0] for line in told] == ["incremental model kept", "snapshot seen"]
    assert all(f"column 'total' of {project.schema()}.sales has another type now" in line for line in told)
    assert project.query(f"SELECT total FROM {project.name}_m.kept WHERE id = 2") == [(5,)]  # as was feared
    remedy = shlex.split(told[0].rpartition(": ")[2])
    assert project.run(*remedy[1:]).returncode == 0
    totals = project.query(f"SELECT id, total::text FROM {project.name}_m.kept ORDER BY 1")
    assert totals == [(1, "3"), (2, "4.5")]
    assert "warning:" not in project.run("run").stderr


def outcome(*ddl: str) -> Outcome:
    return Outcome("a", "ok", summary={"streams": {"sales": {"ddl": ddl}}})


@pytest.mark.parametrize(
    ("ddl", "column"),
    [
        ('ALTER TABLE "shop"."sales" ALTER COLUMN "total" TYPE NUMERIC USING "total"::numeric', "total"),
        ('ALTER TABLE "shop"."sales" ALTER COLUMN "a ""b"" c" TYPE TIMESTAMP WITH TIME ZONE USING x', 'a "b" c'),
        ('ALTER TABLE "SHOP"."SALES" ALTER COLUMN "TOTAL" SET DATA TYPE VARCHAR', "TOTAL"),
        ('ALTER TABLE "RAW"."SHOP"."SALES" RENAME COLUMN "TOTAL (new)" TO "TOTAL"', "TOTAL"),
    ],
    ids=["postgres", "quoted", "snowflake in place", "snowflake"],
)
def test_changes_are_read_from_what_a_target_tells(ddl: str, column: str) -> None:
    (found,) = stale.changes([outcome('CREATE TABLE "shop"."sales" ()', ddl, '-- "x"')])
    assert (found.schema.lower(), found.table.lower(), found.column) == ("shop", "sales", column)


def test_without_dbt_or_its_manifest_nothing_is_told(project: TestProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_URL", project.url)
    changed = outcome('ALTER TABLE "shop"."sales" ALTER COLUMN "total" TYPE NUMERIC USING "total"::numeric')
    for sections in ({}, {"transform": {"executable": "true"}}):
        project.write({"a": {}}, **sections)
        read: Project = projects.read(project.folder)
        assert stale.warnings(read, [changed]) == []
