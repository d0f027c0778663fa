"""The second step: a staged batch standardised, checked and judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guiji import ledger
from guiji.catalog import load_resource
from guiji.errors import GuijiError
from guiji.pipeline.record import Say, record_failure, silent
from guiji.records import CheckedBatch, QualityReport, StagedBatch
from guiji.settings import Settings, failpoint
from guiji.warehouse import connect

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import Resource


def check_resource(
    settings: Settings, resource_id: str, batch_id: str, say: Say = silent, resource: Resource | None = None
) -> None:
    """Standardises, checks and judges a staged batch; the results lie beside its package."""
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
            checked, quality = check_and_judge(conn, resource, settings, staged)
            say(
                f"checked: {checked.rows_rejected:,} rejected, {checked.rows_duplicate:,} duplicate, "
                f"{checked.rows_carried:,} carried; Great Expectations: {quality.outcome}"
            )
            failpoint(settings, "check.done")
        except GuijiError as error:
            record_failure(conn, settings, resource, staged.window, batch_id, started_at, error)
            raise


def check_and_judge(
    conn: Connection[dict[str, object]],
    resource: Resource,
    settings: Settings,
    staged: StagedBatch,
    *,
    serving: Settings | None = None,
) -> tuple[CheckedBatch, QualityReport]:
    """The checks of every row, carried from the serving snapshot where nothing changed, and the verdict on the batch.

    ``serving``: the settings of what serves, where the batch lies apart from it (a check before delivery).
    """
    from guiji.quality import check_batch, judge_batch

    cache = ledger.snapshot_cache(conn, serving or settings, resource)
    checked = check_batch(resource, settings, staged, carry_cache=cache)
    previous = ledger.latest_batch(conn, resource.id)
    quality = judge_batch(resource, settings, staged, checked, previous_rows=previous.rows_read if previous else None)
    return checked, quality
