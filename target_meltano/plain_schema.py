"""Of a SCHEMA what says which columns there are, of which types, and nothing that may show a value.

It is written anew: of each word only what has the form of such a word, a known type or format, a number, names of
properties. So it allows at least what the SCHEMA allowed. What definitions are called is nobody's business: they get numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from . import references
from .digits import NOT_FINITE, exact
from .errors import json_path
from .schema import MAX_STEPS, TYPES
from .values import Number, json_type

COMBINING = ("anyOf", "oneOf", "allOf")
_SAYING = ("type", "properties", "items", "prefixItems", "additionalItems", "enum", "const")  # something of the type
FORMATS = {
    *("date-time", "date", "time", "duration", "singer.decimal", "x-singer.decimal"),
    *("email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6", "uri", "uri-reference", "uri-template", "iri", "iri-reference"),
    *("uuid", "regex", "json-pointer", "relative-json-pointer", "int32", "int64", "float", "double", "byte", "binary", "password"),
}
ENCODINGS = {"base64", "base32", "base16", "7bit", "8bit", "binary", "quoted-printable"}


def plain(schema: Any, root: Any) -> dict[str, Any]:
    """Return what stays of *schema*, whose references lead into *root*.

    Raises:
        ValueError: with path and fault, where it is no schema; the fault shows nothing of it.
    """
    writer = _Writer(root)
    written = writer.schema(schema)
    definitions: list[Any] = []
    while len(definitions) < len(writer.references):
        reference = list(writer.references)[len(definitions)]
        definitions.append(writer.schema(pointed_at(root, reference)))
    if definitions:
        written["definitions"] = {str(number): one for number, one in enumerate(definitions, 1)}
    for one in writer.requiring:
        one["required"] = [name for name in one["required"] if name in writer.names]
        if not one["required"]:
            del one["required"]
    return written  # type: ignore[no-any-return]


def pointed_at(root: Any, reference: Any) -> Any:
    """Return the schema in *root* that a reference leads to.

    Raises:
        ValueError: there is none.
    """
    try:
        return references.pointed_at(root, reference)
    except LookupError as fault:
        raise ValueError(f"a $ref {fault.args[0]}") from None


def listed_types(schema: Mapping[str, Any]) -> list[str]:
    """Return the types of the values that a schema lists by `enum` or `const`."""
    enum = schema.get("enum")
    listed = [*(enum if isinstance(enum, list) else ()), *([schema["const"]] if "const" in schema else ())]
    return list(dict.fromkeys(json_type(value) for value in listed))


class Walker:
    """Follows references and alternatives in the schema *root*, but not without end: those to two references each explode."""

    def __init__(self, root: Any):
        self.root = root
        self.steps = 0

    def alternatives(self, schema: Any) -> Iterator[dict[str, Any]]:
        """Yield the parts of a schema that may describe a value: itself, and what it combines or refers to."""
        self.count()
        if not isinstance(schema, dict):
            return
        schema = self.without_ref(schema)
        parts = [part for word in COMBINING if isinstance(schema.get(word), list) for part in schema[word]]
        if not parts or any(word in schema for word in _SAYING):
            yield schema
        for part in parts:
            yield from self.alternatives(part)

    def without_ref(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return *schema* with what its $ref leads to in place of it."""
        while isinstance(schema.get("$ref"), str):
            self.count()
            others = {word: value for word, value in schema.items() if word != "$ref"}
            target = pointed_at(self.root, schema["$ref"])
            if others or not isinstance(target, dict):
                parts = others.get("allOf")
                return {**others, "allOf": [*(parts if isinstance(parts, list) else ()), target]}
            schema = target
        return schema

    def count(self) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise ValueError("the schema has too many alternatives, or a $ref leads in a circle")


def types(schema: Mapping[str, Any]) -> set[str]:
    """Return the JSON types that a part of a schema names, "any" where it does not say."""
    found = schema.get("type")
    if isinstance(found, (str, list)):
        return {name for name in TYPES | {"any"} if name == found or (isinstance(found, list) and name in found)}
    if "properties" in schema:
        return {"object"}
    return {"array"} if "items" in schema else set(listed_types(schema)) or {"any"}


