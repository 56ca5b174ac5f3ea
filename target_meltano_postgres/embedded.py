"""A PostgreSQL of our own for users who have none: found, made, started, shared and stopped.

home/
├── data/                    the cluster; root gives it to an unprivileged user
├── password, port, log      kept from one start to the next
├── keep                     there while the server runs because of start()
├── postgresql-<version>/    a copy of the binaries, where root's are closed to that user
├── turn.lock                held by whoever looks for, starts or stops the server
├── users.lock               held, shared, by everyone who uses the server
└── server.lock              held by the processes of the server

The kernel drops a flock with the last process that holds it, however that one died. So nothing is
counted that a kill -9 could leave wrong, and no process id is trusted after a reboot.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from target_meltano import DatabaseError, SettingsError

from . import binaries
from .binaries import Owner, Programs

with suppress(ImportError):  # Windows: _place() refuses before it is used.
    import fcntl

HOST = "127.0.0.1"
NAME = "warehouse"  # of the database, and of the user who owns it
START_S = 600  # recovery after a crash replays up to max_wal_size
WAIT_S = 120  # for another's start, or for the last checkpoint of a shutdown
POLL_S = 0.01
MAX_LOG_BYTES = 1_000_000
SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # the one question that needs no log-in
LOCALES = ("C.UTF-8", "C")  # older macOS and glibc have no C.UTF-8
SERVER_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "shared_buffers": "256MB",
    # Fewer checkpoints during a load, hence fewer full pages in the WAL.
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    # Nobody replicates it, and COPY into a table of the same transaction then skips the WAL.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # Statements, and what they failed on, hold records; and whoever sent them gets the error.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
}


@dataclass(frozen=True)
class Server:
    """A running server and how to connect to it; *started* says that this call started it."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    dbname: str
    started: bool

    @property
    def url(self) -> str:
        """Return what libpq and SQLAlchemy take; it holds the password."""
        password = quote(self.password, safe="")
        return f"postgresql://{self.user}:{password}@{self.host}:{self.port}/{self.dbname}"


class _Postmaster(NamedTuple):
    pid: int
    port: int


def default_home() -> Path:
    """Return the folder of the user's own server, whether or not it exists."""
    if chosen := os.environ.get("TARGET_MELTANO_HOME"):
        return Path(chosen).expanduser()
    if binaries.is_root():
        return Path("/var/lib/target-meltano")  # the server's user may not look into /root
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support/target-meltano"
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
    return Path(data) / "target-meltano"


def start(home: Path | None = None) -> Server:
    """Return the server, started if it does not run; it then stays until stop().

    Raises:
        SettingsError: no PostgreSQL is installed, or *home* cannot hold a server.
        DatabaseError: the server does not start, or its data need another version.
    """
    home = _place(home)
    with _turn(home):
        server = _join_or_start(home)
        (home / "keep").touch()
        return server


def stop(home: Path | None = None) -> bool:
    """Stop the server, even one in use, and return whether one was running."""
    home = _place(home)
    if not home.is_dir():
        return False
    with _turn(home):
        return _stop(home)


def status(home: Path | None = None) -> Server | None:
    """Return the server if it runs and can be connected to."""
    home = _place(home)
    if not home.is_dir():
        return None
    with _turn(home):
        found = _running(home)
        return _server(home, found.port, started=False) if found else None


@contextmanager
def running(home: Path | None = None) -> Iterator[Server]:
    """Lend the server, started if need be; the last one to leave stops it unless start() was used.

    Raises what start() raises.
    """
    home = _place(home)
    with ExitStack() as leaving:
        with _turn(home):
            leaving.callback(_stop_unless_wanted, home)
            leaving.enter_context(_lock(home / "users.lock", fcntl.LOCK_SH))
            server = _join_or_start(home)
        yield server


def _place(home: Path | None) -> Path:
    if os.name != "posix":
        raise SettingsError(
            f"the embedded PostgreSQL runs on Linux and macOS, this is {sys.platform}; "
            "give the host of a server, or use WSL"
        )
    return (home or default_home()).resolve()


@contextmanager
def _turn(home: Path) -> Iterator[None]:
    """Make *home* if need be and let nobody else start or stop its server meanwhile."""
    try:
        if not home.is_dir():
            home.mkdir(parents=True, exist_ok=True)
            home.chmod(0o755 if binaries.is_root() else 0o700)
        with _lock(home / "turn.lock", fcntl.LOCK_EX):
            yield
    except OSError as fault:
        raise SettingsError(
            f"{fault.filename or home}: {fault.strerror}, but the embedded PostgreSQL needs it; "
            "mend that, or set TARGET_MELTANO_HOME to a folder of your own"
        ) from fault


@contextmanager
def _lock(path: Path, how: int) -> Iterator[int]:
    with open(path, "a+b", opener=_private) as file:
        fcntl.flock(file, how)
        yield file.fileno()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _is_held(path: Path) -> bool:
    try:
        with _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return False
    except BlockingIOError:
        return True


def _server(home: Path, port: int, *, started: bool) -> Server:
    password = (home / "password").read_text()
    dbname = os.environ.get("TARGET_MELTANO_DATABASE") or NAME  # a review of it
    return Server(HOST, port, user=NAME, password=password, dbname=dbname, started=started)


def _join_or_start(home: Path) -> Server:
    log = home / "log"
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        os.truncate(log, 0)  # A running server appends, so this is safe under its feet.
    if found := _settled(home):
        return _server(home, found.port, started=False)
    programs = binaries.find(home)
    if not (home / "data").exists():
        _create(home, programs)
    _check_major(home / "data", programs)
    return _launch(home, programs)


