"""elt.yml: what a project says, checked as a whole.

`read` gives it as data. Every fault is told at once, with file and line; values never are.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from . import document, ownership, reviewed, settings
from .document import MOST_FAULTS, Document, Key
from .errors import ProjectError
from .processes import plain
from .redaction import Redactor
from .variables import Expansion, Reference, forms, references, secret_variables

FILE = "elt.yml"
WORK = ".elt"  # what we write in a project: environments, logs, locks; not for version control
SCHEMA = Path(__file__).with_name("elt.schema.json")
MOST_JOBS = 100
PACKAGES = {  # what `install` installs for dbt; 1.12 cannot be installed from a package index alone
    "postgres": "dbt-core>=1.10.5,<1.12 dbt-postgres>=1.9",
    "snowflake": "dbt-core>=1.10.5,<1.12 dbt-snowflake>=1.10",
}
_CI_TEXT = re.compile(r"(?:[^$]|\$\$(?!\[\[|\{\{)|\$[A-Za-z_][A-Za-z0-9_]*|\$\{[A-Za-z_][A-Za-z0-9_]*\})*")
_CRON = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 6)}


@dataclass(frozen=True)
class Tap:
    """A source. *executable* is a name or path with its arguments; *catalog* is discover, none or a file.

    *withheld* are variables that its process does not get: secrets that only other sections name.
    """

    name: str
    executable: tuple[str, ...]
    schema: str
    pip_url: str | None = None
    python: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    catalog: str = "discover"
    catalog_option: str = "catalog"
    select: tuple[str, ...] = ()
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    freshness: Mapping[str, str] = field(default_factory=dict)
    withheld: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Warehouse:
    """Where it goes: embedded, postgres or snowflake. *settings* are the target's.

    *review* is the database of a review, in which everything happens instead; the settings name it already.
    """

    type: str
    executable: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    review: str | None = None

    @property
    def dialect(self) -> str:
        return "postgres" if self.type == "embedded" else self.type


@dataclass(frozen=True)
class Transform:
    """The dbt project in the folder *project*. No *executable*: the one that `install` installs.

    *review* is the schema of a review beside production's, in which models are built; *schema* is that, too.
    """

    project: Path
    pip_url: str
    executable: tuple[str, ...] | None = None
    python: str | None = None
    schema: str = "analytics"
    threads: int = 4
    review: str | None = None


@dataclass(frozen=True)
class Ci:
    """What `ci` writes files from. *install* is what pip installs; *variables* are further ones that jobs need."""

    schedule: str = "17 3 * * *"
    image: str = "python:3.12.12-slim-bookworm"
    install: str = ""
    branch: str = "main"
    variables: tuple[str, ...] = ()
    name: str = "elt"


@dataclass(frozen=True)
class Project:
    """A folder with an elt.yml. *secrets* are the texts that must not be shown, *variables* what the file refers to.

    *schemas* are those of all taps of the file, also of those that are not asked for.
    """

    folder: Path
    environment: str
    warehouse: Warehouse
    taps: Mapping[str, Tap]
    transform: Transform | None
    state_id: str = "{environment}:{tap}"
    jobs: int = 4
    pii: Mapping[str, Any] = field(default_factory=dict, repr=False)
    review: Mapping[str, Any] = field(default_factory=dict)
    ci: Ci = field(default_factory=Ci)
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    variables: tuple[Reference, ...] = ()
    schemas: Mapping[str, str] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        return self.folder / WORK

    def state_of(self, tap: Tap) -> str:
        """Return the name under which the warehouse keeps the STATE of *tap*."""
        return self.state_id.replace("{environment}", self.environment).replace("{tap}", tap.name)


def read(
    folder: Path,
    taps: Collection[str] | None = None,
    environment: str | None = None,
    *,
    only: Collection[str] | None = None,
    review: Mapping[str, str] | None = None,
) -> Project:
    """Return the project in *folder*, with all taps, or those that are named.

    With *only* the variables of these sections are looked up; of taps those that an installation needs.
    *review* has the variables of review.env: else they are those of the environment.

    Raises:
        ProjectError: with a line per fault.
    """
    source, faults = _read(folder)
    _choose(source, taps)
    about: settings.About = {}
    if only is None or "warehouse" in only:
        executable = _command(source.value["warehouse"].get("executable")) or (_target(source.value["warehouse"]["type"]),)
        about = settings.about(executable, folder.resolve(), lambda text: Redactor(_secrets(source, None))(plain(text)))
        faults += settings.faults(source, about)
    faults += _meaning(source)
    shadowed = os.environ if review is None else review
    faults += _owners(source, partial(_known, source), shadowed.get(reviewed.SCHEMA))
    expansion = Expansion(source, os.environ, lambda at: settings.is_secret(at, about))
    value = _expanded(source, expansion, taps, only)
    faults += expansion.faults
    if faults:
        raise _wrong(source.path, faults)
    made = _project(folder.resolve(), value, taps, environment, frozenset(expansion.secrets | _secrets(source, about)))
    withheld = _withheld(source.value)
    made = replace(made, taps={name: replace(tap, withheld=withheld[name]) for name, tap in made.taps.items()})
    made = replace(made, schemas=ownership.schemas(source.value, partial(_known, source)))
    if only is not None and "warehouse" not in only:  # whose url has no variables replaced
        shadowed = {name: value for name, value in shadowed.items() if name != reviewed.DATABASE}
    return reviewed.within(made, shadowed)


def _secrets(source: Document, about: settings.About | None) -> set[str]:
    """Return the secrets of all sections, as far as they are there: programs get the environment, also where a command needs none of it.

    Without *about*, which tells the secret settings of the target, each of them counts as one.
    """

    def is_secret(at: Key) -> bool:
        return settings.is_secret(at, about or {}) or (about is None and at[:2] == ("warehouse", "settings"))

    expansion = Expansion(source, os.environ, is_secret)
    _expanded(source, expansion, None, None)
    prefix = f"{_target(source.value['warehouse']['type'])}-".replace("-", "_").upper()
    # What a target reads by itself counts as if the file named it.
    section, secrets = ("warehouse", "settings"), [name for name, one in (about or {}).items() if one.get("secret")]
    named = [(("pii",), "key", _hash_key(source.value)), (section, "password", "PGPASSWORD"), *((section, name, f"{prefix}{name.upper()}") for name in secrets)]
    for place, name, variable in named:
        if variable in os.environ:
            expansion.value({name: f"${{{variable}}}"}, place)
    return expansion.secrets


def _withheld(value: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Return the variables with secrets of others that each tap does not get: those that only other sections name."""
    all_secrets = {_hash_key(value), *secret_variables({key: child for key, child in value.items() if key != "ci"})}
    shared = set(value.get("ci", {}).get("variables", ()))
    return {name: frozenset(all_secrets - {one.name for one in references(tap)} - shared) for name, tap in value["taps"].items()}


