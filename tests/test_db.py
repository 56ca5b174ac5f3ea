"""Without settings the target has its own server, and `db` looks after it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from target_meltano_postgres import embedded

COMMAND = "from target_meltano_postgres import main; main()"
STREAM = """\
{"type": "SCHEMA", "stream": "a", "key_properties": ["id"], "schema": {"properties": {"id": {"type": "integer"}}}}
{"type": "RECORD", "stream": "a", "record": {"id": 1}}
{"type": "STATE", "value": {"a": 1}}
"""


@pytest.fixture(scope="module")
def home(folder: Path) -> Path:
    return folder / "home"


@pytest.fixture(autouse=True)
def stopped(home: Path) -> Iterator[None]:
    yield
    embedded.stop(home)


def run(home: Path, *arguments: str, told: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TARGET_MELTANO_HOME": str(home), **more}
    command = [sys.executable, "-c", COMMAND, *arguments]
    return subprocess.run(command, input=told, env=environment, capture_output=True, text=True, check=False)


def test_without_settings_the_own_server_is_loaded_and_stopped(home: Path) -> None:
    done = run(home, told=STREAM)
    assert (done.returncode, done.stdout) == (0, '{"a":1}\n'), done.stderr
    assert "target-meltano-postgres db psql" in done.stderr
    assert (home / "password").read_text() not in done.stderr
    assert embedded.status(home) is None
    found = run(home, "db", "psql", "-At", "-c", "SELECT id FROM raw.a")
    assert (found.returncode, found.stdout) == (0, "1\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("arguments", [(), ("state", "get"), ("verify",)], ids=["load", "state get", "verify"])
def test_a_signal_while_it_starts_stops_the_own_server(home: Path, tmp_path: Path, arguments: tuple[str, ...], number: signal.Signals) -> None:
    """To the whole group, as Ctrl-C and `timeout` send it, at any moment of the start."""
    environment = {**os.environ, "TARGET_MELTANO_HOME": str(home), "TARGET_MELTANO_POSTGRES_STATE_ID": "x"}
    (tmp_path / "stream").write_text(STREAM)
    for late in (0.0, 0.02, 0.05, 0.1, 0.2):
        with open(tmp_path / "stream") as whole, subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments],
            env=environment, stdin=whole if arguments else subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        ) as process:
            until = time.monotonic() + 20
            while not (home / "data/postmaster.pid").exists() and process.poll() is None and time.monotonic() < until:
                time.sleep(0.005)
            time.sleep(late)
            if process.poll() is None:
                os.killpg(process.pid, number)
            process.communicate(timeout=20)
        assert embedded.status(home) is None, late


def test_a_server_that_was_started_on_purpose_is_used_and_stays(home: Path) -> None:
    started = run(home, "db", "start")
    assert started.returncode == 0
    assert str(home) in started.stdout
    assert run(home, told=STREAM).returncode == 0
    assert run(home, "db", "status").stdout == started.stdout
    assert run(home, "db", "stop").stdout == "stopped\n"
    assert run(home, "db", "stop").stdout == "it did not run\n"


def test_a_run_that_fails_stops_the_server_too(home: Path) -> None:
    assert run(home, told=f"{STREAM}nonsense\n").returncode == 1
    assert embedded.status(home) is None


def test_a_schema_of_ones_own_is_taken_in_the_own_server_too(home: Path) -> None:
    assert run(home, told=STREAM, TARGET_MELTANO_POSTGRES_SCHEMA="shop").returncode == 0
    assert run(home, "db", "psql", "-At", "-c", "SELECT id FROM shop.a").stdout == "1\n"


@pytest.mark.parametrize("variable", ["PGHOST", "PGSERVICE", "PGUSER", "TARGET_MELTANO_POSTGRES_URL"])
def test_settings_of_another_server_keep_the_own_one_out(home: Path, variable: str) -> None:
    done = run(home, told=STREAM, **{variable: "x"})
    assert done.returncode == 2
    assert "schema: missing" in done.stderr


def test_url_is_all_that_it_prints(home: Path) -> None:
    server = embedded.start(home)
    done = run(home, "db", "url")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{server.url}\n", "")
    psycopg2.connect(done.stdout.strip()).close()


@pytest.mark.parametrize("command", ["url", "status"])
def test_a_server_that_does_not_run_is_exit_3(home: Path, command: str) -> None:
    done = run(home, "db", command)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "CRITICAL our PostgreSQL does not run; start it: target-meltano-postgres db start\n"


@pytest.mark.parametrize("arguments", [[], ["dump"], ["start", "now"]], ids=["none", "unknown", "too many"])
def test_wrong_arguments_are_exit_2(home: Path, arguments: list[str]) -> None:
    done = run(home, "db", *arguments)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_home_that_cannot_be_is_exit_2(folder: Path) -> None:
    (folder / "file").touch()
    done = run(folder / "file", "db", "start")
    assert done.returncode == 2
    assert done.stderr.startswith(f"CRITICAL {folder}/file")


def test_psql_gives_its_own_exit_code(home: Path) -> None:
    assert run(home, "db", "psql", "-c", "nonsense").returncode == 1


def test_psql_does_not_go_where_others_point(home: Path) -> None:
    done = run(home, "db", "psql", "-At", "-c", "SELECT current_database()", PGDATABASE="other", PGHOST="nowhere")
    assert done.stdout == "warehouse\n"
