"""The warehouse as the wrapper meets it: through its target, and in the variables that dbt connects by."""

from __future__ import annotations

import getpass
import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

from . import executables, libpq, processes
from .errors import ProjectError, RunError
from .project import Project, Tap
from .redaction import SHORTEST, Redactor, forms

_PREFIX = "TARGET_MELTANO_POSTGRES_"  # of the variables that the target reads settings from
EMBEDDED_DATABASE = "TARGET_MELTANO_DATABASE"  # of the embedded server, where it is not its only one
_CONNECTION = ("url", "host", "port", "user", "password", "dbname")
_FILES = ("sslmode", "sslrootcert", "sslcert", "sslkey")
_DBT_HAS_ITS_OWN = ("keepalives", "tcp_user_timeout", "application_name", "fallback_application_name")  # and what begins so
_LONGEST = 100_000  # bytes of a variable; Linux takes 128 KiB
_MOST = 500_000  # of all that are only to be hidden; a program does not start with more than 2 MiB in all
_ALIASES = {"database": "dbname", "username": "user"}


def command(project: Project) -> list[str]:
    """Return the target's program with its arguments."""
    return executables.find(project.warehouse.executable, project.folder)


def environment(project: Project, own: Path | None = None) -> dict[str, str]:
    """Return the environment of the target, or of dbt in *own*; nothing in it leads from the embedded server elsewhere."""
    ours = executables.variables(own)
    if project.warehouse.type != "embedded":
        return ours
    settings = {f"{_PREFIX}{name}".upper() for name in (*_CONNECTION, *_FILES)}
    review = {EMBEDDED_DATABASE: project.warehouse.review} if project.warehouse.review else {}
    return {name: value for name, value in ours.items() if name not in settings and not name.startswith("PG")} | review


def settings(project: Project, tap: Tap, *, full_refresh: bool = False) -> dict[str, Any]:
    """Return the target's settings for *tap*."""
    given = {**project.warehouse.settings, **tap.settings}
    if full_refresh and not keeps_versions(given):
        given["load_method"] = "overwrite"  # the old rows stay until all new ones are there
    pii = pii_of(project, tap)
    return {**given, **({"pii": pii} if pii else {}), "schema": tap.schema, "state_id": project.state_of(tap)}


def keeps_versions(settings: Mapping[str, Any]) -> bool:
    """Tell whether tables have every version of a record, by the target's *settings*."""
    return settings.get("load_method") == "append"


def pii_of(project: Project, tap: Tap) -> dict[str, Any]:
    """Return the target's setting pii for *tap*."""
    return pii_for(project.pii, tap.name)


def pii_for(pii: Mapping[str, Any], tap: str | None) -> dict[str, Any]:
    """Return the section *pii* as a target takes it: with the rules for *tap*, and those for all taps."""
    found = dict(pii)
    for part in ("rules", "transformations"):
        mine = [rule for rule in found.pop(part, ()) if rule.get("tap", tap) == tap]
        if mine:
            found[part] = [{key: value for key, value in rule.items() if key != "tap"} for rule in mine]
    return found if "rules" in found or "transformations" in found or "plain" in found else {}


@contextmanager
def held(project: Project) -> Iterator[Mapping[str, Any]]:
    """Keep the embedded server up, if it is the one, and yield the settings that say where the database is.

    Raises:
        RunError: the server does not start.
    """
    if project.warehouse.type != "embedded":
        yield project.warehouse.settings
        return
    ours, target, redact = environment(project), command(project), Redactor(project.secrets)
    # The server is up as long as somebody uses it; when we die, psql sees the end of its input.
    psql = [*target, "db", "psql", "--no-psqlrc", "--quiet"]
    with subprocess.Popen(
        psql, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ours, text=True, start_new_session=True
    ) as user:
        assert user.stdin is not None
        assert user.stdout is not None
        assert user.stderr is not None
        try:
            user.stdin.write("\\echo ready\n")
            user.stdin.flush()
            is_ready = user.stdout.readline() == "ready\n"
        except BrokenPipeError:
            is_ready = False
        if not is_ready:
            told = redact(user.stderr.read()).strip().splitlines()[-1:] or ["it does not start"]
            raise RunError(f"the embedded PostgreSQL: {told[0].removeprefix('CRITICAL ')}")
        _, url, _ = processes.output([*target, "db", "url"], project.folder, ours, redact)
        try:
            yield {"url": url.strip()}
        finally:
            user.stdin.close()


def variables(project: Project, given: Mapping[str, Any]) -> dict[str, str]:
    """Return dbt's environment, with what profiles.yml refers to.

    That is libpq's names for PostgreSQL, SNOWFLAKE_NAME for Snowflake; DBT_SCHEMA, DBT_THREADS, DBT_TARGET.

    Raises:
        ProjectError: the *given* settings, and the environment, do not say where the database is.
    """
    dialect = project.warehouse.dialect
    ours = environment(project, executables.environment_of(project.work, executables.DBT))
    found = _postgres(project, given, ours) if dialect == "postgres" else _snowflake(given, ours)
    if project.transform:
        found |= {"DBT_SCHEMA": project.transform.schema, "DBT_THREADS": str(project.transform.threads)}
    quiet = {"DBT_SEND_ANONYMOUS_USAGE_STATS": "False", "DO_NOT_TRACK": "1"}
    made = {**ours, **quiet, **found, "DBT_TARGET": dialect}
    return {**made, **_scrubbed(project.secrets | _secrets_of(made))}


