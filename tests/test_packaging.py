"""What is installed is what is meant to be: built here, without an index."""

from __future__ import annotations

import configparser
import email
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

from target_meltano import __version__, compiled

ROOT = Path(__file__).parent.parent
PACKAGES = ("target_meltano", "target_meltano/elt", "target_meltano/verify", "target_meltano_postgres", "target_meltano_snowflake")
EXTENSIONS = ("target_meltano/_reader", "target_meltano_postgres/_copy")
COMMANDS = ("target-meltano", "target-meltano-postgres", "target-meltano-snowflake")
BUILD = "from setuptools import build_meta as b; b.build_wheel('made'); b.build_sdist('made')"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a wheel and an sdist of a copy of the checkout, which stays clean."""
    return built(tmp_path_factory.mktemp("build"))


def built(folder: Path, **variables: str) -> Path:
    if int(metadata.version("setuptools").split(".")[0]) < 77:
        pytest.skip('pip install "setuptools>=77" to test the packages without an index')
    copy = folder / "checkout"
    copytree(ROOT, copy, ignore=ignore_patterns("*.so", ".*_cache", ".git", ".venv*", ".bench", ".tox", "*.egg-info", "build", "dist", "__pycache__"))
    env = {**os.environ, **variables}
    done = subprocess.run([sys.executable, "-c", BUILD], cwd=copy, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return copy / "made"


@pytest.fixture(scope="module")
def wheel(made: Path) -> Iterator[zipfile.ZipFile]:
    (path,) = made.glob("*.whl")
    assert path.name.startswith(f"target_meltano-{__version__}-cp")  # of this Python and machine, for the extension
    with zipfile.ZipFile(path) as file:
        yield file


def info(wheel: zipfile.ZipFile, name: str) -> str:
    return wheel.read(f"target_meltano-{__version__}.dist-info/{name}").decode()


def test_wheel_has_every_module_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    sources = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).glob("*.py")}
    markers = {f"{package}/py.typed" for package in PACKAGES}
    elt = ROOT / "target_meltano/elt"
    data = [elt / "elt.schema.json", *elt.glob("macros/*"), *elt.glob("templates/*"), *(path for path in elt.glob("template/**/*") if path.is_file())]
    others = {path.relative_to(ROOT).as_posix() for path in data}
    extensions = {f"{name}{EXTENSION_SUFFIXES[0]}" for name in EXTENSIONS} if compiled.IS_THERE else set()
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == sources | markers | others | extensions


def test_without_a_compiler_all_is_there_but_the_extensions(tmp_path: Path) -> None:
    (path,) = built(tmp_path, CC="/nowhere/cc").glob("*.whl")
    with zipfile.ZipFile(path) as file:
        file.extractall(tmp_path / "unpacked")
    # Without the finder of an editable install, which would lend its extensions.
    code = "import sys; sys.meta_path = [one for one in sys.meta_path if 'editable' not in repr(one)];"
    code += "from target_meltano import decode, structs; from target_meltano_postgres import copy; print(decode.path is structs, copy._c)"
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "unpacked")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True None\n", "")


def test_wheel_has_the_licence(wheel: zipfile.ZipFile) -> None:
    assert "MIT License" in info(wheel, "licenses/LICENSE")


def test_wheel_has_the_commands(wheel: zipfile.ZipFile) -> None:
    entry_points = configparser.ConfigParser()
    entry_points.read_string(info(wheel, "entry_points.txt"))
    assert set(entry_points["console_scripts"]) == set(COMMANDS)


def test_metadata_says_what_is_needed(wheel: zipfile.ZipFile) -> None:
    about = email.message_from_string(info(wheel, "METADATA"))
    assert (about["Name"], about["Version"], about["Requires-Python"]) == ("target-meltano", __version__, ">=3.10")
    assert set(about.get_all("Provides-Extra", [])) == {"postgres", "snowflake", "embedded", "faker", "singer", "dev"}
    needed = {line for line in about.get_all("Requires-Dist", []) if "extra ==" not in line}
    names = {"PyYAML", "SQLAlchemy", "backoff", "jsonschema", "msgspec", "numpy", "pyarrow", "regress", "rich"}
    assert {line.split(">")[0] for line in needed} == names


def test_sdist_has_what_it_takes_to_test_it(made: Path) -> None:
    (path,) = made.glob("*.tar.gz")
    with tarfile.open(path) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    wanted = {"target_meltano/c/module.c", "target_meltano/c/json.h", "target_meltano_postgres/c/copy.c", "setup.py", "pyproject.toml", "LICENSE", "Makefile", ".ci/run", "tests/conftest.py", "examples/demo.singer"}
    assert wanted <= names


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_tell_their_version(command: str) -> None:
    done = run(command, "--version")
    assert (done.returncode, done.stdout) == (0, f"{command} {__version__}\n")


def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run what the entry point of *command* names, wherever it is installed."""
    module = command.replace("-", "_") if command != "target-meltano" else "target_meltano.elt"
    code = f"from {module} import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
