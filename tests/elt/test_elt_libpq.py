"""What says where PostgreSQL is, read as libpq reads it: compared with libpq itself, which the target reads it by."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg2.extensions import make_dsn, parse_dsn

from target_meltano.elt import libpq

NAMES = ["host", "port", "user", "password", "dbname", "sslmode", "options", "application_name", "target_session_attrs", "requiressl", "hostaddr", "passfile"]
CHARACTERS = "ab1é =&?/@:,[]%'\"\\\n\t#;+$."
URLS = st.lists(st.sampled_from([*CHARACTERS, *NAMES, "h", "%40", "%2F", "%C3%A9", "%zz", "%ff", "ssl=true", "?user=", "&dbname=", "[::1]", ":5432"]), max_size=14)
PAIRS = st.lists(st.sampled_from([*CHARACTERS, *(f" {name}=" for name in NAMES), "user = ", "password='", "' ", "\\'", "\\\\"]), max_size=14)


def by_libpq(text: str) -> Any:
    """Return what libpq gives; None where it takes no such text, "name" where it only does not know a parameter of that name."""
    try:
        return dict(parse_dsn(text))
    except UnicodeError:
        return None
    except psycopg2.Error as error:
        return "name" if "invalid connection option" in str(error) or "invalid URI query parameter" in str(error) else None


def by_us(text: str) -> Any:
    try:
        return libpq.parse(text)
    except ValueError:
        return None


@given(text=st.sampled_from(["postgresql://", "postgres://", "postgresql://u:p@"]).flatmap(lambda start: URLS.map(lambda parts: start + "".join(parts))) | PAIRS.map("".join))
@example(text="host=h1,h2 port=1,2 password='a b' dbname = wh")
@example(text="postgresql://u:p%40w@h1:1,h2/wh?target_session_attrs=read-write&host=/sock")
@example(text="postgresql://[::1]:5,[::2]/d")
@example(text="postgresql://[::1]x/d")
@example(text="postgresql://u:p:q@q@h/d?user=&")
@example(text="host=h\\")
@example(text="host=h\\ password='it\\'s'dbname=d")
@example(text="wh")
@example(text="")
def test_a_text_means_what_it_means_to_libpq(text: str) -> None:
    wanted = by_libpq(text)
    assert wanted == "name" or by_us(text) == wanted


@given(parameters=st.dictionaries(st.sampled_from(NAMES[:9]), st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20)))
def test_what_is_spelt_is_read_again(parameters: dict[str, str]) -> None:
    assert libpq.parse(libpq.spelt(parameters)) == parse_dsn(libpq.spelt(parameters)) == parameters
    assert libpq.parse(make_dsn(**parameters)) == parameters


@pytest.mark.parametrize("text", ["wh password", "postgresql://u:canary@[h/d", "password='canary", "postgresql://u:canary@h/d?x", "postgresql://u:canary%@h/d"])
def test_a_fault_has_nothing_of_the_text(text: str) -> None:
    with pytest.raises(ValueError, match="wanted|no URL") as raised:
        libpq.parse(text)
    assert "canary" not in str(raised.value)
