"""F-72: however many runs want one front-end, Airflow starts no more of them at once than its pool has slots."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_catalog import write_department, write_resource

from guiji import postgres
from guiji.orchestration.environment import airflow_environment, free_port
from guiji.settings import ROOT, Settings

RUNS = 50
#: Airflow's own metadata, DAGs, pools and its scheduler's choice of what to start; nothing is executed
PROGRAM = """
import json, sys
from datetime import UTC, datetime
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dagbag import DBDagBag
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from guiji.orchestration.prepare import prepare
from sqlalchemy import update
from guiji.settings import Settings
pools = prepare(Settings.from_env())
with create_session() as session:
    from airflow.models.dagbundle import DagBundleModel
    session.add(DagBundleModel(name="guiji"))
bag = DagBag(sys.argv[1] + "/resources_00.py", load_op_links=False, bundle_name="guiji")
sync_bag_to_db(bag, "guiji", None)
seen = []
with create_session() as session:
    dags = DBDagBag()
    for dag_id in bag.dags:
        dag = dags.get_latest_version_of_dag(dag_id, session=session)
        at = datetime(2026, 10, 1, tzinfo=UTC)
        run = dag.create_dagrun(
            run_id="r", logical_date=at, run_after=at, data_interval=(at, at), run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST, state=DagRunState.RUNNING, session=session)
        run.get_task_instance("stage", session=session).state = TaskInstanceState.SCHEDULED
    session.flush()
    runner = SchedulerJobRunner(Job())
    left = len(bag.dags)
    while left and len(seen) < 100:
        chosen = runner._executable_task_instances_to_queued(max_tis=512, session=session)
        session.flush()
        seen.append([ti.task_id for ti in chosen])
        again = runner._executable_task_instances_to_queued(max_tis=512, session=session)
        seen[-1] += [ti.task_id for ti in again]  # the pool is full while they run
        session.execute(  # what was chosen is no longer the session's own
            update(TaskInstance).where(TaskInstance.id.in_([ti.id for ti in chosen])).values(state=TaskInstanceState.SUCCESS))
        session.expire_all()
        left -= len(chosen)
print("@" + json.dumps([pools, seen]))
"""


@pytest.mark.timeout(120)
def test_f72_fifty_runs_on_one_front_end_never_exceed_its_slots(settings: Settings, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog"
    write_department(catalog, "gaj", "公安局")
    for n in range(RUNS):
        write_resource(catalog, f"gaj.r{n:04d}", number=n + 1)
    here = dataclasses.replace(settings, catalog=catalog)
    with postgres.hold(here):
        url = postgres.server_url(here, "airflow")
        env = airflow_environment(here, database_url=url, port=free_port(), extra_env={"GUIJI_CATALOG": str(catalog)})
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(ROOT / "dags")],
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    pools, started = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("@"))[1:])
    assert pools == {"fep_gaj": 2}
    assert started == [["stage"] * 2] * (RUNS // 2)
