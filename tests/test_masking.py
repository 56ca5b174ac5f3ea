"""Lines in, masked lines out: what each rule makes of a value, and that nothing gets around one."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from mask_rules import SECRET, lines, masked, rule, stage, users

from target_meltano import masking, masks, values
from target_meltano.errors import MaskingError, SchemaError, SettingsError
from target_meltano.masked_stream import Withheld
from target_meltano.samples import INT, STR, record, schema, state


def fields(method: str, *values: Any, **more: Any) -> list[Any]:
    """Return what *method* makes of values of a column without a type."""
    at = stage(rule("x", method=method, **more))
    found = masked(at, users(x={}), *(record("users", id=1, x=value) for value in values))
    return [message["record"].get("x", "(absent)") for message in found[1:]]


def expected(domain: str, text: str) -> str:
    mac = hmac.new(SECRET.encode(), domain.encode() + b"\0" + text.encode(), hashlib.sha256)
    return f"v1:{mac.hexdigest()}"


# --- methods


def test_a_hash_is_the_hmac_sha256_of_the_domain_and_the_text_behind_the_version_of_the_key() -> None:
    assert fields("hash", "ada@x.org", "Zoë", "", None, **{"as": "email"}) == [
        expected("email", "ada@x.org"),
        expected("email", "Zoë"),
        expected("email", ""),
        None,
    ]


@given(st.binary(min_size=16, max_size=200), st.text(), st.binary())
def test_the_hash_is_that_of_the_library(secret: bytes, domain: str, text: bytes) -> None:
    begin = domain.encode("utf-8", "surrogatepass") + b"\0"
    assert masks.Key("v1", secret).hasher(domain)(text) == hmac.new(secret, begin + text, "sha256").hexdigest()


def test_equal_values_hash_equally_where_their_columns_have_the_same_name() -> None:
    both = [rule("id", "mail", **{"as": "person"}), {**rule("user_id", **{"as": "person"}), "stream": "orders"}, rule("other")]
    at = stage(*both)
    sent = [
        users(mail=STR, other=STR),
        schema("orders", user_id=INT),
        record("users", id=5, mail="5", other="5"),
        record("orders", user_id=5.0),
    ]
    user, order = (message["record"] for message in masked(at, *sent)[2:])
    assert user["id"] == user["mail"] == order["user_id"] != user["other"]


@pytest.mark.parametrize(
    ("method", "value", "wanted"),
    [
        ("mask", "Ada-Lovelace 1, Zürich", "***-******** *, ******"),
        ("mask", 12.5, 0),
        ("mask", True, False),
        ("redact", "x", "redacted"),
        ("redact", [{"a": 1}], "redacted"),
        ("nullify", {"a": 1}, None),
        ("drop", "x", "(absent)"),
        ("keep-first:2", "Ada", "Ad*"),
        ("keep-first:2", "Al", "**"),
        ("keep-first:2", 12345, "12***"),
        ("keep-first:2", -1.50, "-1**"),
        ("keep-ends:1", "Ada", "A*a"),
        ("keep-ends:2", "Ada", "***"),
        ("truncate-date:year", "2024-05-06", "2024-01-01"),
        ("truncate-date:month", "2024-05-06", "2024-05-01"),
        ("truncate-date:day", "2024-05-06", "2024-05-06"),
        ("truncate-date:month", "2024-05-01T00:30:00+02:00", "2024-04-01T00:00:00Z"),
        ("truncate-date:day", "2024-02-29T23:59:59.999Z", "2024-02-29T00:00:00Z"),
        ("truncate-date:hour", "2024-05-06 07:08:09", "2024-05-06T07:00:00Z"),
    ],
)
def test_methods(method: str, value: Any, wanted: Any) -> None:
    assert fields(method, value, None) == [wanted, "(absent)" if method == "drop" else None]


def test_hash_after_keeps_the_start_of_a_longer_text() -> None:
    assert fields("hash-after:2", "DE89", "DE", **{"as": "iban"}) == [f"DE{expected('iban', 'DE89')}", expected("iban", "DE")]


@given(st.datetimes(), st.sampled_from(["Z", ".5Z", ".123456789Z", "+00:00", "+02:00", ""]), st.sampled_from(["T", " "]))
def test_times_truncate_in_utc(time: Any, end: str, between: str) -> None:
    """However they are written."""
    text = time.replace(microsecond=0).isoformat(between) + end
    try:
        utc = values.times.timestamp_text(values.times.timestamp(text)[0])
    except ValueError:
        return  # beyond the years, in UTC
    assert fields("truncate-date:day", text) == [f"{utc[:10]}T00:00:00Z"]


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("hash", ["CANARY"]),
        ("mask", {"a": "CANARY"}),
        ("keep-first:1", {}),
        ("truncate-date:year", "2024-02-30"),
        ("truncate-date:year", "2023-02-29T00:00:00Z"),
        ("truncate-date:year", "0000-02-02T00:00:00Z"),
        ("truncate-date:year", "yesterday"),
        ("truncate-date:year", 20240506),
    ],
)
def test_a_value_that_cannot_be_masked_is_an_error_that_does_not_show_it(method: str, value: Any) -> None:
    _, found = lines(stage(rule("a.x", method=method)), users(a={}), record("users", a={"x": value}))
    assert isinstance(found, Withheld)
    assert str(found.error(7, 7)).startswith("line 7: stream 'users': $.a.x: it cannot be masked: ")
    shown = str(found.error(7, 7)) + found.decode()
    assert "CANARY" not in shown
    assert isinstance(value, (dict, list)) or str(value) not in shown


# --- places


def test_the_rest_of_a_record_stays_as_it_was_written() -> None:
    line = b'{"type":"RECORD","stream":"users","record":{"n":1.50,"x":"a","e":1e3,"u":"\\u00e9","l":[1.0]},"version":7,"more":"x"}'
    at = stage(rule("x", method="redact"))
    masked(at, schema("users", n={}, x=STR, e={}, u={}, l={}))
    (found,) = at.lines([line])
    assert found.startswith(b'{"type":"RECORD","stream":"users","record":{"n":1.50,"x":"redacted","e":1e3,"u":"\\u00e9","l":[1.0]},"version":7')
    assert b"more" not in found


def test_paths_lead_through_objects_arrays_and_json_in_strings() -> None:
    at = stage(rule("addr.zip", "items[].ssn", "tags[]", ["a.b", "[]", "[]", "c"], "text.x", method="redact"))
    inner = json.dumps({"x": "p", "y": [1]})
    sent = dict(addr={"zip": 1, "city": 2}, items=[{"ssn": 3, "k": 4}, None], tags=["t", None], text=inner, id=5)
    properties = dict(addr={"type": "object"}, items={}, tags={"type": "array"}, text=STR, **{"a.b": {}})
    found = masked(at, users(**properties), record("users", **sent, **{"a.b": [[{"c": 1}]]}))[1]["record"]
    assert json.loads(found.pop("text")) == {"x": "redacted", "y": [1]}
    assert found == {
        "addr": {"zip": "redacted", "city": 2},
        "items": [{"ssn": "redacted", "k": 4}, None],
        "tags": ["redacted", None],
        "id": 5,
        "a.b": [[{"c": "redacted"}]],
    }


NAMES = ["a", "b", "c", "x", "é", '"']
TEXT = st.text(max_size=5) | st.sampled_from(["", "a", "7", "2024-01-31", '{"x": "1", "x": [1.50]}', "[{}]", "\x7f", "\0", "\ud800", "\\"])


def _spelt(text: str, as_ascii: bool) -> str:
    return json.dumps(text, ensure_ascii=as_ascii)


SCALARS = (
    st.builds(_spelt, TEXT, st.booleans())
    | st.sampled_from(["null", "true", "false", "0", "-0", "7", "007", "1.", "1.0", "1e2", "-1.50e-3", "1" * 45, "NaN", "1E400", "'a'", '"\t"'])
)
BLANK = st.sampled_from(["", " ", "\t", "\r "])


def _object(members: list[tuple[str, bool, str]], blank: str) -> str:
    spelt = [f"{blank}{_spelt(name, as_ascii)}{blank}:{blank}{value}{blank}" for name, as_ascii, value in members]
    return f"{{{','.join(spelt)}}}"


def _inside(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.tuples(st.sampled_from(NAMES) | TEXT, st.booleans(), values)
    arrays = st.builds(lambda items, blank: f"[{blank}{f'{blank},{blank}'.join(items)}{blank}]", st.lists(values, max_size=3), BLANK)
    return st.builds(_object, st.lists(members, max_size=4), BLANK) | arrays


JSON = st.recursive(SCALARS, _inside, max_leaves=12)
RECORDS = st.builds(_object, st.lists(st.tuples(st.sampled_from(NAMES), st.booleans(), JSON), max_size=6), BLANK) | JSON
PATHS = st.sampled_from(["a", "b", "a.b", "a.x.c", "a[]", "b[].x", "c.a", "x", "é", '"', "c[][].a", "a[].b"])
METHOD = st.sampled_from(["hash", "hash-after:1", "drop", "nullify", "mask", "redact", "keep-first:1", "keep-ends:1", "truncate-date:month"])


def as_values(line: bytes) -> Any:
    return values.parse(line, values.Rules(replace_bad_text=True), not_finite=True)


def _object_of(properties: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    return {"type": ["object", "null"], "properties": properties, **more}


def _described(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    types = st.sampled_from([{}, {}, {"type": "object"}, {"type": ["object", "string"]}, {"type": ["array", "object", "null"]}])
    objects = st.builds(_object_of, st.dictionaries(st.sampled_from(NAMES), inner, max_size=4), types)
    arrays = st.builds(lambda one, more: {"type": ["array", "null"], "items": one, **more}, inner, types)
    return objects | arrays | st.builds(lambda *parts: {"anyOf": list(parts)}, inner, inner)


OPEN = st.sampled_from([{}, STR, INT, {"type": "object"}, {"type": "array"}, {"$ref": "#"}, {"$ref": "#/properties/a"}, True])
PROPERTIES = st.dictionaries(st.sampled_from(NAMES), st.recursive(OPEN, _described, max_leaves=6), max_size=6)
EVERYTHING = {name: {} for name in NAMES}


@examples(max_examples=2500, deadline=None)
@given(st.lists(st.tuples(PATHS, METHOD), min_size=1, max_size=4), PROPERTIES, RECORDS, st.booleans(), st.binary(max_size=2))
@example([("a", "hash")], EVERYTHING, '{"a": "\x7f\\ud800"}', False, b"\xff")
@example([("a[]", "mask")], EVERYTHING, '{"a": [ 7 , true]}', False, b"")
@example([("a.b", "drop")], EVERYTHING, '{"a": "{\\"b\\": 1}", "a": {"b": 2}}', False, b"")
@example([("b.x", "drop")], {"a": {"$ref": "#"}}, '{"a": {"a": {"a": {"x": 1}, "b": 2}}}', False, b"")
def test_the_quick_way_gives_what_the_slow_one_gives(
    rules: list[tuple[str, str]], properties: dict[str, Any], text: str, as_stream_first: bool, bad: bytes
) -> None:
    """Also of what is no JSON, has a name twice, escapes in names, and bytes that are not UTF-8."""
    try:
        at = stage(*(rule(path, method=method, optional=True) for path, method in dict(rules).items()))
        masked(at, schema("users", (), **properties))
    except (SettingsError, MaskingError, SchemaError):
        return  # one rule lies within another, or is not for what a column is, or a reference leads in a circle
    data = text.encode("utf-8", "surrogatepass").replace(b"\x7f", bad)
    line = b'{"type": "RECORD", "stream": "users", "record": %b}' % data
    if as_stream_first:
        line = b' {"record": {"a": "b"}, "stream": "u\\u0073ers", "record":%b, "type": "RECORD", "version": 1.0} ' % data
    quick, slow = at.streams["users"].record(line), at.streams["users"].slow(line)
    if isinstance(slow, Withheld):
        assert isinstance(quick, Withheld)
        assert (quick, str(quick.error(1, 1))) == (slow, str(slow.error(1, 1)))
    else:
        assert as_values(quick) == as_values(slow)


# --- what is no record


@pytest.mark.parametrize(("method", "wanted"), [("mask", b'"v": 0'), ("nullify", b'"v": null'), ("keep-first:1", b'"v": "N**"')])
def test_nan_is_masked_like_any_number(method: str, wanted: bytes) -> None:
    sent = b'{"type": "RECORD", "stream": "users", "record": {"v": NaN, "w": -Infinity}}'
    at = stage(rule("v", method=method))
    masked(at, users(v={}, w={}))
    found = at.streams["users"].record(sent).replace(b":", b": ").replace(b",", b", ")
    assert wanted in found
    assert b'"w": -Infinity' in found


@pytest.mark.parametrize(
    "bookmark",
    [
        {"bookmarks": {"users": {"email": "a@b.c"}}},
        {"bookmarks": {"users": {"replication_key": "email", "replication_key_value": "a@b.c"}}},
        {"bookmarks": {"db-users": {"last_pk_fetched": {"email": "a@b.c"}}}},
        {"email": "a@b.c"},
        {"currently": [{"partitions": [{"email": "a@b.c"}]}]},
        {"bookmarks": {"users": {"EMail": "a@b.c"}}},
        {"users.email": "a@b.c"},
        {"users/email": ["a@b.c"]},
        {"users": [["email", "a@b.c"]]},
        {"users": {"bookmark": "email", "value": "a@b.c"}},
        {"users": '{"email": "a@b.c"}'},
        {"users": json.dumps(json.dumps(json.dumps([{"email": "a@b.c"}])))},
    ],
    ids=str,
)
def test_a_bookmark_of_a_masked_column_is_an_error_with_the_remedy(bookmark: Any) -> None:
    with pytest.raises(MaskingError, match="bookmark of 'email' of stream 'users'.*choose another replication key") as fault:
        masked(stage(rule("email")), users(email=STR), state(bookmark))
    assert "a@b.c" not in str(fault.value)


@pytest.mark.parametrize(
    "bookmark",
    [{"users": {"addr": {"zip": "8001"}}}, {"users": {"addr.zip": "8001"}}, {"users": {"addr__zip": "8001"}}, {"users": {"replication_key": "addr.zip"}}],
    ids=str,
)
def test_a_bookmark_of_what_is_in_a_column_is_one_too(bookmark: Any) -> None:
    sent = users(addr={"type": "object", "properties": {"zip": STR}})
    with pytest.raises(MaskingError, match="bookmark of 'addr[._]+zip' of stream 'users'") as fault:
        masked(stage(rule("addr.zip")), sent, state(bookmark))
    assert "8001" not in str(fault.value)


def test_other_bookmarks_pass() -> None:
    value = {"bookmarks": {"orders": {"email": 1}, "db-orders": {"replication_key": "email"}, "users": {"id": 5, "email": None}}}
    sent = [users(email=STR, items={}), schema("orders"), state(value)]
    assert masked(stage(rule("email", "items[].id")), *sent)[-1] == state(value)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"type": "RECORD", "stream": "users", "record": {"x": "CANARY"', "not JSON"),
        (b'"CANARY"', "a message is a JSON object"),
        (b'{"x": "CANARY"}', 'a message has a "type"'),
        (b'{"type": "CANARY@x"}', 'a message has a "type"'),
        (b'{"type": "RECORD", "record": {"x": "CANARY"}}', 'a RECORD has a "stream"'),
        (b'{"type": "RECORD", "stream": "usres", "record": {"x": "CANARY"}}', "before its SCHEMA"),
        (b'{"type": "RECORD", "stream": "users", "record": ["CANARY"]}', "a record is an object, not an array"),
        (b'{"type": "RECORD", "stream": "users", "record": {"x": ["CANARY"]}}', "cannot be masked"),
        (b'{"type": "RECORD", "stream": "users", "record": {"x": "CANARY"}, "masked": "other"}', "masked before"),
        (b'{"type": "ACTIVATE_VERSION", "stream": "users", "version": "CANARY"}', "a version is an integer of 64 bits"),
        (b'{"type": "ACTIVATE_VERSION", "stream": "users", "note": "CANARY"}', 'has a "version"'),
        (b'{"type": "RECORD", "stream": "users", "record": {"x": nan, "y": "CANARY"}}', "not JSON"),
        (b'{"type": "ACTIVATE_VERSION", "stream": "users", "version": NaN, "y": "CANARY"}', "NaN is no JSON number"),
        (b'{"type": "RECORD", "stream": "users", "record": ' + b'{"a":' * 100_000 + b"1", "nested deeper"),
    ],
)
def test_a_line_that_may_show_anything_is_withheld(line: bytes, fault: str) -> None:
    """Its length and a hash are kept."""
    at = stage(rule("x"))
    masked(at, users(x=STR))
    (found,) = at.lines([line])
    assert isinstance(found, Withheld)
    assert masking.is_withheld(found)
    kept = json.loads(found)["withheld"]
    assert (kept["bytes"], len(kept["hash"])) == (len(line), 32)
    text = str(found.error(3, 3))
    assert text.startswith("line 3: ")
    assert fault in text
    assert "CANARY" not in text


@pytest.mark.parametrize(
    "line",
    [
        b'{"type": "record", "stream": "users", "record": {"x": "CANARY"}}',
        b'{"type": "RECORD", "stream": "u\\u0073ers", "record": {"\\u0078": "CANARY"}}',
        b'{"stream": "orders", "record": {"x": "CANARY", "x": "CANARY"}, "type": "RECORD", "stream": "users"}',
        b'{"type": "RECORD", "stream": "users", "record": {"x": "CANARY"}, "record": {"x": "CANARY"}}',
        b'{"type": "RECORD", "stream": "users", "note": "CANARY", "record": {"x": "CANARY"}, "time_extracted": "2024-01-01"}',
        b'\t{"type": "RECORD", "stream": "users", "record": {"x": "CANARY"}} ',
        b'{"type": "STATE", "value": 1, "note": "CANARY"}',
        b'{"type": "OTHER", "value": "CANARY"}',
        b'{"type": "ACTIVATE_VERSION", "stream": "users", "version": 1, "note": "CANARY"}',
    ],
)
def test_no_spelling_of_a_message_gets_around_a_rule(line: bytes) -> None:
    at = stage(rule("x", method="mask"))
    masked(at, users(x=STR), schema("orders"))
    (found,) = at.lines([line])
    assert not isinstance(found, Withheld)
    assert b"CANARY" not in found


def test_what_these_rules_have_masked_is_not_masked_again() -> None:
    at = stage(rule("x"))
    once = lines(at, users(x=STR), record("users", x="a"))
    assert stage(rule("x")).lines(once) == once


def test_streams_without_rules_pass_as_they_are() -> None:
    at = stage(rule("x", optional=True))
    sent = [b'{"type": "SCHEMA", "stream": "o", "key_properties": [], "schema": {"properties": {"x": {}}}}']
    sent += [b'{"type": "RECORD", "stream": "o", "record": {"x": 1.0}, "y": 1}', b"", b'{"type": "STATE", "value": {"o": 1.0}}']
    assert at.lines(sent) == sent
