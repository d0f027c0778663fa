"""What one mail says: events grouped by root cause, with the facts of their batches. Frozen, free of rows.

Everything that comes from outside (locators, values, reasons) has passed ``scrub`` on top of the masking that was
done where it was found, so that no personal value reaches a mail even when a masking upstream is forgotten (F-67).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from guiji.city import City
from guiji.masking import scrub
from guiji.notices import words
from guiji.notices.facts import Facts, Ticket, load_facts

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog import Catalog
    from guiji.catalog.models import Contact, Resource

CENTRE_KINDS = frozenset({"stale", "escalated", "bounced"})
DETAILED = frozenset({"held", "refused", "failed_rows"})
PROBLEMS = frozenset({"held", "refused", "failed_rows", "unavailable", "refused_us", "missed"})
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


def is_for_centre(event: Event) -> bool:
    """Our own faults are never presented as a department's; what only the centre can do goes to the centre."""
    return event.kind in CENTRE_KINDS or event.responsible == "ours"


def find_recipients(catalog: Catalog, department_id: str, events: Iterable[Event]) -> list[Contact]:
    """Valid contacts of the department and of the resources concerned, each address once."""
    from guiji.notices.mail import is_email

    department = catalog.departments.get(department_id)
    contacts: list[Contact] = list(department.contacts) if department else []
    for event in events:
        resource = catalog.resources.get(event.resource_id or "")
        if resource is not None and resource.department.id == department_id:
            contacts += resource.model.contacts
    unique = {c.email.lower(): c for c in reversed(contacts) if is_email(c.email)}
    return [c for c in dict.fromkeys(contacts) if unique.get(c.email.lower()) is c]


def build_digest(
    conn: Connection[dict[str, Any]],
    catalog: Catalog,
    city: City,
    addressee: str,
    events: Sequence[Event],
    now: datetime,
) -> Digest:
    """The digest of these events; ``blocks`` is empty when every case has been closed meanwhile."""
    facts = load_facts(conn, events)
    kept = [e for e in events if not _is_settled(e, facts)]
    told, folded = _fold(catalog, kept)
    blocks = _build_blocks(catalog, addressee, told, folded, facts)
    recipients = tuple(find_recipients(catalog, addressee, kept)) if addressee else ()
    name = catalog.departments[addressee].name if addressee in catalog.departments else addressee or city.centre
    deadlines = [i.due_at for b in blocks for i in b.items if i.due_at and b.kind in (*DETAILED, "reminder")]
    due_at = min((d for d in deadlines if d > now), default=None)
    overdue = sum(d <= now for d in deadlines)
    dropped = tuple(e.event_id for e in events if e not in kept)
    return Digest(
        addressee=addressee,
        addressee_name=name,
        recipients=recipients,
        subject=_subject(name, blocks, due_at, overdue, is_centre=not addressee),
        composed_at=now,
        due_at=due_at,
        overdue=overdue,
        blocks=blocks,
        sheets=_build_sheets(conn, catalog, blocks, facts) if addressee else (),
        events=tuple(kept),
        dropped=dropped,
    )


def _is_settled(event: Event, facts: Facts) -> bool:
    if event.kind not in ("reminder", "escalated"):
        return False
    ticket = facts.tickets_by_id.get(int(event.payload.get("ticket_id", 0)))
    return ticket is not None and ticket.closed_at is not None


def _fold(catalog: Catalog, events: Sequence[Event]) -> tuple[list[tuple[Event, int]], dict[int, int]]:
    """Events worth telling with how often they happened, and per recovery how many earlier problems it ended.

    A problem that a later batch has already ended is part of the recovery; of a snapshot's batches only the newest
    is told, because it holds all that is still wrong; a failure that came again and again is one failure.
    """
    recoveries = {e.resource_id: e for e in events if e.kind == "recovered"}
    latest: dict[tuple[object, ...], tuple[Event, int]] = {}
    ended: dict[int, int] = {}
    for event in events:
        recovery = recoveries.get(event.resource_id)
        if (
            recovery is not None
            and event.kind in PROBLEMS
            and event.event_id < recovery.event_id
            and event.batch_id != recovery.batch_id
        ):
            ended[recovery.event_id] = ended.get(recovery.event_id, 0) + 1
            continue
        key = _identity(catalog, event)
        latest[key] = (event, latest[key][1] + 1 if key in latest else 1)
    return sorted(latest.values(), key=lambda x: x[0].event_id), ended


