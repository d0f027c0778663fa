"""How large one cell, one row and one piece of a batch may be: what keeps every step below 1 GB, whatever is delivered.

A reader, the engine and the warehouse all hold a few thousand rows at a time. Rows of a normal table are small, and
then that is little; a document's text, a photograph as base64 or a shape of a million points may stand in a cell too.
So a cell and a row have a largest size (a row beyond it is set aside, ``guiji.structure.TOO_LARGE``), and wherever
rows are taken many at a time they are cut by bytes as well (``cut_by_bytes``). Sizes are bytes of UTF-8 or WKB.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

#: of one value; a text of this size has well over a million Chinese characters
LARGEST_CELL = 4 << 20
#: of one value of a geometry field, as WKB or as the text it is delivered as: half a million points and more
LARGEST_SHAPE = 16 << 20
#: of all values of one row together
LARGEST_ROW = 24 << 20
#: of the texts of a row's key, and of the fields by which libraries look it up: the warehouse has indexes on them
LARGEST_KEY = 2_000
#: fields of one resource: what checks and tells them takes memory for each (``guiji.engine``), whatever the rows hold
MOST_FIELDS = 200
#: bytes of rows that one step holds at a time, several times over
PIECE_BYTES = 8 << 20
#: key of the Parquet metadata of a package's part: bytes of text to a row, where its rows are widest
ROW_BYTES_KEY = "guiji_row_bytes"
#: rows that the engine takes at a time, whatever their size
VECTOR_ROWS = 2048
#: rows of more bytes than this, over ``VECTOR_ROWS`` of them, are wide: they are kept and checked piece by piece
WIDE_ROW_BYTES = PIECE_BYTES // VECTOR_ROWS


def cell_bytes(column: pa.Array) -> pa.Array:
    """The bytes of each value of a column of texts or bytes, null where there is none; None for other types, whose values
    are small."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        lengths = cell_bytes(column.dictionary)
        return None if lengths is None else lengths.take(column.indices)
    t = column.type
    if pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_binary(t) or pa.types.is_large_binary(t):
        return pc.binary_length(column)
    return None


def longest_cell(column: pa.Array) -> int:
    """The bytes of the largest value of a column; 0 where its type holds small values only."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = cell_bytes(column.dictionary if pa.types.is_dictionary(column.type) else column)
    return 0 if lengths is None else int(pc.max(lengths).as_py() or 0)


def row_bytes(batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """The bytes of each row's texts."""
    import numpy as np
    import pyarrow.compute as pc

    total: npt.NDArray[np.int64] = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        lengths = cell_bytes(column)
        if lengths is not None:
            total += np.asarray(pc.fill_null(lengths, 0)).astype(np.int64)
    return total


def cut_by_bytes(batch: pa.RecordBatch, most: int = PIECE_BYTES) -> Iterator[pa.RecordBatch]:
    """The batch in pieces of at most ``most`` bytes of text, or of one row; as it is where it is no larger."""
    import numpy as np

    if batch.num_rows <= 1 or batch.nbytes <= most:
        yield batch
        return
    ends: npt.NDArray[Any] = np.cumsum(row_bytes(batch))
    start, before = 0, 0
    while start < batch.num_rows:
        stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield batch.slice(start, stop - start)
        start, before = stop, int(ends[stop - 1])
