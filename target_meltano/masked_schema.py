"""A SCHEMA as it is after masking: the types that masked values have, and nothing that shows one.

Rules are followed through properties, items, anyOf, oneOf, allOf and local $refs. What lies on the way is copied, so
that a definition that two properties share stays as it is for the other one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from .logbased import KINDS
from .pii import Node, Path, Rule, path_text
from .values import Number, json_type

_COMBINING = ("anyOf", "oneOf", "allOf")
_CONDITIONS = ("if", "then", "else")
_VALUES = ("default", "examples", "example", "enum", "const")  # keywords that show values
_SCHEMAS = {*_COMBINING, *_CONDITIONS, "items", "prefixItems", "additionalItems"}
_MAPS = {"properties", "definitions", "$defs"}
_PLAIN = {
    *("$schema", "$ref", "type", "required", "additionalProperties", "format", "contentEncoding", "precision", "scale"),
    *("multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength"),
}
_OF_ITEMS = ("contains", "uniqueItems", "minContains", "maxContains")  # masked items may be equal
MAX_STEPS = 50_000


@dataclass
class Masked:
    """A schema after masking. *found*: rules whose column it names; *open*: those for what it does not describe."""

    schema: Any
    found: set[Rule] = field(default_factory=set)
    open: set[Rule] = field(default_factory=set)


def masked(schema: Any, tree: Node) -> Masked:
    """Return what *schema*, as `values.parse` gives it, becomes under the rules of *tree*.

    Raises:
        ValueError: a rule does not go with the type that a column has.
    """
    result = Masked(schema)
    try:
        result.schema = plain(_Masker(schema, result).inside(schema, tree))
    except RecursionError:
        raise ValueError("the schema is nested too deeply, or a $ref leads in a circle") from None
    return result


def plain(schema: Any, shared: bool = False) -> Any:
    """Return what of *schema* says which columns there are, of which types; no other word, which may show a value.

    *shared*: it may describe a masked column, too, so that values that it lists become their types.
    """
    if isinstance(schema, list):
        return [plain(part, shared) for part in schema]
    if not isinstance(schema, dict):
        return schema if isinstance(schema, bool) else {}
    found = {word: value for word, value in schema.items() if word in _PLAIN and not isinstance(value, dict)}
    for word in _SCHEMAS & schema.keys():
        found[word] = plain(schema[word], shared)
    for word in _MAPS & schema.keys():
        inside = shared or word != "properties"
        found[word] = {name: plain(child, inside) for name, child in _dict(schema[word]).items()}
    listed = [value for word in ("enum", "const") if word in schema for value in (schema[word] if word == "enum" else [schema[word]])]
    if listed and not shared:
        found |= {word: schema[word] for word in ("enum", "const") if word in schema}
    elif listed and "type" not in found:
        found["type"] = list(dict.fromkeys(json_type(value) for value in listed))
    return found


def paths(schema: Any) -> list[str]:
    """Return the paths of a schema's properties as rules would write them, to suggest one."""
    found: list[str] = []
    walker = _Masker(schema, Masked(schema))

    def walk(at: Any, path: Path) -> None:
        if len(path) > 5 or len(found) > 1000:
            return
        for part in walker.alternatives(at):
            for name, child in _dict(part.get("properties")).items():
                found.append(path_text((*path, name)))
                walk(child, (*path, name))
            if isinstance(part.get("items"), dict):
                walk(part["items"], (*path, None))

    walk(schema, ())
    return found


