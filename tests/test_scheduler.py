"""The real scheduler takes a resource the whole way: published, held, approved by a person, backfilled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from small_catalog import MAPPING, write_department, write_library, write_resource

from guiji.orchestration.launch import Running, serve
from guiji.settings import TIME_ZONE, Settings
from guiji.warehouse import connect

SOURCE = "{{kind: files, directory: {folder}, pattern: 'people_(?P<date>[0-9]{{8}})\\.csv', format: {{type: csv}}}}"
PATIENCE = 180.0
#: seconds a person takes to read the question; an answer within the second in which the task begins to wait meets a race
#: of Airflow 3.3.2 (the executor's report comes after the resumption) and is asked for once more
READING = 6.0


def make_citizen_id(number: int) -> str:
    body = f"150602{19600101 + number // 900:08d}{number % 900 + 1:03d}"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return body + "10X98765432"[sum(int(c) * w for c, w in zip(body, weights, strict=True)) % 11]


def write_people(folder: Path, day: str, people: int) -> None:
    lines = ["身份证号,姓名", *(f"{make_citizen_id(n)},张{n}" for n in range(people))]
    (folder / f"people_{day}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


class Api:
    """Airflow's public API, as the person who may do everything."""

    def __init__(self, running: Running) -> None:
        answer = httpx.post(f"{running.url}/auth/token", json={"username": running.user, "password": running.password})
        self.client = httpx.Client(
            base_url=f"{running.url}/api/v2",
            headers={"Authorization": f"Bearer {answer.json()['access_token']}"},
            timeout=30,
        )

    def get(self, path: str) -> Any:
        return self.client.get(path).raise_for_status().json()

    def send(self, method: str, path: str, body: dict[str, Any]) -> Any:
        return self.client.request(method, path, json=body).raise_for_status().json()

    def runs(self, dag_id: str) -> dict[str, str]:
        answer = self.client.get(f"/dags/{dag_id}/dagRuns")
        return {r["dag_run_id"]: r["state"] for r in answer.json().get("dag_runs", [])}


def wait_for(what: Callable[[], Any], running: Running) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        running.check()
        if found := what():
            return found
        time.sleep(0.5)
    raise AssertionError(f"not within {PATIENCE} seconds; logs in {running.logs}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    delivered = tmp_path / "delivered"
    delivered.mkdir()
    return delivered


@pytest.fixture
def running(settings: Settings, folder: Path, tmp_path: Path) -> Iterator[tuple[Running, Settings]]:
    from dataclasses import replace

    catalog = tmp_path / "catalog"
    write_department(catalog, "gaj", "公安局")
    write_library(catalog)
    write_resource(
        catalog,
        "gaj.people",
        cycle="每月",
        source=SOURCE.format(folder=folder),
        more=MAPPING + "delivery: {due_days: 10}\n",
    )
    here = replace(settings, catalog=catalog)
    write_people(folder, f"{here.today():%Y%m%d}", 100)
    with serve(here) as airflow:
        yield airflow, here


def ask(settings: Settings, query: str, *values: Any) -> list[dict[str, Any]]:
    with connect(settings, autocommit=True) as conn:
        return conn.execute(query, values).fetchall()  # type: ignore[arg-type]


@pytest.mark.timeout(900)
def test_the_scheduler_takes_a_resource_the_whole_way(running: tuple[Running, Settings], folder: Path) -> None:
    airflow, settings = running
    api = Api(airflow)

    # the first look comes by itself, the asset wakes the library
    wait_for(lambda: "success" in api.runs("gaj.people").values(), airflow)
    first = ask(settings, "SELECT status, rows_read, rows_new FROM ops.batch")
    assert first == [{"status": "published", "rows_read": 100, "rows_new": 100}]
    wait_for(
        lambda: [
            s for i, s in api.runs("library.population").items() if i.startswith("asset_triggered") and s == "success"
        ],
        airflow,
    )
    assert ask(settings, "SELECT count(*) AS n FROM library.person") == [{"n": 100}]

    # a delivery that has shrunk to a tenth is held: red in Airflow, and a person is asked
    write_people(folder, f"{settings.today():%Y%m%d}", 10)
    api.send("POST", "/dags/gaj.people/dagRuns", {"logical_date": None, "dag_run_id": "shrunk"})
    assert wait_for(lambda: (s := api.runs("gaj.people")["shrunk"]) in ("success", "failed") and s, airflow) == "failed"
    held = ask(settings, "SELECT batch_id FROM ops.batch WHERE status = 'held'")[0]["batch_id"]
    assert ask(settings, "SELECT count(*) AS n FROM source.gaj__people WHERE _deleted_at IS NULL") == [{"n": 100}]
    question = f"/dags/hold.review/dagRuns/held__{held}/taskInstances/decide/-1/hitlDetails"
    details = wait_for(lambda: (r := api.client.get(question)).status_code == 200 and r.json(), airflow)
    assert "户籍人口" in details["body"]
    assert details["options"][:2] == ["批准发布", "驳回批次"]

    # a decision without a reason is asked for again, one with a reason is carried out in the person's name
    time.sleep(READING)
    api.send("PATCH", question, {"chosen_options": ["批准发布"], "params_input": {"why": ""}})
    wait_for(lambda: not api.get(question)["response_received"], airflow)
    assert ask(settings, "SELECT status FROM ops.batch WHERE batch_id = %s", held) == [{"status": "held"}]
    time.sleep(READING)
    api.send("PATCH", question, {"chosen_options": ["批准发布"], "params_input": {"why": "部门确认已迁出"}})
    wait_for(lambda: api.runs("hold.review")[f"held__{held}"] == "success", airflow)
    after = ask(settings, "SELECT status, rows_unchanged, rows_deleted FROM ops.batch WHERE batch_id = %s", held)
    assert after == [{"status": "published", "rows_unchanged": 10, "rows_deleted": 90}]
    audit = ask(settings, "SELECT actor, detail::text FROM ops.audit WHERE object = %s ORDER BY audit_id", held)
    assert ("admin", True) in [(a["actor"], "部门确认已迁出" in a["detail"]) for a in audit]

    # a backfill reads again just the window of its date
    day = datetime(2026, 3, 20, tzinfo=TIME_ZONE)
    write_people(folder, f"{day:%Y%m%d}", 100)
    api.send(
        "POST",
        "/backfills",
        {
            "dag_id": "gaj.people",
            "from_date": f"{day:%Y-%m-%dT00:00:00%z}",
            "to_date": f"{day:%Y-%m-%dT23:59:59%z}",
        },
    )
    wait_for(
        lambda: [
            s for i, s in api.runs("gaj.people").items() if i.startswith("backfill") and s in ("success", "failed")
        ],
        airflow,
    )
    windows = ask(
        settings,
        "SELECT window_start, status FROM ops.batch WHERE window_start < %s",
        datetime(2026, 4, 1, tzinfo=TIME_ZONE),
    )
    assert [w["window_start"] for w in windows] == [datetime(2026, 3, 1, tzinfo=TIME_ZONE)]

    # F-67: no id of a person in any log of Airflow's
    canaries = {make_citizen_id(n) for n in range(100)}
    told = [
        str(log)
        for log in airflow.logs.rglob("*.log")
        if any(c in log.read_text(encoding="utf-8", errors="replace") for c in canaries)
    ]
    assert told == []
