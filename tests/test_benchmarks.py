"""The benchmark's workloads are what they say, and its arithmetic is right. Nothing here depends on time."""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import arrived, cases, growth, limit, measure, peers, report, samples, to_snowflake, workloads
from benchmarks.bench import Bench, Entry, rounds
from benchmarks.database import Database
from benchmarks.samples import LIMIT, OURS, Sample
from target_meltano import load
from target_meltano import make as make_settings
from target_meltano_postgres import PostgresDialect, PostgresSettings

ROOT = Path(__file__).parent.parent
ROWS = 60
ALL = {
    **{load.name: load.messages for load in cases.LOADS},
    **{case.name: case.messages for case in cases.DISTURBED},
    "columns": partial(workloads.columns, count=5, filled=5),
}
SVG = "{http://www.w3.org/2000/svg}"
ABOUT = {"date": "2026-01-01", "machine": "m", "server": "s", "rounds": "3", "scale": "1.0", "peers": "none"}


def records(messages: Iterable[workloads.Message]) -> list[dict[str, Any]]:
    return [message["record"] for message in messages if message["type"] == "RECORD"]


def changed(change: Callable[[dict[str, Any]], dict[str, Any]]) -> list[dict[str, Any]]:
    return records(workloads.each_record(change, workloads.narrow(ROWS)))


# --- workloads


@pytest.mark.parametrize("make", ALL.values(), ids=ALL.keys())
def test_a_workload_is_the_same_each_time_and_as_long_as_asked(make: Callable[[int], workloads.Messages]) -> None:
    lines = list(workloads.lines(make(ROWS)))
    assert lines == list(workloads.lines(make(ROWS)))
    messages = [json.loads(line) for line in lines]
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    assert messages == list(make(ROWS))  # JSON gives back what went in: no NaN, no keys that are numbers
    assert (messages[0]["type"], messages[-1]["type"]) == ("SCHEMA", "STATE")
    keys = [(message["stream"], message["record"]["id"]) for message in messages if message["type"] == "RECORD"]
    assert len(keys) == len(set(keys)) == ROWS


@pytest.mark.parametrize("make", ALL.values(), ids=ALL.keys())
def test_the_target_takes_every_record(make: Callable[[int], workloads.Messages], db: Any, tmp_path: Path) -> None:
    """No value is refused, and no row is lost: what is measured is a load that succeeds."""
    path = workloads.written(tmp_path / "some.singer", lambda: make(ROWS))
    with path.open("rb") as lines:
        load(PostgresDialect(make_settings(PostgresSettings, url=db.url, schema=db.schema)), lines)
    assert Database(db.url, db.connection, None).count(db.schema) == ROWS


def test_a_file_is_made_once(tmp_path: Path) -> None:
    path = workloads.written(tmp_path / "a/b.singer", lambda: workloads.narrow(2))
    assert len(path.read_text("utf-8").splitlines()) == 4
    assert workloads.written(path, lambda: pytest.fail("made again")) == path


def test_wide_has_forty_columns_when_flattened() -> None:
    def leaves(schema: dict[str, Any]) -> int:
        inner = schema.get("properties")
        return sum(map(leaves, inner.values())) if inner else 1

    schema = next(workloads.wide(0))["schema"]
    assert (len(schema["properties"]), leaves(schema)) == (21, 40)


def test_many_streams_take_turns() -> None:
    messages = list(workloads.many(1_000))
    assert len({message["stream"] for message in messages if message["type"] == "SCHEMA"}) == workloads.STREAMS
    first = [message.get("stream") for message in islice(messages, workloads.TURN + 1)]
    assert first == ["s0000"] * workloads.TURN + ["s0001"]


def test_as_many_strings_are_below_10_kb_as_above() -> None:
    lengths = [len(record["text"]) for record in records(workloads.strings(400))]
    assert all(1_000 <= length <= 100_000 for length in lengths)
    assert 150 < sum(length < 10_000 for length in lengths) < 250


