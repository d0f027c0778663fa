"""Economic figures of the synthetic city: what 统计, 财政 and 发改 publish, with revisions and blank cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from guiji.demo.population import City, draw

REGIONS = (
    "鄂尔多斯市",
    "东胜区",
    "康巴什区",
    "达拉特旗",
    "准格尔旗",
    "鄂托克前旗",
    "鄂托克旗",
    "杭锦旗",
    "乌审旗",
    "伊金霍洛旗",
)
PROVINCES = ("北京市", "天津市", "河北省", "山西省", "内蒙古自治区", "辽宁省", "吉林省", "黑龙江省")
MONTHLY = (
    ("规模以上工业增加值", "%", "同比"),
    ("社会消费品零售总额", "万元", "累计"),
    ("一般公共预算收入", "万元", "累计"),
    ("固定资产投资", "%", "累计同比"),
    ("全社会用电量", "万千瓦时", "当期"),
)
REVENUE = ("税收收入", "增值税", "企业所得税", "资源税", "非税收入")

Months = Sequence[tuple[int, int]]


def _value(city: City, name: str, year: int, month: int, low: float, high: float) -> float:
    seed = np.array([year * 12 + month], dtype=np.int64)
    position = int(draw(city, name[-4:], seed)[0] % np.uint64(10_000)) / 10_000
    return round(low + (high - low) * position, 2)


def monthly_csv(city: City, months: Months, revised: bool) -> str:
    """统计 月度数据: metadata above the header, months as columns, newest first; the month before may be revised."""
    lines = ["数据库：月度数据", "地区：鄂尔多斯市", "时间：最近三个月"]
    lines.append(",".join(["指标", "计量单位", "口径", *(f"{y}年{m}月" for y, m in months)]))
    for name, unit, caliber in MONTHLY:
        cells = []
        for position, (year, month) in enumerate(months):
            low, high = (2.0, 9.0) if unit == "%" else (50_000.0, 900_000.0)
            value = _value(city, name, year, month, low, high)
            if revised and position == 1 and name == "社会消费品零售总额":
                value = round(value * 1.01, 2)
            cells.append("" if name == "固定资产投资" and month == 1 else f"{value:.2f}")
        lines.append(",".join([name, unit, caliber, *cells]))
    lines += ["注：1月固定资产投资不单独公布。", "数据来源：鄂尔多斯市统计局"]
    return "\r\n".join(lines) + "\r\n"


def annual_csv(city: City) -> str:
    """统计 分地区年度数据, as a national table is downloaded."""
    years = list(range(2025, 2015, -1))
    lines = ["数据库：分省年度数据", "指标：65岁及以上人口数(人口抽样调查)(人)", "时间：最近10年"]
    lines.append(",".join(["地区", *(f"{y}年" for y in years)]))
    for region in PROVINCES:
        cells = ["" if y in (2025, 2020) else str(int(_value(city, region, y, 0, 1_000, 16_000))) for y in years]
        lines.append(",".join([region, *cells]))
    lines += ["注：2020年为普查年，数据另行公布。", "数据来源：国家统计局"]
    return "\r\n".join(lines) + "\r\n"


def revenue_rows(city: City, year: int, month: int) -> list[dict[str, str | None]]:
    """财政 财政收入月报, a row per region and item."""
    return [
        {
            "地区": region,
            "项目": item,
            "所属期": f"{year}年{month}月",
            "口径": "当期",
            "金额": f"{_value(city, region[-2:] + item[:2], year, month, 100, 60_000):.2f}",
        }
        for region in REGIONS
        for item in REVENUE
    ]


def price_rows(city: City, months: Months) -> list[dict[str, str]]:
    """发改 价格指数, a record per region, item and month."""
    return [
        {
            "indicator": item,
            "region": region,
            "month": f"{y}年{m}月",
            "value": f"{_value(city, item[:2] + region[-2:], y, m, 96, 105):.2f}",
        }
        for y, m in months
        for region in REGIONS[:3]
        for item in ("居民消费价格指数", "食品烟酒价格指数", "居住价格指数", "交通通信价格指数")
    ]
