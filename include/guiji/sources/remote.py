"""What SFTP, FTP and folders share: from a folder to deliveries.

``remote_folder`` is what a folder can do and how a file gets here whole, ``remote_candidates`` which files are a
delivery and when it is complete, ``manifest`` lists of files, ``remote_archive`` what happens to published files,
``series`` the days that are missing. A file's SHA-256 makes the delivery's fingerprint (F-35).
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.errors import DeliveryRefused, NothingDelivered
from guiji.records import DeliveredFile, Delivery, ReadReport, Window
from guiji.sources.columns import expected_columns
from guiji.sources.documents import open_documents
from guiji.sources.formats import read_file
from guiji.sources.manifest import Stated, read_marker
from guiji.sources.remote_archive import put_away
from guiji.sources.remote_candidates import (
    Candidate,
    choose_files,
    find_candidates,
    is_register,
    is_stale,
    say_stale,
    wait_complete,
)
from guiji.sources.remote_folder import Folder, Listed, decode_name, fetch_whole, list_remembered
from guiji.sources.series import find_gap, name_gap

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import Resource
    from guiji.settings import Settings


def connect_folder(resource: Resource, settings: Settings) -> Folder:
    """The folder of a resource of kind ``sftp``, ``ftp`` or ``files``; close it."""
    from guiji.catalog.models import FilesSource, RemoteFilesSource
    from guiji.connections import get_connection
    from guiji.sources.files import LocalFolder, resolve_directory
    from guiji.sources.ftp import FtpFolder
    from guiji.sources.sftp import SftpFolder

    source = resource.model.source
    if isinstance(source, FilesSource):
        return LocalFolder(resolve_directory(source.directory, settings, resource.id), resource.id, source.archive)
    assert isinstance(source, RemoteFilesSource)
    connection = get_connection(settings, source.connection)
    kind = SftpFolder if source.kind == "sftp" else FtpFolder
    return kind(connection, source.directory, source.archive)


def open_folder(
    resource: Resource,
    settings: Settings,
    window: Window,
    *,
    known_files: Sequence[DeliveredFile],
    scratch: Path,
    explicit: bool,
) -> Delivery:
    """The delivery that waits in the resource's folder, wherever that is."""
    with contextlib.closing(connect_folder(resource, settings)) as folder:
        return open_files(
            resource, settings, window, folder, known_files=known_files, scratch=scratch, explicit=explicit
        )


def probe_folder(resource: Resource, settings: Settings) -> None:
    """Logs in and lists the folder."""
    with contextlib.closing(connect_folder(resource, settings)) as folder:
        folder.list_files()


def archive_published(resource: Resource, settings: Settings, known_files: Sequence[DeliveredFile]) -> list[str]:
    """Moves the published files that still lie in the folder to its archive; returns, in a department's words, what
    could not be moved. Raises SourceUnavailable, SourceRefused."""
    if getattr(resource.model.source, "archive", None) is None:
        return []
    with contextlib.closing(connect_folder(resource, settings)) as folder:
        return put_away(folder, list_remembered(folder, known_files), known_files)[1]


def open_files(
    resource: Resource,
    settings: Settings,
    window: Window,
    folder: Folder,
    *,
    known_files: Sequence[DeliveredFile],
    scratch: Path,
    explicit: bool,
) -> Delivery:
    """The oldest delivery that waits, fetched and opened; of a series the newer files are ``following``, a delivery
    each. Raises NothingDelivered when there is none yet."""
    source = resource.model.source
    assert source.kind in ("sftp", "ftp", "files")
    listed, troubles = list_remembered(folder, known_files), list[str]()
    if source.archive:
        # a run that was killed after its publish has left them there
        listed, troubles = put_away(folder, listed, known_files)
        listed += list_remembered(folder, known_files, archived=True) if explicit else []
    candidates = find_candidates(source, listed, resource.id, folder)
    chosen = choose_files(resource, candidates, window, known_files, settings.now(), explicit)
    ready = wait_complete(source.complete, chosen, folder)
    if not ready:
        awaited = [n for c in chosen for n in c.awaited]
        why = f"; awaited: {', '.join(awaited[:5])}" if awaited else ""
        raise NothingDelivered(
            f"{resource.id}: {len(chosen)} file(s) are there but not complete yet "
            f"({', '.join(c.file.name for c in chosen[:5])}{why}). The old data go on serving; it will be looked at again.",
            resource_id=resource.id,
        )
    if is_register(resource):
        ready = [replace(c, file=f, more=()) for c in ready for f in c.files]

        def fetch(c: Candidate, target: Path) -> tuple[Path, str]:
            path, digest = fetch_whole(folder, c.file, target)
            if (refusal := compare_stated(c, c.file, read_stated(folder, c, c.file), digest, path)) is not None:
                raise refusal
            return path, digest

        return open_documents(resource, ready, fetch, known_files, scratch, _combine)
    deliveries = []
    for i, c in enumerate(ready):
        fetched, refusal = [], None
        for k, file in enumerate(c.files):
            path, digest = fetch_whole(folder, file, scratch / f"{i:04d}_{k:04d}{_suffix(file.name)}")
            stated = read_stated(folder, c, file)
            refusal = refusal or compare_stated(c, file, stated, digest, path)
            if stated is None and is_stale(c):
                c = replace(c, notes=(*c.notes, say_stale(c)))
            fetched.append((file, path, digest))
        if refusal is not None and len(ready) == 1:
            for _, path, _ in fetched:
                path.unlink(missing_ok=True)
            raise refusal
        deliveries.append(build_delivery(resource, c, fetched, known_files, explicit, refusal))
    deliveries[0].report.notes.extend(troubles)
    if resource.model.load == "incremental" and not explicit:
        _note_gaps(resource, candidates, ready, deliveries, known_files)
    return replace(deliveries[0], following=tuple(deliveries[1:]))


