"""What was found against what was planted: precision and recall per kind of error, row by row.

A finding is right when the truth has an error of that kind on that very row of that very delivery. The truth knows
rows by line (files) or by their values (tables, interfaces); findings know them by row number: the staged package
joins the two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.demo.planting import KINDS, Kind, Planted
from guiji.demo.running import MARKS, make_mark

if TYPE_CHECKING:
    from psycopg import Connection

#: (resource, delivery) -> batch id
Batches = Mapping[tuple[str, str], str]
Spot = tuple[str, str, str]  # resource, delivery, mark


@dataclass(frozen=True)
class Score:
    """How one kind of error was found: rows planted, found by its rules, and both."""

    kind: Kind
    planted: int
    found: int
    right: int

    @property
    def precision(self) -> float | None:
        return self.right / self.found if self.found else None

    @property
    def recall(self) -> float | None:
        return self.right / self.planted if self.planted else None


def score(conn: Connection[dict[str, Any]], truth: Sequence[Planted], batches: Batches) -> list[Score]:
    """Precision and recall per kind, over all deliveries."""
    kinds = {(k.resource_id, k.name): k for ks in KINDS.values() for k in ks}
    spots: dict[str, dict[Spot, str]] = defaultdict(dict)
    for p in truth:
        spots[p.resource_id][(p.resource_id, p.delivery, p.mark)] = p.kind
    found: dict[str, list[tuple[Spot, str, str]]] = {}
    for resource_id in spots:
        found[resource_id] = list(_findings(conn, resource_id, batches))
    scores = []
    for (resource_id, name), kind in kinds.items():
        planted = {spot for spot, k in spots[resource_id].items() if k == name}
        if not planted:
            continue
        # kinds that the same rule finds share its findings: a finding counts for the kind planted on its row
        siblings = {k.name for k in KINDS[resource_id] if set(k.rules) & set(kind.rules)}
        hits = {
            spot
            for spot, rule, verdict in found.get(resource_id, ())
            if rule in kind.rules and verdict == kind.verdict and spots[resource_id].get(spot) not in siblings - {name}
        }
        scores.append(Score(kind, len(planted), len(hits), len(hits & planted)))
    return scores


def _findings(conn: Connection[dict[str, Any]], resource_id: str, batches: Batches) -> Iterable[tuple[Spot, str, str]]:
    for (owner, delivery), batch_id in batches.items():
        if owner != resource_id:
            continue
        rows = conn.execute(
            "SELECT f.row_no, f.locator, f.rule_id, f.verdict, b.directory FROM ops.finding f JOIN ops.batch b"
            " USING (batch_id) WHERE batch_id = %s",
            (batch_id,),
        ).fetchall()
        if not rows:
            continue
        if resource_id in MARKS:
            marks = _read_marks(Path(rows[0]["directory"]), resource_id, {r["row_no"] for r in rows})
        else:
            marks = {r["row_no"]: r["locator"].rpartition(":")[2] for r in rows}
        for row in rows:
            yield (resource_id, delivery, marks[row["row_no"]]), row["rule_id"], row["verdict"]


def _read_marks(directory: Path, resource_id: str, wanted: set[int]) -> dict[int, str]:
    """The marks of some rows of a staged package, read in batches."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    marks: dict[int, str] = {}
    numbers = pa.array(sorted(wanted), pa.int64())
    for part in sorted(directory.glob("part-*.parquet")):
        for batch in pq.ParquetFile(part).iter_batches(columns=["_row_no", *MARKS[resource_id]]):
            chosen = batch.filter(pc.is_in(batch["_row_no"], value_set=numbers))
            for row in chosen.to_pylist():
                marks[row["_row_no"]] = make_mark(row[name] for name in MARKS[resource_id])
    return marks
