"""How much of what Singer files hold arrives: in the tables of our target, and of the peers.

    python -m benchmarks.arrived PATH...

A path is a file of messages, a catalog, or a folder of these; of a catalog five records a stream are
invented, always the same ones. Each is loaded by each program with its own defaults. Values are counted
by stream, wherever they are in its table and in JSON: numbers by their value, times by their moment.
Null, an empty text and what programs add for themselves do not count. Prints a table in Markdown.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from psycopg2 import sql

from .database import SCHEMA, Database, database
from .peers import OURS, PEERS, Task, installed, ours

SECONDS = 300
SUFFIXES = (".json", ".jsonl", ".singer")  # of what a folder has for us: catalogs, and messages
NUMBER_LENGTH = 60  # a longer text is none
MOCK = (OURS.with_name("target-meltano"), "mock", "--rows", "5", "--seed", "1", "--no-faker", "--catalog")
OWN = re.compile("_sdc_|__(loaded_at|version|deleted_at)$")  # columns that programs add
CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d(?:\.\d+)?))?(?:Z| ?([ap]m))?", re.IGNORECASE)

Values = Counter[tuple[str, str]]  # of a stream


def main() -> None:
    peers = [(peer, at) for peer in PEERS if not peer.records and peer.name != "dlt" and (at := installed(peer))]
    print(f"| file | streams | values | ours | {' | '.join(peer.requirements[0] for peer, _ in peers)} |")
    print(f"| --- | --: | --: |{' --: |' * (1 + len(peers))}")
    with database() as made, tempfile.TemporaryDirectory() as folder:
        for path in messages_of(map(Path, sys.argv[1:]), Path(folder)):
            wanted = sent(path)
            task = Task(path, Path(folder), made.url, False, {})
            found = [_loaded(made, path, wanted, ours(task), {})]
            found += [_loaded(made, path, wanted, *peer.command(at, task)) for peer, at in peers]
            print(f"| {path.stem} | {streams_in(wanted)} | {wanted.total():,} | {' | '.join(found)} |", flush=True)


def messages_of(paths: Iterable[Path], folder: Path) -> Iterator[Path]:
    """Yield files of messages: those of catalogs are made in *folder*. Of what cannot be made, stderr has the reason."""
    for path in paths:
        if path.is_dir():
            yield from messages_of(sorted(one for one in path.iterdir() if one.suffix in SUFFIXES), folder)
        elif path.suffix == ".json":
            made = folder / f"{path.name.removesuffix('.json').removesuffix('.catalog')}.singer"
            with made.open("wb") as out:
                done = subprocess.run([*MOCK, path], stdout=out, check=False)
            if not done.returncode:
                yield made
        else:
            yield path


def sent(path: Path) -> Values:
    """Return the values of a file's records."""
    found: Values = Counter()
    for line in filter(str.strip, path.read_text("utf-8").splitlines()):
        message = json.loads(line, parse_float=Decimal)
        if message["type"] == "RECORD":
            found.update((message["stream"], value) for value in values(message["record"]))
    return found


def streams_in(found: Values) -> int:
    return len({stream for stream, _ in found})


def _loaded(made: Database, path: Path, wanted: Values, command: Sequence[str | Path], changes: Mapping[str, str]) -> str:
    """Load a file into SCHEMA, and say how many of its values are there, of how many streams, and the exit code if it is not 0."""
    made.drop(SCHEMA)
    made.run(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(SCHEMA)))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PYTHON", "TARGET_MELTANO_"))}
    with path.open("rb") as file:
        done = subprocess.run(command, stdin=file, capture_output=True, env={**clean, **changes}, timeout=SECONDS, check=False)
    arrived = wanted & stored(made, SCHEMA, {stream for stream, _ in wanted})
    return f"{arrived.total():,} of {streams_in(arrived)}{f', exit {done.returncode}' if done.returncode else ''}"


def stored(made: Database, schema: str, streams: Iterable[str]) -> Values:
    """Return the values in the tables of *streams*, JSON within texts read as such."""
    named = {_folded(part(stream)): stream for part in (_last, str) for stream in streams}
    found: Values = Counter()
    for name in made.tables(schema):
        query = sql.SQL("SELECT pg_catalog.to_jsonb(t)::text FROM {} t").format(sql.Identifier(schema, name))
        for (text,) in made.run(query):
            row = {column: _parsed(value) for column, value in json.loads(text, parse_float=Decimal).items()}
            found.update((named.get(_folded(name), name), value) for value in values(row))
    return found


def _last(stream: str) -> str:
    """Return what pipelinewise calls the table of a stream: it takes what is before the last dash for a schema."""
    return stream.rpartition("-")[2]


def _folded(name: str) -> str:
    return re.sub(r"\W|_", "", name.lower())


def _parsed(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value, parse_float=Decimal)
        except ValueError:
            return value
    return value


def values(found: Any) -> Iterator[str]:
    """Yield the values within *found* in one spelling."""
    if isinstance(found, dict):
        for name, value in found.items():
            if not OWN.match(name):
                yield from values(value)
    elif isinstance(found, list):
        for value in found:
            yield from values(value)
    elif found is not None and found != "":
        yield spelt(found)


def spelt(value: Any) -> str:
    """Return a value as text: a number, also in a text, by its value; a date or time as its moment in UTC; a time of day with seconds."""
    text = str(value)
    if clock := CLOCK.fullmatch(text):
        hour, minute, second, half = clock.groups()
        hours = int(hour) % 12 + 12 * (half.lower() == "pm") if half else int(hour)
        return f"{hours:02}:{minute}:{second or '00'}"
    if len(text) < NUMBER_LENGTH:
        try:
            return format(Decimal(text).normalize(), "f")
        except InvalidOperation:
            pass
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return text
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).astimezone(timezone.utc).isoformat()


if __name__ == "__main__":
    main()
