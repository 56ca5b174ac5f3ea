"""With `state_id`, DDL in the middle of a transaction is committed at once: what is done again knows it, and so does the next run."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from on_snowflake import Snowflake

from target_meltano import RecordError, TargetError
from target_meltano.samples import INT, NUM, STR, record, schema, state

OLD = [schema(id=INT, v=INT), record(id=2, v=2)]
ANOTHER = [schema("a", id=INT), record("a", id=1), schema("a", id=INT, w=INT), record("a", id=2, w=1)]  # rows that are sent
NEW = {
    "text": (schema(id=INT, v=STR), "x", ["1", "2", "x"]),
    "JSON": (schema(id=INT, v={}), [7], [1, 2, [7]]),
    "number": (schema(id=INT, v=NUM), 1.5, [1, 2, 1.5]),
    "column": (schema(id=INT, v=INT, n=INT), 3, [1, 2, 3]),
}


def values(here: Snowflake, table: str = "ORDERS") -> list[Any]:
    return [row["V"] for row in sorted(here.rows(table), key=lambda row: row["ID"])]


def kept(here: Snowflake) -> Any:
    (row,) = here.rows("__STATE")
    return json.loads(row["STATE"])


@pytest.fixture
def first(standin: Snowflake) -> Snowflake:
    standin.run(schema(id=INT, v=INT), record(id=1, v=1), state(0), state_id="p")
    assert standin.server
    standin.server.clear()
    return standin


@pytest.mark.parametrize(("how", "before"), [("gone", []), ("before", []), ("390112", []), ("aborts", []), ("gone", ANOTHER), ("aborts", ANOTHER)], ids=["gone", "before", "390112", "aborts", "gone, behind another", "aborts, behind another"])
@pytest.mark.parametrize("new", sorted(NEW))
def test_what_is_done_again_knows_its_own_ddl(first: Snowflake, new: str, how: str, before: list[Any]) -> None:
    """Behind another stream both SCHEMAs are in the transaction that is done again."""
    changed, value, wanted = NEW[new]
    assert first.server
    first.server.fault("^COMMIT", how, skip=1)
    states: list[Any] = []
    first.run(*before, *OLD, changed, record(id=3, v=value), state(3), state_id="p", states=states)
    assert any(entry.get("fault") for entry in first.server.log())
    assert (values(first), states, kept(first)) == (wanted, [3], 3)


def test_what_is_rolled_back_while_nothing_comes_knows_it_too(first: Snowflake, monkeypatch: pytest.MonkeyPatch) -> None:
    from target_meltano.loader import Loader

    commit = Loader.commit

    def rested(loader: Loader, *arguments: Any) -> Any:
        loader.rest()
        return commit(loader, *arguments)

    monkeypatch.setattr(Loader, "commit", rested)
    changed, value, wanted = NEW["text"]
    states: list[Any] = []
    first.run(*ANOTHER, *OLD, changed, record(id=3, v=value), state(3), state_id="p", states=states)
    assert (values(first), states, kept(first)) == (wanted, [3], 3)


@pytest.mark.parametrize("new", sorted(NEW))
def test_an_invalid_record_behind_it_is_named_and_what_came_before_is_kept(first: Snowflake, new: str) -> None:
    changed, value, wanted = NEW[new]
    states: list[Any] = []
    before = [*ANOTHER, *OLD, changed, record(id=3, v=value), state(3)]
    with pytest.raises(RecordError, match="line 11: stream 'orders'.*id"):
        first.run(*before, record(id=4, v=value), record(id="no integer", v=value), state_id="p", states=states)
    assert (values(first), states, kept(first)) == (wanted, [3], 3)


@pytest.mark.parametrize("new", sorted(NEW))
def test_an_invalid_record_in_front_of_the_state_is_named(first: Snowflake, new: str) -> None:
    changed, value, _wanted = NEW[new]
    states: list[Any] = []
    lines = [*OLD, state(2), record(id=2, v=2), changed, record(id=3, v=value), record(id="no integer", v=value), state(3)]
    with pytest.raises(RecordError, match="line 7: stream 'orders'.*id"):
        first.run(*lines, state_id="p", states=states)
    assert (len(values(first)), states, kept(first)) == (2, [2], 2)


def test_a_value_that_is_refused_late_is_named(first: Snowflake) -> None:
    changed, value, _ = NEW["text"]
    states: list[Any] = []
    assert first.server
    first.server.refuse("bad")
    with pytest.raises(RecordError, match="line 6: stream 'orders'"):
        first.run(*OLD, state(2), changed, record(id=3, v=value), record(id=4, v="bad"), state(3), state_id="p", states=states)
    assert (values(first), states, kept(first)) == (["1", "2"], [2], 2)


# --- the next run


@pytest.mark.parametrize("behind", [False, True], ids=["first", "behind another"])
@pytest.mark.parametrize("new", sorted(NEW))
def test_a_run_that_died_behind_its_ddl_does_not_block_the_next_one(first: Snowflake, new: str, behind: bool) -> None:
    """Which sends the narrower SCHEMA again, as often as it takes."""
    changed, value, wanted = NEW[new]
    lines = [*(ANOTHER if behind else []), *OLD, changed, record(id=3, v=value), state(3)]
    assert first.server
    for _ in range(2):
        first.server.clear()
        first.server.fault("^COMMIT", "error", number=3001, skip=1)
        with pytest.raises(TargetError):
            first.run(*lines, state_id="p")
        assert kept(first) == 0
    first.server.clear()
    states: list[Any] = []
    first.run(*lines, state_id="p", states=states)
    assert (values(first), states, kept(first)) == (wanted, [3], 3)


def test_it_may_go_on_from_a_state_in_front_of_its_ddl(first: Snowflake) -> None:
    """A COMMIT in front of the change settles nothing: the next run may begin there again."""
    changed, value, wanted = NEW["text"]
    rest = [changed, record(id=3, v=value), state(3)]
    assert first.server
    first.server.fault("^COMMIT", "error", number=3001, skip=1)
    with suppress(TargetError):
        first.run(*OLD, *rest, state_id="p")
    first.run(*OLD, state(2), state_id="p")
    assert (values(first), kept(first)) == (["1", "2"], 2)
    first.run(*OLD, *rest, state_id="p")
    assert (values(first), kept(first)) == (wanted, 3)


def test_once_it_is_committed_the_narrower_schema_is_refused_as_ever(first: Snowflake) -> None:
    changed, value, wanted = NEW["text"]
    first.run(*OLD, changed, record(id=3, v=value), state(3), state_id="p")
    for _ in range(2):
        with pytest.raises(TargetError, match="cannot become integer.*narrowing: keep"):
            first.run(*OLD, state(4), state_id="p")
        assert (values(first), kept(first)) == (wanted, 3)
    comments = {row[0]: row[9] for row in first.query(f'DESCRIBE TABLE "{first.schema}"."ORDERS"')}
    assert comments["V"] == "v"


# --- values of the narrower type that the wider one would change


@pytest.mark.parametrize("keys", [("id",), ()], ids=["upsert", "append"])
def test_a_value_that_the_new_type_would_change_is_an_invalid_record(standin: Snowflake, keys: tuple[str, ...]) -> None:
    old, new = schema(keys=keys, id=INT, v=INT), schema(keys=keys, id=INT, v=NUM)
    standin.run(old, record(id=1, v=1), state(0), state_id="p")
    assert standin.server
    standin.server.clear()
    standin.server.fault("^COMMIT", "error", number=3001, skip=1)
    with pytest.raises(TargetError):
        standin.run(old, record(id=2, v=2), new, record(id=3, v=1.5), state(3), state_id="p")
    lines = [old, record(id=2, v=2), record(id=3, v=2**53 + 1), new, record(id=4, v=1.5), state(4)]  # one between two doubles
    with pytest.raises(RecordError, match="line 3: stream 'orders': .*'V'.*would not hold this value"):
        standin.run(*lines, state_id="p")
    assert (values(standin), kept(standin)) == ([1], 0)
    states: list[Any] = []
    standin.run(*lines, state_id="p", states=states, invalid_records="quarantine")
    assert (values(standin), states) == ([1, 2, 1.5], [4])
    assert len(standin.rows("__REJECTED")) == 1
