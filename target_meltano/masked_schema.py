"""A SCHEMA as it is after masking: the types that masked values have, and nothing that shows one.

Rules are followed through properties, items, anyOf, oneOf, allOf and local $refs. What lies on the way is copied, so
that a definition that two properties share stays as it is for the other one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .pii import Node, Path, Rule, path_text
from .plain_schema import COMBINING, Walker, members, plain, types
from .values import Number


class RuleFault(ValueError):
    """A rule does not go with the SCHEMA."""


@dataclass
class Masked:
    """A schema after masking. *found*: rules whose column it names; *open*: those for what it does not describe."""

    schema: Any
    found: set[Rule] = field(default_factory=set)
    open: set[Rule] = field(default_factory=set)


def masked(schema: Any, tree: Node) -> Masked:
    """Return what *schema*, as `values.parse` gives it, becomes under the rules of *tree*.

    Raises:
        RuleFault: a rule does not go with the type that a column has.
        ValueError: it is no schema, see `plain`.
    """
    result = Masked(schema)
    try:
        result.schema = plain(_Masker(schema, result).inside(schema, tree), schema)
    except RecursionError:
        raise ValueError("the schema is nested too deeply, or a $ref leads in a circle") from None
    return result


def paths(schema: Any) -> list[str]:
    """Return the paths of a schema's properties as rules would write them, to suggest one."""
    found: list[str] = []
    walker = Walker(schema)

    def walk(at: Any, path: Path) -> None:
        if len(path) > 5 or len(found) > 1000:
            return
        for part in walker.alternatives(at):
            for name, child in members(part).items():
                found.append(path_text((*path, name)))
                walk(child, (*path, name))
            if isinstance(part.get("items"), dict):
                walk(part["items"], (*path, None))

    walk(schema, ())
    return found


class _Masker(Walker):
    def __init__(self, root: Any, result: Masked):
        super().__init__(root)
        self.result = result

    def inside(self, schema: Any, node: Node) -> Any:
        """Return *schema* with the rules for what is in it applied."""
        self.count()
        if not isinstance(schema, dict):
            self._leave_open(node)
            return schema
        schema = dict(self.without_ref(schema))
        is_whole = not any(word in schema for word in COMBINING)
        for word in COMBINING:
            if isinstance(schema.get(word), list):
                schema[word] = [self.inside(part, node) for part in schema[word]]
        found = types(schema) if is_whole else set()
        if node.members:
            self._members(schema, node, found)
        if node.items:
            self._items(schema, node.items, found)
        return schema

    def _members(self, schema: dict[str, Any], node: Node, found: set[str]) -> None:
        properties = dict(members(schema))
        if found & {"string", "any"} or (not properties and "object" in found):
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

    def _items(self, schema: dict[str, Any], node: Node, found: set[str]) -> None:
        is_open = bool(found & {"array", "string", "any"})
        for word in ("items", "prefixItems", "additionalItems"):
            if isinstance(schema.get(word), list):
                schema[word] = [self._value(part, node) for part in schema[word]]
            elif isinstance(schema.get(word), dict):
                schema[word] = self._value(schema[word], node)
            else:
                continue
            is_open = False
        if is_open or "string" in found:
            self._leave_open(node)

    def _value(self, schema: Any, node: Node) -> Any:
        if not node.rule:
            return self.inside(schema, node)
        self._found(node)
        return self._masked_value(schema, node.rule)

    def _masked_value(self, schema: Any, rule: Rule) -> Any:
        """Return the schema of the values that the rule's method makes of those of *schema*."""
        method = rule.method
        found = {name for part in self.alternatives(schema) for name in types(part)} - {"null"}
        if found and found <= {"array", "object"} and not method.takes_all:
            what = " or ".join(sorted(found))
            raise RuleFault(f"{rule} is an {what}, which {method.name} does not take; name what is in it, or drop, nullify or redact it")
        if method.name == "truncate-date" and found and not found & {"string", "any"}:
            raise RuleFault(f"{rule} is {' or '.join(sorted(found))}, and truncate-date wants a string")
        if method.makes_text:
            return {"type": ["null", "string"]}
        if method.name == "nullify":
            return _nullable(schema)
        if "any" in found or not found:
            return {}
        if method.name == "truncate-date":
            formats = {part.get("format") for part in self.alternatives(schema) if "string" in types(part)}
            kept = {"format": formats.pop()} if len(formats) == 1 and None not in formats else {}
            return {"type": ["null", *sorted(found)], **kept}
        return {"type": ["null", *sorted(found)]}

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
    found = schema.get("type")
    if isinstance(found, Number) or not isinstance(found, (str, list)):
        return {"anyOf": [{"type": "null"}, schema]} if schema else {}
    names = [found] if isinstance(found, str) else found
    return {**schema, "type": names if "null" in names else ["null", *names]}
