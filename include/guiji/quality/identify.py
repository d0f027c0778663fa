# ruff: noqa: S608 - text reaches SQL through quote_identifier and quote_text only
"""Identifiers, judged before the one pass: it then only has to know the rows that are not in order as they stand.

``guiji.identifiers`` works column by column and pays for being called; the engine would call it for every 2,048 rows.
So the identifier columns alone are read in large batches, and what is wrong, doubtful, unjudged or mended - few rows
as a rule - is written to a Parquet file that the pass joins by row number. Any number of such rows fits in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.engine import scan_parquet
from guiji.quality.package import Section
from guiji.quality.statement import build_layers

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from guiji.catalog.models import Resource
    from guiji.standardize import FieldPlan


@contextmanager
def identify_rows(
    con: DuckDBPyConnection,
    resource: Resource,
    plans: Sequence[FieldPlan],
    section: Section,
    directory: Path,
    today: date,
) -> Iterator[str | None]:
    """A table of ``_row_no`` and, per identifier field, ``_n<i>`` normalised, ``_v<i>`` verdict and ``_r<i>`` reason.

    Rows all of whose identifiers are in order as they stand are not in it; None when no row is. Gone after the context.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    chosen = [p for p in plans if p.identified]
    if not chosen:
        yield None
        return
    schema = pa.schema(
        [pa.field("_row_no", pa.int64())]
        + [
            pa.field(f"_{c}{p.index}", t)
            for p in chosen
            for c, t in (("n", pa.string()), ("v", pa.int8()), ("r", pa.string()))
        ]
    )
    path = directory / "identified.tmp"
    rows = 0
    with pq.ParquetWriter(path, schema, compression="lz4") as writer:
        path.chmod(0o600)
        for batch in _judge_batches(con, resource, plans, chosen, section, today, schema):
            rows += batch.num_rows
            writer.write_batch(batch)
    try:
        yield scan_parquet(path) if rows else None
    finally:
        path.unlink()


def _judge_batches(
    con: DuckDBPyConnection,
    resource: Resource,
    plans: Sequence[FieldPlan],
    chosen: Sequence[FieldPlan],
    section: Section,
    today: date,
    schema: Any,
) -> Iterator[Any]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    needed = {p.index for p in chosen}
    shown = ["_row_no"]
    for p in chosen:
        assert p.identified is not None
        shown.append(f"{p.identified.subject} AS _subject_{p.index}")
        for role, index, expression in p.identified.companions:
            needed.add(index)
            shown.append(f"{expression} AS _{role}_{p.index}")
    layers = build_layers([p for p in plans if p.index in needed], section.table)
    statement = f"/* guiji {resource.id} identifiers */ SELECT {', '.join(shown)} FROM ({layers}) WHERE _broken IS NULL"
    known = {p.index: _Known(p.identified.kind, today) for p in chosen if p.identified and _repeats(p)}
    for batch in con.sql(statement).to_arrow_reader(section.rows_at_once):
        column = dict(zip(batch.schema.names, batch.columns, strict=True))
        said: list[Any] = []
        out = np.zeros(batch.num_rows, np.bool_)
        for p in chosen:
            assert p.identified is not None
            subject = column[f"_subject_{p.index}"]
            companions = {role: column[f"_{role}_{p.index}"] for role, _, _ in p.identified.companions}
            if p.index in known:
                answer = known[p.index].judge(subject)
            else:
                answer = judge(p.identified.kind, subject, companions, today)
            said += answer
            normalised, verdict, _ = answer
            odd = pc.or_(
                pc.fill_null(pc.not_equal(verdict, 0), False), pc.fill_null(pc.not_equal(normalised, subject), False)
            )
            out |= odd.to_numpy(zero_copy_only=False)
        if out.any():
            at = pa.array(np.flatnonzero(out))
            yield pa.RecordBatch.from_arrays([column["_row_no"].take(at), *(a.take(at) for a in said)], schema=schema)


def judge(kind: str, values: Any, companions: dict[str, Any], today: date) -> tuple[Any, Any, Any]:
    """(normalised, verdict, reason) of each value, by the one implementation of each identifier."""
    from guiji import identifiers

    if kind == "citizen_id":
        found = identifiers.check_citizen_id(values, companions.get("birth"), companions.get("sex"), today=today)
    elif kind == "credit_code":
        found = identifiers.check_credit_code(values, today=today)
    elif kind == "registration_number":
        found = identifiers.check_registration_number(values, companions.get("credit_code"), today=today)
    else:
        found = identifiers.check_division(values, today=today)
    return found.normalised, found.verdict, found.reason


def _repeats(plan: FieldPlan) -> bool:
    """Divisions are few and repeat without end: each is judged once."""
    return plan.identified is not None and plan.identified.kind == "division"


class _Known:
    """Answers by value."""

    LARGEST = 200_000

    def __init__(self, kind: str, today: date) -> None:
        import pyarrow as pa

        self.kind, self.today = kind, today
        self.values = pa.array([], pa.string())
        self.answers: tuple[Any, Any, Any] | None = None

    def judge(self, values: Any) -> tuple[Any, Any, Any]:
        import pyarrow as pa
        import pyarrow.compute as pc

        encoded = values.dictionary_encode()
        unique = encoded.dictionary
        new = unique.filter(pc.invert(pc.is_in(unique, value_set=self.values)))
        if len(new):
            if len(self.values) + len(new) > self.LARGEST:
                return judge(self.kind, values, {}, self.today)
            answers = judge(self.kind, new, {}, self.today)
            self.values = pa.concat_arrays([self.values, new])
            self.answers = (
                answers
                if self.answers is None
                else tuple(pa.concat_arrays([a, b]) for a, b in zip(self.answers, answers, strict=True))
            )
        if self.answers is None:
            none = judge(self.kind, values, {}, self.today)
            return none
        at = pc.index_in(unique, value_set=self.values).take(encoded.indices)
        return tuple(a.take(at) for a in self.answers)
