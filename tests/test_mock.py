"""Mock data: valid, the same for the same seed, with keys that are unique and references that lead somewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from time import process_time
from typing import Any

import faker
import jsonschema
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from on_postgres import rows as rows_of
from on_postgres import run

from target_meltano.elt import mock
from target_meltano.elt.mock import MockError, Stream

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-c", "from target_meltano.elt import main; main()", "mock"]


def stream(name: str = "s", keys: tuple[str, ...] = (), required: tuple[str, ...] = (), /, **properties: Any) -> Stream:
    needed = {"required": list(required)} if required else {}
    return Stream(name, {"type": "object", "properties": properties, **needed}, keys)


def made(*streams: Stream, rows: int = 50, seed: str = "0", null_rate: float = 0.1, faker: Any = None) -> list[Any]:
    """Return the messages, numbers with all their digits."""
    found = list(mock.written(mock.compiled(streams, rows, seed, null_rate, faker)))
    return [json.loads(line, parse_float=Decimal) for line in found]


def records(*streams: Stream, **options: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {one.name: [] for one in streams}
    for message in made(*streams, **options):
        if message["type"] == "RECORD":
            found[message["stream"]].append(message["record"])
    return found


def values(schema: Any, name: str = "x", **options: Any) -> list[Any]:
    return [record[name] for record in records(stream(**{name: schema}), **options)["s"]]


def assert_valid(schema: Any, found: list[Any]) -> None:
    """By the numbers as they were written, and as floats."""
    exact = json.loads(json.dumps(schema), parse_float=Decimal)
    for value in found:
        jsonschema.Draft7Validator(exact).validate(value)
        jsonschema.Draft7Validator(schema, format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER).validate(json.loads(json.dumps(value, default=float)))


# --- values


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"type": "string", "maxLength": 3},
        {"type": "string", "minLength": 40, "maxLength": 41},
        {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
        {"type": "string", "pattern": r"^(a|b+?)[^x-z]\d\w.\s?(?:c{2,})\1$"},
        {"type": "string", "pattern": "^[0-9]+$", "minLength": 3, "maxLength": 5},
        {"type": "string", "pattern": "[äöü]{2}"},
        *({"type": "string", "format": name} for name in ("date-time", "date", "time", "email", "uuid", "uri", "ipv4", "ipv6", "hostname", "duration")),
        {"type": "string", "format": "email", "maxLength": 254},
        {"type": "string", "format": "email", "maxLength": 24},
        {"type": "string", "contentEncoding": "base64"},
        {"type": "integer"},
        {"type": "integer", "minimum": -5, "exclusiveMaximum": -3},
        {"type": "integer", "minimum": 2**53, "maximum": 2**63 - 1},
        {"type": "integer", "multipleOf": 7, "maximum": 20},
        {"type": "number"},
        {"type": "number", "minimum": 0.5, "maximum": 0.501},
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1e-7},
        {"type": "number", "multipleOf": 0.01, "minimum": 4.35, "maximum": 4.38},
        {"type": "number", "multipleOf": 0.25, "minimum": -1, "maximum": 1},
        {"type": "number", "multipleOf": 1e-7},
        {"type": "number", "minimum": 1e20},
        {"type": "boolean"},
        {"enum": ["a", 1, None, [2]]},
        {"const": {"a": 1}},
        {"type": ["null", "string"], "enum": ["a", "b"]},
        {"type": ["integer", "string"]},
        {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 4},
        {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 3},
        {"type": "array", "items": [{"type": "integer"}, {"type": "string"}]},
        {"type": "array"},
        {"type": "object"},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "integer"}}}}, "required": ["a", "c"]},
        {"anyOf": [{"type": "null"}, {"type": "string", "format": "date"}]},
        {"oneOf": [{"type": "integer", "minimum": 5}, {"type": "string"}]},
        {"allOf": [{"type": "integer", "minimum": 5}, {"maximum": 6}]},
        {"properties": {"a%s\"": {"type": "integer"}}, "required": ["a%s\""]},
        {},
        True,
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("with_faker", [None, faker], ids=["words", "faker"])
def test_every_value_is_valid(schema: Any, with_faker: Any) -> None:
    found = values(schema, rows=200, faker=with_faker)
    assert len(found) == 200
    assert_valid(schema, found)


BOUND = st.integers(-(10**6), 10**6) | st.integers(-(10**6), 10**6).map(lambda n: n / 1000)
NUMBERS = st.fixed_dictionaries(
    {"type": st.sampled_from(["integer", "number"])},
    optional=dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), BOUND)
    | {"multipleOf": st.sampled_from([1, 3, 10, 0.5, 0.1, 0.01, 2.5, 0.001])},
)
TEXTS = st.fixed_dictionaries(
    {"type": st.just("string")}, optional={"minLength": st.integers(0, 9), "maxLength": st.integers(10, 20), "format": st.sampled_from(["date", "x"])}
)
SCALARS = NUMBERS | TEXTS | st.just({"type": "boolean"}) | st.lists(st.integers() | st.text() | st.booleans(), min_size=1).map(lambda e: {"enum": e})
SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: (
        st.dictionaries(st.text(max_size=3), inner, max_size=3).map(lambda p: {"type": ["object", "null"], "properties": p, "required": list(p)[:1]})
        | st.builds(lambda items, least: {"type": "array", "items": items, "minItems": least}, inner, st.integers(0, 3))
        | inner.map(lambda schema: {"anyOf": [schema, {"type": "null"}]})
        | inner.map(lambda schema: {"allOf": [schema]})
    ),
    max_leaves=5,
)


@examples(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(SCHEMAS, st.text(max_size=3))
def test_any_schema_gives_valid_values_or_an_error(schema: Any, name: str) -> None:
    try:
        found = values(schema, name, rows=20)
    except MockError as error:
        assert "no " in str(error)  # a number between bounds that cross
        return
    assert_valid(schema, found)


def test_numbers_are_exact_multiples_also_for_those_who_calculate_in_floats() -> None:
    found = values({"type": "number", "multipleOf": 0.01, "minimum": 0, "maximum": 100}, rows=2000)
    assert all(value % Decimal("0.01") == 0 and (float(value) / 0.01).is_integer() for value in found)
    assert len(set(found)) > 500


def test_the_null_rate_is_for_what_may_be_null() -> None:
    schema = {"type": ["null", "integer"]}
    assert 100 < values(schema, rows=1000, null_rate=0.2).count(None) < 300
    assert values(schema, null_rate=0).count(None) == 0
    assert values({"type": "integer"}, null_rate=1).count(None) == 0
    assert values(schema, null_rate=1).count(None) == 50


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ({"type": "integer", "minimum": 5, "maximum": 4}, "stream 's': x: no integer fits its bounds"),
        ({"type": "string", "pattern": "^(?=a)b"}, "stream 's': x: a pattern has assert, of which mock makes no text"),
        ({"type": "string", "pattern": "("}, "'('"),
        ({"$ref": "#/definitions/x"}, "leads nowhere"),
        ({"type": "date-time"}, "stream 's': the schema is no JSON Schema: $.properties.x.type: "),
        ({"not": {"type": "string"}}, "stream 's': $.x: mock makes no values for this schema: 'not' is not met"),
        ({"type": "string", "pattern": "^a$", "minLength": 2}, "'minLength' is not met"),
        ({"type": "string", "format": "date", "maxLength": 9}, "'maxLength' is not met"),
    ],
    ids=json.dumps,
)
def test_what_no_value_can_be_made_for_is_an_error_before_a_line_is_written(schema: Any, fault: str) -> None:
    with pytest.raises(MockError) as error:
        for one in mock.compiled([stream(x=schema)], 5, "0", 0, None):
            mock.check(one)
    assert fault in str(error.value)


def test_exclusive_bounds_of_draft_4_are_read() -> None:
    one = stream(x={"type": "integer", "minimum": 0, "exclusiveMinimum": True, "maximum": 2, "exclusiveMaximum": True})
    (made_of,) = mock.compiled([one], 20, "0", 0, None)
    mock.check(made_of)
    assert {record["x"] for record in records(one)["s"]} == {1}


def test_multiples_of_any_size_are_checked() -> None:
    for one in mock.compiled([stream(x={"type": "number", "minimum": -1e33, "multipleOf": 1e-38})], 5, "0", 0, None):
        mock.check(one)


def test_schemas_that_contain_themselves_end() -> None:
    tree = {"type": "object", "properties": {"n": {"type": "integer"}, "below": {"type": "array", "items": {"$ref": "#/definitions/t"}}}}
    schema = {"type": "object", "properties": {"x": {"$ref": "#/definitions/t"}}, "definitions": {"t": tree}}
    found = records(Stream("s", schema, ()), rows=5)["s"]
    assert_valid(schema, found)


# --- keys and references

INT: Any = {"type": "integer"}
TEXT: Any = {"type": "string"}


@pytest.mark.parametrize(
    ("properties", "rows"),
    [
        ({"a": INT}, 300),
        ({"a": {"type": "integer", "minimum": -5, "maximum": 5}}, 11),
        ({"a": {"type": "number", "multipleOf": 0.5}}, 300),
        ({"a": TEXT}, 300),
        ({"a": {"type": "string", "maxLength": 2}}, 99),
        ({"a": {"type": "string", "pattern": "^[a-c]{2}$"}}, 9),
        ({"a": {"type": "string", "pattern": "^[A-Z]{3}$"}}, 300),
        *(({"a": {"type": "string", "format": form}}, 300) for form in ("date", "date-time", "time", "uuid", "email", "uri")),
        ({"a": {"enum": ["x", "y"]}}, 2),
        ({"a": {"type": "boolean"}, "b": {"enum": [1, 2, 2]}}, 4),
        ({"a": {"enum": ["x", "y"]}, "b": INT}, 300),
        ({"a": INT, "b": {"type": "string", "format": "date"}}, 300),
    ],
    ids=json.dumps,
)
def test_keys_are_unique_and_as_many_as_there_can_be(properties: dict[str, Any], rows: int) -> None:
    one = stream("s", tuple(properties), **properties)
    found = records(one, rows=300, null_rate=1)["s"]
    assert len({tuple(map(str, record.values())) for record in found}) == len(found) == rows
    assert_valid(one.schema, found)


def test_references_lead_to_keys_of_the_stream_that_is_named() -> None:
    users = stream("crm-users", ("id",), id={"type": "string", "format": "uuid"})
    orders = stream("orders", ("order_id",), order_id=INT, user_id={"type": ["null", "string"]}, categoryId=TEXT, other_id=INT)
    categories = stream("categories", ("code",), code=INT)
    lines = stream("order_lines", ("order_id", "line"), order_id=INT, line=INT)
    profiles = stream("profiles", ("user_id",), user_id=TEXT)
    found = records(orders, users, categories, lines, profiles, rows=100)
    ids = {record["id"] for record in found["crm-users"]}
    used = Counter(record["user_id"] for record in found["orders"])
    assert used.keys() - {None} <= ids
    assert len(used) > 30
    assert {record["categoryId"] for record in found["orders"]} <= {str(record["code"]) for record in found["categories"]}
    assert {record["user_id"] for record in found["profiles"]} == ids
    keys = {(record["order_id"], record["line"]) for record in found["order_lines"]}
    assert len(keys) == 100
    assert {key[0] for key in keys} < {record["order_id"] for record in found["orders"]}
    assert {key[1] for key in keys} == {0, 1, 2} or {key[1] for key in keys} == {1, 2, 3}


# --- the stream


def test_it_is_a_stream_that_a_target_loads(db: Any) -> None:
    users = stream("users", ("id",), id=INT, email={"type": "string", "format": "email"}, born={"type": ["null", "string"], "format": "date"})
    orders = stream("orders", ("id",), id=INT, user_id=INT, total={"type": "number", "multipleOf": 0.01})
    lines = list(mock.written(mock.compiled([users, orders], 500, "7", 0.1, None)))
    assert run(db, *lines).state == '{"bookmarks":{"users":{"rows":500},"orders":{"rows":500}}}'.replace(" ", "")
    assert len(rows_of(db, "id", "users")) == len(rows_of(db, "id", "orders")) == 500
    joined = f'SELECT count(*) FROM "{db.schema}".orders o JOIN "{db.schema}".users u ON u.id = o.user_id'
    assert db.query(joined) == [(500,)]


def test_a_column_does_not_change_with_those_beside_it() -> None:
    alone, beside = records(stream(a=INT)), records(stream(b=TEXT, a=INT))
    assert [record["a"] for record in alone["s"]] == [record["a"] for record in beside["s"]]


@pytest.mark.parametrize(
    ("name", "found"),
    [("email", "@"), ("Phone_Number", "0123456789"), ("zipCode", "0123456789"), ("updated_at", "T"), ("homepage", "://")],
)
def test_values_are_in_the_style_of_their_fields(name: str, found: str) -> None:
    assert all(any(char in value for char in found) for value in values(TEXT, name, faker=faker))


def test_names_are_those_of_people_where_the_stream_is_of_them() -> None:
    people, products = records(stream("customers", name=TEXT), stream("products", name=TEXT), faker=faker, rows=30).values()
    fake = faker.Faker(use_weighting=False)
    names = set()
    for n in range(500):
        fake.seed_instance(f"0/customers/name/{n}")
        names.add(fake.name())
    assert {record["name"] for record in people} <= names
    assert not {record["name"] for record in people} & {record["name"] for record in products}


def test_no_more_texts_are_invented_than_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalog has hundreds of columns, and the first row comes at once."""
    asked: list[str] = []
    name = faker.Faker.__getattr__
    monkeypatch.setattr(faker.Faker, "__getattr__", lambda self, attribute: asked.append(attribute) or name(self, attribute))
    columns = {f"c{i}_email": TEXT for i in range(40)}
    assert len(records(stream(**columns), rows=1, null_rate=0, faker=faker)["s"]) == 1
    assert asked.count("email") == 40


