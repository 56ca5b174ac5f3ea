"""What was measured, one sample a run, and the arithmetic on it: medians, and ratios of medians."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

OURS, LIMIT = "target-meltano", "limit"


@dataclass(frozen=True)
class Sample:
    """One run of a program. Seconds, bytes; *server* as in measure.Cost; *number* where that setting counts."""

    part: str
    workload: str
    program: str
    number: str
    rows: int
    wall: float
    cpu: float
    server: float | None
    peak: int


@dataclass(frozen=True)
class Figures:
    """The medians of several runs of the same: seconds, rows a second, microseconds a row, bytes.

    *spread* is the slowest run's time less the fastest one's, as a share of the median.
    """

    rows: int
    runs: int
    wall: float
    rate: float
    cpu_us: float
    server_us: float | None
    peak: int
    spread: float


def figures(samples: Sequence[Sample], startup: float = 0.0) -> Figures:
    """Return the medians of *samples*, which have the same number of rows.

    *startup*: seconds that are taken off the time for the rate, at most half of it: where it is
    more, there were too few rows to tell.
    """
    rows = samples[0].rows
    walls = [sample.wall for sample in samples]
    wall = median(walls)
    per_row = 1e6 / max(rows, 1)
    servers = [sample.server for sample in samples if sample.server is not None]
    return Figures(
        rows=rows,
        runs=len(samples),
        wall=wall,
        rate=rows / max(wall - startup, wall / 2),
        cpu_us=median(sample.cpu for sample in samples) * per_row,
        server_us=median(servers) * per_row if servers else None,
        peak=round(median(sample.peak for sample in samples)),
        spread=(max(walls) - min(walls)) / wall,
    )


def pick(samples: Iterable[Sample], **wanted: str) -> list[Sample]:
    """Return the samples whose fields are as *wanted*."""
    return [sample for sample in samples if all(getattr(sample, name) == value for name, value in wanted.items())]


def values(samples: Iterable[Sample], field: str) -> list[str]:
    """Return the different values of a field, in the order in which they come first."""
    return list(dict.fromkeys(getattr(sample, field) for sample in samples))


def save(path: Path, samples: Sequence[Sample], about: dict[str, str]) -> None:
    path.write_text(json.dumps({"about": about, "samples": [asdict(sample) for sample in samples]}, indent=1), "utf-8")


def read(path: Path) -> tuple[list[Sample], dict[str, str]]:
    """Return what save() wrote."""
    found = json.loads(path.read_text("utf-8"))
    return [Sample(**sample) for sample in found["samples"]], found["about"]
