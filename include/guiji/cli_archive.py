"""``./guiji archive``: old history out of the warehouse, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from guiji.errors import UsageError
from guiji.settings import Settings


def archive(
    name: Annotated[str, typer.Argument(metavar="RESOURCE|LIBRARY|restore", help="what to archive, or 'restore'")],
    directory: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="the archive to restore")] = None,
    before: Annotated[
        str | None, typer.Option("--before", metavar="DATE", help="what had ended before that day")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="where the archive goes")] = None,
) -> None:
    """Move old history to Parquet with a manifest, or bring it back; the rows have the same hash on either side."""
    import getpass
    from datetime import date

    from guiji.catalog import load_catalog
    from guiji.library.archive import archive_library, archive_resource, restore_archive
    from guiji.warehouse import connect

    settings = Settings.from_env()
    who = getpass.getuser()
    if name == "restore" and directory is not None:
        with connect(settings) as conn:
            found = restore_archive(conn, settings, directory, who=who)
        print(f"{found.rows:,} rows of {found.object} restored, hash {found.content}")
        return
    if directory is not None or before is None or out is None:
        raise UsageError(
            "Write `./guiji archive RESOURCE|LIBRARY --before DATE --out DIR` or `./guiji archive restore DIR`. "
            "Nothing was archived or restored."
        )
    try:
        day = date.fromisoformat(before)
    except ValueError as exc:
        raise UsageError(f"--before {before!r} is no date. Nothing was archived; write YYYY-MM-DD.") from exc
    catalog = load_catalog(settings.catalog)
    with connect(settings) as conn:
        if name in catalog.libraries:
            done = archive_library(conn, settings, catalog.library(name), day, out, who=who)
        else:
            done = archive_resource(conn, settings, catalog.resource(name), day, out, who=who)
    if done is None:
        print(f"{name} has no history that had ended before {before}")
        return
    written, folder = done
    print(f"{written.rows:,} rows of {name} archived, hash {written.content}\n{folder}")
