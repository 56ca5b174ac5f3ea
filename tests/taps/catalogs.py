"""What the schemas of a package become, loaded with invented records: what was sent, and what the tables have."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from on_postgres import dialect, run
from packages import Stream
from records import Records, made_by_hypothesis, mocked
from stored import differences, tables

from target_meltano.verify.program import Options, Verification

COUNTED = ("streams", "columns", "records", "values")


@dataclass
class Outcome:
    """What came of a package: counts, and the differences by stream and load."""

    counts: Counter[str] = field(default_factory=Counter)
    differences: dict[tuple[str, str], list[str]] = field(default_factory=dict)


def outcome(db: Any, streams: Sequence[Stream], seed: int, most: int) -> Outcome:
    """Load *streams* in three ways, each in two runs, the second with changed records; compare after each, and by `verify` after both.

    A run has 1 to *most* records of a stream.
    """
    of_mock = [mocked(streams, seed + i, most) for i in range(2)]
    of_hypothesis = made_by_hypothesis(streams, seed, most)
    found = Outcome()
    found.counts["streams"] = len(streams)
    for way, runs, settings in (
        ("upsert", of_mock, {}),
        ("keep", of_hypothesis, {"absent_fields": "keep", "unknown_fields": "keep", "batch_rows": 20}),
        ("append", [of_mock[0], of_hypothesis[1]], {"load_method": "append", "unknown_fields": "keep"}),
    ):
        quiet: Any = {"invalid_schemas": "quarantine", "invalid_records": "quarantine", "max_rejected": 10**6, **settings}
        wanted: dict[str, list[list[Any]]] = {stream.name: [] for stream in streams}
        sent: list[Any] = []
        for number, records in enumerate(runs):
            its = list(messages(streams, records, seed))
            sent += its
            result = run(db, *its, **quiet)
            for stream in streams:
                add(wanted[stream.name], records[stream.name], stream.key, way)
            compare(db, streams, wanted, way, f"{way} {number + 1}", result.summary, found)
            found.counts["records"] += sum(map(len, records.values()))
            found.counts["values"] += sum(values_in(record) for its in records.values() for record in its)
        for verdict in Verification(dialect(db, **quiet), sent, Options(whole=True)).run():
            if not verdict.is_equal:
                found.differences[verdict.stream, f"{way}: verify"] = [str(verdict), *map(str, verdict.found.differences)]
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


def values_in(found: Any) -> int:
    """How many values there are, nulls aside, wherever they are."""
    if isinstance(found, dict | list):
        return sum(map(values_in, found.values() if isinstance(found, dict) else found))
    return found is not None
