"""What is a secret in elt.yml: by any name on the way to it, in whatever shape; ordinary taps' configs are taken as they are."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_meltano.elt import secrecy
from target_meltano.elt.document import Document
from target_meltano.elt.variables import Expansion, secret_variables

AT = ("taps", "auth-tokens", "config")  # a tap's own name says nothing
CANARY = "canary-4711"
ACCOUNT = {"type": "service_account", "project_id": "shop-1234", "private_key_id": "0a1b2c", "private_key": CANARY, "client_email": "me@x.iam", "token_uri": "https://x/token"}


def expanded(config: Any, **environment: str) -> Expansion:
    """Return what is found wrong and secret in the config of a tap."""
    found = Expansion(Document(Path("elt.yml"), {}, {(): 1}), environment)
    found.value(config, AT)
    return found


def secrets(config: Any, **environment: str) -> set[str]:
    found = expanded(config, **environment)
    assert found.faults == []
    return found.secrets


NESTED: dict[str, Any] = {
    "credentials": {"credentials": {"value": "{}"}},
    "secret": {"secret": {"inner": "{}"}},
    "tokens": {"tokens": ["{}"]},
    "lists in lists": {"api_keys": [["{}"]]},
    "deep": {"auth": {"basic": {"of": [{"this": "{}"}]}}},
    "plural": {"passwords": {"admin": "{}"}},
    "authorization": {"authorization": "{}"},
    "bearer": {"bearer": "{}"},
    "apikey": {"apikey": "{}"},
    "camel case": {"clientSecret": {"current": "{}"}},
    "upper case": {"APIKEY": "{}"},
    "kebab case": {"x-api-key": "{}"},
    "digits": {"password2": "{}"},
    "a form behind it": {"private_key_base64": "{}"},
    "service account": {"service_account": {"part": "{}"}},
    "service account, JSON": {"service_account_json": "{}"},
}
PERHAPS: dict[str, Any] = {
    "headers": {"headers": {"X-Thing": "{}"}},
    "oauth": {"oauth": {"value": "{}"}},
    "cookie": {"cookie": "{}"},
    "key": {"key": "{}"},
}


def filled(config: Any, text: str) -> Any:
    """Return *config* with *text* in the place of {}."""
    return json.loads(json.dumps(config).replace('"{}"', json.dumps(text)))


@pytest.mark.parametrize("config", [*NESTED.values(), *PERHAPS.values()], ids=[*NESTED, *PERHAPS])
def test_what_comes_below_the_name_of_a_secret_is_one(config: Any) -> None:
    """As text, as a number, as what is in JSON, and withheld from other taps."""
    assert CANARY in secrets(filled(config, "${V}"), V=CANARY)
    assert {"4711"} <= secrets(filled(config, "${json:V}"), V="4711")
    assert {"0.10", "0.1"} <= secrets(filled(config, "${json:V}"), V='{"n": 0.10}')
    assert CANARY in secrets(filled(config, "${V}"), V=json.dumps({"more": [CANARY]}))
    assert secret_variables({"taps": {"a": {"config": filled(config, "${V}")}}}) == {"V"}


@pytest.mark.parametrize("config", NESTED.values(), ids=NESTED)
def test_a_secret_in_clear_text_is_refused_in_each_shape(config: Any) -> None:
    for text in (CANARY, "${V:-open}", "${json:V}-" + CANARY):
        assert [fault for fault in expanded(filled(config, text), V="x").faults if "secret" in fault or "wanted" in fault], text
    for text in ("", "${V}", "Bearer ${V}", "${V:-}"):
        assert expanded(filled(config, text), V="x").faults == []
    as_text = {"options": json.dumps(filled(config, CANARY))}
    assert expanded(as_text).faults
    assert expanded({"options": base64.b64encode(json.dumps(filled(config, CANARY)).encode()).decode()}).faults


@pytest.mark.parametrize("config", PERHAPS.values(), ids=PERHAPS)
def test_what_may_be_none_stands_in_the_file(config: Any) -> None:
    assert expanded(filled(config, "text")).faults == []


@pytest.mark.parametrize("name", ["password", "db_pwd", "token", "api_key", "pin_secret"])
def test_a_number_in_clear_text_is_refused(name: str) -> None:
    for value in (1234, 12.5):
        assert expanded({name: value}).faults == [f"elt.yml:1: taps.auth-tokens.config.{name}: a secret stands here in clear text; put it into the environment and write ${{NAME}}, or ${{file:PATH}}"]
    assert expanded({name: True, f"max_{name}s": 5, f"{name}_timeout": 30, f"use_{name}": False}).faults == []


@pytest.mark.parametrize(
    "shape",
    [
        lambda text: text,
        lambda text: json.dumps({"inner": text}),
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: json.dumps([base64.b64encode(json.dumps({"account": text}).encode()).decode()]),
    ],
    ids=["JSON", "JSON in JSON", "base64", "all of them"],
)
@pytest.mark.parametrize("reference", ["${V}", "${json:V}", "${file:FILE}"])
def test_json_is_looked_into(tmp_path: Path, shape: Any, reference: str) -> None:
    """What is named so in it, and no more; or all that is not harmless, if the variable or the key is named so."""
    text = shape(json.dumps({"more": "visible", **ACCOUNT}))
    (tmp_path / "file").write_text(text)
    if reference == "${json:V}" and not text.startswith(("{", "[")):
        text = json.dumps(text)
    found = secrets({"options": reference.replace("FILE", str(tmp_path / "file"))}, V=text)
    assert CANARY in found
    assert not {"visible", "shop-1234", "0a1b2c", "me@x.iam", "service_account"} & found
    found = secrets({"credentials": reference.replace("FILE", str(tmp_path / "file"))}, V=text)
    assert {CANARY, "visible"} <= found
    assert not {"shop-1234", "0a1b2c", "me@x.iam", "service_account"} & found


def test_the_name_of_a_variable_counts_for_all_in_it() -> None:
    found = secrets({"options": "${json:APP_CREDENTIALS}", "user": "${MY_TOKEN}", "of": "${GCP_SA_KEY_JSON}"}, APP_CREDENTIALS=json.dumps(["one-1", {"x": 4711, "name": "me"}]), MY_TOKEN="two-2", GCP_SA_KEY_JSON="three-3")
    assert {"one-1", "4711", "two-2", "three-3"} <= found
    assert "me" not in found


@pytest.mark.parametrize("name", ["HOME", "PWD", "USER"])
def test_what_each_shell_has_is_no_secret(name: str) -> None:
    config = {"key": f"${{{name}}}/client.pem", "database": f"${{{name}}}/x.db"}
    assert secrets(config, **{name: "/home/me"}) == set()
    assert secret_variables({"taps": {"a": {"config": config}}}) == set()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("postgresql://u:p1@h/d", ["p1"]),
        ("git+https://u:p1@h/x.git --extra-index-url https://v:p2@h/simple", ["p1", "p2"]),
        ("host=h password = 'p 1' sslpassword=p2", ["p 1", "p2"]),
        ("https://h/?user=u&api_key=p1&access_token=p2", ["p1", "p2"]),
        ("Server=h;User=u;Pwd=p1;AccountKey=p2", ["p1", "p2"]),
        ("u:p1@tcp(h:3306)/d", ["p1"]),
        ("postgresql://u:p#1@h/d", ["p#1"]),
        ("postgresql://u:p?1@h/d", ["p?1"]),
        ("host=h password=p&1;2", ["p", "p&1;2"]),
        ("postgresql://h/d?password=p%26;1", ["p%26", "p&;1"]),
        ("tap --password=p1 --access-token=p2 --max-token-size=3", ["p1", "p2"]),
        ("Authorization: Bearer p1", ["p1"]),
        ("https://h/x.tgz?X-Amz-Signature=p1&sig=p2", ["p1", "p2"]),
        ("https://h/?page=1&token_type=x", []),
        ("postgresql://u@h/d?sslmode=require", []),
    ],
)
def test_passwords_in_texts(text: str, found: list[str]) -> None:
    assert secrecy.passwords(text) == found
    assert bool(expanded({"feed": text}).faults) == bool(found)
    assert secrets({"feed": "${FEED}"}, FEED=text) >= set(found)


@pytest.mark.parametrize("text", ["postgresql://u:{}@h/d", "git+https://u:{}@h/x", "host=h password={} dbname=d", "host=h dbname=d password={}", "https://h/?api_key={}&x=1"])
def test_what_comes_to_the_place_of_a_password_is_one(text: str) -> None:
    """Whatever is in it, and whatever the variable's name is; what stands behind it is no part of it."""
    odd = "p&1;2#/3@"
    assert odd in secrets({"feed": text.format("${V}")}, V=odd)
    assert "34" in secrets({"feed": text.format("${V}${W}")}, V="3", W="4")
    for literal in ("open", "o${V}", "${V:-open}"):
        assert expanded({"feed": text.format(literal)}, V="x").faults, literal


