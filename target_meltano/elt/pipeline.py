"""One tap's pipeline: tap -> us -> target, and what is left however any of the three ends.

The tap's output passes through us. When we die, the target sees the end of its input and no exit
status of the tap: it commits no more than its last STATE covers, and ends. It has the pipeline's
lock until then, so that no other run starts meanwhile. The tap dies of its closed stdout.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import catalog_file, catalogs, executables, warehouse
from .errors import RunError, of_system, unexpected
from .guard import guard
from .processes import (
    CHUNK,
    STOPPED,
    Cut,
    Process,
    Stop,
    captured,
    output,
    output_of,
    plain,
    private,
    telling,
    waits_for,
)
from .project import Project, Tap
from .redaction import Redactor
from .writing import named

MOST_NOTICES = 5  # lines below a tap
LONGEST_NOTICE = 240  # characters
LONGEST_WAIT = 3600.0  # seconds, for another run
LOOKS = 0.1  # seconds between looks whether it has ended

Say = Callable[[str], None]
Progress = Callable[[int, int], None]  # with the messages and bytes that have passed so far


@dataclass(frozen=True)
class Outcome:
    """How a step of a run ended: ok, failed, stopped or skipped, and why; *notices* are what to look at all the same."""

    name: str
    status: str
    why: tuple[str, ...] = ()
    did: str = ""
    seconds: float = 0.0
    summary: dict[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def is_ok(self) -> bool:
        return self.status == "ok"


@dataclass(frozen=True)
class Place:
    """Where a pipeline keeps what its processes are given (*files*), and what they told (*logs*)."""

    files: Path
    logs: Path
    lock: int

    def write(self, name: str, content: Any) -> str:
        """Write *content* as a file of JSON that only we may read, and return its path."""
        return self.write_text(name, json.dumps(content))

    def write_text(self, name: str, text: str) -> str:
        """Write a file that only we may read, and return its path."""
        path = self.files / name
        with named(path), open(path, "w", encoding="utf-8", opener=private) as file:
            file.write(text)
        return str(path)


@dataclass(frozen=True)
class Ended:
    """How a pipeline ended: the exit statuses of *tap* and *target*, *why* where one failed, and what to look at all the same."""

    tap: int
    target: int
    why: tuple[str, ...]
    notices: tuple[str, ...]


@dataclass(frozen=True)
class Waiting:
    """How to wait for another run: *say* that we do, and no longer than until we are asked to end by *stop*."""

    say: Say
    stop: Stop | None = None

    def until(self, is_so: Callable[[], bool], name: str) -> bool:
        """Wait until *is_so*, an hour at most; return False where it is not."""
        self.say(f"another run of {name} is under way; waiting for its end, {LONGEST_WAIT / 60:.0f} minutes at most")
        end = time.monotonic() + LONGEST_WAIT
        while time.monotonic() < end and not (self.stop and self.stop.signal):
            time.sleep(LOOKS)
            if is_so():
                return True
        return False


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked(project: Project, name: str, logs: Path, waiting: Waiting | None = None) -> Iterator[Place]:
    """Be the only one with *name* in this project, and yield its place. What is no tap's has a dot in its name.

    Raises:
        RunError: another run has it, or its target does after a run that was killed; with *waiting* not before it has waited.
    """
    locks, own = project.work / "locks", project.work / "run" / name
    for folder in (locks, own.parent, logs):
        folder.mkdir(parents=True, exist_ok=True)
    with open(locks / f"{name}.lock", "a+b") as lock:
        if not _taken(lock.fileno()) and not (waiting and waiting.until(lambda: _taken(lock.fileno()), name)):
            raise RunError(f"another run of {name} is under way; wait for its end")
        shutil.rmtree(own, ignore_errors=True)  # of a run that was killed, as its guard may have been
        files = own / secrets.token_hex(8)  # never that of another run, which a guard might still remove
        guard().folder(str(own.resolve() / files.name))
        files.mkdir(mode=0o700, parents=True)
        try:
            yield Place(files, logs, lock.fileno())
        finally:
            shutil.rmtree(own, ignore_errors=True)
            guard().folder_is_removed(str(own.resolve() / files.name))


def load(project: Project, tap: Tap, logs: Path, stop: Stop, progress: Progress, say: Say, *, full_refresh: bool = False) -> Outcome:
    """Run the pipeline of *tap*; nothing that goes wrong in it is raised. *say* is called with what it waits for."""
    return step(project, tap, logs, stop, lambda place: _load(project, tap, place, stop, progress, say, full_refresh))


def step(project: Project, tap: Tap, logs: Path, stop: Stop, does: Callable[[Place], Outcome]) -> Outcome:
    """Do something with a tap that nobody else may do meanwhile; nothing that goes wrong in it is raised."""
    started = time.monotonic()
    try:
        with locked(project, tap.name, logs) as place:
            outcome = does(place)
    except RunError as error:
        outcome = Outcome(tap.name, "failed", tuple(str(error).splitlines()))
    except OSError as error:
        outcome = Outcome(tap.name, "failed", (of_system(error, project.work),))
    except Exception as error:  # a fault of ours: the others' results are shown all the same
        outcome = Outcome(tap.name, "failed", (unexpected(error, logs / f"{tap.name}.error.log", Redactor(project.secrets)),))
    status = "stopped" if stop.signal and not outcome.is_ok else outcome.status
    return replace(outcome, status=status, seconds=time.monotonic() - started)


def _load(project: Project, tap: Tap, place: Place, stop: Stop, progress: Progress, say: Say, full_refresh: bool) -> Outcome:
    given = warehouse.settings(project, tap, full_refresh=full_refresh)
    config = place.write("target.json", given)
    target = [*warehouse.command(project), "--config", config]
    command = tap_command(project, tap, place)
    if not (full_refresh or given.get("load_method") == "overwrite"):  # which wants all rows
        state = _state(project, config, say, stop)
        command += ["--state", place.write_text("state.json", state)] if state else []
    command += catalog_options(tap, place, catalog(project, tap, place, stop))
    summary = place.files / "summary.json"
    ended = piped(project, tap, place, stop, progress, say, command, [*target, "--summary", str(summary)])
    told = summary_of(summary, Redactor(project.secrets))
    shared = project.warehouse.settings.keys() - tap.settings.keys()  # and meant for other taps, too
    look = (*notices(told, place.logs / f"{tap.name}.target.log", shared), *ended.notices)
    if ended.tap or ended.target:
        return Outcome(tap.name, "failed", ended.why, did(told), summary=told, notices=look)
    return Outcome(tap.name, "ok", (), did(told), summary=told, notices=look)


def tap_command(project: Project, tap: Tap, place: Place) -> list[str]:
    """Return the tap's program with its config."""
    program = executables.find(tap.executable, project.folder, _own(project, tap))
    return [*program, "--config", place.write("config.json", tap.config)]


