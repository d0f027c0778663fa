"""Web pages and XML of 2003 under the name of a spreadsheet: every cell as people see it, nothing guessed (F-19, F-45)."""

from __future__ import annotations

import datetime as dt
import io
import re
import zipfile
from html import escape
from pathlib import Path
from typing import Any

import pytest
from delivering import aside, expect, read_bytes, sound
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from workbooks import Fault, Sheet, Shown, make_book, zip_members

from guiji.errors import DeliveryRefused
from guiji.sources.columns import Expected

ABC = expect("姓名", "编号", "地址")
HEAD = "<tr><th>姓名</th><th>编号</th><th>地址</th></tr>"
Rows = list[tuple[str | None, ...]]


def read_page(tmp_path: Path, page: str | bytes, expected: Expected = ABC, **form: Any) -> tuple[Any, Any]:
    content = page.encode() if isinstance(page, str) else page
    return read_bytes(tmp_path, content, expected, "a.xls", **{"type": "xls", **form})


def page(*rows: str, head: str = HEAD) -> str:
    return f"<html><body><table>{head}{''.join(f'<tr>{row}</tr>' for row in rows)}</table></body></html>"


def cells(*texts: str) -> str:
    return "".join(f"<td>{text}</td>" for text in texts)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("said", ["", "gb2312", "utf-8"])
def test_a_page_is_read_in_the_encoding_that_its_bytes_prove(tmp_path: Path, encoding: str, said: str) -> None:
    meta = f"<meta http-equiv=Content-Type content='text/html; charset={said}'>" if said else ""
    text = meta + page(cells("张䶮", "000123", "内蒙古自治区鄂尔多斯市"), cells("李四", "110105199001010017", "东胜区"))
    rows, report = read_page(tmp_path, text.encode(encoding))
    assert sound(rows, ABC) == [
        ("张䶮", "000123", "内蒙古自治区鄂尔多斯市"),
        ("李四", "110105199001010017", "东胜区"),
    ]
    assert [(r["_origin"], r["_line"]) for r in rows] == [("a.xls#表1", 2), ("a.xls#表1", 3)]
    assert [n for n in report.notes if "实际是 html" in n] != []


def test_the_grid_of_a_web_form_s_export_is_read_as_people_see_it(tmp_path: Path) -> None:
    grid = (
        '<meta http-equiv="content-type" content="text/html; charset=gb2312"><style> .t { mso-number-format:\\@; } </style>'
        '<div>\r\n<table cellspacing="0" rules="all" border="1" id="GridView1">\r\n'
        '<tr><td colspan="3" align="center"><b>某某登记表</b></td></tr>'
        '<tr>\r\n\t<th scope="col">姓名</th><th scope="col">编号</th><th scope="col">地址</th>\r\n</tr>'
        "<tr class='t'>\r\n\t<td>张三&nbsp;</td><td class=t>0592</td><td>东街<br>3&nbsp;号 &amp; &lt;甲&gt;</td></tr>"
        "<TR><TD>  李\r\n   四  <TD>NA<TD><p>南街</p><p>4 号</p><!-- 注 --><script>var a='<td>x</td>';</script>"
        "<tr><td><font color=red>王五</font></td><td>1,234.50</td><td>&#x4E2D;&#22269;</td></tr>"
        "<tr><td>&nbsp;</td><td></td><td> </td></tr></table></div>"
    )
    rows, _ = read_page(tmp_path, grid.encode("gb18030"))
    assert sound(rows, ABC) == [
        ("张三\xa0", "0592", "东街\n3\xa0号 & <甲>"),
        ("李 四", "NA", "南街\n4 号"),
        ("王五", "1,234.50", "中国"),
    ]
    assert [r["_line"] for r in rows] == [3, 4, 5]


