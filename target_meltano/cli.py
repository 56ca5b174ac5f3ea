"""The command line that every target has."""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import __version__, extension, standard
from .errors import OutputError, SettingsError, TapError, TargetError

if TYPE_CHECKING:
    from .report import Report
    from .worker import Signals


COMMANDS = {
    "state": {
        "get": "print the STATE that is kept for the setting state_id, nothing where there is none",
        "set": "keep the STATE in FILE, or from stdin, instead",
        "clear": "forget it, so that the next run starts from the beginning",
    },
    "rejected": {
        "list": "print a line per invalid record: run, time, stream, line, path, reason, when it was replayed",
        "replay": "print them as messages, to be mended and piped in again; not those that newer rows have replaced",
        "clear": "delete them",
    },
    "verify": {},
    "review": {
        "create": "make a copy of the database for BRANCH, or with --models schemas for its models",
        "drop": "drop what was made for BRANCH",
        "list": "print a line of JSON per review",
        "gc": "drop what is older, and what was never finished",
    },
}


def main(name: str, dialect: str, arguments: Sequence[str]) -> int:
    """Run `target-meltano-NAME` and return its exit code; *dialect* is `module:class`."""
    gc.disable()  # while modules are imported, a tenth of that time
    standard.occupy()
    is_command = bool(arguments) and arguments[0] in COMMANDS
    options = (_command_parser(name) if is_command else _parser(name)).parse_args(arguments)
    try:
        with standard.ends_at_once():
            if is_command:
                return _command(name, dialect, options)
            if options.version:
                standard.write(f"target-meltano-{name} {__version__}\n")
                return 0
            return _run(name, dialect, options)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except TargetError as error:
        if not (is_command and isinstance(error.__cause__, BrokenPipeError)):  # as of `| head`
            standard.Log(as_json=options.log_format == "json").say("critical", " ".join(str(error).split("\n")))
        return error.exit_code
    finally:
        gc.enable()


def _class(name: str, dialect: str) -> Any:
    """Return the class of a dialect.

    Raises:
        SettingsError: its driver is not installed.
    """
    module, _, attribute = dialect.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        lacks = (error.name or "").partition(".")[0]
        if not lacks or lacks.startswith("target_meltano"):
            raise
        raise SettingsError(f'{lacks} is not installed; run pip install "target-meltano[{name}]"') from None


def _made(name: str, dialect: str, options: argparse.Namespace, tell: Callable[[str], None]) -> Any:
    """Return the dialect with the settings of files and variables; *tell* is called with what is odd with them."""
    from . import settings

    cls = _class(name, dialect)
    return cls(settings.read(cls.settings_type, options.config, os.environ, _prefix(name), tell))


def _prefix(name: str) -> str:
    return f"target_meltano_{name}"


def _run(name: str, dialect: str, options: argparse.Namespace) -> int:
    if options.about:
        standard.write(f"{_about(name, _class(name, dialect), _prefix(name), options.about)}\n")
    else:
        odd: list[str] = []
        _load(_made(name, dialect, options, odd.append), options, odd)
    return 0


def _command(name: str, dialect: str, options: argparse.Namespace) -> int:
    """Run `state …`, `rejected …` or `review …`."""
    warn = partial(standard.Log(as_json=options.log_format == "json").say, "warning")
    database = _made(name, dialect, options, warn)
    database.tell = warn
    with standard.interruptible():
        return _done(database, dialect, options, warn)


def _done(database: Any, dialect: str, options: argparse.Namespace, warn: Callable[[str], None]) -> int:
    from . import commands

    if options.command == "verify":
        from .verify import command

        if sys.stdin is None:
            raise TapError("stdin is closed, where a tap's output should come from")
        command.run(database, dialect, sys.stdin.buffer, options, lambda line: standard.write(f"{line}\n"), _tap_status(options.tap_status_fd))
        return 0
    if options.command == "review":
        from . import review_command

        return review_command.run(database, options)
    if options.does == "get":
        state = commands.get_state(database)
        standard.write(f"{state}\n".encode() if state is not None else b"")
    elif options.does == "set":
        commands.set_state(database, _content(options.file))
    elif options.command == "state":
        commands.clear_state(database)
    elif options.does == "list":
        for line in commands.rejected(database, options.run, options.stream, warn):
            standard.write(f"{line}\n".encode(), more=True)
    elif options.does == "clear":
        count = commands.clear_rejected(database, options.run, options.stream, warn, replayed=options.replayed)
        standard.write(f"{count} deleted\n")
    else:
        given: list[Any] = []
        for source in commands.replay(database, options.run, options.stream, warn, given):
            standard.write(source, more=True)
        standard.write(b"")
        commands.mark_replayed(database, given, warn)
    standard.write(b"")
    return 0


def _content(path: str) -> bytes:
    if path == "-" and sys.stdin is None:
        raise SettingsError("stdin is closed, where the STATE should come from")
    try:
        if path == "-":
            return sys.stdin.buffer.read()
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None


def _load(dialect: Any, options: argparse.Namespace, odd: Sequence[str]) -> None:
    from .report import Report
    from .tables import Plan
    from .target import Target

    report = Report(as_json=options.log_format == "json", quiet=bool(options.plan))
    for text in odd:
        report.warn(text)
    plan = Plan(lambda statement: standard.write(f"{statement};\n")) if options.plan else None
    if sys.stdin is None:
        raise TapError("stdin is closed, where a tap's output should come from")
    gc.freeze()  # what is imported stays
    gc.enable()
    with _signals(dialect.has_own_server) as signals, _summary(report, options.summary):
        Target(dialect, emit, report, signals, plan, _tap_status(options.tap_status_fd)).run(sys.stdin.buffer)


