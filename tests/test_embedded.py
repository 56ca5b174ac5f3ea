"""Our own PostgreSQL is started, shared and stopped, whoever runs it and whatever was killed."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest

from target_meltano import DatabaseError, SettingsError
from target_meltano_postgres import binaries, embedded

# Uses the server until its stdin ends, and says on stdout what it got.
USER = """
import sys
from pathlib import Path
from target_meltano_postgres import embedded
with embedded.running(Path(sys.argv[1])) as server:
    print("started" if server.started else "joined", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def made_home(folder: Path) -> Path:
    home = folder / "home"
    embedded.start(home)
    embedded.stop(home)
    return home


@pytest.fixture
def home(made_home: Path) -> Iterator[Path]:
    """A home that was used before and whose server is not running, nor will be."""
    yield made_home
    embedded.stop(made_home)


def query(server: embedded.Server, sql: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(server.url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())
    finally:
        connection.close()


def python(code: str, home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def use(home: Path) -> tuple[subprocess.Popen[str], str]:
    """Start a process that uses the server, and wait for its "started" or "joined"."""
    user = python(USER, home)
    assert user.stdout
    return user, user.stdout.readline().strip()


def postmaster(home: Path) -> int:
    return int((home / "data/postmaster.pid").read_text().split("\n")[0])


def test_a_server_is_started_found_and_stopped(home: Path) -> None:
    assert embedded.status(home) is None
    server = embedded.start(home)
    assert server.started
    assert query(server, "SELECT current_user, current_database()") == [("warehouse", "warehouse")]
    assert embedded.status(home) == embedded.start(home) == replace(server, started=False)
    assert embedded.stop(home)
    assert embedded.status(home) is None
    assert not embedded.stop(home)


def test_a_home_that_does_not_exist_is_not_made_by_a_question(folder: Path) -> None:
    assert embedded.status(folder / "none") is None
    assert not embedded.stop(folder / "none")
    assert not (folder / "none").exists()


def test_what_was_loaded_outlives_the_server(home: Path) -> None:
    with embedded.running(home) as server:
        connection = psycopg2.connect(server.url)
        with connection, connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 'é' AS a")
        connection.close()
    with embedded.running(home) as server:
        assert query(server, "SELECT a FROM kept") == [("é",)]


def test_settings_are_those_of_a_small_safe_server(home: Path) -> None:
    with embedded.running(home) as server:
        names = ("fsync", "max_wal_size", "server_encoding", "listen_addresses", "wal_level")
        assert [query(server, f"SHOW {name}")[0][0] for name in names] == [
            "on",
            "4GB",
            "UTF8",
            "127.0.0.1",
            "minimal",
        ]


def test_there_is_no_unix_socket(home: Path) -> None:
    with embedded.running(home) as server:
        assert query(server, "SHOW unix_socket_directories") == [("",)]
        assert (home / "data/postmaster.pid").read_text().split("\n")[4] == ""
        assert not Path(f"/tmp/.s.PGSQL.{server.port}").exists()


@pytest.mark.parametrize("password", ["", "wrong"], ids=["none", "wrong"])
def test_the_password_is_needed(home: Path, password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSFILE", os.devnull)
    with embedded.running(home) as server, pytest.raises(psycopg2.OperationalError, match="passw"):
        psycopg2.connect(replace(server, password=password).url)


def test_the_password_is_not_shown(home: Path) -> None:
    with embedded.running(home) as server:
        assert server.password not in repr(server)


def test_a_password_is_quoted_in_the_url() -> None:
    server = embedded.Server("h", 1, "u", "p@/:%", "d", started=False)
    assert server.url == "postgresql://u:p%40%2F%3A%25@h:1/d"


def test_nobody_else_can_read_the_files(home: Path) -> None:
    with embedded.running(home):
        for name in ("password", "log", "data", "turn.lock", "users.lock", "server.lock"):
            mode = stat.S_IMODE((home / name).stat().st_mode)
            assert mode & 0o077 == 0, f"{name}: {mode:o}"


def test_the_log_holds_no_statements(home: Path) -> None:
    with embedded.running(home) as server, pytest.raises(psycopg2.errors.DivisionByZero):
        query(server, "SELECT 'secret record', 1 / 0")
    assert "secret" not in (home / "log").read_text()


def test_a_long_log_is_cut(home: Path) -> None:
    with (home / "log").open("a") as log:
        log.write("x\n" * embedded.MAX_LOG_BYTES)
    with embedded.running(home):
        assert 0 < (home / "log").stat().st_size < 10_000


def test_the_port_stays_unless_it_is_taken(home: Path) -> None:
    with embedded.running(home) as first:
        pass
    with embedded.running(home) as second:
        assert second.port == first.port
    with socket.create_server((embedded.HOST, first.port)), embedded.running(home) as third:
        assert third.port != first.port


def test_the_last_of_two_processes_stops_the_server(home: Path) -> None:
    first, got = use(home)
    assert got == "started"
    second, got = use(home)
    assert got == "joined"
    first.communicate()
    assert embedded.status(home)
    second.communicate()
    assert embedded.status(home) is None
    assert (first.returncode, second.returncode) == (0, 0)


def test_two_that_come_at_once_share_one_server(home: Path) -> None:
    users = [python(USER, home) for _ in range(2)]
    got = [user.stdout.readline().strip() for user in users if user.stdout]
    assert sorted(got) == ["joined", "started"]
    for user in users:
        user.communicate()
    assert embedded.status(home) is None


def test_a_server_that_was_started_on_purpose_stays(home: Path) -> None:
    embedded.start(home)
    with embedded.running(home) as server:
        assert not server.started
    assert embedded.status(home)


def test_a_lent_server_that_is_then_started_on_purpose_stays(home: Path) -> None:
    with embedded.running(home):
        assert not embedded.start(home).started
    assert embedded.status(home)


def test_that_purpose_ends_with_its_server(home: Path) -> None:
    embedded.start(home)
    kill_server(home)
    with embedded.running(home) as server:
        assert server.started
    assert embedded.status(home) is None


def test_stop_does_not_ask_the_users(home: Path) -> None:
    with embedded.running(home):
        assert embedded.stop(home)
    assert embedded.status(home) is None


def test_an_error_of_the_user_passes_and_the_server_stops(home: Path) -> None:
    with pytest.raises(FileNotFoundError), embedded.running(home):
        (home / "none").read_text()
    assert embedded.status(home) is None


def test_a_killed_user_leaves_a_server_that_the_next_one_stops(home: Path) -> None:
    user, _ = use(home)
    user.kill()
    user.communicate()
    assert embedded.status(home)
    with embedded.running(home) as server:
        assert not server.started
    assert embedded.status(home) is None


def test_a_killed_user_does_not_take_the_server_from_others(home: Path) -> None:
    user, _ = use(home)
    with embedded.running(home) as server:
        user.kill()
        user.communicate()
        assert query(server, "SELECT 1") == [(1,)]
    assert embedded.status(home) is None


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(home: Path) -> None:
    with embedded.running(home):
        assert os.getsid(postmaster(home)) != os.getsid(0)
        assert os.getpgid(postmaster(home)) != os.getpgid(0)


def kill_server(home: Path) -> None:
    os.kill(postmaster(home), signal.SIGKILL)
    while embedded._is_held(home / "server.lock"):
        time.sleep(0.01)


def test_a_killed_server_starts_again(home: Path) -> None:
    embedded.start(home)
    os.kill(postmaster(home), signal.SIGKILL)  # at once, while its children still end
    server = embedded.start(home)
    assert server.started
    assert query(server, "SELECT 1") == [(1,)]


def test_a_pid_that_another_program_has_by_now_is_no_obstacle(home: Path) -> None:
    embedded.start(home)
    noted = (home / "data/postmaster.pid").read_text().split("\n")
    kill_server(home)
    owner = (home / "data").stat()
    other = subprocess.Popen(["sleep", "60"], user=owner.st_uid if binaries.is_root() else None)
    try:
        (home / "data/postmaster.pid").write_text("\n".join([str(other.pid), *noted[1:]]))
        assert embedded.status(home) is None
        assert not embedded.stop(home)
        assert embedded.start(home).started
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_server_that_someone_started_by_hand_is_left_alone(home: Path) -> None:
    programs = binaries.find(home)
    with socket.socket() as probe:
        probe.bind((embedded.HOST, 0))
        port = probe.getsockname()[1]
    by_hand = ("-D", "data", "-l", "log", "-w", "-o", f"-p {port} -h {embedded.HOST} -k ''")
    assert not programs.run("pg_ctl", "start", *by_hand).returncode
    try:
        with pytest.raises(DatabaseError, match="stop that one first"):
            embedded.start(home)
        assert (home / "data/postmaster.pid").exists()
    finally:
        programs.run("pg_ctl", "stop", "-D", "data", "-w")


def test_data_of_another_major_version_are_named_and_kept(home: Path) -> None:
    version = home / "data/PG_VERSION"
    major = version.read_text()
    version.write_text("9\n")
    try:
        with pytest.raises(DatabaseError, match=f"{home}/data: was made by PostgreSQL 9, but"):
            embedded.start(home)
        assert version.read_text() == "9\n"
    finally:
        version.write_text(major)


def test_an_error_at_the_start_is_one_line_that_says_why(home: Path) -> None:
    settings = home / "data/postgresql.conf"
    original = settings.read_text()
    settings.write_text(original + "nonsense = on\n")
    try:
        with pytest.raises(DatabaseError) as raised, embedded.running(home):
            pass
    finally:
        settings.write_text(original)
    assert "contains errors" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_first_start_that_was_cut_off_is_no_obstacle(folder: Path) -> None:
    home = folder / "cut"
    (home / "data.new").mkdir(parents=True)
    (home / "data.new/PG_VERSION").write_text("18\n")
    (home / "password").write_text("of the first try")
    with embedded.running(home) as server:
        assert query(server, "SELECT 1") == [(1,)]
        assert server.password != "of the first try"


def test_a_missing_locale_falls_back_to_c(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "LOCALES", ("xx_XX.UTF-8", "C"))
    with embedded.running(folder / "it's a home") as server:
        sql = "SELECT datcollate FROM pg_database WHERE datname = current_database()"
        assert query(server, sql) == [("C",)]


def test_a_home_that_cannot_be_made_says_so(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(SettingsError, match="TARGET_MELTANO_HOME"):
        embedded.start(folder / "file")


@pytest.mark.parametrize(
    ("environment", "platform", "home"),
    [
        ({"TARGET_MELTANO_HOME": "/a/b"}, "linux", "/a/b"),
        ({"XDG_DATA_HOME": "/x"}, "linux", "/x/target-meltano"),
        ({"HOME": "/h"}, "linux", "/h/.local/share/target-meltano"),
        ({"HOME": "/h"}, "darwin", "/h/Library/Application Support/target-meltano"),
    ],
    ids=["chosen", "xdg", "home", "macos"],
)
def test_the_default_home_of_an_ordinary_user(
    environment: dict[str, str], platform: str, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "is_root", lambda: False)
    monkeypatch.setattr(sys, "platform", platform)
    for name in ("TARGET_MELTANO_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert embedded.default_home() == Path(home)
