"""Line ends of CSV files, and the ends of such files, as programs write them by mistake."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from delivering import aside, expect, read_bytes, sound

from guiji.errors import DeliveryRefused
from guiji.sources.formats import encoding as encoding_module

ABC = expect("姓名", "编号", "地址")
ROWS = [("张三", "1", "东街"), ("李四", "2", "西街"), ("王五", "3", "北街")]


@pytest.fixture(params=[4 << 20, 40], ids=["one block", "many blocks"], autouse=True)
def _block(request: pytest.FixtureRequest) -> Iterator[None]:
    before, encoding_module.BLOCK = encoding_module.BLOCK, request.param
    yield
    encoding_module.BLOCK = before


def table(*ends: str, rows: list[tuple[str, ...]] = ROWS) -> str:
    """The header and the rows, each with its end; the last one holds for what is left."""
    lines = [",".join(row) for row in (ABC.columns, *rows)]
    return "".join(line + ends[min(i, len(ends) - 1)] for i, line in enumerate(lines))


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16"])
def test_a_line_feed_that_was_written_as_a_line_end_once_more_ends_a_line(tmp_path: Path, encoding: str) -> None:
    rows, _ = read_bytes(tmp_path, table("\r\r\n").encode(encoding), ABC)
    assert sound(rows, ABC) == ROWS
    assert [r["_line"] for r in rows] == [2, 3, 4]
    assert aside(rows) == []


def test_cells_over_several_lines_are_what_they_were_before(tmp_path: Path) -> None:
    written = io.StringIO()
    wanted = [("张三", "1", "东街\n二楼"), ("李四", "2", "西街\r\n三楼"), ("王五", "3", "北街\r四楼")]
    csv.writer(written).writerows([ABC.columns, *wanted])
    content = written.getvalue().replace("\n", "\r\n").encode()  # what a text file of Windows does
    rows, _ = read_bytes(tmp_path, content, ABC)
    assert sound(rows, ABC) == [
        ("张三", "1", "东街\r\n二楼"),
        ("李四", "2", "西街\r\n三楼"),
        ("王五", "3", "北街\r四楼"),
    ]


def test_a_carriage_return_at_the_end_of_one_row_is_no_line_end(tmp_path: Path) -> None:
    rows, _ = read_bytes(tmp_path, table("\r\n", "\r\r\n", "\r\n").encode(), ABC)
    assert sound(rows, ABC) == ROWS[1:]
    assert aside(rows) == [(2, "line_break")]


def test_a_header_that_ends_otherwise_than_its_rows_refuses_the_file_for_that(tmp_path: Path) -> None:
    for content in (table("\r", "\n"), table("\r", "\r\n"), "某表\r" + table("\r", "\n")):
        with pytest.raises(DeliveryRefused, match="换行方式前后不一（CR 与 LF 混用）") as refused:
            read_bytes(tmp_path, content.encode(), ABC)
        assert refused.value.rule_id == "delivery.structure"
    with pytest.raises(DeliveryRefused, match="没有找到表头"):
        read_bytes(tmp_path, "某,表\r甲,乙\n1,2\n".encode(), ABC)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n"])
@pytest.mark.parametrize("mark", ["\x1a", "\x1a\x1a"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_the_end_mark_of_dos_on_a_line_of_its_own_is_no_part_of_a_row(
    tmp_path: Path, mark: str, end: str, encoding: str
) -> None:
    rows, report = read_bytes(tmp_path, (table(end) + mark + end).encode(encoding), ABC)
    assert sound(rows, ABC) == ROWS
    assert aside(rows) == []
    assert report.skipped == {"blank": 1}


def test_the_mark_among_the_rows_is_no_end(tmp_path: Path) -> None:
    rows, _ = read_bytes(tmp_path, (table("\n") + "\x1a\n" + "赵六,4,南街\n").encode(), ABC)
    assert aside(rows) == [(4, "broken_line"), (5, "ragged"), (6, "broken_line")]
