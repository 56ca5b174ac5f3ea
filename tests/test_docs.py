"""What the documentation shows is what happens."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from target_meltano import elt

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def shell() -> Iterator[dict[str, str]]:
    """The environment of a user who has just installed the target, with an empty home."""
    home = tempfile.mkdtemp(prefix="readme-", dir="/tmp")
    os.chmod(home, 0o755)  # as root, the server runs as another user
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "TARGET_MELTANO_HOME": f"{home}/data", "HOME": home, "LC_ALL": "C.UTF-8", "PAGER": ""}
    yield environment
    subprocess.run(["target-meltano-postgres", "db", "stop"], env=environment, check=False)
    shutil.rmtree(home)


def sessions(text: str) -> list[tuple[str, str]]:
    """Return the commands of all console blocks, each with the output that is shown for it."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


@pytest.mark.parametrize(("page", "least"), [("README.md", 4), ("docs/pii.md", 3), ("docs/mock.md", 4)])
def test_sessions_give_what_they_show(shell: dict[str, str], page: str, least: int) -> None:
    commands = sessions((ROOT / page).read_text("utf-8"))
    assert len(commands) >= least
    folder = Path(shell["HOME"])
    for command, shown in commands:
        if command.startswith("cat "):
            (folder / command.split()[1]).write_text(shown, "utf-8")
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=shell, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, shown), f"$ {command}\n{done.stderr}"


def test_readme_has_the_settings_as_they_are() -> None:
    """Mend by: python tests/test_docs.py"""
    assert with_settings(README) == README


def with_settings(readme: str) -> str:
    """Return *readme* with the table of settings that `--about markdown` prints."""
    command = [sys.executable, "-c", "from target_meltano_postgres import main; main()", "--about", "markdown"]
    table = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()
    start, end = "about markdown -->\n", "<!-- end of settings -->"
    return readme[: readme.index(start) + len(start)] + table + "\n" + readme[readme.index(end) :]


def test_library_example_prints_what_it_shows(postgres_url: str) -> None:
    text = (ROOT / "docs/library.md").read_text("utf-8")
    code, shown = re.findall(r"```(?:python|text)\n(.*?)```", text, re.DOTALL)[:2]
    out = StringIO()
    with redirect_stdout(out):
        exec(compile(code, "docs/library.md", "exec"), {"url": postgres_url})
    assert out.getvalue() == shown


if __name__ == "__main__":
    (ROOT / "README.md").write_text(with_settings(README), "utf-8")


@pytest.mark.parametrize("command", elt.COMMANDS)
def test_each_command_of_the_wrapper_has_a_page_with_its_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / f"docs/commands/{command}.md").read_text("utf-8")
    with pytest.raises(SystemExit):
        elt.dispatch([*(["dbt", "scaffold"] if command == "dbt" else [command]), "--help"])
    options = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
    assert options
    assert options <= set(re.findall(r"--[a-z][a-z-]+", page))
