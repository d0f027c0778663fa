"""Bad input, and what it gets: a clear outcome, the old data still served, nothing lost, nothing doubled,
and no personal value in any message. Every test delivers something sound first and something bad after it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bad_input import (
    HEADER,
    Row,
    command_env,
    connection_json,
    files_source,
    ledger_text,
    run_command,
    serving,
    sound_rows,
    write_catalog,
    write_csv,
)

from guiji.errors import DeliveryRefused, NothingDelivered, SourceRefused, SourceUnavailable
from guiji.ledger import acquire_lease, release_run
from guiji.pipeline import check_resource, decide_held, publish_resource, run_resource, stage_resource
from guiji.settings import ROOT, Settings

GOOD = sound_rows(40)


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    folder = tmp_path / "exports"
    folder.mkdir()
    return folder


@pytest.fixture
def city(settings: Settings, exports: Path) -> Settings:
    """A city that already serves 40 sound rows."""
    city = write_catalog(settings, files_source(exports))
    write_csv(exports / "people_20261001.csv", GOOD)
    record = run_resource("ab.people", city)
    assert (record.status, record.rows_new) == ("published", 40)
    return city


def refuse(city: Settings, conn: Any, rule: str) -> str:
    """Runs and expects a refusal; returns the message after checking what must hold whatever was delivered."""
    with pytest.raises(DeliveryRefused) as caught:
        run_resource("ab.people", city)
    assert caught.value.rule_id == rule
    assert serving(conn) == set(GOOD)
    row = conn.execute("SELECT status, responsible, cause FROM ops.batch ORDER BY batch_no DESC LIMIT 1").fetchone()
    assert (row["status"], row["responsible"], row["cause"]) == ("refused", "department", rule)
    assert conn.execute("SELECT count(*) AS n FROM ops.outbox WHERE kind = 'refused'").fetchone()["n"] == 1
    _no_personal_value(str(caught.value), conn)
    return str(caught.value)


def _no_personal_value(message: str, conn: Any) -> None:
    text = message + ledger_text(conn)
    assert [r[0] for r in GOOD if r[0] in text] == []


def test_f16_unknown_column_refuses_the_delivery_by_name(city: Settings, exports: Path, conn: Any) -> None:
    write_csv(exports / "people_20261002.csv", [(*r, "x") for r in GOOD], (*HEADER, "备注"))
    assert "备注" in refuse(city, conn, "delivery.undeclared_column")


def test_f16_missing_column_refuses_the_delivery_by_name(city: Settings, exports: Path, conn: Any) -> None:
    write_csv(exports / "people_20261002.csv", [(r[0], r[1], r[3]) for r in GOOD], (HEADER[0], HEADER[1], HEADER[3]))
    assert "出生日期" in refuse(city, conn, "delivery.missing_column")


def test_f16_retyped_column_holds_the_batch(city: Settings, exports: Path, conn: Any) -> None:
    write_csv(exports / "people_20261002.csv", [(r[0], r[1], "腊月初八", r[3]) for r in GOOD])
    record = run_resource("ab.people", city)
    assert (record.status, record.rows_rejected, record.rows_new) == ("held", 40, 0)
    assert serving(conn) == set(GOOD)


@pytest.mark.parametrize("content", ["", ",".join(HEADER) + "\r\n"], ids=["nothing", "header only"])
def test_f11_empty_delivery_leaves_the_old_data(city: Settings, exports: Path, conn: Any, content: str) -> None:
    (exports / "people_20261002.csv").write_text(content)
    refuse(city, conn, "delivery.empty")


def test_f33_half_a_file_is_refused(city: Settings, exports: Path, conn: Any) -> None:
    whole = write_csv(exports / "people_20261002.csv", GOOD).read_bytes()
    (exports / "people_20261002.csv").write_bytes(whole[: len(whole) // 2 - 5])
    refuse(city, conn, "delivery.half_a_file")


def test_f37_wrong_encoding_is_refused(settings: Settings, exports: Path, conn: Any) -> None:
    city = write_catalog(settings, files_source(exports, encoding="utf-8"))
    write_csv(exports / "people_20261001.csv", GOOD)
    run_resource("ab.people", city)
    write_csv(exports / "people_20261002.csv", GOOD, encoding="gb18030")
    assert "utf-8" in refuse(city, conn, "delivery.encoding")


def test_f17_duplicate_keys_keep_the_newest_and_name_the_loser(city: Settings, exports: Path, conn: Any) -> None:
    older: Row = (GOOD[0][0], "旧名", GOOD[0][2], "2026-09-01 00:00:00")
    newer: Row = (GOOD[0][0], "新名", GOOD[0][2], "2026-10-02 00:00:00")
    write_csv(exports / "people_20261002.csv", [newer, *GOOD[1:], GOOD[5], older])
    record = run_resource("ab.people", city)
    assert (record.status, record.rows_read, record.rows_rejected, record.rows_duplicate, record.rows_changed) == (
        "published",
        42,
        1,
        1,
        1,
    )
    assert serving(conn) == {newer, *GOOD[1:]}
    assert [r["rule_id"] for r in conn.execute("SELECT rule_id FROM ops.finding WHERE verdict = 'rejected'")] == [
        "key.duplicate"
    ]


@pytest.mark.parametrize("blank", ["", "　", "  "], ids=["empty", "full-width space", "spaces"])
def test_f18_blank_keys_are_set_aside_and_delete_nothing(city: Settings, exports: Path, conn: Any, blank: str) -> None:
    write_csv(exports / "people_20261002.csv", [(blank, *GOOD[0][1:]), *GOOD[1:]])
    record = run_resource("ab.people", city)
    assert (record.rows_rejected, record.rows_unchanged, record.rows_deleted) == (1, 39, 0)
    assert serving(conn) == set(GOOD)


def test_f28_a_nul_byte_costs_one_row(city: Settings, exports: Path, conn: Any) -> None:
    new = sound_rows(1, start=100)[0]
    write_csv(exports / "people_20261002.csv", [*GOOD, (new[0], "有\x00人", new[2], new[3])])
    record = run_resource("ab.people", city)
    assert (record.rows_read, record.rows_rejected, record.rows_unchanged) == (41, 1, 40)
    assert serving(conn) == set(GOOD)


def test_f19_an_id_that_excel_rounded_publishes_no_row(settings: Settings, exports: Path, conn: Any) -> None:
    import xlsxwriter

    city = write_catalog(settings, files_source(exports, type="xlsx"))
    with xlsxwriter.Workbook(exports / "people_20261001.xlsx") as book:
        sheet = book.add_worksheet("人员")
        sheet.write_row(0, 0, HEADER)
        for i, row in enumerate(GOOD, start=1):
            sheet.write_row(i, 0, row)
        sheet.write_number(41, 0, float(sound_rows(1, start=100)[0][0]))
        sheet.write_row(41, 1, ("测试甲", "1990-01-01", "2026-10-01 08:00:00"))
    record = run_resource("ab.people", city)
    assert (record.rows_read, record.rows_rejected, record.rows_new) == (41, 1, 40)
    assert serving(conn) == set(GOOD)
    finding = conn.execute("SELECT rule_id, locator FROM ops.finding WHERE verdict = 'rejected'").fetchall()
    assert [(f["rule_id"], f["locator"]) for f in finding] == [
        ("structure.precision_lost", "people_20261001.xlsx#人员:42")
    ]


def test_unreachable_server_can_be_retried(settings: Settings, conn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FEP_AB", "postgres://reader:geheim-kennwort@127.0.0.1:1/fep")
    city = write_catalog(
        settings, {"source": {"kind": "database", "connection": "fep_ab", "schema": "public", "table": "people"}}
    )
    with pytest.raises(SourceUnavailable) as caught:
        run_resource("ab.people", city)
    assert caught.value.retryable
    row = conn.execute("SELECT status, responsible, cause FROM ops.batch").fetchone()
    assert (row["status"], row["responsible"], row["cause"]) == ("failed", "front_end", "source_unavailable")
    assert "geheim-kennwort" not in str(caught.value) + ledger_text(conn)


def test_wrong_password_is_not_retried(
    settings: Settings, conn: Any, fep_postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_FEP_AB",
        f"postgres://{fep_postgres.login}:falsch-kennwort@{fep_postgres.host}:{fep_postgres.port}/{fep_postgres.schema}",
    )
    city = write_catalog(
        settings, {"source": {"kind": "database", "connection": "fep_ab", "schema": "public", "table": "people"}}
    )
    with pytest.raises(SourceRefused) as caught:
        run_resource("ab.people", city)
    assert not caught.value.retryable
    assert "falsch-kennwort" not in str(caught.value) + ledger_text(conn)


@pytest.fixture
def sftp_city(settings: Settings, sftp_server: Any, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A city that already serves 40 sound rows from an SFTP server with a pinned host key."""
    monkeypatch.setenv("AIRFLOW_CONN_DROP", connection_json(sftp_server, "drop"))
    source = {
        "kind": "sftp",
        "connection": "drop",
        "directory": "/",
        "pattern": r"people_(?P<date>\d{8})\.csv",
        "complete": {"seconds": 0},
    }
    city = write_catalog(settings, {"source": source})
    write_csv(sftp_server.root / "people_20261001.csv", GOOD)
    assert run_resource("ab.people", city).rows_new == 40
    write_csv(sftp_server.root / "people_20261002.csv", [*GOOD, *sound_rows(3, start=200)])
    return city


