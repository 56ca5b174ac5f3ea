"""How fast rows become files for Snowflake: all that happens before the server, in rows per CPU second.

    python benchmarks/to_snowflake.py [ROWS]

The core's own batches are encoded and written as in a load; what would be sent is deleted instead.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from sqlite_dialect import SqliteDialect, SqliteSettings

from target_meltano import load, make
from target_meltano_snowflake import SnowflakeDialect, SnowflakeSettings, stage
from target_meltano_snowflake import encode as encoding

STR = {"type": ["string", "null"]}
INT = {"type": ["integer", "null"]}
NUM = {"type": ["number", "null"]}
TIME = {"type": ["string", "null"], "format": "date-time"}
START = dt.datetime(2024, 1, 1)


def lines(properties: dict[str, Any], records: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    schema = {"type": "object", "properties": properties}
    yield json.dumps({"type": "SCHEMA", "stream": "rows", "schema": schema, "key_properties": ["id"]}).encode() + b"\n"
    for record in records:
        yield json.dumps({"type": "RECORD", "stream": "rows", "record": record}).encode() + b"\n"


def narrow(rows: int) -> Iterator[bytes]:
    """Six columns."""
    chance = random.Random(1)

    def record(i: int) -> dict[str, Any]:
        at = (START + dt.timedelta(seconds=i)).isoformat() + "Z"
        return {"id": i, "user": chance.randrange(10**6), "kind": "purchase", "amount": round(chance.random() * 1000, 2), "ok": True, "at": at}

    properties = {"id": INT, "user": INT, "kind": STR, "amount": NUM, "ok": {"type": "boolean"}, "at": TIME}
    return lines(properties, map(record, range(rows)))


def wide(rows: int) -> Iterator[bytes]:
    """Forty columns: texts, integers, times, a float with all its digits, JSON."""
    chance = random.Random(2)
    texts, whole, times = [f"text{i}" for i in range(18)], [f"int{i}" for i in range(12)], [f"at{i}" for i in range(6)]

    def record(i: int) -> dict[str, Any]:
        at = (START + dt.timedelta(seconds=i)).isoformat() + "Z"
        labels = [{"id": j, "name": f"label-{j}"} for j in range(i % 4)]
        known = {"id": i, "score": chance.random(), "price": i / 4, "labels": labels}
        return known | {t: f"{t} of {i}, ünïcödé, and more" for t in texts} | dict.fromkeys(whole, i % 9973) | dict.fromkeys(times, at)

    properties = {"id": INT, "score": NUM, "price": NUM, "labels": {"type": "array"}}
    properties |= dict.fromkeys(texts, STR) | dict.fromkeys(whole, INT) | dict.fromkeys(times, TIME)
    return lines(properties, map(record, range(rows)))


class Capture(SqliteDialect):
    """Keeps the batches of the core instead of writing them."""

    def write(self, connection: Any, table: Any, batch: Any) -> None:
        if table.name == "rows":
            CAPTURED.append((table, batch))


CAPTURED: list[Any] = []
FILES: list[int] = []


def send(path: Path, folder: str) -> Future[None]:
    FILES.append(path.stat().st_size)
    path.unlink()
    done: Future[None] = Future()
    done.set_result(None)
    return done


def measure(name: str, source: list[bytes], rows: int, home: str) -> None:
    CAPTURED.clear()
    FILES.clear()
    start = time.process_time()
    load(Capture(make(SqliteSettings, path=f"{home}/{name}.db")), source)
    decoded = time.process_time() - start
    settings = make(SnowflakeSettings, schema="x", database="x", account="x", password="x")
    dialect = SnowflakeDialect(settings)
    spool, arrival = stage.Spool(Path(home), send), 0
    start = time.process_time()
    for table, batch in CAPTURED:
        spool.add(encoding.encode(table, batch, dialect._type_of, arrival))
        arrival += batch.num_rows
    spool.complete()
    encoded = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    files = ", ".join(f"{size / 1e6:.0f}" for size in FILES)
    print(
        f"{name}: {rows:,} rows of {sum(map(len, source)) / 1e6:.0f} MB; to Parquet {rows / encoded:,.0f} rows/CPU-s, with decoding "
        f"{rows / (encoded + decoded):,.0f}; files of {files} MB; peak {peak:,.0f} MB with the input in memory"
    )


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 500_000
    with tempfile.TemporaryDirectory() as home:
        for name, made, count in (("narrow", narrow, rows), ("wide", wide, rows // 5)):
            measure(name, list(made(count)), count, home)


if __name__ == "__main__":
    main()
