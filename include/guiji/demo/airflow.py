"""What the demo asks of Airflow's public REST interface."""

from __future__ import annotations

import time
from collections.abc import Sequence

from guiji.errors import GuijiError


class AirflowClient:
    """Logged in to one Airflow by user and password."""

    def __init__(self, url: str, user: str, password: str) -> None:
        import httpx

        answer = httpx.post(f"{url}/auth/token", json={"username": user, "password": password}, timeout=30)
        answer.raise_for_status()
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        self._http = httpx.Client(base_url=f"{url}/api/v2", headers=headers, timeout=60)

    def list_dags(self, prefix: str = "") -> list[str]:
        """Ids of the DAGs that Airflow has parsed, in order."""
        found: list[str] = []
        while True:
            answer = self._http.get("/dags", params={"limit": 100, "offset": len(found), "order_by": "dag_id"})
            answer.raise_for_status()
            page = [d["dag_id"] for d in answer.json()["dags"]]
            found += page
            if not page or len(found) >= answer.json()["total_entries"]:
                return [d for d in found if d.startswith(prefix)]

    def wait_for_dags(self, wanted: Sequence[str], seconds: float = 120) -> None:
        """Waits until Airflow has parsed the DAGs."""
        deadline = time.monotonic() + seconds
        while missing := set(wanted) - set(self.list_dags()):
            if time.monotonic() > deadline:
                raise GuijiError(f"Airflow has not parsed {sorted(missing)} in {seconds:.0f} s; its logs say why.")
            time.sleep(0.5)

    def find_run(self, dag_id: str) -> str | None:
        """The id of the DAG's latest run, None where it has none yet."""
        answer = self._http.get(f"/dags/{dag_id}/dagRuns", params={"limit": 1, "order_by": "-run_after"})
        answer.raise_for_status()
        runs = answer.json()["dag_runs"]
        return str(runs[0]["dag_run_id"]) if runs else None

    def await_runs(self, wanted: Sequence[str], seconds: float = 20) -> dict[str, str]:
        """The run that the scheduler started for each DAG; one of our own for those that it started none for."""
        deadline = time.monotonic() + seconds
        runs: dict[str, str] = {}
        while len(runs) < len(wanted) and time.monotonic() < deadline:
            for dag_id in wanted:
                if dag_id not in runs and (run_id := self.find_run(dag_id)) is not None:
                    runs[dag_id] = run_id
            time.sleep(0.5)
        return {dag_id: runs.get(dag_id) or self.trigger(dag_id) for dag_id in wanted}

    def trigger(self, dag_id: str) -> str:
        """Starts a run; returns its id."""
        answer = self._http.post(f"/dags/{dag_id}/dagRuns", json={"logical_date": None})
        answer.raise_for_status()
        return str(answer.json()["dag_run_id"])

    def state(self, dag_id: str, run_id: str) -> str:
        answer = self._http.get(f"/dags/{dag_id}/dagRuns/{run_id}")
        answer.raise_for_status()
        return str(answer.json()["state"])
