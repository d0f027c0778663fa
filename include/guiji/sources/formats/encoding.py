"""In which encoding a text file is, and its text as blocks of UTF-8 that end at line ends.

Order (F-37): what the catalog declares; else BOM, UTF-8 strict, GB18030 strict. GBK is never enough. Lines that can't
be decoded are set aside one by one; a file that can't be decoded as a whole is refused. Splitting at ``\\n`` before
decoding is safe: no byte of a multi-byte character of UTF-8 or GB18030 is 0x0A.
"""

from __future__ import annotations

import codecs
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from guiji.errors import DeliveryRefused

BLOCK = 4 << 20
LONGEST_LINE = 16 << 20
SAMPLE = 4 << 20
#: begins what stands for a line that could not be decoded (its number among those follows); no sound line has a NUL
UNDECODABLE = b"\x00\x00#"

# GB18030-2022 gives these codes standard code points; CPython still yields the private ones of 2005 (F-38)
_PRIVATE = {
    0xE78D: 0xFE10, 0xE78E: 0xFE12, 0xE78F: 0xFE11, 0xE790: 0xFE13, 0xE791: 0xFE14, 0xE792: 0xFE15, 0xE793: 0xFE16,
    0xE794: 0xFE17, 0xE795: 0xFE18, 0xE796: 0xFE19, 0xE7C7: 0x1E3F, 0xE81E: 0x9FB4, 0xE826: 0x9FB5, 0xE82B: 0x9FB6,
    0xE82C: 0x9FB7, 0xE832: 0x9FB8, 0xE843: 0x9FB9, 0xE854: 0x9FBA, 0xE864: 0x9FBB, 0xE816: 0x20087, 0xE817: 0x20089,
    0xE818: 0x200CC, 0xE831: 0x215D7, 0xE83B: 0x2298F, 0xE855: 0x241FE,
}  # fmt: skip


@dataclass
class Block:
    """Whole lines of UTF-8; ``undecodable`` holds what stands where a line is ``UNDECODABLE``."""

    data: bytes
    undecodable: list[str] = field(default_factory=list)
    final: bool = False
    #: the last line of the file has no line end
    unended: bool = False


def normalise_private_use(text: str) -> str:
    """``text`` with the private code points of old GB18030 tables replaced by the standard ones."""
    return text.translate(_PRIVATE)


def detect_encoding(path: Path, declared: str, what: str) -> str:
    """``utf-8``, ``gb18030`` or ``utf-16``. Raises DeliveryRefused when the file is in none of them, or
    when it contradicts what is declared."""
    with path.open("rb") as f:
        head = f.read(SAMPLE)
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return _agree("utf-16", declared, what)
        if head.startswith(codecs.BOM_UTF8):
            return _agree("utf-8", declared, what)
        sample = _first_unclear(f, head)
    if sample is None:
        # valid UTF-8 to the end. Text that a GB18030 writer produced is that only by accident, in very short files
        if declared == "gb18030" and _count_cjk(head) >= 16:
            return _agree("utf-8", declared, what)
        return "utf-8" if declared == "auto" else declared
    utf8, gb18030 = _share_valid(sample, "utf-8"), _share_valid(sample, "gb18030")
    if declared != "auto":
        if (utf8 if declared == "utf-8" else gb18030) < 0.5:
            raise _wrong_encoding(what, declared)
        return declared
    if utf8 >= 0.5:  # a GB18030 line is hardly ever valid UTF-8, so this is UTF-8 with damaged lines
        return "utf-8"
    if gb18030 >= 0.9:
        return "gb18030"
    raise _wrong_encoding(what, declared)


def _agree(found: str, declared: str, what: str) -> str:
    if declared not in ("auto", found):
        raise _wrong_encoding(what, declared)
    return found


def _wrong_encoding(what: str, declared: str) -> DeliveryRefused:
    wanted = "utf-8 或 gb18030" if declared == "auto" else declared
    return DeliveryRefused(
        f"{what}：文件编码不是 {wanted}，无法正确读出文字。现有数据继续有效；请另存为 {wanted} 编码后重新提供。",
        rule_id="delivery.encoding",
    )


