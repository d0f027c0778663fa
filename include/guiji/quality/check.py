# ruff: noqa: S608 - text reaches SQL through quote_identifier and quote_text only
"""Every row of a staged package judged once: accepted, rejected with its reasons, duplicate, or carried.

The engine streams typed rows with their masks of signals; this side only sorts them: rows without a rejecting signal
go to ``accepted``, rows with any signal go to ``flagged``, from which everything that is reported is made. Both are
written as they come, so memory is bounded whatever share of the rows is wrong.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.engine import copy_to_parquet, open_engine, quote_identifier, quote_text, scan_parquet
from guiji.errors import CatalogError, DeliveryRefused, GuijiError
from guiji.quality import outcome
from guiji.quality import rules as r
from guiji.quality.carry import Carried, find_carried, make_signature
from guiji.quality.duplicates import Duplicates, find_repeated, settle_duplicates
from guiji.quality.functions import register_functions
from guiji.quality.identify import identify_rows
from guiji.quality.statement import (
    BITS,
    Signal,
    build_statement,
    check_statement,
    list_signals,
    mask_columns,
    nulls_columns,
    raw_columns,
)
from guiji.records import CheckedBatch, RuleResult, StagedBatch, read_record, write_record
from guiji.standardize import FieldPlan, plan_fields

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from guiji.catalog.models import Resource
    from guiji.settings import Settings

log = logging.getLogger(__name__)

CHECKED = "checked.json"
ROWS_AT_ONCE = 65_536


def load_checked(settings: Settings, staged: StagedBatch) -> CheckedBatch:
    """What ``check_batch`` found out about a package. Raises GuijiError when it was not checked yet."""
    path = Path(staged.directory) / CHECKED
    if not path.is_file():
        raise GuijiError(
            f"Batch {staged.batch_id} of {staged.resource_id} was not checked yet. Nothing was published; check it first.",
            batch_id=staged.batch_id,
        )
    return read_record(path, CheckedBatch)


def check_batch(
    resource: Resource, settings: Settings, staged: StagedBatch, *, carry_cache: str | None = None
) -> CheckedBatch:
    """Judges every row of ``staged`` and writes the outcome beside it; a batch that is checked already is read.

    ``carry_cache``: the snapshot cache that agrees with what serves now; rows it knows are not judged again.
    Raises DeliveryRefused for a missing column or too few rows, CatalogError for a rule that doesn't fit its types.
    """
    import duckdb

    plans = plan_fields(resource, staged)
    signature = make_signature(resource, plans, staged)
    done = Path(staged.directory) / CHECKED
    if done.is_file():
        checked = read_record(done, CheckedBatch)
        if checked.signature == signature and (checked.cache is None or checked.cache == carry_cache):
            return checked
    demand_rows(resource, staged.rows)
    started = time.perf_counter()
    try:
        with (
            open_engine(settings, time_zone=resource.model.time_zone) as con,
            register_functions(con, plans),
        ):
            checked = _Check(con, resource, settings, staged, plans, signature).run(carry_cache)
    except duckdb.Error as exc:
        # the engine's messages can quote cells: only the kind of error is told
        raise GuijiError(
            f"The engine could not check batch {staged.batch_id} of {resource.id} ({type(exc).__name__}). "
            "Nothing was published; the former data go on serving.",
            batch_id=staged.batch_id,
        ) from (None if isinstance(exc, duckdb.DataError) else exc)
    write_record(done, checked)
    log.info(
        "checked resource=%s batch=%s rows=%d rejected=%d duplicate=%d carried=%d seconds=%.2f",
        resource.id,
        staged.batch_id,
        checked.rows_read,
        checked.rows_rejected,
        checked.rows_duplicate,
        checked.rows_carried,
        time.perf_counter() - started,
    )
    return checked


def demand_rows(resource: Resource, rows: int) -> None:
    """F-11: an empty delivery must not empty the library. Raises DeliveryRefused for fewer rows than declared.

    A pull of what changed may be empty unless the catalog says no: nothing changed.
    """
    model = resource.model
    pulls_changes = model.load == "incremental" and model.source.kind in ("database", "http")
    if pulls_changes and "min_rows" not in model.tolerance.model_fields_set:
        return
    if rows < model.tolerance.min_rows:
        raise DeliveryRefused(
            f"{model.name}：本次只提供了{rows}行，少于约定的{model.tolerance.min_rows}行。"
            "现有数据继续有效；请核实后重新提供完整数据。",
            rule_id="delivery.empty",
        )


@dataclass
class _Tally:
    """What is counted while rows stream by."""

    counts: dict[int, int] = field(default_factory=dict)  # signal bit -> rows
    assigned: list[int] = field(default_factory=list)  # per field
    fresh: int = 0
    accepted: int = 0
    broken: dict[str, int] = field(default_factory=dict)
    key_hashes: list[npt.NDArray[np.uint64]] = field(default_factory=list)


class _Check:
    """One check of one batch: owns the open writers."""

    def __init__(
        self,
        con: DuckDBPyConnection,
        resource: Resource,
        settings: Settings,
        staged: StagedBatch,
        plans: tuple[FieldPlan, ...],
        signature: str,
    ) -> None:
        self.con, self.resource, self.settings, self.staged = con, resource, settings, staged
        self.plans, self.signature = plans, signature
        self.rules = r.list_rules(resource, plans)
        self.signals = list_signals(resource, plans, self.rules)
        self.directory = Path(staged.directory)
        self.source = scan_parquet(sorted(self.directory.glob("part-*.parquet")))
        self.masks = mask_columns(self.signals)
        self.tally = _Tally(assigned=[0] * len(plans))

    def run(self, carry_cache: str | None) -> CheckedBatch:
        con, resource, staged = self.con, self.resource, self.staged
        check_statement(con, self._statement(self.source, None), resource)
        carried = find_carried(
            con, resource, self.plans, staged, self.source, carry_cache, self.signature, self.settings.today()
        )
        self._write_rows(carried)
        duplicates = self._settle()
        copies_carried = 0
        absent: Path | None = None
        if carried is not None:
            kept = carried.kept()
            copies_carried = len(carried.row_no) - int(kept.sum())
            absent = self._write_absent(carried, kept)
            self._count_carried(carried, absent)
        path = self.directory / "rejected.parquet"
        flagged = self.directory / "flagged.parquet"
        rejected = outcome.write_rejected(con, resource, self.signals, flagged, path)
        present = self.directory / "present_keys.parquet"
        readable = outcome.write_present_keys(con, resource, self.signals, flagged, present)
        self._count_broken(flagged)
        flags = self.directory / "flags.parquet"
        outcome.write_flags(con, resource, [d.rule_id for d in self.rules], self.signals, flagged, flags)
        findings = self.directory / "findings.parquet"
        outcome.write_findings(
            con, resource, self.plans, self.rules, self.signals, self.tally.counts, flagged, findings
        )
        rows_carried = 0 if carried is None else len(carried.row_no) - copies_carried
        checked = CheckedBatch(
            batch_id=staged.batch_id,
            directory=str(self.directory),
            accepted=str(self.directory / "accepted.parquet"),
            rejected=str(path),
            findings=str(findings),
            present_keys=str(present),
            flags=str(flags),
            rows_read=staged.rows,
            rows_rejected=rejected,
            rows_duplicate=len(duplicates.copies) + copies_carried,
            rows_accepted=self.tally.accepted,
            rows_carried=rows_carried,
            unreadable_keys=rejected - readable,
            rules=self._results(len(duplicates.losers)),
            fingerprint=resource.fingerprint,
            signature=self.signature,
            judged_on=carried.judged_on if carried is not None and rows_carried else self.settings.today().isoformat(),
            cache=None if carried is None else carried.cache,
            absent=None if absent is None else str(absent),
            assigned=tuple(self.tally.assigned),
            capped=self._capped(len(duplicates.losers)),
        )
        _demand_sum(checked)
        flagged.unlink()
        return checked

    # --- rows ---------------------------------------------------------------------------------------

    def _statement(self, source: str, identified: str | None) -> str:
        return build_statement(self.resource, self.plans, self.signals, self.staged, source, identified)

    def _write_rows(self, carried: Carried | None) -> None:
        """Streams every row that is not carried into ``accepted`` and ``flagged``."""
        import numpy as np

        with _Writers(self.directory, len(self.plans)) as writers:
            if carried is None:
                self._stream(self.source, writers)
                return
            fresh = np.ones(self.staged.rows, np.bool_)
            fresh[carried.row_no - 1] = False
            self._stream_some(np.flatnonzero(fresh) + 1, writers)
            collided = self._find_collisions(carried)
            if len(collided):
                self._stream_some(carried.pull_back(collided), writers)

    def _stream_some(self, row_nos: npt.NDArray[Any], writers: _Writers) -> None:
        import pyarrow as pa

        if not len(row_nos):
            self._stream(f"(SELECT * FROM {self.source} WHERE false)", writers)
            return
        self.con.register("guiji_fresh", pa.table({"n": pa.array(row_nos, pa.int64())}))
        try:
            chosen = f"(SELECT * FROM {self.source} WHERE _row_no IN (SELECT n FROM guiji_fresh))"
            self._stream(chosen, writers)
        finally:
            self.con.unregister("guiji_fresh")

    def _stream(self, source: str, writers: _Writers) -> None:
        with identify_rows(self.con, self.resource, self.plans, source, self.directory, self.settings.today()) as found:
            self._sort_rows(self._statement(source, found), writers)

    def _sort_rows(self, statement: str, writers: _Writers) -> None:
        import numpy as np

        tally = self.tally
        reject = {m: sum(s.value for s in self.signals if s.mask == m and s.verdict == "rejected") for m in self.masks}
        reader = self.con.sql(statement).to_arrow_reader(ROWS_AT_ONCE)
        names = reader.schema.names
        at_masks = [names.index(m) for m in self.masks]
        at_broken, at_key = names.index("_broken"), names.index("_key_hash")
        writers.open(reader.schema, [*self.masks, "_broken", "_staged", "_key_hash", "_tomb"])
        for batch in reader:
            n = batch.num_rows
            tally.fresh += n
            for i in range(len(self.plans)):
                tally.assigned[i] += n - batch.column(i).null_count
            broken = batch.column(at_broken)
            unsound = np.zeros(n, np.bool_) if broken.null_count == n else np.asarray(broken.is_valid())
            flagged = unsound.copy()
            for name, at in zip(self.masks, at_masks, strict=True):
                bits = batch.column(at).to_numpy(zero_copy_only=False)
                raised = bits != 0
                if raised.any():
                    flagged |= raised
                    unsound = unsound | ((bits & reject[name]) != 0)
                    self._count(name, bits[raised])
            keys = batch.column(at_key).to_numpy(zero_copy_only=False)
            if flagged.any():
                writers.write_flagged(batch.filter(_arrow_mask(flagged)))
            if unsound.any():
                batch, keys = batch.filter(_arrow_mask(~unsound)), keys[~unsound]
            tally.accepted += len(keys)
            tally.key_hashes.append(keys)
            writers.write_accepted(batch)

    def _count(self, mask: str, bits: npt.NDArray[np.int64]) -> None:
        import numpy as np

        patterns, times = np.unique(bits, return_counts=True)
        for s in self.signals:
            if s.mask == mask:
                hit = int(times[(patterns & s.value) != 0].sum())
                if hit:
                    self.tally.counts[s.bit] = self.tally.counts.get(s.bit, 0) + hit

    def _find_collisions(self, carried: Carried) -> npt.NDArray[np.int64]:
        """Rows of the cache that are carried although a freshly judged row has their key."""
        import numpy as np
        import pyarrow as pa

        if not self.tally.accepted or not len(carried.row_no):
            return np.zeros(0, np.int64)
        key = ", ".join(quote_identifier(k) for k in self.resource.model.key)
        self.con.register("guiji_keys", pa.table({"h": np.concatenate(self.tally.key_hashes)}))
        try:
            found = self.con.sql(
                f"/* guiji {self.resource.id} collisions */ SELECT file_row_number "
                f"FROM {scan_parquet(carried.cache, row_number=True)} WHERE hash({key}) IN (SELECT h FROM guiji_keys)"
            ).to_arrow_table()
        finally:
            self.con.unregister("guiji_keys")
        numbers: npt.NDArray[np.int64] = found.column(0).to_numpy()
        return numbers[carried.kept()[numbers]]

    # --- after the rows -------------------------------------------------------------------------------

    def _settle(self) -> Duplicates:
        """Takes further copies and losing versions of a key out of ``accepted``; the losers are flagged."""
        import numpy as np

        repeated = find_repeated(self.tally.key_hashes)
        self.tally.key_hashes.clear()
        empty = np.zeros(0, np.int64)
        accepted = self.directory / "accepted.parquet"
        if not len(repeated):
            return Duplicates(empty, empty)
        duplicates = settle_duplicates(self.con, self.resource, accepted, repeated)
        out = np.sort(np.concatenate([duplicates.copies, duplicates.losers]))
        if len(duplicates.losers):
            self._flag_losers(duplicates.losers, accepted)
        if len(out):
            _remove_rows(accepted, out)
            self.tally.accepted -= len(out)
        return duplicates

    def _flag_losers(self, losers: npt.NDArray[np.int64], accepted: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        flagged = self.directory / "flagged.parquet"
        schema = pq.read_schema(flagged)
        cells = ", ".join(
            f"{quote_text(c)}, s.{quote_identifier(c)}" for c in raw_columns(self.resource, self.plans, self.staged)
        )
        made = {"_staged": f"json_object({cells})::VARCHAR", "_loser": "true"} | dict.fromkeys(self.masks, "0::BIGINT")
        have = set(pq.read_schema(accepted).names)
        listed = ", ".join(
            f"{made[n]} AS {quote_identifier(n)}"
            if n in made
            else (f"a.{quote_identifier(n)}" if n in have else f"NULL AS {quote_identifier(n)}")
            for n in schema.names
        )
        self.con.register("guiji_losers", pa.table({"n": losers}))
        extra = self.directory / "flagged-losers.parquet"
        try:
            copy_to_parquet(
                self.con,
                f"SELECT {listed} FROM (SELECT * FROM {scan_parquet(accepted)} WHERE _row_no IN (SELECT n FROM guiji_losers)) a "
                f"JOIN (SELECT * FROM {self.source} WHERE _row_no IN (SELECT n FROM guiji_losers)) s USING (_row_no)",
                extra,
                comment=f"{self.resource.id} losers",
            )
        finally:
            self.con.unregister("guiji_losers")
        merged = self.directory / "flagged-all.parquet"
        columns = ", ".join(quote_identifier(n) for n in schema.names)
        copy_to_parquet(
            self.con,
            f"SELECT {columns} FROM {scan_parquet(flagged)} UNION ALL SELECT {columns} FROM {scan_parquet(extra)}",
            merged,
            comment=f"{self.resource.id} flagged",
        )
        os.replace(merged, flagged)
        extra.unlink()

    def _write_absent(self, carried: Carried, kept: npt.NDArray[np.bool_]) -> Path:
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.directory / "absent.parquet"
        pq.write_table(pa.table({"_cache_row": pa.array(np.flatnonzero(~kept), pa.int64())}), path)
        path.chmod(0o600)
        return path

    def _count_carried(self, carried: Carried, absent: Path) -> None:
        """Adds the values of carried rows to ``assigned``, by the pattern of their empty fields."""
        import numpy as np

        columns = ", ".join(nulls_columns(self.plans))
        extra = len(carried.row_no) - int(carried.kept().sum())
        kept = f"SELECT c.* FROM {scan_parquet(carried.cache, row_number=True)} c"
        kept += f" WHERE file_row_number NOT IN (SELECT _cache_row FROM {scan_parquet(absent)})"
        patterns = [(1, f"SELECT {columns}, count(*) FROM ({kept}) GROUP BY ALL")]
        if extra:
            import pyarrow as pa

            times = np.bincount(carried.cache_row)
            again = np.repeat(np.flatnonzero(times > 1), times[times > 1] - 1)
            self.con.register("guiji_again", pa.table({"n": again}))
            patterns.append(
                (
                    1,
                    f"SELECT {columns}, count(*) FROM {scan_parquet(carried.cache, row_number=True)} c "
                    "JOIN guiji_again g ON c.file_row_number = g.n GROUP BY ALL",
                )
            )
        for sign, statement in patterns:
            for *masks, rows in self.con.execute(statement).fetchall():
                for i in range(len(self.plans)):
                    if not (int(masks[i // BITS]) >> (i % BITS)) & 1:
                        self.tally.assigned[i] += sign * int(rows)
        if extra:
            self.con.unregister("guiji_again")

    def _count_broken(self, flagged: Path) -> None:
        """Counts rows that the source could not read whole; a fault nobody knew gets a rule of its own."""
        found = self.con.execute(
            f"SELECT _broken, count(*) FROM {scan_parquet(flagged)} WHERE _broken IS NOT NULL GROUP BY 1 ORDER BY 1"
        ).fetchall()
        self.tally.broken = {str(rule_id): int(n) for rule_id, n in found}
        known = {d.rule_id for d in self.rules}
        self.rules += tuple(r.structure_rule(i, self.resource) for i in self.tally.broken if i not in known)

    def _results(self, losers: int) -> tuple[RuleResult, ...]:
        places = {p.spec.name: p.index for p in self.plans}
        lost = {
            s.rule_id.split(".")[0]: self.tally.counts.get(s.bit, 0)
            for s in self.signals
            if s.breach and s.rule_id.endswith((".type", ".geometry"))
        }
        by_rule: dict[str, list[Signal]] = {}
        for s in self.signals:
            by_rule.setdefault(s.rule_id, []).append(s)
        results = []
        for d in self.rules:
            signals = by_rule.get(d.rule_id, [])

            def total(*verdicts: str, breach: bool | None = None, signals: list[Signal] = signals) -> int:
                return sum(
                    self.tally.counts.get(s.bit, 0)
                    for s in signals
                    if s.verdict in verdicts and (breach is None or s.breach is breach)
                )

            failed = total("rejected", "suspicious", breach=True) + self.tally.broken.get(d.rule_id, 0)
            if d.rule_id == r.KEY_DUPLICATE:
                failed += losers
            rows = self.staged.rows
            if d.of_values:
                rows = self.tally.assigned[places[d.fields[0]]] + lost.get(d.fields[0], 0)
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

    def _capped(self, losers: int) -> tuple[str, ...]:
        cap = outcome.FINDINGS_PER_RULE
        over = {s.rule_id for s in self.signals if self.tally.counts.get(s.bit, 0) > cap}
        over |= {rule_id for rule_id, n in self.tally.broken.items() if n > cap}
        if losers > cap:
            over.add(r.KEY_DUPLICATE)
        return tuple(sorted(over))


class _Writers:
    """The two Parquet files that rows are sorted into; closed and owner-only at the end."""

    def __init__(self, directory: Path, fields: int) -> None:
        self.accepted_path = directory / "accepted.parquet"
        self.flagged_path = directory / "flagged.parquet"
        self.fields = fields
        self.accepted: Any = None
        self.flagged: Any = None
        self.keep: list[int] = []

    def __enter__(self) -> _Writers:
        return self

    def __exit__(self, *_: object) -> None:
        if self.flagged is not None and self.accepted is None:
            self.accepted = _open_writer(self.accepted_path, self.schema)
        for writer, path in ((self.accepted, self.accepted_path), (self.flagged, self.flagged_path)):
            if writer is not None:
                writer.close()
                path.chmod(0o600)

    def open(self, schema: pa.Schema, internal: Sequence[str]) -> None:
        """Opens the files for rows of ``schema``; ``internal`` columns and reasons stay out of ``accepted``."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self.flagged is not None:
            return
        self.keep = [
            i for i, name in enumerate(schema.names) if name not in internal and not name.startswith("_reason_")
        ]
        self.schema = pa.schema([schema.field(i) for i in self.keep]).append(pa.field("_op", pa.string()))
        flagged = schema.append(pa.field("_loser", pa.bool_()))
        for path in (self.accepted_path, self.flagged_path):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        self.flagged = pq.ParquetWriter(self.flagged_path, flagged, compression="lz4")
        self.flagged_schema = flagged

    def write_accepted(self, batch: pa.RecordBatch) -> None:
        import pyarrow as pa

        if batch.num_rows:
            op = pa.repeat(pa.scalar("new", pa.string()), batch.num_rows)
            sorted_out = pa.RecordBatch.from_arrays([*(batch.column(i) for i in self.keep), op], schema=self.schema)
            if self.accepted is None:
                self.accepted = _open_writer(self.accepted_path, sorted_out)
            self.accepted.write_batch(sorted_out)

    def write_flagged(self, batch: pa.RecordBatch) -> None:
        import pyarrow as pa

        loser = pa.repeat(pa.scalar(False), batch.num_rows)
        self.flagged.write_batch(pa.RecordBatch.from_arrays([*batch.columns, loser], schema=self.flagged_schema))


