"""Reviews: a copy of the database for a branch, or schemas beside production's, made and removed.

What is ours says so itself: a marker in its COMMENT, with the branch and the database that it was made
from. Nothing else is ever touched. `Copies` is how a database does it; who may, and what, is decided here.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from .errors import DatabaseError, SettingsError, TargetError

MARK = "target_meltano_review"
_TIME = "%Y-%m-%dT%H:%M:%SZ"
MAX_NAME = 63  # bytes, of PostgreSQL; Snowflake takes more
MAX_BASE = 42  # of a schema that dbt puts a word behind: NAME_staging


@dataclass(frozen=True)
class Review:
    """What was made for *branch* from the database *source*: of *kind* database or schema."""

    name: str
    kind: str
    branch: str
    source: str
    created: datetime

    def comment(self) -> str:
        """Return the marker."""
        return json.dumps({MARK: self.branch, "source": self.source, "created": _time(self.created)}, ensure_ascii=False)

    def told(self) -> dict[str, str]:
        """Return it as a program reads it."""
        return {"name": self.name, "kind": self.kind, "branch": self.branch, "source": self.source, "created": _time(self.created)}


class Copies(ABC):
    """Copies of the database *source*, as a dialect makes them. Methods may raise DatabaseError.

    Names are as the database has them; comments are "" where there are none.
    """

    source: str

    @staticmethod
    def warn(words: str) -> None:
        """Tell the user."""
        print(f"WARNING {words}", file=sys.stderr, flush=True)

    @abstractmethod
    def databases(self) -> Mapping[str, str]:
        """Return the comments of all databases by their names."""

    @abstractmethod
    def schemas(self) -> Mapping[str, str]:
        """Return the comments of the source's schemas by their names."""

    @abstractmethod
    def clone(self, name: str, comment: str) -> str:
        """Make the database *name*, whole and with its *comment*, or nothing; return by which way."""

    @abstractmethod
    def create_schema(self, name: str, comment: str) -> None:
        """Make a schema with its comment, or nothing."""

    @abstractmethod
    def drop_database(self, name: str, *, force: bool) -> None:
        """Drop it; sessions of others in it are ended with *force* only."""

    @abstractmethod
    def drop_schemas(self, names: Sequence[str]) -> None:
        """Drop schemas of the source with all that is in them, and nothing else."""

    @abstractmethod
    def turn(self, name: str) -> AbstractContextManager[None]:
        """Wait until nobody else makes or drops *name*, and let nobody meanwhile."""

    def unfinished(self) -> Sequence[str]:
        """Return the databases of which `clone` made a part, before it was killed."""
        return ()

    def mend(self, name: str) -> None:  # noqa: B027 (most have nothing to mend)
        """Give a copy what may be missing if `clone` was killed after it was marked."""

    def fold(self, name: str) -> str:
        """Return *name* as the database has it where it is not quoted."""
        return name


