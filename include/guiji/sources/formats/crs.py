"""Whether the reference system that a geometry file states is the declared one (F-46).

Read are the well-known texts of ``.prj`` files and GeoPackages (WKT 1 as ESRI and OGC write it, WKT 2): datum and, of
a projected system, what makes it: central meridian, false easting, scale. Codes are EPSG's. Between CGCS2000 and WGS 84
lie centimetres, to Beijing 1954 and Xi'an 1980 up to a hundred metres, to another zone of projection hundreds of
kilometres. GCJ-02 and BD-09 have no code and leave no trace in a file: nothing here can tell them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from guiji.errors import DeliveryRefused

CGCS2000, WGS84, XIAN80, BEIJING54 = "CGCS2000", "WGS 84", "西安80", "北京54"
_GEOGRAPHIC = {4490: CGCS2000, 4326: WGS84, 4610: XIAN80, 4214: BEIJING54}
#: Gauss-Krüger systems: first code, first zone, number of zones, degrees per zone, zone number in the easting, datum
_GAUSS_KRUGER: tuple[tuple[int, int, int, int, bool, str], ...] = (
    (4491, 13, 11, 6, True, CGCS2000),
    (4502, 13, 11, 6, False, CGCS2000),
    (4513, 25, 21, 3, True, CGCS2000),
    (4534, 25, 21, 3, False, CGCS2000),
    (2327, 13, 11, 6, True, XIAN80),
    (2338, 13, 11, 6, False, XIAN80),
    (2349, 25, 21, 3, True, XIAN80),
    (2370, 25, 21, 3, False, XIAN80),
    (21413, 13, 11, 6, True, BEIJING54),
    (21453, 13, 11, 6, False, BEIJING54),
    (2401, 25, 21, 3, True, BEIJING54),
    (2422, 25, 21, 3, False, BEIJING54),
)
_DATUMS: tuple[tuple[str, str], ...] = (
    ("china2000", CGCS2000),
    ("chinageodetic", CGCS2000),
    ("cgcs2000", CGCS2000),
    ("wgs84", WGS84),
    ("wgs1984", WGS84),
    ("worldgeodeticsystem1984", WGS84),
    ("xian", XIAN80),
    ("beijing1954", BEIJING54),
    ("krasovsky1940", BEIJING54),  # as old files name it, by its ellipsoid
)
_TRANSVERSE = ("gausskruger", "transversemercator")


@dataclass(frozen=True)
class ReferenceSystem:
    """What makes a reference system. A geographic one has degrees, and no meridian of projection."""

    datum: str
    meridian: float | None = None
    false_easting: float = 0
    scale: float = 1

    def __str__(self) -> str:
        if self.meridian is None:
            return f"{self.datum} 经纬度"
        zone = f"，东偏 {self.false_easting:.0f} 米" if self.false_easting != 500_000 else ""
        return f"{self.datum} 投影（中央经线 {self.meridian:g}°{zone}）"


def known_system(crs: str) -> ReferenceSystem | None:
    """The system of ``EPSG:n``; None for one that is not listed here."""
    m = re.fullmatch(r"(?i)EPSG:{1,2}(\d+)", crs.strip())
    if m is None:
        return None
    code = int(m[1])
    if code in _GEOGRAPHIC:
        return ReferenceSystem(_GEOGRAPHIC[code])
    if 32601 <= code <= 32660:
        return ReferenceSystem(WGS84, (code - 32600) * 6.0 - 183, 500_000, 0.9996)
    for first, zone, count, width, zoned, datum in _GAUSS_KRUGER:
        if first <= code < first + count:
            zone += code - first
            return ReferenceSystem(
                datum, zone * 6.0 - 3 if width == 6 else zone * 3.0, zone * zoned * 1_000_000 + 500_000
            )
    return None


def parse_wkt(text: str) -> ReferenceSystem | None:
    """The system that a well-known text describes; None when it is none that is known here."""
    datum_text = re.search(r'(?i)\b(?:DATUM|ENSEMBLE)\s*\[\s*"([^"]+)"', text)
    plain = _plain(datum_text[1]) if datum_text else ""
    datum = next((found for mark, found in _DATUMS if mark in plain), None)
    if datum is None:
        return None
    if not _is_plain(text):
        return None
    if not re.search(r"(?i)\bPROJ(?:CS|CRS|ECTEDCRS)\s*\[", text):
        return ReferenceSystem(datum)
    method = re.search(r'(?i)\b(?:PROJECTION|METHOD)\s*\[\s*"([^"]+)"', text)
    if method is None or not any(t in _plain(method[1]) for t in _TRANSVERSE):
        return None
    values = {
        _plain(name): float(value)
        for name, value in re.findall(r'(?i)\bPARAMETER\s*\[\s*"([^"]+)"\s*,\s*([-+0-9.eE]+)', text)
    }
    meridian = values.get("centralmeridian", values.get("longitudeofnaturalorigin"))
    northing = values.get("falsenorthing", 0)
    origin = values.get("latitudeoforigin", values.get("latitudeofnaturalorigin", 0))
    easting, scale = values.get("falseeasting"), values.get("scalefactor", values.get("scalefactoratnaturalorigin"))
    if meridian is None or easting is None or northing or origin:
        return None
    return ReferenceSystem(datum, meridian, easting, 1 if scale is None else scale)


def _is_plain(text: str) -> bool:
    """Whether angles are degrees from Greenwich."""
    prime = re.search(r'(?i)\bPRIMEM(?:ERIDIAN)?\s*\[\s*"[^"]*"\s*,\s*([-+0-9.eE]+)', text)
    angles = re.findall(r'(?i)\b(?:ANGLE)?UNIT\s*\[\s*"[^"]*"\s*,\s*([-+0-9.eE]+)', text)
    # the first unit is that of the angles in every dialect; a unit of length is no fraction
    turned = [float(a) for a in angles if float(a) < 0.1]
    return (prime is None or float(prime[1]) == 0) and all(abs(a - 0.0174532925199433) < 1e-9 for a in turned)


def compare_systems(declared: str, stated: str, what: str) -> str | None:
    """A note when the two can't be compared; None when ``stated`` (WKT, or ``EPSG:n``) is the declared system.

    Raises DeliveryRefused when it is another one.
    """
    # the names of GeoJSON of 2008; CRS84 is WGS 84 with longitude first
    stated = re.sub(r"(?i)^urn:ogc:def:crs:(EPSG|OGC):[\d.]*:", r"\1:", stated.strip())
    stated = "EPSG:4326" if stated.upper() == "OGC:CRS84" else stated
    wanted = known_system(declared)
    found = known_system(stated) or parse_wkt(stated)
    if wanted is not None and found is not None:
        if _same(wanted, found):
            return None
        raise _other_system(what, f"{declared}（{wanted}）", str(found))
    if _code(stated) and _code(stated) == _code(declared):
        return None
    if wanted is not None:
        raise _other_system(what, f"{declared}（{wanted}）", f"“{_name(stated)}”")
    return f"{what}：文件注明的坐标系“{_name(stated)}”未能与约定的 {declared} 核对"


def _same(a: ReferenceSystem, b: ReferenceSystem) -> bool:
    if a.datum != b.datum or (a.meridian is None) != (b.meridian is None):
        return False
    if a.meridian is None or b.meridian is None:
        return True
    return (
        abs(a.meridian - b.meridian) < 1e-6
        and abs(a.false_easting - b.false_easting) < 1e-3
        and abs(a.scale - b.scale) < 1e-9
    )


def _other_system(what: str, declared: str, stated: str) -> DeliveryRefused:
    return DeliveryRefused(
        f"{what}：文件注明的坐标系是{stated}，与约定的 {declared} 不同。现有数据继续有效；"
        "请转换到约定的坐标系后重新提供，或由管理员更正目录中的坐标系。",
        rule_id="delivery.crs",
    )


def _code(text: str) -> str | None:
    """The EPSG code that stands for the whole system."""
    if m := re.fullmatch(r"(?i)\s*EPSG:{1,2}(\d+)\s*", text):
        return m[1]
    m = re.search(r'(?i)(?:AUTHORITY\[\s*"EPSG"\s*,\s*"(\d+)"\s*\]|ID\[\s*"EPSG"\s*,\s*(\d+)\s*\])\s*\]\s*$', text)
    return (m[1] or m[2]) if m else None


def _name(text: str) -> str:
    m = re.search(r'"([^"]*)"', text)
    return (m[1] if m else text.strip())[:60]


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())
