"""No spelling of a secret gets into output or logs; what is beside it does."""

from __future__ import annotations

import base64
import html
import json
import shlex
import sys
import urllib.parse
from pathlib import Path
from time import process_time

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from target_meltano.elt.processes import Process, output, plain
from target_meltano.elt.redaction import HIDDEN, SHORTEST, Lines, Redactor

SPELLINGS = {
    "as it is": str,
    "upper case": str.upper,
    "lower case": str.lower,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON with letters of all scripts": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON in JSON": lambda text: json.dumps(json.dumps(text))[1:-1],
    "repr": lambda text: repr(text)[1:-1],
    "repr of bytes": lambda text: repr(text.encode())[2:-1],
    "percent": lambda text: urllib.parse.quote(text, safe=""),
    "percent, lower case": lambda text: urllib.parse.quote(text, safe="").lower(),
    "form": urllib.parse.quote_plus,
    "all percent": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "percent twice": lambda text: urllib.parse.quote(urllib.parse.quote(text, safe=""), safe=""),
    "shell": shlex.quote,
    "shell, by a backslash": lambda text: text.replace("'", "'\\''"),
    "SQL": lambda text: text.replace("'", "''"),
    "HTML": html.escape,
    "HTML, decimal": lambda text: html.escape(text).replace("&#x27;", "&#39;"),
}
TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), min_size=SHORTEST, max_size=40)
WORDS = st.text("abcXYZ019-_.~!@#$^*()[]{}<>|;:,?/=%&+'\"\\ \u00e9\u00df\u0436\u5b57\U0001f600", min_size=8, max_size=40)


def lines(redact: Redactor, told: list[str]) -> list[str]:
    """Return what is shown of lines that a process tells."""
    shown = Lines(redact)
    return [*(line for one in told for line in shown.more(one)), *shown.rest()]


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(secret=TEXTS | WORDS)
@example(secret="canary-\u00e9\"'\\n %41&amp;")
@example(secret="line 1\nline 2")
@example(secret="00'0")
@example(secret="\"'' a")
def test_a_secret_is_hidden_in_each_spelling(spelling: str, secret: str) -> None:
    """Neither it nor that spelling of it is there any more, and what is around it is."""
    spelt = plain(SPELLINGS[spelling](secret))
    assume("**" not in secret)  # which is how it is hidden
    assume(len(plain(secret).strip()) >= SHORTEST and len(spelt.strip()) >= SHORTEST)
    if spelling in ("JSON in JSON", "percent twice", "all percent", "upper case", "lower case", "HTML, decimal"):  # by what texts have in common
        assume(sum(char.isalnum() for char in secret) >= SHORTEST and not any(char in secret for char in "\\%&"))
    shown = Redactor([secret])(f"<[({spelt})]>")
    assert HIDDEN in shown
    assert spelt.strip() not in shown
    assert shown.startswith("<[(")
    assert shown.endswith(")]>")


@given(secret=st.text("abcdefXYZ0123456789-_", min_size=9, max_size=40), before=st.binary(max_size=4), after=st.binary(max_size=4))
def test_a_secret_is_hidden_in_base64_and_hex(secret: str, before: bytes, after: bytes) -> None:
    data = secret.encode()
    for coded in (base64.b64encode(before + data + after).decode(), base64.urlsafe_b64encode(before + data + after).decode()):
        assert len(Redactor([secret])(coded).replace(HIDDEN, "")) <= 2 * (len(before) + len(after) + 3)
    assert set(Redactor([secret])(f"x {data.hex()} ~ {data.hex().upper()}").split()) == {"x", "~", HIDDEN}


@given(secret=st.text("abcdefgXYZ0123456789-_", min_size=6, max_size=30), data=st.data())
def test_a_secret_over_several_lines_is_hidden(secret: str, data: st.DataObject) -> None:
    """Wherever a log breaks it, indented or not; the lines before and behind are shown, in their order."""
    cuts = sorted(data.draw(st.sets(st.integers(1, len(secret) - 1), min_size=1, max_size=3)))
    parts = [secret[start:end] for start, end in zip([0, *cuts], [*cuts, len(secret)], strict=True)]
    told = ["~", f"key: {parts[0]}", *(f"  {part}" for part in parts[1:-1]), f"  {parts[-1]} !", "~"]
    shown = lines(Redactor([secret]), told)
    assert shown == ["~", f"key: {HIDDEN}", *(HIDDEN for _ in parts[1:-1]), f"{HIDDEN} !", "~"] or "".join(parts) not in "".join(
        line.strip() for line in shown
    )
    assert len(shown) == len(told)
    assert shown[0] == shown[-1] == "~"


@given(secrets=st.sets(st.text("xyzXYZ89", min_size=5, max_size=12), max_size=3), told=st.lists(st.text("abc %\\&\"'n0-", max_size=30), max_size=8))
def test_what_is_no_secret_is_told_as_it_is(secrets: set[str], told: list[str]) -> None:
    assert lines(Redactor(secrets), told) == told


@pytest.mark.parametrize(
    ("secret", "line"),
    [
        ("name-7f3a", r"C:\name-7f3a"),
        ("41secret", "at %41secret"),
        ("q\u0131r\u0131k-key", "Q\u0131R\u0131K-KEY"),
        ("stra\u00dfe-9", "STRASSE-9"),
    ],
    ids=["behind a backslash", "behind a percent sign", "Turkish", "German"],
)
def test_what_stands_in_front_changes_nothing(secret: str, line: str) -> None:
    assert secret.casefold() not in Redactor([secret])(line).casefold()
    assert HIDDEN in Redactor([secret])(line)