def _note_gaps(
    resource: Resource,
    candidates: Sequence[Candidate],
    ready: Sequence[Candidate],
    deliveries: Sequence[Delivery],
    known_files: Sequence[DeliveredFile],
) -> None:
    """Names, in the delivery after each gap of a series, the days for which no file came (F-36)."""
    known = {str(k.business_date) for k in known_files if k.business_date}
    there = known | {c.business_date.isoformat() for c in candidates if c.business_date}
    for c, delivery in zip(ready, deliveries, strict=True):
        if c.business_date and (missing := find_gap(resource, there, c.business_date)):
            delivery.report.notes.append(name_gap(missing, c.business_date))
            delivery.report.missing += [d.isoformat() for d in missing]


def _suffix(name: str) -> str:
    return re.sub(r"[^.A-Za-z0-9]", "", Path(name).suffix)[:10]


def read_stated(folder: Folder, candidate: Candidate, file: Listed) -> Stated | None:
    """What manifest or marker say of the file; None where they say nothing."""
    if candidate.stated:
        return candidate.stated.get(file.name)
    return read_marker(folder, candidate.marker) if candidate.marker is not None else None


def compare_stated(
    candidate: Candidate, file: Listed, stated: Stated | None, digest: str, path: Path
) -> DeliveryRefused | None:
    """The refusal, when marker or manifest say another size or hash than what arrived; the file is removed then."""
    wrong = stated.find_fault(path, file.size, digest) if stated is not None else None
    if not wrong:
        return None
    path.unlink()
    kind = "清单" if candidate.stated else "完成标志文件"
    name = candidate.marker.name if candidate.marker else ""
    return DeliveryRefused(
        f"文件 {file.name}：{wrong}与{kind} {name} 中写明的不一致，可能没有传完。"
        f"现有数据继续有效；请重新上传文件和{kind.removeprefix('完成')}。",
        rule_id="delivery.half_a_file",
        fingerprint=_combine(digest),
    )


def build_delivery(
    resource: Resource,
    candidate: Candidate,
    fetched: Sequence[tuple[Listed, Path, str]],
    known_files: Sequence[DeliveredFile],
    explicit: bool,
    refusal: DeliveryRefused | None = None,
) -> Delivery:
    """The delivery of fetched files. What was accepted before under other names is not read twice (F-35).

    ``refusal`` is raised when the delivery is read, so that one bad file of a series does not stop the others.
    """
    day = candidate.business_date.isoformat() if candidate.business_date else None
    files = tuple(DeliveredFile(f.name, f.size, f.modified_at, digest, day) for f, _, digest in fetched)
    what = f"文件 {'、'.join(f.path for f in files[:5])}{f' 等 {len(files)} 个' if len(files) > 5 else ''}"
    notes = list(candidate.notes)
    published = [k for k in known_files if getattr(k, "status", "published") == "published"]
    newest = max((str(k.business_date) for k in published if k.business_date), default=None)
    if newest and day and day < newest and not explicit:
        notes.append(f"{what} 的业务日期早于已归集的 {newest}，属补报")
    holders = [{getattr(k, "batch_id", ""): None for k in published if k.sha256 == f.sha256} for f in files]
    accepted = [batch for batch in holders[0] if all(batch in h for h in holders)]
    redelivered_of = None
    fingerprint = _combine("".join(sorted(f.sha256 for f in files)))
    if accepted and not explicit:
        redelivered_of = accepted[-1] or None
        notes.append(f"{what} 与已归集的文件内容完全相同")
        # another name or date is another delivery of the same content
        names = "|".join(f"{f.path}|{f.modified_at.isoformat()}" for f in files)
        fingerprint = _combine(f"{fingerprint}|{names}")
    report = ReadReport(notes=notes)
    expected = expected_columns(resource)
    fmt = resource.model.source.format  # type: ignore[union-attr]
    openers = [
        (path, lambda path=path, name=f.path: read_file(path, name, expected, fmt, report))
        for f, (_, path, _) in zip(files, fetched, strict=True)
    ]
    return Delivery(expected.columns, _read(openers, refusal), report, files, fingerprint, redelivered_of)


def _combine(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(
    openers: Sequence[tuple[Path, Callable[[], Iterator[pa.RecordBatch]]]], refusal: DeliveryRefused | None
) -> Iterator[pa.RecordBatch]:
    """The files' batches. A file is opened when it is read, so that what is wrong with it stops no other file of the
    series; the fetched copies are removed at the end, however it comes."""
    try:
        if refusal is not None:
            raise refusal
        for _, open_file in openers:
            yield from open_file()
    finally:
        for path, _ in openers:
            path.unlink(missing_ok=True)


__all__ = [
    "Candidate",
    "Folder",
    "Listed",
    "archive_published",
    "connect_folder",
    "decode_name",
    "open_folder",
    "probe_folder",
]