def _identity(catalog: Catalog, event: Event) -> tuple[object, ...]:
    resource = catalog.resources.get(event.resource_id or "")
    if event.kind in DETAILED and (resource is None or resource.model.load == "incremental"):
        return (event.kind, event.event_id)
    if event.kind in ("reminder", "escalated", "missed", "bounced"):
        return (event.kind, event.event_id)
    return (event.kind, event.department_id, event.resource_id)


# --- blocks -------------------------------------------------------------------------------------------


def _build_blocks(
    catalog: Catalog, addressee: str, told: Sequence[tuple[Event, int]], ended: Mapping[int, int], facts: Facts
) -> tuple[Block, ...]:
    groups: dict[tuple[str, str, bool, bool], list[tuple[Event, int]]] = {}
    for event, times in told:
        undelivered = not addressee and not is_for_centre(event)
        ours = event.responsible == "ours" and event.kind not in CENTRE_KINDS
        cause = "" if event.kind in (*DETAILED, "recovered") else event.cause
        groups.setdefault((event.kind, cause, undelivered, ours), []).append((event, times))
    blocks = []
    for (kind, cause, undelivered, ours), members in groups.items():
        items = [_build_item(catalog, event, times, ended, facts) for event, times in members]
        blocks.append(_build_block(kind, cause, undelivered, ours, items, members))
    return tuple(sorted(blocks, key=lambda b: (words.KINDS.get(b.kind, words.OTHER).order, b.kind, b.cause)))


def _build_block(
    kind: str, cause: str, undelivered: bool, ours: bool, items: list[Item], members: list[tuple[Event, int]]
) -> Block:
    text = words.OURS if ours else words.KINDS.get(kind, words.OTHER)
    lead = text.lead
    if undelivered:
        lead = "以下部门没有登记有效的联系人邮箱，通知无法送达，请代为转告并补登联系人。" + lead
    responsible = {m.responsible for m, _ in members} - {None}
    if kind == "missed" and responsible == {"front_end"}:
        lead = "以下资源在约定的更新周期内没有收到数据，原因是前置机或接口无法连接，不属于部门漏报。"
    return Block(
        kind=kind,
        heading=text.heading,
        tone=text.tone,
        lead=lead,
        advice=text.advice,
        cause=words.say_cause(cause)[0],
        responsible="平台" if ours else "前置机" if kind in ("unavailable", "refused_us") else "",
        detailed=kind in DETAILED and not ours,
        items=tuple(sorted(items, key=lambda i: (i.due_at is None, i.due_at, i.department, i.name))),
    )


def _build_item(catalog: Catalog, event: Event, times: int, ended: Mapping[int, int], facts: Facts) -> Item:
    resource = catalog.resources.get(event.resource_id or "")
    department = catalog.departments.get(event.department_id)
    item = Item(
        department=department.name if department else event.department_id,
        name=resource.model.name if resource else event.resource_id or "",
        resource_id=event.resource_id or "",
        code=resource.model.code if resource else "",
        batch_id=event.batch_id or "",
        times=times,
        at=event.created_at,
    )
    changes: dict[str, Any]
    if event.kind in ("reminder", "escalated"):
        changes = _tell_ticket(facts.tickets_by_id.get(int(event.payload.get("ticket_id", 0))), facts)
    elif event.kind == "missed":
        changes = _tell_missed(event, facts)
    elif event.kind == "bounced":
        changes = {"what": "；".join(facts.refused_mail.get(str(event.payload.get("mail_id")), ()))}
    elif event.kind == "recovered":
        changes = _tell_recovery(event, ended, facts)
    else:
        changes = _tell_batch(event, resource, facts)
    return Item(**{**vars(item), **changes})


