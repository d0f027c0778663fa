"""Area and length of shapes, in square metres and metres, by column.

A *projection* is ``EPSG:n`` of a projected system in metres, in which edges are straight and the plane is measured, or
``ellipsoid``: area on the ellipsoid of CGCS2000 (by an equal-area projection), length along its geodesics. Heights
don't count. PROJ does the arithmetic from what its wheel holds; nothing is fetched.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from guiji.errors import CatalogError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Shapes = npt.NDArray[np.object_]
    Numbers = npt.NDArray[np.float64]

ELLIPSOID = "ellipsoid"
#: square metres to a unit; 15 亩 are a hectare
SURFACE_UNITS = {"平方米": 1.0, "公顷": 10_000.0, "亩": 10_000 / 15, "平方公里": 1_000_000.0}
#: metres to a unit
LINE_UNITS = {"米": 1.0, "公里": 1_000.0}
#: Albers' projection with the standard parallels of China's maps: areas are those of the ellipsoid
_EQUAL_AREA = "+proj=aea +lat_1=25 +lat_2=47 +lat_0=0 +lon_0=105 +ellps=GRS80 +units=m +no_defs"
_DEGREES = "EPSG:4490"
#: metres; between CGCS2000 and Beijing 1954 or Xi'an 1980 lie up to a hundred
DATUM_MARGIN = 1_000.0


def measure_area(shapes: Shapes, crs: str, projection: str) -> Numbers:
    """Square metres of each shape; NaN for null and for what can't be projected. Lines and points have none: 0."""
    import numpy as np
    import shapely

    target = _EQUAL_AREA if projection == ELLIPSOID else projection
    with np.errstate(invalid="ignore"):  # infinite where a shape can't be projected
        area: Numbers = shapely.area(project(shapes, crs, target))
    return np.where(np.isfinite(area), area, np.nan)


def measure_length(shapes: Shapes, crs: str, projection: str) -> Numbers:
    """Metres of each line, the boundary of a surface; NaN for null and for what can't be projected."""
    import numpy as np
    import shapely

    if projection != ELLIPSOID:
        with np.errstate(invalid="ignore"):
            length: Numbers = shapely.length(project(shapes, crs, projection))
        return np.where(np.isfinite(length), length, np.nan)
    return _geodesic_length(project(shapes, crs, _DEGREES))


def project(shapes: Shapes, crs: str, target: str) -> Shapes:
    """The shapes in ``target``, without heights; coordinates beyond its reach become infinite."""
    import shapely

    if crs == target:
        return shapely.force_2d(shapes)  # type: ignore[no-any-return]
    transformer = _find_transformer(crs, target)
    return shapely.transform(  # type: ignore[no-any-return]
        shapes, lambda x, y: transformer.transform(x, y), include_z=False, interleaved=False
    )


@lru_cache(maxsize=32)
def project_box(box: tuple[float, float, float, float], crs: str) -> tuple[float, float, float, float] | None:
    """A box in degrees as a box in ``crs``, with a margin for what lies between datums; None where ``crs`` is no known
    projected system in metres."""
    import math

    if check_projection(crs) is not None:
        return None
    west, south, east, north = _find_transformer(_DEGREES, crs).transform_bounds(*box)
    found = (west - DATUM_MARGIN, south - DATUM_MARGIN, east + DATUM_MARGIN, north + DATUM_MARGIN)
    return found if all(map(math.isfinite, found)) else None


def check_projection(projection: str) -> str | None:
    """What is wrong with a declared projection; None when areas and lengths can be measured in it."""
    if projection == ELLIPSOID:
        return None
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    if not projection.upper().startswith("EPSG:"):
        return f"projection {projection!r} is neither EPSG:n nor {ELLIPSOID}"
    try:
        system = CRS.from_user_input(projection)
    except CRSError:
        return f"projection {projection!r} is no known system"
    if not system.is_projected:
        return f"projection {projection!r} is {system.name}, which is not projected"
    if {axis.unit_name for axis in system.axis_info} != {"metre"}:
        return f"projection {projection!r} is not in metres"
    return None


def is_known(crs: str) -> bool:
    """Whether shapes in this reference system can be brought into another."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        CRS.from_user_input(crs)
    except CRSError:
        return False
    return True


@lru_cache(maxsize=32)
def _find_transformer(crs: str, target: str) -> Any:
    from pyproj import Transformer
    from pyproj.exceptions import CRSError, ProjError

    try:
        return Transformer.from_crs(crs, target, always_xy=True)
    except (CRSError, ProjError) as exc:
        raise CatalogError(
            f"Shapes can't be brought from {crs} to {target}: one of them is no known reference system. "
            "Nothing was judged; mend crs or projection in the catalog."
        ) from exc


def _geodesic_length(shapes: Shapes) -> Numbers:
    """Metres along the geodesics of all edges of each shape, which is in degrees."""
    import numpy as np
    import shapely
    from pyproj import Geod

    missing = shapely.is_missing(shapes)
    parts, of_part = shapely.get_parts(shapes, return_index=True)
    # of a surface the rings are measured, as the plane's length does
    rings, of_ring = shapely.get_rings(parts, return_index=True)
    lines = shapely.get_dimensions(parts) == 1
    edges = np.concatenate([rings, parts[lines]])
    owner = np.concatenate([of_part[of_ring], of_part[lines]])
    points, of_edge = shapely.get_coordinates(edges, return_index=True)
    same = of_edge[1:] == of_edge[:-1]
    a, b = points[:-1][same], points[1:][same]
    _, _, metres = Geod(ellps="GRS80").inv(a[:, 0], a[:, 1], b[:, 0], b[:, 1])
    total = np.bincount(owner[of_edge[1:][same]], weights=metres, minlength=len(shapes)).astype(np.float64)
    return np.where(missing | ~np.isfinite(total), np.nan, total)
