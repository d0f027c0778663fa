"""Small resources and the packages that the check and compare steps would have left, made by hand.

``deliver`` plays source, check and comparison in plain Python, so that publish is tested against an oracle that
shares no code with the engine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from guiji import ledger
from guiji.catalog.models import DepartmentModel, LibraryModel, Resource, ResourceModel
from guiji.library.current import fetch_current
from guiji.library.difference import cache_directory
from guiji.library.hold import hold_batch
from guiji.library.publish import publish
from guiji.records import (
    BatchRecord,
    CheckedBatch,
    DeliveredFile,
    Difference,
    QualityReport,
    RuleResult,
    StagedBatch,
    Window,
)
from guiji.settings import TIME_ZONE, Settings

ARROW = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "date32": pa.date32(),
    "timestamp": pa.timestamp("us", tz="Asia/Shanghai"),
    "geometry": pa.binary(),
    "decimal128(18,4)": pa.decimal128(18, 4),
}
START = datetime(2026, 10, 1, tzinfo=TIME_ZONE)


def make_department(id: str) -> DepartmentModel:
    return DepartmentModel(
        id=id,
        name=f"{id}局",
        short_name=id,
        credit_code="11150600000000000X",
        leader="某某",
        section="信息股",
    )


def make_resource(id: str = "gaj.person", **changes: Any) -> Resource:
    """A resource of three fields, keyed by ``id_no``; ``fields`` maps names to types."""
    fields: Mapping[str, str] = changes.pop(
        "fields", {"id_no": "string", "name": "string", "amount": "decimal128(18,4)"}
    )
    fingerprint = changes.pop("fingerprint", "f1")
    model = ResourceModel.model_validate(
        {
            "id": id,
            "code": "1/1",
            "name": f"{id} 资源",
            "summary": "一人一行",
            "category": {"class": "基础", "item": "人口"},
            "format": "数据库",
            "system": "系统",
            "sharing": {"type": "无条件共享"},
            "update_cycle": "每日",
            "published": "2026-01-01",
            "source": {"kind": "database", "connection": "fep_x", "table": "t"},
            "fields": [
                {"name": n, "title": f"{n}标题", "type": t, **({"crs": "EPSG:4490"} if t == "geometry" else {})}
                for n, t in fields.items()
            ],
            "key": [next(iter(fields))],
            **changes,
        }
    )
    return Resource(
        model=model, department=make_department(id.split(".")[0]), path=f"{id}.yml", fingerprint=fingerprint
    )


@dataclass(frozen=True)
class Bad:
    """A row that is rejected: by these rules, with this key where it can be read."""

    rules: tuple[str, ...]
    key: str | None
    raw: str = "{}"


@dataclass(frozen=True)
class Package:
    staged: StagedBatch
    checked: CheckedBatch
    quality: QualityReport


def hash_row(row: Mapping[str, object]) -> int:
    text = "\x1f".join("" if v is None else f"{v}" for v in row.values())
    return int.from_bytes(hashlib.md5(text.encode()).digest()[:8], "big") >> 1


def stage(
    conn: Any,
    settings: Settings,
    resource: Resource,
    rows: Sequence[Mapping[str, object]],
    *,
    day: int = 1,
    batch: str | None = None,
    bad: Sequence[Bad] = (),
    duplicates: int = 0,
    cursor: str | None = None,
    files: tuple[DeliveredFile, ...] = (),
    outcome: str = "passed",
) -> Package:
    """What stage, check and judge leave behind for these rows, and the batch in the ledger."""
    batch = batch or hashlib.sha256(f"{resource.id}{day}{rows}{bad}".encode()).hexdigest()[:16]
    folder = Path(settings.staging) / resource.id / batch
    folder.mkdir(parents=True, exist_ok=True)
    window = Window(START + timedelta(days=day - 1), START + timedelta(days=day))
    total = len(rows) + len(bad) + duplicates
    names = [f.name for f in resource.model.fields]
    columns: dict[str, pa.Array] = {
        f.name: pa.array([r.get(f.name) for r in rows], ARROW[f.type]) for f in resource.model.fields
    }
    columns |= {
        "_row_no": pa.array(range(1, len(rows) + 1), pa.int64()),
        "_origin": pa.array(["public.t"] * len(rows), pa.string()),
        "_line": pa.array(range(1, len(rows) + 1), pa.int64()),
        "_row_hash": pa.array([hash_row({n: r.get(n) for n in names}) for r in rows], pa.int64()),
    }
    pq.write_table(pa.table(columns), folder / "accepted.parquet")
    first = len(rows) + 1
    pq.write_table(
        pa.table(
            {
                "_row_no": pa.array(range(first, first + len(bad)), pa.int64()),
                "_origin": pa.array(["public.t"] * len(bad), pa.string()),
                "_line": pa.array(range(first, first + len(bad)), pa.int64()),
                "_rules": pa.array([list(b.rules) for b in bad], pa.list_(pa.string())),
                "_key": pa.array([b.key for b in bad], pa.string()),
                "_raw": pa.array([b.raw for b in bad], pa.string()),
            }
        ),
        folder / "rejected.parquet",
    )
    found = [(first + i, rule) for i, b in enumerate(bad) for rule in b.rules]
    pq.write_table(
        pa.table(
            {
                "_row_no": pa.array([n for n, _ in found], pa.int64()),
                "_origin": pa.array(["public.t"] * len(found), pa.string()),
                "_line": pa.array([n for n, _ in found], pa.int64()),
                "rule_id": pa.array([r for _, r in found], pa.string()),
                "verdict": pa.array(["rejected"] * len(found), pa.string()),
                "value_masked": pa.array(["1***"] * len(found), pa.string()),
            }
        ),
        folder / "findings.parquet",
    )
    failed: dict[str, int] = {}
    for _, rule in found:
        failed[rule] = failed.get(rule, 0) + 1
    staged = StagedBatch(
        batch_id=batch,
        resource_id=resource.id,
        window=window,
        directory=str(folder),
        rows=total,
        sha256=hashlib.sha256(batch.encode()).hexdigest(),
        columns=tuple(names),
        types=tuple("string" for _ in names),
        skipped={},
        files=files,
        cursor_max=cursor,
        staged_at=settings.now(),
    )
    checked = CheckedBatch(
        batch_id=batch,
        directory=str(folder),
        accepted=str(folder / "accepted.parquet"),
        rejected=str(folder / "rejected.parquet"),
        findings=str(folder / "findings.parquet"),
        present_keys=str(folder / "accepted.parquet"),
        flags="",
        rows_read=total,
        rows_rejected=len(bad),
        rows_duplicate=duplicates,
        rows_accepted=len(rows),
        rows_carried=0,
        unreadable_keys=sum(b.key is None for b in bad),
        rules=tuple(
            RuleResult(rule, f"{rule}要求", "0301", "reject", None, "请核对", ("id_no",), total, n, 0, 0, 0.05)
            for rule, n in sorted(failed.items())
        ),
        fingerprint=resource.fingerprint,
    )
    if outcome == "passed" and checked.rows_rejected:
        outcome = "warning"  # as the judge has it
    quality = QualityReport(outcome, ("占比超限",) if outcome == "held" else (), 1, 0, "", 0.0)
    ledger.begin_batch(conn, resource, staged, settings.now())
    return Package(staged, checked, quality)


def compare(conn: Any, settings: Settings, resource: Resource, package: Package, *, cache: bool = False) -> Difference:
    """A plain comparison with what serves, as ``library.difference.compare`` would make it."""
    current = fetch_current(conn, resource, settings, package.checked)
    key = resource.model.key
    serving: dict[tuple[object, ...], int] = {}
    if current.path:
        for row in pq.read_table(current.path).to_pylist():
            serving[tuple(row[k] for k in key)] = row["_row_hash"]
    folder = Path(package.checked.directory)
    accepted = pq.read_table(package.checked.accepted)
    ops = []
    for row in accepted.to_pylist():
        former = serving.get(tuple(row[k] for k in key))
        ops.append("new" if former is None else "unchanged" if former == row["_row_hash"] else "changed")
    marked = accepted.append_column("_op", pa.array(ops, pa.string()))
    pq.write_table(marked.filter(pa.array([o != "unchanged" for o in ops], pa.bool_())), folder / "changes.parquet")
    present = {tuple(r[k] for k in key) for r in accepted.select(key).to_pylist()}
    present |= {(k,) for k in pq.read_table(package.checked.rejected)["_key"].to_pylist()}
    snapshot = resource.model.load == "snapshot" and not package.checked.unreadable_keys
    gone = sorted(k for k in serving if k not in present) if snapshot else []
    types = [ARROW[resource.model.field(k).type] for k in key]
    pq.write_table(
        pa.table({k: pa.array([g[i] for g in gone], t) for i, (k, t) in enumerate(zip(key, types, strict=True))}),
        folder / "deleted.parquet",
    )
    cache_path = None
    if cache:
        directory = cache_directory(settings, resource.id)
        directory.mkdir(parents=True, exist_ok=True)
        cache_path = directory / f"{package.staged.batch_id}.parquet"
        kept = pq.read_table(current.path).to_pylist() if current.path else []
        left = {tuple(r[k] for k in key): r for r in kept if tuple(r[k] for k in key) not in set(gone)}
        for r in accepted.select([*key, "_row_hash"]).to_pylist():
            left[tuple(r[k] for k in key)] = r
        pq.write_table(
            pa.table(
                {
                    **{k: pa.array([r[k] for r in left.values()], t) for k, t in zip(key, types, strict=True)},
                    "_row_hash": pa.array([r["_row_hash"] for r in left.values()], pa.int64()),
                }
            ),
            cache_path,
        )
    return Difference(
        changes=str(folder / "changes.parquet"),
        deleted=str(folder / "deleted.parquet"),
        cache=str(cache_path) if cache_path else None,
        rows_new=ops.count("new"),
        rows_changed=ops.count("changed"),
        rows_unchanged=ops.count("unchanged"),
        rows_superseded=0,
        rows_tombstone=0,
        rows_deleted=len(gone),
        current_rows=current.rows,
    )


def deliver(
    conn: Any, settings: Settings, resource: Resource, rows: Sequence[Mapping[str, object]], **options: Any
) -> BatchRecord:
    """One delivery through lease, stage, comparison and publish (or hold)."""
    cache = options.pop("cache", False)
    run = options.pop("run", None) or "run"
    token = ledger.acquire_lease(conn, settings, resource.id, run)
    package = stage(conn, settings, resource, rows, **options)
    difference = compare(conn, settings, resource, package, cache=cache)
    if package.quality.outcome == "held":
        return hold_batch(
            conn,
            resource,
            settings,
            package.staged,
            package.checked,
            package.quality,
            difference,
            token,
            package.quality.reasons,
        )
    return publish(conn, resource, settings, package.staged, package.checked, package.quality, difference, token)


def serving(conn: Any, resource: Resource, *columns: str) -> set[tuple[object, ...]]:
    """The rows that serve, as a set of tuples."""
    names = columns or tuple(f.name for f in resource.model.fields)
    found = conn.execute(f'SELECT * FROM source."{resource.model.table}" WHERE _deleted_at IS NULL').fetchall()
    conn.commit()
    assert len({tuple(r[n] for n in names) for r in found}) <= len(found)
    return {tuple(r[n] for n in names) for r in found}


def at_day(settings: Settings, day: int, hour: int = 9) -> Settings:
    return replace(settings, fixed_now=START + timedelta(days=day - 1, hours=hour))


def make_library(**changes: Any) -> LibraryModel:
    return LibraryModel.model_validate(
        {
            "name": "population",
            "table": "person",
            "title": "人口基础库",
            "key": [{"name": "citizen_id", "title": "公民身份号码", "sensitivity": 4}],
            "fields": [],
            **changes,
        }
    )


@dataclass(frozen=True)
class SmallCatalog:
    """As much of ``guiji.catalog.Catalog`` as the libraries read."""

    resources: dict[str, Resource]
    libraries: dict[str, LibraryModel]
    broken_resources: dict[str, tuple[str, ...]] = field(default_factory=dict)
