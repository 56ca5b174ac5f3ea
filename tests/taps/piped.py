"""A real tap and real targets behind it: a sync is one run of each, with the STATE of the last."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from target_meltano import load, make
from target_meltano.verify.program import Verification
from target_meltano_postgres import PostgresDialect, PostgresSettings

TARGET = Path(sys.executable).with_name("target-meltano-postgres")
LONGEST_S = 300


@dataclass
class Pipe:
    """A *tap*'s command line, and a target for each of *targets*, by the schema that it loads into.

    They are not joined by a pipe but by a file, so that all targets get the same messages, and a test can
    read them. The first target is a process, the others run in this one. What a run leaves is in *folder*.
    """

    tap: Sequence[str | Path]
    targets: Mapping[str, Mapping[str, Any]]
    url: str
    folder: Path
    messages: Path = field(init=False)
    records: int = 0  # of all syncs
    syncs: int = 0

    @property
    def state(self) -> Path:
        return self.folder / "state.json"

    def sync(self, **settings: Any) -> None:
        """Run the tap, then all targets, with *settings* besides their own."""
        self.read()
        self.load(**settings)

    def read(self) -> None:
        """Run the tap from the last STATE, if there is one."""
        self.messages = self.folder / f"{self.syncs}.singer"
        with open(self.messages, "wb") as out:
            run([*self.tap, *(["--state", self.state] if self.state.exists() else [])], stdout=out)
        self.syncs += 1
        self.records += len(self.read_records())

    def load(self, **settings: Any) -> None:
        """Load what was read into all targets, which have to end with the same STATE; `verify` has to find all of it."""
        (first, its), *others = self.targets.items()
        told = self._process(first, {**its, **settings})
        assert told.returncode == 0, told.stderr
        last = told.stdout.splitlines()[-1]
        for schema, its in others:
            states: list[str] = []
            with open(self.messages, "rb") as messages:
                load(self._dialect(schema, {**its, **settings}), messages, on_state=states.append)
            assert states[-1] == last
        self.state.write_text(last)
        for schema, its in self.targets.items():
            self.verify(schema, {**its, **settings})

    def verify(self, schema: str, settings: Mapping[str, Any]) -> None:
        with open(self.messages, "rb") as messages:
            verdicts = Verification(self._dialect(schema, settings), messages).run()
        told = [line for verdict in verdicts for line in (str(verdict), *map(str, verdict.found.differences))]
        assert all(verdict.is_equal for verdict in verdicts), "\n".join(told)

    def refused(self, **settings: Any) -> str:
        """The error by which the first target ends, of what was read."""
        schema, its = next(iter(self.targets.items()))
        told = self._process(schema, {**its, **settings})
        assert told.returncode == 1, told.stderr
        return told.stderr.splitlines()[-1]

    def read_records(self) -> list[dict[str, Any]]:
        messages = (json.loads(line) for line in self.messages.read_bytes().splitlines())
        return [message["record"] for message in messages if message["type"] == "RECORD"]

    def _dialect(self, schema: str, settings: Mapping[str, Any]) -> PostgresDialect:
        return PostgresDialect(make(PostgresSettings, url=self.url, schema=schema, **settings))

    def _process(self, schema: str, settings: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
        config = self.folder / f"{schema}.json"
        config.write_text(json.dumps({"url": self.url, "schema": schema, **settings}))
        with open(self.messages, "rb") as messages:
            return subprocess.run(
                [TARGET, "--config", config], stdin=messages, capture_output=True, text=True, check=False, cwd=self.folder, timeout=LONGEST_S
            )


def run(command: Sequence[str | Path], stdout: Any = subprocess.PIPE) -> str:
    """What a tap writes; the test fails where it fails."""
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=LONGEST_S)
    assert done.returncode == 0, f"{command[0]}: {done.stderr[-2000:]}"
    return str(done.stdout or "")
