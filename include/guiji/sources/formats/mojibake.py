"""Text in another encoding than it seems: what such a file or line shows, beyond accident (F-37).

UTF-8 often decodes as GB18030 without an error, only wrongly; other languages' encodings are told in ``foreign``.
"""

from __future__ import annotations

import codecs
import re

from guiji.errors import DeliveryRefused
from guiji.misread import common_characters

_CHINESE = re.compile(rb"(?:[\xe4-\xe9][\x80-\xbf]{2}){2,}")


def refuse_mojibake(sample: bytes, encoding: str, what: str) -> None:
    """Raises DeliveryRefused for text that was decoded wrongly before it was written (UTF-8 read as GB18030 or Latin-1).

    Judged over the file, never over one cell: a short name can look like this by accident, half of all lines can't."""
    suspicious = lines = 0
    for line in sample.split(b"\n")[:-1]:
        if line.isascii():
            continue
        foreign = "".join(c for c in line.decode(encoding, "ignore") if not c.isascii())
        lines += 1
        suspicious += any(_looks_read_as(foreign, wrong) for wrong in ("gb18030", "cp1252", "latin-1"))
        if lines == 2000:
            break
    if suspicious > 2 and suspicious * 2 > lines:
        raise DeliveryRefused(
            f"{what}：文字是乱码（在导出或转换时已按错误的编码读过一次）。现有数据继续有效；"
            "请从业务系统重新导出，保存为 UTF-8 或 GB18030 后重新提供。",
            rule_id="delivery.garbled",
        )


def _looks_read_as(text: str, wrong: str) -> bool:
    """True when ``text`` in the encoding ``wrong`` is nearly all Chinese in UTF-8."""
    raw = text.encode(wrong, "ignore")
    chinese = count_cjk(raw.decode("utf-8", "ignore"))
    return chinese >= 4 and chinese * 3 >= 0.8 * len(raw)


def holds_utf8_lines(raw: bytes) -> bool:
    """True when some of the lines are Chinese in UTF-8: files of two encodings were joined. Such a line decodes as
    GB18030 as well where its words have an even number of characters, and what comes of it is no text (F-37)."""
    import numpy as np

    data = np.frombuffer(raw, np.uint8)
    if len(data) < 6:
        return False
    # two Chinese characters of UTF-8 in a row begin with E4…E9 three bytes apart: few bytes of GB18030 look like it
    leads = data - np.uint8(0xE4) < 6
    found = np.flatnonzero(leads[:-5] & leads[3:-2])
    for offset in (1, 2, 4, 5):
        found = found[data[found + offset] - np.uint8(0x80) < 0x40]
    # and no half of another character stands before or behind them
    found = found[data[np.maximum(found, 1) - 1] < 0xC0]
    found = found[data[np.minimum(found + 6, len(data) - 1)] - np.uint8(0x80) >= 0x40]
    for at in found.tolist():
        end = raw.find(b"\n", at)
        if is_chinese_utf8(raw[raw.rfind(b"\n", 0, at) + 1 : len(raw) if end < 0 else end]):
            return True
    return False


def is_chinese_utf8(line: bytes) -> bool:
    """True for a line of UTF-8 with two Chinese characters in a row; where there are few of them, only if it makes no
    words of GB2312: a rare word alone may be both (璐板安)."""
    if line.isascii() or (first := _CHINESE.search(line)) is None:
        return False
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return len(first[0]) >= 12 or not is_gb2312(line)


def is_gb2312(text: bytes) -> bool:
    """True when every byte beyond ASCII belongs to a pair of the GB2312 Chinese characters."""
    try:
        return all(c.isascii() or "\u4e00" <= c <= "\u9fff" for c in set(text.decode("gb2312")))
    except UnicodeDecodeError:
        return False


def is_chinese_gb18030(text: bytes, final: bool = True) -> bool:
    """True when all beyond ASCII is common Chinese in GB18030, simplified or traditional; where the text is not ``final``,
    half a character at the end says nothing."""
    try:
        found = set(codecs.getincrementaldecoder("gb18030")("strict").decode(text, final))
    except UnicodeDecodeError:
        return False
    known = common_characters()
    return all(c.isascii() or c in known or is_gb2312(c.encode("gb18030")) for c in found)


def is_accidental_utf8(text: bytes) -> bool:
    """True for Chinese in GB18030 that may be valid UTF-8 as well (女 is ``Ů``), but is no Chinese in it."""
    return not text.isascii() and is_chinese_gb18030(text) and not is_chinese_utf8(text)


def is_valid(text: bytes, encoding: str, final: bool = True) -> bool:
    """Whether ``encoding`` decodes all of it; where it is not ``final``, half a character at the end says nothing."""
    try:
        codecs.getincrementaldecoder(encoding)("strict").decode(text, final)
    except UnicodeDecodeError:
        return False
    return True


def count_cjk(text: str) -> int:
    return sum(1 for c in text[:100_000] if "\u4e00" <= c <= "\u9fff")
