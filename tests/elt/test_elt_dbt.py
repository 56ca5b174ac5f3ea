"""dbt on tables that the target has loaded: sources and staging models of any names, built and tested."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elt_project import TestProject, new_project

from target_meltano.elt import owned, staging, warehouse
from target_meltano.elt.catalogue import Column, Table
from target_meltano.elt.init import TEMPLATE
from target_meltano.elt.project import Project, Transform, Warehouse
from target_meltano.samples import record, schema

TEXT, INT = {"type": "string"}, {"type": "integer"}
ODD_NAMES = ["SKU code", 'a"b', "{{ x }}", "größe", "表", "select", "2fa", "createdAt", "created_at", "a.b", "100%", "it's", "n\nn", "r\rr", "m\r\nm", "l\x85l", "e }}"]
ODD_TABLES = {"Lines": 'Order "Lines" {{ t }}'}
ODD_COLUMNS = {"Lines.Order id": "Order id", **{f"Lines.{name}": name for name in ODD_NAMES}}  # as they are
ODD = [
    schema("Lines", ["Order id", "line"], **{"Order id": INT, "line": INT, **dict.fromkeys(ODD_NAMES, TEXT)}),
    record("Lines", **{"Order id": 1, "line": 1, **dict.fromkeys(ODD_NAMES, "x")}),
    schema("Übergrößen", id=INT, user={"type": "object", "properties": {"firstName": TEXT}}),
    record("Übergrößen", id=1, user={"firstName": "Ada"}),
    schema("l" * 80, [], **{"x" * 80: TEXT}),
    record("l" * 80, **{"x" * 80: "1"}),
]
BREAKS = ["a\x85b", "a\u2028b\u2029", "a\rb", "a\nb\n", "a\r\nb {{ x }}", "a\tb", "c\x85{{ y }}'\\"]  # what some readers take for the end of a line
BREAKING = [schema("Line\x85\u2028\r\n'\"", id=INT, **dict.fromkeys(BREAKS, TEXT)), record("Line\x85\u2028\r\n'\"", id=1, **dict.fromkeys(BREAKS, "x"))]
VERSIONS = [
    schema("events", id=INT, text=TEXT, _sdc_deleted_at={"type": ["null", "string"], "format": "date-time"}),
    *[record("events", id=id_, text=text) for id_, text in ((1, "old"), (2, "old"), (1, "new"), (3, "old"))],
    record("events", id=3, text="gone", _sdc_deleted_at="2026-01-01T00:00:00Z"),
]
SOFT = [
    schema("parts", id=INT),
    *[{**record("parts", id=id_), "version": 1} for id_ in (1, 2)],
    {"type": "ACTIVATE_VERSION", "stream": "parts", "version": 1},
    {**record("parts", id=2), "version": 2},
    {"type": "ACTIVATE_VERSION", "stream": "parts", "version": 2},
]


def template(name: str) -> str:
    """Return a file of the template's dbt project, which has no marts here."""
    return (TEMPLATE / "transform" / name).read_text().replace("    marts:\n      +materialized: table\n", "")


def tap(folder: Path, name: str, messages: list[dict[str, Any]], **section: Any) -> dict[str, Any]:
    """Return the section of a tap that sends *messages*."""
    (folder / name).write_text("".join(json.dumps(message) + "\n" for message in messages))
    return {"executable": ["sh", "-c", f"cat {name}"], "catalog": "none", **section}


@pytest.fixture(scope="module")
def built(postgres_url: str, dbt: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestProject]:
    """A project whose taps are loaded, with a staging layer that is scaffolded, and built by dbt."""
    folder = tmp_path_factory.mktemp("project")
    with new_project(folder, postgres_url) as made:
        for name in ("dbt_project.yml", "profiles.yml"):
            (folder / "transform").mkdir(exist_ok=True)
            (folder / "transform" / name).write_text(template(name))
        taps = {
            "odd": tap(folder, "odd", ODD, settings={"naming": "preserve", "table_names": ODD_TABLES, "column_names": ODD_COLUMNS}),
            "versions": tap(folder, "versions", VERSIONS, settings={"load_method": "append", "invalid_records": "quarantine"}),
            "soft": tap(folder, "soft", SOFT),
            "quotes": tap(folder, "quotes", BREAKING, schema=f"{made.name}_it's \"odd\" {{{{ z }}}} \x85é"),
        }
        made.write(taps, transform={"executable": str(dbt / "bin/dbt"), "schema": f"{made.name}_models"})
        for arguments in (["extract-load"], ["dbt", "scaffold"]):
            done = made.run(*arguments)
            assert done.returncode == 0, done.stdout + done.stderr
        yield made


@pytest.fixture(scope="module")
def build(built: TestProject) -> subprocess.CompletedProcess[str]:
    return built.run("dbt", "--warn-error", "build")


def staged(project: TestProject, model: str, columns: str = "*") -> list[tuple[Any, ...]]:
    return project.query(f'SELECT {columns} FROM "{project.name}_models_staging"."{model}" ORDER BY 1')


def test_names_of_any_kind_build_and_pass_their_tests(built: TestProject, build: subprocess.CompletedProcess[str]) -> None:
    assert build.returncode == 0, build.stdout
    assert "ERROR=0" in build.stdout
    assert "WARN=0" in build.stdout
    (lines,) = [path.stem for path in (built.folder / "transform/models/staging/odd").glob("*order_lines*.sql")]
    assert len(staged(built, lines)[0]) == len(ODD_NAMES) + 3
    assert staged(built, lines, "order_id, line, sku_code, select_, n2fa, it_s") == [(1, 1, "x", "x", "x", "x")]