def test_f45_cells_over_several_rows_are_read_as_declared_or_set_aside(tmp_path: Path) -> None:
    text = page(
        '<td rowspan=2>张三</td><td>1</td><td colspan="1">东街</td>', cells("2", "南街"), cells("李四", "3", "西街")
    )
    rows, _ = read_page(tmp_path, text)
    assert (sound(rows, ABC), aside(rows)) == ([("张三", "1", "东街"), ("李四", "3", "西街")], [(3, "merged_cell")])
    rows, report = read_page(tmp_path, text, layout={"fill_merged": ["姓名"]})
    assert sound(rows, ABC) == [("张三", "1", "东街"), ("张三", "2", "南街"), ("李四", "3", "西街")]
    assert [n for n in report.notes if "合并单元格" in n] != []


def test_of_tables_around_and_beside_each_other_the_one_with_the_header_is_read(tmp_path: Path) -> None:
    inner = f"<table>{HEAD}<tr>{cells('张三', '1', '东街')}</tr></table>"
    text = f"<table><tr><td>导航</td><td>{inner}</td></tr></table><table><tr><td>制表人</td></tr></table>"
    rows, report = read_page(tmp_path, text)
    assert sound(rows, ABC) == [("张三", "1", "东街")]
    assert [n for n in report.notes if "表1" in n and "表3" in n] != []
    with pytest.raises(DeliveryRefused, match="表2、表3"):
        read_page(tmp_path, f"<table><tr><td>x</td></tr></table>{inner}{inner}")
    rows, _ = read_page(tmp_path, f"<p>x</p>{inner}{inner}", layout={"sheet": "表2"})
    assert [r["_origin"] for r in rows] == ["a.xls#表2"]


def test_f19_numbers_that_excel_saved_in_a_page_are_its_values(tmp_path: Path) -> None:
    expected = expect("姓名", "编号", {"title": "金额", "type": "float64"})
    head = "<tr><td>姓名</td><td>编号</td><td>金额</td></tr>"
    text = page(
        '<td>张三</td><td x:num="592">000592</td><td x:num="1234.5678">1,234.57</td>',
        '<td>李四</td><td x:num="110105199001010017">1.10105E+17</td><td x:num>12.5</td>',
        '<td x:str="王 五">王五</td><td>0592</td><td></td>',
        head=head,
    )
    rows, _ = read_page(tmp_path, text, expected)
    assert sound(rows, expected) == [("张三", "000592", "1234.5678"), ("王 五", "0592", None)]
    assert aside(rows) == [(3, "precision_lost")]


def test_errors_of_pages_and_of_xml_of_2003_are_none_of_the_data(tmp_path: Path) -> None:
    rows = [cells("a", "#N/A", "街"), "<td>b</td><td x:err='#REF!'>#REF!</td><td>街</td>", cells("c", "#1", "街")]
    got, _ = read_page(tmp_path, page(*rows, cells("d", "1", "#DIV/0!")))
    assert (sound(got, ABC), aside(got)) == ([("c", "#1", "街")], [(n, "cell_error") for n in (2, 3, 5)])
    made = make_book("xml2003", Sheet([ABC.columns, ("a", "#N/A", "街"), ("b", "#NAME?", "街"), ("c", Fault(), "街")]))
    # as LibreOffice writes an error
    text = made.decode().replace(
        '<Cell><Data ss:Type="String">#NAME?', '<Cell ss:Formula="x"><Data ss:Type="String">#NAME?'
    )
    got, _ = read_page(tmp_path, text)
    assert (sound(got, ABC), aside(got)) == ([("a", "#N/A", "街")], [(3, "cell_error"), (4, "cell_error")])


