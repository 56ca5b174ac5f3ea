"""`target-meltano mask`: the same rules as a filter, and the files that it reads them from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from target_meltano import SettingsError, pii
from target_meltano.samples import INT, STR, record, schema, state

KEY = "v1:a secret of enough characters"
COMMAND = [sys.executable, "-c", "from target_meltano.elt import main; main()", "mask"]
RULE = {"stream": "users", "columns": ["email"], "method": "hash"}
SENT = [schema("users", id=INT, email=STR), record("users", id=1, email="canary"), state({"users": 1})]


def mask(folder: Path, config: Any, *messages: Any, options: tuple[str, ...] = (), **environment: str) -> tuple[int, list[Any], str]:
    """Return exit code, messages that come out, and stderr."""
    path = folder / ("config.json" if isinstance(config, dict) else "config.yml")
    path.write_text(json.dumps(config) if isinstance(config, dict) else config)
    text = "".join((message if isinstance(message, str) else json.dumps(message)) + "\n" for message in messages)
    command = [*COMMAND, "--config", str(path), *options]
    environment = {"TARGET_MELTANO_PII_KEY": KEY, "PATH": "/usr/bin:/bin", **environment}
    root = Path(__file__).parent.parent
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, env=environment, cwd=root)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


ELT = """
warehouse: {type: embedded}
pii:
  key: ${MY_KEY}
  rules:
    - {tap: crm, stream: users, columns: [email], method: hash}
    - {tap: shop, stream: others, columns: [email], method: hash}
"""
PIPELINEWISE = """
id: "mysql"
type: "tap-mysql"
db_conn: {password: !vault "x"}
schemas:
  - source_schema: "crm"
    target_schema: "crm"
    tables:
      - table_name: "users"
        transformations:
          - {column: "email", type: "HASH"}
          - {column: "name", type: "MASK-STRING-SKIP-ENDS-1"}
      - table_name: "orders"
