"""How long a fresh worker takes to find one DAG, for ``guiji bench task_start``; run as a process of its own.

Arguments: ``cold`` or ``preloaded``, the folder with the bench's DAG, how many samples. Prints one JSON object.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path

from guiji.settings import ROOT


def _sample(file: Path, dag_id: str) -> float:
    """Milliseconds that a fresh fork takes to find ``dag_id`` in ``file``, as Airflow's task runner looks for it."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            from airflow.dag_processing.dagbag import BundleDagBag

            os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"] = dag_id
            os.environ["_AIRFLOW_PARSING_CONTEXT_TASK_ID"] = "check"
            begun = time.perf_counter()
            bag = BundleDagBag(
                dag_folder=str(file), safe_mode=False, load_op_links=False, bundle_path=file.parent, bundle_name="dags"
            )
            took = (time.perf_counter() - begun) * 1000
            found = list(bag.dags[dag_id].task_dict) == ["stage", "check", "publish"]
            os.write(write, str(took if found else "nan").encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    if not text or text == "nan":
        raise RuntimeError(f"{dag_id} was not found in {file}")
    return float(text)


def _work(warmth: str, folder: Path, samples: int) -> dict[str, list[float]]:
    import airflow.dag_processing.dagbag
    import airflow.sdk.execution_time.task_runner  # noqa: F401

    logging.disable(logging.INFO)
    if warmth == "preloaded":
        import guiji.orchestration.build  # noqa: F401
    cases = {
        "one": (folder / "dags" / "one.py", "one"),
        "ours": (ROOT / "dags" / "resources_07.py", f"d{1234 % 30:02d}.r1234"),
    }
    for case in cases.values():
        _sample(*case)  # once for bytecode and disk
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(samples):
        for name, case in cases.items():
            times[name].append(_sample(*case))
    return times


if __name__ == "__main__":
    print(json.dumps(_work(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
