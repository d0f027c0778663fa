"""xlsb: the binary records of a sheet ([MS-XLSB]) are looked through before calamine builds the sheet.

calamine passes over what it does not know; a cell of such a kind refuses the workbook, for it would read as blank.
calamine knows no merged ranges here either, so they are taken from the records.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guiji.errors import DeliveryRefused
from guiji.masking import show_name
from guiji.sources.formats import workbook as limits
from guiji.sources.formats.cell_formats import HEAD_ROWS, CellFormats, Styles, make_styles
from guiji.sources.formats.clock import Clock
from guiji.sources.formats.leap_day import is_leap_day
from guiji.sources.formats.number_format import is_date_format
from guiji.sources.formats.workbook import (
    Cell,
    OpenSheet,
    SheetFacts,
    SheetName,
    judge_zeros,
    list_sheets,
    load_calamine,
    load_sheet,
    read_chunks,
    read_part,
    refuse_damaged,
    refuse_disorder,
    refuse_size,
    refuse_text,
    refuse_unreadable,
    refuse_workbook,
)
from guiji.sources.formats.workbook_xls_cells import unpack_number

_ROW, _BLANK, _RK, _ERROR, _BOOL, _REAL, _STRING, _SHARED = range(8)
_FORMULA_STRING, _FORMULA_NUMBER, _FORMULA_BOOL, _FORMULA_ERROR = range(8, 12)
#: short forms of cells, and rich text in a cell: calamine passes over them
_UNREAD = {*range(12, 19), 62}
_SST_ITEM, _END_SHEET_DATA, _BUNDLE, _CALC, _MERGE = 19, 146, 156, 157, 176
_FORMAT, _XF, _BEGIN_CELL_XFS, _END_CELL_XFS = 44, 47, 617, 618
_LONGEST_RECORD = 16 << 20


@dataclass
class _Seen:
    rows: int = 0
    width: int = 0
    text: int = 0
    errors: set[Cell] = field(default_factory=set)
    zeros: set[Cell] = field(default_factory=set)
    results: bool = False  # a formula has another result than 0
    merged: list[tuple[Cell, Cell]] = field(default_factory=list)
    hidden: set[int] = field(default_factory=set)  # rows
    leap_days: set[Cell] = field(default_factory=set)  # dates whose number is 60
    last: int = -1  # place of the last cell: row × the widest sheet + column
    disordered: int = 0  # the first row that stands twice, holds a cell twice, or comes too late
    formats: CellFormats = field(default_factory=CellFormats)


@dataclass(frozen=True)
class _Xlsb:
    path: Path
    what: str
    reader: Any
    members: dict[str, str]
    lengths: list[int]
    styles: Styles
    calculated: bool
    sheets: tuple[SheetName, ...]
    clock: Clock
    kind: str = "xlsb"

    def open_sheet(self, name: str) -> OpenSheet:
        facts = _inspect(self, name)
        return load_sheet(self.reader, name, facts, self.what, self.clock)


def open_xlsb(path: Path, what: str, clock: Clock) -> _Xlsb:
    """The workbook; what calamine reads when it opens one was read here first, under the limits."""
    members: dict[str, str] = {}
    lengths: list[int] = []
    given = Styles()
    calculated = False
    try:
        with zipfile.ZipFile(path) as archive:
            names = {n.lower(): n for n in archive.namelist()}
            targets = _read_relations(archive, names, what)
            for kind, data in _records([read_part(archive, names["xl/workbook.bin"], what)]):
                if kind == _BUNDLE:
                    name, relation = _read_bundle(data)
                    members[name] = names.get(f"xl/{targets.get(relation, '')}".lower(), "")
                elif kind == _CALC and len(data) >= 26:
                    calculated = any(data[:4]) and not data[24] & 1  # an engine, and no full calculation asked for
            if strings := names.get("xl/sharedstrings.bin"):
                chunks = clock.watch(read_chunks(archive, strings, limits.MAX_STRINGS, what))
                lengths = [len(data) * 3 // 2 for kind, data in _records(chunks) if kind == _SST_ITEM]
            if styles := names.get("xl/styles.bin"):
                given = _read_styles(read_part(archive, styles, what))
    except DeliveryRefused:
        raise
    except Exception as exc:
        refuse_unreadable(exc, what)
    reader = load_calamine(path, ".xlsb", what, clock)
    return _Xlsb(path, what, reader, members, lengths, given, calculated, list_sheets(reader), clock)


def _inspect(book: _Xlsb, sheet: str) -> SheetFacts:
    """What the records of a sheet show. Raises DeliveryRefused for a damaged file and beyond the limits."""
    what, member = book.what, book.members.get(sheet)
    if not member:
        refuse_damaged(what)
    seen = _Seen(formats=CellFormats(list(book.styles.codes)))
    try:
        with zipfile.ZipFile(book.path) as archive:
            chunks = book.clock.watch(read_chunks(archive, member, limits.MAX_SHEET, what))
            _see_sheet(seen, _records(chunks), book, sheet)
    except DeliveryRefused:
        raise
    except Exception as exc:
        refuse_unreadable(exc, what)
    if seen.rows * seen.width > limits.MAX_CELLS:
        refuse_size(what, sheet, seen.rows, seen.width)
    if seen.text > limits.MAX_TEXT:
        refuse_text(what, sheet)
    if seen.disordered:
        refuse_disorder(what, sheet, seen.disordered)
    zeros = judge_zeros(seen.zeros, seen.results, book.calculated)
    return SheetFacts(
        seen.rows * seen.width,
        frozenset(seen.errors),
        *zeros,
        tuple(seen.merged),
        frozenset(seen.hidden),
        lambda _: seen.formats,
        lambda: frozenset(seen.leap_days),
    )


def _see_sheet(seen: _Seen, records: Iterable[tuple[int, bytes]], book: _Xlsb, sheet: str) -> None:
    row = 0
    lengths = book.lengths
    telling, dates = book.styles.telling(), book.styles.dates()
    days = {style for style, code in enumerate(book.styles.codes) if is_date_format(code)}
    number = struct.Struct("<I").unpack_from
    inside = True
    for kind, data in records:
        if kind == _MERGE:
            top, bottom, left, right = struct.unpack_from("<4I", data)
            seen.merged.append(((top, left), (bottom, right)))
        elif kind == _END_SHEET_DATA:
            inside = False
        elif not inside:
            continue
        elif kind == _ROW:
            (row,) = number(data)
            if row >= 1 << 20:
                raise ValueError("a row outside of any sheet")
            if data[11:12] and data[11] & 16:
                seen.hidden.add(row)
        elif kind in _UNREAD:
            refuse_workbook(
                book.what, f"工作表“{show_name(sheet)}”含有无法可靠读取的单元格", "请在 Excel 中打开并另存为 xlsx"
            )
        elif _BLANK < kind <= _FORMULA_ERROR:
            (column,) = number(data)
            if column >= 1 << 14:
                raise ValueError("a cell outside of any sheet")
            seen.rows, seen.width = max(seen.rows, row + 1), max(seen.width, column + 1)
            if (place := (row << 14) + column) <= seen.last and not seen.disordered:
                seen.disordered = row + 1
            seen.last = place
            style = number(data, 4)[0] & 0xFFFFFF
            if style in telling or (row < HEAD_ROWS and style in dates):
                seen.formats.add(row, column, style)
            if kind in (_RK, _REAL, _FORMULA_NUMBER) and style in days and is_leap_day(_read_number(kind, data)):
                seen.leap_days.add((row, column))
            if kind in (_ERROR, _FORMULA_ERROR):
                seen.errors.add((row, column))
            elif kind == _SHARED:
                seen.text += lengths[number(data, 8)[0]]
            elif kind in (_STRING, _FORMULA_STRING):
                seen.text += len(data)
            if kind == _FORMULA_NUMBER and struct.unpack_from("<d", data, 8)[0] == 0:
                seen.zeros.add((row, column))
            elif kind in (_FORMULA_STRING, _FORMULA_NUMBER, _FORMULA_BOOL):
                seen.results = True


# --- records ---------------------------------------------------------------------------------------------


def _records(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """(type, content) of every record. Type and length are written in seven bits per byte, the low ones first."""
    data = b""
    at = 0
    for chunk in chunks:
        data = data[at:] + chunk
        at = 0
        while (found := _read_record(data, at)) is not None:
            kind, start, length = found
            yield kind, data[start : start + length]
            at = start + length
    if at < len(data):
        raise ValueError("a record is cut off")


def _read_record(data: bytes, at: int) -> tuple[int, int, int] | None:
    """(type, offset of the content, its length) of the record at ``at``, None while it is not whole."""
    end = len(data)
    if at + 1 >= end:
        return None
    kind = data[at]
    at += 1
    if kind & 0x80:
        kind = (kind & 0x7F) | (data[at] & 0x7F) << 7
        at += 1
    length = shift = 0
    while True:
        if at >= end:
            return None
        byte = data[at]
        at += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80 or shift == 28:
            break
    if length > _LONGEST_RECORD:
        raise ValueError("a record is too long")
    return (kind, at, length) if at + length <= end else None


def _read_number(kind: int, data: bytes) -> float:
    """The number of a cell, which stands behind its column and style."""
    if kind == _RK:
        return unpack_number(struct.unpack_from("<I", data, 8)[0])
    value: float = struct.unpack_from("<d", data, 8)[0]
    return value


def _read_styles(content: bytes) -> Styles:
    """The formats of the cell styles: those of the parts BrtFmt and, between their marks, BrtXF."""
    formats: dict[int, str] = {}
    numbers: list[int] = []
    inside = False
    for kind, data in _records([content]):
        if kind == _FORMAT:
            formats[struct.unpack_from("<H", data)[0]] = _read_text(data, 2)[0]
        elif kind in (_BEGIN_CELL_XFS, _END_CELL_XFS):
            inside = kind == _BEGIN_CELL_XFS
        elif kind == _XF and inside:
            numbers.append(struct.unpack_from("<H", data, 2)[0])
    return make_styles(numbers, formats)


def _read_bundle(data: bytes) -> tuple[str, str]:
    """(name, relation) of a sheet."""
    relation, at = _read_text(data, 8)
    name, _ = _read_text(data, at)
    return name, relation


def _read_text(data: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", data, at)
    if length == 0xFFFFFFFF:
        return "", at + 4
    stop = at + 4 + 2 * length
    if stop > len(data):
        raise ValueError("a text is cut off")
    return data[at + 4 : stop].decode("utf-16-le"), stop


def _read_relations(archive: zipfile.ZipFile, names: dict[str, str], what: str) -> dict[str, str]:
    from defusedxml.ElementTree import fromstring

    member = names.get("xl/_rels/workbook.bin.rels")
    if member is None:
        return {}
    return {r.get("Id", ""): r.get("Target", "") for r in fromstring(read_part(archive, member, what))}
