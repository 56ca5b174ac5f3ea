"""review create --mode schema: models of a branch beside production's, by real dbt, which reads the others there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from elt_project import TestProject, new_project

from target_meltano.elt.init import TEMPLATE

MODELS = {
    "staging/stg_events.sql": "select id, text from {{ source('a', 'events') }}",
    "marts/counted.sql": "select count(*) as n from {{ ref('stg_events') }}",
    "marts/doubled.sql": "select n * 2 as n from {{ ref('counted') }}",
}


@pytest.fixture
def written(postgres_url: str, dbt: Path, tmp_path: Path) -> Iterator[TestProject]:
    """A project with a tap and models."""
    with new_project(tmp_path, postgres_url) as made:
        for name in ("dbt_project.yml", "profiles.yml"):
            (tmp_path / "transform").mkdir(exist_ok=True)
            (tmp_path / "transform" / name).write_text((TEMPLATE / "transform" / name).read_text())
        write(made, MODELS)
        sources = f"version: 2\nsources:\n- name: a\n  schema: {made.schema()}\n  tables: [{{name: events}}]\n"
        (tmp_path / "transform/models/sources.yml").write_text(sources)
        made.write({"a": {"ids": 4}}, transform={"executable": str(dbt / "bin/dbt"), "schema": made.name}, review={"mode": "schema"})
        yield made


def write(project: TestProject, models: dict[str, str]) -> None:
    for path, text in models.items():
        (project.folder / "transform/models" / path).parent.mkdir(parents=True, exist_ok=True)
        (project.folder / "transform/models" / path).write_text(text)


def run(project: TestProject, *arguments: str, **variables: str) -> str:
    done = project.run(*arguments, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def said(project: TestProject) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (project.folder / "review.env").read_text().splitlines())


def relations(project: TestProject, start: str) -> list[tuple[str, str]]:
    query = "SELECT nspname, relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE starts_with(nspname, %s) AND relkind IN ('r', 'v') ORDER BY 1, 2"
    return [(schema.removeprefix(start), name) for schema, name in project.query(query, (start,))]


def test_what_a_branch_changes_is_built_beside_production_which_stays(written: TestProject) -> None:
    run(written, "run")
    (written.folder / "production").mkdir()
    shutil.copy(written.folder / "transform/target/manifest.json", written.folder / "production")
    before = written.query(f"SELECT xmin::text, n FROM {written.name}.doubled")
    write(written, {"marts/doubled.sql": "select n * 20 as n from {{ ref('counted') }}"})
    write(written, {"extra/new.sql": "{{ config(schema='extra') }} select n from {{ ref('doubled') }}"})  # in a schema that production lacks
    run(written, "review", "create", "feature/Double", "--state", "production")
    review = said(written)
    assert review["ELT_SCHEMA"].startswith(f"{written.name}_review_feature")
    skipped = run(written, "extract-load", "--full-refresh", **review)
    assert "skipped" in skipped
    assert "loading would be into production" in skipped
    run(written, "transform", "--select", "state:modified+", **review)
    assert relations(written, review["ELT_SCHEMA"]) == [("", "doubled"), ("_extra", "new")]
    assert written.query(f"SELECT n FROM {review['ELT_SCHEMA']}_extra.new") == [(80,)]  # of production's 4 events
    assert written.query(f"SELECT xmin::text, n FROM {written.name}.doubled") == before
    run(written, "review", "drop", "feature/Double", **review)
    assert written.query("SELECT 1 FROM pg_namespace WHERE starts_with(nspname, %s)", (review["ELT_SCHEMA"],)) == []
    assert relations(written, written.name) == [("", "counted"), ("", "doubled"), ("_0", "__loads"), ("_0", "__state"), ("_0", "events"), ("_staging", "stg_events")]


def test_what_would_go_into_production_is_refused(written: TestProject) -> None:
    for arguments in (["state", "set", "a", "state.json"], ["state", "clear", "a"]):
        done = written.run(*arguments, ELT_SCHEMA="x")
        assert (done.returncode, "the STATE is that of production" in done.stderr) == (1, True)
    macro = written.folder / "transform/macros/generate_schema_name.sql"
    macro.parent.mkdir()
    macro.write_text("{% macro generate_schema_name(name, node) %}{{ name or target.schema }}{% endmacro %}")
    refused = written.run("review", "create", "x")
    assert (refused.returncode, "stg_events: goes into the schema staging, whatever DBT_SCHEMA is" in refused.stderr) == (2, True), refused.stderr
    assert not (written.folder / "review.env").exists()
    missing = written.run("review", "create", "x", "--state", "nowhere")
    assert (missing.returncode, "no manifest.json" in missing.stderr) == (2, True)
    assert written.run("review", "create", "x", "--mode", "clone", "--state", "production").returncode == 2
    run(written, "review", "drop", "x")
