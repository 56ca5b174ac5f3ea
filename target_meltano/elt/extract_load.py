"""`target-meltano extract-load`: taps into the warehouse."""

from __future__ import annotations

from pathlib import Path

from . import options, runs
from .display import Display
from .pipeline import Outcome
from .processes import Stop
from .runs import Where


def command(arguments: list[str]) -> int:
    """Run it and return the exit code."""
    parser = options.parser("extract-load", "Load taps into the warehouse, each from where its last run ended.", taps=True)
    options.add_loading(parser)
    options.add_summary(parser)
    chosen = parser.parse_args(arguments)
    project = options.project(chosen)

    def steps(where: Where, logs: Path, stop: Stop, display: Display) -> list[Outcome]:
        return runs.load(project, logs, stop, display, full_refresh=chosen.full_refresh, jobs=chosen.jobs)

    return runs.run(project, steps, chosen.summary)