def test_descriptions_come_through_dbt_as_they_are(built: TestProject, build: subprocess.CompletedProcess[str]) -> None:
    """And a schema whose name has quotes is found, read from, and told."""
    assert build.returncode == 0, build.stdout
    manifest = json.loads((built.folder / "transform/target/manifest.json").read_text())
    (source,) = [one for one in manifest["sources"].values() if one["source_name"] == "quotes"]
    assert source["description"] == f"Stream {BREAKING[0]['stream']}."
    assert {*BREAKS} <= {column["description"] for column in source["columns"].values()}
    (model,) = [node for node in manifest["nodes"].values() if node["resource_type"] == "model" and node["name"].startswith("stg_quotes__")]
    assert model["description"] == f"Stream {BREAKING[0]['stream']} of the tap quotes."
    assert {*BREAKS} <= {column["description"] for column in model["columns"].values()}
    assert staged(built, model["name"], "id") == [(1,)]


def test_the_latest_version_that_is_not_deleted_is_staged(built: TestProject, build: subprocess.CompletedProcess[str]) -> None:
    assert staged(built, "stg_versions__events", "id, text") == [(1, "new"), (2, "old")]
    assert staged(built, "stg_soft__parts", "id") == [(2,)]


def test_check_fails_when_a_table_has_changed_and_edits_stay(built: TestProject) -> None:
    assert built.run("dbt", "scaffold", "--check").returncode == 0
    edited = built.folder / "transform/models/staging/soft/stg_soft__parts.sql"
    edited.write_text("-- mine\n" + edited.read_text())
    built.query(f'ALTER TABLE "{built.schema(2)}".parts ADD COLUMN weight numeric')
    done = built.run("dbt", "scaffold", "soft", "--check")
    assert done.returncode == 1
    assert "update  transform/models/staging/soft/_soft__sources.yml" in done.stdout
    assert "edited  transform/models/staging/soft/stg_soft__parts.sql" in done.stdout
    assert built.run("dbt", "scaffold", "soft").returncode == 0
    assert "weight" in (edited.parent / "_soft__sources.yml").read_text()
    assert edited.read_text().startswith("-- mine\n")


def test_what_the_database_says_against_a_scaffold_is_told(built: TestProject) -> None:
    """Somebody else's table has the name of our ledger."""
    built.query(f'ALTER TABLE "{built.schema(2)}".__loads RENAME COLUMN ddl TO theirs')
    done = built.run("dbt", "scaffold", "soft", "--check", DBT_TARGET_PATH=str(built.folder / "production"))
    built.query(f'ALTER TABLE "{built.schema(2)}".__loads RENAME COLUMN theirs TO ddl')
    assert not (built.folder / "production").exists(), "what it asks by is no project of theirs"
    assert (done.returncode, 'Database Error column "ddl" does not exist' in done.stderr) == (1, True), done.stderr


def test_a_failing_model_is_named_and_fails_the_run(built: TestProject) -> None:
    broken = built.folder / "transform/models/broken.sql"
    broken.write_text("{{ config(materialized='table') }} select 1 / 0 as x")
    done = built.run("transform", "--select", "broken")
    broken.unlink()
    assert done.returncode == 1
    assert "broken: Database Error in model broken (models/broken.sql) division by zero" in done.stdout


def test_sql_for_snowflake_parses_and_compiles(dbt_snowflake: Path, tmp_path: Path) -> None:
    """Names as Snowflake folds them; without an account nothing more can be shown."""
    columns = [Column("ID", "NUMBER", "id"), Column("CREATEDAT", "TIMESTAMP_TZ", "createdAt"), Column("odd name", "VARIANT", "odd name")]
    columns += [Column("__LOADED_AT", "TIMESTAMP_TZ", None), Column("__DELETED_AT", "TIMESTAMP_TZ", None)]
    tables = [Table("ORDERS", "orders", tuple(columns), ("ID",)), Table("EVENTS", "events", tuple(columns), ("ID",), versions=True)]
    source = staging.Source("shop", "SHOP", tables, "snowflake")
    files = {f"models/staging/shop/{name}": text for name, text in staging.files(source).items()}
    files["tests/generic/unique_combination.sql"] = staging.UNIQUE_COMBINATION
    owned.carry_out(owned.changes({tmp_path / name: text for name, text in files.items()}, [], "dbt scaffold"))
    (tmp_path / "dbt_project.yml").write_text(template("dbt_project.yml"))
    (tmp_path / "profiles.yml").write_text(template("profiles.yml"))
    settings = {"account": "a", "user": "u", "password": "p", "database": "D", "role": "r"}
    transform = Transform(tmp_path, "", ("dbt",))
    made = Project(tmp_path, "dev", Warehouse("snowflake", ("x",), settings), {}, transform)
    variables = warehouse.variables(made, settings)
    for command in (["parse"], ["compile", "--no-introspect", "--no-populate-cache"]):
        done = subprocess.run([dbt_snowflake / "bin/dbt", "--warn-error", *command], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    compiled = (tmp_path / "target/compiled/warehouse/models/staging/shop/stg_shop__events.sql").read_text()
    sql = " ".join(compiled.split())
    assert "select * from D.SHOP.events" in sql
    assert 'id, createdat as created_at, "odd name" as odd_name, __loaded_at as loaded_at from latest' in sql
    assert "where __version_number = 1 and __deleted_at is null" in sql
