"""A real file of the national bureau, the whole way into the economic library, figure by figure.

The file stays outside the repository (``GUIJI_REAL_DATA``). Without that folder nothing is tried, and the skip says so.
"""

from __future__ import annotations

import os
import re
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from guiji.catalog import load_catalog
from guiji.library.resolve import resolve
from guiji.pipeline import run_resource
from guiji.settings import Settings

Figure = tuple[str, str, str, Decimal, str]


@pytest.fixture
def bureau_file() -> Path:
    folder = os.environ.get("GUIJI_REAL_DATA")
    if not folder:
        pytest.skip("GUIJI_REAL_DATA is not set: the national bureau's file was NOT tried")
    return next(Path(folder).glob("economy/*.csv"))


def read_figures(path: Path) -> set[Figure]:
    """Every figure of the file, read as plainly as can be: lines, commas, the names of the columns."""
    lines = path.read_bytes().decode("gb18030").splitlines()
    named = re.fullmatch(r"指标：(.+)\(([^()]*)\),*", lines[1])
    assert named is not None
    header = lines[3].split(",")
    figures: set[Figure] = set()
    for line in lines[4:]:
        if line.startswith(("注", "数据来源")):
            break
        region, *cells = line.split(",")
        figures |= {
            (named[1], region, year, Decimal(cell), named[2])
            for year, cell in zip(header[1:], cells, strict=True)
            if cell.strip()
        }
    return figures


def test_the_bureau_s_file_reaches_the_economic_library_figure_by_figure(
    settings: Settings, conn: Any, bureau_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUIJI_EXPORTS", str(tmp_path))
    (tmp_path / "tjj").mkdir()
    shutil.copy(bureau_file, tmp_path / "tjj" / "分地区年度数据_65岁及以上人口_20251231.csv")

    record = run_resource("tjj.annual_indicator", settings)
    catalog = load_catalog(settings.catalog)
    resolve(conn, settings, catalog.library("economy"), catalog)
    conn.commit()

    expected = read_figures(bureau_file)
    assert len(expected) == 527
    assert (record.status, record.rows_read, record.rows_rejected, record.rows_new) == ("published", 527, 0, 527)
    rows = conn.execute("SELECT indicator_code, region, period, value, unit FROM library.indicator").fetchall()
    found = [(r["indicator_code"], r["region"], r["period"], r["value"], r["unit"]) for r in rows]
    assert len(found) == len(expected)
    assert set(found) == expected
