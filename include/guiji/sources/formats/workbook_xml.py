"""Excel's XML of 2003 (SpreadsheetML), as many business systems export it under the name .xls, read as a stream.

Values are typed as the file says (``ss:Type``); formulas are never calculated, one without a stored value is told.
Of number formats those count under which a text field shows something else than the value (000592).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from guiji.errors import DeliveryRefused
from guiji.sources.formats.charset import decide_charset
from guiji.sources.formats.clock import Clock
from guiji.sources.formats.encoding import normalise_private_use
from guiji.sources.formats.number_format import is_telling, is_time_format
from guiji.sources.formats.workbook import ERROR, MAX_SHEET, refuse_damaged, refuse_unreadable, refuse_workbook
from guiji.sources.formats.workbook_tables import LONGEST, WIDEST, BuiltTable, BuiltWorkbook, check_limits, parse_markup

_SS = "urn:schemas-microsoft-com:office:spreadsheet "
_EXCEL = "urn:schemas-microsoft-com:office:excel "
_CHUNK = 1 << 18
_DECLARED = re.compile(rb"\A\s*<\?xml\b[^>]*?\bencoding\s*=\s*[\"']([A-Za-z0-9._:-]+)[\"']")
#: formats that SpreadsheetML names by words
_NAMED = {
    "General Number": "General",
    "Short Date": "yyyy/m/d",
    "Medium Date": "d-mmm-yy",
    "Long Date": 'yyyy"年"m"月"d"日"',
    "General Date": "yyyy/m/d h:mm",
    "Short Time": "h:mm",
    "Medium Time": "h:mm AM/PM",
    "Long Time": "h:mm:ss",
    "Fixed": "0.00",
    "Standard": "#,##0.00",
    "Percent": "0.00%",
    "Scientific": "0.00E+00",
}


def open_xml_workbook(path: Path, what: str, clock: Clock) -> BuiltWorkbook:
    """The workbook. Raises DeliveryRefused for a damaged one, one with a document type, and beyond the limits."""
    if path.stat().st_size > MAX_SHEET:
        refuse_workbook(what, f"文件超过 {MAX_SHEET >> 20} MB", "请拆分或改用 CSV", "delivery.too_large")
    reader = _Reader(what)
    try:
        reader.parse(clock.watch(_read_chunks(path, what)))
    except DeliveryRefused:
        raise
    except Exception as exc:
        refuse_unreadable(exc, what)
    tables = {t.name: t for t in reader.tables}
    if len(tables) < len(reader.tables):
        refuse_damaged(what)
    return BuiltWorkbook("xml2003", tables)


def _read_chunks(path: Path, what: str) -> Iterator[bytes]:
    """The file; one that says it is GB18030 or a part of it as UTF-8, which the parser is told of."""
    with path.open("rb") as f:
        head = f.read(1024)
        f.seek(0)
        said = _DECLARED.search(head)
        if said is None or said[1].lower().startswith((b"utf-16", b"utf-8", b"us-ascii")):
            while raw := f.read(_CHUNK):
                yield raw
            return
    codec = decide_charset(path, said[1].decode(), what)
    with path.open(encoding=codec, errors="strict", newline="") as text:
        text.read(head.decode(codec, "ignore").index("?>") + 2)
        while data := text.read(_CHUNK):
            yield data.encode()


class _Reader:
    """Builds tables from the events of the parser; owns what is known of the cell that is being read."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.tables: list[BuiltTable] = []
        self.styles: dict[str, str] = {}  # id -> number format
        self.style = ""
        self.columns: dict[int, str] = {}  # of the sheet -> style
        self.last_column = -1
        self.row = self.column = -1
        self.row_attributes: dict[str, str] = {}
        self.cells: list[Any] = []
        self.marked = -1
        self.attributes: dict[str, str] = {}
        self.kind = ""
        self.text: list[str] | None = None
        self.aside = 0  # inside a comment, which has data of its own

    def parse(self, chunks: Iterator[bytes]) -> None:
        parse_markup(self, chunks, namespace_separator=" ")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == f"{_EXCEL}Visible" and self.tables:
            self.text = []
            return
        if not tag.startswith(_SS):
            return
        name = tag.removeprefix(_SS)
        said = {k.removeprefix(_SS): v for k, v in attributes.items()}
        if name == "Comment":
            self.aside += 1
        elif self.aside:
            pass
        elif name == "Worksheet":
            self.tables.append(BuiltTable(said.get("Name", "")))
            self.row = self.last_column = -1
            self.columns = {}
        elif name == "Table" and self.tables:
            self.columns[-1] = said.get("StyleID", "")
        elif name == "Column" and self.tables:
            self._start_column(said)
        elif name == "Style":
            self.style = said.get("ID", "")
            self.styles[self.style] = self.styles.get(said.get("Parent", ""), "General")
        elif name == "NumberFormat" and self.style:
            form = said.get("Format", "General")
            self.styles[self.style] = _NAMED.get(form, form)
        elif name == "Row" and self.tables:
            self.row = _index(said, self.row, LONGEST)
            self.row_attributes, self.cells, self.column, self.marked = said, [], -1, -1
            if said.get("Hidden") == "1":
                self.tables[-1].hidden.add(self.row)
        elif name == "Cell" and self.tables:
            self.column = _index(said, self.column, WIDEST)
            self.attributes, self.kind = said, ""
            self.cells.extend([""] * (self.column - len(self.cells)))
        elif name == "Data" and self.tables:
            self.kind, self.text = said.get("Type", "String"), []

    def characters(self, data: str) -> None:
        if self.text is not None and not self.aside:
            self.text.append(data)

    def end(self, tag: str) -> None:
        if tag == f"{_EXCEL}Visible" and self.tables:
            self.tables[-1].visible = "".join(self.text or ()).strip() not in ("SheetHidden", "SheetVeryHidden")
            self.text = None
            return
        name = tag.removeprefix(_SS) if tag.startswith(_SS) else ""
        if name == "Comment":
            self.aside -= 1
        elif self.aside or not name:
            pass
        elif name == "Data":
            self._end_data("".join(self.text or ()))
            self.text = None
        elif name == "Cell" and self.tables:
            self._end_cell(self.tables[-1])
        elif name == "Row" and self.tables:
            self._end_row(self.tables[-1])
        elif name == "Style":
            self.style = ""

    def _end_data(self, text: str) -> None:
        table = self.tables[-1]
        value: Any = normalise_private_use(text)
        if self.kind == "Number":
            value = float(text)
        elif self.kind == "Boolean":
            value = text.strip() == "1"
        elif self.kind == "Error" or ("Formula" in self.attributes and ERROR.fullmatch(text.strip())):
            value = ""
            table.errors.add((self.row, self.column))
            self.marked = self.column
        elif self.kind == "DateTime":
            value = self._read_date(text, table)
        elif self.kind != "String":
            raise ValueError("a value of no known type")
        self.cells[self.column :] = [value]

    def _read_date(self, text: str, table: BuiltTable) -> datetime | date | str:
        text = re.sub(r"(\.\d{6})\d+", r"\1", text.strip())
        try:
            moment = datetime.fromisoformat(text).replace(tzinfo=None)
        except ValueError:
            if not re.match(r"-?\d{4,9}-\d\d-\d\dT", text):
                raise
            table.lost.add(self.row)
            return ""
        return moment if any((moment.hour, moment.minute, moment.second, moment.microsecond)) else moment.date()

    def _end_cell(self, table: BuiltTable) -> None:
        across, down = (int(self.attributes.get(n, 0)) for n in ("MergeAcross", "MergeDown"))
        if not (0 <= across < WIDEST and 0 <= down < LONGEST):
            raise ValueError("a merged range outside of any sheet")
        if across or down:
            table.merged.append(((self.row, self.column), (self.row + down, self.column + across)))
        if "Formula" in self.attributes and not self.kind:
            table.uncalculated.add((self.row, self.column))
            self.marked = self.column
        code = self.styles.get(self._find_style(), "General")
        if self.kind in ("Number", "DateTime") and code != "General":
            self._take_time(code)
            if is_telling(code) or is_time_format(code):
                table.add_format(self.row, self.column, code)
        self.column += across
        self.cells.extend([""] * (self.column + 1 - len(self.cells)))

    def _take_time(self, code: str) -> None:
        """A time of day stands in the file as one of the day before the calendar begins."""
        value = self.cells[self.column]
        if isinstance(value, date) and str(value)[:10] == "1899-12-31" and is_time_format(code):
            self.cells[self.column] = value.time() if isinstance(value, datetime) else time(0)

    def _start_column(self, said: dict[str, str]) -> None:
        first = _index(said, self.last_column, WIDEST)
        self.last_column = min(first + int(said.get("Span", 0)), WIDEST)
        if style := said.get("StyleID"):
            self.columns |= dict.fromkeys(range(first, self.last_column + 1), style)

    def _find_style(self) -> str:
        """The cell's own style, else its row's, its column's, its table's."""
        own, row = self.attributes.get("StyleID"), self.row_attributes.get("StyleID")
        return own or row or self.columns.get(self.column) or self.columns.get(-1, "")

    def _end_row(self, table: BuiltTable) -> None:
        table.add_row(self.row, self.cells, self.marked)
        if len(table.rows) % 1000 == 0:
            check_limits(self.tables, self.what)
        self.row += int(self.row_attributes.get("Span", 0))  # rows that are only formatted


def _index(said: dict[str, str], before: int, most: int) -> int:
    """The place of a row or cell, from 0. Raises ValueError for one that does not come behind the former."""
    index = int(said["Index"]) - 1 if "Index" in said else before + 1
    if not before < index < most:
        raise ValueError("a row or cell out of order")
    return index
