"""Hostile files of BATCH messages: loaded, kept as invalid records, or refused by name; never a traceback, a hang or a loss."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import FAULTS  # type: ignore[import-not-found]
from running import Run, Tables
from test_hostile import TEXT, record, run, schema  # type: ignore[import-not-found]

from target_meltano import TargetError, load, make
from target_meltano_postgres.dialect import PostgresDialect
from target_meltano_postgres.session import PostgresSettings

INPUTS = 2000 if FAULTS else 200
AT_ONCE = 20  # inputs in one test
PIECES = [
    *(b'"\\ud800"', b'"\\u0000"', b"\xff", b"\xed\xa0\x80", b"\0", b"NaN", b"-Infinity", b"1e999999999", b"[[[[", b"]}", b"{}", b'"', b"\\", b", ", b"\r"),
    *(b'"type": "STATE"', b'"type": "SCHEMA"', b'"stream": "other"', b'"record": {}', b'"version": 3', b'"value": 1', b"\xef\xbb\xbf", b"\n", b"\n\n"),
]


def messages_of(chance: random.Random) -> list[bytes]:
    """Return lines of a file: records, things that look like messages, and what bytes made of them."""
    lines = []
    for number in range(chance.randrange(1, 12)):
        found: Any = {"id": number, "t": f"text {number}"}
        if chance.random() < 0.3:
            found = {"type": chance.choice(["STATE", "RECORD", "ACTIVATE_VERSION"]), "stream": "other", "value": 1, "record": found, "version": 9}
        line = bytearray(json.dumps(found).encode())
        for _ in range(chance.choice([0, 0, 1, 3])):
            at = chance.randrange(len(line) + 1)
            line[at : at + chance.randrange(3)] = chance.choice(PIECES)
        lines.append(bytes(line))
    return lines


def jsonl_of(chance: random.Random) -> tuple[bytes, int | None]:
    """Return a file and how many records are in it; None where it may be damaged."""
    data = b"\n".join(messages_of(chance))
    count = sum(bool(line.strip()) for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"))
    packed = gzip.compress(data) if chance.random() < 0.5 else data
    if packed is not data and chance.random() < 0.4:
        damaged = bytearray(packed)
        damaged[chance.randrange(2, len(damaged))] ^= 1 << chance.randrange(8)
        return bytes(damaged[: chance.randrange(3, len(damaged) + 1)]), None
    return packed, count


TYPES: list[tuple[pa.DataType, list[Any]]] = [
    (pa.int64(), [1, -(2**63), None]),
    (pa.string(), ["x", "\0", '{"type": "STATE"}', None]),
    (pa.binary(), [b"\xff", b"", None]),
    (pa.float32(), [0.1, float("nan"), float("inf"), None]),
    (pa.timestamp("us"), [0, 2**63 - 1, -(2**62), None]),
    (pa.timestamp("ns", "Asia/Tokyo"), [1, 2**63 - 1, None]),
    (pa.date32(), [0, 2**31 - 1, None]),
    (pa.time64("us"), [0, None]),
    (pa.duration("ms"), [5, None]),
    (pa.list_(pa.struct([("a", pa.int8())])), [[{"a": 1}, None], [], None]),
    (pa.map_(pa.string(), pa.string()), [[("k", "v")], [("k", "v"), ("k", "w")], [], None]),
    (pa.decimal128(38, 10), [1, None]),
    (pa.null(), [None]),
]


def parquet_of(chance: random.Random) -> tuple[bytes, int | None]:
    rows = chance.randrange(1, 30)
    names = chance.choices(["id", "t", "type", "x y", "a%s"], k=chance.randrange(1, 5))
    columns = []
    for _ in names:
        kind, values = chance.choice(TYPES)
        columns.append(pa.array([chance.choice(values) for _ in range(rows)], kind))
    file = io.BytesIO()
    compression = chance.choice(["none", "gzip", "snappy", "zstd"])
    pq.write_table(pa.Table.from_arrays(columns, names), file, row_group_size=7, compression=compression, use_dictionary=chance.random() < 0.5)
    data = bytearray(file.getvalue())
    if chance.random() < 0.5:
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(4, len(data))] ^= 1 << chance.randrange(8)
        return bytes(data[: chance.randrange(5, len(data) + 1)] if chance.random() < 0.3 else data), None
    return bytes(data), rows if len(set(names)) == len(names) else None


@pytest.mark.parametrize("turn", range(INPUTS // AT_ONCE))
def test_any_file(turn: int, postgres_url: str, tables: Callable[[], Tables], folder: Path, chance: random.Random) -> None:
    """Each record is in its table or in quarantine, or the run ends by the file's name; no other stream is touched."""
    here = tables()
    for number in range(AT_ONCE):
        form = chance.choice(["jsonl", "parquet"])
        data, count = jsonl_of(chance) if form == "jsonl" else parquet_of(chance)
        path = folder / f"f{number}"
        path.write_bytes(data)
        batch = {"type": "BATCH", "stream": f"s{number}", "encoding": {"format": form, "compression": "none"}, "manifest": [path.as_uri()]}
        chosen = {"invalid_records": "quarantine", "on_bad_text": chance.choice(["fail", "replace"]), "unknown_fields": chance.choice(["warn", "keep"])}
        settings = make(PostgresSettings, url=postgres_url, schema=here.schema, batch_root=str(folder), **chosen)
        own = {"id": {"type": ["integer", "null"]}, "t": {}}
        lines = [schema(own, (), f"s{number}"), schema({"id": {"type": "integer"}}, (), "other"), record({"id": number}, "other"), json.dumps(batch)]
        states: list[str] = []
        started = time.monotonic()
        try:
            load(PostgresDialect(settings), [*lines, '{"type": "STATE", "value": "last"}'], on_state=states.append)
        except TargetError as error:
            assert str(path) in str(error)
            assert "\n" not in str(error)
            assert count is None
            assert states == []
        else:
            kept = here.query(f'SELECT count(*) FROM "{here.schema}"."s{number}"')[0][0]
            found = here.query(f'SELECT count(*) FROM "{here.schema}".__rejected WHERE stream = %s', (f"s{number}",))[0][0]
            assert states == ['"last"']
            assert count in (None, kept + found)
        assert time.monotonic() - started < 60
        assert here.query(f'SELECT count(*), max(id) FROM "{here.schema}".other') == [(number + 1, number)]
    assert here.query(f'SELECT count(*) FROM "{here.schema}".__rejected WHERE stream IS NULL OR stream = \'other\' OR record IS NULL') == [(0,)]


