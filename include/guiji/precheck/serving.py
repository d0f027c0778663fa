"""A staged file judged beside what serves now, where the warehouse can be reached: by the pipeline's own steps.

A department's own computer has no warehouse; then only the file is judged, and the verdict says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from guiji import ledger
from guiji.errors import UsageError, WarehouseUnavailable
from guiji.records import CheckedBatch, Difference, StagedBatch
from guiji.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection

    from guiji.catalog.models import Resource

    Conn = Connection[dict[str, Any]]

NOT_COMPARED = "与现有数据的比对未进行（{why}）；报送后，删除、行数或取值变化过大的，仍会暂停并请部门核对。"


@dataclass(frozen=True)
class Judged:
    """What the pipeline's steps say of a staged file. ``compared``: how it stands to what serves, one line."""

    checked: CheckedBatch
    outcome: str  # passed | warning | held
    reasons: tuple[str, ...]
    compared: str
    notes: tuple[str, ...] = ()
    #: held for how it differs from what serves, not for what stands in it
    differs: bool = False
    #: the file was taken before: delivered again, every row counts as duplicate
    redelivered: bool = False


def judge_staged(
    resource: Resource, local: Resource, settings: Settings, apart: Settings, staged: StagedBatch
) -> Judged:
    """Checks, judges and compares ``staged``, which ``apart`` keeps apart from what ``settings`` has.

    ``local`` is the resource as supplied by the file alone. Publishes nothing. Raises DeliveryRefused.
    """
    import psycopg

    from guiji.warehouse import connect

    if settings.warehouse is None and not (settings.home / "postgres" / "data").is_dir():
        return _judge_alone(local, apart, staged, "本机没有归集库")
    try:
        conn = connect(settings)
    except (WarehouseUnavailable, UsageError):
        return _judge_alone(local, apart, staged, "归集库连接不上或不能使用")
    try:
        with conn:
            return _judge_beside(conn, resource, local, settings, apart, staged)
    except (WarehouseUnavailable, psycopg.Error):
        return _judge_alone(local, apart, staged, "归集库读取失败")


def _judge_beside(
    conn: Conn, resource: Resource, local: Resource, settings: Settings, apart: Settings, staged: StagedBatch
) -> Judged:
    from guiji.library.apply import is_late_snapshot
    from guiji.pipeline.check import check_and_judge
    from guiji.pipeline.compare import compare_staged

    known = ledger.known_files(conn, resource.id)
    if _is_part(resource, known):
        return _judge_alone(local, apart, staged, "该资源一次报送由多个文件组成，这里只检查了其中一个")
    if (same := _find_same(known, staged)) is not None:
        return _judge_again(local, apart, staged, same)
    check_and_judge(conn, local, apart, staged, serving=settings)
    checked, quality, difference = compare_staged(conn, local, apart, staged, serving=settings)
    reasons = (*(quality.reasons if quality.outcome == "held" else ()), *difference.held_reasons)
    return Judged(
        checked,
        "held" if reasons else quality.outcome,
        reasons,
        say_difference(difference, late=is_late_snapshot(conn, resource, staged)),
        difference.notes,
        differs=bool(reasons) and quality.outcome != "held",
    )


def _judge_alone(local: Resource, apart: Settings, staged: StagedBatch, why: str) -> Judged:
    from guiji.quality import check_batch, judge_batch

    checked = check_batch(local, apart, staged, carry_cache=None)
    quality = judge_batch(local, apart, staged, checked, previous_rows=None)
    return Judged(checked, quality.outcome, quality.reasons, NOT_COMPARED.format(why=why))


def _judge_again(local: Resource, apart: Settings, staged: StagedBatch, name: str) -> Judged:
    """The pipeline books such a file unchecked. Who checks it wants to know what to mend, so its rows are shown."""
    said = (
        f"文件与已入库的“{name}”内容完全相同：再次报送时不再检查，{staged.rows:,} 行全部计为重复，现有数据不变。"
        "所列的问题是文件本身的检查结果。"
    )
    judged = replace(_judge_alone(local, apart, staged, ""), compared=said, redelivered=True)
    # it serves already, by a person's decision where the judge would hold it
    return replace(judged, outcome="warning", reasons=()) if judged.outcome == "held" else judged


def _is_part(resource: Resource, known: Sequence[ledger.KnownFile]) -> bool:
    """Whether a delivery is of several files: of all loose documents, or of those that a manifest names."""
    form = getattr(resource.model.source, "format", None)
    if form is not None and form.type == "document" and form.archive == "none":
        return True
    return bool(known) and sum(k.batch_id == known[0].batch_id for k in known) > 1


def _find_same(known: Sequence[ledger.KnownFile], staged: StagedBatch) -> str | None:
    """The name under which the file was published already."""
    hashes = {f.sha256 for f in staged.files}
    return next((k.path for k in known if k.status == "published" and k.sha256 in hashes), None)


def say_difference(difference: Difference, *, late: bool) -> str:
    """How the file stands to what serves, in one line."""
    d = difference
    if late:
        return (
            f"文件早于现有数据（{d.current_rows:,} 行）所在的一期：报送后只作存档，不会取代现有数据，"
            "合格的行全部计为较旧。"
        )
    if not d.current_rows:
        return "尚无已入库的数据，不需要比对。"
    older = f"，较旧而不采用 {d.rows_superseded:,} 行" if d.rows_superseded else ""
    marked = f"，删除标记 {d.rows_tombstone:,} 行" if d.rows_tombstone else ""
    return (
        f"已与现有 {d.current_rows:,} 行比对：新增 {d.rows_new:,}，变更 {d.rows_changed:,}，"
        f"未变 {d.rows_unchanged:,}，消失 {d.rows_deleted:,}{older}{marked}。"
    )
