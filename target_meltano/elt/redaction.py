"""Secrets hidden in what is shown and logged, however they are spelt there.

A program that fails tells its settings in forms of its own: percent-encoded in an address, with the
backslashes of JSON or of Python's repr, in another case, broken over two lines. So a text is compared
in forms that all these have in common: with letters of one case and without quotes, backslashes and
white space; the same once more with escapes decoded; and so with what a line's end has broken put together.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

HIDDEN = "****"
SHORTEST = 4  # characters of a secret that is looked for anywhere; shorter ones would hide half of each line
SHORTEST_WORD = 3  # the same of one that is looked for as a word of its own
_SHORTEST_CODED = 8  # the same of base64 and of hex, which say less by a character
_ESCAPE = re.compile(
    r"(?P<percent>(?:%[0-9a-f]{2})+)"
    r"|(?P<byte>(?:\\+x[0-9a-f]{2})+)"
    r"|\\+(?-i:U)(?P<code>[0-9a-f]{8})"
    r"|(?P<unit>(?:\\+u[0-9a-f]{4})+)"
    r"|\\+(?P<octal>[0-3][0-7]{2})"
    r"|\\+(?P<control>[abfnrtv0])"
    r"|(?P<entity>&(?:[a-z]{2,8}|\#[0-9]{1,7}|\#x[0-9a-f]{1,6});)",
    re.I,
)
_BEGUN_ESCAPE = re.compile(  # at the end of a line; of characters of several bytes or halves these, too
    r"(?:(?:%[89a-f][0-9a-f]){1,3}(?:%[0-9a-f]?)?|%[0-9a-f]?"
    r"|(?:\\+x[89a-f][0-9a-f]){1,3}(?:\\+(?:x[0-9a-f]?)?)?|\\+ud[89ab][0-9a-f]{2}(?:\\+(?:u[0-9a-f]{0,3})?)?"
    r"|\\+(?:u[0-9a-f]{0,3}|x[0-9a-f]?|[0-3][0-7]?|(?-i:U)[0-9a-f]{0,7})?"
    r"|&(?:[a-z]{0,8}|\#[0-9]{0,7}|\#x[0-9a-f]{0,6}))$",
    re.I,
)
_BREAK = re.compile(r"[ \t]*\n[ \t]*")
_MAY_BE_ESCAPED = re.compile(r"[%\\&]")
_BESIDE_WORDS = frozenset("\"'`\\+")  # quotes, what escapes them, and the space of a form in an address
_TAIL = 3  # characters
_MOST_LAYERS = 8  # of escapes in escapes: JSON in an address in JSON


def _words(char: str) -> str:
    """Return a character as it is compared: upper case first, as some letters have two lower ones."""
    if char in _BESIDE_WORDS or char.isspace() or not char.isprintable():
        return ""
    return char.upper().casefold()


class _Kept(dict[int, str]):
    """`_words` for str.translate, each character worked out once."""

    def __missing__(self, code: int) -> str:
        self[code] = found = _words(chr(code))
        return found


_COMPARED = _Kept()


def plainly(text: str) -> str:
    """Return *text* as it is compared, its escapes left alone."""
    return text.translate(_COMPARED)


def decoded(text: str) -> str:
    """Return *text* as it is compared, its escapes decoded."""
    for _ in range(_MOST_LAYERS):
        if not _MAY_BE_ESCAPED.search(text):
            break
        text, before = _ESCAPE.sub(_character, text), text
        if text == before:
            break
    return plainly(text)


def joined(text: str) -> str:
    """Return *text* as `decoded` does, with escapes that the end of a line has broken."""
    return decoded(_BREAK.sub("", text))


def _character(found: re.Match[str]) -> str:
    """Return what an escape, or some in a row, stand for."""
    text, kind = found[0], found.lastgroup
    if kind == "percent":
        return _of_bytes(bytes.fromhex(text.replace("%", "")))
    if kind == "byte":
        return _of_bytes(bytes.fromhex(re.sub(r"\\+[xX]", "", text)))
    if kind == "unit":
        return bytes.fromhex(re.sub(r"\\+[uU]", "", text)).decode("utf-16-be", "replace")
    if kind == "code":
        return chr(int(found[kind], 16)) if int(found[kind], 16) < 0x110000 else ""
    if kind == "octal":
        return chr(int(found[kind], 8))
    return "" if kind == "control" else html.unescape(text)


def _of_bytes(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


@dataclass(frozen=True)
class _View:
    """One form in which texts are compared, with the secrets in that form."""

    read: Callable[[str], str]
    tokens: Callable[[str], Iterator[tuple[int, int, str]]]  # where each part of a text stands, and how it is compared
    needles: tuple[str, ...]
    tails: frozenset[str]  # the ends of all their beginnings, by which most texts are known to have none

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where secrets stand in *text*."""
        whole = self.read(text)
        found = [needle for needle in self.needles if needle in whole]
        if not found:
            return
        places = [(start, end) for start, end, chars in self.tokens(text) for _ in chars]
        chars = "".join(chars for *_, chars in self.tokens(text))
        for needle in found:
            at = chars.find(needle)
            while at >= 0:
                yield places[at][0], places[at + len(needle) - 1][1]
                at = chars.find(needle, at + 1)

    def begun(self, text: str) -> int:
        """Return how many of the last characters of *text*, in this form, may be the beginning of a secret."""
        whole, most = self.read(text), 0
        if not any(whole[-size:] in self.tails for size in range(1, _TAIL + 1)):
            return 0
        for needle in self.needles:
            end = needle.rfind(whole[-1], 0, min(len(needle) - 1, len(whole)))
            while end >= most:
                if whole.endswith(needle[: end + 1]):
                    most = end + 1
                end = needle.rfind(whole[-1], 0, end)
        return most


