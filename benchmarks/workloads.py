"""Tap outputs to load. The same arguments give the same messages, on every machine."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

Message = dict[str, Any]
Messages = Iterator[Message]

START = datetime(2024, 1, 1)
KINDS = ("click", "view", "purchase", "refund", "löschen", "日本")
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", '"quoting"', "text,\nnew", "lines\tand", "tabs", "\\", "too", "—", "ünïcödé"]
STREAMS = 20  # of many()
TURN = 25  # records of one stream before those of the next
SPARSE_COLUMNS, SPARSE_FILLED = 300, 15
LONGEST = 100_000  # characters of strings(), of which the shortest is a hundredth

INTEGER = {"type": ["null", "integer"]}
NUMBER = {"type": ["null", "number"]}
BOOLEAN = {"type": ["null", "boolean"]}
STRING = {"type": ["null", "string"]}
TIME = {"type": ["null", "string"], "format": "date-time"}


def narrow(rows: int, first: int = 0, seed: int = 1, stream: str = "events") -> Messages:
    """Six columns, about 230 bytes a line, with keys from *first* on."""
    chance = random.Random(seed)
    yield _schema(
        stream, id={"type": "integer"}, user_id=INTEGER, kind=STRING, amount=NUMBER, ok=BOOLEAN, updated_at=TIME
    )
    for n in range(first, first + rows):
        record = {
            "id": n,
            "user_id": chance.randrange(10**6) if chance.random() > 0.05 else None,
            "kind": chance.choice(KINDS),
            "amount": round(chance.random() * 1000, 2),
            "ok": chance.random() < 0.5,
            "updated_at": f"{START + timedelta(seconds=n, microseconds=chance.randrange(1, 10**6)):%Y-%m-%dT%H:%M:%S.%fZ}",
        }
        yield _record(stream, record)
    yield _state(stream, first + rows)


def wide(rows: int, seed: int = 2, stream: str = "issues") -> Messages:
    """Forty columns once objects, nested up to three deep, are flattened; about 1.5 KB a line."""
    chance = random.Random(seed)
    user = _object(id=INTEGER, login=STRING, type=STRING, site_admin=BOOLEAN, url=STRING)
    yield _schema(
        stream,
        **{"id": {"type": "integer"}, "node_id": STRING, "number": INTEGER, "title": STRING, "body": STRING},
        **{"state": STRING, "locked": BOOLEAN, "comments": INTEGER, "score": NUMBER, "html_url": STRING},
        **{"created_at": TIME, "updated_at": TIME, "closed_at": TIME, "user": user, "assignee": user},
        milestone=_object(id=INTEGER, title=STRING, due_on=TIME, creator=user),
        labels={"type": ["null", "array"], "items": _object(id=INTEGER, name=STRING, color=STRING)},
        reactions=_object(total=INTEGER, plus=INTEGER, minus=INTEGER, laugh=INTEGER, heart=INTEGER),
        **{"draft": BOOLEAN, "weight": NUMBER, "author_association": STRING},
    )
    for n in range(rows):
        yield _record(stream, _issue(n, chance))
    yield _state(stream, rows)


def _issue(n: int, chance: random.Random) -> dict[str, Any]:
    time = f"{START + timedelta(seconds=n * 7):%Y-%m-%dT%H:%M:%SZ}"
    milestone = {"id": n % 40, "title": f"m{n % 40}", "due_on": time, "creator": _user(n % 30)}
    return {
        "id": n,
        "node_id": f"MDU6SXNzdWU{n}",
        "number": n % 10_000,
        "title": " ".join(chance.choices(WORDS, k=6)),
        "body": " ".join(chance.choices(WORDS, k=40)),
        "state": chance.choice(("open", "closed")),
        "locked": False,
        "comments": chance.randrange(50),
        "score": chance.random(),
        "html_url": f"https://example.com/i/{n}",
        "created_at": time,
        "updated_at": time,
        "closed_at": time if chance.random() < 0.5 else None,
        "user": _user(chance.randrange(5000)),
        "assignee": _user(chance.randrange(5000)) if chance.random() < 0.3 else None,
        "milestone": milestone if chance.random() < 0.4 else None,
        "labels": [{"id": i, "name": f"label-{i}", "color": "ff00ff"} for i in chance.sample(range(60), chance.randrange(4))],
        "reactions": {"total": 3, "plus": 1, "minus": 0, "laugh": 1, "heart": 1},
        "draft": False,
        "weight": None,
        "author_association": "MEMBER",
    }


def _user(n: int) -> dict[str, Any]:
    return {"id": n, "login": f"user{n}", "type": "User", "site_admin": n % 97 == 0, "url": f"https://example.com/u/{n}"}


def many(rows: int, streams: int = STREAMS) -> Messages:
    """Narrow streams that take turns; *rows* in all."""
    shares = [rows // streams + (n < rows % streams) for n in range(streams)]
    turns = [narrow(share, seed=n, stream=f"s{n:04}") for n, share in enumerate(shares)]
    while turns:
        for turn in list(turns):
            for _ in range(TURN):
                message = next(turn, None)
                if message is None:
                    turns.remove(turn)
                    break
                yield message


def strings(rows: int, seed: int = 3, stream: str = "pages") -> Messages:
    """A text of 1 to 100 KB a row, short ones more often: as many below 10 KB as above."""
    chance = random.Random(seed)
    text = " ".join(chance.choices(WORDS, k=LONGEST))
    yield _schema(stream, id={"type": "integer"}, text=STRING)
    for n in range(rows):
        length = int(LONGEST / 100 ** chance.random())
        start = chance.randrange(len(text) - length)
        yield _record(stream, {"id": n, "text": text[start : start + length]})
    yield _state(stream, rows)


def columns(rows: int, count: int, filled: int, seed: int = 4, stream: str = "facts") -> Messages:
    """A key and so many more columns of all kinds, *filled* of them in each row and the others null."""
    chance = random.Random(seed)
    kinds = (INTEGER, NUMBER, BOOLEAN, STRING, TIME)
    names = [f"c{n:04}" for n in range(count - 1)]
    yield _schema(stream, id={"type": "integer"}, **{name: kinds[n % len(kinds)] for n, name in enumerate(names)})
    for n in range(rows):
        record: dict[str, Any] = dict.fromkeys(names)
        for at in chance.sample(range(count - 1), filled - 1):
            record[names[at]] = (n, n / 8, n % 2 == 0, "word", f"{START:%Y-%m-%dT%H:%M:%SZ}")[at % len(kinds)]
        yield _record(stream, {"id": n, **record})
    yield _state(stream, rows)


def sparse(rows: int) -> Messages:
    return columns(rows, SPARSE_COLUMNS, SPARSE_FILLED)


# --- what disturbs a stream: functions from messages to messages


def repeated_schema(messages: Iterable[Message], every: int = 10) -> Messages:
    """The SCHEMA again before every tenth record, as some taps do."""
    schema: Message = {}
    for n, message in enumerate(messages):
        if message["type"] == "SCHEMA":
            schema = message
        elif n > 1 and n % every == 1 and message["type"] == "RECORD":
            yield schema
        yield message


def each_record(change: Callable[[dict[str, Any]], dict[str, Any]], messages: Iterable[Message]) -> Messages:
    for message in messages:
        yield {**message, "record": change(message["record"])} if message["type"] == "RECORD" else message


def unknown_field(record: dict[str, Any]) -> dict[str, Any]:
    """A field that the SCHEMA does not name."""
    return {**record, "undeclared": record["id"]}


def naive_times(record: dict[str, Any]) -> dict[str, Any]:
    """Times without an offset."""
    return {**record, "updated_at": record["updated_at"][:-1]}


def nine_digits(record: dict[str, Any]) -> dict[str, Any]:
    """Times with nanoseconds."""
    return {**record, "updated_at": f"{record['updated_at'][:-1]}789Z"}


def float_integers(record: dict[str, Any]) -> dict[str, Any]:
    """Integers that are written like 1.0."""
    found = {name: record[name] for name in ("id", "user_id")}
    return {**record, **{name: None if value is None else float(value) for name, value in found.items()}}


def without_key(messages: Iterable[Message]) -> Messages:
    """Append-only: no key_properties."""
    for message in messages:
        yield {**message, "key_properties": []} if message["type"] == "SCHEMA" else message


# --- files


def lines(messages: Iterable[Message]) -> Iterator[str]:
    """Messages as taps write them: one line each, letters as they are."""
    return (json.dumps(message, ensure_ascii=False) + "\n" for message in messages)


def written(path: Path, messages: Callable[[], Iterable[Message]]) -> Path:
    """Return a file with the messages, made unless it is there already."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        with new.open("w", encoding="utf-8") as file:
            file.writelines(lines(messages()))
        new.rename(path)
    return path


def _schema(stream: str, /, **properties: Any) -> Message:
    schema = {"type": "object", "properties": properties}
    return {"type": "SCHEMA", "stream": stream, "key_properties": ["id"], "schema": schema}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": ["null", "object"], "properties": properties}


def _record(stream: str, record: dict[str, Any]) -> Message:
    return {"type": "RECORD", "stream": stream, "record": record, "time_extracted": "2024-05-01T00:00:00.000000Z"}


def _state(stream: str, at: int) -> Message:
    return {"type": "STATE", "value": {"bookmarks": {stream: {"id": at}}}}
