"""Nothing of personal data leaks through the wrapper: canaries under rules are in no output, log, file or copy of it, nor in what verify tells."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from canaries import Canary
from canary_attempts import KEY, Attempts, schema
from canary_messages import GUARDS, PREAMBLE, RULES, attempts
from canary_places import Places, connected, look_into_folder, look_into_tables
from canary_runs import SEEN
from elt_project import TestProject
from psycopg2.extensions import make_dsn, parse_dsn
from test_canaries import QUARANTINE, SEEN_GUARDS, SEEN_LINES, stage_of, told

from target_meltano.elt.init import TEMPLATE
from target_meltano.masked_stream import Withheld

TAP = [sys.executable, str(Path(__file__).with_name("canary_tap.py"))]
PLANTED = Canary(9_999)  # what somebody has put into the tables
CATALOG = {"streams": [{"stream": "people", "tap_stream_id": "people", "schema": json.loads(schema("people"))["schema"], "metadata": []}]}


@dataclass
class Watched:
    """A project of which all is noted: what commands tell, what they leave, and what lies open while a tap runs."""

    project: TestProject
    made: Attempts
    elsewhere: Path  # files that are the test's own
    places: Places = field(default_factory=Places)

    @property
    def bulk(self) -> list[Any]:
        return [one for one in self.made if not one.ends]

    def write(self, messages: list[bytes], pii: dict[str, Any], **sections: Any) -> None:
        """Write elt.yml, with a tap that sends *messages*."""
        (self.elsewhere / "messages").write_bytes(b"\n".join([*messages, b""]))
        watched = [str(self.project.folder), str(self.temporary)]
        config = {"messages": str(self.elsewhere / "messages"), "catalog": CATALOG, "watched": watched, "copies": str(self.elsewhere / "copies")}
        settings = {**QUARANTINE, "batch_root": str(self.elsewhere)}
        self.project.write({"a": {"executable": TAP, "config": config, "settings": settings}}, pii=pii, **sections)

    @property
    def temporary(self) -> Path:
        made = self.elsewhere / "temporary"
        made.mkdir(exist_ok=True)
        return made

    def run(self, name: str, *arguments: str, given: bytes | None = None, **variables: str) -> int:
        """Run a command, and note what it tells, and its summary if it is asked for."""
        summary = self.elsewhere / f"{name}.summary"
        words = [str(summary) if word == "SUMMARY" else word for word in arguments]
        environment = self.project.environment({"TMPDIR": str(self.temporary), "ELT_PII_KEY": KEY, **variables})
        with subprocess.Popen(
            [sys.executable, "-c", "from target_meltano.elt import main; main()", *words],
            cwd=self.project.folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as running:
            out, errors = running.communicate(given)
        self.places.add(f"{name}: stdout", out)
        self.places.add(f"{name}: stderr", errors)
        if summary.exists():
            self.places.add(f"{name}: summary", summary.read_bytes())
        return running.returncode

    def out(self, name: str) -> bytes:
        return b"\n".join(self.places.get(f"{name}: stdout", []))

    def look(self) -> None:
        """Note what is left in the project, and what has lain open."""
        look_into_folder(self.places, ".elt", self.project.folder / ".elt")
        look_into_folder(self.places, "project", self.project.folder)
        look_into_folder(self.places, "TMPDIR", self.temporary)
        look_into_folder(self.places, "while it ran", self.elsewhere / "copies")

    def plant(self) -> None:
        """Change rows behind the target's back: a column that is masked, one that is not, and one of a stream without rules."""
        schema_ = self.project.schema()
        with self.connection() as connection, connection.cursor() as cursor:
            cursor.execute(f'UPDATE "{schema_}".people SET hash = %s, addr__city = %s WHERE id = 1', (PLANTED.text, PLANTED.text))
            cursor.execute("SELECT to_regclass(%s)", (f'"{schema_}".orders',))
            if cursor.fetchone() != (None,):
                cursor.execute(f'UPDATE "{schema_}".orders SET note = %s WHERE id = 1', (f"{SEEN}, planted",))

    def connection(self, database: str | None = None) -> Any:
        return connected(make_dsn(self.project.url, **({"dbname": database} if database else {})))

    def note_review(self) -> None:
        """Make a copy, and note all that is in it."""
        assert self.run("review", "review", "create", "feature/one") == 0, self.places
        said = dict(line.split("=", 1) for line in (self.project.folder / "review.env").read_text().splitlines())
        found, connection = Places(), self.connection(said["ELT_DATABASE"])
        look_into_tables(found, connection)
        connection.close()
        for place, texts in found.items():
            self.places.add(f"review: {place}", *texts)


@pytest.fixture(scope="module")
def watched(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Watched]]:
    """What makes a project with a database of its own."""
    admin = psycopg2.connect(postgres_url)
    admin.autocommit = True
    names = []

    def make() -> Watched:
        names.append(f"own_{secrets.token_hex(4)}")
        with admin.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {names[-1]}")
        parts = parse_dsn(postgres_url)
        url = f"postgresql://{parts['user']}:{parts['password']}@{parts['host']}:{parts['port']}/{names[-1]}"
        folders = [tmp_path_factory.mktemp(name) for name in ("project", "elsewhere")]
        return Watched(TestProject(folders[0], url, "own", admin), attempts(folders[1]), folders[1])

    yield make
    with admin.cursor() as cursor:
        for name in names:
            cursor.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (name,))
            for (one,) in cursor.fetchall():
                cursor.execute(f'DROP DATABASE "{one}" WITH (FORCE)')
    admin.close()


