"""Workbooks made to hurt: nothing hangs, nothing takes a gigabyte, nothing ends the process (F-45)."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from delivering import expect, read_bytes, sound
from hypothesis import given, settings
from hypothesis import strategies as st
from workbooks import KINDS, Fault, Formula, Sheet, make_book, make_ods, record, wide, zip_members

from guiji.errors import DeliveryRefused
from guiji.sources.formats.compound_file import Damaged, read_streams
from guiji.sources.formats.workbook_xlsx_scan import Seen, parse_sheet, scan_sheet

ABC = expect("姓名", "编号", "地址")
ROWS = [ABC.columns, *[(f"人{i}", str(i), "某某街道") for i in range(300)]]

#: reads each file named on its input; says what came of it, the seconds, and in the end the peak of memory
CHILD = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from delivering import expect
from guiji.catalog.models import Format
from guiji.errors import DeliveryRefused
from guiji.records import ReadReport
from guiji.sources.formats import read_file
expected = expect("姓名", "编号", "地址")
for path in map(Path, json.load(sys.stdin)):
    start = time.perf_counter()
    try:
        form = Format(type="xlsx")
        said = str(sum(b.num_rows for b in read_file(path, path.name, expected, form, ReadReport())))
    except DeliveryRefused as refusal:
        said = refusal.rule_id
    print(json.dumps([path.name, said, time.perf_counter() - start]), flush=True)
# not ru_maxrss: that also counts the memory of the process which started this one
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(json.dumps(int(peak.split()[1]) // 1024))
"""


