"""What the taps of PostgreSQL make of odd values before a target sees them, and remedies: docs/taps.md has the same table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from postgres_source import PACKAGES, PostgresPipe, Source, needs_wal2json

FULL, LOG = "FULL_TABLE", "LOG_BASED"
INFINITE = float("inf")
GONE = "no field"
FAILS = "the tap ends with an error"

# A type and a value; what meltanolabs' tap makes of it by SELECT and from the log, then PipelineWise's. Numbers that are no integers are texts here.
DAY = ("date", "infinity")
VALUES: dict[tuple[str, str], tuple[Any, Any, Any, Any]] = {
    ("numeric", "NaN"): (None, None, None, None),
    ("numeric", "Infinity"): (None, None, INFINITE, None),
    ("float8", "NaN"): (None, None, None, None),
    ("float8", "-Infinity"): (None, None, None, None),
    ("numeric", "1234567890.12345678901"): ("1234567890.12345678901", "1234567890.1234567", "1234567890.12345678901", "1234567890.1234567165374755859375"),
    ("numeric(20,10)", "1234567890.0123456789"): ("1234567890.0123456789", "1234567890.0123458", "1234567890.0123456789", "1234567890.012345790863037109375"),
    DAY: ("9999-12-31", "infinity", "9999-12-31T00:00:00+00:00", FAILS),
    ("timestamp", "infinity"): ("9999-12-31T23:59:59.999999+00:00", "infinity", "9999-12-31T23:59:59.999000+00:00", "9999-12-31T23:59:59.999+00:00"),
    ("timestamptz", "-infinity"): ("0001-01-01T00:00:00.000000+00:00", "-infinity", "9999-12-31T23:59:59.999000+00:00", "9999-12-31T23:59:59.999+00:00"),
    ("time", "24:00"): ("00:00:00", "24:00:00", "00:00:00", "00:00:00"),
    ("interval", "1 mon 02:00"): ("1970-01-31T02:00:00+00:00", "1 mon 02:00:00", GONE, GONE),
    ("json", '"text"'): ("text", '"text"', "text", "text"),
    ("jsonb", "null"): (None, "null", None, None),
    ("json", '{"a": 1, "a": 2}'): ({"a": 2}, '{"a": 1, "a": 2}', {"a": 2}, {"a": 2}),
    ("jsonb", '{"n": 12345678901234567890.1}'): ({"n": "12345678901234567890.1"}, '{"n": 12345678901234567890.1}', {"n": "1.2345678901234567e+19"}, {"n": "1.2345678901234567e+19"}),
    ("integer[]", "{1,NULL}"): ([1, None], "{1,NULL}", [1, None], [1, None]),
    ("bigint[]", "{1}"): ([1], "{1}", [1], ["1"]),
    ("hstore", "a=>1"): ({"a": "1"}, '"a"=>"1"', {"a": "1"}, {"a": "1"}),
    ("bytea", r"\x00ff"): ("00ff", "00ff", GONE, GONE),
}
COLUMNS = {f"v{at}": of for at, of in enumerate(VALUES)}
TAPS = pytest.mark.parametrize("tap", PACKAGES)


def make_odd(shop: Source, *, filled: bool = True) -> None:
    shop.query(f"CREATE TABLE odd (id int PRIMARY KEY, {', '.join(f'{name} {type_}' for name, (type_, _) in COLUMNS.items())})")
    if filled:
        fill(shop)


def fill(shop: Source) -> None:
    shop.query(f"INSERT INTO odd VALUES (1, {', '.join(['%s'] * len(COLUMNS))})", [value for _, value in COLUMNS.values()])


def read_log(pipe: PostgresPipe) -> None:
    """Read up to now, and go on from there in the next run."""
    pipe.read()
    *_, last = (line for line in pipe.messages.read_bytes().splitlines() if json.loads(line)["type"] == "STATE")
    pipe.state.write_text(json.dumps(json.loads(last)["value"]))


def sent(pipe: PostgresPipe) -> list[dict[str, Any]]:
    messages = (json.loads(line, parse_float=str) for line in pipe.messages.read_bytes().splitlines())
    return [message["record"] for message in messages if message["type"] == "RECORD"]


@TAPS
@pytest.mark.parametrize("method", [FULL, pytest.param(LOG, marks=needs_wal2json)])
def test_what_a_tap_makes_of_odd_values(tap: str, method: str, shop: Source, tmp_path: Path) -> None:
    make_odd(shop, filled=False)
    pipe = PostgresPipe(tap, method, shop, ["odd"], "", tmp_path, {})
    if method == LOG:
        read_log(pipe)
    fill(shop)
    at = list(PACKAGES).index(tap) * 2 + (method == LOG)
    wanted = {name: VALUES[of][at] for name, of in COLUMNS.items()}
    failing = [name for name, value in wanted.items() if value == FAILS]
    for name in failing:
        with pytest.raises(AssertionError, match="Unknown string format: infinity"):
            pipe.read()
        assert COLUMNS[name] == DAY
        shop.query("SELECT pg_logical_slot_get_changes(slot_name, NULL, NULL) FROM pg_replication_slots WHERE database = current_database()")
        shop.query(f"ALTER TABLE odd DROP COLUMN {name}; UPDATE odd SET id = id")
    pipe.read()
    (record, *_) = sent(pipe)
    assert {name: record.get(name, GONE) for name in COLUMNS if name not in failing} == {name: value for name, value in wanted.items() if name not in failing}


@TAPS
def test_a_view_of_texts_arrives_as_it_is(tap: str, shop: Source, db: Any, postgres_url: str, tmp_path: Path) -> None:
    make_odd(shop)
    shop.query(f"CREATE VIEW readable AS SELECT id, {', '.join(f'{name}::text' for name in COLUMNS)} FROM odd")
    pipe = PostgresPipe(tap, FULL, shop, ["readable"], postgres_url, tmp_path, {db.schema: {"load_method": "overwrite"}})
    pipe.sync()
    names = ", ".join(COLUMNS)
    assert db.query(f'SELECT {names} FROM "{db.schema}".shop_readable') == shop.query(f"SELECT {names} FROM readable")


def test_dates_as_string_keeps_infinite_ones(shop: Source, db: Any, postgres_url: str, tmp_path: Path) -> None:
    shop.query("CREATE TABLE days (id int PRIMARY KEY, day date, at timestamptz); INSERT INTO days VALUES (1, 'infinity', '-infinity'), (2, '0044-03-15 BC', '12024-01-01')")
    pipe = PostgresPipe("meltanolabs", FULL, shop, ["days"], postgres_url, tmp_path, {db.schema: {}}, dates_as_string=True)
    pipe.sync()
    assert db.query(f'SELECT id, day, at FROM "{db.schema}".shop_days ORDER BY id') == shop.query("SELECT id, day::text, at::text FROM days ORDER BY id")


@needs_wal2json
@TAPS
def test_a_key_that_changes_leaves_its_old_row_and_a_truncate_all(tap: str, shop: Source, db: Any, postgres_url: str, tmp_path: Path) -> None:
    """The log has both, the taps send neither; PipelineWise's begins anew without its STATE, and marks what is gone."""
    shop.query("CREATE TABLE things (id int PRIMARY KEY); INSERT INTO things VALUES (1), (2)")
    pipe = PostgresPipe(tap, LOG, shop, ["things"], postgres_url, tmp_path, {db.schema: {}})
    shop.query("UPDATE things SET id = id")  # for the tap that begins with the log
    pipe.sync()
    shop.query("UPDATE things SET id = 3 WHERE id = 2")
    pipe.sync()
    live = f"SELECT id FROM \"{db.schema}\".shop_things t WHERE coalesce(to_jsonb(t)->>'_sdc_deleted_at', to_jsonb(t)->>'__deleted_at') IS NULL ORDER BY id"
    assert db.query(live) == [(1,), (2,), (3,)]
    shop.query("TRUNCATE things")
    pipe.sync()
    assert db.query(live) == [(1,), (2,), (3,)]
    if tap == "pipelinewise":
        pipe.state.unlink()
        pipe.sync()
        assert db.query(live) == []


@needs_wal2json
def test_a_scale_mends_numbers_that_went_through_a_float(shop: Source, db: Any, postgres_url: str, tmp_path: Path) -> None:
    """From the log PipelineWise's tap sends all binary digits of a float; a scale tells that they are not meant."""
    shop.query("CREATE TABLE sums (id int PRIMARY KEY, free numeric, scaled numeric)")
    pipe = PostgresPipe("pipelinewise", LOG, shop, ["sums"], postgres_url, tmp_path, {db.schema: {"column_types": {"shop-sums.scaled": "decimal(38,9)"}}})
    pipe.sync()
    shop.query("INSERT INTO sums VALUES (1, 123456.789, 123456.789)")
    pipe.sync()
    assert db.query(f'SELECT free::text, trim_scale(scaled)::text FROM "{db.schema}".shop_sums') == [("123456.789000000004307366907596588134765625", "123456.789")]
