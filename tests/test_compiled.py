"""The reader in C, where it does what msgspec's does not: several streams, lines in place, memory of its own."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import weakref
from typing import Any

import pyarrow as pa
import pytest
from both_paths import layout

from target_meltano import compiled
from target_meltano.extension import reader as c
from target_meltano.rows import Layout

pytestmark = pytest.mark.skipif(not compiled.IS_THERE, reason="the reader in C was not built: install a C compiler and Python's headers, make clean, make test")

LAYOUT = layout({"a": {"type": "integer"}, "s": {"type": "string"}, "o": {"type": "object", "properties": {"b": {"type": "boolean"}}}})


def records(made: Layout = LAYOUT) -> compiled.Records:
    ways = {"integer": int, "string": str, "boolean": bool}
    return compiled.Plan(made, [ways[next(iter(leaf.types - {"null"}))] for leaf in made.leaves], []).records()


def line(stream: str, **record: object) -> bytes:
    return json.dumps({"type": "RECORD", "stream": stream, "record": record}).encode()


def cells(taken: compiled.Records) -> list[list[object]]:
    return [one.values.to_pylist() for one in taken.taken().leaves]


def test_streams_in_turn_are_read_in_one_go() -> None:
    reader, streams = compiled.Reader(), {name: records() for name in "xyé"}
    for name, taken in streams.items():
        reader.put(name.encode(), taken, name)
    order = "xxyéyyxé"
    lines = [line(name, a=n) for n, name in enumerate(order)]
    assert reader.read([*lines, line("z", a=0), line("x", a=0)], 0, 10, 100, False) == [
        ("x", 2), ("y", 1), ("é", 1), ("y", 2), ("x", 1), ("é", 1)
    ]  # fmt: skip
    for name, taken in streams.items():
        mine = [n for n, other in enumerate(order) if other == name]
        assert cells(taken)[0] == mine
        assert taken.numbers().tolist() == [100 + n for n in mine]
        assert taken.lines() == [lines[n] for n in mine]
        assert taken.lines(1) == [lines[mine[0]]]
        assert (taken.rows, taken.size) == (len(mine), sum(len(lines[n]) for n in mine))


@pytest.mark.parametrize(
    "bad",
    [
        b'{"type": "RECORD", "stream": "x", "record": {"a": 5, "s": "abc", "o": {"b": 1}}}',
        b'{"type": "RECORD", "stream": "x", "record": {"a": 5, "s": "abc", "a": 6}}',
        b'{"type": "RECORD", "stream": "x", "record": {"o": null, "o": null}}',
        b'{"type": "RECORD", "stream": "x", "record": {"a": 5, "s": "abc", "o": {"b": true}}}}',
        b'{"type": "RECORD", "record": {"a": 5, "s": "abc"}, "stream": "x", "record": {"a": 6}}',
        b'{"type": "RECORD", "stream": "x", "record": {"a": 5, "s": "abc\xff"}}',
        b'{"type": "RECORD", "stream": "x", "record": {"a": 5, "s": "abc',
        b'{"type": "RECORD", "stream": "x", "record": {"s": "abc", "new": 1}}',
    ],
)
def test_a_line_that_is_not_taken_leaves_no_trace(bad: bytes) -> None:
    reader, taken = compiled.Reader(), records()
    reader.put(b"x", taken, None)
    good = line("x", a=1, s="é", o={"b": True})
    for lines in ([good, bad], [bad], [good]):
        reader.read(lines, 0, len(lines), 1, False)
    assert cells(taken) == [[1, 1], ["é", "é"], [True, True]]
    assert taken.lines() == [good, good]


def test_names_and_streams_may_have_escapes() -> None:
    made, name = layout({'quo"te': {"type": "integer"}, "é": {"type": "integer"}}), 'st"r\\eam\n'
    reader, taken = compiled.Reader(), records(made)
    reader.put(name.encode(), taken, None)
    assert reader.read([line(name, **{'quo"te': 1, "é": 2})] * 2, 0, 2, 1, True) == [(None, 2)]
    assert cells(taken) == [[1, 1], [2, 2]]


def test_arrays_outlive_what_they_were_read_by() -> None:
    reader, taken = compiled.Reader(), records()
    reader.put(b"x", taken, None)
    reader.read([line("x", a=n, s="text" * n) for n in range(100)], 0, 100, 1, True)
    arrays = [one.values for one in taken.taken().leaves]
    del reader, taken
    gc.collect()
    for array in arrays:
        array.validate(full=True)
    assert arrays[1].to_pylist() == ["text" * n for n in range(100)]
    assert pa.compute.sum(arrays[0]).as_py() == 4950


def test_lines_stay_where_they_are() -> None:
    data = b"one\n\nthr\xc3\xa9e\nbegun"
    found = c.Lines(data, data.rindex(b"\n") + 1)
    assert (len(found), list(found)) == (3, [b"one", b"", "thrée".encode()])
    with pytest.raises(IndexError):
        found[3]
    for size in (-1, 2, len(data), len(data) + 1):
        with pytest.raises(ValueError, match="no whole lines"):
            c.Lines(data, size)


def test_it_is_told_what_it_may_do() -> None:
    reader, taken = compiled.Reader(), records()
    reader.put(b"x", taken, None)
    with pytest.raises(IndexError):
        reader.read([b""], 0, 2, 1, True)
    with pytest.raises(TypeError):
        reader.read((b"",), 0, 1, 1, True)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        reader.read(["text"], 0, 1, 1, True)  # type: ignore[list-item]
    taken.taken()
    with pytest.raises(ValueError, match="taken before"):
        reader.read([line("x", a=1)], 0, 1, 1, True)
    reader.clear()
    assert reader.read([line("x", a=1)], 0, 1, 1, True) == []
    for plan, kinds in (((0, 1, ()), ()), ((0, 0, ((b"a", 0),)), ()), ((0, 0, ()), (99,)), ((1, 0, ()), (0, 0))):
        with pytest.raises(ValueError, match="no such"):
            c.Columns(plan, kinds, 0)
    with pytest.raises(ValueError, match="no column for the version"):
        c.Columns((0, 0, ()), (), 2)


def read_elsewhere(reader: compiled.Reader, lines: Any, count: int) -> tuple[threading.Thread, list[Any]]:
    """Let another thread read, and return once it is at work; the list gets what it returns or raises."""
    found: list[Any] = []

    def read() -> None:
        try:
            found.append(reader.read(lines, 0, count, 1, True))
        except IndexError as fault:
            found.append(fault)

    thread = threading.Thread(target=read)
    thread.start()
    while thread.is_alive():
        try:
            reader.read([], 0, 0, 1, True)
        except RuntimeError as fault:
            assert "another thread reads" in str(fault)
            break
    return thread, found


MANY = 200_000


def test_what_another_thread_reads_into_stays() -> None:
    """Reading has no GIL, so others may run; what they would free or take is refused."""
    data = line("x", a=1, s="text" * 20) + b"\n"
    refused = 0
    for _ in range(3):
        reader, taken = compiled.Reader(), records()
        reader.put(b"x", taken, "owner")
        thread, found = read_elsewhere(reader, c.Lines(data * MANY, len(data) * MANY), MANY)
        for change in (reader.clear, lambda reader=reader: reader.put(b"x", records(), None), taken.columns.take):
            try:
                change()
            except RuntimeError:
                refused += 1
        thread.join()
        assert sum(count for _, count in found[0]) == MANY
        assert taken.rows == MANY
    assert refused


def test_lines_that_another_thread_removes_are_no_lines() -> None:
    for _ in range(3):
        reader, taken = compiled.Reader(), records()
        reader.put(b"x", taken, None)
        lines = [line("x", a=n, s="text" * 20) for n in range(MANY // 4)]
        thread, found = read_elsewhere(reader, lines, len(lines))
        lines.clear()
        thread.join()
        assert isinstance(found[0], IndexError) or taken.rows == MANY // 4


def test_a_reader_in_a_circle_is_collected() -> None:
    class Owner:
        reader: compiled.Reader

    owner = Owner()
    owner.reader = compiled.Reader()
    owner.reader.put(b"x", records(), owner)
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(("variable", "found"), [("", "False False C"), ("0", "True True msgspec")])
def test_a_variable_does_without_c(variable: str, found: str) -> None:
    code = "from target_meltano import extension; from target_meltano_postgres import copy; print(extension.reader is None, copy._c is None)"
    about = "from target_meltano_postgres import main; main()"
    env = {**os.environ, "TARGET_MELTANO_C": variable}
    modules, told = (subprocess.run([sys.executable, "-c", *command], env=env, capture_output=True, text=True, check=True).stdout for command in ((code,), (about, "--about")))
    assert f"{modules.strip()} {json.loads(told)['reader']}" == found
