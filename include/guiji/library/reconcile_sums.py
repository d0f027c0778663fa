"""What is counted of shapes, and of numbers in a library, when a resource is reconciled: pieces, areas, lengths, sums.

A shape's area and length are measured in the projection that the catalog declares for it, on the ellipsoid where it
declares none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji.engine import quote_identifier
from guiji.library.feeds import Feed, feed_sql
from guiji.library.tables import library_table, source_table
from guiji.projection import ELLIPSOID, measure_area, measure_length

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa
    from duckdb import DuckDBPyConnection
    from psycopg import Connection

    from guiji.catalog import Catalog
    from guiji.catalog.models import FieldSpec, LibraryField, LibraryModel, Resource
    from guiji.settings import Settings

    Conn = Connection[dict[str, Any]]

ROWS_AT_ONCE = 2_048


@dataclass(frozen=True)
class LibrarySum:
    """A number of the keys that a mapping feeds: as the source layer has it and as the library has it, as exact text.

    ``settled``: no other resource feeds the field, so that the two must be equal once no key waits.
    """

    field: str
    layer: str | None
    library: str | None
    settled: bool

    @property
    def differs(self) -> bool:
        return self.settled and self.layer != self.library


@dataclass(frozen=True)
class ShapeTotal:
    """How many shapes, and the sums of their areas and lengths; of surfaces the length is not counted."""

    shapes: int
    area_m2: float
    length_m: float

    def list_texts(self) -> tuple[str, str, str]:
        return str(self.shapes), f"{self.area_m2:.1f}", f"{self.length_m:.1f}"


#: what the texts of a total are called
TOTALS = ("shapes", "area_m2", "length_m")


def list_shapes(resource: Resource) -> list[FieldSpec]:
    return [f for f in resource.model.fields if f.type == "geometry"]


def find_projection(resource: Resource, shape: str) -> str:
    """Where the resource's shape is measured, by what is declared of it."""
    for spec in resource.model.fields:
        if spec.by_shape is not None and spec.by_shape.of == shape:
            return spec.by_shape.projection
    overlap = resource.model.field(shape).overlap
    return overlap.projection if overlap is not None else ELLIPSOID


def total_shapes(columns: Iterable[pa.Array], crs: str, projection: str) -> ShapeTotal:
    """The total over columns of WKB; what can't be projected is counted but not measured."""
    import numpy as np
    import shapely

    count = square_decimetres = centimetres = 0
    for column in columns:
        shapes = shapely.from_wkb(np.asarray(column.drop_null().to_pylist(), dtype=object))
        dimensions = shapely.get_dimensions(shapes)
        count += len(shapes)
        square_decimetres += _sum_whole(measure_area(shapes[dimensions == 2], crs, projection))
        centimetres += _sum_whole(measure_length(shapes[dimensions == 1], crs, projection))
    return ShapeTotal(count, square_decimetres / 100, centimetres / 100)


def _sum_whole(measures: npt.NDArray[np.float64]) -> int:
    """The sum in hundredths, each rounded on its own: whole numbers add up alike in any order."""
    import numpy as np

    return int(np.rint(measures[~np.isnan(measures)] * 100).astype(np.int64).sum())


# --- the front-end and the source layer ---------------------------------------------------------------


def total_front_end(con: DuckDBPyConnection, resource: Resource, shape: FieldSpec, table: str) -> ShapeTotal:
    """The total of an accepted package; ``table`` is a table expression of the engine over it."""
    reader = con.sql(f"SELECT {quote_identifier(shape.name)} FROM {table}").to_arrow_reader(ROWS_AT_ONCE)  # noqa: S608
    return total_shapes((b.column(0) for b in reader), shape.crs or "", find_projection(resource, shape.name))


def total_layer(settings: Settings, resource: Resource, shape: FieldSpec) -> ShapeTotal:
    """The total of the rows that serve in the source layer."""
    query = sql.SQL("/* guiji {} reconcile */ SELECT {} FROM {} WHERE _deleted_at IS NULL").format(
        sql.SQL(resource.id), sql.Identifier(shape.name), source_table(resource)
    )
    projection = find_projection(resource, shape.name)
    return total_shapes((b.column(0) for b in _read(settings, query)), shape.crs or "", projection)


