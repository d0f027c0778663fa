"""How a batch ended: its ledger row, and what the department is told about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji import ledger, tickets
from guiji.masking import scrub
from guiji.records import BatchRecord, CheckedBatch, StagedBatch
from guiji.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import Resource

    Conn = Connection[dict[str, Any]]

_COUNTS = (
    "rows_read",
    "rows_rejected",
    "rows_held",
    "rows_duplicate",
    "rows_superseded",
    "rows_tombstone",
    "rows_new",
    "rows_changed",
    "rows_unchanged",
    "rows_deleted",
    "rows_skipped",
)


def counts(record: BatchRecord) -> dict[str, int]:
    """The counts of a batch by name."""
    return {name: getattr(record, name) for name in _COUNTS}


def write_batch(conn: Conn, batch_id: str, **values: Any) -> BatchRecord:
    """Sets columns of a batch's ledger row; the CHECK constraint enforces the equation of what is judged."""
    from psycopg.types.json import Jsonb

    if "rules" in values:
        values["rules"] = Jsonb([asdict(r) for r in values["rules"]])
    if "notes" in values:
        difference = ledger.get_difference(conn, batch_id)
        values["notes"] = Jsonb([scrub(n) for n in (*values["notes"], *([difference] if difference else []))])
    row = conn.execute(
        sql.SQL("/* guiji batch */ UPDATE ops.batch SET {} WHERE batch_id = %(batch_id)s RETURNING *").format(
            sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(n), sql.Placeholder(n)) for n in values)
        ),
        {**values, "batch_id": batch_id},
    ).fetchone()
    assert row is not None
    return BatchRecord.from_row(row)


def tell(
    conn: Conn,
    settings: Settings,
    resource: Resource,
    staged: StagedBatch,
    checked: CheckedBatch,
    *,
    was_held: bool,
) -> None:
    """Opens and closes tickets for a published batch and puts into the outbox what is new to the department.

    A batch with the same bad rows as the one before tells nothing: the open ticket's reminders do.
    """
    opened, new_rows = ([], 0) if was_held else tickets.track_rejected(conn, settings, resource, staged.batch_id)
    keys: list[str] = []
    if resource.model.load == "incremental":
        waiting = tickets.find_waiting_keys(conn, resource.id, staged.batch_id)
        # only the wrong rows are held in memory, however many right ones the batch brings
        keys = [key for key in _accepted_keys(settings, resource, checked) if key in waiting] if waiting else []
    closed, mended = tickets.close_tickets(conn, settings, resource, staged.batch_id, keys)
    if opened or new_rows or (mended and checked.rows_rejected and not was_held):
        _event(
            conn, settings, resource, staged, "failed_rows", "rejected_rows", failed_payload(staged, checked, new_rows)
        )
    if closed:
        payload = {
            "tickets": [
                {"ticket_id": t["ticket_id"], "rule_id": t["rule_id"], "in_time": t["closed_at"] <= t["due_at"]}
                for t in closed
            ],
            "rows_mended": mended,
        }
        _event(conn, settings, resource, staged, "recovered", "rejected_rows", payload)
    if difference := ledger.get_difference(conn, staged.batch_id, drift_only=True):
        _event(conn, settings, resource, staged, "drift", "delivered_columns", {"difference": difference})
    if staged.missing:
        _event(conn, settings, resource, staged, "gap", "missing_files", {"missing": list(staged.missing)})
    _tell_back_again(conn, settings, resource, staged)


def failed_payload(staged: StagedBatch, checked: CheckedBatch, new_rows: int) -> dict[str, Any]:
    """What a mail needs to know of a batch with bad rows; no value of a row is in it."""
    return {
        "window": str(staged.window),
        "rows_read": checked.rows_read,
        "rows_rejected": checked.rows_rejected,
        "new_rows": new_rows,
        "rules": [asdict(r) for r in checked.rules if r.failed],
    }


def _tell_back_again(conn: Conn, settings: Settings, resource: Resource, staged: StagedBatch) -> None:
    """A source that was told to be down and delivers again."""
    last = conn.execute(
        "/* guiji outage */ SELECT kind, cause, created_at FROM ops.outbox WHERE resource_id = %s"
        " AND (kind IN ('unavailable', 'refused_us') OR (kind = 'recovered' AND cause LIKE 'source_%%'))"
        " ORDER BY event_id DESC LIMIT 1",
        (resource.id,),
    ).fetchone()
    if last and last["kind"] != "recovered":
        _event(conn, settings, resource, staged, "recovered", last["cause"], {"since": last["created_at"].isoformat()})


def _event(
    conn: Conn,
    settings: Settings,
    resource: Resource,
    staged: StagedBatch,
    kind: str,
    cause: str,
    payload: dict[str, Any],
) -> None:
    ledger.add_event(
        conn,
        settings,
        resource.model.department_id,
        kind,
        cause,
        resource_id=resource.id,
        batch_id=staged.batch_id,
        dedupe=f"{kind}:{staged.batch_id}:{cause}",
        payload=payload,
    )


def _accepted_keys(settings: Settings, resource: Resource, checked: CheckedBatch) -> Iterator[str]:
    """Keyed hashes of the accepted rows' keys, written by the engine that writes the keys of rejected ones."""
    from guiji.engine import open_engine, quote_identifier, scan_parquet
    from guiji.library.load import list_parquet
    from guiji.secrets import make_hasher

    hash_key = make_hasher(settings)
    text = " || chr(31) || ".join(f"{quote_identifier(k)}::VARCHAR" for k in resource.model.key)
    files = [str(p) for p in list_parquet(checked.accepted)]
    with open_engine(settings, time_zone=resource.model.time_zone) as con:
        found = con.execute(f"SELECT {text} FROM {scan_parquet(files)}")  # noqa: S608
        while rows := found.fetchmany(20_000):
            for (key,) in rows:
                yield hash_key(key)
