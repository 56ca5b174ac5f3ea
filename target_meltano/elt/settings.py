"""The settings of a target, as it describes them itself by --about."""

from __future__ import annotations

import difflib
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import executables
from .document import Document, Key
from .errors import RunError

About = Mapping[str, Mapping[str, Any]]  # by the setting's name, and by its aliases
OURS = {  # what the wrapper gives, and where it is said
    "state_id": "comes from state.id",
    "pii": "comes from the section pii",
    "schema": "comes from schema of the tap",
}
_TYPES: Mapping[str, type | tuple[type, ...]] = {"string": str, "integer": int, "number": (int, float), "object": (dict, list)}


def about(command: Sequence[str], folder: Path, redact: Callable[[str], str] = str) -> About:
    """Ask a target for its settings; *redact* hides secrets in what it tells where it fails.

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
        told = redact(done.stderr).strip().splitlines()[-1:] or ["it told nothing"]
        raise RunError(f"{program[0]} --about gives no settings: {told[0]}") from None


def described(schema: Mapping[str, Any], known: About) -> dict[str, Any]:
    """Return the JSON Schema of elt.yml with a target's settings in it, for editors."""
    settings = {one["name"]: {"description": one["help"], "default": one["default"]} for one in known.values()}
    mine = {name: one for name, one in settings.items() if name not in OURS}
    definitions = {**schema["definitions"], "settings": {**schema["definitions"]["settings"], "properties": mine}}
    return {**schema, "definitions": definitions}


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
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        return f"unknown{f'; did you mean {near[0]}?' if near else ''}"
    wanted = known[name]
    if wanted["name"] in OURS:
        return OURS[wanted["name"]]
    if value is None or (isinstance(value, str) and "${" in value):
        return None
    if not _has_type(value, wanted["type"]):
        return f"wanted {wanted['type']}"
    if wanted["choices"] and isinstance(value, str) and value not in wanted["choices"]:
        return f"wanted {' or '.join(wanted['choices'])}"
    return None


def _has_type(value: Any, words: str) -> bool:
    """Tell whether *value* is of a type as --about has it: string, integer or string, true or false."""
    if isinstance(value, bool) or words == "true or false":
        return isinstance(value, bool) and words == "true or false"
    return any(isinstance(value, _TYPES[word]) for word in words.split(" or ") if word in _TYPES)


def is_secret(at: Key, known: About) -> bool:
    """Tell whether what stands at *at* is the key of hashes, or a setting of the target that is secret."""
    if at == ("pii", "key"):
        return True
    is_setting = at[:2] == ("warehouse", "settings") or (at[:1] == ("taps",) and at[2:3] == ("settings",))
    return is_setting and bool(known.get(str(at[-1]), {}).get("secret"))
