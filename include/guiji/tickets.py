"""Rectification tickets: one per resource and rule, open from the first bad row until all of them are mended.

A ticket remembers the keyed hashes of the rows it is about. A snapshot mends a row by bringing its key without a
rejection, or by not bringing it any more; an incremental batch only by bringing the key and having it accepted.
A batch that merely has no such failure closes nothing while rows of the ticket are still bad for another reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import Resource
    from guiji.settings import Settings

#: working days to mend, where the city's settings say nothing else
MEND_WORKING_DAYS = 5


@dataclass(frozen=True)
class TicketChanges:
    """What one batch did to the tickets of its resource."""

    opened: tuple[str, ...]  # rule ids
    closed: tuple[str, ...]
    new_rows: int  # rows that no open ticket knew
    mended_rows: int


def open_tickets(
    conn: Connection[dict[str, Any]],
    settings: Settings,
    resource: Resource,
    batch_id: str,
    failed: Mapping[str, int],
) -> list[str]:
    """Opens a ticket for each rule that has none and notes the batch in the others; returns the rules newly opened.

    ``failed`` maps rule ids to the number of bad rows. In the caller's transaction.
    """
    from psycopg.types.json import Jsonb

    if not failed:
        return []
    now = settings.now()
    due = _due_at(settings, now)
    opened: list[str] = []
    for rule_id, rows in sorted(failed.items()):
        row = conn.execute(
            """/* guiji tickets open */
            INSERT INTO ops.ticket AS t
              (department_id, resource_id, rule_id, opened_batch, rows_open, opened_at, due_at, history)
            VALUES (%(department)s, %(resource)s, %(rule)s, %(batch)s, %(rows)s, %(now)s, %(due)s, %(opened)s)
            ON CONFLICT (resource_id, rule_id) WHERE closed_at IS NULL DO UPDATE
              SET rows_open = excluded.rows_open,
                  history = CASE WHEN t.history -> -1 ->> 'batch_id' = %(batch)s THEN t.history
                                 ELSE t.history || %(again)s END
            RETURNING opened_batch""",
            {
                "department": resource.model.department_id,
                "resource": resource.id,
                "rule": rule_id,
                "batch": batch_id,
                "rows": rows,
                "now": now,
                "due": due,
                "opened": Jsonb([_entry(now, "opened", batch_id, rows)]),
                "again": Jsonb([_entry(now, "again", batch_id, rows)]),
            },
        ).fetchone()
        if row is not None and row["opened_batch"] == batch_id:
            opened.append(rule_id)
    return opened


@contextmanager
def _hash_joins(conn: Connection[dict[str, Any]]) -> Iterator[None]:
    """No nested loops meanwhile: rows that this transaction wrote have no statistics, and thousands look like one."""
    from psycopg.pq import TransactionStatus

    conn.execute("/* guiji tickets */ SELECT set_config('enable_nestloop', 'off', true)")
    try:
        yield
    finally:
        if conn.info.transaction_status != TransactionStatus.INERROR:
            conn.execute("/* guiji tickets */ SELECT set_config('enable_nestloop', 'on', true)")


def track_rejected(
    conn: Connection[dict[str, Any]], settings: Settings, resource: Resource, batch_id: str
) -> tuple[list[str], int]:
    """Opens the tickets of a batch's rejected rows and remembers their keys; returns rules opened and new keys."""
    failed = {
        r["rule_id"]: int(r["n"])
        for r in conn.execute(
            "/* guiji tickets count */ SELECT rule_id, count(*) AS n FROM ops.rejected_row, unnest(rules) AS rule_id"
            " WHERE batch_id = %s GROUP BY rule_id",
            (batch_id,),
        )
    }
    opened = open_tickets(conn, settings, resource, batch_id, failed)
    if not failed:
        return opened, 0
    with _hash_joins(conn):
        row = conn.execute(
            """/* guiji tickets track */
            WITH bad AS (
              SELECT DISTINCT t.ticket_id, coalesce(r.key_hmac, '!' || r.batch_id || ':' || r.row_no) AS key_hmac
              FROM ops.rejected_row r CROSS JOIN unnest(r.rules) AS broken (rule_id)
              JOIN ops.ticket t ON t.resource_id = r.resource_id AND t.rule_id = broken.rule_id AND t.closed_at IS NULL
              WHERE r.batch_id = %(batch)s),
            known AS (
              SELECT count(*) AS n FROM bad JOIN ops.ticket_key k USING (ticket_id, key_hmac) WHERE k.mended_batch IS NULL),
            written AS (
              INSERT INTO ops.ticket_key AS k (ticket_id, key_hmac, batch_id)
              SELECT ticket_id, key_hmac, %(batch)s FROM bad
              ON CONFLICT (ticket_id, key_hmac) DO UPDATE SET batch_id = excluded.batch_id, mended_batch = NULL
              RETURNING 1)
            SELECT (SELECT count(*) FROM bad) - (SELECT n FROM known) AS new_rows, (SELECT count(*) FROM written)""",
            {"batch": batch_id},
        ).fetchone()
    return opened, int(row["new_rows"]) if row else 0


