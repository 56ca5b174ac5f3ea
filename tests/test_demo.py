"""The demonstration runs, shows what was loaded, and leaves nothing behind."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
INPUT = (EXAMPLES / "demo.singer").read_text("utf-8")


@pytest.fixture(scope="module")
def shown() -> str:
    """What the demonstration prints."""
    if not Path(sys.executable).with_name("target-meltano-postgres").exists():
        pytest.skip("run pip install -e . to test the demonstration with the installed target")
    done = subprocess.run([sys.executable, EXAMPLES / "demo.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_input_is_what_its_generator_makes() -> None:
    """Mend by: python examples/make_demo.py"""
    assert runpy.run_path(str(EXAMPLES / "make_demo.py"))["content"]() == INPUT


@pytest.mark.parametrize(
    ("table", "rows"),
    [("customers", 60), ("products", 16), ("orders", 200), ("exchange_rates", 30), ("page_views", 200)],
)
def test_every_stream_is_a_table(shown: str, table: str, rows: int) -> None:
    """As many rows as there are keys; without keys, as records."""
    assert f"raw.{table}: {rows} rows\n" in shown


def test_digits_texts_and_later_columns_arrive(shown: str) -> None:
    for value in ("7.54751260519346333189816", "København", "discount__percent", "2026-03-10 18:20:36+00"):
        assert value in shown


def test_the_last_state_is_the_last_one_sent(shown: str) -> None:
    sent = json.loads(INPUT.splitlines()[-1])["value"]
    start = shown.index("The last one:\n") + len("The last one:\n")
    printed = shown[start : shown.index("\n─", start)]
    assert json.loads(printed.replace("\n", "")) == sent


def test_it_fits_in_100_columns(shown: str) -> None:
    assert max(map(len, shown.splitlines())) <= 100


def test_nothing_is_left(shown: str) -> None:
    (home,) = re.findall("A PostgreSQL is made in (/tmp/.+)/home ", shown)
    assert not Path(home).exists()
