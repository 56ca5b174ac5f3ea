"""Rows and states end to end, where the suite for every dialect does not look."""

from __future__ import annotations

import io
import json
import tempfile
from decimal import Decimal
from typing import Any

import pytest
from on_postgres import dialect, rows, run

from target_meltano import MessageError, RecordError, SchemaError, SpoolError, UpgradeError, kept, load, outbox
from target_meltano.decode import Decoder
from target_meltano.samples import INT, NUM, STR, record, schema, state
from target_meltano.session import Session


def states_of(db: Any, *lines: Any, **settings: Any) -> list[Any]:
    """Load *lines* and return the values of the STATEs that came out."""
    states: list[Any] = []
    load(dialect(db, **settings), lines, on_state=lambda text: states.append(json.loads(text)))
    return states


def columns(db: Any, table: str = "t") -> list[str]:
    query = "SELECT column_name::text FROM information_schema.columns WHERE (table_schema, table_name) = (%s, %s) ORDER BY ordinal_position"
    return [name for (name,) in db.query(query, (db.schema, table))]


def test_a_state_without_rows_before_it_comes_out_at_once(db: Any) -> None:
    assert states_of(db, state(1), schema("t"), state(2), record("t", id=1), state(3)) == [1, 2, 3]


def test_of_the_states_in_a_batch_the_newest_comes_out(db: Any) -> None:
    """And the one that comes right after a COMMIT, which covers it as well."""
    lines = [line for i in range(10) for line in (record("t", id=i), state(i))]
    assert states_of(db, schema("t"), *lines, batch_rows=4) == [2, 3, 6, 7, 9]


def test_a_state_is_passed_on_as_it_was_written(db: Any) -> None:
    big = {"at": Decimal("1.10"), "n": 10**30, "é": [None, True]}
    texts: list[str] = []
    load(dialect(db), [schema("t"), state(big)], on_state=texts.append)
    assert "1.10" in texts[0]
    assert json.loads(texts[0], parse_float=Decimal) == big


def test_enough_bytes_are_a_batch(db: Any) -> None:
    lines = [line for i in range(4) for line in (record("t", id=i, v="x" * (1 << 20)), state(i))]
    assert states_of(db, schema("t", id=INT, v=STR), *lines, batch_bytes=1 << 20) == [0, 1, 2, 3]


