"""Tables of a web page, as many business systems export them under the name of a spreadsheet (.xls).

Every table is a sheet (表1, 表2 …; a table within a cell is one of its own). A cell is the text that a browser shows:
white space as one blank unless it is kept (``html_white``), a line break where there is one. What Excel notes beside it when it saves as a web page (``x:num``)
is the cell's value, and the text what is shown for it. ``rowspan`` and ``colspan`` are merged cells.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from guiji.errors import DeliveryRefused
from guiji.sources.formats.charset import CHARSETS
from guiji.sources.formats.clock import Clock
from guiji.sources.formats.encoding import detect_encoding, normalise_private_use
from guiji.sources.formats.html_white import White, find_white, part_text, show_text
from guiji.sources.formats.workbook import ERROR, refuse_damaged, refuse_workbook
from guiji.sources.formats.workbook_tables import LONGEST, WIDEST, BuiltTable, BuiltWorkbook, check_limits

#: of the page; the parser is slow, and keeps a tag that does not end
MAX_PAGE = 192 << 20
_CHUNK = 1 << 20
_DEEPEST = 16
_CHARSET = re.compile(rb"<meta[^>]*?charset\s*=\s*[\"']?\s*([\w.:-]+)", re.I)
#: begin a line of their own within a cell
_BLOCKS = frozenset(["p", "div", "li", "ul", "ol", "dl", "dt", "dd", "h1", "h2", "h3", "h4", "h5", "h6", "pre"])
_INPUTS = frozenset(["select", "textarea"])
_UNSEEN = frozenset(["title", "noscript", "template", "object"])
#: have no end of their own
_VOID = frozenset(
    ["br", "img", "input", "hr", "wbr", "col", "meta", "link", "embed", "area", "base", "source", "track"]
)
#: a whole date, with a time or without one, as pages show it
_DATE = re.compile(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?(?: \d{1,2}:\d{2}(?::\d{2})?)?")
_FIRST_DAY = datetime(1899, 12, 30)  # noqa: DTZ001 - a cell has no zone


def open_html(path: Path, what: str, clock: Clock) -> BuiltWorkbook:
    """The tables of the page. Raises DeliveryRefused for a page that breaks off within one, for one of forms, for another
    encoding than UTF-8, UTF-16 and GB18030, and beyond the limits."""
    if path.stat().st_size > MAX_PAGE:
        refuse_workbook(what, f"网页超过 {MAX_PAGE >> 20} MB", "请拆分或改用 CSV", "delivery.too_large")
    parser = _Page(what)
    try:
        for text in clock.watch(_read_text(path, what)):
            parser.feed(text)
        parser.close()
        parser.finish()
    except DeliveryRefused:
        raise
    except ValueError:
        refuse_damaged(what)
    return BuiltWorkbook("html", {t.name: t for t in parser.tables})


def _read_text(path: Path, what: str) -> Iterator[str]:
    with path.open("rb") as f:
        said = _CHARSET.search(f.read(8192))
    if said and said[1].decode().lower() not in CHARSETS and not said[1].lower().startswith(b"utf-16"):
        refuse_workbook(
            what,
            f"网页写明的编码 {said[1].decode()[:20]} 不在支持范围内",
            "请以 UTF-8 或 GB18030 编码重新导出",
            "delivery.encoding",
        )
    likely = CHARSETS.get(said[1].decode().lower()) if said else None
    encoding = detect_encoding(path, "auto", what, likely=likely)
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)("replace"), translate=True)
    with path.open("rb") as f:
        while raw := f.read(_CHUNK):
            yield normalise_private_use(decoder.decode(raw))
        yield decoder.decode(b"", final=True)


class _Open:
    """A table whose end has not come yet, and the row and cell that are being read in it."""

    def __init__(self, table: BuiltTable, white: White) -> None:
        self.table = table
        self.white, self.row_white = white, white  # how white space counts in it and in its row
        self.inside: list[tuple[str, White]] = []  # the cell and the elements that are open in it
        self.row = self.marked = -1  # its last error
        self.cells: list[Any] | None = None  # of the row
        self.column = 0  # where its next cell stands, unless one from above does
        self.spans: dict[int, int] = {}  # column -> rows that a cell above still takes
        self.attributes: dict[str, str | None] = {}
        self.text: list[str] | None = None  # of the cell

    def start_row(self, attributes: dict[str, str | None] | None = None) -> None:
        self.end_row()
        self.row += 1
        self.row_white = find_white("tr", attributes or {}, self.white)
        self.cells, self.column, self.marked = [], 0, -1

    def start_cell(self, attributes: dict[str, str | None]) -> None:
        self.end_cell()
        if self.cells is None:
            self.start_row()
        # a cell that is not shown takes no place in its row
        self.attributes, self.text = attributes, None if _is_hidden(attributes) else []
        self.inside = [("td", find_white("td", attributes, self.row_white))]

    def start_element(self, tag: str, attributes: dict[str, str | None]) -> None:
        """An element within the cell."""
        if tag in _BLOCKS and self.inside[-1][0] == "p":  # ends where the next block begins
            self.inside.pop()
        self.inside.append((tag, find_white(tag, attributes, self.inside[-1][1])))

    def end_element(self, tag: str) -> None:
        """What was left open within an element ends with it."""
        for n in range(len(self.inside) - 1, 0, -1):
            if self.inside[n][0] == tag:
                del self.inside[n:]
                return

    def end_cell(self) -> None:
        if self.text is None or self.cells is None:
            return
        text, self.text = show_text(self.text), None
        column = self.column
        while self.spans.get(column):
            column += 1
        is_error = "x:err" in self.attributes or ERROR.fullmatch(text) is not None  # a page has no types
        value = "" if is_error else _read_value(self.attributes, text)
        if is_error:
            self.table.errors.add((self.row, column))
            self.marked = column
        wide, high = (_span(self.attributes.get(n), most) for n, most in (("colspan", WIDEST), ("rowspan", LONGEST)))
        if column + wide > WIDEST:
            raise ValueError("a cell outside of any sheet")
        if wide > 1 or high > 1:
            self.table.merged.append(((self.row, column), (self.row + high - 1, column + wide - 1)))
        if not isinstance(value, str):
            self.table.add_shown(self.row, column, value, text)
        self.cells.extend([""] * (column - len(self.cells)))
        self.cells.append(value)
        self.column = column + wide
        if high > 1:
            self.spans |= dict.fromkeys(range(column, column + wide), high)

    def end_row(self) -> None:
        self.end_cell()
        if self.cells is None:
            return
        self.table.add_row(self.row, self.cells, self.marked)
        self.cells = None
        self.spans = {column: rows - 1 for column, rows in self.spans.items() if rows > 1}


class _Page(HTMLParser):
    """Builds the tables; end tags that a page leaves out are taken as browsers take them."""

    def __init__(self, what: str) -> None:
        super().__init__(convert_charrefs=True)
        self.what = what
        self.tables: list[BuiltTable] = []
        self.open: list[_Open] = []
        self.unseen = ""  # the element that is not shown, while it is read, and how many of its name are open in it
        self.unseen_depth = 0
        self.begins_pre = False  # nothing stands behind the last tag, which is <pre>

    @property
    def cell(self) -> list[str] | None:
        return self.open[-1].text if self.open and not self.unseen else None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "table":
            self.tables.append(BuiltTable(f"表{len(self.tables) + 1}", not self.unseen and not _is_hidden(attributes)))
            self.open.append(_Open(self.tables[-1], find_white(tag, attributes, "collapsed")))
            if len(self.open) > _DEEPEST:
                raise ValueError("tables within tables")
        elif tag in ("tr", "td", "th"):
            self._start_part(tag, attributes)
        elif self.unseen:
            self.unseen_depth += tag == self.unseen
        elif tag in _UNSEEN or (tag not in _VOID and _is_hidden(attributes)):
            self.unseen, self.unseen_depth = tag, 1
        elif (cell := self.cell) is not None:
            self._start_in_cell(cell, tag, attributes)

    def _start_part(self, tag: str, attributes: dict[str, str | None]) -> None:
        if not self.open:
            return
        self._end_unseen()
        if tag != "tr":
            self.open[-1].start_cell(attributes)
            return
        self.open[-1].start_row(attributes)
        if _is_hidden(attributes):
            self.open[-1].table.hidden.add(self.open[-1].row)

    def _end_unseen(self) -> None:
        """What is hidden within a cell ends with it at the latest."""
        if self.open and self.open[-1].table.visible:
            self.unseen = ""

    def _start_in_cell(self, cell: list[str], tag: str, attributes: dict[str, str | None]) -> None:
        if tag not in _VOID:
            self.open[-1].start_element(tag, attributes)
        self.begins_pre = tag == "pre"
        if tag == "br" or tag in _BLOCKS:
            cell.append("\n")
        elif tag in _INPUTS or (tag == "input" and (attributes.get("type") or "text").lower() != "hidden"):
            place = f"第 {self.open[-1].row + 1} 行"
            refuse_workbook(
                self.what,
                f"网页表格中有输入框或选择框（{place}），无法判断其中的值",
                "请从业务系统导出数据，不要保存录入页面",
            )

    def handle_endtag(self, tag: str) -> None:
        if tag == self.unseen:
            self.unseen_depth -= 1
            self.unseen = self.unseen if self.unseen_depth else ""
        if not self.open:
            return
        if tag in ("table", "tr", "td", "th"):
            self._end_unseen()
        if tag == "table":
            self.open.pop().end_row()
            check_limits(self.tables, self.what)
        elif tag == "tr":
            self.open[-1].end_row()
            if len(self.open[-1].table.rows) % 1000 == 0:
                check_limits(self.tables, self.what)
        elif tag in ("td", "th"):
            self.open[-1].end_cell()
        elif (cell := self.cell) is not None:
            self.open[-1].end_element(tag)
            if tag in _BLOCKS:
                cell.append("\n")

    def handle_data(self, data: str) -> None:
        if (cell := self.cell) is not None and self.cdata_elem is None:
            data = data.removeprefix("\n") if self.begins_pre else data  # a line break there is none (HTML 13.2.6.4.7)
            self.begins_pre = False
            cell.extend(part_text(data, self.open[-1].inside[-1][1]) if data else ())

    def finish(self) -> None:
        """Raises DeliveryRefused for a page that breaks off within a table, or has none."""
        if self.open:
            refuse_workbook(
                self.what,
                "网页在表格中间中断，可能只上传了一部分",
                "请完整上传该文件",
                "delivery.half_a_file",
            )
        if not self.tables:
            refuse_workbook(
                self.what,
                "是没有表格的网页（HTML），表格可能在另外的文件中",
                "请从业务系统重新导出为 xlsx 或 CSV",
            )


def _is_hidden(attributes: dict[str, str | None]) -> bool:
    return "hidden" in attributes or re.search(r"display\s*:\s*none", attributes.get("style") or "", re.I) is not None


def _span(said: str | None, most: int) -> int:
    return max(1, min(int(said), most)) if said and said.strip().isdecimal() else 1


def _read_value(attributes: dict[str, str | None], text: str) -> str | float | date:
    """What Excel notes of a cell (``x:num``; without a value where the text says it), else the text. A number that is shown
    as the date that it stands for is that date."""
    said = attributes.get("x:num")
    if not said:
        return attributes.get("x:str") or text
    try:
        number = float(said)
        if (shown := _DATE.fullmatch(text)) is None:
            return number
        moment = _FIRST_DAY + timedelta(seconds=round(number * 86_400))
        if moment.date() != date(*map(int, shown.groups())):
            return number
    except (ValueError, OverflowError):
        return text
    return moment.date() if number.is_integer() else moment
