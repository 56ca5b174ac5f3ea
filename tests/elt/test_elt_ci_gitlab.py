"""The pipeline for GitLab is run, on this machine, by gitlab-ci-local: it loads, builds, tests, and reviews."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from elt_ci import COUNTS, CiProject, long, new_ci_project

RUNNER = ("--cwd", ".", "--force-shell-executor", "--shell-isolation", "--no-color")
LOGS = ("shop.tap.log", "shop.target.log", "store.tap.log", "store.target.log", "dbt.log")


@pytest.fixture
def gitlab(ci_tools: Path, dbt: Path, postgres_url: str, tmp_path: Path) -> Iterator[CiProject]:
    with new_ci_project(tmp_path, postgres_url, dbt, "gitlab") as made:
        yield made


@pytest.fixture
def runner(ci_tools: Path) -> str:
    return str(ci_tools / "gitlab-ci-local")


def states(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Return how each job ended, as the runner tells it: {name: PASS}."""
    lines = (line.split(maxsplit=1) for line in done.stdout.splitlines())
    return {words[1].strip(): words[0] for words in lines if len(words) == 2 and words[0] in ("PASS", "FAIL", "WARN")}


def artifacts(project: CiProject) -> dict[str, Path]:
    """Return the files that jobs have left, by name."""
    return {path.name: path for path in (project.folder / ".gitlab-ci-local/artifacts").rglob("*") if path.is_file()}


def preview(project: CiProject, runner: str, *options: str) -> Path:
    """Return a file with the pipeline in one piece, as GitLab makes it of its parts."""
    done = project.command([runner, *RUNNER, *options, "--preview"])
    assert done.returncode == 0, done.stdout + done.stderr
    made = project.folder / "preview.yml"
    made.write_text(done.stdout)
    return made


def test_a_pipeline_loads_taps_in_parallel_builds_and_tests(gitlab: CiProject, runner: str) -> None:
    done = gitlab.command([runner, *RUNNER])
    assert done.returncode == 0, done.stdout + done.stderr
    assert states(done) == dict.fromkeys(["elt:check", "elt:files", "elt:load: [shop]", "elt:load: [store]", "elt:transform", "elt:test"], "PASS")
    assert gitlab.query(COUNTS) == [(200, 200, 200)]
    assert gitlab.variables["STORE_TOKEN"] not in done.stdout
    assert set(artifacts(gitlab)) == {"elt-load-shop.json", "elt-load-store.json", "elt-transform.json", "elt-test.json", "static_index.html", *LOGS}


def test_a_failing_tap_fails_the_pipeline_and_nothing_is_built(gitlab: CiProject, runner: str) -> None:
    done = gitlab.command([runner, *RUNNER], FAILS="yes")
    assert done.returncode != 0
    assert states(done) == {"elt:check": "PASS", "elt:files": "PASS", "elt:load: [shop]": "PASS", "elt:load: [store]": "FAIL"}
    assert "out of order" in done.stdout
    assert gitlab.query("SELECT to_regclass('shop.orders') IS NOT NULL, to_regclass('analytics.customer_orders')") == [(True, None)]


@long
def test_a_branch_is_built_and_tested_in_a_copy_which_is_dropped(gitlab: CiProject, runner: str, tmp_path: Path) -> None:
    """Production stays as it was. Nothing is there to drop the copy by but elt.yml, as the branch may be gone."""
    gitlab.must("target-meltano", "extract-load")
    model = gitlab.folder / "transform/models/marts/customer_orders.sql"
    model.write_text(model.read_text() + "limit 7\n")
    gitlab.branch("Feature/less")
    done = gitlab.command([runner, *RUNNER])
    assert done.returncode == 0, done.stdout + done.stderr
    assert states(done) == dict.fromkeys(["elt:files", "elt:review", "elt:review:transform", "elt:review:test"], "PASS")
    (copy,) = gitlab.databases()
    assert gitlab.query(COUNTS, copy) == [(200, 200, 7)]
    assert gitlab.query("SELECT to_regclass('analytics.customer_orders')") == [(None,)]
    stop = yaml.safe_load(preview(gitlab, runner).read_text())["elt:review:stop"]
    assert (stop["needs"], stop["variables"]["GIT_STRATEGY"]) == ([{"job": "elt:review", "artifacts": True, "optional": False}], "none")
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "elt.yml").write_bytes(artifacts(gitlab)["elt.yml"].read_bytes())
    for line in stop["before_script"] + stop["script"]:
        dropped = gitlab.command(["bash", "-euc", line], alone, CI_COMMIT_REF_NAME="Feature/less", STORE_TOKEN="")
        assert dropped.returncode == 0, dropped.stderr
    assert gitlab.databases() == set()
    assert gitlab.query("SELECT count(*) FROM shop.orders") == [(200,)]


