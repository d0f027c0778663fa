"""The pages' routes. Every one depends on Airflow's own authentication; deciding on a held batch also on its rights.

FastAPI's own documentation routes are off: app-wide dependencies would not protect them.
"""

from __future__ import annotations

import hmac
import logging
import re
import time
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, FastAPI, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from guiji.errors import GuijiError
from guiji.masking import scrub
from guiji.origins import ORIGINS, mark_name
from guiji.settings import Settings
from guiji.ui import queries, words
from guiji.ui.pages import render

if TYPE_CHECKING:
    from guiji.catalog import Catalog

log = logging.getLogger(__name__)

REVIEW_DAG_ID = "hold.review"
CATALOG_SECONDS = 60.0
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
    "form-action 'self'; frame-ancestors 'self'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
_MONTH = re.compile(r"^\d{4}-(0[1-9]|1[0-2])$")
_BATCH = re.compile(r"^[0-9A-Za-z_-]{1,64}$")


def require_reader(user: Annotated[Any, Depends(get_user)]) -> Any:
    """The logged-in user, who must be allowed to see DAGs: a login without any role sees nothing here."""
    if not get_auth_manager().is_authorized_dag(method="GET", user=user):
        raise HTTPException(403, "Forbidden")
    return user


def require_decider(user: Annotated[Any, Depends(require_reader)]) -> Any:
    """A user who could answer the same question in Airflow's Required Actions."""
    details = DagDetails(id=REVIEW_DAG_ID)
    if not get_auth_manager().is_authorized_dag(
        method="PUT", access_entity=DagAccessEntity.HITL_DETAIL, details=details, user=user
    ):
        raise HTTPException(403, "Forbidden")
    return user


Reader = Annotated[Any, Depends(require_reader)]
Decider = Annotated[Any, Depends(require_decider)]

app = FastAPI(
    title="归集",
    dependencies=[Depends(require_reader)],
    docs_url=None,
    redoc_url=None,
    openapi_url=None,
    redirect_slashes=False,
)


@app.exception_handler(GuijiError)
def show_error(request: Request, error: GuijiError) -> HTMLResponse:
    log.warning("page %s: %s", request.url.path, scrub(str(error)))
    status = 503 if error.retryable else 404 if error.exit_code == 2 else 500
    return HTMLResponse(render("error.html.j2", text=scrub(str(error)), status=status), status_code=status)


@app.exception_handler(HTTPException)
def show_refusal(request: Request, error: HTTPException) -> HTMLResponse:
    words_for = {401: "请先登录 Airflow，再打开本页。", 403: "您的账号没有查看或处理这一页的权限。"}
    text = words_for.get(error.status_code, error.detail)
    return HTMLResponse(render("error.html.j2", text=text, status=error.status_code), status_code=error.status_code)


@app.get("/")
def show_dashboard(user: Reader) -> HTMLResponse:
    """Today: what came in, what waits for a decision, how each department stands."""
    from guiji.warehouse import connect

    settings = Settings.from_env()
    catalog, now = _catalog(settings), settings.now()
    with connect(settings, autocommit=True) as conn:
        departments = queries.load_departments(conn, catalog, now)
        return _page(
            "dashboard.html.j2",
            now=now,
            day=queries.sum_day(conn, now),
            apart=queries.sum_day_apart(conn, now),
            origins=ORIGINS,
            departments=departments,
            resources=sum(len(d.resources) for d in departments),
            delivered=sum(1 for d in departments for r in d.resources if r.batch and r.batch["status"] == "published"),
            held=queries.list_held(conn),
            names={i: mark_name(r.model.name, r.model.origin) for i, r in catalog.resources.items()},
            libraries=queries.load_libraries(conn, catalog),
            outbox=queries.sum_outbox(conn, now),
            dead=queries.list_dead_letters(conn),
            reports=queries.list_reports(conn),
            broken=catalog.broken_resources,
        )


@app.get("/resources/{resource_id}")
def show_resource(resource_id: str, user: Reader) -> HTMLResponse:
    """One resource: its delivery windows, batches and open tickets."""
    from guiji.warehouse import connect

    settings = Settings.from_env()
    resource = _catalog(settings).resource(resource_id)
    with connect(settings, autocommit=True) as conn:
        batches = queries.list_batches(conn, resource_id)
        return _page(
            "resource.html.j2",
            resource=resource,
            batches=batches,
            titles={r["rule_id"]: r["title"] for b in reversed(batches) for r in b["rules"]},
            windows=queries.list_windows(conn, resource_id),
            tickets=queries.list_tickets(conn, resource_id),
        )


