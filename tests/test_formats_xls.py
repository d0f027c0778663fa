"""xls as old programs write it: texts in a code page, formats under numbers of their own."""

from __future__ import annotations

import datetime as dt
import struct
from pathlib import Path
from typing import Any

import pytest
from delivering import aside, expect, read_bytes, sound
from workbooks import Fault, Sheet, Shown, make_book, make_compound

from guiji.errors import DeliveryRefused
from guiji.sources.formats.compound_file import read_streams

ABC = expect("姓名", "编号", "地址")


def record(kind: int, content: bytes = b"") -> bytes:
    return struct.pack("<HH", kind, len(content)) + content


def make_excel95(rows: list[tuple[Any, ...]], codec: str, page: int | None, name: str = "表") -> bytes:
    """A workbook of Excel 95: texts are LABEL records, those that begin with ``*`` have formats of their own, those that
    begin with ``=`` are results of formulas."""
    body = b""
    for r, row in enumerate(rows):
        for c, value in enumerate(row):
            at = struct.pack("<HHH", r, c, 0)
            if isinstance(value, bool):
                body += record(0x205, at + bytes([value, 0]))
            elif isinstance(value, Fault):
                body += record(0x205, at + bytes([0x2A, 1]))
            elif isinstance(value, dt.datetime):
                days = (value - dt.datetime(1899, 12, 30)).total_seconds() / 86400
                body += record(0x203, struct.pack("<HHHd", r, c, 1, days))
            elif isinstance(value, int):  # two in one record, the second in hundredths
                packed = struct.pack("<HIHI", 0, (value << 2 | 2) & 0xFFFFFFFF, 0, (value << 2 | 3) & 0xFFFFFFFF)
                body += record(0xBD, struct.pack("<HH", r, c) + packed + struct.pack("<H", c + 1))
            elif isinstance(value, float):
                body += record(0x203, at + struct.pack("<d", value))
            elif value.startswith("="):
                text = value[1:].encode(codec)
                empty = b"\x00\x00\x00\x00\x00\x00\xff\xff"
                body += record(0x06, at + empty + bytes(6) + struct.pack("<H", 4) + b"\x44\0\0\0")
                body += record(0x207, struct.pack("<H", len(text)) + text)
            elif value.startswith("*"):
                text = value[1:].encode(codec)
                body += record(0xD6, at + struct.pack("<H", len(text)) + text + b"\x01\x00\x00")
            else:
                text = value.encode(codec)
                body += record(0x204, at + struct.pack("<H", len(text)) + text)
    size = struct.pack("<HHHHH", 0, len(rows), 0, max(map(len, rows)), 0)
    sheet = record(0x809, struct.pack("<HHHH", 0x500, 0x10, 0x96C, 0x7C9)) + record(0x200, size) + body + record(0x0A)
    title = name.encode(codec)
    head = record(0x809, struct.pack("<HHHH", 0x500, 5, 0x96C, 0x7C9))
    head += record(0x42, struct.pack("<H", page)) if page is not None else b""
    head += b"".join(record(0xE0, struct.pack("<HH", 0, form) + bytes(12)) for form in (0, 22))
    bound = 4 + 7 + len(title)
    start = len(head) + bound + 4
    head += record(0x85, struct.pack("<IHB", start, 0, len(title)) + title) + record(0x0A)
    return make_compound({"Book": head + sheet})


@pytest.mark.parametrize(("codec", "page"), [("gb18030", 936), ("gbk", None), ("gb18030", 54936), ("big5", 950)])
def test_texts_of_excel_95_are_read_in_their_code_page(tmp_path: Path, codec: str, page: int | None) -> None:
    rows: list[tuple[Any, ...]] = [
        ("姓名", "ID", "地址"),
        ("王五", "0592", 7.0),
        ("=丁一", "*110105199001010017", "街"),
        ("", 592.0, "*路"),
    ]
    expected = expect("姓名", "ID", "地址")
    content = make_excel95(rows, codec, page)
    got, _ = read_bytes(tmp_path, content, expected, "a.xls", type="xls", layout={"sheet": "表"})
    assert sound(got, expected) == [
        ("王五", "0592", "7"),
        ("丁一", "110105199001010017", "街"),
        (None, "592", "路"),
    ]
    assert {r["_origin"] for r in got} == {"a.xls#表"}


