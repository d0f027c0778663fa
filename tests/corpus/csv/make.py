"""Awkward CSV files as departments send them, each with what must come of it: ``python make.py`` writes them anew.

A case: file name -> (bytes, format, expected). Expected is the refusal's rule, or the sound rows and the lines set aside.
Columns are 姓名, 编号, 地址 unless the case says otherwise.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
HEAD = "姓名,编号,地址\n"
Case = tuple[bytes, dict[str, Any], dict[str, Any]]


def sound(*rows: tuple[str | None, ...], aside: tuple[tuple[int, str], ...] = (), **skipped: int) -> dict[str, Any]:
    return {"sound": [list(r) for r in rows], "aside": [list(a) for a in aside], "skipped": skipped}


def refused(rule: str) -> dict[str, Any]:
    return {"refused": rule}


THREE = (("张三", "000001", "东街"), ("李四", "0592", "南街"), ("王五", "010101", "西街"))
PLAIN = HEAD + "".join(",".join(row) + "\n" for row in THREE)
LONG = HEAD + "".join(f"张三丰{i},{i:06d},内蒙古自治区鄂尔多斯市东胜区\n" for i in range(30))
LONG_ROWS = tuple((f"张三丰{i}", f"{i:06d}", "内蒙古自治区鄂尔多斯市东胜区") for i in range(30))

CASES: dict[str, Case] = {
    # F-20 … F-22
    "f20_leading_zeros.csv": (PLAIN.encode(), {}, sound(*THREE)),
    "f21_blank_among_long_numbers.csv": (
        (HEAD + "张三,110105199001010017,街\n李四,,街\n王五,110105199001010025,街\n").encode(), {},
        sound(("张三", "110105199001010017", "街"), ("李四", "", "街"), ("王五", "110105199001010025", "街")),
    ),
    "f22_words_for_nothing.csv": (
        (HEAD + "NA,NULL,None\nn/a,nan,-\n#N/A,null,NaN\n").encode(), {},
        sound(("NA", "NULL", "None"), ("n/a", "nan", "-"), ("#N/A", "null", "NaN")),
    ),
    # F-37, F-38 encodings
    "f37_bom_utf8.csv": (b"\xef\xbb\xbf" + PLAIN.encode(), {}, sound(*THREE)),
    "f37_two_boms.csv": (b"\xef\xbb\xbf\xef\xbb\xbf" + PLAIN.encode(), {}, sound(*THREE)),
    "f37_utf16_le_bom.csv": (b"\xff\xfe" + PLAIN.encode("utf-16-le"), {}, sound(*THREE)),
    "f37_utf16_be_bom.csv": (b"\xfe\xff" + PLAIN.encode("utf-16-be"), {}, sound(*THREE)),
    "f37_utf16_le_no_bom.csv": (PLAIN.encode("utf-16-le"), {"encoding": "utf-16-le"}, sound(*THREE)),
    "f37_utf16_undeclared.csv": (PLAIN.encode("utf-16-le"), {}, refused("delivery.encoding")),
    "f37_rare_names_gb18030.csv": (
        (HEAD + "张䶮,1,€\n𠮷野,2,街\n李㐂,3,街\n").encode("gb18030"), {},
        sound(("张䶮", "1", "€"), ("𠮷野", "2", "街"), ("李㐂", "3", "街")),
    ),
    "f37_euro_of_windows.csv": (
        LONG.encode("gb18030") + b"\xc0\xee,99,\x80 5\n", {}, sound(*LONG_ROWS, aside=((32, "encoding"),)),
    ),
    "f37_few_words_valid_in_both.csv": (
        b"xm,bh,dz\n" + "隆茂,1,x\n".encode("gb18030"), {"_columns": ["xm", "bh", "dz"]}, refused("delivery.encoding"),
    ),
    "f37_few_words_declared.csv": (
        b"xm,bh,dz\n" + "隆茂,1,x\n".encode("gb18030"), {"_columns": ["xm", "bh", "dz"], "encoding": "gb18030"},
        sound(("隆茂", "1", "x")),
    ),
    "f37_short_utf8_declared_gb18030.csv": (
        "xm,bh,dz\n张三,1,x\n".encode(), {"_columns": ["xm", "bh", "dz"], "encoding": "gb18030"},
        refused("delivery.encoding"),
    ),
    "f37_mojibake_utf8_read_as_gbk.csv": (
        ("xm,bh,dz\n" + "\n".join(f"{i},{i},内蒙古自治区鄂尔多斯市东胜区" for i in range(9)))
        .encode().decode("gb18030", "replace").replace("\ufffd", "?").encode(),
        {"_columns": ["xm", "bh", "dz"]}, refused("delivery.garbled"),
    ),
    "f37_mojibake_utf8_read_as_latin1.csv": (
        b"xm,bh,dz\n" + "".join(f"{i},{i},鄂尔多斯市东胜区\n" for i in range(9)).encode().decode("latin-1").encode(),
        {"_columns": ["xm", "bh", "dz"]}, refused("delivery.garbled"),
    ),
    "f37_utf8_lines_in_gb18030.csv": (
        LONG.encode("gb18030") + "赵六,000031,北街\r\n".encode("gb18030") + "钱七,000032,北街\r\n璐板安,000033,上海\n".encode(), {},
        sound(*LONG_ROWS, ("赵六", "000031", "北街"), aside=((33, "encoding"), (34, "encoding"))),
    ),
    "f37_gb18030_that_is_utf8_by_accident.csv": (
        LONG.encode("gb18030") + "璐板安,000031,x\n".encode("gb18030"), {}, sound(*LONG_ROWS, ("璐板安", "000031", "x")),
    ),
    "f37_big5.csv": (
        b"name,id,address\n" + "".join(f"張三豐,{i:06d},臺灣省公共資料開放\n" for i in range(30)).encode("big5"),
        {"_columns": ["name", "id", "address"]}, refused("delivery.encoding"),
    ),
    "f37_lost_text.csv": (
        (HEAD + "锟斤拷,1,街\n李四,2,街\n王\ufffd,3,街\n").encode(), {},
        sound(("李四", "2", "街"), aside=((2, "garbled"), (4, "garbled"))),
    ),
    "f38_private_use.csv": (
        HEAD.encode("gb18030") + b"\xa6\xd9\xa6\xda\xfe\x59,1,x\n", {"encoding": "gb18030"},
        sound(("\ufe10\ufe12\u9fb4", "1", "x")),
    ),
    # F-39 structure
    "f39_ragged.csv": (
        (HEAD + "张三,1,街\n李四,2\n王五,3,街,多\n赵六,4,街\n").encode(), {},
        sound(("张三", "1", "街"), ("赵六", "4", "街"), aside=((3, "ragged"), (4, "ragged"))),
    ),
    "f39_unclosed_quote.csv": (
        (HEAD + '"张三,1,街\n李四,2,街\n"王五",3,"街"\n').encode(), {},
        sound(("李四", "2", "街"), ("王五", "3", "街"), aside=((2, "unclosed_quote"),)),
    ),
    "f39_quote_inside_a_cell.csv": (
        (HEAD + '5"管,1,街\n李四,2,街\n').encode(), {}, sound(("李四", "2", "街"), aside=((2, "bare_quote"),)),
    ),
    "f39_quote_that_may_have_swallowed_rows.csv": (
        ("甲,乙,丙,丁\n" + 'a,b,c,"d\n1,2,3,4\n5,6,7,8\nx"\n9,9,9,9\n').encode(),
        {"_columns": ["甲", "乙", "丙", "丁"]},
        sound(("9", "9", "9", "9"), aside=tuple((n, "unclosed_quote") for n in (2, 3, 4, 5))),
    ),
    "f39_half_a_file.csv": ((HEAD + "张三,1,街\n李四,2").encode(), {}, refused("delivery.half_a_file")),
    # dialects
    "crlf_and_lf_mixed.csv": ((HEAD + "张三,1,街\r\n李四,2,街\n").encode(), {}, sound(("张三", "1", "街"), ("李四", "2", "街"))),
    "cr_alone.csv": (PLAIN.replace("\n", "\r").encode(), {}, sound(*THREE)),
    "cr_alone_utf16.csv": (b"\xff\xfe" + PLAIN.replace("\n", "\r").encode("utf-16-le"), {}, sound(*THREE)),
    "cr_inside_a_line.csv": ((HEAD + "张\r三,1,街\n李四,2,街\n").encode(), {}, sound(("李四", "2", "街"), aside=((2, "line_break"),))),
    "newline_in_quotes.csv": (
        (HEAD + '张三,1,"东街\r\n2号"\n李四,2,街\n').encode(), {}, sound(("张三", "1", "东街\r\n2号"), ("李四", "2", "街")),
    ),
    "tab.csv": (PLAIN.replace(",", "\t").encode("gb18030"), {"delimiter": "\t"}, sound(*THREE)),
    "pipe_gb18030.csv": (
        # 0x7C, the bar, is the second byte of characters such as 偀
        "姓名|编号|地址\n张偀|1|街\n".encode("gb18030"), {"delimiter": "|"}, sound(("张偀", "1", "街")),
    ),
    "control_a.csv": (PLAIN.replace(",", "\x01").encode(), {"delimiter": "\x01"}, sound(*THREE)),
    "semicolon_commas_inside.csv": (
        "姓名;编号;地址\n张三;1,5;街,路\n".encode(), {"delimiter": ";"}, sound(("张三", "1,5", "街,路")),
    ),
    "wrong_delimiter.csv": (PLAIN.replace(",", ";").encode(), {}, refused("delivery.missing_column")),
    "no_quote_character.csv": (
        (HEAD + '5"管,1,"街\n').encode(), {"quote": ""}, sound(('5"管', "1", '"街')),
    ),
    "backslash.csv": (
        (HEAD + "张\\,三,1,a\\\\b\n李四,\\N,第一行\\\n第二行\n王五,3,c\\td\\n\n赵六,4,C:\\qq\n孙七,5,街\n").encode(),
        {"escape": "\\"},
        sound(
            ("张,三", "1", "a\\b"), ("李四", None, "第一行\n第二行"), ("王五", "3", "c\td\n"), ("孙七", "5", "街"),
            aside=((6, "bad_escape"),),
        ),
    ),
    "backslash_not_declared.csv": ((HEAD + "张\\,三,1,街\n李\\四,2,街\n").encode(), {}, sound(("李\\四", "2", "街"), aside=((2, "ragged"),))),
    "backslash_ends_every_line.csv": (
        (HEAD + "".join(f"张{i},{i},C:\\\n" for i in range(40))).encode(), {"escape": "\\"},
        sound(aside=tuple((n, "bad_escape") for n in range(2, 42))),
    ),
    "comments_and_blanks.csv": (
        ("# 导出于 2026-10-01\n" + HEAD + "张三,1,街\n# 中间, 的,注释\n\n,,\n李四,2,#3\n").encode(), {"comment": "#"},
        sound(("张三", "1", "街"), ("李四", "2", "#3"), comment=2, blank=2),
    ),
    "comment_mark_in_quotes.csv": (
        (HEAD + '张三,1,"街\n#不是注释"\n').encode(), {"comment": "#"}, sound(("张三", "1", "街\n#不是注释")),
    ),
    "no_header.csv": ("张三,1,街\n李四,2,街\n".encode("gb18030"), {"header": False, "encoding": "gb18030"}, sound(("张三", "1", "街"), ("李四", "2", "街"))),
    "no_header_but_there_is_one.csv": (PLAIN.encode(), {"header": False}, refused("delivery.structure")),
    "trailing_delimiters.csv": (
        (HEAD + "张三,1,街,\n李四,2,街\n王五,东,3,街\n").encode(), {"trailing_delimiter": True},
        sound(("张三", "1", "街"), aside=((3, "ragged"), (4, "ragged"))),
    ),
    "trailing_delimiters_not_declared.csv": (
        (HEAD + "张三,1,街,\n李四,2,街\n").encode(), {}, sound(("李四", "2", "街"), aside=((2, "ragged"),)),
    ),
    "bom_before_a_later_row.csv": (
        (HEAD + "张三,1,街\n\ufeff李四,2,街\n").encode(), {}, sound(("张三", "1", "街"), ("\ufeff李四", "2", "街")),
    ),
    "all_quoted.csv": (
        (HEAD + '"张三","","街"\n"李四","a,b","街"\n').encode(), {}, sound(("张三", "", "街"), ("李四", "a,b", "街")),
    ),
    "all_quoted_crlf_gb18030.csv": (
        LONG.replace(",", '","').replace("\n", '"\r\n"').removesuffix('"').join(['"', ""]).encode("gb18030"), {},
        sound(*LONG_ROWS),
    ),
    "empty.csv": (b"", {}, refused("delivery.empty")),
    "nul.csv": ((HEAD + "张\x00三,1,街\n李四,2,街\n").encode(), {}, sound(("李四", "2", "街"), aside=((2, "nul"),))),
}  # fmt: skip


def write(folder: Path) -> None:
    expected = {}
    for name, (content, form, outcome) in CASES.items():
        (folder / name).write_bytes(content)
        expected[name] = {"format": form, **outcome}
    text = json.dumps(expected, ensure_ascii=False, indent=1)
    (folder / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(HERE)