def test_f69_a_changed_host_key_is_refused_and_nothing_is_read(
    sftp_city: Settings, sftp_server: Any, conn: Any
) -> None:
    sftp_server.change_host_key()
    said = run_command(sftp_city, "run", "ab.people", "--json")
    assert said.returncode == 5
    assert said.stderr.count("SHA256:") == 2
    assert "enroll-host-key drop" in said.stderr
    row = json.loads(said.stdout.splitlines()[-1])
    assert (row["status"], row["rows_read"], row["sha256"]) == ("failed", 0, None)
    assert serving(conn) == set(GOOD)
    event = conn.execute("SELECT kind FROM ops.outbox").fetchall()
    assert [e["kind"] for e in event] == ["refused_us"]


def test_sftp_wrong_password_and_unreachable_leave_the_old_data(
    sftp_city: Settings, sftp_server: Any, conn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for changes, code in (({"password": "falsch-kennwort"}, 5), ({"port": 1, "password": "geheim-kennwort"}, 3)):
        monkeypatch.setenv("AIRFLOW_CONN_DROP", connection_json(sftp_server, "drop", **changes))
        said = run_command(sftp_city, "run", "ab.people")
        assert said.returncode == code
        assert "kennwort" not in said.stderr + said.stdout + ledger_text(conn)
        assert serving(conn) == set(GOOD)
    monkeypatch.setenv("AIRFLOW_CONN_DROP", connection_json(sftp_server, "drop"))
    assert run_command(sftp_city, "run", "ab.people").returncode == 0
    assert len(serving(conn)) == 43


@pytest.mark.parametrize(
    "point", ["stage.before_manifest", "stage.done", "check.done", "publish.before_commit", "publish.after_commit"]
)
def test_f01_kill_9_at_any_step_loses_and_doubles_nothing(city: Settings, exports: Path, conn: Any, point: str) -> None:
    added = sound_rows(3, start=200)
    write_csv(exports / "people_20261002.csv", [*GOOD[1:], *added])
    killed = run_command(city, "run", "ab.people", GUIJI_FAILPOINT=point)
    assert killed.returncode == -signal.SIGKILL
    assert serving(conn) == ({*GOOD[1:], *added} if point == "publish.after_commit" else set(GOOD))
    again = run_command(city, "run", "ab.people", "--json")
    assert again.returncode == 0, again.stderr
    assert serving(conn) == {*GOOD[1:], *added}
    rows = conn.execute(
        "SELECT rows_new, rows_unchanged, rows_deleted FROM ops.batch WHERE status = 'published' ORDER BY batch_no"
    ).fetchall()
    assert [tuple(r.values()) for r in rows] == [(40, 0, 0), (3, 39, 1)]


def test_f51_two_runs_at_once_publish_once(city: Settings, exports: Path, conn: Any) -> None:
    added = sound_rows(3, start=200)
    write_csv(exports / "people_20261002.csv", [*GOOD, *added])
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "guiji", "run", "ab.people", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=command_env(city),
        )
        for _ in range(2)
    ]
    done = [p.communicate(timeout=120) for p in both]
    assert [p.returncode for p in both] == [0, 0], done
    assert serving(conn) == {*GOOD, *added}
    published = conn.execute("SELECT rows_new FROM ops.batch WHERE status = 'published' ORDER BY batch_no").fetchall()
    assert [r["rows_new"] for r in published] == [40, 3]
    assert {json.loads(out.splitlines()[-1])["status"] for out, _ in done} <= {"published", "superseded"}


