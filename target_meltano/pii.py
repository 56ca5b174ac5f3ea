"""The rules for personal data, read from the setting `pii`; PipelineWise's `transformations` become rules, too.

    {"key_env": "MY_KEY", "plain": ["orders"], "rules": [
        {"stream": "users", "columns": ["email", "addr.zip", "items[].ssn"], "method": "hash", "as": "email"}]}
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import SettingsError, json_path
from .masks import Key, Mask, Method, compiled, compiled_for_text, read_key, read_method

_RULE = ("stream", "columns", "method", "as", "optional")
_PARTS = ("key", "key_env", "plain", "rules", "transformations")
KEY_ENV = "TARGET_MELTANO_PII_KEY"
_NOBODY_LISTED = (  # a run that passed all streams would be what the setting is to prevent
    "pii_unlisted: fail lets no stream come, as pii has neither rules nor plain; "
    'add rules, or name the streams without personal data: pii: {"plain": ["orders", "log_*"]}'
)
ITEMS = None  # in a path: each item of an array
Path = tuple[str | None, ...]
Found = Mapping[str, Any] | list[Any]  # the setting; a list is one of rules


@dataclass(frozen=True)
class Rule:
    """One column of a rule. *domain*: where it is the same, equal values hash equally.

    An *optional* one may match nothing.
    """

    stream: str
    path: Path
    method: Method
    domain: str
    optional: bool = False

    def __str__(self) -> str:
        return f"pii: stream {self.stream!r}: column {path_text(self.path)}"


@dataclass(frozen=True)
class Rules:
    """All rules. *plain* are patterns of streams without personal data; None: those without a rule."""

    rules: tuple[Rule, ...]
    plain: tuple[str, ...] | None
    key: Key | None

    def fingerprint(self, stream: str) -> str:
        """Return what masked messages of *stream* carry, to be masked no second time: other rules or keys have another one."""
        hashed = (self.key or Key("", b"")).hasher("\0rules")
        mine = sorted(repr((rule.path, rule.method, rule.domain)) for rule in self.rules if rule.stream == stream)
        return hashed("\n".join([stream, *mine]).encode("utf-8", "surrogatepass"))[:16]


@dataclass
class Node:
    """What the rules say of a place in a record, and of what is in it: a tree per stream."""

    path: Path
    rule: Rule | None = None
    mask: Mask | None = None
    mask_text: Callable[[bytes], str] | None = None  # the same for a text in UTF-8, where that is faster
    members: dict[str, Node] = field(default_factory=dict)
    items: Node | None = None

    @property
    def drops(self) -> bool:
        return self.rule is not None and self.rule.method.name == "drop"


def read(found: Found, environment: Mapping[str, str], unlisted: str = "alike") -> Rules:
    """Return the rules that the setting has, with the key that *environment* has. *unlisted* is `pii_unlisted`.

    Raises:
        SettingsError: naming everything that is wrong.
    """
    faults = list(faults_of(found, unlisted))
    if faults:
        raise SettingsError(f"settings: {'; '.join(faults)}")
    rules = tuple(_rules(found, faults))
    parts = _as_object(found)
    plain = parts.get("plain")
    key = _key(parts, environment) if any(rule.method.is_keyed for rule in rules) else None
    return Rules(rules, None if plain is None else tuple(plain), key)


def streams_of(found: Found) -> frozenset[str]:
    """Return the streams that the setting has rules for."""
    return frozenset(rule.stream for rule in _rules(found, []))


def faults_of(found: Found, unlisted: str = "alike") -> Iterator[str]:
    """Yield what is wrong with the setting, beside `pii_unlisted`; the key is not looked for."""
    parts = _as_object(found)
    if unlisted == "fail" and "plain" not in parts and not any(parts.get(name) for name in ("rules", "transformations")):
        yield _NOBODY_LISTED
    for name in sorted(parts.keys() - set(_PARTS)):
        yield f"pii: {name}: unknown{_near(name, _PARTS)}"
    if not isinstance(parts.get("key_env", ""), str) or "key" in parts and "key_env" in parts:
        yield "pii: key_env: wanted the name of a variable, and no key beside it"
    if "key" in parts:
        try:
            read_key(parts["key"])
        except ValueError as error:
            yield f"pii: key: {error}"
    if not _are_names(parts.get("plain", [])):
        yield "pii: plain: wanted a list of names of streams, * for any characters"
    for name in ("rules", "transformations"):
        if not isinstance(parts.get(name, []), list):
            yield f"pii: {name}: wanted a list"
            return
    faults: list[str] = []
    rules = _rules(found, faults)
    yield from faults
    try:
        trees(rules, None)
    except ValueError as error:
        yield str(error)


def trees(rules: Iterable[Rule], key: Key | None) -> dict[str, Node]:
    """Return a tree of rules per stream; without a *key* its hashes are not to be used.

    Raises:
        ValueError: two rules are for the same place, or one is within the other's.
    """
    found: dict[str, Node] = {}
    for rule in rules:
        node = found.setdefault(rule.stream, Node(()))
        for part in rule.path:
            if node.rule:
                break
            if part is ITEMS:
                node.items = node.items or Node((*node.path, ITEMS))
                node = node.items
            else:
                node = node.members.setdefault(part, Node((*node.path, part)))
        if node.rule or node.members or node.items:
            raise ValueError(f"{rule}: another rule is for the same place, or for a part of it")
        node.rule = rule
        node.mask = compiled(rule.method, key, rule.domain) if key or not rule.method.is_keyed else None
        node.mask_text = compiled_for_text(rule.method, key, rule.domain) if key and rule.method.is_keyed else None
    return found


def path_text(path: Path) -> str:
    """Return a path as rules write it: addr.zip, items[].ssn."""
    text = ""
    for part in path:
        text += "[]" if part is ITEMS else f".{part}" if text else str(part)
    return text


def shown_path(path: Path) -> str:
    """Return a path as errors write it: $.items[].ssn."""
    return "$" + "".join("[]" if part is ITEMS else json_path([part])[1:] for part in path)


def _as_object(found: Found) -> Mapping[str, Any]:
    return {"rules": found} if isinstance(found, list) else found


def _key(parts: Mapping[str, Any], environment: Mapping[str, str]) -> Key:
    if "key" in parts:
        return read_key(parts["key"])
    variable = parts.get("key_env", KEY_ENV)
    if not environment.get(variable):
        raise SettingsError(f"settings: pii: variable {variable} is missing; it has the key of hashes, as VERSION:SECRET")
    try:
        return read_key(environment[variable])
    except ValueError as error:
        raise SettingsError(f"settings: pii: variable {variable}: {error}") from None


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and name for name in value)


def _near(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, names, 1)
    return f", did you mean {near[0]}?" if near else ""


# --- rules


def _rules(found: Found, faults: list[str]) -> list[Rule]:
    """Return the rules that can be read, and say in *faults* what is wrong with the others."""
    parts = _as_object(found)
    rules: list[Rule] = []
    for name, reader in (("rules", _rule), ("transformations", _transformation)):
        for number, one in enumerate(parts.get(name, []), 1):
            try:
                if not isinstance(one, dict):
                    raise ValueError("wanted an object")
                rules.extend(reader(one))
            except ValueError as error:
                faults.append(f"pii: {name}, number {number}: {error}")
    return rules


def _rule(one: Mapping[str, Any]) -> Iterator[Rule]:
    for name in sorted(one.keys() - set(_RULE)):
        raise ValueError(f"{name}: unknown{_near(name, _RULE)}")
    for name in ("stream", "method"):
        if not (isinstance(one.get(name), str) and one[name]):
            raise ValueError(f"{name}: wanted a string")
    domain, optional, columns = one.get("as"), one.get("optional", False), one.get("columns")
    if not (domain is None or (isinstance(domain, str) and domain)) or not isinstance(optional, bool):
        raise ValueError("as: wanted a string; optional: true or false")
    if not isinstance(columns, list) or not columns:
        raise ValueError('columns: wanted a list, like ["email", "addr.zip", "items[].ssn"]')
    method = read_method(one["method"])
    if domain and not method.is_keyed:
        raise ValueError(f"as: it says which hashes are equal, and {method.name} makes none")
    for column in columns:
        path = read_path(column)
        if method.name == "drop" and path[-1] is ITEMS:
            raise ValueError(f"columns: {path_text(path)}: items cannot be dropped; drop their array")
        yield Rule(one["stream"], path, method, domain or _own_domain(one["stream"], path), optional)


def _own_domain(stream: str, path: Path) -> str:
    """Return a domain that no `as` has: it begins with NUL."""
    return "\0" + json.dumps([stream, *path])


def read_path(text: Any) -> Path:
    """Return the path that a rule writes as a text, or as a list of names where these have dots or brackets.

    Raises:
        ValueError: it is neither.
    """
    fault = ValueError(f'columns: {text!r}: wanted a path like addr.zip or items[].ssn, or a list of names, "[]" for items')
    parts: list[str] = []
    if isinstance(text, str):
        for name in text.split("."):
            found = re.fullmatch(r"([^\[\]]+)((?:\[\])*)", name)
            if not found:
                raise fault
            parts += [found[1], *["[]"] * (len(found[2]) // 2)]
    elif _are_names(text):
        parts = text
    if not parts or parts[0] == "[]":
        raise fault
    return tuple(ITEMS if part == "[]" else part for part in parts)


# --- PipelineWise


def _transformation(one: Mapping[str, Any]) -> Iterator[Rule]:
    """Read an entry as pipelinewise-transform-field has it."""
    if one.get("when"):
        raise ValueError("when: not read: a rule masks always; leave it away to mask in all records")
    stream, column, paths = one.get("tap_stream_name"), one.get("field_id"), one.get("field_paths") or [""]
    if not (isinstance(stream, str) and isinstance(column, str) and isinstance(paths, list) and stream and column):
        raise ValueError("wanted tap_stream_name, field_id and type")
    method = read_method(_method_of(str(one.get("type"))))
    for path in paths:
        names = [column, *(part for part in str(path).split("/") if part)]
        yield Rule(stream, tuple(names), method, _own_domain(stream, tuple(names)))


def _method_of(kind: str) -> str:
    """Return our name of one of PipelineWise's methods."""
    for pattern, method in _KINDS.items():
        found = re.fullmatch(pattern, kind)
        if found:
            return found.expand(method)
    raise ValueError(f"type: {kind!r} is none of PipelineWise's methods")


