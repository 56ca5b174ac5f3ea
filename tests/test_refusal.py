"""A server that starts, or is full, is waited for in whatever language it says so; one that refuses us is not."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
import pytest

from target_meltano_postgres import faults, session

STARTS = ("57P03", "das Datenbanksystem startet")
IS_FULL = ("53300", "tut mir leid, schon zu viele Verbindungen")
NO_PASSWORD = ("28P01", "Passwort-Authentifizierung für Benutzer »u« fehlgeschlagen")


@contextmanager
def server(code: str, words: str) -> Iterator[int]:
    """Yield the port of one that refuses all, as PostgreSQL does where lc_messages is German."""
    fields = {"S": "FATAL", "V": "FATAL", "C": code, "M": words}
    said = b"".join(f"{kind}{text}".encode() + b"\0" for kind, text in fields.items()) + b"\0"

    def answer(client: socket.socket) -> None:
        with client, client.makefile("rb") as asked:
            while packet := asked.read(4):
                told = asked.read(struct.unpack("!I", packet)[0] - 4)
                if told[:4] in (struct.pack("!I", 80877103), struct.pack("!I", 80877104)):
                    client.sendall(b"N")  # no TLS, no GSSAPI
                    continue
                client.sendall(b"E" + struct.pack("!I", len(said) + 4) + said)
                return

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            answer(client)

    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("refused", [STARTS, IS_FULL], ids=["starts", "full"])
def test_a_server_that_takes_nobody_now_is_waited_for(refused: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "CONNECT_SECONDS", 2)
    told: list[str] = []
    with server(*refused) as port, pytest.raises(psycopg2.OperationalError, match=refused[1]):
        session.start({"host": "127.0.0.1", "port": port, "user": "u", "dbname": "d"}, tell=told.append)
    assert len(told) == 1
    assert refused[1] in told[0]


def test_one_that_refuses_us_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    with server(*NO_PASSWORD) as port, pytest.raises(psycopg2.OperationalError, match=NO_PASSWORD[1]):
        session.start({"host": "127.0.0.1", "port": port, "user": "u", "dbname": "d"})
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("context", "row", "column"),
    [
        ('COPY t, line 3, column a: "x"', 2, "a"),
        ('COPY t, Zeile 3, Spalte a: "x"', 2, "a"),
        ("COPY t, ligne 3, colonne a b", 2, "a b"),
        ("COPY t, строка 3", 2, None),
        ("SQL-Funktion »f« Anweisung 1\nCOPY __t, Zeile 12", 11, None),
    ],
)
def test_the_row_of_a_copy_is_known_in_other_languages(context: str, row: int, column: str | None) -> None:
    class Diag:
        pass

    class Error(Exception):
        diag = Diag()

    Error.diag.context = context
    Error.diag.message_primary = "words"
    error = Error()
    assert faults.refused_row(error) == row
    assert faults._copied(error)[2] == column
