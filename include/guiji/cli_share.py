"""The commands of ``./guiji share``: who may read what of other departments."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guiji.cli_catalog import ResourceArgument
from guiji.errors import UsageError
from guiji.settings import Settings

if TYPE_CHECKING:
    from guiji.catalog import Catalog
    from guiji.library.grants import Grant
    from guiji.library.share_reads import Reading

share_app = typer.Typer(help="What departments may read of each other.", no_args_is_help=True)

DepartmentArgument = Annotated[str, typer.Argument(metavar="DEPARTMENT", help="department id, for instance wjw")]


@share_app.command("sync")
def share_sync() -> None:
    """Make views, roles and rights what the catalog and the grants say."""
    from guiji.catalog import load_catalog
    from guiji.library.share_reads import audit_reads
    from guiji.library.sharing import render_sync, sync_sharing
    from guiji.warehouse import connect

    settings = Settings.from_env()
    with connect(settings) as conn:
        print(render_sync(sync_sharing(conn, settings, load_catalog(settings.catalog))))
        audit_reads(conn, settings)


@share_app.command("grant")
def share_grant(
    resource_id: ResourceArgument,
    department: DepartmentArgument,
    purpose: Annotated[str, typer.Option("--purpose", help="what the data are for, as applied for")],
    until: Annotated[str, typer.Option("--until", metavar="DATE", help="the last day")],
    fields: Annotated[
        list[str] | None, typer.Option("--field", metavar="NAME", help="a personal field to show in clear; repeatable")
    ] = None,
    agreement: Annotated[str | None, typer.Option("--agreement", help="number of the signed agreement")] = None,
) -> None:
    """Let a department read a resource, for a purpose and until a day."""
    import getpass
    from datetime import date

    from guiji.catalog import load_catalog
    from guiji.library.grants import grant_resource
    from guiji.library.sharing import render_sync, sync_sharing
    from guiji.warehouse import connect

    settings = Settings.from_env()
    try:
        day = date.fromisoformat(until)
    except ValueError as exc:
        raise UsageError(f"--until {until!r} is no date. Nothing was granted; write YYYY-MM-DD.") from exc
    catalog = load_catalog(settings.catalog)
    with connect(settings) as conn:
        grant = grant_resource(
            conn,
            settings,
            catalog,
            resource_id,
            department,
            purpose=purpose,
            until=day,
            who=getpass.getuser(),
            fields=fields or (),
            agreement=agreement,
        )
        print(f"grant {grant.grant_id}: {resource_id} → {department} until {day.isoformat()}")
        print(render_sync(sync_sharing(conn, settings, catalog)))


@share_app.command("revoke")
def share_revoke(
    resource_id: ResourceArgument,
    department: DepartmentArgument,
    why: Annotated[str, typer.Option("--why", help="the reason, kept in the audit trail")],
) -> None:
    """End a grant now."""
    import getpass

    from guiji.catalog import load_catalog
    from guiji.library.grants import revoke_grant
    from guiji.library.sharing import render_sync, sync_sharing
    from guiji.warehouse import connect

    settings = Settings.from_env()
    with connect(settings) as conn:
        grant = revoke_grant(conn, settings, resource_id, department, who=getpass.getuser(), why=why)
        print(f"grant {grant.grant_id} of {resource_id} to {department} ended")
        print(render_sync(sync_sharing(conn, settings, load_catalog(settings.catalog))))


@share_app.command("list")
def share_list(
    every: Annotated[bool, typer.Option("--all", help="also those that have ended")] = False,
) -> None:
    """Who may read what, for which purpose and until when."""
    from guiji.catalog import load_catalog
    from guiji.library.grants import list_grants
    from guiji.warehouse import connect

    settings = Settings.from_env()
    with connect(settings) as conn:
        print(render_grants(list_grants(conn, ended=every), load_catalog(settings.catalog)))


@share_app.command("reads")
def share_reads(
    resource_id: Annotated[str | None, typer.Argument(metavar="[RESOURCE]", help="of this resource only")] = None,
    department: Annotated[str | None, typer.Option("--department", help="by this department only")] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="DATE", help="from this day on")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="DATE", help="to this day, it included")] = None,
) -> None:
    """Who read which shared view, how often, and for which purpose."""
    from datetime import datetime, timedelta

    from guiji.library.share_reads import count_rolled_back, list_readings
    from guiji.settings import TIME_ZONE
    from guiji.warehouse import connect

    def read_day(option: str, text: str | None) -> datetime | None:
        try:
            return datetime.fromisoformat(f"{text}T00:00").replace(tzinfo=TIME_ZONE) if text else None
        except ValueError as exc:
            raise UsageError(f"{option} {text!r} is no date. Nothing was shown; write YYYY-MM-DD.") from exc

    begin, end = read_day("--since", since), read_day("--until", until)
    with connect(Settings.from_env()) as conn:
        found = list_readings(
            conn,
            since=begin,
            until=end + timedelta(days=1) if end else None,
            resource_id=resource_id,
            department_id=department,
        )
        print(render_readings(found, count_rolled_back(conn)))


def render_readings(readings: Collection[Reading], rolled_back: Mapping[str, int]) -> str:
    """The reads as a table, and what was rolled back."""
    from guiji.render import render_table
    from guiji.settings import TIME_ZONE

    lines = ["没有读取记录。"]
    if readings:
        lines = [
            render_table(
                ["部门", "账号", "共享视图", "用途", "次数", "首次", "最近"],
                [
                    (
                        r.department_id or "（管理员）",
                        r.login,
                        r.view,
                        r.purpose or "",
                        r.reads,
                        *(f"{t.astimezone(TIME_ZONE):%Y-%m-%d %H:%M}" for t in (r.first_at, r.last_at)),
                    )
                    for r in readings
                ],
            )
        ]
    lines += [
        f"{department}：另有 {n:,} 次读取在事务回滚后没有留下视图名" for department, n in sorted(rolled_back.items())
    ]
    return "\n".join(lines)


@share_app.command("open")
def share_open(
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE.xlsx", help="as a workbook")] = None,
) -> None:
    """What is open to society and under which condition (开放目录), counted by department."""
    from guiji.catalog import load_catalog
    from guiji.open_catalog import list_open, render_open, write_open

    catalog = load_catalog(Settings.from_env().catalog)
    items = list_open(catalog)
    if out is None:
        print(render_open(catalog, items))
    else:
        write_open(catalog, items, out)
        print(f"{len(items)} 项开放目录：{out}")


def render_grants(grants: Collection[Grant], catalog: Catalog) -> str:
    """The grants as a table."""
    from guiji.render import render_table

    def department(grant: Grant) -> str:
        model = catalog.departments.get(grant.department_id)
        return model.short_name if model else grant.department_id

    def state(grant: Grant) -> str:
        if grant.ended_at is None:
            return f"有效至 {grant.valid_until.isoformat()}"
        return f"已于 {grant.ended_at:%Y-%m-%d} 终止：{grant.ended_why}"

    if not grants:
        return "没有共享授权。"
    return render_table(
        ["号", "数据资源", "部门", "用途", "条件", "不脱敏的信息项", "协议", "经办", "状态"],
        [
            (
                g.grant_id,
                g.resource_id,
                department(g),
                g.purpose,
                g.terms.get("condition") or "无",
                "、".join(g.fields) or "无",
                g.agreement or "",
                g.granted_by,
                state(g),
            )
            for g in grants
        ],
    )
