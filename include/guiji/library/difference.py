"""What a batch changes, found outside the database by comparing Parquet with Parquet (design §3.6)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.records import CheckedBatch, Difference, StagedBatch
from guiji.settings import Settings

if TYPE_CHECKING:
    from guiji.catalog.models import Resource


@dataclass(frozen=True)
class Current:
    """The rows that serve now, soft-deleted ones excluded.

    ``path``: Parquet with the key columns, ``_row_hash`` and the order columns (typed as in the source table);
    None where nothing serves. ``complete``: True when it holds every serving row (snapshots), False when only the
    rows whose keys the batch has (incremental look-up). ``rows``: how many rows serve in the whole table.
    A snapshot cache written by ``compare`` may be given as it is; it has further columns.
    """

    path: str | None
    rows: int
    complete: bool


def cache_directory(settings: Settings, resource_id: str) -> Path:
    """Where the snapshot caches of a resource lie. ``Difference.cache`` is a file in it, named ``<batch_id>.parquet``;
    ``ops.watermark.snapshot_cache`` keeps its stem. Owner-only; any of them may be deleted, it is then rebuilt."""
    return settings.home / "cache" / resource_id


def compare(
    resource: Resource, settings: Settings, staged: StagedBatch, checked: CheckedBatch, current: Current
) -> Difference:
    """The difference between what the batch brings and what serves; its counts add up to the rows read."""
    raise NotImplementedError