def _hash_key(value: Mapping[str, Any]) -> str:
    """Return the variable that the target reads the key of hashes from by itself."""
    return str(value.get("pii", {}).get("key_env", "TARGET_MELTANO_PII_KEY"))


def as_written(folder: Path) -> Project:
    """Return the project in *folder* with each ${NAME} as it stands: what `read` would refuse is refused, but no variable is needed.

    Raises:
        ProjectError: with a line per fault.
    """
    source, faults = _read(folder)
    faults += _meaning(source)
    written = forms(source, lambda at: settings.is_secret(at, {}))
    _expanded(source, written, None, None)
    faults += written.faults
    faults += _owners(source, lambda value, at: value, None)
    if faults:
        raise _wrong(source.path, faults)
    project = _project(folder.resolve(), source.value, None, None, frozenset())
    return replace(project, variables=tuple(_variables(source.value, project.ci)))


def _variables(value: Mapping[str, Any], ci: Ci) -> list[Reference]:
    """Return what the file refers to, what the section ci names, and what the target needs by itself: the key of hashes."""
    pii = value.get("pii", {})
    needs_key = "key" not in pii and any("hash" in str(rule).lower() for part in ("rules", "transformations") for rule in pii.get(part, ()))
    key = [f"${{{_hash_key(value)}}}"] if needs_key else []
    return references({**value, "ci": [f"${{{name}}}" for name in ci.variables], "key": key})


def check(source: Document) -> None:
    """Refuse a file that `read` refuses for what stands in it; the settings of the target are not looked at.

    Raises:
        ProjectError: with a line per fault.
    """
    faults, has_shape = _structure(source, json.loads(SCHEMA.read_text("utf-8")))
    if faults := [*faults, *(_meaning(source) if has_shape else ())]:
        raise _wrong(source.path, faults)


def _read(folder: Path) -> tuple[Document, list[str]]:
    """Return the file in *folder*, and what its JSON Schema finds.

    Raises:
        ProjectError: there is none, or it is too wrong to be looked at any further.
    """
    path = folder / FILE
    if not path.exists():
        raise ProjectError(f"{path}: is not there; go to the project's folder, or make one: target-meltano init DIR")
    source = document.read(path)
    faults, has_shape = _structure(source, _whole(json.loads(SCHEMA.read_text("utf-8"))))
    if not has_shape:
        raise _wrong(path, faults)
    return source, faults


# --- what is wrong


