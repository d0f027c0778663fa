"""Chinese in UTF-8 that some program read as GBK before it wrote it: 张三 came as 寮犱笁 (F-37).

One such cell among good ones is beyond what the bytes of a file can tell. It is told from the cell alone: its characters,
written back as GBK, are UTF-8 to the last byte, and Chinese. A single rare name may be that by accident (璐板安 is 贰尲),
so little text counts only where no name looks like it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

#: bytes of UTF-8 that begin a Chinese character, or the punctuation and full-width letters that stand between them
_HAN_LEADS = range(0xE4, 0xEA)
_LEADS = (0xE3, *_HAN_LEADS, 0xEF)
_TRAILS = range(0x80, 0xC0)
#: text beyond ASCII; a letter behind it may be half of its last character, and a question mark stands for one that was lost
_RUN = re.compile(r"[^\x00-\x7f]+(?:\?[^\x00-\x7f]+)*")
_PUNCTUATION = re.compile("[\x00-\x7f\u00a0\ufeff\u3000-\u303f\uff00-\uffef]")


@lru_cache(maxsize=1)
def common_characters() -> frozenset[str]:
    """The common characters, simplified and traditional: the first levels of GB 2312-80 (3,755) and of Big5 (5,401)."""
    found = set()
    for encoding, leads in (("gb2312", range(0xB0, 0xD8)), ("big5", range(0xA4, 0xC7))):
        for lead in leads:
            for trail in range(0x40, 0xFF):
                text = bytes((lead, trail)).decode(encoding, "ignore")
                found |= {text} if len(text) == 1 and "\u4e00" <= text <= "\u9fff" else set()
    return frozenset(found)


def pair_up(leads: Iterable[int], trails: Iterable[int], but: Collection[str] = ()) -> str:
    """A class of the engine's patterns: the characters of GBK with such a first and such a second byte, ``but`` these."""
    points = set()
    for lead in leads:
        for trail in trails:
            text = bytes((lead, trail)).decode("gb18030", "ignore")
            points |= {ord(text)} if len(text) == 1 and text not in but else set()
    ranges: list[list[int]] = []
    for point in sorted(points):
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    return "[" + "".join(rf"\x{{{low:X}}}-\x{{{high:X}}}" for low, high in ranges) + "]"


#: a pattern of the engine that every text which ``is_misread`` calls so fits, and few others do
MAY_BE_MISREAD = pair_up(_HAN_LEADS, _TRAILS) + pair_up(range(0x81, 0xC0), _LEADS)


def is_misread(text: str) -> bool:
    """True when a run of ``text`` is Chinese in UTF-8 read as GBK, beyond accident."""
    return any(_is_misread_run(run) for run in _RUN.findall(text))


def _is_misread_run(run: str) -> bool:
    raw = run.encode("gb18030", "replace")
    read = raw.decode("utf-8", "ignore")
    text = _PUNCTUATION.sub("", read)
    han = [c for c in text if "\u4e00" <= c <= "\u9fff"]
    common = sum(map(_is_gb2312, han))
    # the other reading must be words, not rare characters as chance gives them
    if len(han) < 2 or len(han) < len(text) or common * 4 < len(han) * 3:
        return False
    strange = sum(not _is_gb2312(c) for c in run)
    lost = len(raw) - len(read.encode())
    if lost > 2:  # characters without a reading were left out where it was written: half of it must be there still
        return lost * 2 <= len(raw) and common >= 3 and strange >= 2
    # what is lost at most is the end of the last character: with its begin it counts
    return strange > 0 or len(han) + (lost > 0) >= 3


def _is_gb2312(c: str) -> bool:
    try:
        c.encode("gb2312")
    except UnicodeEncodeError:
        return False
    return True