def _stop_unless_wanted(home: Path) -> None:
    with _turn(home):
        if not _is_held(home / "users.lock") and not (home / "keep").exists():
            _stop(home)


def _stop(home: Path) -> bool:
    (home / "keep").unlink(missing_ok=True)
    found = _settled(home)
    if found:
        os.kill(found.pid, signal.SIGINT)  # PostgreSQL's "fast" shutdown
        _settled(home, ready=False)
    return found is not None


def _settled(home: Path, *, ready: bool = True) -> _Postmaster | None:
    """Return the server once it is *ready*, or None once no process of one is left."""
    deadline = time.monotonic() + WAIT_S
    while _is_held(home / "server.lock"):
        if ready and (found := _running(home)):
            return found
        if time.monotonic() > deadline:
            raise DatabaseError(
                f"{home}: its server did not {'become ready' if ready else 'stop'} within {WAIT_S} "
                "s; see the file log, or stop it where it runs if that is another container"
            )
        time.sleep(POLL_S)
    return None


def _running(home: Path) -> _Postmaster | None:
    noted = _noted(home)
    return noted if noted and _is_held(home / "server.lock") and _answers(noted.port) else None


def _noted(home: Path) -> _Postmaster | None:
    """Return what a server noted in its pid file when it was ready; it may be long dead.

    The lines of the file: https://www.postgresql.org/docs/current/storage-file-layout.html
    """
    try:
        lines = (home / "data/postmaster.pid").read_text().split("\n")
    except FileNotFoundError:
        return None
    is_ready = len(lines) > 7 and lines[7].strip() == "ready"
    return _Postmaster(int(lines[0]), int(lines[3])) if is_ready else None


def _answers(port: int) -> bool:
    """Tell whether a PostgreSQL answers there; the kernel accepts even for one that just died."""
    with suppress(OSError), socket.create_connection((HOST, port), timeout=5) as asking:
        asking.sendall(SSL_REQUEST)
        return asking.recv(1) in (b"S", b"N")
    return False


def _launch(home: Path, programs: Programs) -> Server:
    port, log = _free_port(home / "port"), home / "log"
    _write(log, "a", "", programs.owner)
    logged = log.stat().st_size
    settings = [part for item in SERVER_SETTINGS.items() for part in ("-c", "=".join(item))]
    # pg_ctl makes a shell command of these. It quotes neither options nor, well enough, paths.
    where = ("-D", "data", "-l", "log", "-o", shlex.join(["-p", str(port), *settings]))
    with _lock(home / "server.lock", fcntl.LOCK_EX) as lock:
        _drop_stale_pid(home)
        (home / "keep").unlink(missing_ok=True)
        wait = ("-w", "-t", str(START_S))
        done = programs.run("pg_ctl", "start", *where, *wait, inherit=(lock,))
    if done.returncode or not _settled(home):
        told = log.read_bytes()[logged:].decode(errors="replace") or done.stderr
        fault = binaries.reason(told)
        raise DatabaseError(f"{home}: PostgreSQL does not start: {fault}; see file log")
    (home / "port").write_text(str(port))
    return _server(home, port, started=True)


def _drop_stale_pid(home: Path) -> None:
    """Remove the pid file of a killed server: if its number is in use again, none would start."""
    noted = _noted(home)
    if noted and _is_alive(noted.pid) and _answers(noted.port):
        raise DatabaseError(
            f"{home / 'data'}: a server that we did not start runs on it (process {noted.pid}); "
            "stop that one first"
        )
    (home / "data/postmaster.pid").unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, 0)
        return True
    return False


def _free_port(kept: Path) -> int:
    """Return the port of last time if it is free, so that saved addresses hold, else any."""
    with socket.socket() as probe:
        # As PostgreSQL does: connections that ended just now do not take a port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, int(kept.read_text())))
        except (OSError, ValueError, OverflowError):
            probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _create(home: Path, programs: Programs) -> None:
    """Make the data with the database in it: all or, if this is cut off, none."""
    new = home / "data.new"
    _write(home / "password", "w", secrets.token_urlsafe(24), programs.owner)
    options = ("-D", new.name, "-U", NAME, "-A", "scram-sha-256", "--pwfile=password", "-E", "UTF8")
    for locale in LOCALES:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        _give(new, programs.owner)
        done = programs.run("initdb", *options, f"--locale={locale}")
        if "invalid locale name" not in done.stderr:
            break
    _check_made(home, done)
    single = ("--single", "-D", new.name, "postgres")
    sql = f"CREATE DATABASE {NAME}\n"
    _check_made(home, programs.run("postgres", *single, told=sql))
    new.rename(home / "data")


def _check_made(home: Path, done: subprocess.CompletedProcess[str]) -> None:
    # PostgreSQL's single mode goes on after an error and returns 0.
    if done.returncode or "ERROR:" in done.stderr:
        fault = binaries.reason(done.stderr)
        raise DatabaseError(f"{home}: no PostgreSQL can be made there: {fault}")


def _write(path: Path, mode: str, text: str, owner: Owner | None) -> None:
    with open(path, mode, opener=_private) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    _give(path, owner)


def _give(path: Path, owner: Owner | None) -> None:
    if owner:
        os.chown(path, *owner)


def _check_major(data: Path, programs: Programs) -> None:
    made = (data / "PG_VERSION").read_text().strip()
    if made != programs.major:
        raise DatabaseError(
            f"{data}: was made by PostgreSQL {made}, but {programs.folder} is version "
            f"{programs.major}; install version {made} again, or set TARGET_MELTANO_HOME to a new folder and load again"
        )