@pytest.mark.parametrize(("count", "filled"), [(5, 5), (300, 15), (1_500, 100)])
def test_columns_are_filled_as_promised(count: int, filled: int) -> None:
    rows = records(workloads.columns(20, count, filled))
    assert {len(row) for row in rows} == {count}
    assert {sum(value is not None for value in row.values()) for row in rows} == {filled}


@pytest.mark.parametrize(("known", "shared"), [(1.0, 60), (0.5, 30), (0.0, 0)])
def test_upserts_know_the_share_of_keys_that_they_say(known: float, shared: int) -> None:
    base = {record["id"]: record for record in records(workloads.narrow(ROWS))}
    new = {record["id"]: record for record in records(cases.upsert(ROWS, known))}
    both = base.keys() & new.keys()
    assert len(both) == shared
    assert all(base[key] != new[key] for key in both)


# --- disturbances


def test_the_schema_comes_again_before_every_ten_records() -> None:
    messages = list(cases.repeated_schema(ROWS))
    runs = "".join(message["type"][0] + message["type"][1] for message in messages)
    assert runs == ("SC" + "RE" * 10) * 6 + "ST"
    schemas = {json.dumps(message) for message in messages if message["type"] == "SCHEMA"}
    assert len(schemas) == 1


def test_the_unknown_field_is_in_no_schema() -> None:
    declared = next(workloads.narrow(0))["schema"]["properties"].keys()
    assert all(record.keys() - declared == {"undeclared"} for record in changed(workloads.unknown_field))


