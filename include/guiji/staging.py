"""Load packages: one immutable directory of Parquet per batch.

``<GUIJI_STAGING>/<resource_id>/<batch_id>/part-00000.parquet … manifest.json``. A package is written into a hidden
directory beside its place, synced, and renamed: a kill at any point leaves nothing or a whole package, and what a
dead process left behind is swept. Directories are 0700, files 0600. ``sha256`` in the manifest is the hash over the
hashes of the parts, in order; it proves that a package is still what was written.

Parquet is written through ``pyarrow.fs``, so that an object store can follow; today only local paths are accepted.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.engine import release_memory
from guiji.errors import DeliveryRefused, GuijiError, UsageError
from guiji.masking import scrub
from guiji.package_writer import PackageWriter, combine_hashes, hash_file, sync
from guiji.records import Delivery, StagedBatch, Window, read_record, write_record
from guiji.settings import Settings, failpoint
from guiji.tangled import set_aside_tangled
from guiji.too_large import set_aside_too_large

if TYPE_CHECKING:
    from guiji.catalog.models import Resource

MANIFEST = "manifest.json"
_BATCH_ID = re.compile(r"[0-9a-f]{16}")
_TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{16}-(?P<host>[^/]+)-(?P<pid>\d+)-[0-9a-f]+")


def staging_root(settings: Settings) -> Path:
    """The local directory of all packages. Raises UsageError for a URL that this version can't write to."""
    location = settings.staging.removeprefix("file://")
    if "://" in location:
        raise UsageError(
            f"GUIJI_STAGING is {settings.staging!r}, but only local or mounted paths are supported so far. "
            "Nothing was staged; set it to a path, for instance on shared storage."
        )
    return Path(location).absolute()


def batch_directory(settings: Settings, resource_id: str, batch_id: str) -> Path:
    """Where the package of a batch lies, or will lie."""
    if not _BATCH_ID.fullmatch(batch_id) or not re.fullmatch(r"[a-z0-9_.]+", resource_id) or ".." in resource_id:
        raise UsageError(f"{resource_id!r} {batch_id!r} is no resource id and batch id. Nothing was done.")
    return staging_root(settings) / resource_id / batch_id


def chunk_directory(settings: Settings, resource_id: str) -> Path:
    """Where a long extraction keeps the ranges it has finished, until all of it is staged: a day at most."""
    return staging_root(settings) / resource_id / ".chunks"


def find_staged(settings: Settings, resource_id: str, batch_id: str) -> StagedBatch | None:
    """The package of a batch, None when it was not staged (or was swept)."""
    directory = batch_directory(settings, resource_id, batch_id)
    try:
        return read_record(directory / MANIFEST, StagedBatch)
    except FileNotFoundError:
        return None


def load_staged(settings: Settings, resource_id: str, batch_id: str) -> StagedBatch:
    """The package of a batch. Raises UsageError when there is none."""
    found = find_staged(settings, resource_id, batch_id)
    if found is None:
        raise UsageError(
            f"Batch {batch_id} of {resource_id} is not staged. Nothing was done; run the resource again.",
            batch_id=batch_id,
            resource_id=resource_id,
        )
    return found


def is_intact(staged: StagedBatch) -> bool:
    """True when the parts are still what the manifest says."""
    try:
        return (
            combine_hashes(hash_file(p) for p in sorted(Path(staged.directory).glob("part-*.parquet"))) == staged.sha256
        )
    except OSError:
        return False


