"""What the XML of an xlsx sheet says beside its values: how far the cells reach, errors, formulas without a result.

Sheets as Excel, WPS, POI, openpyxl and xlsxwriter write them are scanned as arrays of bytes; a sheet that is written in any
other way goes through an XML parser, which is slower and knows every way.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from guiji.sources.formats.ahead import read_ahead
from guiji.sources.formats.cell_formats import column_number
from guiji.sources.formats.workbook import Cell
from guiji.sources.formats.workbook_strings import NotPlain

if TYPE_CHECKING:
    import numpy as np

_ERROR = re.compile(rb'<c\s(?=[^>]*\bt="e")[^>]*?\br="([A-Z]{1,3})(\d{1,7})"')
_FORMULA = re.compile(rb"<c\s([^>]*)>\s*<f\b(?:[^>]*/>|[^>]*>[^<]*</f>)\s*(<v\s*/>|<v\s*>([^<]*)</v>)?")
_HIDDEN = re.compile(rb'<row\s(?=[^>]*\bhidden="(?:1|true)")[^>]*?\br="(\d{1,7})"')
_REFERENCE = re.compile(rb'\br="([A-Z]{1,3})(\d{1,7})"')
_LONGEST_CELL = 32 << 20
_WIDEST = 16_384
_LONGEST = 1_048_576


@dataclass
class Seen:
    """What was seen of a sheet so far."""

    recalculates: bool
    only_filled: bool = False  # cells that have a format and nothing else are not counted
    rows: int = 0
    width: int = 0
    errors: set[Cell] = field(default_factory=set)
    uncalculated: set[Cell] = field(default_factory=set)
    hidden: set[int] = field(default_factory=set)  # rows
    shared: int = 0  # cells that show a shared string
    last: int = -1  # place of the last cell: row × the widest sheet + column
    disordered: int = 0  # the first row that stands twice, holds a cell twice, or comes too late
    items: array[int] = field(default_factory=lambda: array("I"))  # which, where the parser saw them

    def add_places(self, rows: np.ndarray[Any, Any], columns: np.ndarray[Any, Any]) -> None:
        """Cells in the order of the file. Readers disagree on which of two cells at one place counts."""
        import numpy as np

        places = np.concatenate(([self.last], rows.astype(np.int64) * (_WIDEST + 1) + columns))
        self.last = int(places[-1])
        if not self.disordered and bool((wrong := np.diff(places) <= 0).any()):
            self.disordered = int(rows[wrong][0])

    def add_formula(self, cell: Cell, kind: str | None, value: str | None, has_value: bool) -> None:
        """A formula cell whose stored value is none: absent, or the 0 of a writer that leaves calculating to Excel.
        A formula of the type text with an empty value was calculated, its result is the empty text."""
        if has_value and kind == "str":
            return
        if not value or (self.recalculates and value in ("0", "0.0")):
            self.uncalculated.add(cell)


# --- the common way ------------------------------------------------------------------------------------


def scan_sheet(chunks: Generator[bytes], seen: Seen) -> Seen:
    """Adds what a sheet that is written the common way says. Raises NotPlain for any other."""
    rest = b""
    with closing(read_ahead(chunks)) as ahead:
        for chunk in ahead:
            data = rest + chunk
            cut = data.rfind(b"<c ")  # the last cell may go on in the next piece
            cut = max(len(data) - 40, 0) if cut < 0 else cut
            _scan_cells(data, cut, seen)
            rest = data[cut:]
            if len(rest) > _LONGEST_CELL:
                raise NotPlain
    _scan_cells(rest, len(rest), seen)
    return seen


def _scan_cells(data: bytes, end: int, seen: Seen) -> None:
    """Adds the cells that begin before ``end``. Raises NotPlain where a cell could hide from the scan."""
    import numpy as np

    if len(data) < end + 24:  # so far is looked beyond a place
        data += b"\0" * 24
    a = np.frombuffer(data, np.uint8)
    opening = np.flatnonzero(a[:end] == 60)  # "<"
    if data.find(b' hidden="', 0, end) >= 0:
        seen.hidden.update(int(n) - 1 for n in _HIDDEN.findall(data, 0, end))
    second = a[opening + 1]
    prefix = np.flatnonzero(a[:end] == 58)  # ":"
    instructions = opening[second == 63]
    if bool((second == 33).any()) or any(bool((a[instructions + n] != b).any()) for n, b in enumerate(b"xml", 2)):
        raise NotPlain  # comments, CDATA, entities; instructions other than <?xml
    if len(_not_letters(a, prefix[a[prefix + 1] == 99])):
        raise NotPlain  # cells with a prefix
    starts = _not_letters(a, opening[second == 99])  # "<c…" is also <col>, <cols>, <cfRule> and others
    if not len(starts):
        return
    at = starts + 2
    for byte in b' r="':
        if not bool((a[at] == byte).all()):
            raise NotPlain
        at = at + 1
    rows, columns = _read_references(a, at)
    seen.add_places(rows, columns)
    if seen.only_filled:
        filled = _find_filled(a, starts)
        rows, columns = rows[filled], columns[filled]
    seen.rows = max(seen.rows, int(rows.max(initial=0)))
    seen.width = max(seen.width, int(columns.max(initial=0)))
    seen.shared += data.count(b't="s"', 0, end)
    if data.find(b't="e"', 0, end) >= 0:
        seen.errors.update(map(_position, _ERROR.findall(data, 0, end)))
    if len(_not_letters(a, opening[second == 102])):  # "<f"
        for attributes, written, value in _FORMULA.findall(data, 0, end):
            if m := _REFERENCE.search(attributes):
                kind = "str" if b't="str"' in attributes else None
                seen.add_formula(_position(m.groups()), kind, value.decode(), bool(written))


def _find_filled(a: np.ndarray[Any, Any], starts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Which of the cells that begin at ``starts`` are more than one closed tag."""
    import numpy as np

    ends = np.append(np.flatnonzero(a == 62), len(a))  # ">"
    filled: np.ndarray[Any, Any] = a[ends[np.searchsorted(ends, starts)] - 1] != 47  # "/"
    return filled


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
        raise NotPlain
    return row, column