def _read(settings: Settings, query: sql.Composed) -> Iterator[pa.RecordBatch]:
    from guiji.warehouse import read_arrow

    with read_arrow(settings, query.as_string(None)) as reader:
        for batch in reader:
            for start in range(0, batch.num_rows, ROWS_AT_ONCE):
                yield batch.slice(start, ROWS_AT_ONCE)


# --- libraries ----------------------------------------------------------------------------------------


def sum_library(
    conn: Conn, settings: Settings, catalog: Catalog, library: LibraryModel, feed: Feed
) -> tuple[LibrarySum, ...]:
    """The numbers and shapes that one mapping feeds, over its keys, on both sides.

    Numbers with units are left out: the library may keep them in another unit; so are libraries with vintages, which
    have several rows of a key.
    """
    if library.vintages:
        return ()
    resource = feed.resource
    names = feed.mapping.fields
    fed = [(f, resource.model.field(names[f.name])) for f in library.fields if f.name in names]
    numbers = [(f, s) for f, s in fed if _is_number(f.type) and s.unit is None and s.unit_field is None]
    found = []
    joined = _join(library, feed)
    if numbers:
        shown = [
            sql.SQL("sum(s.{})::text AS {}, sum(l.{})::text AS {}").format(
                *(sql.Identifier(n) for n in (f"f_{f.name}", f"a{i}", f.name, f"b{i}"))
            )
            for i, (f, _) in enumerate(numbers)
        ]
        row = conn.execute(
            sql.SQL("/* guiji {} reconcile */ SELECT {} {}").format(
                sql.SQL(resource.id), sql.SQL(", ").join(shown), joined
            )
        ).fetchone()
        assert row is not None
        found += [
            LibrarySum(f.name, row[f"a{i}"], row[f"b{i}"], _is_sole(catalog, library, f, feed))
            for i, (f, _) in enumerate(numbers)
        ]
    for field, shape in fed:
        if field.type == "geometry" and shape.type == "geometry":
            found += _sum_shapes(settings, catalog, library, feed, field, shape, joined)
    return tuple(found)


def _sum_shapes(
    settings: Settings,
    catalog: Catalog,
    library: LibraryModel,
    feed: Feed,
    field: LibraryField,
    shape: FieldSpec,
    joined: sql.Composable,
) -> list[LibrarySum]:
    projection = find_projection(feed.resource, shape.name)
    totals = []
    for alias, name, crs in (("s", f"f_{field.name}", shape.crs), ("l", field.name, field.crs)):
        query = sql.SQL("/* guiji {} reconcile */ SELECT {} {}").format(
            sql.SQL(feed.resource.id), sql.Identifier(alias, name), joined
        )
        totals.append(total_shapes((b.column(0) for b in _read(settings, query)), crs or shape.crs or "", projection))
    sole = _is_sole(catalog, library, field, feed)
    return [
        LibrarySum(f"{field.name}.{what}", a, b, sole)
        for what, a, b in zip(TOTALS, *(t.list_texts() for t in totals), strict=True)
    ]


def _join(library: LibraryModel, feed: Feed) -> sql.Composable:
    match = sql.SQL(" AND ").join(
        sql.SQL("l.{} = s.{}").format(sql.Identifier(k.name), sql.Identifier(f"k_{k.name}")) for k in library.key
    )
    return sql.SQL("FROM ({}) s LEFT JOIN {} l ON {} AND l._deleted_at IS NULL").format(
        feed_sql(library, feed), library_table(library), match
    )


def _is_sole(catalog: Catalog, library: LibraryModel, field: LibraryField, feed: Feed) -> bool:
    """Whether nobody else feeds the field, so that what was fed must be what serves."""
    if field.strategy == "authority" and feed.department not in field.authority:
        return False
    others = [
        mapping
        for resource in catalog.resources.values()
        for mapping in resource.model.mappings
        if mapping.library == library.name and field.name in mapping.fields and mapping is not feed.mapping
    ]
    return not others


def _is_number(kind: str) -> bool:
    """True of numbers whose sum doesn't depend on the order of the rows."""
    return kind.startswith(("int", "decimal"))
