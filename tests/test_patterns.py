"""`$` in a pattern of Python matches before a last newline, too: a name that ends with one passes a check that wants no newline."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from target_meltano.elt import project

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for package in ("target_meltano", "target_meltano_postgres", "target_meltano_snowflake") for path in (ROOT / package).rglob("*.py"))
FUNCTIONS = ("compile", "match", "search", "fullmatch", "sub", "subn", "split", "findall", "finditer")
# Here it hides more: what ends with a newline is as secret as what does not.
HIDES_MORE = {"target_meltano/elt/redaction.py", "target_meltano/elt/secrecy.py", "target_meltano/elt/variables.py"}
_END = re.compile(r"(?:\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[^$\\\[])*\$", re.DOTALL)


def texts(node: ast.expr, names: dict[str, ast.expr], seen: tuple[str, ...] = ()) -> str:
    """Return what a pattern is made of, as far as the module says it itself."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(texts(part.value if isinstance(part, ast.FormattedValue) else part, names, seen) for part in node.values)
    if isinstance(node, ast.BinOp):
        return texts(node.left, names, seen) + texts(node.right, names, seen)
    if isinstance(node, ast.Name) and node.id in names and node.id not in seen:
        return texts(names[node.id], names, (*seen, node.id))
    return ""


def patterns(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each pattern in a module that is not read line by line."""
    tree = ast.parse(source)
    names = {target.id: node.value for node in ast.walk(tree) if isinstance(node, ast.Assign) for target in node.targets if isinstance(target, ast.Name)}
    for node in ast.walk(tree):
        is_re = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and node.func.value.id == "re"
        if is_re and node.func.attr in FUNCTIONS and node.args and not ({"MULTILINE", "M"} & {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}):
            yield node.lineno, texts(node.args[0], names)


def ends(source: str) -> list[int]:
    return [line for line, text in patterns(source) if "(?m)" not in text and _END.match(text)]


def test_no_pattern_of_ours_ends_before_a_last_newline() -> None:
    found = {str(path.relative_to(ROOT)): lines for path in MODULES if (lines := ends(path.read_text("utf-8")))}
    assert {name: lines for name, lines in found.items() if name not in HIDES_MORE} == {}, r"write \Z, or re.fullmatch"


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        (r're.match("^a$", x)', [1]), (r're.compile(r"\\$")', [1]), (r're.compile("(a|b$)")', [1]), ('A = "x$"\nre.search(f"(?:{A})", x)', [2]),
        (r're.match(r"a\$", x)', []), (r're.match("[$]", x)', []), ('re.match("a$", x, re.MULTILINE)', []), (r're.fullmatch(r"a\Z", x)', []),
    ],
)  # fmt: skip
def test_patterns_are_found_wherever_they_stand(source: str, wanted: list[int]) -> None:
    assert ends(source) == wanted


def anchored(schema: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the patterns of a JSON Schema that end with `$`, and where they stand."""
    for key, child in schema.items() if isinstance(schema, dict) else enumerate(schema) if isinstance(schema, list) else ():
        if key == "pattern" and isinstance(child, str):
            yield at, child
        if key == "patternProperties":
            yield from (((*at, key), pattern) for pattern in child)
        yield from anchored(child, (*at, str(key)))


def test_patterns_of_elt_yml_are_whole_and_match_to_the_end() -> None:
    """The file of the schema has them as editors read them, where `$` is the end."""
    schema = json.loads(project.SCHEMA.read_text("utf-8"))
    found = [pattern for _, pattern in anchored(schema)]
    assert len(found) > 5
    whole = [pattern for pattern in found if pattern != r"\{tap\}"]  # a text that has it somewhere
    assert [pattern for pattern in whole if not (pattern.startswith("^") and pattern.endswith("$"))] == []
    read = [pattern for _, pattern in anchored(project._whole(schema))]
    assert sorted(read) == sorted(rf"{pattern[:-1]}\Z" if pattern in whole else pattern for pattern in found)
    for keyword in ({"pattern": "^a$"}, {"patternProperties": {"^a$": {}}, "additionalProperties": False}):
        checks = jsonschema.Draft4Validator(project._whole(keyword))
        assert [checks.is_valid(one if "pattern" in keyword else {one: 1}) for one in ("a", "a\n")] == [True, False]
