"""What is a secret in a project: by the names on the way to a value, and by its form.

Each name of a tap's config counts, not only the last one: below `credentials` all is secret but what is
known to be none, as `type` or `project_id`. *Hidden* is more than *refused*: what comes by a variable is
hidden where it may be a secret; what stands in the file is refused only where it can hardly be anything else.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from . import libpq
from .document import Key

_WORDS = re.compile(r"[A-Z]+(?![a-z])[0-9]*|[A-Z]?[a-z]+[0-9]*|[0-9]+|[^\W\d_A-Za-z]+")
_FORM = re.compile(r"(?:_(?:json|base64|b64|pem|hex|text|value|string|content|raw|info|[0-9]+))+\Z|(?<=[a-z])[0-9]+\Z")
_AMOUNT = re.compile(r"(?:max|min|num|number|count|n)_")  # max_tokens
_SECRET = re.compile(
    r"""(?: (?:password|passwd|passphrase|passcode|(?<!by)(?<!com)pass|secret|token|credential|(?:api|private|access|secret)key)s?
      | (?:\A|_)(?:pwd?|jwt|pat|auth|authorization|bearer)s?
      | (?:\A|_)(?:api|private|access|encryption|pii|secret|signing|account|master|shared|service|auth|sa)_keys?
      | service_account
    )\Z""",
    re.X,
)
_PERHAPS = re.compile(  # what comes by such names is hidden, and may stand in the file all the same
    r"(?:\A|_)(?:oauth|headers?|cookies?|session|(?<!primary_)(?<!replication_)keys?|keyfile|cert|certificate|signature|sas|salt|pin|otp)\Z"
)
_HARMLESS = re.compile(
    r"""(?:\A|_)(?:
        type|kind|method|mechanism|strategy|mode|flow|grant|scheme|protocol|provider|algorithm|format|encoding|version|status
      | name|username|user|login|email|mail|id|kid|role|subject|audience|issuer|realm|agent|title|label|description|comment
      | url|uri|host|hostname|port|endpoint|domain|subdomain|region|location|tenant|account|project|organization|org|site|shop
      | workspace|team|group|instance|cluster|environment|env|bucket|database|db|dbname|warehouse|schema|table|stream|column|field
      | path|file|filename|folder|directory|dir|prefix|suffix|header|param|parameter|property|properties|primary_key|replication_key
      | scope|permission|expires|expires_(?:in|at|on)|expiry|expiration|ttl|date|time|timeout|interval|retries|limit|size|count
      | enabled?|disabled?|ssl|tls|sslmode|sandbox
    )s?\Z""",
    re.X,
)
_SIGNS_IN = re.compile(r"(?:\A|_)(?:auth|authorization)\Z")
_WAYS = re.compile(  # to sign in, which are no secrets
    r"(?:none|no|noauth|basic|digest|bearer|oauth[12]?|token|jwt|apikey|password|key|cookie|session|header|ntlm|kerberos|anonymous|default|custom"
    r"|serviceaccount|clientcredentials|iam|sso|saml|ldap|(?:external)?browser)\Z"
)
_SWITCHES = frozenset(("true", "false", "yes", "no", "on", "off", "none", "null"))  # what many taps take as text: require_token: "true"
_ORDINARY = frozenset(("HOME", "PATH", "PWD", "OLDPWD", "USER", "LOGNAME", "SHELL", "LANG", "TMPDIR", "HOSTNAME"))  # variables of each shell
_ASSIGNED = re.compile(
    r"(?:^|[\s?&;])(?:ssl)?(?:password|pwd)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|([^\s&;']*))"
    r"|(?:^|[?&;])(?:(?:access|auth|api|id|refresh|private)?[_-]?token|(?:api|access|account|shared[_-]?access|secret)[_-]?key|(?:client[_-]?)?secret"
    r"|(?:x-amz-|shared[_-]?access)?signature|sig)=()([^\s&;'\"]+)"
    r"|(?:^|\s)--(?:[a-z]+-)*(?:password|token|secret|(?:api|access)-?key)=([^\s'\"]+)()"  # options of a program
    r"|(?:^|[\s'\"])authorization:\s*(?:bearer|basic|token)\s+([^\s'\"]+)()",
    re.I,
)
_USERS = re.compile(r"://([^\s/?#]*)@")  # of URLs
_CALLERS = re.compile(r"(?:^|\s)[^\s:/@]+:([^\s@]+)@(?:tcp|unix)?\(")  # user:password@tcp(host)
_LONE_USERS = re.compile(r"https?://([^\s/?#:@]+)@")  # tokens, as a user needs a password there


def is_named(name: str) -> bool:
    """Tell whether a key or a variable has the name of a secret."""
    spelt = _spelt(name)
    return bool(_SECRET.search(_FORM.sub("", spelt)) and not _AMOUNT.match(spelt))


def hides(variable: str, at: Key) -> bool:
    """Tell whether what comes by *variable* to the place *at* of elt.yml may be a secret, by its name and those on its way."""
    names = [name for name in _way(at) if isinstance(name, str)]
    by_key = bool(names) and (_may_be(names[-1]) or (not _is_harmless(names[-1]) and any(map(_may_be, names))))
    return variable not in _ORDINARY and (by_key or _may_be(variable))


def refuses(at: Key, value: str | int | float) -> bool:
    """Tell whether *value* is a secret that stands in the file, at *at*. A number is one by the last name only."""
    names = [name for name in _way(at) if isinstance(name, str)]
    if not names or isinstance(value, bool) or value == "" or is_switch(value):
        return False
    if is_named(names[-1]):
        return not (_SIGNS_IN.search(_spelt(names[-1])) and _WAYS.match(re.sub(r"[\W_]", "", str(value).lower())))
    return isinstance(value, str) and not _is_harmless(names[-1]) and any(map(is_named, names))


def is_switch(value: Any) -> bool:
    """Tell whether *value* only turns something on or off, which is no secret whatever its name is."""
    return str(value).lower() in _SWITCHES


def option(before: list[Any], value: Any) -> Key:
    """Return the name of the option, as --password, that *value* is for in a list of arguments; nothing where it is for none with a secret."""
    name = before[-1] if before and isinstance(before[-1], str) else ""
    is_for_it = isinstance(value, str) and name.startswith("--") and not value.startswith("-")
    return (name.lstrip("-"),) if is_for_it and is_named(name) else ()


def last_name(at: Key) -> str:
    return next((part for part in reversed(at) if isinstance(part, str)), "")


def _way(at: Key) -> Key:
    """Return the names that count on the way to *at*: of a tap's config all; elsewhere not those that people give to taps, tables and columns."""
    if at[:1] == ("taps",) and at[2:3] == ("config",):
        return at[3:]
    if at[:1] == ("taps",) and at[2:3] == ("settings",):
        return at[3:4]
    if at[:2] == ("warehouse", "settings"):
        return at[2:3]
    return (last_name(at),) if at and at[0] in ("taps", "warehouse", "transform", "pii", "state", "review", "ci") else at


