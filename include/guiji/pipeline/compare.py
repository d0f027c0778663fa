"""The difference between a checked batch and what serves now: the same for a run, a decision and a check before delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guiji.pipeline.check import check_and_judge
from guiji.records import CheckedBatch, Difference, QualityReport, StagedBatch
from guiji.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import Resource


def compare_staged(
    conn: Connection[dict[str, object]],
    resource: Resource,
    settings: Settings,
    staged: StagedBatch,
    *,
    serving: Settings | None = None,
) -> tuple[CheckedBatch, QualityReport, Difference]:
    """The checked batch, its verdict, and the difference to what serves now. Writes beside the package only.

    Where the catalog's rules changed since the check, every row is checked again; where another batch was published,
    those that were carried from what served then. ``serving``: as in ``check_and_judge``.
    """
    from guiji.library.difference import StaleCarry, compare
    from guiji.library.publish import fetch_current
    from guiji.quality import load_checked, load_quality

    serving = serving or settings
    checked, quality = load_checked(settings, staged), load_quality(settings, staged)
    if checked.fingerprint != resource.fingerprint:
        checked, quality = check_and_judge(conn, resource, settings, staged, serving=serving)
    try:
        current = fetch_current(conn, resource, serving, checked)
        return checked, quality, compare(resource, settings, staged, checked, current)
    except StaleCarry:
        checked, quality = check_and_judge(conn, resource, settings, staged, serving=serving)
        current = fetch_current(conn, resource, serving, checked)
        return checked, quality, compare(resource, settings, staged, checked, current)
