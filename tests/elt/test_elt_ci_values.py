"""Whatever elt.yml says, the files that `ci` writes say the same to their readers, or it is refused where it stands."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from target_meltano import TargetError
from target_meltano.elt import ci_airflow, ci_github, ci_gitlab, yaml_writer
from target_meltano.elt import project as project_module

BASH = shutil.which("bash") or "bash"
HOSTILE = ['"""', "'", '"', "{{ x }}", "${{ x }}", "$[[ x ]]", "#", " #", ": ", "\n", "\x85", "\u2028", "%", "\\", "!", "&a", "*a", "`id`", "$(id)", "$$", "$X", "${X}"]
HOSTILE += ["yes", "no", "on", "y", "NULL", "~", "1e3", "0o17", "12:30:45", "2026-01-01", ".inf", "=", "<<", "@image@", "@#branch@", "- ", "? ", "|", ">", "\t", "\r", "\ufeff", "\ud800", "\U0001f600", "é"]
TEXTS = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=4), min_size=1, max_size=4).map("".join)
NAMES = st.sampled_from(["no", "on", "y", "NULL", "True", "e1", "A_b", "taps"]) | st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True)
BRANCHES = NAMES | st.sampled_from(["1e3", "0o17", "12", "-", "/", ".", "release/1.2"])
FIELDS = st.lists(st.sampled_from(["*", "*/5", "1", "1-3", "1,2"]), min_size=5, max_size=5)
IMAGES = st.sampled_from(["python:3.12", "r.example:5000/a/b@sha256:0a", "$CI_REGISTRY_IMAGE/elt:${VERSION}", "no", "1e3"])
INSTALLS = st.lists(st.sampled_from([one for one in HOSTILE if one.isprintable() and "$" not in one] + ["$$", "$VALUE", "${VALUE}"]), min_size=1, max_size=4).map("".join)
INSTALLS = INSTALLS.filter(lambda text: "$$[[" not in text and "$${{" not in text)
FOLDERS = st.lists(st.sampled_from(["a", "b c", "d: e", "f #g", "'", '"', "é", "- h", "&i", "@image@"]), min_size=1, max_size=3).map("/".join)


def projects(*, hostile: bool) -> st.SearchStrategy[dict[str, Any]]:
    """Return projects of allowed values, or some with any values at all."""
    odd = (lambda good: good | good | TEXTS | good.map(lambda text: f"{text}\n")) if hostile else lambda good: good
    return st.fixed_dictionaries(
        {"taps": st.lists(odd(NAMES), min_size=1, max_size=3, unique_by=lambda name: name.lower())},
        optional={
            "schedule": odd(FIELDS.map(" ".join)), "image": odd(IMAGES), "install": odd(INSTALLS), "branch": odd(BRANCHES), "name": odd(NAMES),
            "variables": st.lists(odd(NAMES), max_size=3, unique=True), "folder": odd(FOLDERS), "keep": odd(st.sampled_from(["14d", "12h"])),
            "note": odd(st.sampled_from(["$${x", "${A:-b}"])), "file": TEXTS.map(lambda text: text.replace("}", "")),
        },
    )  # fmt: skip


def written(folder: Path, made: dict[str, Any]) -> project_module.Project:
    """Write elt.yml, and return what is read of it."""
    section = {key: made[key] for key in ("schedule", "image", "install", "branch", "name", "variables") if key in made}
    config = {"note": made.get("note", ""), "file": f"${{file:{made['file']}}}" if "file" in made else ""}
    taps = {tap: {"executable": "tap-x", "config": config} for tap in made["taps"]}
    content: dict[str, Any] = {"version": 1, "warehouse": {"type": "postgres"}, "taps": taps, "ci": section, "transform": {"project": made.get("folder", "transform")}}
    content |= {"review": {"keep": made["keep"]}} if "keep" in made else {}
    (folder / "elt.yml").write_text(yaml_writer.document(content), "utf-8")
    return project_module.as_written(folder)


def in_bash(command: str, **variables: str) -> list[str]:
    """Return the words that bash makes of a command, which is not run."""
    assert command.startswith("python "), command
    code = "import json, sys; print(json.dumps(sys.argv[1:]))"
    script = f"python() {{ '{sys.executable}' -c '{code}' \"$@\"; }}\n{command}"
    done = subprocess.run([BASH, "-c", script], env={"PATH": "", **variables}, capture_output=True, check=True)
    return list(json.loads(done.stdout))


def expanded(install: str) -> str:
    """Return what `install` in elt.yml says where VALUE is v."""
    return re.sub(r"(?a)\$(?:(\$)|\{(\w+)\}|(\w+))", lambda one: "$" if one[1] else "v" if "VALUE" in (one[2], one[3]) else "", install)


