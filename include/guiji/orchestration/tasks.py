"""What runs inside a task. Everything heavy is imported here, when the task runs, never when a DAG file is parsed.

A step takes and gives ids only (XCom is a claim check). What went wrong reaches Airflow as a ``GuijiError``: its class
decides whether Airflow tries again, its text holds no personal value (F-67).
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from guiji.errors import GuijiError
from guiji.masking import scrub
from guiji.settings import TIME_ZONE, Settings

if TYPE_CHECKING:
    from guiji.catalog.models import Resource
    from guiji.records import Window

T = TypeVar("T")
log = logging.getLogger("guiji")

REVIEW_DAG_ID = "hold.review"
APPROVE, REJECT = "批准发布", "驳回批次"


class UnexpectedError(GuijiError):
    """Something that is no GuijiError went wrong in a task; its text was scrubbed."""

    retryable = True
    cause = "unexpected"


class BatchHeld(GuijiError):
    """A guard holds the batch; the old data goes on serving until a person has decided."""

    exit_code = 1
    cause = "held"


class BatchSuperseded(GuijiError):
    """A newer run of the resource holds its lease."""

    exit_code = 0
    cause = "superseded"


def run_step(step: Callable[[Settings], T]) -> T:
    """Runs a step with this installation's settings; foreign exceptions leave it scrubbed, as UnexpectedError."""
    from guiji.orchestration.connections import register_airflow_connections

    register_airflow_connections()
    try:
        return step(Settings.from_env())
    except GuijiError:
        raise
    except Exception as exc:
        log.error("%s", scrub("".join(traceback.format_exception(exc))))
        raise UnexpectedError(
            f"{type(exc).__name__}: {scrub(str(exc))}. Nothing of this step was published; the log above has the traceback."
        ) from None


# --- one resource --------------------------------------------------------------------------------------


def stage(settings: Settings, resource_id: str, context: Any) -> str:
    """Stages the delivery of this run's window; returns the batch id. A retry keeps it."""
    from guiji.catalog import load_resource
    from guiji.pipeline import stage_resource

    resource = load_resource(settings.catalog, resource_id)
    window = choose_window(resource, context)
    return stage_resource(resource_id, settings, window, context["run_id"], say=say, resource=resource)


def choose_window(resource: Resource, context: Any) -> Window | None:
    """The window this run is for: the parameters' where given, the one of its date in a backfill, else None (now).

    Never Airflow's data interval, which is empty for cron runs and absent for manual ones.
    """
    from guiji.freshness import current_window
    from guiji.records import Window

    start, end = context["params"].get("start"), context["params"].get("end")
    if start and end:
        return Window(_read_moment(start), _read_moment(end))
    run = context["dag_run"]
    if str(getattr(run.run_type, "value", run.run_type)) == "backfill":
        return current_window(resource, run.logical_date.astimezone(TIME_ZONE))
    return None


def check(settings: Settings, resource_id: str, batch_id: str) -> None:
    from guiji.pipeline import check_resource

    check_resource(settings, resource_id, batch_id, say=say)


def publish(settings: Settings, resource_id: str, batch_id: str, run_id: str) -> str:
    """Publishes; returns the status. Raises BatchHeld or BatchSuperseded where nothing was published."""
    from guiji.pipeline import publish_resource

    record = publish_resource(settings, resource_id, batch_id, say=say, run_key=run_id)
    if record.status == "superseded":
        raise BatchSuperseded(
            f"skipped: superseded. Batch {batch_id} of {resource_id} published nothing; a newer run does."
        )
    if record.status == "held":
        raise BatchHeld(
            f"Batch {batch_id} of {resource_id} is held: {record.reason or 'see its findings'}. The old data goes on serving; "
            f"decide in DAG {REVIEW_DAG_ID} (Required Actions), on the dashboard, or with ./guiji hold approve {batch_id}."
        )
    if record.status not in ("published", "superseded"):
        raise BatchHeld(
            f"Batch {batch_id} of {resource_id} is {record.status}: {record.reason}. The old data goes on serving."
        )
    return record.status


def _read_moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=TIME_ZONE)


def say(text: str) -> None:
    log.info("%s", scrub(text))


# --- the house -----------------------------------------------------------------------------------------


def resolve_library(settings: Settings, library: str) -> None:
    """Resolves the library's dirty keys; milliseconds when there are none."""
    from guiji.catalog import load_catalog
    from guiji.library.resolve import resolve
    from guiji.warehouse import connect

    catalog = load_catalog(settings.catalog)
    with connect(settings) as conn:
        say(f"{resolve(conn, settings, catalog.library(library), catalog)}")


