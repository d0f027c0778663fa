"""The check of one file as one record: what was read, which rules failed, which lines, and what would happen."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.causes import SKIPPED
from guiji.errors import DeliveryRefused
from guiji.masking import scrub
from guiji.records import CheckedBatch, RuleResult, StagedBatch, Window
from guiji.settings import Settings

if TYPE_CHECKING:
    from guiji.catalog.models import Format, Resource
    from guiji.precheck.serving import Judged

#: findings that are kept in a verdict; the counts are of all
KEPT = 100_000
VERDICTS = {"rejected": "不合格", "suspicious": "存疑", "mended": "已自动更正", "unjudged": "无法判断"}


@dataclass(frozen=True)
class Finding:
    """One place: the line in the file, what is the matter with it, and the masked value."""

    place: str  # file or sheet
    line: int
    row_no: int
    rule_id: str
    rule: str
    verdict: str  # rejected | suspicious | mended | unjudged
    value: str
    mend: str

    @property
    def word(self) -> str:
        return VERDICTS.get(self.verdict, self.verdict)


@dataclass(frozen=True)
class Verdict:
    """What the pipeline would say of a file. ``outcome``: passed, warning, held or refused."""

    resource_id: str
    resource: str
    department: str
    file: str
    size: int
    sha256: str
    checked_at: datetime
    outcome: str
    reasons: tuple[str, ...]
    rows_read: int = 0
    rows_good: int = 0
    rows_rejected: int = 0
    rows_duplicate: int = 0
    rules: tuple[RuleResult, ...] = ()
    findings: tuple[Finding, ...] = ()
    #: findings beyond those that are kept
    more_findings: bool = False
    skipped: Mapping[str, int] = field(default_factory=dict)  # reason in Chinese -> lines
    notes: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)  # physical name -> title
    #: what the header should be, where the file was refused for its columns; True: the column must be there
    header: tuple[tuple[str, bool], ...] = ()
    #: the file would be taken under its name
    named_right: bool = True
    #: how the file stands to what serves, or why it could not be compared; empty where it is refused
    compared: str = ""
    #: held for how it differs from what serves
    differs: bool = False
    #: the file was taken before
    redelivered: bool = False

    @property
    def exit_code(self) -> int:
        return 1 if self.outcome in ("held", "refused") or not self.named_right else 0

    @property
    def failed(self) -> list[RuleResult]:
        """The rules that something broke, those that reject first, the most broken first."""
        found = [r for r in self.rules if r.failed or r.suspicious]
        return sorted(found, key=lambda r: (r.severity != "reject", -(r.failed + r.suspicious), r.rule_id))

    @property
    def conclusion(self) -> str:
        """One line: what would happen to the file."""
        if self.outcome == "refused":
            return "不能接收：整个文件将被退回，请更正后重新检查。"
        if self.redelivered:
            return "该文件已经入库，不需要再次报送。"
        if self.outcome == "held" and self.differs:
            return "整批将被暂停，等待核对：与现有数据相差过大，请核实；有误的更正后再报送，无误的请在报送时向大数据中心说明。"
        if self.outcome == "held":
            return "整批将被暂停，请更正后再报送。"
        first = "" if self.named_right else "改名后"
        if self.rows_rejected:
            return f"{first}可以报送，但不合格的行不会入库，请更正后补报。"
        return f"{first}可以报送。"

    def lines_of(self, rule_id: str, most: int = 12) -> str:
        """Where a rule was broken, as ``第 3、5–9 行``."""
        lines = sorted(
            {f.line for f in self.findings if f.rule_id == rule_id and f.verdict in ("rejected", "suspicious")}
        )
        return join_lines(lines, most)


def join_lines(lines: list[int], most: int) -> str:
    """Line numbers with runs drawn together; ``…`` where there are more than ``most`` pieces."""
    runs: list[list[int]] = []
    for n in lines:
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    shown = [str(a) if a == b else f"{a}–{b}" for a, b in runs[:most]]
    return "、".join(shown) + (" …" if len(runs) > most else "")


def judge_file(settings: Settings, resource_id: str, file: Path) -> Verdict:
    """What the pipeline would say of ``file`` for the resource. Raises CatalogError, UsageError, NothingDelivered."""
    from guiji.catalog import load_resource
    from guiji.freshness import current_window
    from guiji.precheck.serving import judge_staged
    from guiji.quality import demand_rows
    from guiji.sources import open_delivery
    from guiji.staging import stage_batch

    resource = load_resource(settings.catalog, resource_id)
    verdict = _describe(resource, file, settings.now())
    local_resource = read_from(resource, file.absolute())
    with tempfile.TemporaryDirectory(prefix="guiji-check-") as folder:
        local = replace(settings, staging=folder, home=Path(folder))
        window: Window = current_window(local_resource, settings.now())
        try:
            delivery = open_delivery(
                local_resource, local, window, watermark=None, known_files=(), scratch=Path(folder) / "scratch"
            )
            staged = stage_batch(local_resource, local, window, delivery, "0" * 16)
            demand_rows(local_resource, staged.rows)
            _, day = _read_day(resource, file)
            dated = tuple(replace(f, business_date=day.isoformat() if day else None) for f in staged.files)
            staged = replace(staged, files=dated)
            judged = judge_staged(resource, local_resource, settings, local, staged)
        except DeliveryRefused as error:
            # nothing was delivered yet: what serves now is not the matter here
            said = str(error).replace("现有数据继续有效；", "")
            header = _list_header(local_resource) if error.rule_id in _OF_HEADER else ()
            return replace(verdict, outcome="refused", reasons=(said,), header=header)
        return _complete(verdict, staged, judged)


_OF_HEADER = (
    "delivery.missing_column",
    "delivery.undeclared_column",
    "delivery.duplicate_column",
    "delivery.structure",
)


def _list_header(resource: Resource) -> tuple[tuple[str, bool], ...]:
    """(name, whether it must be there) of every column that a file should have."""
    from guiji.sources.columns import expected_columns, header_columns

    expected = expected_columns(resource)
    layout = getattr(getattr(resource.model.source, "format", None), "layout", None)
    if layout is None:
        return ()
    looked_for, required = header_columns(expected, layout)
    return tuple((c, c in required) for c in expected.columns if c in looked_for)


def _describe(resource: Resource, file: Path, now: datetime) -> Verdict:
    import hashlib

    with file.open("rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    return Verdict(
        resource_id=resource.id,
        resource=resource.model.name,
        department=resource.department.name,
        file=scrub(file.name),
        size=file.stat().st_size,
        sha256=digest,
        checked_at=now,
        outcome="passed",
        reasons=(),
        skipped={},
        notes=tuple(map(scrub, _name_notes(resource, file, now))),
        named_right=_is_named_right(resource, file),
        fields={f.name: f.title for f in resource.model.fields},
    )


def _is_named_right(resource: Resource, file: Path) -> bool:
    pattern = getattr(resource.model.source, "pattern", None)
    written, day = _read_day(resource, file)
    return pattern is None or (re.fullmatch(pattern, file.name) is not None and (day is not None or not written))


def _name_notes(resource: Resource, file: Path, now: datetime) -> list[str]:
    """Whether the file would be taken at all under its name, and what else belongs to its delivery."""
    source = resource.model.source
    pattern = getattr(source, "pattern", None)
    if pattern is None:
        return [] if source.kind == "http" else ["该资源由前置机数据库供给；这里检查的是从中导出的文件"]
    if re.fullmatch(pattern, file.name) is None:
        return [f"文件名“{file.name}”不符合约定的命名（{say_pattern(pattern)}），以此名称报送将不会被收取，请改名"]
    return [*_date_notes(resource, file, now), *_marker_notes(resource, file)]


def _date_notes(resource: Resource, file: Path, now: datetime) -> list[str]:
    """A file of an earlier cycle is easily taken for this one's; one of the future waits."""
    from guiji.freshness import current_window

    written, day = _read_day(resource, file)
    if written and day is None:
        return [f"文件名中的“{written}”不是有效的日期，以此名称报送，本次报送会整体被退回，请改名"]
    if day is None:
        return []
    if day > now.date():
        return [f"文件名中的日期（{day}）还没有到，报送后要到该日才会收取"]
    window = current_window(resource, now)
    # the file of the cycle before is delivered in this one; what is older is an old file
    before = window.start - (window.end - window.start)
    if day < before.date() - timedelta(days=3) and resource.model.load == "snapshot":
        return [f"文件名中的日期（{day}）比上一期还早，请确认没有选错文件"]
    return []


