"""What a SCHEMA says of the values at a path, read anew: as all that any of its parts says, without branches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from ..digits import places
from ..references import pointed_at
from ..values import json_type

_TYPE_WORDS = ("type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref")


class Described:
    """What a SCHEMA says of one value: *parts* are all its schemas that apply to it, in whatever way they are combined.

    *root* is the whole SCHEMA, parsed, for references. It says more than the writer makes of it, where parts
    exclude each other: then a value may pass here that is invalid, and none is refused that is valid.
    """

    def __init__(self, root: Any, parts: list[Any]):
        self.root = root
        self.parts = list(_all_parts(root, parts))

    @cached_property
    def types(self) -> frozenset[str]:
        """The JSON types that values may have, besides null; "any" where that is not said."""
        found: set[str] = set()
        for part in self.parts:
            if "type" in part:
                found.update([part["type"]] if isinstance(part["type"], str) else part["type"])
            elif part.get("enum") or "const" in part:
                found.update(map(json_type, part.get("enum") or [part["const"]]))
            elif not any(part.get(word) is not None for word in _TYPE_WORDS):
                found.add("any" if part is not _NOTHING else "null")
        if len(found) > 1 and "any" in found and not any(_has_alternatives(part) for part in self.parts):
            found.discard("any")  # beside what says it
        return frozenset(found - {"null"})

    @cached_property
    def names(self) -> Mapping[str, list[Any]]:
        """What the schemas say of each property that they name."""
        found: dict[str, list[Any]] = {}
        for part in self.parts:
            for name, schema in (part.get("properties") or {}).items():
                found.setdefault(name, []).append(schema)
        return found

    @cached_property
    def identity(self) -> frozenset[int]:
        """By which schemas it is described: the same again within itself is recursion."""
        return frozenset(map(id, self.parts))

    def child(self, name: str) -> Described:
        return Described(self.root, self.names[name])

    @property
    def allows_more(self) -> bool:
        """Whether it says that there may be members that it does not name."""
        for part in self.parts:
            patterns = part.get("patternProperties")
            if part.get("additionalProperties", False) not in (False, None):
                return True
            if isinstance(patterns, Mapping) and any(schema is not False for schema in patterns.values()):
                return True
        return False

    def words(self, word: str) -> set[str]:
        """Return the texts that the schemas have for a word."""
        return {part[word] for part in self.parts if isinstance(part.get(word), str)}

    @property
    def scale(self) -> int | None:
        """The most digits that a number has behind the point, where one of the schemas says so."""
        found = [places(str(part["multipleOf"])) for part in self.parts if part.get("multipleOf") is not None]
        found += [int(part["scale"]) for part in self.parts if str(part.get("scale")).isdigit()]
        return max(found, default=None)


_NOTHING: dict[str, Any] = {"enum": [None]}  # what a schema `false` allows: no value at all


def _has_alternatives(part: Mapping[str, Any]) -> bool:
    return bool(part.get("anyOf") or part.get("oneOf"))


def _all_parts(root: Any, parts: list[Any]) -> Iterator[Mapping[str, Any]]:
    waiting, seen = list(parts), set[int]()
    while waiting:
        part = waiting.pop()
        part = {} if part is True else _NOTHING if part is False else part
        if not isinstance(part, Mapping) or (id(part) in seen and part):
            continue
        seen.add(id(part))
        yield part
        for word in ("anyOf", "oneOf", "allOf"):
            waiting += part.get(word) or []
        if part.get("$ref") is not None:
            try:
                waiting.append(pointed_at(root, part["$ref"]))
            except LookupError:
                continue  # the SCHEMA is refused when it is loaded
