"""The national bureau's file as anyone downloads it, figure by figure. Needs GUIJI_REAL_DATA (CI sets it)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from delivering import make_resource, open_at, plain_settings

pytestmark = pytest.mark.skipif(
    not os.environ.get("GUIJI_REAL_DATA"), reason="GUIJI_REAL_DATA is not set: the national bureau's file was NOT tried"
)

INDICATOR = "65岁及以上人口数(人口抽样调查)(人)"


def test_the_national_bureau_file_figure_by_figure(tmp_path: Path) -> None:
    layout = {
        "metadata": {"指标": "^指标：(.+)$"},
        "footnote": "^(注|数据来源)：",
        "unpivot": {"keep": ["地区"], "columns": r"(\d{4})年", "into": "年份", "value": "数值"},
    }
    source = {
        "kind": "files",
        "directory": "${GUIJI_REAL_DATA}/economy",
        "pattern": r"分省年度数据.*\.csv",
        "format": {"type": "csv", "layout": layout},
    }
    delivery = open_at(
        make_resource(source, ["地区", "年份", "数值", "指标"]), plain_settings(tmp_path), tmp_path / "s"
    )
    rows = [r for b in delivery.batches for r in b.to_pylist()]
    assert {r["指标"] for r in rows} == {INDICATOR}
    assert [r for r in rows if r["_broken"]] == []
    figures = {(r["地区"], r["年份"], r["数值"]) for r in rows}
    assert len(figures) == len(rows)
    assert figures == _figures()
    assert delivery.report.skipped == {"title": 2, "metadata": 1, "footnote": 2}


def _figures() -> set[tuple[str, str, str]]:
    """Read apart from the product: the lines between header and footnotes, cell by cell."""
    file = next((Path(os.environ["GUIJI_REAL_DATA"]) / "economy").glob("分省年度数据*.csv"))
    lines = file.read_bytes().decode("gb18030").split("\r\n")
    years = [y.removesuffix("年") for y in lines[3].split(",")[1:]]
    regions = [line.split(",") for line in lines[4:35]]
    assert (len(regions), regions[0][0], regions[-1][0]) == (31, "北京市", "新疆维吾尔自治区")
    return {
        (region, year, value) for region, *values in regions for year, value in zip(years, values, strict=True) if value
    }
