"""xlsx: the XML of a sheet is looked through in pieces before calamine builds the sheet.

What is looked for: how far the cells reach, error cells, formulas without a result, and how much text the shared
strings unfold to. Sheets as Excel, WPS, POI, openpyxl and xlsxwriter write them are scanned as arrays of bytes;
a sheet that is written in any other way goes through an XML parser, which is slower and knows every way.
"""

from __future__ import annotations

import re
import zipfile
from array import array
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.errors import DeliveryRefused
from guiji.sources.formats import workbook as limits
from guiji.sources.formats.ahead import read_ahead
from guiji.sources.formats.workbook import (
    Cell,
    OpenSheet,
    SheetFacts,
    SheetName,
    list_sheets,
    load_calamine,
    load_sheet,
    read_chunks,
    read_part,
    refuse_damaged,
    refuse_size,
    refuse_text,
    refuse_unreadable,
)

if TYPE_CHECKING:
    import numpy as np

_ERROR = re.compile(rb'<c\s(?=[^>]*\bt="e")[^>]*?\br="([A-Z]{1,3})(\d{1,7})"')
_FORMULA = re.compile(rb"<c\s([^>]*)>\s*<f\b(?:[^>]*/>|[^>]*>[^<]*</f>)\s*(<v\s*/>|<v\s*>([^<]*)</v>)?")
_REFERENCE = re.compile(rb'\br="([A-Z]{1,3})(\d{1,7})"')
_SHARED = re.compile(rb'<c\s(?=[^>]*\bt="s")[^>]*>\s*<v>(\d{1,9})</v>')
_ITEM_END = re.compile(rb"</(?:\w+:)?si\s*>")
_LONGEST_CELL = 32 << 20
_WIDEST = 16_384
_LONGEST = 1_048_576


class _NotPlain(Exception):
    """The sheet is not written the common way."""


@dataclass
class _Seen:
    """What was seen of a sheet so far."""

    recalculates: bool
    rows: int = 0
    width: int = 0
    errors: set[Cell] = field(default_factory=set)
    uncalculated: set[Cell] = field(default_factory=set)
    shared: int = 0  # cells that show a shared string
    items: array[int] = field(default_factory=lambda: array("I"))  # which, where the parser saw them

    def add_formula(self, cell: Cell, kind: str | None, value: str | None, has_value: bool) -> None:
        """A formula cell whose stored value is none: absent, or the 0 of a writer that leaves calculating to Excel.
        A formula of the type text with an empty value was calculated, its result is the empty text."""
        if has_value and kind == "str":
            return
        if not value or (self.recalculates and value in ("0", "0.0")):
            self.uncalculated.add(cell)


@dataclass(frozen=True)
class _Xlsx:
    path: Path
    what: str
    reader: Any
    longest: int  # shared string, in bytes
    sheets: tuple[SheetName, ...]
    kind: str = "xlsx"

    def open_sheet(self, name: str) -> OpenSheet:
        return load_sheet(self.reader, name, _inspect(self.path, name, self.longest, self.what), self.what)


def open_xlsx(path: Path, what: str) -> _Xlsx:
    """The workbook; what calamine reads when it opens one was read here first, under the limits."""
    longest = 0
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                low = entry.filename.lower()
                if low.endswith("sharedstrings.xml"):
                    longest = max(longest, _longest_item(archive, entry, what))
                elif low.endswith((".rels", "workbook.xml", "styles.xml", "[content_types].xml")):
                    read_part(archive, entry.filename, what)
    except DeliveryRefused:
        raise
    except Exception as exc:
        refuse_unreadable(exc, what)
    reader = load_calamine(path, ".xlsx", what)
    return _Xlsx(path, what, reader, longest, list_sheets(reader))


def _inspect(path: Path, sheet: str, longest: int, what: str) -> SheetFacts:
    """What the XML of a sheet shows. Raises DeliveryRefused for a damaged file and beyond the limits."""
    try:
        with zipfile.ZipFile(path) as archive:
            member, recalculates = _locate(archive, sheet, what)
            if member is None:
                refuse_damaged(what)
            plain = True
            try:
                seen = _scan(read_chunks(archive, member, limits.MAX_SHEET, what), _Seen(recalculates))
            except _NotPlain:
                plain = False
                seen = _parse(read_chunks(archive, member, limits.MAX_SHEET, what), _Seen(recalculates))
            if seen.rows * seen.width > limits.MAX_CELLS:
                refuse_size(what, sheet, seen.rows, seen.width)
            if seen.shared * longest > limits.MAX_TEXT:  # else it can't be too much
                by_item = _list_lengths(archive, longest, what)
                if plain:
                    text = _sum_text(read_chunks(archive, member, limits.MAX_SHEET, what), by_item)
                else:
                    text = _sum_items(seen.items, by_item)
                if text > limits.MAX_TEXT:
                    refuse_text(what, sheet)
    except DeliveryRefused:
        raise
    except Exception as exc:
        refuse_unreadable(exc, what)
    return SheetFacts(seen.rows * seen.width, frozenset(seen.errors), frozenset(seen.uncalculated))