def test_what_stands_behind_an_option_is_for_it() -> None:
    """In the list of a program and its arguments."""
    for option in ("--password", "--api-key", "--access-token"):
        assert secrets({"run": ["x", option, "${V}", "more"]}, V=CANARY) == {CANARY}
        assert expanded({"run": ["x", option, CANARY]}).faults
    assert secrets({"run": ["x", "--verify", "${V}", "--password", "--more", "y", "--user", "me"]}, V=CANARY) == set()


@pytest.mark.parametrize("name", ["require_token", "use_api_key", "has_password", "auth"])
@pytest.mark.parametrize("value", ["true", "False", "no", "none"])
def test_what_turns_something_on_or_off_is_no_secret(name: str, value: str) -> None:
    """Each true and no in tables and JSON would be hidden."""
    assert secrets({name: value}) == set()
    assert secrets({name: "${V}", "more": {"token": "${V}"}}, V=value) == set()


def test_the_keys_of_tables_are_no_secrets() -> None:
    assert secrets({"primary_keys": ["${V}"], "replicationKey": "${V}", "more": "${REPLICATION_KEY}"}, V="updated_at", REPLICATION_KEY="id") == set()


def test_a_user_without_a_password_is_mostly_a_token() -> None:
    """In a URL of https, if it comes by a variable; one that stands in the file is taken."""
    assert secrets({"feed": "git+https://${V}@h/x", "more": "${W}", "own": "https://org@h/x"}, V="one-1", W="https://two-2@h") == {"one-1", "two-2"}
    assert secrets({"feed": "ssh://${V}@h/x"}, V="git") == set()


