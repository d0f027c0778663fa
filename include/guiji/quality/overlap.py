"""Which surfaces of a delivery lie upon each other: a sweep from west to east, with bounds on memory and time.

The shapes come sorted by their western edge. Those that reach beyond the front of the sweep stay *active*; each batch
is compared with them and with itself through a tree of boxes. So every pair whose boxes meet is looked at once, and
memory holds the front, not the city. Where a delivery is of a kind that would take for ever (thousands of shapes upon
each other, shapes of millions of points), what was not looked at is *unjudged*, never silently in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from guiji.projection import measure_area

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from guiji.catalog.models import Overlap

    Ints = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.float64]

#: points of active shapes: 16 bytes each, and as much again for the engine's own
POINTS_AT_ONCE = 4_000_000
#: points that may be looked at in one delivery: each takes about a microsecond
POINTS_TO_VISIT = 600_000_000
#: pairs of boxes that are looked at together
PAIRS_AT_ONCE = 1_000_000
#: looking at a pair costs about as much as this many points, however small its shapes
PAIR_COST = 50


@dataclass(frozen=True)
class Overlaps:
    """``row``, sorted: rows that lie upon another; ``partner``: the row they share most with; square metres, and their
    share of the smaller of the two. ``unjudged``, sorted: rows that were not compared with all others."""

    row: Ints
    partner: Ints
    area: Numbers
    share: Numbers
    unjudged: Ints


def find_overlaps(batches: Iterable[pa.RecordBatch], crs: str, spec: Overlap) -> Overlaps:
    """The overlaps beyond what ``spec`` tolerates. ``batches``: ``_row_no``, ``key`` (rows of one key are versions
    and never compared) and ``shape`` (WKB of a surface), sorted by the shape's western edge."""
    sweep = _Sweep(crs, spec)
    for batch in batches:
        sweep.add(batch)
    return sweep.finish()


@dataclass
class _Front:
    """Shapes and what is known of them, side by side."""

    shapes: Any
    row: Ints
    key: Any
    box: Numbers  # west, south, east, north
    points: Ints
    area: Numbers

    def take(self, chosen: Any) -> _Front:
        return _Front(*(getattr(self, n)[chosen] for n in ("shapes", "row", "key", "box", "points", "area")))

    def join(self, other: _Front) -> _Front:
        import numpy as np

        names = ("shapes", "row", "key", "box", "points", "area")
        return _Front(*(np.concatenate([getattr(self, n), getattr(other, n)]) for n in names))


