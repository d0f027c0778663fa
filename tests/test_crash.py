"""Killed at any point and run again, a resource ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from packages import compare, deliver, make_resource, serving, stage

from guiji import ledger
from guiji.library.publish import publish
from guiji.settings import Settings

HERE = Path(__file__).parent
SEEDS = 24

#: takes the lease, compares, stops itself, and publishes when it is woken
ZOMBIE = """
import os, signal, sys
from packages import compare, make_resource, stage
from guiji import ledger
from guiji.errors import LeaseLost
from guiji.library.publish import publish
from guiji.settings import Settings
from guiji.warehouse import connect
settings, resource = Settings.from_env(), make_resource()
with connect(settings) as conn:
    token = ledger.acquire_lease(conn, settings, resource.id, "zombie", seconds=0.2)
    package = stage(conn, settings, resource, [{"id_no": "1", "name": "zombie", "amount": None}], batch="zombie")
    difference = compare(conn, settings, resource, package)
    print("stopping", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        publish(conn, resource, settings, package.staged, package.checked, package.quality, difference, token)
        print("published", flush=True)
    except LeaseLost:
        print("lease lost", flush=True)
"""


def environment(settings: Settings) -> dict[str, str]:
    assert settings.warehouse
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("GUIJI_")},
        "GUIJI_HOME": str(settings.home),
        "GUIJI_WAREHOUSE": settings.warehouse,
        "PYTHONPATH": str(HERE),
    }


def test_f01_killed_at_every_failpoint_nothing_is_lost_or_doubled(settings: Settings) -> None:
    """Two dozen deliveries, each killed once, run again, and run a third time; a twin is never killed."""
    done = subprocess.run(
        [sys.executable, str(HERE / "crash_child.py"), str(SEEDS)],
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=600,
    )
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(reports) == SEEDS, done.stderr[-2000:]
    killed = [r["ends"][0] for r in reports]
    for report in reports:
        assert report["ends"][1:] == [0, 0, 0], (report["seed"], done.stderr[-2000:])
        assert report["crashed"] == report["whole"], f"seed {report['seed']} killed at {report['point']}"
        assert report["crashed"]["watermark"] == [[str(report["seed"])]]
    # a run with nothing to resolve never reaches the third failpoint; the others always die
    assert killed.count(-signal.SIGKILL) >= SEEDS * 0.9
    assert {r["point"] for r, k in zip(reports, killed, strict=True) if k == -signal.SIGKILL} == {
        "publish.before_commit",
        "publish.after_commit",
        "resolve.before_commit",
    }


def test_f52_a_stopped_worker_wakes_after_its_lease_and_publishes_nothing(conn: Any, settings: Settings) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", ZOMBIE], env=environment(settings), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "stopping\n"
    time.sleep(0.3)
    resource = make_resource()
    rows: list[dict[str, object]] = [{"id_no": "1", "name": "newer", "amount": None}]
    record = deliver(conn, settings, resource, rows, day=2, run="newer")
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate(timeout=60)
    assert (record.status, out) == ("published", "lease lost\n")
    assert serving(conn, resource, "name") == {("newer",)}


def test_f57_a_connection_that_dies_mid_publish_leaves_all_or_nothing(
    conn: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends our session at the last moment; the same call on a new connection publishes once."""
    from guiji.errors import WarehouseUnavailable
    from guiji.library import transact
    from guiji.warehouse import connect

    resource = make_resource()
    rows: list[dict[str, object]] = [{"id_no": "1", "name": "a", "amount": None}]
    token = ledger.acquire_lease(conn, settings, resource.id, "run")
    package = stage(conn, settings, resource, rows)
    difference = compare(conn, settings, resource, package)
    backend = conn.info.backend_pid

    def cut(_: Settings, name: str) -> None:
        with connect(settings, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (backend,))

    monkeypatch.setattr(transact, "failpoint", cut)
    with pytest.raises(WarehouseUnavailable, match="run the resource again"):
        publish(conn, resource, settings, package.staged, package.checked, package.quality, difference, token)
    monkeypatch.undo()
    with connect(settings) as again:
        record = publish(again, resource, settings, package.staged, package.checked, package.quality, difference, token)
        assert (record.status, record.rows_new) == ("published", 1)
        start = time.perf_counter()
        assert (
            publish(again, resource, settings, package.staged, package.checked, package.quality, difference, token)
            == record
        )
        assert time.perf_counter() - start < 0.5
