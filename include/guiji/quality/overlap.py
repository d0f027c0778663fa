"""Which surfaces of a delivery lie upon each other: a sweep from west to east, with bounds on memory and time.

The shapes come sorted by their western edge. Those that reach beyond the front of the sweep stay *active*; each batch
is compared with them and with itself through a tree of boxes. So every pair whose boxes meet is looked at once, and
memory holds the front, not the city. Where a delivery is of a kind that would take for ever (thousands of shapes upon
each other, pairs of over a million points or crossings), what was not looked at is *unjudged*, never silently in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from guiji.crossings import count_crossings, list_edges
from guiji.projection import measure_area

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from guiji.catalog.models import Overlap

    Ints = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.float64]

#: looking at a pair costs about as much as this many points, however small its shapes
PAIR_COST = 50
#: and a crossing of two edges as much as this many
CROSSING_COST = 25


@dataclass(frozen=True)
class Limits:
    """What one delivery may take of memory and time."""

    #: points of active shapes: 16 bytes each, and as much again for the engine's own
    points_at_once: int = 4_000_000
    #: points that may be looked at: each takes about a microsecond
    points_to_visit: int = 600_000_000
    #: pairs of boxes that are looked at together
    pairs_at_once: int = 1_000_000
    #: points of shapes that are prepared: about 120 bytes each
    points_prepared: int = 1_000_000
    #: points of two shapes that are compared: their intersection takes some hundred bytes for each
    points_of_pair: int = 1_500_000
    #: crossings of the edges of two shapes: each takes some 25 microseconds and a kilobyte
    crossings_of_pair: int = 200_000


@dataclass(frozen=True)
class Overlaps:
    """``row``, sorted: rows that lie upon another; ``partner``: the row they share most with; square metres, and their
    share of the smaller of the two. ``unjudged``, sorted: rows that were not compared with all others."""

    row: Ints
    partner: Ints
    area: Numbers
    share: Numbers
    unjudged: Ints


def find_overlaps(
    batches: Iterable[pa.RecordBatch],
    crs: str,
    spec: Overlap,
    limits: Limits = Limits(),
) -> Overlaps:
    """The overlaps beyond what ``spec`` tolerates. ``batches``: ``_row_no``, ``key`` (rows of one key are versions
    and never compared) and ``shape`` (WKB of a surface), sorted by the shape's western edge."""
    sweep = _Sweep(crs, spec, limits)
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


def _no_boxes() -> Numbers:
    import numpy as np

    return np.zeros((0, 4))


