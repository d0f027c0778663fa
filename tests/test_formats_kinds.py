"""xlsx, xls, xlsb and ods alike: the same cells, the same faults named, the same refusals."""

from __future__ import annotations

import datetime as dt
import io
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from delivering import aside, expect, read_bytes, sound
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from workbooks import KINDS, Fault, Formula, Sheet, make_book, make_ods, record, wide, zip_members

from guiji.catalog.models import FieldSpec
from guiji.errors import DeliveryRefused
from guiji.sources.columns import Expected
from guiji.sources.formats.cells import cell_text, column_text
from guiji.sources.formats.sixteenth import is_calculated

ABC = expect("姓名", "编号", "地址")
every_kind = pytest.mark.parametrize("kind", KINDS)


def rows_of(
    tmp_path: Path, kind: str, *rows: Sequence[Any], expected: Expected = ABC, calculated: bool = True, **form: Any
) -> Any:
    content = make_book(kind, Sheet([expected.columns, *rows]), calculated=calculated)
    return read_bytes(tmp_path, content, expected, f"a.{kind}", type=kind, **form)


def refused(tmp_path: Path, content: bytes, rule: str, kind: str, name: str = "a.bin") -> str:
    with pytest.raises(DeliveryRefused) as caught:
        read_bytes(tmp_path, content, ABC, name, type=kind)
    assert caught.value.rule_id == rule
    assert "现有数据继续有效" in str(caught.value)
    return str(caught.value)


@every_kind
def test_cells_are_exact_text_with_sheet_and_line(tmp_path: Path, kind: str) -> None:
    rows, report = rows_of(
        tmp_path,
        kind,
        ("张三", "000123", 150602),
        ("NA", 12.5, True),
        ("李 四", 0.1 + 0.2, None),
        ("换行\n两行", -7, 123456789012345),
        ("<&>\"'", 0.00001, "＝１"),
    )
    assert (
        sound(rows, ABC)
        == [
            ("张三", "000123", "150602"),
            ("NA", "12.5", "true"),
            ("李 四", "0.3", None),
            ("换行\n两行", "-7", "123456789012345"),
            ("<&>\"'", "0.00001", "＝１"),
        ]
        or kind == "ods"
    )
    assert [(r["_origin"], r["_line"]) for r in rows] == [(f"a.{kind}#表", n) for n in range(2, 7)]
    assert (report.skipped, report.notes) == ({}, [])


@every_kind
@pytest.mark.parametrize("number", [110105199001010017, 1e15, -1e15, 2.5e20])
def test_f19_a_rounded_number_publishes_nothing(tmp_path: Path, kind: str, number: float) -> None:
    rows, _ = rows_of(tmp_path, kind, ("张三", float(number), "街"), ("李四", "110105199001010017", "街"))
    assert aside(rows) == [(2, "precision_lost")]
    assert [(r["姓名"], r["编号"]) for r in rows] == [("张三", None), ("李四", "110105199001010017")]


@pytest.mark.parametrize("kind", ["xls", "xlsb", "ods"])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_set_aside(tmp_path: Path, kind: str, number: float) -> None:
    for more in ({}, {"type": "float64"}, {"type": "decimal128(18,2)"}):
        expected = expect("姓名", {"title": "编号", **more})
        rows, _ = rows_of(tmp_path, kind, ("张三", number), ("李四", 1.5), expected=expected)
        assert (aside(rows), sound(rows, expected)) == ([(2, "not_a_number")], [("李四", "1.5")])


@every_kind
def test_leading_zeros_are_missed_where_the_length_tells(tmp_path: Path, kind: str) -> None:
    expected = expect("姓名", {"title": "代码", "codes": "ethnic", "length": 2})
    rows, _ = rows_of(tmp_path, kind, ("a", 1), ("b", "01"), ("c", 11), expected=expected)
    assert aside(rows) == [(2, "leading_zero_lost")]
    assert sound(rows, expected) == [("b", "01"), ("c", "11")]