def _read_day(resource: Resource, file: Path) -> tuple[str, date | None]:
    """What stands for the date in the file's name, and the day it says; None where it says none."""
    source: Any = resource.model.source
    pattern = getattr(source, "pattern", None)
    m = re.fullmatch(pattern, file.name) if pattern else None
    written = (m.groupdict().get("date") if m else None) or ""
    try:
        return written, datetime.strptime(written, source.date_format).date() if written else None  # noqa: DTZ007
    except ValueError:
        return written, None


def _marker_notes(resource: Resource, file: Path) -> list[str]:
    complete = getattr(resource.model.source, "complete", None)
    if complete is None or complete.mode == "stable":
        return []
    if complete.mode == "ok_file":
        return [f"报送时，上传完成后还要在同一目录放置标记文件“{file.name}{complete.suffix}”，否则不会被收取"]
    return ["报送时，还要把该文件写入约定的清单文件（文件名、大小或校验值），否则不会被收取"]


def say_pattern(pattern: str) -> str:
    """A pattern of file names as a clerk may read it: ``people_〈日期〉.csv``."""
    plain = re.sub(r"\(\?P<date>(?:[^()\\]|\\.)*\)", "〈日期〉", pattern)
    plain = re.sub(r"\(\?(?:P<\w+>|:)", "(", plain)
    return re.sub(r"\\([^A-Za-z0-9])", r"\1", plain.replace(r"\d+", "〈数字〉").replace(r"\d", "〈数字〉"))


