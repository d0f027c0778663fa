"""One line of a CSV file as cells, strictly: a quote stands only around a whole cell or doubled inside one (RFC 4180).

Tolerance is the enemy: what a tolerant reader repairs, it repairs by guessing which cell a text belongs to.
"""

from __future__ import annotations

from guiji.structure import BARE_QUOTE, GARBLED, NUL, UNCLOSED_QUOTE

#: what a text shows that was decoded wrongly before it was written
LOST_MARKS = ("\ufffd", "锟斤拷")


def split_cells(text: str, delimiter: str, quote: str) -> list[str] | str:
    """The cells of one record, or the id of the rule it breaks. ``UNCLOSED_QUOTE``: the record may go on on the next line."""
    if not quote or quote not in text:
        return text.split(delimiter)
    cells: list[str] = []
    i, n = 0, len(text)
    while True:
        if text.startswith(quote, i):
            j = i + 1
            while True:
                j = text.find(quote, j)
                if j < 0:
                    return UNCLOSED_QUOTE
                if not text.startswith(quote, j + 1):
                    break
                j += 2
            cells.append(text[i + 1 : j].replace(quote + quote, quote))
            i = j + 1
            if i == n:
                return cells
            if text[i] != delimiter:
                return BARE_QUOTE
            i += 1
        else:
            j = text.find(delimiter, i)
            cell = text[i:] if j < 0 else text[i:j]
            if quote in cell:
                return BARE_QUOTE
            cells.append(cell)
            if j < 0:
                return cells
            i = j + 1


def find_flaw(cells: list[str]) -> str | None:
    """The rule that the content of well-formed cells breaks: a NUL byte or the marks of lost text."""
    joined = "\n".join(cells)
    if "\x00" in joined:
        return NUL
    if any(mark in joined for mark in LOST_MARKS):
        return GARBLED
    return None


def keep_sound(cells: list[str]) -> list[str | None]:
    """The cells beyond doubt of a row that ``find_flaw`` sets aside; the others become None."""
    return [None if find_flaw([cell]) else cell for cell in cells]
