"""What runs inside a task. Everything heavy is imported here, when the task runs, never when a DAG file is parsed.

A step takes and gives ids only (XCom is a claim check). What went wrong reaches Airflow as a ``GuijiError``: its class
decides whether Airflow tries again, its text holds no personal value (F-67).
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from datetime import date, datetime, timedelta
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


class NothingToDo(GuijiError):
    """A scheduled run that has nothing to fetch, and need not have."""

    exit_code = 0
    cause = "nothing_to_do"


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
    """Stages the delivery of this run's window; returns the batch id. A retry keeps it.

    A scheduled run looks every night until the window's delivery is in and nothing in it waits to be mended; a night
    without one is no failure before the window is overdue. Both show as skipped (NothingToDo).
    """
    from guiji.catalog import load_resource
    from guiji.errors import NothingDelivered
    from guiji.pipeline import stage_resource

    resource = load_resource(settings.catalog, resource_id)
    window = choose_window(resource, context)
    is_scheduled = _run_type(context) == "scheduled"
    if is_scheduled and (batch_id := find_settled(settings, resource)):
        raise NothingToDo(
            f"The current window of {resource_id} is met by batch {batch_id}, and nothing in it is to be mended."
        )
    try:
        return stage_resource(resource_id, settings, window, context["run_id"], say=say, resource=resource)
    except NothingDelivered as exc:
        if is_scheduled and not is_overdue(settings, resource):
            raise NothingToDo(str(exc)) from None
        raise


def find_settled(settings: Settings, resource: Resource) -> str | None:
    """The published batch that settles the current window: it came, and no ticket of the resource is open."""
    from guiji.catalog.models import UpdateCycle
    from guiji.freshness import current_window
    from guiji.warehouse import connect

    if resource.model.update_cycle is UpdateCycle.REALTIME:
        return None
    window = current_window(resource, settings.now())
    with connect(settings, autocommit=True) as conn:
        row = conn.execute(
            """/* guiji stage settled */
            SELECT batch_id FROM ops.batch
            WHERE resource_id = %(id)s AND status = 'published' AND window_start >= %(start)s AND window_start < %(end)s
              AND NOT EXISTS (SELECT FROM ops.ticket WHERE resource_id = %(id)s AND closed_at IS NULL)
            ORDER BY batch_no DESC LIMIT 1""",
            {"id": resource.id, "start": window.start, "end": window.end},
        ).fetchone()
    return row["batch_id"] if row else None


def is_overdue(settings: Settings, resource: Resource) -> bool:
    """True when the current window's delivery should have come by now and none has been published."""
    from guiji.freshness import current_window, windows_between
    from guiji.warehouse import connect

    window = current_window(resource, settings.now())
    due = [w.due_at for w in windows_between(resource, window.start, window.end)]
    if not due or settings.now() <= due[0]:
        return False
    with connect(settings, autocommit=True) as conn:
        met = conn.execute(
            """/* guiji stage met */ SELECT 1 FROM ops.batch
            WHERE resource_id = %s AND status = 'published' AND window_start >= %s AND window_start < %s LIMIT 1""",
            (resource.id, window.start, window.end),
        ).fetchone()
    return met is None


def choose_window(resource: Resource, context: Any) -> Window | None:
    """The window this run is for: the parameters' where given, the one of its date in a backfill, else None (now).

    Never Airflow's data interval, which is empty for cron runs and absent for manual ones.
    """
    from guiji.freshness import current_window
    from guiji.records import Window

    start, end = context["params"].get("start"), context["params"].get("end")
    if start and end:
        return Window(_read_moment(start), _read_moment(end))
    if _run_type(context) == "backfill":
        return current_window(resource, context["dag_run"].logical_date.astimezone(TIME_ZONE))
    return None


def _run_type(context: Any) -> str:
    run_type = context["dag_run"].run_type
    return str(getattr(run_type, "value", run_type))


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


def reconcile_department(settings: Settings, department_id: str, context: Any) -> None:
    """Compares the department's due resources with its front-end. A scheduled run keeps to its hours, a person's own
    doesn't."""
    from guiji.catalog import load_catalog
    from guiji.reconciliation_due import is_within_hours
    from guiji.reconciliation_schedule import reconcile_due

    catalog = load_catalog(settings.catalog)
    department = catalog.departments.get(department_id)
    any_hour = _run_type(context) == "manual"
    if department and not any_hour and not is_within_hours(department, settings.now()):
        raise NothingToDo(
            f"It is not between {department.reconcile_hours}, the hours in which the front-end of {department_id} may be "
            "read as a whole. Nothing was compared; the next run does it."
        )
    reconcile_due(department_id, settings, catalog, say, any_hour=any_hour)


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


def report_month(settings: Settings, month: str | None) -> None:
    """Freezes and writes a report: the named month; else until the 23rd the whole former month, then the running one."""
    from guiji.catalog import load_catalog
    from guiji.report import build_report
    from guiji.warehouse import connect

    today = settings.today()
    first = date.fromisoformat(f"{month}-01") if month else today.replace(day=1)
    if not month and today.day < 24:
        first = (first - timedelta(days=1)).replace(day=1)
    last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    with connect(settings) as conn:
        out = settings.home / "reports"
        say(str(build_report(conn, settings, load_catalog(settings.catalog), f"{first:%Y-%m}", min(today, last), out)))


def sweep_staging(settings: Settings, keep_days: int) -> None:
    """Removes old load packages, never one that a run or a person still needs."""
    from guiji.staging import sweep
    from guiji.warehouse import connect

    with connect(settings, autocommit=True) as conn:
        needed = conn.execute(
            "/* guiji sweep */ SELECT batch_id FROM ops.batch WHERE status IN ('staged', 'held')"
        ).fetchall()
    removed = sweep(settings, keep_days, keep={row["batch_id"] for row in needed})
    say(f"{len(removed)} load packages removed")


def sweep_retention(settings: Settings) -> None:
    """Removes rejected rows and findings that are older than the city keeps them."""
    from guiji.city import load_city
    from guiji.library.retention import sweep_kept
    from guiji.warehouse import connect

    with connect(settings) as conn:
        swept = sweep_kept(conn, settings, load_city(settings))
    say(f"{swept.rejected_rows} rejected rows and {swept.findings} findings removed")


def sync_shares(settings: Settings) -> None:
    """Makes the shared views and their readers what catalog and grants say today; puts who read what into the audit trail."""
    from guiji.catalog import load_catalog
    from guiji.library.share_reads import audit_reads
    from guiji.library.sharing import render_sync, sync_sharing
    from guiji.warehouse import connect

    with connect(settings) as conn:
        say(render_sync(sync_sharing(conn, settings, load_catalog(settings.catalog))))
        say(f"{audit_reads(conn, settings)} reads of shared views put into the audit trail")


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
            "批准后本批数据立即发布；驳回后原有数据继续有效，请部门重新报送。请写明理由，理由和经办人记入审计日志；没有理由的答复不作数，会再次询问。",
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
