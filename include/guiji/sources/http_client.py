"""One question to a department's interface and its answer: whole, decoded, with a business code that means success.

What may become better is tried again a few times (429 and 503 with Retry-After, 5xx, a broken connection, a body that
breaks off); what may not is raised at once. No answer is larger than declared, none takes longer than
``extra.page_timeout``, and nothing that the other side says leads us to another server: redirects are not followed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from guiji.errors import DeliveryRefused, GuijiError, SourceRefused, SourceUnavailable
from guiji.masking import scrub
from guiji.sources.formats.json import Ambiguous, find_path, parse_json
from guiji.sources.formats.json_stream import MOST_VALUES
from guiji.sources.http_body import DamagedBody, decode_body, read_body
from guiji.sources.http_signature import Unsigned, sign
from guiji.sources.http_token import describe_missing_token, write_token_request
from guiji.sources.tls import find_certificate_error, make_tls_context, refuse_certificate

if TYPE_CHECKING:
    import httpx

    from guiji.catalog.models import HttpSource, TokenRequest
    from guiji.connections import Connection

TIMEOUT = 30.0  # seconds without a byte; the connection's extra.timeout overrides it
PAGE_TIMEOUT = 600.0  # seconds for one whole answer; extra.page_timeout
ATTEMPTS = 5  # extra.attempts
LONGEST_WAIT = 120.0  # seconds; a server that asks for more is unavailable for this run


@dataclass(frozen=True)
class Call:
    """One question. ``link``: URL of a page that the interface itself named, on the same server."""

    query: tuple[tuple[str, str], ...] = ()
    body: Mapping[str, Any] = field(default_factory=dict)
    link: str | None = None


@dataclass(frozen=True)
class Answer:
    """``url`` is where it came from, ``link`` the text of its Link headers, ``size`` the unpacked bytes of its body."""

    document: Any
    url: str
    link: str
    size: int


class TryAgain(Exception):
    """An answer that may be better next time. ``wait``: seconds that the server asks for."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


class TokenRefused(TryAgain):
    """The interface no longer takes the token that it gave: another one may do."""


