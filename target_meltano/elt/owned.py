"""Files that are ours until somebody edits them.

The first line has a hash of the rest. A file whose hash is not that of its content has been edited:
it belongs to its editor, and is never written again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import writing

WORDS = "Written by `target-meltano {command}`; edit it, and it is yours and stays as it is."
COMMENTS = {".sql": "--", ".yml": "#", ".yaml": "#", ".py": "#"}
_HEADER = re.compile(r"\bsha256:([0-9a-f]{16})\b")


@dataclass(frozen=True)
class Change:
    """What is to be done with a file: create, update, remove; or nothing: it is the same, edited, or never was ours (foreign)."""

    path: Path
    does: str
    text: str = ""


def with_header(path: Path, body: str, command: str) -> str:
    """Return *body* with the line that makes it ours, and names the *command* that writes it."""
    return f"{COMMENTS[path.suffix]} {WORDS.format(command=command)} sha256:{_hash(body)}\n{body}"


def changes(wanted: Mapping[Path, str], folders: Iterable[Path], command: str) -> list[Change]:
    """Return what has to be done so that *wanted* is there, and nothing else of ours in *folders*."""
    found = []
    for path, body in wanted.items():
        text = with_header(path, body, command)
        if not path.exists():
            found.append(Change(path, "create", text))
        elif not is_ours(path):
            found.append(Change(path, "edited" if _said(path) else "foreign"))
        else:
            found.append(Change(path, "same" if path.read_text("utf-8") == text else "update", text))
    stale = {path for folder in folders for path in folder.glob("*") if path.suffix in COMMENTS} - set(wanted)
    found += [Change(path, "remove") for path in sorted(stale) if is_ours(path)]
    return sorted(found, key=lambda change: change.path)


def is_ours(path: Path) -> bool:
    """Tell whether nobody has edited the file since we wrote it."""
    said = _said(path)
    return said is not None and said == _hash(path.read_text("utf-8").partition("\n")[2])


def _said(path: Path) -> str | None:
    """Return the hash in the first line of a file, None where there is none."""
    try:
        found = _HEADER.search(path.read_text("utf-8").partition("\n")[0])
    except (OSError, UnicodeDecodeError):
        return None
    return found[1] if found else None


def carry_out(found: Iterable[Change]) -> None:
    """Do what *found* says.

    Raises:
        OSError: naming the file that cannot be written; then none is.
    """
    found = list(found)
    writing.write_all({change.path: change.text.encode() for change in found if change.does in ("create", "update")})
    for change in found:
        if change.does == "remove":
            change.path.unlink()


def _hash(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]
