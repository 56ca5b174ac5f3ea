"""Where Snowflake is, how to sign in, and a session there that takes and gives all values as they are."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from snowflake import connector

from target_meltano import Kind, Settings, SettingsError, setting

LOGIN_SECONDS = 60
NETWORK_SECONDS = 300  # of trying one request; without it connector 4 tries for ever
SESSION = {
    "TIMEZONE": "UTC",
    "TIMESTAMP_TYPE_MAPPING": "TIMESTAMP_NTZ",
    "DATE_INPUT_FORMAT": "AUTO",
    "TIME_INPUT_FORMAT": "AUTO",
    "TIMESTAMP_INPUT_FORMAT": "AUTO",
    "QUOTED_IDENTIFIERS_IGNORE_CASE": False,
    "TRANSACTION_ABORT_ON_ERROR": False,
    "ERROR_ON_NONDETERMINISTIC_MERGE": True,
    "LOCK_TIMEOUT": 600,  # seconds; then the transaction is done again
    "CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False,
}
NUMBERS = ("exact", "double", "decfloat", "decimal(p,s)")
_WAYS = ("private_key", "private_key_file", "token", "password")
_AUTHENTICATORS = ("snowflake", "snowflake_jwt", "programmatic_access_token", "oauth", "externalbrowser")


@dataclass(frozen=True)
class SnowflakeSettings(Settings):
    """How to reach Snowflake, and what is stored there in which way."""

    schema: str | None = setting(None, "Schema that the tables are in, folded to upper case unless in double quotes. Required.", aliases=("default_target_schema",))
    batch_rows: int = setting(5_000_000, "Commit after so many rows.", aliases=("batch_size_rows", "batch_size"), least=1)
    batch_bytes: int = setting(2 << 30, "Commit after so many bytes of input.", least=1)
    batch_seconds: float = setting(600.0, "Commit after so many seconds, also while the tap is silent.", least=0)
    number: str = setting("exact", "Numbers that are no integers: `exact` stores FLOAT and refuses what FLOAT would change, `double` rounds to it, `decfloat` keeps 38 digits, `decimal(p,s)` is NUMBER(p,s).")
    timestamps: str = setting("tz", "Date-times: `tz` for TIMESTAMP_TZ, `ntz` for TIMESTAMP_NTZ in UTC.", choices=("tz", "ntz"))
    exempt_policies: list[Any] = setting([], "Masking and row access policies that exempt the role: [DATABASE.SCHEMA.NAME, …], or [\"*\"] for all, which are not looked up then.")
    account: str | None = setting(None, "Account identifier: organization-account.")
    user: str | None = setting(None, "User to sign in as.", aliases=("username",))
    private_key_file: str | None = setting(None, "File with the private key of the user, PKCS#8 in PEM.", aliases=("private_key_path",))
    private_key: str | None = setting(None, "The private key itself, in PEM.", secret=True)
    private_key_passphrase: str | None = setting(None, "Passphrase of the private key.", secret=True)
    token: str | None = setting(None, "Programmatic access token; with `authenticator: oauth` an OAuth access token.", secret=True)
    password: str | None = setting(None, "Password; Snowflake lets ever fewer users sign in with one alone.", secret=True)
    authenticator: str | None = setting(None, "How to sign in, where what is given does not tell: `oauth`, `externalbrowser`.", choices=_AUTHENTICATORS)
    role: str | None = setting(None, "Role; null: the user's default.")
    warehouse: str | None = setting(None, "Warehouse; null: the user's default.")
    database: str | None = setting(None, "Database. Required.", aliases=("dbname",))
    host: str | None = setting(None, "Host name, where it is not that of the account.")
    port: int | None = setting(None, "Port, where it is not 443.", least=1)
    protocol: str | None = setting(None, "`http` for a stand-in.", choices=("https", "http"))

    def faults(self) -> Iterable[str]:
        yield from super().faults()
        for name in ("schema", "database", "account"):
            if not getattr(self, name):
                yield f"{name}: missing"
        if self.number not in NUMBERS[:3] and not number_kind(self.number):
            yield f"number: wanted {' or '.join(NUMBERS)} with p <= 38 and s <= 37, found {self.number!r}"
        if self.indexes:
            yield "indexes: Snowflake has none; see its clustering keys"
        given = [name for name in _WAYS if getattr(self, name)]
        if len(given) > 1:
            yield f"{', '.join(given)}: give one way to sign in"
        if not given and self.authenticator != "externalbrowser":
            yield f"no way to sign in: give {', '.join(_WAYS)}, or authenticator: externalbrowser"
        if self.authenticator == "oauth" and not self.token:
            yield "authenticator: oauth needs a token"


def number_kind(text: str) -> Kind | None:
    """Return the kind that the setting `number` names as decimal(p,s), None where it does not."""
    found = re.fullmatch(r"decimal\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)", text.strip().lower())
    precision, scale = (int(found[1]), int(found[2])) if found else (0, 0)
    return Kind("decimal", precision, scale) if 0 < precision <= 38 and scale <= min(precision, 37) else None


def parameters(settings: SnowflakeSettings, run_id: str) -> dict[str, Any]:
    """Return what the connector is to be told.

    Raises:
        SettingsError: the private key cannot be read.
    """
    names = ("account", "user", "role", "warehouse", "database", "host", "port", "protocol")
    known = {name: getattr(settings, name) for name in names if getattr(settings, name) is not None}
    return {
        **known,
        **_sign_in(settings),
        **_timeouts(),
        **_cleanup(),
        "autocommit": False,  # else what comes behind a transaction that the server has ended is committed by itself
        "paramstyle": "qmark",
        "application": "target_meltano",
        "session_parameters": {**SESSION, "QUERY_TAG": query_tag(run_id), "CLIENT_SESSION_KEEP_ALIVE": True},
    }


def query_tag(run_id: str, stream: str | None = None) -> str:
    """Return what the history of queries shows of us."""
    tag = {"app": "target-meltano-snowflake", "run_id": run_id, "stream": stream}
    return json.dumps({name: value for name, value in tag.items() if value})[:2000]


def _major() -> int:
    return int(connector.__version__.split(".")[0])


def _cleanup() -> dict[str, Any]:
    """Connections are closed here and not by the garbage collection.

    That would have connector 5 set context variables, and while Python before 3.12 sets one itself it
    crashes: https://github.com/python/cpython/issues/148891.
    """
    return {"auto_cleanup": False} if _major() >= 5 else {}


def _timeouts() -> dict[str, Any]:
    """The connectors' majors have other names for them; a statement itself may take as long as it does."""
    if _major() < 5:
        return {"login_timeout": LOGIN_SECONDS, "network_timeout": NETWORK_SECONDS}
    return {
        "login_timeout": LOGIN_SECONDS,
        "request_timeout": NETWORK_SECONDS,
        "retry_timeout": NETWORK_SECONDS,
        "enable_server_session_keep_alive_auto_detection": False,
    }


