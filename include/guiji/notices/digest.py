"""What one mail says: events grouped by root cause, with the facts of their batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from guiji.causes import say_cause
from guiji.city import City
from guiji.masking import scrub
from guiji.notices import words
from guiji.notices.facts import Facts, load_facts, load_findings
from guiji.notices.gaps import list_missing
from guiji.notices.items import build_item
from guiji.notices.model import Block, Digest, Event, Item, Sheet

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog import Catalog
    from guiji.catalog.models import Contact

CENTRE_KINDS = frozenset({"stale", "escalated", "bounced", "not_archived"})
DETAILED = frozenset({"held", "refused", "failed_rows"})
PROBLEMS = frozenset({"held", "refused", "failed_rows", "unavailable", "refused_us", "missed"})


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
    kept = [e for e in events if not _is_settled(catalog, e, facts)]
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


def _is_settled(catalog: Catalog, event: Event, facts: Facts) -> bool:
    if event.kind == "gap":
        return not list_missing(catalog, event, facts.dates)
    if event.kind == "conflict":
        return (event.resource_id, event.payload.get("library")) not in facts.conflicts
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
    if event.kind in ("reminder", "escalated", "missed", "bounced", "gap"):
        return (event.kind, event.event_id)
    if event.kind == "conflict":
        return (event.kind, event.resource_id, event.payload.get("library"))
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
        items = [build_item(catalog, event, times, ended, facts) for event, times in members]
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
        cause=say_cause(cause)[0],
        responsible="平台" if ours else "前置机" if kind in ("unavailable", "refused_us") else "",
        detailed=kind in DETAILED and not ours,
        items=tuple(sorted(items, key=lambda i: (i.due_at is None, i.due_at, i.department, i.name))),
    )


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
    # a resource may have several: what is overdue is counted in cases, not in resources
    deadline += f"，{'另' if due_at else ''}有 {overdue} 个整改事项已逾期" if overdue else ""
    if kinds <= {"reminder", "recovered"}:
        return f"【整改催办】{name}：{count} 项数据资源尚未整改{deadline}"
    if kinds <= {"unavailable", "refused_us", "recovered"}:
        return f"【连接异常】{name}：{count} 项数据资源的前置机或接口无法访问"
    if kinds <= {"missed", "unavailable", "refused_us", "recovered"}:
        return f"【逾期未交付】{name}：{count} 项数据资源没有收到数据"
    if kinds <= {"conflict", "recovered"}:
        return f"【多源比对】{name}：{count} 项数据资源与其他部门的数据不一致"
    if kinds <= {"gap", "recovered"}:
        return f"【补交文件】{name}：{count} 项数据资源的系列文件中间有缺"
    if kinds <= {"drift", "recovered"}:
        return f"【列有变化】{name}：{count} 项数据资源交付的列与上次不同"
    return f"【整改通知】{name}：{count} 项数据资源需要处理{deadline}"


def _build_sheets(
    conn: Connection[dict[str, Any]], catalog: Catalog, blocks: Sequence[Block], facts: Facts
) -> tuple[Sheet, ...]:
    """One sheet per resource with rows to mend, in the order of the mail."""
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
