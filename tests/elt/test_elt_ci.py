"""target-meltano ci: the files are what elt.yml says, ours until edited, and tell when they are not any more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from target_meltano import TargetError, __version__, elt
from target_meltano.elt import project as project_module

ELT = """\
version: 1
environment: ${ELT_ENVIRONMENT:-dev}
warehouse: {type: postgres, settings: {url: "${WAREHOUSE_URL}", sslrootcert: "${CA}"}}
taps:
  shop: {executable: tap-shop, pip_url: "${INDEX}/tap-shop", config: {token: "${SHOP_TOKEN}", start: "${START:-2026-01-01}", note: "$${NOT_ONE}"}}
  crm: {executable: tap-crm, config: {all: "${json:CRM}", ca: "${CA:-none}", key_text: "${file:secret/crm.pem}"}}
"""
TRANSFORM = "transform: {project: transform}\n"
GITLAB = [".gitlab-ci.yml", "templates/elt.yml"]
GITHUB = [".github/workflows/elt.yml", ".github/workflows/elt-review.yml"]


def write(folder: Path, kind: str, text: str = ELT + TRANSFORM, *more: str) -> int:
    (folder / "elt.yml").write_text(text)
    return elt.dispatch(["ci", kind, "--project", str(folder), *more])


def read(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


@pytest.mark.parametrize(("kind", "names"), [("gitlab", GITLAB), ("github", GITHUB)])
def test_no_variable_has_to_be_set_and_the_files_follow_elt_yml(kind: str, names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert write(tmp_path, kind) == 0
    assert capsys.readouterr().out == "".join(f"{name}: created\n" for name in sorted(names))
    assert write(tmp_path, kind, ELT + TRANSFORM, "--check") == 0
    changed = ELT.replace("  crm:", "  erp: {executable: tap-erp}\n  crm:") + TRANSFORM
    capsys.readouterr()
    before = [(tmp_path / name).read_text() for name in names]
    assert write(tmp_path, kind, changed, "--check") == 1
    stale = "templates/elt.yml" if kind == "gitlab" else ".github/workflows/elt.yml"
    assert capsys.readouterr().out == f"update  {stale}\n1 files are not as elt.yml is; run target-meltano ci {kind}\n"
    assert [(tmp_path / name).read_text() for name in names] == before
    assert write(tmp_path, kind, changed) == 0
    assert '["shop", "erp", "crm"]' in (tmp_path / stale).read_text()
    assert write(tmp_path, kind, changed, "--check") == 0


def test_what_somebody_edited_is_theirs_and_what_never_was_ours_is_told_what_to_add(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "gitlab")
    edited = tmp_path / "templates/elt.yml"
    edited.write_text(edited.read_text().replace("2 hours", "3 hours"))
    theirs = "build:\n  script: make\n"
    (tmp_path / ".gitlab-ci.yml").write_text(theirs)
    capsys.readouterr()
    assert write(tmp_path, "gitlab") == 0
    told = capsys.readouterr().out
    assert "templates/elt.yml: edited: yours, and left as it is" in told
    assert ".gitlab-ci.yml: not ours, and left as it is. Add to it:" in told
    assert "\n      - local: templates/elt.yml\n" in told
    assert (tmp_path / ".gitlab-ci.yml").read_text() == theirs
    assert "3 hours" in edited.read_text()
    assert write(tmp_path, "gitlab", ELT + TRANSFORM, "--check") == 0


@pytest.mark.parametrize(("kind", "name"), [("gitlab", GITLAB[0]), ("github", GITHUB[0]), ("github", GITHUB[1])])
def test_the_variables_that_elt_yml_refers_to_are_listed_and_no_others(kind: str, name: str, tmp_path: Path) -> None:
    more = "pii: {rules: [{tap: shop, stream: s, columns: [c], method: hash}]}\nci: {variables: [PGPASSWORD]}\n"
    write(tmp_path, kind, ELT + TRANSFORM + more)
    lines = re.findall(r"^#   ([\w/.]+) *(.*)$", (tmp_path / name).read_text(), re.MULTILINE)
    found = {one: words.split(":")[0] for one, words in lines if one != "17"}
    file = "a file, which a job has to write first; better is a variable"
    secret = dict.fromkeys(["CRM", "SHOP_TOKEN", "TARGET_MELTANO_PII_KEY", "WAREHOUSE_URL"], "secret")
    plain = {"CA": "", "INDEX": "", "START": "optional", "ELT_ENVIRONMENT": "optional"}
    assert found == {**secret, **plain, "PGPASSWORD": "secret", "secret/crm.pem": file}


def test_personal_data_that_is_not_hashed_needs_no_key(tmp_path: Path) -> None:
    write(tmp_path, "gitlab", ELT + "pii: {plain: ['*'], rules: [{tap: shop, stream: s, columns: [c], method: drop}]}\n")
    assert "PII_KEY" not in (tmp_path / ".gitlab-ci.yml").read_text()
    write(tmp_path, "gitlab", ELT + "pii: {key_env: OURS, rules: [{tap: shop, stream: s, columns: [c], method: hash}]}\n")
    assert "#   OURS                           secret\n" in (tmp_path / ".gitlab-ci.yml").read_text()


def test_jobs_on_github_get_them_all(tmp_path: Path) -> None:
    write(tmp_path, "github", ELT + TRANSFORM + "ci: {variables: [PGPASSWORD]}\n")
    for name in GITHUB:
        for job_name, job in read(tmp_path / name)[0]["jobs"].items():
            given = {key: value for key, value in job.get("env", {}).items() if key not in ("TAP", "BRANCH")}
            if job_name == "files":  # it runs nothing of the project's
                assert not given
                continue
            assert set(given) == {"CA", "CRM", "ELT_ENVIRONMENT", "INDEX", "PGPASSWORD", "SHOP_TOKEN", "START", "WAREHOUSE_URL"}
            assert all(value == f"${{{{ secrets.{key} || vars.{key} }}}}" for key, value in given.items())


@pytest.mark.parametrize("name", GITHUB)
def test_nothing_that_others_choose_gets_into_a_shell_of_github(name: str, tmp_path: Path) -> None:
    write(tmp_path, "github")
    (workflow,) = read(tmp_path / name)
    runs = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert len(runs) > 5
    assert not [run for run in runs if "${{" in run]
    assert workflow["permissions"] == {"contents": "read"}


def test_jobs_of_gitlab_that_share_something_wait_for_each_other(tmp_path: Path) -> None:
    """A tap is in one job at a time; the models, too; a branch's copy has all of its jobs one by one."""
    write(tmp_path, "gitlab")
    head, jobs = read(tmp_path / "templates/elt.yml")
    assert head["spec"]["inputs"]["auto_stop_in"]["default"] == "14 days"
    groups = {name: job["resource_group"] for name, job in jobs.items() if "resource_group" in job}
    assert groups == {
        "elt:load": "elt/$[[ inputs.environment ]]/load/$TAP",
        "elt:transform": "elt/$[[ inputs.environment ]]/transform",
        "elt:test": "elt/$[[ inputs.environment ]]/transform",
        ".elt:review": "elt/review/$CI_COMMIT_REF_SLUG",
    }
    reviews = [name for name in jobs if name.startswith("elt:review") and name != "elt:review:gc"]
    assert reviews == ["elt:review", "elt:review:load", "elt:review:transform", "elt:review:test", "elt:review:stop"]
    assert all(jobs[name]["extends"] == ".elt:review" for name in reviews)