@app.get("/batches/{batch_id}")
def show_batch(batch_id: str, user: Reader, rule: str | None = None) -> HTMLResponse:
    """One batch: its equation, its rules, its masked findings."""
    from guiji.warehouse import connect

    settings = Settings.from_env()
    with connect(settings, autocommit=True) as conn:
        batch = queries.load_batch(conn, batch_id) if _BATCH.match(batch_id) else None
        if batch is None:
            raise HTTPException(404, "没有这个批次")
        resource = _catalog(settings).resources.get(batch["resource_id"])
        counts = queries.count_findings(conn, batch_id)
        return _page(
            "batch.html.j2",
            batch=batch,
            resource=resource,
            parts=[(name, *words.COUNTS[name], batch[name]) for name in queries.EQUATION],
            titles={r["rule_id"]: r["title"] for r in batch["rules"]},
            rules=sorted(batch["rules"], key=lambda r: (-r["failed"], r["rule_id"])),
            findings=queries.list_findings(conn, batch_id, rule),
            finding_total=sum(c["n"] for c in counts if rule in (None, c["rule_id"])),
            counts=counts,
            rule=rule,
            seal=_seal(settings, user, batch_id),
        )


@app.post("/batches/{batch_id}/decision")
def decide(
    batch_id: str,
    user: Decider,
    choice: Annotated[str, Form()],
    why: Annotated[str, Form(max_length=500)],
    seal: Annotated[str, Form()],
) -> RedirectResponse:
    """Approves or rejects a held batch; who and why go to the audit trail."""
    from guiji.orchestration import tasks

    settings = Settings.from_env()
    _check_seal(settings, user, batch_id, seal)
    if choice not in (tasks.APPROVE, tasks.REJECT) or len(why.strip()) < 2:
        raise HTTPException(422, "请选择批准或驳回，并写明理由（至少两个字）。")
    tasks.decide(settings, batch_id, choice, user.get_name(), why.strip())
    return RedirectResponse(f"../{batch_id}", status_code=303)


@app.get("/reports/{month}")
def show_report(month: str, user: Reader, as_of: date | None = None) -> HTMLResponse:
    """The report, drawn from its frozen figures: the same bytes as the file that was sent round."""
    from guiji.report.freeze import find_frozen
    from guiji.report.html import render_report
    from guiji.warehouse import connect

    frozen = None
    if _MONTH.match(month):
        with connect(Settings.from_env(), autocommit=True) as conn:
            frozen = find_frozen(conn, month, as_of)
    if frozen is None:
        raise HTTPException(404, "没有这个月的通报")
    return HTMLResponse(render_report(frozen), headers=HEADERS)


@app.get("/trace")
def ask_trace(user: Reader) -> HTMLResponse:
    settings = Settings.from_env()
    return _page(
        "trace.html.j2", libraries=_catalog(settings).libraries, card=None, seal=_seal(settings, user, "trace")
    )


@app.post("/trace")
def show_trace(
    user: Reader,
    library: Annotated[str, Form(max_length=60)],
    key: Annotated[str, Form(max_length=200)],
    seal: Annotated[str, Form()],
) -> HTMLResponse:
    """Where each field of one library row comes from, masked. By POST, so that no key stands in a log or history."""
    from guiji.library.trace import trace
    from guiji.warehouse import connect

    settings = Settings.from_env()
    _check_seal(settings, user, "trace", seal)
    catalog = _catalog(settings)
    with connect(settings) as conn:
        card = trace(conn, settings, catalog.library(library), key.strip(), None)
        conn.commit()
    return _page(
        "trace.html.j2", libraries=catalog.libraries, library=library, card=card, seal=_seal(settings, user, "trace")
    )


# --- parts -------------------------------------------------------------------------------------------


def _page(template: str, **values: Any) -> HTMLResponse:
    return HTMLResponse(render(template, **values), headers=HEADERS)


def _seal(settings: Settings, user: Any, purpose: str) -> str:
    """Ties a form to the user it was shown to, so that no other site can send it for him."""
    from guiji.secrets import hmac_key

    return hmac_key(settings, f"form|{user.get_id()}|{purpose}")


def _check_seal(settings: Settings, user: Any, purpose: str, seal: str) -> None:
    if not hmac.compare_digest(seal.encode(), _seal(settings, user, purpose).encode()):
        raise HTTPException(403, "页面已过期，请刷新后重试。")


def _catalog(settings: Settings) -> Catalog:
    return _load_catalog(settings.catalog, int(time.monotonic() // CATALOG_SECONDS))


@lru_cache(maxsize=1)
def _load_catalog(path: Path, _minute: int) -> Catalog:
    from guiji.catalog import load_catalog

    return load_catalog(path)
