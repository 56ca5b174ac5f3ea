"""The settings of a target, as it describes them itself by --about."""

from __future__ import annotations

import difflib
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import executables
from .document import Document, Key
from .errors import RunError

About = Mapping[str, Mapping[str, Any]]  # by the setting's name, and by its aliases
OURS = ("state_id", "pii")  # what the wrapper gives
_TYPES = {"string": str, "integer": int, "number": (int, float), "true or false": bool, "object": (dict, list)}


def about(command: Sequence[str], folder: Path) -> About:
    """Ask a target for its settings.

    Raises:
        RunError: it is not there, or does not answer.
    """
    program = executables.find(command, folder)
    done = subprocess.run(
        [*program, "--about"], env=executables.variables(), cwd=folder, capture_output=True, text=True, check=False
    )
    try:
        settings = json.loads(done.stdout)["settings"]
        return {name: one for one in settings for name in (one["name"], *one["aliases"])}
    except (ValueError, KeyError, TypeError):
        told = done.stderr.strip().splitlines()[-1:] or ["it told nothing"]
        raise RunError(f"{program[0]} --about gives no settings: {told[0]}") from None


def places(source: Document) -> Iterator[Key]:
    """Yield where settings of the target stand in the file."""
    yield ("warehouse", "settings")
    for name in source.value["taps"]:
        yield ("taps", name, "settings")


def faults(source: Document, known: About) -> Iterator[str]:
    """Yield what is wrong with the settings in the file."""
    for at in places(source):
        found: Any = source.value
        for key in at:
            found = found.get(key) or {}
        for name, value in found.items():
            words = _fault(name, value, known)
            if words:
                yield source.fault((*at, name), words)


def _fault(name: str, value: Any, known: About) -> str | None:
    if name in OURS:
        return {"state_id": "comes from state.id", "pii": "comes from the section pii"}[name]
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        return f"unknown{f'; did you mean {near[0]}?' if near else ''}"
    wanted = known[name]
    types = tuple(_TYPES[word] for word in wanted["type"].split(" or ") if word in _TYPES) or (bool,)
    if isinstance(value, str) and "${" in value or value is None:
        return None
    flat = tuple(one for type_ in types for one in (type_ if isinstance(type_, tuple) else (type_,)))
    if not isinstance(value, flat) or (isinstance(value, bool) and bool not in flat):
        return f"wanted {wanted['type']}"
    if wanted["choices"] and isinstance(value, str) and value not in wanted["choices"]:
        return f"wanted {' or '.join(wanted['choices'])}"
    return None


def is_secret(at: Key, known: About) -> bool:
    """Tell whether what stands at *at* is the key of hashes, or a setting of the target that is secret."""
    if at == ("pii", "key"):
        return True
    is_setting = at[:2] == ("warehouse", "settings") or (at[:1] == ("taps",) and at[2:3] == ("settings",))
    return is_setting and bool(known.get(str(at[-1]), {}).get("secret"))