def stage_batch(
    resource: Resource, settings: Settings, window: Window, delivery: Delivery, batch_id: str
) -> StagedBatch:
    """Writes the delivery as the package ``batch_id`` and returns its manifest; one that is there already is returned
    as it is, and the delivery is not read. What the source raises while it is read leaves nothing behind."""
    target = batch_directory(settings, resource.id, batch_id)
    if (done := find_staged(settings, resource.id, batch_id)) is not None:
        return done
    _make_private(target.parent)
    _sweep_dead(target.parent)
    unique = f".tmp-{batch_id}-{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
    temporary = target.parent / unique
    temporary.mkdir(mode=0o700)
    try:
        writer = PackageWriter(temporary)
        batches = set_aside_tangled(resource, set_aside_too_large(resource, delivery))
        rows, schema = writer.write(batches, delivery.columns)
        staged = StagedBatch(
            batch_id=batch_id,
            resource_id=resource.id,
            window=window,
            directory=str(target),
            rows=rows,
            sha256=combine_hashes(iter(writer.hashes)),
            columns=delivery.columns,
            types=tuple(str(schema.field(c).type) for c in delivery.columns),
            skipped=dict(delivery.report.skipped),
            files=delivery.files,
            cursor_max=delivery.report.cursor_max,
            staged_at=settings.now(),
            redelivered_of=delivery.redelivered_of,
            notes=tuple(map(scrub, delivery.report.notes)),
            delivered_columns=tuple(name for name, _ in delivery.report.delivered),
            delivered_types=tuple(kind for _, kind in delivery.report.delivered),
            missing=tuple(delivery.report.missing),
        )
        _check_declared(resource, delivery, rows)
        failpoint(settings, "stage.before_manifest")
        write_record(temporary / MANIFEST, staged)
        sync(temporary)
        try:
            os.rename(temporary, target)
        except OSError:
            # another run of the same batch was faster: its package holds the same delivery
            if (done := find_staged(settings, resource.id, batch_id)) is None:
                raise
            return done
        sync(target.parent)
        return staged
    except OSError as exc:
        raise GuijiError(
            f"The load package of {resource.id} can't be written to {target.parent}: {exc.strerror or exc}. "
            "Nothing was staged; make room or mend the permissions, then run it again.",
            resource_id=resource.id,
        ) from exc
    finally:
        if hasattr(delivery.batches, "close"):
            delivery.batches.close()  # a source that was not read to its end holds a connection
        shutil.rmtree(temporary, ignore_errors=True)
        release_memory()  # what was staged is read from the disk by the steps that follow


def _check_declared(resource: Resource, delivery: Delivery, rows: int) -> None:
    declared = delivery.report.declared_rows
    if declared is not None and declared != rows:
        raise DeliveryRefused(
            f"{resource.model.name}：来源声明共 {declared} 条，实际读到 {rows} 条。现有数据继续有效；请核对后重新提供。",
            rule_id="delivery.total",
            resource_id=resource.id,
        )


def sweep(settings: Settings, keep_days: float, keep: Collection[str] = ()) -> list[str]:
    """Removes packages older than ``keep_days`` (batch ids in ``keep`` excepted) and what dead processes left;
    returns the batch ids removed."""
    root = staging_root(settings)
    removed = []
    oldest = time.time() - keep_days * 86400
    for resource in sorted(p for p in root.glob("*") if p.is_dir()):
        _sweep_dead(resource, oldest)
        with contextlib.suppress(FileNotFoundError):
            if (chunks := resource / ".chunks").stat().st_mtime < time.time() - 86_400:
                shutil.rmtree(chunks, ignore_errors=True)
        for package in sorted(resource.iterdir()):
            if _BATCH_ID.fullmatch(package.name) and package.name not in keep and package.stat().st_mtime < oldest:
                # renamed first: nobody may find half a package
                grave = resource / f".tmp-{package.name}-{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
                with contextlib.suppress(FileNotFoundError):
                    os.rename(package, grave)
                    shutil.rmtree(grave, ignore_errors=True)
                    removed.append(package.name)
    return removed


def _sweep_dead(directory: Path, oldest: float | None = None) -> None:
    """Removes unfinished packages whose process is gone; those of other machines only when they are old."""
    for path in directory.glob(".tmp-*"):
        m = _TEMPORARY.fullmatch(path.name)
        if m is None:
            continue
        with contextlib.suppress(FileNotFoundError):
            if (m["host"] == _host() and not _is_alive(int(m["pid"]))) or (
                m["host"] != _host() and path.stat().st_mtime < (oldest or time.time() - 3 * 86400)
            ):
                shutil.rmtree(path, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())


def _make_private(directory: Path) -> None:
    """The directory and the missing ones above it, readable by the owner only."""
    missing = [p for p in (directory, *directory.parents) if not p.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
