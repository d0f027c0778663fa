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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.engine import (
    copy_to_parquet,
    count_threads,
    judge_fields,
    open_engine,
    quote_identifier,
    quote_text,
    release_memory,
    scan_parquet,
)
from guiji.errors import AccountingError, DeliveryRefused, GuijiError
from guiji.quality import outcome
from guiji.quality import rules as r
from guiji.quality.carry import Carried, find_carried, make_signature
from guiji.quality.duplicates import Duplicates, find_repeated, settle_duplicates
from guiji.quality.files import RowWriters, arrow_mask, remove_rows
from guiji.quality.findings import write_findings
from guiji.quality.functions import register_functions
from guiji.quality.identify import identify_rows
from guiji.quality.package import Package
from guiji.quality.statement import (
    build_statement,
    check_statement,
    list_signals,
    mask_columns,
    raw_columns,
)
from guiji.quality.survey import compares_rows, survey_rows
from guiji.quality.tally import Tally
from guiji.records import CheckedBatch, StagedBatch, read_record, write_record
from guiji.standardize import FieldPlan, plan_fields

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from duckdb import DuckDBPyConnection

    from guiji.catalog.models import Resource
    from guiji.settings import Settings

log = logging.getLogger(__name__)

CHECKED = "checked.json"


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
        self.package = Package(
            con, tuple(sorted(self.directory.glob("part-*.parquet"))), alone=count_threads(len(plans)) == 1
        )
        self.source = self.package.table
        self.masks = mask_columns(self.signals)
        self.tally = Tally(self.signals, plans)
        self.key_files: list[
            Path
        ] = []  # of accepted rows, a file a pass: hashes in memory would grow with the delivery

    def run(self, carry_cache: str | None) -> CheckedBatch:
        con, resource, staged = self.con, self.resource, self.staged
        check_statement(con, self._statement(self.source, None), resource)
        # a neighbour that came or moved may make a row wrong that did not change
        cache = None if compares_rows(self.plans) else carry_cache
        carried = find_carried(
            con, resource, self.plans, staged, self.source, cache, self.signature, self.settings.today()
        )
        self._write_rows(carried)
        release_memory()  # a long statement and its plan leave hundreds of megabytes to the allocator
        duplicates = self._settle()
        copies_carried = 0
        absent: Path | None = None
        if carried is not None:
            copies_carried = carried.copies
            absent = self._write_absent(carried)
            self.tally.count_carried(con, carried, absent)
        path = self.directory / "rejected.parquet"
        flagged = self.directory / "flagged.parquet"
        rejected = outcome.write_rejected(con, resource, self.signals, flagged, path)
        present = self.directory / "present_keys.parquet"
        readable = outcome.write_present_keys(con, resource, self.signals, flagged, present)
        counted = {s.rule_id for s in self.signals if self.tally.counts.get(s.bit)}
        self.rules += r.list_damage_rules(resource, self.plans, counted)
        known = {d.rule_id for d in self.rules}
        found = self.tally.count_broken(con, flagged)
        self.rules += tuple(r.structure_rule(i, resource) for i in found if i not in known)
        flags = self.directory / "flags.parquet"
        ids = [d.rule_id for d in self.rules]
        told = [s for s in self.signals if s.rule_id in ids]  # damage that no row shows has no rule
        outcome.write_flags(con, resource, ids, told, flagged, flags)
        findings = self.directory / "findings.parquet"
        capped = write_findings(con, resource, self.plans, self.rules, self.signals, self.tally, flagged, findings)
        rows_carried = 0 if carried is None else int(carried.kept.sum())
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
            rules=self.tally.list_results(self.rules, staged.rows),
            fingerprint=resource.fingerprint,
            signature=self.signature,
            judged_on=carried.judged_on if carried is not None and rows_carried else self.settings.today().isoformat(),
            cache=None if carried is None else carried.cache,
            absent=None if absent is None else str(absent),
            assigned=tuple(self.tally.assigned),
            capped=capped,
        )
        _demand_sum(checked)
        for path in (flagged, *self.key_files, *((carried.pairs,) if carried is not None else ())):
            path.unlink()
        return checked

    # --- rows ---------------------------------------------------------------------------------------

    def _statement(self, source: str, identified: str | None, surveyed: Mapping[str, str] | None = None) -> str:
        return build_statement(self.resource, self.plans, self.signals, self.staged, source, identified, surveyed)

    def _write_rows(self, carried: Carried | None) -> None:
        """Streams every row that is not carried into ``accepted`` and ``flagged``."""
        import numpy as np

        with RowWriters(self.directory, len(self.plans)) as writers:
            if carried is None:
                self._stream(self.package, writers)
                return
            self._stream_some(np.flatnonzero(~carried.rows) + 1, writers)
            collided = self._find_collisions(carried)
            if len(collided):
                self._stream_some(carried.pull_back(self.con, collided), writers)

    def _stream_some(self, row_nos: npt.NDArray[Any], writers: RowWriters) -> None:
        import pyarrow as pa

        package = replace(self.package, chosen="guiji_fresh")
        if not len(row_nos):
            package = replace(package, parts=package.parts[:1])
        self.con.register("guiji_fresh", pa.table({"n": pa.array(row_nos, pa.int64())}))
        try:
            self._stream(package, writers)
        finally:
            self.con.unregister("guiji_fresh")

    def _stream(self, package: Package, writers: RowWriters) -> None:
        con, resource, plans, directory = self.con, self.resource, self.plans, self.directory
        with survey_rows(con, resource, plans, package, directory) as surveyed, self._key_writer() as key_writer:
            for section in package.sections():
                with identify_rows(con, resource, plans, section, directory, self.settings.today()) as found:
                    statement = self._statement(section.table, found, surveyed)
                    with judge_fields(con, len(plans)):
                        self._sort_rows(statement, section.rows_at_once, writers, key_writer)

    def _sort_rows(self, statement: str, rows_at_once: int, writers: RowWriters, key_writer: Any) -> None:
        import numpy as np
        import pyarrow as pa

        tally = self.tally
        reject = {m: sum(s.value for s in self.signals if s.mask == m and s.verdict == "rejected") for m in self.masks}
        reader = self.con.sql(statement).to_arrow_reader(rows_at_once)
        names = reader.schema.names
        at_masks = [names.index(m) for m in self.masks]
        at_broken, at_key = names.index("_broken"), names.index("_key_hash")
        writers.open(reader.schema, [*self.masks, "_broken", "_staged", "_key_hash", "_tomb"])
        for batch in reader:
            n = batch.num_rows
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
                    tally.count(name, bits[raised])
            keys = batch.column(at_key).to_numpy(zero_copy_only=False)
            if flagged.any():
                writers.write_flagged(batch.filter(arrow_mask(flagged)))
            if unsound.any():
                batch, keys = batch.filter(arrow_mask(~unsound)), keys[~unsound]
            tally.accepted += len(keys)
            key_writer.write_batch(pa.record_batch({"h": keys}))
            writers.write_accepted(batch)

    @contextmanager
    def _key_writer(self) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.directory / f"keys-{len(self.key_files)}.parquet"
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        schema = pa.schema([("h", pa.uint64())])
        with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False, write_statistics=False) as writer:
            yield writer
        self.key_files.append(path)

    def _find_collisions(self, carried: Carried) -> npt.NDArray[np.int64]:
        """Rows of the cache that are carried although a freshly judged row has their key."""
        import numpy as np

        if not self.tally.accepted or not carried.kept.any():
            return np.zeros(0, np.int64)
        key = ", ".join(quote_identifier(k) for k in self.resource.model.key)
        found = self.con.sql(
            f"/* guiji {self.resource.id} collisions */ SELECT file_row_number "
            f"FROM {scan_parquet(carried.cache, row_number=True)} "
            f"WHERE hash({key}) IN (SELECT h FROM {scan_parquet(self.key_files)})"
        ).to_arrow_table()
        numbers: npt.NDArray[np.int64] = found.column(0).to_numpy()
        return numbers[carried.kept[numbers]]

    # --- after the rows -------------------------------------------------------------------------------

    def _settle(self) -> Duplicates:
        """Takes further copies and losing versions of a key out of ``accepted``; the losers are flagged."""
        import numpy as np

        empty = np.zeros(0, np.int64)
        accepted = self.directory / "accepted.parquet"
        if not find_repeated(self.con, self.key_files):
            return Duplicates(empty, empty)
        duplicates = settle_duplicates(self.con, self.resource, accepted)
        self.tally.losers = len(duplicates.losers)
        out = np.sort(np.concatenate([duplicates.copies, duplicates.losers]))
        if len(duplicates.losers):
            self._flag_losers(duplicates.losers, accepted)
        if len(out):
            remove_rows(accepted, out)
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
        extra: list[Path] = []
        self.con.register("guiji_losers", pa.table({"n": losers}))
        try:
            # a section at a time: of wide rows a join over all of them would hold too much
            for section in replace(self.package, chosen="guiji_losers").sections():
                path = self.directory / f"flagged-losers-{len(extra)}.parquet"
                some = (
                    f"(SELECT * FROM {scan_parquet(accepted)} WHERE _row_no IN (SELECT _row_no FROM {section.table}))"
                )
                select = f"SELECT {listed} FROM {some} a JOIN {section.table} s USING (_row_no)"
                copy_to_parquet(self.con, select, path, comment=f"{self.resource.id} losers")
                extra.append(path)
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
        for path in extra:
            path.unlink()

    def _write_absent(self, carried: Carried) -> Path:
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.directory / "absent.parquet"
        pq.write_table(pa.table({"_cache_row": pa.array(np.flatnonzero(~carried.kept), pa.int64())}), path)
        path.chmod(0o600)
        return path


def _demand_sum(checked: CheckedBatch) -> None:
    """No row is lost between reading and judging (F-54)."""
    accounted = checked.rows_rejected + checked.rows_duplicate + checked.rows_accepted + checked.rows_carried
    if accounted != checked.rows_read:
        raise AccountingError(
            f"Batch {checked.batch_id}: {checked.rows_read} rows were read, but {accounted} accounted for "
            f"({checked.rows_rejected} rejected, {checked.rows_duplicate} duplicate, {checked.rows_accepted} accepted, "
            f"{checked.rows_carried} carried). Nothing was published; please report this.",
            batch_id=checked.batch_id,
        )