@every_kind
def test_f23_dates_become_iso_and_a_code_that_became_a_date_is_lost(tmp_path: Path, kind: str) -> None:
    expected = expect("姓名", {"title": "日期", "type": "date32"}, {"title": "代码", "codes": "x", "required": False})
    rows, _ = rows_of(
        tmp_path,
        kind,
        ("1", dt.date(2024, 2, 29)),
        ("2", dt.datetime(2024, 2, 29, 1, 2, 3)),
        ("3", 45351),
        ("4", "2024年2月29日"),
        ("5", None, dt.date(2024, 1, 2)),
        ("6", "2024/2/30"),
        expected=expected,
    )
    said = ["2024-02-29", "2024-02-29 01:02:03", "45351", "2024年2月29日", None, "2024/2/30"]
    assert [r["日期"] for r in rows] == said
    assert aside(rows) == [(6, "turned_into_date")]


# --- F-44 formulas ------------------------------------------------------------------------------------


@every_kind
def test_f44_formulas_without_a_result_refuse_the_sheet(tmp_path: Path, kind: str) -> None:
    content = make_book(kind, Sheet([ABC.columns, ("张三", "1", "街"), ("李四", Formula(), "街")]), calculated=False)
    assert "第 3 行第 2 列" in refused(tmp_path, content, "delivery.uncalculated_formula", kind)


@every_kind
def test_f44_formulas_with_a_result_are_their_result(tmp_path: Path, kind: str) -> None:
    rows, _ = rows_of(tmp_path, kind, ("张三", Formula("1+1", 2.0), "街"), ("李四", Formula("1-1", 0.0), "街"))
    assert sound(rows, ABC) == [("张三", "2", "街"), ("李四", "0", "街")]


@every_kind
def test_f44_formulas_outside_the_table_are_nobodys_matter(tmp_path: Path, kind: str) -> None:
    sheet = Sheet([(Formula(),), ABC.columns, ("张三", "1", "街")])
    rows, _ = read_bytes(tmp_path, make_book(kind, sheet, calculated=False), ABC, f"a.{kind}", type=kind)
    assert sound(rows, ABC) == [("张三", "1", "街")]


@pytest.mark.parametrize("kind", ["xls", "xlsb"])
def test_f44_a_zero_in_doubt_is_set_aside(tmp_path: Path, kind: str) -> None:
    """The workbook names no engine that calculated it, but some formula has a result: the zeros may be true."""
    both = (("张三", Formula("1+1", 2.0), "街"), ("李四", Formula("1-1", 0.0), "街"))
    rows, _ = rows_of(tmp_path, kind, *both, calculated=False)
    assert aside(rows) == [(3, "uncalculated")]
    assert sound(rows, ABC) == [("张三", "2", "街")]
    rows, _ = rows_of(tmp_path, kind, *both, calculated=True)
    assert sound(rows, ABC) == [("张三", "2", "街"), ("李四", "0", "街")]


@every_kind
def test_error_cells_are_set_aside_not_blank(tmp_path: Path, kind: str) -> None:
    rows, _ = rows_of(tmp_path, kind, ("张三", Fault(), "街"), ("", Fault("#REF!"), ""), ("李四", "1", "街"))
    assert aside(rows) == [(2, "cell_error"), (3, "cell_error")]
    assert sound(rows, ABC) == [("李四", "1", "街")]


# --- F-45 what is no data -----------------------------------------------------------------------------


@every_kind
def test_f45_what_is_no_data_is_counted_and_shown(tmp_path: Path, kind: str) -> None:
    sheet = Sheet(
        [
            ("二〇二六年十月人员表", "", ""),
            ("统计时间：2026年10月",),
            (),
            ABC.columns,
            ("张三", "1", "街"),
            (),
            ("  ", "", ""),
            ("合计", 1, ""),
            ("李四", "2", "街"),
            ("注：不含外来人员",),
            ("来源：某局",),
        ],
        merged=[(0, 0, 0, 2)],
    )
    hidden = Sheet([ABC.columns, ("王五", "3", "街")], name="旧表", hidden=True)
    other = Sheet([("说明",)], name="说明")
    content = make_book(kind, sheet, hidden, other)
    layout = {"total": "合计", "footnote": "^注："}
    rows, report = read_bytes(tmp_path, content, ABC, f"a.{kind}", type=kind, layout=layout)
    assert sound(rows, ABC) == [("张三", "1", "街"), ("李四", "2", "街")]
    assert report.skipped == {"title": 2, "blank": 3, "total": 1, "footnote": 2}
    assert [n.partition("：")[2] for n in report.notes] == [
        "隐藏的工作表未采集：旧表",
        "没有约定表头的工作表未采集：说明",
        "1 行按约定作为合计行，未采集（第 8 行）",
    ]


