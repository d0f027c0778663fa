"""What geometry files share: the one field that holds the shape, and batches in which it is WKB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from guiji.errors import DeliveryRefused
from guiji.sources.columns import Expected
from guiji.sources.frames import Rows, make_batch

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import FieldSpec


def geometry_field(expected: Expected, what: str) -> tuple[str, FieldSpec]:
    """(source name, field) of the one declared geometry. Raises DeliveryRefused when the catalog declares none."""
    found = [(name, f) for name, f in expected.fields.items() if f.type == "geometry"]
    if len(found) != 1:
        raise DeliveryRefused(
            f"{what}：目录中应当有且只有一个图形（geometry）信息项。现有数据继续有效；请管理员更正目录。",
            rule_id="delivery.structure",
        )
    return found[0]


def make_geometry_batch(
    columns: Sequence[str], geometry: str, rows: Rows, shapes: Sequence[bytes | None], origin: str
) -> pa.RecordBatch:
    """``rows`` as one batch, in which column ``geometry`` is binary and holds ``shapes``."""
    import pyarrow as pa

    batch = make_batch(columns, rows, origin)
    return batch.set_column(
        list(columns).index(geometry), pa.field(geometry, pa.binary()), pa.array(list(shapes), pa.binary())
    )
