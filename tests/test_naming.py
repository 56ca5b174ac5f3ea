"""Names of tables and columns: folded, never too long, never two that are one."""

from __future__ import annotations

import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_meltano import naming
from target_meltano.errors import SchemaError
from target_meltano.naming import Naming, lower, upper

FOLD, SNAKE, PRESERVE = (Naming(style=style) for style in ("fold", "snake", "preserve"))
SNOWFLAKE = Naming(fold=upper, size=255, length=len, reserved=frozenset({"CURRENT_DATE"}))


@pytest.mark.parametrize(
    ("name", "fold", "snake", "preserve"),
    [
        ("camelCase", "camelcase", "camel_case", "camelCase"),
        ("HTTPHeader", "httpheader", "http_header", "HTTPHeader"),
        ("User-ID", "user_id", "user_id", "User_ID"),
        ("a.b", "a_b", "a_b", "a_b"),
        ("first name", "first_name", "first_name", "first_name"),
        ("createdAt__c", "createdat__c", "created_at__c", "createdAt__c"),
        ("customField_X", "customfield_x", "custom_field__x", "customField_X"),
        ("ABC_Def", "abc_def", "abc__def", "ABC_Def"),
        ("userID2", "userid2", "user_id2", "userID2"),
        ("IPv4Addr", "ipv4addr", "i_pv4_addr", "IPv4Addr"),
        ("1abc", "1abc", "1abc", "1abc"),
        ("public-users", "public_users", "public_users", "public_users"),
        ("dbo-CustomerOrders", "dbo_customerorders", "dbo_customer_orders", "dbo_CustomerOrders"),
        ("My Stream!", "my_stream_", "my_stream_", "My_Stream_"),
        ("a.b-c", "a_b_c", "a_b_c", "a_b_c"),
        ("", "_", "_", "_"),
        ("Ünï", "Ünï", "Ünï", "Ünï"),
        ("日本", "日本", "日本", "日本"),
        ("हिन्दी", "हिन्दी", "हिन्दी", "हिन्दी"),
        ("e\u0301", "e\u0301", "e\u0301", "e\u0301"),
        ("a😀b", "a_b", "a_b", "a_b"),
        ("\0\n\"'`;--", "________", "________", "________"),
        ("\ud800", "_", "_", "_"),
        ("%s {x} $1", "_s__x___1", "_s__x___1", "_s__x___1"),
    ],
    ids=ascii,
)
def test_styles(name: str, fold: str, snake: str, preserve: str) -> None:
    assert [style.of([name]) for style in (FOLD, SNAKE, PRESERVE)] == [fold, snake, preserve]


def test_only_ascii_is_folded_as_databases_do() -> None:
    assert (lower("AZ Éİẞ"), upper("az éıß")) == ("az Éİẞ", "AZ éıß")


def test_a_nested_property_has_the_names_from_the_record_down() -> None:
    assert FOLD.of(["Customer", "Address", "ZIP code"]) == "customer__address__zip_code"


def test_a_reserved_name_gets_a_line_behind_it() -> None:
    assert SNOWFLAKE.of(["current_date"]) == "CURRENT_DATE_"
    assert Naming(reserved=frozenset({"ctid"})).of(["CTID"]) == "ctid_"


@pytest.mark.parametrize(
    ("name", "naming", "kept"),
    [
        ("a" * 64, FOLD, "a" * 54),
        ("é" * 32, FOLD, "é" * 27),
        ("日" * 22, FOLD, "日" * 18),
        ("a" + "𐌰" * 16, FOLD, "a" + "𐌰" * 13),
        ("é" * 256, SNOWFLAKE, "é" * 246),
    ],
    ids=["ascii", "2 bytes", "3 bytes", "4 bytes", "characters"],
)
def test_a_name_that_is_too_long_is_cut_between_characters_and_marked_by_its_hash(
    name: str, naming: Naming, kept: str
) -> None:
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    assert naming.of([name]) == f"{kept}_{naming.fold(digest)}"


@pytest.mark.parametrize("name", ["a" * 63, "é" * 31, "日" * 21], ids=["63", "62", "63 in 21"])
def test_a_name_that_just_fits_stays(name: str) -> None:
    assert FOLD.of([name]) == name


def test_long_names_that_begin_alike_stay_apart() -> None:
    assert FOLD.of(["a" * 99 + "b"]) != FOLD.of(["a" * 99 + "c"])


def test_a_name_of_a_megabyte_is_cut_at_once() -> None:
    start = time.monotonic()
    assert len(FOLD.of(["a" * 1_000_000])) == 63
    assert time.monotonic() - start < 2


@given(st.lists(st.text(), min_size=1, max_size=4), st.sampled_from([FOLD, SNAKE, PRESERVE, SNOWFLAKE]))
def test_every_name_fits_and_needs_no_care(parts: list[str], style: Naming) -> None:
    name = style.of(parts)
    assert 0 < style.length(name) <= style.size
    assert style.of(parts) == name
    assert all(char == "_" or char.isalnum() or char.isidentifier() or ord(char) > 127 for char in name)


def test_two_names_that_end_as_one_are_refused_by_their_originals_and_the_setting() -> None:
    names = [("userId", "userid"), ("other", "other"), ("UserID", "userid")]
    with pytest.raises(SchemaError) as caught:
        naming.refuse_collisions(names, what="properties", setting="column_names")
    assert str(caught.value) == (
        "properties 'userId' and 'UserID' would both be named 'userid'; "
        "give one of them another name with the setting column_names"
    )


def test_the_same_original_may_come_twice() -> None:
    naming.refuse_collisions([("a", "a"), ("a", "a")], what="streams", setting="y")
