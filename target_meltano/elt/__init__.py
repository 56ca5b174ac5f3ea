"""The wrapper that runs whole pipelines from one file: `target-meltano COMMAND`.

Each command is a module of this package with `command(arguments) -> exit code`; only the one that is called is imported.
"""

from __future__ import annotations

import signal
import sys
from importlib import import_module

from target_meltano import OutputError, TargetError, __version__

from . import streams
from .errors import of_system

# Name of the command (its module, with _ for -): what it does, in one line.
COMMANDS: dict[str, str] = {
    "init": "write a project that runs as it is",
    "install": "make an environment for each tap, and one for dbt",
    "check": "tell whether all is in place for a run",
    "run": "extract-load, transform and test",
    "extract-load": "load taps into the warehouse",
    "verify": "run a tap once more, and compare what it sends with the tables",
    "transform": "build the dbt models",
    "test": "test the dbt models",
    "dbt": "scaffold sources and staging models, or run dbt itself",
    "ci": "write the files that run it in GitLab, GitHub or Airflow",
    "state": "read or write the STATE of a pipeline",
    "review": "copy the warehouse for a branch, and remove such copies",
    "mask": "mask personal data in a tap's messages, in front of any target",
    "mock": "write records that fit a catalog, as a tap would",
}


def main() -> None:
    """Run the command `target-meltano`."""
    _hear()
    streams.watch()
    try:
        code = _flushed(sys.argv[1:])
    except OutputError as error:
        print(f"CRITICAL {error}", file=sys.stderr)
        code = error.exit_code
        streams.abandon()
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # who reads us is gone, and says why
        code = 1
        streams.abandon()
    sys.exit(code)


def _hear() -> None:
    """Undo what our parent does with signals, as a supervisor or `trap '' TERM` may.

    With SIGCHLD ignored the system tells no exit status, and a tap that failed would count as ended well. Without
    SIGTERM neither we nor what we start ends when asked. SIGINT and SIGHUP stay ignored: that is how `nohup` and `&` mean it.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _flushed(arguments: list[str]) -> int:
    """Run a command, and return its exit code when all that it tells is written."""
    try:
        code = dispatch(arguments)
    except SystemExit as end:  # of argparse
        code = end.code if isinstance(end.code, int) else 0
    sys.stdout.flush()
    return code


def dispatch(arguments: list[str]) -> int:
    """Run one command and return its exit code: 0 done, 1 something failed, 2 bad settings.

    Raises:
        OutputError, BrokenPipeError: of stdout.
    """
    name, *rest = arguments or ["--help"]
    if bad := next((one for one in arguments if not _is_text(one)), None):
        print(f"CRITICAL the argument {bad!r} is not UTF-8 text; write it in UTF-8", file=sys.stderr)
        return 2
    if name == "--version":
        print(f"target-meltano {__version__}")
        return 0
    if name in COMMANDS:
        try:
            code: int = import_module(f".{name.replace('-', '_')}", __package__).command(rest)
        except (OutputError, BrokenPipeError):
            raise
        except TargetError as error:
            for line in str(error).splitlines():
                print(f"CRITICAL {line}", file=sys.stderr)
            return error.exit_code
        except OSError as error:
            print(f"CRITICAL {of_system(error, name)}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        return code
    if name not in ("-h", "--help"):
        print(f"CRITICAL there is no command {name!r}; there is: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    print("usage: target-meltano COMMAND [options]; target-meltano COMMAND --help tells more\n")
    for command, does in COMMANDS.items():
        print(f"  {command:<14} {does}")
    return 0


def _is_text(argument: str) -> bool:
    """Tell whether an argument is UTF-8: what is not would come into names, files and the warehouse as something else."""
    try:
        argument.encode("utf-8")
    except UnicodeEncodeError:  # Python escapes bytes that are none
        return False
    return True
