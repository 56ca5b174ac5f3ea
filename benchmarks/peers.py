"""Our target and its peers: what to install, and the command that loads a file into SCHEMA.

Each peer has an environment of its own, made once below .venv-bench. All run with their own
default settings, but for what a workload cannot do without.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2.extensions

from .database import SCHEMA

ROOT = Path(__file__).parent.parent
ENVIRONMENTS = ROOT / ".venv-bench"
OURS = Path(sys.executable).with_name("target-meltano-postgres")
SLING_WHEELS = {  # the last ones that hold the program; later ones fetch it from elsewhere
    ("Linux", "x86_64"): "sling-linux-amd64",
    ("Linux", "aarch64"): "sling-linux-arm64",
}


@dataclass(frozen=True)
class Task:
    """A file of messages to be loaded from a clean *folder*: to be upserted if *keyed*."""

    path: Path
    folder: Path
    url: str
    keyed: bool
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Peer:
    """A program to compare with. *command* gives the command line and changes of the environment.

    What it reads: Singer messages on stdin, but for *records* the bare records of one stream.
    """

    name: str
    requirements: tuple[str, ...]
    command: Callable[[Path, Task], tuple[Sequence[str | Path], Mapping[str, str]]]
    records: bool = False


def ours(task: Task) -> Sequence[str | Path]:
    """Return the command of the target that is installed beside this Python."""
    return [OURS, "--config", _config(task, url=task.url, schema=SCHEMA, **task.settings)]


def _meltanolabs(environment: Path, task: Task) -> tuple[Sequence[str | Path], Mapping[str, str]]:
    at = _parts(task.url)
    config = _config(task, **at, database=at["dbname"], default_target_schema=SCHEMA)
    return [environment / "bin/target-postgres", "--config", config], {}


def _pipelinewise(environment: Path, task: Task) -> tuple[Sequence[str | Path], Mapping[str, str]]:
    config = _config(task, **_parts(task.url), default_target_schema=SCHEMA, primary_key_required=task.keyed)
    return [environment / "bin/target-postgres", "--config", config], {}


def _dlt(environment: Path, task: Task) -> tuple[Sequence[str | Path], Mapping[str, str]]:
    script = Path(__file__).with_name("peer_dlt.py")
    off = {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}
    return [environment / "bin/python", script, task.path, task.url, SCHEMA, task.folder], off


def _sling(environment: Path, task: Task) -> tuple[Sequence[str | Path], Mapping[str, str]]:
    binary = next(environment.glob("lib/python*/site-packages/sling_*/bin/sling-*"))
    options = ["--mode", "incremental", "--primary-key", "id"] if task.keyed else ["--mode", "full-refresh"]
    source = ["--src-stream", f"file://{task.path}", "--src-options", '{"flatten": true, "format": "jsonlines"}']
    where = {"BENCH": f"{task.url}?sslmode=disable", "SLING_DISABLE_TELEMETRY": "true", "HOME": str(task.folder)}
    return [binary, "run", *source, "--tgt-conn", "BENCH", "--tgt-object", f"{SCHEMA}.records", *options], where


def _sling_wheel() -> str:
    return SLING_WHEELS.get((platform.system(), platform.machine()), "sling-linux-amd64")


PEERS = (
    Peer("pipelinewise", ("pipelinewise-target-postgres==2.1.2", "setuptools<81"), _pipelinewise),
    Peer("meltanolabs", ("meltanolabs-target-postgres==0.8.1",), _meltanolabs),
    Peer("dlt", ("dlt[postgres]==1.31.0",), _dlt),
    Peer("sling", (f"{_sling_wheel()}==1.4.11",), _sling, records=True),
)


def installed(peer: Peer) -> Path | None:
    """Return the environment of a peer, made if need be; None, and a loud line, where that fails."""
    environment = ENVIRONMENTS / peer.name
    mark = environment / "installed"
    if mark.exists() and mark.read_text() == "\n".join(peer.requirements):
        return environment
    print(f"installing {peer.name}: {', '.join(peer.requirements)}", flush=True)
    shutil.rmtree(environment, ignore_errors=True)
    venv.create(environment, with_pip=True)
    pip = [str(environment / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *peer.requirements], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        print(f"LEFT OUT: {peer.name} cannot be installed here: {reason}", file=sys.stderr, flush=True)
        return None
    mark.write_text("\n".join(peer.requirements))
    return environment


def records_of(path: Path) -> Path:
    """Return a file with the bare records of a file of messages, as lines of JSON."""
    records = path.with_suffix(".jsonl")
    if not records.exists():
        with path.open(encoding="utf-8") as file, records.open("w", encoding="utf-8") as out:
            for line in file:
                message = json.loads(line)
                if message["type"] == "RECORD":
                    out.write(json.dumps(message["record"], ensure_ascii=False) + "\n")
    return records


def _config(task: Task, **settings: Any) -> Path:
    path = task.folder / "config.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return path


def whole(url: str) -> str:
    """Return an address with all its parts: some peers want a password even where none is asked for."""
    at = _parts(url)
    name, password = quote(at["user"], safe=""), quote(at["password"], safe="")
    return f"postgresql://{name}:{password}@{at['host']}:{at['port']}/{at['dbname']}"


def _parts(url: str) -> dict[str, Any]:
    """Return the parts of an address as the Singer targets name them; the port is a number."""
    found = psycopg2.extensions.parse_dsn(url)
    user = found.get("user", "postgres")
    return {
        **{"host": found.get("host", "localhost"), "port": int(found.get("port", 5432))},
        **{"user": user, "password": found.get("password", "none"), "dbname": found.get("dbname", user)},
    }
