"""Text in an encoding of another language, which GB18030 reads without an error and wrongly (F-37).

Nearly every pair of bytes is some character of GB18030, so what comes of Japanese, Korean, Cyrillic or Big5 text is judged
by what no Chinese text does: rare characters only, or common ones of a part of the alphabet only. Measured on place names,
trades and nationalities in samples of every size: of Chinese text at least 77 of a hundred are common, 94 in Korean's part
of the table at most.
"""

from __future__ import annotations

import math
from collections import Counter

from guiji.errors import DeliveryRefused
from guiji.misread import common_characters

#: how much of a file is looked at, in characters beyond ASCII
SAMPLE = 200_000
#: different Chinese characters from which on a sample is judged by how common they are, and by where they stand
FEW, MANY, VERY_MANY = 10, 20, 70
#: fewer of them that all stand in Korean's part are doubted where nobody declared an encoding
DOUBTED = 15


def refuse_foreign(text: str, declared: str, what: str) -> None:
    """Raises DeliveryRefused where ``text``, decoded as GB18030, can't be Chinese; and, where no encoding is ``declared``
    (``auto``), where it is too little to tell and nothing speaks for Chinese."""
    counts = Counter(c for c in text if not c.isascii())
    han = {c: n for c, n in counts.items() if "\u3400" <= c <= "\u9fff"}
    if not han:
        return
    kana = sum(n for c, n in counts.items() if "\u3041" <= c <= "\u30fe")
    private = sum(n for c, n in counts.items() if "\ue000" <= c <= "\uf8ff")
    share = _share_common(han)
    mixed = private + kana > 0.2 * (sum(han.values()) + private + kana)  # as in Big5
    if (len(han) >= FEW and share < 0.65) or (len(han) >= 3 and (share < 0.1 or (mixed and share < 0.8))):
        raise _foreign(what, "Big5、Shift-JIS 等其他文字的编码")
    if kana >= 5 and kana > 0.1 * (sum(han.values()) + kana):
        raise _foreign(what, "日文编码（EUC-JP）")
    if language := _tell_by_place([c.encode("gb18030") for c in han if c in common_characters()], declared):
        raise too_few_words(what) if language == "?" else _foreign(what, language)
    if declared == "auto" and len(han) < FEW and share < 0.5:
        raise too_few_words(what)


def _tell_by_place(codes: list[bytes], declared: str) -> str:
    """Which encoding takes a part of the table only, as these codes of different common characters do: no sample of
    Chinese text of that size does. ``?`` where they are too few to say so, "" where nothing speaks against Chinese."""
    if len(codes) < DOUBTED:
        return ""
    # Korean syllables end at C8, where Chinese has come to the letter R of its alphabet; Japanese characters of the second
    # level begin at D0, where Chinese has X, Y and Z; Cyrillic letters are C0 to DF
    korean = sum(code[0] <= 0xC8 for code in codes) / len(codes)
    japanese = sum(code[0] < 0xD0 or code[0] > 0xD7 for code in codes) / len(codes)
    cyrillic = sum(0xC0 <= code[1] <= 0xDF for code in codes) / len(codes)
    if len(codes) >= MANY and korean > 0.97:
        return "韩文编码（EUC-KR）"
    if len(codes) >= MANY and cyrillic > 0.97:
        return "西里尔文编码（KOI8-R）"
    if len(codes) >= VERY_MANY and japanese > 0.98:
        return "日文编码（EUC-JP）"
    return "?" if declared == "auto" and korean == 1 else ""


def too_few_words(what: str) -> DeliveryRefused:
    """The error for a file whose words don't say in which encoding they are."""
    return DeliveryRefused(
        f"{what}：文件中的文字太少，无法判断编码是 UTF-8 还是 GB18030。现有数据继续有效；"
        "请另存为带 BOM 的 UTF-8 后重新提供，或在资源目录中登记编码。",
        rule_id="delivery.encoding",
    )


def _foreign(what: str, language: str) -> DeliveryRefused:
    return DeliveryRefused(
        f"{what}：文字像是{language}，不是 UTF-8 或 GB18030，无法正确读出文字。现有数据继续有效；"
        "请另存为 UTF-8 或 GB18030 编码后重新提供。",
        rule_id="delivery.encoding",
    )


def _share_common(han: dict[str, int]) -> float:
    """Share of common characters; one that comes often counts more, but not by its number: a code may be in every row."""
    common = common_characters()
    weights = {c: math.log1p(n) for c, n in han.items()}
    return sum(w for c, w in weights.items() if c in common) / sum(weights.values())
