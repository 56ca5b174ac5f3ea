"""Two targets on one table, and readers: nobody sees half a flush, and who is in the way is waited for."""

from __future__ import annotations

import sys
from collections.abc import Callable

import psycopg2
import pytest
from conftest import FAULTS  # type: ignore[import-not-found]
from running import Run, Tables

ROWS = 20_000 if FAULTS else 4000
BATCH = 1000

# Each flush writes all ids of a block anew, in this or that order, with one number for all of them.
PROGRAM = f"""
import sys
name, step = sys.argv[1], int(sys.argv[2])
print('{{"type":"SCHEMA","stream":"s","key_properties":["id"],"schema":{{"properties":{{"id":{{"type":"integer"}},"by":{{"type":"string"}}}}}}}}')
for flush in range({ROWS // BATCH}):
    for n in range({BATCH})[::step]:
        print('{{"type":"RECORD","stream":"s","record":{{"id":%d,"by":"%s %d"}}}}' % (n, name, flush))
    print('{{"type":"STATE","value":{{"line":%d}}}}' % flush)
"""


@pytest.mark.parametrize("turn", range(max(1, FAULTS // 40)))
def test_two_targets_and_readers(turn: int, postgres_url: str, tables: Callable[[], Tables]) -> None:
    here = tables()
    settings = {"url": postgres_url, "schema": here.schema, "batch_rows": BATCH}
    one, two = ([sys.executable, "-c", PROGRAM, name, step] for name, step in (("one", "1"), ("two", "-1")))
    seen = 0
    with Run(settings, one) as first, Run(settings, two) as second:
        while first.target.poll() is None or second.target.poll() is None:
            try:
                by = here.query(f'SELECT count(*), count(DISTINCT by) FROM "{here.schema}".s')[0]
            except psycopg2.errors.UndefinedTable:
                continue
            assert by in ((0, 0), (BATCH, 1)), "a reader saw half a flush"
            seen += 1
        assert (first.ended(), second.ended()) == (0, 0), first.errors() + second.errors()
        assert len(first.states) == len(second.states)
    assert seen
    assert here.query(f'SELECT count(*), count(DISTINCT by) FROM "{here.schema}".s') == [(BATCH, 1)]


def test_a_column_that_another_run_widens_meanwhile(postgres_url: str, tables: Callable[[], Tables]) -> None:
    """Binary COPY has no types: eight bytes of an integer must not become eight letters."""
    import json
    import time

    here = tables()
    settings = {"url": postgres_url, "schema": here.schema, "batch_rows": 1}
    schema = {"type": "SCHEMA", "stream": "s", "key_properties": [], "schema": {"properties": {"n": {"type": "integer"}}}}
    letters = int.from_bytes(b"12345678", "big")
    with Run(settings) as run:
        assert run.target.stdin
        run.target.stdin.write(json.dumps(schema).encode() + b"\n" + RECORD % 1 + b'{"type":"STATE","value":1}\n')
        run.target.stdin.flush()
        run.wait_for_states(1)
        here.query(f'ALTER TABLE "{here.schema}".s ALTER COLUMN n TYPE text')
        time.sleep(0.1)
        run.target.stdin.write(RECORD % letters)
        run.target.stdin.close()
        code = run.ended()
    found = here.query(f'SELECT n FROM "{here.schema}".s ORDER BY "__loaded_at"')
    assert (code, found) in ((0, [("1",), (str(letters),)]), (3, [("1",)]))


RECORD = b'{"type":"RECORD","stream":"s","record":{"n":%d}}\n'
