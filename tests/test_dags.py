"""The DAGs: one per resource and library, the same in every process, and one bad file takes nobody else away."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import airflow_here  # noqa: F401  before Airflow
import pendulum
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_catalog import MAPPING, write_catalog, write_department, write_library, write_resource

from guiji import errors
from guiji.catalog import list_resource_ids, load_catalog, load_resource
from guiji.orchestration.shards import DAGS_PER_FILE, count_shards, list_unassigned, pool_name, shard_of
from guiji.reconciliation_due import list_scheduled
from guiji.settings import ROOT, TIME_ZONE

HOUSE = {"freshness", "notices", "report.monthly", "maintenance", "hold.review"}


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "catalog"
    monkeypatch.setenv("GUIJI_CATALOG", str(folder))
    monkeypatch.setenv("GUIJI_HOME", str(tmp_path / "home"))
    return folder


def parse_dags(file: Path = ROOT / "dags") -> tuple[dict[str, Any], dict[str, str]]:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(file, load_op_links=False)
    return dict(bag.dags), bag.import_errors


def serialize(dag: Any) -> dict[str, Any]:
    from airflow.serialization.serialized_objects import DagSerialization

    return DagSerialization.to_dict(dag)


def build(catalog: Path, resource_id: str) -> Any:
    from guiji.orchestration.build import build_dag

    return build_dag(load_resource(catalog, resource_id))


# --- which DAGs there are --------------------------------------------------------------------------------


def test_the_shipped_catalog_is_the_set_of_dags(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = ROOT / "include" / "catalog"
    monkeypatch.setenv("GUIJI_CATALOG", str(shipped))
    loaded = load_catalog(shipped)
    dags, problems = parse_dags()
    assert problems == {}
    assert len(loaded.resources) > 0
    reconciled = {f"reconcile.{d}" for d in loaded.departments if list_scheduled(loaded.resources.values(), d)}
    assert len(reconciled) > 0
    libraries = {f"library.{name}" for name in loaded.libraries}
    assert set(dags) == set(loaded.resources) | libraries | reconciled | HOUSE
    assert [d.dag_id for d in dags.values() if "配置错误" in d.tags] == []


def test_ids_equal_the_catalog(catalog: Path) -> None:
    ids = write_catalog(catalog, 7)
    dags, problems = parse_dags()
    assert problems == {}
    assert set(dags) == {*ids, "library.population"} | HOUSE


def test_an_empty_catalog_leaves_the_house(catalog: Path) -> None:
    catalog.mkdir()
    dags, problems = parse_dags()
    assert (set(dags), problems) == (HOUSE, {})


@pytest.mark.timeout(120)
def test_f59_three_broken_files_of_200_become_placeholders(catalog: Path) -> None:
    ids = write_catalog(catalog, 200)
    broken = {ids[3], ids[77], ids[150]}
    for number, resource_id in enumerate(sorted(broken)):
        department, _, name = resource_id.partition(".")
        text = ["fields: [", "id: 1\nid: 2\n", "nonsense: true\n"][number]
        (catalog / department / f"{name}.yml").write_text(text, encoding="utf-8")
    dags, problems = parse_dags()
    assert problems == {}
    resources = {i: d for i, d in dags.items() if i in ids}
    assert len(resources) == 200
    assert {i for i, d in resources.items() if "配置错误" in d.tags} == broken
    for resource_id in broken:
        stand_in = resources[resource_id]
        assert stand_in.schedule is None
        assert [t.task_id for t in stand_in.tasks] == ["broken"]
        assert f"{resource_id.partition('.')[2]}.yml" in stand_in.doc_md
        with pytest.raises(errors.CatalogError):
            stand_in.tasks[0].execute({})


def test_f59_a_broken_department_breaks_its_own_resources_only(catalog: Path) -> None:
    ids = write_catalog(catalog, 4)
    (catalog / "gaj" / "department.yml").write_text("id: [", encoding="utf-8")
    dags, problems = parse_dags()
    assert problems == {}
    broken = {i for i, d in dags.items() if "配置错误" in d.tags}
    assert broken & set(ids) == {i for i in ids if i.startswith("gaj.")}


def test_f59_a_broken_library_becomes_a_placeholder(catalog: Path) -> None:
    write_catalog(catalog, 2)
    (catalog / "libraries" / "population.yml").write_text("name: population\n", encoding="utf-8")
    dags, problems = parse_dags()
    assert problems == {}
    assert dags["library.population"].tags == {"配置错误"}
    assert "population.yml" in dags["library.population"].doc_md


# --- one DAG ----------------------------------------------------------------------------------------------


def test_a_resource_is_three_steps_behind_its_front_ends_pool(catalog: Path) -> None:
    write_catalog(catalog, 2)
    dag = build(catalog, "gaj.r0000")
    steps = [(t.task_id, t.pool, sorted(t.downstream_task_ids)) for t in dag.tasks]
    assert steps == [
        ("stage", pool_name("gaj"), ["check"]),
        ("check", "default_pool", ["publish"]),
        ("publish", "default_pool", []),
    ]
    assert (dag.max_active_runs, dag.catchup, dag.timezone.name) == (1, False, "Asia/Shanghai")
    assert [t.owner for t in dag.tasks] == ["公安局"] * 3
    assert dag.dag_display_name == "公安局 · 资源0"
    assert dag.tags == {"公安局", "库表", "每日", "population"}
    assert [a.name for a in dag.get_task("publish").outlets] == ["gaj.r0000"]
    assert dag.get_task("stage").outlets == []
    assert {t.execution_timeout for t in dag.tasks} == {timedelta(hours=2)}


def test_a_start_date_is_midnight_in_the_city(catalog: Path) -> None:
    write_department(catalog, "gaj", "公安局")
    write_resource(catalog, "gaj.a", more="delivery: {since: '2026-03-01'}\n")
    write_resource(catalog, "gaj.b", number=2)
    assert build(catalog, "gaj.a").start_date == datetime(2026, 2, 28, 16, tzinfo=UTC)
    assert build(catalog, "gaj.b").start_date == datetime(2025, 12, 31, 16, tzinfo=UTC)


@pytest.mark.parametrize("cycle", ["每日", "每周", "每月", "每季度", "每半年", "每年"])
def test_every_cycle_is_looked_for_at_night_until_its_window_is_met(catalog: Path, cycle: str) -> None:
    write_department(catalog, "gaj", "公安局")
    write_resource(catalog, "gaj.a", cycle=cycle)
    minute, hour, rest = build(catalog, "gaj.a").schedule.split(" ", 2)
    assert (0 <= int(minute) < 60, 1 <= int(hour) < 5, rest) == (True, True, "* * *")


def test_an_engineers_cron_wins_and_irregular_resources_are_not_scheduled(catalog: Path) -> None:
    write_department(catalog, "gaj", "公安局")
    write_resource(catalog, "gaj.a", more="delivery: {cron: '5 9 * * 1-5'}\n")
    write_resource(catalog, "gaj.b", cycle="不定期", number=2)
    write_resource(catalog, "gaj.c", cycle="不更新", number=3)
    write_resource(catalog, "gaj.d", cycle="实时", number=4)
    schedules = {i: build(catalog, i).schedule for i in list_resource_ids(catalog)}
    assert schedules == {"gaj.a": "5 9 * * 1-5", "gaj.b": None, "gaj.c": None, "gaj.d": "*/15 * * * *"}


def test_its_documentation_comes_from_the_catalog(catalog: Path) -> None:
    write_department(catalog, "gaj", "公安局")
    write_resource(catalog, "gaj.a", name="人口 | <script>", cycle="每月")
    text = build(catalog, "gaj.a").doc_md
    for words in ("人口 \\| \\<script\\>", "| 更新周期 | 每月 |", "| 身份证号 | `id_no` |", "李四", "张三 / 信息股"):
        assert words in text


def test_a_library_waits_for_any_of_its_resources(catalog: Path) -> None:
    write_catalog(catalog, 1)
    write_resource(catalog, "gaj.r9999", more=MAPPING, number=9)
    dags, _ = parse_dags(ROOT / "dags" / "standing.py")
    schedule = dags["library.population"].timetable
    assert [a.name for a in schedule.asset_condition.objects] == ["gaj.r0000", "gaj.r9999"]
    assert type(schedule.asset_condition).__name__ == "AssetAny"
    assert [t.task_id for t in dags["library.population"].tasks] == ["resolve"]


def test_retries_follow_the_error_tree() -> None:
    """Every class of the tree: what may pass by itself is tried again, what needs a person fails at once."""
    from airflow.sdk import RetryAction

    from guiji.orchestration import tasks
    from guiji.orchestration.build import RETRY_POLICY

    ours = ("guiji.errors", tasks.__name__, "guiji.reconciliation_schedule")
    classes = [c for c in _subclasses(errors.GuijiError) if c.__module__ in ours]
    assert len(classes) >= 12
    wrong = []
    for cls in classes:
        decision = RETRY_POLICY.evaluate(cls("x"), 1, 3)
        if decision.action is not (RetryAction.RETRY if cls.retryable else RetryAction.FAIL):
            wrong.append(cls.__name__)
    assert wrong == []


def _subclasses(cls: type) -> list[type]:
    return [cls, *(s for c in cls.__subclasses__() for s in _subclasses(c))]


# --- windows -----------------------------------------------------------------------------------------------


def test_a_scheduled_run_is_for_now_a_backfill_for_its_date_a_manual_one_for_its_parameters(catalog: Path) -> None:
    from airflow.sdk.api.datamodels._generated import DagRunType

    from guiji.freshness import current_window
    from guiji.orchestration.tasks import choose_window

    write_department(catalog, "gaj", "公安局")
    write_resource(catalog, "gaj.a", cycle="每月")
    resource = load_resource(catalog, "gaj.a")
    tick = datetime(2026, 8, 31, 18, 30, tzinfo=UTC)  # 02:30 on 1 September in the city

    def window(run_type: DagRunType, start: str | None = None, end: str | None = None) -> Any:
        run = SimpleNamespace(run_type=run_type, logical_date=tick)
        return choose_window(resource, {"params": {"start": start, "end": end}, "dag_run": run})

    assert window(DagRunType.SCHEDULED) is None
    assert window(DagRunType.MANUAL) is None
    assert window(DagRunType.BACKFILL) == current_window(resource, tick.astimezone(TIME_ZONE))
    given = window(DagRunType.MANUAL, "2026-07-01", "2026-08-01")
    assert (given.start, given.end) == (datetime(2026, 6, 30, 16, tzinfo=UTC), datetime(2026, 7, 31, 16, tzinfo=UTC))


# --- parsing -----------------------------------------------------------------------------------------------

DUMP = """
import json, sys
sys.path.insert(0, {tests!r})
import airflow_here
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
from airflow.models.serialized_dag import SerializedDagModel
bag = DagBag({dags!r}, load_op_links=False)
print("@" + json.dumps({{i: DagSerialization.to_dict(d) for i, d in bag.dags.items()}}, ensure_ascii=False))
"""


@pytest.mark.timeout(180)
def test_f60_two_processes_with_different_hash_seeds_build_the_same_bytes(catalog: Path) -> None:
    write_catalog(catalog, 12)
    dumps = []
    for seed in ("1", "4242"):
        program = DUMP.format(tests=str(ROOT / "tests"), dags=str(ROOT / "dags"))
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        line = next(text for text in done.stdout.splitlines() if text.startswith("@"))
        dags = json.loads(line[1:].replace(_home_of(line), ""))
        dumps.append({i: json.dumps(d, ensure_ascii=False, sort_keys=True) for i, d in sorted(dags.items())})
    assert len(dumps[0]) == 12 + 1 + len(HOUSE)
    assert dumps[0] == dumps[1]


def _home_of(text: str) -> str:
    """The processes' own AIRFLOW_HOME, which Airflow writes into what it serialises."""
    import re

    found = re.search(r"[^\"]*guiji-airflow-\w+", text)
    return found.group() if found else "\0"


