"""In which encoding a text file is, and its text as blocks of UTF-8 that end at line ends.

Order (F-37): what the catalog declares; else BOM, UTF-8 strict, GB18030 strict. GBK is never enough. Lines that can't
be decoded are set aside one by one; a file that can't be decoded as a whole is refused. Splitting at ``\\n`` before
decoding is safe: no byte of a multi-byte character of UTF-8 or GB18030 is 0x0A.
"""

from __future__ import annotations

import codecs
import contextlib
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from guiji.errors import DeliveryRefused
from guiji.sources.formats.encoding_votes import Votes, judge_text
from guiji.sources.formats.foreign import refuse_foreign, too_few_words
from guiji.sources.formats.mojibake import (
    holds_utf8_lines,
    is_chinese_gb18030,
    is_chinese_utf8,
    refuse_mojibake,
)

_HAN = re.compile("[\u4e00-\u9fff]")
#: lines beyond ASCII that are looked at, spread over the sample
_LINES = 5_000
BLOCK = 4 << 20
LONGEST_LINE = 16 << 20
SAMPLE = 4 << 20
#: begins what stands for a line that could not be decoded (its number among those follows); no sound line has a NUL
UNDECODABLE = b"\x00\x00#"
#: first byte in UTF-8 of U+E000…U+EFFF, and of nothing else
PRIVATE_LEAD = b"\xee"

# GB18030-2022 gives these codes standard code points; CPython still yields the private ones of 2005 (F-38)
_PRIVATE = {
    0xE78D: 0xFE10, 0xE78E: 0xFE12, 0xE78F: 0xFE11, 0xE790: 0xFE13, 0xE791: 0xFE14, 0xE792: 0xFE15, 0xE793: 0xFE16,
    0xE794: 0xFE17, 0xE795: 0xFE18, 0xE796: 0xFE19, 0xE7C7: 0x1E3F, 0xE81E: 0x9FB4, 0xE826: 0x9FB5, 0xE82B: 0x9FB6,
    0xE82C: 0x9FB7, 0xE832: 0x9FB8, 0xE843: 0x9FB9, 0xE854: 0x9FBA, 0xE864: 0x9FBB, 0xE816: 0x20087, 0xE817: 0x20089,
    0xE818: 0x200CC, 0xE831: 0x215D7, 0xE83B: 0x2298F, 0xE855: 0x241FE,
}  # fmt: skip
_HAS_PRIVATE = re.compile(f"[{chr(min(_PRIVATE))}-{chr(max(_PRIVATE))}]")


@dataclass(frozen=True)
class RawBlock:
    """Whole lines of the file as they are, the BOM apart; UTF-16 is UTF-8 already."""

    data: bytes
    number: int = 0
    final: bool = False
    #: the last line of the file has no line end
    unended: bool = False


@dataclass(frozen=True)
class Block:
    """Whole lines of UTF-8; ``undecodable`` holds by number what stands where a line is ``UNDECODABLE``."""

    data: bytes
    undecodable: dict[int, str] = field(default_factory=dict)
    final: bool = False
    unended: bool = False


def normalise_private_use(text: str) -> str:
    """``text`` with the private code points of old GB18030 tables replaced by the standard ones."""
    # translate looks every character up: most texts have none of these
    return text.translate(_PRIVATE) if _HAS_PRIVATE.search(text) else text