def name_of(source: str, branch: str, size: int = MAX_NAME) -> str:
    """Return the name of the review of *source* for *branch*: of a-z, 0-9 and _, *size* bytes at most.

    It ends with 8 hex digits of the branch's SHA-256, so that branches that are spelt alike stay apart.
    """
    digest = hashlib.sha256(branch.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    first, last = _plain(source), _plain(branch)
    room = size - len("_review__") - len(digest)
    if len(first) + len(last) > room:
        first = first[: max(room // 2, room - len(last))].rstrip("_")
        last = last[: room - len(first)].rstrip("_")
    return f"{first}_review_{last}_{digest}"


def create(copies: Copies, branch: str) -> tuple[Review, str]:
    """Return the copy of the database for *branch*, and how it came; one that is whole already stays as it is.

    Raises:
        SettingsError: the database is a review itself.
        DatabaseError: something else has its name, or it cannot be made.
    """
    _check_source(copies)
    name = copies.fold(name_of(copies.source, branch))
    with copies.turn(name):
        if name in copies.unfinished():
            copies.drop_database(name, force=True)  # nobody but its maker could be in it
        found = copies.databases()
        if name in found:
            there = _own(name, "database", found[name], copies.source, branch)
            copies.mend(name)
            return there, "was there already"
        made = _made(name, "database", copies.source, branch)
        return made, copies.clone(name, made.comment())


def create_schemas(copies: Copies, branch: str, base: str, below: Sequence[str]) -> list[Review]:
    """Return the schema for the models of *branch* in place of *base*, and those *below* it: NAME_BELOW.

    Raises:
        SettingsError: the database is a review itself, or a name is too long.
        DatabaseError: something else has a name of theirs.
    """
    _check_source(copies)
    first = copies.fold(name_of(base, branch, MAX_BASE))
    names = [first, *(f"{first}_{copies.fold(one)}" for one in below)]
    for name in names:
        if len(name.encode()) > MAX_NAME:
            raise SettingsError(f"schema {name}: has more than {MAX_NAME} bytes; give the models' schema a shorter name")
    with copies.turn(first):
        found = copies.schemas()
        made = [
            _own(name, "schema", found[name], copies.source, branch) if name in found else _made(name, "schema", copies.source, branch)
            for name in names
        ]
        for one in made:
            if one.name not in found:
                copies.create_schema(one.name, one.comment())
    return made


def listed(copies: Copies) -> list[Review]:
    """Return all reviews of the source, the oldest first."""
    found = [_read(name, "database", comment) for name, comment in copies.databases().items()]
    found += [_read(name, "schema", comment) for name, comment in copies.schemas().items()]
    return sorted((one for one in found if one and one.source == copies.source), key=lambda one: (one.created, one.name))


def drop(copies: Copies, branch: str, *, force: bool = False) -> list[str]:
    """Drop what was made for *branch*, and return the names; none where there is nothing.

    Raises:
        DatabaseError: something else has the name of the copy, or others are in it.
    """
    _check_source(copies)
    name = copies.fold(name_of(copies.source, branch))
    mine = [one for one in listed(copies) if one.branch == branch]
    comments = copies.databases()
    if name in comments and name not in copies.unfinished():
        _own(name, "database", comments[name], copies.source, branch)
    databases = [one.name for one in mine if one.kind == "database"]
    if name in copies.unfinished():
        databases.append(name)
    schemas = [one.name for one in mine if one.kind == "schema"]
    for one in databases:
        _drop_database(copies, one, force=force)
    if schemas:
        copies.drop_schemas(schemas)
    return databases + schemas


def drop_old(copies: Copies, age: timedelta, failed: Callable[[str], None]) -> Iterator[str]:
    """Drop what is older than *age*, and what was never finished; yield the names.

    What cannot be dropped is told to *failed*.
    """
    _check_source(copies)
    before = datetime.now(timezone.utc) - age
    old = [one for one in listed(copies) if one.created < before]
    for name in [*copies.unfinished(), *(one.name for one in old if one.kind == "database")]:
        try:
            _drop_database(copies, name, force=False)
            yield name
        except TargetError as error:
            failed(str(error))
    for branch in dict.fromkeys(one.branch for one in old if one.kind == "schema"):
        names = [one.name for one in old if one.kind == "schema" and one.branch == branch]
        try:
            copies.drop_schemas(names)
            yield from names
        except TargetError as error:
            failed(str(error))


def _drop_database(copies: Copies, name: str, *, force: bool) -> None:
    """Drop it if it is still what it was, now that nobody else is at it."""
    with copies.turn(name):
        is_part = name in copies.unfinished()
        review = _read(name, "database", copies.databases().get(name, ""))
        if is_part or (review and review.source == copies.source):
            copies.drop_database(name, force=force or is_part)


def _check_source(copies: Copies) -> None:
    review = _read(copies.source, "database", copies.databases().get(copies.source, ""))
    if review:
        raise SettingsError(f"the database {copies.source} is itself the review of {review.source} for {review.branch!r}; name {review.source}")


def _own(name: str, kind: str, comment: str, source: str, branch: str) -> Review:
    """Return the review that a marker tells of.

    Raises:
        DatabaseError: it is not that of *source* for *branch*.
    """
    found = _read(name, kind, comment)
    if found and (found.source, found.branch) == (source, branch):
        return found
    what = f"is the review of {found.source} for {found.branch!r}" if found else "has no marker of ours in its COMMENT"
    raise DatabaseError(f"{kind} {name}: {what}, and is left as it is; rename or drop it by hand, then it can be the review of {source} for {branch!r}")


def _read(name: str, kind: str, comment: str) -> Review | None:
    """Return what the marker in *comment* says, None where there is none."""
    try:
        found = json.loads(comment)
        created = datetime.strptime(found["created"], _TIME).replace(tzinfo=timezone.utc)
        return Review(name, kind, str(found[MARK]), str(found["source"]), created)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _made(name: str, kind: str, source: str, branch: str) -> Review:
    return Review(name, kind, branch, source, datetime.now(timezone.utc).replace(microsecond=0))


def _time(when: datetime) -> str:
    return when.strftime(_TIME)


def _plain(text: str) -> str:
    """Return *text* in letters and digits of ASCII, with _ for all others; x where nothing is left."""
    folded = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", folded).strip("_") or "x"


def age(text: str) -> timedelta:
    """Return the time that 14d or 12h says.

    Raises:
        ValueError: it is neither.
    """
    found = re.fullmatch(r"(\d{1,5})([hd])", text)
    if not found:
        raise ValueError(f"wanted a time as 14d or 12h, found {text!r}")
    return timedelta(**{"d": {"days": int(found[1])}, "h": {"hours": int(found[1])}}[found[2]])
