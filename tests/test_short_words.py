"""F-37: where words are short, GB18030 is often valid UTF-8 as well (女 is ``Ů``): a table is read right or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from delivering import aside, expect, read_bytes, sound
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_formats_dbf import make_dbf

from guiji.errors import DeliveryRefused
from guiji.misread import common_characters
from guiji.sources.formats.mojibake import is_valid

Table = Sequence[tuple[str, str]]
COLUMNS = ("id", "word")
BOTH = sorted(c for c in common_characters() if is_valid(c.encode("gb18030"), "utf-8"))
ONE = sorted(c for c in common_characters() if c not in BOTH)


def write_dbf(rows: Table, encoding: str) -> bytes:
    columns = [("id", "C", 5, 0), ("word", "C", 30, 0)]
    return make_dbf(columns, [(i.encode(), w.encode(encoding)) for i, w in rows])


def write_sql(rows: Table, encoding: str) -> bytes:
    made = "CREATE TABLE `t` (`id` varchar(9), `word` varchar(30));\n"
    return (made + "".join(f"INSERT INTO `t` VALUES ('{i}','{w}');\n" for i, w in rows)).encode(encoding)


def write_html(rows: Table, encoding: str) -> bytes:
    cells = "".join(f"<tr><td>{i}</td><td>{w}</td></tr>\n" for i, w in (COLUMNS, *rows))
    return f"<table>\n{cells}</table>\n".encode(encoding)


FORMS: dict[str, Callable[[Table, str], bytes]] = {
    "csv": lambda rows, encoding: "".join(f"{i},{w}\n" for i, w in (COLUMNS, *rows)).encode(encoding),
    "json": lambda rows, encoding: json.dumps(
        [dict(zip(COLUMNS, r, strict=True)) for r in rows], ensure_ascii=False
    ).encode(encoding),
    "jsonl": lambda rows, encoding: "".join(
        json.dumps(dict(zip(COLUMNS, r, strict=True)), ensure_ascii=False) + "\n" for r in rows
    ).encode(encoding),
    "dbf": write_dbf,
    "sql": write_sql,
    "html": write_html,
}


def read(
    tmp_path: Path, form: str, content: bytes, encoding: str = "auto"
) -> tuple[list[tuple[str, ...]], list[tuple[int, str]]]:
    expected = expect(*COLUMNS)
    more = {"table": "t", "dialect": "mysql"} if form == "sql" else {}
    rows, _ = read_bytes(tmp_path, content, expected, f"a.{form}", type=form, encoding=encoding, **more)
    return sound(rows, expected), aside(rows)


def number(words: Sequence[str]) -> Table:
    return [(str(n), word) for n, word in enumerate(words)]


def test_many_common_characters_are_both() -> None:
    assert {"女", "微", "小", "未", "通", "路", "水"} <= set(BOTH)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("words", ["大中小微", "男女", "是否未"])
def test_f37_a_column_of_short_codes_is_read_as_it_is(tmp_path: Path, form: str, words: str) -> None:
    """Nearly all of them the ones that are both, as most people's firms are small ones."""
    rows = number([words[0], *(c for c in words for _ in range(300 if c in BOTH else 10))])
    assert read(tmp_path, form, FORMS[form](rows, "gb18030")) == (rows, [])
    assert read(tmp_path, form, FORMS[form](rows, "utf-8")) == (rows, [])


@pytest.mark.parametrize("form", [f for f in FORMS if f != "html"])
def test_f37_where_all_words_are_both_the_catalog_decides(tmp_path: Path, form: str) -> None:
    rows = number(["女", "女", "小微"] * 100)
    content = FORMS[form](rows, "gb18030")
    assert read(tmp_path, form, content, "gb18030") == (rows, [])
    with pytest.raises(DeliveryRefused, match="文件中的文字太少，无法判断编码") as refused:
        read(tmp_path, form, content)
    assert refused.value.rule_id == "delivery.encoding"


def test_f37_of_a_page_whose_words_are_all_both_its_charset_decides(tmp_path: Path) -> None:
    rows = number(["女", "小微"])
    page = FORMS["html"](rows, "gb18030")
    assert read(tmp_path, "html", b'<meta charset="gbk">' + page) == (rows, [])
    with pytest.raises(DeliveryRefused, match="文件中的文字太少，无法判断编码"):
        read(tmp_path, "html", page)


