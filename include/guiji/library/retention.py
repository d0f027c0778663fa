"""What is kept of rejected rows and findings, and for how long: as many days as ``city.yml`` says.

A row that an open ticket waits for stays until the ticket closes, and so do the findings of its rule; a batch that is
held keeps everything. What was removed stands in the audit trail, in numbers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from guiji import ledger
from guiji.audit import append_audit
from guiji.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.city import City

    Conn = Connection[dict[str, Any]]

#: batches that one transaction sweeps
_AT_ONCE = 200

#: rejected rows are told from their ticket by the keyed hash of the key, as ``tickets.track_rejected`` writes it
_REJECTED = """/* guiji retention */
DELETE FROM ops.rejected_row x WHERE x.batch_id = ANY(%(batches)s) AND NOT EXISTS (
  SELECT 1 FROM ops.ticket_key k JOIN ops.ticket t USING (ticket_id)
  WHERE t.resource_id = x.resource_id AND t.closed_at IS NULL AND k.mended_batch IS NULL AND k.batch_id = x.batch_id
    AND k.key_hmac = coalesce(x.key_hmac, '!' || x.batch_id || ':' || x.row_no))
RETURNING x.resource_id"""
_FINDINGS = """/* guiji retention */
DELETE FROM ops.finding x WHERE x.batch_id = ANY(%(batches)s) AND NOT EXISTS (
  SELECT 1 FROM ops.ticket t WHERE t.resource_id = x.resource_id AND t.rule_id = x.rule_id AND t.closed_at IS NULL
    AND (t.opened_batch = x.batch_id OR EXISTS (SELECT 1 FROM ops.ticket_key k
         WHERE k.ticket_id = t.ticket_id AND k.mended_batch IS NULL AND k.batch_id = x.batch_id)))
RETURNING x.resource_id"""
_TABLES = {"rejected_row": _REJECTED, "finding": _FINDINGS}


@dataclass(frozen=True)
class Swept:
    """How many rows were removed."""

    rejected_rows: int
    findings: int


def sweep_kept(conn: Conn, settings: Settings, city: City) -> Swept:
    """Removes rejected rows and findings that are older than the city keeps them. Commits, some batches at a time."""
    days = {"rejected_row": city.keep_rejected_days, "finding": city.keep_findings_days}
    removed = {table: _sweep(conn, settings, table, settings.now() - timedelta(days=n)) for table, n in days.items()}
    return Swept(removed["rejected_row"], removed["finding"])


def _sweep(conn: Conn, settings: Settings, table: str, limit: datetime) -> int:
    removed, last = 0, -1
    while True:
        with ledger.transaction(conn):
            batches = conn.execute(
                f"""/* guiji retention */
                SELECT batch_id, batch_no FROM ops.batch b
                WHERE coalesce(published_at, staged_at, started_at) < %s AND status NOT IN ('held', 'staged')
                  AND batch_no > %s AND EXISTS (SELECT 1 FROM ops.{table} x WHERE x.batch_id = b.batch_id)
                ORDER BY batch_no LIMIT %s""",  # noqa: S608 - one of two names
                (limit, last, _AT_ONCE),
            ).fetchall()
            if not batches:
                return removed
            last = batches[-1]["batch_no"]
            gone = Counter(
                r["resource_id"] for r in conn.execute(_TABLES[table], {"batches": [b["batch_id"] for b in batches]})
            )
            removed += gone.total()
            if gone:
                append_audit(
                    conn,
                    settings,
                    "guiji",
                    "retention.swept",
                    f"ops.{table}",
                    {"before": limit.isoformat(), "rows": gone.total(), "resources": dict(sorted(gone.items()))},
                )
