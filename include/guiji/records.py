"""What passes between the steps: frozen dataclasses. Paths lead to immutable Parquet; nothing here holds rows.

System columns of a staged package, beside the delivery's own columns (which keep their source names):
``_row_no`` int64, 1-based over the whole delivery · ``_origin`` string (file, file#sheet, or schema.table) ·
``_line`` int64 (line in the file, or position in the table) · ``_broken`` string, null for a sound row, else the
id of the structural rule (``structure.ragged``, ``structure.encoding``, ``structure.precision_lost`` …) ·
``_raw`` string, the text of a broken row. A broken row is a read row that is rejected.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

SYSTEM_COLUMNS = ("_row_no", "_origin", "_line", "_broken", "_raw")


@dataclass(frozen=True, order=True)
class Window:
    """A half-open span of time [start, end), timezone-aware."""

    start: datetime
    end: datetime

    def __str__(self) -> str:
        return f"{self.start.isoformat()}/{self.end.isoformat()}"

    def name(self) -> str:
        """As people name it: a year, a quarter, a month, a day, or from when to when (its last day included)."""
        from guiji.settings import TIME_ZONE

        begin, end = self.start.astimezone(TIME_ZONE), self.end.astimezone(TIME_ZONE)
        if (begin.hour, begin.minute, end.hour, end.minute) != (0, 0, 0, 0):
            return f"{begin:%Y-%m-%d %H:%M} 至 {end:%Y-%m-%d %H:%M}"
        months = (end.year - begin.year) * 12 + end.month - begin.month
        if begin.day == end.day == 1:
            if months == 12 and begin.month == 1:
                return f"{begin.year}年"
            if months == 3 and begin.month % 3 == 1:
                return f"{begin.year}年{begin.month // 3 + 1}季度"
            if months == 1:
                return f"{begin.year}年{begin.month}月"
        last = end - timedelta(days=1)
        return f"{begin:%Y-%m-%d}" if last.date() == begin.date() else f"{begin:%Y-%m-%d} 至 {last:%Y-%m-%d}"

    @classmethod
    def parse(cls, text: str) -> Window:
        """``START/END`` in ISO 8601; naive times are Asia/Shanghai. Raises ValueError."""
        from guiji.settings import TIME_ZONE

        start, _, end = text.partition("/")
        a, b = datetime.fromisoformat(start), datetime.fromisoformat(end)
        a = a if a.tzinfo else a.replace(tzinfo=TIME_ZONE)
        b = b if b.tzinfo else b.replace(tzinfo=TIME_ZONE)
        if not a < b:
            raise ValueError(f"window {text!r} ends before it begins")
        return cls(a, b)


@dataclass(frozen=True)
class DeliveredFile:
    """One file of a delivery, as the file ledger knows it."""

    path: str
    size: int
    modified_at: datetime
    sha256: str
    business_date: str | None = None


@dataclass
class ReadReport:
    """What a source found out while it was read; complete once ``Delivery.batches`` is exhausted."""

    skipped: dict[str, int] = field(default_factory=dict)  # reason -> lines that are not rows
    cursor_max: str | None = None  # exact source text of the largest cursor that may be kept (F-04, F-07)
    notes: list[str] = field(default_factory=list)
    declared_rows: int | None = None  # what the source says it holds, where it says so
    delivered: list[tuple[str, str]] = field(default_factory=list)  # (column, type) as delivered; no type: empty text
    missing: list[str] = field(default_factory=list)  # days before this file of a series for which none came (F-36)


@dataclass(frozen=True)
class Delivery:
    """One delivery, opened for reading once.

    ``fingerprint`` identifies the content before it is read (files: hash over the sorted file hashes);
    None for a pull from a database or interface, whose identity is the run that pulls.
    """

    columns: tuple[str, ...]
    batches: Iterator[pa.RecordBatch]
    report: ReadReport
    files: tuple[DeliveredFile, ...] = ()
    fingerprint: str | None = None
    #: the same content was already accepted under another name or date (F-35)
    redelivered_of: str | None = None
    #: newer files of a series that wait behind this one, oldest first; each is a delivery and a batch of its own, so
    #: that a later version of a key is a revision and not a duplicate
    following: tuple[Delivery, ...] = ()


@dataclass(frozen=True)
class StagedBatch:
    batch_id: str
    resource_id: str
    window: Window
    directory: str  # holds part-*.parquet and manifest.json
    rows: int
    sha256: str
    columns: tuple[str, ...]  # the delivery's own columns, in order
    types: tuple[str, ...]  # their Arrow types
    skipped: dict[str, int]
    files: tuple[DeliveredFile, ...]
    cursor_max: str | None
    staged_at: datetime
    redelivered_of: str | None = None
    notes: tuple[str, ...] = ()
    delivered_columns: tuple[str, ...] = ()  # as the delivery named and ordered them
    delivered_types: tuple[str, ...] = ()  # theirs, empty texts where the form of supply has none
    missing: tuple[str, ...] = ()  # days of the series for which no file came

    @property
    def delivered(self) -> list[tuple[str, str]]:
        """(column, type) as delivered; empty where the source does not say."""
        return list(zip(self.delivered_columns, self.delivered_types, strict=True))


@dataclass(frozen=True)
class RuleResult:
    """How one rule did on one batch: the A and B of its indicator."""

    rule_id: str
    title: str
    indicator: str
    severity: str  # reject | warn
    standard: str | None
    mend: str
    fields: tuple[str, ...]
    rows: int  # B: rows judged
    failed: int  # B - A
    unjudged: int
    mended: int
    tolerance: float
    suspicious: int = 0  # rows accepted in doubt, by a rule that rejects what is certainly wrong


@dataclass(frozen=True)
class CheckedBatch:
    """Rows judged one by one. All Parquet; columns are the physical field names, typed.

    ``accepted``: fields + ``_row_no _origin _line _row_hash`` of rows that may serve and are not known to
    serve already (carried rows, see ``carried``, are left out). ``rejected``: ``_row_no _origin _line
    _rules list<string> _key`` (the key's text or null where it can't be read; encrypted at rest by publish) and
    ``_raw`` (JSON of the staged row). ``findings``: ``_row_no _origin _line rule_id verdict value_masked``, at most
    10,000 per rule and verdict (``capped`` names the rules that have more; counts are always exact).
    ``present_keys``: key columns of every rejected row whose key can be read. ``flags``: ``_row_no`` and one boolean
    per rule, of the rows that broke at least one; every other read row, carried ones too, broke none.
    """

    batch_id: str
    directory: str
    accepted: str
    rejected: str
    findings: str
    present_keys: str
    flags: str
    rows_read: int
    rows_rejected: int
    rows_duplicate: int
    rows_accepted: int  # in ``accepted``
    rows_carried: int  # identical to rows that already serve and were checked by the same rules
    unreadable_keys: int  # rejected rows whose key can't be read: a snapshot's deletions are then held
    rules: tuple[RuleResult, ...]
    fingerprint: str  # of the resource's rules
    signature: str = ""  # what a snapshot cache made from this batch holds for, see quality/carry.py
    judged_on: str = ""  # ISO date: no row of the batch, carried or not, was judged before
    cache: str | None = None  # the snapshot cache that carried rows stand in
    absent: str | None = None  # Parquet ``_cache_row``: rows of that cache that the delivery doesn't repeat
    assigned: tuple[int, ...] = ()  # values per declared field, over all read rows (0201)
    capped: tuple[str, ...] = ()


@dataclass(frozen=True)
class QualityReport:
    """Great Expectations' verdict on a batch."""

    outcome: str  # passed | warning | held
    reasons: tuple[str, ...]  # Chinese, one per failed expectation
    expectations: int
    failed: int
    result_path: str  # GX result as JSON, without personal values
    seconds: float