def test_numbers_dates_answers_and_errors_of_excel_95(tmp_path: Path) -> None:
    rows: list[tuple[Any, ...]] = [
        ABC.columns,
        ("a", dt.datetime(2024, 1, 5), dt.datetime(2024, 1, 5, 13, 14, 15)),
        ("b", 1234),
        ("c", -536870912),
        (True, 0.1, 123456789012.5),
        ("d", Fault(), "街"),
        ("e", 1e15, "街"),
    ]
    got, _ = read_bytes(tmp_path, make_excel95(rows, "gb18030", 936), ABC, "a.xls", type="xls")
    assert sound(got, ABC) == [
        ("a", "2024-01-05", "2024-01-05 13:14:15"),
        ("b", "1234", "12.34"),
        ("c", "-536870912", "-5368709.12"),
        ("true", "0.1", "123456789012.5"),
    ]
    assert aside(got) == [(6, "cell_error"), (7, "precision_lost")]


def test_a_text_of_excel_95_that_is_none_in_its_code_page_is_set_aside(tmp_path: Path) -> None:
    content = make_excel95([ABC.columns, ("王五", "1", "街"), ("李四", "2", "路")], "gb18030", 936)
    cut = content.replace("李四".encode("gb18030"), b"\xc0\xee\xff\xff")
    got, _ = read_bytes(tmp_path, cut, ABC, "a.xls", type="xls")
    assert (sound(got, ABC), aside(got)) == ([("王五", "1", "街")], [(3, "garbled")])


def renumber(stream: bytes, code: str, number: int) -> bytes:
    """The stream with another number for the format ``code``, where it is defined and where styles use it."""
    changed = bytearray(stream)
    at, given = 0, -1
    while at < len(stream):
        kind, length = struct.unpack_from("<HH", stream, at)
        place = at + (4 if kind == 0x41E else 6)
        if kind == 0x41E and stream[at + 4 : at + 4 + length].endswith(code.encode()):
            (given,) = struct.unpack_from("<H", stream, place)
        if kind in (0x41E, 0xE0) and stream[place : place + 2] == struct.pack("<H", given & 0xFFFF):
            struct.pack_into("<H", changed, place, number)
        at += 4 + length
    assert changed != stream
    return bytes(changed)


@pytest.mark.parametrize("number", [14, 27, 51, 58])
def test_a_format_under_the_number_of_a_date_shows_numbers_where_the_file_says_so(tmp_path: Path, number: int) -> None:
    expected = expect("姓名", "编号", {"title": "数量", "type": "decimal128(12,2)"})
    values = [0.0, 592.0, -7.0, 1234567890.0, 0.25, 12.34, -0.01, 536870911.0, -536870912.0]
    rows = [(f"人{n}", Shown(abs(v) // 1, "000000"), Shown(v, "000000")) for n, v in enumerate(values)]
    content = make_book("xls", Sheet([expected.columns, *rows]))
    content = make_compound({"Workbook": renumber(read_streams(content)["Workbook"], "000000", number)})
    got, _ = read_bytes(tmp_path, content, expected, "a.xls", type="xls")
    assert sound(got, expected) == [
        (f"人{n}", f"{int(abs(v) // 1):06}", str(int(v)) if v == int(v) else str(v)) for n, v in enumerate(values)
    ]


def test_a_sheet_of_excel_95_is_not_found_under_another_name(tmp_path: Path) -> None:
    content = make_excel95([ABC.columns, ("王五", "1", "街")], "gb18030", 936)
    with pytest.raises(DeliveryRefused, match="没有工作表“表2”（有：表）"):
        read_bytes(tmp_path, content, ABC, "a.xls", type="xls", layout={"sheet": "表2"})


@pytest.mark.parametrize("before", range(4))
def test_a_character_between_two_records_of_the_shared_strings_is_whole(tmp_path: Path, before: int) -> None:
    """A record holds 8,224 bytes: whatever stands before it, one of the characters of two halves lies across its end."""
    rows = [("人" * before, "𠮷" * 5000, "1"), ("乙", "b" * 8300, "2"), ("丙", "中a𠮷", "3")]
    got, _ = read_bytes(tmp_path, make_book("xls", Sheet([ABC.columns, *rows])), ABC, "a.xls", type="xls")
    assert sound(got, ABC) == [(a or None, b, c) for a, b, c in rows]
    assert aside(got) == []


def test_half_a_character_at_the_end_of_a_record_is_lost_text(tmp_path: Path) -> None:
    rows = [("甲", "𠮷" * 5000, "1"), ("乙", "b", "2")]
    book = make_book("xls", Sheet([ABC.columns, *rows]))
    stream = read_streams(book)["Workbook"]
    torn = stream.replace("𠮷".encode("utf-16-le")[2:], b"a\0")
    got, _ = read_bytes(tmp_path, make_compound({"Workbook": torn}), ABC, "a.xls", type="xls")
    assert sound(got, ABC) == [("乙", "b", "2")]
    assert aside(got) == [(2, "garbled")]
