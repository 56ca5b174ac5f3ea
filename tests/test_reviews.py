"""Names of reviews, and whose they are, whatever the database."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from target_meltano import reviews

LONG = "feature/a-very-long-name-of-a-branch-that-says-everything-about-what-it-changes-and-why-"
BRANCHES = [
    *("main", "Main", "MAIN", "mAIN", "feature-one", "feature_one", "feature/one", "Feature-ONE", "feature--one", "feature.one"),
    *("feature one", " feature one", "feature one ", "feature\tone", "feature\none", "feature'one", 'feature"one', "feature`one", "feature\\one"),
    *("", " ", "-", "_", "--", "/", "//", ".", "..", "'", '"', "\\", ";", "$(rm)", "${HOME}", "%s", "%", "{}", "{0}", "\0", "*", "?", "~", "^", ":", "#"),
    *("🚀", "🚀🚀", "feature/🚀", "feature/🎉", "👩‍💻", "é", "e\u0301", "e", "größe", "grösse", "groesse", "GRÖSSE", "ß", "ss"),
    *("дерево", "表", "表示", "ענף", "فرع", "\u202eענף", "\u200b", "\u200bmain", "ｍａｉｎ", "ﬁx", "fix", "İ", "i", "ı", "I", "1", "01", "1e3", "2fa", "null"),
    *("drop database", "'; DROP DATABASE x; --", "x" * 30, "x" * 31, "x" * 63, "x" * 64, "x" * 255, LONG, LONG + "1", LONG + "2", LONG * 5),
    *("dependabot/npm/lodash-4.17.21", "renovate/postgres-18.x", "user/123-fix", "user/123_fix", "release/2026.11", "release/2026-11", "\ud800"),
]


def test_branches_have_names_of_their_own() -> None:
    assert len(BRANCHES) == len(set(BRANCHES)) > 80
    for source in ("warehouse", "W", "Data Warehouse", "w" * 63, "表"):
        names = {reviews.name_of(source, branch) for branch in BRANCHES}
        assert len(names) == len(BRANCHES)
        for name in names:
            assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*_review_[a-z0-9]+(_[a-z0-9]+)*_[0-9a-f]{8}", name)
            assert len(name.encode()) <= 63


def test_names_tell_what_they_are_of() -> None:
    assert reviews.name_of("warehouse", "feature/Discounts") == "warehouse_review_feature_discounts_ed828e11"
    assert reviews.name_of("warehouse", "🚀") == "warehouse_review_x_ebbc0b28"
    assert reviews.name_of("w" * 63, "b" * 99).startswith("w" * 23 + "_review_" + "b" * 23 + "_")
    assert len(reviews.name_of("analytics", LONG, reviews.MAX_BASE)) <= reviews.MAX_BASE


@pytest.mark.parametrize("comment", ["", "{", "null", "[]", "1", '"x"', "{}", '{"target_meltano_review": "x"}', '{"target_meltano_review": "x", "source": "s", "created": "yesterday"}', '{"meltano_review": "x", "source": "s", "created": "2026-01-01T00:00:00Z"}'])
def test_what_is_no_marker_is_none(comment: str) -> None:
    assert reviews._read("n", "database", comment) is None


def test_ages() -> None:
    assert (reviews.age("14d"), reviews.age("12h")) == (timedelta(days=14), timedelta(hours=12))
    for text in ("", "14", "d", "1w", "-1d", "1.5d", "999999d"):
        with pytest.raises(ValueError, match="as 14d or 12h"):
            reviews.age(text)