def read_from(resource: Resource, file: Path) -> Resource:
    """The same resource, supplied by this one file."""
    from guiji.catalog.models import Completeness, FilesSource

    form, pattern = _choose_format(resource, file), re.escape(file.name)
    declared = getattr(resource.model.source, "pattern", None)
    if form.type == "document" and declared and re.fullmatch(declared, file.name):
        # the groups of a document's name are columns of its row
        pattern = f"(?={pattern}$){declared}"
    source = FilesSource(
        kind="files",
        directory=str(file.parent),
        pattern=pattern,
        complete=Completeness(seconds=0),
        format=form,
    )
    return resource.model_copy(update={"model": resource.model.model_copy(update={"source": source})})


def _choose_format(resource: Resource, file: Path) -> Format:
    """The resource's own file format; by the file's ending where the resource is supplied by table or interface."""
    from guiji.authoring.discover import choose_type
    from guiji.catalog.models import Format
    from guiji.errors import UsageError

    declared = getattr(resource.model.source, "format", None)
    if isinstance(declared, Format):
        return declared
    try:
        return Format.model_validate({"type": choose_type(file)})
    except UsageError:
        return Format()


def _complete(verdict: Verdict, staged: StagedBatch, judged: Judged) -> Verdict:
    checked = judged.checked
    findings = tuple(_read_findings(checked))
    return replace(
        verdict,
        outcome=judged.outcome,
        reasons=tuple(map(scrub, judged.reasons)),
        rows_read=checked.rows_read,
        rows_good=checked.rows_accepted + checked.rows_carried,
        rows_rejected=checked.rows_rejected,
        rows_duplicate=checked.rows_duplicate,
        rules=checked.rules,
        findings=findings,
        more_findings=bool(checked.capped) or len(findings) >= KEPT,
        skipped={SKIPPED.get(reason, reason): n for reason, n in staged.skipped.items() if n},
        notes=(*verdict.notes, *staged.notes, *map(scrub, judged.notes)),
        compared=scrub(judged.compared),
        differs=judged.differs,
        redelivered=judged.redelivered,
    )


def _read_findings(checked: CheckedBatch) -> list[Finding]:
    """In the order of the file."""
    import pyarrow.parquet as pq

    rules = {r.rule_id: r for r in checked.rules}
    table = pq.read_table(checked.findings)
    if table.num_rows:
        table = table.sort_by([("_row_no", "ascending"), ("rule_id", "ascending")])
    found = []
    row: dict[str, Any]
    for row in table.slice(0, KEPT).to_pylist():
        rule = rules.get(row["rule_id"])
        found.append(
            Finding(
                place=scrub(str(row["_origin"] or "").partition("#")[2]),
                line=int(row["_line"]),
                row_no=int(row["_row_no"]),
                rule_id=row["rule_id"],
                rule=rule.title if rule else row["rule_id"],
                verdict=row["verdict"],
                value=row["value_masked"] or "",
                mend=rule.mend if rule else "",
            )
        )
    return found