def _position(reference: tuple[bytes, ...]) -> Cell:
    return int(reference[1]) - 1, column_number(reference[0].decode()) - 1


# --- any other way ---------------------------------------------------------------------------------------


def parse_sheet(chunks: Iterable[bytes], seen: Seen) -> Seen:
    """The same through an XML parser; a cell without a reference stands right of the one before, as readers take it."""
    from xml.parsers import expat

    parser = expat.ParserCreate()
    row = column = -1
    cell: dict[str, str] = {}
    has_formula = has_value = in_value = is_filled = False
    value: list[str] = []

    def refuse(*_: object) -> None:
        raise ValueError("a document type in a sheet")

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal row, column, cell, has_formula, has_value, in_value, is_filled
        tag = name.rpartition(":")[2]
        if tag == "row":
            row = int(attributes["r"]) - 1 if "r" in attributes else row + 1
            column = -1
            if attributes.get("hidden") in ("1", "true"):
                seen.hidden.add(row)
        elif tag == "c":
            cell = attributes
            has_formula = has_value = is_filled = False
            value.clear()
            if "r" in attributes:
                m = re.fullmatch(r"([A-Za-z]{1,3})(\d{1,7})", attributes["r"])
                if m is None:
                    raise ValueError("a cell without a place")
                row, column = int(m[2]) - 1, column_number(m[1]) - 1
            else:
                row, column = max(row, 0), column + 1
            if not seen.only_filled:
                seen.rows, seen.width = max(seen.rows, row + 1), max(seen.width, column + 1)
            if (place := (row + 1) * (_WIDEST + 1) + column + 1) <= seen.last and not seen.disordered:
                seen.disordered = row + 1
            seen.last = place
            if row >= _LONGEST or column >= _WIDEST:
                raise ValueError("a cell outside of any sheet")
            seen.shared += attributes.get("t") == "s"
            if attributes.get("t") == "e":
                seen.errors.add((row, column))
        elif tag == "f":
            has_formula = is_filled = True
        elif tag == "v":
            has_value = in_value = is_filled = True
        elif tag == "is":
            is_filled = True

    def end(name: str) -> None:
        nonlocal in_value
        tag = name.rpartition(":")[2]
        if tag == "v":
            in_value = False
        elif tag == "c":
            if cell.get("t") == "s" and value:
                seen.items.append(min(int("".join(value)), 0xFFFFFFFF))
            if is_filled:
                seen.rows, seen.width = max(seen.rows, row + 1), max(seen.width, column + 1)
            if has_formula:
                seen.add_formula((row, column), cell.get("t"), "".join(value), has_value)

    def text(data: str) -> None:
        if in_value:
            value.append(data)
            if len(value) > 1000:
                raise ValueError("a value without end")

    def refuse_inside(*_: object) -> None:
        if in_value:  # readers take another number out of 1<!-- -->2
            raise ValueError("a value in pieces")

    parser.StartDoctypeDeclHandler = refuse
    parser.CommentHandler = parser.StartCdataSectionHandler = parser.ProcessingInstructionHandler = refuse_inside
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    for chunk in chunks:
        parser.Parse(chunk, False)
    parser.Parse(b"", True)
    return seen
