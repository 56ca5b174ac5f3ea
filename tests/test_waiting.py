"""While a database cannot be reached, that is said at once; and Ctrl-C before anything is under way leaves no traceback."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from target_meltano.samples import record, schema, state

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-c", "from target_meltano_postgres import main; main()"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
LINES = "".join(json.dumps(line) + "\n" for line in [schema("t"), record("t", id=1), state(1)])


@pytest.fixture
def nobody() -> Iterator[str]:
    """The URL of a server that refuses, for as long as nobody listens at its port."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"postgresql://u:hunter2@127.0.0.1:{held.getsockname()[1]}/d"


def started(tmp_path: Path, url: str, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
    (tmp_path / "c.json").write_text(json.dumps({"url": url, "schema": "s", "state_id": "x"}))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.Popen([*COMMAND, *arguments, "--config", str(tmp_path / "c.json")], env=ENVIRONMENT, **pipes)


@pytest.mark.parametrize("arguments", [(), ("state", "get"), ("rejected", "list")], ids=" ".join)
def test_it_is_said_at_once_and_once(tmp_path: Path, nobody: str, arguments: tuple[str, ...]) -> None:
    process = started(tmp_path, nobody, *arguments)
    assert process.stderr
    line = process.stderr.readline().decode()
    assert process.poll() is None
    assert re.match(r"WARNING cannot connect: .*refused.*; trying again for 30 s\n$", line)
    assert "hunter2" not in line
    time.sleep(1.5)  # some tries more
    process.send_signal(signal.SIGINT)
    printed, told = process.communicate(timeout=20)
    assert (process.returncode, printed, told) == (130, b"", b"")


def test_a_name_that_does_not_resolve(tmp_path: Path) -> None:
    process = started(tmp_path, "postgresql://u@no-such-host.invalid/d")
    assert process.stderr
    try:
        line = process.stderr.readline().decode()
    finally:
        process.kill()
        process.communicate()
    assert re.match(r'WARNING cannot connect: could not translate host name "no-such-host.invalid" .*; trying again', line)


def test_what_mends_itself_loads(db: Any, tmp_path: Path) -> None:
    """The server comes up while we wait for it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    at = re.sub(r":\d+/", f":{port}/", db.url)
    config = tmp_path / "c.json"
    config.write_text(json.dumps({"url": at, "schema": db.schema}))
    process = subprocess.Popen([*COMMAND, "--config", str(config)], env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr
    assert b"trying again" in process.stderr.readline()
    forward = "import socket, sys, threading; s = socket.create_server(('127.0.0.1', int(sys.argv[1])))\nwhile True:\n a = s.accept()[0]; b = socket.create_connection(('127.0.0.1', int(sys.argv[2])))\n def copy(x, y):\n  while d := x.recv(65536): y.sendall(d)\n  y.shutdown(1)\n threading.Thread(target=copy, args=(a, b), daemon=True).start(); threading.Thread(target=copy, args=(b, a), daemon=True).start()"
    real = re.search(r":(\d+)/", db.url)
    assert real
    with subprocess.Popen([sys.executable, "-c", forward, str(port), real[1]]) as proxy:
        try:
            assert process.communicate(LINES.encode(), timeout=60)[0] == b"1\n"
        finally:
            proxy.kill()


def test_on_a_terminal_it_is_the_database_that_is_waited_for(tmp_path: Path, nobody: str) -> None:
    ours, theirs = pty.openpty()
    process = started(tmp_path, nobody, stderr=theirs)
    os.close(theirs)
    shown = b""
    while b"trying again" not in shown or b"waiting for" not in shown.rpartition(b"trying again")[2]:
        shown += os.read(ours, 65536)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    process.communicate()
    os.close(ours)
    assert b"waiting for the database" in shown
    assert b"waiting for the tap" not in shown


# --- Ctrl-C while modules are imported

AT_IMPORT = """
import importlib.abc, os, signal, sys, time

class AtImport(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

sys.meta_path.insert(0, AtImport())
from {package} import main
main()
"""


def interrupted(package: str, module: str, *arguments: str) -> tuple[int, str, str]:
    """Run a command that gets SIGINT when it imports *module*; it fails where that is never imported."""
    code = AT_IMPORT.format(package=package, module=module)
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=ENVIRONMENT, input=LINES, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("arguments", [(), ("--about",), ("rejected", "list")], ids=" ".join)
@pytest.mark.parametrize("module", ["target_meltano.cli", "argparse", "target_meltano.settings", "sqlalchemy", "pyarrow", "psycopg2"])
def test_ctrl_c_while_modules_are_imported(module: str, arguments: tuple[str, ...]) -> None:
    assert interrupted("target_meltano_postgres", module, *arguments) == (130, "", "")


@pytest.mark.parametrize(("module", "arguments"), [("target_meltano.elt.run", ["run"]), ("target_meltano.elt.project", ["check"]), ("yaml", ["check"])], ids=str)
def test_ctrl_c_while_the_wrapper_imports(module: str, arguments: list[str]) -> None:
    assert interrupted("target_meltano.elt", module, *arguments) == (130, "", "")


def test_ctrl_c_while_snowflakes_connector_is_imported() -> None:
    pytest.importorskip("snowflake.connector", reason="pip install 'target-meltano[snowflake]'")
    assert interrupted("target_meltano_snowflake", "snowflake.connector", "--about") == (130, "", "")
