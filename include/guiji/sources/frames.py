"""Rows of text as Arrow record batches with the system columns of ``guiji.records`` (all but ``_row_no``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class Rows:
    """Rows being gathered; ``cells`` follow the declared columns, None where there is no value."""

    cells: list[Sequence[str | None]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    broken: list[str | None] = field(default_factory=list)
    raw: list[str | None] = field(default_factory=list)

    def add(self, cells: Sequence[str | None], line: int) -> None:
        self.cells.append(cells)
        self.lines.append(line)
        self.broken.append(None)
        self.raw.append(None)

    def add_broken(self, cells: Sequence[str | None], line: int, rule_id: str, raw: str) -> None:
        """A row that is set aside: ``cells`` keeps what could be read beyond doubt (its key, perhaps)."""
        self.cells.append(cells)
        self.lines.append(line)
        self.broken.append(rule_id)
        self.raw.append(raw)

    def __len__(self) -> int:
        return len(self.lines)


def text_schema(columns: Sequence[str]) -> pa.Schema:
    """All columns text, then the system columns."""
    import pyarrow as pa

    return pa.schema([(c, pa.string()) for c in columns] + system_fields())


def system_fields() -> list[pa.Field]:
    import pyarrow as pa

    return [
        pa.field("_origin", pa.string()),
        pa.field("_line", pa.int64()),
        pa.field("_broken", pa.string()),
        pa.field("_raw", pa.string()),
    ]


def make_batch(columns: Sequence[str], rows: Rows, origin: str) -> pa.RecordBatch:
    """The gathered rows as one batch."""
    import pyarrow as pa

    n = len(rows)
    by_column = list(zip(*rows.cells, strict=True)) if n else [()] * len(columns)
    arrays = [pa.array(list(values), pa.string()) for values in by_column]
    return pa.record_batch(
        [
            *arrays,
            pa.repeat(pa.scalar(origin, pa.string()), n),
            pa.array(rows.lines, pa.int64()),
            pa.array(rows.broken, pa.string()),
            pa.array(rows.raw, pa.string()),
        ],
        schema=text_schema(columns),
    )


def add_system_columns(
    batch: pa.RecordBatch, origin: str, lines: pa.Array, broken: pa.Array | None = None, raw: pa.Array | None = None
) -> pa.RecordBatch:
    """``batch`` with the system columns of sound rows."""
    import pyarrow as pa

    n = batch.num_rows
    nothing = pa.nulls(n, pa.string())
    return pa.record_batch(
        [
            *batch.columns,
            pa.repeat(pa.scalar(origin, pa.string()), n),
            lines,
            nothing if broken is None else broken,
            nothing if raw is None else raw,
        ],
        schema=pa.schema([*batch.schema, *system_fields()]),
    )