_KINDS = {
    "SET-NULL": "nullify",
    "HASH": "hash",
    r"HASH-SKIP-FIRST-([1-9])": r"hash-after:\1",
    "MASK-DATE": "truncate-date:year",
    "MASK-NUMBER": "mask",
    "MASK-HIDDEN": "redact",
    r"MASK-STRING-SKIP-ENDS-([1-9])": r"keep-ends:\1",
}
_WITH_SCHEMA = re.compile("tap-(mysql|postgres|oracle|snowflake|mongodb|mssql)")


def of_pipelinewise(tap: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the transformations of a tap's file of PipelineWise, with the streams that its taps send.

    Raises:
        SettingsError: it has another shape.
    """
    has_schema = bool(_WITH_SCHEMA.fullmatch(str(tap.get("type"))))
    found = []
    try:
        for schema in tap["schemas"]:
            for table in schema.get("tables") or ():
                stream = f"{schema['source_schema']}-{table['table_name']}" if has_schema else table["table_name"]
                for one in table.get("transformations") or ():
                    found.append({**one, "tap_stream_name": stream, "field_id": one.get("column")})
    except (AttributeError, KeyError, TypeError):
        raise SettingsError("settings: schemas: wanted them as PipelineWise has them: tables with transformations") from None
    return found
