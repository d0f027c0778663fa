"""Who read what: every shared view notes each query on it in ``ops.share_read`` before its first row (``note_read``).

A reader can't leave the note out: it is part of the view, and the view is all that he may read. He can roll his
transaction back, and with it the note; then his department's counter has gone on, and the gap tells of a read whose view
is not known. What is noted goes into the audit trail once a day, and stays here for KEEP_DAYS. Not seen is which rows a
query asked for, and what becomes of them afterwards.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji import ledger
from guiji.audit import append_audit
from guiji.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection

    Conn = Connection[dict[str, Any]]

#: how long single reads are kept; their counts stay in the audit trail
KEEP_DAYS = 400


@dataclass(frozen=True)
class Reading:
    """The reads of one view by one login; ``purpose``: of the grant that held at the last of them."""

    department_id: str | None
    login: str
    view: str
    resource_id: str | None  # None: the view is no longer there
    reads: int
    first_at: datetime
    last_at: datetime
    purpose: str | None


def ensure_counters(conn: Conn, departments: Collection[str]) -> None:
    """One counter per department; it goes on when the reading transaction is rolled back."""
    have = {
        r["relname"]
        for r in conn.execute(
            "/* guiji share counter */ SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = 'ops' AND c.relkind = 'S' AND c.relname LIKE 'share_reads_%%'"
        )
    }
    for department in sorted(departments):
        if (name := f"share_reads_{department}") not in have:
            conn.execute(sql.SQL("/* guiji share counter */ CREATE SEQUENCE {}").format(sql.Identifier("ops", name)))


def list_readings(
    conn: Conn,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    resource_id: str | None = None,
    department_id: str | None = None,
) -> list[Reading]:
    """Who read what in [since, until), most reads first."""
    rows = conn.execute(
        """/* guiji share reads */
        SELECT r.department_id, r.login, r.view, v.resource_id, count(*) AS reads, min(r.at) AS first_at,
          max(r.at) AS last_at,
          (SELECT g.purpose FROM ops.share_grant g WHERE g.resource_id = v.resource_id
             AND g.department_id = r.department_id AND g.granted_at <= max(r.at)
             AND (g.ended_at IS NULL OR g.ended_at > max(r.at)) ORDER BY g.grant_id DESC LIMIT 1) AS purpose
        FROM ops.share_read r LEFT JOIN ops.share_view v USING (view)
        WHERE (%(since)s::timestamptz IS NULL OR r.at >= %(since)s) AND (%(until)s::timestamptz IS NULL OR r.at < %(until)s)
          AND (%(resource)s::text IS NULL OR v.resource_id = %(resource)s)
          AND (%(department)s::text IS NULL OR r.department_id = %(department)s)
        GROUP BY r.department_id, r.login, r.view, v.resource_id
        ORDER BY reads DESC, r.department_id, r.login, r.view""",
        {"since": since, "until": until, "resource": resource_id, "department": department_id},
    ).fetchall()
    return [Reading(**row) for row in rows]


def count_rolled_back(conn: Conn) -> dict[str, int]:
    """department -> reads that it made since the oldest one kept and whose notes it rolled back; those with any.

    After a crash of the server up to 32 too many: a counter then skips numbers.
    """
    kept = {
        r["department_id"]: r
        for r in conn.execute(
            "/* guiji share gaps */ SELECT department_id, count(*) AS n, min(read_no) AS low FROM ops.share_read"
            " WHERE department_id IS NOT NULL GROUP BY department_id"
        )
    }
    counters = conn.execute(
        "/* guiji share gaps */ SELECT substr(sequencename, 13) AS department_id, last_value FROM pg_sequences"
        " WHERE schemaname = 'ops' AND sequencename LIKE 'share_reads_%%' AND last_value IS NOT NULL"
    )
    gaps = {}
    for row in counters:
        found = kept.get(row["department_id"])
        low, n = (found["low"], found["n"]) if found else (1, 0)
        if lost := row["last_value"] - low + 1 - n:
            gaps[row["department_id"]] = int(lost)
    return gaps


def audit_reads(conn: Conn, settings: Settings) -> int:
    """Puts the reads that are not in the audit trail yet into it, one entry per department; removes what is older than
    KEEP_DAYS and stands in it. Returns how many reads that were. Commits."""
    with ledger.transaction(conn):
        rows = conn.execute(
            """/* guiji share audit */
            WITH now_audited AS (
              UPDATE ops.share_read SET audited_at = %s WHERE audited_at IS NULL
              RETURNING department_id, login, view, at)
            SELECT department_id, login, view, count(*) AS reads, min(at) AS first_at, max(at) AS last_at
            FROM now_audited GROUP BY department_id, login, view ORDER BY department_id NULLS FIRST, login, view""",
            (settings.now(),),
        ).fetchall()
        gaps = count_rolled_back(conn)
        for department in sorted({r["department_id"] for r in rows}, key=lambda d: d or ""):
            _append(conn, settings, department, [r for r in rows if r["department_id"] == department], gaps)
        conn.execute(
            "/* guiji share audit */ DELETE FROM ops.share_read WHERE at < %s AND audited_at IS NOT NULL",
            (settings.now() - timedelta(days=KEEP_DAYS),),
        )
    return sum(int(r["reads"]) for r in rows)


def _append(
    conn: Conn,
    settings: Settings,
    department: str | None,
    rows: Sequence[dict[str, Any]],
    gaps: dict[str, int],
) -> None:
    append_audit(
        conn,
        settings,
        "guiji",
        "share.read",
        department or "",
        {
            "reads": [{k: r[k] for k in ("login", "view", "reads", "first_at", "last_at")} for r in rows],
            "rolled_back": gaps.get(department or "", 0),
        },
    )
