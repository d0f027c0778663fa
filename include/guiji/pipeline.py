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
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from guiji import ledger
from guiji.catalog import load_resource
from guiji.errors import DeliveryRefused, GuijiError, LeaseLost, NothingDelivered, UsageError
from guiji.freshness import current_window
from guiji.records import BatchRecord, CheckedBatch, Delivery, Difference, QualityReport, StagedBatch, Window
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

    Raises what a step raises, after the ledger has recorded it; ``context["record"]`` of the error is the row then.
    A batch that a guard holds, or a run that found another one at work, is returned, not raised.
    """
    from guiji.quality import warm_up

    resource = load_resource(settings.catalog, resource_id)
    warm_up()  # Great Expectations takes seconds to import; the source takes seconds to answer
    run_key = run_key or new_run_key()
    refused: list[DeliveryRefused] = []
    try:
        batch_id = stage_resource(resource_id, settings, window, run_key, say, resource, refused)
    except LeaseLost as error:
        record = error.context.get("record")
        if not isinstance(record, BatchRecord):
            raise
        say(f"skipped: superseded. {error}")
        return record
    check_resource(settings, resource_id, batch_id, say, resource)
    record = publish_resource(settings, resource_id, batch_id, say, resource, run_key)
    if refused:
        raise refused[0]  # the other files of the series are in; this one is not
    return record


def run_delivery(
    settings: Settings,
    resource: Resource,
    window: Window,
    delivery: Delivery,
    *,
    after: str | None,
    say: Say = _silent,
) -> BatchRecord:
    """A delivery that the caller opened, the whole way, as a batch of its own; returns its row of ``ops.batch``.

    ``after``: the newest published batch that the delivery was made from. Raises LeaseLost when there is a newer one.
    """
    run_key = new_run_key()
    with connect(settings) as conn:
        _take_lease(conn, settings, resource, window, run_key)
        latest = ledger.latest_batch(conn, resource.id)
        if (latest and latest.batch_id) != after:
            ledger.release_run(conn, resource.id, run_key)
            raise LeaseLost(
                f"A batch of {resource.id} was published meanwhile. Nothing was changed; run the command again.",
                resource_id=resource.id,
            )
        batch_id = _stage(conn, settings, resource, window, delivery, run_key, say)
    check_resource(settings, resource.id, batch_id, say, resource)
    return publish_resource(settings, resource.id, batch_id, say, resource, run_key)


def stage_resource(
    resource_id: str,
    settings: Settings,
    window: Window | None,
    run_key: str,
    say: Say = _silent,
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
        if _is_staged(conn, settings, resource.id, pulled_id):
            return pulled_id
        _take_lease(conn, settings, resource, window, run_key)
        scratch = _clear_scratch(settings, resource.id, run_key)
        try:
            delivery = _open(conn, settings, resource, window, explicit, pulled_id, scratch, say)
            if isinstance(delivery, str):
                return delivery
            series = (delivery, *delivery.following)
            for i, older in enumerate(series[:-1]):
                say(f"{len(series) - i} files wait; the oldest first: {older.files[0].path}")
                try:
                    batch_id = _stage(conn, settings, resource, window, older, run_key, say)
                    check_resource(settings, resource_id, batch_id, say, resource)
                    publish_resource(settings, resource_id, batch_id, say, resource, run_key)
                except DeliveryRefused as error:
                    say(f"refused: {error}")
                    (refused if refused is not None else []).append(error)
                _take_lease(conn, settings, resource, window, run_key)
            return _stage(conn, settings, resource, window, series[-1], run_key, say)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _open(
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
        _record_failure(conn, settings, resource, window, pulled_id, started_at, error)
        raise
    except GuijiError as error:
        fingerprint = error.context.get("fingerprint")
        failed_id = make_batch_id(resource.id, window, str(fingerprint)) if fingerprint else pulled_id
        _record_failure(conn, settings, resource, window, failed_id, started_at, error)
        raise


def _stage(
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
        if _is_staged(conn, settings, resource.id, batch_id):
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
        _record_failure(conn, settings, resource, window, batch_id, started_at, error)
        raise


def _take_lease(
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
    from guiji.library.hold import hold_batch
    from guiji.library.publish import publish, publish_redelivered
    from guiji.staging import load_staged

    resource = resource or load_resource(settings.catalog, resource_id)
    with connect(settings) as conn:
        record = ledger.get_batch(conn, batch_id)
        if record is None:
            raise UsageError(f"There is no batch {batch_id}. Nothing was published; stage the resource first.")
        if record.status != "staged":
            say(f"batch {batch_id} is already {record.status}")
            ledger.release_run(conn, resource.id, run_key or batch_id)
            return record
        staged = load_staged(settings, resource.id, batch_id)
        try:
            token = ledger.confirm_lease(conn, settings, resource.id, run_key or batch_id)
            if staged.redelivered_of:
                record = publish_redelivered(conn, resource, settings, staged, token)
                _archive_files(conn, settings, resource, record, say)
                return record
            _keep_vintages(conn, settings, resource)
            checked, quality, difference = _compare(conn, resource, settings, staged)
            reasons = (*(quality.reasons if quality.outcome == "held" else ()), *difference.held_reasons)
            if reasons:
                say("held: " + "; ".join(reasons))
                return hold_batch(conn, resource, settings, staged, checked, quality, difference, token, reasons)
            say(
                f"publishing {difference.rows_new:,} new, {difference.rows_changed:,} changed, "
                f"{difference.rows_deleted:,} deleted; {difference.rows_unchanged:,} unchanged"
            )
            record = publish(conn, resource, settings, staged, checked, quality, difference, token)
            _archive_files(conn, settings, resource, record, say)
            return record
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
            _record_failure(conn, settings, resource, staged.window, batch_id, settings.now(), error)
            raise


def decide_held(settings: Settings, batch_id: str, *, approve: bool, who: str, why: str) -> BatchRecord:
    """A person's decision on a held batch: publishes it after all, or refuses it for good; returns its row.

    The difference is computed anew, for the data that serve may have moved on since.
    """
    from guiji.library.hold import approve_held, reject_held
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
        token = ledger.acquire_lease(conn, settings, resource.id, f"approve:{batch_id}")
        try:
            _keep_vintages(conn, settings, resource)
            checked, quality, difference = _compare(conn, resource, settings, staged)
            record = approve_held(
                conn, resource, settings, staged, checked, quality, difference, token, who=who, why=why
            )
            _archive_files(conn, settings, resource, record, _silent)
            return record
        finally:  # a decision that could not be carried out must not keep the next run out
            conn.rollback()
            ledger.release_run(conn, resource.id, f"approve:{batch_id}")


def _archive_files(
    conn: Connection[dict[str, object]], settings: Settings, resource: Resource, record: BatchRecord, say: Say
) -> None:
    """Moves the files of published batches to the archive of their server, where one is declared.

    The batch is published whatever happens here: what can't be moved is noted, and moved by the next run.
    """
    from guiji.sources import archive_delivered

    if record.status != "published" or getattr(resource.model.source, "archive", None) is None:
        return
    failpoint(settings, "publish.before_archive")
    try:
        troubles = archive_delivered(resource, settings, ledger.known_files(conn, resource.id))
    except Exception as error:
        log.warning("the files of batch %s of %s were not moved: %s", record.batch_id, resource.id, error)
        troubles = ["文件已入库，但未能移入归档目录，下次采集时再移"]
    for trouble in troubles:
        say(trouble)
    try:
        ledger.add_notes(conn, record.batch_id, troubles)
        conn.commit()
    except Exception:
        log.exception("the notes of batch %s could not be written", record.batch_id)
        conn.rollback()


def _compare(
    conn: Connection[dict[str, object]], resource: Resource, settings: Settings, staged: StagedBatch
) -> tuple[CheckedBatch, QualityReport, Difference]:
    """The difference between a checked batch and what serves now.

    Where another batch was published since the check, rows that were carried from what served then are checked again.
    """
    from guiji.library.difference import StaleCarry, compare
    from guiji.library.publish import fetch_current
    from guiji.quality import check_batch, judge_batch, load_checked, load_quality

    checked, quality = load_checked(settings, staged), load_quality(settings, staged)
    try:
        current = fetch_current(conn, resource, settings, checked)
        return checked, quality, compare(resource, settings, staged, checked, current)
    except StaleCarry:
        cache = ledger.snapshot_cache(conn, settings, resource)
        checked = check_batch(resource, settings, staged, carry_cache=cache)
        quality = judge_batch(resource, settings, staged, checked, previous_rows=_previous_rows(conn, resource))
        current = fetch_current(conn, resource, settings, checked)
        return checked, quality, compare(resource, settings, staged, checked, current)


def _keep_vintages(conn: Connection[dict[str, object]], settings: Settings, resource: Resource) -> None:
    """Resolves what waits in the libraries that keep vintages, before this batch overwrites the values in the source
    layer: two batches in a row are two vintages, whenever the resolver runs."""
    from guiji.catalog import load_catalog, load_libraries
    from guiji.library.resolve import resolve

    fed = {m.library for m in resource.model.mappings}
    waiting = conn.execute(
        "/* guiji publish vintages */ SELECT library FROM ops.dirty_key WHERE library = ANY(%(fed)s)"
        " UNION SELECT library FROM ops.dirty_library WHERE library = ANY(%(fed)s)",
        {"fed": sorted(fed)},
    ).fetchall()
    if not waiting:
        return
    libraries = load_libraries(settings.catalog)
    names = [n for row in waiting if (n := str(row["library"])) in libraries and libraries[n].vintages]
    if names:
        catalog = load_catalog(settings.catalog)
        for name in names:
            resolve(conn, settings, libraries[name], catalog)


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


def _clear_scratch(settings: Settings, resource_id: str, run_key: str) -> Path:
    """An empty private folder for fetched files. The lease is ours: what lies there is of a run that was killed."""
    for path in (settings.home / "scratch", above := settings.home / "scratch" / resource_id):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    for left in above.iterdir():
        shutil.rmtree(left, ignore_errors=True)
    directory = above / hashlib.sha256(run_key.encode()).hexdigest()[:16]
    directory.mkdir(mode=0o700, exist_ok=True)
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


__all__ = ["check_resource", "decide_held", "make_batch_id", "publish_resource", "run_resource", "stage_resource"]