def _locate(archive: zipfile.ZipFile, sheet: str, what: str) -> tuple[str | None, bool]:
    """(the archive member of a sheet, whether the workbook asks to be calculated when it is opened)."""
    from defusedxml.ElementTree import fromstring

    names = {n.lower(): n for n in archive.namelist()}
    workbook = next(n for low, n in names.items() if low.endswith("workbook.xml"))
    folder = workbook.rpartition("/")[0]
    root = fromstring(read_part(archive, workbook, what))
    relations = names.get(f"{folder}/_rels/workbook.xml.rels".lower().lstrip("/"))
    targets = {}
    if relations:
        targets = {r.get("Id"): r.get("Target", "") for r in fromstring(read_part(archive, relations, what))}
    recalculates = False
    member = None
    for element in root.iter():
        tag = element.tag.rpartition("}")[2]
        if tag == "calcPr":
            recalculates = element.get("fullCalcOnLoad") in ("1", "true")
        elif tag == "sheet" and element.get("name") == sheet:
            relation = next((v for k, v in element.attrib.items() if k.endswith("}id")), None)
            target = targets.get(relation, "")
            full = target.lstrip("/") if target.startswith("/") else f"{folder}/{target}".lstrip("/")
            member = names.get(full.lower())
    return member, recalculates


# --- the common way ------------------------------------------------------------------------------------


def _scan(chunks: Generator[bytes], seen: _Seen) -> _Seen:
    rest = b""
    with closing(read_ahead(chunks)) as ahead:
        for chunk in ahead:
            data = rest + chunk
            cut = data.rfind(b"<c ")  # the last cell may go on in the next piece
            cut = max(len(data) - 40, 0) if cut < 0 else cut
            _scan_cells(data, cut, seen)
            rest = data[cut:]
            if len(rest) > _LONGEST_CELL:
                raise _NotPlain
    _scan_cells(rest, len(rest), seen)
    return seen


def _scan_cells(data: bytes, end: int, seen: _Seen) -> None:
    """Adds the cells that begin before ``end``. Raises _NotPlain where a cell could hide from the scan."""
    import numpy as np

    if len(data) < end + 24:  # so far is looked beyond a place
        data += b"\0" * 24
    a = np.frombuffer(data, np.uint8)
    opening = np.flatnonzero(a[:end] == 60)  # "<"
    second = a[opening + 1]
    prefix = np.flatnonzero(a[:end] == 58)  # ":"
    if bool((second == 33).any()) or len(_not_letters(a, prefix[a[prefix + 1] == 99])):
        raise _NotPlain  # comments, CDATA, entities; cells with a prefix
    starts = _not_letters(a, opening[second == 99])  # "<c…" is also <col>, <cols>, <cfRule> and others
    if not len(starts):
        return
    at = starts + 2
    for byte in b' r="':
        if not bool((a[at] == byte).all()):
            raise _NotPlain
        at = at + 1
    rows, columns = _read_references(a, at)
    seen.rows = max(seen.rows, int(rows.max()))
    seen.width = max(seen.width, int(columns.max()))
    seen.shared += data.count(b't="s"', 0, end)
    if data.find(b't="e"', 0, end) >= 0:
        seen.errors.update(map(_position, _ERROR.findall(data, 0, end)))
    if len(_not_letters(a, opening[second == 102])):  # "<f"
        for attributes, written, value in _FORMULA.findall(data, 0, end):
            if m := _REFERENCE.search(attributes):
                kind = "str" if b't="str"' in attributes else None
                seen.add_formula(_position(m.groups()), kind, value.decode(), bool(written))


def _not_letters(a: np.ndarray[Any, Any], at: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Those of the places where no small letter stands two bytes on."""
    third = a[at + 2]
    found: np.ndarray[Any, Any] = at[(third < 97) | (third > 122)]
    return found


def _read_references(a: np.ndarray[Any, Any], at: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """(rows, columns), both from 1, of the references like AB12" that begin at ``at``."""
    import numpy as np

    column = np.zeros(len(at), np.int32)
    row = np.zeros(len(at), np.int32)
    letters = np.zeros(len(at), np.int8)
    for _ in range(3):
        byte = a[at]
        more = (byte >= 65) & (byte <= 90)
        if not more.any():
            break
        column = np.where(more, column * 26 + byte - 64, column)
        letters += more
        at = at + more
    for _ in range(7):
        byte = a[at]
        more = (byte >= 48) & (byte <= 57)
        if not more.any():
            break
        row = np.where(more, row * 10 + (byte.astype(np.int32) - 48), row)
        at = at + more
    if not bool(((a[at] == 34) & (row > 0) & (letters > 0)).all()):
        raise _NotPlain
    return row, column


def _position(reference: tuple[bytes, ...]) -> Cell:
    return int(reference[1]) - 1, _column_number(reference[0].decode()) - 1


def _column_number(letters: str) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - 64
    return number


# --- any other way ---------------------------------------------------------------------------------------


def _parse(chunks: Iterable[bytes], seen: _Seen) -> _Seen:
    """The same through an XML parser; a cell without a reference stands right of the one before, as readers take it."""
    from xml.parsers import expat

    parser = expat.ParserCreate()
    row = column = -1
    cell: dict[str, str] = {}
    has_formula = has_value = in_value = False
    value: list[str] = []

    def refuse(*_: object) -> None:
        raise ValueError("a document type in a sheet")

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal row, column, cell, has_formula, has_value, in_value
        tag = name.rpartition(":")[2]
        if tag == "row":
            row = int(attributes["r"]) - 1 if "r" in attributes else row + 1
            column = -1
        elif tag == "c":
            cell = attributes
            has_formula = has_value = False
            value.clear()
            if "r" in attributes:
                m = re.fullmatch(r"([A-Za-z]{1,3})(\d{1,7})", attributes["r"])
                if m is None:
                    raise ValueError("a cell without a place")
                row, column = int(m[2]) - 1, _column_number(m[1]) - 1
            else:
                row, column = max(row, 0), column + 1
            seen.rows, seen.width = max(seen.rows, row + 1), max(seen.width, column + 1)
            if seen.rows > _LONGEST or seen.width > _WIDEST:
                raise ValueError("a cell outside of any sheet")
            seen.shared += attributes.get("t") == "s"
            if attributes.get("t") == "e":
                seen.errors.add((row, column))
        elif tag == "f":
            has_formula = True
        elif tag == "v":
            has_value = in_value = True

    def end(name: str) -> None:
        nonlocal in_value
        tag = name.rpartition(":")[2]
        if tag == "v":
            in_value = False
        elif tag == "c":
            if cell.get("t") == "s" and value:
                seen.items.append(min(int("".join(value)), 0xFFFFFFFF))
            if has_formula:
                seen.add_formula((row, column), cell.get("t"), "".join(value), has_value)

    def text(data: str) -> None:
        if in_value:
            value.append(data)
            if len(value) > 1000:
                raise ValueError("a value without end")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    for chunk in chunks:
        parser.Parse(chunk, False)
    parser.Parse(b"", True)
    return seen


# --- how much text the shared strings become ------------------------------------------------------------


def _item_lengths(chunks: Iterable[bytes]) -> Iterator[list[int]]:
    """The bytes of each shared string, in pieces. Raises _NotPlain where one could hide."""
    tail = b""
    before = 0  # bytes of an item that goes on, before the tail
    for chunk in chunks:
        if b"<!" in chunk:
            raise _NotPlain
        data = tail + chunk
        *whole, rest = _ITEM_END.split(data) if b":si" in data else data.split(b"</si>")
        lengths = list(map(len, whole))
        if lengths:
            lengths[0] += before
            before = 0
        tail = rest[-64:]
        before += len(rest) - len(tail)
        yield lengths
    yield [before + len(tail)]


def _longest_item(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, what: str) -> int:
    """Bytes of the longest shared string, or more."""
    chunks = read_chunks(archive, entry.filename, limits.MAX_STRINGS, what)
    try:
        return max((max(piece, default=0) for piece in _item_lengths(chunks)), default=0)
    except _NotPlain:
        for _ in chunks:  # to the end, where the check sum is compared
            pass
        return entry.file_size


def _list_lengths(archive: zipfile.ZipFile, longest: int, what: str) -> np.ndarray[Any, Any]:
    """Bytes of each shared string, then of what is beyond the last; ``longest`` where they can't be told apart."""
    import numpy as np

    strings = [n for n in archive.namelist() if n.lower().endswith("sharedstrings.xml")]
    lengths = array("I")
    try:
        for name in strings[:1]:
            for piece in _item_lengths(read_chunks(archive, name, limits.MAX_STRINGS, what)):
                lengths.extend(piece)
    except _NotPlain:
        lengths = array("I")
    return np.array([*lengths, longest], np.int64)


def _sum_text(chunks: Iterable[bytes], by_item: np.ndarray[Any, Any]) -> int:
    """Bytes of text in the cells of a sheet that is written the common way."""
    total = 0
    rest = b""
    for chunk in chunks:
        data = rest + chunk
        cut = max(data.rfind(b"<c "), 0)
        total += _sum_cells(data[:cut], by_item)
        rest = data[cut:]
    return total + _sum_cells(rest, by_item)


def _sum_cells(data: bytes, by_item: np.ndarray[Any, Any]) -> int:
    found = _SHARED.findall(data)
    uncommon = data.count(b't="s"') - len(found)  # taken for the longest text
    return _sum_items(array("I", map(int, found)), by_item) + max(uncommon, 0) * int(by_item.max())


def _sum_items(items: array[int], by_item: np.ndarray[Any, Any]) -> int:
    import numpy as np

    wanted = np.minimum(np.frombuffer(items, np.uint32), len(by_item) - 1) if items else np.zeros(0, np.int64)
    return int(by_item[wanted].sum())
