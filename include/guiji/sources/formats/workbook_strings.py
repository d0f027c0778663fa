"""How much text the shared strings of an xlsx become: a reader copies one into every cell that shows it."""

from __future__ import annotations

import re
import zipfile
from array import array
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from guiji.sources.formats import workbook as limits
from guiji.sources.formats.workbook import read_chunks

if TYPE_CHECKING:
    import numpy as np

_SHARED = re.compile(rb'<c\s(?=[^>]*\bt="s")[^>]*>\s*<v>(\d{1,9})</v>')
_ITEM_END = re.compile(rb"</(?:\w+:)?si\s*>")


class NotPlain(Exception):
    """The part is not written the common way: a comment, CDATA or an odd reference may hide what is looked for."""


def _item_lengths(chunks: Iterable[bytes]) -> Iterator[list[int]]:
    """The bytes of each shared string, in pieces. Raises NotPlain where one could hide."""
    tail = b""
    before = 0  # bytes of an item that goes on, before the tail
    for chunk in chunks:
        if b"<!" in chunk:
            raise NotPlain
        data = tail + chunk
        *whole, rest = _ITEM_END.split(data) if b":si" in data else data.split(b"</si>")
        lengths = list(map(len, whole))
        if lengths:
            lengths[0] += before
            before = 0
        tail = rest[-64:]
        before += len(rest) - len(tail)
        yield lengths
    yield [before + len(tail)]


def longest_string(archive: zipfile.ZipFile, what: str) -> int:
    """Bytes of the longest shared string, or more; all of them are read, so that their check sum is compared."""
    longest = 0
    for entry in archive.infolist():
        if not entry.filename.lower().endswith("sharedstrings.xml"):
            continue
        chunks = read_chunks(archive, entry.filename, limits.MAX_STRINGS, what)
        try:
            longest = max(longest, max((max(piece, default=0) for piece in _item_lengths(chunks)), default=0))
        except NotPlain:
            for _ in chunks:
                pass
            longest = max(longest, entry.file_size)
    return longest


def list_lengths(archive: zipfile.ZipFile, longest: int, what: str) -> np.ndarray[Any, Any]:
    """Bytes of each shared string, then of what is beyond the last; ``longest`` where they can't be told apart."""
    import numpy as np

    strings = [n for n in archive.namelist() if n.lower().endswith("sharedstrings.xml")]
    lengths = array("I")
    try:
        for name in strings[:1]:
            for piece in _item_lengths(read_chunks(archive, name, limits.MAX_STRINGS, what)):
                lengths.extend(piece)
    except NotPlain:
        lengths = array("I")
    return np.array([*lengths, longest], np.int64)


def sum_text(chunks: Iterable[bytes], by_item: np.ndarray[Any, Any]) -> int:
    """Bytes of text in the cells of a sheet that is written the common way."""
    total = 0
    rest = b""
    for chunk in chunks:
        data = rest + chunk
        cut = max(data.rfind(b"<c "), 0)
        total += _sum_cells(data[:cut], by_item)
        rest = data[cut:]
    return total + _sum_cells(rest, by_item)


def _sum_cells(data: bytes, by_item: np.ndarray[Any, Any]) -> int:
    found = _SHARED.findall(data)
    uncommon = data.count(b't="s"') - len(found)  # taken for the longest text
    return sum_items(array("I", map(int, found)), by_item) + max(uncommon, 0) * int(by_item.max())


def sum_items(items: array[int], by_item: np.ndarray[Any, Any]) -> int:
    import numpy as np

    wanted = np.minimum(np.frombuffer(items, np.uint32), len(by_item) - 1) if items else np.zeros(0, np.int64)
    return int(by_item[wanted].sum())
