"""ods: the sheets of content.xml (OpenDocument 1.2), read here in one pass with an XML parser.

Not by calamine: it drops line breaks and tabs of a cell's text, adds its comments to it, and shifts rows in sheets
with empty first columns. What is read is what the office shows: a value by its type, a text with its paragraphs.
A row or cell that is written once and said to repeat costs its repetitions; blank ones at the ends cost nothing.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from guiji.errors import DeliveryRefused
from guiji.sources.formats import workbook as limits
from guiji.sources.formats.clock import Clock
from guiji.sources.formats.number_format import note_shown
from guiji.sources.formats.workbook import (
    ERROR,
    read_chunks,
    read_part,
    refuse_damaged,
    refuse_encrypted,
    refuse_unreadable,
    refuse_workbook,
)
from guiji.sources.formats.workbook_tables import LONGEST, WIDEST, BuiltTable, BuiltWorkbook, check_limits, parse_markup

_DURATION = re.compile(r"(-?)P(?:(\d+)D)?T?(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:[.,](\d+))?S)?")
_WHITE = re.compile(r"[ \t\r\n]+")


def open_ods(path: Path, what: str, clock: Clock) -> BuiltWorkbook:
    """The workbook. Raises DeliveryRefused for an encrypted or damaged one and beyond the limits."""
    reader = _Reader(what)
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "META-INF/manifest.xml" in names and b"encryption-data" in read_part(
                archive, "META-INF/manifest.xml", what
            ):
                refuse_encrypted(what)
            if "content.xml" not in names:
                refuse_damaged(what)
            reader.parse(clock.watch(read_chunks(archive, "content.xml", limits.MAX_SHEET, what)))
    except DeliveryRefused:
        raise
    except Exception as exc:
        refuse_unreadable(exc, what)
    return _make_workbook(reader, "ods")


def open_fods(path: Path, what: str, clock: Clock) -> BuiltWorkbook:
    """The same in one XML file. Raises DeliveryRefused for a damaged one and beyond the limits."""
    reader = _Reader(what)
    try:
        reader.parse(clock.watch(_read_file(path, what)))
    except DeliveryRefused:
        raise
    except Exception as exc:
        refuse_unreadable(exc, what)
    return _make_workbook(reader, "fods")


def _read_file(path: Path, what: str) -> Iterator[bytes]:
    if path.stat().st_size > limits.MAX_SHEET:
        refuse_workbook(what, f"文件超过 {limits.MAX_SHEET >> 20} MB", "请拆分或改用 CSV", "delivery.too_large")
    with path.open("rb") as f:
        while raw := f.read(1 << 18):
            yield raw


def _make_workbook(reader: _Reader, kind: str) -> BuiltWorkbook:
    tables = {t.name: t for t in reader.tables}
    if len(tables) < len(reader.tables):
        refuse_damaged(reader.what)
    return BuiltWorkbook(kind, tables)


class _Reader:
    """Builds tables from the events of the parser; owns what is known of the cell that is being read."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.tables: list[BuiltTable] = []
        self.hidden: set[str] = set()
        self.table: BuiltTable | None = None
        self.depth = 0  # of tables within tables (which are not read)
        self.style = ""
        self.row = self.row_repeat = self.column = 0
        self.cells: list[Any] = []
        self.attributes: dict[str, str] = {}
        self.paragraphs: list[str] = []
        self.in_cell = self.in_text = False
        self.aside = 0  # inside a comment or drawing of the cell
        self.new_errors: list[int] = []
        self.new_uncalculated: list[int] = []
        self.is_hidden = False  # the row
        self.is_lost = False  # the row holds a date that no calendar knows
        self.new_shown: list[tuple[int, str]] = []  # column, the mark of what is shown there

    def parse(self, chunks: Iterator[bytes]) -> None:
        parse_markup(self, chunks)

    # names are taken with their usual prefixes; a file that uses others has no table here and is refused as headless

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if self.in_cell:
            self._start_in_cell(name, attributes)
        elif name == "table:table":
            self.depth += 1
            if self.depth == 1:
                visible = attributes.get("table:style-name") not in self.hidden
                self.table = BuiltTable(attributes.get("table:name", ""), visible)
                self.tables.append(self.table)
                self.row = 0
        elif name == "table:table-row" and self.table is not None:
            self.row_repeat = _repeat(attributes, "table:number-rows-repeated", LONGEST)
            self.cells, self.column, self.is_lost = [], 0, False
            self.is_hidden = attributes.get("table:visibility") in ("collapse", "filter")
            self.new_errors, self.new_uncalculated, self.new_shown = [], [], []
        elif name in ("table:table-cell", "table:covered-table-cell") and self.table is not None:
            self.attributes, self.paragraphs, self.in_cell = attributes, [], True
        elif name == "style:style":
            self.style = attributes.get("style:name", "")
        elif name == "style:table-properties" and attributes.get("table:display") == "false":
            self.hidden.add(self.style)

    def _start_in_cell(self, name: str, attributes: dict[str, str]) -> None:
        if (
            self.aside
            or name in ("office:annotation", "table:table", "text:note", "text:ruby-text")
            or name.startswith("draw:")
        ):
            self.aside += 1
        elif name == "text:p":
            self.paragraphs.append("")
            self.in_text = True
        elif self.in_text:
            if name == "text:s":
                self.paragraphs[-1] += " " * _repeat(attributes, "text:c", 32_767)
            elif name == "text:tab":
                self.paragraphs[-1] += "\t"
            elif name == "text:line-break":
                self.paragraphs[-1] += "\n"

    def characters(self, data: str) -> None:
        if self.in_text and not self.aside:
            # white space as it is written counts as one blank, and as none where a paragraph begins (ODF 6.1.2)
            said = _WHITE.sub(" ", data)
            before = self.paragraphs[-1]
            self.paragraphs[-1] += said[1:] if said[0] == " " and before[-1:] in ("", " ") else said

    def end(self, name: str) -> None:
        if self.in_cell:
            if self.aside:
                self.aside -= 1
            elif name == "text:p":
                self.in_text = False
            elif name in ("table:table-cell", "table:covered-table-cell"):
                self.in_cell = False
                self._end_cell()
        elif name == "table:table":
            self.depth -= 1
            if self.depth == 0:
                self.table = None
        elif name == "table:table-row" and self.table is not None:
            self._end_row(self.table)

    def _end_cell(self) -> None:
        assert self.table is not None
        repeat = _repeat(self.attributes, "table:number-columns-repeated", WIDEST)
        text = "\n".join(self.paragraphs)
        try:
            value, is_error = _read_value(self.attributes, text)
        except OverflowError:
            value, is_error, self.is_lost = "", False, True
        start = self.column
        self.column += repeat
        if self.column > WIDEST:
            raise ValueError("a cell outside of any sheet")
        columns = int(self.attributes.get("table:number-columns-spanned", 1))
        rows = int(self.attributes.get("table:number-rows-spanned", 1))
        if columns > 1 or rows > 1:
            self.table.merged.append(((self.row, start), (self.row + rows - 1, start + columns - 1)))
        has_result = "office:value-type" in self.attributes or self.paragraphs or is_error
        if self.attributes.get("table:formula") and not has_result:  # LibreOffice writes an empty text as <text:p/>
            self.new_uncalculated.extend(range(start, self.column))
        if is_error:
            self.new_errors.extend(range(start, self.column))
        if value != "" or is_error:
            self.cells.extend([""] * (start - len(self.cells)))
            self.cells.extend([value] * repeat)
            if isinstance(value, float | date) and self.paragraphs and (shown := note_shown(value, text)):
                self.new_shown.extend((c, shown) for c in range(start, self.column))

    def _end_row(self, table: BuiltTable) -> None:
        if self.is_lost:
            table.lost.add(self.row)
        marked = max((*self.new_uncalculated, *self.new_errors), default=-1)
        table.add_row(self.row, self.cells, marked, self.row_repeat)
        if table.height > self.row:
            check_limits(self.tables, self.what)
            for number in range(self.row, self.row + self.row_repeat):
                if self.is_hidden:
                    table.hidden.add(number)
                if self.is_lost:
                    table.lost.add(number)
                table.errors.update((number, c) for c in self.new_errors)
                table.uncalculated.update((number, c) for c in self.new_uncalculated)
                for column, shown in self.new_shown:
                    table.add_format(number, column, shown)
        self.row += self.row_repeat


