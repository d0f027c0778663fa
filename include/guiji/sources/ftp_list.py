"""Listings for people (LIST), of servers that know no better: Unix, Windows (IIS) with 12 or 24 hours, Chinese months.

They say no zone, no seconds and often no year; a time read here only tells whether a file is still the one it was. Unix
stops saying the clock once a file is half a year old: what is left then is its day.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

_UNIX = re.compile(
    r"(?P<kind>[-bcdlpsD])[-rwxsStTlL.+@]{9,11}\s+(?:\d+\s+)?(?:\S+\s+){0,3}?(?P<size>\d+)\s+"
    r"(?:(?P<month>[A-Za-z]{3}|\d{1,2}\xe6\x9c\x88|\d{1,2}\xd4\xc2)\s+(?P<day>\d{1,2})(?:\xe6\x97\xa5|\xc8\xd5)?\s+"
    r"(?:(?P<clock>\d{1,2}:\d\d)|(?P<year>\d{4}))|(?P<iso>\d{4}-\d\d-\d\d \d\d:\d\d))\ (?P<name>.+)",
    re.DOTALL,
)
_WINDOWS = re.compile(
    r"(?P<day>\d\d-\d\d-(?:\d{4}|\d\d))\s+(?P<clock>\d\d:\d\d)(?P<half>[AP]M)?\s+(?:(?P<dir><[A-Z]+>)|(?P<size>[\d,]+))"
    r"\ (?P<name>.+)",
    re.DOTALL,
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def parse_list(lines: Iterable[str], now: datetime) -> Iterator[tuple[str, int, datetime, bool]]:
    """(name, size, time, whether only the day is said) of the regular files; ``lines`` hold bytes as Latin-1. Raises
    ValueError for a line of another form: a file that isn't seen would be one that was never delivered."""
    for text in lines:
        line = text.rstrip("\r\n")
        if not line or re.fullmatch(r"(?i)total\s+\d+", line):
            continue
        if m := _UNIX.fullmatch(line):
            if m["kind"] == "-":
                yield m["name"], int(m["size"]), _parse_unix(m, now), m["year"] is not None
        elif m := _WINDOWS.fullmatch(line):
            if not m["dir"]:
                yield m["name"], int(m["size"].replace(",", "")), _parse_windows(m), False
        else:
            raise ValueError("a line of the listing is of no known form")


def _parse_unix(m: re.Match[str], now: datetime) -> datetime:
    if m["iso"]:
        return datetime.strptime(m["iso"], "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    word = m["month"].lower()
    month = _MONTHS.index(word) + 1 if word.isalpha() and word.isascii() else int(re.sub(r"\D", "", word))
    if m["year"]:
        return datetime(int(m["year"]), month, int(m["day"]), tzinfo=UTC)
    hour, minute = map(int, m["clock"].split(":"))
    # without a year it is the last such day; a day ahead is another zone
    for year in range(now.year + 1, now.year - 5, -1):
        try:
            found = datetime(year, month, int(m["day"]), hour, minute, tzinfo=UTC)
        except ValueError:  # 29 February
            continue
        if found <= now + timedelta(days=1):
            return found
    raise ValueError("a line of the listing has an impossible date")


def _parse_windows(m: re.Match[str]) -> datetime:
    year = "%Y" if len(m["day"]) == 10 else "%y"
    clock, form = (f"{m['clock']}{m['half']}", "%I:%M%p") if m["half"] else (m["clock"], "%H:%M")
    return datetime.strptime(f"{m['day']} {clock}", f"%m-%d-{year} {form}").replace(tzinfo=UTC)
