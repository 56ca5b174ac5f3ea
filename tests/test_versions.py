"""ACTIVATE_VERSION: rows of older versions are not current any more."""

from __future__ import annotations

from typing import Any

import pytest
from on_postgres import dialect, rows, run

from target_meltano import MessageError, SchemaError, load
from target_meltano.samples import INT, record, schema, state


def versioned(version: int, **fields: Any) -> dict[str, Any]:
    return {**record("t", **fields), "version": version}


def activate(version: int) -> dict[str, Any]:
    return {"type": "ACTIVATE_VERSION", "stream": "t", "version": version}


CURRENT = "id, __version, __deleted_at IS NULL"


def test_older_versions_are_stamped(db: Any) -> None:
    run(db, schema("t"), versioned(1, id=1), versioned(1, id=2), activate(1), state(1))
    assert rows(db, CURRENT) == [(1, 1, True), (2, 1, True)]
    run(db, schema("t"), activate(2), versioned(2, id=2), activate(2), state(2))
    assert rows(db, CURRENT) == [(1, 1, False), (2, 2, True)]


def test_a_key_that_comes_again_is_current_again(db: Any) -> None:
    run(db, schema("t"), versioned(1, id=1), activate(2), versioned(2, id=1), activate(2))
    assert rows(db, CURRENT) == [(1, 2, True)]


def test_rows_without_version_are_never_touched(db: Any) -> None:
    run(db, schema("t"), record("t", id=1), versioned(1, id=2), record("t", id=3), activate(5))
    assert rows(db, CURRENT) == [(1, None, True), (2, 1, False), (3, None, True)]


def test_a_new_version_without_rows_ends_all(db: Any) -> None:
    """The table had versions in an earlier run; this one sends no record at all."""
    run(db, schema("t"), versioned(1, id=1), activate(1))
    run(db, schema("t"), activate(2))
    assert rows(db, CURRENT) == [(1, 1, False)]


def test_versions_of_a_stream_without_key(db: Any) -> None:
    run(db, schema("t", keys=()), versioned(1, id=1), activate(1))
    run(db, schema("t", keys=()), versioned(2, id=1), activate(2))
    assert sorted(row[1:3] for row in rows(db, CURRENT)) == [(1, False), (2, True)]


def test_hard_deletes_and_ignore_does_nothing(db: Any) -> None:
    lines = [schema("t"), versioned(1, id=1), versioned(2, id=2), activate(2)]
    run(db, *lines, activate_version="hard")
    assert rows(db, "id") == [(2,)]
    run(db, schema("u"), {**record("u", id=1), "version": 1}, activate_version="ignore")
    assert len(rows(db, "*", "u")[0]) == 2  # id and __loaded_at


def test_an_activation_comes_before_the_state_behind_it(db: Any) -> None:
    """With the rows of older versions in the same transaction."""
    seen: list[Any] = []
    lines = [schema("t"), versioned(1, id=1), state(1), activate(2), state(2)]
    load(dialect(db, batch_rows=1), lines, on_state=lambda text: seen.append((text, rows(db, CURRENT))))
    assert seen == [("1", [(1, 1, True)]), ("2", [(1, 1, False)])]


def test_more_deletes_than_allowed_are_refused(db: Any) -> None:
    run(db, schema("t"), *(versioned(1, id=i) for i in range(10)), activate(1))
    with pytest.raises(MessageError, match=r"line 3: stream 't': version 2 would end 9 of 10 rows, more than 50 %"):
        run(db, schema("t"), versioned(2, id=0), activate(2), max_deletes_percent=50)
    assert [row[2] for row in rows(db, CURRENT)] == [True] * 10
    assert rows(db, CURRENT)[0] == (0, 2, True)  # what came before is committed
    run(db, schema("t"), versioned(2, id=0), activate(2), max_deletes_percent=90)
    assert [row[2] for row in rows(db, CURRENT)].count(True) == 1


