"""Invalid records in quarantine, and one owner of a state_id, with everything that goes wrong besides."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import FAULTS  # type: ignore[import-not-found]
from running import HERE, TARGET, Run, Tables

from target_meltano import DatabaseError, TargetError, load, make
from target_meltano_postgres.dialect import PostgresDialect
from target_meltano_postgres.session import PostgresSettings

KILLS = FAULTS // 4 or 2
ROWS = 20_000 if FAULTS else 6000
PROPERTIES = {
    "id": {"type": "integer"},
    "at": {"type": "string", "format": "date-time"},
    "text": {"type": "string"},
    "any": {},
}
BAD = {
    "type": {"id": "1"},
    "key": {"id": None},
    "time": {"at": "2026-02-30T00:00:00Z"},
    "range": {"id": 2**63},
    "text": {"text": "a\0b"},
    "nested text": {"any": [{"a": "\ud800"}]},
    "refused by the database": {"text": "forbidden"},  # of a key of its own: else a later row may replace it
}
NO_JSON = (b'{"type":"RECORD","stream":"s","record":{"id":', b"\xff\xfe", b"[]", b'{"type":"RECORD"}', b"null")


def line(n: int) -> tuple[bytes, bool]:
    """Return the tap's line *n*, and whether it is a record that can be loaded."""
    if n % 50 == 7:
        return NO_JSON[n % len(NO_JSON)], False
    good = {"id": n % 997, "at": "2026-01-31T12:00:00Z", "text": f"t{n}", "any": {"n": n}}
    bad = list(BAD.values())[n // 30 % len(BAD)] if n % 30 == 11 else {}
    if bad.get("text") == "forbidden":
        good["id"] = 1_000_000 + n
    return json.dumps({"type": "RECORD", "stream": "s", "record": good | bad}).encode(), not bad


def lines(start: int = 0) -> Iterator[bytes]:
    yield json.dumps({"type": "SCHEMA", "stream": "s", "key_properties": ["id"], "schema": {"properties": PROPERTIES}}).encode()
    for n in range(start + 1, ROWS + 1):
        yield line(n)[0]
        if n % 170 == 0 or n == ROWS:
            yield b'{"type":"STATE","value":{"line":%d}}' % n


def expected() -> tuple[dict[int, str], list[bytes]]:
    """Return the text of each id in the table, and the lines in quarantine."""
    good: dict[int, str] = {}
    bad = []
    for n in range(1, ROWS + 1):
        text, is_good = line(n)
        if is_good:
            good[n % 997] = f"t{n}"
        else:
            bad.append(text)
    return good, sorted(bad)


def prepare(here: Tables) -> None:
    """A table with a rule of others, so that the database has something to refuse."""
    here.query(f'CREATE SCHEMA "{here.schema}"')
    here.query(
        f'CREATE TABLE "{here.schema}".s (id bigint PRIMARY KEY, at timestamptz, text text CHECK (text <> \'forbidden\'), "any" jsonb,'
        "__loaded_at timestamptz)"
    )


@pytest.mark.parametrize("kill", [False, True], ids=["undisturbed", "killed"])
def test_every_line_is_in_the_table_or_in_quarantine_once(
    kill: bool, postgres_url: str, tables: Callable[[], Tables], chance: random.Random, folder: Path
) -> None:
    here = tables()
    prepare(here)
    settings = {"url": postgres_url, "schema": here.schema, "invalid_records": "quarantine", "max_rejected": 100_000}
    settings |= {"state_id": "p", "batch_rows": 1000}
    kills = KILLS if kill else 0
    while True:
        state = json.loads(here.state("p") or '{"line":0}')
        source = folder / "lines"
        source.write_bytes(b"\n".join(lines(state["line"])))
        wrapped = [sys.executable, str(HERE / "wrapped.py"), chance.choice(["before COMMIT", "after COMMIT"]), str(chance.randrange(1, 8))]
        with Run(settings, ["cat", str(source)], wrapped if kills > 0 else TARGET) as run:
            code = run.ended()
            assert code in (0, -9), run.errors()
        if code == 0:
            break
        kills -= 1
    good, bad = expected()
    assert dict(here.query(f'SELECT id, text FROM "{here.schema}".s')) == good
    found = sorted(bytes(source) for (source,) in here.query(f'SELECT source FROM "{here.schema}".__rejected'))
    assert found == bad


def test_too_many_in_quarantine(postgres_url: str, tables: Callable[[], Tables]) -> None:
    """What came before the one too many is committed, with its STATE."""
    here, states = tables(), []
    prepare(here)
    settings = make(PostgresSettings, url=postgres_url, schema=here.schema, invalid_records="quarantine", max_rejected=3)
    with pytest.raises(TargetError, match="max_rejected"):
        load(PostgresDialect(settings), lines(), on_state=states.append)
    assert here.query(f'SELECT count(*) FROM "{here.schema}".__rejected')[0][0] <= 3
    for state in states:
        assert here.query(f'SELECT count(*) FROM "{here.schema}".s')[0][0] >= json.loads(state)["line"] - 3


def schema() -> dict[str, Any]:
    return {"type": "SCHEMA", "stream": "s", "key_properties": [], "schema": {"properties": {"id": {"type": "integer"}}}}


def rows(start: int, stop: int) -> list[dict[str, Any]]:
    return [{"type": "RECORD", "stream": "s", "record": {"id": n}} for n in range(start, stop)]


def test_a_rejected_line_waits_for_its_state(postgres_url: str, tables: Callable[[], Tables]) -> None:
    """With `state_id` a line that is no message is in quarantine only when a STATE covers it."""
    here = tables()
    settings = {"url": postgres_url, "schema": here.schema, "invalid_records": "quarantine", "state_id": "p", "batch_seconds": 1}
    with Run(settings) as run:
        assert run.target.stdin
        for message in (schema(), *rows(0, 1), {"type": "STATE", "value": 1}):
            run.target.stdin.write(json.dumps(message).encode() + b"\n")
        run.target.stdin.flush()
        run.wait_for_states(1)
        run.target.stdin.write(b"no message\n")
        run.target.stdin.flush()
        time.sleep(2.5)
        assert here.query(f'SELECT count(*) FROM "{here.schema}".__rejected') == [(0,)]


def test_a_second_run_is_refused(postgres_url: str, tables: Callable[[], Tables]) -> None:
    here = tables()
    settings = make(PostgresSettings, url=postgres_url, schema=here.schema, state_id="p")

    def source() -> Iterator[Any]:
        yield from (schema(), *rows(0, 3), {"type": "STATE", "value": 1})
        with pytest.raises(DatabaseError, match="another run with the state_id 'p' is under way"):
            load(PostgresDialect(settings), [schema(), *rows(3, 6), {"type": "STATE", "value": 2}])

    load(PostgresDialect(settings), source())
    assert here.state("p") == "1"


def test_a_run_that_lost_its_ownership_commits_nothing(postgres_url: str, tables: Callable[[], Tables]) -> None:
    """The lock may be lost with the connection; the fence is what counts."""
    here, states = tables(), []
    settings = make(PostgresSettings, url=postgres_url, schema=here.schema, state_id="p", batch_rows=10)

    def source() -> Iterator[Any]:
        yield from (schema(), *rows(0, 10), {"type": "STATE", "value": 1})
        yield from ({"type": "STATE", "value": 1, "filler": "x" * (2 << 20)},)  # so that a chunk ends
        until = time.monotonic() + 20
        while not states and time.monotonic() < until:
            time.sleep(0.01)
        here.query(f"UPDATE \"{here.schema}\".__state SET run_id = 'another'")
        yield from (*rows(10, 20), {"type": "STATE", "value": 2})

    with pytest.raises(DatabaseError, match="another run has taken over"):
        load(PostgresDialect(settings), source(), on_state=states.append)
    assert here.query(f'SELECT count(*), max(id) FROM "{here.schema}".s') == [(10, 9)]
    assert set(states) == {"1"}
    assert here.state("p") == "1"