PUBLIC: dict[str, Any] = {  # configs as the taps' documentation has them, their secrets by variables
    "tap-github": {"access_token": "${T}", "repository": "singer-io/tap-github", "start_date": "2021-01-01T00:00:00Z", "request_timeout": 300, "base_url": "https://api.github.com"},
    "tap-github (sdk)": {"auth_token": "${T}", "additional_auth_tokens": ["${T}"], "rate_limit_buffer": 1000, "expiry_time_buffer": 10, "organizations": ["a"], "user_agent": "x", "stream_options": {"milestones": {"state": "open"}}},
    "tap-salesforce": {"client_id": "abc", "client_secret": "${T}", "refresh_token": "${T}", "start_date": "2017-11-02T00:00:00Z", "api_type": "BULK", "select_fields_by_default": True, "quota_percent_total": 80},
    "tap-salesforce (password)": {"username": "u@x", "password": "${T}", "security_token": "${T}", "domain": "login", "is_sandbox": False},
    "tap-google-analytics": {"key_file_location": "client_secrets.json", "view_id": "1234567", "reports": "reports.json", "start_date": "2019-05-01T00:00:00Z"},
    "tap-google-analytics (oauth)": {"oauth_credentials": {"access_token": "${T}", "refresh_token": "${T}", "refresh_proxy_url": "https://x", "client_id": "1-a.apps", "client_secret": "${T}"}, "quota_user": "u"},
    "tap-google-analytics (service account)": {"client_secrets": {"type": "service_account", "project_id": "p", "private_key_id": "0a", "private_key": "${T}", "client_email": "me@p", "client_id": "1", "auth_uri": "https://x", "token_uri": "https://x", "auth_provider_x509_cert_url": "https://x", "client_x509_cert_url": "https://x", "universe_domain": "googleapis.com"}},
    "tap-ga4": {"property_id": "1", "key_file_location": "k.json", "reports": "r.json", "keep_empty_rows": True},
    "tap-shopify": {"shop": "test_shop", "api_key": "${T}", "start_date": "2018-01-01T00:00:00Z", "results_per_page": 50, "date_window_size": 1},
    "tap-shopify (sdk)": {"store": "x", "auth": {"credential": {"type": "custom_app", "token": "${T}"}}, "admin_url": "https://x", "is_plus_account": False},
    "tap-postgres": {"host": "localhost", "port": 5432, "user": "postgres", "password": "${T}", "dbname": "db", "filter_schemas": "a,b", "ssl": "true", "logical_poll_total_seconds": 60, "default_replication_method": "LOG_BASED"},
    "tap-postgres (sdk)": {"sqlalchemy_url": "${T}", "ssl_enable": True, "ssl_client_private_key": "${T}", "ssl_client_certificate": "c.pem", "ssh_tunnel": {"enable": True, "host": "h", "port": 22, "username": "u", "private_key": "${T}", "private_key_password": "${T}"}, "max_record_count": 10},
    "tap-mysql": {"host": "h", "port": 3306, "user": "u", "password": "${T}", "ssl": "true", "ssl_ca": "/ca.pem", "ssl_key": "/key.pem", "server_id": 1, "session_sqls": ["SET x=1"]},
    "tap-s3-csv": {"start_date": "2017-11-02T00:00:00Z", "account_id": "1234567890", "role_name": "r", "bucket": "b", "external_id": "x", "aws_access_key_id": "AKIA1", "aws_secret_access_key": "${T}", "aws_session_token": "${T}", "tables": '[{"search_prefix": "exports", "search_pattern": "a\\\\.csv", "table_name": "auth_tokens", "key_properties": ["id"], "date_overrides": ["created_at"], "delimiter": ","}]'},
    "tap-zendesk": {"email": "user@domain.com", "api_token": "${T}", "subdomain": "rjmdev", "start_date": "2000-01-01T00:00:00Z", "marketplace_app_id": 1234, "marketplace_name": "x"},
    "tap-hubspot": {"redirect_uri": "https://api.hubspot.com/", "client_id": "1", "client_secret": "${T}", "refresh_token": "${T}", "start_date": "2017-01-01T00:00:00Z", "hapikey": "${T}", "disable_collection": False},
    "tap-stripe": {"account_id": "acct_1", "client_secret": "${T}", "lookback_window": 600},
    "tap-facebook": {"account_id": "1", "access_token": "${T}", "insights_buffer_days": 0},
    "tap-google-ads": {"oauth_client_id": "1", "oauth_client_secret": "${T}", "refresh_token": "${T}", "developer_token": "${T}", "login_customer_ids": [{"customerId": "1", "loginCustomerId": "2"}]},
    "tap-jira": {"base_url": "https://x.atlassian.net", "username": "u", "password": "${T}", "user_agent": "x", "cloud_id": "1", "oauth_client_id": "a", "auth_type": "basic"},
    "tap-jira (sdk)": {"domain": "x.atlassian.net", "email": "a@b", "api_token": "${T}", "page_size": {"issues": 100}, "include_audit_logs": False},
    "tap-slack": {"api_key": "${T}", "channels": ["c"], "thread_lookback_days": 1, "join_public_channels": False},
    "tap-twilio": {"account_sid": "AC1", "auth_token": "${T}", "user_agent": "x"},
    "tap-mongodb": {"host": "h", "port": 27017, "user": "u", "password": "${T}", "database": "d", "auth_database": "admin", "replica_set": "rs0", "ssl": "true", "verify_mode": "true"},
    "tap-mongodb (sdk)": {"mongodb_connection_string": "${T}", "datetime_conversion": "datetime", "operation_types": ["create"]},
    "tap-snowflake": {"account": "a", "user": "u", "password": "${T}", "private_key_path": "k.pem", "private_key_passphrase": "${T}", "authenticator": "externalbrowser", "role": "r", "warehouse": "w", "tables": ["d.s.t"]},
    "tap-bigquery": {"project_id": "p", "google_application_credentials": "${T}", "filter_schemas": ["a"], "google_storage_bucket": "b"},
    "tap-google-sheets": {"client_id": "1", "client_secret": "${T}", "refresh_token": "${T}", "spreadsheet_id": "x", "user_agent": "x"},
    "tap-rest-api-msdk": {"api_url": "https://x", "auth_method": "oauth", "access_token_url": "https://x", "client_id": "a", "client_secret": "${T}", "scope": "s", "grant_type": "client_credentials", "next_page_token_path": "$.next", "pagination_next_page_param": "p", "headers": {"X-Version": "2"}, "streams": [{"name": "auth_tokens", "path": "/tokens", "primary_keys": ["id"], "records_path": "$.data[*]", "replication_key": "updated_at"}]},
    "tap-rest-api-msdk (api keys)": {"api_keys": {"X-API-KEY": "${T}"}, "auth_method": "api_key"},
    "tap-spreadsheets-anywhere": {"tables": [{"path": "s3://b", "name": "passwords", "pattern": "x.*", "key_properties": [], "format": "csv"}]},
    "tap-csv": {"files": [{"entity": "tokens", "path": "tokens.csv", "keys": ["token"]}], "csv_files_definition": "f.json"},
    "tap-kafka": {"bootstrap_servers": "h:9092", "group_id": "g", "topic": "t", "primary_keys": {"id": "$.id"}, "message_format": "json"},
    "tap-dynamodb": {"account_id": "1", "external_id": "e", "role_name": "r", "region_name": "eu-west-1", "projections": "x"},
    "tap-auth0": {"client_id": "a", "client_secret": "${T}", "domain": "x.auth0.com", "job_poll_interval_ms": 1000},
    "tap-marketo": {"endpoint": "https://x", "identity": "https://y", "client_id": "a", "client_secret": "${T}", "corona": True},
    "tap-xero": {"client_id": "a", "client_secret": "${T}", "tenant_id": "t", "refresh_token": "${T}", "include_archived_contacts": "true"},
    "tap-quickbooks": {"realmId": "1", "client_id": "a", "client_secret": "${T}", "refresh_token": "${T}", "is_sandbox": "false"},
    "tap-netsuite": {"ns_account": "1", "ns_consumer_key": "a", "ns_consumer_secret": "${T}", "ns_token_key": "${T}", "ns_token_secret": "${T}", "is_sandbox": False},
    "tap-mixpanel": {"api_secret": "${T}", "date_window_size": 30, "attribution_window": 5, "project_timezone": "US/Pacific", "auth_type": "basic", "service_account_username": "u", "service_account_secret": "${T}"},
    "tap-klaviyo": {"auth_token": "${T}", "start_date": "2017-01-01"},
    "tap-sftp": {"host": "h", "port": 22, "username": "u", "password": "${T}", "private_key_file": "/k", "tables": '[{"table_name": "t", "search_prefix": "/", "key_properties": [], "decryption_configs": {"gpg_key": "x", "SSM_key_name": "n"}}]'},
    "tap-oracle": {"host": "h", "port": 1521, "user": "u", "password": "${T}", "sid": "ORCL", "service_name": "s"},
    "tap-gitlab": {"api_url": "https://gitlab.com", "private_token": "${T}", "groups": "a b", "ultimate_license": True, "fetch_merge_request_commits": False},
    "tap-intercom": {"access_token": "${T}", "user_agent": "x"},
    "tap-athena": {"aws_access_key_id": "AKIA", "aws_secret_access_key": "${T}", "aws_region": "eu", "s3_staging_dir": "s3://x", "schema_name": "s"},
    "auth as a word": {"auth": "oauth2", "authorization": "Bearer", "basic_auth": True},
    "auth as a section": {"auth": {"flow": "client_credentials", "type": "oauth2", "token_url": "https://x", "client_id": "a", "client_secret": "${T}", "scopes": ["a", "b"], "timeout": 30, "expires_in": 3600, "username": "u", "grant_type": "password"}},
}