def test_a_held_file_is_held_once_and_a_rejected_one_never_comes_back(city: Settings, exports: Path, conn: Any) -> None:
    write_csv(exports / "people_20261002.csv", GOOD[:10])
    held = run_resource("ab.people", city)
    tomorrow = city.at(city.now() + timedelta(days=1))
    assert (held.status, run_resource("ab.people", city).batch_id) == ("held", held.batch_id)
    with pytest.raises(NothingDelivered):
        run_resource("ab.people", tomorrow)
    decide_held(city, held.batch_id, approve=False, who="somebody", why="only one county")
    assert run_resource("ab.people", city).status == "refused"
    with pytest.raises(NothingDelivered):
        run_resource("ab.people", tomorrow)
    assert serving(conn) == set(GOOD)
    assert conn.execute("SELECT count(*) AS n FROM ops.batch WHERE rows_read = 10").fetchone()["n"] == 1


def test_the_same_file_run_twice_is_published_once(city: Settings, conn: Any) -> None:
    again = run_command(city, "run", "ab.people", "--json")
    assert again.returncode == 0, again.stderr
    assert serving(conn) == set(GOOD)
    assert conn.execute("SELECT sum(rows_new) AS n FROM ops.batch").fetchone()["n"] == 40


def test_f52_a_run_that_was_overtaken_between_check_and_publish_publishes_nothing(
    city: Settings, exports: Path, conn: Any
) -> None:
    write_csv(exports / "people_20261002.csv", [*GOOD, *sound_rows(3, start=200)])
    batch_id = stage_resource("ab.people", city, None, "slow")
    check_resource(city, "ab.people", batch_id)
    conn.execute("UPDATE ops.lease SET expires_at = now() WHERE resource_id = 'ab.people'")
    conn.commit()
    acquire_lease(conn, city, "ab.people", "quick")
    record = publish_resource(city, "ab.people", batch_id, run_key="slow")
    assert (record.status, record.rows_new) == ("superseded", 0)
    assert serving(conn) == set(GOOD)
    release_run(conn, "ab.people", "quick")
    assert run_resource("ab.people", city).rows_new == 3
    assert len(serving(conn)) == 43


