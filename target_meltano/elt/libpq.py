"""Where PostgreSQL is, as libpq takes it: `postgresql://…` or `name=value …`, and the variables that say the same.

The wrapper has no driver, so this is libpq's grammar once more (fe-connect.c), in Python; a test compares it
with libpq itself, as the target reads the same texts by that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_SPACE = r"[ \t\n\v\f\r]"
_PAIR = re.compile(
    rf"{_SPACE}*(?P<name>[^= \t\n\v\f\r]*){_SPACE}*={_SPACE}*(?:'(?P<quoted>(?:\\.|[^'\\])*)'|(?P<plain>(?!')(?:\\.|[^\\ \t\n\v\f\r])*\\?))",
    re.DOTALL,
)
_HOST = r"(?:\[[^\]]+\])?[^/?,]*"
_URL = re.compile(
    rf"postgres(?:ql)?://(?:(?P<user>[^:@/]*)(?::(?P<password>[^@/]*))?@)?(?P<hosts>{_HOST}(?:,{_HOST})*)(?:/(?P<dbname>[^?]*))?(?:\?(?P<options>.*))?",
    re.DOTALL,
)
_HOST_AND_PORT = re.compile(r"(?:\[(?P<address>[^\]]+)\]|(?P<name>(?!\[)[^:]*))(?::(?P<port>.*))?", re.DOTALL)
VARIABLES = {  # of libpq, by the names of its parameters
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "passfile": "PGPASSFILE",
    "options": "PGOPTIONS",
    "sslmode": "PGSSLMODE",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "sslcompression": "PGSSLCOMPRESSION",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcertmode": "PGSSLCERTMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "sslcrldir": "PGSSLCRLDIR",
    "sslsni": "PGSSLSNI",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "channel_binding": "PGCHANNELBINDING",
    "require_auth": "PGREQUIREAUTH",
    "requirepeer": "PGREQUIREPEER",
    "gssencmode": "PGGSSENCMODE",
    "gssdelegation": "PGGSSDELEGATION",
    "gsslib": "PGGSSLIB",
    "krbsrvname": "PGKRBSRVNAME",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "client_encoding": "PGCLIENTENCODING",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "load_balance_hosts": "PGLOADBALANCEHOSTS",
}


def parse(text: str) -> dict[str, str]:
    """Return the parameters in a URL or in `name=value …`; of those that come twice the last one counts.

    Raises:
        ValueError: libpq would not take it. It says nothing of the text, in which a password may be.
    """
    found = _of_url(text) if text.startswith(("postgresql://", "postgres://")) else _of_pairs(text)
    if "" in found or any("\0" in part for pair in found.items() for part in pair):
        raise ValueError("wanted name=value")
    return found


def spelt(parameters: Mapping[str, str]) -> str:
    """Return *parameters* as `name='value' …`."""
    quoted = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in parameters.items()}
    return " ".join(f"{name}='{value}'" for name, value in quoted.items())


def _of_pairs(text: str) -> dict[str, str]:
    found, at = {}, 0
    while text[at:].strip(" \t\n\v\f\r"):
        pair = _PAIR.match(text, at)
        if not pair:
            raise ValueError("wanted name=value")
        value = pair["plain"] if pair["quoted"] is None else pair["quoted"]
        name, value = _known(pair["name"], re.sub(r"\\(.?)", r"\1", value, flags=re.DOTALL))
        found[name] = value
        at = pair.end()
    return found


def _of_url(text: str) -> dict[str, str]:
    parts = _URL.fullmatch(text)
    if not parts:
        raise ValueError("no URL of PostgreSQL")
    hosts, ports = [], []
    for one in re.findall(rf"(?:\A|,)({_HOST})", parts["hosts"]):
        named = _HOST_AND_PORT.fullmatch(one)
        if not named:
            raise ValueError("wanted host:port")
        hosts.append(named["address"] or named["name"] or "")
        ports.append(named["port"] or "")
    given = {"user": parts["user"], "password": parts["password"], "host": ",".join(hosts), "port": ",".join(ports), "dbname": parts["dbname"]}
    found = {name: _decoded(value) for name, value in given.items() if value}
    options = (parts["options"] or "").split("&")
    for option in options if options[-1] else options[:-1]:
        name, separator, value = option.partition("=")
        if not separator or "=" in value:
            raise ValueError("wanted name=value behind the question mark")
        name, value = _decoded(name), _decoded(value)
        name, value = ("sslmode", "require") if (name, value) == ("ssl", "true") else _known(name, value)  # as JDBC has it
        found[name] = value
    return found


def _known(name: str, value: str) -> tuple[str, str]:
    """Return a parameter under the name that it has today."""
    return ("sslmode", "require" if value.startswith("1") else "prefer") if name == "requiressl" else (name, value)


def _decoded(text: str) -> str:
    """Return *text* with %XX replaced; libpq takes no other sign of percent."""
    if re.search(r"%(?![0-9A-Fa-f]{2})|%00", text):
        raise ValueError("wanted two hexadecimal digits behind a percent sign")
    return re.sub(rb"%(..)", lambda found: bytes.fromhex(found[1].decode()), text.encode()).decode()
