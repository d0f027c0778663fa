"""Notices: a department hears once, clearly, and nothing is lost whatever the mail server does."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from ledger_rows import Conn, Ledger, at, make_catalog, make_department, make_resource, rule

from guiji import notices, warehouse
from guiji.causes import say_cause
from guiji.city import City
from guiji.demo.servers import MailServer
from guiji.demo.servers.mail import Mail
from guiji.errors import UsageError
from guiji.notices import SendRecord, outbox, send_notices
from guiji.notices.fix_sheet import name_sheets
from guiji.notices.items import say_rule
from guiji.notices.mail import clean_header, is_email
from guiji.notices.reminders import find_stage
from guiji.notices.words import say_share, say_window
from guiji.settings import Settings

NOW = at("2026-10-20 10:00")
CANARY = "150602199001011237"  # a citizen's number that must never leave the house
GAJ = make_department("gaj", "市公安局")
WJW = make_department("wjw", "市卫生健康委员会")
MUTE = make_department("mzj", "市民政局", email=None)
PERSON = make_resource(GAJ, "household", "户籍人口基本信息")
RECORDS = make_resource(WJW, "records", "居民健康档案")
MARRIAGE = make_resource(MUTE, "marriage", "婚姻登记信息")
CITY = make_catalog([GAJ, WJW, MUTE], [PERSON, RECORDS, MARRIAGE])


@pytest.fixture
def ledger(conn: Conn) -> Ledger:
    return Ledger(conn)


@pytest.fixture
def mailing(settings: Settings, smtp_server: MailServer, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings at NOW whose ``smtp_default`` is the test's mail server."""
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", smtp_server.to_json())
    return settings.at(NOW)


def later(settings: Settings, minutes: int) -> Settings:
    return settings.at(settings.now() + timedelta(minutes=minutes))


def bodies(mail: Mail) -> tuple[str, str]:
    text = mail.message.get_body(("plain",))
    html = mail.message.get_body(("html",))
    assert text is not None
    assert html is not None
    return text.get_content(), html.get_content()


def sheets_of(mail: Mail) -> openpyxl.Workbook:
    (attachment,) = mail.message.iter_attachments()
    return openpyxl.load_workbook(BytesIO(attachment.get_payload(decode=True)))  # type: ignore[arg-type]


def add_failed_rows(ledger: Ledger, resource_id: str = "gaj.household", rows: int = 7) -> str:
    """A published batch of 1,000 rows of which ``rows`` failed the check digit, with findings, ticket and event."""
    batch_id = ledger.batch(
        resource_id,
        at("2026-10-20 09:00"),
        window=(at("2026-09-01"), at("2026-10-01")),
        files=("/in/hj_20261001.csv",),
        new=1000 - rows,
        rejected=rows,
        rules=[
            rule("id_no.citizen_id", "公民身份号码应符合校验规则", rows=1000, failed=rows),
            rule("name.required", "姓名应填写", rows=1000, failed=0, indicator="0201"),
        ],
    )
    for n in range(rows):
        ledger.finding(batch_id, f"/in/hj_20261001.csv:{n + 2}", "id_no.citizen_id", "1506************37", row_no=n + 1)
    ledger.ticket(
        resource_id,
        "id_no.citizen_id",
        at("2026-10-20 09:00"),
        at("2026-10-27 18:00"),
        batch_id=batch_id,
        rows=rows,
    )
    ledger.event(resource_id, "failed_rows", at("2026-10-20 09:00"), batch_id=batch_id, cause="rules")
    return batch_id


