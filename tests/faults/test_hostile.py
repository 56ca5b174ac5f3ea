"""Hostile input: loaded or refused by name, never a traceback, a hang or a partial line."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from conftest import FAULTS  # type: ignore[import-not-found]
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import TARGET, WAIT_SECONDS, Run, Tables

from target_meltano import Found, RowCounts, Table, TargetError, load, make
from target_meltano_postgres.dialect import PostgresDialect
from target_meltano_postgres.session import PostgresSettings

EXAMPLES = int(os.environ.get("FAULT_EXAMPLES", FAULTS * 100 or 60))
MEGABYTES = 100 if FAULTS else 4
STREAMS = 10_000 if FAULTS else 300


class Nowhere(PostgresDialect):
    """PostgreSQL up to the last step: rows are encoded for it and thrown away; the catalogue is SQLite's, and empty."""

    sql: ClassVar[sa.Dialect] = PostgresDialect.sql

    def connect(self) -> sa.Connection:
        engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool, connect_args={"check_same_thread": False})
        return engine.connect()

    def found(self, connection: sa.Connection, schema: str, name: str) -> Found | None:
        return Found({c.name: self.found_column(c.name, self.type_name(c.kind)) for c in OURS.get(name, ())}, (), True, "")

    def check_constraints(self, connection: sa.Connection) -> None:
        pass

    def write(self, connection: sa.Connection, table: Table, rows: Any) -> RowCounts:
        return RowCounts()


OURS: dict[str, Any] = {}

names = st.sampled_from(["id", "a", "b", "__loaded_at", "a__b", 'x"; DROP TABLE s; --', "é", "\0", "\ud800", "", "type"]) | st.text(max_size=8)
numbers = st.integers() | st.floats() | st.sampled_from([2**63, -(2**63) - 1, 1e308, 0.1, -0.0, 10**30])
strings = st.text(max_size=20) | st.sampled_from(["2026-02-30", "2026-01-01T00:00:00Z", "NaN", "\0", "\ud800", "1e999999999", "'; DROP"])
values = st.recursive(
    st.none() | st.booleans() | numbers | strings,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)
kinds = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object", "date", 7])
schemas = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": kinds | st.lists(kinds, max_size=3),
            "format": st.sampled_from(["date-time", "date", "time", "singer.decimal", "x"]),
            "enum": st.lists(values, max_size=2),
            "maximum": numbers,
            "multipleOf": numbers,
            "$ref": st.sampled_from(["#", "#/definitions/x", "http://x", "#/properties/a"]),
        },
    )
    | st.booleans()
    | values,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(names, inner, max_size=4),
            "type": kinds,
            "anyOf": st.lists(inner, max_size=3),
            "items": inner,
            "definitions": st.dictionaries(st.just("x"), inner),
        },
    ),
    max_leaves=8,
)
streams = st.sampled_from(["s", "t", "__loads", "S"]) | names
messages = st.one_of(
    st.fixed_dictionaries({"type": st.just("SCHEMA"), "stream": streams, "schema": schemas, "key_properties": st.lists(names, max_size=2)}),
    st.fixed_dictionaries({"type": st.just("RECORD"), "stream": streams, "record": st.dictionaries(names, values, max_size=5)}),
    st.fixed_dictionaries({"type": st.just("STATE"), "value": values}),
    st.fixed_dictionaries({"type": st.just("ACTIVATE_VERSION"), "stream": streams, "version": values}),
    st.dictionaries(st.sampled_from(["type", "stream", "record", "value", "schema"]), values),
)


@st.composite
def inputs(draw: Callable[[Any], Any]) -> list[bytes]:
    """Lines of messages, most of them well formed, some with bytes changed."""
    plain = {"id": {"type": "integer"}, "a": {"type": "number"}, "b": {}}
    known = {"type": "SCHEMA", "stream": "s", "key_properties": [], "schema": {"properties": plain}}
    lines = [json.dumps(message).encode() for message in [known, *draw(st.lists(messages, max_size=8))]]
    for at in draw(st.lists(st.integers(0, len(lines) - 1), max_size=2)):
        cut = draw(st.integers(0, len(lines[at])))
        lines[at] = lines[at][:cut] + draw(st.binary(max_size=4)) + lines[at][cut + draw(st.integers(0, 3)) :]
    return b"\n".join(lines).split(b"\n")


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(lines=inputs(), keep=st.booleans(), extra=st.sampled_from(["warn", "fail", "keep"]), text=st.sampled_from(["fail", "replace"]))
def test_any_bytes(db_less: None, lines: list[bytes], keep: bool, extra: str, text: str) -> None:
    told: list[str] = []
    chosen = {"invalid_records": "quarantine" if keep else "fail", "unknown_fields": extra, "on_bad_text": text}
    started = time.monotonic()
    try:
        load(Nowhere(make(PostgresSettings, schema="x", **chosen)), lines, on_state=told.append)
    except TargetError:
        pass
    assert time.monotonic() - started < 60  # on a machine that is busy with other things
    for state in told:
        assert "\n" not in state
        json.loads(state)
        state.encode()


@pytest.fixture(scope="module")
def db_less(module_patch: pytest.MonkeyPatch) -> None:
    """Let rows go nowhere: no DDL, no ledger."""
    from target_meltano import ledger, tables, writing

    module_patch.setattr(tables, "follow", lambda dialect, connection, table, *_: table)
    module_patch.setattr(writing, "refuse_changed", lambda dialect, session, written, before: before)
    for name, found in {"note": None, "keep": None, "last_stamp": 0, "live_version": None, "keep_schema": None, "has": True}.items():
        module_patch.setattr(ledger.Ledger, name, lambda *_, found=found: found)
    module_patch.setattr(PostgresDialect, "transaction_id", lambda *_: "1")


