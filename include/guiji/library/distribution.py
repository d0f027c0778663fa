# ruff: noqa: S608 - text reaches SQL through quote_identifier and quote_text only
"""How the values of a code field are distributed, and whether a batch moves them too far (``tolerance.distribution``).

The distance of two distributions is their total variation: half the sum, over all values and the empty one, of how far
the value's share moved; 0 where nothing moved, 1 where nothing stayed. It is the share of rows that would have to be
written otherwise to turn one into the other.

A snapshot: what serves against what would serve, both from the snapshot caches, which keep the guarded fields: a scan
of one narrow column each. Changes: the accepted rows against what serves, which is counted in the warehouse and counted
anew only when more than a hundredth of it has changed since. Fewer than a hundred rows on either side say nothing, and
neither does a field that was empty throughout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji.engine import quote_identifier
from guiji.settings import Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from psycopg import Connection

    from guiji.catalog.models import Resource, ResourceModel

    Conn = Connection[dict[str, Any]]

#: rows of a value; None stands for the empty one
Counts = Mapping[str | None, int]

#: fewer rows have shares that mean nothing
FEWEST = 100
#: the serving values are counted again when more than this share of the rows has changed since
STALE = 0.01


def list_guarded(model: ResourceModel) -> list[str]:
    """The fields whose distribution is guarded, in the order of the catalog."""
    return [f.name for f in model.fields if f.name in model.tolerance.distribution]


def value_column(name: str) -> str:
    """The column of a snapshot cache that keeps a guarded field, as text."""
    return f"_value_{name}"


def measure_shift(before: Counts, after: Counts) -> float:
    """The total variation distance of two distributions, between 0 and 1."""
    n, m = sum(before.values()), sum(after.values())
    return sum(abs(before.get(v, 0) / n - after.get(v, 0) / m) for v in {*before, *after}) / 2


def count_values(con: DuckDBPyConnection, table: str, columns: Mapping[str, str]) -> dict[str, Counts]:
    """field -> how often each value stands in ``table``; ``columns``: field -> its expression there."""
    found: dict[str, Counts] = {}
    for name, expression in columns.items():
        rows = con.execute(f"SELECT ({expression})::VARCHAR, count(*) FROM {table} GROUP BY 1").fetchall()
        found[name] = {v: int(n) for v, n in rows}
    return found


def explain_shifts(
    model: ResourceModel, before: Mapping[str, Counts], after: Mapping[str, Counts], *, changes: bool
) -> tuple[str, ...]:
    """Why a person must decide, for each guarded field that moved beyond its band. No personal value is named."""
    reasons = []
    for name in list_guarded(model):
        then, now = before.get(name, {}), after.get(name, {})
        if min(sum(then.values()), sum(now.values())) < FEWEST or not set(then) - {None}:
            continue  # too few rows, or a field that the catalog or the department has only now
        shift, allowed = measure_shift(then, now), model.tolerance.distribution[name]
        if shift <= allowed + 1e-12:
            continue
        spec = model.field(name)
        moved = "" if spec.sensitivity >= 3 else f"，其中{_name_moves(then, now)}"
        whose = "本次提供的数据" if changes else "按本次数据更新后"
        reasons.append(
            f"“{spec.title}”的取值分布突变：{whose}与现有数据相差{shift:.1%}，超过允许的{allowed:.1%}{moved}。"
            "请核实是否代码填错、字段错位或只提供了部分数据。"
        )
    return tuple(reasons)


def _name_moves(then: Counts, now: Counts) -> str:
    n, m = sum(then.values()), sum(now.values())
    moves = sorted({*then, *now}, key=lambda v: (-abs(then.get(v, 0) / n - now.get(v, 0) / m), v is None, v or ""))
    return "，".join(
        f"{'空值' if v is None else f'“{v}”'}的占比由{then.get(v, 0) / n:.1%}变为{now.get(v, 0) / m:.1%}"
        for v in moves[:3]
        if then.get(v, 0) * m != now.get(v, 0) * n
    )


def keep_values(model: ResourceModel) -> list[str]:
    """The guarded fields as columns of a snapshot cache, selected from the accepted rows."""
    return [f"{quote_identifier(n)}::VARCHAR AS {quote_identifier(value_column(n))}" for n in list_guarded(model)]


def kept_columns(model: ResourceModel) -> dict[str, str]:
    """field -> its column in a snapshot cache, quoted."""
    return {n: quote_identifier(value_column(n)) for n in list_guarded(model)}


# --- what serves, from the warehouse ------------------------------------------------------------------


def count_serving_values(conn: Conn, settings: Settings, resource: Resource) -> dict[str, Counts]:
    """field -> how often each value serves; of an earlier day while hardly anything has changed since.

    In the caller's transaction. A field that the table doesn't have yet is left out.
    """
    from psycopg.types.json import Jsonb

    guarded = list_there(conn, resource)
    if not guarded:
        return {}
    row = conn.execute(
        "/* guiji values */ SELECT coalesce(sum(rows_new + rows_changed + rows_deleted), 0)::bigint AS touched"
        " FROM ops.batch WHERE resource_id = %s AND status = 'published'",
        (resource.id,),
    ).fetchone()
    touched = int(row["touched"]) if row else 0
    kept = conn.execute(
        "/* guiji values */ SELECT field, counts, rows, touched FROM ops.value_count WHERE resource_id = %s",
        (resource.id,),
    ).fetchall()
    fresh = {r["field"]: dict(r["counts"]) for r in kept if touched - r["touched"] <= STALE * r["rows"]}
    if set(guarded) <= set(fresh):
        return {n: fresh[n] for n in guarded}
    found = _count(conn, resource, guarded)
    for name, counts in found.items():
        conn.execute(
            "/* guiji values */ INSERT INTO ops.value_count (resource_id, field, counts, rows, touched, counted_at)"
            " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (resource_id, field) DO UPDATE SET counts = excluded.counts,"
            " rows = excluded.rows, touched = excluded.touched, counted_at = excluded.counted_at",
            (
                resource.id,
                name,
                Jsonb([[v, n] for v, n in counts.items()]),
                sum(counts.values()),
                touched,
                settings.now(),
            ),
        )
    return found


def list_there(conn: Conn, resource: Resource) -> list[str]:
    """The guarded fields that the source table has."""
    guarded = list_guarded(resource.model)
    rows = conn.execute(
        "/* guiji values */ SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = ANY(%s)",
        (f'source."{resource.model.table}"', guarded),
    ).fetchall()
    there = {r["attname"] for r in rows}
    return [n for n in guarded if n in there]


def _count(conn: Conn, resource: Resource, names: Sequence[str]) -> dict[str, Counts]:
    """One scan for all fields."""
    columns = [sql.Identifier(n) for n in names]
    query = sql.SQL(
        "/* guiji {} values */ SELECT {} AS at, count(*) AS n, {} FROM {} WHERE _deleted_at IS NULL"
        " GROUP BY GROUPING SETS ({})"
    ).format(
        sql.SQL(resource.id),
        sql.SQL("grouping({})").format(sql.SQL(", ").join(columns)),
        sql.SQL(", ").join(sql.SQL("{}::text AS {}").format(c, sql.Identifier(f"v{i}")) for i, c in enumerate(columns)),
        sql.Identifier("source", resource.model.table),
        sql.SQL(", ").join(sql.SQL("({})").format(c) for c in columns),
    )
    found: dict[str, dict[str | None, int]] = {n: {} for n in names}
    for row in conn.execute(query).fetchall():
        # the one bit that is 0 is the field of this row; the first column is the highest bit
        at = next(i for i in range(len(names)) if not row["at"] >> (len(names) - 1 - i) & 1)
        found[names[at]][row[f"v{at}"]] = int(row["n"])
    return dict(found)


__all__ = [
    "Counts",
    "count_serving_values",
    "count_values",
    "explain_shifts",
    "keep_values",
    "kept_columns",
    "list_guarded",
    "list_there",
    "measure_shift",
    "value_column",
]