def test_new_streams_do_not_each_cost_a_commit(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are not sent yet wait for the COMMIT of all; what is sent is committed before DDL."""
    commits = []
    commit = Session.commit
    monkeypatch.setattr(Session, "commit", lambda self, *arguments, **named: (commits.append(self), commit(self, *arguments, **named)))
    lines = [line for name in "abcd" for line in (schema(name), record(name, id=1))]
    assert states_of(db, *lines, record("a", id=2), state(1)) == [1]
    assert len(commits) == 1
    assert [len(rows(db, "id", name)) for name in "abcd"] == [2, 1, 1, 1]
    commits.clear()
    assert states_of(db, *lines, state(1), schema("a", id=INT, v=INT), record("a", id=3), state(2)) == [1, 2]
    assert len(commits) == 2  # the column of a table that has rows waiting
    commits.clear()
    for module, name in (("lines", "CHUNK"), ("target", "SETTLE_BYTES"), ("outbox", "SEND_BYTES")):
        monkeypatch.setattr(f"target_meltano.{module}.{name}", 1)
    assert states_of(db, schema("a", id=INT, v=INT), record("a", id=4), state(1), schema("e"), record("e", id=1), state(2)) == [1, 2]
    assert len(commits) == 2


@pytest.mark.parametrize(("width", "batches"), [(1, 8), (110, 3), (1000, 1)])
def test_a_wide_table_gets_more_rows_a_batch(db: Any, monkeypatch: pytest.MonkeyPatch, width: int, batches: int) -> None:
    """A batch costs by the column, so each 50 of them may wait for a share more of input; eight shares at most."""
    counts: list[int] = []
    batch = Decoder.batch
    monkeypatch.setattr(Decoder, "batch", lambda self, records, count: counts.append(count) or batch(self, records, count))
    monkeypatch.setattr("target_meltano.lines.CHUNK", 1)
    lines = [record(id=i) for i in range(8)]
    monkeypatch.setattr("target_meltano.target.SETTLE_BYTES", len(json.dumps(lines[0])) + 1)
    states_of(db, schema(id=INT, **{f"c{i}": INT for i in range(width)}), *lines)
    assert (len(counts), sum(counts)) == (batches, 8)


def test_a_table_follows_in_the_middle_of_its_stream(db: Any) -> None:
    """Rows of before are converted, rows of after fit, and both SCHEMAs may come again."""
    lines = [
        schema("t", id=INT, v=INT),
        record("t", id=1, v=1),
        state(1),
        schema("t", id=INT, v=NUM),
        record("t", id=2, v=Decimal("2.50")),
        schema("t", id=INT, v=STR, w=STR),
        record("t", id=3, v="three", w="x"),
        state(2),
    ]
    assert states_of(db, *lines) == [1, 2]
    assert rows(db, "id, v, w") == [(1, "1", None), (2, "2.50", None), (3, "three", "x")]


def test_a_table_that_cannot_follow_keeps_what_came_before(db: Any) -> None:
    lines = [
        schema("t", id=INT, v=STR),
        record("t", id=1, v="x"),
        state(1),
        schema("t", id=INT, v=INT),
        record("t", id=2),
        state(2),
    ]
    states: list[str] = []
    with pytest.raises(UpgradeError, match=r"line 4: stream 't': .*'v' is text and cannot become integer"):
        load(dialect(db), lines, on_state=states.append)
    assert (rows(db, "id, v"), states) == ([(1, "x")], ["1"])


def test_an_error_in_one_stream_keeps_the_rows_of_others(db: Any) -> None:
    lines = [
        schema("a"),
        schema("b"),
        record("a", id=1),
        record("b", id=1),
        state(1),
        record("a", id=2),
        record("b", id="x"),
    ]
    with pytest.raises(RecordError, match=r"line 7: stream 'b': \$\.id: "):
        run(db, *lines)
    assert (rows(db, "id", "a"), rows(db, "id", "b")) == ([(1,), (2,)], [(1,)])


def test_of_two_faults_the_first_line_is_told(db: Any) -> None:
    lines = [
        schema("a"),
        schema("b"),
        record("b", id=1),
        record("a", id=1),
        record("a", id=2**70),
        record("b", id=None),
    ]
    with pytest.raises(RecordError, match=r"line 5: stream 'a'"):
        run(db, *lines)
    assert (rows(db, "id", "a"), rows(db, "id", "b")) == ([(1,)], [(1,)])


@pytest.mark.parametrize(
    "line",
    ["{", "[]", '{"type": "RECORD"}', '{"type": "RECORD", "stream": "other", "record": {}}', '{"type": "STATE"}'],
)
def test_a_line_that_is_no_message_stops_the_load(db: Any, line: str) -> None:
    with pytest.raises(MessageError, match=r"^line 3: "):
        run(db, schema("t"), record("t", id=1), line, record("t", id=2))
    assert rows(db, "id") == [(1,)]


def test_what_came_before_a_row_that_the_database_refuses_is_committed(db: Any) -> None:
    run(db, schema("t", id=INT, v=STR))
    db.query(f"ALTER TABLE {db.schema}.t ADD CHECK (v <> 'bad')")
    lines = [schema("t", id=INT, v=STR), record("t", id=1, v="good"), state(1), record("t", id=2, v="bad"), state(2)]
    states: list[str] = []
    with pytest.raises(RecordError, match=r"line 4: stream 't': .*check constraint") as error:
        load(dialect(db), lines, on_state=states.append)
    assert "bad" not in str(error.value)
    assert (rows(db, "id"), states) == ([(1,)], ["1"])


def test_the_database_names_the_column_of_a_value_that_it_cannot_hold(db: Any) -> None:
    """jsonb has the numbers of numeric, and its own limits show only in the COPY."""
    lines = [
        schema("t", id=INT, v={}),
        record("t", id=1, v=1),
        record("t", id=2, v=[Decimal("1e200000")]),
        record("t", id=3),
    ]
    with pytest.raises(RecordError, match=r"line 3: stream 't': .*column 'v': .*overflow"):
        run(db, *lines)
    assert rows(db, "id") == [(1,)]


@pytest.mark.parametrize("there", [False, True], ids=["new", "upsert"])
def test_a_row_too_big_for_a_page_is_the_one_that_is_refused(db: Any, there: bool) -> None:
    """The error of COPY names another row."""
    many = {f"c{i}": INT for i in range(1500)}
    big = dict.fromkeys(many, 7)
    before = [record("t", id=i) for i in range(3)] if there else []
    lines = [schema("t", id=INT, **many), *before, *(record("t", id=i, **(big if i == 3 else {})) for i in range(6))]
    with pytest.raises(RecordError, match=rf"line {5 + len(before)}: stream 't': .*row is too big"):
        run(db, *lines)
    assert rows(db, "id") == [(0,), (1,), (2,)]


# --- how far a table may follow


def test_narrower_values_may_go_into_the_wider_column(db: Any) -> None:
    run(db, schema("t", id=INT, v=STR), record("t", id=1, v="x"))
    with pytest.raises(UpgradeError, match="`narrowing: keep`"):
        run(db, schema("t", id=INT, v=INT))
    for narrowing in ("keep", {"t": "keep"}, {"*": "keep"}):
        run(db, schema("t", id=INT, v=INT), record("t", id=2, v=7), narrowing=narrowing)
    assert rows(db, "id, v") == [(1, "x"), (2, "7")]
    with pytest.raises(UpgradeError):
        run(db, schema("t", id=INT, v=INT), narrowing={"other": "keep"})


def test_columns_alone_may_be_added(db: Any) -> None:
    run(db, schema("t", id=INT, v=INT))
    run(db, schema("t", id=INT, v=INT, w=INT), schema_changes="add")
    with pytest.raises(UpgradeError, match="schema_changes is add"):
        run(db, schema("t", id=INT, v=STR, x=INT), schema_changes="add")
    with pytest.raises(SchemaError, match="column 'x' is missing, and the setting schema_changes is fail"):
        run(db, schema("t", id=INT, v=INT, x=INT), schema_changes={"t": "fail"})
    assert columns(db) == ["id", "v", "__loaded_at", "w"]


def test_too_many_columns_are_refused_before_any_ddl(db: Any) -> None:
    with pytest.raises(SchemaError, match=r"1701 columns, and the database takes 1600; .*flatten_depth"):
        run(db, schema("t", id=INT, **{f"c{i}": INT for i in range(1699)}))
    assert db.query("SELECT 1 FROM information_schema.schemata WHERE schema_name = %s", (db.schema,)) == []
    run(db, schema("t", id=INT, o={"type": "object", "properties": {f"c{i}": INT for i in range(1699)}}), flatten_depth=0)
    assert columns(db) == ["id", "o", "__loaded_at"]


def test_as_many_columns_as_the_database_takes(db: Any) -> None:
    many = {f"c{i}": INT for i in range(1598)}
    for _ in range(2):
        run(db, schema("t", id=INT, **many), record("t", id=1, **{f"c{i}": i for i in range(0, 1598, 3)}))
    assert db.query(f"SELECT c3, c4, c1596 FROM {db.schema}.t") == [(3, None, 1596)]


def test_without_room_for_the_open_transaction_nothing_is_committed(db: Any, monkeypatch: Any) -> None:
    """/dev/full refuses what is written to it as a full disk does."""
    lines = [schema("t"), *(record("t", id=i) for i in range(20)), state(1)]
    monkeypatch.setattr(kept, "IN_MEMORY", 0)
    assert states_of(db, *lines) == [1]
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: open("/dev/full", "r+b", buffering=0))  # noqa: SIM115
    with pytest.raises(SpoolError, match="No space left on device; make room, let TMPDIR name a folder"):
        run(db, schema("t"), record("t", id=20), state(2))
    assert len(rows(db)) == 20


@pytest.mark.parametrize("text", [b'{"id": 2, "j": ["\xff"]}', b'{"id": 2}, "at": "\xff"'], ids=["JSON", "envelope"])
def test_bytes_that_are_no_utf8_are_found_among_many_lines(db: Any, text: bytes) -> None:
    line = b'{"type": "RECORD", "stream": "t", "record": %s}\n'
    lines = [json.dumps(schema("t", id=INT, j={})).encode() + b"\n", line % b'{"id": 1, "j": "\xc3\xa4"}', line % text]
    with pytest.raises(MessageError, match="line 3: .*not valid UTF-8"):
        load(dialect(db), io.BytesIO(b"".join([*lines, line % b'{"id": 3}'])))
    assert rows(db, "id, j") == [(1, "ä")]


def test_a_transaction_has_so_many_tables_and_no_more(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables are there, so no DDL comes between; each record is of another stream than the one before."""
    monkeypatch.setattr(outbox, "MOST_STREAMS", 10)
    names = [f"t{n}" for n in range(25)]
    run(db, *map(schema, names))
    states = states_of(db, *map(schema, names), *(record(name, id=n) for n in range(3) for name in names), state(1))
    assert states == [1]
    transactions = "SELECT count(DISTINCT committed_at) FROM __loads WHERE rows_read = 3"
    assert db.query(f"SET search_path TO {db.schema}; {transactions}")[0][0] >= 3
    assert [len(rows(db, table=name)) for name in names] == [3] * 25


def test_invalid_records_alone_are_kept(db: Any) -> None:
    """Nothing else comes with them; the rows of the table are none."""
    assert states_of(db, schema("t", id=INT, n=NUM), record("t", id=1, n=[]), record("t", id=2, n=[]), state(1), invalid_records="quarantine") == [1]
    assert (rows(db), len(rows(db, table="__rejected"))) == ([], 2)


@pytest.mark.parametrize("state_id", [None, "here"])
def test_a_run_in_which_no_schema_is_taken_has_a_quarantine(db: Any, state_id: str | None) -> None:
    lines = [record("t", id=1), b"no JSON", {**schema("a\0b"), "key_properties": []}, state(1)]
    assert states_of(db, *lines, invalid_records="quarantine", **({"state_id": state_id} if state_id else {})) == [1]
    found = db.query(f'SELECT line, stream, reason FROM "{db.schema}".__rejected ORDER BY line')
    assert [(line, stream) for line, stream, _ in found] == [(1, None), (2, None), (3, None)]
    assert found[0][2] == "a RECORD of stream 't' before its SCHEMA"
    assert db.query(f'SELECT sum(rows_rejected) FROM "{db.schema}".__loads') == [(3,)]