def pii(rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {"key": "${ELT_PII_KEY}", "rules": [{"tap": "a", **rule} for rule in rules]}


@pytest.fixture
def searched(watched: Callable[[], Watched], dbt: Path) -> Watched:
    """All places after all commands, with the rules on."""
    one = watched()
    rules = pii([*RULES, *(rule for attempt in one.bulk for rule in attempt.rules)])
    transform = one.project.folder / "transform"
    transform.mkdir()
    for name in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(TEMPLATE / "transform" / name, transform)
    one.write([*PREAMBLE, *SEEN_LINES], pii(RULES))
    assert one.run("first", "run", "--summary", "SUMMARY") == 0, one.places
    with one.connection() as connection, connection.cursor() as cursor:
        cursor.execute(GUARDS.format(schema=one.project.schema()) + SEEN_GUARDS.format(schema=one.project.schema()))
    sent = [*PREAMBLE, *SEEN_LINES, *(line for attempt in one.bulk for line in attempt.lines), SEEN_LINES[-1]]
    one.write(sent, rules, transform={"executable": str(dbt / "bin/dbt"), "schema": "own_models"})
    one.run("load", "extract-load", "--summary", "SUMMARY")
    one.run("state", "state", "get", "a")
    one.note_review()
    assert one.run("scaffold", "dbt", "scaffold") == 0, one.places["scaffold: stderr"]
    one.plant()
    assert one.run("verify", "verify", "a", "--whole", "--summary", "SUMMARY") == 1
    check_verdict(one)
    one.write([], {**rules, "rules": [{**rule, "optional": True} for rule in rules["rules"]]})  # as not all streams come
    note_mask(one)
    schemas = [line for line in one.out("mask").splitlines() if b'"SCHEMA"' in line and b'"people"' in line]
    (one.project.folder / "schemas.jsonl").write_bytes(b"\n".join(schemas))
    assert one.run("mock of what mask gives", "mock", "--catalog", "schemas.jsonl", "--rows", "50") == 0, one.places
    assert one.run("mock of the tap", "mock", "--tap", "a", "--rows", "50") == 0, one.places
    for system in ("gitlab", "github", "airflow"):
        assert one.run(f"ci {system}", "ci", system) == 0, one.places
    one.look()
    return one


def check_verdict(one: Watched) -> None:
    """What was planted is found, in columns that are masked and others, and no value is shown; of a stream without rules it is."""
    words = b"\n".join([*one.places["verify: stdout"], *one.places["verify: stderr"]]).decode()
    assert "own_0.people" in words
    assert "column 'hash' has another value: sent …, stored …" in words
    assert "column 'addr__city' has another value: sent …, stored …" in words
    assert f"{SEEN}, planted" in words


def note_mask(one: Watched) -> None:
    """Run the filter, which ends at what cannot be masked: on what can be, and to some of its ends."""
    stage, taken, refused = stage_of([rule for attempt in one.bulk for rule in attempt.rules]), [], []
    stage.lines(PREAMBLE)
    for attempt in one.bulk:
        if not attempt.name.startswith(("BATCH", "Parquet")):
            given = stage.lines(attempt.lines)
            (refused if any(isinstance(line, Withheld) for line in given) else taken).append(attempt)
    assert len(taken) > 300
    chosen = {"mask": [line for attempt in taken for line in attempt.lines]}
    chosen |= {f"mask, {attempt.name}": attempt.lines for attempt in refused[:: len(refused) // 4]}
    for name, lines in chosen.items():
        given = b"\n".join([*PREAMBLE, *SEEN_LINES, *lines, SEEN_LINES[-1], b""])
        code = one.run(name, "mask", "--config", "elt.yml", "--tap", "a", given=given)
        assert (code == 0) == (name == "mask"), one.places[f"{name}: stderr"]


VISIBLE = """
first: stdout; first: summary; load: summary; state: stdout; verify: stderr; verify: summary; mask: stdout; .elt; while it ran;
review: tables; review: __rejected; review: __loads; review: __state; review: statistics; review: comments; review: catalogue
""".replace("\n", " ").strip().split("; ")
"""Where values of streams without rules are told, so that they are places where one can be."""


def test_no_canary_is_found_anywhere(searched: Watched) -> None:
    leaks = {place: told(found, searched.made) for place in searched.places if (found := searched.places.hits_at(place))}
    assert not leaks, "\n".join(f"--- {place}\n{words}" for place, words in leaks.items())
    assert [place for place in VISIBLE if not any(SEEN.encode() in text.lower() for text in searched.places.get(place, ()))] == []


def test_without_rules_they_are_found(watched: Callable[[], Watched]) -> None:
    """By the same search, in what each command tells and leaves."""
    one = watched()
    chosen = [attempt for attempt in one.bulk if attempt.name.startswith(("text, in hash", "a field", "key: text"))]
    one.write([*PREAMBLE, *(line for attempt in chosen for line in attempt.lines)], {"plain": ["*"]})
    one.run("load", "run", "--summary", "SUMMARY")
    one.plant()
    one.run("verify", "verify", "a", "--summary", "SUMMARY")
    one.run("mask", "mask", "--config", "elt.yml", given=b"\n".join(chosen[0].lines))
    one.note_review()
    one.look()
    for place in ("load: stdout", "load: summary", "verify: stderr", "verify: summary", ".elt", "while it ran", "review: tables", "review: statistics", "review: __rejected"):
        assert one.places.hits_at(place), place
