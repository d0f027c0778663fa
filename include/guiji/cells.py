"""Texts in the cells of workbooks that are written for departments and the centre."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_XML_ILLEGAL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
#: points per line of the 10-point font of the sheets
LINE = 16.0
#: the tallest row that Excel knows
TALLEST = 409.0


def clean_cell(text: str) -> str:
    """``text`` without characters a workbook can't hold, within Excel's limit of a cell."""
    return _XML_ILLEGAL.sub("\ufffd", text)[:32_767]


def height_of(cells: Iterable[tuple[str, float]]) -> float:
    """Points that a row needs for its wrapped texts, each with the width of its column in characters.

    Programs that open a workbook fit row heights or do not, as they like; where they do not, a clerk sees half a text.
    A Chinese character is as wide as two others.
    """
    lines = 1
    for text, width in cells:
        room = max(2, int(width) - 1)
        lines = max(lines, sum(max(1, -(-_columns(part) // room)) for part in text.split("\n")))
    return min(TALLEST, LINE * lines)


def _columns(text: str) -> int:
    return len(text) if text.isascii() else sum(1 + (unicodedata.east_asian_width(c) in "WFA") for c in text)
