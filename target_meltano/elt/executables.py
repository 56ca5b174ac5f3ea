"""Where taps, targets and dbt are, and the environments that `install` makes for them.

.elt/envs/NAME is a virtual environment with one tool in it. Its file `installed` is written last,
so that one that was cut off is made anew.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from importlib import metadata
from pathlib import Path

from .errors import RunError
from .guard import guard
from .processes import Process, Stop
from .redaction import Redactor
from .writing import write, write_all

LAST_LINES = 5  # of what pip tells
SHOWS_ALL = Redactor(())
DBT = "dbt"  # the environment of the transform; no tap can have it, see `environment_of`


def environment_of(work: Path, name: str) -> Path:
    """Return the folder of the environment of the tap *name*, or of dbt."""
    return work / "envs" / (name if name == DBT else f"tap.{name}")


def find(command: Sequence[str], folder: Path, own: Path | None = None) -> list[str]:
    """Return *command* with its program's whole path: from the environment *own*, beside us, or on PATH.

    A name with a slash is a path in *folder*.

    Raises:
        RunError: it is nowhere.
    """
    name, *arguments = command
    program = str(folder / name) if "/" in name else shutil.which(name, path=_path(own))
    if program and os.access(program, os.X_OK) and not os.path.isdir(program):
        return [program, *arguments]
    if "/" in name:
        raise RunError(f"{program} is {'not executable; chmod +x it' if os.path.exists(program or '') else 'not there'}")
    hint = "run target-meltano install" if own else "install it, or give its path or a pip_url"
    raise RunError(f"the program {name} is not on PATH; {hint}")


def variables(own: Path | None = None, withheld: Collection[str] = ()) -> dict[str, str]:
    """Return the environment for a tool, less what is *withheld*: programs of *own* and those beside us come first on its PATH."""
    ours = {name: value for name, value in os.environ.items() if name not in withheld} | {"PATH": _path(own)}
    if own and own.exists():  # what is meant for our Python breaks another one
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
            ours.pop(name, None)
    return ours


def _path(own: Path | None) -> str:
    folders = [str(own / "bin")] if own else []
    return os.pathsep.join([*folders, str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def is_installed(place: Path, wanted: str) -> bool:
    """Tell whether the environment *place* is there, complete, made from *wanted*, and where it was made.

    Its programs name their Python by its whole path: moved, as from a cache of CI, they do not start.
    """
    try:
        made_at = (place / "at").read_text("utf-8") if (place / "at").exists() else str(place.resolve())
        return (place / "installed").read_text("utf-8") == wanted and made_at == str(place.resolve())
    except OSError:
        return False


def make(
    place: Path,
    pip_url: str,
    python: str | None,
    folder: Path,
    redact: Redactor = SHOWS_ALL,
    stop: Stop | None = None,
    pass_fds: Sequence[int] = (),
) -> None:
    """Make the environment *place* with what *pip_url* names; by uv where it is there, else venv and pip.

    Paths in *pip_url* are in *folder*. What *redact* hides of it comes to pip by a file, as everybody sees its arguments.
    *stop* ends pip and what it has started; they inherit *pass_fds*.

    Raises:
        RunError: with the last lines of what pip or uv told, or as it was stopped.
    """
    interpreter = shutil.which(python) if python else sys.executable
    if not interpreter:
        raise RunError(f"python: {python} is not on PATH")
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    own = str(place / "bin/python")
    uv = shutil.which("uv")
    quiet = ["install", "--disable-pip-version-check", "--quiet", "--no-input"]
    if uv:
        steps = [[uv, "venv", "--quiet", "--python", interpreter, str(place)], [uv, "pip", "install", "--python", own]]
    elif _pip_reaches_others():  # then the environment needs no pip of its own, which takes seconds to make
        steps = [[interpreter, "-m", "venv", "--without-pip", str(place)], [sys.executable, "-m", "pip", "--python", own, *quiet]]
    else:
        steps = [[interpreter, "-m", "venv", str(place)], [own, "-m", "pip", *quiet]]
    shown, hidden = _parted(shlex.split(pip_url), redact)
    with _private() as private, closing(Stop()) if stop is None else nullcontext(stop) as ours:
        if hidden:
            write(private / "requirements.txt", hidden)
        steps[-1] += [*shown, *(["--requirement", str(private / "requirements.txt")] if hidden else [])]
        for step in steps:
            code, last = _run(step, folder, variables(place), redact, ours, pass_fds)
            if ours.signal:
                raise RunError(f"{redact(pip_url)}: it was stopped; install it again")
            if code:
                told = [line for line in last if "WARNING" not in line]
                raise RunError("\n".join([f"{redact(pip_url)}: cannot be installed", *told[-LAST_LINES:]]))
    write_all({place / "at": str(place.resolve()).encode(), place / "installed": wanted(pip_url, python).encode()})


@contextmanager
def _private() -> Iterator[Path]:
    """Yield a folder that only we may read, and that is removed however we end."""
    with tempfile.TemporaryDirectory(prefix="target-meltano-") as folder:
        guard().folder(folder)
        yield Path(folder)
    guard().folder_is_removed(folder)


def _run(step: Sequence[str], folder: Path, environment: Mapping[str, str], redact: Redactor, stop: Stop, pass_fds: Sequence[int]) -> tuple[int, list[str]]:
    """Run a program to its end, and return its exit status and the last lines of what it told."""
    with stop.ends(Process(step, folder, environment, None, redact, pass_fds, joined=True)) as process:
        return process.wait(), list(process.last)


def _parted(words: Sequence[str], redact: Redactor) -> tuple[list[str], str]:
    """Return the arguments of pip that hide nothing, and the others as lines of a file of requirements."""
    shown: list[str] = []
    lines = ""
    for word in words:
        if redact(word) == word:
            shown.append(word)
        elif shown and re.fullmatch("-[a-z]|--[a-z-]+", shown[-1]):  # the option that it is the value of
            lines += f"{shown.pop()} {word}\n"
        else:
            lines += f"{word}\n"
    return shown, lines


def _pip_reaches_others() -> bool:
    """Tell whether our pip has the option --python."""
    try:
        return tuple(map(int, metadata.version("pip").split(".")[:2])) >= (22, 3)
    except (metadata.PackageNotFoundError, ValueError):
        return False


def wanted(pip_url: str, python: str | None) -> str:
    """Return what the file `installed` says of an environment that is made from these: a hash, as there may be a token in it."""
    return f"{hashlib.sha256(f'{pip_url} {python or sys.version_info[:2]}'.encode()).hexdigest()}\n"
