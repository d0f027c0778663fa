# ruff: noqa: S608 - text reaches SQL through quote_identifier and quote_text only
"""Front-end, source layer and libraries compared: counts, sums of the numeric fields, and a hash per bucket of keys.

The front-end's side is a package that was read and checked like any delivery, so that keys and row hashes mean the
same on both sides. A row that differs counts as *pending* where the next incremental run reads it anyway (its cursor is not
below the watermark less the lag); what is left is what no increment would ever have brought (F-05). The key of a
rejected row is neither missing nor stale: that was told when it was rejected. Buckets are 1/64 of all keys, by a hash of the
key; a bucket number tells nothing of a person.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji import ledger
from guiji.engine import open_engine, quote_identifier, quote_text, render_expression, scan_parquet
from guiji.library.feeds import Feed, feed_sql
from guiji.library.link import usable
from guiji.library.reconcile_rows import NO_ROWS, FedRows, count_fed_rows, count_unfed_rows
from guiji.library.reconcile_sums import TOTALS, LibrarySum, list_shapes, sum_library, total_front_end, total_layer
from guiji.library.tables import library_table, source_table
from guiji.records import CheckedBatch
from guiji.settings import Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from psycopg import Connection

    from guiji.catalog import Catalog
    from guiji.catalog.models import FieldSpec, Resource

    Conn = Connection[dict[str, Any]]

BUCKETS = 64


@dataclass(frozen=True)
class Bucket:
    """One bucket of keys: rows on both sides, and how many of its keys differ in which way."""

    bucket: int
    front_end: int
    layer: int
    missing: int
    stale: int
    surplus: int
    pending: int

    @property
    def differs(self) -> bool:
        return bool(self.missing or self.stale or self.surplus)


@dataclass(frozen=True)
class FieldSum:
    """A numeric field's sum on both sides, as exact text; None where there is no value. Of a geometry field there are
    three: ``<field>.shapes``, ``<field>.area_m2`` and ``<field>.length_m``."""

    field: str
    front_end: str | None
    layer: str | None


@dataclass(frozen=True)
class LibraryCount:
    """The keys that one mapping feeds into a library: how many, how many the library lacks, how many wait."""

    library: str
    mapping: int
    keys: int
    missing: int
    waiting: int  # marked for resolving; -1: all of them are
    sums: tuple[LibrarySum, ...] = ()
    rows: FedRows = NO_ROWS  # the serving rows that these keys are of

    @property
    def differs(self) -> bool:
        return self.waiting == 0 and (self.missing > 0 or any(s.differs for s in self.sums))


@dataclass(frozen=True)
class Reconciliation:
    """What comparing one resource found. ``repaired``: the batch that brought what lacked."""

    resource_id: str
    started_at: datetime
    rows_layer: int
    rows_front_end: int | None = None
    rows_rejected: int = 0
    keys_unsettled: int = 0
    buckets: tuple[Bucket, ...] = ()  # those with any difference, pending ones too
    sums: tuple[FieldSum, ...] = ()
    libraries: tuple[LibraryCount, ...] = ()
    row_numbers: str | None = field(default=None, repr=False)  # Parquet: rows of the package in buckets that differ
    latest_batch: str | None = None  # the newest published one when it was compared
    repaired: str | None = None
    delivered_batch: str | None = None  # whose package stood for a front-end that can't be asked again (files)

    def count(self, what: str) -> int:
        return sum(getattr(b, what) for b in self.buckets)

    def to_json(self) -> str:
        """All of it as one JSON object: counts and sums, no value of a row."""
        said = {**asdict(self), "agrees": self.agrees}
        del said["row_numbers"]
        return json.dumps(said, ensure_ascii=False, default=str)

    @property
    def agrees(self) -> bool:
        return not any(b.differs for b in self.buckets) and not any(c.differs for c in self.libraries)


@dataclass(frozen=True)
class FrontEnd:
    """The front-end's side: a package that was read and checked for this comparison only."""

    checked: CheckedBatch
    watermark: str | None  # where the next incremental run begins, its lag aside
    directory: str


def count_layer(conn: Conn, resource: Resource) -> int:
    """How many rows of the resource serve."""
    if not _has_table(conn, "source", resource.model.table):
        return 0
    row = conn.execute(
        sql.SQL("/* guiji {} reconcile */ SELECT count(*) AS n FROM {} WHERE _deleted_at IS NULL").format(
            sql.SQL(resource.id), source_table(resource)
        )
    ).fetchone()
    return int(row["n"]) if row else 0


