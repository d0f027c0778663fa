"""Functions of Python that the engine calls column batch by column batch: identifiers and geometries.

Each has one implementation (``guiji.identifiers``, shapely); the engine hands it Arrow vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from guiji.standardize import FieldPlan


@contextmanager
def register_functions(con: DuckDBPyConnection, plans: Sequence[FieldPlan], today: date) -> Iterator[None]:
    """Makes the functions that ``plans`` call known to ``con`` for the time of the context."""
    import duckdb

    wanted = {p.spec.identifier for p in plans if p.spec.identifier}
    wanted |= {p.spec.encoding for p in plans if p.spec.type == "geometry"}
    verdict = duckdb.struct_type({"n": "VARCHAR", "v": "TINYINT", "r": "VARCHAR"})  # type: ignore[dict-item]
    text, blob = "VARCHAR", "BLOB"
    known: dict[str, tuple[str, Callable[..., Any], list[str], Any]] = {
        "citizen_id": ("guiji_citizen_id", _citizen_id(today), [text, "DATE", text], verdict),
        "credit_code": ("guiji_credit_code", _credit_code(today), [text], verdict),
        "registration_number": ("guiji_registration_number", _registration_number(today), [text, text], verdict),
        "division": ("guiji_division", _division(today), [text], verdict),
        "wkt": ("guiji_wkt", _read_geometry("wkt"), [text], blob),
        "geojson": ("guiji_geojson", _read_geometry("geojson"), [text], blob),
        "wkb": ("guiji_wkb", _read_geometry("wkb"), [text], blob),
    }
    chosen = [known[name] for name in sorted(wanted)]
    if any(p.spec.type == "geometry" for p in plans):
        chosen.append(("guiji_wkb_binary", _read_geometry("wkb"), [blob], blob))
    for name, function, parameters, result in chosen:
        con.create_function(name, function, parameters, result, type="arrow", null_handling="special")  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name, *_ in chosen:
            con.remove_function(name)


def _answer(checked: Any) -> pa.Array:
    import pyarrow as pa

    return pa.StructArray.from_arrays([checked.normalised, checked.verdict, checked.reason], ["n", "v", "r"])


def _citizen_id(today: date) -> Callable[..., Any]:
    def guiji_citizen_id(values: Any, birth: Any, sex: Any) -> Any:
        from guiji.identifiers import check_citizen_id

        return _answer(check_citizen_id(values, _unless_empty(birth), _unless_empty(sex), today=today))

    return guiji_citizen_id


def _credit_code(today: date) -> Callable[..., Any]:
    def guiji_credit_code(values: Any) -> Any:
        from guiji.identifiers import check_credit_code

        return _answer(check_credit_code(values, today=today))

    return guiji_credit_code


def _registration_number(today: date) -> Callable[..., Any]:
    def guiji_registration_number(values: Any, credit_code: Any) -> Any:
        from guiji.identifiers import check_registration_number

        return _answer(check_registration_number(values, _unless_empty(credit_code), today=today))

    return guiji_registration_number


def _division(today: date) -> Callable[..., Any]:
    def guiji_division(values: Any) -> Any:
        from guiji.identifiers import check_division

        return _answer(check_division(values, today=today))

    return guiji_division


def _unless_empty(column: Any) -> Any:
    return None if column.null_count == len(column) else column


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
