"""Files written whole or not at all: what was there stays until what is new is on disk, and an error names the file."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Write a file, in the place of what is there.

    Raises:
        OSError: naming it; what was there is.
    """
    write_all({path: text.encode()})


def write_all(files: Mapping[Path, bytes], executable: Collection[Path] = ()) -> None:
    """Write *files*, and the folders that they are in; none of them where one cannot be written.

    Raises:
        OSError: naming the file that cannot be.
    """
    folders: list[Path] = []
    parts: dict[Path, Path] = {}  # by where they go: a link stays one
    made: list[Path] = []
    try:
        for path, content in files.items():
            with named(path):
                for folder in [one for one in (path.parent, *path.parent.parents) if not one.exists()][::-1]:
                    folder.mkdir()
                    folders.append(folder)
                place = Path(os.path.realpath(path))
                parts[place] = place.with_name(f".{secrets.token_hex(8)}.part")
                parts[place].write_bytes(content)
                if path in executable or place.exists():
                    parts[place].chmod(0o755 if path in executable else stat.S_IMODE(place.stat().st_mode))
        for place, part in parts.items():
            with named(place):
                is_new = not place.exists()
                part.replace(place)
                made += [place] if is_new else []
    except BaseException:
        for path in (*parts.values(), *made):
            with suppress(OSError):
                path.unlink()
        for folder in reversed(folders):
            with suppress(OSError):
                folder.rmdir()
        raise


@contextmanager
def named(path: Path | str) -> Iterator[None]:
    """Let what goes wrong with a file name it: an error of a write itself names none."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