def _tell_batch(event: Event, resource: Resource | None, facts: Facts) -> dict[str, Any]:
    what, mend = words.say_cause(event.cause)
    batch = facts.batches.get(event.batch_id or "")
    tickets = {t.rule_id: t for t in facts.open_tickets.get(event.resource_id or "", ())}
    told: dict[str, Any] = {"what": what, "mend": mend}
    if event.kind in ("unavailable", "refused_us", "stale"):
        told["serving"] = facts.say_serving(event.resource_id, event.batch_id)
        if batch:
            told["window"] = words.say_window(batch["window_start"], batch["window_end"])
            told["technical"] = _technical(batch["reason"])
        return told
    if batch is None:
        return told
    faults = _build_faults(event.batch_id or "", resource, tickets, facts)
    rule_due = [f.due_at for f in faults if f.due_at]
    own = tickets.get(event.cause)
    told |= {
        "window": words.say_window(batch["window_start"], batch["window_end"]),
        "origin": _say_origin(event.batch_id or "", resource, facts),
        "read": batch["rows_read"],
        "rejected": batch["rows_rejected"],
        "held": batch["rows_held"],
        "accepted": batch["rows_new"] + batch["rows_changed"] + batch["rows_unchanged"],
        "due_at": own.due_at if own else min(rule_due or [t.due_at for t in tickets.values()], default=None),
        "faults": faults,
    }
    reason = str(batch["reason"] or "")
    if event.kind == "failed_rows":
        told["what"] = told["mend"] = ""
        told["serving"] = "其余数据已正常入库；上述问题数据如以前有合格版本，原版本继续使用。"
    else:
        told["serving"] = facts.say_serving(event.resource_id, event.batch_id)
        if event.cause == "held.rejected":
            told["what"] = f"{what}：{scrub(str(event.payload.get('reason') or ''))}"
        elif _is_chinese(reason):
            told["what"] = scrub(reason)
        else:
            told["technical"] = _technical(reason)
    return told


def _tell_ticket(ticket: Ticket | None, facts: Facts) -> dict[str, Any]:
    if ticket is None:
        return {}
    rule = facts.rules.get(ticket.opened_batch or "", {}).get(ticket.rule_id, {})
    title = str(rule.get("title") or words.STRUCTURE.get(ticket.rule_id) or words.say_cause(ticket.rule_id)[0])
    return {
        "what": title or ticket.rule_id,
        "mend": str(rule.get("mend") or words.say_cause(ticket.rule_id)[1]),
        "due_at": ticket.due_at,
        "stage": words.STAGES[ticket.stage],
        "rejected": ticket.rows_open,
        "at": ticket.opened_at,
    }


def _tell_missed(event: Event, facts: Facts) -> dict[str, Any]:
    window = facts.find_window(event.resource_id or "", event.payload.get("window_start"))
    if window is None:
        return {"serving": facts.say_serving(event.resource_id, None)}
    return {
        "window": words.say_window(window["window_start"], window["window_end"]),
        "due_at": window["due_at"],
        "serving": facts.say_serving(event.resource_id, None),
    }


def _tell_recovery(event: Event, ended: Mapping[int, int], facts: Facts) -> dict[str, Any]:
    batch = facts.batches.get(event.batch_id or "")
    closed = facts.closed_tickets.get(event.batch_id or "", ())
    titles = []
    for ticket in closed:
        rule = facts.rules.get(ticket.opened_batch or "", {}).get(ticket.rule_id, {})
        titles.append(str(rule.get("title") or words.say_cause(ticket.rule_id)[0] or ticket.rule_id))
    told: dict[str, Any] = {"what": "；".join(dict.fromkeys(titles)), "times": ended.get(event.event_id, 0)}
    if batch:
        told["window"] = words.say_window(batch["window_start"], batch["window_end"])
        told["read"] = batch["rows_read"]
        told["accepted"] = batch["rows_new"] + batch["rows_changed"] + batch["rows_unchanged"]
        told["at"] = batch["published_at"] or event.created_at
    return told


def _is_chinese(text: str) -> bool:
    """A sentence for a clerk, not an engineer's with a Chinese name in it."""
    letters = [c for c in text if c.isalpha()]
    return sum("\u4e00" <= c <= "\u9fff" for c in letters) * 2 > len(letters)


def _technical(reason: object) -> str:
    return scrub(str(reason or ""))[:400]


def _say_origin(batch_id: str, resource: Resource | None, facts: Facts) -> str:
    if files := facts.files.get(batch_id):
        return "、".join(scrub(f) for f in files[:3]) + (f" 等 {len(files)} 个文件" if len(files) > 3 else "")
    if resource is None:
        return ""
    source = resource.model.source
    if source.kind == "database":
        return f"前置库表 {source.schema_ + '.' if source.schema_ else ''}{source.table}"
    return f"接口 {source.path}" if source.kind == "http" else f"目录 {source.directory}"


