"""Catalogs that are none: they fail their tap, in one line that says where, and nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from elt_project import TAP, TestProject
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from target_meltano.elt import catalog_file, catalogs, display, mock, pipeline, processes, runs, warehouse
from target_meltano.elt.errors import RunError
from target_meltano.elt.mock_check import MockError
from target_meltano.elt.project import Project, Tap, Warehouse

SCHEMA = {"type": "object", "properties": {"id": {"type": "integer"}, "lines": {"type": "array", "items": {"properties": {"sku": {"type": "string"}}}}}}
METADATA = [
    {"breadcrumb": [], "metadata": {"table-key-properties": ["id"], "selected": True}},
    {"breadcrumb": ["properties", "id"], "metadata": {"inclusion": "automatic"}},
    {"breadcrumb": ["properties", "lines", "items", "properties", "sku"], "metadata": {"inclusion": "available"}},
]
STREAM = {"stream": "orders", "tap_stream_id": "public-orders", "key_properties": ["id"], "schema": SCHEMA, "metadata": METADATA}
CATALOG = {"streams": [STREAM, {**STREAM, "tap_stream_id": "archive-orders"}]}


def catalog(**changed: Any) -> dict[str, Any]:
    return {"streams": [{**STREAM, **changed}]}


def of_metadata(*entries: Any) -> dict[str, Any]:
    return catalog(metadata=list(entries))


MALFORMED: dict[str, tuple[Any, str]] = {
    "stream_is_text": ({"streams": ["a"]}, "streams[0]: found a text, wanted an object"),
    "streams_is_object": ({"streams": {"a": {}}}, "streams: found an object, wanted a list"),
    "no_streams": ({}, "streams: found null, wanted a list"),
    "a_list": ([STREAM], "$: found a list, wanted an object"),
    "no_name": ({"streams": [{"schema": {}}]}, "streams[0]: found no name, wanted stream or tap_stream_id"),
    "name_is_number": (catalog(stream=5), "streams[0].stream: found a number, wanted a text"),
    "schema_is_number": (catalog(schema=5), "streams[0] ('orders').schema: found a number, wanted an object"),
    "metadata_is_object": (catalog(metadata={"a": 1}), "streams[0] ('orders').metadata: found an object, wanted a list"),
    "metadata_of_numbers": (of_metadata(1), "streams[0] ('orders').metadata[0]: found a number, wanted an object"),
    "breadcrumb_is_null": (of_metadata({"breadcrumb": None}), "metadata[0].breadcrumb: found null, wanted a list"),
    "breadcrumb_of_numbers": (of_metadata({"breadcrumb": ["properties", 1]}), "metadata[0].breadcrumb[1]: found a number, wanted a text"),
    "entry_is_list": (of_metadata({"breadcrumb": [], "metadata": [1]}), "metadata[0].metadata: found a list, wanted an object"),
    "keys_are_number": (catalog(key_properties=5), "streams[0] ('orders').key_properties: found a number, wanted a list"),
    "a_key_is_number": (catalog(key_properties=["id", 5]), "streams[0] ('orders').key_properties[1]: found a number, wanted a text"),
    "same_twice": ({"streams": [STREAM, STREAM]}, "streams[1]: found 'public-orders', which streams[0] is, wanted a tap_stream_id of its own for each"),
    "no_number": (catalog(schema={"minimum": float("nan")}), "streams[0].schema.minimum: found nan, wanted a number that a double holds"),
    "too_big": (b'{"streams": [], "a": [1e999]}', "a[0]: found inf, wanted a number that a double holds"),
    "long_number": (b'{"streams": ' + b"9" * 5000 + b"}", "found a number of more than 4300 digits, wanted a shorter one"),
    "deep": (b'{"streams": ' + b"[" * 3000 + b"]" * 3000 + b"}", "found more than 1050 levels, wanted no more"),
    "very_deep": (b"[" * 1_000_000, "found more than 1050 levels, wanted no more"),
    "latin_1": ('{"streams":\n ["é"]}'.encode("latin-1"), "line 2: found the byte 0xe9, wanted UTF-8 text"),
    "byte_order_mark": (b"\xef\xbb\xbf{}", "line 1: found a byte order mark, wanted UTF-8 without one"),
    "empty": (b" \n", "found nothing, wanted a JSON object with streams"),
    "half": (b'{"streams":\n [', "line 2, column 3: found no JSON (Expecting value), wanted a JSON object with streams"),
}


def encoded(content: Any) -> bytes:
    return content if isinstance(content, bytes) else json.dumps(content).encode()


@pytest.mark.parametrize(("content", "told"), MALFORMED.values(), ids=MALFORMED)
def test_what_is_wrong_is_told_with_its_place(content: Any, told: str) -> None:
    with pytest.raises(RunError) as error:
        catalog_file.read(encoded(content), "the file", "correct it")
    (line,) = str(error.value).splitlines()
    assert line.startswith("the file: ")
    assert told in line
    assert line.endswith("; correct it")


def test_a_catalog_that_is_too_long_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_file, "MOST_BYTES", 1 << 20)
    with pytest.raises(RunError, match="found more than 1 MiB, wanted a catalog"):
        catalog_file.read(b"[" + b"1," * (1 << 20), "it", "")


def test_discovery_that_has_no_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_file, "MOST_BYTES", 1 << 20)
    (tmp_path / "tap").write_text("#!/bin/sh\nyes\n")
    (tmp_path / "tap").chmod(0o755)
    project = plain_project(tmp_path)
    with pipeline.locked(project, "bad", tmp_path / "logs") as place:
        tap = Tap("bad", ("./tap",), "bad")
        with pytest.raises(RunError, match="found more than 1 MiB, wanted a catalog"):
            pipeline.discovered(project, tap, place)


def test_a_tap_with_a_bad_catalog_fails_and_the_others_are_told(project: TestProject) -> None:
    """In every command that asks for it; the summary file is written, too."""
    bad = ("stream_is_text", "breadcrumb_is_null", "entry_is_list", "deep", "latin_1")
    for name in bad:
        (project.folder / name).write_bytes(encoded(MALFORMED[name][0]))
    taps = {name.replace("_", "-"): {"catalog": name} for name in bad}
    project.write({"good": {"ids": 20}, **taps})
    done = project.run("extract-load", "--summary", "summary.json")
    assert (done.returncode, project.ids()) == (1, [*range(1, 21)])
    rows = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines() if line[0] != " "}
    assert {name: rows[name] for name in ("good", *taps)} == {"good": "ok", **dict.fromkeys(taps, "failed")}
    steps = {step["name"]: step for step in json.loads((project.folder / "summary.json").read_text())}
    for name in bad:
        (why,) = steps[name.replace("_", "-")]["why"]
        assert why.startswith("what the tap's discovery gives: ")
        assert MALFORMED[name][1] in why
        assert why.endswith("; correct the tap, or name a file that is right: catalog: FILE")
    checked = project.run("check")
    assert checked.returncode == 1
    assert checked.stdout.count("what the tap's discovery gives: ") == len(bad)
    assert "1 streams selected" in checked.stdout
    for name in bad:
        mocked = project.run("mock", "--catalog", name)
        assert (mocked.returncode, mocked.stdout, len(mocked.stderr.splitlines())) == (1, "", 1)
        assert mocked.stderr.startswith(f"CRITICAL {name}: ")
    assert "Traceback" not in done.stdout + done.stderr + checked.stdout + checked.stderr


def test_a_catalog_file_that_is_none_is_told_as_well(project: TestProject) -> None:
    (project.folder / "mine.json").write_bytes(b"\xff")
    project.write({"good": {"ids": 5}, "bad": {"executable": TAP, "catalog": "mine.json", "config": {}}})
    done = project.run("extract-load")
    assert done.returncode == 1
    where = project.folder.resolve() / "mine.json"
    assert f"{where}: line 1: found the byte 0xff, wanted UTF-8 text; correct the file, or write catalog: discover" in done.stdout
    assert project.ids() == [1, 2, 3, 4, 5]


# --- whatever is wrong


def plain_project(folder: Path) -> Project:
    """Return a project of two taps that have no programs."""
    taps = {name: Tap(name, ("none",), name) for name in ("good", "bad")}
    return Project(folder, "dev", Warehouse("postgres", ("none",)), taps, None)


def loaded(folder: Path, data: bytes) -> list[pipeline.Outcome]:
    """Return how a load ends in which the tap `bad` gives *data* as its catalog; both taps send nothing."""
    project = plain_project(folder)
    stop = processes.Stop()

    def printed(command: Any, *_: Any, **__: Any) -> tuple[int, bytes, str]:
        return 0, data if command[0] == "bad" else encoded(CATALOG), ""

    with ExitStack() as patches:
        for name, does in {
            "captured": printed,
            "tap_command": lambda project, tap, place: [tap.name],
            "_state": lambda *_: "",
            "piped": lambda *_: pipeline.Ended(0, 0, (), ()),
        }.items():
            patches.enter_context(patch.object(pipeline, name, does))
        patches.enter_context(patch.object(warehouse, "command", lambda project: ["none"]))
        try:
            return runs.load(project, folder, stop, display.Display(), full_refresh=False, jobs=2)
        finally:
            stop.close()


JUNK: st.SearchStrategy[Any] = st.sampled_from([None, True, 0, -1.5, float("inf"), 10**40, "", "a", "\ud800", [], [1], [[]], {}, {"a": 1}, {"streams": []}])


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A catalog of which up to three values are taken away, replaced, repeated, or nested."""
    whole = {"": copy.deepcopy(CATALOG)}
    for _ in range(draw(st.integers(1, 3))):
        places = [*values(whole)]
        above, key = draw(st.sampled_from(places))
        how = draw(st.sampled_from(["delete", "replace", "repeat", "list", "object"]))
        if how == "delete" and above is not whole:
            del above[key]
        elif how == "repeat" and isinstance(above, list):
            above.append(copy.deepcopy(above[key]))
        elif how in ("list", "object"):
            above[key] = [above[key]] if how == "list" else {"properties": above[key]}
        else:
            above[key] = copy.deepcopy(draw(JUNK))
    return whole[""]


