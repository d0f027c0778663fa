"""XML records: nothing joined, nothing dropped, nothing fetched; attacks and half a document are refused."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pytest
from delivering import aside, expect, read_bytes, sound
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guiji.catalog.models import Format
from guiji.errors import DeliveryRefused
from guiji.records import ReadReport
from guiji.sources.formats import read_file, xml

AB = expect("a", "b")
Rows = list[dict[str, Any]]


def read(
    tmp_path: Path, text: str, encoding: str = "utf-8", where: str = "data/row", **more: Any
) -> tuple[Rows, ReadReport]:
    return read_bytes(tmp_path, text.encode(encoding), AB, "x.xml", type="xml", records=where, **more)


def test_elements_and_attributes_are_columns_and_text_stays_text(tmp_path: Path) -> None:
    text = (
        '<?xml version="1.0"?>\n<!-- 导出 --><data n="2">\n<row a="000123"><b> x &lt;&amp;&#20013; <![CDATA[<y>&]]></b></row>\n'
        '<row>\n<a xmlns:i="http://www.w3.org/2001/XMLSchema-instance" i:nil="true"/><b/></row>\n<row a=""/></data>\n'
    )
    rows, report = read(tmp_path, text)
    assert sound(rows, AB) == [("000123", " x <&中 <y>&"), (None, ""), ("", None)]
    assert [(r["_origin"], r["_line"]) for r in rows] == [("x.xml", 3), ("x.xml", 4), ("x.xml", 6)]
    assert report.notes == []


def test_namespaces_don_t_hide_names_and_what_stands_beside_records_is_noted(tmp_path: Path) -> None:
    text = (
        '<s:data xmlns:s="urn:s" xmlns="urn:d"><total>2</total><row><a>1</a><s:b>2</s:b></row>'
        "<row><a>3</a></row><foot/></s:data>"
    )
    rows, report = read(tmp_path, text)
    assert sound(rows, AB) == [("1", "2"), ("3", None)]
    assert report.notes == ["文件 x.xml：记录之外的元素未采集：total（1 个）、foot（1 个）"]
    rows, _ = read(tmp_path, "<a><b><c><a>1</a><b>2</b></c></b><b><c><a>3</a><b>4</b></c></b></a>", where="/a/b/c")
    assert sound(rows, AB) == [("1", "2"), ("3", "4")]


def test_what_is_no_flat_record_is_set_aside_with_all_that_it_holds(tmp_path: Path) -> None:
    text = (
        "<data>\n<row><a>1</a><b>x<c k='v'>y</c>z</b></row>\n<row><a>1</a><a>2</a><b>3</b></row>\n<row a='1'><a>2</a></row>\n"
        "<row>stray<a>1</a><b>2</b></row>\n<row><a>5</a><b>6</b></row>\n<row><a>1</a><b>\ufffd</b></row></data>"
    )
    rows, _ = read(tmp_path, text)
    assert aside(rows) == [
        *((2, "nested"), (3, "duplicate_key"), (4, "duplicate_key"), (5, "not_a_record"), (7, "garbled")),
    ]
    assert sound(rows, AB) == [("5", "6")]
    for said in ("x", "b/c=y", "@k=v", "z"):
        assert said in rows[0]["_raw"]
    assert rows[1]["_raw"] == "a=1; b=3; a=2"
    assert [(r["a"], r["b"]) for r in rows] == [
        *(("1", None), (None, None), (None, None), ("1", "2"), ("5", "6"), ("1", None)),
    ]


def test_an_attribute_of_a_cell_is_a_column_of_its_own(tmp_path: Path) -> None:
    text = '<data><row><a>1</a><b unit="万元">5</b></row></data>'
    with pytest.raises(DeliveryRefused, match="b@unit") as refused:
        read(tmp_path, text)
    assert refused.value.rule_id == "delivery.undeclared_column"
    expected = expect("a", "b", "b@unit")
    rows, _ = read_bytes(tmp_path, text.encode(), expected, "x.xml", type="xml", records="data/row")
    assert sound(rows, expected) == [("1", "5", "万元")]


BOMB = "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(9))


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE data [<!ENTITY x SYSTEM "file:///etc/passwd">]><data><row><a>&x;</a><b/></row></data>',
        f'<!DOCTYPE data [<!ENTITY l0 "lol">{BOMB}]><data><row><a>&l9;</a><b/></row></data>',
        '<!DOCTYPE data SYSTEM "http://127.0.0.1:1/x.dtd"><data><row><a/><b/></row></data>',
        '<!DOCTYPE data [<!ENTITY % p SYSTEM "http://127.0.0.1:1/x"> %p;]><data><row><a/><b/></row></data>',
        "<data><row><a>&undeclared;</a><b/></row></data>",
        "<data><row><a>R&D</a><b/></row></data>",
        "<data><row><a>1</b></row></data>",
        "<data><row><a>\x0b</a><b/></row></data>",
        "<data/><data/>",
    ],
)
def test_f43_entities_and_what_is_no_xml_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DeliveryRefused) as refused:
        read(tmp_path, text)
    assert refused.value.rule_id == "delivery.structure"


def test_f43_depth_names_and_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml, "LONGEST_TOKEN", 1 << 19)
    monkeypatch.setattr(xml, "LONGEST_TEXT", 1 << 20)
    deep = "<data><row><a>1</a><b>" + "<x>" * 100_000 + "</x>" * 100_000 + "</b></row></data>"
    names = "<data><row>" + "".join(f"<n{i}/>" for i in range(20_000)) + "</row></data>"
    tag = f"<data><row a='{'x' * (1 << 21)}'/></data>"
    comment = f"<data><!--{'x' * (1 << 21)}--><row/></data>"
    cell = f"<data><row><a>{'x' * (1 << 21)}</a></row></data>"
    for text in (deep, names, tag, comment, cell):
        tracemalloc.start()
        with pytest.raises(DeliveryRefused) as refused:
            read(tmp_path, text)
        assert refused.value.rule_id == "delivery.too_large"
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
        tracemalloc.stop()


def test_f33_half_a_document_is_refused(tmp_path: Path) -> None:
    whole = "<data>" + "".join(f"<row><a>{i}</a><b>东胜</b></row>" for i in range(5)) + "</data>"
    content = whole.encode()
    for cut in range(1, len(content)):
        with pytest.raises(DeliveryRefused) as refused:
            read_bytes(tmp_path, content[:cut], AB, "x.xml", type="xml", records="data/row")
        assert refused.value.rule_id == "delivery.half_a_file"


def test_a_list_may_be_empty_but_not_absent(tmp_path: Path) -> None:
    assert read(tmp_path, "<data/>")[0] == []
    for text in ("<data><Row><a/></Row></data>", "<other><row/></other>"):
        with pytest.raises(DeliveryRefused, match="data/row") as refused:
            read(tmp_path, text)
        assert refused.value.rule_id == "delivery.structure"
    with pytest.raises(DeliveryRefused) as refused:
        read(tmp_path, "<data><row><a>1</a></row></data>")
    assert refused.value.rule_id == "delivery.missing_column"


@pytest.mark.parametrize("said", ["GB2312", "gbk", "GB18030"])
def test_f37_the_declared_encoding_holds_unless_the_bytes_contradict_it(tmp_path: Path, said: str) -> None:
    name = "鄂尔多斯市东胜区㐂" if said == "GB18030" else "鄂尔多斯市东胜区"
    text = f'<?xml version="1.0" encoding="{said}"?>\n<data>' + f"<row><a>1</a><b>{name}</b></row>" * 3 + "</data>"
    rows, _ = read(tmp_path, text, "gb18030")
    assert sound(rows, AB) == [("1", name)] * 3
    with pytest.raises(DeliveryRefused) as refused:  # saved by an editor as UTF-8
        read(tmp_path, text)
    assert refused.value.rule_id == "delivery.encoding"
    with pytest.raises(DeliveryRefused) as refused:
        read(tmp_path, text.replace(said, "big5"), "gb18030")
    assert refused.value.rule_id == "delivery.encoding"
    with pytest.raises(DeliveryRefused) as refused:  # two words are enough
        read(tmp_path, f'<?xml version="1.0" encoding="{said}"?>\n<data><row><a>1</a><b>张三</b></row></data>')
    assert refused.value.rule_id == "delivery.encoding"
    assert sound(read(tmp_path, text, encoding="utf-8-sig")[0], AB) == [("1", name)] * 3
    assert sound(read(tmp_path, text, "utf-16")[0], AB) == [("1", name)] * 3


def test_f28_bytes_that_can_t_be_decoded_set_their_record_aside(tmp_path: Path) -> None:
    content = "<data><row><a>1</a><b>中</b></row>\n<row><a>2</a><b>?</b></row></data>".encode().replace(
        b"?", b"\xd6\xd0"
    )
    rows, _ = read_bytes(tmp_path, content, AB, "x.xml", type="xml", records="data/row")
    assert (sound(rows, AB), aside(rows), rows[1]["a"]) == ([("1", "中")], [(2, "encoding")], "2")
    lost = ("<data>" + "<row><a>1</a><b>中</b></row>" * 60 + "</data>").encode("gbk")
    with pytest.raises(DeliveryRefused) as refused:
        read_bytes(tmp_path, lost, AB, "x.xml", type="xml", records="data/row")
    assert refused.value.rule_id == "delivery.encoding"


def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml, "BATCH_ROWS", 200)
    monkeypatch.setattr(xml, "BLOCK", 1 << 12)
    path = tmp_path / "x.xml"

    def peak(records: int) -> int:
        with path.open("w", encoding="utf-8") as f:
            f.write("<data>" + "<row><a>鄂尔多斯</a><b>2</b></row>" * records + "</data>")
        form = Format(type="xml", records="data/row")
        tracemalloc.start()
        read = sum(batch.num_rows for batch in read_file(path, "x.xml", AB, form, ReadReport()))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert read == records
        return found

    small, large = peak(1_000), peak(5_000)
    assert large < small * 1.3


def test_xml_needs_the_path_of_its_records() -> None:
    with pytest.raises(ValueError, match="records"):
        Format(type="xml")


# XML has no other control characters, and gives every line end as a newline
cells = st.text(
    st.characters(exclude_categories=("Cs", "Co", "Cn"), exclude_characters="\x00\ufffd\r", min_codepoint=9), max_size=8
).filter(lambda t: "锟斤拷" not in t and all(c in "\t\n" or c >= " " for c in t))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(cells, st.none() | cells), min_size=1, max_size=6), st.sampled_from(["utf-8", "GB18030"]))
def test_any_table_comes_back(tmp_path: Path, table: list[tuple[str, str | None]], encoding: str) -> None:
    attributes = {"\n": "&#10;", "\t": "&#9;"}
    body = "".join(
        f"<row a={quoteattr(a, attributes)}>" + ("" if b is None else f"<b>{escape(b)}</b>") + "</row>"
        for a, b in table
    )
    text = f'<?xml version="1.0" encoding="{encoding}"?><data>{body}<row a="" b=""/></data>'
    rows, _ = read(tmp_path, text, encoding)
    assert sound(rows, AB) == [*table, ("", "")]


def test_what_is_not_collected_sets_no_record_aside(tmp_path: Path) -> None:
    text = (
        "<data><row><a>1</a><b>2</b><photos><photo k='x'>y</photo><photo>z</photo></photos></row>\n"
        "<row><a>3</a><b>4</b><tag>5</tag><tag>6</tag></row>\n<row><a>7</a><b><i>8</i></b><tag>9</tag></row></data>"
    )
    loose = expect("a", "b", contract="evolve")
    rows, report = read_bytes(tmp_path, text.encode(), loose, "x.xml", type="xml", records="data/row")
    assert (sound(rows, loose), aside(rows)) == ([("1", "2"), ("3", "4")], [(3, "nested")])
    assert any("photos" in note and "tag" in note for note in report.notes)


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_f37_a_declaration_that_can_be_read_is_no_utf_16(tmp_path: Path, encoding: str) -> None:
    """.NET declares utf-16 of every text that it makes in memory, whatever it is written in."""
    rows = "<row><a>1</a><b>鄂尔多斯市东胜区鄂尔多斯大街</b></row>" * 3
    text = f'<?xml version="1.0" encoding="utf-16"?>\n<data>{rows}</data>'
    assert sound(read(tmp_path, text, encoding)[0], AB) == [("1", "鄂尔多斯市东胜区鄂尔多斯大街")] * 3


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_f37_utf_16_without_a_mark_is_told_by_its_bytes(tmp_path: Path, encoding: str) -> None:
    text = '<?xml version="1.0" encoding="utf-16"?>\n<data><row><a>1</a><b>东胜</b></row></data>'
    assert sound(read(tmp_path, text, encoding)[0], AB) == [("1", "东胜")]


@pytest.mark.parametrize("content", ["", " \n"])
def test_an_empty_file_is_called_empty(tmp_path: Path, content: str) -> None:
    with pytest.raises(DeliveryRefused, match="文件是空的"):
        read(tmp_path, content)