def _build_faults(
    batch_id: str, resource: Resource | None, tickets: Mapping[str, Ticket], facts: Facts
) -> tuple[Fault, ...]:
    """Rules that rows of the batch failed, the most frequent first."""
    counted = facts.counts.get(batch_id, {})
    rules = facts.rules.get(batch_id, {})
    titles = {f.name: f.title for f in resource.model.fields} if resource else {}
    faults = []
    for rule_id in sorted({*counted, *(r for r, rule in rules.items() if rule.get("failed"))}):
        rule = rules.get(rule_id, {})
        by_verdict = counted.get(rule_id, {})
        found = sum(n for verdict, n in by_verdict.items() if verdict in ("rejected", "suspicious"))
        failed = int(rule.get("failed") or found)
        if not failed:
            continue
        ticket = tickets.get(rule_id)
        verdict = "suspicious" if rule.get("severity") == "warn" or set(by_verdict) == {"suspicious"} else "rejected"
        faults.append(
            Fault(
                rule_id=rule_id,
                title=str(rule.get("title") or words.STRUCTURE.get(rule_id) or f"校验规则 {rule_id}"),
                standard=str(rule.get("standard") or ""),
                indicator=str(rule.get("indicator") or ""),
                fields="、".join(titles.get(f, f) for f in rule.get("fields", ())),
                failed=failed,
                rows=int(rule.get("rows") or facts.batches[batch_id]["rows_read"]),
                verdict=words.VERDICTS[verdict],
                mend=str(rule.get("mend") or "请对照原始材料更正后重新交付"),
                due_at=ticket.due_at if ticket else None,
                samples=tuple(
                    Sample(scrub(s["locator"]), scrub(s["value_masked"] or ""), words.VERDICTS[s["verdict"]])
                    for s in facts.samples.get((batch_id, rule_id), ())
                ),
            )
        )
    return tuple(sorted(faults, key=lambda f: (f.verdict != words.VERDICTS["rejected"], -f.failed, f.rule_id)))


# --- subject, workbook --------------------------------------------------------------------------------


def _subject(name: str, blocks: Sequence[Block], due_at: datetime | None, overdue: int, *, is_centre: bool) -> str:
    kinds = {b.kind for b in blocks}
    count = len({i.resource_id or i.department for b in blocks for i in b.items if b.kind != "recovered"})
    if is_centre:
        return f"【归集运维】有 {count} 项需要中心处理"
    if kinds == {"recovered"}:
        good = len({i.resource_id for b in blocks for i in b.items})
        return f"【整改办结】{name}：{good} 项数据资源已恢复正常"
    deadline = f"，请于{words.say_moment(due_at)}前办结" if due_at else ""
    deadline += f"，{'其中' if not due_at else '另有'} {overdue} 项已逾期" if overdue else ""
    if kinds <= {"reminder", "recovered"}:
        return f"【整改催办】{name}：{count} 项数据资源尚未整改{deadline}"
    if kinds <= {"unavailable", "refused_us", "recovered"}:
        return f"【连接异常】{name}：{count} 项数据资源的前置机或接口无法访问"
    if kinds <= {"missed", "unavailable", "refused_us", "recovered"}:
        return f"【逾期未交付】{name}：{count} 项数据资源没有收到数据"
    return f"【整改通知】{name}：{count} 项数据资源需要处理{deadline}"


def _build_sheets(
    conn: Connection[dict[str, Any]], catalog: Catalog, blocks: Sequence[Block], facts: Facts
) -> tuple[Sheet, ...]:
    """One sheet per resource with rows to mend, in the order of the mail."""
    from guiji.notices.facts import load_findings

    sheets: dict[str, Sheet] = {}
    for block in blocks:
        if block.kind not in ("failed_rows", "held", "refused"):
            continue
        for item in block.items:
            if not item.faults:
                continue
            faults = {f.rule_id: f for f in item.faults}
            rows, total = load_findings(conn, item.batch_id)
            lines = tuple(
                (
                    scrub(r["locator"]),
                    faults[r["rule_id"]].fields,
                    scrub(r["value_masked"] or ""),
                    faults[r["rule_id"]].title,
                    faults[r["rule_id"]].standard,
                    words.VERDICTS[r["verdict"]],
                    faults[r["rule_id"]].mend,
                    f"{item.batch_id} / {r['rule_id']}",
                )
                for r in rows
                if r["rule_id"] in faults
            )
            if item.resource_id in sheets:
                before = sheets[item.resource_id]
                sheets[item.resource_id] = Sheet(before.title, before.rows + lines, before.total + total)
            elif lines:
                sheets[item.resource_id] = Sheet(item.name, lines, total)
    return tuple(sheets.values())
