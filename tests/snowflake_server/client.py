"""The stand-in as tests see it: its environment, its process, its log and its faults.

The engine needs an older connector than the newest, so it lives in an environment of its own, which
is made once per machine. Tests of connector 4 run in that environment, too.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
ENGINE = ["fakesnow[server]==0.12.1", "snowflake-connector-python>=4.2,<5"]  # strict.py knows its insides
CORE = ["SQLAlchemy>=2.0", "backoff", "jsonschema", "msgspec", "numpy", "pyarrow", "rich"]
TESTS = ["hypothesis", "pytest", "pytest-xdist"]
PACKAGES = [*ENGINE, *CORE, *TESTS]


class Unavailable(Exception):
    """The environment cannot be made; says why and what to do."""


def environment() -> Path:
    """Return the Python of the stand-in's environment, made anew where it is missing.

    Raises:
        Unavailable: it cannot be made.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(" ".join([version, *PACKAGES]).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "target-meltano")
    home = cache / f"snowflake-stand-in-{digest}"
    python, done = home / "bin/python", home / "done"
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "turn.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            venv.create(home, clear=True, with_pip=True)
            made = subprocess.run(
                [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES],
                capture_output=True,
                text=True,
                check=False,
            )
            if made.returncode:
                raise Unavailable(
                    f"the stand-in for Snowflake cannot be installed into {home}; it needs a package index "
                    f"with {', '.join(ENGINE)}: {made.stderr.strip()[-2000:]}"
                )
            done.touch()
    return python


@dataclass(frozen=True)
class Server:
    """A running stand-in; all that connects to it shares its databases."""

    port: int

    @property
    def settings(self) -> dict[str, Any]:
        """Return where it is, for the connectors."""
        return {"host": "127.0.0.1", "port": self.port, "protocol": "http"}

    def log(self, kind: str | None = None) -> list[Any]:
        """Return what was asked since `clear`: entries, or of one *kind* their contents."""
        entries = self._ask("/test/log")
        return [entry[kind] for entry in entries if kind in entry] if kind else entries

    def fault(self, sql: str, how: str, **more: int) -> None:
        """Let the next statement in which the pattern *sql* is found go wrong; see `wire.Fault`."""
        self._ask("/test/faults", {"sql": sql, "how": how, **more})

    def refuse(self, text: str, tells: bool = True) -> None:
        """Let COPY refuse each file with a cell *text*, and *tells* in which row it is, as Snowflake mostly does."""
        self._ask("/test/refused", {text: tells})

    def clear(self) -> None:
        """Forget the log and the faults that did not come."""
        self._ask("/test/clear", {})

    def _ask(self, path: str, content: Any = None) -> Any:
        data = None if content is None else json.dumps(content).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", data, timeout=30) as answer:
            return json.load(answer)


@contextmanager
def running() -> Iterator[Server]:
    """Yield a stand-in of one's own; it ends with the process that started it.

    Raises:
        Unavailable: its environment cannot be made, or it does not start.
    """
    process = subprocess.Popen(
        [environment(), HERE / "main.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    try:
        port = process.stdout.readline().strip()
        if not port:
            raise Unavailable("the stand-in for Snowflake ended before it told its port; its stderr says why")
        yield Server(int(port))
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()
