"""Text in an encoding of another language, which GB18030 reads without an error and wrongly (F-37).

Nearly every pair of bytes is some character of GB18030. So a file is another language's where two things come together:
as GB18030 it is no Chinese (rare characters only, or common ones of one part of the table only), and in that language's
encoding it is text. Measured on place names, trades and nationalities in samples of every size: of Chinese text at least
77 of a hundred characters are common, and 91 at most stand where Korean does. Rare characters alone refuse nothing.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from guiji.errors import DeliveryRefused
from guiji.misread import common_characters

#: how much of a file is looked at, in bytes
_SAMPLE = 400_000
#: different Chinese characters from which on a sample is judged by how common they are, and by where they stand
FEWEST, FEW, MANY, VERY_MANY = 3, 10, 20, 70
#: fewer of them that all stand in Korean's part are doubted where nobody declared an encoding
DOUBTED = 15


def refuse_foreign(texts: Iterable[bytes], declared: str, what: str) -> None:
    """Raises DeliveryRefused where ``texts``, lines or cells of the file, are another language's; and, where no encoding
    is ``declared`` (``auto``), where they are too few to tell."""
    lines = _take_words(texts)
    counts = Counter(c for c in b"\n".join(lines).decode("gb18030", "ignore") if not c.isascii())
    han = {c: n for c, n in counts.items() if "\u3400" <= c <= "\u9fff"}
    if len(han) < FEWEST:
        return
    kana = sum(n for c, n in counts.items() if "\u3041" <= c <= "\u30fe")
    private = sum(n for c, n in counts.items() if "\ue000" <= c <= "\uf8ff")
    share = _share_common(han)
    mixed = private + kana > 0.2 * (sum(han.values()) + private + kana)  # as of Big5
    doubted = declared == "auto" and share < 0.34  # few words are believed where somebody said what they are
    if (share < 0.65 and len(han) >= FEW) or (mixed and share < 0.8) or doubted:
        for name, encoding, is_its in _OTHERS:
            if _is_text_of(lines, encoding, is_its):
                raise too_few_words(what) if len(han) < FEW else _foreign(what, name)
    if kana >= 5 and kana > 0.1 * (sum(han.values()) + kana):
        raise _foreign(what, "日文（EUC-JP）")
    if language := _tell_by_place([c.encode("gb18030") for c in han if c in common_characters()], declared):
        raise too_few_words(what) if language == "?" else _foreign(what, language)


def _take_words(texts: Iterable[bytes]) -> list[bytes]:
    """Those beyond ASCII, as many as are looked at."""
    taken, size = [], 0
    for text in texts:
        if not text.isascii():
            taken.append(text[: _SAMPLE - size])
            size += len(taken[-1])
            if size >= _SAMPLE:
                break
    return taken


def _tell_by_place(codes: list[bytes], declared: str) -> str:
    """Which encoding takes a part of the table only, as these codes of different common characters do: no sample of
    Chinese text of that size does. ``?`` where they are too few to say so, "" where nothing speaks against Chinese."""
    if len(codes) < DOUBTED:
        return ""
    # Korean syllables end at C8, where Chinese has come to the letter R of its alphabet; Japanese characters of the second
    # level begin at D0, where Chinese has X, Y and Z; Cyrillic letters are C0 to DF
    korean = sum(0xB0 <= code[0] <= 0xC8 for code in codes) / len(codes)
    japanese = sum(0xB0 <= code[0] < 0xD0 or code[0] > 0xD7 for code in codes) / len(codes)
    cyrillic = sum(0xC0 <= code[1] <= 0xDF for code in codes) / len(codes)
    if len(codes) >= MANY and korean > 0.97:
        return "韩文（EUC-KR）"
    if len(codes) >= MANY and cyrillic > 0.97:
        return "西里尔文（KOI8-R）"
    if len(codes) >= VERY_MANY and japanese > 0.98:
        return "日文（EUC-JP）"
    return "?" if declared == "auto" and korean == 1 else ""


def too_few_words(what: str) -> DeliveryRefused:
    """The error for a file whose words don't say in which encoding they are."""
    return DeliveryRefused(
        f"{what}：文件中的文字太少，无法判断编码。现有数据继续有效；"
        "请另存为带 BOM 的 UTF-8 后重新提供，或在资源目录中登记编码。",
        rule_id="delivery.encoding",
    )