def test_f60_airflow_itself_finds_nothing_that_inflates_versions() -> None:
    from airflow.utils.dag_version_inflation_checker import check_dag_file_stability

    reports = {str(file): check_dag_file_stability(str(file)) for file in sorted((ROOT / "dags").glob("*.py"))}
    assert len(reports) > 20
    assert {file: r.runtime_varying_values for file, r in reports.items() if r.runtime_varying_values} == {}


def test_a_task_start_builds_one_dag_and_reads_no_other_file(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_catalog(catalog, 20)
    for file in catalog.glob("*/r*.yml"):
        if file.stem != "r0004":
            file.unlink()
            file.mkdir()  # whoever opens it fails
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "gaj.r0004")
    for shard in ("resources_00.py", "resources_17.py"):
        dags, problems = parse_dags(ROOT / "dags" / shard)
        assert (list(dags), problems) == (["gaj.r0004"], {})
    assert [t.task_id for t in dags["gaj.r0004"].tasks] == ["stage", "check", "publish"]


CHANGES = "{kind: database, connection: fep_gaj, table: person, cursor: 姓名}"
INCREMENTAL = "load: incremental\norder: [name]\n"


def test_a_department_with_incremental_tables_is_reconciled_at_night_in_one_slot_of_its_pool(catalog: Path) -> None:
    write_catalog(catalog, 4)
    write_resource(catalog, "gaj.a", source=CHANGES, more=INCREMENTAL, number=8)
    write_resource(catalog, "gaj.b", source=CHANGES, more=INCREMENTAL + "reconcile: {every: never}\n", number=9)
    dags, problems = parse_dags(ROOT / "dags" / "standing.py")
    assert problems == {}
    assert {i for i in dags if i.startswith("reconcile.")} == {"reconcile.gaj"}  # 卫健委 has snapshots only
    dag = dags["reconcile.gaj"]
    assert [(t.task_id, t.pool, t.department_id) for t in dag.tasks] == [("reconcile", pool_name("gaj"), "gaj")]
    minute, hour, rest = dag.schedule.split(" ", 2)
    assert (0 <= int(minute) < 30, hour, rest) == (True, "21", "* * *")
    assert ("`gaj.a`）每月" in dag.doc_md, "gaj.b" in dag.doc_md) == (True, False)
    assert (dag.max_active_runs, dag.catchup, dag.tags) == (1, False, {"对账", "公安局"})


