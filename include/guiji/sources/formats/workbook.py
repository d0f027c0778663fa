"""A workbook of any kind as sheets of typed rows, opened only after it was looked through under limits.

A workbook of 142 KB can claim 17 billion cells; a formula without a stored result reads as 0 and an error as blank
(F-44, F-45). All of that stands in the file and is found there before a reader may build the sheet: ``workbook_xlsx``
looks through the XML, ``workbook_xls`` and ``workbook_xlsb`` through the binary records, ``workbook_ods``,
``workbook_html`` and ``workbook_xml`` read by themselves. What a file is, its first bytes and members say; its name and the catalog's word for it may be wrong.
"""

from __future__ import annotations

import re
import struct
import zipfile
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Protocol

from guiji.errors import DeliveryRefused
from guiji.masking import show_name
from guiji.sources.formats.cell_formats import CellFormats, FormatsOf
from guiji.sources.formats.clock import Clock

#: of the whole container, of one sheet, and of the texts that cells share
MAX_UNPACKED = 1 << 30
MAX_SHEET = 512 << 20
MAX_STRINGS = 192 << 20
#: of what is read whole: styles, relations, the list of sheets
MAX_PART = 48 << 20
MAX_RATIO = 250
MAX_ENTRIES = 5000
#: of all sheets that are read together; a cell costs about a hundred bytes while it is read
MAX_CELLS = 6_000_000
#: bytes of text in the cells of a sheet, a text counted in every cell that shows it
MAX_TEXT = 256 << 20

#: how programs spell an error where a file has no type for it
ERROR = re.compile(r"#(?:N/A|REF!|NAME\?|VALUE!|DIV/0!|NUM!|NULL!)|(?:Err|错误)[:：]\d{3}")
Cell = tuple[int, int]
_CHUNK = 1 << 19
#: what calamine says of an error that is younger than it: it then reads nothing of the sheet
_UNKNOWN_ERROR = re.compile(r"cell error value '(#[A-Z_/!?]{1,20})'")


def no_formats(_: Collection[int] | None) -> CellFormats:
    """The formats of a sheet that has none."""
    return CellFormats()


def no_cells() -> frozenset[Cell]:
    """The cells of a sheet of which there are none of a kind."""
    return frozenset()


@dataclass(frozen=True)
class SheetFacts:
    """What a sheet's file says beside its values. Cells are (row, column), both from 0; ranges hold both ends."""

    cells: int = 0  # rows × columns that the sheet takes in memory
    errors: frozenset[Cell] = frozenset()  # #N/A and its like
    uncalculated: frozenset[Cell] = frozenset()  # formulas that certainly have no result
    doubtful: frozenset[Cell] = frozenset()  # formulas with the result 0 that nothing shows to have been calculated
    merged: tuple[tuple[Cell, Cell], ...] | None = None  # None: the reader knows them
    hidden: frozenset[int] = frozenset()  # rows that nobody sees; they are read all the same
    formats: FormatsOf = no_formats  # of cells; asked for where a number stands in a text field, a date in a header
    leap_days: Callable[[], frozenset[Cell]] = no_cells  # numbers 60, where the calendar of 1900 may hold


@dataclass(frozen=True)
class SheetName:
    name: str
    visible: bool


@dataclass
class OpenSheet:
    """One sheet being read: every row from the first of the sheet on, all of the same width, typed, "" where blank."""

    name: str
    facts: SheetFacts
    merged: tuple[tuple[Cell, Cell], ...]
    rows: Iterator[list[Any]]
    head: list[list[Any]] = field(default_factory=list)  # rows taken from ``rows`` in search of the header
    lost: set[int] = field(default_factory=set)  # rows, blank in ``rows``, that hold a time which no reader can tell


def judge_zeros(zeros: set[Cell], results: bool, calculated: bool) -> tuple[frozenset[Cell], frozenset[Cell]]:
    """(formulas that were certainly not calculated, those in doubt) of a binary workbook, which always stores a result:
    a program that doesn't calculate stores 0 or nothing. ``results``: another formula of the sheet has another result;
    ``calculated``: the workbook names the engine that calculated it last."""
    if calculated:
        return frozenset(), frozenset()
    return (frozenset(), frozenset(zeros)) if results else (frozenset(zeros), frozenset())


