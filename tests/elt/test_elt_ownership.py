"""Who owns what: a schema of two owners is refused when elt.yml is read, as are names that are taken for one another."""

from __future__ import annotations

import itertools
import json
import string
from contextlib import nullcontext
from pathlib import Path

import pytest
from elt_project import TAP, TestProject
from hypothesis import example, given, settings
from hypothesis import strategies as st

from target_meltano.elt import dispatch, project, relations, spelling, staging
from target_meltano.elt import settings as target_settings
from target_meltano.elt.catalogue import Column, Table
from target_meltano.elt.errors import ProjectError
from target_meltano.elt.redaction import Redactor

POSTGRES = "version: 1\nwarehouse: {type: postgres}\n"
SNOWFLAKE = "version: 1\nwarehouse: {type: snowflake}\n"
AS_IT_IS = "version: 1\nwarehouse: {type: snowflake, settings: {naming: preserve}}\n"
EMBEDDED = "version: 1\nwarehouse: {type: embedded}\n"
MODELS = "transform: {}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a project; the target is not asked for its settings."""
    monkeypatch.setattr(target_settings, "about", lambda *_: {})
    monkeypatch.setattr(target_settings, "faults", lambda *_: ())
    return tmp_path


def faults(folder: Path, text: str, taps: list[str] | None = None) -> list[str]:
    """Return the faults of an elt.yml, without its path."""
    (folder / "elt.yml").write_text(text)
    try:
        project.read(folder, taps)
    except ProjectError as error:
        return [line.removeprefix(f"{folder / 'elt.yml'}:") for line in str(error).splitlines()]
    return []


