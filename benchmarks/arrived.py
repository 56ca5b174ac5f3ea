"""How much of what Singer files hold arrives: in the tables of our target, and of the peers.

    python -m benchmarks.arrived FILE...

Each file is loaded by each program with its own defaults. Values are counted, wherever they are in
tables and JSON: numbers by their value, times by their moment. Null, an empty text and the fields
that programs add for themselves (`_…`) do not count. Prints a table in Markdown.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from psycopg2 import sql

from .database import SCHEMA, Database, database
from .peers import PEERS, Task, installed, ours

SECONDS = 300
NUMBER_LENGTH = 60  # a longer text is none


def main() -> None:
    paths = [Path(name).resolve() for name in sys.argv[1:]]
    peers = [(peer, at) for peer in PEERS if not peer.records and peer.name != "dlt" and (at := installed(peer))]
    print(f"| file | streams | values | ours | {' | '.join(peer.requirements[0] for peer, _ in peers)} |")
    print(f"| --- | --: | --: |{' --: |' * (1 + len(peers))}")
    with database() as made, tempfile.TemporaryDirectory() as folder:
        for path in paths:
            messages = [json.loads(line, parse_float=Decimal) for line in path.read_text("utf-8").splitlines() if line.strip()]
            wanted = Counter(value for message in messages if message["type"] == "RECORD" for value in values(message["record"]))
            streams = {message["stream"] for message in messages if message["type"] == "SCHEMA"}
            task = Task(path, Path(folder), made.url, False, {})
            found = [_loaded(made, path, wanted, ours(task), {})]
            found += [_loaded(made, path, wanted, *peer.command(at, task)) for peer, at in peers]
            print(f"| {path.stem} | {len(streams)} | {wanted.total():,} | {' | '.join(found)} |", flush=True)


def _loaded(made: Database, path: Path, wanted: Counter[str], command: Sequence[str | Path], changes: Mapping[str, str]) -> str:
    """Load a file into SCHEMA, and say how many of its values are there, and the exit code if it is not 0."""
    made.drop(SCHEMA)
    made.run(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(SCHEMA)))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PYTHON", "TARGET_MELTANO_"))}
    with path.open("rb") as file:
        done = subprocess.run(command, stdin=file, capture_output=True, env={**clean, **changes}, timeout=SECONDS, check=False)
    arrived = wanted & Counter(value for row in rows(made, SCHEMA) for value in values(row))
    return f"{arrived.total():,}{f', exit {done.returncode}' if done.returncode else ''}"


def rows(made: Database, schema: str) -> Iterator[Any]:
    """Yield the rows of all tables of streams, JSON within texts read as such."""
    for name in made.tables(schema):
        query = sql.SQL("SELECT pg_catalog.to_jsonb(t)::text FROM {} t").format(sql.Identifier(schema, name))
        for (text,) in made.run(query):
            yield {column: _parsed(value) for column, value in json.loads(text, parse_float=Decimal).items()}


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
            if not name.startswith("_"):
                yield from values(value)
    elif isinstance(found, list):
        for value in found:
            yield from values(value)
    elif found is not None and found != "":
        yield spelt(found)


def spelt(value: Any) -> str:
    """Return a value as text: a number, also in a text, by its value; a date or time as its moment in UTC."""
    text = str(value)
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
