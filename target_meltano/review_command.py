"""`target-meltano-NAME review create|drop|list|gc`: a line of JSON for each review that is there, or was."""

from __future__ import annotations

import argparse
import json
import re
from typing import Any

from . import reviews
from .dialect import Dialect
from .errors import SettingsError, shown
from .reviews import Copies
from .standard import Log, write


def run(dialect: Dialect[Any], options: argparse.Namespace) -> int:
    """Do it, and return the exit code.

    Raises:
        SettingsError: what names the branch is no text.
    """
    if re.search("[\ud800-\udfff]", getattr(options, "branch", "")):
        raise SettingsError(f"BRANCH: wanted UTF-8, found {shown(options.branch)}")
    try:
        with dialect.copies() as copies:
            return {"create": _create, "drop": _drop, "list": _list, "gc": _gc}[options.does](copies, options)
    except KeyboardInterrupt:  # a copy that was being made is gone, or will be known as unfinished
        return 130


def _create(copies: Copies, options: argparse.Namespace) -> int:
    if options.models:
        for one in reviews.create_schemas(copies, options.branch, options.models, options.below):
            _say(**one.told())
        return 0
    made, how = reviews.create(copies, options.branch)
    _say(**made.told(), how=how)
    return 0


def _drop(copies: Copies, options: argparse.Namespace) -> int:
    for name in reviews.drop(copies, options.branch, force=options.force):
        _say(name=name)
    return 0


def _list(copies: Copies, options: argparse.Namespace) -> int:
    for one in reviews.listed(copies):
        _say(**one.told())
    for name in copies.unfinished():
        _say(name=name, kind="unfinished", branch="", source=copies.source, created="")
    return 0


def _gc(copies: Copies, options: argparse.Namespace) -> int:
    try:
        age = reviews.age(options.older_than)
    except ValueError as error:
        raise SettingsError(f"--older-than: {error}") from None
    failed: list[str] = []
    for name in reviews.drop_old(copies, age, failed.append):
        _say(name=name)
    for words in failed:
        Log().say("critical", words)
    return 1 if failed else 0


def _say(**told: str) -> None:
    write(f"{json.dumps(told, ensure_ascii=False)}\n")
