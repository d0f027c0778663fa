"""White space in the cells of a web page: one blank, unless the page says that it is kept, as browsers take it."""

from __future__ import annotations

from pathlib import Path

import pytest
from delivering import expect, read_bytes, sound

from guiji.sources.formats import workbook_html

ABC = expect("姓名", "编号", "地址")
HEAD = "<tr><th>姓名</th><th>编号</th><th>地址</th></tr>"


def address(tmp_path: Path, cell: str, row: str = "<tr>", table: str = "<table>") -> str:
    """What the third cell of a row is read as; the two before it and the next row are as always."""
    others = "<td> 张\n三 </td><td>1</td>"
    page = f"{table}{HEAD}{row}{others}{cell}</tr><tr><td>李四</td><td>2</td><td> a \n b </td></tr></table>"
    rows, _ = read_bytes(tmp_path, page.encode(), ABC, "a.html", type="html")
    got = sound(rows, ABC)
    assert [r[1] for r in got] == ["1", "2"]
    if "white" not in row + table:
        assert (got[0][0], got[1]) == ("张 三", ("李四", "2", "a b"))
    return str(got[0][2])


@pytest.mark.parametrize("chunk", [1 << 20, 7])
@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("<td><pre>a\n  b</pre></td>", "a\n  b"),
        ("<td><pre>\r\n  a\r\n\r\nb\t c\r\n</pre></td>", "  a\n\nb\t c"),
        ("<td>x \n y<pre>a  b</pre> z </td>", "x y\na  b\nz"),
        ('<td style="color:red; WHITE-SPACE: pre">c\n d</td>', "c\n d"),
        ('<td style="white-space:pre-wrap">c  d<br>e <b> f</b></td>', "c  d\ne  f"),
        ('<td style="white-space:pre-line">\n  c  d \n  e\n</td>', "c d\ne"),
        ('<td>a\n b <span style="white-space:pre-wrap">c\n  d</span>\n e </td>', "a b c\n  d e"),
        ('<td style="white-space:pre">a\n b<span style="white-space:normal">\n c\n  d</span></td>', "a\n b c d"),
        ('<td style="white-space:nowrap">a\n  b</td>', "a b"),
        ('<td style="mso-white-space:pre">a\n  b</td>', "a b"),
        ('<td><p style="white-space:pre">a\n b<p>c\n d</td>', "a\n b\nc d"),
        ("<td><pre><b>a\n b</pre>c\n d</td>", "a\n b\nc d"),
        ('<td style="white-space:pre-wrap">\n  \n</td>', "None"),
    ],
)
def test_a_cell_is_what_a_browser_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: str, shown: str, chunk: int
) -> None:
    monkeypatch.setattr(workbook_html, "_CHUNK", chunk)
    assert address(tmp_path, cell) == shown


def test_a_row_and_a_table_say_it_for_their_cells(tmp_path: Path) -> None:
    kept = 'style="white-space: pre-wrap"'
    assert address(tmp_path, "<td>a\n  b</td>", row=f"<tr {kept}>") == "a\n  b"
    assert address(tmp_path, "<td>a\n  b</td>", table=f"<table {kept}>") == "a\n  b"
    assert address(tmp_path, '<td style="white-space:normal">a\n  b</td>', table=f"<table {kept}>") == "a b"