class Interface:
    """A department's interface and how we log in; owns its connection until ``close``."""

    def __init__(self, resource_id: str, source: HttpSource, connection: Connection) -> None:
        import httpx

        # they write every URL and every header that comes, and with them whatever a department puts there
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.source = source
        self.connection = connection
        self.what = f"接口 {source.path}"
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": f"guiji ({resource_id})"}
        auth = None
        if source.token_header and source.token is None:
            headers[source.token_header] = source.token_prefix + (connection.password or "")
        elif connection.login and source.signature is None and source.token is None:
            auth = (connection.login, connection.password or "")
        self._client = httpx.Client(
            base_url=make_base_url(connection),
            headers=httpx.Headers(headers, encoding="utf-8"),
            auth=auth,
            timeout=float(connection.extra.get("timeout", TIMEOUT)),
            verify=make_tls_context(connection),
            limits=httpx.Limits(max_connections=1),
            follow_redirects=False,
        )
        self._stream: Any = None  # of the one connection, to be able to cut it
        self._not_before = 0.0
        self._token: str | None = None  # given by ``source.token``
        self._may_renew = False

    @property
    def base_url(self) -> httpx.URL:
        return self._client.base_url

    def close(self) -> None:
        self._client.close()

    def ask(self, call: Call) -> Answer:
        """The answer, tried a few times. Raises SourceRefused, SourceUnavailable, DeliveryRefused."""
        import httpx

        attempts = int(self.connection.extra.get("attempts", ATTEMPTS))
        self._may_renew = self._token is not None  # one that was given for this question is refused for good
        for attempt in range(1, attempts + 1):
            try:
                return self._ask_logged_in(call)
            except (TryAgain, httpx.TransportError) as exc:
                if (flaw := find_certificate_error(exc)) is not None:
                    raise refuse_certificate(self.connection, flaw) from None
                asked = exc.wait if isinstance(exc, TryAgain) else None
                if attempt == attempts or (asked or 0) > LONGEST_WAIT:
                    raise self._give_up(exc, attempt, asked) from None
            time.sleep(asked if asked is not None else min(0.5 * 2 ** (attempt - 1), LONGEST_WAIT))
        raise AssertionError

    def _give_up(self, exc: Exception, attempts: int, asked: float | None) -> SourceUnavailable:
        why = str(exc) if isinstance(exc, TryAgain) else type(exc).__name__
        if asked and asked > LONGEST_WAIT:
            why += f"; it asks to wait {asked:.0f} s"
        return SourceUnavailable(
            f"Connection {self.connection.conn_id}: {self.source.path} gave no good answer in {attempts} tries ({why}). "
            "Nothing was staged; it will be tried again, check that the interface is up.",
            connection=self.connection.conn_id,
        )

    def _ask_logged_in(self, call: Call) -> Answer:
        try:
            return self._ask_once(call)
        except TokenRefused:
            self._token, self._may_renew = None, False
            return self._ask_once(call)

    def _ask_once(self, call: Call) -> Answer:
        if self.source.token is not None and self._token is None:
            self._token = self._log_in(self.source.token)
        self._keep_pace()
        request = self._build(call)
        document, headers, size = self._exchange(request, self.source.path)
        source = self.source
        self._demand_one_meaning(document, source.records, source.total, source.code, source.paging.next)
        self._check_code(document)
        return Answer(document, str(request.url), ", ".join(headers.get_list("Link")), size)

    def _log_in(self, spec: TokenRequest) -> str:
        """The token that the interface gives for the connection's login."""
        self._keep_pace()
        self._may_renew = False
        request = write_token_request(self._client, spec, self.connection, {"trace": self._trace})
        document, _, _ = self._exchange(request, spec.path)
        self._demand_one_meaning(document, spec.found)
        token = find_path(document, spec.found)
        if not isinstance(token, str) or not token.isprintable() or not token.strip():
            said = self._scrub(describe_missing_token(document, self.source))
            raise SourceRefused(
                f"Connection {self.connection.conn_id}: {spec.path} gave no token at {spec.found}{said}. Nothing was read; "
                f"mend the login of connection {self.connection.conn_id}, or source.token in the catalog.",
                connection=self.connection.conn_id,
            )
        return token.strip()

    def _exchange(self, request: httpx.Request, path: str) -> tuple[Any, httpx.Headers, int]:
        """(document, headers, bytes of the body) of one answer."""
        with self._cut_when_late(), self._open(request) as response:
            self._check_status(response, path)
            try:
                body = read_body(response, self.source, self.connection)
            except DamagedBody as exc:
                raise TryAgain(str(exc)) from None
        text = decode_body(body, response.headers.get("Content-Type", ""), self.source)
        if text.count(",") > MOST_VALUES:
            raise DeliveryRefused(
                f"{self.what}：一次返回超过 {MOST_VALUES:,} 个值。现有数据继续有效；请减小每页条数后重新提供。",
                rule_id="delivery.too_large",
            )
        try:
            return parse_json(text), response.headers, len(body)
        except (ValueError, RecursionError):
            # an HTML login page, an empty body or half an answer
            raise TryAgain("the body is not JSON") from None

    def _demand_one_meaning(self, document: Any, *paths: str | None) -> None:
        """Raises DeliveryRefused where a key stands twice on the way to what is read: either may be meant."""
        for path in filter(None, paths):
            parts = path.split(".")
            for depth in range(len(parts)):
                if isinstance(find_path(document, ".".join(parts[:depth])), Ambiguous):
                    raise DeliveryRefused(
                        f"{self.what}：返回内容中同一数据项出现了两次（在“{path}”的路径上），无法判断以哪一个为准。"
                        "现有数据继续有效；请修复接口后重新提供。",
                        rule_id="delivery.structure",
                    )

    def _keep_pace(self) -> None:
        """Waits until the department's rate allows another request; retries count as well."""
        if self.source.max_per_minute is None:
            return
        time.sleep(max(0.0, self._not_before - time.monotonic()))
        self._not_before = time.monotonic() + 60 / self.source.max_per_minute

    def _build(self, call: Call) -> httpx.Request:
        import httpx

        url = httpx.URL(call.link) if call.link else self.base_url.join("/" + self.source.path.lstrip("/"))
        query = list(call.query)
        headers: dict[str, str] = {}
        content = b""
        if self.source.method == "post":
            content = json.dumps(call.body, ensure_ascii=False).encode()
            headers["Content-Type"] = "application/json; charset=utf-8"
        if self._token is not None and self.source.token_header:
            headers[self.source.token_header] = self.source.token_prefix + self._token
        if (spec := self.source.signature) is not None:
            if spec.place == "query":  # a link repeats what its page was asked with
                old = (spec.key, spec.timestamp, spec.nonce, spec.signature)
                url = url.copy_with(params=[(k, v) for k, v in url.params.multi_items() if k not in old])
            signed = sign(
                spec,
                Unsigned(self.source.method, url.path, [*url.params.multi_items(), *query], content),
                self.connection.login or "",
                self.connection.password or "",
                time.time(),
                secrets.token_hex(16),
            )
            if spec.place == "query":
                query += signed
            else:
                headers |= dict(signed)
        return self._client.build_request(
            self.source.method.upper(),
            url.copy_with(params=[*url.params.multi_items(), *query]) if query else url,
            content=content or None,
            headers=httpx.Headers(headers, encoding="utf-8"),
            extensions={"trace": self._trace},
        )

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._stream = info["return_value"]

    @contextlib.contextmanager
    def _cut_when_late(self) -> Iterator[None]:
        """Cuts the line of an answer that takes too long although bytes keep dribbling in."""
        seconds = float(self.connection.extra.get("page_timeout", PAGE_TIMEOUT))
        late, done = threading.Event(), threading.Event()

        def watch() -> None:
            if done.wait(seconds):
                return
            late.set()
            while True:  # the line may only just be coming up
                line = self._stream.get_extra_info("socket") if self._stream is not None else None
                if line is not None:
                    with contextlib.suppress(OSError):
                        line.shutdown(socket.SHUT_RDWR)
                if done.wait(0.2):
                    return

        threading.Thread(target=watch, name="http-deadline", daemon=True).start()
        too_late = TryAgain(f"the answer took longer than {seconds:g} s")
        try:
            yield
        except GuijiError:
            raise
        except Exception:
            if late.is_set():
                raise too_late from None
            raise
        finally:
            done.set()
        if late.is_set():  # an answer that says no length seems to end where it was cut
            raise too_late

    @contextlib.contextmanager
    def _open(self, request: httpx.Request) -> Iterator[httpx.Response]:
        response = self._client.send(request, stream=True)
        try:
            yield response
        finally:
            response.close()

    def _check_status(self, response: httpx.Response, path: str) -> None:
        status = response.status_code
        conn_id = self.connection.conn_id
        if status in (401, 403):
            if self._may_renew:
                raise TokenRefused(f"HTTP {status}")
            raise SourceRefused(
                f"Connection {conn_id}: {path} answers {status}. Nothing was read, trying again changes nothing; mend "
                f"the token or login of connection {conn_id}.",
                connection=conn_id,
            )
        if status in (408, 425, 429) or status >= 500:
            wait = read_retry_after(response.headers.get("Retry-After"), response.headers.get("Date"))
            raise TryAgain(f"HTTP {status}", wait)
        if 300 <= status < 400:
            raise SourceRefused(
                f"Connection {conn_id}: {path} answers {status} and leads to {self._name_target(response)}; redirects "
                "are not followed, for they would carry our login elsewhere. Nothing was read; write the right host in "
                "the connection and the right path in the catalog.",
                connection=conn_id,
            )
        if status != 200:
            raise SourceRefused(
                f"Connection {conn_id}: {path} answers {status}. Nothing was read; check path and parameters in the "
                "catalog.",
                connection=conn_id,
            )

    @staticmethod
    def _name_target(response: httpx.Response) -> str:
        import httpx

        try:
            target = httpx.URL(response.headers.get("Location", ""))
        except httpx.InvalidURL:
            return "an address that is none"
        return target.host[:100] if target.host else f"path {target.path[:100]}"

    def _check_code(self, document: Any) -> None:
        if not self.source.code:
            return
        found = find_path(document, self.source.code)
        code = str(found).lower() if isinstance(found, bool) else str(found)
        if found is not None and code in self.source.ok:
            return
        message = find_path(document, self.source.message) if self.source.message else None
        said = self._scrub(message)[:200] if message is not None else ""
        shown = self._scrub(code)[:40]
        refused = code in ("401", "403") or (self.source.token is not None and code in self.source.token.expired)
        if refused and self._may_renew:
            raise TokenRefused(f"business code {shown}")
        if refused:
            raise SourceRefused(
                f"Connection {self.connection.conn_id}: {self.source.path} answers code {shown} {said}. Nothing was "
                f"read; mend the token or login of connection {self.connection.conn_id}.",
                connection=self.connection.conn_id,
            )
        raise TryAgain(f"business code {shown} {said}".strip())

    def _scrub(self, said: object) -> str:
        """What the interface says, without personal values, and without our token where it says that back."""
        words = str(said)
        for secret in filter(None, (self._token, self.connection.password, self.connection.login)):
            if len(secret) > 3:
                words = words.replace(secret, "***")
        return scrub(words)


def make_base_url(connection: Connection) -> str:
    """Scheme, host and port of the connection."""
    host = connection.host or "127.0.0.1"
    if "://" not in host:
        scheme = connection.extra.get("scheme") or (
            connection.schema if connection.schema in ("http", "https") else connection.conn_type
        )
        bracketed = f"[{host}]" if ":" in host else host
        host = f"{scheme if scheme in ('http', 'https') else 'http'}://{bracketed}"
    return f"{host}:{connection.port}" if connection.port else host


def read_retry_after(value: str | None, date: str | None) -> float | None:
    """Seconds to wait: given as such, or as a moment by the server's own clock (``date``), or else by ours."""
    if not value:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value)
    with contextlib.suppress(ValueError, TypeError):
        until = parsedate_to_datetime(value)
        now = datetime.now(UTC)
        with contextlib.suppress(ValueError, TypeError):
            now = parsedate_to_datetime(date or "")
        return max(0.0, (_aware(until) - _aware(now)).total_seconds())
    return None


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
