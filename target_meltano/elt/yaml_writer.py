"""YAML that every reader takes as it was meant. PyYAML writes it, and quotes as YAML 1.1 wants.

Readers of YAML 1.2 (GitHub, editors) and Ruby's (GitLab) take more texts for numbers or booleans than PyYAML
does, and where 1.1 breaks a line (NEL, U+2028) they do not: such texts are in double quotes, with escapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NewType

import yaml

from .spelling import shown

Written = NewType("Written", str)  # YAML, or a comment: no value can end it, and begin something else

_NOT_TEXT_EVERYWHERE = re.compile(r"[-+.0-9].*|[yn]|yes|no|on|off|true|false|null", re.IGNORECASE | re.DOTALL)


class _Writer(yaml.SafeDumper):
    """PyYAML's, which puts more texts into double quotes."""


def _text(writer: yaml.SafeDumper, text: str) -> yaml.Node:
    is_plain = text.isprintable() and not _NOT_TEXT_EVERYWHERE.fullmatch(text)
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_plain else '"')


_Writer.add_representer(str, _text)


def document(content: Mapping[str, Any]) -> Written:
    """Return *content* as a file, or as a part of one."""
    return Written(yaml.dump(content, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=120))


def inline(value: str | Sequence[str]) -> Written:
    """Return a text, or a list of texts, on one line and in double quotes, as a value that stands anywhere."""
    flow = [*value] if not isinstance(value, str) else value
    return Written(yaml.dump(flow, Dumper=_Writer, default_style='"', default_flow_style=True, width=float("inf")).rstrip("\n"))


def block(content: Mapping[str, Any], indent: int) -> Written:
    """Return *content* on lines of its own, each behind *indent* spaces; nothing where it is empty."""
    lines = document(content).rstrip("\n").split("\n") if content else []
    return Written("\n".join(f"{' ' * indent}{line}" for line in lines))


def comment(text: str) -> Written:
    """Return *text* as it may stand in a comment: on one line, with escapes for what is not printable."""
    return Written(shown(text))
