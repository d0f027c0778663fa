"""Cursors that hold moments as text or as a number: which form they have, and any moment in that form.

A department's 更新时间 is as often a ``varchar`` (``2026-10-01 08:00:00``, ``20261001080000``) or a number of milliseconds
as it is a timestamp. Of equal width, such texts sort as their moments do; then a moment of our own in the same form can
bound a read, so that a row of 2099 does not freeze the resource (F-07) and a lag holds (F-05). Of unequal width
(``2026/9/30`` after ``2026/10/1``) they don't sort, and a read from the last one on would lose rows without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from guiji.errors import CatalogError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from guiji.sources.database import Reading

_FORM = re.compile(
    r"(?P<Y>\d{4})(?P<a>\D?)(?P<m>\d\d)(?P<b>\D?)(?P<d>\d\d)(?P<e>日?)"
    r"(?:(?P<t>[T ]?)(?P<H>\d\d)(?P<f>\D?)(?P<M>\d\d)(?:(?P<g>\D?)(?P<S>\d\d)(?P<end>秒?)(?P<point>\.?)(?P<sub>\d{0,9}))?)?"
)
_UNEQUAL = re.compile(r"\d{4}([-/.年])(\d[-/.月]\d{1,2}|\d\d[-/.月]\d)(?!\d).*")
_SECONDS = re.compile(r"[12]\d{9}")
_MILLISECONDS = re.compile(r"[12]\d{12}")


@dataclass(frozen=True)
class CursorForm:
    """How moments are written; ``parts`` is strftime's, milliseconds since 1970 where it is None."""

    parts: str | None
    point: str  # before the fraction, where it has one
    digits: int  # of the fraction
    zone: ZoneInfo

    def write(self, moment: datetime) -> str:
        if self.parts is None:
            return str(int(moment.timestamp() * 1000))
        local = moment.astimezone(self.zone)
        return local.strftime(self.parts) + self.point + f"{local.microsecond:06d}000"[: self.digits]

    def read(self, text: str) -> datetime:
        """The moment that ``text`` means."""
        text = text.strip()
        if self.parts is None:
            return datetime.fromtimestamp(int(text) / 1000, self.zone)
        whole = text[: len(text) - self.digits - len(self.point)]
        moment = datetime.strptime(whole, self.parts).replace(tzinfo=self.zone)
        return moment.replace(microsecond=int(text[len(text) - self.digits :].ljust(6, "0")[:6]) if self.digits else 0)

    def move_back(self, text: str, lag: timedelta) -> str:
        """``text`` so much earlier; rounded down (F-04)."""
        if self.parts is None:
            return str(int(text) - int(lag.total_seconds() * 1000))
        text = text.strip()
        whole = text[: len(text) - self.digits - len(self.point)]
        earlier = (datetime.strptime(whole, self.parts) - lag).strftime(self.parts)  # noqa: DTZ007 - as it is written
        return earlier + text[len(whole) :]


def find_form(samples: Iterable[str | None], zone: ZoneInfo) -> CursorForm | None:
    """The form of the first sample that has one."""
    for sample in samples:
        if sample is not None and (form := _find_form(sample.strip(), zone)) is not None:
            return form
    return None


def _find_form(text: str, zone: ZoneInfo) -> CursorForm | None:
    if _MILLISECONDS.fullmatch(text):
        return CursorForm(None, "", 0, zone)
    m = _FORM.fullmatch(text)
    if m is None:
        return None
    parts = "".join(
        f"%{name}" if name in "YmdHMS" else value.replace("%", "%%")
        for name, value in m.groupdict().items()
        if value is not None and name not in ("point", "sub")
    )
    point, digits = m["point"] or "", len(m["sub"] or "")
    try:
        datetime.strptime(text[: len(text) - digits - len(point)], parts)  # noqa: DTZ007 - only whether it is one
    except ValueError:
        return None
    return CursorForm(parts, point, digits, zone)


def read_moment(text: str, zone: ZoneInfo) -> datetime | None:
    """The moment that a cursor means: ISO 8601, any form above, or seconds since 1970; None where it means none."""
    if _SECONDS.fullmatch(text):
        return datetime.fromtimestamp(int(text), zone)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        form = find_form((text,), zone)
        return form.read(text) if form else None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def refuse_unequal(reading: Reading, text: str | None) -> None:
    """Raises CatalogError for a cursor whose moments are written without leading zeros."""
    if text is None or not _UNEQUAL.fullmatch(text.strip()):
        return
    raise CatalogError(
        f"{reading.resource.id}: cursor {reading.source.cursor!r} of {reading.what} holds moments as text without leading "
        "zeros, which don't sort as they follow one another: rows would be lost. Nothing was read; ask the department "
        "for a cursor that sorts, or declare load: snapshot.",
        resource_id=reading.resource.id,
    )


@dataclass(frozen=True)
class Bounds:
    """What of a cursor that the database takes for no moment is read, in the cursor's own form; None: no bound."""

    low: str | None
    high: str | None
    now: str | None  # a cursor beyond it is in the future


def plan_bounds(reading: Reading, newest: str | None, oldest: str | None) -> Bounds:
    """The bounds of a read; ``newest`` and ``oldest`` are the table's largest and smallest cursors.

    A window of a cursor that is no moment at all (a running number) can't be told: all is read then, and noted."""
    refuse_unequal(reading, newest)
    refuse_unequal(reading, oldest)
    form = find_form((newest, reading.watermark, oldest), reading.zone)
    now = form.write(reading.now) if form else None
    if (window := reading.window) is not None:
        if form is not None:
            return Bounds(form.write(window.start), form.write(window.end), now)
        reading.report.notes.append(f"{reading.what}：增量字段不是时间，无法只读一段时间，已读取全部")
        return Bounds(None, None, None)
    low, lag = reading.watermark, timedelta(seconds=reading.source.lag_seconds)
    if low is not None and lag and (written := find_form((low,), reading.zone)) is not None:
        low = written.move_back(low, lag)
    return Bounds(low, None, now)
