"""F-68: what a department's data hold is never live: no formula, no markup, no header in a mail, page or workbook."""

from __future__ import annotations

from datetime import date
from email import message_from_bytes, policy
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree
from zipfile import ZipFile

import openpyxl
import pytest
from ledger_rows import Conn, Ledger, at, make_catalog, make_department, make_library, make_resource, rule

from guiji.demo.servers import MailServer
from guiji.notices import send_notices
from guiji.report import build_report
from guiji.settings import Settings

PAYLOADS = [
    "=1+1",
    "=cmd|' /C calc'!A0",
    "+SUM(1,2)",
    "-2+3",
    "@SUM(1)",
    "\t=1+1",
    '=HYPERLINK("http://evil.example","x")',
    "http://evil.example/",
    "{=1+1}",
    "<script>alert(1)</script>",
    "<img src=http://evil.example/x.png onerror=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "x\r\nBcc: victim@evil.example",
    "x\u2028Subject: y",
    "\x00\x07\x1b[31m\ufffe",
    "' OR 1=1 --",
    "</td></tr></table><!--",
]
SAFE = [p.replace("\x00", "\x01") for p in PAYLOADS]  # PostgreSQL's text can't hold NUL
NOW = at("2026-10-24 10:00")


def live_cells(content: bytes) -> list[str]:
    """Formulas and links of a workbook, read from its XML: whatever a spreadsheet would act on."""
    found = []
    with ZipFile(BytesIO(content)) as z:
        for name in z.namelist():
            if not name.endswith((".xml", ".rels")):
                continue
            for element in ElementTree.fromstring(z.read(name)).iter():
                tag = element.tag.rpartition("}")[2]
                if tag in ("hyperlink", "externalLink", "ddeLink") or element.get("TargetMode") == "External":
                    found.append(f"{name}:{tag}")
                if tag == "f" and name.startswith("xl/worksheets"):
                    found.append(f"{name}:{element.text}")
    return found


def texts_of(content: bytes) -> list[str]:
    book = openpyxl.load_workbook(BytesIO(content))
    cells = [c for page in book.worksheets for row in page.iter_rows() for c in row if c.value is not None]
    assert {c.data_type for c in cells} <= {"s", "n"}
    return [str(c.value) for c in cells]


def assert_inert(html: str) -> None:
    for tag in ("<script>alert", "<img src=http", "<!--"):
        assert tag not in html


@pytest.fixture
def ledger(conn: Conn) -> Ledger:
    return Ledger(conn)


def test_f68_a_notice_carries_hostile_texts_as_texts(
    conn: Conn, ledger: Ledger, settings: Settings, smtp_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", smtp_server.to_json())
    department = make_department("gaj", "市公安局\r\nBcc: victim@evil.example", contact="李四\r\nX-Evil: 1 <b>")
    resource = make_resource(department, "r", "<script>alert(1)</script>=1+1")
    catalog = make_catalog([department], [resource])
    batch_id = ledger.batch(
        resource.id,
        NOW,
        new=1,
        rejected=len(SAFE),
        files=("/in/<b>=1+1.csv",),
        rules=[
            rule(
                f"r{n}",
                p.replace("\x01", ""),
                rows=9,
                failed=1,
                standard=p.replace("\x01", ""),
                mend=p.replace("\x01", ""),
            )
            for n, p in enumerate(SAFE)
        ],
    )
    for n, p in enumerate(SAFE):
        ledger.finding(batch_id, p, f"r{n}", p, row_no=n)
    ledger.event(resource.id, "failed_rows", NOW, batch_id=batch_id)

    assert send_notices(conn, settings.at(NOW), catalog).sent == 1

    (mail,) = smtp_server.messages
    assert mail.recipients == ("gaj@ordos.example.cn",)
    raw = message_from_bytes(mail.raw, policy=policy.default)
    assert set(raw.keys()) == {
        "Message-ID",
        "Date",
        "Subject",
        "From",
        "Reply-To",
        "To",
        "Auto-Submitted",
        "MIME-Version",
        "Content-Type",
    }
    assert "\n" not in raw["Subject"]
    assert "victim@evil.example" in raw["Subject"]  # as words of the subject, not as a recipient
    html = raw.get_body(("html",))
    assert html is not None
    assert_inert(html.get_content())
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html.get_content()
    assert "{{ 7 * 7 }}" in html.get_content()
    (attachment,) = raw.iter_attachments()
    sheet = attachment.get_payload(decode=True)
    assert isinstance(sheet, bytes)
    assert live_cells(sheet) == []
    texts = texts_of(sheet)
    for payload in (
        "=1+1",
        "+SUM(1,2)",
        "-2+3",
        "@SUM(1)",
        '=HYPERLINK("http://evil.example","x")',
        "http://evil.example/",
    ):
        assert texts.count(payload) >= 3  # locator, value and rule, letter by letter


@pytest.mark.parametrize("payload", SAFE)
def test_f68_a_report_carries_hostile_texts_as_texts(
    conn: Conn, ledger: Ledger, settings: Settings, tmp_path: Path, payload: str
) -> None:
    clean = payload.replace("\x01", "")
    department = make_department("gaj", f"市公安局{clean}")
    resource = make_resource(department, "r", f"{clean}资源")
    silent = make_resource(department, "s", clean + "静默")
    library = make_library("population", f"{clean}库", "person", ["gaj.r", f"jyj.{clean[:5]}"])
    catalog = make_catalog([department], [resource, silent], [library])
    batch_id = ledger.batch(
        resource.id, NOW, new=5, rejected=1, cause=clean, rules=[rule(clean, clean, rows=6, failed=1, standard=clean)]
    )
    ledger.ticket(resource.id, clean, NOW, at("2026-10-23 18:00"), batch_id=batch_id)
    ledger.window(silent.id, at("2026-10-01"), at("2026-10-02"), at("2026-10-03"), "missed", responsible=payload)

    files = build_report(
        conn, settings.at(at("2026-10-24 12:00")), catalog, "2026-10", date(2026, 10, 24), tmp_path, assess=False
    )

    page = files.html.read_text(encoding="utf-8")
    assert_inert(page)
    assert live_cells(files.xlsx.read_bytes()) == []
    assert any(clean.strip() in t or "�" in t or "_x" in t for t in texts_of(files.xlsx.read_bytes()))