def nested(levels: int, inmost: Any) -> Any:
    return {"type": "object", "required": ["a"], "properties": {"a": nested(levels - 1, inmost)}} if levels else inmost


@pytest.mark.parametrize("levels", [3, 9, 40])
def test_what_ends_by_itself_is_made_to_its_end(levels: int) -> None:
    (found,) = set(map(json.dumps, values(nested(levels, {"type": "object", "properties": {"b": {"const": 1}}}), rows=3)))
    assert found.count('"a"') == levels
    assert '"b": 1' in found


def of(**definitions: Any) -> Stream:
    """Return a stream with a property of the first definition."""
    schema = {"type": "object", "properties": {"x": {"$ref": f"#/definitions/{next(iter(definitions))}"}}, "definitions": definitions}
    return Stream("s", schema, ())


def thing(*required: str, **properties: Any) -> Any:
    return {"type": "object", "required": list(required), "properties": properties}


INTEGER = {"type": "integer"}
NODE, LEAF = {"$ref": "#/definitions/node"}, {"$ref": "#/definitions/leaf"}


@pytest.mark.parametrize(
    "made",
    [
        of(node=thing("id", id=INTEGER, next=NODE)),
        of(node=thing("leaf", leaf=LEAF), leaf=thing("size", size=INTEGER, node=NODE)),
        of(node={"anyOf": [thing("left", "right", left=NODE, right=NODE), INTEGER]}),
        of(node={"oneOf": [thing("below", below=NODE), TEXT]}),
        of(node={"type": ["object", "null"], "required": ["below"], "properties": {"below": NODE}}),
        of(node=thing("below", "id", id=INTEGER, below={"type": "array", "items": NODE})),
        of(node=thing(**{f"n{i}": NODE for i in range(12)})),
        Stream("s", thing("id", id=INTEGER, parent={"$ref": "#"}, deep=nested(15, thing("end", end=INTEGER))), ()),
    ],
    ids=["list", "two that contain each other", "tree", "one of two", "null", "array", "wide", "beside what goes deep"],
)
def test_what_contains_itself_ends_and_has_what_is_required(made: Stream) -> None:
    started = process_time()
    found = records(made, rows=20)["s"]
    assert process_time() - started < 5
    validator = jsonschema.Draft7Validator(made.schema)
    assert [fault.message for record in found for fault in validator.iter_errors(record)] == []
    assert any(record.get("x", record.get("parent")) for record in found)


