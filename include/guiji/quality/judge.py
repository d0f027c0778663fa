# ruff: noqa: S608 - text reaches SQL through quote_identifier and quote_text only
"""Great Expectations' verdict on a batch.

Its suite is generated from the catalog: one expectation per row rule over the flags that the check wrote, with the
rule's tolerated share, and expectations over what was measured of the batch as a whole. It sees flags and counts,
never a value of a person, so its results can be kept and shown.

Only rows that broke a rule have flags. A rule may be broken by ``tolerance x B`` rows; over the flagged rows alone
that number is the same, so ``mostly`` is scaled to them: exact, and independent of how many rows were in order.
"""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.engine import count_rows, open_engine, quote_identifier, scan_parquet
from guiji.errors import GuijiError
from guiji.quality.page import write_page
from guiji.quality.rules import CURSOR_BLANK, CURSOR_FUTURE
from guiji.records import CheckedBatch, QualityReport, RuleResult, StagedBatch, read_record, write_record

if TYPE_CHECKING:
    import pandas as pd

    from guiji.catalog.models import Resource, ResourceModel
    from guiji.settings import Settings

log = logging.getLogger(__name__)

QUALITY = "quality.json"
RESULT = "expectations.json"
#: of a pull of changes, fewer rows than this say nothing about the share of empty fields
FEWEST_CHANGES = 100
#: flag cells that Great Expectations holds at a time; it keeps several copies of each
CELLS_AT_ONCE = 8_000_000

_warming: threading.Thread | None = None
_warming_lock = threading.Lock()


@dataclass(frozen=True)
class Judgement:
    """One expectation's answer, as the batch's page shows it."""

    name: str  # rule id, or the name of a measure
    title: str
    indicator: str
    blocking: bool
    met: bool
    failed: int | None  # B - A
    rows: int | None  # B
    observed: str
    allowed: str


def warm_up() -> None:
    """Starts importing Great Expectations in the background: it takes seconds, and so does a source to answer."""
    global _warming
    with _warming_lock:
        if _warming is None:
            _import_shared()
            _warming = threading.Thread(target=_import_quietly, name="guiji-warm-up", daemon=True)
            _warming.start()


def load_quality(settings: Settings, staged: StagedBatch) -> QualityReport:
    """The verdict on a package. Raises GuijiError when it was not judged yet."""
    path = Path(staged.directory) / QUALITY
    if not path.is_file():
        raise GuijiError(
            f"Batch {staged.batch_id} of {staged.resource_id} was not judged yet. Nothing was published; check it first.",
            batch_id=staged.batch_id,
        )
    return read_record(path, QualityReport)


def judge_batch(
    resource: Resource,
    settings: Settings,
    staged: StagedBatch,
    checked: CheckedBatch,
    *,
    previous_rows: int | None,
) -> QualityReport:
    """The verdict on a checked batch: ``held`` when a blocking expectation fails, ``warning`` when a row was rejected,
    doubted or mended, ``passed`` otherwise. ``seconds`` is without the import of Great Expectations.

    Writes its result beside the package and a page into ``GUIJI_HOME/data_docs``; both without personal values.
    """
    gx = _import_quietly()
    started = time.perf_counter()
    context = _make_context(gx)
    judgements: list[Judgement] = []
    results: list[dict[str, Any]] = []
    for frame, rules in _read_flags(checked):
        found = _validate(gx, context, frame, [_expect_rule(gx, rule, len(frame)) for rule in rules])
        results += found
        judgements += [_judge_rule(rule, f) for rule, f in zip(rules, found, strict=True)]
    measures = _measure(resource, settings, checked, previous_rows)
    if measures:
        import pandas as pd

        frame = pd.DataFrame({m.name: [m.value] for m in measures})
        found = _validate(gx, context, frame, [_expect_measure(gx, m) for m in measures])
        results += found
        judgements += [_judge_measure(m, f) for m, f in zip(measures, found, strict=True)]
    broken = [j for j in judgements if not j.met]
    reasons = tuple(_explain(j) for j in broken if j.blocking)
    doubted = any(rule.failed or rule.suspicious or rule.mended for rule in checked.rules)
    outcome = "held" if reasons else "warning" if checked.rows_rejected or doubted else "passed"
    path = Path(staged.directory) / RESULT
    _write_json(
        path, {"batch_id": checked.batch_id, "resource_id": resource.id, "outcome": outcome, "results": results}
    )
    write_page(resource, settings, staged, checked, judgements, outcome, reasons)
    report = QualityReport(
        outcome=outcome,
        reasons=reasons,
        expectations=len(judgements),
        failed=len(broken),
        result_path=str(path),
        seconds=round(time.perf_counter() - started, 3),
    )
    write_record(Path(staged.directory) / QUALITY, report)
    log.info(
        "judged resource=%s batch=%s outcome=%s expectations=%d failed=%d seconds=%.2f",
        resource.id,
        checked.batch_id,
        outcome,
        report.expectations,
        report.failed,
        report.seconds,
    )
    return report


