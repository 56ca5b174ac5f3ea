"""What the schemas of 25 packages of taps say arrives: records of two generators, loaded twice in three ways, are what the tables have.

Some of the packages are part of every run; CATALOGS=1 takes all (`make test-catalogs`), CATALOGS_SEED other records.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from catalogs import COUNTED, outcome
from on_postgres import run
from packages import Package, streams
from stored import differences, tables

from target_meltano.samples import INT, NUM, STR, record, schema

ALL = "CATALOGS" in os.environ
SEED = int(os.environ.get("CATALOGS_SEED", "1"))
PACKAGES = (
    Package("tap-adwords", "1.13.1", "9502ce8a5018e6047b7c8605ead53218c0fcf89657f6094c6329ce7d815c5dc0"),
    Package("tap-bigcommerce", "1.1.3", "9269c9e59551aaa108e543a0d3b1cd734b6ed17573800635b657c11b718af1ad"),
    Package("tap-chargebee", "1.7.1", "8dae06487dd1ab979e2ab0ace46a48d4f97cf75ef01ae2f8bab5c835068e5795"),
    Package("tap-closeio", "1.6.6", "003395bfe8b90c3c15d38d3a214fd823d5f5bea876451b266381bbe1f538fcae"),
    Package("tap-eloqua", "1.3.0", "7938f8978a41aafdc9467ab98ef93b4eb3542908234cdcc27c0306bb1dcba51c"),
    Package("tap-facebook", "1.26.0", "e9ae085f1b8352854a8baef07c3b7dcefab6418a26322d2524bb95262d2cded9"),
    Package("tap-github", "4.0.0", "435741ba0dbbb08d4e614371f132bd6739857610b357e8e7a02b97ebddaef7a7"),
    Package("tap-gitlab", "1.0.1", "20fba4a20ee940b281651d7ab3b7fe30d75fdac26308f52a6c8d9af5ff746bba"),
    Package("tap-harvest", "3.1.1", "bb8ca7a33e683d1ac72afce23352904dd4b275a76e8353a0c538ef433ce8bd5c"),
    Package("tap-hubspot", "4.5.0", "83c070373d731242ddbf7df9ca1774cd376b056504b1c81fe065e855f8303ab6"),
    Package("tap-intercom", "2.2.5", "aa75690f4063897b609aa1bb791d56ddd6a9d74790218423546cab4c9e51ee8f"),
    Package("tap-jira", "2.6.0", "8795b7593f9a7d52f266de47b542db33312e87ff9988da4a4067ac3aa8ad1fce"),
    Package("tap-klaviyo", "1.1.5", "658131b5916415d3ae0773b5bc79a7ad1173a80697216c372d860a49ed80334e"),
    Package("tap-lever", "1.1.0", "635debec2afdbd850792e483206b33c04fa7f704e3bcc782ea04edfd2e04f62a"),
    Package("tap-mambu", "4.6.1", "a693a6049de555bc0897c9cc90924d80418a5d983a27a5166ea3fe3671aab865"),
    Package("tap-marketo", "2.9.4", "461351f2cfbb6ad77c4334369b6b779f458d0b4c8a71ec5ad59ab78d192dbef6"),
    Package("tap-mixpanel", "1.8.0", "82470b4ddb8cde47d951ae70706eaf859c7cc40f9e2e95815f05c4962b1dabb2"),
    Package("tap-quickbooks", "2.5.0", "acd0cde952a0a7ac549fb14ecad1d8f581ca3485095d0b4b752b6abb966dc5c4"),
    Package("tap-recurly", "1.1.1", "bbb60f5229861b3d90fdfd58de73cc34339c0e703ceb8412694417aff99d1d6b"),
    Package("tap-shopify", "3.13.0", "cccbb622a4fb3158f53c971f573936f690f4d7c9c8acf90d0f349315dffdb6e0"),
    Package("tap-slack", "1.1.2", "648fe11ee78802c0f69197a3e1f7767941aae8e232ea156af605c01f5247d831"),
    Package("tap-stripe", "3.3.0", "5d8013feada46b9b61b5ca902bac6f95b23db81cc34098d62f6fb680b7b4d43a"),
    Package("tap-twitter-ads", "1.0.0", "c2a5a8423c47770a87610999375c7e38d0a67017e7f6a47912c730fcd621f21d"),
    Package("tap-xero", "2.6.0", "229b4a2ce44e412ad6eb1f1ae77d9fc28d377e674921739c0df05aa4cf269a19"),
    Package("tap-zendesk", "2.8.2", "41bbca85ef7d7d8f3f935b6f6300151ce382e86d58b33eaa0422ec4f1653b7bf"),
)
SHORT = {"tap-jira", "tap-marketo", "tap-mixpanel"}


@pytest.mark.parametrize("package", [package for package in PACKAGES if ALL or package.name in SHORT], ids=lambda package: package.name)
def test_tables_have_what_was_sent(db: Any, package: Package) -> None:
    found = outcome(db, streams(package), SEED, most=50 if ALL else 10)
    differing = {stream for stream, _ in found.differences}
    counts = " | ".join(f"{found.counts[what]:,}" for what in COUNTED)
    print(f"| {package} | {counts} | {found.counts['streams'] - len(differing)} |")
    assert {at: faults[:3] for at, faults in found.differences.items()} == {}


def test_a_package_is_downloaded_by_its_hash_and_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tmp_path / "tap-of-test-1.0"
    (made / "tap_of_test/schemas/shared").mkdir(parents=True)
    (made / "setup.py").write_text(f"open({str(tmp_path / 'has run')!r}, 'w'); from setuptools import setup; setup(name='tap-of-test', version='1.0')")
    (made / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: tap-of-test\nVersion: 1.0\n")
    pets = {"type": ["null", "object"], "properties": {"petId": {"$ref": "ids.json#/definitions/id"}, "vet": {"$ref": "shared/vet.json#/"}, "age": {"$ref": "years"}}, "definitions": {"years": INT}}
    files = {"pets": pets, "shared/ids": {"definitions": {"id": INT}}, "shared/vet": {"properties": {"id": {"$ref": "ids.json#/definitions/id"}}}}
    for name, content in files.items():
        (made / f"tap_of_test/schemas/{name}.json").write_text(json.dumps(content))
    with tarfile.open(tmp_path / "tap-of-test-1.0.tar.gz", "w:gz") as tar:
        tar.add(made, "tap-of-test-1.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr("packages.ENVIRONMENTS", tmp_path / "environments")
    wanted = Package("tap-of-test", "1.0", hashlib.sha256((tmp_path / "tap-of-test-1.0.tar.gz").read_bytes()).hexdigest())
    with pytest.raises(pytest.fail.Exception, match="another file"):
        streams(dataclasses.replace(wanted, sha256="0" * 64))
    (stream,) = streams(wanted)
    assert (stream.name, stream.key) == ("pets", "petId")
    assert stream.schema == {"type": ["null", "object"], "properties": {"petId": INT, "vet": {"properties": {"id": INT}}, "age": INT}}
    assert not (tmp_path / "has run").exists()


# --- what finds the differences

OBJECT = {"type": ["object", "null"]}
KINDS = schema(
    "t",
    id=INT,
    text=STR,
    number=NUM,
    is_so={"type": "boolean"},
    moment={"type": "string", "format": "date-time"},
    day={"type": "string", "format": "date"},
    clock={"type": "string", "format": "time"},
    several={"type": ["string", "integer", "null"]},
    whole=OBJECT,
    part={**OBJECT, "properties": {"x": INT}, "additionalProperties": True},
)
SENT: Any = {
    "id": 1, "text": "a", "number": 0.10, "is_so": True, "moment": "0001-01-01T00:30:00.5-01:00", "day": "2024-02-29", "clock": "00:30:00+01:00",
    "several": 5, "whole": {"a": [1, None, {"b": {}}]}, "part": {"x": 1, "y": None}, "later": {"z": 1},
}  # fmt: skip


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("text", "'A'"),
        ("number", "0.1000001"),
        ("is_so", "NULL"),
        ("moment", "moment + interval '1 microsecond'"),
        ("day", "day + 1"),
        ("clock", "clock + interval '1 hour'"),
        ("several", "'5.1'"),
        ("whole", """'{"a": [1, null, {"b": null}]}'"""),
        ("part__x", "2"),
        ("part__extra", "NULL"),
        ("__extra", """'{"later": {"z": true}}'"""),
    ],
    ids=lambda part: part.split()[0],
)
def test_a_value_that_is_not_what_was_sent_is_found(db: Any, column: str, value: str) -> None:
    run(db, KINDS, record("t", **SENT), unknown_fields="keep")
    assert differences(tables(db)["t"], [[SENT]], "id") == []
    db.query(f'UPDATE "{db.schema}".t SET "{column}" = {value}')
    (fault,) = differences(tables(db)["t"], [[SENT]], "id")
    assert fault.startswith(column.replace("__", ".").replace("extra", "*") if column != "__extra" else column)


def test_rows_that_are_missing_or_too_many_are_found(db: Any) -> None:
    run(db, KINDS, record("t", **SENT), record("t", **{**SENT, "id": 2}), unknown_fields="keep")
    assert differences(tables(db)["t"], [[SENT]], "id") == ["2 rows, wanted 1"]
    db.query(f'DELETE FROM "{db.schema}".t WHERE id = 1')
    assert differences(tables(db)["t"], [[SENT]], "id") == ["no row for id 1"]


def test_fields_without_a_column_are_found(db: Any) -> None:
    run(db, KINDS, record("t", **SENT))
    assert differences(tables(db)["t"], [[SENT]], "id") == ["no column has ['later']"]
