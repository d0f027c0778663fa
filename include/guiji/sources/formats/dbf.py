"""DBF tables (dBASE III/IV, FoxPro, Visual FoxPro) as columns of text; also the attributes of a shapefile.

Records have a fixed width, so a block of them is cut into columns at once. A DBF says nothing reliable about its
encoding (the language byte is wrong more often than not): what the catalog declares wins, then a ``.cpg``, then UTF-8
strict, then GB18030 strict, cell by cell (F-37, F-46). ``****`` is a number that did not fit: its value is gone. Only
beside a shapefile is it no value (``read_blocks``).
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.errors import DeliveryRefused
from guiji.sources.columns import Expected, match_header
from guiji.sources.formats.dbf_cells import READERS, read_text
from guiji.sources.formats.dbf_encoding import find_encoding
from guiji.sources.formats.encoding import half_a_file
from guiji.sources.formats.layout import skip
from guiji.sources.frames import Rows, make_batch

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from guiji.catalog.models import Format
    from guiji.records import ReadReport

BATCH_ROWS = 16384
#: dBASE III, IV and FoxPro, with and without memo file; Visual FoxPro. dBASE 7 (0x04) is built otherwise
VERSIONS = frozenset({0x02, 0x03, 0x30, 0x31, 0x32, 0x43, 0x63, 0x83, 0x8B, 0xCB, 0xF5, 0xFB})
VISUAL_FOXPRO = frozenset({0x30, 0x31, 0x32})


@dataclass(frozen=True)
class DbfField:
    """One column: where its bytes stand in a record. ``null_bit`` and ``length_bit`` are its places among Visual FoxPro's
    flags: that it has no value, and that its last byte is the length of a shorter one (Varchar)."""

    name: str
    kind: str
    offset: int
    length: int
    decimals: int
    null_bit: int | None = None
    length_bit: int | None = None


@dataclass(frozen=True)
class DbfTable:
    """A DBF whose header agrees with its size."""

    path: Path
    what: str
    fields: tuple[DbfField, ...]
    records: int
    header_bytes: int
    record_bytes: int
    encoding: str  # utf-8 or gb18030
    is_foxpro: bool
    null_flags: tuple[int, int] | None  # offset and length of Visual FoxPro's null flags

    @property
    def names(self) -> list[str]:
        return [f.name for f in self.fields]


@dataclass(frozen=True)
class DbfBlock:
    """Consecutive records, deleted ones too: the n-th record belongs to the n-th shape."""

    first: int  # number of the first record, from 1
    deleted: list[bool]
    columns: dict[str, list[str | None]]
    flaws: dict[int, str]  # index -> rule that the record breaks
    raw: Callable[[int], str]  # index -> the record as text
    starred: Counter[str]  # field -> how many of its numbers are asterisks that were read as no value

    def __len__(self) -> int:
        return len(self.deleted)


def read_dbf(path: Path, origin: str, expected: Expected, fmt: Format, report: ReadReport) -> Iterator[pa.RecordBatch]:
    """The records of a DBF file; deleted ones are counted as skipped, ``_line`` is the record's number.

    Raises DeliveryRefused for half a file, another format, unreadable encoding and columns that can't be read.
    """
    from guiji.catalog.models import Layout

    what = f"文件 {origin}"
    table = open_dbf(path, fmt.encoding, what)
    match = match_header(expected, Layout(), table.names, report, what, [f.kind for f in table.fields])
    wanted = {column: table.fields[position] for column, position in match.index.items()}
    demand_readable(table, list(wanted.values()))
    return _generate(table, wanted, origin, expected, report)


def _generate(
    table: DbfTable, wanted: dict[str, DbfField], origin: str, expected: Expected, report: ReadReport
) -> Iterator[pa.RecordBatch]:
    for block in read_blocks(table, list(wanted.values())):
        skip(report, "deleted", sum(block.deleted))
        nothing: list[str | None] = [None] * len(block)
        by_column = [block.columns[wanted[c].name] if c in wanted else nothing for c in expected.columns]
        rows = Rows()
        for i, cells in enumerate(zip(*by_column, strict=True)):
            if block.deleted[i]:
                continue
            if i in block.flaws:
                rows.add_broken(cells, block.first + i, block.flaws[i], block.raw(i))
            else:
                rows.add(cells, block.first + i)
        yield make_batch(expected.columns, rows, origin)


# --- header -----------------------------------------------------------------------------------------


def open_dbf(path: Path, declared: str, what: str, cpg: str | None = None) -> DbfTable:
    """The table in ``path``, its header proven against the file's size. ``declared`` is ``auto``, ``utf-8`` or
    ``gb18030``; ``cpg`` the text of the ``.cpg`` beside it. Raises DeliveryRefused."""
    size = path.stat().st_size
    if not size:
        raise DeliveryRefused(f"{what}：文件是空的。现有数据继续有效；请重新提供。", rule_id="delivery.empty")
    with path.open("rb") as f:
        head = f.read(32)
        if len(head) < 32 or head[0] not in VERSIONS:
            raise _refuse(what, "不是可识别的 DBF（dBASE III/IV、FoxPro）文件", "请重新导出后提供")
        records, header_bytes, record_bytes = struct.unpack("<IHH", head[4:12])
        if head[15]:
            raise _refuse(what, "文件已加密", "请去掉加密后重新提供")
        descriptors = f.read(max(0, header_bytes - 32))
    if len(descriptors) < header_bytes - 32:
        raise half_a_file(what)
    is_foxpro = head[0] in VISUAL_FOXPRO
    fields, null_flags = _read_descriptors(descriptors, record_bytes, is_foxpro, what)
    _check_size(path, size, header_bytes, records, record_bytes, what)
    table = DbfTable(path, what, fields, records, header_bytes, record_bytes, "utf-8", is_foxpro, null_flags)
    encoding = find_encoding(_beyond_ascii(table), declared, cpg, head[29], what)
    return replace(table, encoding=encoding)


def _check_size(path: Path, size: int, header_bytes: int, records: int, record_bytes: int, what: str) -> None:
    end = header_bytes + records * record_bytes
    if size < end:
        raise half_a_file(what)
    with path.open("rb") as f:
        f.seek(end)
        rest = f.read(record_bytes + 1)
    if rest.strip(b"\x1a\x00 ") or (len(rest) > record_bytes and rest[:1] != b"\x1a"):
        raise DeliveryRefused(
            f"{what}：文件头写明有 {records} 条记录，但文件中还有更多内容，可能没有正常保存。现有数据继续有效；"
            "请在业务系统中重新导出后提供。",
            rule_id="delivery.half_a_file",
        )


def _read_descriptors(
    data: bytes, record_bytes: int, foxpro: bool, what: str
) -> tuple[tuple[DbfField, ...], tuple[int, int] | None]:
    raw = []
    for at in range(0, len(data) - 31, 32):
        if data[at] == 0x0D:
            break
        raw.append(data[at : at + 32])
    names = _decode_names([r[:11].split(b"\x00")[0] for r in raw], what)
    # a text column may be wider than 255: Clipper and FoxPro keep the high byte where numbers have their decimals
    plain = [r[16] for r in raw]
    wide = [r[16] + 256 * r[17] if r[11:12] == b"C" else r[16] for r in raw]
    lengths = next((c for c in (plain, wide) if sum(c) + 1 == record_bytes), None)
    if lengths is None or not raw:
        raise _refuse(what, "文件头中的字段与记录长度不符", "请重新导出后提供")
    fields, null_flags = [], None
    offset, bit = 1, 0
    for name, r, length in zip(names, raw, lengths, strict=True):
        kind = r[11:12].decode("latin-1").upper()
        if kind == "0":
            null_flags = (offset, length)
        else:
            varies = bit if foxpro and kind in "VQ" else None
            bit += varies is not None
            nullable = foxpro and bool(r[18] & 2)
            fields.append(DbfField(name, kind, offset, length, r[17], bit if nullable else None, varies))
            bit += nullable
        offset += length
    return tuple(fields), null_flags


def _decode_names(raw: list[bytes], what: str) -> list[str]:
    """Field names; a name in Chinese may be cut inside a character at its tenth byte, which is dropped."""
    names = []
    for name in raw:
        for encoding in ("utf-8", "gb18030"):
            try:
                names.append(name.decode(encoding).strip())
                break
            except UnicodeDecodeError as exc:
                if len(name) >= 10 and exc.start >= len(name) - 3 and exc.reason != "invalid start byte":
                    names.append(name[: exc.start].decode(encoding).strip())
                    break
        else:
            raise _refuse(what, "字段名中有无法识别的字节", "请重新导出后提供")
    return names


def demand_readable(table: DbfTable, fields: Sequence[DbfField]) -> None:
    """Raises DeliveryRefused when one of ``fields`` is of a kind that is not read (memo, picture, object)."""
    binary = {"I": 4, "B": 8, "Y": 8, "T": 8} if table.is_foxpro else {"I": 4}
    texts = "CNFDLV" if table.null_flags else "CNFDL"
    if wrong := [f.name for f in fields if f.kind not in texts and binary.get(f.kind) != f.length]:
        raise _refuse(
            table.what,
            f"字段 {'、'.join(wrong)} 是备注或二进制类型，其内容不在本文件中",
            "请改为字符型字段，或改用其他格式提供",
        )


def _refuse(what: str, why: str, mend: str) -> DeliveryRefused:
    return DeliveryRefused(f"{what}：{why}。现有数据继续有效；{mend}。", rule_id="delivery.structure")


# --- encoding ---------------------------------------------------------------------------------------


def _beyond_ascii(table: DbfTable) -> Iterator[bytes]:
    import numpy as np

    texts = [f for f in table.fields if f.kind in "CV"]
    for _, block in _read_raw(table):
        for field in texts:
            part = block[:, field.offset : field.offset + field.length]
            for row in np.flatnonzero((part >= 0x80).any(axis=1)):
                cell: bytes = part[row].tobytes()
                yield cell.rstrip(b" \x00")


# --- records ----------------------------------------------------------------------------------------


def _read_raw(table: DbfTable) -> Iterator[tuple[int, np.ndarray[Any, Any]]]:
    """(number of the first record, records as a matrix of bytes)."""
    import numpy as np

    with table.path.open("rb") as f:
        f.seek(table.header_bytes)
        done = 0
        while done < table.records:
            data = f.read(min(BATCH_ROWS, table.records - done) * table.record_bytes)
            block = np.frombuffer(data, np.uint8).reshape(-1, table.record_bytes)
            yield done + 1, block
            done += len(block)


def read_blocks(table: DbfTable, fields: Sequence[DbfField], *, stars_are_none: bool = False) -> Iterator[DbfBlock]:
    """All records in order, with the columns of ``fields``. Raises DeliveryRefused for a record without its mark.

    ``stars_are_none``: a number of nothing but asterisks has no value, as GDAL writes it, which cuts what doesn't fit.
    """
    for first, block in _read_raw(table):
        marks = block[:, 0]
        wrong = ((marks != 0x20) & (marks != 0x2A)).nonzero()[0]
        if len(wrong):
            raise _refuse(
                table.what, f"第 {first + int(wrong[0])} 条记录的起始标志不对，内容已错位", "请重新导出后提供"
            )
        columns: dict[str, list[str | None]] = {}
        flaws: dict[int, str] = {}
        starred: Counter[str] = Counter()
        for field in fields:
            cells = _cut_cells(block, field)
            if stars_are_none and field.kind in "NF":
                for i in _find_starred(block, field):
                    cells[i] = b""
                    starred[field.name] += int(marks[i] == 0x20)
            if table.null_flags and field.length_bit is not None:
                for i in _find_flagged(block, table.null_flags[0], field.length_bit):
                    cells[i] = cells[i][: cells[i][-1]]
            columns[field.name] = _read_cells(cells, field, table.encoding, flaws)
            if table.null_flags and field.null_bit is not None:
                for i in _find_flagged(block, table.null_flags[0], field.null_bit):
                    columns[field.name][i] = None

        def raw(index: int, block: np.ndarray[Any, Any] = block) -> str:
            record: bytes = block[index].tobytes()
            text = record[1:].decode(table.encoding, "backslashreplace")
            return text.replace("\x00", "␀")

        yield DbfBlock(first, (marks == 0x2A).tolist(), columns, flaws, raw, starred)


def _find_flagged(block: np.ndarray[Any, Any], offset: int, bit: int) -> list[int]:
    found: list[int] = (block[:, offset + bit // 8] & (1 << bit % 8)).nonzero()[0].tolist()
    return found


def _find_starred(block: np.ndarray[Any, Any], field: DbfField) -> list[int]:
    found: list[int] = (block[:, field.offset : field.offset + field.length] == 0x2A).all(axis=1).nonzero()[0].tolist()
    return found


def _cut_cells(block: np.ndarray[Any, Any], field: DbfField) -> list[bytes]:
    """The field's bytes of every record."""
    if not field.length:
        return [b""] * len(block)
    part = block[:, field.offset : field.offset + field.length].tobytes()
    return [part[i : i + field.length] for i in range(0, len(part), field.length)]


def _read_cells(cells: list[bytes], field: DbfField, encoding: str, flaws: dict[int, str]) -> list[str | None]:
    found: list[str | None] = []
    read = READERS.get(field.kind, read_text)
    for i, cell in enumerate(cells):
        text, flaw = read(cell, encoding, field.length)
        if flaw is not None:
            flaws.setdefault(i, flaw)
        found.append(text)
    return found
