"""What SFTP, FTP and folders share: which files are a delivery, when a file is complete, and how it gets here whole.

A name that begins with a dot or ends in .part, .tmp or .filepart is never a delivery (F-33). A file is complete when
its marker is there, or when size and time stay the same over two looks. It is downloaded under another name, its size
compared, synced and renamed (F-34); its SHA-256 makes the delivery's fingerprint (F-35).
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from guiji.errors import DeliveryRefused, NothingDelivered, SourceUnavailable, UsageError
from guiji.records import DeliveredFile, Delivery, ReadReport, Window
from guiji.sources.columns import expected_columns
from guiji.sources.documents import open_documents
from guiji.sources.formats import read_file

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import Completeness, FilesSource, RemoteFilesSource, Resource
    from guiji.settings import Settings

_UNFINISHED = (".part", ".tmp", ".filepart", ".crdownload", ".swp", "~")
_SHA256 = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{64}(?![0-9a-fA-F])")
_MD5 = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{32}(?![0-9a-fA-F])")
_SIZE = re.compile(r"(?<![0-9A-Za-z])\d{1,15}(?![0-9A-Za-z])")
ATTEMPTS = 3


@dataclass(frozen=True)
class Listed:
    """One file of a listing. ``raw`` is its name on the wire."""

    name: str
    raw: bytes
    size: int
    modified_at: datetime


class Folder(Protocol):
    """A folder of files, local or far away."""

    def list_files(self) -> list[Listed]:
        """The regular files. Raises SourceUnavailable, SourceRefused."""

    def fetch(self, file: Listed, target: Path, attempt: int) -> None:
        """Writes the file to ``target``. Raises SourceUnavailable when it breaks off."""

    def read_small(self, file: Listed) -> bytes:
        """The content of a marker file."""


@dataclass(frozen=True)
class Candidate:
    """A file that may be part of a delivery."""

    file: Listed
    business_date: date | None
    marker: Listed | None = None


def decode_name(raw: bytes) -> str:
    """A file name: UTF-8, else GB18030 (F-40); what is neither keeps its bytes as escapes."""
    for encoding in ("utf-8", "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("utf-8", "backslashreplace")


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
    candidates = find_candidates(source, folder.list_files(), resource.id)
    chosen = choose_files(resource, candidates, window, known_files, settings.now(), explicit)
    ready = wait_complete(source.complete, chosen, folder)
    if not ready:
        raise NothingDelivered(
            f"{resource.id}: {len(chosen)} file(s) are there but not complete yet "
            f"({', '.join(c.file.name for c in chosen[:5])}). The old data go on serving; it will be looked at again.",
            resource_id=resource.id,
        )
    if _is_register(resource):

        def fetch(c: Candidate, target: Path) -> tuple[Path, str]:
            path, digest = fetch_whole(folder, c, target)
            if (refusal := compare_marker(folder, c, digest, path)) is not None:
                raise refusal
            return path, digest

        return open_documents(resource, ready, fetch, known_files, scratch, _combine)
    deliveries = []
    for i, c in enumerate(ready):
        path, digest = fetch_whole(folder, c, scratch / f"{i:04d}{_suffix(c.file.name)}")
        refusal = compare_marker(folder, c, digest, path)
        if refusal is not None and len(ready) == 1:
            raise refusal
        deliveries.append(build_delivery(resource, c, path, digest, known_files, explicit, refusal))
    return replace(deliveries[0], following=tuple(deliveries[1:]))


def _suffix(name: str) -> str:
    return re.sub(r"[^.A-Za-z0-9]", "", Path(name).suffix)[:10]


def find_candidates(
    source: RemoteFilesSource | FilesSource, listed: Sequence[Listed], resource_id: str
) -> list[Candidate]:
    """The files whose whole name matches the pattern, with business date and marker; oldest first."""
    pattern = re.compile(source.pattern)
    by_name = {f.name: f for f in listed}
    found = []
    for file in listed:
        if file.name.startswith(".") or file.name.lower().endswith(_UNFINISHED):
            continue
        m = pattern.fullmatch(file.name)
        if m is None:
            continue
        text = m.groupdict().get("date")
        try:
            business_date = datetime.strptime(text, source.date_format).date() if text else None  # noqa: DTZ007
        except ValueError:
            raise DeliveryRefused(
                f"文件 {file.name}：文件名中的日期“{text}”不符合约定的格式 {source.date_format}。"
                "现有数据继续有效；请更正文件名后重新提供。",
                rule_id="delivery.file_name",
                resource_id=resource_id,
            ) from None
        if source.complete.mode == "ok_file":
            suffix = source.complete.suffix
            marker = by_name.get(file.name + suffix) or by_name.get(Path(file.name).stem + suffix)
            if marker is None:
                continue
            found.append(Candidate(file, business_date, marker))
        else:
            found.append(Candidate(file, business_date))
    return sorted(found, key=lambda c: (c.business_date or date.min, c.file.modified_at, c.file.name))


def choose_files(
    resource: Resource,
    candidates: Sequence[Candidate],
    window: Window,
    known_files: Sequence[DeliveredFile],
    now: datetime,
    explicit: bool,
) -> list[Candidate]:
    """The files to read, oldest business date first: of a snapshot the newest one, else all that are new.

    ``explicit``: this window is to be read again, so what is known is read too, and only files dated in it.
    """
    if explicit:
        chosen = [c for c in candidates if c.business_date is None or _is_within(c.business_date, window)]
    else:
        today = now.date()
        chosen = [c for c in candidates if c.business_date is None or c.business_date <= today]
    known = {(k.path, k.size, k.modified_at.timestamp()) for k in known_files}

    def is_known(c: Candidate) -> bool:
        return _identity(c.file) in known

    if resource.model.load == "snapshot":
        # a register is of all files that are there, and is made anew when one of them is
        chosen = (
            chosen[-1:] if not _is_register(resource) else chosen if explicit or not all(map(is_known, chosen)) else []
        )
    if not explicit and not (_is_register(resource) and resource.model.load == "snapshot"):
        chosen = [c for c in chosen if not is_known(c)]
    if not chosen:
        there = f"{len(candidates)} matching file(s), none new" if candidates else "no file matches the pattern"
        raise NothingDelivered(
            f"{resource.id}: nothing was delivered for {window} ({there}). The old data go on serving; "
            "it will be looked at again.",
            resource_id=resource.id,
            # the batch that took the newest file there: a run of the same window is done, not waiting
            known_batch=_batch_of(candidates, known_files),
        )
    return chosen


def _is_register(resource: Resource) -> bool:
    """True when loose documents are supplied: all of them together are one delivery."""
    form = getattr(resource.model.source, "format", None)
    return form is not None and form.type == "document" and form.archive == "none"


def _batch_of(candidates: Sequence[Candidate], known_files: Sequence[DeliveredFile]) -> str | None:
    if not candidates:
        return None
    newest = candidates[-1].file
    taken = [k for k in known_files if (k.path, k.size, k.modified_at.timestamp()) == _identity(newest)]
    return getattr(taken[-1], "batch_id", None) if taken else None


def _identity(file: Listed) -> tuple[str, int, float]:
    return file.name, file.size, file.modified_at.timestamp()


def _is_within(day: date, window: Window) -> bool:
    zone = window.start.tzinfo
    return window.start <= datetime(day.year, day.month, day.day, tzinfo=zone) < window.end


def wait_complete(complete: Completeness, chosen: Sequence[Candidate], folder: Folder) -> list[Candidate]:
    """Those of ``chosen`` that are complete: by marker (already demanded), or unchanged over ``seconds``."""
    if complete.mode == "ok_file" or complete.seconds <= 0:
        return list(chosen)
    time.sleep(complete.seconds)
    again = {f.raw: f for f in folder.list_files()}
    return [c for c in chosen if again.get(c.file.raw) == c.file]


def fetch_whole(folder: Folder, candidate: Candidate, target: Path) -> tuple[Path, str]:
    """The file at ``target``, whole and synced, and its SHA-256. Retried; raises SourceUnavailable in the end."""
    file = candidate.file
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = target.with_name(target.name + ".download")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            temporary.unlink(missing_ok=True)
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            folder.fetch(file, temporary, attempt)
            arrived = temporary.stat().st_size
            if arrived != file.size:
                raise SourceUnavailable(
                    f"File {file.name} has {file.size} bytes in the listing, {arrived} arrived. Nothing was staged; "
                    "it will be fetched again."
                )
            break
        except SourceUnavailable:
            temporary.unlink(missing_ok=True)
            if attempt == ATTEMPTS:
                raise
            time.sleep(0.2 * attempt)
    digest = _hash(temporary)
    with temporary.open("rb") as f:
        os.fsync(f.fileno())
    os.replace(temporary, target)
    return target, digest


def _hash(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def compare_marker(folder: Folder, candidate: Candidate, digest: str, path: Path) -> DeliveryRefused | None:
    """The refusal, when the marker file says another size or hash than what arrived; the file is removed then."""
    if candidate.marker is None or not 0 < candidate.marker.size <= 4096:
        return None
    text = folder.read_small(candidate.marker).decode("utf-8", "replace")
    wrong = None
    if m := _SHA256.search(text):
        wrong = "SHA-256" if m.group().lower() != digest else None
    elif m := _MD5.search(text):
        with path.open("rb") as f:
            md5 = hashlib.file_digest(f, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        wrong = "MD5" if m.group().lower() != md5 else None
    elif m := _SIZE.fullmatch(text.strip()):
        wrong = "大小" if int(m.group()) != candidate.file.size else None
    if not wrong:
        return None
    path.unlink()
    return DeliveryRefused(
        f"文件 {candidate.file.name}：{wrong}与完成标志文件 {candidate.marker.name} 中写明的不一致，可能没有传完。"
        "现有数据继续有效；请重新上传文件和标志文件。",
        rule_id="delivery.half_a_file",
        fingerprint=_combine(digest),
    )


def build_delivery(
    resource: Resource,
    candidate: Candidate,
    path: Path,
    digest: str,
    known_files: Sequence[DeliveredFile],
    explicit: bool,
    refusal: DeliveryRefused | None = None,
) -> Delivery:
    """The delivery of one fetched file. What was accepted before under another name is not read twice (F-35).

    ``refusal`` is raised when the delivery is read, so that one bad file of a series does not stop the others.
    """
    listed, day = candidate.file, candidate.business_date.isoformat() if candidate.business_date else None
    file = DeliveredFile(listed.name, listed.size, listed.modified_at, digest, day)
    notes = []
    published = [k for k in known_files if getattr(k, "status", "published") == "published"]
    newest = max((str(k.business_date) for k in published if k.business_date), default=None)
    if newest and day and day < newest and not explicit:
        notes.append(f"文件 {listed.name} 的业务日期早于已归集的 {newest}，属补报")
    accepted = [k for k in published if k.sha256 == digest]
    redelivered_of = None
    fingerprint = _combine(digest)
    if accepted and not explicit:
        redelivered_of = getattr(accepted[-1], "batch_id", None) or None
        notes.append(f"文件 {listed.name} 与已归集的文件内容完全相同")
        # another name or date is another delivery of the same content
        fingerprint = _combine(f"{fingerprint}|{listed.name}|{listed.modified_at.isoformat()}")
    report = ReadReport(notes=notes)
    expected = expected_columns(resource)
    fmt = resource.model.source.format  # type: ignore[union-attr]
    batches = _read(lambda: read_file(path, file.path, expected, fmt, report), path, refusal)
    return Delivery(expected.columns, batches, report, (file,), fingerprint, redelivered_of)


def _combine(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(
    open_file: Callable[[], Iterator[pa.RecordBatch]], path: Path, refusal: DeliveryRefused | None
) -> Iterator[pa.RecordBatch]:
    """The file's batches. It is opened when it is read, so that what is wrong with it stops no other file of the
    series; the fetched copy is removed at the end, however it comes."""
    try:
        if refusal is not None:
            raise refusal
        yield from open_file()
    finally:
        path.unlink(missing_ok=True)


def from_epoch(seconds: float) -> datetime:
    """A file time, to the second: servers disagree on anything finer."""
    return datetime.fromtimestamp(int(seconds), UTC)


def fetch_by_chunks(read: Callable[[], bytes], target: Path) -> None:
    with target.open("wb") as f:
        while chunk := read():
            f.write(chunk)


def bad_directory(resource_id: str, directory: str, why: str) -> UsageError:
    return UsageError(f"{resource_id}: directory {directory!r} {why}. Nothing was read; correct the catalog.")
