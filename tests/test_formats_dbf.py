"""DBF tables: padding, deletion marks, overflow, encodings that nobody declared, half a file."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from delivering import aside, expect, read_bytes, sound
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_formats_geometry import layer, repack

from guiji.errors import DeliveryRefused
from guiji.sources.formats.dbf import open_dbf, read_blocks

Column = tuple[str, str, int, int]
CODE_NAME: Sequence[Column] = (("CODE", "C", 6, 0), ("NAME", "C", 12, 0))


def make_dbf(
    columns: Sequence[Column],
    rows: Sequence[Sequence[bytes]],
    version: int = 0x03,
    flags: int = 0,
    deleted: Sequence[int] = (),
    said: int | None = None,
    end: bytes = b"\x1a",
) -> bytes:
    """A DBF file; cells are padded on the right, numbers on the left, binary cells must have their width."""
    width = 1 + sum(c[2] for c in columns)
    descriptors = b"".join(
        struct.pack("<11sc4xBB14x", name.encode("gb18030")[:10], kind.encode(), length % 256, decimals)
        if kind != "C" or length < 256
        else struct.pack("<11sc4xBB14x", name.encode("gb18030")[:10], b"C", length % 256, length // 256)
        for name, kind, length, decimals in columns
    )
    backlink = bytes(263) if version >= 0x30 and version < 0x40 else b""
    header = struct.pack(
        "<4BIHH3xB16x",
        *(version, 126, 11, 22, len(rows) if said is None else said),
        *(32 + len(descriptors) + 1 + len(backlink), width, flags),
    )
    records = [
        (b"*" if i in deleted else b" ")
        + b"".join(cell.rjust(c[2]) if c[1] in "NF" else cell.ljust(c[2]) for cell, c in zip(row, columns, strict=True))
        for i, row in enumerate(rows)
    ]
    return header + descriptors + b"\x0d" + backlink + b"".join(records) + end


def test_every_kind_of_field_is_the_text_it_means(tmp_path: Path) -> None:
    columns = [("C", "C", 8, 0), ("N", "N", 20, 2), ("F", "F", 20, 10), ("D", "D", 8, 0), ("L", "L", 1, 0)]
    expected = expect("c", "n", "f", "d", "l")
    rows, report = read_bytes(
        tmp_path,
        make_dbf(
            columns,
            [
                (b"000123", b"12345678901234567.10", b"1.5e+003", b"20240229", b"T"),
                ("北京".encode(), b"", b"-0.5", b"00000000", b"?"),
                (b"  x", b"7", b"7", b"2024 2 9", b"n"),
            ],
        ),
        expected,
        type="dbf",
    )
    assert sound(rows, expected) == [
        ("000123", "12345678901234567.10", "1.5e+003", "2024-02-29", "true"),
        ("北京", None, "-0.5", None, None),
        ("  x", "7", "7", "2024 2 9", "false"),
    ]
    assert [(r["_origin"], r["_line"]) for r in rows] == [("a.csv", 1), ("a.csv", 2), ("a.csv", 3)]
    assert report.skipped == {}


def test_visual_foxpro_has_binary_numbers_and_its_own_nulls(tmp_path: Path) -> None:
    columns = [("ID", "I", 4, 0), ("X", "B", 8, 0), ("Y", "Y", 8, 0), ("T", "T", 8, 0)]
    when = struct.pack("<ii", 2_460_370, 3_723_000)  # 2024-02-29 01:02:03
    row = (struct.pack("<i", -7), struct.pack("<d", 0.1), struct.pack("<q", 123_456), when)
    expected = expect("id", "x", "y", "t")
    rows, _ = read_bytes(tmp_path, make_dbf(columns, [row], version=0x30), expected, type="dbf")
    assert sound(rows, expected) == [("-7", "0.1", "12.3456", "2024-02-29 01:02:03")]
    content = bytearray(
        make_dbf([("ID", "I", 4, 0), ("A", "C", 1, 0), ("_N", "0", 1, 0)], [(row[0], b"x", b"\x01")], 0x30)
    )
    content[32 + 32 + 18] = 2  # the second column may be null
    rows, _ = read_bytes(tmp_path, bytes(content), expect("id", "a"), type="dbf")
    assert sound(rows, expect("id", "a")) == [("-7", None)]


def test_deleted_records_are_counted_and_keep_their_numbers(tmp_path: Path) -> None:
    content = make_dbf(CODE_NAME, [(b"1", b"a"), (b"2", b"b"), (b"3", b"c")], deleted=[1])
    rows, report = read_bytes(tmp_path, content, expect("CODE", "NAME"), type="dbf")
    assert [(r["_line"], r["CODE"]) for r in rows] == [(1, "1"), (3, "3")]
    assert report.skipped == {"deleted": 1}


def test_what_is_damaged_is_set_aside_with_its_number(tmp_path: Path) -> None:
    columns = [("ID", "C", 3, 0), ("N", "N", 4, 0), ("T", "C", 5, 0)]
    table = [
        (b"1", b"****", b"x"),
        (b"2", b"5", "北京".encode()[:5]),  # cut inside a character
        (b"3", b"5", b"a\x00b"),
        (b"4", b"5", "\ufffd".encode()),
        *((b"%d" % n, b"5", "好".encode()) for n in range(5, 15)),
    ]
    expected = expect("id", "n", "t")
    rows, _ = read_bytes(tmp_path, make_dbf(columns, table), expected, type="dbf")
    assert aside(rows) == [(1, "overflowed"), (2, "encoding"), (3, "nul"), (4, "garbled")]
    assert [r["id"] for r in rows[:4]] == ["1", "2", "3", "4"]
    assert sound(rows, expected) == [(str(n), "5", "好") for n in range(5, 15)]


def test_f37_encoding_is_declared_or_proven(tmp_path: Path) -> None:
    names = ["㐂㐂", "鄂尔多斯", "东胜区", "𠮷"]
    expected = expect("CODE", "NAME")
    for encoding in ("utf-8", "gb18030"):
        content = make_dbf(CODE_NAME, [(b"%d" % i, n.encode(encoding)) for i, n in enumerate(names)])
        for declared in ("auto", encoding):
            rows, _ = read_bytes(tmp_path, content, expected, type="dbf", encoding=declared)
            assert sound(rows, expected) == [(str(i), n) for i, n in enumerate(names)]
    many = make_dbf(CODE_NAME, [(b"%d" % i, names[i % 4].encode()) for i in range(40)])
    with pytest.raises(DeliveryRefused, match="编码"):
        read_bytes(tmp_path, many, expected, type="dbf", encoding="gb18030")
    big5 = make_dbf(CODE_NAME, [(b"1", "測試資料".encode("big5")), (b"2", b"\xff\xfe")])
    with pytest.raises(DeliveryRefused, match="编码"):
        read_bytes(tmp_path, big5, expected, type="dbf")


def test_f37_a_cell_in_utf_8_is_never_read_as_gb18030(tmp_path: Path) -> None:
    columns = [("CODE", "C", 2, 0), ("NAME", "C", 10, 0)]
    expected = expect("CODE", "NAME")
    cut = "张三四五".encode()[:10]  # inside its last character: valid GB18030
    assert cut.decode("gb18030") == "寮犱笁鍥涗"
    rows, _ = read_bytes(tmp_path, make_dbf(columns, [(b"1", cut)]), expected, type="dbf")
    assert (aside(rows), rows[0]["CODE"]) == ([(1, "encoding")], "1")
    names = ["鄂尔多斯", "东胜区", "璐板安", "康巴什区", "乌审旗"]
    table = [*((b"%d" % i, name.encode("gb18030")) for i, name in enumerate(names)), (b"9", "钱七".encode())]
    rows, _ = read_bytes(tmp_path, make_dbf(columns, table), expected, type="dbf")
    assert aside(rows) == [(6, "encoding")]
    assert sound(rows, expected) == [(str(i), name) for i, name in enumerate(names)]


def test_f46_a_cpg_says_the_encoding_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.dbf"
    path.write_bytes(make_dbf(CODE_NAME, [(b"1", "东胜".encode("gbk"))]))
    assert open_dbf(path, "auto", "x", cpg="GBK\n").encoding == "gb18030"
    for cpg in ("UTF-8", "950"):
        with pytest.raises(DeliveryRefused):
            open_dbf(path, "auto", "x", cpg=cpg)
    path.write_bytes(make_dbf(CODE_NAME, [(b"1", b"plain")]))
    for cpg in ("OEM", "ISO-8859-1", "ANSI 1252"):  # what GDAL and ArcGIS put where nothing needs an encoding
        assert open_dbf(path, "auto", "x", cpg=cpg).encoding == "utf-8"


def test_f33_half_a_file_and_a_header_that_disagrees_are_refused(tmp_path: Path) -> None:
    whole = make_dbf(CODE_NAME, [(b"%d" % i, b"x") for i in range(4)], end=b"")
    rows, _ = read_bytes(tmp_path, whole, expect("CODE", "NAME"), type="dbf")
    assert len(rows) == 4
    for cut in range(len(whole)):
        with pytest.raises(DeliveryRefused):
            read_bytes(tmp_path, whole[:cut], expect("CODE", "NAME"), type="dbf")
    for said in (3, 5):
        with pytest.raises(DeliveryRefused) as refused:
            read_bytes(
                tmp_path,
                make_dbf(CODE_NAME, [(b"%d" % i, b"x") for i in range(4)], said=said),
                expect("CODE", "NAME"),
                type="dbf",
            )
        assert refused.value.rule_id == "delivery.half_a_file"


def test_what_is_not_read_is_refused(tmp_path: Path) -> None:
    expected = expect("a")
    memo = make_dbf([("A", "M", 10, 0)], [(b"1",)], version=0x83)
    shifted = make_dbf([("A", "C", 3, 0)], [(b"1",), (b"2",)]).replace(b" 2  ", b"x2  ")
    for content in (memo, shifted, make_dbf([("A", "C", 3, 0)], [(b"1",)], flags=1), b"PK\x03\x04" + bytes(60)):
        with pytest.raises(DeliveryRefused) as refused:
            read_bytes(tmp_path, content, expected, type="dbf")
        assert refused.value.rule_id == "delivery.structure"
    with pytest.raises(DeliveryRefused) as refused:
        read_bytes(tmp_path, make_dbf([("B", "C", 3, 0)], [(b"1",)]), expected, type="dbf")
    assert refused.value.rule_id == "delivery.missing_column"


def test_a_block_has_every_record_for_its_shape(tmp_path: Path) -> None:
    path = tmp_path / "a.dbf"
    path.write_bytes(make_dbf(CODE_NAME, [(b"1", b"a"), (b"2", b"b")], deleted=[0]))
    table = open_dbf(path, "auto", "a.dbf")
    (block,) = read_blocks(table, table.fields)
    assert (block.first, block.deleted, block.columns) == (1, [True, False], {"CODE": ["1", "2"], "NAME": ["a", "b"]})


ATTRIBUTES: Sequence[Column] = (("code", "C", 9, 0), ("name", "C", 6, 0), ("area_ha", "N", 6, 2))


def read_attributes(tmp_path: Path, content: bytes) -> tuple[list[tuple[object, ...]], list[str]]:
    """(what was read of the attributes of a shapefile, the notes)."""
    rows, report = read_bytes(tmp_path, repack("points.zip", dbf=content), layer(), "layer", type="shapefile")
    return [(r["_line"], r["code"], r["name"], r["area_ha"], r["_broken"]) for r in rows], report.notes


def test_asterisks_beside_a_shapefile_are_no_value_as_gdal_writes_it(tmp_path: Path) -> None:
    """GDAL fills a number without a value with asterisks, in the field's width; what doesn't fit it cuts."""
    table = [(b"001", b"**", b"******"), (b"002", b"a", b"**1.50"), (b"003", b"b", b"1.50")]
    assert read_attributes(tmp_path, make_dbf(ATTRIBUTES, table)) == (
        [
            (1, "001", "**", None, None),
            (2, "002", "a", None, "structure.overflowed"),
            (3, "003", "b", "1.50", None),
        ],
        [
            "文件 layer!layer.shp：数字字段 area_ha（1 个）的内容全是星号，QGIS 等软件这样写空值，按空值归集；"
            "如果原来有数、只是写不下，请加大字段宽度后重新导出"
        ],
    )


def test_asterisks_that_count_for_nothing_are_not_noted(tmp_path: Path) -> None:
    table = [(b"001", b"a", b"1.00"), (b"002", b"a", b"******"), (b"003", b"b", b"")]
    assert read_attributes(tmp_path, make_dbf(ATTRIBUTES, table, deleted=[1])) == (
        [(1, "001", "a", "1.00", None), (3, "003", "b", None, None)],
        [],
    )


def test_asterisks_of_visual_foxpro_are_numbers_that_did_not_fit(tmp_path: Path) -> None:
    table = [(b"001", b"a", b"******"), (b"002", b"a", b"2.00"), (b"003", b"b", b"3.00")]
    assert read_attributes(tmp_path, make_dbf(ATTRIBUTES, table, version=0x30)) == (
        [
            (1, "001", "a", None, "structure.overflowed"),
            (2, "002", "a", "2.00", None),
            (3, "003", "b", "3.00", None),
        ],
        [],
    )


cells = st.text(st.characters(exclude_categories=("Cs", "Co"), exclude_characters="\x00\ufffd"), max_size=8).filter(
    lambda t: "锟斤拷" not in t and len(t.encode("gb18030")) <= 40
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(cells, cells), max_size=6), st.sampled_from(["utf-8", "gb18030"]))
def test_any_table_comes_back_but_for_blanks_at_the_end(
    tmp_path: Path, table: list[tuple[str, str]], encoding: str
) -> None:
    rows_in = [tuple(c.encode(encoding) for c in row) for row in table]
    content = make_dbf([("a", "C", 300, 0), ("b", "C", 60, 0)], rows_in)
    expected = expect("a", "b")
    rows, _ = read_bytes(tmp_path, content, expected, type="dbf", encoding=encoding)
    assert sound(rows, expected) == [tuple(c.rstrip(" ") for c in row) for row in table]


def test_varchar_of_visual_foxpro_ends_where_it_says(tmp_path: Path) -> None:
    columns = [("A", "V", 6, 0), ("B", "V", 6, 0), ("_N", "0", 1, 0)]
    rows = [(b"abc\0\0\x03", "东胜区".encode("gb18030"), b"\x01"), (b"a  \0\0\x03", b"x \0\0\0\x02", b"\x03")]
    rows += [(b"\0\0\0\0\0\0", b"abcdef", b"\x01")]
    expected = expect("a", "b")
    got, _ = read_bytes(tmp_path, make_dbf(columns, rows, version=0x32), expected, type="dbf")
    assert sound(got, expected) == [("abc", "东胜区"), ("a", "x"), ("", "abcdef")]
    with pytest.raises(DeliveryRefused, match="字段 A、B 是备注或二进制类型"):
        read_bytes(tmp_path, make_dbf(columns[:2], [r[:2] for r in rows], version=0x32), expected, type="dbf")


def test_a_blank_moment_is_none(tmp_path: Path) -> None:
    content = make_dbf([("A", "C", 1, 0), ("T", "T", 8, 0)], [(b"x", b" " * 8), (b"y", bytes(8))], version=0x30)
    rows, _ = read_bytes(tmp_path, content, expect("a", "t"), type="dbf")
    assert (sound(rows, expect("a", "t")), aside(rows)) == ([("x", None), ("y", None)], [])


def test_f37_a_header_that_says_another_language_is_doubted_where_nobody_declared(tmp_path: Path) -> None:
    content = bytearray(make_dbf(CODE_NAME, [(b"1", "鄂爾".encode("big5"))] * 3))
    content[29] = 0x78
    expected = expect("CODE", "NAME")
    with pytest.raises(DeliveryRefused, match="注明的编码是 Big5"):
        read_bytes(tmp_path, bytes(content), expected, type="dbf")
    chinese = bytearray(make_dbf(CODE_NAME, [(b"1", "东胜区".encode("gb18030"))] * 3))
    for language, form in ((0x78, {"encoding": "gb18030"}), (0x57, {}), (0x7A, {}), (0x4D, {})):
        chinese[29] = language
        rows, _ = read_bytes(tmp_path, bytes(chinese), expected, type="dbf", **form)
        assert sound(rows, expected) == [("1", "东胜区")] * 3


def test_an_empty_file_is_called_empty(tmp_path: Path) -> None:
    with pytest.raises(DeliveryRefused, match="文件是空的"):
        read_bytes(tmp_path, b"", expect("a"), type="dbf")
