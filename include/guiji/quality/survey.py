# ruff: noqa: S608 - text reaches SQL through quote_identifier and quote_text only
"""What shapes say beyond their form, found before the one pass: stated areas, the city's boundary, overlaps.

Like identifiers (``identify``), rows that are not in order are written to Parquet files that the pass joins by row
number: ``_v_<kind>_<field>`` 1 failed, 2 suspicious, 3 unjudged, and ``_y_<kind>_<field>``, what was found in words.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from guiji.engine import quote_text, render_expression, scan_parquet
from guiji.errors import CatalogError
from guiji.projection import LINE_UNITS, SURFACE_UNITS, measure_area, measure_length, project
from guiji.quality.overlap import Overlaps, find_overlaps
from guiji.quality.package import Package, Section
from guiji.quality.statement import build_layers
from guiji.quality.surfaces import make_schema, put_surfaces, read_surfaces
from guiji.standardize import FieldPlan
from guiji.standardize.survey import BOUNDARY, BY_SHAPE, OVERLAP, said_by, verdict_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from guiji.catalog.models import ByShape, Resource

#: shapes may have thousands of points each
ROWS_AT_ONCE = 2_048
#: points of the city's boundary that may be walked along for one batch, about a microsecond each
POINTS_TO_CUT = 2_000_000
FAILED, SUSPICIOUS, UNJUDGED = 1, 2, 3
#: in which an area is said beside its own unit
SHOWN_UNITS = {u: SURFACE_UNITS[u] for u in ("平方米", "公顷", "亩")}
_SURFACES = (3, 6)  # shapely's type ids of Polygon and MultiPolygon
#: the city's boundary is in CGCS2000 longitude and latitude
_BOUNDARY_CRS = "EPSG:4490"


@dataclass(frozen=True)
class Task:
    """One thing to be looked at: ``kind`` is the last part of the rule's id, ``plan`` the field it is about."""

    kind: str
    plan: FieldPlan

    @property
    def name(self) -> str:
        """The column of its verdict, which names the task too."""
        return verdict_of(self.kind, self.plan.index)

    @property
    def note(self) -> str:
        """The column of what was found, in words."""
        return said_by(self.kind, self.plan.index)


def list_tasks(plans: Sequence[FieldPlan]) -> list[Task]:
    """What is to be looked at beside the one pass, from the checks of the fields."""
    kinds = (BY_SHAPE, BOUNDARY, OVERLAP)
    return [Task(kind, p) for p in plans for kind in kinds if any(c.kind == kind for c in p.checks)]


def compares_rows(plans: Sequence[FieldPlan]) -> bool:
    """Whether a row's verdict depends on other rows: then none can be carried over from before."""
    return any(task.kind == OVERLAP for task in list_tasks(plans))


@contextmanager
def survey_rows(
    con: DuckDBPyConnection, resource: Resource, plans: Sequence[FieldPlan], package: Package, directory: Path
) -> Iterator[dict[str, str]]:
    """For each task the table of the rows that are not in order, by the name of its verdict's column. Gone after the
    context. Raises CatalogError for a boundary or projection that can't be used."""
    tasks = list_tasks(plans)
    if not tasks:
        yield {}
        return
    written: list[Path] = []
    try:
        yield _Survey(con, resource, plans, tasks, package, directory, written).run()
    finally:
        for path in written:
            path.unlink(missing_ok=True)