def test_f59_a_broken_resource_leaves_its_department_reconciled(catalog: Path) -> None:
    write_catalog(catalog, 1)
    write_resource(catalog, "gaj.a", source=CHANGES, more=INCREMENTAL, number=8)
    (catalog / "gaj" / "r0000.yml").write_text("fields: [", encoding="utf-8")
    dags, _ = parse_dags(ROOT / "dags" / "standing.py")
    assert [t.task_id for t in dags["reconcile.gaj"].tasks] == ["reconcile"]


@pytest.mark.parametrize("dag_id", sorted(HOUSE | {"library.population", "reconcile.gaj"}))
def test_a_task_start_of_the_house_builds_one_dag(catalog: Path, monkeypatch: pytest.MonkeyPatch, dag_id: str) -> None:
    write_catalog(catalog, 1)
    write_resource(catalog, "gaj.a", source=CHANGES, more=INCREMENTAL, number=8)
    whole, _ = parse_dags(ROOT / "dags" / "standing.py")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", dag_id)
    dags, problems = parse_dags(ROOT / "dags" / "standing.py")
    assert (list(dags), problems) == ([dag_id], {})
    assert [t.task_id for t in dags[dag_id].tasks] == [t.task_id for t in whole[dag_id].tasks]


def test_3000_resources_fit_the_files_and_no_file_builds_more_than_200() -> None:
    ids = [f"d{n % 40:02d}.resource_{n}" for n in range(3000)]
    shards = count_shards(len(ids))
    loads = [0] * shards
    for resource_id in ids:
        loads[shard_of(resource_id, shards)] += 1
    assert sum(loads) == 3000
    assert max(loads) <= DAGS_PER_FILE
    assert shards <= len(list((ROOT / "dags").glob("resources_*.py")))


