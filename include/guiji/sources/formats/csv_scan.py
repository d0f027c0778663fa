"""What the bytes of a block of CSV prove: which lines have the header's structure, before anything is parsed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guiji.sources.formats.tokenizer import LOST_MARKS, Dialect

if TYPE_CHECKING:
    import numpy as np

LOST_BYTES = tuple(mark.encode() for mark in LOST_MARKS)
_BOM = "\ufeff".encode()


@dataclass
class Scan:
    """What the bytes of a block show: where lines are and which of them need the tokeniser."""

    starts: np.ndarray[Any, Any]
    ends: np.ndarray[Any, Any]  # before the line end
    plain: np.ndarray[Any, Any]  # structure proven: Arrow may read it
    blank: np.ndarray[Any, Any]
    comment: np.ndarray[Any, Any]
    quoted: bool  # the proof covers quotes around whole cells


def scan_block(data: bytes, width: int, dialect: Dialect) -> Scan:
    """Proves, on the bytes, which lines have the header's structure."""
    import numpy as np

    array = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(array == 10)
    starts = np.concatenate(([0], newlines[:-1] + 1))
    ends = newlines - ((array[np.maximum(newlines - 1, 0)] == 13) & (newlines > starts))
    delimiters = np.flatnonzero(array == ord(dialect.delimiter))
    counts = np.diff(np.searchsorted(delimiters, newlines), prepend=0)
    blank = (ends - starts) == counts  # nothing but delimiters
    comment = np.zeros(len(newlines), bool)
    if dialect.comment:
        comment = (array[starts] == ord(dialect.comment)) & (ends > starts)
    doubtful = np.zeros(len(newlines), bool)
    quoted = False
    mark, escape = dialect.quote.encode(), dialect.escape.encode()
    escaped = bool(escape) and escape in data
    if mark and mark in data:
        quotes = np.flatnonzero(array == mark[0])
        # an escape can take a quote's meaning away: no proof by counting then
        if not escaped and not comment.any() and _prove_quotes(ord(dialect.delimiter), array, quotes, newlines):
            quoted = True
            outside = delimiters[(np.searchsorted(quotes, delimiters) & 1) == 0]
            counts = np.diff(np.searchsorted(outside, newlines), prepend=0)
        else:
            doubtful[np.searchsorted(newlines, quotes)] = True
    odd = []
    if escaped:
        odd.append(np.flatnonzero(array == escape[0]))
    if b"\x00" in data:
        odd.append(np.flatnonzero(array == 0))
    if b"\r" in data and data.count(b"\r") != data.count(b"\r\n"):
        returns = np.flatnonzero(array == 13)
        odd.append(returns[array[returns + 1] != 10])
    for lost in LOST_BYTES:
        if lost in data:
            odd.append(np.array([m.start() for m in re.finditer(re.escape(lost), data)], dtype=np.int64))
    for positions in odd:
        doubtful[np.searchsorted(newlines, positions)] = True
    if _BOM in data:  # Arrow drops one where it begins to read, which may be at any line
        marks = np.array([m.start() for m in re.finditer(_BOM, data)], dtype=np.int64)
        doubtful[np.searchsorted(newlines, marks[np.isin(marks, starts)])] = True
    blank &= ~doubtful & ~comment
    plain = (counts == width - 1) & ~doubtful & ~blank & ~comment
    return Scan(starts, ends, plain, blank, comment, quoted)


def _prove_quotes(
    delimiter: int,
    array: np.ndarray[Any, Any],
    quotes: np.ndarray[Any, Any],
    newlines: np.ndarray[Any, Any],
) -> bool:
    """True when every quote of the block opens or closes a whole cell, and no cell spans lines."""
    import numpy as np

    if len(quotes) % 2:
        return False
    opening, closing = quotes[0::2], quotes[1::2]
    before = np.where(opening > 0, array[np.maximum(opening - 1, 0)], 10)
    after = array[closing + 1]
    at_end = (after == 10) | ((after == 13) & (array[np.minimum(closing + 2, len(array) - 1)] == 10))
    return bool(
        np.all((before == delimiter) | (before == 10))
        and np.all((after == delimiter) | at_end)
        and np.all((np.searchsorted(quotes, newlines) & 1) == 0)
    )