@pytest.mark.parametrize("config", PUBLIC.values(), ids=PUBLIC)
def test_the_configs_of_public_taps_are_taken(config: dict[str, Any]) -> None:
    assert expanded(config, T=CANARY).faults == []


@pytest.mark.parametrize("config", [config for config in PUBLIC.values() if "${T}" in json.dumps(config)], ids=[name for name, config in PUBLIC.items() if "${T}" in json.dumps(config)])
def test_their_secrets_are_known_and_refused_in_clear_text(config: dict[str, Any]) -> None:
    """Each of them by itself; an address or the like is one if there is a password in it."""
    assert CANARY in secrets(config, T=CANARY) or any(name in config for name in ("sqlalchemy_url", "mongodb_connection_string"))
    clear = json.dumps(config).replace("${T}", "scheme://u:clear@h/", 1)
    assert expanded(json.loads(clear)).faults


NAMES = st.sampled_from(["password", "token", "credentials", "apiKey", "secrets", "auth", "Authorization", "private_key", "x-api-key", "service_account"])
NEUTRAL = st.text("abcdefgh", min_size=5, max_size=8)


@given(above=st.lists(NEUTRAL, max_size=3), name=NAMES, below=st.lists(NEUTRAL | st.integers(0, 2), max_size=3), how=st.sampled_from(["${V}", "${json:V}"]))
def test_any_name_on_the_way_counts(above: list[str], name: str, below: list[str | int], how: str) -> None:
    """Whether the value comes there in JSON or as it is."""
    config: Any = how
    given: Any = CANARY
    for number, one in enumerate(reversed([*above, name, *below])):
        wrap: Any = (lambda inner: [inner]) if isinstance(one, int) else (lambda inner, one=one: {one: inner})
        config, given = wrap(config), wrap(given)
        part = json.loads(json.dumps(config).replace(json.dumps(how), json.dumps("clear text")))
        assert bool(expanded(part).faults) == (number >= len(below))
    assert CANARY in secrets(config, V=json.dumps(CANARY) if how == "${json:V}" else CANARY)
    assert CANARY in secrets({"options": how}, V=json.dumps(given))