ESCAPES = {
    "percent": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "bytes": lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode()),
    "JSON": lambda text: "".join(f"\\u{int.from_bytes(text.encode('utf-16-be')[at : at + 2], 'big'):04x}" for at in range(0, len(text.encode("utf-16-be")), 2)),
    "code points": lambda text: "".join(f"\\U{ord(char):08x}" for char in text),
    "HTML": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "HTML, hex": lambda text: "".join(f"&#x{ord(char):x};" for char in text),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "JSON in JSON": lambda text: json.dumps(json.dumps(text))[3:-3],
    "percent, as needed": lambda text: urllib.parse.quote(text, safe=""),
}


@pytest.mark.parametrize("spelling", ESCAPES)
@pytest.mark.parametrize("secret", ["tokenABC123xyz", "pa55:w/o+rd=\u00e9%x9", "\u00e9\u0436\u5b57\U0001f600-secret"], ids=ascii)
def test_a_secret_that_a_line_breaks_within_an_escape_is_hidden(spelling: str, secret: str) -> None:
    """Wherever that is, in two lines or three; nothing of the secret is left on either side of it."""
    spelt = ESCAPES[spelling](secret)
    cuts = [(cut, len(spelt)) for cut in range(1, len(spelt))] + [(cut, cut + size) for cut in range(1, len(spelt) - 6) for size in (1, 2, 5)]
    for first, last in cuts:
        told = ["~", f"key: {spelt[:first]}", *(f"  {part}" for part in (spelt[first:last], spelt[last:]) if part), "~"]
        shown = lines(Redactor([secret]), told)
        assert len(shown) == len(told)
        left = "".join(shown[1:-1]).replace("key:", "").replace(HIDDEN, "")
        assert sum(map(str.isalnum, left)) <= (spelling == "base64"), (told, shown)  # some bits, in its last letter


@given(secret=st.text("abXY0189", min_size=3, max_size=3), around=st.sampled_from(["{}", "pw={} x", '"{}"', "({}),", "u:{}@h", "a-{}-b", "\u00fc {}"]))
def test_a_secret_of_three_characters_is_hidden_as_a_word(secret: str, around: str) -> None:
    """In any case and spelling, and not where it is a part of a longer one."""
    for one in (secret, secret.upper(), secret.lower()):
        assert Redactor([secret])(around.format(one)) == around.format(HIDDEN)
    for longer in (f"q{secret}", f"{secret}_q", f"\u00fc{secret}", f"{secret}7"):
        assert Redactor([secret])(around.format(longer)) == around.format(longer)


@pytest.mark.parametrize("spelling", ["JSON", "repr", "percent", "shell, by a backslash", "SQL", "HTML"])
@given(secret=st.text("ab\"'&/ \u00e9", min_size=3, max_size=3))
def test_a_secret_of_three_characters_is_hidden_in_its_spellings(spelling: str, secret: str) -> None:
    assume(len(secret.strip()) == 3)
    assert Redactor([secret])(f"= {SPELLINGS[spelling](secret)} =") == f"= {HIDDEN} ="


def test_shorter_ones_are_shown() -> None:
    assert Redactor(["ab", "", " x "])("ab x") == "ab x"


def test_a_number_is_hidden_in_each_spelling_of_json() -> None:
    assert Redactor(["4711.50"])('{"pin": 4711.50, "n": "4711.50"}') == f'{{"pin": {HIDDEN}, "n": "{HIDDEN}"}}'


def test_a_key_of_many_lines_is_hidden_line_by_line() -> None:
    """Also where each line of the log has something in front."""
    body = [f"{number:02}MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" for number in range(20)]
    secret = "\n".join(["-----BEGIN PRIVATE KEY-----", *body, "-----END PRIVATE KEY-----"])
    for told in (secret.split("\n"), [f"INFO {line}" for line in secret.split("\n")], [json.dumps({"private_key": secret})]):
        shown = lines(Redactor([secret]), told)
        assert len(shown) == len(told)
        assert not any("MIIE" in line for line in shown)


def test_blank_lines_without_end_are_not_kept_back() -> None:
    shown = Lines(Redactor(["token-123"]))
    told = [line for one in ["tok", *[""] * 1000] for line in shown.more(one)]
    assert len(told) > 900


def test_logs_are_read_quickly() -> None:
    """A megabyte of a tap's log, with eight secrets of which one is a key of 1.7 kB, in under four seconds of CPU."""
    secrets = [f"secret-{number}-4f9a2b7c" for number in range(7)] + ["\n".join(f"{n:02}" + "Ab9/" * 15 for n in range(28))]
    told = [f'2026-01-01 INFO {{"path": "/v1/items?page={n}&at=2026-01-01T00%3A00%3A00Z", "n": {n}}}' for n in range(11_000)]
    shown, started = Lines(Redactor(secrets)), process_time()
    for line in told:
        shown.more(line)
    assert process_time() - started < 4


def test_processes_tell_no_secret_that_goes_on_in_the_next_line(tmp_path: Path) -> None:
    """Neither in the log, nor in the lines that tell why it failed."""
    redact = Redactor(["canary-4711-abc"])
    program = [sys.executable, "-c", "import sys; print('error: canary-47', '11-abc', 'end', sep=chr(10), file=sys.stderr); sys.exit(3)"]
    process = Process(program, tmp_path, {}, tmp_path / "log", redact)
    assert process.wait() == 3
    assert (tmp_path / "log").read_text() == f"error: {HIDDEN}\n{HIDDEN}\nend\n"
    assert output(program, tmp_path, {}, redact) == (3, "", f"error: {HIDDEN}")
