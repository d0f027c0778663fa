"""What time alone brings about: tickets that fall due, leases that went stale. (Missed windows: ``freshness``.)

Each becomes an event of the outbox once, however often this runs; a case that was closed gets none.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from guiji.calendar import add_working_days
from guiji.city import City
from guiji.ledger import report_stale_runs
from guiji.settings import TIME_ZONE, Settings

if TYPE_CHECKING:
    from psycopg import Connection

STAGE_ORDER = ("open", "reminded", "overdue", "escalated")


def add_due_events(conn: Connection[dict[str, Any]], settings: Settings, city: City, now: datetime) -> None:
    """Writes the events that are due at ``now``. The caller commits."""
    _remind_tickets(conn, city, now)
    report_stale_runs(conn, settings)


def find_stage(due_at: datetime, now: datetime, city: City) -> str:
    """How far an open ticket has gone by ``now``."""
    today = now.astimezone(TIME_ZONE).date()
    if now > due_at:
        return "escalated" if today > add_working_days(due_at, city.escalate_working_days).date() else "overdue"
    return "reminded" if today >= add_working_days(due_at, -city.remind_working_days).date() else "open"


def _remind_tickets(conn: Connection[dict[str, Any]], city: City, now: datetime) -> None:
    tickets = conn.execute(
        """/* guiji notices reminders */
        SELECT ticket_id, department_id, resource_id, opened_batch, opened_at, due_at, stage FROM ops.ticket
        WHERE closed_at IS NULL AND stage <> 'escalated' AND due_at < %s
        ORDER BY ticket_id FOR UPDATE SKIP LOCKED""",
        (now + timedelta(days=30 + 2 * city.remind_working_days),),
    ).fetchall()
    for ticket in tickets:
        stage = find_stage(ticket["due_at"], now, city)
        if STAGE_ORDER.index(stage) <= STAGE_ORDER.index(ticket["stage"]):
            continue
        conn.execute(
            """/* guiji notices reminders */
            UPDATE ops.ticket SET stage = %s,
              history = history || jsonb_build_object('at', %s::timestamptz, 'event', %s::text)
            WHERE ticket_id = %s""",
            (stage, now, stage, ticket["ticket_id"]),
        )
        if stage == "reminded" and ticket["opened_at"].astimezone(TIME_ZONE).date() == now.astimezone(TIME_ZONE).date():
            continue  # opened today with a short limit: the notice itself says when it is due
        _add_event(conn, ticket, "reminder", stage, f"ticket:{ticket['ticket_id']}:{stage}", now)
        if stage == "escalated":
            _add_event(conn, ticket, "escalated", stage, f"ticket:{ticket['ticket_id']}:centre", now)


def _add_event(
    conn: Connection[dict[str, Any]], ticket: dict[str, Any], kind: str, cause: str, dedupe: str, now: datetime
) -> None:
    conn.execute(
        """/* guiji notices reminders */
        INSERT INTO ops.outbox (department_id, resource_id, kind, cause, dedupe, payload, created_at)
        VALUES (%s, %s, %s, %s, %s, jsonb_build_object('ticket_id', %s::bigint), %s) ON CONFLICT (dedupe) DO NOTHING""",
        (ticket["department_id"], ticket["resource_id"], kind, cause, dedupe, ticket["ticket_id"], now),
    )
