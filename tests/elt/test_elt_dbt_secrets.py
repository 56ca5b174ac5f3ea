"""Secrets that a dbt project has in hand are in no output, log or artifact of dbt, nor do passwords get there by the connection."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from elt_project import ROOT, TestProject
from psycopg2.extensions import make_dsn, parse_dsn

TOKEN = "canary/47+11 \"abc'\u00e9"
TELLS = {
    "macros/told.sql": "{% macro told() %}{{ log(env_var('TAP_TOKEN'), info=True) }}{{ print(env_var('TAP_TOKEN') | urlencode) }}{% endmacro %}",
    "models/logged.sql": "{{ told() }} select 1 as id -- {{ env_var('TAP_TOKEN') }}",
    "models/refused.sql": "{{ config(materialized='table') }} {{ exceptions.raise_compiler_error('no ' ~ env_var('TAP_TOKEN')) if execute else '' }} select 1 as id",
    "models/failing.sql": "{{ config(materialized='table') }} select '{{ env_var('TAP_TOKEN') | replace(\"'\", \"''\") }}'::int as id",
}


def forms(secret: str) -> dict[str, str]:
    return {"plain": secret, "percent": quote(secret, safe=""), "JSON": json.dumps(secret)[1:-1], "SQL": secret.replace("'", "''"), "bare": "canary"}


def leaks(project: TestProject, secret: str, *told: str) -> dict[str, list[str]]:
    """Return the files, and numbers of outputs, that have the secret, and in which form."""
    texts = {str(number): text for number, text in enumerate(told)}
    files = [path for path in project.folder.rglob("*") if path.is_file() and path.name not in ("review.env",)]
    texts |= {str(path.relative_to(project.folder)): path.read_bytes().decode("utf-8", "replace") for path in files}
    return {name: [how for how, form in forms(secret).items() if form in text] for name, text in texts.items() if any(form in text for form in forms(secret).values())}


@pytest.fixture
def telling(project: TestProject, dbt: Path) -> TestProject:
    transform = project.dbt(dbt)
    for name, text in TELLS.items():
        path = project.folder / "transform" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    project.write({"a": {"ids": 1, "token": "${TAP_TOKEN}"}}, transform=transform)
    return project


MADE_BY_MODELS = re.compile(r"transform/target/(partial_parse\.msgpack|(run|compiled)/.*|(semantic_)?manifest\.json|run_results\.json)")


def test_what_dbt_tells_of_secrets_is_hidden(telling: TestProject) -> None:
    """In all output and in dbt's log; what a model itself is made of is in dbt's artifacts as it is."""
    for words in (["run"], ["dbt", "--log-format", "json", "build"], ["dbt", "run-operation", "told"], ["dbt", "--debug", "compile", "--select", "failing"]):
        done = telling.run(*words, TAP_TOKEN=TOKEN)
        found = leaks(telling, TOKEN, done.stdout, done.stderr)
        assert [(words, name, hows) for name, hows in found.items() if not MADE_BY_MODELS.fullmatch(name)] == []
        assert "****" in done.stdout
    assert done.returncode == 0


def test_a_password_is_nowhere_whichever_form_says_where_the_database_is(project: TestProject, dbt: Path) -> None:
    """`host=... password=... dbname=...` leads target and dbt to the same database."""
    transform = project.dbt(dbt)
    project.write({"a": {"ids": 3}}, transform=transform)
    password = parse_dsn(project.url)["password"]
    pairs = make_dsn(**parse_dsn(project.url))
    assert pairs.startswith("user=")
    done = project.run("run", TEST_URL=pairs)
    assert done.returncode == 0, done.stdout
    assert project.query(f'SELECT events FROM "{project.name}_models".numbers') == [(3,)]
    debug = project.run("dbt", "debug", TEST_URL=pairs)
    assert "All checks passed!" in debug.stdout, debug.stdout
    files = [path for path in project.folder.rglob("*") if path.is_file()]
    assert [path for path in files if password.encode() in path.read_bytes()] == []
    assert password not in done.stdout + done.stderr + debug.stdout


ASKS = """
import sys, time
print("line one"); print("token is abcd-1234-efgh", file=sys.stderr)
sys.stdout.write("your name? "); sys.stdout.flush()
name = sys.stdin.readline().strip()
sys.stdout.write("half abcd-12"); sys.stdout.flush(); time.sleep(0.4)
print("34-efgh", name, "\\x1b[32mgreen\\x1b[0m"); sys.stdout.write("no end"); sys.exit(7)
"""


def test_a_program_that_asks_can_be_answered(tmp_path: Path) -> None:
    """Its question comes before its line ends; not what may become a secret. Colours and exit codes stay."""
    code = f"from pathlib import Path; import sys; from target_meltano.elt import relay, redaction; sys.exit(relay.run([sys.executable, '-c', {ASKS!r}], Path('.'), {{}}, redaction.Redactor(['abcd-1234-efgh'])))"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as asked:
        assert asked.stdout
        assert asked.stdin
        assert asked.stderr
        said = b""
        while not said.endswith(b"your name? "):
            said += asked.stdout.read(1)
        asked.stdin.write(b"Ada\n")
        rest = asked.stdout.read()
        assert said + rest == b"line one\nyour name? half **** Ada \x1b[32mgreen\x1b[0m\nno end"
        assert asked.stderr.read() == b"token is ****\n"
    assert asked.returncode == 7


def test_ctrl_c_is_for_the_program(tmp_path: Path) -> None:
    """Which has our process group, and whose exit status is ours."""
    code = "from pathlib import Path; import sys, signal; from target_meltano.elt import relay, redaction; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    inner = "import signal, sys, time\nsignal.signal(signal.SIGINT, lambda *_: sys.exit(9))\nprint('ready', flush=True); time.sleep(60)"
    code += f"sys.exit(relay.run([sys.executable, '-c', {inner!r}], Path('.'), {{}}, redaction.Redactor([])))"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as running:
        assert running.stdout
        assert running.stdout.readline() == b"ready\n"
        os.killpg(running.pid, signal.SIGINT)
        assert running.wait(20) == 9
