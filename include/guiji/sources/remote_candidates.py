"""Which files of a folder are a delivery, and when it is complete (F-33).

A name that begins with a dot or ends in .part, .tmp or .filepart is never a delivery. A file is complete when its
marker is there, when a manifest names it and it is as large as that says, or when size and time stay the same over
two looks; the last is asked too where the marker is older than the file.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.errors import DeliveryRefused, NothingDelivered
from guiji.records import DeliveredFile, Window
from guiji.sources.manifest import Stated, read_manifest
from guiji.sources.remote_folder import Folder, Listed

if TYPE_CHECKING:
    from guiji.catalog.models import Completeness, FilesSource, RemoteFilesSource, Resource

_UNFINISHED = (".part", ".tmp", ".filepart", ".crdownload", ".swp", "~")


@dataclass(frozen=True)
class Candidate:
    """A file that may be a delivery, or the first of the files that a manifest names (``more`` are the others)."""

    file: Listed
    business_date: date | None
    marker: Listed | None = None
    more: tuple[Listed, ...] = ()
    #: what the manifest says of each file, by name
    stated: Mapping[str, Stated] = field(default_factory=dict)
    #: files that the manifest names and that are not there, or not whole yet
    awaited: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Listed, ...]:
        return (self.file, *self.more)


def find_candidates(
    source: RemoteFilesSource | FilesSource, listed: Sequence[Listed], resource_id: str, folder: Folder
) -> list[Candidate]:
    """The files whose whole name matches the pattern, with business date and marker; oldest first."""
    pattern = re.compile(source.pattern)
    by_name = {f.name: f for f in listed}
    if source.complete.mode == "manifest":
        found = _find_by_manifest(source, pattern, listed, resource_id, folder)
        return sorted(found, key=_order)
    found = []
    for file in listed:
        m = None if is_unfinished(file.name) else pattern.fullmatch(file.name)
        if m is None:
            continue
        business_date = _parse_date(m, source.date_format, file.name, resource_id)
        if source.complete.mode == "ok_file":
            suffix = source.complete.suffix
            marker = by_name.get(file.name + suffix) or by_name.get(Path(file.name).stem + suffix)
            if marker is None:
                continue
            found.append(Candidate(file, business_date, marker))
        else:
            found.append(Candidate(file, business_date))
    return sorted(found, key=_order)


def is_unfinished(name: str) -> bool:
    return name.startswith(".") or name.lower().endswith(_UNFINISHED)


def _order(c: Candidate) -> tuple[date, datetime, str]:
    return c.business_date or date.min, (c.marker if c.stated and c.marker else c.file).modified_at, c.file.name


def _find_by_manifest(
    source: RemoteFilesSource | FilesSource,
    pattern: re.Pattern[str],
    listed: Sequence[Listed],
    resource_id: str,
    folder: Folder,
) -> list[Candidate]:
    by_name = {f.name: f for f in listed}
    found = []
    for manifest in listed:
        m = None if is_unfinished(manifest.name) else re.fullmatch(source.complete.manifest or "", manifest.name)
        if m is None:
            continue
        stated, others = read_manifest(folder, manifest, pattern)
        if not stated:
            continue
        awaited = tuple(n for n, s in stated.items() if n not in by_name or by_name[n].size < (s.size or 0))
        there = [by_name[n] for n in stated if n in by_name] or [manifest]
        dated = m if "date" in m.groupdict() else pattern.fullmatch(next(iter(stated)))
        assert dated is not None
        business_date = _parse_date(dated, source.date_format, manifest.name, resource_id)
        notes = [f"清单 {manifest.name} 中的 {n} 不符合约定的文件名，未采集" for n in others]
        found.append(Candidate(there[0], business_date, manifest, tuple(there[1:]), stated, awaited, tuple(notes)))
    return found


def _parse_date(m: re.Match[str], form: str, name: str, resource_id: str) -> date | None:
    text = m.groupdict().get("date")
    try:
        return datetime.strptime(text, form).date() if text else None  # noqa: DTZ007
    except ValueError:
        raise DeliveryRefused(
            f"文件 {name}：文件名中的日期“{text}”不符合约定的格式 {form}。现有数据继续有效；请更正文件名后重新提供。",
            rule_id="delivery.file_name",
            resource_id=resource_id,
        ) from None


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
        return all(f.identity in known for f in c.files)

    archive = getattr(resource.model.source, "archive", None)
    latest = _find_latest(known_files) if archive else None
    if latest is not None and resource.model.load == "snapshot" and not explicit:
        # what was newer has been put away; what was passed over is not to come after it
        reached = (latest.business_date or "", latest.modified_at)
        chosen = [c for c in chosen if _reach(c) > reached]
    if resource.model.load == "snapshot":
        # a register is of all files that are there, and is made anew when one of them is
        chosen = (
            chosen[-1:] if not is_register(resource) else chosen if explicit or not all(map(is_known, chosen)) else []
        )
    if not explicit and not (is_register(resource) and resource.model.load == "snapshot"):
        chosen = [c for c in chosen if not is_known(c)]
    if not chosen:
        there = f"{len(candidates)} matching file(s), none new" if candidates else "no file matches the pattern"
        raise NothingDelivered(
            f"{resource.id}: nothing was delivered for {window} ({there}). The old data go on serving; "
            "it will be looked at again.",
            resource_id=resource.id,
            # the batch that took the newest file there: a run of the same window is done, not waiting
            known_batch=getattr(latest, "batch_id", None) or _batch_of(candidates, known_files),
        )
    return chosen


def is_register(resource: Resource) -> bool:
    """True when loose documents are supplied: all of them together are one delivery."""
    form = getattr(resource.model.source, "format", None)
    return form is not None and form.type == "document" and form.archive == "none"


def _batch_of(candidates: Sequence[Candidate], known_files: Sequence[DeliveredFile]) -> str | None:
    if not candidates:
        return None
    newest = candidates[-1].file
    taken = [k for k in known_files if (k.path, k.size, k.modified_at.timestamp()) == newest.identity]
    return getattr(taken[-1], "batch_id", None) if taken else None


def _is_within(day: date, window: Window) -> bool:
    zone = window.start.tzinfo
    return window.start <= datetime(day.year, day.month, day.day, tzinfo=zone) < window.end


def _find_latest(known_files: Sequence[DeliveredFile]) -> DeliveredFile | None:
    published = [k for k in known_files if getattr(k, "status", "published") == "published"]
    return max(published, key=lambda k: (k.business_date or "", k.modified_at), default=None)


def _reach(c: Candidate) -> tuple[str, datetime]:
    day = c.business_date.isoformat() if c.business_date else ""
    return day, max(f.modified_at for f in c.files)


def wait_complete(complete: Completeness, chosen: Sequence[Candidate], folder: Folder) -> list[Candidate]:
    """Those of ``chosen`` that are complete: by marker (already demanded), by manifest, or unchanged over ``seconds``."""
    if complete.mode == "manifest":
        chosen = [c for c in chosen if not c.awaited]
    doubtful = [c for c in chosen if complete.mode != "ok_file" or is_stale(c)]
    if complete.seconds <= 0 or not doubtful:
        return list(chosen)
    time.sleep(complete.seconds)
    again = {f.raw: f for f in folder.list_files()}

    def is_unchanged(f: Listed) -> bool:
        return f.archived or (f.raw in again and again[f.raw].is_still(f.size, f.modified_at))

    # a manifest may still grow as well, and name more files then
    return [
        c for c in chosen if c not in doubtful or all(map(is_unchanged, (*c.files, *([c.marker] if c.marker else []))))
    ]


def is_stale(c: Candidate) -> bool:
    """True for a marker older than its file: that it is there says nothing of the file, which was uploaded (again) after
    it or keeps another machine's time. What is written in it may still prove the file."""
    return c.marker is not None and not c.stated and c.marker.modified_at < c.file.modified_at


def say_stale(c: Candidate) -> str:
    assert c.marker is not None
    return (
        f"完成标志文件 {c.marker.name} 早于文件 {c.file.name}，不能说明文件已传完；请在文件传完之后再上传完成标志文件"
    )
