"""The schemas that packages of taps ship: the package is downloaded and read, nothing of it is ever run."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from environments import ENVIRONMENTS

from target_meltano.references import pointed_at

# pip asks the build backend of a source distribution for its metadata, which runs the package's setup.py.
# This one reads PKG-INFO instead.
BACKEND = '''
from email.parser import Parser
from pathlib import Path


def get_requires_for_build_wheel(config_settings=None):
    return []


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    told = Parser().parsestr(Path("PKG-INFO").read_text("utf-8"))
    made = Path(metadata_directory) / f"{told['Name'].replace('-', '_')}-{told['Version']}.dist-info"
    made.mkdir()
    (made / "METADATA").write_text(f"Metadata-Version: 2.1\\nName: {told['Name']}\\nVersion: {told['Version']}\\n", "utf-8")
    return made.name


class __legacy__:
    get_requires_for_build_wheel = staticmethod(get_requires_for_build_wheel)
    prepare_metadata_for_build_wheel = staticmethod(prepare_metadata_for_build_wheel)
'''
INSIDE = ("definitions", "$defs")  # where a schema has what its own $ref name


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class Stream:
    """A stream of a package, with its $ref resolved. *key* is a property that every record gets, None for no key."""

    name: str
    schema: dict[str, Any]
    key: str | None

    def message(self) -> dict[str, Any]:
        return {"type": "SCHEMA", "stream": self.name, "schema": self.schema, "key_properties": [self.key] if self.key else []}


def archive(package: Package) -> Path:
    """The file of *package*, as the package index has it; the test is skipped, loudly, where it has not."""
    home = ENVIRONMENTS / "packages"
    home.mkdir(parents=True, exist_ok=True)
    with open(home / f"{package.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for there in home.iterdir():
            if there.suffix != ".lock" and hashlib.sha256(there.read_bytes()).hexdigest() == package.sha256:
                return there
        return _downloaded(package, home)


def _downloaded(package: Package, home: Path) -> Path:
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        (at / "setuptools").mkdir()
        (at / "setuptools" / "__init__.py").touch()
        (at / "setuptools" / "build_meta.py").write_text(BACKEND, "utf-8")
        (at / "wanted.txt").write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", "utf-8")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        pip += ["--no-build-isolation", "--use-pep517", "--require-hashes", "--dest", at / "got", "--requirement", at / "wanted.txt"]
        done = subprocess.run(pip, env={**os.environ, "PYTHONPATH": folder}, capture_output=True, text=True, check=False)
        if done.returncode:
            if "Expected sha256" in done.stderr:
                pytest.fail(f"another file than the pinned one is {package}: {done.stderr.strip()[-300:]}", pytrace=False)
            pytest.skip(f"give pip an index that has {package} (pip download --no-deps): {done.stderr.strip()[-300:]}")
        (got,) = (at / "got").iterdir()
        return Path(shutil.move(got, home / got.name))


def streams(package: Package) -> list[Stream]:
    """The streams whose schemas *package* ships: each JSON file below a folder `schemas`, but not below `shared`."""
    files = _schema_files(archive(package))
    found = []
    for path, content in files.items():
        parts = PurePosixPath(path).parts
        if "shared" in parts:
            continue
        schema = content["schema"] if isinstance(content.get("schema"), dict) and "key_properties" in content else content
        keys = content.get("key_properties") or ()
        resolved = _resolved(schema, schema, files, ())
        for word in INSIDE:
            resolved.pop(word, None)
        if "object" not in resolved.get("type", ["object"] if "properties" in resolved else ()):
            continue  # a part that others refer to
        name = "_".join((*parts[:-1], PurePosixPath(path).stem))
        found.append(Stream(name, resolved, keys[0] if len(keys) == 1 else _key(resolved)))
    return found


def _schema_files(path: Path) -> dict[str, Any]:
    """The JSON files below a package's folder `schemas`, by their paths within it, in order."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            texts = {name: wheel.read(name) for name in wheel.namelist() if name.endswith(".json")}
    else:
        with tarfile.open(path) as tar:
            members = [member for member in tar if member.isfile() and member.name.endswith(".json")]
            texts = {member.name: tar.extractfile(member).read() for member in members}  # type: ignore[union-attr]
    return {name.partition("/schemas/")[2]: json.loads(texts[name]) for name in sorted(texts) if "/schemas/" in name}


def _resolved(part: Any, root: Any, files: dict[str, Any], chain: tuple[str, ...]) -> Any:
    """Put what each $ref leads to into its place, over what is beside it, as singer's resolve_schema_references does.

    Taps name a file, with or without folder and suffix, or one of the schema's own definitions.
    """
    if isinstance(part, list):
        return [_resolved(one, root, files, chain) for one in part]
    if not isinstance(part, dict):
        return part
    reference = part.get("$ref")
    if not isinstance(reference, str):
        return {name: _resolved(one, root, files, chain) for name, one in part.items()}
    assert reference not in chain, f"$ref {reference} leads to itself"
    name, _, pointer = reference.partition("#")
    beside = {word: value for word, value in part.items() if word != "$ref"}
    for definitions in (root.get(word, {}) for word in INSIDE):
        if name in definitions:
            return _resolved({**beside, **definitions[name]}, root, files, (*chain, reference))
    at = [path for path in files if name in (path, PurePosixPath(path).name, PurePosixPath(path).stem)]
    within = files[at[0]] if name else root
    return _resolved({**beside, **pointed_at(within, f"#{pointer.rstrip('/')}")}, within, files, (*chain, reference))


def _key(schema: dict[str, Any]) -> str | None:
    """The property that is most likely a key: `id`, else the first one that ends so."""
    properties = schema.get("properties", {})
    for name in sorted(properties, key=lambda name: name.lower() != "id"):
        types = properties[name].get("type", ())
        types = {types} if isinstance(types, str) else set(types)
        if name.lower().endswith("id") and types - {"null"} in ({"string"}, {"integer"}) and not properties[name].keys() & {"format", "enum"}:
            return str(name)
    return None
