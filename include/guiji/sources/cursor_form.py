"""Cursors that hold moments as text or as a number: which form they have, and any moment in that form.

A department's 更新时间 is as often a ``varchar`` (``2026-10-01 08:00:00``, ``20261001080000``) or a number of milliseconds
as it is a timestamp. Written alike, such texts sort as their moments do; then a moment of our own in the same form can
bound a read, so that a row of 2099 does not freeze the resource (F-07) and a lag holds (F-05). What is to be read of
such a cursor is decided in ``cursor_bounds``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_FORM = re.compile(
    r"(?P<Y>\d{4})(?P<a>[^\d+]?)(?P<m>\d\d)(?P<b>[^\d+]?)(?P<d>\d\d)(?P<e>日?)"
    r"(?:(?P<t>[T ]?)(?P<H>\d\d)(?P<f>[^\d+]?)(?P<M>\d\d)"
    r"(?:(?P<g>(?P=f)|分)(?P<S>\d\d)(?P<end>秒?)(?P<point>[.,:]?)(?P<sub>\d{0,9}))?(?P<suffix>Z|[+-]\d\d(?::?\d\d)?)?)?"
)
_SECONDS = re.compile(r"[12]\d{9}")
_MILLISECONDS = re.compile(r"[12]\d{12}")


@dataclass(frozen=True)
class CursorForm:
    """How moments are written; ``parts`` is strftime's, milliseconds since 1970 where it is None."""

    parts: str | None
    point: str  # before the fraction, where it has one
    digits: int  # of the fraction
    zone: tzinfo
    suffix: str = ""  # the offset as it is written, where it is

    def write(self, moment: datetime) -> str:
        if self.parts is None:
            return str(int(moment.timestamp() * 1000))
        local = moment.astimezone(self.zone)
        return local.strftime(self.parts) + self.point + f"{local.microsecond:06d}000"[: self.digits] + self.suffix

    def read(self, text: str) -> datetime:
        """The moment that ``text`` means."""
        text = text.strip()
        if self.parts is None:
            return datetime.fromtimestamp(int(text) / 1000, self.zone)
        whole, fraction = self._part(text)
        moment = datetime.strptime(whole, self.parts).replace(tzinfo=self.zone)
        return moment.replace(microsecond=int(fraction.ljust(6, "0")[:6]) if self.digits else 0)

    def move_back(self, text: str, lag: timedelta) -> str:
        """``text`` so much earlier; rounded down (F-04).

        Where an offset is written the second alone is: a fraction does not sort before ``Z`` as it should."""
        if self.parts is None:
            return str(int(text) - int(lag.total_seconds() * 1000))
        text = text.strip()
        whole, _ = self._part(text)
        earlier = (datetime.strptime(whole, self.parts) - lag).strftime(self.parts)  # noqa: DTZ007 - as it is written
        return earlier if self.suffix else earlier + text[len(whole) :]

    def _part(self, text: str) -> tuple[str, str]:
        """(up to the second, the digits of the fraction)"""
        text = text.removesuffix(self.suffix)
        whole = text[: len(text) - self.digits - len(self.point)]
        return whole, text[len(whole) + len(self.point) :]

    @property
    def is_compact(self) -> bool:
        """Whether it is digits only: a running number may look the same."""
        return self.parts is None or not re.sub("%[a-zA-Z]", "", self.parts)

    def is_alike(self, other: CursorForm) -> bool:
        """Whether texts of both sort as their moments; fractions may have any number of digits."""
        return (self.parts, self.suffix) == (other.parts, other.suffix)

    def condition(self, text: str) -> str:
        """SQL, true where the expression ``text`` is written in this form; all in it is ours or plain punctuation."""
        whole = "_" * 13 if self.parts is None else re.sub("%[a-zA-Z]", _digits, self.parts)
        whole = re.sub(r"[^0-9A-Za-z_/.: -]", "_", whole)
        likes = [whole + self.suffix]
        if self.parts is not None and "%S" in self.parts:
            points = [""] if self.is_compact else sorted({".", self.point or "."})
            likes += [f"{whole}{point}%{self.suffix}" for point in points]
        alike = " OR ".join(f"{text} LIKE '{like}'" for like in likes)
        others = [c for c in "-/.:" if c not in whole + self.suffix + "." * (not self.is_compact) + self.point]
        return " AND ".join([f"({alike})", *(f"{text} NOT LIKE '%{c}%'" for c in others)])


def _digits(code: re.Match[str]) -> str:
    return "____" if code[0] == "%Y" else "__"


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
        if value is not None and name not in ("point", "sub", "suffix")
    )
    suffix = m["suffix"] or ""
    form = CursorForm(parts, m["point"] or "", len(m["sub"] or ""), _read_offset(suffix) if suffix else zone, suffix)
    try:
        form.read(text)
    except ValueError:
        return None
    return form


def _read_offset(suffix: str) -> tzinfo:
    if suffix == "Z":
        return UTC
    moment = datetime.fromisoformat("2000-01-01T00:00:00" + suffix)
    assert moment.tzinfo is not None
    return moment.tzinfo


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