def compare_layer(conn: Conn, settings: Settings, resource: Resource, front: FrontEnd, at: datetime) -> Reconciliation:
    """The front-end's rows against the source layer's, bucket by bucket; reads both, writes nothing."""
    with open_engine(settings, time_zone=resource.model.time_zone) as con:
        _load_layer(conn, con, settings, resource)
        comparison = _Comparison(con, resource, front)
        comparison.join()
        shapes = comparison.shapes(settings) if _has_table(conn, "source", resource.model.table) else ()
        unreadable = front.checked.unreadable_keys
        buckets = comparison.buckets(surplus_counts=unreadable == 0)
        return Reconciliation(
            resource.id,
            at,
            rows_layer=_count(con, "SELECT count(*) FROM here"),
            rows_front_end=front.checked.rows_read,
            rows_rejected=front.checked.rows_rejected,
            keys_unsettled=_count(con, "SELECT count(*) FROM joined WHERE state = 'surplus'") if unreadable else 0,
            buckets=buckets,
            sums=(*comparison.sums(), *shapes),
            row_numbers=comparison.write_rows([b.bucket for b in buckets if b.missing or b.stale]),
        )


def _load_layer(conn: Conn, con: DuckDBPyConnection, settings: Settings, resource: Resource) -> None:
    """The source layer's serving rows as table ``here`` of the engine: keys, row hash and numeric fields."""
    from guiji.warehouse import read_arrow

    specs = _columns(resource)
    definition = ", ".join(f"{quote_identifier(f.name)} {_engine_type(f)}" for f in specs)
    con.execute(f"CREATE TABLE here ({definition}, _row_hash BIGINT)")
    if not _has_table(conn, "source", resource.model.table):
        return
    parts = [
        sql.SQL("s.{0}::text AS {0}" if f.type.startswith("decimal") else "s.{0}").format(sql.Identifier(f.name))
        for f in specs
    ]
    query = sql.SQL("/* guiji {} reconcile */ SELECT {}, s._row_hash FROM {} s WHERE _deleted_at IS NULL").format(
        sql.SQL(resource.id), sql.SQL(", ").join(parts), source_table(resource)
    )
    with read_arrow(settings, query.as_string(None)) as reader:
        con.register("layer_stream", reader)
        con.execute("INSERT INTO here SELECT * FROM layer_stream")
        con.unregister("layer_stream")


