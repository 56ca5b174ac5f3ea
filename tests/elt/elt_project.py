"""Projects for tests of the wrapper: an elt.yml with taps of `elt_tap.py`, and the wrapper as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TAP = [sys.executable, str(Path(__file__).with_name("elt_tap.py"))]
TARGET = [sys.executable, "-c", "from target_meltano_postgres import main; main()"]
WRAPPER = [sys.executable, "-c", "from target_meltano.elt import main; main()"]
ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class TestProject:
    """A folder with an elt.yml, and the database that it loads into."""

    __test__ = False
    folder: Path
    db: Any

    def write(self, taps: Mapping[str, Mapping[str, Any]], **sections: Any) -> None:
        """Write elt.yml; each of *taps* is the config of a tap, or a whole section with an executable."""
        made = {name: tap if "executable" in tap else {"executable": TAP, "config": tap} for name, tap in taps.items()}
        for number, tap in enumerate(made.values()):
            tap.setdefault("schema", self.schema(number))
        warehouse = {"type": "postgres", "executable": TARGET, "settings": {"url": "${TEST_URL}"}}
        content = {"version": 1, "warehouse": warehouse, "taps": made, **sections}
        (self.folder / "elt.yml").write_text(json.dumps(content, indent=1))  # JSON is YAML

    def schema(self, number: int = 0) -> str:
        """Return the schema of a tap by its number."""
        return str(self.db.schema) if number == 0 else f"{self.db.schema}_{number}"

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the wrapper to its end."""
        return subprocess.run(
            [*WRAPPER, *arguments], cwd=self.folder, env=self.environment(variables), capture_output=True, text=True, check=False
        )

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start a command of the wrapper."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*WRAPPER, *arguments], cwd=self.folder, env=self.environment(variables), stdout=pipe, stderr=pipe, text=True
        )

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "TEST_URL": self.db.url, **variables}

    def ids(self, number: int = 0) -> list[int]:
        """Return the ids that are in the table of a tap, in order."""
        name = f'"{self.schema(number)}".events'
        if not self.db.query("SELECT to_regclass(%s)", (name,))[0][0]:
            return []
        return [row[0] for row in self.db.query(f"SELECT id FROM {name} ORDER BY id")]

    def clean(self) -> None:
        for number in range(1, 4):
            self.db.query(f'DROP SCHEMA IF EXISTS "{self.schema(number)}" CASCADE')
