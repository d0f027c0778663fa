"""The encoding of a file that says itself in which it is (XML, SQL backups): trusted, but not against its own bytes.

Editors save a file in another encoding and leave what it says about itself as it was. Text that is UTF-8 reads as
GB18030 without an error, only wrongly (F-37), so that this one contradiction is looked for before anything is read.
"""

from __future__ import annotations

import codecs
from pathlib import Path

from guiji.errors import DeliveryRefused

CHARSETS = {
    **dict.fromkeys(("utf-8", "utf8", "utf8mb3", "utf8mb4", "unicode", "us-ascii", "ascii"), "utf-8"),
    **dict.fromkeys(("gb18030", "gbk", "gb2312", "euc_cn", "euc-cn", "cp936", "x-gbk", "gb_2312-80"), "gb18030"),
}


def decide_charset(path: Path, said: str, what: str) -> str:
    """``utf-8`` or ``gb18030`` for the name ``said``. Raises DeliveryRefused for another one, and for a file that is
    UTF-8 to its end, with Chinese in it, although it says otherwise: no such text comes of GB18030 but by a rare accident."""
    codec = CHARSETS.get(said.lower())
    if codec is None:
        raise DeliveryRefused(
            f"{what}：编码 {said[:20]} 不在支持范围内。现有数据继续有效；请以 UTF-8 或 GB18030 编码重新导出后提供。",
            rule_id="delivery.encoding",
        )
    if codec == "gb18030" and is_utf8(path):
        raise DeliveryRefused(
            f"{what}：约定或写明的编码是 {said}，实际是 UTF-8，可能被其他软件另存过。现有数据继续有效；请从业务系统重新导出后提供。",
            rule_id="delivery.encoding",
        )
    return codec


def is_utf8(path: Path) -> bool:
    """True when the file is UTF-8 to its end and holds at least two Chinese characters; a word of one, read as GB18030,
    has half a character at its end and is refused for that."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    chinese = 0
    with path.open("rb") as f:
        try:
            while chunk := f.read(1 << 20):
                text = decoder.decode(chunk)
                if chinese < 2 and not text.isascii():
                    chinese += sum("\u4e00" <= c <= "\u9fff" for c in text)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return chinese >= 2
