"""The commands of ``./guiji share``: who may read what of other departments."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated

import typer

from guiji.cli_catalog import ResourceArgument
from guiji.errors import UsageError
from guiji.settings import Settings

if TYPE_CHECKING:
    from guiji.catalog import Catalog
    from guiji.library.grants import Grant

share_app = typer.Typer(help="What departments may read of each other.", no_args_is_help=True)

DepartmentArgument = Annotated[str, typer.Argument(metavar="DEPARTMENT", help="department id, for instance wjw")]


@share_app.command("sync")
def share_sync() -> None:
    """Make views, roles and rights what the catalog and the grants say."""
    from guiji.catalog import load_catalog
    from guiji.library.sharing import render_sync, sync_sharing
    from guiji.warehouse import connect

    settings = Settings.from_env()
    with connect(settings) as conn:
        print(render_sync(sync_sharing(conn, settings, load_catalog(settings.catalog))))


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