def assess_freshness(settings: Settings) -> None:
    from guiji.catalog import load_catalog
    from guiji.freshness import assess
    from guiji.warehouse import connect

    with connect(settings) as conn:
        windows = assess(conn, settings, load_catalog(settings.catalog), settings.now())
        conn.commit()
    say(f"{len(windows)} delivery windows assessed")


def deliver_notices(settings: Settings) -> None:
    """Sends what the outbox holds, and asks for a decision on each held batch that nobody was asked about."""
    review_all_held(settings)
    from guiji.catalog import load_catalog
    from guiji.notices import send_notices as send
    from guiji.warehouse import connect

    with connect(settings) as conn:
        say(f"{send(conn, settings, load_catalog(settings.catalog))}")


def report_month(settings: Settings, month: str | None) -> str:
    """Builds the frozen report of ``month`` (the month that is running where None); returns the month."""
    from guiji.catalog import load_catalog
    from guiji.report import build_report
    from guiji.warehouse import connect

    today = settings.today()
    month = month or f"{today:%Y-%m}"
    with connect(settings) as conn:
        files = build_report(
            conn, settings, load_catalog(settings.catalog), month, today, settings.home / "reports" / month
        )
    say(f"{files}")
    return month


def sweep_staging(settings: Settings, keep_days: int) -> None:
    from guiji.staging import sweep

    say(f"{sweep(settings, keep_days)}")


# --- held batches --------------------------------------------------------------------------------------


def list_held(settings: Settings) -> list[str]:
    """Ids of the batches that a guard holds, oldest first."""
    from guiji.warehouse import connect

    with connect(settings, autocommit=True) as conn:
        rows = conn.execute(
            "/* guiji hold list */ SELECT batch_id FROM ops.batch WHERE status = 'held' ORDER BY batch_no"
        ).fetchall()
    return [row["batch_id"] for row in rows]


def open_review(batch_id: str) -> bool:
    """Asks a person about a held batch: one run of ``hold.review`` per batch. False when it was already asked.

    Sends what TriggerDagRunOperator sends, without its half second of imports.
    """
    from airflow.sdk.execution_time.comms import ErrorResponse, TriggerDagRun
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    answer = SUPERVISOR_COMMS.send(
        TriggerDagRun(dag_id=REVIEW_DAG_ID, run_id=f"held__{batch_id}", conf={"batch_id": batch_id})
    )
    return not isinstance(answer, ErrorResponse)


def review_all_held(settings: Settings) -> None:
    """Opens a review for each held batch that has none; the guarantee behind the prompt one of ``publish``."""
    for batch_id in list_held(settings):
        if open_review(batch_id):
            say(f"asked for a decision on batch {batch_id}")


def describe_held(settings: Settings, batch_id: str) -> str:
    """What a person needs to decide, in Chinese Markdown; no values. Raises when the batch is not held any more."""
    from guiji import ledger
    from guiji.catalog import load_resource
    from guiji.warehouse import connect

    with connect(settings) as conn:
        record = ledger.get_batch(conn, batch_id)
    if record is None or record.status != "held":
        raise BatchSuperseded(f"Batch {batch_id} is not held any more. Nothing is to be decided.")
    resource = load_resource(settings.catalog, record.resource_id)
    return "\n".join(
        [
            f"**{resource.department.name} · {resource.model.name}**（`{record.resource_id}`）",
            "",
            f"- 批次：`{record.batch_id}`，数据周期 {record.window_start:%Y-%m-%d} 至 {record.window_end:%Y-%m-%d}",
            f"- 暂停原因：{record.reason or '见问题数据清单'}",
            f"- 本批读取 {record.rows_read:,} 行：不合格 {record.rows_rejected:,}，待定 {record.rows_held:,}，"
            f"重复 {record.rows_duplicate:,}；将删除 {record.rows_deleted:,} 行",
            "",
            "批准后本批数据立即发布；驳回后原有数据继续有效，请部门重新报送。请写明理由，理由和经办人记入审计日志。",
        ]
    )


def decide(settings: Settings, batch_id: str, chosen: str, who: str, why: str) -> str | None:
    """Writes a person's decision to the ledger; returns the resource whose data changed, None where none did.

    A batch that was decided elsewhere meanwhile is left as it is.
    """
    from guiji import ledger
    from guiji.pipeline import decide_held
    from guiji.warehouse import connect

    with connect(settings) as conn:
        record = ledger.get_batch(conn, batch_id)
    if record is None or record.status != "held":
        say(f"batch {batch_id} was decided elsewhere: {record.status if record else 'unknown'}")
        return None
    decided = decide_held(settings, batch_id, approve=chosen == APPROVE, who=who, why=why)
    return decided.resource_id if decided.status == "published" else None
