"""Records that fit schemas, of our own `mock` and of hypothesis-jsonschema, from a seed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from environments import environment
from packages import Stream

HYPOTHESIS = ("hypothesis==6.111.2", "hypothesis-jsonschema==0.23.1")  # it does not know later ones of hypothesis
POOL = 16  # values for each schema
EXTRA: Any = {"added_later": 1.50, "Added Later": {"a": [None, "ü", {"b": 1e-7}], "": {}}, "b.c": "x"}  # no schema names them

Records = Mapping[str, Sequence[Any]]  # by stream


def mocked(streams: Sequence[Stream], seed: int, most: int) -> Records:
    """Records of our own `mock`: 1 to *most* of each stream."""
    catalog = {"streams": [{**stream.message(), "tap_stream_id": stream.name} for stream in streams]}
    command = [sys.executable, "-c", "from target_meltano.elt import main; main()", "mock", "--catalog", "/dev/stdin", "--rows", str(most), "--seed", str(seed), "--no-faker"]
    done = subprocess.run(command, input=json.dumps(catalog), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[Any]] = {stream.name: [] for stream in streams}
    for line in done.stdout.splitlines():
        message = json.loads(line, parse_float=Decimal)
        if message["type"] == "RECORD":
            found[message["stream"]].append(message["record"])
    dice = random.Random(seed)
    return {name: its[: dice.randint(1, most)] for name, its in found.items()}


def made_by_hypothesis(streams: Sequence[Stream], seed: int, most: int) -> list[Records]:
    """Records of hypothesis-jsonschema for two runs: 1 to *most* of each stream, in the second with fields that no schema names.

    Its values are put together here: those of a large object take it minutes.
    """
    parts = {_text(part): part for stream in streams for part in _parts_of_object(stream.schema)}
    python = environment("hypothesis", *HYPOTHESIS) / "python"
    question = json.dumps({"seed": seed, "count": POOL, "schemas": list(parts.values())})
    done = subprocess.run([python, Path(__file__).with_name("invented.py")], input=question, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = _Made(dict(zip(parts, json.loads(done.stdout, parse_float=Decimal), strict=True)), random.Random(seed))
    return [{stream.name: [made.record(stream, most, extra) for _ in range(made.dice.randint(1, most))] for stream in streams} for extra in ({}, EXTRA)]


def _parts(schema: Any) -> Iterator[Any]:
    """Yield the schemas of which values are made as a whole."""
    if _is_object(schema):
        yield from _parts_of_object(schema)
    elif _is_array(schema):
        yield from _parts(schema["items"])
    else:
        yield schema


def _parts_of_object(schema: Any) -> Iterator[Any]:
    for part in schema["properties"].values():
        yield from _parts(part)
    if _is_open(schema):
        yield _others(schema)


def _is_object(schema: Any) -> bool:
    return bool(schema.get("properties")) and _types(schema) <= {"object", "null"} and not schema.keys() & {"anyOf", "oneOf", "allOf", "enum"}


def _is_array(schema: Any) -> bool:
    return isinstance(schema.get("items"), dict) and _types(schema) <= {"array", "null"} and not schema.keys() & {"anyOf", "oneOf", "allOf", "minItems"}


def _is_open(schema: Any) -> bool:
    return schema.get("additionalProperties") is not False or "patternProperties" in schema


def _others(schema: Any) -> Any:
    """Return the schema of what an object may have besides its named properties."""
    return {"type": "object", **{word: schema[word] for word in ("additionalProperties", "patternProperties") if word in schema}}


def _types(schema: Any) -> set[str]:
    types = schema.get("type", "object" if "properties" in schema else "array")
    return {types} if isinstance(types, str) else set(types)


def _text(schema: Any) -> str:
    return json.dumps(schema, sort_keys=True)


@dataclass
class _Made:
    """Values put together from *pools*, by the text of their schemas."""

    pools: Mapping[str, Sequence[Any]]
    dice: random.Random

    def record(self, stream: Stream, most: int, extra: Mapping[str, Any]) -> Any:
        found = self.members(stream.schema)
        if stream.key:
            number = self.dice.randint(1, most)
            found[stream.key] = number if "integer" in _types(stream.schema["properties"][stream.key]) else f"key {number}"
        return {**found, **{name: value for name, value in extra.items() if self.dice.random() < 0.5}}

    def value(self, schema: Any) -> Any:
        if not _is_object(schema) and not _is_array(schema):
            return self.dice.choice(self.pools[_text(schema)])
        if "null" in _types(schema) and self.dice.random() < 0.15:
            return None
        return self.members(schema) if _is_object(schema) else [self.value(schema["items"]) for _ in range(self.dice.randint(0, 3))]

    def members(self, schema: Any) -> dict[str, Any]:
        needed = schema.get("required", ())
        found = {name: self.value(part) for name, part in schema["properties"].items() if name in needed or self.dice.random() < 0.8}
        if _is_open(schema) and self.dice.random() < 0.3:
            others = self.dice.choice(self.pools[_text(_others(schema))])
            found |= {name: value for name, value in others.items() if name not in schema["properties"]}
        return found
