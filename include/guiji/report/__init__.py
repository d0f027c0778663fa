"""The monthly report: indicators with A and B, frozen once, rendered to the same bytes ever after.

``queries`` what is asked of the ledger · ``facts`` one line per resource · ``figures`` the indicators and their traces ·
``freeze`` canonical JSON with its hash in ``ops.report`` · ``html``, ``charts``, ``sheet`` render the frozen figures and
nothing else. A month may have several issues (the status on the 24th, the whole month); each is frozen for itself.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.errors import UsageError
from guiji.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog import Catalog
    from guiji.report.freeze import Frozen


@dataclass(frozen=True)
class ReportFiles:
    """Where the report lies, and the hash of the figures it shows."""

    html: Path
    xlsx: Path
    sha256: str
    month: str
    as_of: date

    def __str__(self) -> str:
        return f"{self.html}\n{self.xlsx}\nmonth {self.month} as of {self.as_of}, figures sha256 {self.sha256}"


def build_report(
    conn: Connection[dict[str, Any]],
    settings: Settings,
    catalog: Catalog,
    month: str,
    as_of: date | None,
    out: Path,
    *,
    assess: bool = True,
) -> ReportFiles:
    """Writes the report of ``month`` as of the end of day ``as_of``; freezes it first where that was not done.

    Without ``as_of``: the latest frozen issue of the month, else a new one as of today. ``assess`` brings the delivery
    windows up to date before anything is counted. Raises UsageError for a month or day that is still to come.
    """
    from guiji.report.html import render_report
    from guiji.report.sheet import write_workbook

    frozen = freeze_month(conn, settings, catalog, month, as_of, assess=assess)
    name = f"report-{frozen.month}-asof-{frozen.as_of}"
    out.mkdir(parents=True, exist_ok=True)
    files = ReportFiles(out / f"{name}.html", out / f"{name}.xlsx", frozen.sha256, frozen.month, frozen.as_of)
    _write(files.html, render_report(frozen).encode())
    _write(files.xlsx, write_workbook(frozen))
    return files


def freeze_month(
    conn: Connection[dict[str, Any]],
    settings: Settings,
    catalog: Catalog,
    month: str,
    as_of: date | None,
    *,
    assess: bool = True,
) -> Frozen:
    """The frozen figures of a month: as they stand in ``ops.report``, or computed now and written there."""
    from guiji.city import load_city
    from guiji.report.facts import load_month, make_period
    from guiji.report.figures import compute_figures
    from guiji.report.freeze import find_frozen, freeze

    found = find_frozen(conn, month, as_of)
    conn.commit()
    if found is not None:
        return found
    day = as_of or settings.today()
    period = make_period(month, day, settings.now())
    if period.start.date() > settings.today() or day > settings.today():
        raise UsageError(
            f"The report of {month} as of {day} lies in the future (today is {settings.today()}). "
            "Nothing was frozen; choose a month and a day that have come."
        )
    if day < period.start.date():
        raise UsageError(f"As of {day} the month {month} has not begun. Nothing was frozen; choose a later day.")
    if assess:
        from guiji import freshness

        freshness.assess(conn, settings, catalog, period.cutoff)
        conn.commit()
    conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    figures = compute_figures(load_month(conn, catalog, period), catalog, load_city(settings))
    conn.rollback()
    return freeze(conn, month, day, figures, settings.now())


def _write(path: Path, content: bytes) -> None:
    """Whole or absent; a reader never sees half a report."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    os.replace(temporary, path)


__all__ = ["ReportFiles", "build_report", "freeze_month"]