def emit(state: str) -> None:
    """Write a STATE to stdout, whole and at once.

    Raises:
        OutputError: nobody reads it any more.
    """
    try:
        standard.write(f"{state}\n")
    except OutputError as error:
        raise OutputError(f"{error}: rows are committed, but their STATE could not be delivered") from None


def _tap_status(descriptor: int | None) -> Callable[[], int] | None:
    """Return what waits for the exit status that is written to *descriptor*; nothing written is a failure."""
    if descriptor is None:
        return None
    try:
        os.fstat(descriptor)
    except (OSError, OverflowError):
        raise SettingsError(f"--tap-status-fd {descriptor}: no descriptor that is open") from None

    def status() -> int:
        with open(descriptor, "rb") as file:
            text = file.read().strip()
        return int(text) if text.isdigit() else 1

    return status


@contextmanager
def _summary(report: Report, path: str | None) -> Iterator[None]:
    """Write the summary however the run ends, with its error.

    Raises:
        SettingsError: at once, where the file cannot be written.
    """
    if not path:
        yield
        return
    try:
        file = open(path, "w", encoding="utf-8")  # noqa: SIM115 (only this may fail)
    except OSError as error:
        raise SettingsError(f"--summary {path}: {error.strerror}") from None
    failed = None
    try:
        yield
    except TargetError as error:
        failed = str(error)
        raise
    finally:
        try:
            with file:
                json.dump({**report.summary(), "error": failed}, file, indent=2)
        except OSError as error:
            if failed is None:
                raise OutputError(f"--summary {path}: {error.strerror}; what the run has loaded is committed") from None


@contextmanager
def _signals(has_own_server: bool) -> Iterator[Signals]:
    """Let SIGTERM and SIGINT end the loop after what is complete is committed; the second one, and one while we connect, at once."""
    from .worker import Signals

    reading, writing = os.pipe()
    signals = Signals(wakeup=reading)

    def note(number: int, _: object) -> None:
        if signals.received or not (signals.is_under_way or has_own_server):
            os._exit(128 + number)
        signals.received = number
        os.write(writing, b"!")  # also below, as Python ignores what is raised where it collects garbage
        if not signals.is_under_way:
            standard.ends(number)  # as soon as the server has started, and stopped

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
        "capabilities": ["about", "activate-version", "batch", "record-flattening", "schema-flattening", "soft-delete", "structured-logging"],
        "precedence": ["--config FILE, later ones first", f"variables {prefix.upper()}_NAME", "defaults"],
        "reader": "C" if extension.reader else "msgspec",
        "settings": settings.about(cls.settings_type, prefix),
    }
    return json.dumps(about, indent=2)


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"target-meltano-{name}",
        description="Load a Singer tap's output from stdin; STATEs go to stdout once they are durable.",
        epilog=f"Commands: {', '.join(f'{command} {chr(124).join(actions)}'.strip() for command, actions in COMMANDS.items())}. "
        "Exit: 0 done, 1 bad data or schema, 2 bad settings, 3 the database refuses, 128+n signal n.",
    )
    _add_common(parser)
    parser.add_argument("--plan", action="store_true", help="print the DDL that the input would cause, change nothing")
    parser.add_argument("--about", nargs="?", const="json", choices=("json", "markdown"), help="describe the settings")
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument(
        "--tap-status-fd", type=int, metavar="N", help="inherited descriptor on which the tap's exit status comes, as digits"
    )
    parser.add_argument("--summary", metavar="FILE", help="write what was done as JSON: rows, bytes, seconds, DDL, warnings, the last STATE, the error")
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", action="append", default=[], metavar="FILE", help="settings in JSON; several: later ones win")
    parser.add_argument("--log-format", choices=("text", "json"), default="text", help="of stderr")


def _command_parser(name: str) -> argparse.ArgumentParser:
    """`state get`, `rejected list` and the others, as `COMMANDS` has them."""
    parser = argparse.ArgumentParser(prog=f"target-meltano-{name}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command, actions in COMMANDS.items():
        if command == "verify":
            from .verify.options import add

            words = "compare a tap's output from stdin with the tables, value by value; exit 1 where they differ"
            at = commands.add_parser(command, help=words, description=words)
            _add_common(at)
            add(at)
            continue
        below = commands.add_parser(command).add_subparsers(dest="does", required=True, metavar="|".join(actions))
        for action, does in actions.items():
            at = below.add_parser(action, help=does, description=does)
            _add_common(at)
            if action == "set":
                at.add_argument("file", nargs="?", default="-", metavar="FILE", help="default: -, stdin")
            if command == "review":
                _add_review(at, action)
            if command == "rejected":
                at.add_argument("--run", metavar="ID", help="of this run only")
                at.add_argument("--stream", metavar="NAME", help="of this stream only")
                if action == "clear":
                    at.add_argument("--replayed", action="store_true", help="only those that `replay` has given out")
    return parser


def _add_review(at: argparse.ArgumentParser, action: str) -> None:
    if action in ("create", "drop"):
        at.add_argument("branch", metavar="BRANCH")
    if action == "create":
        at.add_argument("--models", metavar="SCHEMA", help="no copy: a schema in place of this one, for models")
        at.add_argument("--below", nargs="*", default=[], metavar="NAME", help="and SCHEMA_NAME of each, as dbt calls them")
    if action == "drop":
        at.add_argument("--force", action="store_true", help="end the sessions of others in it")
    if action == "gc":
        at.add_argument("--older-than", required=True, metavar="TIME", help="as 14d or 12h")