def values(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the place of each value below *value*: what it is in, and its key there."""
    for key, child in list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()):
        yield value, key
        yield from values(child)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=mutated())
def test_whatever_a_catalog_is_it_fails_its_tap_at_most(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any) -> None:
    good, bad = loaded(tmp_path, json.dumps(content).encode())
    assert (good.name, good.status) == ("good", "ok")
    assert bad.status == "ok" or (len(bad.why) == 1 and "unexpected" not in bad.why[0]), bad
    assert [line.split()[0] for line in display.table([good, bad]).splitlines() if line[0] != " "] == ["good", "bad"]
    try:
        found = mock.compiled(mock.streams_of(json.dumps(content).encode(), "it"), 2, "0", 0.1, None)
        [*mock.written(found)]
    except (RunError, MockError) as error:
        assert len(str(error).splitlines()) == 1


def test_a_fault_of_ours_in_one_pipeline_is_a_line_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The traceback is in the log, without secrets."""
    with patch.object(catalogs, "selected", side_effect=lambda catalog, *_: 1 / 0 if not catalog["streams"] else catalog):
        good, bad = loaded(tmp_path, b'{"streams": []}')
    assert (good.status, bad.status) == ("ok", "failed")
    (line,) = bad.why
    log = tmp_path / "bad.error.log"
    assert line == f"unexpected ZeroDivisionError: division by zero; a fault of target-meltano, please report it with {log}"
    assert "Traceback" in log.read_text()
    assert "Traceback" not in "".join(capsys.readouterr())