OF_DBT = "is the one that dbt builds models in (transform.schema, line 4), and dbt puts a model in the place of a table of its name; give the tap or the models another schema"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (f"{POSTGRES}taps: {{analytics: {{executable: x}}}}\n{MODELS}", f"3: taps.analytics: the schema analytics {OF_DBT}"),
        (f"{EMBEDDED}taps: {{Analytics: {{executable: x}}}}\n{MODELS}", f"3: taps.Analytics: the schema analytics {OF_DBT}"),
        (f"{POSTGRES}taps: {{a: {{executable: x, schema: Analytics}}}}\n{MODELS}", f"3: taps.a.schema: the schema Analytics {OF_DBT}"),
        (f"{POSTGRES}taps: {{a: {{executable: x, schema: marts}}}}\ntransform: {{schema: marts}}\n", f"3: taps.a.schema: the schema marts {OF_DBT}"),
        (f"{POSTGRES}taps: {{a: {{executable: x}}}}\ntransform: {{schema: A}}\n", f"3: taps.a: the schema a {OF_DBT}"),
        (f"{POSTGRES}taps: {{a: {{executable: x, schema: analytics_staging}}}}\n{MODELS}", "3: taps.a.schema: the schema analytics_staging is the one that dbt builds staging models in (transform.schema, line 4)"),
        (f"{POSTGRES}taps: {{a: {{executable: x, schema: analytics_dbt_test__audit}}}}\n{MODELS}", "3: taps.a.schema: the schema analytics_dbt_test__audit is the one that dbt keeps failures of tests in"),
        (f"{SNOWFLAKE}taps: {{a: {{executable: x, schema: ANALYTICS_STAGING}}}}\n{MODELS}", "3: taps.a.schema: the schema ANALYTICS_STAGING is the one that dbt builds staging models in"),
        (f"{AS_IT_IS}taps: {{a: {{executable: x, schema: '\"analytics\"'}}}}\n{MODELS}", '3: taps.a.schema: the schema "analytics" is the one that dbt builds models in'),
        (f"{POSTGRES}taps: {{a: {{executable: x, schema: '{'s' * 63}'}}}}\ntransform: {{schema: '{'s' * 62}'}}\n", ""),
        (f"{POSTGRES}taps: {{a: {{executable: x, schema: '{'s' * 60}_st'}}}}\ntransform: {{schema: '{'s' * 60}'}}\n", f"3: taps.a.schema: the schema {'s' * 60}_st is the one that dbt builds staging models in"),
        (f"{POSTGRES}taps: {{a: {{executable: x, schema: '{'s' * 60}_st'}}}}\ntransform: {{schema: '{'s' * 61}'}}\n", ""),
        (f"{POSTGRES}taps: {{a: {{executable: x, schema: '{'é' * 32}'}}}}\n", "3: taps.a.schema: the schema has 64 bytes, wanted 63 at most"),
        (f"{POSTGRES}taps: {{a: {{executable: x}}}}\ntransform: {{schema: '{'s' * 64}'}}\n", "4: transform.schema: the schema has 64 bytes"),
        (f"{POSTGRES}taps: {{a: {{executable: x, schema: information_schema}}}}\n", "3: taps.a.schema: the schema is one of the database itself; give another one"),
        (f"{POSTGRES}taps: {{pg_catalog: {{executable: x}}}}\n", "3: taps.pg_catalog: the schema is one of the database itself"),
        (f"{POSTGRES}taps: {{pg-x: {{executable: x}}}}\n", "3: taps.pg-x: the schema is one of the database itself"),
        (f"{POSTGRES}taps: {{a: {{executable: x}}}}\ntransform: {{schema: pg_toast}}\n", "4: transform.schema: the schema is one of the database itself"),
        (f"{SNOWFLAKE}taps: {{a: {{executable: x, schema: Information_Schema}}}}\n", "3: taps.a.schema: the schema is one of the database itself"),
        (f"{POSTGRES}taps:\n  a: {{executable: x}}\n  b: {{executable: x, schema: a}}\n", "5: taps.b.schema: the schema a is that of the tap a; give each tap its own (taps.a, line 4)"),
        (f"{SNOWFLAKE}taps: {{a: {{executable: x, schema: Sales}}, b: {{executable: x, schema: sales}}}}\n", "3: taps.b.schema: the schema sales is that of the tap a in another case, which is one to Snowflake; give each tap its own"),
        (f"{SNOWFLAKE}taps: {{a: {{executable: x, schema: '\"SALES\"'}}, b: {{executable: x, schema: sales}}}}\n", "3: taps.b.schema: the schema sales is that of the tap a in another case"),
        (f"{POSTGRES}taps: {{a: {{executable: x, schema: Sales}}, b: {{executable: x, schema: sales}}}}\n", ""),
        (f"{SNOWFLAKE}taps: {{a: {{executable: x, schema: '\"sales\"'}}, b: {{executable: x, schema: sales}}}}\n", ""),
        (f"{AS_IT_IS}taps: {{a: {{executable: x, schema: Sales}}, b: {{executable: x, schema: sales}}}}\n", ""),
        (f"{SNOWFLAKE}taps: {{pg_x: {{executable: x}}}}\n", ""),
        (f"{POSTGRES}taps: {{a: {{executable: x, schema: pgx}}, b: {{executable: x, schema: information_schemas}}}}\n", ""),
        (f"{POSTGRES}taps: {{analytics: {{executable: x}}}}\n", ""),
        (f"{POSTGRES}taps: {{analytics_staged: {{executable: x}}, staging: {{executable: x}}}}\n{MODELS}", ""),
        (f"{POSTGRES}taps:\n  shopEU: {{executable: x}}\n  shop_eu: {{executable: x}}\n", "5: taps.shop_eu: dbt's source of this tap would be shop_eu, as that of the tap shopEU (taps.shopEU, line 4); give one of them another name"),
        (f"{POSTGRES}taps: {{a-b: {{executable: x}}, a_b: {{executable: x, schema: c}}}}\n", "3: taps.a_b: dbt's source of this tap would be a_b, as that of the tap a-b"),
        (f"{POSTGRES}taps: {{shop: {{executable: x}}, Shop: {{executable: x, schema: c}}}}\n", "3: taps.Shop: dbt's source of this tap would be shop"),
        (f"{POSTGRES}taps: {{order: {{executable: x}}, order_: {{executable: x}}}}\n", "3: taps.order_: dbt's source of this tap would be order_"),
        (f"{POSTGRES}taps: {{shop_eu: {{executable: x}}, shop__eu: {{executable: x}}}}\n", "3: taps.shop__eu: dbt's source of this tap would be shop_eu"),
        (f"{POSTGRES}taps: {{{'t' * 64}: {{executable: x, schema: s}}}}\n", f"3: taps.{'t' * 64}: the name has 64 characters, wanted 63 at most"),
    ],
    ids=itertools.count(),
)
def test_what_has_two_owners_is_refused(folder: Path, text: str, fault: str) -> None:
    found = faults(folder, text)
    assert (len(found), found[:1] and found[0].startswith(fault)) == ((1, True) if fault else (0, [])), found