class Workbook(Protocol):
    """Knows its sheets in order; opens one under the limits or raises DeliveryRefused."""

    @property
    def kind(self) -> str: ...

    @property
    def sheets(self) -> tuple[SheetName, ...]: ...

    def open_sheet(self, name: str) -> OpenSheet: ...


def open_workbook(path: Path, what: str, clock: Clock | None = None) -> Workbook:
    """The workbook in a file. Raises DeliveryRefused for what is none, is damaged, encrypted, or beyond the limits, of
    time too: those of ``clock`` hold while sheets are opened."""
    from guiji.sources.formats.workbook_kind import detect_kind

    kind = detect_kind(path, what)
    clock = clock or Clock(what)
    if kind == "xls":
        from guiji.sources.formats.workbook_xls import open_xls

        return open_xls(path, what, clock)
    if kind == "xlsb":
        from guiji.sources.formats.workbook_xlsb import open_xlsb

        return open_xlsb(path, what, clock)
    if kind in ("ods", "fods"):
        from guiji.sources.formats.workbook_ods import open_fods, open_ods

        return (open_ods if kind == "ods" else open_fods)(path, what, clock)
    if kind == "html":
        from guiji.sources.formats.workbook_html import open_html

        return open_html(path, what, clock)
    if kind == "xml2003":
        from guiji.sources.formats.workbook_xml import open_xml_workbook

        return open_xml_workbook(path, what, clock)
    from guiji.sources.formats.workbook_xlsx import open_xlsx

    return open_xlsx(path, what, clock)


# --- refusing ------------------------------------------------------------------------------------------


def refuse_workbook(what: str, why: str, mend: str, rule_id: str = "delivery.structure") -> NoReturn:
    """``mend``: what the department does before it delivers again."""
    pause = " " if mend[-1].isascii() else ""
    raise DeliveryRefused(f"{what}：{why}。现有数据继续有效；{mend}{pause}后重新提供。", rule_id=rule_id)


def refuse_damaged(what: str) -> NoReturn:
    refuse_workbook(what, "文件已损坏或不完整，无法读取", "请重新导出完整的文件", "delivery.half_a_file")


def refuse_encrypted(what: str) -> NoReturn:
    refuse_workbook(what, "工作簿已加密，无法读取", "请去掉密码和工作簿保护", "delivery.encrypted")


def refuse_size(what: str, sheet: str, rows: int, width: int) -> NoReturn:
    refuse_workbook(
        what,
        f"工作表“{show_name(sheet)}”声称有 {rows} 行 × {width} 列，超出允许的 {MAX_CELLS} 个单元格",
        "请删去表格之外的内容，或改用 CSV",
        "delivery.too_large",
    )


def refuse_disorder(what: str, sheet: str, row: int) -> NoReturn:
    """Of two cells at one place, or two rows of one number, readers disagree on which counts."""
    why = f"工作表“{show_name(sheet)}”第 {row} 行或其中的单元格在文件内重复出现，或次序错乱"
    refuse_workbook(what, why, "请在 Excel 中打开、检查该行并另存")


def refuse_text(what: str, sheet: str) -> NoReturn:
    refuse_workbook(
        what, f"工作表“{show_name(sheet)}”中的文字超过 {MAX_TEXT >> 20} MB", "请拆分或改用 CSV", "delivery.too_large"
    )


def refuse_unreadable(exc: Exception, what: str) -> NoReturn:
    """Refuses what a damaged container or part of it raises; anything else is a fault of ours and is raised."""
    import zlib
    from xml.etree.ElementTree import ParseError
    from xml.parsers.expat import ExpatError

    from defusedxml.common import DefusedXmlException

    foreign = (
        zipfile.BadZipFile,
        struct.error,
        OSError,
        EOFError,
        LookupError,
        ArithmeticError,
        ValueError,
        RuntimeError,
        NotImplementedError,
        zlib.error,
        ParseError,
        ExpatError,
        DefusedXmlException,
    )
    if not isinstance(exc, foreign):
        raise exc
    refuse_damaged(what)


# --- members of a container ------------------------------------------------------------------------------


def read_part(archive: zipfile.ZipFile, member: str, what: str) -> bytes:
    """A small member, whole. What really comes out is counted, not what the header claims."""
    with archive.open(member) as f:
        data = f.read(MAX_PART + 1)
    if len(data) > MAX_PART:
        refuse_workbook(what, f"文件内的 {member} 过大", "请重新导出", "delivery.too_large")
    return data