def dag_of(text: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Run a DAG with a stand-in for Airflow, and return its options and the command of each task."""
    options: dict[str, Any] = {}
    tasks: dict[str, str] = {}

    class Dag:
        def __init__(self, dag_id: str, **given: Any) -> None:
            options.update(given, dag_id=dag_id)

        def __enter__(self) -> Dag:
            return self

        def __exit__(self, *ended: object) -> None: ...

    class Bash:
        def __init__(self, task_id: str, bash_command: str, **given: Any) -> None:
            tasks[task_id] = bash_command

        def __rshift__(self, other: Bash) -> Bash:
            return other

        def __rrshift__(self, others: list[Bash]) -> Bash:
            return self

    modules = ("airflow", "airflow.sdk", "airflow.providers", "airflow.providers.standard", "airflow.providers.standard.operators")
    fakes = {name: types.ModuleType(name) for name in (*modules, "airflow.providers.standard.operators.bash")}
    fakes["airflow.sdk"].__dict__["DAG"] = Dag
    fakes["airflow.providers.standard.operators.bash"].__dict__["BashOperator"] = Bash
    with pytest.MonkeyPatch.context() as patch:
        for name, module in fakes.items():
            patch.setitem(sys.modules, name, module)
        namespace = {"__file__": "/p/dags/elt.py", "__name__": "dag"}
        exec(compile(text, "dag", "exec"), namespace)
    return options, tasks


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(projects(hostile=False))
@example({"taps": ["no"], "branch": "no", "variables": ["NO", "y"], "name": "on"})
@example({"taps": ["a"], "install": 'a: b # "c" `id` (id) \\ $$X ${VALUE} %2F', "file": "a\nb: @image@", "folder": "a: b # c"})
def test_files_say_to_their_readers_what_elt_yml_says(made: dict[str, Any]) -> None:
    fits(made)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(projects(hostile=True))
@example({"taps": ["a"], "note": '${"""\nimport INJ\n"""}'})
def test_what_they_cannot_say_is_refused_where_it_stands(made: dict[str, Any]) -> None:
    try:
        fits(made)
    except TargetError as error:
        event("refused")
        assert re.match(r"/.*elt\.yml:", str(error), re.DOTALL)


@pytest.mark.parametrize(
    ("section", "where"),
    [
        ({"taps": ["shop\n"]}, "taps.shop\\n"), ({"branch": "main\n"}, "ci.branch"), ({"variables": ["A\n"]}, "ci.variables.0"), ({"name": "elt\n"}, "ci.name"),
        ({"schedule": "1 2 3 4 5\n"}, "ci.schedule"), ({"schedule": "1\t2 3 4 5"}, "ci.schedule"), ({"keep": "1d\n"}, "review.keep"), ({"image": "a\n"}, "ci.image"),
        ({"image": "${A:-b}"}, "ci.image"), ({"install": "${a b}"}, "ci.install"), ({"install": "$[[ inputs.taps ]]"}, "ci.install"), ({"install": "$${{ x }}"}, "ci.install"),
        ({"note": '${"""\nimport INJ\n"""}'}, "taps.a.config.note"), ({"note": "${json:a b}"}, "taps.a.config.note"), ({"folder": "a*b"}, "transform.project"), ({"folder": "${DIR}"}, "transform.project"),
        ({"folder": "a\ud800"}, "transform.project"), ({"install": "a\ud800"}, "ci.install"), ({"image": "\ud800"}, "ci.image"), ({"taps": ["a\ud800"]}, "taps.a\\ud800"),
    ],
)  # fmt: skip
def test_values_that_some_file_cannot_hold_are_refused_by_name(section: dict[str, Any], where: str) -> None:
    with pytest.raises(TargetError, match=re.escape(f"{where}: ")):
        fits({"taps": ["a"], **section})


def test_a_variable_that_jobs_give_themselves_is_refused() -> None:
    for name, kinds in (("TAP", "gitlab|github"), ("BRANCH", "github")):
        with pytest.raises(TargetError, match=rf"the variable {name} is one of the jobs of `ci (?:{kinds})`"):
            fits({"taps": ["a"], "variables": [name]})


def fits(made: dict[str, Any]) -> None:
    """Write the files of a project, read them as their readers do, and compare."""
    with tempfile.TemporaryDirectory() as place:
        project = written(Path(place).resolve(), made)
        gitlab, github, airflow = (kind.files(project) for kind in (ci_gitlab, ci_github, ci_airflow))
        for files in (gitlab, github, airflow):
            for path, text in files.items():
                assert path.name.isprintable()
                text.encode()
        fits_gitlab(made, project, {str(path): text for path, text in gitlab.items()})
        fits_github(made, project, {path.name: text for path, text in github.items()})
        (dag,) = airflow.values()
        options, tasks = dag_of(dag)
        assert (options["dag_id"], options["schedule"]) == (made.get("name", "elt"), project.ci.schedule)
        assert tasks == {**{f"load_{tap}": f"target-meltano extract-load {tap}" for tap in made["taps"]}, "transform": "target-meltano transform", "test": "target-meltano test"}
        assert all(one.name in options["doc_md"] for one in project.variables if not one.is_file)


def fits_gitlab(made: dict[str, Any], project: project_module.Project, files: dict[str, str]) -> None:
    pipeline = yaml.safe_load(files[".gitlab-ci.yml"])
    assert set(pipeline) == {"include", "workflow", "elt:files"}
    assert f"\n#   {project.ci.schedule}\n" in files[".gitlab-ci.yml"]
    head, jobs = yaml.safe_load_all(files["templates/elt.yml"])
    inputs = {name: one["default"] for name, one in head["spec"]["inputs"].items()}
    assert (inputs["taps"], inputs["image"]) == (made["taps"], project.ci.image)
    assert inputs["auto_stop_in"] == {"14d": "14 days", "12h": "12 hours"}[made.get("keep", "14d")]
    assert "elt:transform" in jobs
    docs = f"{made.get('folder', 'transform')}/target/static_index.html"
    assert [Path(path) for path in jobs["elt:transform"]["artifacts"]["paths"][2:]] == ([Path(docs)] if not docs.startswith(("/", "..")) else [])
    (line,) = jobs[".elt"]["before_script"]
    if "install" in made:
        assert in_bash(line.replace("$[[ inputs.install ]]", inputs["install"]), VALUE="v")[-1] == expanded(made["install"])


def fits_github(made: dict[str, Any], project: project_module.Project, files: dict[str, str]) -> None:
    workflow = yaml.safe_load(files["elt.yml"])
    yaml.safe_load(files["elt-review.yml"])
    branch = made.get("branch", "main")
    when = workflow[True]  # on
    assert (when["schedule"], when["push"]) == ([{"cron": project.ci.schedule}], {"branches": [branch]})
    jobs = workflow["jobs"]
    assert jobs["load"]["strategy"]["matrix"]["tap"] == made["taps"]
    assert jobs["check"]["if"] == f"github.ref == 'refs/heads/{branch}'"
    assert jobs["check"]["container"] == re.sub(r"\$\{?(\w+)\}?", r"${{ vars.\1 }}", project.ci.image)
    assert set(jobs["check"].get("env", {})) == {one.name for one in project.variables if not one.is_file}
    assert set(made.get("variables", ())) <= set(jobs["check"].get("env", {}))
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert not [run for run in runs if "${{" in run]
    if "install" in made:
        assert {in_bash(run, VALUE="v")[-1] for run in set(runs) if run.startswith("python")} == {expanded(made["install"])}


@given(st.recursive(TEXTS | st.integers() | st.booleans(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)))
def test_yaml_comes_back_as_it_was(value: Any) -> None:
    text = yaml_writer.document({"x": value})
    assert yaml.safe_load(text) == {"x": value}
    assert len(text.splitlines()) == text.count("\n")


@pytest.mark.parametrize("text", ["y", "No", "on", "1e3", "0o17", "0x1F", "12:30:45", "1_000", ".inf", "-", "+1", "a\x85b", "a\u2028b", "a\nb", "\ud800"])
def test_what_another_reader_might_take_for_something_else_is_in_quotes(text: str) -> None:
    written_ = yaml_writer.document({"x": text})
    assert written_.startswith('x: "')
    assert written_.isascii()
    assert yaml.safe_load(written_) == {"x": text}


@given(st.lists(TEXTS, max_size=3), TEXTS)
def test_a_list_and_a_text_fit_on_a_line_and_a_comment_does_not_end(values: list[str], text: str) -> None:
    line = f"{{a: {yaml_writer.inline(values)}, b: {yaml_writer.inline(text)}}} # {yaml_writer.comment(text)}"
    assert len(line.splitlines()) == 1
    assert yaml.safe_load(line) == {"a": values, "b": text}


def test_the_documentation_that_jobs_keep_is_where_dbt_writes_it(tmp_path: Path) -> None:
    (tmp_path / "transform").mkdir()
    (tmp_path / "transform/dbt_project.yml").write_text("name: x\ntarget-path: our build\n")
    project = written(tmp_path, {"taps": ["a"]})
    wanted = "transform/our build/static_index.html"
    _, jobs = yaml.safe_load_all(ci_gitlab.files(project)[Path("templates/elt.yml")])
    assert jobs["elt:transform"]["artifacts"]["paths"][-1] == wanted
    workflow = yaml.safe_load(ci_github.files(project)[Path(".github/workflows/elt.yml")])
    assert workflow["jobs"]["transform"]["steps"][-1]["with"]["path"].split("\n")[-1] == wanted


def test_files_of_odd_values_fit_the_schemas_of_github_and_gitlab(check_jsonschema: Path, tmp_path: Path) -> None:
    made = {"taps": ["no", "a-b"], "branch": "1e3", "variables": ["NO", "on"], "install": 'a: b # "c" `d` $$ ${E}', "folder": "a: b # c/'&d'", "image": "$A/${B}"}
    project = written(tmp_path, made)
    github, gitlab = ci_github.files(project), ci_gitlab.files(project)
    for path, text in github.items():
        (tmp_path / path.name).write_text(text)
    (tmp_path / ".gitlab-ci.yml").write_text(gitlab[Path(".gitlab-ci.yml")])
    (tmp_path / "jobs.yml").write_text(gitlab[Path("templates/elt.yml")].partition("\n---\n")[2])
    for schema, names in (("github-workflows", [path.name for path in github]), ("gitlab-ci", [".gitlab-ci.yml", "jobs.yml"])):
        command = [check_jsonschema, "--builtin-schema", f"vendor.{schema}", *names]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
