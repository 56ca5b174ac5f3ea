"""An installation that is cut off ends with all that it has started, is not taken for a whole one, and is made anew."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from elt_project import TestProject

from target_meltano.elt import executables

# Builds a package with the program tap-slow; where the file `go` is not there it waits, as does a process that it has started.
BACKEND = """\
import os, subprocess, sys, time, zipfile

HERE = os.path.dirname(os.path.abspath(__file__))


def build_wheel(folder, settings=None, metadata=None):
    if not os.path.exists(f"{HERE}/go"):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        with open(f"{HERE}/pids.new", "w") as file:
            file.write(f"{os.getppid()} {os.getpid()} {child.pid}")
        os.rename(f"{HERE}/pids.new", f"{HERE}/pids")
        time.sleep(600)
    info = "tap_slow-1.0.dist-info"
    with zipfile.ZipFile(f"{folder}/tap_slow-1.0-py3-none-any.whl", "w") as file:
        file.writestr("tap_slow.py", "def main(): print('slow')")
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: tap-slow\\nVersion: 1.0\\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        file.writestr(f"{info}/entry_points.txt", "[console_scripts]\\ntap-slow = tap_slow:main\\n")
        file.writestr(f"{info}/RECORD", "")
    return "tap_slow-1.0-py3-none-any.whl"
"""


@pytest.fixture
def slow(project: TestProject) -> Path:
    """The folder of a package that needs no other, in a project with a tap of it."""
    folder = project.folder / "slow"
    folder.mkdir()
    (folder / "backend.py").write_text(BACKEND)
    (folder / "pyproject.toml").write_text('[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n[project]\nname = "tap-slow"\nversion = "1.0"\n')
    project.write({"a": {"executable": "tap-slow", "pip_url": "./slow"}})
    return folder


def until(is_so: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return Path("/proc/self").exists() is False and os.system(f"kill -0 {pid} 2>/dev/null") == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)], ids=["TERM", "INT", "KILL"])
def test_what_is_cut_off_ends_and_is_made_anew(project: TestProject, slow: Path, number: int, code: int) -> None:
    started = project.start("install")
    assert until((slow / "pids").exists)
    pids = [int(pid) for pid in (slow / "pids").read_text().split()]
    assert all(map(is_running, pids))
    os.kill(started.pid, number)
    told = started.communicate(timeout=60)
    assert (started.returncode, "Traceback" in told[1]) == (code, False), told
    if number != signal.SIGKILL:
        assert told[0].split()[:2] == ["a", "stopped"]
        assert "./slow: it was stopped; install it again" in told[0]
        assert not any(map(is_running, pids))  # nothing is left when we have ended
    place = executables.environment_of(project.folder / ".elt", "a")
    assert not executables.is_installed(place, executables.wanted("./slow", None))
    assert project.run("check", "--offline").returncode == 1
    (slow / "go").touch()
    done = project.run("install")  # at once: it waits for what a kill -9 has left to the guard
    assert done.returncode == 0, done.stdout + done.stderr
    assert not any(map(is_running, pids))
    assert executables.is_installed(place, executables.wanted("./slow", None))
    assert (place / "bin/tap-slow").exists()


def test_two_at_once_wait_for_one_another(project: TestProject, slow: Path) -> None:
    first = project.start("install")
    assert until((slow / "pids").exists)
    second = project.start("install")
    assert second.stderr
    assert "another run of install.a is under way; waiting for its end" in second.stderr.readline()
    first.terminate()
    (slow / "go").touch()
    first.communicate(timeout=60)
    told = second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (143, 0), told


def test_a_disk_that_fills_up_is_told_in_one_line(project: TestProject, slow: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from target_meltano.elt import dispatch, writing

    (slow / "go").touch()
    monkeypatch.chdir(project.folder)
    whole = writing.write_all

    def full(files: dict[Path, bytes]) -> None:
        if any(path.name == "installed" for path in files):
            raise OSError(28, "No space left on device", str(next(iter(files))))
        whole(files)

    with monkeypatch.context() as patched:
        patched.setattr(executables, "write_all", full)
        patched.setenv("TEST_URL", project.url)
        assert dispatch(["install"]) == 1
    told = capsys.readouterr().out
    assert ".elt/envs/tap.a/at: No space left on device" in told
    assert project.run("install").returncode == 0
