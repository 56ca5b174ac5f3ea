"""The tutorial is run, command by command, as a new user would; … stands for what differs from run to run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TUTORIAL = (ROOT / "docs/tutorial.md").read_text("utf-8")
FAILS = ("target-meltano check\n", "s/path:/paht:/' elt.yml && target-meltano run\n")  # what is shown to fail


@pytest.fixture
def shell(dbt: Path, tap_jsonl: Path) -> Iterator[dict[str, str]]:
    """The environment of a user with an empty home; what `install` would fetch is there already."""
    if not Path(sys.executable).with_name("target-meltano").exists():
        pytest.skip("run pip install -e '.[dev]' to test the tutorial with the installed commands")
    home = Path(tempfile.mkdtemp(prefix="tutorial-", dir="/tmp"))
    home.chmod(0o755)  # as root, the server runs as another user
    (home / "shop/.elt/envs").mkdir(parents=True)
    (home / "shop/.elt/envs/dbt").symlink_to(dbt)
    (home / "shop/.elt/envs/tap.support").symlink_to(tap_jsonl)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    yield {"PATH": path, "TARGET_MELTANO_HOME": f"{home}/data", "HOME": str(home), "LC_ALL": "C.UTF-8", "PAGER": ""}
    shutil.rmtree(home)


def commands() -> Iterator[tuple[str, str]]:
    """Yield the commands of all console blocks, each with the output that is shown for it."""
    for block in re.findall(r"```console\n(.*?)```", TUTORIAL, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.splitlines(keepends=True)
            more = next((at for at, line in enumerate(lines[1:], 1) if not line.startswith("> ")), len(lines))
            yield lines[0] + "".join(line[2:] for line in lines[1:more]), "".join(lines[more:])


def matches(shown: str, told: str) -> bool:
    pattern = re.escape(shown).replace("…\n", r"[^\0]*?\n").replace("…", r"[^\n]*?")
    return re.fullmatch(pattern, told) is not None


def test_the_tutorial_shows_what_happens(shell: dict[str, str]) -> None:
    folder = Path(shell["HOME"])
    found = list(commands())
    assert len(found) >= 18
    for command, shown in found:
        if command.startswith("cd "):
            folder /= command.split()[1]
            continue
        done = subprocess.run(["bash", "-c", command], cwd=folder, env=shell, capture_output=True, text=True, check=False)
        fails = command.endswith(FAILS) and " && " in command
        assert (done.returncode != 0) == fails, f"$ {command}\n{done.stdout}{done.stderr}"
        told = done.stdout + (done.stderr if "CRITICAL" in shown else "")
        assert matches(shown, told), f"$ {command}\n{told}\nis not what is shown:\n{shown}"
