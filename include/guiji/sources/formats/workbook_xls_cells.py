"""Cells of an xls taken from the records themselves, where calamine can't be asked.

It reads workbooks of Excel 5.0 and 95 (FoxPro, Delphi, PHP and Perl still write them) as if they were of Excel 97: texts in a
code page of two bytes for a character come out as halves of others, texts with formats of their own not at all, and
formulas end the reader. So all of their cells are taken here. And it takes numbers for dates where a file of Excel 97 gives
a number of its own to a format that Chinese Excel keeps for dates; those numbers are taken here. So
are shared strings that it reads wrong (``workbook_xls_strings``).
"""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

from guiji.sources.formats.number_format import is_date_format

RSTRING = 0xD6
_LABEL, _FORMULA, _STRING, _NUMBER, _RK, _MULRK, _BOOLERR = 0x204, 0x06, 0x207, 0x203, 0x27E, 0xBD, 0x205
_LABELSST = 0xFD
_PAGES = {
    0: "gb18030",
    367: "ascii",
    936: "gb18030",
    950: "big5",
    1200: "utf-16-le",
    32768: "mac-roman",
    32769: "cp1252",
}
#: numbers of formats that calamine takes for dates, whatever the file says of them
_DATES = frozenset([*range(14, 23), *range(27, 37), 45, 46, 47, *range(50, 59)])
_ELAPSED = re.compile(r"(?i)\[(?:h+|m+|s+)\]")


def find_codec(page: int) -> str:
    """The codec of a code page. Where a file names none that is known, Chinese is taken for GB18030; what is no text in it
    shows as lost."""
    name = _PAGES.get(page, f"cp{page}")
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "gb18030"


def find_misdated(numbers: Sequence[int], formats: Mapping[int, str]) -> frozenset[int]:
    """Styles whose format the file itself defines under the number of a date, though it is none. ``numbers``: the format
    of every style; ``formats``: those that the file defines."""
    wrong = {n for n, code in formats.items() if n in _DATES and not is_date_format(code)}
    return frozenset(style for style, number in enumerate(numbers) if number in wrong)


@dataclass(frozen=True)
class Book:
    """What the head of a workbook says of its cells. ``codec``: of the texts of Excel 95, None for Excel 97; ``formats``: of
    every style; ``misdated``: styles under which calamine takes numbers for dates; ``since_1904``: its days count from there; ``torn``: the shared
    strings, by number, that calamine reads wrong."""

    codec: str | None
    formats: Sequence[str]
    misdated: Collection[int]
    since_1904: bool
    torn: Mapping[int, str] = field(default_factory=dict)

    @property
    def asks_calamine(self) -> bool:
        """True where calamine reads every cell right."""
        return self.codec is None and not self.misdated and not self.torn


def read_numbers(kind: int, stream: bytes, at: int, length: int) -> Iterator[tuple[int, int, int, float]]:
    """Row, column, style and value of the numbers in a record; ``at`` is where its content begins."""
    if kind in (_RK, _MULRK):
        row, first = struct.unpack_from("<HH", stream, at)
        for n in range((length - 4) // 6):
            style, packed = struct.unpack_from("<HI", stream, at + 4 + 6 * n)
            yield row, first + n, style, unpack_number(packed)
    elif kind == _NUMBER or (kind == _FORMULA and stream[at + 12 : at + 14] != b"\xff\xff"):
        yield *struct.unpack_from("<HHH", stream, at), struct.unpack_from("<d", stream, at + 6)[0]


@dataclass
class SheetCells:
    """The cells of one sheet that are taken from its records; rows and columns from 0."""

    book: Book
    cells: dict[int, dict[int, Any]] = field(default_factory=dict)
    _formula: tuple[int, int] = (0, 0)  # the cell whose result a STRING record gives

    def see(self, kind: int, stream: bytes, at: int, length: int) -> None:
        """Takes the value of a cell from its record; ``at`` is where its content begins."""
        for row, column, style, value in read_numbers(kind, stream, at, length):
            self._add_number(row, column, style, value)
        if kind == _FORMULA:
            self._formula = row, column = struct.unpack_from("<HH", stream, at)
            if stream[at + 12 : at + 14] == b"\xff\xff" and stream[at + 6] == 1:
                self._add(row, column, bool(stream[at + 8]))
        elif kind == _LABELSST:
            row, column, _, index = struct.unpack_from("<HHHI", stream, at)
            if index in self.book.torn:
                self._add(row, column, self.book.torn[index])
        elif kind in (_LABEL, RSTRING):
            row, column, _, size = struct.unpack_from("<HHHH", stream, at)
            self._add_text(row, column, stream[at + 8 : at + 8 + size])
        elif kind == _STRING:
            (size,) = struct.unpack_from("<H", stream, at)
            self._add_text(*self._formula, stream[at + 2 : at + 2 + size])
        elif kind == _BOOLERR and not stream[at + 7]:
            row, column = struct.unpack_from("<HH", stream, at)
            self._add(row, column, bool(stream[at + 6]))

    def _add_text(self, row: int, column: int, content: bytes) -> None:
        if self.book.codec is not None:
            self._add(row, column, content.decode(self.book.codec, "replace"))

    def _add_number(self, row: int, column: int, style: int, value: float) -> None:
        if self.book.codec is None:
            if style in self.book.misdated:
                self._add(row, column, value)
            return
        code = self.book.formats[style] if style < len(self.book.formats) else ""
        self._add(row, column, _read_date(value, code, self.book.since_1904) if is_date_format(code) else value)

    def _add(self, row: int, column: int, value: Any) -> None:
        self.cells.setdefault(row, {})[column] = value

    def give_rows(self, rows: Iterator[list[Any]], height: int, width: int) -> Iterator[list[Any]]:
        """The rows of the sheet, ``height`` × ``width`` cells; ``rows`` are those that calamine gives, where it is asked."""
        for number in range(height):
            row = next(rows, [])
            cells = row + [""] * (width - len(row))
            for column, value in self.cells.pop(number, {}).items():
                cells[column] = value
            yield cells


def unpack_number(packed: int) -> float:
    """The number of an RK record: the upper bits of a float, or a whole one; in hundredths where the lowest bit says so."""
    if packed & 2:
        number = float((packed >> 2) - (1 << 30 if packed >> 31 else 0))
    else:
        number = struct.unpack("<d", struct.pack("<II", 0, packed & 0xFFFFFFFC))[0]
    return number / 100 if packed & 1 else number


def _read_date(value: float, code: str, since_1904: bool) -> float | date | time | timedelta:
    """A number under a format of dates as calamine gives it; itself where no calendar has the day."""
    span = timedelta(milliseconds=round(value * 86_400_000)) if abs(value) < 1e7 else None
    if span is None:
        return value
    if _ELAPSED.search(code):
        return span
    # Lotus took 1900 for a leap year
    moment = datetime(1904, 1, 1) if since_1904 else datetime(1899, 12, 30 if value >= 60 else 31)  # noqa: DTZ001
    if span < timedelta(days=1):
        return (moment + span % timedelta(days=1)).time()
    try:
        moment += span
    except OverflowError:
        return value
    return moment.date() if moment.time() == time(0) else moment
