"""F-37: text of other languages' encodings, and single cells that were decoded wrongly, are told; Chinese never is."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest
from delivering import expect, read_bytes, sound
from staged_package import check_cells, read_accepted, read_rejected

from guiji.catalog.fingerprint import CODES
from guiji.errors import DeliveryRefused
from guiji.misread import is_misread

ABC = expect("id", "name", "place")
KOREAN = (
    "김민수,이영희,박철수,최지우,정하늘,강바다,조현우,윤서연,장미란,서울특별시,강남구,부산광역시,해운대구,대구,인천,광주,대전,울산,"
    "경기도,수원시,성남시,주소,이름,전화번호,남자,여자,생년월일,주식회사,삼성전자,대한민국,학교,선생님,병원"
)
JAPANESE = (
    "山田太郎,佐藤花子,鈴木一郎,東京都,新宿区,大阪府,株式会社,トヨタ自動車,みどり,さくら,住所,氏名,電話番号,生年月日,学校,"
    "先生,病院,医師,道路,建物,ひばりが丘,つつじ野,北海道,京都市,中央区"
)
RUSSIAN = "Иванов,Петров,Сидоров,Москва,Улаанбаатар,хот,байр,утас,нэр,овог,хаяг,Россия,улица,дом,квартира,телефон"
TAIWANESE = "臺北市,大安區,信義路,陳怡君,林志明,黃淑芬,張雅婷,王建國,公司,電話,地址,姓名,出生日期,學校,醫院,道路,建築物,高雄市,臺中市"
WESTERN = "José,Müller,François,Jérôme,Björk,Straße,Élodie,Señora,Peña,Gómez,Núñez,Tromsø,Århus,Düsseldorf"


def names_of(table: str) -> list[str]:
    with (CODES / f"{table}.csv").open(encoding="utf-8") as f:
        rows = csv.DictReader(line for line in f if not line.startswith("#"))
        return [row["name"] for row in rows]


CHINESE = [n for table in ("division", "industry", "ethnic") for n in names_of(table) if n]


def write_table(words: str, rows: int, seed: int) -> str:
    some, pool = random.Random(seed), words.split(",")
    lines = [f"{n},{some.choice(pool)},{some.choice(pool)}" for n in range(rows)]
    return "\n".join(("id,name,place", *lines)) + "\n"


@pytest.mark.parametrize("declared", ["auto", "gb18030"])
@pytest.mark.parametrize(
    ("words", "encoding", "rows"),
    [
        (KOREAN, "euc_kr", 10),
        (KOREAN, "johab", 10),
        (JAPANESE, "shift_jis", 10),
        (JAPANESE, "euc_jp", 60),  # its Chinese characters stand where GB2312 has other ones, and kana tell it
        (RUSSIAN, "cp1251", 10),
        (RUSSIAN, "koi8_r", 10),
        (RUSSIAN, "iso8859_5", 10),
        (TAIWANESE, "big5", 10),
    ],
    ids=lambda v: v if isinstance(v, str) and v.isascii() else "",
)
def test_f37_a_file_in_another_language_s_encoding_is_refused(
    tmp_path: Path, words: str, encoding: str, rows: int, declared: str
) -> None:
    for seed in range(20):
        content = write_table(words, rows * (1 + seed % 3 * 10), seed).encode(encoding)
        with pytest.raises(DeliveryRefused, match="现有数据继续有效") as refused:
            read_bytes(tmp_path, content, ABC, encoding=declared)
        assert refused.value.rule_id == "delivery.encoding"


@pytest.mark.parametrize("declared", ["auto", "gb18030"])
@pytest.mark.parametrize(
    "words",
    [
        "萘,苊,苊烯,芴,菲,蒽,荧蒽,芘,苯并蒽,䓛,苯并荧蒽,苯并芘,茚并芘,二苯并蒽,苯并苝",
        "䴙䴘,鸬鹚,苍鹭,池鹭,鸳鸯,鹗,鸢,鹞,隼,鹌鹑,鸻,鹬,鸥,鸮,鸺鹠,翡翠,鹡鸰,鹀,鸫,鹪鹩",
        "鲢,鳙,鲫,鳊,鲂,鳜,鲶,鳢,鲈,鲟,鲮,鲳,鲷,鳎,鲽,鲻,鳗",
    ],
    ids=["chemicals", "birds", "fish"],
)
def test_f37_rare_names_are_chinese_and_no_language_of_single_bytes(tmp_path: Path, words: str, declared: str) -> None:
    """As ISO 8859-5 or TIS-620 they are letters to the last byte, but words of an even number of them only."""
    rows = [(str(n), word, "") for n, word in enumerate(words.split(","))]
    content = "\n".join(",".join(row) for row in (("id", "name", "place"), *rows)) + "\n"
    read, _ = read_bytes(tmp_path, content.encode("gb18030"), ABC, encoding=declared)
    assert sound(read, ABC) == rows


@pytest.mark.parametrize("declared", ["auto", "gb18030"])
@pytest.mark.parametrize("rows", [1, 10, 300])
def test_f37_accents_of_western_languages_never_become_chinese(tmp_path: Path, rows: int, declared: str) -> None:
    content = write_table(WESTERN, rows, rows).encode("latin-1")
    try:
        read, _ = read_bytes(tmp_path, content, ABC, encoding=declared)
    except DeliveryRefused:
        return
    cells = [cell for row in sound(read, ABC) for cell in row[1:] if cell and not cell.isascii()]
    assert read_accepted(check_cells(tmp_path / "cells", {}, cells), "value") == []


@pytest.mark.parametrize("declared", ["auto", "gb18030"])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 10, 40, 400])
def test_f37_chinese_under_an_ascii_header_is_read_however_little_there_is(
    tmp_path: Path, rows: int, declared: str
) -> None:
    some = random.Random(rows)
    for _ in range(60 if rows < 100 else 5):
        at = some.randrange(len(CHINESE) - rows)
        lines = [f"{n},{word}街道,{word}" for n, word in enumerate(CHINESE[at : at + rows])]
        content = "\n".join(("id,name,place", *lines)) + "\n"
        read, _ = read_bytes(tmp_path, content.encode("gb18030"), ABC, encoding=declared)
        assert sound(read, ABC) == [tuple(line.split(",")) for line in lines]


def test_f37_traditional_characters_in_gb18030_are_chinese(tmp_path: Path) -> None:
    for seed, rows in enumerate((1, 3, 30, 300)):
        text = write_table(TAIWANESE, rows, seed)
        read, _ = read_bytes(tmp_path, text.encode("gb18030"), ABC)
        assert sound(read, ABC) == [tuple(line.split(",")) for line in text.splitlines()[1:]]


# --- one cell -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["gbk", "gb18030"])
@pytest.mark.parametrize("lost", ["dropped", "?"])
def test_f37_a_cell_of_utf_8_read_as_gbk_is_found_and_no_name_is_taken_for_one(encoding: str, lost: str) -> None:
    assert [name for name in CHINESE if is_misread(name)] == []
    names = [n for n in CHINESE if len(n) >= 3]
    garbled = [n.encode().decode(encoding, "replace").replace("\ufffd", "?" if lost == "?" else "") for n in names]
    found = sum(map(is_misread, garbled))
    assert found >= 0.96 * len(garbled), f"{found} of {len(garbled)}"


def test_f37_a_two_character_name_read_wrongly_is_found_where_no_name_looks_like_it() -> None:
    names = [a + b for a in "张王李赵陈杨吴刘" for b in "伟芳敏静强磊军洋勇艳杰娟涛明超"]
    garbled = [n.encode().decode("gb18030") for n in names]
    assert sum(map(is_misread, garbled)) >= 0.95 * len(garbled)
    assert not any(map(is_misread, names))
    assert not is_misread("璐板安")  # a rare name that is 贰尲 by accident


def test_f37_one_garbled_cell_among_good_ones_is_set_aside_with_its_rule(tmp_path: Path) -> None:
    good = ["张三", "璐板安", "鄂尔多斯市东胜区3号楼", "Müller", "~{", "A座(东)", "臺北市", "a~b", "i賣app", "n選k"]
    garbled = [
        "张小明".encode().decode("gbk", "ignore"),
        "东胜区民族街道12号".encode().decode("gbk", "ignore"),
        "Müller".encode("latin-1").decode("gb18030"),
        "~{VPND~}",
        "\x1b$B;3ED\x1b(B",
    ]
    cells = [*good[:4], *garbled, *good[4:]]
    checked = check_cells(tmp_path, {}, cells)
    assert read_rejected(checked) == {n: ["value.garbled"] for n in range(5, 10)}
    assert read_accepted(checked, "value") == [(g,) for g in good]


def test_f37_rare_characters_alone_refuse_no_file_that_is_declared(tmp_path: Path) -> None:
    some = random.Random(5)
    for n in (1, 4, 12, 60):
        names = ["".join(chr(some.randrange(0x4E00, 0x9FA6)) for _ in range(3)) for _ in range(n)]
        text = "id,name,place\n" + "".join(f"{i},{name},{name}\n" for i, name in enumerate(names))
        read, _ = read_bytes(tmp_path, text.encode("gb18030"), ABC, encoding="gb18030")
        assert sound(read, ABC) == [(str(i), name, name) for i, name in enumerate(names)]