@dataclass
class _Sweep:
    crs: str
    spec: Overlap
    limits: Limits
    active: _Front | None = None
    visited: int = 0
    blind: Numbers = field(default_factory=_no_boxes)  # of shapes that were left out
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
        left_out = np.isnan(fresh.area) | (fresh.points > self.limits.points_at_once // 2)
        before = None if self.active is None else self.active.take(self.active.box[:, 2] > fresh.box[:, 0].min())
        if before is not None:
            self._note_blind(before, fresh.box[left_out])
        fresh = self._leave_out(fresh, left_out)
        if not len(fresh.row):
            return
        self.blind = self.blind[self.blind[:, 2] > fresh.box[:, 0].min()]
        self._note_blind(fresh, self.blind)
        whole, old = (fresh, 0) if before is None else (before.join(fresh), len(before.row))
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
        import numpy as np

        if those.any():
            self.unjudged.append(front.row[those])
            self.blind = np.concatenate([self.blind, front.box[those]])
            return front.take(~those)
        return front

    def _note_blind(self, front: _Front, boxes: Numbers) -> None:
        """What meets a shape that was left out may lie upon it: nobody knows."""
        import shapely

        if len(boxes):
            meeting = shapely.STRtree(shapely.box(*boxes.T)).query(shapely.box(*front.box.T))[0]
            self.unjudged.append(front.row[meeting])

    def _shrink(self, front: _Front) -> _Front:
        """The front without its largest shapes, where it would hold too many points."""
        import numpy as np

        if int(front.points.sum()) <= self.limits.points_at_once:
            return front
        by_size = np.argsort(front.points, kind="stable")
        fits = np.zeros(len(front.row), np.bool_)
        fits[by_size[np.cumsum(front.points[by_size]) <= self.limits.points_at_once]] = True
        return self._leave_out(front, ~fits)

    def _list_pairs(self, whole: _Front, old: int) -> Iterator[tuple[Ints, Ints]]:
        """Pairs of places in ``whole`` whose boxes share a surface, each once; the second is not among the ``old``."""
        import numpy as np
        import shapely

        tree = shapely.STRtree(whole.shapes)
        step = max(1, self.limits.pairs_at_once // len(whole.row))
        for start in range(old, len(whole.row), step):
            stop = min(start + step, len(whole.row))
            if self.visited > self.limits.points_to_visit:
                # what is not looked for may lie upon anything that is there
                self.unjudged.append(whole.row)
                return
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

        both = whole.points[a] + whole.points[b]
        too_large = both > self.limits.points_of_pair
        too_large |= self._find_tangled(whole, a, b, ~too_large)
        if too_large.any():
            self.unjudged += [whole.row[a[too_large]], whole.row[b[too_large]]]
            a, b, both = a[~too_large], b[~too_large], both[~too_large]
        for start, stop in _runs(np.cumsum(both + PAIR_COST) // (self.limits.points_at_once // 4 + 1)):
            x, y = a[start:stop], b[start:stop]
            if self.visited > self.limits.points_to_visit:
                self.unjudged += [whole.row[x], whole.row[y]]
                continue
            # the larger one is prepared: a river is read once, not once for each of its neighbours
            swapped = whole.points[x] < whole.points[y]
            large, small = np.where(swapped, y, x), np.where(swapped, x, y)
            self.visited += int((whole.points[small] + PAIR_COST).sum())
            self._prepare(whole, np.unique(large))
            share_inside = shapely.relate_pattern(whole.shapes[large], whole.shapes[small], "T********")
            self.visited += int(both[start:stop][share_inside].sum())
            self._measure(whole, x[share_inside], y[share_inside])

    def _find_tangled(self, whole: _Front, a: Ints, b: Ints, those: Any) -> Any:
        """Which of ``those`` pairs may cross more often than their intersection can hold."""
        import numpy as np

        most = self.limits.crossings_of_pair
        found = np.zeros(len(a), np.bool_)
        edges: dict[int, Numbers] = {}  # a river's are listed once, not once for each of its neighbours
        listed = 0
        for i in np.flatnonzero(those & (whole.points[a] * whole.points[b] > most)):
            if self.visited > self.limits.points_to_visit:
                found[i] = True
                continue
            if listed > self.limits.points_prepared:
                edges.clear()
                listed = 0
            for place in (a[i], b[i]):
                if place not in edges:
                    edges[place] = list_edges(whole.shapes[place])
                    listed += len(edges[place])
            crossings = count_crossings(edges[a[i]], edges[b[i]], most)
            # most edges are passed over at a glance
            self.visited += (len(edges[a[i]]) + len(edges[b[i]])) // 100 + crossings * CROSSING_COST
            found[i] = crossings > most
        return found

    def _prepare(self, whole: _Front, chosen: Ints) -> None:
        """A prepared shape stays so for its next neighbours, as long as there are few: it is several times as large."""
        import shapely

        ready = int(whole.points[shapely.is_prepared(whole.shapes)].sum())
        if ready + int(whole.points[chosen].sum()) > self.limits.points_prepared:
            shapely.destroy_prepared(whole.shapes)
        shapely.prepare(whole.shapes[chosen])

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
                    self.unjudged += [whole.row[[x]], whole.row[[y]]]
        area = np.nan_to_num(measure_area(shared, self.crs, self.spec.projection))
        smaller = np.minimum(whole.area[a], whole.area[b])
        share = np.divide(area, smaller, out=np.zeros(len(a)), where=smaller > 0)
        too_much = (area > self.spec.area_m2) & (share > self.spec.share)
        if too_much.any():
            self.found.append((whole.row[a][too_much], whole.row[b][too_much], area[too_much], share[too_much]))


def _runs(group: Ints) -> Iterator[tuple[int, int]]:
    """(start, stop) of each run of equal numbers."""
    import numpy as np

    if not len(group):
        return
    edges = np.concatenate([[0], np.flatnonzero(np.diff(group)) + 1, [len(group)]])
    yield from zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
