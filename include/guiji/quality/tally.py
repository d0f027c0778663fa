# ruff: noqa: S608 - text reaches SQL through quote_identifier and quote_text only
"""What is counted while a batch is checked, and what it says of each rule: A and B of its indicator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.engine import scan_parquet
from guiji.quality import rules as r
from guiji.quality.files import NULLS_AT_ONCE, nulls_columns
from guiji.records import RuleResult

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from duckdb import DuckDBPyConnection

    from guiji.quality.carry import Carried
    from guiji.quality.statement import Signal
    from guiji.standardize import FieldPlan


@dataclass
class Tally:
    """Counts over all read rows. ``counts``: rows per signal bit. ``assigned``: values per declared field."""

    signals: tuple[Signal, ...]
    plans: tuple[FieldPlan, ...]
    counts: dict[int, int] = field(default_factory=dict)
    assigned: list[int] = field(default_factory=list)
    broken: dict[str, int] = field(default_factory=dict)
    accepted: int = 0
    losers: int = 0

    def __post_init__(self) -> None:
        self.assigned = [0] * len(self.plans)

    def count(self, mask: str, bits: npt.NDArray[np.int64]) -> None:
        """Adds the rows whose masks of one column are ``bits``."""
        import numpy as np

        patterns, times = np.unique(bits, return_counts=True)
        for s in self.signals:
            if s.mask == mask:
                hit = int(times[(patterns & s.value) != 0].sum())
                if hit:
                    self.counts[s.bit] = self.counts.get(s.bit, 0) + hit

    def count_carried(self, con: DuckDBPyConnection, carried: Carried, absent: Path) -> None:
        """Adds the values of carried rows to ``assigned``, by the pattern of their empty fields."""
        columns = ", ".join(nulls_columns(len(self.plans)))
        extra = carried.copies
        kept = f"SELECT c.* FROM {scan_parquet(carried.cache, row_number=True)} c"
        kept += f" WHERE file_row_number NOT IN (SELECT _cache_row FROM {scan_parquet(absent)})"
        patterns = [f"SELECT {columns}, count(*) FROM ({kept}) GROUP BY ALL"]
        if extra:
            con.register("guiji_again", carried.repeated(con))
            patterns.append(
                f"SELECT {columns}, count(*) FROM {scan_parquet(carried.cache, row_number=True)} c "
                "JOIN guiji_again g ON c.file_row_number = g.n GROUP BY ALL"
            )
        for pattern in patterns:
            for *masks, rows in con.execute(pattern).fetchall():
                for i in range(len(self.plans)):
                    if not (int(masks[i // NULLS_AT_ONCE]) >> (i % NULLS_AT_ONCE)) & 1:
                        self.assigned[i] += int(rows)
        if extra:
            con.unregister("guiji_again")

    def count_broken(self, con: DuckDBPyConnection, flagged: Path) -> list[str]:
        """Counts the rows that the source could not read whole; returns the ids of what was wrong with them."""
        found = con.execute(
            f"SELECT _broken, count(*) FROM {scan_parquet(flagged)} WHERE _broken IS NOT NULL GROUP BY 1 ORDER BY 1"
        ).fetchall()
        self.broken = {str(rule_id): int(n) for rule_id, n in found}
        return list(self.broken)

    def list_results(self, rules: Sequence[r.RuleDefinition], rows_read: int) -> tuple[RuleResult, ...]:
        """How each rule did: B counts every row, or the rows with a value where the rule is about one field's values."""
        places = {p.spec.name: p.index for p in self.plans}
        lost: dict[str, int] = {}
        for s in self.signals:
            name, _, kind = s.rule_id.partition(".")
            if s.breach and kind in r.WITHOUT_VALUE:
                lost[name] = lost.get(name, 0) + self.counts.get(s.bit, 0)
        by_rule: dict[str, list[Signal]] = {}
        for s in self.signals:
            by_rule.setdefault(s.rule_id, []).append(s)
        results = []
        for d in rules:
            signals = by_rule.get(d.rule_id, [])

            def total(*verdicts: str, breach: bool | None = None, signals: list[Signal] = signals) -> int:
                return sum(
                    self.counts.get(s.bit, 0)
                    for s in signals
                    if s.verdict in verdicts and (breach is None or s.breach is breach)
                )

            failed = total("rejected", "suspicious", breach=True) + self.broken.get(d.rule_id, 0)
            if d.rule_id == r.KEY_DUPLICATE:
                failed += self.losers
            rows = rows_read
            if d.of_values:
                rows = self.assigned[places[d.fields[0]]] + lost.get(d.fields[0], 0)
            results.append(
                RuleResult(
                    rule_id=d.rule_id,
                    title=d.title,
                    indicator=d.indicator,
                    severity=d.severity,
                    standard=d.standard,
                    mend=d.mend,
                    fields=d.fields,
                    rows=rows,
                    failed=failed,
                    unjudged=total("unjudged"),
                    mended=total("mended"),
                    tolerance=d.tolerance,
                    suspicious=total("suspicious", breach=False),
                )
            )
        return tuple(results)
