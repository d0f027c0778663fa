"""The city while it runs: its servers, what they hold, and the truth about the rows that were spoilt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from guiji.connections import Connection
from guiji.demo.planting import Planted
from guiji.demo.population import City
from guiji.demo.servers import HttpServer, MailServer
from guiji.settings import Settings

if TYPE_CHECKING:
    from guiji.orchestration.launch import Running

#: columns whose values identify a row of a table or interface in the truth
MARKS = {
    "gaj.household": ("gmsfhm", "xm", "hjxz"),
    "wjw.health_record": ("sfzh", "xm"),
    "scjg.enterprise": ("tyshxydm", "qymc"),
    "rsj.employment": ("idCard", "personName"),
    "qxj.station": ("station_id", "station_name"),
    "cgj.facility": ("code", "address"),
    "scjg.inspection": ("jcbh",),
    "fgw.penalty": ("行政处罚决定书文号",),
    "swj.tax_revenue": ("dq", "sz"),
    "rsj.insurance": ("公民身份号码",),
    "mzj.relief": ("公民身份号码",),
    "sthj.permit": ("permitNo", "unitName"),
    "gzw.enterprise": ("统一社会信用代码",),
    "gxj.energy_use": ("tyshxydm",),
}


@dataclass
class RunningCity:
    """The servers of the city, and what was planted so far."""

    city: City
    settings: Settings
    root: Path
    connections: dict[str, Connection]
    urls: dict[str, str]  # database -> its owner's URL
    interfaces: HttpServer
    mail: MailServer
    mariadb: bool
    stop_front_ends: Callable[[], None]
    start_front_ends: Callable[[], None]
    records: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    truth: list[Planted] = field(default_factory=list)
    airflow: Running | None = None

    def note(self, resource_id: str, delivery: str, kind: str, mark: str) -> None:
        self.truth.append(Planted(resource_id, delivery, kind, mark))

    def errors(self, rows: int) -> int:
        """How many rows of each kind are planted in ``rows`` rows: one in 2,000, in a large city fewer, so that no rule
        reports more rows than the pipeline lists one by one."""
        return max(1, rows // max(2_000, self.city.people // 1_500))


def note_marks(
    running: RunningCity, resource_id: str, delivery: str, table: pa.Table, truth: Mapping[int, Any]
) -> None:
    if not truth:
        return
    marks = table.select(MARKS[resource_id]).take(pa.array(list(truth))).to_pylist()
    for row, kind in zip(marks, truth.values(), strict=True):
        running.note(resource_id, delivery, kind.name, make_mark(row.values()))


def make_mark(values: Any) -> str:
    """How the truth names a row: the values that identify it."""
    return "|".join("" if v is None else str(v) for v in values)