@every_kind
def test_f45_merged_cells_in_the_data_are_set_aside(tmp_path: Path, kind: str) -> None:
    sheet = Sheet(
        [ABC.columns, ("张三", "1", "街"), ("", "2", "街"), ("", "3", "街"), ("李四", "4", "街")], merged=[(1, 0, 3, 0)]
    )
    rows, _ = read_bytes(tmp_path, make_book(kind, sheet), ABC, f"a.{kind}", type=kind)
    assert aside(rows) == [(3, "merged_cell"), (4, "merged_cell")]
    assert [r["编号"] for r in rows] == ["1", "2", "3", "4"]


@every_kind
def test_f45_a_value_beyond_the_header_leaves_no_cell_of_its_row(tmp_path: Path, kind: str) -> None:
    rows, _ = rows_of(tmp_path, kind, ("张三", "1", "街", "多余"), ("李四", "2", "街"))
    assert aside(rows) == [(2, "ragged")]
    assert [tuple(r[c] for c in ABC.columns) for r in rows] == [(None, None, None), ("李四", "2", "街")]
    assert rows[0]["_raw"] == "张三\t1\t街\t多余"


@every_kind
def test_a_table_that_begins_in_another_column_keeps_its_columns(tmp_path: Path, kind: str) -> None:
    """Blank first columns and rows between, where a reader may shift what follows."""
    sheet = Sheet([(), ("", "", *ABC.columns), (), (), ("", "", "张三", "1", "街"), ("", "", "", "2", "街")])
    rows, _ = read_bytes(tmp_path, make_book(kind, sheet), ABC, f"a.{kind}", type=kind)
    assert sound(rows, ABC) == [("张三", "1", "街"), (None, "2", "街")]
    assert [r["_line"] for r in rows] == [5, 6]


# --- what a file is -----------------------------------------------------------------------------------


@pytest.mark.parametrize("declared", KINDS)
@every_kind
def test_the_content_says_what_kind_a_workbook_is(tmp_path: Path, kind: str, declared: str) -> None:
    content = make_book(kind, Sheet([ABC.columns, ("张三", "1", "街")]))
    rows, report = read_bytes(tmp_path, content, ABC, f"a.{declared}", type=declared)
    assert sound(rows, ABC) == [("张三", "1", "街")]
    wrong = [f"文件 a.{declared}：约定的格式是 {declared}，实际是 {kind}，已按 {kind} 读取"]
    assert report.notes == ([] if kind == declared else wrong)


@pytest.mark.parametrize("kind", ["xls", "xlsx"])
def test_an_xls_that_is_csv_is_refused_as_such(tmp_path: Path, kind: str) -> None:
    text = "姓名\t编号\t地址\r\n张三\t1\t某某街道\r\n" * 900
    for encoding in ("utf-8", "utf-8-sig", "gb18030"):
        assert "CSV" in refused(tmp_path, text.encode(encoding), "delivery.structure", kind, "a.xls")
    refused(tmp_path, bytes(range(256)) * 8, "delivery.half_a_file", kind, "a.xls")