def _wrong(path: Path, faults: Iterable[str]) -> ProjectError:
    """Return the error with the *faults*, in the order of their lines."""
    told = sorted(dict.fromkeys(faults), key=lambda fault: int(fault.removeprefix(f"{path}:").split(":")[0]))
    if len(told) > MOST_FAULTS:
        told[MOST_FAULTS:] = [f"{path}: has more faults; mend these first"]
    return ProjectError("\n".join(told))


def _whole(schema: Any) -> Any:
    """Return a JSON Schema whose patterns mean in Python what they mean elsewhere: `$` there matches before a last newline, too."""
    if isinstance(schema, list):
        return [_whole(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _whole(one) for name, one in schema.items()}
    if isinstance(made.get("pattern"), str):
        made["pattern"] = _to_the_end(made["pattern"])
    if "patternProperties" in made:
        made["patternProperties"] = {_to_the_end(pattern): one for pattern, one in made["patternProperties"].items()}
    return made


def _to_the_end(pattern: str) -> str:
    return rf"{pattern[:-1]}\Z" if pattern.endswith("$") else pattern


def _structure(source: Document, schema: Mapping[str, Any]) -> tuple[list[str], bool]:
    """Return what the JSON Schema finds, and whether the rest can be looked at all the same."""
    from jsonschema import Draft4Validator  # the newest one that every version of jsonschema has

    faults: list[str] = []
    has_shape = True
    for error in islice(Draft4Validator(schema).iter_errors(source.value), MOST_FAULTS + 1):
        at: Key = tuple(error.absolute_path)
        if error.validator == "additionalProperties":
            faults += islice(_unknown(source, at, error.instance, error.schema), MOST_FAULTS + 1)
            has_shape = has_shape and "patternProperties" not in error.schema  # what has no name that can be is not looked at
        else:
            faults.append(source.fault(at, _words(error)))
            has_shape = has_shape and error.validator in ("pattern", "minimum", "maximum", "minLength")
    return faults, has_shape and len(faults) <= MOST_FAULTS


def _unknown(source: Document, at: Key, found: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    known = schema.get("properties", {})
    if "patternProperties" in schema:
        (pattern,) = schema["patternProperties"]
        wrong = "a name has letters from a to z, digits, - and _, and starts with a letter"
        yield from (source.fault((*at, name), wrong) for name in found if not re.search(pattern, name))
        return
    for name in found:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            yield source.fault((*at, name), f"unknown; {hint}")


def _words(error: Any) -> str:
    """Say what a fault is without the value that is wrong, which may be a secret."""
    kind, wanted = error.validator, error.validator_value
    if kind == "required":
        absent = [name for name in wanted if name not in error.instance]
        return f"missing: {', '.join(absent)}"
    if kind == "type":
        words = {"string": "a text", "integer": "a whole number", "boolean": "true or false", "object": "keys with values", "array": "a list"}
        names = [words.get(name, name) for name in ([wanted] if isinstance(wanted, str) else wanted)]
        return f"wanted {' or '.join(names)}, found {_kind(error.instance)}"
    if kind == "enum":
        return f"wanted {' or '.join(map(str, wanted))}"
    if kind == "minimum":
        return f"wanted {wanted} or more"
    if kind == "maximum":
        return f"wanted {wanted} at most. {error.schema['description']}"
    if kind in ("minLength", "minItems", "minProperties"):
        return "is empty"
    return f"wanted: {error.schema.get('description', error.schema)}"


def _kind(value: Any) -> str:
    words = {str: "a text", int: "a number", float: "a number", bool: "true or false", dict: "keys with values", list: "a list"}
    return words.get(type(value), "nothing")


def _choose(source: Document, taps: Collection[str] | None) -> None:
    """Check that the taps that are asked for are there."""
    known = source.value["taps"]
    for name in taps or ():
        if name not in known:
            raise ProjectError(f"{source.path}: there is no tap {name!r}; there is: {', '.join(known)}")


def _meaning(source: Document) -> Iterator[str]:
    """Yield what is wrong between values that are fine one by one."""
    taps = source.value["taps"]
    ci = source.value.get("ci", {})
    if words := _cron(ci.get("schedule", Ci.schedule)):
        yield source.fault(("ci", "schedule"), words)
    if not _CI_TEXT.fullmatch(ci.get("install", "")):
        yield source.fault(("ci", "install"), "wanted $NAME or ${NAME}, which is a variable of the CI system, or $$, a dollar; $[[ and ${{ are not for here")
    pii = source.value.get("pii", {})
    for part in ("rules", "transformations"):
        for number, rule in enumerate(pii.get(part, ())):
            at: Key = ("pii", part, number)
            if "tap" not in rule and len(taps) > 1 and not rule.get("optional"):
                yield source.fault(at, f"missing: tap; say whose stream it is: {', '.join(taps)}")
            elif rule.get("tap", next(iter(taps))) not in [*taps]:
                yield source.fault((*at, "tap"), f"there is no such tap; there is: {', '.join(taps)}")


def _owners(source: Document, text: ownership.Text, reviewed_schema: str | None) -> Iterator[str]:
    """Yield where two own one schema or name; models of a review are in its schema."""
    transform, dialect = source.value.get("transform"), source.value["warehouse"]["type"].replace("embedded", "postgres")
    models = None if transform is None else reviewed_schema or text(transform.get("schema", Transform.schema), ownership.TRANSFORM)
    yield from ownership.faults(source, text, models, dialect, f"the variable {reviewed.SCHEMA}" if reviewed_schema else "")


def _known(source: Document, value: Any, at: Key) -> Any:
    """Return what stands at *at* with its variables, or as it is where one of them is not set."""
    expansion = Expansion(source, os.environ)
    found = expansion.value(value, at)
    return value if expansion.faults else found


def _cron(text: str) -> str | None:
    """Return what is wrong with a time as cron has it, None if it is fine everywhere that we write it to."""
    fields = text.strip(" ").split(" ")
    fields = [one for one in fields if one]
    if len(fields) != len(_CRON):
        return f"wanted five fields, {', '.join(_CRON)}; found {len(fields)}"
    for found, (name, (least, most)) in zip(fields, _CRON.items(), strict=True):
        for part in found.split(","):
            numbers = re.fullmatch(r"(?:\*|([0-9]{1,4})(?:-([0-9]{1,4}))?)(?:/([1-9][0-9]{0,3}))?", part)
            if not numbers or any(int(one) > most for one in numbers.groups() if one) or any(int(one) < least for one in numbers.groups()[:2] if one):
                return f"{name}: wanted *, a number from {least} to {most}, a range as {least}-{most}, each with a step as */2, or a list of them"
    return None


# --- from values to data


def _expanded(source: Document, expansion: Expansion, taps: Collection[str] | None, only: Collection[str] | None) -> dict[str, Any]:
    """Return the file's value with references replaced: all of it, or *only* sections, less the taps that are not asked for."""
    whole = only is None

    def tap(name: str, value: Mapping[str, Any]) -> Any:
        if taps and name not in taps or only is not None and "taps" not in only:
            return value
        wanted = value if whole else {key: value[key] for key in ("pip_url", "python", "executable") if key in value}
        return {**value, **expansion.value(wanted, ("taps", name))}

    found = {}
    for key, value in source.value.items():
        if key == "taps":
            found[key] = {name: tap(name, one) for name, one in value.items()}
        elif (only is None or key in only) and key != "ci":  # a ${NAME} there is one of the CI system
            found[key] = expansion.value(value, (key,))
        else:
            found[key] = value
    return found


def _project(
    folder: Path, value: Mapping[str, Any], taps: Collection[str] | None, environment: str | None, secrets: frozenset[str]
) -> Project:
    type_ = value["warehouse"]["type"]
    executable = _command(value["warehouse"].get("executable")) or (_target(type_),)
    warehouse = Warehouse(type_, executable, value["warehouse"].get("settings") or {})
    return Project(
        folder=folder,
        environment=environment or value.get("environment", "dev"),
        warehouse=warehouse,
        taps={name: _tap(name, one) for name, one in value["taps"].items() if not taps or name in taps},
        transform=_transform(folder, value["transform"], warehouse) if "transform" in value else None,
        state_id=value.get("state", {}).get("id", Project.state_id),
        jobs=value.get("jobs", Project.jobs),
        pii=value.get("pii", {}),
        review=value.get("review", {}),
        ci=_ci(value.get("ci", {})),
        secrets=secrets,
    )


def _tap(name: str, value: Mapping[str, Any]) -> Tap:
    known = {key: value[key] for key in Tap.__dataclass_fields__ if key in value}
    executable = _command(value["executable"]) or ()
    given = {**known, "executable": executable, "select": tuple(value.get("select", ()))}
    return Tap(**{"name": name, "schema": ownership.default(name), **given})


def _transform(folder: Path, value: Mapping[str, Any], warehouse: Warehouse) -> Transform:
    known = {key: value[key] for key in ("python", "schema", "threads") if key in value}
    return Transform(
        project=folder / value.get("project", "transform"),
        pip_url=value.get("pip_url", PACKAGES[warehouse.dialect]),
        executable=_command(value.get("executable")),
        **known,
    )


def _ci(value: Mapping[str, Any]) -> Ci:
    return Ci(**{**value, "variables": tuple(value.get("variables", ()))})


def _target(warehouse_type: str) -> str:
    return f"target-meltano-{'postgres' if warehouse_type == 'embedded' else warehouse_type}"


def _command(value: str | list[str] | None) -> tuple[str, ...] | None:
    return (value,) if isinstance(value, str) else tuple(value) if value else None
