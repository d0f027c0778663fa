"""Functions of Python that the engine calls column batch by column batch: geometries, read by shapely."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from guiji.standardize import FieldPlan


@contextmanager
def register_functions(con: DuckDBPyConnection, plans: Sequence[FieldPlan]) -> Iterator[None]:
    """Makes the functions that ``plans`` call known to ``con`` for the time of the context."""
    wanted = {p.spec.encoding for p in plans if p.spec.type == "geometry"}
    chosen = [(f"guiji_{encoding}", _read_geometry(encoding), "VARCHAR") for encoding in sorted(wanted)]
    if wanted:
        chosen.append(("guiji_wkb_binary", _read_geometry("wkb"), "BLOB"))
    for name, function, parameter in chosen:
        con.create_function(  # type: ignore[call-overload]
            name, function, [parameter], "BLOB", type="arrow", null_handling="special"
        )
    try:
        yield
    finally:
        for name, *_ in chosen:
            con.remove_function(name)


def _read_geometry(encoding: str) -> Callable[..., Any]:
    def read(values: Any) -> Any:
        """WKB of each value; null where it is no geometry, empty, or not valid (self-crossing, unclosed)."""
        import numpy as np
        import pyarrow as pa
        import shapely

        objects = np.asarray(values.to_pylist(), dtype=object)
        if encoding == "wkt":
            shapes = shapely.from_wkt(objects, on_invalid="ignore")
        elif encoding == "geojson":
            shapes = shapely.from_geojson(objects, on_invalid="ignore")
        else:
            shapes = shapely.from_wkb(objects, on_invalid="ignore")
        sound = shapely.is_valid(shapes) & ~shapely.is_empty(shapes) & ~shapely.is_missing(shapes)
        bounds = shapely.bounds(shapes)
        sound &= np.isfinite(bounds).all(axis=1)
        written = shapely.to_wkb(np.where(sound, shapes, None), byte_order=1)
        return pa.array(list(written), pa.binary())

    return read