def test_what_requires_itself_without_end_is_told_at_once() -> None:
    with pytest.raises(MockError, match=r"^stream 's': x(\.(left|right))+: it requires itself within itself, without end$"):
        records(of(node=thing("left", "right", left=NODE, right=NODE)))


def numbers(**bounds: Any) -> Any:
    return {"type": "number", **bounds}


@pytest.mark.parametrize(
    "options",
    [
        [numbers(), INTEGER],
        [numbers(minimum=0, maximum=6), numbers(minimum=3, maximum=9, multipleOf=0.25)],
        [{"type": "string", "maxLength": 9}, {"type": "string", "minLength": 4}],
        [thing("kind", kind={"enum": ["a", "b", "c"]}), thing("kind", kind={"enum": ["c", "d"]})],
        [thing(a=INTEGER, b=TEXT), thing(a=TEXT, c=TEXT)],
        [{"type": ["null", "string"]}, {"type": ["null", "integer"]}],
        [{"type": "null"}, {"enum": [1, 2, 3]}, {"enum": [3, 4]}],
        [{"type": "array", "items": INTEGER, "maxItems": 2}, {"type": "array", "items": INTEGER, "minItems": 2}],
    ],
    ids=["integer is a number", "ranges", "lengths", "kinds", "objects", "null twice", "enum", "arrays"],
)
@pytest.mark.parametrize("is_item", [False, True], ids=["property", "item"])
def test_a_value_fits_exactly_one_alternative_of_oneof(options: list[Any], is_item: bool) -> None:
    made = stream(x={"type": "array", "items": {"oneOf": options}} if is_item else {"oneOf": options})
    validator = jsonschema.Draft7Validator(made.schema)
    found = [json.loads(json.dumps(record, default=float)) for record in records(made, rows=60, null_rate=0.3)["s"]]
    assert [record for record in found if not validator.is_valid(record)] == []
    assert len(set(map(str, found))) > 1