def members(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schemas of the properties that a part of a schema names."""
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def items(schema: Mapping[str, Any]) -> list[Any]:
    """Return the schemas that a part of a schema has for the items of an array."""
    found = [schema[word] for word in ("items", "prefixItems", "additionalItems") if word in schema]
    return [one for its in found for one in (its if isinstance(its, list) else [its]) if isinstance(one, dict)]


class _Writer:
    """Writes schemas."""

    def __init__(self, root: Any):
        self.root = root
        self.references: dict[str, int] = {}  # with the numbers of what they lead to
        self.names: set[str] = set()  # of properties
        self.requiring: list[dict[str, Any]] = []  # what was written with names that may be of no property
        self.at: list[str] = []

    def schema(self, found: Any) -> Any:
        if isinstance(found, bool):
            return found
        if not isinstance(found, dict):
            raise self.fault("a schema is a JSON object")
        found = {word: value for word, value in found.items() if value is not None}
        written = {word: form(found[word]) for word, form in _FORMS.items() if word in found}
        written = {word: value for word, value in written.items() if value is not None}
        written |= _bounds(found)
        if types := self.types(found):
            written["type"] = types
        if isinstance(required := found.get("required"), list):
            written["required"] = list(dict.fromkeys(filter(_is_text, required)))
        if "$ref" in found:
            written["$ref"] = self.reference(found["$ref"])
        if "properties" in found:
            written["properties"] = self.properties(found["properties"])
        for word in ("items", "additionalItems", "prefixItems"):
            if word in found:
                written[word] = self.schemas(found[word]) if isinstance(found[word], list) else self.schema(found[word])
        written |= self.combined(found)
        if "required" in written:
            self.requiring.append(written)
        return written

    def combined(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """Return the alternatives. Without the values that tell them apart several of a oneOf may fit."""
        written = {word: self.schemas(found[word]) for word in COMBINING if word in found}
        one = written.pop("oneOf", None)
        if one is not None and "anyOf" in written:
            written["allOf"] = [*written.get("allOf", ()), {"anyOf": one}]
        elif one is not None:
            written["anyOf"] = one
        return written

    def schemas(self, found: Any) -> list[Any]:
        if not isinstance(found, list):
            raise self.fault("wanted a list of schemas")
        return [self.schema(one) for one in found]

    def properties(self, found: Any) -> dict[str, Any]:
        if not isinstance(found, dict):
            raise self.fault('"properties" is a JSON object')
        written = {}
        self.names |= found.keys()
        for name, one in found.items():
            self.at.append(name)
            written[name] = self.schema(one)
            self.at.pop()
        return written

    def types(self, found: Mapping[str, Any]) -> Any:
        if "type" not in found:
            return listed_types(found)
        names = found["type"] if isinstance(found["type"], list) else [found["type"]]
        if not names or not all(_is_text(name) and name in TYPES | {"any"} for name in names):
            raise self.fault(f'"type" is no JSON type, wanted one of {", ".join(sorted(TYPES))}')
        return list(dict.fromkeys(names)) if isinstance(found["type"], list) else found["type"]

    def reference(self, found: Any) -> str:
        pointed_at(self.root, found)
        return f"#/definitions/{self.references.setdefault(found, len(self.references) + 1)}"

    def fault(self, words: str) -> ValueError:
        return ValueError(f"{json_path(self.at)}: {words}" if self.at else words)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, Number)


def _one_of(known: set[str]) -> Callable[[Any], str | None]:
    return lambda value: value if _is_text(value) and value.lower() in known else None


def _count(value: Any) -> Number | None:
    return value if isinstance(value, Number) and re.fullmatch("[0-9]{1,18}", value) else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, Number) and value not in NOT_FINITE


def _step(value: Any) -> Number | None:
    return value if _is_number(value) and not value.startswith("-") and exact(value)[0] else None


def _bounds(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bounds of numbers. That one is left out is a boolean in draft 4, and a bound of its own in later ones."""
    written: dict[str, Any] = {}
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        names = {bound: exclusive if found.get(exclusive) is True else bound, exclusive: exclusive}
        written |= {name: found[word] for word, name in names.items() if _is_number(found.get(word))}
    return written


_FORMS: dict[str, Callable[[Any], Any]] = {
    "format": _one_of(FORMATS),
    "contentEncoding": _one_of(ENCODINGS),
    "additionalProperties": _flag,
    "multipleOf": _step,
    **dict.fromkeys(("precision", "scale", "minLength", "maxLength"), _count),
}
