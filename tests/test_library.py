"""`load` from Python: whatever holds the messages, the same rows come of it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from on_postgres import dialect, needs_infinities, rows

from target_meltano import MessageError, RecordError, Result, SchemaError, load
from target_meltano.samples import INT, NUM, STR, record, schema, state

MESSAGES = [
    schema("t", id=INT, v=NUM, name=STR),
    record("t", id=1, v=Decimal("1.10"), name="é€"),
    state({"at": 1}),
    record("t", id=2),
]
ROWS = [(1, Decimal("1.10"), "é€"), (2, None, None)]


def text(message: Any) -> str:
    """Return a line in which Decimals keep their digits."""
    return json.dumps(message, default=float, ensure_ascii=False).replace("1.1,", "1.10,")


def of_bytes() -> Any:
    return [text(message).encode() for message in MESSAGES]


class Message:
    """As singer-python's: it has asdict()."""

    def __init__(self, content: dict[str, Any]):
        self.content = content

    def asdict(self) -> dict[str, Any]:
        return self.content


def of_singer() -> Iterator[Any]:
    singer = pytest.importorskip("singer", reason="pip install singer-python")
    for message in MESSAGES:
        if message["type"] == "SCHEMA":
            yield singer.SchemaMessage(message["stream"], message["schema"], message["key_properties"])
        elif message["type"] == "RECORD":
            yield singer.RecordMessage(message["stream"], message["record"])
        else:
            yield singer.StateMessage(message["value"])


SOURCES: dict[str, Callable[[], Any]] = {
    "binary file": lambda: io.BytesIO(b"\n".join(of_bytes())),
    "bytes": of_bytes,
    "bytes with line ends": lambda: [line + b"\n" for line in of_bytes()],
    "generator": lambda: iter(of_bytes()),
    "text": lambda: [text(message) for message in MESSAGES],
    "dicts": lambda: MESSAGES,
    "objects": lambda: map(Message, MESSAGES),
    "singer-python": of_singer,
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_every_source_gives_the_same_rows_and_states(db: Any, source: Callable[[], Any]) -> None:
    states: list[str] = []
    result = load(dialect(db), source(), on_state=states.append)
    assert rows(db, "id, v, name") == ROWS
    assert str(rows(db, "id, v")[0][1]) == "1.10"
    assert list(map(json.loads, states)) == [{"at": 1}]
    assert isinstance(result, Result)
    assert json.loads(result.state or "") == {"at": 1}
    assert result.summary["streams"]["t"]["written"] == 2


def test_a_file_on_disk_is_read(db: Any, tmp_path: Path) -> None:
    path = tmp_path / "messages.jsonl"
    path.write_bytes(b"\n".join(of_bytes()))
    with path.open("rb") as file:
        load(dialect(db), file)
    assert rows(db, "id, v, name") == ROWS


def test_an_error_of_the_source_comes_out(db: Any) -> None:
    def failing() -> Iterator[Any]:
        yield schema("t")
        yield record("t", id=1)
        raise RuntimeError("the tap is broken")

    with pytest.raises(RuntimeError, match="the tap is broken"):
        load(dialect(db), failing())


@pytest.mark.parametrize("number", [float("nan"), Decimal("NaN"), float("inf"), Decimal("-Infinity")], ids=str)
def test_numbers_that_json_has_not_are_values_of_a_number(db: Any, number: Any) -> None:
    if Decimal(number).is_infinite():
        needs_infinities(db)
    load(dialect(db), [schema("t", id=INT, v=NUM), record("t", id=1, v=1), record("t", id=2, v=number)])
    load(dialect(db), [schema("t", id=INT, v=NUM), {**record("t", id=3, v=number), "also": Decimal(1)}])
    assert rows(db, "id, v::text") == [(1, "1"), *((i, str(Decimal(number))) for i in (2, 3))]


def test_a_number_that_nobody_has_is_refused_with_its_line(db: Any) -> None:
    with pytest.raises((RecordError, MessageError), match="line 3: ") as error:
        load(dialect(db), [schema("t", id=INT, v=NUM), record("t", id=1, v=1), record("t", id=2, v=Decimal("sNaN"))])
    assert error.value.line == 3
    assert rows(db, "id") == [(1,)]


def test_what_is_no_json_is_refused_with_its_line(db: Any) -> None:
    with pytest.raises(MessageError, match=r"line 2: .*object"):
        load(dialect(db), [schema("t", id=INT, v={}), record("t", id=1, v=object())])


def test_no_messages_are_no_rows_and_no_state(db: Any) -> None:
    result = load(dialect(db), [])
    assert (result.state, result.summary["streams"]) == (None, {})


def test_a_dialect_may_load_again(db: Any) -> None:
    target = dialect(db)
    for i in range(3):
        load(target, [schema("t", id=INT), record("t", id=i % 2)])
    assert rows(db, "id") == [(0,), (1,)]


def test_an_error_of_on_state_comes_out(db: Any) -> None:
    def refuse(_: str) -> None:
        raise OSError("nobody listens")

    with pytest.raises(OSError, match="nobody listens"):
        load(dialect(db), MESSAGES, on_state=refuse)


def test_a_schema_that_is_none_is_told_with_its_line(db: Any) -> None:
    with pytest.raises(SchemaError, match=r"line 1: stream 't': .*strnig"):
        load(dialect(db), [schema("t", id={"type": "strnig"})])


def test_every_keyword_is_checked_or_it_is_told_that_none_can_be(db: Any) -> None:
    """jsonschema 2.6, which singer-python pins, does not know draft 7."""
    lines = [schema("t", id={"type": "integer", "exclusiveMinimum": 5}), record("t", id=5)]
    with pytest.raises((RecordError, SchemaError), match=r"line 2: .*exclusiveMinimum|needs draft 7"):
        load(dialect(db, validation="schema"), lines)
    tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s"
    assert not db.query(tables, (db.schema,)) or rows(db) == []


def test_a_draft_that_is_named_is_used(db: Any) -> None:
    """In draft 4 exclusiveMinimum is true or false."""
    draft4 = schema("t", id={"type": "integer", "minimum": 5, "exclusiveMinimum": True})
    draft4["schema"]["$schema"] = "http://json-schema.org/draft-04/schema#"
    with pytest.raises(RecordError, match=r"line 3: .*minimum"):
        load(dialect(db, validation="schema"), [draft4, record("t", id=6), record("t", id=5)])
    assert rows(db, "id") == [(6,)]