def _characters(text: str) -> Iterator[tuple[int, int, str]]:
    return ((at, at + 1, _COMPARED[ord(char)]) for at, char in enumerate(text))


def _joined_escapes(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield the characters that *text* stands for as `joined` finds them."""
    breaks = {at for found in _BREAK.finditer(text) for at in range(*found.span())}
    return _escapes(text, breaks)


def _escapes(text: str, without: Container[int] = ()) -> Iterator[tuple[int, int, str]]:
    """Yield the characters that *text* stands for, layer by layer as `decoded` finds them, with their places in *text*."""
    parts = [(at, at + 1, char) for at, char in enumerate(text) if at not in without]
    for _ in range(_MOST_LAYERS):
        made, at = [], 0
        for found in _ESCAPE.finditer("".join(char for *_, char in parts)):
            made += parts[at : found.start()]
            made += [(parts[found.start()][0], parts[found.end() - 1][1], char) for char in _character(found)]
            at = found.end()
        if not at:
            break
        parts = made + parts[at:]
    return ((start, end, _COMPARED[ord(char)]) for start, end, char in parts)


class Redactor:
    """Hides *secrets*; called with a text it returns it without them."""

    def __init__(self, secrets: Iterable[str]):
        secrets = set(secrets)
        parts = {part for secret in secrets for part in (secret, *secret.splitlines()) if len(part.strip()) >= SHORTEST}
        spelt = {form for part in parts for form in forms(part)}
        coded = {form for part in parts for form in _coded(part)}
        plain, other = (_long(map(read, texts)) for read, texts in ((plainly, spelt | coded), (decoded, parts)))
        self._views = tuple(
            _View(read, tokens, needles, frozenset(needle[max(0, end - _TAIL) : end] for needle in needles for end in range(1, len(needle))))
            for read, tokens, needles in ((plainly, _characters, plain), (decoded, _escapes, other), (joined, _joined_escapes, other))
            if needles
        )
        short = {secret.strip() for secret in secrets if SHORTEST_WORD <= len(secret.strip()) < SHORTEST}
        words = {form for secret in short for form in forms(secret) if len(form.strip()) >= SHORTEST_WORD}
        exact = [form for form in spelt if len(form.strip()) >= SHORTEST]
        self._exact = _any_of(exact)
        self._words = _any_of(words, r"(?<!\w)", r"(?!\w)")
        self._has_odd = any(len(plainly(form)) < SHORTEST for form in exact)  # of quotes and spaces: no view has them
        self.longest = max(map(len, plain), default=0)

    def __call__(self, text: str) -> str:
        count = 1 if not _MAY_BE_ESCAPED.search(text) else 2 if "\n" not in text else 3  # else they are the same
        views = self._views[:count]
        spans = {span for view in views for span in view.spans(text)}
        if self._exact and (spans or self._has_odd):
            spans |= {found.span() for found in self._exact.finditer(text)}  # with the quotes at their ends
        if self._words:
            spans |= {found.span() for found in self._words.finditer(text)}
        shown, at = [], 0
        for start, end in _joined(spans):
            shown += [text[at:start], "\n".join([HIDDEN] * (text.count("\n", start, end) + 1))]
            at = end
        return "".join([*shown, text[at:]])

    def begun(self, lines: list[str]) -> int:
        """Return how many of the last *lines* may have the beginning of a secret that goes on in the next one."""
        most = 0
        for view in self._views:
            text, open_ = _glued(lines), 0  # characters of an escape that the next line goes on with
            if view.read is joined and (broken := _BEGUN_ESCAPE.search(text)):
                open_ = len(text) - broken.start()
            size, count = view.begun(text[: len(text) - open_]), 0
            while count < len(lines) and (size or open_) and not _holds(view, _glued(lines[len(lines) - count :]), size, open_):
                count += 1
            while 0 < count < len(lines) and _BEGUN_ESCAPE.search(_glued(lines[: len(lines) - count])):
                count += 1
            most = max(most, count)
        return most


def _any_of(texts: Iterable[str], before: str = "", behind: str = "") -> re.Pattern[str] | None:
    """Return what finds *texts* in any case, the longest first; None where there are none."""
    found = "|".join(map(re.escape, sorted(texts, key=len, reverse=True)))
    return re.compile(f"{before}(?:{found}){behind}", re.I) if found else None


def _glued(lines: list[str]) -> str:
    """Return *lines* as one, without what indents them."""
    return _BREAK.sub("", "\n".join(lines))


def _holds(view: _View, text: str, size: int, open_: int) -> bool:
    """Tell whether *text* has the last *open_* characters, and before them *size* as they are compared."""
    return len(text) >= open_ and len(view.read(text[: len(text) - open_])) >= size


class Lines:
    """Hides secrets in lines that come one by one, also those that go on in the next line.

    A line that may end with the beginning of a secret is kept back until the next one has come.
    """

    def __init__(self, redact: Redactor):
        self._redact = redact
        self._kept: list[str] = []

    def more(self, line: str) -> list[str]:
        """Take the next line, and return those that can be shown now."""
        lines = self._redact("\n".join([*self._kept, line])).split("\n")
        kept = self._redact.begun(lines)
        if kept > self._redact.longest:  # blank lines without end
            kept = 0
        self._kept = lines[len(lines) - kept :]
        return lines[: len(lines) - kept]

    @property
    def is_open(self) -> bool:
        """Tell whether a line is kept back."""
        return bool(self._kept)

    def rest(self) -> list[str]:
        """Return what is left when there are no more lines."""
        lines, self._kept = self._kept, []
        return lines


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return spans that do not overlap, in their order."""
    made: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if made and start < made[-1][1]:
            made[-1] = (made[-1][0], max(end, made[-1][1]))
        else:
            made.append((start, end))
    return made


def _long(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({text for text in texts if len(text) >= SHORTEST}))


def forms(text: str) -> set[str]:
    """Return a secret as programs write it, and each form also as our logs have it, without what a terminal obeys."""
    data = text.encode("utf-8", "surrogatepass")
    made = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    made |= {repr(text)[1:-1], ascii(text)[1:-1], repr(data)[2:-1]}
    made |= {quote(data, safe=""), quote(data), quote_plus(data), html.escape(text)}
    made |= {text.replace("'", one) for one in ("''", "'\"'\"'", "'\\''")}  # of SQL and of shells
    return made | {"".join(char for char in form if char.isprintable() or char in "\t\n") for form in made}


def _coded(text: str) -> Iterator[str]:
    """Yield what a secret is in hex, and in base64 wherever in a longer text it stands."""
    data = text.encode("utf-8", "surrogatepass")
    found = [data.hex()]
    for before in range(3):
        bits = 8 * (before + len(data))
        coded = base64.b64encode(b"\0" * before + data).decode()[-(-8 * before // 6) : bits // 6]
        found += [coded, coded.replace("+", "-").replace("/", "_")]
    return (form for form in found if len(form) >= _SHORTEST_CODED)