def test_alternatives_that_all_overlap_are_told() -> None:
    """A tap writes such values, too; so they are made."""
    options = [{"type": "string", "format": "date-time"}, TEXT]
    (mock_,) = mock.compiled([stream(at={"oneOf": options}, n={"oneOf": [INTEGER, TEXT]})], 20, "0", 0, None)
    mock.check(mock_)
    assert mock_.several == {"at"}


@pytest.mark.parametrize("levels", [100, 480])
def test_the_command_makes_schemas_as_deep_as_targets_load(tmp_path: Path, levels: int) -> None:
    level = '{"type": "object", "required": ["a"], "properties": {"a": '
    schema = level * levels + '{"type": "integer"}' + "}}" * levels
    (tmp_path / "deep.json").write_text(f'{{"streams": [{{"stream": "s", "schema": {schema}}}]}}')
    done = subprocess.run([*COMMAND, "--catalog", str(tmp_path / "deep.json"), "--rows", "2"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.count('"a"') for line in done.stdout.splitlines() if '"RECORD"' in line] == [levels] * 2


def test_streams_of_one_name_are_sent_under_their_ids() -> None:
    """As a tap sends them that reads two schemas; the option takes either."""
    entries = [{"stream": name, "tap_stream_id": f"{where}-{name}", "schema": thing(id=INTEGER)} for where, name in (("eu", "bill"), ("us", "bill"), ("us", "tax"))]
    streams = mock.of_catalog({"streams": entries})
    assert [one.name for one in streams] == ["eu-bill", "us-bill", "tax"]
    assert [one.name for one in mock.chosen(streams, ["us-bill", "us-tax"])] == ["us-bill", "tax"]


def test_references_are_read_however_they_are_written() -> None:
    schema = {"type": "object", "properties": {"x": {"$ref": "#definitions/n"}}, "definitions": {"n": {"const": 7}}}
    for one in mock.compiled([Stream("s", schema, ())], 5, "0", 0, None):
        mock.check(one)
    assert records(Stream("s", schema, ()), rows=2)["s"] == [{"x": 7}] * 2
    with pytest.raises(MockError, match="stream 's': x: .ref 'person.json' is not read; only those within"):
        records(stream(x={"$ref": "person.json"}))


# --- the command


def run_mock(*arguments: str, **environment: str) -> tuple[int, bytes, str]:
    environment = {**os.environ, **environment}
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, check=False, env=environment, cwd=ROOT)
    return done.returncode, done.stdout, done.stderr.decode()