def test_a_further_shard_moves_few_dags() -> None:
    ids = [f"d{n % 40:02d}.resource_{n}" for n in range(3000)]
    moved = sum(shard_of(i, 21) != shard_of(i, 22) for i in ids)
    assert 0 < moved < 3000 / 22 * 1.5
    assert {shard_of(i, 1) for i in ids} == {0}


def test_more_resources_than_files_is_said_aloud(catalog: Path, tmp_path: Path) -> None:
    write_department(catalog, "gaj", "公安局")
    for n in range(300):
        write_resource(catalog, f"gaj.r{n:04d}", number=n + 1)
    folder = tmp_path / "dags"
    folder.mkdir()
    shutil.copy(ROOT / "dags" / "resources_00.py", folder)
    missing = list_unassigned(catalog, str(folder / "resources_00.py"))
    dags, problems = parse_dags(folder)
    assert problems == {}
    assert len(dags) == 300 - len(missing) + 1
    assert f"{len(missing)} 个数据资源" in dags["resources.unassigned"].description


def test_dag_files_are_thin_and_the_same_but_for_their_name() -> None:
    shards = sorted((ROOT / "dags").glob("resources_*.py"))
    assert [s.name for s in shards] == [f"resources_{n:02d}.py" for n in range(len(shards))]
    assert len({hashlib.sha256(s.read_bytes()).hexdigest() for s in shards}) == 1
    assert max(len(f.read_text().splitlines()) for f in (ROOT / "dags").glob("*.py")) <= 12


def test_a_library_without_resources_is_hourly_only(catalog: Path) -> None:
    write_department(catalog, "gaj", "公安局")
    write_library(catalog)
    dags, problems = parse_dags(ROOT / "dags" / "standing.py")
    assert problems == {}
    assert type(dags["library.population"].timetable).__name__ == "CronTriggerTimetable"


