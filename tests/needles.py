"""Streams with a needle in them: a text that stands once, where a rule covers it or nobody has named it.

A stream is made of places. Each knows its schema, values that fit it, and the same values with the needle in them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from target_meltano.samples import INT, STR, record, schema, state

NEEDLE = "Zq7needle"
KEY = "v1:a secret of enough characters"
METHODS = ("hash", "drop", "nullify", "mask", "redact", "keep-first:1")
NAMES = ("a", "b", "Some Name", "é", "x.y")


@dataclass
class Place:
    """A place in a record. *method* is of its rule; *members* and *items* are what its SCHEMA names in it."""

    kind: str  # leaf, open, object, array
    method: str | None = None
    members: dict[str, Place] = field(default_factory=dict)
    items: Place | None = None
    takes_text: bool = False
    takes_list: bool = False  # an object may be several of it
    way: str = "plain"  # how the schema is written

    @property
    def is_hidden(self) -> bool:
        """Tell whether a value that does not fit may stand nowhere in it."""
        return self.kind in ("object", "array") and (self.kind == "object" or (self.items is not None and self.items.has_names))

    @property
    def has_names(self) -> bool:
        return self.method is not None or self.kind == "object" or (self.items is not None and self.items.has_names)

    def schema(self, definitions: dict[str, Any]) -> Any:
        types = {"leaf": "string", "open": "object", "object": "object", "array": "array"}[self.kind]
        found: dict[str, Any] = {"type": [types, "null", *["string"] * self.takes_text, *["array"] * self.takes_list]}
        if self.kind == "object":
            found["properties"] = {name: child.schema(definitions) for name, child in self.members.items()}
        if self.items:
            found["items"] = self.items.schema(definitions)
        if self.way == "ref":
            name = f"d{len(definitions)}"
            definitions[name] = found
            return {"$ref": f"#/definitions/{name}"}
        if self.way in ("anyOf", "oneOf"):
            return {self.way: [{"type": "null"}, found]}
        return {"allOf": [found]} if self.way == "allOf" else found

    def value(self) -> Any:
        if self.kind == "leaf":
            return "fits"
        if self.kind == "open":
            return {"any": [1, {"thing": "fits"}]}
        if self.kind == "object":
            return {name: child.value() for name, child in self.members.items()}
        return [self.items.value()] * 2 if self.items else ["fits"]

    def rules(self, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
        if self.method:
            yield path, self.method
            return
        for name, child in self.members.items():
            yield from child.rules((*path, name))
        if self.items:
            yield from self.items.rules((*path, "[]"))

    def spoilt(self) -> Iterator[Any]:
        """Yield values with the needle where it must not be kept."""
        if self.method:
            yield from (NEEDLE, f"x {NEEDLE} y", [NEEDLE], {NEEDLE: 1}, {"k": [{"k": NEEDLE}]}, json.dumps({"k": NEEDLE}))
            return
        good = self.value()
        if self.kind == "object":
            more = [{**good, "other": NEEDLE}, {**good, NEEDLE: 1}, {"other": {"k": [NEEDLE]}, **good}, {**good, "other": json.dumps([NEEDLE])}]
            yield from more
            yield from ([more[0]], [[more[0]]], [good, more[1]])
            for name, child in self.members.items():
                for bad in child.spoilt():
                    yield {**good, name: bad}
        if self.items:
            for bad in self.items.spoilt():
                yield from ([bad], [self.items.value(), bad], [None, bad])
        if not self.is_hidden:
            return
        named = {"other": NEEDLE} if self.kind == "object" else [{"other": NEEDLE}]
        texts = [json.dumps(named), f" {json.dumps(named)} ", json.dumps(json.dumps(named)), json.dumps(named)[:-1], f"\ufeff{json.dumps(named)}", str(named)]
        yield from texts
        yield from ([json.dumps(named)], [texts[2]])
        if not self.takes_text:
            yield NEEDLE
        if not (self.items or self).takes_text:
            yield [NEEDLE]
        if self.kind == "array":
            yield from (named[0], {"k": NEEDLE}, {NEEDLE: named})


def place(chance: Random, depth: int = 3) -> Place:
    way = chance.choice(["plain", "plain", "ref", "anyOf", "oneOf", "allOf"])
    kind = chance.choice(["leaf", "open", "object", "object", "array"] if depth else ["leaf", "open"])
    takes_text = chance.random() < 0.3
    if kind == "leaf":
        return Place(kind, chance.choice([None, None, *METHODS]), way=way)
    method = chance.choice(["drop", "nullify", "redact"]) if chance.random() < 0.1 else None
    if kind == "object":
        inside = {name: place(chance, depth - 1) for name in chance.sample(NAMES, chance.randint(1, 3))}
        return Place(kind, method, inside, None, takes_text, chance.random() < 0.3, way)
    items = place(chance, depth - 1) if kind == "array" and chance.random() < 0.9 else None
    if items and items.method == "drop":
        items.method = "redact"
    return Place(kind, method, {}, items, takes_text, way=way)


WORDS: list[dict[str, Any]] = [
    *({word: NEEDLE} for word in ("title", "description", "default", "const", "format", "type", "$schema", "$id", "$comment", "pattern")),
    *({word: NEEDLE} for word in ("contentEncoding", "contentMediaType", "x-note", "minimum", "maxLength", "multipleOf", "additionalProperties")),
    *({word: NEEDLE} for word in ("required", "enum", "properties", "items", "anyOf", "allOf", "oneOf", "definitions", "$defs", "precision")),
    *({word: [NEEDLE]} for word in ("examples", "enum", "required", "type", "items", "anyOf", "oneOf", "allOf", "properties", "prefixItems")),
    *({word: {NEEDLE: {}}} for word in ("patternProperties", "definitions", "$defs", "dependencies", "dependentSchemas", "x-map", "required")),
    *({word: {"properties": {NEEDLE: {}}}} for word in ("if", "then", "else", "not", "additionalProperties", "contains", "propertyNames")),
    *({word: {"const": NEEDLE}} for word in ("not", "if", "items", "additionalItems", "contains", "propertyNames", "additionalProperties")),
    *({word: [{"enum": [NEEDLE]}, {}]} for word in ("anyOf", "oneOf", "allOf", "prefixItems", "items")),
    *({word: [{"required": [NEEDLE]}]} for word in ("anyOf", "allOf")),
    {"type": ["string", NEEDLE]},
    {"enum": [{"properties": {NEEDLE: 1}, "required": [NEEDLE]}]},
    {"const": {NEEDLE: NEEDLE}},
    {"$ref": NEEDLE},
    {"$ref": f"#/{NEEDLE}"},
    {"$ref": f"#/definitions/{NEEDLE}", "definitions": {NEEDLE: {"type": "string"}}},
    {"$ref": f"https://x.org/{NEEDLE}"},
    {NEEDLE: 1},
    {"exclusiveMinimum": NEEDLE, "maximum": [NEEDLE]},
    {"dependentRequired": {"id": [NEEDLE]}},
    {"minLength": -5, "maxItems": NEEDLE},
]


def _schemas(found: Any) -> Iterator[dict[str, Any]]:
    """Yield a schema and all that are in it."""
    if isinstance(found, dict):
        yield found
        for word in ("properties", "definitions"):
            for child in found.get(word, {}).values():
                yield from _schemas(child)
        yield from _schemas(found.get("items"))
        for word in ("anyOf", "oneOf", "allOf"):
            for child in found.get(word, []):
                yield from _schemas(child)


@dataclass
class Case:
    """Rules, and messages with a needle: dicts, or lines of text. *where* it is, for who reads a failure."""

    rules: list[dict[str, Any]]
    messages: list[Any]
    where: str
    is_in_records: bool = False  # in nothing but records of the stream


def case_of(seed: int) -> Case:
    chance = Random(seed)
    members = {name: place(chance) for name in chance.sample([*NAMES, "c", "d"], chance.randint(0, 4))}
    members |= {"email": Place("leaf", chance.choice(METHODS))}
    root = Place("object", None, members)
    found = list(root.rules(()))
    rules = [{"stream": "users", "columns": [list(path)], "method": method} for path, method in found]
    definitions: dict[str, Any] = {}
    described = {"type": "object", "properties": {"id": dict(INT), **root.schema(definitions)["properties"]}, "definitions": definitions}
    if chance.random() < 0.5:
        described["additionalProperties"] = True
    users = {"type": "SCHEMA", "stream": "users", "key_properties": ["id"], "schema": described}
    good = {"id": 1, **root.value()}
    where = chance.choice(["value", "value", "value", "value", "word", "word", "word", "member", "member", "line", "line", "before", "log", "state"])
    messages: list[Any] = [users, record("users", **good)]
    later = [record("users", **{**good, "id": 7}), {"type": "ACTIVATE_VERSION", "stream": "users", "version": 5}, state({"users": 5})]
    if where == "value":
        bad = [one for one in root.spoilt() if isinstance(one, dict)]
        chosen = {"id": chance.choice([2, 2, 2, "x", None, 10**30]), **chance.choice(bad)}
        if chance.random() < 0.1:
            chosen["email"] = ["no text"]  # so that the record is invalid for another reason, too
        messages += [record("users", **chosen)]
        return Case(rules, [*messages, *later], f"{where} {chosen}", is_in_records=True)
    if where == "word":
        all_ = list(_schemas(described))
        at, word = chance.choice(all_), chance.choice(WORDS)
        for name, value in word.items():
            at[name] = {**at[name], **value} if name in ("definitions",) and isinstance(value, dict) and isinstance(at.get(name), dict) else value
        return Case(rules, [*messages, record("users", **{**good, "id": "x"}), *later], f"{where} {word}")
    if where == "before":
        return Case(rules, [record("users", **{**good, "email": NEEDLE}), *messages, *later], where)
    if where == "log":
        name = chance.choice(["_sdc_deleted_at", "_sdc_lsn", "_sdc_extracted_at", "_sdc_batched_at", "_sdc_sequence", "_sdc_table_version"])
        value = chance.choice([NEEDLE, [NEEDLE], {NEEDLE: 1}, f"2024-01-01 {NEEDLE}", json.dumps({"k": NEEDLE})])
        return Case(rules, [*messages, record("users", **good, **{name: value}), *later], f"{name} {value}")
    spoil = {
        "member": [
            *({**record("users", **good), name: value} for name in ("note", "version", "time_extracted", "masked") for value in (NEEDLE, [NEEDLE], {NEEDLE: 1})),
            *({**users, name: NEEDLE} for name in ("note", "bookmark_properties", "key_properties", "masked", "schema")),
            *({**users, name: [{"k": NEEDLE}]} for name in ("bookmark_properties", "key_properties", "schema")),
            {**users, "bookmark_properties": [NEEDLE]},
            *({"type": "ACTIVATE_VERSION", "stream": "users", "version": 1, name: NEEDLE} for name in ("version", "note", "stream")),
            *({"type": type_, "stream": "users", "note": NEEDLE} for type_ in ("STATE", "LOG", "BATCH", "RECORD", "SCHEMA", NEEDLE)),
            {"type": "STATE", "value": 1, "note": NEEDLE},
            {"type": "BATCH", "stream": "users", "encoding": {"format": NEEDLE}, "manifest": []},
            {"type": "BATCH", "stream": "users", "encoding": {"format": "jsonl", "compression": NEEDLE, "k": NEEDLE}, "manifest": []},
            {"type": "BATCH", "stream": "users", "encoding": NEEDLE, "manifest": {NEEDLE: 1}},
            {"type": "BATCH", "stream": "users", "encoding": {"format": "jsonl"}, "manifest": [NEEDLE], "note": NEEDLE},
            {"type": "BATCH", "stream": NEEDLE, "encoding": {"format": "jsonl"}, "manifest": []},
            record(NEEDLE, id=1),
        ],
        "line": [
            NEEDLE,
            json.dumps(NEEDLE),
            json.dumps([NEEDLE]),
            json.dumps({"type": NEEDLE}),
            json.dumps({NEEDLE: 1}),
            json.dumps(record("users", id=2, email=NEEDLE))[:-3],
            json.dumps(record("users", id=2, email=NEEDLE)).replace("RECORD", "record"),
            json.dumps(record("users", id=2, email=NEEDLE)).replace("users", "\\u0075sers"),
            json.dumps(record("users", id=2, email=NEEDLE)).replace('"email"', '"\\u0065mail"'),
            f'{{"type": "RECORD", "stream": "users", "record": {{"id": 2, "email": "{NEEDLE}", "email": 1}}}}',
            f'{{"type": "RECORD", "stream": "users", "record": {{"id": NaN, "other": "{NEEDLE}"}}}}',
            f'{{"type": "RECORD", "stream": "users", "record": {{"id": 3, "other": "{NEEDLE}\\u0000\\ud800"}}}}',
            f'{{"type": "RECORD", "stream": "users", "record": ["{NEEDLE}"], "record": {{"id": 2}}}}',
            f'{{"type": "RECORD", "stream": "users", "record": "{NEEDLE}"}}',
            f'\ufeff{{"type": "RECORD", "stream": "users", "record": {{"id": 3, "email": "{NEEDLE}"}}}}',
        ],
        "state": [
            state({"bookmarks": {"users": {"email": NEEDLE}}}),
            state({"bookmarks": {"users": {"Email": NEEDLE}}}),
            state({"users": {"replication_key": "email", "replication_key_value": NEEDLE}}),
            state({"users": json.dumps({"email": NEEDLE})}),
            *(state({"bookmarks": {"users": _nested(path, NEEDLE)}}) for path, _ in found if "[]" not in path),
        ],
    }[where]
    chosen = chance.choice(spoil)
    return Case(rules, [*messages, chosen, *later], f"{where} {chosen}")


def _nested(path: tuple[str, ...], value: Any) -> Any:
    return {path[0]: _nested(path[1:], value) if path[1:] else value}


def pii(case: Case) -> dict[str, Any]:
    return {"key": KEY, "rules": case.rules}


ORDERS = [schema("orders", id=INT, note=STR), record("orders", id=1, note="fits")]


def assert_hidden(text: str, where: str) -> None:
    lower = text.lower()
    for form in (NEEDLE.lower(), NEEDLE.encode().hex(), "wnE3bmVlZGxl".lower()):
        at = lower.find(form)
        assert at < 0, f"{where}\n… {text[max(0, at - 300) : at + 80]}"
