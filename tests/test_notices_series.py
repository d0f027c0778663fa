"""F-36: a day of a series that is missing is told to the department, a file that can't be archived to the centre."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from bad_input import GUIJI_NOW, serving, sound_rows, write_catalog, write_csv
from ledger_rows import Conn, Ledger, at, make_catalog, make_department, make_resource

from guiji.catalog import load_catalog
from guiji.demo.servers import MailServer
from guiji.demo.servers.mail import Mail
from guiji.notices import send_notices
from guiji.pipeline import run_resource
from guiji.settings import Settings

NOW = at("2026-10-20 10:00")
GAJ = make_department("gaj", "市公安局")
DAILY = make_resource(GAJ, "daily", "户籍变动", update_cycle="每日")
MONTHLY = make_resource(GAJ, "monthly", "户籍月报")
CITY = make_catalog([GAJ], [DAILY, MONTHLY])


@pytest.fixture
def mailing(settings: Settings, smtp_server: MailServer, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", smtp_server.to_json())
    return settings.at(NOW)


def text_of(mail: Mail) -> tuple[str, str, str]:
    plain, html = mail.message.get_body(("plain",)), mail.message.get_body(("html",))
    assert plain is not None
    assert html is not None
    return str(mail.message["subject"]), plain.get_content(), html.get_content()


def add_file(ledger: Ledger, resource_id: str, day: str, status: str = "published") -> str:
    batch_id = ledger.batch(resource_id, at("2026-10-20 09:00"), status=status, files=(f"p_{day}.csv",))
    ledger.conn.execute("UPDATE ops.file SET business_date = %s WHERE batch_id = %s", (day, batch_id))
    ledger.conn.commit()
    return batch_id


def add_gap(ledger: Ledger, resource_id: str, *missing: str) -> None:
    batch_id = add_file(ledger, resource_id, "2026-10-19")
    moment = at("2026-10-20 09:00")
    ledger.event(
        resource_id, "gap", moment, batch_id=batch_id, cause="missing_files", payload={"missing": list(missing)}
    )


def test_f36_a_department_reads_which_files_are_missing_and_what_to_do(
    conn: Conn, mailing: Settings, smtp_server: MailServer
) -> None:
    add_gap(Ledger(conn), "gaj.daily", "2026-10-16", "2026-10-17")
    send_notices(conn, mailing, CITY)
    (mail,) = smtp_server.messages
    subject, plain, html = text_of(mail)
    assert "【补交文件】市公安局：1 项数据资源的系列文件中间有缺" in subject
    for body in (plain, html):
        assert "缺少 2026-10-16、2026-10-17 的文件" in body
        assert "户籍变动" in body
        assert "请补交所缺日期的文件" in body


def test_f36_a_file_that_came_meanwhile_is_not_asked_for(
    conn: Conn, mailing: Settings, smtp_server: MailServer
) -> None:
    ledger = Ledger(conn)
    add_gap(ledger, "gaj.daily", "2026-10-16", "2026-10-17")
    add_gap(ledger, "gaj.daily", "2026-10-12")
    add_file(ledger, "gaj.daily", "2026-10-17", "held")
    add_file(ledger, "gaj.daily", "2026-10-12")
    send_notices(conn, mailing, CITY)
    (mail,) = smtp_server.messages
    assert "缺少 2026-10-16 的文件" in text_of(mail)[1]
    assert "2026-10-12" not in text_of(mail)[1]
    assert ledger.all("SELECT count(*) AS n FROM ops.outbox WHERE sent_at IS NULL AND dead_at IS NULL") == [{"n": 0}]


def test_f36_when_all_came_meanwhile_there_is_no_mail(conn: Conn, mailing: Settings, smtp_server: MailServer) -> None:
    ledger = Ledger(conn)
    add_gap(ledger, "gaj.monthly", "2026-09-01")
    add_file(ledger, "gaj.monthly", "2026-09-28")  # of the same month
    send_notices(conn, mailing, CITY)
    assert smtp_server.messages == []


def test_a_long_gap_is_told_shortly(conn: Conn, mailing: Settings, smtp_server: MailServer) -> None:
    add_gap(Ledger(conn), "gaj.daily", *(f"2026-10-{d:02d}" for d in range(1, 16)))
    send_notices(conn, mailing, CITY)
    assert "2026-10-10 等 15 期 的文件" in text_of(smtp_server.messages[0])[1]


def test_what_can_not_be_archived_is_the_centres_matter(conn: Conn, mailing: Settings, smtp_server: MailServer) -> None:
    ledger = Ledger(conn)
    troubles = ["文件 p_150602199001011237.csv 已入库，但未能移入归档目录，下次采集时再移"]
    ledger.event("gaj.daily", "not_archived", NOW, cause="not_archived", payload={"troubles": troubles})
    send_notices(conn, mailing, CITY)
    (mail,) = smtp_server.messages
    subject, plain, html = text_of(mail)
    assert "需要中心处理" in subject
    assert {r.split("@")[0] for r in mail.recipients}.isdisjoint({"gaj"})
    for body in (plain, html):
        assert "未能移入归档目录" in body
        assert "请检查归档目录是否存在" in body
        assert "150602199001011237" not in body


# --- from files to mails ----------------------------------------------------------------------------------


@pytest.fixture
def city(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, Path]:
    """A department that delivers a file a day into a folder that has an archive."""
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.setenv("GUIJI_NOW", GUIJI_NOW)
    source = {"kind": "files", "directory": str(folder), "pattern": r"p_(?P<date>\d{8})\.csv"}
    source |= {"complete": {"seconds": 0}, "archive": "done"}
    changes = {"source": source, "load": "incremental", "update_cycle": "每日"}
    return write_catalog(settings, changes).at(datetime.fromisoformat(GUIJI_NOW)), folder


def told(conn: Any) -> list[tuple[str, Any]]:
    conn.rollback()
    rows = conn.execute("SELECT kind, payload FROM ops.outbox ORDER BY event_id").fetchall()
    return [(r["kind"], r["payload"].get("missing") or r["payload"].get("troubles")) for r in rows]


def test_f36_a_series_that_comes_out_of_order_tells_each_gap_once(
    city: tuple[Settings, Path], conn: Any, smtp_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, folder = city
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", smtp_server.to_json())
    rows = sound_rows(4)
    for n, day in enumerate(("03", "01")):
        write_csv(folder / f"p_202610{day}.csv", rows[n : n + 1])
    run_resource("ab.people", settings)
    assert told(conn) == [("gap", ["2026-10-02"])]
    write_csv(folder / "p_20261004.csv", rows[2:3])
    run_resource("ab.people", settings)
    assert told(conn) == [("gap", ["2026-10-02"])]
    write_csv(folder / "p_20261002.csv", rows[3:4])
    run_resource("ab.people", settings)
    assert told(conn) == [("gap", ["2026-10-02"])]
    assert serving(conn) == set(rows)
    send_notices(conn, settings, load_catalog(settings.catalog))
    assert smtp_server.messages == []


def test_a_file_that_stays_is_told_once_a_day(city: tuple[Settings, Path], conn: Any) -> None:
    settings, folder = city
    (folder / "done").write_text("in the way")
    write_csv(folder / "p_20261001.csv", sound_rows(1))
    run_resource("ab.people", settings)
    stays = ["文件 p_20261001.csv 已入库，但未能移入归档目录，下次采集时再移"]
    assert told(conn) == [("not_archived", stays)]
    write_csv(folder / "p_20261002.csv", sound_rows(2)[1:])
    run_resource("ab.people", settings)
    assert told(conn) == [("not_archived", stays)]