"""


@pytest.mark.parametrize(
    ("config", "options", "environment"),
    [
        ({"pii": [RULE], "host": "ignored"}, (), {}),
        ({"pii": {"rules": [RULE], "key": KEY}}, (), {"TARGET_MELTANO_PII_KEY": ""}),
        ({"rules": [RULE], "key_env": "MY_KEY"}, (), {"MY_KEY": KEY}),
        (ELT, ("--tap", "crm"), {"MY_KEY": KEY}),
        ({"transformations": [{"tap_stream_name": "users", "field_id": "email", "type": "HASH"}]}, (), {}),
    ],
    ids=["settings", "key", "rules", "elt.yml", "transform-field"],
)
def test_values_come_out_masked(tmp_path: Path, config: Any, options: Any, environment: dict[str, str]) -> None:
    code, found, said = mask(tmp_path, config, *SENT, options=options, **environment)
    assert (code, said) == (0, "")
    assert found[1]["record"]["email"].startswith("v1:")
    assert (found[2], len(found)) == (SENT[2], 3)


def test_a_file_of_pipelinewise_has_the_names_of_its_streams(tmp_path: Path) -> None:
    sent = [schema("crm-users", id=INT, email=STR, name=STR), record("crm-users", id=1, email="canary", name="canary")]
    code, found, said = mask(tmp_path, PIPELINEWISE, *sent)
    assert (code, found[1]["record"]["name"]) == (0, "c****y"), said


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        ([*SENT, record("users", id=2, email=["canary"])], "line 4: stream 'users': $.email: it cannot be masked"),
        ([*SENT, '{"canary'], "line 4: not JSON"),
        (SENT[:1] + [{"type": "BATCH", "stream": "users", "manifest": []}], "line 2: pii: stream 'users': the files of a BATCH"),
        ([schema("others")], "stream 'users' did not come"),
    ],
)
def test_what_cannot_be_masked_ends_it(tmp_path: Path, messages: list[Any], fault: str) -> None:
    """What came before is written."""
    code, found, said = mask(tmp_path, {"pii": [RULE]}, *messages)
    assert (code, fault in said, "canary" in said) == (1, True, False), said
    assert len(found) == max(1, len(messages) - 1)


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"host": "x"}, "wanted pii, or PipelineWise's"),
        ({"pii": {}}, "there is no rule"),
        (ELT, "say which one it is: --tap NAME"),
        ("a: [", "config.yml:1: expected the node content"),
        ('{"pii": {"rules": [], "rules": []}}', "config.yml:1: pii.rules is there twice"),
        ("pii: {rules: x}", "rules: wanted a list"),
        ({"pii": {"rules": [RULE], "key": "1:${MY_KEY}"}}, "give key_env: NAME instead"),
    ],
)
def test_a_file_without_rules_is_an_error(tmp_path: Path, config: Any, fault: str) -> None:
    code, found, said = mask(tmp_path, config)
    assert (code, found, fault in said) == (2, [], True), said


# --- the setting


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        ([{**RULE, "method": "hsah"}], "rules, number 1: 'hsah' is none of hash, hash-after:N, drop"),
        ([RULE, {**RULE, "columns": []}], "rules, number 2: columns: wanted a list"),
        ([{**RULE, "columns": ["a..b"]}], r"'a\.\.b': wanted a path"),
        ([{**RULE, "columns": ["[].b"]}], "wanted a path"),
        ([{**RULE, "columns": [5]}], "5: wanted a path"),
        ([{**RULE, "methods": "x"}], "methods: unknown, did you mean method"),
        ([{**RULE, "method": "keep-first"}], "wanted keep-first:N"),
        ([{**RULE, "method": "keep-first:0"}], "wanted keep-first:N"),
        ([{**RULE, "method": "hash:5"}], "'hash:5': wanted hash"),
        ([{**RULE, "method": "truncate-date:era"}], r"wanted truncate-date:year\|month\|day\|hour"),
        ([{**RULE, "method": "drop", "as": "x"}], "as: it says which hashes are equal, and drop makes none"),
        ([{**RULE, "method": "drop", "columns": ["a[]"]}], "items cannot be dropped; drop their array"),
        ([{"columns": ["a"], "method": "drop"}], "stream: wanted a string"),
        ([RULE, RULE], "another rule is for the same place"),
        ([{**RULE, "columns": ["a", "a.b"]}], "another rule is for the same place, or for a part of it"),
        ([{**RULE, "columns": ["a.b", "a"]}], "another rule is for the same place, or for a part of it"),
        ({"rules": [RULE], "keys": 1}, "keys: unknown, did you mean key"),
        ({"rules": [RULE], "key": "secret"}, "key: wanted VERSION:SECRET"),
        ({"rules": [RULE], "key": "v1:short"}, "the secret has 5 characters, wanted 16 or more"),
        ({"rules": [RULE], "key": KEY, "key_env": "X"}, "key_env"),
        ({"rules": "x"}, "rules: wanted a list"),
        ({"rules": [RULE], "plain": "x"}, "plain: wanted a list"),
        ({"transformations": [{"tap_stream_name": "a", "field_id": "b", "type": "HASH", "when": [{}]}]}, "when: not read"),
        ({"transformations": [{"tap_stream_name": "a", "field_id": "b", "type": "SHA"}]}, "'SHA' is none of PipelineWise's"),
    ],
)
def test_what_is_wrong_with_the_setting_is_said(found: Any, fault: str) -> None:
    with pytest.raises(SettingsError, match=f"settings: pii: .*{fault}") as error:
        pii.read(found, {"TARGET_MELTANO_PII_KEY": KEY})
    assert "secret of" not in str(error.value)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(SettingsError, match="number 1.*number 2"):
        pii.read([{**RULE, "method": "x"}, {**RULE, "columns": "x"}], {})


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("SET-NULL", "nullify"),
        ("HASH", "hash"),
        ("HASH-SKIP-FIRST-3", "hash-after:3"),
        ("MASK-DATE", "truncate-date:year"),
        ("MASK-NUMBER", "mask"),
        ("MASK-HIDDEN", "redact"),
        ("MASK-STRING-SKIP-ENDS-2", "keep-ends:2"),
    ],
)
def test_pipelinewise_methods(kind: str, method: str) -> None:
    one = {"tap_stream_name": "s", "field_id": "c", "field_paths": ["a/b", "c"], "type": kind, "safe_field_id": '"C"'}
    found = pii.read({"transformations": [one], "key": KEY}, {}).rules
    assert [(rule.stream, pii.path_text(rule.path), f"{rule.method.name}:{rule.method.argument}".rstrip(":")) for rule in found] == [
        ("s", "c.a.b", method),
        ("s", "c.c", method),
    ]


@pytest.mark.parametrize(
    "config",
    [
        {"pii": {"rules": [RULE]}, "pii_unlisted": "fail"},
        {"pii": {"plain": ["invoices"]}, "warehouse": {"settings": {"pii_unlisted": "fail"}}},
        {"pii": {"plain": []}, "taps": {"a": {"settings": {"pii_unlisted": "fail"}}}},
    ],
    ids=["target", "elt.yml", "elt.yml, of the tap"],
)
def test_a_stream_that_nobody_has_listed_does_not_pass(tmp_path: Path, config: Any) -> None:
    secret = [
        {"type": "SCHEMA", "stream": "parcels", "key_properties": [], "schema": {"properties": {"to": {"type": "string"}}}},
        {"type": "RECORD", "stream": "parcels", "record": {"to": "Zoe Quill"}},
    ]
    code, found, said = mask(tmp_path, config, *secret, options=("--tap", "a"))
    assert (code, found) == (1, [])
    assert "stream 'parcels' has no rule and is not in plain" in said


def test_pii_unlisted_has_two_values(tmp_path: Path) -> None:
    code, _, said = mask(tmp_path, {"pii": [RULE], "pii_unlisted": "never"})
    assert (code, "wanted alike or fail" in said) == (2, True)