@dataclass(frozen=True)
class Difference:
    """What a batch changes in its source table. ``changes`` holds the accepted columns + ``_op`` (new|changed);
    ``deleted`` the key columns of keys that disappeared; ``tombstones`` key and order columns of delete markers, where
    deletions have a time."""

    changes: str
    deleted: str
    cache: str | None  # the snapshot cache to adopt with this publish
    rows_new: int
    rows_changed: int
    rows_unchanged: int
    rows_superseded: int
    rows_tombstone: int
    rows_deleted: int
    current_rows: int  # rows that served before
    held_reasons: tuple[str, ...] = ()  # mass-change guard
    notes: tuple[str, ...] = ()  # Chinese; for instance why deletions were not made
    tombstones: str | None = None


@dataclass(frozen=True)
class BatchRecord:
    """One row of ``ops.batch``."""

    batch_id: str
    resource_id: str
    window_start: datetime
    window_end: datetime
    status: str  # staged | held | refused | published | superseded | failed
    outcome: str | None  # passed | warning | held
    rows_read: int = 0
    rows_rejected: int = 0
    rows_held: int = 0
    rows_duplicate: int = 0
    rows_superseded: int = 0
    rows_tombstone: int = 0
    rows_new: int = 0
    rows_changed: int = 0
    rows_unchanged: int = 0
    rows_deleted: int = 0
    rows_skipped: int = 0
    sha256: str | None = None
    started_at: datetime | None = None
    published_at: datetime | None = None
    reason: str | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> BatchRecord:
        return cls(**{f.name: row[f.name] for f in fields(cls)})

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, default=_json_default)


def _json_default(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def write_record(path: Path, record: Any) -> None:
    """Writes a record beside its Parquet, readable by the owner only, by rename so that it is whole or absent."""
    import os

    temporary = path.with_suffix(path.suffix + ".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as f:
        json.dump(asdict(record), f, ensure_ascii=False, default=_json_default)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)


def read_record(path: Path, kind: type[T]) -> T:
    """The inverse of ``write_record`` for the records above."""
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if "window" in raw:
        raw["window"] = Window(*(datetime.fromisoformat(raw["window"][k]) for k in ("start", "end")))
    if "files" in raw:
        raw["files"] = tuple(
            DeliveredFile(**{**f, "modified_at": datetime.fromisoformat(f["modified_at"])}) for f in raw["files"]
        )
    if "rules" in raw:
        raw["rules"] = tuple(RuleResult(**{**r, "fields": tuple(r["fields"])}) for r in raw["rules"])
    for name in ("staged_at",):
        if name in raw:
            raw[name] = datetime.fromisoformat(raw[name])
    for name, value in raw.items():
        if isinstance(value, list):
            raw[name] = tuple(value)
    return kind(**raw)
