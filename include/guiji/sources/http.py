"""A department's HTTP interface, page by page, trusting nothing it says about itself (F-47).

``http_client`` asks one question and gives a whole answer, ``http_pages`` puts the pages together, ``http_signature``
signs; here the records become rows, their keys are compared with the declared ones on every page, and the cursor is
noted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from guiji.errors import CatalogError
from guiji.records import Delivery, ReadReport, Window
from guiji.sources.columns import Expected, expected_columns
from guiji.sources.cursor_form import read_moment
from guiji.sources.formats.json import match_records, record_batch
from guiji.sources.http_pages import Page, read_pages
from guiji.window_words import asks_since, fill_in

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import HttpSource, Resource
    from guiji.settings import Settings
    from guiji.sources.http_client import Interface


@dataclass
class _Reading:
    """One pull of one interface."""

    resource: Resource
    source: HttpSource
    interface: Interface
    expected: Expected
    report: ReadReport
    now: datetime
    pages: Iterator[Page]
    keys: dict[str, str] | None = None
    known_keys: frozenset[str] = frozenset()
    explicit: bool = False
    records: int = 0
    read_cursors: int = 0  # that are moments
    future_cursors: int = 0  # of these, later than now
    unread_cursors: int = 0  # that are something else
    first_unread: str = ""  # where the first of these stands


def open_interface(
    resource: Resource, settings: Settings, window: Window, watermark: str | None, explicit: bool
) -> Delivery:
    """A pull of one interface; its first page is fetched and its keys are compared before this returns."""
    reading = _prepare(resource, settings, window, watermark, explicit)
    try:
        first = next(reading.pages, None)
        if first is not None:
            _match(reading, first.records)
    except BaseException:
        reading.interface.close()
        raise
    return Delivery(reading.expected.columns, _stream(reading, first), reading.report)


def probe_interface(resource: Resource, settings: Settings) -> None:
    """Asks for one page."""
    now = settings.now()
    reading = _prepare(resource, settings, Window(now - timedelta(days=1), now), None, False)
    with contextlib.closing(reading.interface):
        next(reading.pages, None)


def _prepare(resource: Resource, settings: Settings, window: Window, watermark: str | None, explicit: bool) -> _Reading:
    from guiji.catalog.models import HttpSource
    from guiji.connections import get_connection
    from guiji.sources.http_client import Interface

    source = resource.model.source
    assert isinstance(source, HttpSource)
    zone = ZoneInfo(resource.model.time_zone)
    start = window.start
    increments = watermark and not explicit and resource.model.load == "incremental"
    if increments and (since := read_moment(str(watermark), zone)) is not None:
        start = since - timedelta(seconds=source.lag_seconds)
    parameters, body = fill_in([source.parameters, source.body], start, window.end, zone)
    interface = Interface(resource.id, source, get_connection(settings, source.connection))
    report = ReadReport(cursor_max=watermark)
    pages = read_pages(interface, parameters, body, report)
    expected = expected_columns(resource)
    return _Reading(resource, source, interface, expected, report, settings.now(), pages, explicit=explicit)


# --- rows ---------------------------------------------------------------------------------------------


def _match(reading: _Reading, records: list[Any]) -> dict[str, str]:
    """source name -> key; compared again whenever a page brings a key that was not there before."""
    keys = frozenset(k for r in records if isinstance(r, dict) for k in r)
    cursor = reading.source.cursor
    if cursor is not None and reading.expected.source_name(cursor) is None:
        keys -= {cursor}  # needed for the watermark, not a field
    if reading.keys is None or not keys <= reading.known_keys:
        merged = [dict.fromkeys(reading.known_keys | keys)]
        matched = match_records(merged, reading.expected, reading.report, reading.interface.what)
        reading.keys = matched
        reading.known_keys |= keys
    return reading.keys


def _stream(reading: _Reading, first: Page | None) -> Iterator[pa.RecordBatch]:
    try:
        page, number = first, 1
        while page is not None:
            keys = _match(reading, page.records)
            _note_cursor(reading, page.records, number)
            numbered = list(enumerate(page.records, start=1))
            yield record_batch(numbered, f"{reading.source.path}#page={number}", reading.expected, keys)
            page = next(reading.pages, None)
            number += 1
        _demand_cursor(reading)
    finally:
        reading.interface.close()


def _note_cursor(reading: _Reading, records: list[Any], page: int) -> None:
    """Moves the watermark to the largest cursor that is not in the future (F-07)."""
    name = reading.source.cursor
    if name is None or reading.resource.model.load != "incremental":
        return
    declared = reading.expected.source_name(name)
    # the key as the records spell it, which may be another way than the catalog's
    key = name if declared is None else (reading.keys or {}).get(declared)
    zone = ZoneInfo(reading.resource.model.time_zone)
    best = read_moment(reading.report.cursor_max, zone) if reading.report.cursor_max else None
    reading.records += sum(isinstance(r, dict) for r in records)
    for position, record in enumerate(records, start=1):
        value = record.get(key) if isinstance(record, dict) else None
        if value is None or (text := str(value).strip()) == "":
            continue
        moment = read_moment(text, zone)
        if moment is None:
            reading.unread_cursors += 1
            reading.first_unread = reading.first_unread or f"第 {page} 页第 {position} 条"
            continue
        reading.read_cursors += 1
        if moment > reading.now:
            reading.future_cursors += 1
        elif best is None or moment > best:
            best, reading.report.cursor_max = moment, text


def _demand_cursor(reading: _Reading) -> None:
    """Raises CatalogError where what came between two windows would never be asked for: not one cursor is a moment, or
    there is none and no watermark from before. Cursors that are no moments beside others that are get a note."""
    name, what = reading.source.cursor, reading.interface.what
    unmoved = reading.report.cursor_max is None and not reading.explicit
    if reading.future_cursors:
        reading.report.notes.append(f"{what}：{reading.future_cursors} 条记录的增量字段晚于采集时间，未推进增量位置")
    if reading.read_cursors:
        if reading.unread_cursors:
            reading.report.notes.append(
                f"{what}：增量字段 {name} 有 {reading.unread_cursors} 个值不是时间（首个在{reading.first_unread}），"
                "增量位置没有计入这些记录；请按 2026-10-01 08:00:00 的写法提供"
            )
    elif reading.unread_cursors or (
        reading.records and unmoved and asks_since([reading.source.parameters, reading.source.body])
    ):
        holds = (
            "holds no moments"
            if reading.unread_cursors
            else "is empty or absent in every record, so it holds no moments"
        )
        raise CatalogError(
            f"{reading.resource.id}: cursor {name!r} of {what} {holds} (such as "
            "2026-10-01 08:00:00, 20261001080000 or milliseconds since 1970). Nothing was staged; declare a cursor that "
            "does, or load: snapshot.",
            resource_id=reading.resource.id,
        )
