"""docs/snowflake.md has the settings as they are. Mend by: python tests/test_snowflake_docs.py"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/snowflake.md"


def with_settings(page: str) -> str:
    """Return *page* with the table of settings that `--about markdown` prints."""
    command = [sys.executable, "-c", "from target_meltano_snowflake import main; main()", "--about", "markdown"]
    table = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()
    start, end = "about markdown -->\n", "<!-- end of settings -->"
    return page[: page.index(start) + len(start)] + table + "\n" + page[page.index(end) :]


def test_the_settings_are_as_they_are() -> None:
    assert with_settings(PAGE.read_text("utf-8")) == PAGE.read_text("utf-8")


if __name__ == "__main__":
    PAGE.write_text(with_settings(PAGE.read_text("utf-8")), "utf-8")
