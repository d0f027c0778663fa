"""The DAGs of the house: one per library, one per department that is reconciled, and freshness, notices, monthly report,
maintenance, hold.review."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, AssetAny, AssetOrTimeSchedule, CronTriggerTimetable, Param, get_parsing_context

from guiji.catalog import load_catalog
from guiji.catalog.models import DepartmentModel, LibraryModel, Resource
from guiji.orchestration import tasks
from guiji.orchestration.build import RETRY_POLICY, build_broken, resource_asset
from guiji.orchestration.descriptions import StandingDag, load_descriptions
from guiji.orchestration.operators import CallOperator, ReconcileOperator
from guiji.orchestration.shards import list_library_names, pool_name
from guiji.reconciliation_due import hours_of, list_scheduled, reconciled_every
from guiji.settings import TIME_ZONE, Settings

BEGIN = datetime(2020, 1, 1, tzinfo=TIME_ZONE)
STAGING_DAYS = 30
RECONCILE = "reconcile."
_EVERY = {"day": "每日", "week": "每周", "month": "每月", "quarter": "每季度"}


def build_standing(settings: Settings) -> Iterator[DAG]:
    """All of them, or at a task start only the one of the task."""
    wanted = get_parsing_context().dag_id
    for dag_id, build in _HOUSE.items():
        if wanted in (None, dag_id):
            yield build()
    if wanted is not None:
        if wanted.startswith(RECONCILE):
            yield _reconcile_dag(wanted.removeprefix(RECONCILE))
        if wanted.startswith("library."):
            is_broken = get_parsing_context().task_id == "broken"
            yield (
                build_broken(wanted, ["see the DAG's documentation"])
                if is_broken
                else build_library_at_task_start(wanted)
            )
        return
    for description in load_descriptions(settings, lambda: describe_standing(settings)):
        yield build_described(description)


def describe_standing(settings: Settings) -> Iterator[StandingDag]:
    """What the catalog says of its libraries and departments; reads all of it."""
    catalog = load_catalog(settings.catalog)
    for name in list_library_names(settings.catalog):
        if name in catalog.libraries:
            yield describe_library(catalog.libraries[name], catalog.feeding(name))
        else:
            problems = [str(p) for file, ps in catalog.broken.items() if Path(file).stem == name for p in ps]
            yield StandingDag("broken", name, problems=tuple(problems) or (f"libraries/{name}.yml can't be used",))
    for department in catalog.departments.values():
        if scheduled := list_scheduled(catalog.resources.values(), department.id):
            yield describe_reconcile(department, scheduled)


def build_described(described: StandingDag) -> DAG:
    """The DAG of a description."""
    if described.kind == "broken":
        return build_broken(f"library.{described.name}", list(described.problems))
    shown: dict[str, Any] = {
        "dag_display_name": described.display_name,
        "doc_md": described.doc_md,
        "tags": list(described.tags),
    }
    if described.kind == "reconcile":
        return _reconcile_dag(described.name, schedule=described.schedule, **shown)
    hourly = CronTriggerTimetable("45 * * * *", timezone=TIME_ZONE.key)
    assets = [resource_asset(resource_id) for resource_id in described.resources]
    schedule = AssetOrTimeSchedule(timetable=hourly, assets=AssetAny(*assets)) if assets else hourly
    return _library_dag(described.name, schedule=schedule, **shown)


def describe_library(library: LibraryModel, resources: list[Resource]) -> StandingDag:
    """Resolves a library's dirty keys whenever one of its resources was published, and hourly.

    Hourly, because a publish from the command line updates no asset; a run without dirty keys takes milliseconds.
    """
    lines = "\n".join(f"- {r.department.short_name} · {r.model.name}（`{r.id}`）" for r in resources)
    return StandingDag(
        "library",
        library.name,
        display_name=f"{'基础库' if library.kind == 'base' else '主题库'} · {library.title}",
        doc_md=f"# {library.title}\n\n{library.summary}\n\n数据来自：\n\n{lines}\n\n任一资源发布后融合其变化的主键。\n",
        resources=tuple(r.id for r in resources),
        tags=(library.name, "融合"),
    )


def build_library_at_task_start(dag_id: str) -> DAG:
    """The same task without schedule and documentation, which a worker doesn't need: no catalog file is read."""
    return _library_dag(dag_id.removeprefix("library."))


def _library_dag(name: str, **kwargs: Any) -> DAG:
    dag = _make_dag(f"library.{name}", **kwargs)
    CallOperator(
        task_id="resolve",
        task_display_name="融合",
        function="resolve_library",
        arguments={"library": name},
        dag=dag,
    )
    return dag