class _Comparison:
    """The tables ``there``, ``here`` and ``joined`` of one engine, and what is asked of them."""

    def __init__(self, con: DuckDBPyConnection, resource: Resource, front: FrontEnd) -> None:
        self.con, self.resource, self.front = con, resource, front
        self.keys = [quote_identifier(k) for k in resource.model.key]
        self.using = ", ".join(self.keys)

    def join(self) -> None:
        keys = self.using
        self.con.execute(
            f"CREATE VIEW sent AS SELECT *, {self._tombstone()} AS _tomb FROM {scan_parquet(self.front.checked.accepted)}"
        )
        self.con.execute("CREATE VIEW there AS SELECT * EXCLUDE (_tomb) FROM sent WHERE NOT _tomb")
        self.con.execute(
            f"CREATE TABLE refused AS SELECT DISTINCT {keys} FROM {scan_parquet(self.front.checked.present_keys)}"
        )
        text = ", ".join(f"{k}::VARCHAR" for k in self.keys)
        self.con.execute(
            f"""CREATE TABLE joined AS SELECT
              (('0x' || left(md5(concat_ws(chr(31), {text})), 6))::INTEGER % {BUCKETS}) AS bucket,
              t._row_no IS NOT NULL AND NOT t._tomb AS is_there, h._is_here IS NOT NULL AS is_here, t._row_no,
              CASE WHEN h._is_here IS NULL AND t._tomb THEN 'same'
                   WHEN h._is_here IS NULL THEN CASE WHEN t._pending THEN 'pending' ELSE 'missing' END
                   WHEN t._tomb THEN CASE WHEN t._pending THEN 'pending' ELSE 'stale' END
                   WHEN t._row_no IS NOT NULL AND t._row_hash IS NOT DISTINCT FROM h._row_hash THEN 'same'
                   WHEN r._refused THEN 'refused'
                   WHEN t._row_no IS NULL THEN 'surplus'
                   WHEN t._pending THEN 'pending' ELSE 'stale' END AS state
            FROM (SELECT {keys}, _row_no, _row_hash, _tomb, {self._pending()} AS _pending FROM sent) t
            FULL JOIN (SELECT {keys}, _row_hash, true AS _is_here FROM here) h USING ({keys})
            LEFT JOIN (SELECT {keys}, true AS _refused FROM refused) r USING ({keys})"""
        )

    def _tombstone(self) -> str:
        """True of a row that marks its key as deleted: it must not serve here, and is missing nowhere."""
        model = self.resource.model
        if not model.tombstone:
            return "false"
        return f"coalesce({render_expression(model.tombstone, [f.name for f in model.fields])}, false)"

    def _pending(self) -> str:
        """True of a row that the next incremental run reads anyway."""
        source = self.resource.model.source
        cursor = getattr(source, "cursor", None)
        if self.resource.model.load != "incremental" or cursor is None:
            return "false"
        found = [f for f in self.resource.model.fields if cursor in (f.source_column, *f.aliases)]
        if not found:
            return "false"
        name, kind = quote_identifier(found[0].name), _engine_type(found[0])
        if self.front.watermark is None:
            return "true"
        lag = int(getattr(source, "lag_seconds", 0))
        bound = f"TRY_CAST({quote_text(self.front.watermark)} AS {kind})"
        if lag and kind in ("DATE", "TIMESTAMPTZ"):
            bound += f" - INTERVAL {lag} SECOND"
        return f"COALESCE({name} >= {bound}, {name} IS NULL)"

    def buckets(self, *, surplus_counts: bool) -> tuple[Bucket, ...]:
        surplus = "count(*) FILTER (state = 'surplus')" if surplus_counts else "0"
        rows = self.con.execute(
            f"""SELECT bucket, count(*) FILTER (is_there), count(*) FILTER (is_here),
              count(*) FILTER (state = 'missing'), count(*) FILTER (state = 'stale'), {surplus} AS surplus,
              count(*) FILTER (state = 'pending')
            FROM joined GROUP BY bucket HAVING count(*) FILTER (state IN ('missing', 'stale', 'pending')) + surplus > 0
            ORDER BY bucket"""
        ).fetchall()
        return tuple(Bucket(*row) for row in rows)

    def sums(self) -> tuple[FieldSum, ...]:
        found = []
        for spec in _columns(self.resource)[len(self.keys) :]:
            name = quote_identifier(spec.name)
            total = f"fsum({name})" if spec.type == "float64" else f"sum({name})"
            row = self.con.execute(
                f"SELECT (SELECT {total}::VARCHAR FROM there), (SELECT {total}::VARCHAR FROM here)"
            ).fetchone()
            assert row is not None
            found.append(FieldSum(spec.name, row[0], row[1]))
        return tuple(found)

    def shapes(self, settings: Settings) -> tuple[FieldSum, ...]:
        """Number, area and length of the shapes on both sides."""
        found: list[FieldSum] = []
        for shape in list_shapes(self.resource):
            there = total_front_end(self.con, self.resource, shape, "there").list_texts()
            here = total_layer(settings, self.resource, shape).list_texts()
            found += [FieldSum(f"{shape.name}.{what}", a, b) for what, a, b in zip(TOTALS, there, here, strict=True)]
        return tuple(found)

    def write_rows(self, buckets: Sequence[int]) -> str | None:
        """The numbers of the package's accepted rows in these buckets, as Parquet; None where there are none."""
        if not buckets:
            return None
        target = f"{self.front.directory}/rows_to_repair.parquet"
        chosen = ", ".join(str(int(b)) for b in buckets)
        self.con.execute(
            f"COPY (SELECT _row_no FROM joined WHERE _row_no IS NOT NULL AND bucket IN ({chosen}) ORDER BY _row_no)"
            f" TO {quote_text(target)} (FORMAT parquet)"
        )
        return target


def _columns(resource: Resource) -> list[FieldSpec]:
    """Key fields, then the other numeric ones."""
    model = resource.model
    keys = [model.field(k) for k in model.key]
    numeric = [f for f in model.fields if f.name not in model.key and f.type.startswith(("int", "float", "decimal"))]
    return [*keys, *numeric]


def _engine_type(spec: FieldSpec) -> str:
    if spec.type.startswith("decimal128"):
        return "DECIMAL" + spec.type.removeprefix("decimal128")
    return {
        "string": "VARCHAR",
        "int64": "BIGINT",
        "float64": "DOUBLE",
        "bool": "BOOLEAN",
        "date32": "DATE",
        "timestamp": "TIMESTAMPTZ",
        "geometry": "BLOB",
    }[spec.type]


def _count(con: DuckDBPyConnection, text: str) -> int:
    row = con.execute(text).fetchone()
    assert row is not None
    return int(row[0])


# --- libraries ----------------------------------------------------------------------------------------


