"""A tap and a target as processes, joined by a pipe, and what is in the tables afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg2
import tap

HERE = Path(__file__).parent
TARGET = (sys.executable, "-c", "from target_meltano_postgres import main; main()")
WAIT_SECONDS = 240  # longer is a hang
KEYED = ("orders", "people")
COLUMNS = {stream: ", ".join(columns) for stream, (_, columns) in tap.SCHEMAS.items()}


class Run:
    """A tap's output on its way through a target; a context that leaves no process behind.

    *tap_command* None: the target's stdin is for the test to write to.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        tap_command: Sequence[str] | None = None,
        target: Sequence[str] = TARGET,
        stdout: int | None = subprocess.PIPE,
    ):
        self.settings = settings
        self.tap_command = tap_command
        self.command = target
        self.states: list[str] = []
        self.partial = ""
        self._stdout = stdout

    def __enter__(self) -> Run:
        self._errors = tempfile.TemporaryFile("w+")
        self._config = tempfile.NamedTemporaryFile("w", suffix=".json")
        json.dump(self.settings, self._config)
        self._config.flush()
        pipe = subprocess.PIPE
        self.tap = subprocess.Popen(self.tap_command, stdout=pipe, stderr=subprocess.DEVNULL) if self.tap_command else None
        self.target = subprocess.Popen(
            [*self.command, "--config", self._config.name],
            stdin=self.tap.stdout if self.tap else pipe,
            stdout=self._stdout,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": str(HERE.parent.parent)},
        )
        if self.tap and self.tap.stdout:
            self.tap.stdout.close()
        self._reader = threading.Thread(target=self._read, daemon=True)
        if self._stdout == pipe:
            self._reader.start()
        return self

    def _read(self) -> None:
        assert self.target.stdout
        for line in self.target.stdout:
            if line.endswith(b"\n"):
                self.states.append(line.decode().strip())
            else:
                self.partial = line.decode()

    def __exit__(self, *_: object) -> None:
        for process in filter(None, (self.target, self.tap)):
            process.kill()
            process.wait()
        if self._reader.is_alive():
            self._reader.join(10)
        for file in filter(None, (self.target.stdout, self.target.stdin, self._errors, self._config)):
            try:
                file.close()
            except BrokenPipeError:
                pass

    def ended(self, seconds: float = WAIT_SECONDS) -> int:
        """Wait for the target, and return its exit code once all its STATEs are read."""
        code = self.target.wait(seconds)
        if self._stdout == subprocess.PIPE:
            self._reader.join(10)
        return code

    def wait_for_states(self, count: int, seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while len(self.states) < count and self.target.poll() is None:
            assert time.monotonic() < until, "no STATE came"
            time.sleep(0.005)

    def errors(self) -> str:
        """Return what the target wrote to stderr."""
        self._errors.seek(0)
        return self._errors.read()

    def fault(self) -> str:
        """Return the one line in which the target tells why it failed; a traceback is a bug."""
        told = self.errors()
        assert "Traceback" not in told, told
        found = [line for line in told.splitlines() if line.startswith("CRITICAL ")]
        assert len(found) == 1, told
        return found[0]


def tap_command(rows: int, seed: int, state: str | None) -> list[str]:
    return [sys.executable, str(HERE / "tap.py"), str(rows), str(seed), *([state] if state else [])]


def line_of(state: str | None) -> int:
    return int(json.loads(state or "{}").get("line", 0))


class Tables:
    """What a test sees of a schema, and compares."""

    def __init__(self, url: str, schema: str):
        self.connection = psycopg2.connect(url, options="-c timezone=UTC")
        self.connection.autocommit = True
        self.schema = schema

    def query(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall()) if cursor.description else []

    def exists(self, table: str) -> bool:
        return bool(self.query("SELECT to_regclass(%s) IS NOT NULL", (f'"{self.schema}"."{table}"',))[0][0])

    def different(self, other: str, stream: str, *, distinct: bool = False) -> tuple[int, int]:
        """Return how many rows are missing here that *other* has, and how many are too many."""
        rows = [f'SELECT {"DISTINCT" if distinct else ""} {COLUMNS[stream]} FROM "{schema}".{stream}' for schema in (self.schema, other)]
        missing = self.query(f"SELECT count(*) FROM ({rows[1]} EXCEPT ALL {rows[0]}) AS missing")[0][0]
        extra = self.query(f"SELECT count(*) FROM ({rows[0]} EXCEPT ALL {rows[1]}) AS extra")[0][0]
        return missing, extra

    def lost(self, line: int, seed: int) -> int:
        """Return how many records up to *line*, which a STATE covers, are in no table."""
        sent = {stream: set() for stream in tap.STREAMS}
        for n in range(1, line + 1):
            sent[tap.stream_of(n, seed)].add(n)
        if not line or not self.exists("events"):
            return line
        found = {n for (n,) in self.query(f'SELECT n FROM "{self.schema}".events WHERE n <= %s', (line,))}
        return len(sent["events"] - found)

    def state(self, state_id: str) -> str | None:
        """Return the STATE that is kept, once no session of a killed run can commit any more."""
        until = time.monotonic() + 10
        while self.query("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'") and time.monotonic() < until:
            time.sleep(0.01)
        if not self.exists("__state"):
            return None
        found = self.query(f'SELECT state FROM "{self.schema}".__state WHERE state_id = %s', (state_id,))
        return found[0][0] if found else None

    def drop(self) -> None:
        self.query(f'DROP SCHEMA IF EXISTS "{self.schema}" CASCADE')

    def close(self) -> None:
        self.connection.close()
