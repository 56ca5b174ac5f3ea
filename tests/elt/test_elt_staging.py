"""The staging layer that `dbt scaffold` writes: names, tests, and who owns a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from target_meltano.elt import catalogue, owned, spelling, staging
from target_meltano.elt.catalogue import Column, Found, Table


@pytest.mark.parametrize(
    ("name", "path", "wanted"),
    [
        ("createdat", "createdAt", "created_at"),
        ("address__countrycode", "address.countryCode", "address__country_code"),
        ("httpserver", "HTTPServer", "http_server"),
        ("SKU code", "SKU code", "sku_code"),
        ("order", "order", "order_"),
        ("2fa", "2fa", "n2fa"),
        ("__loaded_at", None, "loaded_at"),
        ("_id", "_id", "id"),
        ("café", "café", "cafe"),
    ],
)
def test_columns_are_named_in_snake_case_and_need_no_quotes(name: str, path: str | None, wanted: str) -> None:
    assert spelling.column(name, path) == wanted


@pytest.mark.parametrize("name", ["größe", "表", "🙂", "%", "Ω" * 80])
def test_letters_that_are_lost_come_back_as_a_hash(name: str) -> None:
    found = spelling.column(name, name)
    assert spelling.is_plain(found, "postgres")
    assert len(found) <= spelling.MAX_NAME
    assert found != spelling.column(f"{name}2", f"{name}2")


def table(*names: str, keys: tuple[str, ...] = (), versions: bool = False) -> Table:
    return Table("t", "t", tuple(Column(name.lower(), "text", None if name.startswith("__") else name) for name in names), keys, versions)


def source(*tables: Table) -> staging.Source:
    return staging.Source("shop", "shop", tables, "postgres")


def sql(*tables: Table) -> str:
    return " ".join(staging.files(source(*tables))["stg_shop__t.sql"].split())


def test_names_that_would_be_the_same_are_kept_apart() -> None:
    columns = yaml.safe_load(staging.files(source(table("createdAt", "created_at")))["_shop__models.yml"])["models"][0]["columns"]
    names = [column["name"] for column in columns]
    assert len(set(names)) == 2
    assert all(name.startswith("created_at_") for name in names)


def test_deleted_rows_are_left_out() -> None:
    found = sql(table("id", "__deleted_at", "__version", "__loaded_at"))
    assert "from source where __deleted_at is null )" in found
    assert "version" not in found


def test_of_all_versions_the_latest_is_taken_and_then_looked_at_for_deletion() -> None:
    found = sql(table("id", "_sdc_deleted_at", "__loaded_at", keys=("id",), versions=True))
    assert "partition by id order by __loaded_at desc) as __version_number from source" in found
    assert "from latest where __version_number = 1 and _sdc_deleted_at is null" in found


def keys_tested(content: str, part: str) -> tuple[Any, dict[str, Any]]:
    """Return the tests of the only table or model, and those of its columns."""
    made = yaml.safe_load(content)[part][0]
    made = made["tables"][0] if part == "sources" else made
    return made.get("data_tests"), {one["name"]: one["data_tests"] for one in made["columns"] if "data_tests" in one}


@pytest.mark.parametrize(
    ("keys", "versions", "source_tests", "model_tests"),
    [
        (("id",), False, (None, {"id": ["not_null", "unique"]}), (None, {})),
        (("id",), True, (None, {"id": ["not_null"]}), (None, {"id": ["not_null", "unique"]})),
        (("a", "b"), False, (["a", "b"], {"a": ["not_null"], "b": ["not_null"]}), (None, {})),
        (("a", "b"), True, (None, {"a": ["not_null"], "b": ["not_null"]}), (["a", "b"], {"a": ["not_null"], "b": ["not_null"]})),
        ((), False, (None, {}), (None, {})),
    ],
    ids=["key", "key, all versions", "keys", "keys, all versions", "no key"],
)
def test_keys_are_tested_where_they_are_unique(keys: Any, versions: bool, source_tests: Any, model_tests: Any) -> None:
    files = staging.files(source(table("id", "a", "b", "__loaded_at", keys=keys, versions=versions)))
    for name, part, wanted in (("_shop__sources.yml", "sources", source_tests), ("_shop__models.yml", "models", model_tests)):
        combination, columns = keys_tested(files[name], part)
        assert columns == wanted[1]
        assert combination == ([{"unique_combination": {"arguments": {"columns": wanted[0]}}}] if wanted[0] else None)


def test_freshness_is_that_of_elt_yml() -> None:
    made = staging.Source("shop", "shop", [table("id")], "postgres", freshness={"warn_after": "3d"})
    found = yaml.safe_load(staging.files(made)["_shop__sources.yml"])["sources"][0]
    assert found["config"] == {"loaded_at_field": "__loaded_at", "freshness": {"warn_after": {"count": 3, "period": "day"}}}
    assert found["tables"][0]["config"] == {"freshness": None}, "it has no such column"


COLUMNS = [["orders", "id", "bigint", "id"], ["odd_1a2b3c4d", "id", "bigint", "id"], ["orderlines", "k", "text", "theKey"], ["theirs", "x", "text", None]]


@pytest.mark.parametrize(
    ("stream", "ddl", "names", "wanted"),
    [
        ("Orders", None, {}, "orders"),
        ("order-Lines", None, {}, "orderlines"),
        ("a very long name", 'CREATE TABLE "s"."odd_1a2b3c4d" (\n\t"id" BIGINT\n)', {}, "odd_1a2b3c4d"),
        ("x", None, {"x": "orders"}, "orders"),
        ("gone", None, {}, None),
    ],
    ids=str,
)
def test_a_stream_is_found_by_what_the_ledger_says(stream: str, ddl: str | None, names: dict[str, str], wanted: str | None) -> None:
    found = Found("s", COLUMNS, [], [[stream, ddl, None, "2026"]])
    assert [one.name for one in catalogue.tables(found, names, {}, versions=False)] == ([wanted] if wanted else [])


@pytest.mark.parametrize("source_", ["primary key", "ledger", "catalog"])
def test_keys_come_from_the_table_or_the_ledger_or_the_catalog(source_: str) -> None:
    schema = json.dumps({"key_properties": ["theKey"]}) if source_ == "ledger" else None
    found = Found("s", COLUMNS, [["orderlines", "k"]] if source_ == "primary key" else [], [["order_lines", None, schema, "2026"]])
    (made,) = catalogue.tables(found, {}, {"order_lines": ["theKey"]} if source_ == "catalog" else {}, versions=True)
    assert made.keys == ("k",)
    assert made.versions == (source_ != "primary key")


# --- whose is a file?


def done(folder: Path, wanted: dict[str, str]) -> dict[str, str]:
    """Bring the files of *folder* up to date, and return what was done with each."""
    changes = owned.changes({folder / name: text for name, text in wanted.items()}, [folder], "dbt scaffold")
    owned.carry_out(changes)
    return {change.path.name: change.does for change in changes}


def test_what_we_own_is_updated_and_what_was_edited_is_not(tmp_path: Path) -> None:
    assert done(tmp_path, {"a.sql": "1\n", "b.yml": "1\n"}) == {"a.sql": "create", "b.yml": "create"}
    assert done(tmp_path, {"a.sql": "1\n", "b.yml": "1\n"}) == {"a.sql": "same", "b.yml": "same"}
    edited = (tmp_path / "a.sql").read_text() + "-- mine\n"
    (tmp_path / "a.sql").write_text(edited)
    assert done(tmp_path, {"a.sql": "2\n", "b.yml": "2\n"}) == {"a.sql": "edited", "b.yml": "update"}
    assert (tmp_path / "a.sql").read_text() == edited
    assert (tmp_path / "b.yml").read_text().endswith("\n2\n")


def test_only_what_is_ours_is_removed(tmp_path: Path) -> None:
    done(tmp_path, {"a.sql": "1\n", "b.sql": "1\n"})
    (tmp_path / "b.sql").write_text("select 1")
    (tmp_path / "c.sql").write_text("select 1")
    assert done(tmp_path, {}) == {"a.sql": "remove"}
    assert {path.name for path in tmp_path.iterdir()} == {"b.sql", "c.sql"}
