"""Bad input from a department's database, PostgreSQL and MariaDB for real: a clear outcome, the old data still served,
nothing lost, nothing doubled, no personal value in any message."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from bad_input import (
    FrontEnd,
    Row,
    connection_json,
    ledger_text,
    run_command,
    serving,
    sound_rows,
    write_catalog,
)

from guiji.errors import DeliveryRefused, GuijiError, SourceRefused, SourceUnavailable
from guiji.pipeline import run_resource
from guiji.settings import Settings

GOOD = sound_rows(40)


@pytest.fixture(params=["postgres", "mariadb"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    found = request.getfixturevalue("fep_postgres" if request.param == "postgres" else "mariadb_server")
    monkeypatch.setenv("AIRFLOW_CONN_FEP_AB", connection_json(found, "fep_ab"))
    return found


@pytest.fixture
def front_end(server: Any) -> Iterator[FrontEnd]:
    found = FrontEnd(server)
    found.insert(GOOD)
    yield found
    found.close()


@pytest.fixture
def city(settings: Settings, front_end: FrontEnd) -> Settings:
    """A city that already serves 40 sound rows."""
    city = write_catalog(settings, {"source": front_end.source})
    record = run_resource("ab.people", city)
    assert (record.status, record.rows_new) == ("published", 40)
    return city


def fail(city: Settings, conn: Any, kind: type[GuijiError], status: str, cause: str) -> str:
    """Runs and expects a failure; returns the message after checking what must hold whatever went wrong."""
    with pytest.raises(kind) as caught:
        run_resource("ab.people", city)
    assert serving(conn) == set(GOOD)
    row = conn.execute("SELECT batch_id, status, cause FROM ops.batch ORDER BY batch_no DESC LIMIT 1").fetchone()
    assert (row["status"], row["cause"]) == (status, cause)
    assert caught.value.context["record"].batch_id == row["batch_id"]  # type: ignore[attr-defined]
    text = str(caught.value) + ledger_text(conn)
    assert [r[0] for r in GOOD if r[0] in text] == []
    return str(caught.value)


def test_f16_an_unknown_column_refuses_the_delivery_by_name(city: Settings, front_end: FrontEnd, conn: Any) -> None:
    front_end.run("ALTER TABLE people ADD COLUMN remark varchar(10)")
    assert "remark" in fail(city, conn, DeliveryRefused, "refused", "delivery.undeclared_column")


def test_f16_a_missing_column_refuses_the_delivery_by_name(city: Settings, front_end: FrontEnd, conn: Any) -> None:
    front_end.run(f"ALTER TABLE people DROP COLUMN {front_end.names[2]}")
    assert "出生日期" in fail(city, conn, DeliveryRefused, "refused", "delivery.missing_column")


def test_f16_a_retyped_column_holds_the_batch(city: Settings, front_end: FrontEnd, conn: Any) -> None:
    birth = front_end.names[2]
    front_end.run(
        f"ALTER TABLE people DROP COLUMN {birth}",
        f"ALTER TABLE people ADD COLUMN {birth} varchar(20) DEFAULT '腊月初八'",
    )
    record = run_resource("ab.people", city)
    assert (record.status, record.rows_rejected, record.rows_held, record.rows_new) == ("held", 40, 0, 0)
    assert serving(conn) == set(GOOD)


def test_f11_an_empty_table_leaves_the_old_data(city: Settings, front_end: FrontEnd, conn: Any) -> None:
    front_end.replace_all([])
    fail(city, conn, DeliveryRefused, "refused", "delivery.empty")


def test_a_table_that_is_gone_refuses_the_delivery(city: Settings, front_end: FrontEnd, conn: Any) -> None:
    front_end.run("ALTER TABLE people RENAME TO people_old")
    fail(city, conn, DeliveryRefused, "refused", "delivery.missing_table")


def test_f12_half_a_table_is_held(city: Settings, front_end: FrontEnd, conn: Any) -> None:
    front_end.replace_all(list(GOOD[:20]))
    record = run_resource("ab.people", city)
    assert (record.status, record.rows_held, record.rows_deleted) == ("held", 20, 0)
    assert serving(conn) == set(GOOD)


def test_f17_of_duplicate_keys_the_newest_wins(city: Settings, front_end: FrontEnd, conn: Any) -> None:
    older: Row = (GOOD[0][0], "旧名", GOOD[0][2], "2026-09-01 00:00:00")
    newer: Row = (GOOD[0][0], "新名", GOOD[0][2], "2026-10-02 00:00:00")
    front_end.replace_all([newer, *GOOD[1:], GOOD[5], older])
    record = run_resource("ab.people", city)
    assert (
        record.rows_read,
        record.rows_rejected,
        record.rows_duplicate,
        record.rows_changed,
        record.rows_unchanged,
    ) == (
        42,
        1,
        1,
        1,
        39,
    )
    assert serving(conn) == {newer, *GOOD[1:]}


@pytest.mark.parametrize("blank", [None, "", "　"], ids=["null", "empty", "full-width space"])
def test_f18_blank_keys_are_set_aside_and_delete_nothing(
    city: Settings, front_end: FrontEnd, conn: Any, blank: str | None
) -> None:
    front_end.replace_all([(blank, *GOOD[0][1:]), *GOOD[1:]])
    record = run_resource("ab.people", city)
    assert (record.rows_rejected, record.rows_unchanged, record.rows_deleted) == (1, 39, 0)
    assert serving(conn) == set(GOOD)


@pytest.mark.parametrize("server", ["mariadb"], indirect=True)
def test_f28_a_nul_byte_costs_one_row(city: Settings, front_end: FrontEnd, conn: Any) -> None:
    new = sound_rows(1, start=100)[0]
    front_end.insert([(new[0], "有\x00人", new[2], new[3])])
    record = run_resource("ab.people", city)
    assert (record.rows_read, record.rows_rejected, record.rows_unchanged) == (41, 1, 40)
    assert serving(conn) == set(GOOD)


def test_an_unreachable_server_leaves_the_old_data(
    city: Settings, server: Any, conn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FEP_AB", connection_json(server, "fep_ab", port=1, password="geheim-kennwort"))
    said = fail(city, conn, SourceUnavailable, "failed", "source_unavailable")
    assert "geheim-kennwort" not in said + ledger_text(conn)


def test_a_wrong_password_leaves_the_old_data(
    city: Settings, server: Any, conn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FEP_AB", connection_json(server, "fep_ab", password="falsch-kennwort"))
    said = fail(city, conn, SourceRefused, "failed", "source_refused")
    assert "falsch-kennwort" not in said + ledger_text(conn)


@pytest.mark.parametrize(
    "point", ["stage.before_manifest", "stage.done", "check.done", "publish.before_commit", "publish.after_commit"]
)
@pytest.mark.parametrize("server", ["postgres"], indirect=True)
def test_f01_kill_9_at_any_step_loses_and_doubles_nothing(
    city: Settings, front_end: FrontEnd, conn: Any, point: str
) -> None:
    added = sound_rows(3, start=200)
    front_end.replace_all([*GOOD[1:], *added])
    killed = run_command(city, "run", "ab.people", GUIJI_FAILPOINT=point)
    assert killed.returncode == -signal.SIGKILL
    assert serving(conn) == ({*GOOD[1:], *added} if point == "publish.after_commit" else set(GOOD))
    again = run_command(city, "run", "ab.people", "--json")
    assert again.returncode == 0, again.stderr
    assert serving(conn) == {*GOOD[1:], *added}
    totals = conn.execute(
        "SELECT sum(rows_new) AS new, sum(rows_deleted) AS gone, sum(rows_changed) AS changed FROM ops.batch"
        " WHERE status = 'published'"
    ).fetchone()
    assert tuple(totals.values()) == (43, 1, 0)
