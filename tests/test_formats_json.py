"""JSON, JSON lines and GeoJSON: digits as written, ambiguity set aside."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from delivering import aside, expect, read_bytes, sound
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guiji.catalog.models import Format
from guiji.errors import DeliveryRefused
from guiji.records import ReadReport
from guiji.sources.columns import Expected
from guiji.sources.formats import json as json_reader
from guiji.sources.formats import json_stream, read_file

AB = expect("a", "b")


def read(
    tmp_path: Path, text: str, kind: str = "json", expected: Expected = AB
) -> tuple[list[dict[str, Any]], ReadReport]:
    return read_bytes(tmp_path, text.encode(), expected, "a.json", type=kind)


def test_f20_f49_values_keep_what_was_written(tmp_path: Path) -> None:
    text = '[{"a": 12345678901234567890, "b": 1.10}, {"a": "000123", "b": true}, {"a": null, "b": [1, {"x": 2.0}]}]'
    rows, _ = read(tmp_path, text)
    assert sound(rows, AB) == [("12345678901234567890", "1.10"), ("000123", "true"), (None, '[1, {"x": 2.0}]')]
    assert [(r["_origin"], r["_line"]) for r in rows] == [("a.json", 1), ("a.json", 2), ("a.json", 3)]


def test_f49_ambiguous_records_are_set_aside(tmp_path: Path) -> None:
    text = '[{"a": 1, "a": 2, "b": 3}, {"a": NaN, "b": 1}, 5, {"a": {"x": 1, "x": 2}, "b": 1}, {"a": "\\u0000", "b": 1}, {"a": 1, "b": 2}]'
    rows, _ = read(tmp_path, text)
    reasons = ["duplicate_key", "not_a_number", "not_a_record", "duplicate_key", "nul"]
    assert aside(rows) == list(enumerate(reasons, start=1))
    assert sound(rows, AB) == [("1", "2")]


def test_json_lines_and_wrapped_lists(tmp_path: Path) -> None:
    for text in ('{"a":1,"b":2}\n{"a":3,"b":4}\n', '{"data": [{"a":1,"b":2},{"a":3,"b":4}], "n": 2}'):
        rows, _ = read(tmp_path, text)
        assert sound(rows, AB) == [("1", "2"), ("3", "4")]
    rows, _ = read(tmp_path, '{"a":1,"b":2}\n{"a":3,\n{"a":5,"b":6}\n')
    assert aside(rows) == [(2, "not_a_record")]


def test_f33_half_a_json_is_refused(tmp_path: Path) -> None:
    whole = json.dumps([{"a": str(i), "b": "x"} for i in range(20)])
    for cut in range(1, len(whole)):
        with pytest.raises(DeliveryRefused):
            read(tmp_path, whole[:cut])


def test_geojson_gives_properties_and_the_shape_as_text(tmp_path: Path) -> None:
    expected = expect("name", {"title": "geom", "type": "geometry", "crs": "EPSG:4490", "encoding": "geojson"})
    shape = {"type": "Point", "coordinates": [109.781327, 39.608266]}
    features = [
        {"type": "Feature", "properties": {"name": "东"}, "geometry": shape},
        {"type": "Feature", "properties": {"name": "西"}, "geometry": None},
    ]
    rows, _ = read(tmp_path, json.dumps({"type": "FeatureCollection", "features": features}), "geojson", expected)
    assert [(r["name"], r["geom"] and json.loads(r["geom"])) for r in rows] == [("东", shape), ("西", None)]


def test_the_list_is_the_declared_one_or_the_only_one(tmp_path: Path) -> None:
    text = (
        '{"n": 2, "x": [9], "result": {"p": {"q": 1}, "items": [{"a":1,"b":2}, {"a":3,"b":4}], "z": [1]}, "end": "]"}'
    )
    rows, _ = read_bytes(tmp_path, text.encode(), AB, type="json", records="result.items")
    assert sound(rows, AB) == [("1", "2"), ("3", "4")]
    for content, where in (
        (text, "result.nothing"),
        ('{"x": [], "y": []}', None),
        ('{"x": [], "x": []}', None),
        ("5", None),
    ):
        with pytest.raises(DeliveryRefused) as refused:
            read_bytes(tmp_path, content.encode(), AB, type="json", **({"records": where} if where else {}))
        assert refused.value.rule_id == "delivery.structure"
    rows, _ = read_bytes(tmp_path, b'{"a": 1, "b": {"x": 2}}', AB, type="json")
    assert sound(rows, AB) == [("1", '{"x": 2}')]
    assert read_bytes(tmp_path, b"[]", AB, type="json")[0] == []


BY_COLUMNS = [
    '{"a":{"0":"1","1":"2"},"b":{"0":"x","1":"y"}}',  # DataFrame.to_json()
    '{"a":{"p1":"1","p2":"2"},"b":{"p1":"x","p2":"y"},"c":{"p1":null,"p2":null}}',
    '{"a":{},"b":{}}',
    '{"a":["1","2"],"b":["x","y"]}',
    '{"columns":["a","b"],"index":[0,1],"data":[["1","x"],["2","y"]]}',
]


@pytest.mark.parametrize("text", BY_COLUMNS)
def test_a_table_written_by_columns_is_no_record(tmp_path: Path, text: str) -> None:
    with pytest.raises(DeliveryRefused, match=r'数据是按列写的.*请按行导出.*orient="records"') as refused:
        read(tmp_path, text)
    assert refused.value.rule_id == "delivery.structure"


@pytest.mark.parametrize("text", [BY_COLUMNS[0], BY_COLUMNS[3]])
def test_nor_is_it_a_line_of_its_own(tmp_path: Path, text: str) -> None:
    with pytest.raises(DeliveryRefused, match="数据是按列写的"):
        read(tmp_path, text + "\n", "jsonl")


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_one_record_may_hold_objects_and_lists_beside_a_plain_value(tmp_path: Path, kind: str) -> None:
    rows, _ = read(tmp_path, '{"a": "1", "b": {"0": "x", "1": "y"}}', kind)
    assert sound(rows, AB) == [("1", '{"0": "x", "1": "y"}')]
    only = expect("address")
    rows, _ = read(tmp_path, '{"address": {"city": "东胜", "street": "一路"}}', kind, only)
    assert sound(rows, only) == [('{"city": "东胜", "street": "一路"}',)]
    with pytest.raises(DeliveryRefused, match="数据是按列写的"):
        read(tmp_path, '{"address": {"0": "东胜", "1": "康巴什"}}', kind, only)


@pytest.mark.parametrize("block", [1, 3, 50])
def test_where_a_block_ends_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    text = '\ufeff {"n": 12, "d": [ {"a": 1.50, "b": "x\\"]}"} , {"a": -2e5, "b": null},{"a":"中\\u4e2d","b":true} ] , "e": 3}\n'
    whole, _ = read(tmp_path, text)
    assert sound(whole, AB) == [("1.50", 'x"]}'), ("-2e5", None), ("中中", "true")]
    monkeypatch.setattr(json_stream, "BLOCK", block)
    monkeypatch.setattr(json_reader, "BATCH_ROWS", 2)
    assert read(tmp_path, text)[0] == whole


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "empty"),
        ('[{"a":1,"b":2}', "half_a_file"),
        ('[{"a":1,"b":2},', "half_a_file"),
        ('{"d":[{"a":1,"b":"', "half_a_file"),
        ('[{"a":1,"b":2}]]', "structure"),
        ('[{"a":1,"b":2},]', "structure"),
        ('[{"a":1,"b":2,}]', "structure"),
        ("[{'a':1,'b':2}]", "structure"),
        ('[{"a":1,"b":"x\ny"}]', "structure"),
        ('[{"a":1,"b":"C:\\dir"}]', "structure"),
        ('[/* all */{"a":1,"b":2}]', "structure"),
        ('[{"a":01,"b":2}]', "structure"),
        ('[{"a":1,"b":2} {"a":1,"b":2}]', "structure"),
        ("{a: 1}", "structure"),
        ("<html>502 Bad Gateway</html>" * 9, "structure"),
        ("[" + "[" * 200_000 + "]" * 200_000 + "]", "structure"),
    ],
)
def test_what_is_no_json_or_half_of_it_is_refused(tmp_path: Path, text: str, rule: str) -> None:
    with pytest.raises(DeliveryRefused) as refused:
        read(tmp_path, text)
    assert refused.value.rule_id == f"delivery.{rule}"


def test_f33_json_that_breaks_off_anywhere_is_half_a_file(tmp_path: Path) -> None:
    text = '[{"a": -12.5e-3, "b": ["x\\u4e2d\\n\\"\\\\", true, false, null, {}]}]'
    assert len(read(tmp_path, text)[0]) == 1
    for end in range(1, len(text)):
        with pytest.raises(DeliveryRefused) as refused:
            read(tmp_path, text[:end])
        assert refused.value.rule_id == "delivery.half_a_file", text[:end]


def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "BLOCK", 1 << 12)
    monkeypatch.setattr(json_reader, "BATCH_ROWS", 200)
    path = tmp_path / "x"

    def peak(records: int) -> int:
        joined = ",\n".join(f'{{"a": {i}, "b": "鄂尔多斯"}}' for i in range(records))
        path.write_text(f"[{joined}]", encoding="utf-8")
        tracemalloc.start()
        count = sum(b.num_rows for b in read_file(path, "x", AB, Format(type="json"), ReadReport()))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == records
        return found

    peak(500)  # imports
    small, large = peak(2_000), peak(10_000)
    assert large < small * 1.3


@pytest.mark.parametrize("tags", ["[]", '["x", "y"]', '[{"k": 1}]'])
def test_a_record_with_a_list_in_it_is_no_list_of_records(tmp_path: Path, tags: str) -> None:
    """Of an empty one no row came, and nothing said so."""
    for text in (f'{{"a": "1", "b": "2", "tags": {tags}}}', f'{{"a": "1", "b": "2", "c": "3", "tags": {tags}}}'):
        with pytest.raises(DeliveryRefused, match="整个文件是一条记录，其中的“tags”是列表") as refused:
            read(tmp_path, text)
        assert refused.value.rule_id == "delivery.structure"
    around = '{"a": "of the answer", "data": [{"a": "1", "b": "2"}]}'
    rows, _ = read(tmp_path, around)
    assert sound(rows, AB) == [("1", "2")]


def read_lines(tmp_path: Path, content: bytes, **more: str) -> tuple[list[dict[str, Any]], ReadReport]:
    return read_bytes(tmp_path, content, AB, "a.jsonl", type="jsonl", **more)


def test_json_lines_keep_their_lines_and_broken_ones_are_set_aside(tmp_path: Path) -> None:
    content = (
        '\ufeff{"a": 1, "b": "中\u2028文"}\r\n\n{"a": 2,\n[1]\n{"b": null}\n{"a": 1, "a": 2, "b": 1}\n'.encode()
        + b'{"a": "\xff\xfe", "b": 1}\n{"a": NaN, "b": 1}\n{"a": 9, "b": 0.10}'
    )
    rows, report = read_lines(tmp_path, content)
    assert [(r["_line"], r["a"], r["b"]) for r in rows if not r["_broken"]] == [
        (1, "1", "中\u2028文"),
        (5, None, None),
        (9, "9", "0.10"),
    ]
    assert aside(rows) == [
        *((3, "not_a_record"), (4, "not_a_record"), (6, "duplicate_key"), (7, "encoding"), (8, "not_a_number")),
    ]
    assert report.skipped == {"blank": 1}


def test_f33_half_of_json_lines_is_refused(tmp_path: Path) -> None:
    whole = b"".join(b'{"a": "%d", "b": "x"}\n' % i for i in range(3))
    for cut in range(len(whole)):
        if whole[:cut].endswith((b"\n", b"}")):
            assert len(read_lines(tmp_path, whole[:cut])[0]) == whole[:cut].count(b"}")
            continue
        with pytest.raises(DeliveryRefused):
            read_lines(tmp_path, whole[:cut])
    for content, rule in ((b"a,b\n1,2\n", "structure"), (b'{"a": 1, "c": 2}\n', "missing_column")):
        with pytest.raises(DeliveryRefused) as refused:
            read_lines(tmp_path, content)
        assert refused.value.rule_id == f"delivery.{rule}"


text = st.text(st.characters(exclude_categories=("Cs", "Co"), exclude_characters="\x00\ufffd"), max_size=8).filter(
    lambda t: "锟斤拷" not in t
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(text, st.none() | text), min_size=1, max_size=6), st.booleans())
def test_any_table_comes_back(tmp_path: Path, table: list[tuple[str, str | None]], ascii_only: bool) -> None:
    content = json.dumps([{"a": a, "b": b} for a, b in table], ensure_ascii=ascii_only)
    rows, _ = read_bytes(tmp_path, content.encode(), AB, "a.json", type="json", encoding="utf-8")
    assert sound(rows, AB) == table


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(text, st.none() | text), min_size=1, max_size=6),
    st.booleans(),
    st.sampled_from(["utf-8", "gb18030"]),
)
def test_any_table_comes_back_from_lines(
    tmp_path: Path, table: list[tuple[str, str | None]], ascii_only: bool, encoded: str
) -> None:
    content = "".join(json.dumps({"a": a, "b": b}, ensure_ascii=ascii_only) + "\n" for a, b in table).encode(encoded)
    is_both = encoded == "gb18030" and not content.isascii() and is_utf8(content)
    if not is_both:  # then either encoding would be a guess
        rows, _ = read_lines(tmp_path, content, encoding=encoded)
        assert sound(rows, AB) == table


def is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_f19_a_number_written_with_an_exponent_is_no_text(tmp_path: Path) -> None:
    content = b'[{"a":"1","b":1e15,"n":1e15},{"a":"2","b":1E400},{"a":"3","b":-1.1e17},{"a":"4","b":1.5e1},{"a":"5","b":"1e15"}]'
    expected = expect("a", "b", {"title": "n", "type": "float64", "required": False})
    rows, _ = read_bytes(tmp_path, content, expected, "a.json", type="json")
    assert aside(rows) == [(n, "precision_lost") for n in (1, 2, 3)]
    assert sound(rows, expected) == [("4", "1.5e1", None), ("5", "1e15", None)]
    kept = [{"a": "1", "n": 1e15}]
    rows, _ = read_bytes(
        tmp_path, json.dumps(kept).encode(), expect("a", {"title": "n", "type": "float64"}), "b.json", type="json"
    )
    assert aside(rows) == []


@pytest.mark.parametrize("kind", ["json", "jsonl"])
@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"b":2}{"a":3,"b":4}',
        '{\n "a": 1,\n "b": 2\n}\n{\n "a": 3,\n "b": 4\n}\n',
        '{"a":1,\n"b":2} {"a":3,"b":4}',
        '[{"a":1,"b":2},{"a":3,"b":4}]',
        '[{"a":1,"b":2},\n{"a":3,"b":4}]\n',
        '{"a":1,"b":2}\n{"a":3,"b":4}',
    ],
)
def test_records_are_read_however_they_stand_behind_one_another(tmp_path: Path, kind: str, text: str) -> None:
    """A department that exports its records in lines one month and as a list the next is not told to be wrong."""
    rows, _ = read(tmp_path, text, kind)
    assert (sound(rows, AB), aside(rows)) == ([("1", "2"), ("3", "4")], [])


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[{"a":1,"b":2},]', "第 1 行第 16 个字符起"),
        ('[\n  {"a": 1,\n   "b": 01}\n]', "第 3 行第 10 个字符起"),
        ("[\n" + '{"a":1,"b":2},\n' * 300 + '{"a":x,"b":2}]', "第 302 行第 6 个字符起"),
        ('{"a":1,"b":2},\n{"a":3,"b":4},\n', "第 1 行第 14 个字符起"),
        ('[{"a":1,"b":2}]\n[{"a":1,"b":2}]', "第 2 行第 1 个字符起"),
        ('{"a":1,\n"b":2}\n{"a":1,"b":2}\n{"a":1;"b":2}', "第 4 行第 7 个字符起"),
    ],
)
@pytest.mark.parametrize("block", [7, 1 << 20])
def test_what_is_no_json_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, place: str, block: int
) -> None:
    monkeypatch.setattr(json_stream, "BLOCK", block)
    with pytest.raises(DeliveryRefused, match=place):
        read(tmp_path, text)


def test_f49_a_number_that_is_none_is_found_at_any_depth(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, '[{"a": [1, {"z": NaN}], "b": 1}, {"a": 1, "b": 2}]')
    assert (aside(rows), sound(rows, AB)) == ([(1, "not_a_number")], [("1", "2")])


def test_a_number_as_java_writes_it_is_the_number(tmp_path: Path) -> None:
    """Java's doubles from ten million on have an exponent: 12345678.9 is 1.23456789E7."""
    expected = expect("a", {"title": "n", "type": "decimal128(18,2)"}, {"title": "i", "type": "int64"})
    text = '[{"a":"x","n":1.23456789E7,"i":1.0E7},{"a":"y","n":1E-3,"i":-2e0},{"a":"z","n":1e15,"i":1E-400}]'
    rows, _ = read(tmp_path, text, expected=expected)
    assert sound(rows, expected) == [("x", "12345678.9", "10000000"), ("y", "0.001", "-2"), ("z", "1e15", "1E-400")]


