"""A command that writes several files writes all of them or none, wherever it fails, and can be run again then."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from elt_project import ROOT, WRAPPER, TestProject

from target_meltano.elt import dispatch, owned, writing
from target_meltano.elt.init import TEMPLATE

STEPS = ("mkdir", "write_bytes", "chmod", "replace")


class Failing:
    """Lets the step *number* of writing fail, as on a full disk: what a write has written until then stays."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int):
        self.left, self.path = number, ""
        for name in STEPS:
            monkeypatch.setattr(Path, name, self._instead(name, getattr(Path, name)))

    def _instead(self, name: str, does: Callable[..., Any]) -> Callable[..., Any]:
        def fails(path: Path, *arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                if name == "write_bytes":
                    does(path, arguments[0][: len(arguments[0]) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # without a name, as that of a write is
            return does(path, *arguments, **options)

        return fails


def contents(folder: Path) -> dict[str, Any]:
    """Return all that is in a folder, with its mode."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {name: (path.stat().st_mode & 0o777, None if path.is_dir() else path.read_bytes()) for name, path in found.items()}


def failures(monkeypatch: pytest.MonkeyPatch) -> Iterator[Failing]:
    """Yield what fails at the first step, the second one and so on, until there is none left."""
    for number in range(1, 1000):
        with monkeypatch.context() as patched:
            failing = Failing(patched, number)
            yield failing
            if failing.left > 0:
                return


def test_init_can_be_repeated_wherever_it_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taps").mkdir()
    (tmp_path / "taps/mine").write_text("mine")
    before, steps = contents(tmp_path), 0
    for failing in failures(monkeypatch):
        code = dispatch(["init", str(tmp_path)])
        told = capsys.readouterr().err
        if code == 0:
            assert failing.left > 0
            break
        steps += 1
        assert told.startswith(f"CRITICAL {tmp_path}/")
        assert told.endswith(": No space left on device; nothing is written\n")
        assert contents(tmp_path) == before
    written = contents(tmp_path)
    assert steps > 2 * len([path for path in TEMPLATE.rglob("*") if path.is_file()])
    assert (written["taps/mine"][1], written["taps/tap-shop"][0]) == (b"mine", 0o755)
    assert not [name for name in written if name.endswith(".part")]


def test_files_of_ours_are_as_they_were_wherever_it_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are new, those that are not, one that is removed; each is whole, and the next time all are as they should be."""
    first = owned.changes({tmp_path / "a.sql": "old\n", tmp_path / "gone.sql": "old\n"}, [], "dbt scaffold")
    owned.carry_out(first)
    (tmp_path / "a.sql").chmod(0o640)
    (tmp_path / "target").mkdir()
    (tmp_path / "a.sql").rename(tmp_path / "target/a.sql")
    (tmp_path / "a.sql").symlink_to("target/a.sql")
    wanted = {tmp_path / "a.sql": "new\n", tmp_path / "deep/b.sql": "new\n", tmp_path / "deep/er/c.yml": "new\n"}
    for failing in failures(monkeypatch):
        before = contents(tmp_path)
        try:
            owned.carry_out(owned.changes(wanted, [tmp_path], "dbt scaffold"))
        except OSError as error:
            assert error.strerror == "No space left on device"
            assert Path(str(error.filename)).is_relative_to(tmp_path)
            after = contents(tmp_path)
            is_last = "new" in str(after["a.sql"])  # it has its place, and what comes after it has failed
            assert after == before or is_last
            assert after.keys() == before.keys()
        else:
            assert failing.left > 0
    assert (tmp_path / "a.sql").is_symlink()
    assert (tmp_path / "a.sql").stat().st_mode & 0o777 == 0o640
    assert {change.does for change in owned.changes(wanted, [tmp_path], "dbt scaffold")} == {"same"}


def full(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the wrapper where no file can have more than 2,000 bytes."""
    code = f"import resource, os, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); os.execv(sys.executable, {[*WRAPPER, *arguments]!r})"
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), **variables}, capture_output=True, text=True, check=False)


def test_it_is_so_in_a_process_of_its_own(tmp_path: Path) -> None:
    done = full(tmp_path, "init", "shop")
    assert (done.returncode, len(done.stderr.splitlines()), done.stdout) == (1, 1, "")
    assert done.stderr.startswith("CRITICAL shop/")
    assert done.stderr.endswith(": File too large; nothing is written\n")
    assert list(tmp_path.iterdir()) == []
    assert subprocess.run([*WRAPPER, "init", "shop"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False).returncode == 0


def test_a_command_names_the_file_that_it_cannot_write(project: TestProject) -> None:
    """Also one with settings, for a program; it is one line, and the run is told as failed."""
    project.write({"a": {"wait": ["x" * 3000]}})
    done = full(project.folder, "check", "--offline", TEST_URL=project.url)
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if "File too large" in line]
    assert ".elt/run/check.a/" in line
    assert "config.json: File too large" in line
    done = full(project.folder, "ci", "gitlab")
    assert (done.returncode, done.stdout) == (1, "")
    assert "File too large" in done.stderr
    assert not list(project.folder.glob("*.yml.*")) + list(project.folder.glob(".*.part"))


def test_what_is_interrupted_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path, content: bytes) -> None:
        if path.parent.name == "b":
            raise KeyboardInterrupt
        os.close(os.open(path, os.O_CREAT))

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writing.write_all({tmp_path / "a/x": b"", tmp_path / "b/y": b""})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("[a]\n", "1: wanted keys with values"),
        ("profile: [x]\n", "1: profile: wanted a text"),
        ("profile: x\nmodel-paths: models\n", "2: model-paths: wanted a list"),
        ("profile: x\nmodel-paths: [{a: b}]\n", "2: model-paths.0: wanted a text"),
        ("profile: !!python/name:x\n", "1: profile: a tag, as !x, is not for here"),
        ("a: " + "[" * 1500, "1: this stands in 100 lists or keys"),
    ],
    ids=range(6),
)
def test_a_dbt_project_of_any_shape_is_a_fault_with_its_line(project: TestProject, content: str, fault: str) -> None:
    """What scaffold reads of it."""
    (project.folder / "transform").mkdir()
    (project.folder / "transform/dbt_project.yml").write_text(content)
    dbt = project.folder / "dbt"
    dbt.write_text("#!/bin/sh\nexit 1\n")
    dbt.chmod(0o755)
    project.write({"a": {}}, transform={"executable": str(dbt)})
    done = project.run("dbt", "scaffold")
    assert done.returncode == 2, json.dumps(done.stderr)
    assert done.stderr.startswith(f"CRITICAL {project.folder}/transform/dbt_project.yml:{fault}")