def test_f36_a_row_that_arrives_late_does_not_undo_a_deletion(settings: Settings, exports: Path, conn: Any) -> None:
    """A delete marker has a time, also where its key never served: what is older stays away, what is newer returns."""
    body = files_source(exports) | {
        "load": "incremental",
        "tombstone": "person_name = '已注销'",
        "tolerance": {"deleted": 1},
    }
    city = write_catalog(settings, body)
    early, late, never = GOOD[0], GOOD[1], GOOD[2]

    def at(row: Row, moment: str, name: str | None = None) -> Row:
        return (row[0], name or row[1], row[2], moment)

    def deliver(day: int, *rows: Row) -> tuple[int, int, int, int]:
        write_csv(exports / f"people_202610{day:02d}.csv", list(rows))
        r = run_resource("ab.people", city)
        return r.rows_new, r.rows_changed, r.rows_superseded, r.rows_tombstone

    assert deliver(1, at(early, "2026-10-01 08:00:00"), at(late, "2026-10-01 08:00:00")) == (2, 0, 0, 0)
    gone = [at(row, "2026-10-05 08:00:00", "已注销") for row in (early, never)]
    assert deliver(5, *gone) == (0, 0, 0, 2)
    older = [at(row, "2026-10-03 08:00:00") for row in (early, late, never)]
    assert deliver(3, *older) == (0, 1, 2, 0)
    assert serving(conn) == {older[1]}
    assert deliver(6, at(early, "2026-10-06 08:00:00"), at(never, "2026-10-06 09:00:00")) == (2, 0, 0, 0)
    assert serving(conn) == {older[1], at(early, "2026-10-06 08:00:00"), at(never, "2026-10-06 09:00:00")}
    assert deliver(2, at(early, "2026-10-02 08:00:00", "已注销")) == (0, 0, 1, 0)
    assert len(serving(conn)) == 3