class _Survey:
    """One reading of the shapes: what is found of each row goes to one file for each task."""

    def __init__(
        self,
        con: DuckDBPyConnection,
        resource: Resource,
        plans: Sequence[FieldPlan],
        tasks: Sequence[Task],
        package: Package,
        directory: Path,
        written: list[Path],
    ) -> None:
        self.con, self.resource, self.plans, self.tasks = con, resource, plans, tasks
        self.package, self.directory, self.written = package, directory, written
        self.by_name = {p.spec.name: p for p in plans}

    def run(self) -> dict[str, str]:
        import pyarrow as pa

        boundaries = {t.name: self._read_boundary(t.plan) for t in self.tasks if t.kind == BOUNDARY}
        found: dict[str, str] = {}
        with ExitStack() as stack:
            writers = {t.name: stack.enter_context(self._open(t)) for t in self.tasks}
            files = {t.name: stack.enter_context(self._open_shapes(t)) for t in self.tasks if t.kind == OVERLAP}
            for batch in self._read_batches():
                read = {i: _read_shapes(batch, i) for i in {self._shape_of(t).index for t in self.tasks}}
                for task in self.tasks:
                    shapes = read[self._shape_of(task).index]
                    if task.kind == OVERLAP:
                        rows = put_surfaces(batch, task.plan.index, shapes, files[task.name])
                        writers[task.name].write_batch(rows)
                        continue
                    if task.kind == BOUNDARY:
                        verdicts, notes = judge_place(shapes, *boundaries[task.name])
                    else:
                        verdicts, notes = self._judge_number(batch, task, shapes)
                    if len(notes):
                        at = pa.array(verdicts.nonzero()[0])
                        said = [batch.column("_row_no").take(at), pa.array(verdicts).take(at), pa.array(notes)]
                        writers[task.name].write_batch(pa.RecordBatch.from_arrays(said, schema=_schema(task)))
                        found[task.name] = scan_parquet(self._path(task))
        for task in self.tasks:
            if task.kind == OVERLAP and (path := self._settle_overlaps(task)):
                found[task.name] = scan_parquet(path)
        return found

    def _judge_number(self, batch: pa.RecordBatch, task: Task, shapes: Any) -> tuple[npt.NDArray[np.int8], list[str]]:
        assert task.plan.spec.by_shape is not None
        stated = batch.column(f"_n{task.plan.index}").to_numpy(zero_copy_only=False)
        return judge_by_shape(task.plan.spec.by_shape, stated, shapes, self._shape_of(task).spec.crs or "")

    # --- reading ------------------------------------------------------------------------------------

    def _shape_of(self, task: Task) -> FieldPlan:
        by_shape = task.plan.spec.by_shape
        return self.by_name[by_shape.of] if task.kind == BY_SHAPE and by_shape else task.plan

    def _read_batches(self) -> Iterator[pa.RecordBatch]:
        for section in self.package.sections():
            yield from self.con.sql(self._statement(section)).to_arrow_reader(min(ROWS_AT_ONCE, section.rows_at_once))

    def _statement(self, section: Section) -> str:
        shapes = {self._shape_of(t).index: self._shape_of(t) for t in self.tasks}
        numbers = {t.plan.index: t.plan for t in self.tasks if t.kind == BY_SHAPE}
        needed = shapes | numbers
        shown = ["_row_no", *(f"{p.value} AS _g{i}" for i, p in shapes.items())]
        shown += [f"({p.value})::DOUBLE AS _n{i}" for i, p in numbers.items()]
        alive = ""
        model = self.resource.model
        if any(t.kind == OVERLAP for t in self.tasks):
            keys = [self.by_name[k] for k in model.key]
            needed |= {p.index: p for p in keys}
            text = ", ".join(f"({p.identified.subject if p.identified else p.value})::VARCHAR" for p in keys)
            shown.append(f"hash({text}) AS _key")
        if model.tombstone:
            # an identifier is read as it stands: what became of it is not known yet
            needed = {p.index: p for p in self.plans}
            shown += [f"{p.identified.subject if p.identified else p.value} AS {p.name}" for p in self.plans]
            dead = render_expression(model.tombstone, [f.name for f in model.fields])
            alive = f" WHERE NOT coalesce({dead}, false)"
        layers = build_layers([p for p in self.plans if p.index in needed], section.table)
        chosen = f"SELECT {', '.join(shown)} FROM ({layers}) WHERE _broken IS NULL"
        chosen = f"SELECT * FROM ({chosen}){alive}"
        wanted = " OR ".join(f"_g{i} IS NOT NULL" for i in shapes)
        return f"/* guiji {self.resource.id} survey */ SELECT * FROM ({chosen}) WHERE {wanted}"

    def _read_boundary(self, plan: FieldPlan) -> tuple[Any, Any]:
        """The city in the field's reference system, without and with its margin, both prepared. Raises CatalogError."""
        import numpy as np
        import shapely

        assert self.resource.city_boundary is not None
        name, margin = self.resource.city_boundary
        path = Path(name)
        try:
            city = shapely.union_all(shapely.get_parts(shapely.from_geojson(path.read_bytes())))
        except (OSError, ValueError, shapely.GEOSException):
            city = None
        sound = city is not None and shapely.get_type_id(city) in _SURFACES and shapely.is_valid(city)
        west, south, east, north = shapely.bounds(city) if sound else (0, 0, 0, 0)
        if not sound or west < -180 or south < -90 or east > 180 or north > 90:
            raise CatalogError(
                f"{path}: the city's boundary must be a valid GeoJSON polygon in longitude and latitude. "
                "Nothing was judged; mend the file, or take `boundary` out of city.yml.",
                resource_id=self.resource.id,
            )
        middle = shapely.centroid(city)
        plane = f"+proj=aeqd +lat_0={middle.y!r} +lon_0={middle.x!r} +ellps=GRS80 +units=m +no_defs"
        # an edge of many kilometres would leave its place when it becomes straight in another system
        flat = project(np.array([shapely.segmentize(city, 0.05)]), _BOUNDARY_CRS, plane)
        wide = project(shapely.buffer(flat, margin), plane, plan.spec.crs or _BOUNDARY_CRS)[0]
        narrow = project(np.array([city]), _BOUNDARY_CRS, plan.spec.crs or _BOUNDARY_CRS)[0]
        shapely.prepare([wide, narrow])
        return narrow, wide

    # --- writing ------------------------------------------------------------------------------------

    def _path(self, task: Task) -> Path:
        return self.directory / f"survey-{task.kind}-{task.plan.index}.tmp"

    def _shapes_path(self, task: Task) -> Path:
        return self.directory / f"survey-{task.kind}-{task.plan.index}-shapes.tmp"

    def _make(self, path: Path) -> Path:
        """An empty file that only the owner reads, gone after the survey."""
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        self.written.append(path)
        return path

    def _open_shapes(self, task: Task) -> BinaryIO:
        return self._make(self._shapes_path(task)).open("wb")

    @contextmanager
    def _open(self, task: Task) -> Iterator[Any]:
        import pyarrow.parquet as pq

        path = self._make(self._path(task))
        schema = make_schema() if task.kind == OVERLAP else _schema(task)
        with pq.ParquetWriter(path, schema, compression="lz4") as writer:
            yield writer

    def _settle_overlaps(self, task: Task) -> Path | None:
        """Writes the rows of surfaces that lie upon each other; None where there is none."""
        spec = task.plan.spec
        assert spec.overlap is not None
        sorted_rows = self.con.sql(
            f"/* guiji {self.resource.id} overlap */ SELECT _row_no, key, place, size FROM {scan_parquet(self._path(task))} "
            "ORDER BY west, _row_no"
        )
        surfaces = read_surfaces(sorted_rows.to_arrow_reader(ROWS_AT_ONCE), self._shapes_path(task))
        found = find_overlaps(surfaces, spec.crs or "", spec.overlap)
        if not len(found.row) and not len(found.unjudged):
            return None
        path = self.directory / f"survey-{task.kind}-{task.plan.index}-found.tmp"
        self.written.append(path)
        for name, table in _tables(found).items():
            self.con.register(name, table)
        try:
            self._copy_overlaps(path, task.name, task.note)
        finally:
            for name in ("guiji_overlaps", "guiji_unjudged"):
                self.con.unregister(name)
        return path

    def _copy_overlaps(self, path: Path, verdict: str, note: str) -> None:
        from guiji.engine import copy_to_parquet

        places = f"(SELECT _row_no, _origin, _line FROM {self.package.table} WHERE _row_no IN (SELECT partner FROM guiji_overlaps))"
        words = (
            "'与 ' || coalesce(p._origin, '') || ':' || p._line::VARCHAR || ' 重叠 ' || printf('%.1f', o.area)"
            " || ' 平方米，占较小图形的 ' || printf('%.2f', o.share * 100) || '%'"
        )
        none = quote_text("相邻或重叠的图形过多、过于复杂，未能全部比对")
        copy_to_parquet(
            self.con,
            f"SELECT o._row_no, {FAILED}::TINYINT AS {verdict}, {words} AS {note} "
            f"FROM guiji_overlaps o JOIN {places} p ON p._row_no = o.partner "
            f"UNION ALL SELECT _row_no, {UNJUDGED}::TINYINT, {none} FROM guiji_unjudged",
            path,
            comment=f"{self.resource.id} overlap",
        )