def test_without_a_copy_a_review_builds_nothing(gitlab: CiProject, runner: str) -> None:
    gitlab.branch("other")
    for job in ("elt:review:transform", "elt:review:test", "elt:review:load: [shop]"):
        done = gitlab.command([runner, *RUNNER, job])
        assert "is not set, and this must not" in done.stderr
    assert gitlab.query("SELECT nspname FROM pg_namespace WHERE nspname IN ('analytics', 'shop')") == []


def test_the_pipeline_fits_the_schema_of_gitlab(gitlab: CiProject, runner: str, check_jsonschema: Path) -> None:
    command = [str(check_jsonschema), "--builtin-schema", "vendor.gitlab-ci"]
    for branch in ("main", "Feature/1"):
        gitlab.branch(branch)
        made = preview(gitlab, runner)
        assert gitlab.command([*command, str(made)]).returncode == 0
    made.write_text(made.read_text().replace("interruptible:", "interruptable:"))
    assert gitlab.command([*command, str(made)]).returncode == 1


def test_another_project_includes_the_template_with_its_own_taps(gitlab: CiProject, runner: str) -> None:
    (gitlab.folder / "templates/elt.yml").rename(gitlab.folder / "elsewhere.yml")
    text = "include:\n  - local: elsewhere.yml\n    inputs: {{taps: {taps}, environment: staging, image: python:3.13-slim}}\n"
    (gitlab.folder / ".gitlab-ci.yml").write_text(text.format(taps="[crm, erp, web]"))
    gitlab.branch("main")
    made = preview(gitlab, runner).read_text()
    assert "elt/staging/load/$TAP" in made
    listed = gitlab.must(runner, *RUNNER, "--list")
    assert [name for name in ("crm", "erp", "web", "shop") if f"elt:load: [{name}]" in listed] == ["crm", "erp", "web"]
    (gitlab.folder / ".gitlab-ci.yml").write_text(text.format(taps="crm"))
    assert "array" in (gone := gitlab.command([runner, *RUNNER, "--list"])).stderr + gone.stdout
    assert gone.returncode != 0


@pytest.mark.parametrize(
    ("branch", "source", "jobs"),
    [
        ("main", "push", ["elt:check", "elt:files", "elt:load: [shop]", "elt:load: [store]", "elt:transform", "elt:test"]),
        ("main", "schedule", ["elt:check", "elt:files", "elt:load: [shop]", "elt:load: [store]", "elt:transform", "elt:test", "elt:review:gc"]),
        ("other", "schedule", ["elt:files"]),
        *(
            ("other", source, ["elt:files", "elt:review", "elt:review:load: [shop]", "elt:review:load: [store]", "elt:review:transform", "elt:review:test", "elt:review:stop"])
            for source in ("push", "merge_request_event")
        ),
    ],
)
def test_what_runs_when(branch: str, source: str, jobs: list[str], gitlab: CiProject, runner: str) -> None:
    """Only the default branch loads into the warehouse; a schedule reviews nothing."""
    gitlab.branch(branch)
    listed = gitlab.must(runner, *RUNNER, "--list", "--variable", f"CI_PIPELINE_SOURCE={source}").splitlines()
    assert [line.split("  ")[0] for line in listed if line.startswith("elt:")] == jobs
    manual = [line for line in listed if " manual " in line]
    assert all(line.startswith(("elt:review:load", "elt:review:stop")) for line in manual)
    assert bool(manual) == ("elt:review" in jobs)