def find_waiting_keys(conn: Connection[dict[str, Any]], resource_id: str, batch_id: str) -> frozenset[str]:
    """Keyed hashes of the rows that open tickets wait for since an earlier batch than ``batch_id``."""
    rows = conn.execute(
        "/* guiji tickets waiting */ SELECT DISTINCT k.key_hmac FROM ops.ticket t JOIN ops.ticket_key k USING (ticket_id)"
        " WHERE t.resource_id = %s AND t.closed_at IS NULL AND k.mended_batch IS NULL AND k.batch_id <> %s",
        (resource_id, batch_id),
    )
    return frozenset(str(row["key_hmac"]) for row in rows)


def close_tickets(
    conn: Connection[dict[str, Any]],
    settings: Settings,
    resource: Resource,
    batch_id: str,
    mended_keys: Collection[str] = (),
) -> tuple[list[dict[str, Any]], int]:
    """Marks what a published batch mended and closes the tickets with nothing left; returns them and the rows mended.

    ``mended_keys``: those of the waiting keys that an incremental batch brought right. In the caller's transaction.
    """
    from psycopg.types.json import Jsonb

    now = settings.now()
    snapshot = resource.model.load == "snapshot"
    with _hash_joins(conn):
        mended = conn.execute(
            """/* guiji tickets mend */
            UPDATE ops.ticket_key k SET mended_batch = %(batch)s FROM ops.ticket t
            WHERE t.ticket_id = k.ticket_id AND t.resource_id = %(resource)s AND t.closed_at IS NULL
              AND k.mended_batch IS NULL AND k.batch_id <> %(batch)s
              AND NOT EXISTS (SELECT FROM ops.rejected_row r WHERE r.batch_id = %(batch)s AND r.key_hmac = k.key_hmac)
              AND (%(snapshot)s OR k.key_hmac = ANY(%(keys)s)
                   OR (k.key_hmac LIKE '!%%' AND NOT EXISTS (
                         SELECT FROM ops.rejected_row r WHERE r.batch_id = %(batch)s AND t.rule_id = ANY(r.rules))))""",
            {
                "batch": batch_id,
                "resource": resource.id,
                "snapshot": snapshot,
                "keys": [] if snapshot else list(mended_keys),
            },
        ).rowcount
    closed = conn.execute(
        """/* guiji tickets close */
        UPDATE ops.ticket t SET closed_at = %(now)s, closed_batch = %(batch)s, stage = 'closed', rows_open = 0,
          history = t.history || %(entry)s
        WHERE t.resource_id = %(resource)s AND t.closed_at IS NULL
          AND NOT EXISTS (SELECT FROM ops.ticket_key k WHERE k.ticket_id = t.ticket_id AND k.mended_batch IS NULL)
          AND NOT EXISTS (SELECT FROM ops.rejected_row r WHERE r.batch_id = %(batch)s AND t.rule_id = ANY(r.rules))
        RETURNING t.ticket_id, t.rule_id, t.opened_at, t.due_at, t.closed_at""",
        {
            "batch": batch_id,
            "resource": resource.id,
            "now": now,
            "entry": Jsonb([_entry(now, "closed", batch_id, 0)]),
        },
    ).fetchall()
    conn.execute(
        """/* guiji tickets remain */
        UPDATE ops.ticket t SET rows_open = n.left_open
        FROM (SELECT t.ticket_id, count(*) AS left_open FROM ops.ticket t JOIN ops.ticket_key k USING (ticket_id)
              WHERE t.resource_id = %s AND t.closed_at IS NULL AND k.mended_batch IS NULL GROUP BY 1) n
        WHERE t.ticket_id = n.ticket_id AND t.rows_open <> n.left_open""",
        (resource.id,),
    )
    return sorted(closed, key=lambda r: r["rule_id"]), mended


def _entry(at: datetime, event: str, batch_id: str, rows: int) -> dict[str, object]:
    return {"at": at.isoformat(), "event": event, "batch_id": batch_id, "rows": rows}


def _due_at(settings: Settings, now: datetime) -> datetime:
    from guiji.calendar import add_working_days
    from guiji.city import load_city

    return add_working_days(now, getattr(load_city(settings), "mend_working_days", MEND_WORKING_DAYS))
