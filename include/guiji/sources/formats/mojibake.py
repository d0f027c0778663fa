"""Text in another encoding than it seems: what such a file or line shows, beyond accident (F-37).

UTF-8 and Big5 often decode as GB18030 without an error, only wrongly.
"""

from __future__ import annotations

import re

from guiji.errors import DeliveryRefused

_CHINESE = re.compile(rb"(?:[\xe4-\xe9][\x80-\xbf]{2}){2,}")
_PRIVATE_USE = re.compile("[\ue000-\uf8ff]")


def refuse_mojibake(head: bytes, encoding: str, what: str) -> None:
    """Raises DeliveryRefused for text that was decoded wrongly before it was written (UTF-8 read as GB18030 or Latin-1),
    and for Big5, which decodes as GB18030 where it has to.

    Judged over the file, never over one cell: a short name can look like this by accident, half of all lines can't."""
    suspicious = lines = private = big5 = 0
    for line in head.split(b"\n")[:-1][:2000]:
        if line.isascii():
            continue
        text = line.decode(encoding, "ignore")
        lines += 1
        foreign = "".join(c for c in text if not c.isascii())
        suspicious += any(_looks_read_as(foreign, wrong) for wrong in ("gb18030", "cp1252", "latin-1"))
        if encoding == "gb18030":
            private += _PRIVATE_USE.search(text) is not None
            big5 += _is_valid(line, "big5")
    if suspicious > 2 and suspicious * 2 > lines:
        raise DeliveryRefused(
            f"{what}：文字是乱码（在导出或转换时已按错误的编码读过一次）。现有数据继续有效；"
            "请从业务系统重新导出，保存为 UTF-8 或 GB18030 后重新提供。",
            rule_id="delivery.garbled",
        )
    # characters that no font shows are rare in GB18030; in Big5 read as such they are in every other word
    if private > 2 and private * 5 > lines and big5 * 10 > lines * 9:
        raise DeliveryRefused(
            f"{what}：文件编码像是 Big5（繁体中文），不是 UTF-8 或 GB18030，无法正确读出文字。现有数据继续有效；"
            "请另存为 UTF-8 或 GB18030 编码后重新提供。",
            rule_id="delivery.encoding",
        )


def _is_valid(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


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


def is_gb2312(head: bytes) -> bool:
    """True when every byte beyond ASCII belongs to a pair of the GB2312 Chinese characters."""
    try:
        text = head.decode("gb2312", "strict")
    except UnicodeDecodeError:
        return False
    return all(c.isascii() or "\u4e00" <= c <= "\u9fff" for c in text)


def count_cjk(text: str) -> int:
    return sum(1 for c in text[:100_000] if "\u4e00" <= c <= "\u9fff")