def test_the_section_ci_says_what_runs_where_and_when(tmp_path: Path) -> None:
    section = 'ci: {schedule: "*/15 4-6 1,15 * 1-5", image: "$CI_REGISTRY_IMAGE/elt:${VERSION}", install: target-meltano@taps@1, branch: trunk}\n'
    write(tmp_path, "gitlab", ELT + section)
    write(tmp_path, "github", ELT + section)
    inputs = read(tmp_path / "templates/elt.yml")[0]["spec"]["inputs"]
    assert (inputs["image"]["default"], inputs["install"]["default"]) == ("$CI_REGISTRY_IMAGE/elt:${VERSION}", "target-meltano@taps@1")
    assert "#   */15 4-6 1,15 * 1-5\n" in (tmp_path / ".gitlab-ci.yml").read_text()
    (workflow,) = read(tmp_path / GITHUB[0])
    when = workflow[True]  # on
    assert (when["schedule"], when["push"]) == ([{"cron": "*/15 4-6 1,15 * 1-5"}], {"branches": ["trunk"]})
    assert workflow["jobs"]["check"]["if"] == "github.ref == 'refs/heads/trunk'"


def test_by_default_jobs_install_the_version_that_wrote_them(tmp_path: Path) -> None:
    write(tmp_path, "gitlab")
    inputs = read(tmp_path / "templates/elt.yml")[0]["spec"]["inputs"]
    assert inputs["install"]["default"] == f"target-meltano[postgres,embedded]=={__version__}"
    assert re.search(r":\d+\.\d+\.\d+-slim", inputs["image"]["default"])