def test_schemas_that_variables_give_are_compared_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as they are set; what they hold is not shown."""
    taps = "taps:\n  a: {executable: x, schema: '${ONE}'}\n  b: {executable: x, schema: 'x${TWO}', config: {u: '${NONE}'}}\n"
    monkeypatch.setenv("ONE", "x-canary")
    monkeypatch.setenv("TWO", "-canary")
    assert faults(folder, f"{POSTGRES}{taps}", ["a"]) == ["5: taps.b.schema: the schema x${TWO} is that of the tap a; give each tap its own (taps.a.schema, line 4)"]
    monkeypatch.delenv("TWO")
    assert faults(folder, f"{POSTGRES}{taps}", ["a"]) == []
    (found,) = faults(folder, f"{POSTGRES}{taps}transform: {{schema: '${{ONE}}'}}\n", ["a"])
    assert found.startswith("4: taps.a.schema: the schema ${ONE} is the one that dbt builds models in (transform.schema, line 6)")
    monkeypatch.setenv("NUMBER", "7")
    assert faults(folder, f"{POSTGRES}taps: {{a: {{executable: x, schema: '${{json:NUMBER}}'}}}}\n") == ["3: taps.a.schema: wanted a text, the name of a schema"]


def test_the_schema_of_a_review_is_that_of_models(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELT_SCHEMA", "shop")
    (found,) = faults(folder, f"{POSTGRES}taps: {{shop: {{executable: x}}}}\n{MODELS}")
    assert found.startswith("3: taps.shop: the schema shop is the one that dbt builds models in (the variable ELT_SCHEMA), and")


@pytest.mark.parametrize("command", [["check", "--offline"], ["run"], ["extract-load"], ["transform"], ["install"], ["dbt", "scaffold"], ["dbt", "ls"], ["ci", "gitlab"], ["review", "list"], ["state", "get", "analytics"]], ids=" ".join)
def test_each_command_refuses_it(folder: Path, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder)
    (folder / "elt.yml").write_text(f"{POSTGRES}taps: {{analytics: {{executable: x}}}}\n{MODELS}")
    assert dispatch(command) == 2
    told = capsys.readouterr()
    assert (told.out, len(told.err.splitlines())) == ("", 1)
    assert "taps.analytics: the schema analytics is the one that dbt builds models in" in told.err
    assert [path.name for path in folder.iterdir()] == ["elt.yml"]


@pytest.mark.parametrize(("jobs", "words"), [(100, ""), (101, "4: jobs: wanted 100 at most. How many taps run side by side: each is two processes and a session"), (10**299, "4: jobs: wanted 100 at most")], ids=["100", "101", "huge"])
def test_jobs_are_bounded(folder: Path, jobs: int, words: str) -> None:
    assert "".join(faults(folder, f"{POSTGRES}taps: {{a: {{executable: x}}}}\njobs: {jobs}\n")).startswith(words)
    schema = json.loads(project.SCHEMA.read_text())
    assert schema["properties"]["jobs"]["maximum"] == project.MOST_JOBS


@pytest.mark.parametrize("jobs", ["0", "101", "9" * 5000, "-1", "²", "x"], ids=lambda text: text[:4])
def test_so_is_the_option(folder: Path, jobs: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        dispatch(["run", f"--jobs={jobs}"])
    assert "--jobs: wanted a number from 1 to 100, found" in capsys.readouterr().err


# --- names in dbt

TAPS = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,6}", fullmatch=True) | st.text("aE_-", min_size=1, max_size=7).map(lambda text: f"a{text}") | st.sampled_from(["order", "select", "order_", "shop", "shop_eu", "shop__eu", "a" * 60])
TABLES = st.lists(st.text(string.ascii_letters + "_- .é0", min_size=1, max_size=6) | st.sampled_from(["eu__x", "x", "_x", "order", "a_b", "a-b", "x" * 70, "a_b_" + spelling.short_hash("a-b")]), unique=True, min_size=1, max_size=6)


@settings(deadline=None, max_examples=300)
@example(taps={"shop": ["eu__x"], "shop__eu": ["x"]})
@example(taps={"order": ["x"], "orders": ["_x"]})
@example(taps={"a": ["a-b", "a_b", "a_b_" + spelling.short_hash("a-b")]})
@given(taps=st.dictionaries(TAPS, TABLES, min_size=1, max_size=4))
def test_no_two_files_models_or_sources_of_a_project_have_one_name(taps: dict[str, list[str]]) -> None:
    """Of all taps that elt.yml takes, also where files and names are compared in any case."""
    own = {spelling.source_name(name): name for name in taps}
    written = []
    for name in own.values():
        tables = [Table(table, table, (Column("id", "text", "id"),), ()) for table in taps[name]]
        written += staging.files(staging.Source(name, "s", tables, "postgres"))
    assert len(written) == len({one.lower() for one in written})
    assert len(written) == sum(2 + len(taps[name]) for name in own.values())


def test_run_selects_the_source_of_the_tap_that_is_named(project: TestProject, dbt: Path) -> None:
    """And nothing of a tap whose name goes on where the other's ends."""
    project.write({"shop": {}, "Shop__eu--x": {}}, transform=project.dbt(dbt))
    for command in (["extract-load"], ["dbt", "scaffold"], ["run", "Shop__eu--x"]):
        done = project.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    built = project.query("SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE starts_with(nspname, %s)", (f"{project.name}_models",))
    assert built == [("stg_shop_eu_x__events",)]


