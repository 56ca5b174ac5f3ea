"""A MariaDB of the tests' own, from Debian's package, with a binary log of rows; it runs as no root."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from target_meltano_postgres import binaries

PATHS = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
SERVER, MAKE, CLIENT = (shutil.which(name, path=PATHS) for name in ("mariadbd", "mariadb-install-db", "mariadb"))
needs_mariadb = pytest.mark.skipif(not (SERVER and MAKE and CLIENT), reason="needs a MariaDB: apt-get install mariadb-server")
START_S = 60

SETTINGS = """
[mariadbd]
datadir = {folder}/data
tmpdir = {folder}
socket = {folder}/socket
port = {port}
bind-address = 127.0.0.1
skip-name-resolve
server-id = 1
log-bin = {folder}/data/binlog
binlog-format = ROW
binlog-row-image = FULL
character-set-server = utf8mb4
innodb-flush-log-at-trx-commit = 0
# Rows that a strict server refuses are among those that taps meet: zero dates, as older versions stored them.
sql-mode = NO_ENGINE_SUBSTITUTION
"""


@dataclass(frozen=True)
class Source:
    """A server, and an account that may do all that taps need."""

    folder: Path
    port: int
    user: str = "tap"
    password: str = "secret"

    def run(self, sql: str, database: str = "") -> str:
        """Run statements in UTC and return what the server's own client prints."""
        where = ["--no-defaults", f"--socket={self.folder}/socket", "--user=root", "--default-character-set=utf8mb4"]
        how = ["--init-command=SET time_zone = '+00:00'", "--batch", "--raw", "--skip-column-names"]
        told = subprocess.run([str(CLIENT), *where, *how, database], input=sql, capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stderr
        return told.stdout

    def texts(self, database: str, table: str, expressions: Sequence[str]) -> list[tuple[str | None, ...]]:
        """The rows of a table, in *expressions* of its columns, each value as text."""
        cells = ", ".join(f"IFNULL(CONCAT('x', HEX(CONVERT({expression} USING utf8mb4))), '-')" for expression in expressions)
        lines = self.run(f"SELECT {cells} FROM `{table}`", database).splitlines()
        return [tuple(None if cell == "-" else bytes.fromhex(cell[1:]).decode() for cell in line.split("\t")) for line in lines]


@contextmanager
def started() -> Iterator[Source]:
    """A server in a new folder; both are gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="mariadb-"))
    owner = binaries.owner_of(folder)
    with socket.create_server(("127.0.0.1", 0)) as free:
        source = Source(folder, free.getsockname()[1])
    (folder / "settings").write_text(SETTINGS.format(folder=folder, port=source.port))
    if owner:
        os.chown(folder, *owner)
    as_user = {"user": owner.uid, "group": owner.gid, "extra_groups": []} if owner else {}
    ours = f"--defaults-file={folder}/settings"
    with open(folder / "log", "ab") as log:
        how: dict[str, Any] = {"stdout": log, "stderr": log, "cwd": folder, **as_user}
        made = subprocess.run([str(MAKE), ours, "--auth-root-authentication-method=normal", "--skip-test-db"], check=False, **how)
        assert made.returncode == 0, (folder / "log").read_text()
        server = subprocess.Popen([str(SERVER), ours], **how)
    try:
        until = time.monotonic() + START_S
        while not (folder / "socket").exists():
            if server.poll() is not None or time.monotonic() > until:
                pytest.fail(f"no MariaDB to test on: {(folder / 'log').read_text()}", pytrace=False)
            time.sleep(0.05)
        source.run(f"CREATE USER {source.user} IDENTIFIED BY '{source.password}'; GRANT ALL ON *.* TO {source.user}")
        yield source
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)
