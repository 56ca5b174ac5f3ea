"""The command line that every target has."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import __version__
from .errors import OutputError, TargetError

if TYPE_CHECKING:
    from .report import Report
    from .target import Signals


def main(name: str, dialect: str, arguments: Sequence[str]) -> int:
    """Run `target-meltano-NAME` and return its exit code; *dialect* is `module:class`."""
    options = _parser(name).parse_args(arguments)
    if options.version:
        print(f"target-meltano-{name} {__version__}")
        return 0
    try:
        return _run(name, dialect, options)
    except TargetError as error:
        _say(error, options)
        return error.exit_code
    except BrokenPipeError:
        return 1


def _run(name: str, dialect: str, options: argparse.Namespace) -> int:
    from . import settings

    module, _, attribute = dialect.partition(":")
    cls = getattr(import_module(module), attribute)
    prefix = f"target_meltano_{name}"
    if options.about:
        print(_about(name, cls, prefix, options.about))
        return 0
    found = settings.read(cls.settings_type, options.config, os.environ, prefix)
    _load(cls(found), options)
    return 0


def _load(dialect: Any, options: argparse.Namespace) -> None:
    from .report import Report
    from .tables import Plan
    from .target import Target

    report = Report(as_json=options.log_format == "json", quiet=bool(options.plan))
    plan = Plan(lambda statement: print(f"{statement};", flush=True)) if options.plan else None
    with _signals() as signals, _summary(report, options.summary):
        Target(dialect, emit, report, signals, plan, _tap_status(options.tap_status_fd)).run(sys.stdin.buffer)


def emit(state: str) -> None:
    """Write a STATE to stdout, whole and at once.

    Raises:
        OutputError: nobody reads it any more.
    """
    try:
        sys.stdout.write(f"{state}\n")
        sys.stdout.flush()
    except (BrokenPipeError, ValueError, OSError) as error:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (python would complain at exit)
        raise OutputError(f"stdout is gone ({error}): rows are committed, but their STATE could not be delivered") from None


def _tap_status(descriptor: int | None) -> Callable[[], int] | None:
    """Return what waits for the exit status that is written to *descriptor*; nothing written is a failure."""
    if descriptor is None:
        return None

    def status() -> int:
        with open(descriptor, "rb") as file:
            text = file.read().strip()
        return int(text) if text.isdigit() else 1

    return status


@contextmanager
def _summary(report: Report, path: str | None) -> Iterator[None]:
    try:
        yield
    finally:
        if path:
            with open(path, "w", encoding="utf-8") as file:
                json.dump(report.summary(), file, indent=2)


@contextmanager
def _signals() -> Iterator[Signals]:
    """Let SIGTERM and SIGINT end the loop after what is complete is committed; the second one at once."""
    from .target import Signals

    reading, writing = os.pipe()
    signals = Signals(wakeup=reading)

    def note(number: int, _: object) -> None:
        if signals.received:
            os._exit(128 + number)
        signals.received = number
        os.write(writing, b"!")

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)


def _about(name: str, cls: Any, prefix: str, form: str) -> str:
    from . import settings

    if form == "markdown":
        return settings.about_markdown(cls.settings_type, prefix)
    about = {
        "name": f"target-meltano-{name}",
        "version": __version__,
        "capabilities": ["about", "schema-flattening", "record-flattening", "structured-logging"],
        "settings": settings.about(cls.settings_type, prefix),
    }
    return json.dumps(about, indent=2)


def _say(error: TargetError, options: argparse.Namespace) -> None:
    text = " ".join(str(error).split("\n"))
    if options.log_format == "json":
        text = json.dumps({"level": "critical", "message": text})
    else:
        text = f"CRITICAL {text}"
    print(text, file=sys.stderr, flush=True)


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"target-meltano-{name}",
        description="Load a Singer tap's output from stdin; STATEs go to stdout once they are durable.",
        epilog="Exit: 0 done, 1 bad data or schema, 2 bad settings, 3 the database refuses, 128+n signal n.",
    )
    parser.add_argument("-c", "--config", action="append", default=[], metavar="FILE", help="settings in JSON; several: later ones win")
    parser.add_argument("--plan", action="store_true", help="print the DDL that the input would cause, change nothing")
    parser.add_argument("--about", nargs="?", const="json", choices=("json", "markdown"), help="describe the settings")
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument("--log-format", choices=("text", "json"), default="text", help="of stderr")
    parser.add_argument(
        "--tap-status-fd", type=int, metavar="N", help="inherited descriptor on which the tap's exit status comes, as digits"
    )
    parser.add_argument("--summary", metavar="FILE", help="write what was done as JSON")
    return parser


