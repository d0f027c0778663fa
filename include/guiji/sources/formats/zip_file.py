"""A zip archive as a list of members that are safe to read, each unpacked as a stream under limits (F-40 … F-42).

Parsed here and not by ``zipfile``: that one takes a member's length from the directory, so that what a header conceals
is cut off without a word; it reads a directory of any size into memory, and accepts bytes before and after the archive.
Layout after PKWARE's APPNOTE 6.3: local headers with their data, then the directory, then its end record.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from guiji.errors import DeliveryRefused

#: limits of one archive (F-41). Text rarely shrinks to less than a fiftieth; deflate can reach a thousandth
MAX_ENTRIES = 20_000
MAX_DIRECTORY = 16 << 20
MAX_UNPACKED = 64 << 30
MAX_RATIO = 200
#: what may be unpacked before the ratio is looked at
FREE_BYTES = 16 << 20
CHUNK = 256 << 10
PIECE = 1 << 20

STORED, DEFLATED = 0, 8
_ENCRYPTED, _DESCRIPTOR, _UTF8, _MASKED = 0x1, 0x8, 0x800, 0x2000
_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_ENTRY = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_NONE16, _NONE32 = 0xFFFF, 0xFFFFFFFF
_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Member:
    """One file of an archive. ``size`` is what the archive claims; it is compared, never believed."""

    name: str
    size: int
    compressed: int
    crc: int
    method: int
    start: int  # of its data
    modified_at: datetime | None  # without a zone, as the machine that packed it saw it


@dataclass
class Budget:
    """How much may still come out of one archive of ``packed`` bytes."""

    packed: int
    what: str
    unpacked: int = 0

    def spend(self, count: int) -> None:
        """Counts unpacked bytes. Raises DeliveryRefused beyond the limits."""
        self.unpacked += count
        if self.unpacked > MAX_UNPACKED:
            raise refuse_archive(self.what, f"解压后超过 {MAX_UNPACKED >> 30} GB", rule_id="delivery.too_large")
        if self.unpacked > FREE_BYTES and self.unpacked > MAX_RATIO * self.packed:
            raise refuse_archive(
                self.what, f"解压后超过压缩文件的 {MAX_RATIO} 倍，疑似压缩炸弹", rule_id="delivery.too_large"
            )


def refuse_archive(what: str, why: str, *, rule_id: str = "delivery.archive") -> DeliveryRefused:
    return DeliveryRefused(
        f"{what}：压缩包{why}，已拒收，没有读取其中任何内容。现有数据继续有效；请重新打包或直接提供未压缩的文件。",
        rule_id=rule_id,
    )


def list_members(path: Path, what: str) -> list[Member]:
    """The files of a zip archive in the order of its directory.

    Raises DeliveryRefused for an archive that is cut off, encrypted, in volumes, embedded in something else, too
    large, or that names a member so that it could leave its folder or stand for two (F-42): nothing is put right.
    """
    with path.open("rb") as f:
        size = f.seek(0, os.SEEK_END)
        begin, length, count = _find_directory(f, size, what)
        f.seek(begin)
        directory = f.read(length)
        entries = list(_read_directory(directory, count, what))
        _demand_distinct(entries, what)
        members = [_locate(f, e, begin, what) for e in entries]
    _demand_apart(members, what)
    return [m.member for m in members if not m.is_folder]


def unpack_member(path: Path, member: Member, write: Callable[[bytes], object], budget: Budget, what: str) -> None:
    """Gives the member's bytes to ``write``, piece by piece. Raises DeliveryRefused when they are not, in length and
    CRC, what the archive says, and when the archive's budget is spent."""
    crc = size = 0
    with path.open("rb") as f:
        f.seek(member.start)
        for piece in _inflate(f, member, what):
            budget.spend(len(piece))
            size += len(piece)
            if size > member.size:
                raise refuse_archive(what, f"中“{show_name(member.name)}”比其声明的长度更长")
            crc = zlib.crc32(piece, crc)
            write(piece)
    if size != member.size or crc != member.crc:
        raise _damaged(what, member.name)


def decode_member_name(raw: bytes, flags: int, extra: bytes) -> str:
    """A member's name: UTF-8 where the archive says so, its Unicode Path field, else UTF-8 or GB18030 strict (F-40)."""
    from guiji.sources.remote_folder import decode_name

    if flags & _UTF8:
        return raw.decode("utf-8")
    for tag, data in _fields(extra):
        # 0x7075: version, CRC of the plain name, name in UTF-8
        if tag == 0x7075 and len(data) > 5 and data[0] == 1 and struct.unpack_from("<I", data, 1)[0] == zlib.crc32(raw):
            return data[5:].decode("utf-8")
    return decode_name(raw)


