"""Secrets that a tap, a target and dbt tell as they break off are nowhere, in any spelling; nor are they in arguments, or in a tap's environment that needs none."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from canary_places import Places, look_into_folder
from elt_project import TARGET, TestProject

from target_meltano.elt import executables
from target_meltano.elt.project import read

TELLER = [sys.executable, str(Path(__file__).with_name("canary_teller.py"))]
SECRETS = {name: f'{name}-Kanari/7+"q\\w\u00e9 z' for name in ("password", "token", "file", "url", "pii", "nested", "listed", "JSON")}
SPELLINGS = {
    "plain": str,
    "percent-encoded": lambda text: urllib.parse.quote(text, safe=""),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "repr": lambda text: repr(text)[1:-1],
    "base64": lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
    "two lines": lambda text: f"{text[:12]}\n{text[12:]}",
    "upper case": str.upper,  # the last one: of some programs the last line is shown
}
RUNS = {  # when which of the two breaks off, and the commands that meet it
    "about": (["check"],),
    "discover": (["check"], ["extract-load"], ["mock", "--tap", "a"], ["verify", "a"]),
    "state": (["check"], ["extract-load"], ["state", "get", "a"]),
    "review": (["review", "list"], ["review", "create", "x", "--allow-pii"]),
    "dbt": (["transform"], ["test"], ["dbt", "scaffold"], ["review", "create", "x", "--mode", "schema"]),
    "sync": (["extract-load", "--summary", "summary.json"], ["run"], ["verify", "a", "--summary", "verdict.json"]),
}
PROGRAM = "from target_meltano.elt import main; main()"
OFF = """
from target_meltano.elt import redaction
redaction.Redactor.__call__ = lambda self, text: text
redaction.Redactor.begun = lambda self, lines: 0
"""


@dataclass
class Told:
    """A project whose programs tell secrets: what of it is where, and what lay open."""

    project: TestProject
    elsewhere: Path
    places: Places = field(default_factory=Places)

    def write(self) -> None:
        for folder in ("noted", "folder"):
            (self.elsewhere / folder).mkdir()
        (self.elsewhere / "secret").write_text(SECRETS["file"])
        lines = [f"Error: <{spelt(secret)}>" for secret in SECRETS.values() for spelt in SPELLINGS.values()]
        (self.elsewhere / "told").write_text("\n".join([*lines, ""]))
        shapes = {"credentials": {"value": "${TAP_NESTED}"}, "tokens": ["${TAP_LISTED}"], "account": "${json:TAP_JSON}"}
        config = {**shapes, "api_token": "${TAP_TOKEN}", "options": {"from": f"${{file:{self.elsewhere / 'secret'}}}"}}
        taps = {name: {"executable": [*TELLER, "tap"], "config": config} for name in ("a", "b")}
        warehouse = {"type": "postgres", "executable": [*TELLER, "target"], "settings": {"url": "${DB_URL}", "password": "${DB_PASSWORD}"}}
        (self.project.folder / "transform").mkdir()
        (self.project.folder / "transform/dbt_project.yml").write_text("name: x\nprofile: x\n")
        dbt = {"executable": [*TELLER, "dbt"]}
        self.project.write(taps, warehouse=warehouse, transform=dbt, pii={"key": "${PII_KEY}", "plain": ["*"]}, state={"id": "{tap}"})

    def run(self, before: str = "") -> None:
        given = {
            "DB_URL": f"postgresql://u:{urllib.parse.quote(SECRETS['url'], safe='')}@localhost/db",
            "DB_PASSWORD": SECRETS["password"],
            "TAP_TOKEN": SECRETS["token"],
            "PII_KEY": SECRETS["pii"],
            "TAP_NESTED": SECRETS["nested"],
            "TAP_LISTED": SECRETS["listed"],
            "TAP_JSON": json.dumps({"type": "x", "private_key": SECRETS["JSON"]}),
            "TOLD": str(self.elsewhere / "told"),
            "NOTED": str(self.elsewhere / "noted"),
            "TMPDIR": str(self.elsewhere / "folder"),
        }
        for phase, commands in RUNS.items():
            for words in commands:
                environment = self.project.environment({**given, "TELL": phase})
                done = subprocess.run(
                    [sys.executable, "-c", f"{before}{PROGRAM}", *words], cwd=self.project.folder, env=environment, capture_output=True, check=False
                )
                name = f"{phase}: {' '.join(words)}"
                self.places.add(name, done.stdout, done.stderr)
                assert done.returncode in (1, 2, 3), (name, done)
        look_into_folder(self.places, ".elt", self.project.folder / ".elt")
        look_into_folder(self.places, "project", self.project.folder)
        look_into_folder(self.places, "TMPDIR", self.elsewhere / "folder")
        for path in (self.elsewhere / "noted").glob("*.arguments"):
            self.places.add("arguments", path.read_bytes())

    def leaks(self, place: str) -> list[str]:
        """Return the spellings that are found at a place."""
        text = b"\n".join(self.places[place]).decode("utf-8", "replace")
        forms = {f"{name}, {how}": spelt(secret) for name, secret in SECRETS.items() for how, spelt in SPELLINGS.items()}
        forms |= {name: form[8:24] for name, form in forms.items() if name.endswith("base64")}  # without those that are of "user:", too
        return [name for name, form in forms.items() if form in text] + [f"...{text[max(0, at - 60) : at + 60]!r}" for at in [text.casefold().find("kanari")] if at >= 0]

    def environments(self, role: str) -> Iterator[dict[str, str]]:
        for path in (self.elsewhere / "noted").glob(f"*-{role}-*.environment"):
            yield json.loads(path.read_text())


@pytest.fixture
def teller(tmp_path: Path) -> Told:
    for name in ("project", "elsewhere"):
        (tmp_path / name).mkdir()
    made = Told(TestProject(tmp_path / "project", "", "s", None), tmp_path / "elsewhere")
    made.write()
    return made


def test_no_secret_is_found_anywhere(teller: Told) -> None:
    teller.run()
    assert {place: found for place in teller.places if (found := teller.leaks(place))} == {}
    shown = [place for place in teller.places if any(b"****" in text for text in teller.places[place])]
    assert set(shown) >= {*(place for place in teller.places if ": " in place), ".elt"}  # it was told there
    assert teller.places["arguments"]
    for environment in teller.environments("tap"):
        assert environment.get("TAP_TOKEN") == SECRETS["token"]  # what its own section names
        assert environment.keys().isdisjoint({"DB_URL", "DB_PASSWORD", "PII_KEY"})


def test_what_hides_them_is_found_out_when_it_is_off(teller: Told) -> None:
    teller.run(OFF)
    for place in [place for place in teller.places if ": " in place]:
        assert teller.leaks(place), place
    assert {name.partition(",")[0] for name in teller.leaks(".elt")} >= set(SECRETS)


def test_a_tap_gets_what_its_section_names_and_what_is_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a secret that another section names, too; and those that `ci.variables` has, as taps may read them by themselves."""
    names = ("DB_URL", "DB_PASSWORD", "DB_HOST", "SHARED_TOKEN", "CI_TOKEN", "A_TOKEN", "B_TOKEN", "HASH_KEY")
    for name in names:
        monkeypatch.setenv(name, "x")
    taps = {name: {"executable": TELLER, "config": {"token": f"${{{name.upper()}_TOKEN}}", "other_token": "${SHARED_TOKEN}"}} for name in ("a", "b")}
    settings = {"url": "postgresql://u:${DB_PASSWORD}@${DB_HOST}/db", "password": "${SHARED_TOKEN}", "host": "${DB_HOST}", "sslkey": "${CI_TOKEN}"}
    project = TestProject(tmp_path, "", "s", None)
    project.write(taps, warehouse={"type": "postgres", "executable": TARGET, "settings": settings}, pii={"key_env": "HASH_KEY"}, ci={"variables": ["CI_TOKEN"]})
    made = read(tmp_path, ["a"])
    assert made.taps["a"].withheld == {"DB_PASSWORD", "B_TOKEN", "HASH_KEY"}
    assert executables.variables(None, made.taps["a"].withheld).keys() & set(names) == {"DB_URL", "DB_HOST", "SHARED_TOKEN", "CI_TOKEN", "A_TOKEN"}
