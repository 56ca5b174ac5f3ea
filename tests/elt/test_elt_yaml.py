"""YAML of any shape: data, or faults with their lines, in bounded time; never anything else."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from target_meltano.elt import document, project
from target_meltano.elt import settings as target_settings
from target_meltano.elt.errors import ProjectError
from target_meltano.elt.init import TEMPLATE

SECONDS = 10  # of a busy machine; each takes 2 at most, 0.01 as a rule
WHOLE = """\
version: 1
environment: ${ELT_ENVIRONMENT:-dev}
jobs: 3
warehouse: {type: postgres, executable: [target, "x y"], settings: {host: h, batch_rows: 10}}
state: {id: "{environment}:{tap}"}
taps:
  shop: &shop
    executable: tap-shop
    pip_url: tap-shop~=1.0
    config: {start: 2026-01-01, flags: [true, 1.5, null, "\\u00e9"], deep: {a: [b, {c: d}]}}
    select: [orders, "!*.note"]
    metadata: {orders: {replication-method: FULL_TABLE}}
    settings: {load_method: append}
    freshness: {warn_after: 12h, error_after: 2d}
  crm-eu:
    <<: *shop
    schema: crm
transform: {project: transform, schema: analytics, threads: 2}
pii: {rules: [{tap: shop, stream: orders, columns: [note], method: drop}]}
ci: {schedule: "17 3 * * *", branch: main, variables: [PGPASSWORD]}
review: {mode: clone, keep: 14d, allow_pii: true}
"""
MERGES = "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 30))
ALIASES = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]\n" for n in range(1, 9))
LEVELS = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 900))


def read(folder: Path, content: str | bytes) -> Any:
    (folder / "a.yml").write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    return document.read(folder / "a.yml").value


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("a: 1\n? [a, b]\n: c\n", "2: the file has a key that is no text"),
        ("a:\n  ? {b: c}\n  : d\n", "2: a has a key that is no text"),
        ("? !!binary aGk=\n: c\n", "1: the file has a key that is no text"),
        ('"\\ud800": 1\n', "1: \\ud800: a text with half of a surrogate pair"),
        ("a: 1\n<<: 1\n", "2: <<: wanted an anchor with keys"),
        ("<<: [1, 2]\n", "1: <<: wanted an anchor with keys"),
        ("a: &a\n  <<: *a\n", "1: an anchor stands inside itself"),
        ("a: &a {b: *a}\n", "1: an anchor stands inside itself"),
        ("a: !!binary aGk=\n", "1: a: a tag, as !x, is not for here; wanted a text"),
        ("a: !!timestamp 2001-01-01\n", "1: a: a tag, as !x, is not for here"),
        ("a: !!set {x, y}\n", "1: a: a tag, as !x, is not for here"),
        ("a: !!omap [x: 1]\n", "1: a: a tag, as !x, is not for here"),
        ("a:\n- !!python/object/apply:os.getcwd []\n", "2: a.0: a tag, as !x, is not for here"),
        ("a: !mine x\n", "1: a: a tag, as !x, is not for here"),
        ("a: !!int x\n", "1: a: wanted a whole number"),
        ("a: !!bool x\n", "1: a: wanted true or false"),
        ("a: !!float x\n", "1: a: wanted a number"),
        ("a: !!map [x]\n", "1: a: a tag, as !x, is not for here"),
        ('a: 1\nb: "\\ud800"\n', "2: b: a text with half of a surrogate pair"),
        ('a: "\\0"\n', "1: a: a text with a NUL"),
        ('a: 1\nb: "\\U00110000"\n', "2: is no YAML"),
        ('a: 1\nb: "\\UFFFFFFFF"\n', "2: is no YAML"),
        ("a: 1\nb: \0\n", "2: the character U+0000 cannot stand in YAML"),
        ("a: " + "[" * 1500, "1: this stands in 100 lists or keys"),
        ("a: " + "[" * 1500 + "]" * 1500, "1: this stands in 100 lists or keys"),
        ("- " * 100_000, "1: this stands in 100 lists or keys"),
        (LEVELS, "1: this stands in 100 lists or keys"),
        (ALIASES, "1: there are more than 30,000 values up to here"),
        (MERGES, "1: there are more than 30,000 values up to here"),
        ("a: [" + "x, " * 100_000 + "]", "1: there are more than 30,000 values up to here"),
        ("a:\n\tb: 1\n", "2: found character '\\t' that cannot start any token"),
        ("a: 1\n---\nb: 2\n", "2: expected a single document in the stream, but found another document"),
        ("a: &x 1\nb: &x 2\n", "2: found duplicate anchor; a text that begins with *"),
        ("a: *x\n", "1: found undefined alias; a text that begins with *"),
        ("a: " + "9" * 5000, "1: a: a number of 5,000 characters, wanted 300 at most"),
        ("a: 1e999\n", "1: a: a number that is too large, infinite, or none"),
        ("a: -.inf\n", "1: a: a number that is too large, infinite, or none"),
        ("a: .NaN\n", "1: a: a number that is too large, infinite, or none"),
        ("%YAML 3.0\n---\na: 1\n", "1: found incompatible YAML document"),
        ("a: 1".encode("utf-16"), "1: is not UTF-8 text; save it as UTF-8"),
        (b"a: 1\nb: \xe9\n", "2: is not UTF-8 text; save it as UTF-8"),
        (b"# " + b"x" * 600_000, "1: the file has more than 524,288 bytes"),
        ("".join("a: 1\n" for _ in range(30)), "2: a is there twice"),
        ('"a\\nb": 1\n"a\\nb": 1\n', "2: a\\nb is there twice"),
    ],
    ids=lambda value: re.sub(r"\W+", " ", value[:30]) if isinstance(value, str) else "bytes",
)
def test_what_elt_yml_cannot_have_is_a_fault_with_its_line(tmp_path: Path, content: str | bytes, fault: str) -> None:
    started = time.monotonic()
    with pytest.raises(ProjectError) as raised:
        read(tmp_path, content)
    assert time.monotonic() - started < SECONDS
    lines = str(raised.value).splitlines()
    assert lines[0].startswith(f"{tmp_path / 'a.yml'}:{fault}"), lines[0]
    assert len(lines) <= document.MOST_FAULTS
    assert max(map(len, lines)) < 400


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("", {}),
        ("\ufeffa: 1\n", {"a": 1}),
        ('{"a": "\\ud83d\\ude00", "\\ud83d\\ude00": 1}', {"a": "😀", "😀": 1}),
        ("a: 2026-01-01\nb: 2001-12-14t21:59:43.10-05:00\n", {"a": "2026-01-01", "b": "2001-12-14t21:59:43.10-05:00"}),
        ("a: '.inf'\nb: \"123\"\nc: !!str 5\nd: ' no '\n", {"a": ".inf", "b": "123", "c": "5", "d": " no "}),
        ("1: a\nno: b\n~: c\n1.5: d\n", {"1": "a", "no": "b", "~": "c", "1.5": "d"}),
        ("a: &a {x: 1, y: 2}\nb: &b {y: 3}\nc: {y: 4, <<: [*a, *b]}\nd: {<<: *a, z: 5}\n", {"a": {"x": 1, "y": 2}, "b": {"y": 3}, "c": {"x": 1, "y": 4}, "d": {"x": 1, "y": 2, "z": 5}}),
        ("a: &a {<<: {x: 1}, y: 2}\nb: {<<: *a}\n'<<': 1\n", {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 2}, "<<": 1}),
        ("a: " + "[" * 90 + "]" * 90, None),
        ("a: " + "9" * 300, {"a": int("9" * 300)}),
    ],
    ids=range(10),
)
def test_what_json_has_too_is_read(tmp_path: Path, content: str, value: Any) -> None:
    found = read(tmp_path, content)
    assert value is None or found == value


def test_the_key_that_stands_in_a_place_itself_is_the_one_that_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("a: &a\n  x: 1\nb:\n  x: 2\n  <<: *a\n")
    assert document.read(tmp_path / "a.yml").lines[("b", "x")] == 4


# --- whatever it is


def read_project(folder: Path, content: bytes) -> None:
    """Read a project as commands do: it is data, or its faults are told."""
    (folder / "elt.yml").write_bytes(content)
    path = f"{folder / 'elt.yml'}:"
    for reads in (project.read, project.as_written):
        started = time.monotonic()
        try:
            reads(folder)
        except ProjectError as error:
            lines = str(error).splitlines()
            assert all(line.startswith(path) for line in lines), lines
            assert len(lines) <= document.MOST_FAULTS + 1
        assert time.monotonic() - started < SECONDS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a project; the target is not asked for its settings."""
    monkeypatch.setattr(target_settings, "about", lambda *_: {})
    monkeypatch.setattr(target_settings, "faults", lambda *_: ())
    return tmp_path