def show_name(name: str) -> str:
    """A member's name as a message may show it."""
    return _CONTROL.sub("�", name)[:120]


@dataclass(frozen=True)
class _Entry:
    name: str
    raw: bytes
    flags: int
    method: int
    crc: int
    compressed: int
    size: int
    offset: int
    modified_at: datetime | None


@dataclass(frozen=True)
class _Located:
    member: Member
    begin: int
    end: int
    is_folder: bool


def _find_directory(f: BinaryIO, size: int, what: str) -> tuple[int, int, int]:
    """(begin, length, number of entries) of the directory."""
    f.seek(0)
    if f.read(2) != b"PK":
        raise refuse_archive(what, "不是 zip 格式", rule_id="delivery.structure")
    tail_begin = max(0, size - 22 - 0xFFFF)
    f.seek(tail_begin)
    tail = f.read()
    at = len(tail)
    while (at := tail.rfind(_END, 0, at)) >= 0:
        if len(tail) - at >= 22 and at + 22 + struct.unpack_from("<H", tail, at + 20)[0] == len(tail):
            break
    if at < 0:
        if _END in tail:
            raise refuse_archive(what, "末尾不完整或附有多余内容", rule_id="delivery.half_a_file")
        raise refuse_archive(what, "不完整，可能只上传了一部分", rule_id="delivery.half_a_file")
    disk, first, here, count, length, begin = struct.unpack_from("<4H2I", tail, at + 4)
    end = tail_begin + at
    f.seek(max(0, end - 20))
    locator = f.read(20) if end >= 20 else b""
    if locator.startswith(_LOCATOR64):
        where = struct.unpack_from("<Q", locator, 8)[0]
        f.seek(min(where, size))
        record = f.read(56)
        if len(record) < 56 or not record.startswith(_END64):
            raise refuse_archive(what, "的目录已损坏", rule_id="delivery.structure")
        disk, first, here, count, length, begin = struct.unpack_from("<2I4Q", record, 16)
        end = where
    if disk or first or here != count:
        raise refuse_archive(what, "是分卷压缩包的一卷", rule_id="delivery.half_a_file")
    if count > MAX_ENTRIES or length > MAX_DIRECTORY:
        raise refuse_archive(what, f"中的文件超过 {MAX_ENTRIES:,} 个", rule_id="delivery.too_large")
    if begin + length != end:
        # an archive behind another file: readers differ in what they see
        raise refuse_archive(what, "不是从文件开头开始，或其目录已损坏")
    return begin, length, count


def _read_directory(directory: bytes, count: int, what: str) -> Iterator[_Entry]:
    at = 0
    for _ in range(count):
        if len(directory) - at < _ENTRY.size or not directory.startswith(b"PK\x01\x02", at):
            raise refuse_archive(what, "的目录已损坏", rule_id="delivery.structure")
        (_, made_by, _, flags, method, time, day, crc, compressed, size, n, x, c, disk, _, attributes, offset) = (
            _ENTRY.unpack_from(directory, at)
        )
        at += _ENTRY.size
        raw, extra = directory[at : at + n], directory[at + n : at + n + x]
        at += n + x + c
        try:
            name = decode_member_name(raw, flags, extra)
            size, compressed, offset = _widen(size, compressed, offset, extra)
        except (UnicodeDecodeError, struct.error) as exc:
            raise refuse_archive(what, "的目录已损坏", rule_id="delivery.structure") from exc
        _check_name(name, what)
        shown = show_name(name)
        if flags & (_ENCRYPTED | _MASKED) or method == 99:
            raise refuse_archive(what, f"已加密（“{shown}”需要密码），请不设密码", rule_id="delivery.encrypted")
        if disk not in (0, _NONE16):
            raise refuse_archive(what, "是分卷压缩包的一卷", rule_id="delivery.half_a_file")
        kind = stat.S_IFMT(attributes >> 16) if made_by >> 8 in (3, 19) else 0
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise refuse_archive(what, f"中“{shown}”是链接或设备，不是文件")
        if method not in (STORED, DEFLATED):
            raise refuse_archive(what, f"中“{shown}”的压缩方法（{method}）不受支持，请用普通 zip（Deflate）")
        yield _Entry(name, raw, flags, method, crc, compressed, size, offset, _dos_time(day, time))
    if at != len(directory):
        raise refuse_archive(what, "的目录已损坏", rule_id="delivery.structure")


def _check_name(name: str, what: str) -> None:
    """F-42: a name that could lead out of the folder refuses the archive; cutting it short could make two names one."""
    plain = name.replace("\\", "/")
    if not plain.strip("/. ") or _CONTROL.search(plain):
        raise refuse_archive(what, f"中有不能作为文件名的名称“{show_name(name)}”")
    if plain.startswith("/") or _DRIVE.match(plain) or ".." in plain.split("/"):
        raise refuse_archive(what, f"中“{show_name(name)}”的路径指向压缩包之外")