def _spelt(name: str) -> str:
    """Return a name as words of small letters with _ between them, however it is written."""
    return "_".join(_WORDS.findall(name)).lower()


def _may_be(name: str) -> bool:
    return is_named(name) or bool(_PERHAPS.search(_spelt(name)))


def _is_harmless(name: str) -> bool:
    return bool(_HARMLESS.search(_spelt(name)))


def passwords(text: str) -> list[str]:
    """Return the passwords in URLs, wherever they stand in a text, or in one like `host=h password=p`; each once."""
    found = [part for parts in _ASSIGNED.findall(text) for part in parts]
    found += [user.partition(":")[2] for user in _USERS.findall(text)] + _CALLERS.findall(text)
    with suppress(ValueError):  # what says where PostgreSQL is has # ? & and ; in passwords, too
        said = libpq.parse(text)
        found += [said.get("password", ""), said.get("sslpassword", "")]
    return [password for password in dict.fromkeys(found) if password]


def lone_users(text: str) -> list[str]:
    """Return the users without a password in URLs of https, which mostly are tokens."""
    return _LONE_USERS.findall(text)


def parts(value: Any, at: Key) -> Iterator[tuple[str, Key]]:
    """Yield the texts and numbers in *value*, which stands at *at*, and where each of them stands.

    A number comes as it is written in JSON and by Python. Text that is JSON itself, or base64 of it, is looked into, too.
    """
    if isinstance(value, str):
        yield value, at
        yield from parts(json_in(value), at)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from ((text, at) for text in {str(value), json.dumps(value)})
    elif isinstance(value, dict | list):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from parts(child, (*at, key))


def json_in(text: str) -> dict[str, Any] | list[Any] | None:
    """Return the object or list that *text* is as JSON, its numbers as they are written; None where it is none."""
    with suppress(ValueError, RecursionError):
        if text.lstrip()[:1] not in ("{", "["):
            text = base64.b64decode("".join(text.split()), validate=True).decode() if text.lstrip()[:1] in ("e", "W", "I", "C") else ""
        if text.lstrip()[:1] in ("{", "["):
            found: dict[str, Any] | list[Any] = json.loads(text, parse_int=str, parse_float=str)
            return found
    return None