def _foreign(what: str, language: str) -> DeliveryRefused:
    return DeliveryRefused(
        f"{what}：文件编码像是{language}，不是 UTF-8 或 GB18030，无法正确读出文字。现有数据继续有效；"
        "请另存为 UTF-8 或 GB18030 编码后重新提供。",
        rule_id="delivery.encoding",
    )


def _share_common(han: dict[str, int]) -> float:
    """Share of common characters; one that comes often counts more, but not by its number: a code may be in every row."""
    common = common_characters()
    weights = {c: math.log1p(n) for c, n in han.items()}
    return sum(w for c, w in weights.items() if c in common) / sum(weights.values())


# --- as what else it may be read ------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _japanese() -> frozenset[str]:
    """The kanji of the first level of JIS X 0208."""
    found = (bytes((a, b)).decode("euc_jp", "ignore") for a in range(0xB0, 0xD0) for b in range(0xA1, 0xFF))
    return frozenset(c for c in found if len(c) == 1)


def _is_japanese(c: str) -> bool:
    return "\u3041" <= c <= "\u30fe" or c in _japanese()


def _is_traditional(c: str) -> bool:
    return c in common_characters() and c >= "\u4e00"


def _is_hangul(c: str) -> bool:
    return "\uac00" <= c <= "\ud7a3"


def _is_cyrillic(c: str) -> bool:
    return "\u0400" <= c <= "\u045f"


def _is_thai(c: str) -> bool:
    return "\u0e01" <= c <= "\u0e5b"


def _is_latin(c: str) -> bool:
    return "\u00c0" <= c <= "\u017f" and c.isalpha()


#: name, encoding, whether a character beyond ASCII is one that such text is made of
_OTHERS: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
    ("繁体中文（Big5）", "big5", _is_traditional),
    ("日文（Shift-JIS）", "cp932", _is_japanese),
    ("韩文（Johab）", "johab", _is_hangul),
    ("西里尔文（Windows-1251）", "cp1251", _is_cyrillic),
    ("西里尔文（KOI8-R）", "koi8_r", _is_cyrillic),
    ("西里尔文（ISO 8859-5）", "iso8859_5", _is_cyrillic),
    ("西里尔文（IBM 866）", "cp866", _is_cyrillic),
    ("泰文（TIS-620）", "tis_620", _is_thai),
    ("西欧文字（Windows-1252）", "cp1252", _is_latin),
)


#: bytes beyond ASCII in a row, and what follows where it may be the second half of a character of GB18030
_BEYOND_ASCII = re.compile(rb"([\x80-\xff]+)([0-9@-~]?)")
_OF_PAIRS = ("big5", "cp932", "johab")


def _is_text_of(lines: Sequence[bytes], encoding: str, is_its: Callable[[str], bool]) -> bool:
    """True when nearly all lines can be decoded, and nearly all that is beyond ASCII in them is of that language."""
    decoded = its = others = 0
    for line in lines:
        try:
            text = line.decode(encoding)
        except UnicodeDecodeError:
            continue
        decoded += 1
        for c in text:
            # punctuation and full-width letters are no language's own
            if not c.isascii() and not "\u3000" <= c <= "\u303f" and not "\uff00" <= c <= "\uff60":
                its, others = (its + 1, others) if is_its(c) else (its, others + 1)
    if decoded <= 0.9 * len(lines):
        return False
    if encoding in _OF_PAIRS:
        return its > 0.9 * (its + others)
    # any byte is something in an encoding of single bytes: there nearly all of them must be letters of the language, and
    # words of that end with half a pair as often as not
    words = [word for line in lines for word in _BEYOND_ASCII.findall(line)]
    unpaired = sum(not second and len(word) % 2 for word, second in words)
    return its > 0.97 * (its + others) and unpaired > 0.1 * len(words)