def _repeat(attributes: dict[str, str], name: str, most: int) -> int:
    count = int(attributes.get(name, 1))
    if not 0 < count <= most:
        raise ValueError("a repetition outside of any sheet")
    return count


def _read_value(attributes: dict[str, str], text: str) -> tuple[Any, bool]:
    """(a cell's value as a spreadsheet reader gives it, whether it is an error). Raises ValueError for a value that is
    not of its type."""
    if attributes.get("calcext:value-type") == "error" or (
        "table:formula" in attributes and ERROR.fullmatch(text.strip())
    ):
        return "", True
    kind = attributes.get("office:value-type")
    if kind in ("float", "percentage", "currency"):
        return float(attributes["office:value"]), False
    if kind == "boolean":
        return attributes["office:boolean-value"].lower() == "true", False
    if kind == "date":
        return _read_date(attributes["office:date-value"]), False
    if kind == "time":
        return _read_duration(attributes["office:time-value"]), False
    if kind == "string" or kind is None:
        return attributes.get("office:string-value", text), False
    raise ValueError("a value of no known type")


def _read_date(text: str) -> date | datetime:
    """A date, or a date and time without zone. What has more digits than microseconds is cut there. Raises OverflowError
    for a day that is not in the calendar of the years 1 to 9999."""
    text = re.sub(r"(\.\d{6})\d+", r"\1", text.strip())
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None) if "T" in text else date.fromisoformat(text)
    except ValueError:
        if re.match(r"-?\d{4,9}-\d\d-\d\d(?:T|\Z)", text):
            raise OverflowError(text) from None
        raise


def _read_duration(text: str) -> time | timedelta:
    """A time of day, a duration from a day on."""
    m = _DURATION.fullmatch(text.strip())
    if m is None:
        raise ValueError("a time that is none")
    sign, days, hours, minutes, seconds, part = m.groups()
    span = timedelta(
        days=int(days or 0),
        hours=int(hours or 0),
        minutes=int(minutes or 0),
        seconds=int(seconds or 0),
        microseconds=int((part or "0")[:6].ljust(6, "0")),
    )
    if sign or span >= timedelta(days=1):
        return -span if sign else span
    whole, left = divmod(span.seconds, 60)
    return time(whole // 60, whole % 60, left, span.microseconds)
