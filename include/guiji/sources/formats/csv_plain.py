"""Blocks and lines of CSV that Arrow's fast reader may read, because their structure was proven."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from guiji.sources.formats.csv_scan import LOST_BYTES, Scan
from guiji.sources.formats.encoding import PRIVATE_LEAD
from guiji.sources.formats.mojibake import holds_utf8_lines
from guiji.sources.formats.tokenizer import Dialect

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_BOM = "\ufeff".encode()
_BOM_GB18030 = "\ufeff".encode("gb18030")


def read_unquoted(
    raw: bytes, encoding: str, width: int, positions: Sequence[int], dialect: Dialect
) -> list[pa.Array] | None:
    """The columns ``positions`` of raw lines that show no mark of anything but plain rows; None where they show one.

    Without a quote (or with quotes around every cell), an escape and a lone carriage return, a row is a line and a cell what stands between two
    delimiters: Arrow splits them so and refuses every line that has not ``width`` cells. Whatever it refuses, and
    whatever may be a blank line, a comment or lost text, is left to the slower proof by ``scan_block``. GB18030 is
    split before it is decoded, so that columns of digits need no decoding: sound for marks that are no trail byte.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    marks = [dialect.delimiter, *(mark for mark in (dialect.quote, dialect.escape, dialect.comment) if mark)]
    is_gb18030 = encoding == "gb18030"
    if not raw or (is_gb18030 and any(0x30 <= ord(m) <= 0x39 or 0x40 <= ord(m) <= 0x7E for m in marks)):
        return None
    if b"\x00" in raw or (dialect.escape and dialect.escape.encode() in raw) or raw.startswith((_BOM, _BOM_GB18030)):
        return None
    quoted = bool(dialect.quote) and dialect.quote.encode() in raw
    if not is_gb18030 and (PRIVATE_LEAD in raw or any(mark in raw for mark in LOST_BYTES)):
        return None
    if is_gb18030 and holds_utf8_lines(raw):
        return None
    if dialect.comment and (raw.startswith(mark := dialect.comment.encode()) or b"\n" + mark in raw):
        return None
    if b"\r" in raw and raw.count(b"\r") != raw.count(b"\r\n"):
        return None
    if not raw.endswith(b"\n"):
        raw += b"\n"
    if quoted and not _all_quoted(raw, width, dialect):
        return None
    quote = dialect.quote if quoted else ""
    try:
        table = _parse(raw, width, positions, dialect.delimiter, quote, binary=is_gb18030, check=not is_gb18030)
    except pa.ArrowInvalid:
        return None
    if table.num_rows != raw.count(b"\n"):
        return None
    found = {p: table[str(p)].chunk(0) for p in sorted(set(positions))}
    empty: Any = None  # rows without any text so far
    for column in found.values():
        this = pc.equal(pc.binary_length(column), 0)
        empty = this if empty is None else pc.and_(empty, this)
        if not empty.true_count:
            break
    else:
        return None
    if is_gb18030:
        for p, column in found.items():
            decoded = _decode(column)
            if decoded is None:
                return None
            found[p] = decoded
    return [found[p] for p in positions]


def _all_quoted(raw: bytes, width: int, dialect: Dialect) -> bool:
    """True when the quotes around whole cells, on every cell of every line, are all the quotes there are.

    Counted, not parsed: between two cells stands ``","``, between two lines ``"\\n"``, and no quote belongs to two of
    those. If they, the first and the last account for every quote and every line end, then no cell holds either.
    """
    d, q = dialect.delimiter.encode(), dialect.quote.encode()
    end = b"\r\n" if raw.endswith(b"\r\n") else b"\n"
    lines = raw.count(b"\n")
    return (
        raw.startswith(q)
        and raw.endswith(q + end)
        and raw.count(q) == 2 * width * lines
        and raw.count(q + d + q) == (width - 1) * lines
        and raw.count(q + end + q) == lines - 1
        and q + d + q + end + q not in raw
        and q + end + q + d + q not in raw
    )


def _decode(column: pa.BinaryArray) -> pa.StringArray | None:
    """A column of GB18030 cells without line breaks as text; None where a cell can't be decoded or holds lost text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    size = int(pc.sum(pc.binary_length(column)).as_py() or 0)
    data = column.buffers()[2]
    if data is None or size == 0 or memoryview(data)[:size].tobytes().isascii():
        return column.view(pa.string())
    offsets = pa.array([0, len(column)], pa.int32())
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, column), b"\n")[0].as_buffer()
    try:
        text = codecs.decode(joined, "gb18030").encode()
    except UnicodeDecodeError:
        return None
    if PRIVATE_LEAD in text or any(mark in text for mark in LOST_BYTES):
        return None
    cells: pa.ListArray = pc.split_pattern(pa.array([text], pa.binary()).view(pa.string()), "\n")
    return cells.flatten() if len(cells.flatten()) == len(column) else None


def read_proven(
    data: bytes, scan: Scan, plain: np.ndarray[Any, Any], width: int, positions: Sequence[int], dialect: Dialect
) -> list[pa.Array] | None:
    """The columns ``positions`` of the lines ``plain``; None when Arrow sees other rows than the proof."""
    import numpy as np

    if not plain.all():
        stops = np.append(scan.starts[1:], len(data))
        data = np.frombuffer(data, np.uint8)[np.repeat(plain, stops - scan.starts)].tobytes()
    table = _parse(data, width, positions, dialect.delimiter, dialect.quote if scan.quoted else "")
    if table.num_rows != int(plain.sum()):
        return None
    return [table[str(p)].chunk(0) for p in positions]


def _parse(
    data: bytes,
    width: int,
    positions: Sequence[int],
    delimiter: str,
    quote: str,
    *,
    binary: bool = False,
    check: bool = False,
) -> pa.Table:
    """All text, one chunk; nothing is inferred, nothing is null. Raises ArrowInvalid for a line of another width."""
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    cells = [str(i) for i in range(width)]
    table = pa_csv.read_csv(
        pa.BufferReader(data),
        pa_csv.ReadOptions(column_names=cells, use_threads=False, block_size=max(len(data) + 1, 1 << 16)),
        pa_csv.ParseOptions(
            delimiter=delimiter,
            quote_char=quote or False,
            double_quote=bool(quote),
            newlines_in_values=False,
            ignore_empty_lines=False,
        ),
        pa_csv.ConvertOptions(
            column_types=dict.fromkeys(cells, pa.binary() if binary else pa.string()),
            include_columns=[str(p) for p in sorted(set(positions))],
            strings_can_be_null=False,
            quoted_strings_can_be_null=False,
            check_utf8=check,
        ),
    )
    return table.combine_chunks()