def read_chunks(archive: zipfile.ZipFile, member: str, limit: int, what: str) -> Generator[bytes]:
    """A large member in pieces, its check sum compared at the end; so a reader that follows finds what was seen here."""
    size = 0
    with archive.open(member) as f:
        while data := f.read(_CHUNK):
            size += len(data)
            if size > limit:
                refuse_workbook(what, f"文件内的 {member} 过大", "请拆分或改用 CSV", "delivery.too_large")
            yield data


# --- python-calamine -------------------------------------------------------------------------------------


def list_sheets(workbook: Any) -> tuple[SheetName, ...]:
    """The worksheets that calamine sees."""
    import python_calamine as calamine

    return tuple(
        SheetName(m.name, m.visible == calamine.SheetVisibleEnum.Visible)
        for m in workbook.sheets_metadata
        if m.typ == calamine.SheetTypeEnum.WorkSheet
    )


def load_calamine(path: Path, suffix: str, what: str, clock: Clock) -> Any:
    """``parse_calamine`` within the time that is left."""
    return clock.wait(clock.start(lambda: parse_calamine(path, suffix, what)))


def parse_calamine(path: Path, suffix: str, what: str) -> Any:
    """The workbook, opened by calamine. It goes by the name where there is one, so a misnamed file is given as bytes."""
    import python_calamine as calamine

    try:
        if path.suffix.lower() == suffix:
            return calamine.CalamineWorkbook.from_path(str(path))
        with path.open("rb") as f:
            return calamine.CalamineWorkbook.from_filelike(f)
    except calamine.PasswordError:
        refuse_encrypted(what)
    except (calamine.CalamineError, OSError, ValueError):
        refuse_damaged(what)
    except BaseException as panic:
        _refuse_panic(panic, what)


def load_sheet(workbook: Any, name: str, facts: SheetFacts, what: str, clock: Clock) -> OpenSheet:
    """One sheet, parsed by calamine within the time that is left; its rows become Python values as they are asked for."""
    return clock.wait(clock.start(lambda: _parse_sheet(workbook, name, facts, what)))


def _parse_sheet(workbook: Any, name: str, facts: SheetFacts, what: str) -> OpenSheet:
    import python_calamine as calamine

    try:
        sheet = workbook.get_sheet_by_name(name)
        merged = facts.merged if facts.merged is not None else tuple(sheet.merged_cell_ranges or ())
    except (calamine.CalamineError, OSError, ValueError) as error:
        if said := _UNKNOWN_ERROR.search(str(error)):
            at = min(facts.errors, default=None)
            where = f"（第 {at[0] + 1} 行第 {at[1] + 1} 列等处）" if at else ""
            why = f"工作表“{show_name(name)}”中有无法识别的错误值 {said[1]}{where}"
            refuse_workbook(what, why, "请改正单元格的公式，或粘贴为数值")
        refuse_workbook(
            what, f"工作表“{show_name(name)}”已损坏，无法读取", "请重新导出完整的文件", "delivery.half_a_file"
        )
    except BaseException as panic:
        _refuse_panic(panic, what)
    opened = OpenSheet(name, facts, merged, iter(()))
    if sheet.start is not None:
        rows = _give_rows(sheet, opened.lost)
        # from the first column of the sheet on: calamine begins with the first one that has a value
        left = [""] * sheet.start[1]
        opened.rows = (left + row for row in rows) if left else rows
    return opened


def _give_rows(sheet: Any, lost: set[int]) -> Iterator[list[Any]]:
    """The rows of a sheet, from its first row on. One with a date or time outside of all calendars fails by itself
    (a long number under the format of a time); it is given blank and added to ``lost``."""
    rows = sheet.iter_rows()
    number = 0
    while True:
        try:
            for row in rows:
                number += 1
                yield row
            return
        except OverflowError:
            pass
        except BaseException as panic:
            if not _is_panic(panic):
                raise
        lost.add(number)
        number += 1
        yield [""] * sheet.width


def _refuse_panic(panic: BaseException, what: str) -> NoReturn:
    """Anything else of that kind is not ours to keep."""
    if not _is_panic(panic):
        raise panic
    refuse_damaged(what)


def _is_panic(exc: BaseException) -> bool:
    """True for a panic of the Rust reader, which is no Exception."""
    return type(exc).__name__ == "PanicException"
