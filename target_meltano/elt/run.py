"""`target-meltano run`: extract-load, transform and test, all in one."""

from __future__ import annotations

from pathlib import Path

from . import options, runs, stale, transforms
from .display import Display
from .pipeline import Outcome
from .processes import Stop
from .runs import Where
from .spelling import source_name


def command(arguments: list[str]) -> int:
    """Run it and return the exit code."""
    parser = options.parser("run", "Load taps, then build and test the dbt models on them.", taps=True)
    options.add_loading(parser)
    options.add_summary(parser)
    parser.add_argument("--keep-going", action="store_true", help="transform also where a load has failed")
    chosen = parser.parse_args(arguments)
    project = options.project(chosen)
    select = [part for tap in chosen.taps for part in ("--select", f"source:{source_name(tap)}+")]

    def steps(where: Where, logs: Path, stop: Stop, display: Display) -> list[Outcome]:
        outcomes = runs.load(project, logs, stop, display, full_refresh=chosen.full_refresh, jobs=chosen.jobs)
        failed = [one.name for one in outcomes if one.status not in ("ok", "skipped")]
        if project.transform is None or stop.signal:
            return outcomes
        if failed and not chosen.keep_going:
            why = f"{', '.join(failed)} failed; --keep-going transforms all the same"
            return [*outcomes, Outcome("transform", "skipped", (why,))]
        was_told = stale.has_manifest(project)
        built = runs.transform(project, (*transforms.BUILD, *select), where, logs, stop, display)
        for line in () if was_told else stale.warnings(project, outcomes):  # dbt has told only now what it has
            display.say(line)
        return outcomes + built

    return runs.run(project, steps, chosen.summary)
