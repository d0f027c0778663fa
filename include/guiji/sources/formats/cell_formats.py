"""The number formats of a sheet's cells, of those only under which a cell may show another text than its value's."""

from __future__ import annotations

import re
import zipfile
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from guiji.sources.formats.number_format import BUILT_IN, is_date_format, is_telling

if TYPE_CHECKING:
    import numpy as np

#: rows from the top whose dates keep their formats too: a header may stand in them
HEAD_ROWS = 80
#: characters of a format; a longer one is no spreadsheet program's
_LONGEST_CODE = 255
_MOST_STYLES = 65_536
_UNKNOWN = '"?"'


@dataclass
class CellFormats:
    """Row and format of the cells of each column that have a telling one; rows and columns from 0."""

    codes: list[str] = field(default_factory=list)
    typed: bool = False  # the file says itself of a cell whether it is a time or a date
    columns: dict[int, tuple[array[int], array[int]]] = field(default_factory=dict)  # rows, indexes of ``codes``
    _sorted: dict[int, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]] = field(default_factory=dict)

    def add(self, row: int, column: int, code: int) -> None:
        """``code``: index of ``codes``."""
        rows, codes = self.columns.setdefault(column, (array("i"), array("i")))
        rows.append(row)
        codes.append(code)

    def find(self, column: int, first: int, stop: int) -> Mapping[int, str]:
        """Row -> format, of the rows from ``first`` to before ``stop``."""
        import numpy as np

        if column not in self.columns:
            return {}
        if column not in self._sorted:
            rows, codes = (np.frombuffer(a, np.int32) for a in self.columns[column])
            order = np.argsort(rows, kind="stable")
            self._sorted[column] = rows[order], codes[order]
        rows, codes = self._sorted[column]
        begin, end = np.searchsorted(rows, [first, stop])
        return {int(r): self.codes[c] for r, c in zip(rows[begin:end], codes[begin:end], strict=True)}


#: columns, or None for all columns of the head -> their formats
FormatsOf = Callable[[Collection[int] | None], CellFormats]


@dataclass(frozen=True)
class Styles:
    """The formats that the cell styles of a workbook give, by the number of the style."""

    codes: tuple[str, ...] = ()

    def telling(self) -> dict[int, int]:
        """Style -> index of ``codes``, of those that may show another text."""
        found = {code for code in set(self.codes) if is_telling(code)}
        return {n: n for n, code in enumerate(self.codes) if code in found}

    def dates(self) -> dict[int, int]:
        """The same of those that show dates."""
        found = {code for code in set(self.codes) if is_date_format(code)}
        return {n: n for n, code in enumerate(self.codes) if code in found}


def make_styles(numbers: Iterable[int], formats: Mapping[int, str]) -> Styles:
    """``numbers``: the format of every style; ``formats``: those that the file itself defines. Raises ValueError for more
    styles than any program keeps."""
    numbers = list(numbers)
    if len(numbers) > _MOST_STYLES:
        raise ValueError("too many styles")
    sound = {n: code if len(code) <= _LONGEST_CODE else _UNKNOWN for n, code in formats.items()}
    return Styles(tuple(sound.get(n) or BUILT_IN.get(n, "General") for n in numbers))


def read_xlsx_styles(content: bytes) -> Styles:
    """The styles of xl/styles.xml. Raises what an XML parser raises."""
    from xml.parsers import expat

    formats: dict[int, str] = {}
    numbers: list[int] = []
    inside: list[str] = []

    def refuse(*_: object) -> None:
        raise ValueError("a document type in the styles")

    def start(name: str, attributes: dict[str, str]) -> None:
        tag = name.rpartition(":")[2]
        if tag == "numFmt" and inside[1:] == ["numFmts"]:
            formats[int(attributes.get("numFmtId", "0"))] = attributes.get("formatCode", "")
        elif tag == "xf" and inside[1:] == ["cellXfs"]:
            numbers.append(int(attributes.get("numFmtId", "0")))
        inside.append(tag)

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: inside.pop()
    parser.Parse(content, True)
    return make_styles(numbers, formats)


def find_plain(chunks: Iterable[bytes], styles: Styles, columns: Collection[int] | None) -> CellFormats:
    """The formats of an xlsx sheet that is written the common way (``workbook_xlsx``)."""
    wanted = styles.dates() if columns is None else styles.telling()
    found = CellFormats(list(styles.codes))
    if not wanted or (columns is not None and not columns):
        return found
    column = "[A-Z]{1,3}" if columns is None else "|".join(map(letters, columns))
    numbers = "|".join(map(str, wanted)) if len(wanted) <= 64 else r"\d{1,6}"
    pattern = re.compile(rf'<c r="({column})(\d{{1,7}})"[^>]*?\ss="({numbers})"'.encode())
    rest = b""
    for chunk in chunks:
        data = rest + chunk
        cut = max(data.rfind(b"<c "), 0)
        last = _add_plain(found, pattern.finditer(data, 0, cut), wanted, columns is None)
        if columns is None and last >= HEAD_ROWS:
            return found
        rest = data[cut:]
    _add_plain(found, pattern.finditer(rest), wanted, columns is None)
    return found


def _add_plain(found: CellFormats, cells: Iterable[re.Match[bytes]], wanted: Mapping[int, int], head: bool) -> int:
    """The last row that was looked at."""
    row = -1
    for m in cells:
        row, style = int(m[2]) - 1, int(m[3])
        if head and row >= HEAD_ROWS:
            break
        if style in wanted:
            found.add(row, column_number(m[1].decode()) - 1, style)
    return row


def find_parsed(chunks: Iterable[bytes], styles: Styles, columns: Collection[int] | None) -> CellFormats:
    """The same of a sheet that is written in any other way."""
    from xml.parsers import expat

    wanted = styles.dates() if columns is None else styles.telling()
    found = CellFormats(list(styles.codes))
    row = column = -1

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal row, column
        tag = name.rpartition(":")[2]
        if tag == "row":
            row = int(attributes["r"]) - 1 if "r" in attributes else row + 1
            column = -1
        elif tag == "c":
            if m := re.fullmatch(r"([A-Za-z]{1,3})(\d{1,7})", attributes.get("r", "")):
                row, column = int(m[2]) - 1, column_number(m[1]) - 1
            else:
                row, column = max(row, 0), column + 1
            style = int(attributes.get("s", "0"))
            if style in wanted and (row < HEAD_ROWS if columns is None else column in columns):
                found.add(row, column, style)

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    for chunk in chunks:
        parser.Parse(chunk, False)
        if columns is None and row >= HEAD_ROWS:
            break
    return found


def read_xlsx_formats(
    archive: zipfile.ZipFile, chunks: Callable[[], Iterable[bytes]], plain: bool, columns: Collection[int] | None
) -> CellFormats:
    """The formats of one sheet; only the styles are read where none of them is telling."""
    name = next((n for n in archive.namelist() if n.lower().rpartition("/")[2] == "styles.xml"), None)
    if name is None:
        return CellFormats()
    styles = read_xlsx_styles(archive.read(name))
    if not (styles.dates() if columns is None else styles.telling()):
        return CellFormats()
    return (find_plain if plain else find_parsed)(chunks(), styles, columns)


def letters(column: int) -> str:
    """The letters of a column counted from 0."""
    said = ""
    column += 1
    while column:
        column, left = divmod(column - 1, 26)
        said = chr(65 + left) + said
    return said


def column_number(name: str) -> int:
    """The number, from 1, of a column's letters."""
    number = 0
    for letter in name.upper():
        number = number * 26 + ord(letter) - 64
    return number
