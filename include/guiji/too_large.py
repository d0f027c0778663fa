"""Rows with a cell that is larger than any step may hold are set aside, whatever way they came."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from guiji.limits import LARGEST_CELL, LARGEST_ROW, LARGEST_SHAPE, cell_bytes, longest_cell, row_bytes
from guiji.masking import show_name
from guiji.structure import TOO_LARGE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from guiji.catalog.models import Resource
    from guiji.records import Delivery

_SYSTEM = ("_origin", "_line", "_broken", "_raw")
#: of a text that is cut off, as much is kept as a person needs to recognise it
_KEPT = 400
#: rows that the notes name; the rule counts all
_NAMED = 20


def set_aside_too_large(resource: Resource, delivery: Delivery) -> Iterator[pa.RecordBatch]:
    """The delivery's batches. Of a row with a cell beyond its limit, or that is too large as a whole, only the beginning
    of its large cells is kept, as what was set aside; the delivery's notes name line, column and size."""
    shapes = {
        name
        for field in resource.model.fields
        if field.type == "geometry"
        for name in (field.source_column, field.title, *field.aliases)
    }
    limits = {name: LARGEST_SHAPE if name in shapes else LARGEST_CELL for name in delivery.columns}
    named = 0
    for batch in delivery.batches:
        longest = {name: longest_cell(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)}
        if sum(longest.values()) <= LARGEST_CELL:
            yield batch
            continue
        if longest["_raw"] > LARGEST_CELL:
            batch = _cut_raw(batch)
        too_large = _find_too_large(batch, limits, longest)
        if too_large.any():
            for i in too_large.nonzero()[0][: _NAMED - named].tolist():
                delivery.report.notes.append(_name_row(batch, i, limits))
                named += 1
            batch = set_aside(batch, too_large, TOO_LARGE)
        yield batch


def _find_too_large(
    batch: pa.RecordBatch, limits: Mapping[str, int], longest: Mapping[str, int]
) -> npt.NDArray[np.bool_]:
    import numpy as np
    import pyarrow.compute as pc

    found: npt.NDArray[np.bool_] = np.zeros(batch.num_rows, bool)
    for name, most in limits.items():
        if longest[name] > most:
            found |= np.asarray(pc.fill_null(pc.greater(cell_bytes(batch.column(name)), most), False))
    if sum(longest[name] for name in limits) > LARGEST_ROW:
        found |= row_bytes(batch.select(list(limits))) > LARGEST_ROW
    return found


def set_aside(batch: pa.RecordBatch, which: npt.NDArray[np.bool_], rule_id: str) -> pa.RecordBatch:
    """The batch with ``which`` of its rows without their cells, which are kept in ``_raw`` as far as they are shown."""
    import pyarrow as pa
    import pyarrow.compute as pc

    mask = pa.array(which)
    cells = [n for n in batch.schema.names if n not in _SYSTEM]
    raw = batch.column("_raw").to_pylist()
    for i in which.nonzero()[0].tolist():
        raw[i] = "\t".join(_begin(batch.column(name).slice(i, 1)) for name in cells)
    arrays: list[Any] = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name == "_broken":
            column = pc.if_else(mask, rule_id, column)
        elif name == "_raw":
            column = pa.array(raw, column.type)
        elif name in cells:
            column = pc.if_else(mask, pa.scalar(None, column.type), column)
        arrays.append(column)
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)


def _begin(cell: pa.Array) -> str:
    """The beginning of one cell, and how large it is where that is not all."""
    value = cell[0].as_py()
    text = "" if value is None else value[: _KEPT // 2].hex() if isinstance(value, bytes) else str(value)
    size = longest_cell(cell)
    return text if size <= _KEPT else f"{text[:_KEPT]}…（共 {size:,} 字节）"


def _cut_raw(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with what was set aside cut to the size of a cell."""
    import pyarrow as pa

    at = batch.schema.names.index("_raw")
    raw = [
        text
        if text is None or len(text) <= LARGEST_CELL // 4
        else f"{text[: LARGEST_CELL // 4]}…（共 {len(text):,} 字）"
        for text in batch.column(at).to_pylist()
    ]
    return batch.set_column(at, batch.schema.field(at), pa.array(raw, batch.schema.field(at).type))


def _name_row(batch: pa.RecordBatch, i: int, limits: Mapping[str, int]) -> str:
    """Which cell of the ``i``-th row is too large, and how large it may be."""
    file, mark, part = batch.column("_origin")[i].as_py().partition("#")  # a sheet may be called by a person's name
    where = f"{file}{mark}{show_name(part) if part else ''} 第 {batch.column('_line')[i].as_py()} 行"
    row = batch.slice(i, 1)
    sizes = {name: longest_cell(row.column(name)) for name in limits}
    beyond = [f"“{n}”列有 {size:,} 字节，上限为 {_mb(limits[n])}" for n, size in sizes.items() if size > limits[n]]
    what = "；".join(beyond) or f"共有 {sum(sizes.values()):,} 字节，上限为 {_mb(LARGEST_ROW)}"
    return f"{where}的内容过大：{what}，该行未采集"


def _mb(limit: int) -> str:
    return f"{limit >> 20} MB（{limit:,} 字节）"
