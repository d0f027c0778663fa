"""The centre's pages: nobody sees anything without Airflow's login, and what they show is the ledger."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import airflow_here  # noqa: F401  before Airflow
import pytest
from small_catalog import write_catalog

from guiji.settings import ROOT, Settings
from guiji.warehouse import connect

CITIZEN = "15060219900101001X"


@dataclass
class Answer:
    status: int
    text: str
    headers: dict[str, str]


Ask = Callable[..., Answer]


@pytest.fixture(scope="module")
def airflow_auth() -> dict[str, str]:
    """Airflow's own authentication on its own database; bearer tokens by user name."""
    from airflow.api_fastapi.app import create_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.utils.db import initdb

    initdb()
    manager = create_auth_manager()
    manager.init()
    return {
        role: manager.generate_jwt(SimpleAuthManagerUser(username=role, role=role.upper()))
        for role in ("admin", "viewer")
    }


@pytest.fixture
def ask(settings: Settings, airflow_auth: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Asks a page as a browser would; ``user`` None is somebody who has not logged in."""
    import httpx

    from guiji.ui import app as pages

    catalog = tmp_path / "catalog"
    write_catalog(catalog, 3)
    monkeypatch.setenv("GUIJI_HOME", str(settings.home))
    monkeypatch.setenv("GUIJI_CATALOG", str(catalog))
    if settings.warehouse:
        monkeypatch.setenv("GUIJI_WAREHOUSE", settings.warehouse)
    pages._load_catalog.cache_clear()

    def call(
        path: str, *, user: str | None = "admin", data: dict[str, str] | None = None, cookie: bool = False
    ) -> Answer:
        async def go() -> httpx.Response:
            headers = {"Authorization": f"Bearer {airflow_auth[user]}"} if user and not cookie else {}
            cookies = {"_token": airflow_auth[user]} if user and cookie else {}
            transport = httpx.ASGITransport(app=pages.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://guiji", cookies=cookies) as client:
                return await client.request("POST" if data is not None else "GET", path, data=data, headers=headers)

        response = asyncio.run(go())
        return Answer(response.status_code, response.text, dict(response.headers))

    return call


def insert_batch(settings: Settings, batch_id: str, resource_id: str = "gaj.r0000", **values: Any) -> None:
    now = settings.now()
    row = {
        "batch_id": batch_id,
        "resource_id": resource_id,
        "department_id": resource_id.partition(".")[0],
        "window_start": now - timedelta(days=1),
        "window_end": now,
        "status": "published",
        "outcome": "passed",
        "rows_read": 0,
        "started_at": now,
        "rules": "[]",
        **values,
    }
    with connect(settings) as conn:
        columns, marks = ", ".join(row), ", ".join(f"%({c})s" for c in row)
        conn.execute(f"INSERT INTO ops.batch ({columns}) VALUES ({marks})", row)  # type: ignore[arg-type]
        conn.commit()


def insert_finding(settings: Settings, batch_id: str, rule_id: str, value: str, row_no: int = 1) -> None:
    with connect(settings) as conn:
        conn.execute(
            """INSERT INTO ops.finding (batch_id, resource_id, locator, row_no, rule_id, indicator, verdict, value_masked)
            VALUES (%s, 'gaj.r0000', %s, %s, %s, '0301', 'rejected', %s)""",
            (batch_id, f"人口.csv:{row_no}", row_no, rule_id, value),
        )
        conn.commit()


def seal_of(page: Answer) -> str:
    found = re.search(r'name="seal" value="([^"]+)"', page.text)
    assert found is not None
    return found.group(1)


def list_paths() -> list[tuple[str, str]]:
    from fastapi.routing import APIRoute, Mount

    from guiji.ui.app import app

    assert [r for r in app.routes if isinstance(r, Mount)] == []
    found = [
        (method, re.sub(r"\{\w+\}", "2026-09", r.path)) for r in app.routes for method in getattr(r, "methods", ())
    ]
    assert {type(r) for r in app.routes} == {APIRoute}  # FastAPI's own documentation routes are not APIRoutes
    return sorted(found)


# --- who may see ---------------------------------------------------------------------------------------------


def test_f71_every_route_refuses_who_is_not_logged_in(ask: Ask) -> None:
    paths = list_paths()
    assert len(paths) >= 7
    statuses = {
        (method, path): ask(path, user=None, data={} if method == "POST" else None).status
        for method, path in paths
        if method in ("GET", "POST")
    }
    assert len(statuses) == len(paths)
    assert set(statuses.values()) <= {401, 403}, statuses


def test_f71_a_forged_token_is_refused(ask: Ask, airflow_auth: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(airflow_auth, "forger", airflow_auth["admin"][:-4] + "AAAA")
    assert ask("/", user="forger").status in (401, 403)


def test_documentation_routes_of_fastapi_are_off(ask: Ask) -> None:
    assert [ask(p).status for p in ("/docs", "/redoc", "/openapi.json")] == [404, 404, 404]


def test_airflows_cookie_and_bearer_both_open_the_page(ask: Ask) -> None:
    assert (ask("/").status, ask("/", cookie=True).status) == (200, 200)


def test_a_viewer_reads_but_does_not_decide(settings: Settings, ask: Ask) -> None:
    insert_batch(settings, "b1", status="held", outcome="held", rows_read=5, rows_held=5)
    page = ask("/batches/b1", user="viewer")
    assert page.status == 200
    decision = {"choice": "驳回批次", "why": "看过了", "seal": seal_of(page)}
    assert ask("/batches/b1/decision", user="viewer", data=decision).status == 403
    with connect(settings) as conn:
        assert conn.execute("SELECT status FROM ops.batch").fetchall() == [{"status": "held"}]


def test_a_form_without_its_seal_or_with_another_users_is_refused(settings: Settings, ask: Ask) -> None:
    insert_batch(settings, "b1", status="held", outcome="held", rows_read=5, rows_held=5)
    others = seal_of(ask("/batches/b1", user="viewer"))
    decision = {"choice": "驳回批次", "why": "看过了"}
    assert ask("/batches/b1/decision", data={**decision, "seal": others}).status == 403
    assert ask("/batches/b1/decision", data={**decision, "seal": "x"}).status == 403
    assert ask("/batches/b1/decision", data=decision).status == 422


# --- what they show -------------------------------------------------------------------------------------------


def test_the_dashboard_names_every_department_and_resource_also_without_any_batch(ask: Ask) -> None:
    page = ask("/")
    for words in ("公安局", "卫健委", "资源0", "资源1", "资源2", "未归集", "人口库"):
        assert words in page.text


def test_the_dashboards_figures_are_the_ledgers(settings: Settings, ask: Ask) -> None:
    insert_batch(settings, "b1", rows_read=1234, rows_rejected=34, rows_new=1200, outcome="warning")
    insert_batch(settings, "b2", "wjw.r0001", rows_read=766, rows_unchanged=766)
    insert_batch(settings, "b3", "gaj.r0002", status="failed", outcome=None, cause="source_unavailable")
    insert_batch(settings, "old", rows_read=9, rows_new=9, started_at=settings.now() - timedelta(days=2))
    text = re.sub(r"<[^>]+>", " ", ask("/").text)
    tiles = re.sub(r"\s+", " ", text[text.index("最近一批入库") :])
    assert "3 今日批次 入库 2" in tiles
    assert "2,000 读取行数" in tiles
    assert "1,200 新增和变更" in tiles
    assert "34 拒收行数 1.70%" in tiles
    assert "1 失败或退回" in tiles
    assert "0 待批准批次" in tiles


def test_a_night_without_delivery_hides_no_batch_and_is_no_failure(settings: Settings, ask: Ask) -> None:
    insert_batch(settings, "b1", rows_read=10, rows_new=10)
    insert_batch(settings, "b2", status="failed", outcome=None, cause="nothing_delivered")
    insert_batch(settings, "b3", "wjw.r0001", status="failed", outcome=None, cause="nothing_delivered")
    text = ask("/").text
    assert 'href="batches/b1"' in text
    assert 'href="batches/b2"' not in text
    assert "尚未送达" in text
    assert "<b>0</b><span>失败或退回</span>" in text


def test_a_batch_page_shows_the_equation_and_the_masked_findings(settings: Settings, ask: Ask) -> None:
    rule = {
        "rule_id": "citizen_id.check", "title": "公民身份号码校验码正确", "indicator": "0301", "severity": "reject",
        "standard": "GB 11643-1999", "mend": "核对证件", "fields": ["id_no"], "rows": 10, "failed": 2, "unjudged": 0,
        "mended": 0, "tolerance": 0.05,
    }  # fmt: skip
    counts = {
        "rows_read": 100, "rows_rejected": 2, "rows_duplicate": 3, "rows_superseded": 4, "rows_tombstone": 5,
        "rows_new": 6, "rows_changed": 7, "rows_unchanged": 73,
    }  # fmt: skip
    insert_batch(settings, "b1", **counts, rows_deleted=8, rows_skipped=9, rules=json.dumps([rule]))
    insert_finding(settings, "b1", "citizen_id.check", "1506************1X", 1)
    insert_finding(settings, "b1", "other", "李*", 2)
    page = ask("/batches/b1")
    plain = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.text))
    assert "读取 100 = 拒收 2 + 待定 0 + 重复 3 + 过期 4 + 删除标记 5 + 新增 6 + 变更 7 + 未变 73 核算之外" in plain
    assert "软删除 8 行" in plain
    assert "1506************1X" in plain
    assert "李*" in plain
    only = ask("/batches/b1?rule=citizen_id.check").text
    assert "1506************1X" in only
    assert "李*" not in only


def test_text_from_departments_stays_text(settings: Settings, ask: Ask) -> None:
    evil = "<script>alert(1)</script>"
    insert_batch(settings, "b1", status="refused", outcome=None, reason=evil, cause=evil, responsible="department")
    insert_finding(settings, "b1", evil, evil)
    for path in ("/", "/batches/b1", "/resources/gaj.r0000"):
        page = ask(path)
        assert page.status == 200
        assert "<script" not in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]


def test_an_unknown_batch_resource_or_month_is_said_in_chinese(ask: Ask) -> None:
    pages = [ask(p) for p in ("/batches/none", "/resources/gaj.none", "/reports/2026-09", "/reports/x")]
    assert [p.status for p in pages] == [404] * 4
    assert all("没有" in p.text for p in pages)


def test_a_traced_key_stands_in_no_page_that_finds_nothing(ask: Ask) -> None:
    page = ask("/trace", data={"library": "population", "key": CITIZEN, "seal": seal_of(ask("/trace"))})
    assert page.status == 404
    assert CITIZEN not in page.text


def test_every_page_loads_nothing_from_elsewhere(settings: Settings, ask: Ask) -> None:
    insert_batch(settings, "b1", rows_read=1, rows_new=1)
    for path in ("/", "/batches/b1", "/resources/gaj.r0000", "/trace"):
        assert re.findall(r"(?:src|href|action)=\"(?:https?:)?//[^\"]+", ask(path).text) == []


def test_the_plugin_registers_the_pages_and_loads_nothing_until_asked() -> None:
    import runpy
    import subprocess
    import sys

    plugin = runpy.run_path(str(ROOT / "plugins" / "guiji_plugin.py"))["GuijiPlugin"]
    assert [(a["url_prefix"], a["name"]) for a in plugin.fastapi_apps] == [("/guiji", "guiji")]
    assert [(v["href"], v["destination"], v["url_route"]) for v in plugin.external_views] == [
        ("/guiji/", "nav", "guiji")
    ]
    program = f"import runpy, sys; runpy.run_path({str(ROOT / 'plugins' / 'guiji_plugin.py')!r}); print('guiji' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
    )
    assert sorted(p.name for p in (ROOT / "plugins").glob("*.py")) == ["guiji_plugin.py"]