def test_nothing_is_looked_at_where_nothing_is_to_end(db: Any) -> None:
    """The live version is noted; rows of an older one that come late take the note away."""
    run(db, schema("t"), versioned(1, id=1), activate(1))
    db.query(f"UPDATE {db.schema}.t SET __version = 0")  # would be ended, if it were looked at
    run(db, schema("t"), versioned(1, id=2), activate(1))
    assert rows(db, CURRENT) == [(1, 0, True), (2, 1, True)]
    run(db, schema("t"), versioned(0, id=3), versioned(1, id=2), activate(1))
    assert rows(db, CURRENT) == [(1, 0, False), (2, 1, True), (3, 0, False)]


@pytest.mark.parametrize("version", [None, "2", 1.5, 2**63], ids=str)
def test_a_version_is_an_integer(db: Any, version: Any) -> None:
    with pytest.raises(MessageError, match="line 2: .*version"):
        run(db, schema("t", id=INT), {"type": "ACTIVATE_VERSION", "stream": "t", "version": version})


NAMES = {"__version": INT, "__deleted_at": {"type": ["string", "null"]}}


@pytest.mark.parametrize("named", [["__version"], ["__deleted_at"], ["__version", "__deleted_at"]], ids=" and ".join)
@pytest.mark.parametrize("method", ["upsert", "append", "overwrite"])
def test_a_property_with_a_name_that_versions_need(db: Any, named: list[str], method: str) -> None:
    """Without versions it is a property like others, in each run; with them the run ends by name, after what came before."""
    properties = {"id": INT, **{name: NAMES[name] for name in named}}
    values = {name: 5 if name == "__version" else "x" for name in named}
    for number in (1, 2):
        run(db, schema("t", **properties), record("t", id=number, **values), activate(5), state(number), load_method=method)
    last = [(1, *values.values()), (2, *values.values())]
    columns = ", ".join(("id", *named))
    assert rows(db, columns) == (last[1:] if method == "overwrite" else last)
    states: list[str] = []
    lines = [schema("t", **properties), record("t", id=3, **values), state(3), versioned(1, id=4, **values), state(4)]
    with pytest.raises(SchemaError, match=rf"^line 4: stream 't': property '{named[0]}' has the column .*column_names.*activate_version: ignore"):
        load(dialect(db, load_method=method), lines, on_state=states.append)
    if method != "overwrite":
        assert (states, rows(db, "max(id)")) == (["3"], [(3,)])
    run(db, *lines, load_method=method, activate_version="ignore")
    assert rows(db, "max(id)") == [(4,)]
    names = {f"t.{name}": f"of_the_tap{name}" for name in named}
    run(db, *lines, load_method=method, column_names=names, table_names={"t": "other"})
    assert rows(db, "id, __version", "other") == [(3, None), (4, 1)]


def test_a_table_of_versions_whose_schema_gets_such_a_property(db: Any) -> None:
    run(db, schema("t"), versioned(1, id=1), activate(1))
    lines = [schema("t", id=INT, __version=INT), versioned(2, id=1, __version=9), activate(2)]
    with pytest.raises(SchemaError, match="stream 't': property '__version' has the column"):
        run(db, *lines)
    with pytest.raises(SchemaError, match="stream 't': property '__version' has the column"):
        run(db, schema("t"), versioned(2, id=1), *lines)
    assert rows(db, CURRENT)[0][0] == 1


@pytest.mark.parametrize("before", [[], [versioned(1, id=1)]], ids=["first", "later"])
@pytest.mark.parametrize("version", [1.0, "5", True, 1.5])
def test_a_version_that_is_none_is_refused_wherever_it_comes(db: Any, before: list[Any], version: Any) -> None:
    """Else its row would have none, and never be deleted."""
    result = run(db, schema("t"), *before, {**record("t", id=2), "version": version}, invalid_records="quarantine")
    assert rows(db, "id") == [(1,)] * len(before)
    assert result.summary["streams"]["t"]["rejected"] == 1