CATALOG = {
    "streams": [
        {
            "tap_stream_id": "db-users",
            "stream": "users",
            "schema": stream(id=INT, name=TEXT, secret=TEXT, blob=TEXT, parent_id=INT).schema,
            "metadata": [
                {"breadcrumb": [], "metadata": {"selected": True, "table-key-properties": ["id"], "replication-key": "id"}},
                {"breadcrumb": ["properties", "secret"], "metadata": {"selected": False}},
                {"breadcrumb": ["properties", "blob"], "metadata": {"inclusion": "unsupported"}},
            ],
        },
        {"stream": "others", "schema": stream(id=INT).schema, "key_properties": ["id"]},
    ]
}


@pytest.fixture(scope="module")
def catalog(folder: Path) -> str:
    path = folder / "catalog.json"
    path.write_text(json.dumps(CATALOG))
    return str(path)


def test_the_same_seed_gives_the_same_bytes(catalog: str) -> None:
    arguments = ("--catalog", catalog, "--rows", "1500")
    code, first, said = run_mock(*arguments, "--seed", "a", PYTHONHASHSEED="1")
    assert (code, said) == (0, "")
    assert run_mock(*arguments, "--seed", "a", PYTHONHASHSEED="2")[1] == first
    assert run_mock(*arguments, "--seed", "b")[1] != first


