"""${NAME} in a project's texts, and the secrets that come by it, which are never shown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from . import secrecy
from .document import Document, Key

_REFERENCE = re.compile(r"\$(\$)|\$\{([^}]*)\}")
_COMES = "\ue000"  # stands for what comes by a reference
_IN_CLEAR = "a secret stands here in clear text; put it into the environment and write ${NAME}, or ${file:PATH}"


@dataclass(frozen=True)
class Reference:
    """What elt.yml takes from outside: a variable, or a file. Optional, it has a default."""

    name: str
    is_secret: bool = False
    is_optional: bool = False
    is_file: bool = False


@dataclass
class Expansion:
    """Puts values in the place of references, and gathers what is wrong and what is secret."""

    document: Document
    environment: Mapping[str, str]
    is_secret: Callable[[Key], bool] = lambda at: False
    faults: list[str] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)

    def value(self, value: Any, at: Key) -> Any:
        """Return *value*, which stands at *at*, with all references in it replaced."""
        if isinstance(value, dict):
            return {name: self.value(child, (*at, name)) for name, child in value.items()}
        if isinstance(value, list):
            return [self.value(child, (*at, number, *secrecy.option(value[:number], child))) for number, child in enumerate(value)]
        if not isinstance(value, str):
            if isinstance(value, int | float) and secrecy.refuses(at, value):
                self._fault(at, _IN_CLEAR)
            return value
        if value.startswith("${json:") and value.endswith("}") and value.count("${") == 1:
            return self._json(value[7:-1], at)
        inner = secrecy.json_in(value)
        self.value(inner, at)  # its faults and secrets
        if inner is None or not value.lstrip().startswith(("{", "[")):  # base64 of JSON is a literal, too
            self._refuse_literal(value, at)
        whole = self._replaced(value, at)
        self._keep_parts((part for part in secrecy.parts(whole, ()) if part[0] != whole), at, "")
        self._keep_passwords(whole)
        self._keep_by_place(value, at)
        self.secrets |= {self._replaced(user, at) for user in secrecy.lone_users(value) if "${" in user}
        return whole

    def _replaced(self, value: str, at: Key) -> str:
        return _REFERENCE.sub(lambda found: "$" if found[1] else self._reference(found[2], at), value)

    def _reference(self, reference: str, at: Key) -> str:
        if reference.startswith("file:"):
            text = self._file(reference[5:], at)
            self.secrets.add(text)  # and what is named so in it, whose lines may come apart
            return self._kept(text, at, "")
        name, has_default, default = reference.partition(":-")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            self._fault(at, "wanted ${NAME}, ${NAME:-default}, ${json:NAME} or ${file:PATH}; $$ is a dollar")
            return ""
        found = self.environment.get(name) or (default if has_default else None)
        if found is None:
            hint = "" if secrecy.hides(name, at) or self.is_secret(at) else f", or write ${{{name}:-default}}"
            self._fault(at, f"the environment variable {name} is not set; set it{hint}")
            return ""
        if any("\udc80" <= char <= "\udcff" for char in found):  # so Python escapes such bytes
            self._fault(at, f"the environment variable {name} is not UTF-8 text")
            return ""
        return found if found == default else self._kept(found, at, name)

    def _file(self, path: str, at: Key) -> str:
        try:
            return Path(self.document.path.parent, path).expanduser().read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            self._fault(at, f"the file {path}: {getattr(error, 'strerror', None) or 'is not UTF-8 text'}")
            return ""

    def _json(self, name: str, at: Key) -> Any:
        text = self.environment.get(name)
        if text is None:
            self._fault(at, f"the environment variable {name} is not set")
            return None
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            self._fault(at, f"the environment variable {name} is no JSON")
            return None
        for read in (value, secrecy.json_in(text) or text.strip()):  # which has numbers as they are written
            self._keep_parts(secrecy.parts(read, ()), at, name)
        return value

    def _kept(self, value: str, at: Key, name: str) -> str:
        """Note what is secret of *value*, which comes by the variable *name*, or from a file, to the place *at*."""
        self.secrets.update(secrecy.lone_users(value))
        self._keep_parts(secrecy.parts(value, ()), at, name)
        return value

    def _keep_parts(self, parts: Iterable[tuple[str, Key]], at: Key, name: str) -> None:
        """Note those *parts* of a value as secrets that are named so, on the way to the value or in it, or by the variable *name*."""
        for part, where in parts:
            is_named = secrecy.hides("", (*at, *where)) or secrecy.hides("", (name, *where)) if where else secrecy.hides(name, at)
            if (is_named or self.is_secret(at)) and not secrecy.is_switch(part):
                self.secrets.add(part)
            self._keep_passwords(part)

    def _keep_passwords(self, value: str) -> None:
        for password in secrecy.passwords(value):
            self.secrets |= {password, unquote(password)}

    def _keep_by_place(self, value: str, at: Key) -> None:
        """Note what comes to where *value* has a password, whatever characters are in it."""
        found = [one[0] for one in _REFERENCE.finditer(value)]
        marks = [chr(ord(_COMES) + number) for number in range(len(found))]
        numbered, known = iter(marks), dict(zip(marks, found, strict=True))
        for password in secrecy.passwords(_REFERENCE.sub(lambda one: next(numbered), value)) if found else ():
            self.secrets.add(self._replaced("".join(known.get(char, char) for char in password), at))

    def _refuse_literal(self, value: str, at: Key) -> None:
        """Refuse a secret that stands in the file, as a value or as the default of a variable; a URL is one if there is a password in it."""
        found = [(name, default) for escaped, text in _REFERENCE.findall(value) if not escaped for name, _, default in [text.partition(":-")]]
        is_named = secrecy.refuses(at, value) or (self.is_secret(at) and "://" not in value and not secrecy.passwords(value))
        if value and not found and is_named:
            self._fault(at, _IN_CLEAR)
        elif name := next((name for name, default in found if default and (is_named or secrecy.is_named(name))), None):
            self._fault(at, f"the default of {name} is a secret in clear text; write ${{{name}}} without one")
        elif any(password.strip(_COMES) for password in secrecy.passwords(_REFERENCE.sub(lambda one: one[1] or _COMES + _default(one[2]), value))):
            self._fault(at, _IN_CLEAR)

    def _fault(self, at: Key, words: str) -> None:
        self.faults.append(self.document.fault(at, words))


class Forms(Expansion):
    """What is wrong with a file as it is written: nothing is looked up, and each variable and file is as if it were there."""

    def _reference(self, reference: str, at: Key) -> str:
        return "" if reference.startswith("file:") else super()._reference(reference, at)

    def _json(self, name: str, at: Key) -> Any:
        super()._reference(name, at)


class _Everything(dict[str, str]):
    """An environment in which all variables are set."""

    def get(self, name: str, default: Any = None) -> str:
        return "set"


def forms(document: Document, is_secret: Callable[[Key], bool]) -> Forms:
    """Return what finds the faults of a file that needs no variable."""
    return Forms(document, _Everything(), is_secret)


def references(value: Any, at: Key = ()) -> list[Reference]:
    """Return what *value*, which stands at *at*, refers to; by name, each once. A file, an address or JSON counts as secret."""
    found: dict[str, Reference] = {}
    for one in _references(value, at):
        before = found.get(one.name, one)
        secret, optional = one.is_secret or before.is_secret, one.is_optional and before.is_optional
        found[one.name] = Reference(one.name, secret, optional, one.is_file)
    return sorted(found.values(), key=lambda one: one.name)


def _references(value: Any, at: Key) -> Iterable[Reference]:
    if isinstance(value, dict | list):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _references(child, (*at, key))
    for escaped, text in _REFERENCE.findall(value) if isinstance(value, str) else ():
        kind, _, rest = text.rpartition(":") if text.startswith(("file:", "json:")) else ("", "", text)
        name, has_default, _ = (rest, "", "") if kind else rest.partition(":-")
        is_secret = bool(kind or secrecy.hides(name, at) or secrecy.last_name(at) in ("url", "key"))
        if not escaped:
            yield Reference(name, is_secret, bool(has_default), kind == "file")


def secret_variables(value: Any) -> set[str]:
    """Return the variables with secrets that *value* refers to; of an address those that are named so, or are all of it."""
    found = set()
    for text, at in secrecy.parts(value, ()):
        for one in _references(text, at):
            is_named = secrecy.hides(one.name, at)
            if not one.is_file and one.is_secret and (is_named or text.startswith("${") and text.find("}") == len(text) - 1):
                found.add(one.name)
    return found


def _default(reference: str) -> str:
    return reference.partition(":-")[2]