def test_a_small_file_with_large_rows(postgres_url: str, tables: Callable[[], Tables], folder: Path) -> None:
    """A gigabyte of texts that is a file of some kilobytes needs no more memory than other input."""
    rows = 10_000 if FAULTS else 3000
    pq.write_table(pa.table({"t": ["x" * 100_000] * rows}), folder / "f.parquet")
    assert os.path.getsize(folder / "f.parquet") < 100_000
    here = tables()
    batch = {"type": "BATCH", "stream": "s", "encoding": {"format": "parquet"}, "manifest": [(folder / "f.parquet").as_uri()]}
    settings = {"url": postgres_url, "schema": here.schema, "batch_root": str(folder)}
    code, told, peak = run(settings, [schema({"t": TEXT}), json.dumps(batch).encode() + b"\n"], folder)
    assert code == 0, told
    assert here.query(f'SELECT count(*), min(length(t)) FROM "{here.schema}".s') == [(rows, 100_000)]
    assert peak < 600 << 20


def test_sigterm_within_a_file(postgres_url: str, tables: Callable[[], Tables], folder: Path) -> None:
    """What came before is committed; the file is not read to its end, and its STATE is not told."""
    here = tables()
    with gzip.open(folder / "f", "wb", 1) as file:
        for start in range(0, 4_000_000, 10_000):
            file.write(b"".join(b'{"n": %d}\n' % n for n in range(start, start + 10_000)))
    batch = {"type": "BATCH", "stream": "s", "encoding": {"format": "jsonl"}, "manifest": [(folder / "f").as_uri()]}
    settings = {"url": postgres_url, "schema": here.schema, "batch_root": str(folder), "batch_rows": 50_000}
    with Run(settings) as one:
        assert one.target.stdin
        for line in (schema({"n": {"type": "integer"}}), record({"n": -1}), b'{"type": "STATE", "value": 1}\n', json.dumps(batch).encode() + b"\n"):
            one.target.stdin.write(line)
        one.target.stdin.write(b'{"type": "STATE", "value": 2}\n')
        one.target.stdin.flush()
        until = time.monotonic() + 60
        while not (here.exists("s") and here.query(f'SELECT count(*) FROM "{here.schema}".s')[0][0] > 1000) and time.monotonic() < until:
            time.sleep(0.01)
        one.target.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert one.ended() == 143, one.errors()
        assert time.monotonic() - started < 10
        assert one.states == ["1"]
    count, last = here.query(f'SELECT count(*), max(n) FROM "{here.schema}".s')[0]
    assert count == last + 2 < 4_000_000