def describe_reconcile(department: DepartmentModel, scheduled: list[Resource]) -> StandingDag:
    """Every night within the department's hours, what is due of it is compared with its front-end: one task, one slot.

    One task for all of them, and not one for each (F-64, F-72): the front-end answers one comparison at a time, however
    many tables it has. Its minute follows from the department's id.
    """
    begin, length = hours_of(department)
    minute = begin.hour * 60 + begin.minute + sum(map(ord, department.id)) % max(1, min(30, length.seconds // 120))
    lines = "\n".join(f"- {r.model.name}（`{r.id}`）{_EVERY[reconciled_every(r)]}" for r in scheduled)
    return StandingDag(
        "reconcile",
        department.id,
        display_name=f"对账 · {department.short_name}",
        doc_md=(
            f"# 对账\n\n在 {department.reconcile_hours} 之间逐个整表读取前置机，与来源层、各库核对行数、数值合计和分段主键；"
            "结果在 `ops.reconciliation`，不一致的通知部门。手工触发不受时段限制，只核对本周期尚未核对的资源。\n\n"
            f"{lines}\n"
        ),
        schedule=f"{minute % 60} {minute // 60 % 24} * * *",
        tags=("对账", department.short_name),
    )


def _reconcile_dag(department_id: str, **kwargs: Any) -> DAG:
    """Without schedule and documentation at a task start, which reads no catalog file."""
    dag = _make_dag(f"{RECONCILE}{department_id}", **kwargs)
    ReconcileOperator(
        task_id="reconcile",
        task_display_name="核对",
        department_id=department_id,
        pool=pool_name(department_id),
        execution_timeout=timedelta(hours=12),
        dag=dag,
    )
    return dag


def build_freshness() -> DAG:
    dag = _make_dag(
        "freshness",
        dag_display_name="更新周期履约",
        doc_md="按法定工作日历核对每个数据资源的报送窗口：按时、迟报、漏报、未到期；结果在 `ops.delivery_window`。",
        schedule="10 6 * * *",
        tags=["运行"],
    )
    CallOperator(task_id="assess", task_display_name="核对", function="assess_freshness", dag=dag)
    return dag


def build_notices() -> DAG:
    dag = _make_dag(
        "notices",
        dag_display_name="整改通知",
        doc_md="每五分钟把发件箱中的事项按部门汇总成一封邮件发出，并为被暂停的批次请人批准。邮件服务器不可用时只会推迟，不会丢失。",
        schedule="*/5 * * * *",
        tags=["运行"],
    )
    CallOperator(task_id="send", task_display_name="发送", function="deliver_notices", retries=0, dag=dag)
    return dag


def build_report() -> DAG:
    dag = _make_dag(
        "report.monthly",
        dag_display_name="月度通报",
        doc_md=(
            "每月 24 日按当日状况生成本月归集通报（25 日前报送），次月 3 日生成全月通报。"
            "指标数字冻结在 `ops.report`，重新生成逐字节相同。"
        ),
        schedule="0 8 3,24 * *",
        tags=["运行"],
        params={
            "month": Param(
                None, type=["null", "string"], pattern=r"^\d{4}-\d{2}$", title="月份", description="如 2026-09"
            )
        },
    )
    CallOperator(
        task_id="report",
        task_display_name="生成通报",
        function="report_month",
        arguments={"month": "{{ params.month or '' }}"},
        dag=dag,
    )
    return dag


def build_maintenance() -> DAG:
    dag = _make_dag(
        "maintenance",
        dag_display_name="清理",
        doc_md=(
            f"每日删除超过 {STAGING_DAYS} 天且不再需要的暂存数据包和超过保存期限的问题数据（未办结工单涉及的除外），再按目录和授权更新各部门的只读共享视图："
            "到期的授权在此收回。"
        ),
        schedule="20 5 * * *",
        tags=["运行"],
    )
    CallOperator(
        task_id="sweep",
        task_display_name="清理暂存区",
        function="sweep_staging",
        arguments={"keep_days": STAGING_DAYS},
        dag=dag,
    )
    CallOperator(task_id="retention", task_display_name="清理过期问题数据", function="sweep_retention", dag=dag)
    # beside the sweep, not behind it: a full disk must not keep a grant alive
    CallOperator(task_id="share", task_display_name="更新共享授权", function="sync_shares", dag=dag)
    return dag


def build_review() -> DAG:
    from guiji.orchestration.review import ReviewOperator

    dag = _make_dag(
        tasks.REVIEW_DAG_ID,
        dag_display_name="暂停批次待批准",
        doc_md=(
            "突变保护或质量判定暂停的批次在这里请人决定（Required Actions）：批准发布，或驳回。"
            "批准前原有数据继续有效。决定、经办人和理由写入审计日志。每个批次一次运行，由发布任务或 `notices` 发起。"
        ),
        schedule=None,
        tags=["运行", "待批准"],
        max_active_runs=256,
        max_active_tasks=256,
        params={"batch_id": Param("", type="string", pattern=r"^[0-9a-f]{0,64}$", title="批次")},
    )
    ReviewOperator(
        task_id="decide",
        task_display_name="批准或驳回",
        retries=20,  # a decision that could not be written is asked for again
        params={"why": Param("", type="string", title="理由", description="必填，至少两个字，写入审计日志")},
        dag=dag,
    )
    return dag


def _make_dag(dag_id: str, **kwargs: Any) -> DAG:
    return DAG(
        dag_id=dag_id,
        start_date=BEGIN,
        catchup=False,
        default_args={
            "owner": "大数据中心",
            "retries": 2,
            "retry_delay": timedelta(minutes=1),
            "retry_policy": RETRY_POLICY,
            "execution_timeout": timedelta(hours=2),
        },
        **{"max_active_runs": 1, **kwargs},
    )


_HOUSE: dict[str, Callable[[], DAG]] = {
    "freshness": build_freshness,
    "notices": build_notices,
    "report.monthly": build_report,
    "maintenance": build_maintenance,
    tasks.REVIEW_DAG_ID: build_review,
}