def test_a_page_that_is_no_table_of_data_is_refused_with_what_to_do(tmp_path: Path) -> None:
    form = page("<td><input name=a value=张三></td><td>1</td><td>东街</td>")
    with pytest.raises(DeliveryRefused, match="输入框"):
        read_page(tmp_path, form)
    hidden = page("<td>张三<input type=hidden value=x></td><td>1</td><td>东街</td>")
    assert sound(read_page(tmp_path, hidden)[0], ABC) == [("张三", "1", "东街")]
    for said in ("big5", "shift_jis"):
        with pytest.raises(DeliveryRefused) as refused:
            read_page(tmp_path, f"<meta charset={said}>{page(cells('a', '1', 'b'))}")
        assert refused.value.rule_id == "delivery.encoding"


def test_f45_rows_that_a_page_hides_are_rows_and_are_named(tmp_path: Path) -> None:
    text = page(cells("张三", "1", "东街"), cells("李四", "2", "x"))
    rows, report = read_page(tmp_path, text.replace("<tr><td>李四", "<tr style='Display: none'><td>李四"))
    assert sound(rows, ABC) == [("张三", "1", "东街"), ("李四", "2", "x")]
    assert [n for n in report.notes if "隐藏" in n and "第 3 行" in n] != []


def test_what_a_page_does_not_show_is_no_part_of_a_value_and_takes_no_place(tmp_path: Path) -> None:
    text = page(
        '<td><span style="display:none">0003</span>张三</td><td>1</td><td>东街<i hidden>99</i></td>',
        '<td style="display: none">77</td><td>李四</td><td>2<b hidden>x<b>y</b>z</b></td><td>西街</td>',
        "<td><span hidden>x<td>3</td><td>南街</td>",
    )
    hidden = f"<div style='display:none'><div></div><table>{HEAD}<tr>{cells('x', 'y', 'z')}</tr></table></div>"
    rows, report = read_page(tmp_path, hidden + text)
    assert sound(rows, ABC) == [("张三", "1", "东街"), ("李四", "2", "西街"), (None, "3", "南街")]
    assert [n for n in report.notes if "隐藏的工作表未采集：表1" in n] != []


def test_f23_a_date_that_excel_saved_in_a_page_is_that_date(tmp_path: Path) -> None:
    expected = expect("姓名", {"title": "日期", "type": "date32"}, {"title": "数", "type": "int64"})
    head = "<tr><td>姓名</td><td>日期</td><td>数</td></tr>"
    text = page(
        '<td>a</td><td x:num="38718">2006/1/1</td><td x:num="38718">38718</td>',
        '<td>b</td><td x:num="45351">2024年2月29日</td><td x:num>7</td>',
        '<td>c</td><td x:num="45351">2024/3/1</td><td x:num>7</td>',
        head=head,
    )
    rows, _ = read_page(tmp_path, text, expected)
    assert [(r["姓名"], r["日期"], r["数"]) for r in rows] == [
        ("a", "2006-01-01", "38718"),
        ("b", "2024-02-29", "7"),
        ("c", "45351", "7"),  # shows another day than it holds: no date
    ]


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.97])
def test_f33_a_page_that_breaks_off_is_refused(tmp_path: Path, cut: float) -> None:
    whole = page(*[cells(f"张三{n}", str(n), "东街") for n in range(200)])
    with pytest.raises(DeliveryRefused) as refused:
        read_page(tmp_path, whole[: int(len(whole) * cut)])
    assert refused.value.rule_id == "delivery.half_a_file"


words = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters="\ufffd"), max_size=12
).map(lambda t: re.sub(" +", " ", t).strip(" "))


@hypothesis_settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=st.lists(st.tuples(words, words, words), min_size=1, max_size=8))
def test_any_table_of_words_comes_back_from_a_page(tmp_path: Path, table: Rows) -> None:
    table = [(f"名{a}", b, c) for a, b, c in table]
    rows, _ = read_page(tmp_path, page(*[cells(*(escape(c or "") for c in row)) for row in table]), type="html")
    assert [tuple(c or "" for c in row) for row in sound(rows, ABC)] == [r for r in table if "锟斤拷" not in "".join(r)]


# --- XML of 2003 ----------------------------------------------------------------------------------------


