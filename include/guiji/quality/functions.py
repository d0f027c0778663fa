"""Functions of Python that the engine calls column batch by column batch: geometries, read by shapely, texts that may
be misread, and numbers of single precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from guiji.damage import MISREAD
from guiji.misread import is_misread
from guiji.standardize.typed import SINGLE

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from guiji.standardize import FieldPlan


@contextmanager
def register_functions(con: DuckDBPyConnection, plans: Sequence[FieldPlan]) -> Iterator[None]:
    """Makes the functions that ``plans`` call known to ``con`` for the time of the context."""
    encodings = sorted({p.spec.encoding for p in plans if p.spec.type == "geometry"})
    functions: list[tuple[str, Callable[..., Any], list[str], str]] = [
        (MISREAD, _judge_misread, ["VARCHAR"], "BOOLEAN"),
        (SINGLE, _write_single, ["FLOAT"], "VARCHAR"),
    ]
    if encodings:
        # here, not first in the functions: the engine's threads would import it all at the same time
        import shapely  # noqa: F401

        functions += [(f"guiji_{encoding}", _read_geometry(encoding), ["VARCHAR"], "BLOB") for encoding in encodings]
        functions.append(("guiji_wkb_binary", _read_geometry("wkb"), ["BLOB"], "BLOB"))
        functions.append(("guiji_place", _place, ["BLOB", *["DOUBLE"] * 4], "TINYINT"))
    for name, function, parameters, result in functions:
        con.create_function(  # type: ignore[call-overload]
            name, function, parameters, result, type="arrow", null_handling="special"
        )
    try:
        yield
    finally:
        for name, *_ in functions:
            con.remove_function(name)


def _judge_misread(values: Any) -> Any:
    """Whether each text is UTF-8 read as GBK; null for null."""
    import pyarrow as pa

    return pa.array([None if v is None else is_misread(v) for v in values.to_pylist()], pa.bool_())


def _write_single(values: Any) -> Any:
    """Each number as the shortest text that is the same in single precision, as MySQL's FLOAT is read."""
    import pyarrow as pa

    return values.cast(pa.string())


def _place(values: Any, west: Any, south: Any, east: Any, north: Any) -> Any:
    """Where each geometry lies: 0 wholly in the box, 2 outside but inside with longitude and latitude exchanged,
    1 anything else; null for null. The box is the same for all values of a call."""
    import numpy as np
    import pyarrow as pa
    import shapely

    if not len(values):
        return pa.array([], pa.int8())
    w, s, e, n = (bound[0].as_py() for bound in (west, south, east, north))
    x1, y1, x2, y2 = shapely.bounds(shapely.from_wkb(np.asarray(values.to_pylist(), dtype=object))).T
    inside = (x1 >= w) & (y1 >= s) & (x2 <= e) & (y2 <= n)
    swapped = (y1 >= w) & (x1 >= s) & (y2 <= e) & (x2 <= n)
    return pa.array(np.where(inside, 0, np.where(swapped, 2, 1)).astype(np.int8), mask=np.isnan(x1))


def _parse_straight(parse: Callable[..., Any], value: Any) -> Any:
    import shapely

    try:
        shape = parse(value, on_invalid="ignore")
        shapely.is_valid(shape)
    except (NotImplementedError, shapely.errors.GEOSException):
        return None
    return shape


def _read_geometry(encoding: str) -> Callable[..., Any]:
    def read(values: Any) -> Any:
        """WKB of each value, without measures; null where it is no geometry, empty, not valid (self-crossing, unclosed),
        or has curves."""
        import numpy as np
        import pyarrow as pa
        import shapely

        objects = np.asarray(values.to_pylist(), dtype=object)
        parse = {"wkt": shapely.from_wkt, "geojson": shapely.from_geojson, "wkb": shapely.from_wkb}[encoding]
        try:
            shapes = parse(objects, on_invalid="ignore")
            valid = shapely.is_valid(shapes)
        except (NotImplementedError, shapely.errors.GEOSException):  # a curve is among them, or in one of them
            shapes = np.array([_parse_straight(parse, one) for one in objects], dtype=object)
            valid = shapely.is_valid(shapes)
        sound = valid & ~shapely.is_empty(shapes) & ~shapely.is_missing(shapes)
        bounds = shapely.bounds(shapes)
        sound &= np.isfinite(bounds).all(axis=1)
        flat = ~shapely.has_z(shapes)
        shapes[flat] = shapely.force_2d(shapes[flat])
        written = shapely.to_wkb(np.where(sound, shapes, None), byte_order=1, output_dimension=3)
        return pa.array(list(written), pa.binary())

    return read
