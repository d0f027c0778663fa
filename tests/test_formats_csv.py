"""CSV: no cell silently wrong, no row silently lost; what is doubtful is set aside with its line and reason."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
from pathlib import Path

import pytest
from delivering import aside, expect, read_bytes, sound
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guiji.errors import DeliveryRefused
from guiji.sources.formats import encoding as encoding_module
from guiji.sources.formats.line_titles import TOTAL_TITLE
from guiji.structure import STRUCTURE

ABC = expect("姓名", "编号", "地址")


def refused(tmp_path: Path, content: bytes, rule: str, **form: object) -> str:
    with pytest.raises(DeliveryRefused) as caught:
        read_bytes(tmp_path, content, ABC, **form)
    assert caught.value.rule_id == rule
    assert "现有数据继续有效" in str(caught.value)
    return str(caught.value)


def table(*lines: str, end: str = "\n") -> bytes:
    return (end.join(("姓名,编号,地址", *lines)) + end).encode()


def test_plain_rows_keep_every_cell_and_their_lines(tmp_path: Path) -> None:
    rows, report = read_bytes(tmp_path, table("张三,1,东街", "李四,2,", ",3,西街"), ABC)
    assert sound(rows, ABC) == [("张三", "1", "东街"), ("李四", "2", ""), ("", "3", "西街")]
    assert [(r["_origin"], r["_line"], r["_raw"]) for r in rows] == [("a.csv", n, None) for n in (2, 3, 4)]
    assert report.skipped == {}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("final", [True, False])
def test_line_ends_and_a_missing_last_one(tmp_path: Path, end: str, final: bool) -> None:
    content = table("张三,1,东街", '"李,四",2,""', end=end)
    rows, _ = read_bytes(tmp_path, content if final else content.removesuffix(end.encode()), ABC)
    assert sound(rows, ABC) == [("张三", "1", "东街"), ("李,四", "2", "")]


def test_columns_are_found_by_name_and_alias_in_any_order(tmp_path: Path) -> None:
    expected = expect(
        {"title": "姓名"}, {"title": "编号", "aliases": ["证件号码"]}, {"title": "地址", "required": False}
    )
    rows, report = read_bytes(tmp_path, "证件号码, 姓　名 \n1,张三\n".encode(), expected)
    assert sound(rows, expected) == [("张三", "1", None)]
    assert [n for n in report.notes if "地址" in n] != []


# --- F-16 the column set ------------------------------------------------------------------------------


def test_f16_missing_and_misspelt_columns_are_named(tmp_path: Path) -> None:
    message = refused(tmp_path, "姓名,编号,住址\n张三,1,东街\n".encode(), "delivery.missing_column")
    assert "“地址”（是否写成了“住址”？）" in message


def test_f16_undeclared_columns_follow_the_contract(tmp_path: Path) -> None:
    content = "姓名,编号,地址,备注\n张三,1,东街,x\n".encode()
    assert "备注" in refused(tmp_path, content, "delivery.undeclared_column")
    for contract in ("evolve", "discard"):
        expected = expect("姓名", "编号", "地址", contract=contract)
        rows, report = read_bytes(tmp_path, content, expected)
        assert sound(rows, expected) == [("张三", "1", "东街")]
        assert len([n for n in report.notes if "备注" in n]) == 1


def test_f16_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "姓名,编号,地址,编号\n张三,1,东街,2\n".encode(), "delivery.duplicate_column")


def test_no_header_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, "张三,1,东街\n".encode(), "delivery.missing_column")
    refused(tmp_path, b"", "delivery.empty")
    refused(tmp_path, b"\xef\xbb\xbf\r\n", "delivery.empty")


# --- F-20 … F-22, F-28 --------------------------------------------------------------------------------


def test_f20_f21_f22_text_stays_text(tmp_path: Path) -> None:
    lines = ["NA,000001,NULL", "None,0592,n/a", "nan,,-", "1e5,110105199001010017,TRUE"]
    rows, _ = read_bytes(tmp_path, table(*lines), ABC)
    assert sound(rows, ABC) == [tuple(line.split(",")) for line in lines]


def test_a_header_of_more_columns_than_any_table_has_is_refused(tmp_path: Path) -> None:
    def read(columns: int) -> list[tuple[str | None, ...]]:
        blanks = "," * (columns - 3)
        return sound(read_bytes(tmp_path, f"姓名,编号,地址{blanks}\n张三,1,街{blanks}\n".encode(), ABC)[0], ABC)

    assert read(16_384) == [("张三", "1", "街")]
    with pytest.raises(DeliveryRefused, match="16385 列") as refused:
        read(16_385)
    assert refused.value.rule_id == "delivery.too_large"


def test_f28_a_nul_byte_costs_its_row_only(tmp_path: Path) -> None:
    lines = [f"人{n},{n},街" for n in range(1000)]
    lines[499] = "人\x00,499,街"
    rows, _ = read_bytes(tmp_path, table(*lines), ABC)
    assert len(sound(rows, ABC)) == 999
    assert aside(rows) == [(501, "nul")]
    assert [(r["姓名"], r["编号"], "\x00" in r["_raw"]) for r in rows if r["_broken"]] == [(None, "499", False)]


# --- F-37, F-38 encoding ------------------------------------------------------------------------------

RARE = ["张䶮", "𠮷野", "李㐂", "€", "普通"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_f37_every_encoding_gives_the_same_text(tmp_path: Path, encoding: str) -> None:
    lines = [f"{name},{i},街" for i, name in enumerate(RARE)]
    rows, _ = read_bytes(tmp_path, table(*lines).decode().encode(encoding), ABC)
    assert sound(rows, ABC) == [(name, str(i), "街") for i, name in enumerate(RARE)]


def test_f37_declared_encoding_wins_and_contradiction_is_refused(tmp_path: Path) -> None:
    long = [f"张三丰{i},{i},内蒙古自治区鄂尔多斯市东胜区" for i in range(50)]
    assert "utf-8" in refused(tmp_path, table(*long).decode().encode("gb18030"), "delivery.encoding", encoding="utf-8")
    refused(tmp_path, table(*long), "delivery.encoding", encoding="gb18030")
    rows, _ = read_bytes(tmp_path, table(*long).decode().encode("gb18030"), ABC, encoding="gb18030")
    assert len(sound(rows, ABC)) == 50


def test_f37_an_undecodable_line_is_set_aside(tmp_path: Path) -> None:
    lines = [f"人{n},{n},街" for n in range(100)]
    for encoding in ("utf-8", "gb18030"):
        content = table(*lines).decode().encode(encoding)
        content = content.replace("人50,".encode(encoding), b"\x80\xff,", 1)
        rows, _ = read_bytes(tmp_path, content, ABC)
        assert aside(rows) == [(52, "encoding")]
        assert [r[1] for r in sound(rows, ABC)] == [str(n) for n in range(100) if n != 50]


@pytest.mark.parametrize("block", [64, encoding_module.BLOCK])
def test_f37_undecodable_lines_keep_their_text_wherever_the_file_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(encoding_module, "BLOCK", block)
    lines = [b"\xff%d,x,y" % n if n % 30 == 0 else f"人{n},{n},街".encode() for n in range(300)]
    rows, _ = read_bytes(tmp_path, table() + b"\n".join(lines) + b"\n", ABC)
    assert aside(rows) == [(n + 2, "encoding") for n in range(0, 300, 30)]
    assert [r["_raw"] for r in rows if r["_broken"]] == [f"\\xff{n},x,y" for n in range(0, 300, 30)]


def test_f37_of_undecodable_lines_only_those_are_kept_that_are_read_once_more() -> None:
    mark = encoding_module.UNDECODABLE
    known = {1: "a", 12: "b", 3: "c"}
    assert encoding_module.keep_undecodable(known, b'"x\n' + mark + b"12\n" + mark + b"3") == {12: "b", 3: "c"}
    assert encoding_module.keep_undecodable(known, b"") == {}


def test_f37_undecodable_as_a_whole_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, table("x,1,y") + os.urandom(4000).replace(b"\n", b"\xff") + b"\n", "delivery.encoding")
    head = table(*(f"张三丰{i},{i},东街" for i in range(100)))
    refused(tmp_path, head + "张三丰,2,东胜区东街甲\n".encode("gb18030") * 100, "delivery.encoding")


def test_f37_lost_text_is_named_not_accepted(tmp_path: Path) -> None:
    refused(tmp_path, "姓名,编号,锟斤拷\n张三,1,2\n".encode(), "delivery.garbled")
    refused(tmp_path, "姓名,编号,地址\n".encode().decode("latin-1").encode() + b"x,1,2\n", "delivery.missing_column")
    rows, _ = read_bytes(tmp_path, table("锟斤拷,1,东街", "张三,2,东街", "李\ufffd,3,街"), ABC)
    assert aside(rows) == [(2, "garbled"), (4, "garbled")]
    assert [(r["姓名"], r["编号"]) for r in rows] == [(None, "1"), ("张三", "2"), (None, "3")]


def test_f38_private_code_points_become_the_standard_ones(tmp_path: Path) -> None:
    content = "姓名,编号,地址\n".encode("gb18030") + b"\xa6\xd9\xa6\xda\xfe\x59,1,x\n"
    rows, _ = read_bytes(tmp_path, content, ABC, encoding="gb18030")
    assert sound(rows, ABC) == [("\ufe10\ufe12\u9fb4", "1", "x")]


# --- F-39 ragged lines and quotes ---------------------------------------------------------------------


def test_f39_ragged_rows_are_set_aside_not_padded(tmp_path: Path) -> None:
    rows, _ = read_bytes(tmp_path, table("张三,1,东街", "李四,2", "王五,3,a,b", "赵六,4,西街"), ABC)
    assert sound(rows, ABC) == [("张三", "1", "东街"), ("赵六", "4", "西街")]
    assert aside(rows) == [(3, "ragged"), (4, "ragged")]
    assert [r["_raw"] for r in rows if r["_broken"]] == ["李四,2", "王五,3,a,b"]


@pytest.mark.parametrize("padding", [0, 5])
def test_f39_an_unclosed_quote_swallows_nothing(tmp_path: Path, padding: int) -> None:
    more = [f'"人{i}",{i},"街"' for i in range(padding)]
    rows, _ = read_bytes(tmp_path, table('"张三,1,东街', "李四,2,南街", '"王五",3,"西街"', *more), ABC)
    assert aside(rows) == [(2, "unclosed_quote")]
    assert sound(rows, ABC)[:2] == [("李四", "2", "南街"), ("王五", "3", "西街")]
    assert len(rows) == 3 + padding


def test_f39_bare_quotes_are_set_aside(tmp_path: Path) -> None:
    rows, _ = read_bytes(tmp_path, table('张"三,1,东街', '"李四"x,2,街', ' "王五",3,街', "赵六,4,街"), ABC)
    assert aside(rows) == [(2, "bare_quote"), (3, "bare_quote"), (4, "bare_quote")]
    assert sound(rows, ABC) == [("赵六", "4", "街")]


def test_quoted_cells_may_hold_delimiters_quotes_and_lines(tmp_path: Path) -> None:
    rows, _ = read_bytes(tmp_path, table('"张,三",1,"东""街\r\n二楼"', "李四,2,街"), ABC)
    assert sound(rows, ABC) == [("张,三", "1", '东"街\r\n二楼'), ("李四", "2", "街")]
    assert [r["_line"] for r in rows] == [2, 4]


def test_f39_lines_that_may_be_rows_or_one_cell_are_set_aside(tmp_path: Path) -> None:
    rows, _ = read_bytes(tmp_path, table('1,"a,1', '2,b",2', '3,"c', 'd",4', '5,e,"f', 'g"'), ABC)
    assert aside(rows) == [(2, "unclosed_quote"), (3, "unclosed_quote")]
    assert sound(rows, ABC) == [("3", "c\nd", "4"), ("5", "e", "f\ng")]


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16"])
def test_the_mark_that_ends_a_file_of_dos_is_no_line(tmp_path: Path, encoding: str) -> None:
    declared = "auto" if encoding == "utf-16" else encoding
    rows, report = read_bytes(tmp_path, table("张三,1,东街").decode().encode(encoding), ABC, encoding=declared)
    marked = (table("张三,1,东街").decode() + "\x1a").encode(encoding)
    assert read_bytes(tmp_path, marked, ABC, encoding=declared) == (rows, report)
    refused(tmp_path, "姓名,编号,地址\n张三,1\x1a".encode(), "delivery.half_a_file")


def test_a_bare_carriage_return_in_a_cell_is_set_aside(tmp_path: Path) -> None:
    rows, _ = read_bytes(tmp_path, table("张\r三,1,东街", "李四,2,街"), ABC)
    assert aside(rows) == [(2, "line_break")]


def test_cells_beyond_the_header_shift_nothing(tmp_path: Path) -> None:
    rows, _ = read_bytes(tmp_path, "姓名,编号,地址,\n张三,1,东街,\n李四,2,南,街\n".encode(), ABC)
    assert sound(rows, ABC) == [("张三", "1", "东街")]
    assert aside(rows) == [(3, "ragged")]


# --- F-33 half a file ---------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_f33_every_cut_is_refused_or_loses_only_whole_lines(tmp_path: Path, encoding: str) -> None:
    content = table("张三,1,东街", '"李四",2,"南\n街"', "王五,3,西街").decode().encode(encoding)
    start = len("姓名,编号,地址\n".encode(encoding))
    whole = [("张三", "1", "东街"), ("李四", "2", "南\n街"), ("王五", "3", "西街")]
    refusals = 0
    for cut in range(start + 1, len(content)):
        try:
            rows, _ = read_bytes(tmp_path, content[:cut], ABC)
        except DeliveryRefused as exc:
            assert exc.rule_id == "delivery.half_a_file"  # noqa: PT017
            refusals += 1
            continue
        got = sound(rows, ABC)
        # a cut inside the last cell of an unquoted row can't be told from a shorter value
        assert got[:-1] == whole[: len(got) - 1]
        assert got[-1][:2] == whole[len(got) - 1][:2]
        assert whole[len(got) - 1][2].startswith(got[-1][2])
    assert refusals > (len(content) - start) * 0.6


def test_footnotes_totals_and_blank_lines_are_counted(tmp_path: Path) -> None:
    layout = {"footnote": "^注：", "total": "合计|总计"}
    lines = ["标题,,", "姓名,编号,地址", "张三,1,东街", "", ",,", "合计,1,", "李四,2,街", "注：以上,不含", "来源：某局"]
    rows, report = read_bytes(tmp_path, "\n".join(lines).encode(), ABC, layout=layout)
    assert sound(rows, ABC) == [("张三", "1", "东街"), ("李四", "2", "街")]
    assert [r["_line"] for r in rows] == [3, 7]
    assert report.skipped == {"title": 1, "blank": 2, "total": 1, "footnote": 2}


def test_total_lines_that_are_left_out_are_named_by_their_first_cell_that_is_not_blank(tmp_path: Path) -> None:
    lines = [
        "姓名,备注,编号,地址",
        ",,合计,",
        "张三,甲,1,东街",
        ",办公室,小计,",
        " ,小计,9,",
        "李四,,2,街",
        "小计,9",
        ",,合计,1,2",
    ]
    expected = expect("姓名", "编号", "地址", contract="discard")
    layout = {"total": f"合计|{TOTAL_TITLE}"}
    rows, report = read_bytes(tmp_path, "\n".join(lines).encode(), expected, layout=layout)
    assert sound(rows, expected) == [("张三", "1", "东街"), ("", "小计", ""), ("李四", "2", "街")]
    assert (report.skipped, [n.partition("：")[2] for n in report.notes[-1:]]) == (
        {"total": 4}, ["4 行按约定作为合计行，未采集（第 2、5、7、8 行）"],
    )  # fmt: skip


def test_a_row_below_the_footnotes_is_not_lost_silently(tmp_path: Path) -> None:
    rows, report = read_bytes(tmp_path, table("张三,1,东街", "注：,,", "李四,2,街"), ABC, layout={"footnote": "^注："})
    assert len(rows) == 1
    assert [n for n in report.notes if "1 行像数据" in n] != []


# --- property: what we write we read -------------------------------------------------------------------

cell = st.text(
    st.characters(exclude_categories=("Cs", "Co"), exclude_characters="\x00\ufffd\ufeff"), max_size=6
).filter(lambda t: "锟斤拷" not in t)
cells = st.lists(st.tuples(cell, cell, cell), max_size=12)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cells,
    st.sampled_from(["utf-8", "utf-8-sig", "gb18030"]),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from([encoding_module.BLOCK, 64]),
)
def test_any_table_in_any_dialect_comes_back(
    tmp_path: Path, table: list[tuple[str, str, str]], encoding: str, delimiter: str, end: str, quoting: int, block: int
) -> None:
    if end == "\n":  # Python's writer of 3.11 leaves a carriage return unquoted then: the text would be ambiguous
        table = [tuple(c.replace("\r", "") for c in row) for row in table]  # type: ignore[misc]
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting)  # type: ignore[arg-type]
    writer.writerows([("姓名", "编号", "地址"), *table])
    content = out.getvalue().encode(encoding)
    before, encoding_module.BLOCK = encoding_module.BLOCK, block
    try:
        declared = "gb18030" if encoding == "gb18030" else "utf-8"
        rows, report = read_bytes(tmp_path, content, ABC, delimiter=delimiter, encoding=declared)
    finally:
        encoding_module.BLOCK = before
    normal = [tuple(encoding_module.normalise_private_use(c) for c in row) for row in table]
    wanted = [row for row in normal if any(cell and cell.strip() for cell in row)]
    assert sound(rows, ABC) == wanted, aside(rows)
    assert aside(rows) == []
    assert report.skipped.get("blank", 0) == len(table) - len(wanted)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(cell, cell, cell), min_size=1, max_size=8), st.data())
def test_a_damaged_character_never_changes_a_row_silently(
    tmp_path: Path, table: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    """One delimiter or quote put in or taken out: the lines without it come back as they were, or are set aside."""
    plain = [tuple(re.sub(r'[,"\r\n]', "x", c) + "人" for c in row) for row in table]
    lines = [f'"{a}","{b}",{c}' if data.draw(st.booleans()) else f"{a},{b},{c}" for a, b, c in plain]
    hurt = data.draw(st.integers(0, len(lines) - 1))
    at = data.draw(st.integers(0, len(lines[hurt])))
    lines[hurt] = lines[hurt][:at] + data.draw(st.sampled_from([",", '"'])) + lines[hurt][at:]
    content = ("姓名,编号,地址\n" + "\n".join(lines) + "\n").encode()
    try:
        rows, _ = read_bytes(tmp_path, content, ABC)
    except DeliveryRefused as exc:
        assert exc.rule_id == "delivery.half_a_file"  # noqa: PT017
        return
    by_line = {r["_line"]: tuple(r[c] for c in ABC.columns) for r in rows if r["_broken"] is None}
    assert {n: row for n, row in by_line.items() if n != hurt + 2} == {
        n + 2: row for n, row in enumerate(plain) if n != hurt
    }


def test_every_reason_has_words_for_the_department() -> None:
    assert all(title and mend.endswith("。") for title, mend in STRUCTURE.values())


def test_without_a_quote_character_quotes_are_text(tmp_path: Path) -> None:
    rows, _ = read_bytes(tmp_path, table('张"三,1,"东街', "李四,2,街"), ABC, quote="")
    assert sound(rows, ABC) == [('张"三', "1", '"东街'), ("李四", "2", "街")]


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"PK\x03\x04\x14\x00", "zip 压缩包或 xlsx 工作簿"),
        (gzip.compress("编号,名称\n1,甲\n".encode(), mtime=0), "gzip 压缩文件"),
        (b"Rar!\x1a\x07\x00\xcf", "rar 压缩包"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00", "xls"),
    ],
)
def test_what_is_no_text_is_called_what_it_is(tmp_path: Path, head: bytes, kind: str) -> None:
    """A packed file under a text's name has no encoding to mend: the department is told what it sent."""
    assert kind in refused(tmp_path, head + bytes(range(256)) * 8, "delivery.structure")
