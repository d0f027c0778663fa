"""One Airflow process: ``python -m guiji.orchestration.component NAME [ARG …]``, as the launcher starts it.

It does what ``airflow NAME ARG …`` does, with two differences that spare seconds at each start of a task or parse:

- It imports first what its forks will need. Each task and each DAG file runs in a fork of such a process; what the
  parent has imported costs them nothing (Great Expectations alone costs six CPU-seconds). Nothing that is imported
  starts a thread, which a fork would lose; ``environment`` keeps OpenBLAS from it.
- It imports while the launcher still prepares the database, and goes on when its standard input ends.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys

_PRELOAD = {
    "scheduler": (
        "airflow.jobs.scheduler_job_runner",
        "airflow.sdk.execution_time.task_runner",
        "airflow.providers.standard.operators.hitl",
        "guiji.orchestration.build",
        "guiji.orchestration.standing",
        "guiji.orchestration.review",
        "guiji.pipeline",
        "guiji.quality",
        "pyarrow.parquet",
        "duckdb",
        "psycopg",
        "great_expectations",
    ),
    "dag-processor": (
        "airflow.jobs.dag_processor_job_runner",
        "airflow.providers.standard.operators.hitl",
        "guiji.orchestration.build",
        "guiji.orchestration.standing",
        "guiji.orchestration.review",
    ),
    "api-server": ("airflow.api_fastapi.app", "uvicorn"),
}


def main(arguments: list[str]) -> None:
    """Imports, waits, and becomes the Airflow component."""
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    for module in _PRELOAD[arguments[0]]:
        with contextlib.suppress(ImportError):  # whoever needs it says so himself
            importlib.import_module(module)
    sys.stdin.read()
    sys.argv = ["airflow", *arguments]
    from airflow.__main__ import main as airflow

    airflow()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main(sys.argv[1:])
