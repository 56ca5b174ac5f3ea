"""Where Snowflake is, how to sign in, and a session there that takes and gives all values as they are."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from snowflake import connector

from target_meltano import Kind, Settings, SettingsError, setting

CONNECT_SECONDS = 60.0  # of trying to sign in, with growing pauses
LOGIN_SECONDS = 30  # of one try
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
    # "In-progress queries are aborted 5 minutes after connectivity is lost" (sql-reference/parameters). Else the COPY of
    # a run that was killed goes on, and holds its table for hours. A connector that lives asks all the time.
    "ABORT_DETACHED_QUERY": True,
    "CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False,
}
NUMBERS = ("exact", "double", "decfloat", "decimal(p,s)")
_WAYS = ("private_key", "private_key_file", "token", "token_file", "password")
_TOKENS = ("token", "token_file")
_TAKES: dict[str, tuple[str, ...]] = {  # by authenticator
    "snowflake": ("password",),
    "snowflake_jwt": ("private_key", "private_key_file"),
    "programmatic_access_token": _TOKENS,
    "oauth": _TOKENS,
    "externalbrowser": (),
    "oauth_client_credentials": (),
    "workload_identity": (),  # with OIDC a token
}
_PROVIDERS = ("AWS", "AZURE", "GCP", "OIDC")
_CLIENT = ("oauth_client_id", "oauth_client_secret", "oauth_token_request_url")
_OF_CLIENT = (*_CLIENT, "oauth_scope", "oauth_credentials_in_body")


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
    token: str | None = setting(None, "Programmatic access token; with `authenticator: oauth` an OAuth access token, with `workload_identity` one of OIDC.", secret=True)
    token_file: str | None = setting(None, "File with the token, read at each sign-in; for tokens that are replaced while a run lasts.", aliases=("token_file_path",))
    password: str | None = setting(None, "Password; Snowflake lets ever fewer users sign in with one alone.", secret=True)
    authenticator: str | None = setting(None, "How to sign in, where what is given does not tell: `oauth`, `externalbrowser`, `oauth_client_credentials`, `workload_identity`.", choices=tuple(_TAKES))
    workload_identity_provider: str | None = setting(None, "Who says which workload this is, with `authenticator: workload_identity`; `OIDC` takes a token.", choices=_PROVIDERS)
    oauth_client_id: str | None = setting(None, "Client ID, with `authenticator: oauth_client_credentials`.")
    oauth_client_secret: str | None = setting(None, "Secret of that client.", secret=True)
    oauth_token_request_url: str | None = setting(None, "Where the identity provider gives tokens to that client, with https.")
    oauth_scope: str | None = setting(None, "Scope to ask for; null: `session:role:ROLE`, where a role is given.")
    oauth_credentials_in_body: bool = setting(False, "Send ID and secret of that client in the request's body, not in its header.")
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
        if not all(isinstance(name, str) and (name == "*" or name.count(".") >= 2) for name in self.exempt_policies):
            yield f'exempt_policies: wanted ["DATABASE.SCHEMA.NAME", …] as the message has them, or ["*"], found {self.exempt_policies!r}'
        if self.indexes:
            yield "indexes: Snowflake has none; see its clustering keys"
        yield from self._sign_in_faults()
        yield from self._client_faults()

    def _sign_in_faults(self) -> Iterator[str]:
        given = [name for name in _WAYS if getattr(self, name)]
        if len(given) > 1:
            yield f"{', '.join(given)}: give one way to sign in"
        if not self.authenticator and not given:
            others = ", ".join(name for name, takes in _TAKES.items() if not takes)
            yield f"no way to sign in: give {', '.join(_WAYS)}, or one of authenticator: {others}"
        takes = _TAKES.get(self.authenticator or "", _WAYS)
        of = f"authenticator: {self.authenticator}"
        if self.authenticator == "workload_identity":
            if not self.workload_identity_provider:
                yield f"{of} needs workload_identity_provider: {', '.join(_PROVIDERS)}"
                return
            if self.workload_identity_provider == "OIDC":
                takes, of = _TOKENS, f"{of} with OIDC"
        if self.authenticator and takes and not given:
            yield f"{of} needs {' or '.join(takes)}"
        for name in given:
            if name not in takes:
                yield f"{name}: {of} takes {' or '.join(takes) or 'none'}"

    def _client_faults(self) -> Iterator[str]:
        """The connectors would send the client's secret to any URL, with http in clear."""
        if self.authenticator != "workload_identity" and self.workload_identity_provider:
            yield "workload_identity_provider: only with authenticator: workload_identity"
        if self.authenticator != "oauth_client_credentials":
            for name in _OF_CLIENT:
                if getattr(self, name):
                    yield f"{name}: only with authenticator: oauth_client_credentials"
            return
        missing = [name for name in _CLIENT if not getattr(self, name)]
        if missing:
            yield f"authenticator: oauth_client_credentials needs {', '.join(missing)}"
        wanted = ("https://", "http://") if self.protocol == "http" else ("https://",)
        if self.oauth_token_request_url and not self.oauth_token_request_url.startswith(wanted):
            yield "oauth_token_request_url: wanted https://…"


def number_kind(text: str) -> Kind | None:
    """Return the kind that the setting `number` names as decimal(p,s), None where it does not."""
    found = re.fullmatch(r"decimal\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)", text.strip().lower())
    precision, scale = (int(found[1]), int(found[2])) if found else (0, 0)
    return Kind("decimal", precision, scale) if 0 < precision <= 38 and scale <= min(precision, 37) else None


def parameters(settings: SnowflakeSettings, run_id: str) -> dict[str, Any]:
    """Return what the connector is to be told.

    Raises:
        SettingsError: the private key or the token cannot be read.
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
    token = {"token": _token(settings)} if settings.token or settings.token_file else {}
    if settings.authenticator == "workload_identity":
        return {"authenticator": "WORKLOAD_IDENTITY", "workload_identity_provider": settings.workload_identity_provider, **token}
    if token:
        return {"authenticator": (settings.authenticator or "programmatic_access_token").upper(), **token}
    if settings.authenticator == "oauth_client_credentials":
        client = {name: getattr(settings, name) for name in _OF_CLIENT if getattr(settings, name)}
        return {"authenticator": "OAUTH_CLIENT_CREDENTIALS", **client}
    if settings.authenticator == "externalbrowser":
        return {"authenticator": "externalbrowser"}
    return {"password": settings.password}


def _token(settings: SnowflakeSettings) -> str:
    if settings.token:
        return settings.token
    where = f"settings: token_file {settings.token_file}"
    try:
        with open(settings.token_file or "", encoding="utf-8") as file:
            token = file.read().strip()
    except OSError as error:
        raise SettingsError(f"{where}: {error.strerror}") from None
    except ValueError:
        token = ""
    if not token:
        raise SettingsError(f"{where}: wanted a token in UTF-8")
    return token


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


