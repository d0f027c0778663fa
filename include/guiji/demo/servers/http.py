"""A department's paged HTTP interface (standard library)."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from guiji.connections import Connection

Record = Mapping[str, Any]
#: the records of a path: a list, or a function of the query parameters
Records = Sequence[Record] | Callable[[Mapping[str, str]], Sequence[Record]]


@dataclass
class HttpFaults:
    """How the interface misbehaves; ``times`` counts down with every spoilt answer (None: for ever).

    ``kind``: ``status`` (answers ``status``, with ``retry_after`` where set), ``business`` (200 with business code 500),
    ``loop`` (always the first page), ``truncated`` (a gzip body cut in half), ``html`` (200 with a login page),
    ``short`` (the last record of the page is missing), ``stall`` (sleeps ``seconds``), ``cut`` (closes half-way),
    ``empty`` (200 with an empty body), ``small_length`` (Content-Length says less than there is), ``dribble`` (a byte
    every ``seconds``, headers first).
    """

    kind: str | None = None
    status: int = 500
    retry_after: int | str | None = None
    seconds: float = 3600.0
    times: int | None = None
    #: spoils only answers to this page, offset or cursor, as text
    at: str | None = None

    def clear(self) -> None:
        self.__dict__.update(HttpFaults().__dict__)

    def take(self, position: str) -> str | None:
        if self.kind is None or (self.at is not None and self.at != position) or self.times == 0:
            return None
        if self.times is not None:
            self.times -= 1
        return self.kind


@dataclass(frozen=True)
class Request:
    """One request as it came; header names in lower case."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class HttpServer(Connection):
    """The running interface: ``GET path?page=1&size=500`` (or ``offset``, or ``cursor``) answers
    ``{"code": "0", "message": "ok", "data": {"records": […], "total": n, "next": …}}``. The same words in the JSON
    body of a POST do the same. A path of ``linked`` gives its first page without them, and the URL of the next one
    in a Link header and as ``data.next_url``."""

    #: path -> records; may be changed while the server runs
    data: dict[str, Records] = field(default_factory=dict)
    #: path -> the whole answer as a function of the query, for interfaces with an envelope of their own
    answers: dict[str, Callable[[Mapping[str, str]], object]] = field(default_factory=dict)
    faults: HttpFaults = field(default_factory=HttpFaults)
    #: path -> (status, headers, body), sent as it is
    raw: dict[str, tuple[int, Mapping[str, str], bytes]] = field(default_factory=dict)
    linked: set[str] = field(default_factory=set)
    #: no page is larger, whatever is asked for
    caps: dict[str, int] = field(default_factory=dict)
    #: path -> encoding of its answers, where it is not UTF-8
    encodings: dict[str, str] = field(default_factory=dict)
    #: path and query of every request, in order
    requests: list[str] = field(default_factory=list)
    #: the same requests whole
    received: list[Request] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in (self.host or "") else f"{self.host}:{self.port}"