#: first bytes, what such a file is, and what its department can do
_BINARY = (
    (b"PK\x03\x04", " zip 压缩包或 xlsx 工作簿", "解压，或另存为约定格式的文本文件"),
    (b"\x1f\x8b\x08", " gzip 压缩文件", "解压"),
    (b"Rar!\x1a\x07", " rar 压缩包", "解压"),
    (b"7z\xbc\xaf\x27\x1c", " 7z 压缩包", "解压"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", " Excel 97-2003 工作簿（xls）", "另存为约定格式的文本文件"),
    (b"PAR1", " Parquet 文件", "导出为约定格式的文本文件"),
    (b"%PDF-", " PDF 文件", "导出为约定格式的文本文件"),
)


def detect_encoding(path: Path, declared: str, what: str, *, likely: str | None = None) -> str:
    """``utf-8``, ``gb18030``, ``utf-16``, ``utf-16-le`` or ``utf-16-be``. Raises DeliveryRefused when the file is in none
    of them, when it contradicts what is declared, and when it is text that was already garbled when it was written.

    ``likely``: what the file says of itself, in which nobody trusts; taken where nothing is declared and its words are too
    few to tell. Without it such a file is refused."""
    with path.open("rb") as f:
        head = f.read(SAMPLE)
        _refuse_binary(head, what)
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            little = head.startswith(codecs.BOM_UTF16_LE)
            same = declared == ("utf-16-le" if little else "utf-16-be")
            return _agree("utf-16", "utf-16" if same else declared, what)
        if declared.startswith("utf-16-") and b"\x00" in head[:4096]:
            return declared
        if head.startswith(codecs.BOM_UTF8):
            return _agree("utf-8", declared, what)
        unclear, breaks_off, words = _first_unclear(f, head)
    if declared.startswith("utf-16"):
        raise _wrong_encoding(what, declared)
    if unclear is not None:
        found = _judge_sample(unclear, declared, what, likely)
    elif breaks_off and declared == "auto":
        found = "utf-8"  # who reads on finds that half of the last character is missing
    else:
        found = _judge_valid_utf8(head, words, declared, what, likely)
    sample = unclear.data if unclear else head
    refuse_mojibake(sample, found, what)
    if found == "gb18030":
        refuse_foreign(sample.split(b"\n"), declared, what)
    return found


def _refuse_binary(head: bytes, what: str) -> None:
    """Raises DeliveryRefused for a packed file or a workbook that goes by the name of a text: nobody can mend its
    encoding, so the message says what the file is."""
    for magic, kind, mend in _BINARY:
        if head.startswith(magic):
            raise DeliveryRefused(
                f"{what}：其实是{kind}，不是文本文件。现有数据继续有效；请{mend}后重新提供，或请数据中心更正该资源约定的格式。",
                rule_id="delivery.structure",
            )


def _judge_valid_utf8(head: bytes, words: list[bytes] | None, declared: str, what: str, likely: str | None) -> str:
    """The encoding of a file that is valid UTF-8 to its end. A few words in GB18030 may be that by accident (隆茂), and
    columns of short ones (女, 小, 微) are in any number of rows; but hardly ever Chinese comes of it (``words``: None)."""
    if declared == "gb18030" and words is None and not is_chinese_gb18030(head, final=len(head) < SAMPLE):
        return _agree("utf-8", declared, what)
    if declared == "auto" and words:
        votes = Votes()
        for line in words[:: max(1, len(words) // _LINES)]:
            votes.add(line)
        if not votes.utf8 or votes.utf8 < votes.chinese:
            if likely is None:
                raise too_few_words(what)
            return likely
    return "utf-8" if declared == "auto" else declared


def _judge_sample(sample: _Unclear, declared: str, what: str, likely: str | None) -> str:
    """The encoding of a file that is not all UTF-8, by whole lines around the first byte that is not."""
    votes = _count_votes(sample)
    if declared != "auto":
        if not votes.allow(declared):
            raise _wrong_encoding(what, declared)
        return declared
    found = votes.decide()
    if found == "?":
        if likely is None:
            raise too_few_words(what)
        return likely
    if found is None:
        raise _wrong_encoding(what, declared)
    return found


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


@dataclass(frozen=True)
class _Unclear:
    """Part of a file around its first bytes that are not UTF-8."""

    data: bytes
    begins: bool  # with the file, so that its first line is whole


def _first_unclear(f: BinaryIO, head: bytes) -> tuple[_Unclear | None, bool, list[bytes] | None]:
    """What is around the first bytes that are not UTF-8, None when everything is UTF-8; whether it is but for half a
    character at the end of the file; and lines beyond ASCII, None where Chinese comes of one."""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    chunk, before = head, b""
    words: list[bytes] | None = []
    read = 0
    while chunk:
        try:
            text = decoder.decode(chunk)
        except UnicodeDecodeError:
            return _Unclear(before[-SAMPLE // 4 :] + chunk, read <= SAMPLE // 4), False, words
        if _HAN.search(text):
            words = None
        elif words is not None and not text.isascii() and len(words) < 4 * _LINES:
            words += (line.encode() for line in text.split("\n") if not line.isascii())
        read += len(chunk)
        before, chunk = chunk, f.read(SAMPLE)
    return None, bool(decoder.getstate()[0]), words


def _count_votes(sample: _Unclear) -> Votes:
    """What the sample's whole lines beyond ASCII say."""
    lines = sample.data.split(b"\n")
    # the first may be cut where the sample begins, the last where it, or the file, breaks off
    whole = [line for line in lines[0 if sample.begins else 1 : -1] if not line.isascii()]
    # a file whose words all stand in such a line is told by it
    words = whole or [line for line in lines if not line.isascii()]
    votes = Votes()
    for line in words[:: max(1, len(words) // _LINES)]:
        # half a character where the file breaks off says nothing against the line
        votes.add(line, final=line is not lines[-1])
    return votes


def read_blocks(path: Path, encoding: str, what: str, size: int | None = None) -> Generator[Block]:
    """The file's lines as UTF-8, about ``size`` bytes at a time; see ``read_raw_blocks`` and ``decode_block``."""
    for raw in read_raw_blocks(path, encoding, what, size):
        yield decode_block(raw, encoding, what)


def read_raw_blocks(path: Path, encoding: str, what: str, size: int | None = None) -> Generator[RawBlock]:
    """The file's whole lines in order; the last block is ``final``. Lines end with ``\\n`` even where the file ends
    them with a carriage return alone, as old Macintosh programs do. Raises DeliveryRefused for a line without end."""
    for number, (data, final, unended) in enumerate(_end_lines(_read_raw(path, encoding, what, size or BLOCK), what)):
        yield RawBlock(data, number, final, unended)


def decode_block(raw: RawBlock, encoding: str, what: str) -> Block:
    """The lines as UTF-8, private code points normalised, undecodable lines replaced by ``UNDECODABLE`` and a number.

    Raises DeliveryRefused for a character cut in two at the end of the file."""
    data, undecodable = _transcode(raw.data, encoding, raw.number << 32)
    if undecodable and raw.final and raw.unended and data.rpartition(b"\n")[2].startswith(UNDECODABLE):
        raise half_a_file(what)
    return Block(data, undecodable, raw.final, raw.unended)


def keep_undecodable(known: dict[int, str], rest: bytes) -> dict[int, str]:
    """Of ``known`` what stands in ``rest``, the lines that are read once more: the others would add up."""
    numbers = map(int, re.findall(re.escape(UNDECODABLE) + rb"(\d+)", rest)) if known else ()
    return {n: known[n] for n in numbers if n in known}


def refuse_undecodable(lines: int, undecodable: int, encoding: str, what: str) -> None:
    """Raises DeliveryRefused when more than a few of the lines can't be decoded."""
    if undecodable > max(20, lines // 20):
        raise _wrong_encoding(what, encoding)


def _end_lines(chunks: Iterator[tuple[bytes, bool, bool]], what: str) -> Iterator[tuple[bytes, bool, bool]]:
    """The chunks with ``\\n`` at their line ends. Both kinds in one file are no line ends that can be told from text."""
    returns: bool | None = None  # a carriage return ends the lines
    for data, final, unended in chunks:
        if returns is None:
            returns = b"\n" not in data and b"\r" in data
        if returns and b"\n" in data:
            raise DeliveryRefused(
                f"{what}：换行方式前后不一（CR 与 LF 混用），无法判断行从哪里断开。现有数据继续有效；请统一换行后重新提供。",
                rule_id="delivery.structure",
            )
        if returns:
            yield data.replace(b"\r", b"\n"), final, unended and not data.endswith(b"\r")
        else:
            yield data, final, unended


def half_a_file(what: str) -> DeliveryRefused:
    """The error for a file that breaks off."""
    return DeliveryRefused(
        f"{what}：文件在末尾处中断，最后一行不完整，可能只上传了一部分。现有数据继续有效；请重新完整提供该文件。",
        rule_id="delivery.half_a_file",
    )


def _read_raw(path: Path, encoding: str, what: str, size: int) -> Iterator[tuple[bytes, bool, bool]]:
    """(bytes of whole lines, last block, last line without line end)."""
    if encoding.startswith("utf-16"):
        yield from _read_utf16(path, encoding, what, size)
        return
    with path.open("rb") as f:
        rest = f.read(3)
        rest = b"" if rest == codecs.BOM_UTF8 else rest
        line_end = b""  # the first that comes decides: later a carriage return may be text
        while chunk := f.read(size):
            data = rest + chunk
            if not line_end:
                line_end = b"\n" if b"\n" in data else b"\r" if b"\r" in data[:-1] else b""
            end = data.rfind(line_end) + 1 if line_end else 0
            # the carriage return at the end of a chunk may be half of a line end
            if line_end == b"\r" and end == len(data):
                end = data.rfind(line_end, 0, -1) + 1
            if not end:
                rest = data
                if len(rest) > LONGEST_LINE:
                    raise _endless_line(what)
                continue
            yield data[:end], False, False
            rest = data[end:]
        rest = rest.removesuffix(_END_MARK)
        yield rest, True, bool(rest) and not rest.endswith(b"\n")


def _endless_line(what: str) -> DeliveryRefused:
    return DeliveryRefused(
        f"{what}：一行超过 {LONGEST_LINE >> 20} MB，不是约定的文本表格。现有数据继续有效；请检查换行后重新提供。",
        rule_id="delivery.structure",
    )


#: with which programs of the time of DOS end a text file
_END_MARK = b"\x1a"


def _read_utf16(path: Path, encoding: str, what: str, size: int) -> Iterator[tuple[bytes, bool, bool]]:
    try:
        with path.open(encoding=encoding, errors="strict", newline="") as f:
            rest = line_end = ""
            while chunk := f.read(size // 2):
                text = rest + chunk
                line_end = line_end or ("\n" if "\n" in text else "\r" if "\r" in text[:-1] else "")
                end = text.rfind(line_end, 0, -1) + 1 if line_end else 0  # the last may be half of a line end
                rest = text[end:]
                if end:
                    yield text[:end].encode(), False, False
                elif len(rest) > LONGEST_LINE:
                    raise _endless_line(what)
            rest = rest.removesuffix(_END_MARK.decode())
            yield rest.encode(), True, bool(rest) and not rest.endswith("\n")
    except UnicodeError as exc:
        raise _wrong_encoding(what, encoding) from exc


def _transcode(raw: bytes, encoding: str, first: int) -> tuple[bytes, dict[int, str]]:
    """UTF-8 of ``raw``; a line that can't be decoded becomes ``UNDECODABLE`` and its number, from ``first`` on."""
    undecodable: dict[int, str] = {}
    if encoding == "gb18030":
        try:
            data = None if holds_utf8_lines(raw) else raw.decode("gb18030").encode()
        except UnicodeDecodeError:
            data = None
        if data is None:
            data = _set_aside(raw, "gb18030", undecodable, first)
    else:
        data = raw
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError:
            data = _set_aside(raw, "utf-8", undecodable, first)
    if PRIVATE_LEAD in data:
        data = normalise_private_use(data.decode()).encode()
    return data, undecodable


def _set_aside(raw: bytes, encoding: str, undecodable: dict[int, str], first: int) -> bytes:
    split = raw.split(b"\n")
    joined = _find_joined(split) if encoding == "utf-8" else frozenset()
    lines = []
    for at, line in enumerate(split):
        text: str | None = None
        with contextlib.suppress(UnicodeDecodeError):
            doubtful = is_chinese_utf8(line) if encoding == "gb18030" else at in joined
            text = None if doubtful else line.decode(encoding)
        if text is not None:
            lines.append(text.encode())
            continue
        number = first + len(undecodable)
        lines.append(UNDECODABLE + b"%d" % number)
        undecodable[number] = line.rstrip(b"\r").decode(encoding, "backslashreplace")
    return b"\n".join(lines)


def _find_joined(lines: list[bytes]) -> frozenset[int]:
    """Where lines of GB18030 stand among those of UTF-8 although they are valid UTF-8 too: beside one that is not."""
    kinds = {at: judge_text(line) for at, line in enumerate(lines) if not line.isascii()}
    found: set[int] = set()
    for order in (list(kinds), list(reversed(kinds))):
        beside = False
        for at in order:
            if kinds[at] == "chinese":
                found |= {at} if beside else set()
            elif kinds[at] != "signs":
                beside = kinds[at] == "gb18030"
    return frozenset(found)
