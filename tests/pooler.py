"""A pgbouncer in front of a server, for a while; it shares sessions by transaction, by session or by statement."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg2.extensions import make_dsn, parse_dsn

from target_meltano_postgres import binaries

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
needs_pgbouncer = pytest.mark.skipif(not PROGRAM, reason="needs pgbouncer: apt-get install pgbouncer")

INI = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 200
server_login_retry = 1
ignore_startup_parameters = {ignored}
"""


class Pooler:
    """The program, and the *url* that leads through it. It runs as the user whose server it is, or as ours."""

    def __init__(self, url: str, mode: str, size: int, users: Mapping[str, str], ignored: str):
        parts = parse_dsn(url)
        self.folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
        self._owner = binaries.owner_of(self.folder)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = make_dsn(url, host="127.0.0.1", port=port)
        known = {parts["user"]: parts.get("password", ""), **users}
        (self.folder / "users").write_text("".join(f'"{user}" "{password}"\n' for user, password in known.items()))
        ini = INI.format(host=parts["host"], port=parts.get("port", 5432), own_port=port, folder=self.folder, mode=mode, size=size, ignored=ignored)
        (self.folder / "ini").write_text(ini)
        self._port = port
        for path in (self.folder, *self.folder.iterdir()):
            if self._owner:
                os.chown(path, *self._owner)

    def start(self) -> None:
        assert PROGRAM
        as_user = {"user": self._owner[0], "group": self._owner[1], "extra_groups": []} if self._owner else {}
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen([PROGRAM, str(self.folder / "ini")], stdout=log, stderr=log, **as_user)  # type: ignore[call-overload]
        until = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port)).close()
                return
            except OSError:
                assert time.monotonic() < until, (self.folder / "log").read_text()
                time.sleep(0.02)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def pooled(url: str, mode: str, *, size: int = 5, users: Mapping[str, str] | None = None, ignored: str = "") -> Iterator[Pooler]:
    made = Pooler(url, mode, size, users or {}, ignored)
    made.start()
    try:
        yield made
    finally:
        made.kill()
        shutil.rmtree(made.folder)
