"""A YAML file as plain values, and the line on which each of them stands.

Scalars are read as YAML 1.2 has it, as editors show them: `no` and `2026-01-31` are text. What JSON does not have
is a fault, as is what would take for ever to read: every file of a project is read here, whatever is in it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .errors import ProjectError

Key = tuple[str | int, ...]  # the way to a value: ("taps", "shop", "select", 0)
MOST_BYTES = 1 << 19
MOST_VALUES = 30_000  # where an anchor is used, all that is in it counts again
MOST_LEVELS = 100
MOST_DIGITS = 300  # of a number
MOST_FAULTS = 20  # that are told
LONGEST_KEY = 80  # characters that are shown of it
_TAG = "tag:yaml.org,2002:"
_NAMED = re.compile(r"found (?:undefined alias|duplicate anchor|undefined tag handle)")  # the name behind it may be a password that begins so


@dataclass(frozen=True)
class Document:
    """A file's *value*, and the line of each key and item in it, counted from 1."""

    path: Path
    value: Any
    lines: Mapping[Key, int]

    def line(self, at: Key) -> int:
        """Return the line of a key; of one that is absent its parent's."""
        return next(self.lines[at[:size]] for size in range(len(at), -1, -1) if at[:size] in self.lines)

    def fault(self, at: Key, words: str) -> str:
        """Return *words* with file, line and key in front; a key that is absent is at its parent's line."""
        where = _shown(at)
        return f"{self.path}:{self.line(at)}: {where + ': ' if where else ''}{words}"


class _Loader(yaml.SafeLoader):
    """Composes nodes, to which `_Reading` gives their values."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own name)
    _levels = _nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._levels, self._nodes = self._levels + 1, self._nodes + 1
        if self._levels > MOST_LEVELS:
            raise yaml.MarkedYAMLError(problem=f"this stands in {MOST_LEVELS} lists or keys; wanted fewer", problem_mark=mark)
        if self._nodes > MOST_VALUES:
            raise yaml.MarkedYAMLError(problem=_TOO_MANY, problem_mark=mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self._levels -= 1


_TOO_MANY = f"there are more than {MOST_VALUES:,} values up to here, those of anchors counted where they are used; make several projects of it"
for _name, _form, _starts in (  # the starts are the first characters that a value can have, "" for no value
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?[0-9]+", [*"-+0123456789"]),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", [*"-+.0123456789"]),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", [*"-+."]),
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(rf"(?:{_form})\Z"), _starts)


def read(path: Path, *, of_others: bool = False, last_counts: bool = False) -> Document:
    """Return the one document in the file *path*; of one *of_others* nothing that has a tag of theirs, like PipelineWise's !vault.

    With *last_counts* a key may be there twice, as in dbt's files.

    Raises:
        ProjectError: the file cannot be read, is no YAML, has a key twice, or what no JSON has.
    """
    text = _text(path)
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ProjectError(f"{path}:{mark.line + 1 if mark else 1}: {_words(error)}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ProjectError(f"{path}:{line}: the character U+{ord(text[error.position]):04X} cannot stand in YAML; take it away") from None
    except (ValueError, OverflowError):
        assert loader
        raise ProjectError(f"{path}:{loader.line + 1}: is no YAML; look for an escape that is no character, as \\U00110000") from None
    reading = _Reading(of_others, last_counts)
    value = reading.value(node, (), ()) if node else {}
    if reading.faults:
        raise ProjectError("\n".join(f"{path}:{fault}" for fault in reading.faults))
    return Document(path, value, reading.lines)


def from_json(path: Path) -> Document:
    """Return what a file of JSON has; all of it is said to be on the first line.

    Raises:
        ProjectError: the file cannot be read, is no JSON, or has a key twice.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            raise ValueError(f"{next(name for name in names if names.count(name) > 1)} is there twice")
        return found

    try:
        return Document(path, json.loads(path.read_text("utf-8"), object_pairs_hook=once), {(): 1})
    except OSError as error:
        raise ProjectError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ProjectError(f"{path}: {error}") from None