# --- row rules ---------------------------------------------------------------------------------------


def _read_flags(checked: CheckedBatch) -> Iterator[tuple[pd.DataFrame, Sequence[RuleResult]]]:
    """Frames of flags and the rules they are of, a few rules at a time when very many rows broke one.

    One row without a flag stands at the end: the rows that broke nothing, so that no frame is empty.
    """
    import numpy as np
    import pandas as pd
    import pyarrow.parquet as pq

    have = set(pq.read_schema(checked.flags).names)
    rows = pq.read_metadata(checked.flags).num_rows
    rules = [rule for rule in checked.rules if rule.rule_id in have]
    at_once = max(1, CELLS_AT_ONCE // (rows + 1))
    for start in range(0, len(rules), at_once):
        some = rules[start : start + at_once]
        table = pq.read_table(checked.flags, columns=[rule.rule_id for rule in some])
        columns = {
            rule.rule_id: np.append(table.column(rule.rule_id).to_numpy(zero_copy_only=False).astype(np.bool_), False)
            for rule in some
        }
        yield pd.DataFrame(columns, copy=False), some


def allowed_failures(rule: RuleResult) -> int:
    """How many rows may break the rule: the whole rows within its tolerated share of B."""
    return math.floor(rule.tolerance * rule.rows + 1e-9)


def _expect_rule(gx: Any, rule: RuleResult, flagged: int) -> Any:
    mostly = max(0.0, 1 - (allowed_failures(rule) + 0.5) / flagged) if allowed_failures(rule) else 1.0
    return gx.expectations.ExpectColumnValuesToNotBeInSet(
        column=rule.rule_id,
        value_set=[True],
        mostly=mostly,
        meta={
            "rule_id": rule.rule_id,
            "title": rule.title,
            "indicator": rule.indicator,
            "standard": rule.standard,
            "severity": rule.severity,
            "rows": rule.rows,
            "failed": rule.failed,
            "tolerance": rule.tolerance,
        },
    )


def _judge_rule(rule: RuleResult, result: dict[str, Any]) -> Judgement:
    share = f"{rule.failed / rule.rows:.2%}" if rule.rows else "无法评价"
    return Judgement(
        name=rule.rule_id,
        title=rule.title,
        indicator=rule.indicator,
        blocking=rule.severity == "reject",
        met=bool(result["success"]),
        failed=rule.failed,
        rows=rule.rows,
        observed=share,
        allowed=f"{rule.tolerance:.2%}",
    )


# --- the batch as a whole ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Measure:
    """One number of the whole batch and the band it must lie in."""

    name: str
    title: str
    indicator: str
    value: float
    low: float | None
    high: float | None
    blocking: bool
    share: bool = False

    def show(self, value: float | None) -> str:
        if value is None:
            return "不限"
        return f"{value:.2%}" if self.share else f"{value:g}"


def _measure(resource: Resource, settings: Settings, checked: CheckedBatch, previous_rows: int | None) -> list[Measure]:
    """Row count bounds, rejected share, completeness, uniqueness of the key, and how the count compares with before."""
    model = resource.model
    tolerance = model.tolerance
    low = tolerance.min_rows if model.load == "snapshot" or "min_rows" in tolerance.model_fields_set else 0
    found = [
        Measure("batch.rows", "行数", "0202", checked.rows_read, low, tolerance.max_rows, True),
        Measure(
            "batch.repeated_keys",
            "已接受数据中重复的主键",
            "0304",
            _count_repeated_keys(resource, settings, checked),
            None,
            0,
            True,
        ),
    ]
    if checked.rows_read:
        share = _count_blamed(checked) / checked.rows_read
        found.append(Measure("batch.rejected", "被拒行占比", "0104", share, None, tolerance.rejected, True, True))
        expected = checked.rows_read * len(checked.assigned)
        if expected:
            share = sum(checked.assigned) / expected
            found.append(
                Measure(
                    "batch.completeness",
                    "数据元素完整率",
                    "0201",
                    share,
                    tolerance.completeness,
                    None,
                    tolerance.completeness is not None,
                    True,
                )
            )
    found += _measure_nulls(model, checked)
    if previous_rows and model.load == "snapshot":
        change = (checked.rows_read - previous_rows) / previous_rows
        # who decides about mass changes is the comparison with what serves; here it is on record
        found.append(
            Measure("batch.growth", "行数较上批变化", "0202", change, -tolerance.shrink, tolerance.grow, False, True)
        )
    return found


def _measure_nulls(model: ResourceModel, checked: CheckedBatch) -> list[Measure]:
    """The share of rows in which a guarded field is empty, from the counts of the check.

    A value that could not be read is not empty, and a row that could not be read has no fields.
    """
    if model.load == "incremental" and checked.rows_read < FEWEST_CHANGES:
        return []
    rows = checked.rows_read - sum(r.failed for r in checked.rules if r.rule_id.startswith("structure."))
    with_values = {
        r.fields[0]: r.rows for r in checked.rules if r.rule_id in {f"{n}.type" for n in model.tolerance.nulls}
    }
    found = []
    for spec, assigned in zip(model.fields, checked.assigned, strict=False):
        allowed = model.tolerance.nulls.get(spec.name)
        if allowed is None or rows <= 0:
            continue
        share = max(0, rows - with_values.get(spec.name, assigned)) / rows
        name, title = f"batch.nulls.{spec.name}", f"“{spec.title}”为空的行占比"
        found.append(Measure(name, title, "0201", share, None, allowed, True, True))
    return found


def _count_blamed(checked: CheckedBatch) -> int:
    """Rejected rows that speak against the batch: all but those set aside for want of a usable cursor."""
    set_aside = sum(r.failed for r in checked.rules if r.rule_id in (CURSOR_BLANK, CURSOR_FUTURE))
    return max(0, checked.rows_rejected - set_aside)


def _count_repeated_keys(resource: Resource, settings: Settings, checked: CheckedBatch) -> int:
    """Keys that stand more than once among the accepted rows: counted anew, not taken from the check."""
    if not checked.rows_accepted:
        return 0
    key = ", ".join(quote_identifier(k) for k in resource.model.key)
    with open_engine(settings, time_zone=resource.model.time_zone) as con:
        return count_rows(
            con,
            f"SELECT h FROM (SELECT hash({key}) AS h FROM {scan_parquet(checked.accepted)}) GROUP BY h HAVING count(*) > 1",
        )


def _expect_measure(gx: Any, m: Measure) -> Any:
    low, high = m.low, m.high
    if m.share:  # a share is a quotient: the bound itself is within
        low, high = None if low is None else low - 1e-12, None if high is None else high + 1e-12
    if low is None and high is None:
        low = -math.inf if m.value < 0 else 0
    return gx.expectations.ExpectColumnValuesToBeBetween(
        column=m.name,
        min_value=low,
        max_value=high,
        meta={"rule_id": m.name, "title": m.title, "indicator": m.indicator, "observed": m.value},
    )


def _judge_measure(m: Measure, result: dict[str, Any]) -> Judgement:
    band = (
        m.show(m.high) if m.low is None else m.show(m.low) if m.high is None else f"{m.show(m.low)} 至 {m.show(m.high)}"
    )
    return Judgement(
        m.name, m.title, m.indicator, m.blocking, bool(result["success"]), None, None, m.show(m.value), band
    )


def _explain(j: Judgement) -> str:
    if j.failed is not None:
        return f"{j.title}：{j.failed}行不符合，占{j.observed}，超过允许的{j.allowed}。"
    return f"{j.title}为{j.observed}，超出允许的{j.allowed}。"


# --- Great Expectations ------------------------------------------------------------------------------


def _import_shared() -> None:
    """What both Great Expectations and the steps before it import. Two threads that enter a package at different
    modules of it at once wait for each other, and Python then shows one of them a half-made module. What everybody
    enters by its root (pandas) may stay in the thread."""
    import numpy  # noqa: F401
    import pyarrow  # noqa: F401
    import shapely.geometry  # noqa: F401
    import sqlalchemy  # noqa: F401


def _import_quietly() -> Any:
    """Great Expectations, imported with its telemetry off; nothing of it reaches the network."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import_module("pandas")  # by its root, before Great Expectations enters it elsewhere
    import great_expectations as gx

    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    return gx


def _make_context(gx: Any) -> Any:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    return context


def _validate(gx: Any, context: Any, frame: pd.DataFrame, expectations: list[Any]) -> list[dict[str, Any]]:
    """The results in the order of the expectations. Raises GuijiError when one could not be evaluated at all."""
    name = f"guiji-{time.monotonic_ns()}"
    source = context.data_sources.add_pandas(name)
    batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name).get_batch({"dataframe": frame})
    suite = gx.ExpectationSuite(name=name, expectations=expectations)
    found = batch.validate(suite, result_format={"result_format": "BASIC", "exclude_unexpected_values": True})
    by_column = {}
    for result in found.results:
        said = result.to_json_dict()
        if said["exception_info"].get("raised_exception"):
            raise GuijiError(
                f"Great Expectations could not evaluate {said['expectation_config']['kwargs']['column']!r}. "
                "Nothing was published; please report this."
            )
        by_column[said["expectation_config"]["kwargs"]["column"]] = said
    context.data_sources.delete(name)
    return [by_column[e.column] for e in expectations]


def _write_json(path: Path, content: dict[str, Any]) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, indent=1)


__all__ = ["allowed_failures", "judge_batch", "load_quality", "warm_up"]
