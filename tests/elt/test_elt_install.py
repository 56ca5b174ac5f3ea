"""target-meltano install: an environment per tap, made once; a tap of the package index runs in it."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import shutil
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from elt_project import ROOT, TARGET, TestProject

from target_meltano.elt import executables

TAP = ROOT / "tests/elt/elt_tap.py"


def wheel(folder: Path, version: str) -> str:
    """Make a package with the command tap-made, the tap of the tests, and return its file's name."""
    name = f"tap_made-{version}-py3-none-any.whl"
    info = f"tap_made-{version}.dist-info"
    with zipfile.ZipFile(folder / name, "w") as file:
        file.writestr("tap_made.py", TAP.read_text())
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tap-made\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/entry_points.txt", "[console_scripts]\ntap-made = tap_made:main\n")
        file.writestr(f"{info}/RECORD", "")
    return f"./{name}"


def test_a_tap_gets_an_environment_of_its_own_made_once(project: TestProject) -> None:
    made = wheel(project.folder, "1.0")
    project.write({"a": {"executable": "tap-made", "pip_url": made, "config": {"secret_key": "${NOT_SET}", "ids": 20}}})
    first, second = project.run("install"), project.run("install")
    assert (first.returncode, second.returncode) == (0, 0), first.stdout + first.stderr
    assert made in first.stdout
    schema = json.loads((project.folder / ".elt/elt.schema.json").read_text())
    assert "bytes of input" in schema["definitions"]["settings"]["properties"]["batch_bytes"]["description"]
    assert "is there already" in second.stdout
    assert shutil.which("tap-made") is None
    assert project.run("extract-load", NOT_SET="now it is").returncode == 0
    assert project.ids() == list(range(1, 21))
    place = executables.environment_of(project.folder / ".elt", "a")
    assert executables.is_installed(place, executables.wanted(made, None))
    assert not executables.is_installed(place, executables.wanted("tap-made==2", None))


def test_an_environment_that_was_moved_is_made_anew(project: TestProject) -> None:
    """As from a cache of CI: its programs name their Python by its path."""
    tap = {"executable": "tap-made", "pip_url": wheel(project.folder, "1.0"), "config": {"ids": 20}}
    project.write({"a": tap})
    assert project.run("install").returncode == 0
    project.write({"b": tap})
    old, new = (executables.environment_of(project.folder / ".elt", name) for name in ("a", "b"))
    old.rename(new)
    assert "is there already" not in project.run("install").stdout
    assert project.run("extract-load").returncode == 0
    assert project.ids() == list(range(1, 21))


def test_what_cannot_be_installed_is_told(project: TestProject) -> None:
    project.write({"a": {"executable": "tap-made", "pip_url": "./none-1.0-py3-none-any.whl"}})
    done = project.run("install")
    assert done.returncode == 1
    assert "./none-1.0-py3-none-any.whl: cannot be installed" in done.stdout
    place = executables.environment_of(project.folder / ".elt", "a")
    assert not (place / "installed").exists()
    project.write({"a": {"executable": "tap-made", "pip_url": "x", "python": "python9.9"}})
    assert "python: python9.9 is not on PATH" in project.run("install").stdout


def test_a_tap_of_the_package_index_is_loaded(project: TestProject, tap_jsonl: Path) -> None:
    """One that is made with the SDK for taps, with selection and STATE."""
    (project.folder / "people.jsonl").write_text('{"id": 1, "name": "Ada", "note": "x"}\n{"id": 2, "name": "Bo", "note": "y"}\n')
    config = {"path": "people.jsonl", "stream_name": "people", "primary_keys": ["id"]}
    section = {"executable": "tap-jsonl", "pip_url": "tap-jsonl==0.3.1", "config": config, "select": ["people", "!people.note"]}
    project.write({"files": section})
    (project.folder / ".elt/envs").mkdir(parents=True)
    (project.folder / ".elt/envs/tap.files").symlink_to(tap_jsonl)
    assert "is there already" in project.run("install").stdout
    for _ in range(2):
        done = project.run("extract-load")
        assert done.returncode == 0, done.stdout
    columns = [name for (name,) in project.query("SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = 'people'", [project.schema()])]
    assert "note" not in columns
    assert project.query(f'SELECT id, name FROM "{project.schema()}".people ORDER BY 1') == [(1, "Ada"), (2, "Bo")]
    (state,) = project.query(f'SELECT state FROM "{project.schema()}".__state')
    assert "people" in json.loads(state[0])["bookmarks"]


SECRET = "t0ken/9f3a+b7"