def _text(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            found = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ProjectError(f"{path}: {error.strerror}") from None
    if len(found) > MOST_BYTES:
        raise ProjectError(f"{path}:1: the file has more than {MOST_BYTES:,} bytes; make several projects of it, or put data elsewhere")
    try:
        return found.decode("utf-8")
    except UnicodeDecodeError as error:
        line = found.count(b"\n", 0, error.start) + 1
        raise ProjectError(f"{path}:{line}: is not UTF-8 text; save it as UTF-8") from None


def _words(error: yaml.MarkedYAMLError) -> str:
    """Return what PyYAML says on one line."""
    problem = error.problem or "is no YAML"
    if named := _NAMED.match(problem) or _NAMED.match(error.context or ""):
        return f"{named[0]}; a text that begins with *, & or ! stands in quotes"
    is_half = error.context and problem.startswith(("but ", "second occurrence"))
    return " ".join(f"{error.context}, {problem}".split() if is_half else problem.split())


class _Full(Exception):
    """There are too many values, or too many faults to tell."""


class _Reading:
    """Nodes as values; what is wrong with them is gathered, and the line of each is noted."""

    def __init__(self, of_others: bool, last_counts: bool) -> None:
        self.lines: dict[Key, int] = {(): 1}
        self.faults: list[str] = []
        self._count, self._of_others, self._last_counts = 0, of_others, last_counts

    def value(self, node: yaml.Node, at: Key, above: tuple[yaml.Node, ...]) -> Any:
        """Return the value of *node*, which stands at *at* and in the nodes *above*."""
        try:
            return self._value(node, at, above)
        except _Full:
            return None

    def _value(self, node: yaml.Node, at: Key, above: tuple[yaml.Node, ...]) -> Any:
        self._count += 1
        if self._count > MOST_VALUES:
            self._fault(node, _TOO_MANY)
            raise _Full
        if node in above:
            return self._fault(node, "an anchor stands inside itself")
        if len(above) >= MOST_LEVELS:
            return self._fault(node, f"this stands in {MOST_LEVELS} lists or keys, anchors included; wanted fewer")
        above = (*above, node)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, at, above)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            self.lines.update({(*at, number): _line(child) for number, child in enumerate(node.value)})
            return [self._value(child, (*at, number), above) for number, child in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag.removeprefix(_TAG) in _SCALARS:
            try:
                return _SCALARS[node.tag.removeprefix(_TAG)](node.value)
            except ValueError as error:
                return self._fault(node, f"{_shown(at)}: {error}" if at else str(error))
        if self._of_others and not node.tag.startswith(_TAG):
            return None
        # The tag is not told: it may be a password that begins with !, without quotes.
        return self._fault(node, f"{_shown(at) or 'the file'}: a tag, as !x, is not for here; wanted a text, in quotes if it begins with !, a number, true, false, a list, or keys with values")

    def _mapping(self, node: yaml.MappingNode, at: Key, above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, child in node.value:
            if name.tag == f"{_TAG}merge":  # first: what stands here itself counts
                found |= self._merged(child, at, above)
        seen: set[str] = set()
        for name, child in node.value:
            if not isinstance(name, yaml.ScalarNode) or name.tag.removeprefix(_TAG) not in _SCALARS:
                self._fault(name, f"{_shown(at) or 'the file'} has a key that is no text; put it in quotes, or write a list as lines with -")
                continue
            try:
                key = _as_text(name.value)
            except ValueError as error:
                self._fault(name, f"{_shown((*at, name.value))}: {error}")
                continue
            way = (*at, key)
            if key in seen and not self._last_counts:
                self._fault(name, f"{_shown(way)} is there twice")
            seen.add(key)
            if name.tag != f"{_TAG}merge":
                self.lines[way] = _line(name)
                found[key] = self._value(child, way, above)
        return found

    def _merged(self, node: yaml.Node, at: Key, above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        """Return what << brings: keys of an anchor, or of a list of them, of which the first that has a key counts."""
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not all(isinstance(one, yaml.MappingNode) for one in parts):
            self._fault(node, "<<: wanted an anchor with keys, or a list of such; in quotes it is a key")
            return {}
        found: dict[str, Any] = {}
        for one in reversed(parts):
            found |= self._value(one, at, above) or {}
        return found

    def _fault(self, node: yaml.Node, words: str) -> None:
        self.faults.append(f"{_line(node)}: {words}")
        if len(self.faults) == MOST_FAULTS:
            raise _Full


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _shown(at: Key) -> str:
    """Return the way to a value on one line."""
    return ".".join(_short(str(part)) for part in at)


def _short(text: str) -> str:
    plain = "".join(char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in text[: LONGEST_KEY + 1])
    return plain if len(plain) <= LONGEST_KEY else f"{plain[:LONGEST_KEY]}…"


def _as_text(value: str) -> str:
    """Return a text; of JSON's pairs of surrogates, which YAML reads one by one, the character that they are.

    Raises:
        ValueError: no file, variable or JSON takes it.
    """
    if "\0" in value:
        raise ValueError("a text with a NUL; take it away")
    if not any("\ud800" <= char <= "\udfff" for char in value):
        return value
    try:
        return value.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise ValueError("a text with half of a surrogate pair, as \\ud800; write the character itself") from None


def _as_number(kind: Callable[[str], float], what: str) -> Callable[[str], float]:
    def number(value: str) -> float:
        if len(value) > MOST_DIGITS:
            raise ValueError(f"a number of {len(value):,} characters, wanted {MOST_DIGITS} at most; in quotes it is a text")
        try:
            found = kind(value.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            raise ValueError(f"wanted {what}") from None
        if isinstance(found, float) and not math.isfinite(found):
            raise ValueError("a number that is too large, infinite, or none, which JSON does not have; in quotes it is a text")
        return found

    return number


def _as_bool(value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise ValueError("wanted true or false")
    return value.lower() == "true"


_SCALARS: Mapping[str, Callable[[str], Any]] = {
    "str": _as_text,
    "int": _as_number(int, "a whole number"),
    "float": _as_number(float, "a number"),
    "bool": _as_bool,
    "null": lambda value: None,
    "merge": _as_text,  # a value << is a text
}
