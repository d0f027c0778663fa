"""The whole story on one page: how one resource gets from a department into the warehouse.

``stage`` fetches, ``check`` judges, ``publish`` writes or holds; ``record`` is how each of them tells the ledger.
``run_resource`` is the command line's way; Airflow runs the same three steps as three tasks. Whatever happens,
the ledger knows: each way out of a step writes a batch row, and a second run of a done step answers at once.
What fails leaves the old data serving. Runs of one resource are fenced: the newest one publishes, an older one
finds its lease gone and publishes nothing (F-51, F-52).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guiji import ledger
from guiji.catalog import load_resource
from guiji.errors import DeliveryRefused, LeaseLost
from guiji.pipeline.check import check_resource
from guiji.pipeline.publish import decide_held, publish_resource
from guiji.pipeline.record import Say, make_batch_id, new_run_key, silent, take_lease
from guiji.pipeline.stage import stage_delivery, stage_resource
from guiji.records import BatchRecord, Delivery, Window
from guiji.settings import Settings
from guiji.warehouse import connect

if TYPE_CHECKING:
    from guiji.catalog.models import Resource


def run_resource(
    resource_id: str, settings: Settings, window: Window | None = None, say: Say = silent, run_key: str | None = None
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
    say: Say = silent,
) -> BatchRecord:
    """A delivery that the caller opened, the whole way, as a batch of its own; returns its row of ``ops.batch``.

    ``after``: the newest published batch that the delivery was made from. Raises LeaseLost when there is a newer one.
    """
    run_key = new_run_key()
    with connect(settings) as conn:
        take_lease(conn, settings, resource, window, run_key)
        latest = ledger.latest_batch(conn, resource.id)
        if (latest and latest.batch_id) != after:
            ledger.release_run(conn, resource.id, run_key)
            raise LeaseLost(
                f"A batch of {resource.id} was published meanwhile. Nothing was changed; run the command again.",
                resource_id=resource.id,
            )
        batch_id = stage_delivery(conn, settings, resource, window, delivery, run_key, say)
    check_resource(settings, resource.id, batch_id, say, resource)
    return publish_resource(settings, resource.id, batch_id, say, resource, run_key)


__all__ = [
    "Say",
    "check_resource",
    "decide_held",
    "make_batch_id",
    "publish_resource",
    "run_delivery",
    "run_resource",
    "stage_resource",
]