@pytest.mark.parametrize(
    ("change", "form"),
    [
        (lambda record: record, r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"),
        (workloads.naive_times, r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}"),
        (workloads.nine_digits, r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"),
    ],
    ids=["clean", "naive", "nine digits"],
)
def test_times_are_written_as_promised(change: Callable[..., dict[str, Any]], form: str) -> None:
    assert all(re.fullmatch(form, record["updated_at"]) for record in changed(change))


def test_integers_are_written_with_a_point_and_mean_the_same() -> None:
    lines = list(workloads.lines(workloads.each_record(workloads.float_integers, workloads.narrow(ROWS))))
    assert all(re.search(r'"id": \d+\.0,', line) for line in lines[1:-1])
    assert all(re.search(r'"user_id": (\d+\.0|null),', line) for line in lines[1:-1])
    assert changed(workloads.float_integers) == records(workloads.narrow(ROWS))


def test_append_only_has_no_key() -> None:
    schema, *rest = cases.appended(ROWS)
    assert schema["key_properties"] == []
    assert rest == list(workloads.narrow(ROWS))[1:]


def test_a_block_is_sent_again_between_its_first_and_last_line(tmp_path: Path) -> None:
    path = workloads.written(tmp_path / "block.singer", lambda: workloads.narrow(3))
    lines = path.read_bytes().splitlines(keepends=True)
    assert b"".join(growth.repeated(path, 4)) == b"".join([lines[0], *lines[1:-1] * 4, lines[-1]])


# --- measuring


def test_cost_counts_children_and_ends_with_them() -> None:
    """Memory and processor time of a child are its parent's; the parent here has next to none itself."""
    child = "import time; x = bytearray(80_000_000); until = time.process_time() + 0.3\nwhile time.process_time() < until: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    cost = measure.run([sys.executable, "-c", parent], [], os.environ, None)
    assert cost.cpu >= 0.3
    assert cost.peak >= 80_000_000
    assert cost.server is None


def test_a_failed_program_is_told_with_its_last_words() -> None:
    with pytest.raises(measure.RunFailed, match=r"exit code 7.*no such thing"):
        measure.run([sys.executable, "-c", "import sys; print('no such thing', file=sys.stderr); sys.exit(7)"], [], os.environ, None)


def test_blocks_arrive_whole_and_in_order() -> None:
    check = "import sys; sys.exit(sys.stdin.buffer.read() != b'a' * 100_000 + b'b' * 100_000)"
    measure.run([sys.executable, "-c", check], [b"a" * 100_000, b"b" * 100_000], os.environ, None)


@pytest.mark.parametrize("upsert", [False, True], ids=["new rows", "upsert"])
def test_the_limit_leaves_the_rows_that_the_target_made(db: Any, tmp_path: Path, upsert: bool) -> None:
    database = Database(db.url, db.connection, None)
    db.query(f'CREATE SCHEMA "{db.schema}"; CREATE TABLE "{db.schema}".t (a bigint, b text, PRIMARY KEY (a))')
    db.query(f'INSERT INTO "{db.schema}".t SELECT n, n::text FROM generate_series(1, 9) AS n')
    files = limit.save(database, db.schema, tmp_path)
    rest = "DELETE FROM {0}.t WHERE a > 5; UPDATE {0}.t SET b = 'old'" if upsert else "TRUNCATE {0}.t"
    db.query(rest.format(f'"{db.schema}"'))
    limit.load(database, files, upsert=upsert, schema=db.schema)
    assert db.query(f'SELECT a, b FROM "{db.schema}".t ORDER BY a') == [(n, str(n)) for n in range(1, 10)]


class Counted:
    """Stands for the server where only rows are counted."""

    def count(self, schema: str) -> int:
        return 1


def entry(program: str, load: Callable[[], measure.Cost], found: int = 1) -> Entry:
    return Entry("loads", "narrow", program, "", 1, found, lambda: None, load)


def bench(count: int) -> Bench:
    return Bench(Counted(), (), Path(), Path(), {}, count, 1.0, None)  # type: ignore[arg-type]


def test_rounds_go_forwards_and_backwards() -> None:
    ran = [sample.program for sample in rounds(bench(3), [entry(name, lambda: measure.Cost(1, 1, 1, 1)) for name in "abc"])]
    assert ran == list("abccbaabc")


def test_a_peer_that_fails_is_left_out_loudly_and_we_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    good = partial(measure.Cost, 1, 1, 1, 1)
    ran = Counter(sample.program for sample in rounds(bench(3), [entry("peer", good, found=2), entry(OURS, good)]))
    assert ran == {OURS: 3}
    assert "LEFT OUT: peer, narrow: there are 1 rows in the tables instead of 2" in capsys.readouterr().err
    with pytest.raises(measure.RunFailed):
        list(rounds(bench(3), [entry(OURS, good, found=2)]))


def test_a_peer_that_cannot_be_installed_is_left_out_loudly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers, "ENVIRONMENTS", tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert peers.installed(peers.Peer("none", ("there-is-no-such-package-at-all",), peers.PEERS[0].command)) is None
    assert "LEFT OUT: none cannot be installed here: ERROR: No matching distribution" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("postgresql://u@h/d", "postgresql://u:none@h:5432/d"),
        ("postgresql://u:a%40b@h:5/d?sslmode=disable", "postgresql://u:a%40b@h:5/d"),
        ("host=h user=u", "postgresql://u:none@h:5432/u"),
    ],
)
def test_peers_get_an_address_with_all_its_parts(url: str, wanted: str) -> None:
    assert peers.whole(url) == wanted


# --- arithmetic


def sample(program: str = OURS, wall: float = 2.0, rows: int = 1_000, **others: Any) -> Sample:
    fields = dict(part="loads", workload="narrow", number="exact", cpu=1.0, server=0.5, peak=10**8) | others
    return Sample(program=program, wall=wall, rows=rows, **fields)


def test_figures_are_medians() -> None:
    found = samples.figures([sample(wall=2.0), sample(wall=4.0, cpu=9.0), sample(wall=2.5, server=None, peak=3 * 10**8)])
    assert (found.runs, found.wall, found.rate, found.cpu_us, found.server_us) == (3, 2.5, 400.0, 1000.0, 500.0)
    assert (found.peak, found.spread) == (10**8, 0.8)


