"""`target-meltano mask`: the rules for personal data as a filter, in front of any target."""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

from target_meltano import masking
from target_meltano.errors import SettingsError, TargetError


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
        found = read(options.config)
        wanted = rules(found, options.config, options.tap)
        stage = masking.stage(wanted, reads_batches=False, unlisted=unlisted(found, options.config, options.tap))
        if stage is None:
            raise SettingsError(f"{options.config}: pii: there is no rule in it")
        if sys.stdin is None:
            raise TargetError("stdin is closed, where a tap's output should come from")
        masking.filtered(sys.stdin.buffer, stage, sys.stdout.buffer, tell)
    except TargetError as error:
        print(f"CRITICAL {error}", file=sys.stderr)
        return error.exit_code
    return 0


def tell(stream: str, what: str, count: int) -> None:
    print(f"WARNING stream {stream!r}: {count:,} {what}", file=sys.stderr)


def read(path: str) -> dict[str, Any]:
    """Return what a file of settings has.

    Raises:
        SettingsError: it cannot be read, or is neither JSON nor YAML.
    """
    try:
        text = Path(path).read_text("utf-8")
        found = json.loads(text) if Path(path).suffix == ".json" else _yaml(text)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"{path}: {error}") from None
    if not isinstance(found, dict):
        raise SettingsError(f"{path}: wanted an object of settings")
    return found


def _yaml(text: str) -> Any:
    """Read YAML; of a value with a tag, like PipelineWise's !vault, nothing."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, tag, node: None)
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {' '.join(str(error).split())}") from None


def rules(found: dict[str, Any], path: str, tap: str | None) -> Any:
    """Return what a file has, to be read as the setting `pii`.

    Raises:
        SettingsError: it has nothing of the sort.
    """
    if "pii" in found:
        return _of_elt(found["pii"], path, tap) if isinstance(found["pii"], dict) else found["pii"]
    if "schemas" in found:
        return {"transformations": masking.of_pipelinewise(found)}
    if "rules" in found or "transformations" in found:
        return found
    raise SettingsError(f"{path}: wanted pii, or PipelineWise's transformations or schemas")


def unlisted(found: dict[str, Any], path: str, tap: str | None) -> str:
    """Return the setting `pii_unlisted`: of a target, or of an elt.yml that of the tap, else of the warehouse.

    Raises:
        SettingsError: it is no value of this setting.
    """
    taps, warehouse = found.get("taps"), found.get("warehouse")
    given = [found, *(one.get("settings") for one in (taps.get(tap) if isinstance(taps, dict) else None, warehouse) if isinstance(one, dict))]
    value = next((one["pii_unlisted"] for one in given if isinstance(one, dict) and "pii_unlisted" in one), "alike")
    if value not in ("alike", "fail"):
        raise SettingsError(f"{path}: pii_unlisted: {str(value)[:80]!r}, wanted alike or fail")
    return str(value)


def _of_elt(pii: dict[str, Any], path: str, tap: str | None) -> dict[str, Any]:
    """Return `pii` as a target takes it: in an elt.yml rules may name a tap, and the key a variable."""
    wanted, key = pii.get("rules", []), pii.get("key")
    if any(isinstance(rule, dict) and "tap" in rule for rule in wanted):
        if tap is None:
            raise SettingsError(f"{path}: pii: rules are for taps; say which one it is: --tap NAME")
        mine = [rule for rule in wanted if rule.get("tap", tap) == tap]
        wanted = [{name: value for name, value in rule.items() if name != "tap"} for rule in mine]
    variable = re.fullmatch(r"\$\{(\w+)\}", key) if isinstance(key, str) else None
    if variable:
        pii = {**{name: value for name, value in pii.items() if name != "key"}, "key_env": variable[1]}
    return {**pii, "rules": wanted}