# --- what dbt says of itself

CUSTOM = "{% macro generate_schema_name(custom_schema_name, node) %}{{ custom_schema_name or target.schema }}{% endmacro %}"


PROFILE = "warehouse:\n  target: postgres\n  outputs: {postgres: {type: postgres, host: h, port: 5432, user: x, password: '', dbname: x, schema: SHOP}}\n"


def dbt_project(project: TestProject, dbt: Path, files: dict[str, str], schema: str = "SHOP") -> None:
    """Write a project with a tap, and a dbt project with *files*; in both SHOP stands for the schema of the tap."""
    section = project.dbt(dbt)
    own = schema.replace("SHOP", project.schema())
    for name, text in files.items():
        path = project.folder / "transform" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("SHOP", own))
    project.write({"shop": {"executable": TAP, "schema": own}}, transform=section)


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"models/events.sql": "{{ config(materialized='table', schema='SHOP') }} select 1 as id", "macros/names.sql": CUSTOM}, "events"),
        ({"profiles.yml": PROFILE}, "numbers"),
    ],
    ids=["a model by a macro", "a profile of its own"],
)
def test_what_dbt_would_build_in_the_schema_of_a_tap_is_refused(project: TestProject, dbt: Path, files: dict[str, str], name: str) -> None:
    """Before it builds anything: the rows that are loaded stay."""
    dbt_project(project, dbt, files)
    done = project.run("run")
    assert done.returncode == 1
    assert f"{name}: goes into the schema {project.schema()}, which is that of the tap shop" in done.stdout
    assert project.ids() == list(range(1, 11))
    assert project.query("SELECT relkind FROM pg_class WHERE oid = to_regclass(%s)", (f'"{project.schema()}".events',)) == [("r",)]


def test_another_target_and_variables_of_dbt_are_looked_at_too(project: TestProject, dbt: Path) -> None:
    """A model that has no list without --vars, and a target of the profile that is not the usual one."""
    schema = f"{project.name}_models_x"
    dbt_project(project, dbt, {"models/events.sql": "{{ config(materialized='table', schema=var('where')) }} select 1 as id"}, schema)
    done = project.run("dbt", "run", "--vars", "{where: x}")
    assert done.returncode != 0
    assert f"events: goes into the schema {schema}, which is that of the tap shop" in done.stderr
    assert project.query("SELECT to_regclass(%s)", (f"{schema}.events",)) == [(None,)]


def test_it_is_told_by_check_and_by_dbt_itself_too(project: TestProject, dbt: Path) -> None:
    """A seed whose schema has that of the models in front, as dbt makes it."""
    schema = f"{project.name}_models_x"
    files = {"seeds/events.csv": "id\n1\n", "dbt_project.yml": "name: warehouse\nversion: '1.0'\nprofile: warehouse\nseeds: {+schema: x}\n"}
    dbt_project(project, dbt, files, schema)
    for command in (["check"], ["dbt", "seed"]):
        done = project.run(*command)
        assert done.returncode != 0
        assert f"events: goes into the schema {schema}, which is that of the tap shop" in done.stdout + done.stderr
    assert project.query("SELECT to_regclass(%s)", (f"{schema}.events",)) == [(None,)]


