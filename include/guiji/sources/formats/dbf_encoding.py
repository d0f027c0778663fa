"""In which encoding a DBF is: what the catalog declares, what a ``.cpg`` says, what the cells prove (F-37, F-46)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from guiji.errors import DeliveryRefused
from guiji.sources.formats.encoding_votes import Votes
from guiji.sources.formats.foreign import refuse_foreign, too_few_words
from guiji.sources.formats.mojibake import is_chinese_utf8, is_valid

#: cells beyond ASCII that are looked at to tell the encoding
SAMPLE_CELLS = 200_000
_CPG = {
    "utf8": "utf-8",
    "65001": "utf-8",
    "gbk": "gb18030",
    "gb2312": "gb18030",
    "gb18030": "gb18030",
    "936": "gb18030",
}
_CPG |= {"cp936": "gb18030", "54936": "gb18030", "ansi936": "gb18030", "euccn": "gb18030"}


#: fewer cells than this that seem to be UTF-8 don't contradict a declaration of GB18030
_FEW = 16
#: language bytes of GBK
_CHINESE = (0x4D, 0x7A)
#: language bytes of encodings in which nearly any text reads as GB18030; others are what writers put who think of none
_OTHER_LANGUAGES = {
    **dict.fromkeys((0x4F, 0x78), "Big5"),
    **dict.fromkeys((0x13, 0x7B), "Shift-JIS"),
    **dict.fromkeys((0x4E, 0x79), "EUC-KR"),
}


def find_encoding(beyond_ascii: Iterable[bytes], declared: str, cpg: str | None, language: int, what: str) -> str:
    """``utf-8`` or ``gb18030`` for cells beyond ASCII. Raises DeliveryRefused.

    ``declared`` is the catalog's word, ``cpg`` what stands in the ``.cpg``, ``language`` the header's language byte."""
    votes = Votes()
    cells: list[bytes] = []
    valid = cut = 0
    for cell in beyond_ascii:
        cells.append(cell)
        if _is_cut_utf8(cell):
            cut += 1
            continue
        votes.add(cell)
        valid += is_valid(cell, "utf-8")
        if len(cells) >= SAMPLE_CELLS:
            break
    votes.utf8 += cut
    seen = len(cells)
    if not seen:
        return "utf-8"
    wanted = declared
    if declared == "auto" and cpg is not None and cpg.strip():
        wanted = _CPG.get(re.sub(r"[^a-z0-9]", "", cpg.lower()), "")
        if not wanted:
            raise DeliveryRefused(
                f"{what}：.cpg 写明的编码“{cpg.strip()[:20]}”不在支持范围内。现有数据继续有效；"
                "请另存为 UTF-8 或 GB18030 编码后重新提供。",
                rule_id="delivery.encoding",
            )
    if wanted == "utf-8" and (valid + cut == seen or votes.allow(wanted)):
        return wanted
    found = votes.decide()
    if wanted == "gb18030" and votes.allow(wanted) and (found != "utf-8" or seen < _FEW):
        found = wanted
    if wanted == "auto" and found == "?":
        if language not in _CHINESE:
            raise too_few_words(what)
        found = "gb18030"
    if found == "gb18030" and wanted != "utf-8":
        refuse_foreign(cells, wanted, what)
        if wanted == "auto" and language in _OTHER_LANGUAGES:
            raise DeliveryRefused(
                f"{what}：文件头注明的编码是 {_OTHER_LANGUAGES[language]}，而目录中没有登记编码。现有数据继续有效；请另存为 GB18030 编码"
                "后重新提供；文件头有误的，由数据工程师在资源目录中写明 encoding。",
                rule_id="delivery.encoding",
            )
    if found and wanted in ("auto", found):
        return found
    raise DeliveryRefused(
        f"{what}：文字编码不是 {'utf-8 或 gb18030' if wanted == 'auto' else wanted}，无法正确读出。"
        "现有数据继续有效；请按约定的编码重新导出后提供。",
        rule_id="delivery.encoding",
    )


def _is_cut_utf8(cell: bytes) -> bool:
    """True for Chinese in UTF-8 that a field cut inside its last character: often valid GB18030, but no text."""
    return any(cell[-n] >= 0xC2 and is_chinese_utf8(cell[:-n]) for n in (1, 2) if n < len(cell))
