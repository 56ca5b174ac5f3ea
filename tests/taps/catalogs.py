"""What the schemas of a package become, loaded with invented records: what was sent, and what the tables have."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from environments import environment
from on_postgres import run
from packages import Stream
from stored import differences, tables

HYPOTHESIS = ("hypothesis==6.111.2", "hypothesis-jsonschema==0.23.1")  # what later hypothesis has, this does not know
EXTRA: Any = {"added_later": 1.50, "Added Later": {"a": [None, "ü", {"b": 1e-7}], "": {}}, "b.c": "x"}  # no schema names them
COUNTED = ("streams", "columns", "records", "values")

Records = Mapping[str, Sequence[Any]]  # by stream


@dataclass
class Outcome:
    """What came of a package: counts, and the differences by stream and load."""

    counts: Counter[str] = field(default_factory=Counter)
    differences: dict[tuple[str, str], list[str]] = field(default_factory=dict)


def outcome(db: Any, streams: Sequence[Stream], seed: int, most: int) -> Outcome:
    """Load *streams* in three ways, each in two runs, the second with changed records; compare after each.

    A run has 1 to *most* records of a stream.
    """
    of_mock = [mocked(streams, seed + i, most) for i in range(2)]
    of_hypothesis = made_by_hypothesis(streams, seed, most)
    found = Outcome()
    found.counts["streams"] = len(streams)
    for way, runs, settings in (
        ("upsert", of_mock, {}),
        ("keep", of_hypothesis, {"absent_fields": "keep", "unknown_fields": "keep"}),
        ("append", [of_mock[0], of_hypothesis[1]], {"load_method": "append", "unknown_fields": "keep"}),
    ):
        wanted: dict[str, list[list[Any]]] = {stream.name: [] for stream in streams}
        for number, records in enumerate(runs):
            result = run(db, *messages(streams, records, seed), invalid_schemas="quarantine", invalid_records="quarantine", max_rejected=10**6, **settings)
            for stream in streams:
                add(wanted[stream.name], records[stream.name], stream.key, way)
            compare(db, streams, wanted, way, f"{way} {number + 1}", result.summary, found)
            found.counts["records"] += sum(map(len, records.values()))
            found.counts["values"] += sum(values_in(record) for its in records.values() for record in its)
        db.query(f'DROP SCHEMA "{db.schema}" CASCADE')
    return found


def compare(db: Any, streams: Sequence[Stream], wanted: Mapping[str, list[list[Any]]], way: str, load: str, summary: Any, found: Outcome) -> None:
    there = tables(db)
    if load == "upsert 1":
        found.counts["columns"] = sum(len(there[table].columns) - 1 for table in there if not table.startswith("__"))
    for stream in streams:
        table = there.get(stream.name.lower())
        faults = differences(table, wanted[stream.name], stream.key) if table else ["no table"]
        refused = summary["streams"].get(stream.name, {}).get("rejected", 0)
        if refused:
            why = db.query(f'SELECT DISTINCT path, reason FROM "{db.schema}".__rejected WHERE stream = %s LIMIT 5', (stream.name,))
            faults = [f"{refused} records refused: {path} {reason}" for path, reason in why] + faults
        if faults:
            found.differences[stream.name, load] = faults


def add(wanted: list[list[Any]], records: Sequence[Any], key: str | None, way: str) -> None:
    """Add the records of a run to the rows that there should be: each row is its records, the last ones as `keep` needs them."""
    at = {row[-1][key]: row for row in wanted} if key and way != "append" else {}
    for record in records:
        row = at.get(record[key]) if key and way != "append" else None
        if row is None:
            wanted.append([record])
            if key:
                at[record[key]] = wanted[-1]
        elif way == "keep":
            row.append(record)
        else:
            row[:] = [record]


def messages(streams: Sequence[Stream], records: Records, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the messages of a run: the records of all streams mixed, those of one in their order."""
    for stream in streams:
        yield stream.message()
    order = [name for name, its in records.items() for _ in its]
    random.Random(seed).shuffle(order)
    left = {name: iter(its) for name, its in records.items()}
    for name in order:
        yield {"type": "RECORD", "stream": name, "record": next(left[name])}
    yield {"type": "STATE", "value": {"seed": seed}}


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

    Each property has some values, and records have some of their properties.
    """
    parts = {_text(part): part for stream in streams for part in stream.schema.get("properties", {}).values()}
    question = {"seed": seed, "count": min(20, most), "schemas": list(parts.values())}
    python = environment("hypothesis", *HYPOTHESIS) / "python"
    done = subprocess.run([python, Path(__file__).with_name("invented.py")], input=json.dumps(question), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pools = dict(zip(parts, json.loads(done.stdout, parse_float=Decimal), strict=True))
    dice = random.Random(seed)
    return [{stream.name: [_record(stream, pools, extra, most, dice) for _ in range(dice.randint(1, most))] for stream in streams} for extra in ({}, EXTRA)]


def _record(stream: Stream, pools: Mapping[str, Sequence[Any]], extra: Mapping[str, Any], most: int, dice: random.Random) -> Any:
    found = {}
    for name, part in stream.schema.get("properties", {}).items():
        pool = pools[_text(part)]
        if pool and dice.random() < 0.8:
            found[name] = dice.choice(pool)
    if stream.key:
        number = dice.randint(1, most)
        types = stream.schema["properties"][stream.key]["type"]
        found[stream.key] = number if "integer" in types else f"key {number}"
    return {**found, **{name: value for name, value in extra.items() if dice.random() < 0.5}}


def _text(schema: Any) -> str:
    return json.dumps(schema, sort_keys=True)


def values_in(found: Any) -> int:
    """How many values there are, nulls aside, wherever they are."""
    if isinstance(found, dict | list):
        return sum(map(values_in, found.values() if isinstance(found, dict) else found))
    return found is not None
