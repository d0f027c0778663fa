"""Streams of a compound file (OLE2, [MS-CFB]): what an .xls and an encrypted .xlsx are wrapped in.

Every chain of sectors is followed with a count, so that a chain that leads back into itself ends in ``Damaged``
and never in a loop, here or in a reader that follows.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

_END = 0xFFFFFFFA  # this and above mark ends and free sectors
_SMALL = 4096


#: as programs that calculate a workbook before they save it call themselves in its summary
_CALCULATORS = (
    "microsoft excel",
    "microsoft macintosh excel",
    "wps",
    "et",
    "libreoffice",
    "openoffice",
    "永中",
    "yozo",
)
_SUMMARY, _PROGRAM = "\x05SummaryInformation", 18


class Damaged(ValueError):
    """The file contradicts itself."""


@dataclass(frozen=True)
class _Entry:
    name: str
    kind: int  # 1 storage, 2 stream, 5 root
    first: int
    size: int


def read_streams(data: bytes) -> dict[str, bytes]:
    """Name -> content of every stream; of two with one name the first. Raises Damaged."""
    try:
        return _read(data)
    except (struct.error, IndexError, UnicodeDecodeError) as exc:
        raise Damaged("cut off") from exc


def _read(data: bytes) -> dict[str, bytes]:
    version, _, shift, mini_shift = struct.unpack_from("<HHHH", data, 26)
    if (version, shift) not in ((3, 9), (4, 12)) or mini_shift != 6:
        raise Damaged("header")
    size = 1 << shift
    count = len(data) // size
    (first_directory,) = struct.unpack_from("<I", data, 48)
    (first_mini,) = struct.unpack_from("<I", data, 60)
    (difat_next,) = struct.unpack_from("<I", data, 68)
    difat = list(struct.unpack_from("<109I", data, 76))
    seen = 0
    while difat_next < _END:
        seen += 1
        if seen > count:
            raise Damaged("difat loop")
        more = struct.unpack_from(f"<{size // 4}I", data, (difat_next + 1) * size)
        difat.extend(more[:-1])
        difat_next = more[-1]
    fat: list[int] = []
    for sector in difat:
        if sector < _END:
            if len(fat) > count + size:
                raise Damaged("fat too long")
            fat.extend(struct.unpack_from(f"<{size // 4}I", data, (sector + 1) * size))
    directory = _follow(data, fat, first_directory, size, size)
    entries = [_entry(directory[i : i + 128], version) for i in range(0, len(directory) - 127, 128)]
    root = next((e for e in entries if e.kind == 5), None)
    if root is None:
        raise Damaged("no root")
    mini = _follow(data, fat, root.first, size, size)
    mini_fat_bytes = _follow(data, fat, first_mini, size, size)
    mini_fat = list(struct.unpack(f"<{len(mini_fat_bytes) // 4}I", mini_fat_bytes))
    streams: dict[str, bytes] = {}
    for entry in entries:
        if entry.kind != 2 or entry.name in streams:
            continue
        if entry.size < _SMALL:
            content = _follow(mini, mini_fat, entry.first, 64, 0)
        else:
            content = _follow(data, fat, entry.first, size, size)
        if len(content) < entry.size:
            raise Damaged("stream cut off")
        streams[entry.name] = content[: entry.size]
    return streams


def _entry(raw: bytes, version: int) -> _Entry:
    length, kind = struct.unpack_from("<HB", raw, 64)
    (first,) = struct.unpack_from("<I", raw, 116)
    (size,) = struct.unpack_from("<Q" if version == 4 else "<I", raw, 120)
    return _Entry(raw[: max(0, min(length, 64) - 2)].decode("utf-16-le"), kind, first, size)


def _follow(data: bytes, fat: list[int], sector: int, size: int, offset: int) -> bytes:
    """The sectors of a chain, joined; ``offset`` is where sector 0 begins."""
    parts: list[bytes] = []
    while sector < _END:
        if len(parts) > len(fat):
            raise Damaged("a chain leads back into itself")
        start = sector * size + offset
        part = data[start : start + size]
        if not part:
            raise Damaged("a chain leads out of the file")
        parts.append(part)
        sector = fat[sector]
    return b"".join(parts)


def read_program(streams: dict[str, bytes]) -> str:
    """The program that saved the file, as its summary names it ([MS-OLEPS], property 18); "" where it names none."""
    data = streams.get(_SUMMARY, b"")
    try:
        (start,) = struct.unpack_from("<I", data, 44)
        (count,) = struct.unpack_from("<I", data, start + 4)
        for n in range(min(count, 100)):
            name, offset = struct.unpack_from("<II", data, start + 8 + 8 * n)
            if name == _PROGRAM:
                kind, length = struct.unpack_from("<II", data, start + offset)
                raw = data[start + offset + 8 : start + offset + 8 + (length << (kind == 31))]
                return raw.decode("utf-16-le" if kind == 31 else "gb18030", "replace").split("\x00")[0]
    except struct.error:
        pass  # a summary that is none: nothing is known of the program
    return ""


def is_calculator(program: str) -> bool:
    """True for the name of a program that never saves a formula without its result."""
    return re.match(rf"(?:{'|'.join(_CALCULATORS)})(?![a-z])", program.strip(), re.I) is not None
