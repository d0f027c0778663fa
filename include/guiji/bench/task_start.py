"""What the catalog costs at each start of an Airflow task: the task's own DAG file is parsed before its first line runs.

A worker is a fork that has imported Airflow. Each sample forks one, sets the parsing context as Airflow's task runner
does, and parses: a file with one plain DAG of three tasks, and our shard with 3,000 resources in the catalog. ``cold``
is a worker that has imported nothing of ours (Celery); ``preloaded`` one of our launcher's (LocalExecutor).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from guiji.bench import Result
from guiji.settings import ROOT, Settings

RESOURCES = 3000
SAMPLES = 15
BAR_MS = 150.0

_DEPARTMENT = """\
id: d{n:02d}
name: 部门{n}
short_name: 部门{n}
credit_code: "11150600MB90001032"
leader: 张三
section: 信息股
contacts:
  - {{name: 李四, email: li@dept.example}}
"""
_RESOURCE = """\
id: d{d:02d}.r{n:04d}
code: "000001/{n:06d}"
name: 资源{n}
summary: 一行一人
category: {{class: 基础信息资源, item: 人口}}
format: 数据库
system: 人口系统
sharing: {{type: 无条件共享}}
update_cycle: 每月
published: "2026-01-01"
source: {{kind: database, connection: fep_d{d:02d}, table: person}}
fields:
{fields}key: [f00]
"""
_ONE_DAG = """\
from datetime import datetime
from airflow.sdk import DAG, BaseOperator

class Step(BaseOperator):
    def execute(self, context):
        pass

with DAG("one", start_date=datetime(2026, 1, 1), schedule="0 2 * * *"):
    Step(task_id="stage") >> Step(task_id="check") >> Step(task_id="publish")
"""


def measure(settings: Settings, rows: int) -> Iterator[Result]:
    """Milliseconds that a task start takes above a one-DAG file; ``rows`` means nothing here."""
    with tempfile.TemporaryDirectory(prefix="guiji-bench-") as name:
        folder = Path(name)
        _write_catalog(folder / "catalog")
        (folder / "dags").mkdir()
        (folder / "dags" / "one.py").write_text(_ONE_DAG, encoding="utf-8")
        env = {
            **os.environ,
            "AIRFLOW_HOME": str(folder / "airflow"),
            "AIRFLOW_CONFIG": str(ROOT / "airflow.cfg"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "sqlite://",
            "GUIJI_CATALOG": str(folder / "catalog"),
        }
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        for warmth in ("cold", "preloaded"):
            done = subprocess.run(  # noqa: S603  ourselves
                [sys.executable, "-m", "guiji.orchestration.parse_timing", warmth, str(folder), str(SAMPLES)],
                env=env,
                stdout=subprocess.PIPE,
                check=True,
            )
            times: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
            one, ours = statistics.median(times["one"]), statistics.median(times["ours"])
            yield Result(
                bench=f"task_start.{warmth}",
                value=round(ours - one, 1),
                unit="ms",
                against=f"one-DAG file ({one:.1f} ms), {RESOURCES} resources ({ours:.1f} ms)",
                ratio=round(ours / one, 2),
                bar=f"<= {BAR_MS:.0f} ms above",
                met=ours - one <= BAR_MS,
            )


def run() -> list[dict[str, object]]:
    """The rows as plain dicts."""
    from dataclasses import asdict

    return [asdict(row) for row in measure(Settings.from_env(), 0)]


def _write_catalog(catalog: Path) -> None:
    fields = "".join(f"  - {{name: f{i:02d}, title: 信息项{i}, sensitivity: 3}}\n" for i in range(15))
    for d in range(30):
        (catalog / f"d{d:02d}").mkdir(parents=True)
        (catalog / f"d{d:02d}" / "department.yml").write_text(_DEPARTMENT.format(n=d), encoding="utf-8")
    for n in range(RESOURCES):
        text = _RESOURCE.format(d=n % 30, n=n, fields=fields)
        (catalog / f"d{n % 30:02d}" / f"r{n:04d}.yml").write_text(text, encoding="utf-8")