def catalog_options(tap: Tap, place: Place, found: Mapping[str, Any] | None) -> list[str]:
    """Return the option with the tap's `catalog`, none where it gets none."""
    return [f"--{tap.catalog_option}", place.write_text("catalog.json", catalog_file.text(found))] if found is not None else []


def catalog(project: Project, tap: Tap, place: Place, stop: Stop | None = None) -> dict[str, Any] | None:
    """Return the tap's catalog with what is selected of it, None where it gets none.

    Raises:
        RunError: the tap's discovery fails, its catalog is malformed, or patterns match nothing.
    """
    if tap.catalog == "none":
        if tap.select or tap.metadata:
            raise RunError("select, metadata: there is no catalog for them; take away catalog: none")
        return None
    whole = discovered(project, tap, place, stop) if tap.catalog == "discover" else _catalog(project.folder / tap.catalog)
    return catalogs.selected(whole, tap.select, tap.metadata)


def discovered(project: Project, tap: Tap, place: Place, stop: Stop | None = None) -> dict[str, Any]:
    """Return the catalog that the tap gives.

    Raises:
        RunError: with what the tap told, or with what is wrong with its catalog.
    """
    ours = executables.variables(_own(project, tap), tap.withheld)
    command = [*tap_command(project, tap, place), "--discover"]
    code, told, errors = captured(command, project.folder, ours, Redactor(project.secrets), stop=stop, most=catalog_file.MOST_BYTES)
    if code and len(told) <= catalog_file.MOST_BYTES:
        hint = "; if it has no discovery, write catalog: none"
        raise RunError("\n".join([f"the tap's discovery ended with exit status {code}{hint}", *errors.splitlines()]))
    return catalog_file.read(told, "what the tap's discovery gives", "correct the tap, or name a file that is right: catalog: FILE")


def _own(project: Project, tap: Tap) -> Path | None:
    return executables.environment_of(project.work, tap.name) if tap.pip_url else None


def _state(project: Project, config: str, say: Say, stop: Stop) -> str:
    """Return the STATE that the warehouse keeps, as its JSON is, nothing where there is none."""
    command = [*warehouse.command(project), "state", "get", "--config", config]
    code, told, errors = output(command, project.folder, warehouse.environment(project), Redactor(project.secrets), say, stop)
    if code:
        raise RunError(errors.removeprefix("CRITICAL "))
    return told.strip()


