"""What a digest is made of: frozen, free of rows of a department."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guiji.catalog.models import Contact

MAX_DETAILED = 12
"""resources told at length in one mail; the others get a line, and their rows are in the workbook"""


@dataclass(frozen=True)
class Event:
    """One row of ``ops.outbox`` that waits."""

    event_id: int
    department_id: str
    resource_id: str | None
    batch_id: str | None
    kind: str
    cause: str
    payload: Mapping[str, Any]
    created_at: datetime
    attempts: int = 0
    responsible: str | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Event:
        payload = row["payload"] or {}
        names = ("event_id", "department_id", "resource_id", "batch_id", "kind", "cause", "created_at", "attempts")
        return cls(
            **{n: row[n] for n in names}, payload=payload, responsible=payload.get("responsible") or row["responsible"]
        )


@dataclass(frozen=True)
class Sample:
    locator: str
    value: str
    verdict: str


@dataclass(frozen=True)
class Fault:
    """One rule that rows of a batch failed: A and B, samples, and how to mend it."""

    rule_id: str
    title: str
    standard: str
    indicator: str
    fields: str
    failed: int
    rows: int
    verdict: str
    mend: str
    due_at: datetime | None
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class Item:
    """One resource in one block."""

    department: str
    name: str
    resource_id: str
    code: str
    window: str = ""
    batch_id: str = ""
    origin: str = ""
    what: str = ""
    mend: str = ""
    technical: str = ""
    serving: str = ""
    read: int = 0
    rejected: int = 0
    held: int = 0
    accepted: int = 0
    times: int = 1
    due_at: datetime | None = None
    stage: str = ""
    at: datetime | None = None
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Block:
    """Events of one kind and one root cause."""

    kind: str
    heading: str
    tone: str
    lead: str
    advice: str
    cause: str
    responsible: str
    detailed: bool
    items: tuple[Item, ...]

    @property
    def long_items(self) -> tuple[Item, ...]:
        return self.items[:MAX_DETAILED] if self.detailed else ()

    @property
    def short_items(self) -> tuple[Item, ...]:
        return self.items[MAX_DETAILED:] if self.detailed else self.items


@dataclass(frozen=True)
class Sheet:
    """Rows of one resource for the workbook: (locator, fields, value, demand, standard, verdict, mend, rule id)."""

    title: str
    rows: tuple[tuple[str, ...], ...]
    total: int


@dataclass(frozen=True)
class Digest:
    """One mail."""

    addressee: str  # department id, "" for the centre
    addressee_name: str
    recipients: tuple[Contact, ...]
    subject: str
    composed_at: datetime
    due_at: datetime | None  # the nearest deadline that lies ahead
    overdue: int  # cases whose deadline has passed
    blocks: tuple[Block, ...]
    sheets: tuple[Sheet, ...]
    events: tuple[Event, ...]
    dropped: tuple[int, ...]  # events whose case was closed meanwhile

    @property
    def has_fix_sheet(self) -> bool:
        return bool(self.sheets)

    @property
    def fix_sheet_name(self) -> str:
        return f"整改清单_{self.addressee_name}_{self.composed_at:%Y%m%d}.xlsx"

    @property
    def greeting(self) -> str:
        names = "、".join(dict.fromkeys(c.name for c in self.recipients))
        return f"{self.addressee_name} {names}：" if names else f"{self.addressee_name}："

    @property
    def resources(self) -> int:
        return len({i.resource_id for b in self.blocks for i in b.items if i.resource_id})

    @property
    def is_good_news(self) -> bool:
        return all(b.kind == "recovered" for b in self.blocks)
