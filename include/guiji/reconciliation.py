"""Reconciling one resource with its front-end (F-05, three ways): read, compare, tell, and on demand repair.

The front-end is read once more as a whole, checked like a delivery in a folder of its own, and compared with what
serves (``library.reconcile``). Nothing is published unless a repair is asked for: then the rows of the buckets that differ go
the normal way as a batch of their own, with the lease, the guards and the accounting of any other batch. What only
stands in the source layer is never deleted here: a snapshot resource is run anew as a whole, of an incremental one the
keys are counted.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from guiji import ledger
from guiji.catalog import load_catalog
from guiji.errors import LeaseLost, UsageError
from guiji.freshness import current_window
from guiji.library import reconcile as r
from guiji.pipeline import Say, run_delivery, run_resource
from guiji.reconciliation_due import REREADABLE
from guiji.records import BatchRecord, Delivery, ReadReport, StagedBatch
from guiji.settings import Settings
from guiji.warehouse import connect

if TYPE_CHECKING:
    import pyarrow as pa
    from psycopg import Connection

    from guiji.catalog import Catalog
    from guiji.catalog.models import Resource

__all__ = ["reconcile_resource"]


def _silent(_: str) -> None:
    return None


def reconcile_resource(
    resource_id: str,
    settings: Settings,
    *,
    repair: bool = False,
    say: Say = _silent,
    catalog: Catalog | None = None,
) -> r.Reconciliation:
    """What comparing found, recorded in ``ops.reconciliation``; with ``repair`` the batch that brought what lacked too.

    Raises what reading the source raises, and LeaseLost where the resource was published meanwhile.
    """
    catalog = catalog or load_catalog(settings.catalog)
    resource = catalog.resources.get(resource_id)
    if resource is None:
        raise UsageError(
            f"There is no resource {resource_id!r}. Nothing was compared; `./guiji catalog list` names them all."
        )
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="reconcile-", dir=settings.home))
    try:
        with connect(settings) as conn:
            found, staged = _compare(conn, settings, resource, catalog, scratch, say)
            if repair and any(b.differs for b in found.buckets):
                record = _repair(settings, resource, found, staged, say)
                found = replace(found, repaired=record.batch_id if record else None)
            if repair and any(c.differs for c in found.libraries):
                _resolve_anew(conn, settings, resource, catalog, found, say)
            r.record_reconciliation(conn, settings, resource, found)
            return found
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _compare(
    conn: Connection[dict[str, object]],
    settings: Settings,
    resource: Resource,
    catalog: Catalog,
    scratch: Path,
    say: Say,
) -> tuple[r.Reconciliation, StagedBatch | None]:
    from guiji.quality import check_batch
    from guiji.sources import open_delivery
    from guiji.staging import stage_batch

    at = settings.now()
    before = ledger.latest_batch(conn, resource.id)
    staged = None
    if resource.model.source.kind in REREADABLE:
        say(f"reading all of {resource.id} again")
        own = replace(settings, staging=str(scratch / "staging"), failpoint=None)
        window = current_window(resource, settings.now())
        whole = resource.model_copy(
            update={"model": resource.model.model_copy(update={"source": _unchunked(resource)})}
        )
        delivery = open_delivery(whole, own, window, watermark=None, known_files=(), scratch=scratch)
        staged = stage_batch(resource, own, window, delivery, "0" * 16)
        checked = check_batch(resource, own, staged)
        say(f"read {staged.rows:,} rows, {checked.rows_rejected:,} are rejected; comparing")
        watermark = ledger.get_watermark(conn, resource.id)
        front = r.FrontEnd(checked, watermark.cursor if watermark else None, staged.directory)
        conn.commit()
        found = r.compare_layer(conn, settings, resource, front, at)
    elif (package := _take_last_package(settings, resource, before, scratch)) is not None:
        say(f"comparing with the package of batch {package.batch_id}, the last delivery")
        front = r.FrontEnd(check_batch(resource, settings, package), None, package.directory)
        conn.commit()
        found = r.compare_layer(conn, settings, resource, front, at)
        found = replace(found, delivered_batch=package.batch_id)
    else:
        found = r.Reconciliation(resource.id, at, r.count_layer(conn, resource))
    conn.commit()
    after = ledger.latest_batch(conn, resource.id)
    if (before and before.batch_id) != (after and after.batch_id):
        raise LeaseLost(
            f"A batch of {resource.id} was published while it was compared. Nothing was recorded; reconcile it again.",
            resource_id=resource.id,
        )
    libraries = r.compare_libraries(conn, settings, resource, catalog)
    found = replace(found, libraries=libraries, latest_batch=after.batch_id if after else None)
    conn.commit()
    return found, staged


def _take_last_package(
    settings: Settings, resource: Resource, latest: BatchRecord | None, scratch: Path
) -> StagedBatch | None:
    """What was last delivered as a whole and published, in a folder of its own; None where it was swept since.

    A file is not asked for twice: what stands for it is the package that was made of it, if that is still what its
    manifest says.
    """
    from guiji.staging import find_staged, is_intact

    if latest is None or resource.model.load != "snapshot":
        return None
    staged = find_staged(settings, resource.id, latest.batch_id)
    if staged is None or not is_intact(staged):
        return None
    directory = scratch / "package"
    directory.mkdir(mode=0o700)
    for part in sorted(Path(staged.directory).glob("part-*.parquet")):
        shutil.copyfile(part, directory / part.name)
        (directory / part.name).chmod(0o600)
    return replace(staged, directory=str(directory))


def _unchunked(resource: Resource) -> object:
    """The source as it is read here: at once, for nobody resumes a comparison."""
    source = resource.model.source
    return source.model_copy(update={"chunk_key": None}) if source.kind == "database" else source


def _repair(
    settings: Settings, resource: Resource, found: r.Reconciliation, staged: StagedBatch | None, say: Say
) -> BatchRecord | None:
    """Brings what differs by the normal way; returns its batch, None where there is nothing that could be brought."""
    if found.delivered_batch is not None:
        say("a file is not read twice: have it delivered again, or restore the warehouse")
        return None
    if resource.model.load == "snapshot" or staged is None:
        say("running the resource anew: a snapshot repairs itself")
        return run_resource(resource.id, settings, say=say)
    if found.row_numbers is None:
        say(
            "the keys that only stand here are not deleted: an incremental resource deletes by its tombstone field only"
        )
        return None
    window = current_window(resource, settings.now())
    delivery = Delivery(staged.columns, _chosen_rows(settings, staged, found.row_numbers), ReadReport())
    chosen = sum(1 for b in found.buckets if b.missing or b.stale)
    delivery.report.notes.append(f"对账修复：重新采集 {chosen} 个分段（共 {r.BUCKETS} 个）")
    return run_delivery(settings, resource, window, delivery, after=found.latest_batch, say=say)


def _chosen_rows(settings: Settings, staged: StagedBatch, numbers: str) -> Iterator[pa.RecordBatch]:
    """The rows of the package with these numbers, with their system columns but ``_row_no``, in their order."""
    from guiji.engine import open_engine, scan_parquet

    with open_engine(settings) as con:
        parts = scan_parquet(sorted(Path(staged.directory).glob("part-*.parquet")))
        rows = con.sql(
            f"SELECT p.* EXCLUDE (_row_no) FROM {parts} p SEMI JOIN {scan_parquet(numbers)} n USING (_row_no)"  # noqa: S608
            " ORDER BY p._row_no"
        )
        yield from rows.to_arrow_reader(65_536)


def _resolve_anew(
    conn: Connection[dict[str, object]],
    settings: Settings,
    resource: Resource,
    catalog: Catalog,
    found: r.Reconciliation,
    say: Say,
) -> None:
    from guiji.library.resolve import resolve

    lacking = [c.library for c in found.libraries if c.differs]
    with ledger.transaction(conn):
        r.mark_resource_dirty(conn, settings, resource, lacking)
    for library in lacking:
        say(str(resolve(conn, settings, library, catalog)))
