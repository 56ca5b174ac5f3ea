"""What is between the connectors and the engine: sign-in, retries, faults, and a log of it all.

    /test/log      what was asked, in order: statements, sign-ins, renewals, uploads
    /test/faults   POST {"sql": regex, "how": "503", "times": 1, "skip": 0} plans a fault
    /test/refused  POST {text: tells} lets COPY refuse files with a text; it tells the row, or not
    /test/clear    forgets all of it

A request that comes again with the id of an earlier one gets the first answer, as Snowflake's own
drivers expect.
"""

from __future__ import annotations

import gzip
import json
import re
import urllib.parse
from dataclasses import dataclass, field
from typing import Any

import blobs
import fakesnow.server as engine
import strict

LOGIN, RENEW, QUERY = "/session/v1/login-request", "/session/token-request", "/queries/v1/query-request"
BROWSE = "/session/authenticator-request"  # asks where a browser is to go
EXPIRED = {
    "390112": "Session token expired",
    "390114": "Authentication token has expired. The user must authenticate again.",
}


class Cut(Exception):
    """The connection is to be cut, without an answer."""


@dataclass
class Fault:
    """What goes wrong with statements that *sql* is found in: after *skip* of them, *times* of them.

    *how*: "503"; "before" and "after": the connection is cut before or after the statement is done;
    "390112", "390114": its token has expired; "gone": as 390114, and the session is really gone;
    "aborts": its transaction is rolled back before, and the session lives on; "deaf": the session gets no answer any more, "commits": and the statement is done; "error": refused
    with *number*.
    """

    sql: str
    how: str
    times: int = 1
    skip: int = 0
    number: int = 0

    def is_due(self, sql: str) -> bool:
        if not self.times or not re.search(self.sql, sql):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass
class Answer:
    """What an application has sent, whole."""

    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], message["headers"]
        else:
            self.body += message.get("body", b"")

    async def to(self, send: Any) -> None:
        headers = [(name, value) for name, value in self.headers if name.lower() != b"content-length"]
        headers.append((b"content-length", str(len(self.body)).encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def in_json(content: Any, status: int = 200) -> Answer:
    return Answer(status, [(b"content-type", b"application/json")], json.dumps(content).encode())


def refused(code: str, words: str) -> Answer:
    return in_json({"data": None, "code": code, "message": words, "success": False})


class Wire:
    """The ASGI application around fakesnow's."""

    def __init__(self, address: str):
        self.address = address
        self.log: list[dict[str, Any]] = []
        self.faults: list[Fault] = []
        self.majors: dict[str, int] = {}  # of the connectors, by token
        self.deaf: set[str] = set()  # sessions that get no answer
        self.answers: dict[str, Answer] = {}  # by the ids of requests

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await engine.app(scope, receive, send)
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        answer = await self._answer(scope, body)
        return await answer.to(send)

    async def _answer(self, scope: Any, body: bytes) -> Answer:
        path, query = scope["path"], scope["query_string"].decode()
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        if path.startswith("/test/"):
            return self._of_test(path, body)
        if path.startswith(blobs.PREFIX):
            self.log.append({"blob": path, "method": scope["method"], "size": len(body)})
            status, made, content = blobs.handle(scope["method"], path, query, body)
            kind = _Head if scope["method"] == "HEAD" else Answer
            return kind(status, [(name.encode(), value.encode()) for name, value in made.items()], content)
        asked = json.loads(gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body or b"{}") if path in (LOGIN, RENEW, QUERY, BROWSE) else {}
        if path == BROWSE:
            place = f"https://sso.example/?port={asked['data']['BROWSER_MODE_REDIRECT_PORT']}"
            return in_json({"data": {"ssoUrl": place, "proofKey": "proof"}, "success": True, "code": None, "message": None})
        if path == RENEW:
            return self._renewed(asked)
        if path == QUERY:
            return await self._query(scope, body, asked, query, headers.get("authorization", "")[17:-1])
        if path == "/session" and "delete=true" in query:
            token = headers.get("authorization", "")[17:-1]
            if token.rstrip("+") in self.deaf:
                raise Cut
            self._end(token)
            return in_json({"data": None, "code": None, "message": None, "success": True})
        answer = await self._engine(scope, body)
        if path == LOGIN:
            self._signed_in(asked, answer, query)
        return answer

    async def _engine(self, scope: Any, body: bytes) -> Answer:
        answer, sent = Answer(), False

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if sent:
                return {"type": "http.disconnect"}
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await engine.app(scope, receive, answer)
        return answer

    # --- the session

    def _signed_in(self, asked: dict[str, Any], answer: Answer, query: str) -> None:
        self.log.append({"login": asked["data"]})
        found = json.loads(answer.body)
        if found.get("success"):
            data = found["data"]
            more = {"masterToken": f"master-{data['token']}", "validityInSeconds": 3600, "masterValidityInSeconds": 14400, "sessionId": 1}
            found["data"] = {**more, **data}
            self.majors[data["token"]] = int(asked["data"].get("CLIENT_APP_VERSION", "4").split(".")[0])
            session = engine.sessions[data["token"]]
            session.role = urllib.parse.parse_qs(query).get("roleName", ["LOADER"])[0]
            session.warehouse = urllib.parse.parse_qs(query).get("warehouse", [""])[0]
            data["sessionInfo"]["roleName"] = session.role
            wanted = {name.upper(): value for name, value in (asked["data"].get("SESSION_PARAMETERS") or {}).items()}.get("AUTOCOMMIT", True)
            session.commits_itself = str(wanted).lower() != "false"
            session._autocommit = True  # the engine's own half of it is left aside
            answer.body = json.dumps(found).encode()

    def _renewed(self, asked: dict[str, Any]) -> Answer:
        old = asked.get("oldSessionToken", "")
        self.log.append({"renewed": old})
        if old not in engine.sessions:
            return refused("390114", EXPIRED["390114"])
        new = f"{old}+"
        engine.sessions[new], self.majors[new] = engine.sessions[old], self.majors.get(old, 4)
        data = {"sessionToken": new, "validityInSecondsST": 3600, "masterToken": f"master-{new}", "validityInSecondsMT": 14400, "sessionId": 1}
        return in_json({"data": data, "success": True, "code": None, "message": None})

    # --- statements

    async def _query(self, scope: Any, body: bytes, asked: dict[str, Any], query: str, token: str) -> Answer:
        request = urllib.parse.parse_qs(query).get("requestId", [""])[0]
        sql = asked.get("sqlText", "")
        entry = {"sql": sql, "session": token.rstrip("+"), "request": request, "parameters": asked.get("parameters") or {}, "bindings": asked.get("bindings")}
        self.log.append(entry)
        if token.rstrip("+") in self.deaf:
            raise Cut
        if request in self.answers:
            entry["repeated"] = True
            return self.answers[request]
        fault = next((one for one in self.faults if one.is_due(sql)), None)
        if fault:
            entry["fault"] = fault.how
            before = self._before(fault, token)
            if before:
                return before
        answer = await self._engine(scope, body)
        self._complete(answer, sql, token, entry)
        if answer.status != 500:  # which is a fault of the engine, and not the statement's answer
            self.answers[request] = answer
        if fault and fault.how == "commits":
            self.deaf.add(token.rstrip("+"))
        if fault and fault.how in ("after", "commits"):
            raise Cut
        return answer

    def _before(self, fault: Fault, token: str) -> Answer | None:
        if fault.how == "503":
            return in_json({"message": "unavailable"}, 503)
        if fault.how == "aborts":
            engine.sessions[token].cursor().end_transaction(commit=False)
        if fault.how == "deaf":
            self.deaf.add(token.rstrip("+"))
        if fault.how in ("before", "deaf"):
            raise Cut
        if fault.how == "error":
            code = f"{fault.number:06d}"
            return in_json({"data": {"errorCode": code, "sqlState": "57014"}, "code": code, "message": "as planned", "success": False})
        if fault.how == "gone":
            self._end(token)
            return refused("390114", EXPIRED["390114"])
        return refused(fault.how, EXPIRED[fault.how]) if fault.how in EXPIRED else None

    @staticmethod
    def _end(token: str) -> None:
        """Let a session be gone, with what it has not committed."""
        connection = engine.sessions.get(token)
        if connection:
            connection.cursor().end()
        for known in [one for one in engine.sessions if one.rstrip("+") == token.rstrip("+")]:
            del engine.sessions[known]

    def _complete(self, answer: Answer, sql: str, token: str, entry: dict[str, Any]) -> None:
        if answer.status == 401:  # the session is gone
            answer.status = 200
            answer.body = refused("390114", EXPIRED["390114"]).body
            return
        found = json.loads(answer.body)
        if not found.get("success"):
            entry["error"] = found.get("message")
            return
        if "stageInfo" in found["data"]:
            blobs.put_answer(found, sql, self.majors.get(token, 4), self.address)
            answer.body = json.dumps(found).encode()

    # --- tests

    def _of_test(self, path: str, body: bytes) -> Answer:
        if path == "/test/faults":
            self.faults.append(Fault(**json.loads(body)))
        elif path == "/test/refused":
            strict.catalogue.refused.update(json.loads(body))
        elif path == "/test/clear":
            self.log.clear()
            self.faults.clear()
            strict.catalogue.refused.clear()
        return in_json(self.log if path == "/test/log" else {})


class _Head(Answer):
    """Of a HEAD request: the length of what is not sent."""

    async def to(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": b""})
