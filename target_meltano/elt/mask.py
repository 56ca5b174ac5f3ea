"""`target-meltano mask`: the rules for personal data as a filter, in front of any target."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from target_meltano import masking
from target_meltano.errors import SettingsError, TargetError

from . import document, project, settings, warehouse
from .document import Document
from .variables import Expansion


def command(arguments: list[str]) -> int:
    """Mask the messages on stdin by the rules of a file, and write them to stdout; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="target-meltano mask",
        description="tap | target-meltano mask --config FILE | any-target. Masks personal data in Singer messages.",
        epilog="Exit: 0 done, 1 the input cannot be masked, 2 bad settings. With set -o pipefail the shell sees it.",
    )
    parser.add_argument(
        "-c",
        "--config",
        required=True,
        metavar="FILE",
        help="JSON or YAML: the settings of a target with pii, an elt.yml, or PipelineWise's transformations",
    )
    parser.add_argument("--tap", metavar="NAME", help="of an elt.yml: the rules of this tap, and those of all")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who reads us is gone, and says why
    try:
        wanted, unlisted = rules(read(Path(options.config)), options.tap)
        stage = masking.stage(wanted, reads_batches=False, unlisted=unlisted)
        if stage is None:
            raise SettingsError(f"{options.config}: pii: there is no rule in it")
        if sys.stdin is None:
            raise TargetError("stdin is closed, where a tap's output should come from")
        masking.filtered(sys.stdin.buffer, stage, sys.stdout.buffer, tell)
    except TargetError as error:
        for line in str(error).splitlines():
            print(f"CRITICAL {line}", file=sys.stderr)
        return error.exit_code
    return 0


def tell(stream: str, what: str, count: int) -> None:
    print(f"WARNING stream {stream!r}: {count:,} {what}", file=sys.stderr)


def read(path: Path) -> Document:
    """Return what a file of settings has: of JSON or YAML, each key once.

    Raises:
        SettingsError: it cannot be read, or is neither.
    """
    source = document.from_json(path) if path.suffix == ".json" else document.read(path, of_others=True)
    if not isinstance(source.value, dict):
        raise SettingsError(f"{path}: wanted an object of settings")
    return source if path.suffix == ".json" or "schemas" in source.value else document.read(path)


def rules(source: Document, tap: str | None) -> tuple[Any, str]:
    """Return what a file has, to be read as the settings `pii` and `pii_unlisted`.

    Of an elt.yml they are what `run` gives to the target for *tap*; without one, for the only tap that there is.

    Raises:
        SettingsError: it has nothing of the sort, or `run` would refuse it.
    """
    found, path = source.value, source.path
    if "pii" not in found and "schemas" in found:
        return {"transformations": masking.of_pipelinewise(found)}, _unlisted(found, path)
    pii = found.get("pii", found)
    if pii is found and "rules" not in found and "transformations" not in found:
        raise SettingsError(f"{path}: wanted pii, or PipelineWise's transformations or schemas")
    if path.suffix == ".json" and not found.keys() & {"version", "warehouse", "taps"}:  # a target's own settings, where ${NAME} is text
        if isinstance(pii, dict) and "${" in str(pii.get("key")):
            raise SettingsError(f"{path}: pii: key: variables are replaced in an elt.yml only; give key_env: NAME instead")
        return pii, _unlisted(found, path)
    if "version" in found:
        project.check(source)
    return _of_elt(source, pii, tap)


def _of_elt(source: Document, pii: Any, tap: str | None) -> tuple[Any, str]:
    """Return both settings of an elt.yml, or of a part of one, with variables replaced as `run` does it."""
    taps = source.value.get("taps")
    taps = taps if isinstance(taps, dict) else {}
    if tap is not None and taps and tap not in taps:
        raise SettingsError(f"{source.path}: there is no tap {tap!r}; there is: {', '.join(taps)}")
    if tap is None and len(taps) == 1:
        (tap,) = taps
    parts = [pii.get(part) or [] for part in ("rules", "transformations")] if isinstance(pii, dict) else []
    named = [rule for part in parts for rule in part if isinstance(rule, dict) and "tap" in rule]
    if named and tap is None:
        raise SettingsError(f"{source.path}: pii: rules are for taps; say which one it is: --tap NAME")
    expansion = Expansion(source, os.environ, lambda at: settings.is_secret(at, {}))
    pii = expansion.value(pii, ("pii",))
    sections = [one.get("settings") for one in (taps.get(tap), source.value.get("warehouse")) if isinstance(one, dict)]
    given = [one["pii_unlisted"] for one in (*sections, source.value) if isinstance(one, dict) and "pii_unlisted" in one]
    unlisted = {"pii_unlisted": expansion.value(given[0], ("pii_unlisted",))} if given else {}
    if expansion.faults:
        raise SettingsError("\n".join(dict.fromkeys(expansion.faults)))
    return warehouse.pii_for(pii, tap) if named or "version" in source.value else pii, _unlisted(unlisted, source.path)


def _unlisted(found: Mapping[str, Any], path: Path) -> str:
    """Return the setting `pii_unlisted`.

    Raises:
        SettingsError: it is no value of this setting.
    """
    value = found.get("pii_unlisted", "alike")
    if value not in ("alike", "fail"):
        raise SettingsError(f"{path}: pii_unlisted: {str(value)[:80]!r}, wanted alike or fail")
    return str(value)
