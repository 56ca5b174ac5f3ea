"""How the target's cost grows with rows, bytes, streams and columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from . import workloads
from .bench import Bench, Entry, rounds
from .measure import Cost
from .samples import OURS, Sample
from .workloads import Messages, without_key

BLOCK_ROWS = 10_000  # which are sent again and again: what is appended may repeat
ROWS = (10_000, 100_000, 1_000_000, 10_000_000)
BYTES = (50_000_000, 500_000_000, 5_000_000_000)
STREAMS, STREAMS_ROWS = (1, 10, 100, 1_000), 200_000
COLUMNS, COLUMNS_ROWS, MOST_FILLED = (5, 50, 500, 1_500), 20_000, 100  # a row has to fit a page of 8 KB


def growth(bench: Bench, full: bool) -> Iterator[Sample]:
    for entries in (_rows(bench), _bytes(bench), _streams(bench), _columns(bench)):
        yield from rounds(bench, list(entries))


def _rows(bench: Bench) -> Iterator[Entry]:
    block = bench.input("append-only", BLOCK_ROWS, lambda rows: without_key(workloads.narrow(rows)))
    for rows in ROWS:
        times = max(1, bench.scaled(rows) // BLOCK_ROWS)
        yield _entry(bench, "rows", f"{times * BLOCK_ROWS:,}", times * BLOCK_ROWS, partial(_piped, bench, block, times))


def _bytes(bench: Bench) -> Iterator[Entry]:
    block = bench.input("wide, append-only", BLOCK_ROWS, lambda rows: without_key(workloads.wide(rows)))
    for size in BYTES:
        times = max(1, round(bench.scaled(size) / block.stat().st_size))
        sent = f"{times * block.stat().st_size / 1e6:,.0f} MB"
        yield _entry(bench, "bytes", sent, times * BLOCK_ROWS, partial(_piped, bench, block, times))


def _piped(bench: Bench, block: Path, times: int) -> Cost:
    return bench.ours(block, repeated(block, times))


def _streams(bench: Bench) -> Iterator[Entry]:
    rows = bench.scaled(STREAMS_ROWS)
    for count in STREAMS:
        path = bench.input(f"streams {count}", rows, partial(_many, count))
        yield _entry(bench, "streams", f"{count:,}", rows, partial(bench.ours, path))


def _many(count: int, rows: int) -> Messages:
    return workloads.many(rows, count)


def _columns(bench: Bench) -> Iterator[Entry]:
    rows = bench.scaled(COLUMNS_ROWS)
    for count in COLUMNS:
        make = partial(workloads.columns, count=count, filled=min(count, MOST_FILLED))
        yield _entry(bench, "columns", f"{count:,}", rows, partial(bench.ours, bench.input(f"columns {count}", rows, make)))


def _entry(bench: Bench, what: str, size: str, rows: int, load: Callable[[], Cost]) -> Entry:
    return Entry(f"growth: {what}", size, OURS, "exact", rows, rows, bench.database.fresh, load)


def repeated(path: Path, times: int) -> Iterator[bytes]:
    """Yield the first line of a file, then the lines between it and the last one so many times, then the last."""
    text = path.read_bytes()
    first, last = text.index(b"\n") + 1, text.rindex(b"\n", 0, -1) + 1
    yield text[:first]
    records = text[first:last]
    for _ in range(times):
        yield records
    yield text[last:]
