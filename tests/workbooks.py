"""Workbooks of all kinds from one description, for tests that hold for each of them.

xlsx by xlsxwriter, xls by xlwt (the results of formulas are put in afterwards: xlwt stores none), the others by hand.
"""

from __future__ import annotations

import datetime as dt
import io
import struct
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import xlsxwriter
import xlwt

KINDS = ("xlsx", "xls", "xlsb", "ods", "fods", "xml2003")


@dataclass(frozen=True)
class Formula:
    """A formula; without a result it was never calculated."""

    text: str = "1+1"
    result: float | None = None


@dataclass(frozen=True)
class Fault:
    """An error cell."""

    text: str = "#N/A"


@dataclass(frozen=True)
class Shown:
    """A number or a date under a number format; ``text`` is what the program shows for it."""

    value: float | dt.date
    format: str
    text: str = ""


@dataclass(frozen=True)
class Sheet:
    """Merged ranges are (top, left, bottom, right), all from 0 and inside; their value stands in the first cell."""

    rows: Sequence[Sequence[Any]]
    name: str = "表"
    merged: Sequence[tuple[int, int, int, int]] = ()
    hidden: bool = False
    hidden_rows: Sequence[int] = ()


def make_book(kind: str, *sheets: Sheet, calculated: bool = True) -> bytes:
    """The bytes of a workbook. ``calculated``: it says of itself that its formulas were calculated."""
    makers: dict[str, Callable[[Sequence[Sheet], bool], bytes]] = {
        "xlsx": _make_xlsx,
        "xls": _make_xls,
        "xlsb": _make_xlsb,
        "ods": _make_ods,
        "fods": _make_fods,
        "xml2003": _make_xml2003,
    }
    return makers[kind](sheets, calculated)


