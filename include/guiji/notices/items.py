"""What is told of one event: the facts of its batch, ticket or window, in a clerk's words.

Everything that comes from outside (locators, values, reasons) passes ``scrub`` on top of the masking that was done
where it was found, so that no personal value reaches a mail even when a masking upstream is forgotten (F-67).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from guiji.causes import say_cause
from guiji.masking import scrub
from guiji.notices import words
from guiji.notices.conflicts import say_conflicts
from guiji.notices.facts import Facts, Ticket
from guiji.notices.gaps import list_missing, say_missing
from guiji.notices.model import Event, Fault, Item, Sample
from guiji.structure import STRUCTURE

if TYPE_CHECKING:
    from guiji.catalog import Catalog
    from guiji.catalog.models import Resource


def say_rule(rule_id: str) -> tuple[str, str]:
    """What a rule demands and how its rows are mended, where the batch row doesn't say it."""
    return STRUCTURE.get(rule_id) or say_cause(rule_id)


def build_item(catalog: Catalog, event: Event, times: int, ended: Mapping[int, int], facts: Facts) -> Item:
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
    elif event.kind == "conflict":
        library = str(event.payload.get("library") or "")
        changes = {"what": say_conflicts(catalog, library, facts.conflicts.get((item.resource_id, library), ()))}
    elif event.kind in ("drift", "differs"):
        changes = _tell_drift(event, facts)
    elif event.kind == "gap":
        changes = {"what": say_missing(list_missing(catalog, event, facts.dates))}
    elif event.kind == "not_archived":
        changes = {"what": "；".join(scrub(str(t)) for t in event.payload.get("troubles", ()))}
    elif event.kind == "recovered":
        changes = _tell_recovery(event, ended, facts)
    else:
        changes = _tell_batch(event, resource, facts)
    return Item(**{**vars(item), **changes})


def _tell_batch(event: Event, resource: Resource | None, facts: Facts) -> dict[str, Any]:
    what, mend = say_cause(event.cause)
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
    title = str(rule.get("title") or say_rule(ticket.rule_id)[0])
    return {
        "what": title or ticket.rule_id,
        "mend": str(rule.get("mend") or say_rule(ticket.rule_id)[1]),
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
        titles.append(str(rule.get("title") or say_rule(ticket.rule_id)[0] or ticket.rule_id))
    told: dict[str, Any] = {"what": "；".join(dict.fromkeys(titles)), "times": ended.get(event.event_id, 0)}
    if batch:
        told["window"] = words.say_window(batch["window_start"], batch["window_end"])
        told["read"] = batch["rows_read"]
        told["accepted"] = batch["rows_new"] + batch["rows_changed"] + batch["rows_unchanged"]
        told["at"] = batch["published_at"] or event.created_at
    return told


def _tell_drift(event: Event, facts: Facts) -> dict[str, Any]:
    told: dict[str, Any] = {"what": scrub(str(event.payload.get("difference") or ""))}
    if batch := facts.batches.get(event.batch_id or ""):
        told["window"] = words.say_window(batch["window_start"], batch["window_end"])
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
                title=str(rule.get("title") or say_rule(rule_id)[0] or f"校验规则 {rule_id}"),
                standard=str(rule.get("standard") or ""),
                indicator=str(rule.get("indicator") or ""),
                fields="、".join(titles.get(f, f) for f in rule.get("fields", ())),
                failed=failed,
                rows=int(rule.get("rows") or facts.batches[batch_id]["rows_read"]),
                verdict=words.VERDICTS[verdict],
                mend=str(rule.get("mend") or say_rule(rule_id)[1] or "请对照原始材料更正后重新交付"),
                due_at=ticket.due_at if ticket else None,
                samples=tuple(
                    Sample(scrub(s["locator"]), scrub(s["value_masked"] or ""), words.VERDICTS[s["verdict"]])
                    for s in facts.samples.get((batch_id, rule_id), ())
                ),
            )
        )
    return tuple(sorted(faults, key=lambda f: (f.verdict != words.VERDICTS["rejected"], -f.failed, f.rule_id)))
