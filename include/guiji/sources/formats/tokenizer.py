"""One record of a CSV file as cells, strictly: a quote stands only around a whole cell or doubled inside one (RFC 4180).

Tolerance is the enemy: what a tolerant reader repairs, it repairs by guessing which cell a text belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from guiji.structure import BAD_ESCAPE, BARE_QUOTE, GARBLED, LINE_BREAK, NUL, UNCLOSED_QUOTE

#: what a text shows that was decoded wrongly before it was written
LOST_MARKS = ("\ufffd", "锟斤拷")
#: the record ends with an escape: it goes on on the next line
CONTINUES = "continues"
#: the letters that exports of MySQL, PostgreSQL and Hive write after the escape for a control character
_LETTERS = {"n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True)
class Dialect:
    """The characters that make a line of text cells; the empty text where there is none."""

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    comment: str = ""


def split_cells(text: str, dialect: Dialect) -> Sequence[str | None] | str:
    """The cells of one record, or the id of the rule it breaks. ``UNCLOSED_QUOTE`` and ``CONTINUES``: the record may go
    on on the next line. A cell is None only where an escape dialect says so (``\\N``)."""
    if dialect.escape and dialect.escape in text:
        return _split_escaped(text, dialect)
    delimiter, quote = dialect.delimiter, dialect.quote
    if not quote or quote not in text:
        return LINE_BREAK if "\r" in text else text.split(delimiter)
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
            if "\r" in cell:
                return LINE_BREAK
            cells.append(cell)
            if j < 0:
                return cells
            i = j + 1


def _split_escaped(text: str, dialect: Dialect) -> list[str | None] | str:
    """As ``split_cells``, for a record with escapes. Other letters after the escape than the known ones are refused:
    what they stand for differs from one export program to the next."""
    cells: list[str | None] = []
    i = 0
    while True:
        if dialect.quote and text.startswith(dialect.quote, i):
            got = _quoted_cell(text, i + 1, dialect)
        else:
            got = _bare_cell(text, i, dialect)
        if isinstance(got, str):
            return got
        cell, i = got
        cells.append(cell)
        if i == len(text):
            return cells
        i += 1


def _bare_cell(text: str, i: int, dialect: Dialect) -> tuple[str | None, int] | str:
    """(cell, position of its delimiter or the end)."""
    start, parts = i, []
    while i < len(text) and (c := text[i]) != dialect.delimiter:
        if c == dialect.escape:
            if text.startswith("N", i + 1) and i == start and text[i + 2 : i + 3] in ("", dialect.delimiter):
                return None, i + 2
            got = _escaped(text, i, dialect)
            if isinstance(got, str):
                return got
            part, i = got
            parts.append(part)
            continue
        if c == dialect.quote:
            return BARE_QUOTE
        if c in "\r\n":
            return LINE_BREAK
        parts.append(c)
        i += 1
    return "".join(parts), i


def _quoted_cell(text: str, i: int, dialect: Dialect) -> tuple[str | None, int] | str:
    """(cell, position after its closing quote); ``i`` is after the opening one."""
    parts = []
    while i < len(text):
        c = text[i]
        if c == dialect.escape:
            got = _escaped(text, i, dialect)
            if isinstance(got, str):
                return got if got != CONTINUES else UNCLOSED_QUOTE
            part, i = got
            parts.append(part)
        elif c != dialect.quote:
            parts.append(c)
            i += 1
        elif text.startswith(dialect.quote, i + 1):
            parts.append(c)
            i += 2
        elif i + 1 == len(text) or text[i + 1] == dialect.delimiter:
            return "".join(parts), i + 1
        else:
            return BARE_QUOTE
    return UNCLOSED_QUOTE


def _escaped(text: str, i: int, dialect: Dialect) -> tuple[str, int] | str:
    """(what the escape at ``i`` and the character after it stand for, position after them)."""
    if i + 1 == len(text):
        return CONTINUES
    c = text[i + 1]
    if c == "\r" and text.startswith("\n", i + 2):
        return BAD_ESCAPE  # an escaped line end, or an escaped carriage return at the end of a line
    if c in ("\n", "\r", dialect.delimiter, dialect.quote, dialect.escape, dialect.comment):
        return c, i + 2
    return (_LETTERS[c], i + 2) if c in _LETTERS else BAD_ESCAPE


def find_flaw(cells: Sequence[str | None]) -> str | None:
    """The rule that the content of well-formed cells breaks: a NUL byte or the marks of lost text."""
    joined = "\n".join(c for c in cells if c)
    if "\x00" in joined:
        return NUL
    if any(mark in joined for mark in LOST_MARKS):
        return GARBLED
    return None


def keep_sound(cells: Sequence[str | None]) -> list[str | None]:
    """The cells beyond doubt of a row that ``find_flaw`` sets aside; the others become None."""
    return [None if find_flaw([cell]) else cell for cell in cells]
