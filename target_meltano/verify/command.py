"""`target-meltano-NAME verify`: the proof as a command."""

from __future__ import annotations

import argparse
import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import IO, Any, cast

from ..dialect import Dialect
from ..errors import DifferentError, OutputError, SettingsError, TapError
from . import program
from .program import Options, Verdict, Verification

FEW = 8  # chunks of input up to which one process is faster than several


def run(
    dialect: Dialect[Any],
    made_by: str,
    source: IO[bytes],
    options: argparse.Namespace,
    say: Callable[[str], None],
    tap_status: Callable[[], int] | None,
) -> None:
    """Compare *source* with the tables, and say what was found. *tap_status* waits for the tap's exit status.

    Raises:
        DifferentError: it is not equal.
        TapError: the tap failed, so that the input may be only a part.
    """
    if options.differences < 0 or (options.processes or 0) < 0:
        raise SettingsError("--differences and --processes are numbers from 0 on")
    first, rest = _begin(source)
    processes = _cores() if options.processes is None else options.processes
    if options.processes is None and len(first) < FEW:
        processes = 0
    source = cast(IO[bytes], _Source(itertools.chain(first, rest)))
    how = Options(tuple(options.run), options.whole, processes)
    verdicts = Verification(dialect, source, how, made_by).run()
    for verdict in verdicts:
        for line in told(verdict, options.differences):
            say(line)
    if options.summary:
        _write(options.summary, verdicts, options.differences)
    if tap_status and (status := tap_status()):
        raise TapError(f"the tap ended with exit status {status}: what it sent may be only a part")
    different = [verdict.table or verdict.stream or "the input" for verdict in verdicts if not verdict.is_equal]
    if different:
        raise DifferentError(f"not equal: {', '.join(different)}")
    if not verdicts:
        raise DifferentError("the input has no SCHEMA, so there is nothing to compare")


def told(verdict: Verdict, most: int) -> Iterator[str]:
    """Yield the lines that tell of a verdict: what was found, and the first differences."""
    found = verdict.found
    yield str(verdict)
    for difference in found.differences[:most]:
        yield f"  {difference}"
    if found.count > most:
        yield f"  … {found.count - min(most, len(found.differences)):,} more"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Source:
    """A file of which some was read before."""

    def __init__(self, pieces: Iterator[bytes]):
        self.pieces = pieces

    def read(self, _: int) -> bytes:
        return next(self.pieces, b"")


def _begin(source: IO[bytes]) -> tuple[Sequence[bytes], Iterator[bytes]]:
    pieces = iter(lambda: source.read(program.CHUNK), b"")
    return list(itertools.islice(pieces, FEW)), pieces


def _write(path: str, verdicts: Sequence[Verdict], most: int) -> None:
    found = [
        {
            "stream": one.stream,
            "table": one.table,
            "equal": one.is_equal,
            "records": one.records,
            "rejected": one.rejected,
            "left_out": one.unknown,
            "rows": one.found.rows,
            "rows_equal": one.found.equal,
            "rows_deleted": one.found.gone,
            "rows_of_others": one.found.others,
            "differences": one.found.count,
            "told": list(told(one, most)),
            "first": [asdict(difference) for difference in one.found.differences],
        }
        for one in verdicts
    ]
    try:
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"equal": all(one.is_equal for one in verdicts), "streams": found}, file, indent=2)
    except OSError as error:
        raise OutputError(f"--summary {path}: {error.strerror}") from None
