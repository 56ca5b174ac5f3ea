"""select and metadata: which streams and properties a tap is told to send."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_meltano.elt import catalog_file, catalogs, mock
from target_meltano.elt.errors import RunError


def stream(name: str, **inclusions: str) -> dict[str, Any]:
    """Return a stream of a catalog with id, note and address.zip; *inclusions* of properties by name."""
    address = {"type": "object", "properties": {"zip": {"type": "string"}, "city": {"type": "string"}}}
    schema = {"properties": {"id": {"type": "integer"}, "note": {"type": "string"}, "address": address}}
    entries = [{"breadcrumb": ["properties", key], "metadata": {"inclusion": value}} for key, value in inclusions.items()]
    return {"stream": name, "tap_stream_id": name, "schema": schema, "metadata": [{"breadcrumb": [], "metadata": {}}, *entries]}


CATALOG = {"streams": [stream("orders", id="automatic"), stream("people", note="unsupported")]}
PARTS = ("id", "note", "address", "address.zip", "address.city")
ORDERS = {"orders", *(f"orders.{part}" for part in PARTS)}
PEOPLE = {"people", *(f"people.{part}" for part in PARTS if part != "note")}


def selection(catalog: dict[str, Any]) -> set[str]:
    return {
        ".".join((one["stream"], *entry["breadcrumb"][1::2]))
        for one in catalog["streams"]
        for entry in one["metadata"]
        if entry["metadata"]["selected"]
    }


@pytest.mark.parametrize(
    ("select", "wanted"),
    [
        ([], ORDERS | PEOPLE),
        (["orders"], ORDERS),
        (["orders.*"], ORDERS),
        (["*.id"], {"orders", "orders.id", "people", "people.id"}),
        (["orders.note"], {"orders", "orders.id", "orders.note"}),
        (["people.address"], {"people", "people.address", "people.address.zip", "people.address.city", "orders.id"}),
        (["people.address.zip"], {"people", "people.address", "people.address.zip", "orders.id"}),
        (["!people"], ORDERS),
        (["!orders"], PEOPLE | {"orders.id"}),
        (["!*.note", "!*.city"], (ORDERS | PEOPLE) - {"orders.note", "orders.address.city", "people.address.city"}),
        (["orders", "!orders.id"], ORDERS),
        (["o*", "!orders.address"], {"orders", "orders.id", "orders.note"}),
    ],
    ids=lambda value: " ".join(value) or "all" if isinstance(value, list) else "",  # of sets the order differs
)
def test_patterns_select(select: list[str], wanted: set[str]) -> None:
    """`automatic` stays, `unsupported` stays away; the stream of an automatic property is not selected by it."""
    found = catalogs.selected(CATALOG, select, {})
    assert selection(found) - {"orders.id"} == wanted - {"orders.id"}
    assert "orders.id" in selection(found)
    assert {one["stream"] for one in found["streams"] if one["schema"]["selected"]} == {name for name in wanted if "." not in name}
    assert catalogs.count(found) == len([name for name in wanted if "." not in name])


@pytest.mark.parametrize("select", [["ordres"], ["orders.note2"], ["orders", "!orders.nope"]], ids=str)
def test_a_pattern_that_matches_nothing_is_an_error(select: list[str]) -> None:
    with pytest.raises(RunError, match="nothing in the catalog matches .*; its streams: orders, people"):
        catalogs.selected(CATALOG, select, {})


def test_metadata_are_added_where_their_pattern_matches() -> None:
    added = {"orders": {"replication-method": "INCREMENTAL", "replication-key": "id"}, "*.note": {"sql-datatype": "text"}}
    orders, people = catalogs.selected(CATALOG, ["orders"], added)["streams"]
    assert orders["metadata"][0]["metadata"] == {"selected": True, **added["orders"]}
    assert (orders["replication_method"], orders["replication_key"]) == ("INCREMENTAL", "id")
    notes = [entry["metadata"] for one in (orders, people) for entry in one["metadata"] if entry["breadcrumb"] == ["properties", "note"]]
    assert [note["sql-datatype"] for note in notes] == ["text", "text"]
    assert "replication_key" not in people


def test_the_catalog_that_was_given_stays_as_it_was() -> None:
    before = str(CATALOG)
    catalogs.selected(CATALOG, ["orders"], {"orders": {"replication-key": "id"}})
    assert str(CATALOG) == before


def test_streams_of_one_name_are_told_apart_by_their_ids() -> None:
    """As those of a database with two schemas."""
    twice = {"streams": [{**stream("orders"), "tap_stream_id": f"{schema}-orders"} for schema in ("public", "archive")]}

    def chosen(*select: str) -> list[tuple[str, int]]:
        found = catalogs.selected(twice, select, {})
        return [(one["tap_stream_id"], sum(bool(entry["metadata"]["selected"]) for entry in one["metadata"])) for one in found["streams"]]

    assert chosen("public-orders") == [("public-orders", 6), ("archive-orders", 0)]
    assert chosen("orders", "!archive-*") == [("public-orders", 6), ("archive-orders", 0)]
    assert chosen("orders.id", "archive-orders.note") == [("public-orders", 2), ("archive-orders", 3)]
    assert chosen("orders") == [("public-orders", 6), ("archive-orders", 6)]
    with pytest.raises(RunError, match=r"matches public\.orders; its streams: orders \(archive-orders\), orders \(public-orders\)"):
        catalogs.selected(twice, ["public.orders"], {})
    added = catalogs.selected(twice, [], {"archive-orders": {"replication-method": "FULL_TABLE"}})
    assert [one.get("replication_method") for one in added["streams"]] == [None, "FULL_TABLE"]


SKU = ["properties", "lines", "items", "properties", "sku"]


def with_metadata(*entries: dict[str, Any]) -> dict[str, Any]:
    """Return a stream whose orders have lines, with these metadata."""
    lines = {"type": "array", "items": {"type": "object", "properties": {"sku": {"type": "string"}, "note": {"type": "string"}}}}
    schema = {"properties": {"id": {"type": "integer"}, "lines": lines}}
    return {"stream": "orders", "tap_stream_id": "orders", "schema": schema, "metadata": list(entries)}


def of(catalog: dict[str, Any], crumb: list[str]) -> list[dict[str, Any]]:
    return [one["metadata"] for one in catalog["streams"][0]["metadata"] if one["breadcrumb"] == crumb]


@pytest.mark.parametrize(
    ("select", "wanted"),
    [([], True), (["orders.lines.sku"], True), (["orders.lines"], True), (["orders.id"], False), (["!orders.lines.sku"], False), (["!*.lines"], False)],
    ids=str,
)
def test_properties_of_items_are_selected_at_their_own_breadcrumb(select: list[str], wanted: bool) -> None:
    """Two that are below `items` stay two; what they are part of is selected with them."""
    note = {"breadcrumb": [*SKU[:-1], "note"], "metadata": {"x": 1}}
    found = catalogs.selected({"streams": [with_metadata({"breadcrumb": SKU, "metadata": {"x": 0}}, note)]}, select, {})
    assert of(found, SKU) == [{"x": 0, "selected": wanted}]
    assert [one["x"] for one in of(found, note["breadcrumb"])] == [1]
    if wanted:
        assert [one["selected"] for crumb in ([], ["properties", "lines"]) for one in of(found, crumb)] == [True, True]


@pytest.mark.parametrize(
    ("crumb", "label"),
    [
        ([], ()),
        (["properties", "properties"], ("properties",)),
        (["properties", "items", "items", "properties", "items"], ("items", "items")),
        (["properties", "a", "items", "items", "properties", "b"], ("a", "b")),
        (["properties", "a", "items", "0", "properties", "b"], ("a", "b")),
        (["properties", "a", "anyOf", "1", "properties", "b"], ("a", "b")),
        (["properties", "a", "patternProperties", "^x", "properties", "b"], ("a", "^x", "b")),
        (["properties", "a", "additionalProperties", "properties", "b"], ("a", "b")),
        (["properties", "a", "additionalProperties"], ("a",)),
    ],
    ids=str,
)
def test_a_pattern_names_what_a_breadcrumb_leads_to(crumb: list[str], label: tuple[str, ...]) -> None:
    """By the names of properties; what is between them is a part of the property before."""
    catalog = {"streams": [with_metadata({"breadcrumb": crumb, "metadata": {}})]}
    pattern = ".".join(("orders", *label))
    (chosen,) = of(catalogs.selected(catalog, [pattern], {pattern: {"here": True}}), crumb)
    assert chosen == {"selected": True, "here": True}
    if label:
        (other,) = of(catalogs.selected(catalog, [f"!{pattern}"], {}), crumb)
        assert other == {"selected": False}


PARTS = st.sampled_from(["properties", "items", "anyOf", "oneOf", "0", "1", "additionalProperties", "patternProperties", "definitions", "$defs", "a", "lines", "sku", "id", "", ".", "*", "^x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
ENTRIES = st.lists(
    st.builds(
        lambda crumb, about, more: {"breadcrumb": crumb, "metadata": about, **more},
        st.lists(PARTS, max_size=6) | st.just(SKU),
        st.dictionaries(st.sampled_from(["inclusion", "sql-datatype", "x", "selected"]), JSON, max_size=3),
        st.dictionaries(st.just("more"), JSON),
    ),
    max_size=6,
)


@given(entries=ENTRIES, select=st.lists(st.sampled_from(["*", "orders", "orders.*", "!orders.lines", "*.sku"]), max_size=2))
def test_metadata_that_no_rule_is_about_stay_as_they_are(entries: list[dict[str, Any]], select: list[str]) -> None:
    """Each entry is there, in its order, with all that it had; only `selected` is ours. So is all else of the catalog."""
    stream = {**with_metadata(*entries), "more": {"of": ["the", "tap"]}}
    catalog = {"version": 1, "streams": [stream]}
    before = copy.deepcopy(catalog)
    try:
        found = catalogs.selected(catalog, select, {})
    except RunError as error:  # *.sku, where there is none
        assert "nothing in the catalog matches *.sku" in str(error)
        return

    def without(entry: dict[str, Any]) -> str:
        return json.dumps({**entry, "metadata": {key: value for key, value in entry["metadata"].items() if key != "selected"}})

    (made,) = found["streams"]
    assert catalog == before
    assert [*map(without, made["metadata"])][: len(entries)] == [*map(without, entries)]
    assert all(set(one["metadata"]) == {"selected"} for one in made["metadata"][len(entries) :])
    assert all(isinstance(one["metadata"]["selected"], bool) for one in made["metadata"])
    rest = {key: value for key, value in made.items() if key != "metadata"}
    schema = {key: value for key, value in rest["schema"].items() if key != "selected"}
    assert json.dumps({**rest, "schema": schema}) == json.dumps({key: value for key, value in stream.items() if key != "metadata"})
    crumbs = {json.dumps(one["breadcrumb"]): one["metadata"]["selected"] for one in made["metadata"]}
    assert all(crumbs[json.dumps(one["breadcrumb"])] == one["metadata"]["selected"] for one in made["metadata"]), "two of the same differ"


@pytest.mark.parametrize(
    ("odd", "wanted"),
    [
        ({"key_properties": "ID"}, ("ID",)),
        ({"key_properties": ""}, ()),
        ({"key_properties": None}, ()),
        ({"metadata": [{"breadcrumb": [], "metadata": {"table-key-properties": "ID"}}]}, ("ID",)),
        ({"metadata": [{"breadcrumb": [], "metadata": {"view-key-properties": "ID"}}]}, ("ID",)),
        ({"replication_key": ["since_id"]}, ()),
        ({"replication_key": 5, "annotated_schema": {}, "selected": True}, ()),
    ],
    ids=str,
)
def test_what_taps_write_against_the_letter_is_read(odd: dict[str, Any], wanted: tuple[str, ...]) -> None:
    """Public taps have one key as a text, and lists of replication keys: their catalogs are handed on as they are."""
    given = {"streams": [{**stream("orders"), **odd}]}
    catalog = catalog_file.read(json.dumps(given).encode(), "the file", "")
    assert catalog == given
    assert catalog_file.keys(catalogs.selected(catalog, [], {})["streams"][0]) == wanted
    (found,) = mock.of_catalog(catalog)
    assert (found.keys, found.bookmarks) == (wanted, ())
