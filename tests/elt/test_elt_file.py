"""elt.yml: read as a whole, with a line for every fault, and no secret in any of them."""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from target_meltano.elt import document, project, settings
from target_meltano.elt.errors import ProjectError
from target_meltano.elt.init import TEMPLATE
from target_meltano.elt.redaction import Redactor

TARGET = json.dumps([sys.executable, "-c", "from target_meltano_postgres import main; main()"])
HEAD = f"version: 1\nwarehouse: {{type: postgres, executable: {TARGET}, settings: {{host: h}}}}\n"


@pytest.fixture(autouse=True)
def asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the target be asked for its settings once, instead of once per test."""
    monkeypatch.setattr(settings, "about", about)


def about(command: tuple[str, ...], folder: Path, redact: object) -> settings.About:
    return answer(command)


@cache
def answer(command: tuple[str, ...]) -> settings.About:
    return ask(command, Path())


ask = settings.about


def read(folder: Path, text: str, **options: Any) -> project.Project:
    (folder / "elt.yml").write_text(text, "utf-8")
    return project.read(folder, **options)


def faults(folder: Path, text: str) -> list[str]:
    """Return the faults of an elt.yml, without its path."""
    with pytest.raises(ProjectError) as raised:
        read(folder, text)
    path = f"{folder / 'elt.yml'}:"
    assert all(line.startswith(path) for line in str(raised.value).splitlines())
    return [line.removeprefix(path) for line in str(raised.value).splitlines()]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("version: 1\nwarehouse:\n  type: [", "3: expected the node content"),
        ("version: 1\nversion: 1\n", "2: version is there twice"),
        ("version: 1\ntaps: {a: {executable: x}}\n", "1: missing: warehouse"),
        (HEAD + "taps: {a: {executable: x}}\ntranform: {}\n", "4: tranform: unknown; did you mean transform?"),
        (HEAD + "taps:\n  a:\n    executable: x\n    selct: [y]\n", "6: taps.a.selct: unknown; did you mean select?"),
        (HEAD + "taps: {a: {executable: x, select: y}}\n", "3: taps.a.select: wanted a list, found a text"),
        (HEAD + "taps: {a b: {executable: x}}\n", "3: taps.a b: a name has letters from a to z, digits, - and _, and starts with a letter"),
        (HEAD + "taps: {größe: {executable: x}}\n", "3: taps.größe: a name has letters"),
        ("version: 1\n", "1: missing: warehouse, taps"),
        (HEAD + "taps: {a: {executable: x}, b: {executable: y, schema: a}}\n", "3: taps.b.schema: the schema a is that of the tap a; give each tap its own"),
        (HEAD + "taps: {a: {executable: x}}\nstate: {id: all}\n", "4: state.id: wanted: The state_id: a text with {tap} in it"),
        (HEAD + "taps: {a: {executable: x}}\njobs: 0\n", "4: jobs: wanted 1 or more"),
        (HEAD + "taps: {a: {executable: x, settings: {bacth_rows: 1}}}\n", "3: taps.a.settings.bacth_rows: unknown; did you mean batch_rows?"),
        (HEAD + "taps: {a: {executable: x, settings: {batch_rows: many}}}\n", "3: taps.a.settings.batch_rows: wanted integer"),
        (HEAD + "taps: {a: {executable: x, settings: {decode_binary: 1}}}\n", "3: taps.a.settings.decode_binary: wanted true or false"),
        (HEAD + "taps: {a: {executable: x, settings: {batch_rows: true}}}\n", "3: taps.a.settings.batch_rows: wanted integer"),
        (HEAD + "taps: {a: {executable: x, settings: {default_target_schema: s}}}\n", "3: taps.a.settings.default_target_schema: comes from schema of the tap"),
        (HEAD + "taps: {a: {executable: x, settings: {load_method: merge}}}\n", "3: taps.a.settings.load_method: wanted upsert or append or overwrite"),
        (HEAD + "taps: {a: {executable: x, settings: {state_id: s}}}\n", "3: taps.a.settings.state_id: comes from state.id"),
        (HEAD + "taps: {a: {executable: x, config: {user: '${NOT_SET}'}}}\n", "3: taps.a.config.user: the environment variable NOT_SET is not set"),
        (HEAD + "taps: {a: {executable: x, config: {user: '${no good}'}}}\n", "3: taps.a.config.user: wanted ${NAME}"),
        (HEAD + "taps: {a: {executable: x, config: {user: '${file:none.txt}'}}}\n", "3: taps.a.config.user: the file none.txt: No such file"),
        (HEAD + "taps: {a: {executable: x, config: {api_key: k1}}}\n", "3: taps.a.config.api_key: a secret stands here in clear text"),
        (HEAD + "taps: {a: {executable: x, config: {feed: 'ftp://u:k1@h/'}}}\n", "3: taps.a.config.feed: a secret stands here in clear text"),
        (HEAD + "taps: {a: {executable: x, config: {password: '${PW:-open sesame}'}}}\n", "3: taps.a.config.password: the default of PW is a secret in clear text"),
        (HEAD + "taps: {a: {executable: x, config: {user: '${MY_TOKEN:-open}'}}}\n", "3: taps.a.config.user: the default of MY_TOKEN is a secret in clear text"),
        (HEAD + "taps: {a: {executable: x, config: {feed: 'ftp://u:${V:-k1}@h/'}}}\n", "3: taps.a.config.feed: a secret stands here in clear text"),
        (HEAD + "taps: {a: {executable: x, config: {feed: 'ftp://u:k1@${HOST:-h}/'}}}\n", "3: taps.a.config.feed: a secret stands here in clear text"),
        (HEAD + "taps: {a: {executable: x, config: {feed: '${FEED:-ftp://u:k1@h/}'}}}\n", "3: taps.a.config.feed: a secret stands here in clear text"),
        (HEAD + "taps: {a: {executable: x, config: {dsn: 'host=${HOST:-h} password=k1'}}}\n", "3: taps.a.config.dsn: a secret stands here in clear text"),
        (HEAD + "taps: {a: {executable: x}}\npii: {key: '${K:-1:0123456789abcdef}', rules: []}\n", "4: pii.key: the default of K is a secret in clear text"),
        (HEAD + "taps: {a: {executable: x}}\npii: {rules: [{stream: s, columns: [c], method: hide}]}\n", "4: pii.rules.0.method: wanted: hash, drop, nullify"),
        (HEAD + "taps: {a: {executable: x}}\npii: {key: '1:k', rules: []}\n", "4: pii.key: a secret stands here in clear text"),
        (HEAD + "taps: {a: {executable: x}}\npii: {rules: [{tap: b, stream: s, columns: [c], method: drop}]}\n", "4: pii.rules.0.tap: there is no such tap; there is: a"),
        (HEAD + "taps: {a: {executable: x}, b: {executable: x}}\npii: {rules: [{stream: s, columns: [c], method: drop}]}\n", "4: pii.rules.0: missing: tap"),
    ],
    ids=lambda value: value if value[0].isdigit() else "",
)
def test_a_fault_is_told_by_its_line(tmp_path: Path, text: str, fault: str) -> None:
    (found,) = faults(tmp_path, text)
    assert found.startswith(fault)


def test_all_faults_are_told_at_once_in_the_order_of_their_lines(tmp_path: Path) -> None:
    text = (
        "version: 1\njbos: 2\n"
        f"warehouse:\n  type: postgres\n  executable: {TARGET}\n  settings:\n    hsot: x\n    password: open sesame\n"
        "taps:\n  a:\n    executable: x\n    config: {token: '${NOT_SET}'}\n  b: {executable: y, schema: a, freshness: {warn_after: soon}}\n"
    )
    found = faults(tmp_path, text)
    assert [int(line.split(":")[0]) for line in found] == [2, 7, 8, 12, 13, 13]
    assert "sesame" not in "".join(found)


def test_scalars_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("a: no\nb: 2026-01-31\nc: 12:30:00\nd: 1e3\ne: 0o7\nf: ~\ng: 010\nh: true\n")
    found = document.read(tmp_path / "a.yml").value
    assert found == {"a": "no", "b": "2026-01-31", "c": "12:30:00", "d": 1000.0, "e": "0o7", "f": None, "g": 10, "h": True}


def test_variables_take_the_place_of_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key.txt").write_text("from a file\n")
    monkeypatch.setenv("ACCOUNT", "7")
    monkeypatch.setenv("LIST", '["x", 1]')
    config = "{a: 'no ${ACCOUNT}!', b: '${NOT_SET:-else}', c: '${file:key.txt}', d: '${json:LIST}', e: '$${ACCOUNT}', f: 1.5}"
    made = read(tmp_path, f"{HEAD}taps: {{a: {{executable: x, config: {config}}}}}\n")
    wanted = {"a": "no 7!", "b": "else", "c": "from a file", "d": ["x", 1], "e": "${ACCOUNT}", "f": 1.5}
    assert made.taps["a"].config == wanted
    assert "from a file" in made.secrets
    assert "7" not in made.secrets


@pytest.mark.parametrize(
    ("config", "secrets"),
    [
        ("{password: '${V}'}", {"canary-1"}),
        ("{deep: [{client_secret: 'x${V}'}]}", {"canary-1"}),
        ("{user: '${MY_TOKEN}'}", {"canary-2"}),
        ("{url: '${URL}'}", {"can%40ry", "can@ry"}),
        ("{user: '${V}'}", set()),
        ("{feed: 'https://${V:-me}:${W}@${HOST:-example.com}:${PORT:-443}/'}", {"canary-3"}),
        ("{dsn: 'host=${HOST:-h} password=${W}'}", {"canary-3"}),
        ("{password: '${NONE:-}', db_pw: '${W}'}", {"canary-3"}),
        ("{account: '${json:ACCOUNT}'}", {"canary-4"}),
        ("{account: '${file:account.json}'}", {"canary-4", '{"id": "me", "private_key": "canary-4"}'}),
    ],
)
def test_what_is_secret_is_known_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str, secrets: set[str]
) -> None:
    account = '{"id": "me", "private_key": "canary-4"}'
    (tmp_path / "account.json").write_text(account)
    given = {"V": "canary-1", "MY_TOKEN": "canary-2", "URL": "https://me:can%40ry@example.com", "W": "canary-3", "ACCOUNT": account}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    made = read(tmp_path, f"{HEAD}taps: {{a: {{executable: x, config: {config}}}}}\n")
    assert made.secrets == secrets
    assert not any(secret in repr(made) for secret in secrets)


def test_secrets_are_hidden_whole_in_text_and_in_json() -> None:
    redact = Redactor(['pass"word', "pass", "first line\nsecond line", "abc"])
    assert redact('x pass"word pass abc abcd') == "x **** **** **** abcd"
    assert redact(json.dumps({"k": 'pass"word'})) == '{"k": "****"}'
    assert redact("it says: second line") == "it says: ****"


def test_without_expansion_no_variable_is_needed(tmp_path: Path) -> None:
    text = f"{HEAD}taps: {{a: {{executable: x, pip_url: 'tap-${{VERSION:-1}}', config: {{u: '${{NOT_SET}}'}}}}}}\n"
    assert read(tmp_path, text, only=["taps", "transform"]).taps["a"].pip_url == "tap-1"


def test_the_schema_of_the_file_is_one_and_the_template_fits_it() -> None:
    schema = json.loads(project.SCHEMA.read_text("utf-8"))
    jsonschema.Draft4Validator.check_schema(schema)
    value = document.read(TEMPLATE / "elt.yml").value
    assert list(jsonschema.Draft4Validator(schema).iter_errors(value)) == []


def test_a_folder_without_a_project_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="target-meltano init DIR"):
        project.read(tmp_path)


def test_what_a_target_reads_by_itself_is_secret_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own variables, those of libpq and the key of hashes, though elt.yml names none of them."""
    given = {"PGPASSWORD": "pg-1", "TARGET_MELTANO_PII_KEY": "v1:key-2", "TARGET_MELTANO_POSTGRES_PASSWORD": "own-3", "TARGET_MELTANO_POSTGRES_URL": "postgresql://u:in%20url@h/d"}
    for name, value in {**given, "TARGET_MELTANO_POSTGRES_HOST": "no-secret"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "elt.yml").write_text(HEAD + "taps: {a: {executable: tap}}\n")
    found = project.read(tmp_path).secrets
    assert found >= {"pg-1", "v1:key-2", "own-3", "in%20url", "in url"}
    assert "no-secret" not in found
    monkeypatch.setenv("HASH_KEY", "v1:key-3")
    (tmp_path / "elt.yml").write_text(HEAD + "taps: {a: {executable: tap}}\npii: {key_env: HASH_KEY, plain: ['*']}\n")
    assert "v1:key-3" in project.read(tmp_path).secrets
