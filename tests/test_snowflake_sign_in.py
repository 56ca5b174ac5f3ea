"""What is sent to sign in, for each way there is; a JWT's signature is checked with the public key."""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from on_snowflake import MAJOR, Snowflake

from target_meltano import DatabaseError, SettingsError, make
from target_meltano_snowflake import SnowflakeSettings
from target_meltano_snowflake.session import parameters

PASSPHRASE = "s3cret"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def pem(key: rsa.RSAPrivateKey, passphrase: str | None = None) -> str:
    encryption: Any = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption).decode()


def signed_in(here: Snowflake, **settings: Any) -> dict[str, Any]:
    """Sign in, and return what was sent for it."""
    dialect = here.dialect(password=None, **settings)
    dialect.run_id = "run 1"
    dialect.close(dialect.connect())
    assert here.server
    (login,) = here.server.log("login")
    found: dict[str, Any] = login
    return found


def part(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.mark.parametrize("form", ["file", "text", "text in one line", "text with a passphrase", "file with a passphrase"])
def test_with_a_key(standin: Snowflake, key: rsa.RSAPrivateKey, form: str, tmp_path: Path) -> None:
    passphrase = PASSPHRASE if "passphrase" in form else None
    text = pem(key, passphrase)
    if form == "text in one line":
        text = text.replace("\n", "\\n")
    settings = {"private_key": text}
    if form.startswith("file"):
        path = tmp_path / "key.p8"
        path.write_text(text)
        settings = {"private_key_file": str(path)}
    login = signed_in(standin, **settings, **({"private_key_passphrase": passphrase} if passphrase else {}))
    assert login["AUTHENTICATOR"] == "SNOWFLAKE_JWT"
    assert "PASSWORD" not in login
    head, body, signature = login["TOKEN"].split(".")
    key.public_key().verify(part(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
    assert json.loads(part(body))["sub"] == "ORG-ACCT.LOADER"


@pytest.mark.parametrize("wrong", ["none", "no key", "no passphrase"])
def test_a_key_that_cannot_be_read_is_told_and_not_shown(standin: Snowflake, key: rsa.RSAPrivateKey, wrong: str) -> None:
    settings = {
        "none": {"private_key_file": "/nowhere/key.p8"},
        "no key": {"private_key": "c2VjcmV0"},
        "no passphrase": {"private_key": pem(key, PASSPHRASE)},
    }[wrong]
    with pytest.raises(SettingsError, match="private_key") as told:
        signed_in(standin, **settings)
    assert "c2VjcmV0" not in str(told.value)
    assert "BEGIN" not in str(told.value)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"token": "t0k"}, {"AUTHENTICATOR": "PROGRAMMATIC_ACCESS_TOKEN", "TOKEN": "t0k"}),
        ({"token": "t0k", "authenticator": "oauth"}, {"AUTHENTICATOR": "OAUTH", "TOKEN": "t0k"}),
    ],
)
def test_with_a_token(standin: Snowflake, settings: dict[str, Any], wanted: dict[str, str]) -> None:
    login = signed_in(standin, **settings)
    assert {name: login.get(name) for name in wanted} == wanted
    assert "PASSWORD" not in login