def test_f37_words_that_all_stand_in_the_last_line_tell_the_encoding(tmp_path: Path) -> None:
    for text in ('[\n{"a":"东胜区","b":"鄂尔多斯大街"}]', '{"a":1,"b":2}\n{"a":"东胜区","b":"鄂尔多斯大街"}'):
        for encoding in ("gb18030", "utf-8"):
            rows, _ = read_bytes(tmp_path, text.encode(encoding), AB, "a.json", type="json")
            assert (sound(rows, AB)[-1], aside(rows)) == (("东胜区", "鄂尔多斯大街"), [])


def test_f37_a_line_that_cannot_be_decoded_is_kept_as_it_was_for_who_mends_it(tmp_path: Path) -> None:
    good = "".join(f'{{"姓名": "人{n}", "编号": "{n}"}}\n' for n in range(60)).encode()
    content = good + b'{"\xe5\xa7\x93\xe5\x90\x8d": "\xff\xfe\xc1", "n": 1}\n' + good
    rows, _ = read_bytes(tmp_path, content, expect("姓名", "编号"), "x.jsonl", type="jsonl")
    (broken,) = [r for r in rows if r["_broken"]]
    assert (broken["_line"], broken["_broken"]) == (61, "structure.encoding")
    assert broken["_raw"].startswith('{"姓名": "\\xff\\xfe\\xc1"')
