"""What the command line prints: batches, windows, resources, as plain tables that also read well in a log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guiji.origins import mark_name
from guiji.records import BatchRecord

if TYPE_CHECKING:
    from guiji.catalog import Catalog
    from guiji.freshness import WindowState
    from guiji.library.reconcile import Reconciliation

COUNTS = (
    ("rows_read", "read"),
    ("rows_rejected", "rejected"),
    ("rows_held", "held"),
    ("rows_duplicate", "duplicate"),
    ("rows_superseded", "superseded"),
    ("rows_tombstone", "tombstone"),
    ("rows_new", "new"),
    ("rows_changed", "changed"),
    ("rows_unchanged", "unchanged"),
)


def render_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A plain table; widths count East Asian characters as two columns."""
    from rich.cells import cell_len

    body = [[("" if c is None else str(c)) for c in row] for row in rows]
    table = [list(header), *body]
    widths = [max(cell_len(row[i]) for row in table) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        return "  ".join(c + " " * (w - cell_len(c)) for c, w in zip(row, widths, strict=True)).rstrip()

    return "\n".join([line(table[0]), "  ".join("-" * w for w in widths), *(line(r) for r in body)])


def render_batch(record: BatchRecord) -> str:
    """One batch with its equation."""
    parts = " + ".join(f"{getattr(record, name):,} {word}" for name, word in COUNTS[1:] if getattr(record, name))
    lines = [
        f"{record.resource_id}  batch {record.batch_id}  {record.status}"
        + (f" ({record.outcome})" if record.outcome else ""),
        f"window {record.window_start:%Y-%m-%d %H:%M} to {record.window_end:%Y-%m-%d %H:%M}",
        f"{record.rows_read:,} rows read = {parts or '0'}",
    ]
    if record.rows_deleted or record.rows_skipped:
        lines.append(f"beside them: {record.rows_deleted:,} deleted, {record.rows_skipped:,} lines skipped")
    if record.reason:
        lines.append(f"reason: {record.reason}")
    return "\n".join(lines)


def render_windows(states: Iterable[WindowState]) -> str:
    """Delivery windows, the latest of each resource first."""
    return render_table(
        ("resource", "window", "due", "state", "met", "responsible"),
        (
            (
                s.resource_id,
                f"{s.window_start:%Y-%m-%d}/{s.window_end:%Y-%m-%d}",
                f"{s.due_at:%Y-%m-%d %H:%M}",
                s.state,
                f"{s.met_at:%Y-%m-%d %H:%M}" if s.met_at else "",
                s.responsible or "",
            )
            for s in states
        ),
    )


def render_held(rows: Sequence[Mapping[str, Any]]) -> str:
    """The batches that wait for a person."""
    if not rows:
        return "No batch is held."
    return render_table(
        ("batch", "resource", "since", "rows held", "reason"),
        (
            (r["batch_id"], r["resource_id"], f"{r['started_at']:%Y-%m-%d %H:%M}", r["rows_held"], r["reason"])
            for r in rows
        ),
    )


def render_held_batch(row: Mapping[str, Any]) -> str:
    """One held batch: what it would do, and which rules failed."""
    lines = [f"batch {row['batch_id']} of {row['resource_id']}: {row['status']}", f"reason: {row['reason']}"]
    lines += [f"{word}: {row[name]:,}" for name, word in COUNTS if row.get(name)]
    failed = [r for r in row.get("rules") or () if r["failed"]]
    if failed:
        lines.append(
            render_table(
                ("rule", "failed", "of", "tolerated", "demand"),
                ((r["rule_id"], r["failed"], r["rows"], f"{r['tolerance']:.2%}", r["title"]) for r in failed),
            )
        )
    lines.append("Decide with `./guiji hold approve|reject BATCH --why …`; until then the former data serve.")
    return "\n".join(lines)


def render_resources(catalog: Catalog) -> str:
    """The catalog, a line each."""
    return render_table(
        ("resource", "name", "department", "supply", "cycle", "load", "libraries"),
        (
            (
                r.id,
                mark_name(r.model.name, r.model.origin),
                r.department.short_name,
                r.model.source.kind,
                r.model.update_cycle.value,
                r.model.load,
                ", ".join(m.library for m in r.model.mappings),
            )
            for _, r in sorted(catalog.resources.items())
        ),
    )


def render_reconciliation(found: Reconciliation) -> str:
    """What comparing front-end, source layer and libraries found: counts, sums and the buckets that differ."""
    there = "not read again" if found.rows_front_end is None else f"{found.rows_front_end:,} rows"
    side = "last delivery" if found.delivered_batch else "front-end"
    lines = [
        f"{found.resource_id}: {'agrees' if found.agrees else 'DIFFERS'}",
        f"{side} {there} ({found.rows_rejected:,} rejected by its rules), source layer {found.rows_layer:,} rows",
        f"keys: {found.count('missing'):,} missing here, {found.count('stale'):,} with other values, "
        f"{found.count('surplus'):,} only here, {found.count('pending'):,} that the next run reads anyway"
        + (
            f", {found.keys_unsettled:,} unsettled (a rejected row's key can't be read)" if found.keys_unsettled else ""
        ),
    ]
    if found.sums:
        lines.append(
            render_table(("sum of", side, "source layer"), ((s.field, s.front_end, s.layer) for s in found.sums))
        )
    if differing := [b for b in found.buckets if b.differs]:
        names = ("bucket", "front_end", "layer", "missing", "stale", "surplus", "pending")
        lines.append(render_table(names, ([getattr(b, n) for n in names] for b in differing)))
    for c in found.libraries:
        waits = "all keys wait to be resolved" if c.waiting < 0 else f"{c.waiting:,} keys wait to be resolved"
        lines.append(f"library {c.library}: {c.keys:,} keys, {c.missing:,} of them missing there; {waits}")
        if c.rows.rows != c.keys:
            lines.append(
                f"  {c.rows.rows:,} rows = {c.keys:,} keys + {c.rows.repeated:,} older rows of the same key"
                f" + {c.rows.unlinked:,} for which no key is found + {c.rows.excluded:,} that the mapping leaves out"
            )
        if c.sums:
            header = ("sum of", "source layer", c.library, "")
            marks = ((s.field, s.layer, s.library, "differs" if s.differs else "") for s in c.sums)
            lines.append(render_table(header, marks))
    if found.repaired:
        lines.append(f"repaired by batch {found.repaired}")
    elif not found.agrees:
        lines.append("Nothing was changed. `./guiji reconcile ID --repair` brings what is missing or has other values.")
    return "\n".join(lines)
