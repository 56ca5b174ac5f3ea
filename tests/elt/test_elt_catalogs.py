"""select and metadata: which streams and properties a tap is told to send."""

from __future__ import annotations

from typing import Any

import pytest

from target_meltano.elt import catalogs
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
