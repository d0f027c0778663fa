"""Blocks and lines of CSV that Arrow's fast reader may read, because their structure was proven."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from guiji.sources.formats.csv_scan import LOST_BYTES, Scan
from guiji.sources.formats.tokenizer import Dialect

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_BOM = b"\xef\xbb\xbf"


def read_unquoted(data: bytes, width: int, positions: Sequence[int], dialect: Dialect) -> list[pa.Array] | None:
    """The columns ``positions`` of a block that shows no mark of anything but plain rows; None where it shows one.

    Without a quote, an escape and a lone carriage return, a row is a line and a cell what stands between two
    delimiters: Arrow splits them so and refuses every line that has not ``width`` cells. Whatever it refuses, and
    whatever may be a blank line, a comment or lost text, is left to the slower proof by ``scan_block``.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    special = [mark.encode() for mark in (dialect.quote, dialect.escape) if mark]
    if any(mark in data for mark in (b"\x00", *special, *LOST_BYTES)) or data.startswith(_BOM):
        return None
    if dialect.comment and (data.startswith(mark := dialect.comment.encode()) or b"\n" + mark in data):
        return None
    if b"\r" in data and data.count(b"\r") != data.count(b"\r\n"):
        return None
    try:
        table = _parse(data, width, positions, dialect.delimiter, quote="")
    except pa.ArrowInvalid:
        return None
    if table.num_rows != data.count(b"\n"):
        return None
    columns = [table[str(p)].chunk(0) for p in positions]
    empty: Any = None  # rows without any text so far
    for column in columns:
        this = pc.equal(pc.binary_length(column), 0)
        empty = this if empty is None else pc.and_(empty, this)
        if not empty.true_count:
            return columns
    return None


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


def _parse(data: bytes, width: int, positions: Sequence[int], delimiter: str, quote: str) -> pa.Table:
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
            column_types={c: pa.string() for c in cells},
            include_columns=[str(p) for p in sorted(set(positions))],
            strings_can_be_null=False,
            quoted_strings_can_be_null=False,
            check_utf8=False,
        ),
    )
    return table.combine_chunks()
