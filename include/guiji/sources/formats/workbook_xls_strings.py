"""The shared strings of an xls ([MS-XLS] 2.4.265): how long each is, and those that calamine reads wrong.

A string that does not fit into a record goes on in a CONTINUE record, which repeats its width in a byte of its own. Where the
record ends between the two halves of a character beyond U+FFFF, calamine decodes each half by itself and both are lost.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from guiji.sources.formats.compound_file import Damaged


@dataclass
class SharedStrings:
    """``lengths``: bytes of each as UTF-8, at most; ``torn``: the texts, by number, of those that calamine reads wrong."""

    lengths: list[int] = field(default_factory=list)
    torn: dict[int, str] = field(default_factory=dict)


def read_shared_strings(stream: bytes, parts: Sequence[tuple[int, int]]) -> SharedStrings:
    """``parts``: offset and length of the contents of the SST record and of those that continue it. Raises Damaged."""
    part = 0
    found = SharedStrings()
    if not parts:
        return found
    at, end = parts[0][0], parts[0][0] + parts[0][1]
    (count,) = struct.unpack_from("<I", stream, at + 4)
    if count > sum(n for _, n in parts) // 3 + 1:
        raise Damaged("more strings than the file can hold")
    at += 8

    def next_part() -> None:
        nonlocal part, at, end
        part += 1
        if part >= len(parts):
            raise Damaged("a string is cut off")
        at, end = parts[part][0], parts[part][0] + parts[part][1]

    for index in range(count):
        if at >= end:
            next_part()
        characters, flags = struct.unpack_from("<HB", stream, at)
        at += 3
        runs = extra = 0
        if flags & 8:
            (runs,) = struct.unpack_from("<H", stream, at)
            at += 2
        if flags & 4:
            (extra,) = struct.unpack_from("<I", stream, at)
            at += 4
        found.lengths.append(characters * 3)  # at most, as UTF-8
        wide = flags & 1
        is_torn = False
        pieces: list[tuple[bytes, int]] = []
        while characters:
            here = min(characters, (end - at) >> wide)
            begin, at = at, at + (here << wide)
            characters -= here
            if characters or pieces:
                pieces.append((stream[begin:at], wide))
            if characters:
                is_torn = is_torn or (bool(wide) and here > 0 and stream[at - 1] & 0xFC == 0xD8)
                next_part()
                wide = stream[at] & 1
                at += 1
        if is_torn:
            found.torn[index] = (
                "".join(map(_widen, pieces)).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
            )
        skip = runs * 4 + extra
        while skip:
            here = min(skip, end - at)
            at += here
            skip -= here
            if skip:
                next_part()
    return found


def _widen(piece: tuple[bytes, int]) -> str:
    """A part of a string, halves of characters as they are."""
    content, wide = piece
    return content.decode("utf-16-le", "surrogatepass") if wide else content.decode("latin-1")