def test_xml_of_2003_in_gb2312_and_with_rich_text_is_read(tmp_path: Path) -> None:
    book = make_book("xml2003", Sheet([ABC.columns, ("张三", "000123", "东街\n3 号"), ("李四", "2", "x")]))
    text = book.decode().replace('<?xml version="1.0"?>', '<?xml version="1.0" encoding="gb2312"?>')
    rich = '<ss:Data ss:Type="String"><html:B>李</html:B>四</ss:Data><Comment><ss:Data>批注</ss:Data></Comment>'
    text = text.replace('<Data ss:Type="String">李四</Data>', rich)
    rows, report = read_page(tmp_path, text.encode("gb18030"))
    assert sound(rows, ABC) == [("张三", "000123", "东街\n3 号"), ("李四", "2", "x")]
    assert [n for n in report.notes if "实际是 xml2003" in n] != []


def test_f23_times_of_xml_of_2003_are_times(tmp_path: Path) -> None:
    rows = [
        ABC.columns,
        ("a", Shown(dt.date(1899, 12, 31), "h:mm"), Shown(dt.date(2024, 1, 5), "yyyy-mm-dd")),
        ("b", Shown(dt.date(2024, 1, 5), "h:mm"), "x"),
    ]
    book = make_book("xml2003", Sheet(rows)).decode().replace("1899-12-31T00:00", "1899-12-31T07:12")
    got, _ = read_page(tmp_path, book)
    assert (sound(got, ABC), aside(got)) == ([("a", "07:12:00", "2024-01-05")], [(3, "number_format")])


def test_xml_of_2003_with_rows_out_of_order_or_of_no_type_is_refused(tmp_path: Path) -> None:
    book = make_book("xml2003", Sheet([ABC.columns, ("张三", "1", "东街"), ("李四", "2", "x")])).decode()
    for old, new in (('ss:Index="3"', 'ss:Index="2"'), ('ss:Type="String">李四', 'ss:Type="Text">李四')):
        assert old in book
        with pytest.raises(DeliveryRefused) as refused:
            read_page(tmp_path, book.replace(old, new))
        assert refused.value.rule_id == "delivery.half_a_file"


def test_xml_of_2003_takes_a_format_from_the_column_and_from_the_parent_style(tmp_path: Path) -> None:
    book = make_book("xml2003", Sheet([ABC.columns, ("张三", 592, "x"), ("李四", 7, "y")])).decode()
    styles = (
        '<Styles><Style ss:ID="p"><NumberFormat ss:Format="000000"/></Style><Style ss:ID="c" ss:Parent="p"/></Styles>'
    )
    column = '<Table><Column/><Column ss:StyleID="c" ss:Span="1"/>'
    rows, _ = read_page(tmp_path, book.replace("<Styles></Styles>", styles).replace("<Table>", column))
    assert sound(rows, ABC) == [("张三", "000592", "x"), ("李四", "000007", "y")]
    visible = "<x:WorksheetOptions><x:Visible>SheetVisible</x:Visible></x:WorksheetOptions>"
    rows, _ = read_page(tmp_path, book.replace("<x:WorksheetOptions></x:WorksheetOptions>", visible))
    assert sound(rows, ABC) == [("张三", "592", "x"), ("李四", "7", "y")]


def test_f67_a_sheet_called_by_a_person_s_name_is_masked_in_a_refusal(tmp_path: Path) -> None:
    book = make_book("xlsx", Sheet([ABC.columns, ("a", "1", "b"), ("c", "2", "d")], "张三丰"))
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    members[sheet] = re.sub(rb'r="([A-C]?)3"', rb'r="\g<1>2"', members[sheet])
    with pytest.raises(DeliveryRefused, match=r"工作表“张\*\*”") as refused:
        read_page(tmp_path, zip_members(members))
    assert "张三丰" not in str(refused.value)