def _sign_in(settings: SnowflakeSettings) -> dict[str, Any]:
    if settings.private_key or settings.private_key_file:
        return {"authenticator": "SNOWFLAKE_JWT", "private_key": _key(settings)}
    if settings.token:
        return {"authenticator": (settings.authenticator or "programmatic_access_token").upper(), "token": settings.token}
    if settings.authenticator == "externalbrowser":
        return {"authenticator": "externalbrowser"}
    return {"password": settings.password}


def _key(settings: SnowflakeSettings) -> bytes:
    """Return the key as DER, which all connectors take; its text may have come without its lines."""
    from cryptography.hazmat.primitives import serialization

    where = "private_key" if settings.private_key else f"private_key_file {settings.private_key_file}"
    try:
        if settings.private_key:
            text = _in_lines(settings.private_key).encode()
        else:
            with open(settings.private_key_file or "", "rb") as file:
                text = file.read()
        passphrase = (settings.private_key_passphrase or "").encode() or None
        key = serialization.load_pem_private_key(text, passphrase)
    except OSError as error:
        raise SettingsError(f"settings: {where}: {error.strerror}") from None
    except (ValueError, TypeError):
        raise SettingsError(
            f"settings: {where}: wanted a private key in PEM (PKCS#8), and its private_key_passphrase where it has one"
        ) from None
    der, pkcs8, plain = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(der, pkcs8, plain)


def _in_lines(text: str) -> str:
    """Variables and secret stores like to turn line ends into \\n or spaces."""
    text = text.replace("\\n", "\n").strip()
    found = re.fullmatch(r"(-----BEGIN [A-Z ]+-----)(.*)(-----END [A-Z ]+-----)", text, re.DOTALL)
    if not found:
        return text
    body = re.sub(r"\s", "", found[2])
    return "\n".join([found[1], *textwrap.wrap(body, 64), found[3], ""])


def place(name: str, fold: Any) -> str:
    """Return the name of a schema as Snowflake reads it: folded, or as it is in double quotes."""
    quoted = re.fullmatch(r'"(.*)"', name, re.DOTALL)
    return quoted[1].replace('""', '"') if quoted else str(fold(name))