@pytest.mark.parametrize(
    ("schema", "files", "is_asked"),
    [
        ("shop", {}, False),
        ("shop", {"models/a.sql": "select 1", "models/a.yml": "models: [{name: a, config: {schema: shop}}]"}, False),
        ("shop", {"logs/dbt.log": "", "target/compiled/a.sql": "target_schema"}, False),
        ("MODELS_shop", {}, True),
        ("shop", {"snapshots/a.sql": "{{ config(target_schema='shop') }}"}, True),
        ("shop", {"dbt_packages/p/macros/a.sql": CUSTOM}, True),
        ("shop", {"profiles.yml": "x: {}"}, True),
        ("shop", {"macros": "-> /"}, True),
        ("shop", {"models/.#a.sql": "-> me@here.1234"}, True),
        ("shop", {"dbt_project.yml": "macro-paths: [../macros]"}, True),
        ("shop", {"dbt_project.yml": "macro-paths: [macros]"}, False),
        ("shop", {"profiles.yml": "a: {schema: \"{{ env_var('DBT_SCHEMA') }}\"}\nb: {\"schema\": shop}\n"}, True),
    ],
    ids=itertools.count(),
)
def test_dbt_is_asked_only_where_something_might_go_there(tmp_path: Path, schema: str, files: dict[str, str], is_asked: bool) -> None:
    """What is not looked into may be anything: links to folders, folders outside the project, and links that lead nowhere."""
    for name, text in {"profiles.yml": "schema: \"{{ env_var('DBT_SCHEMA') }}\"", **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            (tmp_path / name).symlink_to(text.removeprefix("-> "))
        else:
            (tmp_path / name).write_text(text)
    transform = project.Transform(tmp_path, "", schema="models")
    made = project.Project(tmp_path, "dev", project.Warehouse("postgres", ()), {}, transform, schemas={"shop": schema})
    answer = json.dumps({"name": "a", "schema": schema, "database": "d", "config": {"materialized": "table"}})
    (tmp_path / "dbt").write_text(f"#!/bin/sh\necho '{answer}'\n")
    (tmp_path / "dbt").chmod(0o755)
    expected = pytest.raises(ProjectError, match=f"a: goes into the schema {schema}") if is_asked else nullcontext()
    with expected:
        relations.refuse(made, [str(tmp_path / "dbt")], {}, Redactor(()))


@pytest.mark.parametrize(
    ("arguments", "is_asked", "handed_on"),
    [
        (["run", "--vars", "{a: 1}"], False, []),
        (["--target", "b", "run", "--vars", "{a: 1}", "--select", "x"], True, ["--target", "b", "--vars", "{a: 1}"]),
        (["run", "-t", "b"], True, ["-t", "b"]),
        (["run", "--profiles-dir=b", "--full-refresh"], True, ["--profiles-dir=b"]),
    ],
    ids=itertools.count(),
)
def test_dbt_is_asked_with_the_options_by_which_it_builds(tmp_path: Path, arguments: list[str], is_asked: bool, handed_on: list[str]) -> None:
    """Without --vars a project that needs them has no list, and another target builds in another schema."""
    (tmp_path / "profiles.yml").write_text("schema: \"{{ env_var('DBT_SCHEMA') }}\"")
    made = project.Project(tmp_path, "dev", project.Warehouse("postgres", ()), {}, project.Transform(tmp_path, "", schema="models"), schemas={"shop": "shop"})
    (tmp_path / "dbt").write_text('#!/bin/sh\nfor one; do echo "$one"; done > asked\n')
    (tmp_path / "dbt").chmod(0o755)
    relations.refuse(made, [str(tmp_path / "dbt")], {}, Redactor(()), arguments=arguments)
    assert (tmp_path / "asked").exists() == is_asked
    if is_asked:
        assert (tmp_path / "asked").read_text().splitlines()[-len(handed_on) :] == handed_on


@pytest.mark.parametrize(
    ("node", "is_refused"),
    [
        ({"schema": "SHOP", "database": "wh"}, True),
        ({"schema": "SHOP", "database": "RAW"}, True),
        ({"schema": "SHOP", "database": "OTHER"}, False),
        ({"schema": "MARTS", "database": "WH"}, False),
        ({"schema": "SHOP", "database": "WH", "config": {"materialized": "ephemeral"}}, False),
    ],
    ids=itertools.count(),
)
def test_on_snowflake_the_database_counts(tmp_path: Path, node: dict[str, object], is_refused: bool) -> None:
    tap = project.Tap("shop", ("x",), "shop", settings={"database": "raw"})
    made = project.Project(tmp_path, "dev", project.Warehouse("snowflake", ()), {"shop": tap}, project.Transform(tmp_path, ""), schemas={"shop": "shop"})
    (tmp_path / "dbt").write_text(f"#!/bin/sh\necho '{json.dumps({'name': 'a', 'config': {}, **node})}'\n")
    (tmp_path / "dbt").chmod(0o755)
    with pytest.raises(ProjectError) if is_refused else nullcontext():
        relations.refuse(made, [str(tmp_path / "dbt")], {"SNOWFLAKE_DATABASE": "WH"}, Redactor(()))
