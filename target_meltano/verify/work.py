"""What the processes of a verification do, and what they are told and tell: each task is a value, and so is its result."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from .. import masking
from ..settings import Settings
from . import history, stored
from .layout import Facts
from .records import DIGEST, Control, Fault, Reader, Tally, rules_of
from .runs import MEMORY, Runs, merged, room

Files = dict[tuple[str, int], list[Path]]  # by stream and part
EXPECTED, STORED = "e", "s"


@dataclass(frozen=True)
class Setup:
    """What each process starts with. *dialect* is `module:class`, or the class; *parts* are how many parts rows are split into."""

    dialect: Any
    settings: Settings
    folder: Path
    parts: int
    memory: int = MEMORY

    def made(self) -> Any:
        if not isinstance(self.dialect, str):
            return self.dialect(self.settings)
        module, _, attribute = self.dialect.partition(":")
        return getattr(import_module(module), attribute)(self.settings)


@dataclass(frozen=True)
class Chunk:
    """Whole lines, the first of which has this *order* among all lines and records, and is this *line* of the input.

    Of a BATCH they are records of the stream *of*, behind the BATCH's line; the first has the number *record*.
    *controls* are what came since the last chunk that the process had, and in this one.
    """

    lines: bytes
    order: int
    line: int
    controls: tuple[Control, ...] = ()
    of: str | None = None
    record: int = 0


@dataclass(frozen=True)
class Finish:
    """The input has ended."""


@dataclass(frozen=True)
class Finished:
    files: Files
    tallies: Mapping[str, Tally]
    faults: list[Fault]
    invalid: int
    known: Mapping[str, frozenset[int]]  # by stream, the columns that have values of records


@dataclass(frozen=True)
class Table:
    """Read the table of a stream; *place* is its schema and name, *keys* the columns by which rows are found.

    *others* are columns that are not looked at.
    """

    stream: str
    facts: Facts
    place: tuple[str, str]
    keys: tuple[int, ...]
    others: frozenset[int]


@dataclass(frozen=True)
class Merge:
    """Compare one part of a stream's rows."""

    rules: history.Rules
    expected: list[Path]
    stored: list[Path]


Task = Chunk | Finish | Table | Merge


class Worker:
    """Does tasks, one after the other; *owner* names its files."""

    def __init__(self, setup: Setup, owner: str):
        self.setup = setup
        self.owner = owner
        self.runs = Runs(setup.folder, f"{owner}-{EXPECTED}", setup.parts, setup.memory)
        settings = setup.settings
        stage = masking.stage(settings.pii, unlisted=settings.pii_unlisted, unknown=settings.unknown_fields)
        rejected = read_digests(setup.folder / "rejected")
        self.reader = Reader(settings, rules_of(settings), stage, self.runs.add, rejected)

    def do(self, task: Task) -> Any:
        if isinstance(task, Chunk):
            return self._chunk(task)
        if isinstance(task, Finish):
            reader = self.reader
            return Finished(self.runs.done(), reader.tallies, reader.faults, reader.invalid, {name: one.known for name, one in reader.streams.items()})
        if isinstance(task, Merge):
            return history.compare(task.rules, merged(task.expected), merged(task.stored))
        return self._table(task)

    def _chunk(self, chunk: Chunk) -> None:
        controls = list(chunk.controls)
        order, at = chunk.order, chunk.line
        take, control = self.reader.line, self.reader.control
        for number, line in enumerate(chunk.lines.split(b"\n")):
            while controls and controls[0].order < order + number:
                control(controls.pop(0))
            if line and not line.isspace():
                place = (at + number, 0) if chunk.of is None else (at, chunk.record + number)
                take(line, order + number, place, chunk.of)
        for one in controls:
            control(one)

    def _table(self, task: Table) -> Files:
        runs = Runs(self.setup.folder, f"{self.owner}-{STORED}-{os.urandom(4).hex()}", self.setup.parts, self.setup.memory)
        dialect = self.setup.made()
        connection = dialect.connect()
        try:
            for row, size in stored.rows(dialect, connection, task.facts, task.place, task.keys, task.others):
                runs.add(task.stream, row, size)
        finally:
            dialect.close(connection)
        return runs.done()


def write_digests(path: Path, digests: Iterator[bytes]) -> int:
    """Write digests one behind the other, and return how many."""
    count = 0
    with room(path.parent), open(path, "wb") as file:
        for one in digests:
            file.write(one)
            count += 1
    return count


def read_digests(path: Path) -> Collection[bytes]:
    if not path.exists():
        return frozenset()
    content = path.read_bytes()
    return {content[at : at + DIGEST] for at in range(0, len(content), DIGEST)}
