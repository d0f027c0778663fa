"""What every step of the pipeline writes the same way: the id of a batch, the lease of a run, a failure."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from guiji import ledger
from guiji.errors import DeliveryRefused, GuijiError, LeaseLost
from guiji.records import Window
from guiji.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import Resource

log = logging.getLogger(__name__)
Say = Callable[[str], None]


def silent(_: str) -> None:
    return None


def make_batch_id(resource_id: str, window: Window, delivery: str) -> str:
    """The id of a batch: resource, window and delivery. A retry keeps it, a new delivery gets a new one."""
    return hashlib.sha256(f"{resource_id}|{window}|{delivery}".encode()).hexdigest()[:16]


def new_run_key() -> str:
    """The identity of one run that pulls; Airflow uses the id of its DAG run instead."""
    return secrets.token_hex(8)


def take_lease(
    conn: Connection[dict[str, object]], settings: Settings, resource: Resource, window: Window, run_key: str
) -> None:
    """The resource's lease for this run. Another run at work: records that this one did nothing, raises LeaseLost."""
    try:
        ledger.acquire_lease(conn, settings, resource.id, run_key)
    except LeaseLost as error:
        batch_id = make_batch_id(resource.id, window, run_key)
        error.context["record"] = ledger.finish_batch(
            conn, settings, resource, window, batch_id, "superseded", str(error), error.responsible, error.cause
        )
        raise


def record_failure(
    conn: Connection[dict[str, object]],
    settings: Settings,
    resource: Resource,
    window: Window,
    batch_id: str,
    started_at: datetime,
    error: GuijiError,
) -> None:
    """Writes what went wrong to the ledger and the outbox; a failure to write it must not hide the failure.

    The row it writes becomes ``context["record"]`` of the error.
    """
    status = "refused" if isinstance(error, DeliveryRefused) else "failed"
    cause = error.rule_id if isinstance(error, DeliveryRefused) else error.cause
    delivered = error.context.get("delivered")
    try:
        conn.rollback()
        error.context["record"] = ledger.finish_batch(
            conn,
            settings,
            resource,
            window,
            batch_id,
            status,
            str(error),
            error.responsible,
            cause,
            started_at=started_at,
            delivered=delivered if isinstance(delivered, list) else (),
        )
    except Exception:
        log.exception("the failure of batch %s of %s could not be recorded", batch_id, resource.id)