def read_apart(files: list[Path]) -> tuple[dict[str, str], float, int]:
    """(file -> rule of the refusal or rows, seconds of the slowest, peak megabytes) in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(Path(__file__).parent)],
        input=json.dumps([str(f) for f in files]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *lines, peak = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == [f.name for f in files]
    return {name: said for name, said, _ in lines}, max(s for _, _, s in lines), peak


def with_members(content: bytes, **changed: str | bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members: dict[str, str | bytes] = {n: archive.read(n) for n in archive.namelist()}
    return zip_members(members | changed)


def sheet_xml(cells: str, prefix: str = "") -> str:
    p = f"{prefix}:" if prefix else ""
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    named = f'xmlns:{prefix}="{space}"' if prefix else f'xmlns="{space}"'
    return f"<{p}worksheet {named}><{p}sheetData>{cells}</{p}sheetData></{p}worksheet>"


def hostile_files() -> dict[str, tuple[bytes, str]]:
    """name -> (file, the rule that refuses it)."""
    xlsx = make_book("xlsx", Sheet(ROWS))
    xls = make_book("xls", Sheet(ROWS))
    xlsb = make_book("xlsb", Sheet(ROWS))

    def sheet(cells: str, prefix: str = "", **more: str | bytes) -> bytes:
        return with_members(xlsx, **{"xl/worksheets/sheet1.xml": sheet_xml(cells, prefix)}, **more)

    far = '<row r="1"><c r="A1"><v>1</v></c><c r="XFD1048576"><v>1</v></c></row>'
    long = "长" * 400_000
    shared = f"<sst><si><t>x</t></si><si><t>{long}</t></si></sst>"
    many = "".join(f'<row r="{i}"><c r="A{i}" t="s"><v>1</v></c></row>' for i in range(1, 400))
    dimensions = re.compile(rb"\x00\x02\x0e\x00.{14}", re.S)
    cell = 'office:value-type="string"'

    def table(rows: str) -> bytes:
        return make_ods(f'<table:table table:name="表">{rows}</table:table>')

    def ods_row(rows: int, columns: int, text: str = "x") -> bytes:
        return table(
            f'<table:table-row table:number-rows-repeated="{rows}"><table:table-cell {cell} '
            f'table:number-columns-repeated="{columns}"><text:p>{text}</text:p></table:table-cell></table:table-row>'
        )

    def xlsb_sheet(body: bytes, **more: bytes) -> bytes:
        whole = record(129) + record(148, bytes(16)) + record(145) + body + record(146) + record(130)
        return with_members(xlsb, **{"xl/worksheets/sheet1.bin": whole}, **more)

    def at(row: int, column: int) -> bytes:
        return record(0, struct.pack("<II", row, 0) + bytes(9)) + record(5, struct.pack("<IId", column, 0, 1.0))

    one_string = record(159, struct.pack("<II", 1, 1)) + record(19, b"\0" + wide(long)) + record(160)
    shows = b"".join(
        record(0, struct.pack("<II", i, 0) + bytes(9)) + record(7, struct.pack("<III", 0, 0, 0)) for i in range(400)
    )
    return {
        "far.xlsx": (sheet(far), "delivery.too_large"),
        "far_quoted.xlsx": (sheet(far.replace('r="XFD1048576"', "r='XFD1048576'")), "delivery.too_large"),
        "far_prefixed.xlsx": (
            sheet(re.sub(r"<(/?)(\w)", r"<\1x:\2", far), "x"),
            "delivery.too_large",
        ),
        "far_in_cdata.xlsx": (sheet(far.replace("<row", "<!-- - --><row")), "delivery.too_large"),
        "text.xlsx": (sheet(many, **{"xl/sharedStrings.xml": shared}), "delivery.too_large"),
        "text_prefixed.xlsx": (
            sheet(re.sub(r"<(/?)(\w)", r"<\1x:\2", many), "x", **{"xl/sharedStrings.xml": shared}),
            "delivery.too_large",
        ),
        "text_cdata.xlsx": (
            sheet(many, **{"xl/sharedStrings.xml": shared.replace(long, f"<![CDATA[{long}]]>")}),
            "delivery.too_large",
        ),
        "dimensions.xls": (
            dimensions.sub(b"\x00\x02\x0e\x00" + struct.pack("<IIHHH", 0, 0xFFFFFFFF, 0, 0xFFFF, 0), xls, count=1),
            "delivery.half_a_file",
        ),
        "backwards.xls": (
            dimensions.sub(b"\x00\x02\x0e\x00" + struct.pack("<IIHHH", 900, 3, 0, 3, 0), xls, count=1),
            "delivery.half_a_file",
        ),
        "far.xlsb": (xlsb_sheet(at(0, 0) + at(1_048_575, 16_383)), "delivery.too_large"),
        "outside.xlsb": (xlsb_sheet(at(0, 0) + at(0, 1 << 30)), "delivery.half_a_file"),
        "text.xlsb": (xlsb_sheet(shows, **{"xl/sharedStrings.bin": one_string}), "delivery.too_large"),
        "no_string.xlsb": (
            xlsb_sheet(record(0, bytes(17)) + record(7, struct.pack("<III", 0, 0, 1 << 30))),
            "delivery.half_a_file",
        ),
        "rows.ods": (ods_row(1_000_000, 1000), "delivery.too_large"),
        "text.ods": (ods_row(1000, 10, "长" * 30_000), "delivery.too_large"),
        "columns.ods": (ods_row(1, 2_000_000_000), "delivery.half_a_file"),
        "no_rows.ods": (ods_row(0, 1), "delivery.half_a_file"),
        "blank.ods": (
            table('<table:table-row table:number-rows-repeated="9999999999"><table:table-cell/></table:table-row>'),
            "delivery.half_a_file",
        ),
        "doctype.ods": (
            make_ods("", head='<!DOCTYPE a [<!ENTITY b "cc"><!ENTITY c "&b;&b;">]><a>'),
            "delivery.half_a_file",
        ),
    }


@pytest.mark.timeout(120)
def test_f45_no_workbook_hangs_takes_a_gigabyte_or_ends_the_process(tmp_path: Path) -> None:
    hostile = hostile_files()
    files = []
    for name, (content, _) in hostile.items():
        files.append(tmp_path / name)
        files[-1].write_bytes(content)
        assert len(content) < 3 << 20, name
    said, slowest, peak = read_apart(files)
    assert said == {name: rule for name, (_, rule) in hostile.items()}
    assert slowest < 30
    assert peak < 700


@pytest.mark.timeout(120)
def test_f45_a_sheet_as_large_as_is_allowed_stays_below_a_gigabyte(tmp_path: Path) -> None:
    """The cells of a far corner: as many as the limit allows are held in memory, whatever the file weighs."""
    import xlsxwriter

    file = tmp_path / "large.xlsx"
    with xlsxwriter.Workbook(file) as made:
        sheet = made.add_worksheet("表")
        sheet.write_row(0, 0, ABC.columns)
        for i in range(1, 60):
            sheet.write_row(i, 0, ("张三", "1", "街"))
        sheet.write(399_999, 14, "x")
    said, slowest, peak = read_apart([file])
    assert said == {"large.xlsx": "60"}
    assert slowest < 60
    assert peak < 1000


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", [*KINDS, "html"])
def test_a_damaged_workbook_is_refused_or_read_and_never_raises_anything_else(tmp_path: Path, kind: str) -> None:
    if kind == "html":
        cells = "".join(f"<tr>{''.join(f'<td rowspan=1>{c}</td>' for c in row)}</tr>" for row in ROWS[:40])
        whole = f"<html><meta charset=gbk><table>{cells}</table></html>".encode("gb18030")
    else:
        whole = make_book(kind, Sheet([*ROWS[:40], ("王五", Formula("1+1", 2.0), Fault())], merged=[(50, 0, 51, 1)]))
    chance = random.Random(kind)
    files = []
    for n in range(25):
        hurt = bytearray(whole)
        for _ in range(chance.choice((1, 1, 4, 40))):
            hurt[chance.randrange(8, len(hurt))] = chance.randrange(256)
        cut = chance.randrange(len(hurt)) if n % 5 == 0 else len(hurt)
        files.append(tmp_path / f"{n}.{kind}")
        files[-1].write_bytes(hurt[:cut])
    members = {"xlsx": "xl/worksheets/sheet1.xml", "xlsb": "xl/worksheets/sheet1.bin", "ods": "content.xml"}
    if member := members.get(kind):  # the same below the container, where no check sum stands before the reader
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            inner = archive.read(member)
        for n in range(25):
            hurt = bytearray(inner)
            for _ in range(chance.choice((1, 2, 8))):
                hurt[chance.randrange(len(hurt))] = chance.randrange(256)
            files.append(tmp_path / f"inner{n}.{kind}")
            files[-1].write_bytes(with_members(whole, **{member: bytes(hurt)}))
    said, slowest, peak = read_apart(files)
    assert all(re.fullmatch(r"\d+|delivery\.\w+", s) for s in said.values()), said
    assert slowest < 20
    assert peak < 700


def test_a_chain_of_sectors_that_leads_back_into_itself_ends(tmp_path: Path) -> None:
    whole = bytearray(make_book("xls", Sheet(ROWS)))
    (table,) = struct.unpack_from("<I", whole, 76)
    for name, (place, target) in {
        "stream": ((table + 1) * 512, 0),  # the first sector of the workbook names itself
        "directory": (48, 0xFFFFFF),
        "difat": (68, 0),
    }.items():
        hurt = bytearray(whole)
        struct.pack_into("<I", hurt, place, target)
        with pytest.raises(Damaged):
            read_streams(bytes(hurt))
        with pytest.raises(DeliveryRefused):
            read_bytes(tmp_path, bytes(hurt), ABC, f"{name}.xls", type="xls")
    assert set(read_streams(bytes(whole))) == {"Workbook"}


@pytest.mark.parametrize("odd", ["", "<!-- so that a parser reads it -->"])
def test_f45_cells_that_are_only_formatted_take_no_place(tmp_path: Path, odd: str) -> None:
    with zipfile.ZipFile(io.BytesIO(make_book("xlsx", Sheet([ABC.columns, ("张三", "1", "街")])))) as archive:
        members: dict[str, str | bytes] = {n: archive.read(n) for n in archive.namelist()}
    name = "xl/worksheets/sheet1.xml"
    sheet = str(members[name], "utf-8")
    far = f'<row r="1048576" s="1">{odd}<c r="H1048576" s="0"/></row></sheetData>'
    content = zip_members({**members, name: sheet.replace("</sheetData>", far)})
    rows, report = read_bytes(tmp_path, content, ABC, "a.xlsx", type="xlsx")
    assert (sound(rows, ABC), report.skipped) == ([("张三", "1", "街")], {})
    far = far.replace('s="0"/>', 's="0"><v>1</v></c>')
    with pytest.raises(DeliveryRefused, match="1048576 行 × 8 列"):
        read_bytes(tmp_path, zip_members({**members, name: sheet.replace("</sheetData>", far)}), ABC, "b", type="xlsx")


def test_xls_with_long_and_continued_strings_is_read_whole(tmp_path: Path) -> None:
    rows = [(f"人{i}", "码" * 3000 + str(i), "a" * 9000) for i in range(20)]
    content = make_book("xls", Sheet([ABC.columns, *rows]))
    read, _ = read_bytes(tmp_path, content, ABC, "a.xls", type="xls")
    assert sound(read, ABC) == rows


# --- both ways of looking through an xlsx see the same ------------------------------------------------

_CELL = st.sampled_from(["", "甲", 1, 0.5, True, Formula("1+1", 2.0), Formula("1-1", 0.0), Fault(), '<c r="A9"'])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(_CELL, max_size=5), max_size=8), st.integers(1, 400), st.booleans())
def test_the_scan_of_a_sheet_sees_what_the_parser_sees(rows: list[list[object]], step: int, recalculates: bool) -> None:
    with zipfile.ZipFile(io.BytesIO(make_book("xlsx", Sheet(rows)))) as archive:
        data = archive.read("xl/worksheets/sheet1.xml")
    pieces = [data[i : i + step] for i in range(0, len(data), step)]
    scanned = scan_sheet((p for p in pieces), Seen(recalculates))
    parsed = parse_sheet((p for p in pieces), Seen(recalculates))
    parsed.items = scanned.items
    assert scanned == parsed
