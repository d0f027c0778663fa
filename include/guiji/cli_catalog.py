"""The commands of ``./guiji catalog``. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from guiji.settings import Settings

catalog_app = typer.Typer(help="The catalog: one YAML file per resource.", no_args_is_help=True)

ResourceArgument = Annotated[str, typer.Argument(metavar="ID", help="resource id, for instance gaj.household")]


@catalog_app.command("check")
def catalog_check(
    path: Annotated[Path | None, typer.Argument(help="catalog folder; GUIJI_CATALOG where absent")] = None,
) -> None:
    """Check every file; each message names file, line, what is allowed and what to do."""
    from guiji.catalog import check_catalog, load_catalog

    folder = path or Settings.from_env().catalog
    catalog = load_catalog(folder)
    problems = check_catalog(folder)
    for problem in problems:
        print(problem)
    if any(not p.warning for p in problems):
        raise SystemExit(2)
    print(
        f"{len(catalog.resources)} resources of {len(catalog.departments)} departments, {len(catalog.libraries)} libraries: "
        + (f"{len(problems)} warnings." if problems else "no problem found.")
    )


@catalog_app.command("list")
def catalog_list(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """All resources, a line each."""
    from guiji.catalog import load_catalog
    from guiji.render import render_resources

    catalog = load_catalog(Settings.from_env().catalog)
    if as_json:
        print(json.dumps(sorted(catalog.resources)))
    else:
        print(render_resources(catalog))
    for path in sorted(catalog.broken):
        print(f"{path}: broken; see `./guiji catalog check`", file=sys.stderr)


@catalog_app.command("show")
def catalog_show(resource_id: ResourceArgument) -> None:
    """One resource as the catalog has it."""
    from guiji.catalog import load_resource, render_resource

    print(render_resource(load_resource(Settings.from_env().catalog, resource_id)))


@catalog_app.command("schema")
def catalog_schema(kind: Annotated[str, typer.Argument(help="resource, department or library")] = "resource") -> None:
    """The JSON Schema of a catalog file, for editors."""
    from guiji.catalog import json_schema

    print(json.dumps(json_schema(kind), ensure_ascii=False, indent=2))


@catalog_app.command("new")
def catalog_new(
    origin: Annotated[str, typer.Option("--from", metavar="FILE|CONN:TABLE", help="a file, or a connection's table")],
    resource_id: Annotated[str | None, typer.Option("--id", metavar="ID", help="resource id")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="where to write; the catalog where --id is given, else stdout")
    ] = None,
    sheet: Annotated[str | None, typer.Option(help="the sheet of a workbook that has several")] = None,
    rows: Annotated[int, typer.Option(min=1, help="how many rows are looked at")] = 1_000_000,
) -> None:
    """Draft a resource file from a file or a table, with questions where it can't know."""
    from guiji.authoring.new import default_place, demand_department, draft_resource, save_text

    settings = Settings.from_env()
    if resource_id is not None and "." in resource_id and out is None:
        demand_department(settings, resource_id)
    draft = draft_resource(settings, origin, resource_id, sheet=sheet, rows=rows)
    place = out or (default_place(settings, resource_id) if resource_id else None)
    if place is None:
        print(draft.text, end="")
    else:
        save_text(place, draft.text)
        print(place)
    print(
        f"{draft.rows:,} rows read, {draft.columns} fields drafted; {draft.open_places} places to answer (待填) and "
        f"{draft.questions} questions to look at (# ？). `./guiji catalog check` says what is still open.",
        file=sys.stderr,
    )


@catalog_app.command("import")
def catalog_import(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="a department's catalog sheet")],
    department: Annotated[str | None, typer.Option(metavar="ID", help="whose resources these are")] = None,
    sheet: Annotated[str | None, typer.Option(help="the sheet of a workbook that has several")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="where to write; the catalog where absent")] = None,
) -> None:
    """Turn a catalog sheet (编制指南) into resource files; what the catalog has already is compared, not written over."""
    from guiji.authoring.catalog_import import import_sheet

    done = import_sheet(Settings.from_env(), file, department, sheet=sheet, out=out)
    for path in done.written:
        print(path)
    for resource_id, differences in done.differing.items():
        print(f"{resource_id} is in the catalog and left as it is; the sheet says otherwise:")
        for difference in differences:
            print(f"  {difference}")
    for said in done.left_out:
        print(f"left out, another department's: {said}")
    for resource_id in done.waiting:
        print(f"{resource_id} was drafted before and waits for its answers; left as it is")
    for said in done.doubts:
        print(f"to look at: {said}")
    if done.skipped_lines:
        print(f"lines that are no 信息项, left out: {', '.join(map(str, done.skipped_lines))}")
    print(
        f"{len(done.written)} files written, {len(done.unchanged)} resources as in the catalog, {len(done.differing)} "
        "that differ. `./guiji catalog check` says what is still open.",
        file=sys.stderr,
    )
    raise SystemExit(1 if done.differing else 0)


@catalog_app.command("export")
def catalog_export(
    file: Annotated[Path, typer.Argument(metavar="OUT.xlsx", dir_okay=False)],
    department: Annotated[str | None, typer.Option(metavar="ID", help="this department's resources only")] = None,
) -> None:
    """Write the catalog as a department's catalog sheet (编制指南), ready to print and to send."""
    from guiji.authoring.catalog_import import list_resources
    from guiji.authoring.sheet_out import write_sheet
    from guiji.catalog import load_catalog

    settings = Settings.from_env()
    catalog = load_catalog(settings.catalog)
    resources = list_resources(catalog, department)
    name = catalog.departments[department].name if department else ""
    lines = write_sheet(resources, file, f"{name}政务信息资源目录", settings.now().date())
    print(f"{file}: {len(resources)} resources, {lines} lines")
    left_out = [i for i in catalog.broken_resources if department is None or i.startswith(f"{department}.")]
    if left_out:
        print(f"left out, not usable yet (`./guiji catalog check`): {', '.join(left_out)}", file=sys.stderr)
