"""zip and gzip around any form of file: each member is unpacked under limits and read as if it had come alone.

Nothing is ever written under a name that an archive gives. One member at a time rests in the scratch folder, readable
by its owner only, and is removed once read; memory holds one piece of it. ``_origin`` is ``archive!member``.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.errors import DeliveryRefused
from guiji.sources.columns import Expected
from guiji.sources.formats.media import ARCHIVES, ZIP, detect_media_type
from guiji.sources.formats.zip_file import (
    CHUNK,
    Budget,
    Member,
    inflate_pieces,
    list_members,
    refuse_archive,
    show_name,
    unpack_member,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import Format
    from guiji.records import ReadReport

#: a gzip file may be several streams behind one another, but not any number of tiny ones
MAX_STREAMS = 200_000
#: what packing programs leave beside the files: a Mac's own notes on each (``._a.csv``), an office program's lock
_LITTER = re.compile(r"(?:^|/)(?:__MACOSX/.*|\.DS_Store|Thumbs\.db|desktop\.ini|\._[^/]*|~\$[^/]*)$")


def read_archive(
    path: Path, origin: str, expected: Expected, fmt: Format, report: ReadReport
) -> Iterator[pa.RecordBatch]:
    """The rows of all members that ``format.member`` names, one member after another in the order of their names.

    Raises DeliveryRefused for an archive that is unsafe, damaged or beyond the limits (``zip_file``), that holds no
    member of that name, or another archive. What is wrong with one member refuses the whole.
    """
    from guiji.sources.formats import read_file

    what = f"文件 {origin}"
    inner = fmt.model_copy(update={"archive": "none", "member": None})
    if fmt.archive == "gzip":
        return _read_gzip(path, origin, expected, inner, report)
    chosen = choose_members(list_members(path, what), fmt.member, report, what)
    budget = Budget(path.stat().st_size, what)

    def generate() -> Iterator[pa.RecordBatch]:
        for i, member in enumerate(chosen):
            target = path.with_name(f"{path.stem}-member-{i:05d}{plain_suffix(member.name)}")
            try:
                unpack_to(path, member, target, budget, what)
                refuse_nested(target, member.name, what)
                yield from read_file(target, f"{origin}!{member.name}", expected, inner, report)
            finally:
                target.unlink(missing_ok=True)

    return generate()


def choose_members(members: Sequence[Member], pattern: str | None, report: ReadReport, what: str) -> list[Member]:
    """The members whose whole name, or the last part of it, matches; by name. The others are noted.

    Raises DeliveryRefused when there is none.
    """
    files = [m for m in members if not is_litter(m.name)]
    chosen = [m for m in files if pattern is None or match_member(pattern, m.name)]
    if not chosen:
        raise DeliveryRefused(
            f"{what}：压缩包中没有符合约定的文件（共 {len(files)} 个文件）。现有数据继续有效；请核对压缩包的内容后重新提供。",
            rule_id="delivery.missing_member",
        )
    if others := len(files) - len(chosen):
        report.notes.append(f"{what}：压缩包中另有 {others} 个文件不在约定之内，未读取")
    return sorted(chosen, key=lambda m: m.name)


def is_litter(name: str) -> bool:
    """Whether a member is none of the department's files."""
    return bool(_LITTER.search(name.replace("\\", "/")))


def match_member(pattern: str, name: str) -> re.Match[str] | None:
    """The match of a member's whole name, or of its last part; old programs part folders by a backslash."""
    return re.fullmatch(pattern, name) or re.fullmatch(pattern, re.split(r"[/\\]", name)[-1])


def unpack_to(path: Path, member: Member, target: Path, budget: Budget, what: str) -> None:
    """The member as a file of its own, readable by its owner only."""
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        unpack_member(path, member, out.write, budget, what)


def plain_suffix(name: str) -> str:
    """The ending of a name, as far as it is plain letters."""
    return re.sub(r"[^.A-Za-z0-9]", "", Path(name).suffix)[:10]


def unpack_gzip(path: Path, target: Path, budget: Budget, what: str) -> None:
    """What a gzip file holds; several streams behind one another are one file (RFC 1952, 2.2).

    Raises DeliveryRefused when it is cut off, when a CRC is wrong, and for anything but padding behind the end.
    """
    inflater, streams = zlib.decompressobj(zlib.MAX_WBITS | 16), 1
    with (
        path.open("rb") as f,
        os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out,
    ):
        if f.read(2) != b"\x1f\x8b":
            raise refuse_archive(what, "不是 gzip 格式", rule_id="delivery.structure")
        f.seek(0)
        chunk = f.read(CHUNK)
        while chunk:
            if inflater.eof:
                streams += 1
                if streams > MAX_STREAMS:
                    raise refuse_archive(what, "由过多的小段拼接而成", rule_id="delivery.too_large")
                chunk = _begin_next(chunk if len(chunk) > 1 else chunk + f.read(CHUNK), what)
                if not chunk:
                    chunk = f.read(CHUNK)
                    continue
                inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
            try:
                for piece in inflate_pieces(inflater, chunk):
                    budget.spend(len(piece))
                    out.write(piece)
            except zlib.error as exc:
                raise refuse_archive(what, "已损坏（校验码不符）", rule_id="delivery.half_a_file") from exc
            chunk = inflater.unused_data or f.read(CHUNK)
    if not inflater.eof:
        raise refuse_archive(what, "不完整，可能只上传了一部分", rule_id="delivery.half_a_file")


def _begin_next(rest: bytes, what: str) -> bytes:
    """What follows the end of a stream: another stream, or nothing but padding (then empty)."""
    if not rest.strip(b"\0"):
        return b""
    if not rest.startswith(b"\x1f\x8b"):
        raise refuse_archive(what, "末尾附有多余内容", rule_id="delivery.half_a_file")
    return rest


def _read_gzip(
    path: Path, origin: str, expected: Expected, inner: Format, report: ReadReport
) -> Iterator[pa.RecordBatch]:
    from guiji.sources.formats import read_file

    what = f"文件 {origin}"
    name = re.sub(r"(?i)\.gz(?:ip)?$", "", origin)
    target = path.with_name(f"{path.stem}-unpacked{plain_suffix(name)}")
    try:
        unpack_gzip(path, target, Budget(path.stat().st_size, what), what)
        refuse_nested(target, name, what)
        yield from read_file(target, f"{origin}!{Path(name).name}", expected, inner, report)
    finally:
        target.unlink(missing_ok=True)


def refuse_nested(target: Path, name: str, what: str) -> None:
    """F-41: an archive within an archive has no end that can be known beforehand."""
    found = detect_media_type(target)
    if found in ARCHIVES:
        kind = "zip" if found == ZIP else found.rsplit("/", 1)[-1].removeprefix("x-")
        raise refuse_archive(what, f"中“{show_name(name)}”又是压缩包（{kind}），不支持多层压缩")