ANY = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
ODD = st.sampled_from(
    ["[", "]", "{", "}", "&a ", "*a", "<<: ", "? ", ": ", "- ", "|\n", ">\n", "'", '"', "!!set ", "!x ", "%YAML 1.1\n", "---\n", "...\n", "#", "\t", "\n", "  "]
    + ["\0", "\ufeff", "\u2028", "\x85", "\r", "~", "1e9", ".inf", "0x1", "no", "${", "${json:X}", "${file:/}", "$$", "\\ud800", "\\UFFFFFFFF", "9" * 5000, "é", "😀", ",", "\x1b", "@", "`"]
)


@ANY
@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_project_or_told(folder: Path, content: bytes) -> None:
    read_project(folder, content)


@ANY
@given(edits=st.lists(st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 12), ODD | st.text(max_size=3)), min_size=1, max_size=4))
def test_any_edits_of_a_project_are_a_project_or_told(folder: Path, edits: list[tuple[int, int, str]]) -> None:
    text = WHOLE
    for at, less, more in edits:
        text = text[:at] + more + text[at + less :]
    read_project(folder, text.encode("utf-8", "surrogatepass"))


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from(["${X}", "${json:X}", "a", "analytics", "PG_x", '"', "x" * 300])
TREE = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | PLAIN, inner, max_size=3), max_leaves=6)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(way for name, child in inner for way in places(child, (*at, name)))]


