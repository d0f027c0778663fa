"""xlsx: the XML of a sheet is looked through in pieces (``workbook_xlsx_scan``) before calamine builds the sheet, and so are the
shared strings: how much text they unfold to (``workbook_strings``)."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guiji.errors import DeliveryRefused
from guiji.sources.formats import workbook as limits
from guiji.sources.formats.cell_formats import CellFormats, read_xlsx_formats
from guiji.sources.formats.clock import Clock
from guiji.sources.formats.workbook import (
    Cell,
    OpenSheet,
    SheetFacts,
    SheetName,
    load_sheet,
    parse_calamine,
    read_chunks,
    read_part,
    refuse_damaged,
    refuse_disorder,
    refuse_size,
    refuse_text,
    refuse_unreadable,
)
from guiji.sources.formats.workbook_strings import NotPlain, list_lengths, longest_string, sum_items, sum_text
from guiji.sources.formats.workbook_xlsx_numbers import find_leap_days
from guiji.sources.formats.workbook_xlsx_scan import Seen, parse_sheet, scan_sheet


@dataclass(frozen=True)
class _Xlsx:
    path: Path
    what: str
    sheets: tuple[SheetName, ...]
    members: dict[str, str]  # of the archive, by sheet
    recalculates: bool  # the workbook asks to be calculated when it is opened
    loading: Future[tuple[Any, int]]  # calamine's workbook, and the bytes of the longest shared string
    clock: Clock
    kind: str = "xlsx"

    def open_sheet(self, name: str) -> OpenSheet:
        facts = _inspect(self, name)
        return load_sheet(self.clock.wait(self.loading)[0], name, facts, self.what, self.clock)

    def read_sheet(self, name: str) -> Generator[bytes]:
        """The XML of a sheet, in pieces, within the time that is left."""
        with zipfile.ZipFile(self.path) as archive:
            yield from self.clock.watch(read_chunks(archive, self.members[name], limits.MAX_SHEET, self.what))


def open_xlsx(path: Path, what: str, clock: Clock) -> _Xlsx:
    """The workbook. What calamine reads when it opens one is read here first, under the limits; calamine then parses the
    shared strings while the sheet is looked through."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.lower().endswith((".rels", "styles.xml", "[content_types].xml")):
                    read_part(archive, name, what)
            sheets, members, recalculates = _list_sheets(archive, what)
    except DeliveryRefused:
        raise
    except Exception as exc:
        refuse_unreadable(exc, what)
    loading = clock.start(lambda: _load(path, what))
    return _Xlsx(path, what, sheets, members, recalculates, loading, clock)


def _load(path: Path, what: str) -> tuple[Any, int]:
    try:
        with zipfile.ZipFile(path) as archive:
            longest = longest_string(archive, what)
    except DeliveryRefused:
        raise
    except Exception as exc:
        refuse_unreadable(exc, what)
    return parse_calamine(path, ".xlsx", what), longest


def _inspect(book: _Xlsx, sheet: str) -> SheetFacts:
    """What the XML of a sheet shows. Raises DeliveryRefused for a damaged file and beyond the limits."""
    what = book.what
    try:
        with zipfile.ZipFile(book.path) as archive:
            plain = True
            try:
                seen = scan_sheet(book.read_sheet(sheet), Seen(book.recalculates))
            except NotPlain:
                plain = False
                seen = parse_sheet(book.read_sheet(sheet), Seen(book.recalculates))
            if seen.disordered:
                refuse_disorder(what, sheet, seen.disordered)
            if seen.rows * seen.width > limits.MAX_CELLS:  # the reader does not build cells that are only formatted
                filled = (scan_sheet if plain else parse_sheet)(book.read_sheet(sheet), Seen(False, only_filled=True))
                seen.rows, seen.width = filled.rows, filled.width
            if seen.rows * seen.width > limits.MAX_CELLS:
                refuse_size(what, sheet, seen.rows, seen.width)
            longest = book.clock.wait(book.loading)[1]
            if seen.shared * longest > limits.MAX_TEXT:  # else it can't be too much
                by_item = list_lengths(archive, longest, what)
                text = sum_text(book.read_sheet(sheet), by_item) if plain else sum_items(seen.items, by_item)
                if text > limits.MAX_TEXT:
                    refuse_text(what, sheet)
    except DeliveryRefused:
        raise
    except Exception as exc:
        refuse_unreadable(exc, what)

    def formats(columns: Collection[int] | None) -> CellFormats:
        try:
            with zipfile.ZipFile(book.path) as archive:
                return read_xlsx_formats(archive, lambda: book.read_sheet(sheet), plain, columns)
        except DeliveryRefused:
            raise
        except Exception as exc:
            refuse_unreadable(exc, what)

    def leap_days() -> frozenset[Cell]:
        try:
            return find_leap_days(book.read_sheet(sheet))
        except DeliveryRefused:
            raise
        except Exception as exc:
            refuse_unreadable(exc, what)

    cells, errors, uncalculated = seen.rows * seen.width, frozenset(seen.errors), frozenset(seen.uncalculated)
    return SheetFacts(cells, errors, uncalculated, formats=formats, hidden=frozenset(seen.hidden), leap_days=leap_days)


def _list_sheets(archive: zipfile.ZipFile, what: str) -> tuple[tuple[SheetName, ...], dict[str, str], bool]:
    """(worksheets in order, sheet -> member of the archive, whether the workbook asks to be calculated)."""
    from defusedxml.ElementTree import fromstring

    names = {n.lower(): n for n in archive.namelist()}
    workbook = next(n for low, n in names.items() if low.endswith("workbook.xml"))
    folder = workbook.rpartition("/")[0]
    root = fromstring(read_part(archive, workbook, what))
    relations = names.get(f"{folder}/_rels/workbook.xml.rels".lower().lstrip("/"))
    targets: dict[str, tuple[str, str]] = {}
    if relations:
        for r in fromstring(read_part(archive, relations, what)):
            targets[r.get("Id", "")] = r.get("Type", ""), r.get("Target", "")
    recalculates = False
    sheets: list[SheetName] = []
    members: dict[str, str] = {}
    for element in root.iter():
        tag = element.tag.rpartition("}")[2]
        if tag == "calcPr":
            recalculates = element.get("fullCalcOnLoad") in ("1", "true")
        elif tag == "sheet":
            name = element.get("name", "")
            relation = next((v for k, v in element.attrib.items() if k.endswith("}id")), "")
            kind, target = targets.get(relation, ("", ""))
            if not kind.endswith("/worksheet"):
                continue  # a chart, a dialog, a macro
            full = target.lstrip("/") if target.startswith("/") else f"{folder}/{target}".lstrip("/")
            if full.lower() not in names or name in members:
                refuse_damaged(what)
            members[name] = names[full.lower()]
            sheets.append(SheetName(name, element.get("state", "visible") == "visible"))
    return tuple(sheets), members, recalculates