words = st.lists(
    st.text(st.sampled_from([*BOTH, *ONE[:: len(ONE) // len(BOTH)]]), min_size=1, max_size=3), min_size=1, max_size=8
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words, st.sampled_from(sorted(FORMS)), st.sampled_from(["gb18030", "utf-8"]))
def test_f37_no_table_of_short_words_is_read_wrongly(tmp_path: Path, some: list[str], form: str, encoding: str) -> None:
    rows = number(some)
    found, left, refusal = [], [], ""
    try:
        found, left = read(tmp_path, form, FORMS[form](rows, encoding))
    except DeliveryRefused as refused:
        refusal = str(refused.rule_id)
    assert set(found) <= set(rows)
    assert len(found) + len(left) == (0 if refusal else len(rows))
    assert refusal in ("", "delivery.encoding", "delivery.half_a_file")


def test_f37_lines_of_gb18030_behind_lines_of_utf_8_are_all_set_aside(tmp_path: Path) -> None:
    """Not only those that are no UTF-8: 女 would be ``Ů``."""
    ours = number(["张三", "李四"] * 50)
    theirs = [(str(n), word) for n, word in enumerate(["男", "女", "女"], 100)]
    content = FORMS["csv"](ours, "utf-8") + "".join(f"{i},{w}\n" for i, w in theirs).encode("gb18030")
    assert read(tmp_path, "csv", content) == (ours, [(102, "encoding"), (103, "encoding"), (104, "encoding")])


@pytest.mark.parametrize("form", FORMS)
def test_f37_signs_of_units_say_nothing_and_real_chinese_does(tmp_path: Path, form: str) -> None:
    """m² would be m虏 in GB18030, ± 卤 and é 茅."""
    rows = number(["m²", "±", "café", "张三"] * 30)
    assert read(tmp_path, form, FORMS[form](rows, "utf-8")) == (rows, [])
    alone = FORMS[form](number(["m²", "±"] * 30), "utf-8")
    with pytest.raises(DeliveryRefused, match="文件中的文字太少，无法判断编码"):
        read(tmp_path, form, alone)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize(
    "damaged", [b"\xe6\xb8", "张三".encode("gb18030"), b"caf\xe9 "], ids=["cut", "gb18030", "latin-1"]
)
def test_f37_one_damaged_line_costs_no_other_line(tmp_path: Path, form: str, damaged: bytes) -> None:
    rows = number([*["m²", "±", "张三"] * 20, "MARK", *["m²", "一"] * 10])
    content = FORMS[form](rows, "utf-8").replace(b"MARK", damaged)
    good = [row for row in rows if row[1] != "MARK"]
    for encoding in ("auto", "utf-8"):
        assert read(tmp_path, form, content, encoding) == (good, [(62 if form == "csv" else 61, "encoding")])
    signs = FORMS[form](number([*["m²"] * 60, "MARK"]), "utf-8").replace(b"MARK", damaged)
    assert len(read(tmp_path, form, signs, "utf-8")[0]) == 60
    with pytest.raises(DeliveryRefused, match="文件中的文字太少，无法判断编码"):
        read(tmp_path, form, signs)


@pytest.mark.parametrize("encoding", ["gb18030", "utf-8"])
def test_f37_a_few_lines_of_chinese_in_a_long_file_tell_its_encoding(tmp_path: Path, encoding: str) -> None:
    """However they lie to the lines that a sample would take."""
    words = ["x" * 40] * 40_000
    for at in (1, 777, 20_001, 33_333, 39_999):
        words[at] = "冯国兰"
    rows = number(words)
    assert read(tmp_path, "csv", FORMS["csv"](rows, encoding)) == (rows, [])


def test_f37_words_that_are_both_behind_megabytes_of_ascii_are_not_guessed(tmp_path: Path) -> None:
    rows = number([*["x" * 60] * 80_000, "女"])
    content = FORMS["csv"](rows, "gb18030")
    assert read(tmp_path, "csv", content, "gb18030") == (rows, [])
    with pytest.raises(DeliveryRefused, match="文件中的文字太少，无法判断编码"):
        read(tmp_path, "csv", content)
