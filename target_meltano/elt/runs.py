"""Taps side by side, then dbt: the steps of a run, each with its outcome."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from target_meltano import TargetError

from . import pipeline, stale, transforms, warehouse
from .display import Display, table
from .errors import of_system
from .pipeline import Outcome
from .processes import Stop
from .project import Project

Where = Mapping[str, Any]  # settings that say where the database is
KEPT_LOGS = 20  # folders of logs, one per run


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Yield what ends the run on Ctrl-C, SIGTERM and SIGHUP: taps are ended, targets commit what is complete.

    What is ignored already stays so: `nohup` means that the end of the terminal is no end of the run.
    """
    stop = Stop()
    numbers = [one for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stop.close()


@contextmanager
def new_logs(project: Project) -> Iterator[Path]:
    """Make the folder for the logs of a run, and remove those of runs long ago that have ended."""
    folder = project.work / "logs"
    made = folder / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    made.mkdir(parents=True, exist_ok=True)
    with _used(made, fcntl.LOCK_SH):
        for old in sorted(path for path in folder.iterdir() if path.is_dir())[:-KEPT_LOGS]:
            with suppress(OSError), _used(old, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(old, ignore_errors=True)
        yield made


@contextmanager
def _used(folder: Path, how: int) -> Iterator[None]:
    """Lock a *folder*: shared by those that write into it, exclusively by who removes it."""
    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, how)
        yield
    finally:
        os.close(number)


def load(project: Project, logs: Path, stop: Stop, display: Display, *, full_refresh: bool, jobs: int | None) -> list[Outcome]:
    """Run the pipelines of all taps of *project*, so many at once, and return their outcomes in that order."""

    if project.transform and project.transform.review:
        why = f"models of the review are built in {project.transform.review}, and loading would be into production"
        return [Outcome(name, "skipped", (why,)) for name in project.taps]

    def one(name: str) -> Outcome:
        if stop.signal:
            return Outcome(name, "stopped")
        progress = display.follow(name)
        say = partial(display.say_of, name)
        outcome = pipeline.load(project, project.taps[name], logs, stop, progress, say, full_refresh=full_refresh)
        display.ended(outcome)
        return outcome

    with display.shown(), ThreadPoolExecutor(jobs or project.jobs) as threads:
        outcomes = list(threads.map(one, project.taps))
    for line in stale.warnings(project, outcomes):
        display.say(line)
    return outcomes


def transform(
    project: Project, arguments: Sequence[str], where: Where, logs: Path, stop: Stop, display: Display
) -> list[Outcome]:
    """Run dbt, and return how its models and its tests did."""
    try:
        variables = warehouse.variables(project, where)
        return list(transforms.run(project, arguments, variables, logs, stop, display.say))
    except (TargetError, OSError) as error:  # the system may refuse to run a file
        name, status = "test" if arguments[0] == "test" else "transform", "stopped" if stop.signal else "failed"
        why = of_system(error, project.work) if isinstance(error, OSError) else str(error)
        return [Outcome(name, status, tuple(why.splitlines()))]


def finished(project: Project, outcomes: Sequence[Outcome], stop: Stop, logs: Path, summary: str | None) -> int:
    """Print how all ended, write the *summary* file, and return the exit code."""
    fault = _write(summary, outcomes) if summary else ""  # first: stdout may be full
    print(table(outcomes, in_colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR")), flush=True)
    if fault:
        print(f"CRITICAL {fault}", file=sys.stderr)
    failed = [one.name for one in outcomes if one.status in ("failed", "stopped")]
    if failed:
        print(f"failed: {', '.join(failed)}; logs: {logs}", flush=True)
    if stop.signal:
        return 128 + stop.signal
    return 1 if failed or fault else 0


def _write(summary: str, outcomes: Sequence[Outcome]) -> str:
    """Write the *summary* file, and return why that cannot be done, nothing where it can."""
    try:
        Path(summary).write_text(json.dumps([asdict(one) for one in outcomes], indent=2), "utf-8")
    except OSError as error:
        return f"--summary {summary}: {error.strerror}; what it would tell is above"
    return ""


def run(project: Project, steps: Callable[[Where, Path, Stop, Display], list[Outcome]], summary: str | None) -> int:
    """Do *steps* with the warehouse at hand, and return the exit code."""
    display = Display()
    with new_logs(project) as logs, stoppable() as stop:
        with warehouse.held(project) as where:
            outcomes = steps(where, logs, stop, display)
        return finished(project, outcomes, stop, logs, summary)
