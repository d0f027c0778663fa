"""Every command of the command line through a process of its own: exit codes, what is printed, what is left."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from bad_input import (
    GUIJI_NOW,
    HEADER,
    POPULATION,
    TO_POPULATION,
    FrontEnd,
    command_env,
    connection_json,
    files_source,
    run_command,
    serving,
    sound_rows,
    write_catalog,
    write_csv,
    write_library,
)

from guiji.records import BatchRecord
from guiji.settings import ROOT, Settings

GOOD = sound_rows(40)
#: the columns of ops.batch that acceptance may rely on (design §8)
CONTRACT = {
    "batch_id", "resource_id", "window_start", "window_end", "status", "outcome", "rows_read", "rows_rejected",
    "rows_held", "rows_duplicate", "rows_superseded", "rows_tombstone", "rows_new", "rows_changed", "rows_unchanged",
    "rows_deleted", "rows_skipped", "sha256", "started_at", "published_at", "reason",
}  # fmt: skip


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    folder = tmp_path / "exports"
    folder.mkdir()
    return folder


@pytest.fixture
def city(settings: Settings, exports: Path) -> Settings:
    """A catalog of one resource that feeds a library, and one delivery of 40 rows."""
    city = write_catalog(settings, {**files_source(exports), **TO_POPULATION})
    write_library(city, POPULATION)
    write_csv(exports / "people_20261001.csv", GOOD)
    return city


def guiji(city: Settings, *arguments: str, code: int = 0, stdin: str = "", **env: str) -> str:
    """Runs a command, demands its exit code and returns what it printed; whatever it says holds no citizen's number."""
    done = subprocess.run(
        [sys.executable, "-m", "guiji", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        cwd=ROOT,
        env=command_env(city, **{"GUIJI_NOW": GUIJI_NOW, **env}),
    )
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert [r[0] for r in GOOD if r[0] in said] == []
    return done.stdout if code == 0 else said


def last_row(said: str) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(said.splitlines()[-1])
    assert set(row) >= CONTRACT
    return row


def test_run_of_files_twice_prints_the_same_row(city: Settings, conn: Any) -> None:
    first = last_row(guiji(city, "run", "ab.people", "--json"))
    assert (first["status"], first["outcome"], first["rows_read"], first["rows_new"]) == ("published", "passed", 40, 40)
    again = last_row(guiji(city, "run", "ab.people", "--json"))
    assert again == first
    assert serving(conn) == set(GOOD)
    assert "40 rows read = 40 new" in guiji(city, "run", "ab.people")
    assert set(first) == {f.name for f in fields(BatchRecord)}


def test_run_of_a_table_twice_finds_everything_unchanged(
    settings: Settings, fep_postgres: Any, conn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FEP_AB", connection_json(fep_postgres, "fep_ab"))
    front_end = FrontEnd(fep_postgres)
    front_end.insert(GOOD)
    city = write_catalog(settings, {"source": front_end.source})
    first = last_row(guiji(city, "run", "ab.people", "--json"))
    second = last_row(guiji(city, "run", "ab.people", "--json"))
    assert (first["rows_new"], first["rows_unchanged"], first["batch_id"] != second["batch_id"]) == (40, 0, True)
    assert (second["rows_new"], second["rows_changed"], second["rows_unchanged"]) == (0, 0, 40)
    assert serving(conn) == set(GOOD)
    monkeypatch.setenv("AIRFLOW_CONN_FEP_AB", connection_json(fep_postgres, "fep_ab", port=1))
    assert last_row(guiji_split(city, 3))["status"] == "failed"
    monkeypatch.setenv("AIRFLOW_CONN_FEP_AB", connection_json(fep_postgres, "fep_ab", password="x"))
    assert last_row(guiji_split(city, 5))["status"] == "failed"
    monkeypatch.delenv("AIRFLOW_CONN_FEP_AB")
    assert "AIRFLOW_CONN_FEP_AB" in guiji(city, "run", "ab.people", code=2)
    front_end.close()


def guiji_split(city: Settings, code: int, *arguments: str) -> str:
    """Standard output alone of ``run ab.people --json`` that ends with ``code``."""
    done = run_command(city, "run", "ab.people", "--json", *arguments, GUIJI_NOW=GUIJI_NOW)
    assert done.returncode == code, done.stderr
    assert done.stderr.strip()
    return done.stdout


def test_run_with_a_window_reads_that_window(city: Settings, exports: Path) -> None:
    row = last_row(guiji(city, "run", "ab.people", "--window", "2026-10-01/2026-10-02", "--json"))
    assert (row["window_start"][:10], row["window_end"][:10], row["rows_new"]) == ("2026-10-01", "2026-10-02", 40)
    assert "nothing was delivered" in guiji(city, "run", "ab.people", "--window", "2026-09-01/2026-10-01", code=3)


@pytest.mark.parametrize("window", ["yesterday", "2026-10-02/2026-10-01", "2026-10-01", "2026-13-01/2026-14-01"])
def test_a_wrong_window_is_wrong_use(city: Settings, window: str) -> None:
    assert "START/END" in guiji(city, "run", "ab.people", "--window", window, code=2)


def test_an_unknown_resource_is_wrong_use_and_the_nearest_is_named(city: Settings) -> None:
    said = guiji(city, "run", "ab.poeple", code=2)
    assert "ab.people" in said
    assert "Traceback" not in said
    assert "ab.people" in guiji(city, "catalog", "show", "ab.peopel", code=2)


def test_wrong_use_is_exit_code_2(city: Settings) -> None:
    for arguments in (
        ("frobnicate",),
        ("run",),
        ("run", "ab.people", "--frob"),
        ("freshness", "--as-of", "31.10.2026"),
        ("report", "October"),
        ("report", "2026-13"),
        ("report", "2031-01"),
        ("resolve", "nowhere"),
        ("trace", "nowhere", "x"),
        ("hold", "approve", "0123456789abcdef"),
        ("hold", "show", "0123456789abcdef"),
        ("check", "ab.people", "/nowhere.csv"),
        ("doctor", "frobnicate"),
    ):
        said = guiji(city, *arguments, code=2)
        assert said.strip(), arguments
        assert "Traceback" not in said, arguments
    assert "GUIJI_NOW" in guiji(city, "freshness", code=2, GUIJI_NOW="tomorrow")


def test_a_refused_delivery_is_exit_code_1_and_its_row_is_printed(city: Settings, exports: Path, conn: Any) -> None:
    guiji(city, "run", "ab.people")
    write_csv(exports / "people_20261002.csv", [(*r, "x") for r in GOOD], (*HEADER, "备注"))
    row = last_row(guiji_split(city, 1))
    assert (row["status"], row["rows_new"]) == ("refused", 0)
    assert "备注" in row["reason"]
    assert serving(conn) == set(GOOD)


def test_a_held_batch_from_list_to_decision_with_its_audit(city: Settings, exports: Path, conn: Any) -> None:
    guiji(city, "run", "ab.people")
    assert "No batch is held" in guiji(city, "hold", "list")
    for name, rows in (("people_20261002.csv", GOOD[:10]), ("people_20261003.csv", GOOD[:12])):
        write_csv(exports / name, rows)
        row = last_row(guiji_split(city, 1))
        assert (row["status"], row["outcome"], row["rows_held"]) == ("held", "held", len(rows))
        batch_id = row["batch_id"]
        assert batch_id in guiji(city, "hold", "list")
        shown = guiji(city, "hold", "show", batch_id)
        assert "消失" in shown
        assert serving(conn) == set(GOOD)
        guiji(city, "hold", "approve", batch_id, "--why", "  ", code=2)
        if len(rows) == 10:
            assert "refused" in guiji(city, "hold", "reject", batch_id, "--why", "one county only")
            assert last_row(guiji_split(city, 1))["status"] == "refused"
            assert serving(conn) == set(GOOD)
        else:
            assert "published" in guiji(city, "hold", "approve", batch_id, "--why", "the list was cleaned")
            assert serving(conn) == set(GOOD[:12])
        guiji(city, "hold", "approve", batch_id, "--why", "again", code=2 if len(rows) == 10 else 0)
    audit = conn.execute(
        "SELECT action, detail FROM ops.audit WHERE action IN ('batch.rejected', 'batch.approved') ORDER BY audit_id"
    ).fetchall()
    assert [a["action"] for a in audit] == ["batch.rejected", "batch.approved"]
    assert [a["detail"]["why"] for a in audit] == ["one county only", "the list was cleaned"]
    assert [a["detail"]["former"]["rows_held"] for a in audit] == [10, 12]
    final = conn.execute("SELECT * FROM ops.batch WHERE batch_id = %s", (batch_id,)).fetchone()
    assert (final["rows_held"], final["rows_unchanged"], final["rows_deleted"]) == (0, 12, 28)


def test_resolve_and_trace_a_key_from_standard_input(city: Settings) -> None:
    guiji(city, "run", "ab.people")
    assert "40 new" in guiji(city, "resolve", "population")
    assert "0 keys resolved" in guiji(city, "resolve", "population")
    said = guiji(city, "trace", "population", "-", stdin=GOOD[3][0] + "\n")
    assert "测试局" in said
    assert GOOD[3][1] not in said
    assert GOOD[3][1] in reveal(city, GOOD[3][0])
    missing = guiji(city, "trace", "population", "-", stdin="150602199001010000\n", code=2)
    assert "150602199001010000" not in missing
    guiji(city, "trace", "population", "-", "--as-of", "2020-01-01", stdin=GOOD[3][0] + "\n", code=2)


def reveal(city: Settings, key: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "guiji", "trace", "population", "-", "--reveal"],
        input=key,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=command_env(city, GUIJI_NOW=GUIJI_NOW),
    )
    return done.stdout


def test_freshness_as_of_a_day(city: Settings, conn: Any) -> None:
    guiji(city, "run", "ab.people")
    said = guiji(city, "freshness", "--as-of", "2026-10-20")
    assert "ab.people" in said
    states = {
        (r["window_start"].isoformat()[:10], r["state"])
        for r in conn.execute("SELECT window_start, state FROM ops.delivery_window WHERE resource_id = 'ab.people'")
    }
    assert ("2026-10-20", "met") in states
    assert ("2026-10-19", "missed") in states
    assert guiji(city, "freshness", "--as-of", "2026-10-20") == said


def test_notices_without_a_mail_server_lose_nothing(city: Settings, exports: Path, conn: Any) -> None:
    guiji(city, "run", "ab.people")
    write_csv(exports / "people_20261002.csv", [("", *GOOD[0][1:]), *GOOD[1:]])
    guiji(city, "run", "ab.people")
    waiting = conn.execute("SELECT count(*) AS n FROM ops.outbox WHERE sent_at IS NULL").fetchone()["n"]
    assert waiting
    done = run_command(city, "notices", "send", GUIJI_NOW=GUIJI_NOW)
    assert "Traceback" not in done.stderr
    conn.rollback()
    assert conn.execute("SELECT count(*) AS n FROM ops.outbox WHERE sent_at IS NULL").fetchone()["n"] >= waiting


def test_the_report_of_a_month_twice_is_the_same_bytes(city: Settings, tmp_path: Path) -> None:
    guiji(city, "run", "ab.people")
    digests = []
    for name in ("one", "two"):
        said = guiji(city, "report", "2026-10", "--as-of", "2026-10-20", "--out", str(tmp_path / name))
        files = sorted((tmp_path / name).iterdir())
        assert [f.suffix for f in files] == [".html", ".xlsx"]
        assert all(str(f) in said for f in files)
        digests.append([hashlib.sha256(f.read_bytes()).hexdigest() for f in files])
    assert digests[0] == digests[1]


def test_check_tells_a_department_what_would_happen(city: Settings, tmp_path: Path, conn: Any) -> None:
    sound = write_csv(tmp_path / "people_20261019.csv", GOOD)
    assert "可以报送" in guiji(city, "check", "ab.people", str(sound))
    bad = write_csv(tmp_path / "people_20261018.csv", [("", *GOOD[0][1:]), *GOOD[1:]])
    said = guiji(city, "check", "ab.people", str(bad))
    assert "第2行" in said
    assert "不合格 1" in said
    broken = write_csv(tmp_path / "broken.csv", [(r[0], r[1], r[3]) for r in GOOD], (HEADER[0], HEADER[1], HEADER[3]))
    assert "出生日期" in guiji(city, "check", "ab.people", str(broken), code=1)
    empty = write_csv(tmp_path / "empty.csv", [])
    assert "不能接收" in guiji(city, "check", "ab.people", str(empty), code=1)
    held = write_csv(tmp_path / "held.csv", [(r[0], r[1], "腊月初八", r[3]) for r in GOOD])
    assert "暂停" in guiji(city, "check", "ab.people", str(held), code=1)
    assert conn.execute("SELECT count(*) AS n FROM ops.batch").fetchone()["n"] == 0


def test_catalog_check_list_show_schema(city: Settings) -> None:
    assert "no problem found" in guiji(city, "catalog", "check")
    assert json.loads(guiji(city, "catalog", "list", "--json")) == ["ab.people"]
    assert "测试人口" in guiji(city, "catalog", "list")
    assert "公民身份号码" in guiji(city, "catalog", "show", "ab.people")
    for kind in ("resource", "department", "library"):
        assert json.loads(guiji(city, "catalog", "schema", kind))["type"] == "object"
    guiji(city, "catalog", "schema", "frob", code=2)
    path = city.catalog / "ab" / "people.yml"
    path.write_text(path.read_text().replace("nullable: false", "nulable: false", 1))
    said = guiji(city, "catalog", "check", code=2)
    assert "people.yml:" in said
    assert "nullable" in said
    assert "people.yml:" in guiji(city, "run", "ab.people", code=2)


def test_the_shipped_catalog_has_no_problem(settings: Settings) -> None:
    assert "no problem found" in guiji(settings, "catalog", "check")


def test_doctor_looks_and_mends(city: Settings) -> None:
    done = run_command(city, "doctor", GUIJI_NOW=GUIJI_NOW)
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stdout + done.stderr
    assert "Python" in done.stdout
    lost = replace(city, warehouse="postgresql://u:geheim@127.0.0.1:1/x")
    done = run_command(lost, "doctor", GUIJI_NOW=GUIJI_NOW)
    assert done.returncode == 1
    assert "geheim" not in done.stdout + done.stderr


def test_help_starts_fast_and_names_every_command(city: Settings) -> None:
    said = guiji(city, "--help")
    promised = {
        "demo", "test", "up", "catalog", "run", "resolve", "check", "freshness", "notices", "report", "trace", "hold",
        "bench", "doctor",
    }  # fmt: skip
    assert {w for w in promised if f" {w} " not in said} == set()


def test_an_unreachable_warehouse_is_exit_code_3(city: Settings) -> None:
    said = guiji(replace(city, warehouse="postgresql://u:geheim@127.0.0.1:1/x"), "run", "ab.people", code=3)
    assert "geheim" not in said
