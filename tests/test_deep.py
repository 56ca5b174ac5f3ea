"""Schemas and records of 500 levels load, by both readers; one level more is refused by name."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from both_paths import PATHS, reading_with
from sqlite_dialect import SqliteDialect, SqliteSettings

from target_meltano import MessageError, SchemaError, TargetError, load
from target_meltano.deep import LIMIT, MAX_DEPTH, deeply, recursive


def objects(levels: int) -> tuple[Any, Any]:
    found, value = {"type": ["integer", "null"]}, 7
    for _ in range(levels):
        found, value = {"type": ["null", "object"], "properties": {"a": found, "b": {"type": "string"}}}, {"a": value, "b": "x"}
    return found, value


def alternatives(levels: int) -> tuple[Any, Any]:
    found, value = {"type": "integer"}, 7
    for _ in range(levels):
        found, value = {"anyOf": [{"type": "object", "properties": {"a": found}}, {"type": "null"}]}, {"a": value}
    return found, value


def arrays(levels: int) -> tuple[Any, Any]:
    found, value = {"type": "integer"}, 7
    for _ in range(levels):
        found, value = {"type": "array", "items": found}, [value]
    return {"type": "object", "properties": {"a": found}}, {"a": value}


def referred(levels: int) -> tuple[Any, Any]:
    """The schema looks flat."""
    names = [f"s{i}" for i in range(levels)]
    defined: Any = {name: {"type": "object", "properties": {"a": {"$ref": f"#/definitions/s{i + 1}"}}} for i, name in enumerate(names)}
    defined[f"s{levels}"] = {"type": "integer"}
    return {"$ref": "#/definitions/s0", "definitions": defined}, objects_only(levels)


def objects_only(levels: int) -> Any:
    value: Any = 7
    for _ in range(levels):
        value = {"a": value}
    return value


SHAPES = [objects, alternatives, arrays, referred]


def lines(found: Any, *records: Any) -> list[bytes]:
    def written() -> list[bytes]:
        return [
            json.dumps(one).encode() + b"\n"
            for one in (
                {"type": "SCHEMA", "stream": "t", "schema": found, "key_properties": []},
                *({"type": "RECORD", "stream": "t", "record": one} for one in records),
            )
        ]

    return deeply(written)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("validation", ["types", "schema"])
def test_500_levels_load(tmp_path: Path, path: Any, shape: Any, validation: str) -> None:
    limit = sys.getrecursionlimit()
    for levels in (60, 250, MAX_DEPTH):
        dialect = SqliteDialect(SqliteSettings(path=str(tmp_path / f"{levels}.db"), validation=validation))
        found, value = shape(levels)
        with reading_with(path):
            result = load(dialect, [*lines(found, value, value), *lines(found, value), b'{"type": "STATE", "value": 1}\n'])
        assert (result.state, result.summary["streams"]["t"]["written"]) == ("1", 3), levels
    assert sys.getrecursionlimit() == limit


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 20_000])
@pytest.mark.parametrize("validation", ["types", "schema"])
def test_more_are_refused_by_name(tmp_path: Path, shape: Any, levels: int, validation: str) -> None:
    found, value = shape(levels if shape is not referred else min(levels, 700))
    with pytest.raises((SchemaError, MessageError), match="^line [12]: .*(nested|too many alternatives)") as caught:
        load(SqliteDialect(SqliteSettings(path=str(tmp_path / "x.db"), validation=validation)), written_by_hand(found, value))
    assert len(str(caught.value)) < 600


def written_by_hand(found: Any, value: Any) -> list[bytes]:
    """Write what json cannot."""
    pieces: list[str] = []
    waiting: list[Any] = [[{"type": "SCHEMA", "stream": "t", "schema": found, "key_properties": []}, "\n", {"type": "RECORD", "stream": "t", "record": value}, "\n"]]
    waiting = [[one] if one != "\n" else "\n" for one in waiting[0]]
    waiting.reverse()
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            pieces.append(one)
        elif isinstance(one, list):
            waiting += reversed([part for item in one for part in _parts(item)])
    return [line.encode() + b"\n" for line in "".join(pieces).splitlines()]


def _parts(item: Any) -> list[Any]:
    """Return text, and in lists what is still to be written."""
    if isinstance(item, dict):
        parts: list[Any] = ["{"]
        for i, (name, value) in enumerate(item.items()):
            parts += [f"{', ' * bool(i)}{json.dumps(name)}: ", [value]]
        return [*parts, "}"]
    if isinstance(item, list):
        return ["[", *(part for i, one in enumerate(item) for part in ([", "] * bool(i) + [[one]])), "]"]
    return [json.dumps(item)]


def test_a_deep_record_that_is_invalid_is_told_with_its_path(tmp_path: Path) -> None:
    found, _ = objects(300)
    bad = json.loads("{\"a\":" * 300 + '"x"' + "}" * 300)
    with pytest.raises(TargetError, match=r"^line 2: stream 't': \$\.a\.a.*'x' is a string, wanted integer"):
        load(SqliteDialect(SqliteSettings(path=str(tmp_path / "x.db"))), lines(found, bad))


def test_what_is_called_deeply_returns_and_raises_as_usual() -> None:
    def down(levels: int) -> int:
        return down(levels - 1) + 1 if levels else 0

    assert recursive(down, 10) == 10
    assert recursive(down, LIMIT // 2) == LIMIT // 2
    with pytest.raises(RecursionError):
        recursive(down, 2 * LIMIT)
    with pytest.raises(ZeroDivisionError):
        deeply(lambda: 1 // 0)
