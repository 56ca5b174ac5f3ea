"""Settings: what they are, where they come from, and what is wrong with them, all at once.

A setting is a field of a frozen dataclass and is documented there. `read` fills it from files and
the environment, `about` describes it for people and programs.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from . import kinds
from .errors import SettingsError

S = TypeVar("S", bound="Settings")
Given = tuple[Any, str, bool]  # a value, where it is from, and whether it is text
OTHERS = {  # names that other targets have for something else than a setting of ours
    "schema_mapping": "schema: a schema per tap, and table_names",
    "validate_records": "validation",
    "stream_maps": "pii for masking, column_names, table_names",
    "add_record_metadata": "always so: timestamp_column and the table __loads",
    "add_metadata_columns": "always so: timestamp_column and the table __loads",
    "data_flattening_max_level": "flatten_depth",
    "flattening_max_depth": "flatten_depth",
    "primary_key_required": "never so: streams without key_properties are appended",
}
PerStream = str | Mapping[str, str]  # one value, or one per stream with "*" for the others


def setting(
    default: Any = None,
    help: str = "",
    *,
    choices: Sequence[str] = (),
    aliases: Sequence[str] = (),
    secret: bool = False,
    least: int | None = None,
    available: Sequence[Any] | None = None,
) -> Any:
    """Return a dataclass field with what `read` and `about` need to know.

    *aliases* are names that other targets have for the same. *available* are the values that work
    so far; None means all.
    """
    about = dict(help=help, choices=choices, aliases=aliases, secret=secret, least=least, available=available)
    if isinstance(default, (dict, list)):
        return field(default_factory=type(default), metadata=about, kw_only=True)
    return field(default=default, metadata=about, kw_only=True)


@dataclass(frozen=True)
class Settings:
    """The settings that every target has."""

    schema: str | None = setting(None, "Schema of the database that the tables are in. Required, but for the embedded server, where it is `raw`.", aliases=("default_target_schema",))
    batch_rows: int = setting(100_000, "Commit after so many rows.", aliases=("batch_size_rows", "batch_size"), least=1)
    batch_bytes: int = setting(64 << 20, "Commit after so many bytes of input.", least=1)
    batch_seconds: float = setting(60.0, "Commit after so many seconds, also while the tap is silent.", least=0)
    max_message_bytes: int = setting(256 << 20, "Longest line that is read, in bytes.", least=1024)
    flatten_depth: int | None = setting(None, "Objects nested deeper than this stay JSON; null: only those whose columns a row cannot fill.", least=0)
    naming: str = setting("fold", "`fold`: to the case of unquoted names; `snake`: createdAt becomes created_at; `preserve`: as it is.", choices=("fold", "snake", "preserve"))
    table_names: Mapping[str, str] = setting({}, "Names of tables: {stream: name}.")
    column_names: Mapping[str, str] = setting({}, 'Names of columns: {"stream.path": name}, as "orders.address.zip".')
    column_types: Mapping[str, str] = setting({}, 'Kinds of columns: {"stream.path": kind}, as "decimal(38,9)"; values that convert exactly are converted.')
    number: str = setting("exact", "Numbers that are no integers and have no `multipleOf`: `exact` keeps all digits, `double` is faster and binary.", choices=("exact", "double"))
    decode_binary: bool = setting(False, "Store strings with contentEncoding base64 or base16 as bytes.")
    excess_digits: str = setting("cut", "Digits of a time beyond microseconds: `cut` and count, or `fail`. In a key they always fail.", choices=("cut", "fail"))
    zero_dates: str = setting("fail", "MySQL's zero date, `0000-00-00`, in a date or date-time: `fail`, or `null` and count.", choices=("fail", "null"))
    naive_timestamps: str = setting("error", "A column of others without time zone: `error`, or `utc`: its times are UTC.", choices=("error", "utc"))
    timestamp_column: str = setting("__loaded_at", "Column with the time at which a record was received; not added where the stream has it.")
    load_method: str = setting("upsert", "`upsert` by key; `append`: keep every version, no key; `overwrite`: replace all rows at the end of a run that is whole.", choices=("upsert", "append", "overwrite"))
    validation: str = setting("types", "`types`: JSON types, the formats that make a column's type, keys; `schema`: every keyword, by jsonschema.", choices=("types", "schema"))
    coerce: str = setting("strict", "Values of another type than the schema's: `strict` refuses, `lossless` converts what converts back exactly.", choices=("strict", "lossless"))
    unknown_fields: str = setting("warn", "Fields that the schema does not name: `warn` and count, `fail`, or `keep` in a JSON column `__extra`.", choices=("warn", "fail", "keep"))
    additional_properties: str = setting("keep", "Members of an object that its schema allows by additionalProperties or patternProperties without naming them: `keep` in a JSON column `parent__extra`, or `unknown`: as unknown_fields says.", choices=("keep", "unknown"))
    on_bad_text: str = setting("fail", "NUL, lone surrogates and invalid UTF-8: `fail`, or `replace` by U+FFFD and count. In a key they always fail.", choices=("fail", "replace"))
    invalid_records: str = setting("fail", "`fail`, or `quarantine` in the table `__rejected`.", choices=("fail", "quarantine"))
    max_rejected: int = setting(1000, "Invalid records in quarantine before the run fails; those of streams that `invalid_schemas` puts aside do not count.", least=0)
    invalid_schemas: str = setting("fail", "A SCHEMA that is refused: `fail`, or `quarantine`: its stream's records go into `__rejected`, all others load, and the run ends with exit code 1.", choices=("fail", "quarantine"))
    absent_fields: PerStream = setting("auto", "Fields absent from a record, in an upsert: `null`, or `keep` the row's value; `auto`: `keep` in log-based streams, which have `_sdc_deleted_at` or `_sdc_lsn`. Records with a time in `_sdc_deleted_at` always keep. Also {stream: value}.", choices=("auto", "null", "keep"))
    hard_delete: bool = setting(False, "Delete the row of a record with a time in `_sdc_deleted_at`; else it stays, with that time. Needs a key.")
    delete_actions: str = setting("refuse", "Where a DELETE would reach other rows by a foreign key's ON DELETE, or by a rule: `refuse` it by name, or `allow` it.", choices=("refuse", "allow"))
    activate_version: str = setting("soft", "ACTIVATE_VERSION: `soft` stamps the rows of older versions, `hard` deletes them, `ignore`.", choices=("soft", "hard", "ignore"))
    max_deletes_percent: float | None = setting(None, "Largest share of a table's rows that ACTIVATE_VERSION may delete, in percent; null: all.", least=0)
    schema_changes: PerStream = setting("upgrade", "What a table may follow: `upgrade` adds columns and widens types, `add`, `fail`; also {stream: value}.", choices=("upgrade", "add", "fail"))
    narrowing: PerStream = setting("error", "A stream's type narrower than its column's: `error`, or `keep` the column; also {stream: value}.", choices=("error", "keep"))
    narrow_columns: PerStream = setting("widen", "A column of others that holds less than ours, `integer`, `varchar(10)`: `widen`, or `keep`: values that do not fit are invalid records; also {stream: value}.", choices=("widen", "keep"))
    max_rewrite_rows: int = setting(10_000_000, "Largest table, in rows, that a type change may rewrite.", least=0)
    state_id: str | None = setting(None, "Name of a pipeline: commit at STATEs only and keep the STATE in `__state`.")
    batch_root: str | None = setting(None, "Folder below which files of BATCH messages may be read.")
    grants: Mapping[str, Any] = setting({}, "Roles that may read the streams' tables, and use their schema: {select: [role, …]}.")
    indexes: Mapping[str, Any] = setting({}, "Indexes per stream: {stream: [[name, …], …]}, by paths of properties or names of columns.")
    pii: Mapping[str, Any] | list[Any] = setting({}, "Rules for personal data, applied before anything is buffered, logged or stored: docs/pii.md.")

    pii_unlisted: str = setting("alike", "Streams that neither a rule of `pii` nor its `plain` names: `fail` at their SCHEMA, or only where a name is `alike` one of a rule that has not come.", choices=("alike", "fail"))

    def for_stream(self, name: str, stream: str) -> str:
        """Return the value of a `PerStream` setting for *stream*."""
        value = getattr(self, name)
        if isinstance(value, str):
            return value
        default = next(f.default for f in dataclasses.fields(self) if f.name == name)
        return str(value.get(stream, value.get("*", default)))

    def faults(self) -> Iterable[str]:
        """Yield what is wrong between settings that are fine one by one."""
        for name, kind in self.column_types.items():
            try:
                kinds.parse(kind)
            except ValueError as error:
                yield f"column_types: {name}: {error}"
        if set(self.grants) - {"select"} or not all(map(_are_names, self.grants.values())):
            yield "grants: wanted {select: [role, …]}"
        if not all(isinstance(lists, list) and all(map(_are_names, lists)) for lists in self.indexes.values()):
            yield "indexes: wanted {stream: [[name, …], …]}, a list of names for each index"
        if self.pii or self.pii_unlisted == "fail":
            from . import pii  # only where it is needed: it takes 50 ms

            yield from pii.faults_of(self.pii, self.pii_unlisted)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


def read(
    cls: type[S],
    files: Iterable[str | Path],
    environment: Mapping[str, str],
    prefix: str,
    tell: Callable[[str], None] = lambda text: None,
) -> S:
    """Return settings from JSON *files*, later ones over earlier ones, and these over PREFIX_NAME variables.

    *tell* is called with the names of variables for which a file has another value.

    Raises:
        SettingsError: naming everything that is wrong.
    """
    found: dict[str, Given] = {}
    faults: list[str] = []
    for path in files:
        for name, value in _file(path, faults).items():
            found[_canonical(cls, name)] = (value, str(path), False)
    hints, overruled = get_type_hints(cls), []
    for name, (text, variable, _) in _variables(cls, environment, f"{prefix}_".upper(), found).items():
        if name not in found:
            found[name] = (text, variable, True)
        elif name in hints and not _is_same(_from_text(text, hints[name]), found[name][0]):
            overruled.append(f"{variable} by {found[name][1]}")
    if overruled:
        tell(f"settings of files win over variables, and have other values: overruled is {', '.join(overruled)}")
    return _build(cls, found, faults)


def _variables(cls: type[Settings], environment: Mapping[str, str], start: str, given: Mapping[str, Given]) -> dict[str, Given]:
    """Return what variables whose names *start* so say, known or not.

    Meltano has some of its own, with two `_`, and the parts of an object beside the file that has the whole.
    """
    found: dict[str, Given] = {}
    parts = {re.sub(r"\W", "_", f"{name}_{key}").lower() for name, (value, *_) in given.items() if isinstance(value, dict) for key, _ in _dotted(value)}
    for variable in sorted(environment):
        name = variable.removeprefix(start).lower()
        if not variable.startswith(start) or name.startswith("_") or not environment[variable] or name in parts:
            continue
        found.setdefault(_canonical(cls, name), (environment[variable], f"variable {variable}", True))
    return found


def _is_same(one: Any, other: Any) -> bool:
    """Tell whether two spellings are of one value: True and "true", an object and its keys joined by dots."""
    one, other = (dict(_dotted(value)) if isinstance(value, dict) else value for value in (one, other))
    return bool(one == other) or str(one).lower() == str(other).lower()


def make(cls: type[S], **values: Any) -> S:
    """Return settings from Python values, checked like those of a file."""
    return _build(cls, {_canonical(cls, name): (value, "settings", False) for name, value in values.items()}, [])


def _file(path: str | Path, faults: list[str]) -> dict[str, Any]:
    try:
        content = json.loads(Path(path).read_text("utf-8"), object_pairs_hook=_once)
    except _Twice as error:
        faults.append(f"{path}: {error}: it is there twice")
    except OSError as error:
        faults.append(f"{path}: {error.strerror}")
    except ValueError as error:
        faults.append(f"{path}: not JSON: {error}")
    else:
        if isinstance(content, dict):
            return content
        faults.append(f"{path}: wanted a JSON object of settings")
    return {}


class _Twice(ValueError):
    """A key of a JSON object comes twice."""


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        names = [name for name, _ in members]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return found


def _canonical(cls: type[Settings], name: str) -> str:
    for known in dataclasses.fields(cls):
        if name in known.metadata["aliases"]:
            return known.name
    return name


def _build(cls: type[S], found: Mapping[str, tuple[Any, str, bool]], faults: list[str]) -> S:
    fields = {f.name: f for f in dataclasses.fields(cls)}
    hints = get_type_hints(cls)
    values = {}
    for name, (value, where, is_text) in sorted(found.items()):
        if name not in fields:
            faults.append(f"{name}: unknown{_meant(name, fields)} ({where})")
            continue
        try:
            values[name] = _checked(fields[name], hints[name], _from_text(value, hints[name]) if is_text else value)
        except ValueError as error:
            faults.append(f"{name}: {error} ({where})")
    if not faults:
        settings = cls(**values)
        faults.extend(settings.faults())
        if not faults:
            return settings
    raise SettingsError(f"settings: {'; '.join(faults)}")


def _meant(name: str, fields: Mapping[str, dataclasses.Field[Any]]) -> str:
    """Return what somebody may have meant who wrote *name*, in words."""
    import difflib

    if name in OTHERS:
        return f", here it is {OTHERS[name]}"
    whole = next((known for known in fields if name.startswith(f"{known}_") and fields[known].default is MISSING), None)
    near = difflib.get_close_matches(name, fields, 1)
    if whole and not difflib.get_close_matches(name, near, 1, 0.85):
        return f", did you mean {whole}, a JSON object?"
    return f", did you mean {near[0]}?" if near else ""


def _from_text(text: str, hint: Any) -> Any:
    """Read the value of an environment variable: JSON, but for settings that are text."""
    if hint in (str, str | None):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _checked(known: dataclasses.Field[Any], hint: Any, value: Any) -> Any:
    about = known.metadata
    if value is None and (known.default is None or known.default is MISSING):
        return known.default if known.default is None else {}
    if known.name == "port" and isinstance(value, str) and value.isdigit():
        value = int(value)  # other targets take it either way
    if isinstance(value, dict) and known.name != "pii":
        value = dict(_dotted(value))
    if not _has_type(value, hint):
        raise ValueError(f"wanted {_type_words(hint)}, found {_kind_of(value)}")
    if hint == Mapping[str, str]:
        for key, one in value.items():
            if not isinstance(one, str):
                raise ValueError(f"{key}: wanted a string, found {_kind_of(one)}")
    if about["least"] is not None and value < about["least"]:
        raise ValueError(f"wanted {about['least']} or more, found {value}")
    chosen = list(value.values()) if isinstance(value, Mapping) and about["choices"] else [value]
    for one in chosen:
        if about["choices"] and one not in about["choices"]:
            raise ValueError(f"wanted {' or '.join(about['choices'])}, found {one!r}")
    if about["available"] is not None and value not in about["available"]:
        raise ValueError(f"{json.dumps(value)} is not available yet in this version")
    return value


def _dotted(value: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what is in *value*, with the keys of objects within objects joined by dots: Meltano takes them apart."""
    for key, one in value.items():
        if isinstance(one, dict):
            yield from _dotted(one, f"{start}{key}.")
        else:
            yield f"{start}{key}", one


