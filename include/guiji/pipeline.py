"""The whole story on one page: how one resource gets from a department into the warehouse.

``run_resource`` is the command line's way; Airflow runs the same three steps as three tasks. Whatever happens,
the ledger knows: each way out of a step writes a batch row, and a second run of a done step answers at once.
What fails leaves the old data serving. Runs of one resource are fenced: the newest one publishes, an older one
finds its lease gone and publishes nothing (F-51, F-52).
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from guiji import ledger
from guiji.catalog import load_resource
from guiji.errors import DeliveryRefused, GuijiError, LeaseLost, UsageError
from guiji.freshness import current_window
from guiji.records import BatchRecord, Delivery, StagedBatch, Window
from guiji.settings import Settings, failpoint
from guiji.warehouse import connect

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import Resource

log = logging.getLogger(__name__)
Say = Callable[[str], None]


def _silent(_: str) -> None:
    return None


def make_batch_id(resource_id: str, window: Window, delivery: str) -> str:
    """The id of a batch: resource, window and delivery. A retry keeps it, a new delivery gets a new one."""
    return hashlib.sha256(f"{resource_id}|{window}|{delivery}".encode()).hexdigest()[:16]


def new_run_key() -> str:
    """The identity of one run that pulls; Airflow uses the id of its DAG run instead."""
    return secrets.token_hex(8)


def run_resource(
    resource_id: str, settings: Settings, window: Window | None = None, say: Say = _silent, run_key: str | None = None
) -> BatchRecord:
    """One resource through the whole way; returns its row of ``ops.batch``.

    Raises what a step raises, after the ledger has recorded it. A batch that a guard holds is returned, not raised.
    """
    from guiji.quality import warm_up

    resource = load_resource(settings.catalog, resource_id)
    warm_up()  # Great Expectations takes seconds to import; the source takes seconds to answer
    run_key = run_key or new_run_key()
    batch_id = stage_resource(resource_id, settings, window, run_key, say, resource)
    check_resource(settings, resource_id, batch_id, say, resource)
    return publish_resource(settings, resource_id, batch_id, say, resource, run_key)


def stage_resource(
    resource_id: str,
    settings: Settings,
    window: Window | None,
    run_key: str,
    say: Say = _silent,
    resource: Resource | None = None,
) -> str:
    """Fetches one delivery into an immutable load package; returns the batch id. Done before: returns it at once."""
    from guiji.sources import open_delivery
    from guiji.staging import batch_directory, stage_batch

    resource = resource or load_resource(settings.catalog, resource_id)
    explicit = window is not None
    window = window or current_window(resource, settings.now())
    started_at = settings.now()
    with ExitStack() as stack:
        conn = stack.enter_context(connect(settings))
        pulled_id = make_batch_id(resource.id, window, run_key)
        if _is_staged(conn, settings, resource.id, pulled_id):
            return pulled_id
        ledger.acquire_lease(conn, settings, resource.id, run_key)
        try:
            say(f"reading {resource.id} for {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M}")
            watermark = None if explicit else ledger.get_watermark(conn, resource.id)
            delivery = open_delivery(
                resource,
                settings,
                window,
                watermark=watermark.cursor if watermark else None,
                known_files=ledger.known_files(conn, resource.id),
                scratch=_scratch(settings, resource.id, run_key),
            )
            batch_id = _identify(resource, window, delivery, run_key)
            if _is_staged(conn, settings, resource.id, batch_id):
                return batch_id
            failpoint(settings, "stage.before_manifest")
            staged = stage_batch(resource, settings, window, delivery, batch_id)
            _demand_rows(resource, staged)
            ledger.begin_batch(conn, resource, staged, started_at)
            conn.commit()
            say(f"staged {staged.rows:,} rows at {batch_directory(settings, resource.id, batch_id)}")
            failpoint(settings, "stage.done")
            return batch_id
        except GuijiError as error:
            conn.rollback()
            _record_failure(conn, settings, resource, window, pulled_id, started_at, error)
            raise


def check_resource(
    settings: Settings, resource_id: str, batch_id: str, say: Say = _silent, resource: Resource | None = None
) -> None:
    """Standardises, checks and judges a staged batch; the results lie beside its package."""
    from guiji.quality import check_batch, judge_batch
    from guiji.staging import load_staged

    resource = resource or load_resource(settings.catalog, resource_id)
    with connect(settings) as conn:
        record = ledger.get_batch(conn, batch_id)
        if record is not None and record.status != "staged":
            return
        staged = load_staged(settings, resource.id, batch_id)
        if staged.redelivered_of:
            return
        started_at = settings.now()
        try:
            say(f"checking {staged.rows:,} rows")
            cache = ledger.snapshot_cache(conn, settings, resource)
            checked = check_batch(resource, settings, staged, carry_cache=cache)
            quality = judge_batch(resource, settings, staged, checked, previous_rows=_previous_rows(conn, resource))
            say(
                f"checked: {checked.rows_rejected:,} rejected, {checked.rows_duplicate:,} duplicate, "
                f"{checked.rows_carried:,} carried; Great Expectations: {quality.outcome}"
            )
            failpoint(settings, "check.done")
        except GuijiError as error:
            conn.rollback()
            _record_failure(conn, settings, resource, staged.window, batch_id, started_at, error)
            raise


def publish_resource(
    settings: Settings,
    resource_id: str,
    batch_id: str,
    say: Say = _silent,
    resource: Resource | None = None,
    run_key: str | None = None,
) -> BatchRecord:
    """Publishes a checked batch in one transaction, or holds it; returns its row of ``ops.batch``."""
    from guiji.library.difference import compare
    from guiji.library.hold import hold_batch
    from guiji.library.publish import fetch_current, publish, publish_redelivered
    from guiji.quality import load_checked, load_quality
    from guiji.staging import load_staged

    resource = resource or load_resource(settings.catalog, resource_id)
    with connect(settings) as conn:
        record = ledger.get_batch(conn, batch_id)
        if record is None:
            raise UsageError(f"There is no batch {batch_id}. Nothing was published; stage the resource first.")
        if record.status != "staged":
            say(f"batch {batch_id} is already {record.status}")
            return record
        staged = load_staged(settings, resource.id, batch_id)
        token = ledger.confirm_lease(conn, settings, resource.id, run_key or batch_id)
        try:
            if staged.redelivered_of:
                return publish_redelivered(conn, resource, settings, staged, token)
            checked = load_checked(settings, staged)
            quality = load_quality(settings, staged)
            current = fetch_current(conn, resource, settings, checked)
            difference = compare(resource, settings, staged, checked, current)
            reasons = (*(quality.reasons if quality.outcome == "held" else ()), *difference.held_reasons)
            if reasons:
                say("held: " + "; ".join(reasons))
                return hold_batch(conn, resource, settings, staged, checked, quality, difference, token, reasons)
            say(
                f"publishing {difference.rows_new:,} new, {difference.rows_changed:,} changed, "
                f"{difference.rows_deleted:,} deleted; {difference.rows_unchanged:,} unchanged"
            )
            return publish(conn, resource, settings, staged, checked, quality, difference, token)
        except LeaseLost as error:
            conn.rollback()
            say(f"skipped: superseded. {error}")
            return ledger.finish_batch(
                conn,
                settings,
                resource,
                staged.window,
                batch_id,
                "superseded",
                str(error),
                error.responsible,
                error.cause,
            )
        except GuijiError as error:
            conn.rollback()
            _record_failure(conn, settings, resource, staged.window, batch_id, settings.now(), error)
            raise


def decide_held(settings: Settings, batch_id: str, *, approve: bool, who: str, why: str) -> BatchRecord:
    """A person's decision on a held batch: publishes it after all, or refuses it for good; returns its row.

    The difference is computed anew, for the data that serve may have moved on since.
    """
    from guiji.library.difference import compare
    from guiji.library.hold import approve_held, reject_held
    from guiji.library.publish import fetch_current
    from guiji.quality import load_checked, load_quality
    from guiji.staging import load_staged

    with connect(settings) as conn:
        record = ledger.get_batch(conn, batch_id)
        if record is None:
            raise UsageError(
                f"There is no batch {batch_id}. Nothing was changed; `./guiji hold list` names the held ones."
            )
        if not approve:
            return reject_held(conn, settings, batch_id, who=who, why=why)
        resource = load_resource(settings.catalog, record.resource_id)
        staged = load_staged(settings, resource.id, batch_id)
        checked, quality = load_checked(settings, staged), load_quality(settings, staged)
        token = ledger.acquire_lease(conn, settings, resource.id, f"approve:{batch_id}")
        difference = compare(resource, settings, staged, checked, fetch_current(conn, resource, settings, checked))
        return approve_held(conn, resource, settings, staged, checked, quality, difference, token, who=who, why=why)


def _demand_rows(resource: Resource, staged: StagedBatch) -> None:
    """Refuses a delivery with fewer rows than declared (F-11): an empty source must not empty the library.

    A pull of what changed may be empty: nothing changed.
    """
    model = resource.model
    pulls_changes = model.load == "incremental" and model.source.kind in ("database", "http")
    if staged.rows < model.tolerance.min_rows and not pulls_changes:
        raise DeliveryRefused(
            f"{resource.id} delivered {staged.rows} rows where at least {model.tolerance.min_rows} are expected. "
            "The former data go on serving; the department must deliver again.",
            rule_id="delivery.empty",
        )


def _identify(resource: Resource, window: Window, delivery: Delivery, run_key: str) -> str:
    return make_batch_id(resource.id, window, delivery.fingerprint or run_key)


def _is_staged(conn: Connection[dict[str, object]], settings: Settings, resource_id: str, batch_id: str) -> bool:
    """True when the ledger and the package agree that there is nothing left to read."""
    from guiji.staging import find_staged

    record = ledger.get_batch(conn, batch_id)
    if record is None or record.status in ("failed", "refused", "superseded"):
        return False
    return record.status != "staged" or find_staged(settings, resource_id, batch_id) is not None


def _previous_rows(conn: Connection[dict[str, object]], resource: Resource) -> int | None:
    previous = ledger.latest_batch(conn, resource.id)
    return previous.rows_read if previous else None


def _scratch(settings: Settings, resource_id: str, run_key: str) -> Path:
    directory = settings.home / "scratch" / resource_id / hashlib.sha256(run_key.encode()).hexdigest()[:16]
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return directory


def _record_failure(
    conn: Connection[dict[str, object]],
    settings: Settings,
    resource: Resource,
    window: Window,
    batch_id: str,
    started_at: datetime,
    error: GuijiError,
) -> None:
    """Writes what went wrong to the ledger and the outbox; a failure to write it must not hide the failure."""
    status = "refused" if isinstance(error, DeliveryRefused) else "failed"
    cause = error.rule_id if isinstance(error, DeliveryRefused) else error.cause
    try:
        ledger.finish_batch(
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
        )
    except Exception:
        log.exception("the failure of batch %s of %s could not be recorded", batch_id, resource.id)


__all__ = ["check_resource", "decide_held", "make_batch_id", "publish_resource", "run_resource", "stage_resource"]