@pytest.mark.parametrize(("startup", "rate"), [(0.0, 500), (1.0, 1_000), (9.0, 1_000)], ids=["none", "half", "more than all"])
def test_startup_is_taken_off_up_to_half(startup: float, rate: float) -> None:
    assert samples.figures([sample()], startup).rate == rate


def measured() -> list[Sample]:
    """Ours is half as fast as the limit; the peer does a tenth of the rows in the same time, half of it start-up."""
    return [
        *(sample(LIMIT, 1.0), sample(OURS, 2.0), sample(LIMIT, 1.0), sample(OURS, 2.0)),
        *(sample("peer", 2.0, 100, number=""), sample("peer", 2.0, 100, number="")),
        sample("peer", 1.0, 1, number="", part="startup", workload=cases.NEW_TABLE),
        sample(OURS, 0.5, 0, number="", part="startup", workload=cases.NEW_TABLE),
        sample(OURS, 1.5, part="disturbed", workload=cases.CLEAN),
        sample(OURS, 2.5, part="disturbed", workload="worse"),
        sample(OURS, 2.0, part="growth: rows", workload="1,000"),
        sample(OURS, 2.0, number="", part="snowflake", workload="wide"),
        sample(to_snowflake.FILES, 2.0, number="2 of up to 160 MB", part="snowflake", workload="wide"),
    ]


def cells(table: str, first: str) -> list[str]:
    """Return the cells of the line of a table that begins with *first*."""
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize(
    ("section", "first", "wanted"),
    [
        ("loads", "narrow", ["exact", "1,000", "500", "1,000", "**0.50**", "5.0", "100 MB", "1000.0", "500.0", "500.0", "0%", "0%"]),
        ("peers", "narrow", ["peer", "100", "2.0 s", "1.0 s", "100", "100 MB", "10000", "5000.0", "0%"]),
        ("disturbed", "worse", ["500", "**0.50**", "100 MB", "0%"]),
        ("startup", OURS, ["its table is made", "0.50 s", "1.00 s", "100 MB", "0%"]),
        ("snowflake", "wide", ["1,000", "1,000", "1,000", "2 of up to 160 MB", "100 MB"]),
        ("growth", "1,000", ["1,000", "2.00 s", "2000.00", "1500.00", "1000.00", "500.00", "100 MB", "0%"]),
    ],
)
def test_tables_show_medians_and_their_ratios(section: str, first: str, wanted: list[str]) -> None:
    assert cells(report.sections(measured(), ABOUT)[section], first)[1:] == wanted


def test_tables_are_whole() -> None:
    """Each line has as many cells as the head, and each part says on what it was measured."""
    for section in report.sections(measured(), ABOUT).values():
        for table in re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE):
            assert len({line.count("|") for line in table.splitlines()}) == 1
        assert section.endswith("<sub>2026-01-01; m; s; peers: none; medians of 3 runs.</sub>")


def test_the_chart_has_a_bar_for_each_program_as_long_as_its_share() -> None:
    tree = ElementTree.fromstring(report.chart(measured()))
    _, *bars = tree.iter(f"{SVG}rect")  # the first is the background
    (end,) = [float(line.get("x1", 0)) for line in tree.iter(f"{SVG}line")]
    shares = [float(bar.get("width", 0)) / (end - float(bar.get("x", 0))) for bar in bars]
    assert shares == pytest.approx([0.5, 0.1], abs=0.001)