@dataclass
class _Masker:
    root: Any
    result: Masked
    steps: int = 0

    def inside(self, schema: Any, node: Node) -> Any:
        """Return *schema* with the rules for what is in it applied."""
        self._count()
        if not isinstance(schema, dict):
            self._leave_open(node)
            return schema
        schema = self._without_ref({word: value for word, value in schema.items() if word not in _VALUES})
        is_whole = not any(word in schema for word in _COMBINING)
        for word in _COMBINING:
            if isinstance(schema.get(word), list):
                schema[word] = [self.inside(part, node) for part in schema[word]]
        for word in _CONDITIONS:
            if word in schema:
                before = set(self.result.open)
                schema[word] = self.inside(schema[word], node)
                self.result.open = before  # a condition does not say what is open
        types = _types(schema)
        if node.members:
            self._members(schema, node, types if is_whole else set())
        if node.items:
            self._items(schema, node.items, types if is_whole else set())
        return schema

    def _members(self, schema: dict[str, Any], node: Node, types: set[str]) -> None:
        properties = dict(_dict(schema.get("properties")))
        if types & {"string", "any"} or (not properties and "object" in types):
            self._leave_open(Node(node.path, members=node.members))
        for name, child in node.members.items():
            if name in properties:
                if child.drops:
                    del properties[name]
                    self._found(child)
                else:
                    properties[name] = self._value(properties[name], child)
            if child.drops and isinstance(schema.get("required"), list):
                schema["required"] = [other for other in schema["required"] if other != name]
        if "properties" in schema:
            schema["properties"] = properties

    def _items(self, schema: dict[str, Any], node: Node, types: set[str]) -> None:
        for word in _OF_ITEMS:
            schema.pop(word, None)
        is_open = bool(types & {"array", "string", "any"})
        for word in ("items", "prefixItems", "additionalItems"):
            if isinstance(schema.get(word), list):
                schema[word] = [self._value(part, node) for part in schema[word]]
            elif isinstance(schema.get(word), dict):
                schema[word] = self._value(schema[word], node)
            else:
                continue
            is_open = False
        if is_open or "string" in types:
            self._leave_open(node)

    def _value(self, schema: Any, node: Node) -> Any:
        if not node.rule:
            return self.inside(schema, node)
        self._found(node)
        return self._masked_value(schema, node.rule)

    def _masked_value(self, schema: Any, rule: Rule) -> Any:
        """Return the schema of the values that the rule's method makes of those of *schema*."""
        method = rule.method
        types = {name for part in self.alternatives(schema) for name in _types(part)} - {"null"}
        if types and types <= {"array", "object"} and not method.takes_all:
            what = " or ".join(sorted(types))
            raise ValueError(f"{rule} is an {what}, which {method.name} does not take; name what is in it, or drop, nullify or redact it")
        if method.name == "truncate-date" and types and not types & {"string", "any"}:
            raise ValueError(f"{rule} is {' or '.join(sorted(types))}, and truncate-date wants a string")
        if method.makes_text:
            return {"type": ["null", "string"]}
        if method.name == "nullify":
            return _nullable(schema)
        if "any" in types or not types:
            return {}
        if method.name == "truncate-date":
            formats = {part.get("format") for part in self.alternatives(schema) if "string" in _types(part)}
            kept = {"format": formats.pop()} if len(formats) == 1 and None not in formats else {}
            return {"type": ["null", *sorted(types)], **kept}
        return {"type": ["null", *sorted(types)]}

    def alternatives(self, schema: Any) -> Iterator[dict[str, Any]]:
        """Yield the parts of a schema that may describe a value: itself, and what it combines or refers to."""
        self._count()
        if not isinstance(schema, dict):
            return
        schema = self._without_ref(schema)
        parts = [part for word in _COMBINING if isinstance(schema.get(word), list) for part in schema[word]]
        if not parts or "type" in schema or "properties" in schema:
            yield schema
        for part in parts:
            yield from self.alternatives(part)

    def _count(self) -> None:
        """Stop at schemas that are small but explode, like references to two references each."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise ValueError("the schema has too many alternatives, or a $ref leads in a circle")

    def _without_ref(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return *schema* with what its $ref leads to in place of it."""
        while isinstance(schema.get("$ref"), str):
            self._count()
            others = {word: value for word, value in schema.items() if word != "$ref"}
            target = self._pointed_at(schema["$ref"])
            if others or not isinstance(target, dict):
                return {**others, "allOf": [*others.get("allOf", ()), target]}
            schema = {word: value for word, value in target.items() if word not in _VALUES}
        return schema

    def _pointed_at(self, reference: str) -> Any:
        found = self.root
        for part in unquote(reference).removeprefix("#").split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(part)] if isinstance(found, list) else found[part]
            except (KeyError, IndexError, ValueError, TypeError):
                raise ValueError(f"$ref {reference[:80]!r} leads nowhere in the schema") from None
        return found

    def _found(self, node: Node) -> None:
        if node.rule:
            self.result.found.add(node.rule)

    def _leave_open(self, node: Node) -> None:
        if node.rule:
            self.result.open.add(node.rule)
        for child in (*node.members.values(), *([node.items] if node.items else [])):
            self._leave_open(child)


def _nullable(schema: Any) -> Any:
    """Return *schema* for the same column where all values are null."""
    if not isinstance(schema, dict):
        return {}
    schema = {word: value for word, value in schema.items() if word not in _VALUES}
    types = schema.get("type")
    if isinstance(types, Number) or not isinstance(types, (str, list)):
        return {"anyOf": [{"type": "null"}, schema]} if schema else {}
    names = [types] if isinstance(types, str) else types
    return {**schema, "type": names if "null" in names else ["null", *names]}


def _types(schema: Mapping[str, Any]) -> set[str]:
    """Return the JSON types that a part of a schema names, "any" where it does not say."""
    found = schema.get("type")
    if isinstance(found, str):
        return {found}
    if isinstance(found, list):
        return {name for name in found if isinstance(name, str)}
    if "properties" in schema:
        return {"object"}
    return {"array"} if "items" in schema else {"any"}


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def named(record: Any, schema: Any, tree: Node) -> Any:
    """Return a masked *record* without what neither its *schema* nor a rule names: nobody has said what that is.

    What log-based taps add (`logbased.KINDS`) stays; it says when and where a record was.
    """
    walker = _Masker(schema, Masked(schema))

    def walk(value: Any, parts: list[Any], node: Node | None) -> Any:
        if isinstance(value, list):
            below = [part["items"] for part in parts if isinstance(part.get("items"), dict)]
            inner = [one for item in below for one in walker.alternatives(item)]
            return [walk(item, inner, node.items if node else None) for item in value]
        properties = [_dict(part.get("properties")) for part in parts]
        if not isinstance(value, dict) or not any(properties) or (node and node.rule):
            return value
        kept = {}
        for name, item in value.items():
            child = node.members.get(name) if node else None
            schemas = [its[name] for its in properties if name in its]
            if schemas or child:
                kept[name] = walk(item, [one for its in schemas for one in walker.alternatives(its)], child)
        return kept

    if not isinstance(record, dict):
        return record
    added = {name: value for name, value in record.items() if name in KINDS}
    return {**added, **walk(record, list(walker.alternatives(schema)), tree)}