def piped(
    project: Project, tap: Tap, place: Place, stop: Stop, progress: Progress, say: Say, tap_command: list[str], target_command: list[str]
) -> Ended:
    """Run both to their ends, the tap's output through us."""
    redact = Redactor(project.secrets)
    with ExitStack() as ending:
        reading, writing = os.pipe()
        status = ending.enter_context(open(writing, "wb", buffering=0))
        try:
            to_target = Process(
                [*target_command, "--tap-status-fd", str(reading)],
                project.folder,
                warehouse.environment(project),
                place.logs / f"{tap.name}.target.log",
                redact,
                pass_fds=(reading, place.lock),
                feeds=True,
                on_line=lambda line: say(waits) if (waits := waits_for(line)) else None,
            )
        finally:
            os.close(reading)
        sink = to_target.popen.stdin
        assert sink
        ending.callback(to_target.wait)
        ending.callback(status.close)
        ending.callback(sink.close)
        ours = executables.variables(_own(project, tap), tap.withheld)
        log = place.logs / f"{tap.name}.tap.log"
        from_tap = ending.enter_context(
            stop.ends(Process(tap_command, project.folder, ours, log, redact, stdout=subprocess.PIPE))
        )
        is_whole = _pump(from_tap, sink.fileno(), stop, progress, say)
        assert from_tap.popen.stdout
        from_tap.popen.stdout.close()
        if not is_whole:
            from_tap.end()
        tap_status = from_tap.wait()
        was_stopped = bool(stop.signal) or not is_whole
        with suppress(BrokenPipeError):  # the target has gone already
            status.write(str(STOPPED if was_stopped else tap_status).encode())
        status.close()
        sink.close()
        target_status = to_target.wait()
    notices = tuple(filter(None, (from_tap.log_fault, to_target.log_fault)))
    if stop.signal:
        return Ended(STOPPED, target_status, ("it was stopped; what its last STATE covers is loaded",), notices)
    if tap_status and is_whole:
        return Ended(tap_status, target_status, (f"the tap ended with exit status {tap_status}", *telling(from_tap.last)), notices)
    return Ended(0, target_status, _faults(to_target), notices)


def _pump(tap: Process, sink: int, stop: Stop, progress: Progress, say: Say) -> bool:
    """Copy until the tap's end, and return True; False if it is not whole: the target has gone, or we are asked to end."""
    assert tap.popen.stdout
    _widen(tap.popen.stdout.fileno())
    _widen(sink)
    messages = size = 0
    try:
        for chunk in output_of(tap, stop, sink, say):
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(sink, rest) :]
            messages += chunk.count(b"\n")
            size += len(chunk)
            progress(messages, size)
    except (Cut, BrokenPipeError):
        return False
    return True


def _widen(pipe: int) -> None:
    with suppress(AttributeError, OSError):  # only Linux has it, and may say no
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, CHUNK)


def _faults(target: Process) -> tuple[str, ...]:
    """Return the line in which the target tells why it ended."""
    told = [line.removeprefix("CRITICAL ") for line in target.last if line.startswith("CRITICAL ")]
    return (f"the target ended with exit status {target.wait()}", *(told or telling(target.last)))


def summary_of(path: Path, redact: Redactor) -> dict[str, Any]:
    """Return what the target tells of its run, its texts without secrets; nothing where it came to no end."""
    with suppress(OSError, ValueError):
        return {name: _redacted(told, redact) for name, told in json.loads(path.read_text("utf-8")).items()}
    return {}


def _redacted(told: Any, redact: Redactor) -> Any:
    if isinstance(told, str):
        return redact(told)
    if isinstance(told, list):
        return [_redacted(one, redact) for one in told]
    return {name: _redacted(one, redact) for name, one in told.items()} if isinstance(told, dict) else told


def notices(summary: dict[str, Any], log: Path, shared: Collection[str] = ()) -> tuple[str, ...]:
    """Return what was rejected, dropped or changed, and what was warned of besides; the first lines of it, and where the others are.

    Not that names in *shared* settings have met nothing.
    """
    told = [one for one in summary.get("notices", ()) if one["kind"] not in ("kept", "other")]
    known = tuple(f"{text}{one['what']}" for one in told for text in ("", f"stream {one['stream']!r}: "))
    known += tuple(f"{name}: no such " for name in shared)
    warned = [warning for warning in summary.get("warnings", ()) if not warning.startswith(known)]
    lines = [plain(line).replace("\n", " ") for line in (*(one["text"] for one in told), *warned)]
    more = len(lines) - MOST_NOTICES
    shown = [line if len(line) <= LONGEST_NOTICE else f"{line[:LONGEST_NOTICE]}…" for line in lines[:MOST_NOTICES]]
    return (*shown, *([f"and {more:,} more: {log}"] if more > 0 else []))


def did(summary: dict[str, Any]) -> str:
    """Say what a target's summary tells, in a few words."""
    streams = summary.get("streams", {}).values()
    if not summary:
        return ""
    words = f"{sum(stream['written'] for stream in streams):,} rows of {len(streams)} streams"
    return f"{words}, {summary['lost']}" if summary.get("lost") else words


def _catalog(path: Path) -> dict[str, Any]:
    try:
        return catalog_file.read(path.read_bytes(), str(path), "correct the file, or write catalog: discover")
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}") from None
