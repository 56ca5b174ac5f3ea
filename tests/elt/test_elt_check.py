"""target-meltano check, init and the help: what a user meets before the first run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from elt_project import TAP, TestProject

from target_meltano.elt import COMMANDS, dispatch
from target_meltano.elt.init import TEMPLATE


def test_check_tells_of_each_part_and_loads_nothing(project: TestProject) -> None:
    project.write({"a": {}, "b": {"discovery": 3, "say": ["ERROR no such account"]}, "c": {"executable": "tap-nowhere"}})
    done = project.run("check")
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert [line.split()[:2] for line in lines if line[0] != " "] == [["elt.yml", "ok"], ["warehouse", "ok"], ["a", "ok"], ["b", "failed"], ["c", "failed"]]
    assert "ERROR no such account" in done.stdout
    assert "1 streams selected" in done.stdout
    assert project.ids() == []


def test_a_warehouse_that_refuses_is_told_without_its_password(project: TestProject) -> None:
    project.write({"a": {}})
    parts = urlsplit(project.url)
    url = f"postgresql://nobody_of_this_name:${{PASSWORD}}@{parts.hostname}:{parts.port}{parts.path}"
    text = (project.folder / "elt.yml").read_text().replace("${TEST_URL}", url)
    (project.folder / "elt.yml").write_text(text)
    done = project.run("check", PASSWORD="canary-77")
    assert done.returncode == 1
    assert "nobody_of_this_name" in done.stdout
    assert "canary" not in done.stdout + done.stderr


def test_check_offline_needs_no_warehouse(project: TestProject) -> None:
    project.write({"a": {"discovery": 1}})
    assert project.run("check", "--offline", TEST_URL="postgresql://nobody@127.0.0.1:1/none").returncode == 0


def test_init_writes_everything_or_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["init", str(tmp_path / "shop")]) == 0
    written = {path.relative_to(tmp_path / "shop").as_posix() for path in (tmp_path / "shop").rglob("*") if path.is_file()}
    template = {path.relative_to(TEMPLATE).as_posix() for path in TEMPLATE.rglob("*") if path.is_file()}
    assert written == template - {"gitignore"} | {".gitignore", ".elt/elt.schema.json"}
    assert (tmp_path / "shop/taps/tap-shop").stat().st_mode & 0o111
    (tmp_path / "shop/elt.yml").write_text("mine")
    (tmp_path / "shop/README.md").unlink()
    assert dispatch(["init", str(tmp_path / "shop")]) == 2
    assert not (tmp_path / "shop/README.md").exists()
    assert (tmp_path / "shop/elt.yml").read_text() == "mine"


def test_every_command_tells_of_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch([]) == 0
    listed = capsys.readouterr().out
    for name, does in COMMANDS.items():
        assert f"{name} " in listed
        assert does in listed
        with pytest.raises(SystemExit) as ended:
            dispatch([name, "--help"])
        assert ended.value.code == 0
        assert f"target-meltano {name}" in capsys.readouterr().out


def test_an_unknown_command_is_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["lode"]) == 2
    assert "there is no command 'lode'; there is: init, " in capsys.readouterr().err


def test_records_are_invented_for_a_tap_of_the_project(project: TestProject) -> None:
    project.write({"a": {}, "b": {"executable": TAP, "catalog": "none"}})
    done = project.run("mock", "--tap", "a", "--rows", "3")
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    assert [message["type"] for message in messages].count("RECORD") == 3
    assert {message["stream"] for message in messages if "stream" in message} == {"events"}
    for name, told in (("b", "catalog: none"), ("c", "c")):
        done = project.run("mock", "--tap", name)
        assert (done.returncode != 0, told in done.stderr, done.stdout) == (True, True, ""), done.stderr
        assert "Traceback" not in done.stderr


def test_a_new_project_lets_no_stream_pass_that_nobody_has_listed(tmp_path: Path) -> None:
    """It names those of its own tap."""
    from target_meltano.elt import dispatch, project

    assert dispatch(["init", str(tmp_path / "new")]) == 0
    made = project.read(tmp_path / "new", [])
    catalog = json.loads((tmp_path / "new/taps/shop.catalog.json").read_text())
    assert made.warehouse.settings["pii_unlisted"] == "fail"
    assert made.pii == {"plain": [stream["stream"] for stream in catalog["streams"]]}


def test_a_tap_that_the_rules_are_not_for_is_not_loaded_in_clear(project: TestProject) -> None:
    """Where streams have to be listed: its rules are none, though there are some for another tap."""
    rules = [{"tap": "a", "stream": "events", "columns": ["text"], "method": "drop"}]
    project.write({"a": {}, "b": {}}, pii={"rules": rules})
    content = json.loads((project.folder / "elt.yml").read_text())
    content["warehouse"]["settings"]["pii_unlisted"] = "fail"
    (project.folder / "elt.yml").write_text(json.dumps(content))
    done = project.run("extract-load")
    assert done.returncode == 1
    assert "pii_unlisted: fail lets no stream come" in done.stdout + done.stderr
    assert (project.ids(0), project.ids(1)) == ([*range(1, 11)], [])


@pytest.mark.parametrize("arguments", [["check", "--environment"], ["check"], ["run", "--summary"], ["mock", "--seed", "x", "--catalog"], []], ids=" ".join)
def test_an_argument_that_is_no_text_is_told_in_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As a byte that is not UTF-8 comes from a shell."""
    assert dispatch([*arguments, os.fsdecode(b"caf\xe9")]) == 2
    assert capsys.readouterr().err == "CRITICAL the argument 'caf\\udce9' is not UTF-8 text; write it in UTF-8\n"


def test_a_variable_that_is_no_text_is_told_with_its_place(project: TestProject) -> None:
    project.write({"a": {"name": "${WHO}"}})
    done = project.run("check", "--offline", WHO=os.fsdecode(b"caf\xe9"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("taps.a.config.name: the environment variable WHO is not UTF-8 text\n")
    assert done.stderr.count("\n") == 1
