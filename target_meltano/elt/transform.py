"""`target-meltano transform`: build the dbt models, without their tests."""

from __future__ import annotations

from pathlib import Path

from . import options, runs, transforms
from .display import Display
from .pipeline import Outcome
from .processes import Stop
from .runs import Where


def command(arguments: list[str]) -> int:
    """Run it and return the exit code."""
    return with_dbt("transform", "Build seeds, snapshots and models with dbt.", transforms.MODELS, arguments)


def with_dbt(name: str, does: str, dbt: tuple[str, ...], arguments: list[str]) -> int:
    """Run a command that is one of dbt's, with options of dbt behind it, and return the exit code."""
    parser = options.parser(name, f"{does} What is not an option here is given to dbt, as --select.")
    options.add_summary(parser)
    chosen, others = parser.parse_known_args(arguments)
    project = options.project(chosen)
    transforms.of(project)

    def steps(where: Where, logs: Path, stop: Stop, display: Display) -> list[Outcome]:
        return runs.transform(project, (*dbt, *others), where, logs, stop, display)

    return runs.run(project, steps, chosen.summary)