def _first_unclear(f: BinaryIO, head: bytes) -> bytes | None:
    """Whole lines around the first bytes that are not UTF-8; None when everything is UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    chunk, before = head, b""
    while chunk:
        try:
            decoder.decode(chunk)
        except UnicodeDecodeError:
            return before[-SAMPLE // 4 :] + chunk
        before, chunk = chunk, f.read(SAMPLE)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return before
    return None


def _share_valid(sample: bytes, encoding: str) -> float:
    """Share of the sample's whole lines beyond ASCII that ``encoding`` decodes."""
    lines = sample.split(b"\n")
    # the first may be cut where the sample begins, the last where it, or the file, breaks off
    lines = lines[1:-1] if len(lines) > 3 else lines[:-1] or lines
    seen = good = 0
    for line in lines[:: max(1, len(lines) // 5000)]:
        if line.isascii():
            continue
        seen += 1
        try:
            line.decode(encoding)
            good += 1
        except UnicodeDecodeError:
            pass
    return good / seen if seen else 1.0


def _count_cjk(head: bytes) -> int:
    return sum(1 for c in head.decode("utf-8", "ignore")[:100_000] if "\u4e00" <= c <= "\u9fff")


def read_blocks(path: Path, encoding: str, what: str, size: int = BLOCK) -> Generator[Block]:
    """The file's lines as UTF-8, without BOM, private code points normalised; the last block is ``final``.

    Raises DeliveryRefused for a character cut in two at the end of the file, and when lines beyond a few
    can't be decoded.
    """
    bad = lines = 0
    for raw, final, unended in _read_raw(path, encoding, what, size):
        data, undecodable = _transcode(raw, encoding, bad)
        if undecodable and final and unended and data.rpartition(b"\n")[2].startswith(UNDECODABLE):
            raise half_a_file(what)
        bad += len(undecodable)
        lines += data.count(b"\n") + 1
        if bad > max(20, lines // 20):
            raise _wrong_encoding(what, encoding)
        yield Block(data, undecodable, final, unended)


def half_a_file(what: str) -> DeliveryRefused:
    """The error for a file that breaks off."""
    return DeliveryRefused(
        f"{what}：文件在末尾处中断，最后一行不完整，可能只上传了一部分。现有数据继续有效；请重新完整提供该文件。",
        rule_id="delivery.half_a_file",
    )


def _read_raw(path: Path, encoding: str, what: str, size: int) -> Iterator[tuple[bytes, bool, bool]]:
    """(bytes of whole lines, last block, last line without line end)."""
    if encoding == "utf-16":
        yield from _read_utf16(path, what, size)
        return
    with path.open("rb") as f:
        rest = f.read(3)
        rest = b"" if rest == codecs.BOM_UTF8 else rest
        while chunk := f.read(size):
            end = chunk.rfind(b"\n") + 1
            if not end:
                rest += chunk
                if len(rest) > LONGEST_LINE:
                    raise DeliveryRefused(
                        f"{what}：一行超过 {LONGEST_LINE >> 20} MB，不是约定的文本表格。现有数据继续有效；请检查换行后重新提供。",
                        rule_id="delivery.structure",
                    )
                continue
            yield rest + chunk[:end], False, False
            rest = chunk[end:]
        yield rest, True, bool(rest) and not rest.endswith(b"\n")


def _read_utf16(path: Path, what: str, size: int) -> Iterator[tuple[bytes, bool, bool]]:
    try:
        with path.open(encoding="utf-16", errors="strict", newline="\n") as f:
            rest = ""
            while chunk := f.read(size // 2):
                whole, line_end, rest = (rest + chunk).rpartition("\n")
                if line_end:
                    yield (whole + line_end).encode(), False, False
            yield rest.encode(), True, bool(rest)
    except UnicodeError as exc:
        raise _wrong_encoding(what, "auto") from exc


def _transcode(raw: bytes, encoding: str, first: int) -> tuple[bytes, list[str]]:
    """UTF-8 of ``raw``; a line that can't be decoded becomes ``UNDECODABLE`` and its number, from ``first`` on."""
    undecodable: list[str] = []
    if encoding == "gb18030":
        try:
            data = raw.decode("gb18030").encode()
        except UnicodeDecodeError:
            data = _set_aside(raw, "gb18030", undecodable, first)
    else:
        data = raw
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError:
            data = _set_aside(raw, "utf-8", undecodable, first)
    if b"\xee" in data:  # lead byte of U+E000…U+EFFF, and of nothing else
        data = normalise_private_use(data.decode()).encode()
    return data, undecodable


def _set_aside(raw: bytes, encoding: str, undecodable: list[str], first: int) -> bytes:
    lines = []
    for line in raw.split(b"\n"):
        try:
            lines.append(line.decode(encoding).encode())
        except UnicodeDecodeError:
            lines.append(UNDECODABLE + b"%d" % (first + len(undecodable)))
            undecodable.append(line.rstrip(b"\r").decode(encoding, "backslashreplace"))
    return b"\n".join(lines)
