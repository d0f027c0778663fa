"""The figures of the pages: each function asks the ledger one question and returns plain rows.

Nothing here shows a personal value: findings are masked when they are written (F-67), rejected rows stay sealed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from psycopg import sql

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog import Catalog
    from guiji.catalog.models import DepartmentModel, LibraryModel, Resource

    Conn = Connection[dict[str, Any]]

FINDINGS_SHOWN = 200
BATCHES_SHOWN = 60
#: above this many rows (PostgreSQL's own estimate) a count would make the page wait
COUNT_EXACTLY_BELOW = 1_000_000

EQUATION = (
    "rows_rejected",
    "rows_held",
    "rows_duplicate",
    "rows_superseded",
    "rows_tombstone",
    "rows_new",
    "rows_changed",
    "rows_unchanged",
)


@dataclass(frozen=True)
class ResourceState:
    """One resource today: its last batch and its newest closed delivery window, where there are any."""

    resource: Resource
    batch: dict[str, Any] | None
    window: dict[str, Any] | None


@dataclass(frozen=True)
class DepartmentState:
    department: DepartmentModel
    resources: list[ResourceState]
    tickets: int  # open

    @property
    def worst(self) -> str:
        """The state that a person should see first."""
        states = [
            s.batch["status"] if s.batch and s.batch["cause"] != "nothing_delivered" else "none" for s in self.resources
        ]
        late = {s.window["state"] for s in self.resources if s.window}
        if {"failed", "refused"} & set(states) or "missed" in late:
            return "bad"
        if "held" in states or "late" in late:
            return "warn"
        if any(s.batch and s.batch["outcome"] == "warning" for s in self.resources):
            return "note"
        return "none" if set(states) <= {"none"} else "good"


@dataclass(frozen=True)
class LibraryState:
    library: LibraryModel
    rows: int | None  # None: no table yet
    is_estimate: bool
    conflicts: int
    dirty: int


def load_departments(conn: Conn, catalog: Catalog, now: datetime) -> list[DepartmentState]:
    """Every department of the catalog with its resources, also those that have delivered nothing."""
    batches = {
        row["resource_id"]: row
        for row in conn.execute(
            """/* guiji ui departments */
            SELECT DISTINCT ON (resource_id) * FROM ops.batch
            ORDER BY resource_id, cause IS NOT DISTINCT FROM 'nothing_delivered', batch_no DESC"""
        )
    }
    windows = {
        row["resource_id"]: row
        for row in conn.execute(
            """/* guiji ui windows */
            SELECT DISTINCT ON (resource_id) * FROM ops.delivery_window
            WHERE state <> 'not_due' AND due_at <= %s ORDER BY resource_id, window_start DESC""",
            (now,),
        )
    }
    tickets = {
        row["department_id"]: row["n"]
        for row in conn.execute(
            """/* guiji ui tickets */
            SELECT department_id, count(*) AS n FROM ops.ticket WHERE closed_at IS NULL GROUP BY department_id"""
        )
    }
    return [
        DepartmentState(
            department,
            [ResourceState(r, batches.get(r.id), windows.get(r.id)) for r in catalog.resources_of(id_)],
            tickets.get(id_, 0),
        )
        for id_, department in catalog.departments.items()
    ]


def sum_day(conn: Conn, now: datetime) -> dict[str, Any]:
    """What came in from departments on the calendar day of ``now``: batches by status, rows read, accepted and
    rejected. What did not come from a department is counted apart (``sum_day_apart``)."""
    start = now.replace(hour=0, minute=0, second=0, microsecond=0)
    row = conn.execute(
        """/* guiji ui day: a look that found no delivery is no batch */
        SELECT count(*) AS batches,
               count(*) FILTER (WHERE status = 'published') AS published,
               count(*) FILTER (WHERE status = 'held') AS held,
               count(*) FILTER (WHERE status IN ('failed','refused')) AS failed,
               coalesce(sum(rows_read), 0)::bigint AS rows_read,
               coalesce(sum(rows_rejected), 0)::bigint AS rows_rejected,
               coalesce(sum(rows_new), 0)::bigint AS rows_new,
               coalesce(sum(rows_changed), 0)::bigint AS rows_changed,
               coalesce(sum(rows_deleted) FILTER (WHERE status = 'published'), 0)::bigint AS rows_deleted
        FROM ops.batch WHERE started_at >= %s AND started_at < %s AND cause IS DISTINCT FROM 'nothing_delivered'
          AND origin = 'department'""",
        (start, start + timedelta(days=1)),
    ).fetchone()
    assert row is not None
    return row


def sum_day_apart(conn: Conn, now: datetime) -> list[dict[str, Any]]:
    """Batches and rows read on the day of ``now`` that flowed back from upper levels or were bought, by origin."""
    start = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return conn.execute(
        """/* guiji ui day apart */
        SELECT origin, count(*) AS batches, coalesce(sum(rows_read), 0)::bigint AS rows_read FROM ops.batch
        WHERE started_at >= %s AND started_at < %s AND cause IS DISTINCT FROM 'nothing_delivered'
          AND origin <> 'department' GROUP BY origin ORDER BY origin""",
        (start, start + timedelta(days=1)),
    ).fetchall()


def list_held(conn: Conn) -> list[dict[str, Any]]:
    return conn.execute(
        "/* guiji ui held */ SELECT * FROM ops.batch WHERE status = 'held' ORDER BY batch_no"
    ).fetchall()


def sum_outbox(conn: Conn, now: datetime) -> dict[str, Any]:
    """The mail channel: waiting, dead, sent within a week, when last, and the oldest that waits."""
    row = conn.execute(
        """/* guiji ui outbox */
        SELECT count(*) FILTER (WHERE sent_at IS NULL AND dead_at IS NULL) AS waiting,
               count(*) FILTER (WHERE dead_at IS NOT NULL) AS dead,
               count(*) FILTER (WHERE sent_at >= %(week)s) AS sent,
               max(sent_at) AS last_sent,
               min(created_at) FILTER (WHERE sent_at IS NULL AND dead_at IS NULL) AS oldest
        FROM ops.outbox""",
        {"week": now - timedelta(days=7)},
    ).fetchone()
    assert row is not None
    return row


def list_dead_letters(conn: Conn) -> list[dict[str, Any]]:
    """Mails that were given up, newest first; a person has to look at them (F-65)."""
    return conn.execute(
        """/* guiji ui dead letters */
        SELECT event_id, department_id, resource_id, kind, created_at, dead_at, attempts, last_error
        FROM ops.outbox WHERE dead_at IS NOT NULL ORDER BY dead_at DESC LIMIT 50"""
    ).fetchall()


def load_libraries(conn: Conn, catalog: Catalog) -> list[LibraryState]:
    conflicts = _count_by_library(conn, "SELECT library, count(*) AS n FROM ops.conflict WHERE settled_at IS NULL")
    dirty = _count_by_library(
        conn,
        "SELECT library, count(*) AS n FROM (SELECT library FROM ops.dirty_key UNION ALL SELECT library FROM ops.dirty_library) d",
    )
    states = []
    for name, library in catalog.libraries.items():
        rows, is_estimate = _count_rows(conn, library.table)
        states.append(LibraryState(library, rows, is_estimate, conflicts.get(name, 0), dirty.get(name, 0)))
    return states


def list_reports(conn: Conn) -> list[dict[str, Any]]:
    return conn.execute(
        "/* guiji ui reports */ SELECT month, as_of, frozen_at, sha256 FROM ops.report ORDER BY month DESC, as_of DESC LIMIT 24"
    ).fetchall()


def load_batch(conn: Conn, batch_id: str) -> dict[str, Any] | None:
    return conn.execute("/* guiji ui batch */ SELECT * FROM ops.batch WHERE batch_id = %s", (batch_id,)).fetchone()


def list_findings(conn: Conn, batch_id: str, rule_id: str | None) -> list[dict[str, Any]]:
    """The first findings of a batch, of one rule where given; values are masked already."""
    return conn.execute(
        """/* guiji ui findings */
        SELECT locator, rule_id, indicator, verdict, value_masked FROM ops.finding
        WHERE batch_id = %(batch)s AND (%(rule)s::text IS NULL OR rule_id = %(rule)s)
        ORDER BY row_no NULLS LAST, finding_id LIMIT %(limit)s""",
        {"batch": batch_id, "rule": rule_id, "limit": FINDINGS_SHOWN},
    ).fetchall()


def count_findings(conn: Conn, batch_id: str) -> list[dict[str, Any]]:
    """Findings of a batch by rule and verdict, most first."""
    return conn.execute(
        """/* guiji ui finding counts */
        SELECT rule_id, verdict, count(*) AS n FROM ops.finding WHERE batch_id = %s
        GROUP BY rule_id, verdict ORDER BY n DESC, rule_id""",
        (batch_id,),
    ).fetchall()


def list_batches(conn: Conn, resource_id: str) -> list[dict[str, Any]]:
    return conn.execute(
        "/* guiji ui batches */ SELECT * FROM ops.batch WHERE resource_id = %s ORDER BY batch_no DESC LIMIT %s",
        (resource_id, BATCHES_SHOWN),
    ).fetchall()


def list_windows(conn: Conn, resource_id: str) -> list[dict[str, Any]]:
    """The last delivery windows of a resource, oldest first."""
    rows = conn.execute(
        "/* guiji ui resource windows */ SELECT * FROM ops.delivery_window WHERE resource_id = %s ORDER BY window_start DESC LIMIT 36",
        (resource_id,),
    ).fetchall()
    return rows[::-1]


def list_tickets(conn: Conn, resource_id: str) -> list[dict[str, Any]]:
    return conn.execute(
        """/* guiji ui resource tickets */
        SELECT * FROM ops.ticket WHERE resource_id = %s ORDER BY closed_at IS NOT NULL, opened_at DESC LIMIT 50""",
        (resource_id,),
    ).fetchall()


def _count_by_library(conn: Conn, query: str) -> dict[str, int]:
    text = f"/* guiji ui libraries */ {query} GROUP BY library"
    return {row["library"]: row["n"] for row in conn.execute(text)}


def _count_rows(conn: Conn, table: str) -> tuple[int | None, bool]:
    found = conn.execute(
        """/* guiji ui library */ SELECT c.reltuples::bigint AS rows FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'library' AND c.relname = %s""",
        (table,),
    ).fetchone()
    if found is None:
        return None, False
    if found["rows"] >= COUNT_EXACTLY_BELOW:
        return found["rows"], True
    row = conn.execute(
        sql.SQL("/* guiji ui library */ SELECT count(*) AS n FROM {} WHERE _deleted_at IS NULL").format(
            sql.Identifier("library", table)
        )
    ).fetchone()
    assert row is not None
    return row["n"], False
