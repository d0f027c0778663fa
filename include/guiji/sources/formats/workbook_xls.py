"""xls (Excel 97 and 95): the records of the workbook stream ([MS-XLS]) are looked through before calamine builds sheets.

Calamine builds all sheets when it opens the file, so all are looked through. A formula's result is stored beside it,
also by programs that never calculate: they store 0 or nothing. Excel says that it calculated by the record RECALCID.
Without it a 0 is doubtful and its row is set aside; where no formula of the sheet has another result, the sheet was
never calculated. A 0 that another program wrote into a workbook which Excel had calculated before can't be told from
a calculated one.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guiji.sources.formats import workbook as limits
from guiji.sources.formats.cell_formats import HEAD_ROWS, CellFormats, Styles, make_styles
from guiji.sources.formats.clock import Clock
from guiji.sources.formats.compound_file import Damaged, is_calculator, read_program, read_streams
from guiji.sources.formats.leap_day import is_leap_day
from guiji.sources.formats.workbook import (
    Cell,
    OpenSheet,
    SheetFacts,
    SheetName,
    judge_zeros,
    list_sheets,
    load_calamine,
    load_sheet,
    refuse_damaged,
    refuse_disorder,
    refuse_encrypted,
    refuse_size,
    refuse_text,
    refuse_workbook,
)
from guiji.sources.formats.workbook_xls_cells import (
    RSTRING,
    Book,
    SheetCells,
    find_codec,
    find_misdated,
    read_numbers,
)
from guiji.sources.formats.workbook_xls_strings import read_shared_strings

MAX_FILE = 200 << 20
_DATEMODE, _CODEPAGE, _BOF, _EOF, _CONTINUE, _FILEPASS, _BOUNDSHEET, _SST, _RECALCID, _UNCALCED = (
    0x22,
    0x42,
    0x809,
    0x0A,
    0x3C,
    0x2F,
    0x85,
    0xFC,
    0x1C1,
    0x5E,
)
_XF, _FORMAT, _ROW = 0xE0, 0x41E, 0x208
_DIMENSIONS, _FORMULA, _STRING, _MULRK, _LABELSST, _BOOLERR, _LABEL = 0x200, 0x06, 0x207, 0xBD, 0xFD, 0x205, 0x204
#: records that calamine takes as one cell: NUMBER, LABEL, BOOLERR, RK, LABELSST, FORMULA
_CELLS = {0x203, _LABEL, _BOOLERR, 0x27E, _LABELSST, _FORMULA}
#: cells that calamine passes over, though they hold a value: RSTRING, and numbers of Excel 2 to 4
_UNREAD = {RSTRING, 0x02, 0x03, 0x04, 0x05, 0x07, 0x7E}


@dataclass
class _Seen:
    rows: int = 0
    width: int = 0
    text: int = 0
    errors: set[Cell] = field(default_factory=set)
    hidden: set[int] = field(default_factory=set)  # rows
    zeros: set[Cell] = field(default_factory=set)  # formulas with the result 0 or the empty text
    results: bool = False  # a formula has another result than none
    pending: bool = False  # the sheet says that it was saved without calculating
    places: array[int] = field(default_factory=lambda: array("i"))  # of all cells: row × 256 + column
    formats: CellFormats = field(default_factory=CellFormats)
    cells: SheetCells | None = None  # those that calamine reads wrong
    start: int = 0  # of its records in the stream


@dataclass(frozen=True)
class _Xls:
    what: str
    reader: Any  # calamine's workbook, None where it is not asked
    facts: dict[str, SheetFacts]
    sheets: tuple[SheetName, ...]
    seen: dict[str, _Seen]
    twice: dict[str, int]  # sheet -> number of the first row that holds a cell twice
    clock: Clock
    kind: str = "xls"

    def open_sheet(self, name: str) -> OpenSheet:
        if name in self.twice:
            refuse_disorder(self.what, name, self.twice[name])
        seen, facts, rows = self.seen[name], self.facts[name], iter(list[list[Any]]())
        opened = (
            OpenSheet(name, facts, (), rows)  # Excel 95 merges no cells
            if self.reader is None
            else load_sheet(self.reader, name, facts, self.what, self.clock)
        )
        if seen.cells is not None:
            opened.rows = seen.cells.give_rows(opened.rows, seen.rows, seen.width)
        return opened


def open_xls(path: Path, what: str, clock: Clock) -> _Xls:
    """The workbook. Raises DeliveryRefused for an encrypted one, for a compound file that is no workbook, and beyond
    the limits."""
    if path.stat().st_size > MAX_FILE:
        refuse_workbook(what, f"超过 {MAX_FILE >> 20} MB", "请拆分或改用 CSV", "delivery.too_large")
    try:
        streams = read_streams(path.read_bytes())
        if "EncryptedPackage" in streams or "EncryptionInfo" in streams:
            refuse_encrypted(what)
        stream = streams.get("Workbook", streams.get("Book"))
        if stream is None:
            refuse_workbook(what, "不是电子表格（可能是 Word 等其他文件）", "请另存为 xlsx")
        calculates = is_calculator(read_program(streams))
        del streams
        seen, sheets, calculated = _inspect(stream, what, clock)
    except (ValueError, struct.error, IndexError):
        refuse_damaged(what)
    total = sum(s.rows * s.width for s in seen)
    if total > limits.MAX_CELLS:
        widest = max(seen, key=lambda s: s.rows * s.width)
        refuse_size(what, str(seen.index(widest) + 1), widest.rows, widest.width)
    del stream
    reader = None
    if not sheets:
        reader = load_calamine(path, ".xls", what, clock)
        # by position: both follow the records of the file, and names would have to be decoded twice
        if len(reader.sheets_metadata) != len(seen):
            refuse_damaged(what)
    titles = [s.name for s in sheets] if reader is None else [m.name for m in reader.sheets_metadata]
    named = dict(zip(titles, seen, strict=True))
    facts = {name: _make_facts(s, calculated or calculates, path) for name, s in named.items()}
    twice = {name: row for name, s in named.items() if (row := _find_twice(s.places)) is not None}
    shown = tuple(s for s in sheets if s.name in named) if reader is None else list_sheets(reader)
    return _Xls(what, reader, facts, shown, named, twice, clock)


def _find_twice(places: array[int]) -> int | None:
    """Number of the first row that holds two cells at one place. The order of the cells is free."""
    import numpy as np

    ordered = np.sort(np.frombuffer(places, np.int32)) if places else np.zeros(0, np.int32)
    same = ordered[1:][ordered[1:] == ordered[:-1]]
    return (int(same[0]) >> 8) + 1 if len(same) else None


def _make_facts(seen: _Seen, calculated: bool, path: Path) -> SheetFacts:
    uncalculated, doubtful = judge_zeros(seen.zeros, seen.results, calculated)
    if seen.pending:
        uncalculated = frozenset(seen.zeros)
    cells, errors = seen.rows * seen.width, frozenset(seen.errors)
    return SheetFacts(
        cells,
        errors,
        uncalculated,
        doubtful,
        hidden=frozenset(seen.hidden),
        formats=lambda _: seen.formats,
        leap_days=lambda: _find_leap_days(path, seen.start),
    )


def _find_leap_days(path: Path, start: int) -> frozenset[Cell]:
    """The numbers of a sheet that are 60; its records are read once more, which no other sheet costs."""
    streams = read_streams(path.read_bytes())
    stream = streams.get("Workbook") or streams["Book"]
    numbers = (cell for kind, at, length in _records(stream, start) for cell in read_numbers(kind, stream, at, length))
    return frozenset((row, column) for row, column, _, value in numbers if is_leap_day(value))


def _records(stream: bytes, start: int = 0) -> Iterator[tuple[int, int, int]]:
    """(type, offset of the content, its length) from ``start`` to the first end-of-part record."""
    unpack, at, end = struct.Struct("<HH").unpack_from, start, len(stream)
    while at + 4 <= end:
        kind, length = unpack(stream, at)
        at += 4
        if at + length > end:
            raise Damaged("a record is cut off")
        yield kind, at, length
        if kind == _EOF:
            return
        at += length
    raise Damaged("no end record")


def _inspect(stream: bytes, what: str, clock: Clock) -> tuple[list[_Seen], list[SheetName], bool]:
    """(what was seen of each sheet, the sheets where calamine is not to be asked, whether Excel calculated)."""
    bounds: list[int] = []  # where the records that name a sheet begin
    old = since_1904 = False
    page = 0
    numbers: list[int] = []
    formats: dict[int, str] = {}
    calculated = False
    strings: list[tuple[int, int]] = []
    in_strings = False
    for kind, at, length in _records(stream):
        if kind == _FILEPASS:
            refuse_encrypted(what)
        elif kind == _BOUNDSHEET:
            bounds.append(at)
        elif kind == _BOF:
            old = struct.unpack_from("<H", stream, at)[0] < 0x600
        elif kind == _CODEPAGE:
            page = struct.unpack_from("<H", stream, at)[0]
        elif kind == _DATEMODE:
            since_1904 = stream[at] == 1
        elif kind == _RECALCID:
            calculated = any(stream[at + 4 : at + length])
        elif kind == _XF:
            numbers.append(struct.unpack_from("<H", stream, at + 2)[0])
        elif kind == _FORMAT:
            formats[struct.unpack_from("<H", stream, at)[0]] = _read_format(stream[at + 2 : at + length])
        if kind == _SST or (kind == _CONTINUE and in_strings):
            strings.append((at, length))
        in_strings = kind == _SST or (kind == _CONTINUE and in_strings)
    shared = read_shared_strings(stream, strings)
    styles = make_styles(numbers, formats)
    book = Book(
        find_codec(page) if old else None, styles.codes, find_misdated(numbers, formats), since_1904, shared.torn
    )
    worksheets = [at for at in bounds if not old or not stream[at + 5] & 15]  # no charts nor modules of Excel 95
    seen = [
        _inspect_sheet(stream, struct.unpack_from("<I", stream, at)[0], shared.lengths, styles, what, clock, book)
        for at in worksheets
    ]
    return seen, [_read_name(stream, at, book.codec) for at in worksheets] if book.codec else [], calculated


def _read_name(stream: bytes, at: int, codec: str) -> SheetName:
    """A sheet of Excel 95."""
    return SheetName(stream[at + 7 : at + 7 + stream[at + 6]].decode(codec, "replace"), not stream[at + 4] & 3)


def _read_format(content: bytes) -> str:
    """The text of a FORMAT record: characters in one byte or two (BIFF8), or in the code page of the time before."""
    if len(content) < 3:
        return ""
    (length,) = struct.unpack_from("<H", content)
    if len(content) == 3 + (length << (content[2] & 1)):
        return content[3:].decode("utf-16-le" if content[2] & 1 else "latin-1", "replace")
    return content[1 : 1 + content[0]].decode("gb18030", "replace")


def _inspect_sheet(
    stream: bytes, start: int, lengths: list[int], styles: Styles, what: str, clock: Clock, book: Book
) -> _Seen:
    seen = _Seen(
        formats=CellFormats(list(styles.codes)), cells=None if book.asks_calamine else SheetCells(book), start=start
    )
    telling, dates = styles.telling(), styles.dates()
    place = struct.Struct("<HH").unpack_from
    style_at = struct.Struct("<H").unpack_from
    for n, (kind, at, length) in enumerate(_records(stream, start)):
        if not n & 0xFFFF:
            clock.check()
        if seen.cells is not None:
            seen.cells.see(kind, stream, at, length)
        if kind in _CELLS or kind == _MULRK or (kind == RSTRING and book.codec is not None):
            row, column = place(stream, at)
            last = place(stream, at + length - 4)[1] if kind == _MULRK else column
            seen.places.extend(range(row << 8 | column, (row << 8 | last) + 1))
            for i in range(last - column + 1):
                style = style_at(stream, at + 4 + 6 * i)[0]
                if style in telling or (row < HEAD_ROWS and style in dates):
                    seen.formats.add(row, column + i, style)
            seen.rows, seen.width = max(seen.rows, row + 1), max(seen.width, last + 1)
            if kind == _LABELSST:
                index = struct.unpack_from("<I", stream, at + 6)[0]
                seen.text += lengths[index] if index < len(lengths) else 0
            elif kind in (_LABEL, RSTRING):
                seen.text += length
            elif kind == _BOOLERR and stream[at + 7]:
                seen.errors.add((row, column))
            elif kind == _FORMULA:
                _see_formula(seen, stream, at, (row, column))
        elif kind == _STRING:
            seen.text += length
        elif kind == _ROW:
            if length >= 14 and style_at(stream, at + 12)[0] & 0x20:
                seen.hidden.add(style_at(stream, at)[0])
        elif kind == _UNCALCED:
            seen.pending = True
        elif kind == _DIMENSIONS:
            top, bottom, left, right = struct.unpack_from("<IIHH" if length >= 12 else "<HHHH", stream, at)
            if bottom > 65536 or right > 256 or (bottom and top >= bottom) or (right and left >= right):
                raise Damaged("dimensions")
        elif kind in _UNREAD:
            refuse_workbook(what, "含有旧版 Excel 的单元格，无法可靠读取", "请在 Excel 中打开并另存为 xlsx")
    if seen.text > limits.MAX_TEXT:
        refuse_text(what, "")
    return seen


def _see_formula(seen: _Seen, stream: bytes, at: int, cell: Cell) -> None:
    result = stream[at + 6 : at + 14]
    special = result[6:] == b"\xff\xff"
    if special and result[0] == 2:
        seen.errors.add(cell)
    if (special and result[0] == 3) or (not any(result[:7]) and result[7] in (0, 0x80)):
        seen.zeros.add(cell)
    else:
        seen.results = True