def _schema(task: Task) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([("_row_no", pa.int64()), (task.name, pa.int8()), (task.note, pa.string())])


def _read_shapes(batch: pa.RecordBatch, index: int) -> Any:
    import numpy as np
    import shapely

    return shapely.from_wkb(np.asarray(batch.column(f"_g{index}").to_pylist(), dtype=object))


def _tables(found: Overlaps) -> dict[str, pa.Table]:
    import pyarrow as pa

    overlaps = {"_row_no": found.row, "partner": found.partner, "area": found.area, "share": found.share}
    return {"guiji_overlaps": pa.table(overlaps), "guiji_unjudged": pa.table({"_row_no": found.unjudged})}


# --- one column of shapes -----------------------------------------------------------------------------


def judge_by_shape(
    spec: ByShape, stated: npt.NDArray[np.float64], shapes: Any, crs: str
) -> tuple[npt.NDArray[np.int8], list[str]]:
    """Whether each shape says what is stated: 0 yes or nothing to compare, 1 no, 3 it has no such measure.

    The notes, one for each verdict other than 0, say what the shape says.
    """
    import numpy as np
    import shapely

    surface = spec.unit in SURFACE_UNITS
    factor = SURFACE_UNITS[spec.unit] if surface else LINE_UNITS[spec.unit]
    measured = (measure_area if surface else measure_length)(shapes, crs, spec.projection)
    fits = shapely.get_dimensions(shapes) == (2 if surface else 1)
    there = ~np.isnan(stated) & ~shapely.is_missing(shapes)
    judged = there & fits & ~np.isnan(measured)
    said = measured / factor
    with np.errstate(invalid="ignore"):
        away = np.abs(stated - said)
        # a number that lies on the very edge must not depend on the last bit of a product
        wrong = judged & (away > spec.tolerance * said * (1 + 1e-12)) & (away > spec.slack)
    verdicts = np.where(wrong, FAILED, np.where(there & ~judged, UNJUDGED, 0)).astype(np.int8)
    notes = []
    for i in verdicts.nonzero()[0].tolist():
        if verdicts[i] == UNJUDGED:
            what = "面" if surface else "线"
            notes.append("图形超出投影范围，无法量算" if fits[i] else f"图形不是{what}，无法量算")
            continue
        text = f"按图形量算为{_say_number(said[i])}{spec.unit}"
        if surface:
            shown = (f"{_say_number(measured[i] / f)}{u}" for u, f in SHOWN_UNITS.items() if u != spec.unit)
            text += f"（合{'、'.join(shown)}）"
        notes.append(text + (f"，相差{away[i] / said[i]:.1%}" if said[i] else ""))
    return verdicts, notes