@pytest.mark.parametrize("name", ["GIT_TOKEN", "PLACE"])
def test_what_is_secret_in_a_pip_url_is_shown_nowhere(project: TestProject, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Not on screen, whether it works or not, not in `.elt`, and not among the arguments of pip, which everybody sees."""
    spelt = quote(SECRET, safe="")
    index = f"--extra-index-url https://user:${{{name}}}@127.0.0.1:9/simple --no-index"
    made = wheel(project.folder, "1.0")
    project.write({"a": {"executable": "tap-made", "pip_url": f"{made} {index}"}, "b": {"executable": "x", "pip_url": f"no-such-thing {index}"}})
    programs = project.folder / "seen"
    programs.mkdir()
    seen = project.folder / "arguments"
    code = f"import os, sys, subprocess, runpy\nopen({str(seen)!r}, 'a').write(repr(sys.orig_argv))\n"
    (programs / "sitecustomize.py").write_text(code)  # read by each Python that starts
    done = project.run("install", **{name: spelt, "PYTHONPATH": f"{programs}:{ROOT}"})
    assert ("a" in done.stdout, done.returncode) == (True, 1)
    assert "--extra-index-url https://user:****@127.0.0.1:9/simple" in done.stdout
    assert "pip" in seen.read_text()
    left = [path.read_text("utf-8", "replace") for path in (project.folder / ".elt").rglob("*") if path.is_file() and path.suffix in ("", ".json", ".txt", ".cfg")]
    for text in (done.stdout, done.stderr, seen.read_text(), *left):
        assert spelt not in text
        assert SECRET not in text
    assert "is there already" in project.run("install", "a", **{name: spelt}).stdout
    assert "is there already" not in project.run("install", "a", **{name: "another-one"}).stdout


def test_a_note_that_has_the_token_in_it_is_made_anew(project: TestProject) -> None:
    """As it was written once, readable for everybody; the environment is made once more, and the text is gone."""
    made = wheel(project.folder, "1.0")
    pip_url = f"{made} --extra-index-url https://user:${{GIT_TOKEN}}@127.0.0.1:9/simple --no-index"
    project.write({"a": {"executable": "tap-made", "pip_url": pip_url}})
    place = executables.environment_of(project.folder / ".elt", "a")
    place.mkdir(parents=True)
    (place / "installed").write_text(f"{pip_url.replace('${GIT_TOKEN}', SECRET)}\n{sys.version_info[:2]}\n")
    assert "is there already" not in project.run("install", GIT_TOKEN=SECRET).stdout
    assert SECRET not in (place / "installed").read_text()
    assert "is there already" in project.run("install", GIT_TOKEN=SECRET).stdout


class Index(http.server.SimpleHTTPRequestHandler):
    """Gives files to who signs in."""

    def do_GET(self) -> None:
        if self.headers.get("Authorization") == f"Basic {base64.b64encode(f'user:{SECRET}'.encode()).decode()}":
            super().do_GET()
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic")
            self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("variable", ["GIT_TOKEN", "WHOLE"])
def test_the_address_of_a_package_with_a_token_in_it_is_left_nowhere(project: TestProject, variable: str) -> None:
    """Neither in the environment: pip notes where a package comes from (direct_url.json)."""
    made = wheel(project.folder, "1.0").removeprefix("./")
    serve = functools.partial(Index, directory=str(project.folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://user:{{}}@127.0.0.1:{server.server_port}/{made}"
        given = quote(SECRET, safe="")
        url = address.format("${GIT_TOKEN}") if variable == "GIT_TOKEN" else "${WHOLE}"
        project.write({"a": {"executable": "tap-made", "pip_url": f"tap-made@{url}"}})
        done = project.run("install", **{variable: given if variable == "GIT_TOKEN" else address.format(given)})
        server.shutdown()
    assert done.returncode == 0, done.stdout
    assert list((project.folder / ".elt").rglob("direct_url.json"))
    for text in (done.stdout, done.stderr, *(path.read_bytes().decode("utf-8", "replace") for path in (project.folder / ".elt").rglob("*") if path.is_file())):
        assert given not in text
        assert SECRET not in text


def test_in_a_review_the_warehouse_need_not_be_known(project: TestProject) -> None:
    """Jobs of a review install before they have its variables."""
    project.write({"a": {}}, warehouse={"type": "postgres", "executable": TARGET, "settings": {"url": "${NOT_SET}"}})
    done = project.run("install", ELT_DATABASE="copy")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "nothing to install" in done.stdout
