"""What an xlsx says about itself before a reader may open it, read from its XML under limits.

A workbook of 142 KB can claim 17 billion cells; a formula without a cached value reads as 0 and an error as blank
(F-44, F-45). All of that stands in the XML and is found there, without building the sheet.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from guiji.errors import DeliveryRefused

MAX_UNPACKED = 1 << 30
MAX_SHEET = 512 << 20
MAX_RATIO = 250
MAX_ENTRIES = 5000
MAX_CELLS = 10_000_000

_CELL = re.compile(rb'<(?:\w+:)?c\s[^>]*?\br="([A-Z]{1,3})(\d{1,7})"')
_ROW = re.compile(rb'<(?:\w+:)?row\s[^>]*?\br="(\d{1,7})"')
_ERROR = re.compile(rb'<(?:\w+:)?c\s(?=[^>]*\bt="e")[^>]*?\br="([A-Z]{1,3})(\d{1,7})"')
_FORMULA = re.compile(
    rb"<(?:\w+:)?c\s([^>]*?)>\s*<(?:\w+:)?f\b(?:[^>]*/>|[^>]*>[^<]*</(?:\w+:)?f>)\s*"
    rb"(?:<(?:\w+:)?v\s*/>|<(?:\w+:)?v\s*>([^<]*)</(?:\w+:)?v>)?"
)
_REFERENCE = re.compile(rb'\br="([A-Z]{1,3})(\d{1,7})"')


@dataclass(frozen=True)
class SheetFacts:
    """Cells are (row, column), both from 0."""

    errors: frozenset[tuple[int, int]]
    uncalculated: frozenset[tuple[int, int]]


def refuse_workbook(what: str, why: str, mend: str, rule_id: str = "delivery.structure") -> NoReturn:
    raise DeliveryRefused(f"{what}：{why}。现有数据继续有效；{mend}后重新提供。", rule_id=rule_id)


def check_container(path: Path, what: str) -> None:
    """Raises DeliveryRefused for what is no whole xlsx, is encrypted, or unpacks beyond the limits."""
    with path.open("rb") as f:
        head = f.read(8)
    if head == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        refuse_workbook(what, "是加密的工作簿或旧版 xls 文件，无法按 xlsx 读取", "请去掉密码并另存为 xlsx")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError):
        refuse_workbook(
            what, "不是完整的 xlsx 文件，可能只上传了一部分", "请重新完整提供该文件", "delivery.half_a_file"
        )
    total = sum(e.file_size for e in entries)
    packed = max(1, path.stat().st_size)
    if len(entries) > MAX_ENTRIES or total > MAX_UNPACKED or (total > 50 << 20 and total / packed > MAX_RATIO):
        refuse_workbook(what, f"解压后约 {total >> 20} MB，超出允许的大小", "请拆分或改用 CSV", "delivery.too_large")
    if not any(e.filename.lower().endswith("workbook.xml") for e in entries):
        refuse_workbook(what, "不是 xlsx 工作簿", "请另存为 xlsx")


def inspect_sheet(path: Path, sheet: str, what: str) -> SheetFacts:
    """What the XML of a sheet shows. Raises DeliveryRefused for a damaged file and beyond the limits."""
    try:
        with zipfile.ZipFile(path) as archive:
            member, recalculates = _locate(archive, sheet)
            if member is None:
                return SheetFacts(frozenset(), frozenset())
            with archive.open(member) as f:
                data = f.read(MAX_SHEET + 1)  # counts what really comes out, not what the header claims
    except (zipfile.BadZipFile, OSError, EOFError, KeyError, ValueError, RuntimeError, NotImplementedError):
        refuse_workbook(what, "文件已损坏，无法读取", "请重新导出完整的文件", "delivery.half_a_file")
    except Exception as exc:
        import zlib
        from xml.etree.ElementTree import ParseError

        from defusedxml.common import DefusedXmlException  # type: ignore[import-untyped]

        if not isinstance(exc, (zlib.error, ParseError, DefusedXmlException)):
            raise
        refuse_workbook(what, "文件已损坏，无法读取", "请重新导出完整的文件", "delivery.half_a_file")
    if len(data) > MAX_SHEET:
        refuse_workbook(what, f"工作表“{sheet}”过大", "请拆分或改用 CSV", "delivery.too_large")
    columns = {m for m, _ in _CELL.findall(data)}
    rows = max((int(r) for r in _ROW.findall(data)), default=0)
    rows = max(rows, max((int(r) for _, r in _CELL.findall(data)), default=0)) if rows * 3 < len(columns) else rows
    width = max((_column_number(c) for c in columns), default=0) + 1
    if rows * width > MAX_CELLS:
        refuse_workbook(
            what,
            f"工作表“{sheet}”声称有 {rows} 行 × {width} 列，超出允许的 {MAX_CELLS} 个单元格",
            "请删去表格之外的内容，或改用 CSV",
            "delivery.too_large",
        )
    errors = frozenset(map(_position, _ERROR.findall(data))) if b't="e"' in data else frozenset()
    return SheetFacts(errors, _find_uncalculated(data, recalculates))


def _find_uncalculated(data: bytes, recalculates: bool) -> frozenset[tuple[int, int]]:
    """Formula cells whose stored value is none: absent, or the 0 of a writer that leaves calculating to Excel."""
    if not re.search(rb"<(?:\w+:)?f[\s/>]", data):
        return frozenset()
    found = set()
    for attributes, value in _FORMULA.findall(data):
        if (not value or (recalculates and value == b"0")) and (m := _REFERENCE.search(attributes)):
            found.add(_position(m.groups()))
    return frozenset(found)


def _locate(archive: zipfile.ZipFile, sheet: str) -> tuple[str | None, bool]:
    """(the archive member of a sheet, whether the workbook asks to be calculated when it is opened)."""
    from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

    names = {n.lower(): n for n in archive.namelist()}
    workbook = next(n for low, n in names.items() if low.endswith("workbook.xml"))
    folder = workbook.rpartition("/")[0]
    root = fromstring(archive.read(workbook))
    relations = names.get(f"{folder}/_rels/workbook.xml.rels".lower().lstrip("/"))
    targets = {}
    if relations:
        targets = {r.get("Id"): r.get("Target", "") for r in fromstring(archive.read(relations))}
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


def _column_number(letters: bytes) -> int:
    number = 0
    for byte in letters:
        number = number * 26 + byte - 64
    return number - 1


def _position(reference: tuple[bytes, ...]) -> tuple[int, int]:
    return int(reference[1]) - 1, _column_number(reference[0])
