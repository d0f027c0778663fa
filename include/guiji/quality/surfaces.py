"""The surfaces of a delivery, put down as they come and read again from west to east.

Sorting shapes would hold them all. So their bytes lie in a file, in the order of the rows, and what is sorted is where
each lies: a few numbers a row. They are read again in pieces of ``limits.PIECE_BYTES``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from guiji.limits import PIECE_BYTES

if TYPE_CHECKING:
    import pyarrow as pa

_POLYGONS = (3, 6)  # shapely's type ids of Polygon and MultiPolygon


def make_schema() -> pa.Schema:
    """``place`` and ``size``: where in the file of shapes the WKB begins, and its bytes."""
    import pyarrow as pa

    names = {"_row_no": pa.int64(), "key": pa.uint64(), "west": pa.float64(), "place": pa.int64(), "size": pa.int64()}
    return pa.schema(list(names.items()))


def put_surfaces(batch: pa.RecordBatch, index: int, shapes: Any, file: BinaryIO) -> pa.RecordBatch:
    """Appends the WKB of the rows whose shape is a surface; returns those rows and where their shapes lie."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import shapely

    at = pa.array(np.flatnonzero(np.isin(shapely.get_type_id(shapes), _POLYGONS)))
    column = batch.column(f"_g{index}").take(at)
    size = np.asarray(pc.binary_length(column)).astype(np.int64)
    place = file.tell() + np.cumsum(size) - size
    file.writelines(column.to_pylist())
    west = pa.array(shapely.bounds(shapes)[:, 0]).take(at)
    columns = [batch.column("_row_no").take(at), batch.column("_key").take(at), west, pa.array(place), pa.array(size)]
    return pa.RecordBatch.from_arrays(columns, schema=make_schema())


def read_surfaces(rows: Iterable[pa.RecordBatch], path: Path, most: int = PIECE_BYTES) -> Iterator[pa.RecordBatch]:
    """``_row_no``, ``key`` and ``shape`` of the rows in the order given, at most ``most`` bytes of shapes at a time, or
    one row. ``rows``: ``_row_no``, ``key``, ``place``, ``size``."""
    import numpy as np
    import pyarrow as pa

    with path.open("rb") as file:
        for batch in rows:
            places, sizes = batch.column("place").to_pylist(), batch.column("size").to_pylist()
            ends = np.cumsum(sizes)
            start, before = 0, 0
            while start < batch.num_rows:
                stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
                found = [os.pread(file.fileno(), sizes[i], places[i]) for i in range(start, stop)]
                some = [batch.column(n).slice(start, stop - start) for n in ("_row_no", "key")]
                yield pa.RecordBatch.from_arrays([*some, pa.array(found, pa.binary())], ["_row_no", "key", "shape"])
                start, before = stop, int(ends[stop - 1])