def _scrubbed(secrets: Iterable[str]) -> dict[str, str]:
    """Return variables with *secrets* in the forms that programs write them in: what is in such a one, dbt hides in its log and messages."""
    found = {form for secret in secrets for part in (secret, *secret.splitlines()) if len(part.strip()) >= SHORTEST for form in forms(part)}
    found |= {json.dumps(form, ensure_ascii=is_ascii)[1:-1] for form in found for is_ascii in (True, False)}  # of its log as JSON
    found = {form for form in found if len(form.strip()) >= SHORTEST and len(form) <= _LONGEST and "\0" not in form}
    shortest = sorted(found, key=len)
    sizes = accumulate(len(form.encode("utf-8", "surrogatepass")) for form in shortest)
    kept = [form for form, size in zip(shortest, sizes, strict=True) if size <= _MOST]
    return {f"DBT_ENV_SECRET_ELT_{number:04}": form for number, form in enumerate(reversed(kept))}


def _secrets_of(variables: Mapping[str, str]) -> set[str]:
    """Return what dbt signs in by, wherever it comes from."""
    return {variables[name] for name in ("PGPASSWORD", "SNOWFLAKE_PASSWORD", "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE", "SNOWFLAKE_TOKEN") if name in variables}


def redactor(project: Project, variables: Mapping[str, str]) -> Redactor:
    """Return what hides the secrets of a project, and those that dbt signs in by."""
    return Redactor(project.secrets | _secrets_of(variables))


def _postgres(project: Project, given: Mapping[str, Any], ours: Mapping[str, str]) -> dict[str, str]:
    named = {_ALIASES.get(name, name): value for name, value in given.items()}
    known = {name: ours.get(f"{_PREFIX}{name}".upper()) for name in (*_CONNECTION, *_FILES)}
    known |= {name: str(value) for name, value in named.items() if name in known and value is not None}
    parts = _parts(project, known.pop("url")) | {name: value for name, value in known.items() if value}
    found = {variable: parts[name] for name, variable in libpq.VARIABLES.items() if name in parts}
    where = {name: found.get(name) or ours.get(name) for name in ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE")}
    _refuse(project, parts, ours, where["PGPORT"] or "")
    if not any(where.values()) and not (found.get("PGHOSTADDR") or ours.get("PGHOSTADDR")):
        raise ProjectError(
            f"{project.folder / 'elt.yml'}: warehouse.settings: nothing says where the database is; "
            "give url, or host, user and dbname, or set PGHOST; or use type: embedded"
        )
    user = where["PGUSER"] or getpass.getuser()
    defaults = {"PGHOST": "", "PGUSER": user, "PGDATABASE": user}  # no host is libpq's own socket, or PGHOSTADDR, for dbt as for the target
    port = next((port for port in (where["PGPORT"] or "").split(",") if port), "5432")
    return {**defaults, **{name: value for name, value in where.items() if value}, **found, "PGPORT": port}


def _refuse(project: Project, parts: Mapping[str, str], ours: Mapping[str, str], ports: str) -> None:
    """Refuse what the target connects by, and dbt cannot.

    Raises:
        ProjectError: naming it.
    """
    at = f"{project.folder / 'elt.yml'}: warehouse.settings"
    service = "service" in parts or ("PGSERVICE" in ours and not {"host", "user", "dbname"} <= parts.keys())
    others = [name for name in parts if name not in (*libpq.VARIABLES, "service") and not name.startswith(_DBT_HAS_ITS_OWN)]
    if service:
        raise ProjectError(f"{at}: dbt cannot connect by a service of pg_service.conf; give host, port, user, password and dbname")
    if others:
        raise ProjectError(f"{at}.url: dbt cannot connect by {', '.join(sorted(others))}; take it away")
    if len({port or "5432" for port in ports.split(",")}) > 1:
        raise ProjectError(f"{at}: dbt takes one port for all hosts, and here is one for each: {ports}; let them be the same, or name one host")


def _parts(project: Project, url: str | None) -> dict[str, str]:
    """Return the parts of *url*, of which the target would refuse the same."""
    try:
        parts = libpq.parse(url or "")
    except ValueError:
        parts = {"port": "none"}
    if "@" in parts.get("host", "") or not all(port.isdigit() or not port for port in parts.get("port", "").split(",")):
        raise ProjectError(
            f"{project.folder / 'elt.yml'}: warehouse.settings.url: wanted postgresql://user:password@host:port/dbname, "
            "with %40 for @, %2F for /, %3A for : and %3F for ? in the password, or host=… dbname=…, with quotes around a password with blanks"
        )
    return {name: value for name, value in parts.items() if value}


def _snowflake(given: Mapping[str, Any], ours: Mapping[str, str]) -> dict[str, str]:
    names = {"username": "user", "dbname": "database", "private_key_path": "private_key_file", "token_file_path": "token_file"}
    texts = {names.get(name, name): str(value) for name, value in given.items() if isinstance(value, str | int)}
    prefix = "TARGET_MELTANO_SNOWFLAKE_"
    known = {name.removeprefix(prefix): value for name, value in ours.items() if name.startswith(prefix)}
    return {f"SNOWFLAKE_{name}".upper(): value for name, value in {**known, **texts}.items()}