def zip_members(members: dict[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


# --- xlsx ------------------------------------------------------------------------------------------------


def _make_xlsx(sheets: Sequence[Sheet], calculated: bool) -> bytes:
    out = io.BytesIO()
    with xlsxwriter.Workbook(out, {"strings_to_formulas": False, "in_memory": True}) as book:
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        if calculated:
            book.set_calc_mode("auto")
            book.calc_on_load = False
        for sheet in sheets:
            made = book.add_worksheet(sheet.name)
            for top, left, bottom, right in sheet.merged:
                made.merge_range(top, left, bottom, right, "")
            for i, row in enumerate(sheet.rows):
                for j, value in enumerate(row):
                    if isinstance(value, Formula):
                        made.write_formula(i, j, "=" + value.text, None, 0 if value.result is None else value.result)
                    elif isinstance(value, Fault):
                        made.write_formula(i, j, "=NA()", None, value.text)
                    elif isinstance(value, Shown):
                        made.write(i, j, value.value, book.add_format({"num_format": value.format}))
                    elif isinstance(value, dt.datetime):
                        made.write_datetime(i, j, value, moment)
                    elif isinstance(value, dt.date):
                        made.write_datetime(i, j, value, day)
                    elif value is not None and value != "":
                        made.write(i, j, value)
            for i in sheet.hidden_rows:
                made.set_row(i, None, None, {"hidden": True})
            if sheet.hidden:
                made.hide()
    return out.getvalue()


# --- xls -------------------------------------------------------------------------------------------------

_NO_RESULT = b"\x03\x00\x00\x00\x00\x00\xff\xff"
_XLS_ERRORS = {"#N/A": 0x2A, "#REF!": 0x17, "#DIV/0!": 0x07}


def _make_xls(sheets: Sequence[Sheet], calculated: bool) -> bytes:
    book = xlwt.Workbook(encoding="utf-8")
    day = xlwt.easyxf(num_format_str="YYYY-MM-DD")
    moment = xlwt.easyxf(num_format_str="YYYY-MM-DD HH:MM:SS")
    results: list[float | None] = []
    for sheet in sheets:
        made = book.add_sheet(sheet.name, cell_overwrite_ok=True)
        made.visibility = 1 if sheet.hidden else 0
        for i, row in enumerate(sheet.rows):
            for j, value in enumerate(row):
                if isinstance(value, Formula):
                    made.write(i, j, xlwt.Formula(value.text))
                    results.append(value.result)
                elif isinstance(value, Fault):
                    made.row(i).set_cell_error(j, _XLS_ERRORS[value.text])
                elif isinstance(value, Shown):
                    made.write(i, j, value.value, xlwt.easyxf(num_format_str=value.format))
                elif isinstance(value, dt.datetime):
                    made.write(i, j, value, moment)
                elif isinstance(value, dt.date):
                    made.write(i, j, value, day)
                elif value is not None and value != "":
                    made.write(i, j, value)
        for i in sheet.hidden_rows:
            made.row(i).hidden = True
        for top, left, bottom, right in sheet.merged:
            made.merge(top, bottom, left, right)
    out = io.BytesIO()
    book.save(out)
    data = out.getvalue()
    for result in results:
        at = data.index(_NO_RESULT)
        # what was given no result keeps none, under another mark until all are through
        put = struct.pack("<d", result) if result is not None else b"\x03none\xfe\xff\xff"
        data = data[:at] + put + data[at + 8 :]
    data = data.replace(b"\x03none\xfe\xff\xff", _NO_RESULT)
    if calculated:  # a record that no reader needs becomes the one that names the engine
        data = data.replace(b"\x3d\x00\x12\x00", b"\xc1\x01\x12\x00", 1)
    return data


def make_compound(streams: dict[str, bytes]) -> bytes:
    """A compound file ([MS-CFB], version 3) of the given streams, each padded to where it needs no small sectors."""
    size, end, free = 512, 0xFFFFFFFE, 0xFFFFFFFF
    bodies = {name: data.ljust(4096, b"\0") for name, data in streams.items()}
    counts = {name: -(-len(data) // size) for name, data in bodies.items()}
    directory = 1 + len(streams) // 4
    sectors = directory + sum(counts.values())
    fats = -(-(sectors + 1 + sectors // 128) // 128)
    fat = [0xFFFFFFFD] * fats + [*range(fats + 1, fats + directory), end]
    starts = {}
    for name, count in counts.items():
        starts[name] = len(fat)
        fat += [*range(len(fat) + 1, len(fat) + count), end]
    fat += [free] * (fats * 128 - len(fat))

    def entry(name: str, kind: int, first: int, length: int, child: int = free, right: int = free) -> bytes:
        raw = name.encode("utf-16-le")
        head = raw.ljust(64, b"\0") + struct.pack("<HBBIII", len(raw) + 2 if raw else 0, kind, 1, free, right, child)
        return head + bytes(36) + struct.pack("<IQ", first, length)

    names = sorted(bodies, key=lambda n: (len(n), n.upper()))
    entries = entry("Root Entry", 5, end, 0, child=1)
    for i, name in enumerate(names, 1):
        entries += entry(name, 2, starts[name], len(bodies[name]), right=i + 1 if i < len(names) else free)
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    head += struct.pack("<HHHHH6xIIIIIIIII", 0x3E, 3, 0xFFFE, 9, 6, 0, fats, fats, 0, 4096, end, 0, end, 0)
    head += struct.pack("<109I", *range(fats), *[free] * (109 - fats))
    body = b"".join(data.ljust(counts[name] * size, b"\0") for name, data in bodies.items())
    return head + struct.pack(f"<{len(fat)}I", *fat) + entries.ljust(directory * size, b"\0") + body


def make_summary(program: str) -> bytes:
    """The summary of a file that names the program which saved it ([MS-OLEPS])."""
    text = program.encode("gb18030") + b"\0"
    properties = struct.pack("<IIIIII", 0, 2, 1, 24, 18, 32)
    properties += struct.pack("<II", 2, 936) + struct.pack("<II", 30, len(text)) + text
    properties = struct.pack("<I", len(properties)) + properties[4:]
    return struct.pack("<HHI16sI16sI", 0xFFFE, 0, 0x20105, bytes(16), 1, bytes(16), 48) + properties


# --- xlsb ------------------------------------------------------------------------------------------------


def record(kind: int, content: bytes = b"") -> bytes:
    """One record of an xlsb part."""
    head = bytes([kind]) if kind < 128 else bytes([kind & 0x7F | 0x80, kind >> 7])
    length = len(content)
    while True:
        head += bytes([length & 0x7F | (0x80 if length > 0x7F else 0)])
        length >>= 7
        if not length:
            return head + content


def wide(text: str) -> bytes:
    return struct.pack("<I", len(text.encode("utf-16-le")) // 2) + text.encode("utf-16-le")


_XLSB_ERRORS = {"#N/A": 0x2A, "#REF!": 0x17, "#DIV/0!": 0x07}
_SINCE = dt.datetime(1899, 12, 30)


def _xlsb_cell(column: int, value: Any, strings: list[str], formats: list[str]) -> bytes:
    def at(style: int) -> bytes:
        return struct.pack("<II", column, style)

    if isinstance(value, Formula):
        number = struct.pack("<d", value.result or 0.0)
        return record(9, at(0) + number + struct.pack("<H", 0) + struct.pack("<I", 3) + b"\x1e\x01\x00" + bytes(4))
    if isinstance(value, Shown):
        formats.append(value.format)
        number = value.value
        if isinstance(number, dt.date):
            number = (dt.datetime(number.year, number.month, number.day) - _SINCE).days
        return record(5, at(2 + len(formats)) + struct.pack("<d", number))
    if isinstance(value, Fault):
        return record(3, at(0) + bytes([_XLSB_ERRORS[value.text]]))
    if isinstance(value, bool):
        return record(4, at(0) + bytes([value]))
    if isinstance(value, int | float):
        return record(5, at(0) + struct.pack("<d", value))
    if isinstance(value, dt.date):
        moment = isinstance(value, dt.datetime)
        since = (value if isinstance(value, dt.datetime) else dt.datetime.combine(value, dt.time())) - _SINCE
        return record(5, at(2 if moment else 1) + struct.pack("<d", since.total_seconds() / 86400))
    if len(value) % 2:  # both ways of keeping a text
        return record(6, at(0) + wide(value))
    strings.append(value)
    return record(7, at(0) + struct.pack("<I", len(strings) - 1))


def _make_xlsb(sheets: Sequence[Sheet], calculated: bool) -> bytes:
    strings: list[str] = []
    formats: list[str] = []
    members: dict[str, str | bytes] = {}
    bundles = b""
    relations = ""
    for n, sheet in enumerate(sheets, 1):
        bundles += record(156, struct.pack("<II", int(sheet.hidden), n) + wide(f"rId{n}") + wide(sheet.name))
        relations += f'<Relationship Id="rId{n}" Type="t" Target="worksheets/sheet{n}.bin"/>'
        body = b""
        for i, row in enumerate(sheet.rows):
            body += record(0, struct.pack("<II", i, 0) + bytes([0, 0, 0, 16 * (i in sheet.hidden_rows), 0, 0, 0, 0, 0]))
            for j, value in enumerate(row):
                if value is not None and value != "":
                    body += _xlsb_cell(j, value, strings, formats)
        ranges = b"".join(record(176, struct.pack("<4I", t, b, lf, r)) for t, lf, b, r in sheet.merged)
        size = struct.pack("<4I", 0, max(len(sheet.rows), 1) - 1, 0, max(map(len, sheet.rows), default=1) - 1)
        members[f"xl/worksheets/sheet{n}.bin"] = (
            record(129) + record(148, size) + record(145) + body + record(146)
            + record(177, struct.pack("<I", len(sheet.merged))) + ranges + record(178) + record(130)
        )  # fmt: skip
    engine = 191029 if calculated else 0
    calc = struct.pack("<IIIdIH", engine, 1, 100, 0.001, 1, 0x0A)
    members |= {
        "[Content_Types].xml": "<Types/>",
        "xl/workbook.bin": record(131) + record(153, bytes(12)) + record(143) + bundles + record(144)
        + record(157, calc) + record(132),
        "xl/_rels/workbook.bin.rels": f"<Relationships>{relations}</Relationships>",
        "xl/sharedStrings.bin": record(159, struct.pack("<II", len(strings), len(strings)))
        + b"".join(record(19, b"\0" + wide(s)) for s in strings) + record(160),
        "xl/styles.bin": record(278) + record(615, struct.pack("<I", len(formats)))
        + b"".join(record(44, struct.pack("<H", 176 + n) + wide(f)) for n, f in enumerate(formats)) + record(616)
        + record(617, struct.pack("<I", 3 + len(formats)))
        + b"".join(
            record(47, struct.pack("<HH", 0, fmt) + bytes(12))
            for fmt in (0, 14, 22, *range(176, 176 + len(formats)))
        )
        + record(618) + record(279),
    }  # fmt: skip
    return zip_members(members)


# --- ods -------------------------------------------------------------------------------------------------

_ODS_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?><office:document-content '
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:style="urn:oasis:names:tc:opendocument:xmlns:style:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    'xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0" office:version="1.2">'
    '<office:automatic-styles><style:style style:name="shown" style:family="table"><style:table-properties '
    'table:display="true"/></style:style><style:style style:name="hidden" style:family="table">'
    '<style:table-properties table:display="false"/></style:style></office:automatic-styles>'
    "<office:body><office:spreadsheet>"
)
_ODS_FOOT = "</office:spreadsheet></office:body></office:document-content>"


def _ods_cell(value: Any, more: str) -> str:
    def cell(attributes: str, text: str) -> str:
        lines = "</text:p><text:p>".join(escape(line) for line in text.split("\n"))
        return f"<table:table-cell{more} {attributes}><text:p>{lines}</text:p></table:table-cell>"

    if value is None or value == "":
        return f"<table:table-cell{more}/>"
    if isinstance(value, Formula):
        formula = f"table:formula={quoteattr('of:=' + value.text)}"
        if value.result is None:
            return f"<table:table-cell{more} {formula}/>"
        return cell(f'{formula} office:value-type="float" office:value="{value.result}"', str(value.result))
    if isinstance(value, Fault):
        error = 'office:value-type="string" office:string-value="" calcext:value-type="error"'
        return cell(f'table:formula="of:=NA()" {error}', value.text)
    if isinstance(value, Shown):
        if isinstance(value.value, dt.date):
            return cell(f'office:value-type="date" office:date-value="{value.value.isoformat()}"', value.text)
        return cell(f'office:value-type="float" office:value="{value.value!r}"', value.text)
    if isinstance(value, bool):
        return cell(f'office:value-type="boolean" office:boolean-value="{str(value).lower()}"', str(value).upper())
    if isinstance(value, int | float):
        return cell(f'office:value-type="float" office:value="{value!r}"', f"{value:g}")
    if isinstance(value, dt.date):
        return cell(f'office:value-type="date" office:date-value="{value.isoformat()}"', str(value))
    return cell('office:value-type="string"', value)


def _make_ods(sheets: Sequence[Sheet], _: bool) -> bytes:
    return make_ods(_ods_body(sheets))


def _make_fods(sheets: Sequence[Sheet], _: bool) -> bytes:
    head = _ODS_HEAD.replace(
        "document-content ", 'document office:mimetype="application/vnd.oasis.opendocument.spreadsheet" '
    )
    return (head + _ods_body(sheets) + _ODS_FOOT.replace("document-content", "document")).encode()


def _ods_body(sheets: Sequence[Sheet]) -> str:
    body = ""
    for sheet in sheets:
        style = "hidden" if sheet.hidden else "shown"
        body += f'<table:table table:name={quoteattr(sheet.name)} table:style-name="{style}"><table:table-column/>'
        spans = {
            (t, lf): f' table:number-columns-spanned="{r - lf + 1}" table:number-rows-spanned="{b - t + 1}"'
            for t, lf, b, r in sheet.merged
        }
        for i, row in enumerate(sheet.rows):
            cells = "".join(_ods_cell(value, spans.get((i, j), "")) for j, value in enumerate(row))
            # as LibreOffice does: blank cells up to the last column
            visibility = ' table:visibility="filter"' if i in sheet.hidden_rows else ""
            body += f'<table:table-row{visibility}>{cells}<table:table-cell table:number-columns-repeated="16000"/></table:table-row>'
        body += (
            '<table:table-row table:number-rows-repeated="1048000"><table:table-cell/></table:table-row></table:table>'
        )
    return body


def make_ods(body: str, manifest: str = "<manifest/>", head: str = _ODS_HEAD) -> bytes:
    """An ods of the given tables."""
    return zip_members(
        {
            "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
            "content.xml": head + body + _ODS_FOOT,
            "META-INF/manifest.xml": manifest,
        }
    )


# --- XML of 2003 -----------------------------------------------------------------------------------------


def _make_xml2003(sheets: Sequence[Sheet], _: bool) -> bytes:
    formats = sorted({c.format for sheet in sheets for row in sheet.rows for c in row if isinstance(c, Shown)})
    styles = "".join(
        f'<Style ss:ID="s{n}"><NumberFormat ss:Format={quoteattr(code)}/></Style>' for n, code in enumerate(formats)
    )
    body = "".join(_xml2003_sheet(sheet, formats) for sheet in sheets)
    return (
        '<?xml version="1.0"?>\n<?mso-application progid="Excel.Sheet"?>\n'
        '<Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet" xmlns:x="urn:schemas-microsoft-com:office:excel" '
        'xmlns:ss="urn:schemas-microsoft-com:office:spreadsheet" xmlns:html="http://www.w3.org/TR/REC-html40">'
        f"<Styles>{styles}</Styles>{body}</Workbook>"
    ).encode()


def _xml2003_sheet(sheet: Sheet, formats: Sequence[str]) -> str:
    spans = {(t, lf): f' ss:MergeAcross="{r - lf}" ss:MergeDown="{b - t}"' for t, lf, b, r in sheet.merged}
    covered = {
        (i, j) for t, lf, b, r in sheet.merged for i in range(t, b + 1) for j in range(lf, r + 1) if (i, j) != (t, lf)
    }
    rows = ""
    for i, row in enumerate(sheet.rows):
        cells, last = "", -1
        for j, value in enumerate(row):
            more = spans.get((i, j), "")
            # as Excel does: blank cells and those that others cover are not written
            if (value is None or value == "" or (i, j) in covered) and not more:
                continue
            index = f' ss:Index="{j + 1}"' if j > last + 1 or last < 0 < j else ""
            cells += _xml2003_cell(value, index + more, formats)
            last = j
        seen = ' ss:Hidden="1"' if i in sheet.hidden_rows else ""
        rows += f'<Row ss:Index="{i + 1}"{seen}>{cells}</Row>' if cells else ""
    hidden = "<x:Visible>SheetHidden</x:Visible>" if sheet.hidden else ""
    return (
        f"<Worksheet ss:Name={quoteattr(sheet.name)}><Table>{rows}</Table>"
        f"<x:WorksheetOptions>{hidden}</x:WorksheetOptions></Worksheet>"
    )


def _xml2003_cell(value: Any, more: str, formats: Sequence[str]) -> str:
    def cell(kind: str, text: str) -> str:
        text = escape(text, {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})
        return f'<Cell{more}><Data ss:Type="{kind}">{text}</Data></Cell>'

    if value is None or value == "":
        return f"<Cell{more}/>"
    if isinstance(value, Formula):
        more += f" ss:Formula={quoteattr('=' + value.text)}"
        return f"<Cell{more}/>" if value.result is None else cell("Number", repr(value.result))
    if isinstance(value, Fault):
        return cell("Error", value.text)
    if isinstance(value, Shown):
        more += f' ss:StyleID="s{formats.index(value.format)}"'
        value = value.value
    if isinstance(value, bool):
        return cell("Boolean", str(int(value)))
    if isinstance(value, int | float):
        return cell("Number", repr(value))
    if isinstance(value, dt.datetime):
        return cell("DateTime", value.isoformat(timespec="milliseconds"))
    if isinstance(value, dt.date):
        return cell("DateTime", f"{value.isoformat()}T00:00:00.000")
    return cell("String", value)