def test_what_a_catalog_selects_is_sent(catalog: str) -> None:
    found = [json.loads(line) for line in run_mock("--catalog", catalog, "--rows", "2")[1].splitlines()]
    assert [message["type"] for message in found] == ["SCHEMA", "RECORD", "RECORD", "STATE"]
    assert (found[0]["stream"], found[0]["key_properties"], found[0]["bookmark_properties"]) == ("users", ["id"], ["id"])
    assert list(found[1]["record"]) == list(found[0]["schema"]["properties"]) == ["id", "name", "parent_id"]


def test_the_output_of_a_tap_is_a_catalog_too(catalog: str, folder: Path) -> None:
    first = run_mock("--catalog", catalog, "--no-faker")[1]
    path = folder / "saved.singer"
    path.write_bytes(first)
    assert run_mock("--catalog", str(path), "--no-faker")[1] == first.replace(b', "bookmark_properties": ["id"]', b"")


def test_a_tap_is_asked_for_its_catalog(folder: Path) -> None:
    tap, config = folder / "tap-x", folder / "config.json"
    config.write_text("{}")
    tap.write_text(f"#!/bin/sh\n[ \"$1 $3\" = '--config --discover' ] || {{ echo no; echo bad words >&2; exit 3; }}\ncat {folder}/discovered\n")
    tap.chmod(0o755)
    (folder / "discovered").write_text(json.dumps(CATALOG))
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    code, found, said = run_mock("--tap", "tap-x", "--tap-config", str(config), "--rows", "1", PATH=path)
    assert (code, len(found.splitlines())) == (0, 3), said
    assert run_mock("--tap", "tap-x", PATH=path) == (1, b"", "CRITICAL tap-x --discover ended with exit status 3: bad words\n")


def test_what_is_wrong_is_one_line(catalog: str, folder: Path) -> None:
    (folder / "bad.json").write_text('{"a": 1}')
    for arguments, fault in (
        (("--catalog", str(folder / "none.json")), "No such file"),
        (("--catalog", str(folder / "bad.json")), "wanted a catalog"),
        (("--catalog", catalog, "--stream", "xs"), "there is no stream xs; there is: users"),
        (("--tap", "tap-that-is-not-there"), "no executable 'tap-that-is-not-there' on PATH"),
    ):
        code, out, said = run_mock(*arguments)
        assert (code, out, said.count("\n")) == (1, b"", 1)
        assert fault in said