@pytest.mark.parametrize("make", [workloads.narrow, workloads.wide], ids=["narrow", "wide"])
def test_all_rows_become_files_without_a_server(make: Callable[[int], workloads.Messages], tmp_path: Path) -> None:
    pytest.importorskip("snowflake.connector", reason='pip install "target-meltano[snowflake]"')
    found, here = tmp_path / "report.json", workloads.written(tmp_path / "rows", lambda: make(1_000))
    measure.run([sys.executable, "-m", "benchmarks.no_snowflake", str(found)], here, {**os.environ, "PYTHONPATH": str(ROOT)}, None)
    report = json.loads(found.read_text("utf-8"))
    assert report["seconds"] > 0
    assert (len(report["sizes"]), report["rows"]) == (1, 1_000)


def test_samples_come_back_as_they_were_saved(tmp_path: Path) -> None:
    samples.save(tmp_path / "results.json", measured(), ABOUT)
    assert samples.read(tmp_path / "results.json") == (measured(), ABOUT)


def test_what_was_measured_is_put_between_its_marks_again_and_again(tmp_path: Path) -> None:
    page = tmp_path / report.PAGE
    page.write_text((ROOT / "docs" / report.PAGE).read_text("utf-8"), "utf-8")
    report.publish(measured(), ABOUT, tmp_path)
    first = page.read_text("utf-8")
    report.publish(measured(), ABOUT, tmp_path)
    assert page.read_text("utf-8") == first
    assert all(section in first for section in report.sections(measured(), ABOUT).values())
    assert (tmp_path / report.CHART).exists()


def test_a_page_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="0 places for 'loads'"):
        report.placed("no marks", "loads", "text")


# --- what arrives


def test_values_are_counted_by_what_they_mean() -> None:
    record = {"n": [1.0, "1", 10], "at": "2026-01-02T03:00:00+01:00", "o": {"b": True, "_sdc_x": 5, "none": None, "": "x"}, "empty": ""}
    own = {"__extra": {"_id": "y"}, "__loaded_at": "z", "__version": 1}
    assert sorted(arrived.values({**record, **own})) == ["1", "1", "10", "2026-01-02T02:00:00+00:00", "True", "x", "y"]
    assert arrived.spelt("2026-01-02") == arrived.spelt("2026-01-02T00:00:00Z") != arrived.spelt("2026-01-03")
    assert [arrived.spelt(text) for text in ("8:00am", "12:00 AM", "20:00:01Z")] == ["08:00:00", "00:00:00", "20:00:01"]


@pytest.mark.parametrize("name", ["issues", "jira-issues", "Issues"])
def test_what_is_in_the_tables_is_found_again(db: Any, tmp_path: Path, name: str) -> None:
    messages = list(workloads.wide(5))
    load(PostgresDialect(make_settings(PostgresSettings, url=db.url, schema=db.schema)), messages)
    (path := tmp_path / "messages").write_text("".join(json.dumps({**m, "stream": name}) + "\n\n" for m in messages))
    made, wanted = Database(db.url, db.connection, None), arrived.sent(path)
    assert wanted
    assert arrived.stored(made, db.schema, [name]) == wanted
    db.query(f'UPDATE "{db.schema}".issues SET title = NULL WHERE id = (SELECT min(id) FROM "{db.schema}".issues)')
    assert (wanted - arrived.stored(made, db.schema, [name])).total() == 1


def test_messages_are_made_of_the_catalogs_of_a_folder(tmp_path: Path) -> None:
    one = {"stream": "s", "schema": {"type": "object", "properties": {"id": {"type": "integer"}}}, "key_properties": ["id"]}
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.catalog.json").write_text(json.dumps({"streams": [one]}))
    (tmp_path / "in/b.json").write_text(json.dumps({"streams": [{**one, "schema": {"$ref": "elsewhere"}}]}))
    (tmp_path / "in/c.singer").write_text("")
    (tmp_path / "in/README.md").write_text("")
    found = list(arrived.messages_of([tmp_path / "in"], tmp_path))
    assert [path.name for path in found] == ["a.singer", "c.singer"], "stderr says why the second has none"
    assert arrived.sent(found[0]) == Counter(("s", str(n)) for n in range(1, 6))
