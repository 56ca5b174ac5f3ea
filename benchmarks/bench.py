"""What every measurement needs, and the rounds in which things are run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import measure
from .database import SCHEMA, Database
from .measure import Cost, RunFailed
from .peers import Peer, Task, ours, records_of, whole
from .samples import LIMIT, OURS, Sample
from .workloads import Messages, written


@dataclass(frozen=True)
class Bench:
    """A server, the peers that are there with their environments, and where to put what.

    *inputs* outlive the run, *folder* does not. *scale* is a factor to all numbers of rows.
    *workloads* are the names of the loads that are wanted, None for all.
    """

    database: Database
    peers: tuple[tuple[Peer, Path], ...]
    inputs: Path
    folder: Path
    env: Mapping[str, str]
    rounds: int
    scale: float
    workloads: Sequence[str] | None

    def scaled(self, rows: int) -> int:
        return max(1, round(rows * self.scale))

    def input(self, name: str, rows: int, messages: Callable[[int], Messages]) -> Path:
        slug = "".join(letter if letter.isalnum() else "-" for letter in name)
        return written(self.inputs / f"{slug}-{rows}.singer", lambda: messages(rows))

    def task(self, path: Path, *, keyed: bool = True, **settings: Any) -> Task:
        """Return a task with a folder that has nothing of an earlier run."""
        folder = self.folder / "run"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return Task(path, folder, whole(self.database.url), keyed, settings)

    def ours(self, path: Path, blocks: Iterable[bytes] | None = None, **settings: Any) -> Cost:
        """Run our target on a file, or on *blocks* through a pipe."""
        command = ours(self.task(path, **settings))
        return measure.run(command, path if blocks is None else blocks, self.env, self.database.postmaster)

    def peer(self, peer: Peer, environment: Path, path: Path, *, keyed: bool) -> Cost:
        source = records_of(path) if peer.records else path
        command, changes = peer.command(environment, self.task(source, keyed=keyed))
        return measure.run(command, source, {**self.env, **changes}, self.database.postmaster)


@dataclass(frozen=True)
class Entry:
    """What takes part in the rounds: *load* is measured, *prepare* is not.

    *found* is how many rows are in the tables afterwards.
    """

    part: str
    workload: str
    program: str
    number: str
    rows: int
    found: int
    prepare: Callable[[], None]
    load: Callable[[], Cost]


def rounds(bench: Bench, entries: Sequence[Entry]) -> Iterator[Sample]:
    """Run all entries so many times, in turns; a peer that fails is told loudly and left out."""
    left_out: set[Entry] = set()
    for number in range(bench.rounds):
        for entry in entries if number % 2 == 0 else entries[::-1]:
            if entry in left_out:
                continue
            try:
                yield once(bench, entry)
            except RunFailed as fault:
                if entry.program in (OURS, LIMIT):
                    raise
                left_out.add(entry)
                tell_left_out(entry.program, entry.workload, fault)


def tell_left_out(program: str, workload: str, fault: RunFailed) -> None:
    print(f"LEFT OUT: {program}, {workload}: {fault}", file=sys.stderr, flush=True)


def once(bench: Bench, entry: Entry) -> Sample:
    """Run an entry and check what it left in the tables."""
    entry.prepare()
    cost = entry.load()
    found = bench.database.count(SCHEMA)
    if found != entry.found:
        raise RunFailed(f"there are {found} rows in the tables instead of {entry.found}")
    head = (entry.part, entry.workload, entry.program, entry.number, entry.rows)
    return Sample(*head, cost.wall, cost.cpu, cost.server, cost.peak)
