"""A YAML file as plain values, and the line on which each of them stands.

Scalars are read as YAML 1.2 has it, as editors show them: `no` and `2026-01-31` are text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .errors import ProjectError

Key = tuple[str | int, ...]  # the way to a value: ("taps", "shop", "select", 0)


@dataclass(frozen=True)
class Document:
    """A file's *value*, and the line of each key and item in it, counted from 1."""

    path: Path
    value: Any
    lines: Mapping[Key, int]

    def fault(self, at: Key, words: str) -> str:
        """Return *words* with file, line and key in front; a key that is absent is at its parent's line."""
        line = next(self.lines[at[:size]] for size in range(len(at), -1, -1) if at[:size] in self.lines)
        where = ".".join(map(str, at))
        return f"{self.path}:{line}: {where + ': ' if where else ''}{words}"


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own name)


for _tag, _form, _starts in (  # the starts are the first characters that a value can have, "" for no value
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?[0-9]+", [*"-+0123456789"]),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", [*"-+.0123456789"]),
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_form})\Z"), _starts)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))
_Loader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: float(node.value))


class _Tagged(_Loader):
    """Reads nothing of a value with a tag of others, like PipelineWise's !vault."""


_Tagged.add_multi_constructor("!", lambda loader, tag, node: None)


def read(path: Path, *, of_others: bool = False) -> Document:
    """Return the one document in the file *path*; one *of_others* may have their tags.

    Raises:
        ProjectError: the file cannot be read, is no YAML, or has a key twice.
    """
    try:
        text = path.read_text("utf-8")
        loader = (_Tagged if of_others else _Loader)(text)
        node = loader.get_single_node()
    except OSError as error:
        raise ProjectError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ProjectError(f"{path}: is not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ProjectError(f"{path}:{line}: {error.problem or 'is no YAML'}") from None
    except yaml.YAMLError as error:
        raise ProjectError(f"{path}: is no YAML: {error}") from None
    lines: dict[Key, int] = {(): 1}
    faults: list[str] = []
    value = _value(loader, node, (), lines, faults, ()) if node else {}
    if faults:
        raise ProjectError("\n".join(f"{path}:{fault}" for fault in faults))
    return Document(path, value, lines)


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


def _value(
    loader: _Loader, node: yaml.Node, at: Key, lines: dict[Key, int], faults: list[str], above: tuple[yaml.Node, ...]
) -> Any:
    line = node.start_mark.line + 1
    if node in above:
        faults.append(f"{line}: an anchor stands inside itself")
        return None
    above = (*above, node)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for name, _ in node.value:
            if name.value in seen:
                faults.append(f"{name.start_mark.line + 1}: {'.'.join(map(str, (*at, name.value)))} is there twice")
            seen.add(name.value)
        loader.flatten_mapping(node)
        found = {}
        for name, child in node.value:
            key = str(name.value)
            way = (*at, key)
            lines[way] = name.start_mark.line + 1
            found[key] = _value(loader, child, way, lines, faults, above)
        return found
    if isinstance(node, yaml.SequenceNode):
        for number, child in enumerate(node.value):
            item: Key = (*at, number)
            lines[item] = child.start_mark.line + 1
        return [_value(loader, child, (*at, number), lines, faults, above) for number, child in enumerate(node.value)]
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError) as error:
        faults.append(f"{line}: {getattr(error, 'problem', None) or error}")
        return None