@pytest.fixture(scope="module")
def module_patch() -> Iterable[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


# --- sizes, through the program


def run(settings_: dict[str, Any], parts: Iterable[bytes], folder: Path, seconds: float = WAIT_SECONDS) -> tuple[int, str, int]:
    """Return the exit code, what was said, and the peak of memory in bytes; longer than so many *seconds* is a hang."""
    source = folder / "input"
    with open(source, "wb") as file:
        for part in parts:
            file.write(part)
    code = (
        "import atexit, resource, sys\n"
        "def peak():\n"
        "    try: return next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "    except OSError: return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # may be that of who started us\n"
        "atexit.register(lambda: print('PEAK', peak(), file=sys.stderr))\n"
        f"{TARGET[2]}"
    )
    with Run(settings_, ["cat", str(source)], [sys.executable, "-c", code]) as one:
        ended = one.ended(seconds)
        told = one.errors()
    assert "Traceback" not in told, told[-3000:]
    return ended, told, int(re.findall(r"PEAK (\d+)", told)[-1]) * (1024 if sys.platform == "linux" else 1)


def schema(properties: dict[str, Any], keys: tuple[str, ...] = (), stream: str = "s") -> bytes:
    message = {"type": "SCHEMA", "stream": stream, "key_properties": keys, "schema": {"properties": properties}}
    return json.dumps(message).encode() + b"\n"


def record(values_: dict[str, Any], stream: str = "s") -> bytes:
    return json.dumps({"type": "RECORD", "stream": stream, "record": values_}).encode() + b"\n"


TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("parts", "code", "told"),
    [
        ([schema({"j": {}}), b'{"type":"RECORD","stream":"s","record":{"j":' + b"[" * 10_000 + b"]" * 10_000 + b"}}\n"], 1, "line 2"),
        ([b'{"type":"SCHEMA","stream":"s","key_properties":[],"schema":' + b'{"properties":{"a":' * 10_000 + b"{}" + b"}}" * 10_000 + b"}\n"], 1, "line 1"),
        ([schema({f"c{n}": TEXT for n in range(1700)})], 1, "flatten_depth"),
        ([schema({f"c{n}": TEXT for n in range(1500)}), record({f"c{n}": "x" * 30 for n in range(1500)})], 1, "line 2"),
        ([schema({"k": TEXT}, ("k",)), record({"k": "a"}), record({"k": os.urandom(6000).hex()})], 1, "line 3"),
        ([schema({"j": {}}), record({"j": {str(n): n for n in range(1_000_000 if FAULTS else 100_000)}})], 0, ""),
        ([schema({'a"; DROP SCHEMA x; --': TEXT}, stream="t'); DROP TABLE s; --"), record({'a"; DROP SCHEMA x; --': "'); --"}, "t'); DROP TABLE s; --")], 0, ""),
    ],
    ids=["deep record", "deep schema", "1,700 columns", "a row wider than a page", "a key too long to index", "many keys", "SQL"],
)
def test_sizes(parts: list[bytes], code: int, told: str, postgres_url: str, tables: Callable[[], Tables], folder: Path) -> None:
    ended, said, _ = run({"url": postgres_url, "schema": tables().schema}, parts, folder)
    assert (ended, told in said) == (code, True), said[-2000:]


def test_a_long_line(postgres_url: str, tables: Callable[[], Tables], folder: Path) -> None:
    """Memory stays under a base and six times the line."""
    small = [schema({"t": TEXT}), record({"t": "x"})]
    _, _, base = run({"url": postgres_url, "schema": tables().schema}, small, folder)
    here = tables()
    line = record({"t": "x" * (MEGABYTES * 1_000_000)})
    code, told, peak = run({"url": postgres_url, "schema": here.schema}, [small[0], line], folder)
    assert code == 0, told
    assert here.query(f'SELECT length(t) FROM "{here.schema}".s') == [(MEGABYTES * 1_000_000,)]
    print(f"\n{MEGABYTES} MB in one line: {(peak - base) / len(line):.1f} times the line above {base >> 20} MiB")
    assert peak - base < 6 * len(line) + (32 << 20)


def test_many_streams(postgres_url: str, tables: Callable[[], Tables], folder: Path) -> None:
    here = tables()
    schemas_ = [schema({"a": TEXT}, (), f"s{n}") for n in range(STREAMS)]
    records = [record({"a": "x"}, f"s{n}") for n in range(STREAMS)]
    started = time.monotonic()
    for turn in range(2):  # the second one finds all tables there, and could have all rows in one transaction
        parts = [part for pair in zip(schemas_, records, strict=True) for part in pair] if not turn else schemas_ + records
        code, told, peak = run({"url": postgres_url, "schema": here.schema}, parts, folder, 120 + STREAMS // 10)
        assert code == 0, told[-2000:]
    assert here.query(f'SELECT count(*) FROM "{here.schema}".s7') == [(2,)]
    assert here.query("SELECT count(*) FROM pg_tables WHERE schemaname = %s", (here.schema,)) == [(STREAMS + 1,)]
    print(f"\n{STREAMS:,} streams: {time.monotonic() - started:.0f} s, {peak >> 20} MiB")
    for n in range(0, STREAMS, 200):  # one DROP of all needs more locks than the server has
        names_ = ", ".join(f'"{here.schema}".s{i}' for i in range(n, min(n + 200, STREAMS)))
        here.query(f"DROP TABLE {names_}")
