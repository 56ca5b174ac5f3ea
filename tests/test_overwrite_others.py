"""load_method overwrite beside what others have: their tables, runs, foreign keys, rules and heirs."""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from on_postgres import dialect, make_table, role, rows

from target_meltano import DatabaseError, MessageError, RecordError, SchemaError, load
from target_meltano.report import Report
from target_meltano.samples import INT, STR, record, schema, state


def overwrite(db: Any, *lines: Any, **settings: Any) -> list[str]:
    """Load all *lines* and a STATE; return the STATEs that came out."""
    states: list[str] = []
    load(dialect(db, load_method="overwrite", **settings), [*lines, state(1)], on_state=states.append)
    return states


def tables(db: Any) -> list[str]:
    query = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = %s::regnamespace AND relname <> '__loads' ORDER BY 1"
    return [name for (name,) in db.query(query, (db.schema,))]


def pair(db: Any, action: str, child: str = "note text") -> None:
    """Make `shop` with two rows, and `till`, whose rows refer to them with this *action*."""
    make_table(db, "id bigint PRIMARY KEY, v text", "shop")
    make_table(db, f"no int PRIMARY KEY, shop bigint DEFAULT 1 REFERENCES {db.schema}.shop ON DELETE {action}, {child}", "till")
    db.query(f"INSERT INTO {db.schema}.shop VALUES (1, 'a'), (2, 'b'); INSERT INTO {db.schema}.till VALUES (7, 1), (8, 2)")


# --- tables and runs


def test_a_table_without_our_mark_is_never_touched(db: Any) -> None:
    make_table(db, "theirs text", "__new_t")
    db.query(f"INSERT INTO {db.schema}.__new_t VALUES ('kept')")
    overwrite(db, schema("t"), record("t", id=1))
    assert rows(db, "theirs", "__new_t") == [("kept",)]
    assert tables(db) == ["__new_t", "t"]