def test_a_department_reads_what_failed_by_which_rule_where_and_until_when(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer
) -> None:
    batch_id = add_failed_rows(ledger)

    record = send_notices(conn, mailing, CITY)

    assert record == SendRecord(1, 0, 0, {"市公安局": outbox.DepartmentMails(sent=1, events=1)})
    (mail,) = smtp_server.messages
    assert mail.recipients == ("gaj@ordos.example.cn",)
    assert (
        mail.message["Subject"] == "【整改通知】市公安局：1 项数据资源需要处理，请于2026年10月27日（周二）18:00前办结"
    )
    assert mail.message.get_content_type() == "multipart/mixed"
    for body in bodies(mail):
        for fact in (
            "李四",
            "户籍人口基本信息",
            PERSON.model.code,
            "2026年9月",
            "/in/hj_20261001.csv",
            "公民身份号码应符合校验规则",
            "GB 11643-1999",
            "1,000",
            "0.70%",
            "/in/hj_20261001.csv:2",
            "/in/hj_20261001.csv:6",
            "1506************37",
            "请核对原始档案后更正",
            "2026年10月27日（周二）18:00",
            "原版本继续使用",
            "鄂尔多斯市大数据中心",
            batch_id,
        ):
            assert fact in body, fact
        assert "/in/hj_20261001.csv:7" not in body  # five samples, the rest is in the workbook
        assert "姓名应填写" not in body  # a rule that nothing failed is no news
    html = bodies(mail)[1]
    for outside in ("<script", "src=", "<link", "@import", "url("):
        assert outside not in html


def test_the_fix_sheet_lists_every_row_with_room_for_the_answer(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer
) -> None:
    add_failed_rows(ledger)
    send_notices(conn, mailing, CITY)

    book = sheets_of(smtp_server.messages[0])
    assert book.sheetnames == ["户籍人口基本信息"]
    page = book["户籍人口基本信息"]
    rows = [[c.value for c in r] for r in page.iter_rows(min_row=3)]
    assert rows[0][:5] == ["序号", "位置（文件:行 / 表:行）", "信息项", "原值（已脱敏）", "校验规则"]
    assert [r[1] for r in rows[1:]] == [f"/in/hj_20261001.csv:{n}" for n in range(2, 9)]
    assert rows[1][2:8] == [
        "公民身份号码",
        "1506************37",
        "公民身份号码应符合校验规则",
        "GB 11643-1999",
        "不采用",
        "请核对原始档案后更正",
    ]
    assert rows[1][8] is None
    assert page.freeze_panes == "C4"
    assert page.auto_filter.ref == "A3:K10"


def test_one_mail_per_department_however_many_resources(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer
) -> None:
    second = make_resource(GAJ, "permit", "居住证信息")
    catalog = make_catalog([GAJ, WJW], [PERSON, second, RECORDS])
    add_failed_rows(ledger)
    add_failed_rows(ledger, "gaj.permit")
    add_failed_rows(ledger, "wjw.records")

    assert send_notices(conn, mailing, catalog).sent == 2
    assert sorted(m.recipients for m in smtp_server.messages) == [("gaj@ordos.example.cn",), ("wjw@ordos.example.cn",)]
    gaj = next(m for m in smtp_server.messages if m.recipients == ("gaj@ordos.example.cn",))
    assert sheets_of(gaj).sheetnames == ["居住证信息", "户籍人口基本信息"]
    assert send_notices(conn, later(mailing, 5), catalog) == SendRecord()  # nothing is said twice


def test_f66_300_resources_of_one_front_end_are_one_mail_that_says_so(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer
) -> None:
    resources = [make_resource(GAJ, f"r{n:03d}", f"资源{n:03d}") for n in range(300)]
    catalog = make_catalog([GAJ], resources)
    for r in resources:
        ledger.event(r.id, "unavailable", NOW, cause="source_unavailable:fep_gaj", payload={"responsible": "front_end"})

    assert send_notices(conn, mailing, catalog).sent == 1
    (mail,) = smtp_server.messages
    text, html = bodies(mail)
    assert mail.message["Subject"] == "【连接异常】市公安局：300 项数据资源的前置机或接口无法访问"
    assert text.count("资源") > 300
    assert html.count("前置机或接口无法连接") == 1  # one block, not 300
    assert "问题出在连接环节，与数据内容无关" in text


