"""Rows with a shape that no step could be done with in reasonable time are set aside, whatever way they came."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from guiji.crossings import MANY_POINTS, find_tangled
from guiji.limits import LARGEST_SHAPE
from guiji.structure import TANGLED, TOO_LARGE
from guiji.too_large import set_aside

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from guiji.catalog.models import Resource

    Truths = npt.NDArray[np.bool_]

#: of a point in WKB: two numbers of eight bytes
_POINT_BYTES = 16


def set_aside_tangled(resource: Resource, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches. Of a row with a shape whose edges lie too near each other, or that would be too large as WKB, only the
    beginning of its cells is kept, as what was set aside."""
    import numpy as np

    encodings = {
        name: field.encoding
        for field in resource.model.fields
        if field.type == "geometry"
        for name in (field.source_column, field.title, *field.aliases)
    }
    for batch in batches:
        found: dict[str, Truths] = {rule_id: np.zeros(batch.num_rows, bool) for rule_id in (TANGLED, TOO_LARGE)}
        for name in encodings.keys() & set(batch.schema.names):
            _look(batch.column(name), encodings[name], found)
        for rule_id, rows in found.items():
            if rows.any():
                batch = set_aside(batch, rows, rule_id)
        yield batch


def _look(column: pa.Array, encoding: str, found: dict[str, Truths]) -> None:
    """Marks the shapes that are not borne; what is no shape at all is left to the rules of the field."""
    import numpy as np
    import pyarrow.compute as pc
    import shapely

    many = np.asarray(pc.fill_null(pc.greater(_most_points(column, encoding), MANY_POINTS), False))
    for i in np.flatnonzero(many):  # one at a time: each may have a million points
        shape = _read_shape(column[int(i)].as_py(), encoding)
        if shape is not None and shapely.get_num_coordinates(shape) * _POINT_BYTES > LARGEST_SHAPE:
            found[TOO_LARGE][i] = True
        elif find_tangled(np.array([shape]))[0]:
            found[TANGLED][i] = True


def _most_points(column: pa.Array, encoding: str) -> pa.Array:
    """As many points each shape has at most, from its length or its commas."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return pc.divide(pc.binary_length(column), _POINT_BYTES)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return pa.nulls(len(column), pa.int64())
    if encoding == "wkb":
        return pc.divide(pc.binary_length(column), 2 * _POINT_BYTES)
    return pc.count_substring(column, ",")


def _read_shape(value: Any, encoding: str) -> Any:
    import shapely

    parse = {"wkt": shapely.from_wkt, "geojson": shapely.from_geojson, "wkb": shapely.from_wkb}
    try:
        return parse["wkb" if isinstance(value, bytes) else encoding](value, on_invalid="ignore")
    # shapely raises the first for shapes with curves, which the rules of the field reject
    except (NotImplementedError, ValueError, TypeError, shapely.errors.GEOSException):
        return None