def compound(streams: dict[str, bytes]) -> bytes:
    """A small compound file of streams of at least 4096 bytes."""
    sectors: list[bytes] = []
    fat: list[int] = []
    entries = [("Root Entry", 5, 0xFFFFFFFE, 0)]
    for name, content in streams.items():
        parts = [content[i : i + 512].ljust(512, b"\0") for i in range(0, len(content), 512)]
        entries.append((name, 2, len(sectors), len(content)))
        fat += [len(sectors) + i + 1 for i in range(len(parts) - 1)] + [0xFFFFFFFE]
        sectors += parts
    directory = b""
    for name, kind, first, size in entries:
        raw = name.encode("utf-16-le")
        directory += raw.ljust(64, b"\0") + struct.pack("<HB49xIQ", len(raw) + 2, kind, first, size)
    directory = directory.ljust(-(-len(directory) // 512) * 512, b"\0")
    at = len(sectors)
    fat += [at + i + 1 for i in range(len(directory) // 512 - 1)] + [0xFFFFFFFE, 0xFFFFFFFD]
    table = struct.pack(f"<{len(fat)}I", *fat).ljust(512, b"\xff")
    assert len(table) == 512
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    head += struct.pack("<IIIIIIIII", 0, 1, at, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)
    head += struct.pack("<109I", at + len(directory) // 512, *[0xFFFFFFFF] * 108)
    return head + b"".join(sectors) + directory + table


@every_kind
def test_encrypted_workbooks_are_refused_with_what_to_do(tmp_path: Path, kind: str) -> None:
    whole = make_book(kind, Sheet([ABC.columns, *[("张三", str(i), "街") for i in range(200)]]))
    if kind in ("xlsx", "xlsb"):
        content = compound({"EncryptionInfo": bytes(4096), "EncryptedPackage": bytes(5000)})
    elif kind == "xls":  # xlwt's WRITEACCESS record becomes FILEPASS
        content = whole.replace(b"\x5c\x00\x70\x00", b"\x2f\x00\x70\x00", 1)
        assert content != whole
    else:
        content = make_ods("", manifest="<m><manifest:encryption-data/></m>")
    assert "请去掉密码" in refused(tmp_path, content, "delivery.encrypted", kind)


def test_a_compound_file_that_is_no_workbook_is_refused(tmp_path: Path) -> None:
    assert "Word" in refused(tmp_path, compound({"WordDocument": bytes(4096)}), "delivery.structure", "xls")
    text = zip_members({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": "<a/>"})
    refused(tmp_path, text, "delivery.structure", "ods")


_TABLE = "<tr><td>姓名</td><td>编号</td></tr><tr><td>张三</td><td>110105199001010017</td></tr>"
_XML_2003 = '<?xml version="1.0"?><Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet"><Table><Row/></Table></Workbook>'


@pytest.mark.parametrize(
    ("content", "rule", "said"),
    [
        (_TABLE.encode(), "structure", "没有表格的网页"),
        (b"<html><frameset><frame src='a.files/sheet001.htm'></frameset></html>", "structure", "在另外的文件中"),
        (b"MIME-Version: 1.0\r\nContent-Type: multipart/related\r\n\r\n<html>", "structure", "mht"),
        (f"<html><table>{_TABLE}".encode("gbk"), "half_a_file", "在表格中间中断"),
        (_XML_2003[:-12].encode(), "half_a_file", "不完整"),
        (("<!DOCTYPE a>" + _XML_2003[21:]).encode(), "half_a_file", "损坏"),
        (b'<?xml version="1.0"?><data><row/></data>', "structure", "约定为 xml 后重新提供"),
        ("姓名,编号\r\n张三,1\r\n".encode("gbk"), "structure", "约定为 csv 后重新提供"),
        ("姓名\t编号\r\n张三\t1\r\n".encode("utf-16"), "structure", "文本"),
        (b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", "structure", "其实是 PDF 文件"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "structure", "图片"),
        (b"Rar!\x1a\x07\x00" + bytes(50), "structure", "请解压后重新提供"),
        (zip_members({"交换/a.xlsx": b"PK"}), "structure", "archive: zip"),
        (zip_members({"word/document.xml": "<a/>"}), "structure", "但不是电子表格"),
        (b"\x09\x00\x04\x00\x02\x00\x10\x00" + bytes(50), "structure", "旧版 Excel"),
        (b"", "half_a_file", "文件是空的"),
        (bytes(5000), "half_a_file", "只上传了一部分"),
    ],
)
def test_what_only_has_the_name_of_a_spreadsheet_is_called_what_it_is(
    tmp_path: Path, content: bytes, rule: str, said: str
) -> None:
    assert said in refused(tmp_path, content, f"delivery.{rule}", "xls")


# --- what only one kind has ---------------------------------------------------------------------------


def test_xlsx_errors_that_the_reader_does_not_know_are_named_with_their_place(tmp_path: Path) -> None:
    made = make_book("xlsx", Sheet([ABC.columns, ("张三", Fault(), "街")]))
    assert "第 2 行第 2 列" in refused(tmp_path, _alter(made, b"#N/A", b"#SPILL!"), "delivery.structure", "xlsx")


@pytest.mark.parametrize("odd", [b"<v>1<!-- x -->2</v>", b"<v><![CDATA[12]]></v>", b"<v>1<?x y?>2</v>"])
def test_an_xlsx_value_in_pieces_refuses_the_sheet(tmp_path: Path, odd: bytes) -> None:
    made = make_book("xlsx", Sheet([ABC.columns, ("张三", 12, "街")]))
    refused(tmp_path, _alter(made, b"<v>12</v>", odd), "delivery.half_a_file", "xlsx")
    rows, _ = read_bytes(tmp_path, _alter(made, b"</sheetData>", b"</sheetData><!-- x -->"), ABC, "a.xlsx", type="xlsx")
    assert sound(rows, ABC) == [("张三", "12", "街")]


def _alter(book: bytes, old: bytes, new: bytes) -> bytes:
    """The workbook with other bytes in its first sheet."""
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        members: dict[str, str | bytes] = {n: archive.read(n) for n in archive.namelist()}
    sheet = members["xl/worksheets/sheet1.xml"]
    assert isinstance(sheet, bytes)
    assert old in sheet
    return zip_members({**members, "xl/worksheets/sheet1.xml": sheet.replace(old, new)})


def test_ods_errors_hidden_values_and_days_outside_of_all_calendars_are_none(tmp_path: Path) -> None:
    expected = expect("姓名", {"title": "编号", "type": "int64"}, "地址")

    def cell(attributes: str, text: str = "<text:p/>") -> str:
        return f"<table:table-cell {attributes}>{text}</table:table-cell>"

    def row(number: str, address: str) -> str:
        name = cell('office:value-type="string"', "<text:p>a</text:p>")
        return f"<table:table-row>{name}{number}{address}</table:table-row>"

    zero, one = 'office:value-type="float" office:value="0"', 'office:value-type="float" office:value="1"'
    street = cell(
        'office:value-type="string"',
        "<text:p><text:ruby><text:ruby-base>街</text:ruby-base><text:ruby-text>j"
        "</text:ruby-text></text:ruby><text:note><text:note-body><text:p>注</text:p></text:note-body></text:note></text:p>",
    )
    titles = "".join(cell('office:value-type="string"', f"<text:p>{c}</text:p>") for c in expected.columns)
    body = [
        f"<table:table-row>{titles}</table:table-row>",
        row(cell(one), street),
        # as OpenOffice writes an error
        row(cell(f'table:formula="of:=1/0" {zero}', "<text:p>#DIV/0!</text:p>"), street),
        row(cell(f'table:formula="of:=x" {zero}', "<text:p>Err:502</text:p>"), street),
        row(cell('table:formula="of:=IF(1;&quot;&quot;)"'), cell('table:formula="of:=x" office:value-type="string"')),
        row(cell(one), cell(zero)),  # the format shows nothing
        row(cell(one), cell(zero, "")),  # the program shows nothing
        row(cell(one), cell('office:value-type="date" office:date-value="-0044-03-15"')),
        row(cell(one), cell('office:value-type="date" office:date-value="12026-03-15"')),
    ]

    def content_of(*rows: str) -> bytes:
        return make_ods(f'<table:table table:name="表">{body[0]}{"".join(rows)}</table:table>')

    rows, _ = read_bytes(tmp_path, content_of(*body[1:]), expected, "a.ods", type="ods")
    assert sound(rows, expected) == [("a", "1", "街"), ("a", None, None), ("a", "1", "0")]
    assert aside(rows) == [
        (3, "cell_error"),
        (4, "cell_error"),
        (6, "number_format"),
        (8, "out_of_range"),
        (9, "out_of_range"),
    ]
    never = content_of(row(cell('table:formula="of:=x"', ""), street))
    assert "没有计算结果" in refused(tmp_path, never, "delivery.uncalculated_formula", "ods")


def test_ods_text_keeps_its_lines_tabs_and_blanks_and_no_comment(tmp_path: Path) -> None:
    def cell(inner: str) -> str:
        return f'<table:table-cell office:value-type="string">{inner}</table:table-cell>'

    body = (
        '<table:table table:name="表">'
        + "<table:table-row>" + "".join(cell(f"<text:p>{c}</text:p>") for c in ABC.columns) + "</table:table-row>"
        + "<table:table-row>"
        + cell("<text:p>一<text:s text:c='3'/>二</text:p><text:p>三<text:tab/>四<text:line-break/>五</text:p>")
        + cell("<office:annotation><text:p>批注</text:p></office:annotation><text:p>1<text:span>2</text:span></text:p>")
        + cell("<text:p>街</text:p>")
        + "</table:table-row>"
        + '<table:table-row table:number-rows-repeated="2">'
        + '<table:table-cell office:value-type="string" table:number-columns-repeated="3"><text:p>同</text:p>'
        + "</table:table-cell></table:table-row></table:table>"
    )  # fmt: skip
    rows, _ = read_bytes(tmp_path, make_ods(body), ABC, "a.ods", type="ods")
    assert sound(rows, ABC) == [("一   二\n三\t四\n五", "12", "街"), ("同", "同", "同"), ("同", "同", "同")]
    assert [r["_line"] for r in rows] == [2, 3, 4]


def test_xlsb_cells_that_would_read_as_blank_refuse_the_sheet(tmp_path: Path) -> None:
    sheet = record(129) + record(148, bytes(16)) + record(145) + record(0, bytes(17))
    sheet += record(62, struct.pack("<II", 0, 0) + b"\0" + wide("张三")) + record(146) + record(130)
    whole = make_book("xlsb", Sheet([ABC.columns]))
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        members: dict[str, str | bytes] = {n: archive.read(n) for n in archive.namelist()}
    members["xl/worksheets/sheet1.bin"] = sheet
    assert "无法可靠读取" in refused(tmp_path, zip_members(members), "delivery.structure", "xlsb")


# --- columns and cells say the same -------------------------------------------------------------------

_VALUES = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["", " ", "锟斤拷", "a\x00b", "NA"]),
    st.floats(allow_nan=True),
    st.floats(-1e6, 1e6).map(lambda v: round(v, 2)),
    st.integers(-(10**9), 10**9),
    st.integers(-(10**6), 10**6).map(float),
    st.booleans(),
    st.dates(),
    st.datetimes(),
    st.times(),
    st.timedeltas(),
)
_FIELDS: list[FieldSpec | None] = [
    None,
    *(
        expect({"title": "a", **more}).fields["a"]
        for more in (
            {},
            {"type": "float64"},
            {"type": "int64"},
            {"type": "decimal128(18,2)"},
            {"type": "decimal128(30,16)"},
            {"type": "timestamp"},
            {"type": "date32"},
            {"codes": "x", "length": 3},
            {"identifier": "citizen_id"},
        )
    ),
]


def same_kind(values: list[Any]) -> list[Any]:
    return [v for v in values if type(v) is type(values[0])]


@settings(max_examples=400, deadline=None)
@given(st.lists(_VALUES, min_size=1, max_size=12), st.sampled_from(_FIELDS), st.booleans())
def test_a_column_says_what_its_cells_say(values: list[Any], field: FieldSpec | None, pure: bool) -> None:
    column = same_kind(values) if pure else values
    cells = [cell_text(v, field) for v in column]
    assume(not is_calculated(column))  # which only the column shows
    texts, wrong = column_text(column, field)
    assert texts.to_pylist() == [text for text, _ in cells]
    assert wrong == {i: rule for i, (_, rule) in enumerate(cells) if rule}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(-1e15, 1e15, exclude_min=True, exclude_max=True), min_size=1, max_size=20))
def test_a_column_of_numbers_keeps_fifteen_digits(values: list[float]) -> None:
    texts, wrong = column_text(values, None)
    assert texts.to_pylist() == [cell_text(v, None)[0] for v in values]
    assert wrong == {}