def test_f66_a_recipient_gets_no_more_than_the_hourly_cap_and_the_rest_is_merged(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer, tmp_path: Path
) -> None:
    (tmp_path / "city.yml").write_text("mails_per_hour: 2\n", encoding="utf-8")
    capped = dataclasses.replace(mailing, catalog=tmp_path)
    for minute in range(5):
        ledger.event("gaj.household", "refused_us", NOW, cause=f"source_refused:c{minute}")
        send_notices(conn, later(capped, minute), CITY)
    assert len(smtp_server.messages) == 2

    record = send_notices(conn, later(capped, 61), CITY)

    assert record.sent == 1
    assert len(smtp_server.messages) == 3
    assert {r["n"] for r in ledger.all("SELECT count(*) AS n FROM ops.outbox WHERE sent_at IS NULL")} == {0}


def test_our_own_faults_go_to_the_centre_and_never_to_the_department(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer
) -> None:
    batch_id = ledger.batch(
        "gaj.household",
        NOW,
        status="failed",
        responsible="ours",
        cause="internal",
        reason="out of memory",
        staged=False,
    )
    ledger.event("gaj.household", "refused", NOW, batch_id=batch_id, cause="internal")
    ledger.event("gaj.household", "stale", NOW, cause="stale_run", payload={"responsible": "ours"})

    assert send_notices(conn, mailing, CITY).by_department == {
        "鄂尔多斯市大数据中心": outbox.DepartmentMails(sent=1, events=2)
    }
    (mail,) = smtp_server.messages
    assert mail.recipients == ("guiji@demo.invalid",)
    assert mail.message["Subject"] == "【归集运维】有 1 项需要中心处理"
    assert "平台自身故障" in bodies(mail)[0]
    assert "未通知部门" in bodies(mail)[0]


def test_a_department_without_a_valid_contact_is_the_centres_business(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer
) -> None:
    add_failed_rows(ledger, "mzj.marriage")
    assert send_notices(conn, mailing, CITY).sent == 1
    (mail,) = smtp_server.messages
    assert mail.recipients == ("guiji@demo.invalid",)
    text = bodies(mail)[0]
    assert "没有登记有效的联系人邮箱" in text
    assert "市民政局" in text


def test_the_next_clean_batch_brings_a_recovery_mail(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer
) -> None:
    bad = add_failed_rows(ledger)
    send_notices(conn, mailing, CITY)
    good = ledger.batch("gaj.household", at("2026-10-21 09:00"), unchanged=993, changed=7)
    conn.execute("UPDATE ops.ticket SET closed_at = %s, closed_batch = %s, stage = 'closed'", (NOW, good))
    ledger.event("gaj.household", "recovered", at("2026-10-21 09:00"), batch_id=good)

    send_notices(conn, later(mailing, 1440), CITY)

    mail = smtp_server.messages[1]
    assert mail.message["Subject"] == "【整改办结】市公安局：1 项数据资源已恢复正常"
    text, html = bodies(mail)
    assert "公民身份号码应符合校验规则" in text  # what was mended
    assert "请按要求处理" not in html
    assert not list(mail.message.iter_attachments())
    assert bad != good


def test_a_problem_that_was_mended_before_the_mail_went_out_is_only_a_recovery(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer
) -> None:
    ledger.event("gaj.household", "unavailable", NOW, cause="source_unavailable:fep")
    good = ledger.batch("gaj.household", NOW, new=5)
    ledger.event("gaj.household", "recovered", NOW, batch_id=good)
    send_notices(conn, mailing, CITY)
    (mail,) = smtp_server.messages
    assert mail.message["Subject"].startswith("【整改办结】")
    assert "无法连接" not in bodies(mail)[0]


@pytest.mark.parametrize("answer", ["451 try again later", "554 no thanks"])
def test_f65_a_server_that_refuses_and_recovers_gets_exactly_one_mail(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer, answer: str
) -> None:
    add_failed_rows(ledger)
    smtp_server.faults.refuse, smtp_server.faults.times = answer, 2

    records = [send_notices(conn, later(mailing, m), CITY) for m in (0, 3, 10, 11, 60)]

    assert [(r.sent, r.delayed) for r in records] == [(0, 1), (0, 1), (1, 0), (0, 0), (0, 0)]
    assert len(smtp_server.messages) == 1
    (row,) = ledger.all("SELECT sent_at IS NOT NULL AS sent, dead_at, attempts FROM ops.outbox")
    assert row == {"sent": True, "dead_at": None, "attempts": 3}


