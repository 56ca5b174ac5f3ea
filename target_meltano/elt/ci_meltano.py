"""`target-meltano ci meltano`: the target as a loader of Meltano, for those who run their taps by it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from target_meltano import __version__

from . import settings
from .errors import ProjectError
from .project import FILE, Project
from .yaml_writer import comment, document

_KINDS = {"integer": "integer", "number": "decimal", "true or false": "boolean", "string": "string", "object": "object"}
_NOT_MELTANOS = re.compile(r"\$(?!\{\w+\})")  # it knows ${NAME}, and no default, file or JSON
_NOTES = """\
# The loader {name}. In meltano.yml:
#
#   include_paths: [./{file}]
#
# Meltano keeps the STATE of each run itself, and hands it to the tap: that is why there is no setting state_id here.
# Rows may be ahead of that STATE after a crash: tables with keys do not mind, others may have rows twice.{missing}
"""


def files(project: Project) -> dict[Path, str]:
    """Return the file with the loader and its settings, as the target itself tells them.

    Raises:
        RunError: the target is not installed.
        ProjectError: the rules for personal data cannot be handed on, and nobody is to load without them.
    """
    dialect = project.warehouse.dialect
    name = f"target-meltano-{dialect}"
    about = settings.about(project.warehouse.executable, project.folder)
    loader = {
        "name": name,
        "namespace": name.replace("-", "_"),
        "label": name,
        "executable": name,
        "pip_url": project.ci.install or f"target-meltano[{dialect}]=={__version__}",
        "dialect": dialect,
        "settings": [_setting(one) for key, one in about.items() if key == one["name"] != "state_id"],
        "config": {"schema": "$MELTANO_EXTRACT__LOAD_SCHEMA", **_config(project)},
    }
    path = Path(f"{name}.meltano.yml")
    content = document({"plugins": {"loaders": [loader]}})
    left = [key for key, value in project.warehouse.settings.items() if not _is_plain(value)]
    missing = f"\n# Not here, because Meltano knows ${{NAME}} alone; set it there: {comment(', '.join(left))}." if left else ""
    own = [tap.name for tap in project.taps.values() if tap.settings]
    missing += f"\n# Not here: the settings of {', '.join(own)} alone; a loader that inherits from this one can have them." if own else ""
    return {path: _NOTES.format(name=name, file=path, missing=missing) + content}


def _setting(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return a setting as Meltano has it. Defaults are left to the target."""
    kind = _KINDS.get(about["type"], "object")
    found = {"name": about["name"], "kind": kind, "description": about["help"]}
    if about["choices"] and kind == "string":
        found |= {"kind": "options", "options": [{"label": one, "value": one} for one in about["choices"]]}
    return {**found, "sensitive": True} if about["secret"] else found


def _config(project: Project) -> dict[str, Any]:
    """Return what elt.yml sets of the target, as far as Meltano can read it."""
    given = {name: value for name, value in project.warehouse.settings.items() if _is_plain(value)}
    if not project.pii:
        return given
    rules = [*project.pii.get("rules", ()), *project.pii.get("transformations", ())]
    if not _is_plain(project.pii) or any("tap" in rule for rule in rules):
        raise ProjectError(f"{project.folder / FILE}: pii: a loader of Meltano is for all taps, and knows ${{NAME}} alone; write rules without tap, and no other ${{…}}")
    return {**given, "pii": dict(project.pii)}


def _is_plain(value: Any) -> bool:
    return not _NOT_MELTANOS.search(json.dumps(value))