@dataclass
class _Sweep:
    crs: str
    spec: Overlap
    active: _Front | None = None
    visited: int = 0
    found: list[tuple[Ints, Ints, Numbers, Numbers]] = field(default_factory=list)
    unjudged: list[Ints] = field(default_factory=list)

    def add(self, batch: pa.RecordBatch) -> None:
        """Compares the shapes of ``batch`` with each other and with all that may reach them."""
        import numpy as np
        import shapely

        shapes = shapely.force_2d(shapely.from_wkb(np.asarray(batch.column("shape").to_pylist(), dtype=object)))
        fresh = _Front(
            shapes,
            batch.column("_row_no").to_numpy(zero_copy_only=False),
            batch.column("key").to_numpy(zero_copy_only=False),
            shapely.bounds(shapes),
            shapely.get_num_coordinates(shapes).astype(np.int64),
            measure_area(shapes, self.crs, self.spec.projection),
        )
        fresh = self._leave_out(fresh, np.isnan(fresh.area) | (fresh.points > POINTS_AT_ONCE // 2))
        if not len(fresh.row):
            return
        if self.active is None:
            whole, old = fresh, 0
        else:
            before = self.active.take(self.active.box[:, 2] > fresh.box[:, 0].min())
            whole, old = before.join(fresh), len(before.row)
        for a, b in self._list_pairs(whole, old):
            self._judge(whole, a, b)
        self.active = self._shrink(whole)

    def finish(self) -> Overlaps:
        """Of each row the largest overlap; of equal ones that with the first row."""
        import numpy as np

        none = np.zeros(0, np.int64)
        a, b, area, share = (
            (np.concatenate(column) for column in zip(*self.found, strict=True))
            if self.found
            else (none, none, np.zeros(0), np.zeros(0))
        )
        row, partner = np.concatenate([a, b]), np.concatenate([b, a])
        area, share = np.concatenate([area, area]), np.concatenate([share, share])
        order = np.lexsort((partner, -area, row))
        row, first = np.unique(row[order], return_index=True)
        chosen = order[first]
        unjudged = np.unique(np.concatenate(self.unjudged)) if self.unjudged else none
        return Overlaps(row, partner[chosen], area[chosen], share[chosen], np.setdiff1d(unjudged, row))

    def _leave_out(self, front: _Front, those: Any) -> _Front:
        if those.any():
            self.unjudged.append(front.row[those])
            return front.take(~those)
        return front

    def _shrink(self, front: _Front) -> _Front:
        """The front without its largest shapes, where it would hold too many points."""
        import numpy as np

        if int(front.points.sum()) <= POINTS_AT_ONCE:
            return front
        by_size = np.argsort(front.points, kind="stable")
        fits = np.zeros(len(front.row), np.bool_)
        fits[by_size[np.cumsum(front.points[by_size]) <= POINTS_AT_ONCE]] = True
        return self._leave_out(front, ~fits)

    def _list_pairs(self, whole: _Front, old: int) -> Iterator[tuple[Ints, Ints]]:
        """Pairs of places in ``whole`` whose boxes share a surface, each once; the second is not among the ``old``."""
        import numpy as np
        import shapely

        tree = shapely.STRtree(whole.shapes)
        step = max(1, PAIRS_AT_ONCE // len(whole.row))
        for start in range(old, len(whole.row), step):
            stop = min(start + step, len(whole.row))
            if self.visited > POINTS_TO_VISIT:
                self.unjudged.append(whole.row[start:stop])
                continue
            of, other = tree.query(whole.shapes[start:stop])
            of = of + start
            self.visited += len(of)
            box_a, box_b = whole.box[other], whole.box[of]
            meet = (np.minimum(box_a[:, 2:], box_b[:, 2:]) > np.maximum(box_a[:, :2], box_b[:, :2])).all(axis=1)
            wanted = meet & (other < of) & (whole.key[other] != whole.key[of])
            order = np.lexsort((of[wanted], other[wanted]))
            yield other[wanted][order], of[wanted][order]

    def _judge(self, whole: _Front, a: Ints, b: Ints) -> None:
        """Notes which of these pairs share more than is tolerated."""
        import numpy as np
        import shapely

        cost = np.cumsum(np.minimum(whole.points[a], whole.points[b]) + PAIR_COST)
        within = self.visited + cost <= POINTS_TO_VISIT
        self.visited += int(cost[-1]) if len(cost) else 0
        self._give_up(whole, a[~within], b[~within])
        a, b = a[within], b[within]
        # the larger one is prepared: a river is read once, not once for each of its neighbours
        large, small = (np.where(whole.points[a] >= whole.points[b], x, y) for x, y in ((a, b), (b, a)))
        shapely.prepare(whole.shapes[np.unique(large)])
        share_inside = shapely.relate_pattern(whole.shapes[large], whole.shapes[small], "T********")
        a, b = a[share_inside], b[share_inside]
        points = whole.points[a] + whole.points[b]
        group = np.cumsum(points) // (POINTS_AT_ONCE // 4)
        for start, stop in _runs(group):
            if self.visited > POINTS_TO_VISIT:
                self._give_up(whole, a[start:stop], b[start:stop])
                continue
            self.visited += int(points[start:stop].sum())
            self._measure(whole, a[start:stop], b[start:stop])

    def _measure(self, whole: _Front, a: Ints, b: Ints) -> None:
        import numpy as np
        import shapely

        shared = np.empty(len(a), dtype=object)
        try:
            shared[:] = shapely.intersection(whole.shapes[a], whole.shapes[b])
        except shapely.GEOSException:
            # one pair that can't be computed must not hide the others
            for i, (x, y) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
                try:
                    shared[i] = shapely.intersection(whole.shapes[x], whole.shapes[y])
                except shapely.GEOSException:
                    self._give_up(whole, a[i : i + 1], b[i : i + 1])
        area = np.nan_to_num(measure_area(shared, self.crs, self.spec.projection))
        smaller = np.minimum(whole.area[a], whole.area[b])
        share = np.divide(area, smaller, out=np.zeros(len(a)), where=smaller > 0)
        too_much = (area > self.spec.area_m2) & (share > self.spec.share)
        if too_much.any():
            self.found.append((whole.row[a][too_much], whole.row[b][too_much], area[too_much], share[too_much]))

    def _give_up(self, whole: _Front, a: Ints, b: Ints) -> None:
        if len(a):
            self.unjudged += [whole.row[a], whole.row[b]]


def _runs(group: Ints) -> Iterator[tuple[int, int]]:
    """(start, stop) of each run of equal numbers."""
    import numpy as np

    if not len(group):
        return
    edges = np.concatenate([[0], np.flatnonzero(np.diff(group)) + 1, [len(group)]])
    yield from zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
