"""`target-meltano verify`: the tap runs once more, from its beginning, and the target compares what it sends with the tables."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from . import catalogs, options, pipeline, runs, warehouse
from .display import Display
from .errors import RunError
from .pipeline import Outcome, Place
from .processes import Stop
from .project import Project, Tap
from .redaction import Redactor


def command(arguments: list[str]) -> int:
    """Run it and return the exit code: 1 where a table is not as the tap says."""
    does = "Run a tap once more, from its beginning, and compare what it sends with the tables, value by value; nothing is changed."
    parser = options.parser("verify", does)
    parser.add_argument("tap", metavar="TAP")
    parser.add_argument("streams", nargs="*", metavar="STREAM", help="default: all that are selected")
    parser.add_argument("--whole", action="store_true", help="rows of which the tap says nothing are differences, too")
    options.add_summary(parser)
    chosen = parser.parse_args(arguments)
    chosen.taps = [chosen.tap]
    project = options.project(chosen)

    def step(_: Any, logs: Path, stop: Stop, display: Display) -> list[Outcome]:
        tap = project.taps[chosen.tap]
        with display.shown():
            compare = partial(_compared, project, tap, chosen.streams, chosen.whole, stop, display)
            return [pipeline.step(project, tap, logs, stop, compare)]

    return runs.run(project, step, chosen.summary)


def _compared(project: Project, tap: Tap, streams: list[str], whole: bool, stop: Stop, display: Display, place: Place) -> Outcome:
    config = place.write("target.json", warehouse.settings(project, tap))
    summary = place.files / "verdict.json"
    target = [*warehouse.command(project), "verify", "--config", config, "--summary", str(summary), *(["--whole"] if whole else [])]
    command = pipeline.tap_command(project, tap, place)
    catalog = pipeline.catalog(project, tap, place, stop)
    if streams and catalog is None:
        raise RunError("the tap has no catalog (catalog: none), by which streams could be chosen; leave them away")
    if streams and catalog:
        catalog = catalogs.only(catalog, streams)
    command += pipeline.catalog_options(tap, place, catalog)
    say = partial(display.say_of, tap.name)
    ended = pipeline.piped(project, tap, place, stop, display.follow(tap.name), say, command, target)
    told = pipeline.summary_of(summary, Redactor(project.secrets))
    found = tuple(line for one in told.get("streams", ()) for line in one["told"])
    for line in found:
        display.say(line)
    if ended.tap or not told:
        return Outcome(tap.name, "failed", ended.why, summary=told, notices=ended.notices)
    rows = sum(one["rows_equal"] for one in told["streams"])
    did = f"{rows:,} rows of {len(told['streams'])} streams as the tap says"
    if told["equal"]:
        return Outcome(tap.name, "ok", (), did, summary=told, notices=ended.notices)
    different = [one["table"] or one["stream"] or "the input" for one in told["streams"] if not one["equal"]]
    return Outcome(tap.name, "failed", (f"not equal: {', '.join(different)}",), did, summary=told)
