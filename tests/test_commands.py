"""The commands `state` and `rejected`, as a user calls them."""

from __future__ import annotations

import datetime as dt
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from on_postgres import dialect, role, rows, run

from target_meltano import OutputError, main


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: bytes
    stderr: bytes


Cli = Callable[..., Done]


@pytest.fixture
def cli(db: Any, tmp_path: Path, capsysbinary: Any, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Calls the target with the settings of the test."""

    def call(*arguments: str, told: bytes = b"", **settings: Any) -> Done:
        config = tmp_path / "c.json"
        config.write_text(json.dumps({"url": db.url, "schema": db.schema, "state_id": "shop", **settings}), "utf-8")
        monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(told)))
        capsysbinary.readouterr()
        code = main("postgres", "target_meltano_postgres.dialect:PostgresDialect", [*arguments, "--config", str(config)])
        return Done(code, *capsysbinary.readouterr())

    return call


def schema(stream: str = "t", keys: tuple[str, ...] = ("id",), **types: Any) -> dict[str, Any]:
    properties = {name: {"type": words} for name, words in (types or {"id": "integer", "n": "integer"}).items()}
    return {"type": "SCHEMA", "stream": stream, "key_properties": keys, "schema": {"properties": properties}}


def record(stream: str = "t", **values: Any) -> dict[str, Any]:
    return {"type": "RECORD", "stream": stream, "record": values}


def messages(output: bytes) -> list[Any]:
    return [json.loads(line) for line in output.splitlines()]


# --- state


def test_state_that_was_set_is_got(cli: Cli) -> None:
    """With all digits, and without the spaces."""
    assert (cli("state", "set", told=b'{"at": 1.10, "name": "Z\xc3\xbcrich"}\n').returncode) == 0
    got = cli("state", "get")
    assert (got.returncode, got.stderr) == (0, b"")
    assert got.stdout == b'{"at":1.10,"name":"Z\\u00fcrich"}\n'


def test_state_of_a_run_is_got(db: Any, cli: Cli) -> None:
    run(db, schema(), record(id=1), {"type": "STATE", "value": {"t": 1}}, state_id="shop")
    assert messages(cli("state", "get").stdout) == [{"t": 1}]


def test_no_state_is_nothing(cli: Cli) -> None:
    """Neither before the first run nor after `clear`."""
    assert (cli("state", "get").returncode, cli("state", "get").stdout) == (0, b"")
    assert cli("state", "clear").returncode == 0
    cli("state", "set", told=b'{"t": 1}')
    assert cli("state", "clear").returncode == 0
    assert (cli("state", "get").returncode, cli("state", "get").stdout) == (0, b"")


def test_state_is_set_from_a_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"t": [1,\n2]}', "utf-8")
    assert cli("state", "set", str(tmp_path / "state.json")).returncode == 0
    assert messages(cli("state", "get").stdout) == [{"t": [1, 2]}]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (b"", "not JSON"),
        (b'{"t": 1} {"t": 2}', "not JSON"),
        (b'{"t": NaN}', "NaN is no JSON number"),
        (b'{"type": "STATE", "value": 1}', 'give its "value" alone'),
        (b"[]", "found a list, wanted an object"),
        (b"null", "found null, wanted an object"),
        (b"1.5", "found a number, wanted an object"),
        (b'"x"', "found a text, wanted an object"),
        (b'{"t": "\xff"}', "UTF-8"),
        (b"[" * 100_000, "the STATE to be set: "),
    ],
    ids=["nothing", "two", "NaN", "message", "list", "null", "number", "text", "latin_1", "deep"],
)
def test_what_is_no_state_is_refused(cli: Cli, told: bytes, words: str) -> None:
    cli("state", "set", told=b'{"t":0}')
    refused = cli("state", "set", told=told)
    assert refused.returncode == 2
    assert words in refused.stderr.decode()
    assert cli("state", "get").stdout == b'{"t":0}\n'


def test_state_needs_its_name(cli: Cli) -> None:
    refused = cli("state", "get", state_id=None)
    assert (refused.returncode, refused.stderr.decode().count("\n")) == (2, 1)
    assert "state_id: missing" in refused.stderr.decode()


@pytest.mark.parametrize("action", ["get", "set", "clear"])
def test_state_is_left_alone_while_a_run_is_under_way(db: Any, cli: Cli, action: str) -> None:
    run(db, schema(), record(id=1), {"type": "STATE", "value": 1}, state_id="shop")
    lock = "SELECT pg_advisory_lock(hashtextextended(%s, 0))"
    db.query(lock, (f"target-meltano/{db.schema}/shop",))
    refused = cli("state", action, told=b'{"t": 2}')
    assert refused.returncode == 3
    assert "is under way" in refused.stderr.decode()
    assert refused.stdout == b""  # it may move still, and a tap that starts from it would send rows again
    db.query(lock.replace("advisory_lock", "advisory_unlock"), (f"target-meltano/{db.schema}/shop",))
    assert cli("state", "get").stdout == b"1\n"


# --- rejected


def quarantined(db: Any, *lines: Any, **settings: Any) -> None:
    run(db, *lines, invalid_records="quarantine", **settings)


def test_rejected_are_listed(db: Any, cli: Cli) -> None:
    quarantined(db, schema(), record(id=1, n="no\nnumber"), record(id=2, n=2), b'{"type": "RECORD"\n')
    listed = cli("rejected", "list").stdout.decode().splitlines()
    found = [line.split("\t")[2:6] for line in listed]
    assert found == [
        ["t", "2", "$.n", "'no\\nnumber' is a string, wanted integer; setting column_types: \"t.n\": \"string\" holds it"],
        ["-", "4", "$", "not JSON: Expecting ',' delimiter at character 18: '{\"type\": \"RECORD\"'"],
    ]
    runs = {line.split("\t")[0] for line in listed}
    assert runs == {run_id for (run_id,) in db.query(f"SELECT run_id FROM {db.schema}.__loads")}


def test_list_and_replay_are_of_one_run_and_stream(db: Any, cli: Cli) -> None:
    for number in (1, 2):
        quarantined(db, schema("a"), schema("b"), record("a", id="x", n=number), record("b", id="y", n=number))
    run_ids = sorted({run_id for (run_id,) in db.query(f"SELECT run_id FROM {db.schema}.__rejected")})
    listed = cli("rejected", "list", "--run", run_ids[0], "--stream", "b").stdout.decode()
    assert [line.split("\t")[0::2][:2] for line in listed.splitlines()] == [[run_ids[0], "b"]]
    replayed = messages(cli("rejected", "replay", "--run", run_ids[1], "--stream", "a").stdout)
    assert replayed == [{**schema("a"), "key_properties": ["id"]}, record("a", id="x", n=2)]


def test_without_quarantine_there_is_nothing(db: Any, cli: Cli) -> None:
    for action in ("list", "replay"):
        done = cli("rejected", action)
        assert (done.returncode, done.stdout) == (0, b"")


@pytest.mark.parametrize("action", ["list", "replay", "clear"])
def test_that_there_is_nothing_is_said(db: Any, cli: Cli, action: str) -> None:
    """Of a run and stream that are not there, too; a record has come meanwhile."""
    assert cli("rejected", action).stderr == b"WARNING nothing is in quarantine\n"
    quarantined(db, schema(), record(id=1, n="one"))
    done = cli("rejected", action, "--run", "nope", "--stream", "t")
    assert (done.returncode, done.stderr) == (0, b"WARNING nothing of run 'nope' and stream 't' is in quarantine\n")
    assert done.stdout == (b"0 deleted\n" if action == "clear" else b"")
    assert rows(db, "count(*)", "__rejected") == [(1,)]


def marks(cli: Cli) -> list[tuple[str, str]]:
    """Return the lines of what is in quarantine, and how each is marked."""
    lines = [line.split("\t") for line in cli("rejected", "list").stdout.decode().splitlines()]
    return [(line[3], re.sub(r"\d\d\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", line[6])) for line in lines]


def test_what_was_replayed_is_marked_and_can_be_cleared(db: Any, cli: Cli) -> None:
    """Only what was given out: not the records of another stream, nor those that newer rows have replaced."""
    quarantined(db, schema("a"), schema("b"), record("a", id="x"), record("b", id="y"), b"broken\n", record("a", id=1, n="z"), record("a", id=1, n=1))
    assert marks(cli) == [("3", "-"), ("4", "-"), ("5", "-"), ("6", "-")]
    assert cli("rejected", "replay", "--stream", "a").stderr.count(b"left out") == 1
    assert marks(cli) == [("3", "replayed TIME"), ("4", "-"), ("5", "-"), ("6", "-")]
    again = cli("rejected", "replay")
    assert b"1 of the records were replayed before" in again.stderr
    assert b"broken" in again.stdout
    assert marks(cli) == [("3", "replayed TIME"), ("4", "replayed TIME"), ("5", "replayed TIME"), ("6", "-")]
    assert cli("rejected", "clear", "--replayed").stdout == b"3 deleted\n"
    assert marks(cli) == [("6", "-")]
    assert b"nothing is in quarantine that was replayed" in cli("rejected", "clear", "--replayed").stderr
    assert cli("rejected", "clear", "--stream", "a").stdout == b"1 deleted\n"
    assert marks(cli) == []


def test_records_of_a_batch_are_marked_each(db: Any, cli: Cli, tmp_path: Path) -> None:
    """More of them than one statement marks; of an older table, too, which has no such column yet."""
    path = tmp_path / "x"
    path.write_text("".join(json.dumps({"id": n, "n": "x" if n % 2 else n}) + "\n" for n in range(1200)))
    batch = {"type": "BATCH", "stream": "t", "encoding": {"format": "jsonl"}, "manifest": [path.as_uri()]}
    quarantined(db, schema(), batch, record(id=1, n=1), batch_root=str(tmp_path))
    db.query(f"ALTER TABLE {db.schema}.__rejected DROP replayed_at")
    assert len(messages(cli("rejected", "replay").stdout)) == 600  # the SCHEMA, and all but the one that a newer row has replaced
    assert db.query(f"SELECT record FROM {db.schema}.__rejected WHERE replayed_at IS NULL") == [(2,)]


def test_a_role_that_may_only_read_replays_all_the_same(db: Any, cli: Cli) -> None:
    quarantined(db, schema(), record(id=1, n="one"))
    with role(db) as (name, url):
        db.query(f"GRANT USAGE ON SCHEMA {db.schema} TO {name}; GRANT SELECT ON ALL TABLES IN SCHEMA {db.schema} TO {name}")
        done = cli("rejected", "replay", url=url)
    assert (done.returncode, len(messages(done.stdout))) == (0, 2)
    assert b"WARNING what was replayed is not marked as such: " in done.stderr
    assert marks(cli) == [("2", "-")]


def test_what_could_not_be_written_is_not_marked(db: Any, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    quarantined(db, schema(), record(id=1, n="one"))

    def gone(data: bytes, *, more: bool = False) -> None:
        raise OutputError("stdout is gone")

    with monkeypatch.context() as full:
        full.setattr("target_meltano.standard.write", gone)
        assert cli("rejected", "replay").returncode == 1
    assert marks(cli) == [("2", "-")]


def test_replay_can_be_mended_and_piped_in_again(db: Any, cli: Cli) -> None:
    """What is no message comes as it was."""
    quarantined(db, schema(), record(id=1, n="one"), record(id=2, n=2), b"{broken\xff\n", record(id=3, n="three"))
    replay = cli("rejected", "replay").stdout
    assert replay.splitlines()[2] == b"{broken\xff"
    mended = replay.replace(b'"one"', b"1").replace(b'"three"', b"3").replace(b"{broken\xff\n", b"")
    assert cli(told=mended).returncode == 0
    assert rows(db, "id, n") == [(1, 1), (2, 2), (3, 3)]


def test_replay_has_the_latest_schema(db: Any, cli: Cli) -> None:
    """So that what the tap has mended by now needs no mending."""
    quarantined(db, schema(), record(id=1, n=1.5))
    quarantined(db, schema(id="integer", n="number"), record(id=2, n=2))
    assert cli(told=cli("rejected", "replay").stdout).returncode == 0
    assert rows(db, "id, n") == [(1, 1.5), (2, 2)]


def test_a_schema_is_kept_once(db: Any) -> None:
    for number in range(3):
        quarantined(db, schema(), record(id=number, n=number))
    assert db.query(f"SELECT count(*), count(schema) FROM {db.schema}.__loads") == [(3, 1)]


@pytest.mark.parametrize(
    ("lines", "replayed"),
    [
        ([record(id=1, n="bad"), record(id=1, n=2)], []),
        ([record(id=1, n=2), record(id=1, n="bad")], [record(id=1, n="bad")]),
        ([record(id=1, n=1), record(id=1, n="bad"), record(id=1, n=2)], []),
        ([record(id=1, n=1), record(id=1, n="bad"), record(id=2, n=2)], [record(id=1, n="bad")]),
        ([record(id="1", n=1), record(id=1, n=2)], [record(id="1", n=1)]),
    ],
    ids=["newer", "older", "both", "another", "key at fault"],
)
def test_replay_leaves_out_what_newer_rows_have_replaced(
    db: Any, cli: Cli, lines: list[Any], replayed: list[Any]
) -> None:
    """In the order of the lines, within one batch, too."""
    quarantined(db, schema(), *lines)
    done = cli("rejected", "replay")
    assert messages(done.stdout)[1:] == replayed
    assert (b"1 records are left out" in done.stderr) == (not replayed)


def test_replay_leaves_out_what_a_later_run_has_loaded(db: Any, cli: Cli) -> None:
    """Keys are compared as values of their columns."""
    types = {"at": "number", "name": "string", "n": "integer"}
    quarantined(db, schema(keys=("at", "name"), **types), record(at=1, name="a'b", n="x"), record(at=2, name="b", n="x"))
    run(db, schema(keys=("at", "name"), **types), record(at=1.0, name="a'b", n=1), record(at=2, name="B", n=1))
    assert messages(cli("rejected", "replay").stdout)[1:] == [record(at=2, name="b", n="x")]


def test_what_the_database_refuses_is_replayed(db: Any, cli: Cli) -> None:
    """Its time is that of its row, so that what came before it does not count as newer."""
    db.query(f"CREATE SCHEMA {db.schema}; CREATE TABLE {db.schema}.t (id bigint PRIMARY KEY, n bigint CHECK (n < 9))")
    quarantined(db, schema(), record(id=1, n=1), record(id=2, n=99), record(id=1, n=99), record(id=2, n=2))
    assert messages(cli("rejected", "replay").stdout)[1:] == [record(id=1, n=99)]


def test_stamps_go_on_after_an_invalid_record(db: Any) -> None:
    """Each chunk of input is stamped later than the records that it refused."""
    quarantined(db, schema(), *[record(id=n, n="x" if n % 3 else n) for n in range(300)])
    newer = f"SELECT count(*) FROM {db.schema}.__rejected x JOIN {db.schema}.t ON t.__loaded_at > x.rejected_at"
    assert db.query(f"{newer} WHERE t.id < (x.message->'record'->>'id')::bigint") == [(0,)]
    older = newer.replace(">", "<=")
    assert db.query(f"{older} WHERE t.id > (x.message->'record'->>'id')::bigint") == [(0,)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the clock of this machine to so many hours from what it is."""
    real = time.time_ns

    def ahead(hours: int) -> None:
        monkeypatch.setattr("time.time_ns", lambda: real() + hours * 3600 * 10**9)
        monkeypatch.setattr("target_meltano.ledger.now", lambda: dt.datetime.now(dt.timezone.utc) + dt.timedelta(hours=hours))

    return ahead


@pytest.mark.parametrize("stamp", ["__loaded_at", "n"], ids=["stamps", "no stamps"])
@pytest.mark.parametrize("hours", [24, -24])
def test_the_order_of_runs_is_not_that_of_a_clock(db: Any, cli: Cli, clock: Callable[[int], None], hours: int, stamp: str) -> None:
    """The first run was a day ahead, or behind: a newer row is newer, and of two invalid records the later one comes last."""
    settings = {"timestamp_column": stamp}
    old = [record(id=1, n="old"), record(id=2, n="old")]
    clock(hours)
    quarantined(db, schema(), *old, **settings)
    clock(0)
    run(db, schema(), record(id=1, n=5), **settings)
    quarantined(db, schema(), record(id=2, n="new"), **settings)
    replayed = messages(cli("rejected", "replay", **settings).stdout)[1:]
    assert replayed == [*(old[1:] if stamp == "__loaded_at" else old), record(id=2, n="new")]
    assert [line.split(b"\t")[3] for line in cli("rejected", "list").stdout.splitlines()] == [b"2", b"3", b"2"]


def test_invalid_records_of_a_file_are_replayed_in_their_order(db: Any, cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("".join(json.dumps({"id": n % 3, "n": f"x{n}"}) + "\n" for n in range(40)))
    batch = {"type": "BATCH", "stream": "t", "encoding": {"format": "jsonl"}, "manifest": [path.as_uri()]}
    quarantined(db, schema(), batch, record(id=1, n="last"), batch_root=str(tmp_path))
    assert [one["record"]["n"] for one in messages(cli("rejected", "replay").stdout)[1:]] == [*(f"x{n}" for n in range(40)), "last"]
    db.query(f"ALTER TABLE {db.schema}.__rejected DROP record, DROP file")  # of an older version
    assert len(messages(cli("rejected", "replay").stdout)[1:]) == len(cli("rejected", "list").stdout.splitlines()) == 41


def test_dialect_is_what_the_command_uses(db: Any) -> None:
    """The commands are the core's: they need nothing but a dialect."""
    from target_meltano import commands

    commands.set_state(dialect(db, state_id="x"), b'{"t": "y"}')
    assert commands.get_state(dialect(db, state_id="x")) == '{"t":"y"}'