def _open_writer(path: Path, first: pa.RecordBatch | pa.Schema) -> Any:
    """A Parquet writer with dictionaries for the columns that repeat in the first rows; they cost half the time of
    writing where every value is different."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    repeating = []
    if isinstance(first, pa.RecordBatch):
        for name, column in zip(first.schema.names, first.columns, strict=True):
            if pc.count_distinct(column).as_py() * 10 < len(column):
                repeating.append(name)
    schema = first.schema if isinstance(first, pa.RecordBatch) else first
    return pq.ParquetWriter(path, schema, compression="lz4", use_dictionary=repeating, write_statistics=False)


def _remove_rows(path: Path, row_nos: npt.NDArray[np.int64]) -> None:
    """Rewrites ``path`` without these rows, row group by row group."""
    import numpy as np
    import pyarrow.parquet as pq

    temporary = path.with_suffix(".tmp")
    with pq.ParquetFile(path) as file, pq.ParquetWriter(temporary, file.schema_arrow, compression="lz4") as writer:
        temporary.chmod(0o600)
        for batch in _row_groups(file):
            numbers = batch.column(batch.schema.names.index("_row_no")).to_numpy(zero_copy_only=False)
            stays = ~np.isin(numbers, row_nos)
            writer.write_batch(batch if stays.all() else batch.filter(_arrow_mask(stays)))
    os.replace(temporary, path)


def _row_groups(file: Any) -> Iterator[Any]:
    yield from file.iter_batches(batch_size=ROWS_AT_ONCE)


def _arrow_mask(mask: npt.NDArray[np.bool_]) -> Any:
    import pyarrow as pa

    return pa.array(mask, pa.bool_())


def _demand_sum(checked: CheckedBatch) -> None:
    """No row is lost between reading and judging (F-54)."""
    from guiji.errors import AccountingError

    accounted = checked.rows_rejected + checked.rows_duplicate + checked.rows_accepted + checked.rows_carried
    if accounted != checked.rows_read:
        raise AccountingError(
            f"Batch {checked.batch_id}: {checked.rows_read} rows were read, but {accounted} accounted for "
            f"({checked.rows_rejected} rejected, {checked.rows_duplicate} duplicate, {checked.rows_accepted} accepted, "
            f"{checked.rows_carried} carried). Nothing was published; please report this.",
            batch_id=checked.batch_id,
        )


__all__ = ["CatalogError", "check_batch", "load_checked"]