def compare_libraries(conn: Conn, settings: Settings, resource: Resource, catalog: Catalog) -> tuple[LibraryCount, ...]:
    """For each mapping of the resource: the keys its serving rows have, the rows that give none, the keys that the library
    lacks, and the sums of the numbers and shapes that it feeds."""
    if not _has_table(conn, "source", resource.model.table):
        return ()
    found = []
    for number, mapping in enumerate(resource.model.mappings):
        library = next((m for m in catalog.libraries.values() if m.name == mapping.library), None)
        feeds = usable(conn, library, [Feed(number + 1, resource, mapping)]) if library else []
        if library is None:
            continue
        if not feeds:
            unfed = count_unfed_rows(conn, resource, mapping)
            found.append(LibraryCount(library.name, number, 0, 0, 0, rows=unfed))
            continue
        keys = [k.name for k in library.key]
        lacks: sql.Composable = sql.SQL("true")
        if _has_table(conn, "library", library.table):
            match = sql.SQL(" AND ").join(
                sql.SQL("l.{} = s.{}").format(sql.Identifier(k), sql.Identifier(f"k_{k}")) for k in keys
            )
            lacks = sql.SQL("NOT EXISTS (SELECT FROM {} l WHERE {} AND l._deleted_at IS NULL)").format(
                library_table(library), match
            )
        row = conn.execute(
            sql.SQL(
                "/* guiji {} reconcile */ SELECT count(*) AS keys, count(*) FILTER (WHERE {}) AS missing FROM ({}) s"
            ).format(sql.SQL(resource.id), lacks, feed_sql(library, feeds[0]))
        ).fetchone()
        waiting = conn.execute(
            "/* guiji reconcile */ SELECT CASE WHEN EXISTS (SELECT FROM ops.dirty_library WHERE library = %(name)s)"
            " THEN -1 ELSE (SELECT count(*) FROM ops.dirty_key WHERE library = %(name)s) END AS n",
            {"name": library.name},
        ).fetchone()
        assert row is not None
        assert waiting is not None
        sums = (
            sum_library(conn, settings, catalog, library, feeds[0])
            if _has_table(conn, "library", library.table)
            else ()
        )
        fed = count_fed_rows(conn, library, feeds[0], int(row["keys"]))
        found.append(
            LibraryCount(library.name, number, int(row["keys"]), int(row["missing"]), int(waiting["n"]), sums, fed)
        )
    return tuple(found)


def mark_resource_dirty(conn: Conn, settings: Settings, resource: Resource, libraries: Sequence[str]) -> None:
    """Has the libraries resolve all keys of the resource anew; in the caller's transaction."""
    batch = ledger.latest_batch(conn, resource.id)
    for library in libraries:
        conn.execute(
            "/* guiji reconcile */ INSERT INTO ops.dirty_library (library, resource_id, batch_id, marked_at)"
            " VALUES (%s, %s, %s, %s)",
            (library, resource.id, batch.batch_id if batch else "", settings.now()),
        )


def _has_table(conn: Conn, schema: str, table: str) -> bool:
    row = conn.execute(
        "/* guiji reconcile */ SELECT to_regclass(quote_ident(%s) || '.' || quote_ident(%s)) IS NOT NULL AS there",
        (schema, table),
    ).fetchone()
    return bool(row and row["there"])


# --- what is kept -------------------------------------------------------------------------------------


def record_reconciliation(conn: Conn, settings: Settings, resource: Resource, found: Reconciliation) -> int:
    """Writes the row of ``ops.reconciliation`` and, where the sides differ, an event for the department; commits."""
    from psycopg.types.json import Jsonb

    with ledger.transaction(conn):
        row = conn.execute(
            """/* guiji reconcile */ INSERT INTO ops.reconciliation (resource_id, batch_id, started_at, finished_at,
              rows_front_end, rows_rejected, rows_layer, keys_missing, keys_stale, keys_surplus, keys_pending,
              keys_unsettled, sums, buckets, libraries, agrees, repaired_batch)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING reconciliation_id""",
            (
                resource.id,
                found.latest_batch,
                found.started_at,
                settings.now(),
                found.rows_front_end,
                found.rows_rejected,
                found.rows_layer,
                *(found.count(n) for n in ("missing", "stale", "surplus", "pending")),
                found.keys_unsettled,
                *(Jsonb([asdict(x) for x in part]) for part in (found.sums, found.buckets, found.libraries)),
                found.agrees,
                found.repaired,
            ),
        ).fetchone()
        assert row is not None
        number = int(row["reconciliation_id"])
        # what was delivered and is not here any more is no fault of the department
        if any(b.differs for b in found.buckets) and found.delivered_batch is None:
            ledger.add_event(
                conn,
                settings,
                resource.model.department_id,
                "differs",
                "reconcile.differs",
                resource_id=resource.id,
                batch_id=found.repaired,
                dedupe=f"reconcile:{number}",
                payload={"difference": say_difference(found)},
            )
    return number


def say_difference(found: Reconciliation) -> str:
    """The difference in the words of a clerk: counts only."""
    parts = [
        f"{text} {found.count(name):,} 条"
        for name, text in (
            ("missing", "前置机有而平台没有"),
            ("stale", "两边内容不同"),
            ("surplus", "平台有而前置机已没有"),
        )
        if found.count(name)
    ]
    ending = "。缺少和不同的部分已重新读取" if found.repaired else ""
    return "；".join(parts) + ending