def test_without_a_transform_there_is_nothing_to_build_or_review(tmp_path: Path) -> None:
    write(tmp_path, "gitlab", ELT)
    write(tmp_path, "github", ELT)
    jobs = read(tmp_path / "templates/elt.yml")[1]
    assert set(jobs) == {"stages", ".elt", ".elt:production", "elt:check", "elt:load"}
    assert jobs["stages"] == ["check", "load"]
    assert set(read(tmp_path / GITHUB[0])[0]["jobs"]) == {"files", "check", "load"}
    assert not (tmp_path / GITHUB[1]).exists()


def test_a_file_that_is_needed_no_more_goes_if_nobody_edited_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    review = tmp_path / GITHUB[1]
    write(tmp_path, "github")
    capsys.readouterr()
    assert write(tmp_path, "github", ELT, "--check") == 1
    assert f"remove  {GITHUB[1]}\n" in capsys.readouterr().out
    assert review.exists()
    assert write(tmp_path, "github", ELT) == 0
    assert not review.exists()
    write(tmp_path, "github")
    review.write_text(f"{review.read_text()}# mine\n")
    assert write(tmp_path, "github", ELT) == 0
    assert review.exists()


def test_a_review_of_the_models_only_is_not_loaded_into(tmp_path: Path) -> None:
    """It needs no pg_dump, either."""
    write(tmp_path, "gitlab", ELT + TRANSFORM + "review: {mode: schema, keep: 12h}\n")
    head, jobs = read(tmp_path / "templates/elt.yml")
    assert "elt:review" in jobs
    assert "elt:review:load" not in jobs
    inputs = head["spec"]["inputs"]
    assert inputs["install"]["default"] == f"target-meltano[postgres]=={__version__}"
    assert inputs["auto_stop_in"]["default"] == "12 hours"


def test_a_server_of_this_machine_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = re.sub("warehouse: .*", "warehouse: {type: embedded}", ELT)
    assert write(tmp_path, "gitlab", text) == write(tmp_path, "github", text) == 2
    assert "embedded is a PostgreSQL on this machine" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elt.yml"]


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        ("0 3 * *", "wanted five fields, minute, hour, day, month, weekday; found 4"),
        ("60 3 * * *", "minute: wanted *, a number from 0 to 59"),
        ("0 3 * * 7", "weekday: wanted *, a number from 0 to 6"),
        ("0 3 0 * *", "day: wanted *, a number from 1 to 31"),
        ("0 x * * *", "hour: wanted"),
        ("@daily", "wanted five fields"),
        ("0 3,24 * * *", "hour: wanted"),
        ("*/0 3 * * *", "minute: wanted"),
        ("0 3 * 1-13 *", "month: wanted"),
    ],
)
def test_a_time_that_not_every_cron_takes_is_refused(schedule: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "elt.yml").write_text(f'{ELT}ci:\n  schedule: "{schedule}"\n')
    with pytest.raises(TargetError, match=re.escape(f"elt.yml:8: ci.schedule: {says}")):
        project_module.as_written(tmp_path)