@ANY
@given(data=st.data(), other=TREE)
def test_any_value_at_any_place_is_a_project_or_told(folder: Path, data: st.DataObject, other: Any) -> None:
    """Of any type, with keys of any type, as YAML's own writer spells it."""
    value = yaml.safe_load(WHOLE)
    *way, last = data.draw(st.sampled_from(places(value)[1:]))
    inner = value
    for name in way:
        inner = inner[name]
    inner[last] = other
    out = io.StringIO()
    yaml.safe_dump(value, out, allow_unicode=data.draw(st.booleans()))
    read_project(folder, out.getvalue().encode("utf-8", "surrogatepass"))


def test_what_they_start_from_is_a_project(folder: Path) -> None:
    (folder / "elt.yml").write_text(WHOLE)
    made = project.read(folder)
    assert made.taps["crm-eu"].schema == "crm"
    assert made.taps["crm-eu"].config == made.taps["shop"].config
    assert project.as_written(TEMPLATE).taps


def test_a_project_of_many_taps_is_read_in_time_that_grows_with_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What each tap is not given of the others' secrets is not looked for anew with each tap: 1,000 of them took 48 s."""
    monkeypatch.setenv("SHARED", "secret-1")
    taps = "".join(f"  tap{number}: {{executable: x, config: {{user: u, token: '${{SHARED}}', list: [a, b]}}}}\n" for number in range(1000))
    (folder / "elt.yml").write_text(f"version: 1\nwarehouse: {{type: postgres}}\ntaps:\n{taps}")
    started = time.monotonic()
    assert len(project.read(folder).taps) == 1000
    assert time.monotonic() - started < SECONDS


@pytest.mark.parametrize("password", ["*canary", "!canary", "!!canary", "!canary!x y", "!<canary> x", "&canary 1\nb: &canary 2"])
def test_a_password_without_its_quotes_is_not_told(tmp_path: Path, password: str) -> None:
    """YAML takes it for an anchor or a tag, whose name its own faults have in them."""
    with pytest.raises(ProjectError) as raised:
        read(tmp_path, f"password: {password}\n")
    assert "canary" not in str(raised.value)
    assert "quotes" in str(raised.value)
