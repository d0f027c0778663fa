"""The first step: one delivery fetched into an immutable load package, or the oldest first of those that wait."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from guiji import ledger
from guiji.catalog import load_resource
from guiji.errors import DeliveryRefused, GuijiError, NothingDelivered
from guiji.freshness import current_window
from guiji.pipeline.check import check_resource
from guiji.pipeline.publish import publish_resource
from guiji.pipeline.record import Say, make_batch_id, record_failure, silent, take_lease
from guiji.records import Delivery, Window
from guiji.settings import Settings, failpoint
from guiji.warehouse import connect

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import Resource


def stage_resource(
    resource_id: str,
    settings: Settings,
    window: Window | None,
    run_key: str,
    say: Say = silent,
    resource: Resource | None = None,
    refused: list[DeliveryRefused] | None = None,
) -> str:
    """Fetches one delivery into an immutable load package; returns the batch id. Done before: returns it at once.

    Where several files of a series wait, the older ones are taken the whole way first, a batch each and oldest first:
    a key that stands in two of them is then revised by the newer one. Those that are refused are recorded, told
    to the department and added to ``refused``; the newer ones go on.
    """
    resource = resource or load_resource(settings.catalog, resource_id)
    explicit = window is not None
    window = window or current_window(resource, settings.now())
    pulled_id = make_batch_id(resource.id, window, run_key)
    with connect(settings) as conn:
        if is_staged(conn, settings, resource.id, pulled_id):
            return pulled_id
        take_lease(conn, settings, resource, window, run_key)
        scratch = _clear_scratch(settings, resource.id, run_key)
        try:
            delivery = _open_delivery(conn, settings, resource, window, explicit, pulled_id, scratch, say)
            if isinstance(delivery, str):
                return delivery
            series = (delivery, *delivery.following)
            for i, older in enumerate(series[:-1]):
                say(f"{len(series) - i} files wait; the oldest first: {older.files[0].path}")
                try:
                    batch_id = stage_delivery(conn, settings, resource, window, older, run_key, say)
                    check_resource(settings, resource_id, batch_id, say, resource)
                    publish_resource(settings, resource_id, batch_id, say, resource, run_key)
                except DeliveryRefused as error:
                    say(f"refused: {error}")
                    (refused if refused is not None else []).append(error)
                take_lease(conn, settings, resource, window, run_key)
            return stage_delivery(conn, settings, resource, window, series[-1], run_key, say)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _open_delivery(
    conn: Connection[dict[str, object]],
    settings: Settings,
    resource: Resource,
    window: Window,
    explicit: bool,
    pulled_id: str,
    scratch: Path,
    say: Say,
) -> Delivery | str:
    """The delivery, or the id of the batch that has taken this window's newest file already."""
    from guiji.sources import open_delivery
    from guiji.staging import chunk_directory

    started_at = settings.now()
    try:
        say(f"reading {resource.id} for {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M}")
        watermark = None if explicit else ledger.get_watermark(conn, resource.id)
        return open_delivery(
            resource,
            settings,
            window,
            watermark=watermark.cursor if watermark else None,
            known_files=ledger.known_files(conn, resource.id),
            scratch=scratch,
            explicit=explicit,
            resume=chunk_directory(settings, resource.id),
        )
    except NothingDelivered as error:
        known = ledger.get_batch(conn, str(error.context.get("known_batch") or ""))
        if known is not None and (known.window_start, known.window_end) == (window.start, window.end):
            say(f"nothing new: batch {known.batch_id} has taken this window's newest file")
            return known.batch_id
        record_failure(conn, settings, resource, window, pulled_id, started_at, error)
        raise
    except GuijiError as error:
        fingerprint = error.context.get("fingerprint")
        failed_id = make_batch_id(resource.id, window, str(fingerprint)) if fingerprint else pulled_id
        record_failure(conn, settings, resource, window, failed_id, started_at, error)
        raise


def stage_delivery(
    conn: Connection[dict[str, object]],
    settings: Settings,
    resource: Resource,
    window: Window,
    delivery: Delivery,
    run_key: str,
    say: Say,
) -> str:
    """Reads one delivery into its load package; returns the batch id."""
    from guiji.quality import demand_rows
    from guiji.staging import batch_directory, stage_batch

    started_at = settings.now()
    batch_id = make_batch_id(resource.id, window, delivery.fingerprint or run_key)
    try:
        if is_staged(conn, settings, resource.id, batch_id):
            return batch_id
        failpoint(settings, "stage.before_manifest")
        staged = stage_batch(resource, settings, window, delivery, batch_id)
        demand_rows(resource, staged.rows)
        ledger.begin_batch(conn, resource, staged, started_at)
        conn.commit()
        say(f"staged {staged.rows:,} rows at {batch_directory(settings, resource.id, batch_id)}")
        failpoint(settings, "stage.done")
        return batch_id
    except GuijiError as error:
        record_failure(conn, settings, resource, window, batch_id, started_at, error)
        raise


def is_staged(conn: Connection[dict[str, object]], settings: Settings, resource_id: str, batch_id: str) -> bool:
    """True when the ledger and the package agree that there is nothing left to read."""
    from guiji.staging import find_staged

    record = ledger.get_batch(conn, batch_id)
    if record is None or record.status in ("failed", "refused", "superseded"):
        return False
    return record.status != "staged" or find_staged(settings, resource_id, batch_id) is not None


def _clear_scratch(settings: Settings, resource_id: str, run_key: str) -> Path:
    """An empty private folder for fetched files. The lease is ours: what lies there is of a run that was killed."""
    for path in (settings.home / "scratch", above := settings.home / "scratch" / resource_id):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    for left in above.iterdir():
        shutil.rmtree(left, ignore_errors=True)
    directory = above / hashlib.sha256(run_key.encode()).hexdigest()[:16]
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory
