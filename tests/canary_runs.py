"""Loads of attempts: in this process or another one, with all that is left of them noted place by place."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from canary_attempts import KEY
from canary_places import Places, connected, look_into_folder, look_into_process

from target_meltano import Dialect, TargetError, commands, compiled, decode, lines, load, make, structs
from target_meltano.report import Report
from target_meltano_postgres import PostgresDialect, PostgresSettings, copy

ROOT = Path(__file__).parent.parent
HAS_C = compiled.IS_THERE
SEEN = "qv4seen"  # in a stream without rules: it has to be found wherever a value may be
TREES = "?options=-c%20debug_print_parse%3Don"  # what the server makes of each statement


@contextmanager
def way(in_c: bool) -> Iterator[None]:
    """Read and write by the modules in C, or by those that take their place."""
    if in_c:
        yield
        return
    with mock.patch.object(decode, "path", structs), mock.patch.object(lines, "reader", None), mock.patch.object(copy, "_c", None):
        yield


@contextmanager
def overheard(places: Places) -> Iterator[None]:
    """Note what libraries log, to the last detail."""
    heard = io.StringIO()
    handler = logging.StreamHandler(heard)
    loggers = [logging.getLogger(name) for name in (None, "sqlalchemy", "snowflake", "backoff")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    loggers[0].addHandler(handler)
    try:
        yield
    finally:
        loggers[0].removeHandler(handler)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        places.add("debug log", heard.getvalue())


@dataclass
class Runner:
    """Runs into schemas of the server at *url*; *folder* has the files of BATCH messages, and what processes write."""

    url: str
    folder: Path
    places: Places
    is_guarded: bool = True

    def settings(self, schema: str, rules: Sequence[Any], **more: Any) -> dict[str, Any]:
        found = {"url": self.url, "schema": schema, "batch_root": str(self.folder), **more}
        return {**found, "pii": {"key": KEY, "rules": list(rules)}} if self.is_guarded else found

    def dialect(self, schema: str, rules: Sequence[Any], **more: Any) -> Dialect[Any]:
        return PostgresDialect(make(PostgresSettings, **self.settings(schema, rules, **more)))

    def load(self, schema: str, sent: Sequence[bytes], rules: Sequence[Any], *, in_c: bool = True, as_json: bool = False, **more: Any) -> str:
        """Load in this process, note all that is told, and return the error, empty if there is none."""
        log, states, error = io.StringIO(), [], ""
        made = self.dialect(schema, rules, **more)
        report = Report(log, as_json=as_json)
        with way(in_c):
            try:
                load(made, sent, on_state=states.append, report=report)
            except TargetError as fault:
                error = str(fault)
        self.places.add("STATEs", *states)
        self.places.add("log, json" if as_json else "log, text", log.getvalue())
        self.places.add("summary", json.dumps(report.summary(), ensure_ascii=False))
        self.places.add("errors", error)
        return error

    def note_rejected(self, schema: str, rules: Sequence[Any]) -> None:
        """Note what the commands for invalid records print."""
        made = self.dialect(schema, rules)
        told: list[str] = []
        self.places.add("rejected list", *commands.rejected(made, None, None))
        self.places.add("rejected replay", *commands.replay(made, None, None, told.append), *told)

    # --- as a process

    def config(self, schema: str, rules: Sequence[Any], **more: Any) -> str:
        path = self.folder / f"{schema}.json"
        path.write_text(json.dumps(self.settings(schema, rules, **more)))
        return str(path)

    def start(self, config: str, *options: str, command: Sequence[str] = (), in_c: bool = True, spools: bool = False) -> subprocess.Popen[bytes]:
        """Start the target; with *spools* all rows wait in its file."""
        temporary = self.folder / "temporary"
        temporary.mkdir(exist_ok=True)
        program = f"{'import target_meltano.kept as kept; kept.IN_MEMORY = 0; ' if spools else ''}from target_meltano_postgres import main; main()"
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT), "TARGET_MELTANO_C": str(int(in_c))}
        words = [sys.executable, "-X", "dev", "-W", "ignore", "-c", program, *command, *options, "--config", config]
        pipe = subprocess.PIPE
        return subprocess.Popen(words, cwd=self.folder, env=environment, stdin=pipe, stdout=pipe, stderr=pipe)

    def process(self, schema: str, sent: Sequence[bytes], rules: Sequence[Any], *options: str, in_c: bool = True, **more: Any) -> int:
        """Run the target as a process to its end, and note all that it leaves."""
        config, summary = self.config(schema, rules, **more), self.folder / f"{schema}.summary"
        with self.start(config, *options, "--summary", str(summary), in_c=in_c) as running:
            out, told = running.communicate(b"\n".join([*sent, b""]))
        self.places.add("stdout", out)
        self.places.add("stderr, json" if "json" in options else "stderr, text", told)
        self.places.add("summary", summary.read_bytes())
        self.note_temporary()
        for command in (["rejected", "list"], ["rejected", "replay"], ["state", "get"]):
            with self.start(config, command=command) as asked:
                self.places.add(" ".join(command), *asked.communicate())
        return running.returncode

    def note_temporary(self) -> None:
        look_into_folder(self.places, "TMPDIR", self.folder / "temporary")

    def ended(self, schema: str, sent: Sequence[bytes], rules: Sequence[Any], number: int, *, in_c: bool = True, **more: Any) -> int:
        """End the target by a signal while rows wait in its file and in an open transaction; note what it had open, and what it leaves."""
        with self.start(self.config(schema, rules, **more), in_c=in_c, spools=True) as running:
            assert running.stdin
            running.stdin.write(b"\n".join([*sent, b""]))
            running.stdin.flush()
            until, opened = time.monotonic() + 300, Places()
            while not any(SEEN.encode() in data for data in opened.get("open files", ())):
                assert running.poll() is None, running.communicate()
                assert time.monotonic() < until
                time.sleep(0.05)
                opened = Places()
                look_into_process(opened, "open files", running.pid)
            self.places.add("open files", *opened["open files"])
            self.note_temporary()
            self.places.add("process list", Path(f"/proc/{running.pid}/cmdline").read_bytes())
            running.send_signal(number)
            running.wait(300)  # with its input open: at the end of that it would end by itself
            out, told = running.communicate()
        self.places.add("stdout", out)
        self.places.add("stderr, text", told)
        self.note_temporary()
        assert running.returncode in (128 + number, -number), (number, running.returncode, told[-500:])
        return running.returncode


def looker(url: str) -> Any:
    return connected(url)


SIGNALS = {"kill -9": signal.SIGKILL, "Ctrl-C": signal.SIGINT}
