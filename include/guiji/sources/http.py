"""A department's HTTP interface, page by page, trusting nothing it says about itself (F-47).

Pages end with an empty one, or when the declared total is reached; a page that comes twice, a total that does not add
up, a business code that is no success and a body that breaks off are failures, never an end. Answers are tried again
as long as they may become better (429 with Retry-After, 5xx, a broken connection), a few times.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from guiji.errors import DeliveryRefused, GuijiError, SourceRefused, SourceUnavailable
from guiji.masking import scrub
from guiji.records import Delivery, ReadReport, Window
from guiji.sources.columns import Expected, expected_columns
from guiji.sources.formats.json import dump_json, find_path, match_records, parse_json, record_batch

if TYPE_CHECKING:
    import httpx
    import pyarrow as pa

    from guiji.catalog.models import HttpSource, Resource
    from guiji.connections import Connection
    from guiji.settings import Settings

log = logging.getLogger(__name__)

TIMEOUT = 30.0  # seconds; the connection's extra.timeout overrides it
ATTEMPTS = 5
LONGEST_WAIT = 120.0
MAX_BODY = 64 << 20


@dataclass
class _Reading:
    """One pull of one interface."""

    resource: Resource
    source: HttpSource
    connection: Connection
    expected: Expected
    report: ReadReport
    now: datetime
    client: httpx.Client
    parameters: dict[str, str]
    keys: dict[str, str] | None = None
    known_keys: frozenset[str] = frozenset()

    @property
    def what(self) -> str:
        return f"接口 {self.source.path}"


@dataclass(frozen=True)
class _Page:
    records: list[Any]
    total: int | None
    next: str | None
    digest: bytes


class _TryAgain(Exception):
    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


def open_interface(
    resource: Resource, settings: Settings, window: Window, watermark: str | None, explicit: bool
) -> Delivery:
    """A pull of one interface; its first page is fetched and its keys are compared before this returns."""
    reading = _prepare(resource, settings, window, watermark, explicit)
    try:
        pages = _read_pages(reading)
        first = next(pages, None)
        if first is not None:
            _match(reading, first.records)
    except BaseException:
        reading.client.close()
        raise
    return Delivery(reading.expected.columns, _stream(reading, first, pages), reading.report)


def probe_interface(resource: Resource, settings: Settings) -> None:
    """Asks for one page."""
    now = settings.now()
    reading = _prepare(resource, settings, Window(now - timedelta(days=1), now), None, False)
    with contextlib.closing(reading.client):
        next(_read_pages(reading), None)


def _prepare(resource: Resource, settings: Settings, window: Window, watermark: str | None, explicit: bool) -> _Reading:
    import httpx

    from guiji.catalog.models import HttpSource
    from guiji.connections import get_connection

    source = resource.model.source
    assert isinstance(source, HttpSource)
    connection = get_connection(settings, source.connection)
    start = window.start
    if watermark and not explicit and resource.model.load == "incremental":
        with contextlib.suppress(ValueError):
            since = datetime.fromisoformat(watermark)
            since = since if since.tzinfo else since.replace(tzinfo=window.start.tzinfo)
            start = since - timedelta(seconds=source.lag_seconds)
    parameters = {
        name: value.replace("{window_start}", start.isoformat()).replace("{window_end}", window.end.isoformat())
        for name, value in source.parameters.items()
    }
    headers = {"Accept": "application/json", "User-Agent": f"guiji ({resource.id})"}
    auth = None
    if source.token_header:
        headers[source.token_header] = connection.password or ""
    elif connection.login:
        auth = (connection.login, connection.password or "")
    timeout = float(connection.extra.get("timeout", TIMEOUT))
    client = httpx.Client(base_url=_base_url(connection), headers=headers, auth=auth, timeout=timeout)
    expected = expected_columns(resource)
    report = ReadReport(cursor_max=watermark)
    return _Reading(resource, source, connection, expected, report, settings.now(), client, parameters)


def _base_url(connection: Connection) -> str:
    host = connection.host or "127.0.0.1"
    if "://" not in host:
        scheme = connection.extra.get("scheme") or (
            connection.schema if connection.schema in ("http", "https") else connection.conn_type
        )
        bracketed = f"[{host}]" if ":" in host else host
        host = f"{scheme if scheme in ('http', 'https') else 'http'}://{bracketed}"
    return f"{host}:{connection.port}" if connection.port else host


# --- pages --------------------------------------------------------------------------------------------


def _read_pages(reading: _Reading) -> Iterator[_Page]:
    """Every page with records. Raises DeliveryRefused for a repeated page, too many, or a total that is not met."""
    paging = reading.source.paging
    seen: set[bytes] = set()
    count = 0
    total: int | None = None
    position: str | None = (
        None if paging.style in ("none", "cursor") else str(paging.first if paging.style == "page" else 0)
    )
    for number in range(paging.max_pages + 1):
        if number == paging.max_pages:
            raise DeliveryRefused(
                f"{reading.what}：超过 {paging.max_pages} 页仍未结束。现有数据继续有效；请检查分页后重新提供。",
                rule_id="delivery.paging",
            )
        parameters = dict(reading.parameters)
        if position is not None:
            parameters[paging.parameter] = position
        if paging.style != "none" and paging.size_parameter:
            parameters[paging.size_parameter] = str(paging.size)
        page = _fetch(reading, parameters)
        if page.total is not None:
            if total is not None and page.total != total:
                raise SourceUnavailable(
                    f"{reading.source.path} of connection {reading.connection.conn_id} changed while it was read "
                    f"(total {total}, then {page.total}). Nothing was staged; it will be tried again."
                )
            total = page.total
        if page.records and page.digest in seen:
            raise DeliveryRefused(
                f"{reading.what}：第 {number + 1} 页与之前的一页完全相同，分页没有前进。现有数据继续有效；请修复分页后重新提供。",
                rule_id="delivery.paging",
            )
        seen.add(page.digest)
        if page.records:
            count += len(page.records)
            yield page
        if paging.style == "none" or (paging.style != "cursor" and not page.records):
            break
        if paging.style == "cursor":
            if page.next is None or page.next == "":
                break
            if page.next == position:
                raise DeliveryRefused(
                    f"{reading.what}：下一页的游标没有变化，分页没有前进。现有数据继续有效；请修复分页后重新提供。",
                    rule_id="delivery.paging",
                )
            position = page.next
        elif total is not None and count >= total:
            break
        else:
            position = str(int(position or 0) + (1 if paging.style == "page" else len(page.records)))
    if total is not None and count != total:
        raise DeliveryRefused(
            f"{reading.what}：声明共 {total} 条，实际读到 {count} 条。现有数据继续有效；请修复接口后重新提供。",
            rule_id="delivery.total",
        )


def _fetch(reading: _Reading, parameters: dict[str, str]) -> _Page:
    """One answer, tried a few times. Raises SourceRefused, SourceUnavailable, DeliveryRefused."""
    import httpx
    from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.wait if isinstance(error, _TryAgain) else None
        return min(asked if asked is not None else 0.5 * 2 ** (state.attempt_number - 1), LONGEST_WAIT)

    attempts = int(reading.connection.extra.get("attempts", ATTEMPTS))
    try:
        for attempt in Retrying(
            retry=retry_if_exception_type((_TryAgain, httpx.TransportError, httpx.DecodingError)),
            stop=stop_after_attempt(attempts),
            wait=wait,
            reraise=True,
        ):
            with attempt:
                return _ask(reading, parameters)
    except (_TryAgain, httpx.TransportError, httpx.DecodingError) as exc:
        raise SourceUnavailable(
            f"Connection {reading.connection.conn_id}: {reading.source.path} gave no good answer in {attempts} tries "
            f"({type(exc).__name__ if not isinstance(exc, _TryAgain) else exc}). Nothing was staged; it will be tried "
            "again, check that the interface is up.",
            connection=reading.connection.conn_id,
        ) from None
    raise AssertionError


def _ask(reading: _Reading, parameters: dict[str, str]) -> _Page:
    with reading.client.stream("GET", reading.source.path, params=parameters) as response:
        _check_status(reading, response)
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > MAX_BODY:
                raise DeliveryRefused(
                    f"{reading.what}：一次返回超过 {MAX_BODY >> 20} MB。现有数据继续有效；请减小每页条数后重新提供。",
                    rule_id="delivery.too_large",
                )
    try:
        document = parse_json(body.decode("utf-8"))
    except (ValueError, RecursionError):
        # an HTML login page, an empty body or half an answer
        raise _TryAgain("the body is not JSON") from None
    _check_code(reading, document)
    records = find_path(document, reading.source.records)
    if records is None:
        records = []
    if not isinstance(records, list):
        raise DeliveryRefused(
            f"{reading.what}：返回内容的“{reading.source.records}”不是记录列表。现有数据继续有效；请修复接口后重新提供。",
            rule_id="delivery.structure",
        )
    total = find_path(document, reading.source.total) if reading.source.total else None
    if total is not None and not str(total).isdigit():
        raise _TryAgain("the total is not a number")
    following = find_path(document, reading.source.paging.next) if reading.source.paging.next else None
    digest = hashlib.sha256("\n".join(map(dump_json, records)).encode("utf-8", "surrogatepass")).digest()
    return _Page(
        records, int(total) if total is not None else None, None if following is None else str(following), digest
    )


def _check_status(reading: _Reading, response: httpx.Response) -> None:
    status = response.status_code
    if status in (401, 403):
        raise SourceRefused(
            f"Connection {reading.connection.conn_id}: {reading.source.path} answers {status}. Nothing was read, trying "
            f"again changes nothing; mend the token or login of connection {reading.connection.conn_id}.",
            connection=reading.connection.conn_id,
        )
    if status in (408, 425, 429) or status >= 500:
        raise _TryAgain(f"HTTP {status}", _retry_after(response.headers.get("Retry-After"), reading.now))
    if status != 200:
        raise SourceRefused(
            f"Connection {reading.connection.conn_id}: {reading.source.path} answers {status}. Nothing was read; check "
            "path and parameters in the catalog.",
            connection=reading.connection.conn_id,
        )


def _retry_after(value: str | None, now: datetime) -> float | None:
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    return None


def _check_code(reading: _Reading, document: Any) -> None:
    if not reading.source.code:
        return
    code = find_path(document, reading.source.code)
    if code is not None and str(code) in reading.source.ok:
        return
    message = find_path(document, reading.source.message) if reading.source.message else None
    said = scrub(str(message))[:200] if message is not None else ""
    if str(code) in ("401", "403"):
        raise SourceRefused(
            f"Connection {reading.connection.conn_id}: {reading.source.path} answers code {code} {said}. Nothing was "
            f"read; mend the token or login of connection {reading.connection.conn_id}.",
            connection=reading.connection.conn_id,
        )
    raise _TryAgain(f"business code {code} {said}".strip())


# --- rows ---------------------------------------------------------------------------------------------


def _match(reading: _Reading, records: list[Any]) -> dict[str, str]:
    """source name -> key; compared again whenever a page brings a key that was not there before."""
    keys = frozenset(k for r in records if isinstance(r, dict) for k in r)
    cursor = reading.source.cursor
    if cursor is not None and reading.expected.source_name(cursor) is None:
        keys -= {cursor}  # needed for the watermark, not a field
    if reading.keys is None or not keys <= reading.known_keys:
        merged = [dict.fromkeys(reading.known_keys | keys)]
        matched = match_records(merged, reading.expected, reading.report, reading.what)
        reading.keys = matched
        reading.known_keys |= keys
    return reading.keys


def _stream(reading: _Reading, first: _Page | None, pages: Iterator[_Page]) -> Iterator[pa.RecordBatch]:
    try:
        page, number = first, 1
        while page is not None:
            keys = _match(reading, page.records)
            _note_cursor(reading, page.records)
            numbered = list(enumerate(page.records, start=1))
            yield record_batch(numbered, f"{reading.source.path}#page={number}", reading.expected, keys)
            page = next(pages, None)
            number += 1
    except GuijiError:
        raise
    finally:
        reading.client.close()


def _note_cursor(reading: _Reading, records: list[Any]) -> None:
    """Moves the watermark to the largest cursor that is not in the future (F-07)."""
    name = reading.source.cursor
    if name is None or reading.resource.model.load != "incremental":
        return
    for record in records:
        value = record.get(name) if isinstance(record, dict) else None
        if value is None:
            continue
        if (order := _order_of(str(value), reading)) is None or order > reading.now:
            continue
        best = _order_of(reading.report.cursor_max, reading) if reading.report.cursor_max else None
        if best is None or order > best:
            reading.report.cursor_max = str(value)


def _order_of(text: str, reading: _Reading) -> datetime | None:
    from zoneinfo import ZoneInfo

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(reading.resource.model.time_zone))