def test_f67_a_foreign_exception_leaves_a_task_scrubbed(catalog: Path) -> None:
    from guiji.orchestration.tasks import UnexpectedError, run_step

    def fail(_: Any) -> None:
        raise ValueError("Key (id_no)=(110105199001010017) already exists")

    with pytest.raises(UnexpectedError) as caught:
        run_step(fail)
    assert "110105199001010017" not in str(caught.value)
    assert caught.value.__suppress_context__


# --- what Airflow itself may trip over -------------------------------------------------------------------


def test_f63_every_timetable_is_airflows_own_and_comes_back_from_serialising_the_same(catalog: Path) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    write_catalog(catalog, 3)
    write_resource(catalog, "gaj.a", source=CHANGES, more=INCREMENTAL, number=8)
    dags, problems = parse_dags()
    assert problems == {}
    foreign = {type(d.timetable).__module__ for d in dags.values()} - {"airflow.timetables"}
    assert {m for m in foreign if not m.startswith(("airflow.timetables.", "airflow.sdk."))} == set()
    back = {i: DagSerialization.from_dict(serialize(d)).timetable for i, d in dags.items()}
    assert len(back) == 4 + 1 + 1 + len(HOUSE)

    def say(timetable: Any) -> tuple[Any, ...]:
        names = ("expression", "_expression", "_timezone")
        return type(timetable).__name__, timetable.summary, *(str(getattr(timetable, n, None)) for n in names)

    again = {i: DagSerialization.from_dict(serialize(d)).timetable for i, d in parse_dags()[0].items()}
    assert {i: say(t) for i, t in back.items()} == {i: say(t) for i, t in again.items()}
    assert {type(t).__name__ for t in back.values()} == {type(d.timetable).__name__ for d in dags.values()}
    assert len([t for t in back.values() if "Cron" in type(t).__name__]) >= 8


@settings(max_examples=40, deadline=None)
@given(st.datetimes(datetime(2004, 1, 1), datetime(2100, 12, 31)), st.integers(0, 10**6))
def test_f63_every_schedule_and_every_window_answers_from_2004_to_2100(moment: datetime, number: int) -> None:
    from airflow.timetables.base import DataInterval, TimeRestriction
    from airflow.timetables.trigger import CronTriggerTimetable

    from guiji.catalog.models import UpdateCycle
    from guiji.freshness import current_window, windows_between
    from guiji.orchestration.build import choose_schedule

    now = pendulum.instance(moment, tz="UTC")
    for cycle in UpdateCycle:
        resource = _of_cycle(f"gaj.r{number}", cycle)
        window = current_window(resource, now)
        assert window.start < window.end
        assert windows_between(resource, now.date(), (now + timedelta(days=400)).date()) is not None
        if (cron := choose_schedule(resource)) is not None:
            timetable = CronTriggerTimetable(cron, timezone="Asia/Shanghai")
            following = timetable.next_dagrun_info(
                last_automated_data_interval=DataInterval.exact(now),
                restriction=TimeRestriction(earliest=None, latest=None, catchup=True),
            )
            assert now < following.run_after <= now + timedelta(days=1, hours=1)


def _of_cycle(resource_id: str, cycle: Any) -> Any:
    from packages import make_resource

    plain = make_resource(resource_id)
    return plain.model_copy(update={"model": plain.model.model_copy(update={"update_cycle": cycle})})


def test_f64_3000_resources_of_one_department_map_no_task(catalog: Path) -> None:
    """Airflow refuses to map more than 1,024: whatever is done for many resources is one task that goes through them."""
    from guiji.reconciliation_due import list_scheduled

    write_catalog(catalog, 1)
    write_resource(catalog, "gaj.a", source=CHANGES, more=INCREMENTAL, number=8)
    one = load_resource(catalog, "gaj.a")
    many = [one.model_copy(update={"model": one.model.model_copy(update={"id": f"gaj.r{n:04d}"})}) for n in range(3000)]
    assert len(list_scheduled(many, "gaj")) == 3000
    dags, _ = parse_dags()
    tasks = [t for d in dags.values() for t in d.tasks]
    assert len(tasks) > 10
    assert [t.task_id for t in tasks if t.is_mapped] == []
    assert max(len(d.tasks) for d in dags.values()) == 3
    assert {i: len(d.tasks) for i, d in dags.items() if i.startswith(("library.", "reconcile."))} == {
        "library.population": 1,
        "reconcile.gaj": 1,
    }
