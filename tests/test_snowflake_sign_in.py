"""What is sent to sign in, for each way there is; a JWT's signature is checked with the public key."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from on_snowflake import Snowflake

from target_meltano import SettingsError

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