def _has_type(value: Any, hint: Any) -> bool:
    wanted = _python_types(hint)
    if isinstance(value, bool):
        return bool in wanted
    return isinstance(value, (*wanted, int) if float in wanted else wanted)


def _python_types(hint: Any) -> tuple[type, ...]:
    parts = getattr(hint, "__args__", ()) if getattr(hint, "__origin__", None) is None else ()
    if parts:
        return tuple(t for part in parts if part is not type(None) for t in _python_types(part))
    if getattr(hint, "__origin__", None) is not None:
        return (list,) if hint.__origin__ is list else (dict,)
    return (hint,)


def _type_words(hint: Any) -> str:
    words = {str: "a string", int: "an integer", float: "a number", bool: "true or false", dict: "an object", list: "a list"}
    return " or ".join(words[t] for t in _python_types(hint))


def _kind_of(value: Any) -> str:
    words = {str: "a string", int: "an integer", float: "a number", bool: "a boolean", dict: "an object", list: "an array"}
    return "null" if value is None else words[type(value)]


def about(cls: type[Settings], prefix: str) -> list[dict[str, Any]]:
    """Return one description per setting: name, type, default, choices, help, aliases, variable."""
    hints = get_type_hints(cls)
    return [
        {
            "name": known.name,
            "type": _type_words(hints[known.name]).replace("an ", "").replace("a ", ""),
            "default": {} if known.default is MISSING else known.default,
            "choices": list(known.metadata["choices"]),
            "help": known.metadata["help"],
            "aliases": list(known.metadata["aliases"]),
            "secret": known.metadata["secret"],
            "variable": f"{prefix}_{known.name}".upper(),
            "available": known.metadata["available"] is None or list(known.metadata["available"]),
        }
        for known in dataclasses.fields(cls)
    ]


def about_markdown(cls: type[Settings], prefix: str) -> str:
    """Return the table of settings for the README."""
    lines = ["| setting | default | what it does |", "|---|---|---|"]
    for known in about(cls, prefix):
        default = "" if known["default"] is None else f"`{json.dumps(known['default'])}`"
        also = f" Also: {', '.join(f'`{alias}`' for alias in known['aliases'])}." if known["aliases"] else ""
        lines.append(f"| `{known['name']}` | {default} | {known['help']}{also}{_not_yet(known)} |")
    return "\n".join(lines)


def _not_yet(known: Mapping[str, Any]) -> str:
    if known["available"] is True:
        return ""
    return " *Not available yet.*" if len(known["available"]) == 1 else f" *Available so far: {', '.join(known['available'])}.*"
