"""The Parquet files that checked rows are sorted into: written as rows come, readable by the owner only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.engine import NULLS_PREFIX
from guiji.limits import cut_by_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

ROWS_AT_ONCE = 65_536
#: fields to a column of ``_nulls_<k>``
NULLS_AT_ONCE = 60


def nulls_columns(fields: int) -> list[str]:
    """The columns that say which fields of a row are empty, one bit each."""
    return [f"{NULLS_PREFIX}{k}" for k in range((fields + NULLS_AT_ONCE - 1) // NULLS_AT_ONCE)]


def _list_nulls(batch: pa.RecordBatch, fields: int) -> list[pa.Array]:
    import numpy as np
    import pyarrow as pa

    found = []
    for start in range(0, fields, NULLS_AT_ONCE):
        bits = np.zeros(batch.num_rows, np.int64)
        for i in range(start, min(start + NULLS_AT_ONCE, fields)):
            column = batch.column(i)
            if column.null_count:
                bits |= column.is_null().to_numpy(zero_copy_only=False).astype(np.int64) << (i - start)
        found.append(pa.array(bits))
    return found


class RowWriters:
    """The two Parquet files that rows are sorted into; closed and owner-only at the end."""

    def __init__(self, directory: Path, fields: int) -> None:
        self.accepted_path = directory / "accepted.parquet"
        self.flagged_path = directory / "flagged.parquet"
        self.fields = fields  # the first columns of a batch
        self.accepted: Any = None
        self.flagged: Any = None
        self.keep: list[int] = []

    def __enter__(self) -> RowWriters:
        return self

    def __exit__(self, *_: object) -> None:
        if self.flagged is not None and self.accepted is None:
            self.accepted = _open_writer(self.accepted_path, self.schema)
        for writer, path in ((self.accepted, self.accepted_path), (self.flagged, self.flagged_path)):
            if writer is not None:
                writer.close()
                path.chmod(0o600)

    def open(self, schema: pa.Schema, internal: Sequence[str]) -> None:
        """Opens the files for rows of ``schema``; ``internal`` columns and reasons stay out of ``accepted``."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self.flagged is not None:
            return
        self.keep = [
            i for i, name in enumerate(schema.names) if name not in internal and not name.startswith("_reason_")
        ]
        added = [pa.field(name, pa.int64()) for name in nulls_columns(self.fields)] + [pa.field("_op", pa.string())]
        self.schema = pa.schema([*(schema.field(i) for i in self.keep), *added])
        flagged = schema.append(pa.field("_loser", pa.bool_()))
        for path in (self.accepted_path, self.flagged_path):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        self.flagged = pq.ParquetWriter(self.flagged_path, flagged, compression="lz4")
        self.flagged_schema = flagged

    def write_accepted(self, batch: pa.RecordBatch) -> None:
        import pyarrow as pa

        if batch.num_rows:
            op = pa.repeat(pa.scalar("new", pa.string()), batch.num_rows)
            columns = [*(batch.column(i) for i in self.keep), *_list_nulls(batch, self.fields), op]
            sorted_out = pa.RecordBatch.from_arrays(columns, schema=self.schema)
            if self.accepted is None:
                self.accepted = _open_writer(self.accepted_path, sorted_out)
            self.accepted.write_batch(sorted_out)

    def write_flagged(self, batch: pa.RecordBatch) -> None:
        import pyarrow as pa

        for piece in cut_by_bytes(batch):  # each is a row group, and these rows hold their staged cells once more
            loser = pa.repeat(pa.scalar(False), piece.num_rows)
            self.flagged.write_batch(pa.RecordBatch.from_arrays([*piece.columns, loser], schema=self.flagged_schema))


def _open_writer(path: Path, first: pa.RecordBatch | pa.Schema) -> Any:
    """A Parquet writer with dictionaries for the columns that repeat in the first rows; they cost half the time of
    writing where every value is different."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    repeating = []
    if isinstance(first, pa.RecordBatch):
        for name, column in zip(first.schema.names, first.columns, strict=True):
            if pc.count_distinct(column).as_py() * 10 < len(column):
                repeating.append(name)
    schema = first.schema if isinstance(first, pa.RecordBatch) else first
    return pq.ParquetWriter(path, schema, compression="lz4", use_dictionary=repeating, write_statistics=False)


def remove_rows(path: Path, row_nos: npt.NDArray[np.int64]) -> None:
    """Rewrites ``path`` without these rows, row group by row group."""
    import numpy as np
    import pyarrow.parquet as pq

    temporary = path.with_suffix(".tmp")
    with pq.ParquetFile(path) as file, pq.ParquetWriter(temporary, file.schema_arrow, compression="lz4") as writer:
        temporary.chmod(0o600)
        for batch in _row_groups(file):
            numbers = batch.column(batch.schema.names.index("_row_no")).to_numpy(zero_copy_only=False)
            stays = ~np.isin(numbers, row_nos)
            writer.write_batch(batch if stays.all() else batch.filter(arrow_mask(stays)))
    os.replace(temporary, path)


def _row_groups(file: Any) -> Iterator[Any]:
    for group in range(file.num_row_groups):  # batches over several groups would join wide ones
        yield from file.iter_batches(batch_size=ROWS_AT_ONCE, row_groups=[group])


def arrow_mask(mask: npt.NDArray[np.bool_]) -> Any:
    import pyarrow as pa

    return pa.array(mask, pa.bool_())