@contextlib.contextmanager
def serve_http(
    data: Mapping[str, Records] | None = None,
    *,
    token: str | None = "guiji-token",  # noqa: S107 - a loopback server of the demo
    token_header: str = "X-Token",  # noqa: S107
    conn_id: str = "http_demo",
    host: str = "127.0.0.1",
    port: int = 0,
    admit: Callable[[Request], bool] | None = None,
    certificate: Path | None = None,
) -> Iterator[HttpServer]:
    """Serves ``data``. Without the right token an answer is HTTP 401; ``admit`` decides in its place.

    With ``certificate`` (a PEM file with its key) it is HTTPS.
    """
    state = HttpServer(conn_id, "https" if certificate else "http", data=dict(data or {}))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            state.requests.append(self.path)
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            pairs = tuple(parse_qsl(parts.query, keep_blank_values=True))
            state.received.append(request := Request(self.command, parts.path, pairs, headers, body))
            query = {k: v[-1] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
            if headers.get("content-type") == "application/x-www-form-urlencoded":
                query |= dict(parse_qsl(body.decode(), keep_blank_values=True))
            elif body:
                query |= {k: str(v) for k, v in json.loads(body).items()}
            if not (admit(request) if admit else token is None or self.headers.get(token_header) == token):
                return self._send(401, {"code": "401", "message": "token 无效", "data": None})
            if parts.path in state.raw:
                status, extra, content = state.raw[parts.path]
                return self._send_bytes(status, content, "application/json", extra)
            if parts.path in state.answers:
                return self._send(200, state.answers[parts.path](query))
            if parts.path not in state.data:
                return self._send(404, {"code": "404", "message": "接口不存在", "data": None})
            fault = state.faults.take(query.get("page") or query.get("offset") or query.get("cursor") or "")
            self._answer(parts.path, query, fault)

        do_POST = do_GET

        def _answer(self, path: str, query: dict[str, str], fault: str | None) -> None:
            faults = state.faults
            if fault == "stall":
                time.sleep(faults.seconds)
            elif fault == "status":
                extra = {} if faults.retry_after is None else {"Retry-After": str(faults.retry_after)}
                return self._send(faults.status, {"code": str(faults.status), "message": "服务异常"}, extra)
            elif fault == "business":
                return self._send(200, {"code": "500", "message": "系统繁忙，请稍后再试", "data": None})
            elif fault == "html":
                return self._send_bytes(200, "<html><body>请登录</body></html>".encode(), "text/html; charset=utf-8")
            elif fault == "empty":
                return self._send_bytes(200, b"", "application/json")
            found = state.data[path]
            records = list(found(query) if callable(found) else found)
            headers = {}
            if path in state.linked:
                query = {"cursor": "0", **query}
            if path in state.caps:
                query = {**query, "size": str(min(int(query.get("size") or 500), state.caps[path]))}
            body = {"code": "0", "message": "ok", "data": _page(records, {} if fault == "loop" else query)}
            if fault == "loop":
                body["data"]["records"] = records[: int(query.get("size", "500"))]  # type: ignore[index]
                body["data"]["next"] = "1"  # type: ignore[index]
            if fault == "short":
                body["data"]["records"] = body["data"]["records"][:-1]  # type: ignore[index]
            if path in state.linked and (following := body["data"].get("next")) is not None:  # type: ignore[attr-defined]
                url = f"http://{state.base_url}{path}?{urlencode({**query, 'cursor': following})}"
                headers["Link"] = f'<{path}?cursor=0>; rel="first", <{url}>; title="a, b"; rel="next"'
                body["data"]["next_url"] = url  # type: ignore[index]
            text = json.dumps(body, ensure_ascii=False).encode(state.encodings.get(path, "utf-8"))
            if fault == "dribble":
                return self._dribble(text, faults.seconds)
            if fault == "small_length":
                return self._send_bytes(200, text, "application/json", length=len(text) // 2)
            if fault == "truncated":
                packed = gzip.compress(text)
                return self._send_bytes(
                    200, packed[: len(packed) // 2], "application/json", {"Content-Encoding": "gzip"}
                )
            if fault == "cut":
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text[: len(text) // 2])
                self.close_connection = True
                return None
            if "gzip" in self.headers.get("Accept-Encoding", ""):
                headers["Content-Encoding"], text = "gzip", gzip.compress(text)
            return self._send_bytes(200, text, "application/json", headers)

        def _dribble(self, text: bytes, seconds: float) -> None:
            with contextlib.suppress(OSError):
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n\r\n".encode()
                for byte in head + text:
                    self.wfile.write(bytes([byte]))
                    time.sleep(seconds)

        def _send(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
            self._send_bytes(status, json.dumps(body, ensure_ascii=False).encode(), "application/json", headers)

        def _send_bytes(
            self,
            status: int,
            body: bytes,
            kind: str,
            headers: Mapping[str, str] | None = None,
            length: int | None = None,
        ) -> None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.send_response(status)
                if "Content-Type" not in (headers or {}):
                    self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body) if length is None else length))
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True
        block_on_close = False  # a stalling answer must not hold up the end

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that goes away is what some tests are about

    server = Server((host, port), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="http", daemon=True)
    thread.start()
    object.__setattr__(state, "host", host)
    object.__setattr__(state, "port", server.server_address[1])
    object.__setattr__(state, "password", token)
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def _page(records: Sequence[Record], query: Mapping[str, str]) -> dict[str, Any]:
    """The page that the query asks for, by ``page``, ``offset`` or ``cursor``; everything without one of them."""
    size = int(query.get("size") or query.get("limit") or 500)
    if "page" in query:
        start = (int(query["page"]) - 1) * size
    elif "offset" in query or "cursor" in query:
        start = int(query.get("offset") or query.get("cursor") or 0)
    else:
        start, size = 0, int(query.get("size") or len(records))
    following = str(start + size) if start + size < len(records) else None
    return {"records": list(records[start : start + size]), "total": len(records), "next": following}
