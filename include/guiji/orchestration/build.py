"""One resource -> one DAG. Deterministic (F-60): the same catalog gives the same bytes in every process.

No set is iterated, no clock is read, no default depends on the machine; ``tests/test_dags.py`` compares the serialised
DAGs of two processes with different hash seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG, Asset, ExceptionRetryPolicy, Param, RetryAction, RetryRule, get_parsing_context

from guiji.catalog import load_resource
from guiji.catalog.models import DatabaseSource, FilesSource, HttpSource, RemoteFilesSource, Resource, UpdateCycle
from guiji.errors import CatalogError
from guiji.orchestration.documentation import describe_broken, describe_resource
from guiji.orchestration.operators import BrokenOperator, CheckOperator, PublishOperator, StageOperator
from guiji.orchestration.shards import list_shard, list_unassigned, pool_name
from guiji.settings import TIME_ZONE, Settings

BROKEN_TAG = "配置错误"
#: The first rule that matches decides; what is no GuijiError reaches Airflow as UnexpectedError and is tried again.
RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(exception="guiji.errors.NothingDelivered", retry_delay=timedelta(minutes=30), reason="尚未送达"),
        RetryRule(
            exception="guiji.errors.SourceUnavailable", retry_delay=timedelta(minutes=5), reason="前置机或接口不可用"
        ),
        RetryRule(
            exception="guiji.errors.WarehouseUnavailable", retry_delay=timedelta(minutes=1), reason="数据仓库不可用"
        ),
        RetryRule(
            exception="guiji.orchestration.tasks.UnexpectedError", retry_delay=timedelta(minutes=1), reason="意外错误"
        ),
        RetryRule(exception="guiji.errors.GuijiError", action=RetryAction.FAIL, reason="重试无用，需要人处理"),
    ]
)
_WAYS = {"database": "库表", "sftp": "SFTP", "ftp": "FTP", "files": "文件", "http": "接口"}


def resource_asset(resource_id: str) -> Asset:
    """The asset that a publish of the resource updates."""
    return Asset(name=resource_id, uri=f"guiji://source/{resource_id}")


def build_shard(settings: Settings, file: str) -> Iterator[DAG]:
    """The DAGs of the file ``…_NN.py``. At a task start only the DAG of the task, and no other catalog file is read."""
    wanted = get_parsing_context().dag_id
    if wanted is not None:
        yield build_or_stand_in(settings.catalog, wanted)
        return
    for resource_id in list_shard(settings.catalog, file):
        yield build_or_stand_in(settings.catalog, resource_id)
    if file.endswith("_00.py") and (unassigned := list_unassigned(settings.catalog, file)):
        yield build_broken(
            "resources.unassigned",
            [f"资源过多：{len(unassigned)} 个数据资源没有对应的 DAG 文件，未被调度（如 {unassigned[0]}）。"
             "请在 dags/ 中复制 resources_NN.py，补齐编号。"],
        )  # fmt: skip


def build_or_stand_in(catalog: Path, resource_id: str) -> DAG:
    """The DAG of a resource, or a placeholder that says what is wrong with its file (F-59)."""
    try:
        return build_dag(load_resource(catalog, resource_id))
    except CatalogError as exc:
        return build_broken(resource_id, [str(p) for p in exc.problems] or [str(exc)])
    except Exception as exc:  # one file must never take the others away, whatever is wrong with it
        return build_broken(resource_id, [f"{type(exc).__name__}: {exc}"])


def build_dag(resource: Resource) -> DAG:
    """``stage`` -> ``check`` -> ``publish`` for one resource, scheduled by its update cycle or its own cron."""
    model, department = resource.model, resource.department
    source = model.source
    dag = DAG(
        dag_id=resource.id,
        dag_display_name=f"{department.short_name} · {model.name}",
        description=model.summary[:200],
        doc_md=describe_resource(resource),
        schedule=choose_schedule(resource),
        start_date=choose_start(resource),
        catchup=False,
        max_active_runs=1,
        tags=sorted({*_libraries(resource), department.short_name, _WAYS[source.kind], model.update_cycle.value}),
        params={
            "start": Param(None, type=["null", "string"], title="窗口起", description="只在补数时填写，如 2026-09-01"),
            "end": Param(None, type=["null", "string"], title="窗口止", description="不含这一刻，如 2026-10-01"),
        },
        default_args={
            "owner": department.short_name,
            "retries": 3,
            "retry_delay": timedelta(minutes=1),  # of what Airflow itself breaks; errors of ours say their own
            "retry_policy": RETRY_POLICY,
            "execution_timeout": timedelta(hours=2),
        },
    )
    pool = pool_name(department.id)
    stage = StageOperator(
        task_id="stage",
        task_display_name="归集",
        resource_id=resource.id,
        pool=pool,
        doc_md=_describe_access(source),
        dag=dag,
    )
    check = CheckOperator(task_id="check", task_display_name="检查", resource_id=resource.id, dag=dag)
    publish = PublishOperator(
        task_id="publish",
        task_display_name="发布",
        resource_id=resource.id,
        outlets=[resource_asset(resource.id)],
        dag=dag,
    )
    stage >> check >> publish
    return dag


def build_broken(catalog_id: str, problems: list[str]) -> DAG:
    """A placeholder: visible, tagged, unscheduled, and failing when somebody runs it."""
    dag = DAG(
        dag_id=catalog_id,
        dag_display_name=f"{BROKEN_TAG} · {catalog_id}",
        description=f"{BROKEN_TAG}：{problems[0]}"[:200],
        doc_md=describe_broken(catalog_id, problems),
        schedule=None,
        start_date=datetime(2020, 1, 1, tzinfo=TIME_ZONE),
        catchup=False,
        tags=[BROKEN_TAG],
        default_args={"owner": catalog_id.partition(".")[0]},
    )
    BrokenOperator(task_id="broken", task_display_name=BROKEN_TAG, catalog_id=catalog_id, dag=dag)
    return dag


def choose_schedule(resource: Resource) -> str | None:
    """The engineer's cron, else one from the update cycle; None for what is fetched by hand (不定期, 不更新).

    Every cycle of a day and longer is looked for every night: a monthly delivery that is due on the tenth comes on any of
    ten days. ``tasks.stage`` ends the run at once when the window is met. Between one and five o'clock, each resource at
    its own minute, so that a front-end is not asked for everything at the stroke of the hour; the minute follows from the
    id, so that it is the same in every process.
    """
    cycle = resource.model.update_cycle
    if resource.model.delivery.cron:
        return resource.model.delivery.cron
    if cycle is UpdateCycle.REALTIME:
        return "*/15 * * * *"
    if cycle in (UpdateCycle.IRREGULAR, UpdateCycle.NEVER):
        return None
    spread = sum(ord(c) * (i + 7) for i, c in enumerate(resource.id)) % 240
    return f"{spread % 60} {1 + spread // 60} * * *"


def choose_start(resource: Resource) -> datetime:
    """Midnight in the resource's time zone of the first day that counts (F-09)."""
    from zoneinfo import ZoneInfo

    day = resource.model.delivery.since or resource.model.published
    return datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(resource.model.time_zone))


def _libraries(resource: Resource) -> list[str]:
    return [mapping.library for mapping in resource.model.mappings]


def _describe_access(source: DatabaseSource | RemoteFilesSource | FilesSource | HttpSource) -> str:
    connection = getattr(source, "connection", None)
    return f"供给方式：{_WAYS[source.kind]}" + (f"；连接 `{connection}`" if connection else "")