def _say_number(value: float) -> str:
    """Six digits that count, without an exponent."""
    places = max(0, 5 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:,.{min(places, 6)}f}"


def judge_place(shapes: Any, city: Any, with_margin: Any) -> tuple[npt.NDArray[np.int8], list[str]]:
    """Where each shape lies: 0 in the city or within its margin, 1 wholly outside, 2 partly."""
    import numpy as np
    import shapely

    there = ~shapely.is_missing(shapes)
    inside = shapely.covers(with_margin, shapes)
    touched = shapely.intersects(with_margin, shapes)
    verdicts = np.where(there & ~inside, np.where(touched, SUSPICIOUS, FAILED), 0).astype(np.int8)
    share = np.zeros(len(shapes))
    # how much lies outside is worth a look at each, but not where the boundary is long and the shapes are many
    crossing = np.flatnonzero(verdicts == SUSPICIOUS)[: POINTS_TO_CUT // int(shapely.get_num_coordinates(city))]
    whole = shapely.area(shapes[crossing])
    cut = shapely.area(shapely.difference(shapes[crossing], city))
    share[crossing] = np.divide(cut, whole, out=np.zeros(len(crossing)), where=whole > 0)
    notes = [
        "全部在本市界外"
        if verdicts[i] == FAILED
        else "部分在本市界外" + (f"，占图形的{share[i]:.1%}" if share[i] else "")
        for i in verdicts.nonzero()[0].tolist()
    ]
    return verdicts, notes
