"""How often the edges of two surfaces cross, and how many of one lie near each other: what looking at them would cost.

Two combs laid across each other have as many crossings as the product of their teeth, and GEOS takes some 25
microseconds and a kilobyte for each; no number of points bounds that. Of honest shapes, however large, few edges of one
cross an edge of the other: a common boundary runs along, and where it runs along exactly it does not cross at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Truths = npt.NDArray[np.bool_]

#: consecutive edges that are looked for together
_RUN = 32
#: pairs of runs whose edges are compared together, and of one pair of shapes altogether: a few seconds
_AT_ONCE = 256
_MOST_COMPARED = 250_000
#: pairs of edges of one shape that may lie near each other, each counted twice; GEOS takes up to 70 nanoseconds for one
_MOST_NEAR = 100_000_000
#: as many may be found at a time, of 16 bytes
_PAIRS_AT_ONCE = 4_000_000
_POLYGON = 3  # shapely's type id; above it are collections
#: fewer points than this take GEOS a tenth of a second, however they lie
MANY_POINTS = 2_000


def list_edges(shape: Any) -> Numbers:
    """n × (x, y, x, y): the edges of a surface, or of all that a collection holds, ring by ring in the order of the ring."""
    import numpy as np
    import shapely

    parts = np.atleast_1d(shape)
    while (shapely.get_type_id(parts) > _POLYGON).any():
        parts = shapely.get_parts(parts)
    points, ring = shapely.get_coordinates(shapely.get_rings(parts), return_index=True)
    joined = ring[1:] == ring[:-1]
    return np.concatenate([points[:-1][joined], points[1:][joined]], axis=1)


def count_crossings(one: Numbers, other: Numbers, most: int) -> int:
    """How many pairs of edges of two surfaces (``list_edges``) cross; ``most`` + 1 where there are more, or where so
    many edges lie near each other that counting would take too long, as would any work on them."""
    import numpy as np
    import shapely

    frame_a, frame_b = _surround(one), _surround(other)
    common = np.concatenate([np.maximum(frame_a[:2], frame_b[:2]), np.minimum(frame_a[2:], frame_b[2:])])
    a, b = (_in_runs(edges[_meet(_box(edges), common)]) for edges in (one, other))
    if not (len(a) and len(b)):
        return 0
    # an intersection compares the edges of each shape with one another as well
    trees = [(shapely.STRtree(shapely.box(*_surround(runs).T)), runs) for runs in (a, b)]
    crossings = compared = 0
    for (tree, runs), others, across in ((trees[0], a, False), (trees[1], b, False), (trees[0], b, True)):
        boxes = shapely.box(*_surround(others).T)
        step = max(1, _MOST_COMPARED // len(runs))
        for start in range(0, len(boxes), step):
            of, at = tree.query(boxes[start : start + step])
            compared += len(of)
            if compared > _MOST_COMPARED:
                return most + 1
            for i in range(0, len(of) if across else 0, _AT_ONCE):
                crossings += _count_crossings(others[start + of[i : i + _AT_ONCE]], runs[at[i : i + _AT_ONCE]])
                if crossings > most:
                    return most + 1
    return crossings


def find_tangled(shapes: npt.NDArray[Any]) -> Truths:
    """In which shapes so many edges lie near each other that no one could say in reasonable time whether they are valid:
    a zigzag of half a million long strokes side by side would take GEOS an hour."""
    import numpy as np
    import shapely

    found: Truths = np.zeros(len(shapes), bool)
    for i in np.flatnonzero(shapely.get_num_coordinates(shapes) > MANY_POINTS):
        edges = list_edges(shapes[i])
        # of honest shapes a run meets a handful of others, and no edge need be looked at
        runs = _in_runs(edges)
        found[i] = _meet_often(_surround(runs), _RUN * len(runs)) and _meet_often(_box(edges), _MOST_NEAR)
    return found


def _meet_often(boxes: Numbers, most: int) -> bool:
    """Whether more than ``most`` pairs of the boxes meet; each counts twice, and each meets itself."""
    import shapely

    drawn = shapely.box(*boxes.T)
    tree = shapely.STRtree(drawn)
    step = max(1, _PAIRS_AT_ONCE // max(1, len(drawn)))
    met = 0
    for start in range(0, len(drawn), step):
        met += tree.query(drawn[start : start + step]).shape[1]
        if met > most:
            return True
    return False


def _count_crossings(first: Numbers, second: Numbers) -> int:
    """Of k runs beside k runs: how many pairs of edges cross inside both; to touch is not to cross."""
    import numpy as np

    pair, i, j = np.nonzero(_meet(_box(first)[:, :, None], _box(second)[:, None, :]))
    a, b = first[pair, i], second[pair, j]
    return int(np.count_nonzero(_lies_astride(a, b) & _lies_astride(b, a)))


def _lies_astride(line: Numbers, edge: Numbers) -> Truths:
    """Whether the ends of ``edge`` lie on two sides of ``line``."""
    import numpy as np

    along = line[:, 2:] - line[:, :2]
    sides = [along[:, 0] * (edge[:, k + 1] - line[:, 1]) - along[:, 1] * (edge[:, k] - line[:, 0]) for k in (0, 2)]
    return np.asarray(np.sign(sides[0]) * np.sign(sides[1]) < 0)


def _in_runs(edges: Numbers) -> Numbers:
    """m × ``_RUN`` × 4; the last run is filled with edges that meet none."""
    import numpy as np

    missing = -len(edges) % _RUN
    return np.concatenate([edges, np.full((missing, 4), np.nan)]).reshape(-1, _RUN, 4)


def _box(edges: Numbers) -> Numbers:
    """(west, south, east, north) of each edge."""
    import numpy as np

    start, end = edges[..., :2], edges[..., 2:]
    return np.concatenate([np.minimum(start, end), np.maximum(start, end)], axis=-1)


def _surround(edges: Numbers) -> Numbers:
    """The box of all edges, or of each run of them."""
    import numpy as np

    boxes = _box(edges)
    return np.concatenate([np.nanmin(boxes[..., :2], axis=-2), np.nanmax(boxes[..., 2:], axis=-2)], axis=-1)


def _meet(one: Numbers, other: Numbers) -> Truths:
    import numpy as np

    # a comparison at a time: together they would be four times as large, and slower
    near = (one[..., 2] >= other[..., 0]) & (one[..., 0] <= other[..., 2])
    near &= one[..., 3] >= other[..., 1]
    near &= one[..., 1] <= other[..., 3]
    return np.asarray(near)