def test_f65_a_server_that_is_down_delays_and_what_comes_meanwhile_joins_the_digest(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = os.environ["AIRFLOW_CONN_SMTP_DEFAULT"]
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", up.replace(str(smtp_server.port), "1"))
    add_failed_rows(ledger)
    add_failed_rows(ledger, "wjw.records")
    down = send_notices(conn, mailing, CITY)
    assert (down.sent, down.delayed, down.dead) == (0, 2, 0)
    assert "ConnectionRefusedError" in str(down.by_department["市公安局"].last_error)
    assert send_notices(conn, later(mailing, 1), CITY) == SendRecord()  # backs off
    ledger.event("gaj.household", "missed", NOW, cause="nothing_delivered")

    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", up)
    assert send_notices(conn, later(mailing, 2), CITY).sent == 2
    assert len(smtp_server.messages) == 2
    gaj = next(m for m in smtp_server.messages if m.recipients == ("gaj@ordos.example.cn",))
    assert [t for t in ("部分数据未通过校验", "逾期未交付") if t not in bodies(gaj)[0]] == []


def test_f65_a_week_without_a_mail_server_loses_nothing(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = os.environ["AIRFLOW_CONN_SMTP_DEFAULT"]
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", up.replace(str(smtp_server.port), "1"))
    ledger.event("gaj.household", "refused_us", NOW, cause="source_refused:fep")
    for hours in range(0, 168, 4):
        assert send_notices(conn, later(mailing, hours * 60), CITY).dead == 0
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", up)
    assert send_notices(conn, later(mailing, 168 * 60), CITY).sent == 1


def test_f65_a_timeout_after_data_repeats_the_mail_with_the_same_message_id(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer
) -> None:
    add_failed_rows(ledger)
    smtp_server.faults.cut_after_data, smtp_server.faults.times = True, 1

    first = send_notices(conn, mailing, CITY)
    second = send_notices(conn, later(mailing, 5), CITY)

    assert (first.sent, first.delayed, second.sent) == (0, 1, 1)
    one, two = smtp_server.messages
    assert one.message["Message-ID"] == two.message["Message-ID"]
    assert bodies(one) == bodies(two)


@pytest.mark.parametrize(("point", "mails"), [("notices.before_send", 1), ("notices.after_send", 2)])
def test_f65_a_crash_loses_no_mail_and_the_repeat_keeps_its_message_id(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer, point: str, mails: int, tmp_path: Path
) -> None:
    add_failed_rows(ledger)
    script = tmp_path / "crash.py"
    script.write_text(
        "import dataclasses, sys\n"
        "from guiji import warehouse\nfrom guiji.settings import Settings\nfrom guiji.notices import send_notices\n"
        "from test_notices import CITY, NOW\n"
        "s = dataclasses.replace(Settings.from_env(), fixed_now=NOW)\n"
        "send_notices(warehouse.connect(s), s, CITY)\n"
    )
    crashed = subprocess.run(
        [sys.executable, str(script)],
        env={
            **os.environ,
            "GUIJI_WAREHOUSE": str(mailing.warehouse),
            "GUIJI_HOME": str(mailing.home),
            "GUIJI_FAILPOINT": point,
            "PYTHONPATH": str(Path(__file__).parent),
        },
        capture_output=True,
        timeout=120,
    )
    assert crashed.returncode == -signal.SIGKILL, crashed.stderr

    send_notices(conn, later(mailing, 1), CITY)

    assert len(smtp_server.messages) == mails
    assert len({m.message["Message-ID"] for m in smtp_server.messages}) == 1
    assert ledger.all("SELECT count(*) AS n FROM ops.outbox WHERE sent_at IS NULL") == [{"n": 0}]


def test_f65_a_recipient_who_is_refused_for_good_is_given_up_and_the_centre_hears(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer
) -> None:
    add_failed_rows(ledger)
    add_failed_rows(ledger, "wjw.records")
    smtp_server.faults.refuse_recipients["gaj@ordos.example.cn"] = "550 no such user"

    records = [send_notices(conn, later(mailing, m), CITY) for m in (0, 5, 20, 21)]

    assert [(r.sent, r.delayed, r.dead) for r in records] == [(1, 1, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0)]
    assert [m.recipients for m in smtp_server.messages] == [("wjw@ordos.example.cn",), ("guiji@demo.invalid",)]
    assert "gaj@ordos.example.cn（550 no such user）" in bodies(smtp_server.messages[1])[0]
    dead = ledger.all("SELECT department_id, last_error FROM ops.outbox WHERE dead_at IS NOT NULL")
    assert dead == [{"department_id": "gaj", "last_error": "550 no such user"}]


def test_one_refused_colleague_neither_stops_nor_doubles_the_others_mail(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer
) -> None:
    two = GAJ.model_copy(update={"contacts": [*GAJ.contacts, GAJ.contacts[0].model_copy(update={"email": "b@x.cn"})]})
    catalog = make_catalog([two], [make_resource(two, "household", "户籍人口基本信息")])
    add_failed_rows(ledger)
    smtp_server.faults.refuse_recipients["b@x.cn"] = "550 gone"
    for minutes in (0, 5, 20, 60, 120):
        send_notices(conn, later(mailing, minutes), catalog)
    assert [m.recipients for m in smtp_server.messages] == [("gaj@ordos.example.cn",), ("guiji@demo.invalid",)]
    assert ledger.all("SELECT count(*) AS n FROM ops.outbox WHERE sent_at IS NULL OR dead_at IS NOT NULL") == [{"n": 0}]


def test_two_senders_at_once_send_each_mail_once(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer
) -> None:
    add_failed_rows(ledger)
    add_failed_rows(ledger, "wjw.records")
    smtp_server.faults.stall_seconds = 0.3
    records: list[SendRecord] = []

    def send() -> None:
        with warehouse.connect(mailing) as own:
            records.append(send_notices(own, mailing, CITY))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(smtp_server.messages) == 2
    assert sum(r.sent for r in records) == 2
    assert not all(r.busy for r in records)


def test_a_missing_mail_connection_is_said_aloud_and_keeps_the_events(
    conn: Conn, ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_SMTP_DEFAULT", raising=False)
    add_failed_rows(ledger)
    with pytest.raises(UsageError, match="smtp_default"):
        send_notices(conn, settings.at(NOW), CITY)
    assert ledger.all("SELECT count(*) AS n FROM ops.outbox WHERE sent_at IS NULL AND mail_id IS NULL") == [{"n": 1}]


def test_f67_no_citizen_number_leaves_in_a_mail_even_when_masking_was_forgotten(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer
) -> None:
    batch_id = ledger.batch(
        "gaj.household",
        NOW,
        status="held",
        held=90,
        rejected=10,
        reason=f"问题数据 {CANARY} 超过约定比例",
        files=(f"/in/{CANARY}.csv",),
        rules=[rule("id_no.citizen_id", "公民身份号码应符合校验规则", rows=100, failed=10)],
    )
    ledger.finding(batch_id, f"/in/{CANARY}.csv:2", "id_no.citizen_id", CANARY)
    ledger.event("gaj.household", "held", NOW, batch_id=batch_id, payload={"reason": CANARY})
    failed = ledger.batch("gaj.household", NOW, status="failed", reason=f"timeout at {CANARY}", staged=False)
    ledger.event("gaj.household", "unavailable", NOW, batch_id=failed, cause="source_unavailable:fep")
    ledger.event("gaj.household", "stale", NOW, batch_id=failed, cause="stale_run", payload={"responsible": "ours"})

    send_notices(conn, mailing, CITY)

    assert len(smtp_server.messages) == 2
    for mail in smtp_server.messages:
        for part in mail.message.walk():
            if part.is_multipart():
                continue
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            assert CANARY.encode() not in content
        for page in (sheets_of(mail).worksheets) if list(mail.message.iter_attachments()) else ():
            for row in page.iter_rows(values_only=True):
                assert CANARY not in str(row)
    assert "1506************37" in bodies(smtp_server.messages[0])[0] + bodies(smtp_server.messages[1])[0]


def test_a_ticket_reminds_once_per_stage_and_escalates_to_the_centre(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer
) -> None:
    batch_id = ledger.batch(
        "gaj.household", at("2026-10-20 09:00"), new=1, rejected=1, rules=[rule("r", "姓名应填写", rows=2, failed=1)]
    )
    ledger.ticket("gaj.household", "r", at("2026-10-20 09:00"), at("2026-10-27 18:00"), batch_id=batch_id)
    moments = [f"2026-10-{d:02d} 10:00" for d in range(21, 32)] + [f"2026-11-{d:02d} 10:00" for d in range(1, 10)]
    for moment in moments:
        send_notices(conn, mailing.at(at(moment)), CITY)

    assert sorted((m.message["Date"].datetime.strftime("%m-%d"), m.recipients[0]) for m in smtp_server.messages) == [
        ("10-26", "gaj@ordos.example.cn"),  # a working day before
        ("10-28", "gaj@ordos.example.cn"),  # overdue
        ("11-04", "gaj@ordos.example.cn"),  # five working days overdue
        ("11-04", "guiji@demo.invalid"),
    ]
    assert "【整改催办】市公安局：1 项数据资源尚未整改" in smtp_server.messages[0].message["Subject"]
    (ticket,) = ledger.all("SELECT stage, jsonb_array_length(history) AS steps FROM ops.ticket")
    assert ticket == {"stage": "escalated", "steps": 3}


def test_a_closed_ticket_gets_no_reminder_even_when_one_was_waiting(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = os.environ["AIRFLOW_CONN_SMTP_DEFAULT"]
    ticket = ledger.ticket("gaj.household", "r", at("2026-10-10"), at("2026-10-19 18:00"))
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", up.replace(str(smtp_server.port), "1"))
    assert send_notices(conn, mailing, CITY).delayed == 1
    conn.execute("UPDATE ops.ticket SET closed_at = now(), stage = 'closed' WHERE ticket_id = %s", (ticket,))
    conn.commit()
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", up)
    send_notices(conn, later(mailing, 60), CITY)
    assert smtp_server.messages == []
    assert ledger.all("SELECT count(*) AS n FROM ops.outbox WHERE sent_at IS NULL") == [{"n": 0}]


def test_f62_a_missed_window_is_told_once_with_its_reason(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer
) -> None:
    for resource_id, responsible in (("gaj.household", "department"), ("wjw.records", "front_end")):
        start = at("2026-09-01")
        ledger.window(resource_id, start, at("2026-10-01"), at("2026-10-15 18:00"), "missed", responsible=responsible)
        payload = {"window_start": start.isoformat(), "responsible": responsible}
        ledger.event(resource_id, "missed", NOW, cause="nothing_delivered", payload=payload)
    ledger.window("gaj.household", at("2026-01-01"), at("2026-02-01"), at("2026-02-10"), "missed")  # told long ago
    send_notices(conn, mailing, CITY)
    send_notices(conn, later(mailing, 60), CITY)
    assert len(smtp_server.messages) == 2
    gaj, wjw = sorted(smtp_server.messages, key=lambda m: m.recipients)
    assert "应交付周期" in bodies(gaj)[1]
    assert "2026年9月" in bodies(gaj)[0]
    assert "2026年1月" not in bodies(gaj)[0]
    assert "不属于部门漏报" in bodies(wjw)[0]


def test_a_whole_delivery_refused_is_told_with_cause_and_mend(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer
) -> None:
    ledger.batch("wjw.records", at("2026-09-24 09:00"), new=50)
    batch_id = ledger.batch(
        "wjw.records",
        NOW,
        status="refused",
        responsible="department",
        cause="delivery.half_a_file",
        reason="cut off at 3",
    )
    ledger.ticket("wjw.records", "delivery.half_a_file", NOW, at("2026-10-27 18:00"), batch_id=batch_id)
    ledger.event("wjw.records", "refused", NOW, batch_id=batch_id, cause="delivery.half_a_file")
    send_notices(conn, mailing, CITY)
    text = bodies(smtp_server.messages[0])[0]
    assert "文件不完整" in text
    assert "重新上传完整文件" in text
    assert "在此期间：继续使用 2026年9月24日（周四）入库的数据" in text
    assert "2026年10月27日（周二）18:00" in text


def test_one_mail_that_cannot_be_written_holds_up_nobody(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_failed_rows(ledger)
    add_failed_rows(ledger, "wjw.records")
    write = outbox.compose_mail

    def fail_for_gaj(digest: Any, *rest: Any) -> bytes:
        if digest.addressee == "gaj":
            raise KeyError("boom")
        return write(digest, *rest)

    monkeypatch.setattr(outbox, "compose_mail", fail_for_gaj)
    record = send_notices(conn, mailing, CITY)
    assert (record.sent, record.delayed) == (1, 1)
    monkeypatch.setattr(outbox, "compose_mail", write)
    assert send_notices(conn, later(mailing, 10), CITY).sent == 1


def test_an_event_of_an_unknown_kind_or_resource_is_still_told(
    conn: Conn, ledger: Ledger, mailing: Settings, smtp_server: MailServer
) -> None:
    ledger.event("gaj.gone", "something_new", NOW)
    send_notices(conn, mailing, CITY)
    assert "其他情况" in bodies(smtp_server.messages[0])[0]


@pytest.mark.parametrize(
    ("moment", "stage"),
    [
        ("2026-09-24 09:00", "open"),
        ("2026-09-30 09:00", "reminded"),  # due on the first working day after the National Day holidays
        ("2026-10-08 17:59", "reminded"),
        ("2026-10-08 18:01", "overdue"),
        ("2026-10-14 09:00", "overdue"),
        ("2026-10-15 09:00", "escalated"),
    ],
)
def test_stages_follow_the_legal_calendar(moment: str, stage: str) -> None:
    assert find_stage(at("2026-10-08 18:00"), at(moment), City()) == stage


@pytest.mark.parametrize("bad", ["", "a", "a@b", "a b@c.cn", "a@b.cn\nBcc: x@y.cn", "张三@b.cn", "a@@b.cn", "<a@b.cn>"])
def test_an_address_that_is_none_is_not_used(bad: str) -> None:
    assert not is_email(bad)


def test_words() -> None:
    assert say_window(at("2026-01-01"), at("2027-01-01")) == "2026年"
    assert say_window(at("2026-10-20"), at("2026-10-21")) == "2026年10月20日"
    assert say_window(at("2026-07-01"), at("2026-10-01")) == "2026年7月至2026年9月"
    assert (say_share(0, 0), say_share(1, 3), say_share(1, 10**6)) == ("无法评价", "33.33%", "<0.01%")
    assert say_cause("delivery.never_heard_of")[0] == "交付整体不符合约定"
    assert clean_header("a\r\nBcc: x\u202e") == "a Bcc: x"
    assert name_sheets(["a/b", "A/B", "x" * 40, "x" * 40]) == ["a b", "A B_2", "x" * 31, "x" * 29 + "_2"]


def test_every_refusal_and_structural_rule_has_words_for_the_clerk() -> None:
    package = Path(notices.__file__).parents[1]
    sources = [p for p in package.rglob("*.py") if p.name != "causes.py"]
    used = {
        m for p in sources for m in re.findall(r'"((?:delivery|structure)\.[a-z_]+)"', p.read_text(encoding="utf-8"))
    }
    assert len(used) > 20
    generic = say_cause("delivery.never_heard_of")
    assert [u for u in sorted(used) if say_rule(u) in (generic, ("", ""))] == []