def test_a_stream_named_like_a_table_beside_is_refused_and_loads_under_another_name(db: Any) -> None:
    lines = [schema("s"), schema("__new_s"), record("s", id=1), record("__new_s", id=2), record("s", id=3)]
    with pytest.raises(SchemaError, match=r"line 2: stream '__new_s': .*table_names"):
        overwrite(db, *lines)
    overwrite(db, *lines, table_names={"__new_s": "_new_s"})
    assert (rows(db, "id", "s"), rows(db, "id", "_new_s")) == ([(1,), (3,)], [(2,)])


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is taken before the next one is read."""
    monkeypatch.setattr("target_meltano.lines.CHUNK", 1)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("state_id", [None, "p"])
def test_a_second_run_is_refused_by_name_and_harms_nothing(db: Any, state_id: str | None) -> None:
    def lines() -> Iterator[Any]:
        yield from (schema("t"), record("t", id=1), record("t", id=2))
        with pytest.raises(DatabaseError, match=r"another run \(run [0-9T]+-[0-9a-f]{8}\) is replacing the rows of .*\.t; wait"):
            overwrite(db, schema("t"), record("t", id=9), record("t", id=8), batch_rows=1)
        yield from (record("t", id=3), state(1))

    states: list[str] = []
    load(dialect(db, load_method="overwrite", batch_rows=1, state_id=state_id), lines(), on_state=states.append)
    assert states == ["1"]
    assert rows(db, "id") == [(1,), (2,), (3,)]
    assert [name for name in tables(db) if name != "__state"] == ["t"]


@pytest.mark.usefixtures("at_once")
def test_a_run_that_lost_its_table_beside_cannot_swap(db: Any) -> None:
    """As one does that seems to be dead behind a pooler: what it committed so far is gone, and it says so."""
    overwrite(db, schema("t"), record("t", id=1))

    def lines() -> Iterator[Any]:
        yield from (schema("t"), record("t", id=2), state(1))
        yield from (record("t", id=3), state(2))
        (left,) = [name for name in tables(db) if name != "t"]
        db.query(f"DROP TABLE {db.schema}.{left}")

    states: list[str] = []
    with pytest.raises(DatabaseError, match=r"the table beside it was dropped|dropped or renamed"):
        load(dialect(db, load_method="overwrite", batch_rows=1), lines(), on_state=states.append)
    assert (rows(db, "id"), states) == ([(1,)], [])


def leave(db: Any, name: str, of: str = "t", run_id: str = "20260101T000000000000-00000000") -> None:
    """Make a table like one that a killed run leaves."""
    make_table(db, "id bigint", name)
    words = f"target-meltano: rows of run {run_id} that are to replace those of {of}; the next run drops what a dead one left"
    db.query(f"COMMENT ON TABLE {db.schema}.{name} IS %s", (words,))


def test_what_a_dead_run_has_left_is_dropped_by_the_next(db: Any) -> None:
    """Of streams that this one does not have, too; not what only looks like it."""
    leave(db, "__new_t_00000000")
    leave(db, "__new_other_00000000", of="other")
    make_table(db, "id bigint", "__new_t_11111111")
    overwrite(db, schema("t"), record("t", id=1))
    assert tables(db) == ["__new_t_11111111", "t"]


def test_what_another_session_writes_to_is_left(db: Any) -> None:
    """Its run may have a name that the server does not show."""
    leave(db, "__new_t_00000000")
    with db.connection.cursor() as cursor:
        cursor.execute(f"BEGIN; INSERT INTO {db.schema}.__new_t_00000000 VALUES (1)")
        try:
            with pytest.raises(DatabaseError, match="another run .run 20260101T000000000000-00000000. is replacing"):
                overwrite(db, schema("t"), record("t", id=1))
        finally:
            cursor.execute("ROLLBACK")
    assert tables(db) == ["__new_t_00000000", "t"]


def test_a_run_that_fails_leaves_nothing(db: Any) -> None:
    with pytest.raises(MessageError):
        overwrite(db, schema("t"), record("t", id=1), record("t", id="x"), batch_rows=1)
    assert tables(db) == ["t"]


@pytest.mark.parametrize("seed", range(20))
def test_of_runs_that_overlap_each_is_whole_or_refused(db: Any, seed: int) -> None:
    """Two runs, their lines in a random order; then the table has the rows of the one that swapped last, and nothing else."""
    chance = random.Random(seed)
    swapped: list[int] = []
    sent = [[10 * i + number for i in range(chance.randint(1, 6))] for number in (0, 1)]

    def one(number: int, start: threading.Event) -> None:
        def lines() -> Iterator[Any]:
            yield schema("t")
            for id in sent[number]:
                yield record("t", id=id)
                start.set()
                start.wait(chance.random() / 20)
            yield state(number)

        try:
            load(dialect(db, load_method="overwrite", batch_rows=chance.randint(1, 3)), lines(), on_state=lambda text: swapped.append(int(text)))
        except DatabaseError as error:
            assert "is replacing the rows" in str(error)
        finally:
            start.set()

    started = [threading.Event(), threading.Event()]
    runs = [threading.Thread(target=one, args=(number, started[number])) for number in (0, 1)]
    runs[0].start()
    started[0].wait(chance.random() / 2)
    runs[1].start()
    for run in runs:
        run.join()
    assert swapped
    assert [id for (id,) in rows(db, "id")] == sent[swapped[-1]]
    assert tables(db) == ["t"]


# --- foreign keys, rules and heirs


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT", "NO ACTION", "RESTRICT"])
def test_rows_of_keys_that_come_again_stay_and_so_does_what_refers_to_them(db: Any, action: str) -> None:
    pair(db, action)
    overwrite(db, schema("shop", id=INT, v=STR), record("shop", id=2, v="y"), record("shop", id=3, v="z"), record("shop", id=1, v="x"))
    assert rows(db, "id, v", "shop") == [(1, "x"), (2, "y"), (3, "z")]
    assert rows(db, "no, shop", "till") == [(7, 1), (8, 2)]


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT"])
def test_a_delete_that_would_reach_other_rows_is_refused_by_name(db: Any, action: str) -> None:
    pair(db, action)
    lines = [schema("shop", id=INT, v=STR), record("shop", id=1, v="x")]
    report = Report(io.StringIO())
    with pytest.raises(DatabaseError, match=rf"shop: rows whose keys .* 'till_shop_fkey' of .*till \(ON DELETE {action}\); .*delete_actions: allow"):
        load(dialect(db, load_method="overwrite"), [*lines, state(1)], report=report)
    assert report.summary()["streams"]["shop"]["written"] == 0
    assert (rows(db, "id, v", "shop"), rows(db, "no, shop", "till")) == ([(1, "a"), (2, "b")], [(7, 1), (8, 2)])
    assert overwrite(db, *lines, delete_actions="allow") == ["1"]
    left = {"CASCADE": [(7, 1)], "SET NULL": [(7, 1), (8, None)], "SET DEFAULT": [(7, 1), (8, 1)]}
    assert (rows(db, "id, v", "shop"), rows(db, "no, shop", "till")) == ([(1, "x")], left[action])


def test_a_key_to_which_nothing_refers_may_go(db: Any) -> None:
    pair(db, "CASCADE")
    db.query(f"DELETE FROM {db.schema}.till WHERE shop = 2")
    overwrite(db, schema("shop", id=INT, v=STR), record("shop", id=1, v="x"))
    assert (rows(db, "id", "shop"), rows(db, "no, shop", "till")) == ([(1,)], [(7, 1)])


def test_a_key_that_goes_and_is_referred_to_is_refused_at_once(db: Any) -> None:
    """Nothing is tried again for a minute."""
    pair(db, "NO ACTION")
    with pytest.raises(DatabaseError, match=r"the old ones, which stay: .*violates .*foreign key constraint \"till_shop_fkey\""):
        overwrite(db, schema("shop", id=INT, v=STR), record("shop", id=1, v="x"))
    assert rows(db, "id, v", "shop") == [(1, "a"), (2, "b")]


def test_rows_that_our_role_cannot_see_are_not_risked(db: Any) -> None:
    pair(db, "CASCADE")
    with role(db) as (name, url):
        db.query(f"GRANT USAGE, CREATE ON SCHEMA {db.schema} TO {name}; GRANT ALL ON {db.schema}.shop TO {name}")
        db.query(f"ALTER TABLE {db.schema}.shop OWNER TO {name}; ALTER TABLE {db.schema}.shop ADD __loaded_at timestamptz")
        with pytest.raises(SchemaError, match="line 1: stream 'shop': .*'till_shop_fkey'.*delete_actions"):
            overwrite(db, schema("shop", id=INT, v=STR), record("shop", id=1, v="x"), url=url)
        db.query(f"ALTER TABLE {db.schema}.shop OWNER TO CURRENT_USER")


@pytest.mark.parametrize("first", ["shop", "till"])
@pytest.mark.parametrize("action", ["CASCADE", "NO ACTION", "SET NULL"])
def test_two_streams_that_refer_to_each_other_are_replaced_together(db: Any, first: str, action: str) -> None:
    """Rows that move to another row stay; whichever stream comes first."""
    pair(db, action, "note text DEFAULT 'mine'")
    shops = [schema("shop", id=INT, v=STR), record("shop", id=1, v="x"), record("shop", id=3, v="z")]
    tills = [schema("till", ("no",), no=INT, shop=INT), record("till", no=8, shop=3), record("till", no=9, shop=1)]
    overwrite(db, *(shops + tills if first == "shop" else tills + shops))
    assert rows(db, "id, v", "shop") == [(1, "x"), (3, "z")]
    assert rows(db, "no, shop, note", "till") == [(8, 3, "mine"), (9, 1, "mine")]


@pytest.mark.parametrize("action", ["CASCADE", "NO ACTION", "SET NULL"])
@pytest.mark.parametrize("allow", ["refuse", "allow"])
def test_a_row_of_this_run_never_goes_with_another_one(db: Any, action: str, allow: str) -> None:
    """It refers to a row that did not come; without an action that is what the database refuses."""
    pair(db, action)
    shops = [schema("shop", id=INT, v=STR), record("shop", id=1, v="x")]
    tills = [schema("till", ("no",), no=INT, shop=INT), record("till", no=8, shop=2)]
    with pytest.raises(DatabaseError, match="till_shop_fkey"):
        overwrite(db, *shops, *tills, delete_actions=allow)
    assert (rows(db, "id, v", "shop"), rows(db, "no, shop", "till")) == ([(1, "a"), (2, "b")], [(7, 1), (8, 2)])


def test_rows_that_refer_to_rows_of_their_own_table_go_together(db: Any) -> None:
    make_table(db, "id bigint PRIMARY KEY, up bigint REFERENCES t ON DELETE CASCADE".replace("REFERENCES t", f"REFERENCES {db.schema}.t"))
    db.query(f"INSERT INTO {db.schema}.t VALUES (1, NULL), (2, 1), (3, 2)")
    lines = schema("t", id=INT, up=INT)
    with pytest.raises(DatabaseError, match="t_up_fkey"):
        overwrite(db, lines, record("t", id=1), record("t", id=3, up=2))
    overwrite(db, lines, record("t", id=1), record("t", id=4, up=1))
    assert rows(db, "id, up") == [(1, None), (4, 1)]


@pytest.mark.parametrize("keys", [("id",), ()], ids=["keyed", "keyless"])
def test_tables_that_inherit_keep_their_rows(db: Any, keys: tuple[str, ...]) -> None:
    make_table(db, f"id bigint {'PRIMARY KEY' if keys else ''}, v text")
    db.query(f"CREATE TABLE {db.schema}.heir (more int) INHERITS ({db.schema}.t)")
    db.query(f"INSERT INTO {db.schema}.t VALUES (1, 'a'); INSERT INTO {db.schema}.heir VALUES (2, 'b', 5), (1, 'c', 6)")
    overwrite(db, schema("t", keys, id=INT, v=STR), record("t", id=2, v="x"))
    assert db.query(f"SELECT id, v FROM ONLY {db.schema}.t") == [(2, "x")]
    assert rows(db, "id, v, more", "heir") == [(1, "c", 6), (2, "b", 5)]


@pytest.mark.parametrize("does", ["ALSO DELETE FROM {0}.log WHERE log.id = OLD.id", "INSTEAD NOTHING"])
def test_a_rule_is_refused_by_name_before_any_row_comes(db: Any, does: str) -> None:
    make_table(db, "id bigint PRIMARY KEY, v text")
    make_table(db, "id bigint", "log")
    db.query(f"CREATE RULE prune AS ON DELETE TO {db.schema}.t DO {does.format(db.schema)}")
    db.query(f"INSERT INTO {db.schema}.t VALUES (1, 'a'); INSERT INTO {db.schema}.log VALUES (1)")
    with pytest.raises(SchemaError, match="line 1: stream 't': .* the rule 'prune' of .*t; with the setting `delete_actions: allow`"):
        overwrite(db, schema("t", id=INT, v=STR), record("t", id=2))
    assert (rows(db, "id"), rows(db, "id", "log")) == ([(1,)], [(1,)])


def test_columns_of_others_keep_their_values(db: Any) -> None:
    make_table(db, "id bigint PRIMARY KEY, v text, rating int DEFAULT 3")
    db.query(f"INSERT INTO {db.schema}.t VALUES (1, 'a', 5), (2, 'b', 4)")
    overwrite(db, schema("t", id=INT, v=STR), record("t", id=1, v="x"), record("t", id=9, v="y"))
    assert rows(db, "id, v, rating") == [(1, "x", 5), (9, "y", 3)]


@pytest.mark.parametrize("how", ["soft", "hard"])
def test_a_version_ends_no_old_row_before_the_swap(db: Any, how: str) -> None:
    lines = [schema("t"), *({**record("t", id=id), "version": 1} for id in (1, 2)), {"type": "ACTIVATE_VERSION", "stream": "t", "version": 1}]
    overwrite(db, *lines, activate_version=how)
    before = rows(db, "id, __version, __deleted_at")
    new = [schema("t"), {**record("t", id=1), "version": 2}, {"type": "ACTIVATE_VERSION", "stream": "t", "version": 2}]
    with pytest.raises(MessageError, match="line 4"):
        overwrite(db, *new, record("t", id="x"), activate_version=how, batch_rows=1)
    assert rows(db, "id, __version, __deleted_at") == before
    overwrite(db, *new, activate_version=how)
    assert rows(db, "id, __version, __deleted_at") == [(1, 2, None)]


# --- the same rule for the other deletes


def test_a_hard_delete_that_would_reach_other_rows_is_that_records_fault(db: Any) -> None:
    pair(db, "CASCADE")
    deleted = {"type": ["string", "null"], "format": "date-time"}
    gone = record("shop", id=2, _sdc_deleted_at="2026-01-01T00:00:00Z")
    lines = [schema("shop", id=INT, v=STR, _sdc_deleted_at=deleted), record("shop", id=1, v="x"), gone, record("shop", id=3, v="z")]
    with pytest.raises(RecordError, match=r"line 3: stream 'shop': .*'till_shop_fkey' of .*till \(ON DELETE CASCADE\); .*delete_actions"):
        load(dialect(db, hard_delete=True), lines)
    load(dialect(db, hard_delete=True, invalid_records="quarantine"), lines)
    assert rows(db, "line", "__rejected") == [(3,)]
    assert (rows(db, "id", "shop"), rows(db, "no", "till")) == ([(1,), (2,), (3,)], [(7,), (8,)])
    load(dialect(db, hard_delete=True, delete_actions="allow"), lines)
    assert (rows(db, "id", "shop"), rows(db, "no", "till")) == ([(1,), (3,)], [(7,)])


def test_a_version_that_would_reach_other_rows_is_refused(db: Any) -> None:
    pair(db, "CASCADE")
    lines = [schema("shop", id=INT, v=STR), {**record("shop", id=1, v="x"), "version": 1}, {**record("shop", id=2, v="y"), "version": 2}]
    lines += [{"type": "ACTIVATE_VERSION", "stream": "shop", "version": 2}]
    with pytest.raises(MessageError, match="line 4: stream 'shop': version 2: .*'till_shop_fkey'.*delete_actions"):
        load(dialect(db, activate_version="hard"), lines)
    assert (rows(db, "id", "shop"), rows(db, "no", "till")) == ([(1,), (2,)], [(7,), (8,)])
    load(dialect(db, activate_version="hard", delete_actions="allow"), lines)
    assert (rows(db, "id", "shop"), rows(db, "no", "till")) == ([(2,)], [(8,)])


@pytest.mark.parametrize("how", ["soft", "hard"])
def test_a_version_ends_no_rows_of_tables_that_inherit(db: Any, how: str) -> None:
    make_table(db, "id bigint, __version bigint, __deleted_at timestamptz")
    db.query(f"CREATE TABLE {db.schema}.heir () INHERITS ({db.schema}.t); INSERT INTO {db.schema}.heir VALUES (1, 1)")
    lines = [schema("t", ()), {**record("t", id=2), "version": 2}, {"type": "ACTIVATE_VERSION", "stream": "t", "version": 2}]
    load(dialect(db, activate_version=how), lines)
    assert rows(db, "id, __deleted_at", "heir") == [(1, None)]
