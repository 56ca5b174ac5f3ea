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

WORDS = "Written by `target-meltano dbt scaffold`; edit it, and it is yours and stays as it is."
COMMENTS = {".sql": ("-- ", ""), ".yml": ("# ", "")}
_HEADER = re.compile(r"\bsha256:([0-9a-f]{16})\b")


@dataclass(frozen=True)
class Change:
    """What is to be done with a file: create, update, remove; or nothing, because it is the same, or edited."""

    path: Path
    does: str
    text: str = ""


def with_header(path: Path, body: str) -> str:
    """Return *body* with the line that makes it ours."""
    start, end = COMMENTS[path.suffix]
    return f"{start}{WORDS} sha256:{_hash(body)}{end}\n{body}"


def changes(wanted: Mapping[Path, str], folders: Iterable[Path]) -> list[Change]:
    """Return what has to be done so that *wanted* is there, and nothing else of ours in *folders*."""
    found = []
    for path, body in wanted.items():
        text = with_header(path, body)
        if not path.exists():
            found.append(Change(path, "create", text))
        elif not is_ours(path):
            found.append(Change(path, "edited"))
        else:
            found.append(Change(path, "same" if path.read_text("utf-8") == text else "update", text))
    stale = {path for folder in folders for path in folder.glob("*") if path.suffix in COMMENTS} - set(wanted)
    found += [Change(path, "remove") for path in sorted(stale) if is_ours(path)]
    return sorted(found, key=lambda change: change.path)


def is_ours(path: Path) -> bool:
    """Tell whether nobody has edited the file since we wrote it."""
    try:
        header, _, body = path.read_text("utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return False
    said = _HEADER.search(header)
    return said is not None and said[1] == _hash(body)


def carry_out(found: Iterable[Change]) -> None:
    """Do what *found* says."""
    for change in found:
        if change.does in ("create", "update"):
            change.path.parent.mkdir(parents=True, exist_ok=True)
            change.path.write_text(change.text, "utf-8")
        elif change.does == "remove":
            change.path.unlink()


def _hash(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]
