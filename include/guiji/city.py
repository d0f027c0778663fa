"""Who publishes: the city, its big-data centre, and the clocks of its notices. The only place that names them.

``<catalog>/city.yml`` overrides any of these values, so that another city needs no code.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.errors import UsageError

if TYPE_CHECKING:
    from guiji.settings import Settings


@dataclass(frozen=True)
class City:
    name: str = "鄂尔多斯市"
    #: who signs notices and reports
    centre: str = "鄂尔多斯市大数据中心"
    centre_email: str = ""
    """address of the centre; the sender of ``smtp_default`` where empty"""
    centre_phone: str = ""
    platform: str = "市公共信息平台"
    #: what the notices and the report refer to
    basis: str = "《鄂尔多斯市公共数据管理实施方案》（鄂府办发〔2023〕92号）"
    mend_working_days: int = 5
    """a department has this many working days to mend what is wrong"""
    remind_working_days: int = 1
    """a reminder goes out this many working days before a ticket is due"""
    escalate_working_days: int = 5
    """a ticket overdue by this many working days is reported to the centre"""
    mails_per_hour: int = 6
    """at most this many mails to one recipient within an hour; the rest waits and is merged"""
    keep_rejected_days: int = 180
    """rejected rows are kept (encrypted) this many days, and as long as an open ticket waits for them"""
    keep_findings_days: int = 730
    """findings, masked, are kept this many days, and as long as an open ticket is about them"""
    #: west, south, east, north in degrees, a little wider than the city: what lies outside was measured or written wrongly
    bounds: tuple[float, float, float, float] | None = (106.68, 37.56, 111.48, 40.88)
    boundary: str = ""
    """GeoJSON file beside ``city.yml`` with the city's boundary, CGCS2000 longitude and latitude; none where empty"""
    boundary_margin_m: int = 200
    """a shape may lie this many metres beyond the boundary: two departments never draw it alike"""


def load_city(settings: Settings) -> City:
    """The city of this installation. Raises UsageError when ``city.yml`` says something that is not known."""
    return read_city(settings.catalog)


def read_city(catalog: Path) -> City:
    """The city that a catalog folder is of. Raises UsageError."""
    path = catalog / "city.yml"
    if not path.is_file():
        return City()
    import yaml

    known = {f.name: f.type for f in fields(City)}
    said = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(said, dict):
        raise UsageError(f"{path}: must be a mapping of {', '.join(known)}. Nothing was sent or published.")
    if "bounds" in said:
        said["bounds"] = _parse_bounds(said["bounds"], path)
    for name, value in said.items():
        wanted = int if known.get(name) == "int" else str
        if name not in known or (name != "bounds" and (not isinstance(value, wanted) or isinstance(value, bool))):
            raise UsageError(
                f"{path}: {name!r} is unknown or no {wanted.__name__}. Allowed: {', '.join(known)}. "
                "Nothing was sent or published; mend the file."
            )
    for name in ("keep_rejected_days", "keep_findings_days"):
        if said.get(name, 1) < 1:
            raise UsageError(f"{path}: {name!r} must be at least 1. Nothing was sent or removed; mend the file.")
    if said.get("boundary_margin_m", 0) < 0:
        raise UsageError(f"{path}: 'boundary_margin_m' must not be negative. Nothing was judged; mend the file.")
    if said.get("boundary") and not (catalog / said["boundary"]).is_file():
        raise UsageError(
            f"{path}: 'boundary' names {said['boundary']!r}, but there is no such file beside it. Nothing was judged; "
            "put the GeoJSON file there, or take the line out."
        )
    return replace(City(), **said)


def _parse_bounds(value: object, path: Path) -> tuple[float, float, float, float] | None:
    if value is None:
        return None
    numbers = [float(v) for v in value if isinstance(v, int | float)] if isinstance(value, list) else []
    if len(numbers) != 4 or not numbers[0] < numbers[2] or not numbers[1] < numbers[3]:
        raise UsageError(
            f"{path}: 'bounds' must be [west, south, east, north] in degrees, or null for no bounds. "
            "Nothing was sent or published; mend the file."
        )
    west, south, east, north = numbers
    return west, south, east, north
