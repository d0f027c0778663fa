"""The last step: the difference published in one transaction, or held for a person, who decides here."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from uuid import uuid4

from guiji import ledger
from guiji.catalog import load_resource
from guiji.errors import GuijiError, LeaseLost, UsageError
from guiji.masking import scrub
from guiji.pipeline.compare import compare_staged
from guiji.pipeline.record import Say, record_failure, silent
from guiji.records import BatchRecord
from guiji.settings import Settings, failpoint
from guiji.warehouse import connect

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import Resource

log = logging.getLogger(__name__)


def publish_resource(
    settings: Settings,
    resource_id: str,
    batch_id: str,
    say: Say = silent,
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
            checked, quality, difference = compare_staged(conn, resource, settings, staged)
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
            record_failure(conn, settings, resource, staged.window, batch_id, settings.now(), error)
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
        # of each decision its own: a second person must wait, not share the lease and its folder as a retry would
        decision = f"approve:{batch_id}:{uuid4().hex[:8]}"
        token = ledger.acquire_lease(conn, settings, resource.id, decision)
        try:
            _keep_vintages(conn, settings, resource)
            checked, quality, difference = compare_staged(conn, resource, settings, staged)
            record = approve_held(
                conn, resource, settings, staged, checked, quality, difference, token, who=who, why=why
            )
            _archive_files(conn, settings, resource, record, silent)
            return record
        finally:  # a decision that could not be carried out must not keep the next run out
            conn.rollback()
            ledger.release_run(conn, resource.id, decision)


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
        if troubles:  # the centre's matter, and once a day is enough
            ledger.add_event(
                conn,
                settings,
                resource.model.department_id,
                "not_archived",
                "not_archived",
                resource_id=resource.id,
                batch_id=record.batch_id,
                dedupe=f"not_archived:{resource.id}:{settings.now():%Y-%m-%d}",
                payload={"troubles": [scrub(t) for t in troubles]},
            )
        conn.commit()
    except Exception:
        log.exception("the notes of batch %s could not be written", record.batch_id)
        conn.rollback()


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
