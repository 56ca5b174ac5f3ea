"""Programs that load while another session alters, drops, renames, adds and widens what they write.

Each ends with what was sent in its tables; or it is stopped by name, and no STATE is ahead of its rows.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg2
import pytest
from conftest import FAULTS  # type: ignore[import-not-found]
from running import Tables

from target_meltano import TargetError, lines, load, make
from target_meltano_postgres import PostgresDialect, PostgresSettings

SEED = os.environ.get("FAULT_SEED", "1")
PROGRAMS = FAULTS or 10
RECORDS = 400
STREAMS = {"a": ["id"], "b": []}
PROPERTIES = {
    "id": {"type": "integer"},
    "n": {"type": ["integer", "null"]},
    "x": {"type": ["number", "null"]},
    "s": {"type": ["string", "null"]},
    "t": {"type": ["string", "null"], "format": "date-time"},
}
SENT = "id, n::numeric, x::numeric, s::text, (extract(epoch FROM t) * 1000000)::numeric"
HARMLESS = (
    "ALTER TABLE {t} ADD COLUMN extra_{n} text",
    "ALTER TABLE {t} ADD COLUMN extra_{n} text DEFAULT 'x' NOT NULL",
    "CREATE INDEX ON {t} (n)",
    "ANALYZE {t}",
    "COMMENT ON TABLE {t} IS 'theirs'",
    "ALTER TABLE {t} SET (fillfactor = 70)",
)
KEEP_VALUES = (
    "ALTER TABLE {t} ALTER n TYPE numeric",
    "ALTER TABLE {t} ALTER n TYPE double precision",
    "ALTER TABLE {t} ALTER n TYPE integer",
    "ALTER TABLE {t} ALTER n TYPE text",
    "ALTER TABLE {t} ALTER x TYPE double precision",
    "ALTER TABLE {t} ALTER x TYPE numeric(12,3)",
    "ALTER TABLE {t} ALTER x TYPE text",
    "ALTER TABLE {t} ALTER s TYPE varchar(40)",
    "ALTER TABLE {t} ALTER t TYPE timestamptz(6)",
)
CHANGE_VALUES = (
    "ALTER TABLE {t} ALTER x TYPE numeric(12,1)",
    "ALTER TABLE {t} ALTER s TYPE char(40)",
    "ALTER TABLE {t} ALTER t TYPE timestamptz(0)",
    "ALTER TABLE {t} ALTER t TYPE timestamp",
    "ALTER TABLE {t} RENAME n TO renamed_{n}",
    "ALTER TABLE {t} DROP COLUMN x",
    "ALTER TABLE {t} RENAME TO renamed_{n}",
    "DROP TABLE {t}",
    "ALTER TABLE {t} ADD COLUMN needed_{n} text DEFAULT 'x' NOT NULL; ALTER TABLE {t} ALTER needed_{n} DROP DEFAULT",
)


@dataclass(frozen=True)
class Done:
    """What another session has changed of a stream's table, and when."""

    change: str
    stream: str
    at: dt.datetime


def value(stream: str, i: int, rng: random.Random) -> dict[str, Any]:
    return {
        "id": rng.randrange(40) if STREAMS[stream] else i,
        "n": rng.choice([None, rng.randrange(-5000, 5000)]),
        "x": rng.choice([None, rng.randrange(-(10**6), 10**6) / 1000]),
        "s": rng.choice([None, f"text {i}"]),
        "t": rng.choice([None, f"2024-05-06T07:08:09.{rng.randrange(10**6):06}Z"]),
    }


def row(record: dict[str, Any]) -> tuple[Any, ...]:
    """Return a record as `SENT` reads it."""
    micros = 1714979289 * 10**6 + int(record["t"][20:26]) if record["t"] else None
    number = None if record["x"] is None else Decimal(str(record["x"]))
    return (record["id"], record["n"], number, record["s"], micros)


def expected(sent: list[tuple[str, dict[str, Any]]], stream: str) -> list[tuple[Any, ...]]:
    """Return the rows of a stream after so many records."""
    records = [record for name, record in sent if name == stream]
    if STREAMS[stream]:
        records = list({record["id"]: record for record in records}.values())
    return sorted(map(row, records), key=str)


class Program:
    """A program of its own: what is sent, and what another session does meanwhile."""

    def __init__(self, turn: int, url: str, here: Tables):
        self.rng = random.Random(f"{SEED} {turn}")
        self.url = url
        self.here = here
        others = self.rng.sample(KEEP_VALUES + CHANGE_VALUES, self.rng.choice([0, 1, 1, 2]))
        others += self.rng.sample(HARMLESS, self.rng.choice([0, 1, 3]))
        self.moments = {self.rng.randrange(5, RECORDS): change for change in others}
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.states: list[int] = []
        self.done: list[Done] = []
        self.threads: list[threading.Thread] = []
        self.settings: dict[str, Any] = {
            "batch_rows": self.rng.choice([1, 7, 50, 1000]),
            "invalid_records": self.rng.choice(["fail", "quarantine"]),
            **self.rng.choice([{}, {"state_id": "p"}]),
        }

    def messages(self) -> Iterator[Any]:
        rng = self.rng
        for stream, keys in STREAMS.items():
            yield {"type": "SCHEMA", "stream": stream, "key_properties": keys, "schema": {"properties": PROPERTIES}}
        for i in range(RECORDS):
            stream = rng.choice(list(STREAMS))
            self.sent.append((stream, value(stream, i, rng)))
            yield {"type": "RECORD", "stream": stream, "record": self.sent[-1][1]}
            if i in self.moments:
                self.threads.append(threading.Thread(target=self.alter, args=(self.moments[i], rng.choice(list(STREAMS)), i)))
                self.threads[-1].start()
            if i % 20 == 19:
                yield {"type": "STATE", "value": i + 1}
                time.sleep(rng.choice([0, 0.01]))

    def alter(self, change: str, stream: str, number: int) -> None:
        statement = change.replace("{t}", f'"{self.here.schema}"."{stream}"').replace("{n}", str(number))
        connection = psycopg2.connect(self.url, options="-c timezone=UTC")
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(f"SET lock_timeout TO '5s'; {statement}")
                cursor.execute("SELECT clock_timestamp()")
                self.done.append(Done(change, stream, cursor.fetchone()[0]))
        except psycopg2.Error:
            pass  # the table is not there yet, or not any more, or is locked for too long
        finally:
            connection.close()

    def run(self) -> str | None:
        """Load, and return why it was stopped, None if it was not."""
        dialect = PostgresDialect(make(PostgresSettings, url=self.url, schema=self.here.schema, **self.settings))
        try:
            load(dialect, self.messages(), on_state=lambda text: self.states.append(int(text)))
        except TargetError as error:
            return str(error)
        finally:
            for thread in self.threads:
                thread.join()
        return None

    def last_commit(self, stream: str) -> dt.datetime:
        """Return when rows of a stream were committed last."""
        found: dt.datetime = self.here.query(f'SELECT max(committed_at) FROM "{self.here.schema}".__loads WHERE stream = %s', (stream,))[0][0]
        return found

    def changed(self, stream: str, changes: Collection[str]) -> list[Done]:
        return [done for done in self.done if done.stream == stream and done.change in changes]

    def rows(self, stream: str) -> list[tuple[Any, ...]]:
        return sorted(self.here.query(f'SELECT {SENT} FROM "{self.here.schema}"."{stream}"'), key=str)


@pytest.mark.parametrize("turn", range(PROGRAMS))
def test_another_session_changes_what_is_written(
    turn: int, postgres_url: str, tables: Callable[[], Tables], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program(turn, postgres_url, tables())
    monkeypatch.setattr(lines, "CHUNK", program.rng.choice([1, 1 << 12]))
    stopped = program.run()
    what = f"{program.settings} {program.done} {stopped}"
    if stopped:
        assert any(program.changed(stream, KEEP_VALUES + CHANGE_VALUES) for stream in STREAMS), what
        assert any(word in stopped for word in ("table ", "relation ", "column ")), what
    else:
        assert program.states[-1:] == [RECORDS], what
    for stream, keys in STREAMS.items():
        changes = program.changed(stream, KEEP_VALUES + CHANGE_VALUES)
        if changes and not stopped:
            assert min(done.at for done in changes) > program.last_commit(stream), what
        if program.changed(stream, CHANGE_VALUES):
            continue
        found = program.rows(stream)
        if not stopped:
            assert found == expected(program.sent, stream), what
            continue
        every = {row(record) for name, record in program.sent if name == stream}
        assert set(found) <= every, what
        covered = {record["id"] for name, record in program.sent[: max(program.states, default=0)] if name == stream}
        assert covered <= {one[0] for one in found}, what
        assert keys or len(found) == len(set(found)), what