def test_with_a_browser(standin: Snowflake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told where the user signs in, and from there comes to the port on which the connector listens."""
    browser = tmp_path / "browser"
    script = "import sys, urllib.request as r; r.build_opener(r.ProxyHandler({})).open(sys.argv[1])"
    browser.write_text(f"#!/bin/sh\n{sys.executable} -c '{script}' \"http://localhost:${{1##*port=}}/?token=t0k\" &\n")
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    login = signed_in(standin, authenticator="externalbrowser")
    wanted = {"AUTHENTICATOR": "EXTERNALBROWSER", "TOKEN": "t0k", "PROOF_KEY": "proof"}
    assert {name: login.get(name) for name in wanted} == wanted
    assert "PASSWORD" not in login


def test_with_a_password_and_a_session_that_is_ours(standin: Snowflake) -> None:
    dialect = standin.dialect(role="LOADER_ROLE", warehouse="LOADING")
    dialect.run_id = "run 1"
    dialect.close(dialect.connect())
    assert standin.server
    (login,) = standin.server.log("login")
    assert login["PASSWORD"] == "secret"
    parameters = login["SESSION_PARAMETERS"]
    assert parameters["TIMEZONE"] == "UTC"
    assert str(parameters["QUOTED_IDENTIFIERS_IGNORE_CASE"]).lower() == "false"
    assert json.loads(parameters["QUERY_TAG"]) == {"app": "target-meltano-snowflake", "run_id": "run 1"}
    assert str(parameters["ABORT_DETACHED_QUERY"]).lower() == "true"


# --- workload identity


def oidc_token() -> str:
    parts = ({"alg": "none"}, {"iss": "https://idp.example", "sub": "loader", "aud": "snowflakecomputing.com", "exp": int(time.time()) + 600})
    head, body = (base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts)
    return f"{head}.{body}.c2ln"


@pytest.fixture
def known_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connectors 4.8 and 5.2 send such a token to hosts of Snowflake's only, and to those that this names."""
    monkeypatch.setenv("SNOWFLAKE_WIF_ALLOWED_HOST_SUFFIXES", "127.0.0.1")


@pytest.mark.usefixtures("known_host")
@pytest.mark.parametrize("form", ["token", "token_file"])
def test_with_workload_identity_and_a_token_of_oidc(standin: Snowflake, form: str, tmp_path: Path) -> None:
    token, path = oidc_token(), tmp_path / "token"
    path.write_text(f"{token}\n")
    given = {"token": token} if form == "token" else {"token_file": str(path)}
    login = signed_in(standin, user=None, authenticator="workload_identity", workload_identity_provider="OIDC", **given)
    wanted = {"AUTHENTICATOR": "WORKLOAD_IDENTITY", "PROVIDER": "OIDC", "TOKEN": token}
    assert {name: login.get(name) for name in wanted} == wanted
    assert "PASSWORD" not in login


def test_a_file_with_a_token_is_read_at_each_sign_in(standin: Snowflake, tmp_path: Path) -> None:
    path = tmp_path / "token"
    settings = standin.dialect(password=None, token_file=str(path), authenticator="oauth").settings
    for token in ("t1", "t2"):
        path.write_text(token)
        assert parameters(settings, "run 1")["token"] == token
    for content in (b" ", b"\xff"):
        path.write_bytes(content)
        with pytest.raises(SettingsError, match="token_file .*: wanted a token in UTF-8"):
            parameters(settings, "run 1")
    path.unlink()
    with pytest.raises(SettingsError, match="token_file .*: No such file"):
        parameters(settings, "run 1")


@pytest.mark.parametrize("provider", ["AWS", "AZURE", "GCP"])
def test_a_cloud_is_told_to_the_connector(standin: Snowflake, provider: str) -> None:
    """What a cloud then says of its workload cannot be tried without one."""
    settings = standin.dialect(password=None, authenticator="workload_identity", workload_identity_provider=provider).settings
    found = parameters(settings, "run 1")
    assert (found["authenticator"], found["workload_identity_provider"]) == ("WORKLOAD_IDENTITY", provider)
    assert not {"token", "password"} & set(found)


@pytest.mark.usefixtures("known_host")
def test_without_a_cloud_one_line_says_so(standin: Snowflake, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    started = time.monotonic()
    with pytest.raises(DatabaseError, match="^cannot connect: .*AWS") as told:
        signed_in(standin, authenticator="workload_identity", workload_identity_provider="AWS")
    assert len(str(told.value).splitlines()) == 1
    assert time.monotonic() - started < 30


# --- OAuth client credentials


class Provider(BaseHTTPRequestHandler):
    """An identity provider: it gives a token, or answers as a test wants."""

    asked: list[tuple[str, str]]
    answer: tuple[int, dict[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.asked.append((self.headers.get("authorization", ""), body))
        code, content = self.answer
        data = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def provider() -> Iterator[dict[str, Any]]:
    """Settings of a client of it."""
    Provider.asked, Provider.answer = [], (200, {"access_token": "t0k", "token_type": "Bearer", "expires_in": 600})
    with serving(Provider) as port:
        yield {
            "authenticator": "oauth_client_credentials",
            "oauth_client_id": "loader",
            "oauth_client_secret": "s3cret/+",
            "oauth_token_request_url": f"http://127.0.0.1:{port}/token",
        }


@pytest.mark.parametrize(
    ("settings", "scope"),
    [({"oauth_scope": "session:role:LOADER"}, "session:role:LOADER"), ({"role": "LOADER"}, "session:role:LOADER"), ({}, "")],
    ids=["scope", "role", "neither"],
)
def test_with_client_credentials(standin: Snowflake, provider: dict[str, Any], settings: dict[str, str], scope: str) -> None:
    login = signed_in(standin, user=None, **provider, **settings)
    assert (login["AUTHENTICATOR"], login["TOKEN"]) == ("OAUTH", "t0k")
    assert "PASSWORD" not in login
    ((authorization, body),) = Provider.asked
    asked = dict(urllib.parse.parse_qsl(body))
    assert (asked.get("grant_type"), asked.get("scope", "")) == ("client_credentials", scope)
    # RFC 6749 (2.3.1) has them percent-encoded in the header; connector 4 sends them as they are.
    sent = "loader:s3cret/+" if MAJOR < 5 else "loader:s3cret%2F%2B"
    assert base64.b64decode(authorization.removeprefix("Basic ")).decode() == sent


def test_client_credentials_in_the_body_are_the_same_of_all_connectors(standin: Snowflake, provider: dict[str, Any]) -> None:
    signed_in(standin, user=None, oauth_credentials_in_body=True, **provider)
    ((authorization, body),) = Provider.asked
    asked = dict(urllib.parse.parse_qsl(body))
    assert (asked["client_id"], asked["client_secret"]) == ("loader", "s3cret/+")
    if MAJOR >= 5:
        assert not authorization


def test_a_provider_that_refuses_is_asked_once(standin: Snowflake, provider: dict[str, Any]) -> None:
    Provider.answer = (401, {"error": "invalid_client"})
    with pytest.raises(DatabaseError, match="^cannot connect: ") as told:
        signed_in(standin, **provider)
    assert len(str(told.value).splitlines()) == 1
    assert "s3cret" not in str(told.value)
    assert len(Provider.asked) == 1


# --- settings that lack something, or contradict each other

CLIENT = {"oauth_client_id": "loader", "oauth_client_secret": "s3cret", "oauth_token_request_url": "https://idp.example/token"}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "no way to sign in: give private_key, private_key_file, token, token_file, password, or one of authenticator: externalbrowser, oauth_client_credentials, workload_identity"),
        ({"password": "p", "token_file": "t"}, "token_file, password: give one way to sign in"),
        ({"authenticator": "oauth"}, "authenticator: oauth needs token or token_file"),
        ({"authenticator": "oauth", "password": "p"}, "password: authenticator: oauth takes token or token_file"),
        ({"authenticator": "snowflake"}, "authenticator: snowflake needs password"),
        ({"authenticator": "snowflake_jwt", "token": "t"}, "token: authenticator: snowflake_jwt takes private_key or private_key_file"),
        ({"authenticator": "externalbrowser", "password": "p"}, "password: authenticator: externalbrowser takes none"),
        ({"authenticator": "workload_identity"}, "authenticator: workload_identity needs workload_identity_provider: AWS, AZURE, GCP, OIDC"),
        ({"authenticator": "workload_identity", "workload_identity_provider": "OIDC"}, "authenticator: workload_identity with OIDC needs token or token_file"),
        ({"authenticator": "workload_identity", "workload_identity_provider": "AWS", "token": "t"}, "token: authenticator: workload_identity takes none"),
        ({"workload_identity_provider": "AWS", "password": "p"}, "workload_identity_provider: only with authenticator: workload_identity"),
        ({"authenticator": "oauth_client_credentials", "oauth_client_id": "i"}, "authenticator: oauth_client_credentials needs oauth_client_secret, oauth_token_request_url"),
        ({"authenticator": "oauth_client_credentials", **CLIENT, "token": "t"}, "token: authenticator: oauth_client_credentials takes none"),
        ({"authenticator": "oauth_client_credentials", **CLIENT, "oauth_token_request_url": "http://idp.example/token"}, "oauth_token_request_url: wanted https://…"),
        ({"authenticator": "oauth_client_credentials", **CLIENT, "oauth_token_request_url": "idp.example/token"}, "oauth_token_request_url: wanted https://…"),
        ({"password": "p", "oauth_scope": "s"}, "oauth_scope: only with authenticator: oauth_client_credentials"),
    ],
)
def test_what_lacks_or_contradicts_is_told_by_name(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as found:
        make(SnowflakeSettings, schema="S", account="a", database="D", **settings)
    assert told in str(found.value)
    assert "s3cret" not in str(found.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"authenticator": "snowflake", "password": "p"},
        {"authenticator": "programmatic_access_token", "token": "t"},
        {"authenticator": "snowflake_jwt", "private_key_file": "k"},
        {"authenticator": "oauth_client_credentials", **CLIENT},
        {"authenticator": "workload_identity", "workload_identity_provider": "OIDC", "token_file": "t"},
    ],
)
def test_what_fits_is_taken(settings: dict[str, Any]) -> None:
    make(SnowflakeSettings, schema="S", account="a", database="D", **settings)
