"""A published file is moved to its server's archive: after the publish, by the next run where this one was killed."""

from __future__ import annotations

import signal
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from bad_input import GUIJI_NOW, connection_json, run_command, serving, sound_rows, write_catalog, write_csv
from dropping import serve

from guiji.errors import DeliveryRefused
from guiji.pipeline import run_resource
from guiji.settings import Settings

ROWS = sound_rows(4)


@pytest.fixture
def city(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A department whose SFTP files are archived; (settings, its folder)."""
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.setenv("GUIJI_NOW", GUIJI_NOW)
    source: dict[str, Any] = {
        "kind": "sftp",
        "connection": "drop",
        "directory": "/",
        "pattern": r"people_(?P<date>\d{8})\.csv",
    }
    source |= {"complete": {"seconds": 0}, "archive": "done"}
    with serve("sftp", folder) as server:
        monkeypatch.setenv("AIRFLOW_CONN_DROP", connection_json(server, "drop"))
        now = datetime.fromisoformat(GUIJI_NOW)
        yield write_catalog(settings, {"source": source, "load": "incremental"}).at(now), folder


def lying(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*.csv")}


def published(conn: Any) -> int:
    conn.rollback()
    (row,) = conn.execute("SELECT count(*) AS n FROM ops.batch WHERE status = 'published'").fetchall()
    return int(row["n"])


@pytest.mark.parametrize("point", ["publish.before_commit", "publish.after_commit"])
def test_f01_a_file_is_archived_after_its_publish_whenever_the_run_is_killed(
    city: tuple[Settings, Path], conn: Any, point: str
) -> None:
    settings, folder = city
    write_csv(folder / "people_20261001.csv", ROWS[:2])
    killed = run_command(settings, "run", "ab.people", GUIJI_FAILPOINT=point)
    assert killed.returncode == -signal.SIGKILL
    assert (lying(folder), published(conn)) == ({"people_20261001.csv"}, int(point == "publish.after_commit"))
    record = run_resource("ab.people", settings)
    assert (record.status, record.rows_new, published(conn)) == ("published", 2, 1)
    assert lying(folder) == {"done/people_20261001.csv"}
    write_csv(folder / "people_20261002.csv", ROWS[2:])
    assert run_resource("ab.people", settings).rows_new == 2
    assert lying(folder) == {"done/people_20261001.csv", "done/people_20261002.csv"}
    assert serving(conn) == set(ROWS)


def test_a_refused_file_stays_and_a_failed_move_is_noted(city: tuple[Settings, Path], conn: Any) -> None:
    settings, folder = city
    write_csv(folder / "people_20261001.csv", ROWS[:1], header=("x", "y", "z", "w"))
    with pytest.raises(DeliveryRefused):
        run_resource("ab.people", settings)
    assert (lying(folder), published(conn)) == ({"people_20261001.csv"}, 0)
    (folder / "done").write_text("in the way")
    write_csv(folder / "people_20261001.csv", ROWS)
    record = run_resource("ab.people", settings)
    assert (record.status, lying(folder)) == ("published", {"people_20261001.csv"})
    conn.rollback()
    (row,) = conn.execute("SELECT notes FROM ops.batch WHERE batch_id = %s", (record.batch_id,)).fetchall()
    assert row["notes"] == ["文件 people_20261001.csv 已入库，但未能移入归档目录，下次采集时再移"]


def test_doctor_probes_every_source_when_asked(city: tuple[Settings, Path]) -> None:
    settings, _ = city
    assert "source of" not in run_command(settings, "doctor").stdout
    assert "source of ab.people answers" in run_command(settings, "doctor", "--probe").stdout