def _demand_distinct(entries: list[_Entry], what: str) -> None:
    seen: set[str] = set()
    for entry in entries:
        parts = unicodedata.normalize("NFKC", entry.name).casefold().replace("\\", "/").split("/")
        plain = "/".join(p for p in parts if p not in ("", "."))
        if plain in seen:
            raise refuse_archive(what, f"中有两个同名的文件“{show_name(entry.name)}”，无法判断以哪一个为准")
        seen.add(plain)


def _locate(f: BinaryIO, entry: _Entry, directory: int, what: str) -> _Located:
    """Where the member's data are; its own header must say the same as the directory."""
    f.seek(entry.offset)
    header = f.read(_LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(b"PK\x03\x04"):
        raise _damaged(what, entry.name)
    _, _, flags, method, _, _, crc, compressed, size, n, x = _LOCAL.unpack(header)
    raw = f.read(n)
    start = entry.offset + _LOCAL.size + n + x
    differs = raw != entry.raw or method != entry.method or (flags ^ entry.flags) & (_ENCRYPTED | _UTF8)
    if not flags & _DESCRIPTOR:
        # 0xFFFFFFFF: the length stands in the zip64 field
        differs = differs or crc != entry.crc or compressed not in (entry.compressed, _NONE32)
        differs = differs or size not in (entry.size, _NONE32)
    if differs:
        raise refuse_archive(what, f"中“{show_name(entry.name)}”的两处说明不一致")
    end = start + entry.compressed
    if end > directory:
        raise _damaged(what, entry.name)
    member = Member(entry.name, entry.size, entry.compressed, entry.crc, entry.method, start, entry.modified_at)
    return _Located(member, entry.offset, end, entry.name.endswith(("/", "\\")))


def _demand_apart(members: list[_Located], what: str) -> None:
    """F-41: members that share their bytes unpack to far more than any ratio of one of them tells."""
    end = 0
    for i, located in enumerate(sorted(members, key=lambda m: m.begin)):
        if i == 0 and located.begin > 0:
            raise refuse_archive(what, "不是从文件开头开始，或其目录已损坏")
        if located.begin < end:
            raise refuse_archive(what, f"中“{show_name(located.member.name)}”与其他文件重叠，疑似压缩炸弹")
        end = located.end


def _inflate(f: BinaryIO, member: Member, what: str) -> Iterator[bytes]:
    left = member.compressed
    inflater = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == DEFLATED else None
    while left:
        chunk = f.read(min(left, CHUNK))
        if not chunk:
            raise _damaged(what, member.name)
        left -= len(chunk)
        if inflater is None:
            yield chunk
            continue
        try:
            yield from inflate_pieces(inflater, chunk)
        except zlib.error as exc:
            raise _damaged(what, member.name) from exc
        if inflater.unused_data or (inflater.eof and left):
            raise _damaged(what, member.name)
    if inflater is not None and not inflater.eof:
        raise _damaged(what, member.name)


def inflate_pieces(inflater: zlib._Decompress, chunk: bytes) -> Iterator[bytes]:
    """All that ``chunk`` inflates to, at most ``PIECE`` bytes at a time. Raises zlib.error."""
    while True:
        piece = inflater.decompress(chunk, PIECE)
        if piece:
            yield piece
        chunk = inflater.unconsumed_tail
        if inflater.eof or (not chunk and len(piece) < PIECE):
            return


def _damaged(what: str, name: str) -> DeliveryRefused:
    return refuse_archive(
        what, f"中“{show_name(name)}”已损坏或不完整（长度或校验码不符）", rule_id="delivery.half_a_file"
    )


def _fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, at)
        yield tag, extra[at + 4 : at + 4 + length]
        at += 4 + length


def _widen(size: int, compressed: int, offset: int, extra: bytes) -> tuple[int, int, int]:
    """The three numbers, from the zip64 field where they don't fit. Raises struct.error when it lacks one."""
    wide = [size, compressed, offset]
    if _NONE32 in wide:
        data = next((d for tag, d in _fields(extra) if tag == 1), b"")
        at = 0
        for i, number in enumerate(wide):
            if number == _NONE32:
                (wide[i],) = struct.unpack_from("<Q", data, at)
                at += 8
    return wide[0], wide[1], wide[2]


def _dos_time(day: int, time: int) -> datetime | None:
    try:
        return datetime(  # noqa: DTZ001 - the archive doesn't say of which zone
            1980 + (day >> 9), day >> 5 & 15, day & 31, time >> 11, time >> 5 & 63, min(time & 31, 29) * 2
        )
    except ValueError:
        return None
