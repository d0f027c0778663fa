"""What a department is told of its values that differ from other departments': counts and masked examples.

Read when the mail is written: what has been settled meanwhile is not told. Where only the order of departments
decided, both are told that they differ, and neither that it is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guiji.masking import scrub

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog import Catalog
    from guiji.notices.model import Event

EXAMPLES = 3
MOST_LINES = 12

Conflicts = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]


def load_conflicts(conn: Connection[dict[str, Any]], events: Sequence[Event]) -> Conflicts:
    """Open disagreements by resource and library: field, other department, who won, how many, masked examples."""
    ids = sorted({e.resource_id for e in events if e.kind == "conflict" and e.resource_id})
    if not ids:
        return {}
    rows = conn.execute(
        """/* guiji notices conflicts */
        WITH mine AS (
          SELECT library, loser AS resource_id, field, winner_department AS other, tied, key_masked,
            loser_value AS ours, winner_value AS theirs, first_seen, scope FROM ops.conflict
          WHERE settled_at IS NULL AND loser = ANY(%(ids)s)
          UNION ALL
          SELECT library, winner, field, loser_department, tied, key_masked, winner_value, loser_value, first_seen, scope
          FROM ops.conflict WHERE settled_at IS NULL AND tied AND winner = ANY(%(ids)s) AND scope = 'departments')
        SELECT library, resource_id, field, other, tied, scope, count(*) AS n, min(first_seen) AS since,
          (array_agg(ARRAY[key_masked, ours, theirs] ORDER BY first_seen DESC, key_masked))[1:%(examples)s] AS examples
        FROM mine GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY tied, n DESC, field, other""",
        {"ids": ids, "examples": EXAMPLES},
    )
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["resource_id"], row["library"]), []).append(row)
    return found


def say_conflicts(catalog: Catalog, library_name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """One sentence per field and other department."""
    library = catalog.libraries.get(library_name)
    fields = {f.name: f.title for f in library.fields} if library else {}
    lines = []
    for row in rows[:MOST_LINES]:
        department = catalog.departments.get(row["other"] or "")
        other = department.name if department else row["other"]
        if row["scope"] == "files":
            lines.append(_say_files(fields.get(row["field"], row["field"]), row))
            continue
        what = f"“{fields.get(row['field'], row['field'])}”有 {row['n']:,} 处与{other}不一致"
        what += "，按规则不分先后，暂用其中一个值" if row["tied"] else f"，按规则采用了{other}的值"
        shown = "；".join(f"{k}：本部门“{ours}”，{other}“{theirs}”" for k, ours, theirs in row["examples"])
        lines.append(f"{what}（如 {shown}）。")
    if len(rows) > MOST_LINES:
        lines.append(f"另有 {len(rows) - MOST_LINES} 类不一致，详见平台。")
    return scrub("\n".join([f"{library.title if library else library_name}：", *lines]))


def _say_files(title: str, row: Mapping[str, Any]) -> str:
    """Two files of this department, of one day, that say different things; the later one is used for the time being."""
    shown = "；".join(f"{k}：先报“{ours}”，后报“{theirs}”" for k, ours, theirs in row["examples"])
    return (
        f"“{title}”有 {row['n']:,} 处在本部门同一天的不同文件中不一致，暂用后报的值（如 {shown}）；"
        "请核实，并按原文件名重报有误的文件。"
    )
